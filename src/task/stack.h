/* SPDX-License-Identifier: MIT */
/*
 * task/stack.h - a loop's stacks: slabs of address space, committed page by page as they are
 * touched, always guarded below.
 *
 * The task's record lies at the top of its stack, so that a task with a small frame costs one page
 * of memory.
 */
#ifndef PI_TASK_STACK_H
#define PI_TASK_STACK_H

#include <pier/base.h>

#include <stdbool.h>
#include <stddef.h>

struct pi_task;

/* Spacing of stacks. Address space is free; what grows with it is page tables (50 MiB for 100,000
 * tasks), and a library called in a task (printf, qsort, a TLS handshake, SQL) must never come near
 * the end. A frame larger than the guard could jump over it: pier.pc asks for
 * -fstack-clash-protection, which touches every page on the way. */
enum { PI_STACK_SIZE = 256 * 1024, PI_STACK_GUARD = 64 * 1024 };

struct pi_stack_free {
    struct pi_stack_free *next;
};

struct pi_stack_slab {
    struct pi_stack_slab *next;
    char *base;
    size_t count, fresh; /* stacks in it; how many of them have ever been used */
};

struct pi_stacks {
    struct pi_stack_free *free;    /* most recently used first: its top page is warm */
    struct pi_stack_free *shallow; /* the same, and no more than its top is in memory */
    size_t shallow_count;
    char **cold; /* tops of those of which nothing is in memory */
    size_t cold_count, cold_cap;
    struct pi_stack_slab *slabs;
    size_t total;
};

/* The top of a stack (exclusive, aligned to 64), or NULL: the task's failure says why. The stack is
 * [top - PI_STACK_SIZE + PI_STACK_GUARD - colour, top). */
char *pi_stack_fresh(struct pi_stacks *all);
/* The same, of those that have been trimmed, if there is one. */
char *pi_stack_trimmed(struct pi_stacks *all);
static inline char *pi_stack_get(struct pi_stacks *all)
{
    struct pi_stack_free *warm = all->free;
    if (!warm)
        return pi_stack_trimmed(all);
    all->free = warm->next;
    return (char *)(warm + 1);
}
/* The lowest usable byte of the stack whose top that is. */
char *pi_stack_bottom(char *top);
/* Gives it back; its memory stays valid until the next get. */
static inline void pi_stack_put(struct pi_stacks *all, char *top)
{
    struct pi_stack_free *warm = (struct pi_stack_free *)(void *)top - 1;
    warm->next = all->free;
    all->free = warm;
}
/* Gives the memory of free stacks back to the system, but for the tops of a few; of at most count
 * of them. Whether there are more. */
bool pi_stack_trim(struct pi_stacks *all, int count);
/* How much of the stack whose top that is has ever been in memory since it was last trimmed, bytes
 * in whole pages; 0: not known. */
size_t pi_stack_depth(char *top);
/* After something deep, before a long wait: gives back what the running task's stack has below its
 * caller's frame. Nothing on a thread's own stack. */
void pi_stack_shed(void);
void pi_stack_fini(struct pi_stacks *all);

/* Which guards stacks get here: "guard regions" or "mprotect". */
const char *pi_stack_guard_kind(void);

#endif
