/* SPDX-License-Identifier: MIT */
/*
 * task/signal.c - tasks and threads that wait for signals.
 *
 * A handler notes the signal in a word and sends a message to every thread that has somebody
 * waiting for it; the first of those takes it out of the word again. So a signal that comes between
 * two waits is there for the next one, and no mask matters but that some thread lets the signal in.
 * Invariant: a waiter leaves its place only when no handler can still be looking at it.
 */
#define _GNU_SOURCE
#include "base/assert.h"
#include "task/sockets.h"

#include <sched.h>
#include <signal.h>

enum { WAITERS_MAX = 64 }; /* at one time; a handler looks at each */

struct waiter {
    struct pi_msg msg;
    struct pi_task *task;
    uint64_t set;
    _Atomic bool posted;
    bool delivered; /* on the waiter's thread */
};

static _Atomic(struct waiter *) places[WAITERS_MAX];
static _Atomic uint64_t arrived; /* signal n is bit n - 1 */
static _Atomic int in_handler;   /* threads: any may be the one that a signal interrupts */

static uint64_t bit_of(int number)
{
    return (uint64_t)1 << (number - 1);
}

static void on_signal(int number)
{
    int saved = errno;
    atomic_fetch_add(&in_handler, 1);
    atomic_fetch_or(&arrived, bit_of(number));
    for (int i = 0; i < WAITERS_MAX; i++) {
        struct waiter *w = atomic_load(&places[i]);
        if (w && (w->set & bit_of(number)) && !atomic_exchange(&w->posted, true))
            pi_thread_post(w->task->thread, &w->msg);
    }
    atomic_fetch_sub(&in_handler, 1);
    errno = saved;
}

static void deliver(struct pi_msg *msg)
{
    struct waiter *w = PI_CONTAINER_OF(msg, struct waiter, msg);
    w->delivered = true;
    pi_ready(w->task, 0);
}

/* Takes one of the set that has come, the lowest first; 0: none has. */
static int claim(uint64_t set)
{
    uint64_t there = atomic_load(&arrived);
    while (there & set) {
        int number = __builtin_ctzll(there & set) + 1;
        if (atomic_compare_exchange_weak(&arrived, &there, there & ~bit_of(number)))
            return number;
    }
    return 0;
}

static bool take_place(struct waiter *w, int *place)
{
    for (*place = 0; *place < WAITERS_MAX; ++*place) {
        struct waiter *nobody = NULL;
        if (atomic_compare_exchange_strong(&places[*place], &nobody, w))
            return true;
    }
    return false;
}

/* A message that is on its way is waited for: it is in the caller's frame. */
static void leave_place(struct waiter *w, int place)
{
    atomic_store(&places[place], NULL);
    while (atomic_load(&in_handler) > 0)
        sched_yield();
    while (atomic_load(&w->posted) && !w->delivered)
        pi_park(w->task, 0, false);
}

/* One wait: a signal's number, or the code that ended it; 0: another waiter was faster. */
static int wait_once(struct pi_task *self, uint64_t set, int64_t deadline_ns)
{
    struct waiter w = { .msg.run = deliver, .task = self, .set = set };
    int place;
    if (!take_place(&w, &place))
        return -EAGAIN;
    int rc = claim(set); /* one that came before the place was taken has told nobody */
    int number = rc;
    if (number == 0) {
        self->waits_for = "signal";
        rc = pi_park(self, pi_deadline(self, deadline_ns), true);
    }
    leave_place(&w, place);
    if (number == 0)
        number = claim(set);
    return number ? number : rc;
}

/* The handler stays: what is not waited for just now is kept for the next wait. */
static int listen_for(int number)
{
    struct sigaction action;
    if (sigaction(number, NULL, &action) < 0)
        return -errno;
    if (!(action.sa_flags & SA_SIGINFO) && action.sa_handler == on_signal)
        return 0;
    struct sigaction ours = { .sa_handler = on_signal, .sa_flags = SA_RESTART };
    return sigaction(number, &ours, NULL) < 0 ? -errno : 0;
}

/* Those that report a fault of the running instruction cannot be waited for. */
static bool is_waitable(int number)
{
    static const int others[] = {
        SIGKILL, SIGSTOP, SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGTRAP, SIGSYS
    };
    for (size_t i = 0; i < sizeof others / sizeof others[0]; i++)
        if (number == others[i])
            return false;
    return number >= 1 && number < NSIG;
}

static int listen_for_all(const int *signals, uint64_t *set)
{
    sigset_t mask;
    sigemptyset(&mask);
    *set = 0;
    for (int i = 0; signals[i]; i++) {
        if (i == NSIG || !is_waitable(signals[i]))
            return pi_fail_text(-EINVAL, "wait for signal %d: it cannot be waited for", signals[i]);
        int rc = listen_for(signals[i]);
        if (rc < 0)
            return pi_fail(rc, "wait for signal %d", signals[i]);
        sigaddset(&mask, signals[i]);
        *set |= bit_of(signals[i]);
    }
    if (*set == 0)
        return pi_fail_text(-EINVAL, "wait for signals: there are none in the list");
    pthread_sigmask(SIG_UNBLOCK, &mask, NULL);
    return 0;
}

int pier_signal_wait(const int *signals, int64_t deadline_ns)
{
    struct pi_task *self = pi_task_self();
    uint64_t set;
    if (io_is_simulated())
        return pi_fail(-EOPNOTSUPP, "wait for signals in a simulation");
    int rc = listen_for_all(signals, &set);
    if (rc < 0)
        return rc;
    int number = pi_cancel_check(self);
    if (number < 0)
        return pi_fail(number, "wait for signals");
    do
        number = wait_once(self, set, deadline_ns);
    while (number == 0);
    return number < 0 ? pi_fail(number, "wait for signals") : number;
}

void pi_signal_after_fork(void)
{
    for (int i = 0; i < WAITERS_MAX; i++)
        atomic_store(&places[i], NULL);
    atomic_store(&arrived, 0);
}
