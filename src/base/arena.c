/* SPDX-License-Identifier: MIT */
#include "base/arena.h"

#include "base/error.h"

#include <stdalign.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#define FIRST_BLOCK_BYTES 960u /* with its header still in glibc's cache per thread */
#define LARGEST_BLOCK_BYTES 65536u

struct arena_block {
    struct arena_block *next;
    size_t size;
    size_t used;
    alignas(max_align_t) unsigned char bytes[];
};

void arena_init(struct arena *arena, size_t budget_bytes)
{
    *arena = (struct arena){.budget_bytes = budget_bytes};
}

void arena_clear(struct arena *arena)
{
    struct arena_block *block = arena->blocks;
    while (block != NULL) {
        struct arena_block *next = block->next;
        free(block);
        block = next;
    }
    arena->blocks = NULL;
    arena->used_bytes = 0;
}

size_t arena_held_bytes(const struct arena *arena)
{
    size_t held = 0;
    for (const struct arena_block *block = arena->blocks; block != NULL; block = block->next)
        held += sizeof *block + block->size;
    return held;
}

static struct arena_block *add_block(struct arena *arena, size_t need)
{
    size_t size = FIRST_BLOCK_BYTES;
    if (arena->blocks != NULL && arena->blocks->size * 2 > size)
        size = arena->blocks->size * 2;
    else if (arena->blocks == NULL && arena->first_block_bytes > 0)
        size = arena->first_block_bytes;
    if (size > LARGEST_BLOCK_BYTES)
        size = LARGEST_BLOCK_BYTES;
    if (size < need)
        size = need;
    if (size > PTRDIFF_MAX - sizeof(struct arena_block))
        return NULL; /* no heap gives that much */
    struct arena_block *block = malloc(sizeof *block + size);
    if (block == NULL)
        return NULL;
    block->size = size;
    block->used = 0;
    block->next = arena->blocks;
    arena->blocks = block;
    return block;
}

void *arena_alloc(struct arena *arena, size_t size)
{
    const size_t align = alignof(max_align_t);
    if (size > SIZE_MAX - align)
        return NULL;
    size_t rounded = (size + align - 1) / align * align;
    if (rounded > arena->budget_bytes - arena->used_bytes)
        return NULL;
    struct arena_block *block = arena->blocks;
    if (block == NULL || block->size - block->used < rounded) {
        block = add_block(arena, rounded);
        if (block == NULL)
            return NULL;
    }
    void *result = block->bytes + block->used;
    block->used += rounded;
    arena->used_bytes += rounded;
    return result;
}

void *arena_zalloc(struct arena *arena, size_t size)
{
    void *result = arena_alloc(arena, size);
    if (result != NULL)
        memset(result, 0, size);
    return result;
}

void *arena_copy(struct arena *arena, const void *bytes, size_t size)
{
    void *result = arena_alloc(arena, size);
    if (result != NULL && size > 0)
        memcpy(result, bytes, size);
    return result;
}

char *arena_strdup(struct arena *arena, const char *text)
{
    ASSERT(text != NULL);
    return arena_copy(arena, text, strlen(text) + 1);
}
