/* SPDX-License-Identifier: MIT */
#include "sequence_set.h"

#include <stdlib.h>
#include <string.h>

#define WORDS_FIRST 256u

void sequence_set_init(struct sequence_set *sequence_set, uint64_t base)
{
    *sequence_set = (struct sequence_set){.base = base, .highest = base};
}

void sequence_set_release(struct sequence_set *sequence_set)
{
    free(sequence_set->bits);
    sequence_set->bits = NULL;
}

static bool reach(struct sequence_set *sequence_set, uint64_t word)
{
    if (word < sequence_set->words)
        return true;
    uint64_t words = sequence_set->words == 0 ? WORDS_FIRST : sequence_set->words * 2;
    while (words <= word)
        words *= 2;
    uint64_t *bits = realloc(sequence_set->bits, words * sizeof *bits);
    if (bits == NULL)
        return false;
    memset(bits + sequence_set->words, 0, (words - sequence_set->words) * sizeof *bits);
    sequence_set->bits = bits;
    sequence_set->words = words;
    return true;
}

bool sequence_set_add(struct sequence_set *sequence_set, uint64_t number)
{
    uint64_t at = number - sequence_set->base;
    if (number <= sequence_set->base || at >= SEQUENCE_SET_MAX || !reach(sequence_set, at / 64))
        return false;
    uint64_t bit = UINT64_C(1) << (at % 64);
    if (sequence_set->bits[at / 64] & bit)
        return false;
    sequence_set->bits[at / 64] |= bit;
    sequence_set->count++;
    if (number > sequence_set->highest)
        sequence_set->highest = number;
    return true;
}

uint64_t sequence_set_missing(const struct sequence_set *sequence_set)
{
    return sequence_set->highest - sequence_set->base - sequence_set->count;
}
