/* SPDX-License-Identifier: MIT */
/*
 * net/resolve.c - names of hosts: their addresses, the names of addresses, this host's own; and who
 * is asked for them: the table of hosts(5), the name servers, or the system's own functions.
 *
 * These (getaddrinfo(3), getnameinfo(3)) run on an offload thread, until a deadline: then the
 * thread is left to them, and the answer to nobody. A simulation answers for its hosts. Invariant:
 * a record belongs to the thread that asks until it is given back.
 */
#define _GNU_SOURCE
#include "net/resolve.h"

#include "base/assert.h"
#include "net/addr.h"
#include "net/hosts.h"
#include "task/offload.h"
#include "task/sockets.h"

#include <pier/net.h>
#include <pier/text.h>

#include <arpa/inet.h>
#include <ctype.h>
#include <ifaddrs.h>
#include <net/if.h>
#include <netdb.h>
#include <string.h>
#include <unistd.h>

enum {
    TIMEOUT_MS = 10 * 1000,
    NAME_MAX_LEN = 253, /* RFC 1035, 2.3.4, as text; and a final dot */
};

/* ---- asking ---- */

static int look_up_addrs(struct pi_resolve *r)
{
    struct addrinfo *found = NULL;
    struct addrinfo hints = { .ai_family = r->family,
                              .ai_socktype = SOCK_STREAM,
                              .ai_flags = r->flags };
    r->gai = getaddrinfo(r->host, NULL, &hints, &found);
    r->error = errno;
    for (struct addrinfo *a = found; r->gai == 0 && a && r->count < PI_RESOLVE_MAX; a = a->ai_next)
        if (a->ai_addrlen <= sizeof r->addrs[0])
            memcpy(&r->addrs[r->count++], a->ai_addr, a->ai_addrlen);
    if (found)
        freeaddrinfo(found);
    return 0;
}

static int look_up(void *arg)
{
    struct pi_resolve *r = arg;
    if (r->kind == PI_RESOLVE_ADDRS)
        return look_up_addrs(r);
    socklen_t len = r->addrs[0].any.sa_family == AF_INET6 ? sizeof r->addrs[0].in6
                                                          : sizeof r->addrs[0].in;
    r->gai = getnameinfo(&r->addrs[0].any, len, r->host, sizeof r->host, NULL, 0, NI_NAMEREQD);
    r->error = errno;
    return 0;
}

static void free_lookup(void *arg)
{
    pi_free(arg);
}

static struct pi_resolve *new_lookup(enum pi_resolve_kind kind, const char *what)
{
    struct pi_resolve *r = pi_zalloc(sizeof *r);
    if (!r)
        pi_fail(-ENOMEM, "%s", what);
    else
        r->kind = kind;
    return r;
}

static void no_such_name(const struct pi_resolve *r, const char *what)
{
    bool has_others = r->family != AF_UNSPEC && r->gai != EAI_NONAME;
    if (r->kind == PI_RESOLVE_NAME)
        pi_fail_text(PIER_ERESOLVE, "%s: no name", what);
    else if (has_others)
        pi_fail_text(PIER_ERESOLVE, "%s: no IPv%d address", what, r->family == AF_INET ? 4 : 6);
    else
        pi_fail(PIER_ERESOLVE, "%s", what);
}

static void lookup_failed(const struct pi_resolve *r, const char *what)
{
    char words[64];
    switch (r->gai) {
    case 0: /* an answer without addresses */
    case EAI_NONAME:
    case EAI_NODATA:
    case EAI_ADDRFAMILY:
        no_such_name(r, what);
        return;
    case EAI_MEMORY:
        pi_fail(-ENOMEM, "%s", what);
        return;
    case EAI_SYSTEM:
        if (r->error > 0) {
            pi_fail(-r->error, "%s", what);
            return;
        }
        break;
    }
    snprintf(words, sizeof words, "%s", gai_strerror(r->gai));
    words[0] = (char)tolower((unsigned char)words[0]);
    pi_fail_text(PIER_ERESOLVE, "%s: %s", what, words);
}

/* The record with its answer; NULL: it has failed, and is gone. */
static struct pi_resolve *answered(struct pi_resolve *r, const char *what)
{
    if (r->gai == 0 && (r->count > 0 || r->kind == PI_RESOLVE_NAME))
        return r;
    lookup_failed(r, what);
    pi_free(r);
    return NULL;
}

/* ---- who is asked ---- */

static bool is_own_name(const char *host)
{
    char own[PI_RESOLVE_HOST];
    return gethostname(own, sizeof own - 1) == 0 && strcasecmp(own, host) == 0;
}

/* Whether the system's function knows more than its files and name servers: other sources answer
 * for single labels, for .local (RFC 6762) and for this host's name (nss-myhostname(8)). */
static bool is_systems(const struct pi_dns_conf *conf, const char *host)
{
    size_t len = strlen(host);
    if (conf->has_own_servers)
        return false;
    if (len > 0 && host[len - 1] == '.')
        len--;
    bool is_local = len >= 6 && strncasecmp(host + len - 6, ".local", 6) == 0;
    return conf->is_strange || is_local || !memchr(host, '.', len) || is_own_name(host);
}

/* 0, r has the answer; 1: r is to be passed to the system's function; a negative code. */
static int ask_servers(struct pi_resolve *r, const struct pi_ask *ask, struct pi_lookup **rest)
{
    struct pi_dns_conf *conf = pi_dns_conf_get(ask->servers, ask->what);
    if (!conf)
        return pier_error_code();
    pi_dns_say(ask->trace, "the settings are read, name servers: %d", conf->server_count);
    int rc = 1;
    bool is_name = r->kind == PI_RESOLVE_NAME;
    const char *name = is_name ? pi_hosts_name(conf->hosts, &r->addrs[0].any) : NULL;
    if (!conf->is_strange && (name || (!is_name && pi_hosts_find(conf->hosts, r)))) {
        if (name)
            snprintf(r->host, sizeof r->host, "%s", name);
        pi_dns_say(ask->trace, "in the table of hosts");
        rc = 0;
    } else if (is_name && !conf->is_strange && !r->addrs[0].in6.sin6_scope_id) {
        rc = pi_lookup_name(r, conf, ask);
    } else if (!is_name && !is_systems(conf, r->host)) {
        rc = pi_lookup_addrs(r, conf, ask, rest);
    } else {
        pi_dns_say(ask->trace, "ask the system (getaddrinfo)");
    }
    if (rc == 0 && !is_name)
        pi_addrs_sort(r);
    pi_dns_conf_put(conf);
    return rc;
}

static struct pi_resolve *ask_others(struct pi_resolve *r, const struct pi_ask *ask,
                                     struct pi_lookup **rest)
{
    int rc = io_is_simulated() ? 1 : ask_servers(r, ask, rest);
    if (rc < 0) {
        pi_free(r);
        return NULL;
    }
    if (rc == 0)
        return answered(r, ask->what);
    rc = pi_offload_abandon(IO_RESOLVE, r, look_up, r, free_lookup, ask->deadline_ns);
    if (rc == 0)
        return answered(r, ask->what);
    pi_fail(rc, "%s", ask->what);
    return NULL;
}

static bool is_localhost(const char *host)
{
    size_t len = strlen(host);
    if (len > 0 && host[len - 1] == '.')
        len--;
    return (len == 9 && strncasecmp(host, "localhost", len) == 0) ||
           (len > 10 && strncasecmp(host + len - 10, ".localhost", 10) == 0);
}

static void give_loopback(struct pi_resolve *r)
{
    if (r->family != AF_INET) {
        r->addrs[r->count].in6.sin6_family = AF_INET6;
        r->addrs[r->count++].in6.sin6_addr = in6addr_loopback;
    }
    if (r->family != AF_INET6) {
        r->addrs[r->count].in.sin_family = AF_INET;
        r->addrs[r->count++].in.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    }
}

struct pi_resolve *pi_resolve_host(const struct pi_ask *ask, struct pi_lookup **rest)
{
    PIER_ASSERT(strlen(ask->host) < PI_RESOLVE_HOST);
    if (rest)
        *rest = NULL;
    struct pi_resolve *r = new_lookup(PI_RESOLVE_ADDRS, ask->what);
    if (!r)
        return NULL;
    snprintf(r->host, sizeof r->host, "%s", ask->host);
    r->family = ask->family;
    r->flags = ask->flags;
    if (is_localhost(ask->host))
        give_loopback(r);
    else if (ask->flags & AI_NUMERICHOST)
        look_up_addrs(r);
    else
        return ask_others(r, ask, rest);
    return answered(r, ask->what);
}

/* ---- texts ---- */

static void format_ip(struct pier_ip *out, const struct sockaddr *in)
{
    const struct sockaddr_in6 *in6 = (const struct sockaddr_in6 *)in;
    *out = (struct pier_ip){ .version = in->sa_family == AF_INET6 ? 6 : 4 };
    if (out->version == 4) {
        inet_ntop(AF_INET, &((const struct sockaddr_in *)in)->sin_addr, out->text,
                  sizeof out->text);
        return;
    }
    char zone[IF_NAMESIZE];
    inet_ntop(AF_INET6, &in6->sin6_addr, out->text, sizeof out->text);
    size_t len = strlen(out->text);
    if (in6->sin6_scope_id && if_indextoname(in6->sin6_scope_id, zone))
        snprintf(out->text + len, sizeof out->text - len, "%%%s", zone);
}

/* Whether text is an IP address, perhaps with a zone, and not a name. */
static bool is_literal(const char *text)
{
    struct in_addr addr;
    return strchr(text, ':') != NULL || inet_pton(AF_INET, text, &addr) == 1;
}

/* "resolve NAME", printable whatever the name is. */
struct what {
    char text[PI_URL_TEXT_CAP];
};

static const char *name_what(struct what *out, const char *verb, const char *name)
{
    int len = snprintf(out->text, sizeof out->text, "%s ", verb);
    pier_escape(out->text + len, sizeof out->text - (size_t)len, name, strlen(name));
    return out->text;
}

/* The name as it is asked for. */
static int make_ascii(char out[PI_RESOLVE_HOST], const char *name, const char *what)
{
    const char *why = NULL;
    size_t len = strlen(name);
    if (len == 0)
        return pi_fail_text(PIER_ERESOLVE, "%s\"\": the name is empty", what);
    if (len - (name[len - 1] == '.') > NAME_MAX_LEN)
        return pi_fail_text(PIER_ERESOLVE, "%s: longer than %d bytes", what, NAME_MAX_LEN);
    int rc = pi_idn_to_ascii(out, PI_RESOLVE_HOST, name, &why);
    if (rc < 0)
        return pi_fail_text(rc, "%s: %s", what, why);
    if (pi_host_ends_in_number(out, strlen(out)) && !is_literal(out))
        return pi_fail_text(PIER_ERESOLVE, "%s: not an IPv4 address", what);
    return 0;
}

/* ---- public ---- */

int64_t pi_resolve_deadline(const struct pier_resolve_opts *opts)
{
    int ms = opts && opts->timeout_ms ? opts->timeout_ms : TIMEOUT_MS;
    return ms < 0 ? 0 : pier_after(ms * PIER_MILLISECOND);
}

static int bad_arguments(const char *what, const char *why)
{
    return pi_fail_text(-EINVAL, "%s: %s", what, why);
}

static struct pi_dns_trace trace_of(const struct pier_resolve_opts *opts)
{
    return (struct pi_dns_trace){ opts ? opts->trace : NULL, opts ? opts->trace_arg : NULL,
                                  pi_clock_ns() };
}

int pier_resolve(struct pier_ip *ips, int cap, const char *name,
                 const struct pier_resolve_opts *opts)
{
    static const int families[] = { [0] = AF_UNSPEC, [4] = AF_INET, [6] = AF_INET6 };
    struct what buf;
    const char *what = name_what(&buf, "resolve", name);
    int version = opts ? opts->version : 0;
    if (version != 0 && version != 4 && version != 6)
        return bad_arguments(what, "an IP version is 4 or 6");
    if (cap < 1)
        return bad_arguments(what, "no room for an address");
    char ascii[PI_RESOLVE_HOST];
    int rc = make_ascii(ascii, name, what);
    if (rc < 0)
        return rc;
    const struct pi_dns_trace trace = trace_of(opts);
    const struct pi_ask ask = { .host = ascii,
                                .family = families[version],
                                .flags = is_literal(ascii) ? AI_NUMERICHOST : 0,
                                .deadline_ns = pi_resolve_deadline(opts),
                                .what = what,
                                .servers = opts ? opts->servers : NULL,
                                .trace = &trace };
    struct pi_resolve *r = pi_resolve_host(&ask, NULL);
    if (!r)
        return pier_error_code();
    int count = r->count < cap ? r->count : cap;
    for (int i = 0; i < count; i++)
        format_ip(&ips[i], &r->addrs[i].any);
    pi_free(r);
    return count;
}

static int put_name(char *name, size_t cap, const char *found, const char *what)
{
    size_t len = strlen(found);
    if (len >= cap)
        return pi_fail(-ENAMETOOLONG, "%s", what);
    memcpy(name, found, len + 1);
    return 0;
}

int pier_reverse(char *name, size_t cap, const char *ip, const struct pier_resolve_opts *opts)
{
    struct what buf;
    const char *what = name_what(&buf, "reverse", ip);
    if (!is_literal(ip) || strlen(ip) >= PIER_IP_CAP)
        return bad_arguments(what, "not an IP address");
    const struct pi_dns_trace trace = trace_of(opts);
    const struct pi_ask ask = { .host = ip,
                                .flags = AI_NUMERICHOST,
                                .deadline_ns = pi_resolve_deadline(opts),
                                .what = what,
                                .servers = opts ? opts->servers : NULL,
                                .trace = &trace };
    struct pi_resolve *addr = pi_resolve_host(&ask, NULL);
    if (!addr)
        return pier_error_code();
    struct pi_resolve *r = new_lookup(PI_RESOLVE_NAME, what);
    if (r)
        r->addrs[0] = addr->addrs[0];
    pi_free(addr);
    if (r)
        r = ask_others(r, &ask, NULL);
    if (!r)
        return pier_error_code();
    int rc = put_name(name, cap, r->host, what);
    pi_free(r);
    return rc;
}

/* ---- this host ---- */

/* What a simulation knows of the host that the task runs on. */
static void ask_self(struct pi_resolve *r)
{
    *r = (struct pi_resolve){ .kind = PI_RESOLVE_SELF };
    struct io_op op = { .code = IO_RESOLVE, .buf = r };
    ssize_t rc = io_try(&op);
    PIER_ASSERT(rc == 0);
}

int pier_hostname(char *name, size_t cap)
{
    struct pi_resolve self = { 0 };
    if (cap > 0)
        name[0] = '\0';
    if (io_is_simulated())
        ask_self(&self);
    else if (gethostname(self.host, sizeof self.host - 1) < 0)
        return pi_fail(-errno, "host name");
    return put_name(name, cap, self.host, "host name");
}

/* A list of addresses being made, on an offload thread. */
struct local_list {
    unsigned flags;
    int cap, count, error;
    struct pier_local_addr addrs[];
};

static void add_local(struct local_list *list, const struct sockaddr *addr, const char *interface,
                      bool is_loopback)
{
    if (list->count == list->cap || (is_loopback && !(list->flags & PIER_WITH_LOOPBACK)))
        return;
    struct pier_local_addr *a = &list->addrs[list->count++];
    *a = (struct pier_local_addr){ .is_loopback = is_loopback };
    format_ip(&a->ip, addr);
    snprintf(a->interface, sizeof a->interface, "%s", interface);
}

/* Those of interfaces that are up. */
static int list_system(void *arg)
{
    struct local_list *list = arg;
    struct ifaddrs *found = NULL;
    if (getifaddrs(&found) < 0) {
        list->error = -errno;
        return 0;
    }
    for (const struct ifaddrs *a = found; a; a = a->ifa_next) {
        int family = a->ifa_addr ? a->ifa_addr->sa_family : AF_UNSPEC;
        if ((family == AF_INET || family == AF_INET6) && (a->ifa_flags & IFF_UP))
            add_local(list, a->ifa_addr, a->ifa_name, a->ifa_flags & IFF_LOOPBACK);
    }
    freeifaddrs(found);
    return 0;
}

static int list_simulated(struct local_list *list)
{
    struct pi_resolve r = { 0 };
    give_loopback(&r);
    for (int i = r.count; i-- > 0;)
        add_local(list, &r.addrs[i].any, "lo", true);
    ask_self(&r);
    for (int i = 0; i < r.count; i++)
        add_local(list, &r.addrs[i].any, "eth0", false);
    return 0;
}

int pier_local_addrs(struct pier_local_addr *addrs, int cap, unsigned flags)
{
    if (cap < 1)
        return bad_arguments("local addresses", "no room for an address");
    struct local_list *list = pi_zalloc(sizeof *list + (size_t)cap * sizeof list->addrs[0]);
    if (!list)
        return pi_fail(-ENOMEM, "local addresses");
    list->flags = flags;
    list->cap = cap;
    int rc = io_is_simulated()
                 ? list_simulated(list)
                 : pi_offload_abandon(IO_OFFLOAD, NULL, list_system, list, free_lookup, 0);
    if (rc < 0) /* and the list is gone */
        return pi_fail(rc, "local addresses");
    memcpy(addrs, list->addrs, (size_t)list->count * sizeof *addrs);
    rc = list->error < 0 ? pi_fail(list->error, "local addresses") : list->count;
    pi_free(list);
    return rc;
}
