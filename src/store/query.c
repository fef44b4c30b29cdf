/* SPDX-License-Identifier: MIT */
#include "store/store_internal.h"

#include <errno.h>
#include <string.h>

#define ROW_TEXT_SIZE 160

enum error query_error_from_sqlite(int code, int system_errno)
{
    enum error system = error_from_errno(system_errno);
    if (code == SQLITE_IOERR_NOMEM)
        return ERROR_NO_MEMORY;
    if (code == SQLITE_CONSTRAINT_UNIQUE || code == SQLITE_CONSTRAINT_PRIMARYKEY)
        return ERROR_EXISTS;
    switch (code & 0xff) {
    case SQLITE_OK:
    case SQLITE_ROW:
    case SQLITE_DONE:
        return OK;
    case SQLITE_NOMEM:
        return ERROR_NO_MEMORY;
    case SQLITE_FULL:
        return ERROR_DISK_FULL;
    case SQLITE_IOERR:
        return system == ERROR_DISK_FULL ? system : ERROR_IO;
    case SQLITE_CORRUPT:
    case SQLITE_NOTADB:
    case SQLITE_FORMAT:
        return ERROR_CORRUPT;
    case SQLITE_BUSY:
    case SQLITE_LOCKED:
        return ERROR_IN_USE;
    case SQLITE_CANTOPEN:
        return system == ERROR_DISK_FULL || system == ERROR_FULL ? system : ERROR_DENIED;
    case SQLITE_READONLY:
    case SQLITE_PERM:
    case SQLITE_AUTH:
        return ERROR_DENIED;
    case SQLITE_TOOBIG:
        return ERROR_TOO_LARGE;
    case SQLITE_INTERRUPT:
        return ERROR_CANCELLED;
    default:
        return ERROR_INTERNAL;
    }
}

static enum error remember(struct store *store, enum error error)
{
    if (error == ERROR_CORRUPT && !atomic_load(&store->is_damaged)) {
        store->damage = store->problem;
        atomic_store(&store->is_damaged, true);
    }
    return error;
}

/* SQLite 3.40 keeps no errno of a failed commit, so the last system call's own is asked first. */
static enum error describe(struct store *store, int code, const char *what,
                           struct error_text *problem)
{
    int number = errno != 0 ? errno : sqlite3_system_errno(store->database);
    enum error error = query_error_from_sqlite(code, number);
    return error_set(problem, error, "%s: %s (%s)", what, error_name(error),
                     sqlite3_errmsg(store->database));
}

enum error store_fail(struct store *store, int code, const char *what)
{
    return remember(store, describe(store, code, what, &store->problem));
}

enum error store_fault(struct store *store, enum error error, const char *what, const char *detail)
{
    error_set(&store->problem, error, "%s: %s (%s)", what, error_name(error), detail);
    return remember(store, error);
}

bool store_is_damaged(struct store *store, struct error_text *why)
{
    bool is_damaged = atomic_load(&store->is_damaged);
    if (is_damaged && why != NULL)
        *why = store->damage;
    if (!is_damaged && !store->is_reader && store->projection != NULL)
        is_damaged = projection_is_damaged(store->projection, why);
    return is_damaged;
}

/* A statement that does not fit the schema means that the schema is not what its version says. */
static enum error prepare(struct store *store, enum statement which, const char *sql,
                          const char *what)
{
    errno = 0;
    int code = sqlite3_prepare_v3(store->database, sql, -1, SQLITE_PREPARE_PERSISTENT,
                                  &store->statements[which], NULL);
    if (code == SQLITE_OK)
        return OK;
    return store_fail(store, (code & 0xff) == SQLITE_ERROR ? SQLITE_CORRUPT : code, what);
}

static void start(struct query *query, struct store *store, enum statement which, const char *sql,
                  const char *what)
{
    *query = (struct query){.store = store, .what = what};
    if (store->statements[which] == NULL)
        query->error = prepare(store, which, sql, what);
    query->statement = store->statements[which];
    ASSERT(query->statement == NULL || !sqlite3_stmt_busy(query->statement));
}

void query_write(struct query *query, struct store *store, enum statement which, const char *sql,
                 const char *what)
{
    ASSERT(store->is_writing);
    start(query, store, which, sql, what);
}

/* Prepared when the store is opened: ending a transaction must not need memory. */
static const char *const control_sql[STATEMENT_COUNT] = {
    [STATEMENT_BEGIN_READ] = "BEGIN",
    [STATEMENT_BEGIN_WRITE] = "BEGIN IMMEDIATE",
    [STATEMENT_COMMIT] = "COMMIT",
    [STATEMENT_ROLLBACK] = "ROLLBACK",
};

enum error query_control_prepare(struct store *store)
{
    enum error error = OK;
    for (size_t i = 0; i < STATEMENT_COUNT && error == OK; i++)
        if (control_sql[i] != NULL)
            error = prepare(store, (enum statement)i, control_sql[i], "prepare a transaction");
    return error;
}

static enum error run_control(struct store *store, enum statement which, const char *what)
{
    struct query query;
    start(&query, store, which, NULL, what);
    bool row;
    enum error error = query_step(&query, &row);
    (void)sqlite3_reset(query.statement);
    return error;
}

enum error query_begin(struct store *store)
{
    ASSERT(!store->is_reader && !store->is_writing && store->open_reads == 0);
    enum error error = run_control(store, STATEMENT_BEGIN_WRITE, "begin a transaction");
    store->is_writing = error == OK;
    store->before_write = store->now;
    return error;
}

enum error query_commit(struct store *store)
{
    enum error error = run_control(store, STATEMENT_COMMIT, "commit");
    if (error == OK)
        store->is_writing = false;
    return error;
}

/* After some errors SQLite rolls back automatically. */
void query_roll_back(struct store *store)
{
    if (!store->is_writing)
        return;
    struct error_text kept = store->problem;
    if (sqlite3_get_autocommit(store->database) == 0)
        (void)run_control(store, STATEMENT_ROLLBACK, "roll back");
    ASSERT(sqlite3_get_autocommit(store->database) != 0);
    store->is_writing = false;
    store->now = store->before_write;
    store->problem = kept;
}

enum error query_read_enter(struct store *store)
{
    if (store->open_reads++ > 0 || store->is_writing)
        return OK;
    enum error error = run_control(store, STATEMENT_BEGIN_READ, "begin to read");
    return error == OK && store->is_reader ? store_reader_refresh(store) : error;
}

void query_read_leave(struct store *store)
{
    ASSERT(store->open_reads > 0);
    if (--store->open_reads > 0 || store->is_writing)
        return;
    if (sqlite3_get_autocommit(store->database) == 0)
        (void)run_control(store, STATEMENT_COMMIT, "end reading");
}

void query_read(struct query *query, struct store *store, enum statement which, const char *sql,
                const char *what)
{
    enum error error = store->is_reader ? query_read_enter(store) : OK;
    start(query, store, which, sql, what);
    if (error != OK)
        query->error = error;
}

static void bound(struct query *query, int code)
{
    if (code != SQLITE_OK)
        query->error = store_fail(query->store, code, query->what);
}

void query_bind_number(struct query *query, uint64_t value)
{
    query->bound++;
    if (query->error == OK)
        bound(query, sqlite3_bind_int64(query->statement, query->bound, (sqlite3_int64)value));
}

void query_bind_text(struct query *query, const char *text, size_t size)
{
    ASSERT(text != NULL || size == 0);
    query->bound++;
    if (query->error == OK)
        bound(query, sqlite3_bind_text64(query->statement, query->bound, size == 0 ? "" : text,
                                         size, SQLITE_STATIC, SQLITE_UTF8));
}

void query_bind_string(struct query *query, const char *text)
{
    ASSERT(text != NULL);
    query_bind_text(query, text, strlen(text));
}

void query_bind_bytes(struct query *query, const void *bytes, size_t size)
{
    ASSERT(bytes != NULL || size == 0);
    query->bound++;
    if (query->error == OK)
        bound(query, sqlite3_bind_blob64(query->statement, query->bound, size == 0 ? "" : bytes,
                                         size, SQLITE_STATIC));
}

enum error query_step(struct query *query, bool *row)
{
    *row = false;
    query->column = 0;
    if (query->error != OK)
        return query->error;
    errno = 0;
    int code = sqlite3_step(query->statement);
    if (code == SQLITE_ROW)
        *row = true;
    else if (code != SQLITE_DONE)
        query->error = store_fail(query->store, code, query->what);
    return query->error;
}

/* Whether the next column has the type; it is the current one from here on. */
static bool column_is(struct query *query, int type)
{
    int column = query->column++;
    if (query->error != OK || query->suspect != NULL)
        return false;
    if (sqlite3_column_type(query->statement, column) == type)
        return true;
    query->suspect = sqlite3_column_name(query->statement, column);
    return false;
}

static void suspect(struct query *query)
{
    query->suspect = sqlite3_column_name(query->statement, query->column - 1);
}

uint64_t query_column_number(struct query *query)
{
    if (!column_is(query, SQLITE_INTEGER))
        return 0;
    return (uint64_t)sqlite3_column_int64(query->statement, query->column - 1);
}

uint64_t query_column_ordered(struct query *query)
{
    uint64_t value = query_column_number(query);
    if (value <= INT64_MAX)
        return value;
    suspect(query);
    return 0;
}

uint32_t query_column_small(struct query *query, uint32_t most)
{
    uint64_t value = query_column_number(query);
    if (value <= most)
        return (uint32_t)value;
    suspect(query);
    return 0;
}

const char *query_column_text(struct query *query, size_t *size)
{
    *size = 0;
    if (!column_is(query, SQLITE_TEXT))
        return "";
    const unsigned char *text = sqlite3_column_text(query->statement, query->column - 1);
    if (text == NULL) {
        query->error = store_fail(query->store, SQLITE_NOMEM, query->what);
        return "";
    }
    *size = (size_t)sqlite3_column_bytes(query->statement, query->column - 1);
    return (const char *)text;
}

const char *query_column_string(struct query *query)
{
    size_t size;
    const char *text = query_column_text(query, &size);
    if (strlen(text) == size)
        return text;
    suspect(query);
    return "";
}

const uint8_t *query_column_bytes(struct query *query, size_t *size)
{
    static const uint8_t nothing[1];
    *size = 0;
    if (!column_is(query, SQLITE_BLOB))
        return nothing;
    const void *bytes = sqlite3_column_blob(query->statement, query->column - 1);
    *size = (size_t)sqlite3_column_bytes(query->statement, query->column - 1);
    if (bytes != NULL)
        return bytes;
    if (sqlite3_errcode(query->store->database) == SQLITE_NOMEM)
        query->error = store_fail(query->store, SQLITE_NOMEM, query->what);
    *size = 0;
    return nothing;
}

void query_column_exactly(struct query *query, uint8_t *bytes, size_t size)
{
    size_t used;
    const uint8_t *found = query_column_bytes(query, &used);
    if (query->error != OK || query->suspect != NULL)
        return;
    if (used == size)
        memcpy(bytes, found, size);
    else
        suspect(query);
}

/* All queries of rows name the table after FROM and have the key, or its first part, as their first
 * column. An operator can find the row with these. */
static void name_row(const struct query *query, char text[static ROW_TEXT_SIZE])
{
    sqlite3_stmt *statement = query->statement;
    const char *from = strstr(sqlite3_sql(statement), " FROM ");
    const char *table = from == NULL ? "" : from + strlen(" FROM ");
    const char *key = (const char *)sqlite3_column_text(statement, 0);
    (void)sqlite3_snprintf(ROW_TEXT_SIZE, text, "%s of the row with %s = %.40s in table %.*s",
                           query->suspect, sqlite3_column_name(statement, 0),
                           key == NULL ? "NULL" : key, (int)strcspn(table, " )"), table);
}

enum error query_row_error(struct query *query)
{
    if (query->error == OK && query->suspect != NULL) {
        char text[ROW_TEXT_SIZE];
        name_row(query, text);
        query->error = store_fault(query->store, ERROR_CORRUPT, query->what, text);
    }
    return query->error;
}

enum error query_suspect(struct query *query, const char *column)
{
    if (query->suspect == NULL)
        query->suspect = column;
    return query_row_error(query);
}

enum error query_end(struct query *query, enum error error)
{
    if (query->statement != NULL)
        (void)sqlite3_reset(query->statement); /* its error was seen by query_step */
    if (query->store->is_reader)
        query_read_leave(query->store);
    return query->error != OK ? query->error : error;
}

enum error query_run(struct query *query)
{
    bool row;
    enum error error = query_step(query, &row);
    return query_end(query, error);
}
