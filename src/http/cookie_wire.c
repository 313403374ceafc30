/* SPDX-License-Identifier: MIT */
/*
 * http/cookie_wire.c - reading the field Cookie, and what the parts of Set-Cookie may consist of
 * (RFC 6265bis, 4.1.1, 4.1.3 and 4.2.1).
 *
 * Reading is as tolerant as browsers are when they store; writing is strict, so that no value can
 * become an attribute or another field.
 */
#include "http/cookie_wire.h"

#include "text/ascii.h"

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

static struct pi_part unquote(struct pi_part p)
{
    if (p.len >= 2 && p.at[0] == '"' && p.at[p.len - 1] == '"')
        return (struct pi_part){ p.at + 1, p.len - 2 };
    return p;
}

/* What is before the next semicolon; rest is behind it then. */
static struct pi_part cut(struct pi_part *rest)
{
    const char *end = memchr(rest->at, ';', rest->len);
    size_t len = end ? (size_t)(end - rest->at) : rest->len;
    size_t taken = end ? len + 1 : len;
    struct pi_part piece = { rest->at, len };
    rest->at += taken;
    rest->len -= taken;
    return trim(piece);
}

bool pi_cookie_next(struct pi_part *rest, struct pi_part *name, struct pi_part *value)
{
    while (rest->len > 0) {
        struct pi_part piece = cut(rest);
        const char *equals = piece.len > 0 ? memchr(piece.at, '=', piece.len) : NULL;
        if (!equals)
            continue;
        size_t before = (size_t)(equals - piece.at);
        *name = trim((struct pi_part){ piece.at, before });
        *value = unquote(trim((struct pi_part){ equals + 1, piece.len - before - 1 }));
        if (name->len > 0)
            return true;
    }
    return false;
}

bool pi_is_cookie_value(const char *text, size_t len)
{
    for (size_t i = 0; i < len; i++)
        if (text[i] <= ' ' || text[i] > '~' || strchr("\",;\\", text[i]))
            return false;
    return true;
}

bool pi_is_cookie_path(const char *text, size_t len)
{
    for (size_t i = 0; i < len; i++)
        if (text[i] < ' ' || text[i] > '~' || text[i] == ';')
            return false;
    return len > 0 && text[0] == '/' && text[len - 1] != ' ';
}

bool pi_is_cookie_domain(const char *text, size_t len)
{
    for (size_t i = 0; i < len; i++) {
        unsigned char c = (unsigned char)text[i];
        bool is_inner = c == '.' && i > 0 && i + 1 < len && text[i - 1] != '.';
        if (!pi_is_alpha(c) && !pi_is_digit(c) && c != '-' && !is_inner)
            return false;
    }
    return len > 0 && len <= 253;
}

enum pi_cookie_prefix pi_cookie_prefix(const char *name, size_t len)
{
    if (len >= 7 && pi_is_word(name, 7, "__Host-"))
        return PI_COOKIE_HOST;
    if (len >= 9 && pi_is_word(name, 9, "__Secure-"))
        return PI_COOKIE_SECURE;
    return PI_COOKIE_PLAIN;
}
