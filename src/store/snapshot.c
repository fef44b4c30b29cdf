/* SPDX-License-Identifier: MIT */
/* VACUUM INTO costs no more than copying page by page, and what it writes is compact and in no WAL
 * mode: one file without companions. */
#include "store/store_internal.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

struct copy {
    struct store *store;
    char *path;
    char *partial; /* where it grows */
    sqlite3 *database;
    struct log_position position;
    unsigned cancels; /* of the store, at the beginning */
};

static enum error system_problem(struct copy *copy, const char *what, int number)
{
    return error_set(&copy->store->problem, error_from_errno(number), "%s %s: %s", what,
                     copy->partial, strerror(number));
}

static enum error copy_problem(struct copy *copy, int code)
{
    int number = errno != 0 ? errno : sqlite3_system_errno(copy->database);
    enum error error = query_error_from_sqlite(code, number);
    const char *detail = copy->database == NULL || (code & 0xff) == SQLITE_NOMEM
                             ? sqlite3_errstr(code)
                             : sqlite3_errmsg(copy->database);
    return error_set(&copy->store->problem, error, "finish snapshot: %s (%s)", error_name(error),
                     detail);
}

/* The file is made here, so that it is private from the start. */
static enum error make_file(struct copy *copy)
{
    (void)unlink(copy->partial);
    int descriptor = open(copy->partial, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
    if (descriptor < 0)
        return system_problem(copy, "make snapshot", errno);
    (void)close(descriptor);
    return OK;
}

static enum error copy_all(struct copy *copy)
{
    char *sql = sqlite3_mprintf("VACUUM INTO %Q", copy->partial);
    if (sql == NULL)
        return store_fault(copy->store, ERROR_NO_MEMORY, "take a snapshot", copy->path);
    errno = 0;
    int code = sqlite3_exec(copy->store->database, sql, NULL, NULL, NULL);
    sqlite3_free(sql);
    return code == SQLITE_OK ? OK : store_fail(copy->store, code, "take a snapshot");
}

static int read_position(struct copy *copy)
{
    sqlite3_stmt *statement = NULL;
    int code = sqlite3_prepare_v2(copy->database, "SELECT epoch, seq FROM log_end WHERE one = 1",
                                  -1, &statement, NULL);
    if (code == SQLITE_OK)
        code = sqlite3_step(statement);
    if (code == SQLITE_ROW) {
        copy->position.epoch = (uint64_t)sqlite3_column_int64(statement, 0);
        copy->position.seq = (uint64_t)sqlite3_column_int64(statement, 1);
    }
    (void)sqlite3_finalize(statement);
    return code == SQLITE_ROW ? SQLITE_OK : code;
}

static enum error add_log(struct copy *copy)
{
    struct segment_log_end end = copy->store->now.end.at; /* a store in memory has no log */
    end.position = copy->position;
    return log_copy_fill(copy->database, copy->store, copy->cancels, &end);
}

static int run(struct copy *copy, const char *sql)
{
    return sqlite3_exec(copy->database, sql, NULL, NULL, NULL);
}

/* Removes the node's own data, also from free pages, and adds the log. */
static enum error make_nobodys(struct copy *copy)
{
    errno = 0;
    int code =
        sqlite3_open_v2(copy->partial, &copy->database,
                        SQLITE_OPEN_READWRITE | SQLITE_OPEN_NOMUTEX | SQLITE_OPEN_EXRESCODE, NULL);
    if (code == SQLITE_OK)
        code = run(copy, "PRAGMA journal_mode = OFF; PRAGMA synchronous = OFF;"
                         "PRAGMA cache_size = -512; PRAGMA secure_delete = ON;"
                         "BEGIN; DELETE FROM orphan; DELETE FROM sqlite_sequence");
    if (code == SQLITE_OK)
        code = read_position(copy);
    enum error error = code == SQLITE_OK ? add_log(copy) : OK;
    if (code == SQLITE_OK && error == OK)
        code = run(copy, "COMMIT");
    if (code != SQLITE_OK)
        error = copy_problem(copy, code);
    (void)sqlite3_close(copy->database);
    copy->database = NULL;
    return error;
}

static enum error publish(struct copy *copy)
{
    int descriptor = open(copy->partial, O_RDWR | O_CLOEXEC);
    int number = descriptor < 0 || fsync(descriptor) != 0 ? errno : 0;
    if (descriptor >= 0)
        (void)close(descriptor);
    if (number == 0 && rename(copy->partial, copy->path) != 0)
        number = errno;
    if (number != 0)
        return system_problem(copy, "finish snapshot", number);
    return folder_sync_of(copy->path, &copy->store->problem);
}

static enum error fill(struct copy *copy)
{
    enum error error = projection_reach(copy->store, PROJECTION_ALL);
    if (error == OK)
        error = make_file(copy);
    if (error != OK)
        return error;
    error = copy_all(copy);
    if (error == OK)
        error = make_nobodys(copy);
    if (error == OK)
        error = publish(copy);
    if (error != OK)
        (void)unlink(copy->partial);
    return error;
}

enum error store_snapshot_take(struct store *store, const char *path, struct log_position *position)
{
    ASSERT(!store->in_transaction && store->open_reads == 0);
    struct copy copy = {.store = store, .cancels = atomic_load(&store->cancels)};
    const char *here = path[0] == '/' ? "" : "./"; /* never mistaken for a URI */
    copy.path = sqlite3_mprintf("%s%s", here, path);
    copy.partial = sqlite3_mprintf("%s%s.part", here, path);
    enum error error = copy.path == NULL || copy.partial == NULL
                           ? store_fault(store, ERROR_NO_MEMORY, "take a snapshot", path)
                           : fill(&copy);
    if (error == OK)
        *position = copy.position;
    sqlite3_free(copy.path);
    sqlite3_free(copy.partial);
    return error;
}
