/* SPDX-License-Identifier: MIT */
/*
 * sim/reduce.c - from a case that fails to a smaller one that still does.
 *
 * First whole kinds of trouble are left out, then faults (all, halves, quarters … one by one, as
 * delta debugging does); those that stay come as early as they can; then amounts are made smaller.
 * What is kept must fail in the same words, numbers apart: another failure is another case.
 * Bounded: a reduction is a service, not a search.
 */
#include "sim/sim.h"

#include <ctype.h>
#include <string.h>

enum { RUNS_MAX = 300, SECONDS_MAX = 60 }; /* real ones: a case may hang */

struct reduction {
    const struct pier_sim_result *failed;
    const struct pier_sim_opts *opts;
    pier_task_fn scenario;
    int runs;
    struct pier_sim_result last; /* that failed */
    int64_t end_ns;              /* real: no run begins after it */
};

/* Equal but for numbers. */
static bool same_words(const char *a, const char *b)
{
    for (;;) {
        while (isdigit((unsigned char)*a))
            a++;
        while (isdigit((unsigned char)*b))
            b++;
        if (*a != *b)
            return false;
        if (!*a)
            return true;
        a++;
        b++;
    }
}

static bool still_fails(struct reduction *r, const struct sim_reduced *how)
{
    char text[SIM_REDUCED_CAP];
    struct pier_sim_result result;
    struct pier_sim_opts opts = *r->opts;
    if (++r->runs > RUNS_MAX || pi_clock_ns() > r->end_ns)
        return false;
    pi_sim_reduced_format(text, sizeof text, how);
    opts.reduced = text;
    opts.trace = NULL;
    if (pi_sim_run_apart(&result, r->failed->seed, &opts, r->scenario) < 0)
        return false;
    if (result.code >= 0 || !same_words(result.failure, r->failed->failure))
        return false;
    r->last = result;
    return true;
}

static void leave_kinds_out(struct reduction *r, struct sim_reduced *how)
{
    static const unsigned kinds[] = { SIM_FAULTS, SIM_LATENCY, SIM_SPLIT, SIM_ORDER };
    for (unsigned i = 0; i < sizeof kinds / sizeof kinds[0]; i++) {
        struct sim_reduced less = *how;
        less.calm |= kinds[i];
        if (still_fails(r, &less))
            *how = less;
    }
}

static struct sim_reduced without(const struct sim_reduced *how, int from, int count)
{
    struct sim_reduced less = *how;
    memmove(less.keep + from, less.keep + from + count,
            (size_t)(less.keep_count - from - count) * sizeof less.keep[0]);
    less.keep_count -= count;
    return less;
}

/* Takes pieces out, large ones first, then smaller ones. */
static void leave_faults_out(struct reduction *r, struct sim_reduced *how)
{
    struct sim_reduced named = *how;
    int64_t faults = r->last.faults;
    if ((how->calm & SIM_FAULTS) || faults == 0 || faults > SIM_KEEP_MAX)
        return;
    named.only = true;
    named.keep_count = (int)faults;
    memcpy(named.keep, r->last.fault_numbers, sizeof named.keep);
    if (!still_fails(r, &named))
        return;
    *how = named;
    for (int piece = how->keep_count; piece > 0; piece /= 2) {
        for (int from = 0; from + piece <= how->keep_count;) {
            struct sim_reduced less = without(how, from, piece);
            if (still_fails(r, &less))
                *how = less;
            else
                from += piece;
        }
    }
}

/* A fault that comes earlier needs less to happen before it. */
static void hasten(struct reduction *r, struct sim_reduced *how, int index)
{
    const int64_t calls = ((int64_t)1 << 40) - 1;
    int64_t low = -1, high = how->keep[index] & calls; /* high fails */
    while (high - low > 1 && r->runs < RUNS_MAX) {
        struct sim_reduced less = *how;
        int64_t middle = low + (high - low) / 2;
        less.keep[index] = (how->keep[index] & ~calls) | middle;
        if (still_fails(r, &less)) {
            *how = less;
            high = middle;
        } else {
            low = middle;
        }
    }
}

static void shrink(struct reduction *r, struct sim_reduced *how)
{
    int low = -1, high = how->size; /* high fails */
    while (high - low > 1 && r->runs < RUNS_MAX) {
        struct sim_reduced less = *how;
        less.size = low + (high - low) / 2;
        if (still_fails(r, &less)) {
            *how = less;
            high = less.size;
        } else {
            low = less.size;
        }
    }
}

void pi_sim_reduce(struct sim_reduced *reduced, const struct pier_sim_result *failed,
                   const struct pier_sim_opts *opts, pier_task_fn scenario)
{
    struct reduction r = { .failed = failed,
                           .opts = opts,
                           .scenario = scenario,
                           .end_ns = pi_clock_ns() + SECONDS_MAX * PIER_SECOND };
    if (pi_sim_reduced_parse(reduced, opts->reduced) < 0 || !still_fails(&r, reduced))
        return;
    leave_kinds_out(&r, reduced);
    leave_faults_out(&r, reduced);
    for (int i = 0; i < reduced->keep_count; i++)
        hasten(&r, reduced, i);
    shrink(&r, reduced);
}
