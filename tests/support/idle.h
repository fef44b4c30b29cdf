/* SPDX-License-Identifier: MIT */
/* idle.h - whether other threads of the process have work. */
#ifndef JACKDAW_TESTS_IDLE_H
#define JACKDAW_TESTS_IDLE_H

#include <stdbool.h>

/* True if all other threads of the process wait, for example for a descriptor, a lock or a timer. False while
 * one runs or is ready to run, however long a busy machine lets it wait for a processor. */
bool idle_others(void);

#endif
