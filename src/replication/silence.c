/* SPDX-License-Identifier: MIT */
#include "replication/silence.h"

#define DECAY_SHARE 32
#define DECAYS_MAX 1024 /* after so many, less than a microsecond of any delay would be left */

static void decay(struct silence *silence, uint64_t now_ms)
{
    uint64_t decays = (now_ms - silence->decayed_ms) / SILENCE_DECAY_MS;
    silence->decayed_ms += decays * SILENCE_DECAY_MS;
    if (decays >= DECAYS_MAX)
        silence->longest_us = 0;
    for (uint64_t i = 0; i < decays && silence->longest_us > 0; i++)
        silence->longest_us -= (silence->longest_us + DECAY_SHARE - 1) / DECAY_SHARE;
}

/* A longer delay would not change the limit, but would take longer to be forgotten. */
static uint64_t delay_max_us(const struct silence_bounds *bounds)
{
    uint32_t due_ms = bounds->due_ms < bounds->max_ms ? bounds->due_ms : bounds->max_ms;
    return (uint64_t)(bounds->max_ms - due_ms) * 1000 / SILENCE_FACTOR;
}

void silence_learn(struct silence *silence, const struct silence_bounds *bounds, uint64_t gap_ms,
                   uint64_t now_ms)
{
    if (gap_ms >= bounds->max_ms)
        return;
    decay(silence, now_ms);
    silence->first_ms = silence->gaps == 0 ? now_ms : silence->first_ms;
    silence->last_ms = now_ms;
    silence->gaps += silence->gaps < SILENCE_LEARN_COUNT;
    uint64_t delay_us = gap_ms > bounds->due_ms ? (gap_ms - bounds->due_ms) * 1000 : 0;
    if (delay_us > delay_max_us(bounds))
        delay_us = delay_max_us(bounds);
    if (delay_us > silence->longest_us)
        silence->longest_us = (uint32_t)delay_us;
}

uint32_t silence_confirmation_ms(const struct silence *silence, const struct silence_bounds *bounds)
{
    uint64_t limit_ms =
        bounds->due_ms + ((uint64_t)silence->longest_us * SILENCE_FACTOR + 999) / 1000;
    if (limit_ms > bounds->max_ms)
        return bounds->max_ms;
    return limit_ms < bounds->min_ms ? bounds->min_ms : (uint32_t)limit_ms;
}

uint32_t silence_limit_ms(const struct silence *silence, const struct silence_bounds *bounds)
{
    bool is_learned = silence->gaps == SILENCE_LEARN_COUNT &&
                      silence->last_ms - silence->first_ms >= SILENCE_LEARN_MS;
    return is_learned ? silence_confirmation_ms(silence, bounds) : bounds->max_ms;
}
