/* SPDX-License-Identifier: MIT */
/*
 * sim/run.c - one run: set up the simulated machine, run the scenario, end what is left, and look
 * whether anything stayed behind.
 */
#define _GNU_SOURCE
#include "sim/sim.h"

#include "base/assert.h"

#include <string.h>

enum {
    TIME_LIMIT_H = 24,
    EVENT_LIMIT = 10 * 1000 * 1000,
    GIVE_UP_EVENTS = 1000 * 1000, /* to come to an end after everything has been cancelled */
};

PI_THREAD_LOCAL struct pi_sim *pi_sim;

/* ---- in the place of the system ---- */

/* 2026-01-01T00:00:00Z at the beginning; the monotonic clock has run for an hour then. */
static const int64_t unix_start_ns = 1767225600 * PIER_SECOND;
static const int64_t clock_start_ns = PIER_HOUR;

static int64_t sim_clock_ns(void)
{
    return pi_sim->now_ns;
}

static int64_t sim_unix_ns(void)
{
    return unix_start_ns + pi_sim->now_ns - pi_sim->began_ns;
}

static void sim_secret(void *out, size_t len)
{
    unsigned char *next = out;
    while (len > 0) {
        uint64_t bits = pi_sim_draw(&pi_sim->secret);
        size_t n = len < sizeof bits ? len : sizeof bits;
        memcpy(next, &bits, n);
        next += n;
        len -= n;
    }
}

static bool sim_refuses_memory(void)
{
    struct pi_sim *sim = pi_sim;
    if (sim->quiet || sim->is_over || sim->giving_up)
        return false;
    return pi_sim_faulty(PIER_SIM_MEMORY, sim->opts.faults.memory, pi_sim_here());
}

static const struct pi_sys simulated = {
    .clock_ns = sim_clock_ns,
    .coarse_ns = sim_clock_ns,
    .unix_ns = sim_unix_ns,
    .random = sim_secret,
    .refuses_memory = sim_refuses_memory,
    .log = pi_sim_log,
};

/* ---- failures ---- */

int pi_sim_failed(const char *fmt, ...)
{
    struct pi_sim *sim = pi_sim;
    char text[sizeof sim->failure];
    va_list args;
    va_start(args, fmt);
    vsnprintf(text, sizeof text, fmt, args);
    va_end(args);
    if (sim->code == 0) {
        sim->code = PIER_ESIM;
        snprintf(sim->failure, sizeof sim->failure, "%s", text);
    }
    pi_sim_event(SIM_EV_CHECK, pi_sim_here(), 0, "FAILED: %s", text);
    return PIER_ESIM;
}

int pier_sim_fail(const char *fmt, ...)
{
    char text[256];
    va_list args;
    va_start(args, fmt);
    vsnprintf(text, sizeof text, fmt, args);
    va_end(args);
    return pi_sim ? pi_sim_failed("%s", text) : -EINVAL;
}

bool pier_sim_check(bool holds, const char *text, const char *file, int line)
{
    if (!holds && pi_sim)
        pi_sim_failed("%s:%d: %s", file, line, text);
    return holds;
}

bool pier_sim_running(void)
{
    return pi_sim != NULL;
}

void pi_sim_give_up(struct pi_sim *sim)
{
    if (sim->giving_up)
        return;
    sim->giving_up = true;
    sim->give_up_at = sim->events + GIVE_UP_EVENTS;
    if (sim->code == 0)
        pi_sim_failed("not over after %lld events", (long long)sim->opts.event_limit);
    pier_scope_cancel(&sim->scope);
}

/* ---- amounts ---- */

int64_t pier_sim_between(int64_t lo, int64_t hi)
{
    return pi_sim ? pi_sim_range(&pi_sim->user, lo, hi) : lo;
}

int64_t pier_sim_amount(int64_t lo, int64_t hi)
{
    struct pi_sim *sim = pi_sim;
    if (!sim)
        return lo;
    int64_t amount = pi_sim_range(&sim->user, lo, hi);
    return lo + (amount - lo) * sim->reduced.size / 100;
}

/* ---- before and after ---- */

static void set_links(struct pi_sim *sim)
{
    for (int i = 0; i < SIM_HOSTS_MAX * SIM_HOSTS_MAX; i++)
        sim->ways[i].link = sim->opts.link;
}

static void free_sim(struct pi_sim *sim)
{
    pi_sim_free_packets(sim);
    pi_sim_free_sockets(sim);
    pi_sim_free_handles(sim);
    pi_sim_free_hosts(sim);
    pi_timer_fini(&sim->timers);
    pi_free(sim->ways);
    pi_free(sim);
}

static void set_opts(struct pi_sim *sim, const struct pier_sim_opts *opts)
{
    if (opts)
        sim->opts = *opts;
    if (sim->opts.time_limit_ns <= 0)
        sim->opts.time_limit_ns = TIME_LIMIT_H * PIER_HOUR;
    if (sim->opts.event_limit <= 0)
        sim->opts.event_limit = EVENT_LIMIT;
}

static struct pi_sim *new_sim(uint64_t seed, const struct pier_sim_opts *opts)
{
    struct pi_sim *sim = pi_zalloc(sizeof *sim);
    if (!sim) {
        pi_fail(-ENOMEM, "simulation");
        return NULL;
    }
    set_opts(sim, opts);
    sim->seed = seed;
    sim->now_ns = sim->began_ns = clock_start_ns;
    sim->thread = pi_task_self()->thread;
    struct sim_random *streams[] = { &sim->order, &sim->network, &sim->user, &sim->secret,
                                     &sim->disk };
    for (unsigned i = 0; i < sizeof streams / sizeof streams[0]; i++)
        pi_sim_seed(streams[i], seed, i + 1);
    if (pi_sim_reduced_parse(&sim->reduced, sim->opts.reduced) < 0) {
        pi_free(sim);
        return NULL;
    }
    sim->ways = pi_zalloc(SIM_HOSTS_MAX * SIM_HOSTS_MAX * sizeof *sim->ways);
    if (!sim->ways) {
        pi_fail(-ENOMEM, "simulation");
        pi_free(sim);
        return NULL;
    }
    set_links(sim);
    return sim;
}

/* What was asked of memory and is still there, but for the words of the last failure. */
static long blocks_held(const struct pi_task *self)
{
    return pi_alloc_count() - (self->err.text != NULL);
}

static void keep_failure(struct pi_sim *sim, int rc)
{
    if (rc >= 0 || sim->code < 0)
        return;
    sim->code = rc;
    snprintf(sim->failure, sizeof sim->failure, "%s",
             pier_error_code() == rc ? pier_error() : pier_strerror(rc));
}

static void look_for_descriptors(struct pi_sim *sim)
{
    char words[300];
    int open = pi_sim_open_sockets(sim, words, sizeof words);
    if (open > 0)
        pi_sim_failed("%d sockets are left open, the first is %s", open, words);
    open = pi_sim_open_files(sim, words, sizeof words);
    if (open > 0)
        pi_sim_failed("%d files are left open, the first is %s", open, words);
}

/* The scenario, then the end of every task that it left to the simulation. */
static void run_scenario(struct pi_sim *sim, struct pi_task *self, pier_task_fn scenario)
{
    self->place = sim->hosts[0];
    pi_sim_event(SIM_EV_RUN, NULL, 0, "seed %llu", (unsigned long long)sim->seed);
    keep_failure(sim, scenario(sim->opts.arg));
    sim->is_over = true;
    sim->cancel_scope = NULL;
    self->place = NULL;
    pi_sim_stop_all();
    pier_scope_cancel(&sim->scope);
    int rc = pier_scope_join(&sim->scope);
    if (rc != -ECANCELED)
        keep_failure(sim, rc);
    look_for_descriptors(sim);
}

static void tell(const struct pi_sim *sim, struct pier_sim_result *result)
{
    if (!result)
        return;
    *result = (struct pier_sim_result){
        .seed = sim->seed,
        .events = sim->events,
        .time_ns = sim->now_ns - sim->began_ns,
        .hash = sim->hash,
        .faults = sim->faults,
        .choices = sim->choices,
        .code = sim->code,
    };
    snprintf(result->failure, sizeof result->failure, "%s", sim->code < 0 ? sim->failure : "");
    memcpy(result->fault_numbers, sim->fault_numbers, sizeof result->fault_numbers);
}

static int enter(struct pi_sim *sim, struct pi_task *self, pier_task_fn scenario)
{
    pi_sim = sim;
    sim->outside = pi_sys;
    pi_sys = &simulated;
    sim->quiet++;
    pier_scope_open(&sim->scope, 0);
    int rc = 0;
    if (!pi_loop_open(&sim->scope, &pi_sim_backend, sim) || !pi_sim_add_host("main", ""))
        rc = pier_error_code();
    sim->quiet--;
    if (rc == 0)
        run_scenario(sim, self, scenario);
    else
        pier_scope_join(&sim->scope);
    pi_sys = sim->outside;
    return rc;
}

int pi_sim_run_tape(uint64_t seed, const struct pier_sim_opts *opts, pier_task_fn scenario,
                    struct sim_tape *tape)
{
    struct pi_task *self = pi_task_self();
    if (self->thread->loop || pi_sim)
        return pi_fail(-EBUSY, "simulation: this thread has a loop");
    long before = blocks_held(self);
    struct pi_sim *sim = new_sim(seed, opts);
    if (!sim)
        return pier_error_code();
    sim->tape = tape;
    int rc = enter(sim, self, scenario);
    struct pier_sim_result result;
    tell(sim, &result);
    free_sim(sim); /* its timers are pi_sim's */
    pi_sim = NULL;
    long left = blocks_held(self) - before;
    if (rc == 0 && result.code == 0 && left != 0) {
        result.code = PIER_ESIM;
        snprintf(result.failure, sizeof result.failure, "%ld memory blocks are left", left);
    }
    if (opts && opts->result)
        *opts->result = result;
    if (rc < 0)
        return rc;
    return result.code < 0 ? pi_fail_text(result.code, "%s", result.failure) : 0;
}

int pier_sim_run(uint64_t seed, const struct pier_sim_opts *opts, pier_task_fn scenario)
{
    return pi_sim_run_tape(seed, opts, scenario, NULL);
}
