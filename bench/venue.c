/* SPDX-License-Identifier: MIT */
#include "bench.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#define EXTRA_TEXT_SIZE 64

static enum error start_server(struct venue *venue, const struct bench *bench, size_t clients,
                               struct error_text *why)
{
    char connections[EXTRA_TEXT_SIZE];
    char members[EXTRA_TEXT_SIZE];
    (void)snprintf(connections, sizeof connections, "--max_clients=%zu",
                   clients + 64 < 10000 ? (size_t)10000 : clients + 64);
    (void)snprintf(members, sizeof members, "--max_room_members=%zu",
                   clients + 8 < 1024 ? (size_t)1024 : clients + 8);
    const char *extra[PROCESS_EXTRA_MAX + 1] = {"--rate_limit=0", "--password_cost=minimal",
                                                members, "--max_sessions=2", connections};
    const struct option_strings *more = &bench->settings->server_options;
    size_t used = 5;
    for (size_t i = 0; i < more->count && used < PROCESS_EXTRA_MAX; i++)
        extra[used++] = more->items[i];
    struct process_options options = {.program = bench->settings->server,
                                      .server_id = 1,
                                      .folder = venue->folder,
                                      .extra = extra};
    enum error error = process_start(&venue->process, &options, why);
    venue->server = venue->process.id;
    venue->address = venue->process.clients;
    return error;
}

enum error venue_open(struct venue *venue, struct bench *bench, size_t clients,
                      struct error_text *why)
{
    const struct settings *settings = bench->settings;
    *venue = (struct venue){.process.output = -1, .crowd.loop.epoll = -1};
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
    return start_server(venue, bench, clients, why);
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
    bool well = venue->process.id == 0 || process_stop(&venue->process);
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
