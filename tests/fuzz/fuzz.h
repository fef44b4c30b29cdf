/* SPDX-License-Identifier: MIT */
/* fuzz.h - the entry of every fuzz target, with libFuzzer's name and meaning. A target is linked
 * either with libFuzzer or with replay.c, which runs it over files. */
#ifndef JACKDAW_TESTS_FUZZ_H
#define JACKDAW_TESTS_FUZZ_H

#include <stddef.h>
#include <stdint.h>

/* Handles one input; whatever is wrong ends the process. Returns 0. */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#endif
