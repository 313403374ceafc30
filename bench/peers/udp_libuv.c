/* SPDX-License-Identifier: MIT */
/*
 * The peer libuv for UDP: batched receive (UV_UDP_RECVMMSG), uv_udp_try_send, and uv_udp_send only
 * for what the socket does not take at once.
 *
 * Usage: udp_libuv. Prints `listening on udp://127.0.0.1:PORT`.
 */
#include <stdlib.h>
#include <string.h>
#include <uv.h>

#include <arpa/inet.h>
#include <stdio.h>

enum { SLOT = 64 * 1024, SLOTS = 20 };

struct rest {
    uv_udp_send_t req;
    char data[];
};

static char room[SLOT * SLOTS];

static void on_alloc(uv_handle_t *handle, size_t hint, uv_buf_t *out)
{
    (void)handle, (void)hint;
    *out = uv_buf_init(room, sizeof room);
}

static void on_sent(uv_udp_send_t *req, int status)
{
    (void)status;
    free(req);
}

static void on_datagram(uv_udp_t *udp, ssize_t n, const uv_buf_t *buf, const struct sockaddr *peer,
                        unsigned flags)
{
    (void)flags;
    if (n <= 0 || !peer)
        return;
    uv_buf_t reply = uv_buf_init(buf->base, (unsigned)n);
    if (uv_udp_try_send(udp, &reply, 1, peer) != UV_EAGAIN)
        return;
    struct rest *rest = malloc(sizeof *rest + (size_t)n);
    if (!rest)
        return;
    memcpy(rest->data, buf->base, (size_t)n);
    reply = uv_buf_init(rest->data, (unsigned)n);
    if (uv_udp_send(&rest->req, udp, &reply, 1, peer, on_sent) < 0)
        free(rest);
}

int main(void)
{
    uv_loop_t *loop = uv_default_loop();
    uv_udp_t udp;
    struct sockaddr_in addr;
    int len = sizeof addr;
    uv_udp_init_ex(loop, &udp, AF_INET | UV_UDP_RECVMMSG);
    uv_ip4_addr("127.0.0.1", 0, &addr);
    if (uv_udp_bind(&udp, (const struct sockaddr *)&addr, 0) < 0 ||
        uv_udp_recv_start(&udp, on_alloc, on_datagram) < 0)
        return 1;
    uv_udp_getsockname(&udp, (struct sockaddr *)&addr, &len);
    printf("listening on udp://127.0.0.1:%d\n", ntohs(addr.sin_port));
    fflush(stdout);
    return uv_run(loop, UV_RUN_DEFAULT);
}
