/* SPDX-License-Identifier: MIT */
#include "base/histogram.h"
#include "support/test.h"

#include <string.h>

static struct histogram histogram;

TEST(test_histogram_percentile__error_bound)
{
    uint64_t value = 0;
    while (value < UINT64_C(1) << 40) {
        memset(&histogram, 0, sizeof histogram);
        histogram_add(&histogram, value);
        histogram_add(&histogram, UINT64_MAX); /* so that the largest is another */
        uint64_t got = histogram_percentile(&histogram, 500);
        uint64_t off = got > value ? got - value : value - got;
        if (value < 64)
            assert_int_equal(off, 0);
        else
            assert_true(off * 64 <= value);
        value += value / 37 + 1;
    }
}

TEST(test_histogram_percentile__percentiles)
{
    memset(&histogram, 0, sizeof histogram);
    assert_int_equal(histogram_percentile(&histogram, 500), 0);
    for (uint64_t value = 1; value <= 10000; value++)
        histogram_add(&histogram, value);
    assert_in_range(histogram_percentile(&histogram, 500), 4922, 5078);
    assert_in_range(histogram_percentile(&histogram, 990), 9745, 10000);
    assert_int_equal(histogram_percentile(&histogram, 1000), 10000);
    assert_int_equal(histogram_percentile(&histogram, 0), 1);
    assert_int_equal(sizeof histogram.buckets, 4608);
}

TEST(test_histogram_percentile__of_the_smallest_and_largest_value)
{
    memset(&histogram, 0, sizeof histogram);
    histogram_add(&histogram, 0);
    assert_int_equal(histogram_percentile(&histogram, 1000), 0);
    histogram_add(&histogram, UINT64_MAX);
    assert_true(histogram_percentile(&histogram, 1000) == (UINT64_C(1) << 40) - 1);
}
