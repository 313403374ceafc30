/* SPDX-License-Identifier: MIT */
/*
 * http_router: which handler serves which request, with what; through the test client, which needs
 * no socket.
 */
#include "harness.h"

#include <pier/pier.h>

#include "http/exchange.h"
#include "http/trie.h"

static struct pier_router *r;

/* Answers with its argument, and what the route took out of the path. */
static int says(struct pier_exchange *ex, void *arg)
{
    const char *id = pier_req_param(ex, "id"), *path = pier_req_param(ex, "path");
    return pier_http_textf(ex, 200, "%s%s%s%s%s", (const char *)arg, id ? " id=" : "", id ? id : "",
                           path ? " path=" : "", path ? path : "");
}

static void route(const char *pattern)
{
    ck_assert_msg(pier_route(r, pattern, says, (void *)pattern) == 0, "%s", pier_error());
}

static struct pier_http_reply *ask(const char *request, const char *fields)
{
    struct pier_http_reply *reply = pier_http_test(r, request, fields, NULL, 0);
    ck_assert_msg(reply != NULL, "%s: %s", request, pier_error());
    return reply;
}

static void expect(const char *request, const char *fields, int status, const char *body)
{
    struct pier_http_reply *reply = ask(request, fields);
    ck_assert_msg(pier_http_reply_status(reply) == status, "%s: %d", request,
                  pier_http_reply_status(reply));
    if (body)
        ck_assert_str_eq(pier_http_reply_body(reply, NULL), body);
    pier_http_reply_free(reply);
}

static void expect_field(const char *request, int status, const char *name, const char *value)
{
    struct pier_http_reply *reply = ask(request, NULL);
    const char *got = pier_http_reply_field(reply, name);
    ck_assert_int_eq(pier_http_reply_status(reply), status);
    ck_assert_msg(got && strcmp(got, value) == 0, "%s: %s: %s", request, name, got ? got : "none");
    pier_http_reply_free(reply);
}

static void begin(void)
{
    r = pier_router_new();
    ck_assert_ptr_nonnull(r);
}

/* ---- paths ---- */

TEST(a_fixed_path_is_itself_and_nothing_else)
{
    begin();
    route("GET /");
    route("GET /a/b");
    expect("GET /", NULL, 200, "GET /");
    expect("GET /a/b", NULL, 200, "GET /a/b");
    expect("GET /a", NULL, 404, NULL);
    expect("GET /a/b/", NULL, 404, NULL);
    expect("GET /a/b/c", NULL, 404, NULL);
    expect("GET /A/b", NULL, 404, NULL);
    expect("GET //a/b", NULL, 404, NULL);
    pier_router_free(r);
}

TEST(a_parameter_takes_one_segment_decoded)
{
    begin();
    route("GET /users/{id}");
    expect("GET /users/7", NULL, 200, "GET /users/{id} id=7");
    expect("GET /users/a%2Fb%20c", NULL, 200, "GET /users/{id} id=a/b c");
    expect("GET /users/", NULL, 404, NULL);
    expect("GET /users/7/x", NULL, 404, NULL);
    pier_router_free(r);
}

TEST(a_rest_takes_all_that_is_left)
{
    begin();
    route("GET /files/{path...}");
    expect("GET /files/a/b%20c/", NULL, 200, "GET /files/{path...} path=a/b c/");
    expect("GET /files/", NULL, 200, "GET /files/{path...} path=");
    expect("GET /files", NULL, 404, NULL);
    pier_router_free(r);
}

TEST(fixed_goes_before_parameter_before_rest_and_comes_back)
{
    begin();
    route("GET /a/{path...}");
    route("GET /a/{id}");
    route("GET /a/x");
    route("GET /a/x/y");
    route("GET /a/{id}/z");
    expect("GET /a/x", NULL, 200, "GET /a/x");
    expect("GET /a/q", NULL, 200, "GET /a/{id} id=q");
    expect("GET /a/x/z", NULL, 200, "GET /a/{id}/z id=x");
    expect("GET /a/x/w", NULL, 200, "GET /a/{path...} path=x/w");
    pier_router_free(r);
}

TEST(fixed_segments_are_compared_decoded)
{
    begin();
    route("GET /caf\xc3\xa9/menu");
    expect("GET /caf%C3%A9/m%65nu", NULL, 200, "GET /caf\xc3\xa9/menu");
    pier_router_free(r);
}

TEST(dot_segments_are_refused_however_they_are_written)
{
    static const char *const paths[] = { "/a/../b", "/a/./b",      "/..",  "/a/%2e%2E/b",
                                         "/a/.%2e", "/a%2F..%2fb", "/%2e", "/x/..%2f..%2fetc" };
    begin();
    route("GET /{path...}");
    for (size_t i = 0; i < sizeof paths / sizeof paths[0]; i++) {
        char request[64];
        snprintf(request, sizeof request, "GET %s", paths[i]);
        expect(request, NULL, 400, NULL);
    }
    expect("GET /a/.b/..c/d..", NULL, 200, "GET /{path...} path=a/.b/..c/d..");
    pier_router_free(r);
}

TEST(a_path_deeper_than_any_pattern_is_a_rest_or_nothing)
{
    char request[256] = "GET ";
    begin();
    for (int i = 0; i < 100; i++)
        strcat(request, "/a");
    route("GET /b");
    expect(request, NULL, 404, NULL);
    pier_router_free(r);
    begin();
    route("GET /a/{path...}");
    expect(request, NULL, 200, NULL);
    pier_router_free(r);
}

/* ---- methods ---- */

TEST(head_is_served_by_get_without_a_body)
{
    begin();
    route("GET /");
    expect("HEAD /", NULL, 200, "");
    expect_field("HEAD /", 200, "Content-Length", "5");
    pier_router_free(r);
}

TEST(another_method_is_405_with_those_that_are_allowed)
{
    begin();
    route("GET /a");
    route("PUT /a");
    route("DELETE /{id}");
    expect_field("POST /a", 405, "Allow", "PUT, GET, HEAD, DELETE, OPTIONS");
    expect("DELETE /a", NULL, 200, "DELETE /{id} id=a");
    expect("POST /b/c", NULL, 404, NULL);
    pier_router_free(r);
}

TEST(options_is_answered_from_the_routes)
{
    begin();
    route("GET /a");
    expect_field("OPTIONS /a", 204, "Allow", "GET, HEAD, OPTIONS");
    expect_field("OPTIONS *", 204, "Allow", "OPTIONS");
    expect("OPTIONS /b", NULL, 404, NULL);
    pier_router_free(r);
}

TEST(a_route_without_a_method_serves_those_that_have_none_of_their_own)
{
    begin();
    route("/a");
    route("POST /a");
    expect("POST /a", NULL, 200, "POST /a");
    expect("PATCH /a", NULL, 200, "/a");
    expect("GET /a", NULL, 200, "/a");
    pier_router_free(r);
}

/* ---- hosts ---- */

TEST(a_host_goes_before_a_wildcard_before_none)
{
    begin();
    route("GET /");
    route("GET example.com/");
    route("GET *.example.com/");
    route("GET /common");
    expect("GET /", "Host: example.com:8000\r\n", 200, "GET example.com/");
    expect("GET /", "Host: EXAMPLE.com\r\n", 200, "GET example.com/");
    expect("GET /", "Host: a.b.example.com\r\n", 200, "GET *.example.com/");
    expect("GET /", "Host: notexample.com\r\n", 200, "GET /");
    expect("GET /common", "Host: example.com\r\n", 200, "GET /common");
    expect("GET /", "Host: [::1]:80\r\n", 200, "GET /");
    pier_router_free(r);
}

TEST(an_ipv6_host_is_compared_in_brackets)
{
    begin();
    route("GET [::1]/");
    expect("GET /", "Host: [::1]:8000\r\n", 200, "GET [::1]/");
    expect("GET /", "Host: [::2]\r\n", 404, NULL);
    pier_router_free(r);
}

/* ---- groups and middleware ---- */

static int marks(struct pier_exchange *ex, void *arg)
{
    pier_res_add(ex, "X-Seen", arg);
    return pier_next(ex);
}

static int keeps_out(struct pier_exchange *ex, void *arg)
{
    return pier_http_error(ex, 403, "not %s", (const char *)arg);
}

TEST(groups_continue_paths_and_middleware)
{
    begin();
    pier_use(r, marks, "outer");
    struct pier_router *api = pier_group(r, "/api");
    struct pier_router *v1 = pier_group(api, "/v1");
    ck_assert_int_eq(pier_route(v1, "GET /users/{id}", says, "users"), 0);
    pier_use(v1, marks, "inner"); /* whenever it is added */
    route("GET /");
    struct pier_http_reply *reply = ask("GET /api/v1/users/7", NULL);
    ck_assert_str_eq(pier_http_reply_body(reply, NULL), "users id=7");
    const char *raw = pier_http_reply_raw(reply, NULL);
    const char *outer = strstr(raw, "X-Seen: outer"), *inner = strstr(raw, "X-Seen: inner");
    ck_assert(outer && inner && outer < inner);
    pier_http_reply_free(reply);
    expect_field("GET /nothing", 404, "X-Seen", "outer");
    pier_router_free(r);
}

TEST(middleware_can_answer_itself)
{
    begin();
    struct pier_router *admin = pier_group(r, "/admin");
    pier_use(admin, keeps_out, "you");
    ck_assert_int_eq(pier_route(admin, "GET /x", says, "x"), 0);
    route("GET /adminx");
    expect("GET /admin/x", NULL, 403, "403 Forbidden\nnot you\n");
    expect("GET /admin/nothing", NULL, 403, NULL);
    expect("GET /adminx", NULL, 200, NULL);
    pier_router_free(r);
}

TEST(who_answers_what_is_not_found_can_be_chosen)
{
    begin();
    route("GET /a");
    pier_not_found(r, says, "lost");
    expect("GET /b", NULL, 200, "lost");
    expect("POST /a", NULL, 405, NULL);
    pier_router_free(r);
}

static int calls_twice(struct pier_exchange *ex, void *arg)
{
    int rc = pier_next(ex);
    ck_assert_int_eq(pier_next(ex), -EALREADY);
    return rc;
}

TEST(the_rest_of_the_chain_is_called_once)
{
    begin();
    pier_use(r, calls_twice, NULL);
    route("GET /");
    expect("GET /", NULL, 200, "GET /");
    pier_router_free(r);
}

/* ---- what cannot be ---- */

static void expect_bad(const char *pattern, int code)
{
    begin();
    route("GET /there/{id}");
    ck_assert_msg(pier_route(r, pattern, says, NULL) == code, "%s: %s", pattern, pier_error());
    ck_assert_ptr_null(pier_http_test(r, "GET /", NULL, NULL, 0));
    ck_assert_int_eq(pier_error_code(), code);
    pier_router_free(r);
}

TEST(bad_patterns_are_told_at_once_and_when_serving)
{
    expect_bad("", -EINVAL);
    expect_bad("GET", -EINVAL);
    expect_bad("G@T /", -EINVAL);
    expect_bad("GET users", -EINVAL);
    expect_bad("GET /{", -EINVAL);
    expect_bad("GET /{}", -EINVAL);
    expect_bad("GET /a{id}", -EINVAL);
    expect_bad("GET /{path...}/x", -EINVAL);
    expect_bad("GET /{a}/{a}", -EINVAL);
    expect_bad("GET a*b.com/", -EINVAL);
    expect_bad("GET /there/{other}", -EEXIST);
}

TEST(a_missing_router_says_so)
{
    ck_assert_int_eq(pier_route(NULL, "GET /", says, NULL), -EINVAL);
    ck_assert_ptr_null(pier_group(NULL, "/a"));
    ck_assert_ptr_null(pier_http_test(NULL, "GET /", NULL, NULL, 0));
    pier_router_free(NULL);
}

TEST(a_router_that_serves_takes_no_more_routes)
{
    begin();
    route("GET /");
    expect("GET /", NULL, 200, NULL);
    ck_assert_int_eq(pier_route(r, "GET /late", says, NULL), -EALREADY);
    pier_router_free(r);
}

TEST(allocation_failures_are_said_and_leave_nothing)
{
    long before = pi_alloc_count();
    for (long n = 1;; n++) {
        pi_alloc_fail(n);
        struct pier_router *some = pier_router_new();
        struct pier_router *group = pier_group(some, "/g");
        pier_use(group, marks, "x");
        int rc = pier_route(group, "GET example.com/a/{id}/b", says, NULL);
        pi_alloc_fail(0);
        pier_router_free(some);
        ck_assert_int_eq(pi_alloc_count(), before);
        if (rc == 0)
            break;
        ck_assert(rc == -ENOMEM || rc == -EINVAL);
        ck_assert_int_lt(n, 100);
    }
}

/* ---- the look-up ---- */

static int64_t time_of(struct pi_trie_node *root, const struct pi_segments *segments)
{
    int64_t best = INT64_MAX;
    for (int round = 0; round < 20; round++) {
        int64_t began = pier_now();
        for (int i = 0; i < 1000; i++) {
            struct pi_trie_search s = { .method_id = PI_H1_GET, .segments = segments };
            ck_assert(pi_trie_search(root, &s));
        }
        int64_t took = pier_now() - began;
        best = took < best ? took : best;
    }
    return best;
}

static struct pi_trie_node *many(int count, struct pi_route *routes)
{
    struct pi_trie_node *root = pi_trie_new();
    for (int i = 0; i < count; i++) {
        char name[32];
        int len = snprintf(name, sizeof name, "resource%d", i);
        struct pi_trie_node *node = pi_trie_child(&root->children, name, (size_t)len);
        routes[i] = (struct pi_route){ .method = "GET", .method_id = PI_H1_GET };
        node = pi_trie_child(&node->children, "items", 5);
        node->here = &routes[i];
    }
    return root;
}

TEST(ten_thousand_routes_are_looked_up_like_ten)
{
    static struct pi_route routes[10000], few_routes[10];
    struct pi_segments segments = { .part = { { "resource7", 9 }, { "items", 5 } }, .count = 2 };
    struct pi_trie_node *few = many(10, few_routes), *all = many(10000, routes);
    int64_t small = time_of(few, &segments), large = time_of(all, &segments);
    ck_assert_msg(large < 4 * small + 20000, "%lld and %lld ns for 1,000", (long long)small,
                  (long long)large);
    pi_trie_free(few);
    pi_trie_free(all);
}

HARNESS_MAIN("http_router")
