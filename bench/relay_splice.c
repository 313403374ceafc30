/* SPDX-License-Identifier: MIT */
/*
 * The floor of a relay: epoll and splice, a pipe each way, bytes never copied to user space. No
 * timers, no limits.
 *
 * Invariant: `held` bytes are in the way's pipe; it is filled only while empty, so it never blocks.
 *
 * Usage: relay_splice tcp://ADDRESS:PORT. Relays each connection to there. Prints
 * `listening on tcp://127.0.0.1:PORT`.
 */
#include <errno.h>
#include <fcntl.h>
#include <netinet/tcp.h>
#include <string.h>
#include <sys/epoll.h>

#include "listen.h"

#define EVENT_COUNT 512
#define PIPE_BYTES 262144 /* the default, 64 KiB, holds less than a message: 1.6 x the CPU */

/* One direction. */
struct way {
    int from, to;
    int pipe[2];
    size_t held;
    bool ended;
};

struct pair {
    struct way ways[2];
    struct pair *next_dead;
    bool dead;
};

static int ep;
static struct sockaddr_in upstream;
static struct pair *dead; /* freed after the batch of events that may still name them */

/* Moves what can be moved now; false when the connection is broken. */
static bool pump(struct way *w)
{
    while (!w->ended) {
        if (w->held == 0) {
            ssize_t n = splice(w->from, NULL, w->pipe[1], NULL, PIPE_BYTES,
                               SPLICE_F_NONBLOCK | SPLICE_F_MOVE);
            if (n < 0)
                return errno == EAGAIN;
            if (n == 0) {
                w->ended = true;
                shutdown(w->to, SHUT_WR);
                return true;
            }
            w->held = (size_t)n;
        }
        ssize_t n = splice(w->pipe[0], NULL, w->to, NULL, w->held,
                           SPLICE_F_NONBLOCK | SPLICE_F_MOVE);
        if (n < 0)
            return errno == EAGAIN;
        w->held -= (size_t)n;
    }
    return true;
}

static void bury(struct pair *p)
{
    for (int i = 0; i < 2; i++) {
        close(p->ways[i].from);
        close(p->ways[i].pipe[0]);
        close(p->ways[i].pipe[1]);
    }
    p->dead = true;
    p->next_dead = dead;
    dead = p;
}

static void on_ready(struct pair *p)
{
    if (p->dead)
        return;
    bool sound = pump(&p->ways[0]) && pump(&p->ways[1]);
    if (!sound || (p->ways[0].ended && p->ways[1].ended))
        bury(p);
}

static void watch(int fd, struct pair *p)
{
    int on = 1;
    struct epoll_event ev = { .events = EPOLLIN | EPOLLOUT | EPOLLRDHUP | EPOLLET, .data.ptr = p };
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    epoll_ctl(ep, EPOLL_CTL_ADD, fd, &ev);
}

static void on_accept(int client)
{
    struct pair *p = calloc(1, sizeof *p);
    int server = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (!p || server < 0 || connect(server, (struct sockaddr *)&upstream, sizeof upstream) < 0 ||
        pipe2(p->ways[0].pipe, O_NONBLOCK | O_CLOEXEC) < 0 ||
        pipe2(p->ways[1].pipe, O_NONBLOCK | O_CLOEXEC) < 0) {
        perror("relay");
        exit(1);
    }
    for (int i = 0; i < 2; i++)
        fcntl(p->ways[i].pipe[1], F_SETPIPE_SZ, PIPE_BYTES);
    fcntl(server, F_SETFL, O_NONBLOCK);
    p->ways[0].from = p->ways[1].to = client;
    p->ways[1].from = p->ways[0].to = server;
    watch(client, p);
    watch(server, p);
}

static void free_dead(void)
{
    while (dead) {
        struct pair *p = dead;
        dead = p->next_dead;
        free(p);
    }
}

int main(int argc, char **argv)
{
    char host[64] = "";
    unsigned port = 0;
    if (argc != 2 || sscanf(argv[1], "tcp://%63[^:]:%u", host, &port) != 2 ||
        inet_pton(AF_INET, host, &upstream.sin_addr) != 1) {
        fputs("usage: relay_splice tcp://ADDRESS:PORT\n", stderr);
        return 2;
    }
    upstream.sin_family = AF_INET;
    upstream.sin_port = htons((uint16_t)port);
    int listener = listen_loopback();
    struct epoll_event ev = { .events = EPOLLIN, .data.ptr = NULL }, events[EVENT_COUNT];
    ep = epoll_create1(EPOLL_CLOEXEC);
    epoll_ctl(ep, EPOLL_CTL_ADD, listener, &ev);
    for (;;) {
        int count = epoll_wait(ep, events, EVENT_COUNT, -1);
        for (int i = 0; i < count; i++) {
            if (events[i].data.ptr) {
                on_ready(events[i].data.ptr);
                continue;
            }
            for (int fd; (fd = accept4(listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC)) >= 0;)
                on_accept(fd);
        }
        free_dead();
    }
}
