/* SPDX-License-Identifier: MIT */
/*
 * net/cert_show.c - what a certificate says, as plain data.
 *
 * Certificates come from anybody: texts in them may hold any bytes, so all that is passed on has
 * been escaped, and none of it is taken for more than a claim. Nothing is verified here.
 */
#define _GNU_SOURCE
#include "net/cert.h"

#include "net/tls.h"

#include <pier/task.h>
#include <pier/text.h>

#include <arpa/inet.h>
#include <openssl/bn.h>
#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/x509v3.h>
#include <stdlib.h>
#include <string.h>

enum {
    TEXT_MAX = 1024,      /* of a subject or name: longer ones are cut */
    CERTS_MAX = 1000,     /* in a file */
    ALL_NAMES_MAX = 1000, /* of a certificate */
};

/* ---- texts ---- */

static char *escaped(const void *bytes, size_t len)
{
    char text[TEXT_MAX];
    pier_escape(text, sizeof text, bytes, len);
    return pi_strdup(text);
}

static char *name_text(const X509_NAME *name)
{
    BIO *bio = BIO_new(BIO_s_mem());
    unsigned long flags = XN_FLAG_RFC2253 & ~(unsigned long)ASN1_STRFLGS_ESC_MSB;
    char *text = NULL, *bytes = NULL;
    if (bio && X509_NAME_print_ex(bio, name, 0, flags) >= 0) {
        long len = BIO_get_mem_data(bio, &bytes);
        text = escaped(bytes, (size_t)len);
    }
    BIO_free(bio);
    return text;
}

static char *serial_text(const X509 *x509)
{
    BIGNUM *number = ASN1_INTEGER_to_BN(X509_get0_serialNumber(x509), NULL);
    char *hex = number ? BN_bn2hex(number) : NULL;
    char *text = hex ? escaped(hex, strlen(hex)) : NULL;
    OPENSSL_free(hex);
    BN_free(number);
    return text;
}

/* "ECDSA P-256": OpenSSL knows the curves of NIST by other names. */
static const char *curve_name(const char *group)
{
    if (strcmp(group, "prime256v1") == 0)
        return "P-256";
    if (strcmp(group, "secp384r1") == 0)
        return "P-384";
    return strcmp(group, "secp521r1") == 0 ? "P-521" : group;
}

static char *key_text(const EVP_PKEY *key)
{
    char text[100] = "unknown", group[50];
    const char *type = key ? EVP_PKEY_get0_type_name(key) : NULL;
    if (!type)
        return pi_strdup(text);
    if (strcmp(type, "EC") == 0 && EVP_PKEY_get_group_name(key, group, sizeof group, NULL) == 1)
        snprintf(text, sizeof text, "ECDSA %s", curve_name(group));
    else if (strcmp(type, "ED25519") == 0)
        snprintf(text, sizeof text, "Ed25519");
    else if (strcmp(type, "ED448") == 0)
        snprintf(text, sizeof text, "Ed448");
    else
        snprintf(text, sizeof text, "%.50s %d", type, EVP_PKEY_get_bits(key));
    return pi_strdup(text);
}

/* ---- names ---- */

static char *address_text(const ASN1_STRING *value)
{
    char text[INET6_ADDRSTRLEN];
    int len = ASN1_STRING_length(value);
    int family = len == 4 ? AF_INET : AF_INET6;
    if ((len != 4 && len != 16) ||
        !inet_ntop(family, ASN1_STRING_get0_data(value), text, sizeof text))
        return pi_strdup("IP address of a strange length");
    return pi_strdup(text);
}

static char *other_name_text(GENERAL_NAME *name)
{
    BIO *bio = BIO_new(BIO_s_mem());
    char *text = NULL, *bytes = NULL;
    if (bio && GENERAL_NAME_print(bio, name) == 1) {
        long len = BIO_get_mem_data(bio, &bytes);
        text = escaped(bytes, (size_t)len);
    }
    BIO_free(bio);
    return text;
}

static char *general_name_text(GENERAL_NAME *name)
{
    int type;
    const ASN1_STRING *value = GENERAL_NAME_get0_value(name, &type);
    if (type == GEN_IPADD)
        return address_text(value);
    if (type == GEN_DNS || type == GEN_EMAIL || type == GEN_URI)
        return escaped(ASN1_STRING_get0_data(value), (size_t)ASN1_STRING_length(value));
    return other_name_text(name);
}

static int fill_names(struct pier_cert *cert, const X509 *x509)
{
    GENERAL_NAMES *names = X509_get_ext_d2i(x509, NID_subject_alt_name, NULL, NULL);
    int count = names ? sk_GENERAL_NAME_num(names) : 0;
    int rc = 0;
    if (count > ALL_NAMES_MAX)
        count = ALL_NAMES_MAX;
    if (count > 0)
        cert->names = pi_zalloc((size_t)count * sizeof *cert->names);
    if (count > 0 && !cert->names)
        rc = -ENOMEM;
    for (int i = 0; i < count && rc == 0; i++) {
        cert->names[i] = general_name_text(sk_GENERAL_NAME_value(names, i));
        if (cert->names[i])
            cert->name_count++;
        else
            rc = -ENOMEM;
    }
    GENERAL_NAMES_free(names);
    return rc;
}

/* ---- digests ---- */

static int fill_digests(struct pier_cert *cert, X509 *x509)
{
    unsigned char digest[PIER_SHA256_LEN], *der = NULL;
    int len = i2d_X509(x509, &der);
    int rc = len > 0 ? pier_sha256(digest, der, (size_t)len) : -ENOMEM;
    OPENSSL_free(der);
    if (rc < 0)
        return rc;
    pier_sha256_hex(cert->sha256, digest);
    der = NULL;
    len = i2d_X509_PUBKEY(X509_get_X509_PUBKEY(x509), &der);
    rc = len > 0 ? pier_sha256(digest, der, (size_t)len) : -ENOMEM;
    OPENSSL_free(der);
    if (rc == 0)
        EVP_EncodeBlock((unsigned char *)cert->pin, digest, sizeof digest);
    return rc;
}

/* ---- a certificate ---- */

static void cert_fini(struct pier_cert *cert)
{
    for (int i = 0; i < cert->name_count; i++)
        pi_free(cert->names[i]);
    pi_free(cert->names);
    pi_free(cert->subject);
    pi_free(cert->issuer);
    pi_free(cert->serial);
    pi_free(cert->key);
    *cert = (struct pier_cert){ 0 };
}

static int fill(struct pier_cert *cert, X509 *x509)
{
    *cert = (struct pier_cert){
        .subject = name_text(X509_get_subject_name(x509)),
        .issuer = name_text(X509_get_issuer_name(x509)),
        .serial = serial_text(x509),
        .key = key_text(X509_get0_pubkey(x509)),
        .not_before_ns = pi_cert_time_ns(X509_get0_notBefore(x509)),
        .not_after_ns = pi_cert_time_ns(X509_get0_notAfter(x509)),
        .is_ca = X509_check_ca(x509) == 1,
        .is_self_issued = (X509_get_extension_flags(x509) & EXFLAG_SI) != 0,
    };
    int rc = cert->subject && cert->issuer && cert->serial && cert->key ? 0 : -ENOMEM;
    if (rc == 0)
        rc = fill_names(cert, x509);
    if (rc == 0)
        rc = fill_digests(cert, x509);
    if (rc < 0)
        cert_fini(cert);
    return rc;
}

void pier_certs_fini(struct pier_certs *certs)
{
    for (int i = 0; i < certs->count; i++)
        cert_fini(&certs->items[i]);
    pi_free(certs->items);
    *certs = (struct pier_certs){ 0 };
}

int pi_certs_add(struct pier_certs *certs, X509 *x509)
{
    struct pier_cert cert;
    size_t size = (size_t)(certs->count + 1) * sizeof cert;
    struct pier_cert *more = pi_realloc(certs->items, size);
    if (!more)
        return -ENOMEM;
    certs->items = more;
    int rc = fill(&cert, x509);
    if (rc == 0)
        more[certs->count++] = cert;
    ERR_clear_error();
    return rc;
}

/* ---- files ---- */

/* What OpenSSL says of a file: there is no (further) certificate in it, or one is damaged. */
static int end_of_pem(const struct pier_certs *certs, const char *path)
{
    unsigned long error = ERR_peek_last_error();
    bool is_end = ERR_GET_LIB(error) == ERR_LIB_PEM && ERR_GET_REASON(error) == PEM_R_NO_START_LINE;
    const char *reason = ERR_reason_error_string(error);
    if (is_end && certs->count > 0)
        return 0;
    if (is_end)
        return pi_fail_text(-ENODATA, "cert show: %s: there is no certificate in it", path);
    return pi_fail_text(PIER_ETLS, "cert show: %s: certificate %d is damaged: %s", path,
                        certs->count + 1, reason ? reason : "not readable");
}

static int parse_pem(struct pier_certs *certs, BIO *bio, const char *path)
{
    while (certs->count < CERTS_MAX) {
        X509 *x509 = PEM_read_bio_X509(bio, NULL, NULL, NULL);
        if (!x509)
            return end_of_pem(certs, path);
        int rc = pi_certs_add(certs, x509);
        X509_free(x509);
        if (rc < 0)
            return pi_fail(rc, "cert show: %s", path);
    }
    return 0;
}

static int parse(struct pier_certs *certs, const char *bytes, size_t len, const char *path)
{
    const unsigned char *at = (const unsigned char *)bytes;
    X509 *x509 = d2i_X509(NULL, &at, (long)len);
    ERR_clear_error();
    if (x509) {
        int rc = pi_certs_add(certs, x509);
        X509_free(x509);
        return rc < 0 ? pi_fail(rc, "cert show: %s", path) : 0;
    }
    BIO *bio = BIO_new_mem_buf(bytes, (int)len);
    int rc = bio ? parse_pem(certs, bio, path) : pi_fail(-ENOMEM, "cert show: %s", path);
    BIO_free(bio);
    ERR_clear_error();
    return rc;
}

int pier_certs_read(struct pier_certs *certs, const char *path)
{
    size_t len;
    *certs = (struct pier_certs){ 0 };
    char *bytes = pier_read_file(path, PI_CERT_FILE_MAX, &len);
    if (!bytes)
        return pier_error_code();
    int rc = parse(certs, bytes, len, path);
    explicit_bzero(bytes, len); /* a key may be beside it */
    free(bytes);
    if (rc < 0)
        pier_certs_fini(certs);
    return rc;
}

/* ---- peers ---- */

/* A client's list begins with the peer's own certificate, a server's with the one above it. */
static int add_chain(struct pier_certs *certs, const SSL *ssl, X509 *own)
{
    STACK_OF(X509) *chain = SSL_get_peer_cert_chain(ssl);
    int count = chain ? sk_X509_num(chain) : 0;
    int rc = pi_certs_add(certs, own);
    for (int i = 0; i < count && rc == 0; i++) {
        X509 *x509 = sk_X509_value(chain, i);
        if (i > 0 || X509_cmp(x509, own) != 0)
            rc = pi_certs_add(certs, x509);
    }
    return rc;
}

int pier_certs_of_peer(struct pier_certs *certs, struct pier_conn *c)
{
    *certs = (struct pier_certs){ 0 };
    if (!c)
        return pi_conn_null();
    if (c->transport != &pi_tls)
        return pi_conn_fail(c, "cert show", -EOPNOTSUPP);
    const SSL *ssl = ((struct pi_tls *)c->own)->ssl;
    X509 *own = SSL_get0_peer_certificate(ssl);
    if (!own)
        return pi_conn_fail(c, "cert show", -ENODATA);
    int rc = add_chain(certs, ssl, own);
    if (rc == 0)
        return 0;
    pier_certs_fini(certs);
    return pi_conn_fail(c, "cert show", rc);
}
