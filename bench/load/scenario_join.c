/* SPDX-License-Identifier: MIT */
/* scenario_join.c - what a master still does while a slave joins it: many messages are written, then
 * the rate is measured alone, while the slave catches up, and once it is in sync. */
#include "program.h"
#include "send_run.h"

#include <sched.h>
#include <stdio.h>

#define CLIENTS 64u
#define FILL_DEPTH 16u
#define JOIN_MS_MAX 120000u
#define LOG_KEPT_MIN 1000u
#define LOG_KEPT_ALL 1000000000u
#define NS_PER_MS UINT64_C(1000000)

struct join_run {
    struct send_run sends;
    struct load_fixture *load_fixture;
    uint64_t fill; /* messages to write first */
    uint64_t begun_ns;
    uint64_t begun_with; /* operations at that time */
};

/* A span of time whose rate counts. */
static void begin_span(struct join_run *run)
{
    run->begun_ns = run->sends.pool->loop.now_ns;
    run->begun_with = run->sends.measure.operations;
}

static double span_rate(const struct join_run *run)
{
    double took_s = (double)(run->sends.pool->loop.now_ns - run->begun_ns) / 1e9;
    return took_s > 0 ? (double)(run->sends.measure.operations - run->begun_with) / took_s : 0;
}

static bool goes_on(const struct join_run *run)
{
    return !client_pool_has_failed(run->sends.pool) && !interrupted();
}

static void run_for(struct join_run *run, uint32_t ms)
{
    uint64_t end_ns = loop_read_clock(&run->sends.pool->loop) + ms * NS_PER_MS;
    while (goes_on(run) && run->sends.pool->loop.now_ns < end_ns)
        send_run_turn(&run->sends);
}

static void fill(struct join_run *run)
{
    while (goes_on(run) && run->sends.measure.operations < run->fill)
        send_run_turn(&run->sends);
}

static void wait_for_slave(struct join_run *run)
{
    struct pool *pool = run->sends.pool;
    uint64_t end_ns = loop_read_clock(&pool->loop) + JOIN_MS_MAX * NS_PER_MS;
    struct node *slave = &run->load_fixture->nodes[1];
    while (goes_on(run) && !node_is_ready(slave)) {
        send_run_turn(&run->sends);
        process_group_turn(run->load_fixture->group, 0);
        bool failed = process_ended(slave->process);
        if (failed || pool->loop.now_ns > end_ns)
            client_pool_fail(pool,
                             failed ? "the slave did not join" : "the slave never got in sync");
    }
}

/* Nothing new is begun, and what is under way ends. */
static void drain(struct join_run *run)
{
    run->sends.measure.phase = PHASE_DRAINING;
    uint64_t end_ns = loop_read_clock(&run->sends.pool->loop) + 5000 * NS_PER_MS;
    while (goes_on(run) && send_run_open(&run->sends) > 0 && run->sends.pool->loop.now_ns < end_ns)
        send_run_turn(&run->sends);
}

static void add_row(struct bench *bench, const struct join_run *run, const char *name,
                    const char *what, const char *unit, double value)
{
    struct metric metric;
    char title[REPORT_NAME_SIZE];
    (void)snprintf(title, sizeof title, "%s %s", name, what);
    metric_init(&metric, title, unit, value);
    if (unit[0] == '%')
        metric_target(&metric, TARGET_AT_LEAST, 80);
    metric.columns[COLUMN_ERRORS] = client_pool_has_failed(run->sends.pool) ? 1 : 0;
    metric.columns[COLUMN_RETRIES] = (double)run->sends.measure.retries;
    bench_add(bench, &metric);
}

static void measure_join(struct bench *bench, struct join_run *run, const char *name)
{
    struct error_text why;
    uint32_t ms = bench->settings->measured_ms;
    run->sends.measure.phase = PHASE_MEASURED;
    send_run_start(&run->sends);
    fill(run);
    run_for(run, bench->settings->warm_up_ms);
    begin_span(run);
    run_for(run, ms);
    double alone = span_rate(run);
    begin_span(run);
    if (goes_on(run) && load_fixture_add_slave(run->load_fixture, false, &why) != OK)
        client_pool_fail(run->sends.pool, "%s", why.text);
    wait_for_slave(run);
    double during = span_rate(run);
    double took_ms = (double)(run->sends.pool->loop.now_ns - run->begun_ns) / 1e6;
    begin_span(run);
    run_for(run, ms);
    double after = span_rate(run);
    drain(run);
    if (!interrupted())
        send_run_check(&run->sends);
    if (interrupted())
        return;
    add_row(bench, run, name, "before", "sends/s", alone);
    add_row(bench, run, name, "during", "sends/s", during);
    add_row(bench, run, name, "after", "sends/s", after);
    add_row(bench, run, name, "kept", "%", alone > 0 ? 100 * during / alone : 0);
    add_row(bench, run, name, "took", "ms", took_ms);
}

static void run_join(struct bench *bench, struct load_fixture *load_fixture,
                     const struct load_run *load_run)
{
    struct join_run run = {
        .sends = {.pool = &load_fixture->pool, .rooms = CLIENTS, .depth = FILL_DEPTH},
        .load_fixture = load_fixture,
        .fill = bench->settings->join_messages};
    if (send_run_init(&run.sends, bench))
        measure_join(bench, &run, load_run->name);
    else
        client_pool_fail(&load_fixture->pool, "out of memory");
    send_run_release(&run.sends);
}

void scenario_join(struct bench *bench, bool snapshot)
{
    cpu_set_t before;
    if (bench->settings->apart &&
        (sched_getaffinity(0, sizeof before, &before) != 0 || !bench_stay_on(0) ||
         !CPU_ISSET(BENCH_SLAVE_PROCESSOR, &before))) {
        bench_complain(bench, "join", "--apart needs the processors 0 and 1");
        return;
    }
    char keep[64]; /* deltas in the log: who needs more gets a snapshot */
    uint32_t quarter = bench->settings->join_messages / 4;
    uint32_t few = quarter < LOG_KEPT_MIN ? LOG_KEPT_MIN : quarter;
    (void)snprintf(keep, sizeof keep, "--log_keep=%u", snapshot ? few : LOG_KEPT_ALL);
    bench_run(bench, &(struct load_run){.name = snapshot ? "join, snapshot:" : "join, log:",
                                        .options = {.clients = CLIENTS, .option = keep},
                                        .room_size = 1,
                                        .run = run_join});
    if (bench->settings->apart)
        (void)sched_setaffinity(0, sizeof before, &before);
}
