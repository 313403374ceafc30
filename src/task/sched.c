/* SPDX-License-Identifier: MIT */
/*
 * task/sched.c - a loop: its queue of ready tasks, and the poller, which asks the backend when
 * nobody is ready.
 *
 * A task that parks goes straight on to the next ready one, one switch; only when none is left, or
 * after a while, does it go to the poller, a context with a stack of its own, so that no task's
 * stack carries the frames of polling, accepting and timers. First in, first out; no priorities.
 */
#define _GNU_SOURCE
#include "base/assert.h"
#include "task/io.h"

#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/timerfd.h>
#include <unistd.h>

/* Switches and immediate operations before the backend gets a look: at 5 us each the outside waits
 * for 0.6 ms, and a task that only yields pays 1 ns of a poll. */
enum { BUDGET = 128 };

/* Of free stacks, a moment after one has come: 10,000 are given back within a second, for 3 % of a
 * core while it lasts. */
enum { TRIM_MS = 100, TRIM_NEXT_MS = 25, TRIM_COUNT = 256 };

static void push_ready(struct pi_loop *loop, struct pi_task *t)
{
    t->state = PI_READY;
    t->next_ready = NULL;
    *loop->ready_end = t;
    loop->ready_end = &t->next_ready;
}

static struct pi_task *pop_ready(struct pi_loop *loop)
{
    struct pi_task *t = loop->ready;
    loop->ready = t->next_ready;
    if (!loop->ready)
        loop->ready_end = &loop->ready;
    return t;
}

static void enter(struct pi_loop *loop, struct pi_task *t)
{
    t->state = PI_RUNNING;
    pi_err_self = &t->err;
    atomic_store_explicit(&loop->running, t, memory_order_relaxed);
    uint64_t n = atomic_load_explicit(&loop->switches, memory_order_relaxed);
    atomic_store_explicit(&loop->switches, n + 1, memory_order_relaxed);
}

static struct pi_task *next_task(struct pi_loop *loop)
{
    return loop->ready && --loop->budget > 0 ? pop_ready(loop) : &loop->poller;
}

/* Wakes the foreign loop for what the backend's descriptor does not show: timers, and tasks that
 * are ready already. */
static void arm_step_timer(struct pi_loop *loop)
{
    bool at_once = loop->ready || loop->backend->has_work(loop) ||
                   !pi_thread_sleep(loop->thread, PI_SLEEPS_FD);
    if (at_once)
        pi_thread_raise_wake_fd(loop->thread);
    int64_t when = at_once ? 0 : pi_timer_next(&loop->timers);
    struct itimerspec spec = { .it_value = { when / PIER_SECOND, when % PIER_SECOND } };
    int rc = timerfd_settime(loop->step_timer_fd, TFD_TIMER_ABSTIME, &spec, NULL);
    PIER_ASSERT(rc == 0);
}

/* The task after the next one is fetched into the cache while the next one runs: its innermost
 * frames, its record and what a handler keeps just below it. 5 % of an echo when 1,000 connections
 * do not fit the cache, nothing when they do. */
static void fetch(const struct pi_task *t)
{
    enum { LINE = 64, FRAMES = 12, BELOW = 6, RECORD = 4 };
    const char *frames = t->context.sp, *record = (const char *)t;
    for (int i = 0; i < FRAMES; i++)
        __builtin_prefetch(frames + (ptrdiff_t)i * LINE, 0, 2);
    for (int i = -BELOW; i < RECORD; i++)
        __builtin_prefetch(record + (ptrdiff_t)i * LINE, 1, 2);
}

static void go_on(struct pi_loop *loop, struct pi_task *self)
{
    struct pi_task *next = next_task(loop);
    if (loop->ready)
        fetch(loop->ready);
    enter(loop, next);
    if (next != self)
        pi_switch(&self->context, &next->context);
    if (__builtin_expect(loop->step_timer_fd >= 0, 0) && self == &loop->thread->root)
        arm_step_timer(loop); /* on the way back to the foreign loop */
}

void pi_task_start(struct pi_loop *loop, struct pi_task *t)
{
    push_ready(loop, t);
    if (__builtin_expect(loop->step_timer_fd >= 0, 0) && pi_task_self() == &loop->thread->root)
        arm_step_timer(loop); /* between two steps: the foreign loop must be told */
}

void pi_ready(struct pi_task *t, int wake)
{
    if (t->state != PI_PARKED)
        return;
    t->wake = wake;
    struct pi_loop *loop = t->thread->loop;
    if (loop)
        pi_task_start(loop, t);
    else
        t->state = PI_READY;
}

void pi_pass(struct pi_task *self)
{
    struct pi_loop *loop = self->thread->loop;
    if (!loop)
        return;
    if (!loop->ready && --loop->budget > 0)
        return;
    push_ready(loop, self);
    go_on(loop, self);
}

/* Fires at a deadline of the past, too: see timer.h on lazy timers. */
static void wait_timer_fired(struct pi_timer *timer)
{
    struct pi_task *t = PI_CONTAINER_OF(timer, struct pi_task, timer);
    if (t->state != PI_PARKED || t->wait_ns == 0)
        return;
    if (t->wait_ns <= t->thread->loop->now_ns)
        pi_ready(t, -ETIMEDOUT);
    else
        pi_timer_arm(&t->thread->loop->timers, timer, t->wait_ns);
}

static void arm_wait(struct pi_loop *loop, struct pi_task *self)
{
    struct pi_timer *timer = &self->timer;
    if (timer->slot && timer->when_ns <= self->wait_ns)
        return;
    timer->fire = wait_timer_fired;
    pi_timer_arm(&loop->timers, timer, self->wait_ns);
}

int pi_park(struct pi_task *self, int64_t deadline_ns, bool cancellable)
{
    struct pi_loop *loop = self->thread->loop;
    /* A cancellation that came while the task was ready, for a wait that goes on, woke nobody. */
    int rc = cancellable ? pi_cancel_flag(self) : 0;
    if (rc < 0)
        return rc;
    self->state = PI_PARKED;
    self->cancellable = cancellable;
    self->wait_ns = deadline_ns;
    if (!loop)
        return io_direct_park(self, deadline_ns);
    if (deadline_ns)
        arm_wait(loop, self);
    go_on(loop, self);
    self->cancellable = false;
    self->waits_for = NULL;
    return self->wake;
}

static struct pi_context *run_poller(void *arg)
{
    struct pi_loop *loop = arg;
    struct pi_task *poller = &loop->poller;
    pi_switch_entered(&poller->context);
    for (;;) {
        loop->budget = BUDGET;
        loop->backend->poll(loop, loop->ready ? -1 : pi_timer_next(&loop->timers));
        loop->now_ns = pi_clock_ns();
        pi_timer_run(&loop->timers, loop->now_ns);
        pi_thread_drain(loop->thread);
        if (!loop->ready)
            continue;
        struct pi_task *next = pop_ready(loop);
        enter(loop, next);
        pi_switch(&poller->context, &next->context);
    }
    return NULL; /* it never ends: its loop is freed while it does not run */
}

/* Stacks that have been deep, in a TLS handshake, say, do not keep that memory for good. */
static void trim_stacks(struct pi_timer *timer)
{
    struct pi_loop *loop = PI_CONTAINER_OF(timer, struct pi_loop, trim);
    if (pi_stack_trim(&loop->stacks, TRIM_COUNT))
        pi_timer_arm(&loop->timers, timer, loop->now_ns + TRIM_NEXT_MS * PIER_MILLISECOND);
}

struct pi_context *pi_loop_exit_task(struct pi_loop *loop, struct pi_task *self)
{
    pi_timer_disarm(&loop->timers, &self->timer);
    pi_timer_unreserve(&loop->timers);
    loop->tasks--;
    struct pi_task *next = next_task(loop);
    enter(loop, next);
    pi_context_fini(&self->context);
    pi_stack_put(&loop->stacks, (char *)(self + 1));
    if (__builtin_expect(!loop->trim.slot, 0))
        pi_timer_arm(&loop->timers, &loop->trim, loop->now_ns + TRIM_MS * PIER_MILLISECOND);
    return pi_switch_last(&self->context, &next->context);
}

/* ---- the loop itself ---- */

static void free_loop(struct pi_loop *loop)
{
    if (loop->io)
        loop->backend->close(loop);
    if (loop->step_timer_fd >= 0)
        close(loop->step_timer_fd);
    pi_err_fini(&loop->poller.err);
    pi_context_fini(&loop->poller.context);
    pi_stack_fini(&loop->stacks);
    pi_timer_fini(&loop->timers);
    pi_free(loop);
}

static int start_poller(struct pi_loop *loop)
{
    char *top = pi_stack_get(&loop->stacks);
    if (!top)
        return pier_error_code();
    loop->poller.thread = loop->thread;
    loop->poller.name = "poller";
    pi_context_init(&loop->poller.context, pi_stack_bottom(top), top, run_poller, loop);
    return 0;
}

static _Atomic uint64_t serials;

/* A forked child has the parent's epoll in common with it: under a new serial nothing of the
 * child's is registered there, so what it closes stays registered for the parent. */
static void after_fork_in_child(void)
{
    struct pi_loop *loop = pi_task_self()->thread->loop;
    if (loop)
        loop->serial = atomic_fetch_add(&serials, 1) + 1;
}

static void heed_forks(void)
{
    pthread_atfork(NULL, NULL,
                   after_fork_in_child); /* without memory for it forks are the caller's care */
}

static struct pi_loop *new_loop(struct pi_thread *th, const struct io_backend *backend, void *io)
{
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    pthread_once(&once, heed_forks);
    struct pi_loop *loop = pi_zalloc(sizeof *loop);
    if (!loop) {
        pi_fail(-ENOMEM, "event loop");
        return NULL;
    }
    loop->thread = th;
    loop->ready_end = &loop->ready;
    loop->budget = BUDGET;
    loop->serial = atomic_fetch_add(&serials, 1) + 1;
    loop->step_timer_fd = -1;
    loop->now_ns = pi_clock_ns();
    loop->backend = backend;
    loop->io = io;
    loop->trim.fire = trim_stacks;
    int rc = pi_timer_reserve(&loop->timers); /* the root's */
    if (rc == 0)
        rc = pi_timer_reserve(&loop->timers); /* trim's */
    if (rc == 0)
        rc = loop->backend->open(loop);
    if (rc < 0)
        pi_fail(rc, "event loop (%s)", loop->backend->name);
    else
        rc = start_poller(loop);
    if (rc < 0) {
        free_loop(loop);
        return NULL;
    }
    return loop;
}

static bool is_around(const struct pier_scope *outer, const struct pier_scope *inner)
{
    for (; inner; inner = inner->parent)
        if (inner == outer)
            return true;
    return false;
}

struct pi_loop *pi_loop_open(struct pier_scope *scope, const struct io_backend *backend, void *io)
{
    struct pi_thread *th = scope->owner->thread;
    PIER_ASSERT(!th->loop);
    struct pi_loop *loop = new_loop(th, backend, io);
    if (!loop)
        return NULL;
    loop->home = scope;
    atomic_store(&loop->running, &th->root);
    pi_overflow_watch(loop);
    pi_watch_loop(th, loop);
    return loop;
}

struct pi_loop *pi_loop_need(struct pier_scope *scope)
{
    struct pi_thread *th = scope->owner->thread;
    struct pi_loop *loop = th->loop;
    if (loop) {
        if (scope->owner == &th->root && is_around(scope, loop->home))
            loop->home = scope;
        return loop;
    }
    const struct io_backend *backend = io_choose_backend();
    loop = pi_loop_open(scope, backend, NULL);
    int code = loop ? 0 : scope->owner->err.code;
    if (backend != &io_epoll && (code == -EPERM || code == -ENOSYS || code == -ENOMEM))
        loop = pi_loop_open(scope, &io_epoll, NULL);
    return loop;
}

/* Messages that came while the loop was there are run before it goes; later ones find a thread
 * without a loop. */
void pi_loop_scope_ended(struct pier_scope *scope)
{
    struct pi_thread *th = scope->owner->thread;
    struct pi_loop *loop = th->loop;
    if (!loop || loop->home != scope)
        return;
    PIER_ASSERT(loop->tasks == 0);
    pi_thread_drain(th);
    pi_watch_loop(th, NULL);
    pi_overflow_unwatch(loop);
    pi_timer_disarm(&loop->timers, &th->root.timer);
    free_loop(loop);
}

void pi_loop_after_fork(struct pi_loop *loop)
{
    pi_overflow_unwatch(loop);
    if (loop->io)
        loop->backend->close(loop);
    if (loop->step_timer_fd >= 0)
        close(loop->step_timer_fd);
}

/* ---- public ---- */

int64_t pier_now(void)
{
    return pi_clock_ns();
}

int64_t pier_after(int64_t ns)
{
    if (ns < 0)
        return 0;
    int64_t now = pi_clock_ns();
    return ns > INT64_MAX - now ? INT64_MAX : now + ns;
}

int pier_yield(void)
{
    struct pi_task *self = pi_task_self();
    int rc = pi_cancel_check(self);
    if (rc == 0)
        pi_pass(self);
    return rc;
}

int pier_sleep(int64_t ns)
{
    if (ns <= 0)
        return pier_yield();
    struct io_op op = { .code = IO_SLEEP, .deadline_ns = pier_after(ns) };
    return (int)io_run(&op);
}

void pier_task_name(const char *fmt, ...)
{
    struct pi_task *self = pi_task_self();
    va_list args;
    va_start(args, fmt);
    vsnprintf(self->name_buf, sizeof self->name_buf, fmt, args);
    va_end(args);
    self->name = self->name_buf;
}

/* ---- inside a foreign loop ---- */

int pier_loop_fd(void)
{
    struct pi_task *self = pi_task_self();
    struct pi_loop *loop = self->thread->loop;
    if (!loop || self != &self->thread->root)
        return pi_fail(-EINVAL, "pier_loop_fd: this thread has no loop, or a task asks");
    if (loop->step_timer_fd < 0) {
        int fd = timerfd_create(CLOCK_MONOTONIC, TFD_NONBLOCK | TFD_CLOEXEC);
        if (fd < 0)
            return pi_fail(-errno, "pier_loop_fd: timer");
        int rc = loop->backend->watch(loop, fd);
        if (rc < 0) {
            close(fd);
            return pi_fail(rc, "pier_loop_fd: timer");
        }
        loop->step_timer_fd = fd;
    }
    arm_step_timer(loop);
    return loop->backend->pollable_fd(loop);
}

int pier_loop_step(void)
{
    struct pi_task *self = pi_task_self();
    struct pi_loop *loop = self->thread->loop;
    if (!loop || self != &self->thread->root)
        return pi_fail(-EINVAL, "pier_loop_step: this thread has no loop, or a task asks");
    pi_thread_awake(loop->thread);
    loop->budget = 0; /* the poller first, then whoever it made ready */
    for (int i = 0; i < 2; i++) {
        push_ready(loop, self);
        go_on(loop, self);
    }
    return (int)loop->tasks;
}
