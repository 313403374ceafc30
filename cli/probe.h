/* SPDX-License-Identifier: MIT */
/*
 * probe.h - one look at a server: is it there, how long does each step take, and what does it say?
 */
#ifndef CLI_PROBE_H
#define CLI_PROBE_H

#include "tls_options.h"

enum { PROBE_HOST_CAP = 256, PROBE_WORDS_CAP = 512 };

/* What is looked at. */
struct probe_target {
    const char *url;
    char scheme[8], host[PROBE_HOST_CAP]; /* without brackets */
    char path[2048];                      /* of HTTP, with its query */
    int port;
};

struct probe_opts {
    const char *text; /* to be sent by tcp://, tls:// and udp://; NULL: nothing */
    int64_t timeout;  /* of all of it, ns */
    const struct pier_tls_opts *tls;
};

/* What was found: times in ns, -1 for a step that was not taken. */
struct probe_result {
    int64_t resolve, connect, tls, first_byte, total;
    char address[PIER_ADDR_TEXT];
    int status;                  /* of HTTP; 0: none */
    bool has_cert;               /* then */
    int64_t cert_expires;        /* seconds since 1970 */
    int64_t rtt_us, retransmits; /* -1: not known */
    int code;                    /* 0, or what it failed with */
    int exit_code;
    char words[PROBE_WORDS_CAP]; /* of the failure */
};

/* Understands a URL: 0, or a negative code with words. */
int probe_parse(struct probe_target *out, const char *url);

/* Looks. Failures are in the result. Waits. */
void probe(struct probe_result *out, const struct probe_target *target,
           const struct probe_opts *opts);

#endif
