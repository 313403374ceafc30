/* SPDX-License-Identifier: MIT */
/*
 * stop.c - a server under load is stopped in the middle of it, and a second one takes its place.
 *
 * Four kinds of handlers: messages (those of `pier serve`), slow answers, connections that only
 * read, and ones that ignore the stop. What a client may see: each request is answered once, in
 * order, or the connection ends; nobody is left hanging. In a network without trouble more must
 * hold: what the server had when it was stopped (a connection in the backlog, a request that had
 * arrived) is served, as far as the grace lasts. The run returns within the grace, or at once when
 * it is cancelled; then the addresses are free and nothing listens.
 */
#include "../service.h"
#include "scenario.h"

#include <string.h>

enum { CLIENTS_MAX = 24, REQUESTS_MAX = 12, LINE_CAP = 128, SERVERS = 2 };

/* By its place the port: 7001 … */
enum kind { MESSAGE, SLOW, IDLE, STUBBORN, KINDS };

enum ending { BY_STOP, BY_CANCEL, BY_CRASH };

static const int64_t LATENCY_NS = 300 * PIER_MICROSECOND;
/* No packet of a sound network is longer on its way: at most 64 times the jitter. */
static const int64_t ARRIVED_NS = 20 * PIER_MILLISECOND;
/* From the end of the grace to the end of run: tasks take turns, in no fair order. */
static const int64_t LATE_NS = 200 * PIER_MILLISECOND;

struct stop_world;

struct client {
    struct stop_world *world;
    enum kind kind;
    int id;
    bool over_unix;
    /* To the server: the connection is in its backlog, or beyond. Over TCP only the first answer
     * tells: a full backlog drops the last packet of the handshake. */
    bool is_known;
};

struct stop_world {
    struct pier_sim_host *server_host, *client_host;
    struct pier_server *server;
    struct pier_serve_opts opts;
    struct client clients[CLIENTS_MAX];
    int client_count;
    bool has_stubborn;
    bool patient; /* and strict: it is stopped when everybody has had everything */
    bool strict;  /* no trouble but the stop: what was there must be served */
    enum ending ending;
    int64_t stop_at_ns, stopped_ns, ended_ns; /* planned; happened: 0, not yet; run returned */
    int running[SERVERS];                     /* handlers */
    struct pier_event ended;
    int at; /* which server runs */
};

/* ---- handlers ---- */

/* A handler's wait has ended with rc, which is no time-out of its own. */
static int check_grace(const struct stop_world *world, int rc)
{
    int64_t over_ns = world->stopped_ns + world->opts.grace_ms * PIER_MILLISECOND;
    PIER_SIM_CHECK(rc == 0 || rc == -ECANCELED);
    if (rc < 0 && world->ending == BY_STOP && world->opts.grace_ms > 0)
        PIER_SIM_CHECK(world->stopped_ns && pier_now() >= over_ns);
    return rc;
}

static struct stop_world *enter_handler(void *arg)
{
    struct stop_world *world = arg;
    int running = ++world->running[world->at];
    PIER_SIM_CHECK(running <= world->opts.max_conns);
    PIER_SIM_CHECK(running <= pier_server_conns(world->server));
    return world;
}

static int leave_handler(struct stop_world *world, int rc)
{
    world->running[world->at]--;
    return rc;
}

static int serve_messages(struct pier_conn *c, void *arg)
{
    static const struct service lines = { .name = "message", .lines = true, .max_line = LINE_CAP };
    struct stop_world *world = enter_handler(arg);
    return leave_handler(world, handle_message(c, &lines));
}

static int answer_slowly(struct pier_conn *c, const struct stop_world *world)
{
    char line[LINE_CAP];
    ssize_t n;
    while ((n = pier_read_line(c, line, sizeof line)) >= 0) {
        bool is_last = strcmp(line, "exit") == 0; /* what comes behind it has come then */
        int64_t ns = is_last ? ARRIVED_NS : pier_sim_between(0, 20) * PIER_MILLISECOND;
        int rc = check_grace(world, pier_sleep(ns));
        if (rc < 0)
            return rc;
        ssize_t written = pier_printf(c, "已收到: %s\n", line);
        if (written < 0 || is_last)
            return written < 0 ? (int)written : 0;
    }
    return n == -ENODATA ? 0 : (int)n;
}

static int serve_slowly(struct pier_conn *c, void *arg)
{
    struct stop_world *world = enter_handler(arg);
    return leave_handler(world, answer_slowly(c, world));
}

static int serve_idly(struct pier_conn *c, void *arg)
{
    struct stop_world *world = enter_handler(arg);
    char byte;
    ssize_t n = pier_read(c, &byte, 1);
    PIER_SIM_CHECK(n != 0 || world->stopped_ns || !world->strict);
    bool is_told = world->strict && world->ending == BY_STOP && !world->has_stubborn;
    PIER_SIM_CHECK(n != -ECANCELED || !is_told);
    return leave_handler(world, n < 0 ? (int)n : 0);
}

/* Works on whatever is asked of it, until it is cancelled. */
static int serve_stubbornly(struct pier_conn *c, void *arg)
{
    struct stop_world *world = enter_handler(arg);
    int rc = 0;
    while (rc == 0)
        rc = check_grace(world, pier_sleep(PIER_SECOND));
    return leave_handler(world, rc);
}

/* ---- clients ---- */

static struct pier_conn *dial_server(const struct client *k)
{
    static const struct pier_dial_opts patience = { .connect_timeout_ms = 2000,
                                                    .read_timeout_ms = 120000,
                                                    .write_timeout_ms = 20000 };
    char url[64];
    if (k->over_unix)
        snprintf(url, sizeof url, "unix:///run/pier-%d", (int)k->kind);
    else
        snprintf(url, sizeof url, "tcp://server:%d", 7001 + (int)k->kind);
    return pier_dial(url, &patience);
}

/* Whether bytes that were sent then had arrived when the server was stopped, and have to be served
 * for that reason. */
static bool was_in_time(const struct client *k, int64_t when_ns)
{
    const struct stop_world *world = k->world;
    bool is_owed = world->strict && world->ending == BY_STOP && !world->has_stubborn;
    return is_owed && k->is_known &&
           (!world->stopped_ns || when_ns + ARRIVED_NS < world->stopped_ns);
}

/* The answer may have been cut, as the last one of a connection. */
static bool is_cut(struct pier_conn *c, const char *line, const char *expected)
{
    char byte;
    return strncmp(line, expected, strlen(line)) == 0 && pier_read(c, &byte, 1) <= 0;
}

/* One request and its answer: 1; 0 when the connection has ended first, in its own way. */
static int ask(struct client *k, struct pier_conn *c, int number)
{
    char line[LINE_CAP], expected[LINE_CAP];
    int64_t asked_ns = pier_now();
    snprintf(expected, sizeof expected, "已收到: %d/%d", k->id, number);
    ssize_t n = pier_printf(c, "%d/%d\n", k->id, number);
    if (n >= 0)
        n = pier_read_line(c, line, sizeof line);
    if (n >= 0 && strcmp(line, expected) == 0) {
        k->is_known = true;
        return 1;
    }
    PIER_SIM_CHECK(n < 0 || is_cut(c, line, expected));
    if (was_in_time(k, asked_ns))
        pier_sim_fail("client %d: request %d was sent %lld us before the stop, and: %s", k->id,
                      number, (long long)(k->world->stopped_ns - asked_ns) / 1000, pier_error());
    return 0;
}

/* Nothing is asked; the server's end is waited for, and nothing else comes. A connection that was
 * accepted ends in order, one that was not is reset. */
static int await_end(const struct client *k, struct pier_conn *c)
{
    char byte;
    int64_t dialled_ns = pier_now();
    ssize_t n = pier_read(c, &byte, 1);
    PIER_SIM_CHECK(n <= 0);
    PIER_SIM_CHECK(n == 0 || !was_in_time(k, dialled_ns));
    return 0;
}

/* However it ended: not later than the server, where the network is sound. */
static void check_promptness(const struct client *k)
{
    const struct stop_world *world = k->world;
    if (world->strict && k->is_known && world->ended_ns && world->ending != BY_CRASH)
        PIER_SIM_CHECK(pier_now() < world->ended_ns + ARRIVED_NS + LATE_NS);
}

/* The last answer is not overtaken by the reset that unread input would be. */
static void say_goodbye(struct client *k, struct pier_conn *c)
{
    char line[LINE_CAP], byte;
    int64_t asked_ns = pier_now();
    ssize_t n = pier_puts(c, "exit\nand more\n");
    if (n >= 0)
        n = pier_read_line(c, line, sizeof line);
    if (!was_in_time(k, asked_ns))
        return;
    if (n < 0 || strcmp(line, "已收到: exit") != 0)
        pier_sim_fail("client %d: goodbye: %s", k->id, n < 0 ? pier_error() : line);
    PIER_SIM_CHECK(pier_read(c, &byte, 1) == 0);
}

static int run_client(void *arg)
{
    struct client *k = arg;
    int64_t last_ns = k->world->patient ? PIER_SECOND : k->world->stop_at_ns - pier_now();
    pier_sleep(pier_sim_between(0, last_ns + last_ns / 4));
    k->is_known = false;
    struct pier_conn *c = dial_server(k);
    if (!c)
        return 0; /* it has been told */
    k->is_known = k->over_unix;
    int count = (int)pier_sim_amount(1, REQUESTS_MAX);
    bool asks = k->kind == MESSAGE || k->kind == SLOW;
    int rc = asks ? 1 : await_end(k, c);
    for (int i = 0; i < count && rc > 0; i++) {
        rc = ask(k, c, i);
        if (rc > 0 && pier_sim_between(0, 2) == 0)
            pier_sleep(pier_sim_between(0, 30) * PIER_MILLISECOND);
    }
    PIER_SIM_CHECK(rc > 0 || !k->world->patient);
    if (rc > 0 && k->kind == SLOW)
        say_goodbye(k, c);
    check_promptness(k);
    pier_close(c);
    return 0;
}

/* ---- the server ---- */

static int add_endpoints(struct stop_world *world)
{
    static const pier_handler handlers[KINDS] = { serve_messages, serve_slowly, serve_idly,
                                                  serve_stubbornly };
    int rc = 0;
    for (int i = 0; i < KINDS && rc == 0; i++) {
        char url[64];
        snprintf(url, sizeof url, "tcp://%s:%d", i == SLOW ? "server" : "", 7001 + i);
        rc = pier_server_add(world->server, url, handlers[i], world);
        snprintf(url, sizeof url, "unix:///run/pier-%d", i);
        if (rc == 0)
            rc = pier_server_add(world->server, url, handlers[i], world);
    }
    return rc;
}

static int64_t most_ns(const struct stop_world *world)
{
    bool has_grace = world->ending == BY_STOP;
    return (has_grace ? world->opts.grace_ms * PIER_MILLISECOND : 0) + LATE_NS;
}

/* What must be true when run has returned rc. */
static void check_stopped(struct stop_world *world, int rc)
{
    int64_t now = pier_now();
    bool was_cancelled = pier_cancelled() < 0;
    PIER_SIM_CHECK(rc == 0 || rc == -ECANCELED || rc == -ENOMEM || rc == -EMFILE);
    PIER_SIM_CHECK(rc != -ECANCELED || was_cancelled);
    PIER_SIM_CHECK(world->running[world->at] == 0);
    PIER_SIM_CHECK(pier_server_conns(world->server) == 0);
    PIER_SIM_CHECK(world->stopped_ns || rc < 0);
    if (world->stopped_ns && (world->opts.grace_ms > 0 || world->ending != BY_STOP))
        PIER_SIM_CHECK(now <= world->stopped_ns + most_ns(world));
    pier_sim_note("server %d has ended: %d", world->at, rc);
}

/* Twice is as good as once. */
static void stop_server(struct stop_world *world)
{
    pier_sim_note("stop");
    if (!world->stopped_ns)
        world->stopped_ns = pier_now();
    pier_server_stop_remote(world->server);
}

static int stop_in_time(void *arg)
{
    struct stop_world *world = arg;
    if (pier_sleep(world->stop_at_ns - pier_now()) == 0)
        stop_server(world);
    return 0;
}

/* One server from its beginning to its end; itself frees what it listened on. */
static int run_server(struct stop_world *world)
{
    world->server = pier_server_new(&world->opts);
    int rc = world->server ? add_endpoints(world) : pier_error_code();
    if (rc == 0)
        rc = pier_server_listen(world->server);
    PIER_SIM_CHECK(rc == 0 || !world->strict || pier_cancelled() < 0);
    if (rc == 0) {
        struct pier_scope scope;
        pier_scope_open(&scope, 0);
        if (world->ending == BY_STOP || world->at > 0)
            pier_spawn(&scope, stop_in_time, world);
        rc = pier_server_run(world->server);
        check_stopped(world, rc);
        pier_scope_cancel(&scope);
        pier_scope_join(&scope);
    }
    pier_server_free(world->server);
    world->server = NULL;
    return rc;
}

/* On the server's host: nobody is there. */
static void check_nobody_listens(struct stop_world *world)
{
    struct client local = { .world = world, .kind = MESSAGE, .over_unix = true };
    struct pier_conn *c = dial_server(&local);
    PIER_SIM_CHECK(!c);
    if (!c && world->strict)
        PIER_SIM_CHECK(pier_error_code() == -ENOENT);
    pier_close(c);
    c = pier_dial("tcp://127.0.0.1:7001", NULL);
    PIER_SIM_CHECK(!c);
    if (!c && world->strict)
        PIER_SIM_CHECK(pier_error_code() == -ECONNREFUSED);
    pier_close(c);
}

static int first_server(void *arg)
{
    struct stop_world *world = arg;
    int rc = run_server(world);
    world->ended_ns = pier_now();
    pier_event_set(&world->ended);
    PIER_SIM_CHECK(rc == 0 || !world->strict || world->ending != BY_STOP);
    return 0;
}

/* ---- the second one ---- */

static int ask_second(void *arg)
{
    struct stop_world *world = arg;
    struct client k = { .world = world, .kind = MESSAGE, .id = 99 };
    struct pier_conn *c = dial_server(&k);
    PIER_SIM_CHECK(c || !world->strict);
    if (c)
        PIER_SIM_CHECK(ask(&k, c, 1) == 1 || !world->strict);
    pier_close(c);
    stop_server(world);
    return 0;
}

static int second_server(void *arg)
{
    struct stop_world *world = arg;
    pier_sim_fail_next(world->server_host, PIER_SIM_DESCRIPTORS, 0);
    check_nobody_listens(world);
    world->at = 1;
    world->ending = BY_STOP; /* clients of the first may be back, and are cancelled late, too */
    world->has_stubborn = false;
    world->stopped_ns = 0;
    world->stop_at_ns = pier_after(5 * PIER_SECOND);
    struct pier_scope scope;
    pier_scope_open(&scope, 0);
    pier_spawn(&scope, ask_second, world);
    int rc = run_server(world);
    int joined = pier_scope_join(&scope);
    PIER_SIM_CHECK((rc == 0 && joined == 0) || !world->strict);
    return 0;
}

/* ---- the whole ---- */

static void choose_trouble(struct stop_world *world)
{
    struct pier_sim_link link = { .latency_ns = LATENCY_NS, .jitter_ns = LATENCY_NS / 2 };
    world->strict = pier_sim_between(0, 1) == 0;
    if (!world->strict && pier_sim_between(0, 1)) {
        const struct pier_sim_chaos cuts = { .cut_every_ns = 200 * PIER_MILLISECOND,
                                             .cut_for_ns = 300 * PIER_MILLISECOND };
        pier_sim_chaos(&cuts);
    }
    if (!world->strict && pier_sim_between(0, 1))
        link = (struct pier_sim_link){ .loss_ppm = (int)pier_sim_between(0, 50000),
                                       .bandwidth = pier_sim_between(10000, 1000000) };
    pier_sim_set_link(NULL, NULL, &link);
    enum pier_sim_fault kind = pier_sim_between(0, 1) ? PIER_SIM_DESCRIPTORS : PIER_SIM_MEMORY;
    world->ending = (enum ending)(pier_sim_between(0, 3) ? BY_STOP : pier_sim_between(1, 2));
    world->stop_at_ns = pier_after(pier_sim_between(0, 400) * PIER_MILLISECOND);
    world->patient = world->strict && world->ending == BY_STOP && pier_sim_between(0, 2) == 0;
    if (world->patient)
        world->stop_at_ns = pier_after(PIER_MINUTE);
    world->opts = (struct pier_serve_opts){
        .max_conns = (int)pier_sim_between(1, CLIENTS_MAX + 1),
        .backlog = (int)pier_sim_between(1, 64),
        .grace_ms = world->strict ? 20000 : (int)pier_sim_between(1, 2000),
    };
    const struct pier_sim_chaos crashes = { .crash_every_ns = 300 * PIER_MILLISECOND,
                                            .crash_for_ns = 100 * PIER_MILLISECOND,
                                            .only = world->client_host };
    if (!world->strict && pier_sim_between(0, 3) == 0)
        pier_sim_chaos(&crashes);
    if (!world->strict)
        pier_sim_fail_next(world->server_host, kind, (int)pier_sim_between(0, 3));
}

static void start_clients(struct stop_world *world)
{
    int kinds = world->patient ? IDLE : world->strict && pier_sim_between(0, 2) ? STUBBORN : KINDS;
    world->client_count = (int)pier_sim_amount(1, CLIENTS_MAX);
    for (int i = 0; i < world->client_count; i++) {
        struct client *k = &world->clients[i];
        k->world = world;
        k->id = i;
        k->kind = (enum kind)pier_sim_between(0, kinds - 1);
        k->over_unix = pier_sim_between(0, 3) == 0;
        world->has_stubborn |= k->kind == STUBBORN;
        pier_sim_start(k->over_unix ? world->server_host : world->client_host, run_client, k);
    }
    if (world->strict && !world->has_stubborn && pier_sim_between(0, 3) == 0)
        world->opts.grace_ms = PIER_NO_TIMEOUT;
}

/* Ends the first server in the way chosen; its programs, clients too, are cancelled then. */
static void end_otherwise(struct stop_world *world)
{
    if (world->patient) { /* an accept that fails is made again */
        pier_sleep(pier_sim_between(300, 1000) * PIER_MILLISECOND);
        pier_sim_fail_next(world->server_host, PIER_SIM_DESCRIPTORS, (int)pier_sim_between(0, 4));
    }
    if (world->ending == BY_STOP)
        return;
    pier_sleep(world->stop_at_ns - pier_now());
    world->stopped_ns = pier_now();
    if (world->ending == BY_CANCEL)
        pier_sim_stop(world->server_host);
    else
        pier_sim_crash(world->server_host);
}

static int run(void *arg)
{
    static struct stop_world world; /* a host may be back after the end of this */
    memset(&world, 0, sizeof world);
    world.server_host = pier_sim_host("server", "10.0.0.1 fd00::1");
    world.client_host = pier_sim_host("client", "10.0.0.2 fd00::2");
    pier_event_init(&world.ended, PIER_LOCAL);
    choose_trouble(&world);
    pier_sim_start(world.server_host, first_server, &world);
    start_clients(&world);
    end_otherwise(&world);
    int rc = pier_event_wait(&world.ended);
    if (rc == 0)
        rc = pier_sim_join(world.client_host);
    if (rc == 0)
        rc = pier_sim_join(world.server_host);
    if (rc == 0 && world.ending != BY_CRASH) {
        pier_sim_enter(world.server_host);
        rc = second_server(&world);
        pier_sim_enter(NULL);
    }
    return rc;
}

const struct scenario stop_scenario = {
    .name = "stop",
    .summary = "graceful stop of a server under load, and its successor",
    .run = run,
    .opts = { .time_limit_ns = 5 * PIER_MINUTE },
};
