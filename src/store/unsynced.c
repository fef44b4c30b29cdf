/* SPDX-License-Identifier: MIT */
/* unsynced.c - the writes to a file since its last good sync.
 *
 * After a sync that failed the system may count pages as written which the disk does not have (Rebello et
 * al., "Can Applications Recover from fsync Failures?", USENIX ATC 2020, section 3.1). Only pages that are
 * written again are known to reach the disk. SQLite does not write them again: a checkpoint skips the pages
 * that an earlier one moved into the database, whether or not they were synced.
 *
 * All handles of one file share what is known of it, because another handle may make the next sync. */
#include "store/store_internal.h"

#include <pthread.h>
#include <string.h>
#include <sys/stat.h>
#include <utlist.h>

#define REWRITTEN_BYTES (64 * 1024) /* at once. SQLite's write masks sizes with 0x1ffff */
#define FEW_RANGES 8u

struct range {
    sqlite3_int64 from;
    sqlite3_int64 end;
};

struct unsynced {
    struct unsynced *next;
    dev_t device;
    ino_t inode; /* 0: of one handle only */
    unsigned handles;
    bool has_failed;      /* the last sync */
    struct range *ranges; /* `few`, or allocated */
    size_t count;
    size_t capacity;
    struct range few[FEW_RANGES];
};

/* The lock is for the list and the numbers of handles. SQLite's own locks allow one writer for each file. */
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static struct unsynced *files;

/* ---- handles ---- */

static struct unsynced *find(const struct stat *about)
{
    struct unsynced *file;
    LL_FOREACH(files, file) {
        if (file->inode == about->st_ino && file->device == about->st_dev)
            return file;
    }
    return NULL;
}

static struct unsynced *add(const struct stat *about)
{
    struct unsynced *file = sqlite3_malloc64(sizeof *file);
    if (file == NULL)
        return NULL;
    *file =
        (struct unsynced){.device = about->st_dev, .inode = about->st_ino, .capacity = FEW_RANGES};
    file->ranges = file->few;
    LL_PREPEND(files, file);
    return file;
}

struct unsynced *unsynced_take(const char *path)
{
    struct stat about;
    if (stat(path, &about) != 0)
        about = (struct stat){0};
    (void)pthread_mutex_lock(&lock);
    struct unsynced *file = about.st_ino == 0 ? NULL : find(&about);
    if (file == NULL)
        file = add(&about);
    if (file != NULL)
        file->handles++;
    (void)pthread_mutex_unlock(&lock);
    return file;
}

void unsynced_drop(struct unsynced *file)
{
    (void)pthread_mutex_lock(&lock);
    bool is_last = --file->handles == 0;
    if (is_last)
        LL_DELETE(files, file);
    (void)pthread_mutex_unlock(&lock);
    if (!is_last)
        return;
    if (file->ranges != file->few)
        sqlite3_free(file->ranges);
    sqlite3_free(file);
}

/* ---- writes ---- */

static bool has_room(struct unsynced *file)
{
    if (file->count < file->capacity)
        return true;
    size_t capacity = 2 * file->capacity;
    bool has_few = file->ranges == file->few;
    struct range *ranges =
        sqlite3_realloc64(has_few ? NULL : file->ranges, capacity * sizeof *ranges);
    if (ranges == NULL)
        return false;
    if (has_few)
        memcpy(ranges, file->few, sizeof file->few);
    file->ranges = ranges;
    file->capacity = capacity;
    return true;
}

/* Without memory for one more range the last one also covers what lies between. */
void unsynced_note(struct unsynced *file, sqlite3_int64 offset, int size)
{
    struct range *last = file->count == 0 ? NULL : &file->ranges[file->count - 1];
    if (last != NULL && last->end == offset) {
        last->end += size;
    } else if (has_room(file)) {
        file->ranges[file->count++] = (struct range){offset, offset + size};
    } else {
        last->from = offset < last->from ? offset : last->from;
        last->end = offset + size > last->end ? offset + size : last->end;
    }
}

/* ---- syncs ---- */

static int rewrite_range(sqlite3_file *file, uint8_t *bytes, struct range range)
{
    int code = SQLITE_OK;
    for (sqlite3_int64 at = range.from; at < range.end && code == SQLITE_OK;) {
        int size = range.end - at < REWRITTEN_BYTES ? (int)(range.end - at) : REWRITTEN_BYTES;
        code = file->pMethods->xRead(file, bytes, size, at);
        if (code == SQLITE_OK)
            code = file->pMethods->xWrite(file, bytes, size, at);
        at += size;
    }
    return code;
}

/* The file may be shorter by now. */
static int rewrite(const struct unsynced *unsynced, sqlite3_file *file)
{
    sqlite3_int64 end = 0;
    uint8_t *bytes = sqlite3_malloc(REWRITTEN_BYTES);
    if (bytes == NULL)
        return SQLITE_NOMEM;
    int code = file->pMethods->xFileSize(file, &end);
    for (size_t i = 0; i < unsynced->count && code == SQLITE_OK; i++) {
        struct range range = unsynced->ranges[i];
        range.end = range.end < end ? range.end : end;
        code = rewrite_range(file, bytes, range);
    }
    sqlite3_free(bytes);
    return code;
}

int unsynced_sync(struct unsynced *unsynced, sqlite3_file *file, int flags)
{
    int code = unsynced->has_failed ? rewrite(unsynced, file) : SQLITE_OK;
    if (code != SQLITE_OK)
        return code;
    code = file->pMethods->xSync(file, flags);
    unsynced->has_failed = code != SQLITE_OK;
    if (code == SQLITE_OK)
        unsynced->count = 0;
    return code;
}
