/* SPDX-License-Identifier: MIT */
/*
 * scenarios/scenario.h - a scenario of `pier sim`: real handlers of this command, clients that know
 * what must come back, and a network that does its worst.
 *
 * A scenario checks with PIER_SIM_CHECK() and returns 0, or a negative code. What always holds
 * (every wait ends by its deadline; no task, socket or memory block is left; two runs of a seed are
 * the same) the simulation itself looks at. Each request is answered once, or fails visibly: that
 * is the scenario's to check.
 */
#ifndef PIER_CLI_SCENARIO_H
#define PIER_CLI_SCENARIO_H

#include <pier/pier.h>

struct scenario {
    const char *name;
    const char *summary; /* half a sentence, for --list */
    pier_task_fn run;
    struct pier_sim_opts opts; /* links and faults; arg and the rest are the verb's */
};

extern const struct scenario relay_scenario, message_scenario, chat_scenario,
    happy_eyeballs_scenario, cancel_scenario, stop_scenario, sync_scenario, file_scenario,
    datagram_scenario, http_scenario;

/* ---- scenario.c: what scenarios share ---- */

enum weather {
    WEATHER_CLEAR, /* delays */
    WEATHER_LOSSY, /* and lost segments: slower, but nothing may fail */
    WEATHER_ROUGH, /* calls fail, hosts are cut off and crash: what fails must say so */
};

/* Draws what the network and the machines do in this seed, and sets it for all hosts. */
enum weather weather_draw(void);

/* The same where datagrams go, which come twice or late when it is not clear. */
enum weather weather_draw_datagrams(void);

/* A server that a host runs. */
struct scenario_server {
    const char *urls[4]; /* NULL behind the last */
    pier_handler handler;
    void *arg;
    struct pier_serve_opts opts;
};

/* A program: serves until it is cancelled; after a failure it begins anew, as a service manager
 * would have it. */
int scenario_serve(void *arg);

/* Dials, at most `tries` times, half a second apart, while nobody listens (yet). */
struct pier_conn *scenario_dial(const char *url, const struct pier_dial_opts *opts, int tries);

/* How much of what is left to take next: mostly all of it, up to most; now and then less, but at
 * least 1. */
size_t scenario_piece(size_t left, size_t most);

#endif
