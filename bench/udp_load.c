/* SPDX-License-Identifier: MIT */
/*
 * Load for UDP echo servers: PEERS sockets, each with FLIGHT datagrams of SIZE bytes on their way,
 * for SECONDS; what the server's process has used meanwhile comes from /proc.
 *
 * A reply is answered by the next datagram. What has been lost, a peer silent for 100 ms, is sent
 * again and counted. Batched itself, so that the server's core is the busy one.
 *
 * Usage: udp_load --pid PID [--peers N] [--flight N] [--size N] [--seconds S] udp://IP:PORT
 * Prints one line: ops, ops/s, µs of server CPU per op, share of a core, lost.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

enum { MOST_FLIGHT = 256, SILENCE_NS = 100 * 1000 * 1000 };

static struct {
    int pid, peers, flight, size;
    double seconds;
} given = { .peers = 1, .flight = 32, .size = 64, .seconds = 3 };

struct peer {
    int fd, missing;
    int64_t heard_ns;
};

static struct mmsghdr msgs[MOST_FLIGHT];
static struct iovec piece;
static int64_t ops, lost;

static int64_t now_ns(void)
{
    struct timespec ts;
    clock_gettime(CLOCK_MONOTONIC, &ts);
    return ts.tv_sec * 1000000000LL + ts.tv_nsec;
}

/* User and system time in seconds; finer than the clock ticks of stat where the kernel says. */
static double cpu_of(int pid)
{
    char path[64], text[1024];
    snprintf(path, sizeof path, "/proc/%d/stat", pid);
    FILE *file = fopen(path, "r");
    size_t n = file ? fread(text, 1, sizeof text - 1, file) : 0;
    if (file)
        fclose(file);
    text[n] = '\0';
    const char *at = strrchr(text, ')');
    long user = 0, system = 0;
    if (!at ||
        sscanf(at + 2, "%*c %*d %*d %*d %*d %*d %*u %*u %*u %*u %*u %ld %ld", &user, &system) != 2)
        return 0;
    return (double)(user + system) / (double)sysconf(_SC_CLK_TCK);
}

static void send_some(struct peer *p, int count)
{
    for (int sent = 0; sent < count;) {
        int n = sendmmsg(p->fd, msgs, (unsigned)(count - sent), 0);
        if (n <= 0 && errno != EINTR && errno != ECONNREFUSED)
            break;
        sent += n > 0 ? n : 0;
    }
    p->missing += count;
}

static void take_replies(struct peer *p)
{
    static struct mmsghdr got[MOST_FLIGHT];
    static struct iovec room;
    static char bytes[65536];
    room = (struct iovec){ bytes, sizeof bytes };
    for (int i = 0; i < given.flight; i++)
        got[i].msg_hdr = (struct msghdr){ .msg_iov = &room, .msg_iovlen = 1 };
    int n = recvmmsg(p->fd, got, (unsigned)given.flight, MSG_DONTWAIT, NULL);
    if (n <= 0)
        return;
    ops += n;
    p->missing = p->missing > n ? p->missing - n : 0;
    p->heard_ns = now_ns();
    send_some(p, n);
}

static void look_for_losses(struct peer *peers)
{
    int64_t now = now_ns();
    for (int i = 0; i < given.peers; i++) {
        struct peer *p = &peers[i];
        if (now - p->heard_ns < SILENCE_NS)
            continue;
        lost += p->missing;
        p->missing = 0;
        p->heard_ns = now;
        send_some(p, given.flight);
    }
}

static void run(struct peer *peers, int ep, int64_t until_ns)
{
    struct epoll_event events[64];
    int64_t looked_ns = now_ns();
    for (int64_t now = looked_ns; now < until_ns; now = now_ns()) {
        int n = epoll_wait(ep, events, 64, 50);
        for (int i = 0; i < n; i++)
            take_replies(events[i].data.ptr);
        if (now - looked_ns > SILENCE_NS) {
            look_for_losses(peers);
            looked_ns = now;
        }
    }
}

static int open_peer(struct peer *p, int ep, const struct sockaddr_in *to)
{
    struct epoll_event event = { .events = EPOLLIN, .data.ptr = p };
    p->fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    p->heard_ns = now_ns();
    if (p->fd < 0 || connect(p->fd, (const struct sockaddr *)to, sizeof *to) < 0)
        return -1;
    return epoll_ctl(ep, EPOLL_CTL_ADD, p->fd, &event);
}

static bool read_options(int argc, char **argv, struct sockaddr_in *to)
{
    char ip[32];
    int port = 0;
    for (int i = 1; i + 1 < argc; i += 2) {
        double value = atof(argv[i + 1]);
        if (strcmp(argv[i], "--pid") == 0)
            given.pid = (int)value;
        else if (strcmp(argv[i], "--peers") == 0)
            given.peers = (int)value;
        else if (strcmp(argv[i], "--flight") == 0)
            given.flight = (int)value;
        else if (strcmp(argv[i], "--size") == 0)
            given.size = (int)value;
        else if (strcmp(argv[i], "--seconds") == 0)
            given.seconds = value;
        else
            return false;
    }
    *to = (struct sockaddr_in){ .sin_family = AF_INET };
    if (argc % 2 || sscanf(argv[argc - 1], "udp://%31[0-9.]:%d", ip, &port) != 2)
        return false;
    to->sin_port = htons((uint16_t)port);
    return inet_pton(AF_INET, ip, &to->sin_addr) == 1 && given.flight > 0 &&
           given.flight <= MOST_FLIGHT && given.peers > 0 && given.size > 0 && given.size <= 65507;
}

int main(int argc, char **argv)
{
    struct sockaddr_in to;
    if (!read_options(argc, argv, &to)) {
        fputs("usage: udp_load --pid PID [--peers N] [--flight N] [--size N] [--seconds S] "
              "udp://IP:PORT\n",
              stderr);
        return 2;
    }
    struct peer *peers = calloc((size_t)given.peers, sizeof *peers);
    int ep = epoll_create1(EPOLL_CLOEXEC);
    piece = (struct iovec){ calloc(1, (size_t)given.size), (size_t)given.size };
    for (int i = 0; i < MOST_FLIGHT; i++)
        msgs[i].msg_hdr = (struct msghdr){ .msg_iov = &piece, .msg_iovlen = 1 };
    for (int i = 0; i < given.peers; i++)
        if (open_peer(&peers[i], ep, &to) < 0) {
            perror("udp_load");
            return 1;
        }
    for (int i = 0; i < given.peers; i++)
        send_some(&peers[i], given.flight);
    run(peers, ep, now_ns() + 200 * 1000 * 1000); /* warm */
    int64_t begin = now_ns();
    double cpu = cpu_of(given.pid);
    ops = lost = 0;
    run(peers, ep, begin + (int64_t)(given.seconds * 1e9));
    double took = (double)(now_ns() - begin) / 1e9;
    cpu = cpu_of(given.pid) - cpu;
    printf("%lld ops, %.0f ops/s, %.3f us CPU/op, %.0f %% of a core, %lld lost\n", (long long)ops,
           (double)ops / took, ops ? cpu * 1e6 / (double)ops : 0, 100 * cpu / took,
           (long long)lost);
    return ops > 0 ? 0 : 1;
}
