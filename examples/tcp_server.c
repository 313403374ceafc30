/* SPDX-License-Identifier: MIT */
/*
 * tcp_server.c - serves one client: prints what it says, answers, and ends.
 */
#include <pier/pier.h>

static int greet(struct pier_conn *c, void *arg)
{
    char text[1024];
    fprintf(stderr, "connected: %s\n", pier_peer(c));
    ssize_t n = pier_read_text(c, text, sizeof text);
    if (n > 0) {
        puts(text);
        n = pier_puts(c, "Hello, Client!");
    }
    pier_server_stop_remote(arg);
    return n < 0 ? (int)n : 0;
}

int main(int argc, char **argv)
{
    setlinebuf(stdout);
    const char *url = argc > 1 ? argv[1] : "tcp://localhost:10000";
    struct pier_server *server = pier_server_new(&(struct pier_serve_opts){ .max_conns = 1 });
    pier_server_add(server, url, greet, server);
    if (pier_server_listen(server) == 0)
        fprintf(stderr, "listening on %s\n", pier_server_url(server, 0));
    if (pier_server_run(server) < 0)
        return pier_fail("tcp_server");
    pier_server_free(server);
    return 0;
}
