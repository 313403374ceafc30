/* SPDX-License-Identifier: MIT */
/*
 * net/pcapng_wire.h - blocks of a pcapng file, and the IP, TCP and UDP headers in front of what a
 * connection has carried: bytes out, no I/O, no clock.
 *
 * A block is written as its head, the bytes that it is about, and its tail, so that nobody copies
 * those. Specification: draft-ietf-opsawg-pcapng; RFC 791, 8200, 9293, 768, 1071.
 */
#ifndef PI_NET_PCAPNG_WIRE_H
#define PI_NET_PCAPNG_WIRE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum {
    PI_PCAPNG_BEGIN = 72,        /* a section header and the description of one interface */
    PI_PCAPNG_OWN = 40,          /* of those: by which our files are known */
    PI_PCAPNG_PACKET_HEAD = 28,  /* in front of a packet */
    PI_PCAPNG_SECRETS_HEAD = 16, /* in front of lines of the SSLKEYLOGFILE format */
    PI_PCAPNG_TAIL = 20,         /* at most, behind either */
    PI_PACKET_HEAD = 64,         /* at most: IPv6, TCP and an option */
    PI_PACKET_DATA = 65535 - 40, /* at most: what IPv4 and TCP leave */
};

void pi_pcapng_begin(unsigned char out[PI_PCAPNG_BEGIN]);

/* In front of len bytes, a packet's headers and data. time_ns: since 1970. */
void pi_pcapng_packet_head(unsigned char out[PI_PCAPNG_PACKET_HEAD], int64_t time_ns, size_t len);
/* Behind them: how many bytes of out. */
size_t pi_pcapng_packet_tail(unsigned char out[PI_PCAPNG_TAIL], size_t len, bool is_ours);

/* The same for TLS secrets. */
void pi_pcapng_secrets_head(unsigned char out[PI_PCAPNG_SECRETS_HEAD], size_t len);
size_t pi_pcapng_secrets_tail(unsigned char out[PI_PCAPNG_TAIL], size_t len);

/* The sum of RFC 1071, before it is folded and inverted. */
struct pi_checksum {
    uint64_t sum;
    bool is_odd; /* so far an odd number of bytes */
};

void pi_checksum_add(struct pi_checksum *c, const void *bytes, size_t len);
uint16_t pi_checksum_end(const struct pi_checksum *c);

struct pi_packet_end {
    unsigned char ip[16]; /* IPv4: the first four */
    uint16_t port;
};

enum { PI_TCP_FIN = 1, PI_TCP_SYN = 2, PI_TCP_RST = 4, PI_TCP_PSH = 8, PI_TCP_ACK = 16 };

struct pi_packet {
    bool is_v6, is_datagram;
    const struct pi_packet_end *from, *to;
    uint32_t seq, ack; /* of TCP, like the flags; a SYN says that windows are large */
    uint8_t flags;
    struct pi_checksum data; /* the sum over the data, */
    size_t data_len; /* at most PI_PACKET_DATA; of UDP what it can carry, 28 less than 64 Ki */
};

/* The headers of a packet: how many bytes of out. */
size_t pi_packet_head(unsigned char out[PI_PACKET_HEAD], const struct pi_packet *p);

#endif
