/* SPDX-License-Identifier: MIT */
/*
 * base/sys.c - memory, clocks and randomness of the real system; see sys.h.
 */
#define _GNU_SOURCE
#include "base/sys.h"

#include "base/assert.h"

#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <time.h>

static int64_t read_clock(clockid_t id)
{
    struct timespec ts;
    clock_gettime(id, &ts);
    return (int64_t)ts.tv_sec * PIER_SECOND + ts.tv_nsec;
}

PI_HOT static int64_t real_clock_ns(void)
{
    return read_clock(CLOCK_MONOTONIC);
}

PI_HOT static int64_t real_coarse_ns(void)
{
    return read_clock(CLOCK_MONOTONIC_COARSE);
}

static int64_t real_unix_ns(void)
{
    return read_clock(CLOCK_REALTIME);
}

/* getrandom(2) gives up to 256 bytes whole; it waits only before the pool is seeded at boot. */
static void real_random(void *out, size_t len)
{
    unsigned char *next = out;
    while (len > 0) {
        size_t want = len < 256 ? len : 256;
        ssize_t got = getrandom(next, want, 0);
        PIER_ASSERT(got > 0 || errno == EINTR);
        if (got > 0) {
            next += got;
            len -= (size_t)got;
        }
    }
}

static const struct pi_sys real = {
    .clock_ns = real_clock_ns,
    .coarse_ns = real_coarse_ns,
    .unix_ns = real_unix_ns,
    .random = real_random,
};

PI_THREAD_LOCAL const struct pi_sys *pi_sys = &real;

/* Fault injection: requests made, and the one that begins to fail (0: none). */
static PI_THREAD_LOCAL long requests, fail_at, blocks;

static bool must_fail(void)
{
    requests++;
    if (__builtin_expect(fail_at != 0, 0) && requests >= fail_at)
        return true;
    return __builtin_expect(pi_sys->refuses_memory != NULL, 0) && pi_sys->refuses_memory();
}

static void *counted(void *ptr)
{
    blocks += ptr != NULL;
    return ptr;
}

long pi_alloc_count(void)
{
    return blocks;
}

long pi_alloc_fail(long countdown)
{
    long made = requests;
    requests = 0;
    fail_at = countdown;
    return made;
}

void *pi_alloc(size_t size)
{
    return must_fail() ? NULL : counted(malloc(size));
}

void *pi_zalloc(size_t size)
{
    return must_fail() ? NULL : counted(calloc(1, size));
}

void *pi_realloc(void *ptr, size_t size)
{
    if (must_fail())
        return NULL;
    void *moved = realloc(ptr, size);
    return ptr ? moved : counted(moved);
}

char *pi_strdup(const char *text)
{
    size_t size = strlen(text) + 1;
    char *copy = pi_alloc(size);
    if (copy)
        memcpy(copy, text, size);
    return copy;
}

void pi_free(void *ptr)
{
    blocks -= ptr != NULL;
    free(ptr);
}

void *pi_release(void *ptr)
{
    blocks -= ptr != NULL;
    return ptr;
}
