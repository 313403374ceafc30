/* SPDX-License-Identifier: MIT */
/*
 * The peer libuv: one buffer for all connections, uv_try_write, and uv_write only for what a slow
 * client leaves.
 *
 * Usage: echo_libuv [BUFFER]. Prints `listening on tcp://127.0.0.1:PORT`.
 */
#include <stdlib.h>
#include <string.h>
#include <uv.h>

#include "../listen.h"

struct rest {
    uv_write_t req;
    char data[];
};

static char *buf;
static size_t buf_cap = 65536;

static void on_close(uv_handle_t *handle)
{
    free(handle);
}

static void on_alloc(uv_handle_t *handle, size_t hint, uv_buf_t *out)
{
    (void)handle, (void)hint;
    *out = uv_buf_init(buf, (unsigned)buf_cap);
}

static void on_read(uv_stream_t *stream, ssize_t len, const uv_buf_t *data);

static void on_written(uv_write_t *req, int status)
{
    uv_stream_t *stream = req->handle;
    free(req);
    if (status == 0)
        uv_read_start(stream, on_alloc, on_read);
}

static void on_read(uv_stream_t *stream, ssize_t len, const uv_buf_t *data)
{
    if (len < 0) {
        uv_close((uv_handle_t *)stream, on_close);
        return;
    }
    if (len == 0)
        return;
    uv_buf_t out = uv_buf_init(data->base, (unsigned)len);
    ssize_t sent = uv_try_write(stream, &out, 1);
    if (sent == len)
        return;
    if (sent < 0)
        sent = 0; /* an error comes back through uv_write */
    struct rest *r = malloc(sizeof *r + (size_t)(len - sent));
    if (!r)
        abort();
    memcpy(r->data, data->base + sent, (size_t)(len - sent));
    out = uv_buf_init(r->data, (unsigned)(len - sent));
    uv_read_stop(stream);
    uv_write(&r->req, stream, &out, 1, on_written);
}

static void on_connection(uv_stream_t *listener, int status)
{
    uv_tcp_t *client = malloc(sizeof *client);
    if (!client || status < 0)
        abort();
    uv_tcp_init(listener->loop, client);
    if (uv_accept(listener, (uv_stream_t *)client) < 0) {
        uv_close((uv_handle_t *)client, on_close);
        return;
    }
    uv_tcp_nodelay(client, 1);
    uv_read_start((uv_stream_t *)client, on_alloc, on_read);
}

int main(int argc, char **argv)
{
    if (argc > 1)
        buf_cap = strtoul(argv[1], NULL, 10);
    buf = malloc(buf_cap);
    uv_loop_t *loop = uv_default_loop();
    uv_tcp_t listener;
    struct sockaddr_in addr;
    int fd = -1;
    raise_fd_limit();
    uv_ip4_addr("127.0.0.1", 0, &addr);
    uv_tcp_init(loop, &listener);
    uv_tcp_bind(&listener, (struct sockaddr *)&addr, 0);
    if (!buf || uv_listen((uv_stream_t *)&listener, 4096, on_connection) < 0)
        return 1;
    uv_fileno((uv_handle_t *)&listener, &fd);
    announce(fd);
    return uv_run(loop, UV_RUN_DEFAULT);
}
