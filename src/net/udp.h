/* SPDX-License-Identifier: MIT */
/*
 * net/udp.h - what the files about datagrams share: addresses as the kernel writes them, and what a
 * message carries beside its bytes.
 */
#ifndef PI_NET_UDP_H
#define PI_NET_UDP_H

#include "net/conn.h"

#include <string.h>

union pi_sockaddr {
    struct sockaddr any;
    struct sockaddr_in in;
    struct sockaddr_in6 in6;
};

enum {
    PI_DATAGRAM_MAX = 65535,    /* no read needs more room */
    PI_DATAGRAM_MAX_IN = 65507, /* udp(7): 65,535 less the headers of IPv4 and UDP */
    PI_DATAGRAM_MAX_IN6 = 65527,
    PI_SEGMENTS_MAX = 64,      /* of one message (UDP_MAX_SEGMENTS of Linux) */
    PI_SEGMENTS_BYTES = 65000, /* of one message, with room for headers */
    PI_CONTROL_CAP = 128,      /* packet info of either family, time to live, segment size */
    PI_LOOKUP_MS = 10 * 1000,
};

static inline socklen_t pi_sockaddr_len(sa_family_t family)
{
    return family == AF_INET6 ? sizeof(struct sockaddr_in6) : sizeof(struct sockaddr_in);
}

static inline size_t pi_datagram_max(sa_family_t family)
{
    return family == AF_INET6 ? PI_DATAGRAM_MAX_IN6 : PI_DATAGRAM_MAX_IN;
}

/* What is sent beside the bytes; zero: nothing of it. */
struct pi_extra {
    union pi_sockaddr local; /* the address to send from */
    int ifindex, ttl, segment;
};

/* Packs it into msg, with room of PI_CONTROL_CAP bytes at control. */
void pi_extra_pack(struct msghdr *msg, void *control, int family, const struct pi_extra *extra);

/* Whether fd's kernel cuts what is sent (UDP_SEGMENT). */
bool pi_udp_can_segment(int fd);

/* Whether a message of several segments was refused as such: by an interface that cannot, or
 * because one of them is longer than the path takes. They go out one by one then. */
static inline bool pi_is_no_segmentation(ssize_t rc)
{
    return rc == -EIO || rc == -EINVAL || rc == -EMSGSIZE;
}

/* Addresses to dial, those of IPv4 first; as pi_addr_find(). */
int pi_udp_resolve(struct pi_addr out[PI_ADDRS_MAX], const struct pi_url *url,
                   const struct pi_addr_ask *ask);

/* udp_dial.c: pier_dial() of udp://. */
struct pier_conn *pi_udp_dial(const struct pi_url *url, const char *text,
                              const struct pier_dial_opts *opts);

/* The words of a datagram that does not fit its buffer, or no packet; returns -EMSGSIZE. */
int pi_datagram_too_long(struct pier_conn *c, size_t len, size_t room);
int pi_datagram_too_large(struct pier_conn *c, size_t len, size_t most);

#endif
