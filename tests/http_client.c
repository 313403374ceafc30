/* SPDX-License-Identifier: MIT */
/* backends: epoll io_uring */
/* not on tsan: its threads and the client are ordered by bytes that a ring moves unseen */
/*
 * http_client: requests against a server that follows a script, byte for byte, and knows nothing of
 * Pier: threads with plain blocking calls.
 */
#include "both.h"

#include "http/client.h"

#include <stdatomic.h>
#include <sys/un.h>

/* ---- the server ---- */

enum { STEPS = 64, REQUEST_CAP = 1 << 20 };

/* What answers one request. reply NULL: the connection is closed without a word. */
struct step {
    const char *reply;
    size_t len;  /* 0: strlen() */
    bool close;  /* when it has been sent */
    bool early;  /* after the head: the body is not read */
    bool silent; /* nothing is sent, and the connection stays */
};

static struct {
    struct step steps[STEPS];
    _Atomic int next, conns;
    char *requests[STEPS];
    int conn_of[STEPS];
    int listener, port;
    char url[64];
} srv;

/* Whether a request of len bytes is whole. */
static bool is_whole(const char *text)
{
    const char *end = strstr(text, "\r\n\r\n");
    if (!end)
        return false;
    const char *length = strcasestr(text, "\r\nContent-Length: ");
    if (length && length < end)
        return strlen(end + 4) >= strtoul(length + 18, NULL, 10);
    const char *chunked = strcasestr(text, "\r\nTransfer-Encoding: chunked");
    return !chunked || chunked > end || strstr(end, "\r\n0\r\n\r\n");
}

/* One request without NUL in it: its step, or -1 at the end of the connection. */
static int await_request(int fd, int conn)
{
    char *text = calloc(1, REQUEST_CAP);
    size_t len = 0;
    bool early = srv.steps[srv.next].early;
    while (!(early ? strstr(text, "\r\n\r\n") != NULL : is_whole(text))) {
        ssize_t n = recv(fd, text + len, REQUEST_CAP - 1 - len, 0);
        if (n <= 0) {
            free(text);
            return -1;
        }
        len += (size_t)n;
    }
    int step = atomic_fetch_add(&srv.next, 1);
    if (step >= STEPS)
        abort();
    srv.requests[step] = text;
    srv.conn_of[step] = conn;
    return step;
}

static void *serve_conn(void *arg)
{
    int fd = (int)(intptr_t)arg, conn = atomic_fetch_add(&srv.conns, 1);
    for (int step; (step = await_request(fd, conn)) >= 0;) {
        const struct step *s = &srv.steps[step];
        if (s->silent)
            continue;
        if (!s->reply)
            break;
        send_all(fd, s->reply, s->len ? s->len : strlen(s->reply));
        if (s->close)
            break;
    }
    shutdown(fd, SHUT_WR);
    char rest[4096]; /* a reset would take the reply along */
    while (recv(fd, rest, sizeof rest, 0) > 0)
        continue;
    close(fd);
    return NULL;
}

static void *serve(void *arg)
{
    for (int fd; (fd = accept4(srv.listener, NULL, NULL, SOCK_CLOEXEC)) >= 0;) {
        pthread_t thread;
        if (pthread_create(&thread, NULL, serve_conn, (void *)(intptr_t)fd) == 0)
            pthread_detach(thread);
    }
    return NULL;
}

static void listen_and_serve(int fd)
{
    pthread_t thread;
    srv.listener = fd;
    ck_assert_int_eq(listen(fd, 16), 0);
    ck_assert_int_eq(pthread_create(&thread, NULL, serve, NULL), 0);
    pthread_detach(thread);
}

/* Lasts until the process ends, which is when a test does. */
static void start(const struct step *steps, int count)
{
    struct sockaddr_in addr = { .sin_family = AF_INET };
    socklen_t len = sizeof addr;
    addr.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    for (int i = 0; i < STEPS; i++)
        free(srv.requests[i]);
    memset(&srv, 0, sizeof srv);
    memcpy(srv.steps, steps, (size_t)count * sizeof *steps);
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    ck_assert_int_eq(bind(fd, (struct sockaddr *)&addr, len), 0);
    getsockname(fd, (struct sockaddr *)&addr, &len);
    srv.port = ntohs(addr.sin_port);
    snprintf(srv.url, sizeof srv.url, "http://127.0.0.1:%d/", srv.port);
    listen_and_serve(fd);
}

#define START(...)                                \
    const struct step steps_[] = { __VA_ARGS__ }; \
    start(steps_, sizeof steps_ / sizeof steps_[0])

static const char *url(const char *path)
{
    static char text[512];
    snprintf(text, sizeof text, "%s%s", srv.url, path);
    return text;
}

#define OK(body) "HTTP/1.1 200 OK\r\nContent-Length: " body

/* ---- what a response is ---- */

static void expect(struct pier_response *r, int status, const char *body)
{
    if (!r)
        ck_abort_msg("no response: %s", pier_error());
    ck_assert_int_eq(pier_response_status(r), status);
    char *text = pier_response_all(r, NULL);
    if (!text)
        ck_abort_msg("no body: %s", pier_error());
    ck_assert_str_eq(text, body);
    pier_response_free(r);
}

static void expect_failure(struct pier_response *r, int code, const char *words)
{
    if (r)
        ck_abort_msg("status %d", pier_response_status(r));
    if (pier_error_code() != code || !strstr(pier_error(), words))
        ck_abort_msg("%d, %s", pier_error_code(), pier_error());
}

/* The body fails, not the head. */
static void expect_bad_body(struct pier_response *r, int code, const char *words)
{
    if (!r)
        ck_abort_msg("no response: %s", pier_error());
    char *text = pier_response_all(r, NULL);
    if (text)
        ck_abort_msg("a body: %s", text);
    ck_assert_int_eq(pier_response_read(r, &(char){ 0 }, 1), code); /* sticky */
    expect_failure(NULL, code, words);
    pier_response_free(r);
}

BOTH(client_gets_a_response)
{
    START(
        { .reply = "HTTP/1.1 200 Fine\r\nContent-Length: 5\r\nX-A: 1\r\nx-b:  two \r\n\r\nhello" });
    struct pier_response *r = pier_http_get(url("p?q=1#f"), NULL);
    ck_assert_int_eq(pier_response_len(r), 5);
    ck_assert_str_eq(pier_response_reason(r), "Fine");
    ck_assert_str_eq(pier_response_field(r, "X-B"), "two");
    ck_assert_ptr_null(pier_response_field(r, "X-C"));
    ck_assert_int_eq(pier_response_version(r), 11);
    ck_assert_str_eq(pier_response_url(r), url("p?q=1"));
    const char *name, *value;
    ck_assert(pier_response_field_at(r, 1, &name, &value));
    ck_assert_str_eq(name, "X-A");
    ck_assert_str_eq(value, "1");
    ck_assert(!pier_response_field_at(r, 3, &name, &value));
    expect(r, 200, "hello");
    char want[256];
    snprintf(want, sizeof want,
             "GET /p?q=1 HTTP/1.1\r\nHost: 127.0.0.1:%d\r\nUser-Agent: pier/%s\r\nAccept: */*\r\n"
             "Accept-Encoding: gzip\r\n\r\n",
             srv.port, PIER_VERSION);
    ck_assert_str_eq(srv.requests[0], want);
}

BOTH(client_calls_take_the_null_of_a_failed_one)
{
    struct pier_response *r = pier_http_get("nonsense", NULL);
    ck_assert_ptr_null(r);
    ck_assert_int_eq(pier_response_status(r), PIER_EURL);
    ck_assert_int_eq(pier_response_read(r, NULL, 0), PIER_EURL);
    ck_assert_ptr_null(pier_response_all(r, NULL));
    ck_assert_ptr_null(pier_response_field(r, "a"));
    pier_response_free(r);
    pier_http_client_free(NULL);
}

/* ---- bodies ---- */

BOTH(client_knows_every_end_of_a_body)
{
    START({ .reply = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
                     "5;a=b\r\nhello\r\n1\r\n!\r\n0\r\nX-T: 1\r\n\r\n" },
          { .reply = OK("0\r\n\r\n") }, { .reply = "HTTP/1.1 204 No Content\r\n\r\n" },
          { .reply = "HTTP/1.1 304 Not Modified\r\nContent-Length: 9\r\n\r\n" },
          { .reply = OK("7\r\n\r\n") }, /* of HEAD */
          { .reply = "HTTP/1.1 200\r\n\r\nuntil the end", .close = true },
          { .reply = "HTTP/1.0 200 OK\r\n\r\nold", .close = true });
    struct pier_http_client *client = pier_http_client_new(NULL);
    const struct pier_request with = { .client = client };
    expect(pier_http_get(srv.url, &with), 200, "hello!");
    expect(pier_http_get(srv.url, &with), 200, "");
    expect(pier_http_get(srv.url, &with), 204, "");
    expect(pier_http_get(srv.url, &with), 304, "");
    struct pier_response *r = pier_http_head(srv.url, &with);
    ck_assert_str_eq(pier_response_field(r, "content-length"), "7");
    expect(r, 200, "");
    ck_assert_int_eq(srv.conns, 1);
    expect(pier_http_get(srv.url, &with), 200, "until the end");
    r = pier_http_get(srv.url, &with);
    ck_assert_int_eq(pier_response_version(r), 10);
    ck_assert_int_eq(pier_response_len(r), -1);
    expect(r, 200, "old");
    ck_assert_int_eq(srv.conns, 2);
    pier_http_client_free(client);
}

BOTH(client_reads_long_bodies_in_pieces)
{
    enum { LEN = 3000000 };
    static char reply[LEN + 100]; /* the server may still look at it when we have all */
    char *bytes = make_pattern(LEN, 1);
    int head = sprintf(reply, "HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n", LEN);
    memcpy(reply + head, bytes, LEN);
    START({ .reply = reply, .len = (size_t)head + LEN });
    struct pier_response *r = pier_http_get(srv.url, NULL);
    char piece[7001];
    size_t got = 0;
    for (ssize_t n; (n = pier_response_read(r, piece, sizeof piece)) > 0; got += (size_t)n)
        ck_assert_mem_eq(piece, bytes + got, (size_t)n);
    ck_assert_uint_eq(got, LEN);
    ck_assert_int_eq(pier_response_read(r, piece, 1), 0);
    struct pier_http_times times;
    pier_response_times(r, &times);
    ck_assert(times.resolved > 0 && times.connected >= times.resolved);
    ck_assert(times.first_byte >= times.connected && times.total >= times.first_byte);
    pier_response_free(r);
    free(bytes);
}

BOTH(client_tells_a_body_that_is_cut_off)
{
    START({ .reply = OK("9\r\n\r\nhello"), .close = true },
          { .reply = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n",
            .close = true },
          { .reply = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nhello" });
    expect_bad_body(pier_http_get(srv.url, NULL), -EPIPE, "closed in the middle of the body");
    expect_bad_body(pier_http_get(srv.url, NULL), -EPIPE, "closed in the middle of the body");
    expect_bad_body(pier_http_get(srv.url, NULL), PIER_EPROTO, "bad response");
}

BOTH(client_limits_bodies)
{
    START({ .reply = OK("5\r\n\r\nhello") }, { .reply = OK("5\r\n\r\nhello") });
    expect(pier_http_get(srv.url, &(struct pier_request){ .body_max = 5 }), 200, "hello");
    expect_bad_body(pier_http_get(srv.url, &(struct pier_request){ .body_max = 4 }), -EMSGSIZE,
                    "more than 4 bytes");
}

/* ---- gzip ---- */

/* gzip -9n of "hello hello hello\n". */
static const unsigned char packed[] = { 0x1f, 0x8b, 0x08, 0x00, 0x00, 0x00, 0x00, 0x00, 0x02, 0x03,
                                        0xcb, 0x48, 0xcd, 0xc9, 0xc9, 0x57, 0xc8, 0x40, 0x90, 0x5c,
                                        0x00, 0x3b, 0x7c, 0x8a, 0xdf, 0x12, 0x00, 0x00, 0x00 };

static struct step gzip_reply(const void *bytes, size_t len)
{
    static char replies[8][4096];
    static int next;
    char *reply = replies[next++ % 8];
    int head = sprintf(
        reply, "HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: %zu\r\n\r\n", len);
    memcpy(reply + head, bytes, len);
    return (struct step){ .reply = reply, .len = (size_t)head + len };
}

BOTH(client_undoes_gzip)
{
    unsigned char twice[2 * sizeof packed];
    memcpy(twice, packed, sizeof packed);
    memcpy(twice + sizeof packed, packed, sizeof packed);
    START(gzip_reply(packed, sizeof packed), gzip_reply(twice, sizeof twice),
          gzip_reply(packed, sizeof packed - 1), gzip_reply("nonsense", 8),
          gzip_reply(packed, sizeof packed), gzip_reply(packed, sizeof packed));
    struct pier_response *r = pier_http_get(srv.url, NULL);
    ck_assert_int_eq(pier_response_len(r), -1);
    expect(r, 200, "hello hello hello\n");
    expect(pier_http_get(srv.url, NULL), 200, "hello hello hello\nhello hello hello\n");
    expect_bad_body(pier_http_get(srv.url, NULL), PIER_EPROTO, "the compressed body is cut off");
    expect_bad_body(pier_http_get(srv.url, NULL), PIER_EPROTO, "not what gzip writes");
    expect_bad_body(pier_http_get(srv.url, &(struct pier_request){ .body_max = 17 }), -EMSGSIZE,
                    "more than 17 bytes");
    r = pier_http_get(srv.url, &(struct pier_request){ .no_gzip = true });
    ck_assert_int_eq(pier_response_len(r), sizeof packed);
    pier_response_free(r);
    ck_assert_ptr_null(strstr(srv.requests[5], "Accept-Encoding"));
}

/* ---- the pool ---- */

BOTH(client_keeps_connections)
{
    START({ .reply = OK("1\r\n\r\na") }, { .reply = OK("1\r\n\r\nb") },
          { .reply = OK("1\r\nConnection: close\r\n\r\nc"), .close = true },
          { .reply = OK("1\r\n\r\nd") });
    struct pier_http_client *client = pier_http_client_new(NULL);
    const struct pier_request with = { .client = client };
    expect(pier_http_get(srv.url, &with), 200, "a");
    expect(pier_http_get(srv.url, &with), 200, "b");
    expect(pier_http_get(srv.url, &with), 200, "c");
    ck_assert_int_eq(srv.conns, 1);
    expect(pier_http_get(srv.url, &with), 200, "d");
    ck_assert_int_eq(srv.conns, 2);
    pier_http_client_free(client);
}

BOTH(client_drops_connections_whose_body_is_not_read)
{
    START({ .reply = OK("100000\r\n\r\nbeginning") }, { .reply = OK("1\r\n\r\nb") },
          { .reply = OK("3\r\n\r\nabc") }, { .reply = OK("1\r\n\r\nd") },
          { .reply = OK("1\r\n\r\nejunk") }, { .reply = OK("1\r\n\r\nf") });
    struct pier_http_client *client = pier_http_client_new(NULL);
    const struct pier_request with = { .client = client };
    pier_response_free(pier_http_get(srv.url, &with));
    expect(pier_http_get(srv.url, &with), 200, "b");
    ck_assert_int_eq(srv.conn_of[1], 1);
    pier_response_free(pier_http_get(srv.url, &with)); /* all of it has come already */
    expect(pier_http_get(srv.url, &with), 200, "d");
    ck_assert_int_eq(srv.conn_of[3], 1);
    expect(pier_http_get(srv.url, &with), 200, "e"); /* bytes that nobody asked for */
    expect(pier_http_get(srv.url, &with), 200, "f");
    ck_assert_int_eq(srv.conn_of[5], 2);
    pier_http_client_free(client);
}

BOTH(client_tries_again_when_a_kept_connection_breaks)
{
    START({ .reply = OK("1\r\n\r\na") }, { .reply = NULL }, { .reply = OK("1\r\n\r\nb") },
          { .reply = NULL });
    struct pier_http_client *client = pier_http_client_new(NULL);
    const struct pier_request with = { .client = client };
    expect(pier_http_get(srv.url, &with), 200, "a");
    expect(pier_http_get(srv.url, &with), 200, "b");
    ck_assert_int_eq(srv.conns, 2);
    /* What may have been done already is not done again. */
    expect_failure(pier_http_post(srv.url, NULL, "x", 1, &with), -EPIPE,
                   "closed without a response");
    ck_assert_int_eq(srv.next, 4);
    pier_http_client_free(client);
}

BOTH(client_bounds_idle_connections)
{
    START({ .reply = OK("1\r\n\r\na") }, { .reply = OK("1\r\n\r\nb") },
          { .reply = OK("1\r\n\r\nc") }, { .reply = OK("1\r\n\r\nd") });
    struct pier_http_client *client = pier_http_client_new(
        &(struct pier_http_client_opts){ .idle_per_server = 1, .idle_timeout_ms = 1 });
    const struct pier_request with = { .client = client };
    struct pier_response *a = pier_http_get(srv.url, &with), *b = pier_http_get(srv.url, &with);
    expect(a, 200, "a");
    expect(b, 200, "b");
    ck_assert_int_eq(client->pool.count, 1);
    client->pool.idle->idle_since_ns -= PIER_SECOND;
    expect(pier_http_get(srv.url, &with), 200, "c");
    ck_assert_int_eq(srv.conn_of[2], 2);
    pier_http_client_free(client);
}

static int get_once(void *client)
{
    expect(pier_http_get(srv.url, &(struct pier_request){ .client = client }), 200, "a");
    return 0;
}

/* A connection is its thread's, whichever loop there is at the moment, or none. */
TEST(client_keeps_connections_from_loop_to_loop)
{
    const struct step same = { .reply = OK("1\r\n\r\na") };
    START(same, same, same, same, same);
    struct pier_http_client *client = pier_http_client_new(NULL);
    for (int i = 0; i < 5; i++) {
        struct pier_scope scope;
        pier_scope_open(&scope, 0);
        if (i % 2)
            ck_assert_int_eq(get_once(client), 0);
        else
            ck_assert_int_eq(pier_spawn(&scope, get_once, client), 0);
        ck_assert_int_eq(pier_scope_join(&scope), 0);
    }
    ck_assert_int_eq(srv.conns, 1);
    pier_http_client_free(client);
}

/* A pool with a connection that is too old behind a good one, neither of them with a descriptor. */
static struct {
    struct pi_pool pool;
    struct pier_conn old, good;
} crowd;

static int look_for_another(void *arg)
{
    struct pi_link *link = pi_pool_take(&crowd.pool, "another", true);
    ck_assert_ptr_null(link);
    return 0;
}

/* While the old one is being closed, which takes as long as somebody is still in it. */
static int use_up_the_good_one(void *arg)
{
    struct pi_link *link = pi_pool_take(&crowd.pool, "good", true);
    ck_assert_ptr_nonnull(link);
    pi_link_free(link);
    crowd.old.reading = false;
    return 0;
}

BOTH(client_shares_its_pool_while_a_connection_is_closed)
{
    struct pier_scope scope;
    memset(&crowd, 0, sizeof crowd);
    crowd.pool.most = crowd.pool.most_per_key = 8;
    crowd.pool.timeout_ns = 3600 * PIER_SECOND;
    crowd.old.io.fd = crowd.good.io.fd = -1;
    crowd.old.is_owned = crowd.good.is_owned = crowd.old.reading = true;
    pi_pool_give(&crowd.pool, pi_link_new(&crowd.old, "old"));
    pi_pool_give(&crowd.pool, pi_link_new(&crowd.good, "good"));
    crowd.pool.idle->next->idle_since_ns -= 2 * crowd.pool.timeout_ns;
    pier_scope_open(&scope, 0);
    ck_assert_int_eq(pier_spawn(&scope, look_for_another, NULL), 0);
    ck_assert_int_eq(pier_spawn(&scope, use_up_the_good_one, NULL), 0);
    ck_assert_int_eq(pier_scope_join(&scope), 0);
    ck_assert_int_eq(crowd.pool.count, 0);
    ck_assert_ptr_null(crowd.pool.idle);
}

BOTH(client_may_be_freed_before_its_responses)
{
    START({ .reply = OK("1\r\n\r\na") });
    struct pier_http_client *client = pier_http_client_new(NULL);
    struct pier_response *r = pier_http_get(srv.url, &(struct pier_request){ .client = client });
    pier_http_client_free(client);
    expect(r, 200, "a");
}

/* ---- requests ---- */

BOTH(client_sends_fields_and_bodies)
{
    START({ .reply = OK("0\r\n\r\n") }, { .reply = OK("0\r\n\r\n") }, { .reply = OK("0\r\n\r\n") });
    static const char *const fields[] = { "X-A: 1", "accept:text/html", "User-Agent:", NULL };
    expect(pier_http_post(srv.url, "text/plain", "hello", 5,
                          &(struct pier_request){ .fields = fields }),
           200, "");
    char want[256];
    snprintf(want, sizeof want,
             "POST / HTTP/1.1\r\nHost: 127.0.0.1:%d\r\nX-A: 1\r\naccept: text/html\r\n"
             "Accept-Encoding: gzip\r\nContent-Type: text/plain\r\nContent-Length: 5\r\n\r\nhello",
             srv.port);
    ck_assert_str_eq(srv.requests[0], want);

    char *big = malloc(100001);
    memset(big, 'x', 100000);
    big[100000] = '\0';
    expect(pier_http_put(srv.url, NULL, big, 100000, NULL), 200, "");
    ck_assert_str_eq(strstr(srv.requests[1], "\r\n\r\n") + 4, big);
    free(big);
    expect(pier_http_post(srv.url, NULL, NULL, 0, NULL), 200, "");
    ck_assert_ptr_nonnull(strstr(srv.requests[2], "\r\nContent-Length: 0\r\n"));
}

BOTH(client_refuses_fields_that_would_be_two)
{
    static const char *const bad[] = { "X: a\r\nY: b",
                                       "X: a\nb",
                                       "X Y: a",
                                       ": a",
                                       "X",
                                       "Content-Length: 5",
                                       "Transfer-Encoding: chunked" };
    START({ .reply = OK("0\r\n\r\n") });
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        const char *const fields[] = { bad[i], NULL };
        expect_failure(pier_http_get(srv.url, &(struct pier_request){ .fields = fields }), -EINVAL,
                       "field \"");
    }
    expect_failure(
        pier_http_call(srv.url, &(struct pier_request){ .method = "GET /x HTTP/1.1\r\nX:" }),
        -EINVAL, "the method is no token");
    expect_failure(pier_http_get(srv.url, &(struct pier_request){ .bearer = "a\r\nX: b" }), -EINVAL,
                   "");
    ck_assert_int_eq(srv.next, 0);
}

/* Gives its text in pieces of three bytes. */
static ssize_t three_bytes(void *arg, void *buf, size_t cap)
{
    const char **text = arg;
    size_t len = strnlen(*text, cap < 3 ? cap : 3);
    memcpy(buf, *text, len);
    *text += len;
    return (ssize_t)len;
}

static ssize_t fails(void *arg, void *buf, size_t cap)
{
    return -EIO;
}

BOTH(client_sends_bodies_from_a_source)
{
    START({ .reply = OK("0\r\n\r\n") }, { .reply = OK("0\r\n\r\n") });
    const char *text = "abcdefg";
    struct pier_request req = { .method = "POST", .source = three_bytes, .source_arg = &text };
    expect(pier_http_call(srv.url, &req), 200, "");
    ck_assert_str_eq(
        strstr(srv.requests[0], "Transfer-Encoding"),
        "Transfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n3\r\ndef\r\n1\r\ng\r\n0\r\n\r\n");
    text = "abcdefgh";
    req.source_len = 7;
    expect(pier_http_call(srv.url, &req), 200, "");
    ck_assert_str_eq(strstr(srv.requests[1], "Content-Length"), "Content-Length: 7\r\n\r\nabcdefg");
    text = "abc";
    expect_failure(pier_http_call(srv.url, &req), -EINVAL, "4 bytes short");
    req.source = fails;
    expect_failure(pier_http_call(srv.url, &req), -EIO, "body of the request");
}

BOTH(client_takes_an_answer_that_comes_before_the_body_is_sent)
{
    enum { LEN = 20000000 };
    START({ .reply = "HTTP/1.1 413 Content Too Large\r\nContent-Length: 3\r\n\r\nno\n",
            .close = true,
            .early = true });
    char *big = calloc(1, LEN);
    expect(pier_http_post(srv.url, NULL, big, LEN, NULL), 413, "no\n");
    free(big);
}

BOTH(client_passes_over_interim_responses)
{
    START({ .reply = "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\n"
                     "HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\na" },
          { .reply =
                "HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\n" });
    expect(pier_http_get(srv.url, NULL), 200, "a");
    expect_failure(pier_http_get(srv.url, NULL), PIER_EPROTO, "an upgrade that nobody asked for");
}

/* ---- authentication ---- */

BOTH(client_sends_credentials)
{
    START({ .reply = OK("0\r\n\r\n") }, { .reply = OK("0\r\n\r\n") }, { .reply = OK("0\r\n\r\n") });
    char with_user[128];
    snprintf(with_user, sizeof with_user, "http://me%%40x:p%%3aw@127.0.0.1:%d/", srv.port);
    struct pier_response *r = pier_http_get(with_user, NULL);
    ck_assert_str_eq(pier_response_url(r), srv.url);
    expect(r, 200, "");
    ck_assert_ptr_nonnull(strstr(srv.requests[0], "\r\nAuthorization: Basic bWVAeDpwOnc=\r\n"));
    expect(pier_http_get(srv.url, &(struct pier_request){ .user = "a", .password = "b" }), 200, "");
    ck_assert_ptr_nonnull(strstr(srv.requests[1], "\r\nAuthorization: Basic YTpi\r\n"));
    expect(pier_http_get(srv.url, &(struct pier_request){ .bearer = "tok" }), 200, "");
    ck_assert_ptr_nonnull(strstr(srv.requests[2], "\r\nAuthorization: Bearer tok\r\n"));
}

TEST(client_never_shows_a_password)
{
    expect_failure(pier_http_get("http://me:secret@127.0.0.1:1/", NULL), -ECONNREFUSED, "dial");
    ck_assert_ptr_null(strstr(pier_error(), "secret"));
    expect_failure(pier_http_get("ftp://me:secret@127.0.0.1:1/", NULL), PIER_EURL, "...@127");
    ck_assert_ptr_null(strstr(pier_error(), "secret"));
}

/* ---- redirects ---- */

#define MOVED(status, to) \
    "HTTP/1.1 " status " Moved\r\nContent-Length: 0\r\nLocation: " to "\r\n\r\n"

BOTH(client_follows_redirects)
{
    START({ .reply = MOVED("302", "../b?x y#f") }, { .reply = MOVED("308", "//127.0.0.1:PORT") },
          { .reply = OK("1\r\n\r\na") });
    static char moved[200];
    snprintf(moved, sizeof moved,
             "HTTP/1.1 307 Moved\r\nContent-Length: 4\r\nLocation: //localhost:%d/c\r\n\r\nbody",
             srv.port);
    srv.steps[1].reply = moved;
    struct pier_response *r = pier_http_get(url("a/a/"), NULL);
    ck_assert_ptr_nonnull(strstr(pier_response_url(r), "//localhost:"));
    expect(r, 200, "a");
    ck_assert_int_eq(strncmp(srv.requests[1], "GET /a/b?x%20y HTTP", 19), 0);
    ck_assert_int_eq(strncmp(srv.requests[2], "GET /c HTTP", 11), 0);
}

BOTH(client_changes_the_method_only_as_everybody_does)
{
    static const struct {
        const char *method, *status, *then;
        bool has_body;
    } cases[] = {
        { "POST", "301", "GET ", false },  { "POST", "302", "GET ", false },
        { "POST", "303", "GET ", false },  { "POST", "307", "POST ", true },
        { "POST", "308", "POST ", true },  { "PUT", "301", "PUT ", true },
        { "PUT", "303", "GET ", false },   { "DELETE", "302", "DELETE ", false },
        { "HEAD", "303", "HEAD ", false },
    };
    static char replies[16][128];
    static struct step steps[32];
    int count = sizeof cases / sizeof cases[0];
    for (int i = 0; i < count; i++) {
        sprintf(replies[i], "HTTP/1.1 %s M\r\nContent-Length: 0\r\nLocation: /x\r\n\r\n",
                cases[i].status);
        steps[2 * i].reply = replies[i];
        steps[2 * i + 1].reply = OK("0\r\n\r\n");
    }
    start(steps, 2 * count);
    for (int i = 0; i < count; i++) {
        bool has_body = cases[i].method[0] == 'P';
        expect(pier_http_call(srv.url, &(struct pier_request){ .method = cases[i].method,
                                                               .body = "hello",
                                                               .body_len = has_body ? 5 : 0 }),
               200, "");
        const char *second = srv.requests[2 * i + 1];
        if (strncmp(second, cases[i].then, strlen(cases[i].then)) != 0 ||
            (strstr(second, "\r\n\r\nhello") != NULL) != cases[i].has_body)
            ck_abort_msg("%s %s: %s", cases[i].method, cases[i].status, second);
    }
}

BOTH(client_gives_credentials_to_nobody_else)
{
    static char moved[200];
    START({ .reply = moved }, { .reply = OK("0\r\n\r\n") }, { .reply = MOVED("302", "/x") },
          { .reply = OK("0\r\n\r\n") });
    static const char *const fields[] = { "Cookie: a=b", "Authorization: X", "X-Other: y", NULL };
    snprintf(moved, sizeof moved,
             "HTTP/1.1 302 M\r\nContent-Length: 0\r\nSet-Cookie: c=d\r\nLocation: "
             "http://localhost:%d/\r\n\r\n",
             srv.port);
    const struct pier_request req = { .fields = fields, .user = "me", .password = "secret" };
    expect(pier_http_get(srv.url, &req), 200, "");
    ck_assert_ptr_nonnull(strstr(srv.requests[0], "Authorization: X"));
    ck_assert_ptr_null(strstr(srv.requests[1], "Authorization"));
    ck_assert_ptr_null(strstr(srv.requests[1], "Cookie"));
    ck_assert_ptr_nonnull(strstr(srv.requests[1], "X-Other: y"));
    expect(pier_http_get(srv.url, &req), 200, "");
    ck_assert_ptr_nonnull(strstr(srv.requests[3], "Authorization: X"));
    ck_assert_ptr_nonnull(strstr(srv.requests[3], "Cookie: a=b"));
}

BOTH(client_refuses_bad_redirects)
{
    START({ .reply = MOVED("302", "ftp://127.0.0.1/") },
          { .reply = MOVED("302", "file:///etc/passwd") }, { .reply = MOVED("302", "http://[/") },
          { .reply = MOVED("302", "/") }, { .reply = MOVED("302", "/") },
          { .reply = MOVED("302", "/") }, { .reply = MOVED("302", "/x") },
          { .reply = MOVED("307", "/x") });
    expect_failure(pier_http_get(srv.url, NULL), PIER_EURL, "not http://host");
    expect_failure(pier_http_get(srv.url, NULL), PIER_EURL, "not http://host");
    expect_failure(pier_http_get(srv.url, NULL), PIER_EURL, "");
    expect_failure(pier_http_get(srv.url, &(struct pier_request){ .redirects_max = 2 }), -ELOOP,
                   "more than 2 redirects");
    struct pier_response *r = pier_http_get(srv.url, &(struct pier_request){ .redirects_max = -1 });
    ck_assert_str_eq(pier_response_field(r, "Location"), "/x");
    expect(r, 302, "");
    const char *text = "abc";
    expect_failure(pier_http_call(srv.url, &(struct pier_request){ .method = "PUT",
                                                                   .source = three_bytes,
                                                                   .source_arg = &text }),
                   -ESPIPE, "cannot be sent again");
}

/* Without a server of https: what is known before it would be connected to. */
TEST(client_never_goes_from_https_to_http)
{
    struct pi_target secure, plain;
    ck_assert_int_eq(pi_target_parse(&secure, "https://a/b", NULL), 0);
    ck_assert_int_eq(pi_target_parse(&plain, "http://a/", &secure), 0);
    ck_assert(secure.is_https && !plain.is_https);
    ck_assert_int_eq(secure.port, 443);
}

/* ---- tries ---- */

BOTH(client_tries_again_as_often_as_it_is_told)
{
    static const char busy[] = "HTTP/1.1 503 Busy\r\nContent-Length: 0\r\n\r\n";
    START({ .reply = busy }, { .reply = busy }, { .reply = OK("1\r\n\r\na") }, { .reply = busy },
          { .reply = busy }, { .reply = busy }, { .reply = NULL }, { .reply = OK("1\r\n\r\nb") });
    struct pier_request req = { .retries = 2 };
    expect(pier_http_get(srv.url, &req), 200, "a");
    ck_assert_int_eq(srv.next, 3);
    expect(pier_http_post(srv.url, NULL, "x", 1, &req), 503, "");
    ck_assert_int_eq(srv.next, 4);
    req.retries = 1;
    expect(pier_http_get(srv.url, &req), 503, "");
    ck_assert_int_eq(srv.next, 6);
    expect(pier_http_get(srv.url, &req), 200, "b");
    expect_failure(pier_http_get("http://127.0.0.1:1/", &req), -ECONNREFUSED, "connection refused");
}

BOTH(client_gives_up_in_time)
{
    START({ .silent = true }, { .reply = OK("9\r\n\r\nhello") });
    int64_t before = pier_now();
    expect_failure(pier_http_get(srv.url, &(struct pier_request){ .timeout_ms = 50 }), -ETIMEDOUT,
                   "timed out");
    struct pier_response *r = pier_http_get(srv.url, &(struct pier_request){ .timeout_ms = 300 });
    expect_bad_body(r, -ETIMEDOUT, "timed out");
    ck_assert_int_ge(ms_since(before), 300);
    ck_assert_int_lt(ms_since(before), 5000);
}

/* ---- ranges ---- */

BOTH(client_resumes)
{
    START({ .reply = "HTTP/1.1 206 Partial\r\nContent-Length: 3\r\n"
                     "Content-Range: bytes 4-6/7\r\n\r\nefg" },
          { .reply = OK("7\r\n\r\nabcdefg") });
    const struct pier_request req = { .from = 4, .if_range = "\"tag\"" };
    struct pier_response *r = pier_http_get(srv.url, &req);
    ck_assert_int_eq(pier_response_from(r), 4);
    expect(r, 206, "efg");
    ck_assert_ptr_nonnull(strstr(srv.requests[0], "\r\nRange: bytes=4-\r\nIf-Range: \"tag\"\r\n"));
    r = pier_http_get(srv.url, &req);
    ck_assert_int_eq(pier_response_from(r), 0);
    expect(r, 200, "abcdefg");
}

/* ---- proxies and other sockets ---- */

BOTH(client_asks_a_proxy)
{
    START({ .reply = OK("1\r\n\r\na") }, { .reply = OK("1\r\n\r\nb") },
          { .reply = "HTTP/1.1 407 Say Who\r\nContent-Length: 0\r\n\r\n" });
    char proxy[64];
    snprintf(proxy, sizeof proxy, "me:pw@127.0.0.1:%d", srv.port);
    struct pier_http_client *client =
        pier_http_client_new(&(struct pier_http_client_opts){ .proxy = proxy });
    const struct pier_request with = { .client = client };
    expect(pier_http_get("http://one.invalid/x?y", &with), 200, "a");
    ck_assert_int_eq(strncmp(srv.requests[0],
                             "GET http://one.invalid/x?y HTTP/1.1\r\nHost: one.invalid\r\n", 56),
                     0);
    ck_assert_ptr_nonnull(strstr(srv.requests[0], "\r\nProxy-Authorization: Basic bWU6cHc=\r\n"));
    expect(pier_http_get("http://two.invalid/", &with), 200, "b");
    ck_assert_int_eq(srv.conns, 1);
    expect_failure(pier_http_get("https://three.invalid/", &with), -ECONNREFUSED,
                   "407 Say Who for three.invalid:443");
    ck_assert_int_eq(strncmp(srv.requests[2],
                             "CONNECT three.invalid:443 HTTP/1.1\r\nHost: three.invalid:443\r\n"
                             "Proxy-Authorization: Basic bWU6cHc=\r\n\r\n",
                             99),
                     0);
    ck_assert_int_eq(pier_exit_code(), 4);
    pier_http_client_free(client);
}

TEST(client_takes_proxies_from_the_environment)
{
    struct pi_target t;
    struct pi_hop hop;
    const struct pier_http_client_opts none = { .proxy = NULL };
    unsetenv("all_proxy");
    unsetenv("no_proxy");
    setenv("HTTP_PROXY", "http://evil:1", 1); /* a field "Proxy" of a CGI program's request */
    setenv("https_proxy", "http://p:8080", 1);
    ck_assert_int_eq(pi_target_parse(&t, "http://a.example/", NULL), 0);
    ck_assert_int_eq(pi_hop_find(&hop, &t, &none), 0);
    ck_assert_str_eq(hop.dial, "tcp://a.example:80");
    ck_assert_int_eq(pi_target_parse(&t, "https://a.example/", NULL), 0);
    ck_assert_int_eq(pi_hop_find(&hop, &t, &none), 0);
    ck_assert_str_eq(hop.dial, "tcp://p:8080");
    ck_assert(hop.tunnels && !hop.via_proxy);
    setenv("NO_PROXY", "example", 1);
    ck_assert_int_eq(pi_hop_find(&hop, &t, &none), 0);
    ck_assert_str_eq(hop.dial, "tcp://a.example:443");
    setenv("http_proxy", "p:81", 1);
    ck_assert_int_eq(pi_target_parse(&t, "http://[::1]:8/", NULL), 0);
    ck_assert_int_eq(pi_hop_find(&hop, &t, &none), 0);
    ck_assert_str_eq(hop.dial, "tcp://p:81");
    ck_assert(hop.via_proxy && !hop.tunnels);
    ck_assert_int_eq(pi_hop_find(&hop, &t, &(struct pier_http_client_opts){ .proxy = "" }), 0);
    ck_assert_str_eq(hop.dial, "tcp://[::1]:8");
}

TEST(no_proxy_names_hosts)
{
    static const struct {
        const char *list, *host;
        int port;
        bool exempt;
    } cases[] = {
        { NULL, "a", 80, false },
        { "", "a", 80, false },
        { "*", "a", 80, true },
        { "b, a", "a", 80, true },
        { "example.com", "example.com", 80, true },
        { "example.com", "www.Example.COM", 80, true },
        { ".example.com", "www.example.com", 80, true },
        { ".example.com", "example.com", 80, true },
        { "example.com", "notexample.com", 80, false },
        { "example.com", "example.com.org", 80, false },
        { "a:8080", "a", 8080, true },
        { "a:8080", "a", 80, false },
        { "127.0.0.1", "127.0.0.1", 80, true },
        { "0.0.1", "127.0.0.1", 80, false },
        { "::1", "::1", 80, true },
        { "[::1]:80", "::1", 80, true },
        { "[::1]", "::1", 81, true },
        { ",,,", "a", 80, false },
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++)
        if (pi_hop_is_exempt(cases[i].list, cases[i].host, cases[i].port) != cases[i].exempt)
            ck_abort_msg("\"%s\" and %s", cases[i].list, cases[i].host);
}

BOTH(client_connects_to_unix_sockets)
{
    START({ .reply = NULL });
    struct sockaddr_un addr = { .sun_family = AF_UNIX };
    snprintf(addr.sun_path, sizeof addr.sun_path, "/tmp/pier-http-client-%d", getpid());
    unlink(addr.sun_path);
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    ck_assert_int_eq(bind(fd, (struct sockaddr *)&addr, sizeof addr), 0);
    srv.steps[0].reply = OK("1\r\n\r\nu");
    listen_and_serve(fd);
    struct pier_http_client *client =
        pier_http_client_new(&(struct pier_http_client_opts){ .unix_path = addr.sun_path });
    expect(pier_http_get("http://any.invalid/x", &(struct pier_request){ .client = client }), 200,
           "u");
    ck_assert_ptr_nonnull(strstr(srv.requests[0], "\r\nHost: any.invalid\r\n"));
    pier_http_client_free(client);
    unlink(addr.sun_path);
}

/* ---- cookies ---- */

BOTH(client_sends_cookies_back)
{
    START({ .reply = "HTTP/1.1 302 M\r\nContent-Length: 0\r\nLocation: /in\r\n"
                     "Set-Cookie: sid=1; HttpOnly\r\nSet-Cookie: p=2; Path=/other\r\n\r\n" },
          { .reply = OK("0\r\nSet-Cookie: sid=3\r\n\r\n") }, { .reply = OK("0\r\n\r\n") },
          { .reply = OK("0\r\n\r\n") });
    struct pier_http_client *client = pier_http_client_new(NULL);
    const struct pier_request with = { .client = client };
    expect(pier_http_get(srv.url, &with), 200, "");
    ck_assert_ptr_nonnull(strstr(srv.requests[1], "\r\nCookie: sid=1\r\n"));
    expect(pier_http_get(url("other/x"), &with), 200, "");
    ck_assert_ptr_nonnull(strstr(srv.requests[2], "\r\nCookie: p=2; sid=3\r\n"));
    pier_http_client_free(client);
    expect(pier_http_get(srv.url, NULL), 200, "");
    ck_assert_ptr_null(strstr(srv.requests[3], "Cookie"));
}

/* What is sent to `to` after `from` has set a cookie. */
static const char *cookies(const char *from, const char *set, const char *to)
{
    static char out[4096];
    struct pi_target a, b;
    struct pi_cookie_jar *jar = pi_cookie_jar_new();
    ck_assert_int_eq(pi_target_parse(&a, from, NULL), 0);
    ck_assert_int_eq(pi_target_parse(&b, to, NULL), 0);
    pi_cookie_jar_set(jar, &a, (struct pi_part){ set, strlen(set) });
    pi_cookie_jar_get(jar, &b, out, sizeof out);
    pi_cookie_jar_free(jar);
    return out;
}

/* RFC 6265bis, 5.6 and 5.7. */
TEST(cookies_go_where_they_belong)
{
    static const char *const cases[][4] = {
        { "http://a.example/", "k=v", "http://a.example/x", "k=v" },
        { "http://a.example/", "k=v", "http://b.a.example/", "" },
        { "http://a.example/", "k=v", "http://example/", "" },
        { "http://a.example.com/", "k=v; Domain=.Example.com", "http://b.example.com/", "k=v" },
        { "http://a.example.com/", "k=v; Domain=example.com", "http://notexample.com/", "" },
        { "http://a.example.com/", "k=v; Domain=b.example.com", "http://b.example.com/", "" },
        { "http://a.example.com/", "k=v; Domain=com", "http://b.example.com/", "" },
        { "http://a.co.uk/", "k=v; Domain=co.uk", "http://b.co.uk/", "" },
        { "http://com/", "k=v; Domain=com", "http://com/", "k=v" },
        { "http://com/", "k=v; Domain=com", "http://a.com/", "" },
        { "http://127.0.0.1/", "k=v; Domain=127.0.0.1", "http://127.0.0.1:8/", "k=v" },
        { "http://127.0.0.1/", "k=v; Domain=0.0.1", "http://127.0.0.1/", "" },
        { "http://a/b/c", "k=v", "http://a/b", "k=v" },
        { "http://a/b/c", "k=v", "http://a/b/d", "k=v" },
        { "http://a/b/c", "k=v", "http://a/bd", "" },
        { "http://a/b/c", "k=v; Path=/", "http://a/", "k=v" },
        { "http://a/b?/c/d", "k=v", "http://a/", "k=v" },
        { "http://a/", "k=v; Path=/x", "http://a/x?y", "k=v" },
        { "http://a/", "k=v; Path=x", "http://a/", "k=v" },
        { "http://a/", "k=v; Secure", "https://a/", "" },
        { "https://a/", "k=v; secure", "https://a/", "k=v" },
        { "https://a/", "k=v; Secure", "http://a/", "" },
        { "https://a/", "__Secure-k=v", "https://a/", "" },
        { "https://a/", "__Secure-k=v; Secure", "https://a/", "__Secure-k=v" },
        { "https://a/x/y", "__Host-k=v; Secure", "https://a/x/", "" },
        { "https://a/", "__host-k=v; Secure; Path=/; Domain=a", "https://a/", "" },
        { "https://a/", "__Host-k=v; Secure; Path=/", "https://a/", "__Host-k=v" },
        { "https://a/", "=__Host-k=v", "https://a/", "" },
        { "http://a/", "k=v; Max-Age=0", "http://a/", "" },
        { "http://a/", "k=v; Max-Age=-5", "http://a/", "" },
        { "http://a/", "k=v; Max-Age=99999999999999999999", "http://a/", "k=v" },
        { "http://a/", "k=v; Max-Age=x; Expires=Thu, 01 Jan 1970 00:00:00 GMT", "http://a/", "" },
        { "http://a/", "k=v; Max-Age=9; Expires=Thu, 01 Jan 1970 00:00:00 GMT", "http://a/",
          "k=v" },
        { "http://a/", "k=v; Expires=Wed, 09-Jun-99 10:18:14 GMT", "http://a/", "" },
        { "http://a/", "k=v; Expires=Fri, 31 Dec 9999 23:59:59 GMT", "http://a/", "k=v" },
        { "http://a/", "k=v; Expires=never", "http://a/", "k=v" },
        { "http://a/", " k = v w ;x", "http://a/", "k=v w" },
        { "http://a/", "\"v\"", "http://a/", "\"v\"" },
        { "http://a/", "k=", "http://a/", "k=" },
        { "http://a/", "", "http://a/", "" },
        { "http://a/", "=", "http://a/", "" },
        { "http://a/", "k=\x01", "http://a/", "" },
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        const char *got = cookies(cases[i][0], cases[i][1], cases[i][2]);
        if (strcmp(got, cases[i][3]) != 0)
            ck_abort_msg("%s sets \"%s\", %s gets \"%s\"", cases[i][0], cases[i][1], cases[i][2],
                         got);
    }
}

static void set(struct pi_cookie_jar *jar, const char *from, const char *text)
{
    struct pi_target t;
    ck_assert_int_eq(pi_target_parse(&t, from, NULL), 0);
    pi_cookie_jar_set(jar, &t, (struct pi_part){ text, strlen(text) });
}

TEST(cookies_are_replaced_ordered_and_bounded)
{
    char out[8192], text[64];
    struct pi_target t;
    struct pi_cookie_jar *jar = pi_cookie_jar_new();
    ck_assert_int_eq(pi_target_parse(&t, "http://a/b/c", NULL), 0);
    set(jar, "http://a/", "one=1; Path=/");
    set(jar, "http://a/", "two=2; Path=/");
    set(jar, "http://a/", "three=3; Path=/b");
    set(jar, "http://a/", "one=4; Path=/");
    pi_cookie_jar_get(jar, &t, out, sizeof out);
    ck_assert_str_eq(out, "three=3; one=4; two=2");
    ck_assert_uint_eq(pi_cookie_jar_get(jar, &t, out, 16), 14); /* whole ones only */
    ck_assert_str_eq(out, "three=3; one=4");
    set(jar, "http://a/", "one=; Path=/; Max-Age=0");
    pi_cookie_jar_get(jar, &t, out, sizeof out);
    ck_assert_str_eq(out, "three=3; two=2");
    set(jar, "https://a/", "safe=1; Secure; Path=/");
    set(jar, "http://a/", "safe=2; Path=/");
    pi_cookie_jar_get(jar, &t, out, sizeof out);
    ck_assert_ptr_null(strstr(out, "safe"));
    set(jar, "https://b.a.example/", "safe=1; Secure; Path=/");
    set(jar, "http://a.example/", "safe=2; Domain=a.example; Path=/");
    ck_assert_int_eq(pi_target_parse(&t, "https://b.a.example/", NULL), 0);
    pi_cookie_jar_get(jar, &t, out, sizeof out);
    ck_assert_str_eq(out, "safe=1");
    ck_assert_int_eq(pi_target_parse(&t, "http://a/b/c", NULL), 0);
    for (int i = 0; i < 200; i++) {
        sprintf(text, "n%d=x; Path=/", i);
        set(jar, "http://a/", text);
    }
    pi_cookie_jar_get(jar, &t, out, sizeof out);
    int count = 1;
    for (const char *p = out; (p = strchr(p, ';')); p++)
        count++;
    ck_assert_int_eq(count, 60);
    pi_cookie_jar_free(jar);
}

/* ---- hostile servers ---- */

/* Each of these is refused with words, by the head or by the body, and soon. */
static const char *const malformed[] = {
    "\r\n\r\n",
    "hello\r\n\r\n",
    "HTTP/1.1\r\n\r\n",
    "HTTP/1.1 \r\n\r\n",
    "HTTP/1.1 20 OK\r\n\r\n",
    "HTTP/1.1 2000 OK\r\n\r\n",
    "HTTP/1.1 099 OK\r\n\r\n",
    "HTTP/1.1 abc OK\r\n\r\n",
    "HTTP/2.0 200 OK\r\n\r\n",
    "HTTP/11 200 OK\r\n\r\n",
    "http/1.1 200 OK\r\n\r\n",
    "HTTP/1.1  200 OK\r\n\r\n",
    "ICY 200 OK\r\n\r\n",
    "HTTP/1.1 200 OK\n\nbody",
    "HTTP/1.1 200 OK\r\nA: b\n\r\n",
    "HTTP/1.1 200 OK\r\nno colon\r\n\r\n",
    "HTTP/1.1 200 OK\r\n: x\r\n\r\n",
    "HTTP/1.1 200 OK\r\nA B: x\r\n\r\n",
    "HTTP/1.1 200 OK\r\nA : x\r\n\r\n",
    "HTTP/1.1 200 OK\r\nA: b\rc\r\n\r\n",
    "HTTP/1.1 200 OK\r\nA: b\x01\r\n\r\n",
    "HTTP/1.1 200 OK\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\nhello!",
    "HTTP/1.1 200 OK\r\nContent-Length: 5, 6\r\n\r\nhello!",
    "HTTP/1.1 200 OK\r\nContent-Length: -5\r\n\r\nhello",
    "HTTP/1.1 200 OK\r\nContent-Length: +5\r\n\r\nhello",
    "HTTP/1.1 200 OK\r\nContent-Length: 5x\r\n\r\nhello",
    "HTTP/1.1 200 OK\r\nContent-Length: \r\n\r\nhello",
    "HTTP/1.1 200 OK\r\nContent-Length: 99999999999999999999\r\n\r\nhello",
    "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nx\r\n",
    "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n-1\r\n",
    "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\nhello\r\n0\r\n\r\n",
    "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhelloX0\r\n\r\n",
    "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5 \r\nhello",
    "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nffffffffffffffffff\r\n",
    "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\nbad trailer\r\n\r\n",
    "HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nshort",
    "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n",
    "HTTP/1.1 200 OK",
    "HTTP/1.1 200 OK\r\nA: b\r\n",
    "",
};

TEST_WITHIN(60, client_refuses_malformed_responses)
{
    enum { COUNT = sizeof malformed / sizeof malformed[0] };
    static struct step steps[COUNT];
    for (int i = 0; i < COUNT; i++)
        steps[i] = (struct step){ .reply = malformed[i], .close = true };
    start(steps, COUNT);
    for (int i = 0; i < COUNT; i++) {
        struct pier_response *r = pier_http_get(srv.url, NULL);
        char *text = pier_response_all(r, NULL);
        int code = pier_error_code();
        if (text || (code != PIER_EPROTO && code != -EPIPE) || !strstr(pier_error(), srv.url))
            ck_abort_msg("%d, \"%s\": %s", i, malformed[i], text ? text : pier_error());
        pier_response_free(r);
    }
}

/* Endless, of every kind that could be. */
TEST(client_refuses_endless_heads)
{
    enum { LEN = 200000 };
    static char endless[6][LEN];
    static const char *const begins[] = { "HTTP/1.1 200 ",
                                          "HTTP/1.1 200 OK\r\nA: ",
                                          "HTTP/1.1 200 OK\r\n",
                                          "HTTP/1.1 200 OK\r\n",
                                          "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5;",
                                          "" };
    static const char *const repeats[] = { "x", "x", "A: b\r\n",
                                           "x", "x", "HTTP/1.1 100 Continue\r\n\r\n" };
    static struct step steps[6];
    for (int i = 0; i < 6; i++) {
        size_t at = strlen(begins[i]), len = strlen(repeats[i]);
        memcpy(endless[i], begins[i], at);
        for (; at + len <= LEN; at += len)
            memcpy(endless[i] + at, repeats[i], len);
        steps[i] = (struct step){ .reply = endless[i], .len = at };
    }
    start(steps, 6);
    for (int i = 0; i < 6; i++) {
        struct pier_response *r = pier_http_get(srv.url, NULL);
        ck_assert_ptr_null(pier_response_all(r, NULL));
        if (pier_error_code() != PIER_EPROTO && pier_error_code() != -EMSGSIZE)
            ck_abort_msg("%d: %s", i, pier_error());
        pier_response_free(r);
    }
}

/* Every reply of the battery, cut at every byte, is an end in words and no crash. */
TEST_WITHIN(60, client_survives_a_response_cut_anywhere)
{
    static const char reply[] = "HTTP/1.1 200 OK\r\nSet-Cookie: a=b\r\nTransfer-Encoding: chunked"
                                "\r\n\r\n5;x\r\nhello\r\n0\r\nT: u\r\n\r\n";
    static struct step steps[1];
    for (size_t len = 1; len <= sizeof reply - 1; len++) {
        steps[0] = (struct step){ .reply = reply, .len = len, .close = true };
        start(steps, 1);
        struct pier_response *r = pier_http_get(srv.url, NULL);
        char *text = pier_response_all(r, NULL);
        ck_assert_int_eq(text != NULL, len == sizeof reply - 1);
        pier_response_free(r);
        shutdown(srv.listener, SHUT_RDWR);
    }
}

/* ---- without memory ---- */

BOTH(client_without_memory_fails_and_leaks_nothing)
{
    static struct step steps[STEPS];
    for (int i = 0; i < STEPS; i++)
        steps[i] = i % 2 ? gzip_reply(packed, sizeof packed)
                         : (struct step){ .reply = MOVED("302", "/x") "" };
    static const char first[] = "HTTP/1.1 302 M\r\nSet-Cookie: a=b\r\nContent-Length: 0\r\n"
                                "Location: /x\r\n\r\n";
    bool done = false;
    long blocks = pi_alloc_count();
    for (long i = 1; !done; i++) {
        ck_assert_int_lt(i, 100);
        for (int k = 0; k < STEPS; k++)
            steps[k].reply = k % 2 ? steps[1].reply : first;
        start(steps, STEPS);
        pi_alloc_fail(i);
        struct pier_response *r =
            pier_http_get(srv.url, &(struct pier_request){ .user = "a", .password = "b" });
        char *text = pier_response_all(r, NULL);
        done = pi_alloc_fail(0) < i && text;
        if (!text && pier_error_code() != -ENOMEM)
            ck_abort_msg("%ld: %s", i, pier_error());
        pier_response_free(r);
        shutdown(srv.listener, SHUT_RDWR);
        close(srv.listener);
    }
    pier_error_set(-EINVAL, "x");
    ck_assert_int_le(pi_alloc_count(), blocks + 2);
}

HARNESS_MAIN("http_client")
