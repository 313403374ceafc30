/* SPDX-License-Identifier: MIT */
/* text_percent: encoding and decoding, queries and forms as the WHATWG URL Standard reads them. */
#include "guarded.h"

#include <pier/text.h>

static char out[1024];

static const char *decoded(const char *text)
{
    size_t len = strlen(text);
    ssize_t n = pier_percent_decode(out, sizeof out, guarded(text, len), len);
    return n < 0 ? "refused" : out;
}

static const char *form_decoded(const char *text)
{
    size_t len = strlen(text);
    ck_assert_int_ge(pier_form_decode(out, sizeof out, guarded(text, len), len), 0);
    return out;
}

TEST(percent_decodes_triplets)
{
    ck_assert_str_eq(decoded(""), "");
    ck_assert_str_eq(decoded("a%20b"), "a b");
    ck_assert_str_eq(decoded("%E4%bd%A0+%2f%25"), "你+/%");
    ck_assert_int_eq(pier_percent_decode(out, sizeof out, "a%00b", 5), 3);
    ck_assert_mem_eq(out, "a\0b", 4);
}

TEST(percent_refuses_what_is_no_triplet)
{
    static const char *const bad[] = { "%", "%2", "a%", "%zz", "%2g", "%g2", "%%20", "a%2" };
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        ck_assert_str_eq(decoded(bad[i]), "refused");
        ck_assert_str_eq(out, "");
    }
    ck_assert_int_eq(pier_percent_decode(out, 0, "%", 1), -EILSEQ);
}

TEST(percent_decodes_in_place)
{
    char text[] = "%41%42c%20";
    ck_assert_int_eq(pier_percent_decode(text, sizeof text, text, strlen(text)), 4);
    ck_assert_str_eq(text, "ABc ");
}

TEST(percent_encodes_all_but_what_is_kept)
{
    ck_assert_int_eq(pier_percent_encode(out, sizeof out, "a/b ~%\xff\0", 8, NULL), 18);
    ck_assert_str_eq(out, "a%2Fb%20~%25%FF%00");
    ck_assert_int_eq(pier_percent_encode(out, sizeof out, "/a b:", 5, "/:"), 7);
    ck_assert_str_eq(out, "/a%20b:");
}

TEST(percent_brings_all_bytes_back)
{
    char bytes[256], back[257];
    for (int i = 0; i < 256; i++)
        bytes[i] = (char)i;
    ssize_t n = pier_percent_encode(out, PIER_PERCENT_ROOM(256), bytes, 256, NULL);
    ck_assert_int_eq(pier_percent_decode(back, sizeof back, out, (size_t)n), 256);
    ck_assert_mem_eq(back, bytes, 256);
    n = pier_form_encode(out, PIER_PERCENT_ROOM(256), bytes, 256);
    ck_assert_int_eq(pier_form_decode(back, sizeof back, out, (size_t)n), 256);
    ck_assert_mem_eq(back, bytes, 256);
}

TEST(percent_says_when_there_is_no_room)
{
    ck_assert_int_eq(pier_percent_encode(out, 6, "a b c", 5, NULL), -ENOSPC);
    ck_assert_int_eq(pier_percent_encode(out, 9, "a b c", 5, NULL), -ENOSPC);
    ck_assert_str_eq(out, "");
    ck_assert_int_eq(pier_percent_encode(out, 10, "a b c", 5, NULL), 9);
    ck_assert_int_eq(pier_percent_decode(out, 3, "abc", 3), -ENOSPC);
    ck_assert_int_eq(pier_percent_decode(out, 4, "abc", 3), 3);
    ck_assert_int_eq(pier_percent_decode(NULL, 0, "", 0), -ENOSPC);
}

/* ---- forms ---- */

TEST(form_has_a_space_for_plus_and_takes_bad_triplets_as_they_are)
{
    ck_assert_str_eq(form_decoded("a+b%2B"), "a b+");
    ck_assert_str_eq(form_decoded("100%"), "100%");
    ck_assert_str_eq(form_decoded("%zz%2%41"), "%zz%2A");
}

TEST(form_is_encoded_as_browsers_do)
{
    ck_assert_int_eq(pier_form_encode(out, sizeof out, "a b*-._~+&=é", 13), 25);
    ck_assert_str_eq(out, "a+b*-._%7E%2B%26%3D%C3%A9");
}

/* Each pair as "name|value;". */
static const char *pairs(const char *text)
{
    static char list[512];
    size_t len = strlen(text), used = 0;
    struct pier_slice rest = { guarded(text, len), len }, name, value;
    list[0] = '\0';
    while (pier_form_next(&rest, &name, &value))
        used += (size_t)snprintf(list + used, sizeof list - used, "%.*s|%.*s;", (int)name.len,
                                 name.ptr, (int)value.len, value.ptr);
    ck_assert_uint_eq(rest.len, 0);
    return list;
}

TEST(form_pairs_are_told_apart)
{
    ck_assert_str_eq(pairs(""), "");
    ck_assert_str_eq(pairs("a=1&b=2"), "a|1;b|2;");
    ck_assert_str_eq(pairs("a"), "a|;");
    ck_assert_str_eq(pairs("=x&a=&="), "|x;a|;|;");
    ck_assert_str_eq(pairs("&&a=b=c&&"), "a|b=c;");
    ck_assert_str_eq(pairs("a%3Db=1;c"), "a%3Db|1;c;");
}

TEST(form_next_takes_what_is_not_there)
{
    struct pier_slice rest = { NULL, 0 }, name, value;
    ck_assert(!pier_form_next(&rest, &name, &value));
}

TEST(form_get_compares_names_decoded)
{
    static const char text[] = "x=0&full+name=J%C3%BCrgen+%26+Co&x=2&%61=b&e";
    struct pier_slice form = { text, sizeof text - 1 };
    ck_assert_int_eq(pier_form_get(out, sizeof out, form, "full name"), 12);
    ck_assert_str_eq(out, "Jürgen & Co");
    ck_assert_int_eq(pier_form_get(out, sizeof out, form, "x"), 1);
    ck_assert_str_eq(out, "0");
    ck_assert_int_eq(pier_form_get(out, sizeof out, form, "a"), 1);
    ck_assert_int_eq(pier_form_get(out, sizeof out, form, "e"), 0);
    ck_assert_int_eq(pier_form_get(out, sizeof out, form, "full"), -ENOENT);
    ck_assert_int_eq(pier_form_get(out, sizeof out, form, "ab"), -ENOENT);
    ck_assert_str_eq(out, "");
    ck_assert_int_eq(pier_form_get(out, 12, form, "full name"), -ENOSPC);
}

HARNESS_MAIN("text_percent")
