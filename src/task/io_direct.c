/* SPDX-License-Identifier: MIT */
/*
 * task/io_direct.c - the backend of threads without a loop: the system call itself, and where it
 * would block, poll(2) on the descriptor and the thread's one wake-up eventfd. A wait for no
 * descriptor sleeps on a futex.
 *
 * A read from a connection that a server gave to its thread is the blocking call alone, for a
 * second at most, as poll(2) costs a sixth of an echo. Who wakes the thread sends it a signal. Its
 * handler makes the descriptor non-blocking, so that a call which has not begun will not block
 * either; one that has begun ends with EINTR.
 *
 * Invariant: only the root task runs here; its inbox is run before every sleep, so that a
 * cancellation is never slept through.
 */
#define _GNU_SOURCE
#include "task/io.h"

#include "base/assert.h"
#include "task/file.h"
#include "task/syscalls.h"

#include <linux/futex.h>
#include <poll.h>
#include <sys/ioctl.h>
#include <sys/syscall.h>
#include <unistd.h>

/* A signal that is blocked by a handler of the program's costs no more than this: then the wait
 * goes on in poll(2). */
enum { BLOCK_MS = 1000 };

static struct timespec *until(struct timespec *ts, int64_t deadline_ns, int64_t now_ns)
{
    if (!deadline_ns)
        return NULL;
    int64_t left = deadline_ns > now_ns ? deadline_ns - now_ns : 0;
    *ts = (struct timespec){ left / PIER_SECOND, left % PIER_SECOND };
    return ts;
}

/* Runs what came in; whether the task has been made ready, by that or by its deadline. */
static bool is_over(struct pi_task *self, int64_t deadline_ns)
{
    pi_thread_drain(self->thread);
    if (self->state != PI_PARKED)
        return true;
    if (deadline_ns && deadline_ns <= pi_clock_ns())
        pi_ready(self, -ETIMEDOUT);
    return self->state != PI_PARKED;
}

PI_HOT static int finish(struct pi_task *self)
{
    self->state = PI_RUNNING;
    self->cancellable = false;
    self->waits_for = NULL;
    return self->wake;
}

int io_direct_park(struct pi_task *self, int64_t deadline_ns)
{
    struct pi_thread *th = self->thread;
    while (!is_over(self, deadline_ns)) {
        struct timespec ts;
        struct timespec *left = until(&ts, deadline_ns, deadline_ns ? pi_clock_ns() : 0);
        if (pi_thread_sleep(th, PI_SLEEPS_FUTEX))
            syscall(SYS_futex, &th->sleeping, FUTEX_WAIT_PRIVATE, PI_SLEEPS_FUTEX, left, NULL, 0);
        pi_thread_awake(th);
    }
    return finish(self);
}

static short events_of(const struct io_op *op)
{
    if (op->code == IO_POLL)
        return (short)op->len;
    return io_is_read(op) ? POLLIN : POLLOUT;
}

/* Waits until the descriptor is ready: 0, or the code that ends the operation. */
static int wait_ready(struct pi_task *self, struct io_op *op, int64_t deadline_ns)
{
    struct pi_thread *th = self->thread;
    int wake_fd = pi_thread_wake_fd(th);
    int rc = wake_fd < 0 ? wake_fd : pi_cancel_flag(self);
    if (rc == 0)
        rc = io_take_interrupt(op);
    if (rc < 0)
        return rc;
    self->state = PI_PARKED;
    self->cancellable = true;
    while (!is_over(self, deadline_ns)) {
        struct pollfd fds[2] = { { op->fd->fd, events_of(op), 0 }, { wake_fd, POLLIN, 0 } };
        struct timespec ts;
        struct timespec *left = until(&ts, deadline_ns, deadline_ns ? pi_clock_ns() : 0);
        rc = 0;
        if (pi_thread_sleep(th, PI_SLEEPS_FD))
            rc = ppoll(fds, 2, left, NULL);
        pi_thread_awake(th);
        if (rc < 0 && errno != EINTR)
            pi_ready(self, -errno);
        if (rc > 0 && fds[1].revents)
            pi_thread_clear_wake_fd(th);
        if (rc > 0 && fds[0].revents)
            pi_ready(self, 0);
    }
    return finish(self);
}

/* ---- reading by a blocking call ---- */

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static int openers;
static struct sigaction before;
static _Atomic bool may_block;

/* Anywhere in the thread: whether before, in or after the call is not known. */
static void on_wake(int number)
{
    int saved = errno, on = 1;
    struct pi_thread *th = pi_err_self ? pi_task_self()->thread : NULL;
    struct io_fd *f = th ? atomic_load_explicit(&th->blocked, memory_order_relaxed) : NULL;
    if (f && ioctl(f->fd, FIONBIO, &on) == 0)
        f->is_blocking = false;
    errno = saved;
}

static bool is_ours(const struct sigaction *action)
{
    return !(action->sa_flags & SA_SIGINFO) && action->sa_handler == on_wake;
}

/* A program that handles the signal keeps it. */
void io_blocking_open(void)
{
    pthread_mutex_lock(&lock);
    if (openers++ == 0) {
        struct sigaction ours = { .sa_handler = on_wake, .sa_flags = SA_RESTART };
        sigemptyset(&ours.sa_mask);
        sigaction(PI_WAKE_SIGNAL, NULL, &before);
        bool is_free = !(before.sa_flags & SA_SIGINFO) &&
                       (before.sa_handler == SIG_DFL || before.sa_handler == SIG_IGN);
        atomic_store(&may_block, is_free && sigaction(PI_WAKE_SIGNAL, &ours, NULL) == 0);
    }
    pthread_mutex_unlock(&lock);
}

void io_blocking_close(void)
{
    pthread_mutex_lock(&lock);
    if (--openers == 0 && atomic_exchange(&may_block, false)) {
        struct sigaction now;
        sigaction(PI_WAKE_SIGNAL, NULL, &now);
        if (is_ours(&now)) /* and not the program's, meanwhile */
            sigaction(PI_WAKE_SIGNAL, &before, NULL);
    }
    pthread_mutex_unlock(&lock);
}

bool io_blocking_here(void)
{
    sigset_t one;
    if (!atomic_load(&may_block))
        return false;
    sigemptyset(&one);
    sigaddset(&one, PI_WAKE_SIGNAL);
    return pthread_sigmask(SIG_UNBLOCK, &one, NULL) == 0;
}

/* What cannot be changed stays as it is: a call that blocks would do so for BLOCK_MS. */
void io_never_block(struct io_fd *f)
{
    static const struct timeval unlimited = { 0 };
    int on = 1;
    f->may_block = false;
    if (f->is_blocking && ioctl(f->fd, FIONBIO, &on) == 0)
        f->is_blocking = false;
    if (f->limits_block && !f->is_blocking)
        f->limits_block = setsockopt(f->fd, SOL_SOCKET, SO_RCVTIMEO, &unlimited, sizeof unlimited) <
                          0;
}

/* Whether its reads may now be blocking calls. The limit is set first. */
static bool make_blocking(struct io_fd *f)
{
    static const struct timeval most = { .tv_sec = BLOCK_MS / 1000 };
    int off = 0;
    if (!f->limits_block)
        f->limits_block = setsockopt(f->fd, SOL_SOCKET, SO_RCVTIMEO, &most, sizeof most) == 0;
    f->is_blocking = f->limits_block && ioctl(f->fd, FIONBIO, &off) == 0;
    if (!f->is_blocking)
        f->may_block = false;
    return f->is_blocking;
}

PI_HOT static bool can_block(const struct io_op *op, int64_t deadline_ns)
{
    if (op->code != IO_RECV || !op->fd->may_block || !atomic_load(&may_block))
        return false;
    return !deadline_ns || deadline_ns - pi_clock_coarse_ns() > 2 * BLOCK_MS * PIER_MILLISECOND;
}

/* One call, and what it returned; an -EINTR means that somebody may have sent something. */
static ssize_t recv_blocking(struct pi_thread *th, struct io_op *op)
{
    struct io_fd *f = op->fd;
    if (!f->is_blocking && !make_blocking(f))
        return -EAGAIN;
    atomic_store_explicit(&th->blocked, f, memory_order_relaxed);
    ssize_t n = -EINTR;
    if (pi_thread_sleep(th, PI_SLEEPS_READ)) {
        n = sys_recv(f->fd, op->buf, op->len, 0);
        n = n < 0 ? -errno : n;
    }
    pi_thread_awake(th);
    atomic_store_explicit(&th->blocked, NULL, memory_order_relaxed);
    return n;
}

/* Reads, for a while: the result, or -EAGAIN where the wait goes on; *rc is a code that ends it. */
PI_HOT static ssize_t read_for_a_while(struct pi_task *self, struct io_op *op, int64_t deadline_ns,
                                       int *rc)
{
    struct pi_thread *th = self->thread;
    ssize_t n = -EAGAIN;
    *rc = pi_cancel_flag(self);
    if (*rc == 0)
        *rc = io_take_interrupt(op);
    if (*rc < 0)
        return n;
    if (!th->tid)
        th->tid = (pid_t)syscall(SYS_gettid);
    self->state = PI_PARKED;
    self->cancellable = true;
    do { /* there was time enough; a call that a signal ended has used some of it */
        pi_thread_drain(th);
        n = self->state == PI_PARKED ? recv_blocking(th, op) : -EAGAIN;
    } while (n == -EINTR && can_block(op, deadline_ns));
    if (n == -EINTR)
        n = -EAGAIN;
    bool was_woken = self->state != PI_PARKED;
    *rc = finish(self);
    if (!was_woken)
        *rc = 0;
    if (n >= 0)
        io_keep_hint(op, n);
    return n;
}

/* ---- operations ---- */

/* Waits in the operation's slot: true when *n is its result. */
static bool wait_in_slot(struct pi_task *self, struct io_op *op, int64_t deadline_ns, ssize_t *n)
{
    int rc = 0;
    *n = can_block(op, deadline_ns) ? read_for_a_while(self, op, deadline_ns, &rc) : -EAGAIN;
    if (*n != -EAGAIN)
        return true;
    if (rc == 0)
        rc = wait_ready(self, op, deadline_ns);
    if (rc < 0)
        *n = io_last_look(op, rc);
    return rc < 0;
}

static ssize_t run_on_fd(struct pi_task *self, struct io_op *op)
{
    struct io_fd *f = op->fd;
    bool read_side = io_is_read(op);
    struct io_op **slot = read_side ? &f->reader : &f->writer;
    bool *hint = read_side ? &f->may_read : &f->may_write;
    if (op->deadline_ns == IO_NOW)
        return io_call(op);
    int64_t deadline = pi_deadline(self, op->deadline_ns);
    for (;;) {
        if (*hint || op->code == IO_POLL) {
            ssize_t n = io_call(op);
            if (n != -EAGAIN)
                return n;
        }
        if (*slot)
            return -EBUSY;
        *slot = op;
        op->task = self;
        self->op = op;
        ssize_t n;
        bool is_done = wait_in_slot(self, op, deadline, &n);
        self->op = NULL;
        *slot = NULL;
        if (is_done)
            return n;
        *hint = true;
    }
}

PI_HOT ssize_t io_direct_run(struct pi_task *self, struct io_op *op)
{
    switch (op->code) {
    case IO_SLEEP:
        return io_sleep(self, op);
    case IO_OFFLOAD:
    case IO_RESOLVE:
        return io_offload(self, op);
    case IO_FILE:
        return io_file_call(op->buf);
    default:
        return run_on_fd(self, op);
    }
}
