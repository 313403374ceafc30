/* SPDX-License-Identifier: MIT */
/*
 * sim_host: hosts and their names, programs from start to restart, crashes, and trouble that comes
 * and goes.
 */
#include "sim_raw.h"
#include "sim_scene.h"

/* ---- names ---- */

static int resolves(void *arg)
{
    struct service echo = { .url = "tcp://server:80", .handler = scene_echo };
    scene_open();
    ck_assert_int_eq(pier_sim_name("alias", "10.0.0.1"), 0);
    ck_assert_int_eq(pier_sim_name("far", "fd00::1 10.0.0.1"), 0);
    ck_assert_int_eq(pier_sim_name("nobody", "10.9.9.9"), 0);
    pier_sim_start(scene.server, service_main, &echo);
    pier_close(scene_dial("tcp://server:80"));
    const char *const urls[] = { "tcp://server:80",   "tcp://alias:80", "tcp://far:80",
                                 "tcp://SERVER:80",   "tcp://Alias:80", "tcp://10.0.0.1:80",
                                 "tcp://[fd00::1]:80" };
    for (size_t i = 0; i < sizeof urls / sizeof urls[0]; i++) {
        struct pier_conn *c = pier_dial(urls[i], NULL);
        ck_assert_msg(c != NULL, "%s: %s", urls[i], pier_error());
        bool is_six = strstr(urls[i], "far") || strstr(urls[i], "fd00");
        ck_assert_str_eq(pier_peer(c), is_six ? "[fd00::1]:80" : "10.0.0.1:80");
        ck_assert_int_eq(strncmp(pier_local(c), is_six ? "[fd00::2]:" : "10.0.0.2:", 9), 0);
        pier_close(c);
    }
    pier_sim_stop(scene.server);
    return pier_sim_join(scene.server);
}

TEST(names_and_addresses_lead_to_their_host)
{
    scene_calm(resolves);
    scene_passes(resolves);
}

static int looks_for_nobody(void *arg)
{
    scene_open();
    ck_assert_ptr_null(pier_dial("tcp://nowhere:80", NULL));
    ck_assert_int_eq(pier_error_code(), PIER_ERESOLVE);
    ck_assert_str_eq(pier_error(), "dial tcp://nowhere:80: unknown name");
    ck_assert_int_eq(pier_sim_name("empty", ""), 0);
    ck_assert_ptr_null(pier_dial("tcp://empty:80", NULL));
    ck_assert_int_eq(pier_error_code(), PIER_ERESOLVE);
    ck_assert_ptr_null(pier_dial("tcp://main:80", NULL));
    ck_assert_int_eq(pier_error_code(), PIER_ERESOLVE);
    return 0;
}

TEST(a_name_without_an_address_does_not_resolve)
{
    scene_passes(looks_for_nobody);
}

static int needs_a_name_server(void *arg)
{
    scene_open();
    pier_sim_fail_next(scene.client, PIER_SIM_RESOLVE, 1);
    ck_assert_ptr_null(pier_dial("tcp://server:80", NULL));
    ck_assert_int_eq(pier_error_code(), PIER_ERESOLVE);
    ck_assert_ptr_nonnull(strstr(pier_error(), "temporary failure in name resolution"));
    ck_assert_ptr_null(pier_dial("tcp://server:80", NULL));
    ck_assert_int_eq(pier_error_code(), -ECONNREFUSED);
    return 0;
}

TEST(a_name_server_can_be_missing_for_a_while)
{
    scene_passes(needs_a_name_server);
}

static int asks_for_bad_hosts(void *arg)
{
    char long_name[100];
    memset(long_name, 'x', sizeof long_name - 1);
    long_name[sizeof long_name - 1] = '\0';
    ck_assert_ptr_null(pier_sim_host("bad", "10.0.0.256"));
    ck_assert_int_eq(pier_error_code(), -EINVAL);
    ck_assert_str_eq(pier_error(), "host bad: \"10.0.0.256\" is no address");
    ck_assert_ptr_null(pier_sim_host("bad", "1.1.1.1 1.1.1.2 1.1.1.3 1.1.1.4 1.1.1.5 1.1.1.6 "
                                            "1.1.1.7 1.1.1.8 1.1.1.9"));
    ck_assert_int_eq(pier_error_code(), -EINVAL);
    ck_assert_ptr_null(pier_sim_host(long_name, "10.0.0.1"));
    ck_assert_int_eq(pier_error_code(), -EINVAL);
    ck_assert_int_eq(pier_sim_name("bad", "here"), -EINVAL);
    for (int i = 1; i < SIM_HOSTS_MAX; i++) {
        char name[16];
        snprintf(name, sizeof name, "h%d", i);
        ck_assert_ptr_nonnull(pier_sim_host(name, ""));
    }
    ck_assert_ptr_null(pier_sim_host("one more", ""));
    ck_assert_int_eq(pier_error_code(), -ENOSPC);
    return 0;
}

TEST(hosts_that_cannot_be_are_refused)
{
    scene_calm(asks_for_bad_hosts);
}

static int dials_from_main(void *arg)
{
    scene_open();
    pier_sim_enter(NULL);
    ck_assert_ptr_null(pier_dial("tcp://server:80", NULL));
    ck_assert_int_eq(pier_error_code(), -ENETUNREACH);
    return 0;
}

TEST(main_has_no_way_to_other_hosts)
{
    scene_calm(dials_from_main);
}

/* ---- localhost ---- */

static int talks_to_itself(void *arg)
{
    struct service echo = { .url = "tcp://:80", .handler = scene_echo };
    scene_open();
    pier_sim_start(scene.client, service_main, &echo);
    const char *const urls[] = { "tcp://localhost:80", "tcp://127.0.0.1:80", "tcp://[::1]:80",
                                 "tcp://client:80" };
    for (size_t i = 0; i < sizeof urls / sizeof urls[0]; i++)
        pier_close(scene_dial(urls[i]));
    pier_sim_enter(scene.server); /* who has a localhost of its own */
    ck_assert_ptr_null(pier_dial("tcp://localhost:80", NULL));
    ck_assert_int_eq(pier_error_code(), -ECONNREFUSED);
    pier_close(scene_dial("tcp://client:80"));
    pier_sim_stop(scene.client);
    return pier_sim_join(scene.client);
}

TEST(each_host_has_a_localhost_of_its_own)
{
    scene_passes(talks_to_itself);
}

/* ---- programs ---- */

static int fails_soon(void *arg)
{
    pier_sleep(PIER_SECOND);
    return pier_error_set(-EDOM, "no room in %s", (const char *)arg);
}

static int waits_to_be_cancelled(void *arg)
{
    int *times = arg;
    (*times)++;
    return pier_sleep(PIER_HOUR) == -ECANCELED ? 0 : -EDOM;
}

static int joins_programs(void *arg)
{
    int times = 0;
    scene_open();
    ck_assert_int_eq(pier_sim_join(scene.server), 0); /* there is none */
    pier_sim_start(scene.server, waits_to_be_cancelled, &times);
    pier_sim_start(scene.client, fails_soon, "the inn");
    ck_assert_int_eq(pier_sim_join(scene.client), -EDOM);
    ck_assert_str_eq(pier_error(), "no room in the inn: numerical argument out of domain");
    pier_sim_stop(scene.server);
    ck_assert_int_eq(pier_sim_join(scene.server), 0);
    ck_assert_int_eq(times, 1);
    return 0;
}

TEST(join_tells_what_a_program_returned)
{
    scene_passes(joins_programs);
}

/* What it spawned in a scope of its own host is the program's. */
static int spawn_more(void *arg)
{
    struct pier_scope scope;
    pier_scope_open(&scope, 0);
    pier_spawn(&scope, fails_soon, arg);
    return pier_scope_join(&scope);
}

static int joins_tasks_of_programs(void *arg)
{
    scene_open();
    pier_sim_start(scene.server, spawn_more, "the barn");
    ck_assert_int_eq(pier_sim_join(scene.server), -EDOM);
    ck_assert_ptr_nonnull(strstr(pier_error(), "the barn"));
    return 0;
}

TEST(a_programs_tasks_run_on_its_host_and_fail_with_it)
{
    scene_passes(joins_tasks_of_programs);
}

static int is_cancelled_at_once(void *arg)
{
    *(int *)arg = pier_sleep(PIER_HOUR);
    return 0;
}

static int stops_before_it_runs(void *arg)
{
    int code = 0;
    scene_open();
    pier_sim_start(scene.server, is_cancelled_at_once, &code);
    pier_sim_stop(scene.server);
    ck_assert_int_eq(pier_sim_join(scene.server), 0);
    ck_assert_int_eq(code, -ECANCELED);
    return 0;
}

TEST(a_program_that_is_stopped_before_it_has_begun_ends)
{
    scene_passes(stops_before_it_runs);
}

static int restarts(void *arg)
{
    int times = 0;
    scene_open();
    pier_sim_start(scene.server, waits_to_be_cancelled, &times);
    pier_sim_start(scene.server, waits_to_be_cancelled, &times);
    for (int i = 1; i <= 3; i++) {
        pier_sleep(PIER_SECOND);
        ck_assert_int_eq(times, 2 * i);
        if (i == 2)
            pier_sim_stop(scene.server);
        else
            pier_sim_crash(scene.server);
        ck_assert_int_eq(pier_sim_restart(scene.server), 0);
    }
    pier_sim_stop(scene.server);
    ck_assert_int_eq(pier_sim_join(scene.server), 0);
    ck_assert_int_eq(times, 8);
    return 0;
}

TEST(a_restart_begins_all_programs_anew)
{
    scene_passes(restarts);
}

/* ---- crashes ---- */

static int crash_comes(struct meeting *m, bool restarts)
{
    int64_t before = pier_now();
    char byte;
    scene_open();
    scene_meet(m, "tcp://server:80");
    pier_sim_crash(scene.server);
    pier_sim_crash(scene.server); /* once is enough */
    ck_assert_int_eq(pier_sim_join(scene.server), 0);
    pier_sleep(10 * PIER_SECOND);
    if (restarts) {
        m->there = NULL;
        ck_assert_int_eq(pier_sim_restart(scene.server), 0);
        pier_sleep(PIER_SECOND);
        ck_assert_int_eq(pier_puts(m->here, "are you there?"), 14);
    }
    int rc = (int)pier_read(m->here, &byte, 1);
    int64_t passed = pier_now() - before;
    ck_assert(restarts ? passed < 15 * PIER_SECOND
                       : passed > PIER_MINUTE && passed < 3 * PIER_MINUTE);
    return rc;
}

static int crashes_and_restarts(void *arg)
{
    struct meeting m;
    ck_assert_int_eq(crash_comes(&m, true), -ECONNRESET);
    scene_part(&m);
    return 0;
}

TEST(a_peer_that_has_crashed_and_restarted_resets)
{
    scene_passes(crashes_and_restarts);
}

static int crashes_for_good(void *arg)
{
    struct meeting m;
    ck_assert_int_eq(crash_comes(&m, false), -ETIMEDOUT);
    ck_assert_int_eq(pier_error_code(), -ETIMEDOUT);
    char byte;
    ck_assert_int_eq(pier_read(m.here, &byte, 1), -ETIMEDOUT); /* it stays dead */
    scene_part(&m);
    return 0;
}

TEST(keepalive_finds_a_crashed_peer_within_two_minutes)
{
    scene_passes(crashes_for_good);
}

static int restarts_silently(void *arg)
{
    struct meeting m;
    char byte;
    scene_open();
    scene_meet(&m, "tcp://server:80");
    pier_sim_crash(scene.server);
    m.there = NULL;
    ck_assert_int_eq(pier_sim_restart(scene.server), 0);
    int64_t before = pier_now();
    ck_assert_int_eq(pier_read(m.here, &byte, 1), -ECONNRESET); /* to the keepalive's probe */
    ck_assert_int_lt(pier_now() - before, 2 * PIER_MINUTE + PIER_SECOND);
    scene_part(&m);
    return 0;
}

TEST(keepalive_finds_a_peer_that_has_restarted)
{
    scene_passes(restarts_silently);
}

static int writes_into_a_crash(void *arg)
{
    struct meeting m;
    char byte;
    scene_open();
    scene_meet(&m, "tcp://server:80");
    pier_sim_crash(scene.server);
    int64_t before = pier_now();
    ck_assert_int_eq(pier_puts(m.here, "hello?"), 6);
    ck_assert_int_eq(pier_read(m.here, &byte, 1), -ETIMEDOUT);
    int64_t passed = pier_now() - before;
    ck_assert(passed > PIER_MINUTE && passed < 5 * PIER_MINUTE); /* TCP_USER_TIMEOUT: 2 minutes */
    scene_part(&m);
    return 0;
}

TEST(the_user_timeout_ends_a_write_into_a_crash)
{
    scene_passes(writes_into_a_crash);
}

struct crashing {
    struct pier_conn *c;
    int read, slept, in_shield, dialled;
    int64_t ended_ns;
};

static int sees_the_crash(void *arg)
{
    struct crashing *x = arg;
    char byte;
    x->c = pier_dial("tcp://server:80", NULL);
    x->read = (int)pier_read(x->c, &byte, 1);
    x->slept = pier_sleep(PIER_SECOND);
    struct pier_scope shield;
    pier_shield(&shield, pier_after(10 * PIER_SECOND));
    x->in_shield = (int)pier_puts(x->c, "good-bye");
    struct pier_conn *again = pier_dial("tcp://server:80", NULL);
    x->dialled = pier_error_code();
    pier_close(again);
    pier_scope_join(&shield);
    pier_close(x->c);
    x->ended_ns = pier_now();
    return 0;
}

static int crashes_the_client(void *arg)
{
    struct service echo = { .url = "tcp://server:80", .handler = scene_echo };
    struct crashing x = { 0 };
    scene_open();
    pier_sim_start(scene.server, service_main, &echo);
    pier_close(scene_dial("tcp://server:80"));
    pier_sim_start(scene.client, sees_the_crash, &x);
    pier_sleep(PIER_SECOND);
    int64_t before = pier_now();
    pier_sim_enter(NULL);
    pier_sim_crash(scene.client);
    ck_assert_int_eq(pier_sim_join(scene.client), 0);
    ck_assert_int_lt(x.read, 0);
    ck_assert_int_eq(x.slept, -ECANCELED);
    ck_assert_int_lt(x.in_shield, 0); /* a shield does not bring the network back */
    ck_assert_int_lt(x.dialled, 0);
    ck_assert_int_le(x.ended_ns - before, 11 * PIER_SECOND);
    pier_sim_stop(scene.server);
    return pier_sim_join(scene.server);
}

TEST(programs_on_a_crashed_host_see_every_call_fail)
{
    scene_passes(crashes_the_client);
}

static int uses_a_dead_host(void *arg)
{
    struct raw c;
    char byte;
    struct meeting m;
    scene_open();
    scene_meet(&m, "tcp://server:80");
    ck_assert_int_eq(raw_open(&c, AF_INET), 0);
    ck_assert_int_eq(raw_connect(&c, raw_addr("10.0.0.1", 80)), 0);
    pier_sim_crash(scene.client);
    for (int i = 0; i < 3; i++) {
        ck_assert_int_eq(raw_recv(&c, &byte, 1), -ENETDOWN); /* not the end of input */
        ck_assert_int_eq(raw_send(&c, "x", 1), -ENETDOWN);
    }
    raw_close(&c);
    ck_assert_int_eq(raw_open(&c, AF_INET), -ENETDOWN);
    scene_part(&m);
    return 0;
}

TEST(sockets_of_a_crashed_host_are_dead)
{
    scene_passes(uses_a_dead_host);
}

static int listen_again(void *arg)
{
    struct service echo = { .url = "unix:///run/echo", .handler = scene_echo };
    struct pier_server *s = pier_server_new(NULL);
    pier_server_add(s, "tcp://server:80", scene_echo, NULL);
    pier_server_add(s, echo.url, scene_echo, NULL);
    int rc = pier_server_run(s);
    pier_server_free(s);
    *(int *)arg += 1;
    return rc == -ECANCELED ? 0 : rc;
}

static int crashes_a_server(void *arg)
{
    int runs = 0;
    scene_open();
    pier_sim_start(scene.server, listen_again, &runs);
    for (int i = 0; i < 3; i++) {
        pier_close(scene_dial("tcp://server:80"));
        pier_sim_crash(scene.server);
        ck_assert_int_eq(pier_sim_restart(scene.server), 0); /* address and path are free again */
    }
    pier_close(scene_dial("tcp://server:80"));
    pier_sim_stop(scene.server);
    ck_assert_int_eq(pier_sim_join(scene.server), 0);
    ck_assert_int_eq(runs, 4);
    return 0;
}

TEST(a_server_listens_again_after_a_crash)
{
    scene_passes(crashes_a_server);
}

static int dials_a_dead_host(void *arg)
{
    scene_open();
    pier_sim_crash(scene.server);
    int64_t before = pier_now();
    ck_assert_ptr_null(pier_dial("tcp://10.0.0.1:80", NULL));
    ck_assert_int_eq(pier_error_code(), -ETIMEDOUT);
    ck_assert_int_ge(pier_now() - before, 10 * PIER_SECOND); /* the dial's */
    before = pier_now();
    struct pier_dial_opts patient = { .connect_timeout_ms = PIER_NO_TIMEOUT };
    ck_assert_ptr_null(pier_dial("tcp://10.0.0.1:80", &patient));
    ck_assert_int_eq(pier_error_code(), -ETIMEDOUT);
    ck_assert_int_gt(pier_now() - before, 60 * PIER_SECOND); /* the system's: 127 s */
    ck_assert_int_lt(pier_now() - before, 140 * PIER_SECOND);
    return 0;
}

TEST(a_connect_to_a_crashed_host_times_out)
{
    scene_passes(dials_a_dead_host);
}

/* ---- chaos ---- */

static int keeps_asking(void *arg)
{
    int64_t *answers = arg;
    struct pier_dial_opts hasty = { .connect_timeout_ms = 2000, .read_timeout_ms = 2000 };
    for (int i = 0; i < 300; i++) {
        char got[8];
        struct pier_conn *c = pier_dial("tcp://server:80", &hasty);
        pier_puts(c, "hello");
        *answers += pier_read_exact(c, got, 5) == 5;
        pier_close(c);
        pier_sleep(PIER_SECOND);
    }
    return 0;
}

/* What a program uses is static: chaos may start it anew at the very end. */
static int lives_with_chaos(void *arg)
{
    static struct service echo = { .url = "tcp://server:80", .handler = scene_echo };
    static int64_t answers;
    answers = 0;
    scene_open();
    pier_sim_start(scene.server, service_main, &echo);
    pier_sim_start(scene.client, keeps_asking, &answers);
    struct pier_sim_chaos chaos = *(struct pier_sim_chaos *)arg;
    if (chaos.crash_every_ns)
        chaos.only = scene.server;
    ck_assert_int_eq(pier_sim_chaos(&chaos), 0);
    ck_assert_int_eq(pier_sim_join(scene.client), 0);
    ck_assert_int_gt(answers, 100);
    ck_assert_int_lt(answers, 300);
    return 0;
}

static void expect_chaos(struct pier_sim_chaos chaos, const char *what)
{
    struct pier_sim_result result;
    struct pier_sim_opts opts = { .arg = &chaos, .result = &result };
    for (uint64_t seed = 1; seed <= 5; seed++) {
        char *trace = scene_trace(seed, &opts, lives_with_chaos);
        ck_assert_ptr_nonnull(strstr(trace, what));
        ck_assert_int_gt(result.faults, 5);
        ck_assert_int_lt(result.faults, 200);
        free(trace);
    }
}

TEST(cuts_come_and_go)
{
    expect_chaos((struct pier_sim_chaos){ 10 * PIER_SECOND, 5 * PIER_SECOND, 0, 0, NULL },
                 "cut       to server\n");
}

TEST(crashes_come_and_go)
{
    expect_chaos((struct pier_sim_chaos){ 0, 0, 10 * PIER_SECOND, 5 * PIER_SECOND, NULL },
                 "server     host      crash\n");
}

static int chaos_of_one_host(void *arg)
{
    struct pier_sim_chaos chaos = { .crash_every_ns = PIER_SECOND, .crash_for_ns = PIER_SECOND };
    ck_assert_int_eq(pier_sim_chaos(&chaos), 0); /* main does not crash */
    return pier_sleep(PIER_MINUTE);
}

TEST(main_does_not_crash)
{
    struct pier_sim_result result;
    scene_seed(1, &(struct pier_sim_opts){ .result = &result }, chaos_of_one_host);
    ck_assert_int_eq(result.faults, 0);
}

static int calm_chaos(void *arg)
{
    struct pier_sim_chaos chaos = { PIER_SECOND, PIER_SECOND, PIER_SECOND, PIER_SECOND, NULL };
    scene_open();
    ck_assert_int_eq(pier_sim_chaos(&chaos), 0);
    return pier_sleep(PIER_MINUTE);
}

TEST(all_hosts_but_main_crash)
{
    char *trace = scene_trace(1, &(struct pier_sim_opts){ 0 }, calm_chaos);
    ck_assert_ptr_nonnull(strstr(trace, "server     host      crash\n"));
    ck_assert_ptr_nonnull(strstr(trace, "client     host      crash\n"));
    ck_assert_ptr_null(strstr(trace, "main       host      crash\n"));
    ck_assert_ptr_nonnull(strstr(trace, "main       cut       ")); /* its ways are cut */
    free(trace);
}

TEST(a_reduction_leaves_chaos_out)
{
    struct pier_sim_result result;
    struct pier_sim_opts opts = { .result = &result, .reduced = "calm=faults" };
    scene_seed(1, &opts, calm_chaos);
    ck_assert_int_eq(result.faults, 0);
    scene_seed(1, &(struct pier_sim_opts){ .result = &result }, calm_chaos);
    ck_assert_int_gt(result.faults, 20);
    char text[64]; /* the first crash of a host, a second cut */
    snprintf(text, sizeof text, "faults=1.%d.0+0.%d.1", SIM_CRASH, SIM_CUT);
    opts.reduced = text;
    scene_seed(1, &opts, calm_chaos);
    ck_assert_int_eq(result.faults, 2);
}

HARNESS_MAIN("sim_host")
