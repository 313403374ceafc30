/* SPDX-License-Identifier: MIT */
/*
 * net/unix.c - what only Unix sockets can do: passing descriptors, and saying who is at the other
 * end.
 *
 * Descriptors travel with one byte of their own, so that they have a place in the stream. What
 * arrives and cannot be handed over is closed at once: no descriptor is ever left without an owner.
 * Specification: unix(7), cmsg(3).
 */
#define _GNU_SOURCE
#include "net/capture.h"
#include "task/sockets.h"

#include <string.h>
#include <unistd.h>

enum {
    FDS_MAX = 16,       /* that one call sends */
    FDS_RECV_MAX = 253, /* SCM_MAX_FD: what a peer may send, so that nothing is truncated */
};

static int fail_unless_unix(struct pier_conn *c, const char *verb)
{
    if (!c)
        return pi_conn_null();
    return c->transport == &pi_unix ? 0 : pi_conn_fail(c, verb, -EOPNOTSUPP);
}

/* ---- sending ---- */

/* The descriptors' open files have two owners from now on. Those of connections came out of
 * pier_conn_fd(), which marked them, so epoll forgets them before they are closed. */
int pier_send_fds(struct pier_conn *c, const int *fds, int count)
{
    int rc = fail_unless_unix(c, "send descriptors");
    if (rc < 0)
        return rc;
    if (count < 1 || count > FDS_MAX)
        return pi_conn_fail(c, "send descriptors", -EINVAL);
    union {
        struct cmsghdr header; /* for its alignment */
        char room[CMSG_SPACE(FDS_MAX * sizeof(int))];
    } control;
    struct iovec byte = { "", 1 };
    struct msghdr msg = {
        .msg_iov = &byte,
        .msg_iovlen = 1,
        .msg_control = control.room,
        .msg_controllen = CMSG_SPACE((size_t)count * sizeof(int)),
    };
    memset(&control, 0, sizeof control);
    struct cmsghdr *header = CMSG_FIRSTHDR(&msg);
    header->cmsg_level = SOL_SOCKET;
    header->cmsg_type = SCM_RIGHTS;
    header->cmsg_len = CMSG_LEN((size_t)count * sizeof(int));
    memcpy(CMSG_DATA(header), fds, (size_t)count * sizeof(int));
    struct io_op op = { .code = IO_SENDMSG, .buf = &msg };
    ssize_t n = pi_conn_write_op(c, &op);
    if (pi_is_refused(n)) /* the descriptors are no good; the connection is */
        return pi_conn_fail(c, "send descriptors", (int)n);
    pi_capture_out(c, &byte, 1, n);
    return n < 0 ? (int)n : count;
}

/* ---- receiving ---- */

struct received {
    int fds[FDS_RECV_MAX];
    int count;
};

/* Only descriptors that the kernel has put into this process are in the control message. */
static void collect(struct received *got, struct msghdr *msg)
{
    got->count = 0;
    for (struct cmsghdr *h = CMSG_FIRSTHDR(msg); h; h = CMSG_NXTHDR(msg, h)) {
        if (h->cmsg_level != SOL_SOCKET || h->cmsg_type != SCM_RIGHTS)
            continue;
        size_t count = (h->cmsg_len - CMSG_LEN(0)) / sizeof(int);
        if (count > (size_t)(FDS_RECV_MAX - got->count)) /* the room for the message is smaller */
            count = (size_t)(FDS_RECV_MAX - got->count);
        memcpy(got->fds + got->count, CMSG_DATA(h), count * sizeof(int));
        got->count += (int)count;
    }
}

static int refuse(struct pier_conn *c, const struct received *got, int code)
{
    for (int i = 0; i < got->count; i++)
        close(got->fds[i]);
    return pi_conn_fail(c, "receive descriptors", code);
}

/* A byte that an earlier read has fetched has lost its descriptors, if it had any. */
static bool take_byte_ahead(struct pier_conn *c)
{
    char byte;
    c->held_until_ns = 0;
    return pi_conn_take(c, &byte, 1) == 1;
}

int pier_recv_fds(struct pier_conn *c, int *fds, int cap)
{
    int rc = fail_unless_unix(c, "receive descriptors");
    if (rc < 0)
        return rc;
    struct received got = { .count = 0 };
    if (cap < 1)
        return refuse(c, &got, -EINVAL);
    if (take_byte_ahead(c))
        return refuse(c, &got, -EPROTO);
    union {
        struct cmsghdr header;
        char room[CMSG_SPACE(FDS_RECV_MAX * sizeof(int)) + CMSG_SPACE(sizeof(struct ucred))];
    } control;
    char byte;
    struct iovec piece = { &byte, 1 };
    struct msghdr msg = {
        .msg_iov = &piece,
        .msg_iovlen = 1,
        .msg_control = control.room,
        .msg_controllen = sizeof control.room,
    };
    struct io_op op = { .code = IO_RECVMSG, .buf = &msg };
    ssize_t n = pi_conn_read_op(c, &op);
    if (pi_is_refused(n))
        return refuse(c, &got, (int)n);
    pi_capture_in(c, &byte, n);
    if (n <= 0)
        return n == 0 ? refuse(c, &got, -ENODATA) : (int)n;
    collect(&got, &msg);
    if (msg.msg_flags & MSG_CTRUNC) /* there was room, so it is RLIMIT_NOFILE that cut them */
        return refuse(c, &got, -EMFILE);
    if (got.count == 0 || got.count > cap)
        return refuse(c, &got, -EPROTO);
    memcpy(fds, got.fds, (size_t)got.count * sizeof(int));
    return got.count;
}

int pier_peer_cred(struct pier_conn *c, struct pier_peer_cred *cred)
{
    *cred = (struct pier_peer_cred){ 0 };
    int rc = fail_unless_unix(c, "credentials of");
    if (rc < 0)
        return rc;
    struct ucred raw;
    socklen_t len = sizeof raw;
    rc = io_sockets()->get(c->io.fd, SOL_SOCKET, SO_PEERCRED, &raw, &len);
    if (rc < 0)
        return pi_conn_fail(c, "credentials of", rc);
    *cred = (struct pier_peer_cred){ .pid = raw.pid, .uid = raw.uid, .gid = raw.gid };
    return 0;
}
