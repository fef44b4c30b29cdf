/* SPDX-License-Identifier: MIT */
/* Ids are SQLite's own AUTOINCREMENT, which remembers the highest one ever given. Orphans are added
 * at the end and dropped from the front, so their ids have no holes. The first and the last id give
 * their number without reading all rows. */
#include "store/store_internal.h"

/* The orphans that there are. */
struct orphans {
    uint64_t last; /* id; 0: there are none */
    uint64_t count;
};

static enum error read_ids(struct store *store, struct orphans *orphans)
{
    struct query query;
    bool row;
    query_read(&query, store, STATEMENT_LOAD_ORPHANS,
               "SELECT ifnull((SELECT min(id) FROM orphan), 1),"
               " ifnull((SELECT max(id) FROM orphan), 0)",
               "read the orphans' ids");
    enum error error = query_step(&query, &row);
    if (error == OK && row) {
        uint64_t first = query_column_ordered(&query);
        orphans->last = query_column_ordered(&query);
        orphans->count = orphans->last + 1 - first;
        error = query_row_error(&query);
    }
    return query_end(&query, error);
}

static void set_known(struct store *store, struct orphans orphans)
{
    atomic_store(&store->last_orphan, orphans.last);
    atomic_store(&store->orphan_count, orphans.count);
}

enum error orphan_load(struct store *store)
{
    struct orphans orphans = {0};
    enum error error = read_ids(store, &orphans);
    if (error == OK)
        set_known(store, orphans);
    return error;
}

struct addition {
    uint64_t id; /* 0: the next one */
    const struct log_entry *entry;
    struct orphans orphans; /* with it */
};

static enum error insert(struct store *store, void *context)
{
    struct addition *addition = context;
    const struct log_entry *entry = addition->entry;
    struct query query;
    query_write(&query, store, STATEMENT_ADD_ORPHAN,
                "INSERT INTO orphan (id, epoch, first_seq, last_seq, batch)"
                " VALUES (nullif(?1, 0), ?2, ?3, ?4, ?5)",
                "keep an orphan");
    query_bind_number(&query, addition->id);
    query_bind_number(&query, entry->epoch);
    query_bind_number(&query, entry->first_seq);
    query_bind_number(&query, entry->last_seq);
    query_bind_bytes(&query, entry->bytes, entry->size);
    enum error error = query_run(&query);
    return error == OK ? read_ids(store, &addition->orphans) : error;
}

static enum error add(struct store *store, uint64_t id, const struct log_entry *entry)
{
    if (entry->last_seq > INT64_MAX || entry->first_seq > entry->last_seq)
        return error_set(&store->problem, ERROR_INVALID, "keep an orphan: its seq is out of range");
    struct addition addition = {.id = id, .entry = entry};
    enum error error = projection_run(store, insert, &addition, &store->problem);
    if (error == OK)
        set_known(store, addition.orphans);
    return error;
}

enum error store_add_orphan(struct store *store, const struct log_entry *entry)
{
    return add(store, 0, entry);
}

static enum error read_row(struct query *query, uint64_t *id, struct log_entry *row)
{
    *row = (struct log_entry){.kind = LOG_ENTRY_CHAT};
    *id = query_column_ordered(query);
    row->epoch = query_column_number(query);
    row->first_seq = query_column_ordered(query);
    row->last_seq = query_column_ordered(query);
    row->bytes = query_column_bytes(query, &row->size);
    return query_row_error(query);
}

enum error store_each_orphan(struct store *store, uint64_t after,
                             enum error (*visit)(void *context, uint64_t id,
                                                 const struct log_entry *entry),
                             void *context)
{
    struct query query;
    bool more;
    query_read(&query, store, STATEMENT_EACH_ORPHAN,
               "SELECT id, epoch, first_seq, last_seq, batch FROM orphan WHERE id > ?1 ORDER BY id",
               "read the orphans");
    query_bind_number(&query, clamp_ordered(after));
    enum error error;
    while ((error = query_step(&query, &more)) == OK && more) {
        uint64_t id;
        struct log_entry entry;
        error = read_row(&query, &id, &entry);
        if (error == OK)
            error = visit(context, id, &entry);
        if (error != OK)
            break;
    }
    return query_end(&query, error);
}

struct removal {
    uint64_t last;
    struct orphans orphans; /* that are left: a removal may have been made before, without a sync */
};

static enum error remove_orphans(struct store *store, void *context)
{
    struct removal *removal = context;
    struct query query;
    query_write(&query, store, STATEMENT_DROP_ORPHANS, "DELETE FROM orphan WHERE id <= ?1",
                "drop orphans");
    query_bind_number(&query, clamp_ordered(removal->last));
    enum error error = query_run(&query);
    return error == OK ? read_ids(store, &removal->orphans) : error;
}

enum error store_drop_orphans(struct store *store, uint64_t last, struct error_text *why)
{
    if (store_orphan_count(store) == 0)
        return OK;
    struct removal removal = {.last = last};
    enum error error = projection_run(store, remove_orphans, &removal, why);
    if (error == OK)
        set_known(store, removal.orphans);
    return error;
}

static enum error get_sequence(struct store *store, uint64_t *sequence)
{
    struct query query;
    bool row;
    query_read(&query, store, STATEMENT_GET_ORPHAN_SEQUENCE,
               "SELECT seq FROM sqlite_sequence WHERE name = 'orphan'",
               "read the last orphan's id");
    enum error error = query_step(&query, &row);
    *sequence = 0;
    if (error == OK && row) {
        *sequence = query_column_ordered(&query);
        error = query_row_error(&query);
    }
    return query_end(&query, error);
}

static enum error clear(struct store *store)
{
    struct query query;
    query_write(&query, store, STATEMENT_CLEAR_ORPHANS, "DELETE FROM orphan", "clear the orphans");
    enum error error = query_run(&query);
    set_known(store, (struct orphans){0});
    if (error != OK)
        return error;
    query_write(&query, store, STATEMENT_CLEAR_SEQUENCES, "DELETE FROM sqlite_sequence",
                "clear the orphans");
    return query_run(&query);
}

static enum error set_sequence(struct store *store, uint64_t sequence)
{
    struct query query;
    query_write(&query, store, STATEMENT_SET_ORPHAN_SEQUENCE,
                "INSERT INTO sqlite_sequence (name, seq) VALUES ('orphan', ?1)",
                "keep the last orphan's id");
    query_bind_number(&query, sequence);
    return query_run(&query);
}

enum error orphan_begin(struct store *to, struct store *from)
{
    uint64_t sequence = 0;
    enum error error = get_sequence(from, &sequence);
    if (error == OK)
        error = clear(to);
    return error == OK ? set_sequence(to, sequence) : error;
}

struct orphan_copy {
    struct store *to;
    bool renumbers;
};

static enum error copy(void *context, uint64_t id, const struct log_entry *entry)
{
    const struct orphan_copy *copying = context;
    return add(copying->to, copying->renumbers ? 0 : id, entry);
}

enum error orphan_copy(struct store *to, struct store *from)
{
    struct orphan_copy copying = {.to = to, .renumbers = store_orphan_count(to) > 0};
    return store_each_orphan(from, 0, copy, &copying);
}

uint64_t store_last_orphan(const struct store *store)
{
    ASSERT(!store->is_reader);
    return atomic_load(&store->last_orphan);
}

uint64_t store_orphan_count(const struct store *store)
{
    ASSERT(!store->is_reader);
    return atomic_load(&store->orphan_count);
}
