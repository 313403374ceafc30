/* SPDX-License-Identifier: MIT */
/*
 * probe.c - the steps of one look at a server, one after the other, each with its time: the name's
 * first addresses, the connection, the handshake of TLS, the first byte of a reply.
 *
 * The steps are taken one by one, by the calls that a program would use, rather than in one dial:
 * so each has a time of its own, and a failure says which it was.
 */
#include "probe.h"

#include <string.h>
#include <strings.h>

enum { ADDRS = 16, HEAD_CAP = 4096 };

static bool is_scheme(const struct probe_target *t, const char *a, const char *b)
{
    return strcasecmp(t->scheme, a) == 0 || strcasecmp(t->scheme, b) == 0;
}

static bool is_http(const struct probe_target *t)
{
    return is_scheme(t, "http", "https");
}

static bool is_udp(const struct probe_target *t)
{
    return is_scheme(t, "udp", "udp");
}

/* ---- the URL ---- */

static int copy(char *out, size_t cap, struct pier_slice s)
{
    if (s.len >= cap)
        return -ENAMETOOLONG;
    if (s.len > 0)
        memcpy(out, s.ptr, s.len);
    out[s.len] = '\0';
    return 0;
}

static int copy_host(struct probe_target *out, struct pier_slice host)
{
    if (host.len >= 2 && host.ptr[0] == '[')
        host = (struct pier_slice){ host.ptr + 1, host.len - 2 };
    if (host.len == 0)
        host = (struct pier_slice){ "localhost", strlen("localhost") };
    return copy(out->host, sizeof out->host, host);
}

static int copy_path(struct probe_target *out, const struct pier_uri *uri)
{
    size_t cap = sizeof out->path;
    int n = snprintf(out->path, cap, "%s%.*s%s%.*s", uri->path.len > 0 ? "" : "/",
                     (int)uri->path.len, uri->path.ptr, uri->query.len > 0 ? "?" : "",
                     (int)uri->query.len, uri->query.ptr);
    return n < (int)cap ? 0 : -ENAMETOOLONG;
}

int probe_parse(struct probe_target *out, const char *url)
{
    struct pier_uri uri;
    *out = (struct probe_target){ .url = url };
    int rc = pier_uri_parse(&uri, url, strlen(url));
    if (rc == 0)
        rc = copy(out->scheme, sizeof out->scheme, uri.scheme);
    if (rc == 0)
        rc = copy_host(out, uri.host);
    if (rc == 0 && is_http(out))
        rc = copy_path(out, &uri);
    if (rc < 0)
        return pier_error_set(PIER_EURL, "%.200s", url);
    out->port = pier_uri_port(&uri);
    if (!is_http(out) && !is_scheme(out, "tcp", "tls") && !is_udp(out))
        return pier_error_set(PIER_EURL, "%.200s: not tcp, tls, http, https or udp", url);
    if (!is_http(out) && uri.path.len > 0)
        return pier_error_set(PIER_EURL, "%.200s: a path is for http and https", url);
    if (out->port <= 0 || out->port > 65535)
        return pier_error_set(PIER_EURL, "%.200s: a port is needed", url);
    return 0;
}

/* ---- the steps ---- */

static struct pier_conn *dial(struct probe_result *r, const struct probe_target *t,
                              const struct pier_ip *ip)
{
    char url[PIER_ADDR_TEXT + 16];
    bool is_v6 = ip->version == 6;
    snprintf(r->address, sizeof r->address, "%s%s%s:%d", is_v6 ? "[" : "", ip->text,
             is_v6 ? "]" : "", t->port);
    snprintf(url, sizeof url, "%s://%s", is_udp(t) ? "udp" : "tcp", r->address);
    return pier_dial(url, NULL);
}

/* The first of a name's addresses that accepts. */
static struct pier_conn *connect_any(struct probe_result *r, const struct probe_target *t)
{
    struct pier_ip ips[ADDRS];
    struct pier_conn *c = NULL;
    int64_t start = pier_now();
    int count = pier_resolve(ips, ADDRS, t->host, NULL);
    if (count < 0)
        return NULL;
    r->resolve = pier_now() - start;
    start = pier_now();
    for (int i = 0; i < count && c == NULL && pier_cancelled() == 0; i++)
        c = dial(r, t, &ips[i]);
    if (c != NULL && !is_udp(t))
        r->connect = pier_now() - start;
    return c;
}

static int secure(struct probe_result *r, struct pier_conn *c, const struct probe_target *t,
                  const struct probe_opts *opts)
{
    struct pier_tls_opts tls = opts->tls != NULL ? *opts->tls : (struct pier_tls_opts){ 0 };
    struct pier_tls_info info;
    if (tls.server_name == NULL)
        tls.server_name = t->host;
    tls.role = PIER_TLS_CLIENT;
    int64_t start = pier_now();
    int rc = pier_tls_wrap(c, &tls);
    if (rc < 0)
        return rc;
    r->tls = pier_now() - start;
    if (pier_tls_info(c, &info) == 0 && info.peer_expires != 0) {
        r->has_cert = true;
        r->cert_expires = info.peer_expires;
    }
    return 0;
}

/* The first piece of a reply, with NUL behind it. */
static int read_first(struct probe_result *r, struct pier_conn *c, char *head, int64_t start)
{
    ssize_t n = pier_read(c, head, HEAD_CAP - 1);
    if (n == 0)
        return pier_error_set(-ENODATA, "%s: closed without a reply", r->address);
    if (n < 0)
        return (int)n;
    r->first_byte = pier_now() - start;
    head[n] = '\0';
    return 0;
}

static int ask_http(struct probe_result *r, struct pier_conn *c, const struct probe_target *t)
{
    char head[HEAD_CAP];
    bool is_v6 = strchr(t->host, ':') != NULL;
    int64_t start = pier_now();
    ssize_t n = pier_printf(c,
                            "GET %s HTTP/1.1\r\nHost: %s%s%s:%d\r\nUser-Agent: pier/%s\r\n"
                            "Accept: */*\r\nConnection: close\r\n\r\n",
                            t->path, is_v6 ? "[" : "", t->host, is_v6 ? "]" : "", t->port,
                            pier_version());
    int rc = n < 0 ? (int)n : read_first(r, c, head, start);
    if (rc < 0)
        return rc;
    if (sscanf(head, "HTTP/1.%*1d %3d", &r->status) != 1)
        return pier_error_set(PIER_EPROTO, "%s: no HTTP/1 response", r->address);
    return 0;
}

static int ask(struct probe_result *r, struct pier_conn *c, const struct probe_target *t,
               const struct probe_opts *opts)
{
    char reply[HEAD_CAP];
    if (is_http(t))
        return ask_http(r, c, t);
    const char *text = opts->text == NULL && is_udp(t) ? "ping" : opts->text;
    if (text == NULL)
        return 0;
    int64_t start = pier_now();
    ssize_t n = pier_puts(c, text);
    return n < 0 ? (int)n : read_first(r, c, reply, start);
}

static int look(struct probe_result *r, const struct probe_target *t, const struct probe_opts *opts)
{
    struct pier_conn *c = connect_any(r, t);
    if (c == NULL)
        return pier_error_code();
    int rc = 0;
    if (is_scheme(t, "tls", "https"))
        rc = secure(r, c, t, opts);
    if (rc == 0)
        rc = ask(r, c, t, opts);
    struct pier_tcp_info info;
    if (rc == 0 && !is_udp(t) && pier_tcp_info(c, &info) == 0) {
        r->rtt_us = info.rtt_us;
        r->retransmits = info.retransmits;
    }
    pier_close(c);
    return rc;
}

void probe(struct probe_result *out, const struct probe_target *target,
           const struct probe_opts *opts)
{
    *out = (struct probe_result){
        .resolve = -1, .connect = -1, .tls = -1, .first_byte = -1, .rtt_us = -1, .retransmits = -1
    };
    int64_t start = pier_now();
    PIER_SCOPE(limit, pier_after(opts->timeout));
    out->code = look(out, target, opts);
    if (out->code < 0) {
        snprintf(out->words, sizeof out->words, "%s", pier_error());
        out->exit_code = pier_exit_code();
    }
    out->total = pier_now() - start;
}
