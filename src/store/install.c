/* SPDX-License-Identifier: MIT */
/* Replaces the database by a snapshot. After a crash or a power failure at any point, the database
 * is the whole old or the whole new one, without a foreign WAL beside it:
 *
 *   file -> X.new      the next store_open removes X.new
 *   X.new              checked, given the node's orphans, without a WAL, synced
 *   X                  its WAL is checkpointed and removed
 *   X = X.old          the old database has two names; the folder is synced
 *   X.new -> X         the moment; the folder is synced
 *   X                  opened; from here on a WAL beside it is the new one's
 *   X.old              removed
 *
 * The old store stays open all along. If the last steps fail, X.old -> X undoes them. A file system
 * without hard links allows no second name and therefore no undo: an error after the rename ends
 * the process. The next process finds the new database, or the old one if the power failed before
 * the folder was synced. */
#include "store/store_internal.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/statvfs.h>
#include <unistd.h>

#define ROOM_LEFT_BYTES (4u * 1024u * 1024u) /* for what is written meanwhile */

enum name { NAME_NEW, NAME_OLD, NAME_WAL, NAME_SHM, NAME_JOURNAL, NAME_COUNT };

static const char *const suffixes[NAME_COUNT] = {
    [NAME_NEW] = STORE_NEW_SUFFIX, [NAME_OLD] = STORE_OLD_SUFFIX, [NAME_WAL] = "-wal",
    [NAME_SHM] = "-shm",           [NAME_JOURNAL] = "-journal",
};

struct install {
    struct store *old;
    struct store *fresh; /* the snapshot, NULL while it is not open */
    struct log_position common;
    bool has_second_name;    /* the old database: X.old */
    bool is_moved;           /* X.new is X */
    char *names[NAME_COUNT]; /* made first: undoing must not need memory */
    struct error_text *why;
};

static enum error system_problem(struct install *install, const char *what, const char *path)
{
    int number = errno;
    return error_set(install->why, error_from_errno(number), "%s %s: %s", what, path,
                     strerror(number));
}

static enum error make_names(struct install *install)
{
    for (size_t i = 0; i < NAME_COUNT; i++) {
        install->names[i] = sqlite3_mprintf("%s%s", install->old->path, suffixes[i]);
        if (install->names[i] == NULL)
            return error_set(install->why, ERROR_NO_MEMORY, "out of memory");
    }
    return OK;
}

static enum error check_common(struct install *install)
{
    uint64_t seq = install->common.seq;
    if (seq == 0 || seq > store_position(install->old).seq ||
        store_epoch_at(install->old, seq) == install->common.epoch)
        return OK;
    return error_set(install->why, ERROR_INVALID, "seq %llu is not of epoch %llu here",
                     (unsigned long long)seq, (unsigned long long)install->common.epoch);
}

static enum error take_file(struct install *install, const char *file)
{
    folder_remove_leftovers(install->old->path);
    if (rename(file, install->names[NAME_NEW]) != 0)
        return system_problem(install, "rename", file);
    return OK;
}

static enum error check_fresh(struct install *install)
{
    static const uint8_t unset[STORE_CLUSTER_BYTES];
    const struct knowledge *old = &install->old->now;
    const struct knowledge *fresh = &install->fresh->now;
    if (memcmp(old->cluster, unset, sizeof unset) != 0 &&
        memcmp(old->cluster, fresh->cluster, sizeof unset) != 0)
        return error_set(install->why, ERROR_MISMATCH, "it is of another cluster");
    if (fresh->end.at.position.seq < install->common.seq)
        return error_set(install->why, ERROR_INVALID, "it ends at seq %llu, before %llu",
                         (unsigned long long)fresh->end.at.position.seq,
                         (unsigned long long)install->common.seq);
    return OK;
}

/* The new log is written while the snapshot still carries it. The files of the old log go meanwhile, but the
 * first file of the new one comes before. Without room, the process could not go on, nor start again. */
static enum error check_room(struct install *install)
{
    const struct store *old = install->old;
    struct statvfs disk;
    uint64_t need = 0;
    if (statvfs(old->path, &disk) != 0)
        return system_problem(install, "look at the disk of", old->path);
    enum error error = log_copy_room(install->fresh, old->segment_bytes, &need);
    if (error != OK)
        return error_set(install->why, error, "%s", store_last_problem(install->fresh));
    uint64_t room = (uint64_t)disk.f_bavail * disk.f_frsize;
    if (room + segment_log_size(old->log) >= need + ROOM_LEFT_BYTES && room >= ROOM_LEFT_BYTES)
        return OK;
    return error_set(
        install->why, ERROR_DISK_FULL,
        "its log takes up to %llu bytes beside it, and the disk has %llu left; make room "
        "there, or move the data folder to a larger disk",
        (unsigned long long)need, (unsigned long long)room);
}

static enum error add_if_chat(void *context, const struct log_entry *row)
{
    struct install *install = context;
    if (row->first_seq <= install->common.seq)
        return error_set(&install->fresh->problem, ERROR_INVALID,
                         "a batch lies on both sides of seq %llu",
                         (unsigned long long)install->common.seq);
    if (row->kind != LOG_ENTRY_CHAT)
        return OK;
    return store_add_orphan(install->fresh, row);
}

/* Every server had the pruned batches, so the snapshot has them, too. If the log outgrew its bound,
 * the remaining batches begin in the middle. */
static enum error add_end_of_log(struct install *install)
{
    uint64_t first = store_log_first(install->old);
    if (first == 0 || install->common.seq >= store_position(install->old).seq)
        return OK;
    if (first <= install->common.seq)
        first = install->common.seq + 1;
    return store_log_read(install->old, first, add_if_chat, install);
}

static enum error carry_over(struct install *install)
{
    enum error error = query_begin(install->fresh);
    if (error == OK)
        error = orphan_begin(install->fresh, install->old);
    if (error == OK)
        error = add_end_of_log(install);
    if (error == OK)
        error = orphan_copy(install->fresh, install->old);
    if (error == OK)
        error = query_commit(install->fresh);
    if (error == OK)
        return OK;
    query_roll_back(install->fresh);
    const char *problem = store_last_problem(install->fresh);
    return error_set(install->why, error, "%s",
                     problem[0] == '\0' ? store_last_problem(install->old) : problem);
}

/* The writer of the file may not have synced it. */
static enum error sync_file(struct install *install, const char *path)
{
    int descriptor = open(path, O_RDWR | O_CLOEXEC);
    enum error error = OK;
    if (descriptor < 0 || fsync(descriptor) != 0)
        error = system_problem(install, "sync", path);
    if (descriptor >= 0)
        (void)close(descriptor);
    return error;
}

static void close_fresh(struct install *install)
{
    store_close(install->fresh);
    install->fresh = NULL;
}

static enum error make_ready(struct install *install)
{
    const char *path = install->names[NAME_NEW];
    enum error error = store_open_file(&install->fresh, path, install->why);
    if (error != OK)
        return error;
    error = check_fresh(install);
    if (error == OK)
        error = check_room(install);
    if (error == OK)
        error = carry_over(install);
    if (error == OK)
        error = store_use_wal(install->fresh, false, install->why);
    close_fresh(install);
    return error == OK ? sync_file(install, path) : error;
}

/* Without a WAL the old store works as well, only slower. So a failure to restore the WAL (no
 * memory) does not matter. */
static void keep_old(struct install *install)
{
    (void)store_use_wal(install->old, true, NULL);
    (void)store_size(install->old, &(uint64_t){0}); /* a read makes the WAL */
    folder_watch_files(install->old);
}

/* SQLite ignores an error while removing an obsolete WAL. Here the WAL must be gone, because
 * another database takes the name beside it. */
static enum error remove_companions(struct install *install, struct error_text *why)
{
    static const enum name companions[] = {NAME_WAL, NAME_SHM, NAME_JOURNAL};
    for (size_t i = 0; i < sizeof companions / sizeof *companions; i++) {
        const char *name = install->names[companions[i]];
        int number = unlink(name) == 0 ? ENOENT : errno;
        if (number != ENOENT)
            return error_set(why, error_from_errno(number), "remove %s: %s", name,
                             strerror(number));
    }
    return OK;
}

static enum error rename_and_open(struct install *install)
{
    const char *path = install->old->path;
    if (rename(install->names[NAME_NEW], path) != 0)
        return system_problem(install, "rename", install->names[NAME_NEW]);
    install->is_moved = true;
    enum error error = folder_sync_of(path, install->why);
    if (error == OK)
        error = store_open_file(&install->fresh, path, install->why);
    return error;
}

/* FAT, many network and shared folders; or the system forbids it for files of others. */
static bool can_do_without_links(int number)
{
    return number == EPERM || number == ENOSYS || number == EOPNOTSUPP || number == ENOTSUP ||
           number == EMLINK;
}

static enum error keep_second_name(struct install *install)
{
    const char *path = install->old->path;
    install->has_second_name = link(path, install->names[NAME_OLD]) == 0;
    return install->has_second_name || can_do_without_links(errno)
               ? OK
               : system_problem(install, "link", path);
}

/* Whether the name of the database is the old one's again, or still. */
static bool go_back(struct install *install)
{
    const char *path = install->old->path;
    if (!install->has_second_name)
        return !install->is_moved;
    return remove_companions(install, NULL) == OK && folder_sync_of(path, NULL) == OK &&
           rename(install->names[NAME_OLD], path) == 0 && folder_sync_of(path, NULL) == OK;
}

/* *lost: the process can use neither the new database nor the old one. */
static enum error swap(struct install *install, bool *lost)
{
    struct store *old = install->old;
    enum error error = store_use_wal(old, false, install->why);
    if (error == OK)
        error = remove_companions(install, install->why);
    if (error == OK)
        error = keep_second_name(install);
    if (error == OK)
        error = folder_sync_of(old->path, install->why);
    if (error == OK) {
        error = rename_and_open(install);
        *lost = error != OK && !go_back(install);
    }
    if (error != OK && !*lost)
        keep_old(install);
    return error;
}

/* The log of the old database ends here: the new one begins its own in the same folder. */
static enum error hand_over(struct install *install, struct store **store)
{
    struct store *fresh = install->fresh;
    fresh->lock = install->old->lock;
    install->old->lock = -1;
    fresh->node = install->old->node;
    fresh->segment_bytes = install->old->segment_bytes;
    fresh->sync_bytes = install->old->sync_bytes;
    install->old->node = (struct node_file){.descriptor = -1};
    store_close(install->old);
    *store = NULL;
    folder_remove_leftovers(fresh->path);
    enum error error = store_begin_use(fresh, install->why);
    if (error == OK)
        *store = fresh;
    else
        store_close(fresh);
    return error;
}

enum error store_install(struct store **store, const char *file, struct log_position common,
                         struct error_text *why)
{
    struct install install = {.old = *store, .common = common, .why = why};
    struct store *old = *store;
    bool lost = false;
    ASSERT(!old->is_reader && !old->in_transaction && old->open_reads == 0);
    if (old->path == NULL)
        return error_set(why, ERROR_INVALID, "a store in memory installs no snapshots");
    enum error error = make_names(&install);
    if (error == OK)
        error = check_common(&install);
    if (error == OK)
        error = take_file(&install, file);
    if (error == OK)
        error = make_ready(&install);
    if (error == OK)
        projection_suspend(old); /* the old store is the only connection then */
    if (error == OK)
        error = swap(&install, &lost);
    if (error != OK && !lost)
        projection_resume(old);
    if (error == OK) {
        error = hand_over(&install, store);
    } else if (lost) {
        store_close(old);
        *store = NULL;
    } else {
        folder_remove_leftovers(old->path);
        (void)unlink(file);
    }
    for (size_t i = 0; i < NAME_COUNT; i++)
        sqlite3_free(install.names[i]);
    return error == OK ? OK : error_prefix(why, error, "install snapshot");
}
