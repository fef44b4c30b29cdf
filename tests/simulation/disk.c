/* SPDX-License-Identifier: MIT */
/* The disks: files of each host in memory, for the functions of libc that the product calls (replaced at
 * link time with -Wl,--wrap) and for SQLite, as its default VFS. A path is /sim/HOST/NAME, HOST from 1.
 *
 * A write reaches the file at once; it survives a loss of power when fsync has returned since. Names survive
 * when their folder was synced. At a loss of power each page of 4,096 bytes that was not synced is old, new,
 * or new in its first sectors only. With FAULT_FLIP it may have a wrong bit where the log was written. */
#include "sim.h"

/* The linker calls what -Wl,--wrap names; no header declares it. */
#pragma GCC diagnostic ignored "-Wmissing-prototypes"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <sqlite3.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#define PAGE 4096u
#define SECTOR 512u
#define FIRST_DESCRIPTOR 1000000
#define DESCRIPTORS 256
#define NAMES 2048 /* of one host */
#define NAME_SIZE 64
#define LOG_FOLDER "log"     /* always there */
#define SET_ASIDE "damaged-" /* begins the names of the other folders, which a repair makes */
#define LISTS_MAX 4          /* of folders, open at a time */
#define SHM_LOCKS 8
#define SHM_REGIONS 8
#define SYNC_US 60
#define WRITE_US 2

struct page {
    uint8_t *now;
    uint8_t *durable; /* NULL: as `now` */
};

struct file {
    unsigned host;
    ino_t inode;
    unsigned references; /* names and descriptors */
    size_t size;
    size_t durable_size;
    bool is_dirty;
    bool is_log; /* a segment */
    struct page *pages;
    size_t page_count;
    int lock; /* descriptor that has flock's lock; -1: none */
    uint8_t *mapped;
    uint8_t kept[PAGE]; /* of the mapped page, while a cut process is released */
    bool is_kept;
    /* SQLite's locks on the file, and its shared memory. */
    unsigned shared;
    bool is_reserved, is_pending, is_exclusive;
    void *regions[SHM_REGIONS];
    unsigned shm_users;
    unsigned shm_shared[SHM_LOCKS];
    bool shm_exclusive[SHM_LOCKS];
};

struct name {
    char text[NAME_SIZE]; /* "": unused */
    struct file *now;     /* NULL: removed */
    struct file *durable;
};

struct disk {
    struct name names[NAMES];
    size_t names_used; /* places from there on were never used */
    uint64_t stalled_until;
    uint64_t writes_before_full; /* then the disk is full for writes_refused of them */
    uint64_t writes_to_refuse;
    uint64_t refused; /* so far */
    uint64_t fails_until;
    int failure; /* errno */
};

struct descriptor {
    struct file *file;
    bool is_folder;
    bool is_log; /* the folder of the log */
    bool is_used;
    unsigned host;
    size_t offset;
};

static struct disk disks[HOSTS_MAX];
static struct descriptor descriptors[DESCRIPTORS];
static ino_t last_inode;

/* ---- files ---- */

static struct file *new_file(unsigned host)
{
    struct file *file = calloc(1, sizeof *file);
    ASSERT(file != NULL);
    file->host = host;
    file->inode = ++last_inode;
    file->lock = -1;
    return file;
}

static void let_go(struct file *file)
{
    if (file == NULL || --file->references > 0)
        return;
    for (size_t i = 0; i < file->page_count; i++) {
        free(file->pages[i].now);
        free(file->pages[i].durable);
    }
    for (size_t i = 0; i < SHM_REGIONS; i++)
        free(file->regions[i]);
    free(file->pages);
    free(file);
}

static struct page *page_of(struct file *file, size_t index)
{
    if (index >= file->page_count) {
        size_t count = index + 1 + file->page_count / 2;
        file->pages = realloc(file->pages, count * sizeof *file->pages);
        ASSERT(file->pages != NULL);
        memset(file->pages + file->page_count, 0, (count - file->page_count) * sizeof *file->pages);
        file->page_count = count;
    }
    struct page *page = &file->pages[index];
    if (page->now == NULL) {
        page->now = calloc(1, PAGE);
        ASSERT(page->now != NULL);
    }
    return page;
}

static void change_page(struct file *file, struct page *page)
{
    file->is_dirty = true;
    if (page->durable != NULL)
        return;
    page->durable = malloc(PAGE);
    ASSERT(page->durable != NULL);
    memcpy(page->durable, page->now, PAGE);
}

static void write_bytes(struct file *file, const uint8_t *bytes, size_t size, size_t offset)
{
    for (size_t done = 0; done < size;) {
        size_t at = (offset + done) % PAGE;
        size_t count = PAGE - at < size - done ? PAGE - at : size - done;
        struct page *page = page_of(file, (offset + done) / PAGE);
        change_page(file, page);
        memcpy(page->now + at, bytes + done, count);
        done += count;
    }
    if (offset + size > file->size)
        file->size = offset + size;
}

static size_t read_bytes(const struct file *file, uint8_t *bytes, size_t size, size_t offset)
{
    if (offset >= file->size)
        return 0;
    size = size < file->size - offset ? size : file->size - offset;
    for (size_t done = 0; done < size;) {
        size_t index = (offset + done) / PAGE;
        size_t at = (offset + done) % PAGE;
        size_t count = PAGE - at < size - done ? PAGE - at : size - done;
        if (index < file->page_count && file->pages[index].now != NULL)
            memcpy(bytes + done, file->pages[index].now + at, count);
        else
            memset(bytes + done, 0, count);
        done += count;
    }
    return size;
}

static void truncate_file(struct file *file, size_t size)
{
    file->is_dirty = true;
    for (size_t i = size / PAGE; i < file->page_count; i++) {
        if (file->pages[i].now == NULL)
            continue;
        size_t from = i == size / PAGE ? size % PAGE : 0;
        change_page(file, &file->pages[i]);
        memset(file->pages[i].now + from, 0, PAGE - from);
    }
    file->size = size;
}

static void sync_file(struct file *file)
{
    for (size_t i = 0; i < file->page_count && file->is_dirty; i++) {
        free(file->pages[i].durable);
        file->pages[i].durable = NULL;
    }
    file->is_dirty = false;
    file->durable_size = file->size;
}

/* In one byte that the write changed: the bytes beside it are safe (docs/log.md). */
static void flip_in_torn(struct page *page)
{
    size_t from = (size_t)sim_below(PAGE);
    for (size_t i = 0; i < PAGE; i++) {
        size_t at = (from + i) % PAGE;
        if (page->now[at] == page->durable[at])
            continue;
        page->now[at] ^= (uint8_t)(1u << sim_below(8));
        world.stats.flips++;
        return;
    }
}

static void lose_unsynced(struct file *file, bool may_flip)
{
    if (!file->is_dirty)
        return;
    for (size_t i = 0; i < file->page_count; i++) {
        struct page *page = &file->pages[i];
        if (page->durable == NULL)
            continue;
        if (may_flip && sim_chance(500)) {
            flip_in_torn(page);
            continue;
        }
        switch (sim_below(4)) {
        case 0: /* written all the same */
            break;
        case 1: { /* torn */
            size_t sectors = (size_t)sim_below(PAGE / SECTOR);
            memcpy(page->now + sectors * SECTOR, page->durable + sectors * SECTOR,
                   PAGE - sectors * SECTOR);
            break;
        }
        default:
            memcpy(page->now, page->durable, PAGE);
        }
    }
    if (sim_chance(500))
        file->size = file->durable_size;
    sync_file(file);
}

/* ---- names ---- */

/* false: not a path of a simulated disk. *name: what follows the host; "" is the folder itself. */
static bool split(const char *path, unsigned *host, const char **name)
{
    while (path[0] == '.' && path[1] == '/')
        path += 2;
    if (strncmp(path, "/sim", 4) != 0 || (path[4] != '/' && path[4] != '\0'))
        return false;
    char *end = NULL;
    *host = path[4] == '\0' ? 1 : (unsigned)strtoul(path + 5, &end, 10);
    *host -= 1;
    *name = end != NULL && *end == '/' ? end + 1 : "";
    ASSERT(*host < HOSTS_MAX);
    return true;
}

static struct name *end_of_names(unsigned host)
{
    return disks[host].names + disks[host].names_used;
}

static struct name *find_name(unsigned host, const char *text)
{
    for (struct name *name = disks[host].names; name < end_of_names(host); name++)
        if (strcmp(name->text, text) == 0)
            return name;
    return NULL;
}

static struct name *new_name(unsigned host)
{
    struct name *name = find_name(host, "");
    if (name != NULL)
        return name;
    ASSERT(disks[host].names_used < NAMES);
    return &disks[host].names[disks[host].names_used++];
}

static bool is_set_aside(const char *text)
{
    return strncmp(text, SET_ASIDE, sizeof SET_ASIDE - 1) == 0;
}

static bool is_folder(const char *text)
{
    return text[0] == '\0' || strcmp(text, LOG_FOLDER) == 0 ||
           (is_set_aside(text) && strchr(text, '/') == NULL);
}

static bool is_in_log(const char *text)
{
    return strncmp(text, LOG_FOLDER "/", sizeof LOG_FOLDER) == 0;
}

static struct name *need_name(unsigned host, const char *text)
{
    struct name *name = find_name(host, text);
    if (name == NULL) {
        name = new_name(host);
        ASSERT(strlen(text) < NAME_SIZE);
        memcpy(name->text, text, strlen(text) + 1);
    }
    return name;
}

static void set_now(struct name *name, struct file *file)
{
    struct file *before = name->now;
    if (file != NULL)
        file->references++;
    name->now = file;
    let_go(before);
    if (name->now == NULL && name->durable == NULL)
        name->text[0] = '\0';
}

/* Those of one folder. Files that were set aside count as those of the host's folder. */
static void sync_names(unsigned host, bool of_log)
{
    for (struct name *name = disks[host].names; name < end_of_names(host); name++) {
        if (name->text[0] == '\0' || name->durable == name->now || is_in_log(name->text) != of_log)
            continue;
        struct file *before = name->durable;
        if (name->now != NULL)
            name->now->references++;
        name->durable = name->now;
        let_go(before);
        if (name->now == NULL)
            name->text[0] = '\0';
    }
}

/* ---- what may happen to an operation: 0, or errno ---- */

static int problem_of(unsigned host, bool is_write)
{
    struct disk *disk = &disks[host];
    struct process *process = sim_current();
    if (is_write && !process_may_act())
        return EIO;
    if (process != NULL && is_write && disk->stalled_until > sim_now())
        process->spent_us += disk->stalled_until - sim_now();
    return is_write && disk->fails_until > sim_now() ? disk->failure : 0;
}

/* The same for an operation that takes space, or may do so late, as a sync. */
static int problem_of_space(unsigned host)
{
    struct disk *disk = &disks[host];
    int problem = problem_of(host, true);
    if (problem != 0 || disk->writes_to_refuse == 0)
        return problem;
    if (disk->writes_before_full > 0) {
        disk->writes_before_full--;
        return 0;
    }
    disk->writes_to_refuse--;
    disk->refused++;
    world.stats.refused++;
    return ENOSPC;
}

static int fail(int number)
{
    errno = number;
    return -1;
}

static void spend(uint64_t us)
{
    if (sim_current() != NULL)
        sim_current()->spent_us += us;
}

/* ---- libc ---- */

int __real_open(const char *path, int flags, ...);
int __real_close(int descriptor);
ssize_t __real_pread(int descriptor, void *bytes, size_t size, off_t offset);
ssize_t __real_pwrite(int descriptor, const void *bytes, size_t size, off_t offset);
int __real_fsync(int descriptor);
int __real_fdatasync(int descriptor);
int __real_ftruncate(int descriptor, off_t size);
off_t __real_lseek(int descriptor, off_t offset, int whence);
int __real_fstat(int descriptor, struct stat *out);
int __real_stat(const char *path, struct stat *out);
int __real_rename(const char *from, const char *to);
int __real_unlink(const char *path);
int __real_link(const char *from, const char *to);
int __real_mkdir(const char *path, mode_t mode);
int __real_flock(int descriptor, int operation);
int __real_statvfs(const char *path, struct statvfs *out);
char *__real_realpath(const char *path, char *out);
void *__real_mmap(void *address, size_t size, int protection, int flags, int descriptor,
                  off_t offset);
int __real_munmap(void *address, size_t size);

static struct descriptor *descriptor_of(int number)
{
    bool is_ours = number >= FIRST_DESCRIPTOR && number < FIRST_DESCRIPTOR + DESCRIPTORS;
    return is_ours ? &descriptors[number - FIRST_DESCRIPTOR] : NULL;
}

static int new_descriptor(unsigned host, struct file *file)
{
    for (size_t i = 0; i < DESCRIPTORS; i++)
        if (!descriptors[i].is_used) {
            descriptors[i] = (struct descriptor){
                .file = file, .is_folder = file == NULL, .is_used = true, .host = host};
            if (file != NULL)
                file->references++;
            return FIRST_DESCRIPTOR + (int)i;
        }
    return fail(EMFILE);
}

static int open_file(unsigned host, const char *text, int flags)
{
    if (is_folder(text)) {
        int number = new_descriptor(host, NULL);
        if (number >= 0)
            descriptor_of(number)->is_log = strcmp(text, LOG_FOLDER) == 0;
        return number;
    }
    struct name *name = find_name(host, text);
    struct file *file = name == NULL ? NULL : name->now;
    if (file != NULL && (flags & O_CREAT) != 0 && (flags & O_EXCL) != 0)
        return fail(EEXIST);
    if (file == NULL && (flags & O_CREAT) == 0)
        return fail(ENOENT);
    if (file == NULL) {
        int number = problem_of_space(host);
        if (number != 0)
            return fail(number);
        file = new_file(host);
        file->is_log = is_in_log(text);
        set_now(need_name(host, text), file);
    } else if ((flags & O_TRUNC) != 0 && process_may_act()) {
        truncate_file(file, 0);
    }
    return new_descriptor(host, file);
}

int __wrap_open(const char *path, int flags, ...)
{
    unsigned host;
    const char *name;
    va_list arguments;
    va_start(arguments, flags);
    int mode = (flags & O_CREAT) != 0 ? va_arg(arguments, int) : 0;
    va_end(arguments);
    return split(path, &host, &name) ? open_file(host, name, flags)
                                     : __real_open(path, flags, mode);
}

int __wrap_close(int number)
{
    struct descriptor *descriptor = descriptor_of(number);
    if (descriptor == NULL)
        return __real_close(number);
    if (descriptor->file != NULL && descriptor->file->lock == number)
        descriptor->file->lock = -1;
    let_go(descriptor->file);
    descriptor->is_used = false;
    return 0;
}

ssize_t __wrap_pread(int number, void *bytes, size_t size, off_t offset)
{
    struct descriptor *descriptor = descriptor_of(number);
    if (descriptor == NULL)
        return __real_pread(number, bytes, size, offset);
    return (ssize_t)read_bytes(descriptor->file, bytes, size, (size_t)offset);
}

ssize_t __wrap_pwrite(int number, const void *bytes, size_t size, off_t offset)
{
    struct descriptor *descriptor = descriptor_of(number);
    if (descriptor == NULL)
        return __real_pwrite(number, bytes, size, offset);
    int problem = problem_of_space(descriptor->host);
    bool is_short = problem == ENOSPC && disks[descriptor->host].fails_until <= sim_now();
    if (is_short)
        size = (size_t)sim_below(size);
    if (problem != 0 && (!is_short || size == 0))
        return fail(problem);
    spend(WRITE_US);
    write_bytes(descriptor->file, bytes, size, (size_t)offset);
    return (ssize_t)size;
}

/* Whether a sync is a lie: it succeeds and makes nothing durable. The first one of a file is none. */
static bool is_lie(const struct file *file)
{
    return (world.options.faults & FAULT_LIE) != 0 && file->is_log && file->durable_size > 0;
}

/* A process that is about to lose power often does so between a write to the log and its sync. */
static void die_before_sync(const struct file *file)
{
    struct process *process = sim_current();
    if ((world.options.faults & FAULT_FLIP) != 0 && file != NULL && file->is_log &&
        process != NULL && process->loses_power && process->effects_left > 0 && sim_chance(300))
        process->effects_left = 1;
}

static int sync_descriptor(struct descriptor *descriptor)
{
    die_before_sync(descriptor->file);
    int problem = problem_of_space(descriptor->host);
    if (problem != 0)
        return fail(problem == ENOSPC ? EIO : problem);
    spend(SYNC_US);
    if (descriptor->is_folder)
        sync_names(descriptor->host, descriptor->is_log);
    else if (!is_lie(descriptor->file))
        sync_file(descriptor->file);
    return 0;
}

int __wrap_fsync(int number)
{
    struct descriptor *descriptor = descriptor_of(number);
    return descriptor == NULL ? __real_fsync(number) : sync_descriptor(descriptor);
}

int __wrap_fdatasync(int number)
{
    struct descriptor *descriptor = descriptor_of(number);
    return descriptor == NULL ? __real_fdatasync(number) : sync_descriptor(descriptor);
}

int __wrap_ftruncate(int number, off_t size)
{
    struct descriptor *descriptor = descriptor_of(number);
    if (descriptor == NULL)
        return __real_ftruncate(number, size);
    int problem = problem_of(descriptor->host, true);
    if (problem != 0)
        return fail(problem);
    truncate_file(descriptor->file, (size_t)size);
    return 0;
}

off_t __wrap_lseek(int number, off_t offset, int whence)
{
    struct descriptor *descriptor = descriptor_of(number);
    if (descriptor == NULL)
        return __real_lseek(number, offset, whence);
    ASSERT(whence == SEEK_END && offset == 0);
    return (off_t)descriptor->file->size;
}

static void describe(const struct file *file, struct stat *out)
{
    *out = (struct stat){.st_mode = S_IFDIR | 0700, .st_dev = 1, .st_ino = 1};
    if (file == NULL)
        return;
    out->st_mode = S_IFREG | 0600;
    out->st_ino = file->inode + 1;
    out->st_size = (off_t)file->size;
    out->st_uid = getuid();
    out->st_nlink = 1;
}

int __wrap_fstat(int number, struct stat *out)
{
    struct descriptor *descriptor = descriptor_of(number);
    if (descriptor == NULL)
        return __real_fstat(number, out);
    describe(descriptor->file, out);
    return 0;
}

int __wrap_stat(const char *path, struct stat *out)
{
    unsigned host;
    const char *text;
    if (!split(path, &host, &text))
        return __real_stat(path, out);
    struct name *name = is_folder(text) ? NULL : find_name(host, text);
    if (!is_folder(text) && (name == NULL || name->now == NULL))
        return fail(ENOENT);
    describe(name == NULL ? NULL : name->now, out);
    return 0;
}

/* The new name of the folder is durable at once. */
static int rename_log(unsigned host, const char *fresh)
{
    char text[NAME_SIZE];
    for (struct name *name = disks[host].names; name < end_of_names(host); name++) {
        if (!is_in_log(name->text))
            continue;
        int size = snprintf(text, sizeof text, "%s%s", fresh, name->text + sizeof LOG_FOLDER - 1);
        ASSERT(size > 0 && size < NAME_SIZE);
        memcpy(name->text, text, sizeof text);
        if (name->now != NULL)
            name->now->is_log = false;
    }
    return 0;
}

int __wrap_rename(const char *from, const char *to)
{
    unsigned host;
    const char *old;
    const char *fresh;
    if (!split(from, &host, &old))
        return __real_rename(from, to);
    (void)split(to, &host, &fresh);
    int problem = problem_of_space(host);
    if (problem != 0)
        return fail(problem);
    if (strcmp(old, LOG_FOLDER) == 0)
        return rename_log(host, fresh);
    struct name *name = find_name(host, old);
    if (name == NULL || name->now == NULL)
        return fail(ENOENT);
    set_now(need_name(host, fresh), name->now);
    set_now(name, NULL);
    return 0;
}

static int remove_name(unsigned host, const char *text)
{
    struct name *name = find_name(host, text);
    if (text[0] == '\0' || name == NULL || name->now == NULL)
        return fail(ENOENT);
    int problem = problem_of(host, true);
    if (problem != 0 && problem != ENOSPC)
        return fail(problem);
    set_now(name, NULL);
    return 0;
}

int __wrap_unlink(const char *path)
{
    unsigned host;
    const char *text;
    return split(path, &host, &text) ? remove_name(host, text) : __real_unlink(path);
}

int __wrap_link(const char *from, const char *to)
{
    unsigned host;
    const char *old;
    const char *fresh;
    if (!split(from, &host, &old))
        return __real_link(from, to);
    (void)split(to, &host, &fresh);
    struct name *name = find_name(host, old);
    if (name == NULL || name->now == NULL)
        return fail(ENOENT);
    int problem = problem_of_space(host);
    if (problem != 0)
        return fail(problem);
    if (need_name(host, fresh)->now != NULL)
        return fail(EEXIST);
    set_now(need_name(host, fresh), name->now);
    return 0;
}

int __wrap_mkdir(const char *path, mode_t mode)
{
    unsigned host;
    const char *text;
    if (!split(path, &host, &text))
        return __real_mkdir(path, mode);
    bool is_there = !is_set_aside(text);
    for (struct name *name = disks[host].names; name < end_of_names(host); name++)
        is_there = is_there || strncmp(name->text, text, strlen(text)) == 0;
    int problem = is_there ? EEXIST : problem_of_space(host);
    return problem == 0 ? 0 : fail(problem);
}

/* ---- lists of folders ---- */

struct list {
    bool is_used;
    unsigned host;
    bool of_log;
    size_t next;
    struct dirent entry;
};

static struct list lists[LISTS_MAX];

DIR *__real_opendir(const char *path);
struct dirent *__real_readdir(DIR *directory);
int __real_closedir(DIR *directory);

static struct list *list_of(DIR *directory)
{
    for (size_t i = 0; i < LISTS_MAX; i++)
        if ((DIR *)&lists[i] == directory)
            return &lists[i];
    return NULL;
}

DIR *__wrap_opendir(const char *path)
{
    unsigned host;
    const char *text;
    if (!split(path, &host, &text))
        return __real_opendir(path);
    size_t i = 0;
    while (i < LISTS_MAX && lists[i].is_used)
        i++;
    ASSERT(i < LISTS_MAX && is_folder(text));
    lists[i] = (struct list){.is_used = true, .host = host, .of_log = text[0] != '\0'};
    return (DIR *)&lists[i];
}

struct dirent *__wrap_readdir(DIR *directory)
{
    struct list *list = list_of(directory);
    if (list == NULL)
        return __real_readdir(directory);
    while (list->next < disks[list->host].names_used) {
        const struct name *name = &disks[list->host].names[list->next++];
        if (name->now == NULL || is_in_log(name->text) != list->of_log || is_set_aside(name->text))
            continue;
        const char *text = name->text + (list->of_log ? sizeof LOG_FOLDER : 0);
        memcpy(list->entry.d_name, text, strlen(text) + 1);
        return &list->entry;
    }
    return NULL;
}

int __wrap_closedir(DIR *directory)
{
    struct list *list = list_of(directory);
    if (list == NULL)
        return __real_closedir(directory);
    list->is_used = false;
    return 0;
}

int __wrap_flock(int number, int operation)
{
    struct descriptor *descriptor = descriptor_of(number);
    if (descriptor == NULL)
        return __real_flock(number, operation);
    if (descriptor->file->lock >= 0 && descriptor->file->lock != number)
        return fail(EWOULDBLOCK);
    descriptor->file->lock = number;
    return 0;
}

int __wrap_statvfs(const char *path, struct statvfs *out)
{
    unsigned host;
    const char *text;
    if (!split(path, &host, &text))
        return __real_statvfs(path, out);
    bool is_full = disks[host].fails_until > sim_now() && disks[host].failure == ENOSPC;
    *out = (struct statvfs){.f_frsize = PAGE, .f_bavail = is_full ? 0 : (fsblkcnt_t)1 << 24};
    return 0;
}

char *__wrap_realpath(const char *path, char *out)
{
    unsigned host;
    const char *text;
    if (!split(path, &host, &text))
        return __real_realpath(path, out);
    struct stat found;
    return __wrap_stat(path, &found) == 0 ? strdup(path) : NULL;
}

/* A mapping is the file's first page itself, and never larger. */
void *__wrap_mmap(void *address, size_t size, int protection, int flags, int number, off_t offset)
{
    struct descriptor *descriptor = descriptor_of(number);
    if (descriptor == NULL)
        return __real_mmap(address, size, protection, flags, number, offset);
    ASSERT(size <= PAGE && offset == 0);
    descriptor->file->mapped = page_of(descriptor->file, 0)->now;
    return descriptor->file->mapped;
}

int __wrap_munmap(void *address, size_t size)
{
    for (struct disk *disk = disks; disk < disks + HOSTS_MAX; disk++)
        for (struct name *name = disk->names; name < disk->names + disk->names_used; name++)
            if (name->now != NULL && name->now->mapped == address) {
                name->now->mapped = NULL;
                return 0;
            }
    return __real_munmap(address, size);
}

void disk_keep_mapped(unsigned host)
{
    for (struct name *name = disks[host].names; name < end_of_names(host); name++) {
        struct file *file = name->now;
        if (file == NULL || file->mapped == NULL || file->is_kept)
            continue;
        memcpy(file->kept, file->mapped, PAGE);
        file->is_kept = true;
    }
}

void disk_restore_mapped(unsigned host)
{
    for (struct name *name = disks[host].names; name < end_of_names(host); name++) {
        struct file *file = name->now;
        if (file == NULL || !file->is_kept)
            continue;
        memcpy(page_of(file, 0)->now, file->kept, PAGE);
        file->is_kept = false;
    }
}

/* ---- SQLite's VFS ---- */

struct handle {
    sqlite3_file base;
    struct file *file;
    int level;
    bool
        syncs_names; /* it made the file: its first sync is of the folder, too, as in SQLite's own VFS */
    bool has_shm;
    unsigned shm_shared; /* bit for each lock that this handle has */
    unsigned shm_exclusive;
    char remove_at_close[NAME_SIZE]; /* "": stays */
};

static struct handle *self(sqlite3_file *base)
{
    return (struct handle *)base;
}

static int code_of(int number, int otherwise)
{
    return number == 0 ? SQLITE_OK : number == ENOSPC ? SQLITE_FULL : otherwise;
}

static int vfs_read(sqlite3_file *base, void *bytes, int size, sqlite3_int64 offset)
{
    size_t got = read_bytes(self(base)->file, bytes, (size_t)size, (size_t)offset);
    if (got == (size_t)size)
        return SQLITE_OK;
    memset((uint8_t *)bytes + got, 0, (size_t)size - got);
    return SQLITE_IOERR_SHORT_READ;
}

static int vfs_write(sqlite3_file *base, const void *bytes, int size, sqlite3_int64 offset)
{
    struct file *file = self(base)->file;
    int problem = problem_of_space(file->host);
    if (problem != 0)
        return code_of(problem, SQLITE_IOERR_WRITE);
    spend(WRITE_US);
    write_bytes(file, bytes, (size_t)size, (size_t)offset);
    return SQLITE_OK;
}

static int vfs_truncate(sqlite3_file *base, sqlite3_int64 size)
{
    struct file *file = self(base)->file;
    int problem = problem_of(file->host, true);
    if (problem != 0 && problem != ENOSPC)
        return SQLITE_IOERR_TRUNCATE;
    truncate_file(file, (size_t)size);
    return SQLITE_OK;
}

static int vfs_sync(sqlite3_file *base, int flags)
{
    (void)flags;
    struct file *file = self(base)->file;
    int problem = problem_of_space(file->host);
    if (problem != 0)
        return SQLITE_IOERR_FSYNC;
    spend(SYNC_US + (sim_chance(30) ? sim_below(10 * MS) : 0));
    sync_file(file);
    if (self(base)->syncs_names)
        sync_names(file->host, false);
    self(base)->syncs_names = false;
    return SQLITE_OK;
}

static int vfs_size(sqlite3_file *base, sqlite3_int64 *size)
{
    *size = (sqlite3_int64)self(base)->file->size;
    return SQLITE_OK;
}

/* The levels are those of "File Locking And Concurrency In SQLite Version 3". */
static int vfs_unlock(sqlite3_file *base, int level)
{
    struct handle *handle = self(base);
    struct file *file = handle->file;
    if (handle->level <= level)
        return SQLITE_OK;
    if (handle->level == SQLITE_LOCK_EXCLUSIVE)
        file->is_exclusive = false;
    if (handle->level >= SQLITE_LOCK_PENDING)
        file->is_pending = false;
    if (handle->level >= SQLITE_LOCK_RESERVED)
        file->is_reserved = false;
    if (level == SQLITE_LOCK_NONE)
        file->shared--;
    handle->level = level;
    return SQLITE_OK;
}

static int vfs_lock(sqlite3_file *base, int level)
{
    struct handle *handle = self(base);
    struct file *file = handle->file;
    if (handle->level >= level)
        return SQLITE_OK;
    if (handle->level == SQLITE_LOCK_NONE) {
        if (file->is_pending || file->is_exclusive)
            return SQLITE_BUSY;
        file->shared++;
        handle->level = SQLITE_LOCK_SHARED;
    }
    if (level == SQLITE_LOCK_RESERVED) {
        if (file->is_reserved)
            return SQLITE_BUSY;
        file->is_reserved = true;
        handle->level = level;
    }
    if (level == SQLITE_LOCK_EXCLUSIVE) {
        if (handle->level < SQLITE_LOCK_RESERVED && (file->is_reserved || file->is_pending))
            return SQLITE_BUSY;
        file->is_reserved = file->is_pending = true;
        handle->level = SQLITE_LOCK_PENDING;
        if (file->shared > 1)
            return SQLITE_BUSY;
        file->is_exclusive = true;
        handle->level = level;
    }
    return SQLITE_OK;
}

static int vfs_check_lock(sqlite3_file *base, int *held)
{
    *held = self(base)->file->is_reserved;
    return SQLITE_OK;
}

static int vfs_control(sqlite3_file *base, int operation, void *argument)
{
    (void)base;
    (void)operation;
    (void)argument;
    return SQLITE_NOTFOUND;
}

static int vfs_sector(sqlite3_file *base)
{
    (void)base;
    return PAGE;
}

static int vfs_characteristics(sqlite3_file *base)
{
    (void)base;
    return SQLITE_IOCAP_POWERSAFE_OVERWRITE; /* as SQLite says of Unix */
}

static int vfs_shm_map(sqlite3_file *base, int region, int size, int extend, void volatile **out)
{
    struct handle *handle = self(base);
    struct file *file = handle->file;
    ASSERT(region < SHM_REGIONS);
    *out = NULL;
    if (!handle->has_shm) {
        handle->has_shm = true;
        file->shm_users++;
    }
    if (file->regions[region] == NULL && extend != 0)
        file->regions[region] = calloc(1, (size_t)size);
    *out = file->regions[region];
    return SQLITE_OK;
}

static int vfs_shm_lock(sqlite3_file *base, int first, int count, int flags)
{
    struct handle *handle = self(base);
    struct file *file = handle->file;
    for (int i = first; i < first + count; i++) {
        unsigned bit = 1u << i;
        if ((flags & SQLITE_SHM_UNLOCK) != 0)
            continue;
        unsigned others = file->shm_shared[i] - ((handle->shm_shared & bit) != 0);
        bool is_taken = file->shm_exclusive[i] && (handle->shm_exclusive & bit) == 0;
        if (is_taken || ((flags & SQLITE_SHM_EXCLUSIVE) != 0 && others > 0))
            return SQLITE_BUSY;
    }
    for (int i = first; i < first + count; i++) {
        unsigned bit = 1u << i;
        unsigned *mine =
            (flags & SQLITE_SHM_SHARED) != 0 ? &handle->shm_shared : &handle->shm_exclusive;
        bool has = (*mine & bit) != 0;
        bool wants = (flags & SQLITE_SHM_LOCK) != 0;
        if (has == wants)
            continue;
        *mine ^= bit;
        if ((flags & SQLITE_SHM_SHARED) != 0)
            file->shm_shared[i] += wants ? 1u : -1u;
        else
            file->shm_exclusive[i] = wants;
    }
    return SQLITE_OK;
}

static void vfs_shm_barrier(sqlite3_file *base)
{
    (void)base;
}

static int vfs_shm_unmap(sqlite3_file *base, int remove)
{
    (void)remove; /* it goes with its last user: the next one recovers it from the log */
    struct handle *handle = self(base);
    struct file *file = handle->file;
    if (!handle->has_shm)
        return SQLITE_OK;
    for (int i = 0; i < SHM_LOCKS; i++) {
        if ((handle->shm_shared & 1u << i) != 0)
            file->shm_shared[i]--;
        if ((handle->shm_exclusive & 1u << i) != 0)
            file->shm_exclusive[i] = false;
    }
    handle->shm_shared = handle->shm_exclusive = 0;
    handle->has_shm = false;
    if (--file->shm_users > 0)
        return SQLITE_OK;
    for (size_t i = 0; i < SHM_REGIONS; i++) {
        free(file->regions[i]);
        file->regions[i] = NULL;
    }
    return SQLITE_OK;
}

static int vfs_close(sqlite3_file *base)
{
    struct handle *handle = self(base);
    (void)vfs_shm_unmap(base, 0);
    (void)vfs_unlock(base, SQLITE_LOCK_NONE);
    if (handle->remove_at_close[0] != '\0')
        (void)remove_name(handle->file->host, handle->remove_at_close);
    let_go(handle->file);
    return SQLITE_OK;
}

static int vfs_open(sqlite3_vfs *vfs, const char *path, sqlite3_file *base, int flags, int *out)
{
    (void)vfs;
    static const sqlite3_io_methods methods = {
        .iVersion = 2,
        .xClose = vfs_close,
        .xRead = vfs_read,
        .xWrite = vfs_write,
        .xTruncate = vfs_truncate,
        .xSync = vfs_sync,
        .xFileSize = vfs_size,
        .xLock = vfs_lock,
        .xUnlock = vfs_unlock,
        .xCheckReservedLock = vfs_check_lock,
        .xFileControl = vfs_control,
        .xSectorSize = vfs_sector,
        .xDeviceCharacteristics = vfs_characteristics,
        .xShmMap = vfs_shm_map,
        .xShmLock = vfs_shm_lock,
        .xShmBarrier = vfs_shm_barrier,
        .xShmUnmap = vfs_shm_unmap,
    };
    struct handle *handle = self(base);
    *handle = (struct handle){.level = SQLITE_LOCK_NONE};
    unsigned host = sim_current() == NULL ? 0 : sim_current()->host;
    const char *text = NULL;
    if (path != NULL && !split(path, &host, &text))
        return SQLITE_CANTOPEN;
    struct name *name = path == NULL ? NULL : find_name(host, text);
    struct file *file = name == NULL ? NULL : name->now;
    if (file != NULL && (flags & SQLITE_OPEN_CREATE) != 0 && (flags & SQLITE_OPEN_EXCLUSIVE) != 0)
        return SQLITE_CANTOPEN;
    if (file == NULL && path != NULL) {
        int problem = (flags & SQLITE_OPEN_CREATE) != 0 ? problem_of_space(host) : ENOENT;
        if (problem != 0)
            return code_of(problem, SQLITE_CANTOPEN);
    }
    handle->syncs_names =
        file == NULL && (flags & (SQLITE_OPEN_WAL | SQLITE_OPEN_MAIN_JOURNAL)) != 0;
    if (file == NULL)
        file = new_file(host);
    file->references++;
    if (path != NULL && name == NULL)
        name = need_name(host, text);
    if (path != NULL && name->now == NULL)
        set_now(name, file);
    if (path != NULL && (flags & SQLITE_OPEN_DELETEONCLOSE) != 0)
        (void)snprintf(handle->remove_at_close, NAME_SIZE, "%s", text);
    handle->file = file;
    handle->base.pMethods = &methods;
    if (out != NULL)
        *out = flags;
    return SQLITE_OK;
}

static int vfs_delete(sqlite3_vfs *vfs, const char *path, int sync_folder)
{
    (void)vfs;
    unsigned host;
    const char *text;
    if (!split(path, &host, &text))
        return SQLITE_IOERR_DELETE;
    if (remove_name(host, text) != 0)
        return errno == ENOENT ? SQLITE_IOERR_DELETE_NOENT : SQLITE_IOERR_DELETE;
    if (sync_folder != 0)
        sync_names(host, false);
    return SQLITE_OK;
}

static int vfs_access(sqlite3_vfs *vfs, const char *path, int flags, int *out)
{
    (void)vfs;
    (void)flags;
    unsigned host;
    const char *text;
    struct name *name = split(path, &host, &text) ? find_name(host, text) : NULL;
    *out = name != NULL && name->now != NULL && name->now->size > 0;
    return SQLITE_OK;
}

static int vfs_full_path(sqlite3_vfs *vfs, const char *path, int size, char *out)
{
    (void)vfs;
    (void)sqlite3_snprintf(size, out, "%s", path);
    return SQLITE_OK;
}

static int vfs_randomness(sqlite3_vfs *vfs, int size, char *out)
{
    (void)vfs;
    for (int i = 0; i < size; i++)
        out[i] = (char)sim_draw();
    return size;
}

static int vfs_sleep(sqlite3_vfs *vfs, int us)
{
    (void)vfs;
    spend((uint64_t)us);
    return us;
}

static int vfs_time(sqlite3_vfs *vfs, sqlite3_int64 *out)
{
    (void)vfs;
    *out = INT64_C(210866760000000) + (sqlite3_int64)(sim_now() / 1000);
    return SQLITE_OK;
}

static int vfs_last_error(sqlite3_vfs *vfs, int size, char *out)
{
    (void)vfs;
    (void)size;
    (void)out;
    return 0;
}

void disk_start(void)
{
    static sqlite3_vfs vfs = {
        .iVersion = 2,
        .szOsFile = sizeof(struct handle),
        .mxPathname = 512,
        .zName = "simulation",
        .xOpen = vfs_open,
        .xDelete = vfs_delete,
        .xAccess = vfs_access,
        .xFullPathname = vfs_full_path,
        .xRandomness = vfs_randomness,
        .xSleep = vfs_sleep,
        .xCurrentTimeInt64 = vfs_time,
        .xGetLastError = vfs_last_error,
    };
    int code = sqlite3_config(SQLITE_CONFIG_MEMSTATUS, 0);
    if (code == SQLITE_OK)
        code = sqlite3_vfs_register(&vfs, 1);
    ASSERT(code == SQLITE_OK);
}

/* ---- what goes wrong ---- */

void disk_stall(unsigned host, uint64_t until)
{
    disks[host].stalled_until = until;
}

uint64_t disk_stalled_until(unsigned host)
{
    return disks[host].stalled_until;
}

void disk_fail(unsigned host, uint64_t until, int number)
{
    disks[host].fails_until = until;
    disks[host].failure = number;
}

bool disk_fails_now(unsigned host)
{
    return disks[host].fails_until > sim_now();
}

void disk_fill(unsigned host, uint64_t after, uint64_t count)
{
    disks[host].writes_before_full = after;
    disks[host].writes_to_refuse = count;
}

uint64_t disk_refused(unsigned host)
{
    return disks[host].refused;
}

void disk_flip(unsigned host, const char *text, uint64_t offset, unsigned bit)
{
    struct name *name = find_name(host, text);
    ASSERT(name != NULL && name->now != NULL && offset < name->now->size);
    struct page *page = page_of(name->now, offset / PAGE);
    page->now[offset % PAGE] ^= (uint8_t)(1u << bit);
    if (page->durable != NULL)
        page->durable[offset % PAGE] = page->now[offset % PAGE];
    world.stats.flips++;
}

void disk_lose_power(unsigned host)
{
    bool may_flip = (world.options.faults & FAULT_FLIP) != 0;
    bool loses_names = sim_chance(500); /* the folder's journal is written as a whole, or not */
    for (struct name *name = disks[host].names; name < end_of_names(host); name++) {
        if (name->text[0] == '\0')
            continue;
        if (loses_names && name->now != name->durable)
            set_now(name, name->durable);
        if (name->now != NULL)
            lose_unsynced(name->now, may_flip && is_in_log(name->text));
    }
    sync_names(host, false);
    sync_names(host, true);
}

void disk_empty(unsigned host)
{
    for (struct name *name = disks[host].names; name < end_of_names(host); name++) {
        if (name->text[0] != '\0')
            set_now(name, NULL);
    }
    sync_names(host, false);
    sync_names(host, true);
}

void disk_reset(void)
{
    for (unsigned host = 0; host < HOSTS_MAX; host++)
        disk_empty(host);
    memset(disks, 0, sizeof disks);
    last_inode = 0;
    sqlite3_randomness(0, NULL); /* seeded anew from the run's */
}
