/* SPDX-License-Identifier: MIT */
/*
 * task/sem.c - the semaphore: a count, and a queue while it is zero.
 *
 * While anybody waits the count is zero, so that a unit that is given goes to the first waiter and
 * nobody who comes later can take it.
 */
#include "base/assert.h"
#include "task/sync.h"

/* The upper bit of count; a count is below it. */
static const uint32_t WAITING = 1u << 31;

static uint32_t load(const struct pier_sem *s)
{
    return __atomic_load_n(&s->count, __ATOMIC_RELAXED);
}

static bool change(struct pier_sem *s, uint32_t from, uint32_t to)
{
    return __atomic_compare_exchange_n(&s->count, &from, to, false, __ATOMIC_ACQ_REL,
                                       __ATOMIC_RELAXED);
}

static bool try_take(struct pier_sem *s)
{
    for (;;) {
        uint32_t v = load(s);
        if ((v & ~WAITING) == 0)
            return false;
        if (s->flags & PIER_LOCAL) {
            s->count = v - 1;
            return true;
        }
        if (change(s, v, v - 1))
            return true;
    }
}

/* Takes a unit, or announces a waiter. Under the guard. */
static bool take_or_announce(struct pier_sem *s)
{
    for (;;) {
        if (try_take(s))
            return true;
        if (load(s) == WAITING || change(s, 0, WAITING))
            return false;
    }
}

/* Under the guard. */
static void withdraw_if_empty(struct pier_sem *s)
{
    if (!s->waiters.first)
        __atomic_store_n(&s->count, 0, __ATOMIC_RELAXED);
}

static int give_up(struct pier_sem *s, struct pi_waiter *w, int code)
{
    pi_guard_lock(&s->guard, s->flags);
    bool was_listed = w->listed;
    if (was_listed) {
        pi_waitlist_remove(&s->waiters, w);
        withdraw_if_empty(s);
    }
    pi_guard_unlock(&s->guard, s->flags);
    if (was_listed)
        return code;
    pi_wake_settle(w->wake, "semaphore");
    return 0;
}

static int wait_slow(struct pier_sem *s, struct pi_task *self)
{
    struct pi_wake wake = { .task = self };
    struct pi_waiter w = { .wake = &wake };
    int flags = s->flags; /* when the wait ends it may be gone */
    pi_guard_lock(&s->guard, flags);
    bool taken = take_or_announce(s);
    if (!taken)
        pi_waitlist_append(&s->waiters, &w);
    pi_guard_unlock(&s->guard, flags);
    if (taken)
        return 0;
    int rc = pi_wake_await(&wake, 0, "semaphore", flags);
    return rc < 0 ? give_up(s, &w, rc) : 0;
}

static struct pi_waiter *take_waiter(struct pier_sem *s)
{
    pi_guard_lock(&s->guard, s->flags);
    struct pi_waiter *w = pi_waitlist_pop(&s->waiters);
    if (w)
        withdraw_if_empty(s);
    pi_guard_unlock(&s->guard, s->flags);
    return w;
}

/* ---- public ---- */

void pier_sem_init(struct pier_sem *s, uint32_t count, int flags)
{
    PIER_ASSERT(count < WAITING);
    *s = (struct pier_sem){ .count = count, .flags = flags };
}

void pier_sem_fini(struct pier_sem *s)
{
    PIER_ASSERT(!s->waiters.first);
}

int pier_sem_wait(struct pier_sem *s)
{
    struct pi_task *self = pi_task_self();
    int rc = pi_cancel_check(self);
    if (rc < 0)
        return rc;
    return try_take(s) ? 0 : wait_slow(s, self);
}

int pier_sem_trywait(struct pier_sem *s)
{
    return try_take(s) ? 0 : -EAGAIN;
}

void pier_sem_post(struct pier_sem *s)
{
    for (;;) {
        uint32_t v = load(s);
        PIER_ASSERT(v != WAITING - 1);
        struct pi_waiter *w = v == WAITING ? take_waiter(s) : NULL;
        if (w) {
            pi_wake_send(w->wake);
            return;
        }
        if (v == WAITING)
            continue;
        if (s->flags & PIER_LOCAL) {
            s->count = v + 1;
            return;
        }
        if (change(s, v, v + 1))
            return;
    }
}
