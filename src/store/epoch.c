/* SPDX-License-Identifier: MIT */
#include "store/store_internal.h"

#define FIRST_REIGNS 16

static enum error reserve(struct store *store, size_t count)
{
    if (count <= store->reign_capacity)
        return OK;
    size_t capacity = store->reign_capacity == 0 ? FIRST_REIGNS : store->reign_capacity * 2;
    struct reign_row *reigns = sqlite3_realloc64(store->reigns, capacity * sizeof *reigns);
    if (reigns == NULL)
        return store_fault(store, ERROR_NO_MEMORY, "keep a reign", "epoch history");
    store->reigns = reigns;
    store->reign_capacity = capacity;
    return OK;
}

static bool follows(const struct store *store, const struct reign_row *reign)
{
    if (reign->first_seq == 0 || reign->first_seq > INT64_MAX || reign->epoch == 0)
        return false;
    if (store->now.reign_count == 0)
        return true;
    const struct reign_row *last = &store->reigns[store->now.reign_count - 1];
    return reign->epoch > last->epoch && reign->first_seq > last->first_seq;
}

static enum error keep(struct store *store, const struct reign_row *reign)
{
    enum error error = reserve(store, store->now.reign_count + 1);
    if (error == OK)
        store->reigns[store->now.reign_count++] = *reign;
    return error;
}

enum error epoch_load(struct store *store)
{
    struct query query;
    bool row;
    query_read(&query, store, STATEMENT_EACH_REIGN,
               "SELECT epoch, first_seq FROM reign ORDER BY first_seq", "read the epochs");
    store->now.reign_count = 0;
    enum error error;
    while ((error = query_step(&query, &row)) == OK && row) {
        struct reign_row reign;
        reign.epoch = column_number(&query);
        reign.first_seq = column_ordered(&query);
        error = query_row_error(&query);
        if (error == OK && !follows(store, &reign))
            error = store_fault(store, ERROR_CORRUPT, query.what, "they do not ascend");
        if (error == OK)
            error = keep(store, &reign);
        if (error != OK)
            break;
    }
    return query_end(&query, error);
}

enum error store_add_reign(struct store *store, const struct reign_row *reign)
{
    if (!follows(store, reign))
        return error_set(&store->problem, ERROR_INVALID,
                         "add a reign: epoch %llu from seq %llu does not follow the last one",
                         (unsigned long long)reign->epoch, (unsigned long long)reign->first_seq);
    enum error error = reserve(store, store->now.reign_count + 1);
    if (error != OK)
        return error;
    struct query query;
    query_write(&query, store, STATEMENT_ADD_REIGN,
                "INSERT INTO reign (epoch, first_seq) VALUES (?1, ?2)", "add a reign");
    bind_number(&query, reign->epoch);
    bind_number(&query, reign->first_seq);
    error = query_run(&query);
    return error == OK ? keep(store, reign) : error;
}

enum error store_each_reign(struct store *store,
                            enum error (*visit)(void *context, const struct reign_row *row),
                            void *context)
{
    enum error error = store->is_reader ? read_enter(store) : OK;
    for (size_t i = 0; i < store->now.reign_count && error == OK; i++)
        error = visit(context, &store->reigns[i]);
    if (store->is_reader)
        read_leave(store);
    return error;
}

/* The reign that seq falls in, or NULL. While a transaction is open, the deltas that it is about to
 * append belong to the last reign. */
static const struct reign_row *reign_of(const struct store *store, uint64_t seq)
{
    if (seq == 0 || (seq > store->now.position.seq && !store->in_transaction))
        return NULL;
    size_t low = 0;
    size_t high = store->now.reign_count;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        if (store->reigns[middle].first_seq <= seq)
            low = middle + 1;
        else
            high = middle;
    }
    return low == 0 ? NULL : &store->reigns[low - 1];
}

uint64_t store_epoch_at(const struct store *store, uint64_t seq)
{
    const struct reign_row *reign = reign_of(store, seq);
    return reign == NULL ? 0 : reign->epoch;
}
