/* SPDX-License-Identifier: MIT */
/*
 * The floor of what crosses threads, under the names of micro.c: pthread mutex, and a queue of 64
 * elements from a mutex and two condition variables. One JSON line each.
 */
#define _GNU_SOURCE
#include <pthread.h>
#include <sched.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#define QUEUE_CAP 64
#define PING_COUNT 20000
#define CROWD_LOCKS 400000
#define MESSAGE_COUNT 100000
#define LOCK_COUNT 200000
#define SLEEP_COUNT 50
#define THREAD_COUNT 1000
#define REPEATS 7

struct queue {
    pthread_mutex_t mutex;
    pthread_cond_t filled, drained;
    int64_t ring[QUEUE_CAP];
    int head, count, cap;
};

static int64_t now_ns(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec * 1000000000LL + t.tv_nsec;
}

static void report(const char *name, int count, int64_t start_ns)
{
    printf("{\"name\":\"%s\",\"ns\":%.2f,\"count\":%d}\n", name,
           (double)(now_ns() - start_ns) / count, count);
    fflush(stdout);
}

static void put(struct queue *q, int64_t value)
{
    pthread_mutex_lock(&q->mutex);
    while (q->count == q->cap)
        pthread_cond_wait(&q->drained, &q->mutex);
    q->ring[(q->head + q->count++) % q->cap] = value;
    pthread_cond_signal(&q->filled);
    pthread_mutex_unlock(&q->mutex);
}

static int64_t get(struct queue *q)
{
    pthread_mutex_lock(&q->mutex);
    while (q->count == 0)
        pthread_cond_wait(&q->filled, &q->mutex);
    int64_t value = q->ring[q->head];
    q->head = (q->head + 1) % q->cap;
    q->count--;
    pthread_cond_signal(&q->drained);
    pthread_mutex_unlock(&q->mutex);
    return value;
}

static void *send_many(void *arg)
{
    for (int64_t i = 0; i < MESSAGE_COUNT; i++)
        put(arg, i);
    return NULL;
}

/* As in micro.c. The benchmarks from here on unpin the process. */
static void use_all_cores(void)
{
    cpu_set_t cores;
    memset(&cores, 0xff, sizeof cores);
    sched_setaffinity(0, sizeof cores, &cores);
}

static int bench_chan_threads(void)
{
    use_all_cores();
    struct queue q = { .cap = QUEUE_CAP,
                       .mutex = PTHREAD_MUTEX_INITIALIZER,
                       .filled = PTHREAD_COND_INITIALIZER,
                       .drained = PTHREAD_COND_INITIALIZER };
    pthread_t thread;
    int64_t start_ns = now_ns();
    if (pthread_create(&thread, NULL, send_many, &q) != 0)
        return 1;
    for (int64_t i = 0; i < MESSAGE_COUNT; i++)
        if (get(&q) != i)
            return 1;
    pthread_join(thread, NULL);
    report("chan_threads", MESSAGE_COUNT, start_ns);
    return 0;
}

struct table {
    struct queue there, back;
};

static void *answer_many(void *arg)
{
    struct table *t = arg;
    for (int i = 0; i < PING_COUNT; i++)
        put(&t->back, get(&t->there));
    return NULL;
}

static int bench_ping_threads(void)
{
    use_all_cores();
    struct queue one = { .cap = 1,
                         .mutex = PTHREAD_MUTEX_INITIALIZER,
                         .filled = PTHREAD_COND_INITIALIZER,
                         .drained = PTHREAD_COND_INITIALIZER };
    struct table t = { one, one };
    pthread_t thread;
    int64_t start_ns = now_ns();
    if (pthread_create(&thread, NULL, answer_many, &t) != 0)
        return 1;
    for (int64_t i = 0; i < PING_COUNT; i++) {
        put(&t.there, i);
        if (get(&t.back) != i)
            return 1;
    }
    pthread_join(thread, NULL);
    report("ping_threads", PING_COUNT, start_ns);
    return 0;
}

struct crowd {
    pthread_mutex_t mutex;
    long each, total;
};

static void *lock_many(void *arg)
{
    struct crowd *c = arg;
    for (long i = 0; i < c->each; i++) {
        pthread_mutex_lock(&c->mutex);
        c->total++;
        pthread_mutex_unlock(&c->mutex);
    }
    return NULL;
}

static int bench_mutex_crowd(const char *name, int threads)
{
    use_all_cores();
    struct crowd c = { .mutex = PTHREAD_MUTEX_INITIALIZER, .each = CROWD_LOCKS / threads };
    pthread_t ids[8];
    int64_t start_ns = now_ns();
    for (int i = 0; i < threads; i++)
        if (pthread_create(&ids[i], NULL, lock_many, &c) != 0)
            return 1;
    for (int i = 0; i < threads; i++)
        pthread_join(ids[i], NULL);
    report(name, CROWD_LOCKS, start_ns);
    return c.total != CROWD_LOCKS;
}

static int bench_mutex_threads(void)
{
    return bench_mutex_crowd("mutex_threads", 2);
}

static int bench_mutex_4_threads(void)
{
    return bench_mutex_crowd("mutex_4_threads", 4);
}

static void *nothing(void *arg)
{
    return arg;
}

static int bench_spawn_join(void)
{
    int64_t start_ns = now_ns();
    for (int i = 0; i < THREAD_COUNT; i++) {
        pthread_t thread;
        if (pthread_create(&thread, NULL, nothing, NULL) != 0)
            return 1;
        pthread_join(thread, NULL);
    }
    report("spawn_join", THREAD_COUNT, start_ns);
    return 0;
}

static int bench_mutex(void)
{
    pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
    int64_t start_ns = now_ns();
    for (int i = 0; i < LOCK_COUNT; i++) {
        pthread_mutex_lock(&mutex);
        pthread_mutex_unlock(&mutex);
    }
    report("mutex_uncontended", LOCK_COUNT, start_ns);
    return 0;
}

static int bench_sleep(void)
{
    int64_t start_ns = now_ns();
    for (int i = 0; i < SLEEP_COUNT; i++)
        nanosleep(&(struct timespec){ .tv_nsec = 100000 }, NULL);
    report("sleep_100us", SLEEP_COUNT, start_ns);
    return 0;
}

int main(void)
{
    int (*const benches[])(void) = { bench_spawn_join,     bench_mutex,        bench_sleep,
                                     bench_chan_threads,   bench_ping_threads, bench_mutex_threads,
                                     bench_mutex_4_threads };
    for (size_t i = 0; i < sizeof benches / sizeof *benches; i++)
        for (int k = 0; k < REPEATS; k++)
            if (benches[i]() != 0)
                return 1;
    return 0;
}
