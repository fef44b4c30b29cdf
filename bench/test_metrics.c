/* SPDX-License-Identifier: MIT */
/* The parts of metrics: sets of numbers, messages in flight, medians. */
#include "flights.h"
#include "report.h"
#include "sequence_set.h"
#include "support/test.h"

#include <math.h>
#include <stdlib.h>

TEST(test_sequence_set_add__each_once_none_missing)
{
    struct sequence_set sequence_set;
    sequence_set_init(&sequence_set, 100);
    assert_false(sequence_set_add(&sequence_set, 100));
    assert_false(sequence_set_add(&sequence_set, 0));
    assert_false(sequence_set_add(&sequence_set, 101 + SEQUENCE_SET_MAX));
    assert_true(sequence_set_add(&sequence_set, 103));
    assert_int_equal(sequence_set_missing(&sequence_set), 2);
    assert_true(sequence_set_add(&sequence_set, 101));
    assert_true(sequence_set_add(&sequence_set, 102));
    assert_false(sequence_set_add(&sequence_set, 102));
    assert_int_equal(sequence_set_missing(&sequence_set), 0);
    assert_true(sequence_set_add(&sequence_set, 1000000));
    assert_int_equal(sequence_set_missing(&sequence_set), 1000000 - 104);
    assert_true(sequence_set_add(&sequence_set, 999999));
    assert_false(sequence_set_add(&sequence_set, 1000000));
    sequence_set_release(&sequence_set);
}

TEST(test_flights_arrive__completes_in_order_of_numbers)
{
    struct flights flights;
    struct measure measure = {.phase = PHASE_MEASURED};
    assert_true(flights_init(&flights, 3, 2, 7));
    for (uint64_t i = 0; i < 3; i++) {
        assert_true(flights_may_begin(&flights));
        flights_begin(&flights, 1000 * i);
    }
    assert_false(flights_may_begin(&flights));
    assert_true(flights_arrive(&flights, 8, 5000, &measure));
    assert_true(flights_arrive(&flights, 8, 6000, &measure));
    assert_int_equal(flights_open(&flights), 3); /* 7 is older */
    assert_false(flights_arrive(&flights, 8, 6500, &measure));
    assert_true(flights_arrive(&flights, 7, 7000, &measure));
    assert_int_equal(measure.latency.count, 1);
    assert_true(flights_arrive(&flights, 7, 8000, &measure));
    assert_int_equal(flights_open(&flights), 1);
    assert_int_equal(measure.latency.count, 2);
    assert_int_equal(measure.latency.largest, 8000);
    flights_release(&flights);
}

TEST(test_flights_arrive__of_no_such_message)
{
    struct flights flights;
    struct measure measure = {.phase = PHASE_MEASURED};
    assert_true(flights_init(&flights, 1, 1, 1));
    flights_begin(&flights, 0);
    assert_false(flights_arrive(&flights, 0, 1, &measure));
    assert_false(flights_arrive(&flights, 2, 1, &measure));
    assert_true(flights_arrive(&flights, 1, 1, &measure));
    flights_begin(&flights, 2); /* 2, in the same place of the ring */
    assert_false(flights_arrive(&flights, 1, 3, &measure));
    assert_int_equal(measure.latency.count, 1);
    assert_int_equal(flights_open(&flights), 1);
    flights_release(&flights);
}

TEST(test_report_median__of_what_was_measured)
{
    struct report *report = calloc(1, sizeof *report);
    assert_non_null(report);
    static const double values[] = {5, 1, 3, 100};
    for (size_t i = 0; i < 4; i++) {
        struct metric metric;
        metric_init(&metric, "row", "things/s", values[i]);
        if (i == 2)
            metric.columns[COLUMN_P50_US] = 7;
        report_add(report, &metric, NULL);
    }
    assert_true(fabs(report_median(report, "row", COLUMN_VALUE) - 4) < 1e-9);
    assert_true(fabs(report_median(report, "row", COLUMN_P50_US) - 7) < 1e-9);
    assert_true(fabs(report_last(report, "row", COLUMN_VALUE) - 100) < 1e-9);
    assert_true(isnan(report_median(report, "no such row", COLUMN_VALUE)));
    assert_true(isnan(report_median(report, "row", COLUMN_MAX_US)));
    free(report);
}
