/* SPDX-License-Identifier: MIT */
/*
 * net/dns_wire.c - see dns_wire.h. What c-ares reads of a message is its head; the parsers that it
 * has for records leave times to live and negative answers out.
 *
 * Bounded by construction: a compression pointer must lead backwards, and a name has at most
 * POINTERS_MAX; an answer is gone through once for each alias, and there are at most ALIASES_MAX.
 */
#include "net/dns_wire.h"

#include <errno.h>
#include <string.h>
#include <strings.h>

enum {
    HEADER_LEN = 12,
    QUESTION_LEN = 4, /* behind its name */
    RECORD_LEN = 10,  /* behind its name, before its data */
    CLASS_IN = 1,
    ALIASES_MAX = 16,
    POINTERS_MAX = 128, /* of a name, which has fewer labels: a long chain would cost time */
    SOA_TIMES_LEN = 20,
};

/* ---- names ---- */

/* Puts a byte of a label; false when there is no room. */
static bool put_byte(char *out, size_t *used, unsigned char byte)
{
    bool is_plain = byte > ' ' && byte < 0x7f && byte != '.' && byte != '\\';
    size_t need = is_plain ? 1 : 4;
    if (*used + need >= PI_DNS_NAME_CAP)
        return false;
    if (is_plain) {
        out[(*used)++] = (char)byte;
        return true;
    }
    out[(*used)++] = '\\';
    out[(*used)++] = (char)('0' + byte / 100);
    out[(*used)++] = (char)('0' + byte / 10 % 10);
    out[(*used)++] = (char)('0' + byte % 10);
    return true;
}

static bool put_label(char *out, size_t *used, const unsigned char *label, size_t len)
{
    if (*used > 0) {
        if (*used + 1 >= PI_DNS_NAME_CAP)
            return false;
        out[(*used)++] = '.';
    }
    for (size_t i = 0; i < len; i++)
        if (!put_byte(out, used, label[i]))
            return false;
    return true;
}

ssize_t pi_dns_name(char out[PI_DNS_NAME_CAP], const unsigned char *bytes, size_t len, size_t at)
{
    enum { POINTER = 0xc0 };
    size_t used = 0, end = 0, lowest = at;
    int pointers = 0;
    while (at < len) {
        unsigned n = bytes[at];
        if (n == 0) {
            out[used] = '\0';
            return (ssize_t)(end ? end : at + 1);
        }
        if ((n & POINTER) == POINTER) {
            if (len - at < 2 || ++pointers > POINTERS_MAX)
                return -EBADMSG;
            if (!end)
                end = at + 2;
            at = (n & 0x3f) << 8 | bytes[at + 1];
            if (at >= lowest)
                return -EBADMSG;
            lowest = at;
        } else {
            if (n & POINTER || n >= len - at || !put_label(out, &used, bytes + at + 1, n))
                return -EBADMSG;
            at += 1 + n;
        }
    }
    return -EBADMSG;
}

int pi_dns_question(char name[PI_DNS_NAME_CAP], int *type, const unsigned char *bytes, size_t len)
{
    if (len < HEADER_LEN || pi_dns_u16(bytes + 4) != 1)
        return -EBADMSG;
    ssize_t end = pi_dns_name(name, bytes, len, HEADER_LEN);
    if (end < 0 || len - (size_t)end < QUESTION_LEN)
        return -EBADMSG;
    *type = (int)pi_dns_u16(bytes + end);
    return 0;
}

/* ---- records ---- */

struct reader {
    const unsigned char *bytes;
    size_t len, at;
};

struct record {
    char owner[PI_DNS_NAME_CAP];
    int type;
    struct pi_dns_rr rr;
};

static uint32_t read_u32(const unsigned char *at)
{
    return (uint32_t)pi_dns_u16(at) << 16 | pi_dns_u16(at + 2);
}

/* Takes the next record; those of other classes have type 0. */
static int next_record(struct reader *r, struct record *out)
{
    ssize_t end = pi_dns_name(out->owner, r->bytes, r->len, r->at);
    if (end < 0 || r->len - (size_t)end < RECORD_LEN)
        return -EBADMSG;
    const unsigned char *head = r->bytes + end;
    uint32_t ttl = read_u32(head + 4);
    out->type = pi_dns_u16(head + 2) == CLASS_IN ? (int)pi_dns_u16(head) : 0;
    out->rr.ttl = ttl > INT32_MAX ? 0 : ttl; /* RFC 2181, 8 */
    out->rr.at = (size_t)end + RECORD_LEN;
    out->rr.len = pi_dns_u16(head + 8);
    if (out->rr.len > r->len - out->rr.at)
        return -EBADMSG;
    r->at = out->rr.at + out->rr.len;
    return 0;
}

static void shorten(uint32_t *ttl, uint32_t other)
{
    if (other < *ttl)
        *ttl = other;
}

/* Goes through the answers once, from *r on: collects what name has of the type, else follows its
 * alias. 1: name has become the next one; 0: this was the last. */
static int collect(struct pi_dns_answer *out, struct reader *r, char *name, int type)
{
    struct record rec;
    char alias[PI_DNS_NAME_CAP];
    bool has_alias = false;
    int count = (int)pi_dns_u16(r->bytes + 6);
    for (int i = 0; i < count; i++) {
        if (next_record(r, &rec) < 0)
            return -EBADMSG;
        if (strcasecmp(rec.owner, name) != 0)
            continue;
        if (rec.type == type) {
            if (out->count < PI_DNS_RECORDS_MAX)
                out->records[out->count++] = rec.rr;
            shorten(&out->ttl, rec.rr.ttl);
        } else if (rec.type == PI_DNS_CNAME && !has_alias) {
            if (pi_dns_name(alias, r->bytes, r->len, rec.rr.at) < 0)
                return -EBADMSG;
            has_alias = true;
            shorten(&out->ttl, rec.rr.ttl);
        }
    }
    if (out->count > 0 || !has_alias)
        return 0;
    memcpy(name, alias, sizeof alias);
    return 1;
}

/* Without a record: how long that holds, by the SOA behind the answers, if there is one. */
static int read_negative(struct pi_dns_answer *out, struct reader *r)
{
    struct record rec;
    char skipped[PI_DNS_NAME_CAP];
    int count = (int)pi_dns_u16(r->bytes + 8);
    uint32_t ttl = 0;
    for (int i = 0; i < count; i++) {
        if (next_record(r, &rec) < 0)
            return -EBADMSG;
        if (rec.type != PI_DNS_SOA)
            continue;
        ssize_t at = pi_dns_name(skipped, r->bytes, r->len, rec.rr.at);
        if (at >= 0)
            at = pi_dns_name(skipped, r->bytes, r->len, (size_t)at);
        if (at < 0 || r->at - rec.rr.at < SOA_TIMES_LEN || (size_t)at > r->at - SOA_TIMES_LEN)
            return -EBADMSG;
        ttl = read_u32(r->bytes + at + 16);
        shorten(&ttl, rec.rr.ttl);
        break;
    }
    shorten(&out->ttl, ttl);
    return 0;
}

int pi_dns_read(struct pi_dns_answer *out, const unsigned char *bytes, size_t len, int type)
{
    char name[PI_DNS_NAME_CAP];
    int asked;
    out->count = 0;
    out->ttl = INT32_MAX;
    if (pi_dns_question(name, &asked, bytes, len) < 0)
        return -EBADMSG;
    out->rcode = bytes[3] & 0xf;
    struct reader r = { .bytes = bytes, .len = len };
    size_t answers = (size_t)pi_dns_name((char[PI_DNS_NAME_CAP]){ 0 }, bytes, len, HEADER_LEN) +
                     QUESTION_LEN;
    int rc = 1;
    for (int aliases = 0; rc == 1; aliases++) {
        if (aliases > ALIASES_MAX)
            return -ELOOP;
        r.at = answers;
        rc = collect(out, &r, name, type);
    }
    if (rc == 0 && out->count == 0)
        rc = read_negative(out, &r);
    return rc;
}

enum pi_dns_rcode pi_dns_server_error(const unsigned char *bytes, size_t len)
{
    enum { TRUNCATED = 0x02, AUTHORITATIVE = 0x04, RECURSES = 0x80 };
    enum pi_dns_rcode rcode = bytes[3] & 0xf;
    if (rcode == PI_DNS_SERVFAIL || rcode == PI_DNS_NOTIMP || rcode == PI_DNS_REFUSED)
        return rcode;
    if (rcode > PI_DNS_REFUSED)
        return PI_DNS_SERVFAIL; /* for updates, or not known: it says nothing of the name */
    bool is_lame = len >= HEADER_LEN && rcode == PI_DNS_NOERROR && pi_dns_u16(bytes + 6) == 0 &&
                   !(bytes[2] & (AUTHORITATIVE | TRUNCATED)) && !(bytes[3] & RECURSES);
    return is_lame ? PI_DNS_SERVFAIL : PI_DNS_NOERROR;
}
