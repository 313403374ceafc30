/* SPDX-License-Identifier: MIT */
/*
 * task_threads: what tests of the runtime do with other threads, without sleeping to get the order
 * right.
 */
#ifndef PIER_TESTS_TASK_THREADS_H
#define PIER_TESTS_TASK_THREADS_H

#include "task/task.h"

#include <check.h>
#include <pthread.h>
#include <sched.h>
#include <stdlib.h>
#include <time.h>

static inline pthread_t thread_start(void *(*fn)(void *), void *arg)
{
    pthread_t id;
    ck_assert_int_eq(pthread_create(&id, NULL, fn, arg), 0);
    return id;
}

static inline void thread_end(pthread_t id)
{
    ck_assert_int_eq(pthread_join(id, NULL), 0);
}

/* Returns when that thread sleeps, that is, when none of its tasks has anything left to do. */
static inline void thread_await_sleep(struct pi_thread *th)
{
    while (atomic_load(&th->sleeping) == PI_AWAKE)
        sched_yield();
}

static inline struct pi_thread *thread_self(void)
{
    return pi_task_self()->thread;
}

/* Runs fn(arg) as the only task of a loop of this thread; returns its result. */
static inline int in_a_loop(pier_task_fn fn, void *arg)
{
    struct pier_scope s;
    pier_scope_open(&s, 0);
    int rc = pier_spawn(&s, fn, arg);
    int joined = pier_scope_join(&s);
    return rc < 0 ? rc : joined;
}

/* Printed by the test; PIER_TEST_SEED=N repeats a run. */
static inline uint64_t test_seed(void)
{
    const char *given = getenv("PIER_TEST_SEED");
    uint64_t seed = given ? strtoull(given, NULL, 0) : (uint64_t)time(NULL) * 2654435761u;
    fprintf(stderr, "PIER_TEST_SEED=%llu\n", (unsigned long long)seed);
    return seed | 1;
}

static inline uint64_t next_random(uint64_t *state)
{
    *state ^= *state << 13;
    *state ^= *state >> 7;
    *state ^= *state << 17;
    return *state;
}

#endif
