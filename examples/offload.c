/* SPDX-License-Identifier: MIT */
/*
 * offload.c - long computations on threads, while the tasks of this one go on.
 *
 * A task that computes keeps its loop from all others. pier_offload() runs the work elsewhere and
 * only the task that asked for it waits: the dots keep coming.
 */
#include <pier/pier.h>

enum { JOBS = 4 };

struct job {
    int below, primes;
};

/* On a thread of its own: plain C, nothing of the caller's tasks. */
static int count_primes(void *arg)
{
    struct job *job = arg;
    for (int n = 2; n < job->below; n++) {
        int divisor = 2;
        while (divisor * divisor <= n && n % divisor != 0)
            divisor++;
        job->primes += divisor * divisor > n;
    }
    return 0;
}

static int compute(void *arg)
{
    return pier_offload(count_primes, arg);
}

static int tick(void *arg)
{
    while (pier_sleep(100 * PIER_MILLISECOND) == 0)
        fputc('.', stderr);
    return 0;
}

int main(void)
{
    struct job jobs[JOBS];
    PIER_SCOPE(ticking, 0); /* cancelled on the way out */
    pier_spawn(&ticking, tick, NULL);

    struct pier_scope work;
    pier_scope_open(&work, pier_after(PIER_MINUTE));
    for (int i = 0; i < JOBS; i++) {
        jobs[i] = (struct job){ .below = (i + 1) * 1000000 };
        pier_spawn(&work, compute, &jobs[i]);
    }
    if (pier_scope_join(&work) < 0)
        return pier_fail("offload");

    for (int i = 0; i < JOBS; i++)
        printf("\n%d primes below %d", jobs[i].primes, jobs[i].below);
    putchar('\n');
    return 0;
}
