/* SPDX-License-Identifier: MIT */
/* backoff.h - how long to wait before trying again: doubling pauses with jitter, so that clients
 * that lost the same server do not come back in step. Pure: chance arrives with the call. */
#ifndef JACKDAW_CLIENT_BACKOFF_H
#define JACKDAW_CLIENT_BACKOFF_H

#include <stdint.h>

struct backoff {
    uint32_t least_ms; /* the first pause; the caller's, as is the next */
    uint32_t most_ms;
    uint32_t tries; /* since the last success */
};

/* The next pause in microseconds: least_ms doubled with every call up to most_ms, of which the
 * upper half is left to chance (`random`: any 32 bits). at_least_ms is what a server asked for:
 * the pause is not below it, and at most a quarter of it longer unless the doubling asks for more. */
uint64_t backoff_next_us(struct backoff *backoff, uint32_t at_least_ms, uint32_t random);

/* After a success: the next pause is the first again. */
void backoff_clear(struct backoff *backoff);

#endif
