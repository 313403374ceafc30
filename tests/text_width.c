/* SPDX-License-Identifier: MIT */
/* text_width: characters counted, columns, and where a text is cut to fit. The table as a whole is
 * compared with Python's database in e2e/test_width.py. */
#include "harness.h"

#include <pier/text.h>

#define COUNT(literal) pier_utf8_count(literal, sizeof(literal) - 1)
#define WIDTH(literal) pier_utf8_width(literal, sizeof(literal) - 1)
#define FIT(literal, columns) pier_utf8_fit(literal, sizeof(literal) - 1, columns)

TEST(count_is_that_of_code_points)
{
    ck_assert_uint_eq(pier_utf8_count(NULL, 0), 0);
    ck_assert_uint_eq(COUNT("abc"), 3);
    ck_assert_uint_eq(COUNT("你好,世界!"), 6);
    ck_assert_uint_eq(COUNT("e\xcc\x81😀"), 3);
}

/* The eight-at-a-time way: every length and place of every kind of byte. */
TEST(count_agrees_with_a_simple_one)
{
    char text[64];
    for (int byte = 0; byte < 256; byte++) {
        memset(text, 'a', sizeof text);
        for (size_t at = 0; at < sizeof text; at += 3)
            text[at] = (char)byte;
        for (size_t from = 0; from < sizeof text; from++) {
            size_t expected = 0;
            for (size_t i = from; i < sizeof text; i++)
                expected += ((unsigned char)text[i] & 0xc0) != 0x80;
            ck_assert_uint_eq(pier_utf8_count(text + from, sizeof text - from), expected);
        }
    }
}

TEST(width_is_two_for_wide_and_none_for_combining)
{
    ck_assert_uint_eq(WIDTH(""), 0);
    ck_assert_uint_eq(WIDTH("abc"), 3);
    ck_assert_uint_eq(WIDTH("你好,世界!"), 10);
    ck_assert_uint_eq(WIDTH("e\xcc\x81"), 1);
    ck_assert_uint_eq(WIDTH("😀"), 2);
    ck_assert_uint_eq(WIDTH("ｱ"), 1);
    ck_assert_uint_eq(WIDTH("Ａ"), 2);
    ck_assert_uint_eq(WIDTH("한\u1112\u1161\u11ab"), 4);
    ck_assert_uint_eq(WIDTH("a\u200b\u200d\ufeffz"), 2);
    ck_assert_uint_eq(WIDTH("\t\n\x7f\xc2\x85"), 0);
    ck_assert_uint_eq(WIDTH("a\xff\xe4\xbdz"), 4);
}

TEST(fit_cuts_before_what_would_not_show_whole)
{
    ck_assert_uint_eq(FIT("abc", 2), 2);
    ck_assert_uint_eq(FIT("abc", 9), 3);
    ck_assert_uint_eq(FIT("你好", 3), 3);
    ck_assert_uint_eq(FIT("你好", 4), 6);
    ck_assert_uint_eq(FIT("你好", 1), 0);
    ck_assert_uint_eq(FIT("e\xcc\x81x", 1), 3); /* the accent stays with its letter */
    ck_assert_uint_eq(FIT("a\xe4\xbdz", 2), 3);
    ck_assert_uint_eq(FIT("abc", 0), 0);
}

HARNESS_MAIN("text_width")
