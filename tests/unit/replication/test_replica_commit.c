/* SPDX-License-Identifier: MIT */
/* What is committed, by policy; and the order of actions. */
#include "replica_fixture.h"
#include "support/test.h"

#include <string.h>

TEST(test_propose__all_waits_for_everybody_in_sync)
{
    struct replica_fixture fixture;
    replica_fixture_open(&fixture, 3, REPLICA_ALL);
    fixture.nodes[3].holds_sync = true;
    uint64_t before = fixture.nodes[1].committed;
    assert_int_equal(replica_fixture_propose(&fixture, 1, 4), OK);
    replica_fixture_settle(&fixture);
    assert_int_equal(fixture.nodes[1].committed, before);
    replica_fixture_sync(&fixture, 3);
    replica_fixture_settle(&fixture);
    assert_int_equal(fixture.nodes[1].committed, before + 4);
    replica_fixture_close(&fixture);
}

TEST(test_propose__quorum_needs_two_of_three)
{
    struct replica_fixture fixture;
    replica_fixture_open(&fixture, 3, REPLICA_QUORUM);
    fixture.nodes[2].holds_sync = fixture.nodes[3].holds_sync = true;
    uint64_t before = fixture.nodes[1].committed;
    replica_fixture_propose(&fixture, 1, 1);
    replica_fixture_settle(&fixture);
    assert_int_equal(fixture.nodes[1].committed, before);
    replica_fixture_sync(&fixture, 2);
    replica_fixture_settle(&fixture);
    assert_int_equal(fixture.nodes[1].committed, before + 1);
    replica_fixture_close(&fixture);
}

TEST(test_propose__local_needs_the_masters_disk_only)
{
    struct replica_fixture fixture;
    replica_fixture_open(&fixture, 2, REPLICA_LOCAL);
    fixture.nodes[2].cut = true;
    fixture.nodes[1].holds_sync = true;
    uint64_t before = fixture.nodes[1].committed;
    replica_fixture_propose(&fixture, 1, 1);
    assert_int_equal(fixture.nodes[1].committed, before);
    replica_fixture_sync(&fixture, 1);
    assert_int_equal(fixture.nodes[1].committed, before + 1);
    replica_fixture_close(&fixture);
}

TEST(test_propose__a_slave_refuses)
{
    struct replica_fixture fixture;
    replica_fixture_open(&fixture, 2, REPLICA_ALL);
    assert_int_equal(replica_fixture_propose(&fixture, 2, 1), ERROR_REFUSED);
    replica_fixture_close(&fixture);
}

TEST(test_propose__is_published_before_it_is_synced)
{
    struct replica_fixture fixture;
    replica_fixture_open(&fixture, 2, REPLICA_ALL);
    fixture.nodes[1].holds_sync = true;
    replica_fixture_propose(&fixture, 1, 1);
    assert_int_equal(fixture.actions.items[0].kind, REPLICA_DO_APPEND);
    assert_int_equal(fixture.actions.items[1].kind, REPLICA_DO_PUBLISH);
    replica_fixture_settle(&fixture);
    assert_int_equal(replica_fixture_last(&fixture, 2), replica_fixture_last(&fixture, 1));
    assert_true(fixture.nodes[1].committed < replica_fixture_last(&fixture, 1));
    replica_fixture_close(&fixture);
}

/* Node 3 lacks the entry, and must not be elected: node 2 has to know that it is not in sync. */
TEST(test_all__commits_only_with_the_list_that_removes_a_member)
{
    struct replica_fixture fixture;
    replica_fixture_open(&fixture, 3, REPLICA_ALL);
    fixture.nodes[3].holds_sync = true;
    replica_fixture_propose(&fixture, 1, 1);
    uint64_t entry = replica_fixture_last(&fixture, 1);
    replica_fixture_settle(&fixture);
    fixture.nodes[2].holds_sync = true;
    replica_fixture_kill(&fixture, 3);
    replica_fixture_settle(&fixture);
    assert_true(replica_fixture_last(&fixture, 1) > entry); /* the list */
    assert_true(fixture.nodes[1].committed < entry);
    replica_fixture_sync(&fixture, 2);
    replica_fixture_settle(&fixture);
    assert_true(fixture.nodes[1].committed > entry);
    replica_fixture_close(&fixture);
}

/* Raft, figure 8: a majority has an entry of the epoch before, but the new master's first entry is not
 * durable on a majority. */
TEST(test_quorum__commits_an_old_entry_only_with_one_of_its_own_epoch)
{
    struct replica_fixture fixture;
    replica_fixture_open(&fixture, 3, REPLICA_QUORUM);
    fixture.nodes[2].holds_sync = fixture.nodes[3].holds_sync = true;
    replica_fixture_propose(&fixture, 1, 1);
    replica_fixture_settle(&fixture);
    const struct log_position entry = replica_last(fixture.nodes[1].replica);
    replica_fixture_kill(&fixture, 1);
    replica_fixture_pass(&fixture, 500);
    assert_int_equal(replica_fixture_master(&fixture), 2);
    replica_fixture_sync(&fixture, 2);
    struct replica_message ack = {.kind = REPLICA_ACK,
                                  .from = 3,
                                  .to = 2,
                                  .epoch = replica_epoch(fixture.nodes[2].replica),
                                  .ack.durable = entry};
    memcpy(ack.cluster, fixture.nodes[2].cluster, sizeof ack.cluster);
    replica_fixture_step(&fixture, 2,
                         &(struct replica_event){.kind = REPLICA_RECEIVE, .message = &ack});
    assert_int_equal(replica_acked(fixture.nodes[2].replica, 3).seq, entry.seq);
    assert_true(fixture.nodes[2].committed < entry.seq);
    replica_fixture_sync(&fixture, 3);
    replica_fixture_settle(&fixture);
    assert_true(fixture.nodes[2].committed > entry.seq);
    replica_fixture_close(&fixture);
}

/* Its disk takes nothing: it joins again and again, and is not waited for longer because of that. */
TEST(test_ack_timeout__joining_again_is_no_progress)
{
    struct replica_fixture fixture;
    replica_fixture_open(&fixture, 3, REPLICA_ALL);
    fixture.nodes[3].holds_sync = true;
    replica_fixture_propose(&fixture, 1, 1);
    replica_fixture_settle(&fixture);
    uint64_t waiting = replica_fixture_last(&fixture, 1);
    const struct replica_message join = {
        .kind = REPLICA_JOIN,
        .from = 3,
        .to = 1,
        .internal = "10.0.0.3:2626",
        .join = {.client = "10.0.0.3:2625",
                 .last = {65537, waiting - 1},
                 .epochs = {&(struct epoch_start){65537, 1}, 1}},
    };
    for (int i = 0; i < 15; i++) {
        struct replica_message again = join;
        memcpy(again.cluster, fixture.nodes[1].cluster, sizeof again.cluster);
        assert_int_equal(
            replica_fixture_step(
                &fixture, 1, &(struct replica_event){.kind = REPLICA_RECEIVE, .message = &again}),
            OK);
        replica_fixture_pass(&fixture, 100);
    }
    assert_true(fixture.nodes[1].committed >= waiting);
    replica_fixture_close(&fixture);
}

TEST(test_ack_timeout__a_slave_that_does_not_ack_leaves_the_in_sync_set_and_returns)
{
    struct replica_fixture fixture;
    replica_fixture_open(&fixture, 3, REPLICA_ALL);
    fixture.nodes[3].holds_sync = true;
    replica_fixture_propose(&fixture, 1, 1);
    replica_fixture_settle(&fixture);
    uint64_t waiting = replica_fixture_last(&fixture, 1);
    assert_true(fixture.nodes[1].committed < waiting);
    replica_fixture_pass(&fixture, 1500);
    assert_true(fixture.nodes[1].committed >= waiting);
    assert_int_equal(replica_fixture_role(&fixture, 3), REPLICA_JOINING);
    fixture.nodes[3].holds_sync = false;
    replica_fixture_pass(&fixture, 500);
    assert_int_equal(replica_fixture_role(&fixture, 3), REPLICA_SLAVE);
    assert_int_equal(replica_fixture_last(&fixture, 3), replica_fixture_last(&fixture, 1));
    replica_fixture_close(&fixture);
}

/* A slave that had nothing to ack for longer than the timeout gets the whole timeout. */
TEST(test_ack_timeout__begins_with_the_append)
{
    struct replica_fixture fixture;
    replica_fixture_open(&fixture, 3, REPLICA_ALL);
    replica_fixture_pass(&fixture, 1500);
    fixture.nodes[3].holds_sync = true;
    replica_fixture_propose(&fixture, 1, 1);
    uint64_t waiting = replica_fixture_last(&fixture, 1);
    replica_fixture_pass(&fixture, 900);
    assert_int_equal(replica_fixture_role(&fixture, 3), REPLICA_SLAVE);
    assert_true(fixture.nodes[1].committed < waiting);
    replica_fixture_pass(&fixture, 200);
    assert_true(fixture.nodes[1].committed >= waiting);
    replica_fixture_close(&fixture);
}

static void ack(struct replica_fixture *fixture, uint16_t from, uint64_t seq)
{
    struct replica_message message = {
        .kind = REPLICA_ACK, .from = from, .to = 1, .epoch = 65537, .ack.durable = {65537, seq}};
    memcpy(message.cluster, fixture->nodes[1].cluster, sizeof message.cluster);
    assert_int_equal(
        replica_fixture_step(fixture, 1,
                             &(struct replica_event){.kind = REPLICA_RECEIVE, .message = &message}),
        OK);
}

TEST(test_ack_timeout__begins_again_with_each_new_ack)
{
    struct replica_fixture fixture;
    replica_fixture_open(&fixture, 3, REPLICA_ALL);
    fixture.nodes[3].holds_sync = true;
    replica_fixture_propose(&fixture, 1, 1);
    uint64_t first = replica_fixture_last(&fixture, 1);
    replica_fixture_propose(&fixture, 1, 1);
    replica_fixture_pass(&fixture, 900);
    ack(&fixture, 3, first);
    assert_int_equal(fixture.nodes[1].committed, first);
    replica_fixture_pass(&fixture, 900);
    assert_int_equal(replica_fixture_role(&fixture, 3), REPLICA_SLAVE);
    assert_int_equal(fixture.nodes[1].committed, first);
    ack(&fixture, 3, first); /* the same again is no progress */
    replica_fixture_pass(&fixture, 200);
    assert_true(fixture.nodes[1].committed > first);
    replica_fixture_close(&fixture);
}

/* The node has the log up to seq, and must not apply the entry at `avoid` (0: none). */
static void join(struct replica_fixture *fixture, uint16_t from, const char *internal, uint64_t seq,
                 uint64_t avoid)
{
    struct replica_message message = {
        .kind = REPLICA_JOIN,
        .from = from,
        .to = 1,
        .internal = internal,
        .join = {.client = internal,
                 .last = {65537, seq},
                 .avoid = {avoid == 0 ? 0 : 65537, avoid},
                 .epochs = {&(struct epoch_start){65537, 1}, 1}},
    };
    memcpy(message.cluster, fixture->nodes[1].cluster, sizeof message.cluster);
    assert_int_equal(
        replica_fixture_step(fixture, 1,
                             &(struct replica_event){.kind = REPLICA_RECEIVE, .message = &message}),
        OK);
}

TEST(test_replica_joining_seq__of_nodes_that_are_no_voters_yet)
{
    struct replica_fixture fixture;
    replica_fixture_open(&fixture, 2, REPLICA_ALL);
    const struct replica *master = fixture.nodes[1].replica;
    assert_true(replica_joining_seq(master) == UINT64_MAX); /* both nodes are voters */
    join(&fixture, 3, "10.0.0.3:2626", 1, 0);
    assert_true(replica_joining_seq(master) == UINT64_MAX); /* node 3 has acked nothing */
    ack(&fixture, 3, 1);
    assert_int_equal(replica_joining_seq(master), 1);
    ack(&fixture, 3, 2);
    assert_int_equal(replica_joining_seq(master), 2);
    replica_fixture_pass(&fixture, 900);
    assert_int_equal(replica_joining_seq(master), 2);
    replica_fixture_pass(&fixture, 200); /* the ack timeout of 1 s is over */
    assert_true(replica_joining_seq(master) == UINT64_MAX);
    ack(&fixture, 3, 2);
    assert_int_equal(replica_joining_seq(master), 2);
    assert_true(replica_joining_seq(fixture.nodes[2].replica) == UINT64_MAX); /* no master */
    replica_fixture_close(&fixture);
}

TEST(test_replica_joining_seq__the_least_of_nodes_that_follow_the_log)
{
    struct replica_fixture fixture;
    replica_fixture_open(&fixture, 2, REPLICA_ALL);
    const struct replica *master = fixture.nodes[1].replica;
    join(&fixture, 3, "10.0.0.3:2626", 1, 0);
    join(&fixture, 4, "10.0.0.4:2626", 1, 0);
    ack(&fixture, 3, 1);
    ack(&fixture, 4, 2);
    assert_int_equal(replica_joining_seq(master), 1);
    ack(&fixture, 3, replica_fixture_last(&fixture, 1)); /* node 3 is a voter now */
    assert_int_equal(replica_joining_seq(master), 2);
    join(&fixture, 4, "10.0.0.4:2626", 2, replica_fixture_last(&fixture, 1)); /* gets a snapshot */
    assert_true(replica_joining_seq(master) == UINT64_MAX);
    ack(&fixture, 4, 2);
    assert_int_equal(replica_joining_seq(master), 2);
    assert_int_equal(
        replica_fixture_step(&fixture, 1,
                             &(struct replica_event){.kind = REPLICA_LEAVE_NODE, .node = 4}),
        OK);
    assert_true(replica_joining_seq(master) == UINT64_MAX);
    replica_fixture_close(&fixture);
}

TEST(test_quorum__a_master_without_a_majority_steps_down)
{
    struct replica_fixture fixture;
    replica_fixture_open(&fixture, 3, REPLICA_QUORUM);
    fixture.nodes[1].cut = true;
    replica_fixture_pass(&fixture, 2000);
    assert_int_equal(replica_fixture_role(&fixture, 1), REPLICA_LOOKING);
    assert_int_equal(replica_fixture_master(&fixture), 2);
    replica_fixture_close(&fixture);
}

TEST(test_failed__a_master_whose_disk_fails_is_replaced)
{
    struct replica_fixture fixture;
    replica_fixture_open(&fixture, 3, REPLICA_ALL);
    uint64_t committed = fixture.nodes[1].committed;
    fixture.nodes[1].holds_sync = true;
    replica_fixture_propose(&fixture, 1, 1);
    fixture.nodes[1].rows_count = fixture.nodes[1].synced;
    struct epoch_start epoch_start = {fixture.nodes[1].rows[0].epoch, 1};
    const struct log_entry *end = &fixture.nodes[1].rows[fixture.nodes[1].synced - 1];
    struct replica_state disk = {.promised = fixture.nodes[1].promised,
                                 .epochs = {&epoch_start, 1},
                                 .first_seq = 1,
                                 .last = {end->epoch, end->last_seq},
                                 .members = end->bytes,
                                 .members_size = end->size,
                                 .members_position = {end->epoch, end->last_seq}};
    memcpy(disk.cluster, fixture.nodes[1].cluster, sizeof disk.cluster);
    assert_int_equal(end->kind, LOG_ENTRY_MEMBERS);
    replica_fixture_step(&fixture, 1,
                         &(struct replica_event){.kind = REPLICA_FAILED, .state = &disk});
    fixture.nodes[1].holds_sync = false;
    assert_int_equal(replica_fixture_role(&fixture, 1), REPLICA_LOOKING);
    replica_fixture_pass(&fixture, 500);
    assert_int_equal(replica_fixture_master(&fixture), 2);
    replica_fixture_pass(&fixture, 2000);
    assert_int_equal(replica_fixture_role(&fixture, 1), REPLICA_SLAVE);
    assert_true(fixture.nodes[2].committed > committed);
    replica_fixture_close(&fixture);
}
