/* SPDX-License-Identifier: MIT */
/*
 * net/proxy.c - connections that trusted proxies pass on.
 *
 * The header is read in steps that never go beyond it, so whatever follows, be it TLS or the
 * handler's own protocol, finds its bytes where they belong. A trusted proxy always sends one: to
 * take a connection without it for a client's own would make everybody behind the proxy trusted.
 */
#define _GNU_SOURCE
#include "net/proxy.h"

#include "net/firewall.h"
#include "net/networks.h"
#include "net/proxy_wire.h"
#include "task/sockets.h"

#include <arpa/inet.h>
#include <string.h>

enum { HEADER_MS = 10 * 1000 };

/* ---- who is trusted ---- */

int pi_proxies_open(struct pier_server *s)
{
    const char *const *from = s->opts.proxy_from;
    struct pi_cidrs all = { 0 };
    int rc = 0;
    s->opts.proxy_from = NULL; /* borrowed until now */
    for (int i = 0; from && from[i] && rc == 0; i++)
        rc = io_is_simulated() && !pi_is_network(from[i])
                 ? pi_fail_text(-EOPNOTSUPP, "proxy_from: files are not for simulations")
                 : pi_networks_read(&all, from[i], false, "proxy_from");
    if (rc == 0 && from) {
        s->proxies = pi_cidr_set_new(&all, false);
        rc = s->proxies ? 0 : pi_fail(-ENOMEM, "proxy_from");
    }
    pi_cidrs_fini(&all);
    return rc;
}

void pi_proxies_close(struct pier_server *s)
{
    pi_cidr_set_free(s->proxies);
    s->proxies = NULL;
}

bool pi_proxies_have(const struct pier_server *s, const struct sockaddr *addr)
{
    struct pi_ip ip;
    return s->proxies && pi_ip_of(&ip, addr) && pi_cidr_set_allows(s->proxies, &ip);
}

/* ---- the header ---- */

/* 0 or a negative code; that of an end is -EPIPE, also of a proxy that looks whether the server is
 * there. */
static int read_header(struct pier_conn *c, struct pi_proxy *out, char *bytes)
{
    int64_t until = pier_after(HEADER_MS * PIER_MILLISECOND);
    size_t len = 0;
    ssize_t n;
    while ((n = pi_proxy_read(out, bytes, len)) == 0) {
        ssize_t got = pi_conn_read_some(c, bytes + len, pi_proxy_lacks(bytes, len), until);
        if (got < 0)
            return pi_fail((int)got, "read the PROXY header of %s", pier_peer(c));
        if (got == 0)
            return pi_fail(-EPIPE, "read the PROXY header of %s", pier_peer(c));
        len += (size_t)got;
    }
    return n > 0 ? 0
                 : pi_fail_text(PIER_EPROTO, "%s: what came is no header of the PROXY protocol",
                                pier_peer(c));
}

/* Whether it is an address of the family; into where of struct sockaddr_in or sockaddr_in6. */
static bool read_ip(void *out, const struct pi_proxy_end *end, int family)
{
    char text[PI_PROXY_ADDR_TEXT + 1];
    if (!end->text) {
        memcpy(out, end->ip, family == 4 ? 4 : 16);
        return true;
    }
    memcpy(text, end->text, end->text_len);
    text[end->text_len] = '\0';
    return inet_pton(family == 4 ? AF_INET : AF_INET6, text, out) == 1;
}

static bool set_peer(struct pier_conn *c, const struct pi_proxy *p)
{
    struct sockaddr_in in = { .sin_family = AF_INET, .sin_port = htons(p->source.port) };
    struct sockaddr_in6 in6 = { .sin6_family = AF_INET6, .sin6_port = htons(p->source.port) };
    struct in6_addr unused;
    if (!read_ip(p->family == 4 ? (void *)&in.sin_addr : &in6.sin6_addr, &p->source, p->family) ||
        !read_ip(&unused, &p->target, p->family))
        return false;
    if (p->family == 4)
        c->peer.in = in;
    else
        c->peer.in6 = in6;
    pi_free(c->peer_text);
    c->peer_text = NULL;
    return true;
}

static void reset_at_close(struct pier_conn *c)
{
    struct linger now = { .l_onoff = 1 };
    (void)io_sockets()->set(c->io.fd, SOL_SOCKET, SO_LINGER, &now, sizeof now);
}

static int begin(struct pier_conn *c, char *bytes)
{
    struct pi_proxy p;
    int rc = read_header(c, &p, bytes);
    c->bytes_read = 0; /* of what is the connection's own */
    if (rc < 0 || p.family == 0)
        return rc; /* its own connection is served as such */
    if (!set_peer(c, &p))
        return pi_fail_text(PIER_EPROTO, "%s: the PROXY header has no such addresses",
                            pier_peer(c));
    if (pi_firewall_enter(pi_server_of(c), &c->peer.any, &c->who))
        return 0;
    reset_at_close(c);
    return pi_fail_text(-ECANCELED, "%s: the firewall does not let it in", pier_peer(c));
}

int pi_proxy_begin(struct pier_conn *c)
{
    char *bytes = pi_alloc(PI_PROXY_LEN_MAX); /* a task's stack would keep the page */
    if (!bytes)
        return pi_fail(-ENOMEM, "read the PROXY header of %s", pier_peer(c));
    c->is_proxied = false;
    int rc = begin(c, bytes);
    pi_free(bytes);
    return rc;
}

void pi_proxy_end(struct pier_conn *c)
{
    uint64_t who = c->who;
    c->who = 0;
    if (who)
        pi_firewall_leave(pi_server_of(c), who);
}
