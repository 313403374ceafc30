/* SPDX-License-Identifier: MIT */
/*
 * http/client.c - requests from beginning to response: connecting, sending, trying again, following
 * redirects.
 *
 * What follows from a server's answer never widens what the caller asked for: no credentials to
 * another origin, no step from https to http, no other scheme, a limit on steps. A request is sent
 * again only where that does no harm: its method may be repeated, and its body is there once more.
 */
#include "http/client.h"

#include "base/err.h"
#include "base/sys.h"
#include "net/tls.h"

#include <string.h>
#include <strings.h>

enum {
    IDLE_MAX = 32,
    IDLE_PER_SERVER = 8,
    IDLE_TIMEOUT_MS = 30 * 1000,
    READ_TIMEOUT_MS = 60 * 1000,
    REDIRECTS_MAX = 10,
    RETRY_FIRST_MS = 200,
    RETRY_MOST_MS = 10 * 1000,
    RETRY_AFTER_MOST_S = 60,
};

static const char user_agent[] = "pier/" PIER_VERSION;

/* ---- clients ---- */

struct pier_http_client *pier_http_client_new(const struct pier_http_client_opts *opts)
{
    struct pier_http_client *client = pi_zalloc(sizeof *client);
    if (client && opts)
        client->opts = *opts;
    if (client && !client->opts.no_cookies)
        client->jar = pi_cookie_jar_new();
    if (!client || (!client->jar && !client->opts.no_cookies)) {
        pi_free(client);
        pi_fail(-ENOMEM, "http client");
        return NULL;
    }
    const struct pier_http_client_opts *o = &client->opts;
    int timeout_ms = o->idle_timeout_ms ? o->idle_timeout_ms : IDLE_TIMEOUT_MS;
    client->pool.most = o->idle_max ? o->idle_max : IDLE_MAX;
    client->pool.most_per_key = o->idle_per_server ? o->idle_per_server : IDLE_PER_SERVER;
    client->pool.timeout_ns = timeout_ms < 0 ? 0 : timeout_ms * PIER_MILLISECOND;
    client->refs = 1;
    return client;
}

void pi_client_unref(struct pier_http_client *client)
{
    if (--client->refs > 0)
        return;
    pi_pool_fini(&client->pool);
    pi_cookie_jar_free(client->jar);
    pi_free(client);
}

/* A response that is freed later gives its connection to a pool that keeps none. */
void pier_http_client_free(struct pier_http_client *client)
{
    if (!client)
        return;
    pi_pool_fini(&client->pool);
    client->pool.most = client->pool.most_per_key = 0;
    pi_client_unref(client);
}

/* ---- one call ---- */

/* A call on its way through redirects and tries. Too much for a task's frame: allocated. */
struct call {
    struct pier_http_client *client;
    const struct pier_request *req;
    const char *method;
    bool has_body, same_origin;
    bool source_used; /* a source has been read, and cannot be again */
    int64_t began_ns, deadline_ns;
    bool on_old_link;    /* the try that has failed was on a kept connection... */
    bool had_bytes;      /* ...and something of a response came */
    struct pi_hop route; /* from here on not cleared: 19 KiB */
    struct pi_target target, next;
};

static struct pier_dial_opts dial_opts(const struct pier_http_client_opts *o)
{
    return (struct pier_dial_opts){
        .connect_timeout_ms = o->connect_timeout_ms,
        .read_timeout_ms = o->read_timeout_ms ? o->read_timeout_ms : READ_TIMEOUT_MS,
        .write_timeout_ms = o->write_timeout_ms,
    };
}

/* Asks the proxy for a way through (RFC 9110, 9.3.6). 0 or a negative code. */
static int open_tunnel(const struct call *k, struct pi_link *link)
{
    struct pi_h1_out o = { .buf = link->buf, .cap = link->cap };
    char to[PI_HOST_CAP + 16];
    bool is_ipv6 = strchr(k->target.host, ':') != NULL;
    snprintf(to, sizeof to, "%s%s%s:%d", is_ipv6 ? "[" : "", k->target.host, is_ipv6 ? "]" : "",
             k->target.port);
    struct pi_part where = { to, strlen(to) };
    pi_h1_out_request(&o, (struct pi_part){ "CONNECT", 7 }, where);
    pi_h1_out_field(&o, (struct pi_part){ "Host", 4 }, where);
    if (*k->route.proxy_auth)
        pi_h1_out_field(&o, (struct pi_part){ "Proxy-Authorization", 19 },
                        (struct pi_part){ k->route.proxy_auth, strlen(k->route.proxy_auth) });
    ssize_t len = pi_h1_out_end(&o);
    if (len < 0)
        return pi_fail((int)len, "proxy %s", k->route.dial);
    ssize_t rc = pier_write(link->conn, link->buf, (size_t)len);
    if (rc < 0)
        return (int)rc;
    struct pier_response r = { .url = (char *)(uintptr_t)k->route.dial, .link = link };
    rc = pi_response_head(&r, PI_H1_CONNECT);
    if (rc < 0)
        return (int)rc;
    if (r.head.status / 100 != 2)
        return pi_fail_connect(-ECONNREFUSED, "proxy %s: %d %s for %s", k->route.dial,
                               r.head.status, pier_response_reason(&r), to);
    if (link->start != link->len)
        return pi_fail_text(PIER_EPROTO, "proxy %s: bytes before the tunnel is used",
                            k->route.dial);
    link->start = link->len = 0;
    return 0;
}

/* TLS with the server itself, through a tunnel too. 0 or a negative code. */
static int secure(const struct call *k, struct pi_link *link, struct pi_dial_times *times)
{
    char text[PI_URL_TEXT_CAP];
    struct pi_url url;
    struct pier_tls_opts opts = { .alpn = "http/1.1" };
    bool is_ipv6 = strchr(k->target.host, ':') != NULL;
    if (k->client->opts.tls)
        opts = *k->client->opts.tls;
    if (!opts.alpn)
        opts.alpn = "http/1.1";
    snprintf(text, sizeof text, "tls://%s%s%s:%d", is_ipv6 ? "[" : "", k->target.host,
             is_ipv6 ? "]" : "", k->target.port);
    int rc = pi_url_parse(&url, text, true);
    if (rc == 0)
        rc = pi_tls_connect(link->conn, &url, &opts);
    if (rc == 0)
        times->secured_ns = pi_clock_ns();
    return rc;
}

static bool may_repeat(const struct call *k)
{
    return pi_method_is_idempotent(k->method) && !k->source_used;
}

/* A connection for the call's route: one that was kept, or a new one. */
static struct pi_link *connect_link(struct call *k, struct pi_dial_times *times, bool fresh)
{
    struct pi_link *link = fresh ? NULL
                                 : pi_pool_take(&k->client->pool, k->route.key, may_repeat(k));
    if (link)
        return link;
    struct pier_dial_opts opts = dial_opts(&k->client->opts);
    struct pier_conn *conn = pi_dial(k->route.dial, &opts, times);
    if (!conn)
        return NULL;
    link = pi_link_new(conn, k->route.key);
    if (!link) {
        pier_close(conn);
        pi_fail(-ENOMEM, "%s", k->target.text);
        return NULL;
    }
    int rc = k->route.tunnels ? open_tunnel(k, link) : 0;
    if (rc == 0 && k->target.is_https)
        rc = secure(k, link, times);
    if (rc < 0) {
        pi_link_free(link);
        return NULL;
    }
    return link;
}

static struct pier_response *response_new(struct call *k)
{
    struct pier_response *r = pi_alloc(sizeof *r);
    char *url = pi_strdup(k->target.text);
    if (!r || !url) {
        pi_free(r);
        pi_free(url);
        pi_fail(-ENOMEM, "%s", k->target.text);
        return NULL;
    }
    memset(r, 0, offsetof(struct pier_response, head));
    r->url = url;
    r->client = k->client;
    r->client->refs++;
    r->began_ns = k->began_ns;
    r->deadline_ns = k->deadline_ns;
    r->most = k->req->body_max;
    r->asked_gzip = !k->req->no_gzip && k->req->from <= 0;
    return r;
}

static const char *agent_of(const struct call *k)
{
    const char *given = k->client->opts.user_agent;
    return given ? given : user_agent;
}

/* A server may answer, and close, before it has read a body to its end: the answer counts. */
static int send_and_read_head(struct call *k, struct pier_response *r)
{
    const struct pi_send send = {
        .req = k->req,
        .target = &k->target,
        .route = &k->route,
        .method = k->method,
        .user_agent = agent_of(k),
        .jar = k->client->jar,
        .same_origin = k->same_origin,
        .has_body = k->has_body,
    };
    k->source_used = k->source_used || (k->has_body && k->req->source);
    int sent = pi_request_send(&send, r->link);
    bool may_have_answered = sent == -EPIPE || sent == -ECONNRESET;
    if (sent < 0 && !may_have_answered)
        return sent;
    r->link->start = r->link->len = 0;
    int rc = pi_response_head(r, pi_method_id(k->method));
    if (rc == 0 && sent < 0)
        r->head.keep_alive = false;
    return rc;
}

/* One try. NULL on failure. */
static struct pier_response *try_once(struct call *k, bool fresh)
{
    struct pier_response *r = response_new(k);
    if (!r)
        return NULL;
    k->on_old_link = k->had_bytes = false;
    r->link = connect_link(k, &r->dialled, fresh);
    int rc = r->link ? 0 : -1;
    if (rc == 0) {
        k->on_old_link = r->link->was_used;
        rc = send_and_read_head(k, r);
        k->had_bytes = r->first_byte_ns != 0;
    }
    if (rc == 0)
        rc = pi_response_body_begin(r);
    if (rc < 0) {
        r->error = -EPIPE; /* its connection is of no use */
        pier_response_free(r);
        return NULL;
    }
    return r;
}

/* ---- again ---- */

/* The connection has ended rather than told of something. */
static bool is_broken(int code)
{
    return code == -EPIPE || code == -ECONNRESET;
}

/* A failure that may be another one's next time. */
static bool is_passing(int code)
{
    switch (code) {
    case -EPIPE:
    case -ECONNRESET:
    case -ECONNREFUSED:
    case -ECONNABORTED:
    case -EHOSTUNREACH:
    case -ENETUNREACH:
    case -ETIMEDOUT:
    case PIER_ERESOLVE:
        return true;
    default:
        return false;
    }
}

static bool is_busy(int status)
{
    return status == 429 || status == 502 || status == 503 || status == 504;
}

/* How long to wait before try number n, from 1: doubled each time, a random half of it, at least
 * what the server asks for. */
static int64_t pause_before(int n, const struct pier_response *r)
{
    int64_t ms = RETRY_FIRST_MS << (n < 8 ? n - 1 : 7);
    uint32_t random;
    pi_random(&random, sizeof random);
    if (ms > RETRY_MOST_MS)
        ms = RETRY_MOST_MS;
    ms = ms / 2 + (int64_t)(random % (uint32_t)(ms / 2 + 1));
    const char *after = r ? pi_response_get(r, PI_FIELD_RETRY_AFTER) : NULL;
    int64_t seconds = 0;
    for (; after && *after >= '0' && *after <= '9' && seconds < RETRY_AFTER_MOST_S; after++)
        seconds = seconds * 10 + (*after - '0');
    if (seconds > RETRY_AFTER_MOST_S)
        seconds = RETRY_AFTER_MOST_S;
    return (seconds * 1000 > ms ? seconds * 1000 : ms) * PIER_MILLISECOND;
}

/* A kept connection that the server was about to close says nothing of the server: there is one
 * more try for that on a new one, which costs the caller none of his. */
static struct pier_response *try_until(struct call *k)
{
    bool fresh = false;
    int tries = 0;
    for (;;) {
        struct pier_response *r = try_once(k, fresh);
        int code = r ? 0 : pier_error_code();
        if (!r && k->on_old_link && !k->had_bytes && is_broken(code) && may_repeat(k)) {
            fresh = true;
            continue;
        }
        bool again = r ? is_busy(r->head.status) : is_passing(code) && !k->had_bytes;
        if (!again || tries >= k->req->retries || !may_repeat(k))
            return r;
        int64_t pause_ns = pause_before(++tries, r);
        pier_response_free(r);
        if (pier_sleep(pause_ns) < 0)
            return NULL;
    }
}

/* ---- redirects ---- */

static bool is_redirect(const struct pier_response *r)
{
    int status = r->head.status;
    bool is_one = status == 301 || status == 302 || status == 303 || status == 307 || status == 308;
    return is_one && pi_response_get(r, PI_FIELD_LOCATION);
}

static bool is_same_origin(const struct pi_target *a, const struct pi_target *b)
{
    return a->is_https == b->is_https && a->port == b->port && strcasecmp(a->host, b->host) == 0;
}

/* RFC 9110, 15.4: what everybody does about 301 and 302. */
static void change_method(struct call *k, int status)
{
    bool to_get = (status == 303 && strcmp(k->method, "HEAD") != 0) ||
                  ((status == 301 || status == 302) && strcmp(k->method, "POST") == 0);
    if (!to_get)
        return;
    k->method = "GET";
    k->has_body = false;
}

/* Sets the call to where r points. 0 or a negative code. */
static int follow(struct call *k, const struct pier_response *r)
{
    int rc = pi_target_parse(&k->next, pi_response_get(r, PI_FIELD_LOCATION), &k->target);
    if (rc < 0)
        return rc;
    if (k->target.is_https && !k->next.is_https)
        return pi_fail_text(PIER_EPROTO, "%s: redirected from https to %s", k->target.text,
                            k->next.text);
    change_method(k, r->head.status);
    if (k->has_body && k->req->source)
        return pi_fail_text(-ESPIPE, "%s: redirected to %s, and the body cannot be sent again",
                            k->target.text, k->next.text);
    bool stays = is_same_origin(&k->target, &k->next);
    k->same_origin = k->same_origin && stays;
    bool has_user = k->target.has_user;
    char user[sizeof k->target.user], password[sizeof k->target.password];
    memcpy(user, k->target.user, sizeof user);
    memcpy(password, k->target.password, sizeof password);
    k->target = k->next;
    ptrdiff_t moved = k->target.text - k->next.text;
    k->target.authority.at += moved;
    k->target.path.at += moved;
    k->target.has_user = has_user;
    memcpy(k->target.user, user, sizeof user);
    memcpy(k->target.password, password, sizeof password);
    return pi_hop_find(&k->route, &k->target, &k->client->opts);
}

static void keep_cookies(struct call *k, const struct pier_response *r)
{
    static const struct pi_part name = { "Set-Cookie", 10 };
    const struct pi_fields *f = &r->head.fields;
    if (!k->client->jar || !f->first[PI_FIELD_SET_COOKIE])
        return;
    for (int i = pi_fields_find(f, name, 0); i >= 0; i = pi_fields_find(f, name, (uint32_t)i + 1))
        pi_cookie_jar_set(k->client->jar, &k->target, pi_field_value(f, (uint32_t)i));
}

static struct pier_response *run(struct call *k)
{
    int most = k->req->redirects_max ? k->req->redirects_max : REDIRECTS_MAX;
    for (int steps = 0;; steps++) {
        struct pier_response *r = try_until(k);
        if (!r)
            return NULL;
        keep_cookies(k, r);
        if (!is_redirect(r) || most < 0)
            return r;
        int rc = steps < most ? follow(k, r)
                              : pi_fail_text(-ELOOP, "%s: more than %d redirects", r->url, most);
        pier_response_free(r);
        if (rc < 0)
            return NULL;
    }
}

/* ---- the interface ---- */

static struct pier_response *call_with(struct pier_http_client *client, const char *url,
                                       const struct pier_request *req)
{
    struct call *k = pi_alloc(sizeof *k);
    if (!k) {
        pi_fail(-ENOMEM, "http request");
        return NULL;
    }
    memset(k, 0, offsetof(struct call, route));
    k->client = client;
    k->req = req;
    k->method = req->method ? req->method : "GET";
    k->has_body = req->source || req->body_len > 0;
    k->same_origin = true;
    k->began_ns = pi_clock_ns();
    k->deadline_ns = req->timeout_ms > 0 ? k->began_ns + req->timeout_ms * PIER_MILLISECOND : 0;
    struct pier_response *r = NULL;
    if (pi_target_parse(&k->target, url, NULL) == 0 &&
        pi_hop_find(&k->route, &k->target, &client->opts) == 0) {
        PIER_SCOPE(limit, k->deadline_ns);
        r = run(k);
    }
    pi_free(k);
    return r;
}

struct pier_response *pier_http_call(const char *url, const struct pier_request *req)
{
    static const struct pier_request none;
    if (!req)
        req = &none;
    if (req->client)
        return call_with(req->client, url, req);
    struct pier_http_client *client = pier_http_client_new(NULL);
    if (!client)
        return NULL;
    struct pier_response *r = call_with(client, url, req);
    pier_http_client_free(client);
    return r;
}

static struct pier_response *call_as(const char *method, const char *url,
                                     const struct pier_request *req)
{
    struct pier_request own = { 0 };
    if (req)
        own = *req;
    own.method = method;
    own.body = NULL;
    own.body_len = 0;
    own.source = NULL;
    return pier_http_call(url, &own);
}

struct pier_response *pier_http_get(const char *url, const struct pier_request *req)
{
    return call_as("GET", url, req);
}

struct pier_response *pier_http_head(const char *url, const struct pier_request *req)
{
    return call_as("HEAD", url, req);
}

struct pier_response *pier_http_delete(const char *url, const struct pier_request *req)
{
    return call_as("DELETE", url, req);
}

/* What has a body. */
static struct pier_response *send_as(const struct pier_request *how, const char *url,
                                     const struct pier_request *req)
{
    struct pier_request own = { 0 };
    if (req)
        own = *req;
    own.method = how->method;
    own.body = how->body;
    own.body_len = how->body_len;
    own.body_type = how->body_type;
    own.source = NULL;
    return pier_http_call(url, &own);
}

struct pier_response *pier_http_post(const char *url, const char *type, const void *body,
                                     size_t len, const struct pier_request *req)
{
    return send_as(
        &(struct pier_request){
            .method = "POST", .body_type = type, .body = body, .body_len = len },
        url, req);
}

struct pier_response *pier_http_put(const char *url, const char *type, const void *body, size_t len,
                                    const struct pier_request *req)
{
    return send_as(
        &(struct pier_request){ .method = "PUT", .body_type = type, .body = body, .body_len = len },
        url, req);
}

struct pier_response *pier_http_patch(const char *url, const char *type, const void *body,
                                      size_t len, const struct pier_request *req)
{
    return send_as(
        &(struct pier_request){
            .method = "PATCH", .body_type = type, .body = body, .body_len = len },
        url, req);
}
