/* SPDX-License-Identifier: MIT */
/* backends: epoll io_uring */
/*
 * http_server: connections with HTTP on them, as raw bytes from plain sockets: framing, keep-alive,
 * pipelining, bodies both ways, time-outs, and the end of a server.
 */
#include "net_serving.h"

#include <malloc.h>
#include <sys/un.h>

#include "http/exchange.h"

#define HTTP "http://127.0.0.1:0"
#define HOST "Host: a\r\n"

/* ---- a server ---- */

struct web {
    struct serving sv;
    struct pier_router *r;
};

static _Atomic int handled;

static int hello(struct pier_exchange *ex, void *arg)
{
    handled++;
    return pier_http_text(ex, 200, arg ? arg : "hello\n");
}

static int echo_all(struct pier_exchange *ex, void *arg)
{
    size_t len;
    const char *body = pier_body_all(ex, &len);
    return body ? pier_http_bytes(ex, 200, NULL, body, len) : pier_error_code();
}

/* Piece by piece, of unknown length; what the trailer said comes back in one. */
static int echo_pieces(struct pier_exchange *ex, void *arg)
{
    char buf[100];
    ssize_t n;
    pier_res_begin(ex, 200, -1);
    while ((n = pier_body_read(ex, buf, sizeof buf)) > 0)
        if (pier_res_write(ex, buf, (size_t)n) < 0)
            return -EIO;
    const char *sum = pier_req_trailer(ex, "X-Sum");
    if (sum)
        pier_res_trailer(ex, "X-Sum", sum);
    return (int)n;
}

static int fails(struct pier_exchange *ex, void *arg)
{
    return pier_error_set(-EIO, "the disk of %s", (const char *)arg);
}

static struct pier_router *routes(void)
{
    struct pier_router *r = pier_router_new();
    pier_route(r, "GET /", hello, NULL);
    pier_route(r, "POST /all", echo_all, NULL);
    pier_route(r, "POST /pieces", echo_pieces, NULL);
    pier_route(r, "GET /fails", fails, "ours");
    return r;
}

static void start(struct web *w, struct pier_router *r, const struct pier_serve_opts *serve_opts,
                  const struct pier_http_opts *opts)
{
    int before = count_fds();
    pier_log_set(keep_record, NULL);
    struct pier_server *s = pier_server_new(serve_opts);
    ck_assert_msg(pier_server_add_http(s, HTTP, r, opts) == 0, "%s", pier_error());
    ck_assert_int_eq(pier_server_listen(s), 0);
    serve_with(&w->sv, s);
    w->sv.fds = before;
    w->r = r;
}

static void stop(struct web *w)
{
    ck_assert_int_eq(end_serving(&w->sv), 0);
    pier_router_free(w->r);
}

static const struct pier_serve_opts one = { .workers = 1 };

static void begin(struct web *w)
{
    start(w, routes(), &one, NULL);
}

/* ---- a client ---- */

static int say(const struct web *w, const char *text)
{
    int fd = client(w->sv.server);
    send_all(fd, text, strlen(text));
    return fd;
}

/* Whatever comes until the end of the connection, NUL-terminated. */
static char *rest_of(int fd)
{
    static char got[65536];
    ssize_t n = read_to_end(fd, got, sizeof got - 1);
    ck_assert_msg(n >= 0, "%s", pier_strerror((int)n));
    got[n] = '\0';
    close(fd);
    return got;
}

/* One response with a length. */
static char *response_of(int fd)
{
    static char got[65536];
    size_t len = 0;
    for (;;) {
        ck_assert_uint_eq(recv_all(fd, got + len, 1), 1);
        got[++len] = '\0';
        if (len >= 4 && strcmp(got + len - 4, "\r\n\r\n") == 0)
            break;
    }
    const char *length = strstr(got, "Content-Length: ");
    size_t body = length ? strtoul(length + 16, NULL, 10) : 0;
    ck_assert_uint_eq(recv_all(fd, got + len, body), body);
    got[len + body] = '\0';
    return got;
}

static void expect_status(const char *response, const char *status)
{
    char line[64];
    snprintf(line, sizeof line, "HTTP/1.1 %s ", status);
    ck_assert_msg(strncmp(response, line, strlen(line)) == 0, "not %s: %s", status, response);
}

static void expect_end(const char *response, const char *end)
{
    size_t len = strlen(response), tail = strlen(end);
    ck_assert_msg(len >= tail && strcmp(response + len - tail, end) == 0, "%s", response);
}

static int count_of(const char *text, const char *part)
{
    int count = 0;
    for (const char *at = text; (at = strstr(at, part)) != NULL; at++)
        count++;
    return count;
}

#define GET "GET / HTTP/1.1\r\n" HOST "\r\n"
#define GET_CLOSE "GET / HTTP/1.1\r\n" HOST "Connection: close\r\n\r\n"

/* ---- one after the other ---- */

static void keeps_alive(enum pier_model model)
{
    struct web w;
    start(&w, routes(), &(struct pier_serve_opts){ .model = model, .workers = 2 }, NULL);
    int fd = say(&w, GET);
    for (int i = 0; i < 5; i++) {
        char *got = response_of(fd);
        expect_status(got, "200");
        expect_end(got, "\r\n\r\nhello\n");
        send_all(fd, i < 4 ? GET : GET_CLOSE, strlen(i < 4 ? GET : GET_CLOSE));
    }
    char *got = rest_of(fd);
    ck_assert_ptr_nonnull(strstr(got, "\r\nConnection: close\r\n"));
    stop(&w);
}

TEST(a_connection_serves_several_requests_by_tasks)
{
    keeps_alive(PIER_TASKS);
}

TEST(a_connection_serves_several_requests_by_threads)
{
    keeps_alive(PIER_THREADS);
}

TEST(a_request_may_come_byte_by_byte)
{
    static const char request[] = "POST /pieces HTTP/1.1\r\n" HOST
                                  "Transfer-Encoding: chunked\r\nConnection: close\r\n\r\n"
                                  "3;a=b\r\nabc\r\n2\r\nde\r\n0\r\nX-Sum: 5\r\n\r\n";
    struct web w;
    begin(&w);
    int fd = client(w.sv.server);
    for (size_t i = 0; i < sizeof request - 1; i++) {
        send_all(fd, request + i, 1);
        await_taken(fd);
    }
    char *got = rest_of(fd);
    expect_status(got, "200");
    ck_assert_ptr_nonnull(strstr(got, "0\r\nX-Sum: 5\r\n\r\n"));
    stop(&w);
}

TEST(requests_of_one_read_are_answered_in_order_in_one_write)
{
    struct web w;
    struct pier_router *r = pier_router_new();
    pier_route(r, "GET /a", hello, "first");
    pier_route(r, "GET /b", hello, "second");
    start(&w, r, &one, NULL);
    int fd = say(&w, "GET /a HTTP/1.1\r\n" HOST "\r\nGET /b HTTP/1.1\r\n" HOST
                     "\r\nGET /none HTTP/1.1\r\n" HOST "\r\nGET /a HTTP/1.1\r\n" HOST "\r\n");
    char got[4096];
    ssize_t n = recv(fd, got, sizeof got - 1, 0);
    ck_assert_int_gt(n, 0);
    got[n] = '\0';
    ck_assert_int_eq(count_of(got, "HTTP/1.1 200 OK"), 3);
    ck_assert_int_eq(count_of(got, "HTTP/1.1 404 "), 1);
    ck_assert(strstr(got, "first") < strstr(got, "second"));
    expect_end(got, "first");
    close(fd);
    stop(&w);
}

TEST(no_request_is_begun_while_answers_wait_unread)
{
    enum { COUNT = 200000 };
    static char many[COUNT / 100 * sizeof GET];
    struct web w;
    begin(&w);
    int fd = client(w.sv.server);
    size_t len = 0;
    while (len + sizeof GET < sizeof many) {
        memcpy(many + len, GET, sizeof GET - 1);
        len += sizeof GET - 1;
    }
    int asked = 0;
    for (ssize_t n = 1; n > 0 && asked < COUNT; asked += (int)((size_t)n / (sizeof GET - 1)))
        n = send(fd, many, len, MSG_DONTWAIT | MSG_NOSIGNAL); /* what goes in, unread */
    int last = -1;
    AWAIT(last == handled || (last = handled, pier_sleep(50 * PIER_MILLISECOND), false));
    ck_assert_int_lt(handled, COUNT / 2);
    close(fd);
    stop(&w);
}

TEST(http_1_0_ends_unless_asked_to_stay)
{
    struct web w;
    begin(&w);
    char *got = rest_of(say(&w, "GET / HTTP/1.0\r\n\r\n"));
    expect_status(got, "200");
    ck_assert_ptr_nonnull(strstr(got, "Connection: close\r\n"));
    int fd = say(&w, "GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n");
    ck_assert_ptr_nonnull(strstr(response_of(fd), "Connection: keep-alive\r\n"));
    send_all(fd, "GET / HTTP/1.0\r\n\r\n", 18);
    expect_status(rest_of(fd), "200");
    stop(&w);
}

TEST(the_last_of_so_many_requests_says_so)
{
    struct web w;
    start(&w, routes(), &one, &(struct pier_http_opts){ .requests_max = 2 });
    char *got = rest_of(say(&w, GET GET GET));
    ck_assert_int_eq(count_of(got, "HTTP/1.1 200"), 2);
    ck_assert_int_eq(count_of(got, "Connection: close"), 1);
    stop(&w);
}

/* ---- the client's end ---- */

TEST(an_end_without_a_request_ends_the_connection)
{
    struct web w;
    begin(&w);
    int fd = client(w.sv.server);
    shutdown(fd, SHUT_WR);
    ck_assert_str_eq(rest_of(fd), "");
    fd = say(&w, "GET / HT");
    shutdown(fd, SHUT_WR);
    ck_assert_str_eq(rest_of(fd), "");
    stop(&w);
}

TEST(a_request_that_the_end_follows_is_answered)
{
    struct web w;
    begin(&w);
    int fd = say(&w, GET GET);
    shutdown(fd, SHUT_WR);
    ck_assert_int_eq(count_of(rest_of(fd), "HTTP/1.1 200 OK"), 2);
    stop(&w);
}

/* ---- what is refused ---- */

static void expect_refused(const struct web *w, const char *request, const char *status)
{
    char *got = rest_of(say(w, request));
    expect_status(got, status);
    ck_assert_int_eq(count_of(got, "Connection: close\r\n"), 1);
    ck_assert_int_eq(count_of(got, "Content-Length: "), 1);
}

TEST(what_breaks_the_framing_is_answered_and_closed)
{
    struct web w;
    begin(&w);
    expect_refused(&w, "GET / HTTP/1.1\r\n\r\n" GET, "400");
    expect_refused(&w, "GET / HTTP/1.1\r\nHost : a\r\n\r\n" GET, "400");
    expect_refused(&w, "GET / HTTP/2.0\r\n" HOST "\r\n", "505");
    expect_refused(&w,
                   "POST /all HTTP/1.1\r\n" HOST
                   "Content-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n" GET,
                   "400");
    expect_refused(&w, "POST /all HTTP/1.1\r\n" HOST "Expect: tea\r\nContent-Length: 1\r\n\r\nx",
                   "417");
    expect_refused(&w, "POST /all HTTP/1.1\r\n" HOST "Transfer-Encoding: chunked\r\n\r\nx\r\n" GET,
                   "400");
    stop(&w);
}

TEST(limits_of_the_head_are_options)
{
    struct web w;
    start(&w, routes(), &one,
          &(struct pier_http_opts){ .uri_max = 10, .head_max = 40, .fields_max = 3 });
    expect_refused(&w, "GET /12345678901 HTTP/1.1\r\n" HOST "\r\n", "414");
    expect_refused(&w, "GET / HTTP/1.1\r\n" HOST "X: 12345678901234567890123456789012345\r\n\r\n",
                   "431");
    expect_refused(&w, "GET / HTTP/1.1\r\n" HOST "a: b\r\nc: d\r\ne: f\r\n\r\n", "431");
    int fd = say(&w, GET);
    expect_status(response_of(fd), "200");
    close(fd);
    stop(&w);
}

TEST(a_head_larger_than_the_first_buffer_is_read)
{
    static char request[20000];
    struct web w;
    begin(&w);
    int len = snprintf(request, sizeof request, "GET / HTTP/1.1\r\n" HOST "X: ");
    memset(request + len, 'x', 15000);
    snprintf(request + len + 15000, 200, "\r\n\r\n" GET_CLOSE);
    ck_assert_int_eq(count_of(rest_of(say(&w, request)), "HTTP/1.1 200"), 2);
    stop(&w);
}

TEST(errors_that_leave_the_framing_intact_keep_the_connection)
{
    struct web w;
    begin(&w);
    char *got = rest_of(say(&w, "GET /nothing HTTP/1.1\r\n" HOST "\r\n"
                                "DELETE / HTTP/1.1\r\n" HOST "\r\n"
                                "POST /nothing HTTP/1.1\r\n" HOST "Content-Length: 5\r\n\r\nabcde"
                                "GET /fails HTTP/1.1\r\n" HOST "\r\n" GET_CLOSE));
    ck_assert_int_eq(count_of(got, "HTTP/1.1 404 "), 2);
    ck_assert_int_eq(count_of(got, "HTTP/1.1 405 "), 1);
    ck_assert_int_eq(count_of(got, "HTTP/1.1 500 "), 1);
    ck_assert_int_eq(count_of(got, "HTTP/1.1 200 "), 1);
    stop(&w);
}

/* ---- time ---- */

TEST(silence_ends_without_a_word)
{
    struct web w;
    start(&w, routes(), &one, &(struct pier_http_opts){ .idle_timeout_ms = 30 });
    ck_assert_str_eq(rest_of(client(w.sv.server)), "");
    int fd = say(&w, GET);
    expect_status(response_of(fd), "200");
    ck_assert_str_eq(rest_of(fd), "");
    stop(&w);
}

TEST(a_head_that_does_not_end_in_time_is_408)
{
    struct web w;
    start(&w, routes(), &one, &(struct pier_http_opts){ .head_timeout_ms = 30 });
    expect_refused(&w, "GET / HTTP/1.1\r\nHost", "408");
    int fd = say(&w, GET);
    expect_status(response_of(fd), "200");
    send_all(fd, "G", 1);
    expect_status(rest_of(fd), "408");
    stop(&w);
}

TEST(a_body_that_comes_too_slowly_is_408)
{
    struct web w;
    start(&w, routes(), &one, &(struct pier_http_opts){ .body_slow_ms = 30 });
    expect_refused(&w, "POST /all HTTP/1.1\r\n" HOST "Content-Length: 5\r\n\r\nabc", "408");
    stop(&w);
}

static int naps(struct pier_exchange *ex, void *arg)
{
    return pier_sleep(PIER_MINUTE);
}

TEST(a_route_with_a_time_limit_is_503_beyond_it)
{
    struct web w;
    struct pier_router *r = routes();
    pier_route_with(r, "GET /slow", naps, NULL, &(struct pier_route_opts){ .timeout_ms = 20 });
    start(&w, r, &one, NULL);
    char *got = rest_of(say(&w, "GET /slow HTTP/1.1\r\n" HOST "\r\n" GET_CLOSE));
    expect_status(got, "503");
    ck_assert_int_eq(count_of(got, "HTTP/1.1 200 "), 1);
    stop(&w);
}

/* ---- bodies in ---- */

TEST(a_body_has_a_length_or_chunks)
{
    struct web w;
    begin(&w);
    int fd = say(&w, "POST /all HTTP/1.1\r\n" HOST "Content-Length: 5\r\n\r\nabcde");
    expect_end(response_of(fd), "\r\n\r\nabcde");
    const char *chunked = "POST /all HTTP/1.1\r\n" HOST
                          "Transfer-Encoding: chunked\r\n\r\n2\r\nab\r\n3\r\ncde\r\n0\r\n\r\n" GET;
    send_all(fd, chunked, strlen(chunked));
    expect_end(response_of(fd), "\r\n\r\nabcde");
    expect_end(response_of(fd), "hello\n");
    const char *none = "POST /all HTTP/1.1\r\n" HOST "\r\n";
    send_all(fd, none, strlen(none));
    expect_end(response_of(fd), "Content-Length: 0\r\n\r\n");
    close(fd);
    stop(&w);
}

TEST(a_large_body_comes_back_whole)
{
    enum { LEN = 1000000 };
    struct web w;
    begin(&w);
    char *bytes = make_pattern(LEN, 1), *back = malloc(LEN);
    int fd = say(&w, "POST /all HTTP/1.1\r\n" HOST "Content-Length: 1000000\r\n\r\n");
    send_all(fd, bytes, LEN);
    char head[512];
    size_t len = 0;
    while (len < 4 || memcmp(head + len - 4, "\r\n\r\n", 4) != 0)
        ck_assert_uint_eq(recv_all(fd, head + len++, 1), 1);
    ck_assert_uint_eq(recv_all(fd, back, LEN), LEN);
    ck_assert_int_eq(memcmp(bytes, back, LEN), 0);
    free(bytes);
    free(back);
    close(fd);
    stop(&w);
}

TEST(a_body_above_the_limit_is_413)
{
    struct web w;
    start(&w, routes(), &one, &(struct pier_http_opts){ .body_max = 4 });
    expect_status(rest_of(say(&w, "POST /all HTTP/1.1\r\n" HOST "Connection: close\r\n"
                                  "Content-Length: 5\r\n\r\nabcde")),
                  "413");
    expect_status(rest_of(say(&w, "POST /all HTTP/1.1\r\n" HOST "Connection: close\r\n"
                                  "Transfer-Encoding: chunked\r\n\r\n5\r\nabcde\r\n0\r\n\r\n")),
                  "413");
    stop(&w);
}

static int wants_len(struct pier_exchange *ex, void *arg)
{
    int rc = pier_body_want_len(ex, 4);
    return rc < 0 ? rc : echo_all(ex, arg);
}

TEST(a_handler_may_want_the_length)
{
    struct web w;
    struct pier_router *r = pier_router_new();
    pier_route(r, "POST /", wants_len, NULL);
    start(&w, r, &one, NULL);
    char *got = rest_of(
        say(&w, "POST / HTTP/1.1\r\n" HOST "Transfer-Encoding: chunked\r\n\r\n1\r\na\r\n0\r\n\r\n"
                "POST / HTTP/1.1\r\n" HOST "Content-Length: 5\r\n\r\nabcde"
                "POST / HTTP/1.1\r\n" HOST "Content-Length: 2\r\nConnection: close\r\n\r\nab"));
    expect_status(got, "411");
    ck_assert_int_eq(count_of(got, "HTTP/1.1 413 "), 1);
    expect_end(got, "\r\n\r\nab");
    stop(&w);
}

TEST(a_client_that_waits_is_told_to_go_on)
{
    struct web w;
    begin(&w);
    int fd = say(&w,
                 "POST /all HTTP/1.1\r\n" HOST "Expect: 100-continue\r\nContent-Length: 2\r\n\r\n");
    ck_assert_str_eq(response_of(fd), "HTTP/1.1 100 Continue\r\n\r\n");
    send_all(fd, "ab", 2);
    expect_end(response_of(fd), "\r\n\r\nab");
    close(fd);
    stop(&w);
}

TEST(a_client_that_waits_in_vain_is_answered_and_left)
{
    struct web w;
    begin(&w);
    char *got = rest_of(say(&w, "POST /nothing HTTP/1.1\r\n" HOST
                                "Expect: 100-continue\r\nContent-Length: 2\r\n\r\n"));
    expect_status(got, "404");
    ck_assert_ptr_nonnull(strstr(got, "Connection: close"));
    stop(&w);
}

TEST(a_body_that_is_cut_off_is_the_clients_fault)
{
    struct web w;
    begin(&w);
    int fd = say(&w, "POST /all HTTP/1.1\r\n" HOST "Content-Length: 5\r\n\r\nabc");
    shutdown(fd, SHUT_WR);
    char *got = rest_of(fd);
    expect_status(got, "400");
    expect_end(got, "\nthe body is not whole\n");
    stop(&w);
    ck_assert_ptr_null(strstr(log_text, "request failed"));
}

TEST(nothing_follows_a_connect_that_is_no_tunnel)
{
    struct web w;
    struct pier_router *r = pier_router_new();
    pier_route(r, "/{path...}", hello, NULL);
    start(&w, r, &one, NULL);
    char *got = rest_of(say(&w, "CONNECT a:1 HTTP/1.1\r\n" HOST "\r\n" GET GET));
    ck_assert_int_eq(count_of(got, "HTTP/1.1 "), 1);
    ck_assert_int_eq(count_of(got, "Connection: close\r\n"), 1);
    stop(&w);
}

static int refuses(struct pier_exchange *ex, void *arg)
{
    int rc = pier_res_begin(ex, 403, -1);
    return rc < 0 ? rc : (int)pier_res_puts(ex, "no");
}

/* Bytes behind the head may be the body, or the next request: who knows? */
TEST(a_client_that_waits_in_vain_is_left_whatever_begins_the_response)
{
    struct web w;
    struct pier_router *r = pier_router_new();
    pier_route(r, "POST /", refuses, NULL);
    start(&w, r, &one, NULL);
    int fd = say(&w, "POST / HTTP/1.1\r\n" HOST "Expect: 100-continue\r\n"
                     "Content-Length: 60\r\n\r\n");
    char *got = rest_of(fd);
    expect_status(got, "403");
    ck_assert_ptr_nonnull(strstr(got, "Connection: close"));
    expect_end(got, "0002\r\nno\r\n0\r\n\r\n");
    stop(&w);
}

TEST(what_a_handler_leaves_unread_is_dropped_when_it_is_little)
{
    struct web w;
    begin(&w);
    int fd = say(&w, "POST /nothing HTTP/1.1\r\n" HOST "Content-Length: 5\r\n\r\n");
    expect_status(response_of(fd), "404");
    send_all(fd, "abcde" GET, 5 + sizeof GET - 1);
    expect_status(response_of(fd), "200");
    close(fd);
    char *got =
        rest_of(say(&w, "POST /nothing HTTP/1.1\r\n" HOST "Content-Length: 5000000\r\n\r\n"));
    expect_status(got, "404");
    ck_assert_ptr_nonnull(strstr(got, "Connection: close"));
    stop(&w);
}

/* ---- bodies out ---- */

/* arg: how many pieces of 1,000 bytes, and the length that it promises, or -1. */
struct stream {
    int pieces;
    int64_t len;
    int rc;
};

static int streams(struct pier_exchange *ex, void *arg)
{
    const struct stream *s = arg;
    char piece[1000];
    memset(piece, 'x', sizeof piece);
    pier_res_begin(ex, 200, s->len);
    for (int i = 0; i < s->pieces; i++)
        if (pier_res_write(ex, piece, sizeof piece) < 0)
            return pier_error_code();
    return s->rc;
}

static char *streamed(struct web *w, const struct stream *s, const char *request)
{
    struct pier_router *r = pier_router_new();
    pier_route(r, "GET /", streams, (void *)s);
    start(w, r, &one, NULL);
    char *got = rest_of(say(w, request));
    stop(w);
    return got;
}

TEST(a_body_of_unknown_length_is_sent_in_chunks)
{
    struct web w;
    char *got = streamed(&w, &(struct stream){ 10, -1, 0 }, GET_CLOSE);
    ck_assert_ptr_nonnull(strstr(got, "\r\nTransfer-Encoding: chunked\r\n"));
    ck_assert_ptr_null(strstr(got, "Content-Length"));
    expect_end(got, "\r\n0\r\n\r\n");
}

TEST(to_http_1_0_it_ends_with_the_connection)
{
    struct web w;
    char *got = streamed(&w, &(struct stream){ 10, -1, 0 },
                         "GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n");
    ck_assert_ptr_null(strstr(got, "Transfer-Encoding"));
    ck_assert_ptr_nonnull(strstr(got, "Connection: close\r\n"));
    ck_assert_uint_eq(strlen(strstr(got, "\r\n\r\n") + 4), 10000);
}

TEST(a_body_with_a_length_is_sent_as_it_is)
{
    struct web w;
    char *got = streamed(&w, &(struct stream){ 10, 10000, 0 }, GET_CLOSE);
    ck_assert_ptr_nonnull(strstr(got, "\r\nContent-Length: 10000\r\n"));
    ck_assert_uint_eq(strlen(strstr(got, "\r\n\r\n") + 4), 10000);
}

TEST(more_than_was_promised_is_not_sent)
{
    struct web w;
    char *got = streamed(&w, &(struct stream){ 11, 10000, 0 }, GET_CLOSE);
    ck_assert_uint_eq(strlen(strstr(got, "\r\n\r\n") + 4), 10000);
    ck_assert_int_eq(said("response cut off"), 1);
}

TEST(less_than_was_promised_ends_the_connection)
{
    struct web w;
    char *got = streamed(&w, &(struct stream){ 9, 10000, 0 }, GET GET);
    ck_assert_int_eq(count_of(got, "HTTP/1.1 200"), 1);
    ck_assert_int_eq(said("response cut off"), 1);
}

TEST(a_failure_in_the_midst_leaves_the_chunks_open)
{
    struct web w;
    char *got = streamed(&w, &(struct stream){ 3, -1, -EIO }, GET);
    ck_assert_ptr_null(strstr(got, "\r\n0\r\n"));
    ck_assert_int_eq(said("response cut off"), 1);
}

TEST(chunks_that_are_flushed_arrive_at_once)
{
    struct web w;
    begin(&w);
    char *got = rest_of(say(&w, "POST /pieces HTTP/1.1\r\n" HOST
                                "Connection: close\r\nContent-Length: 3\r\n\r\nabc"));
    expect_end(got, "0003\r\nabc\r\n0\r\n\r\n");
    stop(&w);
}

static int nothing(struct pier_exchange *ex, void *arg)
{
    pier_res_set_status(ex, *(int *)arg);
    return 0;
}

TEST(a_handler_that_says_nothing_has_sent_its_status)
{
    static int status = 201;
    struct web w;
    struct pier_router *r = pier_router_new();
    pier_route(r, "GET /", nothing, &status);
    start(&w, r, &one, NULL);
    char *got = rest_of(say(&w, GET_CLOSE));
    expect_status(got, "201");
    ck_assert_ptr_nonnull(strstr(got, "Content-Length: 0\r\n"));
    stop(&w);
}

/* ---- fields ---- */

static int sets_fields(struct pier_exchange *ex, void *arg)
{
    char large[6000];
    memset(large, 'x', sizeof large - 1);
    large[sizeof large - 1] = '\0';
    ck_assert_int_eq(pier_res_set(ex, "X-A", "one"), 0);
    ck_assert_int_eq(pier_res_set(ex, "x-a", "two"), 0);
    ck_assert_int_eq(pier_res_add(ex, "X-B", "1"), 0);
    ck_assert_int_eq(pier_res_add(ex, "X-B", "2"), 0);
    ck_assert_int_eq(pier_res_set(ex, "X-Large", large), 0);
    ck_assert_int_eq(pier_res_set(ex, "X-Bad", "a\r\nSet-Cookie: b"), -EINVAL);
    ck_assert_int_eq(pier_res_set(ex, "X Bad", "a"), -EINVAL);
    ck_assert_int_eq(pier_res_set(ex, "Content-Length", "7"), -EINVAL);
    ck_assert_int_eq(pier_res_set(ex, "Transfer-Encoding", "chunked"), -EINVAL);
    ck_assert_str_eq(pier_res_field(ex, "X-a"), "two");
    ck_assert_int_eq(pier_http_text(ex, 200, "ok"), 0);
    ck_assert_int_eq(pier_http_text(ex, 200, "ok"), -EALREADY);
    ck_assert_int_eq(pier_res_set(ex, "X-Late", "a"), -EALREADY);
    return 0;
}

TEST(fields_are_set_added_and_checked)
{
    struct web w;
    struct pier_router *r = pier_router_new();
    pier_route(r, "GET /", sets_fields, NULL);
    start(&w, r, &one, &(struct pier_http_opts){ .server = "pier test", .no_date = true });
    char *got = rest_of(say(&w, GET_CLOSE));
    ck_assert_ptr_null(strstr(got, "one"));
    ck_assert_ptr_nonnull(strstr(got, "x-a: two\r\nX-B: 1\r\nX-B: 2\r\nX-Large: xxx"));
    ck_assert_ptr_nonnull(strstr(got, "Server: pier test\r\n"));
    ck_assert_ptr_null(strstr(got, "Date:"));
    ck_assert_ptr_null(strstr(got, "Set-Cookie"));
    stop(&w);
}

static int shows_fields(struct pier_exchange *ex, void *arg)
{
    const char *name, *value;
    for (int i = 0; pier_req_field_at(ex, i, &name, &value); i++)
        pier_res_printf(ex, "[%s=%s]", name, value);
    return (int)pier_res_printf(ex, "{%s|%s|%s|%s|%s|%s|%s|%d}", pier_req_method(ex),
                                pier_req_target(ex), pier_req_path(ex), pier_req_query_text(ex),
                                pier_req_query(ex, "b"), pier_req_field(ex, "x"), pier_req_host(ex),
                                pier_req_version(ex));
}

TEST(a_handler_sees_the_whole_request)
{
    struct web w;
    struct pier_router *r = pier_router_new();
    pier_route(r, "GET /{path...}", shows_fields, NULL);
    start(&w, r, &one, NULL);
    char *got = rest_of(say(&w, "GET /a%20b/c?a=1&b=x+%26 HTTP/1.0\r\nHost: EX.org:80\r\n"
                                "X:  1 \r\nx: 2\r\n\r\n"));
    expect_end(got, "[Host=EX.org:80][X=1][x=2]{GET|/a%20b/c?a=1&b=x+%26|/a b/c|a=1&b=x+%26|x &|1, "
                    "2|ex.org:80|10}");
    stop(&w);
}

TEST(date_is_that_of_now)
{
    struct web w;
    begin(&w);
    char *got = rest_of(say(&w, GET_CLOSE));
    const char *date = strstr(got, "\r\nDate: ");
    int64_t then = 0, now = pi_unix_ns();
    ck_assert_ptr_nonnull(date);
    ck_assert_int_eq(pier_date_parse_http(&then, date + 8, 29), 0);
    ck_assert_int_le(llabs(now - then), 3 * PIER_SECOND);
    stop(&w);
}

/* ---- failures ---- */

TEST(a_failure_is_a_500_with_an_id_that_the_log_has)
{
    struct web w;
    begin(&w);
    char *got = rest_of(say(&w, "GET /fails HTTP/1.1\r\n" HOST "Connection: close\r\n\r\n"));
    expect_status(got, "500");
    ck_assert_ptr_null(strstr(got, "disk"));
    char *id = strstr(got, "request ");
    ck_assert_ptr_nonnull(id);
    id[8 + 16] = '\0';
    ck_assert_int_eq(said(id + 8), 1);
    ck_assert_int_eq(said("error=the disk of ours: input/output error"), 1);
    stop(&w);
}

TEST(errors_are_json_for_those_who_prefer_it)
{
    struct web w;
    begin(&w);
    char *got = rest_of(say(&w, "GET /nothing HTTP/1.1\r\n" HOST
                                "Accept: application/json\r\nConnection: close\r\n\r\n"));
    ck_assert_ptr_nonnull(strstr(got, "Content-Type: application/problem+json\r\n"));
    expect_end(got, "{\"type\":\"about:blank\",\"title\":\"Not Found\",\"status\":404}");
    stop(&w);
}

static _Atomic int done_count;
static char done_text[256];

static void note(struct pier_exchange *ex, void *arg)
{
    size_t len = strlen(done_text);
    snprintf(done_text + len, sizeof done_text - len, "%s %s %d %s;", pier_req_method(ex),
             pier_req_path(ex), pier_res_status(ex), pier_req_route(ex));
    done_count++;
}

TEST(every_exchange_is_reported_when_it_is_over)
{
    struct web w;
    start(&w, routes(), &one, &(struct pier_http_opts){ .done = note });
    rest_of(say(&w, GET "GET /x HTTP/1.1\r\n" HOST "\r\nGET  / HTTP/1.1\r\n\r\n"));
    AWAIT(done_count == 3);
    ck_assert_str_eq(done_text, "GET / 200 GET /;GET /x 404 ;  400 ;");
    stop(&w);
}

static void append(void *arg)
{
    strcat(done_text, arg);
}

static int defers(struct pier_exchange *ex, void *arg)
{
    static int key, other;
    ck_assert_int_eq(pier_exchange_defer(ex, append, "first "), 0);
    ck_assert_int_eq(pier_exchange_defer(ex, append, "second "), 0);
    ck_assert_ptr_null(pier_exchange_get(ex, &key));
    ck_assert_int_eq(pier_exchange_set(ex, &key, "a"), 0);
    ck_assert_int_eq(pier_exchange_set(ex, &key, "b"), 0);
    ck_assert_str_eq(pier_exchange_get(ex, &key), "b");
    ck_assert_ptr_null(pier_exchange_get(ex, &other));
    for (int i = 0; i < 1000; i++)
        ck_assert_ptr_nonnull(pier_exchange_alloc(ex, (size_t)i * 100));
    return pier_error_set(-EIO, "on purpose");
}

TEST(what_is_deferred_runs_backwards_whatever_happens)
{
    struct pier_router *r = pier_router_new();
    pier_log_set(keep_record, NULL);
    pier_route(r, "GET /", defers, NULL);
    struct pier_http_reply *reply = pier_http_test(r, "GET /", NULL, NULL, 0);
    ck_assert_int_eq(pier_http_reply_status(reply), 500);
    ck_assert_str_eq(done_text, "second first ");
    pier_http_reply_free(reply);
    pier_router_free(r);
}

/* ---- leaving HTTP ---- */

static int upgrades(struct pier_exchange *ex, void *arg)
{
    struct pier_conn *c = pier_http_upgrade(ex, "shout");
    if (!c)
        return pier_error_code();
    char line[64];
    while (pier_read_line(c, line, sizeof line) >= 0)
        pier_printf(c, "%s!\n", line);
    return 0;
}

TEST(an_upgrade_takes_the_connection_with_what_came_behind)
{
    struct web w;
    struct pier_router *r = pier_router_new();
    pier_route(r, "GET /", upgrades, NULL);
    start(&w, r, &one, NULL);
    int fd = say(&w, "GET / HTTP/1.1\r\n" HOST
                     "Connection: keep-alive, Upgrade\r\nUpgrade: other, Shout\r\n\r\nearly\n");
    send_all(fd, "late\n", 5);
    shutdown(fd, SHUT_WR);
    char *got = rest_of(fd);
    expect_status(got, "101");
    ck_assert_ptr_nonnull(strstr(got, "Connection: Upgrade\r\n"));
    ck_assert_ptr_nonnull(strstr(got, "Upgrade: shout\r\n"));
    ck_assert_ptr_null(strstr(got, "Content-Length"));
    expect_end(got, "\r\n\r\nearly!\nlate!\n");
    got = rest_of(say(&w, GET_CLOSE));
    expect_status(got, "426");
    ck_assert_ptr_nonnull(strstr(got, "Upgrade: shout\r\n"));
    stop(&w);
}

static int hijacks(struct pier_exchange *ex, void *arg)
{
    struct pier_conn *c = pier_http_hijack(ex);
    pier_puts(c, "raw");
    return 0;
}

TEST(a_connection_can_be_taken_as_it_is)
{
    struct web w;
    struct pier_router *r = routes();
    pier_route(r, "GET /raw", hijacks, NULL);
    start(&w, r, &one, NULL);
    char *got = rest_of(say(&w, GET "GET /raw HTTP/1.1\r\n" HOST "\r\n"));
    expect_status(got, "200");
    expect_end(got, "hello\nraw");
    stop(&w);
}

/* ---- the end of a server ---- */

struct held {
    struct pier_event go;
    _Atomic bool inside;
};

static int held_back(struct pier_exchange *ex, void *arg)
{
    struct held *h = arg;
    h->inside = true;
    pier_event_wait(&h->go);
    size_t len;
    char *body = pier_body_all(ex, &len);
    return body ? pier_http_bytes(ex, 200, NULL, body, len) : pier_error_code();
}

TEST(a_stop_lets_requests_finish_with_their_bodies_and_then_closes)
{
    struct web w;
    static struct held h;
    pier_event_init(&h.go, 0);
    struct pier_router *r = routes();
    pier_route(r, "POST /held", held_back, &h);
    start(&w, r, &(struct pier_serve_opts){ .workers = 1, .grace_ms = PIER_NO_TIMEOUT }, NULL);
    int idle = say(&w, GET);
    expect_status(response_of(idle), "200");
    int fd = say(&w, "POST /held HTTP/1.1\r\n" HOST "Content-Length: 4\r\n\r\nab");
    AWAIT(h.inside);
    pier_server_stop_remote(w.sv.server);
    ck_assert_str_eq(rest_of(idle), "");
    pier_event_set(&h.go);
    send_all(fd, "cd" GET, 2 + sizeof GET - 1);
    char *got = rest_of(fd);
    expect_status(got, "200");
    ck_assert_ptr_nonnull(strstr(got, "Connection: close\r\n"));
    expect_end(got, "\r\n\r\nabcd");
    ck_assert_int_eq(finish_serving(&w.sv), 0);
    pier_router_free(r);
}

TEST(a_request_before_the_stop_is_answered)
{
    struct pier_router *r = routes();
    struct pier_server *s = pier_server_new(&one);
    struct serving sv;
    ck_assert_int_eq(pier_server_add_http(s, HTTP, r, NULL), 0);
    ck_assert_int_eq(pier_server_listen(s), 0);
    int fd = client(s); /* in the backlog */
    send_all(fd, GET, sizeof GET - 1);
    pier_server_stop_remote(s);
    serve_with(&sv, s);
    char *got = rest_of(fd);
    expect_status(got, "200");
    ck_assert_ptr_nonnull(strstr(got, "Connection: close\r\n"));
    ck_assert_int_eq(finish_serving(&sv), 0);
    pier_router_free(r);
}

/* ---- memory ---- */

TEST(an_idle_connection_takes_600_bytes_at_most)
{
    enum { COUNT = 1000 };
    struct web w;
    int fds[COUNT];
    test_not_on_valgrind("its malloc knows no mallinfo2()");
    if (mallinfo2().uordblks == 0)
        test_skip("a sanitizer's malloc knows no mallinfo2()");
    begin(&w);
    fds[0] = say(&w, GET);
    response_of(fds[0]);
    size_t before = mallinfo2().uordblks;
    for (int i = 1; i < COUNT; i++)
        fds[i] = say(&w, GET);
    for (int i = 1; i < COUNT; i++)
        response_of(fds[i]);
    AWAIT((mallinfo2().uordblks - before) / COUNT <= 600);
    ck_assert_uint_ge((mallinfo2().uordblks - before) / COUNT, 100); /* they are still there */
    for (int i = 0; i < COUNT; i++)
        close(fds[i]);
    stop(&w);
}

static int uses_memory(struct pier_exchange *ex, void *arg)
{
    size_t len;
    char *body = pier_body_all(ex, &len);
    if (!body || pier_res_set(ex, "X-Id", pier_req_id(ex)) < 0)
        return pier_error_code();
    return pier_http_bytes(ex, 200, "text/x", body, len);
}

TEST(without_memory_a_request_fails_and_nothing_is_left)
{
    static char large[40000];
    struct pier_router *r = pier_router_new();
    pier_log_set(keep_record, NULL);
    pier_route(r, "POST /{id}", uses_memory, NULL);
    pier_http_reply_free(pier_http_test(r, "GET /", NULL, NULL, 0));
    long before = pi_alloc_count();
    for (long n = 1;; n++) {
        pi_alloc_fail(n);
        struct pier_http_reply *reply = pier_http_test(r, "POST /a%20b?c=d", "Accept: */*\r\n",
                                                       large, sizeof large);
        pi_alloc_fail(0);
        int status = pier_http_reply_status(reply);
        pier_http_reply_free(reply);
        pier_error_set(-EIO, "x"); /* its words are no leak */
        ck_assert_msg(labs(pi_alloc_count() - before) <= 1, "%ld: %ld", n,
                      pi_alloc_count() - before);
        if (status == 200)
            break;
        ck_assert_msg(status == 0 || status == 500 || status == 503, "%d", status);
        ck_assert_int_lt(n, 200);
    }
    pier_router_free(r);
}

/* ---- where it is served ---- */

TEST(urls_are_http_https_and_unix)
{
    struct pier_router *r = routes();
    struct pier_server *s = pier_server_new(NULL);
    ck_assert_int_eq(pier_server_add_http(s, "tcp://127.0.0.1:0", r, NULL), PIER_EURL);
    pier_server_free(s);
    s = pier_server_new(NULL);
    ck_assert_int_eq(pier_server_add_http(s, HTTP, r, NULL), 0);
    ck_assert_int_eq(pier_server_listen(s), 0);
    ck_assert_int_eq(strncmp(pier_server_url(s, 0), "http://127.0.0.1:", 17), 0);
    pier_server_free(s);
    ck_assert_int_eq(pier_server_add_http(NULL, HTTP, r, NULL), pier_error_code());
    pier_router_free(r);
}

TEST(an_option_that_makes_no_sense_is_refused)
{
    struct pier_router *r = routes();
    struct pier_server *s = pier_server_new(NULL);
    ck_assert_int_eq(pier_server_add_http(s, HTTP, r, &(struct pier_http_opts){ .uri_max = -1 }),
                     -EINVAL);
    ck_assert_int_eq(pier_server_listen(s), -EINVAL);
    pier_server_free(s);
    s = pier_server_new(NULL);
    ck_assert_int_eq(pier_server_add_http(s, HTTP, r, &(struct pier_http_opts){ .server = "a\nb" }),
                     -EINVAL);
    pier_server_free(s);
    pier_router_free(r);
}

HARNESS_MAIN("http_server")
