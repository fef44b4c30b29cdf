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

/* Unpacks the last list in the log of a node; returns how many members it has. */
static size_t unpack_last(const struct replica_fixture *fixture, uint16_t id,
                          struct replica_member members[static REPLICA_MEMBERS_MAX])
{
    const struct log_entry *batch = last_members(fixture, id);
    size_t count;
    assert_int_equal(replica_members_unpack(batch->bytes, batch->size, members, &count), OK);
    return count;
}

static struct replica_message join_of(uint16_t from, const char *client, const char *internal)
{
    return (struct replica_message){
        .kind = REPLICA_JOIN, .from = from, .internal = internal, .join.client = client};
}

REPLICA_TEST(test_replica_members_unpack__what_a_master_wrote, 3, REPLICA_ALL)
{
    static struct replica_member members[REPLICA_MEMBERS_MAX];
    assert_int_equal(unpack_last(f, 2, members), 3);
    for (size_t i = 0; i < 3; i++) {
        assert_int_equal(members[i].id, i + 1);
        assert_true(members[i].in_sync && members[i].voter && !members[i].left);
    }
    assert_string_equal(members[2].internal, "10.0.0.3:2626");
}

REPLICA_TEST(test_replica_members_unpack__cut_or_changed_bytes_are_refused, 2, REPLICA_ALL)
{
    const struct log_entry *batch = last_members(f, 1);
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
}

REPLICA_TEST(test_join__an_id_that_is_taken_is_refused, 2, REPLICA_ALL)
{
    struct replica_message join = join_of(3, "10.0.0.2:2625", "10.0.0.2:2626");
    f->count = 3;
    memset(f->sent, 0, sizeof f->sent);
    replica_fixture_receive(f, 1, &join);
    assert_int_equal(f->sent[REPLICA_JOIN_REJECTED], 1);
    assert_int_equal(f->sent[REPLICA_JOIN_REPLY], 0);
    f->count = 2;
}

/* A new data folder, and the number of a server that is there. */
REPLICA_TEST(test_join__the_id_of_a_member_that_is_there, 3, REPLICA_ALL)
{
    struct replica_message join = join_of(2, "10.0.0.9:2625", "10.0.0.9:2626");
    const struct log_entry *before = last_members(f, 1);
    memset(f->sent, 0, sizeof f->sent);
    replica_fixture_receive(f, 1, &join);
    assert_int_equal(f->sent[REPLICA_JOIN_REJECTED], 1);
    assert_int_equal(f->sent[REPLICA_JOIN_REPLY], 0);
    assert_ptr_equal(last_members(f, 1), before);
    /* Once it is lost, another one may take its place. */
    replica_fixture_kill(f, 2);
    replica_fixture_receive(f, 1, &join);
    assert_int_equal(f->sent[REPLICA_JOIN_REPLY], 0); /* not before its vote is withdrawn */
    replica_fixture_pass(f, 10);
    replica_fixture_receive(f, 1, &join);
    assert_int_equal(f->sent[REPLICA_JOIN_REJECTED], 1);
    assert_int_equal(f->sent[REPLICA_JOIN_REPLY], 1);
}

/* The same server with an empty folder, before anybody has missed it. */
REPLICA_TEST(test_join__who_has_lost_its_data_is_not_in_sync, 3, REPLICA_ALL)
{
    struct replica_message join = join_of(2, "10.0.0.2:2625", "10.0.0.2:2626");
    replica_fixture_receive(f, 1, &join);
    static struct replica_member members[REPLICA_MEMBERS_MAX];
    (void)unpack_last(f, 1, members);
    assert_int_equal(members[1].id, 2);
    assert_false(members[1].in_sync);
    assert_int_equal(replica_acked(f->nodes[1].replica, 2).seq, 0);
}

static void receive(struct replica_fixture *fixture, uint16_t to,
                    const struct replica_message *message)
{
    assert_int_equal(replica_fixture_receive(fixture, to, message), OK);
}

/* A stranger with the id of a slave that is there is refused; one that has moved is not. */
REPLICA_TEST(test_join__the_id_of_a_living_member_is_refused, 3, REPLICA_ALL)
{
    const struct replica_message join = join_of(2, "10.0.0.9:2625", "10.0.0.9:2626");
    const struct replica_message hear = {
        .kind = REPLICA_LEADER_QUERY, .from = 2, .internal = "10.0.0.9:2626"};
    memset(f->sent, 0, sizeof f->sent);
    receive(f, 1, &join);
    assert_int_equal(f->sent[REPLICA_JOIN_REJECTED], 1);
    assert_int_equal(f->sent[REPLICA_JOIN_REPLY], 0);
    replica_fixture_settle(f);
    f->nodes[2].cut = true;
    for (int i = 0; i < 20; i++) { /* what the stranger says does not keep the other alive */
        replica_fixture_pass(f, 100);
        receive(f, 1, &hear);
    }
    receive(f, 1, &join);
    replica_fixture_pass(f, 10);
    receive(f, 1, &join); /* its vote is withdrawn */
    assert_int_equal(f->sent[REPLICA_JOIN_REJECTED], 1);
    const struct replica_member *members;
    size_t count = replica_members(f->nodes[1].replica, &members);
    for (size_t i = 0; i < count; i++)
        if (members[i].id == 2)
            assert_string_equal(members[i].internal, join.internal);
}

/* Whoever begins with our own id hears of it from us, and gives up; asking ourselves is no matter. */
REPLICA_TEST(test_join__our_own_id_is_refused, 2, REPLICA_ALL)
{
    struct replica_message hear = {
        .kind = REPLICA_LEADER_QUERY, .from = 1, .internal = "10.0.0.1:2626"};
    memset(f->sent, 0, sizeof f->sent);
    receive(f, 1, &hear);
    assert_int_equal(f->sent[REPLICA_JOIN_REJECTED] + f->sent[REPLICA_LEADER_INFO], 0);
    hear.internal = "10.0.0.9:2626";
    receive(f, 1, &hear);
    assert_int_equal(f->sent[REPLICA_JOIN_REJECTED], 1);
}

/* Our address was that of a member that is gone, and what is sent there comes here. */
REPLICA_TEST(test_receive__what_we_said_ourselves_is_nothing, 2, REPLICA_ALL)
{
    for (int kind = 0; kind < REPLICA_MESSAGE_KINDS; kind++) {
        struct replica_message message = {.kind = (enum replica_message_kind)kind, .from = 1};
        bool needs_address = kind == REPLICA_JOIN || kind == REPLICA_LEADER_QUERY;
        struct replica_event event = {.kind = REPLICA_RECEIVE, .message = &message};
        memset(f->sent, 0, sizeof f->sent);
        assert_int_equal(replica_fixture_step(f, 1, &event), needs_address ? ERROR_INVALID : OK);
        for (int sent = 0; sent < REPLICA_MESSAGE_KINDS; sent++)
            assert_int_equal(f->sent[sent], 0);
        assert_int_equal(replica_fixture_role(f, 1), REPLICA_MASTER);
    }
}

/* The master was found where no list has it: it has moved, or there is no list here yet. */
REPLICA_TEST(test_join__a_master_that_has_moved_is_asked_where_it_is, 1, REPLICA_ALL)
{
    struct replica_actions actions;
    f->nodes[1].cut = true;
    f->count = 2;
    replica_fixture_start(f, 2, false);
    const struct replica_message joined = {.kind = REPLICA_JOIN_REPLY,
                                           .from = 1,
                                           .to = 2,
                                           .epoch = 65537,
                                           .cluster = {7},
                                           .join_reply = {.answer = REPLICA_SNAPSHOT,
                                                          .last = {65537, 10},
                                                          .leader = {1, 65537, "10.0.0.9:2626"}}};
    const struct replica_event event = {
        .kind = REPLICA_RECEIVE, .now_ms = f->now_ms, .message = &joined};
    assert_int_equal(replica_step(f->nodes[2].replica, &event, &actions), OK);
    bool is_asked = false;
    for (size_t i = 0; i < actions.count; i++) {
        if (actions.items[i].kind != REPLICA_DO_SEND)
            continue;
        const struct replica_message *message = &actions.items[i].message;
        assert_string_equal(message->address, joined.join_reply.leader.address);
        is_asked = is_asked || message->kind == REPLICA_SNAPSHOT_REQUEST;
    }
    assert_true(is_asked);
}

REPLICA_TEST(test_join__another_cluster_is_refused, 1, REPLICA_ALL)
{
    f->count = 2;
    memset(f->nodes[2].cluster, 9, sizeof f->nodes[2].cluster);
    struct replica_message join = join_of(2, "10.0.0.2:2625", "10.0.0.2:2626");
    memset(join.cluster, 9, sizeof join.cluster);
    replica_fixture_receive(f, 1, &join);
    assert_int_equal(f->sent[REPLICA_JOIN_REJECTED], 1);
}

/* A new node whose disk fails before it holds a list knows nobody again, whoever speaks to it. */
REPLICA_TEST(test_failed__before_the_first_list_is_on_the_disk, 2, REPLICA_ALL)
{
    f->count = 3;
    struct replica_fixture_node *node = &f->nodes[3];
    node->holds_sync = true;
    replica_fixture_start(f, 3, false);
    replica_fixture_pass(f, 300);
    assert_true(node->rows_count > 0);
    assert_int_equal(node->synced, 0);
    node->rows_count = 0;
    struct replica_state disk = {.promised = node->promised};
    memcpy(disk.cluster, node->cluster, sizeof disk.cluster);
    replica_fixture_step(f, 3, &(struct replica_event){.kind = REPLICA_FAILED, .state = &disk});
    const struct replica_member *members;
    assert_int_equal(replica_members(node->replica, &members), 0);
    node->holds_sync = false;
    replica_fixture_kill(f, 1); /* and node 2 asks node 3 whom it hears */
    replica_fixture_pass(f, 3000);
    replica_fixture_check_master(f, 2);
    assert_int_equal(replica_fixture_last(f, 3), replica_fixture_last(f, 2));
}

REPLICA_TEST(test_leave__a_slave_that_asks_has_left_for_good, 3, REPLICA_QUORUM)
{
    replica_fixture_leave(f, 3, 3);
    replica_fixture_pass(f, 1000);
    assert_int_equal(replica_fixture_role(f, 3), REPLICA_REMOVED);
    replica_fixture_kill(f, 3);
    replica_fixture_start(f, 3, false);
    replica_fixture_pass(f, 3000);
    assert_int_equal(replica_fixture_role(f, 3), REPLICA_REMOVED);
    /* Two voters are left: the cluster needs both and no third. */
    replica_fixture_write(f, 1, 1);
    assert_int_equal(f->nodes[1].committed, replica_fixture_last(f, 1));
}

REPLICA_TEST(test_leave__the_level_of_a_member_that_has_left_does_not_count, 3, REPLICA_QUORUM)
{
    f->old_node = 3;
    replica_fixture_kill(f, 3);
    replica_fixture_start(f, 3, false);
    replica_fixture_pass(f, 3000);
    assert_int_equal(replica_level(f->nodes[1].replica), REPLICA_FIXTURE_LEVEL - 1);
    replica_fixture_leave(f, 3, 3);
    replica_fixture_pass(f, 1000);
    assert_int_equal(replica_level(f->nodes[1].replica), REPLICA_FIXTURE_LEVEL);
}

REPLICA_TEST(test_leave__a_dead_member_is_removed_by_the_master, 3, REPLICA_QUORUM)
{
    replica_fixture_kill(f, 3);
    replica_fixture_pass(f, 500);
    assert_int_equal(replica_fixture_leave(f, 2, 3), ERROR_REFUSED);
    assert_int_equal(replica_fixture_leave(f, 1, 3), OK);
    replica_fixture_pass(f, 500);
    const struct replica_member *members;
    assert_int_equal(replica_members(f->nodes[2].replica, &members), 3);
    assert_true(members[2].left);
}

REPLICA_TEST(test_leave__a_master_that_leaves_is_followed_by_another, 3, REPLICA_ALL)
{
    assert_int_equal(replica_fixture_leave(f, 1, 1), OK);
    replica_fixture_pass(f, 2000);
    assert_int_equal(replica_fixture_role(f, 1), REPLICA_REMOVED);
    assert_int_equal(replica_fixture_master(f), 2);
}

/* Found by the simulator: the others know of the leaving, the master does not know that they do. */
REPLICA_TEST(test_leave__a_master_that_was_cut_off_while_leaving_is_told, 3, REPLICA_QUORUM)
{
    replica_fixture_leave(f, 1, 1);
    f->nodes[1].cut = true; /* what it has sent arrives, the acks do not */
    replica_fixture_pass(f, 700);
    assert_int_equal(replica_fixture_role(f, 2), REPLICA_MASTER);
    assert_int_equal(replica_fixture_role(f, 1), REPLICA_MASTER);
    f->nodes[1].cut = false;
    replica_fixture_pass(f, 250); /* before it would step down for want of a majority */
    assert_int_equal(replica_fixture_role(f, 1), REPLICA_REMOVED);
}

/* Found by the simulator: a leaving that is not committed may never have been. */
REPLICA_TEST(test_leave__nobody_is_told_before_it_is_committed, 4, REPLICA_QUORUM)
{
    for (uint16_t id = 1; id <= 4; id++)
        f->nodes[id].holds_sync = true;
    replica_fixture_leave(f, 1, 2);
    replica_fixture_kill(f, 2);
    replica_fixture_start(f, 2, false);
    replica_fixture_pass(f, 300);
    assert_int_not_equal(replica_fixture_role(f, 2), REPLICA_REMOVED);
    for (uint16_t id = 1; id <= 4; id++) {
        f->nodes[id].holds_sync = false;
        replica_fixture_sync(f, id);
    }
    replica_fixture_pass(f, 300);
    assert_int_equal(replica_fixture_role(f, 2), REPLICA_REMOVED);
}

TEST(test_leave__a_master_that_leaves_commits_nothing_alone)
{
    for (unsigned policy = 0; policy < 3; policy++) {
        struct replica_fixture *f = replica_fixture_new(2, (enum replica_policy)policy);
        f->nodes[2].cut = true;
        replica_fixture_leave(f, 1, 1);
        uint64_t committed = f->nodes[1].committed;
        replica_fixture_propose(f, 1, 1);
        replica_fixture_pass(f, 900);
        replica_fixture_kill(f, 2);
        replica_fixture_pass(f, 2000);
        assert_int_equal(f->nodes[1].committed, committed);
        replica_fixture_free(f);
    }
}
