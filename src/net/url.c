/* SPDX-License-Identifier: MIT */
/*
 * net/url.c - endpoint URLs; see url.h. They follow RFC 3986 as far as an endpoint goes: scheme,
 * host and port, and no user, path or query. Zones are written as people write them,
 * "[fe80::1%eth0]".
 *
 * Strict on purpose: what inet_aton(3) would take for an address ("127.1", "0x7f.1") is refused, so
 * that what a URL names is what a reader sees. Whatever is quoted in a failure's words is escaped.
 */
#include "net/url.h"

#include "base/err.h"
#include "net/resolve.h"
#include "text/utf8.h"

#include <arpa/inet.h>
#include <string.h>
#include <strings.h>

enum {
    PORT_MAX = 65535,
    NAME_MAX_LEN = 253, /* RFC 1035, 2.3.4, and its labels */
    LABEL_MAX_LEN = 63,
    ZONE_MAX_LEN = 15,   /* IFNAMSIZ, with its NUL */
    SHOWN_URL_CAP = 200, /* of a failure's 512 bytes */
    SHOWN_PART_CAP = 80,
};

static const struct scheme {
    const char *name;
    int default_port; /* -1: none, it has to be given */
} schemes[] = {
    [PI_TCP] = { "tcp", -1 }, [PI_UNIX] = { "unix", -1 }, [PI_TLS] = { "tls", -1 },
    [PI_UDP] = { "udp", -1 }, [PI_HTTP] = { "http", 80 }, [PI_HTTPS] = { "https", 443 },
};

enum { SCHEMES = sizeof schemes / sizeof schemes[0] };

/* A piece of the URL's text. */
struct part {
    const char *at;
    size_t len;
};

/* The whole text, which every failure quotes, and what is still to be understood. */
struct input {
    const char *text;
    const char *rest;
    bool dialling;
};

/* ---- failures ---- */

static int bad(const struct input *in, const char *reason)
{
    char url[SHOWN_URL_CAP];
    pier_escape(url, sizeof url, in->text, strlen(in->text));
    return pi_fail_text(PIER_EURL, "url \"%s\": %s", url, reason);
}

/* The reason with the part that it is about: before "part" after. */
static int bad_part(const struct input *in, const char *before, struct part p, const char *after)
{
    char shown[SHOWN_PART_CAP], reason[SHOWN_URL_CAP];
    pier_escape(shown, sizeof shown, p.at, p.len);
    snprintf(reason, sizeof reason, "%s\"%s\"%s", before, shown, after);
    return bad(in, reason);
}

/* The character at text, or the byte when that is none. */
static struct part first_char(const char *text)
{
    uint32_t code;
    size_t len = pi_utf8_char((const unsigned char *)text, strlen(text), &code);
    return (struct part){ text, len > 0 ? len : 1 };
}

/* ---- the scheme ---- */

const char *pi_scheme_name(enum pi_scheme scheme)
{
    return schemes[scheme].name;
}

static int find_scheme(struct part name)
{
    for (int i = 0; i < SCHEMES; i++)
        if (strlen(schemes[i].name) == name.len &&
            strncasecmp(schemes[i].name, name.at, name.len) == 0)
            return i;
    return -1;
}

static int parse_scheme(struct pi_url *out, struct input *in)
{
    const char *mark = strstr(in->text, "://");
    size_t letters = strspn(in->text,
                            "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789+-.");
    struct part name = { in->text, letters };
    int found = find_scheme(name);
    if (!mark || mark != in->text + letters)
        return bad(in, found >= 0 ? "no \"://\" after the scheme"
                                  : "no scheme such as \"tcp://\" at the beginning");
    if (letters == 0)
        return bad(in, "no scheme before \"://\"");
    if (found < 0)
        return bad_part(in, "unknown scheme ", name,
                        " (there are tcp, unix, tls, udp, http, https)");
    out->scheme = (enum pi_scheme)found;
    in->rest = mark + 3;
    return 0;
}

/* ---- unix ---- */

/* The rest is the name, byte for byte: nothing in it is percent-encoded. A path keeps room for its
 * NUL, and an abstract name's NUL stands where "@" stood. */
static int parse_path(struct pi_url *out, struct input *in)
{
    struct part path = { in->rest, strlen(in->rest) };
    bool is_abstract = path.len > 0 && path.at[0] == '@';
    if (path.len == 0)
        return bad(in, "the path is empty");
    if (is_abstract && path.len == 1)
        return bad(in, "the name after \"@\" is empty");
    if (!is_abstract && path.at[0] != '/')
        return bad_part(in, "the path ", path,
                        " does not begin with \"/\" (or \"@\", for an abstract name)");
    size_t most = is_abstract ? PI_PATH_CAP : PI_PATH_CAP - 1;
    if (path.len > most) {
        char reason[80];
        snprintf(reason, sizeof reason, "the path has %zu bytes, %zu are the most", path.len, most);
        return bad(in, reason);
    }
    memcpy(out->path, path.at, path.len);
    if (is_abstract)
        out->path[0] = '\0';
    out->path_len = path.len;
    return 0;
}

/* ---- the host ---- */

static void keep_host(struct pi_url *out, struct part host)
{
    memcpy(out->host, host.at, host.len);
    out->host[host.len] = '\0';
}

bool pi_host_ends_in_number(const char *name, size_t len)
{
    size_t end = len;
    while (end > 0 && name[end - 1] == '.')
        end--;
    size_t begin = end;
    while (begin > 0 && name[begin - 1] != '.')
        begin--;
    const char *label = name + begin;
    len = end - begin;
    if (len > 1 && label[0] == '0' && (label[1] == 'x' || label[1] == 'X'))
        return strspn(label + 2, "0123456789abcdefABCDEF") >= len - 2;
    return len > 0 && strspn(label, "0123456789") >= len;
}

static int check_labels(const struct input *in, struct part name)
{
    size_t label = 0;
    for (size_t i = 0; i < name.len; i++) {
        bool dot = name.at[i] == '.';
        if (dot && label == 0)
            return bad_part(in, "an empty label in the host ", name, "");
        label = dot ? 0 : label + 1;
        if (label > LABEL_MAX_LEN)
            return bad_part(in, "a label of more than 63 bytes in the host ", name, "");
    }
    size_t len = label == 0 ? name.len - 1 : name.len;
    if (len > NAME_MAX_LEN)
        return bad_part(in, "the host ", name, " is longer than 253 bytes");
    return 0;
}

/* A name beyond ASCII becomes its xn-- form, in room; any other stays what it is. */
static int to_ascii(struct part *host, char room[PI_HOST_CAP], const struct input *in)
{
    char name[4 * PI_HOST_CAP];
    const char *why = NULL;
    bool is_ascii = true;
    for (size_t i = 0; i < host->len; i++)
        is_ascii = is_ascii && (unsigned char)host->at[i] < 0x80;
    if (is_ascii || !pier_utf8_valid(host->at, host->len))
        return 0;
    snprintf(name, sizeof name, "%.*s", (int)host->len, host->at);
    int rc = host->len < sizeof name ? pi_idn_to_ascii(room, PI_HOST_CAP, name, &why) : PIER_EURL;
    if (rc == -ENOMEM)
        return pi_fail(rc, "url \"%s\"", in->text);
    if (rc < 0) {
        char after[SHOWN_PART_CAP];
        snprintf(after, sizeof after, ": %s", why ? why : "longer than 253 bytes");
        return bad_part(in, "the host ", *host, after);
    }
    *host = (struct part){ room, strlen(room) };
    return 0;
}

static int parse_name(struct pi_url *out, struct input *in, struct part host)
{
    static const char allowed[] =
        "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-._";
    char room[PI_HOST_CAP];
    int rc = to_ascii(&host, room, in);
    if (rc < 0)
        return rc;
    size_t fine = strspn(host.at, allowed);
    if (fine < host.len)
        return bad_part(in, "", first_char(host.at + fine), " cannot be in a host");
    rc = check_labels(in, host);
    if (rc < 0)
        return rc;
    keep_host(out, host);
    struct in_addr addr;
    out->is_literal = inet_pton(AF_INET, out->host, &addr) == 1;
    if (!out->is_literal && pi_host_ends_in_number(host.at, host.len))
        return bad_part(in, "", host, " is not an IPv4 address");
    return 0;
}

static int check_zone(const struct input *in, struct part zone)
{
    if (zone.len == 0)
        return bad(in, "the zone after \"%\" is empty");
    if (zone.len > ZONE_MAX_LEN)
        return bad_part(in, "the zone ", zone, " is longer than 15 bytes");
    for (size_t i = 0; i < zone.len; i++)
        if (zone.at[i] <= ' ' || zone.at[i] > '~' || strchr("/%[\"\\", zone.at[i]))
            return bad_part(in, "", first_char(zone.at + i), " cannot be in a zone");
    return 0;
}

/* in->rest is behind the opening bracket, and comes to stand behind the closing one. */
static int parse_bracketed(struct pi_url *out, struct input *in)
{
    struct part host = { in->rest, strcspn(in->rest, "]") };
    if (host.at[host.len] != ']')
        return bad(in, "\"[\" without a \"]\"");
    const char *percent = memchr(host.at, '%', host.len);
    struct part addr = { host.at, percent ? (size_t)(percent - host.at) : host.len };
    char text[INET6_ADDRSTRLEN];
    struct in6_addr binary;
    snprintf(text, sizeof text, "%.*s", (int)(addr.len < sizeof text ? addr.len : sizeof text),
             addr.at);
    if (addr.len >= sizeof text || inet_pton(AF_INET6, text, &binary) != 1)
        return bad_part(in, "", addr, " is not an IPv6 address");
    if (percent) {
        int rc = check_zone(in, (struct part){ percent + 1, host.len - addr.len - 1 });
        if (rc < 0)
            return rc;
    }
    keep_host(out, host);
    out->is_literal = true;
    in->rest += host.len + 1;
    return 0;
}

static int parse_host(struct pi_url *out, struct input *in)
{
    if (in->rest[0] == '[') {
        in->rest++;
        return parse_bracketed(out, in);
    }
    struct part host = { in->rest, strcspn(in->rest, ":/?#") };
    in->rest += host.len;
    struct part port = { in->rest, strcspn(in->rest, "/?#") };
    if (port.len > 0 && memchr(port.at + 1, ':', port.len - 1)) {
        struct part both = { host.at, host.len + port.len };
        return bad_part(in, "more than one \":\" in ", both,
                        "; an IPv6 address stands in brackets");
    }
    return host.len > 0 ? parse_name(out, in, host) : 0;
}

/* ---- the port ---- */

static int parse_number(struct pi_url *out, struct input *in, struct part digits)
{
    int port = 0;
    for (size_t i = 0; i < digits.len && port <= PORT_MAX; i++)
        port = port * 10 + (digits.at[i] - '0');
    if (port > PORT_MAX) {
        enum { SHOWN = 20 };
        char reason[SHOWN_PART_CAP];
        snprintf(reason, sizeof reason, "port %.*s%s is above 65535",
                 (int)(digits.len < SHOWN ? digits.len : SHOWN), digits.at,
                 digits.len > SHOWN ? "..." : "");
        return bad(in, reason);
    }
    if (port == 0 && in->dialling)
        return bad(in, "port 0 cannot be dialled");
    out->port = port;
    return 0;
}

static int parse_port(struct pi_url *out, struct input *in)
{
    struct part after_host = { in->rest, strlen(in->rest) };
    if (after_host.len == 0) {
        out->port = schemes[out->scheme].default_port;
        return out->port >= 0 ? 0 : bad(in, "no port at the end (\":8888\")");
    }
    if (after_host.at[0] != ':')
        return bad_part(in, "", after_host, " after the host");
    if (after_host.len == 1)
        return bad(in, "no port after the \":\"");

    struct part port = { after_host.at + 1, after_host.len - 1 };
    size_t digits = strspn(port.at, "0123456789");
    if (digits == 0)
        return bad_part(in, "the port ", port, " is not a number");
    if (digits < port.len)
        return bad_part(in, "", (struct part){ port.at + digits, port.len - digits },
                        " after the port");
    return parse_number(out, in, port);
}

/* ---- the whole ---- */

/* What comes before the "@" may be a password, so the words leave it out. */
static int refuse_user(const struct pi_url *url, const char *host)
{
    char shown[SHOWN_URL_CAP];
    pier_escape(shown, sizeof shown, host, strlen(host));
    return pi_fail_text(PIER_EURL, "url \"%s://...@%s\": a user before the host is not allowed",
                        schemes[url->scheme].name, shown);
}

static int parse_authority(struct pi_url *out, struct input *in)
{
    const char *at = strrchr(in->rest, '@');
    if (at)
        return refuse_user(out, at + 1);
    if (in->rest[0] == '\0')
        return bad(in, "nothing after \"://\"");
    int rc = parse_host(out, in);
    return rc < 0 ? rc : parse_port(out, in);
}

int pi_url_parse(struct pi_url *out, const char *text, int dialling)
{
    *out = (struct pi_url){ 0 };
    if (!text)
        return pi_fail_text(PIER_EURL, "url: none given");
    struct input in = { .text = text, .rest = text, .dialling = dialling != 0 };
    int rc = parse_scheme(out, &in);
    if (rc < 0)
        return rc;
    return out->scheme == PI_UNIX ? parse_path(out, &in) : parse_authority(out, &in);
}

static void format_path(char *out, size_t cap, const struct pi_url *url)
{
    char path[PI_PATH_CAP + 1];
    memcpy(path, url->path, url->path_len);
    path[url->path_len] = '\0';
    for (size_t i = 0; i < url->path_len; i++)
        if (path[i] == '\0')
            path[i] = '@'; /* as ss(8) shows them */
    snprintf(out, cap, "unix://%s", path);
}

void pi_url_format(char *out, size_t cap, const struct pi_url *url)
{
    if (url->scheme == PI_UNIX) {
        format_path(out, cap, url);
        return;
    }
    bool is_ipv6 = strchr(url->host, ':') != NULL;
    snprintf(out, cap, "%s://%s%s%s:%d", schemes[url->scheme].name, is_ipv6 ? "[" : "", url->host,
             is_ipv6 ? "]" : "", url->port);
}
