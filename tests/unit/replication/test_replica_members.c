/* SPDX-License-Identifier: MIT */
/* The members batch, and who may become a member. */
#include "replica_fixture.h"
#include "support/test.h"

#include <string.h>

static const struct log_entry *last_members(const struct replica_fixture *fixture, uint16_t id)
{
    const struct replica_fixture_node *node = &fixture->nodes[id];
    for (size_t i = node->rows_count; i > 0; i--)
        if (node->rows[i - 1].kind == LOG_ENTRY_MEMBERS)
            return &node->rows[i - 1];
    return NULL;
}

TEST(test_replica_members_unpack__what_a_master_wrote)
{
    struct replica_fixture fixture;
    replica_fixture_open(&fixture, 3, REPLICA_ALL);
    const struct log_entry *batch = last_members(&fixture, 2);
    static struct replica_member members[REPLICA_MEMBERS_MAX];
    size_t count;
    assert_int_equal(replica_members_unpack(batch->bytes, batch->size, members, &count), OK);
    assert_int_equal(count, 3);
    for (size_t i = 0; i < count; i++) {
        assert_int_equal(members[i].id, i + 1);
        assert_true(members[i].in_sync && members[i].voter && !members[i].left);
    }
    assert_string_equal(members[2].internal, "10.0.0.3:2626");
    replica_fixture_close(&fixture);
}

TEST(test_replica_members_unpack__cut_or_changed_bytes_are_refused)
{
    struct replica_fixture fixture;
    replica_fixture_open(&fixture, 2, REPLICA_ALL);
    const struct log_entry *batch = last_members(&fixture, 1);
    static struct replica_member members[REPLICA_MEMBERS_MAX];
    size_t count;
    for (size_t size = 0; size < batch->size; size++)
        assert_int_equal(replica_members_unpack(batch->bytes, size, members, &count),
                         ERROR_INVALID);
    uint8_t bytes[512];
    assert_true(batch->size < sizeof bytes);
    for (size_t i = 0; i < batch->size; i++)
        for (unsigned value = 0; value < 256; value++) {
            memcpy(bytes, batch->bytes, batch->size);
            bytes[i] = (uint8_t)value;
            enum error error = replica_members_unpack(bytes, batch->size, members, &count);
            assert_true(error == OK || error == ERROR_INVALID);
        }
    replica_fixture_close(&fixture);
}

TEST(test_join__an_id_that_is_taken_is_refused)
{
    struct replica_fixture fixture;
    replica_fixture_open(&fixture, 2, REPLICA_ALL);
    struct replica_message join = {.kind = REPLICA_JOIN,
                                   .from = 3,
                                   .internal = "10.0.0.2:2626",
                                   .join.client = "10.0.0.2:2625"};
    fixture.count = 3;
    memset(fixture.sent, 0, sizeof fixture.sent);
    replica_fixture_step(&fixture, 1,
                         &(struct replica_event){.kind = REPLICA_RECEIVE, .message = &join});
    assert_int_equal(fixture.sent[REPLICA_JOIN_REJECTED], 1);
    assert_int_equal(fixture.sent[REPLICA_JOIN_REPLY], 0);
    fixture.count = 2;
    replica_fixture_close(&fixture);
}

/* A new data folder, and the number of a server that is there. */
TEST(test_join__the_id_of_a_member_that_is_there)
{
    struct replica_fixture fixture;
    replica_fixture_open(&fixture, 3, REPLICA_ALL);
    struct replica_message join = {.kind = REPLICA_JOIN,
                                   .from = 2,
                                   .internal = "10.0.0.9:2626",
                                   .join.client = "10.0.0.9:2625"};
    const struct log_entry *before = last_members(&fixture, 1);
    memset(fixture.sent, 0, sizeof fixture.sent);
    replica_fixture_step(&fixture, 1,
                         &(struct replica_event){.kind = REPLICA_RECEIVE, .message = &join});
    assert_int_equal(fixture.sent[REPLICA_JOIN_REJECTED], 1);
    assert_int_equal(fixture.sent[REPLICA_JOIN_REPLY], 0);
    assert_ptr_equal(last_members(&fixture, 1), before);
    /* Once it is lost, another one may take its place. */
    replica_fixture_kill(&fixture, 2);
    replica_fixture_step(&fixture, 1,
                         &(struct replica_event){.kind = REPLICA_RECEIVE, .message = &join});
    assert_int_equal(fixture.sent[REPLICA_JOIN_REPLY], 0); /* not before its vote is withdrawn */
    replica_fixture_pass(&fixture, 10);
    replica_fixture_step(&fixture, 1,
                         &(struct replica_event){.kind = REPLICA_RECEIVE, .message = &join});
    assert_int_equal(fixture.sent[REPLICA_JOIN_REJECTED], 1);
    assert_int_equal(fixture.sent[REPLICA_JOIN_REPLY], 1);
    replica_fixture_close(&fixture);
}

/* The same server with an empty folder, before anybody has missed it. */
TEST(test_join__who_has_lost_its_data_is_not_in_sync)
{
    struct replica_fixture fixture;
    replica_fixture_open(&fixture, 3, REPLICA_ALL);
    struct replica_message join = {.kind = REPLICA_JOIN,
                                   .from = 2,
                                   .internal = "10.0.0.2:2626",
                                   .join.client = "10.0.0.2:2625"};
    replica_fixture_step(&fixture, 1,
                         &(struct replica_event){.kind = REPLICA_RECEIVE, .message = &join});
    const struct log_entry *batch = last_members(&fixture, 1);
    static struct replica_member members[REPLICA_MEMBERS_MAX];
    size_t count;
    assert_int_equal(replica_members_unpack(batch->bytes, batch->size, members, &count), OK);
    assert_int_equal(members[1].id, 2);
    assert_false(members[1].in_sync);
    assert_int_equal(replica_acked(fixture.nodes[1].replica, 2).seq, 0);
    replica_fixture_close(&fixture);
}

static void receive(struct replica_fixture *fixture, uint16_t to,
                    const struct replica_message *message)
{
    assert_int_equal(
        replica_fixture_step(fixture, to,
                             &(struct replica_event){.kind = REPLICA_RECEIVE, .message = message}),
        OK);
}

/* A stranger with the id of a slave that is there is refused; one that has moved is not. */
TEST(test_join__the_id_of_a_living_member_is_refused)
{
    struct replica_fixture fixture;
    replica_fixture_open(&fixture, 3, REPLICA_ALL);
    const struct replica_message join = {.kind = REPLICA_JOIN,
                                         .from = 2,
                                         .internal = "10.0.0.9:2626",
                                         .join.client = "10.0.0.9:2625"};
    const struct replica_message hear = {
        .kind = REPLICA_LEADER_QUERY, .from = 2, .internal = "10.0.0.9:2626"};
    memset(fixture.sent, 0, sizeof fixture.sent);
    receive(&fixture, 1, &join);
    assert_int_equal(fixture.sent[REPLICA_JOIN_REJECTED], 1);
    assert_int_equal(fixture.sent[REPLICA_JOIN_REPLY], 0);
    replica_fixture_settle(&fixture);
    fixture.nodes[2].cut = true;
    for (int i = 0; i < 20; i++) { /* what the stranger says does not keep the other alive */
        replica_fixture_pass(&fixture, 100);
        receive(&fixture, 1, &hear);
    }
    receive(&fixture, 1, &join);
    replica_fixture_pass(&fixture, 10);
    receive(&fixture, 1, &join); /* its vote is withdrawn */
    assert_int_equal(fixture.sent[REPLICA_JOIN_REJECTED], 1);
    const struct replica_member *members;
    size_t count = replica_members(fixture.nodes[1].replica, &members);
    for (size_t i = 0; i < count; i++)
        if (members[i].id == 2)
            assert_string_equal(members[i].internal, join.internal);
    replica_fixture_close(&fixture);
}

/* Whoever begins with our own id hears of it from us, and gives up; asking ourselves is no matter. */
TEST(test_join__our_own_id_is_refused)
{
    struct replica_fixture fixture;
    replica_fixture_open(&fixture, 2, REPLICA_ALL);
    struct replica_message hear = {
        .kind = REPLICA_LEADER_QUERY, .from = 1, .internal = "10.0.0.1:2626"};
    memset(fixture.sent, 0, sizeof fixture.sent);
    receive(&fixture, 1, &hear);
    assert_int_equal(fixture.sent[REPLICA_JOIN_REJECTED] + fixture.sent[REPLICA_LEADER_INFO], 0);
    hear.internal = "10.0.0.9:2626";
    receive(&fixture, 1, &hear);
    assert_int_equal(fixture.sent[REPLICA_JOIN_REJECTED], 1);
    replica_fixture_close(&fixture);
}

/* Our address was that of a member that is gone, and what is sent there comes here. */
TEST(test_receive__what_we_said_ourselves_is_nothing)
{
    struct replica_fixture fixture;
    replica_fixture_open(&fixture, 2, REPLICA_ALL);
    for (int kind = 0; kind < REPLICA_MESSAGE_KINDS; kind++) {
        struct replica_message message = {.kind = (enum replica_message_kind)kind, .from = 1};
        bool needs_address = kind == REPLICA_JOIN || kind == REPLICA_LEADER_QUERY;
        struct replica_event event = {.kind = REPLICA_RECEIVE, .message = &message};
        memset(fixture.sent, 0, sizeof fixture.sent);
        assert_int_equal(replica_fixture_step(&fixture, 1, &event),
                         needs_address ? ERROR_INVALID : OK);
        for (int sent = 0; sent < REPLICA_MESSAGE_KINDS; sent++)
            assert_int_equal(fixture.sent[sent], 0);
        assert_int_equal(replica_fixture_role(&fixture, 1), REPLICA_MASTER);
    }
    replica_fixture_close(&fixture);
}

/* The master was found where no list has it: it has moved, or there is no list here yet. */
TEST(test_join__a_master_that_has_moved_is_asked_where_it_is)
{
    struct replica_fixture fixture;
    struct replica_actions actions;
    replica_fixture_open(&fixture, 1, REPLICA_ALL);
    fixture.nodes[1].cut = true;
    fixture.count = 2;
    replica_fixture_start(&fixture, 2, false);
    const struct replica_message joined = {.kind = REPLICA_JOIN_REPLY,
                                           .from = 1,
                                           .to = 2,
                                           .epoch = 65537,
                                           .cluster = {7},
                                           .join_reply = {.answer = REPLICA_SNAPSHOT,
                                                          .last = {65537, 10},
                                                          .leader = {1, 65537, "10.0.0.9:2626"}}};
    const struct replica_event event = {
        .kind = REPLICA_RECEIVE, .now_ms = fixture.now_ms, .message = &joined};
    assert_int_equal(replica_step(fixture.nodes[2].replica, &event, &actions), OK);
    bool is_asked = false;
    for (size_t i = 0; i < actions.count; i++) {
        if (actions.items[i].kind != REPLICA_DO_SEND)
            continue;
        const struct replica_message *message = &actions.items[i].message;
        assert_string_equal(message->address, joined.join_reply.leader.address);
        is_asked = is_asked || message->kind == REPLICA_SNAPSHOT_REQUEST;
    }
    assert_true(is_asked);
    replica_fixture_close(&fixture);
}

TEST(test_join__another_cluster_is_refused)
{
    struct replica_fixture fixture;
    replica_fixture_open(&fixture, 1, REPLICA_ALL);
    fixture.count = 2;
    memset(fixture.nodes[2].cluster, 9, sizeof fixture.nodes[2].cluster);
    struct replica_message join = {.kind = REPLICA_JOIN,
                                   .from = 2,
                                   .internal = "10.0.0.2:2626",
                                   .join.client = "10.0.0.2:2625"};
    memset(join.cluster, 9, sizeof join.cluster);
    replica_fixture_step(&fixture, 1,
                         &(struct replica_event){.kind = REPLICA_RECEIVE, .message = &join});
    assert_int_equal(fixture.sent[REPLICA_JOIN_REJECTED], 1);
    replica_fixture_close(&fixture);
}

/* A new node whose disk fails before it holds a list knows nobody again, whoever speaks to it. */
TEST(test_failed__before_the_first_list_is_on_the_disk)
{
    struct replica_fixture fixture;
    replica_fixture_open(&fixture, 2, REPLICA_ALL);
    fixture.count = 3;
    struct replica_fixture_node *node = &fixture.nodes[3];
    node->holds_sync = true;
    replica_fixture_start(&fixture, 3, false);
    replica_fixture_pass(&fixture, 300);
    assert_true(node->rows_count > 0);
    assert_int_equal(node->synced, 0);
    node->rows_count = 0;
    struct replica_state disk = {.promised = node->promised};
    memcpy(disk.cluster, node->cluster, sizeof disk.cluster);
    replica_fixture_step(&fixture, 3,
                         &(struct replica_event){.kind = REPLICA_FAILED, .state = &disk});
    const struct replica_member *members;
    assert_int_equal(replica_members(node->replica, &members), 0);
    node->holds_sync = false;
    replica_fixture_kill(&fixture, 1); /* and node 2 asks node 3 whom it hears */
    replica_fixture_pass(&fixture, 3000);
    assert_int_equal(replica_fixture_master(&fixture), 2);
    assert_int_equal(replica_fixture_role(&fixture, 3), REPLICA_SLAVE);
    assert_int_equal(replica_fixture_last(&fixture, 3), replica_fixture_last(&fixture, 2));
    replica_fixture_close(&fixture);
}

TEST(test_leave__a_slave_that_asks_has_left_for_good)
{
    struct replica_fixture fixture;
    replica_fixture_open(&fixture, 3, REPLICA_QUORUM);
    replica_fixture_step(&fixture, 3,
                         &(struct replica_event){.kind = REPLICA_LEAVE_NODE, .node = 3});
    replica_fixture_pass(&fixture, 1000);
    assert_int_equal(replica_fixture_role(&fixture, 3), REPLICA_REMOVED);
    replica_fixture_kill(&fixture, 3);
    replica_fixture_start(&fixture, 3, false);
    replica_fixture_pass(&fixture, 3000);
    assert_int_equal(replica_fixture_role(&fixture, 3), REPLICA_REMOVED);
    /* Two voters are left: the cluster needs both and no third. */
    assert_int_equal(replica_fixture_propose(&fixture, 1, 1), OK);
    replica_fixture_settle(&fixture);
    assert_int_equal(fixture.nodes[1].committed, replica_fixture_last(&fixture, 1));
    replica_fixture_close(&fixture);
}

TEST(test_leave__the_level_of_a_member_that_has_left_does_not_count)
{
    struct replica_fixture fixture;
    replica_fixture_open(&fixture, 3, REPLICA_QUORUM);
    fixture.old_node = 3;
    replica_fixture_kill(&fixture, 3);
    replica_fixture_start(&fixture, 3, false);
    replica_fixture_pass(&fixture, 3000);
    assert_int_equal(replica_level(fixture.nodes[1].replica), REPLICA_FIXTURE_LEVEL - 1);
    replica_fixture_step(&fixture, 3,
                         &(struct replica_event){.kind = REPLICA_LEAVE_NODE, .node = 3});
    replica_fixture_pass(&fixture, 1000);
    assert_int_equal(replica_level(fixture.nodes[1].replica), REPLICA_FIXTURE_LEVEL);
    replica_fixture_close(&fixture);
}

TEST(test_leave__a_dead_member_is_removed_by_the_master)
{
    struct replica_fixture fixture;
    replica_fixture_open(&fixture, 3, REPLICA_QUORUM);
    replica_fixture_kill(&fixture, 3);
    replica_fixture_pass(&fixture, 500);
    assert_int_equal(
        replica_fixture_step(&fixture, 2,
                             &(struct replica_event){.kind = REPLICA_LEAVE_NODE, .node = 3}),
        ERROR_REFUSED);
    assert_int_equal(
        replica_fixture_step(&fixture, 1,
                             &(struct replica_event){.kind = REPLICA_LEAVE_NODE, .node = 3}),
        OK);
    replica_fixture_pass(&fixture, 500);
    const struct replica_member *members;
    assert_int_equal(replica_members(fixture.nodes[2].replica, &members), 3);
    assert_true(members[2].left);
    replica_fixture_close(&fixture);
}

TEST(test_leave__a_master_that_leaves_is_followed_by_another)
{
    struct replica_fixture fixture;
    replica_fixture_open(&fixture, 3, REPLICA_ALL);
    assert_int_equal(
        replica_fixture_step(&fixture, 1,
                             &(struct replica_event){.kind = REPLICA_LEAVE_NODE, .node = 1}),
        OK);
    replica_fixture_pass(&fixture, 2000);
    assert_int_equal(replica_fixture_role(&fixture, 1), REPLICA_REMOVED);
    assert_int_equal(replica_fixture_master(&fixture), 2);
    replica_fixture_close(&fixture);
}

/* Found by the simulator: the others know of the leaving, the master does not know that they do. */
TEST(test_leave__a_master_that_was_cut_off_while_leaving_is_told)
{
    struct replica_fixture fixture;
    replica_fixture_open(&fixture, 3, REPLICA_QUORUM);
    replica_fixture_step(&fixture, 1,
                         &(struct replica_event){.kind = REPLICA_LEAVE_NODE, .node = 1});
    fixture.nodes[1].cut = true; /* what it has sent arrives, the acks do not */
    replica_fixture_pass(&fixture, 700);
    assert_int_equal(replica_fixture_role(&fixture, 2), REPLICA_MASTER);
    assert_int_equal(replica_fixture_role(&fixture, 1), REPLICA_MASTER);
    fixture.nodes[1].cut = false;
    replica_fixture_pass(&fixture, 250); /* before it would step down for want of a majority */
    assert_int_equal(replica_fixture_role(&fixture, 1), REPLICA_REMOVED);
    replica_fixture_close(&fixture);
}

/* Found by the simulator: a leaving that is not committed may never have been. */
TEST(test_leave__nobody_is_told_before_it_is_committed)
{
    struct replica_fixture fixture;
    replica_fixture_open(&fixture, 4, REPLICA_QUORUM);
    for (uint16_t id = 1; id <= 4; id++)
        fixture.nodes[id].holds_sync = true;
    replica_fixture_step(&fixture, 1,
                         &(struct replica_event){.kind = REPLICA_LEAVE_NODE, .node = 2});
    replica_fixture_kill(&fixture, 2);
    replica_fixture_start(&fixture, 2, false);
    replica_fixture_pass(&fixture, 300);
    assert_int_not_equal(replica_fixture_role(&fixture, 2), REPLICA_REMOVED);
    for (uint16_t id = 1; id <= 4; id++) {
        fixture.nodes[id].holds_sync = false;
        replica_fixture_sync(&fixture, id);
    }
    replica_fixture_pass(&fixture, 300);
    assert_int_equal(replica_fixture_role(&fixture, 2), REPLICA_REMOVED);
    replica_fixture_close(&fixture);
}

TEST(test_leave__a_master_that_leaves_commits_nothing_alone)
{
    for (unsigned policy = 0; policy < 3; policy++) {
        struct replica_fixture fixture;
        replica_fixture_open(&fixture, 2, (enum replica_policy)policy);
        fixture.nodes[2].cut = true;
        replica_fixture_step(&fixture, 1,
                             &(struct replica_event){.kind = REPLICA_LEAVE_NODE, .node = 1});
        uint64_t committed = fixture.nodes[1].committed;
        replica_fixture_propose(&fixture, 1, 1);
        replica_fixture_pass(&fixture, 900);
        replica_fixture_kill(&fixture, 2);
        replica_fixture_pass(&fixture, 2000);
        assert_int_equal(fixture.nodes[1].committed, committed);
        replica_fixture_close(&fixture);
    }
}
