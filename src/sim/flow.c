/* SPDX-License-Identifier: MIT */
/*
 * sim/flow.c - what is on its way between two sockets: the handshake, segments, ends and resets.
 *
 * TCP as its users see it (RFC 9293): bytes arrive in order, or the connection ends. A segment that
 * is lost, or meets a cut or a silent host, is sent again after 200 ms, 400 ms and so on, and what
 * is behind it waits; after the user time-out the connection is dead. A reset is not repeated.
 */
#define _GNU_SOURCE
#include "sim/sim.h"

#include "base/assert.h"

#include <string.h>

enum {
    LATENCY_US = 200,
    JITTER_US = 1000,
    LOCAL_US = 20, /* within a host */
    RETRY_MS = 200,
    RETRY_MOST_S = 120,
    CONNECT_RETRY_S = 1,
    CONNECT_TRIES = 6,    /* 1 + 2 + 4 … = 127 s, tcp(7) */
    USER_TIMEOUT_S = 924, /* of a system that was told nothing: tcp_retries2 */
    NO_HOST_S = 3,        /* until nobody has answered for an address */
    KEEPALIVE_S = 60,
    SEGMENT = 1460,
};

/* ---- delays ---- */

static int64_t or_default(int64_t set, int64_t otherwise)
{
    return set < 0 ? 0 : set ? set : otherwise;
}

/* Mostly within the jitter; one packet in eight may take twice as long, one in 64 four times. */
static int64_t jitter(int64_t most)
{
    struct pi_sim *sim = pi_sim;
    if (pi_sim_is_calm(sim, SIM_LATENCY))
        return 0;
    int shift = 0;
    while (shift < 6 && pi_sim_one_in(&sim->network, 8))
        shift++;
    return pi_sim_range(&sim->network, 0, most) << shift;
}

int64_t pi_sim_latency(const struct pier_sim_host *from, const struct pier_sim_host *to)
{
    return or_default(pi_sim_way(from, to)->link.latency_ns, LATENCY_US * PIER_MICROSECOND);
}

int64_t pi_sim_delay(const struct pier_sim_host *from, const struct pier_sim_host *to)
{
    if (from == to)
        return 1000 + jitter(LOCAL_US * PIER_MICROSECOND);
    int64_t most = or_default(pi_sim_way(from, to)->link.jitter_ns, JITTER_US * PIER_MICROSECOND);
    return pi_sim_latency(from, to) + jitter(most);
}

static int64_t time_on_wire(const struct sim_sock *s, size_t len)
{
    if (s->host == s->other->host)
        return 0;
    int64_t rate = pi_sim_way(s->host, s->other->host)->link.bandwidth;
    return rate > 0 ? (int64_t)len * PIER_SECOND / rate : 0;
}

/* ---- whether anything passes ---- */

bool pi_sim_is_cut(const struct pier_sim_host *from, const struct pier_sim_host *to)
{
    return to->is_down || (from != to && pi_sim_way(from, to)->is_cut);
}

static bool is_lost(const struct pier_sim_host *from, const struct pier_sim_host *to)
{
    struct pi_sim *sim = pi_sim;
    if (pi_sim_is_cut(from, to))
        return true;
    int ppm = from == to ? 0 : pi_sim_way(from, to)->link.loss_ppm;
    return ppm > 0 && !pi_sim_is_calm(sim, SIM_LATENCY) &&
           pi_sim_below(&sim->network, 1000000) < (uint64_t)ppm;
}

static void arm(struct pi_timer *timer, void (*fire)(struct pi_timer *), int64_t when_ns)
{
    timer->fire = fire;
    pi_timer_arm(&pi_sim->timers, timer, when_ns);
}

/* ---- the end of a socket ---- */

void pi_sim_drop_flow(struct sim_sock *s)
{
    while (s->out.first) {
        struct sim_chunk *chunk = s->out.first;
        s->out.first = chunk->next;
        pi_free(chunk);
    }
    s->out.last = NULL;
    s->out.in_flight = 0;
    s->out.stalled = false;
    pi_timer_disarm(&pi_sim->timers, &s->out.timer);
}

void pi_sim_end_sock(struct sim_sock *s, int error)
{
    if (s->is_gone)
        return;
    pi_timer_disarm(&pi_sim->timers, &s->control);
    pi_timer_disarm(&pi_sim->timers, &s->reset);
    pi_sim_drop_flow(s);
    if (s->state == SIM_CONNECTS) {
        s->state = SIM_BOUND; /* it may try again */
        if (s->other)
            pi_sim_end_sock(s->other, 0);
    } else {
        s->is_gone = true;
    }
    if (error)
        s->error = error;
    if (error == -ETIMEDOUT)
        pi_sim_event(SIM_EV_TIMED_OUT, s->host, s->id, "#%d", s->id);
    pi_sim_wake_reader(s);
    pi_sim_wake_writer(s);
    if (s->is_gone && s->other && error == -ETIMEDOUT)
        pi_sim_watch(s->other); /* it was told nothing */
}

/* ---- keepalive ---- */

static void deliver_due(struct pi_timer *timer);

static void arm_flow(struct sim_sock *s)
{
    if (s->out.first && !s->out.stalled)
        arm(&s->out.timer, deliver_due, s->out.first->due_ns);
}

static bool is_cut_off(const struct sim_sock *s)
{
    const struct sim_sock *other = s->other;
    return pi_sim_is_cut(s->host, other->host) || pi_sim_is_cut(other->host, s->host);
}

static void keepalive(struct pi_timer *timer)
{
    struct sim_sock *s = PI_CONTAINER_OF(timer, struct sim_sock, control);
    if (is_cut_off(s))
        pi_sim_end_sock(s, -ETIMEDOUT);
    else if (s->other->is_gone)
        pi_sim_end_sock(s, -ECONNRESET);
}

/* A peer that has no room is asked for it, too. */
static void probe(struct sim_sock *s)
{
    if (s->out.stalled) {
        s->out.stalled = false;
        s->out.first->due_ns = pi_sim->now_ns + RETRY_MS * PIER_MILLISECOND;
        arm_flow(s);
    }
    if (s->no_keepalive || s->control.slot)
        return;
    int64_t when = pi_sim_range(&pi_sim->network, KEEPALIVE_S, 2 * KEEPALIVE_S) * PIER_SECOND;
    arm(&s->control, keepalive, pi_sim->now_ns + when);
}

void pi_sim_watch(struct sim_sock *s)
{
    if (s->state != SIM_CONNECTED || s->is_gone || !s->other || s->is_pair)
        return;
    if (s->other->is_gone || is_cut_off(s))
        probe(s);
    else
        pi_timer_disarm(&pi_sim->timers, &s->control);
}

/* ---- resets ---- */

static void reset_arrives(struct pi_timer *timer)
{
    struct sim_sock *s = PI_CONTAINER_OF(timer, struct sim_sock, reset);
    pi_sim_event(SIM_EV_RESET, s->host, s->id, "#%d", s->id);
    pi_sim_end_sock(s, s->state == SIM_CONNECTS ? -ECONNREFUSED
                       : s->at_end && !s->ends  ? -EPIPE
                                                : -ECONNRESET);
}

bool pi_sim_send_reset(struct sim_sock *from)
{
    struct sim_sock *to = from->other;
    if (!to || to->is_gone || to->reset.slot)
        return true;
    if (is_lost(from->host, to->host)) {
        if (to->state == SIM_CONNECTED)
            probe(to);
        return false;
    }
    arm(&to->reset, reset_arrives, pi_sim->now_ns + pi_sim_delay(from->host, to->host));
    return true;
}

/* ---- delivery ---- */

static bool put_in(struct sim_sock *s, const unsigned char *bytes, size_t len)
{
    if (s->in_start > 0 && s->in_start + s->in_len + len > s->in_cap) {
        memmove(s->in, s->in + s->in_start, s->in_len);
        s->in_start = 0;
    }
    if (s->in_start + s->in_len + len > s->in_cap) {
        size_t cap = 2 * (s->in_len + len);
        pi_sim->quiet++;
        unsigned char *more = pi_realloc(s->in, cap);
        pi_sim->quiet--;
        if (!more)
            return false;
        s->in = more;
        s->in_cap = cap;
    }
    memcpy(s->in + s->in_start + s->in_len, bytes, len);
    s->in_len += len;
    return true;
}

static void pop(struct sim_sock *s)
{
    struct sim_chunk *chunk = s->out.first;
    s->out.first = chunk->next;
    if (!chunk->next)
        s->out.last = NULL;
    pi_free(chunk);
}

/* Sent again later, until the user time-out has passed. */
static void lose(struct sim_sock *s, struct sim_chunk *chunk)
{
    int64_t now = pi_sim->now_ns;
    int64_t most = s->user_timeout_ns ? s->user_timeout_ns : USER_TIMEOUT_S * PIER_SECOND;
    if (!chunk->first_lost_ns)
        chunk->first_lost_ns = now;
    pi_sim_event(SIM_EV_LOST, s->host, (int64_t)chunk->len, "#%d: %zu bytes, try %d", s->id,
                 chunk->len, chunk->tries + 1);
    if (now - chunk->first_lost_ns >= most) {
        pi_sim_end_sock(s, -ETIMEDOUT);
        return;
    }
    int64_t wait = RETRY_MS * PIER_MILLISECOND << (chunk->tries < 10 ? chunk->tries : 10);
    chunk->tries++;
    chunk->due_ns = now + (wait < RETRY_MOST_S * PIER_SECOND ? wait : RETRY_MOST_S * PIER_SECOND);
    arm_flow(s);
}

static void enqueue(struct sim_sock *listener, struct sim_sock *c)
{
    listener->queued++;
    if (listener->queue_first)
        listener->queue_last->next_queued = c;
    else
        listener->queue_first = c;
    listener->queue_last = c;
    pi_sim_wake_reader(listener);
}

/* Into the queue of its listener. */
static bool deliver_open(struct sim_sock *s, struct sim_chunk *chunk)
{
    struct sim_sock *to = s->other, *l = to->listener;
    if (pi_sim_is_full(l)) {
        lose(s, chunk);
        return false;
    }
    enqueue(l, to);
    return true;
}

static bool deliver_data(struct sim_sock *s, struct sim_chunk *chunk)
{
    struct sim_sock *to = s->other;
    size_t room = to->window > to->in_len ? to->window - to->in_len : 0;
    size_t n = chunk->len - chunk->taken < room ? chunk->len - chunk->taken : room;
    if (n > 0 && !put_in(to, chunk->bytes + chunk->taken, n)) {
        lose(s, chunk);
        return false;
    }
    chunk->taken += n;
    s->out.in_flight -= n;
    if (n > 0) {
        pi_sim_event(SIM_EV_ARRIVE, to->host, (int64_t)n, "#%d: %zu bytes of #%d", to->id, n,
                     s->id);
        pi_sim_wake_reader(to);
        if (3 * s->out.in_flight <= 2 * s->send_room) /* as the kernel's sk_stream_is_writeable() */
            pi_sim_wake_writer(s);
    }
    s->out.stalled = chunk->taken < chunk->len;
    return !s->out.stalled;
}

static void get_end(struct sim_sock *s)
{
    struct sim_sock *to = s->other;
    pi_sim_event(SIM_EV_END, to->host, to->id, "#%d: end of #%d", to->id, s->id);
    to->at_end = true;
    pi_sim_wake_reader(to);
}

static bool is_for_nobody(const struct sim_sock *to, const struct sim_chunk *chunk)
{
    const struct sim_sock *l = to->listener;
    bool is_closed = chunk->kind == SIM_OPEN ? l->state != SIM_LISTENS || !l->is_open
                                             : chunk->kind == SIM_DATA && to->was_closed;
    return to->is_gone || is_closed;
}

/* Whether the chunk has arrived; else the flow waits, or is no more. */
static bool deliver(struct sim_sock *s, struct sim_chunk *chunk)
{
    struct sim_sock *to = s->other;
    if (is_lost(s->host, to->host)) {
        lose(s, chunk);
        return false;
    }
    if (is_for_nobody(to, chunk)) {
        bool is_told = pi_sim_send_reset(to);
        pi_sim_end_sock(to, 0);
        if (is_told)
            pi_sim_drop_flow(s);
        else
            lose(s, chunk);
        return false;
    }
    chunk->first_lost_ns = 0;
    switch (chunk->kind) {
    case SIM_OPEN:
        return deliver_open(s, chunk);
    case SIM_DATA:
        return deliver_data(s, chunk);
    default:
        get_end(s);
        return true;
    }
}

static void deliver_due(struct pi_timer *timer)
{
    struct sim_sock *s = PI_CONTAINER_OF(timer, struct sim_sock, out.timer);
    while (s->out.first && s->out.first->due_ns <= pi_sim->now_ns) {
        if (!deliver(s, s->out.first))
            return;
        pop(s);
    }
    arm_flow(s);
}

/* Within a machine what is sent is there: unix(7). */
static int pass_over(struct sim_sock *s, enum sim_chunk_kind kind, const void *bytes, size_t len)
{
    struct sim_sock *to = s->other;
    if (kind == SIM_FIN) {
        s->ends = true;
        get_end(s);
        return 0;
    }
    if (!put_in(to, bytes, len))
        return -ENOMEM;
    pi_sim_event(SIM_EV_ARRIVE, to->host, (int64_t)len, "#%d: %zu bytes of #%d", to->id, len,
                 s->id);
    pi_sim_wake_reader(to);
    return 0;
}

int pi_sim_send(struct sim_sock *s, enum sim_chunk_kind kind, const void *bytes, size_t len)
{
    struct pi_sim *sim = pi_sim;
    if (s->is_pair)
        return pass_over(s, kind, bytes, len);
    sim->quiet++;
    struct sim_chunk *chunk = pi_zalloc(sizeof *chunk + len);
    sim->quiet--;
    if (!chunk)
        return -ENOMEM;
    chunk->kind = kind;
    chunk->len = len;
    if (len > 0)
        memcpy(chunk->bytes, bytes, len);
    int64_t due = sim->now_ns + pi_sim_delay(s->host, s->other->host);
    if (due < s->out.last_due_ns)
        due = s->out.last_due_ns;
    chunk->due_ns = s->out.last_due_ns = due + time_on_wire(s, len);
    s->ends |= kind == SIM_FIN;
    s->out.in_flight += len;
    if (s->out.last)
        s->out.last->next = chunk;
    else
        s->out.first = chunk;
    s->out.last = chunk;
    if (!s->out.timer.slot)
        arm_flow(s);
    return 0;
}

/* A window that has opened by a few bytes is not told (RFC 9293, 3.8.6.2.2). */
static bool is_silly(const struct sim_sock *s)
{
    size_t room = s->window - s->in_len;
    return s->in_len > 0 && room < SEGMENT && room < s->window / 2;
}

void pi_sim_has_room(struct sim_sock *receiver)
{
    struct sim_sock *s = receiver->other;
    if (s && s->is_pair)
        pi_sim_wake_writer(s);
    if (!s || !s->out.stalled || is_silly(receiver))
        return;
    s->out.stalled = false;
    s->out.first->due_ns = pi_sim->now_ns + pi_sim_delay(receiver->host, s->host);
    arm_flow(s);
}

/* ---- the handshake ---- */

static bool same_end(const struct sim_addr *bound, const struct sim_addr *to)
{
    if (bound->any.sa_family != to->any.sa_family)
        return false;
    if (bound->any.sa_family == AF_INET)
        return bound->in.sin_port == to->in.sin_port &&
               (bound->in.sin_addr.s_addr == htonl(INADDR_ANY) ||
                bound->in.sin_addr.s_addr == to->in.sin_addr.s_addr);
    return bound->in6.sin6_port == to->in6.sin6_port &&
           (IN6_IS_ADDR_UNSPECIFIED(&bound->in6.sin6_addr) ||
            memcmp(&bound->in6.sin6_addr, &to->in6.sin6_addr, sizeof to->in6.sin6_addr) == 0);
}

static struct sim_sock *find_listener(struct pier_sim_host *host, const struct sim_addr *to)
{
    for (struct sim_sock *s = host->bound; s; s = s->next_bound)
        if (s->state == SIM_LISTENS && same_end(&s->local, to))
            return s;
    return NULL;
}

/* The server's end, which nobody has yet. */
static struct sim_sock *make_other_end(struct sim_sock *s, struct sim_sock *listener)
{
    struct sim_sock *c = pi_sim_sock_new(listener->host, s->family);
    if (!c)
        return NULL;
    c->is_open = false;
    c->state = SIM_CONNECTED;
    c->local = s->peer;
    c->peer = s->local;
    c->no_keepalive = listener->no_keepalive;
    c->user_timeout_ns = listener->user_timeout_ns;
    if (listener->has_window)
        c->window = listener->window;
    if (listener->has_send_room)
        c->send_room = listener->send_room;
    c->listener = listener;
    c->other = s;
    s->other = c;
    return c;
}

static void try_connect(struct pi_timer *timer);

static void is_given_up(struct pi_timer *timer)
{
    pi_sim_end_sock(PI_CONTAINER_OF(timer, struct sim_sock, control), -ETIMEDOUT);
}

/* The last try is waited for, too. */
static void try_again(struct sim_sock *s)
{
    pi_sim_event(SIM_EV_LOST, s->host, s->tries, "#%d: connect, try %d", s->id, s->tries + 1);
    arm(&s->control, s->tries < CONNECT_TRIES ? try_connect : is_given_up,
        pi_sim->now_ns + (CONNECT_RETRY_S * PIER_SECOND << s->tries));
    s->tries++;
}

static void is_refused(struct pi_timer *timer)
{
    struct sim_sock *s = PI_CONTAINER_OF(timer, struct sim_sock, control);
    char text[128];
    pi_sim_event(SIM_EV_REFUSED, s->host, s->id, "#%d by %s", s->id,
                 pi_sim_addr_text(text, &s->peer));
    pi_sim_end_sock(s, -ECONNREFUSED);
}

static void is_answered(struct pi_timer *timer)
{
    struct sim_sock *s = PI_CONTAINER_OF(timer, struct sim_sock, control);
    struct sim_sock *other = s->other;
    if (is_lost(other->host, s->host)) {
        try_again(s);
        return;
    }
    s->state = SIM_CONNECTED;
    pi_sim_event(SIM_EV_CONNECTED, s->host, s->id, "#%d", s->id);
    if (pi_sim_send(s, SIM_OPEN, NULL, 0) < 0)
        pi_sim_end_sock(s, -ENOMEM);
    pi_sim_wake_writer(s);
}

/* The first packet has arrived; there may be an other end already, from a try before. */
static void is_asked(struct pi_timer *timer)
{
    struct sim_sock *s = PI_CONTAINER_OF(timer, struct sim_sock, control);
    struct pier_sim_host *target = pi_sim_host_of(&s->peer, s->host);
    if (!target) {
        pi_sim_end_sock(s, -EHOSTUNREACH);
        return;
    }
    if (is_lost(s->host, target)) {
        try_again(s);
        return;
    }
    struct sim_sock *listener = find_listener(target, &s->peer);
    int64_t back = pi_sim->now_ns + pi_sim_delay(target, s->host);
    if (!listener) {
        if (is_lost(target, s->host))
            try_again(s);
        else
            arm(&s->control, is_refused, back);
        return;
    }
    bool known = s->other && !s->other->is_gone;
    if (!known && (pi_sim_is_full(listener) || !make_other_end(s, listener)))
        try_again(s);
    else
        arm(&s->control, is_answered, back);
}

static void try_connect(struct pi_timer *timer)
{
    struct sim_sock *s = PI_CONTAINER_OF(timer, struct sim_sock, control);
    const struct pier_sim_host *target = pi_sim_host_of(&s->peer, s->host);
    int64_t there = target ? pi_sim_delay(s->host, target) : NO_HOST_S * PIER_SECOND;
    arm(&s->control, is_asked, pi_sim->now_ns + there);
}

static void connect_path(struct sim_sock *s, struct sim_sock *listener)
{
    struct sim_sock *c = make_other_end(s, listener);
    if (!c) {
        s->error = -ENOMEM;
        return;
    }
    s->is_pair = c->is_pair = true; /* nothing of the network's comes between */
    s->state = SIM_CONNECTED;
    enqueue(listener, c);
}

void pi_sim_connect(struct sim_sock *s, const struct sim_addr *to)
{
    if (s->family != AF_UNIX) {
        s->tries = 0;
        try_connect(&s->control);
        return;
    }
    for (struct sim_path *p = s->host->paths; p; p = p->next)
        if (p->sock && p->addr.len == to->len && memcmp(&p->addr.un, &to->un, to->len) == 0)
            connect_path(s, p->sock);
}
