/* SPDX-License-Identifier: MIT */
/*
 * task/wait_fd.c - waiting for a descriptor that is not Pier's, for other libraries' sockets and
 * the like.
 *
 * The descriptor is watched for this one wait only, and nothing is remembered of it: it may be
 * closed at any time when nobody waits. What cannot be watched, a regular file, is always ready
 * (poll(2)).
 */
#include "task/io.h"

#include <poll.h>

/* poll(2)'s bits, and none of the flags that epoll(7) keeps above them. */
enum { EVENTS = 0x3fff };

int pier_wait_fd(int fd, int events, int64_t deadline_ns)
{
    if (events & ~EVENTS)
        return pi_fail(-EINVAL, "wait for descriptor %d", fd);
    if (fd < 0) /* poll(2) would ignore it, for ever */
        return pi_fail(-EBADF, "wait for descriptor %d", fd);
    struct io_fd f;
    io_fd_init(&f, fd);
    struct io_op op = {
        .code = IO_POLL,
        .fd = &f,
        .len = (size_t)events,
        .deadline_ns = deadline_ns < 0 ? 1 : deadline_ns, /* long ago, but not IO_NOW */
    };
    int ready = (int)io_run(&op);
    if (ready > 0 && (ready & POLLNVAL))
        ready = -EBADF;
    return ready < 0 ? pi_fail(ready, "wait for descriptor %d", fd) : ready;
}
