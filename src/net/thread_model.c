/* SPDX-License-Identifier: MIT */
/*
 * net/thread_model.c - PIER_THREADS: a connection is served by a thread of its own, without a loop,
 * by the same code.
 *
 * The server reaches such a thread by message only; its record stays listed, under the server's
 * lock, for as long as a message may come.
 */
#define _GNU_SOURCE
#include "net/firewall.h"
#include "net/tls.h"

#include "base/assert.h"

#include <sys/eventfd.h>
#include <unistd.h>

/* Address space, not memory. Handlers call what they like here, getaddrinfo and its modules too. */
enum { THREAD_STACK = 1024 * 1024 };

static void link_thread(struct pi_conn_thread *t)
{
    struct pier_server *s = t->worker->server;
    pthread_mutex_lock(&s->lock);
    t->next = s->threads;
    if (t->next)
        t->next->prev = t;
    s->threads = t;
    pthread_mutex_unlock(&s->lock);
}

/* With the lock held. */
static void unlink_thread(struct pi_conn_thread *t)
{
    if (t->prev)
        t->prev->next = t->next;
    else
        t->worker->server->threads = t->next;
    if (t->next)
        t->next->prev = t->prev;
}

/* From here on, or no longer, the server's messages come. What it said before is heard now. */
static void set_conn(struct pi_conn_thread *t, struct pier_conn *c)
{
    struct pier_server *s = t->worker->server;
    pthread_mutex_lock(&s->lock);
    t->conn = c;
    bool is_cancelled = c && s->threads_cancelled;
    pthread_mutex_unlock(&s->lock);
    if (is_cancelled)
        pier_scope_cancel(&t->scope);
}

/* The last thing the thread does to the server: the worker may be waiting for it. */
static void leave(struct pi_conn_thread *t)
{
    struct pi_worker *w = t->worker;
    struct pier_server *s = w->server;
    pthread_mutex_lock(&s->lock);
    unlink_thread(t);
    atomic_fetch_sub(&w->load, 1);
    pi_firewall_leave(s, t->accepted.who);
    pi_place_give(w);
    bool is_awaited = atomic_load(&s->stop_requested) || atomic_load(&s->paused) > 0;
    if (is_awaited)
        pi_worker_nudge(w);
    pthread_mutex_unlock(&s->lock);
}

static void *thread_main(void *arg)
{
    struct pi_conn_thread *t = arg;
    struct pi_task *self = pi_task_self();
    struct pier_conn c;
    self->thread->wake_fd = t->wake_fd;
    self->name = t->accepted.listener->endpoint->text;
    self->born_ns = pi_clock_ns();
    pi_watch_thread(self->thread, true);
    pi_serve_init(&c, &t->accepted, t->worker->server);
    c.io.may_block = !t->accepted.conv && io_blocking_here();
    pier_scope_open(&t->scope, 0);
    t->thread = self->thread;
    set_conn(t, &c);
    pi_serve_conn(&c, &t->accepted, t->worker);
    set_conn(t, NULL);
    pi_watch_thread(self->thread, false);
    pi_thread_drain(self->thread); /* what was posted while conn was set */
    pier_scope_join(&t->scope);
    if (t->worker->server->tls)
        pi_tls_thread_end();
    leave(t);
    pi_free(t);
    return NULL;
}

int pi_conn_thread_start(struct pi_worker *w, const struct pi_accepted *a)
{
    struct pi_conn_thread *t = pi_zalloc(sizeof *t);
    if (!t)
        return -ENOMEM;
    /* Its reads will need one: without a descriptor for it the connection waits, and is not
     * dropped. */
    t->wake_fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
    if (t->wake_fd < 0) {
        int code = -errno;
        pi_free(t);
        return code;
    }
    t->worker = w;
    t->accepted = *a;
    atomic_fetch_add(&w->load, 1);
    link_thread(t);
    int rc = pi_thread_start(NULL, thread_main, t, THREAD_STACK);
    if (rc == 0)
        return 0;
    pthread_mutex_lock(&w->server->lock);
    unlink_thread(t);
    pthread_mutex_unlock(&w->server->lock);
    atomic_fetch_sub(&w->load, 1);
    close(t->wake_fd);
    pi_free(t);
    return rc;
}

static void run_wake(struct pi_msg *msg)
{
    struct pi_conn_thread *t = PI_CONTAINER_OF(msg, struct pi_conn_thread, wake);
    if (t->conn)
        io_interrupt_read(&t->conn->io);
}

/* A thread that has not begun yet sees the server draining by itself. */
void pi_conn_threads_wake(struct pier_server *s)
{
    pthread_mutex_lock(&s->lock);
    for (struct pi_conn_thread *t = s->threads; t; t = t->next) {
        if (!t->conn || t->posted)
            continue;
        t->posted = true;
        t->wake.run = run_wake;
        pi_thread_post(t->thread, &t->wake);
    }
    pthread_mutex_unlock(&s->lock);
}

void pi_conn_threads_cancel(struct pier_server *s)
{
    pthread_mutex_lock(&s->lock);
    s->threads_cancelled = true;
    for (struct pi_conn_thread *t = s->threads; t; t = t->next)
        if (t->conn)
            pier_scope_cancel_remote(&t->scope);
    pthread_mutex_unlock(&s->lock);
}
