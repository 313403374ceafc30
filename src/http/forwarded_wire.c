/* SPDX-License-Identifier: MIT */
/*
 * http/forwarded_wire.c - reading what proxies say of a request: Forwarded (RFC 7239, 4),
 * X-Forwarded-For, traceparent (W3C Trace Context, 3.2).
 *
 * Strict: what is not understood is not there, since somebody will be believed because of it.
 */
#include "http/forwarded_wire.h"

#include "text/ascii.h"

static struct pi_part none(void)
{
    return (struct pi_part){ NULL, 0 };
}

static struct pi_part skip_space(struct pi_part p)
{
    while (p.len > 0 && (*p.at == ' ' || *p.at == '\t')) {
        p.at++;
        p.len--;
    }
    return p;
}

static struct pi_part behind(struct pi_part p, size_t taken)
{
    return (struct pi_part){ p.at + taken, p.len - taken };
}

/* ---- Forwarded ---- */

/* A token or a quoted string off rest. False: neither is there. */
static bool take_value(struct pi_part *value, struct pi_part *rest)
{
    if (rest->len == 0 || rest->at[0] != '"') {
        *value = (struct pi_part){ rest->at, pi_token_span(rest->at, rest->len) };
        *rest = behind(*rest, value->len);
        return value->len > 0;
    }
    bool has_escape = false;
    size_t at = 1;
    for (; at < rest->len && rest->at[at] != '"'; at++) {
        has_escape |= rest->at[at] == '\\';
        at += rest->at[at] == '\\';
    }
    if (at >= rest->len)
        return false;
    *value = has_escape ? none() : (struct pi_part){ rest->at + 1, at - 1 };
    *rest = behind(*rest, at + 1);
    return true;
}

/* Where the value of a parameter goes; NULL: nowhere. */
static struct pi_part *place_of(struct pi_forwarded *out, struct pi_part name)
{
    return pi_is_word(name.at, name.len, "for")     ? &out->by_for
           : pi_is_word(name.at, name.len, "proto") ? &out->proto
           : pi_is_word(name.at, name.len, "host")  ? &out->host
                                                    : NULL;
}

bool pi_forwarded_read(struct pi_forwarded *out, struct pi_part rest)
{
    *out = (struct pi_forwarded){ .by_for = none() };
    for (;;) {
        struct pi_part value;
        rest = skip_space(rest);
        struct pi_part name = { rest.at, pi_token_span(rest.at, rest.len) };
        rest = behind(rest, name.len);
        if (name.len == 0 || rest.len == 0 || rest.at[0] != '=')
            return false;
        rest = behind(rest, 1);
        if (!take_value(&value, &rest))
            return false;
        struct pi_part *place = place_of(out, name);
        if (place && place->at)
            return false; /* said twice */
        if (place)
            *place = value;
        rest = skip_space(rest);
        if (rest.len == 0)
            return true;
        if (rest.at[0] != ';')
            return false;
        rest = behind(rest, 1);
    }
}

/* ---- addresses ---- */

static bool is_port(struct pi_part p)
{
    for (size_t i = 0; i < p.len; i++)
        if (!pi_is_digit((unsigned char)p.at[i]))
            return false;
    return p.len > 0 && p.len <= 5;
}

struct pi_part pi_forwarded_address(struct pi_part node)
{
    if (node.len == 0 || node.len > 64)
        return none();
    if (node.at[0] == '[') {
        const char *end = memchr(node.at, ']', node.len);
        size_t len = end ? (size_t)(end - node.at) : 0;
        struct pi_part left = end ? behind(node, len + 1) : none();
        bool is_whole = end && (left.len == 0 || (left.at[0] == ':' && is_port(behind(left, 1))));
        return is_whole ? (struct pi_part){ node.at + 1, len - 1 } : none();
    }
    const char *colon = memchr(node.at, ':', node.len);
    size_t len = colon ? (size_t)(colon - node.at) : node.len;
    if (!colon || memchr(colon + 1, ':', node.len - len - 1))
        return node; /* IPv4, or IPv6 without brackets */
    return is_port(behind(node, len + 1)) ? (struct pi_part){ node.at, len } : none();
}

/* ---- ids ---- */

/* len digits, lower case, not all of them 0. */
static bool is_hex_id(const char *text, size_t len)
{
    bool is_zero = true;
    for (size_t i = 0; i < len; i++) {
        if (!pi_is_digit((unsigned char)text[i]) && (text[i] < 'a' || text[i] > 'f'))
            return false;
        is_zero &= text[i] == '0';
    }
    return !is_zero;
}

static int hex_byte(const char *text)
{
    int high = pi_hex_value((unsigned char)text[0]), low = pi_hex_value((unsigned char)text[1]);
    bool is_lower = !(text[0] >= 'A' && text[0] <= 'F') && !(text[1] >= 'A' && text[1] <= 'F');
    return high < 0 || low < 0 || !is_lower ? -1 : high * 16 + low;
}

bool pi_traceparent_read(struct pi_part *trace_id, unsigned *flags, struct pi_part v)
{
    enum { TRACE_AT = 3, SPAN_AT = 36, FLAGS_AT = 53 };
    if (v.len < PI_TRACEPARENT_LEN)
        return false;
    int version = hex_byte(v.at), f = hex_byte(v.at + FLAGS_AT);
    bool is_short = v.len == PI_TRACEPARENT_LEN;
    if (version < 0 || version == 0xff || f < 0 || (version == 0 && !is_short) ||
        (!is_short && v.at[PI_TRACEPARENT_LEN] != '-'))
        return false;
    if (v.at[TRACE_AT - 1] != '-' || v.at[SPAN_AT - 1] != '-' || v.at[FLAGS_AT - 1] != '-' ||
        !is_hex_id(v.at + TRACE_AT, PI_TRACE_ID_LEN) || !is_hex_id(v.at + SPAN_AT, PI_SPAN_ID_LEN))
        return false;
    *trace_id = (struct pi_part){ v.at + TRACE_AT, PI_TRACE_ID_LEN };
    *flags = (unsigned)f;
    return true;
}

bool pi_is_request_id(const char *text, size_t len)
{
    for (size_t i = 0; i < len; i++) {
        unsigned char c = (unsigned char)text[i];
        if (!pi_is_unreserved(c) && (c == '\0' || !strchr("+/=:@", c)))
            return false;
    }
    return len > 0 && len <= 128;
}
