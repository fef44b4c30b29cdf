/* SPDX-License-Identifier: MIT */
#include "store/store_internal.h"

#include "batch/batch.h"
#include "support/folder.h"
#include "test_store_support.h"

#include <dirent.h>
#include <fcntl.h>
#include <sodium.h>
#include <sqlite3.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

void assert_error_at(const struct store *store, enum error found, enum error expected,
                     const char *call, const char *file, int line)
{
    if (found == expected)
        return;
    print_error("%s gave \"%s\", not \"%s\": %s\n", call, error_name(found), error_name(expected),
                store == NULL ? "" : store_last_problem(store));
    _fail(file, line);
}

void make_folder(char path[static TEST_PATH_SIZE])
{
    char *folder = folder_new();
    (void)snprintf(path, TEST_PATH_SIZE, "%s", folder);
    free(folder);
}

void remove_folder(const char *path)
{
    folder_remove(strdup(path));
}

void join_path(char out[static TEST_PATH_SIZE], const char *folder, const char *name)
{
    int size = snprintf(out, TEST_PATH_SIZE, "%s/%s", folder, name);
    assert_in_range(size, 1, TEST_PATH_SIZE - 1);
}

void copy_file(const char *from, const char *to)
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

static bool is_left_by_a_crash(const char *name)
{
    static const char *const others[] = {".", "..", "lock", STORE_FILE_NAME "-shm"};
    for (size_t i = 0; i < sizeof others / sizeof *others; i++)
        if (strcmp(name, others[i]) == 0)
            return false;
    return true;
}

static void copy_one(const char *from, const char *to, const char *name)
{
    char source[TEST_PATH_SIZE], target[TEST_PATH_SIZE];
    struct stat status;
    join_path(source, from, name);
    join_path(target, to, name);
    assert_int_equal(stat(source, &status), 0);
    if (!S_ISDIR(status.st_mode)) {
        copy_file(source, target);
        return;
    }
    assert_int_equal(mkdir(target, 0700), 0);
    copy_folder(source, target);
}

void copy_folder(const char *from, const char *to)
{
    DIR *folder = opendir(from);
    assert_non_null(folder);
    for (const struct dirent *entry; (entry = readdir(folder)) != NULL;)
        if (is_left_by_a_crash(entry->d_name))
            copy_one(from, to, entry->d_name);
    assert_int_equal(closedir(folder), 0);
}

void write_text(const char *path, const char *text)
{
    FILE *file = fopen(path, "w");
    assert_non_null(file);
    assert_true(fputs(text, file) >= 0);
    assert_int_equal(fclose(file), 0);
}

bool file_exists(const char *path)
{
    struct stat status;
    return stat(path, &status) == 0;
}

struct store_options store_options_of(const char *folder)
{
    return (struct store_options){
        .folder = folder, .node_id = TEST_NODE, .segment_bytes = TEST_SEGMENT_BYTES};
}

enum error try_open(struct store **out, const char *folder, struct error_text *why)
{
    const struct store_options options = store_options_of(folder);
    why->text[0] = '\0';
    return store_open(out, &options, why);
}

struct store *open_store(const char *folder)
{
    struct store *store = NULL;
    struct error_text why;
    enum error error = try_open(&store, folder, &why);
    if (error != OK)
        fail_msg("%s: %s", error_name(error), why.text);
    return store;
}

void make_node(const char *folder, uint64_t node_id)
{
    char path[TEST_PATH_SIZE];
    struct node_file node;
    struct error_text why;
    join_path(path, folder, NODE_FILE_NAME);
    if (node_file_open(&node, path, node_id, true, &why) != OK)
        fail_msg("%s", why.text);
    node_file_close(&node);
}

struct store *open_reader(struct store *store)
{
    struct store *reader = NULL;
    struct error_text why;
    assert_int_equal(store_open_reader(&reader, store, &why), OK);
    return reader;
}

uint64_t test_id(uint64_t number)
{
    return number * UINT64_C(0x9E3779B97F4A7C15) + 1;
}

uint64_t test_random(uint64_t *random)
{
    *random ^= *random << 13;
    *random ^= *random >> 7;
    *random ^= *random << 17;
    return *random;
}

#define COUNT(name, type)                                          \
    enum error count_##name(void *context, const struct type *row) \
    {                                                              \
        (void)row;                                                 \
        ++*(size_t *)context;                                      \
        return OK;                                                 \
    }
COUNT(account, account_row)
COUNT(event, timeline_row)
COUNT(outcome, outcome_row)
COUNT(log, log_entry)
COUNT(session, session_row)
COUNT(room, room_row)
COUNT(member, member_row)

enum error same_event(void *context, const struct timeline_row *row)
{
    const struct timeline_row *expected = context;
    assert_int_equal(row->room, expected->room);
    assert_int_equal(row->number, expected->number);
    assert_int_equal(row->seq, expected->seq);
    assert_int_equal(row->kind, expected->kind);
    assert_int_equal(row->account, expected->account);
    assert_int_equal(row->subject, expected->subject);
    assert_int_equal(row->session, expected->session);
    assert_int_equal(row->request, expected->request);
    assert_int_equal(row->time_ms, expected->time_ms);
    assert_int_equal(row->text_size, expected->text_size);
    assert_memory_equal(row->text, expected->text, expected->text_size + 1);
    return OK;
}

enum error same_outcome(void *context, const struct outcome_row *row)
{
    const struct outcome_row *expected = context;
    assert_int_equal(row->session, expected->session);
    assert_int_equal(row->request, expected->request);
    assert_int_equal(row->status, expected->status);
    assert_int_equal(row->room, expected->room);
    assert_int_equal(row->number, expected->number);
    assert_int_equal(row->seq, expected->seq);
    assert_int_equal(row->time_ms, expected->time_ms);
    assert_int_equal(row->flags, expected->flags);
    assert_string_equal(row->text, expected->text);
    return OK;
}

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

void faulty_memory_arm(uint64_t k, bool lasting)
{
    memory.fail_at = k;
    memory.count = 0;
    memory.lasting = lasting;
    memory.has_failed = false;
}

bool faulty_memory_has_failed(void)
{
    return memory.has_failed;
}

void faulty_memory_install(void)
{
    sqlite3_mem_methods methods;
    assert_int_equal(sqlite3_config(SQLITE_CONFIG_GETMALLOC, &memory.real), SQLITE_OK);
    methods = memory.real;
    methods.xMalloc = failing_malloc;
    methods.xRealloc = failing_realloc;
    assert_int_equal(sqlite3_config(SQLITE_CONFIG_MALLOC, &methods), SQLITE_OK);
}

/* Batch n has 1, 2 or 3 deltas, each of them a message. */
uint64_t work_last_seq(uint64_t n)
{
    return n / 3 * 6 + (n % 3 == 1 ? 1 : n % 3 == 2 ? 3 : 0);
}

uint64_t work_batches(struct log_position position)
{
    uint64_t n = 0;
    while (work_last_seq(n) < position.seq)
        n++;
    assert_int_equal(work_last_seq(n), position.seq);
    return n;
}

static uint64_t epoch_of(uint64_t n)
{
    return ((n - 1) / WORK_EPOCH_BATCHES + 1) << 16 | TEST_NODE;
}

static enum log_entry_kind kind_of(uint64_t n)
{
    return n % 5 == 3 ? LOG_ENTRY_MEMBERS : LOG_ENTRY_CHAT;
}

/* Some batches are small, some take several pages. */
static size_t fill_batch(uint64_t n, uint8_t batch[static 20000])
{
    size_t size = n % 4 == 0 ? 20000 : 300 + (size_t)n % 100;
    for (size_t i = 0; i < size; i++)
        batch[i] = (uint8_t)(n * 31 + i);
    return size;
}

static size_t fill_text(uint64_t seq, char text[static 5001])
{
    size_t size = seq % 11 == 0 ? 5000 : (size_t)(seq * 13 % 200);
    for (size_t i = 0; i < size; i++)
        text[i] = (char)('a' + (seq + i) % 26);
    text[size] = '\0';
    return size;
}

static struct timeline_row event_of(uint64_t seq, char text[static 5001])
{
    uint64_t index = seq - 1;
    size_t size = fill_text(seq, text);
    return (struct timeline_row){
        .room = test_id(index % WORK_ROOMS),
        .number = index / WORK_ROOMS + 1,
        .seq = seq,
        .kind = 1,
        .account = test_id(100 + index % WORK_ACCOUNTS),
        .subject = index,
        .session = test_id(200 + index % WORK_SESSIONS),
        .request = index / WORK_SESSIONS + 1,
        .time_ms = 1700000000000 + seq,
        .text = text,
        .text_size = size,
    };
}

static struct outcome_row outcome_of(uint64_t seq)
{
    uint64_t index = seq - 1;
    return (struct outcome_row){
        .session = test_id(200 + index % WORK_SESSIONS),
        .request = index / WORK_SESSIONS + 1,
        .status = index % 17 == 0 ? 7 : 0,
        .room = test_id(index % WORK_ROOMS),
        .number = index / WORK_ROOMS + 1,
        .seq = seq,
        .time_ms = 1700000000000 + seq,
        .flags = (uint32_t)(seq % 3),
        .text = index % 17 == 0 ? "The room is private; ask its owner for an invitation." : "",
    };
}

static enum error write_delta(struct store *store, uint64_t seq)
{
    char text[5001];
    struct timeline_row event = event_of(seq, text);
    struct outcome_row outcome = outcome_of(seq);
    struct member_row member = {
        .room = event.room, .account = event.account, .state = MEMBER_IN, .since_seq = seq};
    enum error error = store_add_event(store, &event);
    if (error == OK)
        error = store_put_outcome(store, &outcome);
    if (error == OK)
        error = store_put_member(store, &member);
    if (error == OK && seq <= WORK_SESSIONS)
        error = store_put_session(store, &(struct session_row){.id = event.session,
                                                               .account = event.account,
                                                               .token_hash = {(uint8_t)seq},
                                                               .device = "kestrel",
                                                               .started_ms = seq});
    if (error == OK && seq <= WORK_ROOMS)
        error = store_put_room(
            store,
            &(struct room_row){
                .id = event.room, .name = text, .folded = text, .topic = "", .created_ms = seq});
    return error;
}

/* The list of members is the batch that changed it, cut off. */
static enum error write_members(struct store *store, uint64_t n)
{
    uint8_t batch[20000];
    (void)fill_batch(n, batch);
    struct log_position position = {.epoch = epoch_of(n), .seq = work_last_seq(n)};
    return kind_of(n) == LOG_ENTRY_MEMBERS ? store_put_members(store, position, batch, 100 + n % 9)
                                           : OK;
}

static enum error write_account(struct store *store, uint64_t n)
{
    char name[32];
    (void)snprintf(name, sizeof name, "account %u", (unsigned)(n % WORK_ACCOUNTS));
    return store_put_account(store, &(struct account_row){.id = test_id(100 + n % WORK_ACCOUNTS),
                                                          .name = name,
                                                          .folded = name,
                                                          .password_hash = "hash",
                                                          .nonce = {(uint8_t)n},
                                                          .created_ms = n,
                                                          .delivered_seq = n / 2});
}

enum error work_write(struct store *store, uint64_t n)
{
    uint64_t first = work_last_seq(n - 1) + 1;
    uint64_t last = work_last_seq(n);
    enum error error = OK;
    if ((n - 1) % WORK_EPOCH_BATCHES == 0)
        error =
            store_add_epoch(store, (struct epoch_start){.epoch = epoch_of(n), .first_seq = first});
    for (uint64_t seq = first; seq <= last && error == OK; seq++)
        error = write_delta(store, seq);
    if (error == OK)
        error = write_account(store, n);
    if (error == OK)
        error = write_members(store, n);
    uint8_t batch[20000];
    struct log_entry row = {
        .epoch = epoch_of(n), .first_seq = first, .last_seq = last, .kind = kind_of(n)};
    row.bytes = batch;
    row.size = fill_batch(n, batch);
    if (error == OK)
        error = store_log_append(store, &row);
    return error;
}

enum error work_commit(struct store *store, uint64_t n)
{
    enum error error = store_begin(store);
    if (error == OK)
        error = work_write(store, n);
    if (error == OK)
        error = store_commit(store);
    if (error != OK)
        store_rollback(store);
    return error;
}

enum error work_apply(struct store *store, uint64_t n)
{
    enum error error = work_commit(store, n);
    if (error == OK && n > WORK_BATCHES_KEPT)
        store_log_prune(store, work_last_seq(n - WORK_BATCHES_KEPT) + 1);
    return error;
}

enum error work_replay(struct store *store)
{
    enum error error = OK;
    uint64_t last = store_log_last(store).seq;
    while (error == OK && store_position(store).seq < last)
        error = work_apply(store, work_batches(store_position(store)) + 1);
    return error;
}

void work_apply_all(struct store *store, uint64_t first, uint64_t last)
{
    for (uint64_t n = first; n <= last; n++)
        assert_ok(store, work_apply(store, n));
}

struct check {
    uint64_t next;
    uint64_t n;
    uint64_t count;
};

/* The log must have the batch and all after it. */
static uint64_t kept_from(uint64_t n)
{
    return n > WORK_BATCHES_KEPT ? n - WORK_BATCHES_KEPT + 1 : 1;
}

/* The batch that holds seq. */
static uint64_t batch_of(uint64_t seq)
{
    uint64_t n = 1;
    while (work_last_seq(n) < seq)
        n++;
    return n;
}

static enum error check_log_row(void *context, const struct log_entry *row)
{
    struct check *check = context;
    uint8_t batch[20000];
    uint64_t n = check->next++;
    assert_int_equal(row->epoch, epoch_of(n));
    assert_int_equal(row->first_seq, work_last_seq(n - 1) + 1);
    assert_int_equal(row->last_seq, work_last_seq(n));
    assert_int_equal(row->kind, kind_of(n));
    assert_int_equal(row->size, fill_batch(n, batch));
    assert_memory_equal(row->bytes, batch, row->size);
    check->count++;
    return OK;
}

static void check_digest(struct store *store, uint64_t n)
{
    uint8_t digest[LOG_DIGEST_BYTES] = {0};
    uint8_t found[LOG_DIGEST_BYTES];
    for (uint64_t i = 1; i <= n; i++) {
        uint8_t bytes[20000];
        const struct log_entry entry = {
            .kind = kind_of(i), .bytes = bytes, .size = fill_batch(i, bytes)};
        batch_chain(digest, &entry);
    }
    store_digest(store, found);
    assert_memory_equal(found, digest, sizeof digest);
}

static void check_log(struct store *store, uint64_t n)
{
    struct log_position position = store_position(store);
    assert_int_equal(position.seq, work_last_seq(n));
    assert_int_equal(position.epoch, n == 0 ? 0 : epoch_of(n));
    check_digest(store, n);
    if (n == 0) {
        assert_int_equal(store_log_first(store), 0);
        return;
    }
    uint64_t first = work_last_seq(kept_from(n) - 1) + 1;
    if (!store->is_reader) {
        assert_in_range(store_log_first(store), 1, first);
        first = store_log_first(store);
    }
    struct check check = {.next = batch_of(first)};
    enum error error = store_log_read(store, first, check_log_row, &check);
    if (error == ERROR_INVALID) /* in memory */
        return;
    assert_ok(store, error);
    assert_int_equal(check.next, n + 1);
}

static void check_epochs(struct store *store, uint64_t n)
{
    for (uint64_t i = 1; i <= n; i++)
        for (uint64_t seq = work_last_seq(i - 1) + 1; seq <= work_last_seq(i); seq++)
            assert_int_equal(store_epoch_at(store, seq), epoch_of(i));
    assert_int_equal(store_epoch_at(store, work_last_seq(n) + 1), 0);
    assert_int_equal(store_epoch_at(store, 0), 0);
}

static enum error check_event(void *context, const struct timeline_row *row)
{
    struct check *check = context;
    char text[5001];
    struct timeline_row expected = event_of(check->next, text);
    (void)same_event(&expected, row);
    check->next += WORK_ROOMS;
    check->count++;
    return OK;
}

static void check_timelines(struct store *store, uint64_t last)
{
    uint64_t total = 0;
    for (uint64_t room = 0; room < WORK_ROOMS; room++) {
        struct check check = {.next = room + 1};
        assert_ok(store, store_events_after(store, test_id(room), 0, UINT64_MAX, SIZE_MAX,
                                            check_event, &check));
        total += check.count;
    }
    assert_int_equal(total, last);
}

static void check_outcomes(struct store *store, uint64_t last)
{
    struct check check = {.next = 1};
    for (; check.next <= last; check.next++) {
        struct outcome_row row = outcome_of(check.next);
        bool is_out = check.next + STORE_OUTCOME_WINDOW * WORK_SESSIONS <= last;
        assert_error(store, store_get_outcome(store, row.session, row.request, same_outcome, &row),
                     is_out ? ERROR_NOT_FOUND : OK);
    }
    for (uint64_t seq = last + 1; seq <= last + WORK_SESSIONS; seq++) {
        struct outcome_row row = outcome_of(seq);
        assert_error(store, store_get_outcome(store, row.session, row.request, same_outcome, &row),
                     ERROR_NOT_FOUND);
    }
}

static enum error check_account(void *context, const struct account_row *row)
{
    struct check *check = context;
    char name[32];
    assert_in_range(row->created_ms, 1, check->n);
    assert_true(row->created_ms + WORK_ACCOUNTS > check->n);
    (void)snprintf(name, sizeof name, "account %u", (unsigned)(row->created_ms % WORK_ACCOUNTS));
    assert_int_equal(row->id, test_id(100 + row->created_ms % WORK_ACCOUNTS));
    assert_string_equal(row->name, name);
    assert_int_equal(row->nonce[0], (uint8_t)row->created_ms);
    assert_int_equal(row->delivered_seq, row->created_ms / 2);
    check->count++;
    return OK;
}

static enum error check_session(void *context, const struct session_row *row)
{
    struct check *check = context;
    uint64_t index = row->started_ms - 1;
    assert_int_equal(row->id, test_id(200 + index));
    assert_int_equal(row->last_request, (check->n - index - 1) / WORK_SESSIONS + 1);
    assert_string_equal(row->device, "kestrel");
    check->count++;
    return OK;
}

static enum error check_room(void *context, const struct room_row *row)
{
    struct check *check = context;
    uint64_t index = row->created_ms - 1;
    assert_int_equal(row->id, test_id(index));
    assert_int_equal(row->last_number, (check->n - index - 1) / WORK_ROOMS + 1);
    assert_int_equal(row->last_seq, (row->last_number - 1) * WORK_ROOMS + index + 1);
    check->count++;
    return OK;
}

static enum error check_member(void *context, const struct member_row *row)
{
    struct check *check = context;
    uint64_t index = row->since_seq - 1;
    assert_int_equal(row->room, test_id(index % WORK_ROOMS));
    assert_int_equal(row->account, test_id(100 + index % WORK_ACCOUNTS));
    assert_true(row->since_seq + WORK_ROOMS * WORK_ACCOUNTS > check->n);
    check->count++;
    return OK;
}

static uint64_t least(uint64_t left, uint64_t right)
{
    return left < right ? left : right;
}

static void check_state(struct store *store, uint64_t n)
{
    struct check check = {.n = n};
    assert_ok(store, store_each_account(store, check_account, &check));
    assert_int_equal(check.count, least(n, WORK_ACCOUNTS));
    uint64_t last = work_last_seq(n);
    check = (struct check){.n = last};
    assert_ok(store, store_each_session(store, check_session, &check));
    assert_int_equal(check.count, least(last, WORK_SESSIONS));
    check.count = 0;
    assert_ok(store, store_each_room(store, check_room, &check));
    assert_int_equal(check.count, least(last, WORK_ROOMS));
    check.count = 0;
    assert_ok(store, store_each_member(store, check_member, &check));
    assert_int_equal(check.count, least(last, WORK_ROOMS * WORK_ACCOUNTS));
}

static void check_members(struct store *store, uint64_t n)
{
    uint8_t batch[20000], bytes[128];
    struct log_position position = {0};
    size_t used = 0;
    enum error error = store_get_members(store, &position, bytes, sizeof bytes, &used);
    while (n > 0 && kind_of(n) != LOG_ENTRY_MEMBERS)
        n--;
    assert_error(store, error, n > 0 ? OK : ERROR_NOT_FOUND);
    if (error != OK)
        return;
    (void)fill_batch(n, batch);
    assert_int_equal(position.epoch, epoch_of(n));
    assert_int_equal(position.seq, work_last_seq(n));
    assert_int_equal(used, 100 + n % 9);
    assert_memory_equal(bytes, batch, used);
}

void work_check(struct store *store, uint64_t n)
{
    check_log(store, n);
    check_epochs(store, n);
    check_timelines(store, work_last_seq(n));
    check_outcomes(store, work_last_seq(n));
    check_state(store, n);
    check_members(store, n);
}
