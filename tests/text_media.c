/* SPDX-License-Identifier: MIT */
/* text_media: media types and their parameters, what Accept prefers, and files' extensions. */
#include "guarded.h"

#include <pier/text.h>

static struct pier_media_type m;
static char out[128];

static int parse(const char *text)
{
    size_t len = strlen(text);
    return pier_media_type_parse(&m, guarded(text, len), len);
}

static bool is(struct pier_slice s, const char *want)
{
    return s.len == strlen(want) && memcmp(s.ptr, want, s.len) == 0;
}

TEST(media_type_has_parts)
{
    ck_assert_int_eq(parse("text/html"), 0);
    ck_assert(is(m.type, "text") && is(m.subtype, "html") && is(m.params, ""));
    ck_assert_int_eq(parse(" Application/Problem+JSON ; charset=UTF-8;v=\"a\\\"b;c\" "), 0);
    ck_assert(pier_media_type_is(&m, "application/problem+json"));
    ck_assert(!pier_media_type_is(&m, "application/json"));
    ck_assert(!pier_media_type_is(&m, "application"));
    ck_assert(!pier_media_type_is(&m, "application/problem+jsonx"));
    ck_assert_int_eq(pier_media_type_param(out, sizeof out, &m, "CHARSET"), 5);
    ck_assert_str_eq(out, "UTF-8");
    ck_assert_int_eq(pier_media_type_param(out, sizeof out, &m, "v"), 5);
    ck_assert_str_eq(out, "a\"b;c");
    ck_assert_int_eq(pier_media_type_param(out, sizeof out, &m, "q"), -ENOENT);
    ck_assert_int_eq(pier_media_type_param(out, 5, &m, "charset"), -ENOSPC);
}

TEST(media_type_of_another_form_is_refused)
{
    static const char *const bad[] = { "",         "text",        "text/",          "/html",
                                       "te xt/a",  "text/html;a", "text/html;a=",   "text/html; =b",
                                       "a/b;c=\"", "a/b;c=\"\\",  "a/b;c=\"\x01\"", "a/b c",
                                       "a/b,c/d",  "a/b;c=d e",   "a/b;c =d" };
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        if (parse(bad[i]) != -EINVAL)
            ck_abort_msg("\"%s\" is not refused", bad[i]);
        ck_assert_ptr_null(m.type.ptr);
    }
    ck_assert_int_eq(parse("a/b;;c=d;"), 0); /* RFC 9110, 5.6.6 */
}

static int choose(const char *accept)
{
    static const char *const offers[] = { "text/plain", "application/problem+json", "text/html",
                                          "text/html;level=1" };
    size_t len = strlen(accept);
    return pier_accept_choose(guarded(accept, len), len, offers, 4);
}

TEST(accept_prefers_by_weight_then_by_order)
{
    ck_assert_int_eq(choose(""), 0);
    ck_assert_int_eq(choose(" "), 0);
    ck_assert_int_eq(choose("*/*"), 0);
    ck_assert_int_eq(choose("application/*"), 1);
    ck_assert_int_eq(choose("text/html, text/plain;q=0.9"), 2);
    ck_assert_int_eq(choose("text/plain;q=0.1,application/problem+json;q=0.11"), 1);
    ck_assert_int_eq(choose("image/png"), -1);
    ck_assert_int_eq(choose("text/plain;q=0"), -1);
    ck_assert_int_eq(choose("TEXT/HTML"), 2);
}

/* RFC 9110, 12.5.1. */
TEST(accept_lets_the_closest_range_decide)
{
    ck_assert_int_eq(choose("text/*, text/plain;q=0, */*;q=0.1"), 2);
    ck_assert_int_eq(choose("text/*;q=0.3, text/html;q=0.5, text/html;level=1, */*;q=0.2"), 3);
    ck_assert_int_eq(choose("*/*, text/*;q=0, application/*;q=0.001"), 1);
}

TEST(accept_passes_over_what_it_cannot_read)
{
    ck_assert_int_eq(choose("html, text/html"), 2);
    ck_assert_int_eq(choose("text/html;q=2, application/*"), 1);
    ck_assert_int_eq(choose("text/html;q=0.0001, application/*;q=.5, text/html;level=1"), 3);
    ck_assert_int_eq(choose(",,;=,text/html;a=\"x,y\" , text/plain"), 0);
    ck_assert_int_eq(choose("text/html;a=\""), -1);
}

TEST(media_type_of_a_file_is_by_its_extension)
{
    ck_assert_str_eq(pier_media_type_of("index.html"), "text/html; charset=utf-8");
    ck_assert_str_eq(pier_media_type_of("/a.b/PHOTO.JPG"), "image/jpeg");
    ck_assert_str_eq(pier_media_type_of("x.tar.gz"), "application/gzip");
    ck_assert_str_eq(pier_media_type_of("a.html/plain"), "application/octet-stream");
    ck_assert_str_eq(pier_media_type_of(".html"), "application/octet-stream");
    ck_assert_str_eq(pier_media_type_of("x."), "application/octet-stream");
    ck_assert_str_eq(pier_media_type_of(""), "application/octet-stream");
}

HARNESS_MAIN("text_media")
