/* SPDX-License-Identifier: MIT */
/*
 * The load generator: one thread, one epoll set, closed-loop echo clients.
 *
 * Each connection keeps --pipeline messages of --size bytes in flight and sends the next one when
 * an echo is complete. Every connection has its own message (its number in the first eight bytes),
 * so a byte that is lost, doubled or delivered to the wrong client ends the run with an error. It
 * also reads the server's CPU clocks at the two edges of the measured window itself, because a
 * second process would read them late. Prints one JSON line on stdout.
 *
 * It polls without blocking: if it slept whenever it is ahead, slower servers would pay for its
 * wake-ups and faster ones not. --block makes it sleep, for servers that share its cores.
 *
 * --udp: a connected datagram socket instead of each connection, a message a datagram; one that is
 * lost ends the run.
 *
 * With --idle N it opens N connections, says so once the server has accepted them all, and holds
 * them; a line "talk" on standard input exchanges one message on each.
 *
 * Not for open-loop (fixed rate) load: latency here is the latency at saturation.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <inttypes.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <stdarg.h>
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

#define SECOND_NS 1000000000ULL
#define BATCH_BYTES 65536 /* the most that one send carries, unless one message is longer */
#define EVENT_COUNT 512
#define SUB_BITS 7 /* 128 buckets an octave: a percentile is exact to 0.8 % */
#define BUCKET_COUNT ((64 - SUB_BITS) << SUB_BITS)
#define PROCESS_MAX 4096
#define CONNECT_BURST 50        /* connections, */
#define CONNECT_REST_US 2000    /* then a rest, so that small backlogs do not overflow */
#define CHECK_ALWAYS_BYTES 1024 /* longer chunks are compared in the warm-up only */
#define DRAIN_NS (5 * SECOND_NS)
#define STEP_NS (SECOND_NS / 100)
#define STALL_NS (10 * SECOND_NS) /* no echo for so long means that the server lost one */

struct options {
    struct sockaddr_in addr;
    int connections;
    int idle;
    size_t size;
    int pipeline;
    double seconds;
    double warmup;
    pid_t pid;
    bool block;
    bool udp;
};

struct conn {
    int fd;
    uint64_t number;
    size_t out_off;     /* offset in the batch buffer of the next byte to send */
    size_t out_len;     /* bytes due but not yet sent */
    size_t in_off;      /* offset in the batch buffer of the next byte to receive */
    size_t flight_len;  /* bytes sent or due whose echo has not arrived */
    uint64_t *stamp_ns; /* when each message in flight became due: a ring of `pipeline` entries */
    int stamp_pos;
};

struct usage {
    uint64_t cpu_ns;       /* scheduler's run time of all threads */
    uint64_t tick_user_ns; /* of the ticks that met the process, those in user space */
    uint64_t tick_all_ns;  /* all ticks that met the process */
    uint64_t wait_ns;      /* runnable, but another process had the core */
    uint64_t core_ns;      /* what the server's cores did, for anybody (10 ms steps) */
    uint64_t steal_ns;     /* what the hypervisor took from them (10 ms steps) */
    uint64_t own_ns;       /* CPU of this load generator */
};

struct load {
    struct options opts;
    struct conn *conns;
    int epoll_fd;
    bool check_all;
    bool draining;    /* nothing new is sent or counted */
    uint64_t patched; /* the connection whose number the batch buffer carries */
    size_t batch_len; /* a whole number of messages */
    char *batch;
    char *inbox;
    uint64_t idle_ns; /* spent on polls that found nothing */
    uint64_t message_count;
    uint64_t latency_sum_ns;
    uint64_t latency_max_ns;
    uint64_t buckets[BUCKET_COUNT];
};

static _Noreturn void die(const char *format, ...)
{
    va_list args;
    va_start(args, format);
    fputs("load: ", stderr);
    vfprintf(stderr, format, args);
    fputc('\n', stderr);
    va_end(args);
    exit(1);
}

static uint64_t clock_ns(clockid_t id)
{
    struct timespec t = { 0 };
    if (clock_gettime(id, &t) < 0)
        return 0;
    return (uint64_t)t.tv_sec * SECOND_NS + (uint64_t)t.tv_nsec;
}

/* ---- The server's clocks ---- */

/* The CPU clocks of another process, as the kernel numbers them (posix-timers.h): 0 all ticks, 1
 * user ticks, 2 the scheduler's exact run time. */
static uint64_t process_clock_ns(pid_t pid, int kind)
{
    return clock_ns((clockid_t)((~(unsigned)pid << 3) | (unsigned)kind));
}

/* How far apart the ticks are that tell user from system time. */
static uint64_t tick_ns(pid_t pid)
{
    struct timespec t = { 0 };
    if (pid <= 0 || clock_getres((clockid_t)(~(unsigned)pid << 3), &t) < 0 || t.tv_nsec == 0)
        return SECOND_NS;
    return (uint64_t)t.tv_nsec;
}

/* Adds the time that the threads of `pid` waited for a core, and appends its children to `pids`. */
static int visit_threads(struct usage *u, pid_t pid, pid_t *pids, int count)
{
    char path[320];
    snprintf(path, sizeof path, "/proc/%d/task", pid);
    DIR *dir = opendir(path);
    if (!dir)
        return count;
    for (struct dirent *e = readdir(dir); e; e = readdir(dir)) {
        if (e->d_name[0] == '.')
            continue;
        uint64_t run = 0, wait = 0;
        snprintf(path, sizeof path, "/proc/%d/task/%s/schedstat", pid, e->d_name);
        FILE *f = fopen(path, "re");
        if (f && fscanf(f, "%" SCNu64 " %" SCNu64, &run, &wait) == 2)
            u->wait_ns += wait;
        if (f)
            fclose(f);
        snprintf(path, sizeof path, "/proc/%d/task/%s/children", pid, e->d_name);
        f = fopen(path, "re");
        while (f && count < PROCESS_MAX && fscanf(f, "%d", &pids[count]) == 1)
            count++;
        if (f)
            fclose(f);
    }
    closedir(dir);
    return count;
}

/* Adds what the cores that `pid` may run on have done: proc(5), /proc/stat. */
static void read_cores(struct usage *u, pid_t pid)
{
    cpu_set_t cores, own;
    CPU_ZERO(&cores);
    if (pid <= 0 || sched_getaffinity(pid, sizeof cores, &cores) < 0)
        return;
    FILE *f = fopen("/proc/stat", "re");
    char line[512];
    uint64_t unit_ns = SECOND_NS / (uint64_t)sysconf(_SC_CLK_TCK);
    while (f && fgets(line, sizeof line, f)) {
        unsigned core;
        uint64_t user, nice, sys, irq, softirq, steal;
        if (sscanf(line,
                   "cpu%u %" SCNu64 " %" SCNu64 " %" SCNu64 " %*u %*u %" SCNu64 " %" SCNu64
                   " %" SCNu64,
                   &core, &user, &nice, &sys, &irq, &softirq, &steal) != 7 ||
            core >= CPU_SETSIZE || !CPU_ISSET(core, &cores))
            continue;
        u->core_ns += (user + nice + sys + irq + softirq) * unit_ns;
        u->steal_ns += steal * unit_ns;
    }
    if (f)
        fclose(f);
    sched_getaffinity(0, sizeof own, &own);
    CPU_AND(&own, &own, &cores);
    if (CPU_COUNT(&own) > 0) /* the load shares the cores: it is nobody foreign */
        u->core_ns -= u->own_ns < u->core_ns ? u->own_ns : u->core_ns;
}

/* The usage of `root` and all its descendants. `pids` receives them. */
static struct usage read_usage(pid_t root, pid_t *pids, int *count)
{
    struct usage u = { 0 };
    u.own_ns = clock_ns(CLOCK_PROCESS_CPUTIME_ID);
    *count = root > 0 ? 1 : 0;
    pids[0] = root;
    read_cores(&u, root);
    for (int i = 0; i < *count; i++) {
        u.cpu_ns += process_clock_ns(pids[i], 2);
        u.tick_user_ns += process_clock_ns(pids[i], 1);
        u.tick_all_ns += process_clock_ns(pids[i], 0);
        *count = visit_threads(&u, pids[i], pids, *count);
    }
    return u;
}

static long rss_kib(const pid_t *pids, int count)
{
    long total = 0;
    for (int i = 0; i < count; i++) {
        char path[64], line[256];
        snprintf(path, sizeof path, "/proc/%d/smaps_rollup", pids[i]);
        FILE *f = fopen(path, "re");
        long kib = 0;
        while (f && fgets(line, sizeof line, f))
            if (sscanf(line, "Rss: %ld", &kib) == 1)
                total += kib;
        if (f)
            fclose(f);
    }
    return total;
}

/* ---- The histogram ---- */

static unsigned bucket_of(uint64_t v)
{
    if (v < (1U << SUB_BITS))
        return (unsigned)v;
    unsigned shift = 63U - (unsigned)__builtin_clzll(v) - SUB_BITS;
    return ((shift + 1) << SUB_BITS) + (unsigned)(v >> shift) - (1U << SUB_BITS);
}

/* The middle of a bucket. */
static uint64_t bucket_value(unsigned i)
{
    if (i < (2U << SUB_BITS))
        return i;
    unsigned shift = (i >> SUB_BITS) - 1;
    uint64_t low = (uint64_t)((i & ((1U << SUB_BITS) - 1)) + (1U << SUB_BITS)) << shift;
    return low + (1ULL << shift) / 2;
}

static uint64_t percentile(const struct load *l, double share)
{
    uint64_t want = (uint64_t)((double)l->message_count * share), seen = 0;
    for (unsigned i = 0; i < BUCKET_COUNT; i++) {
        seen += l->buckets[i];
        if (seen > want)
            return bucket_value(i);
    }
    return l->latency_max_ns;
}

/* ---- Connections ---- */

static int open_conn(const struct sockaddr_in *addr, int type)
{
    int fd = socket(AF_INET, type | SOCK_CLOEXEC, 0);
    if (fd < 0)
        die("socket: %s", strerror(errno));
    struct timeval limit = { .tv_sec = 10 };
    int on = 1;
    setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &limit, sizeof limit);
    setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof limit);
    if (type == SOCK_STREAM)
        setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    int err = connect(fd, (const struct sockaddr *)addr, sizeof *addr) < 0 ? errno : 0;
    if (err == EINTR) { /* a stopped and continued process: connecting goes on without it */
        struct pollfd p = { .fd = fd, .events = POLLOUT };
        socklen_t len = sizeof err;
        err = ETIMEDOUT;
        if (poll(&p, 1, 10000) == 1)
            getsockopt(fd, SOL_SOCKET, SO_ERROR, &err, &len);
    }
    if (err)
        die("connect: %s", strerror(err));
    return fd;
}

static void open_conns(struct load *l, int count)
{
    l->conns = calloc((size_t)count, sizeof *l->conns);
    if (!l->conns)
        die("out of memory");
    for (int i = 0; i < count; i++) {
        l->conns[i].fd = open_conn(&l->opts.addr, l->opts.udp ? SOCK_DGRAM : SOCK_STREAM);
        l->conns[i].number = (uint64_t)i;
        if (i % CONNECT_BURST == CONNECT_BURST - 1)
            usleep(CONNECT_REST_US);
    }
}

static void make_batch(struct load *l)
{
    size_t size = l->opts.size;
    size_t fit = size < BATCH_BYTES ? BATCH_BYTES / size : 1;
    size_t count = fit < (size_t)l->opts.pipeline ? fit : (size_t)l->opts.pipeline;
    l->batch_len = count * size;
    l->batch = malloc(l->batch_len);
    l->inbox = malloc(l->batch_len);
    if (!l->batch || !l->inbox)
        die("out of memory");
    uint32_t x = 2463534242U; /* xorshift: bytes that do not repeat within a message */
    for (size_t i = 0; i < l->batch_len; i++) {
        x ^= x << 13, x ^= x >> 17, x ^= x << 5;
        l->batch[i] = i < size ? (char)x : l->batch[i - size];
    }
    l->patched = UINT64_MAX;
}

/* Makes the batch buffer hold this connection's messages. */
static void patch_batch(struct load *l, const struct conn *c)
{
    if (l->patched == c->number)
        return;
    l->patched = c->number;
    size_t len = l->opts.size < sizeof c->number ? l->opts.size : sizeof c->number;
    for (size_t off = 0; off < l->batch_len; off += l->opts.size)
        memcpy(l->batch + off, &c->number, len);
}

static size_t advance(const struct load *l, size_t off, size_t n)
{
    return off + n == l->batch_len ? 0 : off + n;
}

static void send_due(struct load *l, struct conn *c)
{
    while (c->out_len > 0) {
        size_t room = l->batch_len - c->out_off;
        ssize_t n = send(c->fd, l->batch + c->out_off, room < c->out_len ? room : c->out_len,
                         MSG_NOSIGNAL);
        if (n < 0 && errno == EAGAIN)
            return;
        if (n < 0)
            die("send: %s", strerror(errno));
        c->out_off = advance(l, c->out_off, (size_t)n);
        c->out_len -= (size_t)n;
    }
}

/* One echo is complete: note its latency, and the next message is due. */
static void complete(struct load *l, struct conn *c, uint64_t now)
{
    if (l->draining)
        return;
    uint64_t latency = now - c->stamp_ns[c->stamp_pos];
    c->stamp_ns[c->stamp_pos] = now;
    c->stamp_pos = c->stamp_pos + 1 == l->opts.pipeline ? 0 : c->stamp_pos + 1;
    l->buckets[bucket_of(latency)]++;
    l->message_count++;
    l->latency_sum_ns += latency;
    if (latency > l->latency_max_ns)
        l->latency_max_ns = latency;
    c->out_len += l->opts.size;
    c->flight_len += l->opts.size;
}

static void check_bytes(const struct load *l, const struct conn *c, size_t n)
{
    if (!l->check_all && n > CHECK_ALWAYS_BYTES)
        return;
    if (memcmp(l->inbox, l->batch + c->in_off, n) != 0)
        die("connection %" PRIu64 " received other bytes than it sent", c->number);
}

/* Edge-triggered, so it reads until a short read or until nothing is in flight. */
static void receive(struct load *l, struct conn *c)
{
    size_t flight = c->flight_len; /* what is sent below cannot have come back yet */
    while (flight > 0) {
        size_t room = l->batch_len - c->in_off;
        ssize_t n = recv(c->fd, l->inbox, room, 0);
        if (n < 0 && errno == EAGAIN)
            return;
        if (n <= 0 || (size_t)n > flight)
            die("connection %" PRIu64 ": %s", c->number,
                n < 0    ? strerror(errno)
                : n == 0 ? "closed by the server"
                         : "more bytes than were sent");
        check_bytes(l, c, (size_t)n);
        size_t begin = c->in_off / l->opts.size, end = (c->in_off + (size_t)n) / l->opts.size;
        uint64_t now = end > begin ? clock_ns(CLOCK_MONOTONIC) : 0;
        c->in_off = advance(l, c->in_off, (size_t)n);
        c->flight_len -= (size_t)n;
        flight -= (size_t)n;
        for (size_t i = begin; i < end; i++)
            complete(l, c, now);
        if ((size_t)n < room)
            break;
    }
}

static void start_conns(struct load *l)
{
    l->epoll_fd = epoll_create1(EPOLL_CLOEXEC);
    for (int i = 0; i < l->opts.connections; i++) {
        struct conn *c = &l->conns[i];
        struct epoll_event ev = { .events = EPOLLIN | EPOLLOUT | EPOLLRDHUP | EPOLLET,
                                  .data.ptr = c };
        fcntl(c->fd, F_SETFL, O_NONBLOCK);
        c->stamp_ns = calloc((size_t)l->opts.pipeline, sizeof *c->stamp_ns);
        if (!c->stamp_ns || epoll_ctl(l->epoll_fd, EPOLL_CTL_ADD, c->fd, &ev) < 0)
            die("cannot watch connection %d: %s", i, strerror(errno));
    }
    for (int i = 0; i < l->opts.connections; i++) {
        struct conn *c = &l->conns[i];
        uint64_t now = clock_ns(CLOCK_MONOTONIC);
        for (int k = 0; k < l->opts.pipeline; k++)
            c->stamp_ns[k] = now;
        c->out_len = c->flight_len = l->opts.size * (size_t)l->opts.pipeline;
        patch_batch(l, c);
        send_due(l, c);
    }
}

static void run_until(struct load *l, uint64_t end_ns)
{
    struct epoll_event events[EVENT_COUNT];
    uint64_t now = clock_ns(CLOCK_MONOTONIC), heard_ns = now;
    while (now < end_ns) {
        int count = epoll_wait(l->epoll_fd, events, EVENT_COUNT, l->opts.block ? 100 : 0);
        for (int i = 0; i < count; i++) {
            struct conn *c = events[i].data.ptr;
            if (events[i].events & (EPOLLERR | EPOLLHUP | EPOLLRDHUP))
                die("connection %" PRIu64 " was closed by the server", c->number);
            patch_batch(l, c);
            receive(l, c);
            send_due(l, c);
        }
        uint64_t last_ns = now;
        now = clock_ns(CLOCK_MONOTONIC);
        if (count > 0)
            heard_ns = now;
        else
            l->idle_ns += now - last_ns;
        if (now - heard_ns > STALL_NS)
            die("no echo for %d s", (int)(STALL_NS / SECOND_NS));
    }
}

static void print_result(const struct load *l, const struct usage *a, const struct usage *b,
                         uint64_t wall_ns, long kib, int process_count)
{
    double ops = l->message_count ? (double)l->message_count : 1;
    double cpu = (double)(b->cpu_ns - a->cpu_ns), ticks = (double)(b->tick_all_ns - a->tick_all_ns);
    double user = ticks > 0 ? (double)(b->tick_user_ns - a->tick_user_ns) / ticks : 0;
    printf("{\"ops\":%" PRIu64 ",\"wall_ns\":%" PRIu64 ",\"ops_per_s\":%.1f", l->message_count,
           wall_ns, (double)l->message_count * 1e9 / (double)wall_ns);
    printf(",\"cpu_ns_op\":%.1f,\"user_share\":%.4f,\"ticks\":%.0f", cpu / ops, user,
           ticks / (double)tick_ns(l->opts.pid));
    double wall = (double)wall_ns, foreign = (double)(b->core_ns - a->core_ns) - cpu;
    printf(",\"busy\":%.4f,\"foreign\":%.4f,\"steal\":%.4f", cpu / wall,
           foreign > 0 ? foreign / wall : 0, (double)(b->steal_ns - a->steal_ns) / wall);
    printf(",\"wait\":%.4f,\"load_busy\":%.4f", (double)(b->wait_ns - a->wait_ns) / wall,
           l->opts.block ? (double)(b->own_ns - a->own_ns) / wall : 1 - (double)l->idle_ns / wall);
    printf(",\"mean_ns\":%.0f,\"p50_ns\":%" PRIu64 ",\"p90_ns\":%" PRIu64 ",\"p99_ns\":%" PRIu64
           ",\"p999_ns\":%" PRIu64 ",\"max_ns\":%" PRIu64,
           (double)l->latency_sum_ns / ops, percentile(l, 0.5), percentile(l, 0.9),
           percentile(l, 0.99), percentile(l, 0.999), l->latency_max_ns);
    printf(",\"rss_kib\":%ld,\"processes\":%d}\n", kib, process_count);
}

/* Every echo must come, and nothing else. */
static void drain(struct load *l)
{
    l->draining = true;
    uint64_t end_ns = clock_ns(CLOCK_MONOTONIC) + DRAIN_NS;
    for (int i = 0; i < l->opts.connections; i++) {
        const struct conn *c = &l->conns[i];
        while (c->flight_len > 0 && clock_ns(CLOCK_MONOTONIC) < end_ns)
            run_until(l, clock_ns(CLOCK_MONOTONIC) + STEP_NS);
        if (c->flight_len > 0)
            die("connection %d: %zu bytes did not come back", i, c->flight_len);
        if (recv(c->fd, l->inbox, 1, MSG_DONTWAIT) >= 0)
            die("connection %d received more than it sent", i);
    }
}

static int run_closed_loop(struct load *l)
{
    pid_t pids[PROCESS_MAX];
    int count = 0;
    make_batch(l);
    open_conns(l, l->opts.connections);
    l->check_all = true;
    start_conns(l);
    run_until(l, clock_ns(CLOCK_MONOTONIC) + (uint64_t)(l->opts.warmup * 1e9));
    for (uint64_t end_ns = clock_ns(CLOCK_MONOTONIC) + STALL_NS; l->message_count == 0;) {
        uint64_t now = clock_ns(CLOCK_MONOTONIC);
        if (now > end_ns)
            die("no echo during the warm-up");
        run_until(l, now + STEP_NS);
    }

    l->check_all = false;
    l->message_count = l->latency_sum_ns = l->latency_max_ns = l->idle_ns = 0;
    memset(l->buckets, 0, sizeof l->buckets);
    struct usage before = read_usage(l->opts.pid, pids, &count);
    uint64_t begin_ns = clock_ns(CLOCK_MONOTONIC);
    run_until(l, begin_ns + (uint64_t)(l->opts.seconds * 1e9));
    uint64_t end_ns = clock_ns(CLOCK_MONOTONIC);
    struct usage after = read_usage(l->opts.pid, pids, &count);
    long kib = rss_kib(pids, count);
    uint64_t idle_ns = l->idle_ns;
    drain(l);
    l->idle_ns = idle_ns;
    print_result(l, &before, &after, end_ns - begin_ns, kib, count);
    return 0;
}

/* ---- Idle connections ---- */

/* The connections that wait in the listener's backlog: /proc/net/tcp shows them as its receive
 * queue. */
static unsigned backlog_len(const struct sockaddr_in *addr)
{
    FILE *f = fopen("/proc/net/tcp", "re");
    char line[256];
    unsigned total = 0;
    while (f && fgets(line, sizeof line, f)) {
        unsigned ip, port, state, rx;
        if (sscanf(line, "%*d: %x:%x %*x:%*x %x %*x:%x", &ip, &port, &state, &rx) == 4 &&
            state == TCP_LISTEN && port == ntohs(addr->sin_port))
            total += rx;
    }
    if (f)
        fclose(f);
    return total;
}

static void talk(struct load *l)
{
    for (int i = 0; i < l->opts.idle; i++) {
        struct conn *c = &l->conns[i];
        patch_batch(l, c);
        if (send(c->fd, l->batch, l->opts.size, MSG_NOSIGNAL) != (ssize_t)l->opts.size)
            die("send on connection %d: %s", i, strerror(errno));
        if (recv(c->fd, l->inbox, l->opts.size, MSG_WAITALL) != (ssize_t)l->opts.size ||
            memcmp(l->inbox, l->batch, l->opts.size) != 0)
            die("connection %d: no echo", i);
    }
}

static int hold_idle(struct load *l)
{
    char line[64];
    l->opts.pipeline = 1;
    make_batch(l);
    open_conns(l, l->opts.idle);
    for (int tries = 0; backlog_len(&l->opts.addr) > 0; tries++) {
        if (tries == 10000)
            die("the server does not accept all connections");
        usleep(1000);
    }
    printf("open %d\n", l->opts.idle);
    fflush(stdout);
    while (fgets(line, sizeof line, stdin)) {
        if (strcmp(line, "talk\n") == 0) {
            talk(l);
            printf("talked %d\n", l->opts.idle);
            fflush(stdout);
        }
    }
    for (;;)
        pause();
}

/* ---- The command line ---- */

static void parse_addr(struct sockaddr_in *addr, const char *text)
{
    char host[64];
    unsigned port = 0;
    if (sscanf(text, "%63[^:]:%u", host, &port) != 2 || port == 0 || port > 65535)
        die("bad address '%s': ADDRESS:PORT", text);
    addr->sin_family = AF_INET;
    addr->sin_port = htons((uint16_t)port);
    if (inet_pton(AF_INET, host, &addr->sin_addr) != 1)
        die("bad address '%s'", host);
}

static void parse_options(struct options *o, int argc, char **argv)
{
    static const struct option table[] = { { "connect", required_argument, NULL, 'c' },
                                           { "connections", required_argument, NULL, 'n' },
                                           { "size", required_argument, NULL, 's' },
                                           { "seconds", required_argument, NULL, 't' },
                                           { "warmup", required_argument, NULL, 'w' },
                                           { "pipeline", required_argument, NULL, 'k' },
                                           { "idle", required_argument, NULL, 'i' },
                                           { "block", no_argument, NULL, 'b' },
                                           { "udp", no_argument, NULL, 'u' },
                                           { "pid", required_argument, NULL, 'p' },
                                           { NULL, 0, NULL, 0 } };
    *o = (struct options){
        .connections = 50, .size = 64, .pipeline = 1, .seconds = 2, .warmup = 0.3
    };
    for (int opt = 0; (opt = getopt_long(argc, argv, "", table, NULL)) != -1;) {
        switch (opt) {
        case 'c':
            parse_addr(&o->addr, optarg);
            break;
        case 'n':
            o->connections = atoi(optarg);
            break;
        case 's':
            o->size = strtoul(optarg, NULL, 10);
            break;
        case 't':
            o->seconds = atof(optarg);
            break;
        case 'w':
            o->warmup = atof(optarg);
            break;
        case 'k':
            o->pipeline = atoi(optarg);
            break;
        case 'i':
            o->idle = atoi(optarg);
            break;
        case 'b':
            o->block = true;
            break;
        case 'u':
            o->udp = true;
            break;
        case 'p':
            o->pid = atoi(optarg);
            break;
        default:
            exit(2);
        }
    }
    if (optind < argc || o->addr.sin_port == 0 || o->connections < 1 || o->size < 1 ||
        o->pipeline < 1 || o->seconds <= 0 || o->idle < 0 ||
        (o->udp && (o->pipeline > 1 || o->idle))) {
        fputs("usage: load --connect ADDRESS:PORT [--connections N] [--size BYTES] [--pipeline K]\n"
              "            [--block] [--udp] [--seconds S] [--warmup S] [--pid SERVER]\n"
              "            [--idle N]\n",
              stderr);
        exit(2);
    }
}

int main(int argc, char **argv)
{
    static struct load l;
    prctl(PR_SET_PDEATHSIG, SIGKILL); /* the harness may be killed */
    parse_options(&l.opts, argc, argv);
    struct rlimit files;
    getrlimit(RLIMIT_NOFILE, &files);
    files.rlim_cur = files.rlim_max;
    setrlimit(RLIMIT_NOFILE, &files);
    return l.opts.idle ? hold_idle(&l) : run_closed_loop(&l);
}
