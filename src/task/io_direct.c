/* SPDX-License-Identifier: MIT */
/*
 * task/io_direct.c - the backend of threads without a loop: the system call itself, and where it
 * would block, poll(2) on the descriptor and the thread's one wake-up eventfd. A wait for no
 * descriptor sleeps on a futex.
 *
 * Invariant: only the root task runs here; its inbox is run before every sleep, so that a
 * cancellation is never slept through.
 */
#define _GNU_SOURCE
#include "task/io.h"

#include "base/assert.h"
#include "task/file.h"

#include <linux/futex.h>
#include <poll.h>
#include <sys/syscall.h>
#include <unistd.h>

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

static int finish(struct pi_task *self)
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
        int rc = wait_ready(self, op, deadline);
        self->op = NULL;
        *slot = NULL;
        if (rc < 0)
            return io_last_look(op, rc);
        *hint = true;
    }
}

ssize_t io_direct_run(struct pi_task *self, struct io_op *op)
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
