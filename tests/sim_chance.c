/* SPDX-License-Identifier: MIT */
/*
 * sim_chance: faults of every kind, drawn and asked for, and the text that leaves some of them out.
 */
#include "sim_scene.h"

#include "sim/sim.h"

/* ---- clients that live with faults ---- */

enum { REQUESTS = 200, CODES = 200 };

static int times[CODES]; /* by errno */
static int answers;

static void count_code(int code)
{
    int number = code <= PIER_EURL ? PIER_EURL - code : -code;
    ck_assert(number > 0 && number < CODES);
    times[number]++;
}

static void ask_once(void)
{
    char got[8];
    struct pier_dial_opts hasty = { .connect_timeout_ms = 2000, .read_timeout_ms = 2000 };
    struct pier_conn *c = pier_dial("tcp://server:80", &hasty);
    int rc = c ? (int)pier_puts(c, "hello") : pier_error_code();
    if (rc > 0)
        rc = (int)pier_read_exact(c, got, 5);
    if (rc == 5)
        answers++;
    else if (rc < 0)
        count_code(rc);
    pier_close(c);
    pier_sleep(10 * PIER_MILLISECOND);
}

static int serve_in_spite(void *arg)
{
    while (service_main(arg) < 0 && pier_sleep(PIER_SECOND) == 0)
        ;
    return 0;
}

static int lives_with_faults(void *arg)
{
    static struct service echo = { .url = "tcp://server:80", .handler = scene_echo };
    scene_open();
    while (pier_sim_start(scene.server, serve_in_spite, &echo) < 0)
        pier_sleep(PIER_SECOND);
    pier_sleep(10 * PIER_SECOND);
    for (int i = 0; i < REQUESTS; i++)
        ask_once();
    pier_sim_stop(scene.server);
    return pier_sim_join(scene.server);
}

/* Counts what came of each request, over a few seeds. */
static int64_t live_with(struct pier_sim_faults faults)
{
    int64_t happened = 0;
    memset(times, 0, sizeof times);
    answers = 0;
    for (uint64_t seed = 1; seed <= 5; seed++) {
        struct pier_sim_result result;
        struct pier_sim_opts opts = { .faults = faults, .result = &result };
        scene_seed(seed, &opts, lives_with_faults);
        happened += result.faults;
    }
    return happened;
}

enum { PPM = 30000 };

static void expect_codes(struct pier_sim_faults faults, const int *codes, int count)
{
    ck_assert_int_gt(live_with(faults), 10);
    ck_assert_int_gt(answers, REQUESTS);
    for (int i = 0; i < count; i++)
        ck_assert_msg(times[codes[i]] > 0, "never %s", pier_strerror(-codes[i]));
}

TEST(without_faults_every_request_is_answered)
{
    ck_assert_int_eq(live_with((struct pier_sim_faults){ 0 }), 0);
    ck_assert_int_eq(answers, 5 * REQUESTS);
}

TEST(descriptors_run_out)
{
    expect_codes((struct pier_sim_faults){ .descriptors = 5 * PPM }, (int[]){ EMFILE }, 1);
}

TEST(memory_runs_out)
{
    expect_codes((struct pier_sim_faults){ .memory = PPM }, (int[]){ ENOMEM }, 1);
}

TEST(connects_are_refused_in_several_ways)
{
    expect_codes((struct pier_sim_faults){ .refuse = 5 * PPM },
                 (int[]){ ECONNREFUSED, EHOSTUNREACH, ENETUNREACH }, 3);
}

TEST(connections_are_reset)
{
    expect_codes((struct pier_sim_faults){ .reset = PPM }, (int[]){ ECONNRESET }, 1);
}

TEST(pipes_break)
{
    expect_codes((struct pier_sim_faults){ .broken_pipe = PPM }, (int[]){ EPIPE, ECONNRESET }, 2);
}

TEST(connections_die_without_a_word)
{
    expect_codes((struct pier_sim_faults){ .timeout = PPM }, (int[]){ ETIMEDOUT }, 1);
}

TEST(names_are_not_found_for_now)
{
    expect_codes((struct pier_sim_faults){ .resolve = PPM }, (int[]){ PIER_EURL - PIER_ERESOLVE },
                 1);
}

TEST(interruptions_are_not_seen)
{
    ck_assert_int_gt(live_with((struct pier_sim_faults){ .interrupt = 10 * PPM }), 100);
    ck_assert_int_eq(answers, 5 * REQUESTS);
}

TEST(all_kinds_of_faults_go_together)
{
    live_with((struct pier_sim_faults){ PPM, PPM, PPM, PPM, PPM, PPM, PPM, PPM, PPM, PPM });
    ck_assert_int_gt(answers, 0);
}

static int has_bad_times(void *arg)
{
    scene_open();
    for (int i = 0; i < 4; i++) {
        struct pier_sim_faults all = { .resolve = 1000000 }, none = { 0 };
        ck_assert_int_eq(pier_sim_set_faults(i % 2 ? &all : &none), 0);
        pier_close(pier_dial("tcp://server:80", NULL));
        ck_assert_int_eq(pier_error_code(), i % 2 ? PIER_ERESOLVE : -ECONNREFUSED);
    }
    return 0;
}

TEST(rates_are_set_at_any_time)
{
    scene_passes(has_bad_times);
    ck_assert_int_eq(pier_sim_set_faults(&(struct pier_sim_faults){ 0 }), -EINVAL);
}

/* ---- faults that are asked for ---- */

static int fails_next(void *arg)
{
    struct meeting m;
    char byte;
    scene_open();
    pier_sim_fail_next(scene.client, PIER_SIM_DESCRIPTORS, 2);
    for (int i = 0; i < 2; i++) {
        ck_assert_ptr_null(pier_dial("tcp://10.0.0.1:80", NULL));
        ck_assert_int_eq(pier_error_code(), -EMFILE);
    }
    pier_sim_fail_next(scene.client, PIER_SIM_MEMORY, 1);
    ck_assert_ptr_null(pier_dial("tcp://10.0.0.1:80", NULL));
    ck_assert_int_eq(pier_error_code(), -ENOMEM);
    scene_meet(&m, "tcp://server:80");
    pier_sim_fail_next(scene.client, PIER_SIM_REFUSE, 1);
    ck_assert_ptr_null(pier_dial("tcp://10.0.0.1:80", NULL));
    int code = pier_error_code();
    ck_assert(code == -ECONNREFUSED || code == -EHOSTUNREACH || code == -ENETUNREACH);
    pier_sim_fail_next(scene.client, PIER_SIM_INTERRUPT, 3);
    pier_set_timeouts(m.here, 1000, 0);
    ck_assert_int_eq(pier_read(m.here, &byte, 1), -ETIMEDOUT);
    pier_sim_fail_next(scene.client, PIER_SIM_RESET, 1);
    ck_assert_int_eq(pier_read(m.here, &byte, 1), -ECONNRESET);
    ck_assert_int_eq(pier_read(m.there, &byte, 1), -ECONNRESET);
    scene_part(&m);
    return 0;
}

TEST(the_next_call_fails_as_asked)
{
    scene_passes(fails_next);
}

static int breaks_a_pipe(void *arg)
{
    struct meeting m;
    char byte;
    scene_open();
    scene_meet(&m, "tcp://server:80");
    pier_sim_fail_next(scene.client, PIER_SIM_BROKEN_PIPE, 1);
    ck_assert_int_eq(pier_puts(m.here, "hello?"), -EPIPE);
    ck_assert_int_eq(pier_read(m.there, &byte, 1), -ECONNRESET);
    scene_part(&m);
    return 0;
}

static int lets_one_die(void *arg)
{
    struct meeting m;
    char byte;
    scene_open();
    scene_meet(&m, "tcp://server:80");
    pier_sim_fail_next(scene.client, PIER_SIM_TIMEOUT, 1);
    ck_assert_int_eq(pier_read(m.here, &byte, 1), -ETIMEDOUT);
    pier_set_timeouts(m.there, 1000, 0);
    ck_assert_int_eq(pier_read(m.there, &byte, 1), -ETIMEDOUT); /* its own: it heard nothing */
    ck_assert_int_eq(pier_puts(m.there, "anybody?"), 8);
    ck_assert_int_eq(pier_read(m.there, &byte, 1), -ECONNRESET);
    scene_part(&m);
    return 0;
}

TEST(a_broken_connection_is_the_peers_too)
{
    scene_passes(breaks_a_pipe);
    scene_passes(lets_one_die);
}

static int accepts_later(void *arg)
{
    struct meeting m;
    scene_open();
    pier_sim_fail_next(scene.server, PIER_SIM_DESCRIPTORS, 0);
    scene_meet(&m, "tcp://server:80");
    pier_sim_fail_next(scene.server, PIER_SIM_DESCRIPTORS, 1);
    struct pier_conn *c = pier_dial("tcp://10.0.0.1:80", NULL);
    ck_assert_ptr_nonnull(c);
    int64_t before = pier_now();
    char byte;
    ck_assert_int_eq(pier_read(c, &byte, 1), 0); /* served after all: a second one is sent away */
    ck_assert_int_ge(pier_now() - before, 90 * PIER_MILLISECOND);
    pier_close(c);
    scene_part(&m);
    return 0;
}

TEST(an_accept_that_fails_is_made_again)
{
    scene_calm(accepts_later);
}

static int asks_twice(void *arg)
{
    scene_open();
    pier_sim_fail_next(scene.client, PIER_SIM_RESOLVE, 1);
    pier_close(pier_dial("tcp://server:80", NULL));
    return 0;
}

TEST(the_trace_tells_who_asked_for_a_fault)
{
    char *trace = scene_trace(1, NULL, asks_twice);
    ck_assert_ptr_nonnull(strstr(trace, "client     fault     no name server (asked for)\n"));
    free(trace);
}

/* ---- leaving faults out ---- */

static struct pier_sim_result faulty;

static int64_t faults_with(const char *reduced)
{
    struct pier_sim_opts opts = { .faults = { .reset = 10 * PPM }, .result = &faulty };
    opts.reduced = reduced;
    scene_seed(1, &opts, lives_with_faults);
    return faulty.faults;
}

/* What the last run had, from one to another of its faults, and no more of them now. */
static int64_t faults_with_those(int first, int count)
{
    char text[1024];
    struct sim_reduced r = { .size = 100, .only = true, .keep_count = count };
    memcpy(r.keep, faulty.fault_numbers + first, (size_t)count * sizeof r.keep[0]);
    pi_sim_reduced_format(text, sizeof text, &r);
    return faults_with(text);
}

TEST(faults_are_numbered_and_left_out_by_number)
{
    ck_assert_int_gt(faults_with(NULL), 10);
    ck_assert_int_gt(faults_with("calm=split"), 10);
    ck_assert_int_eq(faults_with("faults=none"), 0);
    ck_assert_int_eq(faults_with("calm=faults"), 0);
    ck_assert_int_eq(faults_with("faults=1.3.1000000"), 0);
    ck_assert_int_gt(faults_with(NULL), 10);
    ck_assert_int_eq(faults_with_those(0, 1), 1);
    int64_t number = faulty.fault_numbers[0];
    ck_assert_int_gt(faults_with(NULL), 10);
    ck_assert_int_eq(faulty.fault_numbers[0], number); /* it kept its number */
    ck_assert_int_le(faults_with_those(1, 3), 3);
}

/* ---- the text of a reduction ---- */

static void expect_same(const char *text)
{
    struct sim_reduced r;
    char out[1024];
    ck_assert_int_eq(pi_sim_reduced_parse(&r, text), 0);
    pi_sim_reduced_format(out, sizeof out, &r);
    ck_assert_str_eq(out, text);
}

TEST(a_reduction_is_text_and_back)
{
    static const char *const texts[] = { "",
                                         "calm=order",
                                         "calm=order+split+latency+faults",
                                         "faults=none",
                                         "faults=1.3.0",
                                         "faults=0.7.3+63.9.17+1.0.1099511627775",
                                         "size=0",
                                         "size=25",
                                         "calm=split,size=99",
                                         "calm=order+latency,faults=2.1.3+2.3.17,size=25",
                                         "faults=none,size=1" };
    for (size_t i = 0; i < sizeof texts / sizeof texts[0]; i++)
        expect_same(texts[i]);
    struct sim_reduced r;
    ck_assert_int_eq(pi_sim_reduced_parse(&r, NULL), 0);
    ck_assert_int_eq(r.size, 100);
    ck_assert(!r.only);
    ck_assert_uint_eq(r.calm, 0);
    ck_assert_int_eq(pi_sim_reduced_parse(&r, "size=5,calm=faults,size=100"), 0);
    ck_assert_int_eq(r.size, 100);
}

TEST(the_longest_reduction_has_room)
{
    struct sim_reduced r = { .calm = 15, .size = 50, .only = true, .keep_count = SIM_KEEP_MAX };
    struct sim_reduced again;
    char text[SIM_REDUCED_CAP];
    for (int i = 0; i < SIM_KEEP_MAX; i++)
        r.keep[i] = (int64_t)60 << 48 | (int64_t)9 << 40 | (1000000000 + i);
    pi_sim_reduced_format(text, sizeof text, &r);
    ck_assert_int_eq(pi_sim_reduced_parse(&again, text), 0);
    ck_assert_int_eq(again.keep_count, SIM_KEEP_MAX);
    ck_assert_int_eq(again.keep[SIM_KEEP_MAX - 1], r.keep[SIM_KEEP_MAX - 1]);
}

static int nothing(void *arg)
{
    return 0;
}

TEST(a_reduction_that_is_not_understood_is_an_error)
{
    static const char *const texts[] = { "calm",
                                         "calm=",
                                         "calm=ordr",
                                         "calm=order+",
                                         "calm=+order",
                                         "faults=",
                                         "faults=x",
                                         "faults=1.2",
                                         "faults=1.2.3+",
                                         "faults=64.1.1",
                                         "faults=1.99.1",
                                         "faults=1.2.1099511627776",
                                         "faults=..",
                                         "faults=1.2.3.4",
                                         "faults=-1.1.1",
                                         "size=",
                                         "size=101",
                                         "size=-1",
                                         "size=x",
                                         "size=99999999999999999999999",
                                         "speed=3",
                                         "=",
                                         "=3",
                                         "calm=order;size=3" };
    for (size_t i = 0; i < sizeof texts / sizeof texts[0]; i++) {
        struct pier_sim_opts opts = { .reduced = texts[i] };
        if (pier_sim_run(1, &opts, nothing) != -EINVAL)
            ck_abort_msg("\"%s\" is understood", texts[i]);
        scene_expect_words("is not understood");
        scene_expect_words(texts[i]);
    }
    char many[1024] = "faults=0.0.0";
    for (int i = 0; i < SIM_KEEP_MAX; i++)
        strcat(many, "+1.1.1");
    ck_assert_int_eq(pier_sim_run(1, &(struct pier_sim_opts){ .reduced = many }, nothing), -EINVAL);
}

HARNESS_MAIN("sim_chance")
