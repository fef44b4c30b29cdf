/* SPDX-License-Identifier: MIT */
#include "bench.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#define EXTRA_TEXT_SIZE 64

/* A folder for each server: all keep a log in theirs. */
static enum error make_folder(const struct venue *venue, char path[static PROCESS_PATH_SIZE],
                              struct error_text *why)
{
    (void)snprintf(path, PROCESS_PATH_SIZE, "%.*s/%zu", PROCESS_PATH_SIZE - 16, venue->folder,
                   venue->count + 1);
    if (mkdir(path, 0700) != 0)
        return error_set(why, error_from_errno(errno), "make %s: %s", path, strerror(errno));
    return OK;
}

static void choose_options(const struct venue *venue, char connections[static EXTRA_TEXT_SIZE],
                           char members[static EXTRA_TEXT_SIZE],
                           const char *extra[static PROCESS_EXTRA_MAX + 1])
{
    (void)snprintf(connections, EXTRA_TEXT_SIZE, "--max_clients=%zu",
                   venue->clients + 64 < 10000 ? (size_t)10000 : venue->clients + 64);
    (void)snprintf(members, EXTRA_TEXT_SIZE, "--max_room_members=%zu",
                   venue->clients + 8 < 1024 ? (size_t)1024 : venue->clients + 8);
    size_t used = 0;
    extra[used++] = "--rate_limit=0";
    extra[used++] = "--password_cost=minimal";
    extra[used++] = members;
    extra[used++] = "--max_sessions=2";
    extra[used++] = connections;
    if (venue->option != NULL)
        extra[used++] = venue->option;
    const struct option_strings *more = &venue->bench->settings->server_options;
    for (size_t i = 0; i < more->count && used < PROCESS_EXTRA_MAX; i++)
        extra[used++] = more->items[i];
    extra[used] = NULL;
}

static enum error start_server(struct venue *venue, const char *master, bool wait,
                               struct error_text *why)
{
    char connections[EXTRA_TEXT_SIZE];
    char members[EXTRA_TEXT_SIZE];
    const char *extra[PROCESS_EXTRA_MAX + 1];
    char folder[PROCESS_PATH_SIZE];
    choose_options(venue, connections, members, extra);
    struct process_options options = {.program = venue->bench->settings->server,
                                      .server_id = (unsigned)venue->count + 1,
                                      .master_address = master,
                                      .folder = folder,
                                      .extra = extra};
    enum error error = make_folder(venue, folder, why);
    if (error != OK)
        return error;
    struct process *process = &venue->processes[venue->count];
    error = wait ? process_start(process, &options, why) : process_spawn(process, &options, why);
    if (error == OK)
        venue->count++;
    return error;
}

enum error venue_open(struct venue *venue, struct bench *bench, const struct venue_options *options,
                      struct error_text *why)
{
    const struct settings *settings = bench->settings;
    *venue = (struct venue){.bench = bench,
                            .clients = options->clients,
                            .option = options->option,
                            .crowd.loop.epoll = -1};
    bench->venues++;
    (void)snprintf(venue->tag, sizeof venue->tag, "%.8s%u", bench->tag, bench->venues);
    if (settings->address.port != 0) {
        venue->address = settings->address;
        venue->server = (pid_t)settings->server_pid;
        return OK;
    }
    (void)snprintf(venue->folder, sizeof venue->folder, "%.*s/%u", PROCESS_PATH_SIZE - 16,
                   bench->folder, bench->venues);
    if (mkdir(venue->folder, 0700) != 0)
        return error_set(why, error_from_errno(errno), "make %s: %s", venue->folder,
                         strerror(errno));
    enum error error = start_server(venue, NULL, true, why);
    venue->server = venue->processes[0].id;
    venue->address = venue->processes[0].clients;
    while (error == OK && venue->count < options->servers)
        error = venue_add_slave(venue, true, why);
    return error;
}

enum error venue_add_slave(struct venue *venue, bool wait, struct error_text *why)
{
    if (venue->count == 0 || venue->count == VENUE_SERVERS_MAX)
        return error_set(why, ERROR_INVALID, "a slave needs a master that was started here");
    char master[ADDRESS_TEXT_SIZE];
    address_format(&venue->processes[0].internal, master);
    return start_server(venue, master, wait, why);
}

enum error venue_fill(struct venue *venue, size_t clients, size_t room_size, struct error_text *why)
{
    struct crowd_options options = {
        .address = venue->address, .count = clients, .room_size = room_size, .tag = venue->tag};
    return crowd_open(&venue->crowd, &options, why);
}

bool venue_close(struct venue *venue)
{
    crowd_close(&venue->crowd);
    bool well = true;
    while (venue->count > 0) /* slaves first: none of them takes over */
        well = process_stop(&venue->processes[--venue->count]) && well;
    scratch_remove(venue->folder);
    return well;
}

void bench_add(struct bench *bench, const struct figure *figure)
{
    report_add(&bench->report, figure, bench->progress);
    if (figure->columns[COLUMN_ERRORS] > 0)
        bench->failed = true;
}

void bench_complain(struct bench *bench, const char *scenario, const char *problem)
{
    (void)fprintf(stderr, "%s: %s\n", scenario, problem);
    bench->failed = true;
}
