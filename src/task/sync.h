/* SPDX-License-Identifier: MIT */
/*
 * task/sync.h - what mutex, event, semaphore and channel are made of: a guard for the few
 * instructions in which a wait list changes, and a waiter, which lives on the waiting task's stack.
 *
 * A primitive gives a waiter what it waits for under the guard, by taking it off the list; it sends
 * the wake-up after it has let go of the primitive for good. So the task that is woken may free the
 * primitive at once. Its side of the bargain: a waiter that was taken off a list does not return
 * before its wake-up has arrived, whatever else has ended its wait.
 */
#ifndef PI_TASK_SYNC_H
#define PI_TASK_SYNC_H

#include "task/task.h"

/* How a task is told; delivered is its own thread's. */
struct pi_wake {
    struct pi_task *task;
    struct pi_msg msg;
    bool delivered;
    uint32_t claimed;         /* channel; atomic: who passes an element or gives up decides once */
    struct pi_waiter *chosen; /* channel: of several, the one by which it was passed */
};

struct pi_waiter {
    struct pi_waiter *prev, *next;
    struct pi_waiter *next_wake; /* in a chain of those to be woken */
    struct pi_wake *wake;
    bool listed;      /* under the guard */
    bool tries;       /* mutex: woken to try, still listed; under the guard */
    int64_t since_ns; /* mutex */
    void *elem;       /* channel: its element, or the place for one */
    int rc;           /* channel: the result */
    bool is_case;     /* channel: one of several waiters of a select */
};

/* ---- the guard ---- */

enum { PI_GUARD_FREE, PI_GUARD_TAKEN, PI_GUARD_CONTENDED };

void pi_guard_lock_slow(uint32_t *guard);
void pi_guard_wake(uint32_t *guard);

static inline void pi_guard_lock(uint32_t *guard, int flags)
{
    if (flags & PIER_LOCAL)
        return;
    uint32_t free = PI_GUARD_FREE;
    if (!__atomic_compare_exchange_n(guard, &free, PI_GUARD_TAKEN, false, __ATOMIC_ACQUIRE,
                                     __ATOMIC_RELAXED))
        pi_guard_lock_slow(guard);
}

/* What was guarded may be gone when the contended case makes its system call: that goes by the
 * address alone, and its worst effect is a wake-up too many. */
static inline void pi_guard_unlock(uint32_t *guard, int flags)
{
    if (flags & PIER_LOCAL)
        return;
    if (__atomic_exchange_n(guard, PI_GUARD_FREE, __ATOMIC_RELEASE) == PI_GUARD_CONTENDED)
        pi_guard_wake(guard);
}

/* ---- lists, under the guard ---- */

static inline void pi_waitlist_append(struct pi_waitlist *list, struct pi_waiter *w)
{
    w->next = NULL;
    w->prev = list->last;
    if (list->last)
        list->last->next = w;
    else
        list->first = w;
    list->last = w;
    w->listed = true;
}

static inline void pi_waitlist_remove(struct pi_waitlist *list, struct pi_waiter *w)
{
    if (w->prev)
        w->prev->next = w->next;
    else
        list->first = w->next;
    if (w->next)
        w->next->prev = w->prev;
    else
        list->last = w->prev;
    w->listed = false;
}

static inline struct pi_waiter *pi_waitlist_pop(struct pi_waitlist *list)
{
    struct pi_waiter *w = list->first;
    if (w)
        pi_waitlist_remove(list, w);
    return w;
}

/* ---- waking and waiting ---- */

/* To be called without a guard, and only once for each wait. */
void pi_wake_send(struct pi_wake *wake);

/* Wakes a chain made with next_wake. */
void pi_wake_chain(struct pi_waiter *first);

/* Waits until the wake-up arrives: 0; or, if that is first, the code of own_deadline_ns (0: none)
 * or of a cancellation. what: for dumps. flags: PIER_LOCAL when no other thread can send it. */
int pi_wake_await(struct pi_wake *wake, int64_t own_deadline_ns, const char *what, int flags);

/* Waits for a wake-up that is certain to come, whatever is cancelled. */
void pi_wake_settle(struct pi_wake *wake, const char *what);

/* Whether a short spin is worth its time on this thread now: spins tend to succeed or fail
 * together. Each pi_spin_begin() that returned true is answered by pi_spin_end(). */
bool pi_spin_begin(void);
void pi_spin_end(bool succeeded);

/* Rounds of a spin. At about 20 ns each 2 us, as long as the system call that it may save. */
enum { PI_SPIN_ROUNDS = 100 };

static inline void pi_spin_pause(void)
{
#if defined(__x86_64__) || defined(__i386__)
    __builtin_ia32_pause();
#elif defined(__aarch64__)
    __asm__ volatile("isb" ::: "memory");
#endif
}

#endif
