/* SPDX-License-Identifier: MIT */
/*
 * task/sync.c - the guard's slow path, and how waiters wait and are woken.
 *
 * A waiter on the caller's own thread is made ready; one on another thread gets a message. A thread
 * that has nothing else to run looks at its inbox for about 2 us before it sleeps: two threads that
 * work hand in hand then exchange messages through memory alone, at a tenth of a futex's price.
 */
#define _GNU_SOURCE
#include "task/sync.h"

#include <linux/futex.h>
#include <sys/syscall.h>
#include <unistd.h>

/* ---- the guard ---- */

void pi_guard_lock_slow(uint32_t *guard)
{
    for (int i = 0; i < PI_SPIN_ROUNDS; i++) {
        uint32_t free = PI_GUARD_FREE;
        if (__atomic_load_n(guard, __ATOMIC_RELAXED) == PI_GUARD_FREE &&
            __atomic_compare_exchange_n(guard, &free, PI_GUARD_TAKEN, false, __ATOMIC_ACQUIRE,
                                        __ATOMIC_RELAXED))
            return;
        pi_spin_pause();
    }
    while (__atomic_exchange_n(guard, PI_GUARD_CONTENDED, __ATOMIC_ACQUIRE) != PI_GUARD_FREE)
        syscall(SYS_futex, guard, FUTEX_WAIT_PRIVATE, PI_GUARD_CONTENDED, NULL, NULL, 0);
}

void pi_guard_wake(uint32_t *guard)
{
    syscall(SYS_futex, guard, FUTEX_WAKE_PRIVATE, 1, NULL, NULL, 0);
}

/* ---- waking ---- */

static void deliver(struct pi_msg *msg)
{
    struct pi_wake *wake = PI_CONTAINER_OF(msg, struct pi_wake, msg);
    wake->delivered = true;
    pi_ready(wake->task, 0);
}

void pi_wake_send(struct pi_wake *wake)
{
    struct pi_thread *th = wake->task->thread;
    if (th == pi_task_self()->thread) {
        deliver(&wake->msg);
        return;
    }
    wake->msg.run = deliver;
    pi_thread_post(th, &wake->msg);
}

void pi_wake_chain(struct pi_waiter *first)
{
    while (first) {
        struct pi_waiter *next = first->next_wake; /* first is gone once it is woken */
        pi_wake_send(first->wake);
        first = next;
    }
}

/* ---- spinning ---- */

/* After so many vain spins in a row a thread spins only now and then, to see whether that has
 * changed. */
enum { SPIN_FAILURES = 4, SPIN_PROBE = 64 };

static PI_THREAD_LOCAL unsigned spin_failures, spin_skips;

bool pi_spin_begin(void)
{
    return spin_failures < SPIN_FAILURES || ++spin_skips % SPIN_PROBE == 0;
}

void pi_spin_end(bool succeeded)
{
    if (succeeded)
        spin_failures = 0;
    else if (spin_failures < SPIN_FAILURES)
        spin_failures++;
}

/* ---- waiting ---- */

static void spin_for_mail(struct pi_task *self)
{
    struct pi_thread *th = self->thread;
    if ((th->loop && th->loop->ready) || !pi_spin_begin())
        return;
    bool came = false;
    for (int i = 0; i < PI_SPIN_ROUNDS && !came; i++) {
        came = pi_thread_has_mail(th);
        pi_spin_pause();
    }
    if (came)
        pi_thread_drain(th);
    pi_spin_end(came);
}

int pi_wake_await(struct pi_wake *wake, int64_t own_deadline_ns, const char *what, int flags)
{
    struct pi_task *self = wake->task;
    if (!(flags & PIER_LOCAL))
        spin_for_mail(self);
    while (!wake->delivered) {
        self->waits_for = what;
        int rc = pi_park(self, pi_deadline(self, own_deadline_ns), true);
        if (rc < 0 && !wake->delivered)
            return rc;
    }
    return 0;
}

void pi_wake_settle(struct pi_wake *wake, const char *what)
{
    while (!wake->delivered) {
        wake->task->waits_for = what;
        pi_park(wake->task, 0, false);
    }
}
