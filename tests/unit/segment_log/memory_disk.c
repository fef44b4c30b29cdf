/* SPDX-License-Identifier: MIT */
#include "memory_disk.h"

#include "support/test.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

/* The linker calls these; no header declares them. */
int __wrap_open(const char *path, int flags, ...);
int __wrap_close(int descriptor);
ssize_t __wrap_pread(int descriptor, void *bytes, size_t size, off_t offset);
ssize_t __wrap_pwrite(int descriptor, const void *bytes, size_t size, off_t offset);
int __wrap_fsync(int descriptor);
int __wrap_fdatasync(int descriptor);
int __wrap_fstat(int descriptor, struct stat *out);
int __wrap_unlink(const char *path);
int __wrap_mkdir(const char *path, mode_t mode);
DIR *__wrap_opendir(const char *path);
struct dirent *__wrap_readdir(DIR *directory);
int __wrap_closedir(DIR *directory);

#define NODES_MAX 256
#define DESCRIPTORS_MAX 64
#define DESCRIPTOR_FIRST 1000
#define PATH_SIZE 128

/* A file or a folder, with the bytes in the page cache and on the disk. */
struct node {
    bool is_used;
    bool is_folder;
    char path[PATH_SIZE];     /* the name that processes see; "": unlinked */
    bool is_name_durable;     /* path is on the disk */
    char old_path[PATH_SIZE]; /* the name on the disk, if another one; "": none */
    uint8_t *now;
    size_t now_size;
    uint8_t *old;
    size_t old_size;
    uint8_t *dirty; /* by sector */
};

static struct disk {
    struct node nodes[NODES_MAX];
    struct node *descriptors[DESCRIPTORS_MAX];
    enum memory_fault fault;
    uint64_t k;
    uint64_t count;
    int number;
    bool has_failed;
    const char *watched;
    uint64_t space;
    bool lies;
} disk;

struct memory_image {
    size_t count;
    struct saved {
        char path[PATH_SIZE];
        bool is_folder;
        uint8_t *bytes;
        size_t size;
    } files[NODES_MAX];
};

/* ---- nodes ---- */

static struct node *find(const char *path)
{
    for (size_t i = 0; i < NODES_MAX; i++)
        if (disk.nodes[i].is_used && strcmp(disk.nodes[i].path, path) == 0)
            return &disk.nodes[i];
    return NULL;
}

static void clear(struct node *node)
{
    free(node->now);
    free(node->old);
    free(node->dirty);
    *node = (struct node){0};
}

static bool is_open(const struct node *node)
{
    for (size_t i = 0; i < DESCRIPTORS_MAX; i++)
        if (disk.descriptors[i] == node)
            return true;
    return false;
}

/* Frees nodes that have no name, neither now nor after a power failure. */
static void sweep(void)
{
    for (size_t i = 0; i < NODES_MAX; i++) {
        struct node *node = &disk.nodes[i];
        if (node->is_used && node->path[0] == '\0' && node->old_path[0] == '\0' && !is_open(node))
            clear(node);
    }
}

static struct node *add(const char *path, bool is_folder)
{
    sweep();
    for (size_t i = 0; i < NODES_MAX; i++) {
        struct node *node = &disk.nodes[i];
        if (node->is_used)
            continue;
        *node = (struct node){.is_used = true, .is_folder = is_folder};
        assert_true(strlen(path) < PATH_SIZE);
        (void)snprintf(node->path, sizeof node->path, "%s", path);
        return node;
    }
    fail_msg("the disk in memory has too many files");
    return NULL;
}

static bool is_in(const char *path, const char *folder)
{
    size_t length = strlen(folder);
    return strncmp(path, folder, length) == 0 && path[length] == '/' &&
           strchr(path + length + 1, '/') == NULL;
}

static size_t sectors(size_t size)
{
    return (size + MEMORY_SECTOR - 1) / MEMORY_SECTOR;
}

static void resize(struct node *node, size_t size)
{
    size_t had = sectors(node->now_size);
    node->now = realloc(node->now, size + 1);
    node->dirty = realloc(node->dirty, sectors(size) + 1);
    assert_true(node->now != NULL && node->dirty != NULL);
    if (size > node->now_size)
        memset(node->now + node->now_size, 0, size - node->now_size);
    for (size_t i = had; i < sectors(size); i++)
        node->dirty[i] = 1;
    node->now_size = size;
}

static void make_old_size(struct node *node, size_t size)
{
    node->old = realloc(node->old, size + 1);
    assert_non_null(node->old);
    if (size > node->old_size)
        memset(node->old + node->old_size, 0, size - node->old_size);
    node->old_size = size;
}

static void copy_sector(struct node *node, size_t sector, size_t bytes)
{
    size_t from = sector * MEMORY_SECTOR;
    if (from >= node->now_size || from >= node->old_size)
        return;
    size_t left = node->now_size < node->old_size ? node->now_size - from : node->old_size - from;
    memcpy(node->old + from, node->now + from, left < bytes ? left : bytes);
}

static void sync_data(struct node *node)
{
    make_old_size(node, node->now_size);
    for (size_t i = 0; i < sectors(node->now_size); i++) {
        if (node->dirty[i])
            copy_sector(node, i, MEMORY_SECTOR);
        node->dirty[i] = 0;
    }
}

/* Every other dirty sector reaches the disk, and all count as clean. */
static void fail_sync(struct node *node)
{
    make_old_size(node, node->now_size);
    for (size_t i = 0; i < sectors(node->now_size); i++) {
        if (node->dirty[i] && i % 2 == 0)
            copy_sector(node, i, MEMORY_SECTOR);
        node->dirty[i] = 0;
    }
}

static void sync_names(const struct node *folder)
{
    for (size_t i = 0; i < NODES_MAX; i++) {
        struct node *node = &disk.nodes[i];
        if (!node->is_used)
            continue;
        if (node->old_path[0] != '\0' && is_in(node->old_path, folder->path))
            node->old_path[0] = '\0';
        if (node->path[0] != '\0' && is_in(node->path, folder->path)) {
            memcpy(node->old_path, node->path, sizeof node->path);
            node->is_name_durable = true;
        }
    }
    sweep();
}

/* ---- faults ---- */

static bool is_turn(void)
{
    disk.count++;
    switch (disk.fault) {
    case MEMORY_FAULT_ONCE:
    case MEMORY_FAULT_INTERRUPT:
        return disk.count == disk.k;
    case MEMORY_FAULT_LASTING:
    case MEMORY_FAULT_DEAD:
        return disk.count >= disk.k;
    default:
        return false;
    }
}

static bool is_watched(const char *name)
{
    return disk.watched == NULL || strcmp(disk.watched, name) == 0;
}

/* Whether the call fails; errno is set. */
static bool fails(const char *name)
{
    if (!is_watched(name) || disk.fault == MEMORY_FAULT_INTERRUPT || !is_turn())
        return false;
    disk.has_failed = true;
    errno = disk.number;
    return true;
}

static bool is_dead(void)
{
    return disk.fault == MEMORY_FAULT_DEAD;
}

void memory_disk_arm(enum memory_fault fault, uint64_t k, int number)
{
    disk.fault = fault;
    disk.k = k;
    disk.number = number;
    disk.count = 0;
    disk.has_failed = false;
}

void memory_disk_watch(const char *name)
{
    disk.watched = name;
}

uint64_t memory_disk_calls(void)
{
    return disk.count;
}

bool memory_disk_has_failed(void)
{
    return disk.has_failed;
}

void memory_disk_set_space(uint64_t bytes)
{
    disk.space = bytes;
}

void memory_disk_lie(bool lies)
{
    disk.lies = lies;
}

void memory_disk_reset(void)
{
    memory_disk_release();
    disk.space = UINT64_MAX;
    struct node *root = add(MEMORY_DISK, true);
    memcpy(root->old_path, root->path, sizeof root->path);
    root->is_name_durable = true;
}

void memory_disk_release(void)
{
    for (size_t i = 0; i < NODES_MAX; i++)
        clear(&disk.nodes[i]);
    memset(&disk, 0, sizeof disk);
}

void memory_disk_kill(void)
{
    memset(disk.descriptors, 0, sizeof disk.descriptors);
    memory_disk_arm(MEMORY_FAULT_NONE, 0, 0);
    disk.lies = false;
    sweep();
}

static uint64_t draw(uint64_t *random)
{
    *random ^= *random << 13;
    *random ^= *random >> 7;
    *random ^= *random << 17;
    return *random >> 11;
}

/* How much of a dirty sector is new: 0, part or all. */
static size_t draw_bytes(uint64_t *random, uint64_t seed)
{
    if (seed <= 1)
        return seed == 0 ? 0 : MEMORY_SECTOR;
    uint64_t kind = draw(random) % 4;
    return kind == 0 ? draw(random) % MEMORY_SECTOR : kind == 1 ? 0 : MEMORY_SECTOR;
}

static void lose_data(struct node *node, uint64_t *random, uint64_t seed)
{
    if (node->now_size > node->old_size && draw_bytes(random, seed) == MEMORY_SECTOR)
        make_old_size(node, node->now_size);
    for (size_t i = 0; i < sectors(node->now_size); i++)
        if (node->dirty[i])
            copy_sector(node, i, draw_bytes(random, seed));
    node->now = realloc(node->now, node->old_size + 1);
    node->dirty = realloc(node->dirty, sectors(node->old_size) + 1);
    assert_true(node->now != NULL && node->dirty != NULL);
    if (node->old_size > 0)
        memcpy(node->now, node->old, node->old_size);
    memset(node->dirty, 0, sectors(node->old_size) + 1);
    node->now_size = node->old_size;
}

/* A name that was made or removed after the last sync of its folder is there or not. */
static void lose_name(struct node *node, uint64_t *random, uint64_t seed)
{
    if (strcmp(node->path, node->old_path) != 0 && draw_bytes(random, seed) != MEMORY_SECTOR)
        memcpy(node->path, node->old_path, sizeof node->path);
}

/* Of two files with one name, the one that has it in the page cache keeps it. */
static void drop_doubles(void)
{
    for (size_t i = 0; i < NODES_MAX; i++) {
        struct node *node = &disk.nodes[i];
        for (size_t j = 0; j < NODES_MAX && node->is_used && node->path[0] != '\0'; j++)
            if (j != i && disk.nodes[j].is_used && strcmp(disk.nodes[j].path, node->path) == 0 &&
                !disk.nodes[j].is_name_durable)
                node->path[0] = '\0';
    }
}

static void drop_orphans(void)
{
    for (size_t i = 0; i < NODES_MAX; i++) {
        struct node *node = &disk.nodes[i];
        char folder[PATH_SIZE];
        memcpy(folder, node->path, sizeof folder);
        char *slash = strrchr(folder, '/');
        if (!node->is_used || slash == NULL || slash == folder)
            continue;
        *slash = '\0';
        if (find(folder) == NULL)
            node->path[0] = '\0';
    }
}

void memory_disk_lose_power(uint64_t seed)
{
    uint64_t random = seed * UINT64_C(0x9e3779b97f4a7c15) + 1;
    memory_disk_kill();
    for (size_t i = 0; i < NODES_MAX; i++) {
        if (!disk.nodes[i].is_used)
            continue;
        lose_data(&disk.nodes[i], &random, seed);
        lose_name(&disk.nodes[i], &random, seed);
    }
    drop_doubles();
    drop_orphans();
    for (size_t i = 0; i < NODES_MAX; i++) {
        struct node *node = &disk.nodes[i];
        memcpy(node->old_path, node->path, sizeof node->path);
        node->is_name_durable = node->is_used;
    }
    sweep();
}

/* ---- calls ---- */

static struct node *node_of(int descriptor)
{
    int index = descriptor - DESCRIPTOR_FIRST;
    assert_true(index >= 0 && index < DESCRIPTORS_MAX && disk.descriptors[index] != NULL);
    return disk.descriptors[index];
}

static int open_node(struct node *node)
{
    for (int i = 0; i < DESCRIPTORS_MAX; i++) {
        if (disk.descriptors[i] == NULL) {
            disk.descriptors[i] = node;
            return DESCRIPTOR_FIRST + i;
        }
    }
    fail_msg("too many open files");
    return -1;
}

static int no(int number)
{
    errno = number;
    return -1;
}

int __wrap_open(const char *path, int flags, ...)
{
    if (fails("open"))
        return -1;
    struct node *node = find(path);
    assert_true((flags & O_CLOEXEC) != 0);
    if (node == NULL && (flags & O_CREAT) == 0)
        return no(ENOENT);
    if (node != NULL && (flags & O_CREAT) != 0 && (flags & O_EXCL) != 0)
        return no(EEXIST);
    if (node == NULL)
        node = add(path, false);
    if ((flags & O_TRUNC) != 0)
        resize(node, 0);
    assert_int_equal(node->is_folder, (flags & O_DIRECTORY) != 0);
    return open_node(node);
}

int __wrap_close(int descriptor)
{
    (void)node_of(descriptor);
    disk.descriptors[descriptor - DESCRIPTOR_FIRST] = NULL;
    sweep();
    return 0;
}

/* Returns size, or less when the call is short; 0: it is interrupted. */
static size_t shorten(const char *name, size_t size)
{
    if (disk.fault != MEMORY_FAULT_INTERRUPT || !is_watched(name) || !is_turn())
        return size;
    disk.has_failed = true;
    return disk.count % 2 == 0 || size < 2 ? 0 : size / 2;
}

ssize_t __wrap_pread(int descriptor, void *bytes, size_t size, off_t offset)
{
    const struct node *node = node_of(descriptor);
    if (fails("pread"))
        return -1;
    size = shorten("pread", size);
    if (size == 0)
        return no(EINTR);
    if ((size_t)offset >= node->now_size)
        return 0;
    if (size > node->now_size - (size_t)offset)
        size = node->now_size - (size_t)offset;
    memcpy(bytes, node->now + offset, size);
    return (ssize_t)size;
}

static uint64_t used_space(void)
{
    uint64_t bytes = 0;
    for (size_t i = 0; i < NODES_MAX; i++)
        if (disk.nodes[i].is_used && (disk.nodes[i].path[0] != '\0' || is_open(&disk.nodes[i])))
            bytes += disk.nodes[i].now_size;
    return bytes;
}

static void put(struct node *node, const void *bytes, size_t size, size_t offset)
{
    if (size == 0)
        return;
    if (offset + size > node->now_size)
        resize(node, offset + size);
    memcpy(node->now + offset, bytes, size);
    for (size_t i = offset / MEMORY_SECTOR; i < sectors(offset + size); i++)
        node->dirty[i] = 1;
}

ssize_t __wrap_pwrite(int descriptor, const void *bytes, size_t size, off_t offset)
{
    struct node *node = node_of(descriptor);
    bool was_failing = disk.has_failed;
    size_t end = (size_t)offset + size;
    if (fails("pwrite")) {
        if (is_dead() ? !was_failing : disk.k % 3 != 0)
            put(node, bytes, is_dead() || disk.k % 3 == 1 ? size / 2 : size, (size_t)offset);
        errno = disk.number;
        return -1;
    }
    size = shorten("pwrite", size);
    if (size == 0)
        return no(EINTR);
    uint64_t used = used_space();
    if (end > node->now_size && end - node->now_size > disk.space - used) {
        disk.has_failed = true;
        size_t fits = node->now_size + (size_t)(disk.space - used);
        if (fits <= (size_t)offset)
            return no(ENOSPC);
        size = fits - (size_t)offset;
    }
    put(node, bytes, size, (size_t)offset);
    return (ssize_t)size;
}

static int sync_node(const char *name, int descriptor)
{
    struct node *node = node_of(descriptor);
    if (fails(name)) {
        if (!is_dead())
            fail_sync(node);
        errno = disk.number;
        return -1;
    }
    if (disk.lies && !node->is_folder)
        fail_sync(node);
    if (disk.lies)
        return 0;
    if (node->is_folder)
        sync_names(node);
    else
        sync_data(node);
    return 0;
}

int __wrap_fsync(int descriptor)
{
    return sync_node("fsync", descriptor);
}

int __wrap_fdatasync(int descriptor)
{
    if (shorten("fdatasync", 1) == 0)
        return no(EINTR);
    return sync_node("fdatasync", descriptor);
}

int __wrap_fstat(int descriptor, struct stat *out)
{
    const struct node *node = node_of(descriptor);
    if (fails("fstat"))
        return -1;
    *out = (struct stat){.st_size = (off_t)node->now_size, .st_mode = S_IFREG};
    return 0;
}

int __wrap_unlink(const char *path)
{
    if (fails("unlink"))
        return -1;
    struct node *node = find(path);
    if (node == NULL)
        return no(ENOENT);
    node->path[0] = '\0';
    sweep();
    return 0;
}

int __wrap_mkdir(const char *path, mode_t mode)
{
    if (fails("mkdir"))
        return -1;
    assert_int_equal(mode, 0700);
    if (find(path) != NULL)
        return no(EEXIST);
    (void)add(path, true);
    return 0;
}

struct listing {
    char folder[PATH_SIZE];
    size_t next;
    struct dirent entry;
};

DIR *__wrap_opendir(const char *path)
{
    if (fails("opendir"))
        return NULL;
    if (find(path) == NULL) {
        errno = ENOENT;
        return NULL;
    }
    struct listing *listing = calloc(1, sizeof *listing);
    assert_non_null(listing);
    (void)snprintf(listing->folder, sizeof listing->folder, "%s", path);
    listing->next = NODES_MAX; /* the order of a folder is any; newest first here */
    return (DIR *)listing;
}

struct dirent *__wrap_readdir(DIR *directory)
{
    struct listing *listing = (struct listing *)directory;
    if (fails("readdir"))
        return NULL;
    while (listing->next > 0) {
        const struct node *node = &disk.nodes[--listing->next];
        if (!node->is_used || !is_in(node->path, listing->folder))
            continue;
        (void)snprintf(listing->entry.d_name, sizeof listing->entry.d_name, "%s",
                       node->path + strlen(listing->folder) + 1);
        return &listing->entry;
    }
    return NULL;
}

int __wrap_closedir(DIR *directory)
{
    free(directory);
    return 0;
}

/* ---- for tests ---- */

uint8_t *memory_disk_bytes(const char *path, size_t *size)
{
    struct node *node = find(path);
    if (node != NULL && size != NULL)
        *size = node->now_size;
    return node == NULL ? NULL : node->now;
}

void memory_disk_truncate(const char *path, size_t size)
{
    struct node *node = find(path);
    assert_non_null(node);
    resize(node, size);
    sync_data(node);
}

void memory_disk_write(const char *path, const void *bytes, size_t size)
{
    struct node *node = find(path);
    if (node == NULL)
        node = add(path, false);
    resize(node, 0);
    put(node, bytes, size, 0);
    sync_data(node);
    memcpy(node->old_path, node->path, sizeof node->path);
    node->is_name_durable = true;
}

void memory_disk_remove(const char *path)
{
    struct node *node = find(path);
    assert_non_null(node);
    node->path[0] = '\0';
    node->old_path[0] = '\0';
    sweep();
}

size_t memory_disk_files(void)
{
    size_t count = 0;
    for (size_t i = 0; i < NODES_MAX; i++)
        count += disk.nodes[i].is_used && !disk.nodes[i].is_folder && disk.nodes[i].path[0] != '\0';
    return count;
}

size_t memory_disk_open_files(void)
{
    size_t count = 0;
    for (size_t i = 0; i < DESCRIPTORS_MAX; i++)
        count += disk.descriptors[i] != NULL;
    return count;
}

struct memory_image *memory_disk_save(void)
{
    struct memory_image *image = calloc(1, sizeof *image);
    assert_non_null(image);
    for (size_t i = 0; i < NODES_MAX; i++) {
        struct node *node = &disk.nodes[i];
        if (!node->is_used || node->path[0] == '\0')
            continue;
        struct saved *saved = &image->files[image->count++];
        memcpy(saved->path, node->path, sizeof saved->path);
        saved->is_folder = node->is_folder;
        saved->size = node->now_size;
        saved->bytes = malloc(node->now_size + 1);
        assert_non_null(saved->bytes);
        if (saved->size > 0)
            memcpy(saved->bytes, node->now, saved->size);
    }
    return image;
}

void memory_disk_load(const struct memory_image *image)
{
    memory_disk_release();
    disk.space = UINT64_MAX;
    for (size_t i = 0; i < image->count; i++) {
        const struct saved *saved = &image->files[i];
        struct node *node = add(saved->path, saved->is_folder);
        put(node, saved->bytes, saved->size, 0);
        if (!saved->is_folder)
            sync_data(node);
        memcpy(node->old_path, node->path, sizeof node->path);
        node->is_name_durable = true;
    }
}

bool memory_disk_is(const struct memory_image *image)
{
    size_t count = 0;
    for (size_t i = 0; i < NODES_MAX; i++)
        count += disk.nodes[i].is_used && disk.nodes[i].path[0] != '\0';
    if (count != image->count)
        return false;
    for (size_t i = 0; i < image->count; i++) {
        const struct saved *saved = &image->files[i];
        const struct node *node = find(saved->path);
        if (node == NULL || node->now_size != saved->size ||
            (saved->size > 0 && memcmp(node->now, saved->bytes, saved->size) != 0))
            return false;
    }
    return true;
}

void memory_image_free(struct memory_image *image)
{
    for (size_t i = 0; i < image->count; i++)
        free(image->files[i].bytes);
    free(image);
}
