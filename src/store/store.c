/* SPDX-License-Identifier: MIT */
#include "store/store_internal.h"

#include <fcntl.h>
#include <pthread.h>
#include <sodium.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* Pages that are kept in memory. A batch with more dirty pages spills into the WAL before its
 * commit, which only costs time. */
#define CACHE_KIB 2048
#define READER_CACHE_KIB 512
/* The commit that fills the WAL with this many pages also moves them into the database. */
#define CHECKPOINT_PAGES 1000
/* Where there is always a reader the WAL never begins anew by itself. The commit that fills it with
 * this many pages, and with as many again, waits for those who read just then. */
#define RESTART_PAGES 4096
#define RESTART_WAIT_MS 50
/* A WAL that had to grow (a long read, a large batch) gives its disk back down to this. */
#define WAL_BYTES_KEPT (16 * 1024 * 1024)
/* Only a reader's first moment can keep the writer waiting, or the other way round. */
#define BUSY_MS 2000

static const char *advice(enum error error)
{
    switch (error) {
    case ERROR_CORRUPT:
        return "; " STORE_DAMAGE_ADVICE;
    case ERROR_DISK_FULL:
        return "; free some space";
    case ERROR_DENIED:
        return "; check owner and permissions of the data folder";
    default:
        return "";
    }
}

static enum error open_problem(struct store *store, int code, struct error_text *why)
{
    int number = store->database == NULL ? 0 : sqlite3_system_errno(store->database);
    const char *detail =
        store->database == NULL ? sqlite3_errstr(code) : sqlite3_errmsg(store->database);
    enum error error = query_error_from_sqlite(code, number);
    return error_set(why, error, "%s (%s)%s", error_name(error), detail, advice(error));
}

static enum error execute(struct store *store, const char *sql, struct error_text *why)
{
    int code = sqlite3_exec(store->database, sql, NULL, NULL, NULL);
    return code == SQLITE_OK ? OK : open_problem(store, code, why);
}

/* A check's findings begin with a title on a line of its own. */
static const char *last_line(const char *text)
{
    const char *end = strrchr(text, '\n');
    return end == NULL ? text : end + 1;
}

/* Runs a pragma that answers with one word and compares. */
static enum error expect(struct store *store, const char *sql, const char *answer, enum error other,
                         struct error_text *why)
{
    sqlite3_stmt *statement = NULL;
    int code = sqlite3_prepare_v2(store->database, sql, -1, &statement, NULL);
    if (code == SQLITE_OK)
        code = sqlite3_step(statement);
    enum error error = OK;
    if (code == SQLITE_ROW) {
        const char *text = (const char *)sqlite3_column_text(statement, 0);
        if (text == NULL)
            error = error_set(why, ERROR_NO_MEMORY, "%s: out of memory", sql);
        else if (strcmp(text, answer) != 0)
            error = error_set(why, other, "%s (%s: %s)%s", error_name(other), sql, last_line(text),
                              advice(other));
    } else {
        error = open_problem(store, code, why);
    }
    (void)sqlite3_finalize(statement);
    return error;
}

/* A check without memory also reports "corrupt", so only a second report counts. */
static enum error check_whole(struct store *store, struct error_text *why)
{
    static const char sql[] = "PRAGMA quick_check(1)";
    enum error error = expect(store, sql, "ok", ERROR_CORRUPT, NULL);
    if (error == OK || error == ERROR_CANCELLED)
        return error;
    return expect(store, sql, "ok", ERROR_CORRUPT, why);
}

/* A database from another program may hold code as well as rows, which SQLite must not run. */
static enum error harden(struct store *store, struct error_text *why)
{
    static const int off[] = {SQLITE_DBCONFIG_ENABLE_TRIGGER,
                              SQLITE_DBCONFIG_ENABLE_VIEW,
                              SQLITE_DBCONFIG_ENABLE_LOAD_EXTENSION,
                              SQLITE_DBCONFIG_DQS_DML,
                              SQLITE_DBCONFIG_DQS_DDL,
                              SQLITE_DBCONFIG_TRUSTED_SCHEMA};
    for (size_t i = 0; i < sizeof off / sizeof *off; i++)
        (void)sqlite3_db_config(store->database, off[i], 0, NULL);
    (void)sqlite3_db_config(store->database, SQLITE_DBCONFIG_DEFENSIVE, 1, NULL);
    return execute(store, "PRAGMA cell_size_check = ON", why);
}

static enum error configure_cache(struct store *store, int kib, struct error_text *why)
{
    char sql[64];
    (void)sqlite3_snprintf(sizeof sql, sql, "PRAGMA cache_size = -%d", kib);
    return execute(store, sql, why);
}

enum error store_use_wal(struct store *store, bool wal, struct error_text *why)
{
    return wal ? expect(store, "PRAGMA journal_mode = WAL", "wal", ERROR_DENIED, why)
               : expect(store, "PRAGMA journal_mode = DELETE", "delete", ERROR_DENIED, why);
}

/* After each commit, in its thread. If a checkpoint fails, a later commit repeats it. */
static int on_wal_commit(void *context, sqlite3 *database, const char *name, int pages)
{
    struct store *store = context;
    if (pages < RESTART_PAGES)
        store->restart_pages = RESTART_PAGES;
    if (pages < CHECKPOINT_PAGES)
        return SQLITE_OK;
    bool restarts = pages >= store->restart_pages;
    if (restarts) {
        store->restart_pages = pages + RESTART_PAGES;
        (void)sqlite3_busy_timeout(database, RESTART_WAIT_MS);
    }
    (void)sqlite3_wal_checkpoint_v2(
        database, name, restarts ? SQLITE_CHECKPOINT_RESTART : SQLITE_CHECKPOINT_PASSIVE, NULL,
        NULL);
    if (restarts)
        (void)sqlite3_busy_timeout(database, BUSY_MS);
    return SQLITE_OK;
}

static enum error configure(struct store *store, struct error_text *why)
{
    char sql[192];
    (void)sqlite3_snprintf(sizeof sql, sql,
                           "PRAGMA synchronous = FULL; PRAGMA secure_delete = FAST;"
                           "PRAGMA temp_store = MEMORY; PRAGMA journal_size_limit = %d",
                           WAL_BYTES_KEPT);
    (void)sqlite3_wal_hook(store->database, on_wal_commit, store);
    (void)sqlite3_busy_timeout(store->database, BUSY_MS);
    enum error error = harden(store, why);
    if (error == OK && store->path != NULL)
        error = store_use_wal(store, true, why);
    if (error == OK)
        error = execute(store, sql, why);
    if (error == OK)
        error = configure_cache(store, CACHE_KIB, why);
    return error;
}

static enum error problem_of(struct store *store, enum error error, struct error_text *why)
{
    if (error == OK)
        return OK;
    return error_set(why, error, "%s%s", store->problem.text, advice(error));
}

/* A database with tables has its node's file beside it: the file is made first. */
static enum error open_node(struct store *store, uint64_t node_id, struct error_text *why)
{
    bool is_empty;
    enum error error = schema_check(store->database, &is_empty, why);
    if (error != OK)
        return error;
    if (store->path == NULL) {
        store->node.node_id = node_id;
        return OK;
    }
    int folder = (int)(strrchr(store->path, '/') - store->path);
    char *path = sqlite3_mprintf("%.*s/" NODE_FILE_NAME, folder, store->path);
    if (path == NULL)
        return error_set(why, ERROR_NO_MEMORY, "out of memory");
    error = node_file_open(&store->node, path, node_id, is_empty, why);
    sqlite3_free(path);
    return error;
}

/* Makes the tables of a new database, and reads what is kept in memory. */
static enum error load_knowledge(struct store *store, struct error_text *why)
{
    enum error error = schema_prepare(store->database, why);
    if (error == OK)
        error = problem_of(store, query_control_prepare(store), why);
    if (error == OK)
        error = problem_of(store, identity_load(store), why);
    if (error == OK)
        error = problem_of(store, log_load_position(store, true), why);
    if (error == OK)
        error = problem_of(store, epoch_load(store), why);
    if (error == OK)
        error = problem_of(store, orphan_load(store), why);
    if (error == OK)
        error = problem_of(store, timeline_load(store), why);
    return error;
}

static enum error load(struct store *store, struct error_text *why)
{
    enum error error = load_knowledge(store, why);
    if (error == OK && store->path != NULL)
        folder_watch_files(store); /* the WAL is there by now */
    return error;
}

static struct store *new_store(void)
{
    struct store *store = sqlite3_malloc64(sizeof *store);
    if (store == NULL)
        return NULL;
    memset(store, 0, sizeof *store);
    store->lock = -1;
    store->node.descriptor = -1;
    return store;
}

/* A file made here is private; SQLite gives its companions the same permissions. */
static enum error make_file(struct store *store, struct error_text *why)
{
    int descriptor = open(store->path, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
    if (descriptor < 0)
        return OK; /* it exists, or SQLite reports the error */
    (void)close(descriptor);
    return folder_sync_of(store->path, why);
}

static enum error open_folder(struct store *store, const char *folder, struct error_text *why)
{
    enum error error = folder_make(folder, why);
    if (error == OK)
        error = folder_lock(folder, &store->lock, why);
    if (error != OK)
        return error;
    const char *here = folder[0] == '/' ? "" : "./"; /* never mistaken for a URI */
    store->path = sqlite3_mprintf("%s%s/%s", here, folder, STORE_FILE_NAME);
    if (store->path == NULL)
        return error_set(why, ERROR_NO_MEMORY, "out of memory");
    folder_remove_leftovers(store->path);
    error = folder_sync_log(store->path, why);
    return error == OK ? make_file(store, why) : error;
}

static enum error open_database(struct store *store, int flags, struct error_text *why)
{
    const char *name = store->path == NULL ? ":memory:" : store->path;
    int code =
        sqlite3_open_v2(name, &store->database, flags | SQLITE_OPEN_NOMUTEX | SQLITE_OPEN_EXRESCODE,
                        wal_writes_vfs());
    return code == SQLITE_OK ? OK : open_problem(store, code, why);
}

/* SQLite counts its memory under a lock of the whole process, and Jackdaw does not use the count.
 * If SQLite is already in use, the setting has no effect and does no harm. */
static void configure_libraries(void)
{
    (void)sqlite3_config(SQLITE_CONFIG_MEMSTATUS, 0);
    int ready = sodium_init();
    ASSERT(ready >= 0);
}

enum error store_open(struct store **out, const struct store_options *options,
                      struct error_text *why)
{
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    ASSERT(options->node_id >= 1 && options->node_id <= UINT16_MAX);
    (void)pthread_once(&once, configure_libraries);
    const char *shown = options->folder == NULL ? "memory" : options->folder;
    struct store *store = new_store();
    if (store == NULL)
        return error_set(why, ERROR_NO_MEMORY, "open store: out of memory");
    enum error error = OK;
    if (options->folder != NULL)
        error = open_folder(store, options->folder, why);
    if (error == OK)
        error = open_database(store, SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE, why);
    if (error == OK)
        error = configure(store, why);
    if (error == OK)
        error = open_node(store, options->node_id, why);
    if (error == OK)
        error = load(store, why);
    if (error != OK) {
        store_close(store);
        return error_prefix(why, error, "open store %s", shown);
    }
    *out = store;
    return OK;
}

static enum error check_ours(struct store *store, struct error_text *why)
{
    char ours[16];
    (void)sqlite3_snprintf(sizeof ours, ours, "%d", SCHEMA_APPLICATION_ID);
    return expect(store, "PRAGMA application_id", ours, ERROR_MISMATCH, why);
}

enum error store_open_file(struct store **out, const char *path, struct error_text *why)
{
    struct store *store = new_store();
    if (store == NULL)
        return error_set(why, ERROR_NO_MEMORY, "out of memory");
    enum error error = OK;
    store->path = sqlite3_mprintf("%s", path);
    if (store->path == NULL)
        error = error_set(why, ERROR_NO_MEMORY, "out of memory");
    if (error == OK)
        error = open_database(store, SQLITE_OPEN_READWRITE, why);
    if (error == OK)
        error = check_ours(store, why);
    if (error == OK)
        error = configure(store, why);
    if (error == OK)
        error = load(store, why);
    if (error == OK)
        *out = store;
    else
        store_close(store);
    return error;
}

enum error store_open_check(struct store **out, const char *path, struct error_text *why)
{
    struct store *store = new_store();
    if (store == NULL)
        return error_set(why, ERROR_NO_MEMORY, "check %s: out of memory", path);
    store->path = sqlite3_mprintf("%s%s", path[0] == '/' ? "" : "./", path);
    enum error error = OK;
    if (store->path == NULL)
        error = error_set(why, ERROR_NO_MEMORY, "out of memory");
    if (error == OK)
        error = open_database(store, SQLITE_OPEN_READWRITE, why);
    if (error != OK) {
        store_close(store);
        return error_prefix(why, error, "check %s", path);
    }
    *out = store;
    return OK;
}

enum error store_check(struct store *store, struct error_text *why)
{
    enum error error = harden(store, why);
    if (error == OK)
        error = check_ours(store, why);
    if (error == OK) /* no WAL is left beside it, whatever its header says */
        error = store_use_wal(store, false, why);
    if (error == OK)
        error = configure_cache(store, CACHE_KIB, why);
    if (error == OK)
        error = check_whole(store, why);
    if (error == OK)
        error = load_knowledge(store, why);
    return error == OK ? OK : error_prefix(why, error, "check %s", store->path);
}

enum error store_open_reader(struct store **out, const struct store *writer, struct error_text *why)
{
    if (writer->path == NULL)
        return error_set(why, ERROR_INVALID, "a store in memory has no readers");
    if (store_check_files(writer, why) != OK) /* it would read another database */
        return error_prefix(why, ERROR_CLOSED, "open reader of %s", writer->path);
    struct store *store = new_store();
    if (store == NULL)
        return error_set(why, ERROR_NO_MEMORY, "open reader: out of memory");
    store->is_reader = true;
    enum error error = OK;
    store->path = sqlite3_mprintf("%s", writer->path);
    if (store->path == NULL)
        error = error_set(why, ERROR_NO_MEMORY, "out of memory");
    if (error == OK)
        error = open_database(store, SQLITE_OPEN_READONLY, why);
    if (error == OK) {
        (void)sqlite3_busy_timeout(store->database, BUSY_MS);
        error = harden(store, why);
    }
    if (error == OK)
        error = configure_cache(store, READER_CACHE_KIB, why);
    if (error == OK)
        error = problem_of(store, query_control_prepare(store), why);
    if (error == OK)
        error = problem_of(store, identity_load(store), why);
    if (error != OK) {
        store_close(store);
        return error_prefix(why, error, "open reader of %s", writer->path);
    }
    *out = store;
    return OK;
}

void store_close(struct store *store)
{
    if (store == NULL)
        return;
    store_rollback(store);
    for (size_t i = 0; i < STATEMENT_COUNT; i++)
        (void)sqlite3_finalize(store->statements[i]);
    /* Closing removes the WAL by its name, which may be another database's by now. */
    if (store->database != NULL && store_check_files(store, NULL) != OK)
        (void)sqlite3_db_config(store->database, SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, 1, NULL);
    int code = sqlite3_close(store->database);
    ASSERT(code == SQLITE_OK);
    if (store->lock >= 0)
        (void)close(store->lock);
    node_file_close(&store->node);
    sqlite3_free(store->path);
    sqlite3_free(store->epochs);
    sqlite3_free(store->recent);
    pending_free(store);
    pack_buffer_free(&store->scratch);
    sqlite3_free(store);
}

void store_cancel(struct store *reader)
{
    sqlite3_interrupt(reader->database);
}

const char *store_last_problem(const struct store *store)
{
    return store->problem.text;
}

enum error store_size(struct store *store, uint64_t *bytes)
{
    struct query query;
    bool row;
    query_read(&query, store, STATEMENT_SIZE,
               "SELECT page_count * page_size FROM pragma_page_count, pragma_page_size",
               "ask for the size");
    enum error error = query_step(&query, &row);
    if (error == OK && row) {
        *bytes = query_column_ordered(&query);
        error = query_row_error(&query);
    }
    return query_end(&query, error);
}

/* ---- transactions ---- */

enum error store_begin(struct store *store)
{
    ASSERT(!store->is_reader && !store->in_transaction && store->open_reads == 0);
    enum error error = query_control_run(store, STATEMENT_BEGIN_WRITE, "begin a transaction");
    if (error != OK)
        return error;
    store->in_transaction = true;
    store->failure = OK;
    store->commit_failed = false;
    store->at_begin = store->now;
    return OK;
}

enum error store_flush(struct store *store)
{
    ASSERT(store->in_transaction && !store->is_committing);
    return pending_flush(store);
}

/* A cache that is full would spill changed pages into the log. (PRAGMA cache_spill has no effect within a
 * transaction.) */
void store_isolate(struct store *store)
{
    ASSERT(!store->is_committing);
    wal_writes_forbid();
    node_file_close(&store->node);
    (void)sqlite3_exec(store->database, "PRAGMA cache_size = -1048576", NULL, NULL, NULL);
}

enum error store_commit_prepare(struct store *store)
{
    ASSERT(store->in_transaction && !store->is_committing);
    enum error error = pending_flush(store);
    store->is_committing = error == OK;
    return error;
}

enum error store_commit_write(struct store *store)
{
    return query_control_commit(store);
}

enum error store_commit_finish(struct store *store, enum error written)
{
    ASSERT(store->is_committing);
    store->is_committing = false;
    if (written == OK) {
        store->in_transaction = false;
        return OK;
    }
    store->commit_failed = true;
    store->failure = written;
    store->problem = store->commit_problem;
    return written;
}

enum error store_commit(struct store *store)
{
    enum error error = store_commit_prepare(store);
    return error == OK ? store_commit_finish(store, store_commit_write(store)) : error;
}

/* A commit that failed during the sync has left its frames in the WAL, where the next process would
 * take them for valid. Overwriting the first frame prevents that. If the disk refuses that too, its
 * content is unknown (store.h). */
static void bury_failed_commit(struct store *store)
{
    struct error_text kept = store->problem;
    if (store_begin(store) == OK) {
        enum error error = query_control_run(store, STATEMENT_BURY, "undo a failed commit");
        if (error == OK)
            error = store_commit(store);
        if (error != OK) {
            store->commit_failed = false;
            store_rollback(store);
        }
    }
    store->problem = kept;
}

/* After some errors SQLite rolls back automatically. */
void store_rollback(struct store *store)
{
    if (!store->in_transaction)
        return;
    ASSERT(!store->is_committing);
    if (sqlite3_get_autocommit(store->database) == 0)
        (void)query_control_run(store, STATEMENT_ROLLBACK, "roll back");
    ASSERT(sqlite3_get_autocommit(store->database) != 0);
    pending_clear(store);
    outcome_forget(store);
    store->in_transaction = false;
    store->failure = OK;
    store->now = store->at_begin;
    if (store->commit_failed && store->path != NULL)
        bury_failed_commit(store);
}

enum error store_begin_alone(struct store *store, bool *alone)
{
    *alone = !store->in_transaction;
    return *alone ? store_begin(store) : OK;
}

enum error store_end_alone(struct store *store, bool alone, enum error error)
{
    if (!alone)
        return error;
    if (error == OK)
        error = store_commit(store);
    if (error != OK)
        store_rollback(store);
    return error;
}
