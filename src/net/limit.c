/* SPDX-License-Identifier: MIT */
/*
 * net/limit.c - the tables behind the limits of addresses.
 *
 * A table has buckets of 16 entries, and an address its bucket by its hash, whose key strangers do
 * not know. Nothing is linked, so a process may die between any two stores. What makes room where a
 * bucket is full must not be of use to those who fill it:
 * - Rates: who comes takes over the entry that is nearest to being forgotten, with its time. What
 *   an entry says only grows, so an address that was pushed out and comes back finds at least its
 *   own time again: nobody gets more than the rate, however many addresses he has (the idea of
 *   Metwally and others, "Space-Saving", 2005). Crowded buckets are too strict, never too lax.
 * - Bans: the one that ends first gives way, to one that ends later.
 * - Connections: never forgotten. There is room for eight times as many addresses as the server has
 *   connections; should a bucket be full all the same, the connection is refused.
 */
#define _GNU_SOURCE
#include "net/limit.h"

#include "base/assert.h"
#include "base/siphash.h"

#include <errno.h>
#include <stdatomic.h>
#include <string.h>

enum {
    WAYS = 16,
    RATES = 1 << 17, /* addresses: 2 MiB */
    BANS = 1 << 17,
    ROOM = 8,        /* entries a connection */
    LEAST = 1 << 10, /* entries of a table of connections */
    TRIES = 8,       /* against others that change the same bucket */
};

struct entry {
    _Atomic uint64_t id; /* 0: none */
    _Atomic int64_t value;
};

struct pi_limits {
    _Alignas(64) uint64_t key[2];
    struct pi_limit_opts opts;
    size_t conns; /* entries of each slot's table, a power of two */
    size_t rates; /* 0: none */
    _Atomic bool has_bans;
    struct entry entries[]; /* bans, rates, a table of connections a slot */
};

/* ---- the block ---- */

static size_t conns_cap(const struct pi_limit_opts *o)
{
    size_t cap = LEAST;
    while (cap < (size_t)o->max_conns * ROOM)
        cap *= 2;
    return o->max_per_ip > 0 ? cap : 0;
}

static size_t rates_cap(const struct pi_limit_opts *o)
{
    return o->interval_ns > 0 ? RATES : 0;
}

size_t pi_limits_size(const struct pi_limit_opts *opts)
{
    size_t entries = BANS + rates_cap(opts) + conns_cap(opts) * (size_t)opts->slots;
    return sizeof(struct pi_limits) + entries * sizeof(struct entry);
}

void pi_limits_init(struct pi_limits *l, const struct pi_limit_opts *opts, const uint64_t key[2])
{
    l->opts = *opts;
    memcpy(l->key, key, sizeof l->key);
    l->conns = conns_cap(opts);
    l->rates = rates_cap(opts);
}

uint64_t pi_limits_id(const struct pi_limits *l, const struct pi_ip *ip)
{
    uint64_t words[2] = { ip->high, (uint64_t)ip->version };
    uint64_t id = pi_siphash(l->key, words, 2);
    return id ? id : 1;
}

static struct entry *bucket(struct entry *table, size_t cap, uint64_t id)
{
    return table + (id & (cap - 1)) / WAYS * WAYS;
}

static struct entry *bans_of(const struct pi_limits *l, uint64_t id)
{
    return bucket((struct entry *)l->entries, BANS, id);
}

static struct entry *conns_of(const struct pi_limits *l, int slot, uint64_t id)
{
    PIER_ASSERT(slot >= 0 && slot < l->opts.slots);
    struct entry *table = (struct entry *)l->entries + BANS + l->rates + (size_t)slot * l->conns;
    return bucket(table, l->conns, id);
}

static int64_t value_of(const struct entry *e)
{
    return atomic_load_explicit(&e->value, memory_order_acquire);
}

static struct entry *find(struct entry *ways, uint64_t id)
{
    for (int i = 0; i < WAYS; i++)
        if (atomic_load_explicit(&ways[i].id, memory_order_relaxed) == id)
            return &ways[i];
    return NULL;
}

/* The entry with the least value: one that was never used, if there is one. */
static struct entry *least(struct entry *ways)
{
    struct entry *best = &ways[0];
    for (int i = 1; i < WAYS; i++)
        if (value_of(&ways[i]) < value_of(best))
            best = &ways[i];
    return best;
}

/* ---- bans ---- */

bool pi_limits_has_bans(const struct pi_limits *l)
{
    return atomic_load_explicit(&l->has_bans, memory_order_relaxed);
}

bool pi_limits_is_banned(const struct pi_limits *l, const struct pi_ip *ip, int64_t now_ns)
{
    uint64_t id = pi_limits_id(l, ip);
    const struct entry *e = find(bans_of(l, id), id);
    return e && value_of(e) > now_ns;
}

int pi_limits_ban(struct pi_limits *l, uint64_t id, int64_t until_ns, int64_t now_ns)
{
    struct entry *ways = bans_of(l, id);
    struct entry *e = find(ways, id);
    bool lifts = until_ns <= now_ns;
    for (int i = 0; !e && !lifts && i < TRIES; i++) {
        struct entry *other = least(ways);
        uint64_t was = atomic_load(&other->id);
        if (value_of(other) >= until_ns)
            return -ENOSPC;
        if (atomic_compare_exchange_strong(&other->id, &was, id))
            e = other;
    }
    if (e)
        atomic_store(&e->value, lifts ? 0 : until_ns);
    if (!lifts)
        atomic_store(&l->has_bans, true);
    return e || lifts ? 0 : -ENOSPC;
}

/* ---- rates ---- */

/* Two processes that make room at the same moment may do so twice: then an address has two entries,
 * of which the first one counts, or shares one, which is too strict; both for a moment only. */
static struct entry *rate_of(struct pi_limits *l, uint64_t id)
{
    struct entry *ways = bucket(l->entries + BANS, l->rates, id);
    struct entry *e = find(ways, id);
    if (e)
        return e;
    e = least(ways);
    atomic_store(&e->id, id);
    return e;
}

bool pi_limits_pass(struct pi_limits *l, uint64_t id, int64_t now_ns)
{
    if (l->rates == 0)
        return true;
    struct entry *e = rate_of(l, id);
    int64_t due = value_of(e); /* when the next one would be in time */
    for (;;) {
        int64_t next = (due > now_ns ? due : now_ns) + l->opts.interval_ns;
        if (next - now_ns > l->opts.tolerance_ns)
            return false;
        if (atomic_compare_exchange_weak(&e->value, &due, next))
            return true;
    }
}

/* ---- connections ---- */

int pi_limits_count(const struct pi_limits *l, uint64_t id)
{
    int64_t sum = 0;
    for (int slot = 0; l->conns > 0 && slot < l->opts.slots; slot++) {
        const struct entry *e = find(conns_of(l, slot, id), id);
        sum += e ? value_of(e) : 0;
    }
    return (int)sum;
}

/* As places.c: it counts itself in first and looks at the sum then, so of two processes that want
 * the last place at most one gets it. */
bool pi_limits_enter(struct pi_limits *l, int slot, uint64_t id)
{
    if (l->conns == 0)
        return true;
    struct entry *ways = conns_of(l, slot, id);
    struct entry *e = find(ways, id);
    if (!e) {
        e = least(ways);
        if (value_of(e) > 0)
            return false;
        atomic_store(&e->id, id);
    }
    atomic_fetch_add(&e->value, 1);
    if (pi_limits_count(l, id) <= l->opts.max_per_ip)
        return true;
    atomic_fetch_sub(&e->value, 1);
    return false;
}

void pi_limits_leave(struct pi_limits *l, int slot, uint64_t id)
{
    if (l->conns == 0)
        return;
    struct entry *e = find(conns_of(l, slot, id), id);
    PIER_ASSERT(e && value_of(e) > 0);
    atomic_fetch_sub(&e->value, 1);
}

void pi_limits_clear(struct pi_limits *l, int slot)
{
    if (l->conns == 0)
        return;
    struct entry *table = l->entries + BANS + l->rates + (size_t)slot * l->conns;
    for (size_t i = 0; i < l->conns; i++)
        if (atomic_load_explicit(&table[i].id, memory_order_relaxed) != 0)
            atomic_store(&table[i].value, 0);
}
