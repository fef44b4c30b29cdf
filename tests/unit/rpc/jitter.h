/* SPDX-License-Identifier: MIT */
/* jitter.h - random pauses after the unlocking of mutexes, also of those inside libraries. */
#ifndef JACKDAW_TESTS_JITTER_H
#define JACKDAW_TESTS_JITTER_H

#include <stdint.h>

/* From here on every thread pauses now and then, up to 1 ms, after unlocking a mutex. */
void jitter_begin(uint64_t seed);

#endif
