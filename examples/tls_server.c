/* SPDX-License-Identifier: MIT */
/*
 * tls_server.c - the echo server with a certificate: "tls" in place of "tcp", and two files.
 *
 *     tls_server server.pem server-key.pem tls://127.0.0.1:8443
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
    const struct pier_tls_opts tls = { .cert_file = argc > 1 ? argv[1] : "server.pem",
                                       .key_file = argc > 2 ? argv[2] : "server-key.pem" };
    const struct pier_serve_opts opts = { .tls = &tls };
    return pier_serve(argc > 3 ? argv[3] : "tls://127.0.0.1:8443", echo, NULL, &opts);
}
