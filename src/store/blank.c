/* SPDX-License-Identifier: MIT */
/* A database without anything of the chat. */
#include "store/store_internal.h"

#include <string.h>

bool store_is_blank(const struct store *store)
{
    return !store->now.end.has_chat && store->now.log_first <= 1 && store_orphan_count(store) == 0;
}

static enum error run(struct store *store, enum statement which, const char *sql)
{
    struct query query;
    query_write(&query, store, which, sql, "forget a blank cluster");
    return query_run(&query);
}

/* The log is to begin anew, also if the process ends before it has. */
static enum error forget(struct store *store, void *context)
{
    (void)context;
    enum error error = run(store, STATEMENT_RESET_NODE, "UPDATE node SET cluster = zeroblob(16)");
    if (error == OK)
        error = run(store, STATEMENT_RESET_EPOCH_STARTS, "DELETE FROM epoch_start");
    if (error == OK)
        error = run(store, STATEMENT_RESET_MEMBERS, "DELETE FROM cluster_members");
    if (error == OK)
        error = log_end_write(store, &(struct log_end){0});
    return error == OK ? log_copy_set_base(store, &(struct segment_log_end){0}) : error;
}

static enum error end_anew(struct store *store, void *context)
{
    (void)context;
    return log_copy_clear(store);
}

enum error blank_end_reset(struct store *store)
{
    enum error error = projection_run(store, end_anew, NULL, &store->problem);
    if (error == OK)
        store->has_log_base = false;
    return error;
}

enum error store_reset(struct store *store)
{
    ASSERT(!store->in_transaction);
    if (!store_is_blank(store))
        return store_fault(store, ERROR_MISMATCH, "forget a cluster", "it has something of a chat");
    enum error error = projection_run(store, forget, NULL, &store->problem);
    if (error != OK)
        return error;
    store->has_log_base = true;
    memset(store->now.cluster, 0, sizeof store->now.cluster);
    store->now.end = (struct log_end){0};
    store->now.epoch_count = 0;
    if (store->log != NULL)
        error = segment_log_reset(store->log, &(struct segment_log_end){0}, &store->problem);
    store->now.log_first = 0;
    if (error == OK)
        error = blank_end_reset(store);
    /* Last: a promise that is too high is safe, one that is lost is not. */
    return error == OK ? node_file_set(&store->node, 0, &store->problem) : error;
}
