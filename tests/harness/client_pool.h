/* SPDX-License-Identifier: MIT */
/* client_pool.h - writers and readers at a cluster, each a `client --json` that knows all its servers,
 * who go on whatever happens to these; and the verdict on what they saw.
 *
 * All are in one room; a line in so many goes to the next writer alone. Writers type at a steady
 * rate, and wait when much of what they typed is not acknowledged. One thread. */
#ifndef JACKDAW_TESTS_CLIENT_POOL_H
#define JACKDAW_TESTS_CLIENT_POOL_H

#include "harness/checker.h"
#include "harness/cluster.h"
#include "harness/json_client.h"

#define CLIENT_POOL_CLIENTS_MAX 4 /* of each kind */
#define CLIENT_POOL_ROOM "lobby"

struct pool {
    struct cluster *cluster;
    size_t writer_count, reader_count;
    struct json_client *writers[CLIENT_POOL_CLIENTS_MAX];
    struct json_client *readers[CLIENT_POOL_CLIENTS_MAX];
    unsigned typed[CLIENT_POOL_CLIENTS_MAX];
    bool is_unpaced; /* set before the first client: they type as fast as they are acknowledged */
    bool is_quiet;   /* since client_pool_settle, until it goes on */
    uint64_t started_ms;
};

/* Starts the clients; client i is where server i % count is, in a network with places. */
void client_pool_open(struct pool *pool, struct cluster *cluster, size_t writers, size_t readers);
/* For crowds that are not opened as a whole: one more, where server `place` is. */
void client_pool_add_writer(struct pool *pool, struct cluster *cluster, size_t place);
void client_pool_add_reader(struct pool *pool, struct cluster *cluster, size_t place);

/* Lets the writers type what is due. True: it stands in conditions, before all else. */
bool client_pool_feed(struct pool *pool);

size_t client_pool_acknowledged(const struct pool *pool);
/* Of one writer. */
size_t client_pool_sent(const struct pool *pool, size_t writer);

/* Whether every writer has typed as much as it may without being answered. */
bool client_pool_is_stuck(const struct pool *pool);

/* Waits until so many more lines are acknowledged; of each writer. */
void client_pool_go_on(struct pool *pool, size_t more);
void client_pool_each_goes_on(struct pool *pool, size_t more);

/* The writers pause; waits until all is acknowledged, and has arrived at everyone. */
void client_pool_settle(struct pool *pool);

/* Settles, lets somebody new read the history from each server, judges all that was seen by the
 * rules, and lets the clients leave; the cluster's servers must be all alike then. */
void client_pool_finish(struct pool *pool, unsigned rules);

/* Waits for condition, while the client pool goes on. It does so as well when the cluster is waited for
 * (cluster.h). */
#define CLIENT_POOL_WAIT(pool, condition)                              \
    PROCESS_GROUP_WAIT_MS((pool)->cluster->group, CLUSTER_PATIENCE_MS, \
                          client_pool_feed(pool) && (condition))

#endif
