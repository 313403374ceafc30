/* SPDX-License-Identifier: MIT */
/*
 * task/stack.c - slabs, guards and the free list of stack.h.
 *
 * MADV_GUARD_INSTALL (Linux 6.13) makes a guard without splitting the mapping: 0.74 us a stack and
 * 25 mappings for 100,000 stacks, where mprotect costs 2.3 us and two mappings each and ends at
 * vm.max_map_count. It is tried first; PIER_STACK_GUARD=mprotect forces the other. A stack without
 * a guard is never handed out.
 */
#define _GNU_SOURCE
#include "task/stack.h"

#include "base/assert.h"
#include "base/err.h"
#include "task/task.h"

#include <stdatomic.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#ifndef MADV_GUARD_INSTALL
#define MADV_GUARD_INSTALL 102
#endif

enum {
    SLAB_FIRST = 4,  /* a program's handful of tasks: 1 MiB of address space */
    SLAB_MAX = 1024, /* 256 MiB of address space */
    PAGE = 4096,
    TOP_KEPT = 4 * PAGE, /* of a free stack: what most tasks use again at once */
    SHALLOW_MOST = 64,   /* free stacks that keep it: 1 MiB, for tasks that come and go */
    COLD_FIRST = 256,
};

enum guard_kind { GUARD_UNKNOWN, GUARD_REGION, GUARD_MPROTECT };
static _Atomic int guard_kind;

static int wanted_guard(void)
{
    const char *forced = getenv("PIER_STACK_GUARD");
    return forced && strcmp(forced, "mprotect") == 0 ? GUARD_MPROTECT : GUARD_REGION;
}

static int install_guard(char *at)
{
    if (guard_kind == GUARD_UNKNOWN)
        guard_kind = wanted_guard();
    if (guard_kind == GUARD_REGION) {
        if (madvise(at, PI_STACK_GUARD, MADV_GUARD_INSTALL) == 0)
            return 0;
        if (errno != EINVAL)
            return -errno;
        guard_kind = GUARD_MPROTECT; /* an older kernel */
    }
    return mprotect(at, PI_STACK_GUARD, PROT_NONE) == 0 ? 0 : -errno;
}

const char *pi_stack_guard_kind(void)
{
    if (guard_kind == GUARD_UNKNOWN) {
        char *page = mmap(NULL, PI_STACK_GUARD, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS,
                          -1, 0);
        if (page != MAP_FAILED) {
            int rc = install_guard(page);
            munmap(page, PI_STACK_GUARD);
            if (rc < 0)
                return "none";
        }
    }
    return guard_kind == GUARD_MPROTECT ? "mprotect" : "guard regions";
}

static struct pi_stack_slab *add_slab(struct pi_stacks *all)
{
    size_t count = all->total < SLAB_FIRST ? SLAB_FIRST
                   : all->total < SLAB_MAX ? all->total
                                           : SLAB_MAX;
    struct pi_stack_slab *slab = pi_alloc(sizeof *slab);
    if (!slab) {
        pi_fail(-ENOMEM, "task stack");
        return NULL;
    }
    char *base = mmap(NULL, count * PI_STACK_SIZE, PROT_READ | PROT_WRITE,
                      MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | MAP_STACK, -1, 0);
    if (base == MAP_FAILED) {
        int code = -errno;
        pi_free(slab);
        pi_fail(code, "task stack: map %zu KiB", count * PI_STACK_SIZE / 1024);
        return NULL;
    }
    madvise(base, count * PI_STACK_SIZE,
            MADV_NOHUGEPAGE); /* advice: without it memory is larger, not wrong */
    *slab = (struct pi_stack_slab){ all->slabs, base, count, 0 };
    all->slabs = slab;
    all->total += count;
    return slab;
}

/* Tops at one offset of the page would all meet in the same few sets of the first-level cache. */
static size_t colour(size_t index)
{
    return (index % 8) * 128;
}

char *pi_stack_fresh(struct pi_stacks *all)
{
    struct pi_stack_slab *slab = all->slabs;
    if (!slab || slab->fresh == slab->count)
        slab = add_slab(all);
    if (!slab)
        return NULL;
    char *base = slab->base + slab->fresh * PI_STACK_SIZE;
    int rc = install_guard(base);
    if (rc < 0) {
        pi_fail(rc, "task stack: guard page (%s, %zu stacks; see vm.max_map_count)",
                pi_stack_guard_kind(), all->total);
        return NULL;
    }
    return base + PI_STACK_SIZE - colour(slab->fresh++);
}

char *pi_stack_bottom(char *top)
{
    uintptr_t last = (uintptr_t)top - 1;
    uintptr_t page_end = (last | 4095) + 1; /* a slab is page-aligned, a colour below a page */
    return (char *)page_end - PI_STACK_SIZE + PI_STACK_GUARD;
}

static char *page_after(const char *top)
{
    return (char *)(((uintptr_t)top - 1) | (PAGE - 1)) + 1;
}

/* Room to remember one more of which nothing is in memory, not even a link. */
static bool has_room_for_cold(struct pi_stacks *all)
{
    if (all->cold_count < all->cold_cap)
        return true;
    size_t cap = all->cold_cap ? 2 * all->cold_cap : COLD_FIRST;
    char **more = pi_realloc(all->cold, cap * sizeof *more);
    if (!more)
        return false;
    all->cold = more;
    all->cold_cap = cap;
    return true;
}

/* What cannot be given back makes memory larger, not wrong. */
static void give_back(char *top, size_t kept)
{
    char *bottom = pi_stack_bottom(top);
    madvise(bottom, (size_t)(page_after(top) - kept - bottom), MADV_DONTNEED);
}

bool pi_stack_trim(struct pi_stacks *all, int count)
{
    while (all->free && count-- > 0) {
        struct pi_stack_free *stack = all->free;
        char *top = (char *)(stack + 1);
        all->free = stack->next;
        if (all->shallow_count >= SHALLOW_MOST && has_room_for_cold(all)) {
            give_back(top, 0);
            all->cold[all->cold_count++] = top;
            continue;
        }
        give_back(top, TOP_KEPT);
        stack->next = all->shallow;
        all->shallow = stack;
        all->shallow_count++;
    }
    return all->free != NULL;
}

char *pi_stack_trimmed(struct pi_stacks *all)
{
    struct pi_stack_free *stack = all->shallow;
    if (stack) {
        all->shallow = stack->next;
        all->shallow_count--;
        return (char *)(stack + 1);
    }
    return all->cold_count > 0 ? all->cold[--all->cold_count] : pi_stack_fresh(all);
}

/* Not inlined: what lies below its frame is nobody's. */
__attribute__((noinline)) void pi_stack_shed(void)
{
    enum { OWN = 1024 }; /* its frame, and that of madvise(2)'s wrapper */
    struct pi_task *self = pi_task_self();
    if (!self->home)
        return;
    uintptr_t end = ((uintptr_t)__builtin_frame_address(0) - OWN) & ~(uintptr_t)(PAGE - 1);
    char *bottom = pi_stack_bottom((char *)(self + 1));
    PIER_ASSERT(end >= (uintptr_t)bottom);
    madvise(bottom, end - (uintptr_t)bottom, MADV_DONTNEED); /* else memory is larger, not wrong */
}

size_t pi_stack_depth(char *top)
{
    enum { PAGES = (PI_STACK_SIZE - PI_STACK_GUARD) / PAGE };
    unsigned char resident[PAGES];
    char *bottom = pi_stack_bottom(top);
    if (mincore(bottom, PAGES * PAGE, resident) < 0)
        return 0;
    size_t first = 0;
    while (first < PAGES && !(resident[first] & 1))
        first++;
    return (PAGES - first) * PAGE;
}

void pi_stack_fini(struct pi_stacks *all)
{
    while (all->slabs) {
        struct pi_stack_slab *slab = all->slabs;
        all->slabs = slab->next;
        munmap(slab->base, slab->count * PI_STACK_SIZE);
        pi_free(slab);
    }
    pi_free(all->cold);
    *all = (struct pi_stacks){ 0 };
}
