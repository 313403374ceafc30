/* SPDX-License-Identifier: MIT */
/*
 * Pier's contestants for UDP: "batch", an echo by pier_udp_recv() and pier_udp_send(); "segment",
 * the same with .segmentation for what is sent; "handler", the echo server of README, a
 * conversation a peer.
 *
 * Usage: udp_pier batch|segment|handler [BUFFER]. Prints `listening on udp://127.0.0.1:PORT`.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <pier/pier.h>

enum { BATCH = 64 };

static const char url[] = "udp://127.0.0.1:0";

static int echo(struct pier_conn *c, void *arg)
{
    char buf[4096];
    ssize_t n;
    while ((n = pier_read(c, buf, sizeof buf)) > 0)
        pier_write(c, buf, (size_t)n);
    return 0;
}

static int serve_handler(void)
{
    struct pier_server *s = pier_server_new(&(struct pier_serve_opts){ .workers = 1 });
    if (pier_server_add(s, url, echo, NULL) < 0 || pier_server_listen(s) < 0)
        return pier_fail("udp_pier");
    printf("listening on %s\n", pier_server_url(s, 0));
    fflush(stdout);
    return pier_server_run(s) < 0 ? pier_fail("udp_pier") : 0;
}

static struct pier_datagram batch[BATCH];

static int serve_batches(void *arg)
{
    struct pier_udp *u = *(struct pier_udp **)arg;
    for (;;) {
        int n = pier_udp_recv(u, batch, BATCH, 0);
        if (n < 0 || pier_udp_send(u, batch, n) < 0)
            return pier_error_code();
    }
}

static int serve(bool segmentation, size_t cap)
{
    struct pier_udp *u = pier_udp_open(url,
                                       &(struct pier_udp_opts){ .segmentation = segmentation });
    struct pier_addr addr;
    char text[PIER_ADDR_TEXT];
    struct pier_scope scope;
    if (u == NULL || pier_udp_local(u, &addr) < 0)
        return pier_fail("udp_pier");
    for (int i = 0; i < BATCH; i++)
        batch[i] = (struct pier_datagram){ .bytes = malloc(cap), .cap = cap };
    printf("listening on udp://%s\n", pier_addr_text(&addr, text, sizeof text));
    fflush(stdout);
    pier_scope_open(&scope, 0);
    pier_spawn(&scope, serve_batches, &u); /* in a task: epoll or io_uring, as elsewhere */
    return pier_scope_join(&scope) < 0 ? pier_fail("udp_pier") : 0;
}

int main(int argc, char **argv)
{
    const char *how = argc > 1 ? argv[1] : "";
    size_t cap = argc > 2 ? strtoul(argv[2], NULL, 10) : 65535; /* what the kernel has joined */
    if (strcmp(how, "handler") == 0)
        return serve_handler();
    if (strcmp(how, "batch") == 0 || strcmp(how, "segment") == 0)
        return serve(how[0] == 's', cap);
    fputs("usage: udp_pier batch|segment|handler [BUFFER]\n", stderr);
    return 2;
}
