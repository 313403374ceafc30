/* SPDX-License-Identifier: MIT */
/*
 * A crowd of tasks that all wait: what 100,000 of them cost in time and memory.
 *
 * Usage: crowd [COUNT]. Prints one JSON line: nanoseconds to spawn all and see each wait, to wake
 * and join all, and what the process has then in memory and page tables (proc(5)).
 */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <pier/pier.h>

static struct pier_event gate;
static long waiting;

static int wait_at_gate(void *arg)
{
    waiting++;
    return pier_event_wait(&gate);
}

static long status_kib(const char *key)
{
    char line[256];
    long kib = 0;
    FILE *f = fopen("/proc/self/status", "re");
    while (f && fgets(line, sizeof line, f))
        if (strncmp(line, key, strlen(key)) == 0)
            kib = strtol(line + strlen(key), NULL, 10);
    if (f)
        fclose(f);
    return kib;
}

int main(int argc, char **argv)
{
    long count = argc > 1 ? strtol(argv[1], NULL, 10) : 100000;
    long rss = status_kib("VmRSS:"), tables = status_kib("VmPTE:");
    struct pier_scope s;
    pier_event_init(&gate, PIER_LOCAL);
    int64_t start = pier_now();
    pier_scope_open(&s, 0);
    for (long i = 0; i < count; i++)
        if (pier_spawn(&s, wait_at_gate, NULL) < 0)
            break;
    while (waiting < count && pier_yield() == 0)
        ;
    int64_t spawned = pier_now();
    rss = status_kib("VmRSS:") - rss;
    tables = status_kib("VmPTE:") - tables;
    int64_t go = pier_now();
    pier_event_set(&gate);
    if (pier_scope_join(&s) < 0)
        return pier_fail("crowd");
    printf("{\"count\":%ld,\"spawn_ns\":%" PRId64 ",\"join_ns\":%" PRId64
           ",\"rss_kib\":%ld,\"tables_kib\":%ld}\n",
           count, spawned - start, pier_now() - go, rss, tables);
    return 0;
}
