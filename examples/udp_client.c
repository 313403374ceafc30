/* SPDX-License-Identifier: MIT */
/*
 * udp_client.c - sends a datagram, and prints the reply.
 */
#include <pier/pier.h>

int main(int argc, char **argv)
{
    char reply[65536];
    const struct pier_dial_opts opts = { .connect_timeout_ms = 5000, .read_timeout_ms = 5000 };
    struct pier_conn *c = pier_dial(argc > 1 ? argv[1] : "udp://localhost:10000", &opts);
    pier_puts(c, "Hello, World!");
    if (pier_read_text(c, reply, sizeof reply) < 0)
        return pier_fail("udp_client");
    puts(reply);
    pier_close(c);
    return 0;
}
