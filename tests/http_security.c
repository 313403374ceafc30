/* SPDX-License-Identifier: MIT */
/*
 * http_security: the fields that make browsers careful, and which other origins' pages may read
 * responses.
 */
#include "harness.h"

#include <pier/pier.h>

#include "http/exchange.h"

static int hello(struct pier_exchange *ex, void *arg)
{
    return pier_http_text(ex, 200, "hello\n");
}

static int frames(struct pier_exchange *ex, void *arg)
{
    pier_res_set(ex, "X-Frame-Options", "SAMEORIGIN");
    pier_res_add(ex, "Vary", "Accept");
    return hello(ex, arg);
}

static int fails(struct pier_exchange *ex, void *arg)
{
    return -EIO;
}

static struct pier_router *routes(void)
{
    struct pier_router *r = pier_router_new();
    pier_route(r, "GET /", hello, NULL);
    pier_route(r, "GET /frames", frames, NULL);
    pier_route(r, "GET /fails", fails, NULL);
    pier_log_set_level(PIER_LOG_ERROR - 1);
    return r;
}

static void expect(struct pier_router *r, const char *request, const char *fields, const char *name,
                   const char *value)
{
    struct pier_http_reply *reply = pier_http_test(r, request, fields, NULL, 0);
    ck_assert_msg(reply != NULL, "%s", pier_error());
    const char *got = pier_http_reply_field(reply, name);
    bool is_same = got && value ? strcmp(got, value) == 0 : got == value;
    ck_assert_msg(is_same, "%s: %s: %s", request, name, got ? got : "none");
    pier_http_reply_free(reply);
}

/* ---- security ---- */

TEST(responses_and_errors_are_careful_by_default)
{
    static const char *const paths[] = { "GET /", "GET /fails", "GET /nothing", "PUT /" };
    struct pier_router *r = routes();
    ck_assert_int_eq(pier_use_security(r, NULL), 0);
    for (int i = 0; i < 4; i++) {
        expect(r, paths[i], NULL, "X-Content-Type-Options", "nosniff");
        expect(r, paths[i], NULL, "Content-Security-Policy",
               "default-src 'self'; object-src 'none'; base-uri 'self'; form-action 'self'; "
               "frame-ancestors 'none'");
        expect(r, paths[i], NULL, "X-Frame-Options", "DENY");
        expect(r, paths[i], NULL, "Referrer-Policy", "strict-origin-when-cross-origin");
        expect(r, paths[i], NULL, "Permissions-Policy",
               "camera=(), geolocation=(), microphone=(), payment=(), usb=()");
        expect(r, paths[i], NULL, "Cross-Origin-Opener-Policy", "same-origin");
        expect(r, paths[i], NULL, "Strict-Transport-Security", NULL);
    }
    pier_router_free(r);
}

TEST(a_handler_and_options_have_the_last_word)
{
    struct pier_router *r = routes();
    pier_use_security(r, &(struct pier_security_opts){ .content_policy = "default-src 'none'",
                                                       .referrer_policy = "" });
    expect(r, "GET /frames", NULL, "X-Frame-Options", "SAMEORIGIN");
    expect(r, "GET /frames", NULL, "Content-Security-Policy", "default-src 'none'");
    expect(r, "GET /frames", NULL, "Referrer-Policy", NULL);
    pier_router_free(r);
}

/* As a proxy that is trusted would say it. */
static int over_tls(struct pier_exchange *ex, void *arg)
{
    ex->has_proto = ex->proto_is_secure = true;
    return pier_next(ex);
}

static void expect_hsts(const struct pier_security_opts *opts, const char *value)
{
    struct pier_router *r = routes();
    pier_use(r, over_tls, NULL);
    pier_use_security(r, opts);
    expect(r, "GET /", NULL, "Strict-Transport-Security", value);
    pier_router_free(r);
}

TEST(strict_transport_is_said_over_tls)
{
    expect_hsts(NULL, "max-age=31536000");
    expect_hsts(&(struct pier_security_opts){ .hsts_max_age_s = -1 }, NULL);
    expect_hsts(&(struct pier_security_opts){ .hsts_max_age_s = 60,
                                              .hsts_subdomains = true,
                                              .hsts_preload = true },
                "max-age=60; includeSubDomains; preload");
}

TEST(the_id_that_clients_are_told_is_the_requests_not_theirs)
{
    struct pier_router *r = routes();
    pier_use_request_id(r);
    struct pier_http_reply *reply = pier_http_test(r, "GET /", "X-Request-Id: mine\r\n", NULL, 0);
    ck_assert_uint_eq(strlen(pier_http_reply_field(reply, "X-Request-Id")), 16);
    pier_http_reply_free(reply);
    pier_router_free(r);
}

/* ---- CORS ---- */

#define ORIGIN "Origin: https://app.example\r\n"
#define OTHER "Origin: https://app.example.evil\r\n"
#define PREFLIGHT "Access-Control-Request-Method: PUT\r\n"

static const char *const origins[] = { "https://app.example", "http://localhost:3000", NULL };

static struct pier_router *shared(const struct pier_cors_opts *opts)
{
    struct pier_router *r = routes();
    ck_assert_msg(pier_use_cors(r, opts) == 0, "%s", pier_error());
    return r;
}

TEST(only_origins_of_the_list_may_read)
{
    struct pier_router *r = shared(
        &(struct pier_cors_opts){ .origins = origins, .credentials = true, .expose = "X-Total" });
    expect(r, "GET /", ORIGIN, "Access-Control-Allow-Origin", "https://app.example");
    expect(r, "GET /", ORIGIN, "Access-Control-Allow-Credentials", "true");
    expect(r, "GET /", ORIGIN, "Access-Control-Expose-Headers", "X-Total");
    expect(r, "GET /fails", ORIGIN, "Access-Control-Allow-Origin", "https://app.example");
    expect(r, "GET /", OTHER, "Access-Control-Allow-Origin", NULL);
    expect(r, "GET /", OTHER, "Access-Control-Allow-Credentials", NULL);
    expect(r, "GET /", "Origin: null\r\n", "Access-Control-Allow-Origin", NULL);
    expect(r, "GET /", NULL, "Access-Control-Allow-Origin", NULL);
    pier_router_free(r);
}

TEST(caches_are_told_that_the_origin_matters)
{
    struct pier_router *r = shared(&(struct pier_cors_opts){ .origins = origins });
    expect(r, "GET /", NULL, "Vary", "Origin");
    expect(r, "GET /", ORIGIN, "Vary", "Origin");
    struct pier_http_reply *reply = pier_http_test(r, "GET /frames", ORIGIN, NULL, 0);
    const char *raw = pier_http_reply_raw(reply, NULL);
    ck_assert(strstr(raw, "\r\nVary: Origin\r\n") && strstr(raw, "\r\nVary: Accept\r\n"));
    pier_http_reply_free(reply);
    pier_router_free(r);
}

TEST(a_preflight_is_answered_before_any_route)
{
    struct pier_router *r = shared(&(struct pier_cors_opts){
        .origins = origins, .methods = "GET, PUT", .headers = "Content-Type", .max_age_s = 5 });
    const char *fields = ORIGIN PREFLIGHT;
    expect(r, "OPTIONS /", fields, "Access-Control-Allow-Origin", "https://app.example");
    expect(r, "OPTIONS /", fields, "Access-Control-Allow-Methods", "GET, PUT");
    expect(r, "OPTIONS /", fields, "Access-Control-Allow-Headers", "Content-Type");
    expect(r, "OPTIONS /", fields, "Access-Control-Max-Age", "5");
    expect(r, "OPTIONS /", OTHER PREFLIGHT, "Access-Control-Allow-Methods", NULL);
    expect(r, "OPTIONS /", ORIGIN, "Allow", "GET, HEAD, OPTIONS");
    struct pier_http_reply *reply = pier_http_test(r, "OPTIONS /", OTHER PREFLIGHT, NULL, 0);
    ck_assert_int_eq(pier_http_reply_status(reply), 403);
    pier_http_reply_free(reply);
    reply = pier_http_test(r, "OPTIONS /", fields, NULL, 0);
    ck_assert_int_eq(pier_http_reply_status(reply), 204);
    ck_assert_ptr_nonnull(strstr(pier_http_reply_raw(reply, NULL),
                                 "Vary: Access-Control-Request-Method, "
                                 "Access-Control-Request-Headers\r\n"));
    pier_http_reply_free(reply);
    pier_router_free(r);
}

TEST(all_origins_are_a_star_and_need_no_vary)
{
    static const char *const all[] = { "*", NULL };
    struct pier_router *r = shared(&(struct pier_cors_opts){ .origins = all });
    expect(r, "GET /", OTHER, "Access-Control-Allow-Origin", "*");
    expect(r, "GET /", OTHER, "Vary", NULL);
    pier_router_free(r);
}

static void expect_refused(const struct pier_cors_opts *opts, const char *words)
{
    struct pier_router *r = routes();
    ck_assert_int_eq(pier_use_cors(r, opts), -EINVAL);
    ck_assert_msg(strstr(pier_error(), words) != NULL, "%s", pier_error());
    ck_assert_ptr_null(pier_http_test(r, "GET /", NULL, NULL, 0));
    pier_router_free(r);
}

#define ORIGINS(...) ((const char *const[]){ __VA_ARGS__, NULL })

TEST(options_that_would_open_too_much_keep_the_server_from_starting)
{
    expect_refused(NULL, "no origin");
    expect_refused(&(struct pier_cors_opts){ .methods = "GET" }, "no origin");
    expect_refused(&(struct pier_cors_opts){ .origins = ORIGINS("*"), .credentials = true },
                   "credentials");
    expect_refused(
        &(struct pier_cors_opts){ .origins = origins, .headers = "*", .credentials = true },
        "credentials");
    expect_refused(&(struct pier_cors_opts){ .origins = ORIGINS("https://a.b/") }, "no origin");
    expect_refused(&(struct pier_cors_opts){ .origins = ORIGINS("HTTPS://a.b") }, "no origin");
    expect_refused(&(struct pier_cors_opts){ .origins = ORIGINS("null") }, "no origin");
    expect_refused(&(struct pier_cors_opts){ .origins = ORIGINS("https://a.b", "*") }, "no origin");
    expect_refused(&(struct pier_cors_opts){ .origins = origins, .methods = "A\r\nB" }, "value");
}

HARNESS_MAIN("http_security")
