/* SPDX-License-Identifier: MIT */
/* histogram.h - latencies counted in bounded memory, for percentiles.
 *
 * Values have the caller's unit: the client counts microseconds, the load generators nanoseconds.
 * Each value below 64 has its own bucket; above, each power of two has 32 buckets. A percentile is
 * exact below 64 and off by at most 1/64 (1.6%) above. Values of 2^40 and more count as 2^40 - 1.
 * Pure; a histogram takes 5 KB and starts as zeros. */
#ifndef JACKDAW_BASE_HISTOGRAM_H
#define JACKDAW_BASE_HISTOGRAM_H

#include <stdint.h>

#define HISTOGRAM_SUB_BITS 5                        /* 32 buckets to each power of two */
#define HISTOGRAM_MAX_BITS 40                       /* values are below 2^40 */
#define HISTOGRAM_LINEAR (2u << HISTOGRAM_SUB_BITS) /* below this every value has its bucket */
#define HISTOGRAM_BUCKETS \
    (HISTOGRAM_LINEAR + ((HISTOGRAM_MAX_BITS - HISTOGRAM_SUB_BITS - 1) << HISTOGRAM_SUB_BITS))

struct histogram {
    uint64_t count;
    uint64_t largest;
    uint32_t buckets[HISTOGRAM_BUCKETS];
};

void histogram_add(struct histogram *histogram, uint64_t value);

/* The value that `permille` thousandths of those added do not exceed: 500 is the median, 990 the
 * 99th percentile, 1000 the largest (exact). 0 when nothing was added. */
uint64_t histogram_percentile(const struct histogram *histogram, uint32_t permille);

#endif
