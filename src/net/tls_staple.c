/* SPDX-License-Identifier: MIT */
/*
 * net/tls_staple.c - the OCSP answer that a server staples to its certificate (RFC 6066, 8;
 * RFC 6960): a client that is shown one takes its authority at its word.
 *
 * None is no failure, as most servers have none. One that is not good is, and one that says that
 * the certificate is revoked.
 */
#include "net/tls.h"

#include <openssl/err.h>
#include <openssl/ocsp.h>

enum { SKEW_S = 300 }; /* that clocks may differ */

/* Who vouches for cert, in the chain that was verified, as the answer names them. */
static OCSP_CERTID *id_of(SSL *ssl, X509 *cert)
{
    STACK_OF(X509) *chain = SSL_get0_verified_chain(ssl);
    X509 *issuer = sk_X509_num(chain) > 1 ? sk_X509_value(chain, 1) : cert;
    return OCSP_cert_to_id(EVP_sha1(), cert, issuer);
}

/* What is the matter; NULL: nothing. */
static const char *look_up(SSL *ssl, OCSP_BASICRESP *basic, OCSP_CERTID *id)
{
    int status = V_OCSP_CERTSTATUS_UNKNOWN, reason;
    ASN1_GENERALIZEDTIME *revoked, *from, *until;
    STACK_OF(X509) *chain = SSL_get0_verified_chain(ssl);
    X509_STORE *store = SSL_CTX_get_cert_store(SSL_get_SSL_CTX(ssl));
    if (OCSP_basic_verify(basic, chain, store, 0) != 1)
        return "the stapled OCSP response is not signed by the certificate's authority";
    if (OCSP_resp_find_status(basic, id, &status, &reason, &revoked, &from, &until) != 1)
        return "the stapled OCSP response is about another certificate";
    if (status == V_OCSP_CERTSTATUS_REVOKED)
        return "certificate is revoked, says the stapled OCSP response of its authority";
    if (OCSP_check_validity(from, until, SKEW_S, -1) != 1)
        return "the stapled OCSP response is out of date";
    return status == V_OCSP_CERTSTATUS_GOOD ? NULL
                                            : "the authority does not know the certificate "
                                              "(stapled OCSP response)";
}

static const char *check(SSL *ssl, X509 *cert, const unsigned char *bytes, long len)
{
    OCSP_RESPONSE *response = d2i_OCSP_RESPONSE(NULL, &bytes, len);
    OCSP_BASICRESP *basic = response && OCSP_response_status(response) ==
                                            OCSP_RESPONSE_STATUS_SUCCESSFUL
                                ? OCSP_response_get1_basic(response)
                                : NULL;
    OCSP_CERTID *id = basic ? id_of(ssl, cert) : NULL;
    const char *wrong = id ? look_up(ssl, basic, id) : "the stapled OCSP response is not good";
    OCSP_CERTID_free(id);
    OCSP_BASICRESP_free(basic);
    OCSP_RESPONSE_free(response);
    return wrong;
}

/* 1: go on; 0: refuse, with the alert bad_certificate_status_response. */
int pi_tls_check_staple(SSL *ssl, void *unused)
{
    struct pi_tls *t = SSL_get_app_data(ssl);
    unsigned char *bytes;
    long len = SSL_get_tlsext_status_ocsp_resp(ssl, &bytes);
    X509 *cert = SSL_get0_peer_certificate(ssl);
    if (len <= 0 || !cert || !t || t->context->insecure)
        return 1;
    const char *wrong = check(ssl, cert, bytes, len);
    if (!wrong)
        return 1;
    pi_tls_set_words(t, wrong);
    return 0;
}
