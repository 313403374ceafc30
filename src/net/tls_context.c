/* SPDX-License-Identifier: MIT */
/*
 * net/tls_context.c - from options and files to SSL_CTX: what is common to all sessions of a
 * server's worker, or of a client's options.
 *
 * A server has one SSL_CTX for each set of names, the default first; pairs of other kinds of keys
 * for the same name share one. Contexts never change once they are made: new files make a new one,
 * and sessions keep the one that they began with.
 */
#define _GNU_SOURCE
#include "net/tls.h"

#include "base/assert.h"

#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/x509v3.h>

#include <pthread.h>
#include <string.h>
#include <sys/stat.h>

#define CIPHERS_1_2 "ECDHE+AESGCM:ECDHE+CHACHA20"
/* 128 bits are as good as 256 against anybody, and a fifth cheaper. */
#define CIPHERS_1_3 "TLS_AES_128_GCM_SHA256:TLS_AES_256_GCM_SHA384:TLS_CHACHA20_POLY1305_SHA256"

enum {
    RESUME_S = 2 * 60 * 60, /* as long as a ticket's key is good for */
    ALPN_MOST = 255,
};

/* ---- PEM ---- */

/* Nobody is asked for a password. */
static int no_password(char *buf, int size, int is_writing, void *unused)
{
    return -1;
}

static BIO *open_file(const struct pi_tls_file *f)
{
    return BIO_new_mem_buf(f->bytes, (int)f->len);
}

/* Whether a reader of PEM stopped at the end of the file, and not at what it could not read. */
static bool is_end_of_pem(void)
{
    unsigned long last = ERR_peek_last_error();
    bool is_end = ERR_GET_LIB(last) == ERR_LIB_PEM && ERR_GET_REASON(last) == PEM_R_NO_START_LINE;
    if (is_end)
        ERR_clear_error();
    return is_end;
}

static int use_chain(SSL_CTX *ctx, BIO *bio)
{
    X509 *next;
    while ((next = PEM_read_bio_X509(bio, NULL, no_password, NULL)) != NULL) {
        if (SSL_CTX_add0_chain_cert(ctx, next) != 1) {
            X509_free(next);
            return -1;
        }
    }
    return is_end_of_pem() ? 0 : -1;
}

/* The first certificate of a file; NULL: none. */
static X509 *read_leaf(const struct pi_tls_file *f)
{
    BIO *bio = open_file(f);
    X509 *leaf = bio ? PEM_read_bio_X509_AUX(bio, NULL, no_password, NULL) : NULL;
    BIO_free(bio);
    return leaf;
}

static int use_cert(SSL_CTX *ctx, const struct pi_tls_file *f)
{
    BIO *bio = open_file(f);
    X509 *leaf = bio ? PEM_read_bio_X509_AUX(bio, NULL, no_password, NULL) : NULL;
    int rc = leaf && SSL_CTX_use_certificate(ctx, leaf) == 1 ? 0 : -1;
    if (rc == 0)
        rc = use_chain(ctx, bio);
    if (rc == 0 && X509_cmp_current_time(X509_get0_notAfter(leaf)) < 0) {
        char date[16];
        pier_log(PIER_LOG_WARN, "the certificate has expired", pier_str("file", f->path),
                 pier_str("expired", pi_tls_date(date, X509_get0_notAfter(leaf))));
    }
    X509_free(leaf);
    BIO_free(bio);
    return rc < 0 ? pi_tls_fail_file("certificate", f->path) : 0;
}

static int use_key(SSL_CTX *ctx, const struct pi_tls_pair *pair)
{
    BIO *bio = open_file(&pair->key);
    EVP_PKEY *key = bio ? PEM_read_bio_PrivateKey(bio, NULL, no_password, NULL) : NULL;
    X509 *leaf = SSL_CTX_get0_certificate(ctx);
    int rc = 0;
    if (!key)
        rc = pi_tls_fail_file("key", pair->key.path);
    else if (leaf && X509_check_private_key(leaf, key) != 1)
        rc = pi_fail_text(PIER_ETLS, "tls: key %s is not the one of certificate %s", pair->key.path,
                          pair->cert.path);
    else if (SSL_CTX_use_PrivateKey(ctx, key) != 1)
        rc = pi_tls_fail_file("key", pair->key.path);
    ERR_clear_error();
    EVP_PKEY_free(key);
    BIO_free(bio);
    return rc;
}

static int use_pair(SSL_CTX *ctx, const struct pi_tls_pair *pair)
{
    int rc = use_cert(ctx, &pair->cert);
    return rc == 0 ? use_key(ctx, pair) : rc;
}

/* Adds the authorities of a file to those that are trusted, and, for a server, to the list that
 * clients are told. */
static int use_authorities(SSL_CTX *ctx, const struct pi_tls_file *f, bool tell)
{
    BIO *bio = open_file(f);
    X509_STORE *store = SSL_CTX_get_cert_store(ctx);
    X509 *cert;
    int rc = bio ? 0 : -1, count = 0;
    while (rc == 0 && (cert = PEM_read_bio_X509_AUX(bio, NULL, no_password, NULL)) != NULL) {
        count++;
        rc = X509_STORE_add_cert(store, cert) == 1 ? 0 : -1;
        if (rc == 0 && tell && SSL_CTX_add_client_CA(ctx, cert) != 1)
            rc = -1;
        X509_free(cert);
    }
    bool is_end = is_end_of_pem();
    BIO_free(bio);
    if (rc < 0 || !is_end)
        return pi_tls_fail_file("authorities", f->path);
    return count > 0 ? 0
                     : pi_fail_text(PIER_ETLS, "tls: authorities %s: there is no certificate in it",
                                    f->path);
}

/* ---- one SSL_CTX ---- */

static int set_common(SSL_CTX *ctx, const struct pier_tls_opts *opts)
{
    int least = opts->min_version == PIER_TLS_1_3 ? TLS1_3_VERSION : TLS1_2_VERSION;
    SSL_CTX_set_mode(ctx, SSL_MODE_RELEASE_BUFFERS | SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER);
    SSL_CTX_set_options(ctx, SSL_OP_NO_RENEGOTIATION | SSL_OP_NO_COMPRESSION |
                                 SSL_OP_CIPHER_SERVER_PREFERENCE | SSL_OP_PRIORITIZE_CHACHA);
    if (SSL_CTX_set_min_proto_version(ctx, least) != 1 ||
        SSL_CTX_set_ciphersuites(ctx, CIPHERS_1_3) != 1)
        return pi_tls_fail_file("versions and ciphers", "of TLS");
    if (SSL_CTX_set_cipher_list(ctx, opts->ciphers ? opts->ciphers : CIPHERS_1_2) != 1) {
        ERR_clear_error();
        return pi_fail_text(-EINVAL, "tls: ciphers \"%s\": there is none of that name",
                            opts->ciphers);
    }
    pi_tls_keylog_enable(ctx);
    return 0;
}

static SSL_CTX *new_ctx(const struct pier_tls_opts *opts, bool is_server)
{
    SSL_CTX *ctx = SSL_CTX_new(is_server ? TLS_server_method() : TLS_client_method());
    if (!ctx) {
        ERR_clear_error();
        pi_fail(-ENOMEM, "tls");
    } else if (set_common(ctx, opts) < 0) {
        SSL_CTX_free(ctx);
        ctx = NULL;
    }
    return ctx;
}

/* ---- servers ---- */

/* The protocol that we like best of those that the client knows (RFC 7301, 3.2). */
static int choose_alpn(SSL *ssl, const unsigned char **out, unsigned char *len,
                       const unsigned char *theirs, unsigned theirs_len, void *arg)
{
    const struct pi_tls_context *c = arg;
    unsigned char *found = NULL;
    int rc = SSL_select_next_proto(&found, len, c->alpn, c->alpn_len, theirs, theirs_len);
    *out = found;
    return rc == OPENSSL_NPN_NEGOTIATED ? SSL_TLSEXT_ERR_OK : SSL_TLSEXT_ERR_ALERT_FATAL;
}

static bool is_for(SSL_CTX *ctx, const char *name)
{
    X509 *leaf = SSL_CTX_get0_certificate(ctx);
    return leaf && X509_check_host(leaf, name, 0, 0, NULL) == 1;
}

/* SSL_set_SSL_CTX() takes the certificate along and leaves the rest as it was. */
static int choose_by_name(SSL *ssl, int *alert, void *arg)
{
    const struct pi_tls_context *c = arg;
    const char *name = SSL_get_servername(ssl, TLSEXT_NAMETYPE_host_name);
    for (int i = 0; name && i < c->count; i++) {
        if (!is_for(c->by_name[i], name))
            continue;
        if (i > 0)
            SSL_set_SSL_CTX(ssl, c->by_name[i]);
        return SSL_TLSEXT_ERR_OK;
    }
    return SSL_TLSEXT_ERR_NOACK;
}

/* OpenSSL has chosen the certificate by now: one name may have several. */
static int staple(SSL *ssl, void *arg)
{
    const struct pi_tls_context *c = arg;
    const X509 *cert = SSL_get_certificate(ssl);
    for (int i = 0; cert && i < c->answer_count; i++) {
        const struct pi_tls_answer *a = &c->answers[i];
        if (X509_cmp(a->cert, cert) != 0)
            continue;
        unsigned char *copy = a->len > 0 ? OPENSSL_memdup(a->bytes, a->len) : NULL;
        if (!copy)
            return SSL_TLSEXT_ERR_NOACK;
        SSL_set_tlsext_status_ocsp_resp(ssl, copy, (long)a->len);
        return SSL_TLSEXT_ERR_OK;
    }
    return SSL_TLSEXT_ERR_NOACK;
}

/* For the certificate that was given to ctx last. */
static int use_answer(struct pi_tls_context *c, SSL_CTX *ctx, const struct pi_tls_file *f)
{
    struct pi_tls_answer *a = &c->answers[c->answer_count];
    a->bytes = pi_alloc(f->len);
    if (!a->bytes)
        return pi_fail(-ENOMEM, "tls");
    memcpy(a->bytes, f->bytes, f->len);
    a->len = f->len;
    a->cert = SSL_CTX_get0_certificate(ctx);
    X509_up_ref(a->cert);
    c->answer_count++;
    SSL_CTX_set_tlsext_status_cb(ctx, staple);
    SSL_CTX_set_tlsext_status_arg(ctx, c);
    return 0;
}

/* Clients' sessions are theirs only where the same authorities were asked for. */
static int set_session_id(SSL_CTX *ctx, const struct pi_tls_file *client_ca)
{
    unsigned char digest[SSL_MAX_SID_CTX_LENGTH];
    const char *bytes = client_ca->bytes ? client_ca->bytes : "";
    if (EVP_Q_digest(NULL, "SHA256", NULL, bytes, client_ca->len, digest, NULL) != 1 ||
        SSL_CTX_set_session_id_context(ctx, digest, sizeof digest) != 1)
        return pi_tls_fail_file("sessions", "of TLS");
    return 0;
}

static int set_server(struct pi_tls_context *c, SSL_CTX *ctx, const struct pier_tls_opts *opts,
                      const struct pi_tls_files *files)
{
    int tickets = opts->tickets ? opts->tickets : 1;
    SSL_CTX_set_session_cache_mode(ctx, SSL_SESS_CACHE_OFF);
    SSL_CTX_set_timeout(ctx, RESUME_S);
    if (tickets < 0)
        SSL_CTX_set_options(ctx, SSL_OP_NO_TICKET);
    SSL_CTX_set_num_tickets(ctx, tickets > 0 ? (size_t)tickets : 0);
    SSL_CTX_set_app_data(ctx, c);
    if (c->tickets)
        SSL_CTX_set_tlsext_ticket_key_evp_cb(ctx, pi_tls_ticket_key);
    if (c->alpn)
        SSL_CTX_set_alpn_select_cb(ctx, choose_alpn, c);
    SSL_CTX_set_tlsext_servername_callback(ctx, choose_by_name);
    SSL_CTX_set_tlsext_servername_arg(ctx, c);
    int rc = set_session_id(ctx, &files->client_ca);
    if (rc < 0 || !files->client_ca.path)
        return rc;
    int must = opts->client_cert_optional ? 0 : SSL_VERIFY_FAIL_IF_NO_PEER_CERT;
    SSL_CTX_set_verify(ctx, SSL_VERIFY_PEER | must, pi_tls_verify);
    return use_authorities(ctx, &files->client_ca, true);
}

/* Whether ctx has the name of that certificate, but no key of its kind. */
static bool belongs_to(SSL_CTX *ctx, X509 *leaf)
{
    X509 *there = SSL_CTX_get0_certificate(ctx);
    EVP_PKEY *own = X509_get0_pubkey(leaf);
    char one[256], other[256];
    if (!there || !own ||
        EVP_PKEY_get_base_id(own) == EVP_PKEY_get_base_id(X509_get0_pubkey(there)))
        return false;
    return strcmp(pi_tls_cert_names(one, sizeof one, leaf),
                  pi_tls_cert_names(other, sizeof other, there)) == 0;
}

/* The one that has the names of that pair's certificate; NULL: none. */
static SSL_CTX *find_ctx(const struct pi_tls_context *c, const struct pi_tls_pair *pair)
{
    X509 *leaf = read_leaf(&pair->cert);
    SSL_CTX *found = NULL;
    for (int i = 0; leaf && !found && i < c->count; i++)
        if (belongs_to(c->by_name[i], leaf))
            found = c->by_name[i];
    X509_free(leaf);
    return found;
}

static int add_pair(struct pi_tls_context *c, const struct pier_tls_opts *opts,
                    const struct pi_tls_files *files, const struct pi_tls_pair *pair)
{
    SSL_CTX *ctx = find_ctx(c, pair);
    int rc = 0;
    if (!ctx) {
        ctx = new_ctx(opts, true);
        if (!ctx)
            return pier_error_code();
        c->by_name[c->count++] = ctx;
        rc = set_server(c, ctx, opts, files);
    }
    if (rc == 0)
        rc = use_pair(ctx, pair);
    return rc == 0 && pair->ocsp.path ? use_answer(c, ctx, &pair->ocsp) : rc;
}

static int make_server(struct pi_tls_context *c, const struct pier_tls_opts *opts,
                       const struct pi_tls_files *files)
{
    int rc = 0;
    if (files->count == 0)
        return pi_fail_text(-EINVAL, "tls: a server needs a certificate and its key");
    for (int i = 0; i < files->count && rc == 0; i++)
        rc = add_pair(c, opts, files, &files->pairs[i]);
    return rc;
}

/* ---- clients ---- */

static int keep_session(SSL *ssl, SSL_SESSION *session)
{
    const struct pi_tls *t = SSL_get_app_data(ssl);
    if (!t || !t->session_key || !SSL_SESSION_is_resumable(session))
        return 0;
    pi_tls_sessions_keep(t->context->sessions, t->session_key, session);
    return 1;
}

static int set_pin(struct pi_tls_context *c, const char *text)
{
    static const char prefix[] = "sha256//";
    size_t len = strlen(text);
    long got = 0;
    unsigned char raw[PI_TLS_PIN + 4];
    if (strncmp(text, prefix, sizeof prefix - 1) == 0 && len == sizeof prefix - 1 + 44) {
        int n = EVP_DecodeBlock(raw, (const unsigned char *)text + sizeof prefix - 1, 44);
        got = n > 0 && text[len - 1] == '=' ? n - 1 : 0;
        memcpy(c->pin, raw, PI_TLS_PIN);
    } else if (len == 2 * PI_TLS_PIN) {
        size_t n = 0;
        bool is_hex = OPENSSL_hexstr2buf_ex(c->pin, PI_TLS_PIN, &n, text, '\0') == 1;
        got = is_hex ? (long)n : 0;
    }
    ERR_clear_error();
    c->has_pin = got == PI_TLS_PIN;
    return c->has_pin ? 0
                      : pi_fail_text(-EINVAL,
                                     "tls: the pinned key \"%s\" is no SHA-256: 64 "
                                     "hexadecimal digits, or sha256// and base64",
                                     text);
}

static int make_client(struct pi_tls_context *c, const struct pier_tls_opts *opts,
                       const struct pi_tls_files *files)
{
    SSL_CTX *ctx = new_ctx(opts, false);
    if (!ctx)
        return pier_error_code();
    c->by_name[c->count++] = ctx;
    c->insecure = opts->insecure_skip_verify;
    int rc = opts->pinned_key ? set_pin(c, opts->pinned_key) : 0;
    if (rc == 0 && !c->insecure)
        SSL_CTX_set_verify(ctx, SSL_VERIFY_PEER, pi_tls_verify);
    if (rc == 0 && files->ca.path)
        rc = use_authorities(ctx, &files->ca, false);
    else if (rc == 0 && SSL_CTX_set_default_verify_paths(ctx) != 1)
        rc = pi_tls_fail_file("authorities", "of the system");
    if (rc == 0 && files->count > 0)
        rc = use_pair(ctx, &files->pairs[0]);
    if (rc == 0 && c->alpn && SSL_CTX_set_alpn_protos(ctx, c->alpn, c->alpn_len) != 0)
        rc = pi_fail(-ENOMEM, "tls");
    SSL_CTX_set_tlsext_status_type(ctx, TLSEXT_STATUSTYPE_ocsp);
    SSL_CTX_set_tlsext_status_cb(ctx, pi_tls_check_staple);
    SSL_CTX_set_session_cache_mode(ctx, SSL_SESS_CACHE_CLIENT | SSL_SESS_CACHE_NO_INTERNAL);
    SSL_CTX_sess_set_new_cb(ctx, keep_session);
    return rc;
}

/* ---- the context ---- */

/* "h2,http/1.1" as on the wire: each name after its length. */
static int set_alpn(struct pi_tls_context *c, const char *names)
{
    size_t len = strlen(names);
    c->alpn = pi_alloc(len + 1);
    if (!c->alpn)
        return pi_fail(-ENOMEM, "tls");
    size_t start = 0;
    for (size_t i = 0; i <= len; i++) {
        if (i < len && names[i] != ',') {
            c->alpn[i + 1] = (unsigned char)names[i];
            continue;
        }
        if (i == start || i - start > ALPN_MOST)
            return pi_fail_text(
                -EINVAL, "tls: \"%s\" is no list of protocols such as \"h2,http/1.1\"", names);
        c->alpn[start] = (unsigned char)(i - start);
        start = i + 1;
    }
    c->alpn_len = (unsigned)len + 1;
    return 0;
}

static int make(struct pi_tls_context *c, const struct pier_tls_opts *opts,
                const struct pi_tls_files *files)
{
    size_t most = files->count > 0 ? (size_t)files->count : 1;
    c->by_name = pi_zalloc(most * sizeof(SSL_CTX *));
    c->answers = pi_zalloc(most * sizeof *c->answers);
    if (!c->by_name || !c->answers)
        return pi_fail(-ENOMEM, "tls");
    int rc = opts->alpn ? set_alpn(c, opts->alpn) : 0;
    if (rc == 0 && !c->is_server && !(c->sessions = pi_tls_sessions_new()))
        rc = pi_fail(-ENOMEM, "tls");
    if (rc == 0)
        rc = c->is_server ? make_server(c, opts, files) : make_client(c, opts, files);
    return rc;
}

struct pi_tls_context *pi_tls_context_new(const struct pier_tls_opts *opts,
                                          const struct pi_tls_files *files, bool is_server,
                                          struct pi_tls_tickets *tickets)
{
    struct pi_tls_context *c = pi_zalloc(sizeof *c);
    if (!c) {
        pi_fail(-ENOMEM, "tls");
        return NULL;
    }
    atomic_store(&c->refs, 1);
    c->is_server = is_server;
    c->tickets = tickets;
    c->timeout_ms = opts->handshake_timeout_ms ? opts->handshake_timeout_ms : PI_TLS_HANDSHAKE_MS;
    ERR_clear_error();
    if (make(c, opts, files) < 0) {
        pi_tls_context_drop(c);
        return NULL;
    }
    return c;
}

void pi_tls_context_drop(struct pi_tls_context *c)
{
    if (!c || atomic_fetch_sub(&c->refs, 1) > 1)
        return;
    for (int i = 0; i < c->count; i++)
        SSL_CTX_free(c->by_name[i]);
    for (int i = 0; i < c->answer_count; i++) {
        X509_free(c->answers[i].cert);
        pi_free(c->answers[i].bytes);
    }
    pi_tls_sessions_free(c->sessions);
    pi_free(c->by_name);
    pi_free(c->answers);
    pi_free(c->alpn);
    pi_free(c);
}
