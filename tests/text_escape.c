/* SPDX-License-Identifier: MIT */
/* text_escape: what is shown, what is escaped, and where a text is cut. */
#include "harness.h"

#include <pier/text.h>

static const char *escaped(const void *bytes, size_t len)
{
    static char out[4096];
    size_t n = pier_escape(out, sizeof out, bytes, len);
    ck_assert_uint_eq(n, strlen(out));
    return out;
}

#define ESCAPED(literal) escaped(literal, sizeof(literal) - 1)

TEST(escape_keeps_printable_text)
{
    ck_assert_str_eq(ESCAPED(""), "");
    ck_assert_str_eq(escaped(NULL, 0), "");
    ck_assert_str_eq(ESCAPED("plain ~ text"), "plain ~ text");
    ck_assert_str_eq(ESCAPED("你好 é 😀"), "你好 é 😀");
    ck_assert_str_eq(ESCAPED("\xc2\xa0"), "\xc2\xa0");         /* the first above C1 */
    ck_assert_str_eq(ESCAPED("\xe2\x80\x8d"), "\xe2\x80\x8d"); /* a joiner */
}

TEST(escape_names_or_numbers_what_is_not_printable)
{
    ck_assert_str_eq(ESCAPED("\n\r\t\\\""), "\\n\\r\\t\\\\\\\"");
    ck_assert_str_eq(ESCAPED("\0\x1b[31m\x7f"), "\\x00\\x1b[31m\\x7f");
    ck_assert_str_eq(ESCAPED("a\x80z\xff"), "a\\x80z\\xff");
    ck_assert_str_eq(ESCAPED("\xe4\xbd"), "\\xe4\\xbd");
    ck_assert_str_eq(ESCAPED("\xed\xa0\x80"), "\\xed\\xa0\\x80");
}

TEST(escape_shows_no_character_that_steers_or_reorders)
{
    ck_assert_str_eq(ESCAPED("\xc2\x9b"), "\\xc2\\x9b");          /* C1: CSI */
    ck_assert_str_eq(ESCAPED("\xe2\x80\xa8"), "\\xe2\\x80\\xa8"); /* U+2028, line separator */
    ck_assert_str_eq(ESCAPED("\xe2\x80\xae"), "\\xe2\\x80\\xae"); /* U+202E, right to left */
    ck_assert_str_eq(ESCAPED("\xe2\x81\xa6"), "\\xe2\\x81\\xa6"); /* U+2066 */
    ck_assert_str_eq(ESCAPED("\xef\xbb\xbf"), "\\xef\\xbb\\xbf"); /* U+FEFF */
    ck_assert_str_eq(ESCAPED("\xef\xbf\xbf"), "\\xef\\xbf\\xbf"); /* U+FFFF */
    ck_assert_str_eq(ESCAPED("\xf0\x9f\xbf\xbe"), "\\xf0\\x9f\\xbf\\xbe"); /* U+1FFFE */
}

/* Undoes escapes; the text is known to be well-formed. */
static size_t unescape(char *out, const char *text)
{
    size_t n = 0;
    for (const char *p = text; *p; p++) {
        if (*p != '\\') {
            out[n++] = *p;
        } else if (*++p == 'x') {
            char hex[3] = { p[1], p[2], 0 };
            out[n++] = (char)strtol(hex, NULL, 16);
            p += 2;
        } else {
            out[n++] = *p == 'n' ? '\n' : *p == 'r' ? '\r' : *p == 't' ? '\t' : *p;
        }
    }
    return n;
}

TEST(escape_can_be_read_back)
{
    unsigned char bytes[512];
    char back[4096];
    for (size_t i = 0; i < sizeof bytes; i++)
        bytes[i] = (unsigned char)(i < 256 ? i : 511 - i);
    ck_assert_uint_eq(unescape(back, escaped(bytes, sizeof bytes)), sizeof bytes);
    ck_assert_mem_eq(back, bytes, sizeof bytes);
}

/* Every cap from 8: a text that fits is whole, another is its longest beginning of whole parts with
 * the mark. */
TEST(escape_cuts_between_parts_at_every_size)
{
    static const char bytes[] = "ab\n\xff"
                                "你"
                                "\xe2\x80\xae"
                                "😀\"c";
    static const char *const parts[] = { "a",     "b",     "\\n", "\\xff", "你", "\\xe2",
                                         "\\x80", "\\xae", "😀",   "\\\"",  "c" };
    enum { COUNT = sizeof parts / sizeof parts[0] };
    size_t full = strlen(ESCAPED(bytes));

    for (size_t cap = 8; cap < full + 8; cap++) {
        char want[128] = "";
        size_t fits = 0;
        while (cap <= full && fits < COUNT && strlen(want) + strlen(parts[fits]) + 4 <= cap)
            strcat(want, parts[fits++]);
        char *out = malloc(cap);
        size_t len = pier_escape(out, cap, bytes, sizeof bytes - 1);
        ck_assert_str_eq(out, cap <= full ? strcat(want, "...") : ESCAPED(bytes));
        ck_assert_uint_eq(len, strlen(out));
        free(out);
    }
}

HARNESS_MAIN("text_escape")
