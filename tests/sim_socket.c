/* SPDX-License-Identifier: MIT */
/*
 * sim_socket: binding, listening, connecting and closing on simulated hosts, as connections and
 * servers see it. What single calls return is compared with the kernel's in sim_faithful.c.
 */
#include "sim_raw.h"
#include "sim_scene.h"

/* ---- binding and listening ---- */

static int listen_at(const char *url)
{
    struct pier_server *s = pier_server_new(NULL);
    pier_server_add(s, url, scene_echo, NULL);
    int rc = pier_server_listen(s);
    pier_server_free(s);
    return rc;
}

static int binds(void *arg)
{
    struct raw l, second;
    scene_open();
    ck_assert_int_eq(raw_listen(&l, raw_addr("10.0.0.2", 80), 5), 0);
    ck_assert_int_eq(raw_listen(&second, raw_addr("10.0.0.2", 80), 5), -EADDRINUSE);
    ck_assert_int_eq(raw_listen(&second, raw_addr("0.0.0.0", 80), 5), -EADDRINUSE);
    ck_assert_int_eq(raw_listen(&second, raw_addr("10.0.0.1", 80), 5), -EADDRNOTAVAIL);
    ck_assert_int_eq(raw_listen(&second, raw_addr("fd00::1", 80), 5), -EADDRNOTAVAIL);
    const char *const free_ones[] = { "127.0.0.1", "::1", "fd00::2" };
    for (int i = 0; i < 3; i++) {
        ck_assert_int_eq(raw_listen(&second, raw_addr(free_ones[i], 80), 5), 0);
        raw_close(&second);
    }
    ck_assert_int_eq(raw_listen(&second, raw_addr("::", 80), 5), 0); /* IPv6 alone */
    raw_close(&second);
    ck_assert_int_eq(listen_at("tcp://client:80"), -EADDRINUSE);
    ck_assert_str_eq(pier_error(), "listen tcp://client:80: address already in use");
    ck_assert_int_eq(listen_at("tcp://server:80"), -EADDRNOTAVAIL);
    pier_sim_enter(scene.server); /* who has ports of its own */
    ck_assert_int_eq(listen_at("tcp://server:80"), 0);
    pier_sim_enter(scene.client);
    raw_close(&l);
    ck_assert_int_eq(listen_at("tcp://:80"), 0);
    return 0;
}

TEST(an_address_is_listened_at_once)
{
    scene_passes(binds);
}

static int takes_any_port(void *arg)
{
    enum { COUNT = 30 };
    struct raw l[COUNT];
    int ports[COUNT];
    scene_open();
    for (int i = 0; i < COUNT; i++) {
        ck_assert_int_eq(raw_listen(&l[i], raw_addr("10.0.0.2", 0), 5), 0);
        struct sim_addr addr = raw_local(&l[i]);
        ports[i] = raw_port(&addr);
        ck_assert(ports[i] >= 32768 && ports[i] < 61000);
        for (int k = 0; k < i; k++)
            ck_assert_int_ne(ports[i], ports[k]);
    }
    for (int i = 0; i < COUNT; i++)
        raw_close(&l[i]);
    return 0;
}

TEST(port_0_is_a_free_one)
{
    scene_passes(takes_any_port);
}

static int is_reached_by_any_address(void *arg)
{
    struct service echo = { .url = "tcp://:80", .handler = scene_echo };
    scene_open();
    pier_sim_start(scene.server, service_main, &echo);
    pier_close(scene_dial("tcp://10.0.0.1:80"));
    pier_close(scene_dial("tcp://[fd00::1]:80"));
    pier_sim_enter(scene.server);
    pier_close(scene_dial("tcp://10.0.0.1:80"));
    struct pier_conn *c = scene_dial("tcp://localhost:80");
    ck_assert_str_eq(pier_peer(c), "[::1]:80");
    pier_close(c);
    pier_sim_stop(scene.server);
    return pier_sim_join(scene.server);
}

TEST(a_wildcard_listens_at_all_addresses)
{
    scene_passes(is_reached_by_any_address);
}

/* ---- connecting ---- */

static int is_refused(void *arg)
{
    scene_open();
    int64_t before = pier_now();
    ck_assert_ptr_null(pier_dial("tcp://10.0.0.1:80", NULL));
    ck_assert_int_eq(pier_error_code(), -ECONNREFUSED);
    ck_assert_str_eq(pier_error(), "dial tcp://10.0.0.1:80: connection refused");
    ck_assert_int_ge(pier_now() - before, 400 * PIER_MICROSECOND); /* there and back */
    return 0;
}

TEST(a_connect_is_refused_where_nobody_listens)
{
    scene_passes(is_refused);
}

static int finds_no_host(void *arg)
{
    scene_open();
    int64_t before = pier_now();
    ck_assert_ptr_null(pier_dial("tcp://10.0.0.9:80", NULL));
    ck_assert_int_eq(pier_error_code(), -EHOSTUNREACH);
    ck_assert_int_ge(pier_now() - before, 3 * PIER_SECOND);
    ck_assert_int_lt(pier_now() - before, 4 * PIER_SECOND);
    return 0;
}

TEST(an_address_that_nobody_has_is_unreachable_after_three_seconds)
{
    scene_passes(finds_no_host);
}

static int has_no_way(void *arg)
{
    scene_open();
    pier_sim_enter(pier_sim_host("old", "10.0.0.3"));
    ck_assert_ptr_null(pier_dial("tcp://[fd00::1]:80", NULL));
    ck_assert_int_eq(pier_error_code(), -ENETUNREACH);
    return 0;
}

TEST(a_family_that_the_host_lacks_is_unreachable)
{
    scene_passes(has_no_way);
}

static int races(void *arg)
{
    struct service echo = { .url = "tcp://server:80", .handler = scene_echo };
    scene_open();
    pier_sim_name("many", "10.0.0.8 10.0.0.9 10.0.0.1");
    pier_sim_start(scene.server, service_main, &echo);
    pier_close(scene_dial("tcp://server:80"));
    int64_t before = pier_now();
    struct pier_conn *c = pier_dial("tcp://many:80", NULL);
    ck_assert_ptr_nonnull(c);
    ck_assert_str_eq(pier_peer(c), "10.0.0.1:80");
    ck_assert_int_ge(pier_now() - before, 500 * PIER_MILLISECOND); /* RFC 8305: 250 ms each */
    ck_assert_int_lt(pier_now() - before, 700 * PIER_MILLISECOND);
    pier_close(c);
    pier_sim_stop(scene.server);
    return pier_sim_join(scene.server);
}

TEST(addresses_are_raced)
{
    scene_passes(races);
}

static int waits_for_the_backlog(void *arg)
{
    struct raw l, c[4], s;
    scene_open();
    pier_sim_enter(scene.server);
    ck_assert_int_eq(raw_listen(&l, raw_addr("10.0.0.1", 80), 1), 0);
    pier_sim_enter(scene.client);
    for (int i = 0; i < 3; i++) {
        ck_assert_int_eq(raw_open(&c[i], AF_INET), 0);
        ck_assert_int_eq(raw_connect(&c[i], raw_addr("10.0.0.1", 80)), i < 2 ? 0 : -ETIMEDOUT);
    }
    int64_t before = pier_now();
    ck_assert_int_eq(raw_accept(&l, &s), 0);
    raw_close(&s);
    struct io_op op = { .code = IO_CONNECT, .fd = &c[2].f, .deadline_ns = pier_after(PIER_MINUTE) };
    ck_assert_int_eq(io_run(&op), 0); /* it goes on by itself, after a second or so */
    ck_assert_int_gt(pier_now() - before, PIER_SECOND / 2);
    ck_assert_int_lt(pier_now() - before, 8 * PIER_SECOND);
    for (int i = 0; i < 3; i++)
        raw_close(&c[i]);
    raw_close(&l);
    return 0;
}

TEST(a_connect_to_a_full_backlog_is_tried_again)
{
    scene_calm(waits_for_the_backlog);
}

static int gives_a_connect_up(void *arg)
{
    struct raw l, c, s;
    scene_open();
    ck_assert_int_eq(raw_listen(&l, raw_addr("10.0.0.2", 80), 5), 0);
    ck_assert_int_eq(raw_open(&c, AF_INET), 0);
    struct sim_addr to = raw_addr("10.0.0.2", 80);
    struct io_op op = { .code = IO_CONNECT, .fd = &c.f, .buf = &to.any, .addr_len = to.len };
    ck_assert_int_eq(io_try(&op), -EAGAIN);
    pier_sleep(pier_sim_between(0, 100) * PIER_MICROSECOND);
    raw_close(&c);
    int rc = raw_accept(&l, &s); /* it may have been through */
    ck_assert(rc == 0 || rc == -ETIMEDOUT);
    if (rc == 0) {
        char byte;
        ck_assert_int_eq(raw_recv(&s, &byte, 1), 0);
        raw_close(&s);
    }
    *(int *)arg |= rc == 0 ? 1 : 2;
    raw_close(&l);
    return 0;
}

TEST(a_connect_that_is_given_up_reaches_the_listener_or_not)
{
    int seen = 0;
    for (uint64_t seed = 1; seed <= 50; seed++)
        scene_seed(seed, &(struct pier_sim_opts){ .arg = &seen }, gives_a_connect_up);
    ck_assert_int_eq(seen, 3);
}

static int drops_the_backlog(void *arg)
{
    struct raw l, c;
    char byte;
    scene_open();
    pier_sim_enter(scene.server);
    ck_assert_int_eq(raw_listen(&l, raw_addr("10.0.0.1", 80), 5), 0);
    pier_sim_enter(scene.client);
    ck_assert_int_eq(raw_open(&c, AF_INET), 0);
    ck_assert_int_eq(raw_connect(&c, raw_addr("10.0.0.1", 80)), 0);
    if (pier_sim_between(0, 1))
        pier_sleep(PIER_SECOND); /* else its last packet may be on its way */
    raw_close(&l);
    ck_assert_int_eq(raw_recv(&c, &byte, 1), -ECONNRESET);
    raw_close(&c);
    return 0;
}

TEST(connections_that_nobody_accepts_are_reset_with_their_listener)
{
    scene_passes(drops_the_backlog);
}

/* ---- data ---- */

enum { MUCH = 300000 };

static int send_much(void *arg)
{
    struct pier_conn *c = arg;
    static unsigned char bytes[MUCH];
    for (size_t i = 0; i < MUCH; i++)
        bytes[i] = (unsigned char)(i * 7 + i / 256);
    for (size_t at = 0; at < MUCH;) {
        size_t n = (size_t)pier_sim_between(1, 60000);
        n = n < MUCH - at ? n : MUCH - at;
        if (pier_write(c, bytes + at, n) < 0)
            return pier_error_code();
        at += n;
    }
    return pier_shutdown_write(c);
}

static int receive_much(struct pier_conn *c, bool *was_split)
{
    static unsigned char buf[50000];
    size_t at = 0, wrong = 0;
    ssize_t n;
    while ((n = pier_read(c, buf, sizeof buf)) > 0) {
        for (size_t i = 0; i < (size_t)n; i++, at++)
            wrong += buf[i] != (unsigned char)(at * 7 + at / 256);
        *was_split |= n % 1460 != 0 && at != MUCH;
    }
    ck_assert_int_eq(n, 0);
    ck_assert_uint_eq(at, MUCH);
    ck_assert_uint_eq(wrong, 0);
    return 0;
}

static int transfers(void *arg)
{
    struct meeting m;
    struct pier_scope scope;
    scene_open();
    scene_meet(&m, "tcp://server:80");
    pier_scope_open(&scope, 0);
    pier_spawn(&scope, send_much, m.there);
    receive_much(m.here, arg);
    ck_assert_int_eq(pier_puts(m.here, "thanks"), 6); /* the other half is open */
    char got[8] = "";
    ck_assert_int_eq(pier_read_exact(m.there, got, 6), 6);
    ck_assert_str_eq(got, "thanks");
    ck_assert_int_eq(pier_scope_join(&scope), 0);
    scene_part(&m);
    return 0;
}

TEST(bytes_arrive_once_in_order_and_in_pieces)
{
    bool was_split = false;
    for (uint64_t seed = 1; seed <= 20; seed++)
        scene_seed(seed, &(struct pier_sim_opts){ .arg = &was_split }, transfers);
    ck_assert(was_split);
    struct pier_sim_opts lossy = { .arg = &was_split, .link.loss_ppm = 50000 };
    for (uint64_t seed = 1; seed <= 5; seed++)
        scene_seed(seed, &lossy, transfers);
}

struct reader {
    struct pier_conn *c;
    bool was_split;
};

static int read_all(void *arg)
{
    struct reader *r = arg;
    return receive_much(r->c, &r->was_split);
}

static int reads_once(void *arg)
{
    static char bytes[500];
    struct pier_conn *ends[2];
    ck_assert_int_eq(pier_conn_pair(ends), 0);
    ck_assert_int_eq(pier_set_timeouts(ends[0], 0, 1000), 0);
    if (pier_write(ends[0], bytes, 500) == 500) {
        ssize_t n = pier_read(ends[1], bytes, sizeof bytes);
        ck_assert(n > 0 && n <= 500);
        *(int *)arg += n < 500;
    }
    pier_close(ends[0]);
    pier_close(ends[1]);
    return 0;
}

TEST(a_read_may_get_less_than_there_is)
{
    int count = 0;
    struct pier_sim_opts opts = { .arg = &count };
    for (uint64_t seed = 1; seed <= 100; seed++)
        scene_seed(seed, &opts, reads_once);
    ck_assert_int_gt(count, 5);
    ck_assert_int_lt(count, 80);
    count = 0;
    opts.reduced = "calm=split";
    for (uint64_t seed = 1; seed <= 100; seed++)
        scene_seed(seed, &opts, reads_once);
    ck_assert_int_eq(count, 0);
}

static int relays_between_hosts(void *arg)
{
    struct pier_conn *pair[2];
    struct meeting m;
    struct pier_scope scope;
    int64_t counts[2];
    scene_open();
    scene_meet(&m, "tcp://server:80");
    ck_assert_int_eq(pier_conn_pair(pair), 0);
    struct reader r = { .c = pair[0] };
    pier_scope_open(&scope, 0);
    pier_spawn(&scope, send_much, m.there);
    pier_spawn(&scope, read_all, &r);
    pier_shutdown_write(pair[0]);
    ck_assert_int_eq(pier_copy(m.here, pair[1], counts), 0);
    ck_assert_int_eq(counts[0], MUCH);
    ck_assert_int_eq(counts[1], 0);
    ck_assert_int_eq(pier_scope_join(&scope), 0);
    pier_close(pair[0]);
    pier_close(pair[1]);
    scene_part(&m);
    return 0;
}

TEST(a_relay_passes_everything_on)
{
    scene_passes(relays_between_hosts);
}

static int writes_to_nobody(void *arg)
{
    static char bytes[1 << 20];
    struct meeting m;
    scene_open();
    scene_meet(&m, "tcp://server:80");
    pier_set_timeouts(m.here, 0, 5000);
    int64_t before = pier_now();
    ck_assert_int_eq(pier_write(m.here, bytes, sizeof bytes), -ETIMEDOUT);
    ck_assert_int_ge(pier_now() - before, 5 * PIER_SECOND);
    ck_assert_int_lt(pier_now() - before, 15 * PIER_SECOND);
    int64_t got = 0;
    ssize_t n;
    pier_close(m.here);
    m.here = NULL;
    while ((n = pier_read(m.there, bytes, sizeof bytes)) > 0)
        got += n;
    ck_assert_int_eq(n, 0);
    ck_assert_int_gt(got, 0);
    ck_assert_int_lt(got, sizeof bytes);
    scene_part(&m);
    return 0;
}

TEST(a_full_window_ends_a_write_by_its_timeout)
{
    scene_passes(writes_to_nobody);
}

static int sets_buffers(void *arg)
{
    static char bytes[1 << 20];
    struct meeting m;
    struct pier_serve_opts small = { .sock = { .recv_buffer = 3000 } };
    struct pier_sock_opts send_small = { .send_buffer = 2000 };
    int64_t written;
    scene_open();
    scene_meet_with(&m, "tcp://server:80", &small);
    ck_assert_int_eq(pier_conn_set_opts(m.here, &send_small), 0);
    pier_set_timeouts(m.here, 0, 1000);
    ck_assert_int_eq(pier_write(m.here, bytes, sizeof bytes), -ETIMEDOUT);
    pier_conn_bytes(m.here, NULL, &written);
    ck_assert_int_le(written, 5000);
    ck_assert_int_gt(written, 2000);
    scene_part(&m);
    return 0;
}

TEST(buffers_have_the_size_that_was_asked_for)
{
    scene_calm(sets_buffers);
}

/* ---- ends ---- */

static int closes_with_input(void *arg)
{
    struct meeting m;
    char got[8];
    scene_open();
    scene_meet(&m, "tcp://server:80");
    pier_puts(m.here, "unread");
    pier_puts(m.there, "last");
    pier_sleep(PIER_SECOND);
    pier_close(m.there); /* early, with input */
    pier_sleep(PIER_SECOND);
    ck_assert_int_eq(pier_read_exact(m.here, got, 4), 4); /* what had come before */
    ck_assert_int_eq(pier_read(m.here, got, 1), -ECONNRESET);
    ck_assert_int_eq(pier_read(m.here, got, 1), -ECONNRESET); /* a connection's errors stay */
    ck_assert_int_eq(pier_puts(m.here, "x"), -EPIPE);
    scene_part(&m);
    return 0;
}

TEST(closing_with_unread_input_resets)
{
    scene_passes(closes_with_input);
}

static int tells_once(void *arg)
{
    struct raw l, c, s;
    char got[8];
    scene_open();
    pier_sim_enter(scene.server);
    ck_assert_int_eq(raw_listen(&l, raw_addr("10.0.0.1", 80), 5), 0);
    pier_sim_enter(scene.client);
    ck_assert_int_eq(raw_open(&c, AF_INET), 0);
    ck_assert_int_eq(raw_connect(&c, raw_addr("10.0.0.1", 80)), 0);
    ck_assert_int_eq(raw_accept(&l, &s), 0);
    ck_assert_int_eq(raw_send(&c, "x", 1), 1);
    pier_sleep(PIER_SECOND);
    raw_close(&s);
    pier_sleep(PIER_SECOND);
    bool first_writes = pier_sim_between(0, 1);
    ck_assert_int_eq(first_writes ? raw_send(&c, "y", 1) : raw_recv(&c, got, 1), -ECONNRESET);
    ck_assert_int_eq(raw_recv(&c, got, 1), 0);
    ck_assert_int_eq(raw_send(&c, "z", 1), -EPIPE);
    raw_close(&c);
    raw_close(&l);
    return 0;
}

TEST(an_error_is_told_once)
{
    scene_passes(tells_once);
}

static int closes_and_delivers(void *arg)
{
    struct meeting m;
    char got[100] = "";
    scene_open();
    scene_meet(&m, "tcp://server:80");
    pier_puts(m.here, "the end");
    pier_close(m.here); /* what was written is still delivered */
    m.here = NULL;
    ck_assert_int_eq(pier_read_exact(m.there, got, 7), 7);
    ck_assert_str_eq(got, "the end");
    ck_assert_int_eq(pier_read(m.there, got, 1), 0);
    ck_assert_int_eq(pier_puts(m.there, "too late"), 8);
    pier_sleep(PIER_SECOND);
    ck_assert_int_eq(pier_puts(m.there, "much too late"), -EPIPE);
    scene_part(&m);
    return 0;
}

TEST(a_close_delivers_what_was_written)
{
    scene_passes(closes_and_delivers);
}

/* ---- Unix sockets ---- */

static int serves_paths(void *arg)
{
    const char *url = arg;
    struct service echo = { .url = url, .handler = scene_echo };
    char got[8] = "";
    scene_open();
    ck_assert_ptr_null(pier_dial(url, NULL));
    ck_assert_int_eq(pier_error_code(), strchr(url, '@') ? -ECONNREFUSED : -ENOENT);
    pier_sim_start(scene.server, service_main, &echo);
    pier_sim_enter(scene.server);
    struct pier_conn *c = scene_dial(url);
    ck_assert_str_eq(pier_peer(c), url + strlen("unix://"));
    struct pier_peer_cred cred;
    ck_assert_int_eq(pier_peer_cred(c, &cred), 0);
    ck_assert_int_gt(cred.pid, 0);
    pier_puts(c, "hello");
    ck_assert_int_eq(pier_read_exact(c, got, 5), 5);
    ck_assert_str_eq(got, "hello");
    pier_close(c);
    ck_assert_int_eq(listen_at(url), -EADDRINUSE);
    pier_sim_enter(scene.client); /* another machine */
    ck_assert_ptr_null(pier_dial(url, NULL));
    ck_assert_int_eq(listen_at(url), 0);
    pier_sim_stop(scene.server);
    ck_assert_int_eq(pier_sim_join(scene.server), 0);
    pier_sim_enter(scene.server);
    ck_assert_ptr_null(pier_dial(url, NULL)); /* its server has removed it */
    ck_assert_int_eq(pier_error_code(), strchr(url, '@') ? -ECONNREFUSED : -ENOENT);
    return 0;
}

TEST(unix_sockets_belong_to_their_host)
{
    static const char *const urls[] = { "unix:///run/echo", "unix://@echo" };
    for (int i = 0; i < 2; i++)
        for (uint64_t seed = 1; seed <= 10; seed++)
            scene_seed(seed, &(struct pier_sim_opts){ .arg = (void *)(uintptr_t)urls[i] },
                       serves_paths);
}

static int replaces_a_path(void *arg)
{
    struct service echo = { .url = "unix:///run/echo", .handler = scene_echo };
    struct raw l;
    scene_open();
    pier_sim_enter(scene.server);
    ck_assert_int_eq(raw_listen(&l, raw_addr("/run/echo", 0), 5), 0);
    raw_close(&l); /* without a word, as a process that is killed */
    ck_assert_ptr_null(pier_dial("unix:///run/echo", NULL));
    ck_assert_int_eq(pier_error_code(), -ECONNREFUSED);
    pier_sim_start(scene.server, service_main, &echo);
    pier_close(scene_dial("unix:///run/echo"));
    pier_sim_crash(scene.server); /* files stay */
    ck_assert_int_eq(pier_sim_restart(scene.server), 0);
    pier_close(scene_dial("unix:///run/echo"));
    pier_sim_stop(scene.server);
    return pier_sim_join(scene.server);
}

TEST(a_path_that_was_left_behind_is_replaced)
{
    scene_passes(replaces_a_path);
}

static int fills_a_unix_backlog(void *arg)
{
    struct raw l, c[3];
    ck_assert_int_eq(raw_listen(&l, raw_addr("@full", 0), 1), 0);
    for (int i = 0; i < 3; i++) {
        ck_assert_int_eq(raw_open(&c[i], AF_UNIX), 0);
        ck_assert_int_eq(raw_connect(&c[i], raw_addr("@full", 0)), i < 2 ? 0 : -ENOBUFS);
    }
    struct pier_dial_opts hasty = { .connect_timeout_ms = 200 };
    ck_assert_ptr_null(pier_dial("unix://@full", &hasty)); /* which tries again until then */
    ck_assert_int_eq(pier_error_code(), -ETIMEDOUT);
    for (int i = 0; i < 3; i++)
        raw_close(&c[i]);
    raw_close(&l);
    return 0;
}

TEST(a_full_unix_backlog_says_so)
{
    scene_calm(fills_a_unix_backlog);
}

static int uses_a_pair(void *arg)
{
    struct pier_conn *ends[2];
    struct pier_scope scope;
    bool was_split = false;
    ck_assert_int_eq(pier_conn_pair(ends), 0);
    ck_assert_str_eq(pier_peer(ends[0]), "unix");
    pier_scope_open(&scope, 0);
    pier_spawn(&scope, send_much, ends[0]);
    receive_much(ends[1], &was_split);
    ck_assert_int_eq(pier_scope_join(&scope), 0);
    pier_close(ends[0]);
    pier_close(ends[1]);
    return 0;
}

TEST(a_pair_passes_everything_on)
{
    scene_passes(uses_a_pair);
}

/* ---- what can be asked ---- */

static int asks_for_tcp_info(void *arg)
{
    struct meeting m;
    struct pier_tcp_info info;
    scene_open();
    scene_meet(&m, "tcp://server:80");
    ck_assert_int_eq(pier_tcp_info(m.here, &info), 0);
    ck_assert_int_eq(info.min_rtt_us, 400); /* the default's */
    struct pier_sim_link slow = { .latency_ns = 30 * PIER_MILLISECOND };
    pier_sim_set_link(NULL, NULL, &slow);
    ck_assert_int_eq(pier_tcp_info(m.here, &info), 0);
    ck_assert_int_eq(info.min_rtt_us, 60000);
    struct pier_sim_link none = { .latency_ns = -1 };
    pier_sim_set_link(NULL, NULL, &none);
    ck_assert_int_eq(pier_tcp_info(m.here, &info), 0);
    ck_assert_int_eq(info.min_rtt_us, 0);
    scene_part(&m);
    return 0;
}

TEST(tcp_info_has_the_links_latency)
{
    scene_calm(asks_for_tcp_info);
}

HARNESS_MAIN("sim_socket")
