/* SPDX-License-Identifier: MIT */
/* Ids are SQLite's own AUTOINCREMENT, which remembers the highest one ever given. */
#include "store/store_internal.h"

enum error orphan_load(struct store *store)
{
    struct query query;
    bool row;
    query_read(&query, store, STATEMENT_LOAD_ORPHANS,
               "SELECT count(*), ifnull(max(id), 0) FROM orphan", "count the orphans");
    enum error error = query_step(&query, &row);
    if (error == OK && row) {
        store->now.orphan_count = column_ordered(&query);
        store->now.last_orphan = column_ordered(&query);
        error = query_row_error(&query);
    }
    return query_end(&query, error);
}

enum error store_add_orphan(struct store *store, const struct orphan_row *row)
{
    if (row->last_seq > INT64_MAX || row->first_seq > row->last_seq)
        return error_set(&store->problem, ERROR_INVALID, "keep an orphan: its seq is out of range");
    struct query query;
    query_write(&query, store, STATEMENT_ADD_ORPHAN,
                "INSERT INTO orphan (epoch, first_seq, last_seq, batch) VALUES (?1, ?2, ?3, ?4)",
                "keep an orphan");
    bind_number(&query, row->epoch);
    bind_number(&query, row->first_seq);
    bind_number(&query, row->last_seq);
    bind_bytes(&query, row->batch, row->batch_size);
    enum error error = query_run(&query);
    if (error != OK)
        return error;
    store->now.last_orphan = (uint64_t)sqlite3_last_insert_rowid(store->database);
    store->now.orphan_count++;
    return OK;
}

static enum error read_row(struct query *query, struct orphan_row *row)
{
    row->id = column_ordered(query);
    row->epoch = column_number(query);
    row->first_seq = column_ordered(query);
    row->last_seq = column_ordered(query);
    row->batch = column_bytes(query, &row->batch_size);
    return query_row_error(query);
}

enum error store_each_orphan(struct store *store, uint64_t after,
                             enum error (*visit)(void *context, const struct orphan_row *row),
                             void *context)
{
    struct query query;
    bool more;
    query_read(&query, store, STATEMENT_EACH_ORPHAN,
               "SELECT id, epoch, first_seq, last_seq, batch FROM orphan WHERE id > ?1 ORDER BY id",
               "read the orphans");
    bind_number(&query, clamp_ordered(after));
    enum error error;
    while ((error = query_step(&query, &more)) == OK && more) {
        struct orphan_row row;
        error = read_row(&query, &row);
        if (error == OK)
            error = visit(context, &row);
        if (error != OK)
            break;
    }
    return query_end(&query, error);
}

enum error store_drop_orphans(struct store *store, uint64_t last)
{
    if (store->now.orphan_count == 0)
        return OK;
    bool alone;
    enum error error = store_begin_alone(store, &alone);
    if (error != OK)
        return error;
    struct query query;
    query_write(&query, store, STATEMENT_DROP_ORPHANS, "DELETE FROM orphan WHERE id <= ?1",
                "drop orphans");
    bind_number(&query, clamp_ordered(last));
    error = query_run(&query);
    if (error == OK)
        store->now.orphan_count -= (uint64_t)sqlite3_changes64(store->database);
    if (store->now.orphan_count == 0)
        store->now.last_orphan = 0;
    return store_end_alone(store, alone, error);
}

uint64_t store_last_orphan(const struct store *store)
{
    ASSERT(!store->is_reader);
    return store->now.last_orphan;
}

uint64_t store_orphan_count(const struct store *store)
{
    ASSERT(!store->is_reader);
    return store->now.orphan_count;
}
