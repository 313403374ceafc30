/* SPDX-License-Identifier: MIT */
/*
 * net/process_model.c - PIER_PROCESSES: a connection is served by a process of its own, on its
 * thread's own stack, by the same code.
 *
 * The process that accepts runs no handler and has no ring and no other thread. It keeps a record
 * of each child until that has been reaped, and logs how it ended when that was no return; what its
 * handler says itself the child logs. A child keeps nothing of the server but the memory that they
 * share and the bell that asks for a stop.
 */
#define _GNU_SOURCE
#include "net/datagram.h"
#include "net/firewall.h"
#include "net/server.h"
#include "net/tls.h"

#include "base/assert.h"

#include <signal.h>
#include <string.h>
#include <unistd.h>

enum { TOLD_OF_STOP = 1, TOLD_OF_CANCEL, KILLED };

/* ---- the child ---- */

static struct {
    struct pier_server *server;
    struct pier_conn conn;
    struct pier_scope scope;
} child;

/* The server stops, or somebody wants this process to end: its handler's reads look up. */
static void told_to_end(void *unused)
{
    atomic_store(&child.server->draining, true);
    io_interrupt_read(&child.conn.io);
    if (atomic_load(&child.server->shared->abandoned))
        pier_scope_cancel(&child.scope);
}

/* The other connections, and the way to new ones, are the parent's. */
static void let_go(struct pi_worker *w, const struct pi_accepted *own)
{
    struct pier_server *s = w->server;
    for (struct pi_conn_process *p = s->processes; p; p = p->next)
        close(p->process.process.end.fd);
    for (int i = 0; i < s->listener_count; i++) {
        int pending = w->acceptors[i].pending.fd;
        if (pending >= 0 && pending != own->fd)
            close(pending);
        s->listeners[i].unlink_path = false;
    }
    pi_server_close_listeners(s);
    pi_posts_let_go(w, own->conv);
    atomic_store(&s->reachable, 0);
}

/* What it was told while it was not yet listening is in what the processes share. */
static _Noreturn void serve_in_child(struct pi_worker *w, const struct pi_accepted *a)
{
    struct pi_task *self = pi_task_self();
    child.server = w->server;
    pi_firewall_count_nobody(w->server);
    let_go(w, a);
    self->name = a->listener->endpoint->text;
    self->born_ns = pi_clock_ns();
    pi_serve_init(&child.conn, a, w->server);
    pier_scope_open(&child.scope, 0);
    pi_forked_begin(told_to_end, NULL);
    io_blocking_open();
    child.conn.io.may_block = !a->conv && io_blocking_here();
    pi_serve_conn(&child.conn, a, w);
    pier_scope_join(&child.scope);
    pi_fork_exit(0);
}

/* ---- the parent ---- */

static void link_process(struct pi_conn_process *p)
{
    struct pier_server *s = p->worker->server;
    p->next = s->processes;
    if (p->next)
        p->next->prev = p;
    s->processes = p;
}

static void unlink_process(struct pi_conn_process *p)
{
    if (p->prev)
        p->prev->next = p->next;
    else
        p->worker->server->processes = p->next;
    if (p->next)
        p->next->prev = p->prev;
}

static const char *peer_text(char text[PI_ADDR_TEXT_CAP], const struct pi_accepted *a)
{
    struct pi_addr addr = { .len = 0 };
    memcpy(&addr.any, &a->peer, sizeof a->peer);
    if (addr.any.sa_family == AF_UNIX)
        addr = (struct pi_addr){ .any.sa_family = AF_UNIX };
    return pi_addr_format(text, PI_ADDR_TEXT_CAP, &addr);
}

static void log_end(const struct pi_conn_process *p)
{
    char words[PI_FORKED_WORDS], text[PI_ADDR_TEXT_CAP];
    if (pi_forked_failed(&p->process))
        pier_log(PIER_LOG_WARN, p->told == KILLED ? "handler did not end" : "connection failed",
                 pier_str("endpoint", p->accepted.listener->endpoint->text),
                 pier_str("peer", peer_text(text, &p->accepted)),
                 pier_str("error", pi_forked_words(words, &p->process)));
}

/* The backend that calls this still looks at the record's descriptor, so the record stays until
 * the next one's turn. */
static void has_ended(struct pi_forked *f)
{
    struct pi_conn_process *p = PI_CONTAINER_OF(f, struct pi_conn_process, process);
    struct pi_worker *w = p->worker;
    log_end(p);
    unlink_process(p);
    if (p->accepted.conv)
        pi_conv_process_ended(p->accepted.conv);
    pi_free(w->server->ended);
    w->server->ended = p;
    pi_worker_leave(w, p->accepted.who);
}

int pi_conn_process_start(struct pi_worker *w, const struct pi_accepted *a)
{
    PIER_ASSERT(pi_task_self() == w->root);
    struct pi_conn_process *p = pi_zalloc(sizeof *p);
    if (!p)
        return -ENOMEM;
    p->worker = w;
    p->accepted = *a;
    pi_tls_server_refresh(w);
    pid_t pid = pi_forked_start(&p->process, has_ended);
    if (pid == 0)
        serve_in_child(w, a);
    if (pid < 0) {
        pi_free(p);
        return pid;
    }
    if (!a->conv) /* its post keeps both ends */
        close(a->fd);
    atomic_fetch_add(&w->load, 1);
    link_process(p);
    return 0;
}

static void tell(struct pi_conn_process *p, int what, int number)
{
    if (p->told >= what)
        return;
    p->told = what;
    pi_forked_signal(&p->process, number);
}

void pi_conn_processes_tell(struct pier_server *s)
{
    bool cancelled = atomic_load(&s->shared->abandoned);
    for (struct pi_conn_process *p = s->processes; p; p = p->next)
        tell(p, cancelled ? TOLD_OF_CANCEL : TOLD_OF_STOP, SIGTERM);
}

void pi_conn_processes_kill(struct pier_server *s)
{
    for (struct pi_conn_process *p = s->processes; p; p = p->next)
        tell(p, KILLED, SIGKILL);
}
