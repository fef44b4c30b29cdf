/* SPDX-License-Identifier: MIT */
#include "numbers.h"

#include <stdlib.h>
#include <string.h>

#define WORDS_FIRST 256u

void numbers_init(struct numbers *numbers, uint64_t base)
{
    *numbers = (struct numbers){.base = base, .highest = base};
}

void numbers_release(struct numbers *numbers)
{
    free(numbers->bits);
    numbers->bits = NULL;
}

static bool reach(struct numbers *numbers, uint64_t word)
{
    if (word < numbers->words)
        return true;
    uint64_t words = numbers->words == 0 ? WORDS_FIRST : numbers->words * 2;
    while (words <= word)
        words *= 2;
    uint64_t *bits = realloc(numbers->bits, words * sizeof *bits);
    if (bits == NULL)
        return false;
    memset(bits + numbers->words, 0, (words - numbers->words) * sizeof *bits);
    numbers->bits = bits;
    numbers->words = words;
    return true;
}

bool numbers_add(struct numbers *numbers, uint64_t number)
{
    uint64_t at = number - numbers->base;
    if (number <= numbers->base || at >= NUMBERS_MAX || !reach(numbers, at / 64))
        return false;
    uint64_t bit = UINT64_C(1) << (at % 64);
    if (numbers->bits[at / 64] & bit)
        return false;
    numbers->bits[at / 64] |= bit;
    numbers->count++;
    if (number > numbers->highest)
        numbers->highest = number;
    return true;
}

uint64_t numbers_missing(const struct numbers *numbers)
{
    return numbers->highest - numbers->base - numbers->count;
}
