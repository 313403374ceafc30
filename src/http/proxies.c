/* SPDX-License-Identifier: MIT */
/*
 * http/proxies.c - who a client is that came through proxies: what X-Forwarded-For or Forwarded
 * (RFC 7239) say, as far as it was written by proxies that are trusted.
 *
 * The addresses are read from the right, where the nearest proxy wrote: the first one that is no
 * trusted proxy's is the client. Whatever stands further left the client may have made up. What
 * cannot be read ends the search at the proxy that passed it on.
 */
#define _GNU_SOURCE
#include "base/err.h"
#include "http/forwarded_wire.h"
#include "http/host_wire.h"
#include "http/observe.h"
#include "net/cidr.h"

#include <string.h>
#include <strings.h>

enum { HOPS_MAX = 32 };

struct pi_proxies {
    struct pi_cidr_set *trusted;
    bool trusts_unix, reads_forwarded, takes_host;
};

/* ---- options ---- */

static int add_network(struct pi_cidrs *list, const char *text)
{
    struct pi_cidr_fault fault;
    int rc = pi_cidrs_read(list, text, strlen(text), false, &fault);
    if (rc == -EINVAL)
        return pi_fail_text(rc, "trusted proxy %s: %s", text, fault.why);
    return rc < 0 ? pi_fail(rc, "trusted proxy %s", text) : 0;
}

static int read_trusted(struct pi_proxies *p, struct pi_cidrs *list, const char *const *trusted)
{
    int rc = 0;
    for (; trusted && *trusted && rc == 0; trusted++) {
        if (strcmp(*trusted, "unix") == 0)
            p->trusts_unix = true;
        else
            rc = add_network(list, *trusted);
    }
    return rc;
}

struct pi_proxies *pi_proxies_new(const struct pier_proxy_opts *opts)
{
    struct pi_cidrs list = { 0 };
    struct pi_proxies *p = pi_zalloc(sizeof *p);
    int rc = p ? read_trusted(p, &list, opts->trusted) : pi_fail(-ENOMEM, "trusted proxies");
    if (rc == 0) {
        p->reads_forwarded = opts->forwarded;
        p->takes_host = opts->host;
        p->trusted = pi_cidr_set_new(&list, false);
        rc = p->trusted ? 0 : pi_fail(-ENOMEM, "trusted proxies");
    }
    pi_cidrs_fini(&list);
    if (rc == 0)
        return p;
    pi_proxies_free(p);
    return NULL;
}

void pi_proxies_free(struct pi_proxies *p)
{
    if (!p)
        return;
    pi_cidr_set_free(p->trusted);
    pi_free(p);
}

/* ---- hops ---- */

/* What each proxy on the way has added, the nearest one's last. */
struct hops {
    int count;
    struct pi_forwarded list[HOPS_MAX];
};

/* Whether each quoted string has its end. */
static bool is_balanced(const char *text)
{
    bool quoted = false;
    for (; *text; text++) {
        if (quoted && text[0] == '\\' && text[1])
            text++;
        else if (*text == '"')
            quoted = !quoted;
    }
    return !quoted;
}

/* The element before the next comma, whatever quotes say. */
static struct pi_part next_raw(struct pi_part *rest)
{
    const char *comma = memchr(rest->at, ',', rest->len);
    struct pi_part raw = { rest->at, comma ? (size_t)(comma - rest->at) : rest->len };
    size_t taken = raw.len + (comma != NULL);
    *rest = (struct pi_part){ rest->at + taken, rest->len - taken };
    while (raw.len > 0 && (raw.at[0] == ' ' || raw.at[0] == '\t'))
        raw = (struct pi_part){ raw.at + 1, raw.len - 1 };
    while (raw.len > 0 && (raw.at[raw.len - 1] == ' ' || raw.at[raw.len - 1] == '\t'))
        raw.len--;
    return raw;
}

/* The elements of a list, the last HOPS_MAX of them. Commas in quotes end none where quoted strings
 * may be (has_quotes) and are whole: one that a client has left open would swallow what its proxy
 * has added, and the client pass for the proxy. */
static int elements_of(struct pi_part out[HOPS_MAX], const char *text, bool has_quotes)
{
    struct pi_part rest = { text, strlen(text) };
    bool heeds_quotes = has_quotes && is_balanced(text);
    int count = 0;
    while (rest.len > 0) {
        struct pi_part element = heeds_quotes ? pi_list_next(&rest) : next_raw(&rest);
        if (element.len == 0)
            continue;
        if (count == HOPS_MAX)
            memmove(out, out + 1, (size_t)--count * sizeof out[0]);
        out[count++] = element;
    }
    return count;
}

static void read_forwarded(struct hops *h, struct pier_exchange *ex)
{
    struct pi_part elements[HOPS_MAX];
    const char *text = pier_req_field(ex, "Forwarded");
    h->count = text ? elements_of(elements, text, true) : 0;
    for (int i = 0; i < h->count; i++)
        if (!pi_forwarded_read(&h->list[i], elements[i]))
            h->list[i] = (struct pi_forwarded){ .by_for = { NULL, 0 } };
}

/* The values of a field go with the addresses when there are as many of them; else the last one
 * was written, or let pass, by the nearest proxy, and is everybody's. */
static void spread(struct hops *h, size_t member, const char *text)
{
    struct pi_part elements[HOPS_MAX];
    int count = text ? elements_of(elements, text, false) : 0;
    for (int i = 0; i < h->count && count > 0; i++) {
        struct pi_part *place = (struct pi_part *)((char *)&h->list[i] + member);
        *place = elements[count == h->count ? i : count - 1];
    }
}

static void read_x_forwarded(struct hops *h, struct pier_exchange *ex)
{
    struct pi_part elements[HOPS_MAX];
    const char *text = pier_req_field(ex, "X-Forwarded-For");
    h->count = text ? elements_of(elements, text, false) : 0;
    for (int i = 0; i < h->count; i++)
        h->list[i] = (struct pi_forwarded){ .by_for = elements[i] };
    if (h->count == 0) { /* a proxy that says only how it was reached */
        h->count = 1;
        h->list[0] = (struct pi_forwarded){ .by_for = { NULL, 0 } };
    }
    spread(h, offsetof(struct pi_forwarded, proto), pier_req_field(ex, "X-Forwarded-Proto"));
    spread(h, offsetof(struct pi_forwarded, host), pier_req_field(ex, "X-Forwarded-Host"));
}

/* ---- whom to believe ---- */

static bool is_trusted(const struct pi_proxies *p, const char *address)
{
    struct pi_ip ip;
    return pi_ip_read(&ip, address) && pi_cidr_set_allows(p->trusted, &ip);
}

static bool is_from_trusted(const struct pi_proxies *p, const struct pier_conn *c)
{
    struct pi_ip ip;
    if (c->peer.any.sa_family == AF_UNIX)
        return p->trusts_unix;
    return pi_ip_of(&ip, &c->peer.any) && pi_cidr_set_allows(p->trusted, &ip);
}

/* The address of a hop as a text; NULL: it names none. */
static const char *address_of(struct pier_exchange *ex, const struct pi_forwarded *hop)
{
    struct pi_ip ip;
    struct pi_part address = hop->by_for.at ? pi_forwarded_address(hop->by_for) : hop->by_for;
    const char *text = address.at ? pi_arena_copy(&ex->arena, address.at, address.len) : NULL;
    return text && pi_ip_read(&ip, text) ? text : NULL;
}

static void take_host(struct pier_exchange *ex, struct pi_part host)
{
    struct pi_host h;
    if (!host.at || !pi_host_parse(&h, host))
        return;
    char *copy = pi_arena_copy(&ex->arena, host.at, host.len);
    for (char *c = copy; c && *c; c++)
        if (*c >= 'A' && *c <= 'Z')
            *c = (char)(*c + ('a' - 'A'));
    if (copy)
        ex->host = copy;
}

static void take(const struct pi_proxies *p, struct pier_exchange *ex,
                 const struct pi_forwarded *hop)
{
    if (hop->proto.at) {
        ex->has_proto = true;
        ex->proto_is_secure = hop->proto.len == 5 && strncasecmp(hop->proto.at, "https", 5) == 0;
    }
    if (p->takes_host)
        take_host(ex, hop->host);
}

static void take_id(struct pier_exchange *ex)
{
    const char *id = pier_req_field(ex, "X-Request-Id");
    if (id && pi_is_request_id(id, strlen(id)))
        ex->id = id;
}

void pi_proxies_apply(const struct pi_proxies *p, struct pier_exchange *ex)
{
    struct hops h;
    if (!is_from_trusted(p, ex->h->conn))
        return;
    take_id(ex);
    if (p->reads_forwarded)
        read_forwarded(&h, ex);
    else
        read_x_forwarded(&h, ex);
    for (int i = h.count - 1; i >= 0; i--) {
        const char *address = address_of(ex, &h.list[i]);
        take(p, ex, &h.list[i]);
        if (address)
            ex->client = address;
        if (!address || !is_trusted(p, address))
            return;
    }
}

/* ---- public ---- */

static const char *without_port(struct pier_exchange *ex, const char *peer)
{
    struct pi_part address = pi_forwarded_address((struct pi_part){ peer, strlen(peer) });
    const char *copy = address.at ? pi_arena_copy(&ex->arena, address.at, address.len) : NULL;
    return copy ? copy : peer;
}

const char *pier_req_client(struct pier_exchange *ex)
{
    if (!ex)
        return "?";
    if (!ex->client) {
        bool is_unix = ex->h->conn->peer.any.sa_family == AF_UNIX;
        const char *peer = pier_req_peer(ex);
        ex->client = is_unix ? peer : without_port(ex, peer);
    }
    return ex->client;
}
