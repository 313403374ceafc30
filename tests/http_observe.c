/* SPDX-License-Identifier: MIT */
/* backends: epoll io_uring */
/*
 * http_observe: what an endpoint does round its exchanges: whom it believes, what it writes down
 * and counts, and what it says of itself; over sockets, since the peer's address matters.
 */
#include "net_serving.h"

#include <sys/wait.h>

#include "http/observe.h"

#define HTTP "http://127.0.0.1:0"
#define TRACE "0af7651916cd43dd8448eb211c80319c"
#define TRACEPARENT "traceparent: 00-" TRACE "-b7ad6b7169203331-01\r\n"

/* ---- a server ---- */

struct web {
    struct serving sv;
    struct pier_router *r;
};

static int hello(struct pier_exchange *ex, void *arg)
{
    return pier_http_text(ex, 200, "hello\n");
}

static int tells(struct pier_exchange *ex, void *arg)
{
    return pier_http_textf(ex, 200, "client=%s secure=%d host=%s id=%s", pier_req_client(ex),
                           pier_req_is_secure(ex), pier_req_host(ex), pier_req_id(ex));
}

static int traces(struct pier_exchange *ex, void *arg)
{
    const char *parent = pier_req_traceparent(ex);
    ck_assert_str_eq(pier_req_traceparent(ex), parent);
    return pier_http_textf(ex, 200, "%s %s", pier_req_trace_id(ex), parent);
}

static int fails(struct pier_exchange *ex, void *arg)
{
    return -EIO;
}

static void start_at(struct web *w, const char *url, const struct pier_serve_opts *serve_opts,
                     const struct pier_http_opts *opts)
{
    int before = count_fds();
    pier_log_set(keep_record, NULL);
    pier_route(w->r, "GET /", hello, NULL);
    pier_route(w->r, "GET /tell", tells, NULL);
    pier_route(w->r, "GET /trace", traces, NULL);
    pier_route(w->r, "GET /fails", fails, NULL);
    pier_route(pier_group(w->r, "/api"), "GET /users/{id}", hello, NULL);
    struct pier_server *s = pier_server_new(serve_opts);
    ck_assert_msg(pier_server_add_http(s, url, w->r, opts) == 0, "%s", pier_error());
    ck_assert_int_eq(pier_server_listen(s), 0);
    serve_with(&w->sv, s);
    w->sv.fds = before;
}

static const struct pier_serve_opts one = { .workers = 1 };

static void start(struct web *w, const struct pier_http_opts *opts)
{
    w->r = pier_router_new();
    start_at(w, HTTP, &one, opts);
}

static void stop(struct web *w)
{
    ck_assert_int_eq(end_serving(&w->sv), 0);
    pier_router_free(w->r);
}

/* What comes back for "GET path", head included. */
static const char *get(const struct web *w, const char *path, const char *fields)
{
    static char got[262144];
    char request[4096];
    int fd = client(w->sv.server);
    int len = snprintf(request, sizeof request,
                       "GET %s HTTP/1.1\r\nHost: a\r\nConnection: close\r\n%s\r\n", path, fields);
    send_all(fd, request, (size_t)len);
    ssize_t n = read_to_end(fd, got, sizeof got - 1);
    ck_assert_msg(n > 0, "%s", pier_strerror((int)n));
    got[n] = '\0';
    close(fd);
    return got;
}

static void expect(const char *got, const char *part)
{
    ck_assert_msg(strstr(got, part) != NULL, "no \"%s\" in: %s", part, got);
}

/* ---- proxies ---- */

#define LIST(...) ((const char *const[]){ __VA_ARGS__, NULL })

static void expect_told(const struct pier_proxy_opts *proxies, const char *fields, const char *told)
{
    struct web w;
    start(&w, &(struct pier_http_opts){ .proxies = proxies });
    expect(get(&w, "/tell", fields), told);
    stop(&w);
}

static const struct pier_proxy_opts local = {
    .trusted = (const char *const[]){ "127.0.0.0/8", "10.0.0.0/8", NULL },
    .host = true
};

TEST(a_stranger_is_not_believed)
{
    const struct pier_proxy_opts far = { .trusted = LIST("10.0.0.0/8"), .host = true };
    const char *fields = "X-Forwarded-For: 192.0.2.7\r\nX-Forwarded-Proto: https\r\n"
                         "X-Forwarded-Host: evil\r\nX-Request-Id: mine\r\n";
    expect_told(&far, fields, "client=127.0.0.1 secure=0 host=a id=");
    expect_told(NULL, fields, "client=127.0.0.1 secure=0 host=a id=");
    struct web w;
    start(&w, &(struct pier_http_opts){ .proxies = &far });
    ck_assert_ptr_null(strstr(get(&w, "/tell", fields), "id=mine"));
    stop(&w);
}

TEST(a_trusted_proxy_says_who_the_client_is)
{
    expect_told(&local,
                "X-Forwarded-For: 192.0.2.7\r\nX-Forwarded-Proto: https\r\n"
                "X-Forwarded-Host: Example.com:8\r\nX-Request-Id: theirs-1\r\n",
                "client=192.0.2.7 secure=1 host=example.com:8 id=theirs-1");
    expect_told(&local, "X-Forwarded-For: 2001:db8::7\r\nX-Forwarded-Host: a b\r\n",
                "client=2001:db8::7 secure=0 host=a id=");
    expect_told(&local, "X-Forwarded-Proto: https\r\n", "client=127.0.0.1 secure=1");
    expect_told(&local, "", "client=127.0.0.1 secure=0 host=a");
}

TEST(the_last_address_that_is_no_proxys_counts)
{
    expect_told(&local, "X-Forwarded-For: 1.1.1.1, 192.0.2.7, 10.9.9.9\r\n", "client=192.0.2.7 ");
    expect_told(&local, "X-Forwarded-For: 1.1.1.1\r\nX-Forwarded-For: 192.0.2.7:99\r\n",
                "client=192.0.2.7 ");
    expect_told(&local, "X-Forwarded-For: 10.0.0.1, 10.0.0.2\r\n", "client=10.0.0.1 ");
    expect_told(&local, "X-Forwarded-For: 192.0.2.7, nonsense, 10.0.0.2\r\n", "client=10.0.0.2 ");
    expect_told(&local, "X-Forwarded-For: 192.0.2.7, unknown\r\n", "client=127.0.0.1 ");
    expect_told(&local,
                "X-Forwarded-For: 1.1.1.1, 192.0.2.7, 10.0.0.2\r\n"
                "X-Forwarded-Proto: http, https, http\r\n",
                "client=192.0.2.7 secure=1");
}

TEST(forwarded_is_read_instead_where_that_is_what_proxies_send)
{
    const struct pier_proxy_opts standard = { .trusted = LIST("127.0.0.1"), .forwarded = true };
    expect_told(&standard,
                "Forwarded: for=1.1.1.1, for=\"[2001:db8::7]:1\";proto=https;host=evil\r\n"
                "X-Forwarded-For: 192.0.2.9\r\n",
                "client=2001:db8::7 secure=1 host=a");
    expect_told(&standard, "Forwarded: for=192.0.2.7, ;;\r\n", "client=127.0.0.1 ");
    expect_told(&local, "Forwarded: for=192.0.2.7\r\n", "client=127.0.0.1 ");
}

/* What a client sends stands to the left of what its proxy adds. */
TEST(a_quote_that_a_client_leaves_open_hides_no_address)
{
    const struct pier_proxy_opts standard = { .trusted = LIST("127.0.0.1"), .forwarded = true };
    expect_told(&local, "X-Forwarded-For: \", 192.0.2.7\r\n", "client=192.0.2.7 ");
    expect_told(&local, "X-Forwarded-For: \"\r\nX-Forwarded-For: 192.0.2.7\r\n",
                "client=192.0.2.7 ");
    expect_told(&local,
                "X-Forwarded-For: 192.0.2.7\r\nX-Forwarded-Proto: \"\r\n"
                "X-Forwarded-Proto: https\r\n",
                "client=192.0.2.7 secure=1");
    expect_told(&standard, "Forwarded: for=\", for=192.0.2.7\r\n", "client=192.0.2.7 ");
    expect_told(&standard, "Forwarded: for=\"\\\r\nForwarded: for=\"192.0.2.7:1\"\r\n",
                "client=192.0.2.7 ");
    expect_told(&standard, "Forwarded: for=\"1.1.1.1, for=2.2.2.2\", for=192.0.2.7\r\n",
                "client=192.0.2.7 ");
}

TEST(a_network_that_is_none_is_said_when_the_server_is_made)
{
    struct pier_router *r = pier_router_new();
    struct pier_server *s = pier_server_new(NULL);
    const struct pier_proxy_opts bad = { .trusted = LIST("10.0.0.0/8", "10.0.0.0/33") };
    ck_assert_int_eq(pier_server_add_http(s, HTTP, r, &(struct pier_http_opts){ .proxies = &bad }),
                     -EINVAL);
    expect(pier_error(), "trusted proxy 10.0.0.0/33: ");
    pier_server_free(s);
    pier_router_free(r);
}

TEST(proxies_without_memory_are_an_error_and_no_leak)
{
    struct pi_proxies *p = NULL;
    long before = pi_alloc_count();
    for (long at = 1; !p && at < 100; at++) {
        pi_alloc_fail(at);
        p = pi_proxies_new(&local);
        pi_alloc_fail(0);
        if (!p)
            ck_assert_int_eq(pi_alloc_count(), before);
    }
    ck_assert_ptr_nonnull(p);
    pi_proxies_free(p);
    ck_assert_int_eq(pi_alloc_count(), before);
}

/* ---- traces ---- */

TEST(a_request_stays_in_its_trace_with_a_span_of_its_own)
{
    struct web w;
    start(&w, NULL);
    const char *got = get(&w, "/trace", TRACEPARENT);
    expect(got, "\r\n\r\n" TRACE " 00-" TRACE "-");
    ck_assert_ptr_null(strstr(got, "b7ad6b7169203331"));
    expect(got, "-01");
    got = get(&w, "/trace", "traceparent: 00-nonsense\r\n");
    const char *body = strstr(got, "\r\n\r\n") + 4;
    ck_assert_uint_eq(strlen(body), 32 + 1 + 55);
    ck_assert_int_eq(strncmp(body, body + 33 + 3, 32), 0);
    ck_assert_int_eq(strspn(body, "0123456789abcdef"), 32);
    get(&w, "/fails", TRACEPARENT);
    ck_assert_int_eq(said("trace=" TRACE), 1);
    stop(&w);
}

/* ---- the access log ---- */

TEST(each_request_is_a_record_with_fields)
{
    struct web w;
    start(&w, &(struct pier_http_opts){
                  .access_log = &(struct pier_access_log_opts){ .combined = NULL } });
    get(&w, "/?q=1", "User-Agent: x\r\nReferer: y\r\n" TRACEPARENT);
    get(&w, "/\x01", "");
    AWAIT(said("request\n") == 2);
    ck_assert_int_eq(said("  client=127.0.0.1\n  method=GET\n  target=/?q=1\n  route=GET /\n"), 1);
    ck_assert_int_eq(said("  trace=" TRACE "\n  host=a\n  peer=127.0.0.1:"), 1);
    ck_assert_int_eq(said("  referer=y\n  user_agent=x\n"), 1);
    stop(&w);
}

/* All of a stream of our own. */
static const char *text_in(FILE *stream)
{
    static char text[8192];
    rewind(stream);
    text[fread(text, 1, sizeof text - 1, stream)] = '\0';
    return text;
}

TEST(a_line_of_the_combined_format_cannot_be_forged)
{
    struct web w;
    FILE *stream = tmpfile();
    ck_assert_ptr_nonnull(stream);
    start(&w, &(struct pier_http_opts){
                  .access_log = &(struct pier_access_log_opts){ .combined = stream } });
    get(&w, "/a?b", "User-Agent: a\"b\xff\r\n");
    get(&w, "/", "Referer: http://r/\r\n");
    get(&w, "/\x01", "");
    stop(&w);
    const char *text = text_in(stream);
    expect(text, "127.0.0.1 - - [");
    expect(text, " +0000] \"GET /a?b HTTP/1.1\" 404 14 \"-\" \"a\\\"b\\xff\"\n");
    expect(text, " +0000] \"GET / HTTP/1.1\" 200 6 \"http://r/\" \"-\"\n");
    expect(text, " +0000] \"-\" 400 ");
    fclose(stream);
}

TEST(probes_are_left_out_when_they_are_well)
{
    struct web w = { .r = pier_router_new() };
    ck_assert_int_eq(pier_route_health(w.r, NULL), 0);
    start_at(&w, HTTP, &one,
             &(struct pier_http_opts){
                 .access_log = &(struct pier_access_log_opts){ .no_probes = true } });
    get(&w, "/livez", "");
    get(&w, "/", "");
    stop(&w);
    ck_assert_int_eq(said("request\n"), 1);
}

/* ---- health ---- */

static int always(void *arg)
{
    return *(int *)arg;
}

TEST(a_service_is_ready_when_all_checks_are)
{
    int first = 0, second = 0;
    const struct pier_ready_check checks[] = { { "disk", always, &first },
                                               { "database", always, &second },
                                               { 0 } };
    struct web w = { .r = pier_router_new() };
    pier_route_health(w.r, checks);
    start_at(&w, HTTP, &one, NULL);
    expect(get(&w, "/readyz", ""), "200 OK");
    second = -ECONNREFUSED;
    expect(get(&w, "/readyz", ""), "503 Service Unavailable");
    expect(get(&w, "/readyz", ""), "database: connection refused\n");
    expect(get(&w, "/livez", ""), "200 OK");
    expect(get(&w, "/livez", ""), "Cache-Control: no-store\r\n");
    stop(&w);
}

static int waits_for_ever(void *arg)
{
    return pier_sleep(PIER_HOUR);
}

TEST(a_check_that_hangs_is_timed_out_with_its_route)
{
    const struct pier_ready_check checks[] = { { "slow", waits_for_ever, NULL }, { 0 } };
    struct web w = { .r = pier_router_new() };
    pier_route_health(w.r, checks);
    start_at(&w, HTTP, &one, NULL);
    expect(get(&w, "/readyz", ""), "slow: timed out\n");
    stop(&w);
}

/* The connection was there before the stop, and asks again during it. */
TEST(a_server_that_drains_is_not_ready)
{
    static const char ask[] = "GET /readyz HTTP/1.1\r\nHost: a\r\n\r\n";
    struct web w = { .r = pier_router_new() };
    char got[4096];
    pier_route_health(w.r, NULL);
    start_at(&w, HTTP, &one, NULL);
    int fd = client(w.sv.server);
    send_all(fd, ask, 10);
    AWAIT(pier_server_conns(w.sv.server) == 1);
    pier_server_stop_remote(w.sv.server);
    AWAIT(atomic_load(&w.sv.server->draining));
    send_all(fd, ask + 10, sizeof ask - 11);
    ssize_t n = read_to_end(fd, got, sizeof got - 1);
    ck_assert_int_ge(n, 0);
    got[n] = '\0';
    expect(got, "503 Service Unavailable");
    expect(got, "draining\n");
    close(fd);
    ck_assert_int_eq(finish_serving(&w.sv), 0);
    pier_router_free(w.r);
}

/* ---- bans ---- */

static int bans(struct pier_exchange *ex, void *arg)
{
    int rc = pier_conn_ban(pier_exchange_conn(ex), PIER_MINUTE);
    return pier_http_textf(ex, 200, "banned: %d\n", rc);
}

TEST(a_handler_bans_a_client)
{
    static const struct pier_firewall_opts limits = { .max_per_ip = 100 };
    struct web w = { .r = pier_router_new() };
    pier_route(w.r, "GET /ban", bans, NULL);
    start_at(&w, HTTP, &(struct pier_serve_opts){ .workers = 1, .firewall = &limits }, NULL);
    expect(get(&w, "/ban", ""), "banned: 0\n");
    stop(&w);
}

/* ---- metrics ---- */

static void count_in(struct web *w, const struct pier_serve_opts *serve_opts,
                     struct pier_metrics *m)
{
    w->r = pier_router_new();
    ck_assert_int_eq(pier_route_metrics(w->r, m), 0);
    start_at(w, HTTP, serve_opts, &(struct pier_http_opts){ .metrics = m });
}

#define USERS "{route=\"/api/users/{id}\",method=\"GET\",code=\"2xx\""

TEST(requests_are_counted_by_route_method_and_class)
{
    struct web w;
    struct pier_metrics *m = pier_metrics_new();
    count_in(&w, &one, m);
    for (int i = 0; i < 3; i++)
        get(&w, i ? "/api/users/7" : "/api/users/8", "");
    get(&w, "/nothing", "");
    get(&w, "/\x01", "");
    const char *got = get(&w, "/metrics", "");
    expect(got, "Content-Type: text/plain; version=0.0.4; charset=utf-8\r\n");
    expect(got, "# TYPE http_requests_total counter\n");
    expect(got, "http_requests_total" USERS "} 3\n");
    expect(got, "http_requests_total{route=\"\",method=\"GET\",code=\"4xx\"} 1\n");
    expect(got, "http_requests_total{route=\"\",method=\"other\",code=\"4xx\"} 1\n");
    expect(got, "http_request_duration_seconds_bucket" USERS ",le=\"+Inf\"} 3\n");
    expect(got, "http_request_duration_seconds_count" USERS "} 3\n");
    expect(got, "http_response_body_bytes_total" USERS "} 18\n");
    expect(got, "http_requests_in_flight 1\n");
    expect(got, "http_connections ");
    stop(&w);
    pier_metrics_free(m);
}

TEST(processes_count_together)
{
    static const struct pier_serve_opts forks = { .model = PIER_PREFORK, .workers = 2 };
    struct pier_metrics *m = pier_metrics_new();
    struct web w = { .r = pier_router_new() };
    pier_route_metrics(w.r, m);
    pier_route(w.r, "GET /", hello, NULL);
    struct pier_server *s = pier_server_new(&forks);
    pier_server_add_http(s, HTTP, w.r, &(struct pier_http_opts){ .metrics = m });
    ck_assert_int_eq(pier_server_listen(s), 0);
    pid_t child = fork();
    if (child == 0)
        _exit(pier_server_run(s) == 0 ? 0 : 1);
    w.sv.server = s;
    for (int i = 0; i < 20; i++)
        expect(get(&w, "/", ""), "200 OK");
    AWAIT(strstr(get(&w, "/metrics", ""),
                 "http_requests_total{route=\"/\",method=\"GET\",code=\"2xx\"} 20\n"));
    kill(child, SIGTERM);
    int status;
    ck_assert_int_eq(waitpid(child, &status, 0), child);
    ck_assert_int_eq(status, 0);
    pier_server_free(s);
    pier_router_free(w.r);
    pier_metrics_free(m);
}

/* One exchange of the test client's, with figures. */
static int counts_many(struct pier_exchange *ex, void *arg)
{
    static struct pi_route route;
    char label[32];
    route = *ex->route;
    route.label = label;
    ex->route = &route;
    for (int i = 0; i < 2000; i++) {
        snprintf(label, sizeof label, "/%d", i);
        ex->status = 200;
        pi_metrics_begin(arg);
        pi_metrics_end(arg, ex, i * PIER_MILLISECOND);
    }
    return 0;
}

TEST(what_is_too_much_for_the_table_is_counted_all_the_same)
{
    struct pier_metrics *m = pier_metrics_new();
    struct pier_router *r = pier_router_new();
    pier_route(r, "GET /", counts_many, m);
    pier_route_metrics(r, m);
    pier_http_reply_free(pier_http_test(r, "GET /", NULL, NULL, 0));
    struct pier_http_reply *reply = pier_http_test(r, "GET /metrics", NULL, NULL, 0);
    const char *text = pier_http_reply_body(reply, NULL);
    expect(text, "http_requests_total{route=\"(other)\",method=\"\",code=\"none\"} 977\n");
    expect(text, "_bucket{route=\"/3\",method=\"GET\",code=\"2xx\",le=\"0.0025\"} 0\n");
    expect(text, "_bucket{route=\"/3\",method=\"GET\",code=\"2xx\",le=\"0.005\"} 1\n");
    expect(text, "_sum{route=\"/3\",method=\"GET\",code=\"2xx\"} 0.003000\n");
    pier_http_reply_free(reply);
    pier_router_free(r);
    pier_metrics_free(m);
}

TEST(calls_for_services_take_null)
{
    ck_assert_int_eq(pier_use_security(NULL, NULL), -EINVAL);
    ck_assert_int_eq(pier_use_cors(NULL, NULL), -EINVAL);
    ck_assert_int_eq(pier_use_request_id(NULL), -EINVAL);
    ck_assert_int_eq(pier_route_health(NULL, NULL), -EINVAL);
    ck_assert_int_eq(pier_route_metrics(NULL, NULL), -EINVAL);
    ck_assert_str_eq(pier_req_client(NULL), "?");
    ck_assert_str_eq(pier_req_traceparent(NULL), "");
    ck_assert_str_eq(pier_req_trace_id(NULL), "");
    pier_metrics_free(NULL);
}

HARNESS_MAIN("http_observe")
