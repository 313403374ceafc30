/* SPDX-License-Identifier: MIT */
/*
 * sim_run: virtual time, repetition, whose turn it is, what a run finds at its end, and what a
 * simulation does not do.
 */
#include "sim_scene.h"

#include "sim/sim.h"

#include <poll.h>
#include <unistd.h>

static int nothing(void *arg)
{
    return 0;
}

/* ---- time ---- */

static int sleeps_two_hours(void *arg)
{
    int64_t before = pier_now(), unix_before = pi_unix_ns(), until = pier_after(2 * PIER_HOUR);
    ck_assert_int_eq(pier_sleep(2 * PIER_HOUR), 0);
    int64_t passed = pier_now() - before;
    ck_assert_int_ge(passed, 2 * PIER_HOUR);
    ck_assert_int_lt(passed, 2 * PIER_HOUR + PIER_MILLISECOND);
    ck_assert_int_ge(pier_now(), until);
    ck_assert_int_eq(pi_unix_ns() - unix_before, passed);
    return 0;
}

TEST(a_sleep_of_two_hours_takes_no_time)
{
    struct pier_sim_result result;
    int64_t before = pier_now();
    scene_seed(1, &(struct pier_sim_opts){ .result = &result }, sleeps_two_hours);
    ck_assert_int_ge(result.time_ns, 2 * PIER_HOUR);
    ck_assert_int_lt(pier_now() - before, 5 * PIER_SECOND);
}

static int64_t clocks[2];

static int reads_the_clocks(void *arg)
{
    clocks[0] = pier_now();
    clocks[1] = pi_unix_ns();
    return 0;
}

TEST(each_run_begins_at_the_same_time)
{
    scene_calm(reads_the_clocks);
    int64_t monotonic = clocks[0];
    ck_assert_int_lt(clocks[1] - 1767225600 * PIER_SECOND, PIER_SECOND); /* 2026-01-01 */
    ck_assert_int_ge(clocks[1] - 1767225600 * PIER_SECOND, 0);
    usleep(2000);
    scene_calm(reads_the_clocks);
    ck_assert_int_eq(clocks[0], monotonic);
    ck_assert_int_ne(pier_now(), monotonic); /* and it is over */
}

static int deadline_passes(void *arg)
{
    struct pier_scope scope;
    int64_t before = pier_now();
    pier_scope_open(&scope, pier_after(PIER_HOUR));
    ck_assert_int_eq(pier_sleep(2 * PIER_HOUR), -ETIMEDOUT);
    ck_assert_int_eq(pier_scope_join(&scope), 0);
    ck_assert_int_ge(pier_now() - before, PIER_HOUR);
    ck_assert_int_lt(pier_now() - before, PIER_HOUR + PIER_MILLISECOND);
    return 0;
}

TEST(deadlines_are_in_virtual_time)
{
    scene_passes(deadline_passes);
}

/* ---- repetition ---- */

static int add_up(void *arg)
{
    int *sum = arg;
    for (int i = 0; i < 1000; i++)
        *sum += i;
    return 0;
}

static int ask_a_lot(void *arg)
{
    char out[2000], in[2000];
    int sum = 0;
    pier_offload(add_up, &sum);
    memset(out, 'x', sizeof out);
    for (int64_t i = pier_sim_amount(1, 4); i > 0; i--) {
        struct pier_conn *c = pier_dial("tcp://server:80", NULL);
        size_t len = (size_t)pier_sim_between(1, sizeof out);
        pier_write(c, out, len);
        if (pier_read_exact(c, in, len) == (ssize_t)len)
            pier_sim_check(memcmp(in, out, len) == 0, "the echo", __FILE__, __LINE__);
        pier_close(c);
        pier_sleep(PIER_MILLISECOND);
    }
    return 0;
}

static int busy(void *arg)
{
    struct service echo = { .url = "tcp://server:80", .handler = scene_echo };
    struct pier_scope clients;
    scene_open();
    pier_sim_start(scene.server, service_main, &echo);
    pier_scope_open(&clients, pier_after(PIER_MINUTE));
    for (int i = 0; i < 4; i++)
        pier_spawn(&clients, ask_a_lot, NULL);
    pier_scope_join(&clients);
    pier_sim_stop(scene.server);
    pier_sim_join(scene.server);
    return 0;
}

static struct pier_sim_opts busy_opts(struct pier_sim_result *result)
{
    return (struct pier_sim_opts){
        .link = { .loss_ppm = 20000 },
        .faults = { .reset = 10000, .refuse = 20000, .interrupt = 50000, .resolve = 10000 },
        .result = result,
    };
}

static uint64_t hash_of(uint64_t seed)
{
    struct pier_sim_result result;
    struct pier_sim_opts opts = busy_opts(&result);
    scene_seed(seed, &opts, busy);
    return result.hash;
}

TEST(the_same_seed_does_the_same)
{
    for (uint64_t seed = 1; seed <= 20; seed++) {
        struct pier_sim_result one, two;
        struct pier_sim_opts opts = busy_opts(&one);
        scene_seed(seed, &opts, busy);
        opts.result = &two;
        scene_seed(seed, &opts, busy);
        ck_assert_uint_eq(one.seed, seed);
        ck_assert_int_eq(one.code, 0);
        ck_assert_str_eq(one.failure, "");
        ck_assert_int_gt(one.events, 10);
        ck_assert_int_gt(one.choices, 0);
        ck_assert_int_eq(memcmp(&one, &two, sizeof one), 0);
    }
}

TEST(another_seed_does_something_else)
{
    uint64_t hashes[20];
    for (uint64_t seed = 0; seed < 20; seed++) {
        hashes[seed] = hash_of(seed);
        for (uint64_t i = 0; i < seed; i++)
            ck_assert_uint_ne(hashes[seed], hashes[i]);
    }
}

TEST(a_trace_changes_nothing)
{
    struct pier_sim_result plain, traced;
    struct pier_sim_opts opts = busy_opts(&plain);
    scene_seed(3, &opts, busy);
    opts.result = &traced;
    char *trace = scene_trace(3, &opts, busy);
    ck_assert_uint_eq(plain.hash, traced.hash);
    int64_t lines = 0;
    for (const char *at = trace; *at; at++)
        lines += *at == '\n';
    ck_assert_int_eq(lines, traced.events);
    free(trace);
}

/* The hash in a process of its own, which has other addresses. */
static void hash_elsewhere(char out[64])
{
    char self[4096], command[4200];
    ssize_t len = readlink("/proc/self/exe", self, sizeof self - 1);
    ck_assert_int_gt(len, 0);
    self[len] = '\0';
    snprintf(command, sizeof command, "'%s' --hash", self);
    FILE *child = popen(command, "r");
    ck_assert_ptr_nonnull(child);
    ck_assert_ptr_nonnull(fgets(out, 64, child));
    ck_assert_int_eq(pclose(child), 0);
}

TEST(another_process_does_the_same)
{
    char here[64], there[64];
    snprintf(here, sizeof here, "%016" PRIx64 "\n", hash_of(5));
    for (int i = 0; i < 3; i++) {
        hash_elsewhere(there);
        ck_assert_str_eq(there, here);
    }
}

/* ---- whose turn it is ---- */

enum { TASKS = 5 };

static int ran[TASKS], ran_count;

static int note_turn(void *arg)
{
    ran[ran_count++] = *(int *)arg;
    return 0;
}

static int takes_turns(void *arg)
{
    static int numbers[TASKS];
    struct pier_scope scope;
    ran_count = 0;
    pier_scope_open(&scope, 0);
    for (int i = 0; i < TASKS; i++) {
        numbers[i] = i;
        pier_spawn(&scope, note_turn, &numbers[i]);
    }
    return pier_scope_join(&scope);
}

static int order_of(uint64_t seed, const struct pier_sim_opts *opts)
{
    int digits = 0;
    scene_seed(seed, opts, takes_turns);
    ck_assert_int_eq(ran_count, TASKS);
    for (int i = 0; i < TASKS; i++)
        digits = 10 * digits + ran[i];
    return digits;
}

TEST(the_seed_chooses_whose_turn_it_is)
{
    int first[TASKS] = { 0 }, others = 0, before = 0;
    for (uint64_t seed = 1; seed <= 100; seed++) {
        int order = order_of(seed, NULL);
        first[ran[0]]++;
        others += order != before;
        before = order;
    }
    ck_assert_int_gt(others, 50);
    for (int i = 0; i < TASKS; i++)
        ck_assert_int_gt(first[i], 0); /* everyone comes first at times */
}

TEST(without_chance_tasks_take_turns_as_they_came)
{
    for (uint64_t seed = 1; seed <= 10; seed++)
        ck_assert_int_eq(order_of(seed, &(struct pier_sim_opts){ .reduced = "calm=order" }), 1234);
}

/* ---- amounts ---- */

static int64_t most;
static uint64_t between_sum;

static int draws_amounts(void *arg)
{
    most = 0;
    between_sum = 0;
    for (int i = 0; i < 1000; i++) {
        int64_t n = pier_sim_amount(10, 110), m = pier_sim_between(-3, 3);
        ck_assert(n >= 10 && n <= 110 && m >= -3 && m <= 3);
        most = n > most ? n : most;
        between_sum = between_sum * 7 + (uint64_t)(m + 3);
    }
    ck_assert_int_eq(pier_sim_between(7, 7), 7);
    ck_assert_int_eq(pier_sim_between(7, 2), 7);
    return 0;
}

TEST(amounts_shrink_and_other_numbers_do_not)
{
    scene_seed(1, NULL, draws_amounts);
    uint64_t sum = between_sum;
    ck_assert_int_gt(most, 100);
    scene_seed(1, &(struct pier_sim_opts){ .reduced = "size=25" }, draws_amounts);
    ck_assert_int_gt(most, 25);
    ck_assert_int_le(most, 35);
    ck_assert_uint_eq(between_sum, sum);
    scene_seed(1, &(struct pier_sim_opts){ .reduced = "size=0" }, draws_amounts);
    ck_assert_int_eq(most, 10);
}

/* ---- what a run finds ---- */

static int fails_by_itself(void *arg)
{
    return pier_error_set(-EDOM, "the sum of %s", arg ? (const char *)arg : "nothing");
}

TEST(the_scenarios_own_failure_is_the_runs)
{
    struct pier_sim_result result;
    struct pier_sim_opts opts = { .arg = "all", .result = &result };
    ck_assert_int_eq(pier_sim_run(9, &opts, fails_by_itself), -EDOM);
    ck_assert_str_eq(pier_error(), "the sum of all: numerical argument out of domain");
    ck_assert_int_eq(result.code, -EDOM);
    ck_assert_str_eq(result.failure, pier_error());
    ck_assert_uint_eq(result.seed, 9);
}

static int returns_a_code(void *arg)
{
    return -EDOM;
}

TEST(a_code_without_words_gets_some)
{
    scene_fails(-EDOM, "numerical argument out of domain", returns_a_code);
}

static int returns_a_count(void *arg)
{
    return 42;
}

TEST(a_scenario_that_returns_a_count_is_fine)
{
    scene_calm(returns_a_count);
}

static int fails_twice(void *arg)
{
    ck_assert_int_eq(pier_sim_fail("first %d", 1), PIER_ESIM);
    ck_assert_int_eq(pier_sim_fail("second"), PIER_ESIM);
    return -EDOM;
}

TEST(the_first_failure_counts)
{
    scene_finds("first 1", fails_twice);
}

static int checks(void *arg)
{
    ck_assert(PIER_SIM_CHECK(1 + 1 == 2));
    ck_assert(!PIER_SIM_CHECK(1 + 1 == 3));
    return 0;
}

TEST(a_failed_check_names_its_place)
{
    scene_finds("sim_run.c:", checks);
    scene_finds(": 1 + 1 == 3", checks);
}

static struct pier_conn *kept[2];

static int leaks_a_connection(void *arg)
{
    return pier_conn_pair(kept);
}

TEST(a_connection_that_is_left_open_is_found)
{
    scene_finds("2 sockets are left open, the first is #0 on main", leaks_a_connection);
}

static struct pier_server *kept_server;

static int leaks_memory(void *arg)
{
    kept_server = pier_server_new(NULL);
    return 0;
}

TEST(memory_that_is_left_is_found)
{
    scene_finds("1 memory blocks are left", leaks_memory);
    pier_server_free(kept_server);
}

static int frees_a_block_of_before(void *arg)
{
    pier_server_free(kept_server);
    return 0;
}

TEST(memory_of_before_that_is_freed_is_found)
{
    kept_server = pier_server_new(NULL);
    scene_finds("-1 memory blocks are left", frees_a_block_of_before);
}

static int waits_for_ever(void *arg)
{
    struct pier_event never = { 0 };
    ck_assert_int_eq(pier_event_wait(&never), -ECANCELED);
    ck_assert_int_eq(pier_sleep(PIER_SECOND), -ECANCELED);
    return 0;
}

TEST(tasks_that_wait_for_ever_are_found)
{
    scene_finds("every task waits, and nothing is to come", waits_for_ever);
}

static int yields_for_ever(void *arg)
{
    while (pier_yield() == 0)
        ;
    return 0;
}

TEST(tasks_that_only_yield_are_found)
{
    scene_finds("tasks take turns, and nothing happens", yields_for_ever);
}

static int works_for_ever(void *arg)
{
    int64_t before = pier_sim_events();
    while (pier_sleep(PIER_SECOND) == 0)
        pier_sim_note("still here");
    ck_assert_int_gt(pier_sim_events(), before);
    return 0;
}

TEST(too_many_events_are_found)
{
    struct pier_sim_result result;
    struct pier_sim_opts opts = { .event_limit = 500, .result = &result };
    ck_assert_int_eq(pier_sim_run(1, &opts, works_for_ever), PIER_ESIM);
    scene_expect_words("not over after 500 events");
    ck_assert_int_ge(result.events, 500);
    ck_assert_int_lt(result.events, 600);
}

TEST(too_much_time_is_found)
{
    struct pier_sim_result result;
    struct pier_sim_opts opts = { .time_limit_ns = PIER_MINUTE, .result = &result };
    ck_assert_int_eq(pier_sim_run(1, &opts, works_for_ever), PIER_ESIM);
    scene_expect_words("not over after 60 s of virtual time");
    ck_assert_int_lt(result.time_ns, 2 * PIER_MINUTE);
    ck_assert_int_eq(pier_sim_run(1, &(struct pier_sim_opts){ .result = &result }, works_for_ever),
                     PIER_ESIM);
    scene_expect_words("not over after 86400 s of virtual time");
}

static int sleeps_a_second(void *arg)
{
    return pier_sleep(PIER_SECOND);
}

/* As if the loop were kept from everybody for a while: what runs does not take virtual time. */
static int wakes_late(void *arg)
{
    struct pier_scope scope;
    pier_scope_open(&scope, 0);
    pier_spawn(&scope, sleeps_a_second, NULL);
    pier_sleep(PIER_SECOND / 2);
    pi_sim->now_ns += PIER_SECOND;
    return pier_scope_join(&scope);
}

TEST(a_wait_that_outlives_its_deadline_is_found)
{
    scene_finds("a wait ended 500", wakes_late);
    scene_finds("us after its deadline", wakes_late);
}

static int stays_behind(void *arg)
{
    return pier_sleep(PIER_HOUR) == -ECANCELED ? 0 : -EDOM;
}

static int leaves_programs(void *arg)
{
    scene_open();
    pier_sim_start(scene.server, stays_behind, NULL);
    return pier_sleep(PIER_SECOND);
}

TEST(what_still_runs_at_the_end_is_cancelled)
{
    struct pier_sim_result result;
    scene_seed(1, &(struct pier_sim_opts){ .result = &result }, leaves_programs);
    ck_assert_int_lt(result.time_ns, 2 * PIER_SECOND);
}

/* ---- cancelling at any event ---- */

static int is_cancelled_soon(void *arg)
{
    struct pier_scope scope;
    pier_scope_open(&scope, 0);
    pier_sim_cancel_after(&scope, 3);
    int notes = 0;
    for (; pier_yield() == 0 && notes < 10; notes++)
        pier_sim_note("%d", notes);
    ck_assert_int_eq(notes, 3);
    ck_assert_int_eq(pier_scope_join(&scope), 0);
    pier_sim_cancel_after(NULL, 0);
    return 0;
}

static int forgets_to_cancel(void *arg)
{
    struct pier_scope scope;
    pier_scope_open(&scope, 0);
    pier_sim_cancel_after(&scope, 3);
    pier_sim_cancel_after(NULL, 0);
    for (int i = 0; i < 10; i++)
        pier_sim_note("%d", i);
    ck_assert_int_eq(pier_yield(), 0);
    return pier_scope_join(&scope);
}

TEST(a_scope_is_cancelled_after_so_many_events)
{
    scene_calm(is_cancelled_soon);
    scene_calm(forgets_to_cancel);
}

/* ---- the trace and the log ---- */

static int tells(void *arg)
{
    pier_sim_note("half of %d", 84);
    pier_log(PIER_LOG_WARN, "low water", pier_str("where", "pier 3"), pier_int("cm", -12));
    pier_log_record(PIER_LOG_ERROR, "gone", NULL, 0);
    return 0;
}

static int sunk;

static void sink(void *ctx, enum pier_log_level level, const char *msg,
                 const struct pier_log_field *fields, size_t count)
{
    sunk++;
}

TEST(notes_and_the_log_go_to_the_trace)
{
    pier_log_set(sink, NULL);
    char *trace = scene_trace(1, NULL, tells);
    pier_log_set(NULL, NULL);
    ck_assert_int_eq(sunk, 0);
    ck_assert_ptr_nonnull(strstr(trace, "main       note      half of 84\n"));
    ck_assert_ptr_nonnull(strstr(trace, "log       warn: low water where=\"pier 3\" cm=-12\n"));
    ck_assert_ptr_nonnull(strstr(trace, "log       error: gone\n"));
    free(trace);
}

/* ---- work for threads ---- */

static int hundred(void *arg)
{
    *(int *)arg = 100;
    return 100;
}

static int offloads(void *arg)
{
    int n = 0;
    int64_t before = pier_now();
    ck_assert_int_eq(pier_offload(hundred, &n), 100);
    ck_assert_int_eq(n, 100);
    ck_assert_int_gt(pier_now(), before); /* it took its time */
    ck_assert_int_eq(pier_offload(fails_by_itself, "work"), -EDOM);
    ck_assert_str_eq(pier_error(), "the sum of work: numerical argument out of domain");
    return 0;
}

TEST(offloaded_work_takes_virtual_time)
{
    scene_passes(offloads);
}

static int abandoned_count, worked;

static void abandon(void *arg)
{
    abandoned_count++;
    free(arg);
}

static int work(void *arg)
{
    worked++;
    return arg && *(int *)arg < 0 ? -EDOM : 0;
}

static int *number(int n)
{
    int *p = malloc(sizeof *p);
    *p = n;
    return p;
}

static int abandons(void *arg)
{
    worked = abandoned_count = 0;
    int *mine = number(1);
    ck_assert_int_eq(pier_offload_abandon(work, mine, abandon), 0);
    ck_assert_int_eq(abandoned_count, 0);
    free(mine);
    ck_assert_int_eq(pier_offload_abandon(work, number(-1), abandon), -EDOM);
    ck_assert_int_eq(abandoned_count, 1);

    struct pier_scope scope;
    pier_scope_open(&scope, pier_after(PIER_MICROSECOND * pier_sim_between(1, 6000)));
    int *last = number(1);
    int rc = pier_offload_abandon(work, last, abandon);
    ck_assert(rc == 0 || rc == -ETIMEDOUT);
    ck_assert_int_eq(abandoned_count, rc == 0 ? 1 : 2);
    if (rc == 0)
        free(last);
    ck_assert_int_eq(pier_scope_join(&scope), 0);
    *(int *)arg += rc == 0 ? 0 : worked == 2 ? 1 : 100;
    return 0;
}

TEST(offloaded_work_is_abandoned_queued_and_running)
{
    int count = 0;
    for (uint64_t seed = 1; seed <= 100; seed++)
        scene_seed(seed, &(struct pier_sim_opts){ .arg = &count }, abandons);
    ck_assert_int_ge(count / 100, 1); /* it had begun */
    ck_assert_int_ge(count % 100, 1); /* it had not */
}

static int is_cancelled_while_it_works(void *arg)
{
    struct pier_scope scope;
    int n = 0;
    pier_scope_open(&scope, pier_after(PIER_MICROSECOND * pier_sim_between(1, 6000)));
    int rc = pier_offload(hundred, &n);
    ck_assert_int_eq(rc, n == 100 ? 100 : -ETIMEDOUT); /* once it runs, it is waited for */
    *(int *)arg += n == 100 ? 1 : 100;
    ck_assert_int_eq(pier_scope_join(&scope), 0);
    return 0;
}

TEST(offloaded_work_that_runs_is_waited_for)
{
    int count = 0;
    for (uint64_t seed = 1; seed <= 99; seed++)
        scene_seed(seed, &(struct pier_sim_opts){ .arg = &count }, is_cancelled_while_it_works);
    ck_assert_int_ge(count / 100, 1);
    ck_assert_int_ge(count % 100, 1);
}

/* ---- models ---- */

static int serves_by_threads(void *arg)
{
    struct service echo = { "tcp://server:80", scene_echo, NULL, { .model = PIER_THREADS }, 0 };
    char got[8] = "";
    scene_open();
    pier_sim_start(scene.server, service_main, &echo);
    struct pier_conn *c = scene_dial("tcp://server:80");
    pier_puts(c, "hello");
    ck_assert_int_eq(pier_read_exact(c, got, 5), 5);
    ck_assert_str_eq(got, "hello");
    pier_close(c);
    pier_sim_stop(scene.server);
    return pier_sim_join(scene.server);
}

TEST(a_server_of_threads_runs_as_tasks)
{
    scene_passes(serves_by_threads);
}

/* ---- what a simulation does not do ---- */

static int asks_too_much(void *arg)
{
    struct pier_conn *ends[2];
    int fd = 0, pipe_fds[2];
    ck_assert_ptr_null(pier_exec("true"));
    ck_assert_int_eq(pier_error_code(), -EOPNOTSUPP);
    ck_assert_int_eq(pipe(pipe_fds), 0);
    ck_assert_ptr_null(pier_conn_adopt(pipe_fds[0], NULL));
    ck_assert_int_eq(pier_error_code(), -EOPNOTSUPP);
    ck_assert_int_eq(pier_wait_fd(pipe_fds[1], POLLOUT, 0), -EOPNOTSUPP);
    close(pipe_fds[0]);
    close(pipe_fds[1]);
    ck_assert_int_lt(pier_loop_fd(), 0);
    ck_assert_int_eq(pier_conn_pair(ends), 0);
    ck_assert_int_eq(pier_send_fds(ends[0], &fd, 1), -EOPNOTSUPP);
    ck_assert_int_eq(pier_recv_fds(ends[1], &fd, 1), -EOPNOTSUPP);
    pier_close(ends[0]);
    pier_close(ends[1]);
    return 0;
}

TEST(what_is_out_of_scope_is_refused)
{
    scene_calm(asks_too_much);
}

static int asks_for_a_loop_fd(void *arg)
{
    struct pier_scope scope;
    pier_scope_open(&scope, 0);
    pier_spawn(&scope, nothing, NULL);
    ck_assert_int_eq(pier_loop_fd(), -EOPNOTSUPP);
    return pier_scope_join(&scope);
}

TEST(a_foreign_loop_is_refused)
{
    scene_calm(asks_for_a_loop_fd);
}

static int runs_another(void *arg)
{
    ck_assert(pier_sim_running());
    ck_assert_int_eq(pier_sim_run(1, NULL, nothing), -EBUSY);
    ck_assert_int_eq(pier_sim_sweep(1, 1, NULL, nothing), -EBUSY);
    ck_assert_int_eq(pier_sim_explore(1, NULL, nothing), -EBUSY);
    return 0;
}

static int runs_in_a_loop(void *arg)
{
    ck_assert_int_eq(pier_sim_run(1, NULL, nothing), -EBUSY);
    ck_assert_int_eq(pier_sim_sweep(1, 1, NULL, nothing), -EBUSY);
    return 0;
}

TEST(a_run_needs_a_thread_without_a_loop)
{
    struct pier_scope scope;
    scene_calm(runs_another);
    pier_scope_open(&scope, 0);
    pier_spawn(&scope, runs_in_a_loop, NULL);
    ck_assert_int_eq(pier_scope_join(&scope), 0);
    scene_calm(nothing);
}

TEST(calls_outside_a_simulation_fail)
{
    struct pier_scope scope;
    ck_assert(!pier_sim_running());
    ck_assert_ptr_null(pier_sim_host("h", "10.0.0.1"));
    ck_assert_int_eq(pier_error_code(), -EINVAL);
    ck_assert_str_eq(pier_error(), "not inside a simulation");
    ck_assert_int_eq(pier_sim_name("h", "10.0.0.1"), -EINVAL);
    ck_assert_int_eq(pier_sim_start(NULL, nothing, NULL), -EINVAL);
    ck_assert_int_eq(pier_sim_join(NULL), -EINVAL);
    ck_assert_int_eq(pier_sim_restart(NULL), -EINVAL);
    ck_assert_int_eq(pier_sim_set_link(NULL, NULL, &(struct pier_sim_link){ 0 }), -EINVAL);
    ck_assert_int_eq(pier_sim_chaos(&(struct pier_sim_chaos){ 0 }), -EINVAL);
    ck_assert_int_eq(pier_sim_fail("nothing"), -EINVAL);
    ck_assert(!pier_sim_check(false, "text", "file", 1));
    ck_assert(pier_sim_check(true, "text", "file", 1));
    ck_assert_int_eq(pier_sim_events(), 0);
    ck_assert_int_eq(pier_sim_amount(3, 9), 3);
    ck_assert_int_eq(pier_sim_between(3, 9), 3);
    pier_sim_note("nobody hears");
    pier_sim_stop(NULL);
    pier_sim_crash(NULL);
    pier_sim_enter(NULL);
    pier_sim_cut(NULL, NULL);
    pier_sim_heal(NULL, NULL);
    pier_sim_fail_next(NULL, PIER_SIM_RESET, 1);
    pier_scope_open(&scope, 0);
    pier_sim_cancel_after(&scope, 1);
    ck_assert_int_eq(pier_scope_join(&scope), 0);
}

int main(int argc, char **argv)
{
    if (argc > 1 && strcmp(argv[1], "--hash") == 0) {
        struct pier_sim_result result;
        struct pier_sim_opts opts = busy_opts(&result);
        int rc = pier_sim_run(5, &opts, busy);
        printf("%016" PRIx64 "\n", result.hash);
        return rc < 0;
    }
    return harness_run("sim_run", argc, argv);
}
