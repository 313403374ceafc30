/* SPDX-License-Identifier: MIT */
/*
 * net/tls_client.c - the client's handshake: whom it asks for, whom it believes, and what it
 * resumes.
 *
 * The name in a certificate is compared as RFC 6125 says, without wildcards within a label; a
 * literal address is looked for among the certificate's addresses, and never sent as SNI
 * (RFC 6066, 3).
 */
#define _GNU_SOURCE
#include "net/tls.h"

#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/x509v3.h>

#include <arpa/inet.h>
#include <string.h>

/* ---- whom ---- */

static bool is_address(const char *host)
{
    unsigned char raw[sizeof(struct in6_addr)];
    return inet_pton(AF_INET, host, raw) == 1 || inet_pton(AF_INET6, host, raw) == 1;
}

/* Without what is not part of a name: a zone, the dot that ends an absolute one. */
static void plain_host(char out[PI_HOST_CAP], const char *host)
{
    snprintf(out, PI_HOST_CAP, "%s", *host ? host : "localhost");
    out[strcspn(out, "%")] = '\0';
    size_t len = strlen(out);
    if (len > 1 && out[len - 1] == '.')
        out[len - 1] = '\0';
}

/* Asks for the host, and expects its name in the certificate. */
static int expect(struct pi_tls *t, const char *host)
{
    X509_VERIFY_PARAM *param = SSL_get0_param(t->ssl);
    char name[PI_HOST_CAP];
    plain_host(name, host);
    bool is_done;
    if (!*name || *name == '.') /* for OpenSSL any name, or any below it */
        return pi_fail_text(-EINVAL, "tls: \"%s\" is no name to verify", host);
    if (is_address(name)) {
        is_done = X509_VERIFY_PARAM_set1_ip_asc(param, name) == 1;
    } else {
        X509_VERIFY_PARAM_set_hostflags(param, X509_CHECK_FLAG_NO_PARTIAL_WILDCARDS);
        is_done = X509_VERIFY_PARAM_set1_host(param, name, 0) == 1 &&
                  SSL_set_tlsext_host_name(t->ssl, name) == 1;
    }
    if (is_done)
        return 0;
    ERR_clear_error();
    return pi_fail(-ENOMEM, "tls: %s", name);
}

/* ---- the pinned key ---- */

static int hash_key(unsigned char pin[PI_TLS_PIN], X509 *cert)
{
    unsigned char *spki = NULL;
    int len = i2d_X509_PUBKEY(X509_get_X509_PUBKEY(cert), &spki);
    int ok = len > 0 && EVP_Q_digest(NULL, "SHA256", NULL, spki, (size_t)len, pin, NULL) == 1;
    OPENSSL_free(spki);
    ERR_clear_error();
    return ok ? 0 : -ENOMEM;
}

static int check_pin(struct pi_tls *t)
{
    unsigned char pin[PI_TLS_PIN];
    char text[64], words[160];
    X509 *cert = SSL_get0_peer_certificate(t->ssl);
    if (!cert || hash_key(pin, cert) < 0)
        return pi_tls_fail_text(t, "the server has shown no key");
    if (CRYPTO_memcmp(pin, t->context->pin, sizeof pin) == 0)
        return 0;
    EVP_EncodeBlock((unsigned char *)text, pin, sizeof pin);
    snprintf(words, sizeof words, "the server's key is not the pinned one, but sha256//%s", text);
    return pi_tls_fail_text(t, words);
}

/* ---- resumption ---- */

static void resume(struct pi_tls *t)
{
    SSL_SESSION *session = t->session_key
                               ? pi_tls_sessions_take(t->context->sessions, t->session_key)
                               : NULL;
    if (session)
        SSL_set_session(t->ssl, session); /* a failure makes it a full handshake */
    SSL_SESSION_free(session);
    ERR_clear_error();
}

/* ---- the handshake ---- */

static void warn_insecure(struct pi_tls *t)
{
    const struct pi_tls_context *c = t->context;
    if (c->insecure && !c->has_pin)
        pier_log(PIER_LOG_WARN, "the server's certificate is not verified",
                 pier_str("peer", t->name ? t->name : pier_peer(t->conn)));
}

int pi_tls_shake_as_client(struct pier_conn *c, const char *host)
{
    struct pi_tls *t = c->own;
    int ms = t->context->timeout_ms;
    int rc = expect(t, host);
    if (rc < 0)
        return rc;
    warn_insecure(t);
    resume(t);
    rc = pi_tls_handshake(c, ms < 0 ? 0 : pier_after(ms * PIER_MILLISECOND));
    return rc == 0 && t->context->has_pin ? check_pin(t) : rc;
}

static int name_it(struct pi_tls *t, const struct pi_url *url, const char *server_name)
{
    char text[PI_URL_TEXT_CAP], key[PI_URL_TEXT_CAP + PI_HOST_CAP];
    pi_url_format(text, sizeof text, url);
    const char *mark = strstr(text, "://");
    t->name = pi_strdup(mark ? mark + 3 : text);
    snprintf(key, sizeof key, "%s %s", text, server_name ? server_name : "");
    t->session_key = pi_strdup(key);
    return t->name && t->session_key ? 0 : pi_fail(-ENOMEM, "tls: %s", text);
}

int pi_tls_connect(struct pier_conn *c, const struct pi_url *url, const struct pier_tls_opts *opts)
{
    const char *server_name = opts ? opts->server_name : NULL;
    struct pi_tls_context *context = pi_tls_context_get(opts, false);
    int rc = context ? pi_tls_attach(c, context) : pier_error_code();
    if (rc < 0)
        return rc;
    rc = name_it(c->own, url, server_name);
    if (rc == 0)
        rc = pi_tls_shake_as_client(c, server_name ? server_name : url->host);
    if (rc < 0)
        pi_tls_detach(c);
    return rc;
}
