/* SPDX-License-Identifier: MIT */
#include "bench.h"

#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <unistd.h>

#define STOP_MS 10000

void bench_leave_group(void *unused)
{
    (void)unused;
    (void)setpgid(0, 0);
}

bool bench_stay_on(unsigned processor)
{
    cpu_set_t set;
    CPU_ZERO(&set);
    CPU_SET(processor, &set);
    return sched_setaffinity(0, sizeof set, &set) == 0;
}

static void leave_group_and_processor(void *unused)
{
    bench_leave_group(unused);
    (void)bench_stay_on(BENCH_SLAVE_PROCESSOR);
}

static void choose_options(struct load_fixture *load_fixture, struct node *node)
{
    (void)snprintf(load_fixture->texts[0], LOAD_FIXTURE_TEXT_SIZE, "--max_clients=%zu",
                   load_fixture->clients + 64 < 10000 ? (size_t)10000 : load_fixture->clients + 64);
    (void)snprintf(load_fixture->texts[1], LOAD_FIXTURE_TEXT_SIZE, "--max_room_members=%zu",
                   load_fixture->clients + 8 < 1024 ? (size_t)1024 : load_fixture->clients + 8);
    size_t used = 0;
    node->options[used++] = load_fixture->texts[0];
    node->options[used++] = load_fixture->texts[1];
    node->options[used++] = "--max_sessions=2";
    if (load_fixture->count > 0)
        node->options[used++] = load_fixture->texts[2];
    if (load_fixture->option != NULL)
        node->options[used++] = load_fixture->option;
    const struct option_strings *more = &load_fixture->bench->settings->server_options;
    for (size_t i = 0; i < more->count && used + 1 < NODE_OPTIONS_MAX; i++)
        node->options[used++] = more->items[i];
}

static void start_server(struct load_fixture *load_fixture)
{
    struct node *node = &load_fixture->nodes[load_fixture->count];
    *node = (struct node){.group = load_fixture->group,
                          .id = (unsigned)load_fixture->count + 1,
                          .program = load_fixture->bench->settings->server,
                          .role = load_fixture->count == 0 ? "master" : "slave",
                          .prepare = bench_leave_group};
    if (load_fixture->bench->settings->apart && load_fixture->count > 0)
        node->prepare = leave_group_and_processor;
    choose_options(load_fixture, node);
    load_fixture->count++;
    node_launch(node);
}

enum error load_fixture_open(struct load_fixture *load_fixture, struct bench *bench,
                             const struct load_fixture_options *options, struct error_text *why)
{
    const struct settings *settings = bench->settings;
    *load_fixture = (struct load_fixture){.bench = bench,
                                          .clients = options->clients,
                                          .option = options->option,
                                          .pool.loop.epoll = -1};
    bench->venues++;
    (void)snprintf(load_fixture->tag, sizeof load_fixture->tag, "%.8s%u", bench->tag,
                   bench->venues);
    if (settings->address.port != 0) {
        load_fixture->address = settings->address;
        load_fixture->server = (pid_t)settings->server_pid;
        return OK;
    }
    load_fixture->group = process_group_open_in(settings->folder);
    start_server(load_fixture);
    node_wait_ready(&load_fixture->nodes[0]);
    load_fixture->server = process_id(load_fixture->nodes[0].process);
    load_fixture->address = node_address(&load_fixture->nodes[0]);
    (void)snprintf(load_fixture->texts[2], LOAD_FIXTURE_TEXT_SIZE, "--master_address=%s",
                   load_fixture->nodes[0].internal);
    enum error error = OK;
    while (error == OK && load_fixture->count < options->servers)
        error = load_fixture_add_slave(load_fixture, true, why);
    return error;
}

enum error load_fixture_add_slave(struct load_fixture *load_fixture, bool wait,
                                  struct error_text *why)
{
    if (load_fixture->count == 0 || load_fixture->count == LOAD_FIXTURE_SERVERS_MAX)
        return error_set(why, ERROR_INVALID, "a slave needs a master that was started here");
    start_server(load_fixture);
    if (wait)
        node_wait_ready(&load_fixture->nodes[load_fixture->count - 1]);
    return OK;
}

enum error load_fixture_fill(struct load_fixture *load_fixture, size_t clients, size_t room_size,
                             enum load_places places, struct error_text *why)
{
    struct address addresses[LOAD_FIXTURE_SERVERS_MAX];
    size_t first = places == PLACES_SLAVES ? 1 : 0;
    size_t count = places == PLACES_MASTER ? 0 : load_fixture->count - first;
    for (size_t i = 0; i < count; i++)
        addresses[i] = node_address(&load_fixture->nodes[first + i]);
    struct client_pool_options options = {.address = load_fixture->address,
                                          .count = clients,
                                          .room_size = room_size,
                                          .places = addresses,
                                          .places_count = count,
                                          .tag = load_fixture->tag};
    return client_pool_open(&load_fixture->pool, &options, why);
}

bool load_fixture_close(struct load_fixture *load_fixture)
{
    client_pool_close(&load_fixture->pool);
    bool well = true;
    while (load_fixture->count > 0) { /* slaves first: none of them takes over */
        struct process *process = load_fixture->nodes[--load_fixture->count].process;
        process_signal(process, SIGTERM);
        well = process_wait(process, STOP_MS) == 0 && well;
    }
    if (load_fixture->group != NULL && well)
        process_group_pass(load_fixture->group);
    process_group_close(load_fixture->group);
    return well;
}

void bench_add(struct bench *bench, const struct metric *metric)
{
    report_add(&bench->report, metric, bench->progress);
    if (metric->columns[COLUMN_ERRORS] > 0)
        bench->failed = true;
}

void bench_complain(struct bench *bench, const char *scenario, const char *problem)
{
    (void)fprintf(stderr, "%s: %s\n", scenario, problem);
    bench->failed = true;
}

void bench_add_measured(struct bench *bench, const struct measure *measure, const char *name,
                        const char *unit)
{
    struct metric metric;
    measure_metric(measure, name, unit, &metric);
    bench_add(bench, &metric);
}

void bench_run(struct bench *bench, const struct load_run *load_run)
{
    struct load_fixture load_fixture;
    struct error_text why;
    enum error error = load_fixture_open(&load_fixture, bench, &load_run->options, &why);
    if (error == OK)
        error = load_fixture_fill(&load_fixture, load_run->options.clients, load_run->room_size,
                                  load_run->places, &why);
    if (error == OK)
        load_run->run(bench, &load_fixture, load_run);
    if (error == OK && client_pool_has_failed(&load_fixture.pool))
        bench_complain(bench, load_run->name, load_fixture.pool.problem.text);
    if (error != OK)
        bench_complain(bench, load_run->name, why.text);
    if (!load_fixture_close(&load_fixture) && error == OK)
        bench_complain(bench, load_run->name, "a server did not end well");
}
