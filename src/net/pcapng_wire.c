/* SPDX-License-Identifier: MIT */
/*
 * net/pcapng_wire.c - what a capture consists of, as bytes.
 *
 * Blocks are in the machine's byte order, which the section header tells; headers of packets are in
 * the network's. Invariant: head, content and tail of a block make a multiple of four bytes, and
 * its length stands in front and behind. Checksums are right, so that readers need not be told to
 * leave them alone.
 */
#include "net/pcapng_wire.h"

#include <string.h>

enum {
    SECTION = 0x0A0D0D0A,
    INTERFACE = 1,
    PACKET = 6,
    SECRETS = 10,
    TLS_KEY_LOG = 0x544c534b,
    ORDER = 0x1A2B3C4D,
    RAW_IP = 101, /* LINKTYPE_RAW: packets begin with the IP header */
    OPT_FLAGS = 2,
    OPT_APPLICATION = 4,
    OPT_RESOLUTION = 9,
    NANOSECONDS = 9,
    INBOUND = 1,
    OUTBOUND = 2,
    TTL = 64,
    NO_FRAGMENTS = 0x4000,
    IP_TCP = 6,
    IP_UDP = 17,
    V4 = 20,
    V6 = 40,
    TCP = 20,
    TCP_SYN = 24,
    UDP = 8,
    WINDOW = 65535,
    WINDOW_SHIFT = 14, /* the most there is: readers that count never find it full */
};

/* ---- blocks ---- */

static unsigned char *put16(unsigned char *at, uint16_t n)
{
    memcpy(at, &n, sizeof n);
    return at + sizeof n;
}

static unsigned char *put32(unsigned char *at, uint32_t n)
{
    memcpy(at, &n, sizeof n);
    return at + sizeof n;
}

static size_t padding(size_t len)
{
    return (4 - len % 4) % 4;
}

void pi_pcapng_begin(unsigned char out[PI_PCAPNG_BEGIN])
{
    enum { SECTION_LEN = PI_PCAPNG_OWN, INTERFACE_LEN = PI_PCAPNG_BEGIN - PI_PCAPNG_OWN };
    static const char application[4] = { 'P', 'i', 'e', 'r' };
    static const unsigned char resolution[4] = { NANOSECONDS };
    unsigned char *at = put32(put32(out, SECTION), SECTION_LEN);
    at = put16(put16(put32(at, ORDER), 1), 0);     /* version 1.0 */
    at = put32(put32(at, UINT32_MAX), UINT32_MAX); /* as long as it gets */
    at = put16(put16(at, OPT_APPLICATION), sizeof application);
    memcpy(at, application, sizeof application);
    at = put32(put32(at + sizeof application, 0), SECTION_LEN);
    at = put32(put32(at, INTERFACE), INTERFACE_LEN);
    at = put32(put16(put16(at, RAW_IP), 0), 0); /* packets of any length */
    at = put16(put16(at, OPT_RESOLUTION), 1);
    memcpy(at, resolution, sizeof resolution);
    put32(put32(at + sizeof resolution, 0), INTERFACE_LEN);
}

static uint32_t packet_block(size_t len)
{
    enum { OPTIONS = 12, LENGTH = 4 };
    return (uint32_t)(PI_PCAPNG_PACKET_HEAD + len + padding(len) + OPTIONS + LENGTH);
}

void pi_pcapng_packet_head(unsigned char out[PI_PCAPNG_PACKET_HEAD], int64_t time_ns, size_t len)
{
    unsigned char *at = put32(put32(out, PACKET), packet_block(len));
    at = put32(at, 0); /* of interface 0 */
    at = put32(put32(at, (uint32_t)((uint64_t)time_ns >> 32)), (uint32_t)time_ns);
    put32(put32(at, (uint32_t)len), (uint32_t)len);
}

size_t pi_pcapng_packet_tail(unsigned char out[PI_PCAPNG_TAIL], size_t len, bool is_ours)
{
    memset(out, 0, padding(len));
    unsigned char *at = out + padding(len);
    at = put16(put16(at, OPT_FLAGS), 4);
    at = put32(put32(at, is_ours ? OUTBOUND : INBOUND), 0);
    return (size_t)(put32(at, packet_block(len)) - out);
}

static uint32_t secrets_block(size_t len)
{
    return (uint32_t)(PI_PCAPNG_SECRETS_HEAD + len + padding(len) + 4);
}

void pi_pcapng_secrets_head(unsigned char out[PI_PCAPNG_SECRETS_HEAD], size_t len)
{
    put32(put32(put32(put32(out, SECRETS), secrets_block(len)), TLS_KEY_LOG), (uint32_t)len);
}

size_t pi_pcapng_secrets_tail(unsigned char out[PI_PCAPNG_TAIL], size_t len)
{
    memset(out, 0, padding(len));
    return (size_t)(put32(out + padding(len), secrets_block(len)) - out);
}

/* ---- checksums ---- */

/* The sum is the same in either byte order but for that of its own two bytes, so words are added as
 * the machine reads them (RFC 1071, 2). An odd start swaps them. */
void pi_checksum_add(struct pi_checksum *c, const void *bytes, size_t len)
{
    const unsigned char *at = bytes;
    uint64_t sum = 0;
    size_t i = 0;
    for (; i + 4 <= len; i += 4) {
        uint32_t word;
        memcpy(&word, at + i, sizeof word);
        sum += word;
    }
    for (; i < len; i++) {
        unsigned char pair[2] = { 0 };
        uint16_t word;
        pair[i % 2] = at[i];
        memcpy(&word, pair, sizeof word);
        sum += word;
    }
    while (sum >> 16)
        sum = (sum & 0xffff) + (sum >> 16);
    if (c->is_odd)
        sum = (sum << 8 | sum >> 8) & 0xffff;
    c->sum += sum;
    c->is_odd ^= len % 2;
}

uint16_t pi_checksum_end(const struct pi_checksum *c)
{
    uint64_t sum = c->sum;
    while (sum >> 16)
        sum = (sum & 0xffff) + (sum >> 16);
    return (uint16_t)~sum;
}

/* ---- headers ---- */

static unsigned char *net16(unsigned char *at, size_t n)
{
    *at++ = (unsigned char)(n >> 8);
    *at++ = (unsigned char)n;
    return at;
}

static unsigned char *net32(unsigned char *at, uint32_t n)
{
    return net16(net16(at, n >> 16), n & 0xffff);
}

static void put_checksum(unsigned char *at, uint16_t sum)
{
    memcpy(at, &sum, sizeof sum);
}

static size_t transport_len(const struct pi_packet *p)
{
    if (p->is_datagram)
        return UDP;
    return p->flags & PI_TCP_SYN ? TCP_SYN : TCP;
}

static unsigned char *put_v4(unsigned char *out, const struct pi_packet *p)
{
    struct pi_checksum sum = { 0 };
    unsigned char *at = out;
    *at++ = 0x45;
    *at++ = 0;
    at = net16(at, V4 + transport_len(p) + p->data_len);
    at = net16(net16(at, 0), NO_FRAGMENTS);
    *at++ = TTL;
    *at++ = p->is_datagram ? IP_UDP : IP_TCP;
    at = net16(at, 0);
    memcpy(at, p->from->ip, 4);
    memcpy(at + 4, p->to->ip, 4);
    pi_checksum_add(&sum, out, V4);
    put_checksum(out + 10, pi_checksum_end(&sum));
    return out + V4;
}

static unsigned char *put_v6(unsigned char *out, const struct pi_packet *p)
{
    unsigned char *at = net32(out, 0x60000000);
    at = net16(at, transport_len(p) + p->data_len);
    *at++ = p->is_datagram ? IP_UDP : IP_TCP;
    *at++ = TTL;
    memcpy(at, p->from->ip, 16);
    memcpy(at + 16, p->to->ip, 16);
    return out + V6;
}

/* Over the pseudo-header, the header that is done but for it, and the data. */
static uint16_t transport_sum(const struct pi_packet *p, const unsigned char *header)
{
    struct pi_checksum sum = { 0 };
    unsigned char pseudo[4];
    size_t ip_len = p->is_v6 ? 16 : 4, len = transport_len(p);
    pi_checksum_add(&sum, p->from->ip, ip_len);
    pi_checksum_add(&sum, p->to->ip, ip_len);
    net16(net16(pseudo, p->is_datagram ? IP_UDP : IP_TCP), len + p->data_len);
    pi_checksum_add(&sum, pseudo, sizeof pseudo);
    pi_checksum_add(&sum, header, len);
    sum.sum += p->data.sum;
    return pi_checksum_end(&sum);
}

static void put_udp(unsigned char *out, const struct pi_packet *p)
{
    unsigned char *at = net16(net16(out, p->from->port), p->to->port);
    net16(net16(at, UDP + p->data_len), 0);
    uint16_t sum = transport_sum(p, out);
    put_checksum(out + 6, sum ? sum : 0xffff); /* 0: there is none */
}

static void put_tcp(unsigned char *out, const struct pi_packet *p)
{
    unsigned char *at = net16(net16(out, p->from->port), p->to->port);
    at = net32(net32(at, p->seq), p->ack);
    *at++ = (unsigned char)(transport_len(p) / 4 << 4);
    *at++ = p->flags;
    at = net32(net16(at, WINDOW), 0);
    if (p->flags & PI_TCP_SYN)
        net32(at, 3 << 24 | 3 << 16 | WINDOW_SHIFT << 8); /* RFC 7323, 2; and the end */
    put_checksum(out + 16, transport_sum(p, out));
}

size_t pi_packet_head(unsigned char out[PI_PACKET_HEAD], const struct pi_packet *p)
{
    unsigned char *at = p->is_v6 ? put_v6(out, p) : put_v4(out, p);
    if (p->is_datagram)
        put_udp(at, p);
    else
        put_tcp(at, p);
    return (size_t)(at - out) + transport_len(p);
}
