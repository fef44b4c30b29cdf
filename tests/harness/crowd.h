/* SPDX-License-Identifier: MIT */
/* crowd.h - writers and readers at a cluster, each a `client --json` that knows all its servers,
 * who go on whatever happens to these; and the verdict on what they saw.
 *
 * All are in one room; a line in so many goes to the next writer alone. Writers type at a steady
 * rate, and wait when much of what they typed is not acknowledged. One thread. */
#ifndef JACKDAW_TESTS_CROWD_H
#define JACKDAW_TESTS_CROWD_H

#include "harness/checker.h"
#include "harness/cluster.h"
#include "harness/json_client.h"

#define CROWD_CLIENTS_MAX 4 /* of each kind */
#define CROWD_ROOM "lobby"

struct crowd {
    struct cluster *cluster;
    size_t writer_count, reader_count;
    struct json_client *writers[CROWD_CLIENTS_MAX];
    struct json_client *readers[CROWD_CLIENTS_MAX];
    unsigned typed[CROWD_CLIENTS_MAX];
    bool is_quiet; /* since crowd_settle, until it goes on */
    uint64_t started_ms;
};

/* Starts the clients; client i is where server i % count is, in a network with places. */
void crowd_open(struct crowd *crowd, struct cluster *cluster, size_t writers, size_t readers);
/* For crowds that are not opened as a whole: one more, where server `place` is. */
void crowd_add_writer(struct crowd *crowd, struct cluster *cluster, size_t place);
void crowd_add_reader(struct crowd *crowd, struct cluster *cluster, size_t place);
/* Frees what the crowd knows; the processes are the stage's. */
void crowd_free(struct crowd *crowd);

/* Lets the writers type what is due. True: it stands in conditions, before all else. */
bool crowd_feed(struct crowd *crowd);

size_t crowd_acknowledged(const struct crowd *crowd);
/* Of one writer. */
size_t crowd_sent(const struct crowd *crowd, size_t writer);

/* Whether every writer has typed as much as it may without being answered. */
bool crowd_is_stuck(const struct crowd *crowd);

/* Waits until so many more lines are acknowledged; of each writer. */
void crowd_go_on(struct crowd *crowd, size_t more);
void crowd_each_goes_on(struct crowd *crowd, size_t more);

/* The writers pause; waits until all is acknowledged, and has arrived at everyone. */
void crowd_settle(struct crowd *crowd);

/* Settles, lets somebody new read the history from each server, judges all that was seen by the
 * rules, and lets the clients leave; the cluster's servers must be all alike then. */
void crowd_finish(struct crowd *crowd, unsigned rules);

/* What tests of a cluster with a crowd work with, and cmocka's setup and teardown of it. The cluster has
 * no servers yet, and no network of its own. */
struct crowd_fixture {
    struct stage *stage;
    struct cluster cluster;
    struct crowd crowd;
};
int crowd_setup(void **state);
int crowd_teardown(void **state);

/* Waits for condition, while the crowd goes on. It does so as well when the cluster is waited for
 * (cluster.h). */
#define CROWD_WAIT(crowd, condition) \
    STAGE_WAIT_MS((crowd)->cluster->stage, CLUSTER_PATIENCE_MS, crowd_feed(crowd) && (condition))

#endif
