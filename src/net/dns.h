/* SPDX-License-Identifier: MIT */
/*
 * net/dns.h - asking name servers: queries of the tasks of a thread, by c-ares.
 *
 *     struct pi_dns_query *q = pi_dns_begin(conf, "example.org", PIER_DNS_A, NULL);
 *     int rc = pi_dns_wait(&q, 1, deadline_ns);
 *     ... q->reply, q->end ...
 *     pi_dns_end(q);
 *
 * Any number may be under way. A thread's queries to the same servers share a few sockets, equal
 * ones are one, and what the last of them needs goes with it: nothing stays but the cache.
 */
#ifndef PI_NET_DNS_H
#define PI_NET_DNS_H

#include "net/dns_cache.h"
#include "net/dns_conf.h"

enum pi_dns_end {
    PI_DNS_ASKING,
    PI_DNS_ANSWERED,    /* reply has what, be it an error of the name's */
    PI_DNS_SILENT,      /* no server has answered in time */
    PI_DNS_UNREACHABLE, /* no server is there, or can be reached from here */
    PI_DNS_FAILED,      /* SERVFAIL, or a lame server */
    PI_DNS_UNABLE,      /* NOTIMP, FORMERR */
    PI_DNS_UNWILLING,   /* REFUSED */
    PI_DNS_GARBLED,
    PI_DNS_BAD_NAME,
    PI_DNS_NO_MEMORY,
};

/* Told what happens to the queries of a look-up, a line each. */
struct pi_dns_trace {
    pier_resolve_trace say;
    void *arg;
    int64_t begin_ns;
};
void pi_dns_say(const struct pi_dns_trace *trace, const char *fmt, ...) PIER_PRINTF(2, 3);

struct pi_dns_link;

struct pi_dns_query {
    struct pi_dns_query *next; /* of its bucket */
    struct pi_dns_query *next_unsent;
    struct pi_dns_query *newer, *older; /* of those sent of late */
    struct pi_dns_channel *channel;     /* NULL: the cache has answered */
    struct pi_dns_link *waiters;
    const struct pi_dns_trace *trace; /* of the first that asked, while it waits */
    int users, type;
    bool is_unsent, is_sent, is_fresh;
    int64_t sent_ns;
    int server_error; /* the last one, pi_dns_rcode */
    enum pi_dns_end end;
    struct pi_dns_reply *reply;
    char name[PIER_NAME_CAP];
};

/* Asks for the records of a type, or the cache for them. conf is the caller's until the end. NULL
 * after pi_fail() with words that begin with what. Does not wait. */
struct pi_dns_query *pi_dns_begin(struct pi_dns_conf *conf, const char *name, int type,
                                  const struct pi_dns_trace *trace, const char *what);

/* Waits until one of the queries, at most two, each NULL or not yet answered, has been: 0; or a
 * negative code, -ETIMEDOUT at the deadline (0: none). */
int pi_dns_wait(struct pi_dns_query **queries, int count, int64_t deadline_ns);

/* The query is nobody's any more. NULL is fine. */
void pi_dns_end(struct pi_dns_query *q);

/* "no name server answers": for words. */
const char *pi_dns_reason(enum pi_dns_end end);

/* "AAAA"; "?" for one that is not known. */
const char *pi_dns_type_name(int type);

/* Queries of this thread, for tests. */
int pi_dns_count(void);

#endif
