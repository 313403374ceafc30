/* SPDX-License-Identifier: MIT */
/*
 * A map of many tiny inputs, and one of a few long ones, by as many processes as there are
 * processors: what bench/pool.py does with multiprocessing.Pool. One JSON line each: `seconds` is
 * the wall time of the best of REPEATS maps, with the pool open; `ideal_seconds` what the same work
 * takes on one processor, divided by their number, measured here and now.
 *
 * Usage: pool [tiny|long] [--threads].
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <pier/pier.h>

enum { REPEATS = 7, TINY = 1000000, LONG_EACH = 24, LONG_WORK = 20000000 };

static int square(const void *input, void *output)
{
    int64_t n = *(const int64_t *)input;
    *(int64_t *)output = n * n;
    return 0;
}

/* A chain of dependent operations: what the memory does makes no difference. */
static int churn(const void *input, void *output)
{
    uint64_t x = *(const uint64_t *)input | 1;
    for (int i = 0; i < LONG_WORK; i++)
        x = x * 6364136223846793005u + 1442695040888963407u;
    *(uint64_t *)output = x;
    return 0;
}

static int64_t inputs[TINY], outputs[TINY];

static double seconds_since(int64_t begin)
{
    return (double)(pier_now() - begin) / 1e9;
}

static double best_map(struct pier_pool *pool, pier_pool_fn fn, size_t count)
{
    double best = 1e9;
    for (int i = 0; i < REPEATS; i++) {
        int64_t begin = pier_now();
        if (pier_pool_map(pool, fn, inputs, outputs, count) < 0)
            exit(pier_fail("pool"));
        double took = seconds_since(begin);
        best = took < best ? took : best;
    }
    return best;
}

static double best_alone(pier_pool_fn fn, size_t count)
{
    double best = 1e9;
    for (int i = 0; i < REPEATS; i++) {
        int64_t begin = pier_now();
        for (size_t at = 0; at < count; at++)
            fn(&inputs[at], &outputs[at]);
        double took = seconds_since(begin);
        best = took < best ? took : best;
    }
    return best;
}

static void measure(struct pier_pool *pool, const char *name, pier_pool_fn fn, size_t count)
{
    double alone = best_alone(fn, count);
    double took = best_map(pool, fn, count);
    int workers = pier_cpu_count();
    printf("{\"name\":\"%s\",\"count\":%zu,\"workers\":%d,\"seconds\":%.6f,\"ns\":%.2f,"
           "\"ideal_seconds\":%.6f}\n",
           name, count, workers, took, took * 1e9 / (double)count, alone / workers);
}

int main(int argc, char **argv)
{
    const char *only = NULL;
    struct pier_pool_opts opts = { 0 };
    for (int i = 1; i < argc; i++) {
        if (strcmp(argv[i], "--threads") == 0)
            opts.threads = true;
        else
            only = argv[i];
    }
    for (int i = 0; i < TINY; i++)
        inputs[i] = i;
    struct pier_pool *pool = pier_pool_open(&opts);
    if (!pool)
        return pier_fail("pool");
    if (!only || strcmp(only, "tiny") == 0)
        measure(pool, "pool_tiny", square, TINY);
    if (!only || strcmp(only, "long") == 0)
        measure(pool, "pool_long", churn, (size_t)LONG_EACH * (size_t)pier_cpu_count());
    pier_pool_close(pool);
    return 0;
}
