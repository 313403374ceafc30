/* SPDX-License-Identifier: MIT */
/*
 * net/cidr.c - sets of networks: reading them, and the structure in which they are looked up.
 *
 * Nested networks are flattened to the addresses at which the answer changes. Since it only ever
 * changes between two values, those edges are all that is kept: whether an address is let in
 * follows from whether the number of edges up to it is odd. The upper halves of the edges are in
 * order, and every sixteenth of them is in the level above, and so on: a look-up reads two cache
 * lines a level. The lower halves are looked at only where upper halves are equal, and exist only
 * where a network is longer than /64.
 */
#define _GNU_SOURCE
#include "net/cidr.h"

#include "base/assert.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <stdlib.h>
#include <string.h>

enum {
    NODE = 16,       /* keys that are read at once */
    LEVELS = 16,     /* of 64 bits, four each: more than can be */
    DEPTH = 130,     /* networks around each other: one a length of prefix */
    LINE_MOST = 100, /* the longest address has 45 characters */
    FIRST_CAP = 64,
};

typedef unsigned __int128 wide;

/* One family's edges. */
struct edges {
    uint64_t *levels[LEVELS]; /* the lowest has all, each padded to whole nodes */
    size_t counts[LEVELS];
    int level_count;
    uint64_t *lows; /* NULL: all are 0 */
    bool otherwise; /* below the first edge */
};

struct pi_cidr_set {
    struct edges in, in6;
};

/* ---- addresses ---- */

static uint64_t load64(const uint8_t *bytes)
{
    uint64_t value;
    memcpy(&value, bytes, sizeof value);
    return be64toh(value);
}

static void set_in(struct pi_ip *ip, const void *addr)
{
    uint32_t value;
    memcpy(&value, addr, sizeof value);
    *ip = (struct pi_ip){ .high = (uint64_t)ntohl(value) << 32, .version = 4 };
}

static void set_in6(struct pi_ip *ip, const struct in6_addr *addr)
{
    if (IN6_IS_ADDR_V4MAPPED(addr))
        set_in(ip, &addr->s6_addr[12]);
    else
        *ip = (struct pi_ip){ load64(addr->s6_addr), load64(addr->s6_addr + 8), 6 };
}

bool pi_ip_of(struct pi_ip *ip, const struct sockaddr *addr)
{
    struct sockaddr_in6 copy = { 0 };
    if (addr->sa_family != AF_INET && addr->sa_family != AF_INET6)
        return false;
    bool is_in6 = addr->sa_family == AF_INET6;
    memcpy(&copy, addr, is_in6 ? sizeof copy : sizeof(struct sockaddr_in));
    if (is_in6)
        set_in6(ip, &copy.sin6_addr);
    else
        set_in(ip, &((struct sockaddr_in *)&copy)->sin_addr);
    return true;
}

/* ---- reading ---- */

static bool read_ip(struct pi_ip *ip, bool *mapped, const char *text)
{
    struct in6_addr addr;
    *mapped = false;
    if (inet_pton(AF_INET, text, &addr) == 1) {
        set_in(ip, &addr);
        return true;
    }
    if (inet_pton(AF_INET6, text, &addr) != 1)
        return false;
    set_in6(ip, &addr);
    *mapped = ip->version == 4;
    return true;
}

bool pi_ip_read(struct pi_ip *ip, const char *text)
{
    bool mapped;
    return read_ip(ip, &mapped, text);
}

/* Digits alone, at most three: -1 for anything else. */
static int read_bits(const char *text)
{
    size_t len = strlen(text);
    if (len == 0 || len > 3 || strspn(text, "0123456789") != len)
        return -1;
    return atoi(text);
}

static void cut(struct pi_cidr *c)
{
    wide ones = c->bits == 0 ? 0 : ~(wide)0 << (128 - c->bits);
    c->high &= (uint64_t)(ones >> 64);
    c->low &= (uint64_t)ones;
}

/* NULL, or why it is none; at: where in text. */
static const char *read_cidr(struct pi_cidr *out, char *text, size_t *at)
{
    struct pi_ip ip;
    bool mapped;
    char *slash = strchr(text, '/');
    if (slash)
        *slash = '\0';
    *at = 0;
    if (!read_ip(&ip, &mapped, text))
        return "not an IPv4 or IPv6 address";
    int most = ip.version == 4 ? 32 : 128;
    int bits = most;
    if (slash) {
        *at = (size_t)(slash + 1 - text);
        bits = read_bits(slash + 1) - (mapped ? 96 : 0);
        if (bits < 0 || bits > most)
            return mapped            ? "not the length of a mapped prefix, 96 to 128"
                   : ip.version == 4 ? "not the length of a prefix, 0 to 32"
                                     : "not the length of a prefix, 0 to 128";
    }
    *out = (struct pi_cidr){ ip.high, ip.low, (uint8_t)ip.version, (uint8_t)bits, false };
    cut(out);
    return NULL;
}

static int add(struct pi_cidrs *list, const struct pi_cidr *c)
{
    if (list->count == list->cap) {
        size_t cap = list->cap ? list->cap * 2 : FIRST_CAP;
        struct pi_cidr *more = pi_realloc(list->items, cap * sizeof *more);
        if (!more)
            return -ENOMEM;
        list->items = more;
        list->cap = cap;
    }
    list->items[list->count++] = *c;
    return 0;
}

static bool is_blank(char c)
{
    return c == ' ' || c == '\t' || c == '\r';
}

/* One line without its end. */
static int read_line(struct pi_cidrs *list, const char *line, size_t len, bool denies,
                     struct pi_cidr_fault *fault)
{
    char text[LINE_MOST + 1];
    const char *comment = memchr(line, '#', len);
    size_t from = 0, to = comment ? (size_t)(comment - line) : len;
    while (from < to && is_blank(line[from]))
        from++;
    while (to > from && is_blank(line[to - 1]))
        to--;
    if (from == to)
        return 0;
    struct pi_cidr c;
    size_t at = 0;
    fault->column = from + 1;
    fault->why = "not an IPv4 or IPv6 address";
    if (to - from > LINE_MOST || memchr(line + from, '\0', to - from))
        return -EINVAL;
    memcpy(text, line + from, to - from);
    text[to - from] = '\0';
    fault->why = read_cidr(&c, text, &at);
    fault->column += at;
    if (fault->why)
        return -EINVAL;
    c.denies = denies;
    return add(list, &c);
}

int pi_cidrs_read(struct pi_cidrs *list, const char *text, size_t len, bool denies,
                  struct pi_cidr_fault *fault)
{
    int rc = 0;
    *fault = (struct pi_cidr_fault){ 0 };
    for (size_t at = 0; at < len && rc == 0;) {
        const char *end = memchr(text + at, '\n', len - at);
        size_t line_len = end ? (size_t)(end - text) - at : len - at;
        fault->line++;
        rc = read_line(list, text + at, line_len, denies, fault);
        at += line_len + 1;
    }
    return rc;
}

void pi_cidrs_fini(struct pi_cidrs *list)
{
    pi_free(list->items);
    *list = (struct pi_cidrs){ 0 };
}

/* ---- making a set ---- */

static wide first_of(const struct pi_cidr *c)
{
    return (wide)c->high << 64 | c->low;
}

static wide last_of(const struct pi_cidr *c)
{
    return first_of(c) | (c->bits == 128 ? 0 : ~(wide)0 >> c->bits);
}

/* IPv4 first; by address; the larger network before those in it; of equal ones the one that denies
 * last. */
static int compare(const void *left, const void *right)
{
    const struct pi_cidr *a = left, *b = right;
    if (a->version != b->version)
        return a->version < b->version ? -1 : 1;
    if (a->high != b->high)
        return a->high < b->high ? -1 : 1;
    if (a->low != b->low)
        return a->low < b->low ? -1 : 1;
    if (a->bits != b->bits)
        return a->bits < b->bits ? -1 : 1;
    return a->denies - b->denies;
}

static bool is_same_network(const struct pi_cidr *a, const struct pi_cidr *b)
{
    return a->high == b->high && a->low == b->low && a->bits == b->bits;
}

/* The edges as they come. */
struct sweep {
    uint64_t *highs, *lows;
    size_t count;
    bool otherwise, allows;
    struct {
        wide last;
        bool allows;
    } around[DEPTH]; /* the networks that the present address is in */
    int depth;
};

static wide last_edge(const struct sweep *s)
{
    return (wide)s->highs[s->count - 1] << 64 | s->lows[s->count - 1];
}

/* From at on the answer is this. */
static void turn(struct sweep *s, wide at, bool allows)
{
    if (s->count > 0 && last_edge(s) == at) { /* nothing was between the two */
        s->count--;
        s->allows = !s->allows;
    }
    if (allows == s->allows)
        return;
    s->highs[s->count] = (uint64_t)(at >> 64);
    s->lows[s->count++] = (uint64_t)at;
    s->allows = allows;
}

/* Leaves the innermost network; the one around it goes on. */
static void leave(struct sweep *s)
{
    wide last = s->around[--s->depth].last;
    if (last != ~(wide)0)
        turn(s, last + 1, s->depth > 0 ? s->around[s->depth - 1].allows : s->otherwise);
}

static void sweep(struct sweep *s, const struct pi_cidr *items, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        const struct pi_cidr *c = &items[i];
        if (i + 1 < count && is_same_network(c, c + 1))
            continue;
        while (s->depth > 0 && s->around[s->depth - 1].last < first_of(c))
            leave(s);
        PIER_ASSERT(s->depth < DEPTH);
        s->around[s->depth].last = last_of(c);
        s->around[s->depth++].allows = !c->denies;
        turn(s, first_of(c), !c->denies);
    }
    while (s->depth > 0)
        leave(s);
}

static size_t padded(size_t count)
{
    return (count + NODE - 1) / NODE * NODE;
}

static void pad(uint64_t *keys, size_t count)
{
    for (size_t i = count; i < padded(count); i++)
        keys[i] = UINT64_MAX;
}

static int build_levels(struct edges *e)
{
    while (e->counts[e->level_count - 1] > NODE) {
        const uint64_t *below = e->levels[e->level_count - 1];
        size_t count = padded(e->counts[e->level_count - 1]) / NODE;
        uint64_t *keys = pi_alloc(padded(count) * sizeof *keys);
        if (!keys)
            return -ENOMEM;
        for (size_t i = 0; i < count; i++)
            keys[i] = below[i * NODE];
        pad(keys, count);
        e->levels[e->level_count] = keys;
        e->counts[e->level_count++] = count;
    }
    return 0;
}

/* Gives back what is not needed: most sets have fewer edges than their networks might have had, and
 * no lower halves. */
static int shrink(uint64_t **keys, size_t count)
{
    uint64_t *less = pi_realloc(*keys, (padded(count) + NODE) * sizeof *less);
    if (!less)
        return -ENOMEM;
    *keys = less;
    return 0;
}

static bool are_zero(const uint64_t *keys, size_t count)
{
    for (size_t i = 0; i < count; i++)
        if (keys[i] != 0)
            return false;
    return true;
}

static int build(struct edges *e, const struct pi_cidr *items, size_t count, bool otherwise)
{
    size_t room = (padded(2 * count) + NODE) * sizeof(uint64_t);
    struct sweep *s = pi_zalloc(sizeof *s);
    uint64_t *highs = pi_alloc(room), *lows = pi_alloc(room);
    e->levels[0] = highs;
    e->lows = lows;
    e->level_count = 1;
    e->otherwise = otherwise;
    if (!s || !highs || !lows) {
        pi_free(s);
        return -ENOMEM;
    }
    *s =
        (struct sweep){ .highs = highs, .lows = lows, .otherwise = otherwise, .allows = otherwise };
    sweep(s, items, count);
    e->counts[0] = s->count;
    pi_free(s);
    pad(highs, e->counts[0]);
    if (are_zero(lows, e->counts[0])) {
        pi_free(lows);
        e->lows = NULL;
    }
    int rc = shrink(&e->levels[0], e->counts[0]);
    if (rc == 0 && e->lows)
        rc = shrink(&e->lows, e->counts[0]);
    return rc < 0 ? rc : build_levels(e);
}

struct pi_cidr_set *pi_cidr_set_new(struct pi_cidrs *list, bool otherwise)
{
    struct pi_cidr_set *set = pi_zalloc(sizeof *set);
    if (!set)
        return NULL;
    if (list->count > 0)
        qsort(list->items, list->count, sizeof *list->items, compare);
    size_t in = 0;
    while (in < list->count && list->items[in].version == 4)
        in++;
    int rc = build(&set->in, list->items, in, otherwise);
    if (rc == 0)
        rc = build(&set->in6, list->items + in, list->count - in, otherwise);
    if (rc == 0)
        return set;
    pi_cidr_set_free(set);
    return NULL;
}

static void fini(struct edges *e)
{
    for (int i = 0; i < e->level_count; i++)
        pi_free(e->levels[i]);
    pi_free(e->lows);
}

void pi_cidr_set_free(struct pi_cidr_set *set)
{
    if (!set)
        return;
    fini(&set->in);
    fini(&set->in6);
    pi_free(set);
}

/* ---- looking up ---- */

/* How many of a node's keys are at most x: by quarters, then within one. Without branches, which
 * would be guesses; all sixteen compared one by one cost a third more, halving four times as well.
 */
static inline size_t rank(const uint64_t *keys, uint64_t x)
{
    size_t quarter = (size_t)(keys[4] <= x) + (keys[8] <= x) + (keys[12] <= x);
    keys += quarter * 4;
    return quarter * 4 + (keys[0] <= x) + (keys[1] <= x) + (keys[2] <= x) + (keys[3] <= x);
}

/* How many upper halves are at most x. */
static size_t count_up_to(const struct edges *e, uint64_t x)
{
    size_t at = 0;
    for (int i = e->level_count - 1; i >= 0; i--) {
        size_t found = rank(e->levels[i] + at * NODE, x);
        if (found == 0)
            return 0; /* below the first; on lower levels the first of a node never is */
        at = at * NODE + found - 1;
        if (at >= e->counts[i]) /* padding */
            at = e->counts[i] - 1;
    }
    return at + 1;
}

/* Of the edges before end with the same upper half as the last one: how many edges there are up to
 * low. */
static size_t count_lows(const struct edges *e, size_t end, uint64_t low)
{
    const uint64_t *highs = e->levels[0];
    uint64_t high = highs[end - 1];
    size_t step = 1;
    while (step < end && highs[end - 1 - step] == high)
        step *= 2;
    size_t from = step < end ? end - step : 0; /* at or before the first of them, or a lower one */
    while (from < end) {
        size_t middle = from + (end - from) / 2;
        if (highs[middle] == high && e->lows[middle] > low)
            end = middle;
        else
            from = middle + 1;
    }
    return end;
}

bool pi_cidr_set_allows(const struct pi_cidr_set *set, const struct pi_ip *ip)
{
    const struct edges *e = ip->version == 4 ? &set->in : &set->in6;
    if (e->counts[0] == 0)
        return e->otherwise;
    size_t count = count_up_to(e, ip->high);
    if (count > 0 && e->lows && e->levels[0][count - 1] == ip->high)
        count = count_lows(e, count, ip->low);
    return e->otherwise ^ (count & 1);
}

static size_t size_of(const struct edges *e)
{
    size_t size = e->lows ? e->counts[0] * sizeof *e->lows : 0;
    for (int i = 0; i < e->level_count; i++)
        size += padded(e->counts[i]) * sizeof(uint64_t);
    return size;
}

size_t pi_cidr_set_size(const struct pi_cidr_set *set)
{
    return sizeof *set + size_of(&set->in) + size_of(&set->in6);
}
