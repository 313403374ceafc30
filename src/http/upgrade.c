/* SPDX-License-Identifier: MIT */
/*
 * http/upgrade.c - a connection that leaves HTTP: by 101 (RFC 9110, 7.8), or as it is.
 *
 * What the client has sent behind its request goes back into the connection's look-ahead, and from
 * then on nothing of it is the server's but its end.
 */
#include "base/err.h"
#include "http/exchange.h"
#include "http/format.h"

/* A stop is the handler's to heed again. */
static struct pier_conn *leave(struct pier_exchange *ex)
{
    struct pi_http_conn *h = ex->h;
    if (pi_http_flush(h) < 0)
        return NULL;
    if (h->raw_len > 0 && pi_conn_put_back(h->conn, h->raw, h->raw_len) < 0) {
        pi_fail(-ENOMEM, "http: leave");
        return NULL;
    }
    h->raw_len = 0;
    h->conn->draining = h->draining;
    h->must_close = true;
    ex->is_hijacked = true;
    ex->res_state = PI_RES_ENDED;
    return h->conn;
}

static struct pier_conn *cannot(int code, const char *why)
{
    pi_fail_text(code, "http: %s", why);
    return NULL;
}

static struct pier_conn *not_offered(struct pier_exchange *ex, const char *protocol)
{
    pi_blame(ex, 426, NULL, 0);
    if (pi_res_put(ex, "Upgrade", protocol) < 0)
        return NULL;
    return cannot(-EPROTO, "the request offers no such upgrade");
}

struct pier_conn *pier_http_upgrade(struct pier_exchange *ex, const char *protocol)
{
    if (!ex || !protocol)
        return cannot(-EINVAL, "no exchange");
    if (ex->res_state != PI_RES_NONE)
        return cannot(-EALREADY, "the response has begun already");
    if (ex->req.minor == 0 || !ex->req.upgrade ||
        !pi_fields_have(&ex->req.fields, PI_FIELD_UPGRADE, protocol))
        return not_offered(ex, protocol);
    if (!pi_body_skip(ex))
        return cannot(-EPROTO, "the request's body is in the way of the upgrade");
    if (pi_res_put(ex, "Upgrade", protocol) < 0 || pi_res_switch(ex) < 0)
        return NULL;
    return leave(ex);
}

struct pier_conn *pier_http_hijack(struct pier_exchange *ex)
{
    if (!ex)
        return cannot(-EINVAL, "no exchange");
    if (ex->res_state != PI_RES_NONE)
        return cannot(-EALREADY, "the response has begun already");
    return leave(ex);
}
