/* SPDX-License-Identifier: MIT */
/*
 * base/cpu.c - the processors of the affinity mask, cut down to the CPU quota of the cgroups.
 *
 * A container with "1.5 CPUs" on a machine of 64 sees 64 in its mask: a loop for each would be
 * throttled all the time. Every cgroup from the process's own up to the mount's root may have a
 * quota, the smallest rules. Whatever cannot be read or understood grants everything.
 * Specification: cgroup v2 "cpu.max", v1 "cpu.cfs_quota_us" (kernel, admin-guide), proc(5).
 */
#define _GNU_SOURCE
#include "base/cpu.h"

#include <limits.h>
#include <sched.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum {
    LINE_CAP = 1024,
    PATH_CAP = 1024,
    MOST_CPUS = 8192, /* the largest that Linux can be built for */
};

/* Where a cpu controller is mounted, and where in it the process is. */
struct hierarchy {
    bool is_v2;
    char root[PATH_CAP];  /* the cgroup that the mount shows at its top */
    char mount[PATH_CAP]; /* octal escapes of proc(5) are not undone: such a path is not found */
    char group[PATH_CAP];
};

/* Whether word is one of the words of a comma-separated list. */
static bool is_listed(const char *list, const char *word)
{
    size_t len = strlen(word);
    for (const char *at = list; at; at = strchr(at, ',')) {
        at += *at == ',';
        if (strncmp(at, word, len) == 0 && (at[len] == ',' || at[len] == '\0'))
            return true;
    }
    return false;
}

/* ---- quotas ---- */

static bool read_line(char *out, size_t cap, const char *dir, const char *name)
{
    char path[2 * PATH_CAP];
    int len = snprintf(path, sizeof path, "%s/%s", dir, name);
    if (len < 0 || (size_t)len >= sizeof path)
        return false;
    FILE *f = fopen(path, "re");
    if (!f)
        return false;
    bool got = fgets(out, (int)cap, f) != NULL;
    fclose(f);
    return got;
}

static int processors(long long quota, long long period)
{
    if (quota <= 0 || period <= 0)
        return INT_MAX;
    long long count = quota / period + (quota % period != 0);
    return count < INT_MAX ? (int)count : INT_MAX;
}

/* What the cgroup of that directory itself grants. */
static int quota_of(const char *dir, bool is_v2)
{
    char line[LINE_CAP], period[LINE_CAP];
    long long microseconds, every;
    if (is_v2) {
        if (!read_line(line, sizeof line, dir, "cpu.max") ||
            sscanf(line, "%lld %lld", &microseconds, &every) != 2) /* "max 100000": no limit */
            return INT_MAX;
        return processors(microseconds, every);
    }
    if (!read_line(line, sizeof line, dir, "cpu.cfs_quota_us") ||
        !read_line(period, sizeof period, dir, "cpu.cfs_period_us"))
        return INT_MAX;
    return processors(atoll(line), atoll(period)); /* -1: no limit */
}

/* The process's cgroup below the mount; its top where that shows another part of the tree, as in a
 * container that sees the host's paths. */
static const char *below_mount(const struct hierarchy *h)
{
    size_t len = strcmp(h->root, "/") == 0 ? 0 : strlen(h->root);
    if (strncmp(h->group, h->root, len) != 0 || strstr(h->group, "/.."))
        return "";
    const char *rest = h->group + len;
    return *rest == '/' ? rest : "";
}

static int smallest_quota(const struct hierarchy *h)
{
    char dir[2 * PATH_CAP];
    snprintf(dir, sizeof dir, "%s%s", h->mount, below_mount(h));
    size_t top = strlen(h->mount);
    int least = INT_MAX;
    for (;;) {
        int count = quota_of(dir, h->is_v2);
        if (count < least)
            least = count;
        char *slash = strrchr(dir, '/');
        if (!slash || (size_t)(slash - dir) < top)
            return least;
        *slash = '\0';
    }
}

/* ---- where the process is ---- */

/* "0::/group" is version 2, "4:cpu,cpuacct:/group" version 1. */
static bool find_group(struct hierarchy *h, const char *cgroup_file)
{
    char line[LINE_CAP];
    bool found = false;
    FILE *f = fopen(cgroup_file, "re");
    while (f && !found && fgets(line, sizeof line, f)) {
        line[strcspn(line, "\n")] = '\0';
        char *controllers = strchr(line, ':');
        char *group = controllers ? strchr(controllers + 1, ':') : NULL;
        if (!group)
            continue;
        *controllers++ = *group++ = '\0';
        found = h->is_v2 ? strcmp(line, "0") == 0 && *controllers == '\0'
                         : is_listed(controllers, "cpu");
        if (found)
            snprintf(h->group, sizeof h->group, "%s", group);
    }
    if (f)
        fclose(f);
    return found;
}

/* "31 23 0:26 /root /mount options … - cgroup2 source options" (proc(5)). */
static bool parse_mount(struct hierarchy *h, const char *line)
{
    char type[32], options[LINE_CAP];
    const char *rest = strstr(line, " - ");
    if (!rest || sscanf(line, "%*s %*s %*s %1023s %1023s", h->root, h->mount) != 2 ||
        sscanf(rest, " - %31s %*s %1023s", type, options) != 2)
        return false;
    h->is_v2 = strcmp(type, "cgroup2") == 0;
    return h->is_v2 || (strcmp(type, "cgroup") == 0 && is_listed(options, "cpu"));
}

int pi_cpu_quota(const char *cgroup_file, const char *mounts_file)
{
    char line[4 * LINE_CAP];
    struct hierarchy h;
    int least = INT_MAX;
    FILE *f = fopen(mounts_file, "re");
    while (f && fgets(line, sizeof line, f)) {
        if (!parse_mount(&h, line) || !find_group(&h, cgroup_file))
            continue;
        int count = smallest_quota(&h);
        if (count < least)
            least = count;
    }
    if (f)
        fclose(f);
    return least;
}

static int affinity(void)
{
    cpu_set_t sets[MOST_CPUS / CPU_SETSIZE];
    if (sched_getaffinity(0, sizeof sets, sets) == 0)
        return CPU_COUNT_S(sizeof sets, sets);
    long online = sysconf(_SC_NPROCESSORS_ONLN);
    return online > 0 ? (int)online : 1;
}

int pier_cpu_count(void)
{
    int mask = affinity();
    int quota = pi_cpu_quota("/proc/self/cgroup", "/proc/self/mountinfo");
    int least = mask < quota ? mask : quota;
    return least > 0 ? least : 1;
}
