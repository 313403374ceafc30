/* SPDX-License-Identifier: MIT */
/*
 * net/url.h - endpoint URLs: where to listen or dial. Parsing allocates nothing, resolves nothing
 * and waits for nothing.
 */
#ifndef PI_NET_URL_H
#define PI_NET_URL_H

#include <pier/base.h>

#include <stdbool.h>

/* All that have a meaning; whether one is served yet is for the caller to say. */
enum pi_scheme { PI_TCP, PI_UNIX, PI_TLS, PI_UDP, PI_HTTP, PI_HTTPS };

enum {
    PI_HOST_CAP = 256,     /* a name has at most 253 bytes, and a final dot (RFC 1035, 2.3.4) */
    PI_PATH_CAP = 108,     /* sun_path, unix(7) */
    PI_URL_TEXT_CAP = 300, /* room for every URL of pi_url_format() */
};

struct pi_url {
    enum pi_scheme scheme;
    bool is_literal; /* host is an IPv4 or IPv6 address: nothing to resolve */
    int port;        /* 0 to 65535 */

    /* Without brackets; a zone is kept ("fe80::1%eth0"). "" is every address, or localhost. */
    char host[PI_HOST_CAP];

    /* sun_path. An abstract name begins with a NUL, which path_len counts; all others end with one,
     * which it does not count. */
    char path[PI_PATH_CAP];
    size_t path_len;
};

/* Understands text ("tcp://host:port", "unix:///path", "unix://@abstract"; see pier/net.h).
 * dialling: port 0 is refused. Returns 0, or PIER_EURL: the failure's words say what is wrong and
 * where. */
int pi_url_parse(struct pi_url *out, const char *text, int dialling) PIER_MUST_USE;

/* "tcp". */
const char *pi_scheme_name(enum pi_scheme scheme);

/* Whether inet_aton(3) would take a name of len bytes for a number: its last label is one. */
bool pi_host_ends_in_number(const char *name, size_t len);

/* The text of a URL, NUL-terminated, cut to cap: the scheme in lower case, the port always there,
 * brackets round IPv6. */
void pi_url_format(char *out, size_t cap, const struct pi_url *url);

/* Whether its connections begin with a handshake of TLS. */
static inline bool pi_url_has_tls(const struct pi_url *url)
{
    return url->scheme == PI_TLS || url->scheme == PI_HTTPS;
}

#endif
