/* SPDX-License-Identifier: MIT */
/*
 * base/arena.c - the slow half of arena.h: blocks from the heap.
 *
 * Invariant: at and end are in the caller's first block or in the newest block of the chain that is
 * not a large piece's own.
 */
#include "base/arena.h"

#include <string.h>

enum { FIRST_SIZE = 4096, LARGEST_SIZE = 64 * 1024 };

struct pi_arena_block {
    struct pi_arena_block *next;
    size_t size;
};

_Static_assert(sizeof(struct pi_arena_block) % PI_ARENA_ALIGN == 0, "pieces behind it are aligned");

void pi_arena_init(struct pi_arena *a, void *first, size_t size)
{
    *a = (struct pi_arena){ .at = first, .first = first, .next_size = FIRST_SIZE };
    a->end = a->first_end = a->at + size;
}

static char *add_block(struct pi_arena *a, size_t size)
{
    if (size > PTRDIFF_MAX - sizeof(struct pi_arena_block))
        return NULL;
    struct pi_arena_block *block = pi_alloc(sizeof *block + size);
    if (!block)
        return NULL;
    *block = (struct pi_arena_block){ a->blocks, size };
    a->blocks = block;
    return (char *)(block + 1);
}

void *pi_arena_more(struct pi_arena *a, size_t size)
{
    if (size > a->next_size / 2)
        return add_block(a, size);
    char *room = add_block(a, a->next_size);
    if (!room)
        return NULL;
    a->at = room;
    a->end = room + a->next_size;
    if (a->next_size < LARGEST_SIZE)
        a->next_size *= 2;
    return pi_arena_alloc(a, size);
}

char *pi_arena_copy(struct pi_arena *a, const char *text, size_t len)
{
    char *copy = len < SIZE_MAX ? pi_arena_alloc(a, len + 1) : NULL;
    if (!copy)
        return NULL;
    if (len > 0)
        memcpy(copy, text, len);
    copy[len] = '\0';
    return copy;
}

void pi_arena_reset(struct pi_arena *a)
{
    while (a->blocks) {
        struct pi_arena_block *block = a->blocks;
        a->blocks = block->next;
        pi_free(block);
    }
    a->at = a->first;
    a->end = a->first_end;
    a->next_size = FIRST_SIZE;
}
