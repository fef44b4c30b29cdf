/* SPDX-License-Identifier: MIT */
#include "report.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

void metric_init(struct metric *metric, const char *name, const char *unit, double value)
{
    *metric = (struct metric){.unit = unit};
    (void)snprintf(metric->name, sizeof metric->name, "%s", name);
    for (int i = 0; i < COLUMN_COUNT; i++)
        metric->columns[i] = (double)NAN;
    metric->columns[COLUMN_VALUE] = value;
}

void metric_target(struct metric *metric, enum target_kind kind, double target)
{
    metric->target_kind = kind;
    metric->columns[COLUMN_TARGET] = target;
}

static const struct report_row *find(const struct report *report, const char *name)
{
    for (size_t i = 0; i < report->count; i++)
        if (strcmp(report->rows[i].name, name) == 0)
            return &report->rows[i];
    return NULL;
}

static struct report_row *find_or_make(struct report *report, const struct metric *metric)
{
    struct report_row *row = (struct report_row *)find(report, metric->name);
    if (row == NULL && report->count < REPORT_ROWS_MAX) {
        row = &report->rows[report->count++];
        memcpy(row->name, metric->name, sizeof row->name);
        row->unit = metric->unit;
        row->target_kind = metric->target_kind;
    }
    return row;
}

static int compare(const void *left, const void *right)
{
    double l = *(const double *)left;
    double r = *(const double *)right;
    return (l > r) - (l < r);
}

/* Sorts what was measured into sorted; returns how many. */
static size_t sort_column(const struct report_row *row, enum column column,
                          double sorted[static REPORT_ROUNDS_MAX])
{
    size_t count = 0;
    for (size_t i = 0; i < row->rounds; i++)
        if (!isnan(row->values[column][i]))
            sorted[count++] = row->values[column][i];
    qsort(sorted, count, sizeof *sorted, compare);
    return count;
}

static double median_of(const struct report_row *row, enum column column)
{
    double sorted[REPORT_ROUNDS_MAX];
    size_t count = sort_column(row, column, sorted);
    if (count == 0)
        return (double)NAN;
    return count % 2 == 1 ? sorted[count / 2] : (sorted[count / 2 - 1] + sorted[count / 2]) / 2;
}

double report_median(const struct report *report, const char *name, enum column column)
{
    const struct report_row *row = find(report, name);
    return row == NULL ? (double)NAN : median_of(row, column);
}

double report_last(const struct report *report, const char *name, enum column column)
{
    const struct report_row *row = find(report, name);
    return row == NULL || row->rounds == 0 ? (double)NAN : row->values[column][row->rounds - 1];
}

static bool is_met(enum target_kind kind, double value, double target)
{
    return kind == TARGET_AT_LEAST ? value >= target : value < target;
}

/* 1234567.8 as "1,234,568"; small numbers keep two decimals. */
static void format_number(char *text, size_t size, double value)
{
    if (isnan(value)) {
        (void)snprintf(text, size, "-");
        return;
    }
    if (fabs(value) < 100 && value != floor(value)) {
        (void)snprintf(text, size, "%.2f", value);
        return;
    }
    char plain[48];
    int length = snprintf(plain, sizeof plain, "%.0f", value);
    size_t used = 0;
    for (int i = 0; i < length && used + 2 < size; i++) {
        text[used++] = plain[i];
        if ((length - i) % 3 == 1 && i + 1 < length && plain[i] != '-')
            text[used++] = ',';
    }
    text[used] = '\0';
}

static const struct {
    const char *title;
    int width;
    const char *key; /* in JSON */
} layout[COLUMN_COUNT] = {
    [COLUMN_VALUE] = {"value", 11, "value"},
    [COLUMN_P50_US] = {"p50 us", 8, "p50_us"},
    [COLUMN_P99_US] = {"p99 us", 8, "p99_us"},
    [COLUMN_MAX_US] = {"max us", 9, "max_us"},
    [COLUMN_SERVER_US] = {"srv us", 7, "server_us"},
    [COLUMN_SERVER_SYSTEM_US] = {"(sys)", 7, "server_system_us"},
    [COLUMN_LOAD_US] = {"load us", 7, "load_us"},
    [COLUMN_OTHERS] = {"others%", 7, "others_percent"},
    [COLUMN_RETRIES] = {"retries", 7, "retries"},
    [COLUMN_ERRORS] = {"errors", 6, "errors"},
    [COLUMN_TARGET] = {"target", 11, "target"},
};

static void print_head(FILE *stream, bool targets)
{
    (void)fprintf(stream, "%-24s", "figure");
    for (int i = 0; i < COLUMN_COUNT; i++) {
        if (i != COLUMN_TARGET)
            (void)fprintf(stream, " %*s", layout[i].width, layout[i].title);
        if (i == COLUMN_VALUE)
            (void)fprintf(stream, " %-13s", "unit");
    }
    (void)fprintf(stream, "%s\n", targets ? "  target" : "");
}

static void print_line(FILE *stream, const char *name, const char *unit,
                       const double columns[static COLUMN_COUNT], enum target_kind kind,
                       bool targets)
{
    char text[64];
    (void)fprintf(stream, "%-24s", name);
    for (int i = 0; i < COLUMN_TARGET; i++) {
        format_number(text, sizeof text, columns[i]);
        (void)fprintf(stream, " %*s", layout[i].width, text);
        if (i == COLUMN_VALUE)
            (void)fprintf(stream, " %-13s", unit);
    }
    double target = columns[COLUMN_TARGET];
    if (targets && !isnan(target)) {
        format_number(text, sizeof text, target);
        (void)fprintf(stream, "  %s %s: %s", kind == TARGET_AT_LEAST ? ">=" : "<", text,
                      is_met(kind, columns[COLUMN_VALUE], target) ? "met" : "missed");
    }
}

void report_add(struct report *report, const struct metric *metric, FILE *progress)
{
    struct report_row *row = find_or_make(report, metric);
    if (row != NULL && row->rounds < REPORT_ROUNDS_MAX) {
        for (int i = 0; i < COLUMN_COUNT; i++)
            row->values[i][row->rounds] = metric->columns[i];
        row->rounds++;
    }
    if (progress == NULL)
        return;
    if (!report->headed)
        print_head(progress, report->targets);
    report->headed = true;
    print_line(progress, metric->name, metric->unit, metric->columns, metric->target_kind,
               report->targets);
    (void)fputc('\n', progress);
    (void)fflush(progress);
}

static void print_json(FILE *stream, const struct report_row *row,
                       const double columns[static COLUMN_COUNT], double least, double most,
                       bool targets)
{
    (void)fprintf(stream,
                  "{\"figure\":\"%s\",\"unit\":\"%s\",\"rounds\":%zu,\"least\":%.3f,"
                  "\"most\":%.3f",
                  row->name, row->unit, row->rounds, least, most);
    for (int i = 0; i < COLUMN_COUNT; i++)
        if (!isnan(columns[i]) && (targets || i != COLUMN_TARGET))
            (void)fprintf(stream, ",\"%s\":%.3f", layout[i].key, columns[i]);
    if (targets && !isnan(columns[COLUMN_TARGET]))
        (void)fprintf(stream, ",\"target_is\":\"%s\",\"met\":%s",
                      row->target_kind == TARGET_AT_LEAST ? "at least" : "below",
                      is_met(row->target_kind, columns[COLUMN_VALUE], columns[COLUMN_TARGET])
                          ? "true"
                          : "false");
    (void)fprintf(stream, "}\n");
}

static void print_row(const struct report *report, const struct report_row *row, FILE *stream)
{
    double columns[COLUMN_COUNT];
    for (int i = 0; i < COLUMN_COUNT; i++)
        columns[i] = median_of(row, (enum column)i);
    double sorted[REPORT_ROUNDS_MAX] = {0};
    size_t count = sort_column(row, COLUMN_VALUE, sorted);
    double least = sorted[0];
    double most = count == 0 ? 0 : sorted[count - 1];
    if (report->json) {
        print_json(stream, row, columns, least, most, report->targets);
        return;
    }
    print_line(stream, row->name, row->unit, columns, row->target_kind, report->targets);
    if (count > 1) {
        char low[64];
        char high[64];
        format_number(low, sizeof low, least);
        format_number(high, sizeof high, most);
        (void)fprintf(stream, "  (%s to %s)", low, high);
    }
    (void)fputc('\n', stream);
}

void report_print(const struct report *report, FILE *stream)
{
    if (!report->json)
        print_head(stream, report->targets);
    for (size_t i = 0; i < report->count; i++)
        print_row(report, &report->rows[i], stream);
    (void)fflush(stream);
}
