/* SPDX-License-Identifier: MIT */
/*
 * net/tls_session.c - TLS as a transport: over the connection's own descriptor, under the same
 * calls.
 *
 * What has come is received into the thread's scratch memory, which OpenSSL then takes records
 * from; what it makes is gathered there and sent, several records at a time. Whatever is left of
 * either when a task parks or returns moves to memory of the session's own, so an idle session has
 * none. One task may read while another writes: only the writer waits for room. What reading makes
 * (key updates, alerts) is added to out and sent at once, or by the task that is sending.
 */
#define _GNU_SOURCE
#include "net/tls.h"

#include "base/assert.h"
#include "net/capture.h"

#include <openssl/err.h>

#include <pthread.h>
#include <stdlib.h>
#include <string.h>

enum {
    RECORD = 16 * 1024, /* RFC 8446, 5.1 */
    OVERHEAD = 256 + 5, /* at most, and its header */
    BATCH = 4 * RECORD, /* sealed in one go */
    SCRATCH = 4 * (RECORD + OVERHEAD),
    LEAST = RECORD + OVERHEAD, /* of one receive */
    OUT_MOST = 256 * 1024,     /* that peers can make us keep for them */
    GOODBYE_MS = 5 * 1000,
};

/* ---- scratch memory ---- */

struct scratch {
    char in[SCRATCH], out[SCRATCH], small[RECORD];
};

static PI_THREAD_LOCAL struct scratch *scratch;
static pthread_key_t exit_key;
static pthread_once_t once = PTHREAD_ONCE_INIT;
static BIO_METHOD *method;

static void free_scratch(void *memory)
{
    OPENSSL_cleanse(memory, sizeof(struct scratch));
    free(memory);
}

/* Not the task's thread's count of blocks: it stays as long as the thread does. */
static struct scratch *need_scratch(void)
{
    if (!scratch) {
        scratch = pi_release(pi_alloc(sizeof *scratch));
        if (scratch)
            pthread_setspecific(exit_key, scratch);
    }
    return scratch;
}

/* Detached threads would still be at it when the process is over. */
void pi_tls_thread_end(void)
{
    if (scratch) {
        pthread_setspecific(exit_key, NULL);
        free_scratch(scratch);
        scratch = NULL;
    }
    OPENSSL_thread_stop();
}

static bool is_scratch(const struct pi_tls_bytes *b)
{
    return scratch && b->at >= (char *)scratch && b->at < (char *)(scratch + 1);
}

static void clear(struct pi_tls_bytes *b)
{
    if (!is_scratch(b))
        pi_free(b->at);
    *b = (struct pi_tls_bytes){ 0 };
}

/* Moves what is left to memory of its own, with room for more bytes. */
static int keep(struct pi_tls_bytes *b, size_t more)
{
    if (b->len == 0 && more == 0) {
        clear(b);
        return 0;
    }
    char *own = pi_alloc(b->len + more);
    if (!own)
        return -ENOMEM;
    if (b->len > 0)
        memcpy(own, b->at + b->start, b->len);
    size_t len = b->len;
    clear(b);
    *b = (struct pi_tls_bytes){ own, 0, len, len + more };
    return 0;
}

/* ---- OpenSSL's side ---- */

static int bio_read(BIO *bio, char *buf, int len)
{
    struct pi_tls_bytes *in = &((struct pi_tls *)BIO_get_data(bio))->in;
    BIO_clear_retry_flags(bio);
    if (in->len == 0) {
        BIO_set_retry_read(bio);
        return -1;
    }
    size_t n = (size_t)len < in->len ? (size_t)len : in->len;
    memcpy(buf, in->at + in->start, n);
    in->start += n;
    in->len -= n;
    if (in->len == 0)
        clear(in);
    return (int)n;
}

/* Room for len bytes at the end of out: 0, or -ENOMEM, -EOVERFLOW. */
static int reserve_out(struct pi_tls *t, size_t len)
{
    struct pi_tls_bytes *out = &t->out;
    if (!out->at && len <= SCRATCH && need_scratch())
        *out = (struct pi_tls_bytes){ scratch->out, 0, 0, SCRATCH };
    if (out->start + out->len + len <= out->cap)
        return 0;
    if (out->len + len > OUT_MOST)
        return -EOVERFLOW;
    return keep(out, len > out->len ? len : out->len);
}

/* A whole record from OpenSSL's own memory, where nothing is before it: how much was taken. A
 * failure is kept for send_now(). (Gathering four to a call instead costs a copy, and
 * more cache: 15 % more CPU.) */
static int send_record(struct pi_tls *t, const char *bytes, int len)
{
    if (t->is_broken || t->is_flushing || t->out.len > 0)
        return 0;
    struct io_op op = {
        .code = IO_SEND, .fd = &t->conn->io, .buf = (void *)bytes, .len = (size_t)len
    };
    ssize_t n = io_try(&op);
    if (n > 0)
        pi_capture_sent(t->conn, bytes, n);
    t->send_error = n < 0 && n != -EAGAIN ? (int)n : 0;
    return n > 0 ? (int)n : 0;
}

static int bio_write(BIO *bio, const char *bytes, int len)
{
    struct pi_tls *t = BIO_get_data(bio);
    BIO_clear_retry_flags(bio);
    int sent = len >= RECORD ? send_record(t, bytes, len) : 0;
    size_t rest = (size_t)(len - sent);
    if (rest == 0)
        return len;
    if (reserve_out(t, rest) < 0) {
        t->is_broken |= sent > 0; /* the record has a hole */
        return -1;
    }
    memcpy(t->out.at + t->out.start + t->out.len, bytes + sent, rest);
    t->out.len += rest;
    return len;
}

static long bio_ctrl(BIO *bio, int command, long number, void *arg)
{
    return command == BIO_CTRL_FLUSH;
}

static void init_once(void)
{
    int rc = pthread_key_create(&exit_key, free_scratch);
    PIER_ASSERT(rc == 0);
    method = BIO_meth_new(BIO_get_new_index() | BIO_TYPE_SOURCE_SINK, "pier");
    if (!method)
        return;
    BIO_meth_set_read(method, bio_read);
    BIO_meth_set_write(method, bio_write);
    BIO_meth_set_ctrl(method, bio_ctrl);
}

/* ---- the descriptor's side ---- */

/* Sends what it can without waiting: 0, or a negative code. What is left has memory of its own. */
static int send_now(struct pi_tls *t)
{
    struct pi_tls_bytes *out = &t->out;
    if (t->is_broken || out->len == 0)
        return 0;
    while (out->len > 0 && !t->is_flushing) {
        struct io_op op = {
            .code = IO_SEND, .fd = &t->conn->io, .buf = out->at + out->start, .len = out->len
        };
        ssize_t n = t->send_error ? t->send_error : io_try(&op);
        if (n == -EAGAIN)
            break;
        pi_capture_sent(t->conn, op.buf, n);
        if (n < 0) {
            clear(out);
            t->is_broken = true;
            return (int)n;
        }
        out->start += (size_t)n;
        out->len -= (size_t)n;
    }
    if (out->len > 0 && !is_scratch(out))
        return 0;
    int rc = keep(out, 0);
    t->is_broken |= rc < 0;
    return rc;
}

/* What could not be sent goes before what has been added meanwhile. */
static int put_back(struct pi_tls *t, struct pi_tls_bytes *rest)
{
    if (rest->len == 0) {
        clear(rest);
        return 0;
    }
    int rc = t->out.len > 0 ? keep(rest, t->out.len) : 0;
    if (rc == 0 && t->out.len > 0) {
        memcpy(rest->at + rest->len, t->out.at + t->out.start, t->out.len);
        rest->len += t->out.len;
    }
    if (rc < 0) {
        t->is_broken = true;
        clear(rest);
    }
    clear(&t->out);
    t->out = *rest;
    return rc;
}

/* Sends one piece, which others do not touch meanwhile. */
static int send_waiting(struct pi_tls *t, struct pi_tls_bytes *piece, int64_t deadline_ns)
{
    struct io_op op = { .code = IO_SEND,
                        .fd = &t->conn->io,
                        .buf = piece->at + piece->start,
                        .len = piece->len,
                        .deadline_ns = deadline_ns };
    ssize_t n = io_run(&op);
    pi_capture_sent(t->conn, op.buf, n);
    if (n < 0)
        return (int)n;
    piece->start += (size_t)n;
    piece->len -= (size_t)n;
    return 0;
}

/* Sends all of out, waiting until deadline_ns; with timeout_ns, that long after each progress. */
static int flush(struct pi_tls *t, int64_t deadline_ns, int64_t timeout_ns)
{
    int rc = send_now(t);
    while (rc == 0 && t->out.len > 0) {
        struct pi_tls_bytes piece = t->out;
        t->out = (struct pi_tls_bytes){ 0 };
        t->is_flushing = true;
        rc = send_waiting(t, &piece, deadline_ns);
        t->is_flushing = false;
        int kept = put_back(t, &piece);
        rc = rc < 0 ? rc : kept;
        if (timeout_ns)
            deadline_ns = pi_timeout_deadline(pi_task_self(), timeout_ns);
    }
    return rc < 0 || !t->is_broken ? rc : -EPIPE;
}

static void note_first(struct pi_tls *t, const char *bytes, size_t len)
{
    size_t room = sizeof t->first - t->first_len;
    size_t n = len < room ? len : room;
    memcpy(t->first + t->first_len, bytes, n);
    t->first_len += n;
    t->has_input = true;
}

/* One receive into scratch memory. A thread without a loop may wait with it, as nobody else uses it
 * meanwhile. */
static ssize_t receive(struct pi_tls *t, size_t want, int64_t deadline_ns)
{
    bool is_shared = pi_task_self()->thread->loop != NULL;
    struct io_op op = { .code = IO_READABLE, .fd = &t->conn->io, .deadline_ns = deadline_ns };
    ssize_t n;
    do {
        n = is_shared && deadline_ns != IO_NOW ? io_run(&op) : 0;
        if (n < 0)
            return n;
        if (!need_scratch())
            return -ENOMEM;
        struct io_op recv_op = { .code = IO_RECV,
                                 .fd = &t->conn->io,
                                 .buf = scratch->in,
                                 .len = want,
                                 .deadline_ns = deadline_ns };
        n = is_shared ? io_try(&recv_op) : io_run(&recv_op);
    } while (n == -EAGAIN && deadline_ns != IO_NOW);
    return n;
}

/* Gets more from the peer: how many bytes, 0 at the end, or a negative code. */
static ssize_t fill(struct pi_tls *t, size_t wanted, int64_t deadline_ns)
{
    PIER_ASSERT(t->in.len == 0);
    size_t want = wanted + wanted / 64 + OVERHEAD;
    want = want < LEAST ? LEAST : want > SCRATCH ? SCRATCH : want;
    ssize_t n = receive(t, want, deadline_ns);
    if (t->conn->captured && !t->is_established && n > 0)
        pi_captured_hold(t->conn, scratch->in, (size_t)n);
    else
        pi_capture_in(t->conn, scratch->in, n);
    if (n <= 0)
        return n;
    if (t->first_len < sizeof t->first)
        note_first(t, scratch->in, (size_t)n);
    t->in = (struct pi_tls_bytes){ scratch->in, 0, (size_t)n, SCRATCH };
    return n;
}

/* Before others use the scratch memory. The stream has a hole where that fails. */
static int keep_input(struct pi_tls *t)
{
    return t->in.len > 0 && is_scratch(&t->in) ? keep(&t->in, 0) : 0;
}

/* ---- reading ---- */

/* The queue of errors is the thread's: a handler that uses OpenSSL itself may have left something.
 */
static void clear_queue(void)
{
    if (ERR_peek_error())
        ERR_clear_error();
}

/* Why a call of OpenSSL's has ended: 0 the peer's close_notify, -EAGAIN it wants more input, or
 * what is wrong. */
static int call_failed(struct pi_tls *t, int rc)
{
    switch (SSL_get_error(t->ssl, rc)) {
    case SSL_ERROR_ZERO_RETURN:
        return 0;
    case SSL_ERROR_WANT_READ:
        return -EAGAIN;
    case SSL_ERROR_SYSCALL:
        ERR_clear_error();
        return pi_tls_fail_text(t, "the peer makes us send more than it takes");
    default:
        return pi_tls_fail(t);
    }
}

/* Takes what has come, whole records as long as there is room: a count, or as call_failed(). */
static ssize_t take(struct pi_tls *t, char *buf, size_t len)
{
    size_t done = 0;
    int rc = 0;
    do {
        size_t n = 0;
        clear_queue();
        int ok = SSL_read_ex(t->ssl, buf + done, len - done, &n);
        rc = ok == 1 ? 0 : call_failed(t, ok);
        if (ok != 1)
            break;
        done += n;
    } while (done < len && t->in.len > 0);
    if (done > 0 && rc < 0 && rc != -EAGAIN) {
        t->late_error = rc;
        t->late_words = pi_strdup(pier_error());
    }
    return done > 0 ? (ssize_t)done : rc;
}

static ssize_t cut(struct pi_tls *t)
{
    t->was_cut = true;
    return pi_tls_fail_text(t, "the connection ended without close_notify: it may have been cut");
}

/* The peer has said its last word, perhaps behind what the last read returned. */
static bool has_ended(const struct pi_tls *t)
{
    return SSL_get_shutdown(t->ssl) & SSL_RECEIVED_SHUTDOWN;
}

static ssize_t read_some(struct pi_tls *t, char *buf, size_t len, int64_t deadline_ns)
{
    bool has_some = t->in.len > 0 || SSL_has_pending(t->ssl);
    if (has_ended(t))
        return 0;
    for (;;) {
        ssize_t n = has_some ? take(t, buf, len) : -EAGAIN;
        if (t->out.len > 0 && send_now(t) < 0 && n == -EAGAIN)
            return -EPIPE;
        if (n != -EAGAIN)
            return n;
        n = fill(t, len, deadline_ns);
        if (n == 0)
            return cut(t);
        if (n < 0)
            return n;
        has_some = true;
    }
}

static ssize_t tls_read(struct pier_conn *c, void *buf, size_t len, int64_t deadline_ns)
{
    struct pi_tls *t = c->own;
    if (t->late_error == PIER_ETLS)
        return pi_fail_text(PIER_ETLS, "%s", t->late_words ? t->late_words : "tls: failed");
    if (t->late_error)
        return t->late_error;
    ssize_t n = read_some(t, buf, len, deadline_ns);
    if (keep_input(t) < 0) {
        t->late_error = -ENOMEM;
        return n > 0 ? n : -ENOMEM;
    }
    return n;
}

/* ---- writing ---- */

/* As one record: pieces that are short, up to the size of one. How many bytes. */
static size_t gather(char *buf, const struct iovec *pieces, int count)
{
    size_t at = 0;
    for (int i = 0; i < count && at < RECORD; i++) {
        size_t n = pieces[i].iov_len < RECORD - at ? pieces[i].iov_len : RECORD - at;
        memcpy(buf + at, pieces[i].iov_base, n);
        at += n;
    }
    return at;
}

static ssize_t seal(struct pi_tls *t, const struct iovec *pieces, int count)
{
    const char *bytes = pieces[0].iov_base;
    size_t len = pieces[0].iov_len, done = 0;
    if (!need_scratch())
        return -ENOMEM;
    if (count > 1 && len < RECORD) {
        len = gather(scratch->small, pieces, count);
        bytes = scratch->small;
    }
    clear_queue();
    int rc = SSL_write_ex(t->ssl, bytes, len < BATCH ? len : BATCH, &done);
    if (rc == 1)
        return (ssize_t)done;
    rc = call_failed(t, rc);
    if (rc == -EAGAIN)
        rc = pi_tls_fail_text(t, "the peer has sent half a message of the handshake");
    return rc < 0 ? rc : -EPIPE;
}

/* Until there is room, before anything is sealed: a record that was made has to be sent. */
static int await_room(struct pi_tls *t, int64_t deadline_ns)
{
    struct io_op op = { .code = IO_WRITABLE, .fd = &t->conn->io, .deadline_ns = deadline_ns };
    if (t->is_broken || (SSL_get_shutdown(t->ssl) & SSL_SENT_SHUTDOWN))
        return -EPIPE;
    int rc = (int)io_run(&op);
    return rc == 0 && t->out.len > 0 ? flush(t, deadline_ns, 0) : rc;
}

/* What was sealed has been passed on, or is lost: a failure after that is the connection's. */
static ssize_t tls_writev(struct pier_conn *c, struct iovec *pieces, int count, int64_t deadline_ns)
{
    struct pi_tls *t = c->own;
    int rc = await_room(t, deadline_ns);
    if (rc < 0)
        return rc;
    ssize_t n = seal(t, pieces, count);
    if (n < 0) {
        send_now(t); /* an alert, perhaps; and nothing of it stays in scratch memory */
        return n;
    }
    rc = flush(t, deadline_ns, c->write_timeout_ns);
    if (rc < 0)
        c->write_error = rc;
    return rc < 0 ? rc : n;
}

/* ---- the end ---- */

/* Does not wait: what finds no room is sent by whoever reads or writes next, or by the closing. */
static int tls_shutdown_write(struct pier_conn *c)
{
    struct pi_tls *t = c->own;
    if (t->is_broken)
        return -EPIPE;
    if (SSL_get_shutdown(t->ssl) & SSL_SENT_SHUTDOWN)
        return 0;
    clear_queue();
    SSL_shutdown(t->ssl);
    ERR_clear_error();
    return send_now(t);
}

/* Tickets that lie unread would make the kernel reset the connection, and lose what was written. */
static void swallow_tickets(struct pi_tls *t)
{
    enum { MOST = 4 };
    char byte;
    size_t n;
    for (int i = 0; i < MOST; i++) {
        bool has_some = t->in.len > 0 || SSL_has_pending(t->ssl);
        if (!has_some && fill(t, 0, IO_NOW) <= 0)
            return;
        int rc = SSL_peek_ex(t->ssl, &byte, 1, &n);
        if (rc == 1 || SSL_get_error(t->ssl, rc) != SSL_ERROR_WANT_READ)
            break;
    }
    ERR_clear_error();
}

/* Our last word into out, unless it has been said or nobody would understand it. */
static void seal_goodbye(struct pier_conn *c, struct pi_tls *t)
{
    bool has_failed = c->write_error || (c->read_error && !t->was_cut);
    if (!t->is_established || t->is_broken || has_failed)
        return;
    if (!t->context->is_server && !c->at_end && !c->read_error)
        swallow_tickets(t);
    if (!(SSL_get_shutdown(t->ssl) & SSL_SENT_SHUTDOWN))
        SSL_shutdown(t->ssl);
    ERR_clear_error();
}

void pi_tls_say_goodbye(struct pier_conn *c)
{
    struct pi_tls *t = c->transport == &pi_tls ? c->own : NULL;
    if (!t || c->io.fd < 0 || c->reading || c->writing)
        return;
    seal_goodbye(c, t);
    if (t->is_broken || send_now(t) < 0 || t->out.len == 0)
        return;
    int64_t most = GOODBYE_MS * PIER_MILLISECOND, own = c->write_timeout_ns;
    c->writing = true;
    if (flush(t, pier_after(own && own < most ? own : most), 0) < 0)
        t->is_broken = true;
    c->writing = false;
}

void pi_tls_detach(struct pier_conn *c)
{
    struct pi_tls *t = c->own;
    c->transport = t->base;
    c->own = NULL;
    SSL_free(t->ssl);
    clear(&t->in);
    clear(&t->out);
    pi_tls_context_drop(t->context);
    for (size_t i = 0; i < sizeof t->texts / sizeof t->texts[0]; i++)
        pi_free(t->texts[i]);
    pi_free(t->name);
    pi_free(t->session_key);
    pi_free(t->verify_words);
    pi_free(t->late_words);
    pi_free(t);
}

static void tls_close(struct pier_conn *c)
{
    seal_goodbye(c, c->own);
    send_now(c->own); /* what finds no room is lost: who could wait has done so */
    pi_tls_detach(c);
    c->transport->close(c);
}

const struct pi_transport pi_tls = { "tls",    false, tls_read, tls_writev, tls_shutdown_write,
                                     tls_close };

/* ---- the beginning ---- */

static BIO *new_bio(struct pi_tls *t)
{
    BIO *bio = BIO_new(method);
    if (!bio)
        return NULL;
    BIO_set_data(bio, t);
    BIO_set_init(bio, 1);
    return bio;
}

int pi_tls_attach(struct pier_conn *c, struct pi_tls_context *context)
{
    struct pi_tls *t = pi_zalloc(sizeof *t);
    pthread_once(&once, init_once);
    BIO *bio = t && method ? new_bio(t) : NULL;
    SSL *ssl = bio ? SSL_new(context->by_name[0]) : NULL;
    if (!ssl) {
        ERR_clear_error();
        BIO_free(bio);
        pi_free(t);
        pi_tls_context_drop(context);
        return pi_conn_fail(c, "tls", -ENOMEM);
    }
    SSL_set_bio(ssl, bio, bio);
    SSL_set_app_data(ssl, t);
    if (context->is_server)
        SSL_set_accept_state(ssl);
    else
        SSL_set_connect_state(ssl);
    *t = (struct pi_tls){ .conn = c, .base = c->transport, .ssl = ssl, .context = context };
    c->own = t;
    c->transport = &pi_tls;
    return 0;
}

/* HTTP clients, and others that do not speak TLS, are told in TLS's words; OpenSSL says nothing. */
static void alert_foreigner(struct pi_tls *t)
{
    static const char alert[] = {
        SSL3_RT_ALERT, 3, 1, 0, 2, SSL3_AL_FATAL, SSL_AD_UNEXPECTED_MESSAGE
    };
    if (t->out.len == 0 && t->context->is_server && t->first_len > 0 &&
        t->first[0] != SSL3_RT_HANDSHAKE && t->first[0] != SSL3_RT_ALERT &&
        reserve_out(t, sizeof alert) == 0) {
        memcpy(t->out.at, alert, sizeof alert);
        t->out.len = sizeof alert;
    }
}

static int handshake_ended(struct pi_tls *t)
{
    if (!t->has_input && t->context->is_server)
        return -ECONNRESET;
    return pi_tls_fail_text(t, "the peer closed the connection during the handshake");
}

/* More input for the handshake: 0 or a negative code. A server that stops lets those end that have
 * begun. */
static int handshake_input(struct pi_tls *t, int64_t deadline_ns)
{
    ssize_t n;
    do {
        if (t->is_given_up)
            return pi_tls_fail_text(t, "given up: there are too many handshakes at once");
        bool is_late = !t->has_input && t->conn->draining && atomic_load(t->conn->draining);
        n = fill(t, SCRATCH, is_late ? IO_NOW : deadline_ns);
        if (is_late && n == -EAGAIN)
            n = -ECONNRESET;
    } while (n == -EINTR);
    return n == 0 ? handshake_ended(t) : n < 0 ? (int)n : 0;
}

static int shake_hands(struct pi_tls *t, int64_t deadline_ns)
{
    for (;;) {
        clear_queue();
        int ok = SSL_do_handshake(t->ssl);
        int rc = ok == 1 ? 0 : call_failed(t, ok);
        if (rc < 0 && rc != -EAGAIN) {
            alert_foreigner(t);
            send_now(t); /* the alert, if it can be */
            return rc;
        }
        /* A client that has all it wanted may be gone: what it has sent is good all the same. */
        if (ok == 1 && t->context->is_server) {
            send_now(t);
            return 0;
        }
        int sent = flush(t, deadline_ns, 0);
        if (ok == 1 || sent < 0)
            return sent;
        rc = handshake_input(t, deadline_ns);
        if (rc < 0)
            return rc;
    }
}

/* What ends a client's handshake is a failure of TLS, unless it says nothing about the server. */
static int handshake_failed(struct pi_tls *t, int rc)
{
    const char *who = t->name ? t->name : pier_peer(t->conn);
    bool is_ours = rc == -ETIMEDOUT || rc == -ECANCELED || rc == -ENOMEM;
    if (is_ours || t->context->is_server)
        return pi_fail(rc, "tls: %s: handshake", who);
    return pi_fail_text(PIER_ETLS, "tls: %s: handshake: %s", who, pier_strerror(rc));
}

int pi_tls_handshake(struct pier_conn *c, int64_t deadline_ns)
{
    struct pi_tls *t = c->own;
    c->reading = c->writing = true; /* who closes it meanwhile wakes this task */
    int rc = shake_hands(t, deadline_ns);
    if (rc == 0)
        rc = keep_input(t);
    c->reading = c->writing = false;
    t->is_established = rc == 0;
    return rc < 0 && rc != PIER_ETLS ? handshake_failed(t, rc) : rc;
}

bool pi_tls_has_input(const struct pier_conn *c)
{
    const struct pi_tls *t = c->transport == &pi_tls ? c->own : NULL;
    return t && (t->in.len > 0 || t->late_error || has_ended(t) || SSL_pending(t->ssl) > 0);
}

bool pi_tls_is_everyday(const struct pier_conn *c)
{
    const struct pi_tls *t = c->transport == &pi_tls ? c->own : NULL;
    return t && t->was_cut;
}

int pi_tls_flush(struct pier_conn *c)
{
    struct pi_tls *t = c->own;
    int64_t deadline = pi_timeout_deadline(pi_task_self(), c->write_timeout_ns);
    c->writing = true;
    int rc = flush(t, deadline, c->write_timeout_ns);
    c->writing = false;
    return rc < 0 ? pi_conn_fail(c, "write", rc) : 0;
}
