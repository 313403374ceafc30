/* SPDX-License-Identifier: MIT */
/*
 * net/dns_query.c - records of names: pier_dns_query(), and the names of addresses.
 *
 * The data of a record is read where it lies in its message; nothing beyond the length that the
 * record gives is looked at, but by a compressed name.
 */
#define _GNU_SOURCE
#include "net/resolve.h"

#include "net/addr.h"
#include "task/sockets.h"

#include <pier/text.h>

#include <arpa/inet.h>
#include <netdb.h>
#include <stdlib.h>
#include <string.h>

enum { REVERSE_CAP = 80 }; /* 64 nibbles and dots, and ip6.arpa */

static const struct type {
    int type;
    const char *name;
} types[] = {
    { PIER_DNS_A, "A" },     { PIER_DNS_NS, "NS" },     { PIER_DNS_CNAME, "CNAME" },
    { PIER_DNS_PTR, "PTR" }, { PIER_DNS_MX, "MX" },     { PIER_DNS_TXT, "TXT" },
    { PIER_DNS_SRV, "SRV" }, { PIER_DNS_AAAA, "AAAA" }, { PIER_DNS_CAA, "CAA" },
};

enum { TYPES = sizeof types / sizeof types[0] };

const char *pi_dns_type_name(int type)
{
    for (int i = 0; i < TYPES; i++)
        if (types[i].type == type)
            return types[i].name;
    return "?";
}

/* ---- the data of records ---- */

struct data {
    const struct pi_dns_reply *reply;
    const unsigned char *at;
    size_t len;
};

static int keep_text(struct pier_dns_record *out, const unsigned char *bytes, size_t len)
{
    size_t room = sizeof out->text - 1 - (out->len < sizeof out->text ? out->len : 0);
    if (out->len < sizeof out->text - 1)
        memcpy(out->text + out->len, bytes, len < room ? len : room);
    out->len += len;
    out->text[out->len < sizeof out->text ? out->len : sizeof out->text - 1] = '\0';
    return 0;
}

static int keep_ip(struct pier_dns_record *out, const struct data *d, int family)
{
    if (d->len != (family == AF_INET6 ? 16 : 4))
        return -EBADMSG;
    inet_ntop(family, d->at, out->text, sizeof out->text);
    out->len = strlen(out->text);
    return 0;
}

/* The name that the data ends with, skip bytes from its beginning. */
static int keep_name(struct pier_dns_record *out, const struct data *d, size_t skip)
{
    char name[PI_DNS_NAME_CAP];
    size_t begin = (size_t)(d->at - d->reply->bytes);
    if (d->len <= skip)
        return -EBADMSG;
    ssize_t end = pi_dns_name(name, d->reply->bytes, d->reply->len, begin + skip);
    if (end < 0 || (size_t)end != begin + d->len)
        return -EBADMSG;
    const char *text = name[0] ? name : "."; /* the root */
    return keep_text(out, (const unsigned char *)text, strlen(text));
}

static int keep_strings(struct pier_dns_record *out, const struct data *d)
{
    for (size_t at = 0; at < d->len; at += 1 + d->at[at]) {
        if (d->at[at] >= d->len - at)
            return -EBADMSG;
        keep_text(out, d->at + at + 1, d->at[at]);
    }
    return 0;
}

/* RFC 8659, 4.1: flags, the tag with its length, the rest. */
static int keep_caa(struct pier_dns_record *out, const struct data *d)
{
    if (d->len < 2 || d->at[1] == 0 || d->at[1] > d->len - 2 || d->at[1] >= sizeof out->tag)
        return -EBADMSG;
    out->flags = d->at[0];
    memcpy(out->tag, d->at + 2, d->at[1]);
    return keep_text(out, d->at + 2 + d->at[1], d->len - 2 - d->at[1]);
}

static int keep_srv(struct pier_dns_record *out, const struct data *d)
{
    if (d->len < 6)
        return -EBADMSG;
    out->priority = (int)pi_dns_u16(d->at);
    out->weight = (int)pi_dns_u16(d->at + 2);
    out->port = (int)pi_dns_u16(d->at + 4);
    return keep_name(out, d, 6);
}

static int keep_mx(struct pier_dns_record *out, const struct data *d)
{
    if (d->len < 2)
        return -EBADMSG;
    out->priority = (int)pi_dns_u16(d->at);
    return keep_name(out, d, 2);
}

static int keep_data(struct pier_dns_record *out, const struct data *d)
{
    switch (out->type) {
    case PIER_DNS_A:
        return keep_ip(out, d, AF_INET);
    case PIER_DNS_AAAA:
        return keep_ip(out, d, AF_INET6);
    case PIER_DNS_NS:
    case PIER_DNS_CNAME:
    case PIER_DNS_PTR:
        return keep_name(out, d, 0);
    case PIER_DNS_MX:
        return keep_mx(out, d);
    case PIER_DNS_SRV:
        return keep_srv(out, d);
    case PIER_DNS_TXT:
        return keep_strings(out, d);
    case PIER_DNS_CAA:
        return keep_caa(out, d);
    }
    return -EBADMSG;
}

/* ---- answers ---- */

static int bad_reply(const struct pi_ask *ask)
{
    return pi_fail_text(PIER_EPROTO, "%s: %s", ask->what, pi_dns_reason(PI_DNS_GARBLED));
}

int pi_lookup_answer(struct pi_dns_answer *answer, struct pi_dns_query *q, const struct pi_ask *ask)
{
    int rc = pi_dns_wait(&q, 1, ask->deadline_ns);
    if (rc < 0)
        return pi_fail(rc, "%s", ask->what);
    if (q->end == PI_DNS_NO_MEMORY)
        return pi_fail(-ENOMEM, "%s", ask->what);
    if (q->end != PI_DNS_ANSWERED)
        return pi_fail_text(PIER_ERESOLVE, "%s: %s", ask->what, pi_dns_reason(q->end));
    rc = pi_dns_read(answer, q->reply->bytes, q->reply->len, q->type);
    if (rc == -ELOOP)
        return pi_fail_text(PIER_ERESOLVE, "%s: its aliases (CNAME) lead nowhere", ask->what);
    return rc < 0 ? bad_reply(ask) : 0;
}

static int read_record(struct pier_dns_record *out, const struct pi_dns_query *q,
                       const struct pi_dns_rr *rr)
{
    const struct data d = { q->reply, q->reply->bytes + rr->at, rr->len };
    memset(out, 0, sizeof *out);
    out->type = (enum pier_dns_type)q->type;
    out->ttl_s = (int64_t)rr->ttl - q->reply->age_s;
    if (out->ttl_s < 0)
        out->ttl_s = 0;
    return keep_data(out, &d);
}

static int by_priority(const void *a, const void *b)
{
    return ((const struct pier_dns_record *)a)->priority -
           ((const struct pier_dns_record *)b)->priority;
}

static int take_records(struct pier_dns_record *records, int cap, struct pi_dns_query *q,
                        const struct pi_ask *ask)
{
    struct pi_dns_answer answer;
    int rc = pi_lookup_answer(&answer, q, ask);
    if (rc < 0)
        return rc;
    if (answer.count == 0 && answer.rcode == PI_DNS_NOERROR)
        return pi_fail_text(PIER_ERESOLVE, "%s: no %s record", ask->what,
                            pi_dns_type_name(q->type));
    if (answer.count == 0)
        return pi_fail(PIER_ERESOLVE, "%s", ask->what);
    int count = answer.count < cap ? answer.count : cap;
    for (int i = 0; i < count; i++)
        if (read_record(&records[i], q, &answer.records[i]) < 0)
            return bad_reply(ask);
    if (q->type == PIER_DNS_MX || q->type == PIER_DNS_SRV)
        qsort(records, (size_t)count, sizeof *records, by_priority);
    return count;
}

/* ---- names of addresses ---- */

/* "1.2.0.192.in-addr.arpa" (RFC 1035, 3.5), "1.0.….ip6.arpa" (RFC 3596, 2.5). */
static void make_reverse(char out[REVERSE_CAP], const struct sockaddr *addr)
{
    if (addr->sa_family == AF_INET) {
        const unsigned char *b = (const void *)&((const struct sockaddr_in *)addr)->sin_addr;
        snprintf(out, REVERSE_CAP, "%d.%d.%d.%d.in-addr.arpa", b[3], b[2], b[1], b[0]);
        return;
    }
    static const char digits[] = "0123456789abcdef";
    const unsigned char *b = ((const struct sockaddr_in6 *)addr)->sin6_addr.s6_addr;
    char *at = out;
    for (int i = 15; i >= 0; i--) {
        *at++ = digits[b[i] & 0xf];
        *at++ = '.';
        *at++ = digits[b[i] >> 4];
        *at++ = '.';
    }
    memcpy(at, "ip6.arpa", sizeof "ip6.arpa");
}

int pi_lookup_name(struct pi_resolve *r, struct pi_dns_conf *conf, const struct pi_ask *ask)
{
    char name[REVERSE_CAP];
    struct pi_dns_answer answer;
    make_reverse(name, &r->addrs[0].any);
    struct pi_dns_query *q = pi_dns_begin(conf, name, PIER_DNS_PTR, ask->trace, ask->what);
    if (!q)
        return pier_error_code();
    int rc = pi_lookup_answer(&answer, q, ask);
    r->gai = EAI_NONAME;
    if (rc == 0 && answer.count > 0) {
        rc = pi_dns_name(r->host, q->reply->bytes, q->reply->len, answer.records[0].at) < 0
                 ? bad_reply(ask)
                 : 0;
        r->gai = r->host[0] ? 0 : EAI_NONAME;
    }
    pi_dns_end(q);
    return rc;
}

/* ---- public ---- */

/* The name as the DNS has it. */
static int make_name(char out[PIER_NAME_CAP], const char *name, int type, const char *what)
{
    union {
        struct sockaddr any;
        struct sockaddr_in in;
        struct sockaddr_in6 in6;
    } u = { .in6 = { 0 } };
    const char *why = NULL;
    u.any.sa_family = strchr(name, ':') ? AF_INET6 : AF_INET;
    void *ip = u.any.sa_family == AF_INET6 ? (void *)&u.in6.sin6_addr : (void *)&u.in.sin_addr;
    if (type == PIER_DNS_PTR && pi_addr_read_ip(ip, u.any.sa_family, name)) {
        make_reverse(out, &u.any);
        return 0;
    }
    int rc = pi_idn_to_ascii(out, PIER_NAME_CAP, name, &why);
    size_t len = rc == 0 ? strlen(out) : 0;
    if (rc == 0 && len > 1 && out[len - 1] == '.')
        out[len - 1] = '\0';
    return rc < 0 ? pi_fail_text(rc, "%s: %s", what, why) : 0;
}

int pier_dns_query(struct pier_dns_record *records, int cap, const char *name,
                   enum pier_dns_type type, const struct pier_resolve_opts *opts)
{
    char shown[PIER_NAME_CAP + 64], ascii[PIER_NAME_CAP];
    const struct pi_dns_trace trace = { opts ? opts->trace : NULL, opts ? opts->trace_arg : NULL,
                                        pi_clock_ns() };
    int len = snprintf(shown, sizeof shown, "resolve %s of ", pi_dns_type_name(type));
    pier_escape(shown + len, sizeof shown - (size_t)len, name, strlen(name));
    if (cap < 1)
        return pi_fail_text(-EINVAL, "%s: no room for a record", shown);
    if (pi_dns_type_name(type)[0] == '?')
        return pi_fail_text(-EINVAL, "%s: unknown type of record %d", shown, (int)type);
    if (io_is_simulated())
        return pi_fail(-EOPNOTSUPP, "%s", shown);
    int rc = make_name(ascii, name, type, shown);
    if (rc < 0)
        return rc;
    const struct pi_ask ask = { .what = shown, .deadline_ns = pi_resolve_deadline(opts) };
    struct pi_dns_conf *conf = pi_dns_conf_get(opts ? opts->servers : NULL, shown);
    if (!conf)
        return pier_error_code();
    struct pi_dns_query *q = pi_dns_begin(conf, ascii, type, &trace, shown);
    rc = q ? take_records(records, cap, q, &ask) : pier_error_code();
    pi_dns_end(q);
    pi_dns_conf_put(conf);
    return rc;
}
