/* SPDX-License-Identifier: MIT */
/* backends: epoll io_uring */
/*
 * net_idle: connections of a server that wait for input without a task. Clients are plain sockets.
 */
#include "net_serving.h"

#include <malloc.h>

static _Atomic int calls;

/* Echoes what is there, and waits without a task where it may. */
static int echo_and_idle(struct pier_conn *c, void *arg)
{
    char buf[256];
    calls++;
    for (;;) {
        ssize_t n = pier_read(c, buf, sizeof buf);
        if (n <= 0)
            return (int)n;
        if (pier_write(c, buf, (size_t)n) < 0)
            return -EIO;
        if (c->may_idle)
            return PI_IDLE;
    }
}

static void serve_idle(struct serving *sv, const struct pier_serve_opts *opts, int64_t idle_ns)
{
    int before = count_fds();
    pier_log_set(keep_record, NULL);
    struct pier_server *s = pier_server_new(opts);
    ck_assert_int_eq(pier_server_add(s, "tcp://127.0.0.1:0", echo_and_idle, NULL), 0);
    s->endpoints[0].idle_ns = idle_ns;
    ck_assert_int_eq(pier_server_listen(s), 0);
    serve_with(sv, s);
    sv->fds = before;
}

static const struct pier_serve_opts one = { .workers = 1 }, two = { .workers = 2 };

TEST(a_silent_connection_is_counted_and_has_no_handler)
{
    struct serving sv;
    serve_idle(&sv, &one, PIER_MINUTE);
    int fd = client(sv.server);
    AWAIT(pier_server_conns(sv.server) == 1);
    ck_assert_int_eq(calls, 0);
    expect_echo(fd, "a");
    ck_assert_int_eq(calls, 1);
    close(fd);
    ck_assert_int_eq(end_serving(&sv), 0);
}

TEST(each_time_there_is_input_the_handler_is_called)
{
    struct serving sv;
    serve_idle(&sv, &two, PIER_MINUTE);
    int fd = client(sv.server);
    for (int i = 1; i <= 100; i++) {
        expect_echo(fd, "more");
        ck_assert_int_eq(calls, i);
    }
    close(fd);
    AWAIT(pier_server_conns(sv.server) == 0);
    ck_assert_int_eq(end_serving(&sv), 0);
}

TEST(input_that_comes_while_the_handler_ends_is_not_missed)
{
    struct serving sv;
    serve_idle(&sv, &two, PIER_MINUTE);
    int fd = client(sv.server);
    char got[1];
    for (int i = 0; i < 2000; i++)
        send_all(fd, "x", 1);
    for (int i = 0; i < 2000; i++)
        ck_assert_uint_eq(recv_all(fd, got, 1), 1);
    close(fd);
    ck_assert_int_eq(end_serving(&sv), 0);
}

TEST(silence_ends_a_connection_that_never_spoke)
{
    struct serving sv;
    char got[8];
    serve_idle(&sv, &one, 20 * PIER_MILLISECOND);
    int fd = client(sv.server);
    ck_assert_int_eq(read_to_end(fd, got, sizeof got), 0);
    close(fd);
    ck_assert_int_eq(calls, 0);
    ck_assert_int_eq(end_serving(&sv), 0);
}

TEST(silence_is_counted_from_the_last_input)
{
    struct serving sv;
    char got[8];
    serve_idle(&sv, &one, 300 * PIER_MILLISECOND);
    int64_t began = pier_now();
    int fd = client(sv.server);
    ck_assert_int_eq(pier_sleep(200 * PIER_MILLISECOND), 0);
    expect_echo(fd, "x");
    ck_assert_int_eq(read_to_end(fd, got, sizeof got), 0);
    ck_assert_int_ge(pier_now() - began, 500 * PIER_MILLISECOND);
    close(fd);
    ck_assert_int_eq(end_serving(&sv), 0);
}

TEST(a_stop_closes_what_waits_at_once)
{
    struct serving sv;
    char got[8];
    serve_idle(&sv, &(struct pier_serve_opts){ .workers = 2, .grace_ms = PIER_NO_TIMEOUT },
               PIER_MINUTE);
    int fds[20];
    for (int i = 0; i < 20; i++)
        fds[i] = client(sv.server);
    for (int i = 0; i < 10; i++)
        expect_echo(fds[i], "x");
    AWAIT(pier_server_conns(sv.server) == 20);
    pier_server_stop_remote(sv.server);
    for (int i = 0; i < 20; i++) {
        ck_assert_int_eq(read_to_end(fds[i], got, sizeof got), 0);
        close(fds[i]);
    }
    ck_assert_int_eq(finish_serving(&sv), 0);
}

TEST(what_is_asked_before_the_stop_is_answered)
{
    struct pier_server *s = pier_server_new(&one);
    struct serving sv;
    char got[8];
    ck_assert_int_eq(pier_server_add(s, "tcp://127.0.0.1:0", echo_and_idle, NULL), 0);
    s->endpoints[0].idle_ns = PIER_MINUTE;
    ck_assert_int_eq(pier_server_listen(s), 0);
    int fd = client(s); /* in the backlog */
    send_all(fd, "x", 1);
    pier_server_stop_remote(s);
    serve_with(&sv, s);
    ck_assert_int_eq(read_to_end(fd, got, sizeof got), 1);
    close(fd);
    ck_assert_int_eq(finish_serving(&sv), 0);
}

/* On the loop itself, so that nobody has seen the input yet. */
static struct serving *drained;
static int speaker;

static int speak_and_drain(struct pier_conn *c, void *arg)
{
    char got[8]; /* room for more: then it is known that there is none */
    if (pier_read(c, got, sizeof got) != 1)
        return 0;
    if (got[0] != 'd') {
        pier_write(c, got, 1);
        return PI_IDLE;
    }
    send_all(speaker, "x", 1);
    for (struct pier_conn *at = drained->server->workers[0].conns, *next; at; at = next) {
        next = at->next;
        pi_idle_drain(at);
    }
    return 0;
}

TEST(a_drain_serves_the_one_whose_input_is_there_and_closes_the_others)
{
    struct serving sv;
    char got[8];
    struct pier_server *s = pier_server_new(&one);
    ck_assert_int_eq(pier_server_add(s, "tcp://127.0.0.1:0", speak_and_drain, NULL), 0);
    s->endpoints[0].idle_ns = PIER_MINUTE;
    ck_assert_int_eq(pier_server_listen(s), 0);
    drained = &sv;
    serve_with(&sv, s);
    speaker = client(s);
    int silent = client(s), boss = client(s);
    expect_echo(speaker, "a");
    expect_echo(silent, "b");
    send_all(boss, "d", 1);
    ck_assert_int_eq(read_to_end(silent, got, sizeof got), 0);
    ck_assert_uint_eq(recv_all(speaker, got, 1), 1);
    ck_assert_int_eq(got[0], 'x');
    close(speaker);
    close(silent);
    close(boss);
    ck_assert_int_eq(end_serving(&sv), 0);
}

TEST(a_cancelled_run_leaves_nothing_behind)
{
    struct serving sv;
    serve_idle(&sv, &two, PIER_MINUTE);
    int fd = client(sv.server);
    expect_echo(fd, "x");
    pier_scope_cancel_remote(&sv.scope);
    AWAIT(sv.ended);
    ck_assert_int_eq(recv(fd, &(char){ 0 }, 1, 0), 0);
    close(fd);
    ck_assert_int_eq(finish_serving(&sv), -ECANCELED);
}

static void serves_with(enum pier_model model)
{
    struct serving sv;
    serve_idle(&sv, &(struct pier_serve_opts){ .model = model, .workers = 1 }, PIER_MINUTE);
    int fd = client(sv.server);
    expect_echo(fd, "a");
    expect_echo(fd, "b");
    close(fd);
    ck_assert_int_eq(end_serving(&sv), 0);
}

TEST(with_threads_a_connection_waits_in_its_own)
{
    serves_with(PIER_THREADS);
    ck_assert_int_eq(calls, 1);
}

/* All of the process, divided; what the tasks that served them had is given back. */
TEST(an_idle_connection_takes_600_bytes_at_most)
{
    enum { COUNT = 1000 };
    struct serving sv;
    int fds[COUNT];
    test_not_on_valgrind("its malloc knows no mallinfo2()");
    if (mallinfo2().uordblks == 0)
        test_skip("a sanitizer's malloc knows no mallinfo2()");
    serve_idle(&sv, &one, PIER_MINUTE);
    fds[0] = client(sv.server);
    expect_echo(fds[0], "x");
    size_t before = mallinfo2().uordblks;
    for (int i = 1; i < COUNT; i++)
        fds[i] = client(sv.server);
    for (int i = 1; i < COUNT; i++)
        expect_echo(fds[i], "x");
    AWAIT(pier_server_conns(sv.server) == COUNT);
    size_t each = (mallinfo2().uordblks - before) / COUNT;
    for (int i = 0; i < COUNT; i++)
        close(fds[i]);
    ck_assert_uint_le(each, 600);
    ck_assert_int_eq(end_serving(&sv), 0);
}

HARNESS_MAIN("net_idle")
