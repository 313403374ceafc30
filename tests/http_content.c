/* SPDX-License-Identifier: MIT */
/*
 * http_content: forms and JSON in requests, JSON written into responses, and what clients are told
 * of bodies that are not what they say.
 */
#include "harness.h"

#include <pier/pier.h>

#include "http/exchange.h"

#define FORM "Content-Type: application/x-www-form-urlencoded\r\n"
#define JSON "Content-Type: application/json\r\n"

static struct pier_http_reply *post(pier_http_handler handler, const char *fields, const char *body,
                                    size_t len)
{
    struct pier_router *r = pier_router_new();
    pier_route_with(r, "POST /", handler, NULL, &(struct pier_route_opts){ .body_max = 10000 });
    struct pier_http_reply *reply = pier_http_test(r, "POST /", fields, body, len);
    ck_assert_msg(reply != NULL, "%s", pier_error());
    pier_router_free(r);
    return reply;
}

static void expect(pier_http_handler handler, const char *fields, const char *body, int status,
                   const char *part)
{
    struct pier_http_reply *reply = post(handler, fields, body, strlen(body));
    const char *got = pier_http_reply_body(reply, NULL);
    ck_assert_msg(pier_http_reply_status(reply) == status && strstr(got, part), "%s: %d %s", body,
                  pier_http_reply_status(reply), got);
    pier_http_reply_free(reply);
}

/* ---- forms ---- */

static int lists_form(struct pier_exchange *ex, void *arg)
{
    const char *name, *value;
    ck_assert_ptr_null(pier_req_form(ex, "a"));
    int rc = pier_body_form(ex);
    if (rc < 0)
        return rc;
    ck_assert_int_eq(pier_body_form(ex), 0);
    const char *a = pier_req_form(ex, "a");
    pier_res_printf(ex, "a is %s:", a ? a : "none");
    for (int i = 0; pier_req_form_at(ex, i, &name, &value); i++)
        pier_res_printf(ex, " %s=%s.", name, value);
    return 0;
}

TEST(a_form_is_decoded_and_kept_in_order)
{
    expect(lists_form, FORM, "a=1+2&b=%C3%A9%26&a=3&c", 200, "a is 1 2: a=1 2. b=é&. a=3. c=.");
    expect(lists_form, FORM, "", 200, "a is none:");
    expect(lists_form, "Content-Type: Application/X-WWW-Form-Urlencoded; charset=utf-8\r\n",
           "a=%zz", 200, "a is %zz:");
    expect(lists_form, FORM "Content-Encoding: Identity\r\n", "a=1", 200, "a is 1:");
}

TEST(a_body_that_is_no_form_is_415)
{
    expect(lists_form, NULL, "a=1", 415, "application/x-www-form-urlencoded");
    expect(lists_form, JSON, "{}", 415, "application/x-www-form-urlencoded");
    expect(lists_form, FORM "Content-Encoding: gzip\r\n", "a=1", 415, "Content-Encoding");
}

TEST(a_form_with_a_nul_is_400)
{
    expect(lists_form, FORM, "a=1%00", 400, "NUL");
    expect(lists_form, FORM, "a%00=1", 400, "NUL");
}

TEST(a_form_has_its_limits)
{
    char many[2 * 1002 + 1];
    for (size_t i = 0; i + 1 < sizeof many; i++)
        many[i] = i % 2 ? '&' : 'a';
    many[sizeof many - 1] = '\0';
    expect(lists_form, FORM, many, 413, "1,000 fields");
    many[2 * 1000] = '\0';
    expect(lists_form, FORM, many, 200, "a is :");
    static char large[10002];
    memset(large, 'a', sizeof large - 1);
    expect(lists_form, FORM, large, 413, "413");
}

TEST(a_refused_coding_says_which_one_does)
{
    struct pier_http_reply *reply = post(lists_form, FORM "Content-Encoding: br\r\n", "a=1", 3);
    ck_assert_int_eq(pier_http_reply_status(reply), 415);
    ck_assert_str_eq(pier_http_reply_field(reply, "Accept-Encoding"), "identity");
    pier_http_reply_free(reply);
}

/* ---- JSON in ---- */

static int adds_one(struct pier_exchange *ex, void *arg)
{
    const struct pier_json_value *v = pier_body_json(ex, arg);
    if (!v)
        return pier_error_code();
    return pier_http_textf(ex, 200, "%lld", (long long)pier_json_get_int(v, "n", 0) + 1);
}

TEST(json_is_read_from_what_says_that_it_is)
{
    expect(adds_one, JSON, "{\"n\":41}", 200, "42");
    expect(adds_one, "Content-Type: application/merge-patch+json; a=b\r\n", "{\"n\":1}", 200, "2");
    expect(adds_one, NULL, "{\"n\":1}", 415, "application/json");
    expect(adds_one, "Content-Type: text/plain\r\n", "{\"n\":1}", 415, "application/json");
    expect(adds_one, "Content-Type: text/+json\r\n", "{\"n\":1}", 415, "application/json");
    expect(adds_one, JSON "Content-Encoding: gzip\r\n", "{\"n\":1}", 415, "Content-Encoding");
}

TEST(json_that_is_none_is_400_with_its_place)
{
    expect(adds_one, JSON, "{\n \"n\": x}", 400, "line 2, column 7");
    expect(adds_one, JSON, "", 400, "line 1");
    expect(adds_one, JSON "Accept: application/json\r\n", "[1,", 400,
           "\"type\":\"about:blank\",\"title\":\"Bad Request\",\"status\":400,\"detail\":\"json: ");
}

TEST(json_has_its_limits)
{
    static char deep[203], large[10002];
    memset(deep, '[', sizeof deep - 1);
    expect(adds_one, JSON, deep, 413, "json: ");
    memset(large, ' ', sizeof large - 1);
    expect(adds_one, JSON, large, 413, "413");
}

/* ---- JSON out ---- */

static int counts(struct pier_exchange *ex, void *arg)
{
    struct pier_json w;
    pier_res_json(ex, 201, &w);
    pier_json_array(&w);
    for (int i = 0; i < 1000; i++)
        pier_json_int(&w, i);
    pier_json_close(&w);
    return (int)pier_json_end(&w);
}

TEST(json_is_written_as_it_grows)
{
    struct pier_http_reply *reply = post(counts, NULL, "", 0);
    size_t len;
    const char *text = pier_http_reply_body(reply, &len);
    struct pier_json_value *v = pier_json_parse(text, len, NULL);
    ck_assert_int_eq(pier_http_reply_status(reply), 201);
    ck_assert_str_eq(pier_http_reply_field(reply, "Content-Type"), "application/json");
    ck_assert_str_eq(pier_http_reply_field(reply, "Transfer-Encoding"), "chunked");
    ck_assert_uint_eq(pier_json_count(v), 1000);
    pier_json_free(v);
    pier_http_reply_free(reply);
}

static int writes_three(struct pier_exchange *ex, void *arg)
{
    struct pier_json w;
    pier_res_json(ex, 200, &w);
    pier_json_int(&w, 123);
    return (int)pier_json_end(&w);
}

TEST(short_json_has_its_length)
{
    struct pier_http_reply *reply = post(writes_three, NULL, "", 0);
    ck_assert_str_eq(pier_http_reply_field(reply, "Content-Length"), "3");
    ck_assert_str_eq(pier_http_reply_body(reply, NULL), "123");
    pier_http_reply_free(reply);
}

static int fails_within(struct pier_exchange *ex, void *arg)
{
    struct pier_json w;
    ck_assert_int_eq(pier_res_json(ex, 99, &w), -EINVAL);
    pier_json_str(&w, "lost");
    ck_assert_int_eq(pier_json_end(&w), -EINVAL);
    pier_res_set(ex, "Content-Type", "application/hal+json");
    ck_assert_int_eq(pier_res_json(ex, 200, &w), 0);
    pier_json_array(&w);
    ck_assert_int_eq(pier_json_end(&w), -EINVAL);
    return -EINVAL;
}

TEST(json_that_is_not_ended_fails_and_no_client_takes_it_for_whole)
{
    pier_log_set_level(PIER_LOG_ERROR - 1);
    struct pier_http_reply *reply = post(fails_within, NULL, "", 0);
    const char *raw = pier_http_reply_raw(reply, NULL);
    ck_assert_ptr_nonnull(strstr(raw, "500 Internal"));
    pier_http_reply_free(reply);
}

/* ---- without memory ---- */

static int does_it_all(struct pier_exchange *ex, void *arg)
{
    struct pier_json w;
    const struct pier_json_value *v = pier_body_json(ex, NULL);
    if (!v)
        return pier_error_code();
    int rc = pier_res_set_cookie(ex, "id", "7", NULL);
    if (rc < 0)
        return rc;
    pier_res_json(ex, 200, &w);
    pier_json_value(&w, v);
    return (int)pier_json_end(&w);
}

/* Whether the answer is the right one; otherwise it is a 500, or there is none. */
static bool is_answered(pier_http_handler handler, const char *fields, const char *body,
                        const char *answer, long countdown)
{
    struct pier_router *r = pier_router_new();
    pier_route(r, "POST /", handler, NULL);
    pi_alloc_fail(countdown);
    struct pier_http_reply *reply = pier_http_test(r, "POST /", fields, body, strlen(body));
    pi_alloc_fail(0);
    bool is_good = reply && pier_http_reply_status(reply) == 200;
    if (is_good)
        ck_assert_str_eq(pier_http_reply_body(reply, NULL), answer);
    else if (reply)
        ck_assert_int_eq(pier_http_reply_status(reply), 500);
    pier_http_reply_free(reply);
    pier_router_free(r);
    return is_good;
}

static void run_out(pier_http_handler handler, const char *fields, const char *answer)
{
    static char body[3000]; /* too much for what an exchange begins with */
    memset(body, ' ', sizeof body - 1);
    memcpy(body, answer, strlen(answer));
    if (strstr(fields, "form"))
        memset(body + strlen(answer), '&', sizeof body - 1 - strlen(answer));
    const char *shown = strstr(fields, "form") ? "a is 1: a=1." : answer;
    long before = pi_alloc_count(), at = 1;
    pier_log_set_level(PIER_LOG_ERROR - 1);
    while (!is_answered(handler, fields, body, shown, at) && at < 1000)
        at++;
    ck_assert_int_ge(at, 5);
    ck_assert_int_lt(at, 1000);
    ck_assert_int_eq(pi_alloc_count(), before);
}

TEST(each_lack_of_memory_is_a_500_and_no_leak)
{
    run_out(does_it_all, JSON, "[1,\"a\",{}]");
    run_out(lists_form, FORM, "a=1");
}

TEST(content_calls_take_null)
{
    ck_assert_int_eq(pier_body_form(NULL), -EINVAL);
    ck_assert_ptr_null(pier_req_form(NULL, "a"));
    ck_assert(!pier_req_form_at(NULL, 0, NULL, NULL));
    ck_assert_ptr_null(pier_body_json(NULL, NULL));
    ck_assert_int_eq(pier_res_json(NULL, 200, NULL), -EINVAL);
}

HARNESS_MAIN("http_content")
