/* SPDX-License-Identifier: MIT */
/*
 * work/helper.c - the process between a pool and its workers: it was forked while that was
 * possible, and can fork at any time, having no threads.
 *
 * A task for each worker starts it, waits for its end, hands back what it had and starts the next
 * one. Helper and workers are a process group of their own, which ends as one when the program has
 * gone; the workers also die with the helper.
 */
#define _GNU_SOURCE
#include "work/pool.h"

#include "base/assert.h"
#include "task/stack.h"

#include <signal.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <unistd.h>

enum {
    GRACE_MS = 1000,   /* for workers that are to quit, and do so at once */
    PAUSE_MIN_MS = 10, /* after a fork that failed; doubled up to the other */
    PAUSE_MAX_MS = 1000,
};

/* ---- a stack for the workers ---- */

/* A function of the user's expects a process's stack, not a task's. Mapped once, in the helper:
 * each worker has a copy. */
static struct {
    char *bottom;
    size_t size;
} stack;

static int open_stack(void)
{
    const size_t usual = 8 * 1024 * 1024, most = 1024 * 1024 * 1024;
    struct rlimit limit;
    stack.size = usual;
    if (getrlimit(RLIMIT_STACK, &limit) == 0 && limit.rlim_cur > usual && limit.rlim_cur <= most)
        stack.size = limit.rlim_cur & ~(rlim_t)(PI_STACK_GUARD - 1);
    char *base = mmap(NULL, stack.size, PROT_READ | PROT_WRITE,
                      MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | MAP_STACK, -1, 0);
    if (base == MAP_FAILED || mprotect(base, PI_STACK_GUARD, PROT_NONE) < 0)
        return -errno;
    stack.bottom = base + PI_STACK_GUARD;
    stack.size -= PI_STACK_GUARD;
    return 0;
}

static struct pi_context *work_on_stack(void *arg)
{
    const struct pi_keeper *k = arg;
    pi_switch_entered(&pi_task_self()->context);
    pi_task_self()->name = "worker";
    pi_pool_work(k->pool, k->index, k->generation);
    pi_fork_exit(EXIT_SUCCESS);
}

_Noreturn static void be_worker(struct pi_keeper *k)
{
    struct pi_task *self = pi_task_self();
    struct pi_context here = self->context;
    pi_context_init(&self->context, stack.bottom, stack.bottom + stack.size, work_on_stack, k);
    pi_switch(&here, &self->context);
    abort(); /* nobody switches back */
}

/* ---- a worker's keeper ---- */

static void note_fork(struct pier_pool *pool, int code)
{
    atomic_store(&pool->shared->last_fork, code);
    pi_pool_ring(pool->bell.fd);
}

static int start_worker(struct pi_keeper *k)
{
    k->generation++;
    k->was_killed = false;
    pid_t pid = pi_fork(&k->process, PI_FORK_DIES_WITH_PARENT);
    if (pid == 0)
        be_worker(k);
    if (pid < 0)
        return pid;
    k->is_there = true;
    atomic_fetch_add(&k->pool->shared->alive, 1);
    note_fork(k->pool, 0);
    return 0;
}

/* What the dead one had goes back; if it had been woken for work, somebody else must see to it. */
static void bury_worker(struct pi_keeper *k)
{
    struct pi_pool_shared *shared = k->pool->shared;
    k->is_there = false;
    atomic_store(&shared->asleep[k->index], 0);
    atomic_fetch_sub(&shared->alive, 1);
    for (uint32_t i = 0; i < shared->chunk_count; i++) {
        struct pi_chunk *c = &shared->chunks[i];
        if (atomic_load(&c->state) != pi_chunk_taken_by(k->index, k->generation))
            continue;
        c->status = k->process.status;
        c->was_killed = k->was_killed;
        atomic_store(&c->state, PI_CHUNK_DIED);
    }
    pi_pool_wake(shared, INT32_MAX);
    pi_pool_ring(k->pool->bell.fd);
}

static int await_worker(struct pi_keeper *k)
{
    while (!pi_process_reap(&k->process)) {
        int rc = pi_process_await(&k->process, 0);
        if (rc < 0 && pier_sleep(PAUSE_MIN_MS * PIER_MILLISECOND) < 0)
            return rc;
    }
    pi_process_close(&k->process);
    return 0;
}

static int keep_worker(void *arg)
{
    struct pi_keeper *k = arg;
    const struct pi_pool_shared *shared = k->pool->shared;
    int64_t pause_ms = PAUSE_MIN_MS;
    while (!atomic_load(&shared->quits)) {
        int rc = start_worker(k);
        if (rc < 0) {
            note_fork(k->pool, rc);
            if (pier_sleep(pause_ms * PIER_MILLISECOND) < 0)
                return 0;
            pause_ms = pause_ms * 2 < PAUSE_MAX_MS ? pause_ms * 2 : PAUSE_MAX_MS;
            continue;
        }
        pause_ms = PAUSE_MIN_MS;
        if (await_worker(k) < 0)
            return 0;
        bury_worker(k);
    }
    return 0;
}

/* ---- the helper ---- */

/* All of the group, this process included. */
static void end_group(void)
{
    kill(0, SIGKILL);
}

static int end_with_parent(void *arg)
{
    struct pier_pool *pool = arg;
    int rc;
    do
        rc = pi_process_await(&pool->parent, 0);
    while (rc < 0 && pier_sleep(PAUSE_MIN_MS * PIER_MILLISECOND) == 0);
    if (rc == 0)
        end_group();
    return 0;
}

static void kill_worker(struct pier_pool *pool, uint64_t state)
{
    struct pi_keeper *k = &pool->keepers[(state >> 8) & 0xffffff];
    if (pi_chunk_kind(state) != PI_CHUNK_TAKEN || !k->is_there || k->generation != state >> 32)
        return;
    k->was_killed = true;
    kill(k->process.pid, SIGKILL);
}

/* Runs until the pool is closed. */
static int obey(void *arg)
{
    struct pier_pool *pool = arg;
    struct pi_pool_shared *shared = pool->shared;
    while (!atomic_load(&shared->quits)) {
        uint64_t count;
        struct io_op op = {
            .code = IO_READ, .fd = &pool->helper_bell, .buf = &count, .len = sizeof count
        };
        ssize_t n = io_run(&op);
        if (n < 0 && pier_sleep(PAUSE_MIN_MS * PIER_MILLISECOND) < 0)
            break;
        for (uint32_t i = 0; i < shared->chunk_count; i++) {
            struct pi_chunk *c = &shared->chunks[i];
            if (atomic_exchange(&c->kill, 0))
                kill_worker(pool, atomic_load(&c->state));
        }
    }
    return 0;
}

static int end_after_grace(void *arg)
{
    if (pier_sleep(GRACE_MS * PIER_MILLISECOND) == 0)
        end_group();
    return 0;
}

static int spawn_keepers(struct pier_pool *pool, struct pier_scope *workers)
{
    int rc = 0;
    for (int i = 0; i < pool->workers && rc == 0; i++) {
        pool->keepers[i].pool = pool;
        pool->keepers[i].index = (uint32_t)i;
        rc = pier_spawn(workers, keep_worker, &pool->keepers[i]);
    }
    return rc;
}

/* The loop is one that a fork can leave behind. */
static int run_helper(struct pier_pool *pool)
{
    struct pier_scope all, workers;
    pier_scope_open(&all, 0);
    int rc = open_stack();
    if (rc == 0 && !pi_loop_open(&all, &io_epoll, NULL))
        rc = pier_error_code();
    if (rc == 0)
        rc = pier_spawn(&all, end_with_parent, pool);
    pier_scope_open(&workers, 0);
    if (rc == 0)
        rc = spawn_keepers(pool, &workers);
    if (rc == 0) {
        obey(pool);
        rc = pier_spawn(&all, end_after_grace, NULL);
    }
    if (rc < 0) {
        note_fork(pool, rc);
        end_group();
    }
    rc = pier_scope_join(&workers);
    PIER_ASSERT(rc == 0); /* they return nothing else */
    pier_scope_cancel(&all);
    return pier_scope_join(&all);
}

void pi_pool_help(struct pier_pool *pool)
{
    setpgid(0, 0);
    run_helper(pool);
    pi_fork_exit(EXIT_SUCCESS);
}
