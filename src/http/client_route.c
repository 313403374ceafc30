/* SPDX-License-Identifier: MIT */
/*
 * http/client_route.c - URLs of requests, and where a client connects to for them: the server, a
 * proxy, a Unix socket.
 *
 * Proxies are those of the environment as every client has them: http_proxy (in lower case only: a
 * server that runs programs makes HTTP_PROXY of a field that anybody may send), https_proxy,
 * all_proxy and no_proxy.
 */
#define _GNU_SOURCE
#include "http/client.h"

#include "base/err.h"

#include <arpa/inet.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

static const char url_chars[] = ":/?#[]@!$&'()*+,;=%";

/* ---- URLs ---- */

static int bad_url(const char *url, const char *reason)
{
    char shown[200];
    const char *at = strrchr(url, '@'); /* what is before it may be a password */
    pier_escape(shown, sizeof shown, at ? at + 1 : url, strlen(at ? at + 1 : url));
    return pi_fail_text(PIER_EURL, "url \"%s%s\": %s", at ? "...@" : "", shown, reason);
}

/* "user:password", decoded. */
static int read_user(struct pi_target *out, const char *url, struct pier_slice info)
{
    const char *colon = memchr(info.ptr, ':', info.len);
    size_t len = colon ? (size_t)(colon - info.ptr) : info.len;
    struct pier_slice password = { colon ? colon + 1 : "", colon ? info.len - len - 1 : 0 };
    if (pier_percent_decode(out->user, sizeof out->user, info.ptr, len) < 0 ||
        pier_percent_decode(out->password, sizeof out->password, password.ptr, password.len) < 0)
        return bad_url(url, "the user or password is too long, or not well encoded");
    out->has_user = true;
    return 0;
}

static int read_host(struct pi_target *out, const char *url, struct pier_slice host)
{
    if (host.len == 0)
        return bad_url(url, "no host");
    if (memchr(host.ptr, '%', host.len) && host.ptr[0] != '[')
        return bad_url(url, "a host is ASCII; other names have an \"xn--\" form");
    bool is_bracketed = host.ptr[0] == '[';
    struct pier_slice bare = { host.ptr + is_bracketed, host.len - 2u * is_bracketed };
    if (pier_percent_decode(out->host, sizeof out->host, bare.ptr, bare.len) < 0)
        return bad_url(url, "the host is too long");
    return 0;
}

/* The parts of out->text, which is in normal form. */
static int find_parts(struct pi_target *out, const char *url)
{
    struct pier_uri u;
    if (pier_uri_parse(&u, out->text, strlen(out->text)) < 0)
        return PIER_EURL;
    const char *after = strstr(out->text, "//") + 2;
    out->authority = (struct pi_part){ after, (size_t)(u.path.ptr - after) };
    out->path = (struct pi_part){ u.path.ptr, strlen(u.path.ptr) };
    out->port = pier_uri_port(&u);
    out->is_https = u.scheme.len == 5;
    if (out->port <= 0)
        return bad_url(url, "port 0 cannot be dialled");
    return read_host(out, url, u.host);
}

static int normalise(struct pi_target *out, const char *url, const char *encoded,
                     const struct pi_target *base)
{
    char absolute[PI_CLIENT_URL_CAP];
    struct pier_uri u, base_uri;
    int rc = pier_uri_parse(&u, encoded, strlen(encoded));
    if (rc == 0 && base) {
        rc = pier_uri_parse(&base_uri, base->text, strlen(base->text));
        if (rc == 0 && pier_uri_resolve(absolute, sizeof absolute, &base_uri, &u) < 0)
            return bad_url(url, "too long");
        if (rc == 0)
            rc = pier_uri_parse(&u, absolute, strlen(absolute));
    }
    if (rc < 0)
        return rc;
    bool is_known = (u.scheme.len == 4 && strncasecmp(u.scheme.ptr, "http", 4) == 0) ||
                    (u.scheme.len == 5 && strncasecmp(u.scheme.ptr, "https", 5) == 0);
    if (!is_known || !u.host.ptr)
        return bad_url(url, "not http://host or https://host");
    if (u.userinfo.ptr && !base && (rc = read_user(out, url, u.userinfo)) < 0)
        return rc;
    u.userinfo = u.fragment = (struct pier_slice){ NULL, 0 };
    if (pier_uri_format(out->text, sizeof out->text, &u) < 0)
        return bad_url(url, "too long");
    return find_parts(out, url);
}

int pi_target_parse(struct pi_target *out, const char *url, const struct pi_target *base)
{
    char encoded[PI_CLIENT_URL_CAP];
    out->has_user = false;
    out->user[0] = out->password[0] = '\0';
    if (!url)
        return pi_fail_text(PIER_EURL, "url: none given");
    if (pier_percent_encode(encoded, sizeof encoded, url, strlen(url), url_chars) < 0)
        return bad_url(url, "too long");
    return normalise(out, url, encoded, base);
}

/* ---- proxies ---- */

static bool names_host(const char *name, size_t len, const char *host)
{
    struct in6_addr addr;
    size_t host_len = strlen(host);
    while (len > 0 && name[0] == '.') { /* ".org" is "org" */
        name++;
        len--;
    }
    if (len > 1 && name[0] == '[' && name[len - 1] == ']') {
        name++;
        len -= 2;
    }
    if (len == 0 || len > host_len || strncasecmp(host + host_len - len, name, len) != 0)
        return false;
    bool is_addr = inet_pton(AF_INET, host, &addr) == 1 || inet_pton(AF_INET6, host, &addr) == 1;
    return len == host_len || (!is_addr && host[host_len - len - 1] == '.');
}

/* One element, perhaps with a port. */
static bool exempts(const char *element, size_t len, const char *host, int port)
{
    if (len == 1 && element[0] == '*')
        return true;
    const char *colon = memrchr(element, ':', len);
    bool is_ipv6 = len > 0 && element[0] != '[' && colon && memchr(element, ':', len) != colon;
    bool has_port = colon && !is_ipv6 &&
                    strspn(colon + 1, "0123456789") >= (size_t)(element + len - colon - 1);
    if (has_port && atoi(colon + 1) != port)
        return false;
    return names_host(element, has_port ? (size_t)(colon - element) : len, host);
}

bool pi_hop_is_exempt(const char *no_proxy, const char *host, int port)
{
    for (const char *at = no_proxy; at && *at;) {
        at += strspn(at, ", \t");
        size_t len = strcspn(at, ", \t");
        if (exempts(at, len, host, port))
            return true;
        at += len;
    }
    return false;
}

static const char *variable(const char *lower, const char *upper)
{
    const char *value = getenv(lower);
    if ((!value || !*value) && upper)
        value = getenv(upper);
    return value && *value ? value : NULL;
}

/* The URL of the proxy for a target, or NULL. */
static const char *find_proxy(const struct pi_target *target,
                              const struct pier_http_client_opts *opts)
{
    if (opts->proxy)
        return *opts->proxy ? opts->proxy : NULL;
    const char *proxy = target->is_https ? variable("https_proxy", "HTTPS_PROXY")
                                         : variable("http_proxy", NULL);
    if (!proxy)
        proxy = variable("all_proxy", "ALL_PROXY");
    const char *none = variable("no_proxy", "NO_PROXY");
    return proxy && !pi_hop_is_exempt(none, target->host, target->port) ? proxy : NULL;
}

int pi_basic_auth(char *out, size_t cap, const char *user, const char *password)
{
    char plain[520];
    int len = snprintf(plain, sizeof plain, "%s:%s", user, password ? password : "");
    if (len >= (int)sizeof plain)
        return pi_fail_text(-EINVAL, "the user and password are too long");
    if (strchr(user, ':'))
        return pi_fail_text(-EINVAL, "a user cannot have a \":\" (RFC 7617)");
    snprintf(out, cap, "Basic ");
    ssize_t n = pier_base64_encode(out + 6, cap - 6, plain, (size_t)len);
    return n < 0 ? pi_fail_text(-EINVAL, "the user and password are too long") : 0;
}

/* ---- where to ---- */

static void format_dial(char *out, size_t cap, const struct pi_target *target)
{
    bool is_ipv6 = strchr(target->host, ':') != NULL;
    snprintf(out, cap, "tcp://%s%s%s:%d", is_ipv6 ? "[" : "", target->host, is_ipv6 ? "]" : "",
             target->port);
}

static int through(struct pi_hop *out, const struct pi_target *target, const char *proxy)
{
    struct pi_target p;
    char url[512];
    bool has_scheme = strstr(proxy, "://") != NULL;
    if (snprintf(url, sizeof url, "%s%s", has_scheme ? "" : "http://", proxy) >= (int)sizeof url)
        return bad_url(proxy, "a proxy's URL is too long");
    int rc = pi_target_parse(&p, url, NULL);
    if (rc < 0)
        return rc;
    if (p.is_https)
        return bad_url(url, "proxies are reached by http://");
    if (p.has_user) {
        rc = pi_basic_auth(out->proxy_auth, sizeof out->proxy_auth, p.user, p.password);
        if (rc < 0)
            return rc;
    }
    format_dial(out->dial, sizeof out->dial, &p);
    out->via_proxy = !target->is_https;
    out->tunnels = target->is_https;
    return 0;
}

int pi_hop_find(struct pi_hop *out, const struct pi_target *target,
                const struct pier_http_client_opts *opts)
{
    out->via_proxy = out->tunnels = false;
    out->proxy_auth[0] = '\0';
    const char *proxy = opts->unix_path ? NULL : find_proxy(target, opts);
    if (proxy) {
        int rc = through(out, target, proxy);
        if (rc < 0)
            return rc;
    } else if (opts->unix_path) {
        snprintf(out->dial, sizeof out->dial, "unix://%s", opts->unix_path);
    } else {
        format_dial(out->dial, sizeof out->dial, target);
    }
    /* A proxy's connection serves every http:// server; all others are one server's. */
    snprintf(out->key, sizeof out->key, "%s %s %.*s", out->dial, target->is_https ? "tls" : "plain",
             out->via_proxy ? 0 : (int)target->authority.len, target->authority.at);
    return 0;
}
