/* SPDX-License-Identifier: MIT */
/*
 * http/cookie_jar.c - the cookies that servers gave a client (RFC 6265bis, 5). It is no browser:
 * nothing is asked for across sites, so SameSite means nothing.
 *
 * What a server may set is what its own name allows: never for a public suffix ("co.uk", by
 * libpsl), Secure only over https, "__Host-" and "__Secure-" as they promise. The list is in the
 * order in which cookies are sent: longer paths first, then older ones.
 */
#define _GNU_SOURCE
#include "http/client.h"

#include "base/sys.h"

#include <arpa/inet.h>
#include <libpsl.h>
#include <string.h>
#include <strings.h>

enum {
    COOKIES_MAX = 1000, /* RFC 6265bis, 6.1 */
    PER_DOMAIN_MAX = 60,
    PAIR_MAX = 4096,
    ATTRIBUTE_MAX = 1024,
    AGE_MAX_S = 400 * 86400, /* 5.5 */
};

struct cookie {
    struct cookie *next;
    char *name, *value, *domain, *path; /* of one block, behind this */
    int64_t expires_ns;                 /* UNIX time; INT64_MAX: with the jar */
    uint64_t used;                      /* the jar's count of uses, when it was sent last */
    bool host_only, secure;
};

struct pi_cookie_jar {
    struct cookie *list;
    int count;
    uint64_t uses;
};

struct pi_cookie_jar *pi_cookie_jar_new(void)
{
    return pi_zalloc(sizeof(struct pi_cookie_jar));
}

static void drop(struct pi_cookie_jar *jar, struct cookie **at)
{
    struct cookie *c = *at;
    *at = c->next;
    jar->count--;
    pi_free(c);
}

void pi_cookie_jar_free(struct pi_cookie_jar *jar)
{
    if (!jar)
        return;
    while (jar->list)
        drop(jar, &jar->list);
    pi_free(jar);
}

/* ---- matching ---- */

static bool is_address(const char *host)
{
    struct in6_addr addr;
    return inet_pton(AF_INET, host, &addr) == 1 || inet_pton(AF_INET6, host, &addr) == 1;
}

/* 5.1.3. */
static bool domain_matches(const char *host, const char *domain)
{
    size_t host_len = strlen(host), len = strlen(domain);
    if (host_len == len)
        return strcasecmp(host, domain) == 0;
    return host_len > len && host[host_len - len - 1] == '.' &&
           strcasecmp(host + host_len - len, domain) == 0 && !is_address(host);
}

/* 5.1.4. */
static bool path_matches(struct pi_part path, const char *prefix)
{
    size_t len = strlen(prefix);
    if (path.len < len || memcmp(path.at, prefix, len) != 0)
        return false;
    return path.len == len || prefix[len - 1] == '/' || path.at[len] == '/';
}

/* Without the query; "/" at least. */
static struct pi_part path_of(const struct pi_target *t)
{
    struct pi_part path = t->path;
    const char *query = memchr(path.at, '?', path.len);
    if (query)
        path.len = (size_t)(query - path.at);
    return path;
}

/* ---- dates ---- */

static bool is_delimiter(unsigned char c)
{
    return c == 0x09 || (c >= 0x20 && c <= 0x2f) || (c >= 0x3b && c <= 0x40) ||
           (c >= 0x5b && c <= 0x60) || (c >= 0x7b && c <= 0x7e);
}

/* Digits at the front of a token: how many, at most `most`, none following; 0: not so. */
static int leading(int *number, const char *token, size_t len, int least, int most)
{
    int digits = 0;
    *number = 0;
    while ((size_t)digits < len && token[digits] >= '0' && token[digits] <= '9' && digits <= most)
        *number = *number * 10 + (token[digits++] - '0');
    return digits >= least && digits <= most ? digits : 0;
}

struct cookie_date {
    int hour, minute, second, day, month, year;
    bool has_time, has_day, has_month, has_year;
};

static bool take_time(struct cookie_date *d, const char *token, size_t len)
{
    int *const into[] = { &d->hour, &d->minute, &d->second };
    size_t at = 0;
    for (int i = 0; i < 3; i++) {
        int digits = leading(into[i], token + at, len - at, 1, 2);
        at += (size_t)digits;
        if (digits == 0 || (i < 2 && (at >= len || token[at++] != ':')))
            return false;
    }
    return true;
}

static void take_token(struct cookie_date *d, const char *token, size_t len)
{
    static const char months[] = "janfebmaraprmayjunjulaugsepoctnovdec";
    if (!d->has_time && take_time(d, token, len)) {
        d->has_time = true;
    } else if (!d->has_day && leading(&d->day, token, len, 1, 2) > 0) {
        d->has_day = true;
    } else if (!d->has_year && leading(&d->year, token, len, 2, 4) > 0) {
        d->has_year = true;
    } else if (!d->has_month && len >= 3) {
        for (int i = 0; i < 12 && !d->has_month; i++) {
            d->month = i;
            d->has_month = strncasecmp(months + 3 * i, token, 3) == 0;
        }
    }
}

/* 5.1.1. 0 or -EINVAL. */
static int parse_date(int64_t *unix_ns, struct pi_part text)
{
    static const char names[] = "JanFebMarAprMayJunJulAugSepOctNovDec";
    struct cookie_date d = { .has_time = false };
    for (size_t i = 0; i < text.len;) {
        size_t begin = i;
        while (i < text.len && !is_delimiter((unsigned char)text.at[i]))
            i++;
        if (i > begin)
            take_token(&d, text.at + begin, i - begin);
        i++;
    }
    if (!d.has_time || !d.has_day || !d.has_month || !d.has_year)
        return -EINVAL;
    if (d.year < 100)
        d.year += d.year >= 70 ? 1900 : 2000;
    char http[64];
    int len = snprintf(http, sizeof http, "Sun, %02d %.3s %04d %02d:%02d:%02d GMT", d.day,
                       names + 3 * d.month, d.year, d.hour, d.minute, d.second);
    return d.year < 1601 ? -EINVAL : pier_date_parse_http(unix_ns, http, (size_t)len);
}

/* ---- Set-Cookie ---- */

/* What a field says; the parts are pieces of it. */
struct said {
    struct pi_part name, value, domain, path;
    int64_t expires_ns;
    bool has_age, secure;
};

static struct pi_part trim(struct pi_part p)
{
    while (p.len > 0 && (p.at[0] == ' ' || p.at[0] == '\t')) {
        p.at++;
        p.len--;
    }
    while (p.len > 0 && (p.at[p.len - 1] == ' ' || p.at[p.len - 1] == '\t'))
        p.len--;
    return p;
}

static struct pi_part cut(struct pi_part *rest, char separator)
{
    const char *at = rest->len > 0 ? memchr(rest->at, separator, rest->len) : NULL;
    struct pi_part first = { rest->at, at ? (size_t)(at - rest->at) : rest->len };
    size_t taken = first.len + (at != NULL);
    *rest = (struct pi_part){ rest->at + taken, rest->len - taken };
    return first;
}

static bool is_named(struct pi_part name, const char *wanted)
{
    return pi_same_nocase(name, (struct pi_part){ wanted, strlen(wanted) });
}

/* Seconds from now on, "-" for the past. */
static void take_age(struct said *s, struct pi_part value)
{
    bool negative = value.len > 0 && value.at[0] == '-';
    int64_t age = 0;
    for (size_t i = negative; i < value.len; i++) {
        if (value.at[i] < '0' || value.at[i] > '9')
            return;
        if (age < AGE_MAX_S)
            age = age * 10 + (value.at[i] - '0');
    }
    if (value.len == (size_t)negative)
        return;
    s->has_age = true;
    if (negative || age == 0)
        s->expires_ns = INT64_MIN;
    else
        s->expires_ns = pi_unix_ns() + (age < AGE_MAX_S ? age : AGE_MAX_S) * PIER_SECOND;
}

static void take_attribute(struct said *s, struct pi_part attribute)
{
    struct pi_part value = attribute;
    struct pi_part name = trim(cut(&value, '='));
    value = trim(value);
    int64_t at;
    if (value.len > ATTRIBUTE_MAX)
        return;
    if (is_named(name, "secure")) {
        s->secure = true;
    } else if (is_named(name, "max-age")) {
        take_age(s, value);
    } else if (is_named(name, "expires") && !s->has_age) {
        if (parse_date(&at, value) == 0) {
            int64_t most = pi_unix_ns() + AGE_MAX_S * PIER_SECOND;
            s->expires_ns = at < most ? at : most;
        }
    } else if (is_named(name, "domain") && value.len > 0) {
        bool dot = value.at[0] == '.';
        s->domain = (struct pi_part){ value.at + dot, value.len - dot };
    } else if (is_named(name, "path")) {
        s->path = value.len > 0 && value.at[0] == '/' ? value : (struct pi_part){ NULL, 0 };
    }
}

/* Whether there is a cookie in it at all. */
static bool parse(struct said *s, struct pi_part value)
{
    *s = (struct said){ .expires_ns = INT64_MAX };
    for (size_t i = 0; i < value.len; i++)
        if (((unsigned char)value.at[i] < ' ' && value.at[i] != '\t') || value.at[i] == 0x7f)
            return false;
    struct pi_part pair = cut(&value, ';');
    if (pair.len > 0 && memchr(pair.at, '=', pair.len))
        s->name = trim(cut(&pair, '='));
    s->value = trim(pair);
    if (s->name.len + s->value.len == 0 || s->name.len + s->value.len > PAIR_MAX)
        return false;
    while (value.len > 0)
        take_attribute(s, cut(&value, ';'));
    return true;
}

static bool begins(struct pi_part name, const char *prefix)
{
    size_t len = strlen(prefix);
    return name.len >= len && strncasecmp(name.at, prefix, len) == 0;
}

/* Whose it is: the domain to keep, or false when this server may not set it. */
static bool find_domain(char domain[PI_HOST_CAP], bool *host_only, const struct said *s,
                        const struct pi_target *from)
{
    *host_only = true;
    snprintf(domain, PI_HOST_CAP, "%s", from->host);
    if (s->domain.len == 0)
        return true;
    char wanted[PI_HOST_CAP];
    if (s->domain.len >= sizeof wanted)
        return false;
    for (size_t i = 0; i < s->domain.len; i++) {
        char c = s->domain.at[i];
        wanted[i] = (char)(c >= 'A' && c <= 'Z' ? c + 32 : c);
    }
    wanted[s->domain.len] = '\0';
    if (!domain_matches(from->host, wanted))
        return false;
    if (psl_is_public_suffix(psl_builtin(), wanted))
        return strcmp(wanted, from->host) == 0;
    *host_only = is_address(wanted);
    memcpy(domain, wanted, s->domain.len + 1);
    return true;
}

/* 5.7: what the name promises, and what http may not touch. */
static bool is_allowed(const struct pi_cookie_jar *jar, const struct said *s, const char *domain,
                       const struct pi_target *from, struct pi_part path)
{
    if (s->secure && !from->is_https)
        return false;
    if ((begins(s->name, "__Secure-") || begins(s->name, "__Host-")) && !s->secure)
        return false;
    if (begins(s->name, "__Host-") && (s->domain.len > 0 || path.len != 1))
        return false;
    if (s->name.len == 0 && (begins(s->value, "__Secure-") || begins(s->value, "__Host-")))
        return false;
    for (const struct cookie *c = jar->list; c && !from->is_https; c = c->next)
        if (c->secure && strlen(c->name) == s->name.len &&
            memcmp(c->name, s->name.at, s->name.len) == 0 &&
            (domain_matches(from->host, c->domain) || domain_matches(c->domain, domain)) &&
            path_matches(path, c->path))
            return false;
    return true;
}

static char *copy(char **room, struct pi_part text)
{
    char *at = *room;
    if (text.len > 0)
        memcpy(at, text.at, text.len);
    at[text.len] = '\0';
    *room += text.len + 1;
    return at;
}

static struct cookie *make(const struct said *s, struct pi_part domain, struct pi_part path)
{
    struct cookie *c =
        pi_zalloc(sizeof *c + s->name.len + s->value.len + domain.len + path.len + 4);
    if (!c)
        return NULL;
    char *room = (char *)(c + 1);
    c->name = copy(&room, s->name);
    c->value = copy(&room, s->value);
    c->domain = copy(&room, domain);
    c->path = copy(&room, path);
    c->expires_ns = s->expires_ns;
    c->secure = s->secure;
    return c;
}

static void drop_expired(struct pi_cookie_jar *jar)
{
    int64_t now = pi_unix_ns();
    for (struct cookie **at = &jar->list; *at;) {
        if ((*at)->expires_ns <= now)
            drop(jar, at);
        else
            at = &(*at)->next;
    }
}

/* The one that was sent longest ago goes: of the domain's, or of all (domain NULL). */
static void drop_one(struct pi_cookie_jar *jar, const char *domain, int most)
{
    struct cookie **victim = NULL;
    int count = 0;
    for (struct cookie **at = &jar->list; *at; at = &(*at)->next) {
        if (domain && strcmp((*at)->domain, domain) != 0)
            continue;
        count++;
        if (!victim || (*at)->used < (*victim)->used)
            victim = at;
    }
    if (victim && count > most)
        drop(jar, victim);
}

static bool is_same(const struct cookie *a, const struct cookie *b)
{
    return strcmp(a->name, b->name) == 0 && strcmp(a->domain, b->domain) == 0 &&
           strcmp(a->path, b->path) == 0 && a->host_only == b->host_only;
}

/* In place of the same one, or behind those with paths as long. */
static void insert(struct pi_cookie_jar *jar, struct cookie *c)
{
    struct cookie **at = &jar->list;
    while (*at && !is_same(*at, c))
        at = &(*at)->next;
    if (*at) {
        struct cookie *old = *at;
        c->next = old->next;
        *at = c;
        pi_free(old);
        return;
    }
    at = &jar->list;
    while (*at && strlen((*at)->path) >= strlen(c->path))
        at = &(*at)->next;
    c->next = *at;
    *at = c;
    jar->count++;
}

void pi_cookie_jar_set(struct pi_cookie_jar *jar, const struct pi_target *from,
                       struct pi_part value)
{
    struct said s;
    char domain[PI_HOST_CAP];
    bool host_only;
    if (!parse(&s, value) || !find_domain(domain, &host_only, &s, from))
        return;
    struct pi_part path = s.path;
    if (!path.at) { /* 5.1.4: the folder of the request's path */
        path = path_of(from);
        const char *slash = memrchr(path.at, '/', path.len);
        path.len = slash && slash > path.at ? (size_t)(slash - path.at) : 1;
    }
    if (!is_allowed(jar, &s, domain, from, path))
        return;
    struct cookie *c = make(&s, (struct pi_part){ domain, strlen(domain) }, path);
    if (!c)
        return;
    c->host_only = host_only;
    c->used = ++jar->uses;
    insert(jar, c);
    drop_expired(jar);
    drop_one(jar, domain, PER_DOMAIN_MAX);
    drop_one(jar, NULL, COOKIES_MAX);
}

/* ---- Cookie ---- */

size_t pi_cookie_jar_get(struct pi_cookie_jar *jar, const struct pi_target *to, char *out,
                         size_t cap)
{
    size_t used = 0;
    out[0] = '\0';
    if (!jar->list)
        return 0;
    drop_expired(jar);
    jar->uses++;
    for (struct cookie *c = jar->list; c; c = c->next) {
        bool is_theirs = c->host_only ? strcasecmp(c->domain, to->host) == 0
                                      : domain_matches(to->host, c->domain);
        if (!is_theirs || (c->secure && !to->is_https) || !path_matches(path_of(to), c->path))
            continue;
        const char *equals = *c->name ? "=" : "";
        int len = snprintf(out + used, cap - used, "%s%s%s%s", used > 0 ? "; " : "", c->name,
                           equals, c->value);
        if ((size_t)len >= cap - used) {
            out[used] = '\0';
            break;
        }
        used += (size_t)len;
        c->used = jar->uses;
    }
    return used;
}
