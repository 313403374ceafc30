/* SPDX-License-Identifier: MIT */
/*
 * pier/http.h - HTTP/1.1 (RFC 9110, RFC 9112): a router of handlers, and servers of it, over
 * the endpoints "http://host:port" and "https://host:port"; and a client.
 *
 * A handler is called with an exchange: one request and its response. It runs in a task, thread or
 * process of its own, as a connection's handler does, and so may wait wherever it likes. Texts that
 * the calls below return end with NUL and live as long as the exchange. Every call accepts a NULL
 * exchange or router and returns -EINVAL, NULL, false or 0 then.
 */
#ifndef PIER_HTTP_H
#define PIER_HTTP_H

#include <pier/base.h>
#include <pier/net.h>
#include <pier/text.h>

#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

/* One request and its response. For the task that its handler runs in. */
struct pier_exchange;

/* Which handler serves which requests. */
struct pier_router;

/* Figures of services. */
struct pier_metrics;

/* Returns 0, or a negative code, which is logged with its words. When no response has begun by then
 * the client gets a 500 with the request's id; one that has begun is cut off, so that nobody takes
 * it for whole. A handler that returns 0 without having responded has sent its status (200 unless
 * set) with an empty body. What it leaves unread of the request's body is read and dropped. */
typedef int (*pier_http_handler)(struct pier_exchange *ex, void *arg);

/* ---- options ---- */

/* Zero is the default everywhere; for the *_ms options PIER_NO_TIMEOUT is no limit. */
struct pier_http_opts {
    struct pier_serve_opts serve; /* pier_http_serve() only: model, workers, max_conns, tls... */
    int uri_max;                  /* bytes of a request's target; default 8,192, beyond it 414 */
    int head_max;        /* bytes of a head, or of a trailer section; default 32,768; 431 */
    int fields_max;      /* default and most 100; 431 */
    int64_t body_max;    /* that pier_body_all() reads; default 1 MiB; 413. -1: no limit */
    int head_timeout_ms; /* from a request's first byte to its head's end; default 10,000; 408 */
    int idle_timeout_ms; /* without a request; default 75,000; closed silently */
    int body_rate_min;   /* bytes a second that a request's body must come with; default 1,024 */
    int body_slow_ms;    /* after being slower for so long it is cut off; default 20,000; 408 */
    int requests_max;    /* on one connection; default: no limit */
    const char *server;  /* value of the field Server; default: none is sent. Borrowed */
    bool no_date;        /* leave the field Date out (RFC 9110, 6.6.1: a clock is there) */
    /* Called when an exchange is over, also one that was refused before it had a handler (its
     * method and target are "" if they were not understood): for access logs and figures. Must not
     * wait. */
    void (*done)(struct pier_exchange *ex, void *arg);
    void *done_arg;
    const struct pier_proxy_opts *proxies;         /* whom to believe; default: nobody */
    const struct pier_access_log_opts *access_log; /* default: there is none */
    struct pier_metrics *metrics; /* counted in; borrowed until run has returned; default: none */
};

/* Proxies in front of a service, and what they may say of a request: the client's address, in
 * X-Forwarded-For, whether it came over TLS, in X-Forwarded-Proto, and its id, in X-Request-Id. Of
 * several addresses the last one counts that is no trusted proxy's. Zero is the default everywhere.
 */
struct pier_proxy_opts {
    const char *const *trusted; /* networks that proxies are in ("10.0.0.0/8", "::1"), or "unix" for
                                   those that come over Unix sockets; ends with NULL */
    bool forwarded; /* they send Forwarded (RFC 7239), and nothing else is looked at. Else they send
                       X-Forwarded-*: what a proxy does not set itself clients can */
    bool host;      /* they also say which host was asked for, and routes go by that */
};

/* A record for each request, also those that were refused. Zero is the default everywhere. */
struct pier_access_log_opts {
    FILE *combined; /* a line there in the "combined" format of Apache; default: a record of the
                       log, at PIER_LOG_INFO, with fields: pier_log_json makes JSON of it */
    bool no_probes; /* leave out what /livez, /readyz and /metrics answered well */
};

/* The same for one route; zero is as in pier_http_opts. */
struct pier_route_opts {
    int64_t body_max;
    int body_rate_min, body_slow_ms;
    int timeout_ms; /* for the handler, all of it; default: none. Its waits end with -ETIMEDOUT, the
                       client gets a 503 if no response has begun */
};

/* ---- serving ---- */

/* The whole of a small program: serves url with r until SIGINT or SIGTERM, logs what fails, and
 * returns an exit code, as pier_serve(). r stays the caller's. */
PIER_API int pier_http_serve(const char *url, struct pier_router *r,
                             const struct pier_http_opts *opts);

/* Adds an endpoint to a server, before it listens: "http://host:port", "https://host:port" (port
 * 80, 443), "unix:///path". opts is copied (.serve is not looked at: the server has its own), r is
 * borrowed until run has returned; no routes may be added while it runs. 0 or a negative code,
 * which listen and run return as well; that of a failed pier_route() is one. */
PIER_API int pier_server_add_http(struct pier_server *s, const char *url, struct pier_router *r,
                                  const struct pier_http_opts *opts);

/* ---- routes ---- */

/* NULL on failure: then pier_route() and the rest say so. */
PIER_API struct pier_router *pier_router_new(void);

/* Frees it with its groups. NULL is fine. */
PIER_API void pier_router_free(struct pier_router *r);

/* Adds a route. pattern: "[METHOD ][host]/path", "GET /users/{id}". Without a method it serves all;
 * GET serves HEAD, too; OPTIONS is answered from the routes unless one is given. host is compared
 * without its port and in any case; "*.example.com" is every name below; without one the route
 * serves those hosts that have no route of their own for the path. A segment {name} matches any one
 * that is not empty, {name...} at the end all that is left, slashes included, also nothing; "/a"
 * and "/a/" are two paths. Fixed segments go before {name} before {name...}. Segments are compared
 * decoded. arg is borrowed until the router is freed. 0, or a negative code that serving returns as
 * well: -EINVAL for a pattern that cannot be understood, -EEXIST for one that is there. */
PIER_API int pier_route(struct pier_router *r, const char *pattern, pier_http_handler handler,
                        void *arg);
PIER_API int pier_route_with(struct pier_router *r, const char *pattern, pier_http_handler handler,
                             void *arg, const struct pier_route_opts *opts);

/* A router whose patterns continue prefix ("/api", "example.com", "example.com/api") and which has
 * middleware of its own besides that of r. It is freed with r. NULL on failure. */
PIER_API struct pier_router *pier_group(struct pier_router *r, const char *prefix);

/* Adds middleware: a handler that is called before the handlers of r's routes and its groups', in
 * the order of adding, r's before its groups', and before r's answers to what has no route (those
 * of a group with its own prefix only to that). It calls pier_next() to go on, or responds itself.
 * 0 or a negative code. */
PIER_API int pier_use(struct pier_router *r, pier_http_handler handler, void *arg);

/* The rest of the chain, down to the handler; returns what that returns. Fields that are set before
 * are sent with the response. A second call is -EALREADY. */
PIER_API int pier_next(struct pier_exchange *ex);

/* Who answers when no route does (default: a 404). 0 or a negative code. */
PIER_API int pier_not_found(struct pier_router *r, pier_http_handler handler, void *arg);

/* ---- the request ---- */

/* "GET"; the target as it came, "/a%20b?q=1"; its path, decoded, "/a b" ("*" for OPTIONS *); what
 * follows the "?", as it came, "" if nothing does. */
PIER_API const char *pier_req_method(const struct pier_exchange *ex);
PIER_API const char *pier_req_target(const struct pier_exchange *ex);
PIER_API const char *pier_req_path(const struct pier_exchange *ex);
PIER_API const char *pier_req_query_text(const struct pier_exchange *ex);

/* The first parameter of that name in the query, decoded ("+" is a space); NULL: there is none. */
PIER_API const char *pier_req_query(struct pier_exchange *ex, const char *name);

/* What {name} or {name...} of the route's pattern matched, decoded; NULL: the pattern has no such
 * name. */
PIER_API const char *pier_req_param(const struct pier_exchange *ex, const char *name);

/* The pattern of the route, "GET /users/{id}", for logs and figures; "" before there is one. */
PIER_API const char *pier_req_route(const struct pier_exchange *ex);

/* The value of a field, without the white space around it, in any case of letters; several of the
 * name are joined by ", " (RFC 9110, 5.3). NULL: there is none. */
PIER_API const char *pier_req_field(struct pier_exchange *ex, const char *name);

/* The fields in their order, as they came. Whether there is one at index. */
PIER_API bool pier_req_field_at(const struct pier_exchange *ex, int index, const char **name,
                                const char **value);

/* A field of the trailer section, once the body has been read to its end; else NULL. */
PIER_API const char *pier_req_trailer(struct pier_exchange *ex, const char *name);

/* Whose site is asked for, "example.com:8000", in lower case ("" in HTTP/1.0 if it was not said);
 * whether the request came over TLS, to this server or to a trusted proxy that says so. */
PIER_API const char *pier_req_host(struct pier_exchange *ex);
PIER_API bool pier_req_is_secure(const struct pier_exchange *ex);

/* 10 or 11: HTTP/1.0 or 1.1. */
PIER_API int pier_req_version(const struct pier_exchange *ex);

/* The address that the connection comes from, "127.0.0.1:5555"; the client's own without a port,
 * "192.0.2.7", which is another one behind trusted proxies. */
PIER_API const char *pier_req_peer(struct pier_exchange *ex);
PIER_API const char *pier_req_client(struct pier_exchange *ex);

/* A text of its own for each request, 16 hexadecimal digits, made when it is first asked for; for
 * the log, and given to the client with a 500. Set by pier_req_set_id() (copied; 0 or -ENOMEM). */
PIER_API const char *pier_req_id(struct pier_exchange *ex);
PIER_API int pier_req_set_id(struct pier_exchange *ex, const char *id);

/* The trace that the request belongs to (W3C Trace Context): the one that its traceparent names, or
 * a new one. As a field of requests that are made to answer this one, with a span of its own,
 * "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"; and its id alone, for logs. */
PIER_API const char *pier_req_traceparent(struct pier_exchange *ex);
PIER_API const char *pier_req_trace_id(struct pier_exchange *ex);

/* When the request's head had been read (pier_now()). */
PIER_API int64_t pier_req_time(const struct pier_exchange *ex);

/* ---- the request's body ---- */

/* How many bytes it has; -1: that is not said (chunked); 0: none. */
PIER_API int64_t pier_body_len(const struct pier_exchange *ex);

/* Waits for a piece of the body: 1 to cap bytes; 0 at its end; a negative code: -ETIMEDOUT when it
 * comes too slowly, -EPIPE when the connection ends first, PIER_EPROTO for bad chunks. A client
 * that waits for "100 Continue" is sent it by the first call. A handler that returns the code has
 * the right response sent. */
PIER_API ssize_t pier_body_read(struct pier_exchange *ex, void *buf, size_t cap);

/* All of it, in the exchange's memory and with a NUL behind it; its length, if asked, in *len. NULL
 * on failure: -EMSGSIZE when it has more than body_max bytes (a 413), or as pier_body_read(); the
 * code is pier_error_code(), which the handler returns. Waits. */
PIER_API char *pier_body_all(struct pier_exchange *ex, size_t *len);

/* For handlers that must know the length before: 0; -EMSGSIZE when it is above most (a 413, most
 * < 0: any is fine); -ENODATA when it is not said (a 411). To be returned by the handler. */
PIER_API int pier_body_want_len(struct pier_exchange *ex, int64_t most);

/* ---- the response: all at once ---- */

/* Send a response with a body: text/plain, text/html, application/json, all in UTF-8, or bytes of
 * the type given (NULL: no Content-Type). What is passed may be gone afterwards. A second response
 * to one request is -EALREADY. Return 0 or a negative code; may wait. Bodies are left out where
 * there is none (HEAD, 204, 304). */
PIER_API int pier_http_text(struct pier_exchange *ex, int status, const char *text);
PIER_API int pier_http_textf(struct pier_exchange *ex, int status, const char *fmt, ...)
    PIER_PRINTF(3, 4);
PIER_API int pier_http_html(struct pier_exchange *ex, int status, const char *html);
PIER_API int pier_http_json(struct pier_exchange *ex, int status, const char *json);
PIER_API int pier_http_bytes(struct pier_exchange *ex, int status, const char *type,
                             const void *bytes, size_t len);

/* A response without a body; a redirection (301, 302, 303, 307, 308) to location. */
PIER_API int pier_http_empty(struct pier_exchange *ex, int status);
PIER_API int pier_http_redirect(struct pier_exchange *ex, int status, const char *location);

/* An error's response, in words for people or as application/problem+json (RFC 9457), whichever
 * Accept prefers. fmt is the detail, NULL for none; never put there what clients should not see.
 * The connection stays open unless the framing is lost. 0 or a negative code. */
PIER_API int pier_http_error(struct pier_exchange *ex, int status, const char *fmt, ...)
    PIER_PRINTF(3, 4);

/* ---- the response: step by step ---- */

/* Sets the status (200 to 599) of a response that has not begun. 0, -EINVAL or -EALREADY. */
PIER_API int pier_res_set_status(struct pier_exchange *ex, int status);

/* Sets a field, in place of others of that name, or adds one; both are copied. value NULL removes
 * it. 0; -EINVAL for bytes that a field cannot have, line ends among them, and for the fields of
 * the framing (Content-Length, Transfer-Encoding, Connection, Date...), which are the server's,
 * but Connection: close is understood; -EALREADY when the response has begun; -ENOSPC beyond
 * 64 fields. */
PIER_API int pier_res_set(struct pier_exchange *ex, const char *name, const char *value);
PIER_API int pier_res_add(struct pier_exchange *ex, const char *name, const char *value);

/* The value that has been set; NULL: none. */
PIER_API const char *pier_res_field(const struct pier_exchange *ex, const char *name);

/* fn is called when the response begins, last added first, while fields may still be changed: for
 * middleware that adds to whatever the handler answers. Must not wait. 0 or a negative code. */
PIER_API int pier_res_on_begin(struct pier_exchange *ex,
                               void (*fn)(struct pier_exchange *ex, void *arg), void *arg);

/* Begins a response whose body follows by pier_res_write(): of len bytes, or -1, not known yet
 * (then chunked, and to HTTP/1.0 until the connection ends). It ends when the handler returns 0.
 * 0 or a negative code; -EALREADY when one has begun. */
PIER_API int pier_res_begin(struct pier_exchange *ex, int status, int64_t len);

/* The next bytes of the body; begins a response of unknown length if none has begun. Small pieces
 * are gathered; waits while the client is slow, within the write time-out. Returns len or a
 * negative code, -EMSGSIZE beyond the length that was promised. */
PIER_API ssize_t pier_res_write(struct pier_exchange *ex, const void *bytes, size_t len);
PIER_API ssize_t pier_res_puts(struct pier_exchange *ex, const char *text);
PIER_API ssize_t pier_res_printf(struct pier_exchange *ex, const char *fmt, ...) PIER_PRINTF(2, 3);

/* pier_res_write() for pier_json_init(): 0 or a negative code. */
PIER_API int pier_res_sink(void *ex, const void *bytes, size_t len);

/* Sends what has been gathered, head included. 0 or a negative code. Waits. */
PIER_API int pier_res_flush(struct pier_exchange *ex);

/* A field behind the body (RFC 9112, 7.1.2): only of a response of unknown length, before it ends.
 * Left out where nobody could read it (HTTP/1.0). Errors as pier_res_set(). */
PIER_API int pier_res_trailer(struct pier_exchange *ex, const char *name, const char *value);

/* The status that was sent or is set (0: none yet), the bytes of the body so far, and whether the
 * head has been written. */
PIER_API int pier_res_status(const struct pier_exchange *ex);
PIER_API int64_t pier_res_bytes(const struct pier_exchange *ex);
PIER_API bool pier_res_has_begun(const struct pier_exchange *ex);

/* ---- leaving HTTP ---- */

/* Answers a request that offers it with 101 and "Upgrade: protocol" (RFC 9110, 7.8): fields that
 * have been set go along. The connection, which is the handler's until it returns and then closed;
 * what the client sent behind its request is read from it. NULL on failure: -EPROTO when the
 * request does not offer it (a 426 if the handler returns that). Waits. */
PIER_API struct pier_conn *pier_http_upgrade(struct pier_exchange *ex, const char *protocol);

/* The connection itself, with nothing sent, as above; for CONNECT. NULL when a response has begun.
 */
PIER_API struct pier_conn *pier_http_hijack(struct pier_exchange *ex);

/* ---- the exchange's memory ---- */

/* Memory until the exchange is over, aligned for anything and not cleared; NULL when there is none,
 * or len is above 64 MiB: then pier_error_code() is -ENOMEM. Nothing is freed by the handler. */
PIER_API void *pier_exchange_alloc(struct pier_exchange *ex, size_t len);
PIER_API char *pier_exchange_strdup(struct pier_exchange *ex, const char *text);
PIER_API char *pier_exchange_printf(struct pier_exchange *ex, const char *fmt, ...)
    PIER_PRINTF(2, 3);

/* Calls fn(arg) when the exchange is over, last deferred first, whatever the handler returns. 0 or
 * -ENOMEM, and then it was called at once. */
PIER_API int pier_exchange_defer(struct pier_exchange *ex, void (*fn)(void *arg), void *arg);

/* Values that middleware leaves for the handler. key is compared as a pointer: the address of
 * something static. 0 or -ENOMEM; NULL if not set. */
PIER_API int pier_exchange_set(struct pier_exchange *ex, const void *key, void *value);
PIER_API void *pier_exchange_get(const struct pier_exchange *ex, const void *key);

/* The connection, for addresses and figures; not to be read or written. */
PIER_API struct pier_conn *pier_exchange_conn(struct pier_exchange *ex);

/* ---- for services: forms and JSON ----
 *
 * A handler that returns a code of these has the right response sent: 415 for another media type or
 * a Content-Encoding, 413 for more than body_max bytes, 400, in words that say where, for what
 * cannot be read. They read the body, and so may wait. */

/* Reads the body as a form (application/x-www-form-urlencoded) of at most 1,000 fields. 0 or a
 * negative code. A second call is 0 and does nothing. */
PIER_API int pier_body_form(struct pier_exchange *ex);

/* The first field of that name in the form that was read, decoded; NULL: there is none. The fields
 * in their order: whether there is one at index. */
PIER_API const char *pier_req_form(const struct pier_exchange *ex, const char *name);
PIER_API bool pier_req_form_at(const struct pier_exchange *ex, int index, const char **name,
                               const char **value);

/* Reads the body as JSON (application/json, or any "+json"). The value lives as long as the
 * exchange; NULL on failure, with the code in pier_error_code(). limits: NULL for the reader's own,
 * with body_max for the bytes. */
PIER_API const struct pier_json_value *pier_body_json(struct pier_exchange *ex,
                                                      const struct pier_json_limits *limits);

/* Begins a response in JSON, one value: pier_json_object(w) and the others write it, sending as
 * they go, so they may wait; the handler returns what pier_json_end(w) returns. Content-Type may
 * have been set before. 0 or a negative code, which pier_json_end() returns as well. */
PIER_API int pier_res_json(struct pier_exchange *ex, int status, struct pier_json *w);

/* ---- for services: cookies (RFC 6265bis) ---- */

/* The value of the first cookie of that name, without quotation marks round it; NULL: there is
 * none. All of them: whether there is one at index. */
PIER_API const char *pier_req_cookie(struct pier_exchange *ex, const char *name);
PIER_API bool pier_req_cookie_at(struct pier_exchange *ex, int index, const char **name,
                                 const char **value);

/* Along with which requests that other sites make: those that go to a page by a link; none; all. */
enum pier_same_site { PIER_SAME_SITE_LAX, PIER_SAME_SITE_STRICT, PIER_SAME_SITE_NONE };

/* Zero is the default everywhere. */
struct pier_cookie_opts {
    int64_t max_age_s;  /* how long clients keep it; default: until they end */
    int64_t expires_ns; /* the same as a time (UNIX); clients heed max_age_s where both are given */
    const char *domain; /* also for names below this one; default: for the host that was asked */
    const char *path;   /* default "/" */
    enum pier_same_site same_site;
    bool secure; /* send it over TLS only, whatever it is set over; default: pier_req_is_secure() */
    bool insecure_over_http;  /* send it without TLS, too */
    bool insecure_to_scripts; /* let scripts of the page read it: no HttpOnly */
};

/* Sets a cookie, in place of one with the same name, domain and path. 0; -EINVAL for what clients
 * would drop: a name that is no token, bytes in value that it cannot have (encode them:
 * pier_base64url_encode()), "__Secure-" and "__Host-" names and SameSite=None without TLS,
 * "__Host-" with a domain or another path; -EMSGSIZE beyond 4,096 bytes; or as pier_res_add(). */
PIER_API int pier_res_set_cookie(struct pier_exchange *ex, const char *name, const char *value,
                                 const struct pier_cookie_opts *opts);

/* Has it forgotten: with the domain and path that it was set with. As above. */
PIER_API int pier_res_delete_cookie(struct pier_exchange *ex, const char *name,
                                    const struct pier_cookie_opts *opts);

/* ---- for services: middleware and routes to switch on ----
 *
 * All return 0 or a negative code that serving returns as well. Options are borrowed until the
 * router is freed. */

/* The fields that tell browsers to be careful, where a handler does not set its own. NULL is the
 * default, "" leaves the field out. */
struct pier_security_opts {
    const char *content_policy;     /* Content-Security-Policy; default "default-src 'self';
                                       object-src 'none'; base-uri 'self'; form-action 'self';
                                       frame-ancestors 'none'" */
    const char *frame_options;      /* X-Frame-Options, for old browsers; default "DENY" */
    const char *referrer_policy;    /* default "strict-origin-when-cross-origin" */
    const char *permissions_policy; /* default "camera=(), geolocation=(), microphone=(),
                                       payment=(), usb=()" */
    const char *opener_policy;      /* Cross-Origin-Opener-Policy; default "same-origin" */
    int64_t hsts_max_age_s; /* Strict-Transport-Security (RFC 6797), over TLS alone; default a year;
                               -1: not sent */
    bool hsts_subdomains, hsts_preload; /* it holds for names below, too; it may be built in */
};
PIER_API int pier_use_security(struct pier_router *r, const struct pier_security_opts *opts);

/* Which other origins' pages may read responses (CORS, WHATWG Fetch). NULL is the default. */
struct pier_cors_opts {
    const char *const *origins; /* "https://example.com", ends with NULL; "*" alone: all */
    const char *methods;        /* default "GET, HEAD, POST" */
    const char *headers;        /* fields of requests, beyond those that always may; default none */
    const char *expose;         /* fields of responses; default none */
    bool credentials;           /* along with cookies; never with a "*" */
    int max_age_s;              /* how long browsers keep the answer; default 600 */
};
PIER_API int pier_use_cors(struct pier_router *r, const struct pier_cors_opts *opts);

/* Tells clients the id of their request, in X-Request-Id. */
PIER_API int pier_use_request_id(struct pier_router *r);

/* Whether a service is ready for requests: 0, or a negative code. May wait; all checks together
 * have 2 s. */
struct pier_ready_check {
    const char *name;
    int (*fn)(void *arg);
    void *arg;
};

/* GET /livez, always 200, and GET /readyz: 200 when all checks (the last one is {0}; NULL: none)
 * return 0, else 503 with the name of the first that does not; 503 while the server drains. */
PIER_API int pier_route_health(struct pier_router *r, const struct pier_ready_check *checks);

/* Counts of requests, for the endpoints that have it in their options, over all workers and
 * processes; of a process that crashed in a request, that one stays in flight. NULL on failure. */
PIER_API struct pier_metrics *pier_metrics_new(void);
PIER_API void pier_metrics_free(struct pier_metrics *m);

/* GET /metrics, in the text format of Prometheus: by route, method and class of status; the router
 * may be one for operators alone, on another port. */
PIER_API int pier_route_metrics(struct pier_router *r, struct pier_metrics *m);

/* ---- tests: a router without a socket ---- */

/* What a router answered. */
struct pier_http_reply;

/* Sends one request through r as a server would, without any network: request is "GET /users/7",
 * fields its header section ("Accept: text/html\r\nCookie: a=b\r\n"; NULL: Host alone, which is
 * added where it is missing), body of len bytes. The reply, to be freed; NULL on failure. */
PIER_API struct pier_http_reply *pier_http_test(struct pier_router *r, const char *request,
                                                const char *fields, const void *body, size_t len);
PIER_API void pier_http_reply_free(struct pier_http_reply *reply);

/* The status; a field (NULL: none); the body, with NUL behind it, dechunked, and its length if
 * asked; all bytes as they would have been sent. */
PIER_API int pier_http_reply_status(const struct pier_http_reply *reply);
PIER_API const char *pier_http_reply_field(const struct pier_http_reply *reply, const char *name);
PIER_API const char *pier_http_reply_body(const struct pier_http_reply *reply, size_t *len);
PIER_API const char *pier_http_reply_raw(const struct pier_http_reply *reply, size_t *len);

/* ---- client: requests ----
 *
 *     struct pier_response *r = pier_http_get("http://example.com/", NULL);
 *     char *text = pier_response_all(r, NULL);
 *     if (text == NULL)
 *         return pier_fail("get");
 *     puts(text);
 *     pier_response_free(r);
 *
 * In a task a request parks the task, on a plain thread it blocks that. Redirects are followed,
 * gzip is undone, proxies are those of the environment. A status that tells of an error is no
 * failure: pier_response_status(). */

struct pier_http_client;
struct pier_response;

/* Zero is the default everywhere. Strings are borrowed for as long as the client lives. */
struct pier_http_client_opts {
    int idle_max;           /* connections kept for the next request; default 32 */
    int idle_per_server;    /* of them to one server; default 8 */
    int idle_timeout_ms;    /* and for how long; default 30,000; PIER_NO_TIMEOUT */
    int connect_timeout_ms; /* resolving and connecting; default 10,000 */
    int read_timeout_ms;    /* waiting for the next bytes of a response; default 60,000 */
    int write_timeout_ms;   /* without progress in a request; default 30,000 */
    const char *proxy;      /* "http://[user:password@]host:port"; "": none; default: http_proxy,
                               https_proxy, all_proxy and no_proxy of the environment */
    const char *unix_path;  /* connect to this Unix socket, whatever host the URL has */
    const struct pier_tls_opts *tls; /* of https; borrowed as well */
    const char *user_agent;          /* default "pier/0.1.0"; "": none */
    bool no_cookies;                 /* do not keep cookies and send them back (RFC 6265bis) */
};

/* Connections, cookies and options for many requests, one after the other or in tasks of one
 * thread. NULL on failure. */
PIER_API struct pier_http_client *pier_http_client_new(const struct pier_http_client_opts *opts);

/* Closes idle connections and forgets cookies; responses that are still open stay good. NULL is
 * fine. */
PIER_API void pier_http_client_free(struct pier_http_client *client);

/* Gives the next bytes of a request's body, at most cap: their number, 0 at the end, or a negative
 * code, which ends the request. May wait. */
typedef ssize_t (*pier_http_source)(void *arg, void *buf, size_t cap);

/* What a request is beside its URL. Zero is the default everywhere; everything is borrowed for the
 * call. */
struct pier_request {
    struct pier_http_client *client; /* default: one for this request alone */
    const char *method;              /* pier_http_call() only; default "GET" */
    const char *const *fields;       /* "Name: value", ended by NULL; they go before our own of that
                                        name, and "Name:" leaves ours out */

    const void *body; /* bytes to send... */
    size_t body_len;
    pier_http_source source; /* ...or where they come from, piece by piece; */
    void *source_arg;
    int64_t source_len;    /* how many they are, 0: not known (chunked) */
    const char *body_type; /* Content-Type */

    const char *user, *password; /* Basic (RFC 7617); also as "http://user:password@host/" */
    const char *bearer;          /* a token (RFC 6750) */

    int64_t from;         /* ask for the bytes from there on (RFC 9110, 14); see
                             pier_response_from() */
    const char *if_range; /* and only if the ETag or date is still this; else for all of it */

    int timeout_ms;    /* for all of it, the body of the response included; default: none */
    int redirects_max; /* that are followed; default 10; -1: none */
    int retries;       /* more tries, with growing pauses, when connecting fails, the connection
                          breaks before a response, or that is 429, 502, 503 or 504; methods that
                          may be repeated only (RFC 9110, 9.2.2), and no source; default 0 */
    int64_t body_max;  /* bytes of the response's body; default: 16 MiB for pier_response_all(),
                          1 GiB of what was compressed, else none */
    bool no_gzip;      /* do not ask for gzip, and pass on what comes as it is */
};

/* Send a request and wait for the head of the response. type: Content-Type of the body, NULL for
 * none; req: what else there is to say, NULL: nothing; its method and body are not looked at, but
 * by pier_http_call(). The response, to be freed, or NULL: PIER_EURL, what pier_dial() fails with,
 * PIER_EPROTO for a response that is none, -ELOOP for too many redirects. Wait. */
PIER_API struct pier_response *pier_http_call(const char *url, const struct pier_request *req);
PIER_API struct pier_response *pier_http_get(const char *url, const struct pier_request *req);
PIER_API struct pier_response *pier_http_head(const char *url, const struct pier_request *req);
PIER_API struct pier_response *pier_http_delete(const char *url, const struct pier_request *req);
PIER_API struct pier_response *pier_http_post(const char *url, const char *type, const void *body,
                                              size_t len, const struct pier_request *req);
PIER_API struct pier_response *pier_http_put(const char *url, const char *type, const void *body,
                                             size_t len, const struct pier_request *req);
PIER_API struct pier_response *pier_http_patch(const char *url, const char *type, const void *body,
                                               size_t len, const struct pier_request *req);

/* ---- client: responses ----
 *
 * What is returned lives as long as the response. Calls accept NULL: they return the code of the
 * task's last failure, NULL or false. */

/* 200, 404... and its phrase, "OK", "Not Found", as the server put it. */
PIER_API int pier_response_status(const struct pier_response *r);
PIER_API const char *pier_response_reason(const struct pier_response *r);

/* 10 or 11: HTTP/1.0 or 1.1. */
PIER_API int pier_response_version(const struct pier_response *r);

/* The first field of that name, in any case of letters; NULL: there is none. */
PIER_API const char *pier_response_field(const struct pier_response *r, const char *name);

/* The fields in their order. Whether there is one at index. */
PIER_API bool pier_response_field_at(const struct pier_response *r, int index, const char **name,
                                     const char **value);

/* Where it came from, after redirects; without user and fragment. */
PIER_API const char *pier_response_url(const struct pier_response *r);

/* How many bytes the body has as pier_response_read() gives it; -1: not known. */
PIER_API int64_t pier_response_len(const struct pier_response *r);

/* What the body begins with: the byte that was asked for by .from where the server complied (206),
 * else 0. */
PIER_API int64_t pier_response_from(const struct pier_response *r);

/* Waits for a piece of the body: 1 to cap bytes; 0 at its end; a negative code: -EPIPE when the
 * connection ended before, PIER_EPROTO for bad chunks or bad gzip, -EMSGSIZE beyond body_max. */
PIER_API ssize_t pier_response_read(struct pier_response *r, void *buf, size_t cap);

/* What is left of the body, all of it, with NUL behind it; its length, if asked, in *len. NULL on
 * failure, as pier_response_read(). Waits. */
PIER_API char *pier_response_all(struct pier_response *r, size_t *len);

/* When things were done, in nanoseconds since the call; 0: not at all, as on a connection that was
 * kept. After redirects: of the last request. */
struct pier_http_times {
    int64_t resolved, connected, secured, first_byte, total; /* total: the body's end, or now */
};
PIER_API void pier_response_times(const struct pier_response *r, struct pier_http_times *times);

/* Ends it. The connection is kept for the next request where the body has been read; otherwise it
 * is closed. NULL is fine. */
PIER_API void pier_response_free(struct pier_response *r);

#ifdef __cplusplus
}
#endif
#endif
