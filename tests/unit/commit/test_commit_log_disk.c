/* SPDX-License-Identifier: MIT */
/* The commit log while the disk works on a thread of its own, and with entries that others wrote. The
 * disk is held by a task in front of the commit, for as long as a test wants it to hang. */
#include "base/log.h"
#include "commit/commit_log.h"
#include "commit/entry_queue.h"
#include "commit/group_commit.h"
#include "support/core_fixture.h"
#include "support/faulty_calls.h"
#include "support/folder.h"
#include "support/test.h"

#include <errno.h>
#include <semaphore.h>
#include <sqlite3.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#define MANY 600 /* entries: more than are applied in one transaction */

static enum error begin_error;

enum error __real_store_begin(struct store *store);
enum error __wrap_store_begin(struct store *store);

enum error __wrap_store_begin(struct store *store)
{
    return begin_error == OK ? __real_store_begin(store) : begin_error;
}

struct commit_record {
    struct commit_waiter commit_waiter;
    unsigned opened;
    bool committed;
};

static void note(struct commit_waiter *commit_waiter, bool committed)
{
    struct commit_record *noted = (struct commit_record *)commit_waiter;
    noted->opened++;
    noted->committed = committed;
}

static void expect_opened(const struct commit_record *noted, bool is_committed)
{
    assert_int_equal(noted->opened, 1);
    assert_int_equal(noted->committed, is_committed);
}

static void put_waiter(struct core_fixture *core, struct commit_record *noted)
{
    *noted = (struct commit_record){.commit_waiter = {.open = note}};
    commit_log_wait(core->commit_log, &noted->commit_waiter);
}

struct hold {
    struct task task;
    sem_t released;
};

static void wait_for_release(struct task *task)
{
    struct hold *hold = (struct hold *)task;
    while (sem_wait(&hold->released) != 0)
        ;
}

static void hold_disk(struct core_fixture *core, struct hold *hold)
{
    (void)sem_init(&hold->released, 0, 0);
    hold->task.run = wait_for_release;
    worker_push(core->disk, &hold->task);
}

static void release_disk(struct hold *hold)
{
    (void)sem_post(&hold->released);
}

static void wait_for_disk(struct core_fixture *core)
{
    while (!commit_log_is_free(core->commit_log)) {
        task_queue_wait(core->queue, 100);
        core_fixture_run(core);
    }
}

struct fixture {
    struct core_fixture core;
    struct hold hold;
    char *folder;
    uint64_t ann;
};

static void begin_with(struct fixture *f, bool has_disk)
{
    f->folder = folder_new();
    core_fixture_init(&f->core, f->folder);
    f->core.has_disk = has_disk;
    core_fixture_open(&f->core);
    f->ann = core_fixture_person(&f->core, "ann");
    assert_int_equal(core_fixture_turn(&f->core), OK);
}

static void begin(struct fixture *f)
{
    begin_with(f, true);
}

static void end(struct fixture *f)
{
    core_fixture_close(&f->core);
    faulty_calls_arm(FAULTY_CALLS_NONE, 0, 0);
    folder_remove(f->folder);
}

static uint64_t applied(const struct core_fixture *core)
{
    return commit_log_applied(core->commit_log).seq;
}

static uint64_t committed(const struct core_fixture *core)
{
    return commit_log_committed(core->commit_log).seq;
}

static void say(struct fixture *f, const char *text)
{
    assert_true(core_fixture_send(&f->core, f->ann, "lobby", text));
    assert_int_equal(core_fixture_commit(&f->core), OK);
}

/* Has something written that hangs. */
static void begin_write(struct fixture *f, struct commit_record *noted)
{
    hold_disk(&f->core, &f->hold);
    assert_true(core_fixture_send(&f->core, f->ann, "lobby", "x"));
    put_waiter(&f->core, noted);
    core_fixture_write(&f->core);
    assert_false(commit_log_is_free(f->core.commit_log));
}

TEST_F(test_commit_log_write__others_are_sooner)
{
    struct commit_record noted;
    uint64_t before = committed(&f->core);
    begin_write(f, &noted);
    assert_int_equal(noted.opened, 0);
    /* A majority has it, and this disk has not. */
    commit_log_commit(f->core.commit_log, before + 1);
    assert_int_equal(noted.opened, 0);
    assert_int_equal(committed(&f->core), before);
    assert_int_equal(applied(&f->core), before + 1);
    core_fixture_write(&f->core); /* nothing to do */
    release_disk(&f->hold);
    wait_for_disk(&f->core);
    expect_opened(&noted, true);
    assert_int_equal(committed(&f->core), before + 1);
}

/* What has happened since is for the others to answer: nobody is to look again before they do. */
TEST_F(test_commit_log_grows_until_us__others_still_work)
{
    uint64_t before = committed(&f->core);
    assert_true(commit_log_may_grow(f->core.commit_log, 1)); /* for the last write */
    assert_int_equal(commit_log_grows_until_us(f->core.commit_log, 1), 1 + GROUP_COMMIT_QUIET_US);
    f->core.is_awaited = true; /* ... and a ping, say, ends the waiting */
    say(f, "x");
    assert_int_equal(committed(&f->core), before);
    assert_true(commit_log_may_grow(f->core.commit_log, 5000));
    assert_int_equal(commit_log_grows_until_us(f->core.commit_log, 5000), UINT64_MAX);
    commit_log_commit(f->core.commit_log, before + 1);
    assert_true(commit_log_may_grow(f->core.commit_log, 6000));
    assert_int_equal(commit_log_grows_until_us(f->core.commit_log, 6000),
                     6000 + GROUP_COMMIT_QUIET_US);
}

TEST_F(test_commit_log_settle__a_write_is_under_way)
{
    struct commit_record noted;
    uint64_t before = committed(&f->core);
    begin_write(f, &noted);
    release_disk(&f->hold);
    assert_int_equal(commit_log_wait_for_disk(f->core.commit_log), OK);
    assert_int_equal(commit_log_wait_for_disk(f->core.commit_log), OK);
    /* The store can be used, and the driver is told later. */
    assert_int_equal(store_position(f->core.store).seq, before + 1);
    const uint8_t cluster[STORE_CLUSTER_BYTES] = {1};
    assert_int_equal(store_set_cluster(f->core.store, cluster), OK);
    assert_int_equal(noted.opened, 0);
    assert_false(commit_log_is_free(f->core.commit_log));
    wait_for_disk(&f->core);
    expect_opened(&noted, true);
    assert_int_equal(f->core.failures, 0);
    say(f, "y");
    assert_int_equal(committed(&f->core), before + 2);
}

TEST_F(test_commit_log_settle__nothing_is_under_way)
{
    assert_int_equal(commit_log_wait_for_disk(f->core.commit_log), OK);
    assert_true(commit_log_is_free(f->core.commit_log));
}

TEST_F(test_commit_log_settle__the_write_fails)
{
    struct commit_record noted;
    uint64_t before = committed(&f->core);
    begin_write(f, &noted);
    faulty_calls_arm(FAULTY_CALLS_FAIL_ONCE, 1, EIO);
    release_disk(&f->hold);
    assert_int_equal(commit_log_wait_for_disk(f->core.commit_log), ERROR_IO);
    faulty_calls_arm(FAULTY_CALLS_NONE, 0, 0);
    expect_opened(&noted, false);
    assert_int_equal(applied(&f->core), before);
    assert_int_equal(f->core.rollbacks, 1);
    assert_false(commit_log_is_free(f->core.commit_log));
    wait_for_disk(&f->core);
    assert_int_equal(f->core.failures, 0); /* whoever settled knows */
    assert_int_equal(committed(&f->core), before);
    say(f, "y");
}

TEST_F(test_commit_log_roll_back__after_a_write_that_was_settled)
{
    struct commit_record noted;
    uint64_t before = committed(&f->core);
    begin_write(f, &noted);
    release_disk(&f->hold);
    assert_int_equal(commit_log_wait_for_disk(f->core.commit_log), OK);
    commit_log_roll_back(f->core.commit_log); /* it is durable: nothing is undone */
    assert_int_equal(applied(&f->core), before + 1);
    assert_int_equal(f->core.rollbacks, 0);
    assert_false(commit_log_is_free(f->core.commit_log));
    wait_for_disk(&f->core);
    assert_true(noted.committed);
}

TEST_F(test_commit_log_write__the_disk_fails)
{
    struct commit_record noted;
    struct commit_record read;
    uint64_t before = committed(&f->core);
    begin_write(f, &noted);
    put_waiter(&f->core, &read); /* of something read meanwhile */
    faulty_calls_arm(FAULTY_CALLS_FAIL_ONCE, 1, EIO);
    release_disk(&f->hold);
    wait_for_disk(&f->core);
    faulty_calls_arm(FAULTY_CALLS_NONE, 0, 0);
    assert_int_equal(f->core.failures, 1);
    assert_int_equal(f->core.rollbacks, 1);
    expect_opened(&noted, false);
    expect_opened(&read, false);
    assert_int_equal(applied(&f->core), before);
    assert_true(strlen(commit_log_problem(f->core.commit_log)) > 0);
    say(f, "y");
    assert_string_equal(commit_log_problem(f->core.commit_log), "");
}

/* Whoever only wants to try something must not try it for ever: the driver is told. */
TEST_F(test_commit_log_open__the_disk_fails)
{
    begin_error = ERROR_IO;
    assert_int_equal(commit_log_open(f->core.commit_log), ERROR_IO);
    begin_error = OK;
    assert_int_equal(commit_log_open(f->core.commit_log),
                     ERROR_CLOSED); /* the driver does not know yet */
    assert_false(core_fixture_send(&f->core, f->ann, "lobby", "x"));
    assert_int_equal(f->core.error, ERROR_CLOSED);
    assert_int_equal(f->core.failures, 1);
    assert_int_equal(f->core.rollbacks, 0); /* of nothing */
    assert_false(commit_log_is_open(f->core.commit_log));
    say(f, "y");
}

TEST_F(test_commit_log_set_epoch_start__lost_while_the_disk_works)
{
    struct commit_record noted;
    uint64_t before = committed(&f->core);
    begin_write(f, &noted);
    commit_log_set_epoch(f->core.commit_log, 0);
    expect_opened(&noted, false); /* nobody here will know */
    release_disk(&f->hold);
    wait_for_disk(&f->core);
    assert_int_equal(noted.opened, 1);
    assert_int_equal(applied(&f->core),
                     before + 1); /* it is in the log, and may be an orphan one day */
    assert_false(core_fixture_send(&f->core, f->ann, "lobby", "y"));
    assert_int_equal(f->core.error, ERROR_CLOSED);
}

TEST_F(test_commit_log_write__the_driver_takes_nothing_any_longer)
{
    struct commit_record noted;
    uint64_t before = committed(&f->core);
    assert_true(core_fixture_send(&f->core, f->ann, "lobby", "x"));
    put_waiter(&f->core, &noted);
    f->core.refuses = true;
    core_fixture_write(&f->core);
    assert_true(commit_log_is_free(f->core.commit_log));
    expect_opened(&noted, false);
    assert_int_equal(applied(&f->core), before);
    assert_int_equal(f->core.failures, 0);
}

TEST_F(test_commit_log_replaced__what_is_gated_is_in_doubt)
{
    struct commit_record noted;
    commit_log_commit(f->core.commit_log, committed(&f->core) - 1);
    put_waiter(&f->core, &noted);
    assert_int_equal(noted.opened, 0);
    commit_log_replaced(f->core.commit_log, f->core.store);
    expect_opened(&noted, false);
    assert_int_equal(committed(&f->core), 0);
}

/* The log of a master, and a commit log that it is fed to. */
struct pair {
    struct fixture master;
    struct core_fixture slave;
    struct hold hold;
    char *folder;
};

static void begin_pair(struct pair *pair)
{
    begin_with(&pair->master, false);
    pair->folder = folder_new();
    core_fixture_init(&pair->slave, pair->folder);
    pair->slave.node_id = 2;
    pair->slave.has_disk = true;
    pair->slave.follows = true;
    core_fixture_open(&pair->slave);
}

static void end_pair(struct pair *pair)
{
    core_fixture_close(&pair->slave);
    folder_remove(pair->folder);
    end(&pair->master);
}

#define PAIR_TEST(name) TEST_ON(name, struct pair, begin_pair, end_pair)

static enum error feed_row(void *context, const struct log_entry *row)
{
    struct core_fixture *slave = context;
    return commit_log_append(slave->commit_log, row);
}

/* Appends all that the master has from seq on. */
static void feed(struct pair *pair, uint64_t seq)
{
    assert_int_equal(store_log_read(pair->master.core.store, seq, feed_row, &pair->slave), OK);
}

static void assert_alike(const struct pair *pair)
{
    uint8_t here[LOG_DIGEST_BYTES];
    uint8_t there[LOG_DIGEST_BYTES];
    struct log_position position = store_position(pair->slave.store);
    assert_int_equal(position.seq, store_position(pair->master.core.store).seq);
    assert_int_equal(position.epoch, store_position(pair->master.core.store).epoch);
    assert_int_equal(store_epoch_at(pair->slave.store, 1), position.epoch);
    store_digest(pair->slave.store, here);
    store_digest(pair->master.core.store, there);
    assert_memory_equal(here, there, sizeof here);
}

PAIR_TEST(test_commit_log_catch_up__as_the_master_has_it)
{
    feed(f, 1);
    assert_int_equal(applied(&f->slave), 0);
    assert_true(commit_log_catch_up(f->slave.commit_log));
    assert_int_equal(applied(&f->slave), applied(&f->master.core));
    assert_int_equal(committed(&f->slave), 0);
    assert_int_equal(core_fixture_commit(&f->slave), OK);
    assert_alike(f);
}

PAIR_TEST(test_commit_log_catch_up__a_bounded_number_at_once)
{
    for (int i = 0; i < MANY; i++)
        say(&f->master, "x");
    feed(f, 1);
    unsigned rounds = 1;
    while (!commit_log_catch_up(f->slave.commit_log)) {
        rounds++;
        assert_int_equal(core_fixture_commit(&f->slave), OK);
    }
    assert_int_equal(core_fixture_commit(&f->slave), OK);
    assert_true(rounds > 1);
    assert_alike(f);
}

/* Feeds the slave the whole log of the master, and holds the slave's disk during that write. Then feeds
 * one more entry, and returns the seq before that entry. */
static uint64_t feed_while_writing(struct pair *pair)
{
    feed(pair, 1);
    hold_disk(&pair->slave, &pair->hold);
    assert_true(commit_log_catch_up(pair->slave.commit_log));
    core_fixture_write(&pair->slave);
    uint64_t before = applied(&pair->slave);
    say(&pair->master, "x");
    feed(pair, before + 1);
    return before;
}

PAIR_TEST(test_commit_log_append__while_the_disk_works)
{
    uint64_t before = feed_while_writing(f);
    assert_int_equal(applied(&f->slave), before); /* waits */
    release_disk(&f->hold);
    wait_for_disk(&f->slave);
    assert_true(commit_log_catch_up(f->slave.commit_log));
    assert_int_equal(applied(&f->slave), before + 1);
    assert_int_equal(core_fixture_commit(&f->slave), OK);
    assert_alike(f);
}

/* What waited is dropped with what failed: the driver begins again with what is on the disk. */
PAIR_TEST(test_commit_log_append__the_write_before_fails)
{
    (void)feed_while_writing(f);
    faulty_calls_arm(FAULTY_CALLS_FAIL_ONCE, 1, ENOSPC);
    release_disk(&f->hold);
    wait_for_disk(&f->slave);
    faulty_calls_arm(FAULTY_CALLS_NONE, 0, 0);
    assert_int_equal(f->slave.failures, 1);
    assert_int_equal(applied(&f->slave), 0);
    assert_true(commit_log_catch_up(f->slave.commit_log)); /* nothing is left */
    assert_int_equal(applied(&f->slave), 0);
    feed(f, 1);
    assert_true(commit_log_catch_up(f->slave.commit_log));
    assert_int_equal(core_fixture_commit(&f->slave), OK);
    assert_alike(f);
}

/* The last entry of the master's log, to be changed. */
struct entry_copy {
    struct log_entry entry;
    uint8_t bytes[4096];
};

static enum error take_row(void *context, const struct log_entry *row)
{
    struct entry_copy *taken = context;
    assert_true(row->size <= sizeof taken->bytes);
    memcpy(taken->bytes, row->bytes, row->size);
    taken->entry = *row;
    taken->entry.bytes = taken->bytes;
    return OK;
}

/* A change to an entry. The log refuses the changed entry, but accepts it after no_damage. */
struct damage {
    const char *rule;
    int first; /* first, last, epoch and digest are added to the numbers of the entry */
    int last;
    int epoch;
    int digest;
    bool no_bytes;
    bool other_bytes;
    bool is_members;
};

static const struct damage no_damage = {.rule = "the true one"};

static const struct damage damages[] = {
    {.rule = "another digest", .digest = 1},
    {.rule = "other bytes", .other_bytes = true},
    {.rule = "no bytes", .no_bytes = true},
    {.rule = "a gap", .first = 1, .last = 1},
    {.rule = "twice", .first = -1, .last = -1},
    {.rule = "one delta too many", .last = 1},
    {.rule = "backwards", .last = -1},
    {.rule = "an old epoch", .epoch = -1},
    {.rule = "a new epoch: the batch itself says another", .epoch = 1},
    {.rule = "members of several seqs", .last = 3, .is_members = true},
};

static void do_damage(struct entry_copy *taken, const struct damage *damage)
{
    struct log_entry *entry = &taken->entry;
    entry->first_seq += (uint64_t)damage->first;
    entry->last_seq += (uint64_t)damage->last;
    entry->epoch += (uint64_t)damage->epoch;
    entry->digest[7] ^= (uint8_t)damage->digest;
    if (damage->other_bytes)
        memset(taken->bytes, 0xff, entry->size);
    if (damage->no_bytes)
        entry->size = 0;
    if (damage->is_members)
        entry->kind = LOG_ENTRY_MEMBERS;
}

static void check_damage(const struct damage *damage)
{
    struct pair pair;
    struct entry_copy taken;
    begin_pair(&pair);
    feed(&pair, 1);
    assert_true(commit_log_catch_up(pair.slave.commit_log));
    assert_int_equal(core_fixture_commit(&pair.slave), OK);
    uint64_t before = applied(&pair.slave);
    say(&pair.master, "x");
    assert_int_equal(store_log_read(pair.master.core.store, before + 1, take_row, &taken), OK);
    do_damage(&taken, damage);
    pair.slave.written = OK;
    assert_int_equal(commit_log_append(pair.slave.commit_log, &taken.entry), OK);
    assert_true(commit_log_catch_up(pair.slave.commit_log));
    core_fixture_run(&pair.slave);
    bool is_good = damage == &no_damage;
    if (pair.slave.failures != (is_good ? 0 : 1) ||
        pair.slave.written != (is_good ? OK : ERROR_CORRUPT) ||
        applied(&pair.slave) != (is_good ? before + 1 : before))
        fail_msg("%s: %u failures, %s, applied %u", damage->rule, pair.slave.failures,
                 error_name(pair.slave.written), (unsigned)applied(&pair.slave));
    feed(&pair, applied(&pair.slave) + (is_good ? 0 : 1)); /* the true one still fits */
    end_pair(&pair);
}

TEST(test_commit_log_catch_up__what_does_not_fit)
{
    check_damage(&no_damage);
    for (size_t i = 0; i < sizeof damages / sizeof *damages; i++)
        check_damage(&damages[i]);
}

/* The first batch of an epoch shares its transaction with the list that the epoch begins with: where
 * it cannot stay, the driver has to know that the list is undone as well. */
TEST_F(test_commit_log_propose__undoes_what_the_log_has_already)
{
    uint64_t before = committed(&f->core);
    static const uint8_t members[] = {1, 0};
    struct log_entry entry = {
        .kind = LOG_ENTRY_MEMBERS,
        .epoch = f->core.epoch,
        .first_seq = before + 1,
        .last_seq = before + 1,
        .bytes = members,
        .size = sizeof members,
    };
    for (int i = 0; i < 2; i++) {
        assert_int_equal(commit_log_append(f->core.commit_log, &entry), OK);
        assert_true(commit_log_catch_up(f->core.commit_log));
        assert_true(core_fixture_send(&f->core, f->ann, "lobby", "x"));
        f->core.refuses = true;
        if (i == 0)
            core_fixture_break(&f->core);
        else
            core_fixture_write(&f->core);
        assert_int_equal(f->core.failures, i + 1);
        assert_int_equal(applied(&f->core), before);
    }
}

TEST_F(test_commit_log_is_full__when_too_much_waits)
{
    size_t size = 1024 * 1024;
    uint8_t *bytes = calloc(1, size);
    assert_non_null(bytes);
    struct log_entry entry = {.kind = LOG_ENTRY_CHAT,
                              .epoch = f->core.epoch,
                              .first_seq = 1,
                              .last_seq = 1,
                              .bytes = bytes,
                              .size = size};
    unsigned count = 0;
    for (; !commit_log_is_full(f->core.commit_log); count++) {
        assert_true(count < 100);
        assert_int_equal(commit_log_append(f->core.commit_log, &entry), OK);
    }
    assert_int_equal(count, 65);
    commit_log_roll_back(f->core.commit_log);
    assert_false(commit_log_is_full(f->core.commit_log));
    free(bytes);
}

TEST(test_entries__count_what_they_hold)
{
    struct entry_queue entries = {0};
    struct log_entry entry = {.last_seq = 1, .bytes = (const uint8_t *)"abc", .size = 3};
    assert_int_equal(entry_queue_push(&entries, &entry), OK);
    entry.digest[0] = 7;
    entry.last_seq = 2;
    assert_int_equal(entry_queue_push(&entries, &entry), OK);
    entry.digest[0] = 8; /* they hold copies */
    assert_int_equal(entries.count, 2);
    assert_int_equal(entries.bytes, 6);
    assert_false(log_entry_has_digest(&entries.first->entry));
    entry_queue_drop_first(&entries);
    assert_int_equal(entries.first->entry.last_seq, 2);
    assert_int_equal(entries.first->entry.digest[0], 7);
    assert_memory_equal(entries.first->entry.bytes, "abc", 3);
    entry_queue_clear(&entries);
    assert_null(entries.first);
    assert_null(entry_queue_newest(&entries));
    assert_int_equal(entries.count + entries.bytes, 0);
    assert_int_equal(entry_queue_push(&entries, &entry), OK);
    entry_queue_clear(&entries);
}

/* Runs in a process of its own, which has to end. */
static void roll_back_onto_damage(const char *folder)
{
    static const struct fixture nothing;
    struct fixture f = nothing;
    char path[512];
    sqlite3 *database = NULL;
    core_fixture_init(&f.core, folder);
    core_fixture_open(&f.core);
    if (!core_fixture_register(&f.core, "ann") || core_fixture_commit(&f.core) != OK)
        return;
    f.ann = core_fixture_login(&f.core, "ann");
    if (core_fixture_commit(&f.core) != OK)
        return;
    (void)snprintf(path, sizeof path, "%s/%s", folder, STORE_FILE_NAME);
    if (sqlite3_open(path, &database) == SQLITE_OK)
        (void)sqlite3_exec(database, "UPDATE session SET id = 0", NULL, NULL, NULL);
    (void)sqlite3_close(database);
    if (core_fixture_join(&f.core, f.ann, "lobby"))
        core_fixture_break(&f.core);
}

/* What is in memory was never durable, and what is on the disk cannot be loaded. */
TEST(test_commit_log_roll_back__onto_a_damaged_database)
{
    char *folder = folder_new();
    pid_t child = fork();
    assert_true(child >= 0);
    if (child == 0) {
        (void)close(STDERR_FILENO);
        roll_back_onto_damage(folder);
        _exit(EXIT_SUCCESS);
    }
    int status = 0;
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_true(WIFEXITED(status)); /* no abort */
    assert_int_equal(WEXITSTATUS(status), EXIT_FAILURE);
    folder_remove(folder);
}

TEST_PREPARE()
{
    log_configure(LOG_SILENT, LOG_TEXT);
    return 0;
}
