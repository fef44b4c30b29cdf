/* SPDX-License-Identifier: MIT */
/* Who is where: strangers at the address of a member, and members that have moved. */
#include "replica_fixture.h"
#include "support/test.h"

#include <string.h>

/* An answer to what was asked at the address of node `at`. */
static void answer(struct replica_fixture *fixture, uint16_t to, uint16_t at,
                   struct replica_message *message)
{
    char address[32];
    replica_fixture_address(fixture, at, address);
    assert_int_equal(replica_fixture_step(fixture, to,
                                          &(struct replica_event){.kind = REPLICA_RECEIVE,
                                                                  .message = message,
                                                                  .address = address}),
                     OK);
}

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
        struct replica_fixture fixture;
        replica_fixture_open(&fixture, 3, policies[i]);
        for (uint16_t id = 1; id <= 3; id++)
            replica_fixture_kill(&fixture, id);
        replica_fixture_start(&fixture, 2, false);
        replica_fixture_start(&fixture, 3, false);
        struct replica_message refused = from_other_cluster(REPLICA_JOIN_REJECTED, 1);
        for (size_t k = 0; k < 30; k++) {
            answer(&fixture, 2, 1, &refused);
            answer(&fixture, 3, 1, &refused);
            replica_fixture_pass(&fixture, 100);
        }
        assert_int_equal(fixture.nodes[2].refusal, 0);
        assert_int_equal(fixture.nodes[3].refusal, 0);
        assert_int_equal(replica_fixture_master(&fixture), 2);
        assert_int_equal(replica_fixture_role(&fixture, 3), REPLICA_SLAVE);
        assert_true(fixture.nodes[2].told[REPLICA_FOREIGN_NODE] > 0);
        replica_fixture_close(&fixture);
    }
}

/* Likewise a server that was emptied: it has no vote, and nobody waits for it. */
TEST(test_stranger__without_data)
{
    struct replica_fixture fixture;
    replica_fixture_open(&fixture, 3, REPLICA_QUORUM);
    replica_fixture_kill(&fixture, 1);
    replica_fixture_kill(&fixture, 2);
    replica_fixture_kill(&fixture, 3);
    replica_fixture_start(&fixture, 2, false);
    struct replica_message heard = {.kind = REPLICA_LEADER_INFO,
                                    .from = 1,
                                    .leader_info.role = REPLICA_LOOKING,
                                    .internal = "10.0.0.1:2626"};
    memset(fixture.sent, 0, sizeof fixture.sent);
    for (size_t k = 0; k < 30; k++) {
        answer(&fixture, 2, 1, &heard);
        replica_fixture_pass(&fixture, 100);
    }
    assert_int_equal(replica_fixture_role(&fixture, 2), REPLICA_LOOKING);
    assert_int_equal(fixture.sent[REPLICA_PREPARE], 0); /* it does not even try */
    replica_fixture_start(&fixture, 3, false);
    replica_fixture_pass(&fixture, 3000);
    assert_int_equal(replica_fixture_master(&fixture), 2);
    replica_fixture_close(&fixture);
}

/* Whatever another cluster says, a node with data stays what it is. */
TEST(test_stranger__says_anything)
{
    for (int kind = 0; kind < REPLICA_MESSAGE_KINDS; kind++) {
        struct replica_fixture fixture;
        replica_fixture_open(&fixture, 3, REPLICA_ALL);
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
            assert_int_equal(replica_fixture_step(&fixture, id,
                                                  &(struct replica_event){.kind = REPLICA_RECEIVE,
                                                                          .message = &message}),
                             OK);
            assert_true(replica_promised(fixture.nodes[id].replica) < message.epoch);
        }
        replica_fixture_pass(&fixture, 500);
        assert_int_equal(replica_fixture_master(&fixture), 1);
        assert_int_equal(replica_fixture_role(&fixture, 2), REPLICA_SLAVE);
        assert_int_equal(replica_fixture_role(&fixture, 3), REPLICA_SLAVE);
        replica_fixture_close(&fixture);
    }
}

/* One with data is not ended by a refusal, and takes no part as long as it is refused. */
TEST(test_refused__with_data)
{
    struct replica_fixture fixture;
    replica_fixture_open(&fixture, 3, REPLICA_ALL);
    replica_fixture_kill(&fixture, 3);
    replica_fixture_start(&fixture, 3, false);
    replica_fixture_settle(&fixture);
    struct replica_message refused = {.kind = REPLICA_JOIN_REJECTED,
                                      .from = 1,
                                      .join_rejected.rejection = REPLICA_REJECTED_ID,
                                      .internal = "10.0.0.1:2626"};
    memset(refused.cluster, 7, sizeof refused.cluster);
    fixture.nodes[3].cut = true;
    replica_fixture_pass(&fixture, 20);
    answer(&fixture, 3, 1, &refused);
    assert_int_equal(fixture.nodes[3].refusal, 0);
    replica_fixture_close(&fixture);
}

/* ---- members that have moved ---- */

static void start_without_seeds(struct replica_fixture *fixture, uint16_t id)
{
    replica_fixture_start(fixture, id, true); /* it has a cluster, and founds none */
}

/* 1 is dead, 2 and 3 come back with each other's addresses, and nobody tells them. */
TEST(test_moved__two_have_swapped)
{
    static const enum replica_policy policies[] = {REPLICA_ALL, REPLICA_QUORUM, REPLICA_LOCAL};
    for (size_t i = 0; i < 3; i++) {
        struct replica_fixture fixture;
        replica_fixture_open(&fixture, 3, policies[i]);
        for (uint16_t id = 3; id >= 1; id--)
            replica_fixture_kill(&fixture, id);
        replica_fixture_settle(&fixture);
        uint64_t counter = fixture.nodes[2].promised >> 16;
        fixture.hosts[2] = 3;
        fixture.hosts[3] = 2;
        start_without_seeds(&fixture, 2);
        start_without_seeds(&fixture, 3);
        replica_fixture_pass(&fixture, 3000);
        uint16_t master = replica_fixture_master(&fixture);
        assert_true(master == 2 || master == 3);
        assert_int_equal(replica_fixture_role(&fixture, master == 2 ? 3 : 2), REPLICA_SLAVE);
        assert_true(fixture.nodes[2].told[REPLICA_MEMBER_MOVED] > 0);
        /* One election, not one after the other. */
        assert_int_equal(replica_promised(fixture.nodes[2].replica) >> 16, counter + 1);
        replica_fixture_pass(&fixture, 3000);
        assert_int_equal(replica_promised(fixture.nodes[2].replica) >> 16, counter + 1);
        const struct replica_member *members;
        size_t count = replica_members(fixture.nodes[3].replica, &members);
        for (size_t k = 0; k < count; k++)
            if (members[k].id == 2)
                assert_string_equal(members[k].internal, "10.0.0.3:2626");
        replica_fixture_close(&fixture);
    }
}

/* The master stays; 2 and 3 swap while it is the master. Both are let in again. */
TEST(test_moved__two_have_swapped_under_a_master)
{
    struct replica_fixture fixture;
    replica_fixture_open(&fixture, 3, REPLICA_ALL);
    uint64_t promised = replica_promised(fixture.nodes[1].replica);
    replica_fixture_kill(&fixture, 2);
    replica_fixture_kill(&fixture, 3);
    fixture.hosts[2] = 3;
    fixture.hosts[3] = 2;
    start_without_seeds(&fixture, 2);
    replica_fixture_pass(&fixture, 500);
    start_without_seeds(&fixture, 3);
    replica_fixture_pass(&fixture, 500);
    assert_int_equal(replica_fixture_role(&fixture, 2), REPLICA_SLAVE);
    assert_int_equal(replica_fixture_role(&fixture, 3), REPLICA_SLAVE);
    assert_int_equal(replica_promised(fixture.nodes[1].replica), promised);
    assert_int_equal(fixture.nodes[2].refusal, 0);
    assert_int_equal(fixture.nodes[3].refusal, 0);
    replica_fixture_close(&fixture);
}

/* A member that is met at another's address tells the others, who may have no other way to know. */
TEST(test_moved__members_tell_each_other)
{
    struct replica_fixture fixture;
    replica_fixture_open(&fixture, 3, REPLICA_ALL);
    for (uint16_t id = 1; id <= 3; id++)
        replica_fixture_kill(&fixture, id);
    replica_fixture_settle(&fixture);
    fixture.hosts[3] = 9; /* nobody has had it, and 3 is told of nobody; 2 is called by it */
    start_without_seeds(&fixture, 2);
    start_without_seeds(&fixture, 3);
    replica_fixture_pass(&fixture, 100);
    memset(fixture.sent, 0, sizeof fixture.sent);
    start_without_seeds(&fixture, 1);
    replica_fixture_pass(&fixture, 3000);
    assert_true(replica_fixture_master(&fixture) != 0);
    for (uint16_t id = 1; id <= 3; id++)
        assert_true(replica_fixture_role(&fixture, id) == REPLICA_SLAVE ||
                    replica_fixture_role(&fixture, id) == REPLICA_MASTER);
    replica_fixture_close(&fixture);
}
