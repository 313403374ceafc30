/* SPDX-License-Identifier: MIT */
/*
 * loop_server.c - serves one client after the other: says who came, and with what.
 */
#include <pier/pier.h>

static int greet(struct pier_conn *c, void *arg)
{
    char text[1024], shown[4096];
    ssize_t n = pier_read_text(c, text, sizeof text);
    if (n > 0) {
        pier_escape(shown, sizeof shown, text, (size_t)n);
        printf("%s: %s\n", pier_peer(c), shown);
        n = pier_puts(c, "Hello, world");
    }
    fprintf(stderr, "%s: %s\n", n < 0 ? pier_strerror((int)n) : "left", pier_peer(c));
    return 0;
}

int main(int argc, char **argv)
{
    setlinebuf(stdout);
    const struct pier_serve_opts one_at_a_time = { .max_conns = 1, .read_timeout_ms = 5000 };
    return pier_serve(argc > 1 ? argv[1] : "tcp://localhost:10000", greet, NULL, &one_at_a_time);
}
