/* SPDX-License-Identifier: MIT */
/* Every write, every sync and every allocation fails once, and then for good; the power fails at
 * every moment. After each: nothing half-done is visible, all that was committed is there. */
#include "store/store_internal.h"

#include "support/faulty_vfs.h"
#include "support/test.h"
#include "test_store_support.h"

#include <dirent.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

/* A folder as a crash left it, to start each try from. */
struct scene {
    char folder[TEST_PATH_SIZE];
    uint64_t batches;      /* it holds */
    uint64_t more;         /* each try writes */
    bool checkpoints_soon; /* within those */
};

static struct {
    sqlite3_mem_methods real;
    uint64_t fail_at; /* 0: never */
    uint64_t count;
    bool lasting;
    bool has_failed;
} memory;

static bool allocation_fails(void)
{
    memory.count++;
    if (memory.fail_at == 0 || memory.count < memory.fail_at)
        return false;
    if (memory.count > memory.fail_at && !memory.lasting)
        return false;
    memory.has_failed = true;
    return true;
}

static void *failing_malloc(int size)
{
    return allocation_fails() ? NULL : memory.real.xMalloc(size);
}

static void *failing_realloc(void *old, int size)
{
    return allocation_fails() ? NULL : memory.real.xRealloc(old, size);
}

static void fail_allocations(uint64_t k, bool lasting)
{
    memory.fail_at = k;
    memory.count = 0;
    memory.lasting = lasting;
    memory.has_failed = false;
}

static void install_failing_memory(void)
{
    sqlite3_mem_methods methods;
    assert_int_equal(sqlite3_config(SQLITE_CONFIG_GETMALLOC, &memory.real), SQLITE_OK);
    methods = memory.real;
    methods.xMalloc = failing_malloc;
    methods.xRealloc = failing_realloc;
    assert_int_equal(sqlite3_config(SQLITE_CONFIG_MALLOC, &methods), SQLITE_OK);
}

static void copy_file(const char *from, const char *to)
{
    static char bytes[1 << 16];
    int source = open(from, O_RDONLY | O_CLOEXEC);
    int target = open(to, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    assert_true(source >= 0 && target >= 0);
    ssize_t size;
    while ((size = read(source, bytes, sizeof bytes)) > 0)
        assert_int_equal(write(target, bytes, (size_t)size), size);
    assert_int_equal(close(source), 0);
    assert_int_equal(close(target), 0);
}

/* The files as they are, without the lock and the WAL's index: what a crash leaves. */
static void copy_folder(const char *from, const char *to)
{
    static const char *const names[] = {STORE_FILE_NAME, STORE_FILE_NAME "-wal"};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        char source[TEST_PATH_SIZE], target[TEST_PATH_SIZE];
        struct stat status;
        join_path(source, from, names[i]);
        join_path(target, to, names[i]);
        if (stat(source, &status) == 0)
            copy_file(source, target);
    }
}

static void make_scene(struct scene *scene, uint64_t batches, uint64_t more)
{
    *scene = (struct scene){.batches = batches, .more = more};
    make_folder(scene->folder);
    if (batches == 0)
        return;
    char folder[TEST_PATH_SIZE];
    make_folder(folder);
    struct store *store = open_store(folder);
    for (uint64_t n = 1; n <= batches; n++)
        assert_ok(store, work_apply(store, n));
    copy_folder(folder, scene->folder);
    store_close(store);
    remove_folder(folder);
    faulty_vfs_reset();
}

/* Nothing yet: opening makes everything. */
static void make_fresh_scene(struct scene *scene)
{
    make_scene(scene, 0, 20);
}

/* A database that moves its WAL's content into place several times while it is written to. */
static void make_checkpoint_scene(struct scene *scene)
{
    make_scene(scene, 9, 20);
    scene->checkpoints_soon = true;
}

static void start(const struct scene *scene, char folder[static TEST_PATH_SIZE])
{
    make_folder(folder);
    copy_folder(scene->folder, folder);
}

static bool is_expected(enum error error, enum faulty_kind kind)
{
    return error == ERROR_IO || (kind == FAULTY_FULL && error == ERROR_DISK_FULL);
}

/* Were the process to die right now, the next one would find exactly n batches: a failed commit
 * must not come back with the frames it left in the WAL. */
static void check_crash_image(const char *folder, uint64_t n)
{
    char image[TEST_PATH_SIZE];
    make_folder(image);
    copy_folder(folder, image);
    struct store *store = open_store(image);
    assert_int_equal(work_batches(store_position(store)), n);
    work_check(store, n, true);
    store_close(store);
    remove_folder(image);
}

/* Writes batches until one fails for good; returns how many there are then. */
static uint64_t write_batches(struct store *store, const char *folder, const struct scene *scene,
                              enum faulty_kind kind, bool lasting, bool *uncertain)
{
    uint64_t n = scene->batches;
    if (scene->checkpoints_soon)
        (void)sqlite3_wal_autocheckpoint(store->database, 30);
    while (n < scene->batches + scene->more) {
        enum error error = work_apply(store, n + 1);
        if (error == OK) {
            n++;
            continue;
        }
        assert_true(is_expected(error, kind));
        assert_true(store_last_problem(store)[0] != '\0');
        *uncertain = lasting;
        if (kind == FAULTY_POWER)
            break;
        work_check(store, n, true);
        if (lasting)
            break;
        check_crash_image(folder, n);
        assert_ok(store, work_apply(store, n + 1)); /* it was only once */
        n++;
    }
    return n;
}

static void check_reopened(const char *folder, uint64_t n, bool uncertain)
{
    struct store *store = open_store(folder);
    uint64_t found = work_batches(store_position(store));
    if (found != n)
        assert_true(uncertain && found == n + 1);
    work_check(store, found, true);
    assert_ok(store, work_apply(store, found + 1));
    store_close(store);
}

/* Returns whether the k-th operation was reached. */
static bool try_fault(const struct scene *scene, enum faulty_kind kind, uint64_t k, bool lasting)
{
    char folder[TEST_PATH_SIZE];
    struct store *store = NULL;
    struct error_text why;
    bool uncertain = false;
    uint64_t n = scene->batches;
    start(scene, folder);
    faulty_vfs_fail(kind, k, lasting);
    enum error error = try_open(&store, folder, &why);
    if (error == OK)
        n = write_batches(store, folder, scene, kind, lasting, &uncertain);
    else
        assert_true(is_expected(error, kind));
    store_close(store);
    bool has_failed = faulty_vfs_has_failed();
    faulty_vfs_reset();
    check_reopened(folder, n, uncertain);
    faulty_vfs_reset();
    remove_folder(folder);
    return has_failed;
}

static void every_fault(void (*make)(struct scene *scene), enum faulty_kind kind, bool lasting)
{
    struct scene scene;
    make(&scene);
    uint64_t k = 1;
    while (try_fault(&scene, kind, k, lasting))
        k++;
    assert_true(k > 50); /* or it was no test */
    remove_folder(scene.folder);
}

TEST(test_faults__one_operation_fails)
{
    every_fault(make_fresh_scene, FAULTY_IO, false);
}

TEST(test_faults__one_operation_fails_in_a_checkpoint)
{
    every_fault(make_checkpoint_scene, FAULTY_IO, false);
}

TEST(test_faults__disk_stays_broken)
{
    every_fault(make_fresh_scene, FAULTY_IO, true);
}

TEST(test_faults__disk_stays_broken_in_a_checkpoint)
{
    every_fault(make_checkpoint_scene, FAULTY_IO, true);
}

TEST(test_faults__disk_is_full_once)
{
    every_fault(make_checkpoint_scene, FAULTY_FULL, false);
}

TEST(test_faults__disk_is_full)
{
    every_fault(make_fresh_scene, FAULTY_FULL, true);
    every_fault(make_checkpoint_scene, FAULTY_FULL, true);
}

/* A commit in parts whose write fails leaves nothing once it was rolled back. */
TEST(test_faults__commit_in_parts)
{
    char folder[TEST_PATH_SIZE];
    make_folder(folder);
    struct store *store = open_store(folder);
    assert_ok(store, work_apply(store, 1));
    assert_ok(store, store_begin(store));
    assert_ok(store, work_write(store, 2));
    assert_ok(store, store_commit_prepare(store));
    faulty_vfs_fail(FAULTY_FULL, 1, false);
    enum error written = store_commit_write(store);
    assert_int_equal(written, ERROR_DISK_FULL);
    assert_string_equal(store_last_problem(store), "");
    assert_error(store, store_commit_finish(store, written), ERROR_DISK_FULL);
    assert_non_null(strstr(store_last_problem(store), "commit"));
    assert_error(store, work_write(store, 3), ERROR_DISK_FULL); /* it is broken */
    assert_error(store, store_commit_prepare(store), ERROR_DISK_FULL);
    store_rollback(store);
    work_check(store, 1, true);
    check_crash_image(folder, 1);
    assert_ok(store, work_apply(store, 2));
    store_close(store);
    check_reopened(folder, 2, false);
    faulty_vfs_reset();
    remove_folder(folder);
}

static bool try_power(const struct scene *scene, uint64_t k, uint64_t seed)
{
    char folder[TEST_PATH_SIZE];
    struct store *store = NULL;
    struct error_text why;
    bool uncertain = false;
    uint64_t n = scene->batches;
    start(scene, folder);
    faulty_vfs_fail(FAULTY_POWER, k, true);
    if (try_open(&store, folder, &why) == OK)
        n = write_batches(store, folder, scene, FAULTY_POWER, true, &uncertain);
    bool has_failed = faulty_vfs_has_failed();
    if (!has_failed)
        faulty_vfs_fail(FAULTY_POWER, 1, true); /* while all is quiet, before it is closed */
    store_close(store);
    faulty_vfs_lose_power(seed);
    check_reopened(folder, n, uncertain);
    faulty_vfs_reset();
    remove_folder(folder);
    return has_failed;
}

static void every_power_failure(void (*make)(struct scene *scene), uint64_t seed)
{
    struct scene scene;
    make(&scene);
    uint64_t k = 1;
    while (try_power(&scene, k, seed == 0 ? 0 : seed * 1000 + k))
        k++;
    assert_true(k > 50);
    remove_folder(scene.folder);
}

TEST(test_power__nothing_unsynced_arrives)
{
    every_power_failure(make_fresh_scene, 0);
    every_power_failure(make_checkpoint_scene, 0);
}

TEST(test_power__some_of_it_arrives_and_some_torn)
{
    for (uint64_t seed = 1; seed <= 2; seed++) {
        every_power_failure(make_fresh_scene, seed);
        every_power_failure(make_checkpoint_scene, seed);
    }
}

static bool file_exists(const char *path)
{
    struct stat status;
    return stat(path, &status) == 0;
}

static void check_copy(const char *folder, uint64_t n)
{
    struct store *copy = open_store(folder);
    work_check(copy, n, false);
    store_close(copy);
}

/* path: that of the copy. */
static void check_after_snapshot(struct store *store, enum error error, const char *path,
                                 uint64_t n)
{
    char partial[TEST_PATH_SIZE + 8];
    (void)snprintf(partial, sizeof partial, "%s.part", path);
    assert_false(file_exists(partial));
    assert_true(file_exists(path) || error != OK);
    if (error != OK)
        assert_true(store_last_problem(store)[0] != '\0');
    work_check(store, n, true);
    assert_ok(store, work_apply(store, n + 1));
}

static bool try_snapshot(const struct scene *scene, uint64_t k, bool of_memory)
{
    char folder[TEST_PATH_SIZE], target[TEST_PATH_SIZE], path[TEST_PATH_SIZE];
    start(scene, folder);
    make_folder(target);
    join_path(path, target, STORE_FILE_NAME);
    struct store *store = open_store(folder);
    if (of_memory)
        fail_allocations(k, false);
    else
        faulty_vfs_fail(FAULTY_IO, k, false);
    struct log_position position;
    enum error error = store_snapshot_take(store, path, &position);
    bool has_failed = of_memory ? memory.has_failed : faulty_vfs_has_failed();
    fail_allocations(0, false);
    faulty_vfs_fail(FAULTY_NONE, 0, false);
    if (error != OK)
        assert_int_equal(error, of_memory ? ERROR_NO_MEMORY : ERROR_IO);
    check_after_snapshot(store, error, path, scene->batches);
    store_close(store);
    faulty_vfs_reset();
    if (file_exists(path))
        check_copy(target, scene->batches);
    faulty_vfs_reset();
    remove_folder(folder);
    remove_folder(target);
    return has_failed;
}

TEST(test_store_snapshot__one_operation_fails)
{
    struct scene scene;
    make_scene(&scene, 6, 0);
    uint64_t k = 1;
    while (try_snapshot(&scene, k, false))
        k++;
    assert_true(k > 10);
    remove_folder(scene.folder);
}

TEST(test_store_snapshot__one_allocation_fails)
{
    struct scene scene;
    make_scene(&scene, 6, 0);
    uint64_t k = 1;
    while (try_snapshot(&scene, k, true))
        k++;
    assert_true(k > 10);
    remove_folder(scene.folder);
}

/* A read gives all of it or says that there is no memory. */
static void read_or_no_memory(enum error error, uint64_t found, uint64_t expected)
{
    if (error == OK)
        assert_int_equal(found, expected);
    else
        assert_int_equal(error, ERROR_NO_MEMORY);
}

static void read_some(struct store *store, uint64_t n)
{
    uint64_t last = work_last_seq(n);
    size_t count = 0;
    enum error error =
        store_events_after(store, test_id(0), 0, UINT64_MAX, SIZE_MAX, count_event, &count);
    read_or_no_memory(error, count, (last + WORK_ROOMS - 1) / WORK_ROOMS);
    count = 0;
    error = store_messages_before(store, test_id(0), 1, 0, 1, count_event, &count);
    read_or_no_memory(error, count, last > 0);
    count = 0;
    error = store_each_account(store, count_account, &count);
    read_or_no_memory(error, count, n < WORK_ACCOUNTS ? n : WORK_ACCOUNTS);
    count = 0;
    error = store_each_session(store, count_session, &count);
    read_or_no_memory(error, count, last < WORK_SESSIONS ? last : WORK_SESSIONS);
    count = 0;
    error = store_each_room(store, count_room, &count);
    read_or_no_memory(error, count, last < WORK_ROOMS ? last : WORK_ROOMS);
    if (n == 0)
        return;
    count = 0;
    error = store_get_outcome(store, test_id(200), 1, count_outcome, &count);
    read_or_no_memory(error, count, 1);
    count = 0;
    error = store_log_read(store, last, count_log, &count);
    read_or_no_memory(error, count, 1);
    uint64_t number = 0;
    error = store_number_at(store, test_id(0), last, &number);
    read_or_no_memory(error, number, (last + WORK_ROOMS - 1) / WORK_ROOMS);
}

static void read_with_reader(struct store *store, uint64_t n)
{
    struct store *reader = NULL;
    struct error_text why;
    enum error error = store_open_reader(&reader, store, &why);
    if (error == OK)
        read_some(reader, n);
    else
        assert_int_equal(error, ERROR_NO_MEMORY);
    store_close(reader);
}

static bool try_memory(const struct scene *scene, uint64_t k, bool lasting)
{
    char folder[TEST_PATH_SIZE];
    struct store *store = NULL;
    struct error_text why;
    uint64_t n = scene->batches;
    start(scene, folder);
    fail_allocations(k, lasting);
    enum error error = try_open(&store, folder, &why);
    for (uint64_t i = 0; i < scene->more && store != NULL && error == OK; i++) {
        error = work_apply(store, n + 1);
        n += error == OK;
    }
    if (error != OK)
        assert_int_equal(error, ERROR_NO_MEMORY);
    if (store != NULL) {
        read_some(store, n);
        read_with_reader(store, n);
    }
    bool has_failed = memory.has_failed;
    fail_allocations(0, false);
    if (store != NULL)
        work_check(store, n, true); /* memory is back */
    store_close(store);
    if (error != OK)
        check_reopened(folder, n, false);
    faulty_vfs_reset();
    remove_folder(folder);
    return has_failed;
}

/* There are thousands, and a sanitizer makes each of them slow. */
#ifdef __SANITIZE_ADDRESS__
#define ALLOCATION_STRIDE 7
#else
#define ALLOCATION_STRIDE 1
#endif

static void every_allocation(uint64_t batches, uint64_t more, bool lasting)
{
    struct scene scene;
    make_scene(&scene, batches, more);
    uint64_t k = 1;
    while (try_memory(&scene, k, lasting))
        k += ALLOCATION_STRIDE;
    assert_true(k > 100);
    remove_folder(scene.folder);
}

TEST(test_memory__one_allocation_fails)
{
    every_allocation(0, 0, false);
    every_allocation(6, 2, false);
}

TEST(test_memory__is_used_up)
{
    every_allocation(6, 2, true);
}

#define OPENING_READS_MAX 30 /* pages, and headers of the log */

static uint64_t reads_to_open(uint64_t batches)
{
    char folder[TEST_PATH_SIZE];
    make_folder(folder);
    struct store *store = open_store(folder);
    for (uint64_t n = 1; n <= batches; n++)
        assert_ok(store, work_apply(store, n));
    assert_ok(store, store_begin(store));
    for (uint64_t n = 1; n <= batches; n++)
        assert_ok(store, store_add_orphan(store, &(struct log_entry){.first_seq = 1,
                                                                     .last_seq = 1,
                                                                     .bytes = (uint8_t[1000]){1},
                                                                     .size = 1000}));
    assert_ok(store, store_commit(store));
    store_close(store);
    uint64_t before = faulty_vfs_reads();
    store = open_store(folder);
    uint64_t reads = faulty_vfs_reads() - before;
    store_close(store);
    remove_folder(folder);
    return reads;
}

/* A start takes as long with a long history as with a short one. */
TEST(test_store_open__reads_a_bounded_number_of_pages)
{
    faulty_vfs_reset();
    uint64_t few = reads_to_open(50);
    uint64_t many = reads_to_open(1500);
    assert_true(few > 0 && few <= OPENING_READS_MAX);
    assert_true(many <= OPENING_READS_MAX);
}

TEST_PREPARE()
{
    install_failing_memory();
    faulty_vfs_install();
    return 0;
}
