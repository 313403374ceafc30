/* SPDX-License-Identifier: MIT */
/*
 * http/cors.c - which other sites' pages may read a service's responses (the CORS protocol of the
 * WHATWG Fetch standard).
 *
 * It protects users of browsers, not the service: a request of another origin runs its handler, and
 * its response merely does not say that the page may read it. Responses that would differ for
 * another origin say so in Vary, or caches would mix them up.
 */
#define _GNU_SOURCE
#include "base/err.h"
#include "http/observe.h"

#include <pier/text.h>

#include <string.h>

enum { MAX_AGE_S = 600 };

/* ---- options ---- */

static bool is_any(const char *text)
{
    return strcmp(text, "*") == 0;
}

static bool allows_all(const struct pier_cors_opts *o)
{
    return o->origins && o->origins[0] && is_any(o->origins[0]);
}

/* An origin as browsers send it: "https://example.com", and nothing behind it. */
static bool is_origin(const char *text)
{
    struct pier_uri u;
    if (pier_uri_parse(&u, text, strlen(text)) < 0 || !u.scheme.ptr || !u.host.ptr)
        return false;
    for (const char *c = text; *c; c++)
        if (*c >= 'A' && *c <= 'Z')
            return false;
    return u.host.len > 0 && u.path.len == 0 && !u.userinfo.ptr && !u.query.ptr && !u.fragment.ptr;
}

static bool is_list(const char *text)
{
    return !text || pi_is_field_value(text, strlen(text));
}

static int check(const struct pier_cors_opts *o)
{
    if (!o || !o->origins || !o->origins[0])
        return pi_fail_text(-EINVAL, "cors: no origin is allowed");
    bool any = allows_all(o) || (o->methods && is_any(o->methods)) ||
               (o->headers && is_any(o->headers)) || (o->expose && is_any(o->expose));
    if (any && o->credentials)
        return pi_fail_text(-EINVAL, "cors: \"*\" does not go with credentials");
    for (const char *const *at = o->origins; *at; at++)
        if (!is_origin(*at) && !(is_any(*at) && at == o->origins && !at[1]))
            return pi_fail_text(-EINVAL, "cors: \"%s\" is no origin", *at);
    if (!is_list(o->methods) || !is_list(o->headers) || !is_list(o->expose) || o->max_age_s < 0)
        return pi_fail_text(-EINVAL, "cors: an option has a value that it cannot have");
    return 0;
}

/* ---- exchanges ---- */

static bool is_allowed(const struct pier_cors_opts *o, const char *origin)
{
    if (allows_all(o))
        return true;
    for (const char *const *at = o->origins; *at; at++)
        if (strcmp(*at, origin) == 0)
            return true;
    return false;
}

/* When the response begins, so that the handler's own Vary stays. */
static void add_vary(struct pier_exchange *ex, void *arg)
{
    pier_res_add(ex, "Vary", arg); /* no room: there are 64 fields already */
}

static int set_origin(struct pier_exchange *ex, const struct pier_cors_opts *o, const char *origin)
{
    int rc = pier_res_set(ex, "Access-Control-Allow-Origin", allows_all(o) ? "*" : origin);
    if (rc == 0 && o->credentials)
        rc = pier_res_set(ex, "Access-Control-Allow-Credentials", "true");
    return rc;
}

static int answer_preflight(struct pier_exchange *ex, const struct pier_cors_opts *o,
                            const char *origin)
{
    char age[24];
    int rc = pier_res_on_begin(ex, add_vary,
                               "Access-Control-Request-Method, Access-Control-Request-Headers");
    if (rc == 0 && !is_allowed(o, origin))
        return pier_http_error(ex, 403, "pages of that origin may not do this");
    snprintf(age, sizeof age, "%d", o->max_age_s ? o->max_age_s : MAX_AGE_S);
    if (rc == 0)
        rc = set_origin(ex, o, origin);
    if (rc == 0)
        rc = pier_res_set(ex, "Access-Control-Allow-Methods",
                          o->methods ? o->methods : "GET, HEAD, POST");
    if (rc == 0 && o->headers)
        rc = pier_res_set(ex, "Access-Control-Allow-Headers", o->headers);
    if (rc == 0)
        rc = pier_res_set(ex, "Access-Control-Max-Age", age);
    return rc < 0 ? rc : pier_http_empty(ex, 204);
}

static int cors(struct pier_exchange *ex, void *arg)
{
    const struct pier_cors_opts *o = arg;
    const char *origin = pier_req_field(ex, "Origin");
    int rc = allows_all(o) ? 0 : pier_res_on_begin(ex, add_vary, "Origin");
    if (rc == 0 && origin && strcmp(pier_req_method(ex), "OPTIONS") == 0 &&
        pier_req_field(ex, "Access-Control-Request-Method"))
        return answer_preflight(ex, o, origin);
    if (rc == 0 && origin && is_allowed(o, origin)) {
        rc = set_origin(ex, o, origin);
        if (rc == 0 && o->expose)
            rc = pier_res_set(ex, "Access-Control-Expose-Headers", o->expose);
    }
    return rc < 0 ? rc : pier_next(ex);
}

int pier_use_cors(struct pier_router *r, const struct pier_cors_opts *opts)
{
    int rc = check(opts);
    if (rc < 0)
        return pi_router_remember(r, rc);
    return pier_use(r, cors, (void *)opts);
}
