/* SPDX-License-Identifier: MIT */
/*
 * http/cookie.c - a server's cookies (RFC 6265bis, 4): those of the request, and what the response
 * sets and deletes.
 *
 * What is not said is the safe choice: for this host alone, out of reach of scripts, not along with
 * requests that other sites make, and over TLS alone where the request came so. What clients would
 * drop is refused here, with words.
 */
#define _GNU_SOURCE
#include "base/err.h"
#include "http/cookie_wire.h"
#include "http/exchange.h"
#include "text/ascii.h"

#include <pier/text.h>

#include <stdarg.h>
#include <string.h>
#include <strings.h>

enum {
    PAIR_MAX = 4096, /* what clients keep of name and value (RFC 6265bis, 5.6) */
    ATTRIBUTE_MAX = 1024,
    LINE_CAP = PAIR_MAX + 2 * ATTRIBUTE_MAX + 256,
    SHOWN_CAP = 64,
};

/* ---- of the request ---- */

static struct pi_part cookies_of(struct pier_exchange *ex)
{
    const char *text = pier_req_field(ex, "Cookie");
    return (struct pi_part){ text ? text : "", text ? strlen(text) : 0 };
}

const char *pier_req_cookie(struct pier_exchange *ex, const char *wanted)
{
    struct pi_part name, value;
    if (!ex || !wanted)
        return NULL;
    struct pi_part rest = cookies_of(ex);
    size_t len = strlen(wanted);
    while (pi_cookie_next(&rest, &name, &value))
        if (name.len == len && memcmp(name.at, wanted, len) == 0)
            return pi_arena_copy(&ex->arena, value.at, value.len);
    return NULL;
}

bool pier_req_cookie_at(struct pier_exchange *ex, int index, const char **name, const char **value)
{
    struct pi_part n, v;
    if (!ex || index < 0)
        return false;
    struct pi_part rest = cookies_of(ex);
    do {
        if (!pi_cookie_next(&rest, &n, &v))
            return false;
    } while (index-- > 0);
    const char *name_copy = pi_arena_copy(&ex->arena, n.at, n.len);
    const char *value_copy = pi_arena_copy(&ex->arena, v.at, v.len);
    if (!name_copy || !value_copy)
        return false;
    if (name)
        *name = name_copy;
    if (value)
        *value = value_copy;
    return true;
}

/* ---- of the response ---- */

static int refuse(const char *name, int code, const char *why)
{
    char shown[SHOWN_CAP];
    pier_escape(shown, sizeof shown, name, strlen(name));
    return pi_fail_text(code, "cookie %s: %s", shown, why);
}

static bool is_secure(const struct pier_exchange *ex, const struct pier_cookie_opts *o)
{
    return o->secure || (pier_req_is_secure(ex) && !o->insecure_over_http);
}

static const char *path_of(const struct pier_cookie_opts *o)
{
    return o->path ? o->path : "/";
}

static int check_text(const char *name, const char *value, const struct pier_cookie_opts *o)
{
    size_t name_len = strlen(name), value_len = strlen(value);
    const char *path = path_of(o);
    if (!pi_is_token(name, name_len))
        return refuse(name, -EINVAL, "the name is no token");
    if (!pi_is_cookie_value(value, value_len))
        return refuse(name, -EINVAL, "the value has bytes that it cannot have; encode them");
    if (name_len + value_len > PAIR_MAX)
        return refuse(name, -EMSGSIZE, "name and value have more than 4,096 bytes");
    if (!pi_is_cookie_path(path, strlen(path)) || strlen(path) > ATTRIBUTE_MAX)
        return refuse(name, -EINVAL, "the path is none");
    if (o->domain && !pi_is_cookie_domain(o->domain, strlen(o->domain)))
        return refuse(name, -EINVAL, "the domain is none");
    if (o->max_age_s < 0 || o->same_site < PIER_SAME_SITE_LAX || o->same_site > PIER_SAME_SITE_NONE)
        return refuse(name, -EINVAL, "an option is out of its range");
    return 0;
}

/* What clients would drop (RFC 6265bis, 5.7). */
static int check_promises(const char *name, const struct pier_cookie_opts *o, bool secure)
{
    enum pi_cookie_prefix prefix = pi_cookie_prefix(name, strlen(name));
    if (prefix != PI_COOKIE_PLAIN && !secure)
        return refuse(name, -EINVAL, "a name with that prefix needs Secure, and so TLS");
    if (prefix == PI_COOKIE_HOST && (o->domain || strcmp(path_of(o), "/") != 0))
        return refuse(name, -EINVAL, "\"__Host-\" goes with no domain, and with the path \"/\"");
    if (o->same_site == PIER_SAME_SITE_NONE && !secure)
        return refuse(name, -EINVAL, "SameSite=None needs Secure, and so TLS");
    return 0;
}

/* The line has room for all that check_text() lets pass. */
PIER_PRINTF(3, 4) static void add(char *line, size_t *len, const char *fmt, ...)
{
    va_list args;
    va_start(args, fmt);
    int n = vsnprintf(line + *len, LINE_CAP - *len, fmt, args);
    va_end(args);
    if (n > 0)
        *len += (size_t)n;
}

static void add_attributes(char *line, size_t len, const struct pier_cookie_opts *o, bool secure)
{
    static const char *const same_sites[] = { "Lax", "Strict", "None" };
    char date[32];
    if (o->max_age_s > 0)
        add(line, &len, "; Max-Age=%lld", (long long)o->max_age_s);
    if (o->expires_ns != 0) {
        pier_date_http(date, sizeof date, o->expires_ns);
        add(line, &len, "; Expires=%s", date);
    }
    if (o->domain)
        add(line, &len, "; Domain=%s", o->domain);
    add(line, &len, "; Path=%s; SameSite=%s", path_of(o), same_sites[o->same_site]);
    if (secure)
        add(line, &len, "; Secure");
    if (!o->insecure_to_scripts)
        add(line, &len, "; HttpOnly");
}

/* Whether a line sets the cookie that another one sets: the same name, domain and path. */
static bool is_same_cookie(const char *line, const char *other)
{
    const char *domain = strstr(line, "; Domain="), *path = strstr(line, "; Path=");
    const char *other_domain = strstr(other, "; Domain="), *other_path = strstr(other, "; Path=");
    size_t name_len = strcspn(line, "=") + 1, path_len = strcspn(path + 2, ";") + 3;
    if (strncmp(line, other, name_len) != 0 || strncmp(path, other_path, path_len) != 0)
        return false;
    if (!domain || !other_domain)
        return domain == other_domain;
    return strncasecmp(domain, other_domain, strcspn(domain + 2, ";") + 3) == 0;
}

/* One response sets a cookie once (RFC 6265bis, 4.1.1): the last one counts. Lines that a handler
 * made itself, without a path, stay. */
static void remove_same(struct pier_exchange *ex, const char *line)
{
    struct pi_res_field **at = &ex->fields;
    ex->last_field = NULL;
    while (*at) {
        struct pi_res_field *f = *at;
        bool is_cookie = pi_is_word(f->name.at, f->name.len, "Set-Cookie") &&
                         strstr(f->value.at, "; Path=");
        if (is_cookie && is_same_cookie(line, f->value.at)) {
            *at = f->next;
            ex->field_count--;
        } else {
            ex->last_field = f;
            at = &f->next;
        }
    }
}

static int set(struct pier_exchange *ex, const char *name, const char *value, const char *more,
               const struct pier_cookie_opts *opts)
{
    static const struct pier_cookie_opts none;
    const struct pier_cookie_opts *o = opts ? opts : &none;
    if (!ex || !name || !value)
        return pi_fail(-EINVAL, "http: set a cookie");
    bool secure = is_secure(ex, o);
    int rc = check_text(name, value, o);
    if (rc == 0)
        rc = check_promises(name, o, secure);
    if (rc < 0)
        return rc;
    char *line = pier_exchange_alloc(ex, LINE_CAP);
    if (!line)
        return pier_error_code();
    size_t len = 0;
    add(line, &len, "%s=%s%s", name, value, more);
    add_attributes(line, len, o, secure);
    if (!pier_res_has_begun(ex))
        remove_same(ex, line);
    return pier_res_add(ex, "Set-Cookie", line);
}

int pier_res_set_cookie(struct pier_exchange *ex, const char *name, const char *value,
                        const struct pier_cookie_opts *opts)
{
    return set(ex, name, value, "", opts);
}

int pier_res_delete_cookie(struct pier_exchange *ex, const char *name,
                           const struct pier_cookie_opts *opts)
{
    struct pier_cookie_opts o = { .path = NULL };
    if (opts)
        o = *opts;
    o.max_age_s = o.expires_ns = 0;
    return set(ex, name, "", "; Max-Age=0; Expires=Thu, 01 Jan 1970 00:00:00 GMT", &o);
}
