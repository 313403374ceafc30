/* SPDX-License-Identifier: MIT */
/*
 * http/host_wire.c - "uri-host[:port]": a registered name or IPv4 address, or an IPv6 or future
 * address in brackets (RFC 3986, 3.2.2).
 *
 * A name may be whatever the grammar allows, so IPv4 addresses are names here; who connects to it
 * is stricter (net/url.c).
 */
#include "http/host_wire.h"

#include <string.h>

enum { PORT_MAX = 65535, PORT_DIGITS_MAX = 16, GROUPS = 8 };

/* ---- bytes ---- */

enum { NAME = 1, HEX = 2, FUTURE = 4 };

/* unreserved and sub-delims; hexadecimal digits; what a future address has besides. */
static const uint8_t classes[256] = {
    ['!'] = NAME,
    ['$'] = NAME,
    ['&' ... '.'] = NAME,
    ['0' ... '9'] = NAME | HEX,
    [':'] = FUTURE,
    [';'] = NAME,
    ['='] = NAME,
    ['A' ... 'F'] = NAME | HEX,
    ['G' ... 'Z'] = NAME,
    ['_'] = NAME,
    ['a' ... 'f'] = NAME | HEX,
    ['g' ... 'z'] = NAME,
    ['~'] = NAME,
};

static inline bool is(char c, int class)
{
    return classes[(unsigned char)c] & class;
}

static size_t span(struct pi_part p, int class)
{
    size_t n = 0;
    while (n < p.len && is(p.at[n], class))
        n++;
    return n;
}

/* ---- names ---- */

/* The length of the name at the beginning, with its percent-encoded bytes. */
static size_t name_span(struct pi_part text)
{
    size_t n = 0;
    for (;;) {
        n += span((struct pi_part){ text.at + n, text.len - n }, NAME);
        if (n + 3 > text.len || text.at[n] != '%' || !is(text.at[n + 1], HEX) ||
            !is(text.at[n + 2], HEX))
            return n;
        n += 3;
    }
}

/* ---- addresses in brackets ---- */

/* Four numbers up to 255 without leading zeros, and nothing else. */
static bool is_ipv4(struct pi_part p)
{
    int numbers = 0, value = 0, digits = 0;
    for (size_t i = 0; i <= p.len; i++) {
        if (i == p.len || p.at[i] == '.') {
            if (digits == 0 || ++numbers > 4)
                return false;
            value = digits = 0;
        } else {
            if (p.at[i] < '0' || p.at[i] > '9' || (digits > 0 && value == 0))
                return false;
            value = value * 10 + p.at[i] - '0';
            digits++;
            if (value > 255)
                return false;
        }
    }
    return numbers == 4;
}

/* Groups of up to four digits, one "::" for the missing ones, an IPv4 address as the last two. */
static bool is_ipv6(struct pi_part p)
{
    int groups = 0;
    bool gap = p.len >= 2 && p.at[0] == ':' && p.at[1] == ':';
    size_t i = gap ? 2 : 0;
    if (gap && i == p.len)
        return true;
    while (groups < GROUPS) {
        struct pi_part rest = { p.at + i, p.len - i };
        size_t digits = span(rest, HEX);
        if (digits > 0 && digits < rest.len && rest.at[digits] == '.')
            return is_ipv4(rest) && (gap ? groups + 2 < GROUPS : groups + 2 == GROUPS);
        if (digits == 0 || digits > 4)
            return false;
        groups++;
        i += digits;
        if (i == p.len)
            return gap ? groups < GROUPS : groups == GROUPS;
        if (p.at[i++] != ':')
            return false;
        if (i < p.len && p.at[i] == ':') {
            if (gap)
                return false;
            gap = true;
            if (++i == p.len)
                return groups < GROUPS;
        }
    }
    return false;
}

/* "v1.anything" (RFC 3986, 3.2.2). */
static bool is_future(struct pi_part p)
{
    if (p.len < 4 || (p.at[0] | 0x20) != 'v')
        return false;
    size_t digits = span((struct pi_part){ p.at + 1, p.len - 1 }, HEX);
    size_t dot = 1 + digits;
    if (digits == 0 || dot + 1 >= p.len || p.at[dot] != '.')
        return false;
    return span((struct pi_part){ p.at + dot + 1, p.len - dot - 1 }, NAME | FUTURE) ==
           p.len - dot - 1;
}

/* The length of "[address]" at the beginning; 0 when there is none. */
static size_t bracket_span(struct pi_part text)
{
    const char *end = memchr(text.at, ']', text.len);
    if (!end)
        return 0;
    struct pi_part inner = { text.at + 1, (size_t)(end - text.at) - 1 };
    return is_ipv6(inner) || is_future(inner) ? inner.len + 2 : 0;
}

/* ---- the whole ---- */

static bool parse_port(struct pi_host *out, struct pi_part digits)
{
    unsigned port = 0;
    if (digits.len > PORT_DIGITS_MAX)
        return false;
    for (size_t i = 0; i < digits.len; i++) {
        if (digits.at[i] < '0' || digits.at[i] > '9')
            return false;
        port = port * 10 + (unsigned)(digits.at[i] - '0');
        if (port > PORT_MAX)
            return false;
    }
    out->port = (uint16_t)port;
    out->has_port = digits.len > 0;
    return true;
}

bool pi_host_parse(struct pi_host *out, struct pi_part text)
{
    *out = (struct pi_host){ 0 };
    if (text.len == 0)
        return false;
    size_t len = text.at[0] == '[' ? bracket_span(text) : name_span(text);
    if (len == 0)
        return false;
    out->name = (struct pi_part){ text.at, len };
    if (len == text.len)
        return true;
    return text.at[len] == ':' &&
           parse_port(out, (struct pi_part){ text.at + len + 1, text.len - len - 1 });
}
