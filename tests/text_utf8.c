/* SPDX-License-Identifier: MIT */
/*
 * text_utf8: validity and cut characters, against the set of all encodings made the other way
 * round, from the characters: every sequence of up to three bytes, and four-byte ones around every
 * limit.
 */
#include "harness.h"

#include "text/utf8.h"

/* All encodings, and all their proper beginnings, by length: bit sets over the bytes read as one
 * big-endian number. */
static uint8_t *whole[5], *begun[4];

static void mark(uint8_t *set, uint32_t bits)
{
    set[bits / 8] |= (uint8_t)(1u << (bits % 8));
}

static bool marked(const uint8_t *set, uint32_t bits)
{
    return set[bits / 8] >> (bits % 8) & 1;
}

static uint32_t number(const unsigned char *p, size_t len)
{
    uint32_t bits = 0;
    for (size_t i = 0; i < len; i++)
        bits = bits << 8 | p[i];
    return bits;
}

/* RFC 3629, section 3, read from left to right. */
static size_t encode(unsigned char *out, uint32_t c)
{
    size_t len = c < 0x80 ? 1 : c < 0x800 ? 2 : c < 0x10000 ? 3 : 4;
    static const unsigned char lead[] = { 0, 0x00, 0xc0, 0xe0, 0xf0 };
    for (size_t i = len - 1; i > 0; i--) {
        out[i] = (unsigned char)(0x80 | (c & 0x3f));
        c >>= 6;
    }
    out[0] = (unsigned char)(lead[len] | c);
    return len;
}

/* Four-byte encodings all begin with 0xf.: their set leaves the first four bits out. */
static void make_sets(void)
{
    for (size_t len = 1; len <= 4; len++)
        whole[len] = calloc(1, (size_t)1 << (len == 4 ? 25 : 8 * len));
    for (size_t len = 1; len <= 3; len++)
        begun[len] = calloc(1, (size_t)1 << 8 * len);
    for (uint32_t c = 0; c <= 0x10ffff; c++) {
        unsigned char bytes[4];
        if (c >= 0xd800 && c <= 0xdfff)
            continue;
        size_t len = encode(bytes, c);
        mark(whole[len], number(bytes, len) & 0x0fffffff);
        for (size_t n = 1; n < len; n++)
            mark(begun[n], number(bytes, n));
    }
}

static size_t slow_char(const unsigned char *p, size_t len)
{
    for (size_t n = 1; n <= 4 && n <= len; n++)
        if ((n < 4 || p[0] >= 0xf0) && marked(whole[n], number(p, n) & 0x0fffffff))
            return n;
    return 0;
}

static size_t slow_valid_len(const unsigned char *p, size_t len)
{
    size_t at = 0, n = 1;
    for (; at < len && n > 0; at += n)
        n = slow_char(p + at, len - at);
    return at;
}

static bool slow_valid(const unsigned char *p, size_t len)
{
    return slow_valid_len(p, len) == len;
}

static size_t slow_cut(const unsigned char *p, size_t len)
{
    for (size_t n = 1; n <= 3 && n <= len; n++)
        if (marked(begun[n], number(p + len - n, n)))
            return n;
    return 0;
}

static void compare(const unsigned char *p, size_t len)
{
    if (pier_utf8_valid(p, len) != slow_valid(p, len))
        ck_abort_msg("valid: %zu bytes %08x", len, number(p, len));
    if (pier_utf8_cut(p, len) != slow_cut(p, len))
        ck_abort_msg("cut: %zu bytes %08x", len, number(p, len));
}

TEST_WITHIN(60, utf8_agrees_with_all_encodings_up_to_three_bytes)
{
    make_sets();
    compare((const unsigned char *)"", 0);
    for (size_t len = 1; len <= 3; len++) {
        for (uint32_t bits = 0; bits < 1u << 8 * len; bits++) {
            unsigned char p[3];
            for (size_t i = 0; i < len; i++)
                p[i] = (unsigned char)(bits >> 8 * (len - 1 - i));
            compare(p, len);
        }
    }
}

TEST_WITHIN(60, utf8_agrees_with_all_encodings_at_the_limits_of_four_bytes)
{
    static const unsigned char limits[] = { 0x00, 0x41, 0x7f, 0x80, 0x8f, 0x90, 0x9f, 0xa0,
                                            0xbf, 0xc0, 0xc2, 0xe0, 0xed, 0xf0, 0xf4, 0xff };
    make_sets();
    for (uint32_t bits = 0; bits < 0x1000000; bits++) {
        unsigned char p[4] = { (unsigned char)(bits >> 16), (unsigned char)(bits >> 8),
                               limits[bits >> 4 & 15], limits[bits & 15] };
        compare(p, 4);
    }
}

TEST(utf8_char_decodes_every_character)
{
    for (uint32_t c = 0; c <= 0x10ffff; c++) {
        unsigned char bytes[4];
        uint32_t code;
        size_t len = encode(bytes, c);
        bool surrogate = c >= 0xd800 && c <= 0xdfff;
        size_t got = pi_utf8_char(bytes, len, &code);
        if (surrogate ? got != 0 : got != len || code != c)
            ck_abort_msg("U+%04X: length %zu, U+%04X", c, got, code);
    }
}

/* The eight-at-a-time way: a bad byte at every place of texts of every length and alignment. */
TEST(utf8_valid_finds_a_bad_byte_anywhere_in_ascii)
{
    for (size_t len = 1; len < 40; len++) {
        unsigned char *p = malloc(len);
        for (size_t bad = 0; bad < len; bad++) {
            memset(p, 'a', len);
            ck_assert(pier_utf8_valid(p, len));
            p[bad] = 0xff;
            for (size_t from = 0; from < len; from++)
                if (pier_utf8_valid(p + from, len - from) != (bad < from))
                    ck_abort_msg("%zu bytes from %zu, bad at %zu", len, from, bad);
        }
        free(p);
    }
}

/* In pieces of a KiB, in two halves at a time: where a piece or a half begins inside a character,
 * and whatever byte there is replaced. */
TEST(utf8_valid_finds_a_bad_byte_anywhere_in_a_long_text)
{
    static const char words[] = "a\xc3\xa9\xe4\xbd\xa0\xf0\x9f\x98\x80\xe0\xa0\x80\xed\x9f\xbf";
    static const unsigned char others[] = { 'a', 0x80, 0xa0, 0xc3, 0xe0, 0xed, 0xf4, 0xff };
    enum { LEN = 2500, ALIGNMENTS = 5 };
    make_sets();
    for (size_t from = 0; from < ALIGNMENTS; from++) {
        unsigned char *p = malloc(LEN);
        memset(p, 'a', from);
        for (size_t i = from; i < LEN; i++)
            p[i] = (unsigned char)words[(i - from) % (sizeof words - 1)];
        for (size_t at = 0; at < LEN; at++) {
            unsigned char was = p[at];
            p[at] = others[at % sizeof others];
            size_t good = slow_valid_len(p, LEN);
            if (pier_utf8_valid(p, LEN) != (good == LEN) || pi_utf8_valid_len(p, LEN) != good)
                ck_abort_msg("%02x at %zu, with %zu before", p[at], at, from);
            p[at] = was;
            if (pier_utf8_valid(p, at) != (slow_cut(p, at) == 0))
                ck_abort_msg("the first %zu bytes, with %zu before", at, from);
        }
        free(p);
    }
}

/* Whole steps of ASCII between its bytes: those are not just passed over. */
TEST(utf8_valid_finds_a_character_that_ascii_cuts_in_two)
{
    enum { LEN = 2500 };
    static const size_t gaps[] = { 8, 32, 64, 512, 1024 };
    unsigned char *p = malloc(LEN);
    memset(p, 'a', LEN);
    memcpy(p, "\xc3\xa9", 2);
    for (size_t i = 0; i < sizeof gaps / sizeof *gaps; i++) {
        for (size_t at = 2; at + 1 + gaps[i] < LEN; at++) {
            size_t end = at + 1 + gaps[i];
            p[at] = 0xc3;
            p[end] = 0xa9;
            if (pier_utf8_valid(p, LEN) || pi_utf8_valid_len(p, LEN) != at)
                ck_abort_msg("from %zu to %zu", at, end);
            if (pier_utf8_valid(p, end + 1))
                ck_abort_msg("from %zu to the end at %zu", at, end);
            p[at] = p[end] = 'a';
        }
    }
    ck_assert(pier_utf8_valid(p, LEN));
    free(p);
}

TEST(utf8_cut_counts_the_bytes_of_a_split_character)
{
    static const char text[] = "a\xc3\xa9\xe4\xbd\xa0\xf0\x9f\x98\x80z"; /* a é 你 😀 z */
    static const size_t cut[] = { 0, 0, 1, 0, 1, 2, 0, 1, 2, 3, 0, 0 };
    for (size_t len = 0; len < sizeof text; len++) {
        char *prefix = malloc(len + 1);
        memcpy(prefix, text, len);
        ck_assert_uint_eq(pier_utf8_cut(prefix, len), cut[len]);
        ck_assert_int_eq(pier_utf8_valid(prefix, len), cut[len] == 0);
        free(prefix);
    }
}

TEST(utf8_cut_holds_nothing_that_can_begin_no_character)
{
    static const char *const hopeless[] = {
        "\x80",         "\xbf\xbf",     "\xbf\xbf\xbf", "\xc0",     "\xc1",     "\xf5",
        "\xff",         "\xe0\x80",     "\xe0\x9f",     "\xed\xa0", "\xf0\x8f", "\xf4\x90",
        "\xf0\x80\x80", "\xf4\x90\x80", "\xc3\xa9\x80", "\xf0z",
    };
    for (size_t i = 0; i < sizeof hopeless / sizeof hopeless[0]; i++)
        if (pier_utf8_cut(hopeless[i], strlen(hopeless[i])) != 0)
            ck_abort_msg("case %zu is held", i);
    ck_assert_uint_eq(pier_utf8_cut(NULL, 0), 0);
    ck_assert(pier_utf8_valid(NULL, 0));
}

HARNESS_MAIN("text_utf8")
