/* SPDX-License-Identifier: MIT */
/*
 * task/timer.c - the heap of timer.h. Each entry carries its time beside the pointer, so that
 * sifting reads no timer; four children a node halve the depth of a binary heap for the same cache
 * lines.
 */
#include "task/timer.h"

#include "base/assert.h"
#include "base/sys.h"

enum { WIDTH = 4, FIRST_CAP = 16 };

int pi_timer_grow(struct pi_timers *all)
{
    size_t cap = all->cap ? all->cap * 2 : FIRST_CAP;
    struct pi_timer_entry *heap = pi_realloc(all->heap, cap * sizeof *heap);
    if (!heap)
        return -ENOMEM;
    all->heap = heap;
    all->cap = cap;
    return 0;
}

static void place(struct pi_timers *all, size_t at, struct pi_timer_entry entry)
{
    all->heap[at] = entry;
    entry.timer->slot = at + 1;
}

static void sift_up(struct pi_timers *all, size_t at, struct pi_timer_entry entry)
{
    while (at > 0) {
        size_t parent = (at - 1) / WIDTH;
        if (all->heap[parent].when_ns <= entry.when_ns)
            break;
        place(all, at, all->heap[parent]);
        at = parent;
    }
    place(all, at, entry);
}

static size_t earliest_child(const struct pi_timers *all, size_t at)
{
    size_t first = at * WIDTH + 1;
    size_t end = first + WIDTH < all->count ? first + WIDTH : all->count;
    size_t best = first;
    for (size_t i = first + 1; i < end; i++)
        if (all->heap[i].when_ns < all->heap[best].when_ns)
            best = i;
    return best;
}

static void sift_down(struct pi_timers *all, size_t at, struct pi_timer_entry entry)
{
    while (at * WIDTH + 1 < all->count) {
        size_t child = earliest_child(all, at);
        if (all->heap[child].when_ns >= entry.when_ns)
            break;
        place(all, at, all->heap[child]);
        at = child;
    }
    place(all, at, entry);
}

static void settle(struct pi_timers *all, size_t at, struct pi_timer_entry entry)
{
    if (at > 0 && entry.when_ns < all->heap[(at - 1) / WIDTH].when_ns)
        sift_up(all, at, entry);
    else
        sift_down(all, at, entry);
}

void pi_timer_arm(struct pi_timers *all, struct pi_timer *t, int64_t when_ns)
{
    t->when_ns = when_ns;
    struct pi_timer_entry entry = { when_ns, t };
    if (t->slot) {
        settle(all, t->slot - 1, entry);
        return;
    }
    PIER_ASSERT(all->count < all->reserved);
    all->count++;
    sift_up(all, all->count - 1, entry);
}

void pi_timer_remove(struct pi_timers *all, struct pi_timer *t)
{
    size_t at = t->slot - 1;
    PIER_ASSERT(at < all->count && all->heap[at].timer == t);
    t->slot = 0;
    struct pi_timer_entry last = all->heap[--all->count];
    if (at < all->count)
        settle(all, at, last);
}

void pi_timer_run(struct pi_timers *all, int64_t now_ns)
{
    while (all->count > 0 && all->heap[0].when_ns <= now_ns) {
        struct pi_timer *t = all->heap[0].timer;
        pi_timer_disarm(all, t);
        t->fire(t);
    }
}

void pi_timer_fini(struct pi_timers *all)
{
    pi_free(all->heap);
    *all = (struct pi_timers){ 0 };
}
