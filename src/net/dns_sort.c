/* SPDX-License-Identifier: MIT */
/*
 * net/dns_sort.c - the order in which to try addresses: RFC 6724, 6, with its default table. The
 * source address of each is asked of the system, by connecting a datagram socket, which sends
 * nothing. Rules 3, 4 and 7 (deprecated, home, tunnelled addresses) are the kernel's in choosing
 * the source.
 */
#include "net/resolve.h"

#include "task/sockets.h"

#include <string.h>

enum { SCOPE_LINK = 0x2, SCOPE_SITE = 0x5, SCOPE_GLOBAL = 0xe, DISCARD_PORT = 9 };

struct candidate {
    struct in6_addr addr, source; /* IPv4 as ::ffff:a.b.c.d */
    bool is_reachable;
    int index;
};

/* RFC 6724, 2.1. */
static const struct policy {
    unsigned char prefix[16];
    int bits, precedence, label;
} policies[] = {
    { { [15] = 1 }, 128, 50, 0 },                /* ::1 */
    { { [10] = 0xff, [11] = 0xff }, 96, 35, 4 }, /* ::ffff:0:0/96, IPv4 */
    { { 0 }, 96, 1, 3 },                         /* ::/96 */
    { { 0x20, 0x01, 0, 0 }, 32, 5, 5 },          /* Teredo */
    { { 0x20, 0x02 }, 16, 30, 2 },               /* 6to4 */
    { { 0x3f, 0xfe }, 16, 1, 12 },               /* 6bone */
    { { 0xfe, 0xc0 }, 10, 1, 11 },               /* site-local */
    { { 0xfc }, 7, 3, 13 },                      /* unique local */
    { { 0 }, 0, 40, 1 },
};

static int common_bits(const unsigned char *a, const unsigned char *b)
{
    int bits = 0;
    while (bits < 128 && !((a[bits / 8] ^ b[bits / 8]) & 0x80 >> bits % 8))
        bits++;
    return bits;
}

static const struct policy *policy_of(const struct in6_addr *addr)
{
    const struct policy *p = policies;
    while (common_bits(p->prefix, addr->s6_addr) < p->bits)
        p++;
    return p;
}

static int scope_of(const struct in6_addr *addr)
{
    const unsigned char *b = addr->s6_addr;
    if (IN6_IS_ADDR_V4MAPPED(addr)) /* 3.2 */
        return b[12] == 127 || (b[12] == 169 && b[13] == 254) ? SCOPE_LINK : SCOPE_GLOBAL;
    if (IN6_IS_ADDR_MULTICAST(addr))
        return b[1] & 0xf;
    if (IN6_IS_ADDR_LINKLOCAL(addr) || IN6_IS_ADDR_LOOPBACK(addr))
        return SCOPE_LINK;
    return IN6_IS_ADDR_SITELOCAL(addr) ? SCOPE_SITE : SCOPE_GLOBAL;
}

static struct in6_addr mapped(const struct sockaddr *addr)
{
    struct in6_addr out = { .s6_addr = { [10] = 0xff, [11] = 0xff } };
    if (addr->sa_family == AF_INET6)
        return ((const struct sockaddr_in6 *)addr)->sin6_addr;
    memcpy(&out.s6_addr[12], &((const struct sockaddr_in *)addr)->sin_addr, 4);
    return out;
}

/* Whether the system has a way there, and the address it would go from. */
static bool find_source(struct in6_addr *source, const struct sockaddr *to)
{
    union {
        struct sockaddr any;
        struct sockaddr_in in;
        struct sockaddr_in6 in6;
    } u = { .in6 = { 0 } };
    socklen_t len = to->sa_family == AF_INET6 ? sizeof u.in6 : sizeof u.in;
    memcpy(&u, to, len);
    u.in.sin_port = htons(DISCARD_PORT); /* where sin6_port is, too */
    int fd = io_sockets()->open(to->sa_family, SOCK_DGRAM);
    if (fd < 0)
        return false;
    struct io_fd f;
    io_fd_init(&f, fd);
    struct io_op op = { .code = IO_CONNECT, .fd = &f, .buf = &u, .addr_len = len };
    bool is_found = io_try(&op) == 0 && io_sockets()->local(fd, &u.any, &len) == 0;
    if (is_found)
        *source = mapped(&u.any);
    io_close(&f);
    return is_found;
}

/* Below 0: a comes first. */
static int compare(const struct candidate *a, const struct candidate *b)
{
    if (a->is_reachable != b->is_reachable) /* rule 1 */
        return b->is_reachable - a->is_reachable;
    const struct policy *pa = policy_of(&a->addr), *pb = policy_of(&b->addr);
    int sa = scope_of(&a->addr), sb = scope_of(&b->addr);
    if (a->is_reachable) {
        int fits_a = sa == scope_of(&a->source), fits_b = sb == scope_of(&b->source);
        if (fits_a != fits_b) /* rule 2 */
            return fits_b - fits_a;
        fits_a = pa->label == policy_of(&a->source)->label;
        fits_b = pb->label == policy_of(&b->source)->label;
        if (fits_a != fits_b) /* rule 5 */
            return fits_b - fits_a;
    }
    if (pa->precedence != pb->precedence) /* rule 6 */
        return pb->precedence - pa->precedence;
    if (sa != sb) /* rule 8 */
        return sa - sb;
    bool both_six = !IN6_IS_ADDR_V4MAPPED(&a->addr) && !IN6_IS_ADDR_V4MAPPED(&b->addr);
    if (both_six && a->is_reachable) { /* rule 9; for IPv4 it would defeat round robin */
        int ca = common_bits(a->addr.s6_addr, a->source.s6_addr);
        int cb = common_bits(b->addr.s6_addr, b->source.s6_addr);
        ca = ca < 64 ? ca : 64;
        cb = cb < 64 ? cb : 64;
        if (ca != cb)
            return cb - ca;
    }
    return a->index - b->index; /* rule 10 */
}

void pi_addrs_sort(struct pi_resolve *r)
{
    struct candidate all[PI_RESOLVE_MAX];
    struct pi_resolve copy;
    if (r->count < 2)
        return;
    for (int i = 0; i < r->count; i++) {
        struct candidate c = { .addr = mapped(&r->addrs[i].any), .index = i };
        c.is_reachable = find_source(&c.source, &r->addrs[i].any);
        int at = i;
        for (; at > 0 && compare(&c, &all[at - 1]) < 0; at--)
            all[at] = all[at - 1];
        all[at] = c;
    }
    memcpy(copy.addrs, r->addrs, sizeof copy.addrs);
    for (int i = 0; i < r->count; i++)
        r->addrs[i] = copy.addrs[all[i].index];
}
