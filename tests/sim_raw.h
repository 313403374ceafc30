/* SPDX-License-Identifier: MIT */
/*
 * sim_raw: single calls on sockets, below connections: the same code on the real system, in a loop,
 * and in a simulation. What waits does so for a moment at most, then says -ETIMEDOUT.
 */
#ifndef PIER_TESTS_SIM_RAW_H
#define PIER_TESTS_SIM_RAW_H

#include "harness.h"

#include "sim/sim.h"

#include <arpa/inet.h>
#include <poll.h>

#define RAW_FN __attribute__((unused)) static

enum { RAW_MOMENT_MS = 60 };

struct raw {
    struct io_fd f;
};

/* ---- addresses ---- */

/* "127.0.0.1", "::1", "/path", "@name". */
RAW_FN struct sim_addr raw_addr(const char *text, int port)
{
    struct sim_addr addr = { .len = sizeof addr.in };
    addr.in.sin_port = htons((uint16_t)port);
    if (inet_pton(AF_INET, text, &addr.in.sin_addr) == 1) {
        addr.any.sa_family = AF_INET;
        return addr;
    }
    addr = (struct sim_addr){ .len = sizeof addr.in6 };
    addr.in6.sin6_port = htons((uint16_t)port);
    if (inet_pton(AF_INET6, text, &addr.in6.sin6_addr) == 1) {
        addr.any.sa_family = AF_INET6;
        return addr;
    }
    size_t len = strlen(text);
    addr = (struct sim_addr){ .any.sa_family = AF_UNIX };
    memcpy(addr.un.sun_path, text, len + 1);
    if (text[0] == '@')
        addr.un.sun_path[0] = '\0';
    addr.len = (socklen_t)(offsetof(struct sockaddr_un, sun_path) + len + (text[0] != '@'));
    return addr;
}

RAW_FN int raw_port(const struct sim_addr *addr)
{
    return addr->any.sa_family == AF_INET    ? ntohs(addr->in.sin_port)
           : addr->any.sa_family == AF_INET6 ? ntohs(addr->in6.sin6_port)
                                             : 0;
}

/* ---- calls ---- */

/* 0, or a negative code. */
RAW_FN int raw_open(struct raw *r, int family)
{
    int fd = io_sockets()->open(family, SOCK_STREAM);
    io_fd_init(&r->f, fd);
    return fd < 0 ? fd : 0;
}

RAW_FN int raw_open_dgram(struct raw *r, int family)
{
    int fd = io_sockets()->open(family, SOCK_DGRAM);
    io_fd_init(&r->f, fd);
    return fd < 0 ? fd : 0;
}

RAW_FN ssize_t raw_op(struct raw *r, struct io_op op)
{
    op.fd = &r->f;
    op.deadline_ns = pier_after(RAW_MOMENT_MS * PIER_MILLISECOND);
    return io_run(&op);
}

RAW_FN ssize_t raw_recv(struct raw *r, void *buf, size_t len)
{
    return raw_op(r, (struct io_op){ .code = IO_RECV, .buf = buf, .len = len });
}

RAW_FN ssize_t raw_send(struct raw *r, const void *bytes, size_t len)
{
    return raw_op(r,
                  (struct io_op){ .code = IO_SEND, .buf = (void *)(uintptr_t)bytes, .len = len });
}

RAW_FN ssize_t raw_send_to(struct raw *r, struct sim_addr to, const void *bytes, size_t len)
{
    struct iovec piece = { (void *)(uintptr_t)bytes, len };
    struct msghdr msg = {
        .msg_name = &to.any, .msg_namelen = to.len, .msg_iov = &piece, .msg_iovlen = 1
    };
    return raw_op(r, (struct io_op){ .code = IO_SENDMSG, .buf = &msg });
}

/* from, flags (MSG_TRUNC and MSG_CTRUNC of them): may be NULL. */
RAW_FN ssize_t raw_recv_from(struct raw *r, struct sim_addr *from, int *flags, void *buf,
                             size_t len)
{
    struct iovec piece = { buf, len };
    struct msghdr msg = { .msg_iov = &piece, .msg_iovlen = 1 };
    if (from) {
        *from = (struct sim_addr){ 0 };
        msg.msg_name = &from->any;
        msg.msg_namelen = sizeof from->un;
    }
    ssize_t n = raw_op(r, (struct io_op){ .code = IO_RECVMSG, .buf = &msg });
    if (from && n >= 0)
        from->len = msg.msg_namelen;
    if (flags)
        *flags = n < 0 ? 0 : msg.msg_flags & (MSG_TRUNC | MSG_CTRUNC);
    return n;
}

RAW_FN int raw_set(struct raw *r, int level, int option, int value)
{
    return io_sockets()->set(r->f.fd, level, option, &value, sizeof value);
}

/* What it is ready for now; -EAGAIN: nothing. */
RAW_FN ssize_t raw_poll(struct raw *r, int events)
{
    struct io_op op = { .code = IO_POLL, .fd = &r->f, .len = (size_t)events };
    return io_try(&op);
}

RAW_FN int raw_connect(struct raw *r, struct sim_addr addr)
{
    return (int)raw_op(
        r, (struct io_op){ .code = IO_CONNECT, .buf = &addr.any, .addr_len = addr.len });
}

RAW_FN int raw_accept(struct raw *listener, struct raw *r)
{
    ssize_t fd = raw_op(listener, (struct io_op){ .code = IO_ACCEPT });
    io_fd_init(&r->f, (int)fd);
    return fd < 0 ? (int)fd : 0;
}

RAW_FN void raw_close(struct raw *r)
{
    io_close(&r->f);
}

RAW_FN int raw_shutdown(struct raw *r)
{
    return io_sockets()->shutdown(r->f.fd, SHUT_WR);
}

RAW_FN int raw_bind(struct raw *r, struct sim_addr addr)
{
    int one = 1;
    if (addr.any.sa_family != AF_UNIX)
        io_sockets()->set(r->f.fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
    if (addr.any.sa_family == AF_INET6)
        io_sockets()->set(r->f.fd, IPPROTO_IPV6, IPV6_V6ONLY, &one, sizeof one);
    return io_sockets()->bind(r->f.fd, &addr.any, addr.len);
}

RAW_FN struct sim_addr raw_local(const struct raw *r)
{
    struct sim_addr addr = { .len = sizeof addr.un };
    int rc = io_sockets()->local(r->f.fd, &addr.any, &addr.len);
    ck_assert_int_eq(rc, 0);
    return addr;
}

/* Opens, binds and listens: 0, or the code of what failed, and then it is closed again. */
RAW_FN int raw_listen(struct raw *r, struct sim_addr addr, int backlog)
{
    int rc = raw_open(r, addr.any.sa_family);
    if (rc < 0)
        return rc;
    rc = raw_bind(r, addr);
    if (rc == 0)
        rc = io_sockets()->listen(r->f.fd, backlog);
    if (rc < 0)
        raw_close(r);
    return rc;
}

/* What is under way arrives. */
RAW_FN void raw_settle(void)
{
    ck_assert_int_eq(pier_sleep(3 * PIER_MILLISECOND), 0);
}

#endif
