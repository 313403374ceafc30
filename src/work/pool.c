/* SPDX-License-Identifier: MIT */
/*
 * work/pool.c - pools are opened and closed, and their maps checked, here; see pool.h.
 *
 * Everything that helper and workers need is there before the helper is forked: memory, eventfds
 * and the parent's pidfd. The address of the shared memory is the same in all of them.
 */
#define _GNU_SOURCE
#include "work/pool.h"

#include "base/assert.h"
#include "task/sockets.h"

#include <signal.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <unistd.h>

enum {
    START_MS = 30000, /* for the workers to be there: milliseconds, unless the machine is stuck */
    CLOSE_MS = 3000,  /* for the helper to end, which gives its workers a second */
    LOOK_MS = 100,    /* the helper is looked at this often while workers start */
    ITEM_SIZE = 64 * 1024 * 1024,
    PAGE = 4096,
};

/* ---- memory ---- */

static size_t whole_pages(size_t size)
{
    return (size + PAGE - 1) & ~(size_t)(PAGE - 1);
}

/* Of one room, for inputs or results. */
static size_t room_size(const struct pier_pool *pool)
{
    return whole_pages(PI_CHUNK_BYTES + pi_record_size(pool->max_item_size));
}

/* Untouched pages cost nothing, so every room has space for the largest item. */
static int map_memory(struct pier_pool *pool)
{
    uint32_t chunks = 2 * (uint32_t)pool->workers + 2;
    size_t head = whole_pages(sizeof *pool->shared + chunks * sizeof(struct pi_chunk));
    size_t codes = PI_CHUNK_ITEMS * sizeof(int), room = room_size(pool);
    size_t size = head + chunks * (codes + 2 * room);
    int flags = MAP_ANONYMOUS | MAP_NORESERVE | (pool->has_threads ? MAP_PRIVATE : MAP_SHARED);
    char *at = mmap(NULL, size, PROT_READ | PROT_WRITE, flags, -1, 0);
    if (at == MAP_FAILED)
        return pi_fail(-errno, "pool: map %zu MiB for %u chunks of %zu MiB items",
                       size / 1024 / 1024, chunks, pool->max_item_size / 1024 / 1024);
    pool->shared = (struct pi_pool_shared *)at;
    pool->mapped_size = size;
    pool->shared->chunk_count = chunks;
    pool->shared->workers = (uint32_t)pool->workers;
    at += head;
    for (uint32_t i = 0; i < chunks; i++) {
        struct pi_chunk *c = &pool->shared->chunks[i];
        c->codes = (int *)at;
        c->in_room = at + codes;
        c->out_room = at + codes + room;
        at += codes + 2 * room;
    }
    pool->slots = pi_zalloc(chunks * sizeof *pool->slots);
    pool->returned_cap = 2 * chunks;
    pool->returned = pi_zalloc(pool->returned_cap * sizeof *pool->returned);
    return pool->slots && pool->returned ? 0 : pi_fail(-ENOMEM, "pool");
}

static int open_bell(struct io_fd *bell)
{
    int fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
    if (fd < 0)
        return pi_fail(-errno, "pool: eventfd");
    io_fd_init(bell, fd);
    return 0;
}

/* ---- processes ---- */

static int await_workers(struct pier_pool *pool)
{
    struct pi_pool_shared *shared = pool->shared;
    int64_t end = pier_after(START_MS * PIER_MILLISECOND);
    while (atomic_load(&shared->alive) < pool->workers) {
        int code = atomic_load(&shared->last_fork);
        if (code < 0)
            return pi_fail(code, "pool: start worker %d of %d", atomic_load(&shared->alive) + 1,
                           pool->workers);
        if (pi_process_reap(&pool->helper))
            return pi_fail_text(PIER_EWORKER, "pool: its helper process has died");
        uint64_t count;
        struct io_op op = { .code = IO_READ,
                            .fd = &pool->bell,
                            .buf = &count,
                            .len = sizeof count,
                            .deadline_ns = pier_after(LOOK_MS * PIER_MILLISECOND) };
        ssize_t n = io_run(&op);
        int rc = pier_cancelled();
        if (rc == 0 && n < 0 && n != -ETIMEDOUT)
            rc = (int)n;
        if (rc == 0 && pi_clock_ns() > end)
            rc = -ETIMEDOUT;
        if (rc < 0)
            return pi_fail(rc, "pool: start workers");
    }
    return 0;
}

static int start_processes(struct pier_pool *pool)
{
    int rc = open_bell(&pool->helper_bell);
    if (rc < 0)
        return rc;
    pool->keepers = pi_zalloc((size_t)pool->workers * sizeof *pool->keepers);
    if (!pool->keepers)
        return pi_fail(-ENOMEM, "pool");
    rc = pi_process_adopt(&pool->parent, getpid());
    if (rc < 0)
        return pi_fail(rc, "pool: pidfd");
    pid_t pid = pi_fork(&pool->helper, PI_FORK_DEFAULT_SIGNALS);
    if (pid == 0)
        pi_pool_help(pool);
    if (pid < 0)
        return pid;
    return await_workers(pool);
}

static void end_processes(struct pier_pool *pool)
{
    struct pi_process *helper = &pool->helper;
    if (helper->pid <= 0 || pool->owner != getpid())
        return;
    atomic_store(&pool->shared->quits, 1);
    pi_pool_wake(pool->shared, INT32_MAX);
    pi_pool_ring(pool->helper_bell.fd);
    if (!pi_process_ends_by(helper, pier_after(CLOSE_MS * PIER_MILLISECOND))) {
        kill(-helper->pid, SIGKILL);
        kill(helper->pid, SIGKILL);
        bool ended = pi_process_ends_by(helper, INT64_MAX); /* nothing survives SIGKILL */
        PIER_ASSERT(ended);
    }
    pi_process_close(helper);
}

/* ---- threads ---- */

static void *thread_main(void *arg)
{
    struct pi_pool_thread *t = arg;
    pi_task_self()->name = "pool worker";
    pi_pool_work(t->pool, t->index, 0);
    return NULL;
}

static int start_threads(struct pier_pool *pool)
{
    pool->threads = pi_zalloc((size_t)pool->workers * sizeof *pool->threads);
    if (!pool->threads)
        return pi_fail(-ENOMEM, "pool");
    while (pool->thread_count < pool->workers) {
        struct pi_pool_thread *t = &pool->threads[pool->thread_count];
        t->pool = pool;
        t->index = (uint32_t)pool->thread_count;
        int rc = pi_thread_start(&t->id, thread_main, t, 0);
        if (rc < 0)
            return pi_fail(rc, "pool: start worker %d of %d", pool->thread_count + 1,
                           pool->workers);
        pool->thread_count++;
        atomic_fetch_add(&pool->shared->alive, 1);
    }
    return 0;
}

/* Nobody maps, so each is asleep or about to be. */
static void end_threads(struct pier_pool *pool)
{
    if (pool->thread_count > 0) {
        atomic_store(&pool->shared->quits, 1);
        pi_pool_wake(pool->shared, INT32_MAX);
    }
    for (int i = 0; i < pool->thread_count; i++)
        pthread_join(pool->threads[i].id, NULL);
}

/* ---- open and close ---- */

static int start(struct pier_pool *pool)
{
    if (pool->is_simulated)
        return 0;
    int rc = map_memory(pool);
    if (rc == 0)
        rc = open_bell(&pool->bell);
    if (rc < 0)
        return rc;
    pool->shared->bell = pool->bell.fd;
    rc = pool->has_threads ? start_threads(pool) : start_processes(pool);
    io_detach(&pool->bell);
    return rc;
}

static struct pier_pool *open_pool(const struct pier_pool_opts *opts, bool inherits)
{
    int workers = opts && opts->workers ? opts->workers : pier_cpu_count();
    if (workers < 0 || workers > PI_POOL_WORKERS_MAX) {
        pi_fail_text(-EINVAL, "pool: %d workers: 1 to %d are possible", workers,
                     PI_POOL_WORKERS_MAX);
        return NULL;
    }
    struct pier_pool *pool = pi_zalloc(sizeof *pool);
    if (!pool) {
        pi_fail(-ENOMEM, "pool");
        return NULL;
    }
    pool->workers = workers;
    pool->max_item_size = opts && opts->max_item_size ? opts->max_item_size : ITEM_SIZE;
    pool->has_threads = opts && opts->threads;
    pool->is_simulated = io_is_simulated();
    pool->inputs_inherited = inherits;
    pool->owner = getpid();
    pool->bell.fd = pool->helper_bell.fd = pool->parent.end.fd = -1;
    if (start(pool) < 0) {
        pier_pool_close(pool);
        return NULL;
    }
    return pool;
}

struct pier_pool *pier_pool_open(const struct pier_pool_opts *opts)
{
    return open_pool(opts, false);
}

/* Keeps the words of the failure that may have led here. */
void pier_pool_close(struct pier_pool *pool)
{
    if (!pool)
        return;
    int rc = pier_mutex_trylock(&pool->lock);
    PIER_ASSERT(rc == 0); /* nobody maps */
    if (pool->has_threads)
        end_threads(pool);
    else if (!pool->is_simulated)
        end_processes(pool);
    io_close(&pool->bell);
    io_close(&pool->helper_bell);
    pi_process_close(&pool->parent);
    if (pool->shared)
        munmap(pool->shared, pool->mapped_size);
    pi_free(pool->slots);
    pi_free(pool->returned);
    pi_free(pool->keepers);
    pi_free(pool->threads);
    pi_free(pool);
}

/* ---- maps ---- */

static int check_sizes(const struct pier_pool *pool, const struct pier_pool_job *job)
{
    size_t most = pool->max_item_size;
    if (!job->bytes_fn && job->input_size > most)
        return pi_fail_text(-EMSGSIZE, "pool: inputs of %zu bytes, more than max_item_size (%zu)",
                            job->input_size, most);
    if (!job->bytes_fn && job->output_size > most)
        return pi_fail_text(-EMSGSIZE, "pool: results of %zu bytes, more than max_item_size (%zu)",
                            job->output_size, most);
    for (size_t i = 0; job->bytes_fn && i < job->count; i++)
        if (job->items[i].len > most)
            return pi_fail_text(-EMSGSIZE,
                                "pool: input %zu: %zu bytes, more than max_item_size (%zu)", i,
                                job->items[i].len, most);
    return 0;
}

/* Nothing has been run, whether or not anything will be. */
static void reset_job(struct pier_pool_job *job)
{
    job->done = job->failed = 0;
    job->first_failed = job->count;
    if (!job->outputs)
        job->output_size = 0;
    for (size_t i = 0; job->codes && i < job->count; i++)
        job->codes[i] = -ECANCELED;
    for (size_t i = 0; job->bytes_fn && job->items && i < job->count; i++) {
        job->items[i].result = NULL;
        job->items[i].result_len = 0;
    }
}

static int check_job(const struct pier_pool *pool, const struct pier_pool_job *job)
{
    bool has_bytes = job->bytes_fn != NULL;
    if (!has_bytes && !job->fn)
        return pi_fail_text(-EINVAL, "pool: the job has no function");
    if (job->count > 0 && (has_bytes ? !job->items : !job->inputs && job->input_size > 0))
        return pi_fail_text(-EINVAL, "pool: the job has no inputs");
    if (job->timeout_ms < 0)
        return pi_fail_text(-EINVAL, "pool: a time-out of %d ms", job->timeout_ms);
    if (job->timeout_ms > 0 && pool->has_threads)
        return pi_fail_text(-EINVAL, "pool: a thread cannot be ended: no time-out for its inputs");
    return check_sizes(pool, job);
}

int pier_pool_run(struct pier_pool *pool, struct pier_pool_job *job)
{
    reset_job(job);
    if (!pool) {
        int code = pier_error_code();
        return code < 0 ? code : -EINVAL;
    }
    if (pool->owner != getpid() || pi_pool_is_worker(pool))
        return pi_fail_text(-EDEADLK, "pool: used by one of its workers");
    if (atomic_load(&pool->mapper) == pi_task_self())
        return pi_fail_text(-EDEADLK, "pool: used within a map of it");
    int rc = check_job(pool, job);
    if (rc < 0)
        return rc;
    rc = pier_mutex_lock(&pool->lock);
    if (rc < 0)
        return pi_fail(rc, "pool: wait for its turn");
    atomic_store(&pool->mapper, pi_task_self());
    if (pool->broken)
        rc = pi_fail_text(pool->broken, "pool: its processes have failed");
    else
        rc = pi_pool_map(pool, job);
    atomic_store(&pool->mapper, NULL);
    pier_mutex_unlock(&pool->lock);
    return rc;
}

int pier_pool_run_once(const struct pier_pool_opts *opts, struct pier_pool_job *job)
{
    struct pier_pool *pool = open_pool(opts, true);
    int rc = pier_pool_run(pool, job);
    pier_pool_close(pool);
    return rc;
}

void pier_pool_free_results(struct pier_pool_item *items, size_t count)
{
    for (size_t i = 0; items && i < count; i++) {
        pi_free(items[i].result);
        items[i].result = NULL;
        items[i].result_len = 0;
    }
}
