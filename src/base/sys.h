/* SPDX-License-Identifier: MIT */
/*
 * base/sys.h - the only place that asks the system for memory, time and randomness.
 *
 * Time and randomness go through a table of the thread, so that a simulation can replace them;
 * memory goes through four functions, so that tests can make each request fail in turn. Every NULL
 * here means -ENOMEM.
 */
#ifndef PI_BASE_SYS_H
#define PI_BASE_SYS_H

#include <pier/base.h>

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Unlike locals of a task, which never changes its thread, these are looked up on every use. */
#define PI_THREAD_LOCAL _Thread_local __attribute__((tls_model("initial-exec")))

/* On the way of the bytes. The compiler lays these functions side by side, on a page or two: with a
 * process per connection each message finds the processor's table of pages empty, and that is
 * 2.4 % of an echo. */
#define PI_HOT __attribute__((hot))

struct pi_sys {
    int64_t (*clock_ns)(void);  /* monotonic */
    int64_t (*coarse_ns)(void); /* the same, some milliseconds late, at a quarter of the price */
    int64_t (*unix_ns)(void);   /* since 1970 */
    void (*random)(void *out, size_t len);
    bool (*refuses_memory)(void); /* asked before every request; NULL: never */
    void (*log)(int level, const char *msg, const struct pier_log_field *fields,
                size_t count); /* instead of the process's sink; NULL: that */
};

extern PI_THREAD_LOCAL const struct pi_sys *pi_sys;

static inline int64_t pi_clock_ns(void)
{
    return pi_sys->clock_ns();
}

static inline int64_t pi_clock_coarse_ns(void)
{
    return pi_sys->coarse_ns();
}

static inline int64_t pi_unix_ns(void)
{
    return pi_sys->unix_ns();
}

static inline void pi_random(void *out, size_t len)
{
    pi_sys->random(out, len);
}

void *pi_alloc(size_t size) PIER_MUST_USE;
void *pi_zalloc(size_t size) PIER_MUST_USE;
void *pi_realloc(void *ptr, size_t size) PIER_MUST_USE;
char *pi_strdup(const char *text) PIER_MUST_USE;
void pi_free(void *ptr);

/* The block is a user's from now on, who frees it with free(3). Returns it. */
void *pi_release(void *ptr);

/* For tests: the countdown-th request from now on this thread, and all after it, fail; 0 ends that.
 * Returns how many requests were made since the last call. */
long pi_alloc_fail(long countdown);

/* Blocks that this thread has been given, less those it has freed. */
long pi_alloc_count(void);

#endif
