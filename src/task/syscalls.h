/* SPDX-License-Identifier: MIT */
/*
 * task/syscalls.h - the three calls of the hot path, past libc's wrappers.
 *
 * In a process with threads, libc's recv, send and epoll_pwait2 are cancellation points
 * (pthreads(7)), which costs two atomic operations each: 80 ns of a 4 us echo. Pier does not
 * support pthread_cancel(3). Sanitizers need to see the wrappers.
 */
#ifndef PI_TASK_SYSCALLS_H
#define PI_TASK_SYSCALLS_H

#include "task/switch.h"

#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#if defined(PI_ASAN) || defined(PI_TSAN)
#define sys_recv recv
#define sys_send send
#define sys_epoll_wait(epfd, events, most, left) epoll_pwait2(epfd, events, most, left, NULL)
#else

static inline ssize_t sys_recv(int fd, void *buf, size_t len, int flags)
{
    return syscall(SYS_recvfrom, fd, buf, len, flags, NULL, NULL);
}

static inline ssize_t sys_send(int fd, const void *buf, size_t len, int flags)
{
    return syscall(SYS_sendto, fd, buf, len, flags, NULL, 0);
}

static inline int sys_epoll_wait(int epfd, struct epoll_event *events, int most,
                                 const struct timespec *left)
{
    return (int)syscall(SYS_epoll_pwait2, epfd, events, most, left, NULL, 0);
}

#endif
#endif
