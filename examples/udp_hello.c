/* SPDX-License-Identifier: MIT */
/*
 * udp_hello.c - greets by name, whoever sends one.
 */
#include <pier/pier.h>

static int greet(struct pier_conn *c, void *arg)
{
    char name[65536];
    ssize_t n;
    while ((n = pier_read_text(c, name, sizeof name)) > 0)
        pier_printf(c, "Hello, %s!", name);
    return (int)n;
}

int main(int argc, char **argv)
{
    return pier_serve(argc > 1 ? argv[1] : "udp://127.0.0.1:9999", greet, NULL, NULL);
}
