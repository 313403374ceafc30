/* SPDX-License-Identifier: MIT */
/*
 * task/sockets.h - the calls on sockets that never wait: the system's, or those of a simulated
 * network.
 *
 * What may wait is an operation (io.h); everything else that is done to a socket goes through this
 * table of the running thread, so that a simulation leaves no call to the system behind. Results
 * are 0, a descriptor, or a negative code; never errno.
 */
#ifndef PI_TASK_SOCKETS_H
#define PI_TASK_SOCKETS_H

#include "task/io.h"

struct io_sockets {
    int (*open)(int family, int type); /* non-blocking, close-on-exec */
    int (*pair)(int fds[2]);           /* two connected Unix streams, the same way */
    int (*bind)(int fd, const struct sockaddr *addr, socklen_t len);
    int (*listen)(int fd, int backlog);
    int (*local)(int fd, struct sockaddr *addr, socklen_t *len);
    int (*peer)(int fd, struct sockaddr *addr, socklen_t *len);
    int (*set)(int fd, int level, int option, const void *value, socklen_t len);
    int (*get)(int fd, int level, int option, void *value, socklen_t *len);
    /* Takes one message of the error queue (MSG_ERRQUEUE, ip(7)); NULL where there is none. */
    ssize_t (*take_error)(int fd, struct msghdr *msg);
    int (*shutdown)(int fd, int how);
    int (*close)(int fd);
    int (*unlink)(const char *path);
    /* Whether a Unix path is a socket that refuses connections: its server is gone. */
    bool (*is_left_behind)(const struct sockaddr *addr, socklen_t len);
};

extern const struct io_sockets io_system;

static inline const struct io_sockets *io_sockets(void)
{
    const struct pi_loop *loop = pi_task_self()->thread->loop;
    return loop ? loop->backend->sockets : &io_system;
}

/* Whether this thread is inside a simulation, where the machine is not to be touched. */
static inline bool io_is_simulated(void)
{
    return io_sockets() != &io_system;
}

#endif
