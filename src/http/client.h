/* SPDX-License-Identifier: MIT */
/*
 * http/client.h - what the client is made of, for its files.
 *
 * client.c follows redirects and tries again; it asks client_route.c where to connect,
 * client_pool.c for a link, client_request.c to write the request, client_response.c to read what
 * comes. A link is a connection and the bytes that came on it; a response holds one until it is
 * freed, since its fields lie there. What comes from a server is hostile: each head, body and list
 * has a limit.
 */
#ifndef PI_HTTP_CLIENT_H
#define PI_HTTP_CLIENT_H

#include "http/h1_wire.h"
#include "net/dial.h"

#include <pier/http.h>
#include <pier/text.h>

enum {
    PI_CLIENT_URL_CAP = 8192 + 256, /* of a target that servers take, and a host */
    PI_LINK_CAP = 16384,            /* a link's first buffer: heads out and in */
    PI_LINK_MOST = 65536,           /* and its largest: 32 KiB of fields, a status line, room */
    PI_LINK_ROOM = 4096,            /* behind a head, for what follows */
    PI_KEY_CAP = 700,
};

struct pi_cookie_jar;

/* A URL in normal form, without user and fragment, and where its parts begin. */
struct pi_target {
    char text[PI_CLIENT_URL_CAP];
    bool is_https;
    int port;
    char host[PI_HOST_CAP];        /* without brackets */
    struct pi_part authority;      /* "example.com:8000", as the field Host has it */
    struct pi_part path;           /* with the query */
    char user[256], password[256]; /* of the URL; decoded; "" */
    bool has_user;
};

/* Reads a URL as people and servers write them: what has to be encoded and is not becomes so. base
 * (or NULL): what it is relative to. 0 or PIER_EURL. */
int pi_target_parse(struct pi_target *out, const char *url,
                    const struct pi_target *base) PIER_MUST_USE;

/* ---- route.c ---- */

/* Where to connect to for a target. */
struct pi_hop {
    char dial[PI_URL_TEXT_CAP]; /* tcp:// or unix:// */
    char key[PI_KEY_CAP];       /* connections with the same one are interchangeable */
    char proxy_auth[512];       /* value of Proxy-Authorization, or "" */
    bool via_proxy;             /* plain http: the request goes to the proxy as it is */
    bool tunnels;               /* https: CONNECT first */
};

/* proxy: as in the options. 0 or PIER_EURL. */
int pi_hop_find(struct pi_hop *out, const struct pi_target *target,
                const struct pier_http_client_opts *opts) PIER_MUST_USE;

/* Whether no_proxy ("example.com,.org:8000,10.0.0.1,*") names the host. */
bool pi_hop_is_exempt(const char *no_proxy, const char *host, int port);

/* "Basic ..." of a user and password: 0 or a negative code. */
int pi_basic_auth(char *out, size_t cap, const char *user, const char *password) PIER_MUST_USE;

/* ---- pool.c ---- */

struct pi_link {
    struct pier_conn *conn;
    struct pi_link *next; /* idle: used before */
    char *key;
    int64_t idle_since_ns;
    bool was_used; /* a request has been answered on it */
    char *buf;     /* bytes from start to len came and are not used */
    size_t cap, start, len;
};

struct pi_pool {
    struct pi_link *idle; /* the latest first */
    int count, most, most_per_key;
    int64_t timeout_ns; /* 0: none */
};

/* An idle link of that key that still is connected, or NULL. may_repeat: a request that fails on it
 * is made again, so one that was used a moment ago is taken to be good. */
struct pi_link *pi_pool_take(struct pi_pool *pool, const char *key, bool may_repeat) PIER_MUST_USE;

/* A new link over conn, which is its own then; NULL: -ENOMEM, and conn is still the caller's. */
struct pi_link *pi_link_new(struct pier_conn *conn, const char *key) PIER_MUST_USE;

/* Keeps a link for later, or closes it where there are enough. */
void pi_pool_give(struct pi_pool *pool, struct pi_link *link);

void pi_link_free(struct pi_link *link);
void pi_pool_fini(struct pi_pool *pool);

/* Reads once, behind what is there and, from `keep` on, moving it to have room: how many bytes, 0
 * at the end of input, or a negative code; -EMSGSIZE when the buffer is full and at its largest. */
ssize_t pi_link_fill(struct pi_link *link, size_t keep) PIER_MUST_USE;

/* Room for cap bytes in all. 0 or -ENOMEM. */
int pi_link_reserve(struct pi_link *link, size_t cap) PIER_MUST_USE;

/* ---- request.c ---- */

/* One request as it goes out; req's own members but for what redirects change. */
struct pi_send {
    const struct pier_request *req;
    const struct pi_target *target;
    const struct pi_hop *route;
    const char *method;
    const char *user_agent;
    struct pi_cookie_jar *jar; /* or NULL */
    bool same_origin;          /* as the request's URL: credentials may go there */
    bool has_body;
};

/* Writes head and body to the link. 0 or a negative code; *wrote_all tells whether a response may
 * be waiting although it failed. Waits. */
int pi_request_send(const struct pi_send *s, struct pi_link *link) PIER_MUST_USE;

enum pi_h1_method pi_method_id(const char *method);

/* Whether a method may be repeated without harm (RFC 9110, 9.2.2). */
bool pi_method_is_idempotent(const char *method);

/* ---- response.c ---- */

struct pi_gunzip;

struct pier_response {
    struct pier_http_client *client;
    struct pi_link *link;
    char *url;
    struct pi_dial_times dialled;
    int64_t began_ns, first_byte_ns, ended_ns; /* ended: 0 while it goes on */
    int64_t deadline_ns;
    size_t head_len; /* of link->buf, where the fields are */
    uint64_t left;   /* of a body whose length is known */
    struct pi_h1_chunks chunks;
    struct pi_part piece;      /* of the body as it came, not used yet */
    struct pi_gunzip *gunzip;  /* or NULL */
    int64_t from, given, most; /* most: 0: no limit */
    char *all;                 /* of pier_response_all() */
    int error;                 /* sticky */
    bool ended, may_keep, no_wait, asked_gzip;
    struct pi_h1_response head; /* the last: not cleared, 2 KiB */
};

/* Reads heads until the final one. 0 or a negative code. */
int pi_response_head(struct pier_response *r, enum pi_h1_method method) PIER_MUST_USE;

/* Prepares reading the body. 0 or a negative code. */
int pi_response_body_begin(struct pier_response *r) PIER_MUST_USE;

/* The field's value, NUL-terminated, or NULL. */
const char *pi_response_get(const struct pier_response *r, enum pi_field_id id);

/* ---- gunzip.c ---- */

struct pi_gunzip *pi_gunzip_new(void) PIER_MUST_USE;
void pi_gunzip_free(struct pi_gunzip *g);

/* Takes bytes off the front of *in and writes at most cap: how many, which may be 0 when it needs
 * more; PIER_EPROTO for what is no gzip, -ENOMEM. */
ssize_t pi_gunzip(struct pi_gunzip *g, void *out, size_t cap, struct pi_part *in) PIER_MUST_USE;

/* Whether all that came is whole. */
bool pi_gunzip_is_whole(const struct pi_gunzip *g);

/* ---- cookie_jar.c ---- */

struct pi_cookie_jar *pi_cookie_jar_new(void) PIER_MUST_USE;
void pi_cookie_jar_free(struct pi_cookie_jar *jar);

/* Keeps what a Set-Cookie field says, as far as RFC 6265bis permits; without memory: nothing. */
void pi_cookie_jar_set(struct pi_cookie_jar *jar, const struct pi_target *from,
                       struct pi_part value);

/* Writes the value of the field Cookie for a target, NUL-terminated: its length, 0 for none. What
 * does not fit is left out. */
size_t pi_cookie_jar_get(struct pi_cookie_jar *jar, const struct pi_target *to, char *out,
                         size_t cap);

/* ---- client.c ---- */

struct pier_http_client {
    struct pier_http_client_opts opts;
    struct pi_pool pool;
    struct pi_cookie_jar *jar;
    int refs; /* the owner's, and each response's */
};

void pi_client_unref(struct pier_http_client *client);

#endif
