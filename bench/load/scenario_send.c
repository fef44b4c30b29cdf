/* SPDX-License-Identifier: MIT */
/* scenario_send.c - C clients with D Send requests in flight each, on one server or on several. */
#include "program.h"
#include "send_run.h"
#include "spec.pb-c.h"

#include <string.h>

static void drive(struct send_run *run)
{
    struct pool *pool = run->pool;
    send_run_start(run);
    while (measure_step(&run->measure, pool->loop.now_ns) != PHASE_OVER &&
           !client_pool_has_failed(pool)) {
        send_run_turn(run);
        if (run->measure.phase == PHASE_DRAINING && send_run_open(run) == 0)
            break;
    }
}

/* An acknowledged message is on all disks only while the master has all in sync. */
static void check_in_sync(struct send_run *run, size_t servers)
{
    Jackdaw__StatusRequest request = JACKDAW__STATUS_REQUEST__INIT;
    ProtobufCMessage *reply;
    struct error_text why;
    if (client_pool_call(run->pool, &run->pool->clients[0], "jackdaw.Operator", "Status",
                         &request.base, &jackdaw__status_reply__descriptor, &reply, &why) != OK)
        return; /* the client pool has failed */
    const Jackdaw__StatusReply *status = (const Jackdaw__StatusReply *)reply;
    size_t in_sync = 0;
    for (size_t i = 0; i < status->n_members; i++)
        in_sync += status->members[i]->in_sync ? 1 : 0;
    if (in_sync != servers)
        client_pool_fail(run->pool, "%zu of %zu servers are in sync", in_sync, servers);
    protobuf_c_message_free_unpacked(reply, NULL);
}

static const struct {
    const char *name;
    double least;
} aims[] = {
    {"send 64x1", 30000},
    {"send 64x16", 80000},
    {"3 servers 64x1", 20000},
    {"3 servers 64x16", 60000},
};

/* One client alone: what it waits for is the figure. */
static void add_single_row(struct bench *bench, const char *name, double p50_us, double aim_us)
{
    struct metric metric;
    metric_init(&metric, name, "us", p50_us);
    metric_target(&metric, TARGET_BELOW, aim_us);
    bench_add(bench, &metric);
}

static void add_rows(struct bench *bench, const struct send_run *run, const char *name)
{
    struct metric metric;
    measure_metric(&run->measure, name, "sends/s", &metric);
    for (size_t i = 0; i < sizeof aims / sizeof *aims; i++)
        if (strcmp(name, aims[i].name) == 0)
            metric_target(&metric, TARGET_AT_LEAST, aims[i].least);
    bench_add(bench, &metric);
    double p50_us = metric.columns[COLUMN_P50_US];
    if (strcmp(name, "send 1x1") == 0)
        add_single_row(bench, "send 1x1 p50", p50_us,
                       2 * (report_last(&bench->report, DISK_ROW, COLUMN_P50_US) +
                            report_last(&bench->report, NNG_SINGLE_ROW, COLUMN_P50_US)));
    else if (strcmp(name, "3 servers 1x1") == 0)
        add_single_row(bench, "3 servers 1x1 p50", p50_us, 600);
}

static void run_sends(struct bench *bench, struct load_fixture *load_fixture,
                      const struct load_run *load_run)
{
    const struct send_case *what = load_run->context;
    struct send_run run = {.pool = &load_fixture->pool,
                           .rooms = what->one_room ? 1 : what->clients,
                           .depth = what->depth};
    if (send_run_init(&run, bench)) {
        measure_begin(&run.measure, &bench->times, load_fixture->server,
                      loop_read_clock(&run.pool->loop));
        for (size_t i = 1; i < load_fixture->count; i++)
            measure_add_server(&run.measure, process_id(load_fixture->nodes[i].process));
        drive(&run);
        if (!interrupted())
            send_run_check(&run);
        if (load_fixture->count > 1 && !interrupted())
            check_in_sync(&run, load_fixture->count);
    } else {
        client_pool_fail(run.pool, "out of memory");
    }
    if (client_pool_has_failed(run.pool))
        run.measure.errors++;
    if (!interrupted())
        add_rows(bench, &run, load_run->name);
    send_run_release(&run);
}

static void make_name(const struct send_case *what, char name[static REPORT_NAME_SIZE])
{
    char who[32] = "send";
    if (what->servers > 1)
        (void)snprintf(who, sizeof who, "%u servers", (unsigned)what->servers & 0xffu);
    (void)snprintf(name, REPORT_NAME_SIZE, "%.12s %ux%u%s", who, (unsigned)what->clients,
                   (unsigned)what->depth, what->one_room ? " one room" : "");
}

void scenario_send(struct bench *bench, const struct send_case *what)
{
    char name[REPORT_NAME_SIZE];
    make_name(what, name);
    bench_run(bench,
              &(struct load_run){.name = name,
                                 .options = {.clients = what->clients, .servers = what->servers},
                                 .room_size = what->one_room ? what->clients : 1,
                                 .run = run_sends,
                                 .context = what});
}
