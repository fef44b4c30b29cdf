/* SPDX-License-Identifier: MIT */
/* histogram.h - durations counted in bounded memory, for percentiles.
 *
 * Buckets are linear below 64 us, with 32 to each power of two above. So a percentile is exact
 * below 64 us, and has an error of at most 1/64 (1.6%) above. Up to 2^36 us (19 hours); longer ones
 * count as that. Pure, 4 KiB. */
#ifndef JACKDAW_CLIENT_HISTOGRAM_H
#define JACKDAW_CLIENT_HISTOGRAM_H

#include <stdint.h>

#define HISTOGRAM_SUB_BITS 5                        /* 32 buckets to each power of two */
#define HISTOGRAM_MAX_BITS 36                       /* durations are below 2^36 us */
#define HISTOGRAM_LINEAR (2u << HISTOGRAM_SUB_BITS) /* below this every value has its bucket */
#define HISTOGRAM_BUCKETS \
    (HISTOGRAM_LINEAR + ((HISTOGRAM_MAX_BITS - HISTOGRAM_SUB_BITS - 1) << HISTOGRAM_SUB_BITS))

struct histogram {
    uint64_t count;
    uint64_t largest_us;
    uint32_t buckets[HISTOGRAM_BUCKETS];
};

void histogram_add(struct histogram *histogram, uint64_t value_us);

/* The value that `permille` thousandths of those added do not exceed: 500 is the median, 990 the
 * 99th percentile, 1000 the largest (exact). 0 when nothing was added. */
uint64_t histogram_value_us(const struct histogram *histogram, uint32_t permille);

#endif
