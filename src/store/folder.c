/* SPDX-License-Identifier: MIT */
#include "store/store_internal.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

enum error folder_problem(struct error_text *why, const char *what, const char *path)
{
    int number = errno;
    enum error error = error_from_errno(number);
    if (error == ERROR_NOT_FOUND || error == ERROR_EXISTS)
        error = ERROR_DENIED;
    return error_set(why, error, "%s %s: %s", what, path, strerror(number));
}

enum error folder_sync(const char *folder, struct error_text *why)
{
    int descriptor = open(folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (descriptor < 0)
        return folder_problem(why, "open folder", folder);
    enum error error = OK;
    if (fsync(descriptor) != 0)
        error = folder_problem(why, "sync folder", folder);
    (void)close(descriptor);
    return error;
}

enum error folder_sync_of(const char *path, struct error_text *why)
{
    const char *slash = strrchr(path, '/');
    if (slash == NULL)
        return folder_sync(".", why);
    char folder[PATH_MAX];
    size_t size = slash == path ? 1 : (size_t)(slash - path);
    if (size >= sizeof folder)
        return error_set(why, ERROR_INVALID, "sync folder of %s: the name is too long", path);
    memcpy(folder, path, size);
    folder[size] = '\0';
    return folder_sync(folder, why);
}

void folder_remove_leftovers(const char *path)
{
    static const char *const suffixes[] = {
        STORE_NEW_SUFFIX,        STORE_NEW_SUFFIX "-wal",
        STORE_NEW_SUFFIX "-shm", STORE_NEW_SUFFIX "-journal",
        STORE_OLD_SUFFIX,
    };
    for (size_t i = 0; i < sizeof suffixes / sizeof *suffixes; i++) {
        char *name = sqlite3_mprintf("%s%s", path, suffixes[i]);
        if (name != NULL)
            (void)unlink(name);
        sqlite3_free(name);
    }
}

/* Writes the bytes of a file again: see wal_writes.c on a sync that failed, maybe in the process before.
 * false: errno is set. */
static bool rewrite(int descriptor)
{
    static const size_t at_once = 1024 * 1024;
    uint8_t *bytes = sqlite3_malloc64(at_once);
    bool is_good = bytes != NULL;
    if (!is_good)
        errno = ENOMEM;
    ssize_t count = 1;
    for (off_t at = 0; is_good && count > 0; at += count) {
        count = pread(descriptor, bytes, at_once, at);
        is_good =
            count == 0 || (count > 0 && pwrite(descriptor, bytes, (size_t)count, at) == count);
    }
    sqlite3_free(bytes);
    return is_good;
}

enum error folder_sync_log(const char *path, struct error_text *why)
{
    char *name = sqlite3_mprintf("%s-wal", path);
    if (name == NULL)
        return error_set(why, ERROR_NO_MEMORY, "sync the log of %s: out of memory", path);
    enum error error = OK;
    int descriptor = open(name, O_RDWR | O_CLOEXEC);
    if (descriptor < 0 && errno != ENOENT)
        error = folder_problem(why, "open", name);
    if (descriptor >= 0 && (!rewrite(descriptor) || fsync(descriptor) != 0))
        error = folder_problem(why, "sync", name);
    if (descriptor >= 0)
        (void)close(descriptor);
    if (error == OK && descriptor >= 0)
        error = folder_sync_of(path, why);
    sqlite3_free(name);
    return error;
}

static enum error make_one(const char *folder, struct error_text *why)
{
    if (mkdir(folder, 0700) == 0)
        return folder_sync_of(folder, why);
    if (errno != EEXIST)
        return folder_problem(why, "make folder", folder);
    struct stat found;
    if (stat(folder, &found) != 0)
        return folder_problem(why, "look at", folder);
    if (!S_ISDIR(found.st_mode))
        return error_set(why, ERROR_DENIED, "%s is not a folder; choose another data folder",
                         folder);
    return OK;
}

enum error folder_make(const char *folder, struct error_text *why)
{
    if (folder[0] == '\0')
        return error_set(why, ERROR_INVALID, "the data folder has no name");
    char *path = sqlite3_mprintf("%s", folder);
    if (path == NULL)
        return error_set(why, ERROR_NO_MEMORY, "make folder %s: out of memory", folder);
    enum error error = OK;
    for (char *slash = strchr(path + 1, '/'); slash != NULL && error == OK;
         slash = strchr(slash + 1, '/')) {
        *slash = '\0';
        error = make_one(path, why);
        *slash = '/';
    }
    if (error == OK)
        error = make_one(path, why);
    sqlite3_free(path);
    return error;
}

static enum error name_holder(int descriptor, const char *folder, struct error_text *why)
{
    char text[24] = {0};
    ssize_t size = pread(descriptor, text, sizeof text - 1, 0);
    long holder = size > 0 ? strtol(text, NULL, 10) : 0;
    if (holder > 0)
        return error_set(why, ERROR_IN_USE,
                         "the data folder %s is in use by process %ld; stop that server or "
                         "choose another data folder",
                         folder, holder);
    return error_set(why, ERROR_IN_USE,
                     "the data folder %s is in use by another process; stop that server or "
                     "choose another data folder",
                     folder);
}

/* The kernel holds the lock, which ends with the process. The pid is for users only, so an error
 * while writing it (a full disk) does not matter. */
static void write_holder(int descriptor)
{
    char text[24];
    int size = snprintf(text, sizeof text, "%ld\n", (long)getpid());
    if (ftruncate(descriptor, 0) != 0 || pwrite(descriptor, text, (size_t)size, 0) != size)
        return;
}

enum error folder_lock(const char *folder, int *lock, struct error_text *why)
{
    char *path = sqlite3_mprintf("%s/lock", folder);
    if (path == NULL)
        return error_set(why, ERROR_NO_MEMORY, "lock folder %s: out of memory", folder);
    enum error error = OK;
    int descriptor = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    if (descriptor < 0) {
        error = folder_problem(why, "open", path);
    } else if (flock(descriptor, LOCK_EX | LOCK_NB) != 0) {
        error = errno == EWOULDBLOCK ? name_holder(descriptor, folder, why)
                                     : folder_problem(why, "lock", path);
        (void)close(descriptor);
    } else {
        write_holder(descriptor);
        *lock = descriptor;
    }
    sqlite3_free(path);
    return error;
}

/* ---- files that stay ---- */

static bool name_file(const struct store *store, enum database_file_kind which,
                      char path[static PATH_MAX])
{
    static const struct {
        const char *name;   /* in the folder; NULL: the database's */
        const char *suffix; /* of it */
    } files[WATCHED_COUNT] = {
        [WATCHED_DATABASE] = {NULL, ""},
        [WATCHED_WAL] = {NULL, "-wal"},
        [WATCHED_SHM] = {NULL, "-shm"},
        [WATCHED_LOCK] = {"/lock", ""},
        [WATCHED_LOG] = {"/" SEGMENT_LOG_FOLDER, ""},
        [WATCHED_NODE] = {"/" NODE_FILE_NAME, ""},
    };
    const char *name = files[which].name;
    int folder = (int)(strrchr(store->path, '/') - store->path);
    int length = name == NULL ? snprintf(path, PATH_MAX, "%s%s", store->path, files[which].suffix)
                              : snprintf(path, PATH_MAX, "%.*s%s", folder, store->path, name);
    return length > 0 && length < PATH_MAX;
}

void folder_watch_files(struct store *store)
{
    for (size_t i = 0; i < WATCHED_COUNT; i++) {
        char path[PATH_MAX];
        struct stat found;
        store->files[i] = (struct database_file){0};
        if (name_file(store, (enum database_file_kind)i, path) && stat(path, &found) == 0)
            store->files[i] = (struct database_file){.device = found.st_dev, .inode = found.st_ino};
    }
}

static enum error gone(const char *path, const char *how, struct error_text *why)
{
    return error_set(why, ERROR_CLOSED,
                     "the data folder was removed or replaced under the running server: %s %s; "
                     "put the folder back and start the server again. If it is lost and other "
                     "servers run, start this one as a slave, and it copies their database",
                     path, how);
}

enum error store_check_files(const struct store *store, struct error_text *why)
{
    if (store->path == NULL)
        return OK;
    for (size_t i = 0; i < WATCHED_COUNT; i++) {
        const struct database_file *file = &store->files[i];
        char path[PATH_MAX];
        struct stat found;
        if (file->inode == 0 || !name_file(store, (enum database_file_kind)i, path))
            continue;
        if (stat(path, &found) != 0)
            return errno == ENOENT || errno == ENOTDIR
                       ? gone(path, "is gone", why)
                       : error_set(why, ERROR_CLOSED,
                                   "%s cannot be looked at any more: %s; check owner and "
                                   "permissions of the data folder and of those above it, and "
                                   "start the server again",
                                   path, strerror(errno));
        if (found.st_ino != file->inode || found.st_dev != file->device)
            return gone(path, "is another file now", why);
    }
    return OK;
}
