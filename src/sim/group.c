/* SPDX-License-Identifier: MIT */
/*
 * sim/group.c - broadcast and multicast in the simulated network: which addresses are groups, who
 * is near enough to hear one, and which sockets are members (RFC 1112, RFC 3376, ip(7), ipv6(7)).
 *
 * Each host has two interfaces: 1 is the loopback, 2 its link to all hosts that share a /24 (IPv4)
 * or a /64 (IPv6) with it. Nothing routes groups from one link to another.
 */
#define _GNU_SOURCE
#include "sim/sim.h"

#include <string.h>

enum { IS_JOIN, IS_LEAVE };

bool pi_sim_is_multicast(const struct sim_addr *addr)
{
    if (addr->any.sa_family == AF_INET)
        return ntohl(addr->in.sin_addr.s_addr) >> 28 == 0xe;
    return addr->any.sa_family == AF_INET6 && IN6_IS_ADDR_MULTICAST(&addr->in6.sin6_addr);
}

static bool share_net(const struct sim_addr *a, const struct sim_addr *b)
{
    if (a->any.sa_family != b->any.sa_family)
        return false;
    if (a->any.sa_family == AF_INET)
        return ntohl(a->in.sin_addr.s_addr) >> 8 == ntohl(b->in.sin_addr.s_addr) >> 8;
    return memcmp(&a->in6.sin6_addr, &b->in6.sin6_addr, 8) == 0;
}

bool pi_sim_is_broadcast(const struct pier_sim_host *host, const struct sim_addr *addr)
{
    if (addr->any.sa_family != AF_INET)
        return false;
    uint32_t ip = ntohl(addr->in.sin_addr.s_addr);
    if (ip == INADDR_BROADCAST || ip == 0x7fffffff)
        return true;
    for (int i = 0; (ip & 0xff) == 0xff && i < host->names.count; i++)
        if (share_net(&host->names.addrs[i], addr))
            return true;
    return false;
}

bool pi_sim_are_neighbours(const struct pier_sim_host *a, const struct pier_sim_host *b, int family)
{
    for (int i = 0; i < a->names.count; i++)
        for (int k = 0; k < b->names.count; k++)
            if (a->names.addrs[i].any.sa_family == family &&
                share_net(&a->names.addrs[i], &b->names.addrs[k]))
                return true;
    return false;
}

/* ---- members ---- */

static bool is_member(const struct sim_sock *s, const struct sim_group *g,
                      const struct sim_packet *p)
{
    return g->interface == p->interface && pi_sim_same_ip(&g->group, &p->to) && s->dgram;
}

/* All hosts are members of the groups of all hosts: 224.0.0.1, ff02::1. */
static bool is_for_all(const struct sim_addr *group)
{
    static const struct in6_addr all = { { { 0xff, 0x02, [15] = 1 } } };
    if (group->any.sa_family == AF_INET)
        return ntohl(group->in.sin_addr.s_addr) == INADDR_ALLHOSTS_GROUP;
    return memcmp(&group->in6.sin6_addr, &all, sizeof all) == 0;
}

static bool has_member(const struct pier_sim_host *host, const struct sim_packet *p)
{
    for (const struct sim_sock *s = host->dgrams; s; s = s->next_bound)
        for (int i = 0; i < s->dgram->group_count; i++)
            if (is_member(s, &s->dgram->groups[i], p))
                return true;
    return is_for_all(&p->to);
}

/* By default a socket that has not joined gets what others on its host have joined (ip(7),
 * IP_MULTICAST_ALL). */
bool pi_sim_hears_group(const struct sim_sock *s, const struct sim_packet *p)
{
    bool has_joined = false;
    if (!pi_sim_is_multicast(&p->to))
        return true;
    if (!has_member(s->host, p))
        return false;
    for (int i = 0; i < s->dgram->group_count; i++) {
        const struct sim_group *g = &s->dgram->groups[i];
        if (!is_member(s, g, p))
            continue;
        has_joined = true;
        if (g->source.len == 0 || pi_sim_same_ip(&g->source, &p->from))
            return true;
    }
    return !has_joined && !s->dgram->own_groups_only;
}

/* ---- joining and leaving ---- */

static bool has_family(const struct pier_sim_host *host, int family)
{
    for (int i = 0; i < host->names.count; i++)
        if (host->names.addrs[i].any.sa_family == family)
            return true;
    return false;
}

int pi_sim_interface(const struct sim_sock *s, int number, const struct sim_addr *addr)
{
    bool is_linked = has_family(s->host, s->family);
    if (number == 0 && addr && addr->len > 0 && !pi_sim_is_any(addr)) {
        if (pi_sim_host_of(addr, s->host) != s->host)
            return 0;
        return pi_sim_is_loopback(addr) ? SIM_LOOPBACK : SIM_ETHERNET;
    }
    if (number == SIM_LOOPBACK)
        return SIM_LOOPBACK;
    return is_linked && (number == 0 || number == SIM_ETHERNET) ? SIM_ETHERNET : 0;
}

static bool is_same(const struct sim_group *a, const struct sim_group *b)
{
    return a->interface == b->interface && pi_sim_same_ip(&a->group, &b->group);
}

static void remove_at(struct sim_dgram *d, int index)
{
    memmove(&d->groups[index], &d->groups[index + 1],
            (size_t)(d->group_count - index - 1) * sizeof d->groups[0]);
    d->group_count--;
}

/* One source more; a membership without sources becomes one with them. */
static int join(struct sim_dgram *d, const struct sim_group *g)
{
    for (int i = d->group_count - 1; i >= 0; i--) {
        if (!is_same(&d->groups[i], g))
            continue;
        if (g->source.len == 0)
            return -EADDRINUSE;
        if (d->groups[i].source.len == 0)
            remove_at(d, i);
        else if (pi_sim_same_ip(&d->groups[i].source, &g->source))
            return -EADDRNOTAVAIL;
    }
    if (d->group_count == SIM_GROUPS_MAX)
        return -ENOBUFS;
    d->groups[d->group_count++] = *g;
    return 0;
}

/* Without a source: the group, with all its sources. */
static int leave(struct sim_dgram *d, const struct sim_group *g)
{
    bool has_left = false, has_group = false;
    for (int i = d->group_count - 1; i >= 0; i--) {
        if (!is_same(&d->groups[i], g))
            continue;
        has_group = true;
        if (g->source.len > 0 && !pi_sim_same_ip(&d->groups[i].source, &g->source))
            continue;
        remove_at(d, i);
        has_left = true;
    }
    if (has_left)
        return 0;
    return g->source.len > 0 && !has_group ? -EINVAL : -EADDRNOTAVAIL;
}

/* ---- what the options carry ---- */

struct request {
    struct sim_group group;
    struct sim_addr at; /* the interface's */
    int number;
};

static struct sim_addr from_in(struct in_addr ip)
{
    return (struct sim_addr){ .in = { .sin_family = AF_INET, .sin_addr = ip },
                              .len = sizeof(struct sockaddr_in) };
}

static int read_in(struct request *r, int option, const void *value, socklen_t len)
{
    struct ip_mreqn one = { 0 };
    struct ip_mreq_source from;
    if (option == IP_ADD_SOURCE_MEMBERSHIP || option == IP_DROP_SOURCE_MEMBERSHIP) {
        if (len < sizeof from)
            return -EINVAL;
        memcpy(&from, value, sizeof from);
        r->group.source = from_in(from.imr_sourceaddr);
        one.imr_multiaddr = from.imr_multiaddr;
        one.imr_address = from.imr_interface;
    } else {
        if (len < sizeof(struct ip_mreq))
            return -EINVAL;
        memcpy(&one, value, len < sizeof one ? sizeof(struct ip_mreq) : sizeof one);
    }
    r->group.group = from_in(one.imr_multiaddr);
    r->at = from_in(one.imr_address);
    r->number = one.imr_ifindex;
    return 0;
}

static int read_in6(struct request *r, const void *value, socklen_t len)
{
    struct ipv6_mreq one;
    if (len < sizeof one)
        return -EINVAL;
    memcpy(&one, value, sizeof one);
    r->group.group = pi_sim_no_address(AF_INET6);
    r->group.group.in6.sin6_addr = one.ipv6mr_multiaddr;
    r->number = (int)one.ipv6mr_interface;
    return 0;
}

static struct sim_addr from_storage(const struct sockaddr_storage *any)
{
    struct sim_addr addr = pi_sim_no_address(any->ss_family);
    if (any->ss_family == AF_INET || any->ss_family == AF_INET6)
        memcpy(&addr.any, any, addr.len);
    return addr;
}

static int read_group(struct request *r, int option, const void *value, socklen_t len)
{
    struct group_source_req from;
    struct group_req one;
    if (option == MCAST_JOIN_SOURCE_GROUP || option == MCAST_LEAVE_SOURCE_GROUP) {
        if (len < sizeof from)
            return -EINVAL;
        memcpy(&from, value, sizeof from);
        r->group.group = from_storage(&from.gsr_group);
        r->group.source = from_storage(&from.gsr_source);
        r->number = (int)from.gsr_interface;
        return 0;
    }
    if (len < sizeof one)
        return -EINVAL;
    memcpy(&one, value, sizeof one);
    r->group.group = from_storage(&one.gr_group);
    r->number = (int)one.gr_interface;
    return 0;
}

/* IS_JOIN, IS_LEAVE or -1. */
static int kind_of(int level, int option)
{
    if (option == MCAST_JOIN_GROUP || option == MCAST_JOIN_SOURCE_GROUP)
        return IS_JOIN;
    if (option == MCAST_LEAVE_GROUP || option == MCAST_LEAVE_SOURCE_GROUP)
        return IS_LEAVE;
    if (level == IPPROTO_IPV6)
        return option == IPV6_JOIN_GROUP ? IS_JOIN : option == IPV6_LEAVE_GROUP ? IS_LEAVE : -1;
    if (option == IP_ADD_MEMBERSHIP || option == IP_ADD_SOURCE_MEMBERSHIP)
        return IS_JOIN;
    return option == IP_DROP_MEMBERSHIP || option == IP_DROP_SOURCE_MEMBERSHIP ? IS_LEAVE : -1;
}

int pi_sim_group_set(struct sim_sock *s, int level, int option, const void *value, socklen_t len)
{
    struct request r = { 0 };
    int kind = kind_of(level, option);
    if (kind < 0)
        return -ENOPROTOOPT;
    int rc = option >= MCAST_JOIN_GROUP ? read_group(&r, option, value, len)
             : level == IPPROTO_IPV6    ? read_in6(&r, value, len)
                                        : read_in(&r, option, value, len);
    if (rc < 0)
        return rc;
    if (!pi_sim_is_multicast(&r.group.group) || r.group.group.any.sa_family != s->family ||
        (r.group.source.len > 0 && r.group.source.any.sa_family != s->family))
        return -EINVAL;
    r.group.interface = pi_sim_interface(s, r.number, &r.at);
    if (r.group.interface == 0)
        return -ENODEV;
    return kind == IS_JOIN ? join(s->dgram, &r.group) : leave(s->dgram, &r.group);
}
