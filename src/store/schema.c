/* SPDX-License-Identifier: MIT */
/* Ids are 64-bit patterns kept as SQLite's signed integers; numbers, seqs and times stay below
 * 2^63, so that SQLite orders them as we do. Every table is one B-tree: the only further indexes
 * are those that keep names unique. */
#include "store/store_internal.h"

static const char schema[] =
    /* node: one row. The id of the node is in a file of its own (node_file.c). */
    "CREATE TABLE node ("
    " one INTEGER PRIMARY KEY, cluster BLOB NOT NULL) STRICT;"
    "INSERT INTO node VALUES (1, zeroblob(16));"

    "CREATE TABLE epoch_start (first_seq INTEGER PRIMARY KEY, epoch INTEGER NOT NULL) STRICT;"
    /* log_end: one row, the end of the log that the other rows show. bytes: the sizes of all entries up
     * to there, those that were pruned included. */
    "CREATE TABLE log_end ("
    " one INTEGER PRIMARY KEY, epoch INTEGER NOT NULL, seq INTEGER NOT NULL,"
    " bytes INTEGER NOT NULL, digest BLOB NOT NULL, time_ms INTEGER NOT NULL,"
    " has_chat INTEGER NOT NULL) STRICT;"
    "INSERT INTO log_end VALUES (1, 0, 0, 0, zeroblob(32), 0, 0);"
    /* Of a snapshot: see log_copy.c. */
    "CREATE TABLE log_base ("
    " one INTEGER PRIMARY KEY, epoch INTEGER NOT NULL, seq INTEGER NOT NULL,"
    " bytes INTEGER NOT NULL, digest BLOB NOT NULL) STRICT;"
    "CREATE TABLE log_copy ("
    " first_seq INTEGER PRIMARY KEY, last_seq INTEGER NOT NULL, epoch INTEGER NOT NULL,"
    " kind INTEGER NOT NULL, entry BLOB NOT NULL) STRICT;"
    "CREATE TABLE orphan ("
    " id INTEGER PRIMARY KEY AUTOINCREMENT, epoch INTEGER NOT NULL, first_seq INTEGER NOT NULL,"
    " last_seq INTEGER NOT NULL, batch BLOB NOT NULL) STRICT;"
    /* cluster_members: one row, or none yet. */
    "CREATE TABLE cluster_members ("
    " one INTEGER PRIMARY KEY, epoch INTEGER NOT NULL, seq INTEGER NOT NULL,"
    " bytes BLOB NOT NULL) STRICT;"

    "CREATE TABLE account ("
    " id INTEGER PRIMARY KEY, name TEXT NOT NULL, folded TEXT NOT NULL,"
    " password_hash TEXT NOT NULL, nonce BLOB NOT NULL, created_ms INTEGER NOT NULL,"
    " deleted_ms INTEGER NOT NULL, delivered_seq INTEGER NOT NULL) STRICT;"
    "CREATE UNIQUE INDEX account_folded ON account (folded) WHERE deleted_ms = 0;"
    "CREATE TABLE session ("
    " id INTEGER PRIMARY KEY, account INTEGER NOT NULL, token_hash BLOB NOT NULL,"
    " device TEXT NOT NULL, started_ms INTEGER NOT NULL) STRICT;"

    "CREATE TABLE room ("
    " id INTEGER PRIMARY KEY, name TEXT NOT NULL, folded TEXT NOT NULL, topic TEXT NOT NULL,"
    " owner INTEGER NOT NULL, is_private INTEGER NOT NULL, direct_low INTEGER NOT NULL,"
    " direct_high INTEGER NOT NULL, created_ms INTEGER NOT NULL) STRICT;"
    "CREATE UNIQUE INDEX room_folded ON room (folded) WHERE name <> '';"
    "CREATE TABLE member ("
    " room INTEGER NOT NULL, account INTEGER NOT NULL, state INTEGER NOT NULL,"
    " since_seq INTEGER NOT NULL, until_seq INTEGER NOT NULL,"
    " PRIMARY KEY (room, account)) STRICT, WITHOUT ROWID;"

    /* The timeline: see run.c. runs: packed. */
    "CREATE TABLE event ("
    " id INTEGER PRIMARY KEY, room INTEGER NOT NULL, number INTEGER NOT NULL,"
    " seq INTEGER NOT NULL, kind INTEGER NOT NULL, account INTEGER NOT NULL,"
    " subject INTEGER NOT NULL, session INTEGER NOT NULL, request INTEGER NOT NULL,"
    " time_ms INTEGER NOT NULL, text TEXT NOT NULL) STRICT;"
    "CREATE TABLE run_tail ("
    " room INTEGER PRIMARY KEY, page INTEGER NOT NULL, last_number INTEGER NOT NULL,"
    " last_seq INTEGER NOT NULL, runs BLOB NOT NULL) STRICT;"
    "CREATE TABLE run_page ("
    " room INTEGER NOT NULL, page INTEGER NOT NULL, runs BLOB NOT NULL,"
    " PRIMARY KEY (room, page)) STRICT, WITHOUT ROWID;"

    /* Outcomes: see outcome.c. outcomes: packed. */
    "CREATE TABLE outcome_tail ("
    " session INTEGER PRIMARY KEY, part INTEGER NOT NULL, last_request INTEGER NOT NULL,"
    " outcomes BLOB NOT NULL) STRICT;"
    "CREATE TABLE outcome_part ("
    " session INTEGER NOT NULL, slot INTEGER NOT NULL, part INTEGER NOT NULL,"
    " outcomes BLOB NOT NULL,"
    " PRIMARY KEY (session, slot)) STRICT, WITHOUT ROWID;";

static int read_pragma(sqlite3 *database, const char *sql, int *value)
{
    sqlite3_stmt *statement = NULL;
    int code = sqlite3_prepare_v2(database, sql, -1, &statement, NULL);
    if (code == SQLITE_OK)
        code = sqlite3_step(statement);
    if (code == SQLITE_ROW)
        *value = sqlite3_column_int(statement, 0);
    (void)sqlite3_finalize(statement);
    return code == SQLITE_ROW ? SQLITE_OK : code;
}

static enum error database_error(sqlite3 *database, int code, struct error_text *why)
{
    enum error error = query_error_from_sqlite(code, sqlite3_system_errno(database));
    return error_set(why, error, "%s (%s)", error_name(error), sqlite3_errmsg(database));
}

static int make(sqlite3 *database)
{
    char sql[96];
    (void)sqlite3_snprintf(sizeof sql, sql, "PRAGMA application_id = %d; PRAGMA user_version = %d",
                           SCHEMA_APPLICATION_ID, SCHEMA_VERSION);
    const char *const steps[] = {"BEGIN IMMEDIATE", schema, sql, "COMMIT"};
    int code = SQLITE_OK;
    for (size_t i = 0; i < sizeof steps / sizeof *steps && code == SQLITE_OK; i++)
        code = sqlite3_exec(database, steps[i], NULL, NULL, NULL);
    return code;
}

enum error schema_check(sqlite3 *database, bool *is_empty, struct error_text *why)
{
    int found = 0;
    int application = 0;
    int tables = 0;
    int code = read_pragma(database, "PRAGMA user_version", &found);
    if (code == SQLITE_OK)
        code = read_pragma(database, "PRAGMA application_id", &application);
    if (code == SQLITE_OK)
        code = read_pragma(database, "SELECT count(*) FROM sqlite_schema", &tables);
    if (code != SQLITE_OK)
        return database_error(database, code, why);
    if (application != SCHEMA_APPLICATION_ID && (application != 0 || tables != 0))
        return error_set(why, ERROR_MISMATCH,
                         "it is a database of another program; choose another data folder");
    if (found != 0 && found != SCHEMA_VERSION)
        return error_set(
            why, ERROR_VERSION,
            "its schema is version %d, and this program reads version %d only; run the "
            "program that made it",
            found, SCHEMA_VERSION);
    *is_empty = found == 0;
    return OK;
}

enum error schema_prepare(sqlite3 *database, struct error_text *why)
{
    bool is_empty;
    enum error error = schema_check(database, &is_empty, why);
    if (error != OK || !is_empty)
        return error;
    int code = make(database);
    if (code == SQLITE_OK)
        return OK;
    error = database_error(database, code, why);
    if (sqlite3_get_autocommit(database) == 0)
        (void)sqlite3_exec(database, "ROLLBACK", NULL, NULL, NULL);
    return error_prefix(why, error, "make the tables");
}
