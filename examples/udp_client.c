/* SPDX-License-Identifier: MIT */
/*
 * udp_client.c - sends a datagram and prints the reply.
 *
 * Nothing is checked before the end: every call accepts what a failed one left behind.
 */
#include <pier/pier.h>

int main(int argc, char **argv)
{
    char reply[1024];
    struct pier_conn *c = pier_dial(argc > 1 ? argv[1] : "udp://localhost:10000", NULL);
    pier_set_timeouts(c, 5000, 0);
    pier_puts(c, "Hello, World!");
    if (pier_read_text(c, reply, sizeof reply) < 0)
        return pier_fail("udp_client");
    puts(reply);
    pier_close(c);
    return 0;
}
