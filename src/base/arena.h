/* SPDX-License-Identifier: MIT */
/* arena.h - memory that is given back all at once, with a budget.
 *
 * What is decoded from a frame lives in one arena and dies with it. The budget bounds what a
 * small frame can ask for (an empty repeated submessage costs 2 bytes to send and over 100 to
 * hold). Not thread safe: one owner at a time, which may change between threads. */
#ifndef JACKDAW_BASE_ARENA_H
#define JACKDAW_BASE_ARENA_H

#include <stddef.h>

struct arena_block;

struct arena {
    struct arena_block *blocks; /* newest first */
    size_t budget_bytes;        /* the most that all allocations together may take */
    size_t used_bytes;
    size_t first_block_bytes; /* what is likely needed in all; 0: a default */
};

/* Prepares the caller's arena; allocates nothing yet. */
void arena_init(struct arena *arena, size_t budget_bytes);

/* Gives back everything; the arena is as after arena_init. */
void arena_clear(struct arena *arena);

/* Bytes that the arena has from the heap: at most about twice what was asked of it, and 1 KiB (or
 * first_block_bytes) where little was. */
size_t arena_held_bytes(const struct arena *arena);

/* size bytes aligned for any type, valid until arena_clear; NULL when the budget or the machine's
 * memory is used up. size 0 gives a valid pointer. */
void *arena_alloc(struct arena *arena, size_t size);

/* As arena_alloc, filled with zeros. */
void *arena_zalloc(struct arena *arena, size_t size);

/* A copy of size bytes, and one of a string with its NUL. NULL as arena_alloc. */
void *arena_copy(struct arena *arena, const void *bytes, size_t size);
char *arena_strdup(struct arena *arena, const char *text);

#endif
