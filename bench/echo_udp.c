/* SPDX-License-Identifier: MIT */
/*
 * The floor over UDP: one blocking socket, as many datagrams as wait received by one recvmmsg(2)
 * and echoed by one sendmmsg(2); with --single by recvfrom(2) and sendto(2), one by one.
 *
 * Usage: echo_udp [BUFFER [--single]]. Prints `listening on udp://127.0.0.1:PORT`.
 */
#define _GNU_SOURCE
#include <netinet/in.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#define BATCH 64

static struct mmsghdr msgs[BATCH];
static struct iovec parts[BATCH];
static struct sockaddr_in peers[BATCH];

static int bind_loopback(void)
{
    struct sockaddr_in addr = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
    socklen_t len = sizeof addr;
    int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    if (fd < 0 || bind(fd, (struct sockaddr *)&addr, sizeof addr) < 0 ||
        getsockname(fd, (struct sockaddr *)&addr, &len) < 0) {
        perror("bind");
        exit(1);
    }
    printf("listening on udp://127.0.0.1:%d\n", ntohs(addr.sin_port));
    fflush(stdout);
    return fd;
}

static void echo_batches(int fd, size_t cap)
{
    for (int i = 0; i < BATCH; i++) {
        parts[i].iov_base = malloc(cap);
        msgs[i].msg_hdr =
            (struct msghdr){ .msg_name = &peers[i], .msg_iov = &parts[i], .msg_iovlen = 1 };
    }
    for (;;) {
        for (int i = 0; i < BATCH; i++) {
            parts[i].iov_len = cap;
            msgs[i].msg_hdr.msg_namelen = sizeof peers[i];
        }
        int count = recvmmsg(fd, msgs, BATCH, MSG_WAITFORONE, NULL);
        for (int i = 0; i < count; i++)
            parts[i].iov_len = msgs[i].msg_len;
        for (int sent = 0; sent < count;) {
            int n = sendmmsg(fd, msgs + sent, (unsigned)(count - sent), 0);
            sent += n > 0 ? n : 1; /* one that cannot be sent is lost, as UDP may */
        }
    }
}

static void echo_singly(int fd, size_t cap)
{
    char *buf = malloc(cap);
    for (;;) {
        struct sockaddr_in peer;
        socklen_t len = sizeof peer;
        ssize_t n = recvfrom(fd, buf, cap, 0, (struct sockaddr *)&peer, &len);
        if (n >= 0)
            (void)!sendto(fd, buf, (size_t)n, 0, (struct sockaddr *)&peer, len);
    }
}

int main(int argc, char **argv)
{
    size_t cap = argc > 1 ? strtoul(argv[1], NULL, 10) : 4096;
    bool single = argc > 2 && strcmp(argv[2], "--single") == 0;
    if (cap < 1 || cap > 65536)
        return 2;
    int fd = bind_loopback();
    if (single)
        echo_singly(fd, cap);
    else
        echo_batches(fd, cap);
}
