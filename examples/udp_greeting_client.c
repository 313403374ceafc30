/* SPDX-License-Identifier: MIT */
/*
 * udp_greeting_client.c - greets by a datagram, and prints the greeting that comes back.
 */
#include <pier/pier.h>

int main(int argc, char **argv)
{
    char reply[65536];
    const struct pier_dial_opts opts = { .connect_timeout_ms = 5000, .read_timeout_ms = 5000 };
    struct pier_conn *c = pier_dial(argc > 1 ? argv[1] : "udp://127.0.0.1:12345", &opts);
    pier_puts(c, "Hello, server!");
    if (pier_read_text(c, reply, sizeof reply) < 0)
        return pier_fail("udp_greeting_client");
    puts(reply);
    pier_close(c);
    return 0;
}
