/* SPDX-License-Identifier: MIT */
/*
 * net/conn.c - a connection's life, its writes, and the rules that hold over every transport: what
 * is sticky, what time-outs apply, what the NULL of a failed constructor answers. Reading in its
 * many forms is read.c.
 */
#define _GNU_SOURCE
#include "net/tls.h"

#include "base/assert.h"
#include "net/capture.h"
#include "task/sockets.h"

#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum { READ_TIMEOUT_MS = 5 * 60 * 1000, WRITE_TIMEOUT_MS = 30 * 1000 };

int pi_conn_null(void)
{
    int code = pier_error_code();
    return code < 0 ? code : -EINVAL;
}

/* ---- life ---- */

static int64_t timeout_ns(int ms, int default_ms)
{
    if (ms < 0)
        return 0;
    return (ms ? ms : default_ms) * PIER_MILLISECOND;
}

void pi_conn_timeouts(struct pier_conn *c, int read_ms, int write_ms)
{
    c->read_timeout_ns = timeout_ns(read_ms, READ_TIMEOUT_MS);
    c->write_timeout_ns = timeout_ns(write_ms, WRITE_TIMEOUT_MS);
}

void pi_conn_init(struct pier_conn *c, int fd, const struct pi_transport *transport,
                  const struct sockaddr *peer)
{
    memset(c, 0, sizeof *c);
    io_fd_init(&c->io, fd);
    c->io.greedy = transport == &pi_tcp;
    c->transport = transport;
    c->ahead = c->small;
    c->ahead_cap = sizeof c->small;
    if (peer && peer->sa_family == AF_INET)
        c->peer.in = *(const struct sockaddr_in *)peer;
    else if (peer && peer->sa_family == AF_INET6)
        c->peer.in6 = *(const struct sockaddr_in6 *)peer;
    else
        c->peer.any.sa_family = AF_UNIX;
}

struct pier_conn *pi_conn_new(int fd, const struct pi_transport *transport,
                              const struct sockaddr *peer, const struct pier_dial_opts *opts)
{
    struct pier_conn *c = pi_alloc(sizeof *c);
    if (!c) {
        pi_fail(-ENOMEM, "connection");
        return NULL;
    }
    pi_conn_init(c, fd, transport, peer);
    pi_conn_timeouts(c, opts ? opts->read_timeout_ms : 0, opts ? opts->write_timeout_ms : 0);
    return c;
}

/* An address can be asked for again; a Unix socket's name says little and is asked of the system.
 */
void pi_conn_slim(struct pier_conn *c)
{
    if (c->ahead_len == 0 && c->ahead != c->small) {
        pi_free(c->ahead);
        c->ahead = c->small;
        c->ahead_start = 0;
        c->ahead_cap = sizeof c->small;
    }
    pi_free(c->peer_text);
    pi_free(c->local_text);
    c->peer_text = c->local_text = NULL;
}

void pi_conn_fini(struct pier_conn *c)
{
    /* A task that still waits here is woken, and gone before the memory is. */
    while (c->reading || c->writing) {
        if (c->io.reader && c->io.reader->task)
            pi_ready(c->io.reader->task, -ECANCELED);
        if (c->io.writer && c->io.writer->task)
            pi_ready(c->io.writer->task, -ECANCELED);
        pi_pass(pi_task_self());
    }
    if (c->io.fd >= 0)
        c->transport->close(c);
    pi_captured_end(c);
    c->ahead_len = 0;
    pi_conn_slim(c);
}

void pier_close(struct pier_conn *c)
{
    if (!c)
        return;
    pi_tls_say_goodbye(c);
    pi_conn_fini(c);
    if (c->is_owned)
        c->read_error = c->write_error = -EBADF;
    else
        pi_free(c);
}

/* The peer of a connected stream socket: 0 or a negative code. */
static int stream_peer(int fd, struct pi_addr *peer)
{
    int type = 0;
    socklen_t len = sizeof type;
    if (getsockopt(fd, SOL_SOCKET, SO_TYPE, &type, &len) < 0)
        return -errno;
    if (type != SOCK_STREAM)
        return -EPROTOTYPE;
    return getpeername(fd, &peer->any, &peer->len) < 0 ? -errno : 0;
}

static int make_nonblocking(int fd)
{
    int flags = fcntl(fd, F_GETFL);
    return flags < 0 || fcntl(fd, F_SETFL, flags | O_NONBLOCK) < 0 ? -errno : 0;
}

/* Changes the descriptor last: on failure it is its owner's as it was. */
struct pier_conn *pier_conn_adopt(int fd, const struct pier_dial_opts *opts)
{
    struct stat st;
    struct pi_addr peer = { .len = sizeof(struct sockaddr_un) };
    if (io_is_simulated()) {
        pi_fail(-EOPNOTSUPP, "adopt descriptor %d in a simulation", fd);
        return NULL;
    }
    int rc = fstat(fd, &st) < 0 ? -errno : 0;
    bool is_socket = rc == 0 && S_ISSOCK(st.st_mode);
    if (is_socket)
        rc = stream_peer(fd, &peer);
    if (rc < 0) {
        pi_fail(rc, "adopt descriptor %d", fd);
        return NULL;
    }
    const struct pi_transport *transport = is_socket ? pi_transport_of(peer.any.sa_family)
                                                     : &pi_pipe;
    struct pier_conn *c = pi_conn_new(fd, transport, is_socket ? &peer.any : NULL, opts);
    rc = c ? make_nonblocking(fd) : 0;
    if (rc < 0) {
        pi_fail(rc, "adopt descriptor %d", fd);
        pi_free(c);
        return NULL;
    }
    if (c && opts)
        pi_captured_begin(c, opts->capture, NULL);
    return c;
}

int pier_conn_pair(struct pier_conn *ends[2])
{
    int fds[2];
    ends[0] = ends[1] = NULL;
    int rc = io_sockets()->pair(fds);
    if (rc < 0)
        return pi_fail(rc, "socket pair");
    for (int i = 0; i < 2; i++)
        ends[i] = pi_conn_new(fds[i], &pi_unix, NULL, NULL);
    if (ends[0] && ends[1])
        return 0;
    for (int i = 0; i < 2; i++) {
        pi_free(ends[i]);
        ends[i] = NULL;
        io_sockets()->close(fds[i]);
    }
    return pier_error_code();
}

int pier_set_timeouts(struct pier_conn *c, int read_ms, int write_ms)
{
    if (!c)
        return pi_conn_null();
    if (read_ms)
        c->read_timeout_ns = timeout_ns(read_ms, 0);
    if (write_ms)
        c->write_timeout_ns = timeout_ns(write_ms, 0);
    return 0;
}

/* ---- addresses ---- */

static const char *keep_text(char **slot, const struct pi_addr *addr)
{
    char text[PI_ADDR_TEXT_CAP];
    if (!*slot)
        *slot = pi_strdup(pi_addr_format(text, sizeof text, addr));
    return *slot ? *slot : "?";
}

const char *pier_peer(struct pier_conn *c)
{
    if (!c)
        return "?";
    if (c->peer_text)
        return c->peer_text;
    struct pi_addr addr = { .len = 0 };
    if (c->peer.any.sa_family != AF_UNIX) {
        memcpy(&addr.any, &c->peer, sizeof c->peer);
    } else {
        addr.len = sizeof addr.un;
        int rc = c->io.fd < 0 ? -EBADF : io_sockets()->peer(c->io.fd, &addr.any, &addr.len);
        if (rc == -ENOBUFS)
            return "?"; /* of the moment: not to be kept */
        if (rc < 0)
            addr = (struct pi_addr){ .any.sa_family = AF_UNIX };
    }
    return keep_text(&c->peer_text, &addr);
}

const char *pier_local(struct pier_conn *c)
{
    if (!c)
        return "?";
    struct pi_addr addr = { .len = sizeof addr.un };
    if (!c->local_text && (c->io.fd < 0 || io_sockets()->local(c->io.fd, &addr.any, &addr.len) < 0))
        return "?";
    return keep_text(&c->local_text, &addr);
}

/* Others may use it from now on, and expect it not to block. */
int pier_conn_fd(const struct pier_conn *c)
{
    if (!c)
        return pi_conn_null();
    io_never_block((struct io_fd *)&c->io);
    return c->io.fd;
}

void pier_conn_bytes(const struct pier_conn *c, int64_t *bytes_read, int64_t *bytes_written)
{
    if (bytes_read)
        *bytes_read = c ? c->bytes_read : 0;
    if (bytes_written)
        *bytes_written = c ? c->bytes_written : 0;
}

int pi_conn_fail(struct pier_conn *c, const char *verb, int code)
{
    return pi_fail(code, "%s %s://%s", verb, c->transport->scheme, pier_peer(c));
}

/* ---- reading, once for all forms ---- */

/* Of the moment, not of the connection. */
static bool is_passing(int code)
{
    switch (code) {
    case -ETIMEDOUT:
    case -ECANCELED:
    case -EBUSY:
    case -EMFILE:
    case -ENFILE:
    case -ENOMEM:
    case -ENOSPC:
        return true;
    default:
        return false;
    }
}

/* Whether a failure stays the connection's. A datagram that is lost says nothing about the next. */
static bool is_sticky(const struct pier_conn *c, int code)
{
    return !c->transport->is_datagram && !is_passing(code);
}

/* The words of a failure, which a transport of datagrams, or TLS, may have set. */
static int fail_unless_told(struct pier_conn *c, const char *verb, int code)
{
    bool is_told = c->transport->is_datagram && (code == -EMSGSIZE || code == -ECONNREFUSED);
    return is_told || code == PIER_ETLS ? code : pi_conn_fail(c, verb, code);
}

/* Whether an operation with that deadline did not end by it, or a scope's, but by the system's own
 * ETIMEDOUT: the peer is dead (TCP_USER_TIMEOUT, tcp(7)). That is said once; then reads see an end
 * of input that never came. */
PI_HOT static bool is_dead_peer(ssize_t n, int64_t deadline_ns)
{
    if (n != -ETIMEDOUT)
        return false;
    int64_t until = pi_deadline(pi_task_self(), deadline_ns == IO_NOW ? 0 : deadline_ns);
    return !until || until > pi_clock_ns();
}

/* Whether a read must not wait: the server stops, or a write has failed. */
PI_HOT static bool must_not_wait(const struct pier_conn *c)
{
    return c->write_error ||
           (c->draining && atomic_load_explicit(c->draining, memory_order_relaxed));
}

/* What a read that must not wait, and would, returns. */
static ssize_t instead_of_waiting(struct pier_conn *c)
{
    if (c->write_error)
        return c->write_error;
    c->at_end = true;
    return 0;
}

PI_HOT static int64_t read_deadline(const struct pier_conn *c, int64_t own_ns)
{
    if (must_not_wait(c))
        return IO_NOW;
    if (!own_ns && c->read_timeout_ns)
        return pi_timeout_deadline(pi_task_self(), c->read_timeout_ns);
    return own_ns;
}

/* Whether a read can go on; if not, rc is what it returns. */
PI_HOT static bool may_read(struct pier_conn *c, ssize_t *rc)
{
    *rc = c->read_error;
    if (c->read_error || c->at_end)
        return false;
    if (c->reading)
        *rc = pi_conn_fail(c, "read", -EBUSY);
    return !c->reading;
}

PI_HOT static ssize_t read_once(struct pier_conn *c, void *buf, size_t len, int64_t own_ns)
{
    int64_t deadline = read_deadline(c, own_ns);
    c->reading = true;
    ssize_t n = c->transport->read(c, buf, len, deadline);
    if (n == -EINTR)
        n = c->transport->read(c, buf, len, deadline = read_deadline(c, own_ns));
    c->reading = false;
    if (c->transport->is_datagram)
        pi_capture_in(c, buf, n);
    if (is_dead_peer(n, deadline))
        c->read_error = -ETIMEDOUT;
    return n;
}

/* What a read that had the result n returns. */
PI_HOT static ssize_t read_done(struct pier_conn *c, ssize_t n)
{
    if (n > 0) {
        c->bytes_read += n;
        return n;
    }
    if (n == 0)
        c->at_end = true;
    else if (n == -EAGAIN)
        return instead_of_waiting(c);
    else if (is_sticky(c, (int)n))
        c->read_error = (int)n;
    return n == 0 ? 0 : fail_unless_told(c, "read", (int)n);
}

PI_HOT ssize_t pi_conn_read_some(struct pier_conn *c, void *buf, size_t len, int64_t own_ns)
{
    ssize_t n;
    if (!may_read(c, &n) || len == 0)
        return n;
    n = read_once(c, buf, len, own_ns);
    if (own_ns && n == -ETIMEDOUT && !c->read_error)
        return n; /* the caller's own bound: it has the words */
    return read_done(c, n);
}

ssize_t pi_conn_read_op(struct pier_conn *c, struct io_op *op)
{
    ssize_t n;
    if (!may_read(c, &n))
        return n;
    op->fd = &c->io;
    op->deadline_ns = read_deadline(c, 0);
    c->reading = true;
    n = io_run(op);
    if (n == -EINTR) {
        op->deadline_ns = read_deadline(c, 0);
        n = io_run(op);
    }
    c->reading = false;
    if (is_dead_peer(n, op->deadline_ns))
        c->read_error = -ETIMEDOUT;
    return pi_is_refused(n) ? n : read_done(c, n);
}

/* ---- writing ---- */

/* Drops n bytes from the front of the pieces; returns how many pieces are left, moved to the front.
 */
PI_HOT static int advance(struct iovec *pieces, int count, size_t n)
{
    int first = 0;
    if (count == 1 && n == pieces[0].iov_len)
        return 0;
    while (first < count && n >= pieces[first].iov_len)
        n -= pieces[first++].iov_len;
    for (int i = first; i < count; i++)
        pieces[i - first] = pieces[i];
    if (first < count) {
        pieces[0].iov_base = (char *)pieces[0].iov_base + n;
        pieces[0].iov_len -= n;
    }
    return count - first;
}

PI_HOT static int64_t write_deadline(const struct pier_conn *c)
{
    return pi_timeout_deadline(pi_task_self(), c->write_timeout_ns);
}

/* 0, or what a write returns instead. */
PI_HOT static int may_write(struct pier_conn *c)
{
    if (c->write_error)
        return c->write_error;
    return c->writing ? pi_conn_fail(c, "write", -EBUSY) : 0;
}

/* Unlike a read, a write that ended in the middle leaves a stream that means nothing: that is
 * sticky whatever the reason. */
PI_HOT static ssize_t write_all(struct pier_conn *c, struct iovec *pieces, int count)
{
    int rc = may_write(c);
    if (rc < 0)
        return rc;
    size_t done = 0;
    ssize_t n = 0;
    int64_t deadline = 0;
    c->writing = true;
    if (count > 0 && pieces[0].iov_len == 0)
        count = advance(pieces, count, 0);
    while (count > 0) {
        deadline = write_deadline(c);
        n = c->transport->writev(c, pieces, count, deadline);
        if (n < 0)
            break;
        if (c->transport->is_datagram)
            pi_capture_out(c, pieces, count, n);
        done += (size_t)n;
        count = advance(pieces, count, (size_t)n);
    }
    c->writing = false;
    c->bytes_written += (int64_t)done;
    if (n >= 0)
        return (ssize_t)done;
    if (done > 0 || is_sticky(c, (int)n) || is_dead_peer(n, deadline))
        c->write_error = (int)n;
    return fail_unless_told(c, "write", (int)n);
}

static ssize_t write_done(struct pier_conn *c, ssize_t n, int64_t deadline_ns)
{
    if (n >= 0) {
        c->bytes_written += n;
        return n;
    }
    if (is_sticky(c, (int)n) || is_dead_peer(n, deadline_ns))
        c->write_error = (int)n;
    return fail_unless_told(c, "write", (int)n);
}

ssize_t pi_conn_write_some(struct pier_conn *c, const void *bytes, size_t len)
{
    int rc = may_write(c);
    if (rc < 0)
        return rc;
    struct iovec piece = { (void *)bytes, len };
    int64_t deadline = write_deadline(c);
    c->writing = true;
    ssize_t n = c->transport->writev(c, &piece, 1, deadline);
    c->writing = false;
    if (c->transport->is_datagram)
        pi_capture_out(c, &piece, 1, n);
    return write_done(c, n, deadline);
}

ssize_t pi_conn_write_op(struct pier_conn *c, struct io_op *op)
{
    int rc = may_write(c);
    if (rc < 0)
        return rc;
    op->fd = &c->io;
    op->deadline_ns = write_deadline(c);
    c->writing = true;
    ssize_t n = io_run(op);
    c->writing = false;
    return pi_is_refused(n) ? n : write_done(c, n, op->deadline_ns);
}

PI_HOT ssize_t pier_write(struct pier_conn *c, const void *bytes, size_t len)
{
    if (!c)
        return pi_conn_null();
    struct iovec piece = { (void *)bytes, len };
    return write_all(c, &piece, 1);
}

ssize_t pier_writev(struct pier_conn *c, const struct iovec *pieces, int count)
{
    enum { MOST = 64 };
    if (!c)
        return pi_conn_null();
    if (count < 0 || count > MOST)
        return pi_conn_fail(c, "write", -EINVAL);
    struct iovec copy[MOST];
    memcpy(copy, pieces, (size_t)count * sizeof *pieces);
    return write_all(c, copy, count);
}

ssize_t pier_puts(struct pier_conn *c, const char *text)
{
    return pier_write(c, text, strlen(text));
}

ssize_t pier_vprintf(struct pier_conn *c, const char *fmt, va_list args)
{
    enum { SMALL = 512, MOST = 1 << 20 };
    if (!c)
        return pi_conn_null();
    char small[SMALL];
    va_list again;
    va_copy(again, args);
    int len = vsnprintf(small, sizeof small, fmt, args);
    ssize_t rc = -EINVAL;
    if (len >= 0 && len < SMALL) {
        rc = pier_write(c, small, (size_t)len);
    } else if (len > MOST) {
        rc = pi_conn_fail(c, "write", -EMSGSIZE);
    } else if (len >= 0) {
        char *text = pi_alloc((size_t)len + 1);
        if (text) {
            vsnprintf(text, (size_t)len + 1, fmt, again);
            rc = pier_write(c, text, (size_t)len);
            pi_free(text);
        } else {
            rc = pi_conn_fail(c, "write", -ENOMEM);
        }
    }
    va_end(again);
    return rc;
}

ssize_t pier_printf(struct pier_conn *c, const char *fmt, ...)
{
    va_list args;
    va_start(args, fmt);
    ssize_t n = pier_vprintf(c, fmt, args);
    va_end(args);
    return n;
}

int pier_shutdown_write(struct pier_conn *c)
{
    if (!c)
        return pi_conn_null();
    if (c->write_error)
        return c->write_error;
    if (c->writing)
        return pi_conn_fail(c, "shut down", -EBUSY);
    int rc = c->transport->shutdown_write(c);
    c->write_ended = !c->transport->is_datagram;
    return rc < 0 ? pi_conn_fail(c, "shut down", rc) : 0;
}
