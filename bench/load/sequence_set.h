/* SPDX-License-Identifier: MIT */
/* sequence_set.h - which numbers of a room's messages were seen: each once, none missing. One thread. */
#ifndef JACKDAW_BENCH_SEQUENCE_SET_H
#define JACKDAW_BENCH_SEQUENCE_SET_H

#include <stdbool.h>
#include <stdint.h>

#define SEQUENCE_SET_MAX (UINT64_C(1) << 30) /* messages of one room in one scenario */

struct sequence_set {
    uint64_t *bits;
    uint64_t words; /* of bits; grows with the numbers */
    uint64_t base;  /* the first number expected is base + 1 */
    uint64_t count;
    uint64_t highest;
};

void sequence_set_init(struct sequence_set *sequence_set, uint64_t base);
void sequence_set_release(struct sequence_set *sequence_set);

/* False: seen before, or out of range (which no memory counts as). */
bool sequence_set_add(struct sequence_set *sequence_set, uint64_t number);

/* How many below the highest are missing. */
uint64_t sequence_set_missing(const struct sequence_set *sequence_set);

#endif
