/* SPDX-License-Identifier: MIT */
/*
 * net/activation.c - the service manager's protocols, without its library: inherited sockets
 * (sd_listen_fds(3)) and state messages (sd_notify(3)).
 */
#define _GNU_SOURCE
#include "net/server.h"
#include "task/sockets.h"

#include <fcntl.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

enum { FIRST_FD = 3, FDS_MAX = 64 }; /* SD_LISTEN_FDS_START; more are ignored */

static bool taken[FDS_MAX];

static long env_number(const char *name)
{
    const char *text = getenv(name);
    char *end = NULL;
    long n = text && *text ? strtol(text, &end, 10) : -1;
    return end && *end == '\0' ? n : -1;
}

int pi_inherited_count(void)
{
    if (io_is_simulated() || env_number("LISTEN_PID") != getpid())
        return 0;
    long n = env_number("LISTEN_FDS");
    return n < 0 ? 0 : n > FDS_MAX ? FDS_MAX : (int)n;
}

int pi_inherited_fd(int index)
{
    return taken[index] ? -1 : FIRST_FD + index;
}

void pi_inherited_mark_taken(int fd)
{
    taken[fd - FIRST_FD] = true;
    fcntl(fd, F_SETFD, FD_CLOEXEC); /* neither can fail on an open descriptor */
    fcntl(fd, F_SETFL, fcntl(fd, F_GETFL) | O_NONBLOCK);
}

bool pi_inherited_listens(int fd)
{
    int type = 0, listens = 0;
    socklen_t len = sizeof type;
    if (getsockopt(fd, SOL_SOCKET, SO_TYPE, &type, &len) < 0 || type != SOCK_STREAM)
        return false;
    return getsockopt(fd, SOL_SOCKET, SO_ACCEPTCONN, &listens, &len) == 0 && listens;
}

int pi_inherited_take(const struct pi_addr *addr)
{
    int count = pi_inherited_count();
    for (int i = 0; i < count; i++) {
        struct pi_addr bound = { .len = sizeof bound.un };
        int fd = pi_inherited_fd(i);
        if (fd < 0 || !pi_inherited_listens(fd) || getsockname(fd, &bound.any, &bound.len) < 0 ||
            !pi_addr_equal(&bound, addr))
            continue;
        pi_inherited_mark_taken(fd);
        return fd;
    }
    return -1;
}

/* Best effort, as the protocol is: a manager that does not listen is no failure of the server. */
void pi_notify(const char *state)
{
    const char *path = getenv("NOTIFY_SOCKET");
    struct sockaddr_un to = { .sun_family = AF_UNIX };
    size_t len = path ? strlen(path) : 0;
    if (io_is_simulated() || len < 2 || len >= sizeof to.sun_path ||
        (path[0] != '/' && path[0] != '@'))
        return;
    memcpy(to.sun_path, path, len);
    if (path[0] == '@')
        to.sun_path[0] = '\0';
    int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    if (fd < 0)
        return;
    socklen_t to_len = (socklen_t)(offsetof(struct sockaddr_un, sun_path) + len);
    ssize_t sent = sendto(fd, state, strlen(state), MSG_NOSIGNAL | MSG_DONTWAIT,
                          (struct sockaddr *)&to, to_len);
    (void)sent;
    close(fd);
}
