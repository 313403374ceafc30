/* SPDX-License-Identifier: MIT */
/*
 * net/cidr.h - sets of networks, and whether they let an address in: pure, no I/O and no clock.
 *
 * Networks are collected in a list, a million perhaps, and then made into a set, in which a look-up
 * takes some tens of nanoseconds (RFC 4632, RFC 4291). The longest prefix that has an address
 * decides on it; of equal ones the one that denies.
 */
#ifndef PI_NET_CIDR_H
#define PI_NET_CIDR_H

#include "base/sys.h"

#include <sys/socket.h>

/* An IP address, or the first one of a network, as two numbers; of IPv4 the upper half of high.
 * IPv4-mapped addresses (RFC 4291, 2.5.5.2) are IPv4. */
struct pi_ip {
    uint64_t high, low;
    int version; /* 4 or 6 */
};

/* Whether addr, or text without a port or zone, is an IP address. */
bool pi_ip_of(struct pi_ip *ip, const struct sockaddr *addr);
bool pi_ip_read(struct pi_ip *ip, const char *text);

struct pi_cidr {
    uint64_t high, low;
    uint8_t version, bits; /* of the prefix; IPv4: 0 to 32 */
    bool denies;
};

struct pi_cidrs {
    struct pi_cidr *items;
    size_t count, cap;
};

/* Where a text is wrong, counted from 1, and why. */
struct pi_cidr_fault {
    size_t line, column;
    const char *why;
};

/* Adds the networks of a text, one a line: "10.0.0.0/8", "2001:db8::/32", or an address, which is a
 * network of one. What is behind the prefix is cut off. Blanks around it, empty lines and what
 * follows a '#' mean nothing. 0; -EINVAL with *fault; -ENOMEM. */
int pi_cidrs_read(struct pi_cidrs *list, const char *text, size_t len, bool denies,
                  struct pi_cidr_fault *fault);
void pi_cidrs_fini(struct pi_cidrs *list);

struct pi_cidr_set;

/* Makes a set of the list, which is sorted by this; otherwise: what becomes of an address that is
 * in no network. NULL: no memory. */
struct pi_cidr_set *pi_cidr_set_new(struct pi_cidrs *list, bool otherwise) PIER_MUST_USE;
void pi_cidr_set_free(struct pi_cidr_set *set);

/* Whether the set lets the address in. */
bool pi_cidr_set_allows(const struct pi_cidr_set *set, const struct pi_ip *ip);

/* The memory that it takes, in bytes. */
size_t pi_cidr_set_size(const struct pi_cidr_set *set);

#endif
