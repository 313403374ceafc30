/* SPDX-License-Identifier: MIT */
/*
 * sim/option.c - the options of simulated datagram sockets: socket(7), ip(7), ipv6(7), udp(7).
 *
 * Those that change what can be seen; of SOL_SOCKET's the others are taken and forgotten, of the
 * protocols' they are not known, as on a kernel without them.
 */
#define _GNU_SOURCE
#include "sim/sim.h"

#include <netinet/udp.h>
#include <string.h>

enum {
    BUFFER_MAX = 2 * 212992, /* rmem_max, wmem_max, and as much for the kernel's own */
    LEAST_ROOM = 4608,
    LEAST_WINDOW = 2304,
    SEGMENT_MAX = 65535,
};

/* An option's value is an int, or one byte of it. */
static int read_number(int *number, const void *value, socklen_t len)
{
    unsigned char byte;
    if (len >= sizeof *number) {
        memcpy(number, value, sizeof *number);
    } else if (len >= 1) {
        memcpy(&byte, value, 1);
        *number = byte;
    } else {
        return -EINVAL;
    }
    return 0;
}

static int take(bool *flag, bool value)
{
    *flag = value;
    return 0;
}

static size_t buffer(int asked, size_t least)
{
    int64_t room = 2 * (int64_t)asked;
    if (room < 0 || room > BUFFER_MAX)
        room = BUFFER_MAX;
    return (size_t)room < least ? least : (size_t)room;
}

static int set_general(struct sim_sock *s, int option, int number)
{
    struct sim_dgram *d = s->dgram;
    switch (option) {
    case SO_BROADCAST:
        return take(&d->broadcast, number);
    case SO_REUSEADDR:
        return take(&d->reuse_addr, number);
    case SO_REUSEPORT:
        return take(&d->reuse_port, number);
    case SO_RCVBUF:
        s->window = buffer(number, LEAST_WINDOW);
        return 0;
    case SO_SNDBUF:
        s->send_room = buffer(number, LEAST_ROOM);
        return 0;
    default:
        return 0;
    }
}

/* 0 of these is 1 there: 0 is the default. */
static int set_group_hops(struct sim_dgram *d, int number)
{
    if (number < -1 || number > 255)
        return -EINVAL;
    d->group_hops = number == -1 ? 0 : number + 1;
    return 0;
}

static int set_hops(struct sim_dgram *d, int number, int least)
{
    if (number != -1 && (number < least || number > 255))
        return -EINVAL;
    d->hops = number == -1 ? 0 : number;
    return 0;
}

/* IP_PMTUDISC_DO and _PROBE forbid fragments; IPv6 has the same numbers. */
static int set_discovery(struct sim_dgram *d, int number)
{
    if (number < IP_PMTUDISC_DONT || number > IP_PMTUDISC_OMIT)
        return -EINVAL;
    d->dont_fragment = number == IP_PMTUDISC_DO || number == IP_PMTUDISC_PROBE;
    return 0;
}

static int set_group_interface(struct sim_sock *s, const void *value, socklen_t len)
{
    struct ip_mreqn at = { 0 };
    struct sim_addr addr = pi_sim_no_address(AF_INET);
    if (len >= sizeof at)
        memcpy(&at, value, sizeof at);
    else if (len >= sizeof(struct ip_mreq))
        memcpy(&at, value, sizeof(struct ip_mreq));
    else if (len >= sizeof at.imr_address)
        memcpy(&at.imr_address, value, sizeof at.imr_address);
    else
        return -EINVAL;
    addr.in.sin_addr = at.imr_address;
    if (at.imr_ifindex == 0 && pi_sim_is_any(&addr)) {
        s->dgram->group_interface = 0;
        return 0;
    }
    int interface = pi_sim_interface(s, at.imr_ifindex, &addr);
    if (interface == 0)
        return -EADDRNOTAVAIL;
    s->dgram->group_interface = interface;
    return 0;
}

static int set_in(struct sim_sock *s, int option, const void *value, socklen_t len)
{
    struct sim_dgram *d = s->dgram;
    int number = 0;
    if (option == IP_MULTICAST_IF)
        return set_group_interface(s, value, len);
    if (read_number(&number, value, len) < 0)
        return -EINVAL;
    switch (option) {
    case IP_TTL:
        return set_hops(d, number, 1);
    case IP_MULTICAST_TTL:
        return set_group_hops(d, number);
    case IP_MULTICAST_LOOP:
        return take(&d->no_loop, !number);
    case IP_MULTICAST_ALL:
        return take(&d->own_groups_only, !number);
    case IP_MTU_DISCOVER:
        return set_discovery(d, number);
    case IP_PKTINFO:
        return take(&d->tells_info, number);
    case IP_RECVTTL:
        return take(&d->tells_hops, number);
    case IP_RECVERR:
        if (!number)
            pi_sim_packets_free(&d->errors);
        return take(&d->tells_errors, number);
    default:
        return pi_sim_group_set(s, IPPROTO_IP, option, value, len);
    }
}

static int set_group_interface6(struct sim_sock *s, int number)
{
    if (number != 0 && pi_sim_interface(s, number, NULL) == 0)
        return -ENODEV;
    s->dgram->group_interface = number;
    return 0;
}

static int set_in6(struct sim_sock *s, int option, const void *value, socklen_t len)
{
    struct sim_dgram *d = s->dgram;
    int number = 0;
    if (read_number(&number, value, len) < 0)
        return -EINVAL;
    switch (option) {
    case IPV6_V6ONLY:
        return 0; /* they all are */
    case IPV6_UNICAST_HOPS:
        return set_hops(d, number, 0);
    case IPV6_MULTICAST_HOPS:
        return set_group_hops(d, number);
    case IPV6_MULTICAST_LOOP:
        return take(&d->no_loop, !number);
    case IPV6_MULTICAST_ALL:
        return take(&d->own_groups_only, !number);
    case IPV6_MULTICAST_IF:
        return set_group_interface6(s, number);
    case IPV6_MTU_DISCOVER:
        return set_discovery(d, number);
    case IPV6_RECVPKTINFO:
        return take(&d->tells_info, number);
    case IPV6_RECVHOPLIMIT:
        return take(&d->tells_hops, number);
    case IPV6_RECVERR:
        if (!number)
            pi_sim_packets_free(&d->errors);
        return take(&d->tells_errors, number);
    default:
        return pi_sim_group_set(s, IPPROTO_IPV6, option, value, len);
    }
}

static int set_udp(struct sim_dgram *d, int option, const void *value, socklen_t len)
{
    int number;
    if (len < sizeof number)
        return -EINVAL;
    memcpy(&number, value, sizeof number);
    switch (option) {
    case UDP_SEGMENT:
        if (number < 0 || number > SEGMENT_MAX)
            return -EINVAL;
        d->segment = number;
        return 0;
    case UDP_GRO:
        return take(&d->merges, number);
    default:
        return -ENOPROTOOPT;
    }
}

int pi_sim_dgram_set(struct sim_sock *s, int level, int option, const void *value, socklen_t len)
{
    int number;
    if (level == IPPROTO_IP && s->family == AF_INET)
        return set_in(s, option, value, len);
    if (level == IPPROTO_IPV6 && s->family == AF_INET6)
        return set_in6(s, option, value, len);
    if (level == IPPROTO_UDP)
        return set_udp(s->dgram, option, value, len);
    if (level != SOL_SOCKET)
        return -ENOPROTOOPT;
    if (option == SO_BINDTODEVICE)
        return -EPERM;
    if (len < sizeof number)
        return -EINVAL;
    memcpy(&number, value, sizeof number);
    return set_general(s, option, number);
}

/* ---- asking ---- */

static int get_general(struct sim_sock *s, int option, int *number)
{
    switch (option) {
    case SO_TYPE:
        *number = SOCK_DGRAM;
        return 0;
    case SO_DOMAIN:
        *number = s->family;
        return 0;
    case SO_PROTOCOL:
        *number = IPPROTO_UDP;
        return 0;
    case SO_ERROR:
        *number = -pi_sim_take_error(s);
        return 0;
    case SO_BROADCAST:
        *number = s->dgram->broadcast;
        return 0;
    case SO_RCVBUF:
        *number = (int)s->window;
        return 0;
    case SO_SNDBUF:
        *number = (int)s->send_room;
        return 0;
    default:
        return -ENOPROTOOPT;
    }
}

static int get_mtu(const struct sim_sock *s, int *number)
{
    if (s->state != SIM_CONNECTED)
        return -ENOTCONN;
    *number = pi_sim_mtu(s->host, &s->peer);
    return 0;
}

int pi_sim_dgram_get(struct sim_sock *s, int level, int option, void *value, socklen_t *len)
{
    int number = 0, rc = -ENOPROTOOPT;
    if (level == SOL_SOCKET)
        rc = get_general(s, option, &number);
    else if ((level == IPPROTO_IP && s->family == AF_INET && option == IP_MTU) ||
             (level == IPPROTO_IPV6 && s->family == AF_INET6 && option == IPV6_MTU))
        rc = get_mtu(s, &number);
    else if (level == IPPROTO_UDP && option == UDP_SEGMENT) {
        number = s->dgram->segment;
        rc = 0;
    } else if (level == IPPROTO_UDP && option == UDP_GRO) {
        number = s->dgram->merges;
        rc = 0;
    }
    if (rc < 0)
        return rc;
    *len = *len < sizeof number ? *len : sizeof number;
    memcpy(value, &number, *len);
    return 0;
}
