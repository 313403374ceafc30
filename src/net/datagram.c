/* SPDX-License-Identifier: MIT */
/*
 * net/datagram.c - one socket, many peers: receives in batches, hands each datagram to its peer's
 * conversation, gathers the replies of a turn of the loop and sends them together.
 *
 * Two tasks belong to a post. The pump receives into slots and queues references to them; handlers
 * that read at once copy straight from there, and only what is still unread when the pump needs the
 * slots again moves to the heap. The flusher becomes ready with the first reply and so runs after
 * the handlers that were ready with it. Invariants: a conversation is in the table exactly as long
 * as new datagrams are its own; a slot is in at most one queue; what waits is bounded by datagrams
 * a conversation and bytes a post, and the newest is dropped. With threads the post's lock guards
 * table and queues, and nothing stays in slots.
 */
#define _GNU_SOURCE
#include "net/datagram.h"

#include "base/assert.h"
#include "base/siphash.h"
#include "net/firewall.h"
#include "net/udp.h"
#include "task/sockets.h"

#include <unistd.h>

enum {
    SLOTS = 64,
    SLOT_BYTES = 65536,     /* of address space: only what datagrams reach is memory */
    QUEUE_MAX = 256,        /* datagrams of one conversation */
    QUEUED_BYTES = 1 << 20, /* of one conversation: a few that are busy leave room for others */
    QUEUE_BYTES = 16 << 20, /* on the heap, of all of a post */
    BUCKETS_FIRST = 256,
    OUT_MAX = 256, /* replies gathered */
    OUT_BYTES = 256 * 1024,
    BATCH = 64,         /* messages of one send */
    EVICT_LOOK = 64,    /* conversations looked at for an idle one, at once */
    WAITING_MAX = 1024, /* conversations without a handler yet */
    PLACE_RETRY_MS = 5, /* for a place that an evicted one is about to leave */
    PLACE_MS = 1000,
    DRAIN_BATCHES = 1024, /* at a stop: more than any receive buffer has */
    SILENCE_MS = 60 * 1000,
    SEND_WAIT_S = 30,
    RETRY_MS = 100,
    SAY_EVERY_MS = 1000,
};

struct packet {
    struct packet *prev, *next;
    struct pi_conv *conv; /* whose queue it is in; NULL: none */
    size_t len;
    char *bytes;
    bool in_slot;
};

/* What one peer says to one of the addresses that the socket has. */
struct pi_conv {
    struct pi_post *post;
    struct pi_conv *chain;         /* of its bucket */
    struct pi_conv *older, *newer; /* by when they were last heard */
    struct pi_conv *next_waiting;
    union pi_sockaddr peer;
    struct pi_extra extra; /* the address that the peer knows us by */
    uint64_t who;          /* as of struct pi_accepted */
    struct packet *first, *last;
    int count;
    size_t bytes; /* in the queue */
    int64_t heard_ns;
    bool in_table, is_served, is_over;
    bool waits; /* its handler, for the next datagram */
    bool has_read;
    int64_t place_ns;         /* until when it may wait for a place; 0: it has not yet */
    struct pier_conn *conn;   /* while its handler runs */
    struct pi_thread *thread; /* a conversation's own */
    struct io_fd feed;        /* to its process; fd -1: there is none */
    int far_end;              /* which that reads from, kept for what it leaves unread */
    int fed;                  /* datagrams */
    struct io_fd out;         /* in the process: the socket */
    char *spill;
    int64_t silence_until_ns;
    struct pi_msg wake;
    bool posted;
};

struct reply {
    union pi_sockaddr peer;
    struct pi_extra extra;
    char *bytes;
    size_t len;
};

struct writer {
    struct writer *next;
    struct pi_task *task;
};

struct outbox {
    struct reply replies[OUT_MAX];
    char bytes[OUT_BYTES];
    int count, sent;
    size_t used;
    struct mmsghdr msgs[BATCH];
    struct iovec pieces[OUT_MAX];
    int spans[BATCH]; /* replies in each message */
    _Alignas(struct cmsghdr) char control[BATCH][PI_CONTROL_CAP];
    struct writer *first, **last; /* that wait for room */
};

struct inbox {
    struct mmsghdr msgs[SLOTS];
    struct iovec pieces[SLOTS];
    union pi_sockaddr peers[SLOTS];
    _Alignas(struct cmsghdr) char control[SLOTS][PI_CONTROL_CAP];
    struct packet packets[SLOTS];
    int used; /* slots that may be in a queue */
};

struct pi_post {
    struct pi_post *next; /* of the worker */
    struct pi_worker *worker;
    struct pi_listener *listener;
    struct io_fd io;
    bool is_shared;   /* with threads */
    bool forks;       /* with processes */
    bool is_anywhere; /* bound to every address: replies leave from the one that was asked */
    bool segments;
    bool drained, closing;
    struct pi_task *pump, *flusher;
    bool flusher_waits; /* for replies */
    int waiting_count;
    int64_t silence_ns, said_ns;
    int64_t told; /* dropped datagrams that were logged */
    pthread_mutex_t lock;
    struct pi_conv **buckets;
    size_t bucket_count, conv_count;
    uint64_t key[2];
    struct pi_conv *oldest, *newest;
    struct pi_conv *waiting, **waiting_end; /* for a handler */
    _Atomic size_t queued_bytes;            /* on the heap */
    struct pi_msg nudge;
    bool nudged;
    struct inbox in;
    struct outbox out;
    char *slots;
    char *spare; /* room for one more datagram */
};

static void lock(struct pi_post *post)
{
    if (post->is_shared)
        pthread_mutex_lock(&post->lock);
}

static void unlock(struct pi_post *post)
{
    if (post->is_shared)
        pthread_mutex_unlock(&post->lock);
}

/* ---- the table ---- */

static uint64_t word_of(const union pi_sockaddr *local)
{
    uint64_t halves[2];
    if (local->any.sa_family == AF_INET)
        return local->in.sin_addr.s_addr;
    memcpy(halves, &local->in6.sin6_addr, sizeof halves);
    return halves[0] ^ halves[1];
}

/* Keyed: peers choose their addresses, and must not choose their bucket. */
static uint64_t hash(const uint64_t key[2], const union pi_sockaddr *peer,
                     const union pi_sockaddr *local)
{
    uint64_t words[4] = { 0 };
    words[3] = word_of(local);
    if (peer->any.sa_family == AF_INET6) {
        memcpy(words, &peer->in6.sin6_addr, 16);
        words[2] = (uint64_t)peer->in6.sin6_port << 32 | peer->in6.sin6_scope_id;
    } else {
        words[0] = (uint64_t)peer->in.sin_port << 32 | peer->in.sin_addr.s_addr;
    }
    return pi_siphash(key, words, 4);
}

static bool is_same(const union pi_sockaddr *a, const union pi_sockaddr *b)
{
    if (a->any.sa_family != b->any.sa_family)
        return false;
    if (a->any.sa_family == AF_INET)
        return a->in.sin_port == b->in.sin_port && a->in.sin_addr.s_addr == b->in.sin_addr.s_addr;
    return a->in6.sin6_port == b->in6.sin6_port && a->in6.sin6_scope_id == b->in6.sin6_scope_id &&
           memcmp(&a->in6.sin6_addr, &b->in6.sin6_addr, sizeof a->in6.sin6_addr) == 0;
}

/* Of our own addresses the ports are no part. */
static bool is_same_local(const union pi_sockaddr *a, const union pi_sockaddr *b)
{
    return a->any.sa_family == b->any.sa_family && (a->any.sa_family == AF_UNSPEC || is_same(a, b));
}

/* A peer that asks two of our addresses holds two conversations: it knows an answer by the address
 * that it comes from. */
static struct pi_conv **place(const struct pi_post *post, const union pi_sockaddr *peer,
                              const union pi_sockaddr *local)
{
    uint64_t at_bucket = hash(post->key, peer, local) & (post->bucket_count - 1);
    struct pi_conv **at = &post->buckets[at_bucket];
    while (*at && !(is_same(&(*at)->peer, peer) && is_same_local(&(*at)->extra.local, local)))
        at = &(*at)->chain;
    return at;
}

/* Without memory the chains only grow longer. */
static void grow_table(struct pi_post *post)
{
    size_t count = post->bucket_count * 2;
    struct pi_conv **more = pi_zalloc(count * sizeof *more);
    if (!more)
        return;
    for (size_t i = 0; i < post->bucket_count; i++) {
        for (struct pi_conv *v = post->buckets[i], *next; v; v = next) {
            struct pi_conv **at = &more[hash(post->key, &v->peer, &v->extra.local) & (count - 1)];
            next = v->chain;
            v->chain = *at;
            *at = v;
        }
    }
    pi_free(post->buckets);
    post->buckets = more;
    post->bucket_count = count;
}

static void link_newest(struct pi_post *post, struct pi_conv *v)
{
    v->older = post->newest;
    v->newer = NULL;
    *(v->older ? &v->older->newer : &post->oldest) = v;
    post->newest = v;
}

static void unlink_age(struct pi_post *post, struct pi_conv *v)
{
    *(v->older ? &v->older->newer : &post->oldest) = v->newer;
    *(v->newer ? &v->newer->older : &post->newest) = v->older;
}

static void heard(struct pi_post *post, struct pi_conv *v)
{
    v->heard_ns = post->worker->thread->loop->now_ns;
    if (post->newest == v)
        return;
    unlink_age(post, v);
    link_newest(post, v);
}

/* From now on what its peer sends begins a new conversation. */
static void take_out(struct pi_conv *v)
{
    struct pi_post *post = v->post;
    if (!v->in_table)
        return;
    struct pi_conv **at = place(post, &v->peer, &v->extra.local);
    PIER_ASSERT(*at == v);
    *at = v->chain;
    unlink_age(post, v);
    post->conv_count--;
    v->in_table = false;
}

static struct pi_conv *put_in(struct pi_post *post, const union pi_sockaddr *peer,
                              const union pi_sockaddr *local)
{
    struct pi_conv *v = pi_zalloc(sizeof *v);
    if (!v)
        return NULL;
    if (post->conv_count >= post->bucket_count)
        grow_table(post);
    struct pi_conv **at = place(post, peer, local);
    v->post = post;
    v->feed.fd = -1;
    v->peer = *peer;
    v->extra.local = *local;
    v->chain = *at;
    *at = v;
    v->in_table = true;
    post->conv_count++;
    link_newest(post, v);
    return v;
}

/* ---- the queues ---- */

static void unqueue(struct packet *p)
{
    struct pi_conv *v = p->conv;
    *(p->prev ? &p->prev->next : &v->first) = p->next;
    *(p->next ? &p->next->prev : &v->last) = p->prev;
    v->count--;
    v->bytes -= p->len;
    p->conv = NULL;
}

static void queue(struct pi_conv *v, struct packet *p)
{
    p->conv = v;
    p->next = NULL;
    p->prev = v->last;
    *(v->last ? &v->last->next : &v->first) = p;
    v->last = p;
    v->count++;
    v->bytes += p->len;
}

static void free_packet(struct pi_post *post, struct packet *p)
{
    if (p->in_slot)
        return;
    atomic_fetch_sub(&post->queued_bytes, p->len + sizeof *p);
    pi_free(p);
}

/* The same datagram on the heap, where it may wait; NULL: no room. */
static struct packet *copy_packet(struct pi_post *post, const struct packet *p)
{
    size_t size = p->len + sizeof *p;
    if (atomic_load(&post->queued_bytes) + size > QUEUE_BYTES)
        return NULL;
    struct packet *copy = pi_alloc(size);
    if (!copy)
        return NULL;
    atomic_fetch_add(&post->queued_bytes, size);
    *copy = (struct packet){ .len = p->len, .bytes = (char *)(copy + 1) };
    memcpy(copy->bytes, p->bytes, p->len);
    return copy;
}

static void count_dropped(struct pi_post *post)
{
    struct pier_server *s = post->worker->server;
    atomic_fetch_add(s->shared ? &s->shared->dropped : &s->dropped, 1);
}

/* What lies in slots moves to the heap in its place; what finds no room there is dropped. */
static void clear_slots(struct pi_post *post)
{
    for (int i = 0; i < post->in.used; i++) {
        struct packet *p = &post->in.packets[i];
        struct pi_conv *v = p->conv;
        if (!v)
            continue;
        struct packet *copy = copy_packet(post, p);
        if (copy) {
            copy->conv = v;
            copy->prev = p->prev;
            copy->next = p->next;
            *(p->prev ? &p->prev->next : &v->first) = copy;
            *(p->next ? &p->next->prev : &v->last) = copy;
            p->conv = NULL;
        } else {
            unqueue(p);
            count_dropped(post);
        }
    }
    post->in.used = 0;
}

static void empty_queue(struct pi_conv *v)
{
    while (v->first) {
        struct packet *p = v->first;
        unqueue(p);
        free_packet(v->post, p);
    }
}

/* ---- waking ---- */

static void wake_reader(struct pier_conn *c)
{
    if (c && c->io.reader && c->io.reader->task)
        pi_ready(c->io.reader->task, 0);
}

static void run_wake(struct pi_msg *msg)
{
    struct pi_conv *v = PI_CONTAINER_OF(msg, struct pi_conv, wake);
    lock(v->post);
    v->posted = false;
    unlock(v->post);
    wake_reader(v->conn);
}

/* With the lock held, which keeps the thread from ending. */
static void wake(struct pi_conv *v)
{
    if (!v->post->is_shared) {
        wake_reader(v->conn);
    } else if (v->thread && !v->posted) {
        v->posted = true;
        v->wake.run = run_wake;
        pi_thread_post(v->thread, &v->wake);
    }
}

static void nudge_here(struct pi_post *post)
{
    if (post->drained && post->pump)
        pi_ready(post->pump, 0);
    else
        io_interrupt_read(&post->io);
}

static void run_nudge(struct pi_msg *msg)
{
    struct pi_post *post = PI_CONTAINER_OF(msg, struct pi_post, nudge);
    lock(post);
    post->nudged = false;
    unlock(post);
    nudge_here(post);
}

/* The pump looks for conversations that wait for a handler. With the lock held. */
static void nudge_pump(struct pi_post *post)
{
    if (!post->is_shared) {
        nudge_here(post);
    } else if (!post->nudged) {
        post->nudged = true;
        post->nudge.run = run_nudge;
        pi_thread_post(post->worker->thread, &post->nudge);
    }
}

/* ---- replies ---- */

/* Whether it is time for another complaint about the socket. */
static bool may_complain(struct pi_post *post)
{
    int64_t now = pi_clock_ns();
    if (post->said_ns && now - post->said_ns < SAY_EVERY_MS * PIER_MILLISECOND)
        return false;
    post->said_ns = now;
    return true;
}

static void say_unsent(struct pi_post *post, const struct reply *r, int rc)
{
    struct pi_addr addr = { .len = sizeof addr.in6 };
    char text[PI_ADDR_TEXT_CAP];
    if (rc == -ECANCELED || !may_complain(post))
        return;
    memcpy(&addr.any, &r->peer, sizeof r->peer);
    pier_log(PIER_LOG_WARN, "datagram not sent", pier_str("endpoint", post->listener->url),
             pier_str("peer", pi_addr_format(text, sizeof text, &addr)),
             pier_str("error", pier_strerror(rc)));
}

/* Replies from r on that are one message: to one peer, of one length, but for the last. */
static int run_length(const struct reply *r, int count, bool segments)
{
    size_t len = r->len;
    int n = 1;
    int most = segments && count > 1 ? (count < PI_SEGMENTS_MAX ? count : PI_SEGMENTS_MAX) : 1;
    while (n < most && r[n].len <= r->len && len + r[n].len <= PI_SEGMENTS_BYTES &&
           is_same(&r->peer, &r[n].peer) && is_same_local(&r->extra.local, &r[n].extra.local)) {
        len += r[n].len;
        if (r[n++].len < r->len)
            break;
    }
    return n;
}

/* Makes messages of the replies that are still to be sent: how many. */
static int fill_messages(struct pi_post *post)
{
    struct outbox *out = &post->out;
    int m = 0;
    for (int at = out->sent; at < out->count && m < BATCH; at += out->spans[m++]) {
        struct reply *r = &out->replies[at];
        int n = run_length(r, out->count - at, post->segments);
        for (int i = 0; i < n; i++)
            out->pieces[at + i] = (struct iovec){ r[i].bytes, r[i].len };
        struct pi_extra extra = r->extra;
        extra.segment = n > 1 ? (int)r->len : 0;
        struct msghdr *msg = &out->msgs[m].msg_hdr;
        *msg = (struct msghdr){ .msg_name = &r->peer,
                                .msg_namelen = pi_sockaddr_len(r->peer.any.sa_family),
                                .msg_iov = &out->pieces[at],
                                .msg_iovlen = (size_t)n };
        pi_extra_pack(msg, out->control[m], r->peer.any.sa_family, &extra);
        out->spans[m] = n;
    }
    return m;
}

/* Sends what has been gathered. A reply that cannot be sent is dropped, as a network might. */
static void send_gathered(struct pi_post *post)
{
    struct outbox *out = &post->out;
    while (out->sent < out->count) {
        int messages = fill_messages(post);
        struct io_op op = { .code = IO_SENDMMSG,
                            .fd = &post->io,
                            .buf = out->msgs,
                            .len = (size_t)messages,
                            .deadline_ns = pier_after(SEND_WAIT_S * PIER_SECOND) };
        ssize_t n = io_run(&op);
        for (int m = 0; m < n; m++)
            out->sent += out->spans[m];
        if (n >= 0)
            continue;
        if (out->spans[0] > 1 && pi_is_no_segmentation(n)) {
            post->segments = false;
            continue;
        }
        say_unsent(post, &out->replies[out->sent], (int)n);
        out->sent += n == -ECANCELED ? out->count - out->sent : out->spans[0];
    }
    out->sent = out->count = 0;
    out->used = 0;
}

static void wake_writers(struct outbox *out)
{
    struct writer *w = out->first;
    out->first = NULL;
    out->last = &out->first;
    while (w) {
        struct writer *next = w->next;
        pi_ready(w->task, 0);
        w = next;
    }
}

static int run_flusher(void *arg)
{
    struct pi_post *post = *(struct pi_post **)arg;
    struct pi_task *self = pi_task_self();
    post->flusher = self;
    while (!post->closing || post->out.count > 0) {
        if (post->out.count == 0) {
            self->waits_for = "replies to send";
            post->flusher_waits = true;
            pi_park(self, 0, false);
            post->flusher_waits = false;
            continue;
        }
        send_gathered(post);
        wake_writers(&post->out);
    }
    return 0;
}

static void leave_writers(struct outbox *out, struct writer *own)
{
    struct writer **at = &out->first;
    while (*at && *at != own)
        at = &(*at)->next;
    if (*at == own)
        *at = own->next;
    out->last = &out->first;
    while (*out->last)
        out->last = &(*out->last)->next;
}

/* Waits until there is room for len bytes. 0 or a negative code. */
static int await_room(struct pi_post *post, size_t len, int64_t deadline_ns)
{
    struct outbox *out = &post->out;
    struct pi_task *self = pi_task_self();
    while (out->count == OUT_MAX || out->used + len > OUT_BYTES) {
        struct writer w = { .task = self };
        *out->last = &w;
        out->last = &w.next;
        self->waits_for = "room for a reply";
        int rc = pi_park(self, pi_deadline(self, deadline_ns), true);
        leave_writers(out, &w);
        if (rc < 0)
            return rc;
    }
    return 0;
}

static ssize_t gather(struct pi_conv *v, const struct iovec *pieces, int count, size_t len)
{
    struct outbox *out = &v->post->out;
    struct reply *r = &out->replies[out->count++];
    r->peer = v->peer;
    r->extra = v->extra;
    r->bytes = out->bytes + out->used;
    r->len = len;
    for (int i = 0; i < count; i++) {
        memcpy(out->bytes + out->used, pieces[i].iov_base, pieces[i].iov_len);
        out->used += pieces[i].iov_len;
    }
    if (v->post->flusher_waits) /* else it is on its way, or waits for the socket */
        pi_ready(v->post->flusher, 0);
    return (ssize_t)len;
}

/* A thread, or process, sends for itself. */
static ssize_t send_alone(struct pier_conn *c, struct io_fd *io, struct iovec *pieces, int count,
                          int64_t deadline_ns)
{
    struct pi_conv *v = c->own;
    size_t len = 0, most = pi_datagram_max(v->peer.any.sa_family);
    for (int i = 0; i < count; i++)
        len += pieces[i].iov_len;
    if (len > most)
        return pi_datagram_too_large(c, len, most);
    _Alignas(struct cmsghdr) char control[PI_CONTROL_CAP];
    struct msghdr msg = { .msg_name = &v->peer,
                          .msg_namelen = pi_sockaddr_len(v->peer.any.sa_family),
                          .msg_iov = pieces,
                          .msg_iovlen = (size_t)count };
    pi_extra_pack(&msg, control, v->peer.any.sa_family, &v->extra);
    struct io_op op = { .code = IO_SENDMSG, .fd = io, .buf = &msg, .deadline_ns = deadline_ns };
    ssize_t n = io_run(&op);
    return n == -EMSGSIZE ? pi_datagram_too_large(c, len, most) : n;
}

/* ---- the transport ---- */

static ssize_t conv_writev(struct pier_conn *c, struct iovec *pieces, int count,
                           int64_t deadline_ns)
{
    struct pi_conv *v = c->own;
    size_t len = 0, most = pi_datagram_max(v->peer.any.sa_family);
    for (int i = 0; i < count; i++)
        len += pieces[i].iov_len;
    if (len > most)
        return pi_datagram_too_large(c, len, most);
    if (v->post->is_shared)
        return send_alone(c, &c->io, pieces, count, deadline_ns);
    int rc = pi_cancel_check(pi_task_self());
    if (rc == 0)
        rc = await_room(v->post, len, deadline_ns);
    return rc < 0 ? rc : gather(v, pieces, count, len);
}

static ssize_t deliver(struct pier_conn *c, struct packet *p, void *buf, size_t len)
{
    struct pi_conv *v = c->own;
    size_t n = p->len;
    memcpy(buf, p->bytes, n < len ? n : len);
    free_packet(v->post, p);
    return n <= len ? (ssize_t)n : pi_datagram_too_long(c, n, len);
}

static struct packet *take_packet(struct pi_conv *v)
{
    lock(v->post);
    struct packet *p = v->first;
    if (p) {
        unqueue(p);
        v->has_read = true;
    }
    unlock(v->post);
    return p;
}

static void set_waits(struct pi_conv *v, bool waits)
{
    lock(v->post);
    v->waits = waits;
    unlock(v->post);
}

/* As any operation that waits on the descriptor: what interrupts and cancels those finds it. */
static int await_packet(struct pier_conn *c, int64_t until_ns)
{
    struct pi_task *self = pi_task_self();
    struct io_op op = { .code = IO_RECVMSG, .fd = &c->io, .task = self };
    int rc = io_take_interrupt(&op);
    if (rc < 0)
        return rc;
    c->io.reader = &op;
    self->op = &op;
    set_waits(c->own, true);
    rc = pi_park(self, pi_deadline(self, until_ns), true);
    set_waits(c->own, false);
    self->op = NULL;
    c->io.reader = NULL;
    return rc;
}

/* Whether the peer has been silent for so long that the conversation is over. */
static bool is_silent(struct pi_conv *v)
{
    lock(v->post);
    bool silent = v->post->silence_ns && !v->first &&
                  v->heard_ns + v->post->silence_ns <= pi_clock_ns();
    if (silent) {
        take_out(v);
        v->is_over = true;
    }
    unlock(v->post);
    return silent;
}

static int64_t silence_end(struct pi_conv *v)
{
    lock(v->post);
    int64_t end = v->post->silence_ns ? v->heard_ns + v->post->silence_ns : 0;
    unlock(v->post);
    return end;
}

static ssize_t conv_read(struct pier_conn *c, void *buf, size_t len, int64_t deadline_ns)
{
    struct pi_conv *v = c->own;
    int rc = pi_cancel_check(pi_task_self());
    while (rc == 0) {
        struct packet *p = take_packet(v);
        if (p)
            return deliver(c, p, buf, len);
        if (v->is_over || is_silent(v))
            return 0;
        if (deadline_ns == IO_NOW)
            return -EAGAIN;
        int64_t silence = silence_end(v);
        bool own_first = deadline_ns && (!silence || deadline_ns < silence);
        rc = await_packet(c, own_first ? deadline_ns : silence);
        if (rc == -ETIMEDOUT && !own_first && pi_cancel_flag(pi_task_self()) == 0)
            rc = 0;
    }
    struct packet *p = rc == -ETIMEDOUT ? take_packet(v) : NULL;
    return p ? deliver(c, p, buf, len) : rc;
}

/* With the lock held. */
static void put_waiting(struct pi_conv *v)
{
    struct pi_post *post = v->post;
    v->next_waiting = NULL;
    *post->waiting_end = v;
    post->waiting_end = &v->next_waiting;
    post->waiting_count++;
}

static int no_half(struct pier_conn *c)
{
    return -EOPNOTSUPP;
}

/* The handler is done with it. What it has not read begins a new conversation, for which this one's
 * record serves. */
static void end_conv(struct pi_conv *v)
{
    struct pi_post *post = v->post;
    lock(post);
    v->conn = NULL;
    v->is_served = false;
    if (v->first && !v->has_read) { /* it was not even looked at: no reason to begin again */
        struct packet *p = v->first;
        unqueue(p);
        free_packet(post, p);
    }
    v->has_read = false;
    bool goes_on = v->first && v->in_table && !post->closing;
    if (goes_on) {
        v->place_ns = pier_after(PLACE_MS * PIER_MILLISECOND);
        put_waiting(v);
        nudge_pump(post);
    } else {
        take_out(v);
        empty_queue(v);
    }
    unlock(post);
    if (goes_on)
        return;
    pi_firewall_leave(post->worker->server, v->who);
    pi_free(v);
}

static void conv_close(struct pier_conn *c)
{
    struct pi_conv *v = c->own;
    struct pi_post *post = v->post;
    io_detach(&c->io); /* a thread with a loop has it there */
    c->own = NULL;
    c->io.fd = -1;
    lock(post);
    bool was_posted = v->posted;
    v->thread = NULL;
    unlock(post);
    if (was_posted)
        pi_thread_drain(pi_task_self()->thread);
    end_conv(v);
}

static const struct pi_transport conversation = { "udp",       true,    conv_read,
                                                  conv_writev, no_half, conv_close };

static void attach(struct pier_conn *c, const struct pi_accepted *a, struct pier_server *s)
{
    struct pi_conv *v = a->conv;
    pi_conn_init(c, v->post->io.fd, &conversation, &v->peer.any);
    pi_conn_timeouts(c, s->opts.read_timeout_ms, s->opts.write_timeout_ms);
    c->is_owned = true;
    c->draining = &s->draining;
    c->server = s;
    c->own = v;
    lock(v->post);
    v->conn = c;
    v->is_over = !v->in_table;
    if (v->post->is_shared)
        v->thread = pi_task_self()->thread;
    unlock(v->post);
}

/* ---- with processes ---- */

/* Passes it on to the conversation's process; whether there was room. The socket's buffer is the
 * queue: it holds some 270 small ones. */
static bool feed(struct pi_conv *v, const struct packet *p)
{
    struct io_op op = { .code = IO_SEND, .fd = &v->feed, .buf = p->bytes, .len = p->len };
    bool sent = io_try(&op) == (ssize_t)p->len;
    v->fed += sent;
    return sent;
}

static void feed_queue(struct pi_conv *v)
{
    while (v->first) {
        struct packet *p = v->first;
        if (!feed(v, p))
            count_dropped(v->post);
        unqueue(p);
        free_packet(v->post, p);
    }
}

static int open_feed(struct pi_conv *v)
{
    int fds[2];
    if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, fds) < 0)
        return -errno;
    io_fd_init(&v->feed, fds[0]);
    v->far_end = fds[1];
    v->fed = 0;
    return 0;
}

static void close_feed(struct pi_conv *v)
{
    if (v->feed.fd < 0)
        return;
    io_close(&v->feed); /* which leaves -1 */
    close(v->far_end);
}

/* What its process has not read goes back into the queue. */
static void take_back(struct pi_conv *v)
{
    struct pi_post *post = v->post;
    struct io_fd far;
    struct packet p = { .bytes = post->spare };
    io_fd_init(&far, v->far_end);
    struct io_op op = { .code = IO_RECV, .fd = &far, .buf = post->spare, .len = SLOT_BYTES };
    ssize_t n;
    while (v->count < QUEUE_MAX && (n = io_try(&op)) > 0) {
        p.len = (size_t)n;
        struct packet *copy = copy_packet(post, &p);
        if (copy)
            queue(v, copy);
        else
            count_dropped(post);
    }
    v->has_read = v->fed > v->count;
}

void pi_conv_process_ended(struct pi_conv *v)
{
    take_back(v);
    close_feed(v);
    end_conv(v);
}

void pi_posts_let_go(struct pi_worker *w, const struct pi_conv *own)
{
    for (struct pi_post *post = w->posts; post; post = post->next) {
        for (size_t i = 0; i < post->bucket_count; i++)
            for (struct pi_conv *v = post->buckets[i]; v; v = v->chain)
                if (v != own && v->feed.fd >= 0) {
                    close(v->feed.fd);
                    close(v->far_end);
                }
        if (!own || own->post != post)
            close(post->io.fd);
    }
    if (own)
        close(own->feed.fd);
}

static int64_t sooner(int64_t a, int64_t b)
{
    return !a || (b && b < a) ? b : a;
}

/* In the process. The end of the feed is the end of the conversation. */
static ssize_t fed_read(struct pier_conn *c, void *buf, size_t len, int64_t deadline_ns)
{
    struct pi_conv *v = c->own;
    size_t rest = len < PI_DATAGRAM_MAX ? PI_DATAGRAM_MAX - len : 0;
    if (rest && !v->spill && !(v->spill = pi_alloc(PI_DATAGRAM_MAX)))
        return -ENOMEM;
    struct iovec room[2] = { { buf, len }, { v->spill, rest } };
    struct msghdr msg = { .msg_iov = room, .msg_iovlen = rest ? 2 : 1 };
    bool waits = deadline_ns != IO_NOW;
    struct io_op op = { .code = IO_RECVMSG,
                        .fd = &c->io,
                        .buf = &msg,
                        .deadline_ns = waits ? sooner(deadline_ns, v->silence_until_ns) : IO_NOW };
    ssize_t n = io_run(&op);
    bool silent = n == -ETIMEDOUT && v->silence_until_ns && v->silence_until_ns <= pi_clock_ns();
    if (silent && pi_cancel_flag(pi_task_self()) == 0)
        return 0;
    if (n > 0 && v->post->silence_ns)
        v->silence_until_ns = pier_after(v->post->silence_ns);
    return n > (ssize_t)len ? pi_datagram_too_long(c, (size_t)n, len) : n;
}

static ssize_t fed_writev(struct pier_conn *c, struct iovec *pieces, int count, int64_t deadline_ns)
{
    struct pi_conv *v = c->own;
    return send_alone(c, &v->out, pieces, count, deadline_ns);
}

static void fed_close(struct pier_conn *c)
{
    struct pi_conv *v = c->own;
    io_close(&c->io);
    io_close(&v->out);
    pi_free(v->spill);
    v->spill = NULL;
}

static const struct pi_transport fed_conversation = { "udp",      true,    fed_read,
                                                      fed_writev, no_half, fed_close };

static void attach_fed(struct pier_conn *c, const struct pi_accepted *a, struct pier_server *s)
{
    struct pi_conv *v = a->conv;
    char text[PI_ADDR_TEXT_CAP];
    pi_conn_init(c, a->fd, &fed_conversation, &v->peer.any);
    pi_conn_timeouts(c, s->opts.read_timeout_ms, s->opts.write_timeout_ms);
    c->draining = &s->draining;
    c->server = s;
    c->is_owned = true;
    c->own = v;
    c->local_text = pi_strdup(pi_addr_format(text, sizeof text, &v->post->listener->addr));
    io_fd_init(&v->out, v->post->io.fd);
    if (v->post->silence_ns)
        v->silence_until_ns = pier_after(v->post->silence_ns);
}

/* ---- beginnings and ends ---- */

void pi_conv_attach(struct pier_conn *c, const struct pi_accepted *a, struct pier_server *s)
{
    if (a->conv->post->forks)
        attach_fed(c, a, s);
    else
        attach(c, a, s);
}

/* ---- the pump ---- */

static void say_dropped(struct pi_post *post)
{
    int64_t now = pi_clock_ns();
    int64_t dropped = pier_server_dropped(post->worker->server);
    if (dropped == post->told ||
        (post->said_ns && now - post->said_ns < SAY_EVERY_MS * PIER_MILLISECOND))
        return;
    post->said_ns = now;
    pier_log(PIER_LOG_WARN, "datagrams dropped", pier_str("endpoint", post->listener->url),
             pier_int("count", dropped - post->told));
    post->told = dropped;
}

static int start_handler(struct pi_conv *v)
{
    struct pi_post *post = v->post;
    struct pi_accepted a = { .fd = post->io.fd, .listener = post->listener, .conv = v };
    memcpy(&a.peer, &v->peer, sizeof v->peer);
    int rc = post->forks ? open_feed(v) : 0;
    if (rc < 0)
        return rc;
    if (post->forks) {
        a.fd = v->far_end;
        feed_queue(v);
    }
    v->is_served = true;
    rc = pi_serve_start(post->worker, &a);
    if (rc < 0)
        v->is_served = false;
    if (rc < 0 && post->forks) {
        take_back(v);
        close_feed(v);
    }
    return rc;
}

static bool is_idle(const struct pi_conv *v)
{
    if (v->feed.fd >= 0)
        return true; /* nobody sees into a process: it may finish what it has */
    return v->is_served && v->conn && v->waits && !v->first;
}

/* The conversation that has been idle for longest, or NULL. Those that are busy go to the end of
 * the list: next time, however many they are, nobody looks past them. With the lock held. */
static struct pi_conv *longest_idle(struct pi_post *post)
{
    for (int i = 0; i < EVICT_LOOK && post->oldest; i++) {
        struct pi_conv *v = post->oldest;
        if (is_idle(v))
            return v;
        unlink_age(post, v);
        link_newest(post, v);
    }
    return NULL;
}

/* Ends the conversation that has been idle for longest; whether there was one. */
static bool evict(struct pi_post *post)
{
    lock(post);
    struct pi_conv *v = longest_idle(post);
    bool found = v != NULL;
    if (found) {
        take_out(v);
        v->is_over = true;
        wake(v);
        if (v->feed.fd >= 0)
            io_sockets()->shutdown(v->feed.fd, SHUT_WR);
    }
    unlock(post);
    return found;
}

static bool may_wait(struct pi_conv *v)
{
    lock(v->post);
    bool may = v->post->waiting_count < WAITING_MAX;
    if (may)
        put_waiting(v);
    unlock(v->post);
    return may;
}

/* Starts it, if need be in the place of an idle one; it waits until that has left. */
static int start_somehow(struct pi_conv *v)
{
    if (v->post->forks && pi_task_self() != v->post->worker->root) {
        pi_ready(v->post->worker->root, 0);
        return may_wait(v) ? 0 : -EBUSY;
    }
    /* Places that connections wait for are not taken from them. */
    bool is_last = !v->place_ns && pi_place_is_awaited(v->post->worker);
    int rc = is_last ? -EBUSY : start_handler(v);
    if (rc != -EBUSY)
        return rc;
    if (!v->place_ns) {
        if (!evict(v->post))
            return is_last ? start_handler(v) : rc;
        v->place_ns = pier_after(PLACE_MS * PIER_MILLISECOND);
        if (!v->post->is_shared && !v->post->forks) {
            pi_pass(pi_task_self()); /* a task needs no more than its turn to leave */
            rc = start_handler(v);
        }
    }
    return rc == -EBUSY && pi_clock_ns() < v->place_ns && may_wait(v) ? 0 : rc;
}

static void give_up(struct pi_conv *v)
{
    struct pi_post *post = v->post;
    lock(post);
    for (int i = 0; i < v->count; i++)
        count_dropped(post);
    take_out(v);
    empty_queue(v);
    unlock(post);
    close_feed(v);
    pi_firewall_leave(post->worker->server, v->who);
    pi_free(v);
}

/* Those that ended with something unread, and those for whom there was no place. */
static void start_waiting(struct pi_post *post)
{
    if (post->forks && pi_task_self() != post->worker->root) {
        if (post->waiting)
            pi_ready(post->worker->root, 0); /* a process begins on its thread's own stack */
        return;
    }
    lock(post);
    struct pi_conv *v = post->waiting;
    post->waiting = NULL;
    post->waiting_end = &post->waiting;
    post->waiting_count = 0;
    unlock(post);
    while (v) {
        struct pi_conv *next = v->next_waiting;
        bool is_over = post->closing || pi_cancel_flag(pi_task_self()) < 0;
        if (is_over || start_somehow(v) < 0)
            give_up(v);
        v = next;
    }
}

/* The address that the datagram was sent to, unless that is a group's. */
static union pi_sockaddr local_of(struct msghdr *msg)
{
    union pi_sockaddr local = { .in6 = { 0 } };
    for (struct cmsghdr *c = CMSG_FIRSTHDR(msg); c; c = CMSG_NXTHDR(msg, c)) {
        if (c->cmsg_level == IPPROTO_IP && c->cmsg_type == IP_PKTINFO) {
            struct in_pktinfo info;
            memcpy(&info, CMSG_DATA(c), sizeof info);
            local.in = (struct sockaddr_in){ .sin_family = AF_INET, .sin_addr = info.ipi_spec_dst };
        } else if (c->cmsg_level == IPPROTO_IPV6 && c->cmsg_type == IPV6_PKTINFO) {
            struct in6_pktinfo info;
            memcpy(&info, CMSG_DATA(c), sizeof info);
            if (!IN6_IS_ADDR_MULTICAST(&info.ipi6_addr))
                local.in6 = (struct sockaddr_in6){ .sin6_family = AF_INET6,
                                                   .sin6_addr = info.ipi6_addr };
        }
    }
    return local;
}

/* A conversation for a peer that has none, if it is let in (else *refused). With the lock held. */
static struct pi_conv *begin_conv(struct pi_post *post, const union pi_sockaddr *peer,
                                  const union pi_sockaddr *local, bool *refused)
{
    struct pier_server *s = post->worker->server;
    uint64_t who;
    *refused = !pi_firewall_enter(s, &peer->any, &who);
    if (*refused)
        return NULL;
    struct pi_conv *v = put_in(post, peer, local);
    if (v)
        v->who = who;
    else
        pi_firewall_leave(s, who);
    return v;
}

/* Its peer's conversation, begun if need be; *fresh: it has no handler yet. NULL: the peer is
 * refused, or there is no memory. With the lock held. */
static struct pi_conv *find_conv(struct pi_post *post, int slot, bool *fresh, bool *refused)
{
    const union pi_sockaddr *peer = &post->in.peers[slot];
    union pi_sockaddr local = { .in6 = { 0 } };
    if (post->is_anywhere)
        local = local_of(&post->in.msgs[slot].msg_hdr);
    struct pi_conv *v = *place(post, peer, &local);
    *fresh = v == NULL;
    *refused = false;
    if (!v)
        v = begin_conv(post, peer, &local, refused);
    if (v)
        heard(post, v);
    return v;
}

/* Queues it: whether there was room. With the lock held. */
static bool accept_packet(struct pi_conv *v, struct packet *p)
{
    struct pi_post *post = v->post;
    if (v->feed.fd >= 0)
        return feed(v, p);
    if (v->count >= QUEUE_MAX || v->bytes + p->len > QUEUED_BYTES)
        return false;
    if (post->is_shared && !(p = copy_packet(post, p)))
        return false;
    queue(v, p);
    wake(v);
    return true;
}

static void hand_out(struct pi_post *post, int slot)
{
    struct packet *p = &post->in.packets[slot];
    bool fresh, refused;
    p->len = post->in.msgs[slot].msg_len;
    if (p->len == 0)
        return; /* nothing that a read could return */
    lock(post);
    struct pi_conv *v = find_conv(post, slot, &fresh, &refused);
    bool taken = v && accept_packet(v, p);
    if (!taken && !refused)
        count_dropped(post);
    unlock(post);
    if (v && fresh && (!taken || start_somehow(v) < 0))
        give_up(v);
}

static void prepare_slots(struct pi_post *post, int count)
{
    for (int i = 0; i < count; i++) {
        struct msghdr *msg = &post->in.msgs[i].msg_hdr;
        msg->msg_namelen = sizeof(union pi_sockaddr);
        msg->msg_controllen = post->is_anywhere ? PI_CONTROL_CAP : 0;
    }
}

/* Receives a batch and hands it out, then lets the handlers run: how many, or a negative code. */
static ssize_t receive(struct pi_post *post, int64_t deadline_ns)
{
    clear_slots(post);
    struct io_op op = { .code = IO_RECVMMSG,
                        .fd = &post->io,
                        .buf = post->in.msgs,
                        .len = SLOTS,
                        .deadline_ns = deadline_ns };
    ssize_t n = io_run(&op);
    if (n <= 0)
        return n;
    post->in.used = (int)n;
    for (int i = 0; i < n; i++)
        hand_out(post, i);
    prepare_slots(post, (int)n);
    say_dropped(post);
    pi_pass(pi_task_self());
    return n;
}

/* What the kernel has at a stop is still served. */
static void drain(struct pi_post *post)
{
    ssize_t n = 1;
    for (int i = 0; i < DRAIN_BATCHES && n > 0; i++)
        n = receive(post, IO_NOW);
    start_waiting(post);
    clear_slots(post);
}

/* Until when to receive: not for ever while one waits for a place. */
static int64_t receive_deadline(struct pi_post *post)
{
    lock(post);
    bool waits = post->waiting != NULL;
    unlock(post);
    return waits ? pier_after(PLACE_RETRY_MS * PIER_MILLISECOND) : 0;
}

/* Receives and hands out until the server stops. */
static void pump(struct pi_post *post)
{
    struct pi_task *self = pi_task_self();
    while (!post->worker->stopping && pi_cancel_check(self) == 0) {
        start_waiting(post);
        ssize_t n = receive(post, receive_deadline(post));
        if (n >= 0 || n == -EINTR || n == -ETIMEDOUT || n == -ECANCELED)
            continue;
        if (may_complain(post))
            pier_log(PIER_LOG_WARN, "receiving datagrams failed, trying again",
                     pier_str("endpoint", post->listener->url),
                     pier_str("error", pier_strerror((int)n)));
        pier_sleep(RETRY_MS * PIER_MILLISECOND); /* cut short by a cancellation */
    }
}

static int run_pump(void *arg)
{
    struct pi_post *post = *(struct pi_post **)arg;
    struct pi_task *self = pi_task_self();
    post->pump = self;
    pump(post);
    drain(post);
    post->drained = true;
    pi_ready(post->worker->root, 0);
    while (!post->closing) {
        self->waits_for = "the last conversations";
        pi_park(self, receive_deadline(post), false);
        start_waiting(post);
    }
    post->pump = NULL;
    return 0;
}

/* ---- a post's life ---- */

static void set_slots(struct pi_post *post)
{
    for (int i = 0; i < SLOTS; i++) {
        char *bytes = post->slots + (size_t)i * SLOT_BYTES;
        post->in.packets[i] = (struct packet){ .bytes = bytes, .in_slot = true };
        post->in.pieces[i] = (struct iovec){ bytes, SLOT_BYTES };
        post->in.msgs[i].msg_hdr = (struct msghdr){
            .msg_name = &post->in.peers[i],
            .msg_iov = &post->in.pieces[i],
            .msg_iovlen = 1,
            .msg_control = post->is_anywhere ? post->in.control[i] : NULL,
        };
    }
    prepare_slots(post, SLOTS);
}

static int64_t silence_ns(const struct pier_serve_opts *opts)
{
    if (opts->silence_ms < 0)
        return 0;
    return (opts->silence_ms ? opts->silence_ms : SILENCE_MS) * PIER_MILLISECOND;
}

static void free_post(struct pi_post *post)
{
    for (size_t i = 0; post->buckets && i < post->bucket_count; i++)
        while (post->buckets[i])
            give_up(post->buckets[i]);
    if (post->io.fd >= 0)
        io_close(&post->io);
    pthread_mutex_destroy(&post->lock);
    pi_free(post->buckets);
    pi_free(post->slots);
    pi_free(post);
}

static struct pi_post *new_post(struct pi_worker *w, struct pi_listener *l)
{
    struct pi_post *post = pi_zalloc(sizeof *post);
    if (!post)
        return NULL;
    pthread_mutex_init(&post->lock, NULL);
    post->worker = w;
    post->listener = l;
    post->io.fd = -1;
    post->is_shared = w->server->opts.model == PIER_THREADS;
    post->forks = w->server->opts.model == PIER_PROCESSES;
    post->silence_ns = silence_ns(&w->server->opts);
    post->bucket_count = BUCKETS_FIRST;
    post->waiting_end = &post->waiting;
    post->out.last = &post->out.first;
    post->buckets = pi_zalloc(BUCKETS_FIRST * sizeof(struct pi_conv *));
    post->slots = pi_alloc((size_t)(SLOTS + 1) * SLOT_BYTES);
    post->spare = post->slots ? post->slots + (size_t)SLOTS * SLOT_BYTES : NULL;
    if (!post->buckets || !post->slots) {
        free_post(post);
        return NULL;
    }
    return post;
}

int pi_post_open(struct pi_worker *w, struct pi_listener *l)
{
    struct pi_post *post = new_post(w, l);
    if (!post)
        return pi_fail(-ENOMEM, "serve %s", l->url);
    io_fd_init(&post->io, l->fd);
    post->io.keeps_port = true;
    post->io.greedy = true;
    l->fd = -1; /* replies leave by it after the listeners are closed */
    /* On a machine with several addresses a reply would otherwise leave from the one that the
     * route prefers, and its peer would not know it. */
    post->is_anywhere = pi_addr_is_any(&l->addr);
    post->segments = pi_udp_can_segment(post->io.fd);
    pi_random(post->key, sizeof post->key);
    set_slots(post);
    post->next = w->posts;
    w->posts = post;
    int rc = pi_spawn_copy(&w->scope, "receive datagrams", run_pump, &post, sizeof post);
    post->drained = rc < 0;
    if (rc == 0)
        rc = pi_spawn_copy(&w->scope, "send datagrams", run_flusher, &post, sizeof post);
    return rc;
}

int pi_posts_drain(struct pi_worker *w, int64_t until_ns)
{
    int rc = 0;
    for (struct pi_post *post = w->posts; post; post = post->next) {
        io_interrupt_read(&post->io);
        while (rc == 0 && (!post->drained || (post->forks && post->waiting))) {
            start_waiting(post);
            w->root->waits_for = "the last datagrams";
            rc = pi_park(w->root, pi_deadline(w->root, until_ns), true);
        }
    }
    return rc;
}

void pi_posts_start(struct pi_worker *w)
{
    for (struct pi_post *post = w->posts; post; post = post->next)
        if (post->forks)
            start_waiting(post);
}

bool pi_posts_evict(struct pi_worker *w)
{
    for (struct pi_post *post = w->posts; post; post = post->next)
        if (evict(post))
            return true;
    return false;
}

void pi_posts_close(struct pi_worker *w)
{
    for (struct pi_post *post = w->posts; post; post = post->next) {
        post->closing = true;
        if (post->pump && post->drained)
            pi_ready(post->pump, 0);
        if (post->flusher_waits)
            pi_ready(post->flusher, 0);
    }
}

void pi_posts_free(struct pi_worker *w)
{
    while (w->posts) {
        struct pi_post *post = w->posts;
        w->posts = post->next;
        free_post(post);
    }
}
