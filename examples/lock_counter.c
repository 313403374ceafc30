/* SPDX-License-Identifier: MIT */
/*
 * lock_counter.c - ten threads count to a million together, under a lock.
 *
 * lock_counter --unlocked: without the lock, and so with losses.
 */
#include <pier/pier.h>

#include <pthread.h>
#include <sched.h>
#include <string.h>

enum { THREADS = 10, INCREMENTS = 100000 };

static volatile long counter; /* volatile: each increment reads and writes memory */
static struct pier_mutex mutex;
static struct pier_event go;
static bool unlocked;

static void *count(void *arg)
{
    pier_event_wait(&go); /* all at once, or the first were done before the last begins */
    for (int i = 0; i < INCREMENTS; i++) {
        if (!unlocked)
            pier_mutex_lock(&mutex);
        long seen = counter;
        if (i % 1000 == 0)
            sched_yield(); /* somebody else counts meanwhile, if he can */
        counter = seen + 1;
        if (!unlocked)
            pier_mutex_unlock(&mutex);
    }
    return NULL;
}

int main(int argc, char **argv)
{
    pthread_t threads[THREADS];
    unlocked = argc > 1 && strcmp(argv[1], "--unlocked") == 0;
    for (int i = 0; i < THREADS; i++)
        pthread_create(&threads[i], NULL, count, NULL);
    pier_event_set(&go);
    for (int i = 0; i < THREADS; i++)
        pthread_join(threads[i], NULL);
    printf("%ld\n", counter);
    return 0;
}
