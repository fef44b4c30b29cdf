/* SPDX-License-Identifier: MIT */
/* Opening: the folder and its lock, versions, databases that are not ours or not whole, readers. */
#include "store/store_internal.h"

#include "support/damage.h"
#include "support/test.h"
#include "test_store_support.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

struct fixture {
    char folder[TEST_PATH_SIZE];
    char path[TEST_PATH_SIZE]; /* of the database */
    char copy[TEST_PATH_SIZE];
    struct store *store; /* NULL: closed */
};

static void begin(struct fixture *f)
{
    make_folder(f->folder);
    join_path(f->path, f->folder, STORE_FILE_NAME);
    join_path(f->copy, f->folder, "copy");
}

static void begin_store(struct fixture *f)
{
    begin(f);
    f->store = open_store(f->folder);
}

static void end(struct fixture *f)
{
    store_close(f->store);
    remove_folder(f->folder);
}

#define STORE_TEST(name) TEST_ON(name, struct fixture, begin_store, end)

/* Opening must fail with the error and a sentence that holds every one of the words. */
static void expect_refusal(const char *folder, enum error expected, const char *word,
                           const char *other)
{
    struct store *store = NULL;
    struct error_text why;
    enum error error = try_open(&store, folder, &why);
    if (error != expected)
        fail_msg("\"%s\", not \"%s\": %s", error_name(error), error_name(expected), why.text);
    assert_null(store);
    if (strstr(why.text, word) == NULL || strstr(why.text, other) == NULL)
        fail_msg("neither \"%s\" nor \"%s\" may be missing in: %s", word, other, why.text);
}

static void fill(const char *folder, uint64_t batches)
{
    struct store *store = open_store(folder);
    struct error_text why;
    for (uint64_t n = 1; n <= batches; n++) { /* each with runs of events of its own */
        assert_ok(store, work_apply(store, n));
        assert_int_equal(store_project(store, false, &why), OK);
    }
    store_close(store);
}

/* Adds the batches from first to last, prunes before the batch `kept`, and removes what is pruned. */
static void fill_on(const char *folder, uint64_t first, uint64_t last, uint64_t kept)
{
    struct error_text why;
    struct store *store = open_store(folder);
    work_apply_all(store, first, last);
    assert_int_equal(store_project(store, true, &why), OK);
    store_log_prune(store, work_last_seq(kept - 1) + 1);
    assert_int_equal(store_log_maintain(store, &why), OK);
    store_close(store);
}

/* The closed database opens, and holds so many batches. */
static void expect_batches(const char *folder, uint64_t batches)
{
    struct store *store = open_store(folder);
    work_check(store, batches);
    store_close(store);
}

TEST_F(test_store_open__makes_the_folder_private)
{
    char deep[TEST_PATH_SIZE], path[TEST_PATH_SIZE];
    join_path(deep, f->folder, "one/two//three/");
    join_path(path, f->folder, "one/two/three/" STORE_FILE_NAME);
    fill(deep, 2);
    struct stat status;
    assert_int_equal(stat(deep, &status), 0);
    assert_int_equal(status.st_mode & 0777, 0700);
    assert_int_equal(stat(path, &status), 0);
    assert_int_equal(status.st_mode & 0777, 0600);
}

TEST_F(test_store_open__in_a_relative_folder)
{
    char before[TEST_PATH_SIZE];
    assert_non_null(getcwd(before, sizeof before));
    assert_int_equal(chdir(f->folder), 0);
    fill("file:odd?mode=memory", 2); /* a name, not a URI */
    expect_batches("file:odd?mode=memory", 2);
    assert_int_equal(chdir(before), 0);
}

TEST_F(test_store_open__folder_that_cannot_be)
{
    char path[TEST_PATH_SIZE];
    join_path(path, f->folder, "file");
    write_text(path, "");
    expect_refusal(path, ERROR_DENIED, "not a folder", "another data folder");
    join_path(path, f->folder, "file/below");
    expect_refusal(path, ERROR_DENIED, "file", "not a folder");
    expect_refusal("/proc/jackdaw", ERROR_DENIED, "/proc/jackdaw", "");
    expect_refusal("", ERROR_INVALID, "no name", "");
    char name[400];
    memset(name, 'n', sizeof name);
    name[sizeof name - 1] = '\0';
    join_path(path, f->folder, name);
    expect_refusal(path, ERROR_INVALID, "nnn", "");
}

TEST_F(test_store_open__folder_of_another_owner)
{
    assert_int_equal(chmod(f->folder, 0500), 0);
    if (geteuid() != 0) /* root may write anywhere */
        expect_refusal(f->folder, ERROR_DENIED, f->folder, "");
    assert_int_equal(chmod(f->folder, 0700), 0);
}

TEST_F(test_store_open__held_by_this_process)
{
    struct store *store = open_store(f->folder);
    char pid[32];
    (void)snprintf(pid, sizeof pid, "process %ld;", (long)getpid());
    expect_refusal(f->folder, ERROR_IN_USE, pid, "another data folder");
    assert_ok(store, work_apply(store, 1)); /* the first is not disturbed */
    store_close(store);
    expect_batches(f->folder, 1);
}

STORE_TEST(test_store_open__held_by_another_process)
{
    pid_t child = fork();
    assert_true(child >= 0);
    if (child == 0) {
        struct store *second;
        struct error_text why;
        _exit(try_open(&second, f->folder, &why) == ERROR_IN_USE ? 0 : 1);
    }
    int status;
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_int_equal(status, 0);
}

TEST_F(test_store_open__lock_left_by_the_dead)
{
    fill(f->folder, 1);
    char path[TEST_PATH_SIZE];
    join_path(path, f->folder, "lock");
    write_text(path, "not a number at all, and quite a long line");
    fill(f->folder, 0);
}

TEST_F(test_store_open__of_another_node)
{
    fill(f->folder, 1);
    struct store *store = NULL;
    struct error_text why;
    struct store_options options = {.folder = f->folder, .node_id = 65535};
    assert_int_equal(store_open(&store, &options, &why), ERROR_MISMATCH);
    assert_non_null(strstr(why.text, "belongs to server 7, not 65535"));
    fill(f->folder, 0);
}

/* A copy of the database alone, or of version 1 of this program. */
TEST_F(test_store_open__without_the_file_of_the_node)
{
    char node[TEST_PATH_SIZE], away[TEST_PATH_SIZE];
    join_path(node, f->folder, NODE_FILE_NAME);
    join_path(away, f->folder, "away");
    fill(f->folder, 1);
    assert_int_equal(rename(node, away), 0);
    expect_refusal(f->folder, ERROR_CORRUPT, "node is missing", "if this is a backup");
    assert_false(file_exists(node));
    damage_execute(f->path, "PRAGMA user_version = 1");
    expect_refusal(f->folder, ERROR_VERSION, "version 1,", "the program that made it");
    damage_execute(f->path, "PRAGMA user_version = 2");
    assert_int_equal(rename(away, node), 0);
    expect_batches(f->folder, 1);
}

/* The promise holds, and the log gives the rest. */
TEST_F(test_store_open__without_the_database)
{
    struct store *store = open_store(f->folder);
    assert_ok(store, work_apply(store, 1));
    assert_ok(store, store_set_promised(store, 9));
    store_close(store);
    assert_int_equal(unlink(f->path), 0);
    store = open_store(f->folder);
    assert_int_equal(store_promised(store), 9);
    assert_int_equal(store_position(store).seq, 0);
    assert_ok(store, work_replay(store));
    work_check(store, 1);
    store_close(store);
}

TEST_F(test_store_open__of_another_program)
{
    damage_execute(f->path, "CREATE TABLE notes (text)");
    expect_refusal(f->folder, ERROR_MISMATCH, "another program", "another data folder");
    damage_execute(f->path, "DROP TABLE notes; PRAGMA application_id = 77");
    expect_refusal(f->folder, ERROR_MISMATCH, "another program", f->folder);
}

TEST_F(test_store_open__of_another_version)
{
    fill(f->folder, 3);
    damage_execute(f->path, "PRAGMA user_version = 1000");
    expect_refusal(f->folder, ERROR_VERSION, "version 1000", "the program that made it");
    damage_execute(f->path, "PRAGMA user_version = 1");
    expect_refusal(f->folder, ERROR_VERSION, "version 1,", "the program that made it");
    damage_execute(f->path, "PRAGMA user_version = -1");
    expect_refusal(f->folder, ERROR_VERSION, "version -1", "the program that made it");
    char sql[64];
    (void)snprintf(sql, sizeof sql, "PRAGMA user_version = %d", SCHEMA_VERSION);
    damage_execute(f->path, sql); /* refusing changed nothing */
    expect_batches(f->folder, 3);
}

static int read_number(sqlite3 *database, const char *sql)
{
    sqlite3_stmt *statement = NULL;
    assert_int_equal(sqlite3_prepare_v2(database, sql, -1, &statement, NULL), SQLITE_OK);
    assert_int_equal(sqlite3_step(statement), SQLITE_ROW);
    int number = sqlite3_column_int(statement, 0);
    assert_int_equal(sqlite3_finalize(statement), SQLITE_OK);
    return number;
}

/* Version 0 is an empty file: what a crash leaves between making the file and its first commit. */
TEST_F(test_store_open__of_an_empty_file)
{
    write_text(f->path, "");
    fill(f->folder, 4);
    expect_batches(f->folder, 4);
}

TEST_F(test_store_open__not_a_database)
{
    char text[23001];
    for (size_t i = 0; i < 1000; i++)
        (void)snprintf(text + i * 23, 24, "this is not a database\n");
    write_text(f->path, text);
    expect_refusal(f->folder, ERROR_CORRUPT, "not a database", "keep the data folder");
}

TEST_F(test_store_open__broken_digest)
{
    fill(f->folder, 5);
    damage_execute(f->path, "UPDATE log_end SET digest = randomblob(32)");
    expect_refusal(f->folder, ERROR_CORRUPT, "digest", "keep the data folder");
}

/* Refusing changes no file. */
static void expect_unchanged_refusal(struct fixture *f, const char *word)
{
    char before[TEST_PATH_SIZE];
    char command[3 * TEST_PATH_SIZE];
    make_folder(before);
    copy_folder(f->folder, before);
    expect_refusal(f->folder, ERROR_CORRUPT, word, "keep the data folder");
    (void)snprintf(command, sizeof command,
                   "diff -r -x lock -x jackdaw.db-wal -x jackdaw.db-shm %s %s", before, f->folder);
    assert_int_equal(system(command), 0);
    remove_folder(before);
}

/* The two of them as a restored backup of one alone leaves them. */
TEST_F(test_store_open__log_and_database_of_other_times)
{
    char log[TEST_PATH_SIZE], old_log[TEST_PATH_SIZE];
    join_path(log, f->folder, SEGMENT_LOG_FOLDER);
    join_path(old_log, f->folder, "old");
    fill(f->folder, 6);
    copy_file(f->path, f->copy);
    assert_int_equal(mkdir(old_log, 0700), 0);
    copy_folder(log, old_log);
    fill_on(f->folder, 7, 60, 60); /* the log loses its first segments */
    damage_execute(f->path, "PRAGMA wal_checkpoint(TRUNCATE)");
    char keep[TEST_PATH_SIZE];
    join_path(keep, f->folder, "new");
    assert_int_equal(rename(log, keep), 0);
    assert_int_equal(rename(old_log, log), 0);
    expect_unchanged_refusal(f, "before seq"); /* the log is shorter than the database */
    assert_int_equal(rename(log, old_log), 0);
    assert_int_equal(rename(keep, log), 0);
    expect_batches(f->folder, 60);
    copy_file(f->copy, f->path);
    expect_unchanged_refusal(f, "begins after the end of the database");
}

TEST_F(test_store_open__log_of_another_history)
{
    char other[TEST_PATH_SIZE], from[TEST_PATH_SIZE], to[TEST_PATH_SIZE];
    make_folder(other);
    fill(f->folder, 5);
    struct store *store = open_store(other);
    assert_ok(store, store_begin(store));
    assert_ok(store, store_log_append(store, &(struct log_entry){.epoch = (1 << 16) | TEST_NODE,
                                                                 .first_seq = 1,
                                                                 .last_seq = work_last_seq(5),
                                                                 .bytes = (const uint8_t *)"x",
                                                                 .size = 1}));
    assert_ok(store, store_commit(store));
    store_close(store);
    join_path(from, other, SEGMENT_LOG_FOLDER);
    join_path(to, f->folder, SEGMENT_LOG_FOLDER);
    remove_folder(to);
    assert_int_equal(rename(from, to), 0);
    expect_unchanged_refusal(f, "digests differ");
    remove_folder(other);
}

TEST_F(test_store_open__epoch_starts_that_do_not_ascend)
{
    fill(f->folder, 14);
    damage_execute(f->path, "UPDATE epoch_start SET epoch = 1 WHERE first_seq > 1");
    expect_refusal(f->folder, ERROR_CORRUPT, "ascend", "");
}

static enum error ignore_account(void *context, const struct account_row *row)
{
    (void)context;
    return strlen(row->name) + strlen(row->folded) + strlen(row->password_hash) == SIZE_MAX
               ? ERROR_IO
               : OK;
}
static enum error ignore_session(void *context, const struct session_row *row)
{
    (void)context;
    return strlen(row->device) == SIZE_MAX ? ERROR_IO : OK;
}
static enum error ignore_room(void *context, const struct room_row *row)
{
    (void)context;
    return strlen(row->name) + strlen(row->folded) + strlen(row->topic) == SIZE_MAX ? ERROR_IO : OK;
}
static enum error ignore_member(void *context, const struct member_row *row)
{
    (void)context;
    return row->state < MEMBER_INVITED || row->state > MEMBER_BANNED ? ERROR_IO : OK;
}
static enum error ignore_event(void *context, const struct timeline_row *row)
{
    (void)context;
    return strlen(row->text) > row->text_size ? ERROR_IO : OK;
}
static enum error ignore_outcome(void *context, const struct outcome_row *row)
{
    (void)context;
    return strlen(row->text) == SIZE_MAX ? ERROR_IO : OK;
}
static enum error ignore_log(void *context, const struct log_entry *row)
{
    unsigned *sum = context;
    for (size_t i = 0; i < row->size; i++)
        *sum += row->bytes[i];
    return OK;
}

static enum error ignore_orphan(void *context, uint64_t id, const struct log_entry *row)
{
    unsigned *sum = context;
    *sum += (unsigned)id;
    for (size_t i = 0; i < row->size; i++)
        *sum += row->bytes[i];
    return OK;
}

static void note(enum error error, enum error *worst)
{
    if (error != OK && error != ERROR_NOT_FOUND && *worst == OK)
        *worst = error;
}

/* Reads whatever there is; returns the first error that is not "not found". */
static enum error read_everything(struct store *store)
{
    enum error worst = OK;
    unsigned sum = 0;
    uint8_t value[64];
    size_t used;
    uint64_t number;
    struct log_position position;
    note(store_each_account(store, ignore_account, NULL), &worst);
    note(store_each_session(store, ignore_session, NULL), &worst);
    note(store_each_room(store, ignore_room, NULL), &worst);
    note(store_each_member(store, ignore_member, NULL), &worst);
    note(store_log_read(store, store_log_first(store), ignore_log, &sum), &worst);
    note(store_get_members(store, &position, value, sizeof value, &used), &worst);
    note(store_each_orphan(store, 0, ignore_orphan, &sum), &worst);
    for (uint64_t i = 0; i < WORK_ROOMS; i++) {
        uint64_t room = test_id(i);
        note(store_events_after(store, room, 0, UINT64_MAX, SIZE_MAX, ignore_event, NULL), &worst);
        note(store_messages_before(store, room, 1, 0, SIZE_MAX, ignore_event, NULL), &worst);
        for (uint64_t seq = 0; seq < 100; seq += 7)
            note(store_number_at(store, room, seq, &number), &worst);
    }
    for (uint64_t i = 0; i < WORK_ACCOUNTS; i++)
        note(store_get_account(store, test_id(100 + i), ignore_account, NULL), &worst);
    for (uint64_t i = 0; i < WORK_SESSIONS; i++)
        for (uint64_t request = 1; request < 40; request++)
            note(store_get_outcome(store, test_id(200 + i), request, ignore_outcome, NULL), &worst);
    return worst;
}

static void vacuum(const char *from, const char *to)
{
    char command[2 * TEST_PATH_SIZE];
    (void)snprintf(command, sizeof command, "VACUUM INTO '%s'", to);
    damage_execute(from, command);
}

/* Fills the database, and keeps a copy of it whose columns take any value. */
static void keep_copy(struct fixture *f, uint64_t batches)
{
    fill(f->folder, batches);
    damage_loosen(f->path);
    vacuum(f->path, f->copy);
}

/* Puts the copy into the place of the database, and changes it. */
static void damage_copy(struct fixture *f, const char *change)
{
    assert_int_equal(unlink(f->path), 0);
    vacuum(f->copy, f->path);
    damage_execute(f->path, change);
}

TEST_F(test_store__rows_of_the_wrong_kind)
{
    static const char *const changes[] = {
        "UPDATE account SET name = x'00'",
        "UPDATE account SET name = NULL",
        "UPDATE account SET folded = cast(x'610062' AS TEXT) WHERE created_ms = 60",
        "UPDATE account SET nonce = x'00'",
        "UPDATE account SET nonce = zeroblob(1000)",
        "UPDATE account SET password_hash = x'07'",
        "UPDATE account SET created_ms = 'soon'",
        "UPDATE session SET token_hash = zeroblob(31)",
        "UPDATE session SET device = NULL",
        "UPDATE room SET topic = x'07'",
        "UPDATE room SET is_private = 2",
        "UPDATE room SET owner = 'nobody'",
        "UPDATE member SET state = 0",
        "UPDATE member SET state = 5",
        "UPDATE member SET since_seq = x'01'",
        "UPDATE event SET text = NULL",
        "UPDATE event SET kind = -1",
        "UPDATE event SET kind = 4294967296",
        "UPDATE event SET room = 0",
        "UPDATE event SET number = NULL",
        "DELETE FROM event",
        "UPDATE run_tail SET last_number = -1",
        "UPDATE run_tail SET last_seq = 'x'",
        "UPDATE run_tail SET page = 1000",
        "UPDATE run_tail SET page = -1",
        "UPDATE run_tail SET runs = x''",
        "UPDATE run_tail SET runs = 'text'",
        "UPDATE run_tail SET runs = x'ff'",
        "UPDATE run_tail SET runs = x'01010100'",
        "UPDATE run_tail SET runs = x'01010141'",
        "UPDATE run_tail SET runs = x'01000101'",
        "UPDATE run_tail SET runs = x'01010001'",
        "UPDATE run_tail SET runs = x'ffffffffffffffffff010101'",
        "UPDATE run_tail SET runs = zeroblob(64)",
        "UPDATE run_tail SET runs = zeroblob(100000)",
        "UPDATE run_page SET runs = x'ff'",
        "DELETE FROM run_page",
        "UPDATE outcome_tail SET part = -1",
        "UPDATE outcome_tail SET last_request = 'x'",
        "UPDATE outcome_tail SET outcomes = x'ff'",
        "UPDATE outcome_tail SET outcomes = x'00'",
        "UPDATE outcome_tail SET outcomes = x'7f01'",
        "UPDATE outcome_tail SET outcomes = NULL",
        "UPDATE outcome_part SET outcomes = zeroblob(100)",
        "UPDATE cluster_members SET seq = -1",
        "UPDATE cluster_members SET bytes = NULL",
        "INSERT INTO orphan VALUES (7, 1, -1, 2, x'00')",
        "INSERT INTO orphan VALUES (-7, 1, 1, 2, x'00')",
        "INSERT INTO orphan VALUES (7, 1, 1, 2, 'text')",
    };
    keep_copy(f, 60);
    for (size_t i = 0; i < sizeof changes / sizeof *changes; i++) {
        damage_copy(f, changes[i]);
        struct store *store = NULL;
        struct error_text why;
        enum error error = try_open(&store, f->folder, &why);
        if (error == OK)
            error = read_everything(store);
        if (error != ERROR_CORRUPT)
            fail_msg("%s: %s", changes[i], error_name(error));
        assert_true(store == NULL || store_last_problem(store)[0] != '\0');
        store_close(store);
    }
}

TEST_F(test_store_open__node_and_log_of_the_wrong_kind)
{
    static const char *const changes[] = {
        "UPDATE node SET cluster = x'01'",
        "UPDATE node SET cluster = NULL",
        "DELETE FROM node",
        "UPDATE log_end SET digest = zeroblob(31)",
        "UPDATE log_end SET digest = NULL",
        "UPDATE log_end SET seq = 0",
        "UPDATE log_end SET seq = -1",
        "UPDATE log_end SET epoch = epoch + 1",
        "UPDATE log_end SET bytes = bytes + 1",
        "UPDATE log_end SET bytes = 'x'",
        "UPDATE log_end SET has_chat = 2",
        "DELETE FROM log_end",
        "INSERT INTO log_base VALUES (1, 0, 0, 0, zeroblob(32))", /* no entry follows it */
        "INSERT INTO log_base VALUES (1, 0, -1, 0, zeroblob(32))",
        "INSERT INTO log_base VALUES (1, 0, 0, 0, zeroblob(31))",
        "UPDATE epoch_start SET epoch = 'x'",
        "DROP TABLE node",
        "DROP TABLE log_end",
        "DROP TABLE log_base",
        "ALTER TABLE epoch_start RENAME COLUMN epoch TO age",
    };
    keep_copy(f, 20);
    for (size_t i = 0; i < sizeof changes / sizeof *changes; i++) {
        damage_copy(f, changes[i]);
        expect_refusal(f->folder, ERROR_CORRUPT, f->folder, "");
    }
}

static uint8_t *read_file(const char *path, size_t *size)
{
    struct stat status;
    int descriptor = open(path, O_RDONLY);
    assert_true(descriptor >= 0);
    assert_int_equal(fstat(descriptor, &status), 0);
    *size = (size_t)status.st_size;
    uint8_t *bytes = malloc(*size);
    assert_non_null(bytes);
    assert_int_equal(read(descriptor, bytes, *size), (ssize_t)*size);
    assert_int_equal(close(descriptor), 0);
    return bytes;
}

static void write_file(const char *path, const uint8_t *bytes, size_t size)
{
    int descriptor = open(path, O_WRONLY | O_CREAT | O_TRUNC, 0600);
    assert_true(descriptor >= 0);
    assert_int_equal(write(descriptor, bytes, size), (ssize_t)size);
    assert_int_equal(close(descriptor), 0);
}

/* Whatever the bytes on the disk are, the worst that may happen is an error. */
TEST_F(test_store__bytes_changed_at_random)
{
    fill(f->folder, 60);
    size_t size;
    uint8_t *whole = read_file(f->path, &size);
    uint8_t *broken = malloc(size);
    assert_non_null(broken);
    uint64_t random = 4711;
    size_t noticed = 0;
    for (int round = 0; round < 300; round++) {
        memcpy(broken, whole, size);
        uint64_t changes = 1 + test_random(&random) % 40;
        for (uint64_t i = 0; i < changes; i++) /* byte by byte, most of them near a page's start */
            broken[test_random(&random) % (size / 4096) * 4096 +
                   test_random(&random) % (i % 2 == 0 ? 64 : 4096)] = (uint8_t)test_random(&random);
        size_t kept = round % 10 == 9 ? (size_t)(test_random(&random) % size) : size;
        write_file(f->path, broken, kept);
        struct store *store = NULL;
        struct error_text why;
        struct store_options options = store_options_of(f->folder);
        enum error error = store_open(&store, &options, &why);
        if (error == OK) {
            error = read_everything(store);
            (void)work_apply(store, 61);
        }
        noticed += error != OK;
        store_close(store);
    }
    assert_true(noticed > 150);
    free(whole);
    free(broken);
}

static void limit_files(rlim_t size)
{
    struct rlimit limit;
    assert_int_equal(getrlimit(RLIMIT_FSIZE, &limit), 0);
    limit.rlim_cur = size < limit.rlim_max ? size : limit.rlim_max;
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &limit), 0);
}

static void end_limit(struct fixture *f)
{
    limit_files(RLIM_INFINITY);
    end(f);
}

TEST_ON(test_store_commit__when_files_must_not_grow, struct fixture, begin, end_limit)
{
    struct store *store = open_store(f->folder);
    assert_true(signal(SIGXFSZ, SIG_IGN) != SIG_ERR);
    limit_files(TEST_SEGMENT_BYTES - 1);
    uint64_t n = 1;
    enum error error;
    while ((error = work_apply(store, n)) == OK && n < 1000)
        n++;
    assert_error(store, error, ERROR_DISK_FULL);
    assert_error(store, work_apply(store, n), ERROR_DISK_FULL);
    assert_int_equal(store_position(store).seq, work_last_seq(n - 1));
    limit_files(RLIM_INFINITY); /* somebody made space */
    work_check(store, n - 1);
    assert_ok(store, work_apply(store, n));
    work_check(store, n);
    store_close(store);
    expect_batches(f->folder, n);
}

/* The log has room, and the database has not. */
TEST_ON(test_store_project__when_files_must_not_grow, struct fixture, begin, end_limit)
{
    struct store *store = open_store(f->folder);
    struct error_text why = {""};
    assert_true(signal(SIGXFSZ, SIG_IGN) != SIG_ERR);
    limit_files(600000);
    uint64_t n = 0;
    enum error error = OK;
    while (error == OK && n < 1000) {
        assert_ok(store, work_apply(store, ++n));
        error = store_project(store, false, &why);
    }
    assert_int_equal(error, ERROR_DISK_FULL);
    assert_true(why.text[0] != '\0');
    assert_ok(store, work_apply(store, ++n)); /* what is committed needs no room there */
    assert_int_equal(store_project(store, false, &why), ERROR_DISK_FULL);
    limit_files(RLIM_INFINITY);
    assert_int_equal(store_project(store, false, &why), OK);
    work_check(store, n);
    store_close(store);
    expect_batches(f->folder, n);
}

STORE_TEST(test_store_open_reader__sees_what_is_committed)
{
    struct store *reader = open_reader(f->store);
    work_check(reader, 0);
    for (uint64_t n = 1; n <= 20; n++) {
        assert_ok(f->store, store_begin(f->store));
        assert_ok(f->store, work_write(f->store, n));
        uint64_t number;
        assert_ok(reader, store_number_at(reader, test_id(0), 1, &number));
        work_check(reader, n - 1);
        assert_ok(f->store, store_commit(f->store));
        assert_ok(reader, store_number_at(reader, test_id(0), 1, &number));
        assert_int_equal(number,
                         1); /* and the database is up to date, as is what the reader knows */
        work_check(reader, n);
    }
    store_close(reader);
    work_check(f->store, 20);
}

TEST_F(test_store_open_reader__of_a_store_in_memory)
{
    struct store *store = open_store(NULL);
    struct store *reader = NULL;
    struct error_text why;
    assert_int_equal(store_open_reader(&reader, store, &why), ERROR_INVALID);
    assert_null(reader);
    assert_non_null(strstr(why.text, "memory"));
    store_close(store);
}

struct read_thread {
    struct store *store;
    atomic_bool is_over;
    enum error error;
    bool is_wrong;
    uint64_t rounds;
};

struct tally {
    uint64_t last_seq;
    uint64_t count;
};

static enum error tally_event(void *context, const struct timeline_row *row)
{
    struct tally *tally = context;
    tally->count++;
    tally->last_seq = row->seq;
    return OK;
}

/* Each read finds whole batches, and knows the epoch of whatever it finds. */
static void *read_on(void *context)
{
    struct read_thread *reading = context;
    do {
        struct tally tally = {0};
        reading->error = store_events_after(reading->store, test_id(2), 0, UINT64_MAX, SIZE_MAX,
                                            tally_event, &tally);
        struct log_position position = store_position(reading->store);
        uint64_t expected = (position.seq + WORK_ROOMS - 3) / WORK_ROOMS;
        if (tally.count != expected ||
            (tally.count > 0 && store_epoch_at(reading->store, tally.last_seq) == 0))
            reading->is_wrong = true;
        reading->rounds++;
    } while (reading->error == OK && !reading->is_wrong && !atomic_load(&reading->is_over));
    return NULL;
}

STORE_TEST(test_store_open_reader__in_a_thread_of_its_own)
{
    struct read_thread reading = {.error = OK};
    pthread_t thread;
    reading.store = open_reader(f->store);
    assert_int_equal(pthread_create(&thread, NULL, read_on, &reading), 0);
    work_apply_all(f->store, 1, 400);
    atomic_store(&reading.is_over, true);
    assert_int_equal(pthread_join(thread, NULL), 0);
    assert_ok(reading.store, reading.error);
    assert_false(reading.is_wrong);
    assert_true(reading.rounds > 1);
    (void)read_on(&reading); /* positions are those of the last read */
    work_check(reading.store, 400);
    store_close(reading.store);
}

struct projecting {
    struct store *store;
    atomic_bool is_over;
    enum error error;
    struct error_text why;
    uint64_t rounds;
};

static void *project_on(void *context)
{
    struct projecting *projecting = context;
    while (projecting->error == OK && !atomic_load(&projecting->is_over)) {
        projecting->error =
            store_project(projecting->store, projecting->rounds % 5 == 0, &projecting->why);
        if (projecting->error == OK)
            projecting->error = store_log_maintain(projecting->store, &projecting->why);
        projecting->rounds++;
    }
    return NULL;
}

/* The owner commits, reads and prunes while another thread projects, and a third reads. */
STORE_TEST(test_store_project__in_a_thread_of_its_own)
{
    struct projecting projecting = {.store = f->store};
    pthread_t thread;
    assert_int_equal(pthread_create(&thread, NULL, project_on, &projecting), 0);
    for (uint64_t n = 1; n <= 300; n++) {
        assert_ok(f->store, work_apply(f->store, n));
        size_t count = 0;
        uint64_t seq = work_last_seq(n);
        assert_ok(f->store,
                  store_get_outcome(f->store, test_id(200 + (seq - 1) % WORK_SESSIONS),
                                    (seq - 1) / WORK_SESSIONS + 1, count_outcome, &count));
        assert_ok(f->store, store_get_account(f->store, test_id(100 + n % WORK_ACCOUNTS),
                                              count_account, &count));
        assert_int_equal(count, 2);
        if (n % 50 == 0)
            work_check(f->store, n);
    }
    atomic_store(&projecting.is_over, true);
    assert_int_equal(pthread_join(thread, NULL), 0);
    if (projecting.error != OK)
        fail_msg("%s", projecting.why.text);
    work_check(f->store, 300);
}

/* Adds a message of many pages. */
static enum error add_much(struct store *store, uint64_t seq)
{
    static char text[400000];
    memset(text, 'x', sizeof text);
    enum error error = store_begin(store);
    if (error == OK)
        error = store_add_event(store, &(struct timeline_row){.room = test_id(2),
                                                              .number = seq,
                                                              .seq = seq,
                                                              .kind = 1,
                                                              .text = text,
                                                              .text_size = sizeof text});
    if (error == OK)
        error = store_log_append(store, &(struct log_entry){.epoch = 1,
                                                            .first_seq = seq,
                                                            .last_seq = seq,
                                                            .bytes = (const uint8_t *)"x",
                                                            .size = 1});
    if (error == OK)
        error = store_commit(store);
    return error == OK ? store_project(store, false, &store->problem) : error;
}

static void *read_much(void *context)
{
    struct read_thread *reading = context;
    while (reading->error == OK && !atomic_load(&reading->is_over)) {
        struct tally tally = {0};
        reading->error =
            store_messages_before(reading->store, test_id(2), 1, 0, 1, tally_event, &tally);
        reading->rounds++;
        (void)sched_yield(); /* a moment without a reader */
    }
    return NULL;
}

#define WAL_KEPT (16 * 1024 * 1024)

static off_t wal_size(const char *folder)
{
    char path[TEST_PATH_SIZE];
    struct stat wal;
    join_path(path, folder, STORE_FILE_NAME "-wal");
    assert_int_equal(stat(path, &wal), 0);
    return wal.st_size;
}

/* The WAL is what a start after a crash has to read. Beside a reader that is never away for long it may grow,
 * as the scheduler has it. Once no reader is in the way, the projection shortens it to what it keeps. */
STORE_TEST(test_store_project__shortens_the_wal_beside_a_reader)
{
    struct read_thread reading = {.error = OK};
    pthread_t thread;
    uint64_t n = 0;
    reading.store = open_reader(f->store);
    assert_int_equal(pthread_create(&thread, NULL, read_much, &reading), 0);
    while (n < 500)
        assert_ok(f->store, add_much(f->store, ++n));
    atomic_store(&reading.is_over, true);
    assert_int_equal(pthread_join(thread, NULL), 0);
    assert_ok(reading.store, reading.error);
    uint64_t last = n + 2000;
    while (n < last && (n < last - 1000 || wal_size(f->folder) > WAL_KEPT))
        assert_ok(f->store, add_much(f->store, ++n));
    assert_true(wal_size(f->folder) <= WAL_KEPT);
    store_close(reading.store);
}

TEST_F(test_store_check_files__names_that_lead_elsewhere)
{
    static const struct {
        const char *command; /* with the folder in F */
        const char *word;    /* NULL: the files are still there */
    } cases[] = {
        {"true", NULL},
        {"touch $F/other; chmod 0500 $F; chmod 0700 $F", NULL},
        {"rm -rf $F", "is gone"},
        {"mv $F $F-away", "is gone"},
        {"cp -r $F $F-copy; rm -rf $F; mv $F-copy $F", "is another file"},
        {"rm $F/jackdaw.db-wal", "jackdaw.db-wal is gone"},
        {"rm $F/jackdaw.db-shm", "jackdaw.db-shm is gone"},
        {"rm -r $F/log", "log is gone"},
        {"mv $F/log $F/l; mkdir $F/log", "log is another file"},
        {"rm $F/node", "node is gone"},
        {"cp $F/node $F/n; mv $F/n $F/node", "node is another file"},
        {"mv $F/lock $F/l; echo 1 > $F/lock", "lock is another file"},
        {"rm -rf $F; echo > $F", "is gone"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        char folder[TEST_PATH_SIZE];
        struct error_text why = {.text = ""};
        struct store *reader = NULL;
        join_path(folder, f->folder, "f");
        struct store *store = open_store(folder);
        assert_ok(store, work_apply(store, 1));
        assert_int_equal(store_check_files(store, &why), OK);
        assert_int_equal(setenv("F", folder, 1), 0);
        assert_int_equal(system(cases[i].command), 0);
        enum error expected = cases[i].word == NULL ? OK : ERROR_CLOSED;
        if (store_check_files(store, &why) != expected)
            fail_msg("%s: %s", cases[i].command, why.text);
        if (expected != OK && strstr(why.text, cases[i].word) == NULL)
            fail_msg("%s: %s", cases[i].command, why.text);
        assert_int_equal(store_open_reader(&reader, store, &why), expected);
        store_close(reader);
        store_close(store);
        assert_int_equal(system("rm -rf $F $F-away"), 0);
    }
}

/* What has come into its place keeps its WAL. */
TEST_F(test_store_close__beside_a_copy_in_its_place)
{
    char folder[TEST_PATH_SIZE];
    join_path(folder, f->folder, "f");
    struct store *store = open_store(folder);
    assert_ok(store, work_apply(store, 1));
    assert_int_equal(setenv("F", folder, 1), 0);
    assert_int_equal(system("cp -r $F $F-copy; rm -rf $F; mv $F-copy $F"), 0);
    store_close(store);
    store = open_store(folder);
    assert_ok(store, work_replay(store));
    work_check(store, 1);
    store_close(store);
}

TEST_F(test_store_delete__leaves_no_rows)
{
    fill(f->folder, 120);
    struct store *store = open_store(f->folder);
    assert_true(read_number(store->database, "SELECT count(*) FROM outcome_part") > 10);
    assert_ok(store, store_begin(store));
    for (uint64_t i = 0; i < WORK_SESSIONS; i++)
        assert_ok(store, store_delete_session(store, test_id(200 + i)));
    for (uint64_t i = 0; i < WORK_ROOMS; i++)
        assert_ok(store, store_delete_room(store, test_id(i)));
    assert_ok(store, store_commit(store));
    static const char *const tables[] = {"outcome_part", "outcome_tail", "session", "room",
                                         "member"};
    for (size_t i = 0; i < sizeof tables / sizeof *tables; i++) {
        char sql[64];
        (void)snprintf(sql, sizeof sql, "SELECT count(*) FROM %s", tables[i]);
        assert_int_equal(read_number(store->database, sql), 0);
    }
    store_close(store);
}

TEST_F(test_error_from_sqlite__every_class)
{
    static const struct {
        int code;
        int number;
        enum error error;
    } cases[] = {
        {SQLITE_OK, 0, OK},
        {SQLITE_ROW, 0, OK},
        {SQLITE_DONE, 0, OK},
        {SQLITE_NOMEM, 0, ERROR_NO_MEMORY},
        {SQLITE_IOERR_NOMEM, 0, ERROR_NO_MEMORY},
        {SQLITE_FULL, 0, ERROR_DISK_FULL},
        {SQLITE_IOERR_WRITE, ENOSPC, ERROR_DISK_FULL},
        {SQLITE_IOERR_WRITE, EDQUOT, ERROR_DISK_FULL},
        {SQLITE_IOERR_WRITE, EIO, ERROR_IO},
        {SQLITE_IOERR_FSYNC, 0, ERROR_IO},
        {SQLITE_IOERR, 0, ERROR_IO},
        {SQLITE_CORRUPT, 0, ERROR_CORRUPT},
        {SQLITE_CORRUPT_INDEX, 0, ERROR_CORRUPT},
        {SQLITE_NOTADB, 0, ERROR_CORRUPT},
        {SQLITE_FORMAT, 0, ERROR_CORRUPT},
        {SQLITE_BUSY, 0, ERROR_IN_USE},
        {SQLITE_BUSY_SNAPSHOT, 0, ERROR_IN_USE},
        {SQLITE_LOCKED, 0, ERROR_IN_USE},
        {SQLITE_READONLY_DBMOVED, 0, ERROR_DENIED},
        {SQLITE_PERM, 0, ERROR_DENIED},
        {SQLITE_AUTH, 0, ERROR_DENIED},
        {SQLITE_CANTOPEN, 0, ERROR_DENIED},
        {SQLITE_CANTOPEN, ENOSPC, ERROR_DISK_FULL},
        {SQLITE_CANTOPEN, EMFILE, ERROR_FULL},
        {SQLITE_CONSTRAINT_UNIQUE, 0, ERROR_EXISTS},
        {SQLITE_CONSTRAINT_PRIMARYKEY, 0, ERROR_EXISTS},
        {SQLITE_CONSTRAINT_NOTNULL, 0, ERROR_INTERNAL},
        {SQLITE_TOOBIG, 0, ERROR_TOO_LARGE},
        {SQLITE_INTERRUPT, 0, ERROR_CANCELLED},
        {SQLITE_MISUSE, 0, ERROR_INTERNAL},
        {SQLITE_ERROR, 0, ERROR_INTERNAL},
        {12345, 0, ERROR_INTERNAL},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
        assert_int_equal(query_error_from_sqlite(cases[i].code, cases[i].number), cases[i].error);
}
