/* SPDX-License-Identifier: MIT */
/* A database without anything of the chat. */
#include "store/store_internal.h"

#include <string.h>

enum error store_is_blank(struct store *store, bool *is_blank)
{
    struct query query;
    bool row;
    query_read(&query, store, STATEMENT_HAS_CHAT, "SELECT 1 FROM log WHERE kind = 0 LIMIT 1",
               "look for the chat in the log");
    enum error error = query_end(&query, query_step(&query, &row));
    if (error == OK)
        *is_blank = !row && store->now.log_first <= 1 && store->now.orphan_count == 0;
    return error;
}

static enum error run(struct store *store, enum statement which, const char *sql)
{
    struct query query;
    query_write(&query, store, which, sql, "forget a blank cluster");
    return query_run(&query);
}

static enum error forget(struct store *store)
{
    enum error error = run(store, STATEMENT_RESET_NODE, "UPDATE node SET cluster = zeroblob(16)");
    if (error == OK)
        error = run(store, STATEMENT_RESET_EPOCH_STARTS, "DELETE FROM epoch_start");
    if (error == OK)
        error = run(store, STATEMENT_RESET_LOG, "DELETE FROM log");
    if (error == OK)
        error = run(store, STATEMENT_RESET_MEMBERS, "DELETE FROM cluster_members");
    return error;
}

enum error store_reset(struct store *store)
{
    bool is_blank = false;
    enum error error = store_is_blank(store, &is_blank);
    if (error == OK && !is_blank)
        return store_fault(store, ERROR_MISMATCH, "forget a cluster", "it has something of a chat");
    if (error == OK)
        error = store_begin(store);
    if (error != OK)
        return error;
    error = forget(store);
    if (error == OK)
        error = store_commit(store);
    if (error != OK) {
        store_rollback(store);
        return error;
    }
    memset(store->now.cluster, 0, sizeof store->now.cluster);
    error = log_load_position(store, false);
    if (error == OK)
        error = epoch_load(store);
    /* Last: a promise that is too high is safe, one that is lost is not. */
    return error == OK ? node_file_set(&store->node, 0, &store->problem) : error;
}
