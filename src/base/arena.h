/* SPDX-License-Identifier: MIT */
/* arena.h - memory that is freed all at once, with a budget.
 *
 * The messages decoded from a frame share one arena, and arena_clear frees all of them. The budget
 * bounds what a small frame can ask for (an empty repeated submessage costs 2 bytes to send and
 * over 100 to hold). Not thread safe: one owner at a time, which may change between threads. */
#ifndef JACKDAW_BASE_ARENA_H
#define JACKDAW_BASE_ARENA_H

#include <stddef.h>

struct arena_block;

struct arena {
    struct arena_block *blocks; /* newest first */
    size_t budget_bytes;        /* the most that all allocations together may take */
    size_t used_bytes;
    size_t first_block_bytes; /* size of the first block; 0: a default */
};

/* Prepares the caller's arena; allocates nothing yet. */
void arena_init(struct arena *arena, size_t budget_bytes);

/* Frees everything; the arena is as after arena_init. */
void arena_clear(struct arena *arena);

/* Returns the bytes that the arena has from the heap: at most about twice the bytes allocated from
 * it, and at least 1 KiB (or first_block_bytes). */
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
