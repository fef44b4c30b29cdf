/* SPDX-License-Identifier: MIT */
/* report.h - what was measured: a row per figure, a value per round, medians at the end; as a table
 * or as one JSON object per line. One thread. */
#ifndef JACKDAW_BENCH_REPORT_H
#define JACKDAW_BENCH_REPORT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#define REPORT_ROWS_MAX 64
#define REPORT_ROUNDS_MAX 101
#define REPORT_NAME_SIZE 40

/* What a row has besides its value; a column that was not measured is NAN. */
enum column {
    COLUMN_VALUE,
    COLUMN_P50_US,
    COLUMN_P99_US,
    COLUMN_MAX_US,
    COLUMN_SERVER_US,        /* CPU of the server per operation, */
    COLUMN_SERVER_SYSTEM_US, /* of which in the kernel */
    COLUMN_LOAD_US,          /* CPU of this program per operation */
    COLUMN_OTHERS,           /* percent of the machine that neither of them had */
    COLUMN_RETRIES,
    COLUMN_ERRORS,
    COLUMN_TARGET,
    COLUMN_COUNT
};

/* How a target is read; none where COLUMN_TARGET is NAN. */
enum target_kind { TARGET_AT_LEAST, TARGET_BELOW };

/* One measurement. */
struct metric {
    char name[REPORT_NAME_SIZE];
    const char *unit; /* static */
    enum target_kind target_kind;
    double columns[COLUMN_COUNT];
};

/* A figure without any column but its value. */
void metric_init(struct metric *metric, const char *name, const char *unit, double value);
void metric_target(struct metric *metric, enum target_kind kind, double target);

struct report_row {
    char name[REPORT_NAME_SIZE];
    const char *unit;
    enum target_kind target_kind;
    size_t rounds;
    double values[COLUMN_COUNT][REPORT_ROUNDS_MAX];
};

struct report {
    struct report_row rows[REPORT_ROWS_MAX];
    size_t count;
    bool json;
    bool targets; /* print them */
    bool headed;
};

/* Keeps a figure, and prints it to progress (NULL: not) as a line of the table. */
void report_add(struct report *report, const struct metric *metric, FILE *progress);

/* The median of a column; NAN where there is no such row. */
double report_median(const struct report *report, const char *name, enum column column);
/* The last value. */
double report_last(const struct report *report, const char *name, enum column column);

/* Prints the medians of all rows, with the smallest and largest value where there were rounds. */
void report_print(const struct report *report, FILE *stream);

#endif
