/* SPDX-License-Identifier: MIT */
/* rate.h - a token bucket: so many requests per second, bursts of twice that. Pure. */
#ifndef JACKDAW_CHAT_RATE_H
#define JACKDAW_CHAT_RATE_H

#include <stdbool.h>
#include <stdint.h>

struct rate {
    uint64_t thousandths; /* of a request that may be made */
    uint64_t filled_ms;   /* when that was so */
};

/* A full bucket. */
void rate_init(struct rate *rate, uint32_t per_second, uint64_t monotonic_ms);

/* Takes one request, or tells in *retry_ms (at least 1) when one will be there. per_second 0:
 * no limit. A clock that goes back fills nothing. */
bool rate_take(struct rate *rate, uint32_t per_second, uint64_t monotonic_ms, uint32_t *retry_ms);

#endif
