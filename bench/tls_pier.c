/* SPDX-License-Identifier: MIT */
/*
 * Pier's contestant for TLS, with all default limits and time-outs on: what comes is echoed, "GET"
 * is answered with 100 MiB from memory.
 *
 * Usage: tls_pier CERT KEY. Prints one `listening on URL` line.
 */
#include <stdio.h>
#include <string.h>

#include <pier/pier.h>

enum { PIECE = 65536 };
static const int64_t BULK = 100 << 20;
static const char zeros[PIECE];

static int answer(struct pier_conn *c)
{
    pier_printf(c, "HTTP/1.1 200 OK\r\nContent-Length: %lld\r\n\r\n", (long long)BULK);
    for (int64_t left = BULK; left > 0; left -= PIECE)
        if (pier_write(c, zeros, PIECE) < 0)
            return pier_error_code();
    return 0;
}

static int serve(struct pier_conn *c, void *arg)
{
    char buf[256];
    ssize_t n;
    while ((n = pier_read(c, buf, sizeof buf)) > 0) {
        int rc = memcmp(buf, "GET", 3) == 0 ? answer(c) : (int)pier_write(c, buf, (size_t)n);
        if (rc < 0)
            return rc;
    }
    return 0;
}

int main(int argc, char **argv)
{
    if (argc != 3) {
        fputs("usage: tls_pier CERT KEY\n", stderr);
        return 2;
    }
    const struct pier_tls_opts tls = { .cert_file = argv[1], .key_file = argv[2] };
    struct pier_server *s = pier_server_new(&(struct pier_serve_opts){ .workers = 1, .tls = &tls });
    pier_server_add(s, "tls://127.0.0.1:0", serve, NULL);
    if (pier_server_listen(s) < 0)
        return pier_fail("tls_pier");
    printf("listening on %s (%s)\n", pier_server_url(s, 0), pier_backend(NULL));
    fflush(stdout);
    int rc = pier_server_run(s);
    pier_server_free(s);
    return rc < 0 ? pier_fail("tls_pier") : 0;
}
