/* SPDX-License-Identifier: MIT */
/*
 * net/cert.h - certificates: making them, the user's own certification authority, and what is in
 * one. X.509 as RFC 5280 has it; files are PEM (RFC 7468).
 *
 * cert_make.c makes keys and certificates in memory, cert.c keeps the authority and the development
 * certificate in the user's data folder, cert_show.c reads. OpenSSL's queue of errors is left empty
 * by all of them.
 */
#ifndef PI_NET_CERT_H
#define PI_NET_CERT_H

#include "base/err.h"

#include <pier/net.h>

#include <openssl/evp.h>
#include <openssl/x509.h>

enum {
    PI_CERT_NAMES_MAX = 100,
    PI_CERT_FILE_MAX = 4 << 20, /* the system's file of authorities has 220 KB */
};

/* A key and its certificate; {0} is none. */
struct pi_cert {
    EVP_PKEY *key;
    X509 *x509;
};

void pi_cert_fini(struct pi_cert *cert);

/* ---- cert_make.c ---- */

/* What to make. */
struct pi_cert_plan {
    const char *common_name; /* NULL: none; cut at 64 bytes */
    const char *const *names;
    int name_count;
    enum pier_key_kind kind;
    bool is_client;               /* besides: for a server */
    int64_t from_ns, until_ns;    /* since 1970 */
    const struct pi_cert *issuer; /* NULL: an authority, signed by itself */
};

/* 0 or a negative code. */
int pi_cert_make(struct pi_cert *cert, const struct pi_cert_plan *plan);

/* Why a name cannot stand in a certificate, or NULL: host names (also "*.host.name"), IP addresses
 * and, for clients, mail addresses can. */
const char *pi_cert_name_fault(const char *name, bool is_client);

/* Appends the key (PKCS #8) or the certificate as PEM to bio. 0 or -ENOMEM. */
int pi_cert_put_key(BIO *bio, const struct pi_cert *cert);
int pi_cert_put_x509(BIO *bio, const struct pi_cert *cert);

/* The key and the first certificate in a text. 0; -ENODATA when one of them is not there,
 * -EKEYREJECTED when they do not belong together. Without words. */
int pi_cert_parse(struct pi_cert *cert, const char *text, size_t len);

/* Since 1970; what is beyond 64 bits is cut. */
int64_t pi_cert_time_ns(const ASN1_TIME *time);

/* ---- cert_show.c ---- */

/* Appends what x509 says. 0 or -ENOMEM, without words. */
int pi_certs_add(struct pier_certs *certs, X509 *x509);

#endif
