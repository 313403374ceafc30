/* SPDX-License-Identifier: MIT */
/*
 * net/idle.c - connections that wait for input without a task: no stack, no buffers, only a record
 * on the heap with an armed operation and a timer.
 *
 * An endpoint with idle_ns, or of TLS, begins so, and its handler returns PI_IDLE to wait so again;
 * a task is spawned with the same connection when there is something to read. It is for workers'
 * loops: in the other models a connection has its thread or process anyway, and c->may_idle is
 * false. Invariant: a record has a task, or is waiting, or is lost (no task could be had), never
 * two.
 */
#define _GNU_SOURCE
#include "net/capture.h"
#include "net/proxy.h"
#include "net/tls.h"

#include "base/assert.h"

#include <poll.h>

struct idle {
    struct pier_conn conn;
    const struct pi_listener *listener;
    struct pi_worker *worker;
    struct io_op op;
    struct pi_timer timer; /* lazy: it may stand earlier than until_ns */
    int64_t until_ns;
    uint64_t who; /* of pi_accepted */
    bool is_waiting, is_lost;
};

static struct pi_timers *timers_of(const struct idle *i)
{
    return &i->worker->root->thread->loop->timers;
}

/* ---- the end ---- */

static void release(struct idle *i)
{
    struct pi_worker *w = i->worker;
    pi_conn_unlink(w, &i->conn);
    pi_timer_disarm(timers_of(i), &i->timer);
    pi_timer_unreserve(timers_of(i));
    pi_worker_leave(w, i->who);
    pi_free(i);
}

static void end_silently(struct idle *i)
{
    pi_conn_fini(&i->conn);
    pi_proxy_end(&i->conn);
    release(i);
}

static void stop_waiting(struct idle *i)
{
    io_disarm(&i->op);
    PIER_ASSERT(!i->is_waiting);
}

/* ---- waiting ---- */

/* Nothing that is freed here is still looked at: timers fire after all events of a poll. */
static void timer_fired(struct pi_timer *timer)
{
    struct idle *i = PI_CONTAINER_OF(timer, struct idle, timer);
    if (i->is_lost) {
        end_silently(i);
    } else if (i->is_waiting && i->until_ns > i->worker->root->thread->loop->now_ns) {
        pi_timer_arm(timers_of(i), timer, i->until_ns);
    } else if (i->is_waiting) {
        stop_waiting(i);
        end_silently(i);
    }
}

static void wake(struct idle *i); /* its task may wait again */

static void is_readable(struct io_op *op)
{
    struct idle *i = PI_CONTAINER_OF(op, struct idle, op);
    i->is_waiting = false;
    if (op->result != -ECANCELED)
        wake(i);
}

/* A client of TLS has the time of a handshake to begin with it. */
static int64_t patience(const struct idle *i)
{
    const struct pi_endpoint *e = i->listener->endpoint;
    return e->hello_ns && i->conn.transport != &pi_tls ? e->hello_ns : e->idle_ns;
}

static int arm(struct idle *i)
{
    i->op = (struct io_op){
        .code = IO_POLL, .fd = &i->conn.io, .len = POLLIN, .done = is_readable, .hinted = true
    };
    int rc = io_arm(&i->op);
    if (rc < 0)
        return rc;
    i->is_waiting = true;
    i->until_ns = pi_coarse_now(i->worker->root) + patience(i);
    if (!i->timer.slot || i->timer.when_ns > i->until_ns)
        pi_timer_arm(timers_of(i), &i->timer, i->until_ns);
    return 0;
}

static bool is_stopping(const struct idle *i)
{
    return i->worker->scope.cancelled || atomic_load(&i->worker->server->draining);
}

/* Whether the connection waits without its task from now on; else rc says why not. */
static bool go_idle(struct idle *i, int *rc)
{
    struct pier_conn *c = &i->conn;
    *rc = 0;
    if (is_stopping(i) || c->io.fd < 0 || c->at_end || c->read_error)
        return false;
    PIER_ASSERT(c->ahead_len == 0);
    pi_conn_slim(c);
    *rc = arm(i);
    return *rc == 0;
}

/* ---- with a task ---- */

static int idle_main(void *arg)
{
    struct idle *i = *(struct idle **)arg;
    const struct pi_endpoint *e = i->listener->endpoint;
    int rc;
    do
        rc = pi_serve_call(&i->conn, e, i->worker);
    while (rc == PI_IDLE && pi_tls_has_input(&i->conn));
    if (rc == PI_IDLE && e->idle_ns > 0 && go_idle(i, &rc))
        return 0;
    pi_serve_end(&i->conn, e, rc);
    release(i);
    return 0;
}

static int spawn(struct idle *i)
{
    struct pi_worker *w = i->worker;
    return pi_spawn_copy(&w->scope, i->listener->endpoint->text, idle_main, &i, sizeof i);
}

/* Without memory for a task the connection is closed; not here, where the backend still looks at
 * it. */
static void wake(struct idle *i)
{
    int rc = spawn(i);
    if (rc == 0)
        return;
    if (rc != -ECANCELED)
        pier_log(PIER_LOG_WARN, "connection dropped",
                 pier_str("endpoint", i->listener->endpoint->text),
                 pier_str("error", pier_strerror(rc)));
    i->is_lost = true;
    pi_timer_arm(timers_of(i), &i->timer, i->worker->root->thread->loop->now_ns);
}

/* ---- for worker.c ---- */

/* A first look would be in vain more often than not, and the backend tells of what has come before,
 * too. */
static void begin(struct idle *i, struct pi_worker *w, const struct pi_accepted *a)
{
    *i = (struct idle){
        .listener = a->listener, .worker = w, .who = a->who, .timer.fire = timer_fired
    };
    pi_serve_init(&i->conn, a, w->server);
    i->conn.may_idle = true;
    i->conn.io.may_read = is_stopping(i);
}

int pi_idle_start(struct pi_worker *w, const struct pi_accepted *a)
{
    struct idle *i = pi_alloc(sizeof *i);
    if (!i)
        return -ENOMEM;
    begin(i, w, a);
    int rc = pi_timer_reserve(timers_of(i));
    if (rc < 0) {
        pi_free(i);
        return rc;
    }
    rc = is_stopping(i) ? spawn(i) : arm(i);
    if (rc < 0) {
        io_detach(&i->conn.io);
        pi_timer_unreserve(timers_of(i));
        pi_free(i);
        return rc;
    }
    pi_conn_link(w, &i->conn);
    pi_captured_begin(&i->conn, w->server->opts.capture, NULL);
    return 0;
}

void pi_idle_drain(struct pier_conn *c)
{
    struct idle *i = PI_CONTAINER_OF(c, struct idle, conn);
    if (!i->is_waiting)
        return;
    struct io_op look = { .code = IO_POLL, .fd = &c->io, .len = POLLIN };
    bool has_input = io_try(&look) > 0;
    stop_waiting(i);
    c->io.may_read = true;
    if (has_input)
        wake(i);
    else
        end_silently(i);
}
