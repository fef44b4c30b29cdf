/* SPDX-License-Identifier: MIT */
/* faulty_alloc.h - allocations that fail by count. Link faulty_alloc.c and wrap malloc, calloc,
 * realloc, reallocarray and strdup (-Wl,--wrap=malloc ...): calls from the program's own objects
 * and static libraries are counted, those of shared libraries are not. One thread. */
#ifndef JACKDAW_TESTS_FAULTY_ALLOC_H
#define JACKDAW_TESTS_FAULTY_ALLOC_H

#include <stdbool.h>

/* The next number-th allocation fails (1: the very next one), once. */
void faulty_alloc_arm(unsigned long number);

/* No further one fails; whether one did since it was armed. */
bool faulty_alloc_disarm(void);

#endif
