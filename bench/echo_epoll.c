/* SPDX-License-Identifier: MIT */
/*
 * The floor: the least that an epoll echo server can do. One buffer for all connections, receive,
 * send, nothing else: no timers, no limits, no allocation unless a peer is slow.
 *
 * Edge-triggered, because level-triggered epoll polls every socket once more after its data is gone
 * (`--level` shows the difference). EPOLLOUT is watched from the start: it costs nothing until a
 * send was short.
 *
 * Usage: echo_epoll [--level] [BUFFER]. Prints `listening on tcp://127.0.0.1:PORT`.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <netinet/tcp.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>

#include "listen.h"

#define EVENT_COUNT 512
#define FD_COUNT 65536

/* What a slow peer has not taken yet. */
struct rest {
    char *data;
    size_t len, off;
};

static struct rest rests[FD_COUNT];
static char *buf;
static size_t buf_cap = 65536;

static void drop(int fd)
{
    free(rests[fd].data);
    rests[fd] = (struct rest){ 0 };
    close(fd);
}

/* Sends or keeps everything; false when the connection is gone. */
static bool echo(int fd, const char *data, size_t len)
{
    ssize_t n = send(fd, data, len, MSG_NOSIGNAL);
    if (n == (ssize_t)len)
        return true;
    if (n < 0 && errno != EAGAIN)
        return false;
    size_t sent = n < 0 ? 0 : (size_t)n;
    struct rest r = { .data = malloc(len - sent), .len = len - sent };
    if (!r.data)
        return false;
    memcpy(r.data, data + sent, r.len);
    rests[fd] = r;
    return true;
}

/* Sends what was kept; false when the connection is gone. */
static bool flush_rest(int fd)
{
    struct rest *r = &rests[fd];
    ssize_t n = send(fd, r->data + r->off, r->len - r->off, MSG_NOSIGNAL);
    if (n < 0)
        return errno == EAGAIN;
    r->off += (size_t)n;
    if (r->off == r->len) {
        free(r->data);
        *r = (struct rest){ 0 };
    }
    return true;
}

static bool serve(int fd)
{
    if (rests[fd].data && !flush_rest(fd))
        return false;
    while (!rests[fd].data) {
        ssize_t n = recv(fd, buf, buf_cap, 0);
        if (n < 0)
            return errno == EAGAIN;
        if (n == 0 || !echo(fd, buf, (size_t)n))
            return false;
        if ((size_t)n < buf_cap)
            return true; /* a short read: the socket is empty */
    }
    return true;
}

int main(int argc, char **argv)
{
    bool level = argc > 1 && strcmp(argv[1], "--level") == 0;
    if (argc > 1 + level)
        buf_cap = strtoul(argv[1 + level], NULL, 10);
    buf = malloc(buf_cap);
    int listener = listen_loopback();
    int ep = epoll_create1(EPOLL_CLOEXEC);
    struct epoll_event ev = { .events = EPOLLIN, .data.fd = listener }, events[EVENT_COUNT];
    epoll_ctl(ep, EPOLL_CTL_ADD, listener, &ev);
    for (;;) {
        int count = epoll_wait(ep, events, EVENT_COUNT, -1);
        for (int i = 0; i < count; i++) {
            int fd = events[i].data.fd;
            if (fd != listener) {
                if (!serve(fd))
                    drop(fd);
                continue;
            }
            int on = 1;
            while ((fd = accept4(listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC)) >= 0) {
                setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
                ev.events = level ? EPOLLIN : EPOLLIN | EPOLLOUT | EPOLLET;
                ev.data.fd = fd;
                epoll_ctl(ep, EPOLL_CTL_ADD, fd, &ev);
            }
        }
    }
}
