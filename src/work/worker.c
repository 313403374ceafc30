/* SPDX-License-Identifier: MIT */
/*
 * work/worker.c - a worker of a pool, be it a process or a thread: takes ready chunks and runs the
 * function over them.
 *
 * It may be killed anywhere. Before every input it says which one it begins, so that what came
 * before is known to be whole. It sleeps on a futex of the shared memory: no backend knows a wait
 * between processes, and the helper kills whoever sleeps too long.
 */
#define _GNU_SOURCE
#include "work/pool.h"

#include "base/assert.h"

#include <linux/futex.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

static PI_THREAD_LOCAL const struct pier_pool *working_for;

bool pi_pool_is_worker(const struct pier_pool *pool)
{
    return working_for == pool;
}

void pi_pool_ring(int bell)
{
    uint64_t one = 1;
    ssize_t n;
    do
        n = write(bell, &one, sizeof one);
    while (n < 0 && errno == EINTR);
    PIER_ASSERT(n == sizeof one || errno == EAGAIN); /* EAGAIN: it is readable as it is */
}

void pi_pool_wake(struct pi_pool_shared *shared, int count)
{
    atomic_fetch_add(&shared->work, 1);
    bool sleeps = false;
    for (uint32_t i = 0; i < shared->workers && !sleeps; i++)
        sleeps = atomic_load(&shared->asleep[i]);
    if (sleeps)
        syscall(SYS_futex, &shared->work, FUTEX_WAKE, count, NULL, NULL, 0);
}

/* ---- running ---- */

/* Whether to go on. */
static bool note_failure(struct pi_chunk *c, uint32_t index, int code, const char *words)
{
    if (c->failures++ == 0) {
        c->first_failed = index;
        c->first_code = code;
        size_t len = strnlen(words, PI_CHUNK_WORDS - 1);
        memcpy(c->words, words, len);
        c->words[len] = '\0';
    }
    if (c->keeps_going)
        c->codes[index] = code;
    return c->keeps_going;
}

static const char *words_of(int code)
{
    return pier_error_code() == code ? pier_error() : pier_strerror(code);
}

static bool is_asked_to_stop(struct pi_chunk *c)
{
    return atomic_load_explicit(&c->stop, memory_order_relaxed);
}

/* What came before is in memory when this can be seen. */
static void begin_input(struct pi_chunk *c, uint32_t index)
{
    atomic_store_explicit(&c->at, index + 1, memory_order_release);
}

static void run_fixed(struct pi_chunk *c)
{
    const char *in = c->in;
    char *out = c->out;
    uint32_t i = 0;
    while (i < c->count && !is_asked_to_stop(c)) {
        begin_input(c, i);
        int rc = c->fn(in, out);
        i++;
        in += c->input_size;
        out += c->output_size;
        if (__builtin_expect(rc < 0, 0) && !note_failure(c, i - 1, rc, words_of(rc)))
            break;
    }
    c->done = i;
}

/* One input and its record; the record's length is 0 after a failure. */
static int run_record(struct pi_chunk *c, const char *in, char *out)
{
    uint64_t len;
    memcpy(&len, in, sizeof len);
    struct pier_pool_result result = { .data = out + PI_RECORD_HEAD, .cap = c->max_item_size };
    int rc = c->bytes_fn(in + PI_RECORD_HEAD, (size_t)len, &result);
    if (rc >= 0 && result.len > c->max_item_size)
        rc = pi_fail_text(-EMSGSIZE, "a result of %zu bytes, more than max_item_size (%zu)",
                          result.len, c->max_item_size);
    uint64_t result_len = rc < 0 ? 0 : result.len;
    memcpy(out, &result_len, sizeof result_len);
    return rc;
}

static size_t record_size_at(const char *at)
{
    uint64_t len;
    memcpy(&len, at, sizeof len);
    return pi_record_size((size_t)len);
}

/* The rest goes back when the results have taken their share of the room: the next one may need all
 * that an item may have. */
static void run_bytes(struct pi_chunk *c)
{
    const char *in = c->in;
    char *out = c->out;
    uint32_t i = 0;
    while (i < c->count && !is_asked_to_stop(c) && out - c->out < PI_CHUNK_BYTES) {
        begin_input(c, i);
        int rc = run_record(c, in, out);
        i++;
        in += record_size_at(in);
        out += record_size_at(out);
        if (__builtin_expect(rc < 0, 0) && !note_failure(c, i - 1, rc, words_of(rc)))
            break;
    }
    c->done = i;
}

static void run_chunk(struct pi_chunk *c)
{
    int64_t begin = pi_clock_ns();
    c->failures = 0;
    if (c->bytes_fn)
        run_bytes(c);
    else
        run_fixed(c);
    atomic_store_explicit(&c->at, PI_CHUNK_OVER, memory_order_release);
    c->run_ns = pi_clock_ns() - begin;
}

/* ---- taking ---- */

static struct pi_chunk *take_chunk(struct pi_pool_shared *shared, uint64_t mine)
{
    for (uint32_t i = 0; i < shared->chunk_count; i++) {
        struct pi_chunk *c = &shared->chunks[i];
        uint64_t state = PI_CHUNK_READY;
        if (atomic_load_explicit(&c->state, memory_order_relaxed) == state &&
            atomic_compare_exchange_strong(&c->state, &state, mine))
            return c;
    }
    return NULL;
}

static void hand_back(struct pi_pool_shared *shared, struct pi_chunk *c)
{
    atomic_store(&c->state, PI_CHUNK_DONE);
    if (atomic_load(&shared->mapper_sleeps) && atomic_exchange(&shared->mapper_sleeps, 0))
        pi_pool_ring(shared->bell);
}

static void sleep_for_work(struct pier_pool *pool, uint32_t worker, uint32_t seen)
{
    struct pi_pool_shared *shared = pool->shared;
    if (!pool->has_threads)
        fflush(NULL); /* what it has printed is not lost when it is killed, and not late */
    atomic_store(&shared->asleep[worker], 1);
    syscall(SYS_futex, &shared->work, FUTEX_WAIT, seen, NULL, NULL, 0);
    atomic_store(&shared->asleep[worker], 0);
}

void pi_pool_work(struct pier_pool *pool, uint32_t worker, uint32_t generation)
{
    struct pi_pool_shared *shared = pool->shared;
    uint64_t mine = pi_chunk_taken_by(worker, generation);
    working_for = pool;
    for (;;) {
        uint32_t seen = atomic_load(&shared->work);
        if (atomic_load(&shared->quits))
            break;
        struct pi_chunk *c = take_chunk(shared, mine);
        if (c) {
            run_chunk(c);
            hand_back(shared, c);
        } else {
            sleep_for_work(pool, worker, seen);
        }
    }
    working_for = NULL;
}
