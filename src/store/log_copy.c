/* SPDX-License-Identifier: MIT */
/* log_copy.c - the log that a snapshot carries.
 *
 * A snapshot is one file. The tables log_base and log_copy hold the log as far back as the sender has it.
 * So the receiver can pass on entries, and keep them as orphans, like the sender. log_base has a row in a
 * snapshot only: the log is to begin anew, with the entries of log_copy. */
#include "store/store_internal.h"

#include "batch/batch.h"

#include <string.h>

/* ---- reading ---- */

enum error log_copy_base(struct store *store, bool *begins, struct segment_log_end *base)
{
    struct query query;
    bool row;
    query_read(&query, store, STATEMENT_GET_LOG_BASE,
               "SELECT one, epoch, seq, bytes, digest FROM log_base WHERE one = 1",
               "read the log of a snapshot");
    enum error error = query_step(&query, &row);
    *begins = error == OK && row;
    *base = (struct segment_log_end){0};
    if (*begins) {
        (void)query_column_number(&query);
        base->position.epoch = query_column_number(&query);
        base->position.seq = query_column_ordered(&query);
        base->bytes = query_column_ordered(&query);
        query_column_exactly(&query, base->digest, sizeof base->digest);
        error = query_row_error(&query);
    }
    return query_end(&query, error);
}

enum error log_copy_load_first(struct store *store)
{
    bool begins = false;
    struct segment_log_end base;
    enum error error = log_copy_base(store, &begins, &base);
    if (error == OK && begins && store->now.end.at.position.seq > 0)
        store->now.log_first = base.position.seq + 1;
    return error;
}

#define RECORD_BYTES 120 /* beside the bytes of an entry (docs/log.md) */

enum error log_copy_room(struct store *store, uint64_t segment_bytes, uint64_t *bytes)
{
    bool begins = false;
    struct segment_log_end base;
    const struct segment_log_end *end = &store->now.end.at;
    enum error error = log_copy_base(store, &begins, &base);
    *bytes = 0;
    if (segment_bytes == 0)
        segment_bytes = SEGMENT_LOG_BYTES_DEFAULT;
    uint64_t unused =
        segment_bytes > SEGMENT_LOG_BYTES_DEFAULT ? 2 : 1; /* up to half of each (log.c) */
    if (error == OK && begins)
        *bytes = unused * (end->bytes - base.bytes +
                           RECORD_BYTES * (end->position.seq - base.position.seq)) +
                 segment_bytes;
    return error;
}

static enum error read_entry(struct query *query, struct log_entry *entry)
{
    entry->first_seq = query_column_ordered(query);
    entry->last_seq = query_column_ordered(query);
    entry->epoch = query_column_number(query);
    entry->kind = (enum log_entry_kind)query_column_small(query, LOG_ENTRY_MEMBERS);
    entry->bytes = query_column_bytes(query, &entry->size);
    return query_row_error(query);
}

static enum error check_follows(struct store *store, const struct segment_log_end *end,
                                const struct log_entry *entry)
{
    bool follows = entry->first_seq == end->position.seq + 1 &&
                   entry->last_seq >= entry->first_seq && entry->epoch >= end->position.epoch;
    return follows ? OK
                   : store_fault(store, ERROR_CORRUPT, "read the log of a snapshot",
                                 "table log_copy lacks an entry");
}

static void advance(struct segment_log_end *end, struct log_entry *entry)
{
    end->position = log_entry_last(entry);
    end->bytes += entry->size;
    batch_chain(end->digest, entry);
    memcpy(entry->digest, end->digest, sizeof entry->digest);
}

static enum error check_end(struct store *store, const struct segment_log_end *end)
{
    const struct segment_log_end *told = &store->now.end.at;
    bool fits = log_position_compare(end->position, told->position) == 0 &&
                end->bytes == told->bytes &&
                memcmp(end->digest, told->digest, sizeof end->digest) == 0;
    return fits ? OK
                : store_fault(store, ERROR_CORRUPT, "read the log of a snapshot",
                              "table log_copy does not fit its digest");
}

enum error log_copy_each(struct store *store,
                         enum error (*visit)(void *context, const struct log_entry *entry),
                         void *context)
{
    bool begins = false;
    struct segment_log_end end;
    enum error error = log_copy_base(store, &begins, &end);
    if (error == OK && !begins && store->path != NULL && store->now.end.at.position.seq > 0)
        error = store_fault(store, ERROR_CORRUPT, "read the log of a snapshot",
                            "table log_base is empty");
    if (error != OK || !begins)
        return error;
    struct query query;
    bool more;
    query_read(&query, store, STATEMENT_EACH_LOG_COPY,
               "SELECT first_seq, last_seq, epoch, kind, entry FROM log_copy ORDER BY first_seq",
               "read the log of a snapshot");
    while ((error = query_step(&query, &more)) == OK && more) {
        struct log_entry entry = {0};
        error = read_entry(&query, &entry);
        if (error == OK)
            error = check_follows(store, &end, &entry);
        if (error == OK) {
            advance(&end, &entry);
            error = visit(context, &entry);
        }
        if (error != OK)
            break;
    }
    error = query_end(&query, error);
    return error == OK ? check_end(store, &end) : error;
}

/* ---- writing ---- */

static enum error run(struct store *store, enum statement which, const char *sql)
{
    struct query query;
    query_write(&query, store, which, sql, "forget the log of a snapshot");
    return query_run(&query);
}

enum error log_copy_clear(struct store *store)
{
    enum error error = run(store, STATEMENT_CLEAR_LOG_COPY, "DELETE FROM log_copy");
    return error == OK ? run(store, STATEMENT_CLEAR_LOG_BASE, "DELETE FROM log_base") : error;
}

enum error log_copy_set_base(struct store *store, const struct segment_log_end *base)
{
    struct query query;
    query_write(&query, store, STATEMENT_SET_LOG_BASE,
                "INSERT OR REPLACE INTO log_base (one, epoch, seq, bytes, digest)"
                " VALUES (1, ?1, ?2, ?3, ?4)",
                "let the log begin anew");
    query_bind_number(&query, base->position.epoch);
    query_bind_number(&query, base->position.seq);
    query_bind_number(&query, base->bytes);
    query_bind_bytes(&query, base->digest, sizeof base->digest);
    return query_run(&query);
}

/* ---- copying into a snapshot ---- */

struct fill {
    sqlite3 *database;
    struct store *store; /* of the log */
    unsigned cancels;
    sqlite3_stmt *add;
    uint64_t last_seq;
    int code; /* SQLite's */
};

static int bind_end(sqlite3_stmt *statement, const struct segment_log_end *end)
{
    int code = sqlite3_bind_int64(statement, 1, (sqlite3_int64)end->position.epoch);
    if (code == SQLITE_OK)
        code = sqlite3_bind_int64(statement, 2, (sqlite3_int64)end->position.seq);
    if (code == SQLITE_OK)
        code = sqlite3_bind_int64(statement, 3, (sqlite3_int64)end->bytes);
    if (code == SQLITE_OK)
        code = sqlite3_bind_blob(statement, 4, end->digest, sizeof end->digest, SQLITE_STATIC);
    return code;
}

static int add_base(struct fill *fill, const struct segment_log_end *base)
{
    sqlite3_stmt *statement = NULL;
    int code = sqlite3_prepare_v2(fill->database,
                                  "INSERT INTO log_base (one, epoch, seq, bytes, digest)"
                                  " VALUES (1, ?1, ?2, ?3, ?4)",
                                  -1, &statement, NULL);
    if (code == SQLITE_OK)
        code = bind_end(statement, base);
    if (code == SQLITE_OK)
        code = sqlite3_step(statement);
    (void)sqlite3_finalize(statement);
    return code == SQLITE_DONE ? SQLITE_OK : code;
}

static enum error add_entry(void *context, const struct log_entry *entry)
{
    struct fill *fill = context;
    if (entry->last_seq > fill->last_seq)
        return ERROR_EXISTS; /* of a later time */
    if (atomic_load(&fill->store->cancels) != fill->cancels)
        return error_set(&fill->store->problem, ERROR_CANCELLED, "copy the log: cancelled");
    const uint64_t numbers[] = {entry->first_seq, entry->last_seq, entry->epoch,
                                (uint64_t)entry->kind};
    int code = SQLITE_OK;
    for (int i = 0; i < 4 && code == SQLITE_OK; i++)
        code = sqlite3_bind_int64(fill->add, i + 1, (sqlite3_int64)numbers[i]);
    if (code == SQLITE_OK)
        code = sqlite3_bind_blob64(fill->add, 5, entry->bytes, entry->size, SQLITE_STATIC);
    if (code == SQLITE_OK)
        code = sqlite3_step(fill->add);
    (void)sqlite3_reset(fill->add);
    fill->code = code == SQLITE_DONE ? SQLITE_OK : code;
    return fill->code == SQLITE_OK ? OK : ERROR_IO;
}

static enum error add_entries(struct fill *fill, struct segment_log *log, uint64_t first,
                              struct error_text *why)
{
    fill->code = sqlite3_prepare_v2(fill->database,
                                    "INSERT INTO log_copy (first_seq, last_seq, epoch, kind, entry)"
                                    " VALUES (?1, ?2, ?3, ?4, ?5)",
                                    -1, &fill->add, NULL);
    enum error error = fill->code == SQLITE_OK ? OK : ERROR_IO;
    if (error == OK && first <= fill->last_seq)
        error = segment_log_read(log, first, add_entry, fill, why);
    (void)sqlite3_finalize(fill->add);
    return error == ERROR_EXISTS ? OK : error;
}

/* A prune may overtake the reader, and where it ends in the middle of a segment, the state before the
 * first entry is unknown. The copy begins with the next entry then. */
static enum error fill_once(struct fill *fill, struct segment_log *log, struct error_text *why)
{
    uint64_t first = segment_log_first(log);
    struct segment_log_end base = {0};
    enum error error = segment_log_end_at(log, first > 0 ? first - 1 : fill->last_seq, &base, why);
    if (error == ERROR_NOT_FOUND)
        error = segment_log_end_at(log, first, &base, why);
    if (error == OK) {
        fill->code = add_base(fill, &base);
        error = fill->code == SQLITE_OK ? OK : ERROR_IO;
    }
    return error == OK ? add_entries(fill, log, base.position.seq + 1, why) : error;
}

#define PRUNES_MAX 8 /* that may overtake a copy */

enum error log_copy_fill(sqlite3 *database, struct store *store, unsigned cancels,
                         const struct segment_log_end *end)
{
    struct segment_log *log = store->log;
    struct error_text *why = &store->problem;
    struct fill fill = {
        .database = database, .store = store, .cancels = cancels, .last_seq = end->position.seq};
    enum error error = ERROR_NOT_FOUND;
    for (int i = 0; i < PRUNES_MAX && error == ERROR_NOT_FOUND; i++) {
        int code =
            sqlite3_exec(database, "DELETE FROM log_copy; DELETE FROM log_base", NULL, NULL, NULL);
        error = OK;
        fill.code = code;
        if (code == SQLITE_OK && log != NULL)
            error = fill_once(&fill, log, why);
        else if (code == SQLITE_OK)
            fill.code = add_base(&fill, end);
    }
    if (fill.code == SQLITE_OK)
        return error;
    error = query_error_from_sqlite(fill.code, sqlite3_system_errno(database));
    return error_set(why, error, "copy the log: %s (%s)", error_name(error),
                     sqlite3_errmsg(database));
}
