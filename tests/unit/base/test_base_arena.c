/* SPDX-License-Identifier: MIT */
#include "base/arena.h"
#include "support/test.h"

#include <stdalign.h>
#include <string.h>

TEST(test_arena_alloc__aligned_and_apart)
{
    struct arena arena;
    arena_init(&arena, 1u << 20);
    unsigned char *pieces[600];
    for (size_t i = 0; i < 600; i++) {
        pieces[i] = arena_alloc(&arena, i);
        assert_non_null(pieces[i]);
        assert_int_equal((uintptr_t)pieces[i] % alignof(max_align_t), 0);
        memset(pieces[i], (int)(i & 0xff), i);
    }
    for (size_t i = 0; i < 600; i++)
        for (size_t k = 0; k < i; k++)
            assert_int_equal(pieces[i][k], i & 0xff);
    arena_clear(&arena);
}

TEST(test_arena_alloc__keeps_to_the_budget)
{
    struct arena arena;
    arena_init(&arena, 4096);
    assert_null(arena_alloc(&arena, 4097));
    assert_non_null(arena_alloc(&arena, 4000));
    assert_null(arena_alloc(&arena, 100));
    assert_non_null(arena_alloc(&arena, 96));
    assert_null(arena_alloc(&arena, 1));
    assert_int_equal(arena.used_bytes, 4096);
    arena_clear(&arena);
    assert_int_equal(arena.used_bytes, 0);
    assert_non_null(arena_alloc(&arena, 4096));
    arena_clear(&arena);
    arena_clear(&arena);
}

TEST(test_arena_alloc__size_that_overflows)
{
    struct arena arena;
    arena_init(&arena, SIZE_MAX);
    assert_null(arena_alloc(&arena, SIZE_MAX));
    assert_null(arena_alloc(&arena, SIZE_MAX - 8));
    assert_null(arena_alloc(&arena, SIZE_MAX - 4096));
    assert_non_null(arena_alloc(&arena, 8));
    arena_clear(&arena);
    arena_init(&arena, 0);
    assert_null(arena_alloc(&arena, 1));
    arena_clear(&arena);
}

TEST(test_arena_alloc__size_0_is_valid)
{
    struct arena arena;
    arena_init(&arena, 64);
    assert_non_null(arena_alloc(&arena, 0));
    assert_non_null(arena_zalloc(&arena, 0));
    assert_non_null(arena_copy(&arena, NULL, 0));
    arena_clear(&arena);
}

/* What the heap gives stays in proportion to what was asked for, whatever the sizes. */
TEST(test_arena_held_bytes__in_proportion)
{
    struct arena arena;
    arena_init(&arena, 16u << 20);
    assert_int_equal(arena_held_bytes(&arena), 0);
    assert_non_null(arena_alloc(&arena, 16));
    assert_in_range(arena_held_bytes(&arena), 16, 2048);
    for (int i = 0; i < 100; i++) {
        assert_non_null(arena_alloc(&arena, 16));
        assert_non_null(arena_alloc(&arena, 65536));
        assert_non_null(arena_alloc(&arena, 40000));
    }
    assert_in_range(arena_held_bytes(&arena), arena.used_bytes, arena.used_bytes * 2 + 131072);
    arena_clear(&arena);
    assert_int_equal(arena_held_bytes(&arena), 0);
}

TEST(test_arena_copies)
{
    struct arena arena;
    arena_init(&arena, 65536);
    unsigned char *dirty = arena_alloc(&arena, 512);
    memset(dirty, 0xff, 512);
    arena_clear(&arena);
    const unsigned char zeros[512] = {0};
    assert_memory_equal(arena_zalloc(&arena, 512), zeros, 512);
    char *text = arena_strdup(&arena, "jackdaw");
    assert_string_equal(text, "jackdaw");
    char *copy = arena_copy(&arena, text, 4);
    text[0] = 'x';
    assert_memory_equal(copy, "jack", 4);
    arena_clear(&arena);
    arena_init(&arena, 4);
    assert_null(arena_strdup(&arena, "jackdaw"));
    arena_clear(&arena);
}
