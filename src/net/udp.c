/* SPDX-License-Identifier: MIT */
/*
 * net/udp.c - pier_udp_*: a socket for datagrams in batches, straight into and out of the caller's
 * buffers.
 *
 * A batch is one recvmmsg(2) or sendmmsg(2). With .segmentation what goes to one peer in pieces of
 * one length is one message, which the kernel cuts; where it cannot, or an interface refuses, the
 * pieces go out one by one, and nobody sees a difference. Specification: udp(7), ip(7), ipv6(7).
 */
#define _GNU_SOURCE
#include "net/udp.h"

#include "base/assert.h"
#include "task/sockets.h"

#include <linux/errqueue.h>
#include <net/if.h>
#include <netinet/udp.h>

enum {
    BATCH = 64,    /* messages of one call */
    FIRST_ASK = 4, /* of a receive: preparing many for one costs 3 % of an echo */
    SEND_WAIT_S = 30,
    STALE_ERRORS = 8, /* ICMP errors of earlier datagrams that one send may meet */
};

/* Of one direction. */
struct lane {
    struct mmsghdr msgs[BATCH];
    struct iovec pieces[BATCH];
    _Alignas(struct cmsghdr) char control[BATCH][PI_CONTROL_CAP];
};

/* The datagrams of a message: first to before end, the first one from offset on. */
struct span {
    int first, end;
    size_t offset, end_offset; /* within datagram end */
    bool is_cut;               /* by the kernel, into segments */
};

struct pier_udp {
    struct io_fd io;
    sa_family_t family;
    bool has_peer, wants_errors, has_control;
    bool segments;    /* the kernel cuts what is sent */
    bool errors_wait; /* in the error queue */
    bool receiving, sending;
    int ask; /* messages of the next receive */
    char url[PI_URL_TEXT_CAP];
    struct lane in, out;
    struct span spans[BATCH];
};

_Static_assert(sizeof(struct pier_addr) >= sizeof(union pi_sockaddr), "room for the kernel");

static int udp_fail(const struct pier_udp *u, const char *verb, int code)
{
    return pi_fail(code, "%s %s", verb, u->url);
}

static sa_family_t family_of(const struct pier_addr *addr)
{
    sa_family_t family;
    memcpy(&family, addr, sizeof family);
    return family;
}

/* ---- what messages carry ---- */

static struct cmsghdr *append(struct msghdr *msg, int level, int type, const void *data, size_t len)
{
    struct cmsghdr *at = (struct cmsghdr *)((char *)msg->msg_control + msg->msg_controllen);
    memset(at, 0, CMSG_SPACE(len)); /* what lies between the parts is sent along */
    at->cmsg_level = level;
    at->cmsg_type = type;
    at->cmsg_len = CMSG_LEN(len);
    memcpy(CMSG_DATA(at), data, len);
    msg->msg_controllen += CMSG_SPACE(len);
    return at;
}

static void pack_source(struct msghdr *msg, int family, const struct pi_extra *extra)
{
    bool has_local = extra->local.any.sa_family == family;
    if (!has_local && !extra->ifindex)
        return;
    if (family == AF_INET6) {
        struct in6_pktinfo info = { .ipi6_ifindex = (unsigned)extra->ifindex };
        if (has_local)
            info.ipi6_addr = extra->local.in6.sin6_addr;
        append(msg, IPPROTO_IPV6, IPV6_PKTINFO, &info, sizeof info);
    } else {
        struct in_pktinfo info = { .ipi_ifindex = extra->ifindex };
        if (has_local)
            info.ipi_spec_dst = extra->local.in.sin_addr;
        append(msg, IPPROTO_IP, IP_PKTINFO, &info, sizeof info);
    }
}

void pi_extra_pack(struct msghdr *msg, void *control, int family, const struct pi_extra *extra)
{
    msg->msg_control = control;
    msg->msg_controllen = 0;
    pack_source(msg, family, extra);
    bool is_in6 = family == AF_INET6;
    if (extra->ttl)
        append(msg, is_in6 ? IPPROTO_IPV6 : IPPROTO_IP, is_in6 ? IPV6_HOPLIMIT : IP_TTL,
               &extra->ttl, sizeof extra->ttl);
    uint16_t segment = (uint16_t)extra->segment;
    if (segment)
        append(msg, SOL_UDP, UDP_SEGMENT, &segment, sizeof segment);
    if (msg->msg_controllen == 0)
        msg->msg_control = NULL;
}

static void unpack_in(struct pier_datagram *d, const struct in_pktinfo *info)
{
    struct sockaddr_in local = { .sin_family = AF_INET, .sin_addr = info->ipi_spec_dst };
    struct sockaddr_in to = { .sin_family = AF_INET, .sin_addr = info->ipi_addr };
    memcpy(&d->local, &local, sizeof local);
    memcpy(&d->to, &to, sizeof to);
    d->ifindex = info->ipi_ifindex;
}

/* A group is nothing to answer from. */
static void unpack_in6(struct pier_datagram *d, const struct in6_pktinfo *info)
{
    struct sockaddr_in6 to = { .sin6_family = AF_INET6, .sin6_addr = info->ipi6_addr };
    if (IN6_IS_ADDR_LINKLOCAL(&to.sin6_addr) || IN6_IS_ADDR_MC_LINKLOCAL(&to.sin6_addr))
        to.sin6_scope_id = info->ipi6_ifindex;
    memcpy(&d->to, &to, sizeof to);
    if (!IN6_IS_ADDR_MULTICAST(&to.sin6_addr))
        memcpy(&d->local, &to, sizeof to);
    d->ifindex = (int)info->ipi6_ifindex;
}

static void unpack_one(struct pier_datagram *d, struct cmsghdr *c)
{
    int number;
    memcpy(&number, CMSG_DATA(c), sizeof number);
    if (c->cmsg_level == SOL_UDP && c->cmsg_type == UDP_GRO)
        d->segment = number;
    else if (c->cmsg_level == IPPROTO_IP && c->cmsg_type == IP_PKTINFO)
        unpack_in(d, (const struct in_pktinfo *)CMSG_DATA(c));
    else if (c->cmsg_level == IPPROTO_IPV6 && c->cmsg_type == IPV6_PKTINFO)
        unpack_in6(d, (const struct in6_pktinfo *)CMSG_DATA(c));
    else if ((c->cmsg_level == IPPROTO_IP && c->cmsg_type == IP_TTL) ||
             (c->cmsg_level == IPPROTO_IPV6 && c->cmsg_type == IPV6_HOPLIMIT))
        d->ttl = number;
}

static void unpack(struct pier_datagram *d, struct msghdr *msg)
{
    memset(&d->local, 0, sizeof d->local);
    memset(&d->to, 0, sizeof d->to);
    d->ifindex = d->ttl = d->segment = 0;
    for (struct cmsghdr *c = CMSG_FIRSTHDR(msg); c; c = CMSG_NXTHDR(msg, c))
        unpack_one(d, c);
    if ((size_t)d->segment >= d->len)
        d->segment = 0; /* a single one */
}

/* ---- what ICMP says ---- */

/* One of the error queue: whether it was of use. */
static bool keep_error(struct pier_datagram *d, struct msghdr *msg, ssize_t len)
{
    for (struct cmsghdr *c = CMSG_FIRSTHDR(msg); c; c = CMSG_NXTHDR(msg, c)) {
        bool is_error = (c->cmsg_level == IPPROTO_IP && c->cmsg_type == IP_RECVERR) ||
                        (c->cmsg_level == IPPROTO_IPV6 && c->cmsg_type == IPV6_RECVERR);
        struct sock_extended_err e;
        if (!is_error)
            continue;
        memcpy(&e, CMSG_DATA(c), sizeof e);
        d->len = (size_t)len;
        d->truncated = msg->msg_flags & MSG_TRUNC;
        d->segment = 0;
        d->error = e.ee_errno ? -(int)e.ee_errno : -EPROTO;
        return true;
    }
    return false;
}

/* Takes what waits in the error queue: how many of batch it filled. The kernel's queue is bounded
 * by the receive buffer, so an ICMP storm costs no memory. */
static int take_errors(struct pier_udp *u, struct pier_datagram *batch, int count)
{
    const struct io_sockets *sockets = io_sockets();
    _Alignas(struct cmsghdr) char control[512];
    int taken = 0;
    while (u->errors_wait && taken < count) {
        struct pier_datagram *d = &batch[taken];
        struct iovec room = { d->bytes, d->cap };
        memset(&d->peer, 0, sizeof d->peer);
        struct msghdr msg = { .msg_name = &d->peer,
                              .msg_namelen = sizeof d->peer,
                              .msg_iov = &room,
                              .msg_iovlen = 1,
                              .msg_control = control,
                              .msg_controllen = sizeof control };
        ssize_t n = sockets->take_error ? sockets->take_error(u->io.fd, &msg) : -EAGAIN;
        if (n < 0)
            u->errors_wait = false;
        else if (keep_error(d, &msg, n))
            taken++;
    }
    return taken;
}

/* ---- receiving ---- */

static void prepare(struct pier_udp *u, struct pier_datagram *batch, int count)
{
    for (int i = 0; i < count; i++) {
        struct msghdr *msg = &u->in.msgs[i].msg_hdr;
        u->in.pieces[i] = (struct iovec){ batch[i].bytes, batch[i].cap };
        msg->msg_name = &batch[i].peer;
        msg->msg_namelen = sizeof(union pi_sockaddr);
        msg->msg_iov = &u->in.pieces[i];
        msg->msg_iovlen = 1;
        msg->msg_control = u->has_control ? u->in.control[i] : NULL;
        msg->msg_controllen = u->has_control ? PI_CONTROL_CAP : 0;
    }
}

static void settle(struct pier_udp *u, struct pier_datagram *batch, int count)
{
    for (int i = 0; i < count; i++) {
        struct pier_datagram *d = &batch[i];
        struct mmsghdr *m = &u->in.msgs[i];
        d->len = m->msg_len;
        d->error = 0;
        d->truncated = m->msg_hdr.msg_flags & MSG_TRUNC;
        if (u->has_control)
            unpack(d, &m->msg_hdr);
    }
}

/* Of a datagram that was sent, not of the socket. */
static bool is_icmp(ssize_t rc)
{
    switch (rc) {
    case -ECONNREFUSED:
    case -EHOSTUNREACH:
    case -ENETUNREACH:
    case -EHOSTDOWN:
    case -ENOPROTOOPT:
    case -EMSGSIZE:
    case -EOPNOTSUPP:
    case -EACCES:
    case -EPROTO:
        return true;
    default:
        return false;
    }
}

static ssize_t receive(struct pier_udp *u, struct pier_datagram *batch, int count,
                       int64_t deadline_ns)
{
    for (;;) {
        int taken = take_errors(u, batch, count);
        if (taken > 0)
            return taken;
        int ask = u->ask < count ? u->ask : count;
        prepare(u, batch, ask);
        struct io_op op = { .code = IO_RECVMMSG,
                            .fd = &u->io,
                            .buf = u->in.msgs,
                            .len = (size_t)ask,
                            .deadline_ns = deadline_ns };
        ssize_t n = io_run(&op);
        if (n > 0) {
            settle(u, batch, (int)n);
            u->ask = 2 * (int)n > FIRST_ASK ? 2 * (int)n : FIRST_ASK;
            return n;
        }
        if (u->wants_errors && (n == -EINTR || is_icmp(n)))
            u->errors_wait = true;
        else
            return n;
    }
}

int pier_udp_recv(struct pier_udp *u, struct pier_datagram *batch, int count, int64_t deadline_ns)
{
    if (!u)
        return pi_conn_null();
    if (u->receiving)
        return udp_fail(u, "receive on", -EBUSY);
    if (count <= 0)
        return udp_fail(u, "receive on", -EINVAL);
    u->receiving = true;
    ssize_t n = receive(u, batch, count < BATCH ? count : BATCH, deadline_ns);
    u->receiving = false;
    return n < 0 ? udp_fail(u, "receive on", (int)n) : (int)n;
}

/* ---- sending ---- */

static size_t addr_bytes(sa_family_t family)
{
    return family == AF_INET ? offsetof(struct sockaddr_in, sin_zero) : sizeof(struct sockaddr_in6);
}

static bool is_same(const struct pier_addr *a, const struct pier_addr *b)
{
    sa_family_t family = family_of(a);
    if (family != family_of(b))
        return false;
    return family == AF_UNSPEC || memcmp(a, b, addr_bytes(family)) == 0;
}

/* Whether b may follow in the message that begins with a. */
static bool follows(const struct pier_datagram *a, const struct pier_datagram *b)
{
    return b->segment == 0 && b->len > 0 && b->len <= a->len && b->ttl == a->ttl &&
           b->ifindex == a->ifindex && is_same(&a->peer, &b->peer) && is_same(&a->local, &b->local);
}

/* Datagrams that are one message with the first; at most room pieces. */
static int run_length(const struct pier_datagram *d, int count, int room)
{
    int most = room < PI_SEGMENTS_MAX ? room : PI_SEGMENTS_MAX;
    size_t len = d->len;
    int n = 1;
    while (n < count && n < most && follows(d, &d[n]) && len + d[n].len <= PI_SEGMENTS_BYTES) {
        len += d[n].len;
        n++;
        if (d[n - 1].len < d->len)
            break; /* a shorter one is the last */
    }
    return n;
}

/* Puts the next message, from *at on, into its place, with pieces from piece on: how many pieces.
 */
static int put_message(struct pier_udp *u, struct pier_datagram *batch, int count, struct span *s,
                       int piece)
{
    struct pier_datagram *d = &batch[s->first];
    struct iovec *pieces = &u->out.pieces[piece];
    int segment = 0, used = 1;
    size_t rest = d->len - s->offset, unit = d->segment > 0 ? (size_t)d->segment : 0;
    s->end = s->first + 1;
    s->end_offset = 0;
    pieces[0] = (struct iovec){ (char *)d->bytes + s->offset, rest };
    if (unit > 0 && rest > unit && u->segments) {
        size_t most = unit * PI_SEGMENTS_MAX < PI_SEGMENTS_BYTES ? unit * PI_SEGMENTS_MAX
                                                                 : PI_SEGMENTS_BYTES / unit * unit;
        segment = (int)unit;
        pieces[0].iov_len = rest < most || most == 0 ? rest : most;
    } else if (unit > 0 && rest > unit) {
        pieces[0].iov_len = unit;
    } else if (unit == 0 && u->segments && d->len > 0) {
        used = run_length(d, count - s->first, BATCH - piece);
        for (int i = 1; i < used; i++)
            pieces[i] = (struct iovec){ d[i].bytes, d[i].len };
        segment = used > 1 ? (int)d->len : 0;
        s->end = s->first + used;
    }
    if (pieces[0].iov_len < rest) {
        s->end = s->first;
        s->end_offset = s->offset + pieces[0].iov_len;
    }
    struct pi_extra extra = { .ifindex = d->ifindex, .ttl = d->ttl, .segment = segment };
    memcpy(&extra.local, &d->local, sizeof extra.local);
    sa_family_t family = family_of(&d->peer);
    int m = (int)(s - u->spans);
    s->is_cut = segment > 0;
    struct msghdr *msg = &u->out.msgs[m].msg_hdr;
    msg->msg_name = family == AF_UNSPEC ? NULL : &d->peer;
    msg->msg_namelen = family == AF_UNSPEC ? 0 : pi_sockaddr_len(family);
    msg->msg_iov = pieces;
    msg->msg_iovlen = (size_t)used;
    pi_extra_pack(msg, u->out.control[m], u->family, &extra);
    return used;
}

/* Fills messages from datagram first on: how many. */
static int fill(struct pier_udp *u, struct pier_datagram *batch, int count, struct span from)
{
    int pieces = 0, m = 0;
    while (m < BATCH && pieces < BATCH && from.first < count) {
        u->spans[m] = from;
        pieces += put_message(u, batch, count, &u->spans[m], pieces);
        from = (struct span){ .first = u->spans[m].end, .offset = u->spans[m].end_offset };
        m++;
    }
    return m;
}

static ssize_t transmit(struct pier_udp *u, int first, int count)
{
    struct io_op op = { .code = IO_SENDMMSG,
                        .fd = &u->io,
                        .buf = u->out.msgs + first,
                        .len = (size_t)(count - first),
                        .deadline_ns = pier_after(SEND_WAIT_S * PIER_SECOND) };
    return io_run(&op);
}

/* Sends message m and those after it: how many, or why m is not to be had. What an earlier datagram
 * met with is not m's failure. */
static ssize_t transmit_past_errors(struct pier_udp *u, int m, int count)
{
    ssize_t n = transmit(u, m, count);
    for (int tries = 0; u->wants_errors && is_icmp(n) && tries < STALE_ERRORS; tries++) {
        u->errors_wait = true;
        n = transmit(u, m, count);
    }
    if (u->errors_wait && u->receiving)
        io_interrupt_read(&u->io);
    return n;
}

/* What became of message s. A datagram whose rest is still to come does not count yet. */
static int mark(struct pier_datagram *batch, const struct span *s, int error)
{
    batch[s->first].error = error;
    for (int i = s->first; i < s->end; i++)
        batch[i].error = error;
    return error ? 0 : s->end - s->first;
}

static bool ends_all(ssize_t rc)
{
    return rc == -ECANCELED || rc == -ETIMEDOUT || rc == -EBUSY || rc == -EBADF || rc == -ENOMEM;
}

/* Goes on behind message s; a datagram of which a part has failed needs no rest. */
static struct span behind(const struct span *s, bool failed)
{
    if (failed && s->end_offset)
        return (struct span){ .first = s->first + 1 };
    return (struct span){ .first = s->end, .offset = s->end_offset };
}

/* Sends the messages that are filled in, up to a failure; *at comes to stand behind what is done.
 * How many datagrams were sent; *rc: the code of the one that was not, or 0. */
static int send_messages(struct pier_udp *u, struct pier_datagram *batch, int messages,
                         struct span *at, int *rc)
{
    int sent = 0;
    *rc = 0;
    for (int m = 0; m < messages && *rc == 0;) {
        ssize_t n = transmit_past_errors(u, m, messages);
        if (n < 0 && u->spans[m].is_cut && pi_is_no_segmentation(n)) {
            u->segments = false; /* for the rest of this call */
            return sent;
        }
        *rc = n < 0 ? (int)n : 0;
        for (int end = n < 0 ? m + 1 : m + (int)n; m < end; m++)
            sent += mark(batch, &u->spans[m], *rc);
        *at = behind(&u->spans[m - 1], *rc < 0);
    }
    return sent;
}

/* Sends all: how many were; *error is the first failure. */
static int send_batch(struct pier_udp *u, struct pier_datagram *batch, int count, int *error)
{
    struct span at = { 0 };
    int sent = 0, rc = 0;
    while (at.first < count && !ends_all(rc)) {
        int messages = fill(u, batch, count, at);
        sent += send_messages(u, batch, messages, &at, &rc);
        if (!*error)
            *error = rc;
    }
    for (int i = at.first; i < count; i++)
        batch[i].error = rc;
    return sent;
}

static int send_failed(const struct pier_udp *u, const struct pier_datagram *batch, int count,
                       int error)
{
    const struct pier_datagram *d = batch;
    char peer[PIER_ADDR_TEXT];
    for (int i = 0; i < count && d->error != error; i++)
        d = &batch[i];
    if (family_of(&d->peer) == AF_UNSPEC)
        return udp_fail(u, "send on", error);
    pier_addr_text(&d->peer, peer, sizeof peer);
    if (error == -EMSGSIZE)
        return pi_fail_text(error, "send to udp://%s: a datagram of %zu bytes is too large", peer,
                            d->segment ? (size_t)d->segment : d->len);
    return pi_fail(error, "send to udp://%s", peer);
}

int pier_udp_send(struct pier_udp *u, struct pier_datagram *batch, int count)
{
    if (!u)
        return pi_conn_null();
    if (u->sending)
        return udp_fail(u, "send on", -EBUSY);
    if (count <= 0)
        return count == 0 ? 0 : udp_fail(u, "send on", -EINVAL);
    bool segments = u->segments;
    int error = 0;
    u->sending = true;
    int sent = send_batch(u, batch, count, &error);
    u->sending = false;
    /* An interface that cannot, or a single large piece: the next one may do. */
    u->segments = segments;
    return sent == 0 && error ? send_failed(u, batch, count, error) : sent;
}

/* ---- groups ---- */

static int index_of(const char *interface)
{
    if (!interface)
        return 0;
    unsigned index = if_nametoindex(interface);
    return index ? (int)index : -ENODEV;
}

static bool read_ip(struct sockaddr_storage *out, sa_family_t family, const char *text)
{
    union pi_sockaddr addr = { .any.sa_family = family };
    void *to = family == AF_INET6 ? (void *)&addr.in6.sin6_addr : (void *)&addr.in.sin_addr;
    bool is_good = pi_addr_read_ip(to, family, text);
    memset(out, 0, sizeof *out);
    memcpy(out, &addr, sizeof addr);
    return is_good;
}

static int change_group(struct pier_udp *u, const char *group, const char *interface,
                        const char *source, bool join)
{
    struct group_source_req both = { 0 };
    int level = u->family == AF_INET6 ? IPPROTO_IPV6 : IPPROTO_IP;
    int index = index_of(interface);
    if (index < 0)
        return index;
    both.gsr_interface = (uint32_t)index;
    if (!read_ip(&both.gsr_group, u->family, group) ||
        (source && !read_ip(&both.gsr_source, u->family, source)))
        return -EINVAL;
    if (source)
        return io_sockets()->set(u->io.fd, level,
                                 join ? MCAST_JOIN_SOURCE_GROUP : MCAST_LEAVE_SOURCE_GROUP, &both,
                                 sizeof both);
    struct group_req one = { .gr_interface = both.gsr_interface, .gr_group = both.gsr_group };
    return io_sockets()->set(u->io.fd, level, join ? MCAST_JOIN_GROUP : MCAST_LEAVE_GROUP, &one,
                             sizeof one);
}

/* Otherwise a socket gets what any socket of the host has joined (ip(7), IP_MULTICAST_ALL). Kernels
 * before 4.20 know it for IPv4 only. */
static void own_groups_only(const struct pier_udp *u)
{
    int zero = 0;
    bool is_in6 = u->family == AF_INET6;
    io_sockets()->set(u->io.fd, is_in6 ? IPPROTO_IPV6 : IPPROTO_IP,
                      is_in6 ? IPV6_MULTICAST_ALL : IP_MULTICAST_ALL, &zero, sizeof zero);
}

static int group_call(struct pier_udp *u, const char *const names[3], bool join)
{
    if (!u)
        return pi_conn_null();
    if (join)
        own_groups_only(u);
    int rc = change_group(u, names[0], names[1], names[2], join);
    if (rc == 0)
        return 0;
    return pi_fail(rc, "%s group %s%s%s%s%s", join ? "join" : "leave", names[0],
                   names[1] ? " on " : "", names[1] ? names[1] : "", names[2] ? " from " : "",
                   names[2] ? names[2] : "");
}

int pier_udp_join(struct pier_udp *u, const char *group, const char *interface, const char *source)
{
    return group_call(u, (const char *const[]){ group, interface, source }, true);
}

int pier_udp_leave(struct pier_udp *u, const char *group, const char *interface, const char *source)
{
    return group_call(u, (const char *const[]){ group, interface, source }, false);
}

/* ---- opening ---- */

struct setting {
    bool wanted;
    int level, option, value;
    const char *name;
};

static int apply(int fd, const struct setting *settings, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        const struct setting *s = &settings[i];
        int rc = s->wanted ? io_sockets()->set(fd, s->level, s->option, &s->value, sizeof s->value)
                           : 0;
        if (rc < 0)
            return pi_fail(rc, "socket option %s = %d", s->name, s->value);
    }
    return 0;
}

#define SETTING(wanted, level, option, value) \
    {                                         \
        wanted, level, option, value, #option \
    }

static int apply_common(int fd, const struct pier_udp_opts *o)
{
    const struct setting settings[] = {
        SETTING(o->broadcast, SOL_SOCKET, SO_BROADCAST, 1),
        SETTING(o->reuseaddr, SOL_SOCKET, SO_REUSEADDR, 1),
        SETTING(o->send_buffer != 0, SOL_SOCKET, SO_SNDBUF, o->send_buffer),
        SETTING(o->recv_buffer != 0, SOL_SOCKET, SO_RCVBUF, o->recv_buffer),
    };
    return apply(fd, settings, sizeof settings / sizeof settings[0]);
}

static int apply_in(int fd, const struct pier_udp_opts *o, int index)
{
    struct ip_mreqn through = { .imr_ifindex = index };
    const struct setting settings[] = {
        SETTING(o->packet_info, IPPROTO_IP, IP_PKTINFO, 1),
        SETTING(o->receive_ttl, IPPROTO_IP, IP_RECVTTL, 1),
        SETTING(o->errors, IPPROTO_IP, IP_RECVERR, 1),
        SETTING(o->ttl != 0, IPPROTO_IP, IP_TTL, o->ttl),
        SETTING(o->multicast_ttl != 0, IPPROTO_IP, IP_MULTICAST_TTL, o->multicast_ttl),
        SETTING(o->no_multicast_loop, IPPROTO_IP, IP_MULTICAST_LOOP, 0),
        SETTING(index != 0, IPPROTO_IP, IP_UNICAST_IF, (int)htonl((uint32_t)index)),
    };
    int rc = apply(fd, settings, sizeof settings / sizeof settings[0]);
    if (rc < 0 || !index)
        return rc;
    rc = io_sockets()->set(fd, IPPROTO_IP, IP_MULTICAST_IF, &through, sizeof through);
    return rc < 0 ? pi_fail(rc, "socket option IP_MULTICAST_IF = %d", index) : 0;
}

static int apply_in6(int fd, const struct pier_udp_opts *o, int index)
{
    const struct setting settings[] = {
        SETTING(true, IPPROTO_IPV6, IPV6_V6ONLY, 1),
        SETTING(o->packet_info, IPPROTO_IPV6, IPV6_RECVPKTINFO, 1),
        SETTING(o->receive_ttl, IPPROTO_IPV6, IPV6_RECVHOPLIMIT, 1),
        SETTING(o->errors, IPPROTO_IPV6, IPV6_RECVERR, 1),
        SETTING(o->ttl != 0, IPPROTO_IPV6, IPV6_UNICAST_HOPS, o->ttl),
        SETTING(o->multicast_ttl != 0, IPPROTO_IPV6, IPV6_MULTICAST_HOPS, o->multicast_ttl),
        SETTING(o->no_multicast_loop, IPPROTO_IPV6, IPV6_MULTICAST_LOOP, 0),
        SETTING(index != 0, IPPROTO_IPV6, IPV6_MULTICAST_IF, index),
        SETTING(index != 0, IPPROTO_IPV6, IPV6_UNICAST_IF, (int)htonl((uint32_t)index)),
    };
    return apply(fd, settings, sizeof settings / sizeof settings[0]);
}
#undef SETTING

bool pi_udp_can_segment(int fd)
{
    int none = 0;
    return io_sockets()->set(fd, SOL_UDP, UDP_SEGMENT, &none, sizeof none) == 0;
}

static int set_options(struct pier_udp *u, const struct pier_udp_opts *o)
{
    int index = index_of(o->interface), one = 1;
    if (index < 0)
        return pi_fail(index, "interface %s", o->interface);
    int rc = apply_common(u->io.fd, o);
    if (rc == 0)
        rc = u->family == AF_INET6 ? apply_in6(u->io.fd, o, index) : apply_in(u->io.fd, o, index);
    if (rc < 0)
        return rc;
    bool joins = false;
    if (o->segmentation) {
        u->segments = pi_udp_can_segment(u->io.fd);
        joins = io_sockets()->set(u->io.fd, SOL_UDP, UDP_GRO, &one, sizeof one) == 0;
    }
    u->wants_errors = o->errors;
    u->has_control = o->packet_info || o->receive_ttl || joins;
    return 0;
}

int pi_udp_resolve(struct pi_addr out[PI_ADDRS_MAX], const struct pi_url *url,
                   const struct pi_addr_ask *ask)
{
    struct pi_addr found[PI_ADDRS_MAX];
    int count = pi_addr_find(found, url, ask);
    int at = 0;
    for (int pass = 0; pass < 2; pass++)
        for (int i = 0; i < count; i++)
            if ((found[i].any.sa_family == AF_INET) == (pass == 0))
                out[at++] = found[i];
    return count;
}

/* The address of an option's URL; family 0: any. 0 or a negative code, with words. */
static int look_up(struct pi_addr *out, const char *text, bool passive, sa_family_t family)
{
    struct pi_url url;
    char what[PI_URL_TEXT_CAP + 8];
    struct pi_addr addrs[PI_ADDRS_MAX];
    int rc = pi_url_parse(&url, text, !passive);
    if (rc < 0)
        return rc;
    if (url.scheme != PI_UDP)
        return pi_fail_text(PIER_EURL, "url \"%s\": datagrams need udp://", text);
    snprintf(what, sizeof what, "open %s", text);
    const struct pi_addr_ask ask = { .passive = passive,
                                     .deadline_ns = pier_after(PI_LOOKUP_MS * PIER_MILLISECOND),
                                     .what = what };
    int count = pi_udp_resolve(addrs, &url, &ask);
    for (int i = 0; i < count; i++) {
        if (family == AF_UNSPEC || addrs[i].any.sa_family == family) {
            *out = addrs[i];
            return 0;
        }
    }
    return count < 0 ? count : pi_fail(-EAFNOSUPPORT, "%s", what);
}

static int connect_to(struct pier_udp *u, const struct pi_addr *peer)
{
    struct io_op op = {
        .code = IO_CONNECT, .fd = &u->io, .buf = (void *)&peer->any, .addr_len = peer->len
    };
    return (int)io_run(&op);
}

static int set_up(struct pier_udp *u, const struct pi_addr *local, const struct pi_addr *peer,
                  const struct pier_udp_opts *opts)
{
    const struct io_sockets *sockets = io_sockets();
    int fd = sockets->open(u->family, SOCK_DGRAM);
    if (fd < 0)
        return udp_fail(u, "open", fd);
    io_fd_init(&u->io, fd);
    u->io.keeps_port = true;
    u->io.greedy = true;
    int rc = set_options(u, opts);
    if (rc < 0)
        return rc;
    if (local && (rc = sockets->bind(fd, &local->any, local->len)) < 0)
        return udp_fail(u, "open", rc);
    if (peer && (rc = connect_to(u, peer)) < 0)
        return pi_fail_connect(rc, "open %s", opts->peer);
    return 0;
}

struct pier_udp *pier_udp_open(const char *url, const struct pier_udp_opts *opts)
{
    static const struct pier_udp_opts defaults;
    const struct pier_udp_opts *o = opts ? opts : &defaults;
    struct pi_addr local, peer;
    if (url && look_up(&local, url, true, AF_UNSPEC) < 0)
        return NULL;
    if (o->peer && look_up(&peer, o->peer, false, url ? local.any.sa_family : AF_UNSPEC) < 0)
        return NULL;
    struct pier_udp *u = pi_zalloc(sizeof *u);
    if (!u) {
        pi_fail(-ENOMEM, "open %s", url ? url : "udp://");
        return NULL;
    }
    u->io.fd = -1;
    u->ask = FIRST_ASK;
    u->family = url ? local.any.sa_family : o->peer ? peer.any.sa_family : AF_INET;
    u->has_peer = o->peer != NULL;
    snprintf(u->url, sizeof u->url, "%s", url ? url : o->peer ? o->peer : "udp://");
    if (set_up(u, url ? &local : NULL, o->peer ? &peer : NULL, o) == 0)
        return u;
    if (u->io.fd >= 0)
        io_close(&u->io);
    pi_free(u);
    return NULL;
}

void pier_udp_close(struct pier_udp *u)
{
    if (!u)
        return;
    while (u->receiving || u->sending) {
        if (u->io.reader && u->io.reader->task)
            pi_ready(u->io.reader->task, -ECANCELED);
        if (u->io.writer && u->io.writer->task)
            pi_ready(u->io.writer->task, -ECANCELED);
        pi_pass(pi_task_self());
    }
    io_close(&u->io);
    pi_free(u);
}

int pier_udp_local(struct pier_udp *u, struct pier_addr *addr)
{
    memset(addr, 0, sizeof *addr);
    if (!u)
        return pi_conn_null();
    union pi_sockaddr local = { 0 };
    socklen_t len = sizeof local;
    int rc = io_sockets()->local(u->io.fd, &local.any, &len);
    memcpy(addr, &local, sizeof local);
    return rc < 0 ? udp_fail(u, "address of", rc) : 0;
}

int pier_udp_fd(const struct pier_udp *u)
{
    return u ? u->io.fd : pi_conn_null();
}
