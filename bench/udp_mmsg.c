/* SPDX-License-Identifier: MIT */
/*
 * The floor of UDP: epoll, recvmmsg into one array of buffers, sendmmsg of the same array. Nothing
 * else: no peers, no limits, no errors.
 *
 * --segment: replies to one peer in one length are one message that the kernel cuts (UDP_SEGMENT),
 * and what it has joined (UDP_GRO) is read as one and goes back in the same pieces.
 *
 * Usage: udp_mmsg [--segment] [BUFFER]. Prints `listening on udp://127.0.0.1:PORT`.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/udp.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>

enum { BATCH = 64, MOST_SEGMENTS_BYTES = 65000 };

static struct mmsghdr in[BATCH], out[BATCH];
static struct iovec rooms[BATCH], pieces[BATCH];
static struct sockaddr_in peers[BATCH];
static char control[BATCH][CMSG_SPACE(sizeof(uint16_t))];
static char told[BATCH][CMSG_SPACE(sizeof(int))]; /* of what came: in what pieces */
static size_t buf_cap = 2048;
static bool segment;

static void set_segment(struct msghdr *msg, char *room, size_t len)
{
    uint16_t size = (uint16_t)len;
    msg->msg_control = room;
    msg->msg_controllen = sizeof control[0];
    struct cmsghdr *c = CMSG_FIRSTHDR(msg);
    c->cmsg_level = SOL_UDP;
    c->cmsg_type = UDP_SEGMENT;
    c->cmsg_len = CMSG_LEN(sizeof size);
    memcpy(CMSG_DATA(c), &size, sizeof size);
}

/* The length of the datagrams that message i joins; its own when it is one. */
static size_t piece_of(int i)
{
    struct msghdr *msg = &in[i].msg_hdr;
    int size;
    for (struct cmsghdr *c = segment ? CMSG_FIRSTHDR(msg) : NULL; c; c = CMSG_NXTHDR(msg, c)) {
        if (c->cmsg_level != SOL_UDP || c->cmsg_type != UDP_GRO)
            continue;
        memcpy(&size, CMSG_DATA(c), sizeof size);
        return (size_t)size;
    }
    return in[i].msg_len;
}

static bool is_same(int a, int b)
{
    return peers[a].sin_port == peers[b].sin_port &&
           peers[a].sin_addr.s_addr == peers[b].sin_addr.s_addr;
}

/* Replies from first on that can be one message. */
static int run_length(int first, int count)
{
    size_t len = in[first].msg_len, sum = len;
    int n = 1;
    if (piece_of(first) != len)
        return 1;
    while (segment && first + n < count && is_same(first, first + n) &&
           in[first + n].msg_len == len && piece_of(first + n) == len &&
           sum + len <= MOST_SEGMENTS_BYTES) {
        sum += len;
        n++;
    }
    return n;
}

static int prepare(int count)
{
    int messages = 0;
    for (int i = 0; i < count; messages++) {
        int n = run_length(i, count);
        for (int k = 0; k < n; k++)
            pieces[i + k] = (struct iovec){ rooms[i + k].iov_base, in[i + k].msg_len };
        struct msghdr *msg = &out[messages].msg_hdr;
        msg->msg_name = &peers[i];
        msg->msg_namelen = sizeof peers[i];
        msg->msg_iov = &pieces[i];
        msg->msg_iovlen = (size_t)n;
        msg->msg_control = NULL;
        msg->msg_controllen = 0;
        if (n > 1 || piece_of(i) != in[i].msg_len)
            set_segment(msg, control[messages], piece_of(i));
        i += n;
    }
    return messages;
}

static void echo_all(int fd)
{
    for (;;) {
        int n = recvmmsg(fd, in, BATCH, MSG_DONTWAIT, NULL);
        if (n <= 0)
            return;
        int messages = prepare(n);
        for (int sent = 0, k; sent < messages; sent += k)
            if ((k = sendmmsg(fd, out + sent, (unsigned)(messages - sent), MSG_DONTWAIT)) <= 0)
                break;
        for (int i = 0; i < n; i++) {
            in[i].msg_hdr.msg_namelen = sizeof peers[i];
            in[i].msg_hdr.msg_controllen = segment ? sizeof told[i] : 0;
        }
        if (n < BATCH)
            return; /* edge-triggered: what comes later is told */
    }
}

static int open_socket(void)
{
    struct sockaddr_in addr = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
    socklen_t len = sizeof addr;
    int fd = socket(AF_INET, SOCK_DGRAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (fd < 0 || bind(fd, (struct sockaddr *)&addr, len) < 0) {
        perror("udp_mmsg");
        exit(1);
    }
    getsockname(fd, (struct sockaddr *)&addr, &len);
    printf("listening on udp://127.0.0.1:%d\n", ntohs(addr.sin_port));
    fflush(stdout);
    return fd;
}

int main(int argc, char **argv)
{
    for (int i = 1; i < argc; i++) {
        if (strcmp(argv[i], "--segment") == 0)
            segment = true;
        else
            buf_cap = strtoul(argv[i], NULL, 10);
    }
    if (segment)
        buf_cap = 65535; /* what the kernel has joined */
    for (int i = 0; i < BATCH; i++) {
        rooms[i] = (struct iovec){ malloc(buf_cap), buf_cap };
        in[i].msg_hdr = (struct msghdr){ .msg_name = &peers[i],
                                         .msg_namelen = sizeof peers[i],
                                         .msg_iov = &rooms[i],
                                         .msg_iovlen = 1,
                                         .msg_control = segment ? told[i] : NULL,
                                         .msg_controllen = segment ? sizeof told[i] : 0 };
    }
    int on = 1;
    int fd = open_socket(), ep = epoll_create1(EPOLL_CLOEXEC);
    struct epoll_event event = { .events = EPOLLIN | EPOLLET };
    if (segment)
        setsockopt(fd, SOL_UDP, UDP_GRO, &on, sizeof on);
    epoll_ctl(ep, EPOLL_CTL_ADD, fd, &event);
    while (epoll_wait(ep, &event, 1, -1) >= 0 || errno == EINTR)
        echo_all(fd);
    return 1;
}
