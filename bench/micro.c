/* SPDX-License-Identifier: MIT */
/*
 * Micro benchmarks of the runtime: what a yield, a spawn and join, a channel message, a lock, a
 * sleep and a question to a firewall with a million networks cost. One JSON line each: `ns` is the
 * wall time of one operation on an otherwise idle core. Each runs REPEATS times for some 10 ms;
 * bench/run takes the best, which no other process has interrupted.
 *
 * The names are shared with the peers' programs (peers/micro.go and others); pthread_* rows are the
 * floor of what crosses threads. Usage: micro [NAME].
 */
#include <netinet/in.h>
#include <pthread.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <pier/pier.h>

#define REPEATS 7

static int failed;

static void check(int rc)
{
    if (rc < 0)
        failed = rc;
}

static void report(const char *name, long count, int64_t start_ns)
{
    double ns = (double)(pier_now() - start_ns) / (double)count;
    printf("{\"name\":\"%s\",\"ns\":%.2f,\"count\":%ld}\n", name, ns, count);
    fflush(stdout);
}

/* ---- tasks ---- */

static int yield_many(void *arg)
{
    for (long i = 0; i < *(long *)arg; i++)
        pier_yield();
    return 0;
}

/* Two tasks take turns, so that every yield is one switch to the other. */
static void bench_yield(void)
{
    long each = 400000;
    struct pier_scope s;
    pier_scope_open(&s, 0);
    int64_t start_ns = pier_now();
    pier_spawn(&s, yield_many, &each);
    pier_spawn(&s, yield_many, &each);
    check(pier_scope_join(&s));
    report("yield", 2 * each, start_ns);
}

static int nothing(void *arg)
{
    return 0;
}

/* Runs inside an outer scope, so that the loop is made once and not per spawn. */
static int spawn_one_by_one(void *arg)
{
    for (long i = 0; i < *(long *)arg; i++) {
        struct pier_scope s;
        pier_scope_open(&s, 0);
        pier_spawn(&s, nothing, NULL);
        check(pier_scope_join(&s));
    }
    return 0;
}

static int spawn_by_thousands(void *arg)
{
    for (long i = 0; i < *(long *)arg; i += 1000) {
        struct pier_scope s;
        pier_scope_open(&s, 0);
        for (int k = 0; k < 1000; k++)
            pier_spawn(&s, nothing, NULL);
        check(pier_scope_join(&s));
    }
    return 0;
}

static void run_task(const char *name, pier_task_fn fn, long count)
{
    struct pier_scope s;
    pier_scope_open(&s, 0);
    int64_t start_ns = pier_now();
    pier_spawn(&s, fn, &count);
    check(pier_scope_join(&s));
    report(name, count, start_ns);
}

static void bench_spawn_join(void)
{
    run_task("spawn_join", spawn_one_by_one, 200000);
}

static void bench_spawn_join_batch(void)
{
    run_task("spawn_join_batch", spawn_by_thousands, 200000);
}

static int sleep_many(void *arg)
{
    for (long i = 0; i < *(long *)arg; i++)
        check(pier_sleep(100000));
    return 0;
}

static void bench_sleep(void)
{
    run_task("sleep_100us", sleep_many, 50);
}

/* ---- channels and locks ---- */

struct stream {
    struct pier_chan ch;
    long count;
};

static int send_many(void *arg)
{
    struct stream *t = arg;
    for (int64_t i = 0; i < t->count; i++)
        check(pier_chan_send(&t->ch, &i));
    pier_chan_close(&t->ch);
    return 0;
}

static int receive_many(void *arg)
{
    struct stream *t = arg;
    int64_t value = 0, expected = 0;
    while (pier_chan_recv(&t->ch, &value) > 0)
        if (value != expected++)
            failed = -1;
    if (expected != t->count)
        failed = -1;
    return 0;
}

static void bench_chan(const char *name, size_t cap, int flags)
{
    struct stream t = { .count = 400000 };
    struct pier_scope s;
    check(pier_chan_init(&t.ch, sizeof(int64_t), cap, flags));
    pier_scope_open(&s, 0);
    int64_t start_ns = pier_now();
    pier_spawn(&s, send_many, &t);
    pier_spawn(&s, receive_many, &t);
    check(pier_scope_join(&s));
    report(name, t.count, start_ns);
    pier_chan_fini(&t.ch);
}

static void bench_chan_buffered(void)
{
    bench_chan("chan_buffered", 64, PIER_LOCAL);
}

static void bench_chan_shared(void)
{
    bench_chan("chan_shared", 64, 0);
}

static void bench_chan_one(void)
{
    bench_chan("chan_one", 1, PIER_LOCAL);
}

static void *send_from_thread(void *arg)
{
    send_many(arg);
    return NULL;
}

/* The harness pins this process to one core; two threads are to have two. */
static void use_all_cores(void)
{
    cpu_set_t cores;
    memset(&cores, 0xff, sizeof cores);
    sched_setaffinity(0, sizeof cores, &cores);
}

/* A thread sends, the calling thread receives. This and the ones below unpin the process. */
static void bench_chan_threads(void)
{
    use_all_cores();
    struct stream t = { .count = 100000 };
    pthread_t thread;
    check(pier_chan_init(&t.ch, sizeof(int64_t), 64, 0));
    int64_t start_ns = pier_now();
    if (pthread_create(&thread, NULL, send_from_thread, &t) != 0) {
        failed = -1;
        return;
    }
    receive_many(&t);
    pthread_join(thread, NULL);
    report("chan_threads", t.count, start_ns);
    pier_chan_fini(&t.ch);
}

static void *send_from_loop(void *arg)
{
    struct pier_scope s;
    pier_scope_open(&s, 0);
    pier_spawn(&s, send_many, arg);
    check(pier_scope_join(&s));
    return NULL;
}

/* The same between tasks of two loops: who waits sleeps in its loop's poll. */
static void bench_chan_loops(void)
{
    use_all_cores();
    struct stream t = { .count = 100000 };
    struct pier_scope s;
    pthread_t thread;
    check(pier_chan_init(&t.ch, sizeof(int64_t), 64, 0));
    int64_t start_ns = pier_now();
    if (pthread_create(&thread, NULL, send_from_loop, &t) != 0) {
        failed = -1;
        return;
    }
    pier_scope_open(&s, 0);
    pier_spawn(&s, receive_many, &t);
    check(pier_scope_join(&s));
    pthread_join(thread, NULL);
    report("chan_loops", t.count, start_ns);
    pier_chan_fini(&t.ch);
}

/* ---- threads that lock ---- */

struct crowd {
    struct pier_mutex mutex;
    long each;
    long total; /* guarded */
};

static void *lock_many(void *arg)
{
    struct crowd *c = arg;
    for (long i = 0; i < c->each; i++) {
        check(pier_mutex_lock(&c->mutex));
        c->total++;
        pier_mutex_unlock(&c->mutex);
    }
    return NULL;
}

/* All lock as often as they can, with next to nothing in between. */
static void bench_mutex_crowd(const char *name, int threads)
{
    use_all_cores();
    struct crowd c = { .each = 400000 / threads };
    pthread_t ids[8];
    pier_mutex_init(&c.mutex, 0);
    int64_t start_ns = pier_now();
    int started = 0;
    while (started < threads && pthread_create(&ids[started], NULL, lock_many, &c) == 0)
        started++;
    for (int i = 0; i < started; i++)
        pthread_join(ids[i], NULL);
    report(name, c.each * threads, start_ns);
    if (c.total != c.each * threads)
        failed = -1;
    pier_mutex_fini(&c.mutex);
}

static void bench_mutex_threads(void)
{
    bench_mutex_crowd("mutex_threads", 2);
}

static void bench_mutex_4_threads(void)
{
    bench_mutex_crowd("mutex_4_threads", 4);
}

/* ---- to and fro ---- */

struct table {
    struct pier_chan there, back;
    long count;
};

static void *answer_many(void *arg)
{
    struct table *t = arg;
    int64_t value = 0;
    for (long i = 0; i < t->count; i++) {
        check(pier_chan_recv(&t->there, &value));
        check(pier_chan_send(&t->back, &value));
    }
    return NULL;
}

/* One message at a time goes to the other thread and comes back: both wait for each. */
static void bench_ping_threads(void)
{
    use_all_cores();
    struct table t = { .count = 20000 };
    pthread_t thread;
    check(pier_chan_init(&t.there, sizeof(int64_t), 1, 0));
    check(pier_chan_init(&t.back, sizeof(int64_t), 1, 0));
    int64_t start_ns = pier_now();
    if (pthread_create(&thread, NULL, answer_many, &t) != 0) {
        failed = -1;
        return;
    }
    for (int64_t i = 0, value; i < t.count; i++) {
        check(pier_chan_send(&t.there, &i));
        check(pier_chan_recv(&t.back, &value));
        if (value != i)
            failed = -1;
    }
    pthread_join(thread, NULL);
    report("ping_threads", t.count, start_ns);
    pier_chan_fini(&t.there);
    pier_chan_fini(&t.back);
}

static void bench_mutex_flags(const char *name, int flags)
{
    long count = 200000;
    struct pier_mutex m;
    pier_mutex_init(&m, flags);
    int64_t start_ns = pier_now();
    for (long i = 0; i < count; i++) {
        check(pier_mutex_lock(&m));
        pier_mutex_unlock(&m);
    }
    report(name, count, start_ns);
    pier_mutex_fini(&m);
}

static void bench_mutex(void)
{
    bench_mutex_flags("mutex_uncontended", 0);
}

static void bench_mutex_local(void)
{
    bench_mutex_flags("mutex_local", PIER_LOCAL);
}

/* ---- a firewall's networks ---- */

enum { NETWORKS = 1000000, QUESTIONS = 1 << 16 };

static uint64_t draw(void)
{
    static uint64_t seed = 88172645463325252;
    seed ^= seed << 13;
    seed ^= seed >> 7;
    seed ^= seed << 17;
    return seed;
}

/* A random network, written to list; addr: an address in it, or next to it. */
static void make_network(FILE *list, struct pier_addr *addr, bool is_in6)
{
    uint64_t r = draw() & 0x0fffffffffffffff;
    struct sockaddr_in in = { .sin_family = AF_INET };
    struct sockaddr_in6 in6 = { .sin6_family = AF_INET6 };
    in.sin_addr.s_addr = htonl((uint32_t)(r >> 28 ^ (r & 1)));
    for (int i = 0; i < 8; i++)
        in6.sin6_addr.s6_addr[i] = (uint8_t)((r | (uint64_t)2 << 60) >> (56 - 8 * i));
    in6.sin6_addr.s6_addr[7] ^= (uint8_t)(draw() & 1);
    if (is_in6)
        fprintf(list, "%x:%x:%x:%x::/64\n", 0x2000 | (int)(r >> 48), (int)(r >> 32 & 0xffff),
                (int)(r >> 16 & 0xffff), (int)(r & 0xffff));
    else
        fprintf(list, "%d.%d.%d.%d\n", (int)(r >> 52 & 255), (int)(r >> 44 & 255),
                (int)(r >> 36 & 255), (int)(r >> 28 & 255));
    memset(addr, 0, sizeof *addr);
    memcpy(addr, is_in6 ? (void *)&in6 : (void *)&in, is_in6 ? sizeof in6 : sizeof in);
}

/* A server that denies a million networks, and addresses to ask it about. */
static struct pier_server *serve_behind_networks(struct pier_addr *questions, bool is_in6)
{
    char path[] = "/tmp/pier-bench-XXXXXX";
    struct pier_addr ignored;
    int fd = mkstemp(path);
    FILE *list = fd < 0 ? NULL : fdopen(fd, "w");
    if (!list)
        return NULL;
    for (int i = 0; i < NETWORKS; i++)
        make_network(list, i % 15 ? &ignored : &questions[i / 15 % QUESTIONS], is_in6);
    fclose(list);
    struct pier_firewall_opts firewall = { .deny = (const char *[]){ path, NULL } };
    struct pier_server *s = pier_server_new(&(struct pier_serve_opts){ .firewall = &firewall });
    check(pier_server_add(s, "tcp://127.0.0.1:0", NULL, NULL));
    check(pier_server_listen(s));
    unlink(path);
    return s;
}

static void bench_firewall_family(const char *name, bool is_in6)
{
    static struct pier_addr questions[2][QUESTIONS];
    static struct pier_server *servers[2]; /* made once, for all rounds */
    long denied = 0;
    if (!servers[is_in6])
        servers[is_in6] = serve_behind_networks(questions[is_in6], is_in6);
    int64_t start_ns = pier_now();
    for (int i = 0; i < QUESTIONS; i++)
        denied += !pier_server_allows(servers[is_in6], &questions[is_in6][i]);
    report(name, QUESTIONS, start_ns);
    if (denied < QUESTIONS / 4)
        failed = -1;
}

static void bench_firewall(void)
{
    bench_firewall_family("firewall_ipv4", false);
}

static void bench_firewall_ipv6(void)
{
    bench_firewall_family("firewall_ipv6", true);
}

/* ---- the table ---- */

static const struct {
    const char *name;
    void (*run)(void);
} benches[] = {
    { "yield", bench_yield },
    { "spawn_join", bench_spawn_join },
    { "spawn_join_batch", bench_spawn_join_batch },
    { "chan_buffered", bench_chan_buffered },
    { "chan_one", bench_chan_one },
    { "chan_shared", bench_chan_shared },
    { "mutex_uncontended", bench_mutex },
    { "mutex_local", bench_mutex_local },
    { "firewall_ipv4", bench_firewall },
    { "firewall_ipv6", bench_firewall_ipv6 },
    { "sleep_100us", bench_sleep },
    { "chan_threads", bench_chan_threads },
    { "chan_loops", bench_chan_loops },
    { "ping_threads", bench_ping_threads },
    { "mutex_threads", bench_mutex_threads },
    { "mutex_4_threads", bench_mutex_4_threads },
};

int main(int argc, char **argv)
{
    for (size_t i = 0; i < sizeof benches / sizeof *benches; i++)
        for (int k = 0; k < REPEATS && failed == 0; k++)
            if (argc < 2 || strcmp(argv[1], benches[i].name) == 0)
                benches[i].run();
    return failed ? pier_fail("micro") : 0;
}
