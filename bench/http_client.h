/* SPDX-License-Identifier: MIT */
/*
 * http_client.h - what the contestants among HTTP clients share: a server beside them, the bench's
 * http_pier, and a count of this process's CPU time alone.
 *
 * The server is on the same core: waking another one costs ten times a request here, whoever asks.
 */
#ifndef BENCH_HTTP_CLIENT_H
#define BENCH_HTTP_CLIENT_H

#include <pier/pier.h>

#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum { REQUESTS = 10000, WARM_UP = 1000 };

static pid_t server_pid;

static int64_t cpu_ns(void)
{
    struct timespec t;
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
    return t.tv_sec * PIER_SECOND + t.tv_nsec;
}

static void stop_server(void)
{
    kill(server_pid, SIGTERM);
    waitpid(server_pid, NULL, 0);
}

/* Starts build/bench/http_pier and reads where it listens; ends the process on failure. */
static const char *start_server(const char *folder)
{
    static char line[512], path[4096];
    int ends[2];
    snprintf(path, sizeof path, "%s/http_pier", folder);
    if (pipe(ends) < 0 || (server_pid = fork()) < 0)
        exit(1);
    if (server_pid == 0) {
        dup2(ends[1], STDOUT_FILENO);
        dup2(ends[1], STDERR_FILENO);
        execl(path, path, "http://127.0.0.1:0", (char *)NULL);
        _exit(1);
    }
    atexit(stop_server);
    close(ends[1]);
    FILE *said = fdopen(ends[0], "r");
    char *url = NULL;
    while (!url && fgets(line, sizeof line, said))
        url = strstr(line, "http://");
    if (!url)
        exit(1);
    url[strcspn(url, " \n")] = '\0';
    return url;
}

/* get: one request to its end, 0 or not. Prints what bench/run reads. */
static int measure(const char *url, int (*get)(const char *url))
{
    int64_t cpu = 0;
    for (int i = -WARM_UP; i < REQUESTS; i++) {
        if (i == 0)
            cpu = cpu_ns();
        if (get(url) != 0)
            return 1;
    }
    printf("{\"name\": \"http_get\", \"ns\": %.0f}\n", (double)(cpu_ns() - cpu) / REQUESTS);
    return 0;
}

#endif
