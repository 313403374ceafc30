/* SPDX-License-Identifier: MIT */
/*
 * A server that tells which worker serves a connection: each byte received is answered by one byte,
 * the number of the thread that the handler runs on, counted from 0 in the order in which they
 * came.
 *
 * Usage: who_pier URL WORKERS. Prints `listening on URL (BACKEND)`.
 */
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>

#include <pier/pier.h>

static atomic_int thread_count;
static _Thread_local int own_number = -1;

static int say_who(struct pier_conn *c, void *arg)
{
    if (own_number < 0)
        own_number = atomic_fetch_add(&thread_count, 1);
    char buf[256];
    ssize_t n;
    while ((n = pier_read(c, buf, sizeof buf)) > 0) {
        for (ssize_t i = 0; i < n; i++)
            buf[i] = (char)own_number;
        pier_write(c, buf, (size_t)n);
    }
    return 0;
}

int main(int argc, char **argv)
{
    if (argc != 3 || atoi(argv[2]) < 1) {
        fputs("usage: who_pier URL WORKERS\n", stderr);
        return 2;
    }
    struct pier_server *s = pier_server_new(&(struct pier_serve_opts){ .workers = atoi(argv[2]) });
    pier_server_add(s, argv[1], say_who, NULL);
    if (pier_server_listen(s) < 0)
        return pier_fail("who_pier");
    printf("listening on %s (%s)\n", pier_server_url(s, 0), pier_backend(NULL));
    fflush(stdout);
    int rc = pier_server_run(s);
    pier_server_free(s);
    return rc < 0 ? pier_fail("who_pier") : 0;
}
