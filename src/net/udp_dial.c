/* SPDX-License-Identifier: MIT */
/*
 * net/udp_dial.c - pier_dial() of udp://: a connection over a connected datagram socket.
 *
 * Connecting asks nobody, so whether an address answers shows only later: an ICMP refusal before
 * any reply makes the connection go on to the name's next address, and the datagram that was sent
 * last is sent there. A read gives the kernel room for the largest datagram, its caller's buffer
 * first, so that one that is too long is known by its length. Specification: udp(7).
 */
#define _GNU_SOURCE
#include "net/udp.h"
#include "net/capture.h"

#include "base/assert.h"
#include "task/sockets.h"

enum { CONNECT_TIMEOUT_MS = 10 * 1000 };

/* What hangs on such a connection. */
struct dialled {
    struct pi_addr addrs[PI_ADDRS_MAX];
    int count, at;
    int send_buffer, recv_buffer; /* of each socket; 0: the system's */
    bool has_reply;
    char *last; /* sent, while there is another address and no reply; NULL: none */
    size_t last_len;
    char *spill;                   /* for what a buffer has no room for; nobody reads it */
    char *old_texts[PI_ADDRS_MAX]; /* of pier_peer(): valid until the end */
};

int pi_datagram_too_long(struct pier_conn *c, size_t len, size_t room)
{
    return pi_fail_text(-EMSGSIZE, "read udp://%s: a datagram of %zu bytes, room for %zu",
                        pier_peer(c), len, room);
}

int pi_datagram_too_large(struct pier_conn *c, size_t len, size_t most)
{
    return pi_fail_text(-EMSGSIZE, "write udp://%s: a datagram of %zu bytes, %zu are the most",
                        pier_peer(c), len, most);
}

/* ---- the next address ---- */

static int connect_to(struct io_fd *io, const struct pi_addr *addr)
{
    struct io_op op = {
        .code = IO_CONNECT, .fd = io, .buf = (void *)&addr->any, .addr_len = addr->len
    };
    return (int)io_run(&op);
}

static int open_to(struct io_fd *io, const struct pi_addr *addr, const struct dialled *d)
{
    const struct io_sockets *sockets = io_sockets();
    int fd = sockets->open(addr->any.sa_family, SOCK_DGRAM);
    if (fd < 0)
        return fd;
    int sizes[] = { d->send_buffer, d->recv_buffer };
    int options[] = { SO_SNDBUF, SO_RCVBUF };
    int rc = 0;
    for (int i = 0; i < 2 && rc == 0; i++)
        if (sizes[i])
            rc = sizes[i] < 0
                     ? -EINVAL
                     : sockets->set(fd, SOL_SOCKET, options[i], &sizes[i], sizeof sizes[i]);
    if (rc < 0) {
        sockets->close(fd);
        return rc;
    }
    io_fd_init(io, fd);
    return 0;
}

static int resend(struct pier_conn *c, const struct dialled *d)
{
    if (!d->last)
        return 0;
    struct io_op op = { .code = IO_SEND,
                        .fd = &c->io,
                        .buf = d->last,
                        .len = d->last_len,
                        .deadline_ns = c->write_timeout_ns ? pier_after(c->write_timeout_ns) : 0 };
    ssize_t n = io_run(&op);
    return n < 0 ? (int)n : 0;
}

static void set_peer(struct pier_conn *c, const struct pi_addr *addr)
{
    struct dialled *d = c->own;
    memcpy(&c->peer, &addr->any, sizeof c->peer);
    d->old_texts[d->at] = c->peer_text;
    c->peer_text = NULL;
    pi_captured_moved(c);
}

/* Moves c to the next address that can be had: 0, or -ECONNREFUSED when there is none. The socket
 * is another one, since the first is of its family. A task that waits for the old one's other
 * direction keeps it where it is. */
static int go_on(struct pier_conn *c)
{
    struct dialled *d = c->own;
    while (!d->has_reply && d->at + 1 < d->count && !c->io.reader && !c->io.writer) {
        const struct pi_addr *addr = &d->addrs[++d->at];
        struct io_fd io;
        if (open_to(&io, addr, d) < 0)
            continue;
        if (connect_to(&io, addr) < 0) { /* no way there: it stays where it is */
            io_close(&io);
            continue;
        }
        io_close(&c->io);
        c->io = io;
        set_peer(c, addr);
        if (resend(c, d) == 0)
            return 0;
    }
    return -ECONNREFUSED;
}

static void forget_last(struct dialled *d)
{
    pi_free(d->last);
    d->last = NULL;
}

/* Without memory for it the next address does without. */
static void keep_last(struct dialled *d, const struct iovec *pieces, int count, size_t len)
{
    if (d->has_reply || d->at + 1 >= d->count)
        return;
    forget_last(d);
    d->last = pi_alloc(len);
    d->last_len = 0;
    for (int i = 0; d->last && i < count; i++) {
        memcpy(d->last + d->last_len, pieces[i].iov_base, pieces[i].iov_len);
        d->last_len += pieces[i].iov_len;
    }
}

/* ---- the transport ---- */

/* That nobody is there, is known here first: a failure to connect. */
static ssize_t refused_or(struct pier_conn *c, const char *verb, ssize_t n)
{
    return n == -ECONNREFUSED ? pi_fail_connect((int)n, "%s udp://%s", verb, pier_peer(c)) : n;
}

static ssize_t receive(struct pier_conn *c, void *buf, size_t len, int64_t deadline_ns)
{
    struct dialled *d = c->own;
    if (!d->spill && len < PI_DATAGRAM_MAX && !(d->spill = pi_alloc(PI_DATAGRAM_MAX)))
        return -ENOMEM;
    size_t rest = len < PI_DATAGRAM_MAX ? PI_DATAGRAM_MAX - len : 0;
    struct iovec room[2] = { { buf, len }, { d->spill, rest } };
    struct msghdr msg = { .msg_iov = room, .msg_iovlen = rest ? 2 : 1 };
    struct io_op op = { .code = IO_RECVMSG, .fd = &c->io, .buf = &msg, .deadline_ns = deadline_ns };
    return io_run(&op);
}

static ssize_t dialled_read(struct pier_conn *c, void *buf, size_t len, int64_t deadline_ns)
{
    struct dialled *d = c->own;
    for (;;) {
        ssize_t n = receive(c, buf, len, deadline_ns);
        if (n == -ECONNREFUSED && go_on(c) == 0)
            continue;
        if (n < 0)
            return refused_or(c, "read", n);
        d->has_reply = true;
        forget_last(d);
        if ((size_t)n > len)
            return pi_datagram_too_long(c, (size_t)n, len);
        if (n > 0)
            return n; /* an empty one is no end of input */
    }
}

static ssize_t transmit(struct pier_conn *c, struct iovec *pieces, int count, int64_t deadline_ns)
{
    struct msghdr msg = { .msg_iov = pieces, .msg_iovlen = (size_t)count };
    struct io_op op = { .code = IO_SENDMSG, .fd = &c->io, .buf = &msg, .deadline_ns = deadline_ns };
    return io_run(&op);
}

static ssize_t dialled_writev(struct pier_conn *c, struct iovec *pieces, int count,
                              int64_t deadline_ns)
{
    struct dialled *d = c->own;
    size_t len = 0;
    for (int i = 0; i < count; i++)
        len += pieces[i].iov_len;
    size_t most = pi_datagram_max(c->peer.any.sa_family);
    if (len > most)
        return pi_datagram_too_large(c, len, most);
    ssize_t n = transmit(c, pieces, count, deadline_ns);
    while (n == -ECONNREFUSED && go_on(c) == 0) /* of an earlier one */
        n = transmit(c, pieces, count, deadline_ns);
    if (n >= 0)
        keep_last(d, pieces, count, len);
    return n == -EMSGSIZE ? pi_datagram_too_large(c, len, most) : refused_or(c, "write", n);
}

static int no_half(struct pier_conn *c)
{
    return -EOPNOTSUPP;
}

static void dialled_close(struct pier_conn *c)
{
    struct dialled *d = c->own;
    io_close(&c->io);
    forget_last(d);
    pi_free(d->spill);
    for (int i = 0; i < PI_ADDRS_MAX; i++)
        pi_free(d->old_texts[i]);
    pi_free(d);
    c->own = NULL;
}

static const struct pi_transport dialled_udp = { "udp",          true,    dialled_read,
                                                 dialled_writev, no_half, dialled_close };

/* ---- dialling ---- */

/* Connects to the first address that can be had: 0 or a negative code. */
static int connect_first(struct pier_conn *c)
{
    struct dialled *d = c->own;
    int rc = -EHOSTUNREACH;
    for (d->at = 0; d->at < d->count; d->at++) {
        rc = open_to(&c->io, &d->addrs[d->at], d);
        if (rc == 0)
            rc = connect_to(&c->io, &d->addrs[d->at]);
        if (rc == 0)
            break;
        if (c->io.fd >= 0)
            io_close(&c->io);
        if (pi_cancel_check(pi_task_self()) < 0)
            break;
    }
    if (rc == 0)
        memcpy(&c->peer, &d->addrs[d->at].any, sizeof c->peer);
    return rc;
}

struct pier_conn *pi_udp_dial(const struct pi_url *url, const char *text,
                              const struct pier_dial_opts *opts)
{
    char what[PI_URL_TEXT_CAP + 8];
    snprintf(what, sizeof what, "dial %s", text);
    struct dialled *d = pi_zalloc(sizeof *d);
    struct pier_conn *c = d ? pi_conn_new(-1, &dialled_udp, NULL, opts) : NULL;
    if (!c) {
        pi_fail(-ENOMEM, "%s", what);
        pi_free(d);
        return NULL;
    }
    c->own = d;
    d->send_buffer = opts ? opts->sock.send_buffer : 0;
    d->recv_buffer = opts ? opts->sock.recv_buffer : 0;
    int ms = opts && opts->connect_timeout_ms ? opts->connect_timeout_ms : CONNECT_TIMEOUT_MS;
    int64_t until = ms < 0 ? 0 : pier_after(ms * PIER_MILLISECOND);
    const struct pi_addr_ask ask = { .deadline_ns = until,
                                     .what = what,
                                     .servers = opts ? opts->servers : NULL };
    d->count = pi_udp_resolve(d->addrs, url, &ask);
    int rc = d->count < 0 ? d->count : connect_first(c);
    if (rc == 0 && opts)
        pi_captured_begin(c, opts->capture, NULL);
    if (rc == 0)
        return c;
    if (d->count >= 0)
        pi_fail_connect(rc, "%s", what);
    pi_free(d);
    pi_free(c);
    return NULL;
}
