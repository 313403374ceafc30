/* SPDX-License-Identifier: MIT */
/*
 * reply_server.c - answers one message of each client, and closes.
 */
#include <pier/pier.h>

#include <string.h>

static int reply(struct pier_conn *c, void *arg)
{
    char text[4096] = "服务器已收到你的消息: "; /* and behind it what comes */
    const size_t before = strlen(text);
    fprintf(stderr, "connected: %s\n", pier_peer(c));
    ssize_t n = pier_read_text(c, text + before, sizeof text - before);
    if (n > 0)
        n = pier_write(c, text, before + (size_t)n);
    fprintf(stderr, "%s: %s\n", n < 0 ? pier_strerror((int)n) : "left", pier_peer(c));
    return 0;
}

int main(int argc, char **argv)
{
    return pier_serve(argc > 1 ? argv[1] : "tcp://127.0.0.1:8888", reply, NULL, NULL);
}
