/* SPDX-License-Identifier: MIT */
#include "bench.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#define EXTRA_TEXT_SIZE 64

/* A folder for each server: all keep a log in theirs. */
static enum error make_folder(const struct load_fixture *load_fixture,
                              char path[static PROCESS_PATH_SIZE], struct error_text *why)
{
    (void)snprintf(path, PROCESS_PATH_SIZE, "%.*s/%zu", PROCESS_PATH_SIZE - 16,
                   load_fixture->folder, load_fixture->count + 1);
    if (mkdir(path, 0700) != 0)
        return error_set(why, error_from_errno(errno), "make %s: %s", path, strerror(errno));
    return OK;
}

static void choose_options(const struct load_fixture *load_fixture,
                           char connections[static EXTRA_TEXT_SIZE],
                           char members[static EXTRA_TEXT_SIZE],
                           const char *extra[static PROCESS_EXTRA_MAX + 1])
{
    (void)snprintf(connections, EXTRA_TEXT_SIZE, "--max_clients=%zu",
                   load_fixture->clients + 64 < 10000 ? (size_t)10000 : load_fixture->clients + 64);
    (void)snprintf(members, EXTRA_TEXT_SIZE, "--max_room_members=%zu",
                   load_fixture->clients + 8 < 1024 ? (size_t)1024 : load_fixture->clients + 8);
    size_t used = 0;
    extra[used++] = "--rate_limit=0";
    extra[used++] = "--password_cost=minimal";
    extra[used++] = members;
    extra[used++] = "--max_sessions=2";
    extra[used++] = connections;
    if (load_fixture->option != NULL)
        extra[used++] = load_fixture->option;
    const struct option_strings *more = &load_fixture->bench->settings->server_options;
    for (size_t i = 0; i < more->count && used < PROCESS_EXTRA_MAX; i++)
        extra[used++] = more->items[i];
    extra[used] = NULL;
}

static enum error start_server(struct load_fixture *load_fixture, const char *master, bool wait,
                               struct error_text *why)
{
    char connections[EXTRA_TEXT_SIZE];
    char members[EXTRA_TEXT_SIZE];
    const char *extra[PROCESS_EXTRA_MAX + 1];
    char folder[PROCESS_PATH_SIZE];
    choose_options(load_fixture, connections, members, extra);
    struct process_options options = {.program = load_fixture->bench->settings->server,
                                      .server_id = (unsigned)load_fixture->count + 1,
                                      .master_address = master,
                                      .folder = folder,
                                      .extra = extra};
    enum error error = make_folder(load_fixture, folder, why);
    if (error != OK)
        return error;
    struct process *process = &load_fixture->processes[load_fixture->count];
    error = wait ? process_start(process, &options, why) : process_spawn(process, &options, why);
    if (error == OK)
        load_fixture->count++;
    return error;
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
    (void)snprintf(load_fixture->folder, sizeof load_fixture->folder, "%.*s/%u",
                   PROCESS_PATH_SIZE - 16, bench->folder, bench->venues);
    if (mkdir(load_fixture->folder, 0700) != 0)
        return error_set(why, error_from_errno(errno), "make %s: %s", load_fixture->folder,
                         strerror(errno));
    enum error error = start_server(load_fixture, NULL, true, why);
    load_fixture->server = load_fixture->processes[0].id;
    load_fixture->address = load_fixture->processes[0].clients;
    while (error == OK && load_fixture->count < options->servers)
        error = load_fixture_add_slave(load_fixture, true, why);
    return error;
}

enum error load_fixture_add_slave(struct load_fixture *load_fixture, bool wait,
                                  struct error_text *why)
{
    if (load_fixture->count == 0 || load_fixture->count == LOAD_FIXTURE_SERVERS_MAX)
        return error_set(why, ERROR_INVALID, "a slave needs a master that was started here");
    char master[ADDRESS_TEXT_SIZE];
    address_format(&load_fixture->processes[0].internal, master);
    return start_server(load_fixture, master, wait, why);
}

enum error load_fixture_fill(struct load_fixture *load_fixture, size_t clients, size_t room_size,
                             struct error_text *why)
{
    struct client_pool_options options = {.address = load_fixture->address,
                                          .count = clients,
                                          .room_size = room_size,
                                          .tag = load_fixture->tag};
    return client_pool_open(&load_fixture->pool, &options, why);
}

bool load_fixture_close(struct load_fixture *load_fixture)
{
    client_pool_close(&load_fixture->pool);
    bool well = true;
    while (load_fixture->count > 0) /* slaves first: none of them takes over */
        well = process_stop(&load_fixture->processes[--load_fixture->count]) && well;
    scratch_remove(load_fixture->folder);
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
