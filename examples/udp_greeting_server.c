/* SPDX-License-Identifier: MIT */
/*
 * udp_greeting_server.c - greets for each datagram.
 */
#include <pier/pier.h>

static int greet(struct pier_conn *c, void *arg)
{
    char text[65536];
    ssize_t n;
    while ((n = pier_read_text(c, text, sizeof text)) > 0)
        pier_puts(c, "Hello, client!");
    return (int)n;
}

int main(int argc, char **argv)
{
    return pier_serve(argc > 1 ? argv[1] : "udp://127.0.0.1:12345", greet, NULL, NULL);
}
