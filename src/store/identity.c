/* SPDX-License-Identifier: MIT */
#include "store/store_internal.h"

#include <string.h>

enum error identity_load(struct store *store)
{
    struct query query;
    bool row;
    query_read(&query, store, STATEMENT_LOAD_IDENTITY, "SELECT cluster FROM node WHERE one = 1",
               "read the identity");
    enum error error = query_step(&query, &row);
    if (error == OK && !row)
        error = store_fault(store, ERROR_CORRUPT, query.what, "there is none");
    if (error == OK) {
        query_column_exactly(&query, store->now.cluster, STORE_CLUSTER_BYTES);
        error = query_row_error(&query);
    }
    return query_end(&query, error);
}

void store_cluster(const struct store *store, uint8_t cluster[static STORE_CLUSTER_BYTES])
{
    memcpy(cluster, store->now.cluster, STORE_CLUSTER_BYTES);
}

static enum error write_cluster(struct store *store, void *context)
{
    struct query query;
    query_write(&query, store, STATEMENT_SET_CLUSTER, "UPDATE node SET cluster = ?1",
                "set the cluster");
    query_bind_bytes(&query, context, STORE_CLUSTER_BYTES);
    return query_run(&query);
}

enum error store_set_cluster(struct store *store, const uint8_t cluster[static STORE_CLUSTER_BYTES])
{
    static const uint8_t unset[STORE_CLUSTER_BYTES];
    if (memcmp(store->now.cluster, cluster, STORE_CLUSTER_BYTES) == 0)
        return OK;
    if (memcmp(store->now.cluster, unset, STORE_CLUSTER_BYTES) != 0)
        return store_fault(store, ERROR_MISMATCH, "set the cluster",
                           "the database belongs to another cluster");
    uint8_t copy[STORE_CLUSTER_BYTES];
    memcpy(copy, cluster, sizeof copy);
    enum error error = projection_run(store, write_cluster, copy, &store->problem);
    if (error == OK) { /* a rollback of the open transaction must not undo it */
        memcpy(store->now.cluster, cluster, STORE_CLUSTER_BYTES);
        memcpy(store->at_begin.cluster, cluster, STORE_CLUSTER_BYTES);
    }
    return error;
}

uint64_t store_promised(const struct store *store)
{
    ASSERT(!store->is_reader);
    return store->node.promised;
}

/* Not by store_fault: the open transaction, which has nothing to do with it, stays whole. */
enum error store_set_promised(struct store *store, uint64_t promised)
{
    ASSERT(!store->is_reader && promised >= store->node.promised);
    if (promised == store->node.promised)
        return OK;
    return node_file_set(&store->node, promised, &store->problem);
}
