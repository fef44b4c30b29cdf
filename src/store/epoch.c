/* SPDX-License-Identifier: MIT */
#include "store/store_internal.h"

#define FIRST_EPOCH_STARTS 16

static enum error reserve(struct store *store, size_t count)
{
    if (count <= store->epoch_start_capacity)
        return OK;
    size_t capacity =
        store->epoch_start_capacity == 0 ? FIRST_EPOCH_STARTS : store->epoch_start_capacity * 2;
    struct epoch_row *epoch_starts =
        sqlite3_realloc64(store->epoch_starts, capacity * sizeof *epoch_starts);
    if (epoch_starts == NULL)
        return store_fault(store, ERROR_NO_MEMORY, "keep an epoch", "epoch history");
    store->epoch_starts = epoch_starts;
    store->epoch_start_capacity = capacity;
    return OK;
}

static bool follows(const struct store *store, const struct epoch_row *epoch_start)
{
    if (epoch_start->first_seq == 0 || epoch_start->first_seq > INT64_MAX ||
        epoch_start->epoch == 0)
        return false;
    if (store->now.epoch_start_count == 0)
        return true;
    const struct epoch_row *last = &store->epoch_starts[store->now.epoch_start_count - 1];
    return epoch_start->epoch > last->epoch && epoch_start->first_seq > last->first_seq;
}

static enum error keep(struct store *store, const struct epoch_row *epoch_start)
{
    enum error error = reserve(store, store->now.epoch_start_count + 1);
    if (error == OK)
        store->epoch_starts[store->now.epoch_start_count++] = *epoch_start;
    return error;
}

enum error epoch_load(struct store *store)
{
    struct query query;
    bool row;
    query_read(&query, store, STATEMENT_EACH_EPOCH_START,
               "SELECT epoch, first_seq FROM epoch_start ORDER BY first_seq", "read the epochs");
    store->now.epoch_start_count = 0;
    enum error error;
    while ((error = query_step(&query, &row)) == OK && row) {
        struct epoch_row epoch_start;
        epoch_start.epoch = query_column_number(&query);
        epoch_start.first_seq = query_column_ordered(&query);
        error = query_row_error(&query);
        if (error == OK && !follows(store, &epoch_start))
            error = store_fault(store, ERROR_CORRUPT, query.what, "they do not ascend");
        if (error == OK)
            error = keep(store, &epoch_start);
        if (error != OK)
            break;
    }
    return query_end(&query, error);
}

enum error store_add_epoch(struct store *store, const struct epoch_row *epoch_start)
{
    if (!follows(store, epoch_start))
        return error_set(&store->problem, ERROR_INVALID,
                         "add an epoch: epoch %llu from seq %llu does not follow the last one",
                         (unsigned long long)epoch_start->epoch,
                         (unsigned long long)epoch_start->first_seq);
    enum error error = reserve(store, store->now.epoch_start_count + 1);
    if (error != OK)
        return error;
    struct query query;
    query_write(&query, store, STATEMENT_ADD_EPOCH_START,
                "INSERT INTO epoch_start (epoch, first_seq) VALUES (?1, ?2)", "add an epoch");
    query_bind_number(&query, epoch_start->epoch);
    query_bind_number(&query, epoch_start->first_seq);
    error = query_run(&query);
    return error == OK ? keep(store, epoch_start) : error;
}

enum error store_each_epoch(struct store *store,
                            enum error (*visit)(void *context, const struct epoch_row *row),
                            void *context)
{
    enum error error = store->is_reader ? query_read_enter(store) : OK;
    for (size_t i = 0; i < store->now.epoch_start_count && error == OK; i++)
        error = visit(context, &store->epoch_starts[i]);
    if (store->is_reader)
        query_read_leave(store);
    return error;
}

/* The epoch that seq falls in, or NULL. While a transaction is open, the deltas that it is about to
 * append belong to the last epoch. */
static const struct epoch_row *epoch_start_of(const struct store *store, uint64_t seq)
{
    if (seq == 0 || (seq > store->now.position.seq && !store->in_transaction))
        return NULL;
    size_t low = 0;
    size_t high = store->now.epoch_start_count;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        if (store->epoch_starts[middle].first_seq <= seq)
            low = middle + 1;
        else
            high = middle;
    }
    return low == 0 ? NULL : &store->epoch_starts[low - 1];
}

uint64_t store_epoch_at(const struct store *store, uint64_t seq)
{
    const struct epoch_row *epoch_start = epoch_start_of(store, seq);
    return epoch_start == NULL ? 0 : epoch_start->epoch;
}
