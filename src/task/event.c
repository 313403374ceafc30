/* SPDX-License-Identifier: MIT */
/*
 * task/event.c - the event: a flag that tasks and threads wait for.
 *
 * Setting it takes all waiters off the list first and sets the flag last, when nobody waits any
 * more: who sees the flag may free the event. The waiters are woken after that.
 */
#include "base/assert.h"
#include "task/sync.h"

enum { SET = 1, WAITING = 2 };

static bool change(struct pier_event *e, uint32_t from, uint32_t to)
{
    if (e->flags & PIER_LOCAL) {
        e->state = to;
        return true;
    }
    return __atomic_compare_exchange_n(&e->state, &from, to, false, __ATOMIC_ACQ_REL,
                                       __ATOMIC_RELAXED);
}

/* Whether the event is set; if not, a waiter is announced. Under the guard. */
static bool is_set_or_announce(struct pier_event *e)
{
    for (;;) {
        uint32_t v = __atomic_load_n(&e->state, __ATOMIC_ACQUIRE);
        if (v & SET)
            return true;
        if (change(e, v, v | WAITING))
            return false;
    }
}

static int give_up(struct pier_event *e, struct pi_waiter *w, int code)
{
    pi_guard_lock(&e->guard, e->flags);
    bool was_listed = w->listed;
    if (was_listed)
        pi_waitlist_remove(&e->waiters, w);
    if (!e->waiters.first)
        __atomic_fetch_and(&e->state, ~(uint32_t)WAITING, __ATOMIC_RELAXED);
    pi_guard_unlock(&e->guard, e->flags);
    if (was_listed)
        return code;
    pi_wake_settle(w->wake, "event");
    return 0;
}

static int wait_slow(struct pier_event *e, struct pi_task *self)
{
    struct pi_wake wake = { .task = self };
    struct pi_waiter w = { .wake = &wake };
    int flags = e->flags; /* when the wait ends it may be gone */
    pi_guard_lock(&e->guard, flags);
    bool is_set = is_set_or_announce(e);
    if (!is_set)
        pi_waitlist_append(&e->waiters, &w);
    pi_guard_unlock(&e->guard, flags);
    if (is_set)
        return 0;
    int rc = pi_wake_await(&wake, 0, "event", flags);
    return rc < 0 ? give_up(e, &w, rc) : 0;
}

/* Moves all waiters to the chain that ends at *end; returns its new end. */
static struct pi_waiter **take_waiters(struct pier_event *e, struct pi_waiter **end)
{
    pi_guard_lock(&e->guard, e->flags);
    struct pi_waiter *w;
    while ((w = pi_waitlist_pop(&e->waiters)) != NULL) {
        *end = w;
        end = &w->next_wake;
    }
    *end = NULL;
    __atomic_fetch_and(&e->state, ~(uint32_t)WAITING, __ATOMIC_RELAXED);
    pi_guard_unlock(&e->guard, e->flags);
    return end;
}

/* ---- public ---- */

void pier_event_init(struct pier_event *e, int flags)
{
    *e = (struct pier_event){ .flags = flags };
}

void pier_event_fini(struct pier_event *e)
{
    PIER_ASSERT(!e->waiters.first);
}

int pier_event_wait(struct pier_event *e)
{
    struct pi_task *self = pi_task_self();
    int rc = pi_cancel_check(self);
    if (rc < 0)
        return rc;
    return pier_event_is_set(e) ? 0 : wait_slow(e, self);
}

void pier_event_set(struct pier_event *e)
{
    struct pi_waiter *wake = NULL, **end = &wake;
    for (;;) {
        uint32_t v = __atomic_load_n(&e->state, __ATOMIC_RELAXED);
        if (v & WAITING)
            end = take_waiters(e, end);
        else if (change(e, v, SET))
            break;
    }
    pi_wake_chain(wake);
}

void pier_event_clear(struct pier_event *e)
{
    if (e->flags & PIER_LOCAL)
        e->state &= ~(uint32_t)SET;
    else
        __atomic_fetch_and(&e->state, ~(uint32_t)SET, __ATOMIC_RELAXED);
}

bool pier_event_is_set(const struct pier_event *e)
{
    return __atomic_load_n(&e->state, __ATOMIC_ACQUIRE) & SET;
}
