/* SPDX-License-Identifier: MIT */
/* The database behind the log: what reads show of changes that it lacks, that it ends up the same however
 * it came there, and what a disk that fails may do to it. */
#include "store/store_internal.h"

#include "support/faulty_vfs.h"
#include "support/test.h"
#include "test_store_support.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#define ROOM 1
#define EPOCH (UINT64_C(1) << 16 | TEST_NODE)

struct fixture {
    char folder[TEST_PATH_SIZE];
    struct store *store; /* NULL: closed */
    struct store *reader;
};

static void begin(struct fixture *f)
{
    faulty_vfs_reset();
    make_folder(f->folder);
    f->store = open_store(f->folder);
}

static void end(struct fixture *f)
{
    faulty_vfs_fail(FAULTY_NONE, 0, false);
    store_close(f->reader);
    store_close(f->store);
    faulty_vfs_reset();
    remove_folder(f->folder);
}

static void project(struct store *store, bool wants_sync)
{
    struct error_text why = {""};
    if (store_project(store, wants_sync, &why) != OK)
        fail_msg("%s", why.text);
}

/* Appends an entry to the open transaction. */
static enum error append_entry(struct store *store, size_t size)
{
    static const uint8_t bytes[30000];
    uint64_t seq = store_position(store).seq + 1;
    return store_log_append(
        store,
        &(struct log_entry){
            .epoch = EPOCH, .first_seq = seq, .last_seq = seq, .bytes = bytes, .size = size});
}

/* Commits the open transaction, as one entry of the log. */
static void commit(struct store *store)
{
    assert_ok(store, append_entry(store, 10));
    assert_ok(store, store_commit(store));
}

/* ---- what reads show ----
 *
 * Each of these puts the row of kind number `version`, or looks for it. */

static void put_account(struct store *store, uint64_t version)
{
    char name[16];
    (void)snprintf(name, sizeof name, "ann %u", (unsigned)version);
    assert_ok(store, store_put_account(store, &(struct account_row){.id = 1,
                                                                    .name = name,
                                                                    .folded = name,
                                                                    .password_hash = "hash",
                                                                    .delivered_seq = version}));
}

static enum error see_account(void *context, const struct account_row *row)
{
    unsigned version = 0;
    assert_int_equal(sscanf(row->name, "ann %u", &version), 1);
    assert_string_equal(row->password_hash, "hash");
    *(uint64_t *)context = version;
    return OK;
}

static uint64_t get_account(struct store *store)
{
    uint64_t version = 0;
    enum error error = store_get_account(store, 1, see_account, &version);
    assert_error(store, error, version == 0 ? ERROR_NOT_FOUND : OK);
    return version;
}

static void put_delivered(struct store *store, uint64_t version)
{
    if (version == 1)
        put_account(store, 1);
    else
        assert_ok(store, store_set_delivered(store, 1, version));
}

static enum error see_delivered(void *context, const struct account_row *row)
{
    assert_string_equal(row->name, "ann 1");
    *(uint64_t *)context = row->delivered_seq;
    return OK;
}

static uint64_t get_delivered(struct store *store)
{
    uint64_t version = 0;
    enum error error = store_get_account(store, 1, see_delivered, &version);
    assert_error(store, error, version == 0 ? ERROR_NOT_FOUND : OK);
    return version;
}

static void put_session(struct store *store, uint64_t version)
{
    assert_ok(store, store_put_session(store, &(struct session_row){.id = 5,
                                                                    .account = 1,
                                                                    .device = "kestrel",
                                                                    .started_ms = version}));
}

static enum error see_session(void *context, const struct session_row *row)
{
    assert_string_equal(row->device, "kestrel");
    assert_int_equal(row->last_request, 0);
    *(uint64_t *)context = row->started_ms;
    return OK;
}

static uint64_t get_session(struct store *store)
{
    uint64_t version = 0;
    enum error error = store_get_session(store, 5, see_session, &version);
    assert_error(store, error, version == 0 ? ERROR_NOT_FOUND : OK);
    return version;
}

static struct outcome_row outcome_of(uint64_t request, const char *text)
{
    return (struct outcome_row){
        .session = 5, .request = request, .room = ROOM, .seq = request, .text = text};
}

/* The session's last request. */
static void put_request(struct store *store, uint64_t version)
{
    if (version == 1)
        put_session(store, 1);
    struct outcome_row row = outcome_of(version, "");
    assert_ok(store, store_put_outcome(store, &row));
}

static enum error see_request(void *context, const struct session_row *row)
{
    *(uint64_t *)context = row->last_request;
    return OK;
}

static uint64_t get_request(struct store *store)
{
    uint64_t version = 0;
    enum error error = store_get_session(store, 5, see_request, &version);
    assert_error(store, error, version == 0 ? ERROR_NOT_FOUND : OK);
    return version;
}

/* With a text, so that it is not found among the recent ones. */
static void put_outcome(struct store *store, uint64_t version)
{
    struct outcome_row row = outcome_of(version, "refused");
    assert_ok(store, store_put_outcome(store, &row));
}

static uint64_t get_outcome(struct store *store)
{
    uint64_t version = 0;
    for (uint64_t request = 1; request <= 10; request++) {
        struct outcome_row row = outcome_of(request, "refused");
        enum error error = store_get_outcome(store, 5, request, same_outcome, &row);
        assert_error(store, error, version + 1 == request && error == OK ? OK : ERROR_NOT_FOUND);
        version += error == OK;
    }
    return version;
}

static struct timeline_row event_of(uint64_t number)
{
    return (struct timeline_row){
        .room = ROOM, .number = number, .seq = number, .kind = 1, .text = "hello", .text_size = 5};
}

static void put_event(struct store *store, uint64_t version)
{
    struct timeline_row row = event_of(version);
    assert_ok(store, store_add_event(store, &row));
}

static uint64_t get_number(struct store *store)
{
    uint64_t number = UINT64_MAX;
    assert_ok(store, store_number_at(store, ROOM, INT64_MAX, &number));
    for (uint64_t seq = 1; seq <= number; seq++) {
        uint64_t found = UINT64_MAX;
        assert_ok(store, store_number_at(store, ROOM, seq, &found));
        assert_int_equal(found, seq);
    }
    return number;
}

static uint64_t get_events(struct store *store)
{
    size_t count = 0;
    assert_ok(store, store_events_after(store, ROOM, 0, UINT64_MAX, 100, count_event, &count));
    return count;
}

static uint64_t get_messages(struct store *store)
{
    size_t count = 0;
    assert_ok(store, store_messages_before(store, ROOM, 1, 0, 100, count_event, &count));
    return count;
}

static void put_room(struct store *store, uint64_t version)
{
    assert_ok(store, store_put_room(store, &(struct room_row){.id = ROOM,
                                                              .name = "room",
                                                              .folded = "room",
                                                              .topic = "",
                                                              .created_ms = version}));
}

static enum error see_room(void *context, const struct room_row *row)
{
    *(uint64_t *)context = row->created_ms;
    return OK;
}

static uint64_t get_room(struct store *store)
{
    uint64_t version = 0;
    assert_ok(store, store_each_room(store, see_room, &version));
    return version;
}

static void put_member(struct store *store, uint64_t version)
{
    assert_ok(store, store_put_member(store, &(struct member_row){.room = ROOM,
                                                                  .account = 1,
                                                                  .state = MEMBER_IN,
                                                                  .since_seq = version}));
}

static enum error see_member(void *context, const struct member_row *row)
{
    *(uint64_t *)context = row->since_seq;
    return OK;
}

static uint64_t get_member(struct store *store)
{
    uint64_t version = 0;
    assert_ok(store, store_each_member(store, see_member, &version));
    return version;
}

static uint64_t list_accounts(struct store *store)
{
    uint64_t version = 0;
    assert_ok(store, store_each_account(store, see_account, &version));
    return version;
}

static uint64_t list_sessions(struct store *store)
{
    uint64_t version = 0;
    assert_ok(store, store_each_session(store, see_session, &version));
    return version;
}

static void put_members(struct store *store, uint64_t version)
{
    const uint8_t list[] = {1, 2, 3};
    assert_ok(store, store_put_members(store, (struct log_position){1, version}, list, 3));
}

static uint64_t get_members(struct store *store)
{
    struct log_position position = {0};
    size_t used;
    enum error error = store_get_members(store, &position, NULL, 0, &used);
    assert_error(store, error, position.seq == 0 ? ERROR_NOT_FOUND : OK);
    return position.seq;
}

static const struct kind {
    const char *name;
    void (*put)(struct store *store, uint64_t version);
    uint64_t (*get)(struct store *store);
    bool is_single; /* leaves the database behind */
} kinds[] = {
    {"account", put_account, get_account, true},
    {"delivered", put_delivered, get_delivered, true},
    {"session", put_session, get_session, true},
    {"last request", put_request, get_request, true},
    {"outcome", put_outcome, get_outcome, true},
    {"number", put_event, get_number, true},
    {"events", put_event, get_events, false},
    {"messages", put_event, get_messages, false},
    {"rooms", put_room, get_room, false},
    {"members of rooms", put_member, get_member, false},
    {"accounts", put_account, list_accounts, false},
    {"sessions", put_session, list_sessions, false},
    {"members of the cluster", put_members, get_members, false},
};

static void expect_version(const struct kind *kind, struct store *store, uint64_t expected)
{
    uint64_t found = kind->get(store);
    if (found != expected)
        fail_msg("%s%s: %" PRIu64 ", not %" PRIu64, kind->name,
                 store->is_reader ? " of the reader" : "", found, expected);
}

/* Version 1 is in the database, 2 is committed, and 3 in the open transaction. */
static void check_kind(struct fixture *f, const struct kind *kind)
{
    struct store *store = f->store;
    for (uint64_t version = 1; version <= 2; version++) {
        assert_ok(store, store_begin(store));
        kind->put(store, version);
        commit(store);
        if (version == 1)
            project(store, false);
    }
    assert_true(store_unprojected_bytes(store) > 0);
    assert_ok(store, store_begin(store));
    expect_version(kind, store, 2);
    assert_int_equal(store_unprojected_bytes(store) > 0, kind->is_single);
    kind->put(store, 3);
    expect_version(kind, store, 3);
    expect_version(kind, f->reader, 2);
    assert_int_equal(store_unprojected_bytes(store), 0); /* the reader had to bring it there */
    expect_version(kind, store, 3);
    store_rollback(store);
    expect_version(kind, store, 2);
    project(store, false);
    expect_version(kind, store, 2);
    expect_version(kind, f->reader, 2);
}

TEST(test_projection_reads__what_is_committed)
{
    for (size_t i = 0; i < sizeof kinds / sizeof *kinds; i++) {
        struct fixture f = {.reader = NULL};
        begin(&f);
        f.reader = open_reader(f.store);
        check_kind(&f, &kinds[i]);
        end(&f);
    }
}

/* The same of every kind with a version that nothing was projected of before. */
TEST(test_projection_reads__rows_that_the_database_lacks)
{
    for (size_t i = 0; i < sizeof kinds / sizeof *kinds; i++) {
        struct fixture f = {.reader = NULL};
        begin(&f);
        assert_ok(f.store, store_begin(f.store));
        kinds[i].put(f.store, 1);
        expect_version(&kinds[i], f.store, 1);
        store_rollback(f.store);
        expect_version(&kinds[i], f.store, 0);
        assert_ok(f.store, store_begin(f.store));
        kinds[i].put(f.store, 1);
        commit(f.store);
        expect_version(&kinds[i], f.store, 1);
        store_close(f.store);
        f.store = open_store(f.folder); /* closing brought it up to date */
        assert_int_equal(store_position(f.store).seq, 1);
        expect_version(&kinds[i], f.store, 1);
        end(&f);
    }
}

static void put_outcomes(struct store *store, uint64_t first, uint64_t last)
{
    assert_ok(store, store_begin(store));
    for (uint64_t request = first; request <= last; request++)
        put_outcome(store, request);
    commit(store);
}

static void expect_outcome(struct store *store, uint64_t request, enum error expected)
{
    struct outcome_row row = outcome_of(request, "refused");
    assert_error(store, store_get_outcome(store, 5, request, same_outcome, &row), expected);
}

/* The window ends where the newest request says, wherever the two of them are. */
TEST_F(test_projection_reads__outcomes_out_of_the_window)
{
    put_outcomes(f->store, 1, 100);
    project(f->store, false);
    put_outcomes(f->store, 101, 300);
    expect_outcome(f->store, 44, ERROR_NOT_FOUND);
    expect_outcome(f->store, 45, OK);
    expect_outcome(f->store, 150, OK);
    put_outcomes(f->store, 301, 400);
    expect_outcome(f->store, 144, ERROR_NOT_FOUND);
    expect_outcome(f->store, 145, OK);
    assert_true(store_unprojected_bytes(f->store) > 0);
    project(f->store, false);
    expect_outcome(f->store, 144, ERROR_NOT_FOUND);
    expect_outcome(f->store, 145, OK);
}

/* A session that was deleted, and one that begins anew with the same id. */
TEST_F(test_projection_reads__a_deleted_session)
{
    struct store *store = f->store;
    assert_ok(store, store_begin(store));
    put_session(store, 1);
    put_outcome(store, 1);
    put_outcome(store, 2);
    commit(store);
    for (int i = 0; i < 2; i++) { /* before the projection, and after it */
        if (i == 1)
            project(store, false);
        assert_ok(store, store_begin(store));
        assert_ok(store, store_delete_session(store, 5));
        expect_outcome(store, 1, ERROR_NOT_FOUND);
        assert_int_equal(get_session(store), 0);
        store_rollback(store);
        expect_outcome(store, 1, OK);
        assert_int_equal(get_request(store), 2);
    }
    assert_ok(store, store_begin(store));
    put_outcome(store, 3); /* is written together with the deletion */
    commit(store);
    assert_ok(store, store_begin(store));
    assert_ok(store, store_delete_session(store, 5));
    put_session(store, 7);
    put_outcome(store, 1);
    commit(store);
    for (int i = 0; i < 2; i++) {
        assert_int_equal(get_request(store), 1);
        expect_outcome(store, 1, OK);
        expect_outcome(store, 2, ERROR_NOT_FOUND);
        expect_outcome(store, 3, ERROR_NOT_FOUND);
        assert_true(i == 1 || store_unprojected_bytes(store) > 0);
        project(store, false);
    }
    assert_ok(store, store_begin(store));
    assert_ok(store, store_delete_session(store, 5));
    commit(store);
    for (int i = 0; i < 2; i++) {
        expect_outcome(store, 1, ERROR_NOT_FOUND);
        assert_int_equal(get_session(store), 0);
        assert_true(i == 1 || store_unprojected_bytes(store) > 0);
        project(store, false);
    }
}

/* ---- the same content, however the database came there ---- */

/* Events are compared without their ids, which tell what was written in one transaction; so are the
 * runs, which store_scan compares with the events. */
static const char *const tables[] = {
    "SELECT * FROM node",
    "SELECT * FROM epoch_start ORDER BY 1",
    "SELECT * FROM log_end",
    "SELECT * FROM log_base",
    "SELECT * FROM log_copy",
    "SELECT * FROM cluster_members",
    "SELECT * FROM account ORDER BY id",
    "SELECT * FROM session ORDER BY id",
    "SELECT * FROM room ORDER BY id",
    "SELECT * FROM member ORDER BY room, account",
    "SELECT room, number, seq, kind, account, subject, session, request, time_ms, text FROM event"
    " ORDER BY room, number, seq, kind",
    "SELECT room, last_number, last_seq FROM run_tail ORDER BY room",
    "SELECT * FROM outcome_tail ORDER BY session",
    "SELECT * FROM outcome_part ORDER BY session, slot",
};
#define TABLES (sizeof tables / sizeof *tables)

struct content {
    uint64_t sums[TABLES];
    uint64_t rows[TABLES];
};

static uint64_t add_bytes(uint64_t sum, const void *bytes, size_t size)
{
    const uint8_t *at = bytes;
    for (size_t i = 0; i < size; i++)
        sum = (sum ^ at[i]) * UINT64_C(0x100000001b3);
    return (sum ^ size) * UINT64_C(0x100000001b3);
}

static void read_table(sqlite3 *database, size_t table, struct content *content)
{
    sqlite3_stmt *statement = NULL;
    int code = sqlite3_prepare_v2(database, tables[table], -1, &statement, NULL);
    assert_int_equal(code, SQLITE_OK);
    while ((code = sqlite3_step(statement)) == SQLITE_ROW) {
        content->rows[table]++;
        for (int i = 0; i < sqlite3_column_count(statement); i++)
            content->sums[table] =
                add_bytes(content->sums[table], sqlite3_column_blob(statement, i),
                          (size_t)sqlite3_column_bytes(statement, i));
    }
    assert_int_equal(code, SQLITE_DONE);
    assert_int_equal(sqlite3_finalize(statement), SQLITE_OK);
}

static void scan(struct store *store)
{
    struct store_scan scanned = {0};
    while (!scanned.is_done)
        assert_ok(store, store_scan(store, &scanned, SIZE_MAX));
}

static struct content content_of(struct store *store)
{
    struct content content = {{0}, {0}};
    project(store, false);
    for (size_t i = 0; i < TABLES; i++)
        read_table(store->database, i, &content);
    scan(store);
    return content;
}

static void expect_same(const struct content *found, const struct content *expected)
{
    for (size_t i = 0; i < TABLES; i++)
        if (found->sums[i] != expected->sums[i] || found->rows[i] != expected->rows[i])
            fail_msg("%s: %" PRIu64 " and %" PRIu64 " rows", tables[i], found->rows[i],
                     expected->rows[i]);
}

#define BATCHES 30

/* The content after n batches, each projected by itself. */
static struct content content_of_single_batches(uint64_t n)
{
    struct fixture f = {.reader = NULL};
    begin(&f);
    for (uint64_t i = 1; i <= n; i++) {
        assert_ok(f.store, work_apply(f.store, i));
        project(f.store, false);
    }
    struct content content = content_of(f.store);
    end(&f);
    return content;
}

TEST_F(test_store_project__many_batches_are_as_single_ones)
{
    struct content expected = content_of_single_batches(BATCHES);
    work_apply_all(f->store, 1, BATCHES);
    assert_true(store_unprojected_bytes(f->store) > 0);
    uint64_t before = faulty_vfs_count();
    project(f->store, false);
    assert_true(faulty_vfs_count() - before < 20); /* one transaction */
    assert_int_equal(store_unprojected_bytes(f->store), 0);
    struct content found = content_of(f->store);
    expect_same(&found, &expected);
    work_check(f->store, BATCHES);
}

TEST_F(test_store_project__of_nothing)
{
    uint64_t before = faulty_vfs_count();
    project(f->store, false);
    project(f->store, true);
    assert_int_equal(faulty_vfs_count(), before);
    assert_int_equal(store_unprojected_bytes(f->store), 0);
    struct store *memory = open_store(NULL);
    work_apply_all(memory, 1, 3);
    project(memory, true);
    assert_int_equal(store_unprojected_bytes(memory), 0);
    work_check(memory, 3);
    store_close(memory);
}

TEST_F(test_store_close__brings_the_database_up_to_date)
{
    work_apply_all(f->store, 1, 12);
    store_close(f->store);
    f->store = open_store(f->folder);
    assert_int_equal(store_position(f->store).seq, work_last_seq(12));
    assert_int_equal(store_log_last(f->store).seq, work_last_seq(12));
    work_check(f->store, 12);
}

/* A process that dies with so many batches in its database: the next one replays the rest. */
static void check_death(uint64_t projected, const struct content *expected)
{
    struct fixture f = {.reader = NULL};
    char image[TEST_PATH_SIZE];
    begin(&f);
    make_folder(image);
    work_apply_all(f.store, 1, projected);
    project(f.store, false);
    work_apply_all(f.store, projected + 1, BATCHES);
    copy_folder(f.folder, image);
    struct store *store = open_store(image);
    assert_int_equal(store_position(store).seq, work_last_seq(projected));
    assert_int_equal(store_log_last(store).seq, work_last_seq(BATCHES));
    uint64_t bytes = store_log_bytes(store);
    assert_true(projected == BATCHES || bytes < store_log_bytes(f.store));
    assert_ok(store, work_replay(store));
    assert_int_equal(store_log_bytes(store), store_log_bytes(f.store));
    struct content found = content_of(store);
    expect_same(&found, expected);
    work_check(store, BATCHES);
    assert_ok(store, work_apply(store, BATCHES + 1));
    store_close(store);
    store = open_store(image);
    work_check(store, BATCHES + 1);
    store_close(store);
    remove_folder(image);
    end(&f);
}

TEST(test_store_open__replays_from_every_position)
{
    struct content expected = content_of_single_batches(BATCHES);
    for (uint64_t n = 0; n <= BATCHES; n++)
        check_death(n, &expected);
}

/* A replay refuses an entry that differs from that of the log. */
TEST_F(test_store_log_append__replays_something_else)
{
    char image[TEST_PATH_SIZE];
    make_folder(image);
    assert_ok(f->store, store_begin(f->store));
    commit(f->store);
    copy_folder(f->folder, image);
    struct store *store = open_store(image);
    assert_ok(store, store_begin(store));
    assert_error(store, append_entry(store, 11), ERROR_CORRUPT);
    assert_error(store, store_commit(store), ERROR_CORRUPT);
    store_rollback(store);
    assert_ok(store, store_begin(store));
    commit(store);
    assert_int_equal(store_position(store).seq, 1);
    store_close(store);
    remove_folder(image);
}

/* ---- faults ---- */

/* The k-th call of a projection fails: the changes stay, and the next one writes them. */
static bool try_project(enum faulty_kind kind, bool wants_sync, uint64_t k,
                        const struct content *expected)
{
    struct fixture f = {.reader = NULL};
    struct error_text why = {""};
    begin(&f);
    work_apply_all(f.store, 1, BATCHES - 1);
    project(f.store, true);
    assert_ok(f.store, work_apply(f.store, BATCHES));
    size_t bytes = store_unprojected_bytes(f.store);
    faulty_vfs_fail(kind, k, false);
    enum error error = store_project(f.store, wants_sync, &why);
    bool has_failed = faulty_vfs_has_failed();
    faulty_vfs_fail(FAULTY_NONE, 0, false);
    if (has_failed) {
        assert_true(error == ERROR_IO || (error == ERROR_DISK_FULL && kind == FAULTY_FULL));
        assert_true(why.text[0] != '\0');
        size_t left = store_unprojected_bytes(f.store);
        assert_true(left == bytes || (left == 0 && wants_sync)); /* 0: only the sync failed */
        struct content found = content_of(f.store);
        expect_same(&found, expected);
        work_check(f.store, BATCHES);
    }
    end(&f);
    return has_failed;
}

TEST(test_store_project__one_call_fails)
{
    static const enum faulty_kind failing[] = {FAULTY_IO, FAULTY_FULL};
    struct content expected = content_of_single_batches(BATCHES);
    for (size_t i = 0; i < 4; i++) {
        uint64_t k = 1;
        while (try_project(failing[i / 2], i % 2 == 1, k, &expected))
            k++;
        assert_true(k > 1 + i % 2);
    }
}

static uint64_t first_after_prune(struct store *store)
{
    store_log_prune(store, UINT64_MAX);
    return store_log_first(store);
}

/* After a sync that failed nothing counts as durable before one that wrote all of it again. */
TEST_F(test_store_project__a_sync_fails)
{
    struct store *store = f->store;
    struct error_text why = {""};
    work_apply_all(store, 1, 5);
    project(store, true);
    work_apply_all(store, 6, 30);
    project(store, false);
    faulty_vfs_fail(FAULTY_IO, 1, false);
    assert_int_equal(store_project(store, true, &why), ERROR_IO);
    assert_true(faulty_vfs_has_failed());
    assert_non_null(strstr(why.text, "sync"));
    assert_true(first_after_prune(store) <= work_last_seq(5) + 1);
    faulty_vfs_fail(FAULTY_NONE, 0, false);
    uint64_t before = faulty_vfs_count();
    project(store, true);
    assert_true(faulty_vfs_count() > before + 1); /* the pages again, then the sync */
    work_check(store, 30);
    store_log_prune(store, work_last_seq(20) + 1);
    assert_int_equal(store_log_first(store), work_last_seq(20) + 1);
    faulty_vfs_fail(FAULTY_POWER, 1, true);
    store_close(store);
    f->store = NULL;
    faulty_vfs_lose_power(0);
    f->store = open_store(f->folder);
    assert_int_equal(store_position(f->store).seq, work_last_seq(30));
    work_check(f->store, 30);
}

/* Reads show what is committed even if the disk takes none of it; the open transaction, too. */
TEST(test_projection_reads__when_the_disk_is_full)
{
    for (size_t i = 0; i < sizeof kinds / sizeof *kinds; i++) {
        struct fixture f = {.reader = NULL};
        begin(&f);
        for (uint64_t version = 1; version <= 2; version++) {
            assert_ok(f.store, store_begin(f.store));
            kinds[i].put(f.store, version);
            commit(f.store);
        }
        faulty_vfs_fail(FAULTY_FULL, 1, true);
        expect_version(&kinds[i], f.store, 2);
        assert_ok(f.store, store_begin(f.store));
        kinds[i].put(f.store, 3);
        expect_version(&kinds[i], f.store, 3);
        assert_true(store_unprojected_bytes(f.store) > 0);
        store_rollback(f.store);
        expect_version(&kinds[i], f.store, 2);
        faulty_vfs_fail(FAULTY_NONE, 0, false);
        project(f.store, false);
        expect_version(&kinds[i], f.store, 2);
        end(&f);
    }
}

TEST_F(test_store_log_prune__what_the_synced_database_has)
{
    struct store *store = f->store;
    work_apply_all(store, 1, 20);
    assert_int_equal(first_after_prune(store), 1); /* nothing was projected */
    project(store, false);
    assert_int_equal(first_after_prune(store), 1); /* nothing was synced */
    project(store, true);
    assert_int_equal(first_after_prune(store), work_last_seq(19) + 1);
    work_apply_all(store, 21, 40);
    assert_int_equal(first_after_prune(store), work_last_seq(20) + 1);
    /* A change that is not of the log syncs all that was written before. */
    struct log_entry orphan = {.first_seq = 1, .last_seq = 1, .bytes = (const uint8_t *)""};
    assert_ok(store, store_add_orphan(store, &orphan));
    assert_int_equal(first_after_prune(store), work_last_seq(39) + 1);
}

/* ---- orphans ---- */

static bool try_drop(struct store *store, uint64_t last, uint64_t k)
{
    struct error_text why = {""};
    faulty_vfs_fail(FAULTY_IO, k, false);
    enum error error = store_drop_orphans(store, last, &why);
    bool has_failed = faulty_vfs_has_failed();
    faulty_vfs_fail(FAULTY_NONE, 0, false);
    assert_int_equal(error, has_failed ? ERROR_IO : OK);
    assert_int_equal(why.text[0] != '\0', has_failed);
    if (has_failed && store_drop_orphans(store, last, &why) != OK)
        fail_msg("%s", why.text);
    return has_failed;
}

/* Each call fails, also the sync after the removal: the next removal tells how many are left. */
TEST_F(test_store_drop_orphans__one_call_fails)
{
    struct store *store = f->store;
    bool has_failed = true;
    for (uint64_t k = 1; has_failed; k++) {
        struct log_entry entry = {.epoch = EPOCH, .first_seq = 1, .last_seq = 1};
        assert_ok(store, store_add_orphan(store, &entry));
        assert_ok(store, store_add_orphan(store, &entry));
        uint64_t last = store_last_orphan(store);
        has_failed = try_drop(store, last - 1, k);
        assert_int_equal(store_orphan_count(store), 1);
        assert_int_equal(store_last_orphan(store), last);
        if (store_drop_orphans(store, last, NULL) != OK)
            fail_msg("%s", store_last_problem(store));
        assert_int_equal(store_orphan_count(store), 0);
        assert_int_equal(store_last_orphan(store), 0);
        assert_true(has_failed || k > 2); /* the write and the sync */
    }
}

/* The database is synced whenever half of what may be replayed is not. */
TEST_F(test_store_project__syncs_what_a_start_should_not_replay)
{
    const uint64_t bound = 200000;
    struct store_options options = store_options_of(f->folder);
    struct error_text why;
    store_close(f->store);
    options.replay_bytes = bound;
    assert_int_equal(store_open(&f->store, &options, &why), OK);
    uint64_t synced = 0;
    for (uint64_t n = 1; n <= 100; n++) {
        assert_ok(f->store, work_apply(f->store, n));
        project(f->store, false);
        uint64_t unsynced = 0;
        assert_ok(f->store, store_log_bytes_to(
                                f->store, projection_synced_seq(f->store->projection), &synced));
        unsynced = store_log_bytes(f->store) - synced;
        assert_in_range(unsynced, 0, bound / 2 - 1);
    }
    assert_true(synced > bound);
}

/* The power fails while the database is ahead of its last sync. */
static void check_power_loss(uint64_t seed)
{
    struct fixture f = {.reader = NULL};
    begin(&f);
    work_apply_all(f.store, 1, 10);
    project(f.store, true);
    for (uint64_t n = 11; n <= 25; n++) {
        assert_ok(f.store, work_apply(f.store, n));
        project(f.store, false);
    }
    struct error_text why;
    (void)first_after_prune(f.store);
    assert_int_equal(store_log_maintain(f.store, &why), OK);
    work_apply_all(f.store, 26, 30);
    faulty_vfs_fail(FAULTY_POWER, 1, true);
    store_close(f.store);
    faulty_vfs_lose_power(seed);
    f.store = open_store(f.folder);
    uint64_t found = work_batches(store_position(f.store));
    assert_in_range(found, 10, seed == 0 ? 10 : 25);
    assert_ok(f.store, work_replay(f.store));
    scan(f.store);
    work_check(f.store, 30);
    end(&f);
}

TEST(test_projection__power_fails)
{
    for (uint64_t seed = 0; seed < 40; seed++)
        check_power_loss(seed);
}

/* An installation that fails opens the projection again, which must not forget what is not synced. */
TEST_F(test_store_install__fails_before_the_sync)
{
    struct error_text why;
    struct log_position position;
    char file[TEST_PATH_SIZE];
    join_path(file, f->folder, "incoming");
    work_apply_all(f->store, 1, 5);
    assert_ok(f->store, store_snapshot_take(f->store, file, &position));
    work_apply_all(f->store, 6, 60);
    project(f->store, false);
    f->reader = open_reader(f->store);
    size_t count = 0;
    assert_ok(f->reader, store_each_account(f->reader, count_account, &count));
    (void)sqlite3_busy_timeout(f->store->database, 0);
    assert_int_equal(store_install(&f->store, file, position, &why), ERROR_IN_USE);
    store_close(f->reader);
    f->reader = NULL;
    assert_ok(f->store, work_apply(f->store, 61)); /* prunes */
    assert_int_equal(store_log_maintain(f->store, &why), OK);
    faulty_vfs_fail(FAULTY_POWER, 1, true);
    store_close(f->store);
    f->store = NULL;
    faulty_vfs_lose_power(0);
    f->store = open_store(f->folder);
    assert_ok(f->store, work_replay(f->store));
    work_check(f->store, 61);
}

/* ---- the bound of the changes in memory ---- */

TEST_F(test_store_commit__with_too_much_in_memory)
{
    struct store *store = f->store;
    uint64_t n = 0;
    store->unprojected_max = 100000;
    do {
        assert_ok(store, work_apply(store, ++n));
    } while (store_unprojected_bytes(store) <= store->unprojected_max);
    faulty_vfs_fail(FAULTY_FULL, 1, true);
    assert_error(store, work_apply(store, n + 1), ERROR_DISK_FULL);
    assert_non_null(strstr(store_last_problem(store), "commit: "));
    assert_int_equal(store_position(store).seq, work_last_seq(n));
    assert_int_equal(store_log_last(store).seq, work_last_seq(n));
    assert_error(store, work_apply(store, n + 1), ERROR_DISK_FULL);
    faulty_vfs_fail(FAULTY_NONE, 0, false);
    assert_ok(store, work_apply(store, n + 1)); /* and makes room */
    assert_true(store_unprojected_bytes(store) < store->unprojected_max);
    work_check(store, n + 1);
    store_close(store);
    f->store = open_store(f->folder);
    work_check(f->store, n + 1);
}

/* Rows without an entry are durable when the commit returns, or not there. */
TEST_F(test_store_commit__of_rows_without_an_entry)
{
    struct store *store = f->store;
    assert_ok(store, store_begin(store));
    put_account(store, 1);
    assert_ok(store, store_commit(store));
    assert_int_equal(store_unprojected_bytes(store), 0);
    for (uint64_t k = 1;; k++) {
        assert_ok(store, store_begin(store));
        put_account(store, 2);
        faulty_vfs_fail(FAULTY_FULL, k, false);
        enum error error = store_commit(store);
        bool has_failed = faulty_vfs_has_failed();
        faulty_vfs_fail(FAULTY_NONE, 0, false);
        if (error == OK) {
            assert_false(has_failed);
            break;
        }
        store_rollback(store);
        if (error == ERROR_IO)
            break; /* only the sync failed: nobody knows */
        assert_int_equal(error, ERROR_DISK_FULL);
        assert_int_equal(get_account(store), 1);
        project(store, false);
        assert_int_equal(get_account(store), 1);
    }
    faulty_vfs_fail(FAULTY_POWER, 1, true);
    store_close(store);
    faulty_vfs_lose_power(0);
    f->store = open_store(f->folder);
    assert_int_equal(get_account(f->store), 1);
}

/* ---- trials ---- */

/* A change after the other, without a commit; the ones that are left out never come. */
TEST_F(test_store_try_change__and_drop)
{
    struct store *store = f->store;
    assert_ok(store, store_begin(store));
    put_account(store, 1);
    commit(store);
    assert_ok(store, store_begin(store));
    put_account(store, 2);
    put_event(store, 5);
    assert_ok(store, append_entry(store, 10));
    uint64_t before = faulty_vfs_count();
    assert_ok(store, store_pause(store));
    store_resume(store);
    assert_true(faulty_vfs_count() > before); /* up to date */
    assert_int_equal(get_account(store), 2);  /* still in the open transaction */
    put_event(store, 4);                      /* does not follow */
    assert_int_equal(store_change_count(store), 3);
    store_drop_change(store, 1);
    store_drop_change(store, 0);
    assert_int_equal(store_change_count(store), 1);
    assert_int_equal(get_account(store), 1);
    commit(store);
    project(store, false);
    assert_int_equal(get_account(store), 1);
    assert_int_equal(get_events(store), 1);
    uint64_t number = 0;
    assert_ok(store, store_number_at(store, ROOM, 9, &number));
    assert_int_equal(number, 4);
}

static enum error see_topic(void *context, const struct room_row *row)
{
    *(size_t *)context += strlen(row->topic);
    return OK;
}

static enum error see_device(void *context, const struct session_row *row)
{
    *(size_t *)context += strlen(row->device);
    return OK;
}

static enum error see_text(void *context, const struct timeline_row *row)
{
    *(size_t *)context += row->text_size;
    return OK;
}

/* Without their texts the rows are there, and an event keeps its numbers. */
TEST_F(test_store_blank_change__empties_texts)
{
    struct store *store = f->store;
    struct room_row room = {.id = ROOM, .name = "room", .folded = "room", .topic = "birds"};
    struct outcome_row outcome = outcome_of(7, "refused");
    size_t left = 0;
    assert_ok(store, store_begin(store));
    put_account(store, 1);
    put_session(store, 1);
    assert_ok(store, store_put_room(store, &room));
    put_event(store, 1);
    assert_ok(store, store_put_outcome(store, &outcome));
    put_member(store, 1);
    for (int turn = 0; turn < 2; turn++)
        for (size_t i = 0; i < store_change_count(store); i++)
            assert_int_equal(store_blank_change(store, i), turn == 0 && i >= 1 && i <= 4);
    commit(store);
    project(store, false);
    assert_ok(store, store_each_room(store, see_topic, &left));
    assert_ok(store, store_each_session(store, see_device, &left));
    assert_ok(store, store_events_after(store, ROOM, 0, UINT64_MAX, 100, see_text, &left));
    assert_int_equal(left, 0);
    outcome.text = "";
    assert_ok(store, store_get_outcome(store, 5, 7, same_outcome, &outcome));
    assert_int_equal(get_account(store), 1);
    assert_int_equal(get_member(store), 1);
    assert_int_equal(get_events(store), 1);
    assert_int_equal(get_number(store), 1);
}

/* A projection that cannot follow keeps what was committed, and refuses a trial. */
TEST_F(test_store_pause__when_the_database_cannot_follow)
{
    struct store *store = f->store;
    struct error_text why;
    assert_ok(store, store_begin(store));
    put_event(store, 5);
    put_event(store, 4);
    commit(store);
    assert_error(store, store_pause(store), ERROR_CORRUPT);
    assert_int_equal(store_project(store, false, &why), ERROR_CORRUPT);
    assert_true(store_unprojected_bytes(store) > 0);
    uint64_t number;
    assert_ok(store, store_number_at(store, ROOM, 5, &number)); /* from memory */
    assert_int_equal(number, 4);
}

TEST_PREPARE()
{
    faulty_vfs_install();
    return 0;
}
