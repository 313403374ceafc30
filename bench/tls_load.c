/* SPDX-License-Identifier: MIT */
/*
 * Load for TLS servers, by libssl: handshakes, full or resumed, one after the other on each of some
 * connections; or a large answer again and again; or connections that do nothing. What the server
 * has used meanwhile is in the CPU clocks of its processes.
 *
 * A handshake ends as a polite client ends it: close_notify, and what the server had still to say
 * is read, tickets among it; so every server does the same. The certificate is not verified, which
 * is the client's affair. An answer is that to "GET /bulk", of HTTP, so that a web server can be
 * asked.
 *
 * Usage: tls_load --pid PID --port PORT --full|--resumed|--bulk|--idle N [--connections N]
 *        [--seconds S] [--warmup S]. Prints one JSON line (--idle: "open N", and holds them).
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <netinet/tcp.h>
#include <openssl/err.h>
#include <openssl/ssl.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

enum mode { FULL = 1, RESUMED, BULK, IDLE };
enum { SECOND_NS = 1000 * 1000 * 1000, MOST_CONNECTIONS = 1000, STALL_MS = 10 * 1000 };

static struct {
    int pid, port, idle, connections;
    double seconds, warmup;
    enum mode mode;
} given = { .connections = 8, .seconds = 2, .warmup = 0.3 };

struct conn {
    int fd;
    SSL *ssl;
    bool said_goodbye;
};

static SSL_CTX *ctx;
static SSL_SESSION *ticket; /* the last one that came */
static int ep;
static int64_t ops, resumed;

static void die(const char *what)
{
    unsigned long error = ERR_peek_last_error();
    fprintf(stderr, "tls_load: %s: %s\n", what,
            error ? ERR_reason_error_string(error) : strerror(errno));
    exit(1);
}

static int64_t clock_ns(clockid_t id)
{
    struct timespec ts;
    return clock_gettime(id, &ts) < 0 ? 0 : ts.tv_sec * (int64_t)SECOND_NS + ts.tv_nsec;
}

static int64_t process_ns(int pid)
{
    clockid_t id;
    return pid > 0 && clock_getcpuclockid(pid, &id) == 0 ? clock_ns(id) : 0;
}

/* With its children: a server's workers. */
static int64_t server_ns(void)
{
    char path[64];
    int child;
    int64_t ns = process_ns(given.pid);
    snprintf(path, sizeof path, "/proc/%d/task/%d/children", given.pid, given.pid);
    FILE *file = fopen(path, "re");
    while (file && fscanf(file, "%d", &child) == 1)
        ns += process_ns(child);
    if (file)
        fclose(file);
    return ns;
}

static int keep_ticket(SSL *ssl, SSL_SESSION *session)
{
    SSL_SESSION_free(ticket);
    ticket = session;
    return 1;
}

static SSL *new_ssl(int fd)
{
    SSL *ssl = SSL_new(ctx);
    if (!ssl || SSL_set_fd(ssl, fd) != 1)
        die("SSL_new");
    if (given.mode == RESUMED && ticket)
        SSL_set_session(ssl, ticket);
    SSL_set_connect_state(ssl);
    return ssl;
}

static int open_socket(int flags)
{
    struct sockaddr_in addr = { .sin_family = AF_INET,
                                .sin_port = htons((uint16_t)given.port),
                                .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
    int on = 1, fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | flags, 0);
    if (fd < 0)
        die("socket");
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    if (connect(fd, (struct sockaddr *)&addr, sizeof addr) < 0 && errno != EINPROGRESS)
        die("connect");
    return fd;
}

/* ---- handshakes ---- */

static void begin(struct conn *c)
{
    struct epoll_event ev = { .events = EPOLLIN | EPOLLOUT | EPOLLET, .data.ptr = c };
    *c = (struct conn){ .fd = open_socket(SOCK_NONBLOCK) };
    c->ssl = new_ssl(c->fd);
    epoll_ctl(ep, EPOLL_CTL_ADD, c->fd, &ev);
}

/* Reset, so that no port is left waiting: there are not as many as handshakes. */
static void end(struct conn *c)
{
    struct linger hard = { .l_onoff = 1 };
    ops++;
    resumed += SSL_session_reused(c->ssl);
    setsockopt(c->fd, SOL_SOCKET, SO_LINGER, &hard, sizeof hard);
    SSL_free(c->ssl);
    close(c->fd);
}

static bool must_wait(SSL *ssl, int rc)
{
    int why = SSL_get_error(ssl, rc);
    return why == SSL_ERROR_WANT_READ || why == SSL_ERROR_WANT_WRITE;
}

/* Goes on as far as it can; true when all is done. */
static bool go_on(struct conn *c)
{
    char buf[4096];
    if (!SSL_is_init_finished(c->ssl)) {
        int rc = SSL_do_handshake(c->ssl);
        if (rc != 1 && must_wait(c->ssl, rc))
            return false;
        if (rc != 1)
            die("handshake");
    }
    if (!c->said_goodbye)
        SSL_shutdown(c->ssl);
    c->said_goodbye = true;
    int n;
    while ((n = SSL_read(c->ssl, buf, sizeof buf)) > 0)
        continue;
    if (must_wait(c->ssl, n))
        return false;
    ERR_clear_error(); /* an end without close_notify: some servers are so */
    return true;
}

static void shake_until(struct conn *conns, int64_t end_ns)
{
    struct epoll_event events[64];
    while (clock_ns(CLOCK_MONOTONIC) < end_ns) {
        int count = epoll_wait(ep, events, 64, STALL_MS);
        if (count <= 0)
            die("the server stands still");
        for (int i = 0; i < count; i++) {
            struct conn *c = events[i].data.ptr;
            if (!go_on(c))
                continue;
            end(c);
            begin(c);
        }
    }
    (void)conns;
}

/* ---- large answers ---- */

static int64_t read_answer(SSL *ssl)
{
    static const char request[] = "GET /bulk HTTP/1.1\r\nHost: localhost\r\n\r\n";
    static char buf[65536];
    int64_t left = -1, got = 0;
    if (SSL_write(ssl, request, sizeof request - 1) <= 0)
        die("write");
    while (left != 0) {
        int n = SSL_read(ssl, buf, sizeof buf - 1);
        if (n <= 0)
            die("read");
        if (left < 0) { /* the head comes in one piece */
            buf[n] = '\0';
            const char *length = strcasestr(buf, "content-length:"),
                       *body = strstr(buf, "\r\n\r\n");
            if (!length || !body)
                die("no length in the answer");
            left = atoll(length + strlen("content-length:"));
            n -= (int)(body + 4 - buf);
        }
        left -= n;
        got += n;
    }
    return got;
}

/* An operation is a KiB. */
static void read_until(SSL *ssl, int64_t end_ns)
{
    do
        ops += read_answer(ssl) / 1024;
    while (clock_ns(CLOCK_MONOTONIC) < end_ns);
}

static SSL *dial(void)
{
    SSL *ssl = new_ssl(open_socket(0));
    if (SSL_do_handshake(ssl) != 1)
        die("handshake");
    return ssl;
}

/* ---- the run ---- */

static void work_until(struct conn *conns, SSL *ssl, int64_t end_ns)
{
    if (given.mode == BULK)
        read_until(ssl, end_ns);
    else
        shake_until(conns, end_ns);
}

static void measure(void)
{
    static struct conn conns[MOST_CONNECTIONS];
    SSL *ssl = given.mode == BULK ? dial() : NULL;
    for (int i = 0; i < given.connections && given.mode != BULK; i++)
        begin(&conns[i]);
    int64_t begin_ns = clock_ns(CLOCK_MONOTONIC) + (int64_t)(given.warmup * SECOND_NS);
    work_until(conns, ssl, begin_ns);
    begin_ns = clock_ns(CLOCK_MONOTONIC);
    int64_t cpu_ns = server_ns();
    ops = resumed = 0;
    work_until(conns, ssl, begin_ns + (int64_t)(given.seconds * SECOND_NS));
    double cpu = (double)(server_ns() - cpu_ns);
    double all = (double)(clock_ns(CLOCK_MONOTONIC) - begin_ns);
    if (ops == 0 || (given.mode == RESUMED && resumed < ops * 9 / 10) ||
        (given.mode == FULL && resumed > 0)) {
        fprintf(stderr, "tls_load: %lld operations, %lld resumed\n", (long long)ops,
                (long long)resumed);
        exit(1);
    }
    printf("{\"cpu_ns_op\": %.1f, \"ops_per_s\": %.1f, \"share\": %.3f}\n", cpu / (double)ops,
           (double)ops / all * SECOND_NS, cpu / all);
}

static void hold(void)
{
    for (int i = 0; i < given.idle; i++)
        dial();
    printf("open %d\n", given.idle);
    fflush(stdout);
    for (;;)
        pause();
}

static void parse(int argc, char **argv)
{
    static const struct option table[] = {
        { "pid", required_argument, NULL, 'p' },
        { "port", required_argument, NULL, 'o' },
        { "full", no_argument, NULL, FULL },
        { "resumed", no_argument, NULL, RESUMED },
        { "bulk", no_argument, NULL, BULK },
        { "idle", required_argument, NULL, IDLE },
        { "seconds", required_argument, NULL, 's' },
        { "connections", required_argument, NULL, 'c' },
        { "warmup", required_argument, NULL, 'w' },
        { NULL, 0, NULL, 0 },
    };
    for (int opt = 0; (opt = getopt_long(argc, argv, "", table, NULL)) != -1;) {
        if (opt == 'p')
            given.pid = atoi(optarg);
        else if (opt == 'o')
            given.port = atoi(optarg);
        else if (opt == 's')
            given.seconds = atof(optarg);
        else if (opt == 'w')
            given.warmup = atof(optarg);
        else if (opt == 'c')
            given.connections = atoi(optarg);
        else if (opt != '?')
            given.mode = (enum mode)opt;
        if (opt == IDLE)
            given.idle = atoi(optarg);
    }
    if (given.port <= 0 || !given.mode || given.connections < 1 ||
        given.connections > MOST_CONNECTIONS) {
        fputs("usage: tls_load --port PORT --full|--resumed|--bulk|--idle N [--pid PID]\n", stderr);
        exit(2);
    }
}

int main(int argc, char **argv)
{
    struct rlimit files;
    prctl(PR_SET_PDEATHSIG, SIGKILL); /* the harness may be killed */
    signal(SIGPIPE, SIG_IGN);
    getrlimit(RLIMIT_NOFILE, &files);
    files.rlim_cur = files.rlim_max;
    setrlimit(RLIMIT_NOFILE, &files);
    parse(argc, argv);
    ep = epoll_create1(EPOLL_CLOEXEC);
    ctx = SSL_CTX_new(TLS_client_method());
    if (!ctx || ep < 0)
        die("begin");
    SSL_CTX_set_min_proto_version(ctx, TLS1_3_VERSION);
    SSL_CTX_set_ciphersuites(ctx, "TLS_AES_128_GCM_SHA256");
    SSL_CTX_set_read_ahead(ctx, 1);
    SSL_CTX_set_session_cache_mode(ctx, SSL_SESS_CACHE_CLIENT | SSL_SESS_CACHE_NO_INTERNAL);
    SSL_CTX_sess_set_new_cb(ctx, keep_ticket);
    if (given.mode == IDLE)
        hold();
    measure();
    return 0;
}
