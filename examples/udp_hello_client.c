/* SPDX-License-Identifier: MIT */
/*
 * udp_hello_client.c - says three names, and prints the reply to each.
 */
#include <pier/pier.h>

int main(int argc, char **argv)
{
    static const char *const names[] = { "Michael", "Tracy", "Sarah" };
    char reply[65536];
    const struct pier_dial_opts opts = { .connect_timeout_ms = 5000, .read_timeout_ms = 5000 };
    struct pier_conn *c = pier_dial(argc > 1 ? argv[1] : "udp://127.0.0.1:9999", &opts);
    setlinebuf(stdout);
    for (int i = 0; i < 3; i++) {
        pier_puts(c, names[i]);
        if (pier_read_text(c, reply, sizeof reply) < 0)
            return pier_fail("udp_hello_client");
        puts(reply);
    }
    pier_close(c);
    return 0;
}
