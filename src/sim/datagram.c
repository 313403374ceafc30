/* SPDX-License-Identifier: MIT */
/*
 * sim/datagram.c - the calls on simulated datagram sockets, as the kernel's would answer them:
 * udp(7), ip(7), ipv6(7), recvmmsg(2), sendmmsg(2).
 *
 * All of them come down to one message that is sent or received. IPv6 sockets are for IPv6 only.
 * Where a call fails for more than one reason, the reasons are looked at in the kernel's order.
 */
#define _GNU_SOURCE
#include "sim/sim.h"

#include "base/assert.h"

#include <linux/errqueue.h>
#include <netinet/udp.h>
#include <poll.h>
#include <stddef.h>
#include <string.h>
#include <sys/uio.h>

enum {
    ROOM = 212992, /* of buffers, by default */
    LEAST_ROOM = 4608,
    LEAST_WINDOW = 2304,
    DATAGRAM_MAX = 65507,  /* 65,535 without the headers of IPv4 and UDP */
    DATAGRAM_MAX6 = 65527, /* IPv6's own header does not count: RFC 8200, 3 */
    HEADERS = 28,
    HEADERS6 = 48,
    SEGMENTS_MAX = 64, /* UDP_MAX_SEGMENTS */
    HOPS = 64,
    UNREACHABLE_PORT = 3,  /* RFC 792 */
    UNREACHABLE_PORT6 = 4, /* RFC 4443 */
};

enum { READ_SHUT = SHUT_RD + 1, WRITE_SHUT = SHUT_WR + 1 };

/* ---- sockets ---- */

/* Small buffers, now and then. */
static size_t some_room(size_t least)
{
    struct pi_sim *sim = pi_sim;
    if (pi_sim_is_calm(sim, SIM_SPLIT) || !pi_sim_one_in(&sim->network, 8))
        return ROOM;
    return (size_t)pi_sim_range(&sim->network, (int64_t)least, 8 * (int64_t)least);
}

int pi_sim_dgram_open(struct sim_sock *s)
{
    pi_sim->quiet++;
    s->dgram = pi_zalloc(sizeof *s->dgram);
    pi_sim->quiet--;
    s->window = some_room(LEAST_WINDOW);
    s->send_room = some_room(LEAST_ROOM);
    return s->dgram ? 0 : -ENOMEM;
}

static void join_host(struct sim_sock *s)
{
    s->next_bound = s->host->dgrams;
    s->host->dgrams = s;
}

static void leave_host(struct sim_sock *s)
{
    for (struct sim_sock **at = &s->host->dgrams; *at; at = &(*at)->next_bound) {
        if (*at == s) {
            *at = s->next_bound;
            return;
        }
    }
}

void pi_sim_dgram_close(struct sim_sock *s)
{
    leave_host(s);
    pi_sim_packets_free(&s->dgram->in);
    pi_sim_packets_free(&s->dgram->errors);
    s->dgram->group_count = 0;
}

/* ---- local addresses ---- */

static bool share_port(const struct sim_dgram *a, const struct sim_dgram *b)
{
    return (a->reuse_addr && b->reuse_addr) || (a->reuse_port && b->reuse_port);
}

static bool is_taken(const struct sim_sock *by, const struct sim_addr *addr)
{
    for (const struct sim_sock *s = by->host->dgrams; s; s = s->next_bound)
        if (s != by && pi_sim_port(&s->local) == pi_sim_port(addr) &&
            s->family == addr->any.sa_family && !share_port(s->dgram, by->dgram) &&
            (pi_sim_is_any(&s->local) || pi_sim_is_any(addr) || pi_sim_same_ip(&s->local, addr)))
            return true;
    return false;
}

/* A port of its own, even where others share one. */
static int free_port(const struct sim_sock *s, struct sim_addr *addr)
{
    enum { FIRST = 32768, LAST = 60999 };
    struct pier_sim_host *host = s->host;
    for (int tries = 0; tries <= LAST - FIRST; tries++) {
        pi_sim_set_port(addr, host->next_port);
        host->next_port = host->next_port == LAST ? FIRST : host->next_port + 1;
        bool is_free = true;
        for (const struct sim_sock *other = host->dgrams; other; other = other->next_bound)
            is_free = is_free && pi_sim_port(&other->local) != pi_sim_port(addr);
        if (is_free)
            return 0;
    }
    return -EADDRINUSE;
}

static bool is_own(struct pier_sim_host *host, const struct sim_addr *addr)
{
    return pi_sim_is_any(addr) || pi_sim_is_multicast(addr) || pi_sim_is_broadcast(host, addr) ||
           pi_sim_host_of(addr, host) == host;
}

static socklen_t addr_len(int family)
{
    return family == AF_INET ? sizeof(struct sockaddr_in) : sizeof(struct sockaddr_in6);
}

/* Without the scope, as it was once: RFC 2133. */
static socklen_t least_len(int family)
{
    return family == AF_INET ? sizeof(struct sockaddr_in)
                             : offsetof(struct sockaddr_in6, sin6_scope_id);
}

int pi_sim_dgram_bind(struct sim_sock *s, const struct sim_addr *addr)
{
    struct sim_addr local = *addr;
    if (addr->len < least_len(s->family))
        return -EINVAL;
    local.len = addr_len(s->family);
    if (!is_own(s->host, &local))
        return -EADDRNOTAVAIL;
    s->dgram->port_is_chosen = pi_sim_port(&local) != 0;
    int rc = is_taken(s, &local) ? -EADDRINUSE : 0;
    if (!s->dgram->port_is_chosen)
        rc = free_port(s, &local);
    if (rc < 0)
        return rc;
    char text[128];
    s->local = local;
    s->state = SIM_BOUND;
    s->dgram->addr_is_chosen = !pi_sim_is_any(&local);
    join_host(s);
    pi_sim_event(SIM_EV_LISTEN, s->host, s->id, "#%d %s", s->id, pi_sim_addr_text(text, &local));
    return 0;
}

/* Sockets that send or connect get a port by that. */
static int bind_somewhere(struct sim_sock *s)
{
    if (pi_sim_port(&s->local) != 0)
        return 0;
    if (free_port(s, &s->local) < 0)
        return -EAGAIN;
    s->state = SIM_BOUND;
    join_host(s);
    return 0;
}

/* ---- where a datagram goes, and what from ---- */

static const struct sim_addr *own_addr(const struct pier_sim_host *host, const struct sim_addr *to)
{
    const struct sim_addr *first = NULL;
    for (int i = 0; i < host->names.count; i++) {
        const struct sim_addr *own = &host->names.addrs[i];
        if (own->any.sa_family != to->any.sa_family)
            continue;
        if (to->any.sa_family == AF_INET && (own->in.sin_addr.s_addr & htonl(0xffffff00)) ==
                                                (to->in.sin_addr.s_addr & htonl(0xffffff00)))
            return own;
        first = first ? first : own;
    }
    return first;
}

static int choose_interface(const struct sim_sock *s, const struct sim_packet *p, int wanted)
{
    if (!pi_sim_is_multicast(&p->to))
        return pi_sim_host_of(&p->to, s->host) == s->host || pi_sim_is_loopback(&p->to)
                   ? SIM_LOOPBACK
                   : SIM_ETHERNET;
    if (wanted)
        return wanted;
    return s->dgram->group_interface ? s->dgram->group_interface : SIM_ETHERNET;
}

/* The address to send from: the wanted one, the bound one, or what suits. */
static int choose_source(const struct sim_sock *s, struct sim_packet *p,
                         const struct sim_addr *wanted)
{
    int port = pi_sim_port(&s->local);
    bool is_bound = !pi_sim_is_any(&s->local) && !pi_sim_is_multicast(&s->local) &&
                    !pi_sim_is_broadcast(s->host, &s->local);
    const struct sim_addr *own = own_addr(s->host, &p->to);
    if (p->interface == SIM_ETHERNET && !own)
        return -ENETUNREACH;
    if (wanted->len > 0)
        p->from = *wanted;
    else if (is_bound)
        p->from = s->local;
    else if (p->interface == SIM_ETHERNET)
        p->from = *own;
    else if (pi_sim_is_loopback(&p->to) || pi_sim_is_multicast(&p->to))
        pi_sim_set_loopback(&p->from);
    else
        p->from = p->to;
    pi_sim_set_port(&p->from, port);
    bool stays = p->interface == SIM_LOOPBACK || pi_sim_is_multicast(&p->to);
    return pi_sim_is_loopback(&p->from) && !stays ? -EINVAL : 0;
}

static int route(const struct sim_sock *s, struct sim_packet *p, const struct sim_addr *wanted,
                 int interface)
{
    const struct sim_dgram *d = s->dgram;
    p->from = pi_sim_no_address(s->family);
    p->interface = choose_interface(s, p, interface);
    if (p->hops == 0)
        p->hops = !pi_sim_is_multicast(&p->to) ? (d->hops ? d->hops : HOPS)
                  : d->group_hops              ? d->group_hops - 1
                                               : 1;
    int rc = choose_source(s, p, wanted);
    if (rc < 0)
        return rc;
    return pi_sim_is_broadcast(s->host, &p->to) && !d->broadcast ? -EACCES : 0;
}

/* ---- sending ---- */

/* What a message carries besides its bytes. */
struct extra {
    struct sim_addr source;
    int interface, hops, segment;
};

static int read_info(const struct sim_sock *s, struct extra *e, const struct cmsghdr *c)
{
    const void *data = CMSG_DATA(c);
    struct in_pktinfo info;
    struct in6_pktinfo info6;
    struct sim_addr source = pi_sim_no_address(s->family);
    if (s->family == AF_INET && c->cmsg_len == CMSG_LEN(sizeof info)) {
        memcpy(&info, data, sizeof info);
        source.in.sin_addr = info.ipi_spec_dst;
        e->interface = info.ipi_ifindex;
    } else if (s->family == AF_INET6 && c->cmsg_len >= CMSG_LEN(sizeof info6)) {
        memcpy(&info6, data, sizeof info6);
        source.in6.sin6_addr = info6.ipi6_addr;
        e->interface = (int)info6.ipi6_ifindex;
    } else {
        return -EINVAL;
    }
    if (e->interface && !pi_sim_interface(s, e->interface, NULL))
        return -ENODEV;
    if (pi_sim_is_any(&source))
        return 0;
    if (pi_sim_host_of(&source, s->host) != s->host)
        return -EINVAL;
    e->source = source;
    return 0;
}

static int read_hops(struct extra *e, const struct cmsghdr *c)
{
    if (c->cmsg_len != CMSG_LEN(sizeof e->hops))
        return -EINVAL;
    memcpy(&e->hops, CMSG_DATA(c), sizeof e->hops);
    return e->hops < 1 || e->hops > 255 ? -EINVAL : 0;
}

static int read_segment(struct extra *e, const struct cmsghdr *c)
{
    uint16_t segment;
    if (c->cmsg_type != UDP_SEGMENT || c->cmsg_len != CMSG_LEN(sizeof segment))
        return -EINVAL;
    memcpy(&segment, CMSG_DATA(c), sizeof segment);
    e->segment = segment;
    return 0;
}

static int read_control(const struct sim_sock *s, struct extra *e, const struct msghdr *msg)
{
    int rc = 0;
    struct msghdr *m = (struct msghdr *)msg; /* CMSG_NXTHDR() of glibc wants it so */
    for (struct cmsghdr *c = CMSG_FIRSTHDR(m); c && rc == 0; c = CMSG_NXTHDR(m, c)) {
        bool is_ip = c->cmsg_level == (s->family == AF_INET ? IPPROTO_IP : IPPROTO_IPV6);
        int info = s->family == AF_INET ? IP_PKTINFO : IPV6_PKTINFO;
        int hops = s->family == AF_INET ? IP_TTL : IPV6_HOPLIMIT;
        if (c->cmsg_level == IPPROTO_UDP)
            rc = read_segment(e, c);
        else if (is_ip)
            rc = c->cmsg_type == info   ? read_info(s, e, c)
                 : c->cmsg_type == hops ? read_hops(e, c)
                                        : -EINVAL;
    }
    return rc;
}

/* The address in a call, or the peer. */
static int read_target(const struct sim_sock *s, struct sim_addr *to, const void *name,
                       socklen_t len)
{
    if (!name || len == 0) {
        *to = s->peer;
        return s->state == SIM_CONNECTED ? 0 : -EDESTADDRREQ;
    }
    sa_family_t family;
    *to = (struct sim_addr){ .len = addr_len(s->family) };
    if (len < sizeof family)
        return -EINVAL;
    memcpy(&family, name, sizeof family);
    if (s->family == AF_INET6 && family == AF_INET)
        return -ENETUNREACH;
    if (len < least_len(s->family))
        return -EINVAL;
    if (family != s->family)
        return s->family == AF_INET ? -EAFNOSUPPORT : -EINVAL;
    memcpy(&to->any, name, len < to->len ? len : to->len);
    return pi_sim_port(to) ? 0 : -EINVAL;
}

static size_t total(const struct iovec *pieces, size_t count)
{
    size_t len = 0;
    for (size_t i = 0; i < count; i++)
        len += pieces[i].iov_len;
    return len;
}

/* What the machine itself has against it. */
static int look_at_size(const struct sim_sock *s, const struct sim_packet *p, int segment)
{
    bool is_in = s->family == AF_INET;
    int headers = is_in ? HEADERS : HEADERS6;
    if (p->len > (is_in ? DATAGRAM_MAX : DATAGRAM_MAX6))
        return -EMSGSIZE;
    int mtu = pi_sim_mtu(s->host, &p->to);
    if (segment > 0)
        return segment + headers > mtu || p->len > (size_t)segment * SEGMENTS_MAX ? -EINVAL : 0;
    return s->dgram->dont_fragment && (int)p->len + headers > mtu ? -EMSGSIZE : 0;
}

static int look_at_socket(struct sim_sock *s)
{
    if (s->error)
        return pi_sim_take_error(s);
    if (s->dgram->shut & WRITE_SHUT)
        return -EPIPE;
    return s->dgram->unsent < s->send_room ? 0 : -EAGAIN;
}

static int address_it(struct sim_sock *s, struct sim_packet *p, struct extra *e,
                      const struct msghdr *msg)
{
    int rc = bind_somewhere(s);
    if (rc == 0 && s->family == AF_INET && p->len > UINT16_MAX)
        rc = -EMSGSIZE;
    if (rc == 0)
        rc = read_target(s, &p->to, msg->msg_name, msg->msg_namelen);
    if (rc == 0)
        rc = read_control(s, e, msg);
    if (rc < 0)
        return rc;
    if (pi_sim_is_any(&p->to))
        pi_sim_set_loopback(&p->to);
    p->hops = e->hops;
    rc = route(s, p, &e->source, e->interface);
    if (rc == 0)
        rc = look_at_size(s, p, e->segment);
    return rc < 0 ? rc : look_at_socket(s);
}

/* In one datagram, or in several of that length. */
static int post_all(const struct sim_packet *all, const unsigned char *bytes, int segment)
{
    size_t each = segment > 0 ? (size_t)segment : all->len;
    size_t done = 0;
    int rc = 0;
    do {
        struct sim_packet one = *all;
        one.len = all->len - done < each ? all->len - done : each;
        rc = pi_sim_post(&one, bytes + done);
        done += one.len;
    } while (rc == 0 && done < all->len);
    return rc;
}

static ssize_t transmit(struct sim_sock *s, const struct msghdr *msg)
{
    struct sim_packet p = { .sender = s, .source = s->host };
    struct extra e = { .segment = s->dgram->segment };
    p.len = total(msg->msg_iov, msg->msg_iovlen);
    int rc = address_it(s, &p, &e, msg);
    if (rc < 0)
        return rc;
    pi_sim->quiet++;
    unsigned char *bytes = pi_alloc(p.len + 1);
    pi_sim->quiet--;
    if (!bytes)
        return -ENOBUFS;
    size_t at = 0;
    for (size_t i = 0; i < msg->msg_iovlen; i++) {
        if (msg->msg_iov[i].iov_len > 0)
            memcpy(bytes + at, msg->msg_iov[i].iov_base, msg->msg_iov[i].iov_len);
        at += msg->msg_iov[i].iov_len;
    }
    char text[128];
    pi_sim_event(SIM_EV_SEND, s->host, (int64_t)p.len, "#%d: %zu bytes to %s", s->id, p.len,
                 pi_sim_addr_text(text, &p.to));
    rc = post_all(&p, bytes, e.segment);
    pi_free(bytes);
    return rc < 0 ? rc : (ssize_t)p.len;
}

static ssize_t transmit_pieces(struct sim_sock *s, void *bytes, size_t len)
{
    struct iovec piece = { bytes, len };
    return transmit(s, &(struct msghdr){ .msg_iov = &piece, .msg_iovlen = 1 });
}

/* Those before the first that fails. */
static ssize_t transmit_batch(struct sim_sock *s, struct mmsghdr *batch, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        ssize_t n = transmit(s, &batch[i].msg_hdr);
        if (n < 0)
            return i > 0 ? (ssize_t)i : n;
        batch[i].msg_len = (unsigned)n;
    }
    return (ssize_t)count;
}

/* ---- receiving ---- */

/* As much of it as there is room for. */
static void put_control(struct msghdr *msg, size_t *used, int kind[2], const void *data, size_t len)
{
    size_t room = msg->msg_controllen - *used;
    struct cmsghdr head = { .cmsg_level = kind[0], .cmsg_type = kind[1] };
    if (!msg->msg_control || room < sizeof head) {
        msg->msg_flags |= MSG_CTRUNC;
        return;
    }
    if (CMSG_LEN(len) > room)
        msg->msg_flags |= MSG_CTRUNC;
    head.cmsg_len = CMSG_LEN(len) < room ? CMSG_LEN(len) : room;
    unsigned char *at = (unsigned char *)msg->msg_control + *used;
    memcpy(at, &head, sizeof head);
    memcpy(at + CMSG_LEN(0), data, head.cmsg_len - CMSG_LEN(0));
    size_t space = CMSG_SPACE(len);
    *used += space < room ? space : room;
}

static void put_info(struct msghdr *msg, size_t *used, const struct sim_packet *p)
{
    if (p->to.any.sa_family == AF_INET) {
        bool is_group = pi_sim_is_multicast(&p->to) || pi_sim_is_broadcast(p->target, &p->to);
        const struct sim_addr *own = own_addr(p->target, &p->to);
        struct sim_addr at = p->to; /* where it was received */
        if (is_group && p->interface == SIM_LOOPBACK)
            pi_sim_set_loopback(&at);
        else if (is_group && own)
            at = *own;
        struct in_pktinfo info = { p->interface, at.in.sin_addr, p->to.in.sin_addr };
        put_control(msg, used, (int[]){ IPPROTO_IP, IP_PKTINFO }, &info, sizeof info);
    } else {
        struct in6_pktinfo info = { .ipi6_ifindex = (unsigned)p->interface,
                                    .ipi6_addr = p->to.in6.sin6_addr };
        put_control(msg, used, (int[]){ IPPROTO_IPV6, IPV6_PKTINFO }, &info, sizeof info);
    }
}

static size_t put_extras(const struct sim_sock *s, struct msghdr *msg, const struct sim_packet *p,
                         int segment)
{
    size_t used = 0;
    bool is_in = s->family == AF_INET;
    if (segment > 0)
        put_control(msg, &used, (int[]){ IPPROTO_UDP, UDP_GRO }, &segment, sizeof segment);
    if (s->dgram->tells_info)
        put_info(msg, &used, p);
    if (s->dgram->tells_hops)
        put_control(msg, &used,
                    (int[]){ is_in ? IPPROTO_IP : IPPROTO_IPV6, is_in ? IP_TTL : IPV6_HOPLIMIT },
                    &p->hops, sizeof p->hops);
    return used;
}

static size_t scatter(const struct msghdr *msg, const unsigned char *bytes, size_t len)
{
    size_t done = 0;
    for (size_t i = 0; i < msg->msg_iovlen && done < len; i++) {
        size_t n = len - done < msg->msg_iov[i].iov_len ? len - done : msg->msg_iov[i].iov_len;
        if (n > 0)
            memcpy(msg->msg_iov[i].iov_base, bytes + done, n);
        done += n;
    }
    return done;
}

static void put_name(struct msghdr *msg, const struct sim_addr *addr)
{
    if (!msg->msg_name)
        return;
    memcpy(msg->msg_name, &addr->any, msg->msg_namelen < addr->len ? msg->msg_namelen : addr->len);
    msg->msg_namelen = addr->len;
}

static bool continues(const struct sim_packet *p, const struct sim_packet *next, size_t count)
{
    return next && next->len > 0 && next->len <= p->len && count < SEGMENTS_MAX &&
           (count + 1) * p->len <= DATAGRAM_MAX && pi_sim_same_ip(&p->from, &next->from) &&
           pi_sim_port(&p->from) == pi_sim_port(&next->from) && pi_sim_same_ip(&p->to, &next->to);
}

/* Datagrams of one sender and equal length (the last may be shorter) are received as one; how many,
 * is chance. */
static struct sim_packet *merge(struct sim_sock *s, struct sim_packet *p)
{
    struct pi_sim *sim = pi_sim;
    size_t count = 1;
    sim->quiet++;
    struct sim_packet *all = pi_sim_packet_new(p, DATAGRAM_MAX);
    sim->quiet--;
    if (!all)
        return p;
    memcpy(all->bytes, p->bytes, p->len);
    all->len = p->len;
    bool goes_on = true;
    while (goes_on && continues(p, s->dgram->in.first, count)) {
        struct sim_packet *next = pi_sim_packet_take(&s->dgram->in);
        memcpy(all->bytes + all->len, next->bytes, next->len);
        all->len += next->len;
        count++;
        goes_on = next->len == p->len &&
                  (pi_sim_is_calm(sim, SIM_SPLIT) || !pi_sim_one_in(&sim->network, 8));
        pi_free(next);
    }
    pi_free(p);
    return all;
}

static ssize_t receive(struct sim_sock *s, struct msghdr *msg)
{
    struct sim_dgram *d = s->dgram;
    if (s->error)
        return pi_sim_take_error(s);
    struct sim_packet *p = pi_sim_packet_take(&d->in);
    if (!p)
        return -EAGAIN; /* shut down or not: only a call that blocks sees an end */
    size_t segment = p->len;
    if (d->merges && segment > 0 && continues(p, d->in.first, 1))
        p = merge(s, p);
    size_t n = scatter(msg, p->bytes, p->len);
    msg->msg_flags = n < p->len ? MSG_TRUNC : 0;
    put_name(msg, &p->from);
    msg->msg_controllen = put_extras(s, msg, p, p->len > segment ? (int)segment : 0);
    pi_sim_event(SIM_EV_READ, s->host, (int64_t)n, "#%d: %zu of %zu bytes", s->id, n, p->len);
    pi_free(p);
    return (ssize_t)n;
}

static ssize_t receive_bytes(struct sim_sock *s, void *buf, size_t len)
{
    struct iovec piece = { buf, len };
    return receive(s, &(struct msghdr){ .msg_iov = &piece, .msg_iovlen = 1 });
}

/* Mostly all that there are. What fails behind the first is told by the next call. */
static ssize_t receive_batch(struct sim_sock *s, struct mmsghdr *batch, size_t count)
{
    struct pi_sim *sim = pi_sim;
    size_t done = 0;
    while (done < count) {
        if (done > 0 && (s->error || !s->dgram->in.first))
            break;
        ssize_t n = receive(s, &batch[done].msg_hdr);
        if (n < 0)
            return n;
        batch[done++].msg_len = (unsigned)n;
        if (!pi_sim_is_calm(sim, SIM_SPLIT) && pi_sim_one_in(&sim->network, 16))
            break;
    }
    return (ssize_t)done;
}

/* Who says that a datagram did not arrive, and why: ip(7). */
static void put_error(struct msghdr *msg, size_t *used, const struct sim_packet *p)
{
    bool is_in = p->to.any.sa_family == AF_INET, is_local = p->error == -EHOSTUNREACH;
    struct {
        struct sock_extended_err error;
        struct sockaddr_in6 offender;
    } told = {
        .error = { .ee_errno = (uint32_t)-p->error,
                   .ee_origin = is_in ? SO_EE_ORIGIN_ICMP : SO_EE_ORIGIN_ICMP6,
                   .ee_type = is_in ? 3 : 1,
                   .ee_code = is_local ? (is_in ? 1 : 3)
                              : is_in  ? UNREACHABLE_PORT
                                       : UNREACHABLE_PORT6 },
    };
    struct sim_addr offender = is_local ? p->from : p->to;
    pi_sim_set_port(&offender, 0);
    memcpy(&told.offender, &offender.any, offender.len);
    put_control(msg, used,
                (int[]){ is_in ? IPPROTO_IP : IPPROTO_IPV6, is_in ? IP_RECVERR : IPV6_RECVERR },
                &told, sizeof told.error + offender.len);
}

ssize_t pi_sim_dgram_take_error(struct sim_sock *s, struct msghdr *msg)
{
    struct sim_packet *p = pi_sim_packet_take(&s->dgram->errors);
    if (!p)
        return -EAGAIN;
    size_t n = scatter(msg, p->bytes, p->len), used = 0;
    msg->msg_flags = MSG_ERRQUEUE | (n < p->len ? MSG_TRUNC : 0);
    put_name(msg, &p->to);
    put_error(msg, &used, p);
    msg->msg_controllen = used;
    const struct sim_packet *next = s->dgram->errors.first;
    s->error = next ? next->error : 0;
    pi_free(p);
    return (ssize_t)n;
}

/* ---- the other calls that may wait ---- */

/* What bind has not chosen is open again. */
static ssize_t disconnect(struct sim_sock *s)
{
    struct sim_dgram *d = s->dgram;
    s->state = s->state == SIM_CONNECTED ? SIM_BOUND : s->state;
    s->peer = (struct sim_addr){ 0 };
    struct sim_addr none = pi_sim_no_address(s->family);
    pi_sim_set_port(&none, pi_sim_port(&s->local));
    if (!d->addr_is_chosen)
        s->local = none;
    if (!d->port_is_chosen && s->state == SIM_BOUND) {
        pi_sim_set_port(&s->local, 0);
        s->state = SIM_NEW;
        leave_host(s);
    }
    return 0;
}

/* Nothing is sent: it says to whom, and from whom to receive. */
static ssize_t connect_it(struct sim_sock *s, struct io_op *op)
{
    const struct sockaddr *name = op->buf;
    struct sim_packet p = { .source = s->host, .to = { .len = addr_len(s->family) } };
    op->len = 1; /* as io.c does */
    if (op->addr_len >= sizeof name->sa_family && name->sa_family == AF_UNSPEC)
        return disconnect(s);
    int rc = bind_somewhere(s);
    bool is_in = op->addr_len >= sizeof(struct sockaddr_in) && name->sa_family == AF_INET;
    if (rc == 0 && op->addr_len < least_len(s->family))
        rc = is_in ? -EAFNOSUPPORT : -EINVAL;
    if (rc < 0)
        return rc;
    if (name->sa_family != s->family)
        return -EAFNOSUPPORT;
    memcpy(&p.to.any, name, op->addr_len < p.to.len ? op->addr_len : p.to.len);
    if (pi_sim_is_any(&p.to))
        pi_sim_set_loopback(&p.to);
    if (pi_sim_faulty(PIER_SIM_REFUSE, pi_sim->opts.faults.refuse, s->host))
        return -ENETUNREACH;
    rc = route(s, &p, &(struct sim_addr){ 0 }, 0);
    if (rc < 0)
        return rc;
    char from_text[128], to_text[128];
    if (pi_sim_is_any(&s->local))
        s->local = p.from;
    s->peer = p.to;
    s->state = SIM_CONNECTED;
    pi_sim_event(SIM_EV_CONNECTED, s->host, s->id, "#%d %s to %s", s->id,
                 pi_sim_addr_text(from_text, &s->local), pi_sim_addr_text(to_text, &s->peer));
    return 0;
}

static ssize_t ready_events(const struct sim_sock *s, size_t wanted)
{
    const struct sim_dgram *d = s->dgram;
    size_t events = 0;
    if (d->in.first || (d->shut & READ_SHUT))
        events |= POLLIN;
    if (2 * d->unsent < s->send_room)
        events |= POLLOUT;
    if (d->shut & READ_SHUT)
        events |= POLLRDHUP;
    events &= wanted;
    if (d->shut == (READ_SHUT | WRITE_SHUT))
        events |= POLLHUP;
    if (s->error || d->errors.first)
        events |= POLLERR;
    return events ? (ssize_t)events : -EAGAIN;
}

ssize_t pi_sim_dgram_attempt(struct sim_sock *s, struct io_op *op)
{
    switch (op->code) {
    case IO_RECV:
    case IO_READ:
        return receive_bytes(s, op->buf, op->len);
    case IO_RECVMSG:
        return receive(s, op->buf);
    case IO_RECVMMSG:
        return receive_batch(s, op->buf, op->len);
    case IO_SEND:
        return transmit_pieces(s, op->buf, op->len);
    case IO_WRITEV:
        return transmit(s, &(struct msghdr){ .msg_iov = op->buf, .msg_iovlen = op->len });
    case IO_SENDMSG:
        return transmit(s, op->buf);
    case IO_SENDMMSG:
        return transmit_batch(s, op->buf, op->len);
    case IO_CONNECT:
        return connect_it(s, op);
    case IO_POLL:
        return ready_events(s, op->len);
    default:
        return -EOPNOTSUPP;
    }
}

/* A socket without a peer is shut down, too, though the call says that it cannot be. */
int pi_sim_dgram_shutdown(struct sim_sock *s, int how)
{
    if (how < SHUT_RD || how > SHUT_RDWR)
        return -EINVAL;
    s->dgram->shut |= how + 1;
    pi_sim_wake_reader(s);
    pi_sim_wake_writer(s);
    return s->state == SIM_CONNECTED ? 0 : -ENOTCONN;
}
