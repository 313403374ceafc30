/* SPDX-License-Identifier: MIT */
/*
 * tls_options.h - the options of TLS that several verbs have: rows for their tables, and what was
 * given as the library wants it.
 */
#ifndef CLI_TLS_OPTIONS_H
#define CLI_TLS_OPTIONS_H

#include "verb.h"

#include <stdbool.h>

struct tls_given {
    const char *cert, *key, *ca, *client_ca, *alpn, *servername;
    bool insecure;
    int handshake_timeout_ms;   /* the verb's; 0: the library's */
    struct pier_cert_files own; /* of tls_use_own_cert() */
};
extern struct tls_given tls_given;

/* clang-format off */
#define TLS_COMMON_OPTIONS                                                             \
    { "cert", OPTION_TEXT, &tls_given.cert, .value = "FILE",                           \
      .help = "tls: the certificate and those above it (PEM)" },                       \
    { "key", OPTION_TEXT, &tls_given.key, .value = "FILE",                             \
      .help = "tls: the private key of --cert (PEM; default: it is in the same file)" }, \
    { "alpn", OPTION_TEXT, &tls_given.alpn, .value = "LIST",                           \
      .help = "tls: application protocols by preference, such as h2,http/1.1" }

#define TLS_CLIENT_OPTIONS                                                             \
    TLS_COMMON_OPTIONS,                                                                \
    { "ca", OPTION_TEXT, &tls_given.ca, .value = "FILE",                               \
      .help = "tls: trust the authorities in FILE (PEM) instead of the system's" },    \
    { "servername", OPTION_TEXT, &tls_given.servername, .value = "NAME",               \
      .help = "tls: ask for NAME and expect it in the certificate (default: the host)" }, \
    { "insecure", OPTION_FLAG, &tls_given.insecure,                                    \
      .help = "tls: do not verify the server: anybody may be at the other end" }

#define TLS_SERVER_OPTIONS                                                             \
    TLS_COMMON_OPTIONS,                                                                \
    { "client-ca", OPTION_TEXT, &tls_given.client_ca, .value = "FILE",                 \
      .help = "tls: only clients with a certificate of an authority in FILE (PEM)" }
/* clang-format on */

/* For a server that was given no certificate: the one for development, which is made where there is
 * none. Says in the log how to trust it. 0, or an exit code, and why has been printed. */
int tls_use_own_cert(void);

/* What was given; NULL: nothing was. A usage error has been printed when *code is not 0. */
const struct pier_tls_opts *tls_options(const struct verb *verb, int *code);

/* Whether the URL is one of TLS. */
bool tls_is_url(const char *url);

#endif
