/* SPDX-License-Identifier: MIT */
/*
 * http_cookie: cookies as bytes, those that a request brings, and what a response sets, refuses and
 * deletes.
 */
#include "guarded.h"
#include "harness.h"

#include <pier/pier.h>

#include "http/cookie_wire.h"
#include "http/exchange.h"

/* ---- bytes ---- */

/* All pairs as "name=value|". */
static const char *pairs_of(const char *text, size_t len)
{
    static char got[1024];
    struct pi_part rest = { guarded(text, len), len }, name, value;
    size_t at = 0;
    got[0] = '\0';
    while (pi_cookie_next(&rest, &name, &value))
        at += (size_t)snprintf(got + at, sizeof got - at, "%.*s=%.*s|", (int)name.len, name.at,
                               (int)value.len, value.at);
    return got;
}

static void expect_pairs(const char *text, const char *pairs)
{
    const char *got = pairs_of(text, strlen(text));
    ck_assert_msg(strcmp(got, pairs) == 0, "%s: %s", text, got);
}

TEST(cookies_are_cut_at_semicolons_and_the_first_equals_sign)
{
    expect_pairs("a=1; b=2", "a=1|b=2|");
    expect_pairs("a=1;b=2;", "a=1|b=2|");
    expect_pairs(" a = 1 ;\tb=x=y", "a=1|b=x=y|");
    expect_pairs("a=; b=\"\"", "a=|b=|");
    expect_pairs("a=\"q\"; b=\"; c=\"x", "a=q|b=\"|c=\"x|");
}

TEST(what_is_no_pair_is_passed_over)
{
    expect_pairs("", "");
    expect_pairs(";;; ;", "");
    expect_pairs("nothing; =empty; a=1; ;", "a=1|");
}

TEST(cookies_end_where_their_field_ends)
{
    static const char text[] = "a=\"1\"; =; b ; c=2;; d=\"";
    for (size_t len = 0; len < sizeof text; len++)
        pairs_of(text, len);
}

TEST(values_have_no_byte_that_means_something)
{
    ck_assert(pi_is_cookie_value("", 0));
    ck_assert(pi_is_cookie_value("!#$%&'()*+-./:<=>?@[]^_`{|}~", 28));
    for (int c = 0; c < 256; c++) {
        char byte = (char)c;
        bool is_good = c > ' ' && c < 127 && !strchr("\",;\\", c);
        ck_assert_msg(pi_is_cookie_value(&byte, 1) == is_good, "byte %d", c);
    }
}

TEST(prefixes_are_known_in_any_case)
{
    ck_assert_int_eq(pi_cookie_prefix("__host-a", 8), PI_COOKIE_HOST);
    ck_assert_int_eq(pi_cookie_prefix("__SECURE-a", 10), PI_COOKIE_SECURE);
    ck_assert_int_eq(pi_cookie_prefix("__Host", 6), PI_COOKIE_PLAIN);
    ck_assert_int_eq(pi_cookie_prefix("__Secure", 8), PI_COOKIE_PLAIN);
}

/* ---- in exchanges ---- */

struct asked {
    const char *name, *value;
    const struct pier_cookie_opts *opts;
    bool deletes, is_secure;
    int code;
    char words[256];
};

static int sets(struct pier_exchange *ex, void *arg)
{
    struct asked *a = arg;
    struct pi_http_endpoint secure = *ex->h->endpoint;
    const struct pi_http_endpoint *plain = ex->h->endpoint;
    secure.is_secure = a->is_secure;
    ex->h->endpoint = &secure;
    a->code = a->deletes ? pier_res_delete_cookie(ex, a->name, a->opts)
                         : pier_res_set_cookie(ex, a->name, a->value, a->opts);
    snprintf(a->words, sizeof a->words, "%s", pier_error());
    ex->h->endpoint = plain;
    return pier_http_empty(ex, 204);
}

static int reads(struct pier_exchange *ex, void *arg)
{
    const char *name, *value, *wanted = pier_req_cookie(ex, "b");
    pier_res_printf(ex, "%s:", wanted ? wanted : "none");
    for (int i = 0; pier_req_cookie_at(ex, i, &name, &value); i++)
        pier_res_printf(ex, " %s=%s", name, value);
    return pier_req_cookie_at(ex, -1, NULL, NULL) ? -EINVAL : 0;
}

static struct pier_http_reply *ask(pier_http_handler handler, void *arg, const char *fields)
{
    struct pier_router *r = pier_router_new();
    pier_route(r, "GET /", handler, arg);
    struct pier_http_reply *reply = pier_http_test(r, "GET /", fields, NULL, 0);
    ck_assert_msg(reply != NULL, "%s", pier_error());
    pier_router_free(r);
    return reply;
}

static void expect_read(const char *fields, const char *body)
{
    struct pier_http_reply *reply = ask(reads, NULL, fields);
    ck_assert_str_eq(pier_http_reply_body(reply, NULL), body);
    pier_http_reply_free(reply);
}

TEST(the_cookies_of_a_request_are_found_by_name_and_in_order)
{
    expect_read(NULL, "none:");
    expect_read("Cookie: a=1; b=2; b=3\r\n", "2: a=1 b=2 b=3");
    expect_read("Cookie: a=1\r\nX: y\r\ncookie: b=2\r\n", "2: a=1 b=2");
}

static void expect_set(struct asked a, const char *line)
{
    struct pier_http_reply *reply = ask(sets, &a, NULL);
    const char *got = pier_http_reply_field(reply, "Set-Cookie");
    ck_assert_msg(a.code == 0, "%s", a.words);
    ck_assert_str_eq(got ? got : "", line);
    pier_http_reply_free(reply);
}

#define OPTS(...) (&(struct pier_cookie_opts){ __VA_ARGS__ })

TEST(what_is_not_said_is_the_safe_choice)
{
    expect_set((struct asked){ .name = "id", .value = "7" },
               "id=7; Path=/; SameSite=Lax; HttpOnly");
    expect_set((struct asked){ .name = "id", .value = "7", .is_secure = true },
               "id=7; Path=/; SameSite=Lax; Secure; HttpOnly");
}

TEST(each_option_is_an_attribute)
{
    expect_set((struct asked){ .name = "id",
                               .value = "7",
                               .opts = OPTS(.max_age_s = 60, .domain = "example.com",
                                            .path = "/a b", .same_site = PIER_SAME_SITE_STRICT,
                                            .secure = true, .insecure_to_scripts = true) },
               "id=7; Max-Age=60; Domain=example.com; Path=/a b; SameSite=Strict; Secure");
    expect_set((struct asked){ .name = "id",
                               .value = "",
                               .opts = OPTS(.expires_ns = 1763630551 * PIER_SECOND) },
               "id=; Expires=Thu, 20 Nov 2025 09:22:31 GMT; Path=/; SameSite=Lax; HttpOnly");
    expect_set((struct asked){ .name = "id",
                               .value = "7",
                               .opts = OPTS(.insecure_over_http = true),
                               .is_secure = true },
               "id=7; Path=/; SameSite=Lax; HttpOnly");
}

TEST(a_deleted_cookie_ends_in_1970_where_it_was_set)
{
    expect_set((struct asked){ .name = "id",
                               .value = NULL,
                               .opts = OPTS(.max_age_s = 60, .path = "/a"),
                               .deletes = true },
               "id=; Max-Age=0; Expires=Thu, 01 Jan 1970 00:00:00 GMT; Path=/a; SameSite=Lax; "
               "HttpOnly");
}

TEST(promises_of_a_name_are_kept)
{
    expect_set((struct asked){ .name = "__Host-id", .value = "7", .is_secure = true },
               "__Host-id=7; Path=/; SameSite=Lax; Secure; HttpOnly");
    expect_set((struct asked){ .name = "__Secure-id",
                               .value = "7",
                               .opts = OPTS(.path = "/a", .secure = true) },
               "__Secure-id=7; Path=/a; SameSite=Lax; Secure; HttpOnly");
}

static void expect_refused(struct asked a, int code, const char *words)
{
    struct pier_http_reply *reply = ask(sets, &a, NULL);
    ck_assert_ptr_null(pier_http_reply_field(reply, "Set-Cookie"));
    ck_assert_int_eq(a.code, code);
    ck_assert_msg(strstr(a.words, words) != NULL, "%s", a.words);
    pier_http_reply_free(reply);
}

TEST(what_clients_would_drop_is_refused)
{
    static char big[4097];
    memset(big, 'x', sizeof big - 1);
    expect_refused((struct asked){ .name = "a b", .value = "7" }, -EINVAL,
                   "cookie a b: the name is no token");
    expect_refused((struct asked){ .name = "", .value = "7" }, -EINVAL, "no token");
    expect_refused((struct asked){ .name = "id", .value = "7; Domain=evil" }, -EINVAL,
                   "encode them");
    expect_refused((struct asked){ .name = "id", .value = "7\r\nX: y" }, -EINVAL, "encode them");
    expect_refused((struct asked){ .name = "id", .value = "7", .opts = OPTS(.path = "a") }, -EINVAL,
                   "path");
    expect_refused((struct asked){ .name = "id", .value = "7", .opts = OPTS(.path = "/; Secure") },
                   -EINVAL, "path");
    expect_refused((struct asked){ .name = "id", .value = "7", .opts = OPTS(.domain = "a;b") },
                   -EINVAL, "domain");
    expect_refused((struct asked){ .name = "id", .value = "7", .opts = OPTS(.max_age_s = -1) },
                   -EINVAL, "range");
    expect_refused((struct asked){ .name = "id", .value = big }, -EMSGSIZE, "4,096");
    expect_refused((struct asked){ .name = "__Host-id", .value = "7" }, -EINVAL, "needs Secure");
    expect_refused((struct asked){ .name = "__secure-id",
                                   .value = "7",
                                   .opts = OPTS(.insecure_over_http = true),
                                   .is_secure = true },
                   -EINVAL, "needs Secure");
    expect_refused(
        (struct asked){
            .name = "__Host-id", .value = "7", .opts = OPTS(.path = "/a"), .is_secure = true },
        -EINVAL, "__Host-");
    expect_refused(
        (struct asked){
            .name = "__Host-id", .value = "7", .opts = OPTS(.domain = "a.b"), .is_secure = true },
        -EINVAL, "__Host-");
    expect_refused((struct asked){ .name = "id",
                                   .value = "7",
                                   .opts = OPTS(.same_site = PIER_SAME_SITE_NONE) },
                   -EINVAL, "SameSite=None");
}

/* Sets four cookies, two of them twice. */
static int sets_again(struct pier_exchange *ex, void *arg)
{
    pier_res_add(ex, "Set-Cookie", "own=1");
    pier_res_set_cookie(ex, "id", "1", NULL);
    pier_res_set_cookie(ex, "id", "2", &(struct pier_cookie_opts){ .path = "/a" });
    pier_res_set_cookie(ex, "id", "3", &(struct pier_cookie_opts){ .domain = "a.b" });
    pier_res_set_cookie(ex, "idle", "4", NULL);
    pier_res_set_cookie(ex, "id", "5", &(struct pier_cookie_opts){ .max_age_s = 9 });
    pier_res_delete_cookie(ex, "id", &(struct pier_cookie_opts){ .domain = "A.b" });
    pier_res_set(ex, "X-Last", "1");
    return pier_http_empty(ex, 204);
}

TEST(a_cookie_that_is_set_again_is_sent_once)
{
    static const char *const there[] = { "own=1\r", "id=2;", "idle=4;", "id=5;", "id=; Max-Age=0" };
    struct pier_http_reply *reply = ask(sets_again, NULL, NULL);
    const char *raw = pier_http_reply_raw(reply, NULL);
    for (size_t i = 0; i < 5; i++)
        ck_assert_msg(strstr(raw, there[i]) != NULL, "no %s in %s", there[i], raw);
    ck_assert_msg(!strstr(raw, "id=1;") && !strstr(raw, "id=3;"), "%s", raw);
    ck_assert_ptr_nonnull(strstr(raw, "X-Last: 1\r\n"));
    pier_http_reply_free(reply);
}

TEST(cookie_calls_take_null)
{
    ck_assert_ptr_null(pier_req_cookie(NULL, "a"));
    ck_assert(!pier_req_cookie_at(NULL, 0, NULL, NULL));
    ck_assert_int_eq(pier_res_set_cookie(NULL, "a", "b", NULL), -EINVAL);
    ck_assert_int_eq(pier_res_delete_cookie(NULL, "a", NULL), -EINVAL);
}

HARNESS_MAIN("http_cookie")
