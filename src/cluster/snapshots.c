/* SPDX-License-Identifier: MIT */
#include "cluster/snapshots.h"

#include "base/log.h"
#include "cluster/database_check.h"
#include "commit/worker.h"

#include <errno.h>
#include <fcntl.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#define PATH_SIZE 4096
#define CHUNK_BYTES 65536u /* given at a time: pongs wait behind it on a slow way */
#define KEPT_MS 30000      /* after the last one asked */
#define PAUSE_MS 5000      /* after a copy that failed */
#define ROOM_LEFT_BYTES (4u * 1024u * 1024u) /* beside a copy, for what is written meanwhile */
#define PROGRESS_BYTES (64u * 1024u * 1024u)

/* A copy of the database: being made, or made and open. */
struct copy {
    struct task task;
    struct snapshots *snapshots;
    struct store *reader;
    struct log_position position;
    enum error error;
};

/* The received file is being checked, or has been. */
struct check {
    struct task task;
    struct snapshots *snapshots;
    struct store *file;
    enum error error;
    struct error_text why;
};

struct snapshots {
    struct snapshots_options options;
    struct worker *worker; /* started at the first copy or check */
    bool is_ending;
    bool is_damaged; /* the database is */
    struct copy copy;
    bool is_making;
    atomic_bool is_unwanted; /* the copy being made */

    char given_path[PATH_SIZE];
    char partial_path[PATH_SIZE]; /* of a copy that is being made */
    int given;                    /* descriptor, or -1 */
    uint64_t needed_seq;          /* the copy holds at least the log up to there */
    uint64_t id;
    uint64_t total;
    uint64_t asked_ms;
    uint64_t retry_ms; /* after a copy that failed; 0: at once */
    uint8_t bytes[CHUNK_BYTES];

    char kept_path[PATH_SIZE];
    int kept;      /* descriptor, or -1 */
    bool has_kept; /* there is such a file, open or not */
    uint64_t kept_bytes;
    uint64_t told_bytes;

    struct check check;
    bool is_checking;
    bool is_checked;             /* check.error is about the file that is kept */
    atomic_bool is_check_needed; /* the one under way is about that file */
};

/* ---- making a copy ---- */

static void forget_given(struct snapshots *snapshots)
{
    if (snapshots->given < 0)
        return;
    (void)close(snapshots->given);
    (void)unlink(snapshots->given_path);
    snapshots->given = -1;
    snapshots->id = 0;
}

static void open_given(struct snapshots *snapshots)
{
    struct stat about;
    snapshots->given = open(snapshots->given_path, O_RDONLY | O_CLOEXEC);
    if (snapshots->given < 0 || fstat(snapshots->given, &about) != 0) {
        log_error("cluster", "snapshot_unreadable", log_string("file", snapshots->given_path),
                  log_string("reason", strerror(errno)));
        forget_given(snapshots);
        return;
    }
    snapshots->total = (uint64_t)about.st_size;
    snapshots->asked_ms = 0;
    /* Any number that tells two of this node apart, also across a restart. */
    do {
        if (getrandom(&snapshots->id, sizeof snapshots->id, 0) != sizeof snapshots->id)
            snapshots->id++;
        snapshots->id &= INT64_MAX;
    } while (snapshots->id == 0);
    log_info("cluster", "snapshot_made", log_number("seq", snapshots->copy.position.seq),
             log_number("bytes", snapshots->total));
}

static void on_copied(struct task *task)
{
    struct copy *copy = (struct copy *)task;
    struct snapshots *snapshots = copy->snapshots;
    snapshots->is_making = false;
    store_close(copy->reader);
    copy->reader = NULL;
    bool is_wanted = !atomic_load(&snapshots->is_unwanted);
    if (copy->error == OK || !is_wanted)
        snapshots->retry_ms = 0;
    if (copy->error == OK && is_wanted) {
        open_given(snapshots);
        return;
    }
    if (copy->error != OK && is_wanted)
        log_error("cluster", "snapshot_failed", log_string("error", error_name(copy->error)));
    (void)unlink(snapshots->given_path);
}

static void make_copy(struct task *task)
{
    struct copy *copy = (struct copy *)task;
    /* Without this flag a check that has not begun could not be cancelled. */
    copy->error =
        atomic_load(&copy->snapshots->is_unwanted)
            ? ERROR_CANCELLED
            : store_snapshot_take(copy->reader, copy->snapshots->given_path, &copy->position);
    copy->task.run = on_copied;
    task_queue_push(copy->snapshots->options.queue, &copy->task);
}

/* A copy that fills the disk would take the room that this server needs to go on. */
static enum error check_room(const struct snapshots *snapshots)
{
    uint64_t need;
    struct statvfs disk;
    enum error error = store_size(snapshots->copy.reader, &need);
    if (error != OK)
        return error;
    if (statvfs(snapshots->options.folder, &disk) != 0)
        return error_from_errno(errno);
    uint64_t room = (uint64_t)disk.f_bavail * disk.f_frsize;
    return room < need + ROOM_LEFT_BYTES ? ERROR_DISK_FULL : OK;
}

static void start_copy(struct snapshots *snapshots, uint64_t now_ms)
{
    if (now_ms < snapshots->retry_ms)
        return;
    struct copy *copy = &snapshots->copy;
    struct error_text why;
    enum error error = OK;
    snapshots->retry_ms = now_ms + PAUSE_MS;
    forget_given(snapshots);
    if (snapshots->worker == NULL)
        error = worker_start(&snapshots->worker);
    if (error == OK)
        error = store_open_reader(&copy->reader, snapshots->options.store, &why);
    if (error == OK)
        error = check_room(snapshots);
    if (error != OK) {
        log_error("cluster", "snapshot_failed", log_string("error", error_name(error)));
        store_close(copy->reader);
        copy->reader = NULL;
        return;
    }
    copy->snapshots = snapshots;
    copy->task.run = make_copy;
    snapshots->is_making = true;
    snapshots->needed_seq = store_position(snapshots->options.store).seq;
    atomic_store(&snapshots->is_unwanted, false);
    worker_push(snapshots->worker, &copy->task);
}

/* ---- giving ---- */

/* The seq that a copy must contain for the receiver. */
static uint64_t needed_seq(const struct replica_snapshot_chunk *chunk)
{
    return chunk->common.seq > chunk->avoid.seq ? chunk->common.seq : chunk->avoid.seq;
}

/* A receiver that begins with the copy needs the log after it, too; a receiver in the middle
 * continues. */
static bool fits(const struct snapshots *snapshots, const struct replica_snapshot_chunk *chunk)
{
    uint64_t seq = snapshots->copy.position.seq;
    bool goes_on = chunk->snapshot == snapshots->id && chunk->offset > 0;
    return snapshots->given >= 0 && seq >= needed_seq(chunk) &&
           (goes_on || seq + 1 >= store_log_first(snapshots->options.store));
}

bool snapshots_send(struct snapshots *snapshots, struct replica_snapshot_chunk *chunk,
                    uint64_t now_ms)
{
    if (snapshots->options.folder == NULL || snapshots->is_making || snapshots->is_damaged)
        return false;
    if (!fits(snapshots, chunk)) {
        if (store_position(snapshots->options.store).seq >= needed_seq(chunk))
            start_copy(snapshots, now_ms);
        return false;
    }
    if (chunk->snapshot != snapshots->id)
        chunk->offset = 0;
    if (chunk->offset > snapshots->total)
        return false;
    ssize_t size =
        pread(snapshots->given, snapshots->bytes, sizeof snapshots->bytes, (off_t)chunk->offset);
    if (size < 0) {
        forget_given(snapshots);
        return false;
    }
    snapshots->asked_ms = now_ms;
    chunk->snapshot = snapshots->id;
    chunk->total = snapshots->total;
    chunk->bytes = snapshots->bytes;
    chunk->size = (size_t)size;
    chunk->last = snapshots->copy.position;
    return true;
}

uint64_t snapshots_needed_seq(const struct snapshots *snapshots)
{
    bool has_copy = snapshots->is_making || snapshots->given >= 0;
    return has_copy ? snapshots->needed_seq : UINT64_MAX;
}

/* Cancels the running check, which ends soon. */
static void end_check(struct snapshots *snapshots)
{
    snapshots->is_checked = false;
    atomic_store(&snapshots->is_check_needed, false);
    if (snapshots->is_checking)
        store_cancel(snapshots->check.file);
}

/* Ends the running copy and closes its reader; on_copied still has to run. */
static void end_copy(struct snapshots *snapshots)
{
    atomic_store(&snapshots->is_unwanted, true);
    if (!snapshots->is_making || snapshots->copy.reader == NULL)
        return;
    store_cancel(snapshots->copy.reader);
    worker_stop(snapshots->worker); /* a check under way ends, too, in its own time */
    snapshots->worker = NULL;
    store_close(snapshots->copy.reader);
    snapshots->copy.reader = NULL;
}

void snapshots_forget(struct snapshots *snapshots)
{
    forget_given(snapshots);
    end_copy(snapshots);
}

void snapshots_set_store(struct snapshots *snapshots, struct store *store)
{
    snapshots->options.store = store;
    snapshots->is_damaged = false;
}

void snapshots_set_damaged(struct snapshots *snapshots)
{
    snapshots->is_damaged = true;
}

void snapshots_tick(struct snapshots *snapshots, uint64_t now_ms)
{
    if (snapshots->given < 0)
        return;
    if (snapshots->asked_ms == 0)
        snapshots->asked_ms = now_ms;
    else if (now_ms > snapshots->asked_ms + KEPT_MS)
        forget_given(snapshots);
}

/* ---- taking ---- */

static void close_kept(struct snapshots *snapshots)
{
    if (snapshots->kept >= 0)
        (void)close(snapshots->kept);
    snapshots->kept = -1;
}

/* A partial file takes room that the disk may not have. A check under way goes on with a file that
 * has no name any more, and is of no account. */
static void drop_kept(struct snapshots *snapshots)
{
    end_check(snapshots);
    close_kept(snapshots);
    if (snapshots->has_kept)
        (void)unlink(snapshots->kept_path);
    snapshots->has_kept = false;
}

/* Found out before any of it is fetched, not when the disk is full. */
static enum error check_room_to_keep(const struct snapshots *snapshots, uint64_t total)
{
    struct statvfs disk;
    if (statvfs(snapshots->options.folder, &disk) != 0)
        return error_from_errno(errno);
    uint64_t room = (uint64_t)disk.f_bavail * disk.f_frsize;
    if (room >= ROOM_LEFT_BYTES && room - ROOM_LEFT_BYTES >= total)
        return OK;
    log_error("cluster", "no_room_for_snapshot", log_string("folder", snapshots->options.folder),
              log_number("needed", total + ROOM_LEFT_BYTES), log_number("free", room),
              log_string("hint", "make room there, or move the data folder to a larger disk"));
    return ERROR_DISK_FULL;
}

static enum error begin_kept(struct snapshots *snapshots, uint64_t total)
{
    drop_kept(snapshots);
    enum error error = check_room_to_keep(snapshots, total);
    if (error != OK)
        return error;
    snapshots->kept_bytes = 0;
    snapshots->told_bytes = 0;
    snapshots->kept = open(snapshots->kept_path, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    snapshots->has_kept = snapshots->kept >= 0;
    return snapshots->kept < 0 ? error_from_errno(errno) : OK;
}

static void tell_progress(struct snapshots *snapshots, uint64_t total)
{
    bool is_whole = snapshots->kept_bytes == total;
    if (!is_whole && snapshots->kept_bytes - snapshots->told_bytes < PROGRESS_BYTES)
        return;
    snapshots->told_bytes = snapshots->kept_bytes;
    log_info("cluster", is_whole ? "snapshot_received" : "snapshot_progress",
             log_number("bytes", snapshots->kept_bytes), log_number("of", total));
}

enum error snapshots_receive(struct snapshots *snapshots,
                             const struct replica_snapshot_chunk *chunk)
{
    if (snapshots->options.folder == NULL)
        return ERROR_INVALID;
    enum error error = chunk->offset == 0 ? begin_kept(snapshots, chunk->total) : OK;
    if (error == OK && (snapshots->kept < 0 || chunk->offset != snapshots->kept_bytes))
        error = ERROR_INVALID;
    size_t written = 0;
    while (error == OK && written < chunk->size) {
        ssize_t size = pwrite(snapshots->kept, chunk->bytes + written, chunk->size - written,
                              (off_t)(chunk->offset + written));
        if (size > 0)
            written += (size_t)size;
        else if (size == 0 || errno != EINTR)
            error = error_from_errno(size == 0 ? ENOSPC : errno);
    }
    if (error != OK) {
        drop_kept(snapshots);
        return error;
    }
    snapshots->kept_bytes += chunk->size;
    tell_progress(snapshots, chunk->total);
    return OK;
}

/* ---- looking at what was taken ---- */

static void note_checked(struct snapshots *snapshots)
{
    const struct check *check = &snapshots->check;
    if (check->error != OK) {
        log_error("cluster", "snapshot_refused", log_string("error", error_name(check->error)),
                  log_string("reason", check->why.text));
        drop_kept(snapshots);
    }
    snapshots->is_checked = true;
}

static void on_checked(struct task *task)
{
    struct check *check = (struct check *)task;
    struct snapshots *snapshots = check->snapshots;
    snapshots->is_checking = false;
    store_close(check->file);
    check->file = NULL;
    if (atomic_load(&snapshots->is_check_needed))
        note_checked(snapshots);
    if (!snapshots->is_ending && snapshots->options.checked != NULL)
        snapshots->options.checked(snapshots->options.context);
}

/* Where much was written, it takes as long as the check. */
static enum error sync_kept(const struct snapshots *snapshots, struct error_text *why)
{
    int descriptor = open(snapshots->kept_path, O_RDWR | O_CLOEXEC);
    int number = descriptor < 0 || fsync(descriptor) != 0 ? errno : 0;
    if (descriptor >= 0)
        (void)close(descriptor);
    return number == 0 ? OK
                       : error_set(why, error_from_errno(number), "sync %s: %s",
                                   snapshots->kept_path, strerror(number));
}

static void make_check(struct task *task)
{
    struct check *check = (struct check *)task;
    struct snapshots *snapshots = check->snapshots;
    /* Without this flag a check that has not begun could not be cancelled. */
    check->error = atomic_load(&snapshots->is_check_needed) ? sync_kept(snapshots, &check->why)
                                                            : ERROR_CANCELLED;
    if (check->error == OK && atomic_load(&snapshots->is_check_needed))
        check->error = database_check(check->file, &snapshots->is_check_needed, &check->why);
    check->task.run = on_checked;
    task_queue_push(snapshots->options.queue, &check->task);
}

static enum error start_check(struct snapshots *snapshots)
{
    struct check *check = &snapshots->check;
    close_kept(snapshots);
    check->why.text[0] = '\0';
    check->error = OK;
    if (snapshots->worker == NULL)
        check->error = worker_start(&snapshots->worker);
    if (check->error == OK)
        check->error = store_open_check(&check->file, snapshots->kept_path, &check->why);
    if (check->error != OK)
        return check->error;
    check->snapshots = snapshots;
    check->task.run = make_check;
    snapshots->is_checking = true;
    atomic_store(&snapshots->is_check_needed, true);
    worker_push(snapshots->worker, &check->task);
    return OK;
}

bool snapshots_check_received(struct snapshots *snapshots, enum error *found)
{
    /* A cancelled check must end before the next one starts. */
    if (!snapshots->is_checked && !snapshots->is_checking && start_check(snapshots) != OK)
        note_checked(snapshots);
    if (!snapshots->is_checked)
        return false;
    *found = snapshots->check.error;
    return true;
}

const char *snapshots_finish_received(struct snapshots *snapshots)
{
    /* A descriptor closed later would drop SQLite's locks on the database that the file becomes. */
    ASSERT(!snapshots->is_checking);
    close_kept(snapshots);
    snapshots->has_kept = false;
    snapshots->is_checked = false;
    return snapshots->kept_path;
}

/* ---- life ---- */

static bool set_path(char path[static PATH_SIZE], const char *folder, const char *name)
{
    int length = snprintf(path, PATH_SIZE, "%s/%s", folder, name);
    return length > 0 && length < PATH_SIZE;
}

enum error snapshots_new(struct snapshots **out, const struct snapshots_options *options,
                         struct error_text *why)
{
    struct snapshots *snapshots = calloc(1, sizeof *snapshots);
    if (snapshots == NULL)
        return error_set(why, ERROR_NO_MEMORY, "out of memory");
    snapshots->options = *options;
    snapshots->given = -1;
    snapshots->kept = -1;
    if (options->folder != NULL) {
        if (!set_path(snapshots->given_path, options->folder, "snapshot-given.db") ||
            !set_path(snapshots->partial_path, options->folder, "snapshot-given.db.part") ||
            !set_path(snapshots->kept_path, options->folder, "snapshot-taken.db")) {
            free(snapshots);
            return error_set(why, ERROR_INVALID, "the data folder's name is too long");
        }
        (void)unlink(snapshots->given_path);
        (void)unlink(snapshots->partial_path);
        (void)unlink(snapshots->kept_path);
    }
    *out = snapshots;
    return OK;
}

void snapshots_free(struct snapshots *snapshots)
{
    if (snapshots == NULL)
        return;
    snapshots->is_ending = true;
    end_check(snapshots);
    end_copy(snapshots);
    worker_stop(snapshots->worker);
    if (snapshots->is_making || snapshots->is_checking)
        (void)task_queue_run(snapshots->options.queue, SIZE_MAX);
    forget_given(snapshots);
    drop_kept(snapshots);
    free(snapshots);
}
