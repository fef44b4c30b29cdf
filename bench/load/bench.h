/* SPDX-License-Identifier: MIT */
/* bench.h - what the scenarios share: the settings, the report, and a load fixture (a server with a client pool
 * of clients) for each of them. One thread. */
#ifndef JACKDAW_BENCH_BENCH_H
#define JACKDAW_BENCH_BENCH_H

#include "base/address.h"
#include "base/error.h"
#include "base/options.h"
#include "client_pool.h"
#include "harness/node.h"
#include "measure.h"
#include "report.h"

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

struct settings {
    const char *server;
    struct address address;
    uint32_t server_pid;
    const char *folder;
    struct option_strings server_options;
    struct option_strings scenarios;
    struct option_strings sends;
    uint32_t measured_ms;
    uint32_t warm_up_ms;
    uint32_t text_bytes;
    uint32_t receivers;
    uint32_t in_flight;
    uint32_t idle_clients;
    uint32_t servers;
    uint32_t join_messages;
    uint32_t rounds;
    bool apart;
    bool quick;
    bool json;
    bool help;
};

#define CLIENTS_MAX 4096u /* of send; receivers of a room */
#define BENCH_TAG_SIZE 17
#define LOAD_FIXTURE_SERVERS_MAX 5
#define LOAD_FIXTURE_TEXT_SIZE (ADDRESS_TEXT_SIZE + 32)

struct bench {
    const struct settings *settings;
    struct measure_times times;
    struct measure_times limit_times; /* shorter: limits are steady */
    struct report report;
    FILE *progress;           /* where rows go as they are measured; or NULL */
    char tag[BENCH_TAG_SIZE]; /* of this run */
    unsigned venues;          /* so far */
    char *text;               /* of every message */
    bool failed;              /* something was wrong: the program ends with 1 */
};

/* Keeps and prints a row; one with errors makes the run fail. */
void bench_add(struct bench *bench, const struct metric *metric);
/* Says what went wrong, and makes the run fail. */
void bench_complain(struct bench *bench, const char *scenario, const char *problem);

/* A server, or a master with slaves, and the clients on it. With --address the server is the given
 * one. */
struct load_fixture {
    struct bench *bench;
    size_t clients;
    const char *option;
    struct process_group *group;                 /* NULL with --address */
    struct node nodes[LOAD_FIXTURE_SERVERS_MAX]; /* the master first */
    size_t count;                                /* 0 with --address */
    pid_t server;                                /* the master; 0: not known */
    char texts[3][LOAD_FIXTURE_TEXT_SIZE];       /* of options */
    struct address address;
    struct pool pool;
    char tag[BENCH_TAG_SIZE];
};

struct load_fixture_options {
    size_t clients;     /* there must be room for so many */
    size_t servers;     /* 0 is 1; not with --address */
    const char *option; /* for all of them; NULL: none */
};

/* Starts the servers and waits until all are in sync; no client yet. *load fixture: ended with load_fixture_close,
 * also after an error. */
enum error load_fixture_open(struct load_fixture *load_fixture, struct bench *bench,
                             const struct load_fixture_options *options, struct error_text *why);
/* One more server, a slave of the first; returns when it is in sync, or with wait unset at once. Not
 * with --address. */
enum error load_fixture_add_slave(struct load_fixture *load_fixture, bool wait,
                                  struct error_text *why);
/* Where all clients but the first are, who is at the master. */
enum load_places { PLACES_MASTER, PLACES_ALL, PLACES_SLAVES };
enum error load_fixture_fill(struct load_fixture *load_fixture, size_t clients, size_t room_size,
                             enum load_places places, struct error_text *why);
/* False: the server did not end well. */
bool load_fixture_close(struct load_fixture *load_fixture);

/* A run of a load fixture whose clients are in their rooms. */
struct load_run {
    const char *name;
    struct load_fixture_options options;
    size_t room_size;
    enum load_places places;
    void (*run)(struct bench *bench, struct load_fixture *load_fixture,
                const struct load_run *load_run);
    const void *context;
};

/* Opens the load fixture, runs with it, closes it, and complains of what went wrong. */
void bench_run(struct bench *bench, const struct load_run *load_run);

/* Adds the row of what was measured. */
void bench_add_measured(struct bench *bench, const struct measure *measure, const char *name,
                        const char *unit);

/* Binds this program, and what it starts, to one processor. False: the machine does not allow that. */
bool bench_stay_on(unsigned processor);
#define BENCH_SLAVE_PROCESSOR 1 /* with --apart; all else is on processor 0 */

/* For node.prepare: Ctrl-C is for this program, which then ends the server. */
void bench_leave_group(void *unused);

/* Each scenario adds its rows, and complains when something is wrong. */
struct send_case {
    size_t clients;
    size_t depth;
    bool one_room;
    size_t servers;
};
void scenario_send(struct bench *bench, const struct send_case *what);
void scenario_deliver(struct bench *bench, const char *name, size_t in_flight, double target);
/* The same with the receivers on other servers, too; the master's processor time counts. */
void scenario_readers(struct bench *bench);
void scenario_idle(struct bench *bench);
/* Keeps idle clients connected until a signal ends the program: a burden for other measurements. */
void scenario_hold(struct bench *bench);
/* The rate of the master while a slave joins that needs the whole log, or a snapshot. */
void scenario_join(struct bench *bench, bool snapshot);

/* The limits of the machine (limits.c, echo.c, reply_fan.c). */
void limit_echo(struct bench *bench, size_t clients, size_t depth, bool with_nng);
void limit_reply_fan(struct bench *bench, size_t in_flight);
void limit_disk(struct bench *bench);
void limit_store(struct bench *bench, size_t rows_per_commit);

#define DISK_ROW "limit fdatasync 4 KiB"
#define NNG_SINGLE_ROW "limit nng echo 1x1"

#endif
