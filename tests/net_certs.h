/* SPDX-License-Identifier: MIT */
/*
 * net_certs: certificates for tests of TLS, made on the spot: an authority, and leaves that it
 * signs, in files of a folder of the test's own.
 *
 *     make_ca("ca");                                        ca.pem, ca-key.pem
 *     make_leaf("server", "ca", "DNS:localhost,IP:127.0.0.1", 0);
 *     struct pier_tls_opts opts = { .cert_file = in_folder("server.pem"), ... };
 */
#ifndef PIER_TESTS_NET_CERTS_H
#define PIER_TESTS_NET_CERTS_H

#include "both.h"

#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/ocsp.h>
#include <openssl/pem.h>
#include <openssl/rsa.h>
#include <openssl/ssl.h>
#include <openssl/x509v3.h>

#include <limits.h>
#include <sys/stat.h>

static char certs_folder[64];

static void remove_certs(void)
{
    char command[96];
    snprintf(command, sizeof command, "rm -rf %s", certs_folder);
    if (system(command) != 0)
        return;
}

/* A path in the test's folder; the last sixteen stay good. */
static const char *in_folder(const char *name)
{
    static char paths[16][PATH_MAX];
    static int next;
    if (!certs_folder[0]) {
        strcpy(certs_folder, "/tmp/pier-tls-XXXXXX");
        ck_assert_ptr_nonnull(mkdtemp(certs_folder));
        atexit(remove_certs);
    }
    char *path = paths[next++ % 16];
    snprintf(path, PATH_MAX, "%s/%s", certs_folder, name);
    return path;
}

static const char *file_of(const char *stem, const char *suffix)
{
    char name[128];
    snprintf(name, sizeof name, "%s%s", stem, suffix);
    return in_folder(name);
}

static void write_pem(const char *path, X509 *cert, EVP_PKEY *key)
{
    char fresh[PATH_MAX + 8];
    snprintf(fresh, sizeof fresh, "%s.new", path);
    FILE *f = fopen(fresh, "w");
    ck_assert_ptr_nonnull(f);
    if (cert)
        ck_assert_int_eq(PEM_write_X509(f, cert), 1);
    if (key)
        ck_assert_int_eq(PEM_write_PrivateKey(f, key, NULL, NULL, 0, NULL, NULL), 1);
    ck_assert_int_eq(fclose(f), 0);
    ck_assert_int_eq(rename(fresh, path), 0);
}

static X509 *load_cert(const char *stem)
{
    FILE *f = fopen(file_of(stem, ".pem"), "r");
    X509 *cert = f ? PEM_read_X509(f, NULL, NULL, NULL) : NULL;
    ck_assert_ptr_nonnull(cert);
    fclose(f);
    return cert;
}

static EVP_PKEY *load_key(const char *stem)
{
    FILE *f = fopen(file_of(stem, "-key.pem"), "r");
    EVP_PKEY *key = f ? PEM_read_PrivateKey(f, NULL, NULL, NULL) : NULL;
    ck_assert_ptr_nonnull(key);
    fclose(f);
    return key;
}

static void add_extension(X509 *cert, X509 *issuer, int nid, const char *value)
{
    X509V3_CTX ctx;
    X509V3_set_ctx(&ctx, issuer, cert, NULL, NULL, 0);
    X509_EXTENSION *ext = X509V3_EXT_conf_nid(NULL, &ctx, nid, value);
    ck_assert_ptr_nonnull(ext);
    X509_add_ext(cert, ext, -1);
    X509_EXTENSION_free(ext);
}

static X509 *begin_cert(const char *stem, EVP_PKEY *key, long begins_s, long ends_s)
{
    static long serial = 1;
    X509 *cert = X509_new();
    X509_set_version(cert, X509_VERSION_3);
    ASN1_INTEGER_set(X509_get_serialNumber(cert), serial++);
    X509_gmtime_adj(X509_getm_notBefore(cert), begins_s);
    X509_gmtime_adj(X509_getm_notAfter(cert), ends_s);
    X509_NAME_add_entry_by_txt(X509_get_subject_name(cert), "CN", MBSTRING_ASC,
                               (const unsigned char *)stem, -1, -1, 0);
    X509_set_pubkey(cert, key);
    return cert;
}

static void sign_cert(X509 *cert, EVP_PKEY *key)
{
    const EVP_MD *md = EVP_PKEY_get_base_id(key) == EVP_PKEY_ED25519 ? NULL : EVP_sha256();
    ck_assert_int_gt(X509_sign(cert, key, md), 0);
}

UNUSED_FN static void make_ca(const char *stem)
{
    EVP_PKEY *key = EVP_EC_gen("P-256");
    X509 *cert = begin_cert(stem, key, -3600, 86400);
    X509_set_issuer_name(cert, X509_get_subject_name(cert));
    add_extension(cert, cert, NID_basic_constraints, "critical,CA:TRUE");
    add_extension(cert, cert, NID_key_usage, "critical,keyCertSign,cRLSign,digitalSignature");
    sign_cert(cert, key);
    write_pem(file_of(stem, ".pem"), cert, NULL);
    write_pem(file_of(stem, "-key.pem"), NULL, key);
    X509_free(cert);
    EVP_PKEY_free(key);
}

enum cert_kind { EC, RSA_KEY, ED25519, EXPIRED, FUTURE, SELF_SIGNED };

static EVP_PKEY *make_key(enum cert_kind kind)
{
    EVP_PKEY *key = kind == RSA_KEY   ? EVP_RSA_gen(2048)
                    : kind == ED25519 ? EVP_PKEY_Q_keygen(NULL, NULL, "ED25519")
                                      : EVP_EC_gen("P-256");
    ck_assert_ptr_nonnull(key);
    return key;
}

UNUSED_FN static void make_leaf(const char *stem, const char *ca, const char *names,
                                enum cert_kind kind)
{
    EVP_PKEY *key = make_key(kind);
    bool is_own = kind == SELF_SIGNED;
    X509 *cert = begin_cert(stem, key, kind == FUTURE ? 3600 : -7200,
                            kind == EXPIRED ? -3600 : 86400);
    X509 *issuer = is_own ? cert : load_cert(ca);
    EVP_PKEY *signer = is_own ? key : load_key(ca);
    X509_set_issuer_name(cert, X509_get_subject_name(issuer));
    if (names)
        add_extension(cert, issuer, NID_subject_alt_name, names);
    sign_cert(cert, signer);
    write_pem(file_of(stem, ".pem"), cert, NULL);
    write_pem(file_of(stem, "-key.pem"), NULL, key);
    if (!is_own) {
        X509_free(issuer);
        EVP_PKEY_free(signer);
    }
    X509_free(cert);
    EVP_PKEY_free(key);
}

/* What the authority says of that certificate, in a file of DER. */
UNUSED_FN static void make_ocsp(const char *stem, const char *ca, int status)
{
    X509 *cert = load_cert(stem), *issuer = load_cert(ca);
    EVP_PKEY *key = load_key(ca);
    OCSP_BASICRESP *basic = OCSP_BASICRESP_new();
    OCSP_CERTID *id = OCSP_cert_to_id(EVP_sha1(), cert, issuer);
    ASN1_TIME *now = X509_gmtime_adj(NULL, 0), *then = X509_gmtime_adj(NULL, 3600);
    OCSP_basic_add1_status(basic, id, status, 0, status == V_OCSP_CERTSTATUS_REVOKED ? now : NULL,
                           now, then);
    ck_assert_int_eq(OCSP_basic_sign(basic, issuer, key, EVP_sha256(), NULL, 0), 1);
    OCSP_RESPONSE *response = OCSP_response_create(OCSP_RESPONSE_STATUS_SUCCESSFUL, basic);
    unsigned char *der = NULL;
    int len = i2d_OCSP_RESPONSE(response, &der);
    FILE *f = fopen(file_of(stem, ".ocsp"), "w");
    ck_assert_uint_eq(fwrite(der, 1, (size_t)len, f), (size_t)len);
    fclose(f);
    OPENSSL_free(der);
    OCSP_RESPONSE_free(response);
    OCSP_BASICRESP_free(basic);
    OCSP_CERTID_free(id);
    ASN1_TIME_free(now);
    ASN1_TIME_free(then);
    X509_free(cert);
    X509_free(issuer);
    EVP_PKEY_free(key);
}

#endif
