/* SPDX-License-Identifier: MIT */
/*
 * work/pool.h - what a pool is made of: chunks of inputs in memory that mapper and workers share.
 *
 *   mapper (the caller's task)      fills free chunks, takes results out of those that are done
 *   workers (processes or threads)  take ready chunks, one each, and run the function over them
 *   helper (a process)              starts the workers, buries those that die, kills on request
 *
 * A chunk's state word says who may touch it, and who has it if a worker does, so a worker may die
 * between any two instructions: the helper finds its chunk by that word and hands it back as died,
 * with the input that it was at. Processes find each other's words with futexes, and the mapper
 * waits on an eventfd, which is all that the seam has to know. map.c is the mapper, worker.c a
 * worker, helper.c the helper, pool.c opens and closes.
 */
#ifndef PI_WORK_POOL_H
#define PI_WORK_POOL_H

#include "work/fork.h"

#include <pier/work.h>

#include <pthread.h>

enum {
    PI_POOL_WORKERS_MAX = 4096,
    PI_CHUNK_BYTES = 256 * 1024, /* of inputs, of results: they stay in a second-level cache */
    PI_CHUNK_ITEMS = 65536,
    PI_CHUNK_WORDS = 256, /* of an error text; longer ones are cut */
};

/* As a chunk's at: no input has been begun (0), input at - 1 is being run, or all is over. */
#define PI_CHUNK_OVER UINT32_MAX

enum pi_chunk_kind {
    PI_CHUNK_FREE,  /* the mapper's */
    PI_CHUNK_READY, /* anybody's */
    PI_CHUNK_TAKEN, /* a worker's, who is in the rest of the word */
    PI_CHUNK_DONE,  /* the mapper's again */
    PI_CHUNK_DIED,  /* the same; its worker has died */
};

struct pi_chunk {
    _Alignas(128) _Atomic uint64_t state;
    _Atomic uint32_t at;   /* written by the worker before every input */
    _Atomic uint32_t stop; /* asks the worker to leave the rest */
    _Atomic uint32_t kill; /* asks the helper to kill the worker */

    /* Written before READY. Pointers are valid in all processes. */
    pier_pool_fn fn;
    pier_pool_bytes_fn bytes_fn;
    const char *in;
    char *out;
    size_t input_size, output_size, max_item_size;
    uint32_t count;
    bool keeps_going;

    /* Written before DONE. */
    uint32_t done; /* inputs that were run, failures included */
    uint32_t failures, first_failed;
    int first_code;
    char words[PI_CHUNK_WORDS];
    int64_t run_ns;

    /* Written before DIED. */
    int status;      /* of waitpid(2) */
    bool was_killed; /* by the helper */

    /* Set once. */
    char *in_room, *out_room; /* PI_CHUNK_BYTES and an item of the largest size */
    int *codes;               /* PI_CHUNK_ITEMS, 0 but for failures, when it keeps going */
};

/* The memory that all have in common. */
struct pi_pool_shared {
    _Atomic uint32_t work; /* futex: counts chunks that became ready, and other reasons to look */
    _Atomic uint32_t quits;
    _Atomic uint32_t mapper_sleeps;
    _Atomic int32_t alive;     /* workers */
    _Atomic int32_t last_fork; /* 0, or why a worker could not be started */
    uint32_t chunk_count, workers;
    int bell; /* the mapper's eventfd */
    _Atomic uint8_t asleep[PI_POOL_WORKERS_MAX];
    struct pi_chunk chunks[];
};

/* What the mapper alone knows of a chunk: workers cannot damage it. */
struct pi_slot {
    size_t first;
    uint32_t count;
    uint32_t seen_at, blamed_at; /* for time-outs: where it was, and for what it is killed */
    int64_t since_ns;            /* when it was first seen there; 0: never */
    size_t in_used;
    bool is_out;
};

struct pi_range {
    size_t first, count;
};

/* A worker process, in the helper. */
struct pi_keeper {
    struct pier_pool *pool;
    struct pi_process process;
    uint32_t index, generation;
    bool is_there, was_killed;
};

struct pi_pool_thread {
    struct pier_pool *pool;
    uint32_t index;
    pthread_t id;
};

struct pier_pool {
    struct pi_pool_shared *shared;
    size_t mapped_size, max_item_size;
    int workers;
    bool has_threads, is_simulated;
    bool inputs_inherited; /* the workers have the caller's memory of the only map */
    pid_t owner;           /* the process that opened it */
    struct io_fd bell;     /* rung when the mapper should look */
    struct pi_slot *slots;
    struct pi_range *returned; /* inputs that came back unrun */
    size_t returned_count, returned_cap;
    struct pier_mutex lock;           /* of the map under way */
    _Atomic(struct pi_task *) mapper; /* who has it */
    int broken;                       /* 0, or the code of every further map */

    struct pi_process helper;
    struct io_fd helper_bell;
    struct pi_process parent; /* for the helper: not its child, but waited for like one */
    struct pi_keeper *keepers;
    struct pi_pool_thread *threads;
    int thread_count;
};

static inline enum pi_chunk_kind pi_chunk_kind(uint64_t state)
{
    return (enum pi_chunk_kind)(state & 0xff);
}

static inline uint64_t pi_chunk_taken_by(uint32_t worker, uint32_t generation)
{
    return PI_CHUNK_TAKEN | (uint64_t)worker << 8 | (uint64_t)generation << 32;
}

/* Bytes of any size lie one behind the other, each behind its length. */
enum { PI_RECORD_HEAD = 16 };

static inline size_t pi_record_size(size_t len)
{
    return PI_RECORD_HEAD + ((len + PI_RECORD_HEAD - 1) & ~(size_t)(PI_RECORD_HEAD - 1));
}

/* worker.c: runs chunks until the pool quits. */
void pi_pool_work(struct pier_pool *pool, uint32_t worker, uint32_t generation);
/* Whether this thread or process is a worker of the pool. */
bool pi_pool_is_worker(const struct pier_pool *pool);
/* Wakes that many workers that sleep. */
void pi_pool_wake(struct pi_pool_shared *shared, int count);
void pi_pool_ring(int bell);

/* helper.c: the helper's life; ends the process. */
_Noreturn void pi_pool_help(struct pier_pool *pool);

/* map.c: job has been checked, the pool is locked. */
int pi_pool_map(struct pier_pool *pool, struct pier_pool_job *job);

#endif
