/* SPDX-License-Identifier: MIT */
/*
 * http/exchange.h - what a connection with HTTP on it is made of while it has a task, for the files
 * of the server.
 *
 * The way of a request: server.c reads and parses a head into `in`, router.c finds the route, the
 * chain of handlers runs, body.c reads on behind the head, response.c gathers what is written in
 * `out`; server.c ends the exchange and goes on with what is left in `in`. Invariant: while an
 * exchange lives its head does not move, and the bytes behind it that nobody has read are raw.
 */
#ifndef PI_HTTP_EXCHANGE_H
#define PI_HTTP_EXCHANGE_H

#include "base/arena.h"
#include "http/h1_wire.h"
#include "http/router.h"
#include "net/conn.h"

#include <pier/http.h>

enum {
    PI_IN_FIRST = 4096, /* a browser's head and its cookies, mostly; else the heap */
    PI_OUT_CAP = 4096,  /* 30 small responses, or the head of a large one */
    PI_ARENA_FIRST = 1024,
    PI_PARAMS_MAX = 16,
    PI_RES_FIELDS_MAX = 64,
};

/* An endpoint's router with its options, the defaults filled in. */
struct pi_http_endpoint {
    struct pier_router *router;
    struct pi_h1_limits limits;
    int64_t head_timeout_ns, idle_timeout_ns; /* 0: none */
    struct pi_body_limits body;
    int requests_max;
    bool no_date, is_secure;
    bool is_observed; /* one of these is there */
    bool has_access_log;
    struct pi_proxies *proxies;
    struct pier_metrics *metrics;
    struct pier_access_log_opts access_log;
    char *server_line; /* "Server: x\r\n"; NULL: none */
    void (*done)(struct pier_exchange *ex, void *arg);
    void *done_arg;
};

/* A field of the response, or of its trailer section. */
struct pi_res_field {
    struct pi_res_field *next;
    struct pi_part name, value; /* with NULs behind them */
};

struct pi_on_begin {
    struct pi_on_begin *next;
    void (*fn)(struct pier_exchange *ex, void *arg);
    void *arg;
};

struct pi_deferred {
    struct pi_deferred *next;
    void (*fn)(void *arg);
    void *arg;
};

struct pi_value {
    struct pi_value *next;
    const void *key;
    void *value;
};

/* What of a response is next. */
enum pi_res_state { PI_RES_NONE, PI_RES_BODY, PI_RES_ENDED };

struct pier_exchange {
    struct pi_http_conn *h;
    const char *method, *target, *path, *query; /* NULL: not asked for yet */
    const char *host, *id, *client, *traceparent;
    const struct pi_route *route; /* NULL: none */
    const struct pi_chain *chain;
    int chain_at, param_count;
    struct pi_part allow; /* of a 405 and of OPTIONS */

    /* What the client did wrong, for the response if the handler returns a failure. */
    const char *blame_words;
    int blame;

    /* The response, response.c. */
    enum pi_res_state res_state;
    int status, field_count;
    bool is_chunked, has_no_body, is_hijacked, wants_close;
    bool body_ended, was_continued;  /* of the request */
    bool has_proto, proto_is_secure; /* a trusted proxy has said how the client came */
    int body_error;
    int64_t res_left; /* of the length that was promised; -1: none was */
    int64_t res_bytes;
    struct pi_res_field *fields, *last_field, *res_trailers, *last_trailer;
    struct pi_on_begin *on_begin;
    struct pi_deferred *deferred;
    struct pi_value *values;

    /* Not cleared for each request: from here on. */
    int64_t time_ns;
    const char *params[PI_PARAMS_MAX]; /* in the order of the route's names */

    /* The request's body, set where it has one: body.c. */
    struct pi_body_limits body_limits;
    uint64_t body_left; /* of a body with a length */
    struct pi_h1_chunks chunks;
    struct pi_part piece;            /* payload that the last step found and nobody has taken */
    struct pi_fields *trailers;      /* NULL: none */
    int64_t waited_ns, window_bytes; /* for the rate */

    struct pi_h1_request req;
    struct pi_arena arena;
};

/* On a task's stack, close to its top: what every request touches comes last, next to the task's
 * record, which is fetched into the cache while another task runs. */
struct pi_http_conn {
    char in_first[PI_IN_FIRST];
    char out[PI_OUT_CAP];
    _Alignas(PI_ARENA_ALIGN) char arena_first[PI_ARENA_FIRST];
    struct pier_exchange ex;
    size_t chunk_at;       /* the chunk in out that is not closed; 0: none */
    int64_t head_began_ns; /* 0: no byte of it is there */
    int requests;          /* begun on this connection */
    bool must_close;       /* after what is in out */
    bool is_broken;        /* nothing more can be said to this client */
    struct pier_conn *conn;
    const struct pi_http_endpoint *endpoint;
    const _Atomic bool *draining; /* the connection's, put back between requests */
    char *in;                     /* in_first, or the heap */
    size_t in_start, in_len, in_cap;
    char *raw; /* behind the head of the present exchange: what has come and is not read */
    size_t raw_len;
    char *room; /* where raw may lie, while a body is read */
    size_t room_cap;
    size_t out_len;
};

/* server.c: serves a connection to its end, as a pier_handler; arg: struct pi_http_endpoint. */
int pi_http_serve_conn(struct pier_conn *c, void *arg);
/* Fills in what opts leaves out; 0 or a negative code. */
int pi_http_endpoint_init(struct pi_http_endpoint *e, struct pier_router *r,
                          const struct pier_http_opts *opts);
void pi_http_endpoint_fini(struct pi_http_endpoint *e);

/* response.c: all of out goes to the client: 0 or a negative code. */
int pi_http_flush(struct pi_http_conn *h);
/* Ends the response that has begun: the last chunk, trailers. 0 or a negative code. */
int pi_res_end(struct pier_exchange *ex);
/* An interim response, "HTTP/1.1 100 Continue", into out. */
int pi_res_interim(struct pier_exchange *ex, const char *line);
/* Sets a field that handlers may not. */
int pi_res_put(struct pier_exchange *ex, const char *name, const char *value);

/* error.c: a response with a status and words (NULL: none); with_id: the request's id goes along.
 */
int pi_http_problem(struct pier_exchange *ex, int status, const char *detail, bool with_id);

/* body.c: prepares the reading of a request's body. */
void pi_body_begin(struct pier_exchange *ex);
/* Reads and drops what is left, when that is little: whether the next request can be found. */
bool pi_body_skip(struct pier_exchange *ex);
/* Sends "100 Continue" to a client that waits for it: 0 or a negative code. */
int pi_body_go_on(struct pier_exchange *ex);
/* Whether the client waits for that: once it has a response, it may send the body or not. */
bool pi_body_is_held(const struct pier_exchange *ex);
/* Whether pi_body_skip() would: what a response says of the connection is said before. */
bool pi_body_is_short(const struct pier_exchange *ex);
/* The client's fault, which the response to a handler's failure tells. Returns code. */
int pi_blame(struct pier_exchange *ex, int status, const char *words, int code);

/* The text of a part of the head, which a NUL then ends in place. */
static inline const char *pi_req_text(struct pier_exchange *ex, struct pi_part p)
{
    ((char *)p.at)[p.len] = '\0';
    return p.at;
}

#endif
