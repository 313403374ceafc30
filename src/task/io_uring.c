/* SPDX-License-Identifier: MIT */
/*
 * task/io_uring.c - the io_uring backend: one system call submits what all tasks wait for and reaps
 * what has come.
 *
 * As with epoll, a call that is likely to succeed is made at once. What would wait goes into the
 * ring: a receive or send as itself, with its caller's buffer; anything else as a poll, after which
 * the call is made. An operation that is in the kernel is always reaped before its wait returns or
 * its descriptor is closed, by cancelling it if need be; so its buffer, and the operation, which is
 * what the completion points to, are there. Specification: io_uring(7), io_uring_enter(2).
 */
#define _GNU_SOURCE
#include "base/assert.h"
#include "task/file.h"
#include "task/sockets.h"

#include <fcntl.h>
#include <liburing.h>
#include <poll.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/timerfd.h>
#include <unistd.h>

enum {
    SUBMISSIONS = 1024, /* more than the tasks of one round between two polls can need */
    COMPLETIONS = 4096,
    BURST = 32,
};

/* What a completion belongs to when it is no operation. */
enum { NOTHING, WAKE_UP, LISTENERS, FAR_TIMER };

struct uring_io {
    struct io_uring ring;
    struct io_fd *kicked; /* armed while they may be ready */
    struct io_fd *polled; /* descriptors that are not Pier's, while somebody waits for them */
    bool reaps;
    struct io_far_timer far;
    bool watches_wake_fd, watches_listeners, watches_far;
    int listeners_fd;         /* -1: there are none */
    int event_fd, foreign_fd; /* of pier_loop_fd(); -1: never asked for */
};

/* ---- submitting ---- */

static struct io_uring_sqe *next_sqe(struct uring_io *io)
{
    struct io_uring_sqe *sqe = io_uring_get_sqe(&io->ring);
    if (__builtin_expect(!sqe, 0)) {
        io_uring_submit(&io->ring);
        sqe = io_uring_get_sqe(&io->ring);
        PIER_ASSERT(sqe != NULL);
    }
    return sqe;
}

static uint32_t events_of(const struct io_op *op)
{
    if (op->code == IO_POLL)
        return (uint32_t)op->len;
    return io_is_read(op) ? POLLIN : POLLOUT;
}

static void submit_poll(struct uring_io *io, struct io_op *op)
{
    struct io_uring_sqe *sqe = next_sqe(io);
    io_uring_prep_poll_add(sqe, op->fd->fd, events_of(op));
    io_uring_sqe_set_data(sqe, op);
    op->in_kernel = true;
}

/* It is known that nothing is there: the first try is left out. */
static void submit_recv(struct uring_io *io, struct io_op *op)
{
    struct io_uring_sqe *sqe = next_sqe(io);
    io_uring_prep_recv(sqe, op->fd->fd, op->buf, op->len, 0);
    sqe->ioprio |= IORING_RECVSEND_POLL_FIRST;
    io_uring_sqe_set_data(sqe, op);
    op->in_kernel = true;
}

static void submit_send(struct uring_io *io, struct io_op *op)
{
    struct io_uring_sqe *sqe = next_sqe(io);
    io_uring_prep_send(sqe, op->fd->fd, op->buf, op->len, MSG_NOSIGNAL);
    io_uring_sqe_set_data(sqe, op);
    op->in_kernel = true;
}

static void submit_cancel(struct uring_io *io, struct io_op *op)
{
    struct io_uring_sqe *sqe = next_sqe(io);
    io_uring_prep_cancel(sqe, op, 0);
    io_uring_sqe_set_data64(sqe, NOTHING);
}

static void watch_for_good(struct uring_io *io, int fd, uint64_t data)
{
    struct io_uring_sqe *sqe = next_sqe(io);
    io_uring_prep_poll_multishot(sqe, fd, POLLIN);
    io_uring_sqe_set_data64(sqe, data);
}

/* A poll that was to last may end: when completions overflow, say. */
static void watch_what_is_not(struct pi_loop *loop)
{
    struct uring_io *io = loop->io;
    if (!io->watches_wake_fd)
        watch_for_good(io, loop->thread->wake_fd, WAKE_UP);
    io->watches_wake_fd = true;
    if (!io->watches_listeners && io->listeners_fd >= 0)
        watch_for_good(io, io->listeners_fd, LISTENERS);
    io->watches_listeners = io->listeners_fd >= 0;
    if (!io->watches_far && io->far.fd >= 0)
        watch_for_good(io, io->far.fd, FAR_TIMER);
    io->watches_far = io->far.fd >= 0;
}

/* ---- armed operations ---- */

static bool *hint_of(const struct io_op *op)
{
    return io_is_read(op) ? &op->fd->may_read : &op->fd->may_write;
}

/* done() may arm again: a burst of connections is taken at once, a flood leaves room for others. */
static void run_armed(struct uring_io *io, struct io_op **slot)
{
    for (int i = 0; i < BURST && *slot && !(*slot)->task && !(*slot)->in_kernel; i++) {
        struct io_op *op = *slot;
        ssize_t n = io_call(op);
        if (n == -EAGAIN) {
            if (!op->fd->exclusive)
                submit_poll(io, op);
            return;
        }
        *slot = NULL;
        op->result = n;
        op->done(op);
    }
}

/* Each is looked at once: one that is armed again and may have more comes back in the next poll. */
static void run_kicked(struct uring_io *io)
{
    struct io_fd *f = io->kicked;
    io->kicked = NULL;
    while (f) {
        struct io_fd *next = f->next_kicked;
        f->kicked = false;
        run_armed(io, &f->reader);
        run_armed(io, &f->writer);
        f = next;
    }
}

/* ---- listeners ---- */

/* They are in an epoll, which the ring watches. A poll in the ring would hold a reference to the
 * listening socket, and the ring of a process that dies is torn down later: its successor would
 * find the address in use. */
static int watch_listener(struct pi_loop *loop, struct io_fd *f)
{
    struct uring_io *io = loop->io;
    if (f->loop_serial == loop->serial)
        return 0;
    if (io->listeners_fd < 0)
        io->listeners_fd = epoll_create1(EPOLL_CLOEXEC);
    if (io->listeners_fd < 0)
        return -errno;
    uint32_t events = EPOLLIN | EPOLLET | (f->exclusive ? (uint32_t)EPOLLEXCLUSIVE : 0);
    struct epoll_event ev = { .events = events, .data.ptr = f };
    if (epoll_ctl(io->listeners_fd, EPOLL_CTL_ADD, f->fd, &ev) < 0)
        return -errno;
    f->loop_serial = loop->serial;
    return 0;
}

static void look_at_listeners(struct uring_io *io)
{
    struct epoll_event events[BURST];
    int count;
    do {
        count = epoll_wait(io->listeners_fd, events, BURST, 0);
        for (int i = 0; i < count; i++) {
            struct io_fd *f = events[i].data.ptr;
            f->may_read = true;
            if (f->reader && f->reader->task)
                pi_ready(f->reader->task, 0);
            else
                run_armed(io, &f->reader);
        }
    } while (count == BURST);
}

/* ---- reaping ---- */

static void complete(struct uring_io *io, const struct io_uring_cqe *cqe)
{
    struct io_op *op = io_uring_cqe_get_data(cqe);
    op->in_kernel = false;
    op->result = cqe->res;
    if (op->task) {
        pi_ready(op->task, 0);
        return;
    }
    *hint_of(op) = true;
    if (*io_slot(op) == op)
        run_armed(io, io_slot(op));
}

static void reap(struct pi_loop *loop)
{
    struct uring_io *io = loop->io;
    struct io_uring_cqe *cqe;
    unsigned head, count = 0;
    io->reaps = true;
    io_uring_for_each_cqe(&io->ring, head, cqe)
    {
        count++;
        if (__builtin_expect(cqe->user_data > FAR_TIMER, 1)) {
            complete(io, cqe);
        } else if (cqe->user_data == WAKE_UP) {
            io->watches_wake_fd = cqe->flags & IORING_CQE_F_MORE; /* an edge: nothing to read */
        } else if (cqe->user_data == LISTENERS) {
            io->watches_listeners = cqe->flags & IORING_CQE_F_MORE;
            look_at_listeners(io);
        } else if (cqe->user_data == FAR_TIMER) {
            io->watches_far = cqe->flags & IORING_CQE_F_MORE;
        }
    }
    io->reaps = false;
    io_uring_cq_advance(&io->ring, count);
}

/* Edges that have been seen. */
static void clear_foreign_fd(struct pi_loop *loop)
{
    struct epoll_event seen[4];
    epoll_wait(((struct uring_io *)loop->io)->foreign_fd, seen, 4, 0);
    pi_thread_clear_wake_fd(loop->thread);
}

static void submit_and_wait(struct uring_io *io, int64_t left_ns)
{
    struct __kernel_timespec ts = { left_ns / PIER_SECOND, left_ns % PIER_SECOND };
    struct io_uring_cqe *cqe;
    int rc = left_ns == 0 ? io_uring_submit_and_get_events(&io->ring)
                          : io_uring_submit_and_wait_timeout(&io->ring, &cqe, 1,
                                                             left_ns < 0 ? NULL : &ts, NULL);
    PIER_ASSERT(rc >= 0 || rc == -EINTR || rc == -ETIME || rc == -EBUSY || rc == -EAGAIN);
}

static void uring_poll(struct pi_loop *loop, int64_t deadline_ns)
{
    struct uring_io *io = loop->io;
    struct pi_thread *th = loop->thread;
    watch_what_is_not(loop);
    bool is_far = deadline_ns > 0 && io_is_far(&io->far, loop, deadline_ns);
    int64_t left = io->kicked ? 0 : io_time_left(is_far ? 0 : deadline_ns);
    if (left != 0 && !pi_thread_sleep(th, PI_SLEEPS_FD))
        left = 0;
    submit_and_wait(io, left);
    pi_thread_awake(th);
    if (__builtin_expect(io->foreign_fd >= 0, 0))
        clear_foreign_fd(loop);
    reap(loop);
    if (io->kicked)
        run_kicked(io);
}

/* ---- waiting ---- */

/* Whether the kernel does op itself, instead of saying when it can be done. */
static bool is_whole(const struct io_op *op)
{
    return op->code == IO_RECV || op->code == IO_SEND;
}

/* Parks until op has been in the kernel: 0, and op->result is what came of it; or the code that
 * ended the wait, and it is in the kernel no more. */
static int wait_in_kernel(struct pi_loop *loop, struct pi_task *self, struct io_op *op,
                          struct io_op **slot, int64_t deadline_ns)
{
    struct uring_io *io = loop->io;
    op->result = -EAGAIN;
    int rc = io_take_interrupt(op);
    if (rc < 0)
        return rc;
    bool is_outside = op->fd->keeps_port && io_is_read(op);
    if (is_outside && (rc = watch_listener(loop, op->fd)) < 0)
        return rc;
    *slot = op;
    self->op = op;
    if (is_outside)
        ; /* the epoll of the listeners tells */
    else if (op->code == IO_RECV)
        submit_recv(io, op);
    else if (op->code == IO_SEND)
        submit_send(io, op);
    else
        submit_poll(io, op);
    rc = pi_park(self, deadline_ns, true);
    if (__builtin_expect(op->in_kernel, 0)) {
        submit_cancel(io, op);
        while (op->in_kernel)
            pi_park(self, 0, false);
    }
    self->op = NULL;
    *slot = NULL;
    return rc;
}

/* What op came to in the kernel; -EAGAIN: the wait is to go on. */
static ssize_t whole_result(struct io_op *op)
{
    ssize_t n = op->result;
    if (n == -EINTR || n == -ECANCELED)
        return -EAGAIN;
    bool is_full = n > 0 && (size_t)n == op->len;
    if (op->code == IO_RECV || !is_full)
        *hint_of(op) = is_full;
    return n;
}

static ssize_t run_on_fd(struct pi_loop *loop, struct pi_task *self, struct io_op *op)
{
    struct io_op **slot = io_slot(op);
    bool *likely = hint_of(op);
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
            if (*slot)
                return -EBUSY;
        }
        int rc = wait_in_kernel(loop, self, op, slot, pi_deadline(self, op->deadline_ns));
        ssize_t n = is_whole(op) ? whole_result(op) : -EAGAIN;
        if (n != -EAGAIN)
            return n; /* it has completed, whatever ended the wait */
        if (rc < 0)
            return io_last_look(op, rc);
        *likely = !is_whole(op);
    }
}

static bool is_polled(const struct uring_io *io, int fd)
{
    for (const struct io_fd *f = io->polled; f; f = f->next_kicked)
        if (f->fd == fd)
            return true;
    return false;
}

static void forget_polled(struct uring_io *io, struct io_fd *gone)
{
    struct io_fd **at = &io->polled;
    while (*at != gone)
        at = &(*at)->next_kicked;
    *at = gone->next_kicked;
}

/* A descriptor that is not Pier's: nothing is known of it but that one task waits for it. */
static ssize_t run_poll(struct pi_loop *loop, struct pi_task *self, struct io_op *op)
{
    struct uring_io *io = loop->io;
    struct io_fd *f = op->fd;
    ssize_t ready = io_call(op);
    if (ready != -EAGAIN)
        return ready;
    if (is_polled(io, f->fd))
        return -EBUSY;
    f->next_kicked = io->polled;
    io->polled = f;
    while (ready == -EAGAIN) {
        int rc = wait_in_kernel(loop, self, op, io_slot(op), pi_deadline(self, op->deadline_ns));
        ready = rc < 0 ? io_last_look(op, rc) : io_call(op);
    }
    forget_polled(io, f);
    return ready;
}

/* ---- files ---- */

/* Whether the ring has such a call; a thread makes the others. */
static bool prep_file(struct io_uring_sqe *sqe, const struct pi_file_call *call)
{
    unsigned len = (unsigned)(call->len < PI_FILE_MOST ? call->len : PI_FILE_MOST);
    switch (call->code) {
    case PI_FILE_OPEN:
        io_uring_prep_openat(sqe, call->folder, call->path, call->flags, call->mode);
        return true;
    case PI_FILE_READ:
        io_uring_prep_read(sqe, call->fd, call->buf, len, (uint64_t)call->offset);
        return true;
    case PI_FILE_WRITE:
        io_uring_prep_write(sqe, call->fd, call->buf, len, (uint64_t)call->offset);
        return true;
    case PI_FILE_SYNC:
        io_uring_prep_fsync(sqe, call->fd, call->flags & O_DSYNC ? IORING_FSYNC_DATASYNC : 0);
        return true;
    case PI_FILE_RENAME:
        io_uring_prep_renameat(sqe, call->folder, call->path, call->folder, call->to, 0);
        return true;
    case PI_FILE_REMOVE:
        io_uring_prep_unlinkat(sqe, call->folder, call->path, 0);
        return true;
    default:
        return false;
    }
}

/* Whether the kernel has been given op; its result is there when this returns. */
static bool submit_file(struct uring_io *io, struct pi_task *self, struct io_op *op, int *rc)
{
    struct io_uring_sqe prepared = { 0 };
    if (!prep_file(&prepared, op->buf))
        return false;
    struct io_uring_sqe *sqe = next_sqe(io);
    *sqe = prepared;
    io_uring_sqe_set_data(sqe, op);
    op->in_kernel = true;
    self->op = op;
    *rc = pi_park(self, pi_deadline(self, 0), true);
    if (op->in_kernel) { /* not begun, it ends at once; else it is waited for */
        submit_cancel(io, op);
        while (op->in_kernel)
            pi_park(self, 0, false);
    }
    self->op = NULL;
    return true;
}

static ssize_t run_file(struct pi_loop *loop, struct pi_task *self, struct io_op *op)
{
    struct pi_file_call *call = op->buf;
    for (int rc = 0;;) {
        if (!submit_file(loop->io, self, op, &rc))
            return io_file_offload(self, op);
        ssize_t n = op->result;
        if (n >= 0)
            return call->code == PI_FILE_OPEN ? io_file_opened(call, (int)n) : n;
        bool is_ended = n == -EINTR || n == -ECANCELED; /* and has done nothing */
        if (!is_ended || rc < 0)
            return is_ended ? rc : n;
    }
}

static ssize_t uring_run(struct pi_loop *loop, struct pi_task *self, struct io_op *op)
{
    op->in_kernel = false;
    switch (op->code) {
    case IO_SLEEP:
        return io_sleep(self, op);
    case IO_OFFLOAD:
    case IO_RESOLVE:
        return io_offload(self, op);
    case IO_FILE:
        return run_file(loop, self, op);
    case IO_POLL:
        return run_poll(loop, self, op);
    default:
        return run_on_fd(loop, self, op);
    }
}

static ssize_t uring_attempt(struct pi_loop *loop, struct io_op *op)
{
    return io_call(op);
}

static int uring_arm(struct pi_loop *loop, struct io_op *op)
{
    struct io_op **slot = io_slot(op);
    if (*slot)
        return -EBUSY;
    int rc = op->fd->exclusive ? watch_listener(loop, op->fd) : 0;
    if (rc < 0)
        return rc;
    op->in_kernel = false;
    op->fd->loop_serial = loop->serial;
    *slot = op;
    if (*hint_of(op))
        io_kick(&((struct uring_io *)loop->io)->kicked, op->fd);
    else if (!op->fd->exclusive)
        submit_poll(loop->io, op);
    return 0;
}

/* Out of the kernel, waiting for that as long as it takes: a moment. */
static void take_out(struct pi_loop *loop, struct io_op *op)
{
    struct uring_io *io = loop->io;
    if (!op->in_kernel)
        return;
    PIER_ASSERT(!io->reaps); /* no done() ends another operation */
    submit_cancel(io, op);
    while (op->in_kernel) {
        submit_and_wait(io, -1);
        reap(loop);
    }
}

static void uring_disarm(struct pi_loop *loop, struct io_op *op)
{
    struct io_op **slot = io_slot(op);
    if (*slot != op)
        return;
    *slot = NULL;
    take_out(loop, op);
    op->result = -ECANCELED;
    op->done(op);
}

static void uring_detach(struct pi_loop *loop, struct io_fd *f)
{
    struct uring_io *io = loop->io;
    if (f->kicked)
        io_unkick(&io->kicked, f);
    if (f->exclusive || f->keeps_port)
        epoll_ctl(io->listeners_fd, EPOLL_CTL_DEL, f->fd, NULL); /* unless it never was there */
}

/* ---- inside a foreign loop ---- */

static int watch(const struct uring_io *io, int fd)
{
    struct epoll_event ev = { .events = EPOLLIN | EPOLLET };
    return epoll_ctl(io->foreign_fd, EPOLL_CTL_ADD, fd, &ev) == 0 ? 0 : -errno;
}

/* A descriptor over those that show work: the ring's own does not, where that is deferred to the
 * next call, and its eventfd misses what another eventfd wakes. */
static int open_foreign_fd(struct pi_loop *loop)
{
    struct uring_io *io = loop->io;
    io->event_fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
    io->foreign_fd = io->event_fd < 0 ? -1 : epoll_create1(EPOLL_CLOEXEC);
    int rc = io->foreign_fd < 0 ? -errno : io_uring_register_eventfd(&io->ring, io->event_fd);
    if (rc == 0)
        rc = watch(io, io->event_fd);
    return rc < 0 ? rc : watch(io, loop->thread->wake_fd);
}

/* The timer of pier_loop_fd(), which asks for the descriptor afterwards. */
static int uring_watch(struct pi_loop *loop, int fd)
{
    struct uring_io *io = loop->io;
    int rc = io->foreign_fd < 0 ? open_foreign_fd(loop) : 0;
    return rc < 0 ? rc : watch(io, fd);
}

static int uring_pollable_fd(struct pi_loop *loop)
{
    return ((struct uring_io *)loop->io)->foreign_fd;
}

/* What is submitted, the descriptor shows. */
static bool uring_has_work(struct pi_loop *loop)
{
    struct uring_io *io = loop->io;
    watch_what_is_not(loop);
    io_uring_submit(&io->ring);
    return io->kicked != NULL;
}

/* ---- open and close ---- */

static _Atomic int rings;

int io_ring_count(void)
{
    return atomic_load(&rings);
}

static void uring_close(struct pi_loop *loop)
{
    struct uring_io *io = loop->io;
    pi_thread_clear_wake_fd(loop->thread); /* without a loop it is polled as a level */
    io_uring_queue_exit(&io->ring);
    atomic_fetch_sub(&rings, 1);
    if (io->far.fd >= 0)
        close(io->far.fd);
    if (io->listeners_fd >= 0)
        close(io->listeners_fd);
    if (io->event_fd >= 0)
        close(io->event_fd);
    if (io->foreign_fd >= 0)
        close(io->foreign_fd);
    pi_free(io);
    loop->io = NULL;
}

/* Completions run in our own calls only, at best. A plain ring, all that kernels before 5.19 have,
 * costs a third more than epoll, and they lack IORING_RECVSEND_POLL_FIRST: epoll it is there. */
static int open_ring(struct io_uring *ring)
{
    static const unsigned ladder[] = {
        IORING_SETUP_SINGLE_ISSUER | IORING_SETUP_DEFER_TASKRUN, /* Linux 6.1 */
        IORING_SETUP_COOP_TASKRUN,                               /* Linux 5.19 */
    };
    int rc = -EINVAL;
    for (size_t i = 0; rc == -EINVAL && i < sizeof ladder / sizeof ladder[0]; i++) {
        struct io_uring_params params = {
            .flags = ladder[i] | IORING_SETUP_CQSIZE | IORING_SETUP_CLAMP,
            .cq_entries = COMPLETIONS,
        };
        rc = io_uring_queue_init_params(SUBMISSIONS, ring, &params);
    }
    return rc == -EINVAL ? -ENOSYS : rc;
}

/* 0: not asked yet; 1: yes; negative: why not. */
static _Atomic int probed;

int io_uring_probe(void)
{
    int known = atomic_load(&probed);
    if (known == 0) {
        struct io_uring ring;
        int rc = open_ring(&ring);
        if (rc == 0)
            io_uring_queue_exit(&ring);
        known = rc < 0 ? rc : 1;
        atomic_store(&probed, known);
    }
    return known < 0 ? known : 0;
}

static int uring_open(struct pi_loop *loop)
{
    int wake_fd = pi_thread_wake_fd(loop->thread);
    if (wake_fd < 0)
        return wake_fd;
    struct uring_io *io = pi_zalloc(sizeof *io);
    if (!io)
        return -ENOMEM;
    io->listeners_fd = io->event_fd = io->foreign_fd = -1;
    int rc = open_ring(&io->ring);
    if (rc < 0) {
        pi_free(io);
        return rc;
    }
    atomic_fetch_add(&rings, 1);
    io->far =
        (struct io_far_timer){ .fd = timerfd_create(CLOCK_MONOTONIC, TFD_NONBLOCK | TFD_CLOEXEC) };
    io_uring_ring_dontfork(&io->ring);    /* a child that writes into it would be heard here */
    io_uring_register_ring_fd(&io->ring); /* saves a look-up a call; without it, it works as well */
    loop->io = io;
    return 0;
}

const struct io_backend io_uring_backend = {
    .name = "io_uring",
    .sockets = &io_system,
    .open = uring_open,
    .close = uring_close,
    .poll = uring_poll,
    .run = uring_run,
    .attempt = uring_attempt,
    .arm = uring_arm,
    .disarm = uring_disarm,
    .detach = uring_detach,
    .pollable_fd = uring_pollable_fd,
    .watch = uring_watch,
    .has_work = uring_has_work,
};
