/* SPDX-License-Identifier: MIT */
/*
 * scenarios/happy_eyeballs.c - dialling names whose addresses work, refuse, are slow, dead, cut off
 * or out of reach, and what RFC 8305 makes of that.
 *
 * The network has no chance here but what the seed put in the addresses, so a model that knows how
 * long each attempt takes knows which one wins, when, and who was asked at all. Winners are written
 * to; losers must be closed at once, which their servers see. Rough, the model says nothing, but no
 * dial outlives its time-out.
 */
#include "scenario.h"

#include <inttypes.h>
#include <string.h>

enum { ADDRS = 6, DIALS = 3, PORT = 80 };

#define ATTEMPT_DELAY (250 * PIER_MILLISECOND)
#define NEVER INT64_MAX

/* Name look-ups, turns of tasks: what the model leaves out. */
#define SLACK (60 * PIER_MILLISECOND)

/* Two events that are nearer than this may come in either order. */
#define NEAR (2 * PIER_MILLISECOND)

enum kind {
    GOOD,    /* listens, near */
    SLOW,    /* listens, far away: may lose against one that is asked later */
    REFUSES, /* a host where nobody listens */
    DEAD,    /* no such host: the network says so after three seconds */
    CUT,     /* a host that nothing reaches */
    KINDS
};

struct target {
    enum kind kind;
    bool is_v6;
    char address[40];
    int64_t latency_ns; /* one way */
    struct pier_sim_host *host;
    int accepted, open;
};

/* What a dial must come to. */
struct outcome {
    bool is_sure;       /* no two events were too near each other */
    int winner;         /* of the targets; -1: none */
    int64_t when_ns;    /* NEVER: at the time-out */
    bool asked[ADDRS];  /* by then */
    int64_t asked_last; /* when the last one was */
};

static struct {
    enum weather weather;
    struct target targets[ADDRS];
    int count;
    int order[ADDRS]; /* in which they are tried */
    bool has_v4, has_v6;
    struct scenario_server servers[ADDRS];
    struct pier_sim_host *client;
} world;

static bool one_in(int64_t n)
{
    return pier_sim_between(1, n) == 1;
}

static int64_t later(int64_t a, int64_t b)
{
    return a > b ? a : b;
}

/* ---- the model ---- */

/* The first family keeps its lead, each keeps its order (RFC 8305, section 4). */
static void alternate(void)
{
    bool used[ADDRS] = { false }, next_v6 = world.targets[0].is_v6;
    for (int n = 0; n < world.count; n++) {
        int found = -1;
        for (int i = 0; i < world.count && found < 0; i++)
            if (!used[i] && world.targets[i].is_v6 == next_v6)
                found = i;
        for (int i = 0; i < world.count && found < 0; i++)
            if (!used[i])
                found = i;
        used[found] = true;
        world.order[n] = found;
        next_v6 = !next_v6;
    }
}

static bool in_reach(const struct target *t)
{
    return t->is_v6 ? world.has_v6 : world.has_v4;
}

/* How long an attempt takes, and whether it then connects. */
static int64_t takes(const struct target *t, bool *connects)
{
    *connects = in_reach(t) && (t->kind == GOOD || t->kind == SLOW);
    if (!in_reach(t))
        return 0;
    if (t->kind == CUT)
        return NEVER;
    return t->kind == DEAD ? 3 * PIER_SECOND : 2 * t->latency_ns;
}

/* Starts each attempt when the delay is over, or when one that runs fails; the first that connects
 * ends it all. */
static struct outcome predict(void)
{
    struct outcome o = { .is_sure = true, .winner = -1, .when_ns = 0 };
    int64_t ends[ADDRS], next_start = 0, last = 0;
    bool connects[ADDRS], over[ADDRS] = { false };
    int started = 0;
    for (;;) {
        int first = -1;
        for (int i = 0; i < started; i++)
            if (!over[i] && (first < 0 || ends[i] < ends[first]))
                first = i;
        bool may_start = started < world.count;
        if (first < 0 && !may_start)
            return o;
        int64_t end = first < 0 ? NEVER : ends[first];
        int64_t gap = may_start && end != NEVER ? end - next_start : NEVER;
        if (gap < NEAR && gap > -NEAR && first >= 0)
            o.is_sure = false;
        if (may_start && next_start < end) {
            const struct target *t = &world.targets[world.order[started]];
            int64_t takes_ns = takes(t, &connects[started]);
            last = next_start;
            ends[started] = takes_ns == NEVER ? NEVER : next_start + takes_ns;
            o.asked[world.order[started++]] = true;
            next_start += ATTEMPT_DELAY;
            o.asked_last = last;
            continue;
        }
        over[first] = true;
        o.when_ns = end;
        if (end == NEVER)
            return o;
        for (int i = 0; i < started; i++)
            if (!over[i] && ends[i] - end < NEAR)
                o.is_sure = false;
        if (connects[first]) {
            o.winner = world.order[first];
            return o;
        }
        next_start = end;
    }
}

/* ---- the targets ---- */

static int serve(struct pier_conn *c, void *arg)
{
    struct target *t = arg;
    char byte;
    t->accepted++;
    t->open++;
    ssize_t n;
    while ((n = pier_read(c, &byte, 1)) > 0 && (n = pier_write(c, t->address, 40)) > 0)
        ;
    t->open--;
    return (int)n;
}

static void draw_target(int index)
{
    struct target *t = &world.targets[index];
    *t = (struct target){ .kind = (enum kind)pier_sim_between(0, KINDS - 1),
                          .is_v6 = pier_sim_between(0, 1) };
    t->latency_ns = t->kind == SLOW ? pier_sim_between(50, 900) * PIER_MILLISECOND
                                    : pier_sim_between(100, 40000) * PIER_MICROSECOND;
    snprintf(t->address, sizeof t->address, t->is_v6 ? "fd00::%d" : "10.0.0.%d", index + 10);
}

static void place_target(int index)
{
    struct target *t = &world.targets[index];
    char name[24];
    if (t->kind == DEAD)
        return;
    snprintf(name, sizeof name, "target%d", index);
    t->host = pier_sim_host(name, t->address);
    struct pier_sim_link link = { .latency_ns = t->latency_ns, .jitter_ns = -1 };
    if (world.weather == WEATHER_LOSSY)
        link.loss_ppm = 100000;
    pier_sim_set_link(world.client, t->host, &link);
    pier_sim_set_link(t->host, world.client, &link);
    if (t->kind == CUT)
        pier_sim_cut(world.client, t->host);
    if (t->kind == REFUSES)
        return;
    world.servers[index] = (struct scenario_server){
        .urls = { t->is_v6 ? "tcp://[::]:80" : "tcp://0.0.0.0:80" }, .handler = serve, .arg = t
    };
    pier_sim_start(t->host, scenario_serve, &world.servers[index]);
}

static void draw_targets(void)
{
    char all[ADDRS * 40] = "";
    world.count = (int)pier_sim_amount(1, ADDRS);
    for (int i = 0; i < world.count; i++) {
        draw_target(i);
        place_target(i);
        strcat(all, world.targets[i].address);
        strcat(all, " ");
    }
    alternate();
    pier_sim_name("service", all);
}

/* ---- a dial ---- */

/* Nobody keeps what has lost. */
static void check_losers(int winner)
{
    for (int i = 0; i < world.count; i++)
        PIER_SIM_CHECK(world.targets[i].open == (i == winner));
}

static void check_asked(const struct outcome *o)
{
    for (int i = 0; i < world.count; i++)
        PIER_SIM_CHECK(o->asked[i] || world.targets[i].accepted == 0);
}

/* The connection is to the target that the model says; it works. */
static void check_won(struct pier_conn *c, const struct outcome *o, int64_t took_ns)
{
    char said[40];
    PIER_SIM_CHECK(o->winner >= 0 && o->when_ns != NEVER);
    PIER_SIM_CHECK(took_ns >= o->when_ns && took_ns < o->when_ns + SLACK);
    PIER_SIM_CHECK(pier_write(c, "?", 1) == 1 && pier_read_exact(c, said, 40) == 40);
    PIER_SIM_CHECK(strcmp(said, world.targets[o->winner].address) == 0);
    pier_sleep(3 * PIER_SECOND);
    check_asked(o);
    check_losers(o->winner);
}

static void check_failed(const struct outcome *o, int64_t took_ns, int64_t limit_ns)
{
    int code = pier_error_code();
    bool timed_out = o->when_ns >= limit_ns;
    if (timed_out) {
        PIER_SIM_CHECK(code == -ETIMEDOUT && pier_exit_code() == 6);
        PIER_SIM_CHECK(took_ns >= limit_ns && took_ns < limit_ns + SLACK);
        return;
    }
    PIER_SIM_CHECK(code == -ECONNREFUSED || code == -EHOSTUNREACH || code == -ENETUNREACH);
    PIER_SIM_CHECK(pier_exit_code() == 4);
    PIER_SIM_CHECK(o->winner < 0);
    PIER_SIM_CHECK(took_ns >= o->when_ns && took_ns < o->when_ns + SLACK);
}

static int64_t limit_of(const struct outcome *o)
{
    int64_t limit = pier_sim_between(100, 12000) * PIER_MILLISECOND;
    if (o->when_ns == NEVER || limit < o->when_ns || limit > o->when_ns + 2 * SLACK)
        return limit;
    return limit + 3 * SLACK; /* no photo finish with the time-out */
}

static void dial_service(void)
{
    struct outcome o = predict();
    int64_t limit_ns = limit_of(&o), began = pier_now();
    for (int i = 0; i < world.count; i++)
        world.targets[i].accepted = 0;
    struct pier_dial_opts opts = { .connect_timeout_ms = (int)(limit_ns / PIER_MILLISECOND) };
    struct pier_conn *c = pier_dial("tcp://service:80", &opts);
    int64_t took_ns = pier_now() - began;
    pier_sim_note("dial: %s after %" PRId64 " ms; the model: target%d after %" PRId64 " ms%s",
                  c != NULL ? pier_peer(c) : pier_error(), took_ns / PIER_MILLISECOND, o.winner,
                  o.when_ns == NEVER ? -1 : o.when_ns / PIER_MILLISECOND,
                  o.is_sure ? "" : ", perhaps");
    PIER_SIM_CHECK(took_ns < limit_ns + SLACK);
    if (world.weather == WEATHER_CLEAR && o.is_sure) {
        if (c != NULL)
            check_won(c, &o, took_ns);
        else
            check_failed(&o, took_ns, limit_ns);
    }
    pier_close(c);
    pier_sleep(later(limit_ns, 10 * PIER_SECOND));
    if (world.weather == WEATHER_CLEAR)
        check_losers(-1);
}

/* A deadline around it all ends a dial, too. */
static void dial_within_a_scope(void)
{
    int64_t limit_ns = pier_sim_between(0, 3000) * PIER_MILLISECOND, began = pier_now();
    struct pier_scope scope;
    pier_scope_open(&scope, pier_after(limit_ns));
    struct pier_conn *c = pier_dial("tcp://service:80", NULL);
    PIER_SIM_CHECK(pier_now() - began < limit_ns + SLACK);
    PIER_SIM_CHECK(c != NULL || pier_error_code() < 0);
    pier_close(c);
    pier_scope_join(&scope);
}

/* ---- names ---- */

static void check_unresolved(const char *url)
{
    struct pier_conn *c = pier_dial(url, NULL);
    PIER_SIM_CHECK(c == NULL);
    if (world.weather != WEATHER_ROUGH)
        PIER_SIM_CHECK(pier_error_code() == PIER_ERESOLVE && pier_exit_code() == 3);
    pier_close(c);
}

static void dial_names_that_fail(void)
{
    check_unresolved("tcp://nowhere:80");
    pier_sim_fail_next(world.client, PIER_SIM_RESOLVE, 1);
    check_unresolved("tcp://service:80");
}

/* ---- the scenario ---- */

static int run_client(void *arg)
{
    pier_sleep(5 * PIER_SECOND); /* the servers listen by then */
    int64_t dials = pier_sim_amount(1, DIALS);
    for (int64_t i = 0; i < dials && pier_cancelled() == 0; i++) {
        if (one_in(8))
            dial_names_that_fail();
        if (one_in(8))
            dial_within_a_scope();
        pier_sleep(10 * PIER_SECOND);
        dial_service();
    }
    return 0;
}

static int run(void *arg)
{
    memset(&world, 0, sizeof world);
    world.has_v4 = !one_in(5);
    world.has_v6 = !world.has_v4 || !one_in(3);
    world.client = pier_sim_host("client", !world.has_v4   ? "fd00::2"
                                           : !world.has_v6 ? "10.0.0.2"
                                                           : "10.0.0.2 fd00::2");
    world.weather = weather_draw();
    draw_targets();
    pier_sim_start(world.client, run_client, NULL);
    pier_sim_join(world.client);
    for (int i = 0; i < world.count; i++)
        pier_sim_stop(world.targets[i].host);
    for (int i = 0; i < world.count; i++)
        pier_sim_join(world.targets[i].host);
    return 0;
}

const struct scenario happy_eyeballs_scenario = {
    .name = "happy-eyeballs",
    .summary = "dialling names with good, slow, dead and refusing addresses (RFC 8305)",
    .run = run,
    .opts = { .event_limit = 2000000 },
};
