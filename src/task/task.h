/* SPDX-License-Identifier: MIT */
/*
 * task/task.h - what a task, a thread and a loop are made of, for the files of this folder.
 *
 * Every thread that calls Pier has a struct pi_thread with a root task, which is the thread's own
 * stack. While it also has a loop, the root is one task among others, and a wait runs the others;
 * without a loop a wait blocks the thread. Invariant: a parked task is in no queue, and whoever
 * makes it ready (once: its state says so) gives the reason in wake.
 */
#ifndef PI_TASK_TASK_H
#define PI_TASK_TASK_H

#include "base/err.h"
#include "task/stack.h"
#include "task/switch.h"
#include "task/timer.h"

#include <pier/task.h>

#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>

struct io_op;
struct io_backend;

enum pi_task_state { PI_RUNNING, PI_READY, PI_PARKED };

enum { PI_TASK_NAME = 32 };

/* What a switch touches comes first, in two cache lines. */
struct pi_task {
    struct pi_err err; /* first: pi_err_self points here */
    struct pi_context context;
    struct pi_task *next_ready;
    struct pi_thread *thread;
    struct pier_scope *scope; /* innermost open one */
    enum pi_task_state state;
    int wake;         /* why it was made ready: 0 or a negative code */
    bool cancellable; /* the present wait */
    int64_t wait_ns;  /* the present wait's deadline; 0: none */
    struct pi_timer timer;
    const struct io_op *op;      /* what it waits for, for dumps */
    const char *waits_for;       /* the same, for waits that are no operation */
    struct pier_scope *home;     /* the one that owns the task; NULL: a root */
    struct pi_task *prev, *next; /* siblings in home */
    pier_task_fn fn;
    void *arg;
    void *place;      /* where it runs, as the backend sees it; inherited; NULL: nowhere special */
    const char *name; /* a static text, or name_buf */
    int64_t born_ns;
    char name_buf[PI_TASK_NAME];
};

/* Where a thread sleeps, for those who want to wake it. */
enum { PI_AWAKE, PI_SLEEPS_FUTEX, PI_SLEEPS_FD, PI_SLEEPS_READ };

struct pi_thread {
    struct pi_task root;
    struct pi_loop *loop;
    _Atomic(struct pi_msg *) inbox; /* newest first */
    _Atomic uint32_t sleeping;      /* also the futex word */
    _Atomic uint32_t posting;       /* threads inside pi_thread_post() */
    int wake_fd;                    /* eventfd; -1 until first needed */
    pid_t tid;                      /* of the system; 0 until first needed */
    struct io_fd *_Atomic blocked;  /* that it reads from in a blocking call */
    bool known;
    bool watched;                   /* without a loop, too */
    struct pi_thread *next_watched; /* watch.c */
    uint64_t stalled_at;            /* loop->switches when the watchdog last looked */
    int64_t stalled_since_ns;
};

struct pi_loop {
    struct pi_thread *thread;
    struct pi_task *ready, **ready_end;
    int budget;     /* switches and immediate operations until the backend is polled again */
    int64_t now_ns; /* the clock when it was last polled */
    struct pi_task poller;
    struct pi_timers timers;
    const struct io_backend *backend;
    void *io; /* the backend's own */
    struct pi_stacks stacks;
    struct pi_timer trim;              /* of free stacks */
    struct pier_scope *home;           /* the loop ends with it */
    uint64_t serial;                   /* no two loops of a process share it */
    size_t tasks;                      /* spawned and not ended */
    _Atomic(struct pi_task *) running; /* for the watchdog, like switches */
    _Atomic uint64_t switches;
    void *signal_stack; /* overflow.c; NULL: the thread has its own */
    int step_timer_fd;  /* see pier_loop_fd(); -1: never asked for */
};

#define PI_CONTAINER_OF(ptr, type, member) ((type *)((char *)(ptr)-offsetof(type, member)))

/* thread.c */
struct pi_task *pi_task_first(void);

/* The running task. */
static inline struct pi_task *pi_task_self(void)
{
    struct pi_err *err = pi_err_self;
    return __builtin_expect(err != NULL, 1) ? (struct pi_task *)err : pi_task_first();
}

/* Ends a blocking read of another thread, see io_direct.c; otherwise ignored, as by default. */
enum { PI_WAKE_SIGNAL = SIGURG };

/* Sends msg to a thread, which runs it when it next waits. The caller knows that the thread cannot
 * end before it has run msg. From any thread, and from signal handlers. */
void pi_thread_post(struct pi_thread *th, struct pi_msg *msg);
/* Runs what has come. Whether there was anything. */
bool pi_thread_drain(struct pi_thread *th);
/* The eventfd that wakes it, or a negative code. */
int pi_thread_wake_fd(struct pi_thread *th);
/* Announces sleep of a kind; false when a message is there already, and then it does not sleep. */
bool pi_thread_sleep(struct pi_thread *th, uint32_t how);
void pi_thread_awake(struct pi_thread *th);
/* Makes the eventfd readable. */
void pi_thread_raise_wake_fd(struct pi_thread *th);
/* Reads it empty after it was seen readable. */
void pi_thread_clear_wake_fd(struct pi_thread *th);
static inline bool pi_thread_has_mail(struct pi_thread *th)
{
    return atomic_load_explicit(&th->inbox, memory_order_relaxed) != NULL;
}

/* In the child of a fork: the running context becomes the root of its only thread, with no loop, no
 * scope and no messages. What its loop had in memory stays allocated; the caller's frames, which
 * may be on a task's stack, are among it. */
void pi_thread_after_fork(void);

/* Starts a thread, joinable when id is asked for, else detached; stack in bytes, 0: the default. It
 * takes no signals but those that its own faults raise. 0 or a negative code. */
int pi_thread_start(pthread_t *id, void *(*fn)(void *), void *arg, size_t stack);

/* sched.c */
/* Parks the running task until pi_ready(), deadline_ns (0: none) or, if cancellable, cancellation;
 * returns the reason: 0, -ETIMEDOUT, -ECANCELED, or what pi_ready() was given. On a thread without
 * a loop it blocks. */
int pi_park(struct pi_task *self, int64_t deadline_ns, bool cancellable);
/* Makes a new task of loop ready for the first time. */
void pi_task_start(struct pi_loop *loop, struct pi_task *t);
/* Makes a parked task of this thread ready; does nothing to one that is not parked. */
void pi_ready(struct pi_task *t, int wake);
/* Gives others a turn, whatever the scope says. */
void pi_pass(struct pi_task *self);
/* The thread's loop, made if it has none, to last at least until scope ends. NULL: the task's
 * failure says why. */
struct pi_loop *pi_loop_need(struct pier_scope *scope);
/* The same, on a thread that has none yet, with a backend of the caller's choice and its state. */
struct pi_loop *pi_loop_open(struct pier_scope *scope, const struct io_backend *backend, void *io);
/* After a scope's end: the loop that it made ends too. */
void pi_loop_scope_ended(struct pier_scope *scope);
/* In the child of a fork: closes what the parent's loop has open here, and leaves its memory. */
void pi_loop_after_fork(struct pi_loop *loop);
/* The running task has ended, and its stack may be used again: the context that goes on. */
struct pi_context *pi_loop_exit_task(struct pi_loop *loop, struct pi_task *self);
/* The time that deadlines of operations count from: the loop's, read once a poll; the clock's
 * without a loop. */
static inline int64_t pi_coarse_now(const struct pi_task *self)
{
    return self->thread->loop ? self->thread->loop->now_ns : pi_clock_ns();
}
/* The deadline of a time-out; 0: none. A long one may count from the last poll; a short one might
 * be over before it began. */
static inline int64_t pi_timeout_deadline(const struct pi_task *self, int64_t timeout_ns)
{
    if (!timeout_ns)
        return 0;
    if (timeout_ns < 10 * PIER_SECOND)
        return pi_clock_ns() + timeout_ns;
    return (self->thread->loop ? self->thread->loop->now_ns : pi_clock_coarse_ns()) + timeout_ns;
}

/* watch.c: the threads that dumps and the watchdog see: those with a loop, and those that ask. */
void pi_watch_thread(struct pi_thread *th, bool on);
/* Sets the thread's loop, or NULL; nobody looks at the old one any more. */
void pi_watch_loop(struct pi_thread *th, struct pi_loop *loop);
/* The watchdog's thread runs from the first start to the last stop. */
void pi_watchdog_start(void);
void pi_watchdog_stop(void);
/* From hold to release it does not run: other threads are in the way of a fork. */
void pi_watchdog_hold(void);
void pi_watchdog_release(void);
/* In the child of a fork: nobody is watched, nobody watches. */
void pi_watch_after_fork(void);

/* overflow.c: reports of stack overflows on the loop's thread. */
void pi_overflow_watch(struct pi_loop *loop);
void pi_overflow_unwatch(struct pi_loop *loop);

/* signal.c, in the child of a fork: nobody waits, nothing has come. */
void pi_signal_after_fork(void);

/* scope.c */
/* 0, or the code that a wait of self must return now. */
int pi_cancel_code(struct pi_task *self);
/* By what is known on this thread: runs no messages. */
static inline int pi_cancel_flag(struct pi_task *self)
{
    const struct pier_scope *s = self->scope;
    if (__builtin_expect(!s, 0) || (!s->cancelled && !s->nearest_ns))
        return 0;
    return pi_cancel_code(self);
}
/* At the entry of every call that may wait. Without a loop, messages are run first. */
static inline int pi_cancel_check(struct pi_task *self)
{
    if (__builtin_expect(pi_thread_has_mail(self->thread), 0) && !self->thread->loop)
        pi_thread_drain(self->thread);
    return pi_cancel_flag(self);
}
/* The running task when there is nothing that the entry of a call must look at; else NULL. For fast
 * paths: without a call in it, the caller needs no stack frame. */
static inline struct pi_task *pi_task_undisturbed(void)
{
    struct pi_task *self = (struct pi_task *)pi_err_self;
    if (__builtin_expect(!self || pi_thread_has_mail(self->thread), 0))
        return NULL;
    const struct pier_scope *s = self->scope;
    return __builtin_expect(s && (s->cancelled || s->nearest_ns), 0) ? NULL : self;
}
/* The earlier of a wait's own deadline and its scopes'; 0: none. */
static inline int64_t pi_deadline(const struct pi_task *self, int64_t own_ns)
{
    int64_t outer = self->scope ? self->scope->nearest_ns : 0;
    return !own_ns || (outer && outer < own_ns) ? outer : own_ns;
}
/* Like pier_spawn_named(), with a copy of data (at most 256 bytes) as the argument, in the new
 * task's own memory. */
int pi_spawn_copy(struct pier_scope *scope, const char *name, pier_task_fn fn, const void *data,
                  size_t len);

#endif
