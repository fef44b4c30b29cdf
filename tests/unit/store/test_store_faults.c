/* SPDX-License-Identifier: MIT */
/* Every write and every sync of the database, and every allocation, fails once, and then for good; the
 * power fails at every moment. After each: nothing half-done is visible, all that was committed is
 * there. test_store_log.c has the same of the log. */
#include "store/store_internal.h"

#include "support/faulty_vfs.h"
#include "support/test.h"
#include "test_store_support.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* A folder as a crash left it, to start each try from. */
struct scene {
    char folder[TEST_PATH_SIZE];
    uint64_t batches;      /* it holds */
    uint64_t more;         /* each try writes */
    bool checkpoints_soon; /* within those */
};

static void make_scene(struct scene *scene, uint64_t batches, uint64_t more)
{
    *scene = (struct scene){.batches = batches, .more = more};
    make_folder(scene->folder);
    if (batches == 0)
        return;
    char folder[TEST_PATH_SIZE];
    make_folder(folder);
    struct store *store = open_store(folder);
    struct error_text why;
    work_apply_all(store, 1, batches - 1);
    assert_int_equal(store_project(store, true, &why), OK);
    work_apply_all(store, batches, batches);
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

/* A small one, to which few batches are added. */
static void make_small_scene(struct scene *scene)
{
    make_scene(scene, 6, 2);
}

static void make_nothing(struct scene *scene)
{
    make_scene(scene, 0, 0);
}

/* What fails in a try. */
struct fault {
    enum faulty_kind kind; /* FAULTY_NONE: allocations */
    bool lasting;
    uint64_t seed;   /* of what a power failure leaves; 0: nothing that was not synced */
    uint64_t stride; /* between the operations that fail; 0: 1 */
};

/* Lets each operation of a try fail in turn; they are more than least, or it is no test. Each try
 * returns whether its k-th operation was reached. */
static void fail_each(void (*make)(struct scene *scene),
                      bool (*try)(const struct scene *scene, uint64_t k, struct fault fault),
                      struct fault fault, uint64_t least)
{
    struct scene scene;
    make(&scene);
    uint64_t k = 1;
    while (try(&scene, k, fault))
        k += fault.stride > 0 ? fault.stride : 1;
    assert_true(k > least);
    remove_folder(scene.folder);
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

/* Were the process to die right now, the next one would find exactly n batches. */
static void check_crash_image(const char *folder, uint64_t n)
{
    char image[TEST_PATH_SIZE];
    make_folder(image);
    copy_folder(folder, image);
    struct store *store = open_store(image);
    assert_ok(store, work_replay(store));
    work_check(store, n);
    store_close(store);
    remove_folder(image);
}

/* Judges a failed projection of n batches. false: the disk stays broken. */
static bool is_over_it(struct store *store, const char *folder, uint64_t n, struct fault fault,
                       enum error error, const struct error_text *why)
{
    struct error_text ignored;
    assert_true(is_expected(error, fault.kind));
    assert_true(why->text[0] != '\0');
    assert_int_equal(store_position(store).seq, work_last_seq(n));
    if (fault.kind == FAULTY_POWER)
        return false;
    if (fault.lasting) {
        work_check(store, n); /* what is committed can still be read */
        return false;
    }
    check_crash_image(folder, n);
    assert_int_equal(store_project(store, true, &ignored), OK); /* it was only once */
    work_check(store, n);
    return true;
}

static enum error checkpoint_soon(struct store *writer, void *context)
{
    (void)context;
    (void)sqlite3_wal_autocheckpoint(writer->database, 30);
    return OK;
}

/* Writes batches, and the database behind them, until that fails for good. The log is on another disk:
 * returns how many batches it has. */
static uint64_t write_batches(struct store *store, const char *folder, const struct scene *scene,
                              struct fault fault)
{
    uint64_t n = scene->batches;
    bool goes_on = true;
    if (scene->checkpoints_soon)
        (void)projection_run(store, checkpoint_soon, NULL, NULL);
    while (goes_on && n < scene->batches + scene->more) {
        struct error_text why = {""};
        assert_ok(store, work_apply(store, ++n));
        enum error error = store_project(store, n % 3 == 0, &why);
        goes_on = error == OK || is_over_it(store, folder, n, fault, error, &why);
    }
    return n;
}

static void check_reopened(const char *folder, uint64_t n)
{
    struct store *store = open_store(folder);
    assert_ok(store, work_replay(store));
    work_check(store, n);
    assert_ok(store, work_apply(store, n + 1));
    store_close(store);
}

static bool try_fault(const struct scene *scene, uint64_t k, struct fault fault)
{
    char folder[TEST_PATH_SIZE];
    struct store *store = NULL;
    struct error_text why;
    uint64_t n = scene->batches;
    start(scene, folder);
    faulty_vfs_fail(fault.kind, k, fault.lasting);
    enum error error = try_open(&store, folder, &why);
    if (error == OK && (error = work_replay(store)) == OK)
        n = write_batches(store, folder, scene, fault);
    else
        assert_true(is_expected(error, fault.kind));
    store_close(store);
    bool has_failed = faulty_vfs_has_failed();
    faulty_vfs_reset();
    check_reopened(folder, n);
    faulty_vfs_reset();
    remove_folder(folder);
    return has_failed;
}

TEST(test_faults__one_operation_fails)
{
    fail_each(make_fresh_scene, try_fault, (struct fault){.kind = FAULTY_IO}, 50);
}

TEST(test_faults__one_operation_fails_in_a_checkpoint)
{
    fail_each(make_checkpoint_scene, try_fault, (struct fault){.kind = FAULTY_IO}, 50);
}

TEST(test_faults__disk_stays_broken)
{
    fail_each(make_fresh_scene, try_fault, (struct fault){.kind = FAULTY_IO, .lasting = true}, 50);
}

TEST(test_faults__disk_stays_broken_in_a_checkpoint)
{
    fail_each(make_checkpoint_scene, try_fault, (struct fault){.kind = FAULTY_IO, .lasting = true},
              50);
}

TEST(test_faults__disk_is_full_once)
{
    fail_each(make_checkpoint_scene, try_fault, (struct fault){.kind = FAULTY_FULL}, 50);
}

TEST(test_faults__disk_is_full)
{
    fail_each(make_fresh_scene, try_fault, (struct fault){.kind = FAULTY_FULL, .lasting = true},
              50);
    fail_each(make_checkpoint_scene, try_fault,
              (struct fault){.kind = FAULTY_FULL, .lasting = true}, 50);
}

static bool try_power(const struct scene *scene, uint64_t k, struct fault fault)
{
    char folder[TEST_PATH_SIZE];
    struct store *store = NULL;
    struct error_text why;
    uint64_t n = scene->batches;
    start(scene, folder);
    faulty_vfs_fail(fault.kind, k, fault.lasting);
    if (try_open(&store, folder, &why) == OK && work_replay(store) == OK)
        n = write_batches(store, folder, scene, fault);
    bool has_failed = faulty_vfs_has_failed();
    if (!has_failed)
        faulty_vfs_fail(FAULTY_POWER, 1, true); /* while all is quiet, before it is closed */
    store_close(store);
    faulty_vfs_lose_power(fault.seed == 0 ? 0 : fault.seed * 1000 + k);
    check_reopened(folder, n);
    faulty_vfs_reset();
    remove_folder(folder);
    return has_failed;
}

static void lose_power_at_each(uint64_t seed)
{
    const struct fault fault = {.kind = FAULTY_POWER, .lasting = true, .seed = seed};
    fail_each(make_fresh_scene, try_power, fault, 30);
    fail_each(make_checkpoint_scene, try_power, fault, 50);
}

TEST(test_power__nothing_unsynced_arrives)
{
    lose_power_at_each(0);
}

TEST(test_power__some_of_it_arrives_and_some_torn)
{
    lose_power_at_each(1);
    lose_power_at_each(2);
}

static void check_copy(const char *folder, uint64_t n)
{
    make_node(folder, TEST_NODE);
    struct store *copy = open_store(folder);
    work_check(copy, n);
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
    work_check(store, n);
    assert_ok(store, work_apply(store, n + 1));
}

static bool try_snapshot(const struct scene *scene, uint64_t k, struct fault fault)
{
    char folder[TEST_PATH_SIZE], target[TEST_PATH_SIZE], path[TEST_PATH_SIZE];
    bool of_memory = fault.kind == FAULTY_NONE;
    start(scene, folder);
    make_folder(target);
    join_path(path, target, STORE_FILE_NAME);
    struct store *store = open_store(folder);
    assert_ok(store, work_replay(store));
    if (of_memory)
        faulty_memory_arm(k, false);
    else
        faulty_vfs_fail(fault.kind, k, false);
    struct log_position position;
    enum error error = store_snapshot_take(store, path, &position);
    bool has_failed = of_memory ? faulty_memory_has_failed() : faulty_vfs_has_failed();
    faulty_memory_arm(0, false);
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
    fail_each(make_small_scene, try_snapshot, (struct fault){.kind = FAULTY_IO}, 10);
}

TEST(test_store_snapshot__one_allocation_fails)
{
    fail_each(make_small_scene, try_snapshot, (struct fault){.kind = FAULTY_NONE}, 10);
}

/* A read gives all of it or says that there is no memory. */
static void read_or_no_memory(enum error error, uint64_t found, uint64_t expected)
{
    if (error == OK)
        assert_int_equal(found, expected);
    else
        assert_int_equal(error, ERROR_NO_MEMORY);
}

/* The call, which adds to count, finds so many rows. */
#define READ(call, expected)                              \
    do {                                                  \
        count = 0;                                        \
        enum error read_error = (call);                   \
        read_or_no_memory(read_error, count, (expected)); \
    } while (0)

static void read_some(struct store *store, uint64_t n)
{
    uint64_t last = work_last_seq(n);
    uint64_t in_room = (last + WORK_ROOMS - 1) / WORK_ROOMS;
    uint64_t room = test_id(0), number = 0;
    size_t count;
    READ(store_events_after(store, room, 0, UINT64_MAX, SIZE_MAX, count_event, &count), in_room);
    READ(store_messages_before(store, room, 1, 0, 1, count_event, &count), last > 0);
    READ(store_each_account(store, count_account, &count), n < WORK_ACCOUNTS ? n : WORK_ACCOUNTS);
    READ(store_each_session(store, count_session, &count),
         last < WORK_SESSIONS ? last : WORK_SESSIONS);
    READ(store_each_room(store, count_room, &count), last < WORK_ROOMS ? last : WORK_ROOMS);
    if (n == 0)
        return;
    READ(store_get_outcome(store, test_id(200), 1, count_outcome, &count), 1);
    READ(store_log_read(store, last, count_log, &count),
         work_batches(store_log_last(store)) - n + 1);
    enum error error = store_number_at(store, room, last, &number);
    read_or_no_memory(error, number, in_room);
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

static bool try_memory(const struct scene *scene, uint64_t k, struct fault fault)
{
    char folder[TEST_PATH_SIZE];
    struct store *store = NULL;
    struct error_text why;
    uint64_t n = scene->batches;
    start(scene, folder);
    faulty_memory_arm(k, fault.lasting);
    enum error error = try_open(&store, folder, &why);
    if (error == OK)
        error = work_replay(store);
    for (uint64_t i = 0; i < scene->more && store != NULL && error == OK; i++) {
        error = work_apply(store, n + 1);
        n += error == OK;
        if (error == OK)
            error = store_project(store, true, &why);
    }
    if (error != OK)
        assert_int_equal(error, ERROR_NO_MEMORY);
    if (store != NULL) {
        uint64_t shown = work_batches(store_position(store)); /* n, unless the replay failed */
        read_some(store, shown);
        read_with_reader(store, shown);
    }
    bool has_failed = faulty_memory_has_failed();
    faulty_memory_arm(0, false);
    if (store != NULL) { /* memory is back */
        assert_ok(store, work_replay(store));
        work_check(store, n);
    }
    store_close(store);
    if (error != OK)
        check_reopened(folder, n);
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

TEST(test_memory__one_allocation_fails)
{
    const struct fault fault = {.stride = ALLOCATION_STRIDE};
    fail_each(make_nothing, try_memory, fault, 100);
    fail_each(make_small_scene, try_memory, fault, 100);
}

TEST(test_memory__is_used_up)
{
    const struct fault fault = {.lasting = true, .stride = ALLOCATION_STRIDE};
    fail_each(make_small_scene, try_memory, fault, 100);
}

#define OPENING_READS_MAX 30 /* pages, and headers of the log */

static uint64_t reads_to_open(uint64_t batches)
{
    char folder[TEST_PATH_SIZE];
    make_folder(folder);
    struct store *store = open_store(folder);
    work_apply_all(store, 1, batches);
    for (uint64_t n = 1; n <= batches; n++)
        assert_ok(store, store_add_orphan(store, &(struct log_entry){.first_seq = 1,
                                                                     .last_seq = 1,
                                                                     .bytes = (uint8_t[1000]){1},
                                                                     .size = 1000}));
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
    faulty_memory_install();
    faulty_vfs_install();
    return 0;
}
