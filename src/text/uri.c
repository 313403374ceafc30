/* SPDX-License-Identifier: MIT */
/*
 * text/uri.c - URIs (RFC 3986): taken apart, put in one form, and references resolved against a
 * base, as links and redirects are. It knows no scheme but for the ports and the path of http and
 * https; endpoints to listen on or dial are net/url.c.
 *
 * A part that is not there has a NULL pointer; one that is there and empty has not. The path is
 * always there.
 */
#include "text/ascii.h"

#include "base/err.h"

#include <arpa/inet.h>

enum { SHOWN_CAP = 200 };

/* ---- taking apart ---- */

static int bad(struct pier_slice text, const char *reason)
{
    char shown[SHOWN_CAP];
    pier_escape(shown, sizeof shown, text.ptr, text.len);
    return pi_fail_text(PIER_EURL, "uri \"%s\": %s", shown, reason);
}

static int bad_char(struct pier_slice text, char c, const char *where)
{
    char reason[80], shown[8];
    pier_escape(shown, sizeof shown, &c, 1);
    snprintf(reason, sizeof reason, "\"%s\" cannot be in the %s", shown, where);
    return bad(text, reason);
}

static size_t length_until(struct pier_slice rest, const char *ends)
{
    size_t len = 0;
    while (len < rest.len && (rest.ptr[len] == '\0' || !strchr(ends, rest.ptr[len])))
        len++;
    return len;
}

static struct pier_slice take(struct pier_slice *rest, size_t len)
{
    struct pier_slice first = { rest->ptr, len };
    rest->ptr += len;
    rest->len -= len;
    return first;
}

/* What may stand in which parts, a bit each (RFC 3986, appendix A); a triplet may in all. */
enum { IN_HOST = 1, IN_USER = 2, IN_PATH = 4, IN_QUERY = 8, IN_LITERAL = IN_USER };

static const unsigned char classes[256] = {
    ['a' ... 'z'] = 15, ['A' ... 'Z'] = 15, ['0' ... '9'] = 15, ['-'] = 15, ['.'] = 15,  ['_'] = 15,
    ['~'] = 15,         ['!'] = 15,         ['$'] = 15,         ['&'] = 15, ['\''] = 15, ['('] = 15,
    [')'] = 15,         ['*'] = 15,         ['+'] = 15,         [','] = 15, [';'] = 15,  ['='] = 15,
    [':'] = 14,         ['@'] = 12,         ['/'] = 12,         ['?'] = 8,
};

static int check_chars(struct pier_slice text, struct pier_slice part, int in, const char *where)
{
    for (size_t i = 0; i < part.len; i++) {
        unsigned char c = (unsigned char)part.ptr[i];
        if (classes[c] & in)
            continue;
        if (c != '%')
            return bad_char(text, (char)c, where);
        if (part.len - i < 3 || pi_hex_value((unsigned char)part.ptr[i + 1]) < 0 ||
            pi_hex_value((unsigned char)part.ptr[i + 2]) < 0)
            return bad(text, "\"%\" without two hexadecimal digits");
        i += 2;
    }
    return 0;
}

static bool is_scheme(struct pier_slice s)
{
    if (s.len == 0 || !pi_is_alpha((unsigned char)s.ptr[0]))
        return false;
    for (size_t i = 1; i < s.len; i++) {
        unsigned char c = (unsigned char)s.ptr[i];
        if (!pi_is_alpha(c) && !pi_is_digit(c) && c != '+' && c != '-' && c != '.')
            return false;
    }
    return true;
}

/* An IPv6 address, with a zone behind "%25" (RFC 6874). Later versions (IPvFuture) do not exist. */
static bool is_ip_literal(struct pier_slice host)
{
    char text[INET6_ADDRSTRLEN];
    struct in6_addr binary;
    size_t len = length_until(host, "%");
    if (len == 0 || len >= sizeof text)
        return false;
    if (len < host.len && (host.len - len <= 3 || memcmp(host.ptr + len, "%25", 3) != 0))
        return false;
    memcpy(text, host.ptr, len);
    text[len] = '\0';
    return strlen(text) == len && inet_pton(AF_INET6, text, &binary) == 1;
}

/* The host and port of an authority, without what precedes an "@". */
static int split_host(struct pier_uri *out, struct pier_slice text, struct pier_slice rest)
{
    bool is_bracketed = rest.len > 0 && rest.ptr[0] == '[';
    size_t len = length_until(rest, is_bracketed ? "]" : ":");
    if (is_bracketed && len == rest.len)
        return bad(text, "\"[\" without a \"]\"");
    out->host = take(&rest, is_bracketed ? len + 1 : len);
    struct pier_slice inside = { out->host.ptr + 1, out->host.len - 2 };
    if (is_bracketed && !is_ip_literal(inside))
        return bad(text, "what is in brackets is not an IPv6 address");
    int rc = check_chars(text, is_bracketed ? inside : out->host,
                         is_bracketed ? IN_LITERAL : IN_HOST, "host");
    if (rc < 0 || rest.len == 0)
        return rc;
    if (rest.ptr[0] != ':')
        return bad_char(text, rest.ptr[0], "authority behind the \"]\"");
    take(&rest, 1);
    out->port = rest;
    for (size_t i = 0; i < rest.len; i++)
        if (!pi_is_digit((unsigned char)rest.ptr[i]))
            return bad_char(text, rest.ptr[i], "port");
    return pier_uri_port(out) < 0 && rest.len > 0 ? bad(text, "the port is above 65535") : 0;
}

static int split_authority(struct pier_uri *out, struct pier_slice text, struct pier_slice rest)
{
    const char *at = rest.len > 0 ? memchr(rest.ptr, '@', rest.len) : NULL;
    if (at) {
        out->userinfo = take(&rest, (size_t)(at - rest.ptr));
        take(&rest, 1);
        int rc = check_chars(text, out->userinfo, IN_USER, "user");
        if (rc < 0)
            return rc;
    }
    return split_host(out, text, rest);
}

/* What a "?" or "#" begins. */
static int split_tail(struct pier_uri *out, struct pier_slice text, struct pier_slice rest)
{
    int rc = 0;
    if (rest.len > 0 && rest.ptr[0] == '?') {
        take(&rest, 1);
        out->query = take(&rest, length_until(rest, "#"));
        rc = check_chars(text, out->query, IN_QUERY, "query");
    }
    if (rc < 0 || rest.len == 0)
        return rc;
    take(&rest, 1);
    out->fragment = rest;
    return check_chars(text, out->fragment, IN_QUERY, "fragment");
}

int pier_uri_parse(struct pier_uri *out, const char *bytes, size_t len)
{
    struct pier_slice text = { bytes ? bytes : "", bytes ? len : 0 }, rest = text;
    *out = (struct pier_uri){ .path = { text.ptr, 0 } };
    size_t first = length_until(rest, ":/?#");
    if (first < rest.len && rest.ptr[first] == ':') {
        out->scheme = take(&rest, first);
        take(&rest, 1);
        if (!is_scheme(out->scheme))
            return bad(text, "what is before the first \":\" is not a scheme");
    }
    int rc = 0;
    if (rest.len >= 2 && rest.ptr[0] == '/' && rest.ptr[1] == '/') {
        take(&rest, 2);
        rc = split_authority(out, text, take(&rest, length_until(rest, "/?#")));
    }
    if (rc == 0) {
        out->path = take(&rest, length_until(rest, "?#"));
        rc = check_chars(text, out->path, IN_PATH, "path");
    }
    return rc < 0 ? rc : split_tail(out, text, rest);
}

/* ---- ports ---- */

static int default_port(struct pier_slice scheme)
{
    if (pi_is_word(scheme.ptr, scheme.len, "http"))
        return 80;
    return pi_is_word(scheme.ptr, scheme.len, "https") ? 443 : -1;
}

int pier_uri_port(const struct pier_uri *u)
{
    enum { PORT_MAX = 65535 };
    if (u->port.len == 0)
        return u->scheme.ptr ? default_port(u->scheme) : -1;
    int port = 0;
    for (size_t i = 0; i < u->port.len && port <= PORT_MAX; i++)
        port = port * 10 + (u->port.ptr[i] - '0');
    return port <= PORT_MAX ? port : -1;
}

/* ---- putting together ---- */

/* RFC 3986, 5.2.4, in place: drops "." and, with what is before them, ".." segments. A path that
 * begins with "/" keeps that; another one does not climb above its beginning. */
static size_t remove_dots(char *path, size_t len)
{
    bool is_rooted = len > 0 && path[0] == '/';
    size_t to = 0;
    for (size_t from = 0; from < len;) {
        size_t slash = path[from] == '/'; /* segments after the first begin with one */
        size_t end = from + slash;
        while (end < len && path[end] != '/')
            end++;
        size_t name = end - from - slash;
        const char *at = path + from + slash;
        bool is_one = name == 1 && at[0] == '.';
        bool is_two = name == 2 && at[0] == '.' && at[1] == '.';
        if (is_two)
            while (to > 0 && path[--to] != '/')
                continue;
        if (!is_one && !is_two) {
            size_t skip = to == 0 && !is_rooted ? slash : 0; /* "a/../b" is "b" */
            memmove(path + to, path + from + skip, end - from - skip);
            to += end - from - skip;
        } else if (end == len && (to > 0 || is_rooted)) {
            path[to++] = '/'; /* "/a/." and "/a/b/.." name a folder */
        }
        from = end;
    }
    return to;
}

/* Triplets of unreserved characters become those, other triplets capitals (RFC 3986, 6.2.2). */
static void put_normal(struct pi_out *o, struct pier_slice part, bool lower)
{
    static const char digits[] = "0123456789ABCDEF";
    for (size_t i = 0; i < part.len; i++) {
        unsigned char c = (unsigned char)part.ptr[i];
        bool is_triplet = c == '%' && i + 2 < part.len;
        if (is_triplet) {
            c = (unsigned char)(pi_hex_value((unsigned char)part.ptr[i + 1]) << 4 |
                                pi_hex_value((unsigned char)part.ptr[i + 2]));
            i += 2;
        }
        if (is_triplet && !pi_is_unreserved(c)) {
            pi_out_char(o, '%');
            pi_out_char(o, digits[c >> 4]);
            pi_out_char(o, digits[c & 15]);
        } else {
            pi_out_char(o, lower ? pi_lower(c) : (char)c);
        }
    }
}

static void put_part(struct pi_out *o, const char *before, struct pier_slice part)
{
    if (!part.ptr)
        return;
    pi_out_bytes(o, before, strlen(before));
    put_normal(o, part, false);
}

static void put_authority(struct pi_out *o, const struct pier_uri *u)
{
    pi_out_bytes(o, "//", 2);
    if (u->userinfo.ptr) {
        put_normal(o, u->userinfo, false);
        pi_out_char(o, '@');
    }
    put_normal(o, u->host, true);
    bool is_default = !u->port.len ||
                      (u->scheme.ptr && pier_uri_port(u) == default_port(u->scheme));
    if (!is_default) {
        pi_out_char(o, ':');
        pi_out_bytes(o, u->port.ptr, u->port.len);
    }
}

/* Writes u, its path behind the folder of base's when that is given. Dots go from a URI and from a
 * path that begins with "/"; those of a relative reference mean something. */
static ssize_t put_uri(struct pi_out *o, const struct pier_uri *u, struct pier_slice folder)
{
    if (u->scheme.ptr) {
        for (size_t i = 0; i < u->scheme.len; i++)
            pi_out_char(o, pi_lower((unsigned char)u->scheme.ptr[i]));
        pi_out_char(o, ':');
    }
    if (u->host.ptr)
        put_authority(o, u);
    size_t begin = o->len;
    put_normal(o, folder, false);
    put_normal(o, u->path, false);
    if (o->len > o->cap)
        return pi_out_end(o);
    char *path = o->text + begin;
    size_t len = o->len - begin;
    bool is_rooted = len > 0 && path[0] == '/';
    if (is_rooted || u->scheme.ptr)
        o->len = begin + remove_dots(path, len);
    if (o->len == begin && u->host.ptr && u->scheme.ptr && default_port(u->scheme) > 0)
        pi_out_char(o, '/'); /* http: an empty path means that one */
    if (!u->host.ptr && o->len - begin >= 2 && path[0] == '/' && path[1] == '/') {
        struct pier_slice rest = { path, o->len - begin }; /* else it would read as a host */
        o->len = begin + 2;
        pi_out_bytes(o, rest.ptr, rest.len);
        if (o->len <= o->cap)
            memcpy(path, "/.", 2);
    }
    put_part(o, "?", u->query);
    put_part(o, "#", u->fragment);
    return pi_out_end(o);
}

ssize_t pier_uri_format(char *out, size_t cap, const struct pier_uri *u)
{
    struct pi_out o = { out, cap, 0 };
    return put_uri(&o, u, (struct pier_slice){ "", 0 });
}

/* RFC 3986, 5.2.2. */
ssize_t pier_uri_resolve(char *out, size_t cap, const struct pier_uri *base,
                         const struct pier_uri *ref)
{
    struct pi_out o = { out, cap, 0 };
    struct pier_slice folder = { "", 0 };
    struct pier_uri u = *ref;
    if (ref->scheme.ptr)
        return put_uri(&o, &u, folder);
    u.scheme = base->scheme;
    if (ref->host.ptr)
        return put_uri(&o, &u, folder);
    u.userinfo = base->userinfo;
    u.host = base->host;
    u.port = base->port;
    if (ref->path.len == 0) {
        u.path = base->path;
        if (!ref->query.ptr)
            u.query = base->query;
    } else if (ref->path.ptr[0] != '/') {
        folder = base->path;
        while (folder.len > 0 && folder.ptr[folder.len - 1] != '/')
            folder.len--;
        if (base->path.len == 0 && base->host.ptr)
            folder = (struct pier_slice){ "/", 1 };
    }
    return put_uri(&o, &u, folder);
}
