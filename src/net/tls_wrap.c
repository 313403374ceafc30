/* SPDX-License-Identifier: MIT */
/*
 * net/tls_wrap.c - TLS in mid-stream: a plain connection becomes one of TLS after both sides have
 * agreed to (STARTTLS; RFC 2595, RFC 3207), and may become plain again.
 *
 * What was sent before the agreement and is read after it would be taken for what TLS protects
 * (CVE-2011-0411): so nothing may lie in the look-ahead, in neither direction.
 */
#define _GNU_SOURCE
#include "net/tls.h"

#include <openssl/err.h>

#include <string.h>

/* 0, or why not. */
static int check(struct pier_conn *c)
{
    if (c->transport == &pi_tls)
        return pi_fail_text(-EISCONN, "tls: %s: it is TLS already", pier_peer(c));
    if (c->transport != &pi_tcp && c->transport != &pi_unix)
        return pi_conn_fail(c, "tls", -EOPNOTSUPP);
    if (c->read_error || c->write_error)
        return c->read_error ? c->read_error : c->write_error;
    if (c->reading || c->writing)
        return pi_conn_fail(c, "tls", -EBUSY);
    if (c->ahead_len > 0)
        return pi_fail_text(-EPROTO, "tls: %s: there is unread input from before TLS",
                            pier_peer(c));
    return 0;
}

static bool is_server_side(const struct pier_conn *c, const struct pier_tls_opts *opts)
{
    if (opts && opts->role != PIER_TLS_AUTO)
        return opts->role == PIER_TLS_SERVER;
    return c->is_owned;
}

static int shake_as_server(struct pier_conn *c)
{
    const struct pi_tls *t = c->own;
    int ms = t->context->timeout_ms;
    return pi_tls_handshake(c, ms < 0 ? 0 : pier_after(ms * PIER_MILLISECOND));
}

/* The peer's name in words and for resumption is what it has to prove. */
static int shake_as_client(struct pier_conn *c, const struct pier_tls_opts *opts)
{
    struct pi_tls *t = c->own;
    const char *name = opts && opts->server_name ? opts->server_name : "";
    if (!*name && !t->context->insecure)
        return pi_fail_text(-EINVAL, "tls: %s: no server_name to verify", pier_peer(c));
    char key[PI_HOST_CAP + PI_ADDR_TEXT_CAP];
    snprintf(key, sizeof key, "wrap %s %s", pier_peer(c), name);
    t->name = *name ? pi_strdup(name) : NULL;
    t->session_key = pi_strdup(key);
    if ((*name && !t->name) || !t->session_key)
        return pi_fail(-ENOMEM, "tls: %s", pier_peer(c));
    return pi_tls_shake_as_client(c, name);
}

int pier_tls_wrap(struct pier_conn *c, const struct pier_tls_opts *opts)
{
    if (!c)
        return pi_conn_null();
    int rc = check(c);
    if (rc < 0)
        return rc;
    bool is_server = is_server_side(c, opts);
    struct pi_tls_context *context = pi_tls_context_get(opts, is_server);
    rc = context ? pi_tls_attach(c, context) : pier_error_code();
    if (rc < 0)
        return rc;
    rc = is_server ? shake_as_server(c) : shake_as_client(c, opts);
    if (rc < 0) { /* half a handshake: nothing that follows can be understood */
        pi_tls_detach(c);
        c->read_error = c->write_error = rc;
    }
    return rc;
}

/* Reads until the peer has said its last word: 0 or a negative code. */
static int await_goodbye(struct pier_conn *c)
{
    char byte;
    ssize_t n = pi_conn_read_some(c, &byte, 1, 0);
    if (n > 0)
        return pi_fail_text(-EPROTO, "tls: %s: there is unread input at the end of TLS",
                            pier_peer(c));
    return (int)n;
}

/* What came behind the peer's last word is plain, and the first to be read. */
static int go_back(struct pier_conn *c)
{
    struct pi_tls *t = c->own;
    int rc = t->in.len > 0 ? pi_conn_put_back(c, t->in.at + t->in.start, t->in.len) : 0;
    pi_tls_detach(c);
    c->at_end = c->write_ended = false;
    if (rc < 0)
        c->read_error = rc;
    return rc < 0 ? pi_conn_fail(c, "tls", rc) : 0;
}

int pier_tls_unwrap(struct pier_conn *c)
{
    if (!c)
        return pi_conn_null();
    if (c->transport != &pi_tls)
        return pi_conn_fail(c, "tls", -EOPNOTSUPP);
    if (c->reading || c->writing)
        return pi_conn_fail(c, "tls", -EBUSY);
    if (c->ahead_len > 0)
        return pi_fail_text(-EPROTO, "tls: %s: there is unread input at the end of TLS",
                            pier_peer(c));
    int rc = pier_shutdown_write(c);
    if (rc == 0)
        rc = pi_tls_flush(c);
    if (rc == 0 && !c->at_end)
        rc = await_goodbye(c);
    return rc == 0 ? go_back(c) : rc;
}
