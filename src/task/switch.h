/* SPDX-License-Identifier: MIT */
/*
 * task/switch.h - moving the processor from one stack to another, and telling the sanitizers.
 *
 * pi_switch() saves what the ABI says a call preserves, less the floating-point control words:
 * those belong to the thread.
 */
#ifndef PI_TASK_SWITCH_H
#define PI_TASK_SWITCH_H

#include <stdbool.h>
#include <stddef.h>

#if defined(__SANITIZE_ADDRESS__)
#define PI_ASAN 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
#define PI_ASAN 1
#endif
#endif
#if defined(__SANITIZE_THREAD__)
#define PI_TSAN 1
#elif defined(__has_feature)
#if __has_feature(thread_sanitizer)
#define PI_TSAN 1
#endif
#endif

struct pi_context {
    void *sp;          /* where a context that is not running left off */
    char *bottom;      /* lowest usable byte of its stack */
    size_t size;       /* usable bytes */
    void *sanitizer;   /* ASan's fake stack or TSan's fibre */
    unsigned valgrind; /* Valgrind's number of the stack */
};

/* Describes the stack the caller runs on, a thread's own. */
void pi_context_init_thread(struct pi_context *c);

/* Prepares c so that the first switch to it calls entry(arg) on the stack [bottom, top); entry
 * never returns. */
void pi_context_init(struct pi_context *c, char *bottom, char *top, void (*entry)(void *),
                     void *arg);

/* A context that ends for good; it may be the running one if pi_switch_last() follows. */
void pi_context_fini(struct pi_context *c);

/* Leaves from and goes on in to; returns when something switches back. */
void pi_switch(struct pi_context *from, struct pi_context *to);

/* Leaves from for ever. */
_Noreturn void pi_switch_last(struct pi_context *from, struct pi_context *to);

/* The first thing that entry() does. */
void pi_switch_entered(struct pi_context *self);

#endif
