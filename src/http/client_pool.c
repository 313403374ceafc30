/* SPDX-License-Identifier: MIT */
/*
 * http/client_pool.c - a client's connections between two requests.
 *
 * Nobody waits on an idle connection: whether the server has closed it is found out when it is
 * wanted, by a read that does not wait. Those that have been idle for too long are closed at the
 * next call of any kind, since there is no task whose job it could be.
 */
#include "http/client.h"

#include "base/sys.h"

#include <string.h>

/* Not asked again after so short a time: the read costs a twelfth of a request. */
#define FRESH_NS (10 * PIER_MILLISECOND)

void pi_link_free(struct pi_link *link)
{
    if (!link)
        return;
    pier_close(link->conn);
    pi_free(link->buf);
    pi_free(link->key);
    pi_free(link);
}

struct pi_link *pi_link_new(struct pier_conn *conn, const char *key)
{
    struct pi_link *link = pi_zalloc(sizeof *link);
    if (!link)
        return NULL;
    link->key = pi_strdup(key);
    link->buf = pi_alloc(PI_LINK_CAP);
    link->cap = PI_LINK_CAP;
    if (!link->key || !link->buf) {
        pi_free(link->key);
        pi_free(link->buf);
        pi_free(link);
        return NULL;
    }
    link->conn = conn;
    return link;
}

int pi_link_reserve(struct pi_link *link, size_t cap)
{
    if (cap <= link->cap)
        return 0;
    char *buf = pi_realloc(link->buf, cap);
    if (!buf)
        return -ENOMEM;
    link->buf = buf;
    link->cap = cap;
    return 0;
}

ssize_t pi_link_fill(struct pi_link *link, size_t keep)
{
    if (link->start == link->len)
        link->start = link->len = keep;
    if (link->len == link->cap && link->start > keep) {
        memmove(link->buf + keep, link->buf + link->start, link->len - link->start);
        link->len -= link->start - keep;
        link->start = keep;
    }
    if (link->len == link->cap)
        return -EMSGSIZE;
    ssize_t n = pier_read(link->conn, link->buf + link->len, link->cap - link->len);
    if (n > 0)
        link->len += (size_t)n;
    return n;
}

/* ---- idle ones ---- */

/* An idle server says nothing. What does come is an end, or no answer to anything. */
static bool is_alive(struct pi_link *link, int64_t now, bool may_repeat)
{
    struct pier_conn *c = link->conn;
    char byte;
    if (c->ahead_len > 0 || c->at_end || c->read_error || c->write_error)
        return false;
    if (may_repeat && now - link->idle_since_ns < FRESH_NS)
        return true;
    return c->transport->read(c, &byte, 1, IO_NOW) == -EAGAIN;
}

/* Closing may wait, as TLS says goodbye, and other tasks change the list meanwhile: so it begins
 * when nothing points into it. */
static void drop_old(struct pi_pool *pool, int64_t now)
{
    struct pi_link **at = &pool->idle, *old = NULL;
    while (*at) {
        struct pi_link *link = *at;
        if (pool->timeout_ns && now - link->idle_since_ns >= pool->timeout_ns) {
            *at = link->next;
            pool->count--;
            link->next = old;
            old = link;
        } else {
            at = &link->next;
        }
    }
    while (old) {
        struct pi_link *link = old;
        old = link->next;
        pi_link_free(link);
    }
}

struct pi_link *pi_pool_take(struct pi_pool *pool, const char *key, bool may_repeat)
{
    int64_t now = pi_clock_ns();
    drop_old(pool, now);
    for (struct pi_link **at = &pool->idle; *at;) {
        struct pi_link *link = *at;
        if (strcmp(link->key, key) != 0) {
            at = &link->next;
            continue;
        }
        *at = link->next;
        pool->count--;
        if (is_alive(link, now, may_repeat)) {
            link->next = NULL;
            return link;
        }
        pi_link_free(link);
        at = &pool->idle; /* which is another list perhaps: see drop_old() */
    }
    return NULL;
}

/* The oldest goes, of the same server where that has its share already. */
static void make_room(struct pi_pool *pool, const char *key)
{
    struct pi_link **last = NULL, **last_same = NULL;
    int same = 0;
    for (struct pi_link **at = &pool->idle; *at; at = &(*at)->next) {
        last = at;
        if (strcmp((*at)->key, key) == 0) {
            last_same = at;
            same++;
        }
    }
    struct pi_link **victim = same >= pool->most_per_key  ? last_same
                              : pool->count >= pool->most ? last
                                                          : NULL;
    if (!victim)
        return;
    struct pi_link *link = *victim;
    *victim = link->next;
    pool->count--;
    pi_link_free(link);
}

void pi_pool_give(struct pi_pool *pool, struct pi_link *link)
{
    int64_t now = pi_clock_ns();
    drop_old(pool, now);
    make_room(pool, link->key);
    link->was_used = true;
    link->start = link->len = 0;
    link->idle_since_ns = now;
    link->next = pool->idle;
    pool->idle = link;
    pool->count++;
}

void pi_pool_fini(struct pi_pool *pool)
{
    while (pool->idle) {
        struct pi_link *link = pool->idle;
        pool->idle = link->next;
        pi_link_free(link);
    }
    pool->count = 0;
}
