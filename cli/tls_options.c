/* SPDX-License-Identifier: MIT */
/*
 * tls_options.c - what was given of the options of TLS, as the library wants it.
 *
 * Certificate and key may be one file. Several of them, for several names, are separated by commas:
 * --cert a.pem,b.pem --key a-key.pem,b-key.pem.
 */
#include "tls_options.h"

#include <string.h>
#include <strings.h>

enum { PAIRS = 16 };

struct tls_given tls_given;

static struct pier_tls_cert pairs[PAIRS];
static char cert_texts[4096], key_texts[4096];

/* Cuts a list at its commas: how many pieces, at most PAIRS; -1: too long or too many. */
static int split(const char *pieces[PAIRS], char texts[4096], const char *list)
{
    int count = 0;
    if (strlen(list) >= sizeof cert_texts)
        return -1;
    strcpy(texts, list);
    for (char *at = texts; at != NULL; count++) {
        if (count == PAIRS)
            return -1;
        pieces[count] = at;
        at = strchr(at, ',');
        if (at != NULL)
            *at++ = '\0';
    }
    return count;
}

static int put_pairs(const struct verb *verb, struct pier_tls_opts *opts)
{
    const char *certs[PAIRS], *keys[PAIRS];
    int count = split(certs, cert_texts, tls_given.cert);
    int key_count = split(keys, key_texts, tls_given.key ? tls_given.key : tls_given.cert);
    if (count < 0 || key_count < 0)
        return usage_error(verb, "--cert and --key: the list is too long");
    if (count != key_count)
        return usage_error(verb, "--cert has %d files, and --key %d", count, key_count);
    for (int i = 0; i < count; i++)
        pairs[i] = (struct pier_tls_cert){ .cert_file = certs[i], .key_file = keys[i] };
    opts->cert_file = certs[0];
    opts->key_file = keys[0];
    opts->more_certs = &pairs[1];
    opts->more_count = count - 1;
    return 0;
}

int tls_use_own_cert(void)
{
    struct pier_cert_files *own = &tls_given.own;
    if (pier_cert_localhost(own) < 0)
        return pier_fail("pier");
    pier_log(
        PIER_LOG_INFO,
        own->made_ca
            ? "no --cert: made a CA and a certificate for this machine; clients trust it by --ca"
            : "no --cert: using the development certificate; clients trust it by --ca",
        pier_str("ca", own->ca_file));
    return 0;
}

const struct pier_tls_opts *tls_options(const struct verb *verb, int *code)
{
    static struct pier_tls_opts opts;
    const struct tls_given *g = &tls_given;
    *code = 0;
    if (g->key != NULL && g->cert == NULL)
        *code = usage_error(verb, "--key needs --cert");
    opts = (struct pier_tls_opts){
        .ca_file = g->ca,
        .client_ca_file = g->client_ca,
        .alpn = g->alpn,
        .server_name = g->servername,
        .insecure_skip_verify = g->insecure,
        .handshake_timeout_ms = g->handshake_timeout_ms,
    };
    if (*code == 0 && g->cert != NULL)
        *code = put_pairs(verb, &opts);
    if (g->cert == NULL)
        opts.cert_file = opts.key_file = g->own.cert_file; /* NULL: none */
    bool any = opts.cert_file || g->ca || g->client_ca || g->alpn || g->servername || g->insecure ||
               g->handshake_timeout_ms;
    return *code == 0 && any ? &opts : NULL;
}

bool tls_is_url(const char *url)
{
    return strncasecmp(url, "tls://", 6) == 0 || strncasecmp(url, "https://", 8) == 0;
}
