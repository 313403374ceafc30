/* SPDX-License-Identifier: MIT */
/*
 * The floor of HTTP: the least that an epoll server can do. It answers with bytes that were made
 * before, as often as there are requests in what it reads, and understands nothing: no parser, no
 * time-outs, no limits. One buffer for all connections; edge-triggered, as echo_epoll.
 *
 * All requests are taken for as long as the first one. `--close` answers once and closes.
 *
 * Usage: http_epoll [--close]. Prints `listening on tcp://127.0.0.1:PORT`.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <netinet/tcp.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>

#include "http_canned.h"

enum { EVENT_COUNT = 512, FD_COUNT = 65536 };

static char buf[65536];
static char replies[sizeof(CANNED) * BATCH_MAX];
static size_t carried[FD_COUNT]; /* bytes of a request that is not whole */
static size_t request_len;
static bool closes;

static bool serve(int fd)
{
    for (;;) {
        ssize_t n = recv(fd, buf, sizeof buf, 0);
        if (n <= 0)
            return n < 0 && errno == EAGAIN;
        if (request_len == 0)
            request_len = first_request(buf, (size_t)n);
        size_t have = carried[fd] + (size_t)n;
        size_t count = request_len ? have / request_len : 0;
        carried[fd] = request_len ? have % request_len : have;
        count = count < BATCH_MAX ? count : BATCH_MAX;
        size_t len = count * (sizeof CANNED - 1);
        if (len > 0 && send(fd, replies, len, MSG_NOSIGNAL) != (ssize_t)len)
            return false;
        if (closes && count > 0)
            return false;
        if ((size_t)n < sizeof buf)
            return true;
    }
}

static void accept_all(int listener, int set)
{
    int on = 1, fd;
    while ((fd = accept4(listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC)) >= 0) {
        struct epoll_event ev = { .events = EPOLLIN | EPOLLET, .data.fd = fd };
        setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
        carried[fd] = 0;
        epoll_ctl(set, EPOLL_CTL_ADD, fd, &ev);
    }
}

int main(int argc, char **argv)
{
    static struct epoll_event events[EVENT_COUNT];
    closes = argc > 1 && strcmp(argv[1], "--close") == 0;
    for (size_t i = 0; i < BATCH_MAX; i++)
        memcpy(replies + i * (sizeof CANNED - 1), CANNED, sizeof CANNED - 1);
    int listener = listen_loopback();
    int set = epoll_create1(EPOLL_CLOEXEC);
    struct epoll_event ev = { .events = EPOLLIN, .data.fd = listener };
    epoll_ctl(set, EPOLL_CTL_ADD, listener, &ev);
    for (;;) {
        int count = epoll_wait(set, events, EVENT_COUNT, -1);
        for (int i = 0; i < count; i++) {
            int fd = events[i].data.fd;
            if (fd == listener)
                accept_all(listener, set);
            else if (!serve(fd))
                close(fd);
        }
    }
}
