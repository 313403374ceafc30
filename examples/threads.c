/* SPDX-License-Identifier: MIT */
/*
 * threads.c - five workers with names, each as long as it says; all are waited for.
 *
 * threads [FACTOR]: of a second; 1 by default.
 */
#define _GNU_SOURCE /* pthread_setname_np() */
#include <pier/pier.h>

#include <pthread.h>
#include <stdlib.h>

enum { WORKERS = 5 };

struct worker {
    pthread_t thread;
    char name[32];
    double seconds;
};

static void *work(void *arg)
{
    struct worker *w = arg;
    printf("%s: %g s\n", w->name, w->seconds);
    pier_sleep((int64_t)(w->seconds * PIER_SECOND));
    printf("%s: done\n", w->name);
    return NULL;
}

int main(int argc, char **argv)
{
    struct worker workers[WORKERS];
    double factor = argc > 1 ? atof(argv[1]) : 1;
    setlinebuf(stdout);
    for (int i = 0; i < WORKERS; i++) {
        struct worker *w = &workers[i];
        w->seconds = i * factor;
        snprintf(w->name, sizeof w->name, "worker-%d", i);
        pthread_create(&w->thread, NULL, work, w);
        pthread_setname_np(w->thread, w->name);
    }
    for (int i = 0; i < WORKERS; i++)
        pthread_join(workers[i].thread, NULL);
    puts("all done");
    return 0;
}
