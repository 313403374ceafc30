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
    happy_eyeballs_scenario, cancel_scenario, stop_scenario, sync_scenario;

#endif
