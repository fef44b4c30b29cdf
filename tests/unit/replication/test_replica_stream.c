/* SPDX-License-Identifier: MIT */
/* Following a master: gaps, doubles, the past, snapshots; and messages that make no sense. */
#include "replica_fixture.h"
#include "support/test.h"

#include <stdlib.h>
#include <string.h>

REPLICA_TEST(test_publish__a_gap_is_fetched, 2, REPLICA_LOCAL)
{
    f->nodes[2].cut = true; /* the feed drops one */
    replica_fixture_write(f, 1, 1);
    f->nodes[2].cut = false;
    replica_fixture_write(f, 1, 1);
    assert_int_equal(replica_fixture_last(f, 2), replica_fixture_last(f, 1));
    assert_true(f->sent[REPLICA_FETCH] > 0);
}

REPLICA_TEST(test_ping__shows_a_gap_that_nothing_follows, 2, REPLICA_LOCAL)
{
    f->nodes[2].cut = true;
    replica_fixture_write(f, 1, 1);
    f->nodes[2].cut = false;
    replica_fixture_pass(f, 150);
    assert_int_equal(replica_fixture_last(f, 2), replica_fixture_last(f, 1));
}

/* The master's word on what is committed comes before the next ping; never beyond the own log. */
REPLICA_TEST(test_committed__a_slave_learns_it_without_an_append, 2, REPLICA_ALL)
{
    replica_fixture_write(f, 1, 1);
    const struct replica *slave = f->nodes[2].replica;
    uint64_t last = replica_fixture_last(f, 1);
    assert_int_equal(replica_committed(f->nodes[1].replica), last);
    assert_true(replica_committed(slave) < last);
    struct replica_message message;
    replica_tell_committed(f->nodes[1].replica, &message);
    struct replica_event event = {.kind = REPLICA_RECEIVE, .message = &message};
    message.epoch--;
    replica_fixture_step(f, 2, &event);
    assert_true(replica_committed(slave) < last);
    message.epoch++;
    message.committed.seq += 1000;
    replica_fixture_step(f, 2, &event);
    assert_int_equal(replica_committed(slave), last);
}

static struct replica_message published(struct replica_fixture *fixture, struct log_entry *batch)
{
    const struct replica_fixture_node *master = &fixture->nodes[1];
    *batch = master->rows[master->rows_count - 1];
    const struct log_entry *before = &master->rows[master->rows_count - 2];
    struct replica_message message = {.kind = REPLICA_APPEND,
                                      .from = 1,
                                      .to = 2,
                                      .epoch = batch->epoch,
                                      .promised = batch->epoch,
                                      .append = {.before = {before->epoch, before->last_seq},
                                                 .last = {batch->epoch, batch->last_seq},
                                                 .entry = batch}};
    memcpy(message.cluster, master->cluster, sizeof message.cluster);
    return message;
}

REPLICA_TEST(test_publish__what_comes_twice_or_from_the_past_is_ignored, 3, REPLICA_ALL)
{
    replica_fixture_write(f, 1, 1);
    struct log_entry batch;
    struct replica_message message = published(f, &batch);
    uint64_t last = replica_fixture_last(f, 2);
    struct replica_event event = {.kind = REPLICA_RECEIVE, .message = &message};
    replica_fixture_step(f, 2, &event);
    assert_int_equal(replica_fixture_last(f, 2), last);
    replica_fixture_kill(f, 1); /* 2 epochs now; what its old master says counts no more */
    replica_fixture_settle(f);
    assert_int_equal(replica_fixture_master(f), 2);
    last = replica_fixture_last(f, 3);
    message.to = 3;
    replica_fixture_step(f, 3, &event);
    assert_int_equal(replica_fixture_last(f, 3), last);
    assert_int_equal(replica_master(f->nodes[3].replica), 2);
}

/* Node 3 is down, and lacks entries that the others have. */
static struct replica_fixture *with_one_that_lacks(int entries)
{
    struct replica_fixture *fixture = replica_fixture_new(3, REPLICA_ALL);
    replica_fixture_kill(fixture, 3);
    replica_fixture_settle(fixture);
    for (int i = 0; i < entries; i++)
        replica_fixture_propose(fixture, 1, 2);
    replica_fixture_settle(fixture);
    return fixture;
}

/* Node 3 is down, and the others no longer have what it lacks. */
static struct replica_fixture *with_one_behind(void)
{
    struct replica_fixture *fixture = with_one_that_lacks(20);
    uint64_t needed = replica_needed_seq(fixture->nodes[1].replica);
    assert_true(needed < replica_fixture_last(fixture, 1) - 20); /* node 3 may need it */
    for (uint16_t id = 1; id <= 2; id++)
        replica_fixture_step(
            fixture, id,
            &(struct replica_event){.kind = REPLICA_PRUNED,
                                    .position = {0, replica_fixture_last(fixture, 1) - 3}});
    return fixture;
}
#define BEHIND_TEST(name) REPLICA_TEST_OPEN(name, with_one_behind())

/* Node 3 comes back, and joins with so many snapshots in its life. */
static void check_joins(struct replica_fixture *fixture, size_t installs)
{
    replica_fixture_start(fixture, 3, false);
    replica_fixture_pass(fixture, 500);
    assert_int_equal(fixture->nodes[3].installs, installs);
    assert_int_equal(replica_fixture_role(fixture, 3), REPLICA_SLAVE);
}

BEHIND_TEST(test_join__what_was_pruned_comes_as_a_snapshot)
{
    check_joins(f, 1);
    assert_int_equal(f->nodes[3].orphans_count, 0);
}

/* Node 3 must not apply one of the entries that it lacks. */
#define AVOIDING_TEST(name) REPLICA_TEST_OPEN(name, with_one_that_lacks(5))

AVOIDING_TEST(test_join__what_is_avoided_comes_in_a_snapshot)
{
    const struct replica_fixture_node *master = &f->nodes[1];
    const struct log_entry *avoided = &master->rows[master->rows_count - 2];
    f->nodes[3].avoid = (struct log_position){avoided->epoch, avoided->last_seq};
    check_joins(f, 1);
    assert_int_equal(replica_fixture_last(f, 3), replica_fixture_last(f, 1));
    /* It is in the log now: the next start needs nothing but what is new. */
    replica_fixture_kill(f, 3);
    replica_fixture_settle(f);
    replica_fixture_write(f, 1, 1);
    check_joins(f, 1);
}

/* What nobody has any more at that place is not avoided. */
AVOIDING_TEST(test_join__what_is_avoided_may_be_gone)
{
    const struct replica_fixture_node *master = &f->nodes[1];
    const struct log_entry *last = &master->rows[master->rows_count - 1];
    f->nodes[3].avoid = (struct log_position){last->epoch + (1u << 16), last->last_seq};
    check_joins(f, 0);
    assert_int_equal(replica_fixture_last(f, 3), replica_fixture_last(f, 1));
}

/* Nor does a snapshot have to reach so far: what is avoided was of a lost epoch with a longer log. */
BEHIND_TEST(test_join__a_snapshot_may_end_before_what_is_avoided_and_gone)
{
    const struct replica_fixture_node *master = &f->nodes[1];
    const struct log_entry *last = &master->rows[master->rows_count - 1];
    f->nodes[3].avoid = (struct log_position){last->epoch + 1, last->last_seq + 1000};
    check_joins(f, 1);
}

/* A snapshot that is looked at first: meanwhile the node follows, and goes on asking, so that the
 * master keeps what comes after it. */
BEHIND_TEST(test_join__an_install_may_wait)
{
    struct replica_event checked = {.kind = REPLICA_CHECKED};
    replica_fixture_step(f, 2, &checked); /* of no meaning to one that has nothing to install */
    f->nodes[3].holds_install = true;
    replica_fixture_start(f, 3, false);
    replica_fixture_pass(f, 500);
    assert_int_equal(f->nodes[3].holds, 1);
    size_t asked = f->sent[REPLICA_SNAPSHOT_REQUEST];
    replica_fixture_pass(f, 30000);
    assert_true(f->sent[REPLICA_SNAPSHOT_REQUEST] >= asked + 200);
    assert_int_equal(f->nodes[3].holds, 1);
    assert_int_equal(replica_fixture_role(f, 3), REPLICA_JOINING);
    assert_int_equal(replica_master(f->nodes[3].replica), 1);
    f->nodes[3].holds_install = false;
    replica_fixture_step(f, 3, &checked);
    assert_int_equal(f->nodes[3].installs, 1);
    replica_fixture_step(f, 3, &checked);
    replica_fixture_pass(f, 500);
    assert_int_equal(f->nodes[3].installs, 1);
    assert_int_equal(replica_fixture_role(f, 3), REPLICA_SLAVE);
}

/* It has come to be the master itself meanwhile. */
BEHIND_TEST(test_join__an_install_that_nobody_wants_any_more)
{
    f->nodes[3].holds_install = true;
    replica_fixture_start(f, 3, false);
    replica_fixture_pass(f, 500);
    assert_int_equal(f->nodes[3].holds, 1);
    replica_fixture_kill(f, 1);
    replica_fixture_kill(f, 2);
    replica_fixture_pass(f, 2000);
    /* Server 3 runs alone, so no other log is better. */
    assert_int_equal(replica_fixture_role(f, 3), REPLICA_MASTER);
    replica_fixture_step(f, 3, &(struct replica_event){.kind = REPLICA_CHECKED});
    assert_int_equal(f->nodes[3].holds, 1);
    assert_int_equal(f->nodes[3].installs, 0);
}

REPLICA_TEST(test_step__cut_off_stopped_and_gone_on_it_accuses_nobody, 2, REPLICA_ALL)
{
    uint64_t epoch = replica_epoch(f->nodes[1].replica);
    f->now_ms += 10000; /* both were stopped */
    replica_fixture_pass(f, 1000);
    assert_int_equal(replica_fixture_role(f, 1), REPLICA_MASTER);
    assert_int_equal(replica_fixture_role(f, 2), REPLICA_SLAVE);
    assert_int_equal(replica_epoch(f->nodes[1].replica), epoch);
}

static uint64_t random_state = 88172645463325252u;

static uint64_t draw(uint64_t bound)
{
    random_state ^= random_state << 13;
    random_state ^= random_state >> 7;
    random_state ^= random_state << 17;
    return random_state % bound;
}

/* Mostly numbers that could be meant, some that could not. */
static uint64_t number(uint64_t near)
{
    switch (draw(12)) {
    case 0:
        return draw(UINT64_MAX);
    case 1:
        return 0;
    case 2:
        return UINT64_MAX;
    default:
        return near + draw(5) - (near < 2 ? 0 : 2);
    }
}

static struct log_position position(const struct replica *replica)
{
    struct log_position last = replica_last(replica);
    uint64_t epoch = draw(2) == 0 ? last.epoch : (number(last.epoch >> 16) << 16 | draw(5));
    return (struct log_position){epoch, number(last.seq)};
}

static const char *draw_address(void)
{
    static const char *const addresses[] = {"10.0.0.1:2626", "10.0.0.3:2626", "", "nowhere", NULL};
    return addresses[draw(5)];
}

static struct log_position draw_position(const struct replica *replica)
{
    return draw(2) == 0 ? replica_last(replica) : position(replica);
}

static struct replica_leader draw_leader(uint64_t counter)
{
    return (struct replica_leader){.id = (uint16_t)draw(5),
                                   .epoch = number(counter) << 16 | draw(5),
                                   .address = draw_address()};
}

static struct replica_in_sync_set draw_in_sync(const struct replica *replica)
{
    struct replica_in_sync_set set = {.position = position(replica)};
    set.count = draw(20) == 0 ? REPLICA_MEMBERS_MAX + 1 : draw(4);
    for (size_t i = 0; i < 4; i++)
        set.ids[i] = (uint16_t)draw(5);
    return set;
}

static struct epoch_history draw_epochs(void)
{
    static struct epoch_start starts[REPLICA_EPOCHS_MAX + 3];
    size_t count = draw(REPLICA_EPOCHS_MAX + 3);
    for (size_t i = 0; i < count; i++)
        starts[i] = (struct epoch_start){(i + 1) << 16 | draw(4), i * 3 + draw(4)};
    return (struct epoch_history){starts, count};
}

static void draw_entries(const struct replica *replica, uint64_t epoch,
                         struct log_entry entries[static 4])
{
    struct log_position last = replica_last(replica);
    uint64_t counter = replica_promised(replica) >> 16;
    for (size_t i = 0; i < 4; i++) {
        uint64_t first = i == 0 && draw(2) == 0 ? last.seq + 1 : number(last.seq);
        entries[i] = (struct log_entry){.kind = draw(4) == 0 ? LOG_ENTRY_MEMBERS : LOG_ENTRY_CHAT,
                                        .epoch = draw(2) == 0 ? epoch : number(counter) << 16,
                                        .first_seq = first,
                                        .last_seq = draw(3) == 0 ? number(first) : first,
                                        .bytes = (const uint8_t *)"\1\0",
                                        .size = 2};
    }
}

static void draw_body(const struct replica *replica, struct replica_message *message,
                      const struct log_entry entries[static 4])
{
    static const struct replica_location locations[] = {{3, "10.0.0.3:2626"}, {1, "10.0.0.9:2626"}};
    uint64_t counter = replica_promised(replica) >> 16;
    uint64_t committed = number(replica_committed(replica));
    bool recovering_log = draw(3) == 0;
    enum replica_answer answer = (enum replica_answer)draw(3);
    enum replica_role role = (enum replica_role)draw(REPLICA_ROLES);
    struct log_position at = draw_position(replica);
    struct log_position last = position(replica);
    switch (message->kind) {
    case REPLICA_PING:
        message->ping.durable = at;
        break;
    case REPLICA_ACK:
        message->ack.durable = at;
        break;
    case REPLICA_PONG:
        message->pong = (struct replica_pong){
            role, at, committed, number(committed), (uint32_t)draw(5000), draw_leader(counter)};
        break;
    case REPLICA_APPEND:
        message->append =
            (struct replica_append){at, last, committed, draw(9) == 0 ? NULL : entries};
        break;
    case REPLICA_FETCH:
        message->fetch = (struct replica_fetch){recovering_log, at};
        break;
    case REPLICA_ENTRIES:
        message->entries =
            (struct replica_entries){recovering_log, answer, at, last, committed, entries, draw(5)};
        break;
    case REPLICA_JOIN:
        message->join = (struct replica_join){recovering_log, (uint16_t)draw(3), draw_address(), at,
                                              last,           draw_epochs()};
        break;
    case REPLICA_JOIN_REPLY:
        message->join_reply = (struct replica_join_reply){
            recovering_log, answer, at, last, position(replica), committed, draw_leader(counter)};
        break;
    case REPLICA_JOIN_REJECTED:
        message->join_rejected = (struct replica_join_rejected){
            (enum replica_rejection)(1 + draw(5)), draw(2) == 0, draw_in_sync(replica)};
        break;
    case REPLICA_SNAPSHOT_REQUEST:
        message->snapshot_request =
            (struct replica_snapshot_request){recovering_log, draw(3), draw(2), last, at};
        break;
    case REPLICA_SNAPSHOT_CHUNK:
        message->snapshot_chunk = (struct replica_snapshot_chunk){
            recovering_log, draw(3), draw(2), draw(3), position(replica), at, last, NULL, draw(2)};
        break;
    case REPLICA_LEADER_QUERY:
        message->leader_query =
            (struct replica_leader_query){(uint16_t)draw(5), draw(2) == 0, draw_in_sync(replica)};
        break;
    case REPLICA_LEADER_INFO:
        message->leader_info = (struct replica_leader_info){
            role,      draw(4) == 0, at, draw_leader(counter), draw_in_sync(replica),
            locations, draw(3)};
        break;
    case REPLICA_PROMISE:
        message->promise =
            (struct replica_promise){draw(2) == 0, at, draw_in_sync(replica), draw_leader(counter)};
        break;
    case REPLICA_ORPHAN_TRANSFER:
        message->orphan_transfer = (struct replica_orphan_transfer){number(2), entries, draw(5)};
        break;
    case REPLICA_ORPHAN_TRANSFER_DONE:
        message->orphan_transfer_done = (struct replica_orphan_transfer_done){number(2), at};
        break;
    case REPLICA_LEAVE:
        message->leave.node = (uint16_t)draw(5);
        break;
    case REPLICA_COMMITTED:
        message->committed.seq = number(2);
        break;
    default:
        break;
    }
}

static void make_nonsense(const struct replica_fixture *fixture, struct replica_message *message,
                          struct log_entry entries[static 4])
{
    const struct replica *replica = fixture->nodes[2].replica;
    uint64_t counter = replica_promised(replica) >> 16;
    memset(message, 0, sizeof *message);
    message->kind = (enum replica_message_kind)draw(REPLICA_MESSAGE_KINDS + 1);
    message->from = (uint16_t)draw(6);
    memcpy(message->cluster, fixture->nodes[2].cluster, sizeof message->cluster);
    message->epoch = draw(2) == 0 ? replica_promised(replica) : number(counter) << 16 | draw(5);
    message->promised = number(counter) << 16 | draw(5);
    message->internal = draw_address();
    draw_entries(replica, message->epoch, entries);
    draw_body(replica, message, entries);
}

/* Nothing that a peer sends makes the process end. What is appended may be nonsense too, so only the
 * replica's own promises are asserted here, inside it. */
TEST(test_receive__nonsense_ends_nothing)
{
    for (unsigned round = 0; round < 60; round++) {
        struct replica_fixture *fixture = replica_fixture_new(3, (enum replica_policy)(round % 3));
        if (round % 2 == 0)
            replica_fixture_kill(fixture, 1);
        struct replica_actions *actions = calloc(1, sizeof *actions);
        assert_non_null(actions);
        for (unsigned i = 0; i < 3000; i++) {
            struct replica_message message;
            struct log_entry entries[4];
            make_nonsense(fixture, &message, entries);
            fixture->now_ms += draw(30);
            struct replica_event event = {.kind = draw(6) == 0 ? REPLICA_TICK : REPLICA_RECEIVE,
                                          .now_ms = fixture->now_ms,
                                          .message = &message};
            (void)replica_step(fixture->nodes[2].replica, &event, actions);
            struct replica_event durable = {.kind = REPLICA_DURABLE,
                                            .now_ms = fixture->now_ms,
                                            .position = replica_last(fixture->nodes[2].replica)};
            (void)replica_step(fixture->nodes[2].replica, &durable, actions);
        }
        free(actions);
        replica_fixture_free(fixture);
    }
}
