/* SPDX-License-Identifier: MIT */
/* numbers.h - which numbers of a room's messages were seen: each once, none missing. One thread. */
#ifndef JACKDAW_BENCH_NUMBERS_H
#define JACKDAW_BENCH_NUMBERS_H

#include <stdbool.h>
#include <stdint.h>

#define NUMBERS_MAX (UINT64_C(1) << 30) /* messages of one room in one scenario */

struct numbers {
    uint64_t *bits;
    uint64_t words; /* of bits; grows with the numbers */
    uint64_t base;  /* the first number expected is base + 1 */
    uint64_t count;
    uint64_t highest;
};

void numbers_init(struct numbers *numbers, uint64_t base);
void numbers_release(struct numbers *numbers);

/* False: seen before, or out of range (which no memory counts as). */
bool numbers_add(struct numbers *numbers, uint64_t number);

/* How many below the highest are missing. */
uint64_t numbers_missing(const struct numbers *numbers);

#endif
