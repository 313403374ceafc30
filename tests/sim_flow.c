/* SPDX-License-Identifier: MIT */
/*
 * sim_flow: what happens on the way: latency, bandwidth, loss, cuts, and who finds out that nothing
 * passes any more, and when.
 */
#include "sim_scene.h"

/* Both ends, of which the far one echoes what it is asked to by the near one. */
static int64_t ping(struct meeting *m)
{
    char byte = '?';
    int64_t before = pier_now();
    ck_assert_int_eq(pier_write(m->here, &byte, 1), 1);
    ck_assert_int_eq(pier_read(m->there, &byte, 1), 1);
    ck_assert_int_eq(pier_write(m->there, &byte, 1), 1);
    ck_assert_int_eq(pier_read(m->here, &byte, 1), 1);
    return pier_now() - before;
}

static void expect_between(int64_t n, int64_t lo, int64_t hi)
{
    ck_assert_int_ge(n, lo);
    ck_assert_int_le(n, hi);
}

static void meet_now(struct meeting *m)
{
    scene_open();
    scene_meet(m, "tcp://server:80");
}

/* ---- delays ---- */

static int has_default_latency(void *arg)
{
    struct meeting m;
    meet_now(&m);
    expect_between(ping(&m), 400 * PIER_MICROSECOND, 450 * PIER_MICROSECOND);
    scene_part(&m);
    return 0;
}

TEST(a_byte_takes_200_us_by_default)
{
    scene_calm(has_default_latency);
}

static int has_a_slow_way(void *arg)
{
    struct meeting m;
    struct pier_sim_link slow = { .latency_ns = 50 * PIER_MILLISECOND };
    struct pier_sim_link none = { .latency_ns = -1, .jitter_ns = -1 };
    meet_now(&m);
    pier_sim_set_link(scene.client, scene.server, &slow); /* this direction only */
    expect_between(ping(&m), 50200 * PIER_MICROSECOND, 50250 * PIER_MICROSECOND);
    pier_sim_set_link(NULL, scene.client, &slow);
    expect_between(ping(&m), 100000 * PIER_MICROSECOND, 100050 * PIER_MICROSECOND);
    pier_sim_set_link(NULL, NULL, &none);
    expect_between(ping(&m), 0, 50 * PIER_MICROSECOND);
    scene_part(&m);
    return 0;
}

TEST(links_are_set_one_direction_at_a_time)
{
    scene_calm(has_a_slow_way);
}

static int jitters(void *arg)
{
    struct meeting m;
    int64_t least = INT64_MAX, most = 0;
    meet_now(&m);
    for (int i = 0; i < 300; i++) {
        int64_t took = ping(&m);
        least = took < least ? took : least;
        most = took > most ? took : most;
    }
    expect_between(least, 400 * PIER_MICROSECOND, 1000 * PIER_MICROSECOND);
    expect_between(most, 2500 * PIER_MICROSECOND, 130 * PIER_MILLISECOND);
    scene_part(&m);
    return 0;
}

TEST(latency_varies_by_the_jitter_and_seldom_by_more)
{
    for (uint64_t seed = 1; seed <= 5; seed++)
        scene_seed(seed, &(struct pier_sim_opts){ .reduced = "calm=split" }, jitters);
}

static int has_bandwidth(void *arg)
{
    static char bytes[100000];
    struct meeting m;
    meet_now(&m);
    struct pier_sim_link narrow = { .bandwidth = 100000 };
    pier_sim_set_link(scene.client, scene.server, &narrow);
    int64_t before = pier_now();
    for (int i = 0; i < 10; i++) {
        ck_assert_int_eq(pier_write(m.here, bytes, 10000), 10000);
        ck_assert_int_eq(pier_read_exact(m.there, bytes, 10000), 10000);
    }
    expect_between(pier_now() - before, PIER_SECOND, PIER_SECOND + 20 * PIER_MILLISECOND);
    before = pier_now();
    ck_assert_int_eq(pier_write(m.there, bytes, 10000), 10000); /* the other way is not narrow */
    ck_assert_int_eq(pier_read_exact(m.here, bytes, 10000), 10000);
    ck_assert_int_lt(pier_now() - before, PIER_MILLISECOND);
    scene_part(&m);
    return 0;
}

TEST(bandwidth_is_bytes_a_second)
{
    scene_calm(has_bandwidth);
}

/* ---- loss ---- */

static int loses_some(void *arg)
{
    struct meeting m;
    struct pier_sim_link lossy = { .loss_ppm = 200000 };
    int slow = 0;
    meet_now(&m);
    pier_sim_set_link(NULL, NULL, &lossy);
    for (int i = 0; i < 100; i++) {
        int64_t took = ping(&m);
        slow += took > 200 * PIER_MILLISECOND; /* repeated after that */
        ck_assert_int_lt(took, 10 * PIER_SECOND);
    }
    expect_between(slow, 15, 70); /* of 100, 36 lose one of two */
    scene_part(&m);
    return 0;
}

TEST(lost_segments_are_sent_again)
{
    scene_passes(loses_some);
}

static int dials_with_loss(void *arg)
{
    struct service echo = { .url = "tcp://server:80", .handler = scene_echo };
    struct pier_sim_link lossy = { .loss_ppm = 300000 };
    int slow = 0;
    scene_open();
    pier_sim_start(scene.server, service_main, &echo);
    pier_close(scene_dial("tcp://server:80"));
    pier_sim_set_link(NULL, NULL, &lossy);
    for (int i = 0; i < 30; i++) {
        int64_t before = pier_now();
        pier_close(scene_dial("tcp://10.0.0.1:80"));
        slow += pier_now() - before > PIER_SECOND;
    }
    expect_between(slow, 4, 29); /* half of the handshakes lose a packet, for a second or more */
    pier_sim_stop(scene.server);
    return pier_sim_join(scene.server);
}

TEST(lost_handshakes_are_repeated_after_a_second)
{
    for (uint64_t seed = 1; seed <= 10; seed++)
        scene_seed(seed, &(struct pier_sim_opts){ .reduced = "calm=split" }, dials_with_loss);
}

static int loses_a_reset(void *arg)
{
    struct meeting m;
    char byte;
    meet_now(&m);
    pier_puts(m.here, "not read");
    pier_sleep(PIER_SECOND);
    struct pier_sim_link deaf = { .loss_ppm = 1000000 };
    pier_sim_set_link(scene.server, scene.client, &deaf);
    int64_t before = pier_now();
    pier_close(m.there); /* a reset, which is lost */
    pier_sleep(PIER_SECOND);
    pier_sim_set_link(scene.server, scene.client, &(struct pier_sim_link){ 0 });
    ck_assert_int_eq(pier_read(m.here, &byte, 1), -ECONNRESET);
    expect_between(pier_now() - before, PIER_SECOND, 2 * PIER_MINUTE + PIER_SECOND);
    scene_part(&m);
    return 0;
}

TEST(keepalive_finds_out_after_a_lost_reset)
{
    scene_passes(loses_a_reset);
}

static int loses_the_reset_of_a_write(void *arg)
{
    struct meeting m;
    char byte;
    meet_now(&m);
    pier_puts(m.here, "not read");
    pier_sleep(PIER_SECOND);
    pier_sim_cut(scene.server, scene.client);
    pier_close(m.there);
    ck_assert_int_eq(pier_puts(m.here, "hello?"), 6); /* gets there; its reset does not */
    pier_sleep(10 * PIER_SECOND);
    pier_sim_heal(scene.server, scene.client);
    int64_t before = pier_now();
    ck_assert_int_eq(pier_read(m.here, &byte, 1), -ECONNRESET); /* it was sent again */
    ck_assert_int_lt(pier_now() - before, 20 * PIER_SECOND);
    scene_part(&m);
    return 0;
}

TEST(a_segment_whose_reset_is_lost_is_sent_again)
{
    scene_passes(loses_the_reset_of_a_write);
}

/* ---- cuts ---- */

static int cuts_one_way(void *arg)
{
    struct meeting m;
    char got[8] = "";
    meet_now(&m);
    pier_sim_cut(scene.client, scene.server);
    ck_assert_int_eq(pier_puts(m.here, "stay"), 4);
    ck_assert_int_eq(pier_puts(m.there, "hello"), 5); /* the other way is open */
    ck_assert_int_eq(pier_read_exact(m.here, got, 5), 5);
    ck_assert_str_eq(got, "hello");
    pier_set_timeouts(m.there, 20000, 0);
    ck_assert_int_eq(pier_read(m.there, got, 1), -ETIMEDOUT);
    pier_sim_heal(scene.client, scene.server);
    int64_t before = pier_now();
    ck_assert_int_eq(pier_read_exact(m.there, got, 4), 4); /* at last, and once */
    ck_assert_int_lt(pier_now() - before, 40 * PIER_SECOND);
    ck_assert_int_eq(memcmp(got, "stay", 4), 0);
    ping(&m);
    scene_part(&m);
    return 0;
}

TEST(a_cut_holds_one_direction_up)
{
    scene_passes(cuts_one_way);
}

static int cuts_all(void *arg)
{
    struct meeting m;
    meet_now(&m);
    pier_sim_cut(NULL, scene.server);
    pier_sim_cut(scene.server, NULL);
    int64_t before = pier_now();
    ck_assert_ptr_null(pier_dial("tcp://10.0.0.1:80", NULL));
    ck_assert_int_eq(pier_error_code(), -ETIMEDOUT);
    expect_between(pier_now() - before, 10 * PIER_SECOND, 11 * PIER_SECOND);
    pier_sim_enter(scene.server);
    struct pier_conn *own = pier_dial("tcp://localhost:80", NULL); /* nothing cuts that off */
    ck_assert_ptr_null(own); /* the server is at one address */
    ck_assert_int_eq(pier_error_code(), -ECONNREFUSED);
    pier_close(scene_dial("tcp://server:80"));
    pier_sim_enter(scene.client);
    pier_sim_heal(NULL, scene.server);
    pier_sim_heal(scene.server, NULL);
    ck_assert_int_lt(ping(&m), PIER_SECOND);
    pier_close(scene_dial("tcp://server:80"));
    scene_part(&m);
    return 0;
}

TEST(a_host_can_be_cut_off_from_all_others)
{
    scene_passes(cuts_all);
}

static int cuts_two_of_three(void *arg)
{
    struct meeting m;
    meet_now(&m);
    struct pier_sim_host *third = pier_sim_host("third", "10.0.0.3");
    pier_sim_cut(scene.client, scene.server);
    ck_assert_ptr_null(pier_dial("tcp://10.0.0.3:80", NULL)); /* its answer comes through */
    ck_assert_int_eq(pier_error_code(), -ECONNREFUSED);
    pier_sim_enter(third);
    pier_close(scene_dial("tcp://10.0.0.1:80"));
    pier_sim_heal(NULL, NULL);
    pier_sim_cut(third, NULL);
    ck_assert_ptr_null(pier_dial("tcp://10.0.0.1:80", NULL));
    pier_sim_enter(scene.client);
    ck_assert_int_lt(ping(&m), PIER_SECOND);
    scene_part(&m);
    return 0;
}

TEST(a_cut_is_between_its_two_hosts)
{
    scene_passes(cuts_two_of_three);
}

static int dials_through_a_heal(void *arg)
{
    struct service echo = { .url = "tcp://server:80", .handler = scene_echo };
    scene_open();
    pier_sim_start(scene.server, service_main, &echo);
    pier_close(scene_dial("tcp://server:80"));
    pier_sim_cut(scene.server, scene.client); /* the answers */
    struct pier_scope healing;
    pier_scope_open(&healing, pier_after(4 * PIER_SECOND));
    struct pier_conn *c = pier_dial("tcp://10.0.0.1:80", NULL);
    ck_assert_ptr_null(c);
    pier_scope_join(&healing);
    pier_sim_heal(scene.server, scene.client);
    pier_close(scene_dial("tcp://server:80"));
    pier_sim_stop(scene.server);
    return pier_sim_join(scene.server);
}

TEST(a_connect_needs_both_directions)
{
    scene_passes(dials_through_a_heal);
}

static int cut_for(int64_t ns, bool writes, int wanted)
{
    struct meeting m;
    char byte;
    meet_now(&m);
    pier_sim_cut(scene.client, scene.server);
    pier_sim_cut(scene.server, scene.client);
    int64_t before = pier_now();
    if (writes)
        ck_assert_int_eq(pier_puts(m.here, "hello?"), 6);
    pier_sleep(ns);
    pier_sim_heal(scene.client, scene.server);
    pier_sim_heal(scene.server, scene.client);
    if (wanted == 0) {
        if (writes)
            ck_assert_int_eq(pier_read_exact(m.there, (char[8]){ 0 }, 6), 6);
        ping(&m);
    } else {
        ck_assert_int_eq(pier_read(m.here, &byte, 1), wanted);
        ck_assert_int_lt(pier_now() - before, ns + PIER_MINUTE);
    }
    scene_part(&m);
    return 0;
}

static int is_cut_for_half_a_minute(void *arg)
{
    cut_for(30 * PIER_SECOND, false, 0);
    return 0;
}

static int writes_into_half_a_minute(void *arg)
{
    return cut_for(30 * PIER_SECOND, true, 0);
}

static int is_cut_for_long(void *arg)
{
    return cut_for(5 * PIER_MINUTE, false, -ETIMEDOUT);
}

static int writes_for_long(void *arg)
{
    return cut_for(5 * PIER_MINUTE, true, -ETIMEDOUT);
}

TEST(connections_outlive_a_short_cut)
{
    scene_passes(is_cut_for_half_a_minute);
    scene_passes(writes_into_half_a_minute);
}

TEST(connections_do_not_outlive_a_long_cut)
{
    scene_passes(is_cut_for_long);
    scene_passes(writes_for_long);
}

static int is_cut_again_and_again(void *arg)
{
    struct meeting m;
    meet_now(&m);
    for (int i = 0; i < 20; i++) { /* each time shorter than keepalive takes */
        pier_sim_cut(scene.client, scene.server);
        pier_sleep(20 * PIER_SECOND);
        pier_sim_heal(scene.client, scene.server);
        pier_sleep(PIER_SECOND);
    }
    ping(&m);
    scene_part(&m);
    return 0;
}

TEST(short_cuts_do_not_add_up)
{
    scene_passes(is_cut_again_and_again);
}

static int sets_timeouts(void *arg)
{
    struct meeting m;
    char byte;
    struct pier_sock_opts hasty = { .user_timeout_ms = 5000 };
    meet_now(&m);
    ck_assert_int_eq(pier_conn_set_opts(m.here, &hasty), 0);
    pier_sim_cut(scene.client, scene.server);
    int64_t before = pier_now();
    ck_assert_int_eq(pier_puts(m.here, "hello?"), 6);
    ck_assert_int_eq(pier_read(m.here, &byte, 1), -ETIMEDOUT);
    expect_between(pier_now() - before, 5 * PIER_SECOND, 15 * PIER_SECOND);
    scene_part(&m);
    return 0;
}

TEST(the_user_timeout_is_the_connections)
{
    scene_passes(sets_timeouts);
}

static int has_no_keepalive(void *arg)
{
    struct meeting m;
    char byte;
    struct pier_sock_opts patient = { .no_keepalive = true };
    meet_now(&m);
    ck_assert_int_eq(pier_conn_set_opts(m.here, &patient), 0);
    pier_set_timeouts(m.here, 3600 * 1000, 0);
    pier_sim_crash(scene.server);
    int64_t before = pier_now();
    ck_assert_int_eq(pier_read(m.here, &byte, 1), -ETIMEDOUT);
    expect_between(pier_now() - before, PIER_HOUR, PIER_HOUR + PIER_SECOND); /* the read's own */
    scene_part(&m);
    return 0;
}

TEST(without_keepalive_a_silent_peer_is_not_found_out)
{
    scene_passes(has_no_keepalive);
}

/* ---- windows ---- */

static int write_much(void *arg)
{
    static char bytes[1 << 20];
    struct meeting *m = arg;
    pier_set_timeouts(m->here, 0, 3600 * 1000);
    return (int)pier_write(m->here, bytes, sizeof bytes);
}

static int crashes_with_a_full_window(void *arg)
{
    struct meeting m;
    struct pier_scope scope;
    struct pier_sock_opts no_keepalive = { .no_keepalive = true };
    meet_now(&m);
    ck_assert_int_eq(pier_conn_set_opts(m.here, &no_keepalive), 0);
    pier_scope_open(&scope, 0);
    pier_spawn(&scope, write_much, &m);
    pier_sleep(PIER_MINUTE);
    pier_sim_crash(scene.server);
    int64_t before = pier_now();
    ck_assert_int_eq(pier_scope_join(&scope), -ETIMEDOUT);
    expect_between(pier_now() - before, PIER_MINUTE, 10 * PIER_MINUTE);
    scene_part(&m);
    return 0;
}

TEST(a_full_window_is_probed)
{
    scene_passes(crashes_with_a_full_window);
}

static int opens_a_window(void *arg)
{
    static char bytes[1 << 20];
    struct meeting m;
    meet_now(&m);
    pier_set_timeouts(m.here, 0, 1000);
    ck_assert_int_eq(pier_write(m.here, bytes, sizeof bytes), -ETIMEDOUT);
    int64_t written, got = 0;
    pier_conn_bytes(m.here, NULL, &written);
    pier_set_timeouts(m.there, 1000, 0);
    for (ssize_t n; (n = pier_read(m.there, bytes, 100)) > 0;)
        got += n;
    ck_assert_int_eq(got, written); /* all that was passed on arrives */
    scene_part(&m);
    return 0;
}

TEST(a_window_opens_as_its_reader_reads)
{
    scene_passes(opens_a_window);
}

/* tcp(7), tcp_syn_retries: 1 + 2 + 4 … + 64 s. */
static int gives_up_connecting(void *arg)
{
    struct pier_dial_opts patient = { .connect_timeout_ms = PIER_NO_TIMEOUT };
    scene_open();
    pier_sim_cut(scene.client, scene.server);
    int64_t began = pier_now();
    ck_assert_ptr_null(pier_dial("tcp://10.0.0.1:80", &patient));
    ck_assert_int_eq(pier_error_code(), -ETIMEDOUT);
    expect_between(pier_now() - began, 127 * PIER_SECOND, 128 * PIER_SECOND);
    return 0;
}

TEST(connecting_is_given_up_after_127_s)
{
    scene_passes(gives_up_connecting);
}

static int loses_what_is_under_way(void *arg)
{
    struct meeting m;
    char got[8];
    meet_now(&m);
    struct pier_sim_link slow = { .latency_ns = PIER_SECOND };
    pier_sim_set_link(NULL, NULL, &slow);
    ck_assert_int_eq(pier_puts(m.there, "lost"), 4);
    pier_sleep(PIER_SECOND / 2);
    pier_sim_crash(scene.server);
    ck_assert_int_eq(pier_read(m.here, got, 4), -ETIMEDOUT);
    scene_part(&m);
    return 0;
}

TEST(a_crash_loses_what_is_under_way)
{
    scene_passes(loses_what_is_under_way);
}

HARNESS_MAIN("sim_flow")
