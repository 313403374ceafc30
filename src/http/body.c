/* SPDX-License-Identifier: MIT */
/*
 * http/body.c - reading a request's body: with a length or in chunks (RFC 9112, 6 and 7), at least
 * as fast as the limits ask.
 *
 * What came with the head is in raw and taken first. A body with a length is then read straight
 * into the handler's buffer; one in chunks goes through the room behind the head, or a piece of the
 * arena where that is small. Invariant: body_ended means that raw begins with the next request.
 */
#define _GNU_SOURCE
#include "base/err.h"
#include "http/exchange.h"

#include <string.h>

enum {
    ROOM_LEAST = 2048,
    ROOM_FIRST = 16 * 1024,
    ROOM_MOST = 128 * 1024, /* a trailer section of any limit that is sane */
    SKIP_MOST = 64 * 1024,  /* dropped, rather than closing: what costs less than a connection */
    ALL_FIRST = 16 * 1024,
};

void pi_body_begin(struct pier_exchange *ex)
{
    ex->trailers = NULL;
    ex->body_limits.most = 0;
    ex->body_left = ex->req.content_length;
    ex->body_ended = ex->req.body == PI_H1_NO_BODY ||
                     (ex->req.body == PI_H1_LENGTH && ex->body_left == 0);
    if (ex->body_ended)
        return;
    ex->body_limits = ex->h->endpoint->body;
    memset(&ex->chunks, 0, sizeof ex->chunks);
    ex->piece = (struct pi_part){ NULL, 0 };
    ex->waited_ns = ex->window_bytes = 0;
}

int pi_blame(struct pier_exchange *ex, int status, const char *words, int code)
{
    ex->blame = status;
    ex->blame_words = words;
    return code;
}

static int fail(struct pier_exchange *ex, int code, const char *words)
{
    ex->body_error = code;
    ex->h->must_close = true;
    return pi_fail_text(code, "read the request's body: %s", words);
}

/* ---- the wire ---- */

int pi_body_go_on(struct pier_exchange *ex)
{
    if (!ex->req.expect_continue || ex->was_continued || ex->h->raw_len > 0 ||
        ex->res_state != PI_RES_NONE)
        return 0;
    ex->was_continued = true;
    return pi_res_interim(ex, "HTTP/1.1 100 Continue\r\n\r\n");
}

/* How long this read may take; 0: as long as it likes. */
static int64_t patience(const struct pier_exchange *ex)
{
    const struct pi_body_limits *l = &ex->body_limits;
    if (!l->slow_ns)
        return 0;
    int64_t left = l->slow_ns - ex->waited_ns;
    return pier_after(left > PIER_MILLISECOND ? left : PIER_MILLISECOND);
}

/* Counts what came and how long that took; whether it was too slow. */
static bool is_too_slow(struct pier_exchange *ex, ssize_t n, int64_t took_ns)
{
    const struct pi_body_limits *l = &ex->body_limits;
    if (!l->slow_ns)
        return false;
    ex->waited_ns += took_ns;
    ex->window_bytes += n > 0 ? n : 0;
    if (ex->window_bytes >= l->rate_min * (l->slow_ns / PIER_SECOND) && ex->window_bytes > 0) {
        ex->waited_ns = 0;
        ex->window_bytes = 0;
    }
    return ex->waited_ns >= l->slow_ns;
}

/* Waits for more from the client: the count, or a negative code. */
static ssize_t receive(struct pier_exchange *ex, char *buf, size_t cap)
{
    struct pi_http_conn *h = ex->h;
    int rc = pi_body_go_on(ex);
    if (rc == 0 && h->out_len > 0)
        rc = pi_http_flush(h);
    if (rc < 0)
        return rc;
    int64_t began = pi_clock_ns();
    ssize_t n = pi_conn_read_some(h->conn, buf, cap, patience(ex));
    bool is_ours = n == -ETIMEDOUT && pi_cancel_check(pi_task_self()) == 0;
    if (n > 0 || is_ours) {
        if (!is_too_slow(ex, n, pi_clock_ns() - began) && n > 0)
            return n;
        return pi_blame(ex, 408, "the body comes too slowly", fail(ex, -ETIMEDOUT, "too slow"));
    }
    if (n == 0)
        return pi_blame(ex, 400, "the body is not whole",
                        fail(ex, -EPIPE, "the connection ended first"));
    ex->body_error = (int)n;
    h->must_close = true;
    return n;
}

/* Makes room behind raw: 0 or a negative code. */
static int make_room(struct pier_exchange *ex)
{
    struct pi_http_conn *h = ex->h;
    if (h->raw != h->room && h->raw_len < h->room_cap) {
        memmove(h->room, h->raw, h->raw_len);
        h->raw = h->room;
    }
    if (h->raw_len < h->room_cap && h->room_cap >= ROOM_LEAST)
        return 0;
    size_t cap = h->room_cap < ROOM_FIRST ? ROOM_FIRST : 2 * h->room_cap;
    if (cap > ROOM_MOST)
        return fail(ex, -EMSGSIZE, "the trailer section is too large");
    char *room = pi_arena_alloc(&ex->arena, cap);
    if (!room)
        return fail(ex, -ENOMEM, "out of memory");
    memcpy(room, h->raw, h->raw_len);
    h->raw = h->room = room;
    h->room_cap = cap;
    return 0;
}

/* More behind raw: the count or a negative code. */
static ssize_t refill(struct pier_exchange *ex)
{
    struct pi_http_conn *h = ex->h;
    int rc = make_room(ex);
    if (rc < 0)
        return rc;
    ssize_t n = receive(ex, h->raw + h->raw_len, h->room_cap - h->raw_len);
    if (n > 0)
        h->raw_len += (size_t)n;
    return n;
}

static void consume(struct pi_http_conn *h, size_t n)
{
    h->raw += n;
    h->raw_len -= n;
}

/* ---- with a length ---- */

static ssize_t read_counted(struct pier_exchange *ex, char *buf, size_t cap)
{
    struct pi_http_conn *h = ex->h;
    size_t most = cap < ex->body_left ? cap : (size_t)ex->body_left;
    ssize_t n = (ssize_t)most;
    if (h->raw_len > 0) {
        n = (ssize_t)(most < h->raw_len ? most : h->raw_len);
        memcpy(buf, h->raw, (size_t)n);
        consume(h, (size_t)n);
    } else {
        n = receive(ex, buf, most);
    }
    if (n < 0)
        return n;
    ex->body_left -= (uint64_t)n;
    ex->body_ended = ex->body_left == 0;
    return n;
}

/* ---- in chunks ---- */

static int bad_wire(struct pier_exchange *ex, int code)
{
    const char *words = pi_h1_reason(code);
    return pi_blame(ex, pi_h1_status(code), words, fail(ex, PIER_EPROTO, words));
}

static int read_trailers(struct pier_exchange *ex)
{
    struct pi_http_conn *h = ex->h;
    struct pi_fields *fields = pi_arena_alloc(&ex->arena, sizeof *fields);
    if (!fields)
        return fail(ex, -ENOMEM, "out of memory");
    for (;;) {
        ssize_t n = pi_h1_parse_trailers(fields, &ex->chunks, h->raw, h->raw_len,
                                         &h->endpoint->limits);
        if (n < 0)
            return bad_wire(ex, (int)n);
        if (n > 0) {
            consume(h, (size_t)n);
            ex->trailers = fields->count > 0 ? fields : NULL;
            ex->body_ended = true;
            return 0;
        }
        ssize_t more = refill(ex);
        if (more < 0)
            return (int)more;
    }
}

/* Steps on to the next payload: 1; 0 at the end; a negative code. */
static int next_piece(struct pier_exchange *ex)
{
    struct pi_http_conn *h = ex->h;
    for (;;) {
        ssize_t n = pi_h1_chunk_step(&ex->chunks, &ex->piece, h->raw, h->raw_len);
        if (n < 0)
            return bad_wire(ex, (int)n);
        consume(h, (size_t)n);
        if (ex->piece.len > 0)
            return 1;
        if (n > 0)
            continue;
        if (pi_h1_chunks_done(&ex->chunks))
            return read_trailers(ex);
        ssize_t more = refill(ex);
        if (more < 0)
            return (int)more;
    }
}

static ssize_t read_chunked(struct pier_exchange *ex, char *buf, size_t cap)
{
    int rc = ex->piece.len > 0 ? 1 : next_piece(ex);
    if (rc <= 0)
        return rc;
    size_t n = cap < ex->piece.len ? cap : ex->piece.len;
    memcpy(buf, ex->piece.at, n);
    ex->piece.at += n;
    ex->piece.len -= n;
    return (ssize_t)n;
}

/* ---- public ---- */

int64_t pier_body_len(const struct pier_exchange *ex)
{
    if (!ex || ex->req.body == PI_H1_NO_BODY)
        return 0;
    return ex->req.body == PI_H1_LENGTH ? (int64_t)ex->req.content_length : -1;
}

ssize_t pier_body_read(struct pier_exchange *ex, void *buf, size_t cap)
{
    if (!ex || ex->is_hijacked)
        return pi_fail(-EINVAL, "http: read a body");
    if (ex->body_error)
        return ex->body_error;
    if (ex->body_ended || cap == 0)
        return 0;
    return ex->req.body == PI_H1_LENGTH ? read_counted(ex, buf, cap) : read_chunked(ex, buf, cap);
}

static int too_large(struct pier_exchange *ex)
{
    return pi_blame(ex, 413, NULL, pi_fail(-EMSGSIZE, "http: the request's body"));
}

int pier_body_want_len(struct pier_exchange *ex, int64_t most)
{
    if (!ex)
        return pi_fail(-EINVAL, "http: a body's length");
    int64_t len = pier_body_len(ex);
    if (len < 0)
        return pi_blame(ex, 411, NULL, pi_fail(-ENODATA, "http: the length of the request's body"));
    return most >= 0 && len > most ? too_large(ex) : 0;
}

/* Room for more than len bytes, with a NUL, in place of all: NULL when there is no memory. */
static char *grow(struct pier_exchange *ex, char *all, size_t len, size_t cap)
{
    char *more = pier_exchange_alloc(ex, cap + 1);
    if (more && len > 0)
        memcpy(more, all, len);
    return more;
}

static char *read_all(struct pier_exchange *ex, size_t cap, int64_t most, size_t *len)
{
    char *all = grow(ex, NULL, 0, cap);
    size_t got = 0;
    while (all) {
        ssize_t n = pier_body_read(ex, all + got, cap - got);
        if (n < 0)
            return NULL;
        got += (size_t)n;
        if (most >= 0 && got > (size_t)most) {
            too_large(ex);
            return NULL;
        }
        if (n == 0 && got < cap)
            break;
        if (got == cap && ex->body_ended)
            break;
        if (got == cap) /* what is promised is believed when it comes */
            all = grow(ex, all, got, cap *= 2);
    }
    if (!all)
        return NULL;
    all[got] = '\0';
    if (len)
        *len = got;
    return all;
}

char *pier_body_all(struct pier_exchange *ex, size_t *len)
{
    if (!ex) {
        pi_fail(-EINVAL, "http: read a body");
        return NULL;
    }
    int64_t most = ex->body_limits.most, known = pier_body_len(ex);
    if (most >= 0 && known > most) {
        too_large(ex);
        return NULL;
    }
    return read_all(ex, known > 0 && known < ALL_FIRST ? (size_t)known : ALL_FIRST, most, len);
}

/* ---- what the handler has left ---- */

bool pi_body_is_held(const struct pier_exchange *ex)
{
    return !ex->body_ended && ex->req.expect_continue && !ex->was_continued && ex->h->raw_len == 0;
}

bool pi_body_is_short(const struct pier_exchange *ex)
{
    if (ex->body_ended)
        return true;
    return !ex->body_error && !pi_body_is_held(ex) &&
           (ex->req.body != PI_H1_LENGTH || ex->body_left <= SKIP_MOST);
}

bool pi_body_skip(struct pier_exchange *ex)
{
    char waste[1024];
    size_t skipped = 0;
    while (!ex->body_ended && skipped < SKIP_MOST) {
        ssize_t n = pier_body_read(ex, waste, sizeof waste);
        if (n < 0)
            return false;
        skipped += (size_t)n;
    }
    return ex->body_ended;
}
