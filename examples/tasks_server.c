/* SPDX-License-Identifier: MIT */
/*
 * tasks_server.c - answers many clients at once, each in a task of its own.
 */
#include <pier/pier.h>

#include <string.h>

static int reply(struct pier_conn *c, void *arg)
{
    char text[4096] = "服务器已收到: "; /* and behind it what comes */
    const size_t before = strlen(text);
    ssize_t n;
    fprintf(stderr, "connected: %s\n", pier_peer(c));
    while ((n = pier_read_text(c, text + before, sizeof text - before)) > 0)
        pier_write(c, text, before + (size_t)n);
    fprintf(stderr, "%s: %s\n", n < 0 ? pier_strerror((int)n) : "left", pier_peer(c));
    return 0;
}

int main(int argc, char **argv)
{
    const char *url = argc > 1 ? argv[1] : "tcp://127.0.0.1:8888";
    return pier_serve(url, reply, NULL, &(struct pier_serve_opts){ .model = PIER_TASKS });
}
