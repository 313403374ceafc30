/* SPDX-License-Identifier: MIT */
/*
 * net/dns_wire.h - replies of name servers (RFC 1035, 4): bytes in, records out.
 *
 * A message comes whole, so what ends too early is bad. Names are text without a final dot, in
 * which a byte that is no letter, digit or ordinary sign is "\DDD" (RFC 1035, 5.1).
 */
#ifndef PI_NET_DNS_WIRE_H
#define PI_NET_DNS_WIRE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

enum {
    PI_DNS_NAME_CAP = 256, /* a longer text of a name is bad */
    PI_DNS_RECORDS_MAX = 64,
};

/* RFC 1035, 4.1.1. */
enum pi_dns_rcode {
    PI_DNS_NOERROR = 0,
    PI_DNS_FORMERR = 1,
    PI_DNS_SERVFAIL = 2,
    PI_DNS_NXDOMAIN = 3,
    PI_DNS_NOTIMP = 4,
    PI_DNS_REFUSED = 5,
};

enum { PI_DNS_CNAME = 5, PI_DNS_SOA = 6 };

/* Where the data of a record is in its message. */
struct pi_dns_rr {
    uint32_t ttl; /* seconds */
    size_t at, len;
};

struct pi_dns_answer {
    enum pi_dns_rcode rcode;
    uint32_t ttl; /* how long all of it holds; of a negative one RFC 2308, 5; 0: not at all */
    int count;    /* of the records of the type asked for, those beyond the most left out */
    struct pi_dns_rr records[PI_DNS_RECORDS_MAX];
};

/* Reads the name at bytes[at] of a message; returns where it ends there, or -EBADMSG. */
ssize_t pi_dns_name(char out[PI_DNS_NAME_CAP], const unsigned char *bytes, size_t len, size_t at);

/* Reads the one question of a message. 0 or -EBADMSG. */
int pi_dns_question(char name[PI_DNS_NAME_CAP], int *type, const unsigned char *bytes, size_t len);

/* Finds the records of a type that a reply has for the name that it was asked for, through its
 * aliases (CNAME). 0; -EBADMSG; -ELOOP when the aliases lead nowhere. */
int pi_dns_read(struct pi_dns_answer *out, const unsigned char *bytes, size_t len, int type);

/* The error of a server that another one may not have: 0; SERVFAIL, NOTIMP, REFUSED; and SERVFAIL
 * for any higher code, and for one that neither answers nor asks others, a lame delegation (RFC
 * 1912, 2.8). len is at least that of a header, 12. */
enum pi_dns_rcode pi_dns_server_error(const unsigned char *bytes, size_t len);

static inline unsigned pi_dns_u16(const unsigned char *at)
{
    return (unsigned)at[0] << 8 | at[1];
}

#endif
