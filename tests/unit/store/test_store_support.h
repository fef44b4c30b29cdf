/* SPDX-License-Identifier: MIT */
/* test_store_support.h - what the tests of src/store share: folders, stores of both kinds, and a
 * workload whose every batch is known from its number alone.
 *
 * The workload writes into every table. After n of its batches the whole content of a store is
 * known, so that work_check can tell a store that holds exactly n batches from any other. */
#ifndef JACKDAW_TESTS_UNIT_TEST_STORE_SUPPORT_H
#define JACKDAW_TESTS_UNIT_TEST_STORE_SUPPORT_H

#include "store/store.h"
#include "support/test.h"

#include <stdbool.h>

#define TEST_PATH_SIZE 4096
#define TEST_NODE 7
#define TEST_SEGMENT_BYTES 65536 /* small, so that tests reach the second segment */

/* Asserts that a call on a store succeeded, and shows the store's sentence where it did not. */
#define assert_ok(store, call) assert_error(store, call, OK)
#define assert_error(store, call, expected) \
    assert_error_at((store), (call), (expected), #call, __FILE__, __LINE__)
void assert_error_at(const struct store *store, enum error found, enum error expected,
                     const char *call, const char *file, int line);

/* Makes a call, which writes, in a transaction of its own. */
#define assert_commits(store, call)              \
    do {                                         \
        assert_ok((store), store_begin(store));  \
        assert_ok((store), (call));              \
        assert_ok((store), store_commit(store)); \
    } while (0)

/* ---- folders ---- */

void make_folder(char path[static TEST_PATH_SIZE]); /* a new one under TMPDIR or /tmp */
void remove_folder(const char *path);               /* with everything in it */
void join_path(char out[static TEST_PATH_SIZE], const char *folder, const char *name);

void copy_file(const char *from, const char *to);
/* Copies what a crash would leave of the data folder: all but the lock and the index of the WAL. */
void copy_folder(const char *from, const char *to);
void write_text(const char *path, const char *text);
bool file_exists(const char *path);

/* The options of these tests: TEST_NODE, small segments. */
struct store_options store_options_of(const char *folder);

/* Opens the store in folder (NULL: a new one in memory); fails the test when it cannot. */
struct store *open_store(const char *folder);
enum error try_open(struct store **out, const char *folder, struct error_text *why);
/* Makes the file of a node, so that a database that is copied into the folder can be opened. */
void make_node(const char *folder, uint64_t node_id);
struct store *open_reader(struct store *store); /* the same for a reader of the store */

/* Spreads small numbers over 64 bits, as real ids are. */
uint64_t test_id(uint64_t number);

/* The next of a row of pseudo-random numbers; *random is not 0. */
uint64_t test_random(uint64_t *random);

/* ---- rows ---- */

/* Visitors that add 1 to the size_t that context points to. */
enum error count_account(void *context, const struct account_row *row);
enum error count_event(void *context, const struct timeline_row *row);
enum error count_outcome(void *context, const struct outcome_row *row);
enum error count_log(void *context, const struct log_entry *row);
enum error count_session(void *context, const struct session_row *row);
enum error count_room(void *context, const struct room_row *row);
enum error count_member(void *context, const struct member_row *row);

/* Visitors that fail the test unless the row is the one that context points to. */
enum error same_event(void *context, const struct timeline_row *row);
enum error same_outcome(void *context, const struct outcome_row *row);

/* ---- SQLite's memory ---- */

/* Once per process, before the first database is opened. */
void faulty_memory_install(void);
/* The k-th allocation from now on fails (0: none), with all after it when lasting. */
void faulty_memory_arm(uint64_t k, bool lasting);
bool faulty_memory_has_failed(void); /* since it was armed */

/* ---- the workload ---- */

#define WORK_ROOMS 5
#define WORK_SESSIONS 3
#define WORK_ACCOUNTS 7
#define WORK_BATCHES_KEPT 8
#define WORK_EPOCH_BATCHES 6 /* a new epoch begins every so many batches */

/* The seq of the last delta of batch n; 0 for n = 0. */
uint64_t work_last_seq(uint64_t n);
/* How many batches a store with this position holds; fails the test when that is no number. */
uint64_t work_batches(struct log_position position);

/* Writes batch n into the open transaction: everything but begin and commit. */
enum error work_write(struct store *store, uint64_t n);
/* Writes batch n in a transaction of its own, rolled back after an error. */
enum error work_commit(struct store *store, uint64_t n);
/* The same, and then prunes the log. */
enum error work_apply(struct store *store, uint64_t n);
/* Writes the batches first to last, each in a transaction of its own. */
void work_apply_all(struct store *store, uint64_t first, uint64_t last);
/* Applies the batches again that the log has and the database lacks. */
enum error work_replay(struct store *store);
/* Fails the test unless the store holds exactly the first n batches. The log has the last
 * WORK_BATCHES_KEPT of them at least. */
void work_check(struct store *store, uint64_t n);

#endif
