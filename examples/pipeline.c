/* SPDX-License-Identifier: MIT */
/*
 * pipeline.c - one task makes numbers, three square them, main adds them up.
 *
 * The channels are short, so nobody runs far ahead: who sends waits while a channel is full, who
 * receives while it is empty. Closing a channel passes the end on.
 */
#include <pier/pier.h>

static struct pier_chan numbers, squares;

static int make(void *arg)
{
    for (long n = 1; n <= 1000; n++)
        pier_chan_send(&numbers, &n);
    pier_chan_close(&numbers);
    return 0;
}

static int square(void *arg)
{
    long n;
    while (pier_chan_recv(&numbers, &n) > 0) {
        n *= n;
        pier_chan_send(&squares, &n);
    }
    return 0;
}

/* The workers have a scope of their own: when they have ended, so have the squares. */
static int square_all(void *arg)
{
    struct pier_scope workers;
    pier_scope_open(&workers, 0);
    for (int i = 0; i < 3; i++)
        pier_spawn(&workers, square, NULL);
    int rc = pier_scope_join(&workers);
    pier_chan_close(&squares);
    return rc;
}

int main(void)
{
    long n, sum = 0;
    struct pier_scope all;
    pier_chan_init(&numbers, sizeof n, 4, PIER_LOCAL);
    pier_chan_init(&squares, sizeof n, 4, PIER_LOCAL);
    pier_scope_open(&all, 0);
    pier_spawn(&all, make, NULL);
    pier_spawn(&all, square_all, NULL);
    while (pier_chan_recv(&squares, &n) > 0)
        sum += n;
    if (pier_scope_join(&all) < 0)
        return pier_fail("pipeline");
    printf("%ld\n", sum); /* 333833500 */
    pier_chan_fini(&squares);
    pier_chan_fini(&numbers);
    return 0;
}
