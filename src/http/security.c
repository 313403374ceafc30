/* SPDX-License-Identifier: MIT */
/*
 * http/security.c - the fields that tell browsers to be careful with a service's pages, and the
 * request's id in the response.
 *
 * They are set before the handler runs, which may set its own in their place; errors carry them
 * too. Strict-Transport-Security is said over TLS alone (RFC 6797, 7.2).
 */
#include "base/err.h"
#include "http/observe.h"

#include <pier/http.h>

enum { YEAR_S = 365 * 86400 };

#define POLICY                                                            \
    "default-src 'self'; object-src 'none'; base-uri 'self'; form-action" \
    " 'self'; frame-ancestors 'none'"
#define PERMISSIONS "camera=(), geolocation=(), microphone=(), payment=(), usb=()"

/* NULL: what is usual; "": not at all. */
static int set(struct pier_exchange *ex, const char *name, const char *value, const char *usual)
{
    const char *text = value ? value : usual;
    return text[0] ? pier_res_set(ex, name, text) : 0;
}

static int set_hsts(struct pier_exchange *ex, const struct pier_security_opts *o)
{
    if (!pier_req_is_secure(ex) || o->hsts_max_age_s < 0)
        return 0;
    int64_t age = o->hsts_max_age_s ? o->hsts_max_age_s : YEAR_S;
    const char *text = pier_exchange_printf(ex, "max-age=%lld%s%s", (long long)age,
                                            o->hsts_subdomains ? "; includeSubDomains" : "",
                                            o->hsts_preload ? "; preload" : "");
    return text ? pier_res_set(ex, "Strict-Transport-Security", text) : pier_error_code();
}

static int secure(struct pier_exchange *ex, void *arg)
{
    static const struct pier_security_opts none;
    const struct pier_security_opts *o = arg ? arg : &none;
    int rc = pier_res_set(ex, "X-Content-Type-Options", "nosniff");
    if (rc == 0)
        rc = set(ex, "Content-Security-Policy", o->content_policy, POLICY);
    if (rc == 0)
        rc = set(ex, "X-Frame-Options", o->frame_options, "DENY");
    if (rc == 0)
        rc = set(ex, "Referrer-Policy", o->referrer_policy, "strict-origin-when-cross-origin");
    if (rc == 0)
        rc = set(ex, "Permissions-Policy", o->permissions_policy, PERMISSIONS);
    if (rc == 0)
        rc = set(ex, "Cross-Origin-Opener-Policy", o->opener_policy, "same-origin");
    if (rc == 0)
        rc = set_hsts(ex, o);
    return rc < 0 ? rc : pier_next(ex);
}

int pier_use_security(struct pier_router *r, const struct pier_security_opts *opts)
{
    return pier_use(r, secure, (void *)opts);
}

static int send_id(struct pier_exchange *ex, void *arg)
{
    int rc = pier_res_set(ex, "X-Request-Id", pier_req_id(ex));
    return rc < 0 ? rc : pier_next(ex);
}

int pier_use_request_id(struct pier_router *r)
{
    return pier_use(r, send_id, NULL);
}
