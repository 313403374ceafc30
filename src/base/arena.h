/* SPDX-License-Identifier: MIT */
/*
 * base/arena.h - memory that is taken piece by piece and given back all at once: what lives as long
 * as a request.
 *
 * The first block is the caller's, on a stack perhaps; further ones come from the heap and grow. A
 * large piece is a block of its own, so that it wastes nothing.
 */
#ifndef PI_BASE_ARENA_H
#define PI_BASE_ARENA_H

#include "base/sys.h"

#include <stddef.h>

enum { PI_ARENA_ALIGN = 16 };

struct pi_arena_block;

struct pi_arena {
    char *at, *end;
    char *first, *first_end; /* the caller's */
    struct pi_arena_block *blocks;
    size_t next_size;
};

/* Prepares an arena over first, which is aligned to PI_ARENA_ALIGN and borrowed until the end. */
void pi_arena_init(struct pi_arena *a, void *first, size_t size);

/* A piece in a block of its own or a new one. */
void *pi_arena_more(struct pi_arena *a, size_t size);

/* A piece, aligned for anything and not cleared, or NULL. */
static inline void *pi_arena_alloc(struct pi_arena *a, size_t size)
{
    size_t room = (size_t)(a->end - a->at);
    if (__builtin_expect(size > room, 0))
        return pi_arena_more(a, size);
    void *piece = a->at;
    size_t taken = (size + PI_ARENA_ALIGN - 1) & ~(size_t)(PI_ARENA_ALIGN - 1);
    a->at += taken < room ? taken : room;
    return piece;
}

/* A copy of len bytes with a NUL behind it, or NULL. */
char *pi_arena_copy(struct pi_arena *a, const char *text, size_t len);

/* Gives all back; the arena is empty again. */
void pi_arena_reset(struct pi_arena *a);

#endif
