/* SPDX-License-Identifier: MIT */
/*
 * text/utf8.c - UTF-8 (RFC 3629, section 4): validity, characters cut at the end of a buffer,
 * printable runs. How many there are and how wide they show is in width.c.
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

#define HIGH_BITS 0x8080808080808080u

static inline uint64_t load8(const unsigned char *p)
{
    uint64_t word;
    memcpy(&word, p, sizeof word);
    return word;
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

/* The states of a reader of one byte after the other, each the place of its six bits in a row:
 * what is still to come before a character is whole. After E0, ED, F0 and F4 the next byte's range
 * is narrower. Only BAD leads to itself alone. */
enum { BAD = 0, WHOLE = 6, ONE = 12, TWO = 18, THREE = 24, E0 = 30, ED = 36, F0 = 42, F4 = 48 };

#define TO(from, next) ((uint64_t)(next) << (from))
#define CONTINUES (TO(ONE, WHOLE) | TO(TWO, ONE) | TO(THREE, TWO))

/* A row for each byte: the next state of every state; nothing said is BAD. */
static const uint64_t rows[256] = {
    [0x00 ... 0x7f] = TO(WHOLE, WHOLE),
    [0x80 ... 0x8f] = CONTINUES | TO(ED, ONE) | TO(F4, TWO),
    [0x90 ... 0x9f] = CONTINUES | TO(ED, ONE) | TO(F0, TWO),
    [0xa0 ... 0xbf] = CONTINUES | TO(E0, ONE) | TO(F0, TWO),
    [0xc2 ... 0xdf] = TO(WHOLE, ONE),
    [0xe0] = TO(WHOLE, E0),
    [0xe1 ... 0xec] = TO(WHOLE, TWO),
    [0xed] = TO(WHOLE, ED),
    [0xee ... 0xef] = TO(WHOLE, TWO),
    [0xf0] = TO(WHOLE, F0),
    [0xf1 ... 0xf3] = TO(WHOLE, THREE),
    [0xf4] = TO(WHOLE, F4),
};

/* One load, which waits for no other, and one shift a byte: the time does not depend on the text,
 * as that of branches on lengths does. (Per Vognsen, "Shift-based DFAs".) */
static inline uint64_t step(uint64_t state, unsigned char byte)
{
    return rows[byte] >> (state & 63);
}

static inline uint64_t advance(uint64_t state, const unsigned char *p, size_t len)
{
    for (size_t i = 0; i < len; i++)
        state = step(state, p[i]);
    return state & 63;
}

enum { BLOCK = 32, HALF = 512 };

static inline bool are_ascii(const unsigned char *a, const unsigned char *b)
{
    uint64_t all = load8(a) | load8(a + 8) | load8(a + 16) | load8(a + 24);
    all |= load8(b) | load8(b + 8) | load8(b + 16) | load8(b + 24);
    return (all & HIGH_BITS) == 0;
}

/* Of whole blocks at the beginning. */
static size_t ascii_len(const unsigned char *p, size_t len)
{
    size_t at = 0;
    while (len - at >= 2 * BLOCK && are_ascii(p + at, p + at + BLOCK))
        at += 2 * BLOCK;
    return at;
}

/* Two readers, each over HALF bytes: neither waits for the other's shifts, 380 ns a KiB in place of
 * 480. All of a block of ASCII does what its first byte does. */
static inline void advance_both(uint64_t state[2], const unsigned char *first,
                                const unsigned char *second)
{
    uint64_t a = state[0], b = state[1];
    for (size_t at = 0; at < HALF; at += BLOCK) {
        if (are_ascii(first + at, second + at)) {
            a = step(a, first[at]);
            b = step(b, second[at]);
            continue;
        }
#pragma GCC unroll 8
        for (size_t i = at; i < at + BLOCK; i++) {
            a = step(a, first[i]);
            b = step(b, second[i]);
        }
    }
    state[0] = a & 63;
    state[1] = b & 63;
}

/* Passes over runs of ASCII and pairs of halves as long as they are well-formed; returns how many
 * bytes that were, and the state behind them. What state the second half begins in, the bytes
 * before it tell, if they are well-formed: the first reader has to come to the same. */
static size_t valid_pairs(const unsigned char *p, size_t len, uint64_t *state)
{
    uint64_t now = WHOLE;
    size_t at = 0;
    for (;; at += 2 * HALF) {
        if (now == WHOLE)
            at += ascii_len(p + at, len - at);
        if (len - at < 2 * HALF)
            break;
        const unsigned char *second = p + at + HALF;
        size_t cut = pier_utf8_cut(p + at, HALF);
        uint64_t between = advance(WHOLE, second - cut, cut);
        uint64_t states[2] = { now, between };
        advance_both(states, p + at, second);
        if (states[0] != between || states[1] == BAD)
            break;
        now = states[1];
    }
    *state = now;
    return at;
}

/* Passes over whole blocks as long as they are well-formed; returns how many bytes that were, and
 * the state behind them. */
static size_t valid_blocks(const unsigned char *p, size_t len, uint64_t *state)
{
    size_t at = valid_pairs(p, len, state);
    uint64_t now = *state;
    for (; len - at >= BLOCK; at += BLOCK) {
        uint64_t next = advance(now, p + at, are_ascii(p + at, p + at) ? 1 : BLOCK);
        if (next == BAD)
            break;
        now = next;
    }
    *state = now;
    return at;
}

bool pier_utf8_valid(const void *bytes, size_t len)
{
    const unsigned char *p = bytes;
    uint64_t state;
    size_t at = valid_blocks(p, len, &state);
    if (len - at >= BLOCK)
        return false;
    for (; len - at >= 8 && (load8(p + at) & HIGH_BITS) == 0; at += 8)
        state = step(state, p[at]);
    return advance(state, p + at, len - at) == WHOLE;
}

size_t pi_utf8_valid_len(const unsigned char *bytes, size_t len)
{
    uint64_t state;
    size_t at = valid_blocks(bytes, len, &state);
    at -= pier_utf8_cut(bytes, at);
    while (at < len) {
        size_t n = char_len(bytes + at, len - at);
        if (n == 0)
            break;
        at += n;
    }
    return at;
}

size_t pi_utf8_bad_len(const unsigned char *bytes, size_t len)
{
    size_t n = len < 3 ? len : 3;
    while (n > 1 && pier_utf8_cut(bytes, n) != n)
        n--;
    return n;
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
