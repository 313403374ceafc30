/* SPDX-License-Identifier: MIT */
/* backends: epoll io_uring */
/*
 * net_models: the same things of each of the four models of a server, which runs in a process of
 * its own, as programs do, with plain sockets for clients; and what only its processes do.
 */
#include "both.h"
#include "child.h"

#include "net/server.h"

#include <errno.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/time.h>
#include <sys/un.h>

#define LOCAL "tcp://127.0.0.1:0"

/* Processes are waited for by their pidfd. */
static void need_processes(void)
{
    test_not_on_valgrind("it does not know pidfd_open(2)");
}

#define EACH_MODEL_WITHIN(seconds, name)                                              \
    static void name##_body(struct pier_serve_opts opts);                             \
    TEST_WITHIN(seconds, name##_with_tasks)                                           \
    {                                                                                 \
        name##_body((struct pier_serve_opts){ .workers = 2 });                        \
    }                                                                                 \
    TEST_WITHIN(seconds, name##_with_threads)                                         \
    {                                                                                 \
        name##_body((struct pier_serve_opts){ .model = PIER_THREADS });               \
    }                                                                                 \
    TEST_WITHIN(seconds, name##_with_processes)                                       \
    {                                                                                 \
        need_processes();                                                             \
        name##_body((struct pier_serve_opts){ .model = PIER_PROCESSES });             \
    }                                                                                 \
    TEST_WITHIN(seconds, name##_with_prefork)                                         \
    {                                                                                 \
        need_processes();                                                             \
        name##_body((struct pier_serve_opts){ .model = PIER_PREFORK, .workers = 3 }); \
    }                                                                                 \
    static void name##_body(struct pier_serve_opts opts)

#define EACH_MODEL(name) EACH_MODEL_WITHIN(HARNESS_TIMEOUT_S, name)

/* Twice, for what has processes only. */
#define EACH_FORKING_MODEL(name)                                                      \
    static void name##_body(struct pier_serve_opts opts);                             \
    TEST(name##_with_processes)                                                       \
    {                                                                                 \
        need_processes();                                                             \
        name##_body((struct pier_serve_opts){ .model = PIER_PROCESSES });             \
    }                                                                                 \
    TEST(name##_with_prefork)                                                         \
    {                                                                                 \
        need_processes();                                                             \
        name##_body((struct pier_serve_opts){ .model = PIER_PREFORK, .workers = 3 }); \
    }                                                                                 \
    static void name##_body(struct pier_serve_opts opts)

/* ---- what handlers and tests share ---- */

enum { LOG_CAP = 1 << 20 };

static struct shared {
    _Atomic bool open;
    _Atomic int inside, peak, served, result, rc;
    _Atomic size_t log_len;
    char words[256]; /* of the run's failure */
    char log[LOG_CAP];
} * shared;

static int patience(void)
{
    const char *slow = getenv("PIER_TEST_SLOW");
    return slow && strcmp(slow, "1") == 0 ? 75 : 15;
}

#define AWAIT(condition)                                                                  \
    do {                                                                                  \
        int64_t await_until_ = pier_after(patience() * PIER_SECOND);                      \
        while (!(condition)) {                                                            \
            ck_assert_msg(pier_now() < await_until_, "in vain: %s; log:\n%s", #condition, \
                          shared->log);                                                   \
            poll(NULL, 0, 1);                                                             \
        }                                                                                 \
    } while (0)

/* Lines of several processes: each takes its place first. That there is no io_uring here says
 * nothing of a model. */
static void keep_record(void *ctx, enum pier_log_level level, const char *msg,
                        const struct pier_log_field *fields, size_t count)
{
    char line[1024];
    if (strncmp(msg, "PIER_BACKEND ", strlen("PIER_BACKEND ")) == 0)
        return;
    int n = snprintf(line, sizeof line, "%s", msg);
    for (size_t i = 0; i < count && n > 0 && (size_t)n < sizeof line; i++)
        n += fields[i].kind == PIER_LOG_STR
                 ? snprintf(line + n, sizeof line - (size_t)n, " %s=%.*s", fields[i].key,
                            (int)fields[i].len, fields[i].str)
                 : snprintf(line + n, sizeof line - (size_t)n, " %s=%lld", fields[i].key,
                            (long long)fields[i].num);
    size_t len = strlen(line);
    line[len++] = '\n';
    size_t at = atomic_fetch_add(&shared->log_len, len);
    if (at + len < LOG_CAP)
        memcpy(shared->log + at, line, len);
}

static int said(const char *part)
{
    int times = 0;
    for (const char *at = shared->log; (at = strstr(at, part)) != NULL; at++)
        times++;
    return times;
}

/* ---- the server ---- */

struct hosted {
    pid_t pid;
    struct pi_addr addr;
    int notify_fd;
};

static int notify_socket(void)
{
    struct sockaddr_un addr = { .sun_family = AF_UNIX };
    socklen_t len = sizeof(sa_family_t);
    char name[128];
    int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    ck_assert_int_eq(bind(fd, (struct sockaddr *)&addr, len),
                     0); /* a name of the kernel's choice */
    len = sizeof addr;
    ck_assert_int_eq(getsockname(fd, (struct sockaddr *)&addr, &len), 0);
    snprintf(name, sizeof name, "@%.*s", (int)(len - offsetof(struct sockaddr_un, sun_path) - 1),
             addr.sun_path + 1);
    setenv("NOTIFY_SOCKET", name, 1);
    return fd;
}

static void expect_notice(const struct hosted *h, const char *state)
{
    char got[64] = "";
    struct pollfd p = { h->notify_fd, POLLIN, 0 };
    ck_assert_msg(poll(&p, 1, patience() * 1000) == 1, "no %s", state);
    ck_assert_int_gt(recv(h->notify_fd, got, sizeof got - 1, 0), 0);
    ck_assert_str_eq(got, state);
}

static _Noreturn void run_hosted(struct pier_server *s)
{
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    setrlimit(RLIMIT_CORE, &(struct rlimit){ 0, 0 });
    int rc = pier_server_run(s);
    shared->rc = rc;
    snprintf(shared->words, sizeof shared->words, "%s", pier_error());
    int conns = pier_server_conns(s);
    pier_server_free(s);
    _exit(rc == 0 && conns == 0 ? 0 : 1);
}

static void share(void)
{
    if (HAVE_TSAN && strcmp(pier_backend(NULL), "io_uring") == 0)
        test_skip("TSan keeps signals back in a call that it does not know");
    shared = mmap(NULL, sizeof *shared, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    ck_assert_ptr_ne(shared, MAP_FAILED);
    pier_log_set(keep_record, NULL);
    pier_watchdog(0); /* a busy machine is not the point */
}

/* Returns when it accepts. */
static void host(struct hosted *h, const struct pier_serve_opts *opts, pier_handler handler)
{
    share();
    struct pier_server *s = pier_server_new(opts);
    ck_assert_int_eq(pier_server_add(s, LOCAL, handler, s), 0);
    ck_assert_msg(pier_server_listen(s) == 0, "%s", pier_error());
    h->addr = s->listeners[0].addr;
    h->notify_fd = notify_socket();
    h->pid = fork();
    ck_assert_int_ge(h->pid, 0);
    if (h->pid == 0)
        run_hosted(s);
    pier_server_free(s);
    expect_notice(h, "READY=1");
}

/* Its exit status: 0 after a stop by which all connections had ended. */
static int await_end(const struct hosted *h)
{
    int status = -1;
    pid_t pid = 0;
    AWAIT((pid = waitpid(h->pid, &status, WNOHANG)) != 0);
    ck_assert_int_eq(pid, h->pid);
    return status;
}

static void end(const struct hosted *h)
{
    kill(h->pid, SIGTERM);
    int status = await_end(h);
    ck_assert_msg(status == 0, "status %x: %d %s\n%s", status, shared->rc, shared->words,
                  shared->log);
    expect_notice(h, "STOPPING=1");
}

/* ---- clients ---- */

static int try_client(const struct hosted *h)
{
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    struct timeval wait = { .tv_sec = patience() };
    ck_assert_int_ge(fd, 0);
    setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &wait, sizeof wait);
    setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &wait, sizeof wait);
    if (connect(fd, &h->addr.any, h->addr.len) == 0)
        return fd;
    int code = -errno;
    close(fd);
    return code;
}

static bool is_refused(const struct hosted *h)
{
    int fd = try_client(h);
    if (fd >= 0)
        close(fd);
    return fd == -ECONNREFUSED;
}

static int client(const struct hosted *h)
{
    int fd = try_client(h);
    ck_assert_msg(fd >= 0, "connect: %s", pier_strerror(fd));
    return fd;
}

/* 0: the end; or a negative code. */
static ssize_t recv_some(int fd, void *buf, size_t cap)
{
    ssize_t n;
    do
        n = recv(fd, buf, cap, 0);
    while (n < 0 && errno == EINTR); /* with a time-out, by being stopped for a moment, too */
    return n < 0 ? -errno : n;
}

static void expect_end(int fd)
{
    char byte;
    ck_assert_int_eq(recv_some(fd, &byte, 1), 0);
    close(fd);
}

static void expect_echo(int fd, const char *text)
{
    char got[64];
    size_t len = strlen(text);
    send_all(fd, text, len);
    ck_assert_uint_eq(recv_all(fd, got, len), len);
    ck_assert_int_eq(memcmp(got, text, len), 0);
}

/* ---- handlers ---- */

static int echo(struct pier_conn *c, void *arg)
{
    char buf[4096];
    ssize_t n;
    while ((n = pier_read(c, buf, sizeof buf)) > 0)
        if (pier_write(c, buf, (size_t)n) < 0)
            return -EIO;
    return (int)n;
}

/* Says its process first. */
static int echo_pid(struct pier_conn *c, void *arg)
{
    int pid = (int)getpid();
    pier_write(c, &pid, sizeof pid);
    return echo(c, arg);
}

static int client_of(const struct hosted *h, int *pid)
{
    int fd = client(h);
    ck_assert_uint_eq(recv_all(fd, pid, sizeof *pid), sizeof *pid);
    return fd;
}

/* Waits, in every model, until the test opens; counts who does. */
static int wait_at_gate(struct pier_conn *c, void *arg)
{
    int now = atomic_fetch_add(&shared->inside, 1) + 1, rc = 0;
    for (int peak = shared->peak; now > peak;)
        if (atomic_compare_exchange_weak(&shared->peak, &peak, now))
            break;
    while (rc == 0 && !shared->open)
        rc = pier_sleep(2 * PIER_MILLISECOND);
    shared->result = rc;
    atomic_fetch_sub(&shared->inside, 1);
    atomic_fetch_add(&shared->served, 1);
    return rc;
}

/* ---- serving ---- */

EACH_MODEL(models_echo_to_many_at_once_until_their_half_close)
{
    enum { CLIENTS = 24, LEN = 100000 };
    struct hosted h;
    int fds[CLIENTS];
    char *bytes = make_pattern(LEN, 3), *got = malloc(LEN);
    host(&h, &opts, echo);
    for (int i = 0; i < CLIENTS; i++) {
        fds[i] = client(&h);
        expect_echo(fds[i], "hello");
    }
    for (int i = 0; i < CLIENTS; i++) {
        for (size_t at = 0; at < LEN; at += 20000) {
            send_all(fds[i], bytes + at, 20000);
            ck_assert_uint_eq(recv_all(fds[i], got + at, 20000), 20000);
        }
        ck_assert_int_eq(memcmp(got, bytes, LEN), 0);
        shutdown(fds[i], SHUT_WR);
        expect_end(fds[i]);
    }
    end(&h);
    ck_assert_str_eq(shared->log, "");
    free(bytes);
    free(got);
}

static void want_descriptors(rlim_t count)
{
    struct rlimit limit;
    getrlimit(RLIMIT_NOFILE, &limit);
    if (limit.rlim_max < count)
        test_skip("the descriptor limit is too low");
    limit.rlim_cur = limit.rlim_max;
    setrlimit(RLIMIT_NOFILE, &limit);
}

EACH_MODEL_WITHIN(60, models_serve_a_crowd_at_once)
{
    int count = opts.model == PIER_PROCESSES ? 200 : 2000;
    if (HAVE_ASAN || HAVE_TSAN)
        count /= 10;
    test_not_on_valgrind("a crowd takes it minutes");
    want_descriptors(2 * (rlim_t)count + 100);
    struct hosted h;
    int *fds = malloc((size_t)count * sizeof *fds);
    host(&h, &opts, echo);
    for (int i = 0; i < count; i++)
        fds[i] = client(&h);
    for (int round = 0; round < 2; round++) {
        for (int i = 0; i < count; i++)
            send_all(fds[i], &i, sizeof i);
        for (int i = 0, got = -1; i < count; i++) {
            ck_assert_uint_eq(recv_all(fds[i], &got, sizeof got), sizeof got);
            ck_assert_int_eq(got, i);
        }
    }
    for (int i = 0; i < count; i++) {
        shutdown(fds[i], SHUT_WR);
        expect_end(fds[i]);
    }
    end(&h);
    ck_assert_str_eq(shared->log, "");
    free(fds);
}

/* ---- limits ---- */

EACH_MODEL(models_serve_no_more_than_max_conns_at_once_and_all_in_the_end)
{
    enum { MAX = 5, CLIENTS = 17 };
    struct hosted h;
    int fds[CLIENTS];
    opts.max_conns = MAX;
    host(&h, &opts, wait_at_gate);
    for (int i = 0; i < CLIENTS; i++)
        fds[i] = client(&h);
    AWAIT(shared->inside > MAX ||
          (shared->inside == MAX && said("connection limit reached, new ones wait")));
    ck_assert_int_eq(shared->inside, MAX);
    ck_assert_int_ge(said("max_conns=5"), 1);
    shared->open = true;
    for (int i = 0; i < CLIENTS; i++)
        expect_end(fds[i]);
    AWAIT(shared->served == CLIENTS);
    ck_assert_int_eq(shared->peak, MAX);
    end(&h);
}

/* ---- firewalls ---- */

/* Bans its peer when that says so; the connection goes on. */
static int ban_on_demand(struct pier_conn *c, void *arg)
{
    char word[4];
    while (pier_read_exact(c, word, sizeof word) == sizeof word) {
        int rc = memcmp(word, "ban!", 4) == 0 ? pier_conn_ban(c, PIER_HOUR) : 0;
        if (memcmp(word, "free", 4) == 0)
            rc = pier_server_ban(arg, "127.0.0.1", 0);
        pier_write(c, rc == 0 ? "done" : "fail", 4);
    }
    return 0;
}

static void command(int fd, const char *word)
{
    char answer[5] = "";
    send_all(fd, word, 4);
    ck_assert_uint_eq(recv_all(fd, answer, 4), 4);
    ck_assert_str_eq(answer, "done");
}

/* Whether a new client is reset. */
static bool is_turned_away(const struct hosted *h)
{
    char byte;
    int fd = try_client(h);
    if (fd < 0)
        return fd == -ECONNRESET;
    ssize_t n = send(fd, "test", 4, MSG_NOSIGNAL) < 0 ? -errno : recv_some(fd, &byte, 1);
    ck_assert(n == 1 || n == -ECONNRESET || n == -EPIPE);
    close(fd);
    return n < 0;
}

EACH_MODEL(models_refuse_whom_a_handler_bans_until_it_is_lifted)
{
    struct hosted h;
    struct pier_firewall_opts firewall = { .max_per_ip = 0 };
    opts.firewall = &firewall;
    host(&h, &opts, ban_on_demand);
    int fd = client(&h);
    command(fd, "test");
    ck_assert(!is_turned_away(&h));
    command(fd, "ban!");
    ck_assert(is_turned_away(&h));
    command(fd, "test");
    AWAIT(said("connections refused denied=0 banned=1") == 1);
    command(fd, "free");
    ck_assert(!is_turned_away(&h));
    close(fd);
    end(&h);
}

EACH_MODEL(models_without_a_firewall_ban_nobody)
{
    struct hosted h;
    char answer[4];
    host(&h, &opts, ban_on_demand);
    int fd = client(&h);
    send_all(fd, "ban!", 4);
    ck_assert_uint_eq(recv_all(fd, answer, 4), 4);
    ck_assert_int_eq(memcmp(answer, "fail", 4), 0);
    ck_assert(!is_turned_away(&h));
    close(fd);
    end(&h);
}

/* Who waits for a place counts as well, and is counted out when the server stops without it. */
EACH_MODEL(models_count_those_who_wait_in_the_backlog_once)
{
    enum { MAX = 2, PER_IP = 4 };
    struct hosted h;
    int fds[MAX];
    struct pier_firewall_opts firewall = { .max_per_ip = PER_IP };
    opts.firewall = &firewall;
    opts.max_conns = MAX;
    host(&h, &opts, wait_at_gate);
    for (int round = 0; round < 3; round++) {
        shared->open = false;
        shared->served = 0;
        for (int i = 0; i < MAX; i++)
            fds[i] = client(&h);
        AWAIT(shared->inside == MAX);
        shared->open = true;
        for (int i = 0; i < MAX; i++)
            expect_end(fds[i]);
        AWAIT(shared->served == MAX);
    }
    end(&h);
    ck_assert_int_eq(said("connections refused"), 0);
}

/* ---- what runs out ---- */

static int lower_the_limit_and_run(struct pier_server *s, rlim_t count)
{
    setrlimit(RLIMIT_NOFILE, &(struct rlimit){ count, count });
    return pier_server_run(s);
}

EACH_MODEL(models_that_lack_descriptors_serve_all_in_turn)
{
    enum { CLIENTS = 120 };
    struct hosted h;
    int fds[CLIENTS];
    test_not_on_valgrind("it has descriptors of its own");
    share();
    struct pier_server *s = pier_server_new(&opts);
    ck_assert_int_eq(pier_server_add(s, LOCAL, echo, NULL), 0);
    ck_assert_int_eq(pier_server_listen(s), 0);
    h.addr = s->listeners[0].addr;
    h.pid = fork();
    if (h.pid == 0)
        _exit(lower_the_limit_and_run(s, (rlim_t)open_fds() + 30) == 0 ? 0 : 1);
    pier_server_free(s);
    for (int i = 0; i < CLIENTS; i++) {
        fds[i] = client(&h);
        send_all(fds[i], &i, sizeof i);
    }
    AWAIT(said("accept failed, trying again") > 0);
    for (int done = 0; done < CLIENTS;) {
        struct pollfd p[CLIENTS];
        for (int i = 0; i < CLIENTS; i++)
            p[i] = (struct pollfd){ fds[i], POLLIN, 0 };
        ck_assert_int_gt(poll(p, CLIENTS, patience() * 1000), 0);
        for (int i = 0, got = -1; i < CLIENTS; i++) {
            if (!p[i].revents)
                continue;
            ck_assert_int_eq(recv_some(fds[i], &got, sizeof got), sizeof got);
            ck_assert_int_eq(got, i);
            close(fds[i]);
            fds[i] = -1; /* poll(2) leaves it alone */
            done++;
        }
    }
    kill(h.pid, SIGTERM);
    ck_assert_int_eq(await_end(&h), 0);
    ck_assert_int_ge(said("too many open files"), 1);
    ck_assert_int_eq(said("connection failed"), 0);
}

static int read_once(struct pier_conn *c, void *arg)
{
    char byte;
    shared->result = (int)pier_read(c, &byte, 1);
    return 0;
}

EACH_MODEL(models_keep_the_read_time_out)
{
    struct hosted h;
    opts.read_timeout_ms = 30;
    host(&h, &opts, read_once);
    int fd = client(&h);
    expect_end(fd);
    ck_assert_int_eq(shared->result, -ETIMEDOUT);
    end(&h);
}

static int write_without_end(struct pier_conn *c, void *arg)
{
    static char zeros[65536];
    ssize_t n;
    while ((n = pier_write(c, zeros, sizeof zeros)) > 0)
        ;
    shared->result = (int)n;
    return 0;
}

EACH_MODEL(models_keep_the_write_time_out)
{
    struct hosted h;
    opts.write_timeout_ms = 30;
    host(&h, &opts, write_without_end);
    int fd = client(&h);
    AWAIT(shared->result != 0);
    ck_assert_int_eq(shared->result, -ETIMEDOUT);
    close(fd);
    end(&h);
}

/* ---- handlers' ends ---- */

static int fail_with_words(struct pier_conn *c, void *arg)
{
    return pier_error_set(-EILSEQ, "reading the %s", "tea leaves");
}

EACH_MODEL(models_log_a_handlers_failure_with_its_words)
{
    struct hosted h;
    host(&h, &opts, fail_with_words);
    expect_end(client(&h));
    AWAIT(said("connection failed endpoint=" LOCAL " peer=127.0.0.1:") == 1);
    end(&h);
    ck_assert_int_eq(said("connection failed"), 1);
    ck_assert_int_eq(said("error=reading the tea leaves: "), 1);
}

static int fill_and_count(void *arg)
{
    atomic_fetch_add((_Atomic int *)arg, 1);
    return pier_yield();
}

static int spawn_and_offload(struct pier_conn *c, void *arg)
{
    _Atomic int count = 0;
    struct pier_scope scope;
    pier_scope_open(&scope, 0);
    for (int i = 0; i < 5; i++)
        pier_spawn(&scope, fill_and_count, (void *)&count);
    int rc = pier_scope_join(&scope);
    if (rc == 0)
        rc = pier_offload(fill_and_count, (void *)&count);
    pier_printf(c, "%d", count);
    return rc;
}

EACH_MODEL(models_let_handlers_spawn_tasks_and_offload)
{
    struct hosted h;
    char got[8] = "";
    host(&h, &opts, spawn_and_offload);
    for (int i = 0; i < 3; i++) {
        int fd = client(&h);
        ck_assert_uint_eq(recv_all(fd, got, 1), 1);
        ck_assert_str_eq(got, "6");
        expect_end(fd);
    }
    end(&h);
    ck_assert_str_eq(shared->log, "");
}

/* ---- stopping ---- */

EACH_MODEL(models_that_stop_wait_for_nobody_idle)
{
    struct hosted h;
    int fds[12];
    host(&h, &opts, echo);
    for (int i = 0; i < 12; i++) {
        fds[i] = client(&h);
        if (i % 2)
            expect_echo(fds[i], "x");
    }
    int64_t begun = pier_now();
    end(&h);
    ck_assert_int_lt(ms_since(begun), 8000); /* the grace is 10 s */
    for (int i = 0; i < 12; i++)
        expect_end(fds[i]);
}

static int stop_it(struct pier_conn *c, void *server)
{
    char byte;
    pier_server_stop_remote(server);
    return (int)pier_read(c, &byte, 1);
}

EACH_MODEL(models_are_stopped_by_a_handler)
{
    struct hosted h;
    host(&h, &opts, stop_it);
    int fd = client(&h);
    ck_assert_int_eq(await_end(&h), 0);
    expect_end(fd);
    ck_assert(is_refused(&h));
}

EACH_MODEL(models_that_stop_let_a_handler_finish)
{
    struct hosted h;
    host(&h, &opts, wait_at_gate);
    int fd = client(&h);
    AWAIT(shared->inside == 1);
    kill(h.pid, SIGTERM);
    expect_notice(&h, "STOPPING=1");
    AWAIT(is_refused(&h));
    shared->open = true;
    ck_assert_int_eq(await_end(&h), 0);
    ck_assert_int_eq(shared->result, 0);
    expect_end(fd);
}

EACH_MODEL(models_cancel_what_outlasts_the_grace)
{
    struct hosted h;
    opts.grace_ms = 50;
    host(&h, &opts, wait_at_gate);
    int fd = client(&h);
    AWAIT(shared->inside == 1);
    end(&h);
    ck_assert_int_eq(shared->result, -ECANCELED);
    ck_assert_int_eq(shared->served, 1);
    expect_end(fd);
}

/* Frozen clients of a backlog: the server has seen none of them when it is told to stop. */
static void freeze(const struct hosted *h)
{
    int status;
    kill(h->pid, SIGSTOP);
    ck_assert_int_eq(waitpid(h->pid, &status, WUNTRACED), h->pid);
    ck_assert(WIFSTOPPED(status));
}

EACH_MODEL(models_that_stop_serve_the_backlog)
{
    enum { CLIENTS = 9 };
    struct hosted h;
    int fds[CLIENTS];
    opts.max_conns = 2;
    host(&h, &opts, echo);
    freeze(&h);
    for (int i = 0; i < CLIENTS; i++) {
        fds[i] = client(&h);
        send_all(fds[i], &i, sizeof i);
    }
    kill(h.pid, SIGTERM);
    kill(h.pid, SIGCONT);
    for (int i = 0, got = -1; i < CLIENTS; i++) {
        ck_assert_int_eq(recv_some(fds[i], &got, sizeof got), sizeof got);
        ck_assert_int_eq(got, i);
        expect_end(fds[i]);
    }
    ck_assert_int_eq(await_end(&h), 0);
}

/* ---- a stop under load ---- */

struct load {
    const struct hosted *h;
    pthread_t thread;
    _Atomic int *answered;
    int torn; /* replies that came in part */
};

/* Connections of one request each, until the server is gone. */
static void *load_main(void *arg)
{
    struct load *l = arg;
    char sent[1000], got[sizeof sent];
    memset(sent, 'x', sizeof sent);
    for (;;) {
        int fd = try_client(l->h);
        if (fd < 0)
            return NULL;
        send_all(fd, sent, sizeof sent);
        shutdown(fd, SHUT_WR);
        size_t n = recv_all(fd, got, sizeof got);
        close(fd);
        l->torn += n > 0 && n < sizeof got;
        if (n == sizeof got)
            atomic_fetch_add(l->answered, 1);
    }
}

EACH_MODEL(models_stop_under_load_without_half_a_reply)
{
    enum { LOADS = 6 };
    struct hosted h;
    struct load loads[LOADS];
    _Atomic int answered = 0;
    host(&h, &opts, echo);
    for (int i = 0; i < LOADS; i++) {
        loads[i] = (struct load){ .h = &h, .answered = &answered };
        ck_assert_int_eq(pthread_create(&loads[i].thread, NULL, load_main, &loads[i]), 0);
    }
    AWAIT(answered > 100);
    end(&h);
    for (int i = 0; i < LOADS; i++) {
        pthread_join(loads[i].thread, NULL);
        ck_assert_int_eq(loads[i].torn, 0);
    }
    ck_assert_msg(shared->log[0] == '\0', "%s", shared->log);
}

/* ---- processes that die ---- */

static int die_on_demand(struct pier_conn *c, void *arg)
{
    int pid = (int)getpid();
    char byte = 0;
    pier_write(c, &pid, sizeof pid);
    while (pier_read(c, &byte, 1) == 1 && !strchr("akxz", byte))
        pier_write(c, &byte, 1);
    if (byte == 'a')
        abort();
    if (byte == 'k')
        kill(getpid(), SIGKILL);
    if (byte == 'x')
        _exit(3);
    if (byte == 'z')
        _exit(0);
    return 0;
}

/* Only its own: the others go on, new ones come. */
static void expect_death_of_one(struct pier_serve_opts opts, const char *order, const char *words)
{
    struct hosted h;
    int first, second, third, byte;
    opts.workers = 1;
    host(&h, &opts, die_on_demand);
    int fd = client_of(&h, &first);
    int victim = client_of(&h, &second);
    send_all(victim, order, 1);
    ssize_t n = recv_some(victim, &byte, 1);
    ck_assert_int_le(n, 0);
    close(victim);
    AWAIT(said(words) == 1);
    int next = client_of(&h, &third);
    expect_echo(next, "n");
    if (opts.model == PIER_PROCESSES) {
        ck_assert_int_ne(first, second);
        expect_echo(fd, "f");
        ck_assert_int_eq(said("connection failed endpoint=" LOCAL " peer=127.0.0.1:"), 1);
    } else {
        ck_assert_int_eq(first, second);
        ck_assert_int_eq(said("a worker died pid="), 1);
        ck_assert_int_eq(said("connections=2"), 1);
    }
    ck_assert_int_ne(second, third);
    close(fd);
    close(next);
    end(&h);
}

EACH_FORKING_MODEL(models_outlive_a_handler_that_aborts)
{
    expect_death_of_one(opts, "a", "error=process was killed by SIGABRT");
}

EACH_FORKING_MODEL(models_outlive_a_handler_that_is_killed)
{
    expect_death_of_one(opts, "k", "error=process was killed by SIGKILL");
}

static int look_at_sigchld(struct pier_conn *c, void *arg)
{
    struct sigaction now;
    sigaction(SIGCHLD, NULL, &now);
    shared->result = now.sa_handler == SIG_IGN;
    return die_on_demand(c, arg);
}

/* As programs inherit it from some that start them. */
EACH_FORKING_MODEL(models_log_the_end_of_a_process_where_sigchld_is_ignored)
{
    struct hosted h;
    int pid, byte;
    signal(SIGCHLD, SIG_IGN);
    host(&h, &opts, look_at_sigchld);
    signal(SIGCHLD, SIG_DFL);
    int fd = client_of(&h, &pid);
    send_all(fd, "k", 1);
    ck_assert_int_le(recv_some(fd, &byte, 1), 0);
    close(fd);
    AWAIT(said("error=process was killed by SIGKILL") == 1);
    ck_assert_int_eq(shared->result, 1);
    end(&h);
}

EACH_FORKING_MODEL(models_outlive_a_handler_that_exits)
{
    expect_death_of_one(opts, "x", "error=process exited with status 3");
}

/* It takes others' connections along: no end as it should be, and no reason to hurry. */
TEST(prefork_counts_a_worker_that_a_handler_exits_among_the_dead)
{
    need_processes();
    struct hosted h;
    int pid, byte;
    int64_t last = 0;
    host(&h, &(struct pier_serve_opts){ .model = PIER_PREFORK, .workers = 1 }, die_on_demand);
    for (int i = 0; i < 4; i++) {
        int fd = client_of(&h, &pid);
        last = pier_now();
        send_all(fd, "z", 1);
        ck_assert_int_le(recv_some(fd, &byte, 1), 0);
        close(fd);
    }
    close(client_of(&h, &pid));
    ck_assert_int_ge(ms_since(last), 350); /* 0, 100, 200, 400 ms */
    end(&h);
    ck_assert_int_eq(said("a worker died pid="), 4);
    ck_assert_int_eq(said("error=process exited with status 0"), 4);
}

/* What a worker leaves behind that is killed between giving its last place back and saying so. */
static int give_the_place_and_die(struct pier_conn *c, void *server)
{
    struct pier_server *s = server;
    int pid = (int)getpid();
    char byte = 0;
    pier_write(c, &pid, sizeof pid);
    if (pier_read(c, &byte, 1) != 1 || byte != 'k')
        return 0;
    atomic_store(&s->shared->starved, false);
    atomic_store(&s->workers[0].slot->load, 0);
    return kill(pid, SIGKILL);
}

/* It is woken for nothing from then on. */
static void await_standstill(int pid)
{
    char path[64], line[256], state = 0;
    snprintf(path, sizeof path, "/proc/%d/stat", pid);
    while (state != 'T') {
        FILE *f = fopen(path, "re");
        ck_assert(f && fgets(line, sizeof line, f));
        fclose(f);
        ck_assert_int_eq(sscanf(strrchr(line, ')'), ") %c", &state), 1);
        poll(NULL, 0, state == 'T' ? 0 : 1);
    }
}

/* The one that serves stands still, so the other one takes the next client, and waits for room. */
TEST(prefork_tells_of_the_place_of_a_worker_that_died_before_it_could)
{
    need_processes();
    struct hosted h;
    int first, second, byte;
    host(&h, &(struct pier_serve_opts){ .model = PIER_PREFORK, .workers = 2, .max_conns = 1 },
         give_the_place_and_die);
    int fd = client_of(&h, &first);
    kill(first, SIGSTOP);
    await_standstill(first);
    int next = client(&h);
    AWAIT(said("connection limit reached") > 0);
    kill(first, SIGCONT);
    send_all(fd, "k", 1);
    ck_assert_int_le(recv_some(fd, &byte, 1), 0);
    close(fd);
    ck_assert_uint_eq(recv_all(next, &second, sizeof second), sizeof second);
    ck_assert_int_ne(second, first);
    close(next);
    end(&h);
}

EACH_FORKING_MODEL(models_give_the_places_of_the_dead_back)
{
    enum { MAX = 3, ROUNDS = 4 };
    struct hosted h;
    opts.max_conns = MAX;
    host(&h, &opts, die_on_demand);
    for (int round = 0; round < ROUNDS; round++) {
        int fds[MAX], pids[MAX], byte;
        for (int i = 0; i < MAX; i++)
            fds[i] = client_of(&h, &pids[i]);
        for (int i = 0; i < MAX; i++)
            kill(pids[i], SIGKILL);
        for (int i = 0; i < MAX; i++) {
            ck_assert_int_le(recv_some(fds[i], &byte, 1), 0);
            close(fds[i]);
        }
    }
    end(&h);
}

/* What does not heed its cancellation either. */
static int compute(struct pier_conn *c, void *arg)
{
    atomic_fetch_add(&shared->inside, 1);
    for (volatile unsigned i = 0;; i++)
        ;
    return 0;
}

EACH_FORKING_MODEL(models_kill_what_does_not_end_when_it_is_cancelled)
{
    struct hosted h;
    opts.grace_ms = 50;
    host(&h, &opts, compute);
    int fd = client(&h), byte;
    AWAIT(shared->inside == 1);
    end(&h);
    ck_assert_int_le(recv_some(fd, &byte, 1), 0);
    ck_assert_int_eq(said("did not end"), 1);
    ck_assert_int_eq(said("error=process was killed by SIGKILL"), 1);
    close(fd);
}

EACH_FORKING_MODEL(models_processes_end_with_the_one_that_runs_the_server)
{
    struct hosted h;
    int fd, pid, byte, status;
    prctl(PR_SET_CHILD_SUBREAPER, 1);
    host(&h, &opts, die_on_demand);
    fd = client_of(&h, &pid);
    kill(h.pid, SIGKILL);
    await_end(&h);
    ck_assert_int_le(recv_some(fd, &byte, 1), 0);
    AWAIT(waitpid(pid, &status, WNOHANG) == pid);
    ck_assert_int_eq(status, SIGKILL);
    AWAIT(is_refused(&h)); /* other workers may take a moment longer */
    close(fd);
}

/* From a shell's terminal SIGINT reaches all processes at once. */
EACH_FORKING_MODEL(models_processes_leave_sigint_to_the_one_that_runs_the_server)
{
    struct hosted h;
    int pid;
    host(&h, &opts, die_on_demand);
    int fd = client_of(&h, &pid);
    kill(pid, SIGINT);
    ck_assert_int_eq(poll(&(struct pollfd){ fd, POLLIN, 0 }, 1, 100), 0); /* no end */
    expect_echo(fd, "still here");
    kill(h.pid, SIGINT);
    ck_assert_int_eq(await_end(&h), 0);
    expect_end(fd);
}

/* One process of several: of its own accord. */
EACH_FORKING_MODEL(models_end_a_process_that_gets_sigterm_in_peace)
{
    struct hosted h;
    int pid, next;
    opts.workers = 1;
    host(&h, &opts, die_on_demand);
    int fd = client_of(&h, &pid);
    kill(pid, SIGTERM);
    expect_end(fd);
    int other = client_of(&h, &next);
    ck_assert_int_ne(pid, next);
    expect_echo(other, "o");
    close(other);
    end(&h);
    ck_assert_int_eq(said("died"), 0);
    ck_assert_int_eq(said("connection failed"), 0);
}

/* ---- clients that are queued while workers die ---- */

/* All workers stand still, so what comes is in the backlog; then they die. */
TEST(models_lose_no_queued_client_when_all_workers_die)
{
    need_processes();
    enum { WORKERS = 2, CLIENTS = 20 };
    struct hosted h;
    int pids[WORKERS] = { 0 }, fds[CLIENTS], found = 0, pid;
    host(&h, &(struct pier_serve_opts){ .model = PIER_PREFORK, .workers = WORKERS }, die_on_demand);
    for (int i = 0; i < 50 && found < WORKERS; i++) { /* they share what stays */
        fds[i % CLIENTS] = client_of(&h, &pid);
        bool known = false;
        for (int k = 0; k < found; k++)
            known |= pids[k] == pid;
        if (!known)
            pids[found++] = pid;
    }
    ck_assert_int_eq(found, WORKERS);
    for (int i = 0; i < WORKERS; i++)
        kill(pids[i], SIGSTOP);
    for (int i = 0; i < CLIENTS; i++)
        fds[i] = client(&h);
    for (int i = 0; i < WORKERS; i++)
        kill(pids[i], SIGKILL);
    for (int i = 0; i < CLIENTS; i++) {
        ck_assert_uint_eq(recv_all(fds[i], &pid, sizeof pid), sizeof pid);
        ck_assert(pid != pids[0] && pid != pids[1]);
        expect_echo(fds[i], "q");
        close(fds[i]);
    }
    end(&h);
}

/* The only worker stands still, so it empties no backlog when it is told to stop; then it dies. */
TEST(models_lose_no_queued_client_when_the_last_worker_dies_in_a_stop)
{
    need_processes();
    enum { CLIENTS = 8 };
    struct hosted h;
    int first, fds[CLIENTS], pid;
    host(&h, &(struct pier_serve_opts){ .model = PIER_PREFORK, .workers = 1 }, die_on_demand);
    close(client_of(&h, &first));
    kill(first, SIGSTOP);
    for (int i = 0; i < CLIENTS; i++)
        fds[i] = client(&h);
    kill(h.pid, SIGTERM);
    expect_notice(&h, "STOPPING=1");
    kill(first, SIGKILL);
    for (int i = 0; i < CLIENTS; i++) {
        ck_assert_uint_eq(recv_all(fds[i], &pid, sizeof pid), sizeof pid);
        ck_assert_int_ne(pid, first);
        expect_end(fds[i]);
    }
    ck_assert_int_eq(await_end(&h), 0);
}

/* Clients that come one after another, each in a thread; in a reply is the process that gave it. */
struct visitor {
    const struct hosted *h;
    pthread_t thread;
    _Atomic int *last_pid;
    _Atomic bool *enough;
    int served, lost, refused, unanswered;
};

static void *visit(void *arg)
{
    struct visitor *v = arg;
    while (!*v->enough) {
        int pid, fd = try_client(v->h);
        if (fd < 0) {
            v->refused++;
            continue;
        }
        size_t n = 0;
        ssize_t got = 1;
        while (n < sizeof pid && (got = recv_some(fd, (char *)&pid + n, sizeof pid - n)) > 0)
            n += (size_t)got;
        if (n == sizeof pid) {
            atomic_store(v->last_pid, pid);
            v->served++;
        } else if (got == -EAGAIN) {
            v->unanswered++;
        } else {
            v->lost++;
        }
        close(fd);
    }
    return NULL;
}

static unsigned seed_of_run(void)
{
    const char *given = getenv("PIER_TEST_SEED");
    unsigned seed = given ? (unsigned)strtoul(given, NULL, 10) : (unsigned)pier_now();
    fprintf(stderr, "seed %u (PIER_TEST_SEED)\n", seed);
    return seed;
}

/* A process that dies takes along what it serves: at most what all visitors have open at the time.
 * Nobody is refused, nobody waits in vain. */
EACH_FORKING_MODEL(models_serve_on_while_processes_are_killed_at_random)
{
    enum { VISITORS = 4, KILLS = 6 };
    struct hosted h;
    struct visitor all[VISITORS];
    _Atomic int last_pid = 0;
    _Atomic bool enough = false;
    unsigned seed = seed_of_run();
    int kills = 0, lost = 0, served = 0;
    opts.workers = 2;
    host(&h, &opts, echo_pid);
    for (int i = 0; i < VISITORS; i++) {
        all[i] = (struct visitor){ .h = &h, .last_pid = &last_pid, .enough = &enough };
        ck_assert_int_eq(pthread_create(&all[i].thread, NULL, visit, &all[i]), 0);
    }
    while (kills < KILLS) {
        int pid = atomic_exchange(&last_pid, 0);
        kills += pid > 0 && kill(pid, SIGKILL) == 0;
        poll(NULL, 0, rand_r(&seed) % 40); /* the moment is the point */
    }
    AWAIT(atomic_load(&last_pid) > 0);
    enough = true;
    for (int i = 0; i < VISITORS; i++) {
        pthread_join(all[i].thread, NULL);
        ck_assert_int_eq(all[i].refused, 0);
        ck_assert_int_eq(all[i].unanswered, 0);
        lost += all[i].lost;
        served += all[i].served;
    }
    ck_assert_int_le(lost, kills * VISITORS);
    ck_assert_int_gt(served, kills);
    end(&h);
}

TEST(prefork_starts_a_worker_that_dies_early_later_and_later)
{
    need_processes();
    struct hosted h;
    int pid, byte;
    int64_t waits[5];
    host(&h, &(struct pier_serve_opts){ .model = PIER_PREFORK, .workers = 1 }, die_on_demand);
    for (int i = 0; i < 5; i++) {
        int fd = client_of(&h, &pid);
        int64_t died = pier_now();
        send_all(fd, "k", 1);
        ck_assert_int_le(recv_some(fd, &byte, 1), 0);
        close(fd);
        int next = client_of(&h, &pid);
        waits[i] = ms_since(died);
        close(next);
    }
    ck_assert_int_ge(waits[2], 150); /* 0, 100, 200, 400, 800 ms */
    ck_assert_int_ge(waits[4], 700);
    end(&h);
}

/* ---- shares ---- */

static void expect_even_shares(int workers, int clients)
{
    struct hosted h;
    int *fds = malloc((size_t)clients * sizeof *fds), pids[8] = { 0 }, loads[8] = { 0 };
    host(&h, &(struct pier_serve_opts){ .model = PIER_PREFORK, .workers = workers }, die_on_demand);
    for (int i = 0; i < clients; i++) {
        int pid, k = 0;
        fds[i] = client_of(&h, &pid);
        while (k < workers && pids[k] && pids[k] != pid)
            k++;
        ck_assert_int_lt(k, workers);
        pids[k] = pid;
        loads[k]++;
    }
    for (int i = 0, mean = clients / workers; i < workers; i++)
        ck_assert_msg(abs(loads[i] - mean) <= mean / 4, "worker %d has %d of %d", i, loads[i],
                      clients);
    for (int i = 0; i < clients; i++)
        close(fds[i]);
    end(&h);
    free(fds);
}

TEST(prefork_shares_connections_evenly_among_four_workers)
{
    need_processes();
    expect_even_shares(4, 400);
}

TEST(prefork_shares_connections_evenly_among_two_workers)
{
    need_processes();
    expect_even_shares(2, 100);
}

/* The loop of the one that has the fewest stands still. */
TEST(prefork_workers_take_what_a_busy_one_leaves)
{
    need_processes();
    enum { CLIENTS = 60 };
    struct hosted h;
    int busy = -1, pid, fds[CLIENTS];
    host(&h, &(struct pier_serve_opts){ .model = PIER_PREFORK, .workers = 2 }, die_on_demand);
    int first = client_of(&h, &busy);
    kill(busy, SIGSTOP);
    for (int i = 0; i < CLIENTS; i++)
        fds[i] = client(&h);
    for (int i = 0; i < CLIENTS; i++) {
        ck_assert_uint_eq(recv_all(fds[i], &pid, sizeof pid), sizeof pid);
        ck_assert_int_ne(pid, busy);
        close(fds[i]);
    }
    kill(busy, SIGCONT);
    expect_echo(first, "f");
    close(first);
    end(&h);
}

/* ---- reads that are blocking calls ---- */

#define EACH_BLOCKING_MODEL(name)                                         \
    static void name##_body(struct pier_serve_opts opts);                 \
    TEST(name##_with_threads)                                             \
    {                                                                     \
        name##_body((struct pier_serve_opts){ .model = PIER_THREADS });   \
    }                                                                     \
    TEST(name##_with_processes)                                           \
    {                                                                     \
        need_processes();                                                 \
        name##_body((struct pier_serve_opts){ .model = PIER_PROCESSES }); \
    }                                                                     \
    static void name##_body(struct pier_serve_opts opts)

/* Only a call that blocks leaves it so. What the caller is given never blocks. */
static int look_at_flags(struct pier_conn *c, void *arg)
{
    char byte;
    pier_write(c, "r", 1);
    pier_read(c, &byte, 1);
    bool did_block = !(fcntl(c->io.fd, F_GETFL) & O_NONBLOCK);
    bool blocks_others = !(fcntl(pier_conn_fd(c), F_GETFL) & O_NONBLOCK);
    struct timeval limit = { 0 };
    socklen_t len = sizeof limit;
    getsockopt(c->io.fd, SOL_SOCKET, SO_RCVTIMEO, &limit, &len);
    bool limits_others = limit.tv_sec || limit.tv_usec;
    shared->result = 1 + did_block + 2 * blocks_others + 8 * limits_others;
    pier_read(c, &byte, 1);
    shared->result += 4 * !(fcntl(c->io.fd, F_GETFL) & O_NONBLOCK);
    return 0;
}

static int flags_seen(const struct hosted *h)
{
    char byte;
    shared->result = 0;
    int fd = client(h);
    ck_assert_int_eq(recv_some(fd, &byte, 1), 1);
    poll(NULL, 0, 10); /* most likely it waits by now */
    send_all(fd, "a", 1);
    AWAIT(shared->result != 0);
    send_all(fd, "b", 1);
    expect_end(fd);
    return shared->result;
}

EACH_BLOCKING_MODEL(models_block_in_reads_until_the_descriptor_is_asked_for)
{
    struct hosted h;
    host(&h, &opts, look_at_flags);
    int seen = 1;
    for (int i = 0; i < 50 && seen == 1; i++) /* a read that found something did not block */
        seen = flags_seen(&h);
    ck_assert_int_eq(seen, 2);
    end(&h);
}

static void ignore(int number)
{
}

static int handle_sigurg(struct pier_conn *c, void *arg)
{
    signal(SIGURG, ignore);
    return echo(c, arg);
}

/* Threads are the program itself: what it sets is not undone when the last server ends. */
TEST(models_leave_a_sigurg_handler_that_came_during_the_run)
{
    struct sigaction now;
    struct hosted h;
    share();
    struct pier_server *s = pier_server_new(&(struct pier_serve_opts){ .model = PIER_THREADS });
    ck_assert_int_eq(pier_server_add(s, LOCAL, handle_sigurg, NULL), 0);
    ck_assert_int_eq(pier_server_listen(s), 0);
    h.addr = s->listeners[0].addr;
    h.pid = getpid();
    pid_t peer = fork();
    if (peer == 0) {
        pier_server_free(s);
        int fd = client(&h);
        expect_echo(fd, "x");
        kill(h.pid, SIGTERM);
        expect_end(fd);
        _exit(0);
    }
    ck_assert_int_eq(pier_server_run(s), 0);
    pier_server_free(s);
    sigaction(SIGURG, NULL, &now);
    ck_assert(now.sa_handler == ignore);
    int status = -1;
    ck_assert_int_eq(waitpid(peer, &status, 0), peer);
    ck_assert_int_eq(status, 0);
}

/* It is the program's then. */
EACH_BLOCKING_MODEL(models_do_not_block_in_reads_where_the_program_handles_sigurg)
{
    struct hosted h;
    signal(SIGURG, ignore);
    host(&h, &opts, look_at_flags);
    for (int i = 0; i < 3; i++)
        ck_assert_int_eq(flags_seen(&h), 1);
    end(&h);
}

/* A lost wake-up would cost a second, each time. */
EACH_BLOCKING_MODEL(models_blocked_in_reads_look_up_at_a_stop)
{
    int64_t best = INT64_MAX;
    for (int i = 0; i < 5; i++) {
        struct hosted h;
        host(&h, &opts, echo);
        int fds[4];
        for (int k = 0; k < 4; k++) {
            fds[k] = client(&h);
            expect_echo(fds[k], "x");
        }
        int64_t begun = pier_now();
        end(&h);
        int64_t took = ms_since(begun);
        best = took < best ? took : best;
        for (int k = 0; k < 4; k++)
            expect_end(fds[k]);
    }
    ck_assert_int_lt(best, 600);
}

/* Its wake-up is lost, and the second is over sometime. */
static int read_without_signals(struct pier_conn *c, void *arg)
{
    sigset_t all;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, NULL);
    return echo(c, arg);
}

TEST(models_blocked_in_reads_without_signals_still_stop)
{
    struct hosted h;
    host(&h, &(struct pier_serve_opts){ .model = PIER_THREADS }, read_without_signals);
    int fd = client(&h);
    expect_echo(fd, "x");
    int64_t begun = pier_now();
    end(&h);
    ck_assert_int_lt(ms_since(begun), 8000);
    expect_end(fd);
}

/* Longer than one call blocks; and nothing is lost by it. */
static int time_out_and_read(struct pier_conn *c, void *arg)
{
    char byte;
    int64_t begun = pier_now();
    shared->result = (int)pier_read(c, &byte, 1);
    shared->inside = (int)ms_since(begun);
    pier_set_timeouts(c, 10000, 0);
    ssize_t n = pier_read(c, &byte, 1);
    return n == 1 ? (int)pier_write(c, &byte, 1) - 1 : -EIO;
}

EACH_BLOCKING_MODEL(models_blocked_in_reads_keep_a_longer_time_out)
{
    struct hosted h;
    char byte = 0;
    opts.read_timeout_ms = 1300;
    host(&h, &opts, time_out_and_read);
    int fd = client(&h);
    AWAIT(shared->inside != 0);
    ck_assert_int_eq(shared->result, -ETIMEDOUT);
    ck_assert_int_ge(shared->inside, 1300);
    send_all(fd, "z", 1);
    ck_assert_int_eq(recv_some(fd, &byte, 1), 1);
    ck_assert_int_eq(byte, 'z');
    expect_end(fd);
    end(&h);
}

/* A signal of the program's ends a call; the next one ends in time as well. */
static int time_out_after_a_signal(struct pier_conn *c, void *arg)
{
    enum { LIMIT_MS = 1300, TRIES = 4 };
    struct itimerval no_timer = { 0 };
    char byte;
    int64_t best = INT64_MAX;
    signal(SIGALRM, ignore);
    for (int i = 0; i < TRIES && best > LIMIT_MS + 500; i++) {
        struct itimerval timer = { .it_value.tv_usec = 950 * 1000 };
        int64_t begun = pier_now();
        pier_set_timeouts(c, LIMIT_MS, 0);
        setitimer(ITIMER_REAL, &timer, NULL);
        ssize_t n = pier_read(c, &byte, 1);
        setitimer(ITIMER_REAL, &no_timer, NULL);
        shared->result = (int)n;
        best = ms_since(begun) < best ? ms_since(begun) : best;
    }
    shared->peak = (int)best;
    return 0;
}

TEST(models_blocked_in_reads_keep_the_time_out_after_a_signal)
{
    need_processes();
    struct hosted h;
    host(&h, &(struct pier_serve_opts){ .model = PIER_PROCESSES }, time_out_after_a_signal);
    expect_end(client(&h));
    ck_assert_int_eq(shared->result, -ETIMEDOUT);
    ck_assert_int_ge(shared->peak, 1300);
    ck_assert_int_lt(shared->peak, 1800);
    end(&h);
}

/* A scope's end, told from another thread. */
static void *cancel_later(void *scope)
{
    poll(NULL, 0, 20);
    pier_scope_cancel_remote(scope);
    return NULL;
}

static int read_in_a_cancelled_scope(struct pier_conn *c, void *arg)
{
    struct pier_scope scope;
    pthread_t thread;
    char byte;
    for (int i = 0; i < 5; i++) {
        pier_scope_open(&scope, 0);
        int64_t begun = pier_now();
        pthread_create(&thread, NULL, cancel_later, &scope);
        ssize_t n = pier_read(c, &byte, 1);
        if (n == -ECANCELED && ms_since(begun) < 600)
            atomic_fetch_add(&shared->served, 1);
        pthread_join(thread, NULL);
        pier_scope_join(&scope);
    }
    return pier_read(c, &byte, 1) == 1 ? (int)pier_write(c, &byte, 1) - 1 : -EIO;
}

EACH_BLOCKING_MODEL(models_blocked_in_reads_are_cancelled_from_other_threads)
{
    struct hosted h;
    char byte = 0;
    host(&h, &opts, read_in_a_cancelled_scope);
    int fd = client(&h);
    poll(NULL, 0, 150);
    send_all(fd, "z", 1); /* whenever: it is read after the last scope at the latest */
    ck_assert_int_le(recv_some(fd, &byte, 1), 1);
    close(fd);
    end(&h);
    ck_assert_int_ge(shared->served, 1);
}

/* ---- where they cannot run ---- */

static void *wait_for_the_end(void *event)
{
    pier_event_wait(event);
    return NULL;
}

static void expect_refusal(struct pier_serve_opts opts, const char *words)
{
    struct pier_server *s = pier_server_new(&opts);
    ck_assert_int_eq(pier_server_add(s, LOCAL, echo, NULL), 0);
    ck_assert_int_eq(pier_server_run(s), -EBUSY);
    ck_assert_msg(strstr(pier_error(), words) != NULL, "%s", pier_error());
    pier_server_free(s);
}

EACH_FORKING_MODEL(models_refuse_to_run_beside_other_threads)
{
    struct pier_event end_event = { 0 };
    pthread_t thread;
    int before = open_fds();
    ck_assert_int_eq(pthread_create(&thread, NULL, wait_for_the_end, &end_event), 0);
    expect_refusal(opts, HAVE_TSAN ? "in this process" : "1 other thread runs in this process");
    pier_event_set(&end_event);
    pthread_join(thread, NULL);
    ck_assert_int_eq(open_fds(), before);
}

static int run_in_a_task(void *opts)
{
    expect_refusal(*(struct pier_serve_opts *)opts, "tasks run on this thread");
    return 0;
}

EACH_FORKING_MODEL(models_refuse_to_run_in_a_task)
{
    struct pier_scope scope;
    pier_scope_open(&scope, 0);
    ck_assert_int_eq(pier_spawn(&scope, run_in_a_task, &opts), 0);
    ck_assert_int_eq(pier_scope_join(&scope), 0);
}

/* A scope around the run, here in the process itself. */
EACH_FORKING_MODEL(models_that_are_cancelled_have_no_grace)
{
    struct hosted h;
    share();
    ck_assert_int_ge(pi_thread_wake_fd(pi_task_self()->thread), 0);
    int before = open_fds();
    struct pier_server *s = pier_server_new(&opts);
    ck_assert_int_eq(pier_server_add(s, LOCAL, wait_at_gate, NULL), 0);
    ck_assert_int_eq(pier_server_listen(s), 0);
    h.addr = s->listeners[0].addr;
    pid_t peer = fork();
    if (peer == 0) {
        expect_end(client(&h));
        _exit(0);
    }
    struct pier_scope scope;
    int64_t begun = pier_now();
    pier_scope_open(&scope, pier_after(300 * PIER_MILLISECOND));
    ck_assert_int_eq(pier_server_run(s), -ETIMEDOUT);
    ck_assert_int_lt(ms_since(begun), 8000);
    ck_assert_int_eq(pier_scope_join(&scope), 0);
    ck_assert_int_eq(pier_server_conns(s), 0);
    pier_server_free(s);
    ck_assert_int_eq(open_fds(), before);
    int status = -1;
    ck_assert_int_eq(waitpid(peer, &status, 0), peer);
    ck_assert_int_eq(status, 0);
}

HARNESS_MAIN("net_models")
