/* SPDX-License-Identifier: MIT */
/*
 * tls_client.c - says hello to a server that has proved who it is, and prints its reply.
 *
 *     tls_client tls://localhost:8443 ca.pem        (without a file: the system's authorities)
 */
#include <pier/pier.h>

int main(int argc, char **argv)
{
    char reply[1024];
    const struct pier_tls_opts tls = { .ca_file = argc > 2 ? argv[2] : NULL };
    const struct pier_dial_opts opts = { .read_timeout_ms = 5000, .tls = &tls };
    struct pier_conn *c = pier_dial(argc > 1 ? argv[1] : "tls://localhost:8443", &opts);
    pier_puts(c, "Hello, World!");
    ssize_t n = pier_read_text(c, reply, sizeof reply);
    if (n == 0)
        n = pier_error_set(-ENODATA, "no reply");
    if (n < 0)
        return pier_fail("tls_client");
    puts(reply);
    pier_close(c);
    return 0;
}
