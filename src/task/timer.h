/* SPDX-License-Identifier: MIT */
/*
 * task/timer.h - a loop's timers: a 4-ary heap that never fails to arm, because room is reserved
 * when a task starts.
 *
 * Waits arm lazily: a task's timer may stand earlier than its present deadline and is then moved
 * when it fires, so that a connection that is read and read again within its idle time-out touches
 * the heap once in five minutes.
 */
#ifndef PI_TASK_TIMER_H
#define PI_TASK_TIMER_H

#include "base/assert.h"

#include <pier/base.h>

#include <stddef.h>
#include <stdint.h>

struct pi_timer {
    int64_t when_ns;
    size_t slot; /* place in the heap plus 1; 0: not armed */
    void (*fire)(struct pi_timer *t);
};

struct pi_timer_entry {
    int64_t when_ns;
    struct pi_timer *timer;
};

struct pi_timers {
    struct pi_timer_entry *heap;
    size_t count, cap, reserved;
};

/* 0 or -ENOMEM. */
int pi_timer_grow(struct pi_timers *all) PIER_MUST_USE;

/* Makes sure that one timer more can be armed at any time. 0 or -ENOMEM. */
PIER_MUST_USE static inline int pi_timer_reserve(struct pi_timers *all)
{
    int rc = all->reserved < all->cap ? 0 : pi_timer_grow(all);
    all->reserved += rc == 0;
    return rc;
}

static inline void pi_timer_unreserve(struct pi_timers *all)
{
    PIER_ASSERT(all->reserved > all->count);
    all->reserved--;
}

/* Arms a timer whose room is reserved, or moves it. */
void pi_timer_arm(struct pi_timers *all, struct pi_timer *t, int64_t when_ns);

void pi_timer_remove(struct pi_timers *all, struct pi_timer *t);

/* Does nothing to one that is not armed. */
static inline void pi_timer_disarm(struct pi_timers *all, struct pi_timer *t)
{
    if (t->slot)
        pi_timer_remove(all, t);
}

/* The earliest point of time, or 0 when none is armed. */
static inline int64_t pi_timer_next(const struct pi_timers *all)
{
    return all->count ? all->heap[0].when_ns : 0;
}

/* Fires all that are due; a timer is disarmed when its fire() is called. */
void pi_timer_run(struct pi_timers *all, int64_t now_ns);

void pi_timer_fini(struct pi_timers *all);

#endif
