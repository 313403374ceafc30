/* SPDX-License-Identifier: MIT */
/*
 * net/proxy_wire.h - the header by which a proxy tells whose connection it passes on: the PROXY
 * protocol, versions 1 and 2 (haproxy.org, doc/proxy-protocol.txt, 2020/03/05).
 */
#ifndef PI_NET_PROXY_WIRE_H
#define PI_NET_PROXY_WIRE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

enum {
    PI_PROXY_TEXT_MAX = 107, /* version 1, with its line end */
    PI_PROXY_LEN_MAX = 4096, /* version 2: addresses, and more than anybody tells beside them */
    PI_PROXY_ADDR_TEXT = 39, /* the longest address of version 1 */
};

/* One end of the connection that the proxy passes on. */
struct pi_proxy_end {
    uint8_t ip[16];   /* version 2: 4 or 16 bytes, in the order of the network */
    const char *text; /* version 1: a slice, which may not be an address; NULL: ip */
    size_t text_len;
    uint16_t port;
};

struct pi_proxy {
    int family; /* 4, 6; 0: the proxy's own connection, or of a kind without IP addresses */
    struct pi_proxy_end source, target;
};

/* Reads one header: its length, 0 for more, -EPROTO for what is none. What version 2 tells beside
 * addresses is skipped. Of a datagram there is none. */
ssize_t pi_proxy_read(struct pi_proxy *out, const void *bytes, size_t len);

/* How many more bytes the header has at least, after a 0 of the above: for who must leave alone
 * what follows it. */
size_t pi_proxy_lacks(const void *bytes, size_t len);

#endif
