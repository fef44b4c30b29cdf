/* SPDX-License-Identifier: MIT */
/* power.c - loaded before the C library (LD_PRELOAD): notes what a loss of power could take back.
 *
 * For each change of a file or a name below the folder JACKDAW_TEST_POWER_ROOT it first appends the old
 * content to a journal (power_journal.h). A sync that succeeds makes the earlier records of that file, or
 * of that folder, durable. The server behaves as without this library. After kill -9 the test undoes
 * changes that were not synced: see power_loss.h. Any thread; no lock, because each record is one
 * append. */
#include "harness/power_journal.h"

#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

static struct {
    ssize_t (*write_at)(int file, const void *bytes, size_t size, off_t offset);
    int (*resize)(int file, off_t size);
    int (*sync)(int file);
    int (*sync_data)(int file);
    int (*open)(const char *path, int flags, ...);
    int (*rename)(const char *path, const char *new_path);
    int (*unlink)(const char *path);
    int (*mkdir)(const char *path, mode_t mode);
    int (*link)(const char *path, const char *new_path);
} real;
static const char *root;
static const char *journal;

__attribute__((constructor)) static void load(void)
{
    *(void **)&real.write_at = dlsym(RTLD_NEXT, "pwrite64");
    *(void **)&real.resize = dlsym(RTLD_NEXT, "ftruncate64");
    *(void **)&real.sync = dlsym(RTLD_NEXT, "fsync");
    *(void **)&real.sync_data = dlsym(RTLD_NEXT, "fdatasync");
    *(void **)&real.open = dlsym(RTLD_NEXT, "open64");
    *(void **)&real.rename = dlsym(RTLD_NEXT, "rename");
    *(void **)&real.unlink = dlsym(RTLD_NEXT, "unlink");
    *(void **)&real.mkdir = dlsym(RTLD_NEXT, "mkdir");
    *(void **)&real.link = dlsym(RTLD_NEXT, "link");
    root = getenv(POWER_ROOT);
    journal = getenv(POWER_JOURNAL);
}

static _Noreturn void die(const char *what)
{
    (void)fprintf(stderr, "power: cannot %s: %s\n", what, strerror(errno));
    abort();
}

static bool is_below_root(const char *path)
{
    size_t size = root == NULL || journal == NULL ? 0 : strlen(root);
    return size > 0 && strncmp(path, root, size) == 0 && path[size] == '/' &&
           !power_is_ignored(path);
}

/* ---- journals ---- */

static void append(const char *path, const void *bytes, size_t size)
{
    int file = real.open(path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
    if (file < 0 || write(file, bytes, size) != (ssize_t)size)
        die("append to a journal");
    (void)close(file);
}

static uint64_t size_of(const char *path)
{
    struct stat found;
    return stat(path, &found) == 0 ? (uint64_t)found.st_size : 0;
}

static void name_journal(char path[static POWER_JOURNAL_PATH_SIZE], const struct stat *file)
{
    (void)snprintf(path, POWER_JOURNAL_PATH_SIZE, "%s/file-%llu", journal,
                   (unsigned long long)file->st_ino);
}

static void name_of_names(char path[static POWER_JOURNAL_PATH_SIZE])
{
    (void)snprintf(path, POWER_JOURNAL_PATH_SIZE, "%s/names", journal);
}

/* ---- content ---- */

/* Whether the descriptor is a file below the folder, or that folder or one below it. */
static bool look(int file, struct stat *found)
{
    char link[64];
    char path[POWER_PATH_SIZE + 1];
    if (root == NULL || journal == NULL || fstat(file, found) != 0 ||
        (!S_ISREG(found->st_mode) && !S_ISDIR(found->st_mode)))
        return false;
    (void)snprintf(link, sizeof link, "/proc/self/fd/%d", file);
    ssize_t size = readlink(link, path, POWER_PATH_SIZE);
    path[size < 0 ? 0 : size] = '\0';
    return is_below_root(path) || (S_ISDIR(found->st_mode) && strcmp(path, root) == 0);
}

static void note_change(int file, const struct stat *found, struct power_change change)
{
    char path[POWER_JOURNAL_PATH_SIZE];
    uint8_t *record = malloc(sizeof change + change.kept);
    change.old_size = (uint64_t)found->st_size;
    if (record == NULL)
        die("allocate");
    memcpy(record, &change, sizeof change);
    uint8_t *kept = record + sizeof change;
    for (size_t done = 0; done < change.kept;) {
        ssize_t size = pread(file, kept + done, change.kept - done, (off_t)(change.offset + done));
        if (size <= 0)
            die("read old content");
        done += (size_t)size;
    }
    name_journal(path, found);
    append(path, record, sizeof change + change.kept);
    free(record);
}

/* A descriptor that can only write is left alone: the server has none below its data folder. */
static bool is_change(int file, struct stat *found)
{
    return look(file, found) && S_ISREG(found->st_mode) &&
           (fcntl(file, F_GETFL) & O_ACCMODE) == O_RDWR;
}

ssize_t pwrite64(int file, const void *bytes, size_t size, off_t offset)
{
    struct stat found;
    if (size > 0 && is_change(file, &found)) {
        struct power_change change = {
            .kind = POWER_WRITE, .offset = (uint64_t)offset, .size = size};
        uint64_t end = change.offset + size;
        uint64_t old = (uint64_t)found.st_size < end ? (uint64_t)found.st_size : end;
        change.kept = old > change.offset ? old - change.offset : 0;
        note_change(file, &found, change);
    }
    return real.write_at(file, bytes, size, offset);
}

ssize_t pwrite(int file, const void *bytes, size_t size, off_t offset)
{
    return pwrite64(file, bytes, size, offset);
}

int ftruncate64(int file, off_t size)
{
    struct stat found;
    if (is_change(file, &found) && found.st_size != size)
        note_change(file, &found,
                    (struct power_change){
                        .kind = POWER_RESIZE,
                        .offset = (uint64_t)size,
                        .kept = found.st_size > size ? (uint64_t)(found.st_size - size) : 0,
                    });
    return real.resize(file, size);
}

int ftruncate(int file, off_t size)
{
    return ftruncate64(file, size);
}

/* ---- names ---- */

static uint64_t folder_of(const char *path)
{
    char folder[POWER_PATH_SIZE];
    struct stat found;
    const char *slash = strrchr(path, '/');
    (void)snprintf(folder, sizeof folder, "%.*s", (int)(slash - path), path);
    if (stat(folder, &found) != 0)
        die("look at a folder");
    return found.st_ino;
}

static void note_name(enum power_name_kind kind, const char *path, const char *new_path,
                      uint64_t kept)
{
    char names[POWER_JOURNAL_PATH_SIZE];
    struct power_name record = {
        .kind = kind, .folder = folder_of(new_path != NULL ? new_path : path), .kept = kept};
    if (strlen(path) >= POWER_PATH_SIZE ||
        (new_path != NULL && strlen(new_path) >= POWER_PATH_SIZE))
        die("note a name that is so long");
    (void)snprintf(record.path, sizeof record.path, "%s", path);
    (void)snprintf(record.new_path, sizeof record.new_path, "%s", new_path != NULL ? new_path : "");
    name_of_names(names);
    append(names, &record, sizeof record);
}

/* Keeps a file that loses its name here. Returns the number of the link; 0: there is no such file. */
static uint64_t keep(const char *path)
{
    static unsigned count;
    char kept[POWER_JOURNAL_PATH_SIZE];
    struct stat found;
    if (lstat(path, &found) != 0 || !S_ISREG(found.st_mode))
        return 0;
    uint64_t number = (uint64_t)getpid() << 32 | __atomic_add_fetch(&count, 1, __ATOMIC_RELAXED);
    (void)snprintf(kept, sizeof kept, "%s/kept-%llu", journal, (unsigned long long)number);
    if (real.link(path, kept) != 0)
        die("keep a file");
    return number;
}

static bool is_there(const char *path)
{
    struct stat found;
    return lstat(path, &found) == 0;
}

int open64(const char *path, int flags, ...)
{
    va_list rest;
    va_start(rest, flags);
    mode_t mode = (flags & O_CREAT) != 0 ? va_arg(rest, mode_t) : 0;
    va_end(rest);
    if ((flags & (O_CREAT | O_TRUNC)) == 0 || !is_below_root(path))
        return real.open(path, flags, mode);
    if (!is_there(path)) {
        if ((flags & O_CREAT) != 0)
            note_name(POWER_MADE, path, NULL, 0);
        return real.open(path, flags, mode);
    }
    int file = real.open(path, flags & ~O_TRUNC, mode);
    if (file >= 0 && (flags & O_TRUNC) != 0 && ftruncate64(file, 0) != 0)
        die("empty a file");
    return file;
}

int open(const char *path, int flags, ...)
{
    va_list rest;
    va_start(rest, flags);
    mode_t mode = (flags & O_CREAT) != 0 ? va_arg(rest, mode_t) : 0;
    va_end(rest);
    return open64(path, flags, mode);
}

int rename(const char *path, const char *new_path)
{
    if (is_below_root(path) && is_there(path))
        note_name(POWER_RENAMED, path, new_path, keep(new_path));
    return real.rename(path, new_path);
}

int unlink(const char *path)
{
    if (is_below_root(path) && is_there(path))
        note_name(POWER_REMOVED, path, NULL, keep(path));
    return real.unlink(path);
}

int mkdir(const char *path, mode_t mode)
{
    if (is_below_root(path) && !is_there(path))
        note_name(POWER_MADE, path, NULL, 0);
    return real.mkdir(path, mode);
}

int link(const char *path, const char *new_path)
{
    if (is_below_root(new_path) && !is_there(new_path))
        note_name(POWER_MADE, new_path, NULL, 0);
    return real.link(path, new_path);
}

/* ---- syncs ---- */

/* If the sync succeeds, the records that were noted before the call are durable. */
static int sync_with(int (*sync)(int file), int file)
{
    char path[POWER_JOURNAL_PATH_SIZE];
    struct stat found;
    if (!look(file, &found))
        return sync(file);
    bool is_folder = S_ISDIR(found.st_mode);
    if (is_folder)
        name_of_names(path);
    else
        name_journal(path, &found);
    uint64_t covered = size_of(path);
    int result = sync(file);
    if (result != 0 || covered == 0)
        return result;
    if (is_folder)
        append(path,
               &(struct power_name){
                   .kind = POWER_NAMES_SYNC, .folder = found.st_ino, .covered = covered},
               sizeof(struct power_name));
    else
        append(path, &(struct power_change){.kind = POWER_SYNC, .offset = covered},
               sizeof(struct power_change));
    return 0;
}

int fsync(int file)
{
    return sync_with(real.sync, file);
}

int fdatasync(int file)
{
    return sync_with(real.sync_data, file);
}
