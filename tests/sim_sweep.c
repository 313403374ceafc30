/* SPDX-License-Identifier: MIT */
/*
 * sim_sweep: many seeds in processes: what is counted, what is reported, and the smaller case that
 * a failure is reduced to. Also pier_sim_explore(), which needs no seeds.
 */
#include "child.h"
#include "sim_scene.h"

#include <unistd.h>

struct report {
    char *text;
    int failed;
    int64_t seeds_run;
};

/* To be ended with report_free(). */
static struct report sweep_from(uint64_t first, uint64_t count, struct pier_sim_opts opts,
                                pier_task_fn scenario)
{
    struct report r = { .seeds_run = -1 };
    size_t len;
    opts.report = open_memstream(&r.text, &len);
    opts.seeds_run = &r.seeds_run;
    opts.replay = opts.replay ? opts.replay : "build/prog";
    r.failed = pier_sim_sweep(first, count, &opts, scenario);
    fclose(opts.report);
    return r;
}

static struct report sweep(uint64_t count, struct pier_sim_opts opts, pier_task_fn scenario)
{
    return sweep_from(1, count, opts, scenario);
}

static void report_free(struct report *r)
{
    free(r->text);
}

static void expect_said(const struct report *r, const char *words)
{
    if (!strstr(r->text, words))
        ck_abort_msg("\"%s\" is not in:\n%s", words, r->text);
}

/* ---- counting ---- */

static int is_fine(void *arg)
{
    return pier_sleep(PIER_SECOND);
}

static int fails_now_and_then(void *arg)
{
    pier_sim_note("about to draw");
    return PIER_SIM_CHECK(pier_sim_between(1, 10) != 7) ? 0 : pier_error_code();
}

TEST(a_sweep_without_failures_says_nothing)
{
    struct report r = sweep(500, (struct pier_sim_opts){ 0 }, is_fine);
    ck_assert_int_eq(r.failed, 0);
    ck_assert_int_eq(r.seeds_run, 500);
    ck_assert_str_eq(r.text, "");
    report_free(&r);
}

TEST(every_seed_is_run_once_whatever_the_number_of_jobs)
{
    static const int jobs[] = { 0, 1, 3, 1000 };
    int failures = 0;
    for (uint64_t seed = 1; seed <= 300; seed++)
        failures += pier_sim_run(seed, NULL, fails_now_and_then) == PIER_ESIM;
    ck_assert_int_gt(failures, 10);
    for (int i = 0; i < 4; i++) {
        struct pier_sim_opts opts = { .jobs = jobs[i] };
        struct report r = sweep(300, opts, fails_now_and_then);
        ck_assert_int_eq(r.failed, failures);
        ck_assert_int_eq(r.seeds_run, 300);
        report_free(&r);
    }
}

TEST(no_seeds_are_no_failures)
{
    struct report r = sweep(0, (struct pier_sim_opts){ 0 }, fails_now_and_then);
    ck_assert_int_eq(r.failed, 0);
    ck_assert_int_eq(r.seeds_run, 0);
    report_free(&r);
}

TEST(a_sweep_ends_after_its_duration)
{
    struct pier_sim_opts opts = { .duration_ns = 200 * PIER_MILLISECOND };
    int64_t before = pier_now();
    struct report r = sweep(1000 * 1000 * 1000, opts, is_fine);
    ck_assert_int_eq(r.failed, 0);
    ck_assert_int_gt(r.seeds_run, 10);
    ck_assert_int_lt(r.seeds_run, 1000 * 1000 * 1000);
    ck_assert_int_lt(pier_now() - before, 10 * PIER_SECOND);
    report_free(&r);
}

/* ---- reporting ---- */

static uint64_t first_failure(pier_task_fn scenario, const struct pier_sim_opts *opts)
{
    for (uint64_t seed = 1;; seed++)
        if (pier_sim_run(seed, opts, scenario) < 0)
            return seed;
}

TEST(a_failure_is_reported_with_the_line_that_replays_it)
{
    char line[200];
    uint64_t seed = first_failure(fails_now_and_then, NULL);
    snprintf(line, sizeof line, "build/prog --seed %" PRIu64 "    # ", seed);
    struct report r = sweep(seed, (struct pier_sim_opts){ 0 }, fails_now_and_then);
    ck_assert_int_eq(r.failed, 1);
    expect_said(&r, line);
    expect_said(&r, "pier_sim_between(1, 10) != 7");
    expect_said(&r, "reduced: build/prog --seed ");
    expect_said(&r, "  main       note      about to draw\n"); /* its trace */
    expect_said(&r, "  main       check     FAILED: ");
    report_free(&r);
}

TEST(the_first_ten_failures_are_reported)
{
    struct report r = sweep(300, (struct pier_sim_opts){ 0 }, fails_now_and_then);
    char more[40];
    int lines = 0;
    for (const char *at = r.text; (at = strstr(at, "    # ")) != NULL; at++)
        lines++;
    ck_assert_int_eq(lines, 10);
    snprintf(more, sizeof more, "\nand %d more\n", r.failed - 10);
    expect_said(&r, more);
    report_free(&r);
}

static int fails_by_itself(void *arg)
{
    return pier_sim_between(1, 5) == 3 ? pier_error_set(-EDOM, "the sum") : 0;
}

TEST(the_scenarios_own_failures_count)
{
    struct report r = sweep(50, (struct pier_sim_opts){ 0 }, fails_by_itself);
    ck_assert_int_gt(r.failed, 1);
    expect_said(&r, "# the sum: numerical argument out of domain\n");
    report_free(&r);
}

/* ---- processes that end ---- */

static int crashes(void *arg)
{
    setrlimit(RLIMIT_CORE, &(struct rlimit){ 0, 0 });
    pier_sim_note("not long now");
    if (pier_sim_between(1, 10) == 7)
        abort();
    return 0;
}

static int exits(void *arg)
{
    if (pier_sim_between(1, 10) == 7)
        _exit(3);
    return 0;
}

TEST(a_crash_is_one_more_failure)
{
    for (int jobs = 1; jobs <= 3; jobs += 2) {
        struct report r = sweep(100, (struct pier_sim_opts){ .jobs = jobs }, crashes);
        ck_assert_int_gt(r.failed, 1);
        ck_assert_int_lt(r.failed, 40);
        ck_assert_int_eq(r.seeds_run, 100);
        expect_said(&r, "# crashed: Aborted\n");
        expect_said(&r, "not long now"); /* what the trace had come to */
        report_free(&r);
        r = sweep(100, (struct pier_sim_opts){ .jobs = jobs }, exits);
        ck_assert_int_gt(r.failed, 1);
        ck_assert_int_eq(r.seeds_run, 100);
        expect_said(&r, "# the process ended with exit code 3\n");
        report_free(&r);
    }
}

static int fails_or_exits(void *arg)
{
    int64_t draw = pier_sim_between(1, 10);
    if (draw == 7)
        _exit(3);
    return draw < 4 ? pier_sim_fail("drawn") : 0;
}

TEST(failures_are_reported_in_the_order_of_their_seeds)
{
    uint64_t before = 0, seed;
    struct report r = sweep(40, (struct pier_sim_opts){ .jobs = 2 }, fails_or_exits);
    const char *at = r.text;
    for (; sscanf(at, "build/prog --seed %" SCNu64, &seed) == 1; at = strchr(at, '\n') + 1) {
        ck_assert_uint_gt(seed, before);
        before = seed;
    }
    ck_assert_uint_gt(before, 0);
    expect_said(&r, "exit code 3\n");
    expect_said(&r, "# drawn\n");
    report_free(&r);
}

static int remembers(void *arg)
{
    static int runs;
    for (int i = 0; i < runs; i++)
        pier_sim_note("once more");
    runs++;
    return 0;
}

TEST(a_scenario_that_does_not_repeat_itself_is_found)
{
    struct report r = sweep(1, (struct pier_sim_opts){ 0 }, remembers);
    ck_assert_int_eq(r.failed, 1);
    expect_said(&r, "# not the same twice: hash ");
    report_free(&r);
}

static int leaks(void *arg)
{
    return pier_server_new(NULL) ? 0 : pier_error_code();
}

TEST(a_leak_is_found_in_every_seed)
{
    test_not_on_valgrind("it would find the leak, too");
    struct report r = sweep(20, (struct pier_sim_opts){ 0 }, leaks);
    ck_assert_int_eq(r.failed, 20);
    expect_said(&r, "# 1 memory blocks are left\n");
    report_free(&r);
}

/* ---- reduction ---- */

/* Fails when a name is not found in the tenth look-up or later: it takes one fault, and an amount
 * of ten. */
static int planted(void *arg)
{
    scene_open();
    int64_t count = pier_sim_amount(1, 100);
    for (int64_t i = 1; i <= count; i++) {
        pier_close(pier_dial("tcp://server:80", NULL));
        if (i >= 10 && strstr(pier_error(), "temporary failure"))
            return pier_sim_fail("look-up %d was in vain", (int)i);
    }
    return 0;
}

static const struct pier_sim_opts planted_opts = {
    .faults = { .resolve = 50000, .interrupt = 30000, .refuse = 10000 },
    .link = { .loss_ppm = 1000 },
};

/* What the report says behind "--reduced ". */
static void reduced_of(char out[1024], const struct report *r)
{
    const char *at = strstr(r->text, "reduced: build/prog --seed ");
    if (!at || !(at = strstr(at, " --reduced ")))
        ck_abort_msg("no reduction:\n%s", r->text);
    at += strlen(" --reduced ");
    size_t len = strcspn(at, "\n");
    ck_assert_uint_lt(len, 1024);
    memcpy(out, at, len);
    out[len] = '\0';
}

TEST(a_failure_is_reduced_to_what_it_takes)
{
    char reduced[1024];
    uint64_t seed = first_failure(planted, &planted_opts);
    struct pier_sim_result whole, less;
    struct pier_sim_opts opts = planted_opts;
    struct report r = sweep(seed, planted_opts, planted);
    ck_assert_int_eq(r.failed, 1);
    reduced_of(reduced, &r);
    opts.result = &whole;
    ck_assert_int_eq(pier_sim_run(seed, &opts, planted), PIER_ESIM);
    opts.result = &less;
    opts.reduced = reduced;
    ck_assert_int_eq(pier_sim_run(seed, &opts, planted), PIER_ESIM); /* it replays */
    scene_expect_words("was in vain");
    ck_assert_ptr_nonnull(strstr(reduced, "calm=order+split+latency,faults="));
    ck_assert_ptr_nonnull(strstr(reduced, ",size="));
    ck_assert_int_ge(less.faults, 1);
    ck_assert_int_lt(less.faults, whole.faults);
    report_free(&r);
}

static int needs_nothing(void *arg)
{
    scene_open();
    pier_sim_amount(1, 100);
    pier_close(pier_dial("tcp://server:80", NULL));
    return pier_sim_fail("always");
}

TEST(what_always_fails_is_reduced_to_calm)
{
    char reduced[1024];
    struct report r = sweep(1, planted_opts, needs_nothing);
    reduced_of(reduced, &r);
    ck_assert_str_eq(reduced, "calm=order+split+latency+faults,size=0");
    report_free(&r);
}

static int fails_in_two_ways(void *arg)
{
    int64_t amount = pier_sim_amount(1, 100);
    return pier_sim_fail(amount >= 10 ? "%d are many" : "%d are few", (int)amount);
}

TEST(a_reduction_keeps_to_one_failure)
{
    char reduced[1024];
    int size = 100;
    uint64_t seed = 1;
    while (pier_sim_run(seed, NULL, fails_in_two_ways) == PIER_ESIM && strstr(pier_error(), "few"))
        seed++;
    struct report r = sweep_from(seed, 1, (struct pier_sim_opts){ 0 }, fails_in_two_ways);
    ck_assert_int_eq(r.failed, 1);
    reduced_of(reduced, &r);
    ck_assert_int_eq(sscanf(reduced, "calm=order+split+latency+faults,size=%d", &size), 1);
    struct pier_sim_opts opts = { .reduced = reduced };
    ck_assert_int_eq(pier_sim_run(seed, &opts, fails_in_two_ways), PIER_ESIM);
    scene_expect_words("many");
    ck_assert_int_lt(size, 100);
    report_free(&r);
}

static int crashes_by_a_fault(void *arg)
{
    setrlimit(RLIMIT_CORE, &(struct rlimit){ 0, 0 });
    scene_open();
    for (int i = 0; i < 20; i++) {
        pier_close(pier_dial("tcp://server:80", NULL));
        if (strstr(pier_error(), "temporary failure"))
            abort();
    }
    return 0;
}

TEST(a_crash_is_reduced_too)
{
    char reduced[1024];
    struct report r = sweep(30, planted_opts, crashes_by_a_fault);
    ck_assert_int_gt(r.failed, 0);
    expect_said(&r, "# crashed: Aborted\n");
    reduced_of(reduced, &r);
    ck_assert_ptr_null(strstr(reduced, "calm=order+split+latency+faults"));
    expect_said(&r, "no name server (fault ");
    report_free(&r);
}

/* ---- every order ---- */

enum { TASKS_MAX = 5 };

static int orders[200], order_count, order_now;

static int take_turn(void *arg)
{
    order_now = 10 * order_now + *(int *)arg;
    return 0;
}

static int takes_turns(void *arg)
{
    static int numbers[TASKS_MAX];
    struct pier_scope scope;
    order_now = 0;
    pier_scope_open(&scope, 0);
    for (int i = 0; i < *(int *)arg; i++) {
        numbers[i] = i + 1;
        pier_spawn(&scope, take_turn, &numbers[i]);
    }
    int rc = pier_scope_join(&scope);
    orders[order_count++] = order_now;
    return rc;
}

static int by_number(const void *a, const void *b)
{
    return *(const int *)a - *(const int *)b;
}

TEST(exploring_takes_every_order_once)
{
    int faculty = 1;
    for (int tasks = 1; tasks <= TASKS_MAX; tasks++) {
        struct pier_sim_opts opts = { .arg = &tasks };
        faculty *= tasks;
        order_count = 0;
        ck_assert_int_eq(pier_sim_explore(1000, &opts, takes_turns), faculty);
        ck_assert_int_eq(order_count, faculty);
        qsort(orders, (size_t)order_count, sizeof orders[0], by_number);
        for (int i = 1; i < order_count; i++)
            ck_assert_int_ne(orders[i - 1], orders[i]);
    }
    order_count = 0;
    int tasks = TASKS_MAX;
    struct pier_sim_opts opts = { .arg = &tasks };
    ck_assert_int_eq(pier_sim_explore(7, &opts, takes_turns), 7);
    ck_assert_int_eq(order_count, 7);
}

static int shared;

static int add_one(void *arg)
{
    int before = shared;
    pier_yield();
    shared = before + 1; /* another task may have been here */
    return 0;
}

static int adds_up(void *arg)
{
    struct pier_scope scope;
    shared = 0;
    pier_scope_open(&scope, 0);
    pier_spawn(&scope, add_one, NULL);
    pier_spawn(&scope, add_one, NULL);
    pier_scope_join(&scope);
    return PIER_SIM_CHECK(shared == 2) ? 0 : pier_error_code();
}

static int fails_in_one_order(void *arg)
{
    int n = 3;
    struct pier_sim_opts *opts = arg;
    opts->arg = &n;
    takes_turns(&n);
    order_count = 0;
    return PIER_SIM_CHECK(order_now != 321) ? 0 : pier_error_code();
}

TEST(exploring_finds_the_one_order_that_fails)
{
    struct pier_sim_opts opts = { 0 };
    ck_assert_int_eq(pier_sim_explore(1000, NULL, adds_up), PIER_ESIM);
    scene_expect_words("shared == 2");
    opts.arg = &opts;
    ck_assert_int_eq(pier_sim_explore(1000, &opts, fails_in_one_order), PIER_ESIM);
    scene_expect_words("in the order ");
    scene_expect_words("order_now != 321");
}

HARNESS_MAIN("sim_sweep")
