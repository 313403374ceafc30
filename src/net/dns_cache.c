/* SPDX-License-Identifier: MIT */
/*
 * net/dns_cache.c - see dns_cache.h. An entry is a message as it came, under the servers, the name
 * in lower case and the type, so that servers that a caller brings along never answer for those of
 * the system.
 */
#include "net/dns_cache.h"

#include "base/assert.h"

#include <ctype.h>
#include <pthread.h>
#include <string.h>

enum { BUCKETS = 1024 };

struct entry {
    struct entry *next;          /* of its bucket */
    struct entry *newer, *older; /* by use */
    uint64_t hash;
    int64_t kept_ns, until_ns;
    size_t size; /* of all of it */
    size_t key_len, len;
    char bytes[]; /* the key, then the message */
};

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static struct entry *buckets[BUCKETS], *newest, *oldest;
static size_t bytes_used;
static uint64_t seed; /* names are their askers' choice */

struct key {
    uint64_t hash;
    size_t len;
    char bytes[sizeof(int) + PIER_NAME_CAP + sizeof(struct pier_addr) * PI_DNS_SERVERS_MAX];
};

static void add_to_key(struct key *k, const void *bytes, size_t len)
{
    PIER_ASSERT(len <= sizeof k->bytes - k->len);
    memcpy(k->bytes + k->len, bytes, len);
    k->len += len;
}

static void make_key(struct key *k, const struct pi_dns_conf *conf, const char *name, int type)
{
    k->len = 0;
    add_to_key(k, &type, sizeof type);
    add_to_key(k, conf->servers, (size_t)conf->server_count * sizeof conf->servers[0]);
    for (const char *at = name; *at; at++) {
        char c = (char)tolower((unsigned char)*at);
        add_to_key(k, &c, 1);
    }
    k->hash = seed;
    for (size_t i = 0; i < k->len; i++)
        k->hash = (k->hash ^ (unsigned char)k->bytes[i]) * 1099511628211U;
    k->hash ^= k->hash >> 32;
}

static struct entry **bucket_of(uint64_t hash)
{
    return &buckets[hash % BUCKETS];
}

/* ---- with the lock held ---- */

static void unlist(struct entry *e)
{
    *(e->newer ? &e->newer->older : &newest) = e->older;
    *(e->older ? &e->older->newer : &oldest) = e->newer;
}

static void list_newest(struct entry *e)
{
    e->newer = NULL;
    e->older = newest;
    *(newest ? &newest->newer : &oldest) = e;
    newest = e;
}

static void drop(struct entry *e)
{
    struct entry **at = bucket_of(e->hash);
    while (*at != e)
        at = &(*at)->next;
    *at = e->next;
    unlist(e);
    bytes_used -= e->size;
    pi_free(e);
}

static struct entry *find(const struct key *k)
{
    struct entry *e = *bucket_of(k->hash);
    while (e &&
           (e->hash != k->hash || e->key_len != k->len || memcmp(e->bytes, k->bytes, k->len) != 0))
        e = e->next;
    return e;
}

static void begin(void)
{
    pthread_mutex_lock(&lock);
    if (!seed)
        pi_random(&seed, sizeof seed);
}

/* ---- for others ---- */

struct pi_dns_reply *pi_dns_cache_find(const struct pi_dns_conf *conf, const char *name, int type)
{
    struct key key;
    struct pi_dns_reply *reply = NULL;
    int64_t now = pi_clock_ns();
    begin();
    make_key(&key, conf, name, type);
    struct entry *e = find(&key);
    if (e && e->until_ns <= now) {
        drop(e);
        e = NULL;
    }
    if (e) {
        unlist(e);
        list_newest(e);
        reply = pi_alloc(sizeof *reply + e->len);
    }
    if (reply) {
        reply->age_s = (now - e->kept_ns) / PIER_SECOND;
        reply->len = e->len;
        memcpy(reply->bytes, e->bytes + e->key_len, e->len);
    }
    pthread_mutex_unlock(&lock);
    return reply;
}

void pi_dns_cache_keep(const struct pi_dns_conf *conf, const char *name, int type, uint32_t ttl,
                       const struct pi_dns_reply *reply)
{
    struct key key;
    if (ttl == 0)
        return;
    begin();
    make_key(&key, conf, name, type);
    struct entry *e = find(&key);
    if (e)
        drop(e);
    size_t size = sizeof *e + key.len + reply->len;
    e = size <= PI_DNS_CACHE_BYTES ? pi_alloc(size) : NULL;
    if (e) {
        int64_t now = pi_clock_ns();
        *e = (struct entry){ .hash = key.hash, .kept_ns = now, .size = size };
        e->until_ns = now + ttl * PIER_SECOND;
        e->key_len = key.len;
        e->len = reply->len;
        memcpy(e->bytes, key.bytes, key.len);
        memcpy(e->bytes + key.len, reply->bytes, reply->len);
        e->next = *bucket_of(key.hash);
        *bucket_of(key.hash) = e;
        list_newest(e);
        bytes_used += size;
    }
    while (bytes_used > PI_DNS_CACHE_BYTES)
        drop(oldest);
    pthread_mutex_unlock(&lock);
}

void pi_dns_cache_clear(void)
{
    pthread_mutex_lock(&lock);
    while (oldest)
        drop(oldest);
    pthread_mutex_unlock(&lock);
}

size_t pi_dns_cache_size(void)
{
    pthread_mutex_lock(&lock);
    size_t size = bytes_used;
    pthread_mutex_unlock(&lock);
    return size;
}
