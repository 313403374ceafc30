/* SPDX-License-Identifier: MIT */
/*
 * thread_safety.c - a producer and three consumers: a channel hands the work over, an event starts
 * it, a semaphore says how many may work at once.
 */
#include <pier/pier.h>

#include <pthread.h>

enum { ITEMS = 10, CONSUMERS = 3, AT_ONCE = 2 };

static struct pier_chan items;
static struct pier_event ready;
static struct pier_sem permits;

static void *produce(void *arg)
{
    pier_event_wait(&ready);
    for (int item = 1; item <= ITEMS; item++)
        pier_chan_send(&items, &item);
    pier_chan_close(&items);
    return NULL;
}

static void *consume(void *name)
{
    int item;
    while (pier_chan_recv(&items, &item) > 0) {
        pier_sem_wait(&permits);
        printf("%s: %d\n", (char *)name, item);
        pier_sem_post(&permits);
    }
    return NULL;
}

int main(void)
{
    static char *const names[CONSUMERS] = { "consumer-1", "consumer-2", "consumer-3" };
    pthread_t producer, consumers[CONSUMERS];
    if (pier_chan_init(&items, sizeof(int), 4, 0) < 0)
        return pier_fail("thread_safety");
    pier_sem_init(&permits, AT_ONCE, 0);
    pthread_create(&producer, NULL, produce, NULL);
    for (int i = 0; i < CONSUMERS; i++)
        pthread_create(&consumers[i], NULL, consume, names[i]);
    pier_event_set(&ready);
    pthread_join(producer, NULL);
    for (int i = 0; i < CONSUMERS; i++)
        pthread_join(consumers[i], NULL);
    pier_chan_fini(&items);
    return 0;
}
