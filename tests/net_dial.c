/* SPDX-License-Identifier: MIT */
/* backends: epoll io_uring */
/*
 * net_dial: connecting, its failures and time-outs, and the race of a name's addresses (RFC 8305).
 * Only loopback: a slow address is a listener whose backlog is full, and names have the addresses
 * that a test gives them.
 */
#include "net_serving.h"

#include "net_names.h"

#include <stddef.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/un.h>

/* ---- the library's connect, counted ---- */

static _Atomic int connects;

int connect(int fd, const struct sockaddr *addr, socklen_t len)
{
    atomic_fetch_add(&connects, 1);
    return (int)syscall(SYS_connect, fd, addr, len);
}

/* ---- listeners ---- */

struct stand {
    int fd, filler; /* filler: what fills its backlog; -1: none */
    union {
        struct sockaddr any;
        struct sockaddr_in in;
        struct sockaddr_un un;
    } name;
    socklen_t len;
    char url[64];
};

static void set_name(struct stand *l, const char *ip, int port)
{
    *l = (struct stand){ .fd = -1, .filler = -1, .len = sizeof l->name.in };
    l->name.in.sin_family = AF_INET;
    l->name.in.sin_port = htons((uint16_t)port);
    inet_pton(AF_INET, ip, &l->name.in.sin_addr);
}

/* On 127.0.0.x; port 0: any. Whether it could be had. */
static bool try_listen(struct stand *l, const char *ip, int port, int backlog)
{
    set_name(l, ip, port);
    l->fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (bind(l->fd, &l->name.any, l->len) < 0 || listen(l->fd, backlog) < 0) {
        close(l->fd);
        return false;
    }
    getsockname(l->fd, &l->name.any, &l->len);
    snprintf(l->url, sizeof l->url, "tcp://%s:%d", ip, ntohs(l->name.in.sin_port));
    return true;
}

static int port_of(const struct stand *l)
{
    return ntohs(l->name.in.sin_port);
}

/* Further connections get no answer until there is room. */
static void fill(struct stand *l)
{
    l->filler = socket(l->name.any.sa_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
    ck_assert_int_eq(connect(l->filler, &l->name.any, l->len), 0);
}

static void close_stand(struct stand *l)
{
    if (l->filler >= 0)
        close(l->filler);
    close(l->fd);
}

static void listen_unix(struct stand *l, int backlog)
{
    *l = (struct stand){ .filler = -1 };
    l->fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    l->name.un.sun_family = AF_UNIX;
    int n = snprintf(l->name.un.sun_path + 1, 64, "pier-net-dial-%d", getpid());
    l->len = (socklen_t)(offsetof(struct sockaddr_un, sun_path) + 1 + (size_t)n);
    ck_assert_int_eq(bind(l->fd, &l->name.any, l->len), 0);
    ck_assert_int_eq(listen(l->fd, backlog), 0);
    snprintf(l->url, sizeof l->url, "unix://@%s", l->name.un.sun_path + 1);
}

/* A port that nobody has, bound but not listening, so that nobody gets it meanwhile. */
static void reserve(struct stand *l, const char *ip, int port)
{
    set_name(l, ip, port);
    l->fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    ck_assert_int_eq(bind(l->fd, &l->name.any, l->len), 0);
    getsockname(l->fd, &l->name.any, &l->len);
    snprintf(l->url, sizeof l->url, "tcp://%s:%d", ip, port_of(l));
}

enum how { ACCEPTS, SLOW, REFUSES };

enum { ROW_MAX = 8 };

struct row {
    struct stand at[ROW_MAX];
    int count;
    char url[64]; /* of a name that has them all */
};

static bool try_row(struct row *r, const enum how *how, int count)
{
    int port = 0;
    for (r->count = 0; r->count < count; r->count++) {
        struct stand *l = &r->at[r->count];
        char ip[32];
        snprintf(ip, sizeof ip, "127.0.0.%d", r->count + 2);
        if (!try_listen(l, ip, port, how[r->count] == SLOW ? 0 : 16))
            return false;
        port = port_of(l);
    }
    return true;
}

static void close_row(struct row *r)
{
    for (int i = 0; i < r->count; i++)
        close_stand(&r->at[i]);
}

/* One port on several addresses, in the order in which a dial tries them. */
static void line_up(struct row *r, const enum how *how, int count)
{
    const char *texts[ROW_MAX];
    for (int tries = 0; !try_row(r, how, count); tries++) {
        ck_assert_int_lt(tries, 50);
        close_row(r);
    }
    static char ips[ROW_MAX][16];
    for (int i = 0; i < count; i++) {
        struct stand *l = &r->at[i];
        texts[i] = inet_ntop(AF_INET, &l->name.in.sin_addr, ips[i], sizeof ips[i]);
        if (how[i] == SLOW)
            fill(l);
        if (how[i] == REFUSES) {
            close(l->fd);
            reserve(l, ips[i], port_of(l));
        }
    }
    names_set(texts, count, 0);
    snprintf(r->url, sizeof r->url, "tcp://host:%d", port_of(&r->at[0]));
}

/* ---- connecting ---- */

static void expect_talk(const char *url, int listener)
{
    char text[8] = "";
    struct pier_conn *c = pier_dial(url, NULL);
    ck_assert_msg(c != NULL, "%s", pier_error());
    int fd = accept4(listener, NULL, NULL, SOCK_CLOEXEC);
    ck_assert_int_eq(pier_puts(c, "hi"), 2);
    ck_assert_uint_eq(recv_all(fd, text, 2), 2);
    pier_set_timeouts(c, 1, 0);
    ck_assert_int_eq(pier_read(c, text, 1), -ETIMEDOUT); /* it can wait */
    send_all(fd, "you", 3);
    ck_assert_int_eq(pier_read(c, text, sizeof text), 3);
    ck_assert_int_eq(fcntl(pier_conn_fd(c), F_GETFD) & FD_CLOEXEC, FD_CLOEXEC);
    pier_close(c);
    close(fd);
}

BOTH(dial_connects)
{
    struct stand l;
    int before = count_fds();
    ck_assert(try_listen(&l, "127.0.0.1", 0, 5));
    expect_talk(l.url, l.fd);
    close_stand(&l);
    listen_unix(&l, 5);
    expect_talk(l.url, l.fd);
    close_stand(&l);
    ck_assert_int_eq(open_fds(), before);
}

/* Of ::1 and 127.0.0.1, the one that answers. */
BOTH(dial_of_localhost_tries_both_families)
{
    struct stand l;
    char url[64];
    ck_assert(try_listen(&l, "127.0.0.1", 0, 5));
    snprintf(url, sizeof url, "tcp://localhost:%d", port_of(&l));
    expect_talk(url, l.fd);
    snprintf(url, sizeof url, "tcp://:%d", port_of(&l));
    expect_talk(url, l.fd);
    ck_assert_int_eq(names_asked(), 0);
    close_stand(&l);
}

/* ---- failures ---- */

BOTH(dial_refused_says_so)
{
    struct stand l;
    char words[128];
    int before = count_fds();
    reserve(&l, "127.0.0.1", 0);
    ck_assert_ptr_null(pier_dial(l.url, NULL));
    snprintf(words, sizeof words, "dial %s: connection refused", l.url);
    ck_assert_str_eq(pier_error(), words);
    ck_assert_int_eq(pier_error_code(), -ECONNREFUSED);
    ck_assert_int_eq(pier_exit_code(), 4);
    close_stand(&l);
    ck_assert_int_eq(open_fds(), before);
}

BOTH(dial_of_a_missing_path_says_so)
{
    ck_assert_ptr_null(pier_dial("unix:///nonexistent/socket", NULL));
    ck_assert_str_eq(pier_error(), "dial unix:///nonexistent/socket: no such file or directory");
    ck_assert_int_eq(pier_exit_code(), 4);
}

BOTH(dial_refuses_urls_that_it_cannot_dial)
{
    ck_assert_ptr_null(pier_dial("https://127.0.0.1:1", NULL));
    ck_assert_int_eq(pier_error_code(), PIER_EURL);
    ck_assert_str_eq(pier_error(), "dial https://127.0.0.1:1: this scheme is not supported yet");
    ck_assert_ptr_null(pier_dial("tcp://127.0.0.1:0", NULL));
    ck_assert_int_eq(pier_error_code(), PIER_EURL);
    ck_assert_int_eq(pier_exit_code(), 2);
}

BOTH(dial_of_a_name_without_addresses_is_a_failure_of_resolution)
{
    names_set(NULL, 0, EAI_NONAME);
    ck_assert_ptr_null(pier_dial("tcp://host:1", NULL));
    ck_assert_str_eq(pier_error(), "dial tcp://host:1: unknown name");
    ck_assert_int_eq(pier_exit_code(), 3);
}

static void expect_time_out(const char *url, int ms)
{
    char words[128];
    int before = count_fds();
    int64_t begin = pier_now();
    ck_assert_ptr_null(pier_dial(url, &(struct pier_dial_opts){ .connect_timeout_ms = ms }));
    ck_assert_int_ge(ms_since(begin), ms - 1);
    ck_assert_int_lt(ms_since(begin), ms + 5000);
    snprintf(words, sizeof words, "dial %s: timed out", url);
    ck_assert_str_eq(pier_error(), words);
    ck_assert_int_eq(pier_error_code(), -ETIMEDOUT);
    ck_assert_int_eq(pier_exit_code(), 6);
    ck_assert_int_eq(open_fds(), before);
}

BOTH(dial_times_out)
{
    struct stand l;
    ck_assert(try_listen(&l, "127.0.0.1", 0, 0));
    fill(&l);
    expect_time_out(l.url, 60);
    close_stand(&l);
    listen_unix(&l, 0);
    fill(&l);
    expect_time_out(l.url, 60);
    close_stand(&l);
}

BOTH(dial_times_out_while_addresses_race)
{
    struct row r;
    line_up(&r, (enum how[]){ SLOW, SLOW, SLOW }, 3);
    expect_time_out(r.url, 60);
    expect_time_out(r.url, 400);
    expect_time_out(r.url, 700);
    close_row(&r);
}

BOTH(dial_counts_resolving_in_its_time_out)
{
    const char *one = "127.0.0.1";
    names_set(&one, 1, 0);
    names_hold(true);
    int64_t begin = pier_now();
    struct pier_dial_opts opts = { .connect_timeout_ms = 40 };
    ck_assert_ptr_null(pier_dial("tcp://host:1", &opts));
    ck_assert_int_ge(ms_since(begin), 39);
    ck_assert_str_eq(pier_error(), "dial tcp://host:1: timed out");
    ck_assert_int_eq(pier_exit_code(), 6);
    names_hold(false);
}

/* ---- a Unix socket's backlog ---- */

/* Makes room when the dial has found none, more than once. */
static void make_room(int fd, void *listener)
{
    char byte;
    while (connects < 4)
        poll(NULL, 0, 1);
    for (int i = 0; i < 2; i++) {
        int other = accept4(*(int *)listener, NULL, NULL, SOCK_CLOEXEC);
        if (i == 1)
            send_all(other, "x", 1);
        while (i == 1 && recv(other, &byte, 1, 0) > 0)
            ;
        close(other);
    }
}

static void wait_for_room(int timeout_ms)
{
    struct stand l;
    struct peer p;
    char byte;
    int before = count_fds();
    listen_unix(&l, 0);
    connects = 0;
    fill(&l);
    start_peer(&p, -1, make_room, &l.fd);
    struct pier_dial_opts opts = { .connect_timeout_ms = timeout_ms };
    struct pier_conn *c = pier_dial(l.url, &opts);
    ck_assert_msg(c != NULL, "%s", pier_error());
    ck_assert_int_eq(pier_read(c, &byte, 1), 1);
    pier_close(c);
    pthread_join(p.thread, NULL);
    close_stand(&l);
    ck_assert_int_eq(open_fds(), before);
}

BOTH(dial_waits_for_room_in_a_unix_backlog)
{
    wait_for_room(0);
}

BOTH(dial_without_time_out_waits_for_room_in_a_unix_backlog)
{
    wait_for_room(PIER_NO_TIMEOUT);
}

/* ---- the race ---- */

/* The address that the connection has; it can wait, and is closed. */
static int dialled(struct pier_conn *c)
{
    int last = 0;
    char byte;
    ck_assert_msg(c != NULL, "%s", pier_error());
    ck_assert_int_eq(sscanf(pier_peer(c), "127.0.0.%d:", &last), 1);
    pier_set_timeouts(c, 1, 0);
    ck_assert_int_ne(pier_read(c, &byte, 1), -EBUSY);
    pier_close(c);
    return last;
}

BOTH(dial_prefers_the_first_address)
{
    struct row r;
    line_up(&r, (enum how[]){ ACCEPTS, ACCEPTS }, 2);
    connects = 0;
    ck_assert_int_eq(dialled(pier_dial(r.url, NULL)), 2);
    ck_assert_int_eq(connects, 1);
    close_row(&r);
}

BOTH(dial_goes_on_at_once_when_an_address_refuses)
{
    struct row r;
    line_up(&r, (enum how[]){ REFUSES, REFUSES, REFUSES, REFUSES, REFUSES, REFUSES, ACCEPTS }, 7);
    int before = count_fds();
    int64_t begin = pier_now();
    ck_assert_int_eq(dialled(pier_dial(r.url, NULL)), 8);
    ck_assert_int_lt(ms_since(begin), 1250); /* not a quarter of a second for each */
    ck_assert_int_eq(open_fds(), before);
    close_row(&r);
}

BOTH(dial_starts_the_second_address_after_a_quarter_of_a_second)
{
    struct row r;
    line_up(&r, (enum how[]){ SLOW, ACCEPTS, ACCEPTS }, 3);
    int before = count_fds();
    int64_t begin = pier_now();
    ck_assert_int_eq(dialled(pier_dial(r.url, NULL)), 3);
    ck_assert_int_ge(ms_since(begin), 249);
    ck_assert_int_lt(ms_since(begin), 1250);
    ck_assert_int_eq(open_fds(), before);
    close_row(&r);
}

BOTH(dial_goes_on_at_once_when_an_address_refuses_during_the_race)
{
    struct row r;
    line_up(&r, (enum how[]){ SLOW, REFUSES, REFUSES, REFUSES, REFUSES, REFUSES, ACCEPTS }, 7);
    int before = count_fds();
    int64_t begin = pier_now();
    ck_assert_int_eq(dialled(pier_dial(r.url, NULL)), 8);
    ck_assert_int_ge(ms_since(begin), 249);
    ck_assert_int_lt(ms_since(begin), 1250); /* not a quarter of a second for each */
    ck_assert_int_eq(open_fds(), before);
    close_row(&r);
}

static void accept_one(int fd, void *listener)
{
    while (connects < 2)
        poll(NULL, 0, 1);
    close(accept4(*(int *)listener, NULL, NULL, SOCK_CLOEXEC));
}

BOTH(dial_keeps_waiting_for_the_slow_one_when_all_others_refuse)
{
    struct row r;
    struct peer p;
    line_up(&r, (enum how[]){ SLOW, REFUSES }, 2);
    connects = 0;
    start_peer(&p, -1, accept_one, &r.at[0].fd);
    ck_assert_int_eq(dialled(pier_dial(r.url, NULL)), 2);
    pthread_join(p.thread, NULL);
    close_row(&r);
}

BOTH(dial_fails_when_all_addresses_refuse)
{
    struct row r;
    char words[128];
    line_up(&r, (enum how[]){ REFUSES, REFUSES, REFUSES }, 3);
    int before = count_fds();
    connects = 0;
    ck_assert_ptr_null(pier_dial(r.url, NULL));
    snprintf(words, sizeof words, "dial %s: connection refused", r.url);
    ck_assert_str_eq(pier_error(), words);
    ck_assert_int_eq(connects, 3);
    ck_assert_int_eq(open_fds(), before);
    close_row(&r);
}

/* ---- cancellation ---- */

/* Beyond the first quarter of a second it is a race. */
static void cancel_after(const char *url, int ms)
{
    struct pier_scope scope;
    int before = count_fds();
    int64_t begin = pier_now();
    pier_scope_open(&scope, pier_after(ms * PIER_MILLISECOND));
    ck_assert_ptr_null(pier_dial(url, NULL));
    ck_assert_int_eq(pier_error_code(), -ETIMEDOUT);
    ck_assert_int_eq(pier_scope_join(&scope), 0);
    ck_assert_int_ge(ms_since(begin), ms - 1);
    ck_assert_int_lt(ms_since(begin), ms + 5000);
    ck_assert_int_eq(open_fds(), before);
}

BOTH(dial_ends_with_its_scopes_deadline)
{
    struct row r;
    line_up(&r, (enum how[]){ SLOW, SLOW }, 2);
    cancel_after(r.at[0].url, 30);
    cancel_after(r.url, 30);
    cancel_after(r.url, 350);
    close_row(&r);
}

BOTH(dial_for_room_in_a_unix_backlog_ends_with_its_scopes_deadline)
{
    struct stand l;
    listen_unix(&l, 0);
    fill(&l);
    cancel_after(l.url, 30);
    close_stand(&l);
}

static void cancel_dial(int wanted, void *scope)
{
    while (connects < wanted)
        poll(NULL, 0, 1);
    pier_scope_cancel_remote(scope);
}

static void cancel_first(int fd, void *scope)
{
    cancel_dial(1, scope);
}

static void cancel_second(int fd, void *scope)
{
    cancel_dial(2, scope);
}

BOTH(dial_is_cancelled_by_another_thread)
{
    void (*const when[])(int, void *) = { cancel_first, cancel_second };
    struct row r;
    line_up(&r, (enum how[]){ SLOW, SLOW }, 2);
    for (int i = 0; i < 2; i++) {
        struct pier_scope scope;
        struct peer p;
        int before = count_fds();
        connects = 0;
        pier_scope_open(&scope, 0);
        start_peer(&p, -1, when[i], &scope);
        ck_assert_ptr_null(pier_dial(r.url, NULL));
        ck_assert_int_eq(pier_error_code(), -ECANCELED);
        pthread_join(p.thread, NULL);
        ck_assert_int_eq(pier_scope_join(&scope), 0);
        ck_assert_int_eq(open_fds(), before);
    }
    close_row(&r);
}

/* ---- what may be lacking ---- */

BOTH(dial_without_memory_fails_and_leaves_nothing)
{
    struct row r;
    line_up(&r, (enum how[]){ REFUSES, ACCEPTS }, 2);
    int before = count_fds();
    struct pier_conn *c = NULL;
    for (long i = 1; !c; i++) {
        ck_assert_int_lt(i, 50);
        pi_alloc_fail(i);
        c = pier_dial(r.url, NULL);
        pi_alloc_fail(0);
        ck_assert(c || pier_error_code() == -ENOMEM);
        ck_assert_int_eq(open_fds(), before + (c != NULL));
    }
    pier_close(c);
    close_row(&r);
}

/* What the race needs, tasks, may be lacking too: an attempt less, or a failure. */
BOTH(dial_without_memory_for_a_race_leaves_nothing)
{
    struct row r;
    line_up(&r, (enum how[]){ SLOW, ACCEPTS }, 2);
    int before = count_fds();
    bool won = false;
    for (long i = 1; !won; i++) {
        ck_assert_int_lt(i, 50);
        pi_alloc_fail(i);
        struct pier_conn *c = pier_dial(r.url, NULL);
        won = c && pi_alloc_fail(0) < i;
        pi_alloc_fail(0);
        ck_assert(c || pier_error_code() == -ENOMEM);
        pier_close(c);
        ck_assert_int_eq(open_fds(), before);
    }
    close_row(&r);
}

BOTH(dial_without_descriptors_fails)
{
    struct stand l;
    char words[128];
    struct rlimit limit;
    ck_assert(try_listen(&l, "127.0.0.1", 0, 5));
    count_fds();
    getrlimit(RLIMIT_NOFILE, &limit);
    setrlimit(RLIMIT_NOFILE, &(struct rlimit){ 3, limit.rlim_max });
    struct pier_conn *c = pier_dial(l.url, NULL);
    setrlimit(RLIMIT_NOFILE, &limit);
    ck_assert_ptr_null(c);
    snprintf(words, sizeof words, "dial %s: too many open files", l.url);
    ck_assert_str_eq(pier_error(), words);
    expect_talk(l.url, l.fd);
    close_stand(&l);
}

HARNESS_MAIN("net_dial")
