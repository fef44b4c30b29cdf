/* SPDX-License-Identifier: MIT */
/* Tables that are small enough to be held in memory by a server are checked by SQLite, with their
 * indexes, in one slice each. The others are read here, in the order of their keys.
 *
 * Each room must list each of its events exactly once. A sum over the listed events, compared with
 * a sum over the existing events, proves this without a search for each. */
#include "store/store_internal.h"

#include <stdio.h>
#include <string.h>

#define ROW_BYTES 64 /* of a row, beside its text or packed columns */

enum part {
    PART_BEGIN,
    PART_SMALL, /* key: which table */
    PART_LOG,
    PART_ORPHANS,
    PART_RUNS,
    PART_EVENTS,
    PART_OUTCOME_TAILS,
    PART_OUTCOME_PARTS,
    PART_END
};

struct slice {
    struct store *store;
    struct store_scan *scan;
    size_t left;
};

/* Counts a row. false: the slice ends with it. */
static bool count(struct slice *slice, size_t bytes)
{
    slice->scan->bytes += bytes;
    slice->left -= bytes < slice->left ? bytes : slice->left;
    return slice->left > 0;
}

static enum error next_part(struct slice *slice)
{
    struct store_scan *scan = slice->scan;
    scan->part++;
    scan->is_within = false;
    scan->key = scan->second_key = 0;
    scan->is_done = scan->part == PART_END;
    return OK;
}

/* The smallest key that was not read. false: there is none. */
static bool begin_key(const struct store_scan *scan, uint64_t *key)
{
    *key = scan->is_within ? scan->key + 1 : (uint64_t)INT64_MIN;
    return !scan->is_within || scan->key != INT64_MAX;
}

static enum error fault(struct slice *slice, const char *table, const char *key, uint64_t value,
                        const char *what)
{
    char text[160];
    (void)snprintf(text, sizeof text, "the row with %s = %lld in table %s: %s", key,
                   (long long)value, table, what);
    return store_fault(slice->store, ERROR_CORRUPT, "check the database", text);
}

/* ---- what SQLite checks ---- */

static const char *const small_tables[] = {"node",    "epoch_start", "cluster_members",
                                           "account", "session",     "room",
                                           "member",  "log_end",     "log_base"};

static enum error check_table_once(struct slice *slice, const char *table, bool is_final)
{
    char sql[64];
    (void)snprintf(sql, sizeof sql, "PRAGMA integrity_check(%s)", table);
    sqlite3_stmt *statement = NULL;
    struct store *store = slice->store;
    int code = sqlite3_prepare_v2(store->database, sql, -1, &statement, NULL);
    if (code == SQLITE_OK)
        code = sqlite3_step(statement);
    enum error error = ERROR_CORRUPT;
    const char *found = NULL;
    if (code != SQLITE_ROW)
        error = store_fail(store, code, "check the database");
    else if ((found = (const char *)sqlite3_column_text(statement, 0)) == NULL)
        error = store_fail(store, SQLITE_NOMEM, "check the database");
    else if (strcmp(found, "ok") == 0)
        error = OK;
    else if (is_final)
        error = store_fault(store, ERROR_CORRUPT, table, found);
    (void)sqlite3_finalize(statement);
    return error;
}

/* A check without memory also reports "corrupt", so only a second report counts. */
static enum error check_table(struct slice *slice, const char *table)
{
    enum error error = check_table_once(slice, table, false);
    return error == ERROR_CORRUPT ? check_table_once(slice, table, true) : error;
}

static enum error scan_small(struct slice *slice)
{
    struct store_scan *scan = slice->scan;
    enum error error = check_table(slice, small_tables[scan->key]);
    if (error == OK && ++scan->key == sizeof small_tables / sizeof *small_tables)
        return next_part(slice);
    return error;
}

/* ---- the log ---- */

static enum error see_copy(void *context, const struct log_entry *entry)
{
    struct slice *slice = context;
    (void)count(slice, ROW_BYTES + entry->size);
    return OK;
}

/* A snapshot carries the log as rows, which one slice reads. */
static enum error scan_log_copy(struct slice *slice)
{
    enum error error = log_copy_each(slice->store, see_copy, slice);
    return error == OK ? next_part(slice) : error;
}

static enum error scan_log(struct slice *slice)
{
    struct store *store = slice->store;
    if (store->log == NULL)
        return scan_log_copy(slice);
    bool is_done = false;
    struct error_text why = {""};
    size_t most = slice->left;
    enum error error = segment_log_scan(store->log, &slice->scan->log, most, &is_done, &why);
    (void)count(slice, most);
    if (error != OK)
        return error == ERROR_CORRUPT ? store_fault(store, error, "check the log", why.text)
                                      : error_set(&store->problem, error, "%s", why.text);
    return is_done ? next_part(slice) : OK;
}

static enum error see_orphan(void *context, uint64_t id, const struct log_entry *row)
{
    struct slice *slice = context;
    if (row->first_seq > row->last_seq)
        return fault(slice, "orphan", "id", id, "last_seq");
    slice->scan->key = id;
    return count(slice, ROW_BYTES + row->size) ? OK : ERROR_CANCELLED;
}

static enum error scan_orphans(struct slice *slice)
{
    enum error error = store_each_orphan(slice->store, slice->scan->key, see_orphan, slice);
    return error == OK ? next_part(slice) : error;
}

/* ---- timelines ---- */

/* Spreads its argument over 64 bits (Steele, Lea, Flood: "Fast Splittable Pseudorandom Number
 * Generators", 2014), so that other events are unlikely to have the same sum. */
static uint64_t spread(uint64_t value)
{
    value = (value ^ value >> 30) * UINT64_C(0xBF58476D1CE4E5B9);
    value = (value ^ value >> 27) * UINT64_C(0x94D049BB133111EB);
    return value ^ value >> 31;
}

static uint64_t share_of(uint64_t room, uint64_t id)
{
    return spread(spread(room) + id);
}

static void list_runs(struct store_scan *scan, const struct run_page *page)
{
    for (size_t i = 0; i < page->count; i++)
        for (uint64_t k = 0; k < page->runs[i].count; k++)
            if (page->runs[i].id + k <= scan->last_event)
                scan->listed += share_of(page->room, page->runs[i].id + k);
}

static bool follows(const struct run *run, const struct run *before)
{
    return run->number >= before->number && run->seq >= before->seq &&
           run->id >= before->id + before->count;
}

/* The pages of a room from scan->second_key on. */
static enum error scan_room(struct slice *slice, uint64_t room)
{
    struct store_scan *scan = slice->scan;
    struct run_place place;
    enum error error = run_load_tail(slice->store, room, &place.tail);
    for (uint64_t i = scan->second_key; error == OK; i++) {
        struct run last = {0};
        if (i > scan->second_key)
            last = place.page.runs[place.page.count - 1];
        error = run_load_page(slice->store, &place, i);
        if (error != OK)
            break;
        if (!follows(&place.page.runs[0], &last))
            return fault(slice, "run_page", "room", room, "its pages do not ascend");
        list_runs(scan, &place.page);
        bool is_last = i == place.tail.page.page;
        bool goes_on = count(slice, place.page.count * sizeof(struct run));
        if (is_last)
            break;
        if (!goes_on) {
            scan->second_key = i + 1;
            return ERROR_CANCELLED;
        }
    }
    scan->second_key = 0;
    return error;
}

/* *found: the room at key or after it. */
static enum error find_room(struct slice *slice, uint64_t key, uint64_t *room, bool *found)
{
    struct query query;
    query_read(&query, slice->store, STATEMENT_SCAN_ROOMS,
               "SELECT room FROM run_tail WHERE room >= ?1 ORDER BY room LIMIT 1",
               "read the timelines");
    query_bind_number(&query, key);
    enum error error = query_step(&query, found);
    if (error == OK && *found) {
        *room = query_column_number(&query);
        error = query_row_error(&query);
    }
    return query_end(&query, error);
}

static enum error scan_runs(struct slice *slice)
{
    struct store_scan *scan = slice->scan;
    uint64_t key;
    enum error error = query_read_enter(slice->store);
    while (error == OK) {
        uint64_t room = 0;
        bool found = false;
        bool is_within_room = scan->second_key > 0;
        if (is_within_room || begin_key(scan, &key))
            error = find_room(slice, is_within_room ? scan->key : key, &room, &found);
        if (error != OK || !found)
            break;
        scan->is_within = true;
        scan->key = room;
        error = scan_room(slice, room);
        if (error == OK && !count(slice, ROW_BYTES))
            error = ERROR_CANCELLED;
    }
    query_read_leave(slice->store);
    return error == OK ? next_part(slice) : error;
}

static enum error see_event(void *context, uint64_t id, const struct timeline_row *row)
{
    struct slice *slice = context;
    struct store_scan *scan = slice->scan;
    if (id > scan->last_event)
        return ERROR_EXISTS; /* of a later time */
    scan->key = id;
    scan->found += share_of(row->room, id);
    return count(slice, ROW_BYTES + row->text_size) ? OK : ERROR_CANCELLED;
}

static enum error scan_events(struct slice *slice)
{
    struct store_scan *scan = slice->scan;
    enum error error = timeline_each(slice->store, scan->key, see_event, slice);
    if (error != OK && error != ERROR_EXISTS)
        return error;
    if (scan->found != scan->listed)
        return store_fault(slice->store, ERROR_CORRUPT, "check the database",
                           "tables run_page and run_tail do not list the rows of table event");
    return next_part(slice);
}

/* ---- outcomes ---- */

static enum error read_outcomes(struct query *query, size_t *size)
{
    const uint8_t *bytes = query_column_bytes(query, size);
    enum error error = query_row_error(query);
    return error == OK && !outcome_rows_are_sound(bytes, *size) ? query_suspect(query, "outcomes")
                                                                : error;
}

/* Reads the rows of a table of outcomes, which begin with the key; that of parts has two columns. */
static enum error scan_outcomes(struct slice *slice, struct query *query, bool of_parts)
{
    struct store_scan *scan = slice->scan;
    bool more;
    enum error error;
    while ((error = query_step(query, &more)) == OK && more) {
        size_t size;
        scan->key = query_column_number(query);
        uint64_t second = query_column_ordered(query);
        if (of_parts)
            scan->second_key = second;
        scan->is_within = true;
        (void)query_column_ordered(query);
        error = read_outcomes(query, &size);
        if (error == OK && !count(slice, ROW_BYTES + size))
            error = ERROR_CANCELLED;
        if (error != OK)
            break;
    }
    error = query_end(query, error);
    return error == OK ? next_part(slice) : error;
}

static enum error scan_outcome_tails(struct slice *slice)
{
    uint64_t key;
    if (!begin_key(slice->scan, &key))
        return next_part(slice);
    struct query query;
    query_read(&query, slice->store, STATEMENT_SCAN_OUTCOME_TAILS,
               "SELECT session, part, last_request, outcomes FROM outcome_tail"
               " WHERE session >= ?1 ORDER BY session",
               "read the outcomes");
    query_bind_number(&query, key);
    return scan_outcomes(slice, &query, false);
}

static enum error scan_outcome_parts(struct slice *slice)
{
    struct store_scan *scan = slice->scan;
    struct query query;
    query_read(&query, slice->store, STATEMENT_SCAN_OUTCOME_PARTS,
               "SELECT session, slot, part, outcomes FROM outcome_part"
               " WHERE (session, slot) > (?1, ?2) ORDER BY session, slot",
               "read the outcomes");
    query_bind_number(&query, scan->is_within ? scan->key : (uint64_t)INT64_MIN);
    query_bind_number(&query, scan->is_within ? scan->second_key : (uint64_t)INT64_MIN);
    return scan_outcomes(slice, &query, true);
}

/* ---- all of it ---- */

static enum error begin(struct slice *slice)
{
    enum error error = timeline_load(slice->store);
    slice->scan->last_event = slice->store->now.last_event;
    return error == OK ? next_part(slice) : error;
}

enum error store_scan(struct store *store, struct store_scan *scan, size_t most)
{
    static enum error (*const parts[])(struct slice * slice) = {
        [PART_BEGIN] = begin,
        [PART_SMALL] = scan_small,
        [PART_LOG] = scan_log,
        [PART_ORPHANS] = scan_orphans,
        [PART_RUNS] = scan_runs,
        [PART_EVENTS] = scan_events,
        [PART_OUTCOME_TAILS] = scan_outcome_tails,
        [PART_OUTCOME_PARTS] = scan_outcome_parts,
    };
    struct slice slice = {.store = store, .scan = scan, .left = most};
    if (scan->is_done)
        return OK;
    enum error error = parts[scan->part](&slice);
    return error == ERROR_CANCELLED && slice.left == 0 ? OK : error;
}
