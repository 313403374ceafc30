/* SPDX-License-Identifier: MIT */
/*
 * relay.c - `pier serve --exec`: the connection as standard input and output of a command.
 *
 * Two tasks, one each way. The end of the client's input is the end of the command's; the end of
 * the command is the end of the connection, even when its client would go on talking: that is why
 * this is not pier_copy(), which waits for both. The idle limit counts from the last byte of either
 * way.
 */
#include "service.h"

#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>

/* The longest datagram over IPv4. */
enum { DATAGRAM_BYTES = 65507 };

struct relay {
    struct pier_conn *client, *child;
    size_t most;      /* of one read: what the other side takes in one write */
    int64_t moved_ns; /* when a byte last went either way */
};

/* One read; while the other way is busy, silence on this one is no time-out. */
static ssize_t read_patiently(struct relay *r, struct pier_conn *from, char *buf)
{
    for (;;) {
        int64_t since = pier_now();
        ssize_t n = pier_read(from, buf, from == r->child ? r->most : MESSAGE_BYTES);
        if (n != -ETIMEDOUT || r->moved_ns < since || pier_cancelled() < 0)
            return n;
    }
}

/* One way, to its end: 0; or a negative code. */
static int pump(struct relay *r, struct pier_conn *from, struct pier_conn *to)
{
    char *buf = malloc(MESSAGE_BYTES);
    if (buf == NULL)
        return pier_error_set(-ENOMEM, "relay for %s", pier_peer(r->client));
    ssize_t n;
    while ((n = read_patiently(r, from, buf)) > 0) {
        if (from == r->client)
            trace_message(r->client, buf, (size_t)n);
        n = pier_write(to, buf, (size_t)n);
        if (n < 0)
            break;
        r->moved_ns = pier_now();
    }
    if (n == 0)
        pier_shutdown_write(to);
    free(buf);
    return (int)n;
}

/* A task: what the client says. A command that reads no more, or has ended, is no failure. */
static int client_to_child(void *arg)
{
    struct relay *r = arg;
    int rc = pump(r, r->client, r->child);
    return rc == -EPIPE || rc == -ECANCELED ? 0 : rc;
}

static int relay(struct relay *r)
{
    struct pier_scope scope;
    pier_scope_open(&scope, 0);
    int status, rc = pier_spawn(&scope, client_to_child, r);
    if (rc == 0)
        rc = pump(r, r->child, r->client);
    if (rc == 0)
        rc = pier_exec_wait(r->child, &status, 0);
    pier_scope_cancel(&scope);
    int spoken = pier_scope_join(&scope);
    if (spoken < 0)
        return spoken;
    return rc < 0 ? rc : SERVICE_CLOSED;
}

int handle_exec(struct pier_conn *c, const struct service *service)
{
    struct relay r = { .client = c,
                       .child = pier_exec(service->command),
                       .most = service->datagrams ? DATAGRAM_BYTES : MESSAGE_BYTES };
    if (r.child == NULL)
        return pier_error_code();
    /* A command may be as slow as a client may be idle. */
    pier_set_timeouts(r.child, service->idle_timeout_ms, service->idle_timeout_ms);
    int rc = relay(&r);
    pier_close(r.child);
    return rc;
}
