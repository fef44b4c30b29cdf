/* SPDX-License-Identifier: MIT */
#include "store/store_internal.h"

#include <fcntl.h>
#include <pthread.h>
#include <sodium.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* Pages that are kept in memory. Changed pages stay there until the end of the transaction, whatever their
 * number, so that a transaction that is rolled back writes nothing. */
#define CACHE_KIB 2048
#define READER_CACHE_KIB 512
/* The commit that fills the WAL with this many pages also moves them into the database. That takes three
 * syncs, for which the log's syncs on the same disk wait, so it is rare. */
#define CHECKPOINT_PAGES 4000
/* Where there is always a reader the WAL never begins anew by itself. The commit that fills it with
 * this many pages, and with as many again, waits for those who read just then. */
#define RESTART_PAGES 8192
#define RESTART_WAIT_MS 50
/* A WAL that had to grow (a long read, a large batch) gives its disk back down to this. */
#define WAL_BYTES_KEPT (16 * 1024 * 1024)
/* Only a reader's first moment can keep the writer waiting, or the other way round. */
#define BUSY_MS 2000
/* Of changes in memory. */
#define REPLAY_SLACK (1024u * 1024u) /* of the log, that comes while the database is synced */
#define UNPROJECTED_BYTES_MAX (size_t)(64 * 1024 * 1024)
/* A copy of an entry in a snapshot takes no more than this many times its bytes. */
#define LOG_COPY_FACTOR 2

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

/* synchronous: FULL syncs each commit, NORMAL only what a checkpoint needs. */
static enum error configure(struct store *store, const char *synchronous, struct error_text *why)
{
    char sql[192];
    (void)sqlite3_snprintf(sizeof sql, sql,
                           "PRAGMA synchronous = %s; PRAGMA secure_delete = FAST;"
                           "PRAGMA temp_store = MEMORY; PRAGMA journal_size_limit = %d;"
                           "PRAGMA cache_spill = OFF",
                           synchronous, WAL_BYTES_KEPT);
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
        error = problem_of(store, log_end_load(store), why);
    if (error == OK)
        error = problem_of(store, epoch_load(store), why);
    if (error == OK)
        error = problem_of(store, orphan_load(store), why);
    if (error == OK)
        error = problem_of(store, timeline_load(store), why);
    if (error == OK)
        error = problem_of(store, log_copy_load_first(store), why);
    return error;
}

/* After load: the rest of a store that is in use. */
enum error store_begin_use(struct store *store, struct error_text *why)
{
    if (store->path == NULL)
        return OK;
    enum error error = log_open(store, why);
    if (error == OK)
        error = projection_open(store, why);
    if (error == OK)
        folder_watch_files(store); /* the WAL is there by now */
    return error;
}

static struct store *new_store(const struct store_options *options)
{
    struct store *store = sqlite3_malloc64(sizeof *store);
    if (store == NULL)
        return NULL;
    memset(store, 0, sizeof *store);
    store->lock = -1;
    store->unprojected_max = UNPROJECTED_BYTES_MAX;
    store->node.descriptor = -1;
    uint64_t replay = options == NULL ? 0 : options->replay_bytes;
    store->sync_bytes =
        (replay == 0 ? STORE_REPLAY_BYTES : replay) / 2; /* the rest may come meanwhile */
    store->segment_bytes = options == NULL ? 0 : options->segment_bytes;
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

/* A path that is never mistaken for a URI. */
static const char *prefix_of(const char *path)
{
    return path[0] == '/' || path[0] == '.' ? "" : "./";
}

static enum error open_folder(struct store *store, const char *folder, struct error_text *why)
{
    enum error error = folder_make(folder, why);
    if (error == OK)
        error = folder_lock(folder, &store->lock, why);
    if (error != OK)
        return error;
    store->path = sqlite3_mprintf("%s%s/%s", prefix_of(folder), folder, STORE_FILE_NAME);
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
    struct store *store = new_store(options);
    if (store == NULL)
        return error_set(why, ERROR_NO_MEMORY, "open store: out of memory");
    enum error error = OK;
    if (options->folder != NULL)
        error = open_folder(store, options->folder, why);
    if (error == OK)
        error = open_database(store, SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE, why);
    if (error == OK)
        error = configure(store, "FULL", why);
    if (error == OK)
        error = open_node(store, options->node_id, why);
    if (error == OK)
        error = load_knowledge(store, why);
    if (error == OK)
        error = store_begin_use(store, why);
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

/* A connection of its own to the database at path. On error *out is NULL, or is to be closed. */
static enum error connect_to(struct store **out, const char *path, int flags,
                             struct error_text *why)
{
    struct store *store = new_store(NULL);
    *out = store;
    if (store != NULL)
        store->path = sqlite3_mprintf("%s%s", prefix_of(path), path);
    if (store == NULL || store->path == NULL)
        return error_set(why, ERROR_NO_MEMORY, "out of memory");
    return open_database(store, flags, why);
}

enum error store_open_file(struct store **out, const char *path, struct error_text *why)
{
    struct store *store;
    enum error error = connect_to(&store, path, SQLITE_OPEN_READWRITE, why);
    if (error == OK)
        error = check_ours(store, why);
    if (error == OK)
        error = configure(store, "FULL", why);
    if (error == OK)
        error = load_knowledge(store, why);
    if (error == OK)
        *out = store;
    else
        store_close(store);
    return error;
}

enum error store_open_writer(struct store **out, const char *path, struct error_text *why)
{
    struct store *store;
    enum error error = connect_to(&store, path, SQLITE_OPEN_READWRITE, why);
    if (error == OK)
        error = configure(store, "NORMAL", why);
    if (error == OK)
        error = problem_of(store, query_control_prepare(store), why);
    if (error == OK)
        error = problem_of(store, log_end_load(store), why);
    if (error == OK)
        error = problem_of(store, timeline_load(store), why);
    if (error == OK)
        *out = store;
    else
        store_close(store);
    return error;
}

enum error store_open_check(struct store **out, const char *path, struct error_text *why)
{
    struct store *store;
    enum error error = connect_to(&store, path, SQLITE_OPEN_READWRITE, why);
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
    struct store *store;
    enum error error = connect_to(&store, writer->path, SQLITE_OPEN_READONLY, why);
    if (error == OK) {
        store->is_reader = true;
        store->log = writer->log;
        store->projection = writer->projection;
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

enum error store_peek_members(const char *folder, uint8_t *bytes, size_t size, size_t *used)
{
    struct store *store = NULL;
    struct log_position position;
    char *path = sqlite3_mprintf("%s/%s", folder, STORE_FILE_NAME);
    enum error error =
        path == NULL ? ERROR_NO_MEMORY : connect_to(&store, path, SQLITE_OPEN_READONLY, NULL);
    sqlite3_free(path);
    if (error == OK)
        error = harden(store, NULL);
    if (error == OK)
        error = store_get_members(store, &position, bytes, size, used);
    store_close(store);
    return error;
}

void store_close(struct store *store)
{
    if (store == NULL)
        return;
    store_rollback(store);
    query_roll_back(store);
    if (!store->is_reader) {
        projection_close(store->projection);
        segment_log_close(store->log);
    }
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
    pack_buffer_free(&store->scratch);
    sqlite3_free(store);
}

void store_cancel(struct store *reader)
{
    (void)atomic_fetch_add(&reader->cancels, 1);
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
    if (error == OK && store->log != NULL)
        *bytes += LOG_COPY_FACTOR * segment_log_size(store->log) + store_unprojected_bytes(store);
    return query_end(&query, error);
}

/* ---- transactions ---- */

enum error store_begin(struct store *store)
{
    ASSERT(!store->is_reader && !store->in_transaction && store->open_reads == 0);
    enum error error = store->has_log_base ? blank_end_reset(store) : OK;
    if (error != OK)
        return error;
    store->in_transaction = true;
    store->failure = OK;
    store->at_begin = store->now;
    return OK;
}

/* Without a projection the rows are written with the commit. */
static enum error write_rows(struct store *store)
{
    enum error error = query_begin(store);
    if (error == OK && store->open != NULL) {
        store->open->end = store->now.end;
        error = change_write(store, store->open, store->open);
    }
    if (error != OK)
        query_roll_back(store);
    return error;
}

enum error store_commit_prepare(struct store *store)
{
    ASSERT(store->in_transaction && !store->is_committing);
    enum error error = store->failure;
    if (error == OK && store->projection == NULL)
        error = write_rows(store);
    store->is_committing = error == OK;
    store->failure = error;
    return error;
}

/* A database that cannot follow the log must let neither the memory nor the next replay grow. */
static enum error make_room(struct store *store)
{
    uint64_t unsynced = store->now.end.at.bytes - projection_synced_bytes(store->projection);
    uint64_t replayed_max = 2 * store->sync_bytes;
    bool has_room = store_unprojected_bytes(store) <= store->unprojected_max;
    if (has_room && unsynced <= replayed_max + REPLAY_SLACK)
        return OK;
    return store_project(store, unsynced > replayed_max, &store->commit_problem);
}

static bool has_entries(const struct store *store)
{
    return store->now.end.at.position.seq != store->at_begin.end.at.position.seq;
}

/* Rows that come without an entry of the log are in the database only. */
static enum error write_rows_alone(struct store *store)
{
    return store->open == NULL || has_entries(store)
               ? OK
               : projection_write_open(store, &store->commit_problem);
}

enum error store_commit_write(struct store *store)
{
    store->commit_problem.text[0] = '\0';
    if (store->projection == NULL)
        return query_commit(store);
    store->has_reached_log = false;
    enum error error = make_room(store);
    if (error != OK)
        return error;
    store->has_reached_log = true;
    error = segment_log_write(store->log);
    return error == OK ? write_rows_alone(store) : error;
}

static enum error finish_in_memory(struct store *store, enum error written)
{
    projection_drop_batch(NULL, store->open);
    store->open = NULL;
    store->in_transaction = written != OK;
    store->failure = written;
    return written;
}

static void finish_rows(struct store *store)
{
    store->in_transaction = false;
    if (store->open == NULL)
        return;
    if (has_entries(store)) {
        projection_push(store);
        return;
    }
    projection_drop_batch(store->projection, store->open);
    store->open = NULL;
}

enum error store_commit_finish(struct store *store, enum error written)
{
    ASSERT(store->is_committing);
    store->is_committing = false;
    if (store->projection == NULL)
        return finish_in_memory(store, written);
    enum error error = store->has_reached_log ? segment_log_finish(store->log, written) : written;
    if (error == OK) {
        log_note_first(store);
        finish_rows(store);
        return OK;
    }
    store->failure = error;
    const char *problem = store->commit_problem.text[0] != '\0' ? store->commit_problem.text
                                                                : segment_log_problem(store->log);
    return error_set(&store->problem, error, "commit: %s", problem);
}

enum error store_commit(struct store *store)
{
    enum error error = store_commit_prepare(store);
    return error == OK ? store_commit_finish(store, store_commit_write(store)) : error;
}

void store_rollback(struct store *store)
{
    if (!store->in_transaction)
        return;
    ASSERT(!store->is_committing);
    if (store->projection == NULL)
        query_roll_back(store);
    else
        segment_log_roll_back(store->log);
    projection_drop_batch(store->projection, store->open);
    store->open = NULL;
    outcome_forget(store);
    store->in_transaction = false;
    store->failure = OK;
    store->now = store->at_begin;
}
