/* SPDX-License-Identifier: MIT */
/*
 * net/addr.c - addresses of URLs: their order, and their texts. Names are resolve.c's.
 */
#define _GNU_SOURCE
#include "net/addr.h"

#include "base/assert.h"
#include "net/resolve.h"

#include <pier/net.h>

#include <arpa/inet.h>
#include <net/if.h>
#include <netdb.h>
#include <stddef.h>
#include <string.h>

/* ---- text ---- */

static const char *format_unix(char *out, size_t cap, const struct pi_addr *addr)
{
    size_t len = addr->len > offsetof(struct sockaddr_un, sun_path)
                     ? addr->len - offsetof(struct sockaddr_un, sun_path)
                     : 0;
    const char *path = addr->un.sun_path;
    if (len == 0)
        snprintf(out, cap, "unix");
    else if (path[0] == '\0')
        snprintf(out, cap, "@%.*s", (int)len - 1, path + 1);
    else
        snprintf(out, cap, "%.*s", (int)strnlen(path, len), path);
    return out;
}

const char *pi_addr_format(char *out, size_t cap, const struct pi_addr *addr)
{
    char host[INET6_ADDRSTRLEN], zone[IF_NAMESIZE];
    switch (addr->any.sa_family) {
    case AF_INET:
        inet_ntop(AF_INET, &addr->in.sin_addr, host, sizeof host);
        snprintf(out, cap, "%s:%d", host, pi_addr_port(addr));
        return out;
    case AF_INET6:
        inet_ntop(AF_INET6, &addr->in6.sin6_addr, host, sizeof host);
        if (addr->in6.sin6_scope_id && if_indextoname(addr->in6.sin6_scope_id, zone))
            snprintf(out, cap, "[%s%%%s]:%d", host, zone, pi_addr_port(addr));
        else
            snprintf(out, cap, "[%s]:%d", host, pi_addr_port(addr));
        return out;
    case AF_UNIX:
        return format_unix(out, cap, addr);
    default:
        snprintf(out, cap, "?");
        return out;
    }
}

int pi_addr_port(const struct pi_addr *addr)
{
    switch (addr->any.sa_family) {
    case AF_INET:
        return ntohs(addr->in.sin_port);
    case AF_INET6:
        return ntohs(addr->in6.sin6_port);
    default:
        return 0;
    }
}

void pi_addr_set_port(struct pi_addr *addr, int port)
{
    if (addr->any.sa_family == AF_INET)
        addr->in.sin_port = htons((uint16_t)port);
    else if (addr->any.sa_family == AF_INET6)
        addr->in6.sin6_port = htons((uint16_t)port);
}

bool pi_addr_is_any(const struct pi_addr *addr)
{
    return addr->any.sa_family == AF_INET6
               ? IN6_IS_ADDR_UNSPECIFIED(&addr->in6.sin6_addr)
               : addr->any.sa_family == AF_INET && addr->in.sin_addr.s_addr == htonl(INADDR_ANY);
}

bool pi_addr_equal(const struct pi_addr *a, const struct pi_addr *b)
{
    if (a->any.sa_family != b->any.sa_family)
        return false;
    switch (a->any.sa_family) {
    case AF_INET:
        return a->in.sin_port == b->in.sin_port && a->in.sin_addr.s_addr == b->in.sin_addr.s_addr;
    case AF_INET6:
        return a->in6.sin6_port == b->in6.sin6_port &&
               memcmp(&a->in6.sin6_addr, &b->in6.sin6_addr, sizeof a->in6.sin6_addr) == 0;
    default:
        return a->len == b->len && memcmp(&a->un, &b->un, a->len) == 0;
    }
}

/* ---- without looking up ---- */

static void set_in(struct pi_addr *addr, uint32_t host_order, int port)
{
    *addr = (struct pi_addr){ .len = sizeof addr->in };
    addr->in.sin_family = AF_INET;
    addr->in.sin_addr.s_addr = htonl(host_order);
    addr->in.sin_port = htons((uint16_t)port);
}

static void set_in6(struct pi_addr *addr, struct in6_addr ip, int port)
{
    *addr = (struct pi_addr){ .len = sizeof addr->in6 };
    addr->in6.sin6_family = AF_INET6;
    addr->in6.sin6_addr = ip;
    addr->in6.sin6_port = htons((uint16_t)port);
}

static int from_path(struct pi_addr *out, const struct pi_url *url)
{
    *out = (struct pi_addr){ .len = (socklen_t)(offsetof(struct sockaddr_un, sun_path) +
                                                url->path_len) };
    out->un.sun_family = AF_UNIX;
    memcpy(out->un.sun_path, url->path, url->path_len);
    if (url->path[0] != '\0')
        out->len++; /* the NUL that ends it */
    return 1;
}

/* ---- names ---- */

static void copy_addr(struct pi_addr *out, const struct sockaddr *in, int port)
{
    *out = (struct pi_addr){ .len = in->sa_family == AF_INET6 ? sizeof out->in6 : sizeof out->in };
    memcpy(&out->any, in, out->len);
    pi_addr_set_port(out, port);
}

/* The first family keeps its lead; each family keeps its order. */
static void alternate_families(struct pi_addr *out, const struct pi_resolve *r, int port)
{
    int next[2] = { 0, 0 };
    int count = r->count;
    sa_family_t first = r->addrs[0].any.sa_family;
    for (int i = 0; i < count; i++) {
        int side = i % 2;
        for (int tries = 0; tries < 2; tries++, side = !side) {
            int *at = &next[side];
            while (*at < count && (r->addrs[*at].any.sa_family == first) != (side == 0))
                (*at)++;
            if (*at < count)
                break;
        }
        copy_addr(&out[i], &r->addrs[next[side]++].any, port);
    }
}

static int by_name(struct pi_addr *out, const struct pi_url *url, const struct pi_addr_ask *ask)
{
    struct pi_ask names = { .host = url->host,
                            .flags = (url->is_literal ? AI_NUMERICHOST : 0) |
                                     (ask->passive ? AI_PASSIVE : 0),
                            .deadline_ns = ask->deadline_ns,
                            .what = ask->what,
                            .servers = ask->servers };
    struct pi_resolve *r = pi_resolve_host(&names, ask->rest);
    if (!r)
        return pier_error_code();
    int count = r->count;
    alternate_families(out, r, url->port);
    pi_free(r);
    return count;
}

int pi_addr_find(struct pi_addr out[PI_ADDRS_MAX], const struct pi_url *url,
                 const struct pi_addr_ask *ask)
{
    if (ask->rest)
        *ask->rest = NULL;
    if (url->scheme == PI_UNIX)
        return from_path(out, url);
    if (url->host[0] != '\0')
        return by_name(out, url, ask);
    set_in6(&out[0], ask->passive ? in6addr_any : in6addr_loopback, url->port);
    set_in(&out[1], ask->passive ? INADDR_ANY : INADDR_LOOPBACK, url->port);
    return 2;
}

int pi_addr_resolve(struct pi_addr out[PI_ADDRS_MAX], const struct pi_url *url, bool passive,
                    int64_t deadline_ns, const char *what)
{
    const struct pi_addr_ask ask = { .passive = passive, .deadline_ns = deadline_ns, .what = what };
    return pi_addr_find(out, url, &ask);
}

int pi_addr_find_rest(struct pi_addr out[PI_ADDRS_MAX], const struct pi_url *url,
                      struct pi_lookup *rest)
{
    struct pi_resolve *r = pi_resolve_rest(rest);
    int count = r ? r->count : 0;
    for (int i = 0; i < count; i++)
        copy_addr(&out[i], &r->addrs[i].any, url->port);
    pi_free(r);
    return count;
}

/* ---- of datagrams ---- */

bool pi_addr_read_ip(void *out, sa_family_t family, const char *text)
{
    return inet_pton(family, text, out) == 1;
}

static void to_public(struct pier_addr *out, const struct pi_addr *addr)
{
    memset(out, 0, sizeof *out);
    memcpy(out, &addr->any, addr->len <= sizeof *out ? addr->len : sizeof *out);
}

static struct pi_addr from_public(const struct pier_addr *in)
{
    struct pi_addr addr = { .len = sizeof addr.in6 };
    memcpy(&addr.in6, in, sizeof addr.in6);
    return addr;
}

int pier_addr_parse(struct pier_addr *addr, const char *text)
{
    struct pi_url url;
    struct pi_addr found[PI_ADDRS_MAX];
    char full[PI_URL_TEXT_CAP];
    memset(addr, 0, sizeof *addr);
    int len = snprintf(full, sizeof full, "udp://%s", text ? text : "");
    if (len >= (int)sizeof full)
        return pi_fail_text(PIER_EURL, "address: longer than every address");
    int rc = pi_url_parse(&url, full, false);
    if (rc < 0)
        return rc;
    if (!url.is_literal)
        return pi_fail_text(PIER_EURL,
                            "address \"%s\": not an IPv4 address or a bracketed IPv6 one", text);
    rc = pi_addr_resolve(found, &url, false, 0, full);
    if (rc < 0)
        return rc;
    to_public(addr, &found[0]);
    return 0;
}

const char *pier_addr_text(const struct pier_addr *addr, char *out, size_t cap)
{
    struct pi_addr copy = from_public(addr);
    if (copy.any.sa_family == AF_UNIX)
        copy.any.sa_family = AF_UNSPEC; /* no address of ours */
    return pi_addr_format(out, cap, &copy);
}

int pier_addr_port(const struct pier_addr *addr)
{
    struct pi_addr copy = from_public(addr);
    return pi_addr_port(&copy);
}

bool pier_addr_equal(const struct pier_addr *a, const struct pier_addr *b)
{
    struct pi_addr one = from_public(a), other = from_public(b);
    if (one.any.sa_family != AF_INET && one.any.sa_family != AF_INET6)
        return one.any.sa_family == other.any.sa_family;
    return pi_addr_equal(&one, &other) &&
           (one.any.sa_family == AF_INET || one.in6.sin6_scope_id == other.in6.sin6_scope_id);
}
