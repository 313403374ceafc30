/* SPDX-License-Identifier: MIT */
/*
 * net/stream.c - the plain transports: stream sockets (TCP, Unix) and pipe-like descriptors. One
 * operation each, no policy.
 */
#define _GNU_SOURCE
#include "net/capture.h"
#include "task/sockets.h"

#include <signal.h>

PI_HOT static ssize_t sock_read(struct pier_conn *c, void *buf, size_t len, int64_t deadline_ns)
{
    struct io_op op = {
        .code = IO_RECV, .fd = &c->io, .buf = buf, .len = len, .deadline_ns = deadline_ns
    };
    ssize_t n = io_run(&op);
    pi_capture_in(c, buf, n);
    return n;
}

static ssize_t sock_write_several(struct pier_conn *c, struct iovec *pieces, int count,
                                  int64_t deadline_ns)
{
    struct msghdr msg = { .msg_iov = pieces, .msg_iovlen = (size_t)count };
    struct io_op op = { .code = IO_SENDMSG, .fd = &c->io, .buf = &msg, .deadline_ns = deadline_ns };
    ssize_t n = io_run(&op);
    pi_capture_out(c, pieces, count, n);
    return n;
}

PI_HOT static ssize_t sock_writev(struct pier_conn *c, struct iovec *pieces, int count,
                                  int64_t deadline_ns)
{
    if (count > 1)
        return sock_write_several(c, pieces, count, deadline_ns);
    struct io_op op = { .code = IO_SEND,
                        .fd = &c->io,
                        .buf = pieces[0].iov_base,
                        .len = pieces[0].iov_len,
                        .deadline_ns = deadline_ns };
    ssize_t n = io_run(&op);
    pi_capture_out(c, pieces, 1, n);
    return n;
}

static int sock_shutdown_write(struct pier_conn *c)
{
    int rc = io_sockets()->shutdown(c->io.fd, SHUT_WR);
    if (rc == 0)
        pi_capture_out(c, NULL, 0, 0);
    return rc;
}

static void stream_close(struct pier_conn *c)
{
    if (c->child)
        pi_child_close(c);
    else
        io_close(&c->io);
}

/* ---- pipes ---- */

static ssize_t pipe_read(struct pier_conn *c, void *buf, size_t len, int64_t deadline_ns)
{
    struct io_op op = {
        .code = IO_READ, .fd = &c->io, .buf = buf, .len = len, .deadline_ns = deadline_ns
    };
    ssize_t n = io_run(&op);
    pi_capture_in(c, buf, n);
    return n;
}

static ssize_t pipe_writev(struct pier_conn *c, struct iovec *pieces, int count,
                           int64_t deadline_ns)
{
    struct io_op op = { .code = IO_WRITEV,
                        .fd = &c->io,
                        .buf = pieces,
                        .len = (size_t)count,
                        .deadline_ns = deadline_ns };
    pi_sigpipe_hold();
    ssize_t n = io_run(&op);
    pi_sigpipe_release(n == -EPIPE);
    pi_capture_out(c, pieces, count, n);
    return n;
}

/* A pipe has no half to close. */
static int pipe_shutdown_write(struct pier_conn *c)
{
    return -EOPNOTSUPP;
}

const struct pi_transport pi_tcp = {
    "tcp", false, sock_read, sock_writev, sock_shutdown_write, stream_close
};
const struct pi_transport pi_unix = {
    "unix", false, sock_read, sock_writev, sock_shutdown_write, stream_close
};
const struct pi_transport pi_pipe = {
    "pipe", false, pipe_read, pipe_writev, pipe_shutdown_write, stream_close
};

const struct pi_transport *pi_transport_of(int family)
{
    return family == AF_INET || family == AF_INET6 ? &pi_tcp : &pi_unix;
}
