/* SPDX-License-Identifier: MIT */
/*
 * udp_server.c - prints each datagram that comes and answers it.
 *
 * The handler is one peer's conversation; other peers have theirs at the same time.
 */
#include <pier/pier.h>

static int greet(struct pier_conn *c, void *arg)
{
    char text[1024];
    ssize_t n;
    while ((n = pier_read_text(c, text, sizeof text)) > 0) {
        printf("%s: %s\n", pier_peer(c), text);
        fflush(stdout);
        pier_puts(c, "Hello, Client!");
    }
    return (int)n;
}

int main(int argc, char **argv)
{
    return pier_serve(argc > 1 ? argv[1] : "udp://localhost:10000", greet, NULL, NULL);
}
