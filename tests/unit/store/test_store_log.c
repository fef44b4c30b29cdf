/* SPDX-License-Identifier: MIT */
/* The log of a store on a disk that fails, and under a process that dies, at every call: a commit that
 * was reported is there, and one that was refused is not. Also resets, and the log that a snapshot
 * carries. segment_log has tests of its own. */
#include "store/store_internal.h"

#include "spec.pb-c.h"
#include "support/faulty_calls.h"
#include "support/test.h"
#include "test_store_support.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#define BEFORE 6 /* batches in the folder that each try begins with */
#define MORE 8   /* that each try adds: they begin the next segment */
#define EPOCH (UINT64_C(1) << 16 | TEST_NODE)

static const uint8_t cluster[STORE_CLUSTER_BYTES] = {1, 2, 3};

/* Prunes of the log that come in between when a snapshot is about to read it. */
static struct {
    unsigned count;
    uint64_t batch;          /* that the next one forgets, with all before it; one more each time */
    struct store *writer;    /* not NULL: commits this batch instead */
    struct store *cancelled; /* not NULL: cancels its work instead */
} overtaking;

enum error __real_segment_log_read(struct segment_log *log, uint64_t first_seq,
                                   enum error (*visit)(void *context,
                                                       const struct log_entry *entry),
                                   void *context, struct error_text *why);
enum error __wrap_segment_log_read(struct segment_log *log, uint64_t first_seq,
                                   enum error (*visit)(void *context,
                                                       const struct log_entry *entry),
                                   void *context, struct error_text *why);

enum error __wrap_segment_log_read(struct segment_log *log, uint64_t first_seq,
                                   enum error (*visit)(void *context,
                                                       const struct log_entry *entry),
                                   void *context, struct error_text *why)
{
    if (overtaking.writer != NULL) {
        struct store *writer = overtaking.writer;
        overtaking.writer = NULL;
        assert_ok(writer, work_apply(writer, overtaking.batch));
    }
    if (overtaking.cancelled != NULL)
        store_cancel(overtaking.cancelled);
    if (overtaking.count > 0) {
        overtaking.count--;
        segment_log_prune(log, work_last_seq(overtaking.batch++) + 1);
    }
    return __real_segment_log_read(log, first_seq, visit, context, why);
}

struct fixture {
    char folder[TEST_PATH_SIZE];
    struct store *store; /* NULL: closed */
};

static void begin(struct fixture *f)
{
    make_folder(f->folder);
    f->store = open_store(f->folder);
}

static void end(struct fixture *f)
{
    faulty_calls_arm(FAULTY_CALLS_NONE, 0, 0);
    store_close(f->store);
    remove_folder(f->folder);
}

static void project(struct store *store, bool wants_sync)
{
    struct error_text why = {""};
    if (store_project(store, wants_sync, &why) != OK)
        fail_msg("%s", why.text);
}

/* ---- erased texts ---- */

/* Packs a batch with one message. Returns its size. */
static size_t pack_message(uint8_t *bytes, uint64_t seq, const char *text)
{
    Jackdaw__MessageSent sent = JACKDAW__MESSAGE_SENT__INIT;
    Jackdaw__Delta delta = JACKDAW__DELTA__INIT;
    Jackdaw__Batch batch = JACKDAW__BATCH__INIT;
    Jackdaw__Delta *deltas[] = {&delta};
    uint8_t salt[16] = {(uint8_t)seq};
    sent.text = (char *)(uintptr_t)text;
    sent.text_salt = (ProtobufCBinaryData){sizeof salt, salt};
    delta.change_case = JACKDAW__DELTA__CHANGE_MESSAGE_SENT;
    delta.message_sent = &sent;
    batch.epoch = EPOCH;
    batch.first_seq = seq;
    batch.n_deltas = 1;
    batch.deltas = deltas;
    return jackdaw__batch__pack(&batch, bytes);
}

static enum error append_copy(void *context, const struct log_entry *entry)
{
    struct store *store = context;
    assert_ok(store, store_begin(store));
    if (entry->first_seq == 1)
        assert_ok(store,
                  store_add_epoch(store, (struct epoch_start){.epoch = EPOCH, .first_seq = 1}));
    assert_ok(store, store_log_append(store, entry));
    return store_commit(store);
}

static bool file_holds(const char *folder, const char *name, const char *text)
{
    char path[TEST_PATH_SIZE];
    static char bytes[2 * TEST_SEGMENT_BYTES];
    join_path(path, folder, name);
    FILE *file = fopen(path, "r");
    assert_non_null(file);
    size_t size = fread(bytes, 1, sizeof bytes, file);
    assert_int_equal(fclose(file), 0);
    return memmem(bytes, size, text, strlen(text)) != NULL;
}

/* Another store gets the entries from this one, after the erasing: as a slave that catches up. */
TEST_F(test_store_log__erased_texts_keep_the_digest)
{
    struct fixture slave;
    struct error_text why = {""};
    uint8_t digest[LOG_DIGEST_BYTES], other[LOG_DIGEST_BYTES];
    for (uint64_t seq = 1; seq <= 3; seq++) {
        uint8_t bytes[200];
        size_t size = pack_message(bytes, seq, seq == 2 ? "the secret" : "what stays");
        const struct log_entry entry = {
            .epoch = EPOCH, .first_seq = seq, .last_seq = seq, .bytes = bytes, .size = size};
        assert_int_equal(append_copy(f->store, &entry), OK);
    }
    store_digest(f->store, digest);
    assert_true(file_holds(f->folder, "log/0000000000000001.log", "the secret"));
    assert_int_equal(store_erase_texts(f->store, (const uint64_t[]){2}, 1, &why), OK);
    assert_false(file_holds(f->folder, "log/0000000000000001.log", "the secret"));
    assert_true(file_holds(f->folder, "log/0000000000000001.log", "what stays"));
    assert_int_equal(store_erase_texts(f->store, (const uint64_t[]){4}, 1, &why), ERROR_NOT_FOUND);
    begin(&slave);
    assert_ok(f->store, store_log_read(f->store, 1, append_copy, slave.store));
    store_digest(slave.store, other);
    assert_memory_equal(digest, other, sizeof digest);
    assert_false(file_holds(slave.folder, "log/0000000000000001.log", "the secret"));
    end(&slave);
    store_close(f->store);
    f->store = open_store(f->folder);
    store_digest(f->store, other);
    assert_memory_equal(digest, other, sizeof digest);
    struct store_scan scan = {0};
    while (!scan.is_done)
        assert_ok(f->store, store_scan(f->store, &scan, 1 << 20));
}

TEST(test_store_log__memory_erases_nothing)
{
    struct error_text why = {""};
    struct store *store = open_store(NULL);
    assert_int_equal(store_erase_texts(store, (const uint64_t[]){1}, 1, &why), OK);
    store_close(store);
}

/* ---- a disk that fails ---- */

/* The folder that a crash left with BEFORE batches, of which the database lacks one. */
static void make_scene(char folder[static TEST_PATH_SIZE])
{
    char whole[TEST_PATH_SIZE];
    make_folder(whole);
    make_folder(folder);
    struct store *store = open_store(whole);
    work_apply_all(store, 1, BEFORE - 1);
    project(store, true);
    work_apply_all(store, BEFORE, BEFORE);
    copy_folder(whole, folder);
    store_close(store);
    remove_folder(whole);
}

static void check_reopened(const char *folder, uint64_t n, bool is_uncertain)
{
    struct store *store = open_store(folder);
    assert_ok(store, work_replay(store));
    uint64_t found = work_batches(store_position(store));
    assert_in_range(found, n, is_uncertain ? n + 1 : n);
    work_check(store, found);
    assert_ok(store, work_apply(store, found + 1));
    store_close(store);
}

/* A process that dies now leaves exactly n batches. */
static void check_crash_image(const char *folder, uint64_t n)
{
    char image[TEST_PATH_SIZE];
    make_folder(image);
    copy_folder(folder, image);
    check_reopened(image, n, false);
    remove_folder(image);
}

struct fault {
    enum faulty_calls kind;
    int number; /* errno */
};

static bool is_expected(enum error error, struct fault fault)
{
    return error == ERROR_IO || (fault.number == ENOSPC && error == ERROR_DISK_FULL);
}

/* Commits batch n + 1. Returns whether it is there; *goes_on: the store is of use. */
static bool commit_once(struct store *store, const char *folder, uint64_t n, struct fault fault,
                        bool *goes_on)
{
    enum error error = work_apply(store, n + 1);
    if (error == OK)
        return true;
    assert_true(is_expected(error, fault));
    assert_non_null(strstr(store_last_problem(store), "commit: "));
    assert_int_equal(store_position(store).seq, work_last_seq(n));
    *goes_on = fault.kind == FAULTY_CALLS_FAIL_ONCE;
    if (!*goes_on)
        return false;
    check_crash_image(folder, n); /* what was refused never appears */
    assert_ok(store, work_apply(store, n + 1));
    return true;
}

/* Returns how many batches were committed; *is_uncertain: one more may be there. */
static uint64_t write_batches(struct store *store, const char *folder, struct fault fault,
                              bool *is_uncertain)
{
    uint64_t n = BEFORE;
    bool goes_on = true;
    while (goes_on && n < BEFORE + MORE) {
        struct error_text why = {""};
        bool is_there = commit_once(store, folder, n, fault, &goes_on);
        *is_uncertain = !is_there;
        n += is_there;
        enum error error = store_project(store, n % 2 == 0, &why);
        if (error != OK && !is_expected(error, fault))
            fail_msg("%s: %s", error_name(error), why.text);
        (void)store_log_maintain(store, &why); /* the next commit does what this did not */
    }
    return n;
}

/* Whether a call failed. */
static bool try_fault(const char *scene, struct fault fault, uint64_t k)
{
    char folder[TEST_PATH_SIZE];
    struct store *store = NULL;
    struct error_text why;
    bool is_uncertain = false;
    uint64_t n = BEFORE;
    make_folder(folder);
    copy_folder(scene, folder);
    faulty_calls_arm(fault.kind, k, fault.number);
    enum error error = try_open(&store, folder, &why);
    if (error == OK && (error = work_replay(store)) == OK)
        n = write_batches(store, folder, fault, &is_uncertain);
    else
        assert_true(is_expected(error, fault));
    store_close(store);
    bool has_failed = faulty_calls_have_failed();
    faulty_calls_arm(FAULTY_CALLS_NONE, 0, 0);
    check_reopened(folder, n, is_uncertain);
    remove_folder(folder);
    return has_failed;
}

static void fail_each(struct fault fault)
{
    char scene[TEST_PATH_SIZE];
    make_scene(scene);
    uint64_t k = 1;
    while (try_fault(scene, fault, k))
        k++;
    assert_true(k > 50);
    remove_folder(scene);
}

TEST(test_store_log__one_call_fails)
{
    fail_each((struct fault){FAULTY_CALLS_FAIL_ONCE, EIO});
}

TEST(test_store_log__disk_is_full_once)
{
    fail_each((struct fault){FAULTY_CALLS_FAIL_ONCE, ENOSPC});
}

TEST(test_store_log__disk_stays_broken)
{
    fail_each((struct fault){FAULTY_CALLS_FAIL, EIO});
}

TEST(test_store_log__disk_stays_full)
{
    fail_each((struct fault){FAULTY_CALLS_FAIL, ENOSPC});
}

/* A commit in parts whose write fails leaves nothing once it was rolled back. */
TEST_F(test_store_commit__in_parts_and_the_write_fails)
{
    struct store *store = f->store;
    assert_ok(store, work_apply(store, 1));
    assert_ok(store, store_begin(store));
    assert_ok(store, work_write(store, 2));
    assert_ok(store, store_commit_prepare(store));
    faulty_calls_arm(FAULTY_CALLS_FAIL_ONCE, 1, ENOSPC);
    enum error written = store_commit_write(store);
    assert_int_equal(written, ERROR_DISK_FULL);
    assert_string_equal(store_last_problem(store), "");
    assert_error(store, store_commit_finish(store, written), ERROR_DISK_FULL);
    assert_non_null(strstr(store_last_problem(store), "commit"));
    assert_error(store, work_write(store, 3), ERROR_DISK_FULL); /* it is broken */
    assert_error(store, store_commit_prepare(store), ERROR_DISK_FULL);
    store_rollback(store);
    work_check(store, 1);
    check_crash_image(f->folder, 1);
    assert_ok(store, work_apply(store, 2));
    store_close(store);
    f->store = NULL;
    check_reopened(f->folder, 2, false);
}

/* A commit is one write and one sync of the log, and nothing else. */
static void count_calls(void *context, const char *name, const char *path, const char *other)
{
    unsigned *counts = context;
    (void)other;
    assert_non_null(strstr(path, "/" SEGMENT_LOG_FOLDER "/"));
    counts[strcmp(name, "write") == 0 ? 0 : strcmp(name, "sync") == 0 ? 1 : 2]++;
}

TEST_F(test_store_commit__is_one_write_and_one_sync)
{
    unsigned counts[3] = {0, 0, 0};
    work_apply_all(f->store, 1, 3);
    faulty_calls_watch(count_calls, counts);
    enum error error = work_apply(f->store, 5 - 1);
    faulty_calls_watch(NULL, NULL);
    assert_ok(f->store, error);
    assert_int_equal(counts[0], 1);
    assert_int_equal(counts[1], 1);
    assert_int_equal(counts[2], 0);
}

/* ---- a process that dies ---- */

/* *reported: the batches that the child has committed; shared. */
static _Noreturn void write_and_die(const char *folder, uint64_t k, volatile uint64_t *reported)
{
    struct store *store = NULL;
    struct error_text why;
    faulty_calls_arm(FAULTY_CALLS_DIE, k, 0);
    if (try_open(&store, folder, &why) != OK || work_replay(store) != OK)
        _exit(2);
    for (uint64_t n = BEFORE + 1; n <= BEFORE + MORE; n++) {
        if (work_apply(store, n) != OK)
            _exit(3);
        *reported = n;
        if (store_project(store, n % 2 == 0, &why) != OK || store_log_maintain(store, &why) != OK)
            _exit(4);
    }
    store_close(store);
    _exit(0);
}

/* Waits for the child. Whether it died as it was to. */
static bool has_died(pid_t child)
{
    int status;
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_true(WIFEXITED(status));
    if (WEXITSTATUS(status) != 0)
        assert_int_equal(WEXITSTATUS(status), FAULTY_CALLS_EXIT);
    return WEXITSTATUS(status) != 0;
}

static bool try_death(const char *scene, uint64_t k, volatile uint64_t *reported)
{
    char folder[TEST_PATH_SIZE];
    make_folder(folder);
    copy_folder(scene, folder);
    *reported = BEFORE;
    pid_t child = fork();
    assert_true(child >= 0);
    if (child == 0)
        write_and_die(folder, k, reported);
    bool died = has_died(child);
    check_reopened(folder, *reported, died);
    remove_folder(folder);
    return died;
}

TEST(test_store_log__process_dies_at_every_call)
{
    char scene[TEST_PATH_SIZE];
    make_scene(scene);
    uint64_t *reported =
        mmap(NULL, sizeof *reported, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    assert_true(reported != MAP_FAILED);
    uint64_t k = 1;
    while (try_death(scene, k, reported))
        k++;
    assert_true(k > 50);
    assert_int_equal(*reported, BEFORE + MORE);
    (void)munmap(reported, sizeof *reported);
    remove_folder(scene);
}

/* ---- reset ---- */

static enum error write_list(struct store *store)
{
    struct epoch_start start = {.epoch = EPOCH, .first_seq = store_position(store).seq + 1};
    struct log_entry entry = {.epoch = EPOCH,
                              .first_seq = start.first_seq,
                              .last_seq = start.first_seq,
                              .kind = LOG_ENTRY_MEMBERS,
                              .bytes = (const uint8_t *)"list",
                              .size = 4};
    enum error error = store_begin(store);
    if (error == OK && start.first_seq == 1)
        error = store_add_epoch(store, start);
    if (error == OK)
        error = store_put_members(store, log_entry_last(&entry), entry.bytes, entry.size);
    if (error == OK)
        error = store_log_append(store, &entry);
    return error == OK ? store_commit(store) : error;
}

/* Three lists, of which the database lacks one. */
static void make_blank_scene(char folder[static TEST_PATH_SIZE])
{
    char whole[TEST_PATH_SIZE];
    make_folder(whole);
    make_folder(folder);
    struct store *store = open_store(whole);
    assert_ok(store, store_set_cluster(store, cluster));
    for (int i = 0; i < 3; i++) {
        if (i == 2)
            project(store, true);
        assert_ok(store, write_list(store));
    }
    copy_folder(whole, folder);
    store_close(store);
    remove_folder(whole);
}

static enum error replay_lists(struct store *store)
{
    enum error error = OK;
    while (error == OK && store_position(store).seq < store_log_last(store).seq)
        error = write_list(store);
    return error;
}

/* Whether the store is as new; fails the test if it is neither that nor as before the reset. */
static bool check_reset(struct store *store)
{
    const uint8_t none[STORE_CLUSTER_BYTES] = {0};
    uint8_t found[STORE_CLUSTER_BYTES];
    struct log_position position;
    size_t used, count = 0;
    bool is_new = store_position(store).seq == 0;
    store_cluster(store, found);
    assert_memory_equal(found, is_new ? none : cluster, sizeof found);
    assert_int_equal(store_log_last(store).seq, is_new ? 0 : 3);
    assert_int_equal(store_log_first(store), is_new ? 0 : 1);
    assert_int_equal(store_log_bytes(store), is_new ? 0 : 12);
    assert_int_equal(store_epochs(store).count, is_new ? 0 : 1);
    assert_error(store, store_get_members(store, &position, NULL, 0, &used),
                 is_new ? ERROR_NOT_FOUND : OK);
    assert_error(store, store_log_read(store, 1, count_log, &count), is_new ? ERROR_NOT_FOUND : OK);
    assert_int_equal(count, is_new ? 0 : 3);
    assert_true(store_is_blank(store));
    return is_new;
}

/* Opens after a crash; the reset can be done again, and a cluster begun. */
static bool check_after_reset(const char *folder)
{
    struct store *store = open_store(folder);
    assert_ok(store, replay_lists(store));
    bool is_new = check_reset(store);
    if (!is_new)
        assert_ok(store, store_reset(store));
    assert_true(check_reset(store));
    work_apply_all(store, 1, 3);
    store_close(store);
    store = open_store(folder);
    work_check(store, 3);
    store_close(store);
    return is_new;
}

static _Noreturn void reset_and_die(const char *folder, uint64_t k)
{
    struct store *store = NULL;
    struct error_text why;
    if (try_open(&store, folder, &why) != OK || replay_lists(store) != OK)
        _exit(2);
    faulty_calls_arm(FAULTY_CALLS_DIE, k, 0);
    _exit(store_reset(store) == OK ? 0 : 3);
}

TEST(test_store_reset__process_dies_at_every_call)
{
    char scene[TEST_PATH_SIZE];
    make_blank_scene(scene);
    bool was_new = false, died = true;
    uint64_t old_count = 0, k = 1;
    for (; died; k++) {
        char folder[TEST_PATH_SIZE];
        make_folder(folder);
        copy_folder(scene, folder);
        pid_t child = fork();
        assert_true(child >= 0);
        if (child == 0)
            reset_and_die(folder, k);
        died = has_died(child);
        bool is_new = check_after_reset(folder);
        assert_true(is_new || !was_new);
        was_new = is_new;
        old_count += !is_new;
        remove_folder(folder);
    }
    assert_true(was_new);
    assert_in_range(old_count, 2, k - 4);
    remove_folder(scene);
}

TEST(test_store_reset__one_call_fails)
{
    char scene[TEST_PATH_SIZE];
    make_blank_scene(scene);
    bool has_failed = true;
    uint64_t k = 1;
    for (; has_failed; k++) {
        char folder[TEST_PATH_SIZE];
        make_folder(folder);
        copy_folder(scene, folder);
        struct store *store = open_store(folder);
        assert_ok(store, replay_lists(store));
        faulty_calls_arm(FAULTY_CALLS_FAIL_ONCE, k, EIO);
        enum error error = store_reset(store);
        has_failed = faulty_calls_have_failed();
        faulty_calls_arm(FAULTY_CALLS_NONE, 0, 0);
        if (error != OK) {
            if (error != ERROR_IO || store_last_problem(store)[0] == '\0')
                fail_msg("call %u: %s: %s", (unsigned)k, error_name(error),
                         store_last_problem(store));
        }
        if (error == ERROR_IO) { /* the caller may try again */
            assert_ok(store, store_reset(store));
            assert_true(check_reset(store));
        }
        store_close(store);
        (void)check_after_reset(folder);
        remove_folder(folder);
    }
    assert_true(k > 6);
    remove_folder(scene);
}

/* ---- snapshots ---- */

/* The copy holds n batches, and the log from seq first on; and goes on from there. */
static void check_copy(const char *path, uint64_t n, uint64_t first)
{
    char folder[TEST_PATH_SIZE], target[TEST_PATH_SIZE];
    make_folder(folder);
    join_path(target, folder, STORE_FILE_NAME);
    copy_file(path, target);
    make_node(folder, TEST_NODE);
    for (int i = 0; i < 2; i++) {
        struct store *copy = open_store(folder);
        assert_int_equal(store_log_last(copy).seq, work_last_seq(n));
        if (i == 0)
            assert_int_equal(store_log_first(copy), first);
        work_check(copy, n);
        store_close(copy);
    }
    struct store *copy = open_store(folder);
    work_apply_all(copy, n + 1, n + 10);
    store_close(copy);
    copy = open_store(folder);
    work_check(copy, n + 10);
    store_close(copy);
    remove_folder(folder);
}

static void take(struct store *store, char path[static TEST_PATH_SIZE], const char *folder)
{
    struct log_position position;
    join_path(path, folder, "copy");
    assert_ok(store, store_snapshot_take(store, path, &position));
    assert_int_equal(position.seq, store_position(store).seq);
}

/* The log has entries of 30 batches in several segments; a prune ends after each batch once. */
TEST_F(test_store_snapshot__carries_the_log_pruned_anywhere)
{
    char path[TEST_PATH_SIZE];
    for (uint64_t n = 1; n <= 30; n++)
        assert_ok(f->store, work_apply(f->store, n));
    project(f->store, true);
    for (uint64_t n = 0; n <= 22; n++) {
        uint64_t first = store_log_first(f->store);
        store_log_prune(f->store, work_last_seq(n) + 1);
        if (work_last_seq(n) + 1 > first)
            first = work_last_seq(n) + 1;
        assert_int_equal(store_log_first(f->store), first);
        take(f->store, path, f->folder);
        check_copy(path, 30, first);
    }
}

TEST_F(test_store_snapshot__lacks_what_came_later)
{
    char path[TEST_PATH_SIZE];
    work_apply_all(f->store, 1, 8);
    take(f->store, path, f->folder);
    work_apply_all(f->store, 9, 12);
    check_copy(path, 8, 1);
}

TEST_F(test_store_snapshot__a_commit_overtakes_it)
{
    char path[TEST_PATH_SIZE];
    struct log_position position;
    join_path(path, f->folder, "copy");
    work_apply_all(f->store, 1, 8);
    struct store *reader = open_reader(f->store);
    overtaking.batch = 9;
    overtaking.writer = f->store;
    assert_ok(reader, store_snapshot_take(reader, path, &position));
    store_close(reader);
    assert_null(overtaking.writer);
    assert_int_equal(store_position(f->store).seq, work_last_seq(9));
    assert_int_equal(position.seq, work_last_seq(8));
    check_copy(path, 8, 1);
}

TEST_F(test_store_cancel__while_a_snapshot_copies_the_log)
{
    char path[TEST_PATH_SIZE];
    struct log_position position;
    join_path(path, f->folder, "copy");
    work_apply_all(f->store, 1, 8);
    struct store *reader = open_reader(f->store);
    overtaking.cancelled = reader;
    assert_error(reader, store_snapshot_take(reader, path, &position), ERROR_CANCELLED);
    overtaking.cancelled = NULL;
    assert_false(file_exists(path));
    assert_ok(reader, store_snapshot_take(reader, path, &position));
    store_close(reader);
    check_copy(path, 8, 1);
}

/* A prune comes in between each time that the copy begins to read the log. */
static void check_overtaken(struct fixture *f, unsigned times, enum error expected)
{
    struct log_position position;
    char path[TEST_PATH_SIZE];
    join_path(path, f->folder, "copy");
    work_apply_all(f->store, 1, 60);
    project(f->store, true);
    overtaking.count = times;
    overtaking.batch = 1;
    enum error error = store_snapshot_take(f->store, path, &position);
    assert_int_equal(overtaking.count, 0);
    assert_error(f->store, error, expected);
    if (error == OK)
        check_copy(path, 60, work_last_seq(overtaking.batch - 1) + 1);
}

TEST_F(test_store_snapshot__a_prune_overtakes_it)
{
    check_overtaken(f, 3, OK);
}

TEST_F(test_store_snapshot__a_prune_overtakes_it_every_time)
{
    check_overtaken(f, 8, ERROR_NOT_FOUND);
    assert_true(store_last_problem(f->store)[0] != '\0');
    char partial[TEST_PATH_SIZE];
    join_path(partial, f->folder, "copy.part");
    assert_false(file_exists(partial));
}
