/* SPDX-License-Identifier: MIT */
/*
 * scenarios/http.c - an HTTP server and clients that keep connections alive, ask for several things
 * at once, upload, and fall silent; in a network without trouble it is stopped in the midst of it.
 *
 * Each response is the right one, whole and in its turn, or the connection ends between two of
 * them. Before the stop, and without trouble, none may end at all. What is being answered when the
 * server stops is answered to the end.
 */
#include "scenario.h"

#include <stdlib.h>
#include <string.h>

enum {
    CLIENTS = 6,
    BATCHES = 6,
    AT_ONCE = 6,
    BODY_CAP = 20000,
    LINE_CAP = 512,
    IDLE_MS = 10000,
    NAP_MS = 3000, /* of clients between batches: some wait without a task then */
    SLACK_MS = 1000,
    FOREVER_MS = 600000,
};

enum kind { WHOLE, STREAM, UPLOAD, MISSING, KINDS };

struct request {
    enum kind kind;
    int number;
    size_t len;
    bool chunked; /* an upload */
};

struct client {
    int number;
    bool begun;
};

struct batch {
    struct pier_conn *conn;
    int count;
    struct request requests[AT_ONCE];
    char *body;                /* room for one */
    int64_t asked_ns, last_ns; /* when it last asked, and was last answered; or dialled */
};

static struct {
    enum weather weather;
    struct pier_server *server; /* while it runs */
    bool has_stop, stopping;
    struct client clients[CLIENTS];
    int left, requests;
    struct pier_event all_ended;
} world;

static bool one_in(int64_t n)
{
    return pier_sim_between(1, n) == 1;
}

/* What the body of a request's number is, or the answer to it. */
static void fill(char *out, int number, size_t from, size_t len)
{
    for (size_t i = 0; i < len; i++)
        out[i] = (char)('a' + ((size_t)number * 7 + (from + i) * 3 + ((from + i) >> 6)) % 26);
}

/* ---- the server ---- */

static size_t wanted_len(struct pier_exchange *ex)
{
    const char *len = pier_req_query(ex, "len");
    size_t n = len ? strtoul(len, NULL, 10) : 0;
    return n < BODY_CAP ? n : BODY_CAP;
}

static int answer_whole(struct pier_exchange *ex, void *arg)
{
    size_t len = wanted_len(ex);
    char *body = pier_exchange_alloc(ex, len + 1);
    if (!body)
        return pier_error_code();
    fill(body, atoi(pier_req_param(ex, "n")), 0, len);
    return pier_http_bytes(ex, 200, "text/plain", body, len);
}

static int answer_stream(struct pier_exchange *ex, void *arg)
{
    char piece[1000];
    size_t len = wanted_len(ex);
    int number = atoi(pier_req_param(ex, "n"));
    int rc = pier_res_begin(ex, 200, one_in(2) ? -1 : (int64_t)len);
    for (size_t at = 0; at < len && rc == 0;) {
        size_t n = scenario_piece(len - at, sizeof piece);
        fill(piece, number, at, n);
        ssize_t sent = pier_res_write(ex, piece, n);
        at += n;
        rc = sent < 0 ? (int)sent : one_in(8) ? pier_res_flush(ex) : 0;
        if (rc == 0 && one_in(8))
            rc = pier_sleep(pier_sim_between(0, 20) * PIER_MILLISECOND);
    }
    return rc;
}

static int answer_upload(struct pier_exchange *ex, void *arg)
{
    size_t len;
    char *body = pier_body_all(ex, &len);
    return body ? pier_http_bytes(ex, 200, NULL, body, len) : pier_error_code();
}

static struct pier_router *make_router(void)
{
    struct pier_router *r = pier_router_new();
    pier_route(r, "GET /whole/{n}", answer_whole, NULL);
    pier_route(r, "GET /stream/{n}", answer_stream, NULL);
    pier_route(r, "POST /upload/{n}", answer_upload, NULL);
    return r;
}

/* Whether the server is to be started again after it. */
static bool serve_once(void)
{
    struct pier_router *r = make_router();
    struct pier_server *s = pier_server_new(&(struct pier_serve_opts){ .no_signals = true });
    pier_server_add_http(s, "http://:8000", r,
                         &(struct pier_http_opts){ .idle_timeout_ms = IDLE_MS });
    world.server = s;
    int rc = pier_server_run(s);
    world.server = NULL;
    if (world.stopping && world.weather == WEATHER_CLEAR)
        PIER_SIM_CHECK(rc == 0 || rc == -ECANCELED); /* by the end of the scenario */
    pier_server_free(s);
    pier_router_free(r);
    return !world.stopping;
}

static int serve(void *arg)
{
    while (serve_once() && pier_sleep(PIER_SECOND) == 0)
        ;
    return 0;
}

static int stop_in_the_midst(void *arg)
{
    int rc = pier_sleep(pier_sim_between(0, 4000) * PIER_MILLISECOND);
    world.stopping = rc == 0;
    if (world.server)
        pier_server_stop_remote(world.server);
    return 0;
}

/* ---- a client: requests ---- */

static void draw(struct request *r)
{
    *r = (struct request){
        .kind = (enum kind)pier_sim_between(0, KINDS - 1),
        .number = ++world.requests % 1000,
        .len = (size_t)pier_sim_amount(0, one_in(4) ? BODY_CAP : 300),
        .chunked = one_in(2),
    };
}

static int send_pieces(struct pier_conn *c, const char *bytes, size_t len)
{
    for (size_t sent = 0; sent < len;) {
        size_t n = scenario_piece(len - sent, len);
        ssize_t rc = pier_write(c, bytes + sent, n);
        if (rc < 0)
            return (int)rc;
        sent += n;
    }
    return 0;
}

static int send_upload(struct batch *b, const struct request *r)
{
    char piece[1500], head[32];
    int rc = 0;
    for (size_t at = 0; at < r->len && rc == 0;) {
        size_t n = scenario_piece(r->len - at, sizeof piece);
        fill(piece, r->number, at, n);
        if (r->chunked)
            rc = send_pieces(b->conn, head, (size_t)snprintf(head, sizeof head, "%zx\r\n", n));
        if (rc == 0)
            rc = send_pieces(b->conn, piece, n);
        if (rc == 0 && r->chunked)
            rc = send_pieces(b->conn, "\r\n", 2);
        at += n;
    }
    return rc == 0 && r->chunked ? send_pieces(b->conn, "0\r\n\r\n", 5) : rc;
}

static int send_request(struct batch *b, const struct request *r)
{
    static const char *const paths[] = { "GET /whole", "GET /stream", "POST /upload",
                                         "GET /missing" };
    char head[256], framing[64] = "";
    if (r->kind == UPLOAD && r->chunked)
        snprintf(framing, sizeof framing, "Transfer-Encoding: chunked\r\n");
    else if (r->kind == UPLOAD)
        snprintf(framing, sizeof framing, "Content-Length: %zu\r\n", r->len);
    int len = snprintf(head, sizeof head, "%s/%d?len=%zu HTTP/1.1\r\nHost: server\r\n%s\r\n",
                       paths[r->kind], r->number, r->len, framing);
    int rc = send_pieces(b->conn, head, (size_t)len);
    return rc == 0 && r->kind == UPLOAD ? send_upload(b, r) : rc;
}

/* A task. A server that ends takes no more: the answers say how far it came. */
static int send_batch(void *arg)
{
    struct batch *b = arg;
    for (int i = 0; i < b->count; i++) {
        int rc = send_request(b, &b->requests[i]);
        if (rc < 0)
            return world.stopping || world.weather == WEATHER_ROUGH ? 0 : rc;
    }
    return 0;
}

/* ---- a client: responses ---- */

struct head {
    int status;
    int64_t len; /* -1: chunked */
    bool closes;
};

/* 1; 0: the connection has ended before it; a negative code. */
static int read_head(struct pier_conn *c, struct head *h)
{
    char line[LINE_CAP];
    *h = (struct head){ .len = -2 };
    ssize_t n = pier_read_line(c, line, sizeof line);
    if (n == -ENODATA)
        return 0;
    if (n < 0)
        return (int)n;
    if (sscanf(line, "HTTP/1.1 %d ", &h->status) != 1)
        return world.weather == WEATHER_ROUGH ? -EPIPE : pier_sim_fail("no response: %.60s", line);
    while ((n = pier_read_line(c, line, sizeof line)) > 0) {
        long long len;
        if (sscanf(line, "Content-Length: %lld", &len) == 1)
            h->len = len;
        if (strcmp(line, "Transfer-Encoding: chunked") == 0)
            h->len = -1;
        h->closes |= strcmp(line, "Connection: close") == 0;
    }
    return n < 0 ? (int)n : 1;
}

static int read_exactly(struct pier_conn *c, char *buf, size_t len)
{
    ssize_t n = len > 0 ? pier_read_exact(c, buf, len) : 1;
    return n == 0 ? -EPIPE : n < 0 ? (int)n : 0;
}

static int read_chunks(struct pier_conn *c, char *buf, size_t *len)
{
    char line[64];
    for (*len = 0;;) {
        ssize_t n = pier_read_line(c, line, sizeof line);
        if (n < 0)
            return (int)n;
        size_t size = strtoul(line, NULL, 16);
        if (*len + size > BODY_CAP)
            return pier_sim_fail("a body is too long");
        int rc = read_exactly(c, buf + *len, size);
        if (rc == 0)
            rc = read_exactly(c, line, 2);
        if (rc < 0 || size == 0)
            return rc;
        *len += size;
    }
}

static int check_body(const struct request *r, const struct head *h, const char *body, size_t len)
{
    static char want[BODY_CAP];
    bool is_trouble = h->status == 500 || h->status == 503 || h->status == 408;
    if (world.weather == WEATHER_ROUGH && is_trouble)
        return 0; /* no memory, or a body that was cut off for too long */
    PIER_SIM_CHECK(h->status == (r->kind == MISSING ? 404 : 200));
    if (r->kind == MISSING)
        return 0;
    fill(want, r->number, 0, r->len);
    if (len != r->len || memcmp(body, want, len) != 0)
        return pier_sim_fail("request %d: a wrong body of %zu bytes", r->number, len);
    return 0;
}

/* 1: answered, and more may follow; 0: the connection has ended, as it may; a negative code. */
static int await_response(struct batch *b, const struct request *r)
{
    struct head h;
    size_t len = 0;
    int rc = read_head(b->conn, &h);
    if (rc == 0)
        return world.stopping ? 0 : -EPIPE;
    if (rc > 0 && h.len >= 0)
        rc = h.len > BODY_CAP ? pier_sim_fail("a body is too long")
                              : read_exactly(b->conn, b->body, len = (size_t)h.len);
    else if (rc > 0)
        rc = h.len == -1 ? read_chunks(b->conn, b->body, &len) : pier_sim_fail("no framing");
    if (rc < 0)
        return rc;
    check_body(r, &h, b->body, len);
    if (h.closes && world.weather == WEATHER_CLEAR)
        PIER_SIM_CHECK(world.stopping);
    return !h.closes;
}

static int ask(struct batch *b)
{
    struct pier_scope scope;
    int rc = 1;
    pier_scope_open(&scope, 0);
    if (pier_spawn(&scope, send_batch, b) < 0)
        rc = pier_error_code();
    for (int i = 0; i < b->count && rc > 0; i++)
        rc = await_response(b, &b->requests[i]);
    if (rc <= 0)
        pier_scope_cancel(&scope);
    int joined = pier_scope_join(&scope);
    return rc > 0 && joined < 0 ? joined : rc;
}

/* ---- a client's life ---- */

/* The server ends it, not too soon and not too late. */
static int fall_silent(const struct batch *b)
{
    char byte;
    ssize_t n = pier_read(b->conn, &byte, 1);
    if (n > 0)
        return pier_sim_fail("something comes after the last response");
    if (world.weather == WEATHER_CLEAR && !world.stopping) {
        PIER_SIM_CHECK(pier_now() - b->asked_ns > (IDLE_MS - SLACK_MS) * PIER_MILLISECOND);
        PIER_SIM_CHECK(pier_now() - b->last_ns < (IDLE_MS + 2 * SLACK_MS) * PIER_MILLISECOND);
    }
    return (int)n;
}

static int converse(struct batch *b)
{
    int rc = 1;
    for (int64_t left = pier_sim_between(0, BATCHES); left > 0 && rc > 0; left--) {
        b->count = (int)pier_sim_amount(1, AT_ONCE);
        for (int i = 0; i < b->count; i++)
            draw(&b->requests[i]);
        b->asked_ns = pier_now();
        rc = ask(b);
        b->last_ns = pier_now();
        if (rc > 0 && one_in(2))
            pier_sleep(pier_sim_between(0, NAP_MS) * PIER_MILLISECOND);
    }
    return rc > 0 && one_in(4) ? fall_silent(b) : rc;
}

static int talk(void)
{
    struct pier_dial_opts opts = { .connect_timeout_ms = FOREVER_MS,
                                   .read_timeout_ms = FOREVER_MS,
                                   .write_timeout_ms = FOREVER_MS };
    struct batch *b = calloc(1, sizeof *b);
    char *body = malloc(BODY_CAP);
    int rc = b && body ? 0 : -ENOMEM;
    pier_sleep(pier_sim_between(0, 50) * PIER_MILLISECOND);
    if (rc == 0) {
        b->body = body;
        b->conn = scenario_dial("tcp://server:8000", &opts, 20);
        b->asked_ns = b->last_ns = pier_now();
        rc = b->conn ? converse(b) : pier_error_code();
        pier_close(b->conn);
    }
    free(body);
    free(b);
    return rc;
}

static int run_client(void *arg)
{
    struct client *client = arg;
    if (client->begun) /* its host has crashed, and is back */
        return 0;
    client->begun = true;
    int rc = talk();
    if (rc < 0)
        pier_sim_note("client %d: %s: %s", client->number, pier_strerror(rc), pier_error());
    bool may_fail = world.weather == WEATHER_ROUGH ||
                    (world.stopping && (rc == -ECONNREFUSED || rc == -ECONNRESET || rc == -EPIPE));
    if (rc < 0 && !may_fail)
        pier_sim_fail("client %d: %s: %s", client->number, pier_strerror(rc), pier_error());
    if (--world.left == 0)
        pier_event_set(&world.all_ended);
    return 0;
}

static int run(void *arg)
{
    memset(&world, 0, sizeof world);
    pier_event_init(&world.all_ended, PIER_LOCAL);
    struct pier_sim_host *server = pier_sim_host("server", "10.0.0.1");
    struct pier_sim_host *const hosts[] = { pier_sim_host("a", "10.0.0.2"),
                                            pier_sim_host("b", "10.0.0.3") };
    world.weather = weather_draw();
    world.has_stop = world.weather == WEATHER_CLEAR && one_in(2);
    pier_sim_start(server, serve, NULL);
    if (world.has_stop)
        pier_sim_start(server, stop_in_the_midst, NULL);
    world.left = (int)pier_sim_amount(1, CLIENTS);
    for (int i = 0, count = world.left; i < count; i++) {
        world.clients[i] = (struct client){ .number = i };
        pier_sim_start(hosts[i % 2], run_client, &world.clients[i]);
    }
    int rc = pier_event_wait(&world.all_ended);
    pier_sim_stop(server);
    pier_sim_join(server);
    return rc;
}

const struct scenario http_scenario = {
    .name = "http",
    .summary = "keep-alive, pipelining, uploads and a stop: each response whole and in its turn",
    .run = run,
    .opts = { .event_limit = 2000000 },
};
