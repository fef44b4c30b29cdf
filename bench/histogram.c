/* SPDX-License-Identifier: MIT */
#include "histogram.h"

#include <string.h>

#define STEPS (1u << HISTOGRAM_STEP_BITS)
#define VALUE_MAX ((UINT64_C(1) << 40) - 1)

/* Values below STEPS have a bucket each; above, each power of two has STEPS of them. */
static unsigned bucket_of(uint64_t value)
{
    if (value < STEPS)
        return (unsigned)value;
    unsigned power = 63u - (unsigned)__builtin_clzll(value) - HISTOGRAM_STEP_BITS;
    return (power << HISTOGRAM_STEP_BITS) + (unsigned)(value >> power);
}

/* The largest value that falls into a bucket. */
static uint64_t bucket_top(unsigned bucket)
{
    if (bucket < 2 * STEPS)
        return bucket;
    unsigned power = (bucket >> HISTOGRAM_STEP_BITS) - 1;
    uint64_t step = bucket - (power << HISTOGRAM_STEP_BITS);
    return ((step + 1) << power) - 1;
}

void histogram_clear(struct histogram *histogram)
{
    memset(histogram, 0, sizeof *histogram);
}

void histogram_add(struct histogram *histogram, uint64_t value)
{
    if (value > VALUE_MAX)
        value = VALUE_MAX;
    histogram->count++;
    if (value > histogram->max)
        histogram->max = value;
    histogram->buckets[bucket_of(value)]++;
}

uint64_t histogram_quantile(const struct histogram *histogram, double share)
{
    if (histogram->count == 0)
        return 0;
    uint64_t wanted = (uint64_t)(share * (double)histogram->count + 0.5);
    if (wanted == 0)
        wanted = 1;
    uint64_t seen = 0;
    for (unsigned i = 0; i < HISTOGRAM_BUCKETS; i++) {
        seen += histogram->buckets[i];
        if (seen >= wanted)
            return bucket_top(i) < histogram->max ? bucket_top(i) : histogram->max;
    }
    return histogram->max;
}
