/* SPDX-License-Identifier: MIT */
/*
 * text/utf8.c - UTF-8 (RFC 3629, section 4): validity, characters cut at the end of a buffer,
 * printable runs.
 *
 * All of it rests on two facts: the first byte tells the length, and only the second byte's range
 * depends on the first one: that is where overlong forms, surrogates and what is above U+10FFFF are
 * kept out.
 */
#include "text/utf8.h"

#include <string.h>

/* ---- characters ---- */

/* The length that a first byte promises; 0 for a byte that begins no character. C0 and C1 would be
 * overlong. */
static inline size_t promised(unsigned char first)
{
    if (first < 0x80)
        return 1;
    if (first < 0xc2 || first > 0xf4)
        return 0;
    return first < 0xe0 ? 2 : first < 0xf0 ? 3 : 4;
}

static inline bool continues(unsigned char byte)
{
    return (byte & 0xc0) == 0x80;
}

static inline bool fits_second(unsigned char first, unsigned char second)
{
    unsigned low = first == 0xe0 ? 0xa0 : first == 0xf0 ? 0x90 : 0x80;
    unsigned high = first == 0xed ? 0x9f : first == 0xf4 ? 0x8f : 0xbf;
    return second >= low && second <= high;
}

/* The length of the well-formed character at p, 0 when there is none. len is at least 1. */
static inline size_t char_len(const unsigned char *p, size_t len)
{
    size_t want = promised(p[0]);
    if (want > len)
        return 0;
    if (want >= 2 && !fits_second(p[0], p[1]))
        return 0;
    if (want >= 3 && !continues(p[2]))
        return 0;
    if (want == 4 && !continues(p[3]))
        return 0;
    return want;
}

size_t pi_utf8_char(const unsigned char *bytes, size_t len, uint32_t *code)
{
    static const unsigned char first_bits[] = { 0, 0x7f, 0x1f, 0x0f, 0x07 };
    size_t want = len > 0 ? char_len(bytes, len) : 0;
    uint32_t c = want > 0 ? bytes[0] & first_bits[want] : 0;
    for (size_t i = 1; i < want; i++)
        c = c << 6 | (bytes[i] & 0x3f);
    *code = c;
    return want;
}

/* ---- whole texts ---- */

static inline uint64_t load8(const unsigned char *p)
{
    uint64_t word;
    memcpy(&word, p, sizeof word);
    return word;
}

/* How many bytes at p are ASCII: eight at a time, then one by one. */
static inline size_t ascii_len(const unsigned char *p, size_t len)
{
    size_t n = 0;
    while (len - n >= 8 && (load8(p + n) & 0x8080808080808080u) == 0)
        n += 8;
    while (n < len && p[n] < 0x80)
        n++;
    return n;
}

bool pier_utf8_valid(const void *bytes, size_t len)
{
    const unsigned char *p = bytes;
    size_t at = 0;
    while (at < len) {
        if (p[at] < 0x80) {
            at += ascii_len(p + at, len - at);
            continue;
        }
        size_t n = char_len(p + at, len - at);
        if (n == 0)
            return false;
        at += n;
    }
    return true;
}

/* Bytes that continue something lead back to the byte that began it, at most three places from the
 * end: behind four places nothing is incomplete. */
size_t pier_utf8_cut(const void *bytes, size_t len)
{
    const unsigned char *p = bytes;
    size_t back = 1;
    while (back <= len && back < 4 && continues(p[len - back]))
        back++;
    if (back > len || back == 4)
        return 0;

    const unsigned char *first = p + (len - back);
    if (promised(first[0]) <= back)
        return 0;
    return back == 1 || fits_second(first[0], first[1]) ? back : 0;
}

/* ---- printable runs ---- */

/* Beyond ASCII: no C1 controls (terminals obey them), no line and paragraph separators, no
 * bidirectional controls ("Trojan Source", CVE-2021-42574), no byte order mark, no noncharacters.
 * Joiners stay: emoji and scripts need them. */
static bool printable(uint32_t c)
{
    if (c < 0xa0)
        return false;
    if (c < 0x061c)
        return true;
    bool bidi = c == 0x061c || c == 0x200e || c == 0x200f || (c >= 0x202a && c <= 0x202e) ||
                (c >= 0x2066 && c <= 0x2069);
    bool separator = c == 0x2028 || c == 0x2029;
    bool nothing = c == 0xfeff || (c >= 0xfdd0 && c <= 0xfdef) || (c & 0xfffe) == 0xfffe;
    return !bidi && !separator && !nothing;
}

static inline bool plain_ascii(unsigned char byte)
{
    return byte >= 0x20 && byte < 0x7f && byte != '"' && byte != '\\';
}

size_t pi_utf8_plain(const unsigned char *bytes, size_t len)
{
    size_t at = 0;
    while (at < len) {
        if (plain_ascii(bytes[at])) {
            at++;
            continue;
        }
        uint32_t code;
        size_t n = bytes[at] < 0x80 ? 0 : pi_utf8_char(bytes + at, len - at, &code);
        if (n == 0 || !printable(code))
            break;
        at += n;
    }
    return at;
}
