/* SPDX-License-Identifier: MIT */
/*
 * The load generator for HTTP: one thread, closed-loop clients that poll without blocking, as
 * load.c and for its reasons.
 *
 * Each connection has --pipeline requests in flight and sends as many again when all are answered;
 * with --close it opens a connection for each request. The first response says how long they are,
 * and all must begin with 200. It reads the server's CPU clock at the edges of the measured window.
 * --idle N: opens N connections, has one request answered on each, and holds them until standard
 * input ends. Prints one JSON line.
 *
 * Usage: http_load PORT PID [--connections N] [--pipeline N] [--close] [--idle N] [--seconds S]
 *                  [--warmup S] [--browser]
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <getopt.h>
#include <inttypes.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#define SECOND_NS 1000000000ULL
#define STALL_NS (10 * SECOND_NS)
#define PIPELINE_MAX 256
#define LATENCIES_MAX (1 << 20)

#define PLAIN "GET / HTTP/1.1\r\nHost: 127.0.0.1:8000\r\n\r\n"
#define LAST "GET / HTTP/1.1\r\nHost: 127.0.0.1:8000\r\nConnection: close\r\n\r\n"
#define BROWSER                                                                                   \
    "GET / HTTP/1.1\r\nHost: 127.0.0.1:8000\r\nConnection: keep-alive\r\n"                        \
    "sec-ch-ua: \"Chromium\";v=\"130\", \"Not?A_Brand\";v=\"99\"\r\nsec-ch-ua-mobile: ?0\r\n"     \
    "sec-ch-ua-platform: \"Linux\"\r\nUpgrade-Insecure-Requests: 1\r\nUser-Agent: Mozilla/5.0 "   \
    "(X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/130.0.0.0 Safari/537.36"   \
    "\r\nAccept: text/html,application/xhtml+xml,application/xml;q=0.9,image/avif,image/webp,*/*" \
    ";q=0.8\r\nSec-Fetch-Site: none\r\nSec-Fetch-Mode: navigate\r\nSec-Fetch-User: ?1\r\n"        \
    "Sec-Fetch-Dest: document\r\nAccept-Encoding: gzip, deflate, br, zstd\r\n"                    \
    "Accept-Language: en-GB,en;q=0.9\r\n\r\n"

static struct {
    struct sockaddr_in addr;
    pid_t pid;
    int connections, pipeline, idle;
    bool closes;
    double seconds, warmup;
    const char *request;
} opts = { .connections = 64, .pipeline = 1, .seconds = 2, .warmup = 0.3, .request = PLAIN };

struct conn {
    int fd;
    size_t left; /* bytes of responses that are to come */
    uint64_t sent_ns;
};

static char batch[PIPELINE_MAX * sizeof BROWSER];
static size_t batch_len, response_len;
static uint64_t answered, latencies[LATENCIES_MAX], latency_count;
static int set;

static _Noreturn void die(const char *what)
{
    fprintf(stderr, "http_load: %s: %s\n", what, strerror(errno));
    exit(1);
}

static uint64_t clock_ns(clockid_t id)
{
    struct timespec t = { 0 };
    clock_gettime(id, &t);
    return (uint64_t)t.tv_sec * SECOND_NS + (uint64_t)t.tv_nsec;
}

static uint64_t now_ns(void)
{
    return clock_ns(CLOCK_MONOTONIC);
}

/* The scheduler's exact run time of another process. */
static uint64_t server_ns(void)
{
    return clock_ns((clockid_t)((~(unsigned)opts.pid << 3) | 2u));
}

static void send_batch(struct conn *c)
{
    c->left = response_len * (size_t)opts.pipeline;
    c->sent_ns = now_ns();
    if (send(c->fd, batch, batch_len, MSG_NOSIGNAL) != (ssize_t)batch_len)
        die("send");
}

static int connect_one(void)
{
    int on = 1;
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd < 0 || connect(fd, (struct sockaddr *)&opts.addr, sizeof opts.addr) < 0)
        die("connect");
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    if (opts.closes) { /* no port stays behind in TIME_WAIT */
        struct linger now = { 1, 0 };
        setsockopt(fd, SOL_SOCKET, SO_LINGER, &now, sizeof now);
    }
    return fd;
}

static void begin(struct conn *c)
{
    struct epoll_event ev = { .events = EPOLLIN, .data.ptr = c };
    c->fd = connect_one();
    epoll_ctl(set, EPOLL_CTL_ADD, c->fd, &ev);
    send_batch(c);
}

/* One response on its own says how long they are. */
static void measure_response(void)
{
    char buf[4096];
    int fd = connect_one();
    size_t got = 0;
    if (send(fd, opts.request, strlen(opts.request), MSG_NOSIGNAL) < 0)
        die("send");
    while (response_len == 0 && got < sizeof buf - 1) {
        ssize_t n = recv(fd, buf + got, sizeof buf - 1 - got, 0);
        if (n <= 0)
            die("the first response");
        got += (size_t)n;
        buf[got] = '\0';
        const char *end = strstr(buf, "\r\n\r\n"), *length = strcasestr(buf, "Content-Length:");
        if (end && !length)
            die("a response without a length");
        size_t whole = end ? (size_t)(end + 4 - buf) + strtoul(length + 15, NULL, 10) : 0;
        if (end && got >= whole)
            response_len = whole;
    }
    if (strncmp(buf, "HTTP/1.1 200", 12) != 0)
        die("a response that is not 200");
    close(fd);
}

static void take(struct conn *c, bool counts)
{
    static char buf[65536];
    ssize_t n = recv(c->fd, buf, sizeof buf, MSG_DONTWAIT);
    if (n < 0 && errno == EAGAIN)
        return;
    if (n <= 0 || (size_t)n > c->left)
        die("a response");
    if (c->left == response_len * (size_t)opts.pipeline && memcmp(buf, "HTTP/1.1 200", 12) != 0)
        die("a response that is not 200");
    c->left -= (size_t)n;
    if (c->left > 0)
        return;
    if (counts) {
        answered += (uint64_t)opts.pipeline;
        if (latency_count < LATENCIES_MAX)
            latencies[latency_count++] = now_ns() - c->sent_ns;
    }
    if (opts.closes) {
        close(c->fd);
        begin(c);
    } else {
        send_batch(c);
    }
}

static void run_for(double seconds, bool counts)
{
    struct epoll_event events[256];
    uint64_t end = now_ns() + (uint64_t)(seconds * 1e9), last = now_ns();
    while (now_ns() < end) {
        int count = epoll_wait(set, events, 256, 0);
        for (int i = 0; i < count; i++)
            take(events[i].data.ptr, counts);
        if (count > 0)
            last = now_ns();
        else if (now_ns() - last > STALL_NS)
            die("no response for 10 s");
    }
}

static int by_size(const void *a, const void *b)
{
    uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;
    return x < y ? -1 : x > y;
}

static void measure(void)
{
    set = epoll_create1(EPOLL_CLOEXEC);
    struct conn *conns = calloc((size_t)opts.connections, sizeof *conns);
    for (int i = 0; i < opts.connections; i++)
        begin(&conns[i]);
    run_for(opts.warmup, false);
    uint64_t cpu = server_ns(), began = now_ns();
    run_for(opts.seconds, true);
    cpu = server_ns() - cpu;
    uint64_t took = now_ns() - began;
    qsort(latencies, latency_count, sizeof *latencies, by_size);
    printf("{\"requests\": %" PRIu64 ", \"seconds\": %.6f, \"cpu_ns\": %" PRIu64
           ", \"cpu_ns_op\": %.1f, \"busy\": %.3f, \"p50_ns\": %" PRIu64 ", \"p99_ns\": %" PRIu64
           "}\n",
           answered, (double)took / 1e9, cpu, (double)cpu / (double)(answered ? answered : 1),
           (double)cpu / (double)took, latencies[latency_count / 2],
           latencies[latency_count * 99 / 100]);
}

static void hold(void)
{
    char *buf = malloc(response_len);
    int *fds = calloc((size_t)opts.idle, sizeof *fds);
    for (int i = 0; i < opts.idle; i++) {
        fds[i] = connect_one();
        if (send(fds[i], opts.request, strlen(opts.request), MSG_NOSIGNAL) < 0 ||
            recv(fds[i], buf, response_len, MSG_WAITALL) != (ssize_t)response_len)
            die("a request");
    }
    puts("{\"held\": true}");
    fflush(stdout);
    while (read(STDIN_FILENO, buf, response_len) > 0)
        ;
}

static void parse(int argc, char **argv)
{
    static const struct option known[] = {
        { "connections", required_argument, NULL, 'c' },
        { "pipeline", required_argument, NULL, 'p' },
        { "close", no_argument, NULL, 'x' },
        { "idle", required_argument, NULL, 'i' },
        { "seconds", required_argument, NULL, 's' },
        { "warmup", required_argument, NULL, 'w' },
        { "browser", no_argument, NULL, 'b' },
        { 0 },
    };
    for (int o; (o = getopt_long(argc, argv, "", known, NULL)) >= 0;) {
        switch (o) {
        case 'c':
            opts.connections = atoi(optarg);
            break;
        case 'p':
            opts.pipeline = atoi(optarg);
            break;
        case 'x':
            opts.closes = true;
            opts.request = LAST;
            break;
        case 'i':
            opts.idle = atoi(optarg);
            break;
        case 's':
            opts.seconds = atof(optarg);
            break;
        case 'w':
            opts.warmup = atof(optarg);
            break;
        case 'b':
            opts.request = BROWSER;
            break;
        default:
            exit(2);
        }
    }
    if (optind + 2 != argc || opts.pipeline < 1 || opts.pipeline > PIPELINE_MAX)
        exit(2);
    opts.addr = (struct sockaddr_in){ .sin_family = AF_INET,
                                      .sin_port = htons((uint16_t)atoi(argv[optind])),
                                      .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
    opts.pid = atoi(argv[optind + 1]);
}

int main(int argc, char **argv)
{
    struct rlimit files;
    parse(argc, argv);
    getrlimit(RLIMIT_NOFILE, &files);
    files.rlim_cur = files.rlim_max;
    setrlimit(RLIMIT_NOFILE, &files);
    for (int i = 0; i < opts.pipeline; i++) {
        memcpy(batch + batch_len, opts.request, strlen(opts.request));
        batch_len += strlen(opts.request);
    }
    measure_response();
    if (opts.idle)
        hold();
    else
        measure();
    return 0;
}
