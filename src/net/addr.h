/* SPDX-License-Identifier: MIT */
/*
 * net/addr.h - socket addresses: from URLs and names, and back to text.
 */
#ifndef PI_NET_ADDR_H
#define PI_NET_ADDR_H

#include "net/url.h"

#include <netinet/in.h>
#include <stdint.h>
#include <sys/socket.h>
#include <sys/un.h>

struct pi_addr {
    union {
        struct sockaddr any;
        struct sockaddr_in in;
        struct sockaddr_in6 in6;
        struct sockaddr_un un;
    };
    socklen_t len;
};

enum {
    PI_ADDRS_MAX = 16,     /* of one name; more are left out */
    PI_ADDR_TEXT_CAP = 120 /* "[address%zone]:port", or a sun_path */
};

/* "127.0.0.1:5555", "[::1]:5555", a path, "@name", "unix". Returns out. */
const char *pi_addr_format(char *out, size_t cap, const struct pi_addr *addr);

/* Port of an IP address; 0 for others. */
int pi_addr_port(const struct pi_addr *addr);
void pi_addr_set_port(struct pi_addr *addr, int port);
/* Whether it is every address: 0.0.0.0, [::]. */
bool pi_addr_is_any(const struct pi_addr *addr);
bool pi_addr_equal(const struct pi_addr *a, const struct pi_addr *b);

/* All addresses of url's host (one for a literal, a Unix path), in the order to try them: families
 * alternate (RFC 8305, 4). passive: to listen on, where an empty host is every address. Names are
 * looked up off the loop, until deadline_ns; localhost is never looked up (RFC 6761, 6.3). Returns
 * how many, or a negative code after pi_fail_text() with words that begin with what ("dial
 * tcp://x:1"). */
int pi_addr_resolve(struct pi_addr out[PI_ADDRS_MAX], const struct pi_url *url, bool passive,
                    int64_t deadline_ns, const char *what);

struct pi_lookup;

/* The same with more to say; zero is the default. */
struct pi_addr_ask {
    bool passive;
    int64_t deadline_ns;
    const char *what, *servers; /* servers: as in struct pier_resolve_opts */
    struct pi_lookup **rest;    /* of pi_resolve_host() */
};
int pi_addr_find(struct pi_addr out[PI_ADDRS_MAX], const struct pi_url *url,
                 const struct pi_addr_ask *ask);

/* Waits for the rest of a look-up, which is then no more: how many addresses came, maybe none. */
int pi_addr_find_rest(struct pi_addr out[PI_ADDRS_MAX], const struct pi_url *url,
                      struct pi_lookup *rest);

/* Reads an address of the family without a port ("239.1.2.3", "ff02::1") into its struct in_addr or
 * in6_addr; whether it is one. */
bool pi_addr_read_ip(void *out, sa_family_t family, const char *text);

#endif
