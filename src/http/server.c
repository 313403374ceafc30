/* SPDX-License-Identifier: MIT */
/*
 * http/server.c - a connection with HTTP on it: reading heads, running exchanges, answering in
 * order, and waiting for the next request without a task.
 *
 * Requests that come together are parsed from one read and answered in one write; out goes to the
 * client before anything is waited for, so none is begun while answers wait unread. Then the
 * connection leaves its task by PI_IDLE, at once or after a moment, whichever is cheaper. Between
 * requests a stop ends it; in one it does not.
 */
#define _GNU_SOURCE
#include "http/exchange.h"
#include "http/observe.h"

#include "base/assert.h"
#include "base/err.h"
#include "net/server.h"

#include <string.h>

enum {
    URI_MAX = 8 * 1024,
    HEAD_MAX = 32 * 1024,
    BODY_MAX = 1 << 20,
    HEAD_TIMEOUT_MS = 10 * 1000,
    IDLE_TIMEOUT_MS = 75 * 1000,
    BODY_RATE = 1024,
    BODY_SLOW_MS = 20 * 1000,
    STAY_MS = 250,     /* in the task, with nothing to do; on a grid of twice that, so that all
                          connections have one timer to wait for */
    STAY_TASKS = 128,  /* whose stacks the caches hold */
    IN_MOST = 1 << 20, /* more than any limits ask for */
};

/* What reading a head came to, besides its length. */
enum { ENDED = 0, IDLE = -1, TOO_SLOW = -2, REFUSED = -3 };

/* ---- bytes in ---- */

static bool grow(struct pi_http_conn *h)
{
    size_t cap = h->in_cap * 2;
    char *in = cap <= IN_MOST ? pi_alloc(cap) : NULL;
    if (!in)
        return false;
    memcpy(in, h->in + h->in_start, h->in_len);
    if (h->in != h->in_first)
        pi_free(h->in);
    h->in = in;
    h->in_cap = cap;
    h->in_start = 0;
    return true;
}

static bool make_room(struct pi_http_conn *h)
{
    if (h->in_start > 0) {
        memmove(h->in, h->in + h->in_start, h->in_len);
        h->in_start = 0;
    }
    return h->in_len < h->in_cap || grow(h);
}

/* Until when to wait here for the next request; 0: as long as it takes. */
static int64_t stay_until(const struct pi_http_conn *h)
{
    const int64_t grid = 2 * STAY_MS * PIER_MILLISECOND;
    int64_t now = pi_coarse_now(pi_task_self());
    if (h->conn->may_idle)
        return ((now + STAY_MS * PIER_MILLISECOND) / grid + 1) * grid;
    return h->endpoint->idle_timeout_ns ? now + h->endpoint->idle_timeout_ns : 0;
}

/* Whether to wait for the next request here. On epoll leaving the task costs nothing, as the next
 * one has a stack that is in the cache: with 1,000 connections a request takes 4.8 us instead of
 * 6.5, and with 64 no more. On io_uring a receive in the kernel is cheaper than a poll and a
 * receive, by 6 %, while the stacks that wait are few. */
static bool is_worth_staying(const struct pi_http_conn *h)
{
    const struct pi_loop *loop = pi_task_self()->thread->loop;
    if (!h->conn->may_idle || h->requests == 0 || h->conn->io.may_read || h->conn->ahead_len > 0)
        return true;
    return loop->backend != &io_epoll && loop->tasks <= STAY_TASKS;
}

/* More of a head: the count, or ENDED, IDLE, TOO_SLOW. A head that has begun is waited for whatever
 * the server does; for another one not. */
static ssize_t read_more(struct pi_http_conn *h)
{
    struct pier_conn *c = h->conn;
    bool is_between = h->in_len == 0;
    int64_t until;
    if (is_between && !is_worth_staying(h))
        return IDLE;
    if (!make_room(h))
        return ENDED;
    if (is_between) {
        until = stay_until(h);
        c->draining = h->draining;
    } else {
        until = h->endpoint->head_timeout_ns ? h->head_began_ns + h->endpoint->head_timeout_ns : 0;
    }
    char *end = h->in + h->in_len;
    ssize_t n = c->ahead_len > 0 ? (ssize_t)pi_conn_take(c, end, h->in_cap - h->in_len)
                                 : pi_conn_read_some(c, end, h->in_cap - h->in_len, until);
    c->draining = NULL;
    if (n > 0) {
        h->in_len += (size_t)n;
        return n;
    }
    if (n != -ETIMEDOUT || pi_cancel_check(pi_task_self()) < 0)
        return ENDED;
    return !is_between ? TOO_SLOW : c->may_idle ? IDLE : ENDED;
}

/* The next head, which is then at in_start: its length; or ENDED, IDLE, TOO_SLOW; or REFUSED, and
 * *bad is why. What has been answered is on its way before anything is waited for. */
static ssize_t next_head(struct pi_http_conn *h, int *bad)
{
    memset(&h->ex.req.scan, 0, sizeof h->ex.req.scan);
    h->head_began_ns = 0;
    for (;;) {
        ssize_t n = 0;
        if (h->in_len > 0)
            n = pi_h1_parse_request(&h->ex.req, h->in + h->in_start, h->in_len,
                                    &h->endpoint->limits);
        if (n > 0)
            return n;
        if (n < 0) {
            *bad = (int)n;
            return REFUSED;
        }
        if (h->in_len > 0 && h->head_began_ns == 0)
            h->head_began_ns = pi_clock_ns();
        if (h->out_len > 0 && pi_http_flush(h) < 0)
            return ENDED;
        n = read_more(h);
        if (n <= 0)
            return n;
    }
}

/* ---- an exchange ---- */

static void begin(struct pi_http_conn *h, size_t head_len)
{
    struct pier_exchange *ex = &h->ex;
    memset(ex, 0, offsetof(struct pier_exchange, time_ns));
    ex->h = h;
    ex->time_ns = pi_coarse_now(pi_task_self());
    h->raw = h->room = h->in + h->in_start + head_len;
    h->raw_len = h->in_len - head_len;
    h->room_cap = h->in_cap - h->in_start - head_len;
    h->requests++;
}

static void log_failure(struct pier_exchange *ex, const char *what, int rc)
{
    const char *words = pier_error_code() == rc ? pier_error() : pier_strerror(rc);
    const char *trace = pi_req_known_trace(ex);
    const struct pier_log_field fields[] = { pier_str("request", pier_req_id(ex)),
                                             pier_str("method", ex->method),
                                             pier_str("path", pier_req_path(ex)),
                                             pier_str("error", words), pier_str("trace", trace) };
    if (pier_log_enabled(PIER_LOG_ERROR))
        pier_log_record(PIER_LOG_ERROR, what, fields, trace[0] ? 5 : 4);
}

/* The response to a failure of the handler's, or what is left of one. */
static void answer_failure(struct pier_exchange *ex, int rc)
{
    struct pi_http_conn *h = ex->h;
    bool has_begun = ex->res_state != PI_RES_NONE;
    if (h->is_broken || h->conn->read_error || h->conn->write_error) {
        h->is_broken = true; /* the client has gone: nobody is told, and nothing is wrong here */
        return;
    }
    if (!ex->blame)
        log_failure(ex, has_begun ? "response cut off" : "request failed", rc);
    int status = ex->blame ? ex->blame : rc == -ETIMEDOUT || rc == -ECANCELED ? 503 : 500;
    if (has_begun)
        h->must_close = true;
    else if (pi_http_problem(ex, status, ex->blame_words, !ex->blame) < 0)
        h->is_broken = true;
}

static int call_handlers(struct pier_exchange *ex)
{
    int status = pi_router_find(ex->h->endpoint->router, ex);
    if (status)
        return pi_http_problem(ex, status, status == 400 ? "dots in the path" : NULL, false);
    int timeout_ms = ex->route ? ex->route->opts.timeout_ms : 0;
    if (timeout_ms <= 0)
        return pier_next(ex);
    struct pier_scope scope;
    pier_scope_open(&scope, pier_after(timeout_ms * PIER_MILLISECOND));
    int rc = pier_next(ex);
    int joined = pier_scope_join(&scope);
    return rc < 0 ? rc : joined;
}

/* The response is whole then, or the connection is to be closed. */
static void conclude(struct pier_exchange *ex, int rc)
{
    struct pi_http_conn *h = ex->h;
    if (ex->is_hijacked)
        return;
    if (rc >= 0 && ex->res_state == PI_RES_NONE)
        rc = pier_http_empty(ex, ex->status ? ex->status : 200);
    else if (rc >= 0)
        rc = pi_res_end(ex);
    if (rc < 0)
        answer_failure(ex, rc);
    if (!ex->body_ended && !h->must_close && !h->is_broken && !pi_body_skip(ex))
        h->must_close = true;
}

/* What is behind the exchange is the next head's beginning. */
static void keep_rest(struct pi_http_conn *h)
{
    bool is_within = h->raw >= h->in && h->raw <= h->in + h->in_cap;
    h->in_len = h->raw_len;
    h->in_start = is_within ? (size_t)(h->raw - h->in) : 0;
    if (is_within || h->raw_len == 0)
        return;
    while (h->in_cap < h->raw_len) {
        h->in_len = 0;
        if (!grow(h)) {
            h->must_close = true;
            return;
        }
    }
    memcpy(h->in, h->raw, h->raw_len);
    h->in_len = h->raw_len;
}

static void end(struct pi_http_conn *h)
{
    struct pier_exchange *ex = &h->ex;
    if (h->endpoint->is_observed)
        pi_observe_end(ex);
    if (h->endpoint->done)
        h->endpoint->done(ex, h->endpoint->done_arg);
    for (const struct pi_deferred *d = ex->deferred; d; d = d->next)
        d->fn(d->arg);
    if (!h->must_close && !h->is_broken)
        keep_rest(h);
    else if (!ex->req.keep_alive && ex->body_ended && h->raw_len == 0 && !ex->is_hijacked)
        h->conn->at_end = true; /* it has said so: nothing is looked for when it is closed */
    pi_arena_reset(&ex->arena);
}

static void exchange(struct pi_http_conn *h, size_t head_len)
{
    struct pier_exchange *ex = &h->ex;
    begin(h, head_len);
    ex->method = pi_req_text(ex, PI_H1_PART(&ex->req, name));
    ex->target = pi_req_text(ex, PI_H1_PART(&ex->req, target));
    pi_body_begin(ex);
    if (h->endpoint->is_observed)
        pi_observe_begin(ex);
    conclude(ex, call_handlers(ex));
    end(h);
}

/* A head that is none: the answer, as far as there can be one, and the end of the connection. */
static void refuse(struct pi_http_conn *h, int status, const char *words)
{
    struct pier_exchange *ex = &h->ex;
    begin(h, h->in_len);
    memset(&ex->req, 0, sizeof ex->req);
    ex->req.minor = 1;
    ex->method = ex->target = ex->path = "";
    ex->body_ended = true;
    h->must_close = true;
    if (h->endpoint->is_observed)
        pi_observe_begin(ex);
    if (pi_http_problem(ex, status, words, false) < 0)
        h->is_broken = true;
    end(h);
}

/* ---- a connection ---- */

static void open_conn(struct pi_http_conn *h, struct pier_conn *c, const struct pi_http_endpoint *e)
{
    memset(&h->chunk_at, 0, sizeof *h - offsetof(struct pi_http_conn, chunk_at));
    h->conn = c;
    h->endpoint = e;
    h->draining = c->draining;
    h->in = h->in_first;
    h->in_cap = sizeof h->in_first;
    pi_arena_init(&h->ex.arena, h->arena_first, sizeof h->arena_first);
}

static int serve(struct pi_http_conn *h)
{
    while (!h->must_close && !h->is_broken) {
        int bad = 0;
        ssize_t n = next_head(h, &bad);
        if (n > 0)
            exchange(h, (size_t)n);
        else if (n == REFUSED)
            refuse(h, pi_h1_status(bad), pi_h1_reason(bad));
        else if (n == TOO_SLOW)
            refuse(h, 408, "the head comes too slowly");
        else
            return n == IDLE ? PI_IDLE : 0;
    }
    pi_http_flush(h); /* a client that has gone is not told */
    return 0;
}

int pi_http_serve_conn(struct pier_conn *c, void *arg)
{
    struct pi_http_conn h;
    open_conn(&h, c, arg);
    int rc = serve(&h);
    c->draining = h.draining;
    if (h.in != h.in_first)
        pi_free(h.in);
    return rc;
}

/* ---- endpoints ---- */

static int64_t duration(int ms, int default_ms)
{
    return ms < 0 ? 0 : (ms ? ms : default_ms) * PIER_MILLISECOND;
}

static char *line_of(const char *server)
{
    size_t len = strlen(server);
    char *line = pi_alloc(len + sizeof "Server: \r\n");
    if (line)
        snprintf(line, len + sizeof "Server: \r\n", "Server: %s\r\n", server);
    return line;
}

static int set_observers(struct pi_http_endpoint *e, const struct pier_http_opts *o)
{
    e->metrics = o->metrics;
    e->has_access_log = o->access_log != NULL;
    if (o->access_log)
        e->access_log = *o->access_log;
    e->is_observed = o->metrics || o->access_log || o->proxies;
    if (o->proxies)
        e->proxies = pi_proxies_new(o->proxies);
    return o->proxies && !e->proxies ? pier_error_code() : 0;
}

int pi_http_endpoint_init(struct pi_http_endpoint *e, struct pier_router *r,
                          const struct pier_http_opts *opts)
{
    static const struct pier_http_opts none;
    const struct pier_http_opts *o = opts ? opts : &none;
    int rc = pi_router_seal(r);
    if (rc < 0)
        return rc;
    if (o->uri_max < 0 || o->head_max < 0 || o->fields_max < 0 || o->requests_max < 0 ||
        (o->server && !pi_is_field_value(o->server, strlen(o->server))))
        return pi_fail(-EINVAL, "options of http");
    *e = (struct pi_http_endpoint){
        .router = r,
        .limits = { .target = o->uri_max ? (uint32_t)o->uri_max : URI_MAX,
                    .section = o->head_max ? (uint32_t)o->head_max : HEAD_MAX,
                    .fields = (uint32_t)o->fields_max },
        .head_timeout_ns = duration(o->head_timeout_ms, HEAD_TIMEOUT_MS),
        .idle_timeout_ns = duration(o->idle_timeout_ms, IDLE_TIMEOUT_MS),
        .body = { .most = o->body_max ? o->body_max : BODY_MAX,
                  .rate_min = o->body_rate_min ? o->body_rate_min : BODY_RATE,
                  .slow_ns = duration(o->body_slow_ms, BODY_SLOW_MS) },
        .requests_max = o->requests_max,
        .no_date = o->no_date,
        .done = o->done,
        .done_arg = o->done_arg,
    };
    e->server_line = o->server ? line_of(o->server) : NULL;
    if (o->server && !e->server_line)
        return pi_fail(-ENOMEM, "options of http");
    return set_observers(e, o);
}

void pi_http_endpoint_fini(struct pi_http_endpoint *e)
{
    pi_free(e->server_line);
    e->server_line = NULL;
    pi_proxies_free(e->proxies);
    e->proxies = NULL;
}

static void drop_endpoint(void *arg)
{
    struct pi_http_endpoint *e = arg;
    pi_http_endpoint_fini(e);
    pi_free(e);
}

static int add(struct pier_server *s, const char *text, const struct pi_url *url,
               struct pi_http_endpoint *e)
{
    int rc = pi_server_add_endpoint(s, text, url, pi_http_serve_conn, e, -1);
    if (rc < 0)
        return rc;
    struct pi_endpoint *added = &s->endpoints[s->endpoint_count - 1];
    added->idle_ns = e->idle_timeout_ns ? e->idle_timeout_ns : INT64_MAX / 4;
    added->drop = drop_endpoint;
    return 0;
}

int pier_server_add_http(struct pier_server *s, const char *text, struct pier_router *r,
                         const struct pier_http_opts *opts)
{
    struct pi_url url;
    if (!s)
        return pi_conn_null();
    int rc = pi_server_may_add(s, &url, text);
    if (rc == 0 && url.scheme != PI_HTTP && url.scheme != PI_HTTPS && url.scheme != PI_UNIX)
        rc = pi_fail_text(PIER_EURL, "listen %s: no HTTP is served there", text);
    struct pi_http_endpoint *e = rc == 0 ? pi_zalloc(sizeof *e) : NULL;
    if (rc == 0)
        rc = e ? pi_http_endpoint_init(e, r, opts) : pi_fail(-ENOMEM, "listen %s", text);
    if (rc == 0) {
        e->is_secure = url.scheme == PI_HTTPS;
        rc = add(s, text, &url, e);
    }
    if (rc < 0 && e)
        drop_endpoint(e);
    return pi_server_remember(s, rc);
}

int pier_http_serve(const char *url, struct pier_router *r, const struct pier_http_opts *opts)
{
    struct pier_server *s = pier_server_new(opts ? &opts->serve : NULL);
    int rc = s ? pier_server_add_http(s, url, r, opts) : pier_error_code();
    return pi_serve_to_end(s, rc, url);
}
