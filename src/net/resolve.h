/* SPDX-License-Identifier: MIT */
/*
 * net/resolve.h - looking up names, for the files of this folder: by name servers (dns_lookup.c),
 * or by what else resolve.c knows.
 */
#ifndef PI_NET_RESOLVE_H
#define PI_NET_RESOLVE_H

#include "net/dns.h"
#include "net/dns_wire.h"
#include "task/io.h"

/* What is asked. All borrowed until the answer. */
struct pi_ask {
    const char *host;
    int family;          /* AF_UNSPEC: both */
    int flags;           /* of getaddrinfo(3); with AI_NUMERICHOST nothing is looked up */
    int64_t deadline_ns; /* 0: none */
    const char *what;    /* that the words of a failure begin with: "dial tcp://x:1" */
    const char *servers; /* as in struct pier_resolve_opts */
    const struct pi_dns_trace *trace;
};

/* The part of a look-up that is still under way. */
struct pi_lookup;

/* The addresses of a host, in the order to try them (RFC 6724); localhost is never looked up (RFC
 * 6761, 6.3). Returns a record with at least one address, for pi_free(); or NULL after pi_fail().
 * Waits. rest may be NULL; else, when one family's addresses alone are there and the other's have
 * not come within the resolution delay (RFC 8305, 3), they are the record, and *rest is not NULL.
 */
struct pi_resolve *pi_resolve_host(const struct pi_ask *ask, struct pi_lookup **rest) PIER_MUST_USE;

/* Waits for the other family, which may have none: a record of it, or NULL; and the rest is no
 * more. */
struct pi_resolve *pi_resolve_rest(struct pi_lookup *rest) PIER_MUST_USE;
/* The same without waiting, for nobody. NULL is fine. */
void pi_resolve_leave(struct pi_lookup *rest);

/* dns_lookup.c: asks the name servers of conf for r->host, going through the search list, and fills
 * r in. 0: r->gai and r->count say what; or a negative code after pi_fail(). */
int pi_lookup_addrs(struct pi_resolve *r, struct pi_dns_conf *conf, const struct pi_ask *ask,
                    struct pi_lookup **rest);

/* dns_query.c: the first name of an address: 0 and r->gai and r->host; or a negative code after
 * pi_fail(). */
int pi_lookup_name(struct pi_resolve *r, struct pi_dns_conf *conf, const struct pi_ask *ask);

/* Waits for one query: 0 and its answer, or a negative code after pi_fail(). */
int pi_lookup_answer(struct pi_dns_answer *answer, struct pi_dns_query *q,
                     const struct pi_ask *ask);

/* The deadline of a look-up with these options, which may be NULL. */
int64_t pi_resolve_deadline(const struct pier_resolve_opts *opts);

/* dns_sort.c: the order in which to try addresses (RFC 6724). */
void pi_addrs_sort(struct pi_resolve *r);

/* idn.c: a name as the DNS has it: ASCII as it is, else its xn-- form (UTS 46, non-transitional).
 * 0; or a negative code, and *why says why, in static words. */
int pi_idn_to_ascii(char *out, size_t cap, const char *name, const char **why);

#endif
