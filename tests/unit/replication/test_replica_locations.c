/* SPDX-License-Identifier: MIT */
/* Who is where: strangers at the address of a member, and members that have moved. */
#include "replica_fixture.h"
#include "support/test.h"

#include <string.h>

static struct replica_message from_other_cluster(enum replica_message_kind kind, uint16_t from)
{
    struct replica_message message = {.kind = kind, .from = from, .internal = "10.0.0.1:2626"};
    if (kind == REPLICA_JOIN)
        message.join.client = "10.0.0.1:2625";
    if (kind == REPLICA_JOIN_REJECTED)
        message.join_rejected.rejection = REPLICA_REJECTED_CLUSTER;
    memset(message.cluster, 9, sizeof message.cluster);
    return message;
}

/* All three were killed; at the address of 1 a server of another cluster answers 2 and 3. */
TEST(test_stranger__at_the_address_of_a_member)
{
    static const enum replica_policy policies[] = {REPLICA_ALL, REPLICA_QUORUM, REPLICA_LOCAL};
    for (size_t i = 0; i < 3; i++) {
        struct replica_fixture *f = replica_fixture_new(3, policies[i]);
        replica_fixture_kill_all(f);
        replica_fixture_start(f, 2, false);
        replica_fixture_start(f, 3, false);
        struct replica_message refused = from_other_cluster(REPLICA_JOIN_REJECTED, 1);
        for (size_t k = 0; k < 30; k++) {
            assert_int_equal(replica_fixture_answer(f, 2, 1, &refused), OK);
            assert_int_equal(replica_fixture_answer(f, 3, 1, &refused), OK);
            replica_fixture_pass(f, 100);
        }
        assert_int_equal(f->nodes[2].refusal, 0);
        assert_int_equal(f->nodes[3].refusal, 0);
        replica_fixture_check_master(f, 2);
        assert_true(f->nodes[2].told[REPLICA_FOREIGN_NODE] > 0);
        replica_fixture_free(f);
    }
}

/* Likewise a server that was emptied: it has no vote, and nobody waits for it. */
REPLICA_TEST(test_stranger__without_data, 3, REPLICA_QUORUM)
{
    replica_fixture_kill_all(f);
    replica_fixture_start(f, 2, false);
    struct replica_message heard = {.kind = REPLICA_LEADER_INFO,
                                    .from = 1,
                                    .leader_info.role = REPLICA_LOOKING,
                                    .internal = "10.0.0.1:2626"};
    memset(f->sent, 0, sizeof f->sent);
    for (size_t k = 0; k < 30; k++) {
        assert_int_equal(replica_fixture_answer(f, 2, 1, &heard), OK);
        replica_fixture_pass(f, 100);
    }
    assert_int_equal(replica_fixture_role(f, 2), REPLICA_LOOKING);
    assert_int_equal(f->sent[REPLICA_PREPARE], 0); /* it does not even try */
    replica_fixture_start(f, 3, false);
    replica_fixture_pass(f, 3000);
    assert_int_equal(replica_fixture_master(f), 2);
}

/* Whatever another cluster says, a node with data stays what it is. */
TEST(test_stranger__says_anything)
{
    for (int kind = 0; kind < REPLICA_MESSAGE_KINDS; kind++) {
        struct replica_fixture *f = replica_fixture_new(3, REPLICA_ALL);
        struct log_entry batch = {.kind = LOG_ENTRY_CHAT, .first_seq = 1, .last_seq = 1};
        for (uint16_t id = 1; id <= 3; id++) {
            struct replica_message message = from_other_cluster((enum replica_message_kind)kind, 2);
            message.epoch = message.promised = UINT64_C(99) << 16 | 2;
            const struct replica_leader leader = {2, message.epoch, "10.0.0.2:2626"};
            if (kind == REPLICA_APPEND)
                message.append.entry = &batch;
            if (kind == REPLICA_PONG)
                message.pong.leader = leader;
            if (kind == REPLICA_JOIN_REPLY)
                message.join_reply.leader = leader;
            if (kind == REPLICA_LEADER_INFO)
                message.leader_info.leader = leader;
            assert_int_equal(replica_fixture_receive(f, id, &message), OK);
            assert_true(replica_promised(f->nodes[id].replica) < message.epoch);
        }
        replica_fixture_pass(f, 500);
        replica_fixture_check_master(f, 1);
        replica_fixture_free(f);
    }
}

/* One with data is not ended by a refusal, and takes no part as long as it is refused. */
REPLICA_TEST(test_refused__with_data, 3, REPLICA_ALL)
{
    replica_fixture_kill(f, 3);
    replica_fixture_start(f, 3, false);
    replica_fixture_settle(f);
    struct replica_message refused = {.kind = REPLICA_JOIN_REJECTED,
                                      .from = 1,
                                      .join_rejected.rejection = REPLICA_REJECTED_ID,
                                      .internal = "10.0.0.1:2626"};
    memset(refused.cluster, 7, sizeof refused.cluster);
    f->nodes[3].cut = true;
    replica_fixture_pass(f, 20);
    assert_int_equal(replica_fixture_answer(f, 3, 1, &refused), OK);
    assert_int_equal(f->nodes[3].refusal, 0);
}

static void start_without_seeds(struct replica_fixture *fixture, uint16_t id)
{
    replica_fixture_start(fixture, id, true); /* it has a cluster, and founds none */
}

/* 1 is dead, 2 and 3 come back with each other's addresses, and nobody tells them. */
TEST(test_moved__two_have_swapped)
{
    static const enum replica_policy policies[] = {REPLICA_ALL, REPLICA_QUORUM, REPLICA_LOCAL};
    for (size_t i = 0; i < 3; i++) {
        struct replica_fixture *f = replica_fixture_new(3, policies[i]);
        for (uint16_t id = 3; id >= 1; id--)
            replica_fixture_kill(f, id);
        replica_fixture_settle(f);
        uint64_t counter = f->nodes[2].promised >> 16;
        f->hosts[2] = 3;
        f->hosts[3] = 2;
        start_without_seeds(f, 2);
        start_without_seeds(f, 3);
        replica_fixture_pass(f, 3000);
        uint16_t master = replica_fixture_master(f);
        assert_true(master == 2 || master == 3);
        assert_int_equal(replica_fixture_role(f, master == 2 ? 3 : 2), REPLICA_SLAVE);
        assert_true(f->nodes[2].told[REPLICA_MEMBER_MOVED] > 0);
        /* One election, not one after the other. */
        assert_int_equal(replica_promised(f->nodes[2].replica) >> 16, counter + 1);
        replica_fixture_pass(f, 3000);
        assert_int_equal(replica_promised(f->nodes[2].replica) >> 16, counter + 1);
        const struct replica_member *members;
        size_t count = replica_members(f->nodes[3].replica, &members);
        for (size_t k = 0; k < count; k++)
            if (members[k].id == 2)
                assert_string_equal(members[k].internal, "10.0.0.3:2626");
        replica_fixture_free(f);
    }
}

/* The master stays; 2 and 3 swap while it is the master. Both are let in again. */
REPLICA_TEST(test_moved__two_have_swapped_under_a_master, 3, REPLICA_ALL)
{
    uint64_t promised = replica_promised(f->nodes[1].replica);
    replica_fixture_kill(f, 2);
    replica_fixture_kill(f, 3);
    f->hosts[2] = 3;
    f->hosts[3] = 2;
    start_without_seeds(f, 2);
    replica_fixture_pass(f, 500);
    start_without_seeds(f, 3);
    replica_fixture_pass(f, 500);
    assert_int_equal(replica_fixture_role(f, 2), REPLICA_SLAVE);
    assert_int_equal(replica_fixture_role(f, 3), REPLICA_SLAVE);
    assert_int_equal(replica_promised(f->nodes[1].replica), promised);
    assert_int_equal(f->nodes[2].refusal, 0);
    assert_int_equal(f->nodes[3].refusal, 0);
}

/* A member that is met at another's address tells the others, who may have no other way to know. */
REPLICA_TEST(test_moved__members_tell_each_other, 3, REPLICA_ALL)
{
    replica_fixture_kill_all(f);
    replica_fixture_settle(f);
    f->hosts[3] = 9; /* nobody has had it, and 3 is told of nobody; 2 is called by it */
    start_without_seeds(f, 2);
    start_without_seeds(f, 3);
    replica_fixture_pass(f, 100);
    memset(f->sent, 0, sizeof f->sent);
    start_without_seeds(f, 1);
    replica_fixture_pass(f, 3000);
    assert_true(replica_fixture_master(f) != 0);
    for (uint16_t id = 1; id <= 3; id++)
        assert_true(replica_fixture_role(f, id) == REPLICA_SLAVE ||
                    replica_fixture_role(f, id) == REPLICA_MASTER);
}
