/* SPDX-License-Identifier: MIT */
/* interrupt.h - the signals that end the program: every loop asks, so that servers are stopped and
 * folders removed on the way out. */
#ifndef JACKDAW_BENCH_INTERRUPT_H
#define JACKDAW_BENCH_INTERRUPT_H

#include <stdbool.h>

void interrupt_on_signals(void);
bool interrupted(void);

#endif
