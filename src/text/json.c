/* SPDX-License-Identifier: MIT */
/*
 * text/json.c - a streaming JSON writer (RFC 8259): one pass, no tree, no allocation. It reads
 * nothing.
 *
 * The state is two bits a level: whether it is an object, and whether it has an item yet. Depth 0,
 * the stream of values itself, shares its bit of has_item with the deepest level; that works
 * because whenever the deepest level closes, every level around it has an item, depth 0 as well.
 *
 * Invariant: without an error, what was handed over and buf together are the beginning of a valid
 * text. The first error stands, and nothing is written after it.
 */
#include "text/utf8.h"

#include "base/assert.h"

#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { CAP_MIN = 64 };

_Static_assert(PIER_JSON_MAX_DEPTH == 64, "one bit of a uint64_t for each level");

/* ---- bytes ---- */

static void fail(struct pier_json *w, int code)
{
    if (w->error == 0)
        w->error = code;
}

static void flush(struct pier_json *w)
{
    int rc = w->sink ? w->sink(w->ctx, w->buf, w->len) : -ENOSPC;
    if (rc < 0)
        fail(w, rc);
    w->len = 0;
}

/* A full buffer is handed over only when more is to come, so that a text may fill it exactly. */
static void put(struct pier_json *w, const void *bytes, size_t len)
{
    const char *next = bytes;
    while (len > 0 && w->error == 0) {
        if (w->len == w->cap) {
            flush(w);
            continue;
        }
        size_t room = w->cap - w->len;
        size_t n = len < room ? len : room;
        memcpy(w->buf + w->len, next, n);
        w->len += n;
        next += n;
        len -= n;
    }
}

/* ---- structure ---- */

static uint64_t level_bit(int depth)
{
    return UINT64_C(1) << (depth & 63);
}

static bool in_object(const struct pier_json *w)
{
    return w->depth > 0 && (w->in_object & level_bit(w->depth)) != 0;
}

/* The comma before all items but the first. Between values at depth 0 there is none that could be
 * written. */
static void begin_item(struct pier_json *w)
{
    if ((w->has_item & level_bit(w->depth)) == 0) {
        w->has_item |= level_bit(w->depth);
        return;
    }
    if (w->depth > 0)
        put(w, ",", 1);
    else
        fail(w, -EINVAL);
}

static void begin_value(struct pier_json *w)
{
    if (!in_object(w))
        begin_item(w);
    else if (!w->after_key)
        fail(w, -EINVAL);
    w->after_key = false;
}

static void open_level(struct pier_json *w, bool object)
{
    begin_value(w);
    if (w->depth == PIER_JSON_MAX_DEPTH)
        fail(w, -EINVAL);
    if (w->error)
        return;
    put(w, object ? "{" : "[", 1);
    w->depth++;
    uint64_t bit = level_bit(w->depth);
    w->in_object = object ? w->in_object | bit : w->in_object & ~bit;
    w->has_item &= ~bit;
}

/* ---- strings and numbers ---- */

static void put_u16(struct pier_json *w, uint32_t unit)
{
    char text[8];
    int len = snprintf(text, sizeof text, "\\u%04x", unit & 0xffff);
    put(w, text, (size_t)len);
}

/* What has no letter of its own is \uXXXX, two of them (a surrogate pair) above U+FFFF. */
static void put_escaped(struct pier_json *w, uint32_t code)
{
    static const char named[] = "\"\"\\\\\bb\ff\nn\rr\tt";
    for (const char *p = named; *p; p += 2) {
        if ((unsigned char)p[0] == code) {
            put(w, (char[]){ '\\', p[1] }, 2);
            return;
        }
    }
    if (code > 0xffff) {
        put_u16(w, 0xd800 + ((code - 0x10000) >> 10));
        put_u16(w, 0xdc00 + (code & 0x3ff));
    } else {
        put_u16(w, code);
    }
}

/* Characters that could disturb a terminal are escaped too, though RFC 8259 does not ask for it:
 * logs are JSON. */
static void put_string(struct pier_json *w, const char *value, size_t len)
{
    static const char replacement[] = "\xef\xbf\xbd"; /* U+FFFD */
    const unsigned char *p = (const unsigned char *)value;
    size_t at = 0;
    put(w, "\"", 1);
    while (at < len && w->error == 0) {
        size_t plain = pi_utf8_plain(p + at, len - at);
        put(w, p + at, plain);
        at += plain;
        if (at == len)
            break;
        uint32_t code;
        size_t n = pi_utf8_char(p + at, len - at, &code);
        if (n > 0)
            put_escaped(w, code);
        else
            put(w, replacement, sizeof replacement - 1);
        at += n > 0 ? n : 1;
    }
    put(w, "\"", 1);
}

/* A finite number's magnitude: 0.d1d2d3... times ten to the power of point. */
enum { DIGITS_MAX = 17 };
struct decimal {
    char digits[DIGITS_MAX];
    int count, point;
};

/* The fewest digits that read back as the same value: all that are needed for up to 15, else 16 or
 * 17, which always do. printf and strtod agree on a decimal point, but it is the locale's: only
 * digits and exponent of the text are used. */
static struct decimal decimal_of(double magnitude)
{
    char printed[48];
    for (int digits = 15; digits <= DIGITS_MAX; digits++) {
        snprintf(printed, sizeof printed, "%.*e", digits - 1, magnitude);
        if (strtod(printed, NULL) == magnitude)
            break;
    }

    const char *e = strchr(printed, 'e');
    struct decimal d = { .point = atoi(e + 1) + 1 };
    for (const char *p = printed; p < e; p++)
        if (*p >= '0' && *p <= '9')
            d.digits[d.count++] = *p;
    while (d.count > 1 && d.digits[d.count - 1] == '0')
        d.count--;
    return d;
}

static void put_exponent_form(struct pier_json *w, const struct decimal *d)
{
    char tail[16];
    put(w, d->digits, 1);
    put(w, ".", d->count > 1);
    put(w, d->digits + 1, (size_t)(d->count - 1));
    put(w, tail, (size_t)snprintf(tail, sizeof tail, "e%d", d->point - 1));
}

/* As ECMAScript does it: an exponent only below 1e-6 and from 1e21 on. */
static void put_double(struct pier_json *w, double value)
{
    static const char zeros[] = "000000000000000000000";
    enum { POINT_MIN = -5, POINT_MAX = sizeof zeros - 1 };
    struct decimal d = decimal_of(fabs(value));
    put(w, "-", signbit(value) != 0);
    if (d.point < POINT_MIN || d.point > POINT_MAX) {
        put_exponent_form(w, &d);
    } else if (d.point <= 0) {
        put(w, "0.", 2);
        put(w, zeros, (size_t)-d.point);
        put(w, d.digits, (size_t)d.count);
    } else {
        int whole = d.point < d.count ? d.point : d.count;
        put(w, d.digits, (size_t)whole);
        put(w, zeros, (size_t)(d.point - whole));
        put(w, ".", d.count > whole);
        put(w, d.digits + whole, (size_t)(d.count - whole));
    }
}

/* ---- the interface ---- */

void pier_json_init(struct pier_json *w, char *buf, size_t cap, pier_json_sink sink, void *ctx)
{
    PIER_ASSERT(cap >= CAP_MIN);
    *w = (struct pier_json){ .sink = sink, .ctx = ctx, .buf = buf, .cap = cap };
}

void pier_json_object(struct pier_json *w)
{
    open_level(w, true);
}

void pier_json_array(struct pier_json *w)
{
    open_level(w, false);
}

void pier_json_close(struct pier_json *w)
{
    if (w->depth == 0 || w->after_key)
        fail(w, -EINVAL);
    if (w->error)
        return;
    put(w, in_object(w) ? "}" : "]", 1);
    w->depth--;
    w->has_item |= level_bit(w->depth);
}

void pier_json_key(struct pier_json *w, const char *key)
{
    if (!in_object(w) || w->after_key) {
        fail(w, -EINVAL);
        return;
    }
    begin_item(w);
    put_string(w, key, strlen(key));
    put(w, ":", 1);
    w->after_key = true;
}

void pier_json_str(struct pier_json *w, const char *value)
{
    if (value)
        pier_json_strn(w, value, strlen(value));
    else
        pier_json_null(w);
}

void pier_json_strn(struct pier_json *w, const char *value, size_t len)
{
    begin_value(w);
    put_string(w, value, len);
}

void pier_json_int(struct pier_json *w, int64_t value)
{
    char text[24];
    int len = snprintf(text, sizeof text, "%" PRId64, value);
    begin_value(w);
    put(w, text, (size_t)len);
}

void pier_json_double(struct pier_json *w, double value)
{
    begin_value(w);
    if (isfinite(value))
        put_double(w, value);
    else
        put(w, "null", 4);
}

void pier_json_bool(struct pier_json *w, bool value)
{
    begin_value(w);
    put(w, value ? "true" : "false", value ? 4 : 5);
}

void pier_json_null(struct pier_json *w)
{
    begin_value(w);
    put(w, "null", 4);
}

/* At depth 0 it is what separates values: after it the next may come. */
void pier_json_raw(struct pier_json *w, const char *bytes, size_t len)
{
    put(w, bytes, len);
    if (w->depth == 0 && len > 0)
        w->has_item &= ~level_bit(0);
}

ssize_t pier_json_end(struct pier_json *w)
{
    if (w->depth > 0)
        fail(w, -EINVAL);
    if (w->sink && w->len > 0 && w->error == 0)
        flush(w);
    ssize_t result = w->error ? w->error : w->sink ? 0 : (ssize_t)w->len;
    if (!w->sink && w->error == 0 && w->len < w->cap)
        w->buf[w->len] = '\0';
    pier_json_init(w, w->buf, w->cap, w->sink, w->ctx);
    return result;
}
