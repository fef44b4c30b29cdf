/* SPDX-License-Identifier: MIT */
/* The log of a store: segments beside the database (src/segment_log), and the row that tells up to where the
 * other rows show it. */
#include "store/store_internal.h"

#include "batch/batch.h"

#include <limits.h>
#include <stdio.h>
#include <string.h>

/* ---- the row ---- */

enum error log_end_load(struct store *store)
{
    struct query query;
    bool row;
    query_read(
        &query, store, STATEMENT_GET_LOG_END,
        "SELECT one, epoch, seq, bytes, digest, time_ms, has_chat FROM log_end WHERE one = 1",
        "read the end of the log");
    enum error error = query_step(&query, &row);
    if (error == OK && !row)
        error = store_fault(store, ERROR_CORRUPT, query.what, "there is none");
    if (error == OK) {
        struct log_end end = {0};
        (void)query_column_number(&query);
        end.at.position.epoch = query_column_number(&query);
        end.at.position.seq = query_column_ordered(&query);
        end.at.bytes = query_column_ordered(&query);
        query_column_exactly(&query, end.at.digest, sizeof end.at.digest);
        end.time_ms = query_column_number(&query);
        end.has_chat = query_column_small(&query, 1) != 0;
        error = query_row_error(&query);
        if (error == OK)
            store->now.end = end;
    }
    return query_end(&query, error);
}

enum error log_end_write(struct store *store, const struct log_end *end)
{
    struct query query;
    query_write(&query, store, STATEMENT_PUT_LOG_END,
                "UPDATE log_end SET epoch = ?1, seq = ?2, bytes = ?3, digest = ?4, time_ms = ?5,"
                " has_chat = ?6",
                "write the end of the log");
    query_bind_number(&query, end->at.position.epoch);
    query_bind_number(&query, end->at.position.seq);
    query_bind_number(&query, end->at.bytes);
    query_bind_bytes(&query, end->at.digest, sizeof end->at.digest);
    query_bind_number(&query, end->time_ms);
    query_bind_number(&query, end->has_chat ? 1 : 0);
    enum error error = query_run(&query);
    if (error == OK)
        store->now.end = *end;
    return error;
}

/* The last epoch is the last one to change, and every epoch begins with an entry. */
enum error store_reader_refresh(struct store *store)
{
    struct log_position before = store->now.end.at.position;
    enum error error = log_end_load(store);
    if (error == OK && (before.seq == 0 || before.epoch != store->now.end.at.position.epoch))
        error = epoch_load(store);
    return error;
}

/* ---- opening ---- */

static enum error contradiction(const char *what, struct error_text *why)
{
    return error_set(why, ERROR_CORRUPT, "the log and the database contradict each other: %s",
                     what);
}

/* The database shows a prefix of the log. */
static enum error compare(struct store *store, struct error_text *why)
{
    const struct segment_log_end *shown = &store->now.end.at;
    struct segment_log_end end;
    enum error error = segment_log_end_at(store->log, shown->position.seq, &end, why);
    if (error == ERROR_NOT_FOUND)
        return contradiction("the log begins after the end of the database", why);
    if (error != OK)
        return error;
    bool is_same = log_position_compare(end.position, shown->position) == 0 &&
                   end.bytes == shown->bytes &&
                   memcmp(end.digest, shown->digest, sizeof end.digest) == 0;
    return is_same ? OK : contradiction("their digests differ", why);
}

struct restore {
    struct store *store;
    uint64_t unwritten; /* bytes */
};

#define RESTORED_AT_ONCE (4u * 1024u * 1024u)

/* The files of the log before it are removed soon, so that the disk need not have room for both. */
static enum error write_restored(struct store *store)
{
    enum error error = segment_log_finish(store->log, segment_log_write(store->log));
    if (error == OK)
        (void)segment_log_make_spare(store->log, NULL);
    return error == OK ? OK
                       : error_set(&store->problem, error, "%s", segment_log_problem(store->log));
}

static enum error restore_entry(void *context, const struct log_entry *entry)
{
    struct restore *restore = context;
    enum error error = segment_log_append(restore->store->log, entry);
    if (error != OK)
        return store_fault(restore->store, error, "begin the log anew", "an entry");
    restore->unwritten += entry->size;
    if (restore->unwritten < RESTORED_AT_ONCE)
        return OK;
    restore->unwritten = 0;
    return write_restored(restore->store);
}

static enum error forget_copy(struct store *store)
{
    enum error error = query_begin(store);
    if (error == OK)
        error = log_copy_clear(store);
    if (error == OK)
        error = query_commit(store);
    if (error != OK)
        query_roll_back(store);
    return error;
}

/* The log begins anew with the entries that the snapshot carries. A crash in the middle begins again. */
static enum error restore_log(struct store *store)
{
    struct restore restore = {.store = store};
    enum error error = log_copy_each(store, restore_entry, &restore);
    if (error == OK)
        error = write_restored(store);
    return error == OK ? forget_copy(store) : error;
}

static enum error add_advice(struct error_text *why)
{
    struct error_text sentence = *why;
    return error_set(why, ERROR_CORRUPT, "%s; " STORE_DAMAGE_ADVICE, sentence.text);
}

enum error log_open(struct store *store, struct error_text *why)
{
    char folder[PATH_MAX];
    int size = (int)(strrchr(store->path, '/') - store->path);
    (void)snprintf(folder, sizeof folder, "%.*s", size, store->path);
    bool begins = false;
    struct segment_log_end base;
    enum error error = log_copy_base(store, &begins, &base);
    if (error != OK)
        return error_set(why, error, "%s", store->problem.text);
    struct segment_log_options log = {
        .folder = folder,
        .segment_bytes = store->segment_bytes,
        .chain = batch_chain,
        .acked = store->now.end.at.position,
        .restart = begins ? &base : NULL,
    };
    error = segment_log_open(&store->log, &log, why);
    if (error == OK && begins) {
        error = restore_log(store);
        if (error != OK)
            error = error_set(why, error, "%s", store->problem.text);
    }
    if (error == OK)
        error = compare(store, why);
    if (error == OK)
        log_note_first(store);
    return error == ERROR_CORRUPT ? add_advice(why) : error;
}

/* ---- the end ---- */

void log_note_first(struct store *store)
{
    uint64_t first = segment_log_first(store->log);
    uint64_t last = segment_log_durable(store->log).position.seq;
    store->now.log_first = first == 0 && last > 0 ? last + 1 : first;
}

struct log_position store_position(const struct store *store)
{
    return store->now.end.at.position;
}

void store_digest(const struct store *store, uint8_t digest[static LOG_DIGEST_BYTES])
{
    memcpy(digest, store->now.end.at.digest, LOG_DIGEST_BYTES);
}

uint64_t store_log_first(const struct store *store)
{
    return store->now.log_first;
}

uint64_t store_log_bytes(const struct store *store)
{
    return store->now.end.at.bytes;
}

uint64_t store_time_ms(const struct store *store)
{
    return store->now.end.time_ms;
}

void store_note_time(struct store *store, uint64_t time_ms)
{
    ASSERT(store->in_transaction);
    store->now.end.time_ms = time_ms;
}

struct log_position store_log_last(const struct store *store)
{
    if (store->log == NULL)
        return store_position(store);
    struct log_position last = segment_log_durable(store->log).position;
    return last.seq > store->now.end.at.position.seq ? last : store_position(store);
}

/* ---- appending ---- */

static void advance(const struct log_entry *entry, struct segment_log_end *end)
{
    end->position = log_entry_last(entry);
    end->bytes += entry->size;
    batch_chain(end->digest, entry);
}

/* The log has the entry already: the database follows it. */
static enum error follow(struct store *store, const struct log_entry *entry,
                         struct segment_log_end *end)
{
    struct segment_log_end found;
    advance(entry, end);
    if (log_entry_has_digest(entry) && /* as segment_log_read gave it */
        memcmp(entry->digest, end->digest, sizeof end->digest) == 0)
        return OK;
    enum error error = segment_log_end_at(store->log, entry->last_seq, &found, &store->problem);
    if (error != OK)
        return error;
    bool is_same = log_position_compare(found.position, end->position) == 0 &&
                   memcmp(found.digest, end->digest, sizeof end->digest) == 0;
    return is_same ? OK
                   : store_fault(store, ERROR_CORRUPT, "replay the log", "an entry is another one");
}

static enum error append(struct store *store, const struct log_entry *entry,
                         struct segment_log_end *end)
{
    if (store->log == NULL) {
        advance(entry, end);
        return OK;
    }
    if (entry->last_seq <= segment_log_durable(store->log).position.seq)
        return follow(store, entry, end);
    enum error error = segment_log_append(store->log, entry);
    if (error != OK)
        return store_fault(store, error, "append to the log", "an entry");
    *end = segment_log_end(store->log);
    return OK;
}

enum error store_log_append(struct store *store, const struct log_entry *entry)
{
    ASSERT(store->in_transaction && !store->is_committing);
    struct log_end end = store->now.end;
    ASSERT(entry->first_seq == end.at.position.seq + 1 && entry->last_seq >= entry->first_seq);
    ASSERT(entry->epoch >= end.at.position.epoch);
    if (entry->last_seq > INT64_MAX)
        return error_set(&store->problem, ERROR_INVALID,
                         "append to the log: the seq is out of range");
    enum error error = change_open_batch(store); /* carries the end */
    if (error == OK)
        error = append(store, entry, &end.at);
    if (error != OK) {
        store->failure = error;
        return error;
    }
    end.has_chat = end.has_chat || entry->kind == LOG_ENTRY_CHAT;
    store->now.end = end;
    if (store->now.log_first == 0)
        store->now.log_first = entry->first_seq;
    return OK;
}

/* ---- reading ---- */

enum error store_log_read(struct store *store, uint64_t first_seq,
                          enum error (*visit)(void *context, const struct log_entry *entry),
                          void *context)
{
    if (store->log == NULL)
        return error_set(&store->problem, ERROR_INVALID, "a store in memory keeps no log");
    struct error_text why = {""};
    enum error error = segment_log_read(store->log, first_seq, visit, context, &why);
    if (why.text[0] == '\0' || error == ERROR_NOT_FOUND)
        return error;
    return error == ERROR_CORRUPT ? store_fault(store, error, "read the log", why.text)
                                  : error_set(&store->problem, error, "%s", why.text);
}

/* A prune may end in the middle of a segment: then nothing tells the bytes before the first entry. */
enum error store_log_bytes_to(struct store *store, uint64_t seq, uint64_t *bytes)
{
    if (store->log == NULL)
        return error_set(&store->problem, ERROR_INVALID, "a store in memory keeps no log");
    uint64_t first = segment_log_first(store->log);
    uint64_t last = segment_log_durable(store->log).position.seq;
    if (first > 0 && seq < first - 1)
        seq = first - 1;
    if (seq > last)
        seq = last;
    struct segment_log_end end = {0};
    struct error_text why = {""};
    enum error error = segment_log_end_at(store->log, seq, &end, &why);
    if (error == ERROR_NOT_FOUND)
        error = segment_log_end_at(store->log, first, &end, &why);
    if (error == OK)
        *bytes = end.bytes;
    return error == OK ? OK : error_set(&store->problem, error, "%s", why.text);
}

/* ---- removing ---- */

/* A log begins with a whole batch, so that a snapshot can carry it. */
static enum error note_begin(void *context, const struct log_entry *entry)
{
    *(uint64_t *)context = entry->first_seq;
    return ERROR_CANCELLED; /* one is enough */
}

uint64_t store_synced_seq(const struct store *store)
{
    return store->projection == NULL ? store->now.end.at.position.seq
                                     : projection_synced_seq(store->projection);
}

void store_log_prune(struct store *store, uint64_t before_seq)
{
    ASSERT(!store->in_transaction);
    if (store->log == NULL)
        return;
    uint64_t synced = projection_synced_seq(store->projection);
    uint64_t before = before_seq <= synced ? before_seq : synced + 1;
    if (before <= store->now.log_first)
        return;
    (void)segment_log_read(store->log, before, note_begin, &before, NULL);
    segment_log_prune(store->log, before);
    log_note_first(store);
}

enum error store_log_maintain(struct store *store, struct error_text *why)
{
    if (store->log == NULL || !segment_log_wants_spare(store->log))
        return OK;
    return segment_log_make_spare(store->log, why);
}
