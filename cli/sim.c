/* SPDX-License-Identifier: MIT */
/*
 * sim.c - `pier sim`: runs scenarios in the simulator, one seed with its trace or many in parallel.
 *
 * What the scenarios do is in scenarios/, what the simulator does in <pier/sim.h>.
 */
#include "scenarios/scenario.h"
#include "verb.h"

#include <inttypes.h>
#include <stdbool.h>
#include <string.h>

enum { MOST_JOBS = 256, LAST_LINES = 50, LINE_CAP = 512 };

static const struct scenario *const scenarios[] = {
    &relay_scenario,    &message_scenario, &chat_scenario, &happy_eyeballs_scenario,
    &cancel_scenario,   &stop_scenario,    &sync_scenario, &file_scenario,
    &datagram_scenario, &http_scenario,    NULL,
};

static struct {
    bool list, trace, json;
    int64_t seed, seeds, first, jobs, duration;
    const char *reduced;
} given = { .seed = -1, .first = -1 };

static const struct verb_option options[] = {
    { "list", OPTION_FLAG, &given.list, .help = "print the scenarios, a line each" },
    { "seed", OPTION_COUNT, &given.seed, .value = "N", .max = INT64_MAX,
      .help = "run this seed (default 1)" },
    { "seeds", OPTION_COUNT, &given.seeds, .value = "COUNT", .min = 1, .max = INT64_MAX,
      .help = "run so many seeds, in parallel" },
    { "for", OPTION_DURATION, &given.duration, .value = "D", .min = 1,
      .help = "begin no seed after so long; without --seeds: as many as that takes" },
    { "first", OPTION_COUNT, &given.first, .value = "N", .max = INT64_MAX,
      .help = "the first of many seeds (default 1)" },
    { "jobs", OPTION_COUNT, &given.jobs, .value = "N", .min = 1, .max = MOST_JOBS,
      .help = "processes for many seeds (default: one a processor)" },
    { "trace", OPTION_FLAG, &given.trace, .help = "print every event of the seed" },
    { "reduced", OPTION_TEXT, &given.reduced, .value = "TEXT",
      .help = "leave out of the seed what a report says" },
    { "json", OPTION_FLAG, &given.json, .help = "print the list, or the last line, as JSON" },
    { 0 },
};

static const struct verb_example examples[] = {
    { "pier sim --list", "which scenarios there are" },
    { "pier sim relay --seed 7 --trace", "one run, event by event" },
    { "pier sim relay --seeds 1000", "a thousand runs, on all processors" },
    { "pier sim chat --for 1m --first 100000 --json", "a minute of runs that are not the usual" },
    { 0 },
};

/* ---- JSON ---- */

static void json_begin(struct pier_json *w, char buf[256])
{
    pier_json_init(w, buf, 256, output_json, NULL);
}

static void json_text(struct pier_json *w, const char *key, const char *value)
{
    pier_json_key(w, key);
    pier_json_str(w, value);
}

static void json_number(struct pier_json *w, const char *key, int64_t value)
{
    pier_json_key(w, key);
    pier_json_int(w, value);
}

static void json_finish(struct pier_json *w)
{
    pier_json_close(w);
    pier_json_raw(w, "\n", 1);
    pier_json_end(w);
}

/* ---- the list ---- */

static void print_list(FILE *out)
{
    for (const struct scenario *const *s = scenarios; *s != NULL; s++)
        fprintf(out, "%-15s %s\n", (*s)->name, (*s)->summary);
}

static int list_as_json(void)
{
    struct pier_json w;
    char buf[256];
    json_begin(&w, buf);
    pier_json_array(&w);
    for (const struct scenario *const *s = scenarios; *s != NULL; s++) {
        pier_json_object(&w);
        json_text(&w, "name", (*s)->name);
        json_text(&w, "summary", (*s)->summary);
        pier_json_close(&w);
    }
    json_finish(&w);
    return output_finish();
}

static int list(void)
{
    if (given.json)
        return list_as_json();
    print_list(stdout);
    return output_finish();
}

static const struct scenario *find(const char *name)
{
    struct suggestion near = { .typed = name };
    for (const struct scenario *const *s = scenarios; *s != NULL; s++) {
        if (strcmp((*s)->name, name) == 0)
            return *s;
        suggestion_offer(&near, (*s)->name);
    }
    usage_error(&verb_sim, "there is no scenario '%s'%s", name, suggestion_text(&near, ""));
    return NULL;
}

/* ---- one seed ---- */

/* Reads the trace from its beginning and prints the lines from first to last - 1 on standard error.
 * Returns how many there are up to the first that tells of a failure, or in all. */
static long read_trace(FILE *trace, long first, long last)
{
    char line[LINE_CAP];
    long lines = 0;
    bool failed = false;
    rewind(trace);
    while (!failed && fgets(line, sizeof line, trace) != NULL) {
        if (lines >= first && lines < last)
            fprintf(stderr, "  %s", line);
        lines += strchr(line, '\n') != NULL;
        failed = strstr(line, " FAILED: ") != NULL;
    }
    return lines;
}

/* What led to the failure. */
static void print_end(FILE *trace)
{
    long lines = read_trace(trace, 0, 0);
    long first = lines > LAST_LINES ? lines - LAST_LINES : 0;
    if (first > 0)
        fprintf(stderr, "  … %ld lines before\n", first);
    read_trace(trace, first, lines);
}

/* Where the events go: standard output, or a file whose end is shown when the seed fails. */
static FILE *open_trace(void)
{
    if (!given.trace)
        return tmpfile();
    setvbuf(stdout, NULL, _IOLBF, 0); /* should the run crash, what came before is there */
    return stdout;
}

static void print_failure(const struct scenario *s, const struct pier_sim_result *result,
                          FILE *trace)
{
    bool reduced = given.reduced != NULL;
    fprintf(stderr, "pier: %s\n", result->failure);
    if (trace != NULL && trace != stdout)
        print_end(trace);
    fprintf(stderr, "pier sim %s --seed %" PRIu64 "%s%s\n", s->name, result->seed,
            reduced ? " --reduced " : "", reduced ? given.reduced : "");
}

static void print_result(const struct pier_sim_result *result)
{
    printf("seed %" PRIu64 ": %" PRId64 " events, %" PRId64 ".%06" PRId64 " s, hash %016" PRIx64
           "\n",
           result->seed, result->events, result->time_ns / PIER_SECOND,
           result->time_ns % PIER_SECOND / 1000, result->hash);
}

static void json_result(const struct scenario *s, const struct pier_sim_result *result)
{
    struct pier_json w;
    char buf[256], hash[20];
    snprintf(hash, sizeof hash, "%016" PRIx64, result->hash);
    json_begin(&w, buf);
    pier_json_object(&w);
    json_text(&w, "scenario", s->name);
    json_number(&w, "seed", (int64_t)result->seed);
    json_number(&w, "events", result->events);
    json_number(&w, "time_ns", result->time_ns);
    json_text(&w, "hash", hash);
    json_number(&w, "faults", result->faults);
    json_number(&w, "choices", result->choices);
    json_text(&w, "failure", result->code < 0 ? result->failure : NULL);
    json_finish(&w);
}

static int run_seed(const struct scenario *s)
{
    uint64_t seed = given.seed < 0 ? 1 : (uint64_t)given.seed;
    struct pier_sim_result result = { .seed = seed };
    struct pier_sim_opts opts = s->opts;
    FILE *trace = open_trace();
    opts.trace = trace;
    opts.reduced = given.reduced;
    opts.result = &result;
    int rc = pier_sim_run(seed, &opts, s->run);
    if (rc < 0 && result.code == 0) { /* it has not begun */
        if (rc == -EINVAL)
            return usage_error(&verb_sim, "--%s", pier_error());
        return pier_fail("pier");
    }
    if (result.code < 0)
        print_failure(s, &result, trace);
    if (trace != NULL && trace != stdout)
        fclose(trace);
    if (given.json)
        json_result(s, &result);
    else
        print_result(&result);
    int written = output_finish();
    return result.code < 0 ? EXIT_FAILED : written;
}

/* ---- many seeds ---- */

static void json_summary(const struct scenario *s, int64_t run, int failures, int64_t rate)
{
    struct pier_json w;
    char buf[256];
    json_begin(&w, buf);
    pier_json_object(&w);
    json_text(&w, "scenario", s->name);
    json_number(&w, "first", given.first);
    json_number(&w, "seeds", run);
    json_number(&w, "failures", failures);
    json_number(&w, "seeds_per_second", rate);
    json_finish(&w);
}

static int run_seeds(const struct scenario *s)
{
    char replay[64];
    int64_t run = 0;
    struct pier_sim_opts opts = s->opts;
    snprintf(replay, sizeof replay, "pier sim %s", s->name);
    opts.replay = replay;
    opts.jobs = (int)given.jobs;
    opts.duration_ns = given.duration;
    opts.seeds_run = &run;
    if (given.first < 0)
        given.first = 1;
    int64_t began = pier_now();
    int failures = pier_sim_sweep(
        (uint64_t)given.first, given.seeds > 0 ? (uint64_t)given.seeds : INT64_MAX, &opts, s->run);
    int64_t took_us = (pier_now() - began) / PIER_MICROSECOND + 1;
    if (failures < 0)
        return pier_fail("pier");
    int64_t rate = (int64_t)((double)run * 1e6 / (double)took_us);
    if (given.json)
        json_summary(s, run, failures, rate);
    else
        printf("%" PRId64 " seeds, %d failures, %" PRId64 " seeds/s\n", run, failures, rate);
    int written = output_finish();
    return failures > 0 ? EXIT_FAILED : written;
}

/* ---- the verb ---- */

static int check_options(bool has_name)
{
    bool many = given.seeds > 0 || given.duration > 0;
    if (given.list && (has_name || many || given.seed >= 0))
        return usage_error(&verb_sim, "--list stands alone");
    if (many && given.seed >= 0)
        return usage_error(&verb_sim, "--seed is one, --seeds and --for are many");
    if (many && given.trace)
        return usage_error(&verb_sim, "--trace is for one seed");
    if (many && given.reduced != NULL)
        return usage_error(&verb_sim, "--reduced is for one seed");
    if (!many && (given.first >= 0 || given.jobs > 0))
        return usage_error(&verb_sim, "%s needs --seeds or --for",
                           given.first >= 0 ? "--first" : "--jobs");
    return 0;
}

static int run_sim(int count, char **operands)
{
    int code = check_options(count > 0);
    if (code != 0)
        return code;
    if (given.list)
        return list();
    if (count == 0) {
        code = usage_error(&verb_sim, "which scenario? pier sim NAME");
        print_list(stderr);
        return code;
    }
    const struct scenario *scenario = find(operands[0]);
    if (scenario == NULL)
        return EXIT_USAGE;
    return given.seeds > 0 || given.duration > 0 ? run_seeds(scenario) : run_seed(scenario);
}

const struct verb verb_sim = {
    .name = "sim",
    .summary = "run servers and clients in a simulated network that misbehaves",
    .operands = "[NAME]",
    .max_operands = 1,
    .details = "Runs the scenario NAME in virtual time, in a network whose delays, losses, cuts "
               "and failures a seed decides; the same seed does the same again, event for event.",
    .options = options,
    .examples = examples,
    .run = run_sim,
};
