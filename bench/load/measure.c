/* SPDX-License-Identifier: MIT */
#include "measure.h"

#include "program.h"

#define DRAIN_MS 5000u
#define NS_PER_MS UINT64_C(1000000)

static struct usage take_usage(const struct measure *measure, uint64_t now_ns)
{
    struct usage usage = {.at_ns = now_ns, .own = usage_own(), .machine_us = usage_machine_us()};
    for (size_t i = 0; i < measure->servers_count; i++) {
        struct cpu_times server = usage_of(measure->servers[i]);
        usage.server.user_us += server.user_us;
        usage.server.system_us += server.system_us;
    }
    return usage;
}

void measure_begin(struct measure *measure, const struct measure_times *times, pid_t server,
                   uint64_t now_ns)
{
    *measure = (struct measure){.times = *times, .next_ns = now_ns + times->warm_up_ms * NS_PER_MS};
    measure_add_server(measure, server);
}

void measure_add_server(struct measure *measure, pid_t server)
{
    if (server > 0 && measure->servers_count < MEASURE_SERVERS_MAX)
        measure->servers[measure->servers_count++] = server;
}

enum phase measure_step(struct measure *measure, uint64_t now_ns)
{
    if (measure->phase == PHASE_OVER)
        return PHASE_OVER;
    if (interrupted())
        measure->phase = PHASE_OVER;
    if (now_ns < measure->next_ns)
        return measure->phase;
    switch (measure->phase) {
    case PHASE_WARM_UP:
        measure->phase = PHASE_MEASURED;
        measure->next_ns = now_ns + measure->times.measured_ms * NS_PER_MS;
        measure->before = take_usage(measure, now_ns);
        break;
    case PHASE_MEASURED:
        measure->phase = PHASE_DRAINING;
        measure->next_ns = now_ns + DRAIN_MS * NS_PER_MS;
        measure->after = take_usage(measure, now_ns);
        break;
    default:
        measure->phase = PHASE_OVER;
        break;
    }
    return measure->phase;
}

static double total_us(struct cpu_times before, struct cpu_times after)
{
    return (double)after.user_us + (double)after.system_us - (double)before.user_us -
           (double)before.system_us;
}

static void fill_cpu(const struct measure *measure, struct metric *metric)
{
    const struct usage *before = &measure->before;
    const struct usage *after = &measure->after;
    double operations = (double)measure->operations;
    double own = total_us(before->own, after->own);
    metric->columns[COLUMN_LOAD_US] = own / operations;
    if (measure->servers_count == 0)
        return;
    double server = total_us(before->server, after->server);
    metric->columns[COLUMN_SERVER_US] = server / operations;
    metric->columns[COLUMN_SERVER_SYSTEM_US] =
        ((double)after->server.system_us - (double)before->server.system_us) / operations;
    double all = (double)(after->at_ns - before->at_ns) / 1e3 * usage_processors();
    double others = (double)after->machine_us - (double)before->machine_us - own - server;
    metric->columns[COLUMN_OTHERS] = others > 0 && all > 0 ? 100 * others / all : 0;
}

void measure_metric(const struct measure *measure, const char *name, const char *unit,
                    struct metric *metric)
{
    bool whole = measure->after.at_ns > 0; /* else it ended early, and its errors say why */
    double took_s = (double)(measure->after.at_ns - measure->before.at_ns) / 1e9;
    metric_init(metric, name, unit, whole ? (double)measure->operations / took_s : 0);
    if (whole && measure->operations > 0)
        fill_cpu(measure, metric);
    if (measure->latency.count > 0) {
        metric->columns[COLUMN_P50_US] = (double)histogram_percentile(&measure->latency, 500) / 1e3;
        metric->columns[COLUMN_P99_US] = (double)histogram_percentile(&measure->latency, 990) / 1e3;
        metric->columns[COLUMN_MAX_US] = (double)measure->latency.largest / 1e3;
    }
    metric->columns[COLUMN_RETRIES] = (double)measure->retries;
    metric->columns[COLUMN_ERRORS] = (double)measure->errors;
}
