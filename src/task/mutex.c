/* SPDX-License-Identifier: MIT */
/*
 * task/mutex.c - the mutex: one compare-and-swap when it is free, a queue when it is not.
 *
 * Unlocking hands the mutex to the first waiter if that is a task of the same thread: a switch is
 * cheap. A waiter on another thread may sleep, and all others would wait for its awakening; it is
 * woken to try instead, and whoever comes first takes the mutex, until the waiter has waited for
 * HAND_OVER_AFTER_NS and asks for the mutex to be handed over. (Always handing over cost 1.6 to 5
 * times the processor time with four threads that share two cores and do little else but lock.)
 *
 * Invariants: state changes from unlocked to locked by anybody; all else in it is changed by the
 * holder or under the guard. Unlocked with waiters means that one of them has been woken to try.
 */
#include "base/assert.h"
#include "task/sync.h"

enum {
    LOCKED = 1,
    WAITING = 2,   /* the list is not empty */
    TRYING = 4,    /* the first of it has been woken to try */
    HAND_OVER = 8, /* the first of it has waited long enough; never together with TRYING */
};

/* What the free mutex does not need: without it, locking and unlocking it need no stack frame, and
 * cost 4 of 24 ns less. */
#define OUT_OF_LINE __attribute__((noinline))

static const int64_t HAND_OVER_AFTER_NS = PIER_MILLISECOND / 2;

/* Names the holder's thread. It only tells whether spinning can help: no harm in two threads that
 * look alike, nor in an old name that is read before the new one has come. */
static uint32_t name_of(const struct pi_thread *th)
{
    return (uint32_t)((uintptr_t)th >> 6);
}

/* By the holder only. Not part of the state, so that unlocking need not read the state first: the
 * load would wait for the lock's write, 2 of 21 ns. */
static void set_owner(struct pier_mutex *m, const struct pi_thread *th)
{
    __atomic_store_n(&m->owner, name_of(th), __ATOMIC_RELAXED);
}

static uint32_t load(const struct pier_mutex *m)
{
    return __atomic_load_n(&m->state, __ATOMIC_RELAXED);
}

static bool change(struct pier_mutex *m, uint32_t from, uint32_t to)
{
    return __atomic_compare_exchange_n(&m->state, &from, to, false, __ATOMIC_ACQ_REL,
                                       __ATOMIC_RELAXED);
}

static bool try_take(struct pier_mutex *m, const struct pi_task *self)
{
    uint32_t v = load(m);
    if (v & LOCKED || !change(m, v, v | LOCKED))
        return false;
    set_owner(m, self->thread);
    return true;
}

/* Worth it only while somebody on another thread holds the mutex and nobody has it promised. */
static bool spin(struct pier_mutex *m, const struct pi_task *self)
{
    if (__atomic_load_n(&m->owner, __ATOMIC_RELAXED) == name_of(self->thread) || !pi_spin_begin())
        return false;
    bool taken = false;
    for (int rounds = 4; rounds < PI_SPIN_ROUNDS && !taken && !(load(m) & HAND_OVER); rounds *= 2) {
        for (int i = 0; i < rounds; i++)
            pi_spin_pause();
        taken = try_take(m, self);
    }
    pi_spin_end(taken);
    return taken;
}

/* Under the guard and holding the mutex, nobody else changes state. */
static void set_holder(struct pier_mutex *m, const struct pi_thread *th)
{
    uint32_t waiting = m->waiters.first ? WAITING : 0;
    set_owner(m, th);
    __atomic_store_n(&m->state, LOCKED | waiting, __ATOMIC_RELEASE);
}

/* ---- waiting ---- */

/* Takes the mutex, or announces a waiter. Under the guard. */
static bool take_or_announce(struct pier_mutex *m, const struct pi_task *self)
{
    for (;;) {
        if (try_take(m, self))
            return true;
        uint32_t v = load(m);
        if (v & LOCKED && change(m, v, v | WAITING))
            return false;
    }
}

/* The waiter has been woken to try: whether it got the mutex. If not, the present holder will see a
 * waiter that is not trying. */
static bool compete(struct pier_mutex *m, struct pi_waiter *w)
{
    struct pi_task *self = w->wake->task;
    bool taken = try_take(m, self) || spin(m, self);
    pi_guard_lock(&m->guard, 0);
    bool aged = pi_clock_ns() - w->since_ns > HAND_OVER_AFTER_NS;
    w->tries = false;
    w->wake->delivered = false;
    while (!taken) {
        uint32_t v = load(m);
        taken = try_take(m, self);
        if (!taken && v & LOCKED && change(m, v, (v & ~(uint32_t)TRYING) | (aged ? HAND_OVER : 0)))
            break;
    }
    if (taken) {
        pi_waitlist_remove(&m->waiters, w);
        set_holder(m, self->thread);
    }
    pi_guard_unlock(&m->guard, 0);
    return taken;
}

/* Takes w off the list; returns the one that must try in its place, if any. Under the guard. */
static struct pi_waiter *leave(struct pier_mutex *m, struct pi_waiter *w)
{
    uint32_t leaves = w == m->waiters.first ? TRYING | HAND_OVER : 0;
    pi_waitlist_remove(&m->waiters, w);
    struct pi_waiter *next = m->waiters.first;
    if (!next)
        leaves |= WAITING;
    for (;;) {
        uint32_t v = load(m);
        uint32_t rest = v & ~leaves;
        bool must_try = next && !(v & LOCKED) && !(rest & TRYING);
        if (!change(m, v, must_try ? rest | TRYING : rest))
            continue;
        if (!must_try)
            return NULL;
        next->tries = true;
        return next;
    }
}

/* The wait was cancelled. If the mutex has been handed over, it is the caller's all the same. */
static int give_up(struct pier_mutex *m, struct pi_waiter *w, int code)
{
    pi_guard_lock(&m->guard, 0);
    bool was_listed = w->listed;
    bool wake_comes = !was_listed || w->tries;
    struct pi_waiter *next = was_listed ? leave(m, w) : NULL;
    pi_guard_unlock(&m->guard, 0);
    if (next)
        pi_wake_send(next->wake);
    if (wake_comes)
        pi_wake_settle(w->wake, "mutex");
    return was_listed ? code : 0;
}

static int lock_slow(struct pier_mutex *m, struct pi_task *self)
{
    if (spin(m, self))
        return 0;
    struct pi_wake wake = { .task = self };
    struct pi_waiter w = { .wake = &wake, .since_ns = pi_clock_ns() };
    pi_guard_lock(&m->guard, 0);
    bool taken = take_or_announce(m, self);
    if (!taken)
        pi_waitlist_append(&m->waiters, &w);
    pi_guard_unlock(&m->guard, 0);
    while (!taken) {
        int rc = pi_wake_await(&wake, 0, "mutex", 0);
        if (rc < 0)
            return give_up(m, &w, rc);
        taken = !w.listed || compete(m, &w);
    }
    return 0;
}

/* ---- unlocking ---- */

/* The mutex has waiters, none of them trying. The first one gets it, and then true, or is to try.
 * *wake is to be woken when the mutex has been let go of. */
static bool hand_over(struct pier_mutex *m, struct pi_waiter **wake)
{
    pi_guard_lock(&m->guard, 0);
    struct pi_waiter *w = m->waiters.first;
    bool gets = false;
    if (w) {
        struct pi_thread *th = w->wake->task->thread;
        gets = load(m) & HAND_OVER || th == pi_task_self()->thread;
        if (gets) {
            pi_waitlist_remove(&m->waiters, w);
            set_holder(m, th);
        } else {
            w->tries = true;
            __atomic_fetch_or(&m->state, TRYING, __ATOMIC_RELAXED);
        }
        w->next_wake = *wake;
        *wake = w;
    }
    pi_guard_unlock(&m->guard, 0);
    return gets;
}

/* A waiter that was woken to try may leave before the mutex is unlocked; then the next one is. */
static OUT_OF_LINE void unlock_slow(struct pier_mutex *m)
{
    struct pi_waiter *wake = NULL;
    for (;;) {
        uint32_t v = load(m);
        PIER_ASSERT(v & LOCKED);
        if ((v & WAITING) && !(v & TRYING)) {
            if (hand_over(m, &wake))
                break;
        } else if (change(m, v, v & (WAITING | TRYING))) {
            break;
        }
    }
    pi_wake_chain(wake);
}

/* ---- one loop only ---- */

static int lock_local(struct pier_mutex *m, struct pi_task *self)
{
    if (!m->state) {
        m->state = LOCKED;
        return 0;
    }
    struct pi_wake wake = { .task = self };
    struct pi_waiter w = { .wake = &wake };
    pi_waitlist_append(&m->waiters, &w);
    int rc = pi_wake_await(&wake, 0, "mutex", PIER_LOCAL);
    if (rc < 0)
        pi_waitlist_remove(&m->waiters, &w);
    return rc;
}

static OUT_OF_LINE void unlock_local(struct pier_mutex *m)
{
    PIER_ASSERT(m->state);
    struct pi_waiter *w = pi_waitlist_pop(&m->waiters);
    if (w)
        pi_wake_send(w->wake);
    else
        m->state = 0;
}

/* ---- public ---- */

void pier_mutex_init(struct pier_mutex *m, int flags)
{
    *m = (struct pier_mutex){ .flags = flags };
}

void pier_mutex_fini(struct pier_mutex *m)
{
    PIER_ASSERT(!m->waiters.first);
}

static OUT_OF_LINE int lock_carefully(struct pier_mutex *m)
{
    struct pi_task *self = pi_task_self();
    int rc = pi_cancel_check(self);
    if (rc < 0)
        return rc;
    if (m->flags & PIER_LOCAL)
        return lock_local(m, self);
    return try_take(m, self) ? 0 : lock_slow(m, self);
}

int pier_mutex_lock(struct pier_mutex *m)
{
    const struct pi_task *self = pi_task_undisturbed();
    if (!self)
        return lock_carefully(m);
    if (m->flags & PIER_LOCAL ? m->state != 0 : !change(m, 0, LOCKED))
        return lock_carefully(m);
    if (m->flags & PIER_LOCAL)
        m->state = LOCKED;
    else
        set_owner(m, self->thread);
    return 0;
}

int pier_mutex_trylock(struct pier_mutex *m)
{
    const struct pi_task *self = pi_task_self();
    if (!(m->flags & PIER_LOCAL))
        return try_take(m, self) ? 0 : -EBUSY;
    if (m->state)
        return -EBUSY;
    m->state = LOCKED;
    return 0;
}

void pier_mutex_unlock(struct pier_mutex *m)
{
    if (m->flags & PIER_LOCAL)
        unlock_local(m);
    else if (!change(m, LOCKED, 0))
        unlock_slow(m);
}
