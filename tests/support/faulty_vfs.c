/* SPDX-License-Identifier: MIT */
#include "support/faulty_vfs.h"

#include "base/error.h"

#include <fcntl.h>
#include <sqlite3.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define FILES_MAX 16
#define SECTOR_BYTES 512

/* A change that was not synced: bytes at an offset, or (bytes NULL) a new size. */
struct change {
    struct change *next;
    uint64_t offset;
    size_t size;
    uint8_t *bytes;
};

struct disk_file {
    char *path; /* NULL: this place is free */
    uint8_t *synced;
    size_t synced_size;
    size_t synced_capacity;
    struct change *first;
    struct change *last;
};

static struct {
    sqlite3_vfs vfs;
    sqlite3_vfs *real;
    enum faulty_kind kind;
    uint64_t fail_at; /* 0: never */
    bool lasting;
    bool has_failed;
    uint64_t count;
    uint64_t reads;
    struct disk_file files[FILES_MAX];
} disk;

/* SQLite's handle of an open file; the system's own follows it. */
struct faulty_file {
    sqlite3_file base;
    struct disk_file *file; /* NULL: not watched */
    sqlite3_file *real;
};

static void *must_alloc(void *old, size_t size)
{
    void *memory = realloc(old, size == 0 ? 1 : size);
    ASSERT(memory != NULL);
    return memory;
}

static void forget_changes(struct disk_file *file)
{
    while (file->first != NULL) {
        struct change *next = file->first->next;
        free(file->first->bytes);
        free(file->first);
        file->first = next;
    }
    file->last = NULL;
}

static void forget_file(struct disk_file *file)
{
    forget_changes(file);
    free(file->path);
    free(file->synced);
    *file = (struct disk_file){0};
}

static void resize(struct disk_file *file, size_t size)
{
    if (size > file->synced_capacity) {
        file->synced_capacity = 2 * size; /* it grows page by page */
        file->synced = must_alloc(file->synced, file->synced_capacity);
    }
    if (size > file->synced_size)
        memset(file->synced + file->synced_size, 0, size - file->synced_size);
    file->synced_size = size;
}

/* size: how much of it arrives. */
static void apply(struct disk_file *file, const struct change *change, size_t size)
{
    if (change->bytes == NULL) {
        resize(file, (size_t)change->offset);
        return;
    }
    if (change->offset + size > file->synced_size)
        resize(file, (size_t)change->offset + size);
    if (size > 0)
        memcpy(file->synced + change->offset, change->bytes, size);
}

static void note_change(struct disk_file *file, uint64_t offset, const void *bytes, size_t size)
{
    if (file == NULL)
        return;
    struct change *change = must_alloc(NULL, sizeof *change);
    *change = (struct change){.offset = offset, .size = size};
    if (bytes != NULL) {
        change->bytes = must_alloc(NULL, size);
        memcpy(change->bytes, bytes, size);
    }
    if (file->last == NULL)
        file->first = change;
    else
        file->last->next = change;
    file->last = change;
}

static void note_sync(struct disk_file *file)
{
    if (file == NULL)
        return;
    for (const struct change *change = file->first; change != NULL; change = change->next)
        apply(file, change, change->size);
    forget_changes(file);
}

static void read_whole(struct disk_file *file)
{
    int descriptor = open(file->path, O_RDONLY | O_CLOEXEC);
    struct stat status;
    if (descriptor < 0)
        return;
    if (fstat(descriptor, &status) == 0) {
        resize(file, (size_t)status.st_size);
        ASSERT(read(descriptor, file->synced, file->synced_size) == (ssize_t)file->synced_size);
    }
    (void)close(descriptor);
}

static struct disk_file *find_file(const char *path)
{
    for (size_t i = 0; i < FILES_MAX; i++)
        if (disk.files[i].path != NULL && strcmp(disk.files[i].path, path) == 0)
            return &disk.files[i];
    return NULL;
}

static struct disk_file *watch(const char *path)
{
    struct disk_file *file = find_file(path);
    for (size_t i = 0; file == NULL && i < FILES_MAX; i++) {
        if (disk.files[i].path != NULL)
            continue;
        file = &disk.files[i];
        file->path = must_alloc(NULL, strlen(path) + 1);
        memcpy(file->path, path, strlen(path) + 1);
        read_whole(file);
    }
    ASSERT(file != NULL); /* else FILES_MAX is too small */
    return file;
}

static bool power_is_off(void)
{
    return disk.kind == FAULTY_POWER && disk.has_failed;
}

/* Counts a changing operation; true when it has to fail. */
static bool fails(void)
{
    disk.count++;
    if (disk.fail_at == 0 || disk.count < disk.fail_at)
        return false;
    if (disk.count > disk.fail_at && !disk.lasting)
        return false;
    disk.has_failed = true;
    return true;
}

static struct faulty_file *self(sqlite3_file *file)
{
    return (struct faulty_file *)file;
}

static int faulty_close(sqlite3_file *file)
{
    sqlite3_file *real = self(file)->real;
    return real->pMethods == NULL ? SQLITE_OK : real->pMethods->xClose(real);
}

static int faulty_read(sqlite3_file *file, void *bytes, int size, sqlite3_int64 offset)
{
    sqlite3_file *real = self(file)->real;
    disk.reads++;
    return power_is_off() ? SQLITE_IOERR_READ : real->pMethods->xRead(real, bytes, size, offset);
}

static int faulty_write(sqlite3_file *file, const void *bytes, int size, sqlite3_int64 offset)
{
    sqlite3_file *real = self(file)->real;
    bool was_off = power_is_off();
    if (fails()) {
        if (power_is_off() && !was_off) /* the write that the power failed in may arrive in part */
            note_change(self(file)->file, (uint64_t)offset, bytes, (size_t)size);
        return disk.kind == FAULTY_FULL ? SQLITE_FULL : SQLITE_IOERR_WRITE;
    }
    int code = real->pMethods->xWrite(real, bytes, size, offset);
    if (code == SQLITE_OK)
        note_change(self(file)->file, (uint64_t)offset, bytes, (size_t)size);
    return code;
}

static int faulty_truncate(sqlite3_file *file, sqlite3_int64 size)
{
    sqlite3_file *real = self(file)->real;
    if (fails())
        return SQLITE_IOERR_TRUNCATE;
    int code = real->pMethods->xTruncate(real, size);
    if (code == SQLITE_OK)
        note_change(self(file)->file, (uint64_t)size, NULL, 0);
    return code;
}

/* After a sync that failed, the system takes the pages for written (unsynced.c). */
static int faulty_sync(sqlite3_file *file, int flags)
{
    (void)flags;
    if (fails()) {
        if (self(file)->file != NULL && !power_is_off())
            forget_changes(self(file)->file);
        return SQLITE_IOERR_FSYNC;
    }
    note_sync(self(file)->file);
    return SQLITE_OK;
}

static int faulty_size(sqlite3_file *file, sqlite3_int64 *size)
{
    sqlite3_file *real = self(file)->real;
    return real->pMethods->xFileSize(real, size);
}

static int faulty_lock(sqlite3_file *file, int level)
{
    sqlite3_file *real = self(file)->real;
    return real->pMethods->xLock(real, level);
}

static int faulty_unlock(sqlite3_file *file, int level)
{
    sqlite3_file *real = self(file)->real;
    return real->pMethods->xUnlock(real, level);
}

static int faulty_check_lock(sqlite3_file *file, int *held)
{
    sqlite3_file *real = self(file)->real;
    return real->pMethods->xCheckReservedLock(real, held);
}

static int faulty_control(sqlite3_file *file, int operation, void *argument)
{
    sqlite3_file *real = self(file)->real;
    if (operation == SQLITE_FCNTL_SIZE_HINT) /* would grow the file behind our back */
        return SQLITE_NOTFOUND;
    return real->pMethods->xFileControl(real, operation, argument);
}

static int faulty_sector(sqlite3_file *file)
{
    sqlite3_file *real = self(file)->real;
    return real->pMethods->xSectorSize(real);
}

static int faulty_device(sqlite3_file *file)
{
    sqlite3_file *real = self(file)->real;
    return real->pMethods->xDeviceCharacteristics(real);
}

static int faulty_shm_map(sqlite3_file *file, int page, int size, int extend, void volatile **out)
{
    sqlite3_file *real = self(file)->real;
    return real->pMethods->xShmMap(real, page, size, extend, out);
}

static int faulty_shm_lock(sqlite3_file *file, int offset, int count, int flags)
{
    sqlite3_file *real = self(file)->real;
    return real->pMethods->xShmLock(real, offset, count, flags);
}

static void faulty_shm_barrier(sqlite3_file *file)
{
    sqlite3_file *real = self(file)->real;
    real->pMethods->xShmBarrier(real);
}

static int faulty_shm_unmap(sqlite3_file *file, int remove)
{
    sqlite3_file *real = self(file)->real;
    return real->pMethods->xShmUnmap(real, remove);
}

static const sqlite3_io_methods methods = {
    .iVersion = 2,
    .xClose = faulty_close,
    .xRead = faulty_read,
    .xWrite = faulty_write,
    .xTruncate = faulty_truncate,
    .xSync = faulty_sync,
    .xFileSize = faulty_size,
    .xLock = faulty_lock,
    .xUnlock = faulty_unlock,
    .xCheckReservedLock = faulty_check_lock,
    .xFileControl = faulty_control,
    .xSectorSize = faulty_sector,
    .xDeviceCharacteristics = faulty_device,
    .xShmMap = faulty_shm_map,
    .xShmLock = faulty_shm_lock,
    .xShmBarrier = faulty_shm_barrier,
    .xShmUnmap = faulty_shm_unmap,
};

static int faulty_open(sqlite3_vfs *vfs, const char *name, sqlite3_file *file, int flags,
                       int *out_flags)
{
    (void)vfs;
    struct faulty_file *faulty = self(file);
    faulty->base.pMethods = NULL;
    faulty->real = (sqlite3_file *)(faulty + 1);
    faulty->file = NULL;
    if (power_is_off())
        return SQLITE_IOERR;
    int code = disk.real->xOpen(disk.real, name, faulty->real, flags, out_flags);
    if (code != SQLITE_OK)
        return code;
    if (name != NULL)
        faulty->file = watch(name);
    faulty->base.pMethods = &methods;
    return SQLITE_OK;
}

static int faulty_delete(sqlite3_vfs *vfs, const char *name, int sync_folder)
{
    (void)vfs;
    (void)sync_folder;
    if (power_is_off())
        return SQLITE_IOERR_DELETE;
    int code = disk.real->xDelete(disk.real, name, 0);
    struct disk_file *file = find_file(name);
    if (code == SQLITE_OK && file != NULL)
        forget_file(file);
    return code;
}

void faulty_vfs_install(void)
{
    disk.real = sqlite3_vfs_find(NULL);
    ASSERT(disk.real != NULL);
    disk.vfs = *disk.real;
    disk.vfs.zName = "faulty";
    disk.vfs.szOsFile = (int)sizeof(struct faulty_file) + disk.real->szOsFile;
    disk.vfs.xOpen = faulty_open;
    disk.vfs.xDelete = faulty_delete;
    ASSERT(sqlite3_vfs_register(&disk.vfs, 1) == SQLITE_OK);
}

void faulty_vfs_reset(void)
{
    faulty_vfs_fail(FAULTY_NONE, 0, false);
    for (size_t i = 0; i < FILES_MAX; i++)
        forget_file(&disk.files[i]);
}

void faulty_vfs_fail(enum faulty_kind kind, uint64_t k, bool lasting)
{
    disk.kind = kind;
    disk.fail_at = k;
    disk.lasting = lasting || kind == FAULTY_POWER;
    disk.has_failed = false;
    disk.count = 0;
}

bool faulty_vfs_has_failed(void)
{
    return disk.has_failed;
}

uint64_t faulty_vfs_reads(void)
{
    return disk.reads;
}

uint64_t faulty_vfs_count(void)
{
    return disk.count;
}

static uint64_t draw(uint64_t *random)
{
    *random ^= *random << 13;
    *random ^= *random >> 7;
    *random ^= *random << 17;
    return *random;
}

/* Of what was not synced a third arrives, a third does not, and a third arrives in part. */
static void apply_by_chance(struct disk_file *file, uint64_t *random)
{
    for (const struct change *change = file->first; change != NULL; change = change->next) {
        uint64_t chance = draw(random) % 3;
        size_t sectors = change->size / SECTOR_BYTES;
        if (chance == 0)
            apply(file, change, change->size);
        else if (chance == 1 && sectors > 0)
            apply(file, change, (size_t)(draw(random) % sectors) * SECTOR_BYTES);
    }
}

static void write_whole(const struct disk_file *file)
{
    int descriptor = open(file->path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    ASSERT(descriptor >= 0);
    ASSERT(write(descriptor, file->synced, file->synced_size) == (ssize_t)file->synced_size);
    (void)close(descriptor);
}

/* The index of the WAL is shared memory in a file's clothes: it does not outlive the machine. */
static void remove_index(const char *database)
{
    char path[4096];
    (void)sqlite3_snprintf(sizeof path, path, "%s-shm", database);
    (void)unlink(path);
}

void faulty_vfs_lose_power(uint64_t seed)
{
    uint64_t random = seed;
    for (size_t i = 0; i < FILES_MAX; i++) {
        struct disk_file *file = &disk.files[i];
        if (file->path == NULL)
            continue;
        if (seed != 0)
            apply_by_chance(file, &random);
        write_whole(file);
        remove_index(file->path);
    }
    faulty_vfs_reset();
}
