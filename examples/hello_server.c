/* SPDX-License-Identifier: MIT */
/*
 * hello_server.c - welcomes, then greets by name, until told to exit.
 */
#include <pier/pier.h>

#include <string.h>

static int greet(struct pier_conn *c, void *arg)
{
    char name[1024];
    ssize_t n;
    fprintf(stderr, "connected: %s\n", pier_peer(c));
    pier_puts(c, "Welcome!");
    while ((n = pier_read_text(c, name, sizeof name)) > 0 && strcmp(name, "exit") != 0)
        pier_printf(c, "Hello, %s!", name);
    fprintf(stderr, "%s: %s\n", n < 0 ? pier_strerror((int)n) : "left", pier_peer(c));
    return 0;
}

int main(int argc, char **argv)
{
    return pier_serve(argc > 1 ? argv[1] : "tcp://127.0.0.1:9999", greet, NULL, NULL);
}
