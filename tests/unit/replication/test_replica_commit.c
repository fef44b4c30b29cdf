/* SPDX-License-Identifier: MIT */
/* What is committed, by policy; and the order of actions. */
#include "replica_fixture.h"
#include "support/test.h"

#include <string.h>

REPLICA_TEST(test_propose__all_waits_for_everybody_in_sync, 3, REPLICA_ALL)
{
    f->nodes[3].holds_sync = true;
    uint64_t before = f->nodes[1].committed;
    assert_int_equal(replica_fixture_propose(f, 1, 4), OK);
    replica_fixture_settle(f);
    assert_int_equal(f->nodes[1].committed, before);
    replica_fixture_sync(f, 3);
    replica_fixture_settle(f);
    assert_int_equal(f->nodes[1].committed, before + 4);
}

REPLICA_TEST(test_propose__quorum_needs_two_of_three, 3, REPLICA_QUORUM)
{
    f->nodes[2].holds_sync = f->nodes[3].holds_sync = true;
    uint64_t before = f->nodes[1].committed;
    replica_fixture_write(f, 1, 1);
    assert_int_equal(f->nodes[1].committed, before);
    replica_fixture_sync(f, 2);
    replica_fixture_settle(f);
    assert_int_equal(f->nodes[1].committed, before + 1);
}

REPLICA_TEST(test_propose__local_needs_the_masters_disk_only, 2, REPLICA_LOCAL)
{
    f->nodes[2].cut = true;
    f->nodes[1].holds_sync = true;
    uint64_t before = f->nodes[1].committed;
    replica_fixture_propose(f, 1, 1);
    assert_int_equal(f->nodes[1].committed, before);
    replica_fixture_sync(f, 1);
    assert_int_equal(f->nodes[1].committed, before + 1);
}

REPLICA_TEST(test_propose__a_slave_refuses, 2, REPLICA_ALL)
{
    assert_int_equal(replica_fixture_propose(f, 2, 1), ERROR_REFUSED);
}

REPLICA_TEST(test_propose__is_published_before_it_is_synced, 2, REPLICA_ALL)
{
    f->nodes[1].holds_sync = true;
    replica_fixture_propose(f, 1, 1);
    assert_int_equal(f->actions.items[0].kind, REPLICA_DO_APPEND);
    assert_int_equal(f->actions.items[1].kind, REPLICA_DO_PUBLISH);
    replica_fixture_settle(f);
    assert_int_equal(replica_fixture_last(f, 2), replica_fixture_last(f, 1));
    assert_true(f->nodes[1].committed < replica_fixture_last(f, 1));
}

/* Node 3 lacks the entry, and must not be elected: node 2 has to know that it is not in sync. */
REPLICA_TEST(test_all__commits_only_with_the_list_that_removes_a_member, 3, REPLICA_ALL)
{
    f->nodes[3].holds_sync = true;
    replica_fixture_propose(f, 1, 1);
    uint64_t entry = replica_fixture_last(f, 1);
    replica_fixture_settle(f);
    f->nodes[2].holds_sync = true;
    replica_fixture_kill(f, 3);
    replica_fixture_settle(f);
    assert_true(replica_fixture_last(f, 1) > entry); /* the list */
    assert_true(f->nodes[1].committed < entry);
    replica_fixture_sync(f, 2);
    replica_fixture_settle(f);
    assert_true(f->nodes[1].committed > entry);
}

/* Raft, figure 8: a majority has an entry of the epoch before, but the new master's first entry is not
 * durable on a majority. */
REPLICA_TEST(test_quorum__commits_an_old_entry_only_with_one_of_its_own_epoch, 3, REPLICA_QUORUM)
{
    f->nodes[2].holds_sync = f->nodes[3].holds_sync = true;
    replica_fixture_write(f, 1, 1);
    const struct log_position entry = replica_last(f->nodes[1].replica);
    replica_fixture_kill(f, 1);
    replica_fixture_pass(f, 500);
    assert_int_equal(replica_fixture_master(f), 2);
    replica_fixture_sync(f, 2);
    struct replica_message ack = {.kind = REPLICA_ACK,
                                  .from = 3,
                                  .to = 2,
                                  .epoch = replica_epoch(f->nodes[2].replica),
                                  .ack.durable = entry};
    memcpy(ack.cluster, f->nodes[2].cluster, sizeof ack.cluster);
    replica_fixture_receive(f, 2, &ack);
    assert_int_equal(replica_acked(f->nodes[2].replica, 3).seq, entry.seq);
    assert_true(f->nodes[2].committed < entry.seq);
    replica_fixture_sync(f, 3);
    replica_fixture_settle(f);
    assert_true(f->nodes[2].committed > entry.seq);
}

/* The node has the log up to seq, and must not apply the entry at `avoid` (0: none). */
static void join(struct replica_fixture *fixture, uint16_t from, uint64_t seq, uint64_t avoid)
{
    static const char *const clients[] = {[3] = "10.0.0.3:2625", [4] = "10.0.0.4:2625"};
    static const char *const internals[] = {[3] = "10.0.0.3:2626", [4] = "10.0.0.4:2626"};
    struct replica_message message = {
        .kind = REPLICA_JOIN,
        .from = from,
        .to = 1,
        .internal = internals[from],
        .join = {.client = clients[from],
                 .last = {65537, seq},
                 .avoid = {avoid == 0 ? 0 : 65537, avoid},
                 .epochs = {&(struct epoch_start){65537, 1}, 1}},
    };
    memcpy(message.cluster, fixture->nodes[1].cluster, sizeof message.cluster);
    assert_int_equal(replica_fixture_receive(fixture, 1, &message), OK);
}

/* Its disk takes nothing: it joins again and again, and is not waited for longer because of that. */
REPLICA_TEST(test_ack_timeout__joining_again_is_no_progress, 3, REPLICA_ALL)
{
    f->nodes[3].holds_sync = true;
    replica_fixture_write(f, 1, 1);
    uint64_t waiting = replica_fixture_last(f, 1);
    for (int i = 0; i < 15; i++) {
        join(f, 3, waiting - 1, 0);
        replica_fixture_pass(f, 100);
    }
    assert_true(f->nodes[1].committed >= waiting);
}

REPLICA_TEST(test_ack_timeout__a_slave_that_does_not_ack_leaves_the_in_sync_set_and_returns, 3,
             REPLICA_ALL)
{
    f->nodes[3].holds_sync = true;
    replica_fixture_write(f, 1, 1);
    uint64_t waiting = replica_fixture_last(f, 1);
    assert_true(f->nodes[1].committed < waiting);
    replica_fixture_pass(f, 1500);
    assert_true(f->nodes[1].committed >= waiting);
    assert_int_equal(replica_fixture_role(f, 3), REPLICA_JOINING);
    f->nodes[3].holds_sync = false;
    replica_fixture_pass(f, 500);
    assert_int_equal(replica_fixture_role(f, 3), REPLICA_SLAVE);
    assert_int_equal(replica_fixture_last(f, 3), replica_fixture_last(f, 1));
}

/* A slave that had nothing to ack for longer than the timeout gets the whole timeout. */
REPLICA_TEST(test_ack_timeout__begins_with_the_append, 3, REPLICA_ALL)
{
    replica_fixture_pass(f, 1500);
    f->nodes[3].holds_sync = true;
    replica_fixture_propose(f, 1, 1);
    uint64_t waiting = replica_fixture_last(f, 1);
    replica_fixture_pass(f, 900);
    assert_int_equal(replica_fixture_role(f, 3), REPLICA_SLAVE);
    assert_true(f->nodes[1].committed < waiting);
    replica_fixture_pass(f, 200);
    assert_true(f->nodes[1].committed >= waiting);
}

static void ack(struct replica_fixture *fixture, uint16_t from, uint64_t seq)
{
    struct replica_message message = {
        .kind = REPLICA_ACK, .from = from, .to = 1, .epoch = 65537, .ack.durable = {65537, seq}};
    memcpy(message.cluster, fixture->nodes[1].cluster, sizeof message.cluster);
    assert_int_equal(replica_fixture_receive(fixture, 1, &message), OK);
}

REPLICA_TEST(test_ack_timeout__begins_again_with_each_new_ack, 3, REPLICA_ALL)
{
    f->nodes[3].holds_sync = true;
    replica_fixture_propose(f, 1, 1);
    uint64_t first = replica_fixture_last(f, 1);
    replica_fixture_propose(f, 1, 1);
    replica_fixture_pass(f, 900);
    ack(f, 3, first);
    assert_int_equal(f->nodes[1].committed, first);
    replica_fixture_pass(f, 900);
    assert_int_equal(replica_fixture_role(f, 3), REPLICA_SLAVE);
    assert_int_equal(f->nodes[1].committed, first);
    ack(f, 3, first); /* the same again is no progress */
    replica_fixture_pass(f, 200);
    assert_true(f->nodes[1].committed > first);
}

REPLICA_TEST(test_replica_joining_seq__of_nodes_that_are_no_voters_yet, 2, REPLICA_ALL)
{
    const struct replica *master = f->nodes[1].replica;
    assert_true(replica_joining_seq(master) == UINT64_MAX); /* both nodes are voters */
    join(f, 3, 1, 0);
    assert_true(replica_joining_seq(master) == UINT64_MAX); /* node 3 has acked nothing */
    ack(f, 3, 1);
    assert_int_equal(replica_joining_seq(master), 1);
    ack(f, 3, 2);
    assert_int_equal(replica_joining_seq(master), 2);
    replica_fixture_pass(f, 900);
    assert_int_equal(replica_joining_seq(master), 2);
    replica_fixture_pass(f, 200); /* the ack timeout of 1 s is over */
    assert_true(replica_joining_seq(master) == UINT64_MAX);
    ack(f, 3, 2);
    assert_int_equal(replica_joining_seq(master), 2);
    assert_true(replica_joining_seq(f->nodes[2].replica) == UINT64_MAX); /* no master */
}

REPLICA_TEST(test_replica_joining_seq__the_least_of_nodes_that_follow_the_log, 2, REPLICA_ALL)
{
    const struct replica *master = f->nodes[1].replica;
    join(f, 3, 1, 0);
    join(f, 4, 1, 0);
    ack(f, 3, 1);
    ack(f, 4, 2);
    assert_int_equal(replica_joining_seq(master), 1);
    ack(f, 3, replica_fixture_last(f, 1)); /* node 3 is a voter now */
    assert_int_equal(replica_joining_seq(master), 2);
    join(f, 4, 2, replica_fixture_last(f, 1)); /* gets a snapshot */
    assert_true(replica_joining_seq(master) == UINT64_MAX);
    ack(f, 4, 2);
    assert_int_equal(replica_joining_seq(master), 2);
    assert_int_equal(replica_fixture_leave(f, 1, 4), OK);
    assert_true(replica_joining_seq(master) == UINT64_MAX);
}

REPLICA_TEST(test_quorum__a_master_without_a_majority_steps_down, 3, REPLICA_QUORUM)
{
    f->nodes[1].cut = true;
    replica_fixture_pass(f, 2000);
    assert_int_equal(replica_fixture_role(f, 1), REPLICA_LOOKING);
    assert_int_equal(replica_fixture_master(f), 2);
}

REPLICA_TEST(test_failed__a_master_whose_disk_fails_is_replaced, 3, REPLICA_ALL)
{
    uint64_t committed = f->nodes[1].committed;
    f->nodes[1].holds_sync = true;
    replica_fixture_propose(f, 1, 1);
    f->nodes[1].rows_count = f->nodes[1].synced;
    struct epoch_start epoch_start = {f->nodes[1].rows[0].epoch, 1};
    const struct log_entry *end = &f->nodes[1].rows[f->nodes[1].synced - 1];
    struct replica_state disk = {.promised = f->nodes[1].promised,
                                 .epochs = {&epoch_start, 1},
                                 .first_seq = 1,
                                 .last = {end->epoch, end->last_seq},
                                 .members = end->bytes,
                                 .members_size = end->size,
                                 .members_position = {end->epoch, end->last_seq}};
    memcpy(disk.cluster, f->nodes[1].cluster, sizeof disk.cluster);
    assert_int_equal(end->kind, LOG_ENTRY_MEMBERS);
    replica_fixture_step(f, 1, &(struct replica_event){.kind = REPLICA_FAILED, .state = &disk});
    f->nodes[1].holds_sync = false;
    assert_int_equal(replica_fixture_role(f, 1), REPLICA_LOOKING);
    replica_fixture_pass(f, 500);
    assert_int_equal(replica_fixture_master(f), 2);
    replica_fixture_pass(f, 2000);
    assert_int_equal(replica_fixture_role(f, 1), REPLICA_SLAVE);
    assert_true(f->nodes[2].committed > committed);
}
