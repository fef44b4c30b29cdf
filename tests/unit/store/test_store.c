/* SPDX-License-Identifier: MIT */
/* What store.h promises, of a store in a folder and of one in memory alike. */
#include "test_store_support.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

struct fixture {
    bool in_memory;
    char folder[TEST_PATH_SIZE];
    char target[TEST_PATH_SIZE]; /* another folder, for a copy */
    char copy[TEST_PATH_SIZE];   /* the path of a database in it */
    struct store *store;
};

static void begin_in_folder(struct fixture *f)
{
    make_folder(f->folder);
    make_folder(f->target);
    join_path(f->copy, f->target, STORE_FILE_NAME);
    f->store = open_store(f->in_memory ? NULL : f->folder);
}

static void begin_in_memory(struct fixture *f)
{
    f->in_memory = true;
    begin_in_folder(f);
}

static void end(struct fixture *f)
{
    store_close(f->store);
    remove_folder(f->folder);
    remove_folder(f->target);
}

/* Two tests: on a store in a folder, and on one in memory. */
#define TEST_BOTH(name)                                              \
    static void name(struct fixture *f, struct store *store);        \
    TEST_ON(name##__in_folder, struct fixture, begin_in_folder, end) \
    {                                                                \
        name(f, f->store);                                           \
    }                                                                \
    TEST_ON(name##__in_memory, struct fixture, begin_in_memory, end) \
    {                                                                \
        name(f, f->store);                                           \
    }                                                                \
    static void name(__attribute__((unused)) struct fixture *f,      \
                     __attribute__((unused)) struct store *store)

/* Closes and opens again where that keeps anything. */
static struct store *reopen(struct fixture *f)
{
    if (f->in_memory)
        return f->store;
    store_close(f->store);
    f->store = open_store(f->folder);
    return f->store;
}

static struct account_row account(uint64_t id, const char *name)
{
    return (struct account_row){.id = id,
                                .name = name,
                                .folded = name,
                                .password_hash = "$argon2id$",
                                .nonce = {1, 2, 3},
                                .created_ms = 1000 + id,
                                .delivered_seq = 5};
}

static struct room_row room(uint64_t id, const char *name)
{
    return (struct room_row){.id = id,
                             .name = name,
                             .folded = name,
                             .topic = "weather",
                             .owner = 9,
                             .created_ms = 1000 + id};
}

static struct timeline_row message(uint64_t room_id, uint64_t number, uint64_t seq,
                                   const char *text)
{
    return (struct timeline_row){.room = room_id,
                                 .number = number,
                                 .seq = seq,
                                 .kind = 1,
                                 .account = 11,
                                 .session = 21,
                                 .request = seq,
                                 .time_ms = 1000 + seq,
                                 .text = text,
                                 .text_size = strlen(text)};
}

static struct outcome_row outcome(uint64_t session, uint64_t request, const char *text)
{
    return (struct outcome_row){.session = session,
                                .request = request,
                                .status = text[0] == '\0' ? 0 : 7,
                                .room = UINT64_MAX - 3,
                                .number = request * 2,
                                .seq = request * 3,
                                .time_ms = request * 5,
                                .flags = 1,
                                .text = text};
}

static void append(struct store *store, uint64_t epoch, uint64_t deltas, const char *batch)
{
    struct log_position position = store_position(store);
    struct log_entry row = {.epoch = epoch,
                            .first_seq = position.seq + 1,
                            .last_seq = position.seq + deltas,
                            .bytes = (const uint8_t *)batch,
                            .size = strlen(batch)};
    assert_ok(store, store_log_append(store, &row));
}

static size_t events_in(struct store *store, uint64_t room_id)
{
    size_t count = 0;
    assert_ok(store,
              store_events_after(store, room_id, 0, UINT64_MAX, SIZE_MAX, count_event, &count));
    return count;
}

TEST_BOTH(test_store_open__new_one_is_empty)
{
    work_check(store, 0);
    uint8_t cluster[STORE_CLUSTER_BYTES];
    const uint8_t zero[STORE_CLUSTER_BYTES] = {0};
    store_cluster(store, cluster);
    assert_memory_equal(cluster, zero, sizeof zero);
    assert_string_equal(store_last_problem(store), "");
    size_t count = 0;
    assert_error(store, store_log_read(store, 1, count_log, &count),
                 f->in_memory ? ERROR_INVALID : ERROR_NOT_FOUND);
    assert_int_equal(events_in(store, 1), 0);
}

TEST_BOTH(test_store_open__finds_everything_again)
{
    for (uint64_t n = 1; n <= 40; n++) {
        assert_ok(store, work_apply(store, n));
        if (n % 7 == 0)
            store = reopen(f);
        work_check(store, n);
    }
}

TEST_BOTH(test_store_rollback__nothing_is_left)
{
    for (uint64_t n = 1; n <= 12; n++) {
        assert_ok(store, store_begin(store));
        assert_ok(store, work_write(store, n));
        assert_int_equal(store_position(store).seq, work_last_seq(n));
        store_rollback(store);
        work_check(store, n - 1);
        assert_ok(store, work_apply(store, n));
        work_check(store, n);
    }
    work_check(reopen(f), 12);
}

TEST_BOTH(test_store_rollback__without_transaction)
{
    store_rollback(store);
    assert_ok(store, work_apply(store, 1));
    store_rollback(store);
    work_check(store, 1);
}

TEST_BOTH(test_store_close__rolls_back)
{
    assert_ok(f->store, work_apply(f->store, 1));
    assert_ok(f->store, store_begin(f->store));
    assert_ok(f->store, work_write(f->store, 2));
    if (!f->in_memory)
        work_check(reopen(f), 1);
    store_close(NULL);
}

TEST_BOTH(test_store_commit__of_nothing)
{
    assert_ok(store, store_begin(store));
    assert_ok(store, store_commit(store));
    work_check(store, 0);
}

struct writer {
    struct store *store;
    enum error error;
    atomic_bool is_over;
};

static void *write_commit(void *context)
{
    struct writer *writing = context;
    writing->error = store_commit_write(writing->store);
    atomic_store(&writing->is_over, true);
    return NULL;
}

/* What may be called while another thread is in store_commit_write; batch n is being written. */
static void ask_memory(struct store *store, uint64_t n)
{
    uint8_t digest[LOG_DIGEST_BYTES], cluster[STORE_CLUSTER_BYTES];
    assert_int_equal(store_position(store).seq, work_last_seq(n));
    assert_int_equal(store_epoch_at(store, work_last_seq(n)), store_position(store).epoch);
    assert_int_equal(store_epoch_at(store, work_last_seq(n) + 1), store_position(store).epoch);
    assert_true(store_log_first(store) >= 1);
    assert_int_equal(store_last_orphan(store), n);
    assert_int_equal(store_orphan_count(store), n);
    assert_int_equal(epoch_history_last(store_epochs(store)), store_position(store).epoch);
    assert_string_equal(store_last_problem(store), "");
    store_digest(store, digest);
    store_cluster(store, cluster);
    uint64_t promised = store_promised(store) + 1;
    assert_ok(store, store_set_promised(store, promised));
    assert_int_equal(store_promised(store), promised);
}

TEST_BOTH(test_store_commit__in_parts)
{
    for (uint64_t n = 1; n <= 40; n++) {
        struct writer writing = {.store = store};
        pthread_t thread;
        struct log_entry row = {
            .first_seq = 1, .last_seq = 1, .bytes = (const uint8_t *)"x", .size = 1};
        assert_ok(store, store_add_orphan(store, &row));
        assert_ok(store, store_begin(store));
        assert_ok(store, work_write(store, n));
        assert_ok(store, store_commit_prepare(store));
        assert_int_equal(pthread_create(&thread, NULL, write_commit, &writing), 0);
        do
            ask_memory(store, n);
        while (!atomic_load(&writing.is_over));
        assert_int_equal(pthread_join(thread, NULL), 0);
        assert_ok(store, store_commit_finish(store, writing.error));
    }
    store_rollback(store); /* nothing is open */
    work_check(store, 40);
    store = reopen(f);
    work_check(store, 40);
}

/* What is read inside a transaction includes what it has written, at any moment. */
TEST_BOTH(test_store_begin__reads_its_own_writes)
{
    assert_ok(store, store_begin(store));
    for (uint64_t n = 1; n <= 30; n++) {
        struct timeline_row row = message(1, n, n, "hello");
        assert_ok(store, store_add_event(store, &row));
        struct outcome_row done = outcome(3, n, n % 4 == 0 ? "no" : "");
        assert_ok(store, store_put_outcome(store, &done));
        if (n % 3 == 0)
            assert_int_equal(events_in(store, 1), n);
        size_t count = 0;
        assert_ok(store, store_get_outcome(store, 3, n, count_outcome, &count));
        assert_int_equal(count, 1);
        uint64_t number;
        assert_ok(store, store_number_at(store, 1, n, &number));
        assert_int_equal(number, n);
    }
    assert_ok(store, store_commit(store));
    assert_int_equal(events_in(store, 1), 30);
}

/* What a server that founded a cluster by mistake has: lists of members, and nothing else. */
TEST_BOTH(test_store_reset__a_blank_cluster)
{
    const uint8_t ours[STORE_CLUSTER_BYTES] = {1, 2, 3};
    const uint8_t other[STORE_CLUSTER_BYTES] = {4};
    uint8_t found[STORE_CLUSTER_BYTES];
    struct log_entry row = {.epoch = 65537,
                            .first_seq = 1,
                            .last_seq = 1,
                            .kind = LOG_ENTRY_MEMBERS,
                            .bytes = (const uint8_t *)"list",
                            .size = 4};
    assert_ok(store, store_set_promised(store, 65537));
    assert_ok(store, store_set_cluster(store, ours));
    assert_ok(store, store_begin(store));
    assert_ok(store, store_add_epoch(store, (struct epoch_start){.epoch = 65537, .first_seq = 1}));
    assert_ok(store, store_put_members(store, (struct log_position){65537, 1}, row.bytes, 4));
    assert_ok(store, store_log_append(store, &row));
    assert_ok(store, store_commit(store));
    assert_true(store_is_blank(store));
    assert_ok(store, store_reset(store));
    for (int i = 0; i < 2; i++) {
        assert_int_equal(store_position(store).seq, 0);
        assert_int_equal(store_log_first(store), 0);
        assert_int_equal(store_epoch_at(store, 1), 0);
        store_cluster(store, found);
        assert_int_equal(found[0], 0);
        assert_int_equal(store_promised(store), 0);
        store = reopen(f);
    }
    assert_ok(store, store_set_cluster(store, other));
}

TEST_BOTH(test_store_reset__not_with_a_chat)
{
    assert_true(store_is_blank(store));
    assert_ok(store, store_begin(store));
    append(store, 65537, 1, "delta");
    assert_ok(store, store_commit(store));
    assert_false(store_is_blank(store));
    assert_error(store, store_reset(store), ERROR_MISMATCH);
    assert_int_equal(store_position(store).seq, 1);
}

TEST_BOTH(test_store_set_cluster__once)
{
    const uint8_t ours[STORE_CLUSTER_BYTES] = {1, 2, 3};
    const uint8_t other[STORE_CLUSTER_BYTES] = {4};
    uint8_t found[STORE_CLUSTER_BYTES];
    assert_ok(store, store_begin(store));
    assert_ok(store, store_set_cluster(store, ours)); /* not of the open transaction */
    store_rollback(store);
    store_cluster(store, found);
    assert_memory_equal(found, ours, sizeof ours);
    assert_ok(store, store_set_cluster(store, ours));
    assert_error(store, store_set_cluster(store, other), ERROR_MISMATCH);
    store = reopen(f);
    store_cluster(store, found);
    assert_memory_equal(found, ours, sizeof ours);
    assert_error(store, store_set_cluster(store, other), ERROR_MISMATCH);
}

TEST_BOTH(test_store_set_promised__stays)
{
    static const uint64_t promises[] = {1, 65537, 65537, INT64_MAX, UINT64_MAX};
    assert_int_equal(store_promised(store), 0);
    for (size_t i = 0; i < sizeof promises / sizeof *promises; i++) {
        assert_ok(store, store_set_promised(store, promises[i]));
        assert_int_equal(store_promised(store), promises[i]);
        store = reopen(f);
        assert_int_equal(store_promised(store), promises[i]);
    }
}

/* A transaction neither holds up nor undoes a promise. */
TEST_BOTH(test_store_set_promised__inside_a_transaction)
{
    assert_ok(store, store_begin(store));
    assert_ok(store, work_write(store, 1));
    assert_ok(store, store_set_promised(store, 3));
    assert_ok(store, store_commit_prepare(store));
    assert_ok(store, store_set_promised(store, 4));
    assert_ok(store, store_commit_finish(store, store_commit_write(store)));
    assert_ok(store, store_begin(store));
    assert_ok(store, store_set_promised(store, 5));
    store_rollback(store);
    store = reopen(f);
    assert_int_equal(store_promised(store), 5);
    work_check(store, 1);
}

TEST_BOTH(test_store_add_epoch__ascending_only)
{
    const uint64_t high = UINT64_C(0xF000000000000001); /* not representable as signed */
    const struct epoch_start refused[] = {{0, 1}, {9, 0}, {5, 9}, {6, 1}, {4, 9}, {9, UINT64_MAX}};
    assert_ok(store, store_begin(store));
    assert_ok(store, store_add_epoch(store, (struct epoch_start){5, 1}));
    for (size_t i = 0; i < sizeof refused / sizeof *refused; i++)
        assert_error(store, store_add_epoch(store, refused[i]), ERROR_INVALID);
    append(store, 5, 4, "a");
    assert_ok(store, store_add_epoch(store, (struct epoch_start){high, 5}));
    append(store, high, 2, "b");
    assert_ok(store, store_commit(store));
    store = reopen(f);
    struct epoch_history epochs = store_epochs(store);
    assert_int_equal(epochs.count, 2);
    assert_int_equal(epochs.starts[0].epoch, 5);
    assert_int_equal(epochs.starts[1].epoch, high);
    assert_int_equal(epochs.starts[1].first_seq, 5);
    assert_int_equal(store_position(store).epoch, high);
}

TEST_BOTH(test_store_epoch_at__every_boundary)
{
    assert_int_equal(store_epoch_at(store, 1), 0);
    assert_ok(store, store_begin(store));
    for (uint64_t epoch = 1; epoch <= 40; epoch++) {
        uint64_t first = store_position(store).seq + 1;
        assert_ok(store, store_add_epoch(store, (struct epoch_start){epoch * 10, first}));
        assert_int_equal(store_epoch_at(store, first), epoch * 10); /* about to be appended */
        append(store, epoch * 10, epoch % 3 + 1, "batch");
    }
    assert_int_equal(store_epoch_at(store, store_position(store).seq + 1), 400);
    assert_ok(store, store_commit(store));
    uint64_t seq = 0;
    for (uint64_t epoch = 1; epoch <= 40; epoch++)
        for (uint64_t i = 0; i < epoch % 3 + 1; i++)
            assert_int_equal(store_epoch_at(store, ++seq), epoch * 10);
    assert_int_equal(store_epoch_at(store, seq + 1), 0);
    assert_int_equal(store_epoch_at(store, 0), 0);
    assert_int_equal(store_epoch_at(store, UINT64_MAX), 0);
}

static enum error stop_after_two(void *context, const struct log_entry *row)
{
    (void)row;
    return ++*(size_t *)context == 2 ? ERROR_CANCELLED : OK;
}

static enum error first_of_log(void *context, const struct log_entry *row)
{
    *(uint64_t *)context = row->first_seq;
    return ERROR_CANCELLED;
}

TEST_ON(test_store_log_read__from_the_batch_that_holds_it, struct fixture, begin_in_folder, end)
{
    struct store *store = f->store;
    assert_ok(store, store_begin(store));
    for (uint64_t i = 0; i < 20; i++)
        append(store, 3, 5, "five deltas");
    assert_ok(store, store_commit(store));
    for (uint64_t seq = 1; seq <= 100; seq++) {
        uint64_t first = 0;
        assert_error(store, store_log_read(store, seq, first_of_log, &first), ERROR_CANCELLED);
        assert_int_equal(first, (seq - 1) / 5 * 5 + 1);
        size_t count = 0;
        assert_ok(store, store_log_read(store, seq, count_log, &count));
        assert_int_equal(count, 20 - (seq - 1) / 5);
    }
    size_t count = 0;
    assert_error(store, store_log_read(store, 0, count_log, &count), ERROR_NOT_FOUND);
    assert_error(store, store_log_read(store, 101, count_log, &count), ERROR_NOT_FOUND);
    assert_error(store, store_log_read(store, UINT64_MAX, count_log, &count), ERROR_NOT_FOUND);
    assert_int_equal(count, 0);
    assert_error(store, store_log_read(store, 1, stop_after_two, &count), ERROR_CANCELLED);
    assert_int_equal(count, 2);
}

/* Prunes, and checks what the first seq is then. */
static void prune(struct store *store, uint64_t before, uint64_t first)
{
    struct error_text why;
    assert_int_equal(store_project(store, true, &why), OK);
    store_log_prune(store, before);
    assert_int_equal(store_log_first(store), first);
}

static uint64_t bytes_after(struct store *store, uint64_t seq)
{
    uint64_t bytes = UINT64_MAX;
    assert_ok(store, store_log_bytes_to(store, seq, &bytes));
    return store_log_bytes(store) - bytes;
}

TEST_ON(test_store_log_bytes__of_what_a_member_lacks, struct fixture, begin_in_folder, end)
{
    struct store *store = f->store;
    assert_int_equal(bytes_after(store, 0), 0);
    assert_ok(store, store_begin(store));
    for (uint64_t i = 0; i < 4; i++)
        append(store, 3, 5, "ten bytes");
    assert_ok(store, store_commit(store));
    uint64_t one = store_log_bytes(store) / 4;
    assert_true(one >= strlen("ten bytes"));
    assert_int_equal(bytes_after(store, 0), 4 * one);
    assert_int_equal(bytes_after(store, 4), 3 * one); /* of the batch that ends with 5 */
    assert_int_equal(bytes_after(store, 5), 3 * one);
    assert_int_equal(bytes_after(store, 20), 0);
    assert_int_equal(bytes_after(store, UINT64_MAX), 0);
    prune(store, 11, 11);
    assert_int_equal(bytes_after(store, 0), 2 * one); /* pruned is pruned */
    assert_int_equal(bytes_after(store, 9), 2 * one);
    store = reopen(f);
    assert_int_equal(bytes_after(store, 10), 2 * one);
    assert_int_equal(bytes_after(store, 15), one);
    assert_ok(store, store_begin(store));
    append(store, 3, 5, "ten bytes");
    assert_int_equal(bytes_after(store, 20), one);
    store_rollback(store);
    assert_int_equal(bytes_after(store, 15), one);
}

TEST_ON(test_store_log_prune__whole_batches_and_never_the_last, struct fixture, begin_in_folder,
        end)
{
    struct store *store = f->store;
    assert_ok(store, store_begin(store));
    for (uint64_t i = 0; i < 10; i++)
        append(store, 3, 5, "five deltas");
    assert_ok(store, store_commit(store));
    prune(store, 0, 1);
    size_t count = 0;
    prune(store, 5, 1); /* the first batch ends with 5, which is to stay */
    assert_ok(store, store_log_read(store, 5, count_log, &count));
    assert_int_equal(count, 10);
    prune(store, 6, 6);
    prune(store, 16, 16);
    prune(store, 10, 16);
    count = 0;
    assert_error(store, store_log_read(store, 15, count_log, &count), ERROR_NOT_FOUND);
    assert_ok(store, store_log_read(store, 16, count_log, &count));
    assert_int_equal(count, 7);
    uint8_t before[LOG_DIGEST_BYTES], after[LOG_DIGEST_BYTES];
    store_digest(store, before);
    prune(store, UINT64_MAX, 46);
    store = reopen(f);
    assert_true(store_log_first(store) <= 46); /* a segment stays whole on the disk */
    assert_int_equal(store_position(store).seq, 50);
    store_digest(store, after);
    assert_memory_equal(before, after, sizeof before);
}

TEST_BOTH(test_store_log_append__large_and_empty_batches)
{
    const size_t size = 5u << 20; /* more than the cache holds */
    uint8_t *batch = malloc(size);
    assert_non_null(batch);
    memset(batch, 7, size);
    struct log_entry row = {.epoch = 1, .first_seq = 1, .last_seq = 1};
    assert_ok(store, store_begin(store));
    assert_ok(store, store_log_append(store, &row));
    row =
        (struct log_entry){.epoch = 1, .first_seq = 2, .last_seq = 9, .bytes = batch, .size = size};
    assert_ok(store, store_log_append(store, &row));
    assert_ok(store, store_commit(store));
    free(batch);
    size_t count = 0;
    store = reopen(f);
    if (!f->in_memory) {
        assert_ok(store, store_log_read(store, 1, count_log, &count));
        assert_int_equal(count, 2);
    }
    row = (struct log_entry){.epoch = 1, .first_seq = 10, .last_seq = UINT64_MAX};
    assert_ok(store, store_begin(store));
    assert_error(store, store_log_append(store, &row), ERROR_INVALID);
    store_rollback(store);
}

static enum error same_account(void *context, const struct account_row *row)
{
    const struct account_row *expected = context;
    assert_int_equal(row->id, expected->id);
    assert_string_equal(row->name, expected->name);
    assert_string_equal(row->folded, expected->folded);
    assert_string_equal(row->password_hash, expected->password_hash);
    assert_memory_equal(row->nonce, expected->nonce, STORE_NONCE_BYTES);
    assert_int_equal(row->created_ms, expected->created_ms);
    assert_int_equal(row->deleted_ms, expected->deleted_ms);
    assert_int_equal(row->delivered_seq, expected->delivered_seq);
    return OK;
}

TEST_BOTH(test_store_put_account__inserts_and_replaces)
{
    struct account_row row = account(UINT64_MAX, "Ann\xC3\xA9");
    assert_ok(store, store_begin(store));
    assert_ok(store, store_put_account(store, &row));
    assert_ok(store, store_get_account(store, row.id, same_account, &row));
    row.password_hash = "another";
    row.delivered_seq = UINT64_MAX;
    assert_ok(store, store_put_account(store, &row));
    assert_ok(store, store_commit(store));
    store = reopen(f);
    assert_ok(store, store_get_account(store, row.id, same_account, &row));
    assert_ok(store, store_each_account(store, same_account, &row));
    assert_error(store, store_get_account(store, 1, same_account, &row), ERROR_NOT_FOUND);
}

/* The projection refuses a second account of the name; what a deleted account had is free. */
TEST_BOTH(test_store_put_account__folded_names_are_unique)
{
    struct account_row ann = account(1, "ann");
    struct account_row other = account(2, "ann");
    assert_commits(store, store_put_account(store, &ann));
    assert_ok(store, store_begin(store));
    assert_ok(store, store_put_account(store, &other));
    assert_error(store, store_commit(store), ERROR_EXISTS);
    store_rollback(store);
    assert_ok(store, store_get_account(store, 1, same_account, &ann)); /* not pushed out */
    assert_error(store, store_get_account(store, 2, same_account, &other), ERROR_NOT_FOUND);
    ann.deleted_ms = 7;
    assert_commits(store, store_put_account(store, &ann)); /* the name is free again */
    assert_commits(store, store_put_account(store, &other));
    struct account_row third = account(3, "ann");
    third.deleted_ms = 8; /* any number of deleted ones */
    assert_commits(store, store_put_account(store, &third));
    size_t count = 0;
    assert_ok(store, store_each_account(store, count_account, &count));
    assert_int_equal(count, 3);
}

TEST_BOTH(test_store_set_delivered__one_account)
{
    struct account_row ann = account(1, "ann"), ben = account(2, "ben");
    assert_ok(store, store_begin(store));
    assert_ok(store, store_put_account(store, &ann));
    assert_ok(store, store_put_account(store, &ben));
    assert_ok(store, store_set_delivered(store, 1, 77));
    assert_ok(store, store_commit(store));
    ann.delivered_seq = 77;
    assert_ok(store, store_get_account(store, 1, same_account, &ann));
    assert_ok(store, store_get_account(store, 2, same_account, &ben));
}

static enum error refuse_account(void *context, const struct account_row *row)
{
    (void)row;
    ++*(size_t *)context;
    return ERROR_TOO_LARGE;
}

TEST_BOTH(test_store_each_account__stops_when_told)
{
    struct account_row ann = account(1, "ann"), ben = account(2, "ben");
    assert_ok(store, store_begin(store));
    assert_ok(store, store_put_account(store, &ann));
    assert_ok(store, store_put_account(store, &ben));
    assert_ok(store, store_commit(store));
    size_t count = 0;
    assert_error(store, store_each_account(store, refuse_account, &count), ERROR_TOO_LARGE);
    assert_int_equal(count, 1);
    assert_error(store, store_get_account(store, 2, refuse_account, &count), ERROR_TOO_LARGE);
    assert_ok(store, store_begin(store)); /* nothing is left open */
    assert_ok(store, store_commit(store));
}

static enum error same_session(void *context, const struct session_row *row)
{
    const struct session_row *expected = context;
    assert_int_equal(row->id, expected->id);
    assert_int_equal(row->account, expected->account);
    assert_memory_equal(row->token_hash, expected->token_hash, STORE_TOKEN_HASH_BYTES);
    assert_string_equal(row->device, expected->device);
    assert_int_equal(row->started_ms, expected->started_ms);
    assert_int_equal(row->last_request, expected->last_request);
    return OK;
}

static void put_outcomes(struct store *store, uint64_t session, uint64_t from, uint64_t to)
{
    assert_ok(store, store_begin(store));
    for (uint64_t request = from; request <= to; request++) {
        struct outcome_row row = outcome(session, request, request % 5 == 0 ? "refused" : "");
        assert_ok(store, store_put_outcome(store, &row));
    }
    assert_ok(store, store_commit(store));
}

TEST_BOTH(test_store_put_session__knows_its_last_request)
{
    struct session_row row = {.id = UINT64_MAX - 1,
                              .account = 4,
                              .token_hash = {9, 8, 7},
                              .device = "kestrel",
                              .started_ms = 12};
    assert_ok(store, store_begin(store));
    assert_ok(store, store_put_session(store, &row));
    assert_ok(store, store_get_session(store, row.id, same_session, &row));
    row.device = "";
    assert_ok(store, store_put_session(store, &row));
    assert_ok(store, store_commit(store));
    put_outcomes(store, row.id, 1, 40);
    put_outcomes(store, 5, 1, 99); /* another's */
    row.last_request = 40;
    store = reopen(f);
    assert_ok(store, store_each_session(store, same_session, &row));
}

TEST_BOTH(test_store_delete_session__with_its_outcomes)
{
    struct session_row one = {.id = 1, .device = ""}, two = {.id = 2, .device = ""};
    assert_ok(store, store_begin(store));
    assert_ok(store, store_put_session(store, &one));
    assert_ok(store, store_put_session(store, &two));
    assert_ok(store, store_commit(store));
    put_outcomes(store, 1, 1, 100);
    put_outcomes(store, 2, 1, 100);
    assert_ok(store, store_begin(store));
    struct outcome_row late = outcome(1, 101, "");
    assert_ok(store, store_put_outcome(store, &late));
    assert_ok(store, store_delete_session(store, 1));
    assert_ok(store, store_delete_session(store, 77));
    assert_ok(store, store_commit(store));
    for (int again = 0; again < 2; again++) {
        size_t count = 0;
        for (uint64_t request = 1; request <= 101; request++)
            assert_error(store, store_get_outcome(store, 1, request, count_outcome, &count),
                         ERROR_NOT_FOUND);
        for (uint64_t request = 1; request <= 100; request++)
            assert_ok(store, store_get_outcome(store, 2, request, count_outcome, &count));
        two.last_request = 100;
        assert_ok(store, store_each_session(store, same_session, &two));
        count = 0;
        assert_ok(store, store_each_session(store, count_session, &count));
        assert_int_equal(count, 1);
        store = reopen(f);
    }
}

static enum error same_room(void *context, const struct room_row *row)
{
    const struct room_row *expected = context;
    assert_int_equal(row->id, expected->id);
    assert_string_equal(row->name, expected->name);
    assert_string_equal(row->folded, expected->folded);
    assert_string_equal(row->topic, expected->topic);
    assert_int_equal(row->owner, expected->owner);
    assert_int_equal(row->is_private, expected->is_private);
    assert_int_equal(row->direct_low, expected->direct_low);
    assert_int_equal(row->direct_high, expected->direct_high);
    assert_int_equal(row->created_ms, expected->created_ms);
    assert_int_equal(row->last_number, expected->last_number);
    assert_int_equal(row->last_seq, expected->last_seq);
    return OK;
}

TEST_BOTH(test_store_put_room__knows_its_end)
{
    struct room_row row = room(UINT64_MAX - 8, "garden");
    assert_ok(store, store_begin(store));
    assert_ok(store, store_put_room(store, &row));
    assert_ok(store, store_commit(store));
    assert_ok(store, store_each_room(store, same_room, &row));
    assert_ok(store, store_begin(store));
    row.topic = "";
    row.is_private = true;
    row.direct_low = 3;
    row.direct_high = UINT64_MAX;
    assert_ok(store, store_put_room(store, &row));
    struct timeline_row first = message(row.id, 1, 10, "hello");
    struct timeline_row second = message(row.id, 1, 12, "");
    second.kind = 2;
    assert_ok(store, store_add_event(store, &first));
    assert_ok(store, store_add_event(store, &second));
    row.last_number = 1;
    row.last_seq = 12;
    assert_ok(store, store_commit(store));
    assert_ok(store, store_each_room(store, same_room, &row));
    store = reopen(f);
    assert_ok(store, store_each_room(store, same_room, &row));
}

TEST_BOTH(test_store_put_room__folded_names_are_unique)
{
    struct room_row garden = room(1, "garden"), other = room(2, "garden");
    struct room_row direct = room(3, ""), second_direct = room(4, "");
    assert_commits(store, store_put_room(store, &garden));
    assert_ok(store, store_begin(store));
    assert_ok(store, store_put_room(store, &other));
    assert_error(store, store_commit(store), ERROR_EXISTS);
    store_rollback(store);
    assert_ok(store, store_each_room(store, same_room, &garden));
    assert_ok(store, store_begin(store));
    assert_ok(store, store_put_room(store, &direct));
    assert_ok(store, store_put_room(store, &second_direct));
    assert_ok(store, store_delete_room(store, 1));
    assert_ok(store, store_put_room(store, &other));
    assert_ok(store, store_commit(store));
    size_t count = 0;
    assert_ok(store, store_each_room(store, count_room, &count));
    assert_int_equal(count, 3);
}

static enum error same_member(void *context, const struct member_row *row)
{
    const struct member_row *expected = context;
    assert_int_equal(row->room, expected->room);
    assert_int_equal(row->account, expected->account);
    assert_int_equal(row->state, expected->state);
    assert_int_equal(row->since_seq, expected->since_seq);
    assert_int_equal(row->until_seq, expected->until_seq);
    return OK;
}

TEST_BOTH(test_store_put_member__every_state)
{
    const enum member_state states[] = {MEMBER_INVITED, MEMBER_IN, MEMBER_OUT, MEMBER_BANNED};
    for (size_t i = 0; i < 4; i++) {
        struct member_row row = {.room = UINT64_MAX,
                                 .account = UINT64_MAX - 1,
                                 .state = states[i],
                                 .since_seq = i,
                                 .until_seq = UINT64_MAX};
        assert_commits(store, store_put_member(store, &row));
        store = reopen(f);
        assert_ok(store, store_each_member(store, same_member, &row));
    }
}

TEST_BOTH(test_store_delete_room__keeps_the_timeline)
{
    struct room_row garden = room(1, "garden"), attic = room(2, "attic");
    assert_ok(store, store_begin(store));
    assert_ok(store, store_put_room(store, &garden));
    assert_ok(store, store_put_room(store, &attic));
    for (uint64_t id = 1; id <= 2; id++) {
        struct timeline_row row = message(id, 1, id, "hello");
        assert_ok(store, store_add_event(store, &row));
        for (uint64_t who = 1; who <= 3; who++) {
            struct member_row member = {.room = id, .account = who, .state = MEMBER_IN};
            assert_ok(store, store_put_member(store, &member));
        }
    }
    assert_ok(store, store_delete_room(store, 1));
    assert_ok(store, store_delete_room(store, 77));
    assert_ok(store, store_delete_member(store, 2, 1));
    assert_ok(store, store_delete_member(store, 2, 77));
    assert_ok(store, store_commit(store));
    size_t count = 0;
    assert_ok(store, store_each_room(store, count_room, &count));
    assert_int_equal(count, 1);
    count = 0;
    assert_ok(store, store_each_member(store, count_member, &count));
    assert_int_equal(count, 2);
    assert_int_equal(events_in(store, 1), 1);
}

/* More tests of timelines are in test_store_timeline.c. */

TEST_BOTH(test_store_add_event__keeps_every_bit)
{
    struct timeline_row row = {.room = UINT64_MAX,
                               .number = INT64_MAX,
                               .seq = INT64_MAX,
                               .kind = UINT32_MAX,
                               .account = UINT64_MAX - 1,
                               .subject = UINT64_MAX - 2,
                               .session = UINT64_MAX - 3,
                               .request = UINT64_MAX - 4,
                               .time_ms = UINT64_MAX - 5,
                               .text = "a\0b\xC3\xA9",
                               .text_size = 5};
    assert_commits(store, store_add_event(store, &row));
    store = reopen(f);
    assert_ok(store, store_events_after(store, row.room, 0, UINT64_MAX, 9, same_event, &row));
    assert_int_equal(events_in(store, row.room), 1);
    row.number = (uint64_t)INT64_MAX + 1;
    assert_ok(store, store_begin(store));
    assert_error(store, store_add_event(store, &row), ERROR_INVALID);
    row.number = 1;
    row.seq = 0;
    assert_error(store, store_add_event(store, &row), ERROR_INVALID);
    assert_ok(store, store_commit(store)); /* refused rows break nothing */
}

TEST_BOTH(test_store_add_event__must_follow)
{
    assert_ok(store, store_begin(store));
    struct timeline_row row = message(1, 5, 50, "hello");
    assert_ok(store, store_add_event(store, &row));
    assert_ok(store, store_commit(store));
    const uint64_t wrong[][2] = {{4, 51}, {6, 49}};
    for (size_t i = 0; i < 2; i++) {
        assert_ok(store, store_begin(store));
        row = message(1, wrong[i][0], wrong[i][1], "out of order");
        enum error error = store_add_event(store, &row);
        if (error == OK)
            error = store_commit(store);
        assert_error(store, error, ERROR_CORRUPT);
        assert_error(store, store_commit(store), ERROR_CORRUPT); /* it stays broken */
        assert_error(store, store_delete_room(store, 1), ERROR_CORRUPT);
        store_rollback(store);
    }
    assert_int_equal(events_in(store, 1), 1);
}

/* More in one transaction than waits for its commit. */
TEST_BOTH(test_store_add_event__very_many_and_very_long)
{
    const size_t size = 3u << 20;
    char *text = malloc(size + 1);
    assert_non_null(text);
    memset(text, 'x', size);
    text[size] = '\0';
    assert_ok(store, store_begin(store));
    for (uint64_t seq = 1; seq <= 10000; seq++) {
        struct timeline_row row = message(seq % 3, seq / 3 + 1, seq, "short");
        struct outcome_row done = outcome(seq % 3, seq / 3 + 1, "");
        assert_ok(store, store_add_event(store, &row));
        assert_ok(store, store_put_outcome(store, &done));
    }
    for (uint64_t seq = 10001; seq <= 10003; seq++) {
        struct timeline_row row = message(7, seq - 10000, seq, text);
        assert_ok(store, store_add_event(store, &row));
    }
    assert_ok(store, store_commit(store));
    store = reopen(f);
    assert_int_equal(events_in(store, 0) + events_in(store, 1) + events_in(store, 2), 10000);
    struct timeline_row row = message(7, 3, 10003, text);
    assert_ok(store, store_messages_before(store, 7, 1, 0, 1, same_event, &row));
    free(text);
}

static void check_window(struct store *store, uint64_t session, uint64_t last)
{
    for (uint64_t request = 0; request <= last + 2; request++) {
        struct outcome_row row = outcome(session, request, request % 5 == 0 ? "refused" : "");
        bool is_in = request >= 1 && request <= last && request + STORE_OUTCOME_WINDOW > last;
        assert_error(store, store_get_outcome(store, session, request, same_outcome, &row),
                     is_in ? OK : ERROR_NOT_FOUND);
    }
}

TEST_BOTH(test_store_put_outcome__keeps_a_window)
{
    uint64_t random = 20;
    for (uint64_t last = 0; last < 700;) {
        uint64_t next = last + test_random(&random) % 60 + 1;
        put_outcomes(store, UINT64_MAX, last + 1, next);
        put_outcomes(store, 4, last + 1, next);
        last = next;
        check_window(store, UINT64_MAX, last);
        store = reopen(f);
        check_window(store, UINT64_MAX, last);
        check_window(store, 4, last);
    }
    check_window(store, 5, 0);
}

TEST_BOTH(test_store_put_outcome__replaces)
{
    put_outcomes(store, 1, 1, 40);
    for (uint64_t request = 5; request <= 40; request += 35) { /* long written, and just now */
        struct outcome_row row = outcome(1, request, "changed");
        for (int again = 0; again < 3; again++) {
            row.status++;
            assert_commits(store, store_put_outcome(store, &row));
            assert_ok(store, store_get_outcome(store, 1, request, same_outcome, &row));
        }
        store = reopen(f);
        assert_ok(store, store_get_outcome(store, 1, request, same_outcome, &row));
        struct outcome_row next = outcome(1, request - 1, "");
        assert_ok(store, store_get_outcome(store, 1, request - 1, same_outcome, &next));
    }
}

/* Of 300 outcomes the last 256 are kept: 45 is the oldest, in the part whose slot the tail takes next. */
TEST_BOTH(test_store_put_outcome__late)
{
    put_outcomes(store, 1, 1, 300);
    static const uint64_t late[] = {31, 45, 47, 48}; /* 31: of a part that left the window */
    for (size_t i = 0; i < 4; i++) {
        struct outcome_row row = outcome(1, late[i], "changed");
        assert_commits(store, store_put_outcome(store, &row));
        store = reopen(f);
        assert_error(store, store_get_outcome(store, 1, late[i], same_outcome, &row),
                     i == 0 ? ERROR_NOT_FOUND : OK);
    }
    for (uint64_t request = 49; request <= 300; request++) {
        struct outcome_row row = outcome(1, request, request % 5 == 0 ? "refused" : "");
        assert_ok(store, store_get_outcome(store, 1, request, same_outcome, &row));
    }
}

TEST_BOTH(test_store_put_outcome__rolled_back)
{
    put_outcomes(store, 1, 1, 3);
    assert_ok(store, store_begin(store));
    struct outcome_row row = outcome(1, 4, "");
    size_t count = 0;
    assert_ok(store, store_put_outcome(store, &row));
    assert_ok(store, store_get_outcome(store, 1, 4, count_outcome, &count));
    store_rollback(store);
    assert_error(store, store_get_outcome(store, 1, 4, count_outcome, &count), ERROR_NOT_FOUND);
    check_window(store, 1, 3);
}

TEST_BOTH(test_store_put_outcome__keeps_every_bit)
{
    char text[3000];
    memset(text, 'n', sizeof text);
    text[sizeof text - 1] = '\0';
    struct outcome_row row = {.session = UINT64_MAX,
                              .request = INT64_MAX,
                              .status = UINT32_MAX,
                              .room = UINT64_MAX,
                              .number = UINT64_MAX,
                              .seq = UINT64_MAX,
                              .time_ms = UINT64_MAX,
                              .flags = UINT32_MAX,
                              .text = text};
    assert_ok(store, store_begin(store));
    assert_ok(store, store_put_outcome(store, &row));
    row.request = 0;
    assert_error(store, store_put_outcome(store, &row), ERROR_INVALID);
    row.request = UINT64_MAX;
    assert_error(store, store_put_outcome(store, &row), ERROR_INVALID);
    assert_ok(store, store_commit(store));
    store = reopen(f);
    row.request = INT64_MAX;
    assert_ok(store, store_get_outcome(store, UINT64_MAX, INT64_MAX, same_outcome, &row));
    assert_error(store, store_get_outcome(store, UINT64_MAX, UINT64_MAX, same_outcome, &row),
                 ERROR_NOT_FOUND);
}

TEST_BOTH(test_store_put_members__replaces_and_copies)
{
    static uint8_t list[STORE_MEMBERS_MAX + 1];
    uint8_t bytes[4] = {9, 9, 9, 9};
    struct log_position position = {.epoch = 1, .seq = 1};
    size_t used = 7;
    assert_error(store, store_get_members(store, &position, bytes, sizeof bytes, &used),
                 ERROR_NOT_FOUND);
    assert_int_equal(used, 7); /* written on success only */
    assert_ok(store, store_begin(store));
    position = (struct log_position){.epoch = UINT64_MAX, .seq = INT64_MAX};
    memcpy(list, "one", 3);
    assert_ok(store, store_put_members(store, position, list, STORE_MEMBERS_MAX));
    assert_error(store, store_put_members(store, position, list, STORE_MEMBERS_MAX + 1),
                 ERROR_INVALID);
    position.seq++;
    assert_error(store, store_put_members(store, position, list, 1), ERROR_INVALID);
    assert_ok(store, store_commit(store));
    store = reopen(f);
    assert_ok(store, store_get_members(store, &position, bytes, 3, &used));
    assert_int_equal(position.epoch, UINT64_MAX);
    assert_int_equal(position.seq, INT64_MAX);
    assert_int_equal(used, STORE_MEMBERS_MAX);
    assert_memory_equal(bytes, "one\x09", 4);
    assert_ok(store, store_begin(store));
    position = (struct log_position){.epoch = 2, .seq = 3};
    assert_ok(store, store_put_members(store, position, NULL, 0));
    store_rollback(store);
    assert_ok(store, store_get_members(store, &position, NULL, 0, &used));
    assert_int_equal(used, STORE_MEMBERS_MAX);
    assert_commits(store, store_put_members(store, position, NULL, 0));
    assert_ok(store, store_get_members(store, &position, bytes, sizeof bytes, &used));
    assert_int_equal(used, 0);
}

static void add_orphan(struct store *store, uint64_t seq)
{
    const uint8_t batch[] = {(uint8_t)seq, 1, 2, 3};
    struct log_entry row = {.epoch = UINT64_MAX - seq,
                            .first_seq = seq,
                            .last_seq = seq + 2,
                            .bytes = batch,
                            .size = seq % sizeof batch + 1};
    assert_ok(store, store_add_orphan(store, &row));
}

struct orphans {
    uint64_t id;
    size_t count;
    size_t most;
};

static enum error check_orphan(void *context, uint64_t id, const struct log_entry *row)
{
    struct orphans *orphans = context;
    assert_int_equal(id, orphans->id++);
    assert_int_equal(row->epoch, UINT64_MAX - row->first_seq);
    assert_int_equal(row->first_seq, id * 10);
    assert_int_equal(row->last_seq, row->first_seq + 2);
    assert_int_equal(row->size, row->first_seq % 4 + 1);
    assert_int_equal(row->bytes[0], row->first_seq);
    return ++orphans->count == orphans->most ? ERROR_CANCELLED : OK;
}

/* The orphans there are have the ids first..last, and what add_orphan gives them for ten times
 * their id. */
static void expect_orphans(struct store *store, uint64_t first, uint64_t last)
{
    struct orphans orphans = {.id = first};
    assert_ok(store, store_each_orphan(store, 0, check_orphan, &orphans));
    assert_int_equal(orphans.count, last + 1 - first);
    assert_int_equal(store_orphan_count(store), last + 1 - first);
    assert_int_equal(store_last_orphan(store), last >= first ? last : 0);
}

TEST_BOTH(test_store_orphans__kept_in_order_until_dropped)
{
    expect_orphans(store, 1, 0);
    for (uint64_t id = 1; id <= 6; id++)
        add_orphan(store, id * 10);
    store = reopen(f);
    expect_orphans(store, 1, 6);
    struct orphans orphans = {.id = 3, .most = 2};
    assert_error(store, store_each_orphan(store, 2, check_orphan, &orphans), ERROR_CANCELLED);
    assert_int_equal(orphans.count, 2);
    assert_ok(store, store_each_orphan(store, UINT64_MAX, check_orphan, &orphans));
    assert_ok(store, store_drop_orphans(store, 2, NULL));
    expect_orphans(store, 3, 6);
    assert_ok(store, store_drop_orphans(store, 4, NULL));
    expect_orphans(store, 5, 6);
    store = reopen(f);
    expect_orphans(store, 5, 6);
}

/* A rollback does not undo what is durable. */
TEST_BOTH(test_store_orphans__beside_an_open_transaction)
{
    add_orphan(store, 10);
    assert_ok(store, store_begin(store));
    assert_ok(store, work_write(store, 1));
    add_orphan(store, 20);
    add_orphan(store, 30);
    assert_ok(store, store_drop_orphans(store, 1, NULL));
    expect_orphans(store, 2, 3);
    store_rollback(store);
    expect_orphans(store, 2, 3);
    work_check(store, 0);
    store = reopen(f);
    expect_orphans(store, 2, 3);
}

TEST_BOTH(test_store_orphans__ids_are_never_used_again)
{
    add_orphan(store, 10);
    add_orphan(store, 20);
    assert_ok(store, store_drop_orphans(store, UINT64_MAX, NULL));
    expect_orphans(store, 1, 0);
    assert_ok(store, store_drop_orphans(store, UINT64_MAX, NULL));
    store = reopen(f);
    add_orphan(store, 30);
    expect_orphans(store, 3, 3);
}

TEST_BOTH(test_store_add_orphan__out_of_range)
{
    struct log_entry row = {.first_seq = 2, .last_seq = 1, .bytes = (const uint8_t *)""};
    assert_error(store, store_add_orphan(store, &row), ERROR_INVALID);
    row.last_seq = (uint64_t)INT64_MAX + 1;
    assert_error(store, store_add_orphan(store, &row), ERROR_INVALID);
    row.last_seq = INT64_MAX;
    assert_ok(store, store_add_orphan(store, &row));
    assert_int_equal(store_last_orphan(store), 1);
}

/* Opens the copy as another node would, and checks that it holds n batches. */
static void check_copy(const char *folder, uint64_t n)
{
    struct store *copy = NULL;
    struct error_text why;
    struct store_options options = {.folder = folder, .node_id = TEST_NODE + 1};
    make_node(folder, TEST_NODE + 1);
    if (store_open(&copy, &options, &why) != OK)
        fail_msg("%s", why.text);
    work_check(copy, n);
    assert_int_equal(store_orphan_count(copy), 0);
    assert_ok(copy, work_apply(copy, n + 1)); /* and goes on from there */
    work_check(copy, n + 1);
    store_close(copy);
    options.node_id = TEST_NODE;
    assert_int_equal(store_open(&copy, &options, &why), ERROR_MISMATCH);
}

/* Whether the bytes occur anywhere in the file. */
static bool file_holds(const char *path, const char *text)
{
    FILE *file = fopen(path, "r");
    assert_non_null(file);
    size_t matched = 0;
    for (int c; text[matched] != '\0' && (c = getc(file)) != EOF;)
        matched = (char)c == text[matched] ? matched + 1 : (char)c == text[0];
    assert_int_equal(fclose(file), 0);
    return text[matched] == '\0';
}

TEST_ON(test_store_snapshot_take__all_but_the_nodes_own, struct fixture, begin_in_folder, end)
{
    struct store *store = f->store;
    char partial[TEST_PATH_SIZE];
    join_path(partial, f->target, STORE_FILE_NAME ".part");
    write_text(f->copy, "what was there before");
    struct log_entry row = {
        .first_seq = 1, .last_seq = 1, .bytes = (const uint8_t *)"jackdaw nest", .size = 12};
    assert_ok(store, store_add_orphan(store, &row));
    work_apply_all(store, 1, 60);
    struct log_position position = {0};
    assert_ok(store, store_snapshot_take(store, f->copy, &position));
    assert_int_equal(position.epoch, store_position(store).epoch);
    assert_int_equal(position.seq, store_position(store).seq);
    assert_false(file_exists(partial));
    assert_false(file_holds(f->copy, "jackdaw nest"));
    assert_true(file_holds(f->copy, "kestrel")); /* a session's device: it is no blind search */
    struct stat status;
    uint64_t size = 0;
    assert_int_equal(stat(f->copy, &status), 0);
    assert_int_equal(status.st_mode & 0777, 0600);
    assert_ok(store, store_size(store, &size));
    assert_true((uint64_t)status.st_size <= size && (uint64_t)status.st_size > size / 2);
    assert_ok(store, work_apply(store, 61)); /* the copy does not follow */
    check_copy(f->target, 60);
    work_check(store, 61);
}

TEST_BOTH(test_store_snapshot_take__of_nothing)
{
    struct log_position position = {.epoch = 1, .seq = 1};
    assert_ok(f->store, store_snapshot_take(f->store, f->copy, &position));
    assert_int_equal(position.epoch, 0);
    assert_int_equal(position.seq, 0);
    check_copy(f->target, 0);
}

TEST_BOTH(test_store_snapshot_take__no_such_folder)
{
    char path[TEST_PATH_SIZE];
    struct log_position position;
    join_path(path, f->folder, "nowhere/copy.db");
    assert_error(f->store, store_snapshot_take(f->store, path, &position), ERROR_NOT_FOUND);
    assert_non_null(strstr(store_last_problem(f->store), "nowhere"));
}

#define COPIES 6

struct copy_thread {
    struct store *reader;
    char folders[COPIES][TEST_PATH_SIZE];
    struct log_position positions[COPIES];
    enum error error;
    atomic_bool is_over;
};

static void *take_copies(void *context)
{
    struct copy_thread *copying = context;
    for (size_t i = 0; i < COPIES && copying->error == OK; i++) {
        char path[TEST_PATH_SIZE + 16];
        (void)snprintf(path, sizeof path, "%s/%s", copying->folders[i], STORE_FILE_NAME);
        copying->error = store_snapshot_take(copying->reader, path, &copying->positions[i]);
    }
    atomic_store(&copying->is_over, true);
    return NULL;
}

/* Each copy is one moment of the writer's, which never waits for it. */
TEST_ON(test_store_snapshot_take__by_a_reader_beside_the_writer, struct fixture, begin_in_folder,
        end)
{
    struct store *store = f->store;
    static struct copy_thread copying;
    pthread_t thread;
    uint64_t n = 0;
    while (n < 100)
        assert_ok(store, work_apply(store, ++n));
    for (size_t i = 0; i < COPIES; i++)
        make_folder(copying.folders[i]);
    copying.reader = open_reader(store);
    assert_int_equal(pthread_create(&thread, NULL, take_copies, &copying), 0);
    while (!atomic_load(&copying.is_over)) /* a prune would take what an older copy should have */
        assert_ok(store, work_commit(store, ++n));
    assert_int_equal(pthread_join(thread, NULL), 0);
    assert_ok(copying.reader, copying.error);
    assert_true(n > 100 + COPIES);
    assert_true(copying.positions[0].seq < copying.positions[COPIES - 1].seq);
    for (size_t i = 0; i < COPIES; i++) {
        check_copy(copying.folders[i], work_batches(copying.positions[i]));
        remove_folder(copying.folders[i]);
    }
    uint64_t number;
    assert_ok(copying.reader, store_number_at(copying.reader, test_id(0), 1, &number));
    work_check(copying.reader, n);
    store_close(copying.reader);
    work_check(store, n);
}

static void *take_one_copy(void *context)
{
    struct copy_thread *copying = context;
    char path[TEST_PATH_SIZE + 16];
    (void)snprintf(path, sizeof path, "%s/copy", copying->folders[0]);
    while (copying->error == OK)
        copying->error = store_snapshot_take(copying->reader, path, &copying->positions[0]);
    atomic_store(&copying->is_over, true);
    return NULL;
}

TEST_ON(test_store_cancel__a_snapshot, struct fixture, begin_in_folder, end)
{
    struct store *store = f->store;
    static struct copy_thread copying;
    pthread_t thread;
    work_apply_all(store, 1, 60);
    make_folder(copying.folders[0]);
    copying.reader = open_reader(store);
    assert_int_equal(pthread_create(&thread, NULL, take_one_copy, &copying), 0);
    while (!atomic_load(&copying.is_over))
        store_cancel(copying.reader);
    assert_int_equal(pthread_join(thread, NULL), 0);
    assert_error(copying.reader, copying.error, ERROR_CANCELLED);
    char partial[TEST_PATH_SIZE];
    join_path(partial, copying.folders[0], "copy.part");
    assert_false(file_exists(partial));
    uint64_t number;
    assert_ok(copying.reader, store_number_at(copying.reader, test_id(0), 1, &number));
    store_close(copying.reader);
    remove_folder(copying.folders[0]);
}
