/* SPDX-License-Identifier: MIT */
/* projection.c - brings the database up to date behind the log.
 *
 * The database is a projection of the log: its rows show the log up to a position that is a row, too. A
 * connection of its own writes the changes of all transactions that wait, in one transaction and without
 * a sync (SQLite, "PRAGMA synchronous": NORMAL). So a loss of power may take the database back to an
 * earlier position, but never between two; the log from there on is replayed at the next start. Entries
 * of the log may be pruned once the WAL was synced with their rows in it.
 *
 * Locks: a thread that uses the writing connection holds `writing`; `queue` guards the list of what waits,
 * for moments. `writing` comes first. Batches are made and freed by the owner's thread alone, so it may
 * keep a pointer into one until it opens the next transaction. */
#include "store/store_internal.h"

#include <pthread.h>
#include <stdatomic.h>
#include <string.h>
#include <time.h>
#include <utlist.h>

#define BYTES_AT_ONCE (size_t)(8 * 1024 * 1024) /* of changes, in one transaction */
#define PAUSE_MS 100                            /* that a pause waits for a transaction */
#define BATCHES_KEPT 16u                        /* empty, for later transactions */

struct projection {
    const struct store *owner;
    _Atomic(struct store *) writer; /* changed while `writing` is held */
    atomic_bool is_damaged;         /* the database could not be opened again: */
    struct error_text damage;
    pthread_mutex_t writing;
    pthread_mutex_t queue;
    bool is_isolated; /* the process is a child that has one thread */

    /* Guarded by queue. */
    struct change_batch *first; /* oldest */
    struct change_batch *done;  /* written: the owner's thread frees them */
    size_t waiting_bytes;
    uint64_t pushed;      /* number of the newest batch, */
    uint64_t written;     /* and of the last one that the database has */
    uint64_t reached_seq; /* of the database */
    uint64_t synced_seq;  /* of the database after a loss of power */
    uint64_t synced_bytes;

    /* Guarded by writing. */
    bool is_suspended;         /* the writer is not to be opened */
    struct error_text problem; /* why it could not be opened */
    struct store_projection_watch watch;
    uint64_t sync_bytes;           /* how many of the log may come between two syncs */
    struct segment_log_end synced; /* the end of the log in a database after a loss of power */

    /* The owner's. */
    struct change_batch *kept;
    unsigned kept_count;
};

static void lock(struct projection *projection, pthread_mutex_t *mutex)
{
    if (!projection->is_isolated)
        (void)pthread_mutex_lock(mutex);
}

static void unlock(struct projection *projection, pthread_mutex_t *mutex)
{
    if (!projection->is_isolated)
        (void)pthread_mutex_unlock(mutex);
}

/* false: another thread has had the lock all the time. */
static bool lock_within(pthread_mutex_t *mutex, unsigned ms)
{
    struct timespec until;
    (void)clock_gettime(CLOCK_REALTIME, &until);
    until.tv_nsec += (long)ms * 1000000;
    until.tv_sec += until.tv_nsec / 1000000000;
    until.tv_nsec %= 1000000000;
    return pthread_mutex_timedlock(mutex, &until) == 0;
}

/* ---- batches ---- */

static void keep(struct projection *projection, struct change_batch *batch)
{
    if (projection->kept_count >= BATCHES_KEPT) {
        change_batch_free(batch);
        return;
    }
    change_batch_clear(batch);
    LL_PREPEND(projection->kept, batch);
    projection->kept_count++;
}

static void take_back_done(struct projection *projection)
{
    lock(projection, &projection->queue);
    struct change_batch *done = projection->done;
    projection->done = NULL;
    unlock(projection, &projection->queue);
    while (done != NULL) {
        struct change_batch *batch = done;
        LL_DELETE(done, batch);
        keep(projection, batch);
    }
}

struct change_batch *projection_new_batch(struct projection *projection)
{
    if (projection != NULL)
        take_back_done(projection);
    struct change_batch *batch = projection == NULL ? NULL : projection->kept;
    if (batch != NULL) {
        LL_DELETE(projection->kept, batch);
        projection->kept_count--;
        return batch;
    }
    batch = sqlite3_malloc64(sizeof *batch);
    if (batch != NULL)
        memset(batch, 0, sizeof *batch);
    return batch;
}

void projection_drop_batch(struct projection *projection, struct change_batch *batch)
{
    if (batch == NULL)
        return;
    if (projection == NULL)
        change_batch_free(batch);
    else
        keep(projection, batch);
}

void projection_push(struct store *store)
{
    struct projection *projection = store->projection;
    struct change_batch *batch = store->open;
    store->open = NULL;
    batch->end = store->now.end;
    lock(projection, &projection->queue);
    DL_APPEND(projection->first, batch);
    batch->number = ++projection->pushed;
    projection->waiting_bytes += change_batch_bytes(batch);
    unlock(projection, &projection->queue);
}

void projection_each(struct projection *projection,
                     bool (*visit)(void *context, const struct change_batch *batch), void *context)
{
    lock(projection, &projection->queue);
    const struct change_batch *first = projection->first;
    const struct change_batch *batch = first == NULL ? NULL : first->prev;
    while (batch != NULL && visit(context, batch))
        batch = batch == first ? NULL : batch->prev;
    unlock(projection, &projection->queue);
}

/* ---- writing ---- */

/* The last of the batches that one transaction takes; NULL: none waits. Later ones may come meanwhile. */
static struct change_batch *last_to_write(struct projection *projection)
{
    size_t bytes = 0;
    lock(projection, &projection->queue);
    struct change_batch *last = projection->first;
    while (last != NULL && last->next != NULL) {
        bytes += change_batch_bytes(last);
        if (bytes >= BYTES_AT_ONCE)
            break;
        last = last->next;
    }
    unlock(projection, &projection->queue);
    return last;
}

static void finish_batches(struct projection *projection, struct change_batch *last)
{
    lock(projection, &projection->queue);
    struct change_batch *batch;
    do {
        batch = projection->first;
        DL_DELETE(projection->first, batch);
        projection->waiting_bytes -= change_batch_bytes(batch);
        projection->reached_seq = batch->end.at.position.seq;
        projection->written = batch->number;
        LL_PREPEND(projection->done, batch);
    } while (batch != last);
    unlock(projection, &projection->queue);
}

/* Syncs the WAL itself: a checkpoint would sync it only if it moved pages. */
static enum error sync_wal(struct projection *projection)
{
    struct store *writer = projection->writer;
    sqlite3_file *file = NULL;
    int code = sqlite3_file_control(writer->database, "main", SQLITE_FCNTL_JOURNAL_POINTER, &file);
    if (code == SQLITE_OK && file != NULL && file->pMethods != NULL)
        code = file->pMethods->xSync(file, SQLITE_SYNC_NORMAL | SQLITE_SYNC_DATAONLY);
    if (code == SQLITE_OK) {
        projection->synced = writer->now.end.at;
        lock(projection, &projection->queue);
        projection->synced_seq = projection->synced.position.seq;
        projection->synced_bytes = projection->synced.bytes;
        unlock(projection, &projection->queue);
        return OK;
    }
    return store_fail(writer, code, "sync the database");
}

static enum error write_batches(struct projection *projection, struct change_batch *last)
{
    struct store *writer = projection->writer;
    const struct store_projection_watch *watch = &projection->watch;
    if (watch->begin != NULL)
        watch->begin(watch->context, last->end.at.position, writer->now.end.at.position.seq + 1);
    enum error error = query_begin(writer);
    if (error == OK)
        error = change_write(writer, projection->first, last);
    if (error == OK)
        error = query_commit(writer);
    if (error != OK)
        query_roll_back(writer);
    if (watch->end != NULL)
        watch->end(watch->context);
    if (error != OK)
        return error;
    finish_batches(projection, last);
    uint64_t unsynced = writer->now.end.at.bytes - projection->synced.bytes;
    return unsynced >= projection->sync_bytes ? sync_wal(projection) : OK;
}

static bool has_written(struct projection *projection, uint64_t number)
{
    lock(projection, &projection->queue);
    bool has_written = projection->written >= number;
    unlock(projection, &projection->queue);
    return has_written;
}

/* The disk may have refused to open it again when it was last closed. */
static enum error need_writer(struct projection *projection)
{
    if (projection->writer != NULL)
        return OK;
    if (projection->is_suspended)
        return error_set(&projection->problem, ERROR_IN_USE, "the database is being replaced");
    struct store *writer = NULL;
    enum error error = store_check_files(projection->owner, &projection->problem);
    if (error == OK)
        error = store_open_writer(&writer, projection->owner->path, &projection->problem);
    if (error == OK)
        projection->writer = writer;
    if (error == ERROR_CORRUPT && !projection->is_damaged) {
        projection->damage = projection->problem;
        projection->is_damaged = true;
    }
    return error;
}

/* Writes the batches that wait when it is called, while `writing` is held. */
static enum error write_all(struct projection *projection)
{
    lock(projection, &projection->queue);
    uint64_t pushed = projection->pushed;
    unlock(projection, &projection->queue);
    enum error error = need_writer(projection);
    while (error == OK && !has_written(projection, pushed))
        error = write_batches(projection, last_to_write(projection));
    return error;
}

static enum error copy_problem(const struct projection *projection, enum error error,
                               struct error_text *why)
{
    const struct store *writer = projection->writer;
    return error == OK
               ? OK
               : error_set(why, error, "%s",
                           (writer == NULL ? &projection->problem : &writer->problem)->text);
}

/* Whether reads of store show a transaction that is open. */
static bool has_open(const struct store *store)
{
    return !store->is_reader && store->open != NULL && store->open->count > 0;
}

static bool has_reached(struct projection *projection, uint64_t seq)
{
    lock(projection, &projection->queue);
    bool has_reached = projection->first == NULL || seq <= projection->reached_seq;
    unlock(projection, &projection->queue);
    return has_reached;
}

enum error projection_reach(struct store *store, uint64_t seq)
{
    struct projection *projection = store->projection;
    if (projection == NULL || has_reached(projection, seq))
        return OK;
    lock(projection, &projection->writing);
    enum error error = copy_problem(projection, write_all(projection), &store->problem);
    unlock(projection, &projection->writing);
    return error;
}

static void find_ends(struct projection *projection, struct change_batch **first,
                      struct change_batch **last)
{
    lock(projection, &projection->queue);
    *first = projection->first;
    *last = *first == NULL ? NULL : (*first)->prev;
    unlock(projection, &projection->queue);
}

/* The changes that the database lacks, in an open transaction that will be rolled back: memory only, because
 * the cache spills nothing. */
static enum error write_without_commit(struct store *store, struct store *connection)
{
    struct projection *projection = store->projection;
    struct change_batch *first = NULL;
    struct change_batch *last = NULL;
    if (projection != NULL)
        find_ends(projection, &first, &last);
    enum error error = query_begin(connection);
    if (error == OK && first != NULL)
        error = change_write(connection, first, last);
    if (error == OK && has_open(store)) {
        store->open->end = store->now.end;
        error = change_write(connection, store->open, store->open);
    }
    if (error != OK)
        query_roll_back(connection);
    return error;
}

static enum error open_view(struct store *store, struct store *connection, struct store **view)
{
    enum error error = write_without_commit(store, connection);
    connection->is_view = error == OK;
    if (error == OK)
        *view = connection;
    else if (connection != store)
        store->problem = connection->problem;
    return error;
}

enum error projection_view(struct store *store, uint64_t seq, struct store **view)
{
    struct projection *projection = store->projection;
    *view = store;
    if (store->is_writing ||
        (!has_open(store) && (projection == NULL || has_reached(projection, seq))))
        return OK;
    if (projection == NULL)
        return open_view(store, store, view);
    lock(projection, &projection->writing);
    enum error error = write_all(projection);
    if (error == OK && !has_open(store)) {
        unlock(projection, &projection->writing);
        return OK;
    }
    if (projection->writer == NULL)
        error = copy_problem(projection, error, &store->problem);
    else
        error = open_view(store, projection->writer, view);
    if (error != OK)
        unlock(projection, &projection->writing);
    return error;
}

enum error projection_end_view(struct store *store, struct store *view, enum error error)
{
    if (!view->is_view)
        return error;
    view->is_view = false;
    if (error != OK)
        store->problem = view->problem;
    query_roll_back(view);
    if (view != store)
        unlock(store->projection, &store->projection->writing);
    return error;
}

enum error store_project(struct store *store, bool wants_sync, struct error_text *why)
{
    struct projection *projection = store->projection;
    if (projection == NULL)
        return OK;
    lock(projection, &projection->writing);
    enum error error = write_all(projection);
    if (error == OK && wants_sync &&
        projection->synced.position.seq < projection->writer->now.end.at.position.seq)
        error = sync_wal(projection);
    error = copy_problem(projection, error, why);
    unlock(projection, &projection->writing);
    return error;
}

void store_watch_projection(struct store *store, struct store_projection_watch watch)
{
    struct projection *projection = store->projection;
    if (projection == NULL)
        return;
    lock(projection, &projection->writing);
    projection->watch = watch;
    unlock(projection, &projection->writing);
}

size_t store_unprojected_bytes(struct store *store)
{
    struct projection *projection = store->projection;
    if (projection == NULL)
        return 0;
    lock(projection, &projection->queue);
    size_t bytes = projection->first == NULL ? 0 : projection->waiting_bytes;
    unlock(projection, &projection->queue);
    return bytes;
}

uint64_t projection_synced_seq(struct projection *projection)
{
    lock(projection, &projection->queue);
    uint64_t seq = projection->synced_seq;
    unlock(projection, &projection->queue);
    return seq;
}

uint64_t projection_synced_bytes(struct projection *projection)
{
    lock(projection, &projection->queue);
    uint64_t bytes = projection->synced_bytes;
    unlock(projection, &projection->queue);
    return bytes;
}

bool projection_is_damaged(struct projection *projection, struct error_text *why)
{
    struct store *writer = projection->writer;
    if (projection->is_damaged && why != NULL)
        *why = projection->damage;
    return projection->is_damaged || (writer != NULL && store_is_damaged(writer, why));
}

/* ---- changes that are not the log's ---- */

static enum error run_in(struct store *connection,
                         enum error (*change)(struct store *writer, void *context), void *context)
{
    enum error error = query_begin(connection);
    if (error == OK)
        error = change(connection, context);
    if (error == OK)
        error = query_commit(connection);
    if (error != OK)
        query_roll_back(connection);
    return error;
}

/* The change may have set the end of the log back. */
static void note_reached(struct projection *projection)
{
    lock(projection, &projection->queue);
    projection->reached_seq = projection->writer->now.end.at.position.seq;
    unlock(projection, &projection->queue);
}

static enum error run_without_projection(struct store *store,
                                         enum error (*change)(struct store *writer, void *context),
                                         void *context, struct error_text *why)
{
    enum error error = store->is_writing ? change(store, context) : run_in(store, change, context);
    if (error != OK && why != NULL && why != &store->problem)
        *why = store->problem;
    return error;
}

enum error projection_run(struct store *store,
                          enum error (*change)(struct store *writer, void *context), void *context,
                          struct error_text *why)
{
    struct projection *projection = store->projection;
    if (projection == NULL)
        return run_without_projection(store, change, context, why);
    lock(projection, &projection->writing);
    enum error error = write_all(projection);
    if (error == OK)
        error = run_in(projection->writer, change, context);
    if (error == OK) {
        note_reached(projection);
        error = sync_wal(projection);
    }
    error = copy_problem(projection, error, why);
    unlock(projection, &projection->writing);
    return error;
}

static enum error write_open(struct projection *projection, struct change_batch *open)
{
    struct store *writer = projection->writer;
    enum error error = query_begin(writer);
    if (error == OK)
        error = change_write(writer, open, open);
    if (error == OK)
        error = query_commit(writer);
    if (error != OK)
        query_roll_back(writer);
    return error == OK ? sync_wal(projection) : error;
}

enum error projection_write_open(struct store *store, struct error_text *why)
{
    struct projection *projection = store->projection;
    store->open->end = store->now.end;
    lock(projection, &projection->writing);
    enum error error = write_all(projection);
    if (error == OK)
        error = write_open(projection, store->open);
    error = copy_problem(projection, error, why);
    unlock(projection, &projection->writing);
    return error;
}

/* ---- trials ---- */

enum error store_pause(struct store *store)
{
    struct projection *projection = store->projection;
    if (projection == NULL)
        return OK;
    if (!lock_within(&projection->writing, PAUSE_MS))
        return error_set(&store->problem, ERROR_IN_USE, "the database is being written");
    enum error error = copy_problem(projection, write_all(projection), &store->problem);
    if (error == OK)
        lock(projection, &projection->queue);
    else
        unlock(projection, &projection->writing);
    return error;
}

void store_resume(struct store *store)
{
    struct projection *projection = store->projection;
    if (projection == NULL)
        return;
    unlock(projection, &projection->queue);
    unlock(projection, &projection->writing);
}

void store_isolate(struct store *store)
{
    ASSERT(!store->is_committing);
    wal_writes_forbid();
    node_file_close(&store->node);
    if (store->projection != NULL)
        store->projection->is_isolated = true;
}

size_t store_change_count(const struct store *store)
{
    return store->open == NULL ? 0 : store->open->count;
}

enum error store_try_change(struct store *store, size_t index)
{
    ASSERT(store->in_transaction && store->open != NULL && index < store->open->count);
    struct store *writer = store->projection == NULL ? store : store->projection->writer;
    enum error error = writer->is_writing ? OK : query_begin(writer);
    struct change_batch one = *store->open;
    one.changes += index;
    one.count = 1;
    one.end = store->now.end;
    return error == OK ? change_write(writer, &one, &one) : error;
}

bool store_blank_change(struct store *store, size_t index)
{
    ASSERT(store->in_transaction && store->open != NULL && index < store->open->count);
    return change_blank(store->open, index);
}

void store_drop_change(struct store *store, size_t index)
{
    struct change_batch *open = store->open;
    ASSERT(store->in_transaction && store->open != NULL && index < store->open->count);
    memmove(open->changes + index, open->changes + index + 1,
            (open->count - index - 1) * sizeof *open->changes);
    open->count--;
}

/* ---- opening ---- */

enum error projection_open(struct store *store, struct error_text *why)
{
    struct projection *projection = sqlite3_malloc64(sizeof *projection);
    if (projection == NULL)
        return error_set(why, ERROR_NO_MEMORY, "out of memory");
    memset(projection, 0, sizeof *projection);
    struct store *writer = NULL;
    enum error error = store_open_writer(&writer, store->path, why);
    if (error != OK) {
        sqlite3_free(projection);
        return error;
    }
    projection->owner = store;
    projection->writer = writer;
    projection->sync_bytes = store->sync_bytes;
    projection->synced = writer->now.end.at;
    projection->reached_seq = projection->synced_seq = projection->synced.position.seq;
    projection->synced_bytes = projection->synced.bytes;
    (void)pthread_mutex_init(&projection->writing, NULL);
    (void)pthread_mutex_init(&projection->queue, NULL);
    store->projection = projection;
    return OK;
}

void projection_suspend(struct store *store)
{
    struct projection *projection = store->projection;
    (void)store_project(store, true, NULL);
    lock(projection, &projection->writing);
    projection->is_suspended = true;
    store_close(projection->writer);
    projection->writer = NULL;
    unlock(projection, &projection->writing);
}

void projection_resume(struct store *store)
{
    struct projection *projection = store->projection;
    lock(projection, &projection->writing);
    projection->is_suspended = false;
    unlock(projection, &projection->writing);
}

static void free_list(struct change_batch *list)
{
    while (list != NULL) {
        struct change_batch *batch = list;
        list = batch->next;
        change_batch_free(batch);
    }
}

void projection_close(struct projection *projection)
{
    if (projection == NULL)
        return;
    if (projection->writer != NULL)
        (void)write_all(projection);
    store_close(projection->writer);
    free_list(projection->first);
    free_list(projection->done);
    free_list(projection->kept);
    (void)pthread_mutex_destroy(&projection->writing);
    (void)pthread_mutex_destroy(&projection->queue);
    sqlite3_free(projection);
}
