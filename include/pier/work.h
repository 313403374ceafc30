/* SPDX-License-Identifier: MIT */
/*
 * pier/work.h - a function over many inputs, on all processors: pools of processes and of threads.
 *
 *     static int square(const void *input, void *output)
 *     {
 *         const int *n = input;
 *         long *result = output;
 *         *result = (long)*n * *n;
 *         return 0;
 *     }
 *
 *     struct pier_pool *pool = pier_pool_open(&(struct pier_pool_opts){ .workers = 4 });
 *     pier_pool_map(pool, square, numbers, squares, 1000000);
 *     pier_pool_close(pool);
 *
 * A worker process is a copy of the program as it was when the pool was opened, so open the pool
 * first: before threads are started (or it fails with -EBUSY), and before descriptors are opened
 * that nobody else should hold. The function is any function of the program. Inputs and results are
 * passed as bytes: a pointer among them leads to the worker's copy of what was there when the pool
 * was opened. Each worker runs one input at a time.
 *
 * A worker that crashes, exits or takes too long costs its input, not the program: the failure
 * names the input's index, and another worker takes its place. No process outlives the pool, nor
 * the program when that is killed.
 */
#ifndef PIER_WORK_H
#define PIER_WORK_H

#include <pier/base.h>

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

struct pier_pool;

/* Computes one input's result: reads *input, writes *output, which holds nothing on entry. Returns
 * 0, or a negative code, whose words (pier_error_set()) become the caller's. Both are borrowed. */
typedef int (*pier_pool_fn)(const void *input, void *output);

/* Where a function leaves a result of any size: len bytes, at most cap, at data. */
struct pier_pool_result {
    void *data;
    size_t cap, len;
};

/* The same for an input and a result of any size. */
typedef int (*pier_pool_bytes_fn)(const void *input, size_t len, struct pier_pool_result *result);

/* An input of any size, borrowed, and its result: pier_pool_free_results() frees it. */
struct pier_pool_item {
    const void *input;
    size_t len;
    void *result; /* NULL: there is none */
    size_t result_len;
};

struct pier_pool_opts {
    int workers;  /* 0: one a processor, pier_cpu_count(); at most 4096 */
    bool threads; /* threads of this program in place of processes: a crash is everybody's */
    size_t max_item_size; /* bytes of an input, and of a result; 0: 64 MiB */
};

/* What to do: inputs in one of two forms, then options, whose defaults are 0. */
struct pier_pool_job {
    size_t count; /* of inputs */

    /* Inputs and outputs of fixed sizes, in arrays; */
    pier_pool_fn fn;
    const void *inputs;
    size_t input_size;
    void *outputs; /* NULL: there are none. A failed input's place holds nothing of use */
    size_t output_size;

    /* or of any size, if this is not NULL. */
    pier_pool_bytes_fn bytes_fn;
    struct pier_pool_item *items;

    /* Options. */
    bool keep_going; /* after a failure; else the first one stops the rest */
    int *codes;      /* NULL, or count of them: 0, a failure's code, -ECANCELED if it was not run */
    int timeout_ms;  /* for one input, after which its worker is killed; noticed at most a quarter
                        later; 0: none. Not with threads: nobody can end those */
    size_t chunk;    /* inputs that go to a worker at once; 0: as many as balance best */
    void (*progress)(size_t done, size_t count, void *arg); /* called now and then by the caller's
                                                               task, and at the end */
    void *arg;                                              /* of progress */

    /* What came of it. */
    size_t done;         /* inputs that have a result */
    size_t failed;       /* inputs that have failed */
    size_t first_failed; /* the lowest index of those; count if there is none */
};

/* Starts the workers and waits until they are there. NULL with the cause: -EBUSY where a fork is
 * not possible (other threads run in this process, or a loop on io_uring), -EAGAIN (no more
 * processes), -ENOMEM, -EMFILE, or the cancellation's code. opts NULL: the defaults. In a
 * simulation there are no workers: the caller does their work, one input after another. */
PIER_API struct pier_pool *pier_pool_open(const struct pier_pool_opts *opts);

/* Ends the workers and waits for their end, which comes at once: nobody may be mapping. What they
 * have printed is written. NULL is fine. */
PIER_API void pier_pool_close(struct pier_pool *pool);

/* outputs[i] = fn(inputs[i]) for count elements of two arrays, whatever their types: see
 * pier_pool_run(). */
#define pier_pool_map(pool, function, input_array, output_array, how_many)            \
    pier_pool_run(pool, &(struct pier_pool_job){ .count = (how_many),                 \
                                                 .fn = (function),                    \
                                                 .inputs = (input_array),             \
                                                 .input_size = sizeof *(input_array), \
                                                 .outputs = (output_array),           \
                                                 .output_size = sizeof *(output_array) })

/* Runs the function over all inputs and waits for the results, which are in their inputs' order.
 * From any thread or task, and there it parks only the task; a second map of the same pool waits
 * for the first. Returns 0, or the code of the failed input with the lowest index: what the
 * function returned, PIER_EWORKER if its worker crashed or exited, -ETIMEDOUT if it took too long.
 * -EMSGSIZE when an input is larger than max_item_size (nothing has run then), or a result;
 * -EINVAL; -EDEADLK in a worker of the same pool or in its progress(); -ENOMEM; the cancellation's
 * code. However it returns, no worker is still at it: processes that are have been killed, while a
 * thread is waited for until it has done its input. */
PIER_API int pier_pool_run(struct pier_pool *pool, struct pier_pool_job *job);

/* The same with a pool of its own: opened, used once and closed. Here workers have all that the
 * caller has, so that pointers in inputs are good for reading. */
PIER_API int pier_pool_run_once(const struct pier_pool_opts *opts, struct pier_pool_job *job);

/* Frees the results of items, and forgets them. */
PIER_API void pier_pool_free_results(struct pier_pool_item *items, size_t count);

#ifdef __cplusplus
}
#endif
#endif
