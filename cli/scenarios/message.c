/* SPDX-License-Identifier: MIT */
/*
 * scenarios/message.c - the message handler as `pier serve` has it, and clients near and far that
 * send texts, "time" and "exit" and know every byte of the replies.
 *
 * A message is one read, so without --lines the network may cut one into several, each with a reply
 * of its own; a reply to a part is right, a byte too few, too many or out of place is not. With
 * --lines there is one reply to each line, and several may be asked for at once.
 */
#include "../service.h"
#include "scenario.h"

#include <stdlib.h>
#include <string.h>

enum {
    CLIENTS = 6,
    REQUESTS = 10,
    AT_ONCE = 4, /* requests under way, with --lines */
    TEXT_CAP = 6000,
    FOREVER_MS = 600000,
    SLACK_MS = 500, /* of the network */
};

#define ECHO "已收到: "
#define TIME "当前时间: "
#define BYE "再见!"

enum request { TEXT, ASK_TIME, EXIT };

/* How a client ends. */
enum goodbye { SAY_EXIT, HALF_CLOSE, CLOSE, FALL_SILENT, TOO_LONG, HANG_UP, GOODBYES };

struct message {
    enum request request;
    size_t len;
    char text[TEXT_CAP];
};

struct client {
    int number;
    bool begun;
    const char *url;
};

static struct {
    enum weather weather;
    struct service service;
    struct scenario_server server; /* not run()'s: the host may be back after its end */
    struct client clients[CLIENTS];
    int max_conns, serving; /* the server's limit, 0: none; connections with a handler */
    int left;               /* clients that have not ended */
    struct pier_event all_ended;
} world;

static bool one_in(int64_t n)
{
    return pier_sim_between(1, n) == 1;
}

/* ---- what is said ---- */

/* No letter of a command in it, and no byte that a reply's first words begin with. */
static size_t draw_text(char *out, size_t len)
{
    static const char *const characters[] = { "a", "b", "c", " ", "0", "9", "ü", "€", "😀" };
    size_t at = 0;
    while (at < len) {
        const char *next = characters[pier_sim_between(0, 8)];
        if (at + strlen(next) > len)
            next = "#";
        memcpy(out + at, next, strlen(next));
        at += strlen(next);
    }
    return at;
}

static size_t draw_length(void)
{
    size_t most = world.service.lines ? world.service.max_line : TEXT_CAP - 2;
    size_t len = (size_t)pier_sim_amount(1, one_in(6) ? TEXT_CAP - 2 : 60);
    return len < most ? len : most;
}

static const char *some_end(void)
{
    static const char *const ends[] = { "", "\n", "\r\n" };
    return ends[pier_sim_between(world.service.lines ? 1 : 0, 2)];
}

static void draw_message(struct message *m, enum request request)
{
    static const char *const times[] = { "time", "TIME", "Time" };
    static const char *const exits[] = { "exit", "EXIT", "eXit" };
    m->request = request;
    m->len = 4;
    if (request == TEXT)
        m->len = draw_text(m->text, draw_length());
    else
        memcpy(m->text, (request == EXIT ? exits : times)[pier_sim_between(0, 2)], 4);
    /* Without --lines a cut between a command and the end of its line makes two messages. */
    const char *end = request == TEXT || world.service.lines ? some_end() : "";
    memcpy(m->text + m->len, end, strlen(end));
    m->len += strlen(end);
}

static enum request some_request(void)
{
    return one_in(5) ? ASK_TIME : TEXT;
}

/* ---- replies without --lines ---- */

/* A message of which some has come back, in pieces behind ECHO. */
struct echo {
    const struct message *message;
    size_t matched; /* of ECHO */
    size_t got, piece;
    int pieces;
};

/* The piece that has ended holds whole characters, if none was held up on its way for long. */
static bool is_whole(const struct echo *e)
{
    return world.weather != WEATHER_CLEAR ||
           pier_utf8_valid(e->message->text + e->piece, e->got - e->piece);
}

static bool echo_takes(struct echo *e, char byte)
{
    if (e->matched < strlen(ECHO))
        return byte == ECHO[e->matched++];
    if (byte == e->message->text[e->got]) {
        e->got++;
        return true;
    }
    if (byte != ECHO[0] || e->got == e->piece || !is_whole(e))
        return false;
    e->matched = 1;
    e->piece = e->got;
    e->pieces++;
    return true;
}

/* The first two bytes are known. A command that comes back was cut. */
static int await_echo(struct pier_conn *c, const struct message *m)
{
    struct echo e = { .message = m, .matched = 2, .pieces = 1 };
    char buf[512];
    while (e.got < m->len) {
        ssize_t n = pier_read(c, buf, sizeof buf);
        if (n <= 0)
            return n < 0 ? (int)n : -EPIPE;
        for (ssize_t i = 0; i < n; i++)
            if (e.got == m->len || !echo_takes(&e, buf[i]))
                return pier_sim_fail("byte %zu of a message comes back as another", e.got);
    }
    PIER_SIM_CHECK(is_whole(&e));
    PIER_SIM_CHECK(m->request == TEXT || e.pieces > 1);
    return 0;
}

/* "YYYY-MM-DD HH:MM:SS" */
static bool is_time(const char *text, size_t len)
{
    static const char like[] = "0000-00-00 00:00:00";
    bool fits = len == sizeof like - 1;
    for (size_t i = 0; fits && i < len; i++)
        fits = like[i] == '0' ? text[i] >= '0' && text[i] <= '9' : text[i] == like[i];
    return fits;
}

static int await_rest(struct pier_conn *c, char *buf, size_t len)
{
    ssize_t n = pier_read_exact(c, buf, len);
    return n == 0 ? -EPIPE : n < 0 ? (int)n : 0;
}

/* 1: answered and closed; 0: answered; a negative code. */
static int await_reply(struct pier_conn *c, const struct message *m)
{
    char buf[64];
    const size_t time_len = strlen(TIME) + 19;
    int rc = await_rest(c, buf, 2);
    if (rc < 0)
        return rc;
    if (memcmp(buf, ECHO, 2) == 0)
        return await_echo(c, m);
    bool bye = memcmp(buf, BYE, 2) == 0;
    rc = await_rest(c, buf + 2, (bye ? strlen(BYE) : time_len) - 2);
    if (rc < 0)
        return rc;
    if (bye)
        PIER_SIM_CHECK(m->request == EXIT && memcmp(buf, BYE, strlen(BYE)) == 0);
    else
        PIER_SIM_CHECK(m->request == ASK_TIME && memcmp(buf, TIME, strlen(TIME)) == 0 &&
                       is_time(buf + strlen(TIME), 19));
    return bye;
}

/* ---- replies with --lines ---- */

static bool is_reply(const struct message *m, const char *line)
{
    size_t len = m->len;
    while (len > 0 && (m->text[len - 1] == '\n' || m->text[len - 1] == '\r'))
        len--;
    if (m->request == EXIT)
        return strcmp(line, BYE) == 0;
    if (m->request == ASK_TIME)
        return strncmp(line, TIME, strlen(TIME)) == 0 &&
               is_time(line + strlen(TIME), strlen(line + strlen(TIME)));
    return strncmp(line, ECHO, strlen(ECHO)) == 0 && strlen(line) == strlen(ECHO) + len &&
           memcmp(line + strlen(ECHO), m->text, len) == 0;
}

/* Whether the line is the first part of the reply. */
static bool is_begun(const struct message *m, const char *line)
{
    static const char *const words[] = { [TEXT] = ECHO, [ASK_TIME] = TIME, [EXIT] = BYE };
    const char *begin = words[m->request];
    size_t len = strlen(line), first = strlen(begin);
    if (len <= first || m->request != TEXT)
        return strncmp(line, begin, len < first ? len : first) == 0;
    return memcmp(line, begin, first) == 0 && len - first < m->len &&
           memcmp(line + first, m->text, len - first) == 0;
}

/* Rough, the last line may be a part of one: then nothing comes behind it. */
static bool is_cut(struct pier_conn *c)
{
    char byte;
    return world.weather == WEATHER_ROUGH && pier_read(c, &byte, 1) <= 0;
}

static int await_line(struct pier_conn *c, const struct message *m)
{
    char line[TEXT_CAP + 64];
    ssize_t n = pier_read_line(c, line, sizeof line);
    if (n < 0)
        return (int)n;
    if (is_reply(m, line))
        return m->request == EXIT;
    return is_begun(m, line) && is_cut(c) ? -EPIPE : pier_sim_fail("a wrong reply: %.80s", line);
}

/* ---- a client ---- */

static int await_answer(struct pier_conn *c, const struct message *m)
{
    return world.service.lines ? await_line(c, m) : await_reply(c, m);
}

/* Nothing more comes, and no failure: 0. soon: nor is it waited for. */
static int await_end(struct pier_conn *c, bool soon)
{
    char byte;
    int64_t began = pier_now();
    ssize_t n = pier_read(c, &byte, 1);
    if (n > 0)
        return pier_sim_fail("something comes after the last reply");
    if (soon && world.weather == WEATHER_CLEAR)
        PIER_SIM_CHECK(pier_now() - began < SLACK_MS * PIER_MILLISECOND);
    return (int)n;
}

/* In one piece or in many: that must make no difference to --lines. */
static int send_message(struct pier_conn *c, const struct message *m)
{
    for (size_t sent = 0; sent < m->len;) {
        size_t n = world.service.lines ? scenario_piece(m->len - sent, m->len) : m->len;
        ssize_t rc = pier_write(c, m->text + sent, n);
        if (rc < 0)
            return (int)rc;
        sent += n;
    }
    return 0;
}

struct batch {
    struct pier_conn *conn;
    int count;
    struct message messages[AT_ONCE];
    int64_t sent_ns; /* when the last byte of them was */
};

/* A task. */
static int send_batch(void *arg)
{
    struct batch *b = arg;
    int rc = 0;
    for (int i = 0; i < b->count && rc == 0; i++)
        rc = send_message(b->conn, &b->messages[i]);
    b->sent_ns = pier_now();
    return rc;
}

/* Reads while it sends: the server does not read on while nobody takes its replies. As
 * await_reply(), of the last one. */
static int ask(struct batch *b)
{
    struct pier_scope scope;
    pier_scope_open(&scope, 0);
    int rc = pier_spawn(&scope, send_batch, b);
    for (int i = 0; i < b->count && rc == 0; i++)
        rc = await_answer(b->conn, &b->messages[i]);
    if (rc < 0)
        pier_scope_cancel(&scope);
    int joined = pier_scope_join(&scope);
    return joined < 0 ? joined : rc;
}

static int say_exit(struct batch *b)
{
    b->count = 1;
    draw_message(&b->messages[0], EXIT);
    int rc = ask(b);
    return rc == 1 ? await_end(b->conn, true) : rc; /* 0: it was cut, and is no command */
}

/* The limit counts from when the server has the connection, which an answer shows, and has read
 * what was sent: replies may be on their way for longer than that. */
static int fall_silent(const struct batch *b)
{
    bool answered = b->count > 0;
    int64_t idle_ns = world.service.idle_timeout_ms * PIER_MILLISECOND, began = pier_now();
    int rc = await_end(b->conn, false);
    if (world.weather != WEATHER_CLEAR || !answered)
        return rc;
    PIER_SIM_CHECK(pier_now() - b->sent_ns > idle_ns - PIER_MILLISECOND);
    PIER_SIM_CHECK(pier_now() - began < idle_ns + SLACK_MS * PIER_MILLISECOND);
    return rc;
}

/* A line beyond the limit is answered, too, once, and is the last. */
static int say_too_much(struct pier_conn *c)
{
    char line[128], want[128];
    size_t limit = world.service.max_line;
    size_t len = limit + (size_t)pier_sim_between(1, 3000);
    char *text = malloc(len + 1);
    if (text == NULL)
        return -ENOMEM;
    draw_text(text, len);
    text[len] = '\n';
    ssize_t n = pier_write(c, text, len + 1);
    free(text);
    if (n >= 0)
        n = pier_read_line(c, line, sizeof line);
    if (n < 0)
        return (int)n;
    snprintf(want, sizeof want, "line too long: the limit is %zu bytes", limit);
    PIER_SIM_CHECK(strcmp(line, want) == 0);
    return await_end(c, true);
}

static int say_goodbye(struct batch *b)
{
    struct pier_conn *c = b->conn;
    bool answered = b->count > 0;
    switch ((enum goodbye)pier_sim_between(0, GOODBYES - 1)) {
    case SAY_EXIT:
        return say_exit(b);
    case HALF_CLOSE: {
        int rc = pier_shutdown_write(c);
        return rc < 0 ? rc : await_end(c, answered);
    }
    case FALL_SILENT:
        return fall_silent(b);
    case TOO_LONG:
        return world.service.lines && world.service.max_line < TEXT_CAP ? say_too_much(c) : 0;
    case HANG_UP: /* the reply will find nobody */
        draw_message(&b->messages[0], TEXT);
        send_message(c, &b->messages[0]); /* taken or not */
        return 0;
    default:
        return 0;
    }
}

static int converse(struct batch *b)
{
    int rc = 0;
    for (int64_t left = pier_sim_amount(0, REQUESTS); left > 0 && rc == 0; left -= b->count) {
        b->count = world.service.lines ? (int)pier_sim_between(1, AT_ONCE) : 1;
        for (int i = 0; i < b->count; i++)
            draw_message(&b->messages[i], some_request());
        rc = ask(b);
        if (rc == 0 && one_in(4))
            pier_sleep(pier_sim_between(0, 200) * PIER_MILLISECOND);
    }
    return rc < 0 ? rc : say_goodbye(b);
}

/* Others have all places, perhaps each of them until its silence is too long, and the backlog was
 * full whenever the system tried. */
static bool may_have_no_place(void)
{
    return world.max_conns > 0 && pier_error_code() == -ETIMEDOUT;
}

static int talk_to_server(const char *url)
{
    struct pier_dial_opts opts = { .connect_timeout_ms = FOREVER_MS,
                                   .read_timeout_ms = FOREVER_MS,
                                   .write_timeout_ms = FOREVER_MS };
    struct batch *b = calloc(1, sizeof *b);
    if (b == NULL)
        return -ENOMEM;
    pier_sleep(pier_sim_between(0, 50) * PIER_MILLISECOND);
    b->conn = scenario_dial(url, &opts, 20);
    for (int i = 0; b->conn == NULL && i < CLIENTS && may_have_no_place(); i++)
        b->conn = scenario_dial(url, &opts, 20);
    int rc = b->conn != NULL ? converse(b) : pier_error_code();
    pier_close(b->conn);
    free(b);
    return rc;
}

static int run_client(void *arg)
{
    struct client *client = arg;
    if (client->begun) /* its host has crashed, and is back */
        return 0;
    client->begun = true;
    int rc = talk_to_server(client->url);
    if (rc < 0)
        pier_sim_note("client %d: %s: %s", client->number, pier_strerror(rc), pier_error());
    if (rc < 0 && world.weather != WEATHER_ROUGH)
        pier_sim_fail("client %d: %s: %s", client->number, pier_strerror(rc), pier_error());
    if (--world.left == 0)
        pier_event_set(&world.all_ended);
    return 0;
}

/* ---- the scenario ---- */

static int serve(struct pier_conn *c, void *arg)
{
    world.serving++;
    PIER_SIM_CHECK(world.max_conns == 0 || world.serving <= world.max_conns);
    int rc = service_run(c, arg);
    world.serving--;
    return rc;
}

static void draw_service(void)
{
    bool clear = world.weather == WEATHER_CLEAR; /* else a lost segment may look like silence */
    world.service = (struct service){
        .name = "message",
        .run = handle_message,
        .lines = pier_sim_between(0, 1),
        .max_line = one_in(2) ? (size_t)pier_sim_between(10, 3000) : 1 << 20,
        .idle_timeout_ms = clear ? (int)pier_sim_between(1000, 5000) : 60000,
    };
}

static void start_clients(struct pier_sim_host *server, struct pier_sim_host *const hosts[2])
{
    static const char *const near[] = { "unix:///run/pier.sock", "unix://@pier",
                                        "tcp://localhost:8888" };
    static const char *const far[] = { "tcp://server:8888", "tcp://10.0.0.1:8888",
                                       "tcp://[fd00::1]:8888" };
    world.left = (int)pier_sim_amount(1, CLIENTS);
    for (int i = 0, count = world.left; i < count; i++) {
        struct client *client = &world.clients[i];
        bool is_near = one_in(3);
        *client = (struct client){
            .number = i,
            .url = (is_near ? near : far)[pier_sim_between(0, 2)],
        };
        pier_sim_start(is_near ? server : hosts[i % 2], run_client, client);
    }
}

static int run(void *arg)
{
    memset(&world, 0, sizeof world);
    pier_event_init(&world.all_ended, PIER_LOCAL);
    struct pier_sim_host *server = pier_sim_host("server", "fd00::1 10.0.0.1");
    struct pier_sim_host *const clients[] = {
        pier_sim_host("a", "10.0.0.2 fd00::2"),
        pier_sim_host("b", "10.0.0.3 fd00::3"),
    };
    world.weather = weather_draw();
    draw_service();
    world.max_conns = one_in(3) ? (int)pier_sim_between(1, 3) : 0;
    world.server = (struct scenario_server){
        .urls = { "tcp://:8888", "unix:///run/pier.sock", "unix://@pier" },
        .handler = serve,
        .arg = &world.service,
        .opts = {
            .model = pier_sim_between(0, 1) ? PIER_TASKS : PIER_THREADS,
            .max_conns = world.max_conns,
            .read_timeout_ms = world.service.idle_timeout_ms,
        },
    };
    pier_sim_start(server, scenario_serve, &world.server);
    start_clients(server, clients);
    int rc = pier_event_wait(&world.all_ended);
    pier_sim_stop(server);
    pier_sim_join(server);
    return rc;
}

const struct scenario message_scenario = {
    .name = "message",
    .summary = "clients of the message handler: each request answered once, or failed visibly",
    .run = run,
    .opts = { .event_limit = 2000000 },
};
