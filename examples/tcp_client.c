/* SPDX-License-Identifier: MIT */
/*
 * tcp_client.c - says hello to a server, and prints its reply.
 */
#include <pier/pier.h>

int main(int argc, char **argv)
{
    char reply[1024];
    const struct pier_dial_opts opts = { .connect_timeout_ms = 5000, .read_timeout_ms = 5000 };
    struct pier_conn *c = pier_dial(argc > 1 ? argv[1] : "tcp://localhost:10000", &opts);
    pier_puts(c, "Hello, World!");
    ssize_t n = pier_read_text(c, reply, sizeof reply);
    if (n == 0)
        n = pier_error_set(-ENODATA, "no reply");
    if (n < 0)
        return pier_fail("tcp_client");
    puts(reply);
    pier_close(c);
    return 0;
}
