/* SPDX-License-Identifier: MIT */
/*
 * task/io.c - what the backends share: the front door, the system calls themselves, sleeping, and
 * the choice of a backend.
 */
#define _GNU_SOURCE
#include "task/io.h"

#include "base/assert.h"
#include "task/sockets.h"
#include "task/syscalls.h"

#include <fcntl.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/timerfd.h>
#include <sys/uio.h>
#include <unistd.h>

PI_HOT ssize_t io_run(struct io_op *op)
{
    struct pi_task *self = pi_task_self();
    int rc = pi_cancel_check(self);
    if (rc < 0)
        return rc;
    op->task = self;
    struct pi_loop *loop = self->thread->loop;
    return loop ? loop->backend->run(loop, self, op) : io_direct_run(self, op);
}

PI_HOT ssize_t io_try(struct io_op *op)
{
    struct pi_loop *loop = pi_task_self()->thread->loop;
    return loop ? loop->backend->attempt(loop, op) : io_call(op);
}

int io_arm(struct io_op *op)
{
    struct pi_loop *loop = pi_task_self()->thread->loop;
    PIER_ASSERT(loop != NULL && op->done != NULL);
    op->task = NULL;
    return loop->backend->arm(loop, op);
}

void io_disarm(struct io_op *op)
{
    struct pi_loop *loop = pi_task_self()->thread->loop;
    PIER_ASSERT(loop != NULL);
    loop->backend->disarm(loop, op);
}

void io_interrupt_read(struct io_fd *f)
{
    struct io_op *op = f->reader;
    if (!op || !op->task)
        f->interrupted = true; /* between its last look and its wait */
    else if (op->task->state == PI_PARKED)
        pi_ready(op->task, -EINTR);
    else if (op->task->wake == 0)
        op->task->wake = -EINTR; /* ready, but it might find nothing and wait on */
}

void io_detach(struct io_fd *f)
{
    struct pi_loop *loop = pi_task_self()->thread->loop;
    if (loop && f->loop_serial == loop->serial)
        loop->backend->detach(loop, f);
    f->loop_serial = 0;
}

void io_close(struct io_fd *f)
{
    if (f->fd < 0)
        return;
    PIER_ASSERT(!f->reader && !f->writer);
    /* Not left to close(2): a child between fork and exec may hold the open file, and the
     * registration with it, for a while. */
    io_detach(f);
    io_sockets()->close(f->fd);
    f->fd = -1;
}

void io_unkick(struct io_fd **list, struct io_fd *f)
{
    while (*list && *list != f)
        list = &(*list)->next_kicked;
    if (*list)
        *list = f->next_kicked;
    f->kicked = false;
}

static ssize_t poll_now(const struct io_op *op)
{
    if (op->hinted && op->fd->may_read)
        return POLLIN;
    struct pollfd p = { .fd = op->fd->fd, .events = (short)op->len };
    int rc = poll(&p, 1, 0);
    if (rc < 0)
        return -1;
    if (rc == 0) {
        errno = EAGAIN;
        return -1;
    }
    return p.revents;
}

/* The first call starts the attempt; the next one, after a wait, asks how it went. An interrupted
 * call is made again, and EALREADY or EISCONN say how far it had come. A Unix socket whose peer's
 * backlog is full says EAGAIN and has started nothing: that is ENOBUFS here, and the caller's to
 * repeat. */
static ssize_t connect_now(struct io_op *op)
{
    int fd = op->fd->fd;
    int error = 0;
    socklen_t len = sizeof error;
    if (op->len == 1)
        return getsockopt(fd, SOL_SOCKET, SO_ERROR, &error, &len) < 0 || (errno = error) ? -1 : 0;
    int rc = connect(fd, op->buf, op->addr_len);
    if (rc < 0 && errno == EINTR)
        return rc;
    op->len = 1;
    if (rc == 0 || errno == EISCONN)
        return 0;
    bool has_begun = errno == EINPROGRESS || errno == EALREADY;
    errno = has_begun ? EAGAIN : errno == EAGAIN ? ENOBUFS : errno;
    return rc;
}

/* Its flags do not count for the socket: that must not block by itself. */
static ssize_t splice_now(int from, int to, size_t len, struct io_fd *f)
{
    io_never_block(f);
    return splice(from, NULL, to, NULL, len, SPLICE_F_MOVE | SPLICE_F_NONBLOCK);
}

static ssize_t recv_now(const struct io_op *op)
{
    return sys_recv(op->fd->fd, op->buf, op->len, MSG_DONTWAIT);
}

static ssize_t send_now(const struct io_op *op)
{
    return sys_send(op->fd->fd, op->buf, op->len, MSG_DONTWAIT | MSG_NOSIGNAL);
}

/* A hint is all that is asked for: the call that follows finds out, and takes it back. */
static ssize_t likely_now(bool may)
{
    errno = EAGAIN;
    return may ? 0 : -1;
}

/* The rarer ones. */
static ssize_t call_once(struct io_op *op)
{
    int fd = op->fd->fd;
    switch (op->code) {
    case IO_RECVMSG:
        return recvmsg(fd, op->buf, MSG_DONTWAIT | MSG_CMSG_CLOEXEC);
    case IO_RECVMMSG:
        return recvmmsg(fd, op->buf, (unsigned)op->len, MSG_DONTWAIT | MSG_CMSG_CLOEXEC, NULL);
    case IO_SENDMMSG:
        return sendmmsg(fd, op->buf, (unsigned)op->len, MSG_DONTWAIT | MSG_NOSIGNAL);
    case IO_SENDMSG:
        return sendmsg(fd, op->buf, MSG_DONTWAIT | MSG_NOSIGNAL);
    case IO_READ:
        return read(fd, op->buf, op->len);
    case IO_WRITEV:
        return writev(fd, op->buf, (int)op->len);
    case IO_ACCEPT:
        return accept4(fd, op->buf, op->buf ? &op->addr_len : NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
    case IO_CONNECT:
        return connect_now(op);
    case IO_POLL:
        return poll_now(op);
    case IO_READABLE:
        return likely_now(op->fd->may_read);
    case IO_WRITABLE:
        return likely_now(op->fd->may_write);
    case IO_SPLICE_IN:
        return splice_now(fd, op->other_fd, op->len, op->fd);
    case IO_SPLICE_OUT:
        return splice_now(op->other_fd, fd, op->len, op->fd);
    default:
        pi_assert_failed("an operation on a descriptor", __FILE__, __LINE__);
    }
}

/* After a read, is another one likely to find something? A full buffer says yes; a short one, on
 * TCP, and a batch of datagrams that was not filled, no: what comes later is a new edge. The end
 * and errors stay in the queue without one. */
PI_HOT void io_keep_hint(const struct io_op *op, ssize_t n)
{
    struct io_fd *f = op->fd;
    if ((op->code == IO_RECV || op->code == IO_RECVMMSG) && f->greedy && !f->hung_up)
        f->may_read = n > 0 && (size_t)n == op->len;
}

PI_HOT ssize_t io_call(struct io_op *op)
{
    ssize_t n;
    do
        n = op->code == IO_RECV ? recv_now(op) : op->code == IO_SEND ? send_now(op) : call_once(op);
    while (n < 0 && errno == EINTR);
    if (n >= 0) {
        io_keep_hint(op, n);
        return n;
    }
    if (errno != EAGAIN && errno != EWOULDBLOCK)
        return -errno;
    if (io_is_read(op))
        op->fd->may_read = false;
    else
        op->fd->may_write = false;
    return -EAGAIN;
}

/* Reads only: a send may find room for a few bytes long before the kernel calls the socket
 * writable, and a peer that reads nothing would pass for one that makes progress. */
ssize_t io_last_look(struct io_op *op, int rc)
{
    if (rc != -ETIMEDOUT || !io_is_read(op))
        return rc;
    ssize_t n = io_call(op);
    return n == -EAGAIN ? rc : n;
}

ssize_t io_sleep(struct pi_task *self, struct io_op *op)
{
    self->op = op;
    int rc = pi_park(self, pi_deadline(self, op->deadline_ns), true);
    self->op = NULL;
    if (rc == -ETIMEDOUT && op->deadline_ns && op->deadline_ns <= pi_clock_ns())
        return 0;
    return rc;
}

bool io_is_far(struct io_far_timer *t, const struct pi_loop *loop, int64_t deadline_ns)
{
    const int64_t far = 100 * PIER_MILLISECOND;
    if (t->fd < 0 || deadline_ns < loop->now_ns + far)
        return false;
    if (t->when_ns > loop->now_ns && t->when_ns <= deadline_ns)
        return true;
    struct itimerspec spec = { .it_value = { deadline_ns / PIER_SECOND,
                                             deadline_ns % PIER_SECOND } };
    if (timerfd_settime(t->fd, TFD_TIMER_ABSTIME, &spec, NULL) < 0)
        return false;
    t->when_ns = deadline_ns;
    return true;
}

const char *io_name(enum io_code code)
{
    static const char *const names[] = {
        [IO_RECV] = "read",
        [IO_SEND] = "write",
        [IO_RECVMSG] = "read message",
        [IO_SENDMSG] = "write",
        [IO_RECVMMSG] = "read messages",
        [IO_SENDMMSG] = "write messages",
        [IO_READ] = "read",
        [IO_WRITEV] = "write",
        [IO_ACCEPT] = "accept",
        [IO_CONNECT] = "connect",
        [IO_POLL] = "readiness",
        [IO_SPLICE_IN] = "relay in",
        [IO_SPLICE_OUT] = "relay out",
        [IO_READABLE] = "read",
        [IO_WRITABLE] = "write",
        [IO_SLEEP] = "sleep",
        [IO_OFFLOAD] = "offload",
        [IO_RESOLVE] = "resolve",
        [IO_FILE] = "file",
    };
    return names[code];
}

static void warn_backend(const char *wanted)
{
    static _Atomic bool warned;
    if (!atomic_exchange(&warned, true))
        pier_log(PIER_LOG_WARN, "PIER_BACKEND is not available here; using epoll",
                 pier_str("wanted", wanted));
}

#ifdef PI_HAVE_URING

static bool has_ring(const char **why)
{
    int rc = io_uring_probe();
    if (rc < 0)
        *why = rc == -ENOSYS ? "io_uring is not there: the kernel is too old, or refuses it"
                             : "io_uring is refused here";
    return rc == 0;
}

#else

static bool has_ring(const char **why)
{
    *why = "this build is without io_uring";
    return false;
}

int io_ring_count(void)
{
    return 0;
}

#define io_uring_backend io_epoll
#endif

/* The backend, and a sentence that says why. */
static const struct io_backend *choose(const char **why)
{
    const char *wanted = getenv("PIER_BACKEND");
    if (!wanted || !*wanted || strcmp(wanted, "auto") == 0) {
        *why = "the default";
        return &io_epoll;
    }
    *why = "PIER_BACKEND asks for it";
    if (strcmp(wanted, "io_uring") == 0 && has_ring(why))
        return &io_uring_backend;
    if (strcmp(wanted, "epoll") != 0)
        warn_backend(wanted);
    return &io_epoll;
}

const struct io_backend *io_choose_backend(void)
{
    const char *why;
    return choose(&why);
}

const char *pier_backend(const char **why)
{
    const char *reason;
    const char *name = choose(&reason)->name;
    if (why)
        *why = reason;
    return name;
}
