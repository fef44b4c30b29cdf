/* SPDX-License-Identifier: MIT */
/* Joined writes of the write-ahead log leave the same behind as single ones, and fail as they do. */
#include "store/store_internal.h"

#include "support/faulty_vfs.h"
#include "support/test.h"
#include "test_store_support.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define ROWS 100 /* each fills most of a page */

static sqlite3 *open_at(const char *folder, const char *vfs)
{
    char path[TEST_PATH_SIZE];
    sqlite3 *database;
    join_path(path, folder, "test.db");
    assert_int_equal(
        sqlite3_open_v2(path, &database, SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE, vfs),
        SQLITE_OK);
    return database;
}

static void run(sqlite3 *database, const char *sql)
{
    char *problem = NULL;
    if (sqlite3_exec(database, sql, NULL, NULL, &problem) != SQLITE_OK)
        fail_msg("%s: %s", sql, problem);
}

static sqlite3 *make_at(const char *folder, const char *vfs)
{
    sqlite3 *database = open_at(folder, vfs);
    run(database, "PRAGMA page_size = 4096; PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL;"
                  "CREATE TABLE t (id INTEGER PRIMARY KEY, bytes BLOB)");
    return database;
}

/* Adds rows first to first + ROWS - 1. */
static void add_rows(sqlite3 *database, int first)
{
    char sql[256];
    (void)snprintf(sql, sizeof sql,
                   "WITH RECURSIVE n(i) AS (SELECT %d UNION ALL SELECT i + 1 FROM n WHERE i < %d) "
                   "INSERT INTO t SELECT i, zeroblob(3000 + i %% 900) FROM n",
                   first, first + ROWS - 1);
    run(database, sql);
}

static int number_of(sqlite3 *database, const char *sql)
{
    sqlite3_stmt *statement;
    assert_int_equal(sqlite3_prepare_v2(database, sql, -1, &statement, NULL), SQLITE_OK);
    assert_int_equal(sqlite3_step(statement), SQLITE_ROW);
    int number = sqlite3_column_int(statement, 0);
    assert_int_equal(sqlite3_finalize(statement), SQLITE_OK);
    return number;
}

static int rows(sqlite3 *database)
{
    return number_of(database, "SELECT count(*) FROM t");
}

static void finish(sqlite3 *database, const char *folder)
{
    assert_int_equal(sqlite3_close(database), SQLITE_OK);
    remove_folder(folder);
    faulty_vfs_reset();
}

/* How often the disk is called for one commit of so many rows. */
static uint64_t calls_of_a_commit(const char *vfs)
{
    char folder[TEST_PATH_SIZE];
    make_folder(folder);
    sqlite3 *database = make_at(folder, vfs);
    uint64_t before = faulty_vfs_count();
    add_rows(database, 1);
    uint64_t calls = faulty_vfs_count() - before;
    finish(database, folder);
    return calls;
}

TEST(test_wal_writes__a_commit_is_a_few_writes_and_a_sync)
{
    assert_true(calls_of_a_commit(NULL) > (uint64_t)2 * ROWS);
    assert_true(calls_of_a_commit(wal_writes_vfs()) <= ROWS / 20);
}

/* Commits, transactions that do not fit the cache and are read back and rolled back, checkpoints. */
static void do_much(sqlite3 *database)
{
    run(database, "PRAGMA cache_size = 10; PRAGMA wal_autocheckpoint = 0");
    add_rows(database, 1);
    run(database, "BEGIN");
    add_rows(database, 1001);
    assert_int_equal(rows(database), 2 * ROWS);
    run(database, "UPDATE t SET bytes = zeroblob(length(bytes) - 1) WHERE id % 3 = 0");
    run(database, "SAVEPOINT s; DELETE FROM t WHERE id > 50; ROLLBACK TO s; RELEASE s; COMMIT");
    assert_int_equal(rows(database), 2 * ROWS);
    run(database, "BEGIN");
    add_rows(database, 2001);
    run(database, "UPDATE t SET bytes = x'00'; ROLLBACK");
    assert_int_equal(rows(database), 2 * ROWS);
    run(database, "PRAGMA wal_checkpoint(RESTART)");
    add_rows(database, 3001);
    run(database, "PRAGMA wal_checkpoint(TRUNCATE)");
    run(database, "BEGIN");
    add_rows(database, 4001);
    run(database, "DELETE FROM t WHERE id % 7 = 0; COMMIT");
}

static size_t read_all(const char *folder, uint8_t **bytes)
{
    char path[TEST_PATH_SIZE];
    join_path(path, folder, "test.db");
    FILE *file = fopen(path, "rb");
    assert_non_null(file);
    const size_t most = 16u << 20;
    *bytes = malloc(most);
    assert_non_null(*bytes);
    size_t size = fread(*bytes, 1, most, file);
    assert_true(size > 0 && size < most);
    assert_int_equal(fclose(file), 0);
    return size;
}

static size_t database_after(const char *vfs, uint8_t **bytes)
{
    char folder[TEST_PATH_SIZE];
    make_folder(folder);
    sqlite3 *database = make_at(folder, vfs);
    do_much(database);
    assert_int_equal(sqlite3_close(database), SQLITE_OK);
    size_t size = read_all(folder, bytes);
    database = open_at(folder, NULL);
    assert_int_equal(number_of(database, "SELECT count(*) FROM pragma_integrity_check "
                                         "WHERE integrity_check = 'ok'"),
                     1);
    finish(database, folder);
    return size;
}

TEST(test_wal_writes__the_database_is_the_same)
{
    uint8_t *single, *joined;
    size_t size = database_after(NULL, &single);
    assert_int_equal(database_after(wal_writes_vfs(), &joined), size);
    assert_memory_equal(single, joined, size);
    free(single);
    free(joined);
}

TEST(test_wal_writes__others_see_each_commit)
{
    char folder[TEST_PATH_SIZE];
    make_folder(folder);
    sqlite3 *database = make_at(folder, wal_writes_vfs());
    sqlite3 *same = open_at(folder, wal_writes_vfs());
    sqlite3 *plain = open_at(folder, NULL);
    for (int i = 1; i <= 5; i++) {
        add_rows(database, i * 1000);
        assert_int_equal(rows(same), i * ROWS);
        assert_int_equal(rows(plain), i * ROWS);
        if (i == 3)
            run(database, "PRAGMA wal_checkpoint(PASSIVE)");
    }
    assert_int_equal(sqlite3_close(same), SQLITE_OK);
    assert_int_equal(sqlite3_close(plain), SQLITE_OK);
    finish(database, folder);
}

/* The k-th call of a commit fails: so does the commit, nothing of it is seen, and the next is whole. */
static bool try_failing(enum faulty_kind kind, uint64_t k)
{
    char folder[TEST_PATH_SIZE];
    make_folder(folder);
    sqlite3 *database = make_at(folder, wal_writes_vfs());
    add_rows(database, 1);
    faulty_vfs_fail(kind, k, false);
    int code =
        sqlite3_exec(database, "INSERT INTO t SELECT id + 1000, bytes FROM t", NULL, NULL, NULL);
    bool has_failed = faulty_vfs_has_failed();
    faulty_vfs_fail(FAULTY_NONE, 0, false);
    assert_int_equal(code == SQLITE_OK, !has_failed);
    if (has_failed && kind == FAULTY_FULL && k == 1)
        assert_int_equal(code, SQLITE_FULL);
    assert_int_equal(rows(database), has_failed ? ROWS : 2 * ROWS);
    sqlite3 *other = open_at(folder, NULL);
    assert_int_equal(rows(other), has_failed ? ROWS : 2 * ROWS);
    add_rows(database, 3001);
    assert_int_equal(rows(other), has_failed ? 2 * ROWS : 3 * ROWS);
    assert_int_equal(sqlite3_close(other), SQLITE_OK);
    finish(database, folder);
    return has_failed;
}

TEST(test_wal_writes__one_that_fails_fails_the_commit)
{
    static const enum faulty_kind kinds[] = {FAULTY_IO, FAULTY_FULL};
    for (size_t i = 0; i < 2; i++) {
        uint64_t k = 1;
        while (try_failing(kinds[i], k))
            k++;
        assert_true(k > 2); /* at least one write and the sync */
    }
}

/* ---- syncs that fail ---- */

/* After a loss of power the database is whole, and the number of rows is returned. */
static int rows_after_power_loss(const char *folder, uint64_t seed)
{
    faulty_vfs_lose_power(seed);
    sqlite3 *database = open_at(folder, NULL);
    assert_int_equal(number_of(database, "SELECT count(*) FROM pragma_integrity_check "
                                         "WHERE integrity_check = 'ok'"),
                     1);
    int count = rows(database);
    finish(database, folder);
    return count;
}

static void close_without_power(sqlite3 *database)
{
    faulty_vfs_fail(FAULTY_POWER, 1, true);
    assert_int_equal(sqlite3_close(database), SQLITE_OK);
}

static int checkpoint(sqlite3 *database, int mode)
{
    return sqlite3_wal_checkpoint_v2(database, NULL, mode, NULL, NULL);
}

/* The k-th call of a checkpoint fails, which another one follows. The first pages had come into the database
 * before, without a sync. */
static bool try_failing_checkpoint(uint64_t k)
{
    char folder[TEST_PATH_SIZE];
    make_folder(folder);
    sqlite3 *database = make_at(folder, wal_writes_vfs());
    sqlite3 *other = open_at(folder, wal_writes_vfs());
    add_rows(database, 1);
    run(other, "BEGIN");
    assert_int_equal(rows(other), ROWS);
    add_rows(database, 1001);
    assert_int_equal(checkpoint(database, SQLITE_CHECKPOINT_PASSIVE), SQLITE_OK);
    run(other, "COMMIT");
    faulty_vfs_fail(FAULTY_IO, k, false);
    int code = checkpoint(other, SQLITE_CHECKPOINT_PASSIVE);
    bool has_failed = faulty_vfs_has_failed();
    faulty_vfs_fail(FAULTY_NONE, 0, false);
    assert_int_equal(code != SQLITE_OK, has_failed);
    assert_int_equal(sqlite3_close(other), SQLITE_OK);
    assert_int_equal(checkpoint(database, SQLITE_CHECKPOINT_RESTART), SQLITE_OK);
    add_rows(database, 2001); /* at the beginning of the log */
    close_without_power(database);
    assert_int_equal(rows_after_power_loss(folder, 0), 3 * ROWS);
    return has_failed;
}

TEST(test_wal_writes__a_checkpoint_after_one_that_failed)
{
    uint64_t k = 1;
    while (try_failing_checkpoint(k))
        k++;
    assert_true(k > 3); /* the log's sync, a page at least, the database's sync */
}

/* The log's sync fails through one handle, and the power at the k-th call of a checkpoint through another. */
static bool try_power_after_failure(uint64_t k, uint64_t seed)
{
    char folder[TEST_PATH_SIZE];
    make_folder(folder);
    sqlite3 *database = make_at(folder, wal_writes_vfs());
    sqlite3 *other = open_at(folder, wal_writes_vfs());
    add_rows(database, 1);
    assert_int_equal(checkpoint(database, SQLITE_CHECKPOINT_RESTART), SQLITE_OK);
    run(database, "PRAGMA synchronous = NORMAL");
    add_rows(database, 1001);
    run(database, "UPDATE t SET bytes = zeroblob(length(bytes) - 1)");
    assert_int_equal(rows(other), 2 * ROWS);
    faulty_vfs_fail(FAULTY_IO, 1, false);
    assert_int_not_equal(checkpoint(other, SQLITE_CHECKPOINT_PASSIVE), SQLITE_OK);
    assert_int_equal(sqlite3_close(other), SQLITE_OK);
    faulty_vfs_fail(FAULTY_POWER, k, true);
    (void)checkpoint(database, SQLITE_CHECKPOINT_PASSIVE);
    bool has_failed = faulty_vfs_has_failed();
    if (has_failed)
        assert_int_equal(sqlite3_close(database), SQLITE_OK);
    else
        close_without_power(database);
    int found = rows_after_power_loss(folder, seed);
    if (found != 2 * ROWS && !(has_failed && found == ROWS))
        fail_msg("%d rows after a loss of power at call %u with seed %u", found, (unsigned)k,
                 (unsigned)seed);
    return has_failed;
}

TEST(test_wal_writes__power_fails_after_a_sync_that_failed)
{
    for (uint64_t seed = 0; seed < 2; seed++)
        for (uint64_t k = 1; try_power_after_failure(k, seed); k++)
            assert_true(k < 100000);
}

TEST_PREPARE()
{
    faulty_vfs_install();
    return 0;
}
