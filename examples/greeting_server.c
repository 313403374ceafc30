/* SPDX-License-Identifier: MIT */
/*
 * greeting_server.c - greets for each message, until the client leaves or is lost.
 */
#include <pier/pier.h>

static int greet(struct pier_conn *c, void *arg)
{
    char text[1024];
    ssize_t n;
    fprintf(stderr, "connected: %s\n", pier_peer(c));
    while ((n = pier_read_text(c, text, sizeof text)) > 0)
        pier_puts(c, "Hello, client!");
    fprintf(stderr, "%s: %s\n", n < 0 ? pier_strerror((int)n) : "left", pier_peer(c));
    return 0;
}

int main(int argc, char **argv)
{
    return pier_serve(argc > 1 ? argv[1] : "tcp://127.0.0.1:12345", greet, NULL, NULL);
}
