/* SPDX-License-Identifier: MIT */
#include "store/store_internal.h"

#include <sodium.h>
#include <string.h>

void log_digest_next(uint8_t digest[static LOG_DIGEST_BYTES], const uint8_t *batch, size_t size)
{
    crypto_generichash_state state;
    (void)crypto_generichash_init(&state, NULL, 0, LOG_DIGEST_BYTES);
    (void)crypto_generichash_update(&state, digest, LOG_DIGEST_BYTES);
    (void)crypto_generichash_update(&state, batch, size);
    (void)crypto_generichash_final(&state, digest, LOG_DIGEST_BYTES);
}

/* One seq, or 0 when there is no row. */
static enum error read_seq(struct store *store, enum statement which, const char *sql,
                           uint64_t *seq)
{
    struct query query;
    bool row;
    query_read(&query, store, which, sql, "read the log's ends");
    enum error error = query_step(&query, &row);
    uint64_t found = 0;
    if (error == OK && row) {
        found = query_column_ordered(&query);
        error = query_row_error(&query);
    }
    error = query_end(&query, error);
    if (error == OK)
        *seq = found;
    return error;
}

static enum error load_first(struct store *store)
{
    return read_seq(store, STATEMENT_LOG_FIRST,
                    "SELECT first_seq FROM log ORDER BY first_seq LIMIT 1", &store->now.log_first);
}

static enum error load_last(struct store *store)
{
    struct query query;
    bool row;
    query_read(&query, store, STATEMENT_LOG_LAST,
               "SELECT last_seq, epoch, end_bytes, digest FROM log ORDER BY first_seq DESC LIMIT 1",
               "read the end of the log");
    enum error error = query_step(&query, &row);
    struct knowledge *now = &store->now;
    now->position = (struct log_position){0, 0};
    now->log_bytes = 0;
    memset(now->digest, 0, sizeof now->digest);
    if (error == OK && row) {
        now->position.seq = query_column_ordered(&query);
        now->position.epoch = query_column_number(&query);
        now->log_bytes = query_column_ordered(&query);
        query_column_exactly(&query, now->digest, sizeof now->digest);
        error = query_row_error(&query);
    }
    return query_end(&query, error);
}

struct chain {
    struct store *store;
    bool known; /* digest is that before the next row */
    uint8_t digest[LOG_DIGEST_BYTES];
};

static enum error check_link(void *context, const struct log_entry *row)
{
    struct chain *chain = context;
    if (chain->known || row->first_seq == 1) {
        log_digest_next(chain->digest, row->bytes, row->size);
        if (memcmp(chain->digest, row->digest, LOG_DIGEST_BYTES) != 0)
            return store_fault(chain->store, ERROR_CORRUPT, "check the log",
                               "the last batch does not fit its digest");
    }
    memcpy(chain->digest, row->digest, LOG_DIGEST_BYTES);
    chain->known = true;
    return OK;
}

static enum error check_last_link(struct store *store)
{
    uint64_t first = store->now.log_first;
    enum error error =
        read_seq(store, STATEMENT_LOG_BEFORE_LAST,
                 "SELECT first_seq FROM log ORDER BY first_seq DESC LIMIT 1 OFFSET 1", &first);
    if (error != OK || store->now.log_first == 0)
        return error;
    struct chain chain = {.store = store};
    error = store_log_read(store, first == 0 ? store->now.log_first : first, check_link, &chain);
    if (error == ERROR_NOT_FOUND)
        error =
            store_fault(store, ERROR_CORRUPT, "check the log", "its ends contradict each other");
    return error;
}

enum error log_load_position(struct store *store, bool check_digest)
{
    enum error error = load_first(store);
    if (error == OK)
        error = load_last(store);
    if (error == OK && check_digest)
        error = check_last_link(store);
    return error;
}

/* The last epoch is the last one to change, and every epoch begins with an entry. */
enum error store_reader_refresh(struct store *store)
{
    struct log_position before = store->now.position;
    enum error error = log_load_position(store, false);
    if (error == OK && (before.seq == 0 || before.epoch != store->now.position.epoch))
        error = epoch_load(store);
    return error;
}

struct log_position store_position(const struct store *store)
{
    return store->now.position;
}

void store_digest(const struct store *store, uint8_t digest[static LOG_DIGEST_BYTES])
{
    memcpy(digest, store->now.digest, LOG_DIGEST_BYTES);
}

uint64_t store_log_first(const struct store *store)
{
    return store->now.log_first;
}

uint64_t store_log_bytes(const struct store *store)
{
    return store->now.log_bytes;
}

enum error store_log_bytes_to(struct store *store, uint64_t seq, uint64_t *bytes)
{
    uint64_t first = store->now.log_first;
    struct query query;
    bool row;
    query_read(&query, store, STATEMENT_LOG_BYTES,
               "SELECT end_bytes - CASE WHEN last_seq <= ?1 THEN 0 ELSE length(batch) END FROM log"
               " WHERE first_seq <= ?2 ORDER BY first_seq DESC LIMIT 1",
               "add up the log");
    query_bind_number(&query, clamp_ordered(seq));
    query_bind_number(&query, clamp_ordered(seq > first ? seq : first));
    enum error error = query_step(&query, &row);
    uint64_t found = 0;
    if (error == OK && row) {
        found = query_column_ordered(&query);
        error = query_row_error(&query);
    }
    error = query_end(&query, error);
    if (error == OK)
        *bytes = found;
    return error;
}

enum error store_log_append(struct store *store, const struct log_entry *row)
{
    struct knowledge *now = &store->now;
    ASSERT(row->first_seq == now->position.seq + 1 && row->last_seq >= row->first_seq);
    ASSERT(row->epoch >= now->position.epoch);
    if (row->last_seq > INT64_MAX)
        return error_set(&store->problem, ERROR_INVALID,
                         "append to the log: the seq is out of range");
    uint8_t digest[LOG_DIGEST_BYTES];
    memcpy(digest, now->digest, sizeof digest);
    log_digest_next(digest, row->bytes, row->size);
    struct query query;
    query_write(&query, store, STATEMENT_LOG_APPEND,
                "INSERT INTO log (first_seq, last_seq, epoch, kind, end_bytes, digest, batch)"
                " VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)",
                "append to the log");
    query_bind_number(&query, row->first_seq);
    query_bind_number(&query, row->last_seq);
    query_bind_number(&query, row->epoch);
    query_bind_number(&query, row->kind);
    query_bind_number(&query, now->log_bytes + row->size);
    query_bind_bytes(&query, digest, sizeof digest);
    query_bind_bytes(&query, row->bytes, row->size);
    enum error error = query_run(&query);
    if (error != OK)
        return error;
    now->position = log_entry_last(row);
    memcpy(now->digest, digest, sizeof digest);
    now->log_bytes += row->size;
    if (now->log_first == 0)
        now->log_first = row->first_seq;
    return OK;
}

static enum error read_row(struct query *query, struct log_entry *row)
{
    row->first_seq = query_column_ordered(query);
    row->last_seq = query_column_ordered(query);
    row->epoch = query_column_number(query);
    row->kind = (enum log_entry_kind)query_column_small(query, LOG_ENTRY_MEMBERS);
    query_column_exactly(query, row->digest, LOG_DIGEST_BYTES);
    row->bytes = query_column_bytes(query, &row->size);
    return query_row_error(query);
}

enum error store_log_read(struct store *store, uint64_t first_seq,
                          enum error (*visit)(void *context, const struct log_entry *row),
                          void *context)
{
    struct query query;
    bool more;
    query_read(&query, store, STATEMENT_LOG_READ,
               "SELECT first_seq, last_seq, epoch, kind, digest, batch FROM log"
               " WHERE first_seq >= (SELECT max(first_seq) FROM log WHERE first_seq <= ?1)"
               " ORDER BY first_seq",
               "read the log");
    query_bind_number(&query, clamp_ordered(first_seq));
    enum error error = query.error;
    if (error == OK && (store->now.log_first == 0 || first_seq < store->now.log_first ||
                        first_seq > store->now.position.seq))
        error = ERROR_NOT_FOUND;
    uint64_t next = 0;
    while (error == OK && (error = query_step(&query, &more)) == OK && more) {
        struct log_entry row;
        error = read_row(&query, &row);
        if (error == OK && (row.last_seq < row.first_seq || (next != 0 && row.first_seq != next)))
            error = store_fault(store, ERROR_CORRUPT, query.what, "a batch is missing");
        next = row.last_seq + 1;
        if (error == OK)
            error = visit(context, &row);
    }
    return query_end(&query, error);
}

enum error store_log_prune(struct store *store, uint64_t before_seq, size_t most, size_t *deleted)
{
    struct query query;
    query_write(&query, store, STATEMENT_LOG_PRUNE,
                "DELETE FROM log WHERE first_seq IN (SELECT first_seq FROM log"
                " WHERE first_seq < ?1 AND last_seq < ?1 AND last_seq < ?2"
                " ORDER BY first_seq LIMIT ?3)",
                "prune the log");
    query_bind_number(&query, clamp_ordered(before_seq));
    query_bind_number(&query, store->now.position.seq);
    query_bind_number(&query, clamp_ordered(most));
    enum error error = query_run(&query);
    size_t count = error == OK ? (size_t)sqlite3_changes(store->database) : 0;
    if (count > 0)
        error = load_first(store);
    if (error == OK)
        *deleted = count;
    return error;
}
