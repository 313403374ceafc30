/* SPDX-License-Identifier: MIT */
/*
 * net/listen.c - a server's listening sockets: all of them open, or none.
 *
 * An endpoint's name may have several addresses: each is bound, families that the machine lacks are
 * left out, and port 0 becomes one port for all. A Unix path that nobody serves any more, left by a
 * server that died, is replaced; one that is served is "address already in use".
 */
#define _GNU_SOURCE
#include "base/assert.h"
#include "net/server.h"
#include "task/sockets.h"

#include <stddef.h>
#include <string.h>

enum {
    BACKLOG = 4096,
    PORT_TRIES = 16, /* port 0 on several addresses: the first one's may be taken on another */
    LOOKUP_MS = 10 * 1000,
};

int pi_server_add_endpoint(struct pier_server *s, const char *text, const struct pi_url *url,
                           pier_handler handler, void *arg, int inherited_fd)
{
    size_t count = (size_t)s->endpoint_count;
    struct pi_endpoint *more = pi_realloc(s->endpoints, (count + 1) * sizeof *more);
    if (!more)
        return pi_fail(-ENOMEM, "listen %s", text);
    s->endpoints = more;
    char *copy = pi_strdup(text);
    if (!copy)
        return pi_fail(-ENOMEM, "listen %s", text);
    s->endpoints[count] = (struct pi_endpoint){
        .text = copy, .url = *url, .handler = handler, .arg = arg, .inherited_fd = inherited_fd
    };
    s->endpoint_count++;
    return 0;
}

/* ---- one socket ---- */

static bool is_missing_family(int code)
{
    return code == -EAFNOSUPPORT || code == -EADDRNOTAVAIL || code == -EPROTONOSUPPORT;
}

/* What comes in must say where it was sent to, from the first datagram on: see datagram.c. */
static int set_packet_info(int fd, const struct pi_addr *addr)
{
    bool is_in6 = addr->any.sa_family == AF_INET6;
    int one = 1;
    if (!pi_addr_is_any(addr))
        return 0;
    return io_sockets()->set(fd, is_in6 ? IPPROTO_IPV6 : IPPROTO_IP,
                             is_in6 ? IPV6_RECVPKTINFO : IP_PKTINFO, &one, sizeof one);
}

static int set_datagram_options(const struct pier_server *s, int fd, const struct pi_addr *addr)
{
    const struct io_sockets *sockets = io_sockets();
    const struct pier_sock_opts *o = &s->opts.sock;
    int one = 1;
    /* Not SO_REUSEADDR: it would let another one take the port over. */
    int rc = 0;
    if (addr->any.sa_family == AF_INET6)
        rc = sockets->set(fd, IPPROTO_IPV6, IPV6_V6ONLY, &one, sizeof one);
    if (o->send_buffer < 0 || o->recv_buffer < 0)
        return -EINVAL;
    if (rc == 0 && o->send_buffer)
        rc = sockets->set(fd, SOL_SOCKET, SO_SNDBUF, &o->send_buffer, sizeof o->send_buffer);
    if (rc == 0 && o->recv_buffer)
        rc = sockets->set(fd, SOL_SOCKET, SO_RCVBUF, &o->recv_buffer, sizeof o->recv_buffer);
    return rc < 0 ? rc : set_packet_info(fd, addr);
}

static int set_options(const struct pier_server *s, int fd, int family)
{
    const struct io_sockets *sockets = io_sockets();
    int one = 1;
    if (family == AF_UNIX)
        return 0;
    int rc = sockets->set(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
    if (rc == 0 && family == AF_INET6)
        rc = sockets->set(fd, IPPROTO_IPV6, IPV6_V6ONLY, &one, sizeof one);
    if (rc == 0 && s->opts.sock.reuseport)
        rc = sockets->set(fd, SOL_SOCKET, SO_REUSEPORT, &one, sizeof one);
    return rc < 0 ? rc : pi_sock_apply(fd, &s->opts.sock);
}

static bool has_path(const struct pi_addr *addr)
{
    return addr->any.sa_family == AF_UNIX && addr->un.sun_path[0] != '\0';
}

/* Whether the path is a socket that refuses: its server is gone. */
static bool is_left_behind(const struct pi_addr *addr)
{
    return has_path(addr) && io_sockets()->is_left_behind(&addr->any, addr->len);
}

/* Closes a socket that was bound to addr. The path goes first: then it may be a successor's. */
static void close_bound(int fd, const struct pi_addr *addr)
{
    if (has_path(addr))
        io_sockets()->unlink(addr->un.sun_path); /* it may be gone already */
    io_sockets()->close(fd);
}

static int bind_to(int fd, const struct pi_addr *addr)
{
    const struct io_sockets *sockets = io_sockets();
    int rc = sockets->bind(fd, &addr->any, addr->len);
    if (rc != -EADDRINUSE || !is_left_behind(addr))
        return rc;
    sockets->unlink(addr->un.sun_path); /* a failure shows in the next line */
    return sockets->bind(fd, &addr->any, addr->len);
}

/* A listening socket on addr: the descriptor, or a negative code. */
static int open_socket(const struct pier_server *s, const struct pi_addr *addr, bool is_datagram)
{
    const struct io_sockets *sockets = io_sockets();
    int fd = sockets->open(addr->any.sa_family, is_datagram ? SOCK_DGRAM : SOCK_STREAM);
    if (fd < 0)
        return fd;
    int rc = is_datagram ? set_datagram_options(s, fd, addr)
                         : set_options(s, fd, addr->any.sa_family);
    if (rc == 0)
        rc = bind_to(fd, addr);
    if (rc < 0) {
        sockets->close(fd);
        return rc;
    }
    if (is_datagram)
        return fd;
    rc = sockets->listen(fd, s->opts.backlog > 0 ? s->opts.backlog : BACKLOG);
    if (rc == 0)
        return fd;
    close_bound(fd, addr);
    return rc;
}

/* ---- an endpoint ---- */

static int list(struct pier_server *s, const struct pi_endpoint *e, int fd, bool made)
{
    size_t count = (size_t)s->listener_count;
    struct pi_listener *more = pi_realloc(s->listeners, (count + 1) * sizeof *more);
    if (!more)
        return -ENOMEM;
    s->listeners = more;
    struct pi_listener *l = &more[count];
    *l = (struct pi_listener){ .endpoint = e, .fd = fd, .addr.len = sizeof l->addr.un };
    int rc = io_sockets()->local(fd, &l->addr.any, &l->addr.len);
    if (rc < 0)
        return rc;
    bool is_unix = l->addr.any.sa_family == AF_UNIX;
    char text[PI_ADDR_TEXT_CAP];
    snprintf(l->url, sizeof l->url, "%s://%s", is_unix ? "unix" : pi_scheme_name(e->url.scheme),
             pi_addr_format(text, sizeof text, &l->addr));
    l->unlink_path = made && has_path(&l->addr);
    s->listener_count++;
    return 0;
}

/* Takes over a socket that is bound to addr, made here or inherited. On failure it is closed. */
static int add_listener(struct pier_server *s, const struct pi_endpoint *e, int fd,
                        const struct pi_addr *addr, bool made)
{
    int rc = list(s, e, fd, made);
    if (rc < 0 && made)
        close_bound(fd, addr);
    else if (rc < 0)
        io_sockets()->close(fd);
    return rc;
}

/* The path goes first: once the socket is closed it may be a successor's. */
static void release(struct pi_listener *l)
{
    if (l->unlink_path)
        io_sockets()->unlink(l->addr.un.sun_path); /* it may be gone already */
    if (l->fd >= 0)
        io_sockets()->close(l->fd);
    l->unlink_path = false;
    l->fd = -1;
}

static void drop_listeners(struct pier_server *s, int from)
{
    while (s->listener_count > from)
        release(&s->listeners[--s->listener_count]);
}

/* Binds all addresses that there is a family for; they share the first one's port. */
static int open_all(struct pier_server *s, const struct pi_endpoint *e, struct pi_addr *addrs,
                    int count)
{
    int first = s->listener_count;
    int rc = -EADDRNOTAVAIL;
    int port = e->url.port;
    for (int i = 0; i < count; i++) {
        pi_addr_set_port(&addrs[i], port);
        bool is_datagram = e->url.scheme == PI_UDP;
        int fd = is_datagram ? -1 : pi_inherited_take(&addrs[i]);
        bool made = fd < 0;
        if (made)
            fd = open_socket(s, &addrs[i], is_datagram);
        if (fd < 0 && is_missing_family(fd) && count > 1) {
            continue;
        }
        rc = fd < 0 ? fd : add_listener(s, e, fd, &addrs[i], made);
        if (rc < 0) {
            drop_listeners(s, first);
            return rc;
        }
        if (port == 0)
            port = pi_addr_port(&s->listeners[s->listener_count - 1].addr);
    }
    return s->listener_count > first ? 0 : rc;
}

static int open_endpoint(struct pier_server *s, const struct pi_endpoint *e)
{
    if (e->inherited_fd >= 0) {
        int rc = add_listener(s, e, e->inherited_fd, NULL, false);
        return rc < 0 ? pi_fail(rc, "listen %s", e->text) : 0;
    }
    char what[PI_URL_TEXT_CAP + 8];
    snprintf(what, sizeof what, "listen %s", e->text);
    struct pi_addr addrs[PI_ADDRS_MAX];
    int count = pi_addr_resolve(addrs, &e->url, true, pier_after(LOOKUP_MS * PIER_MILLISECOND),
                                what);
    if (count < 0)
        return count;
    int rc = open_all(s, e, addrs, count);
    for (int tries = 1; rc == -EADDRINUSE && e->url.port == 0 && count > 1 && tries < PORT_TRIES;
         tries++)
        rc = open_all(s, e, addrs, count);
    return rc < 0 ? pi_fail(rc, "%s", what) : 0;
}

int pi_server_open(struct pier_server *s)
{
    for (int i = 0; i < s->endpoint_count; i++) {
        int rc = open_endpoint(s, &s->endpoints[i]);
        if (rc < 0) {
            drop_listeners(s, 0);
            return rc;
        }
    }
    return 0;
}

/* They stay listed, for their URLs. */
void pi_server_close_listeners(struct pier_server *s)
{
    for (int i = 0; i < s->listener_count; i++)
        release(&s->listeners[i]);
}
