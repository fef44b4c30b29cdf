/* SPDX-License-Identifier: MIT */
#include "chat/rate.h"

#define REQUEST 1000u /* thousandths */
#define BURST_SECONDS 2u

void rate_init(struct rate *rate, uint32_t per_second, uint64_t monotonic_ms)
{
    rate->thousandths = (uint64_t)per_second * REQUEST * BURST_SECONDS;
    rate->filled_ms = monotonic_ms;
}

static void fill(struct rate *rate, uint32_t per_second, uint64_t monotonic_ms)
{
    if (monotonic_ms <= rate->filled_ms)
        return;
    uint64_t elapsed_ms = monotonic_ms - rate->filled_ms;
    rate->filled_ms = monotonic_ms;
    uint64_t full = (uint64_t)per_second * REQUEST * BURST_SECONDS;
    if (elapsed_ms < BURST_SECONDS * 1000u)
        rate->thousandths += elapsed_ms * per_second;
    else
        rate->thousandths = full;
    if (rate->thousandths > full)
        rate->thousandths = full;
}

bool rate_take(struct rate *rate, uint32_t per_second, uint64_t monotonic_ms, uint32_t *retry_ms)
{
    if (per_second == 0)
        return true;
    fill(rate, per_second, monotonic_ms);
    if (rate->thousandths < REQUEST) {
        *retry_ms = (uint32_t)((REQUEST - rate->thousandths + per_second - 1) / per_second);
        return false;
    }
    rate->thousandths -= REQUEST;
    return true;
}
