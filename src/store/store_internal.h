/* SPDX-License-Identifier: MIT */
/* store_internal.h - what the files of this folder share: the store's body, queries, the schema.
 * Included by src/store and its own tests only.
 *
 * All memory of this folder comes from SQLite's allocator, so that one shim can make any of its
 * allocations fail. */
#ifndef JACKDAW_STORE_STORE_INTERNAL_H
#define JACKDAW_STORE_STORE_INTERNAL_H

#include "store/store.h"

#include <sqlite3.h>

/* ---- the body ---- */

/* One prepared statement each; made at first use, kept for life. */
enum statement {
    STATEMENT_BEGIN,
    STATEMENT_COMMIT,
    STATEMENT_ROLLBACK,
    STATEMENT_BURY,
    STATEMENT_LOAD_IDENTITY,
    STATEMENT_SET_NODE,
    STATEMENT_SET_CLUSTER,
    STATEMENT_PUT_VALUE,
    STATEMENT_GET_VALUE,
    STATEMENT_ADD_REIGN,
    STATEMENT_EACH_REIGN,
    STATEMENT_LOG_FIRST,
    STATEMENT_LOG_LAST,
    STATEMENT_LOG_BEFORE_LAST,
    STATEMENT_LOG_APPEND,
    STATEMENT_LOG_READ,
    STATEMENT_LOG_PRUNE,
    STATEMENT_PUT_ACCOUNT,
    STATEMENT_GET_ACCOUNT,
    STATEMENT_SET_DELIVERED,
    STATEMENT_EACH_ACCOUNT,
    STATEMENT_PUT_SESSION,
    STATEMENT_DELETE_SESSION,
    STATEMENT_DELETE_OUTCOMES,
    STATEMENT_EACH_SESSION,
    STATEMENT_PUT_ROOM,
    STATEMENT_DELETE_ROOM,
    STATEMENT_DELETE_MEMBERS,
    STATEMENT_EACH_ROOM,
    STATEMENT_PUT_MEMBER,
    STATEMENT_DELETE_MEMBER,
    STATEMENT_EACH_MEMBER,
    STATEMENT_ADD_EVENT,
    STATEMENT_MESSAGES_BEFORE,
    STATEMENT_FIRST_EVENT_FROM,
    STATEMENT_LAST_EVENT,
    STATEMENT_EVENTS_FROM,
    STATEMENT_PUT_OUTCOME,
    STATEMENT_GET_OUTCOME,
    STATEMENT_COUNT
};

/* What is known without asking the database; store_rollback puts back what it was at store_begin.
 * Reigns are only ever appended, so their number is enough. */
struct knowledge {
    struct position position;
    uint64_t log_first;
    size_t reign_count;
    uint8_t digest[STORE_DIGEST_BYTES];
    uint8_t cluster[STORE_CLUSTER_BYTES];
};

struct store {
    sqlite3 *database;
    sqlite3_stmt *statements[STATEMENT_COUNT];
    char *path; /* of the database; NULL: in memory */
    int lock;   /* descriptor that holds the folder's lock, or -1 */
    bool is_reader;
    unsigned open_reads; /* reader: queries inside the read transaction that is open */

    bool in_transaction;
    bool commit_failed; /* the open transaction may be in the files although it has failed */
    enum error failure; /* what broke the open transaction; nothing more is written then */

    struct knowledge now;
    struct knowledge at_begin;
    struct reign_row *reigns;
    size_t reign_capacity;

    struct error_text problem;
};

/* ---- folders and files (folder.c) ---- */

/* Makes the folder and its parents (mode 0700), durably. */
enum error folder_make(const char *folder, struct error_text *why);

/* Locks the folder for this process. *lock: closed to unlock. ERROR_IN_USE names the holder. */
enum error folder_lock(const char *folder, int *lock, struct error_text *why);

/* Makes what happened to the names in the folder that holds path durable. */
enum error folder_sync_of(const char *path, struct error_text *why);

/* ---- errors (query.c) ---- */

/* The one place where SQLite's codes become ours. system_errno: 0 when unknown. */
enum error error_from_sqlite(int code, int system_errno);

/* Keeps "what: SQLite's sentence" as the last problem; in a transaction, also that it is broken
 * (a refused duplicate, ERROR_EXISTS, does not break it). Returns the error. */
enum error store_fail(struct store *store, int code, const char *what);

/* As store_fail, for what this folder itself found: corrupt rows above all. */
enum error store_fault(struct store *store, enum error error, const char *what, const char *detail);

/* ---- queries (query.c) ----
 *
 * A query runs one cached statement: begin, bind in order, step, read columns in order, end.
 * The first thing that goes wrong is remembered and returned by query_step and query_end, so that
 * the binds and columns in between need no checks of their own. */

struct query {
    struct store *store;
    sqlite3_stmt *statement;
    const char *what;    /* what is being done, for the sentence */
    int bound;           /* parameters bound so far */
    int column;          /* columns read of the current row */
    enum error error;    /* the first error */
    const char *suspect; /* column found corrupt */
};

/* For writing: asserts that a transaction is open. */
void query_write(struct query *query, struct store *store, enum statement which, const char *sql,
                 const char *what);
/* For reading: a reader also enters a read transaction and refreshes what it knows. */
void query_read(struct query *query, struct store *store, enum statement which, const char *sql,
                const char *what);

void bind_number(struct query *query, uint64_t value);
void bind_text(struct query *query, const char *text, size_t size);
void bind_string(struct query *query, const char *text);
void bind_bytes(struct query *query, const void *bytes, size_t size);

/* *row: there is one. */
enum error query_step(struct query *query, bool *row);

uint64_t column_number(struct query *query);  /* any 64 bits */
uint64_t column_ordered(struct query *query); /* at most INT64_MAX: numbers, seqs, times */
uint32_t column_small(struct query *query, uint32_t most);
const char *column_text(struct query *query, size_t *size); /* "" after an error, never NULL */
const char *column_string(struct query *query);             /* text without NUL inside */
const uint8_t *column_bytes(struct query *query, size_t *size);
void column_exactly(struct query *query, uint8_t *bytes, size_t size);

/* Whether all columns of the row were as they should be. */
enum error query_row_error(struct query *query);

/* Ends it. Returns the first error, else the given one (a visitor's). */
enum error query_end(struct query *query, enum error error);

/* Runs a write that gives no rows. */
enum error query_run(struct query *query);

/* The largest key that the signed integers of SQLite can order. */
static inline uint64_t clamp_ordered(uint64_t value)
{
    return value > INT64_MAX ? INT64_MAX : value;
}

/* ---- schema (schema.c) ---- */

#define SCHEMA_APPLICATION_ID 0x4a4b4457 /* "JKDW" */

/* The steps that make a database of version i one of version i + 1. */
extern const char *const schema_steps[];
extern const int schema_version; /* how many there are */

/* Brings the database from its user_version to version `version` in one transaction.
 * ERROR_VERSION when it is newer already, ERROR_MISMATCH when it is another program's. */
enum error schema_migrate(sqlite3 *database, const char *const steps[], int version,
                          struct error_text *why);

/* ---- transactions (store.c) ---- */

/* For writes that may stand alone: opens a transaction unless one is open (*alone tells), and ends
 * it again: committed when error is OK, else rolled back. */
enum error store_begin_alone(struct store *store, bool *alone);
enum error store_end_alone(struct store *store, bool alone, enum error error);

/* ---- what is kept in memory ---- */

/* Fill store->now from the database (identity.c, epoch.c, log.c). log_load_position also checks
 * that the last digest follows from the one before. */
enum error identity_load(struct store *store, uint64_t *node_id);
enum error identity_set_node(struct store *store, uint64_t node_id);
enum error epoch_load(struct store *store);
enum error log_load_position(struct store *store, bool check_digest);

/* Makes what a reader knows equal to what its read transaction sees (log.c). */
enum error reader_refresh(struct store *store);

#endif
