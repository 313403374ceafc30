/* SPDX-License-Identifier: MIT */
/*
 * scenarios/scenario.c - what scenarios share: the weather, a host that serves, and how its clients
 * reach it.
 */
#include "scenario.h"

/* ---- weather ---- */

static bool one_in(int64_t n)
{
    return pier_sim_between(1, n) == 1;
}

/* Rare as often as frequent: from 100 to 20,000 calls in a million, or none. */
static int some_faults(void)
{
    static const int most[] = { 100, 500, 2000, 20000 };
    if (!one_in(3))
        return 0;
    return (int)pier_sim_between(50, most[pier_sim_between(0, 3)]);
}

static void draw_faults(void)
{
    pier_sim_set_faults(&(struct pier_sim_faults){
        .descriptors = some_faults(),
        .memory = some_faults(),
        .refuse = some_faults(),
        .reset = some_faults(),
        .broken_pipe = some_faults(),
        .timeout = some_faults(),
        .interrupt = some_faults(),
        .resolve = some_faults(),
    });
}

static void draw_chaos(void)
{
    struct pier_sim_chaos chaos = { 0 };
    if (one_in(3)) {
        chaos.cut_every_ns = pier_sim_between(20, 5000) * PIER_MILLISECOND;
        chaos.cut_for_ns = pier_sim_between(10, one_in(3) ? 200000 : 2000) * PIER_MILLISECOND;
    }
    if (one_in(4)) {
        chaos.crash_every_ns = pier_sim_between(20, 5000) * PIER_MILLISECOND;
        chaos.crash_for_ns = pier_sim_between(10, 5000) * PIER_MILLISECOND;
    }
    pier_sim_chaos(&chaos);
}

/* Datagrams that come twice, and late. */
static void draw_disorder(struct pier_sim_link *link)
{
    link->duplicate_ppm = one_in(2) ? (int)pier_sim_between(0, 50000) : 0;
    link->reorder_ppm = one_in(2) ? (int)pier_sim_between(0, 50000) : 0;
    link->mtu = one_in(4) ? (int)pier_sim_between(600, 9000) : 0;
}

static enum weather draw(bool has_datagrams)
{
    enum weather weather = (enum weather)pier_sim_between(WEATHER_CLEAR, WEATHER_ROUGH + 1);
    struct pier_sim_link link = {
        .latency_ns = pier_sim_between(1, one_in(4) ? 50000 : 500) * PIER_MICROSECOND,
        .jitter_ns = pier_sim_between(0, one_in(4) ? 2000 : 500) * PIER_MICROSECOND,
        .bandwidth = one_in(4) ? pier_sim_between(50, 5000) * 1000 : 0,
    };
    if (weather >= WEATHER_ROUGH)
        weather = WEATHER_ROUGH; /* half of the seeds */
    if (weather != WEATHER_CLEAR)
        link.loss_ppm = (int)pier_sim_between(0, 20000);
    if (weather != WEATHER_CLEAR && has_datagrams)
        draw_disorder(&link);
    pier_sim_set_link(NULL, NULL, &link);
    if (weather == WEATHER_ROUGH) {
        draw_faults();
        draw_chaos();
    }
    return weather;
}

enum weather weather_draw(void)
{
    return draw(false);
}

enum weather weather_draw_datagrams(void)
{
    return draw(true);
}

/* ---- servers and their clients ---- */

static void serve_once(const struct scenario_server *what)
{
    struct pier_serve_opts opts = what->opts;
    opts.no_signals = true;
    struct pier_server *server = pier_server_new(&opts);
    for (int i = 0; what->urls[i] != NULL; i++)
        pier_server_add(server, what->urls[i], what->handler, what->arg);
    pier_server_run(server);
    pier_server_free(server);
}

int scenario_serve(void *arg)
{
    do
        serve_once(arg);
    while (pier_sleep(PIER_SECOND) == 0);
    return 0;
}

struct pier_conn *scenario_dial(const char *url, const struct pier_dial_opts *opts, int tries)
{
    for (;;) {
        struct pier_conn *c = pier_dial(url, opts);
        if (c != NULL || --tries <= 0)
            return c;
        if (pier_error_code() != -ECONNREFUSED && pier_error_code() != -ENOENT)
            return NULL;
        if (pier_sleep(PIER_SECOND / 2) < 0)
            return NULL;
    }
}

size_t scenario_piece(size_t left, size_t most)
{
    size_t whole = left < most ? left : most;
    if (whole == 0 || !one_in(4))
        return whole;
    return (size_t)pier_sim_between(1, (int64_t)whole);
}
