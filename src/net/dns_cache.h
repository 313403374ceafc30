/* SPDX-License-Identifier: MIT */
/*
 * net/dns_cache.h - the process's cache of replies, positive and negative (RFC 2308), for as long
 * as their records say. Bounded in bytes; the least recently used make room. From any thread; never
 * waits.
 */
#ifndef PI_NET_DNS_CACHE_H
#define PI_NET_DNS_CACHE_H

#include "net/dns_conf.h"

enum {
    PI_DNS_CACHE_BYTES = 2 << 20,
    PI_DNS_TTL_MAX = 24 * 3600,         /* what is older is asked for again */
    PI_DNS_NEGATIVE_TTL_MAX = 3 * 3600, /* RFC 2308, 5 */
};

/* A message, and the age in seconds that its times to live have. For pi_free(). */
struct pi_dns_reply {
    int64_t age_s;
    size_t len;
    unsigned char bytes[];
};

/* What these servers have said; NULL: nothing that still holds (or there is no memory). */
struct pi_dns_reply *pi_dns_cache_find(const struct pi_dns_conf *conf, const char *name,
                                       int type) PIER_MUST_USE;

/* Keeps it for ttl seconds. Without memory it is not kept. */
void pi_dns_cache_keep(const struct pi_dns_conf *conf, const char *name, int type, uint32_t ttl,
                       const struct pi_dns_reply *reply);

void pi_dns_cache_clear(void);

/* Bytes in use, for tests. */
size_t pi_dns_cache_size(void);

#endif
