/* SPDX-License-Identifier: MIT */
/*
 * scenarios/relay.c - clients, a relay that is pier_copy(), a server behind it.
 *
 * What a client and the server say is a function of the transfer, the direction and the offset, so
 * that both know every byte that must come. Clear or lossy, all of it comes, both ways, and the end
 * of one way while the other goes on. Rough, either may be cut short; then its reader has fewer
 * bytes than were announced, never others.
 */
#include "scenario.h"

#include <stdlib.h>
#include <string.h>

#define RELAY_URL "tcp://relay:7000"
#define BACKEND_URL "tcp://backend:7001"

enum {
    CLIENTS = 4,
    READ_CAP = 20000,
    DIAL_TRIES = 20,
    IDLE_MS = 5000,     /* of an impatient relay */
    IDLE_BYTES = 10000, /* at most of its clients: more may be on its way for longer than that */
    PAUSE_MS = 300,     /* of slow talkers between two pieces: together longer than that */
    SLOW_PIECE = 200,
    FOREVER_MS = 3600000,
    HANGS_S = 1800, /* no client waits so long, whatever happens */
    GONE_S = 600,   /* by then a relay knows that one side of it is no more: keepalive */
};

enum kind {
    AT_ONCE,    /* both ways at the same time */
    ECHO,       /* the server sends back what it gets, as it gets it */
    CALL,       /* the server answers when the client's end has come */
    TALK_FIRST, /* the client answers when the server's end has come */
    KINDS
};

/* What a client wants; sent ahead, so that the server knows. */
struct request {
    int64_t number;
    enum kind kind;
    int64_t up, down;
    int64_t pause_ms; /* of the one who talks, now and then; 0: as it comes */
};

struct client {
    struct request request;
    struct pier_dial_opts opts;
    bool begun, done; /* done: all came back, and the end */
};

static struct {
    enum weather weather;
    struct client clients[CLIENTS];
    struct pier_dial_opts backend_opts;    /* of the relay */
    struct scenario_server there, between; /* not run()'s: a host may be back after its end */
    bool impatient;
    int relaying;
    int64_t copies, copied[2]; /* of relays that ended well */
    bool served[CLIENTS];      /* by the backend, to the end */
} world;

/* ---- one end of a transfer ---- */

struct end {
    struct pier_conn *conn;
    const struct request *request;
    bool is_client;
    bool echoes;
    int64_t sends, gets; /* bytes */
};

static unsigned char byte_at(int64_t number, bool up, int64_t offset)
{
    uint64_t x = (uint64_t)offset * 0x9e3779b97f4a7c15u + (uint64_t)number * 2 + up;
    x ^= x >> 29;
    x *= 0xbf58476d1ce4e5b9u;
    return (unsigned char)(x >> 56);
}

static void fill(const struct end *e, unsigned char *out, int64_t offset, size_t len)
{
    for (size_t i = 0; i < len; i++)
        out[i] = byte_at(e->request->number, e->is_client || e->echoes, offset + (int64_t)i);
}

/* Whether these are the bytes that come at that offset; an echo is what was sent up. */
static bool is_right(const struct end *e, const unsigned char *bytes, int64_t offset, size_t len)
{
    bool up = !e->is_client || e->request->kind == ECHO;
    for (size_t i = 0; i < len; i++)
        if (bytes[i] != byte_at(e->request->number, up, offset + (int64_t)i))
            return false;
    return true;
}

/* A task: all that this end has to say, and its end. */
static int send_all(void *arg)
{
    struct end *e = arg;
    unsigned char buf[4096];
    for (int64_t sent = 0; sent < e->sends;) {
        size_t most = e->request->pause_ms > 0 ? SLOW_PIECE : sizeof buf;
        size_t n = scenario_piece((size_t)(e->sends - sent), most);
        fill(e, buf, sent, n);
        ssize_t written = pier_write(e->conn, buf, n);
        if (written < 0)
            return (int)written;
        sent += written;
        if (e->request->pause_ms > 0)
            pier_sleep(e->request->pause_ms * PIER_MILLISECOND);
        else if (pier_sim_between(1, 16) == 1)
            pier_sleep(pier_sim_between(1, 50) * PIER_MILLISECOND);
    }
    return pier_shutdown_write(e->conn);
}

/* One read; what has failed never looks like an orderly end afterwards. (None of these gives up by
 * itself: their time-out is longer than any of them may last.) */
static ssize_t read_some(struct pier_conn *c, unsigned char *buf)
{
    ssize_t n = pier_read(c, buf, scenario_piece(READ_CAP, READ_CAP));
    if (n < 0)
        PIER_SIM_CHECK(pier_read(c, buf, 1) < 0);
    return n;
}

static int receive_all(struct end *e)
{
    unsigned char *buf = malloc(READ_CAP);
    int64_t got = 0;
    ssize_t n = buf != NULL ? 1 : -ENOMEM;
    while (n > 0) {
        n = read_some(e->conn, buf);
        if (n <= 0)
            break;
        PIER_SIM_CHECK(got + n <= e->gets);
        PIER_SIM_CHECK(is_right(e, buf, got, (size_t)n));
        got += n;
        if (e->echoes)
            n = pier_write(e->conn, buf, (size_t)n);
    }
    free(buf);
    if (n < 0)
        return (int)n;
    if (got < e->gets)
        return pier_error_set(-EPIPE, "%lld of %lld bytes", (long long)got, (long long)e->gets);
    return e->echoes ? pier_shutdown_write(e->conn) : 0;
}

static int both_ways(struct end *e)
{
    struct pier_scope scope;
    pier_scope_open(&scope, 0);
    int rc = pier_spawn(&scope, send_all, e);
    if (rc == 0)
        rc = receive_all(e);
    if (rc < 0)
        pier_scope_cancel(&scope);
    int joined = pier_scope_join(&scope);
    return rc < 0 ? rc : joined;
}

/* All that the request says, from this end: 0, or a negative code. */
static int transfer(struct end *e)
{
    bool waits = e->request->kind == (e->is_client ? TALK_FIRST : CALL);
    e->echoes = !e->is_client && e->request->kind == ECHO;
    e->sends = e->is_client ? e->request->up : e->request->down;
    e->gets = e->is_client ? e->request->down : e->request->up;
    if (e->echoes)
        return receive_all(e);
    if (!waits)
        return both_ways(e);
    int rc = receive_all(e);
    return rc < 0 ? rc : send_all(e);
}

/* ---- the three hosts ---- */

static int serve_backend(struct pier_conn *c, void *arg)
{
    struct request request;
    ssize_t n = pier_read_exact(c, &request, sizeof request);
    if (n <= 0)
        return (int)n;
    struct end e = { .conn = c, .request = &request };
    int rc = transfer(&e);
    if (rc == 0)
        world.served[request.number % CLIENTS] = true;
    return rc;
}

static int serve_relay(struct pier_conn *c, void *arg)
{
    int64_t counts[2];
    world.relaying++;
    struct pier_conn *backend = scenario_dial(BACKEND_URL, &world.backend_opts, DIAL_TRIES);
    int rc = pier_copy(c, backend, counts);
    pier_close(backend);
    world.relaying--;
    if (rc == 0) {
        world.copies++;
        world.copied[0] += counts[0];
        world.copied[1] += counts[1];
    }
    return rc;
}

static int ask(struct client *client, struct pier_conn *c)
{
    struct end e = { .conn = c, .request = &client->request, .is_client = true };
    ssize_t n = pier_write(c, &client->request, sizeof client->request);
    return n < 0 ? (int)n : transfer(&e);
}

static int run_client(void *arg)
{
    struct client *client = arg;
    bool again = client->begun; /* after a crash of its host */
    client->begun = true;
    pier_sleep(pier_sim_between(0, 100) * PIER_MILLISECOND);
    int64_t began = pier_now();
    struct pier_conn *c = scenario_dial(RELAY_URL, &client->opts, DIAL_TRIES);
    int rc = ask(client, c);
    pier_close(c);
    client->done = rc == 0;
    PIER_SIM_CHECK(pier_now() - began < HANGS_S * PIER_SECOND);
    if (rc < 0)
        pier_sim_note("client %lld: %s", (long long)client->request.number, pier_error());
    if (rc < 0 && world.weather != WEATHER_ROUGH)
        pier_sim_fail("client %lld: %s", (long long)client->request.number, pier_error());
    PIER_SIM_CHECK(!again || world.weather == WEATHER_ROUGH);
    return 0;
}

/* ---- the scenario ---- */

/* Most transfers are small; what is larger than all buffers on the way makes everybody wait. */
static int64_t some_bytes(void)
{
    static const int64_t most[] = { 0, 10, 2000, 2000, 20000, 20000, 70000, 300000 };
    return pier_sim_amount(0, most[pier_sim_between(0, 7)]);
}

/* A buffer now and then as small as one can be. */
static int some_buffer(void)
{
    return pier_sim_between(1, 6) == 1 ? (int)pier_sim_between(256, 4096) : 0;
}

static struct pier_dial_opts some_opts(void)
{
    return (struct pier_dial_opts){
        .connect_timeout_ms = 120000,
        .read_timeout_ms = FOREVER_MS,
        .write_timeout_ms = FOREVER_MS, /* others may have the only place for long */
        .sock = { .send_buffer = some_buffer(), .recv_buffer = some_buffer() },
    };
}

static void draw_client(struct client *client, int64_t number)
{
    struct request *r = &client->request;
    *r = (struct request){
        .number = number,
        .kind = (enum kind)pier_sim_between(0, KINDS - 1),
        .up = some_bytes(),
        .down = some_bytes(),
    };
    if (world.impatient) {
        r->pause_ms = pier_sim_between(0, 1) ? pier_sim_between(1, PAUSE_MS) : 0;
        r->up = pier_sim_amount(0, IDLE_BYTES);
        r->down = pier_sim_amount(0, IDLE_BYTES);
    }
    if (r->kind == ECHO)
        r->down = r->up;
    client->opts = some_opts();
}

static void check_all_done(int count)
{
    int64_t up = 0, down = 0;
    for (int i = 0; i < count; i++) {
        up += world.clients[i].request.up + (int64_t)sizeof(struct request);
        down += world.clients[i].request.down;
        PIER_SIM_CHECK(world.clients[i].done);
        PIER_SIM_CHECK(world.served[i]);
    }
    PIER_SIM_CHECK(world.copies == count);
    PIER_SIM_CHECK(world.copied[0] == up);
    PIER_SIM_CHECK(world.copied[1] == down);
}

/* A relay ends soon after one side of it has failed, however long the other might go on. */
static void check_nothing_stays(void)
{
    for (int s = 0; s < GONE_S && world.relaying > 0; s++)
        pier_sleep(PIER_SECOND);
    PIER_SIM_CHECK(world.relaying == 0);
}

/* What the network does alone must not look like silence to an impatient relay. */
static struct pier_serve_opts draw_relay(void)
{
    world.backend_opts = some_opts();
    world.impatient = world.weather == WEATHER_CLEAR && pier_sim_between(1, 3) == 1;
    if (world.impatient)
        world.backend_opts.read_timeout_ms = IDLE_MS;
    return (struct pier_serve_opts){
        .model = pier_sim_between(0, 1) ? PIER_TASKS : PIER_THREADS,
        .max_conns = !world.impatient && pier_sim_between(1, 4) == 1 ? 1 : 0,
        .read_timeout_ms = world.impatient ? IDLE_MS : FOREVER_MS,
        .write_timeout_ms = FOREVER_MS,
        .sock = { .send_buffer = some_buffer(), .recv_buffer = some_buffer() },
    };
}

static int run(void *arg)
{
    memset(&world, 0, sizeof world);
    struct pier_sim_host *clients = pier_sim_host("client", "10.0.0.1 fd00::1");
    struct pier_sim_host *relay = pier_sim_host("relay", "10.0.0.2 fd00::2");
    struct pier_sim_host *backend = pier_sim_host("backend", "fd00::3 10.0.0.3");
    world.weather = weather_draw();
    world.between = (struct scenario_server){ { RELAY_URL }, serve_relay, NULL, draw_relay() };
    world.there =
        (struct scenario_server){ { BACKEND_URL }, serve_backend, NULL, world.between.opts };
    world.there.opts.read_timeout_ms = FOREVER_MS;
    pier_sim_start(backend, scenario_serve, &world.there);
    pier_sim_start(relay, scenario_serve, &world.between);
    int count = (int)pier_sim_amount(1, CLIENTS);
    for (int i = 0; i < count; i++) {
        draw_client(&world.clients[i], i);
        pier_sim_start(clients, run_client, &world.clients[i]);
    }
    pier_sim_join(clients);
    check_nothing_stays();
    if (world.weather != WEATHER_ROUGH) {
        pier_sleep(GONE_S * PIER_SECOND); /* the server sees the end, too */
        check_all_done(count);
    }
    pier_sim_stop(relay);
    pier_sim_stop(backend);
    pier_sim_join(relay);
    pier_sim_join(backend);
    return 0;
}

const struct scenario relay_scenario = {
    .name = "relay",
    .summary = "a relay between clients and a server: bytes in are bytes out, in order",
    .run = run,
    .opts = { .event_limit = 2000000 },
};
