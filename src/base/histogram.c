/* SPDX-License-Identifier: MIT */
#include "base/histogram.h"

#define SUB_BUCKETS (1u << HISTOGRAM_SUB_BITS)
#define LARGEST ((UINT64_C(1) << HISTOGRAM_MAX_BITS) - 1)

static uint32_t bucket_of(uint64_t value)
{
    if (value < HISTOGRAM_LINEAR)
        return (uint32_t)value;
    uint32_t top_bit = 63u - (uint32_t)__builtin_clzll(value);
    uint32_t shift = top_bit - HISTOGRAM_SUB_BITS; /* at least 1 */
    return HISTOGRAM_LINEAR + (shift - 1) * SUB_BUCKETS + (uint32_t)(value >> shift) - SUB_BUCKETS;
}

/* The middle of a bucket. */
static uint64_t value_of(uint32_t bucket)
{
    if (bucket < HISTOGRAM_LINEAR)
        return bucket;
    uint32_t shift = (bucket - HISTOGRAM_LINEAR) / SUB_BUCKETS + 1;
    uint64_t sub = (bucket - HISTOGRAM_LINEAR) % SUB_BUCKETS;
    return ((SUB_BUCKETS + sub) << shift) + (UINT64_C(1) << shift) / 2;
}

void histogram_add(struct histogram *histogram, uint64_t value)
{
    if (value > LARGEST)
        value = LARGEST;
    if (value > histogram->largest)
        histogram->largest = value;
    histogram->count++;
    histogram->buckets[bucket_of(value)]++;
}

uint64_t histogram_percentile(const struct histogram *histogram, uint32_t permille)
{
    if (histogram->count == 0)
        return 0;
    if (permille >= 1000)
        return histogram->largest;
    uint64_t rank = (histogram->count * permille + 999) / 1000;
    if (rank == 0)
        rank = 1;
    uint64_t seen = 0;
    for (uint32_t bucket = 0; bucket < HISTOGRAM_BUCKETS; bucket++) {
        seen += histogram->buckets[bucket];
        if (seen >= rank) {
            uint64_t middle = value_of(bucket);
            return middle < histogram->largest ? middle : histogram->largest;
        }
    }
    return histogram->largest;
}
