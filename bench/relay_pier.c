/* SPDX-License-Identifier: MIT */
/*
 * Pier's relay: each connection is dialled on to another server, and pier_copy does the rest.
 *
 * Usage: relay_pier URL [tasks|threads]. Prints `listening on tcp://127.0.0.1:PORT (BACKEND)`.
 */
#include <stdio.h>
#include <string.h>

#include <pier/pier.h>

static int relay(struct pier_conn *client, void *url)
{
    struct pier_conn *server = pier_dial(url, NULL);
    int rc = pier_copy(client, server, NULL);
    pier_close(server);
    return rc;
}

int main(int argc, char **argv)
{
    bool threads = argc > 2 && strcmp(argv[2], "threads") == 0;
    struct pier_serve_opts opts = { .workers = 1, .model = threads ? PIER_THREADS : PIER_TASKS };
    if (argc < 2) {
        fputs("usage: relay_pier URL [tasks|threads]\n", stderr);
        return 2;
    }
    struct pier_server *s = pier_server_new(&opts);
    pier_server_add(s, "tcp://127.0.0.1:0", relay, argv[1]);
    if (pier_server_listen(s) < 0)
        return pier_fail("relay_pier");
    printf("listening on %s (%s)\n", pier_server_url(s, 0),
           threads ? "direct" : pier_backend(NULL));
    fflush(stdout);
    int rc = pier_server_run(s);
    pier_server_free(s);
    return rc < 0 ? pier_fail("relay_pier") : 0;
}
