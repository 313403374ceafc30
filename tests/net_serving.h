/* SPDX-License-Identifier: MIT */
/*
 * net_serving: a server that runs on a thread of its own, plain clients for it, and what it logs.
 *
 *     struct serving sv;
 *     serve(&sv, &opts, "tcp://127.0.0.1:0", echo, NULL);
 *     int fd = client(sv.server);
 *     ...
 *     close(fd);
 *     ck_assert_int_eq(end_serving(&sv), 0);    (stops, joins, frees, and counts descriptors)
 */
#ifndef PIER_TESTS_NET_SERVING_H
#define PIER_TESTS_NET_SERVING_H

#include "both.h"

#include "net/server.h"

#include <errno.h>
#include <sys/time.h>

static int patience(void)
{
    const char *slow = getenv("PIER_TEST_SLOW");
    return slow && strcmp(slow, "1") == 0 ? 75 : 15;
}

/* Waits for a condition that others bring about; in a task, others run. */
#define AWAIT(condition)                                                         \
    do {                                                                         \
        int64_t await_until_ = pier_after(patience() * PIER_SECOND);             \
        while (!(condition)) {                                                   \
            ck_assert_msg(pier_now() < await_until_, "in vain: %s", #condition); \
            if (pier_sleep(PIER_MILLISECOND) < 0)                                \
                sched_yield();                                                   \
        }                                                                        \
    } while (0)

/* ---- the log ---- */

static pthread_mutex_t log_lock = PTHREAD_MUTEX_INITIALIZER;
static char log_text[65536];
static size_t log_len;

static void keep_record(void *ctx, enum pier_log_level level, const char *msg,
                        const struct pier_log_field *fields, size_t count)
{
    pthread_mutex_lock(&log_lock);
    size_t room = sizeof log_text - log_len;
    int n = snprintf(log_text + log_len, room, "%s\n", msg);
    for (size_t i = 0; i < count && n > 0 && (size_t)n < room; i++)
        if (fields[i].kind == PIER_LOG_STR)
            n += snprintf(log_text + log_len + n, room - (size_t)n, "  %s=%.*s\n", fields[i].key,
                          (int)fields[i].len, fields[i].str);
    if (n > 0 && (size_t)n < room)
        log_len += (size_t)n;
    pthread_mutex_unlock(&log_lock);
}

/* How often the log has said that. */
UNUSED_FN static int said(const char *part)
{
    int times = 0;
    pthread_mutex_lock(&log_lock);
    for (const char *at = log_text; (at = strstr(at, part)) != NULL; at++)
        times++;
    pthread_mutex_unlock(&log_lock);
    return times;
}

/* ---- descriptors ---- */

/* What a thread keeps for its life is there before anything is counted. */
static int count_fds(void)
{
    ck_assert_int_ge(pi_thread_wake_fd(pi_task_self()->thread), 0);
    return open_fds();
}

/* Threads that nobody joins may take a moment to end. */
static void expect_fds(int before)
{
    AWAIT(open_fds() <= before);
    ck_assert_int_eq(open_fds(), before);
}

/* ---- the server ---- */

struct serving {
    struct pier_server *server;
    struct pier_scope scope; /* around its run, to be cancelled from elsewhere */
    _Atomic bool begun, ended;
    pthread_t thread;
    int rc, fds;
    char words[256]; /* of a failure */
};

static void *serving_main(void *arg)
{
    struct serving *sv = arg;
    pier_scope_open(&sv->scope, 0);
    sv->begun = true;
    sv->rc = pier_server_run(sv->server);
    snprintf(sv->words, sizeof sv->words, "%s", pier_error());
    sv->ended = true;
    pier_scope_join(&sv->scope);
    return NULL;
}

static struct pier_server *new_server(const struct pier_serve_opts *opts, const char *url,
                                      pier_handler handler, void *arg)
{
    pier_log_set(keep_record, NULL);
    struct pier_server *s = pier_server_new(opts);
    ck_assert_ptr_nonnull(s);
    ck_assert_int_eq(pier_server_add(s, url, handler, arg), 0);
    ck_assert_msg(pier_server_listen(s) == 0, "%s", pier_error());
    return s;
}

UNUSED_FN static void serve_with(struct serving *sv, struct pier_server *s)
{
    *sv = (struct serving){ .server = s, .rc = -EINPROGRESS };
    ck_assert_int_eq(pthread_create(&sv->thread, NULL, serving_main, sv), 0);
    AWAIT(sv->begun);
}

UNUSED_FN static void serve(struct serving *sv, const struct pier_serve_opts *opts, const char *url,
                            pier_handler handler, void *arg)
{
    int before = count_fds();
    serve_with(sv, new_server(opts, url, handler, arg));
    sv->fds = before;
}

/* Waits for the end of the run; all clients are closed. */
UNUSED_FN static int finish_serving(struct serving *sv)
{
    AWAIT(sv->ended);
    ck_assert_int_eq(pthread_join(sv->thread, NULL), 0);
    ck_assert_int_eq(pier_server_conns(sv->server), 0);
    pier_server_free(sv->server);
    if (sv->fds)
        expect_fds(sv->fds);
    return sv->rc;
}

UNUSED_FN static int end_serving(struct serving *sv)
{
    pier_server_stop_remote(sv->server);
    return finish_serving(sv);
}

/* ---- clients ---- */

static int try_client(const struct pi_addr *addr)
{
    int fd = socket(addr->any.sa_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
    struct timeval wait = { .tv_sec = patience() };
    ck_assert_int_ge(fd, 0);
    setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &wait, sizeof wait);
    setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &wait, sizeof wait);
    if (connect(fd, &addr->any, addr->len) == 0)
        return fd;
    int code = -errno;
    close(fd);
    return code;
}

UNUSED_FN static int client(const struct pier_server *s)
{
    int fd = try_client(&s->listeners[0].addr);
    ck_assert_msg(fd >= 0, "connect: %s", pier_strerror(fd));
    return fd;
}

UNUSED_FN static bool is_refused(const struct pi_addr *addr)
{
    int fd = try_client(addr);
    if (fd >= 0)
        close(fd);
    return fd < 0;
}

UNUSED_FN static bool is_readable(int fd)
{
    struct pollfd p = { fd, POLLIN, 0 };
    return poll(&p, 1, 0) == 1;
}

/* Everything until the end: how many bytes, or a negative code. */
UNUSED_FN static ssize_t read_to_end(int fd, char *buf, size_t cap)
{
    size_t len = 0;
    for (;;) {
        ssize_t n = recv(fd, buf + len, cap - len, 0);
        if (n < 0 && errno == EINTR)
            continue; /* a ring's work on this thread ends calls with a time-out (socket(7)) */
        if (n <= 0)
            return n < 0 ? -errno : (ssize_t)len;
        len += (size_t)n;
    }
}

/* ---- handlers ---- */

UNUSED_FN static int echo(struct pier_conn *c, void *arg)
{
    char buf[4096];
    ssize_t n;
    while ((n = pier_read(c, buf, sizeof buf)) > 0)
        if (pier_write(c, buf, (size_t)n) < 0)
            return -EIO;
    return (int)n;
}

UNUSED_FN static void expect_echo(int fd, const char *text)
{
    char got[64];
    size_t len = strlen(text);
    send_all(fd, text, len);
    ck_assert_uint_eq(recv_all(fd, got, len), len);
    ck_assert_int_eq(memcmp(got, text, len), 0);
}

/* Holds every connection until it is opened, and counts them. */
struct gate {
    struct pier_event open;
    _Atomic int inside, peak, served, last_rc;
};

UNUSED_FN static int wait_at_gate(struct pier_conn *c, void *arg)
{
    struct gate *g = arg;
    int now = atomic_fetch_add(&g->inside, 1) + 1;
    for (int peak = g->peak; now > peak;)
        if (atomic_compare_exchange_weak(&g->peak, &peak, now))
            break;
    int rc = pier_event_wait(&g->open);
    g->last_rc = rc;
    atomic_fetch_sub(&g->inside, 1);
    atomic_fetch_add(&g->served, 1);
    return rc;
}

#endif
