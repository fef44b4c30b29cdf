/* SPDX-License-Identifier: MIT */
/* The copy is made under a temporary name beside path and gets its own name when it is complete
 * and synced, so that a file at path is always a whole one. */
#include "store/store_internal.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

struct store_snapshot {
    struct store *store;
    char *path;
    char *partial; /* where it grows */
    sqlite3 *copy;
    sqlite3_backup *backup;
    bool done;
};

static enum error copy_problem(struct store_snapshot *snapshot, int code, const char *what)
{
    struct store *store = snapshot->store;
    enum error error = error_from_sqlite(code, sqlite3_system_errno(snapshot->copy));
    const char *detail =
        (code & 0xff) == SQLITE_NOMEM ? sqlite3_errstr(code) : sqlite3_errmsg(snapshot->copy);
    return error_set(&store->problem, error, "%s: %s (%s)", what, error_name(error), detail);
}

static enum error open_copy(struct store_snapshot *snapshot)
{
    (void)unlink(snapshot->partial);
    int descriptor = open(snapshot->partial, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    if (descriptor < 0) {
        int number = errno;
        enum error error = error_from_errno(number);
        return error_set(&snapshot->store->problem, error, "make snapshot %s: %s",
                         snapshot->partial, strerror(number));
    }
    (void)close(descriptor);
    int code =
        sqlite3_open_v2(snapshot->partial, &snapshot->copy,
                        SQLITE_OPEN_READWRITE | SQLITE_OPEN_NOMUTEX | SQLITE_OPEN_EXRESCODE, NULL);
    if (code == SQLITE_OK)
        code = sqlite3_exec(snapshot->copy,
                            "PRAGMA journal_mode = OFF; PRAGMA synchronous = OFF;"
                            "PRAGMA cache_size = -512",
                            NULL, NULL, NULL);
    if (code != SQLITE_OK)
        return copy_problem(snapshot, code, "make snapshot");
    snapshot->backup =
        sqlite3_backup_init(snapshot->copy, "main", snapshot->store->database, "main");
    if (snapshot->backup == NULL)
        return copy_problem(snapshot, sqlite3_extended_errcode(snapshot->copy), "begin snapshot");
    return OK;
}

enum error store_snapshot_begin(struct store_snapshot **out, struct store *store, const char *path)
{
    struct store_snapshot *snapshot = sqlite3_malloc64(sizeof *snapshot);
    if (snapshot == NULL)
        return store_fault(store, ERROR_NO_MEMORY, "begin snapshot", path);
    const char *here = path[0] == '/' ? "" : "./"; /* never mistaken for a URI */
    *snapshot = (struct store_snapshot){.store = store};
    snapshot->path = sqlite3_mprintf("%s%s", here, path);
    snapshot->partial = sqlite3_mprintf("%s%s.part", here, path);
    enum error error = snapshot->path == NULL || snapshot->partial == NULL
                           ? store_fault(store, ERROR_NO_MEMORY, "begin snapshot", path)
                           : open_copy(snapshot);
    if (error == OK)
        *out = snapshot;
    else
        store_snapshot_end(snapshot);
    return error;
}

static enum error close_copy(struct store_snapshot *snapshot)
{
    int code = sqlite3_backup_finish(snapshot->backup);
    snapshot->backup = NULL;
    if (code == SQLITE_OK)
        code = sqlite3_exec(snapshot->copy,
                            "PRAGMA journal_mode = MEMORY; BEGIN;"
                            "UPDATE node SET node_id = 0; DELETE FROM value;"
                            "DELETE FROM orphan;"
                            "DELETE FROM sqlite_sequence; COMMIT",
                            NULL, NULL, NULL);
    enum error error = code == SQLITE_OK ? OK : copy_problem(snapshot, code, "finish snapshot");
    (void)sqlite3_close(snapshot->copy);
    snapshot->copy = NULL;
    return error;
}

static enum error publish(struct store_snapshot *snapshot)
{
    int descriptor = open(snapshot->partial, O_RDWR | O_CLOEXEC);
    int number = descriptor < 0 || fsync(descriptor) != 0 ? errno : 0;
    if (descriptor >= 0)
        (void)close(descriptor);
    if (number == 0 && rename(snapshot->partial, snapshot->path) != 0)
        number = errno;
    if (number != 0)
        return error_set(&snapshot->store->problem, error_from_errno(number),
                         "finish snapshot %s: %s", snapshot->path, strerror(number));
    return folder_sync_of(snapshot->path, &snapshot->store->problem);
}

enum error store_snapshot_step(struct store_snapshot *snapshot, int pages, bool *done)
{
    ASSERT(!snapshot->done && !snapshot->store->in_transaction && snapshot->backup != NULL);
    *done = false;
    int code = sqlite3_backup_step(snapshot->backup, pages);
    if (code == SQLITE_OK || (code & 0xff) == SQLITE_BUSY || (code & 0xff) == SQLITE_LOCKED)
        return OK;
    if (code != SQLITE_DONE)
        return copy_problem(snapshot, code, "copy into snapshot");
    enum error error = close_copy(snapshot);
    if (error == OK)
        error = publish(snapshot);
    snapshot->done = error == OK;
    *done = snapshot->done;
    return error;
}

void store_snapshot_end(struct store_snapshot *snapshot)
{
    if (snapshot == NULL)
        return;
    if (snapshot->backup != NULL)
        (void)sqlite3_backup_finish(snapshot->backup);
    (void)sqlite3_close(snapshot->copy);
    if (!snapshot->done && snapshot->partial != NULL)
        (void)unlink(snapshot->partial);
    sqlite3_free(snapshot->partial);
    sqlite3_free(snapshot->path);
    sqlite3_free(snapshot);
}
