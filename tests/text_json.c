/* SPDX-License-Identifier: MIT */
/* text_json: the writer's structure, escapes, numbers, misuse, and its two ways of handing over. */
#include "harness.h"

#include <pier/text.h>

#include <locale.h>
#include <math.h>

/* A writer into memory; want NULL: only the result counts. */
static char buf[65536];
static struct pier_json w;

static void begin(void)
{
    pier_json_init(&w, buf, sizeof buf, NULL, NULL);
}

static void expect(const char *want)
{
    ssize_t len = pier_json_end(&w);
    ck_assert_int_eq(len, (ssize_t)strlen(want));
    ck_assert_str_eq(buf, want);
}

static void expect_failure(int code)
{
    ck_assert_int_eq(pier_json_end(&w), code);
}

/* One of everything, nested. */
static void write_sample(void)
{
    pier_json_object(&w);
    pier_json_key(&w, "list");
    pier_json_array(&w);
    pier_json_int(&w, 1);
    pier_json_array(&w);
    pier_json_close(&w);
    pier_json_object(&w);
    pier_json_close(&w);
    pier_json_str(&w, "你好 \"x\"");
    pier_json_close(&w);
    pier_json_key(&w, "on");
    pier_json_bool(&w, true);
    pier_json_key(&w, "off");
    pier_json_bool(&w, false);
    pier_json_key(&w, "none");
    pier_json_null(&w);
    pier_json_key(&w, "");
    pier_json_double(&w, -1.5);
    pier_json_close(&w);
}

static const char sample[] = "{\"list\":[1,[],{},\"你好 \\\"x\\\"\"],\"on\":true,\"off\":false,"
                             "\"none\":null,\"\":-1.5}";

/* ---- structure ---- */

TEST(json_puts_commas_and_colons)
{
    begin();
    write_sample();
    expect(sample);
}

TEST(json_writes_a_value_alone)
{
    begin();
    pier_json_str(&w, "x");
    expect("\"x\"");
    pier_json_int(&w, 7); /* the writer may start another one */
    expect("7");
    expect("");
}

TEST(json_lines_are_values_with_raw_between)
{
    begin();
    for (int i = 0; i < 3; i++) {
        pier_json_array(&w);
        pier_json_int(&w, i);
        pier_json_close(&w);
        pier_json_raw(&w, "\n", 1);
    }
    expect("[0]\n[1]\n[2]\n");
}

TEST(json_raw_leaves_the_commas_alone_inside)
{
    begin();
    pier_json_array(&w);
    pier_json_raw(&w, "\n ", 2);
    pier_json_int(&w, 1);
    pier_json_raw(&w, "\n ", 2);
    pier_json_int(&w, 2);
    pier_json_close(&w);
    expect("[\n 1\n ,2]");
}

static void nest(int depth, bool objects)
{
    for (int i = 0; i < depth; i++) {
        if (objects && i > 0)
            pier_json_key(&w, "k");
        if (objects)
            pier_json_object(&w);
        else
            pier_json_array(&w);
    }
}

/* The deepest level and the outermost share a bit: neither may disturb the other. */
TEST(json_nests_to_its_limit)
{
    begin();
    pier_json_array(&w);
    pier_json_int(&w, 0);
    nest(PIER_JSON_MAX_DEPTH - 1, false);
    pier_json_int(&w, 1);
    pier_json_int(&w, 2);
    for (int i = 0; i < PIER_JSON_MAX_DEPTH - 1; i++)
        pier_json_close(&w);
    pier_json_int(&w, 3);
    pier_json_close(&w);
    pier_json_raw(&w, "\n", 1);
    pier_json_int(&w, 4);
    ssize_t len = pier_json_end(&w);
    ck_assert_int_eq(len, 2 * PIER_JSON_MAX_DEPTH + (ssize_t)strlen("0,1,2,3\n4"));
    ck_assert_str_eq(buf + len - 6, "],3]\n4");
    ck_assert_ptr_nonnull(strstr(buf, "[1,2]"));
    ck_assert(strncmp(buf, "[0,[[", 5) == 0);
}

TEST(json_value_after_a_deep_empty_one_is_misuse)
{
    begin();
    nest(PIER_JSON_MAX_DEPTH, false);
    for (int i = 0; i < PIER_JSON_MAX_DEPTH; i++)
        pier_json_close(&w);
    pier_json_int(&w, 1);
    expect_failure(-EINVAL);
}

TEST(json_nests_no_deeper_than_its_limit)
{
    for (int objects = 0; objects < 2; objects++) {
        begin();
        nest(PIER_JSON_MAX_DEPTH + 1, objects);
        for (int i = 0; i < PIER_JSON_MAX_DEPTH + 1; i++)
            pier_json_close(&w);
        expect_failure(-EINVAL);
    }
}

/* ---- misuse: each a few steps, written as letters ---- */

/* { } (close) [ k(ey) v(alue) */
static void play(const char *steps)
{
    begin();
    for (const char *p = steps; *p; p++) {
        switch (*p) {
        case '{':
            pier_json_object(&w);
            break;
        case '[':
            pier_json_array(&w);
            break;
        case '}':
            pier_json_close(&w);
            break;
        case 'k':
            pier_json_key(&w, "k");
            break;
        default:
            pier_json_int(&w, 1);
        }
    }
}

TEST(json_remembers_misuse)
{
    static const char *const wrong[] = {
        "}",   "{}}",   "v}",   "k",  "[k",   "[kv}", "{v}", "{[}}", "{{}}", "{k}",
        "{kk", "{kkv}", "{kvv", "vv", "{}[}", "{",    "[",   "{k",   "[{}",
    };
    for (size_t i = 0; i < sizeof wrong / sizeof wrong[0]; i++) {
        play(wrong[i]);
        ssize_t rc = pier_json_end(&w);
        if (rc != -EINVAL)
            ck_abort_msg("%s: %zd", wrong[i], rc);
        pier_json_int(&w, 5); /* and nothing of it is left */
        expect("5");
    }
}

TEST(json_keeps_the_first_error)
{
    char small[64];
    pier_json_init(&w, small, sizeof small, NULL, NULL);
    pier_json_close(&w);
    pier_json_strn(&w, buf, sizeof buf);
    expect_failure(-EINVAL);
}

/* ---- strings ---- */

static void expect_string(const char *value, size_t len, const char *want)
{
    begin();
    pier_json_strn(&w, value, len);
    expect(want);
}

#define EXPECT_STRING(literal, want) expect_string(literal, sizeof(literal) - 1, "\"" want "\"")

TEST(json_escapes_strings)
{
    EXPECT_STRING("", "");
    EXPECT_STRING("/ ' plain", "/ ' plain");
    EXPECT_STRING("\"\\\b\f\n\r\t", "\\\"\\\\\\b\\f\\n\\r\\t");
    EXPECT_STRING("a\0b\x1f\x7f", "a\\u0000b\\u001f\\u007f");
    EXPECT_STRING("é你😀", "é你😀");
    EXPECT_STRING("\xc2\x9b\xe2\x80\xa8", "\\u009b\\u2028");
    EXPECT_STRING("\xf4\x8f\xbf\xbf", "\\udbff\\udfff");
}

TEST(json_replaces_each_bad_byte)
{
    EXPECT_STRING("a\xff"
                  "b",
                  "a\xef\xbf\xbd"
                  "b");
    EXPECT_STRING("\xe4\xbd", "\xef\xbf\xbd\xef\xbf\xbd");
    EXPECT_STRING("\xed\xa0\x80", "\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd");
    EXPECT_STRING("\xc0\xaf", "\xef\xbf\xbd\xef\xbf\xbd");
}

TEST(json_escapes_keys_too)
{
    begin();
    pier_json_object(&w);
    pier_json_key(&w, "a\n\"\xff");
    pier_json_int(&w, 1);
    pier_json_close(&w);
    expect("{\"a\\n\\\"\xef\xbf\xbd\":1}");
}

/* ---- numbers ---- */

TEST(json_writes_every_integer)
{
    begin();
    pier_json_array(&w);
    pier_json_int(&w, INT64_MIN);
    pier_json_int(&w, -1);
    pier_json_int(&w, 0);
    pier_json_int(&w, INT64_MAX);
    pier_json_close(&w);
    expect("[-9223372036854775808,-1,0,9223372036854775807]");
}

static void expect_double(double value, const char *want)
{
    begin();
    pier_json_double(&w, value);
    expect(want);
}

TEST(json_writes_doubles_short)
{
    expect_double(0, "0");
    expect_double(-0.0, "-0");
    expect_double(0.1, "0.1");
    expect_double(0.1 + 0.2, "0.30000000000000004");
    expect_double(-12.75, "-12.75");
    expect_double(100, "100");
    expect_double(123456789012345680.0, "123456789012345680");
    expect_double(1e20, "100000000000000000000");
    expect_double(1e21, "1e21");
    expect_double(-1.25e300, "-1.25e300");
    expect_double(1e-6, "0.000001");
    expect_double(1.5e-6, "0.0000015");
    expect_double(1e-7, "1e-7");
    expect_double(5e-324, "4.94065645841247e-324");
    expect_double(1.7976931348623157e308, "1.7976931348623157e308");
}

TEST(json_writes_null_for_what_is_not_finite)
{
    expect_double(NAN, "null");
    expect_double(INFINITY, "null");
    expect_double(-INFINITY, "null");
}

/* Bit patterns by a linear congruential generator (Knuth's MMIX): the same ones in every run. */
TEST(json_doubles_read_back_as_the_same_value)
{
    uint64_t bits = 1;
    for (int i = 0; i < 200000; i++) {
        bits = bits * 6364136223846793005u + 1442695040888963407u;
        double value;
        memcpy(&value, &bits, sizeof value);
        if (!isfinite(value))
            continue;
        begin();
        pier_json_double(&w, value);
        ssize_t len = pier_json_end(&w);
        if (len <= 0 || strtod(buf, NULL) != value)
            ck_abort_msg("%a is written %s", value, buf);
    }
}

TEST(json_does_not_follow_the_locale)
{
    if (!setlocale(LC_NUMERIC, "de_DE.UTF-8") && !setlocale(LC_NUMERIC, "fr_FR.UTF-8"))
        test_skip("no locale with a decimal comma is installed");
    expect_double(1234.5, "1234.5");
}

/* ---- handing over ---- */

struct collected {
    char text[4096];
    size_t len;
    int calls, fail_at; /* the call that fails, from 1 */
    int calls_after_failure;
};

static int collect(void *ctx, const void *bytes, size_t len)
{
    struct collected *c = ctx;
    ck_assert_uint_gt(len, 0);
    if (c->fail_at && c->calls >= c->fail_at)
        c->calls_after_failure++;
    if (++c->calls == c->fail_at)
        return -EPIPE;
    ck_assert_uint_le(c->len + len, sizeof c->text);
    memcpy(c->text + c->len, bytes, len);
    c->len += len;
    return 7; /* not negative: fine */
}

/* Every buffer size moves the places where the text is split, characters and escapes included. */
TEST(json_text_is_the_same_through_any_buffer)
{
    for (size_t cap = 64; cap < 64 + sizeof sample; cap++) {
        struct collected got = { .calls = 0 };
        char *small = malloc(cap);
        pier_json_init(&w, small, cap, collect, &got);
        pier_json_array(&w);
        for (int i = 0; i < 20; i++)
            write_sample();
        pier_json_close(&w);
        ck_assert_int_eq(pier_json_end(&w), 0);
        free(small);

        ck_assert_uint_eq(got.len, 20 * sizeof sample + 1);
        for (size_t i = 0; i < 20; i++)
            ck_assert_mem_eq(got.text + 1 + i * sizeof sample, sample, sizeof sample - 1);
        ck_assert_int_eq(got.calls, (int)((got.len + cap - 1) / cap));
    }
}

TEST(json_sink_failure_ends_the_writing)
{
    char filler[300];
    memset(filler, 'a', sizeof filler);
    for (int fail_at = 1; fail_at <= 6; fail_at++) {
        struct collected got = { .fail_at = fail_at };
        char small[64];
        pier_json_init(&w, small, sizeof small, collect, &got);
        pier_json_array(&w);
        write_sample();
        write_sample();
        pier_json_strn(&w, filler, sizeof filler);
        pier_json_close(&w);
        expect_failure(-EPIPE);
        ck_assert_int_eq(got.calls_after_failure, 0);
        ck_assert_uint_eq(got.len, 64 * (size_t)(fail_at - 1));
    }
}

TEST(json_without_a_sink_has_to_fit)
{
    static const char text[] = "abcdefghijklmnopqrstuvwxyzabcdefghijklmnopqrstuvwxyzabcdefghijk";
    for (size_t len = 60; len <= 63; len++) {
        char small[65];
        memset(small, '#', sizeof small);
        pier_json_init(&w, small, 64, NULL, NULL);
        pier_json_strn(&w, text, len);
        ck_assert_int_eq(pier_json_end(&w), len + 2 <= 64 ? (ssize_t)len + 2 : -ENOSPC);
        ck_assert_int_eq(small[64], '#');
        if (len + 2 < 64)
            ck_assert_int_eq(small[len + 2], '\0');
    }
}

HARNESS_MAIN("text_json")
