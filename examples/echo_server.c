/* SPDX-License-Identifier: MIT */
/*
 * echo_server.c - sends back what comes, to any number of clients, until Ctrl-C.
 */
#include <pier/pier.h>

static int echo(struct pier_conn *c, void *arg)
{
    char buf[4096];
    ssize_t n;
    while ((n = pier_read(c, buf, sizeof buf)) > 0)
        pier_write(c, buf, (size_t)n);
    return 0;
}

int main(int argc, char **argv)
{
    return pier_serve(argc > 1 ? argv[1] : "tcp://127.0.0.1:8888", echo, NULL, NULL);
}
