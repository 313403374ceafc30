/* SPDX-License-Identifier: MIT */
/*
 * Pier's contestant: the echo server of README, with all default limits and time-outs on.
 *
 * Usage: echo_pier URL [BUFFER [WORKERS [tasks|threads|processes|prefork]]]. BUFFER is 256 (the
 * frame of the idle test), 4096 (default) or 65536 (on the heap: a task's stack is no place for
 * it). Prints one `listening on URL` line.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <pier/pier.h>

static int echo_256(struct pier_conn *c, void *arg)
{
    char buf[256];
    ssize_t n;
    while ((n = pier_read(c, buf, sizeof buf)) > 0)
        pier_write(c, buf, (size_t)n);
    return 0;
}

static int echo_4096(struct pier_conn *c, void *arg)
{
    char buf[4096];
    ssize_t n;
    while ((n = pier_read(c, buf, sizeof buf)) > 0)
        pier_write(c, buf, (size_t)n);
    return 0;
}

static int echo_65536(struct pier_conn *c, void *arg)
{
    char *buf = malloc(65536);
    ssize_t n;
    while (buf && (n = pier_read(c, buf, 65536)) > 0)
        pier_write(c, buf, (size_t)n);
    free(buf);
    return 0;
}

static pier_handler handler_for(size_t cap)
{
    switch (cap) {
    case 256:
        return echo_256;
    case 4096:
        return echo_4096;
    case 65536:
        return echo_65536;
    default:
        return NULL;
    }
}

/* In the order of enum pier_model; -1: none of them. */
static int model_of(const char *name)
{
    static const char *const names[] = { "tasks", "threads", "processes", "prefork" };
    for (int i = 0; i < 4; i++)
        if (strcmp(name, names[i]) == 0)
            return i;
    return -1;
}

int main(int argc, char **argv)
{
    int model = argc > 4 ? model_of(argv[4]) : PIER_TASKS;
    pier_handler handler = handler_for(argc > 2 ? strtoul(argv[2], NULL, 10) : 4096);
    struct pier_serve_opts opts = {
        .workers = argc > 3 ? atoi(argv[3]) : 1,
        .model = (enum pier_model)model,
    };
    if (argc < 2 || !handler || model < 0) {
        fputs("usage: echo_pier URL [256|4096|65536 [WORKERS [MODEL]]]\n", stderr);
        return 2;
    }
    struct pier_server *s = pier_server_new(&opts);
    pier_server_add(s, argv[1], handler, NULL);
    if (pier_server_listen(s) < 0)
        return pier_fail("echo_pier");
    bool has_tasks = model == PIER_TASKS || model == PIER_PREFORK;
    printf("listening on %s (%s)\n", pier_server_url(s, 0),
           has_tasks ? pier_backend(NULL) : "direct");
    fflush(stdout);
    int rc = pier_server_run(s);
    pier_server_free(s);
    return rc < 0 ? pier_fail("echo_pier") : 0;
}
