/* SPDX-License-Identifier: MIT */
/* Databases on their way from one folder to another, without a network. */
#include "base/clock.h"
#include "base/log.h"
#include "cluster/snapshots.h"
#include "support/core_fixture.h"
#include "support/damage.h"
#include "support/folder.h"
#include "support/test.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#define PATIENCE_MS 60000
#define NOW_MS 5000

/* A master with a database of several chunks, and a slave's folder. */
struct fixture {
    struct core_fixture core;
    uint64_t ann;
    char *folder;
    char *other;
    struct snapshots *giver;
    struct snapshots *taker;
    unsigned checked; /* how often it was told */
};

static bool is_disk_small; /* of the giver: no room for a copy */

int __real_statvfs(const char *path, struct statvfs *about);
int __wrap_statvfs(const char *path, struct statvfs *about);

int __wrap_statvfs(const char *path, struct statvfs *about)
{
    int result = __real_statvfs(path, about);
    if (is_disk_small)
        about->f_bavail = 1024 * 1024 / about->f_frsize;
    return result;
}

static void note_checked(void *context)
{
    struct fixture *f = context;
    f->checked++;
}

static struct snapshots *open_snapshots(struct fixture *f, const char *folder)
{
    struct snapshots *snapshots;
    struct error_text why = {.text = ""};
    struct snapshots_options options = {.folder = folder,
                                        .store = f->core.store,
                                        .queue = f->core.queue,
                                        .context = f,
                                        .checked = note_checked};
    if (snapshots_new(&snapshots, &options, &why) != OK)
        fail_msg("%s", why.text);
    return snapshots;
}

static void say_much(struct fixture *f, int times)
{
    char text[4001];
    memset(text, 'x', sizeof text - 1);
    text[sizeof text - 1] = '\0';
    for (int i = 0; i < times; i++) {
        assert_true(core_fixture_send(&f->core, f->ann, "lobby", text));
        assert_int_equal(core_fixture_commit(&f->core), OK);
    }
}

static void begin(struct fixture *f)
{
    f->checked = 0;
    f->folder = folder_new();
    f->other = folder_new();
    core_fixture_init(&f->core, f->folder);
    core_fixture_open(&f->core);
    f->ann = core_fixture_person(&f->core, "ann");
    say_much(f, 200);
    f->giver = open_snapshots(f, f->folder);
    f->taker = open_snapshots(f, f->other);
}

static void end(struct fixture *f)
{
    snapshots_free(f->giver);
    snapshots_free(f->taker);
    core_fixture_close(&f->core);
    folder_remove(f->folder);
    folder_remove(f->other);
}

static void path_in(const char *folder, const char *name, char path[static 512])
{
    (void)snprintf(path, 512, "%s/%s", folder, name);
}

static bool exists(const char *folder, const char *name)
{
    char path[512];
    path_in(folder, name, path);
    return access(path, F_OK) == 0;
}

static uint64_t last_seq(const struct fixture *f)
{
    return store_position(f->core.store).seq;
}

static bool give(struct fixture *f, struct replica_snapshot_chunk *chunk)
{
    return snapshots_send(f->giver, chunk, NOW_MS);
}

static void wait_for_work(struct fixture *f, uint64_t until_ms)
{
    assert_true(clock_monotonic_ms() < until_ms);
    task_queue_wait(f->core.queue, 100);
    core_fixture_run(&f->core);
}

/* Asks until there is something; it may take a copy. */
static void must_give(struct fixture *f, struct replica_snapshot_chunk *chunk)
{
    uint64_t until_ms = clock_monotonic_ms() + PATIENCE_MS;
    struct replica_snapshot_chunk asked = *chunk;
    while (!give(f, chunk)) {
        wait_for_work(f, until_ms);
        *chunk = asked;
    }
}

static struct replica_snapshot_chunk first_chunk(struct fixture *f)
{
    struct replica_snapshot_chunk chunk = {.snapshot = 0};
    must_give(f, &chunk);
    return chunk;
}

/* What remains of the snapshot from the chunk on goes to the taker. */
static void transfer(struct fixture *f, struct replica_snapshot_chunk chunk)
{
    assert_int_equal(snapshots_receive(f->taker, &chunk), OK);
    while (chunk.offset + chunk.size < chunk.total) {
        chunk.offset += chunk.size;
        must_give(f, &chunk);
        assert_int_equal(snapshots_receive(f->taker, &chunk), OK);
    }
}

/* Installs what the taker has into a database of its own. */
static void check_taken(struct fixture *f, uint64_t seq)
{
    struct error_text why = {.text = ""};
    struct store *store;
    struct store_options options = {.folder = f->other, .node_id = 2};
    assert_int_equal(store_open(&store, &options, &why), OK);
    enum error error = store_install(&store, snapshots_finish_received(f->taker),
                                     (struct log_position){0, 0}, &why);
    if (error != OK)
        fail_msg("%s", why.text);
    assert_int_equal(store_position(store).seq, seq);
    store_close(store);
}

/* The snapshot from the chunk on is the whole database as it is now. */
static void check_transfer(struct fixture *f, struct replica_snapshot_chunk chunk)
{
    uint64_t seq = last_seq(f);
    transfer(f, chunk);
    check_taken(f, seq);
}

TEST_F(test_snapshots_give__a_whole_database)
{
    struct replica_snapshot_chunk chunk = {.snapshot = 0};
    assert_false(give(f, &chunk)); /* being made */
    must_give(f, &chunk);
    assert_int_equal(chunk.offset, 0);
    assert_int_not_equal(chunk.snapshot, 0);
    assert_true(chunk.total > 2 * REPLICA_CHUNK_BYTES);
    assert_int_equal(chunk.last.seq, last_seq(f));
    assert_int_equal(chunk.last.epoch, store_position(f->core.store).epoch);
    uint64_t seq = last_seq(f);
    say_much(f, 1); /* which is no part of it any more */
    transfer(f, chunk);
    check_taken(f, seq);
}

TEST_F(test_snapshots_give__goes_on_where_it_stopped)
{
    struct replica_snapshot_chunk first = first_chunk(f);
    assert_int_equal(snapshots_receive(f->taker, &first), OK);
    struct replica_snapshot_chunk other = first_chunk(f); /* of a third server */
    assert_int_equal(other.snapshot, first.snapshot);
    assert_int_equal(other.offset, 0);
    struct replica_snapshot_chunk next = {.snapshot = first.snapshot, .offset = first.size};
    must_give(f, &next);
    assert_int_equal(next.snapshot, first.snapshot);
    assert_int_equal(next.offset, first.size);
    check_transfer(f, next);
}

TEST_F(test_snapshots_give__another_one_begins_anew)
{
    struct replica_snapshot_chunk chunk = first_chunk(f);
    struct replica_snapshot_chunk next = {.snapshot = chunk.snapshot + 1, .offset = chunk.size};
    must_give(f, &next);
    assert_int_equal(next.snapshot, chunk.snapshot);
    assert_int_equal(next.offset, 0);
    struct replica_snapshot_chunk beyond = {.snapshot = chunk.snapshot, .offset = chunk.total + 1};
    assert_false(give(f, &beyond));
}

/* It would take what the giver needs itself. */
TEST_F(test_snapshots_give__no_room_for_a_copy)
{
    is_disk_small = true;
    struct replica_snapshot_chunk chunk = {.snapshot = 0};
    assert_false(give(f, &chunk));
    assert_int_equal(snapshots_needed_seq(f->giver), UINT64_MAX); /* none is being made */
    is_disk_small = false;
    assert_false(give(f, &chunk));
    assert_int_equal(snapshots_needed_seq(f->giver), UINT64_MAX); /* not again at once */
    assert_false(snapshots_send(f->giver, &chunk, NOW_MS + 5000));
    assert_int_equal(snapshots_needed_seq(f->giver), last_seq(f));
    must_give(f, &chunk);
    check_transfer(f, chunk);
}

TEST_F(test_snapshots_give__too_old_for_who_asks)
{
    struct replica_snapshot_chunk chunk = first_chunk(f);
    say_much(f, 3);
    struct replica_snapshot_chunk newer = {.common = {.seq = last_seq(f)}};
    assert_false(give(f, &newer));
    must_give(f, &newer);
    assert_int_not_equal(newer.snapshot, chunk.snapshot);
    assert_int_equal(newer.last.seq, last_seq(f));
}

TEST_F(test_snapshots_give__more_is_asked_than_there_is)
{
    for (int i = 0; i < 3; i++) {
        struct replica_snapshot_chunk chunk = {.common = {.seq = last_seq(f) + 1}};
        assert_false(give(f, &chunk));
        core_fixture_run(&f->core);
    }
    assert_false(exists(f->folder, "snapshot-given.db"));
    struct replica_snapshot_chunk chunk = {.common = {.seq = last_seq(f)}};
    must_give(f, &chunk);
}

/* The entries after it are gone: whoever installed it would need another one at once. */
TEST_F(test_snapshots_give__the_log_has_gone_on_without_it)
{
    struct replica_snapshot_chunk chunk = first_chunk(f);
    say_much(f, 3);
    commit_log_prune(f->core.commit_log, last_seq(f));
    say_much(f, 1);
    assert_true(store_log_first(f->core.store) > chunk.last.seq + 1);
    struct replica_snapshot_chunk goes_on = {.snapshot = chunk.snapshot, .offset = chunk.size};
    assert_true(give(f, &goes_on));
    assert_int_equal(goes_on.snapshot, chunk.snapshot);
    struct replica_snapshot_chunk begins = {.snapshot = 0};
    assert_false(give(f, &begins));
    must_give(f, &begins);
    assert_int_equal(begins.last.seq, last_seq(f));
}

/* The log from there on is for whoever gets the copy: from the moment that it is begun. */
TEST_F(test_snapshots_needed_seq)
{
    assert_int_equal(snapshots_needed_seq(f->giver), UINT64_MAX);
    struct replica_snapshot_chunk chunk = {.snapshot = 0};
    assert_false(give(f, &chunk));
    uint64_t seq = last_seq(f);
    assert_int_equal(snapshots_needed_seq(f->giver), seq);
    must_give(f, &chunk);
    say_much(f, 3);
    assert_int_equal(snapshots_needed_seq(f->giver), seq);
    assert_true(seq <= chunk.last.seq);
    snapshots_tick(f->giver, NOW_MS + 31000);
    assert_int_equal(snapshots_needed_seq(f->giver), UINT64_MAX);
    assert_false(give(f, &chunk));
    assert_int_equal(snapshots_needed_seq(f->giver), last_seq(f));
    snapshots_forget(f->giver);
    core_fixture_run(&f->core);
    assert_int_equal(snapshots_needed_seq(f->giver), UINT64_MAX);
}

TEST_F(test_snapshots_tick__nobody_asks)
{
    struct replica_snapshot_chunk chunk = first_chunk(f);
    snapshots_tick(f->giver, NOW_MS + 29000);
    assert_true(exists(f->folder, "snapshot-given.db"));
    assert_true(snapshots_send(f->giver, &chunk, NOW_MS + 29000));
    snapshots_tick(f->giver, NOW_MS + 31000);
    assert_true(exists(f->folder, "snapshot-given.db"));
    snapshots_tick(f->giver, NOW_MS + 60000);
    assert_false(exists(f->folder, "snapshot-given.db"));
    uint64_t before = chunk.snapshot;
    chunk.offset = chunk.size; /* begins anew */
    must_give(f, &chunk);
    assert_int_not_equal(chunk.snapshot, before);
    assert_int_equal(chunk.offset, 0);
}

TEST_F(test_snapshots_forget__while_one_is_made)
{
    struct replica_snapshot_chunk chunk = {.snapshot = 0};
    assert_false(give(f, &chunk));
    snapshots_forget(f->giver);
    snapshots_forget(f->giver);
    assert_false(give(f, &chunk)); /* its end is still to be told */
    core_fixture_run(&f->core);
    assert_false(exists(f->folder, "snapshot-given.db"));
    assert_false(exists(f->folder, "snapshot-given.db.part"));
    must_give(f, &chunk);
    snapshots_forget(f->giver);
    assert_false(exists(f->folder, "snapshot-given.db"));
}

TEST_F(test_snapshots_free__while_one_is_made)
{
    struct replica_snapshot_chunk chunk = {.snapshot = 0};
    assert_false(give(f, &chunk));
    snapshots_free(f->giver);
    assert_false(exists(f->folder, "snapshot-given.db"));
    assert_false(exists(f->folder, "snapshot-given.db.part"));
    f->giver = NULL;
}

TEST_F(test_snapshots_new__removes_what_was_left_behind)
{
    static const char *const names[] = {"snapshot-given.db", "snapshot-given.db.part",
                                        "snapshot-taken.db"};
    snapshots_free(f->taker);
    for (size_t i = 0; i < 3; i++) {
        char path[512];
        path_in(f->other, names[i], path);
        int descriptor = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
        assert_true(descriptor >= 0);
        assert_int_equal(close(descriptor), 0);
    }
    f->taker = open_snapshots(f, f->other);
    for (size_t i = 0; i < 3; i++)
        assert_false(exists(f->other, names[i]));
}

TEST(test_snapshots_new__a_folder_with_too_long_a_name)
{
    char folder[5000];
    memset(folder, 'x', sizeof folder - 1);
    folder[sizeof folder - 1] = '\0';
    struct snapshots *snapshots;
    struct error_text why = {.text = ""};
    assert_int_equal(snapshots_new(&snapshots, &(struct snapshots_options){.folder = folder}, &why),
                     ERROR_INVALID);
    assert_true(strlen(why.text) > 0);
}

TEST_F(test_snapshots_keep__only_the_next_one)
{
    struct replica_snapshot_chunk chunk = first_chunk(f);
    struct replica_snapshot_chunk later = chunk;
    later.offset = chunk.size;
    assert_int_equal(snapshots_receive(f->taker, &later), ERROR_INVALID);
    assert_int_equal(snapshots_receive(f->taker, &chunk), OK);
    later.offset = chunk.size - 1;
    assert_int_equal(snapshots_receive(f->taker, &later), ERROR_INVALID);
    assert_false(exists(f->other, "snapshot-taken.db"));
    check_transfer(f, chunk); /* from the beginning */
}

/* Nothing is fetched in vain. */
TEST_F(test_snapshots_keep__no_room_for_all_of_it)
{
    struct replica_snapshot_chunk chunk = first_chunk(f);
    is_disk_small = true;
    assert_int_equal(snapshots_receive(f->taker, &chunk), ERROR_DISK_FULL);
    is_disk_small = false;
    assert_false(exists(f->other, "snapshot-taken.db"));
    struct replica_snapshot_chunk large = chunk;
    large.total = INT64_MAX;
    assert_int_equal(snapshots_receive(f->taker, &large), ERROR_DISK_FULL);
    check_transfer(f, chunk);
}

TEST_F(test_snapshots_keep__the_disk_is_full)
{
    char path[512];
    struct replica_snapshot_chunk chunk = first_chunk(f);
    path_in(f->other, "snapshot-taken.db", path);
    assert_int_equal(symlink("/dev/full", path), 0);
    assert_int_equal(snapshots_receive(f->taker, &chunk), ERROR_DISK_FULL);
    struct stat about;
    assert_int_not_equal(lstat(path, &about), 0); /* what there was of it gives its room back */
    check_transfer(f, chunk);
}

static void take_all(struct fixture *f)
{
    transfer(f, first_chunk(f));
}

static void wait_until_checked(struct fixture *f)
{
    uint64_t until_ms = clock_monotonic_ms() + PATIENCE_MS;
    unsigned before = f->checked;
    while (f->checked == before)
        wait_for_work(f, until_ms);
}

/* A new check of what the taker has ends with the error. */
static void expect_found(struct fixture *f, enum error expected)
{
    enum error found = ERROR_INTERNAL;
    assert_false(snapshots_check_received(f->taker, &found));
    wait_until_checked(f);
    assert_true(snapshots_check_received(f->taker, &found));
    assert_int_equal(found, expected);
}

/* Breaks a page in the middle of what the taker has. */
static void spoil(struct fixture *f)
{
    char path[512];
    struct stat about;
    static const char noise[8192] = {'x', 'y', 'z'};
    path_in(f->other, "snapshot-taken.db", path);
    int descriptor = open(path, O_WRONLY | O_CLOEXEC);
    assert_true(descriptor >= 0);
    assert_int_equal(fstat(descriptor, &about), 0);
    assert_int_equal(pwrite(descriptor, noise, sizeof noise, about.st_size / 8192 / 2 * 8192),
                     sizeof noise);
    (void)close(descriptor);
}

/* Not on this thread, which has others to answer. */
TEST_F(test_snapshots_check_kept__beside_the_core)
{
    enum error found = ERROR_INTERNAL;
    take_all(f);
    assert_false(snapshots_check_received(f->taker, &found));
    assert_false(snapshots_check_received(f->taker, &found)); /* it goes on */
    assert_int_equal(f->checked, 0);
    wait_until_checked(f);
    assert_int_equal(f->checked, 1);
    assert_true(snapshots_check_received(f->taker, &found));
    assert_int_equal(found, OK);
    check_taken(f, last_seq(f));
}

TEST_F(test_snapshots_check_kept__it_is_no_good)
{
    take_all(f);
    spoil(f);
    expect_found(f, ERROR_CORRUPT);
    assert_false(exists(f->other, "snapshot-taken.db")); /* it gives its room back */
    take_all(f);
    expect_found(f, OK); /* of another one nothing is known before */
    check_taken(f, last_seq(f));
}

/* As a database it is whole; but no server could start with it. */
TEST_F(test_snapshots_check_kept__no_server_can_load_it)
{
    static const char *const changes[] = {
        "UPDATE session SET id = 0",
        "INSERT OR REPLACE INTO cluster_members VALUES (1, 65537, 1, x'ff00')",
        "UPDATE run_tail SET runs = x'ff'",
    };
    char path[512];
    path_in(f->other, "snapshot-taken.db", path);
    for (size_t i = 0; i < sizeof changes / sizeof *changes; i++) {
        take_all(f);
        damage_execute(path, changes[i]);
        expect_found(f, ERROR_CORRUPT);
        assert_false(exists(f->other, "snapshot-taken.db"));
    }
}

TEST_F(test_snapshots_give__not_of_a_damaged_database)
{
    struct replica_snapshot_chunk chunk = first_chunk(f);
    snapshots_set_damaged(f->giver);
    assert_false(give(f, &chunk));
    snapshots_set_store(f->giver, f->core.store); /* another one */
    assert_true(give(f, &chunk));
}

/* What is found out about the first is of no account. */
TEST_F(test_snapshots_check_kept__another_one_comes_meanwhile)
{
    enum error found = OK;
    take_all(f);
    spoil(f);
    assert_false(snapshots_check_received(f->taker, &found));
    take_all(f); /* core_fixture_run within may have told of the first */
    while (!snapshots_check_received(f->taker, &found))
        wait_until_checked(f);
    assert_int_equal(found, OK);
    check_taken(f, last_seq(f));
}

TEST_F(test_snapshots_free__while_one_is_checked)
{
    enum error found = OK;
    take_all(f);
    assert_false(snapshots_check_received(f->taker, &found));
    snapshots_free(f->taker);
    core_fixture_run(&f->core);
    assert_int_equal(f->checked, 0);
    assert_false(exists(f->other, "snapshot-taken.db"));
    f->taker = NULL;
}

TEST_F(test_snapshots__in_memory_there_are_none)
{
    struct snapshots *none = open_snapshots(f, NULL);
    struct replica_snapshot_chunk chunk = {.bytes = (const uint8_t *)"x", .size = 1, .total = 1};
    assert_false(snapshots_send(none, &chunk, NOW_MS));
    assert_int_equal(snapshots_receive(none, &chunk), ERROR_INVALID);
    snapshots_tick(none, NOW_MS);
    snapshots_forget(none);
    snapshots_free(none);
    snapshots_free(NULL);
}

TEST_PREPARE()
{
    log_configure(LOG_SILENT, LOG_TEXT);
    return 0;
}
