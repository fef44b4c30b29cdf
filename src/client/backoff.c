/* SPDX-License-Identifier: MIT */
#include "client/backoff.h"

#define DOUBLINGS_MAX 20 /* least_ms << this does not overflow 64 bits */

uint64_t backoff_next_us(struct backoff *backoff, uint32_t at_least_ms, uint32_t random)
{
    uint32_t doublings = backoff->tries < DOUBLINGS_MAX ? backoff->tries : DOUBLINGS_MAX;
    uint64_t full_us = ((uint64_t)backoff->least_ms << doublings) * 1000;
    if (full_us > (uint64_t)backoff->most_ms * 1000)
        full_us = (uint64_t)backoff->most_ms * 1000;
    backoff->tries++;
    uint64_t pause_us = full_us / 2 + full_us / 2 * random / UINT32_MAX;
    uint64_t asked_us = (uint64_t)at_least_ms * 1000;
    if (pause_us < asked_us)
        pause_us = asked_us + asked_us / 4 * random / UINT32_MAX;
    return pause_us;
}

void backoff_clear(struct backoff *backoff)
{
    backoff->tries = 0;
}
