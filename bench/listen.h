/* SPDX-License-Identifier: MIT */
/*
 * What the bare servers share: a nonblocking listener on a port of the kernel's choice, announced
 * on stdout in the line that bench/run waits for. Benchmarks only; failures end the process.
 */
#pragma once
#include <arpa/inet.h>
#include <netinet/in.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

static inline void announce(int fd)
{
    struct sockaddr_in addr;
    socklen_t len = sizeof addr;
    getsockname(fd, (struct sockaddr *)&addr, &len);
    printf("listening on tcp://127.0.0.1:%d\n", ntohs(addr.sin_port));
    fflush(stdout);
}

static inline void raise_fd_limit(void)
{
    struct rlimit files;
    getrlimit(RLIMIT_NOFILE, &files);
    files.rlim_cur = files.rlim_max;
    setrlimit(RLIMIT_NOFILE, &files);
}

/* `flags`: SOCK_NONBLOCK or 0. */
static inline int listen_loopback_flags(int flags)
{
    raise_fd_limit();
    struct sockaddr_in addr = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | flags, 0);
    if (fd < 0 || bind(fd, (struct sockaddr *)&addr, sizeof addr) < 0 || listen(fd, 4096) < 0) {
        perror("listen");
        exit(1);
    }
    announce(fd);
    return fd;
}

static inline int listen_loopback(void)
{
    return listen_loopback_flags(SOCK_NONBLOCK);
}
