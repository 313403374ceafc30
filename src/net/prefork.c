/* SPDX-License-Identifier: MIT */
/*
 * net/prefork.c - PIER_PREFORK: worker processes, and the supervisor that starts them again.
 *
 * A worker is worker.c on one loop of its own, in a process that ends with its supervisor. The
 * supervisor serves nobody, has no ring and no other thread, and keeps the listeners open, so that
 * a worker that dies resets nothing in the backlog. It begins a stop by a word in shared memory and
 * a bell; from then on each worker stops as it would alone.
 */
#define _GNU_SOURCE
#include "net/firewall.h"

#include "base/assert.h"

#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

enum {
    STEADY_MS = 10 * 1000, /* a worker that has lived so long had a good start */
    RESTART_MS = 100,      /* after the second early death in a row; twice that after each more */
    RESTART_MOST_MS = 10 * 1000, /* which is the longest */
    KILL_MS = 2 * 1000,          /* for cancelled workers to end by themselves */
    LAST_TRIES = 3, /* to find a worker that empties the backlog of a stopping server */
};

struct prefork {
    struct pier_server *server;
    struct pier_scope scope;
    struct pi_task *root;
    struct pi_bell bell;
    struct supervised *workers;
    int count, living;
    bool is_ready;
};

struct supervised {
    struct prefork *all;
    struct pi_slot *slot;
    struct pi_forked process;
    bool lives, killed;
    int early_ends; /* in a row */
    int64_t born_ns;
    int64_t due_ns; /* when it is to be started, while it does not live */
};

/* ---- a worker ---- */

static struct pi_worker *own; /* in its process */

/* Somebody wants this process to end, not the server. */
static void told_to_end(void *unused)
{
    atomic_store(&own->server->stop_requested, true);
    pi_worker_look(own);
}

static void let_go(struct supervised *v)
{
    struct prefork *all = v->all;
    struct pier_server *s = all->server;
    for (int i = 0; i < all->count; i++)
        if (all->workers[i].lives)
            close(all->workers[i].process.process.end.fd);
    for (int i = 0; i < s->listener_count; i++)
        s->listeners[i].unlink_path = false;
}

static _Noreturn void be_worker(struct supervised *v)
{
    struct pier_server *s = v->all->server;
    let_go(v);
    own = &s->workers[0];
    own->slot = v->slot;
    own->bell_fd = v->slot->bell_fd;
    pi_firewall_set_slot(s, (int)(v->slot - s->shared->slots));
    atomic_store(&s->stop_requested, atomic_load(&s->shared->stop));
    atomic_store(&s->abandoned, atomic_load(&s->shared->abandoned));
    atomic_store(&s->reachable, 0); /* a stop is asked of the supervisor */
    pi_task_self()->name = "worker";
    pi_forked_begin(told_to_end, NULL);
    pi_watchdog_start();
    int rc = pi_worker_run(own);
    pi_watchdog_stop();
    bool failed = rc < 0 && !atomic_load(&s->stop_requested);
    if (failed)
        pier_log(PIER_LOG_ERROR, "a worker ended", pier_str("error", pier_error()));
    atomic_store(&v->slot->ended, true);
    pi_fork_exit(failed ? EXIT_FAILURE : EXIT_SUCCESS);
}

/* ---- the supervisor ---- */

/* A status of 0 alone says nothing: a handler may have called exit(3), and all connections of its
 * worker ended with it. */
static void log_end(const struct supervised *v)
{
    char words[PI_FORKED_WORDS];
    if (!atomic_load(&v->slot->ended) || WIFSIGNALED(v->process.process.status))
        pier_log(PIER_LOG_ERROR, v->killed ? "a worker did not end" : "a worker died",
                 pier_int("pid", v->process.process.pid),
                 pier_str("error", pi_forked_words(words, &v->process)),
                 pier_int("connections", atomic_load(&v->slot->load)));
}

/* The next start: at once after a good life, then later and later. */
static void plan_restart(struct supervised *v, bool was_good)
{
    int64_t now = pi_clock_ns();
    if (was_good || now - v->born_ns >= STEADY_MS * PIER_MILLISECOND)
        v->early_ends = 0;
    int64_t wait_ms = v->early_ends > 0 ? RESTART_MS : 0;
    for (int i = 1; i < v->early_ends && wait_ms < RESTART_MOST_MS; i++)
        wait_ms *= 2;
    if (wait_ms > RESTART_MOST_MS)
        wait_ms = RESTART_MOST_MS;
    v->early_ends += !was_good;
    v->due_ns = now + wait_ms * PIER_MILLISECOND;
}

/* What it had is given back: its places, and its part of the others' turns. They are told in any
 * case: it may have died between giving its last place back and saying so. */
static void clear_slot(struct pier_server *s, struct pi_slot *slot)
{
    atomic_store(&slot->accepts, false);
    atomic_store(&slot->yields, false);
    atomic_store(&slot->load, 0);
    pi_firewall_clear_slot(s, (int)(slot - s->shared->slots));
    for (int i = 0; i < s->shared->slot_count; i++)
        if (&s->shared->slots[i] != slot)
            pi_bell_ring(s->shared->slots[i].bell_fd);
}

static void has_ended(struct pi_forked *f)
{
    struct supervised *v = PI_CONTAINER_OF(f, struct supervised, process);
    log_end(v);
    v->lives = false;
    v->all->living--;
    clear_slot(v->all->server, v->slot);
    plan_restart(v, atomic_load(&v->slot->ended) && !pi_forked_failed(f));
    pi_ready(v->all->root, 0);
}

static void start(struct supervised *v)
{
    atomic_store(&v->slot->ended, false);
    pid_t pid = pi_forked_start(&v->process, has_ended);
    if (pid == 0)
        be_worker(v);
    v->born_ns = pi_clock_ns();
    v->killed = false;
    if (pid > 0) {
        v->lives = true;
        v->all->living++;
        return;
    }
    pier_log(PIER_LOG_WARN, "a worker could not be started", pier_str("error", pier_error()));
    plan_restart(v, false);
    if (v->early_ends == 1)
        plan_restart(v, false); /* not at once */
}

/* When the next one is due; 0: none is. */
static int64_t start_those_due(struct prefork *all)
{
    int64_t next = 0;
    for (int i = 0; i < all->count; i++) {
        struct supervised *v = &all->workers[i];
        if (!v->lives && v->due_ns <= pi_clock_ns())
            start(v);
        if (!v->lives && (next == 0 || v->due_ns < next))
            next = v->due_ns;
    }
    return next;
}

/* All accept, but for those that have died meanwhile. */
static void say_ready(struct prefork *all)
{
    int accepting = 0, waiting = 0;
    for (int i = 0; i < all->count; i++) {
        bool accepts = atomic_load(&all->workers[i].slot->accepts);
        accepting += accepts;
        waiting += !accepts && all->workers[i].early_ends == 0;
    }
    if (all->is_ready || accepting == 0 || waiting > 0)
        return;
    all->is_ready = true;
    pi_notify("READY=1");
}

static void heed_bell(struct pi_bell *bell)
{
    struct prefork *all = PI_CONTAINER_OF(bell, struct prefork, bell);
    pi_ready(all->root, 0);
}

static int await(struct prefork *all, int64_t until_ns, const char *what, bool cancellable)
{
    all->root->waits_for = what;
    return pi_park(all->root, cancellable ? pi_deadline(all->root, until_ns) : until_ns,
                   cancellable);
}

/* 0, or the code of its cancellation. */
static int supervise(struct prefork *all)
{
    struct pi_shared *shared = all->server->shared;
    int rc = 0;
    while (rc == 0 && !atomic_load(&shared->stop)) {
        int64_t next = start_those_due(all);
        say_ready(all);
        rc = await(all, next, "workers", true);
        if (rc == -ETIMEDOUT)
            rc = pi_cancel_flag(all->root);
    }
    return rc;
}

/* ---- stopping ---- */

static void tell(struct prefork *all, bool abandoned)
{
    struct pi_shared *shared = all->server->shared;
    if (abandoned)
        atomic_store(&shared->abandoned, true);
    atomic_store(&shared->stop, true);
    for (int i = 0; i < all->count; i++)
        pi_bell_ring(shared->slots[i].bell_fd);
}

static bool anyone_accepts(const struct prefork *all)
{
    for (int i = 0; i < all->count; i++)
        if (all->workers[i].lives && atomic_load(&all->workers[i].slot->accepts))
            return true;
    return false;
}

/* Until some worker has emptied the backlog and none accepts any more. Where all have died a new
 * one does it. */
static int await_backlog(struct prefork *all, int64_t until_ns)
{
    const struct pi_shared *shared = all->server->shared;
    int rc = 0, tries = 0;
    while (rc == 0 && (anyone_accepts(all) || !atomic_load(&shared->drained))) {
        if (all->living == 0 && tries++ < LAST_TRIES)
            start(&all->workers[0]);
        if (all->living == 0)
            break;
        rc = await(all, until_ns, "the backlog", true);
    }
    return rc;
}

static int await_workers(struct prefork *all, int64_t until_ns, bool cancellable)
{
    int rc = 0;
    while (rc >= 0 && all->living > 0)
        rc = await(all, until_ns, "workers", cancellable);
    return rc;
}

static void kill_workers(struct prefork *all)
{
    for (int i = 0; i < all->count; i++) {
        struct supervised *v = &all->workers[i];
        if (!v->lives)
            continue;
        v->killed = true;
        pi_forked_signal(&v->process, SIGKILL);
    }
}

/* The workers have the grace and cancel what is left then by themselves. */
static void stop(struct prefork *all, int rc)
{
    struct pier_server *s = all->server;
    pi_notify("STOPPING=1");
    int64_t until = pi_grace_end(s);
    int64_t last = until ? until + KILL_MS * PIER_MILLISECOND : 0;
    tell(all, rc < 0);
    if (rc == 0)
        rc = await_backlog(all, until);
    pi_server_close_listeners(s);
    if (rc == 0)
        rc = await_workers(all, last, true);
    else if (rc == -ETIMEDOUT && pi_cancel_flag(all->root) == 0)
        rc = await_workers(all, last, true);
    if (rc < 0 && pi_cancel_flag(all->root) < 0) {
        tell(all, true);
        rc = await_workers(all, pier_after(KILL_MS * PIER_MILLISECOND), false);
    }
    if (rc < 0)
        kill_workers(all);
    await_workers(all, 0, false);
}

/* ---- its life ---- */

static int open_all(struct prefork *all)
{
    struct pier_server *s = all->server;
    if (!pi_loop_open(&all->scope, &io_epoll, NULL))
        return pier_error_code();
    all->workers = pi_zalloc((size_t)all->count * sizeof *all->workers);
    if (!all->workers)
        return pi_fail(-ENOMEM, "server");
    for (int i = 0; i < all->count; i++) {
        all->workers[i].all = all;
        all->workers[i].slot = &s->shared->slots[i];
    }
    int rc = pi_bell_open(&all->bell, s->shared->boss_fd, heed_bell);
    return rc < 0 ? pi_fail(rc, "server") : 0;
}

int pi_prefork_run(struct pier_server *s)
{
    struct prefork all = { .server = s, .root = pi_task_self(), .count = s->shared->slot_count };
    pier_scope_open(&all.scope, 0);
    int rc = open_all(&all);
    if (rc == 0) {
        rc = supervise(&all);
        stop(&all, rc);
    }
    pi_bell_close(&all.bell);
    int joined = pier_scope_join(&all.scope);
    pi_free(all.workers);
    return rc < 0 ? rc : joined;
}
