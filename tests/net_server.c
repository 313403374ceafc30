/* SPDX-License-Identifier: MIT */
/* backends: epoll io_uring */
/*
 * net_server: listening, serving by tasks and by threads, limits, and the ways to stop. Clients are
 * plain sockets.
 */
#include "net_serving.h"

#include "child.h"

#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/un.h>

#define LOCAL "tcp://127.0.0.1:0"

#define EACH_MODEL(name)                                                \
    static void name##_body(struct pier_serve_opts opts);               \
    TEST(name##_with_one_worker)                                        \
    {                                                                   \
        name##_body((struct pier_serve_opts){ .workers = 1 });          \
    }                                                                   \
    TEST(name##_with_two_workers)                                       \
    {                                                                   \
        name##_body((struct pier_serve_opts){ .workers = 2 });          \
    }                                                                   \
    TEST(name##_with_threads)                                           \
    {                                                                   \
        name##_body((struct pier_serve_opts){ .model = PIER_THREADS }); \
    }                                                                   \
    static void name##_body(struct pier_serve_opts opts)

/* The library's calls, put in their place. epoll_create1() can fail on all threads but one. */
static _Atomic bool epolls_are_rare, eventfds_are_rare;
static pthread_t epolls_for;

int epoll_create1(int flags)
{
    if (epolls_are_rare && !pthread_equal(pthread_self(), epolls_for)) {
        errno = EMFILE;
        return -1;
    }
    return (int)syscall(SYS_epoll_create1, flags);
}

int eventfd(unsigned count, int flags)
{
    if (eventfds_are_rare) {
        errno = EMFILE;
        return -1;
    }
    return (int)syscall(SYS_eventfd2, count, flags);
}

/* ---- serving ---- */

static void expect_hi(int fd)
{
    char got[8] = "";
    ck_assert_int_eq(read_to_end(fd, got, sizeof got), 2);
    ck_assert_str_eq(got, "hi");
    close(fd);
}

EACH_MODEL(server_echoes_to_many_at_once)
{
    enum { CLIENTS = 24, LEN = 100000 };
    struct serving sv;
    int fds[CLIENTS];
    char *bytes = make_pattern(LEN, 3), *got = malloc(LEN);
    serve(&sv, &opts, LOCAL, echo, NULL);
    for (int i = 0; i < CLIENTS; i++) {
        fds[i] = client(sv.server);
        expect_echo(fds[i], "hello");
    }
    ck_assert_int_eq(pier_server_conns(sv.server), CLIENTS);
    for (int i = 0; i < CLIENTS; i++) {
        for (size_t at = 0; at < LEN; at += 20000) {
            send_all(fds[i], bytes + at, 20000);
            ck_assert_uint_eq(recv_all(fds[i], got + at, 20000), 20000);
        }
        ck_assert_int_eq(memcmp(got, bytes, LEN), 0);
        shutdown(fds[i], SHUT_WR);
        ck_assert_int_eq(recv(fds[i], got, 1, 0), 0);
        close(fds[i]);
    }
    ck_assert_int_eq(end_serving(&sv), 0);
    free(bytes);
    free(got);
}

EACH_MODEL(server_serves_no_more_than_max_conns_at_once_and_all_in_the_end)
{
    enum { MAX = 5, CLIENTS = 17 };
    struct serving sv;
    struct gate g = { 0 };
    int fds[CLIENTS];
    char byte;
    opts.max_conns = MAX;
    serve(&sv, &opts, LOCAL, wait_at_gate, &g);
    for (int i = 0; i < CLIENTS; i++)
        fds[i] = client(sv.server);
    AWAIT(g.inside > MAX || (g.inside == MAX && said("connection limit reached")));
    ck_assert_int_eq(g.inside, MAX);
    pier_event_set(&g.open);
    for (int i = 0; i < CLIENTS; i++) {
        ck_assert_int_eq(recv(fds[i], &byte, 1, 0), 0);
        close(fds[i]);
    }
    ck_assert_int_eq(g.peak, MAX);
    AWAIT(g.served == CLIENTS);
    ck_assert_int_eq(end_serving(&sv), 0);
}

/* ---- hand-over ---- */

struct census {
    struct pier_server *server;
    struct pier_event leave;
    int wanted, workers, loads[8];
    _Atomic int present;
    _Atomic bool taken;
};

/* The last one to come looks how many each worker has. */
static int be_counted(struct pier_conn *c, void *arg)
{
    struct census *all = arg;
    if (atomic_fetch_add(&all->present, 1) + 1 == all->wanted) {
        all->workers = all->server->worker_count;
        for (int i = 0; i < all->workers; i++)
            all->loads[i] = atomic_load(&all->server->workers[i].load);
        all->taken = true;
    }
    return pier_event_wait(&all->leave);
}

/* Until then the others take what comes. */
static bool all_have_begun(const struct pier_server *s, int workers)
{
    if (atomic_load(&s->reachable) != workers)
        return false;
    for (int i = 0; i < workers; i++)
        if (!atomic_load(&s->workers[i].thread))
            return false;
    return true;
}

TEST(server_shares_connections_evenly_among_workers)
{
    enum { CLIENTS = 400, WORKERS = 4 };
    struct serving sv;
    int fds[CLIENTS], before = count_fds();
    struct census all = { .wanted = CLIENTS };
    all.server = new_server(&(struct pier_serve_opts){ .workers = WORKERS }, LOCAL, be_counted,
                            &all);
    serve_with(&sv, all.server);
    sv.fds = before;
    AWAIT(all_have_begun(all.server, WORKERS));
    for (int i = 0; i < CLIENTS; i++)
        fds[i] = client(sv.server);
    AWAIT(all.taken);
    ck_assert_int_eq(all.workers, WORKERS);
    for (int i = 0, mean = CLIENTS / WORKERS; i < WORKERS; i++)
        ck_assert_msg(abs(all.loads[i] - mean) <= mean / 4, "worker %d has %d of %d", i,
                      all.loads[i], CLIENTS);
    pier_event_set(&all.leave);
    for (int i = 0; i < CLIENTS; i++)
        close(fds[i]);
    ck_assert_int_eq(end_serving(&sv), 0);
}

/* ---- handlers' ends ---- */

static int fail_with_words(struct pier_conn *c, void *arg)
{
    return pier_error_set(*(int *)arg, "reading the %s", "tea leaves");
}

EACH_MODEL(server_logs_a_handlers_failure_with_its_words)
{
    struct serving sv;
    char byte;
    int code = -EILSEQ;
    serve(&sv, &opts, LOCAL, fail_with_words, &code);
    int fd = client(sv.server);
    ck_assert_int_eq(recv(fd, &byte, 1, 0), 0);
    AWAIT(said("connection failed") == 1);
    ck_assert_int_eq(said("error=reading the tea leaves: "), 1);
    ck_assert_int_eq(said("endpoint=" LOCAL), 1);
    ck_assert_int_eq(said("peer=127.0.0.1:"), 1);
    close(fd);
    ck_assert_int_eq(end_serving(&sv), 0);
}

EACH_MODEL(server_says_nothing_of_what_peers_do_every_day)
{
    struct serving sv;
    char byte;
    int code = -ECONNRESET;
    serve(&sv, &opts, LOCAL, fail_with_words, &code);
    int fd = client(sv.server);
    ck_assert_int_eq(recv(fd, &byte, 1, 0), 0);
    close(fd);
    ck_assert_int_eq(end_serving(&sv), 0);
    ck_assert_int_eq(said("connection failed"), 0);
}

static int reply_without_reading_all(struct pier_conn *c, void *arg)
{
    char byte;
    pier_read(c, &byte, 1);
    pier_puts(c, "enough");
    return 0;
}

/* The kernel would send a reset, which may overtake the reply. */
EACH_MODEL(server_delivers_the_reply_although_input_is_left)
{
    struct serving sv;
    char got[16] = "", *bytes = make_pattern(300000, 0);
    serve(&sv, &opts, LOCAL, reply_without_reading_all, NULL);
    int fd = client(sv.server);
    send_all(fd, bytes, 300000);
    shutdown(fd, SHUT_WR);
    ck_assert_int_eq(read_to_end(fd, got, sizeof got), 6);
    ck_assert_str_eq(got, "enough");
    close(fd);
    ck_assert_int_eq(end_serving(&sv), 0);
    free(bytes);
}

static int read_once(struct pier_conn *c, void *result)
{
    char byte;
    *(_Atomic int *)result = (int)pier_read(c, &byte, 1);
    return 0;
}

static int close_early(struct pier_conn *c, void *end)
{
    char byte;
    pier_puts(c, "hi");
    pier_close(c);
    ck_assert_int_lt(pier_conn_fd(c), 0);
    ck_assert_int_lt(pier_read(c, &byte, 1), 0);
    return pier_event_wait(end);
}

EACH_MODEL(server_lets_a_handler_close_its_connection_early)
{
    struct serving sv;
    struct pier_event end = { 0 };
    serve(&sv, &opts, LOCAL, close_early, &end);
    expect_hi(client(sv.server)); /* while the handler goes on */
    ck_assert_int_eq(pier_server_conns(sv.server), 1);
    pier_event_set(&end);
    ck_assert_int_eq(end_serving(&sv), 0);
    ck_assert_int_eq(said("connection failed"), 0);
}

EACH_MODEL(server_sets_the_read_time_out)
{
    struct serving sv;
    char byte;
    _Atomic int result = 1;
    opts.read_timeout_ms = 30;
    serve(&sv, &opts, LOCAL, read_once, (void *)&result);
    int fd = client(sv.server);
    ck_assert_int_eq(recv(fd, &byte, 1, 0), 0);
    ck_assert_int_eq(result, -ETIMEDOUT);
    close(fd);
    ck_assert_int_eq(end_serving(&sv), 0);
}

/* ---- what may be lacking ---- */

static int run_server(void *s)
{
    return pier_server_run(s);
}

static int greet(struct pier_conn *c, void *count)
{
    atomic_fetch_add((_Atomic int *)count, 1);
    pier_puts(c, "hi");
    return 0;
}

/* Tasks' stacks come by the slab, so the first ones of these get one. */
static void expect_waiting_without_memory(struct pier_serve_opts opts)
{
    enum { CLIENTS = 12 };
    struct pier_scope scope;
    int fds[CLIENTS];
    _Atomic int served = 0;
    int before = count_fds();
    struct pier_server *s = new_server(&opts, LOCAL, greet, (void *)&served);
    pier_scope_open(&scope, 0);
    ck_assert_int_eq(pier_spawn(&scope, run_server, s), 0);
    pier_yield();
    for (int i = 0; i < CLIENTS; i++)
        fds[i] = client(s);
    pi_alloc_fail(1);
    AWAIT(said("accept failed, trying again"));
    ck_assert_int_eq(said("error=not enough memory") + said("error=cannot allocate memory"), 1);
    pi_alloc_fail(0);
    AWAIT(served == CLIENTS);
    for (int i = 0; i < CLIENTS; i++)
        expect_hi(fds[i]);
    pier_server_stop_remote(s);
    ck_assert_int_eq(pier_scope_join(&scope), 0);
    pier_server_free(s);
    expect_fds(before);
}

TEST(server_without_memory_for_a_task_lets_connections_wait)
{
    expect_waiting_without_memory((struct pier_serve_opts){ 0 });
}

TEST(server_without_memory_for_a_thread_lets_connections_wait)
{
    expect_waiting_without_memory((struct pier_serve_opts){ .model = PIER_THREADS });
}

static void limit_fds(rlim_t count, struct rlimit *before)
{
    getrlimit(RLIMIT_NOFILE, before);
    ck_assert_int_eq(setrlimit(RLIMIT_NOFILE, &(struct rlimit){ count, before->rlim_max }), 0);
}

static void expect_waiting_without_descriptors(struct pier_serve_opts opts)
{
    test_not_on_valgrind("it closes a connection that it has no descriptor for");
    struct pier_scope scope;
    struct rlimit limit;
    _Atomic int served = 0;
    int before = count_fds();
    struct pier_server *s = new_server(&opts, LOCAL, greet, (void *)&served);
    pier_scope_open(&scope, 0);
    ck_assert_int_eq(pier_spawn(&scope, run_server, s), 0);
    pier_yield();
    int fds[2] = { client(s), client(s) };
    limit_fds(3, &limit);
    AWAIT(said("accept failed, trying again"));
    ck_assert_int_eq(served, 0);
    setrlimit(RLIMIT_NOFILE, &limit);
    AWAIT(served == 2);
    expect_hi(fds[0]);
    expect_hi(fds[1]);
    pier_server_stop_remote(s);
    ck_assert_int_eq(pier_scope_join(&scope), 0);
    pier_server_free(s);
    expect_fds(before);
}

TEST(server_without_descriptors_lets_connections_of_tasks_wait)
{
    expect_waiting_without_descriptors((struct pier_serve_opts){ 0 });
}

TEST(server_without_descriptors_lets_connections_of_threads_wait)
{
    expect_waiting_without_descriptors((struct pier_serve_opts){ .model = PIER_THREADS });
}

/* The thread could not wait, and would drop the connection. */
TEST(server_without_an_eventfd_for_a_thread_lets_connections_wait)
{
    struct serving sv;
    serve(&sv, &(struct pier_serve_opts){ .model = PIER_THREADS }, LOCAL, echo, NULL);
    int fd = client(sv.server);
    expect_echo(fd, "a"); /* the server has its own */
    eventfds_are_rare = true;
    int other = client(sv.server);
    AWAIT(said("accept failed, trying again"));
    eventfds_are_rare = false;
    expect_echo(other, "b");
    expect_echo(fd, "c");
    close(fd);
    close(other);
    ck_assert_int_eq(end_serving(&sv), 0);
}

/* Its own wait says so, for which there is no other sign outside. */
static bool waits_for_room(const struct pier_server *s)
{
    const char *what = s->workers[0].root->waits_for;
    return what && strcmp(what, "room for the backlog") == 0;
}

static void expect_drained_without_descriptors(struct pier_serve_opts opts)
{
    test_not_on_valgrind("it closes a connection that it has no descriptor for");
    struct pier_scope scope;
    struct rlimit limit;
    _Atomic int served = 0;
    int before = count_fds();
    struct pier_server *s = new_server(&opts, LOCAL, greet, (void *)&served);
    pier_scope_open(&scope, 0);
    ck_assert_int_eq(pier_spawn(&scope, run_server, s), 0);
    AWAIT(s->workers && s->workers[0].thread);
    int fds[3] = { client(s), client(s), client(s) };
    pier_server_stop_remote(s);
    limit_fds(3, &limit);
    AWAIT(waits_for_room(s));
    setrlimit(RLIMIT_NOFILE, &limit);
    ck_assert_int_eq(pier_scope_join(&scope), 0);
    ck_assert_int_eq(served, 3);
    for (int i = 0; i < 3; i++)
        expect_hi(fds[i]);
    pier_server_free(s);
    expect_fds(before);
}

TEST(server_of_tasks_that_lacks_descriptors_while_it_stops_serves_the_backlog)
{
    expect_drained_without_descriptors((struct pier_serve_opts){ 0 });
}

TEST(server_of_threads_that_lacks_descriptors_while_it_stops_serves_the_backlog)
{
    expect_drained_without_descriptors((struct pier_serve_opts){ .model = PIER_THREADS });
}

static void *run_with_the_only_epoll(void *arg)
{
    epolls_for = pthread_self();
    epolls_are_rare = true;
    return serving_main(arg);
}

TEST(server_goes_on_without_a_worker_that_failed_and_closes_its_listeners)
{
    if (strcmp(pier_backend(NULL), "epoll") != 0)
        test_skip("the fault is in epoll");
    int before = count_fds();
    struct gate g = { 0 };
    struct serving sv = { .fds = before };
    sv.server = new_server(&(struct pier_serve_opts){ .workers = 3 }, LOCAL, wait_at_gate, &g);
    ck_assert_int_eq(pthread_create(&sv.thread, NULL, run_with_the_only_epoll, &sv), 0);
    AWAIT(said("a worker ended") == 2);
    int fd = client(sv.server);
    AWAIT(g.inside == 1);
    pier_server_stop_remote(sv.server);
    AWAIT(is_refused(&sv.server->listeners[0].addr)); /* while a handler is still busy */
    ck_assert_int_eq(g.served, 0);
    pier_event_set(&g.open);
    close(fd);
    ck_assert_int_eq(finish_serving(&sv), 0);
}

/* Each of which belongs to one worker only. */
TEST(server_serves_the_datagrams_of_workers_that_failed)
{
    enum { ENDPOINTS = 3 };
    if (strcmp(pier_backend(NULL), "epoll") != 0)
        test_skip("the fault is in epoll");
    int before = count_fds();
    struct serving sv = { .fds = before };
    pier_log_set(keep_record, NULL);
    sv.server = pier_server_new(&(struct pier_serve_opts){ .workers = ENDPOINTS });
    for (int i = 0; i < ENDPOINTS; i++)
        ck_assert_int_eq(pier_server_add(sv.server, "udp://127.0.0.1:0", echo, NULL), 0);
    ck_assert_int_eq(pier_server_listen(sv.server), 0);
    ck_assert_int_eq(pthread_create(&sv.thread, NULL, run_with_the_only_epoll, &sv), 0);
    for (int i = 0; i < ENDPOINTS; i++) {
        struct pier_conn *c = pier_dial(pier_server_url(sv.server, i), NULL);
        char got[16] = "";
        pier_set_timeouts(c, patience() * 1000, 0);
        pier_puts(c, "hello");
        ck_assert_int_eq(pier_read_text(c, got, sizeof got), 5);
        pier_close(c);
    }
    ck_assert_int_eq(end_serving(&sv), 0);
}

/* ---- stopping ---- */

EACH_MODEL(server_stopped_before_its_run_returns_at_once)
{
    struct serving sv;
    int before = count_fds();
    struct pier_server *s = new_server(&opts, LOCAL, echo, NULL);
    pier_server_stop_remote(s);
    serve_with(&sv, s);
    sv.fds = before;
    AWAIT(sv.ended);
    ck_assert(is_refused(&s->listeners[0].addr));
    ck_assert_int_eq(finish_serving(&sv), 0);
}

EACH_MODEL(server_ends_reads_of_idle_connections_at_a_stop)
{
    enum { CLIENTS = 10 };
    struct serving sv;
    int fds[CLIENTS];
    char byte;
    serve(&sv, &opts, LOCAL, echo, NULL);
    for (int i = 0; i < CLIENTS; i++) {
        fds[i] = client(sv.server);
        expect_echo(fds[i], "hello");
    }
    int64_t begin = pier_now();
    pier_server_stop_remote(sv.server);
    for (int i = 0; i < CLIENTS; i++) {
        ck_assert_int_eq(recv(fds[i], &byte, 1, 0), 0);
        close(fds[i]);
    }
    ck_assert_int_eq(finish_serving(&sv), 0);
    ck_assert_int_lt(ms_since(begin), 5000); /* half of the grace */
}

static int stop_it(struct pier_conn *c, void *server)
{
    pier_server_stop_remote(*(struct pier_server **)server);
    return pier_puts(c, "bye") == 3 ? 0 : -EIO;
}

EACH_MODEL(server_may_be_stopped_by_a_handler)
{
    struct serving sv;
    struct pier_server *s = NULL;
    char got[8] = "";
    int before = count_fds();
    s = new_server(&opts, LOCAL, stop_it, &s);
    serve_with(&sv, s);
    sv.fds = before;
    int fd = client(s);
    ck_assert_int_eq(read_to_end(fd, got, sizeof got), 3);
    ck_assert_str_eq(got, "bye");
    close(fd);
    ck_assert_int_eq(finish_serving(&sv), 0);
}

static int greet_and_work(struct pier_conn *c, void *count)
{
    atomic_fetch_add((_Atomic int *)count, 1);
    pier_puts(c, "hi");
    return pier_sleep(20 * PIER_MILLISECOND);
}

EACH_MODEL(server_at_its_limit_serves_the_backlog_at_a_stop)
{
    enum { CLIENTS = 10 };
    struct serving sv;
    int fds[CLIENTS];
    _Atomic int served = 0;
    opts.max_conns = 1;
    serve(&sv, &opts, LOCAL, greet_and_work, (void *)&served);
    for (int i = 0; i < CLIENTS; i++)
        fds[i] = client(sv.server);
    AWAIT(said("connection limit reached"));
    pier_server_stop_remote(sv.server);
    for (int i = 0; i < CLIENTS; i++)
        expect_hi(fds[i]);
    ck_assert_int_eq(finish_serving(&sv), 0);
    ck_assert_int_eq(served, CLIENTS);
}

/* As one that is idle for ever holds its place. */
EACH_MODEL(server_at_its_limit_makes_room_for_the_backlog_by_ending_idle_reads)
{
    enum { CLIENTS = 6 };
    struct serving sv;
    int fds[CLIENTS];
    char byte;
    opts.max_conns = 2;
    opts.grace_ms = PIER_NO_TIMEOUT;
    serve(&sv, &opts, LOCAL, echo, NULL);
    for (int i = 0; i < CLIENTS; i++) {
        fds[i] = client(sv.server);
        send_all(fds[i], "x", 1);
    }
    AWAIT(said("connection limit reached"));
    pier_server_stop_remote(sv.server);
    for (int i = 0; i < CLIENTS; i++) {
        ck_assert_int_eq(recv(fds[i], &byte, 1, 0), 1);
        ck_assert_int_eq(recv(fds[i], &byte, 1, 0), 0);
        close(fds[i]);
    }
    ck_assert_int_eq(finish_serving(&sv), 0);
}

static void flood(int fd, void *arg)
{
    static const char zeros[65536];
    while (send(fd, zeros, sizeof zeros, MSG_NOSIGNAL) > 0)
        ;
}

/* Slower than its peer, so that no read ever waits. */
static int read_all(struct pier_conn *c, void *begun)
{
    char buf[16];
    ssize_t n;
    while ((n = pier_read(c, buf, sizeof buf)) > 0) {
        *(_Atomic bool *)begun = true;
        for (volatile int i = 0; i < 1000; i++)
            ;
    }
    return (int)n;
}

EACH_MODEL(server_stops_while_a_peer_keeps_sending)
{
    struct serving sv;
    struct peer p;
    _Atomic bool begun = false;
    opts.grace_ms = 100;
    serve(&sv, &opts, LOCAL, read_all, (void *)&begun);
    start_peer(&p, client(sv.server), flood, NULL);
    AWAIT(begun);
    int64_t begin = pier_now();
    pier_server_stop_remote(sv.server);
    AWAIT(sv.ended);
    ck_assert_int_lt(ms_since(begin), 10000);
    end_peer(&p);
    ck_assert_int_eq(finish_serving(&sv), 0);
}

EACH_MODEL(server_cancels_handlers_when_the_grace_is_over)
{
    struct serving sv;
    struct gate g = { 0 };
    opts.grace_ms = 50;
    serve(&sv, &opts, LOCAL, wait_at_gate, &g);
    int fds[3] = { client(sv.server), client(sv.server), client(sv.server) };
    AWAIT(g.inside == 3);
    int64_t begin = pier_now();
    pier_server_stop_remote(sv.server);
    AWAIT(sv.ended);
    ck_assert_int_ge(ms_since(begin), 50);
    ck_assert_int_eq(g.served, 3);
    ck_assert_int_eq(g.last_rc, -ECANCELED);
    for (int i = 0; i < 3; i++)
        close(fds[i]);
    ck_assert_int_eq(finish_serving(&sv), 0);
}

EACH_MODEL(server_that_is_cancelled_cancels_every_handler_at_once)
{
    enum { CLIENTS = 8 };
    struct serving sv;
    struct gate g = { 0 };
    int fds[CLIENTS];
    opts.grace_ms = PIER_NO_TIMEOUT;
    serve(&sv, &opts, LOCAL, wait_at_gate, &g);
    for (int i = 0; i < CLIENTS; i++)
        fds[i] = client(sv.server);
    AWAIT(g.inside == CLIENTS);
    pier_scope_cancel_remote(&sv.scope);
    AWAIT(sv.ended);
    ck_assert_int_eq(g.served, CLIENTS);
    ck_assert_int_eq(g.last_rc, -ECANCELED);
    for (int i = 0; i < CLIENTS; i++)
        close(fds[i]);
    ck_assert_int_eq(finish_serving(&sv), -ECANCELED);
    ck_assert_str_eq(sv.words, "serve: cancelled");
}

EACH_MODEL(server_that_is_cancelled_during_its_grace_cancels_every_handler)
{
    enum { CLIENTS = 8 };
    struct serving sv;
    struct gate g = { 0 };
    int fds[CLIENTS];
    opts.grace_ms = PIER_NO_TIMEOUT;
    serve(&sv, &opts, LOCAL, wait_at_gate, &g);
    for (int i = 0; i < CLIENTS; i++)
        fds[i] = client(sv.server);
    AWAIT(g.inside == CLIENTS);
    pier_server_stop_remote(sv.server);
    AWAIT(is_refused(&sv.server->listeners[0].addr));
    ck_assert_int_eq(g.served, 0);
    pier_scope_cancel_remote(&sv.scope);
    for (int i = 0; i < CLIENTS; i++) {
        char byte;
        ck_assert_int_eq(recv(fds[i], &byte, 1, 0), 0);
        close(fds[i]);
    }
    finish_serving(&sv);
    ck_assert_int_eq(g.last_rc, -ECANCELED);
}

struct inner_run {
    struct pier_server *server;
    struct pier_scope scope;
    int rc;
};

static int run_in_a_scope(void *arg)
{
    struct inner_run *r = arg;
    pier_scope_open(&r->scope, 0);
    r->rc = pier_server_run(r->server);
    return pier_scope_join(&r->scope);
}

/* What it accepts while it ends is cancelled, too. */
EACH_MODEL(server_that_is_cancelled_with_a_backlog_ends_at_once)
{
    int before = count_fds();
    struct gate g = { 0 };
    struct pier_scope scope;
    opts.grace_ms = PIER_NO_TIMEOUT;
    struct inner_run r = { .server = new_server(&opts, LOCAL, wait_at_gate, &g) };
    pier_scope_open(&scope, 0);
    ck_assert_int_eq(pier_spawn(&scope, run_in_a_scope, &r), 0);
    AWAIT(r.server->workers && r.server->workers[0].thread);
    int fds[2] = { client(r.server), client(r.server) };
    pier_scope_cancel(&r.scope);
    ck_assert_int_eq(pier_scope_join(&scope), 0);
    ck_assert_int_eq(r.rc, -ECANCELED);
    ck_assert_int_eq(g.inside, 0);
    pier_server_free(r.server);
    close(fds[0]);
    close(fds[1]);
    expect_fds(before);
}

/* ---- clients that come and go ---- */

struct crowd {
    pthread_t thread;
    const struct pi_addr *addr;
    _Atomic bool over;
    _Atomic int echoed;
};

/* Some end with a reset, some say nothing; who gets an answer gets the right one. */
static void *come_and_go(void *arg)
{
    struct crowd *all = arg;
    for (unsigned i = 0; !all->over; i++) {
        char byte = 'a';
        int fd = try_client(all->addr);
        if (fd < 0)
            continue;
        if (i % 3 && send(fd, "b", 1, MSG_NOSIGNAL) == 1 && recv(fd, &byte, 1, 0) == 1) {
            ck_assert_int_eq(byte, 'b');
            all->echoed++;
        }
        if (i % 4 == 0)
            setsockopt(fd, SOL_SOCKET, SO_LINGER, &(struct linger){ 1, 0 }, sizeof(struct linger));
        close(fd);
    }
    return NULL;
}

EACH_MODEL(server_stops_among_clients_that_come_and_go)
{
    for (int i = 0; i < 12; i++) {
        struct serving sv;
        opts.max_conns = i % 2 ? 2 : 100;
        serve(&sv, &opts, LOCAL, echo, NULL);
        struct crowd all = { .addr = &sv.server->listeners[0].addr };
        ck_assert_int_eq(pthread_create(&all.thread, NULL, come_and_go, &all), 0);
        AWAIT(all.echoed >= 5 * (i % 4));
        int64_t begin = pier_now();
        pier_server_stop_remote(sv.server);
        AWAIT(sv.ended);
        ck_assert_int_lt(ms_since(begin), 5000); /* half of the grace */
        all.over = true;
        pthread_join(all.thread, NULL);
        ck_assert_int_eq(finish_serving(&sv), 0);
    }
}

/* ---- a worker that is busy ---- */

struct hog {
    struct serving sv;
    _Atomic bool busy, released;
};

/* The runner's first one computes; those of the other worker greet and read. */
static int compute_on_the_runner(struct pier_conn *c, void *arg)
{
    struct hog *h = arg;
    char byte;
    if (pthread_equal(pthread_self(), h->sv.thread)) {
        h->busy = true;
        while (!h->released)
            sched_yield();
        return 0;
    }
    pier_puts(c, "w");
    return pier_read(c, &byte, 1) == 0 ? 0 : -EIO;
}

TEST(server_stops_its_other_workers_while_one_is_busy)
{
    static struct hog h;
    enum { CLIENTS = 12 };
    int fds[CLIENTS], count = 0, greeted = -1;
    char byte;
    serve(&h.sv, &(struct pier_serve_opts){ .workers = 2 }, LOCAL, compute_on_the_runner, &h);
    while (!h.busy || greeted < 0) {
        ck_assert_int_lt(count, CLIENTS);
        bool was_busy = h.busy;
        int fd = fds[count++] = client(h.sv.server);
        AWAIT(is_readable(fd) || (h.busy && !was_busy));
        if (is_readable(fd))
            greeted = fd;
    }
    pier_server_stop_remote(h.sv.server);
    ck_assert_int_eq(recv(greeted, &byte, 1, 0), 1);
    ck_assert_int_eq(recv(greeted, &byte, 1, 0), 0);
    ck_assert(!h.sv.ended);
    h.released = true;
    for (int i = 0; i < count; i++)
        close(fds[i]);
    ck_assert_int_eq(finish_serving(&h.sv), 0);
}

/* ---- a stop between a thread's last look and its sleep ---- */

static struct {
    struct pier_server *server;
    const struct pi_sys *real;
    int calls, at;
    _Atomic int result;
} race;

static void look(void)
{
    if (++race.calls == race.at) {
        pier_server_stop_remote(race.server);
        while (!pi_thread_has_mail(pi_task_self()->thread))
            sched_yield();
    }
}

static int64_t look_at_clock(void)
{
    look();
    return race.real->clock_ns();
}

static int64_t look_at_coarse_clock(void)
{
    look();
    return race.real->coarse_ns();
}

static int read_and_stop(struct pier_conn *c, void *arg)
{
    static PI_THREAD_LOCAL struct pi_sys mine;
    char byte;
    race.real = pi_sys;
    race.calls = 0;
    mine = *pi_sys;
    mine.clock_ns = look_at_clock;
    mine.coarse_ns = look_at_coarse_clock;
    pi_sys = &mine;
    race.result = (int)pier_read(c, &byte, 1);
    pi_sys = race.real;
    return 0;
}

TEST(server_stop_is_not_slept_through_by_a_thread_that_begins_to_read)
{
    for (race.at = 1; race.at <= 3; race.at++) { /* a read looks at the clock so often */
        struct serving sv;
        int before = count_fds();
        race.result = 1;
        race.server = new_server(&(struct pier_serve_opts){ .model = PIER_THREADS }, LOCAL,
                                 read_and_stop, NULL);
        serve_with(&sv, race.server);
        sv.fds = before;
        int fd = client(race.server);
        AWAIT(sv.ended);
        ck_assert_int_eq(race.result, 0); /* not -ECANCELED, after the grace */
        close(fd);
        ck_assert_int_eq(finish_serving(&sv), 0);
    }
}

/* ---- signals ---- */

struct signaller {
    pthread_t thread;
    const struct pier_server *server;
    int first, second;
};

/* Once it serves: the first signal, which leaves it serving if there is a second. */
static void *send_signals(void *arg)
{
    struct signaller *by = arg;
    char byte;
    int fd = client(by->server);
    expect_echo(fd, "a");
    kill(getpid(), by->first);
    if (by->second) {
        expect_echo(fd, "b");
        kill(getpid(), by->second);
    }
    ck_assert_int_eq(recv(fd, &byte, 1, 0), 0);
    close(fd);
    return NULL;
}

/* A test's process runs it on its main thread. */
static void run_signalled(struct pier_server *s, int first, int second)
{
    if (HAVE_TSAN && strcmp(pier_backend(NULL), "io_uring") == 0)
        test_skip("TSan keeps signals back in a call that it does not know");
    int before = count_fds() - 1; /* it listens */
    struct signaller by = { .server = s, .first = first, .second = second };
    ck_assert_int_eq(pthread_create(&by.thread, NULL, send_signals, &by), 0);
    ck_assert_int_eq(pier_server_run(s), 0);
    pthread_join(by.thread, NULL);
    pier_server_free(s);
    expect_fds(before);
}

static _Atomic int signals_seen;

static void count_signal(int number)
{
    signals_seen++;
}

EACH_MODEL(server_stops_by_sigint_and_sigterm_and_gives_their_handlers_back)
{
    int numbers[] = { SIGINT, SIGTERM };
    for (int i = 0; i < 2; i++) {
        struct sigaction after;
        signal(numbers[i], count_signal);
        struct pier_server *s = new_server(&opts, LOCAL, echo, NULL);
        pier_server_stop_remote(s);
        ck_assert_int_eq(pier_server_run(s), 0); /* after any other stop, too */
        pier_server_free(s);
        sigaction(numbers[i], NULL, &after);
        ck_assert(after.sa_handler == count_signal);
        run_signalled(new_server(&opts, LOCAL, echo, NULL), numbers[i], 0);
        sigaction(numbers[i], NULL, &after);
        ck_assert(after.sa_handler == count_signal);
    }
    ck_assert_int_eq(signals_seen, 0);
}

EACH_MODEL(server_leaves_an_ignored_signal_ignored)
{
    struct sigaction after;
    signal(SIGINT, SIG_IGN);
    run_signalled(new_server(&opts, LOCAL, echo, NULL), SIGINT, SIGTERM);
    sigaction(SIGINT, NULL, &after);
    ck_assert(after.sa_handler == SIG_IGN);
}

static int run_it(void *server)
{
    return pier_server_run(server);
}

/* The second one has none of them, and nothing to give back. */
TEST(server_gives_signals_back_that_another_one_beside_it_did_not_take)
{
    struct pier_scope scope;
    struct pier_server *s[2];
    struct sigaction after;
    signal(SIGTERM, count_signal);
    pier_scope_open(&scope, 0);
    for (int i = 0; i < 2; i++) {
        s[i] = new_server(NULL, LOCAL, echo, NULL);
        ck_assert_int_eq(pier_spawn(&scope, run_it, s[i]), 0);
    }
    AWAIT(s[0]->is_running && s[1]->is_running);
    kill(getpid(), SIGTERM);
    AWAIT(!s[0]->is_running);
    sigaction(SIGTERM, NULL, &after);
    ck_assert(after.sa_handler == count_signal);
    pier_server_stop_remote(s[1]);
    ck_assert_int_eq(pier_scope_join(&scope), 0);
    for (int i = 0; i < 2; i++)
        pier_server_free(s[i]);
    ck_assert_int_eq(signals_seen, 0);
}

static struct pier_server *server_of_signal;

static void stop_by_signal(int number)
{
    signals_seen++;
    pier_server_stop_remote(server_of_signal);
}

EACH_MODEL(server_leaves_signals_alone_if_told_and_may_be_stopped_by_their_handler)
{
    opts.no_signals = true;
    signal(SIGINT, count_signal);
    signal(SIGTERM, stop_by_signal);
    server_of_signal = new_server(&opts, LOCAL, echo, NULL);
    run_signalled(server_of_signal, SIGINT, SIGTERM);
    ck_assert_int_eq(signals_seen, 2);
}

/* ---- where it runs ---- */

TEST(server_runs_twice_in_one_loop_beside_other_tasks)
{
    struct pier_scope scope;
    struct pier_server *s[2];
    int fds[2], before = count_fds();
    char got[4];
    pier_scope_open(&scope, 0);
    for (int i = 0; i < 2; i++) {
        s[i] = new_server(NULL, LOCAL, echo, NULL);
        ck_assert_int_eq(pier_spawn(&scope, run_server, s[i]), 0);
    }
    for (int i = 0; i < 2; i++) {
        fds[i] = client(s[i]);
        send_all(fds[i], "hi", 2);
        AWAIT(is_readable(fds[i]));
        ck_assert_int_eq(s[i]->worker_count, 1);
    }
    pier_server_stop_remote(s[0]);
    AWAIT(!s[0]->is_running);
    ck_assert(is_refused(&s[0]->listeners[0].addr));
    ck_assert_uint_eq(recv_all(fds[1], got, 2), 2);
    send_all(fds[1], "hi", 2);
    AWAIT(is_readable(fds[1]));
    pier_server_stop_remote(s[1]);
    ck_assert_int_eq(pier_scope_join(&scope), 0);
    for (int i = 0; i < 2; i++) {
        close(fds[i]);
        pier_server_free(s[i]);
    }
    expect_fds(before);
}

static void *run_and_stop_often(void *unused)
{
    for (int i = 0; i < 300; i++) {
        struct pier_server *s = pier_server_new(&(struct pier_serve_opts){ .workers = 1 });
        ck_assert_int_eq(pier_server_add(s, LOCAL, echo, NULL), 0);
        pier_server_stop_remote(s);
        ck_assert_int_eq(pier_server_run(s), 0);
        pier_server_free(s);
    }
    return unused;
}

TEST(server_may_start_and_stop_while_another_does)
{
    pthread_t threads[2];
    int before = count_fds();
    for (int i = 0; i < 2; i++)
        ck_assert_int_eq(pthread_create(&threads[i], NULL, run_and_stop_often, NULL), 0);
    for (int i = 0; i < 2; i++)
        pthread_join(threads[i], NULL);
    expect_fds(before);
}

TEST(server_runs_once)
{
    struct serving sv;
    serve(&sv, NULL, LOCAL, echo, NULL);
    int fd = client(sv.server);
    expect_echo(fd, "runs");
    close(fd);
    pier_server_stop_remote(sv.server);
    AWAIT(sv.ended);
    pthread_join(sv.thread, NULL);
    ck_assert_int_eq(pier_server_run(sv.server), -EALREADY);
    ck_assert_str_eq(pier_error(), "server: it has run already");
    ck_assert_int_eq(pier_server_count(sv.server), 1); /* its URL is still known */
    ck_assert_ptr_nonnull(pier_server_url(sv.server, 0));
    pier_server_free(sv.server);
}

/* More than two polls accept: that there are others shows in no descriptor. */
static void expect_a_foreign_loop_to_serve(struct pier_serve_opts opts)
{
    enum { CLIENTS = 200 };
    struct pier_scope scope;
    int fds[CLIENTS];
    _Atomic int served = 0;
    int before = count_fds();
    struct pier_server *s = new_server(&opts, LOCAL, greet, (void *)&served);
    for (int i = 0; i < CLIENTS; i++)
        fds[i] = client(s);
    pier_scope_open(&scope, 0);
    ck_assert_int_eq(pier_spawn(&scope, run_server, s), 0);
    struct pollfd p = { pier_loop_fd(), POLLIN, 0 };
    int64_t until = pier_after(patience() * PIER_SECOND);
    while (served < CLIENTS && pier_now() < until)
        if (poll(&p, 1, 10) == 1)
            pier_loop_step();
    ck_assert_int_eq(served, CLIENTS);
    pier_server_stop_remote(s);
    ck_assert_int_eq(poll(&p, 1, patience() * 1000), 1);
    ck_assert_int_eq(pier_scope_join(&scope), 0);
    for (int i = 0; i < CLIENTS; i++)
        expect_hi(fds[i]);
    pier_server_free(s);
    expect_fds(before);
}

TEST(server_of_tasks_wakes_a_foreign_loop_for_all_that_waits_in_its_backlog)
{
    expect_a_foreign_loop_to_serve((struct pier_serve_opts){ 0 });
}

TEST(server_of_threads_wakes_a_foreign_loop_for_all_that_waits_in_its_backlog)
{
    expect_a_foreign_loop_to_serve((struct pier_serve_opts){ .model = PIER_THREADS });
}

TEST(serve_returns_the_exit_code_of_a_time_out_when_its_scopes_deadline_passes)
{
    struct pier_scope scope;
    int before = count_fds();
    pier_log_set(keep_record, NULL);
    pier_scope_open(&scope, pier_after(30 * PIER_MILLISECOND));
    ck_assert_int_eq(pier_serve(LOCAL, echo, NULL, NULL), 6);
    ck_assert_int_eq(pier_scope_join(&scope), 0);
    ck_assert_int_eq(said("serve: timed out"), 1);
    expect_fds(before);
}

TEST(serve_logs_why_it_cannot_listen)
{
    pier_log_set(keep_record, NULL);
    ck_assert_int_eq(pier_serve("tcp://127.0.0.1:65536", echo, NULL, NULL), 2);
    ck_assert_int_eq(pier_serve("unix:///nonexistent/socket", echo, NULL, NULL), 1);
    ck_assert_int_eq(said("listen unix:///nonexistent/socket: no such file or directory"), 1);
    ck_assert_int_eq(said("listening"), 0);
}

/* ---- listening ---- */

static struct pier_server *empty_server(void)
{
    struct pier_server *s = pier_server_new(NULL);
    ck_assert_ptr_nonnull(s);
    return s;
}

/* The first failure of add or listen is what listen and run return, with its words. */
static void expect_failure(struct pier_server *s, int code, const char *words)
{
    ck_assert_int_eq(pier_server_listen(s), code);
    ck_assert_str_eq(pier_error(), words);
    ck_assert_int_eq(pier_server_count(s), 0);
    ck_assert_ptr_null(pier_server_url(s, 0));
    pier_server_free(s);
}

TEST(server_names_the_url_that_it_cannot_understand)
{
    struct pier_server *s = empty_server();
    ck_assert_int_eq(pier_server_add(s, "tcp://127.0.0.1:http", echo, NULL), PIER_EURL);
    ck_assert_ptr_nonnull(strstr(pier_error(), "tcp://127.0.0.1:http"));
    pier_server_free(s);
    s = empty_server();
    ck_assert_int_eq(pier_server_add(s, "https://127.0.0.1:1", echo, NULL), PIER_EURL);
    expect_failure(s, PIER_EURL, "listen https://127.0.0.1:1: HTTP is for pier_server_add_http()");
}

TEST(server_keeps_its_first_failure)
{
    struct pier_server *s = empty_server();
    ck_assert_int_eq(pier_server_add(s, "https://127.0.0.1:1", echo, NULL), PIER_EURL);
    ck_assert_int_eq(pier_server_add(s, LOCAL, echo, NULL), 0);
    ck_assert_int_eq(pier_server_add(s, "https://127.0.0.1:2", echo, NULL), PIER_EURL);
    pier_error_set(-EIO, "another");
    ck_assert_int_eq(pier_server_run(s), PIER_EURL);
    ck_assert_str_eq(pier_error(),
                     "listen https://127.0.0.1:1: HTTP is for pier_server_add_http()");
    expect_failure(empty_server(), -EINVAL, "listen: the server has no endpoint");
    pier_server_free(s);
}

TEST(server_refuses_a_model_that_does_not_exist)
{
    struct pier_server *s = pier_server_new(&(struct pier_serve_opts){ .model = PIER_PREFORK + 1 });
    ck_assert_int_eq(pier_server_add(s, LOCAL, echo, NULL), 0);
    expect_failure(s, -EINVAL, "listen: the server has no such model");
}

TEST(server_takes_no_endpoint_once_it_listens)
{
    struct pier_server *s = new_server(NULL, LOCAL, echo, NULL);
    ck_assert_int_eq(pier_server_add(s, LOCAL, echo, NULL), -EISCONN);
    ck_assert_int_eq(pier_server_add_inherited(s, echo, NULL), -EISCONN);
    ck_assert_int_eq(pier_server_count(s), 1);
    pier_server_free(s);
}

BOTH(server_that_is_null_answers_with_the_failure)
{
    pier_error_set(-ENOMEM, "server");
    ck_assert_int_eq(pier_server_add(NULL, LOCAL, echo, NULL), -ENOMEM);
    ck_assert_int_eq(pier_server_add_inherited(NULL, echo, NULL), -ENOMEM);
    ck_assert_int_eq(pier_server_listen(NULL), -ENOMEM);
    ck_assert_int_eq(pier_server_run(NULL), -ENOMEM);
    ck_assert_int_eq(pier_server_count(NULL), 0);
    ck_assert_int_eq(pier_server_conns(NULL), 0);
    ck_assert_ptr_null(pier_server_url(NULL, 0));
    pier_server_stop_remote(NULL);
    pier_server_free(NULL);
    ck_assert_int_eq(pier_error_code(), -ENOMEM);
}

TEST(server_url_has_the_real_port)
{
    char url[64];
    struct pier_server *s = new_server(NULL, LOCAL, echo, NULL);
    int port = pi_addr_port(&s->listeners[0].addr);
    ck_assert_int_gt(port, 0);
    snprintf(url, sizeof url, "tcp://127.0.0.1:%d", port);
    ck_assert_int_eq(pier_server_count(s), 1);
    ck_assert_str_eq(pier_server_url(s, 0), url);
    ck_assert_ptr_null(pier_server_url(s, 1));
    ck_assert_ptr_null(pier_server_url(s, -1));
    pier_server_free(s);
}

/* Each address that the machine has, with one port. */
static void expect_one_port(const char *url)
{
    struct serving sv;
    serve(&sv, &(struct pier_serve_opts){ .workers = 2 }, url, echo, NULL);
    int count = pier_server_count(sv.server);
    ck_assert_int_ge(count, 1);
    for (int i = 0; i < count; i++) {
        const struct pi_addr *addr = &sv.server->listeners[i].addr;
        ck_assert_int_eq(pi_addr_port(addr), pi_addr_port(&sv.server->listeners[0].addr));
        int fd = try_client(addr);
        ck_assert_int_ge(fd, 0);
        expect_echo(fd, "hello");
        close(fd);
    }
    bool has_ipv6 = sv.server->listeners[0].addr.any.sa_family == AF_INET6;
    ck_assert_int_eq(count, has_ipv6 ? 2 : 1);
    ck_assert_int_eq(end_serving(&sv), 0);
}

TEST(server_on_port_0_of_localhost_has_one_port)
{
    expect_one_port("tcp://localhost:0");
}

TEST(server_on_port_0_of_every_address_has_one_port)
{
    expect_one_port("tcp://:0");
}

TEST(server_listens_on_all_endpoints_or_none)
{
    char taken[PI_URL_TEXT_CAP], words[PI_URL_TEXT_CAP + 64], path[] = "/tmp/pier-XXXXXX";
    char unix_url[64];
    ck_assert_ptr_nonnull(mkdtemp(path));
    snprintf(unix_url, sizeof unix_url, "unix://%s/s", path);
    struct pier_server *other = new_server(NULL, LOCAL, echo, NULL), *s = empty_server();
    snprintf(taken, sizeof taken, "%s", pier_server_url(other, 0));
    int before = open_fds();
    ck_assert_int_eq(pier_server_add(s, unix_url, echo, NULL), 0);
    ck_assert_int_eq(pier_server_add(s, "tcp://localhost:0", echo, NULL), 0);
    ck_assert_int_eq(pier_server_add(s, taken, echo, NULL), 0);
    snprintf(words, sizeof words, "listen %s: address already in use", taken);
    expect_failure(s, -EADDRINUSE, words);
    ck_assert_int_eq(open_fds(), before);
    ck_assert_int_eq(rmdir(path), 0); /* the socket is gone */
    pier_server_free(other);
}

/* Whatever request fails, nothing is left and the next try succeeds. */
TEST(server_without_memory_listens_on_nothing)
{
    int rc = -ENOMEM, before = count_fds();
    char name[64];
    snprintf(name, sizeof name, "unix://@pier-net-server-%d", getpid());
    for (long i = 1; rc < 0; i++) {
        ck_assert_int_lt(i, 100);
        pi_alloc_fail(i);
        struct pier_server *s = pier_server_new(NULL);
        rc = s ? pier_server_add(s, "tcp://localhost:0", echo, NULL) : pier_error_code();
        if (rc == 0)
            rc = pier_server_add(s, name, echo, NULL);
        int listened = pier_server_listen(s);
        pi_alloc_fail(0);
        ck_assert_int_eq(listened, rc < 0 ? rc : listened);
        rc = listened;
        ck_assert(rc == 0 || rc == -ENOMEM);
        ck_assert(rc == 0 || open_fds() == before);
        pier_server_free(s);
        ck_assert_int_eq(open_fds(), before);
    }
}

/* ---- Unix sockets ---- */

struct folder {
    char path[64], socket[80], url[96];
};

static void make_folder(struct folder *f)
{
    strcpy(f->path, "/tmp/pier-XXXXXX");
    ck_assert_ptr_nonnull(mkdtemp(f->path));
    snprintf(f->socket, sizeof f->socket, "%s/s", f->path);
    snprintf(f->url, sizeof f->url, "unix://%s", f->socket);
}

/* As a server that was killed leaves it. */
static void leave_socket_behind(const struct folder *f)
{
    struct sockaddr_un name = { .sun_family = AF_UNIX };
    snprintf(name.sun_path, sizeof name.sun_path, "%s", f->socket);
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    ck_assert_int_eq(bind(fd, (struct sockaddr *)&name, sizeof name), 0);
    ck_assert_int_eq(listen(fd, 1), 0);
    close(fd);
}

TEST(server_replaces_a_unix_path_that_nobody_serves_and_removes_its_own)
{
    struct serving sv;
    struct folder f;
    make_folder(&f);
    leave_socket_behind(&f);
    serve(&sv, NULL, f.url, echo, NULL);
    ck_assert_str_eq(pier_server_url(sv.server, 0), f.url);
    int fd = client(sv.server);
    expect_echo(fd, "hello");
    close(fd);
    ck_assert_int_eq(end_serving(&sv), 0);
    ck_assert_int_eq(rmdir(f.path), 0);
}

static void expect_in_use(const char *url)
{
    char words[PI_URL_TEXT_CAP + 64];
    struct pier_server *s = empty_server();
    snprintf(words, sizeof words, "listen %s: address already in use", url);
    ck_assert_int_eq(pier_server_add(s, url, echo, NULL), 0);
    expect_failure(s, -EADDRINUSE, words);
}

TEST(server_leaves_a_unix_path_that_is_served)
{
    struct serving sv;
    struct folder f;
    make_folder(&f);
    serve(&sv, NULL, f.url, echo, NULL);
    expect_in_use(f.url);
    int fd = client(sv.server);
    expect_echo(fd, "hello");
    close(fd);
    ck_assert_int_eq(end_serving(&sv), 0);
    ck_assert_int_eq(rmdir(f.path), 0);
}

/* Too busy to answer is not gone. */
TEST(server_leaves_a_unix_path_whose_backlog_is_full)
{
    struct folder f;
    struct sockaddr_un name = { .sun_family = AF_UNIX };
    make_folder(&f);
    snprintf(name.sun_path, sizeof name.sun_path, "%s", f.socket);
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    ck_assert_int_eq(bind(fd, (struct sockaddr *)&name, sizeof name), 0);
    ck_assert_int_eq(listen(fd, 0), 0);
    int filler = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    ck_assert_int_eq(connect(filler, (struct sockaddr *)&name, sizeof name), 0);
    expect_in_use(f.url);
    close(filler);
    close(fd);
    ck_assert_int_eq(unlink(f.socket), 0);
    ck_assert_int_eq(rmdir(f.path), 0);
}

TEST(server_leaves_a_file_that_is_no_socket)
{
    struct folder f;
    make_folder(&f);
    int fd = open(f.socket, O_CREAT | O_WRONLY | O_CLOEXEC, 0600);
    ck_assert_int_eq(write(fd, "precious", 8), 8);
    close(fd);
    expect_in_use(f.url);
    ck_assert_int_eq(unlink(f.socket), 0);
    ck_assert_int_eq(rmdir(f.path), 0);
}

TEST(server_serves_an_abstract_name)
{
    struct serving sv;
    char url[64];
    snprintf(url, sizeof url, "unix://@pier-net-server-%d", getpid());
    serve(&sv, NULL, url, echo, NULL);
    ck_assert_str_eq(pier_server_url(sv.server, 0), url);
    expect_in_use(url);
    int fd = client(sv.server);
    expect_echo(fd, "hello");
    close(fd);
    ck_assert_int_eq(end_serving(&sv), 0);
}

/* ---- in a process of its own ---- */

#define CHECK(condition)                                                              \
    do {                                                                              \
        if (!(condition)) {                                                           \
            fprintf(stderr, "line %d: %s: %s\n", __LINE__, #condition, pier_error()); \
            _exit(1);                                                                 \
        }                                                                             \
    } while (0)

static void expect_success(void (*fn)(void))
{
    struct child c;
    child_run(&c, fn);
    ck_assert_msg(c.status == 0, "status %x: %s", c.status, c.text);
}

/* Hands fd over, as sd_listen_fds(3) says. */
static void inherit(int fd)
{
    char pid[16];
    CHECK(dup2(fd, 3) == 3);
    snprintf(pid, sizeof pid, "%d", getpid());
    setenv("LISTEN_PID", pid, 1);
    setenv("LISTEN_FDS", "1", 1);
}

static int bound_socket(int type, struct sockaddr_in *name)
{
    socklen_t len = sizeof *name;
    *name = (struct sockaddr_in){ .sin_family = AF_INET };
    name->sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    int fd = socket(AF_INET, type, 0);
    CHECK(bind(fd, (struct sockaddr *)name, len) == 0);
    CHECK(getsockname(fd, (struct sockaddr *)name, &len) == 0);
    return fd;
}

static void inherit_datagrams(void)
{
    struct sockaddr_in name;
    inherit(bound_socket(SOCK_DGRAM, &name));
    struct pier_server *s = pier_server_new(NULL);
    CHECK(pier_server_add_inherited(s, echo, NULL) == -EPROTOTYPE);
    CHECK(strcmp(pier_error(), "inherited descriptor 3 is no listening stream socket") == 0);
    CHECK(pier_server_run(s) == -EPROTOTYPE);
    pier_server_free(s);
}

TEST(server_refuses_an_inherited_socket_of_datagrams)
{
    expect_success(inherit_datagrams);
}

static void inherit_unconnected(void)
{
    struct sockaddr_in name;
    inherit(bound_socket(SOCK_STREAM, &name));
    struct pier_server *s = pier_server_new(NULL);
    CHECK(pier_server_add_inherited(s, echo, NULL) == -EPROTOTYPE);
    pier_server_free(s);
}

TEST(server_refuses_an_inherited_socket_that_does_not_listen)
{
    expect_success(inherit_unconnected);
}

/* Without the checks' library, whose own descriptor 3 may have been. */
static void *echo_and_stop(void *server)
{
    char byte = 'x';
    const struct pi_addr *addr = &((struct pier_server *)server)->listeners[0].addr;
    int fd = socket(AF_INET, SOCK_STREAM, 0);
    CHECK(connect(fd, &addr->any, addr->len) == 0);
    CHECK(send(fd, &byte, 1, 0) == 1 && recv(fd, &byte, 1, 0) == 1);
    pier_server_stop_remote(server);
    CHECK(recv(fd, &byte, 1, 0) == 0);
    close(fd);
    return NULL;
}

static void inherit_listener(void)
{
    struct sockaddr_in name;
    char url[64];
    pthread_t thread;
    int fd = bound_socket(SOCK_STREAM, &name);
    listen(fd, 5);
    inherit(fd);
    if (fd != 3)
        close(fd);
    snprintf(url, sizeof url, "tcp://127.0.0.1:%d", ntohs(name.sin_port));
    struct pier_server *s = pier_server_new(&(struct pier_serve_opts){ .workers = 2 });
    CHECK(pier_server_add_inherited(s, echo, NULL) == 1);
    CHECK(pier_server_add_inherited(s, echo, NULL) == 0); /* it is taken */
    CHECK(pier_server_listen(s) == 0);
    CHECK(strcmp(pier_server_url(s, 0), url) == 0);
    CHECK(fcntl(3, F_GETFD) == FD_CLOEXEC);
    pthread_create(&thread, NULL, echo_and_stop, s);
    CHECK(pier_server_run(s) == 0);
    pthread_join(thread, NULL);
    pier_server_free(s);
}

TEST(server_serves_an_inherited_listener)
{
    expect_success(inherit_listener);
}

__attribute__((noinline)) static int recurse(int depth)
{
    volatile char page[1024];
    page[depth % 1024] = (char)depth;
    int below = depth < 1 << 30 ? recurse(depth + 1) : 0;
    return below + page[depth % 1024];
}

static pthread_t runner;
static bool on_the_runner;

static int overflow_there(struct pier_conn *c, void *arg)
{
    char byte;
    if (!pthread_equal(pthread_self(), runner) == !on_the_runner)
        return recurse(0);
    return (int)pier_read(c, &byte, 1);
}

/* Until the process dies: one worker may take all while the other has not begun. */
static void *connect_many(void *server)
{
    for (int i = 0; i < 500; i++) {
        client(server);
        pier_sleep(PIER_MILLISECOND);
    }
    return NULL;
}

static void overflow_in_a_handler(void)
{
    pthread_t thread;
    runner = pthread_self();
    struct pier_server *s = pier_server_new(&(struct pier_serve_opts){ .workers = 2 });
    CHECK(pier_server_add(s, LOCAL, overflow_there, NULL) == 0);
    CHECK(pier_server_listen(s) == 0);
    pthread_create(&thread, NULL, connect_many, s);
    pier_server_run(s);
}

static void expect_overflow_named(bool on_runner)
{
    struct child c;
    on_the_runner = on_runner;
    child_run(&c, overflow_in_a_handler);
    ck_assert_msg(child_died_of(&c, SIGSEGV), "status %x: %s", c.status, c.text);
    if (HAVE_ASAN)
        ck_assert_msg(child_said(&c, "stack-overflow"), "%s", c.text);
    else if (!HAVE_TSAN)
        ck_assert_msg(child_said(&c, "task \"" LOCAL "\" overflowed its stack"), "%s", c.text);
}

TEST(server_names_a_handler_that_overflows_on_the_runners_thread)
{
    expect_overflow_named(true);
}

TEST(server_names_a_handler_that_overflows_on_a_workers_thread)
{
    expect_overflow_named(false);
}

HARNESS_MAIN("net_server")
