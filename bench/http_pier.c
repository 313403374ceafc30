/* SPDX-License-Identifier: MIT */
/*
 * Pier's contestant for HTTP: hello through router, parser and a full response with Date, with all
 * default limits and time-outs on.
 *
 * Usage: http_pier URL [WORKERS [tasks|threads|processes|prefork]]. Prints one `listening on URL
 * (BACKEND)` line.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <pier/pier.h>

static int hello(struct pier_exchange *ex, void *arg)
{
    return pier_http_text(ex, 200, "Hello, World!\n");
}

static enum pier_model model_of(const char *name)
{
    static const char *const names[] = { "tasks", "threads", "processes", "prefork" };
    for (int i = 0; i < 4; i++)
        if (strcmp(name, names[i]) == 0)
            return (enum pier_model)i;
    return PIER_TASKS;
}

int main(int argc, char **argv)
{
    if (argc < 2)
        return 2;
    struct pier_router *r = pier_router_new();
    pier_route(r, "GET /", hello, NULL);
    struct pier_serve_opts opts = { .workers = argc > 2 ? atoi(argv[2]) : 1, .max_conns = 65536 };
    opts.model = argc > 3 ? model_of(argv[3]) : PIER_TASKS;
    struct pier_server *s = pier_server_new(&opts);
    pier_server_add_http(s, argv[1], r, NULL);
    if (pier_server_listen(s) < 0)
        return pier_fail("http_pier");
    printf("listening on %s (%s)\n", pier_server_url(s, 0), pier_backend(NULL));
    fflush(stdout);
    int rc = pier_server_run(s);
    pier_server_free(s);
    pier_router_free(r);
    return rc < 0 ? pier_fail("http_pier") : 0;
}
