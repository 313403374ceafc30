/* SPDX-License-Identifier: MIT */
/* text_json_read: trees, their getters, limits, mistakes with their places, and lack of memory. */
#include "guarded.h"

#include <pier/text.h>

#include <jansson.h>

static struct pier_json_value *read_text(const char *text)
{
    size_t len = strlen(text);
    return pier_json_parse(guarded(text, len), len, NULL);
}

static const char sample[] =
    "{\"name\":\"你好\",\"age\":42,\"height\":1.75,\"on\":true,\"none\":null,"
    "\"list\":[1,[2,3],{\"a/b\":\"x\",\"~\":false}],\"\":7}";

TEST(json_getters_find_values)
{
    struct pier_json_value *v = read_text(sample);
    ck_assert_int_eq(pier_json_type(v), PIER_JSON_OBJECT);
    ck_assert_uint_eq(pier_json_count(v), 7);
    ck_assert_str_eq(pier_json_get_str(v, "name", ""), "你好");
    ck_assert_int_eq(pier_json_get_int(v, "age", 0), 42);
    ck_assert_double_eq(pier_json_get_double(v, "height", 0), 1.75);
    ck_assert_double_eq(pier_json_get_double(v, "age", 0), 42);
    ck_assert(pier_json_get_bool(v, "on", false));
    ck_assert_int_eq(pier_json_type(pier_json_get(v, "none")), PIER_JSON_NULL);
    ck_assert_int_eq(pier_json_get_int(v, "/list/1/1", 0), 3);
    ck_assert_str_eq(pier_json_get_str(v, "/list/2/a~1b", ""), "x");
    ck_assert(!pier_json_get_bool(v, "/list/2/~0", true));
    ck_assert_int_eq(pier_json_get_int(v, "/", 0), 7);
    ck_assert_ptr_eq(pier_json_get(v, ""), v);
    pier_json_free(v);
}

TEST(json_getters_have_a_default_for_what_is_not_there)
{
    struct pier_json_value *v = read_text(sample);
    static const char *const none[] = { "other",   "/list/3",         "/list/01",   "/list/-",
                                        "/list/x", "/name/0",         "/list/2/~2", "/list/2/~",
                                        "/list/",  "/list/9999999999" };
    for (size_t i = 0; i < sizeof none / sizeof none[0]; i++) {
        ck_assert_ptr_null(pier_json_get(v, none[i]));
        ck_assert_str_eq(pier_json_get_str(v, none[i], "no"), "no");
    }
    ck_assert_str_eq(pier_json_get_str(v, "age", "no"), "no");
    ck_assert_int_eq(pier_json_get_int(v, "height", 5), 5);
    ck_assert_int_eq(pier_json_get_int(v, "name", 5), 5);
    ck_assert(pier_json_get_bool(v, "age", true));
    ck_assert_double_eq(pier_json_get_double(v, "name", 0.5), 0.5);
    ck_assert_ptr_null(pier_json_get_str(NULL, "a", NULL));
    ck_assert_uint_eq(pier_json_count(NULL), 0);
    ck_assert_ptr_null(pier_json_at(v, 0));
    ck_assert_int_eq(pier_json_type(NULL), PIER_JSON_NONE);
    pier_json_free(v);
    pier_json_free(NULL);
}

TEST(json_members_come_in_the_order_of_the_text)
{
    struct pier_json_value *v = read_text("{\"z\":1,\"a\":2,\"m\":3}");
    const char *key = NULL;
    const struct pier_json_value *member;
    char seen[8] = "";
    int64_t sum = 0;
    while (pier_json_next(v, &key, &member)) {
        strcat(seen, key);
        sum = sum * 10 + pier_json_get_int(member, "", 0);
    }
    ck_assert_str_eq(seen, "zam");
    ck_assert_int_eq(sum, 123);
    key = NULL;
    ck_assert(!pier_json_next(pier_json_get(v, "a"), &key, &member));
    pier_json_free(v);
}

TEST(json_written_back_is_the_same)
{
    char text[512];
    struct pier_json w;
    struct pier_json_value *v = read_text(sample);
    pier_json_init(&w, text, sizeof text, NULL, NULL);
    pier_json_value(&w, v);
    ck_assert_int_gt(pier_json_end(&w), 0);
    ck_assert_str_eq(text, sample);
    pier_json_free(v);
}

TEST(json_values_of_every_type_are_texts)
{
    static const struct {
        const char *text;
        enum pier_json_type type;
    } cases[] = { { "null", PIER_JSON_NULL },    { " true ", PIER_JSON_BOOLEAN },
                  { "-0", PIER_JSON_INTEGER },   { "1e2", PIER_JSON_REAL },
                  { "\"\"", PIER_JSON_STRING },  { "[]", PIER_JSON_ARRAY },
                  { "{ }\n", PIER_JSON_OBJECT }, { "-9223372036854775808", PIER_JSON_INTEGER } };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct pier_json_value *v = read_text(cases[i].text);
        ck_assert_int_eq(pier_json_type(v), cases[i].type);
        pier_json_free(v);
    }
}

static void expect_failure(const char *text, int code, const char *words)
{
    ck_assert_ptr_null(read_text(text));
    ck_assert_int_eq(pier_error_code(), code);
    ck_assert_str_eq(pier_error(), words);
}

TEST(json_mistakes_have_a_place)
{
    expect_failure("", -EILSEQ, "json: line 1, column 1: unexpected token near end of file");
    expect_failure("{\"a\": 1,\n \"b\" 2}", -EILSEQ,
                   "json: line 2, column 6: ':' expected near '2'");
    expect_failure("[1,\n1,\n2", -EILSEQ, "json: line 3, column 1: ']' expected near end of file");
}

TEST(json_refuses_what_is_none)
{
    static const char *const bad[] = {
        "",
        " ",
        "[1,]",
        "{\"a\":1,}",
        "[1]2",
        "nul",
        "01",
        "+1",
        ".5",
        "1.",
        "NaN",
        "'a'",
        "\"a",
        "\"\t\"",
        "\"\xff\"",
        "\"\\ud800\"",
        "\"\\u0000\"",
        "{\"a\":1,\"a\":2}",
        "{a:1}",
        "[",
        "]",
        "{\"a\"}",
        "// a\n1",
        "9223372036854775808",
        "1e999",
        "\"\\x\"",
        ("\xef\xbb\xbf"
         "1"), /* one text: 1 is a hexadecimal digit, too */
        "{\"a\":}",
    };
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        struct pier_json_value *v = read_text(bad[i]);
        if (v || pier_error_code() != -EILSEQ || strncmp(pier_error(), "json: line ", 11) != 0)
            ck_abort_msg("\"%s\": %s", bad[i], v ? "accepted" : pier_error());
    }
    ck_assert_ptr_null(pier_json_parse("1\0", 2, NULL));
}

TEST(json_depth_is_limited_before_anything_is_built)
{
    char text[8192];
    for (int depth = 1; depth < 4000; depth += depth < 70 ? 1 : 500) {
        memset(text, '[', (size_t)depth);
        memset(text + depth, ']', (size_t)depth);
        struct pier_json_value *v = pier_json_parse(text, 2 * (size_t)depth, NULL);
        ck_assert_int_eq(v != NULL, depth <= PIER_JSON_MAX_DEPTH);
        if (!v)
            ck_assert_str_eq(pier_error(), "json: line 1, column 65: nested too deeply");
        pier_json_free(v);
    }
    struct pier_json_value *v = read_text("[\"[[[[\\\"[[[[\"]");
    ck_assert_ptr_nonnull(v);
    pier_json_free(v);
    ck_assert_ptr_null(pier_json_parse("[[]]", 4, &(struct pier_json_limits){ .max_depth = 1 }));
    ck_assert_int_eq(pier_error_code(), -EMSGSIZE);
}

TEST(json_size_and_number_of_values_are_limited)
{
    struct pier_json_limits limits = { .max_bytes = 7, .max_values = 4 };
    struct pier_json_value *v = pier_json_parse("[1,2,3]", 7, &limits);
    ck_assert_ptr_nonnull(v);
    pier_json_free(v);
    ck_assert_ptr_null(pier_json_parse("[1,2,3] ", 8, &limits));
    ck_assert_str_eq(pier_error(), "json: 8 bytes, 7 are the most");
    ck_assert_ptr_null(pier_json_parse("[1,2,\n3,4]", 7, &limits));
    limits.max_bytes = 0;
    ck_assert_ptr_null(pier_json_parse("[1,2,\n3,4]", 10, &limits));
    ck_assert_str_eq(pier_error(), "json: line 2, column 2: too many values");
    ck_assert_int_eq(pier_error_code(), -EMSGSIZE);
}

/* ---- without memory ---- */

static long left; /* requests until all fail */

static void *scarce(size_t size)
{
    return left-- > 0 ? malloc(size) : NULL;
}

TEST(json_without_memory_fails_and_leaks_nothing)
{
    json_set_alloc_funcs(scarce, free);
    long needed = 0;
    struct pier_json_value *v = NULL;
    while (!v) {
        left = needed++;
        v = read_text(sample);
        if (!v)
            ck_assert_int_lt(pier_error_code(), 0);
    }
    ck_assert_int_gt(needed, 10);
    pier_json_free(v);
}

HARNESS_MAIN("text_json_read")
