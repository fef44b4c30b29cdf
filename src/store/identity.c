/* SPDX-License-Identifier: MIT */
#include "store/store_internal.h"

#include <string.h>

enum error identity_load(struct store *store, uint64_t *node_id)
{
    struct query query;
    bool row;
    query_read(&query, store, STATEMENT_LOAD_IDENTITY,
               "SELECT node_id, cluster FROM node WHERE one = 1", "read the node's identity");
    enum error error = query_step(&query, &row);
    if (error == OK && !row)
        error = store_fault(store, ERROR_CORRUPT, query.what, "there is none");
    if (error == OK) {
        uint64_t found = query_column_small(&query, UINT16_MAX);
        query_column_exactly(&query, store->now.cluster, STORE_CLUSTER_BYTES);
        error = query_row_error(&query);
        *node_id = found;
    }
    return query_end(&query, error);
}

enum error identity_set_node(struct store *store, uint64_t node_id)
{
    bool alone;
    enum error error = store_begin_alone(store, &alone);
    if (error != OK)
        return error;
    struct query query;
    query_write(&query, store, STATEMENT_SET_NODE, "UPDATE node SET node_id = ?1",
                "write the node's identity");
    query_bind_number(&query, node_id);
    return store_end_alone(store, alone, query_run(&query));
}

void store_cluster(const struct store *store, uint8_t cluster[static STORE_CLUSTER_BYTES])
{
    memcpy(cluster, store->now.cluster, STORE_CLUSTER_BYTES);
}

enum error store_set_cluster(struct store *store, const uint8_t cluster[static STORE_CLUSTER_BYTES])
{
    static const uint8_t unset[STORE_CLUSTER_BYTES];
    if (memcmp(store->now.cluster, cluster, STORE_CLUSTER_BYTES) == 0)
        return OK;
    if (memcmp(store->now.cluster, unset, STORE_CLUSTER_BYTES) != 0)
        return store_fault(store, ERROR_MISMATCH, "set the cluster",
                           "the database belongs to another cluster");
    bool alone;
    enum error error = store_begin_alone(store, &alone);
    if (error != OK)
        return error;
    struct query query;
    query_write(&query, store, STATEMENT_SET_CLUSTER, "UPDATE node SET cluster = ?1",
                "set the cluster");
    query_bind_bytes(&query, cluster, STORE_CLUSTER_BYTES);
    error = query_run(&query);
    if (error == OK)
        memcpy(store->now.cluster, cluster, STORE_CLUSTER_BYTES);
    return store_end_alone(store, alone, error);
}

enum error store_put_value(struct store *store, const char *key, const void *bytes, size_t size)
{
    bool alone;
    enum error error = store_begin_alone(store, &alone);
    if (error != OK)
        return error;
    struct query query;
    query_write(&query, store, STATEMENT_PUT_VALUE,
                "INSERT OR REPLACE INTO value (key, bytes) VALUES (?1, ?2)", "write a value");
    query_bind_string(&query, key);
    query_bind_bytes(&query, bytes, size);
    return store_end_alone(store, alone, query_run(&query));
}

static enum error clear_values(struct store *store)
{
    struct query query;
    query_write(&query, store, STATEMENT_CLEAR_VALUES, "DELETE FROM value", "clear the values");
    return query_run(&query);
}

enum error identity_copy_values(struct store *to, struct store *from)
{
    enum error error = clear_values(to);
    if (error != OK)
        return error;
    struct query query;
    bool row;
    query_read(&query, from, STATEMENT_EACH_VALUE, "SELECT key, bytes FROM value",
               "read the values");
    while ((error = query_step(&query, &row)) == OK && row) {
        size_t size;
        const char *key = query_column_string(&query);
        const uint8_t *bytes = query_column_bytes(&query, &size);
        error = query_row_error(&query);
        if (error == OK)
            error = store_put_value(to, key, bytes, size);
        if (error != OK)
            break;
    }
    return query_end(&query, error);
}

enum error store_get_value(struct store *store, const char *key, void *bytes, size_t size,
                           size_t *used)
{
    struct query query;
    bool row;
    query_read(&query, store, STATEMENT_GET_VALUE, "SELECT key, bytes FROM value WHERE key = ?1",
               "read a value");
    query_bind_string(&query, key);
    enum error error = query_step(&query, &row);
    if (error == OK && !row)
        error = ERROR_NOT_FOUND;
    if (error == OK) {
        size_t length;
        (void)query_column_string(&query);
        const uint8_t *found = query_column_bytes(&query, &length);
        error = query_row_error(&query);
        if (error == OK) {
            if (size > 0 && length > 0)
                memcpy(bytes, found, length < size ? length : size);
            *used = length;
        }
    }
    return query_end(&query, error);
}
