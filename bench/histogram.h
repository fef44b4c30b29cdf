/* SPDX-License-Identifier: MIT */
/* histogram.h - latencies counted in buckets of 1.6% width: a few nanoseconds per value, a fixed
 * 20 KB, and percentiles without keeping the values. One thread. Tests: bench/test_metrics.c. */
#ifndef JACKDAW_BENCH_HISTOGRAM_H
#define JACKDAW_BENCH_HISTOGRAM_H

#include <stdint.h>

#define HISTOGRAM_STEP_BITS 6 /* buckets per power of two: 64 */
#define HISTOGRAM_BUCKETS ((41 - HISTOGRAM_STEP_BITS) << HISTOGRAM_STEP_BITS)

struct histogram {
    uint64_t count;
    uint64_t max;
    uint64_t buckets[HISTOGRAM_BUCKETS];
};

void histogram_clear(struct histogram *histogram);

/* value: nanoseconds; what is above 2^40 (18 minutes) counts as that. */
void histogram_add(struct histogram *histogram, uint64_t value);

/* The value that `share` (0 to 1) of all values do not exceed, at most 1.6% too large; 0 when there
 * are none. */
uint64_t histogram_quantile(const struct histogram *histogram, double share);

#endif
