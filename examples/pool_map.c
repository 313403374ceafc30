/* SPDX-License-Identifier: MIT */
/*
 * pool_map.c - the sum of the squares below ten million, eight times, by four processes.
 *
 * The pool is opened first, since its workers are copies of the program as it is then. The results
 * are larger than any integer of the language has to be: they are bytes like the inputs.
 */
#include <pier/pier.h>

enum { JOBS = 8 };

__extension__ typedef unsigned __int128 wide;

static int sum_squares(const void *input, void *output)
{
    uint64_t below = *(const uint64_t *)input;
    wide sum = 0;
    for (uint64_t i = 0; i < below; i++)
        sum += (wide)i * i;
    *(wide *)output = sum;
    return 0;
}

int main(void)
{
    uint64_t below[JOBS];
    wide sums[JOBS];
    for (int i = 0; i < JOBS; i++)
        below[i] = 10000000;

    struct pier_pool *pool = pier_pool_open(&(struct pier_pool_opts){ .workers = 4 });
    int rc = pier_pool_map(pool, sum_squares, below, sums, JOBS);
    pier_pool_close(pool);
    if (rc < 0)
        return pier_fail("pool_map");

    const uint64_t parts = 1000000000000000000; /* printf has no format for 128 bits */
    for (int i = 0; i < JOBS; i++)
        printf("%llu%018llu\n", (unsigned long long)(sums[i] / parts),
               (unsigned long long)(sums[i] % parts));
    return 0;
}
