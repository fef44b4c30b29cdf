/* SPDX-License-Identifier: MIT */
/* A snapshot takes the place of the database of a node that went another way: what is the node's
 * own goes over, and whatever fails or dies, the folder holds the old or the new one, whole. */
#include "store/store_internal.h"

#include "support/damage.h"
#include "support/faulty_calls.h"
#include "support/test.h"
#include "test_store_support.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <sys/wait.h>
#include <unistd.h>

#define COMMON 6  /* batches that both have */
#define MASTER 20 /* batches of the master */
#define OWN_EPOCH (UINT64_C(100) << 16 | TEST_NODE)
#define OWN_ENTRIES 4
#define MARKED_ROOM 99
#define OLD_ORPHAN 2 /* the id of the one that was there before */

static const uint8_t cluster[STORE_CLUSTER_BYTES] = {1, 2, 3};

/* What each test starts from: the closed database of a node with the common batches, and a
 * snapshot of the master's. */
struct scene {
    char folder[TEST_PATH_SIZE];
    char path[TEST_PATH_SIZE]; /* of the node's database */
    char file[TEST_PATH_SIZE]; /* the copy, beside the database */
    bool has_links;            /* hard ones */
};

static bool suffixed_exists(const char *path, const char *suffix)
{
    char name[TEST_PATH_SIZE + 16];
    (void)snprintf(name, sizeof name, "%s%s", path, suffix);
    return file_exists(name);
}

/* No file of an installation is left beside the database. */
static void expect_tidy(const struct scene *scene)
{
    assert_false(suffixed_exists(scene->path, STORE_NEW_SUFFIX));
    assert_false(suffixed_exists(scene->path, STORE_OLD_SUFFIX));
}

static void take_masters(const char *path)
{
    char folder[TEST_PATH_SIZE];
    make_folder(folder);
    struct store_options options = {.folder = folder, .node_id = TEST_NODE + 1};
    struct store *store = NULL;
    struct error_text why;
    struct log_position position;
    assert_int_equal(store_open(&store, &options, &why), OK);
    assert_ok(store, store_set_cluster(store, cluster));
    assert_ok(store, store_set_promised(store, UINT64_MAX));
    work_apply_all(store, 1, MASTER);
    assert_ok(store, store_snapshot_take(store, path, &position));
    store_close(store);
    remove_folder(folder);
}

static void fill_common(struct store *store)
{
    struct log_entry row = {
        .epoch = 5, .first_seq = 6, .last_seq = 7, .bytes = (const uint8_t *)"o", .size = 1};
    assert_ok(store, store_set_cluster(store, cluster));
    work_apply_all(store, 1, COMMON);
    assert_ok(store, store_add_orphan(store, &row));
    assert_ok(store, store_add_orphan(store, &row));
    assert_ok(store, store_drop_orphans(store, 1, NULL));
}

static const struct log_entry own_entries[OWN_ENTRIES] = {
    {.first_seq = 1, .last_seq = 2, .kind = LOG_ENTRY_CHAT, .size = 30},
    {.first_seq = 3, .last_seq = 3, .kind = LOG_ENTRY_MEMBERS, .size = 40},
    {.first_seq = 4, .last_seq = 4, .kind = LOG_ENTRY_CHAT, .size = 9000},
    {.first_seq = 5, .last_seq = 7, .kind = LOG_ENTRY_CHAT, .size = 0},
};

static struct log_entry own_entry(size_t index)
{
    static const uint8_t bytes[9000] = {7, 7, 7};
    struct log_entry row = own_entries[index];
    row.epoch = OWN_EPOCH;
    row.first_seq += work_last_seq(COMMON);
    row.last_seq += work_last_seq(COMMON);
    row.bytes = bytes;
    return row;
}

static void expect_entry(const struct log_entry *row, size_t index)
{
    struct log_entry expected = own_entry(index);
    assert_int_equal(row->epoch, expected.epoch);
    assert_int_equal(row->first_seq, expected.first_seq);
    assert_int_equal(row->last_seq, expected.last_seq);
    assert_int_equal(row->size, expected.size);
    assert_memory_equal(row->bytes, expected.bytes, expected.size);
}

static uint64_t own_last_seq(void)
{
    return own_entry(OWN_ENTRIES - 1).last_seq;
}

/* Writes the own entries, or what the database lacks of those that the log has. */
static enum error write_own_entries(struct store *store)
{
    struct epoch_start epoch_start = {.epoch = OWN_EPOCH, .first_seq = work_last_seq(COMMON) + 1};
    enum error error = store_begin(store);
    if (error == OK)
        error = store_add_epoch(store, epoch_start);
    for (size_t i = 0; i < OWN_ENTRIES && error == OK; i++) {
        struct log_entry row = own_entry(i);
        error = store_log_append(store, &row);
    }
    return error == OK ? store_commit(store) : error;
}

/* The node is the master and writes for itself. Without asserts, for a process of its own. */
static enum error go_another_way(struct store *store)
{
    enum error error = store_set_promised(store, OWN_EPOCH);
    return error == OK ? write_own_entries(store) : error;
}

/* Opens the store that a crash left, and replays its log. */
static struct store *open_after_crash(const struct scene *scene)
{
    struct store *store = open_store(scene->folder);
    if (store_position(store).seq < store_log_last(store).seq)
        assert_ok(store, write_own_entries(store));
    return store;
}

/* Opens the store of the node, which goes another way. */
static struct store *open_diverged(const struct scene *scene)
{
    struct store *store = open_store(scene->folder);
    assert_ok(store, go_another_way(store));
    return store;
}

static struct log_position common_position(void)
{
    return (struct log_position){.epoch = UINT64_C(1) << 16 | TEST_NODE,
                                 .seq = work_last_seq(COMMON)};
}

static enum error install(struct store **store, const struct scene *scene, struct error_text *why)
{
    why->text[0] = '\0';
    return store_install(store, scene->file, common_position(), why);
}

struct orphans {
    uint64_t id;
    uint64_t old_id; /* of the one that was there before */
    size_t entry;
};

static enum error check_orphan(void *context, uint64_t id, const struct log_entry *row)
{
    struct orphans *orphans = context;
    assert_int_equal(id, orphans->id++);
    if (id == orphans->old_id) {
        assert_int_equal(row->epoch, 5);
        assert_int_equal(row->last_seq, 7);
        assert_int_equal(row->size, 1);
        return OK;
    }
    while (own_entries[orphans->entry].kind != LOG_ENTRY_CHAT)
        orphans->entry++;
    expect_entry(row, orphans->entry++);
    return OK;
}

/* The new ones come first: what was an orphan before may follow a request in one of them. */
static void check_orphans(struct store *store, uint64_t first, uint64_t last)
{
    struct orphans orphans = {.id = first, .old_id = last};
    assert_ok(store, store_each_orphan(store, 0, check_orphan, &orphans));
    assert_int_equal(orphans.id, last + 1);
    assert_int_equal(store_last_orphan(store), last);
    assert_int_equal(store_orphan_count(store), last + 1 - first);
}

static void check_new(struct store *store)
{
    work_check(store, MASTER);
    assert_int_equal(store_promised(store), OWN_EPOCH);
    check_orphans(store, OLD_ORPHAN + 1, OLD_ORPHAN + 4);
}

static enum error check_own_entry(void *context, const struct log_entry *row)
{
    size_t *index = context;
    assert_int_equal(row->kind, own_entries[*index].kind);
    expect_entry(row, (*index)++);
    return OK;
}

static void check_old(struct store *store)
{
    size_t entries = 0;
    assert_int_equal(store_position(store).seq, own_last_seq());
    assert_int_equal(store_position(store).epoch, OWN_EPOCH);
    assert_ok(store, store_log_read(store, work_last_seq(COMMON) + 1, check_own_entry, &entries));
    assert_int_equal(entries, OWN_ENTRIES);
    assert_int_equal(store_promised(store), OWN_EPOCH);
    check_orphans(store, OLD_ORPHAN, OLD_ORPHAN);
}

/* Whether it is the new one; fails the test when it is neither. */
static bool check_either(struct store *store)
{
    uint8_t found[STORE_CLUSTER_BYTES];
    bool is_new = store_position(store).seq == work_last_seq(MASTER);
    store_cluster(store, found);
    assert_memory_equal(found, cluster, sizeof cluster);
    if (is_new)
        check_new(store);
    else
        check_old(store);
    return is_new;
}

/* A row that no check of the workload sees. */
static void write_mark(struct store *store)
{
    const struct timeline_row mark = {
        .room = MARKED_ROOM, .number = 1, .seq = 1, .kind = 1, .text = "", .text_size = 0};
    assert_commits(store, store_add_event(store, &mark));
}

static bool has_mark(struct store *store)
{
    uint64_t number = 0;
    assert_ok(store, store_number_at(store, MARKED_ROOM, 1, &number));
    return number == 1;
}

/* It takes writes, and still has them after the next opening, which also clears up. */
static void check_goes_on(struct store *store, const struct scene *scene)
{
    struct log_position position;
    size_t used;
    uint8_t value[8];
    write_mark(store);
    assert_ok(store, store_begin(store));
    assert_ok(store, store_put_members(store, (struct log_position){0, 0}, value, 0));
    store_rollback(store);
    assert_ok(store, store_get_members(store, &position, NULL, 0, &used));
    bool was_new = check_either(store);
    store_close(store);
    store = open_store(scene->folder);
    assert_true(has_mark(store));
    assert_int_equal(check_either(store), was_new);
    expect_tidy(scene);
    store_close(store);
}

static struct {
    char folder[TEST_PATH_SIZE];
    char snapshot[TEST_PATH_SIZE];
} masters;

/* A new folder, with a copy of the snapshot. */
static void make_scene(struct scene *scene)
{
    make_folder(scene->folder);
    join_path(scene->path, scene->folder, STORE_FILE_NAME);
    join_path(scene->file, scene->folder, "incoming");
    copy_file(masters.snapshot, scene->file);
}

static void begin(struct scene *f)
{
    make_scene(f);
    f->has_links = true;
    struct store *store = open_store(f->folder);
    fill_common(store);
    store_close(store);
}

static void end(struct scene *f)
{
    faulty_calls_arm(FAULTY_CALLS_NONE, 0, 0);
    faulty_calls_refuse_links(0);
    remove_folder(f->folder);
}

#define SCENE_TEST(name) TEST_ON(name, struct scene, begin, end)

/* A scene like this one, from copies of its closed files. */
static void copy_scene(struct scene *copy, const struct scene *scene)
{
    *copy = *scene;
    make_scene(copy);
    copy_folder(scene->folder, copy->folder);
}

SCENE_TEST(test_store_install__takes_the_place)
{
    struct error_text why;
    struct store *store = open_diverged(f);
    check_old(store);
    if (install(&store, f, &why) != OK)
        fail_msg("%s", why.text);
    assert_true(check_either(store));
    assert_false(file_exists(f->file));
    expect_tidy(f);
    struct store *second = NULL; /* the folder is still locked */
    assert_int_equal(try_open(&second, f->folder, &why), ERROR_IN_USE);
    struct store *reader = open_reader(store);
    store_close(reader);
    check_goes_on(store, f);
    store = open_store(f->folder);
    assert_ok(store, work_apply(store, MASTER + 1));
    work_check(store, MASTER + 1);
    store_close(store);
}

/* Ids of orphans are not used again when all were dropped before. */
SCENE_TEST(test_store_install__after_all_orphans_were_dropped)
{
    struct error_text why;
    struct store *store = open_store(f->folder);
    assert_ok(store, store_drop_orphans(store, OLD_ORPHAN, NULL));
    assert_int_equal(install(&store, f, &why), OK); /* nothing after the common position */
    assert_int_equal(store_orphan_count(store), 0);
    struct log_entry row = {.first_seq = 1, .last_seq = 1, .bytes = (const uint8_t *)""};
    assert_ok(store, store_add_orphan(store, &row));
    assert_int_equal(store_last_orphan(store), OLD_ORPHAN + 1);
    work_check(store, MASTER);
    store_close(store);
}

/* A node that has just been made belongs to no cluster and has nothing. */
SCENE_TEST(test_store_install__into_an_empty_node)
{
    struct error_text why;
    uint8_t found[STORE_CLUSTER_BYTES];
    char folder[TEST_PATH_SIZE];
    make_folder(folder);
    struct store *store = open_store(folder);
    assert_int_equal(store_install(&store, f->file, (struct log_position){0, 0}, &why), OK);
    store_cluster(store, found);
    assert_memory_equal(found, cluster, sizeof cluster);
    work_check(store, MASTER);
    assert_int_equal(store_orphan_count(store), 0);
    assert_ok(store, work_apply(store, MASTER + 1));
    store_close(store);
    remove_folder(folder);
}

static void expect_refusal(const struct scene *scene, enum error expected, const char *word)
{
    struct error_text why;
    struct store *store = open_store(scene->folder);
    if (store_position(store).epoch != OWN_EPOCH)
        assert_ok(store, go_another_way(store));
    struct store *before = store;
    enum error error = install(&store, scene, &why);
    if (error != expected || strstr(why.text, word) == NULL)
        fail_msg("\"%s\", not \"%s\" with \"%s\": %s", error_name(error), error_name(expected),
                 word, why.text);
    assert_ptr_equal(store, before);
    assert_false(file_exists(scene->file));
    assert_false(check_either(store));
    check_goes_on(store, scene);
}

SCENE_TEST(test_store_install__refuses_what_is_not_for_it)
{
    static const struct {
        const char *change;
        enum error error;
        const char *word;
    } cases[] = {
        {"UPDATE node SET cluster = zeroblob(16)", ERROR_MISMATCH, "another cluster"},
        {"UPDATE node SET cluster = randomblob(16)", ERROR_MISMATCH, "another cluster"},
        {"PRAGMA application_id = 7", ERROR_MISMATCH, "application_id"},
        {"PRAGMA user_version = 1000", ERROR_VERSION, "version 1000"},
        {"DROP TABLE epoch_start", ERROR_CORRUPT, ""},
        {"DROP TABLE orphan", ERROR_CORRUPT, ""},
        {"UPDATE log_end SET digest = zeroblob(31)", ERROR_CORRUPT, "digest"},
        {"UPDATE log_end SET seq = 0", ERROR_INVALID, "ends at seq 0"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        copy_file(masters.snapshot, f->file);
        damage_execute(f->file, cases[i].change);
        expect_refusal(f, cases[i].error, cases[i].word);
    }
}

static enum error check_file(const char *path, struct error_text *why)
{
    struct store *store = NULL;
    enum error error = store_open_check(&store, path, why);
    if (error == OK)
        error = store_check(store, why);
    store_close(store);
    return error;
}

SCENE_TEST(test_store_install__refuses_what_is_not_whole)
{
    struct error_text why;
    struct stat status;
    assert_int_equal(stat(f->file, &status), 0);
    assert_int_equal(check_file(f->file, &why), OK);
    assert_int_equal(truncate(f->file, status.st_size / 2), 0);
    assert_int_equal(check_file(f->file, &why), ERROR_CORRUPT);
    assert_non_null(strstr(why.text, f->file));
    expect_refusal(f, ERROR_CORRUPT, "");
    copy_file(masters.snapshot, f->file);
    assert_int_equal(truncate(f->file, 0), 0);
    assert_int_equal(check_file(f->file, &why), ERROR_MISMATCH);
    expect_refusal(f, ERROR_MISMATCH, "application_id");
    copy_file(masters.snapshot, f->file);
    int descriptor = open(f->file, O_WRONLY | O_CLOEXEC);
    char noise[4096];
    memset(noise, 'x', sizeof noise);
    assert_int_equal(write(descriptor, noise, sizeof noise), sizeof noise);
    assert_int_equal(close(descriptor), 0);
    expect_refusal(f, ERROR_CORRUPT, "not a database");
    expect_refusal(f, ERROR_NOT_FOUND, "incoming"); /* it is used up */
    assert_int_equal(check_file(f->file, &why), ERROR_DENIED);
}

SCENE_TEST(test_store_install__common_position_that_is_none)
{
    static const struct log_position wrong[] = {
        {OWN_EPOCH, 12}, {OWN_EPOCH, 13} /* within a batch */, {OWN_EPOCH, 1000}};
    struct store *store = open_diverged(f);
    struct error_text why;
    assert_int_equal(work_last_seq(COMMON), 12);
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        copy_file(masters.snapshot, f->file);
        assert_int_equal(store_install(&store, f->file, wrong[i], &why), ERROR_INVALID);
        check_old(store);
    }
    store_close(store);
}

SCENE_TEST(test_store_install__beside_a_reader)
{
    struct store *store = open_diverged(f);
    struct error_text why;
    uint64_t number;
    struct store *reader = open_reader(store);
    assert_ok(reader, store_number_at(reader, test_id(0), 1, &number));
    (void)sqlite3_busy_timeout(store->database, 0);
    assert_int_equal(install(&store, f, &why), ERROR_IN_USE);
    check_old(store);
    assert_ok(reader, store_number_at(reader, test_id(0), 1, &number));
    store_close(reader);
    check_goes_on(store, f);
}

static uint64_t room_bytes = UINT64_MAX; /* of the disk; UINT64_MAX: as it is */

int __real_statvfs(const char *path, struct statvfs *disk);
int __wrap_statvfs(const char *path, struct statvfs *disk);

int __wrap_statvfs(const char *path, struct statvfs *disk)
{
    int result = __real_statvfs(path, disk);
    if (result == 0 && room_bytes != UINT64_MAX) {
        disk->f_frsize = 512;
        disk->f_bavail = room_bytes / 512;
    }
    return result;
}

/* The log that the snapshot carries has no room beside it. */
SCENE_TEST(test_store_install__on_a_full_disk)
{
    struct store *store = open_diverged(f);
    struct error_text why;
    room_bytes = 4u * 1024u * 1024u - 512u;
    assert_int_equal(install(&store, f, &why), ERROR_DISK_FULL);
    assert_non_null(strstr(why.text, "make room"));
    check_old(store);
    room_bytes = 5u * 1024u * 1024u;
    copy_file(masters.snapshot, f->file);
    damage_execute(f->file, "UPDATE log_end SET bytes = bytes + 8000000");
    assert_int_equal(install(&store, f, &why), ERROR_DISK_FULL);
    check_old(store);
    copy_file(masters.snapshot, f->file);
    assert_int_equal(install(&store, f, &why), OK);
    room_bytes = UINT64_MAX;
    store_close(store);
}

SCENE_TEST(test_store_install__in_memory)
{
    struct store *store = open_store(NULL);
    struct error_text why;
    assert_int_equal(install(&store, f, &why), ERROR_INVALID);
    assert_non_null(strstr(why.text, "memory"));
    store_close(store);
}

static _Noreturn void install_and_die(const struct scene *scene, uint64_t k)
{
    struct store *store = NULL;
    struct error_text why;
    if (try_open(&store, scene->folder, &why) != OK || go_another_way(store) != OK)
        _exit(2);
    faulty_calls_arm(FAULTY_CALLS_DIE, k, 0);
    _exit(install(&store, scene, &why) == OK ? 0 : 3);
}

/* Whether the process died; *is_new: what was found then. */
static bool try_death(const struct scene *from, uint64_t k, bool *is_new)
{
    struct scene scene;
    copy_scene(&scene, from);
    pid_t child = fork();
    assert_true(child >= 0);
    if (child == 0)
        install_and_die(&scene, k);
    int status;
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_true(WIFEXITED(status));
    assert_true(WEXITSTATUS(status) == 0 || WEXITSTATUS(status) == FAULTY_CALLS_EXIT);
    struct store *store = open_after_crash(&scene);
    *is_new = check_either(store);
    check_goes_on(store, &scene);
    remove_folder(scene.folder);
    return WEXITSTATUS(status) == FAULTY_CALLS_EXIT;
}

SCENE_TEST(test_store_install__process_dies)
{
    bool is_new = false;
    uint64_t old_count = 0, k = 1;
    for (bool was_new = false; try_death(f, k, &is_new); k++) {
        assert_true(is_new || !was_new);
        was_new = is_new;
        old_count += !is_new;
    }
    assert_true(is_new);
    assert_true(old_count > 30 &&
                old_count < k - 10); /* after the rename, too: the log begins anew */
}

/* On a file system that has none. */
SCENE_TEST(test_store_install__without_hard_links)
{
    struct error_text why;
    static const int numbers[] = {EPERM, EOPNOTSUPP, ENOSYS};
    for (size_t i = 0; i < sizeof numbers / sizeof *numbers; i++) {
        struct scene copy;
        copy_scene(&copy, f);
        struct store *store = open_diverged(&copy);
        faulty_calls_refuse_links(numbers[i]);
        if (install(&store, &copy, &why) != OK)
            fail_msg("%s", why.text);
        assert_true(check_either(store));
        check_goes_on(store, &copy);
        remove_folder(copy.folder);
    }
    struct store *store = open_diverged(f);
    faulty_calls_refuse_links(EACCES); /* another matter */
    assert_int_equal(install(&store, f, &why), ERROR_DENIED);
    assert_non_null(strstr(why.text, "link"));
    assert_false(check_either(store));
    store_close(store);
}

SCENE_TEST(test_store_install__process_dies_without_hard_links)
{
    faulty_calls_refuse_links(EPERM);
    test_store_install__process_dies_on(f);
}

/* Whether a call failed. */
static bool try_fault(const struct scene *from, enum faulty_calls kind, uint64_t k, int number)
{
    struct scene scene;
    struct error_text why;
    copy_scene(&scene, from);
    struct store *store = open_diverged(&scene);
    faulty_calls_arm(kind, k, number);
    enum error error = install(&store, &scene, &why);
    bool has_failed = faulty_calls_have_failed();
    faulty_calls_arm(FAULTY_CALLS_NONE, 0, 0);
    if (error != OK) {
        if (error != ERROR_IO && (number != ENOSPC || error != ERROR_DISK_FULL))
            fail_msg("call %u: %s", (unsigned)k, why.text);
        assert_true(strlen(why.text) > strlen("install snapshot: "));
    }
    if (store == NULL) {
        assert_int_not_equal(error, OK);
        store = open_after_crash(&scene);
        bool is_new = check_either(store);
        assert_true(is_new || kind == FAULTY_CALLS_FAIL || !scene.has_links);
    } else {
        assert_int_equal(check_either(store), error == OK);
    }
    check_goes_on(store, &scene);
    remove_folder(scene.folder);
    return has_failed;
}

static void every_fault(const struct scene *scene, enum faulty_calls kind, int number,
                        uint64_t stride)
{
    uint64_t k = 1;
    while (try_fault(scene, kind, k, number))
        k += stride;
    assert_true(k > 40);
}

SCENE_TEST(test_store_install__one_call_fails)
{
    every_fault(f, FAULTY_CALLS_FAIL_ONCE, EIO, 1);
    every_fault(f, FAULTY_CALLS_FAIL_ONCE, ENOSPC, 3);
}

SCENE_TEST(test_store_install__disk_stays_broken)
{
    every_fault(f, FAULTY_CALLS_FAIL, EIO, 1);
}

SCENE_TEST(test_store_install__one_call_fails_without_hard_links)
{
    f->has_links = false;
    faulty_calls_refuse_links(EPERM);
    every_fault(f, FAULTY_CALLS_FAIL_ONCE, EIO, 1);
    every_fault(f, FAULTY_CALLS_FAIL, EIO, 1);
}

/* What a power failure could take: a file's content since it was synced, and what happened to
 * names since the folder was. */
struct order {
    const struct scene *scene;
    bool new_is_dirty;
    bool old_is_dirty;
    bool names_changed; /* a companion of the database, or the database itself */
    bool is_swapped;
    bool swap_is_synced;
    uint64_t wal_writes;
};

static void watch_order(void *context, const char *name, const char *path, const char *other)
{
    struct order *order = context;
    const char *database = order->scene->path;
    bool is_write = strcmp(name, "write") == 0;
    bool is_sync = strcmp(name, "sync") == 0;
    char coming[TEST_PATH_SIZE + 16], wal[TEST_PATH_SIZE + 16];
    (void)snprintf(coming, sizeof coming, "%s" STORE_NEW_SUFFIX, database);
    (void)snprintf(wal, sizeof wal, "%s-wal", database);
    if (strcmp(path, coming) == 0 && strcmp(name, "rename") == 0) {
        assert_string_equal(other, database);
        assert_false(order->new_is_dirty);
        assert_false(order->old_is_dirty);
        assert_false(order->names_changed);
        assert_false(suffixed_exists(database, "-wal"));
        assert_false(suffixed_exists(database, "-journal"));
        order->is_swapped = true;
    } else if (strcmp(path, order->scene->file) == 0) {
        order->new_is_dirty = true; /* nobody has synced it yet */
    } else if (strcmp(path, coming) == 0 && (is_write || is_sync)) {
        order->new_is_dirty = is_write;
    } else if (strcmp(path, database) == 0 && (is_write || is_sync)) {
        order->old_is_dirty = is_write;
    } else if (strcmp(path, order->scene->folder) == 0 && is_sync) {
        order->names_changed = false;
        order->swap_is_synced = order->is_swapped;
    } else if (strncmp(path, database, strlen(database)) == 0 &&
               (strcmp(name, "unlink") == 0 || strcmp(name, "link") == 0)) {
        order->names_changed = true;
    } else if (strcmp(path, wal) == 0 && is_write && order->is_swapped) {
        assert_true(order->swap_is_synced);
        order->wal_writes++;
    }
}

SCENE_TEST(test_store_install__synced_in_the_right_order)
{
    struct order order = {.scene = f};
    struct error_text why;
    struct store *store = open_diverged(f);
    faulty_calls_watch(watch_order, &order);
    enum error error = install(&store, f, &why);
    write_mark(store);
    faulty_calls_watch(NULL, NULL);
    assert_int_equal(error, OK);
    assert_true(order.is_swapped);
    assert_true(order.wal_writes > 0);
    store_close(store);
}

static bool try_memory(const struct scene *from, uint64_t k)
{
    struct scene scene;
    struct error_text why;
    copy_scene(&scene, from);
    struct store *store = open_diverged(&scene);
    faulty_memory_arm(k, false);
    enum error error = install(&store, &scene, &why);
    bool has_failed = faulty_memory_has_failed();
    faulty_memory_arm(0, false);
    if (error != OK)
        assert_int_equal(error, ERROR_NO_MEMORY);
    if (store == NULL) { /* while the log of the new one was to begin */
        assert_int_equal(error, ERROR_NO_MEMORY);
        store = open_store(scene.folder);
        assert_true(check_either(store));
    } else {
        assert_int_equal(check_either(store), error == OK);
    }
    check_goes_on(store, &scene);
    remove_folder(scene.folder);
    return has_failed;
}

/* There are many, and they are much the same. */
#define ALLOCATION_STRIDE 7

SCENE_TEST(test_store_install__one_allocation_fails)
{
    uint64_t k = 1;
    while (try_memory(f, k))
        k += ALLOCATION_STRIDE;
    assert_true(k > 100);
}

int test_setup(void **state)
{
    (void)state;
    make_folder(masters.folder);
    join_path(masters.snapshot, masters.folder, "snapshot");
    take_masters(masters.snapshot);
    return 0;
}

int test_teardown(void **state)
{
    (void)state;
    remove_folder(masters.folder);
    return 0;
}

TEST_PREPARE()
{
    faulty_memory_install();
    return 0;
}
