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

static bool slow_valid(const unsigned char *p, size_t len)
{
    while (len > 0) {
        size_t n = slow_char(p, len);
        if (n == 0)
            return false;
        p += n;
        len -= n;
    }
    return true;
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
