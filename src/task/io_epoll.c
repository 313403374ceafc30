/* SPDX-License-Identifier: MIT */
/*
 * task/io_epoll.c - the epoll backend: try the call where it is likely to succeed, else park until
 * the descriptor is ready.
 *
 * Descriptors are registered once, edge-triggered, when they are first waited for; EPOLLOUT is
 * added when a first write would block, since a Unix socket reports it after every read of the
 * peer's. All events of a batch are turned into hints and ready tasks before any task runs, so no
 * event can meet a descriptor that a task has closed meanwhile. Specification: epoll(7).
 */
#define _GNU_SOURCE
#include "base/assert.h"
#include "task/file.h"
#include "task/sockets.h"
#include "task/syscalls.h"

#include <poll.h>
#include <sys/epoll.h>
#include <sys/timerfd.h>
#include <unistd.h>

/* No more events a poll than tasks run until the next one (BUDGET in sched.c; an echo uses three of
 * it): what is looked at long before its task runs has left the caches by then. With 256, 1,000
 * busy connections cost 10 % more. */
enum { BATCH = 32, BURST = 32 };

struct epoll_io {
    int fd;
    struct io_far_timer far;
    struct io_fd *kicked; /* armed while they may be ready: no edge will tell */
    struct epoll_event events[BATCH];
};

static int epoll_fd(struct pi_loop *loop)
{
    return ((struct epoll_io *)loop->io)->fd;
}

/* ---- registration ---- */

static int control(struct pi_loop *loop, int how, int fd, uint32_t events, void *ptr)
{
    struct epoll_event ev = { .events = events, .data.ptr = ptr };
    return epoll_ctl(epoll_fd(loop), how, fd, &ev) == 0 ? 0 : -errno;
}

static int watch_fd(struct pi_loop *loop, struct io_fd *f, bool for_write)
{
    bool known = f->loop_serial == loop->serial;
    if (known && (!for_write || f->watches_write))
        return 0;
    uint32_t events = EPOLLIN | EPOLLPRI | EPOLLRDHUP | EPOLLET | (for_write ? EPOLLOUT : 0);
    if (f->exclusive)
        events = EPOLLIN | EPOLLET | EPOLLEXCLUSIVE;
    int rc = control(loop, known ? EPOLL_CTL_MOD : EPOLL_CTL_ADD, f->fd, events, f);
    if (rc < 0)
        return rc == -EEXIST ? -EBUSY : rc; /* pier_wait_fd() waits for the same descriptor */
    f->loop_serial = loop->serial;
    f->watches_write = for_write;
    return 0;
}

static void epoll_detach(struct pi_loop *loop, struct io_fd *f)
{
    if (f->kicked)
        io_unkick(&((struct epoll_io *)loop->io)->kicked, f);
    int rc = control(loop, EPOLL_CTL_DEL, f->fd, 0, NULL);
    PIER_ASSERT(rc == 0 || rc == -ENOENT || rc == -EBADF);
    f->watches_write = false;
}

/* ---- waiting ---- */

/* Parks until op's direction may be ready: 0, or the code that ends the operation. */
static int wait_ready(struct pi_loop *loop, struct pi_task *self, struct io_op *op,
                      struct io_op **slot, int64_t deadline_ns)
{
    if (*slot)
        return -EBUSY;
    int rc = io_take_interrupt(op);
    if (rc == 0)
        rc = watch_fd(loop, op->fd, !io_is_read(op));
    if (rc < 0)
        return rc;
    *slot = op;
    self->op = op;
    rc = pi_park(self, deadline_ns, true);
    self->op = NULL;
    *slot = NULL;
    return rc;
}

static bool is_likely(const struct io_op *op)
{
    return io_is_read(op) ? op->fd->may_read : op->fd->may_write;
}

static ssize_t run_on_fd(struct pi_loop *loop, struct pi_task *self, struct io_op *op)
{
    struct io_op **slot = io_slot(op);
    const bool *likely = io_is_read(op) ? &op->fd->may_read : &op->fd->may_write;
    bool now = op->deadline_ns == IO_NOW;
    if (*slot)
        return -EBUSY;
    for (;;) {
        if (*likely || now) {
            ssize_t n = io_call(op);
            if (n != -EAGAIN || now) {
                if (--loop->budget <= 0)
                    pi_pass(self);
                return n;
            }
        }
        int rc = wait_ready(loop, self, op, slot, pi_deadline(self, op->deadline_ns));
        if (rc < 0)
            return io_last_look(op, rc);
    }
}

/* A descriptor that is not Pier's is registered for this one wait. What epoll refuses, a regular
 * file, is always ready. */
static ssize_t run_poll(struct pi_loop *loop, struct pi_task *self, struct io_op *op)
{
    ssize_t ready = io_call(op);
    if (ready != -EAGAIN)
        return ready;
    struct io_fd *f = op->fd;
    int rc = control(loop, EPOLL_CTL_ADD, f->fd, (uint32_t)op->len | EPOLLET, f);
    if (rc < 0)
        return rc == -EEXIST ? -EBUSY : rc;
    f->loop_serial = loop->serial;
    f->watches_write = true;
    do {
        rc = wait_ready(loop, self, op, io_slot(op), pi_deadline(self, op->deadline_ns));
        ready = rc < 0 ? rc : io_call(op);
    } while (ready == -EAGAIN);
    epoll_detach(loop, f);
    f->loop_serial = 0;
    return ready;
}

static ssize_t epoll_run(struct pi_loop *loop, struct pi_task *self, struct io_op *op)
{
    switch (op->code) {
    case IO_SLEEP:
        return io_sleep(self, op);
    case IO_OFFLOAD:
    case IO_RESOLVE:
        return io_offload(self, op);
    case IO_FILE:
        return io_file_offload(self, op);
    case IO_POLL:
        return run_poll(loop, self, op);
    default:
        return run_on_fd(loop, self, op);
    }
}

static ssize_t epoll_attempt(struct pi_loop *loop, struct io_op *op)
{
    return io_call(op);
}

/* ---- armed operations ---- */

static int epoll_arm(struct pi_loop *loop, struct io_op *op)
{
    struct io_op **slot = io_slot(op);
    if (*slot)
        return -EBUSY;
    int rc = watch_fd(loop, op->fd, !io_is_read(op));
    if (rc < 0)
        return rc;
    *slot = op;
    if (is_likely(op))
        io_kick(&((struct epoll_io *)loop->io)->kicked, op->fd); /* no edge comes again */
    return 0;
}

static void epoll_disarm(struct pi_loop *loop, struct io_op *op)
{
    struct io_op **slot = io_slot(op);
    if (*slot != op)
        return;
    *slot = NULL;
    op->result = -ECANCELED;
    op->done(op);
}

/* ---- the poll ---- */

static void ready_op(struct io_op **slot)
{
    struct io_op *op = *slot;
    if (!op)
        return;
    if (op->task) { /* the slot is its until it has run: nobody else may take what came */
        pi_ready(op->task, 0);
        return;
    }
    /* done() may arm again: a burst of connections is taken at once, a flood leaves room for
     * others. */
    for (int i = 0; i < BURST && *slot; i++) {
        op = *slot;
        ssize_t n = io_call(op);
        if (n == -EAGAIN)
            return;
        *slot = NULL;
        op->result = n;
        op->done(op);
    }
}

static bool is_poll(const struct io_op *op)
{
    return op && op->code == IO_POLL;
}

static void take_event(struct io_fd *f, uint32_t events)
{
    if (events & (EPOLLRDHUP | EPOLLHUP | EPOLLERR | EPOLLPRI))
        f->hung_up = true;
    bool readable = events & (EPOLLIN | EPOLLRDHUP | EPOLLHUP | EPOLLERR | EPOLLPRI);
    bool writable = events & (EPOLLOUT | EPOLLHUP | EPOLLERR);
    if (readable)
        f->may_read = true;
    if (writable)
        f->may_write = true;
    /* A done() may arm again, but never end f. */
    if (readable || is_poll(f->reader))
        ready_op(&f->reader);
    if (writable || is_poll(f->writer))
        ready_op(&f->writer);
}

/* Each is looked at once: one that is armed again and may have more comes back in the next poll. */
static void run_kicked(struct epoll_io *io)
{
    struct io_fd *f = io->kicked;
    io->kicked = NULL;
    while (f) {
        struct io_fd *next = f->next_kicked;
        f->kicked = false;
        if (f->may_read)
            ready_op(&f->reader);
        if (f->may_write)
            ready_op(&f->writer);
        f = next;
    }
}

/* Milliseconds are too coarse for short sleeps; where epoll_pwait2 (Linux 5.11) is missing they are
 * rounded up, so that no timer is early and polled twice. */
static int wait_events(struct epoll_io *io, int64_t left_ns)
{
    struct timespec ts = { left_ns / PIER_SECOND, left_ns % PIER_SECOND };
    int count = sys_epoll_wait(io->fd, io->events, BATCH, left_ns < 0 ? NULL : &ts);
    if (count >= 0 || (errno != ENOSYS && errno != EPERM))
        return count;
    int64_t ms = left_ns < 0 ? -1 : (left_ns + PIER_MILLISECOND - 1) / PIER_MILLISECOND;
    return epoll_wait(io->fd, io->events, BATCH, ms > INT32_MAX ? INT32_MAX : (int)ms);
}

static void epoll_poll(struct pi_loop *loop, int64_t deadline_ns)
{
    struct epoll_io *io = loop->io;
    struct pi_thread *th = loop->thread;
    bool is_far = deadline_ns > 0 && io_is_far(&io->far, loop, deadline_ns);
    int64_t left = io->kicked ? 0 : io_time_left(is_far ? 0 : deadline_ns);
    if (left != 0 && !pi_thread_sleep(th, PI_SLEEPS_FD))
        left = 0;
    int count = wait_events(io, left);
    pi_thread_awake(th);
    PIER_ASSERT(count >= 0 || errno == EINTR);
    for (int i = 0; i < count; i++) {
        struct io_fd *f = io->events[i].data.ptr;
        if (f) /* else a wake-up or a timer, which as edges need not be read */
            take_event(f, io->events[i].events);
    }
    run_kicked(io);
}

/* ---- open and close ---- */

static void epoll_close(struct pi_loop *loop)
{
    struct epoll_io *io = loop->io;
    pi_thread_clear_wake_fd(loop->thread); /* without a loop it is polled as a level */
    close(io->fd);
    if (io->far.fd >= 0)
        close(io->far.fd);
    pi_free(io);
    loop->io = NULL;
}

/* The wake-up eventfd and the timer of pier_loop_fd(); edge-triggered, since nobody reads
 * them: reading each wake-up made a message between two loops 1.5 times as dear. */
static int epoll_watch(struct pi_loop *loop, int fd)
{
    return control(loop, EPOLL_CTL_ADD, fd, EPOLLIN | EPOLLET, NULL);
}

static bool epoll_has_work(struct pi_loop *loop)
{
    return ((struct epoll_io *)loop->io)->kicked != NULL;
}

static int epoll_open(struct pi_loop *loop)
{
    int wake_fd = pi_thread_wake_fd(loop->thread);
    if (wake_fd < 0)
        return wake_fd;
    struct epoll_io *io = pi_alloc(sizeof *io);
    if (!io)
        return -ENOMEM;
    io->fd = epoll_create1(EPOLL_CLOEXEC);
    if (io->fd < 0) {
        int code = -errno;
        pi_free(io);
        return code;
    }
    io->kicked = NULL;
    io->far =
        (struct io_far_timer){ .fd = timerfd_create(CLOCK_MONOTONIC, TFD_NONBLOCK | TFD_CLOEXEC) };
    loop->io = io;
    int rc = epoll_watch(loop, wake_fd); /* on failure the loop is freed, and this with it */
    if (rc == 0 && io->far.fd >= 0)      /* without it each sleep has a time-out of its own */
        rc = epoll_watch(loop, io->far.fd);
    return rc;
}

const struct io_backend io_epoll = {
    .name = "epoll",
    .sockets = &io_system,
    .open = epoll_open,
    .close = epoll_close,
    .poll = epoll_poll,
    .run = epoll_run,
    .attempt = epoll_attempt,
    .arm = epoll_arm,
    .disarm = epoll_disarm,
    .detach = epoll_detach,
    .pollable_fd = epoll_fd,
    .watch = epoll_watch,
    .has_work = epoll_has_work,
};
