/* SPDX-License-Identifier: MIT */
/* wal_writes.c - a SQLite VFS around the system's that joins writes to the write-ahead log, and that writes
 * again what a sync that failed may have lost (unsynced.c).
 *
 * SQLite writes each page of a commit with two small calls, a header and the page, one after the
 * other. This VFS gathers the writes and issues one call with the last page of the commit: a commit of 64
 * messages to 64 rooms makes 2 calls instead of 80.
 *
 * The VFS changes neither the content of the file nor the time when it is durable (SQLite,
 * "Write-Ahead Logging" and "The SQLite OS Interface or VFS"). SQLite writes the shared index after the
 * last page, and other connections find a commit by that index. The header of a frame tells the last page
 * of a commit (SQLite, "WAL File Format", section 4.1). A read through the same handle first writes the
 * gathered pages. The call that writes the pages returns their error, so the commit fails. */
#include "store/store_internal.h"

#include "base/error.h"

#include <pthread.h>
#include <string.h>

#define NAME "jackdaw-wal"
#define GATHERED_BYTES (128 * 1024) /* 31 pages */
#define FRAME_HEADER_BYTES 24
#define FRAME_SIZE_AT 4 /* of the database after a commit, 4 bytes; all zero: not the last page */

/* A database or its write-ahead log. The system's handle follows this one. */
struct wal_file {
    sqlite3_file base;
    sqlite3_file *real;
    struct unsynced *unsynced;
    uint8_t *bytes; /* GATHERED_BYTES of them, from the first write on */
    int used;
    bool ends_commit;     /* the next write is the last page of a commit */
    sqlite3_int64 offset; /* of the first one, in the file */
};

static struct {
    sqlite3_vfs vfs;
    sqlite3_vfs *real;
    bool is_forbidden; /* to write */
} wal;

static struct wal_file *self(sqlite3_file *file)
{
    return (struct wal_file *)file;
}

static int write_now(struct wal_file *file, const void *bytes, int size, sqlite3_int64 offset)
{
    int code = file->real->pMethods->xWrite(file->real, bytes, size, offset);
    if (code == SQLITE_OK)
        unsynced_note(file->unsynced, offset, size);
    return code;
}

/* Drops the unwritten pages, because they belong to a commit that fails. */
static int write_gathered(struct wal_file *file)
{
    int size = file->used;
    file->used = 0;
    if (size == 0)
        return SQLITE_OK;
    return write_now(file, file->bytes, size, file->offset);
}

/* ---- the methods of an open log, and those of a database, which gathers nothing ---- */

static int wal_close(sqlite3_file *base)
{
    struct wal_file *file = self(base);
    int written = write_gathered(file);
    sqlite3_free(file->bytes);
    unsynced_drop(file->unsynced);
    int closed = file->real->pMethods->xClose(file->real);
    return written == SQLITE_OK ? closed : written;
}

static int wal_read(sqlite3_file *base, void *bytes, int size, sqlite3_int64 offset)
{
    struct wal_file *file = self(base);
    int code = write_gathered(file);
    return code != SQLITE_OK ? code : file->real->pMethods->xRead(file->real, bytes, size, offset);
}

static bool may_gather(struct wal_file *file, int size)
{
    if (file->bytes == NULL)
        file->bytes = sqlite3_malloc(GATHERED_BYTES);
    return file->bytes != NULL && size <= GATHERED_BYTES;
}

static int gather(struct wal_file *file, const void *bytes, int size, sqlite3_int64 offset)
{
    bool follows = offset == file->offset + file->used && size <= GATHERED_BYTES - file->used;
    if (!follows) {
        int code = write_gathered(file);
        if (code != SQLITE_OK)
            return code;
    }
    if (!may_gather(file, size))
        return write_now(file, bytes, size, offset);
    if (file->used == 0)
        file->offset = offset;
    memcpy(file->bytes + file->used, bytes, (size_t)size);
    file->used += size;
    return SQLITE_OK;
}

static bool is_last_header(const void *bytes, int size)
{
    static const uint8_t none[4];
    return size == FRAME_HEADER_BYTES &&
           memcmp((const uint8_t *)bytes + FRAME_SIZE_AT, none, sizeof none) != 0;
}

static int wal_write(sqlite3_file *base, const void *bytes, int size, sqlite3_int64 offset)
{
    struct wal_file *file = self(base);
    if (wal.is_forbidden)
        return SQLITE_READONLY;
    bool ends_commit = file->ends_commit;
    file->ends_commit = is_last_header(bytes, size);
    int code = gather(file, bytes, size, offset);
    return code == SQLITE_OK && ends_commit ? write_gathered(file) : code;
}

static int wal_truncate(sqlite3_file *base, sqlite3_int64 size)
{
    struct wal_file *file = self(base);
    int code = write_gathered(file);
    return code != SQLITE_OK ? code : file->real->pMethods->xTruncate(file->real, size);
}

static int wal_sync(sqlite3_file *base, int flags)
{
    struct wal_file *file = self(base);
    int code = write_gathered(file);
    return code == SQLITE_OK ? unsynced_sync(file->unsynced, file->real, flags) : code;
}

static int wal_size(sqlite3_file *base, sqlite3_int64 *size)
{
    struct wal_file *file = self(base);
    int code = write_gathered(file);
    return code != SQLITE_OK ? code : file->real->pMethods->xFileSize(file->real, size);
}

/* A log has no lock of its own; the database has. */
static int wal_lock(sqlite3_file *base, int level)
{
    struct wal_file *file = self(base);
    return file->real->pMethods->xLock(file->real, level);
}

static int wal_unlock(sqlite3_file *base, int level)
{
    struct wal_file *file = self(base);
    return file->real->pMethods->xUnlock(file->real, level);
}

static int wal_check_lock(sqlite3_file *base, int *held)
{
    struct wal_file *file = self(base);
    return file->real->pMethods->xCheckReservedLock(file->real, held);
}

static int wal_control(sqlite3_file *base, int operation, void *argument)
{
    struct wal_file *file = self(base);
    int code = write_gathered(file);
    return code != SQLITE_OK ? code
                             : file->real->pMethods->xFileControl(file->real, operation, argument);
}

static int wal_sector_size(sqlite3_file *base)
{
    struct wal_file *file = self(base);
    return file->real->pMethods->xSectorSize(file->real);
}

static int wal_characteristics(sqlite3_file *base)
{
    struct wal_file *file = self(base);
    return file->real->pMethods->xDeviceCharacteristics(file->real);
}

/* ---- a database ---- */

static int database_write(sqlite3_file *base, const void *bytes, int size, sqlite3_int64 offset)
{
    return write_now(self(base), bytes, size, offset);
}

static int database_shm_map(sqlite3_file *base, int page, int size, int extend, void volatile **out)
{
    struct wal_file *file = self(base);
    return file->real->pMethods->xShmMap(file->real, page, size, extend, out);
}

static int database_shm_lock(sqlite3_file *base, int offset, int count, int flags)
{
    struct wal_file *file = self(base);
    return file->real->pMethods->xShmLock(file->real, offset, count, flags);
}

static void database_shm_barrier(sqlite3_file *base)
{
    struct wal_file *file = self(base);
    file->real->pMethods->xShmBarrier(file->real);
}

static int database_shm_unmap(sqlite3_file *base, int removes)
{
    struct wal_file *file = self(base);
    return file->real->pMethods->xShmUnmap(file->real, removes);
}

/* ---- opening ---- */

#define SHARED_METHODS                                                                    \
    .xClose = wal_close, .xRead = wal_read, .xTruncate = wal_truncate, .xSync = wal_sync, \
    .xFileSize = wal_size, .xLock = wal_lock, .xUnlock = wal_unlock,                      \
    .xCheckReservedLock = wal_check_lock, .xFileControl = wal_control,                    \
    .xSectorSize = wal_sector_size, .xDeviceCharacteristics = wal_characteristics

static const sqlite3_io_methods wal_methods = {
    .iVersion = 1,
    SHARED_METHODS,
    .xWrite = wal_write,
};

static const sqlite3_io_methods database_methods = {
    .iVersion = 2,
    SHARED_METHODS,
    .xWrite = database_write,
    .xShmMap = database_shm_map,
    .xShmLock = database_shm_lock,
    .xShmBarrier = database_shm_barrier,
    .xShmUnmap = database_shm_unmap,
};

static int wal_open(sqlite3_vfs *vfs, const char *name, sqlite3_file *base, int flags, int *out)
{
    (void)vfs;
    if ((flags & (SQLITE_OPEN_WAL | SQLITE_OPEN_MAIN_DB)) == 0 || name == NULL)
        return wal.real->xOpen(wal.real, name, base, flags, out);
    struct wal_file *file = self(base);
    *file = (struct wal_file){.real = (sqlite3_file *)(file + 1)};
    file->real->pMethods = NULL;
    int code = wal.real->xOpen(wal.real, name, file->real, flags, out);
    if (code == SQLITE_OK)
        file->unsynced = unsynced_take(name);
    if (code == SQLITE_OK && file->unsynced == NULL)
        code = SQLITE_NOMEM;
    if (code == SQLITE_OK)
        file->base.pMethods = (flags & SQLITE_OPEN_WAL) != 0 ? &wal_methods : &database_methods;
    else if (file->real->pMethods != NULL)
        (void)file->real->pMethods->xClose(file->real);
    return code;
}

static void register_vfs(void)
{
    wal.real = sqlite3_vfs_find(NULL);
    ASSERT(wal.real != NULL);
    wal.vfs = *wal.real;
    wal.vfs.pNext = NULL;
    wal.vfs.zName = NAME;
    wal.vfs.szOsFile = (int)sizeof(struct wal_file) + wal.real->szOsFile;
    wal.vfs.xOpen = wal_open;
    int code = sqlite3_vfs_register(&wal.vfs, 0);
    ASSERT(code == SQLITE_OK);
}

void wal_writes_forbid(void)
{
    wal.is_forbidden = true;
}

const char *wal_writes_vfs(void)
{
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    (void)pthread_once(&once, register_vfs);
    return NAME;
}
