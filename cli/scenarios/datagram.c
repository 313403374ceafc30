/* SPDX-License-Identifier: MIT */
/*
 * scenarios/datagram.c - clients of a ledger over udp://: requests, replies, and tries until there
 * is one.
 *
 * A request that is tried again may arrive several times, in any order, and the server applies it
 * once: that much is the protocol's. Pier's part is that a conversation has one peer, that a reply
 * goes to who has asked, that conversations end and begin as they should, and that nothing is lost
 * but by the network. Clear and with room for all, nobody has to try twice; lossy, everybody is
 * answered in the end; rough, a client may give up, and says so.
 */
#include "scenario.h"

#include <stdlib.h>
#include <string.h>

#define PORT "7100"
#define URL "udp://ledger:" PORT
#define OTHER_URL \
    "udp://10.0.0.101:" PORT /* replies come from there, too, if they are asked there */

enum {
    CLIENTS = 4,
    REQUESTS = 12, /* of a client */
    WINDOW = 6,    /* requests that it may have under way */
    STOPS = 5,
    TRIES = 30,     /* more than the stops can spoil, and the losses besides */
    TRY_MS = 5000,  /* longer than any way there and back */
    LONG = 8000,    /* of a request, at most: in fragments */
    ROOMY = 400000, /* bytes of a socket's buffer: for all that may come at once */
    SLACK_MS = 50,  /* of tasks that wait for their turn */
    HANGS_S = 3600, /* no client takes so long */
    MAGIC = 0x7069,
    PROBE = -1, /* in the place of a number: longer than the server has room for */
};

/* The beginning of requests and replies; the rest is bytes that follow from it. */
struct entry {
    int magic, client, life, number;
    int64_t amount; /* reply: the balance when it was applied */
    int len, reply_len;
};

struct client {
    int index, count, window;
    const char *url;
    struct pier_dial_opts opts;
    struct pier_conn *conn;
    int life; /* connections so far: the server sees another peer in each */
    int64_t amounts[REQUESTS];
    int lens[REQUESTS], reply_lens[REQUESTS];
    bool answered[REQUESTS];
    int repeated, refused, gave_up;
};

/* What the server knows of a client; as if on its disk: a crash leaves it. */
struct account {
    int64_t balance, then[REQUESTS];
    int applied[REQUESTS];
};

/* A conversation, as its handler sees it. */
struct talk {
    struct talk *next;
    const char *peer;
    int client, life; /* -1: none yet */
};

static struct {
    enum weather weather;
    bool gentle; /* nothing but delays: each request is answered at the first try */
    bool evicts; /* the server has fewer places than clients */
    bool restarts;
    bool everywhere;  /* it is bound to every address */
    bool only_second; /* it is not at the address that clients try first */
    size_t room;      /* of the server, for a datagram */
    const char *urls[4];
    struct pier_serve_opts opts;
    struct pier_server *server; /* while it runs */
    struct client clients[CLIENTS];
    struct account accounts[CLIENTS];
    struct talk *talks;
    int probes; /* that came, too long */
    bool is_over;
} world;

static bool one_in(int64_t n)
{
    return pier_sim_between(1, n) == 1;
}

static void fill(char *bytes, const struct entry *e, size_t len)
{
    memcpy(bytes, e, sizeof *e);
    for (size_t i = sizeof *e; i < len; i++)
        bytes[i] = (char)(i * 31 + (size_t)e->number * 7 + (size_t)e->client + len);
}

static bool is_whole(const char *bytes, const struct entry *e, size_t len)
{
    for (size_t i = sizeof *e; i < len; i++)
        if (bytes[i] != (char)(i * 31 + (size_t)e->number * 7 + (size_t)e->client + len))
            return false;
    return true;
}

/* ---- the server ---- */

/* From the first datagram to the last. */
static void check_client_of(struct talk *t, const struct entry *e)
{
    if (t->client < 0) {
        t->client = e->client;
        t->life = e->life;
    }
    PIER_SIM_CHECK(t->client == e->client && t->life == e->life);
}

static void apply(const struct entry *e)
{
    struct account *a = &world.accounts[e->client];
    if (a->applied[e->number] > 0)
        return;
    a->applied[e->number]++;
    a->balance += e->amount;
    a->then[e->number] = a->balance;
}

static int answer(struct pier_conn *c, const struct entry *e)
{
    struct entry reply = *e;
    reply.amount = world.accounts[e->client].then[e->number];
    char *bytes = malloc((size_t)e->reply_len);
    if (bytes == NULL)
        return -ENOMEM;
    fill(bytes, &reply, (size_t)e->reply_len);
    ssize_t n = pier_write(c, bytes, (size_t)e->reply_len);
    free(bytes);
    return n < 0 ? (int)n : 0;
}

static int serve_one(struct pier_conn *c, struct talk *t, const char *bytes, size_t len)
{
    struct entry e;
    if (!PIER_SIM_CHECK(len >= sizeof e))
        return 0;
    memcpy(&e, bytes, sizeof e);
    PIER_SIM_CHECK(e.magic == MAGIC && e.client >= 0 && e.client < CLIENTS);
    PIER_SIM_CHECK(e.number >= 0 && e.number < REQUESTS && e.len == (int)len);
    PIER_SIM_CHECK(is_whole(bytes, &e, len));
    check_client_of(t, &e);
    if (one_in(8))
        pier_sleep(pier_sim_between(0, 5) * PIER_MILLISECOND); /* others arrive meanwhile */
    apply(&e);
    return answer(c, &e);
}

/* A conversation ends by itself after a silence, not before; with fewer places than clients, or at
 * a stop, earlier. waited: since the last datagram, if it was waited for. */
static void check_end(int64_t waited_ns)
{
    int64_t silence_ns = world.opts.silence_ms * PIER_MILLISECOND;
    bool may_be_early = world.evicts || world.restarts || world.is_over;
    if (world.weather == WEATHER_ROUGH)
        return;
    PIER_SIM_CHECK(waited_ns <= silence_ns + SLACK_MS * PIER_MILLISECOND);
    PIER_SIM_CHECK(may_be_early || waited_ns >= silence_ns - SLACK_MS * PIER_MILLISECOND);
}

static int converse(struct pier_conn *c, struct talk *t)
{
    char *bytes = malloc(world.room);
    int rc = bytes != NULL ? 0 : -ENOMEM;
    while (rc >= 0) {
        int64_t asked = pier_now();
        ssize_t n = pier_read(c, bytes, world.room);
        int64_t waited = pier_now() - asked;
        if (n == 0)
            check_end(waited);
        if (n == 0 || (n < 0 && n != -EMSGSIZE)) {
            rc = (int)n;
            break;
        }
        if (n == -EMSGSIZE)
            world.probes++; /* and the next one may fit */
        else
            rc = serve_one(c, t, bytes, (size_t)n);
        if (one_in(16))
            break; /* the next datagram begins another */
    }
    free(bytes);
    return rc;
}

static int serve_peer(struct pier_conn *c, void *arg)
{
    struct talk t = { .next = world.talks, .peer = pier_peer(c), .client = -1 };
    for (const struct talk *o = world.talks; o != NULL && !world.evicts; o = o->next)
        PIER_SIM_CHECK(t.peer[0] == '?' || strcmp(o->peer, t.peer) != 0); /* one handler each */
    world.talks = &t;
    int rc = converse(c, &t);
    struct talk **at = &world.talks;
    while (*at != &t)
        at = &(*at)->next;
    *at = t.next;
    if (rc < 0 && rc != -ECANCELED && world.weather != WEATHER_ROUGH)
        pier_sim_fail("a handler: %s", pier_error());
    return rc;
}

static void serve_once(void)
{
    struct pier_server *server = pier_server_new(&world.opts);
    for (int i = 0; world.urls[i] != NULL; i++)
        pier_server_add(server, world.urls[i], serve_peer, NULL);
    world.server = server;
    int rc = pier_server_run(server);
    world.server = NULL;
    PIER_SIM_CHECK(world.talks == NULL);
    PIER_SIM_CHECK(server == NULL || pier_server_conns(server) == 0);
    if (world.gentle)
        PIER_SIM_CHECK(pier_server_dropped(server) == 0);
    if (rc < 0 && rc != -ECANCELED && world.weather != WEATHER_ROUGH)
        pier_sim_fail("the server: %s", pier_error());
    pier_server_free(server);
}

static int serve(void *arg)
{
    do
        serve_once();
    while (pier_sleep(pier_sim_between(1, 1000) * PIER_MILLISECOND) == 0);
    return 0;
}

/* A task of the scenario's: stops the server a few times, gracefully. */
static int stop_now_and_then(void *arg)
{
    int rc = 0;
    for (int i = 0; i < STOPS && rc == 0; i++) {
        rc = pier_sleep(pier_sim_between(10, 5000) * PIER_MILLISECOND);
        if (rc == 0 && world.server != NULL)
            pier_server_stop_remote(world.server);
    }
    return 0;
}

/* ---- a client ---- */

static void hang_up(struct client *client)
{
    pier_close(client->conn);
    client->conn = NULL;
}

/* What a client may meet is over with the next try; clear or lossy, only a server that is not
 * there refuses. */
static void meet(struct client *client, int rc)
{
    bool may_be_refused = world.restarts && rc == -ECONNREFUSED;
    client->refused += rc == -ECONNREFUSED;
    if (rc == -ETIMEDOUT)
        return;
    pier_sim_note("client %d: %s", client->index, pier_error());
    if (world.weather != WEATHER_ROUGH && !may_be_refused)
        pier_sim_fail("client %d: %s", client->index, pier_error());
    hang_up(client);
}

static int dial(struct client *client)
{
    if (client->conn != NULL)
        return 0;
    client->conn = pier_dial(client->url, &client->opts);
    client->life++;
    return client->conn != NULL ? 0 : pier_error_code();
}

static int send_entry(struct client *client, const struct entry *e, size_t len)
{
    char *bytes = malloc(len);
    if (bytes == NULL)
        return -ENOMEM;
    fill(bytes, e, len);
    ssize_t n = pier_write(client->conn, bytes, len);
    free(bytes);
    return n < 0 ? (int)n : 0;
}

static int send_request(struct client *client, int number)
{
    struct entry e = {
        .magic = MAGIC,
        .client = client->index,
        .life = client->life,
        .number = number,
        .amount = client->amounts[number],
        .len = client->lens[number],
        .reply_len = client->reply_lens[number],
    };
    return send_entry(client, &e, (size_t)e.len);
}

/* What the server has no room for is lost, and nothing else. */
static int send_probe(struct client *client)
{
    struct entry e = { .magic = MAGIC, .client = client->index, .number = PROBE };
    return send_entry(client, &e, world.room + (size_t)pier_sim_between(1, 100));
}

static int send_all(struct client *client, int from, int end)
{
    int rc = one_in(16) ? send_probe(client) : 0;
    for (int i = from; rc == 0 && i < end; i++)
        if (!client->answered[i])
            rc = send_request(client, i);
    return rc;
}

/* The answer of this client's own request, as the server has it. */
static void take_reply(struct client *client, const char *bytes, size_t len)
{
    struct entry e;
    if (!PIER_SIM_CHECK(len >= sizeof e))
        return;
    memcpy(&e, bytes, sizeof e);
    if (!PIER_SIM_CHECK(e.magic == MAGIC && e.number >= 0 && e.number < client->count))
        return;
    const struct account *a = &world.accounts[client->index];
    PIER_SIM_CHECK(e.client == client->index && e.life == client->life);
    PIER_SIM_CHECK(len == (size_t)client->reply_lens[e.number] && is_whole(bytes, &e, len));
    PIER_SIM_CHECK(a->applied[e.number] == 1 && a->then[e.number] == e.amount);
    client->answered[e.number] = true;
}

static bool has_all(const struct client *client, int from, int end)
{
    for (int i = from; i < end; i++)
        if (!client->answered[i])
            return false;
    return true;
}

/* Reads until all are answered: 0, or a negative code. Now and then with little room: a reply that
 * does not fit is one that is lost. */
static int read_replies(struct client *client, int from, int end)
{
    char *bytes = malloc(LONG + 1);
    int rc = bytes != NULL ? 0 : -ENOMEM;
    while (rc == 0 && !has_all(client, from, end)) {
        size_t room = !world.gentle && one_in(32) ? 10 : LONG + 1;
        ssize_t n = pier_read(client->conn, bytes, room);
        if (n > 0)
            take_reply(client, bytes, (size_t)n);
        else if (n != -EMSGSIZE)
            rc = n == 0 ? pier_sim_fail("a datagram connection has an end") : (int)n;
    }
    free(bytes);
    return rc;
}

static int try_once(struct client *client, int from, int end)
{
    struct pier_scope scope;
    pier_scope_open(&scope, pier_after(TRY_MS * PIER_MILLISECOND));
    int rc = dial(client);
    if (rc == 0)
        rc = send_all(client, from, end);
    if (rc == 0)
        rc = read_replies(client, from, end);
    if (rc < 0)
        meet(client, rc);
    pier_scope_join(&scope);
    return rc;
}

static int ask(struct client *client, int from, int end)
{
    int rc = try_once(client, from, end);
    for (int i = 1; rc < 0 && i < TRIES; i++) {
        client->repeated++;
        rc = pier_sleep(pier_sim_between(0, 1000) * PIER_MILLISECOND);
        if (rc == 0)
            rc = try_once(client, from, end);
    }
    return rc;
}

/* Longer than the server waits, now and then. */
static void pause_a_while(void)
{
    if (one_in(4))
        pier_sleep(pier_sim_between(1, 2 * world.opts.silence_ms) * PIER_MILLISECOND);
}

static int run_client(void *arg)
{
    struct client *client = arg;
    int64_t began = pier_now();
    pier_sleep(pier_sim_between(1, 100) * PIER_MILLISECOND);
    for (int from = 0; from < client->count; from += client->window) {
        int end = from + client->window < client->count ? from + client->window : client->count;
        if (ask(client, from, end) < 0) {
            client->gave_up++;
            pier_sim_note("client %d gives up: %s", client->index, pier_error());
        }
        pause_a_while();
    }
    hang_up(client);
    PIER_SIM_CHECK(pier_now() - began < HANGS_S * PIER_SECOND);
    return 0;
}

/* ---- the scenario ---- */

static int some_len(void)
{
    int most = one_in(8) ? LONG : one_in(2) ? 1400 : 100;
    return (int)sizeof(struct entry) + (int)pier_sim_amount(0, most - (int)sizeof(struct entry));
}

static void draw_client(struct client *client, int index)
{
    *client = (struct client){
        .index = index,
        .count = (int)pier_sim_amount(1, REQUESTS),
        .window = one_in(2) ? 1 : (int)pier_sim_between(1, WINDOW),
        .url = world.everywhere && one_in(2) ? OTHER_URL : URL,
        .opts.sock.recv_buffer = world.gentle ? ROOMY : 0,
    };
    if (world.gentle && world.only_second)
        client->window = 1; /* the last datagram before a refusal is sent again, no others */
    for (int i = 0; i < client->count; i++) {
        client->amounts[i] = pier_sim_between(-1000, 1000);
        client->lens[i] = some_len();
        client->reply_lens[i] = some_len();
    }
}

/* On one address or the other, on both, or on all there are. */
static void draw_server(void)
{
    static const char *const urls[][2] = {
        { "udp://10.0.0.1:" PORT, NULL },
        { "udp://[fd00::1]:" PORT, NULL },
        { "udp://10.0.0.1:" PORT, "udp://[fd00::1]:" PORT },
        { "udp://:" PORT, NULL },
    };
    int64_t which = pier_sim_between(0, 3);
    memcpy(world.urls, urls[which], sizeof urls[which]);
    world.everywhere = which == 3;
    world.only_second = which == 1;
    world.evicts = one_in(4);
    world.restarts = one_in(4);
    world.gentle = world.weather == WEATHER_CLEAR && !world.evicts && !world.restarts;
    world.room = LONG + (size_t)pier_sim_between(0, 5000);
    world.opts = (struct pier_serve_opts){
        .model = one_in(4) ? PIER_THREADS : PIER_TASKS,
        .max_conns = world.evicts ? (int)pier_sim_between(1, CLIENTS - 1) : 0,
        .silence_ms = (int)pier_sim_between(200, one_in(4) ? 60000 : 3000),
        .no_signals = true,
        .sock.recv_buffer = world.gentle ? ROOMY : 0,
    };
}

/* Applied once, if answered; if not, once at most, and the client has said that it gave up. */
static void check_client(const struct client *client)
{
    const struct account *a = &world.accounts[client->index];
    int unanswered = 0;
    for (int i = 0; i < client->count; i++) {
        PIER_SIM_CHECK(a->applied[i] == 1 || (a->applied[i] == 0 && !client->answered[i]));
        unanswered += !client->answered[i];
    }
    PIER_SIM_CHECK(unanswered == 0 || client->gave_up > 0);
    PIER_SIM_CHECK(world.weather == WEATHER_ROUGH || unanswered == 0);
    PIER_SIM_CHECK(!world.gentle || (client->repeated == 0 && client->refused == 0));
}

static int run(void *arg)
{
    memset(&world, 0, sizeof world);
    struct pier_sim_host *ledger = pier_sim_host("ledger", "fd00::1 10.0.0.1 10.0.0.101");
    struct pier_sim_host *hosts[CLIENTS];
    struct pier_scope scope;
    world.weather = weather_draw_datagrams();
    draw_server();
    pier_sim_start(ledger, serve, NULL);
    pier_scope_open(&scope, 0);
    if (world.restarts)
        pier_spawn(&scope, stop_now_and_then, NULL);
    /* No memory for that: the scope is cancelled, and nobody begins. */
    bool begins = pier_cancelled() == 0;
    int count = begins ? (int)pier_sim_amount(1, CLIENTS) : 0;
    for (int i = 0; i < count; i++) {
        char name[32], addresses[64];
        snprintf(name, sizeof name, "client%d", i);
        snprintf(addresses, sizeof addresses, "10.0.0.%d fd00::%d", i + 2, i + 2);
        bool is_alone = i == 0 || !one_in(4);
        hosts[i] = is_alone ? pier_sim_host(name, addresses) : hosts[i - 1];
        draw_client(&world.clients[i], i);
        pier_sim_start(hosts[i], run_client, &world.clients[i]);
    }
    for (int i = 0; i < count; i++)
        pier_sim_join(hosts[i]);
    pier_scope_cancel(&scope);
    pier_scope_join(&scope);
    for (int i = 0; i < count; i++)
        check_client(&world.clients[i]);
    world.is_over = true;
    pier_sim_stop(ledger);
    pier_sim_join(ledger);
    return 0;
}

const struct scenario datagram_scenario = {
    .name = "datagram",
    .summary = "requests and replies over UDP: each applied once, and answered in the end",
    .run = run,
    .opts = { .event_limit = 2000000 },
};
