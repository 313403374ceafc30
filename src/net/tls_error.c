/* SPDX-License-Identifier: MIT */
/*
 * net/tls_error.c - what went wrong, in words: what is the matter with a certificate and what to do
 * about it, what the peer's alert means (RFC 8446, 6.2), what it speaks instead of TLS.
 *
 * Words about certificates are kept while OpenSSL verifies, when the certificate is at hand; all
 * others follow from the first error in its queue.
 */
#define _GNU_SOURCE
#include "net/tls.h"

#include <pier/text.h>

#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/x509v3.h>

#include <arpa/inet.h>
#include <string.h>

enum { WORDS = 320, NAMES = 200, SSL_ALERT_REASON = 1000, SHOWN_NAME = 80 };

/* ---- certificates ---- */

const char *pi_tls_date(char out[16], const ASN1_TIME *time)
{
    struct tm tm;
    if (!time || ASN1_TIME_to_tm(time, &tm) != 1)
        snprintf(out, 16, "?");
    else
        snprintf(out, 16, "%04d-%02d-%02d", (tm.tm_year + 1900) % 10000, (tm.tm_mon + 1) % 100,
                 tm.tm_mday % 100);
    return out;
}

/* The text of one name: a DNS name or an IP address; "" for others. */
static void name_text(char *out, size_t cap, const GENERAL_NAME *name)
{
    char ip[INET6_ADDRSTRLEN];
    out[0] = '\0';
    if (name->type == GEN_DNS)
        pier_escape(out, cap, (const char *)ASN1_STRING_get0_data(name->d.dNSName),
                    (size_t)ASN1_STRING_length(name->d.dNSName));
    if (name->type != GEN_IPADD)
        return;
    const ASN1_OCTET_STRING *raw = name->d.iPAddress;
    int family = ASN1_STRING_length(raw) == 4    ? AF_INET
                 : ASN1_STRING_length(raw) == 16 ? AF_INET6
                                                 : AF_UNSPEC;
    if (family != AF_UNSPEC && inet_ntop(family, ASN1_STRING_get0_data(raw), ip, sizeof ip))
        snprintf(out, cap, "%s", ip);
}

static size_t add_name(char *out, size_t at, size_t cap, const char *name)
{
    int n = *name ? snprintf(out + at, cap - at, "%s%s", at > 0 ? ", " : "", name) : 0;
    if (n < 0 || at + (size_t)n >= cap) {
        out[at] = '\0'; /* a cut name would be another one */
        return cap;
    }
    return at + (size_t)n;
}

const char *pi_tls_cert_names(char *out, size_t cap, X509 *cert)
{
    char name[256];
    size_t at = 0;
    GENERAL_NAMES *all = X509_get_ext_d2i(cert, NID_subject_alt_name, NULL, NULL);
    out[0] = '\0';
    for (int i = 0; i < sk_GENERAL_NAME_num(all) && at < cap; i++) {
        name_text(name, sizeof name, sk_GENERAL_NAME_value(all, i));
        at = add_name(out, at, cap, name);
    }
    GENERAL_NAMES_free(all);
    int len = X509_NAME_get_text_by_NID(X509_get_subject_name(cert), NID_commonName, name,
                                        sizeof name);
    if (at == 0 && len > 0)
        pier_escape(out, cap, name, (size_t)len);
    ERR_clear_error();
    return out;
}

/* Who is meant by a name of X.509: its CN, else its organisation. */
static const char *common_name(char out[SHOWN_NAME], const X509_NAME *name)
{
    char raw[SHOWN_NAME];
    int len = X509_NAME_get_text_by_NID((X509_NAME *)name, NID_commonName, raw, sizeof raw);
    if (len < 0)
        len = X509_NAME_get_text_by_NID((X509_NAME *)name, NID_organizationName, raw, sizeof raw);
    if (len < 0)
        snprintf(out, SHOWN_NAME, "?");
    else
        pier_escape(out, SHOWN_NAME, raw, strlen(raw));
    return out;
}

void pi_tls_set_words(struct pi_tls *t, const char *words)
{
    if (!t->verify_words)
        t->verify_words = pi_strdup(words);
}

static void say_unknown(char words[WORDS], const struct pi_tls *t, X509 *cert)
{
    char issuer[SHOWN_NAME];
    common_name(issuer, X509_get_issuer_name(cert));
    snprintf(words, WORDS, "certificate of an unknown authority, \"%s\"%s", issuer,
             t->context->is_server ? "" : " (give --ca FILE to trust it)");
}

static void say_mismatch(char words[WORDS], X509 *leaf)
{
    char names[NAMES];
    pi_tls_cert_names(names, sizeof names, leaf);
    snprintf(words, WORDS, "name mismatch: certificate is for %s", *names ? names : "nobody");
}

static void say(char words[WORDS], const struct pi_tls *t, int error, X509_STORE_CTX *store)
{
    char date[16];
    X509 *cert = X509_STORE_CTX_get_current_cert(store);
    X509 *leaf = X509_STORE_CTX_get0_cert(store);
    const char *whose = X509_STORE_CTX_get_error_depth(store) > 0 ? "authority's certificate"
                                                                  : "certificate";
    switch (error) {
    case X509_V_ERR_CERT_HAS_EXPIRED:
        snprintf(words, WORDS, "%s expired %s", whose, pi_tls_date(date, X509_get0_notAfter(cert)));
        break;
    case X509_V_ERR_CERT_NOT_YET_VALID:
        snprintf(words, WORDS, "%s is valid from %s only", whose,
                 pi_tls_date(date, X509_get0_notBefore(cert)));
        break;
    case X509_V_ERR_DEPTH_ZERO_SELF_SIGNED_CERT:
        snprintf(words, WORDS, "self-signed certificate%s",
                 t->context->is_server ? "" : " (give --ca FILE to trust it)");
        break;
    case X509_V_ERR_SELF_SIGNED_CERT_IN_CHAIN:
    case X509_V_ERR_UNABLE_TO_GET_ISSUER_CERT:
    case X509_V_ERR_UNABLE_TO_GET_ISSUER_CERT_LOCALLY:
    case X509_V_ERR_UNABLE_TO_VERIFY_LEAF_SIGNATURE:
        say_unknown(words, t, cert);
        break;
    case X509_V_ERR_HOSTNAME_MISMATCH:
    case X509_V_ERR_IP_ADDRESS_MISMATCH:
        say_mismatch(words, leaf);
        break;
    default:
        snprintf(words, WORDS, "%s is not good: %s", whose, X509_verify_cert_error_string(error));
    }
}

int pi_tls_verify(int is_good, X509_STORE_CTX *store)
{
    SSL *ssl = X509_STORE_CTX_get_ex_data(store, SSL_get_ex_data_X509_STORE_CTX_idx());
    struct pi_tls *t = ssl ? SSL_get_app_data(ssl) : NULL;
    char words[WORDS];
    if (is_good || !t)
        return is_good;
    say(words, t, X509_STORE_CTX_get_error(store), store);
    pi_tls_set_words(t, words);
    return 0;
}

/* ---- alerts ---- */

static const char *alert_words(int alert)
{
    switch (alert) {
    case SSL_AD_UNEXPECTED_MESSAGE:
        return "that was no message for this moment (unexpected message)";
    case SSL_AD_BAD_RECORD_MAC:
        return "what we sent did not arrive as it was (bad record MAC)";
    case SSL_AD_HANDSHAKE_FAILURE:
        return "no cipher, key or certificate in common (handshake failure)";
    case SSL_AD_BAD_CERTIFICATE:
        return "our certificate is not good (bad certificate)";
    case SSL_AD_UNSUPPORTED_CERTIFICATE:
        return "our certificate is of an unsupported kind";
    case SSL_AD_CERTIFICATE_REVOKED:
        return "our certificate is revoked";
    case SSL_AD_CERTIFICATE_EXPIRED:
        return "our certificate has expired";
    case SSL_AD_CERTIFICATE_UNKNOWN:
        return "our certificate is not acceptable (certificate unknown)";
    case SSL_AD_UNKNOWN_CA:
        return "it does not trust the authority of our certificate (unknown CA)";
    case SSL_AD_ACCESS_DENIED:
        return "access denied";
    case SSL_AD_PROTOCOL_VERSION:
        return "no version of TLS in common";
    case SSL_AD_INSUFFICIENT_SECURITY:
        return "our ciphers are too weak for it";
    case SSL_AD_INTERNAL_ERROR:
        return "an internal error of its own";
    case SSL_AD_NO_RENEGOTIATION:
        return "it does not renegotiate";
    case SSL_AD_UNRECOGNIZED_NAME:
        return "it does not know the server's name";
    case SSL_AD_CERTIFICATE_REQUIRED:
        return "it requires a certificate of ours, and we have none (give --cert and --key)";
    case SSL_AD_NO_APPLICATION_PROTOCOL:
        return "no application protocol in common (ALPN)";
    default:
        return NULL;
    }
}

static void say_alert(char words[WORDS], int alert)
{
    const char *known = alert_words(alert);
    if (known)
        snprintf(words, WORDS, "the peer refuses: %s", known);
    else
        snprintf(words, WORDS, "the peer refuses: alert %d, %s", alert,
                 SSL_alert_desc_string_long(alert));
}

/* ---- OpenSSL's queue ---- */

/* What came in the place of a first record, whose first byte is 22 or, of an alert, 21. */
static const char *foreign_words(const struct pi_tls *t)
{
    static const char *const methods[] = { "GET ", "POST", "HEAD", "PUT ", "OPTI", "DELE", "CONN" };
    bool is_record = t->first[0] == SSL3_RT_HANDSHAKE || t->first[0] == SSL3_RT_ALERT;
    if (t->is_established || t->first_len < 4 || is_record)
        return NULL;
    if (memcmp(t->first, "HTTP", 4) == 0)
        return "the server does not speak TLS here, but plain HTTP";
    for (size_t i = 0; i < sizeof methods / sizeof methods[0]; i++)
        if (memcmp(t->first, methods[i], 4) == 0)
            return "the client speaks plain HTTP here, not TLS";
    return t->context->is_server ? "the client does not speak TLS"
                                 : "the server does not speak TLS";
}

static const char *reason_words(int reason)
{
    switch (reason) {
    case SSL_R_UNSUPPORTED_PROTOCOL:
    case SSL_R_NO_PROTOCOLS_AVAILABLE:
    case SSL_R_VERSION_TOO_LOW:
    case SSL_R_WRONG_SSL_VERSION:
        return "no version of TLS in common";
    case SSL_R_NO_SHARED_CIPHER:
        return "no cipher in common";
    case SSL_R_NO_APPLICATION_PROTOCOL:
        return "no application protocol in common (ALPN)";
    case SSL_R_PEER_DID_NOT_RETURN_A_CERTIFICATE:
        return "the client has no certificate, and has to have one";
    case SSL_R_UNEXPECTED_EOF_WHILE_READING:
        return "the connection ended in the middle of the handshake";
    case SSL_R_ENCRYPTED_LENGTH_TOO_LONG:
    case SSL_R_PACKET_LENGTH_TOO_LONG:
    case SSL_R_DATA_LENGTH_TOO_LONG:
        return "the peer has sent a record that is too long";
    case SSL_R_EXCESSIVE_MESSAGE_SIZE:
        return "the peer has sent a message that is too long";
    case SSL_R_DECRYPTION_FAILED_OR_BAD_RECORD_MAC:
        return "a record did not arrive as it was sent";
    default:
        return NULL;
    }
}

static void say_error(char words[WORDS], const struct pi_tls *t, unsigned long error)
{
    int reason = ERR_GET_REASON(error);
    bool is_ssl = ERR_GET_LIB(error) == ERR_LIB_SSL;
    const char *known = t->verify_words ? t->verify_words : foreign_words(t);
    if (!known && is_ssl)
        known = reason_words(reason);
    if (!known && is_ssl && reason > SSL_ALERT_REASON) {
        say_alert(words, reason - SSL_ALERT_REASON);
        return;
    }
    if (!known)
        known = ERR_reason_error_string(error);
    snprintf(words, WORDS, "%s", known ? known : "failed for an unknown reason");
}

static const char *who(struct pi_tls *t)
{
    return t->name ? t->name : pier_peer(t->conn);
}

int pi_tls_fail_text(struct pi_tls *t, const char *words)
{
    return pi_fail_text(PIER_ETLS, "tls: %s: %s", who(t), words);
}

int pi_tls_fail(struct pi_tls *t)
{
    char words[WORDS];
    unsigned long error = ERR_get_error();
    bool is_memory = ERR_GET_REASON(error) == ERR_R_MALLOC_FAILURE;
    say_error(words, t, error);
    ERR_clear_error();
    return is_memory ? pi_fail(-ENOMEM, "tls: %s", who(t)) : pi_tls_fail_text(t, words);
}

int pi_tls_fail_file(const char *what, const char *path)
{
    unsigned long error = ERR_peek_error();
    const char *words = ERR_reason_error_string(error);
    bool is_empty = ERR_GET_LIB(error) == ERR_LIB_PEM &&
                    ERR_GET_REASON(error) == PEM_R_NO_START_LINE;
    bool is_locked = ERR_GET_LIB(error) == ERR_LIB_PEM &&
                     (ERR_GET_REASON(error) == PEM_R_BAD_PASSWORD_READ ||
                      ERR_GET_REASON(error) == PEM_R_BAD_DECRYPT);
    bool is_memory = ERR_GET_REASON(error) == ERR_R_MALLOC_FAILURE;
    if (is_empty)
        words = "there is none in it (PEM)";
    if (is_locked)
        words = "it is encrypted";
    int rc = is_memory ? pi_fail(-ENOMEM, "tls: %s %s", what, path)
                       : pi_fail_text(PIER_ETLS, "tls: %s %s: %s", what, path,
                                      words ? words : "it is not good");
    ERR_clear_error();
    return rc;
}
