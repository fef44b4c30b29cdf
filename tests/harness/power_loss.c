/* SPDX-License-Identifier: MIT */
#include "harness/power_loss.h"

#include "harness/power_journal.h"
#include "support/test.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

/* How a loss of power treats what is not synced in one file or folder. */
enum fate { FATE_LOSE_ALL, FATE_KEEP_ALL, FATE_MIXED, FATE_MIXED_TOO, FATES };
enum outcome { LOSE, KEEP, TEAR, OUTCOMES };

struct loss {
    const struct power *power;
    struct power_counts *counts;
};

uint64_t power_random(uint64_t *state)
{
    uint64_t x = *state += 0x9e3779b97f4a7c15u;
    x = (x ^ x >> 30) * 0xbf58476d1ce4e5b9u;
    x = (x ^ x >> 27) * 0x94d049bb133111ebu;
    return x ^ x >> 31;
}

static _Noreturn void fail_on(const struct loss *loss, const char *what, const char *path)
{
    process_group_fail(loss->power->node->group, "loss of power: cannot %s %s: %s", what, path,
                       strerror(errno));
}

/* A sequence of its own for each file, so that the order in which the folder lists them does not matter. */
static uint64_t seed_of(const struct loss *loss, const char *path)
{
    uint64_t sum = loss->power->seed + loss->power->losses * 0x10001u;
    for (const char *at = path + strlen(loss->power->root); *at != '\0'; at++)
        sum = (sum ^ (uint8_t)*at) * 0x100000001b3u;
    return sum;
}

/* malloc, the caller's; NULL: there is no such file. */
static uint8_t *read_file(const struct loss *loss, const char *path, size_t *size)
{
    struct stat found;
    int file = open(path, O_RDONLY | O_CLOEXEC);
    if (file < 0 && errno == ENOENT)
        return NULL;
    if (file < 0 || fstat(file, &found) != 0)
        fail_on(loss, "open", path);
    *size = (size_t)found.st_size;
    uint8_t *bytes = malloc(*size + 1);
    assert_non_null(bytes);
    if (read(file, bytes, *size) != (ssize_t)*size)
        fail_on(loss, "read", path);
    (void)close(file);
    return bytes;
}

/* ---- content of one file ---- */

struct write {
    struct power_change change;
    const uint8_t *old; /* change.kept bytes */
    uint8_t *bytes;     /* that the file had there, after this change and before the next one */
    size_t size;
};

struct writes {
    struct write *list;
    size_t count;
    const char *path;
    int file;
};

/* Whether a whole record is at `at`. A server that was killed may have left half a record at the end. */
static bool has_record(const uint8_t *journal, size_t size, size_t at, struct power_change *change)
{
    if (size - at < sizeof *change)
        return false;
    memcpy(change, journal + at, sizeof *change);
    return change->kept <= size - at - sizeof *change;
}

static void collect(struct writes *writes, const uint8_t *journal, size_t size)
{
    struct power_change change;
    uint64_t durable = 0;
    writes->list = calloc(size / sizeof change + 1, sizeof *writes->list);
    assert_non_null(writes->list);
    for (size_t at = 0; has_record(journal, size, at, &change); at += sizeof change + change.kept)
        if (change.kind == POWER_SYNC)
            durable = change.offset;
        else
            writes->list[writes->count++] =
                (struct write){.change = change, .old = journal + at + sizeof change};
    size_t synced = 0;
    while (synced < writes->count &&
           (size_t)(writes->list[synced].old - journal) - sizeof change < durable)
        synced++;
    writes->count -= synced;
    memmove(writes->list, writes->list + synced, writes->count * sizeof *writes->list);
}

static void take_back(const struct loss *loss, struct writes *writes)
{
    for (size_t i = writes->count; i-- > 0;) {
        struct write *write = &writes->list[i];
        const struct power_change *change = &write->change;
        if (change->kind == POWER_WRITE) {
            write->bytes = malloc(change->size);
            assert_non_null(write->bytes);
            ssize_t size = pread(writes->file, write->bytes, change->size, (off_t)change->offset);
            if (size < 0)
                fail_on(loss, "read", writes->path);
            write->size = (size_t)size;
        }
        if (ftruncate(writes->file, (off_t)change->old_size) != 0 ||
            pwrite(writes->file, write->old, change->kept, (off_t)change->offset) !=
                (ssize_t)change->kept)
            fail_on(loss, "restore", writes->path);
    }
}

/* Writes the bytes of the sectors that the sequence chooses; state NULL: all of them. */
static void write_sectors(const struct loss *loss, const struct writes *writes,
                          const struct write *write, uint64_t *state)
{
    uint64_t at = write->change.offset;
    uint64_t end = at + write->size;
    while (at < end) {
        uint64_t next = (at / POWER_SECTOR_BYTES + 1) * POWER_SECTOR_BYTES;
        next = next < end ? next : end;
        const uint8_t *bytes = write->bytes + (at - write->change.offset);
        if ((state == NULL || power_random(state) % 2 == 0) &&
            pwrite(writes->file, bytes, next - at, (off_t)at) != (ssize_t)(next - at))
            fail_on(loss, "write", writes->path);
        at = next;
    }
}

static enum outcome choose(enum fate fate, uint64_t *state)
{
    uint64_t number = power_random(state);
    return fate == FATE_LOSE_ALL   ? LOSE
           : fate == FATE_KEEP_ALL ? KEEP
                                   : (enum outcome)(number % OUTCOMES);
}

/* The disk had the content before all of them; some reach it. */
static void do_again(const struct loss *loss, struct writes *writes, uint64_t *state)
{
    enum fate fate = (enum fate)(power_random(state) % FATES);
    unsigned made[OUTCOMES] = {0};
    for (size_t i = 0; i < writes->count; i++) {
        const struct write *write = &writes->list[i];
        enum outcome outcome = choose(fate, state);
        if (write->change.kind == POWER_RESIZE && outcome == TEAR)
            outcome = LOSE;
        made[outcome]++;
        if (outcome == LOSE)
            continue;
        if (write->change.kind == POWER_WRITE)
            write_sectors(loss, writes, write, outcome == TEAR ? state : NULL);
        else if (ftruncate(writes->file, (off_t)write->change.offset) != 0)
            fail_on(loss, "resize", writes->path);
    }
    loss->counts->lost += made[LOSE];
    loss->counts->kept += made[KEEP];
    loss->counts->torn += made[TEAR];
    if (writes->count > 0)
        process_group_note(loss->power->node->group,
                           "loss of power: %s: %u changes kept, %u lost, %u torn", writes->path,
                           made[KEEP], made[LOSE], made[TEAR]);
}

static void name_journal(const struct loss *loss, const struct stat *found,
                         char path[static POWER_JOURNAL_PATH_SIZE])
{
    (void)snprintf(path, POWER_JOURNAL_PATH_SIZE, "%s/file-%llu", loss->power->journal,
                   (unsigned long long)found->st_ino);
}

/* A file with two names is treated once, because its journal goes. */
static void treat_file(const struct loss *loss, const char *path, const struct stat *found)
{
    char name[POWER_JOURNAL_PATH_SIZE];
    size_t size = 0;
    name_journal(loss, found, name);
    uint8_t *journal = read_file(loss, name, &size);
    if (journal == NULL)
        return;
    struct writes writes = {.path = path, .file = open(path, O_RDWR | O_CLOEXEC)};
    uint64_t state = seed_of(loss, path);
    if (writes.file < 0 || unlink(name) != 0)
        fail_on(loss, "open", path);
    collect(&writes, journal, size);
    take_back(loss, &writes);
    do_again(loss, &writes, &state);
    (void)close(writes.file);
    for (size_t i = 0; i < writes.count; i++)
        free(writes.list[i].bytes);
    free(writes.list);
    free(journal);
}

static bool is_shared_index(const char *path)
{
    size_t size = strlen(path);
    return size > 4 && strcmp(path + size - 4, "-shm") == 0;
}

static void treat_folder(const struct loss *loss, const char *folder)
{
    const struct dirent *entry;
    DIR *directory = opendir(folder);
    if (directory == NULL)
        fail_on(loss, "open", folder);
    while ((entry = readdir(directory)) != NULL) {
        char path[POWER_JOURNAL_PATH_SIZE + 256];
        struct stat found;
        (void)snprintf(path, sizeof path, "%s/%s", folder, entry->d_name);
        if (entry->d_name[0] == '.' || lstat(path, &found) != 0)
            continue;
        if (S_ISDIR(found.st_mode))
            treat_folder(loss, path);
        else if (is_shared_index(path))
            (void)unlink(path);
        else if (S_ISREG(found.st_mode))
            treat_file(loss, path, &found);
    }
    (void)closedir(directory);
}

/* ---- names ---- */

static void take_back_name(const struct loss *loss, const struct power_name *name)
{
    char kept[POWER_JOURNAL_PATH_SIZE];
    struct stat found;
    const char *gone = name->kind == POWER_RENAMED ? name->new_path : name->path;
    (void)snprintf(kept, sizeof kept, "%s/kept-%llu", loss->power->journal,
                   (unsigned long long)name->kept);
    int result = 0;
    if (name->kind == POWER_MADE)
        result = remove(name->path);
    else if (name->kind == POWER_RENAMED && lstat(name->path, &found) != 0)
        result = rename(name->new_path, name->path);
    if (result != 0 && errno != ENOENT && errno != ENOTEMPTY)
        fail_on(loss, "take back", name->path);
    if (name->kept != 0 && link(kept, gone) != 0 && errno != EEXIST)
        fail_on(loss, "bring back", gone);
}

static bool is_durable(const struct power_name *names, size_t count, size_t i)
{
    for (size_t j = i + 1; j < count; j++)
        if (names[j].kind == POWER_NAMES_SYNC && names[j].folder == names[i].folder &&
            names[j].covered > i * sizeof *names)
            return true;
    return false;
}

/* Sets which changes of one folder's names are lost: all from a chosen one on. */
static void choose_in_folder(const struct loss *loss, const struct power_name *names, size_t count,
                             uint64_t folder, bool *is_lost, uint64_t *state)
{
    size_t open = 0;
    for (size_t i = 0; i < count; i++)
        open += names[i].folder == folder && is_lost[i];
    enum fate fate = (enum fate)(power_random(state) % FATES);
    size_t kept = fate == FATE_LOSE_ALL   ? 0
                  : fate == FATE_KEEP_ALL ? open
                                          : power_random(state) % (open + 1);
    loss->counts->names_kept += (unsigned)kept;
    loss->counts->names_lost += (unsigned)(open - kept);
    for (size_t i = 0; i < count && kept > 0; i++)
        if (names[i].folder == folder && is_lost[i]) {
            is_lost[i] = false;
            kept--;
        }
}

static void treat_names(const struct loss *loss)
{
    char path[POWER_JOURNAL_PATH_SIZE];
    size_t size = 0;
    (void)snprintf(path, sizeof path, "%s/names", loss->power->journal);
    struct power_name *names = (struct power_name *)(void *)read_file(loss, path, &size);
    size_t count = names == NULL ? 0 : size / sizeof *names;
    bool *is_lost = calloc(count + 1, sizeof *is_lost);
    bool *is_chosen = calloc(count + 1, sizeof *is_chosen);
    uint64_t state = seed_of(loss, loss->power->root);
    assert_true(is_lost != NULL && is_chosen != NULL);
    for (size_t i = 0; i < count; i++)
        is_lost[i] = names[i].kind != POWER_NAMES_SYNC && !is_durable(names, count, i);
    for (size_t i = 0; i < count; i++) {
        if (is_chosen[i] || !is_lost[i])
            continue;
        for (size_t j = i; j < count; j++)
            is_chosen[j] = is_chosen[j] || names[j].folder == names[i].folder;
        choose_in_folder(loss, names, count, names[i].folder, is_lost, &state);
    }
    for (size_t i = count; i-- > 0;)
        if (is_lost[i]) {
            process_group_note(
                loss->power->node->group, "loss of power: %s %s",
                names[i].kind == POWER_MADE ? "never made:" : "as before:", names[i].path);
            take_back_name(loss, &names[i]);
        }
    free(is_lost);
    free(is_chosen);
    free(names);
}

/* ---- journals ---- */

static void each_journal(const struct loss *loss,
                         void (*visit)(const struct loss *loss, const char *path))
{
    const struct dirent *entry;
    DIR *directory = opendir(loss->power->journal);
    if (directory == NULL)
        fail_on(loss, "open", loss->power->journal);
    while ((entry = readdir(directory)) != NULL) {
        char path[POWER_JOURNAL_PATH_SIZE + 256];
        (void)snprintf(path, sizeof path, "%s/%s", loss->power->journal, entry->d_name);
        if (entry->d_name[0] != '.')
            visit(loss, path);
    }
    (void)closedir(directory);
}

static void remove_journal(const struct loss *loss, const char *path)
{
    if (unlink(path) != 0)
        fail_on(loss, "remove", path);
}

static void cut_half_record(const struct loss *loss, const char *path)
{
    const char *name = path + strlen(loss->power->journal) + 1;
    bool is_names = strcmp(name, "names") == 0;
    if (!is_names && strncmp(name, "file-", 5) != 0)
        return;
    struct power_change change;
    size_t size = 0;
    size_t whole = 0;
    uint8_t *journal = read_file(loss, path, &size);
    assert_non_null(journal);
    if (is_names)
        whole = size - size % sizeof(struct power_name);
    while (!is_names && has_record(journal, size, whole, &change))
        whole += sizeof change + change.kept;
    free(journal);
    if (whole < size && truncate(path, (off_t)whole) != 0)
        fail_on(loss, "cut", path);
}

void power_keep(const struct power *power)
{
    const struct loss loss = {.power = power};
    assert_true(process_ended(power->node->process));
    each_journal(&loss, cut_half_record);
}

void power_lose(struct power *power, struct power_counts *counts)
{
    const struct loss loss = {.power = power, .counts = counts};
    assert_true(process_ended(power->node->process));
    process_group_note(power->node->group, "server %u loses power", power->node->id);
    treat_names(&loss);
    treat_folder(&loss, power->root);
    each_journal(&loss, remove_journal);
    power->losses++;
}

/* ---- work ---- */

static void count_file(const struct loss *loss, const struct stat *found, struct power_work *work)
{
    char path[POWER_JOURNAL_PATH_SIZE];
    struct power_change change;
    size_t size = 0;
    bool is_in_use = false;
    name_journal(loss, found, path);
    uint8_t *journal = read_file(loss, path, &size);
    for (size_t at = 0; journal != NULL && has_record(journal, size, at, &change);
         at += sizeof change + change.kept) {
        bool is_write =
            change.kind == POWER_WRITE && change.offset + change.size <= change.old_size;
        is_in_use = is_in_use || is_write;
        work->writes += is_write;
        work->syncs += is_in_use && change.kind == POWER_SYNC;
    }
    free(journal);
}

void power_count_work(const struct power *power, const char *folder, struct power_work *work)
{
    const struct loss loss = {.power = power};
    const struct dirent *entry;
    char path[POWER_JOURNAL_PATH_SIZE];
    (void)snprintf(path, sizeof path, "%s/%s", power->root, folder);
    DIR *directory = opendir(path);
    if (directory == NULL)
        fail_on(&loss, "open", path);
    while ((entry = readdir(directory)) != NULL) {
        struct stat found;
        if (fstatat(dirfd(directory), entry->d_name, &found, 0) == 0 && S_ISREG(found.st_mode))
            count_file(&loss, &found, work);
    }
    (void)closedir(directory);
}

/* ---- start ---- */

static void set_environment(void *context)
{
    const struct power *power = context;
    (void)setenv("LD_PRELOAD", power->library, 1);
    (void)setenv(POWER_ROOT, power->root, 1);
    (void)setenv(POWER_JOURNAL, power->journal, 1);
}

void power_attach(struct power *power, struct node *node, const char *library, uint64_t seed)
{
    char name[64];
    *power = (struct power){.node = node, .library = library, .seed = seed};
    (void)snprintf(name, sizeof name, "data/%u", node->id);
    power->root = process_group_path(node->group, name);
    (void)snprintf(name, sizeof name, "power-%u", node->id);
    power->journal = process_group_path(node->group, name);
    if (mkdir(power->journal, 0700) != 0)
        fail_msg("cannot make %s", power->journal);
    node->prepare = set_environment;
    node->context = power;
}
