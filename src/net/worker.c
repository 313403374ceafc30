/* SPDX-License-Identifier: MIT */
/*
 * net/worker.c - accepting and serving on one loop.
 *
 * Accepts are armed operations, so that a listener costs no stack. An acceptor pauses when the
 * server is full, or when descriptors, memory or threads run out, and keeps the listener:
 * connections then wait in the backlog. It goes on when a connection has ended, or after a moment.
 */
#define _GNU_SOURCE
#include "net/capture.h"
#include "net/datagram.h"
#include "net/firewall.h"
#include "net/proxy.h"
#include "net/tls.h"

#include "base/assert.h"
#include "task/sockets.h"
#include "task/stack.h"

#include <poll.h>
#include <sched.h>
#include <string.h>

enum {
    RETRY_MS = 100, /* after an accept that failed for want of something */
    TURN_MS = 30,   /* for other processes to take what comes */
    BALANCE_SLACK =
        2,            /* connections above the least loaded worker that are not worth a hand-over */
    LINGER_MS = 1000, /* for a peer that was still sending when its handler ended */
    LINGER_BYTES = 1 << 20,
    GRACE_MS = 10 * 1000,
    KILL_MS = 2 * 1000, /* for cancelled processes to end by themselves */
};

/* ---- one connection ---- */

struct pier_server *pi_server_of(const struct pier_conn *c)
{
    return c->server;
}

void pi_serve_init(struct pier_conn *c, const struct pi_accepted *a, struct pier_server *s)
{
    if (a->conv) {
        pi_conv_attach(c, a, s);
        return;
    }
    pi_conn_init(c, a->fd, pi_transport_of(a->listener->addr.any.sa_family), &a->peer.any);
    pi_conn_timeouts(c, s->opts.read_timeout_ms, s->opts.write_timeout_ms);
    c->is_owned = true;
    c->is_proxied = a->is_proxied;
    c->draining = &s->draining;
    c->server = s;
}

/* Closing with unread input resets the connection, and the reset may overtake the reply: so the end
 * is sent first, and what still comes is read and dropped for a moment. Only where there was
 * something unread. */
static void linger(struct pier_conn *c)
{
    char waste[4096];
    size_t dropped = 0;
    if (c->io.fd < 0 || c->at_end || c->read_error || c->write_error || c->bytes_written == 0 ||
        c->transport->is_datagram)
        return;
    ssize_t n = c->ahead_len > 0 ? 1 : c->transport->read(c, waste, sizeof waste, IO_NOW);
    if (n <= 0 || c->transport->shutdown_write(c) < 0)
        return;
    int64_t until = pier_after(LINGER_MS * PIER_MILLISECOND);
    while (n > 0 && dropped < LINGER_BYTES) {
        dropped += (size_t)n;
        n = c->transport->read(c, waste, sizeof waste, until);
    }
}

static void log_failure(struct pier_conn *c, const struct pi_endpoint *e, int rc)
{
    const char *words = pier_error_code() == rc ? pier_error() : pier_strerror(rc);
    pier_log(PIER_LOG_WARN, "connection failed", pier_str("endpoint", e->text),
             pier_str("peer", pier_peer(c)), pier_str("error", words));
}

/* What the peer does, going away or staying silent, is no more than worth a debug line. */
static bool is_everyday(int rc)
{
    return rc == -ECONNRESET || rc == -EPIPE || rc == -ETIMEDOUT || rc == -ECANCELED;
}

void pi_serve_end(struct pier_conn *c, const struct pi_endpoint *e, int rc)
{
    bool is_news = !is_everyday(rc) && !pi_tls_is_everyday(c);
    if (rc < 0 && (is_news || pier_log_enabled(PIER_LOG_DEBUG)))
        log_failure(c, e, rc);
    linger(c);
    pi_tls_say_goodbye(c);
    pi_conn_fini(c);
    pi_proxy_end(c);
}

int pi_serve_call(struct pier_conn *c, const struct pi_endpoint *e, struct pi_worker *w)
{
    bool is_plain = !pi_url_has_tls(&e->url) || c->transport == &pi_tls;
    int rc = c->is_proxied ? pi_proxy_begin(c) : 0;
    if (rc == 0 && !is_plain) {
        rc = pi_tls_accept(c, w);
        pi_stack_shed(); /* a handshake goes four pages deep */
    }
    return rc == 0 ? e->handler(c, e->arg) : rc;
}

void pi_serve_conn(struct pier_conn *c, const struct pi_accepted *a, struct pi_worker *w)
{
    const struct pi_endpoint *e = a->listener->endpoint;
    pi_captured_begin(c, w->server->opts.capture, a->conv ? &a->listener->addr.any : NULL);
    pi_serve_end(c, e, pi_serve_call(c, e, w));
}

/* ---- tasks ---- */

struct conn_start {
    struct pi_accepted accepted;
    struct pi_worker *worker;
};

void pi_conn_link(struct pi_worker *w, struct pier_conn *c)
{
    c->next = w->conns;
    if (c->next)
        c->next->prev = c;
    w->conns = c;
}

void pi_conn_unlink(struct pi_worker *w, struct pier_conn *c)
{
    if (c->prev)
        c->prev->next = c->next;
    else
        w->conns = c->next;
    if (c->next)
        c->next->prev = c->prev;
}

/* A place is free: for acceptors that wait for one, and for a worker that waits for its last
 * connection. */
void pi_worker_leave(struct pi_worker *w, uint64_t who)
{
    struct pier_server *s = w->server;
    pi_firewall_leave(s, who);
    atomic_fetch_sub(&w->load, 1);
    pi_place_give(w);
    pi_place_tell(w);
    if (atomic_load(&s->paused) > 0 || atomic_load(&s->stop_requested))
        pi_server_nudge(s);
}

static int conn_main(void *arg)
{
    struct conn_start *start = arg;
    struct pi_worker *w = start->worker;
    struct pier_conn c;
    pi_serve_init(&c, &start->accepted, w->server);
    pi_conn_link(w, &c);
    pi_serve_conn(&c, &start->accepted, w);
    pi_conn_unlink(w, &c);
    pi_worker_leave(w, start->accepted.who);
    return 0;
}

/* ---- hand-over to another worker ---- */

struct handover {
    struct pi_msg msg;
    struct conn_start start;
};

static int start_task(struct pi_worker *w, const struct pi_accepted *a)
{
    const struct pi_endpoint *e = a->listener->endpoint;
    if (e->idle_ns > 0 || e->hello_ns > 0)
        return pi_idle_start(w, a);
    struct conn_start start = { *a, w };
    return pi_spawn_copy(&w->scope, e->text, conn_main, &start, sizeof start);
}

static void drop(struct pi_worker *w, const struct pi_accepted *a, int rc)
{
    if (rc != -ECANCELED)
        pier_log(PIER_LOG_WARN, "connection dropped", pier_str("endpoint", a->listener->url),
                 pier_str("error", pier_strerror(rc)));
    io_sockets()->close(a->fd);
    pi_worker_leave(w, a->who);
}

static void take_over(struct pi_msg *msg)
{
    struct handover *h = PI_CONTAINER_OF(msg, struct handover, msg);
    struct pi_worker *w = h->start.worker;
    /* Without memory for a task the connection is closed: it left its acceptor, which would have
     * kept it. */
    int rc = w->scope.cancelled ? -ECANCELED : start_task(w, &h->start.accepted);
    if (rc < 0)
        drop(w, &h->start.accepted, rc);
    pi_free(h);
}

static struct pi_worker *least_loaded(struct pi_worker *own)
{
    struct pier_server *s = own->server;
    struct pi_worker *best = own;
    int least = atomic_load_explicit(&own->load, memory_order_relaxed) - BALANCE_SLACK;
    for (int i = 0; i < s->worker_count; i++) {
        int load = atomic_load_explicit(&s->workers[i].load, memory_order_relaxed);
        if (load < least) {
            least = load;
            best = &s->workers[i];
        }
    }
    return best;
}

/* Under the lock, since a worker without connections may end at any time. */
static int hand_over(struct pi_worker *to, const struct pi_accepted *a)
{
    struct pier_server *s = to->server;
    struct handover *h = pi_alloc(sizeof *h);
    if (!h)
        return -ENOMEM;
    *h = (struct handover){ .msg.run = take_over, .start = { *a, to } };
    pthread_mutex_lock(&s->lock);
    bool is_there = to->thread != NULL;
    if (is_there) {
        atomic_fetch_add(&to->load, 1);
        pi_thread_post(to->thread, &h->msg);
    }
    pthread_mutex_unlock(&s->lock);
    if (!is_there)
        pi_free(h);
    return is_there ? 0 : -ESRCH;
}

/* ---- accepting ---- */

static void arm(struct pi_acceptor *ac);
static void go_on(struct pi_acceptor *ac);

static void pause_accept(struct pi_acceptor *ac, bool for_a_while)
{
    if (!ac->paused) {
        ac->paused = true;
        atomic_fetch_add(&ac->worker->server->paused, 1);
    }
    if (for_a_while)
        pi_timer_arm(&ac->worker->thread->loop->timers, &ac->retry,
                     pier_after(RETRY_MS * PIER_MILLISECOND));
    else
        pi_place_await(ac->worker);
}

static int start_on_some_loop(struct pi_worker *w, const struct pi_accepted *a)
{
    struct pi_worker *to = w->stopping || a->conv ? w : least_loaded(w);
    if (to != w && hand_over(to, a) == 0)
        return 0;
    atomic_fetch_add(&w->load, 1);
    int rc = start_task(w, a);
    if (rc < 0)
        atomic_fetch_sub(&w->load, 1);
    return rc;
}

int pi_serve_start(struct pi_worker *w, const struct pi_accepted *a)
{
    int rc = pi_place_take(w);
    if (rc < 0)
        return rc;
    if (w->server->opts.model == PIER_THREADS)
        rc = pi_conn_thread_start(w, a);
    else if (w->server->opts.model == PIER_PROCESSES)
        rc = pi_conn_process_start(w, a);
    else
        rc = start_on_some_loop(w, a);
    if (rc < 0)
        pi_place_give(w);
    return rc;
}

static void say_why(struct pier_server *s, const struct pi_listener *l, int rc)
{
    if (!pi_may_say(s))
        return;
    if (rc == -EBUSY)
        pier_log(PIER_LOG_WARN, "connection limit reached, new ones wait",
                 pier_str("endpoint", l->url), pier_int("max_conns", pi_max_conns(s)));
    else
        pier_log(PIER_LOG_WARN, "accept failed, trying again", pier_str("endpoint", l->url),
                 pier_str("error", pier_strerror(rc)));
}

static bool has_posts(const struct pier_server *s)
{
    for (int i = 0; i < s->listener_count; i++)
        if (s->listeners[i].endpoint->url.scheme == PI_UDP)
            return true;
    return false;
}

/* A conversation that is idle makes room: one of this worker's, or of each of the others'. */
static void evict_somewhere(struct pi_worker *w)
{
    struct pier_server *s = w->server;
    if (pi_posts_evict(w))
        return;
    for (int i = 0; s->shared && i < s->shared->slot_count; i++) {
        struct pi_slot *slot = &s->shared->slots[i];
        if (slot == w->slot)
            continue;
        atomic_store(&slot->must_evict, true);
        pi_bell_ring(slot->bell_fd);
    }
    for (int i = 0; !s->shared && i < s->worker_count; i++)
        if (&s->workers[i] != w)
            atomic_store(&s->workers[i].must_evict, true);
    if (s->worker_count > 1)
        pi_server_nudge(s);
}

/* Conversations leave by being silent for long, and who has no connection at all may have begun
 * them all: so it is them who make room for connections. Whether they can. */
static bool ask_for_place(struct pi_acceptor *ac)
{
    int64_t now = pi_clock_ns();
    if (!has_posts(ac->worker->server))
        return false;
    if (ac->asked_ns && now - ac->asked_ns < RETRY_MS / 2 * PIER_MILLISECOND)
        return true;
    ac->asked_ns = now;
    evict_somewhere(ac->worker);
    return true;
}

/* Whether pending must be left to the worker's own task: a process begins on the thread's own
 * stack, not on the poller's. */
static bool leave_to_root(struct pi_acceptor *ac)
{
    struct pi_worker *w = ac->worker;
    if (w->server->opts.model != PIER_PROCESSES || pi_task_self() == w->root)
        return false;
    ac->is_left = true;
    pi_ready(w->root, 0);
    return true;
}

/* Starts the pending connection; whether the acceptor may go on. */
static bool settle_pending(struct pi_acceptor *ac)
{
    struct pi_accepted *a = &ac->pending;
    if (a->fd < 0)
        return true;
    if (leave_to_root(ac))
        return false;
    int rc = pi_serve_start(ac->worker, a);
    if (rc == 0) {
        a->fd = -1;
        ac->asked_ns = 0;
        return true;
    }
    say_why(ac->worker->server, ac->listener, rc);
    pause_accept(ac, rc != -EBUSY);
    if (rc == -EBUSY && ask_for_place(ac))
        pause_accept(ac, true); /* somebody else may be faster: then it asks again */
    /* The last connection may have ended between the count and the pause. */
    if (rc == -EBUSY && pi_conns(ac->worker->server) < pi_max_conns(ac->worker->server))
        pi_server_nudge(ac->worker->server);
    return false;
}

static bool is_passing(int rc)
{
    switch (rc) {
    case -ECONNABORTED:
    case -EPROTO:
    case -ENETDOWN:
    case -EHOSTDOWN:
    case -EHOSTUNREACH:
    case -ENETUNREACH:
    case -ENONET:
        return true; /* accept(2): of the connection, not of the listener */
    default:
        return false;
    }
}

/* Lets it in, or turns it away: then nothing is pending. */
static void keep(struct pi_acceptor *ac, int fd)
{
    struct pi_accepted *a = &ac->pending;
    struct pier_server *s = ac->worker->server;
    if (ac->addr.any.sa_family == AF_INET || ac->addr.any.sa_family == AF_INET6)
        memcpy(&a->peer, &ac->addr, sizeof a->peer);
    else
        a->peer.any.sa_family = AF_UNIX;
    a->who = 0;
    a->is_proxied = pi_proxies_have(s, &a->peer.any);
    /* A proxy has as many connections as all of its clients, who are asked about themselves. */
    if (a->is_proxied ? pi_firewall_check(s, &a->peer.any)
                      : pi_firewall_enter(s, &a->peer.any, &a->who))
        a->fd = fd;
    else
        pi_firewall_turn_away(fd);
}

/* Takes what accept returned; whether to go on accepting. */
static bool take(struct pi_acceptor *ac, ssize_t result)
{
    if (result >= 0) {
        keep(ac, (int)result);
        return settle_pending(ac);
    }
    if (is_passing((int)result))
        return true;
    if (result != -ECANCELED) {
        say_why(ac->worker->server, ac->listener, (int)result);
        pause_accept(ac, true);
    }
    return false;
}

static void accepted(struct io_op *op)
{
    struct pi_acceptor *ac = PI_CONTAINER_OF(op, struct pi_acceptor, op);
    ac->armed = false;
    if (take(ac, op->result))
        go_on(ac);
}

static void prepare(struct pi_acceptor *ac)
{
    ac->addr.any.sa_family = AF_UNSPEC;
    ac->op = (struct io_op){ .code = IO_ACCEPT,
                             .fd = &ac->io,
                             .buf = &ac->addr.any,
                             .addr_len = sizeof ac->addr.un,
                             .done = accepted };
}

/* Out of the queue of those whom the kernel wakes, for a moment. */
static void yield(struct pi_acceptor *ac)
{
    struct pi_worker *w = ac->worker;
    io_detach(&ac->io);
    ac->io.may_read = false; /* it will be told again */
    ac->yields = true;
    atomic_store(&w->slot->yields, true);
    pi_timer_arm(&w->thread->loop->timers, &ac->retry, pier_after(TURN_MS * PIER_MILLISECOND));
    pi_yield_tell(w);
}

static bool has_backlog(struct pi_acceptor *ac)
{
    struct io_op op = { .code = IO_POLL, .fd = &ac->io, .len = POLLIN };
    return io_try(&op) > 0;
}

/* Accepts the next one, unless it is the others' turn. */
static void go_on(struct pi_acceptor *ac)
{
    bool must_yield = pi_must_yield(ac->worker);
    ac->hurries = must_yield && ac->hurries && has_backlog(ac);
    if (must_yield && !ac->hurries)
        yield(ac);
    else
        arm(ac);
}

static void end_yield(struct pi_acceptor *ac)
{
    struct pi_worker *w = ac->worker;
    bool any = false;
    ac->yields = false;
    pi_timer_disarm(&w->thread->loop->timers, &ac->retry);
    for (int i = 0; i < w->server->listener_count; i++)
        any |= w->acceptors[i].yields;
    atomic_store(&w->slot->yields, any);
    if (!w->stopping)
        arm(ac);
}

/* What the others have not taken they cannot: their handlers hold their loops, or they lack
 * something. */
static void turn_is_over(struct pi_acceptor *ac)
{
    ac->hurries = has_backlog(ac);
    end_yield(ac);
}

static void arm(struct pi_acceptor *ac)
{
    prepare(ac);
    int rc = io_arm(&ac->op);
    ac->armed = rc == 0;
    if (rc < 0) {
        say_why(ac->worker->server, ac->listener, rc);
        pause_accept(ac, true);
    }
}

static void resume(struct pi_acceptor *ac)
{
    if (ac->yields && !pi_must_yield(ac->worker))
        end_yield(ac);
    if (!ac->paused)
        return;
    ac->paused = false;
    atomic_fetch_sub(&ac->worker->server->paused, 1);
    if (!settle_pending(ac))
        return;
    if (!ac->worker->stopping && !ac->armed)
        go_on(ac);
}

static void retry(struct pi_timer *timer)
{
    struct pi_acceptor *ac = PI_CONTAINER_OF(timer, struct pi_acceptor, retry);
    if (ac->yields)
        turn_is_over(ac);
    else
        resume(ac);
}

/* Starts what was left to the worker's own task. */
static void settle_left(struct pi_worker *w)
{
    for (int i = 0; i < w->server->listener_count; i++) {
        struct pi_acceptor *ac = &w->acceptors[i];
        if (!ac->is_left)
            continue;
        ac->is_left = false;
        if (settle_pending(ac))
            arm(ac);
    }
}

/* ---- stopping ---- */

void pi_worker_look(struct pi_worker *w)
{
    bool must_evict = atomic_exchange(w->slot ? &w->slot->must_evict : &w->must_evict, false);
    if (must_evict && !w->stopping)
        pi_posts_evict(w);
    for (int i = 0; i < w->server->listener_count && !w->stopping; i++)
        resume(&w->acceptors[i]);
    pi_ready(w->root, 0);
}

static void run_nudge(struct pi_msg *msg)
{
    struct pi_worker *w = PI_CONTAINER_OF(msg, struct pi_worker, nudge);
    atomic_store(&w->nudged, false);
    pi_worker_look(w);
}

/* Another process has something to say. */
static void heed_bell(struct pi_bell *bell)
{
    struct pi_worker *w = PI_CONTAINER_OF(bell, struct pi_worker, bell);
    struct pier_server *s = w->server;
    if (atomic_load(&s->shared->abandoned))
        atomic_store(&s->abandoned, true);
    if (atomic_load(&s->shared->stop))
        atomic_store(&s->stop_requested, true);
    pi_worker_look(w);
}

/* The caller keeps the worker from ending: by the lock, or by being counted among the stoppers. */
void pi_worker_nudge(struct pi_worker *w)
{
    struct pi_thread *th = atomic_load(&w->thread);
    if (th && !atomic_exchange(&w->nudged, true))
        pi_thread_post(th, &w->nudge);
}

void pi_server_nudge(struct pier_server *s)
{
    pthread_mutex_lock(&s->lock);
    for (int i = 0; i < s->worker_count; i++)
        pi_worker_nudge(&s->workers[i]);
    pthread_mutex_unlock(&s->lock);
}

/* The worker's task waits for a nudge, at most until then; 0, or the code that ends its waiting. */
static int await_nudge(struct pi_worker *w, int64_t until_ns, const char *what)
{
    if (w->stopping && atomic_load(&w->server->abandoned))
        return -ECANCELED;
    w->root->waits_for = what;
    return pi_park(w->root, pi_deadline(w->root, until_ns), true);
}

/* Cancelled: the other workers are, too, and have no grace. */
static void abandon(struct pier_server *s)
{
    atomic_store(&s->abandoned, true);
    atomic_store(&s->stop_requested, true);
    pi_server_nudge(s);
}

/* From now on reads that would wait return 0; those that wait look up and find it so. */
static void begin_drain(struct pi_worker *w)
{
    struct pier_server *s = w->server;
    atomic_store(&s->draining, true);
    for (struct pier_conn *c = w->conns, *next; c; c = next) {
        next = c->next;
        io_interrupt_read(&c->io);
        if (c->may_idle)
            pi_idle_drain(c);
    }
    if (s->opts.model == PIER_THREADS)
        pi_conn_threads_wake(s);
    else if (s->opts.model == PIER_PROCESSES)
        pi_conn_processes_tell(s);
}

/* As await_nudge(), and looks again after a moment: what is missing may come back without one. */
static int await_room(struct pi_worker *w, int64_t until_ns)
{
    int64_t soon = pier_after(RETRY_MS * PIER_MILLISECOND);
    bool is_last = until_ns && until_ns <= soon;
    int rc = await_nudge(w, is_last ? until_ns : soon, "room for the backlog");
    return rc == -ETIMEDOUT && !is_last ? pi_cancel_flag(w->root) : rc;
}

/* Accepts one: whether there may be more. */
static bool accept_one(struct pi_acceptor *ac, bool *lacks)
{
    prepare(ac);
    ssize_t n = io_try(&ac->op);
    if (n >= 0)
        keep(ac, (int)n);
    *lacks = n == -EMFILE || n == -ENFILE || n == -ENOMEM || n == -ENOBUFS;
    return n >= 0 || *lacks || is_passing((int)n);
}

/* Accepts what is in the backlog; with a full server, as places become free. 0, or the code that
 * ended the wait. */
static int empty_backlog(struct pi_acceptor *ac, int64_t until_ns)
{
    struct pi_worker *w = ac->worker;
    bool more = !ac->is_post;
    while (more || ac->pending.fd >= 0) {
        bool lacks = false;
        if (ac->pending.fd < 0)
            more = accept_one(ac, &lacks);
        if (ac->pending.fd >= 0 && pi_serve_start(w, &ac->pending) == 0)
            ac->pending.fd = -1;
        else
            lacks |= ac->pending.fd >= 0;
        if (!lacks)
            continue;
        begin_drain(w); /* idle connections make room */
        int rc = await_room(w, until_ns);
        if (rc < 0)
            return rc;
    }
    return 0;
}

static void close_acceptor(struct pi_acceptor *ac)
{
    struct pi_loop *loop = ac->worker->thread->loop;
    pi_timer_disarm(&loop->timers, &ac->retry);
    if (ac->armed)
        io_disarm(&ac->op);
    if (ac->paused)
        atomic_fetch_sub(&ac->worker->server->paused, 1);
    ac->paused = ac->yields = ac->is_left = false;
}

static void leave_loop(struct pi_acceptor *ac)
{
    struct pi_loop *loop = ac->worker->thread->loop;
    if (ac->pending.fd >= 0) { /* the grace is over */
        io_sockets()->close(ac->pending.fd);
        pi_firewall_leave(ac->worker->server, ac->pending.who);
    }
    ac->pending.fd = -1;
    io_detach(&ac->io);
    pi_timer_unreserve(&loop->timers);
}

/* Once no process accepts any more the supervisor closes the listeners. */
static void say_drained(struct pi_worker *w, int rc)
{
    if (!w->slot)
        return;
    if (rc == 0)
        atomic_store(&w->server->shared->drained, true);
    atomic_store(&w->slot->accepts, false);
    pi_bell_ring(w->server->shared->boss_fd);
}

static int stop_accepting(struct pi_worker *w, int64_t until_ns)
{
    struct pier_server *s = w->server;
    int rc = 0;
    for (int i = 0; i < s->listener_count; i++)
        close_acceptor(&w->acceptors[i]);
    for (int i = 0; i < s->listener_count && rc == 0; i++)
        rc = empty_backlog(&w->acceptors[i], until_ns);
    if (rc == 0)
        rc = pi_posts_drain(w, until_ns);
    for (int i = 0; i < s->listener_count; i++)
        leave_loop(&w->acceptors[i]);
    say_drained(w, rc);
    if (atomic_fetch_sub(&s->open_workers, 1) == 1)
        pi_server_close_listeners(s);
    return rc;
}

static int await_conns(struct pi_worker *w, int64_t until_ns)
{
    /* The runner outwaits the others: it is the one that a cancellation reaches. */
    bool is_runner = w == &w->server->workers[0] && !w->slot;
    const _Atomic int *left = is_runner ? &w->server->conns : &w->load;
    int rc = 0;
    while (rc >= 0 && atomic_load(left) > 0)
        rc = await_nudge(w, until_ns, "the last connections");
    return rc;
}

/* Once it is, nothing is handed to this worker any more, and no nudge is on its way. */
static bool is_empty(struct pi_worker *w)
{
    struct pier_server *s = w->server;
    pthread_mutex_lock(&s->lock);
    bool empty = atomic_load(&w->load) == 0;
    if (empty)
        atomic_store(&w->thread, NULL);
    pthread_mutex_unlock(&s->lock);
    while (empty && atomic_load(&s->stoppers) > 0)
        sched_yield();
    return empty;
}

/* Those that are no tasks of this loop. */
static void cancel_others(struct pier_server *s)
{
    if (s->opts.model == PIER_THREADS)
        pi_conn_threads_cancel(s);
    if (s->opts.model != PIER_PROCESSES)
        return;
    atomic_store(&s->shared->abandoned, true);
    pi_conn_processes_tell(s);
}

/* What has not ended until then (0: it all does) is killed. */
static void await_empty(struct pi_worker *w, int64_t until_ns)
{
    while (!is_empty(w)) {
        w->root->waits_for = "cancelled connections";
        if (pi_park(w->root, until_ns, false) != -ETIMEDOUT)
            continue;
        pi_conn_processes_kill(w->server);
        until_ns = 0;
    }
}

int64_t pi_grace_end(const struct pier_server *s)
{
    int grace_ms = s->opts.grace_ms ? s->opts.grace_ms : GRACE_MS;
    return grace_ms < 0 ? 0 : pier_after(grace_ms * PIER_MILLISECOND);
}

/* Drains: what is queued is accepted, handlers finish within the grace, the rest is cancelled. */
static void stop(struct pi_worker *w)
{
    struct pier_server *s = w->server;
    if (w == &s->workers[0] && s->opts.model != PIER_PREFORK)
        pi_notify("STOPPING=1");
    int64_t until = pi_grace_end(s);
    int rc = stop_accepting(w, until);
    begin_drain(w);
    if (rc == 0)
        rc = await_conns(w, until);
    if (rc < 0) {
        if (pi_cancel_flag(w->root) < 0)
            abandon(s);
        pier_scope_cancel(&w->scope);
        cancel_others(s);
        until = pier_after(KILL_MS * PIER_MILLISECOND);
    }
    await_empty(w, rc < 0 && s->opts.model == PIER_PROCESSES ? until : 0);
}

/* ---- the worker ---- */

/* One that forks has no ring. */
static struct pi_loop *open_loop(struct pi_worker *w)
{
    if (w->server->opts.model == PIER_PROCESSES)
        return pi_loop_open(&w->scope, &io_epoll, NULL);
    return pi_loop_need(&w->scope);
}

static int open_acceptors(struct pi_worker *w)
{
    struct pier_server *s = w->server;
    struct pi_loop *loop = open_loop(w);
    if (!loop)
        return pier_error_code();
    w->acceptors = pi_zalloc((size_t)s->listener_count * sizeof *w->acceptors);
    if (!w->acceptors)
        return pi_fail(-ENOMEM, "accept");
    for (int i = 0; i < s->listener_count; i++) {
        struct pi_acceptor *ac = &w->acceptors[i];
        ac->worker = w;
        ac->listener = &s->listeners[i];
        ac->is_post = ac->listener->endpoint->url.scheme == PI_UDP;
        ac->pending = (struct pi_accepted){ .fd = -1, .listener = ac->listener };
        ac->retry.fire = retry;
        io_fd_init(&ac->io, ac->is_post ? -1 : ac->listener->fd); /* a post takes it away */
        ac->io.exclusive = true;
        if (pi_timer_reserve(&loop->timers) < 0)
            return pi_fail(-ENOMEM, "accept");
    }
    int rc = w->slot ? pi_bell_open(&w->bell, w->bell_fd, heed_bell) : 0;
    return rc < 0 ? pi_fail(rc, "accept") : 0;
}

/* Where workers are processes one that dies is followed by another with its slot, and its sockets.
 */
static bool owns_post(const struct pi_worker *w, int index)
{
    const struct pier_server *s = w->server;
    if (w->slot && s->opts.model == PIER_PREFORK)
        return w->slot == &s->shared->slots[index % s->shared->slot_count];
    const struct pi_worker *owner = &s->workers[index % s->worker_count];
    return w == (atomic_load(&owner->has_failed) ? &s->workers[0] : owner);
}

/* A stream listener is every worker's; the peers of a datagram socket are one's. */
static int begin(struct pi_acceptor *ac, int index)
{
    struct pi_worker *w = ac->worker;
    if (!ac->is_post)
        arm(ac);
    else if (owns_post(w, index))
        return pi_post_open(w, ac->listener);
    return 0;
}

/* Serves the datagram sockets of workers that have failed since it began. */
static int take_posts_over(struct pi_worker *w)
{
    struct pier_server *s = w->server;
    int rc = 0;
    for (int i = 0; i < s->listener_count && rc == 0 && !w->slot; i++)
        if (w->acceptors[i].is_post && owns_post(w, i) && s->listeners[i].fd >= 0)
            rc = pi_post_open(w, &s->listeners[i]);
    return rc;
}

/* Serves until the server stops: 0, or the code that cancelled it. */
static int serve(struct pi_worker *w)
{
    struct pier_server *s = w->server;
    int rc = 0;
    for (int i = 0; i < s->listener_count && rc == 0; i++)
        rc = begin(&w->acceptors[i], i);
    if (rc == 0)
        rc = pi_firewall_watch(w);
    if (w->slot) {
        atomic_store(&w->slot->accepts, true);
        pi_bell_ring(s->shared->boss_fd);
    }
    while (rc == 0 && !atomic_load(&s->stop_requested)) {
        rc = await_nudge(w, 0, "connections");
        if (rc == 0 && w == &s->workers[0])
            rc = take_posts_over(w);
        settle_left(w);
        pi_posts_start(w);
    }
    if (rc < 0)
        abandon(s);
    return rc;
}

void pi_worker_open(struct pi_worker *w)
{
    w->root = pi_task_self();
    w->nudge.run = run_nudge;
    pier_scope_open(&w->scope, 0);
    w->open_rc = open_acceptors(w);
    w->is_open = true;
}

int pi_worker_run(struct pi_worker *w)
{
    struct pier_server *s = w->server;
    struct pi_task *self = pi_task_self();
    if (!w->is_open)
        pi_worker_open(w);
    int rc = w->open_rc;
    if (rc == 0) {
        atomic_store(&w->thread, self->thread);
        rc = serve(w);
        w->stopping = true;
        pi_firewall_unwatch(w);
        stop(w);
        pi_thread_drain(self->thread); /* a nudge on its way */
        pi_posts_close(w);
    } else {
        atomic_store(&w->has_failed, true);
        if (atomic_fetch_sub(&s->open_workers, 1) == 1)
            pi_server_close_listeners(s);
        pi_server_nudge(s);
    }
    pi_bell_close(&w->bell);
    int joined = pier_scope_join(&w->scope);
    pi_posts_free(w);
    pi_tls_worker_close(w);
    pi_free(w->acceptors);
    w->acceptors = NULL;
    return rc < 0 ? rc : joined;
}
