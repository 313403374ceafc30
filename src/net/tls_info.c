/* SPDX-License-Identifier: MIT */
/*
 * net/tls_info.c - what was agreed on, and who the peer is, for handlers. Texts that OpenSSL does
 * not keep as such are made at the first call, and live as long as the session.
 */
#define _GNU_SOURCE
#include "net/tls.h"

#include <openssl/err.h>
#include <openssl/x509v3.h>

#include <string.h>

enum { ALPN, SUBJECT, NAMES, TEXT_CAP = 1024 };

/* Keeps the text in its place; "" where there is none, or no memory for it. */
static const char *keep(struct pi_tls *t, int which, const char *text)
{
    if (!t->texts[which])
        t->texts[which] = pi_strdup(text);
    return t->texts[which] ? t->texts[which] : "";
}

static const char *alpn_of(struct pi_tls *t)
{
    const unsigned char *bytes;
    unsigned len;
    char text[256];
    SSL_get0_alpn_selected(t->ssl, &bytes, &len);
    if (len == 0)
        return "";
    snprintf(text, sizeof text, "%.*s", (int)len, (const char *)bytes);
    return keep(t, ALPN, text);
}

static const char *subject_of(struct pi_tls *t, X509 *cert)
{
    if (t->texts[SUBJECT])
        return t->texts[SUBJECT];
    char text[TEXT_CAP];
    BIO *bio = BIO_new(BIO_s_mem());
    int len = 0;
    if (bio && X509_NAME_print_ex(bio, X509_get_subject_name(cert), 0,
                                  XN_FLAG_RFC2253 & ~(unsigned long)ASN1_STRFLGS_ESC_MSB) >= 0)
        len = BIO_read(bio, text, sizeof text - 1);
    text[len > 0 ? len : 0] = '\0';
    BIO_free(bio);
    ERR_clear_error();
    return keep(t, SUBJECT, text);
}

static const char *names_of(struct pi_tls *t, X509 *cert)
{
    char text[TEXT_CAP];
    return t->texts[NAMES] ? t->texts[NAMES]
                           : keep(t, NAMES, pi_tls_cert_names(text, sizeof text, cert));
}

static int64_t seconds_of(const ASN1_TIME *time)
{
    struct tm tm;
    return ASN1_TIME_to_tm(time, &tm) == 1 ? (int64_t)timegm(&tm) : 0;
}

int pier_tls_info(struct pier_conn *c, struct pier_tls_info *info)
{
    *info = (struct pier_tls_info){ "", "", "", "", false, false, "", "", 0 };
    if (!c)
        return pi_conn_null();
    if (c->transport != &pi_tls)
        return pi_conn_fail(c, "tls", -EOPNOTSUPP);
    struct pi_tls *t = c->own;
    X509 *cert = SSL_get0_peer_certificate(t->ssl);
    const char *name = SSL_get_servername(t->ssl, TLSEXT_NAMETYPE_host_name);
    const SSL_CIPHER *cipher = SSL_get_current_cipher(t->ssl);
    info->version = SSL_get_version(t->ssl);
    info->cipher = cipher ? SSL_CIPHER_get_name(cipher) : "";
    info->alpn = alpn_of(t);
    info->server_name = name ? name : "";
    info->resumed = SSL_session_reused(t->ssl) == 1;
    if (!cert)
        return 0;
    info->verified = !t->context->insecure && SSL_get_verify_result(t->ssl) == X509_V_OK;
    info->peer_subject = subject_of(t, cert);
    info->peer_names = names_of(t, cert);
    info->peer_expires = seconds_of(X509_get0_notAfter(cert));
    return 0;
}
