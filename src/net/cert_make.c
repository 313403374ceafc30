/* SPDX-License-Identifier: MIT */
/*
 * net/cert_make.c - keys and certificates made in memory, by OpenSSL.
 *
 * Nothing here touches a file or waits; making a key takes as long as it takes (P-256 some 50 µs,
 * RSA up to seconds), so callers do it on a thread of pier_offload(). What a certificate says is in
 * the table of extensions; names are never part of a configuration text of OpenSSL's, in which a
 * comma would begin another one.
 */
#define _GNU_SOURCE
#include "net/cert.h"

#include <arpa/inet.h>
#include <ctype.h>
#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/rsa.h>
#include <openssl/x509v3.h>
#include <string.h>

enum {
    RSA_BITS = 3072,      /* as strong as P-256 (NIST SP 800-57) */
    SERIAL_BYTES = 16,    /* RFC 5280, 4.1.2.2 allows 20, with the sign */
    COMMON_NAME_MAX = 64, /* RFC 5280, ub-common-name */
    HOST_NAME_MAX_LEN = 253,
    LABEL_MAX = 63,
};

void pi_cert_fini(struct pi_cert *cert)
{
    X509_free(cert->x509);
    EVP_PKEY_free(cert->key);
    *cert = (struct pi_cert){ 0 };
}

/* ---- names ---- */

/* The length of the label at the beginning of text; 0: there is none. */
static size_t label_length(const char *text)
{
    size_t len = 0;
    while (isalnum((unsigned char)text[len]) || text[len] == '-' || text[len] == '_')
        len++;
    return len > LABEL_MAX || text[0] == '-' || (len > 0 && text[len - 1] == '-') ? 0 : len;
}

/* How many labels a host name has; 0: it is none. */
static int count_labels(const char *name)
{
    int labels = 0;
    if (strlen(name) > HOST_NAME_MAX_LEN)
        return 0;
    for (;;) {
        size_t len = label_length(name);
        if (len == 0)
            return 0;
        labels++;
        if (name[len] == '\0')
            return labels;
        if (name[len] != '.')
            return 0;
        name += len + 1;
    }
}

/* The bytes of an address, 4 or 16; 0: it is none. */
static int parse_address(unsigned char bytes[16], const char *name)
{
    char inner[INET6_ADDRSTRLEN];
    size_t len = strlen(name);
    if (len >= 2 && name[0] == '[' && name[len - 1] == ']' && len - 2 < sizeof inner) {
        memcpy(inner, name + 1, len - 2);
        inner[len - 2] = '\0';
        return inet_pton(AF_INET6, inner, bytes) == 1 ? 16 : 0;
    }
    if (inet_pton(AF_INET, name, bytes) == 1)
        return 4;
    return inet_pton(AF_INET6, name, bytes) == 1 ? 16 : 0;
}

/* As much of the local part as RFC 5321 allows without quotes. */
static bool is_mail_address(const char *name)
{
    size_t local = strspn(name, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789"
                                "!#$%&'*+-/=?^_`{|}~.");
    return local > 0 && local <= 64 && name[local] == '@' && count_labels(name + local + 1) > 0;
}

static bool looks_like_address(const char *name)
{
    return *name != '\0' && name[strspn(name, "0123456789.")] == '\0';
}

const char *pi_cert_name_fault(const char *name, bool is_client)
{
    unsigned char bytes[16];
    if (parse_address(bytes, name) > 0 || (is_client && is_mail_address(name)))
        return NULL;
    bool is_wildcard = strncmp(name, "*.", 2) == 0;
    int labels = count_labels(is_wildcard ? name + 2 : name);
    if (strstr(name, "://"))
        return "it is a URL: give its host name alone";
    if (labels == 0 || looks_like_address(name))
        return "it is neither a host name nor an IP address";
    if (is_wildcard && labels == 1) /* OpenSSL never matches it, nor do the clients that use it */
        return "clients accept no wildcard for a name of one part";
    return NULL;
}

/* ---- keys ---- */

static EVP_PKEY *make_key(enum pier_key_kind kind)
{
    switch (kind) {
    case PIER_KEY_P256:
        return EVP_EC_gen("P-256");
    case PIER_KEY_P384:
        return EVP_EC_gen("P-384");
    case PIER_KEY_ED25519:
        return EVP_PKEY_Q_keygen(NULL, NULL, "ED25519");
    case PIER_KEY_RSA:
        return EVP_RSA_gen(RSA_BITS);
    }
    return NULL;
}

/* The digest to sign with; Ed25519 has its own. */
static const EVP_MD *digest_for(const EVP_PKEY *key)
{
    return EVP_PKEY_is_a(key, "ED25519") || EVP_PKEY_is_a(key, "ED448") ? NULL : EVP_sha256();
}

/* ---- what a certificate says ---- */

static bool set_serial(X509 *x509)
{
    unsigned char bytes[SERIAL_BYTES];
    pi_random(bytes, sizeof bytes);
    bytes[0] |= 1; /* never 0, always 16 bytes */
    BIGNUM *number = BN_bin2bn(bytes, sizeof bytes, NULL);
    bool done = number && BN_to_ASN1_INTEGER(number, X509_get_serialNumber(x509));
    BN_free(number);
    return done;
}

static bool set_subject(X509 *x509, const struct pi_cert_plan *plan)
{
    X509_NAME *name = X509_get_subject_name(x509);
    int len = plan->common_name ? (int)strnlen(plan->common_name, COMMON_NAME_MAX) : 0;
    if (!plan->issuer &&
        X509_NAME_add_entry_by_txt(name, "O", MBSTRING_UTF8,
                                   (const unsigned char *)"Pier development", -1, -1, 0) != 1)
        return false;
    return len == 0 ||
           X509_NAME_add_entry_by_txt(name, "CN", MBSTRING_UTF8,
                                      (const unsigned char *)plan->common_name, len, -1, 0) == 1;
}

static bool set_times(X509 *x509, const struct pi_cert_plan *plan)
{
    return ASN1_TIME_set(X509_getm_notBefore(x509), plan->from_ns / PIER_SECOND) &&
           ASN1_TIME_set(X509_getm_notAfter(x509), plan->until_ns / PIER_SECOND);
}

static GENERAL_NAME *make_name(const char *text)
{
    unsigned char bytes[16];
    int address_len = parse_address(bytes, text);
    GENERAL_NAME *name = GENERAL_NAME_new();
    ASN1_STRING *value = address_len > 0 ? ASN1_OCTET_STRING_new() : ASN1_IA5STRING_new();
    const void *from = address_len > 0 ? (const void *)bytes : text;
    int len = address_len > 0 ? address_len : (int)strlen(text);
    if (!name || !value || ASN1_STRING_set(value, from, len) != 1) {
        ASN1_STRING_free(value);
        GENERAL_NAME_free(name);
        return NULL;
    }
    int type = address_len > 0 ? GEN_IPADD : strchr(text, '@') ? GEN_EMAIL : GEN_DNS;
    GENERAL_NAME_set0_value(name, type, value);
    return name;
}

/* Critical where there is no subject beside it (RFC 5280, 4.1.2.6). */
static bool add_names(X509 *x509, const struct pi_cert_plan *plan)
{
    GENERAL_NAMES *names = GENERAL_NAMES_new();
    bool done = names != NULL;
    for (int i = 0; done && i < plan->name_count; i++) {
        GENERAL_NAME *name = make_name(plan->names[i]);
        done = name && sk_GENERAL_NAME_push(names, name) > 0;
        if (!done)
            GENERAL_NAME_free(name);
    }
    done = done && X509_add1_ext_i2d(x509, NID_subject_alt_name, names, !plan->common_name, 0) == 1;
    GENERAL_NAMES_free(names);
    return done;
}

struct extension {
    int nid;
    const char *value; /* in OpenSSL's words (x509v3_config(5)), always one of those below */
};

/* No name constraints: the authority is made once, before anybody knows for which names. What is
 * limited is its use: no authorities below it, nothing but TLS. */
static const struct extension of_authority[] = {
    { NID_basic_constraints, "critical,CA:TRUE,pathlen:0" },
    { NID_key_usage, "critical,keyCertSign,cRLSign" },
    { NID_ext_key_usage, "serverAuth,clientAuth" },
    { NID_subject_key_identifier, "hash" },
    { 0, NULL },
};

static const struct extension of_both[] = {
    { NID_basic_constraints, "critical,CA:FALSE" },
    { NID_subject_key_identifier, "hash" },
    { NID_authority_key_identifier, "keyid:always" },
    { 0, NULL },
};

static const struct extension of_server[] = { { NID_ext_key_usage, "serverAuth" }, { 0, NULL } };
static const struct extension of_client[] = { { NID_ext_key_usage, "clientAuth" }, { 0, NULL } };

/* RSA keys may also be encrypted to, by TLS 1.2 without forward secrecy; we do not, others do. */
static const struct extension of_rsa[] = { { NID_key_usage,
                                             "critical,digitalSignature,keyEncipherment" },
                                           { 0, NULL } };
static const struct extension of_ec[] = { { NID_key_usage, "critical,digitalSignature" },
                                          { 0, NULL } };

static bool add_extensions(X509 *x509, X509 *issuer, const struct extension *list)
{
    X509V3_CTX ctx;
    X509V3_set_ctx_nodb(&ctx);
    X509V3_set_ctx(&ctx, issuer, x509, NULL, NULL, 0);
    for (; list->value; list++) {
        X509_EXTENSION *ext = X509V3_EXT_conf_nid(NULL, &ctx, list->nid, list->value);
        bool done = ext && X509_add_ext(x509, ext, -1) == 1;
        X509_EXTENSION_free(ext);
        if (!done)
            return false;
    }
    return true;
}

static bool describe(const struct pi_cert *cert, const struct pi_cert_plan *plan)
{
    X509 *x509 = cert->x509;
    X509 *issuer = plan->issuer ? plan->issuer->x509 : x509;
    if (X509_set_version(x509, X509_VERSION_3) != 1 || !set_serial(x509) ||
        !set_subject(x509, plan) || !set_times(x509, plan) ||
        X509_set_issuer_name(x509, X509_get_subject_name(issuer)) != 1 ||
        X509_set_pubkey(x509, cert->key) != 1)
        return false;
    if (!plan->issuer)
        return add_extensions(x509, issuer, of_authority);
    return add_names(x509, plan) && add_extensions(x509, issuer, of_both) &&
           add_extensions(x509, issuer, plan->is_client ? of_client : of_server) &&
           add_extensions(x509, issuer, plan->kind == PIER_KEY_RSA ? of_rsa : of_ec);
}

int pi_cert_make(struct pi_cert *cert, const struct pi_cert_plan *plan)
{
    *cert = (struct pi_cert){ .key = make_key(plan->kind), .x509 = X509_new() };
    const EVP_PKEY *signer = plan->issuer ? plan->issuer->key : cert->key;
    bool done = cert->key && cert->x509 && describe(cert, plan) &&
                X509_sign(cert->x509, (EVP_PKEY *)signer, digest_for(signer)) > 0;
    if (done)
        return 0;
    const char *reason = ERR_reason_error_string(ERR_peek_last_error());
    int rc = reason ? pi_fail_text(PIER_ETLS, "cert create: OpenSSL: %s", reason)
                    : pi_fail(-ENOMEM, "cert create");
    ERR_clear_error();
    pi_cert_fini(cert);
    return rc;
}

/* ---- files ---- */

int pi_cert_put_key(BIO *bio, const struct pi_cert *cert)
{
    if (bio && PEM_write_bio_PKCS8PrivateKey(bio, cert->key, NULL, NULL, 0, NULL, NULL) == 1)
        return 0;
    ERR_clear_error();
    return -ENOMEM;
}

int pi_cert_put_x509(BIO *bio, const struct pi_cert *cert)
{
    if (bio && PEM_write_bio_X509(bio, cert->x509) == 1)
        return 0;
    ERR_clear_error();
    return -ENOMEM;
}

/* An encrypted key is not asked for at the terminal. */
static int no_password(char *buf, int cap, int is_writing, void *ctx)
{
    return -1;
}

int pi_cert_parse(struct pi_cert *cert, const char *text, size_t len)
{
    *cert = (struct pi_cert){ 0 };
    BIO *keys = BIO_new_mem_buf(text, (int)len);
    BIO *certs = BIO_new_mem_buf(text, (int)len);
    int rc = keys && certs ? 0 : -ENOMEM;
    if (rc == 0) {
        cert->key = PEM_read_bio_PrivateKey(keys, NULL, no_password, NULL);
        cert->x509 = PEM_read_bio_X509(certs, NULL, NULL, NULL);
        if (!cert->key || !cert->x509)
            rc = -ENODATA;
        else if (X509_check_private_key(cert->x509, cert->key) != 1)
            rc = -EKEYREJECTED;
    }
    BIO_free(keys);
    BIO_free(certs);
    ERR_clear_error();
    if (rc < 0)
        pi_cert_fini(cert);
    return rc;
}

int64_t pi_cert_time_ns(const ASN1_TIME *time)
{
    struct tm tm = { 0 };
    if (ASN1_TIME_to_tm(time, &tm) != 1)
        return 0;
    int64_t seconds = timegm(&tm);
    int64_t most = INT64_MAX / PIER_SECOND; /* in 2262; RFC 5280's "no end" is in 9999 */
    return (seconds > most ? most : seconds < -most ? -most : seconds) * PIER_SECOND;
}
