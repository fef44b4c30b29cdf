/* SPDX-License-Identifier: MIT */
/* What deposed masters hand over, on its way into the log. The replica is the test's: it notes what it
 * is told. */
#include "cluster/cluster_internal.h"

#include "base/log.h"
#include "support/core_fixture.h"
#include "support/faulty_calls.h"
#include "support/folder.h"
#include "support/test.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define OTHER 2
#define MANY 250
#define LONG 16000
#define LOG_KEEP_BYTES (64u * 1024u * 1024u)
#define PING_TIMEOUT_MS 60000 /* of which trials in a child process get a part */
#define POISON "arsenic"

struct fixture {
    struct core_fixture core;    /* of the master */
    struct core_fixture deposed; /* whose log nobody else has */
    struct cluster_settings settings;
    struct cluster cluster;
    struct replica_actions actions;
    char *folder;
    char *other_folder;
    struct log_entry batch; /* the last of its log */
    uint8_t *bytes;         /* its bytes */
};

/* What the replica would be stepped with. */
static unsigned told;
static uint16_t told_node;
static uint64_t told_orphan;

static void finish_work(struct fixture *f)
{
    struct replica_event event;
    while (cluster_next_merged(&f->cluster, &event)) {
        assert_int_equal(event.kind, REPLICA_ORPHANS_MERGED);
        told++;
        told_node = event.node;
        told_orphan = event.orphan;
    }
}

static void on_role(void *context, enum replica_role role)
{
    (void)context;
    (void)role;
}

/* As the loop does, and as a change of the role that follows a failure. */
static void on_commit_log_event(struct core_fixture *core, const struct commit_log_event *event)
{
    if (event->kind == COMMIT_LOG_ROLLED_BACK)
        cluster_undo_orphan_transfers(core->context);
    else if (event->kind == COMMIT_LOG_FAILED)
        cluster_forget_orphan_transfers(core->context);
}

static void open_cluster(struct fixture *f)
{
    struct replica_options options = {
        .id = 1, .internal = "127.0.0.1:1", .client = "127.0.0.1:2", .level = chat_level()};
    f->settings = (struct cluster_settings){.id = 1,
                                            .ping_timeout_min_ms = PING_TIMEOUT_MS,
                                            .ping_timeout_ms = PING_TIMEOUT_MS,
                                            .log_keep_bytes = LOG_KEEP_BYTES};
    f->cluster = (struct cluster){
        .options = {.settings = &f->settings, .observer = {.role = on_role}},
        .actions = &f->actions,
        .store = f->core.store,
        .orphan_reader = f->core.reader_store,
        .commit_log = f->core.commit_log,
        .chat = f->core.chat,
        .now_ms = f->core.now_ms,
        .log_checked_ms = f->core.now_ms, /* there are no snapshots here */
        .wall_ms = f->core.wall_ms,
    };
    assert_int_equal(replica_new(&f->cluster.replica, &options), OK);
    arena_init(&f->cluster.arena, 16u * 1024u * 1024u);
    f->core.context = &f->cluster;
    f->core.commit_log_event = on_commit_log_event;
}

static enum error take_row(void *context, const struct log_entry *row)
{
    struct fixture *f = context;
    f->bytes = realloc(f->bytes, row->size);
    assert_non_null(f->bytes);
    memcpy(f->bytes, row->bytes, row->size);
    f->batch = *row;
    f->batch.bytes = f->bytes;
    return OK;
}

/* Commits the proposals of the deposed master, and copies the last batch of its log to f->batch. */
static void read_batch(struct fixture *f)
{
    assert_int_equal(core_fixture_commit(&f->deposed), OK);
    uint64_t last = commit_log_committed(f->deposed.commit_log).seq;
    assert_int_equal(store_log_read(f->deposed.store, last, take_row, f), OK);
}

/* carl has registered at the deposed master. */
static void begin(struct fixture *f)
{
    told = 0;
    f->bytes = NULL;
    faulty_calls_arm(FAULTY_CALLS_NONE, 0, 0);
    f->folder = folder_new();
    f->other_folder = folder_new();
    core_fixture_init(&f->core, f->folder);
    core_fixture_open(&f->core);
    core_fixture_init(&f->deposed, f->other_folder);
    f->deposed.node_id = OTHER;
    f->deposed.random = 77;
    core_fixture_open(&f->deposed);
    assert_true(core_fixture_register(&f->deposed, "carl"));
    read_batch(f);
    open_cluster(f);
}

static void end(struct fixture *f)
{
    cluster_forget_orphan_transfers(&f->cluster);
    arena_clear(&f->cluster.arena);
    replica_free(f->cluster.replica);
    core_fixture_close(&f->core);
    core_fixture_close(&f->deposed);
    folder_remove(f->folder);
    folder_remove(f->other_folder);
    free(f->bytes);
}

static void hand_over(struct fixture *f, uint16_t from, uint64_t orphan)
{
    struct replica_message message = {
        .kind = REPLICA_ORPHAN_TRANSFER, .from = from, .orphan_transfer = {orphan, &f->batch, 1}};
    cluster_note_orphan_transfer(&f->cluster, &message, 0);
}

static void turn(struct fixture *f)
{
    core_fixture_run(&f->core);
    cluster_work(&f->cluster);
    assert_int_equal(core_fixture_commit(&f->core), OK);
    finish_work(f);
}

static void expect_told(struct fixture *f, unsigned expected)
{
    turn(f);
    assert_int_equal(told, expected);
}

static bool knows_carl(struct fixture *f)
{
    return core_fixture_login(&f->core, "carl") != 0;
}

/* Makes the deposed master's last batch an orphan of this server. */
static void keep_orphan(struct fixture *f)
{
    assert_int_equal(store_begin(f->core.store), OK);
    assert_int_equal(store_add_orphan(f->core.store, &f->batch), OK);
    assert_int_equal(store_commit(f->core.store), OK);
}

TEST_F(test_orphan_transfer__what_is_unknown_is_proposed)
{
    assert_false(knows_carl(f));
    hand_over(f, OTHER, 5);
    expect_told(f, 1);
    assert_int_equal(told_node, OTHER);
    assert_int_equal(told_orphan, 5);
    assert_int_equal(f->cluster.orphan_transfers_count, 0);
    /* And again, for the answer was lost: nothing is new. */
    uint64_t before = commit_log_applied(f->core.commit_log).seq;
    hand_over(f, OTHER, 5);
    expect_told(f, 2);
    assert_int_equal(commit_log_applied(f->core.commit_log).seq, before);
    assert_true(knows_carl(f));
    assert_int_equal(core_fixture_commit(&f->core), OK);
}

/* A request of the same turn undoes the batch: what was taken over is undone with it, and who would
 * drop it now would lose it. */
TEST_F(test_orphan_transfer__undone_with_its_batch)
{
    hand_over(f, OTHER, 5);
    cluster_work(&f->cluster);
    core_fixture_break(&f->core);
    assert_int_equal(f->core.rollbacks, 1);
    assert_int_equal(core_fixture_commit(&f->core), OK);
    finish_work(f);
    assert_int_equal(told, 0);
    assert_false(knows_carl(f));
    hand_over(f, OTHER, 5); /* it comes again */
    expect_told(f, 1);
    assert_true(knows_carl(f));
    assert_int_equal(core_fixture_commit(&f->core), OK);
}

TEST_F(test_orphan_transfer__role_lost_before_it_is_told)
{
    hand_over(f, OTHER, 5);
    cluster_work(&f->cluster);
    commit_log_set_epoch(f->core.commit_log, 0);
    assert_int_equal(core_fixture_commit(&f->core), OK);
    finish_work(f);
    assert_int_equal(told, 0);
    hand_over(f, OTHER, 5);
    uint64_t before = commit_log_applied(f->core.commit_log).seq;
    turn(f);
    assert_int_equal(commit_log_applied(f->core.commit_log).seq, before);
    assert_int_equal(told, 0);
}

/* What comes after an orphan that a newer program wrote may need it. */
TEST_F(test_orphan_transfer__one_that_waits_stops_those_behind_it)
{
    Jackdaw__Batch *batch = jackdaw__batch__unpack(NULL, f->batch.size, f->batch.bytes);
    assert_int_equal(batch->n_deltas, 1);
    Jackdaw__Delta unknown = JACKDAW__DELTA__INIT;
    Jackdaw__Delta *deltas[] = {&unknown, batch->deltas[0]};
    Jackdaw__Batch both = *batch;
    both.n_deltas = 2;
    both.deltas = deltas;
    f->batch.size = jackdaw__batch__get_packed_size(&both);
    f->batch.bytes = f->bytes = realloc(f->bytes, f->batch.size);
    assert_non_null(f->bytes);
    jackdaw__batch__pack(&both, f->bytes);
    jackdaw__batch__free_unpacked(batch, NULL);
    hand_over(f, OTHER, 5);
    expect_told(f, 0);
    assert_false(knows_carl(f));
}

/* The master's list has another one, who has nothing yet. */
static void somebody_comes(struct fixture *f)
{
    static struct replica_actions actions;
    struct replica_state empty = {.first_seq = 0};
    struct replica_event start = {.kind = REPLICA_START, .now_ms = 1, .state = &empty};
    replica_free(f->cluster.replica);
    struct replica_options options = {.id = 1,
                                      .internal = "127.0.0.1:1",
                                      .client = "127.0.0.1:2",
                                      .level = chat_level(),
                                      .is_first = true};
    options.new_cluster[0] = 1;
    assert_int_equal(replica_new(&f->cluster.replica, &options), OK);
    assert_int_equal(replica_step(f->cluster.replica, &start, &actions), OK);
    struct replica_message join = {
        .kind = REPLICA_JOIN,
        .from = 3,
        .internal = "127.0.0.1:3",
        .join = {.level = chat_level(), .client = "127.0.0.1:4"},
    };
    struct replica_event comes = {.kind = REPLICA_RECEIVE, .now_ms = 2, .message = &join};
    assert_int_equal(replica_step(f->cluster.replica, &comes, &actions), OK);
}

/* A user registers, and sends many messages. */
static void say_much(struct fixture *f, const char *name)
{
    static char text[LONG + 1];
    memset(text, 'x', LONG);
    uint64_t session = core_fixture_person(&f->deposed, name);
    for (int i = 0; i < MANY; i++)
        assert_true(core_fixture_send(&f->deposed, session, "lobby", text));
    read_batch(f);
}

TEST_F(test_orphan_transfer__the_disk_is_full)
{
    say_much(f, "dora");
    hand_over(f, OTHER, 5);
    faulty_calls_arm(FAULTY_CALLS_FAIL_ONCE, 1, ENOSPC);
    cluster_work(&f->cluster);
    assert_false(faulty_calls_have_failed()); /* in memory so far */
    core_fixture_write(&f->core);
    assert_true(faulty_calls_have_failed());
    faulty_calls_arm(FAULTY_CALLS_NONE, 0, 0);
    core_fixture_run(&f->core);
    assert_int_equal(f->core.failures, 1);
    assert_int_equal(f->cluster.orphan_transfers_count, 0);
    finish_work(f);
    assert_int_equal(told, 0);
    hand_over(f, OTHER, 5);
    expect_told(f, 1);
}

TEST_F(test_orphan_transfer__one_of_a_node_and_so_many_nodes)
{
    hand_over(f, OTHER, 5);
    hand_over(f, OTHER, 6);
    assert_int_equal(f->cluster.orphan_transfers_count, 1);
    assert_int_equal(f->cluster.orphan_transfers[0].orphan, 5);
    for (uint16_t node = 3; node < 3 + 2 * ORPHAN_TRANSFERS_MAX; node++)
        hand_over(f, node, 1);
    assert_int_equal(f->cluster.orphan_transfers_count, ORPHAN_TRANSFERS_MAX);
    expect_told(f, ORPHAN_TRANSFERS_MAX);
    assert_int_equal(f->cluster.orphan_transfers_count, 0);
}

TEST_F(test_orphan_transfer__bytes_that_are_no_batch_are_kept)
{
    memset(f->bytes, 0xff, f->batch.size);
    hand_over(f, OTHER, 5);
    expect_told(f, 0);
}

TEST_F(test_orphan_transfer__its_own)
{
    cluster_note_orphan_transfer(&f->cluster, NULL, 0);
    assert_int_equal(f->cluster.orphan_transfers_count, 0); /* has none */
    keep_orphan(f);
    cluster_note_orphan_transfer(&f->cluster, NULL, 0);
    expect_told(f, 1);
    assert_int_equal(told_node, 1);
    assert_int_equal(told_orphan, store_last_orphan(f->core.store));
    cluster_note_orphan_transfer(&f->cluster, NULL, told_orphan);
    assert_int_equal(f->cluster.orphan_transfers_count, 0); /* none after that */
    commit_log_drop_orphans(f->core.commit_log, told_orphan);
    turn(f);
    assert_int_equal(store_orphan_count(f->core.store), 0);
    assert_true(knows_carl(f));
    assert_int_equal(core_fixture_commit(&f->core), OK);
}

/* Orphans are merged out of the reserve; when that is used up they stay where they are. */
TEST_F(test_orphan_transfer__waits_while_the_log_is_full)
{
    assert_true(core_fixture_register(&f->core, "dora"));
    assert_int_equal(core_fixture_commit(&f->core), OK);
    uint64_t bytes = store_log_bytes(f->core.store);
    assert_true(bytes > 0);
    f->settings.log_keep_bytes = bytes * 8 / 9; /* and an eighth of it is the reserve */
    assert_false(cluster_may_write(&f->cluster, false));
    assert_false(cluster_may_write(&f->cluster, true));
    hand_over(f, OTHER, 5);
    expect_told(f, 0);
    f->settings.log_keep_bytes = bytes;
    assert_false(cluster_may_write(&f->cluster, false));
    assert_true(cluster_may_write(&f->cluster, true));
    hand_over(f, OTHER, 5);
    expect_told(f, 1);
    f->cluster.needed_from_bytes =
        store_log_bytes(f->core.store); /* the member has received that, or was removed */
    assert_true(cluster_may_write(&f->cluster, false));
}

/* One batch must not hold all that comes at the same time: it has to fit into a message. */
TEST_F(test_orphan_transfer__not_all_in_one_batch)
{
    say_much(f, "dora");
    hand_over(f, OTHER, 5);
    say_much(f, "eric");
    hand_over(f, OTHER + 1, 6);
    cluster_work(&f->cluster);
    assert_true(commit_log_batch_bytes(f->core.commit_log) < f->batch.size * 3 / 2);
    assert_int_equal(core_fixture_commit(&f->core), OK);
    finish_work(f);
    assert_int_equal(told, 1);
    assert_int_equal(told_node, OTHER);
    hand_over(f, OTHER + 1, 6);
    expect_told(f, 2);
    assert_int_equal(told_node, OTHER + 1);
}

static void end_process(struct core_fixture *core, const struct chat_event *event)
{
    (void)core;
    if (strcmp(event->text, POISON) == 0)
        abort();
}

static void take_outcome(struct fixture *f, uint64_t request, struct chat_outcome *outcome)
{
    struct chat_session *session = NULL;
    Jackdaw__Batch *batch = jackdaw__batch__unpack(NULL, f->batch.size, f->batch.bytes);
    assert_non_null(batch);
    for (size_t i = 0; i < batch->n_deltas && session == NULL; i++)
        session = chat_find_session(f->core.chat, batch->deltas[i]->session);
    jackdaw__batch__free_unpacked(batch, NULL);
    assert_non_null(session);
    assert_int_equal(chat_session_last_request(session), 3);
    assert_int_equal(chat_outcome_of(f->core.chat, session, request, &f->cluster.arena, outcome),
                     OK);
}

/* It ends two children, and not this process; what comes before and behind it is taken. */
TEST_F(test_orphan_transfer__poison_is_refused)
{
    f->core.event = end_process;
    uint64_t session = core_fixture_person(&f->deposed, "dora");
    assert_true(core_fixture_send(&f->deposed, session, "lobby", POISON));
    assert_true(core_fixture_send(&f->deposed, session, "lobby", "hello"));
    read_batch(f);
    for (unsigned i = 0; i < 3; i++) {
        assert_int_equal(told, 0);
        assert_int_equal(f->cluster.refused, 0);
        hand_over(f, OTHER, 5);
        turn(f);
    }
    assert_int_equal(told, 1);
    assert_int_equal(f->cluster.refused, 1);
    struct chat_outcome outcome;
    take_outcome(f, 2, &outcome);
    assert_int_equal(outcome.status, STATUS_INTERNAL);
    assert_non_null(strstr(outcome.text, "ended a server process"));
    take_outcome(f, 3, &outcome);
    assert_int_equal(outcome.status, STATUS_OK);
}

TEST_F(test_orphan_transfer__two_poisons_are_refused)
{
    f->core.event = end_process;
    uint64_t session = core_fixture_person(&f->deposed, "dora");
    assert_true(core_fixture_send(&f->deposed, session, "lobby", POISON));
    assert_true(core_fixture_send(&f->deposed, session, "lobby", POISON));
    read_batch(f);
    for (unsigned i = 0; i < 5; i++) { /* each ends two children */
        assert_int_equal(f->cluster.refused, 0);
        hand_over(f, OTHER, 5);
        turn(f);
    }
    assert_int_equal(f->cluster.refused, 2);
}

/* The list that the disk refused is no list: nobody has joined. */
TEST_F(test_disk_failed__the_members_are_those_on_the_disk)
{
    somebody_comes(f);
    f->cluster.has_resigned = true; /* there are no links here */
    f->cluster.members_changed = true;
    cluster_note_members(&f->cluster);
    assert_int_equal(f->cluster.members_count, 2);
    f->cluster.owes_failed = true;
    assert_int_equal(cluster_loop(&f->cluster, NULL), OK);
    assert_int_equal(f->cluster.members_count, 0);
}

/* Pings go the same way, behind it: a slow one must not seem to be cut. */
TEST_F(test_orphan_transfer__little_at_a_time)
{
    static const uint8_t bytes[LONG];
    struct log_entry row = {.epoch = 1u << 16, .bytes = bytes, .size = sizeof bytes};
    for (row.first_seq = row.last_seq = 1; row.last_seq <= 60; row.first_seq = ++row.last_seq)
        assert_int_equal(store_add_orphan(f->core.store, &row), OK);
    struct replica_orphan_transfer orphans = {.orphan = 0};
    assert_true(cluster_fill_orphans(&f->cluster, &orphans));
    assert_in_range(orphans.count, 2, 64 * 1024 / LONG + 1);
}

/* A rollback does not bring them back. */
TEST_F(test_orphan_transfer__dropping_is_not_undone)
{
    keep_orphan(f);
    assert_true(core_fixture_register(&f->core, "eve"));
    commit_log_drop_orphans(f->core.commit_log, store_last_orphan(f->core.store));
    assert_int_equal(store_orphan_count(f->core.store), 0);
    core_fixture_break(&f->core);
    assert_int_equal(store_orphan_count(f->core.store), 0);
    turn(f);
    assert_int_equal(store_orphan_count(f->core.store), 0);
}

TEST_PREPARE()
{
    log_configure(LOG_SILENT, LOG_TEXT);
    return 0;
}
