/* SPDX-License-Identifier: MIT */
/*
 * The floor: the least that an epoll echo server can do. One buffer for all connections, receive,
 * send, nothing else: no timers, no limits, no allocation unless a peer is slow.
 *
 * Edge-triggered, because level-triggered epoll polls every socket once more after its data is gone
 * (`--level` shows the difference). EPOLLOUT is watched from the start: it costs nothing until a
 * send was short.
 *
 * WORKERS are threads with an epoll set each; connections go to them in turn.
 *
 * `--own` gives each connection a buffer of its own, as every program has whose handlers keep what
 * they read: that is no floor, but shows what the one buffer, always in the cache, is worth.
 *
 * Usage: echo_epoll [--level | --own] [BUFFER [WORKERS]]. Prints `listening on
 * tcp://127.0.0.1:PORT`.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <netinet/tcp.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>

#include "listen.h"

#define EVENT_COUNT 512
#define FD_COUNT 65536
#define WORKER_MAX 64

/* What a slow peer has not taken yet. */
struct rest {
    char *data;
    size_t len, off;
};

static struct rest rests[FD_COUNT];
static size_t buf_cap = 65536;
static bool level, own;
static char *own_bufs[FD_COUNT];
static int listener = -1, worker_count = 1;
static int sets[WORKER_MAX]; /* of epoll */
static _Thread_local char *buf;

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

/* Where fd's bytes go. */
static char *buffer_for(int fd)
{
    if (!own)
        return buf;
    if (!own_bufs[fd])
        own_bufs[fd] = malloc(buf_cap);
    return own_bufs[fd];
}

static bool serve(int fd)
{
    char *data = buffer_for(fd);
    if (!data)
        return false;
    if (rests[fd].data && !flush_rest(fd))
        return false;
    while (!rests[fd].data) {
        ssize_t n = recv(fd, data, buf_cap, 0);
        if (n < 0)
            return errno == EAGAIN;
        if (n == 0 || !echo(fd, data, (size_t)n))
            return false;
        if ((size_t)n < buf_cap)
            return true; /* a short read: the socket is empty */
    }
    return true;
}

static void accept_all(void)
{
    static int turn;
    int on = 1, fd;
    while ((fd = accept4(listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC)) >= 0) {
        struct epoll_event ev = { .events = level ? EPOLLIN : EPOLLIN | EPOLLOUT | EPOLLET,
                                  .data.fd = fd };
        setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
        epoll_ctl(sets[turn++ % worker_count], EPOLL_CTL_ADD, fd, &ev);
    }
}

static void *run_worker(void *arg)
{
    struct epoll_event events[EVENT_COUNT];
    int ep = *(int *)arg;
    buf = malloc(buf_cap);
    for (;;) {
        int count = epoll_wait(ep, events, EVENT_COUNT, -1);
        for (int i = 0; i < count; i++) {
            int fd = events[i].data.fd;
            if (fd == listener)
                accept_all();
            else if (!serve(fd))
                drop(fd);
        }
    }
    return NULL;
}

int main(int argc, char **argv)
{
    level = argc > 1 && strcmp(argv[1], "--level") == 0;
    own = argc > 1 && strcmp(argv[1], "--own") == 0;
    int first = level || own ? 2 : 1;
    if (argc > first)
        buf_cap = strtoul(argv[first], NULL, 10);
    if (argc > first + 1)
        worker_count = atoi(argv[first + 1]);
    if (worker_count < 1 || worker_count > WORKER_MAX)
        return 2;
    listener = listen_loopback();
    for (int i = 0; i < worker_count; i++)
        sets[i] = epoll_create1(EPOLL_CLOEXEC);
    for (int i = 1; i < worker_count; i++) {
        pthread_t thread;
        if (pthread_create(&thread, NULL, run_worker, &sets[i]) != 0)
            return 1;
    }
    struct epoll_event ev = { .events = EPOLLIN, .data.fd = listener };
    epoll_ctl(sets[0], EPOLL_CTL_ADD, listener, &ev);
    run_worker(&sets[0]);
}
