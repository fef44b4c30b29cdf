/* SPDX-License-Identifier: MIT */
#include "store/store_internal.h"

#define FIRST_EPOCHS 16

static enum error reserve(struct store *store, size_t count)
{
    if (count <= store->epoch_capacity)
        return OK;
    size_t capacity = store->epoch_capacity == 0 ? FIRST_EPOCHS : store->epoch_capacity * 2;
    struct epoch_start *starts = sqlite3_realloc64(store->epochs, capacity * sizeof *starts);
    if (starts == NULL)
        return store_fault(store, ERROR_NO_MEMORY, "keep an epoch", "epoch history");
    store->epochs = starts;
    store->epoch_capacity = capacity;
    return OK;
}

static bool follows(const struct store *store, struct epoch_start start)
{
    return start.first_seq <= INT64_MAX && epoch_history_ascends(store_epochs(store), start);
}

static enum error keep(struct store *store, struct epoch_start start)
{
    enum error error = reserve(store, store->now.epoch_count + 1);
    if (error == OK)
        store->epochs[store->now.epoch_count++] = start;
    return error;
}

enum error epoch_load(struct store *store)
{
    struct query query;
    bool row;
    query_read(&query, store, STATEMENT_EACH_EPOCH_START,
               "SELECT epoch, first_seq FROM epoch_start ORDER BY first_seq", "read the epochs");
    store->now.epoch_count = 0;
    enum error error;
    while ((error = query_step(&query, &row)) == OK && row) {
        struct epoch_start start;
        start.epoch = query_column_number(&query);
        start.first_seq = query_column_ordered(&query);
        error = query_row_error(&query);
        if (error == OK && !follows(store, start))
            error = store_fault(store, ERROR_CORRUPT, query.what, "they do not ascend");
        if (error == OK)
            error = keep(store, start);
        if (error != OK)
            break;
    }
    return query_end(&query, error);
}

enum error epoch_reserve(struct store *store, struct epoch_start start)
{
    if (!follows(store, start))
        return error_set(&store->problem, ERROR_INVALID,
                         "add an epoch: epoch %llu from seq %llu does not follow the last one",
                         (unsigned long long)start.epoch, (unsigned long long)start.first_seq);
    return reserve(store, store->now.epoch_count + 1);
}

enum error epoch_write(struct store *store, struct epoch_start start)
{
    struct query query;
    query_write(&query, store, STATEMENT_ADD_EPOCH_START,
                "INSERT INTO epoch_start (epoch, first_seq) VALUES (?1, ?2)", "add an epoch");
    query_bind_number(&query, start.epoch);
    query_bind_number(&query, start.first_seq);
    return query_run(&query);
}

struct epoch_history store_epochs(const struct store *store)
{
    return (struct epoch_history){.starts = store->epochs, .count = store->now.epoch_count};
}

uint64_t store_epoch_at(const struct store *store, uint64_t seq)
{
    bool is_written = seq <= store->now.end.at.position.seq || store->in_transaction;
    return is_written ? epoch_history_at(store_epochs(store), seq) : 0;
}
