/* SPDX-License-Identifier: MIT */
/*
 * task/sockets.c - the table of sockets.h for the real system.
 */
#define _GNU_SOURCE
#include "task/sockets.h"

#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

static int result(int rc)
{
    return rc < 0 ? -errno : rc;
}

static int sys_open(int family, int type)
{
    return result(socket(family, type | SOCK_NONBLOCK | SOCK_CLOEXEC, 0));
}

static int sys_pair(int fds[2])
{
    return result(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, fds));
}

static int sys_bind(int fd, const struct sockaddr *addr, socklen_t len)
{
    return result(bind(fd, addr, len));
}

static int sys_listen(int fd, int backlog)
{
    return result(listen(fd, backlog));
}

static int sys_local(int fd, struct sockaddr *addr, socklen_t *len)
{
    return result(getsockname(fd, addr, len));
}

static int sys_peer(int fd, struct sockaddr *addr, socklen_t *len)
{
    return result(getpeername(fd, addr, len));
}

static int sys_set(int fd, int level, int option, const void *value, socklen_t len)
{
    return result(setsockopt(fd, level, option, value, len));
}

static int sys_get(int fd, int level, int option, void *value, socklen_t *len)
{
    return result(getsockopt(fd, level, option, value, len));
}

static ssize_t sys_take_error(int fd, struct msghdr *msg)
{
    ssize_t n;
    do
        n = recvmsg(fd, msg, MSG_ERRQUEUE | MSG_DONTWAIT);
    while (n < 0 && errno == EINTR);
    return n < 0 ? -errno : n;
}

static int sys_shutdown(int fd, int how)
{
    return result(shutdown(fd, how));
}

static int sys_close(int fd)
{
    return result(close(fd));
}

static int sys_unlink(const char *path)
{
    return result(unlink(path));
}

static bool sys_is_left_behind(const struct sockaddr *addr, socklen_t len)
{
    struct stat st;
    if (lstat(((const struct sockaddr_un *)addr)->sun_path, &st) < 0 || !S_ISSOCK(st.st_mode))
        return false;
    int fd = sys_open(AF_UNIX, SOCK_STREAM);
    if (fd < 0)
        return false;
    int rc;
    do
        rc = connect(fd, addr, len);
    while (rc < 0 && errno == EINTR);
    bool refused = rc < 0 && errno == ECONNREFUSED;
    close(fd);
    return refused;
}

const struct io_sockets io_system = {
    .open = sys_open,
    .pair = sys_pair,
    .bind = sys_bind,
    .listen = sys_listen,
    .local = sys_local,
    .peer = sys_peer,
    .set = sys_set,
    .get = sys_get,
    .take_error = sys_take_error,
    .shutdown = sys_shutdown,
    .close = sys_close,
    .unlink = sys_unlink,
    .is_left_behind = sys_is_left_behind,
};
