/* SPDX-License-Identifier: MIT */
/* clock.h - the two clocks. Durations and timeouts use the monotonic clock. Only timestamps that
 * users read use the wall clock, within the bounds of cluster/clocks.h. Any thread. */
#ifndef JACKDAW_BASE_CLOCK_H
#define JACKDAW_BASE_CLOCK_H

#include <stdint.h>

/* Milliseconds and microseconds since an unspecified start; never go back. */
uint64_t clock_monotonic_ms(void);
uint64_t clock_monotonic_us(void);

/* Milliseconds since 1970-01-01 UTC. Jumps when an operator or NTP sets the clock. */
uint64_t clock_wall_ms(void);

/* Servers and jackdaw-admin report a wall clock that differs by more: messages between servers may take
 * seconds. */
#define CLOCK_TOLERANCE_MS 5000

#endif
