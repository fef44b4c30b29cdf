/* SPDX-License-Identifier: MIT */
/* Founding a cluster, and not founding one beside another. */
#include "replica_fixture.h"
#include "support/test.h"

#include <string.h>

#define WAIT_MS 2000 /* given as founding_wait_ms */
#define LISTEN_MS 1000

static void lose_disk(struct replica_fixture *fixture, uint16_t id)
{
    struct replica_fixture_node *node = &fixture->nodes[id];
    node->rows_count = node->synced = 0;
    node->promised = 0;
    memset(node->cluster, 0, sizeof node->cluster);
}

/* Nodes of one cluster, with something of a chat, all killed; 1 has lost its disk. */
static void open_killed(struct replica_fixture *fixture, unsigned count)
{
    replica_fixture_open(fixture, count, REPLICA_ALL);
    assert_int_equal(replica_fixture_propose(fixture, 1, 1), OK);
    replica_fixture_pass(fixture, 300);
    for (uint16_t id = 1; id <= count; id++)
        replica_fixture_kill(fixture, id);
    replica_fixture_settle(fixture); /* nothing of theirs is still under way */
    lose_disk(fixture, 1);
    fixture->founding_wait_ms = WAIT_MS;
    for (uint16_t id = 1; id <= count; id++)
        memset(fixture->nodes[id].told, 0, sizeof fixture->nodes[id].told);
}

static bool is_of_cluster(const struct replica_fixture *fixture, uint16_t id, int byte)
{
    return replica_cluster(fixture->nodes[id].replica)[3] == byte;
}

TEST(test_found__alone_after_the_wait)
{
    struct replica_fixture fixture;
    open_killed(&fixture, 2);
    replica_fixture_start(&fixture, 1, true);
    replica_fixture_pass(&fixture, WAIT_MS - 100);
    assert_int_equal(replica_fixture_role(&fixture, 1), REPLICA_LOOKING);
    assert_int_equal(fixture.nodes[1].told[REPLICA_FOUNDING_CLUSTER], 0);
    replica_fixture_pass(&fixture, 200);
    assert_int_equal(replica_fixture_role(&fixture, 1), REPLICA_MASTER);
    assert_int_equal(fixture.nodes[1].told[REPLICA_FOUNDING_CLUSTER], 1);
    replica_fixture_close(&fixture);
}

/* All that it was told of are there, and have nothing: it need not wait for anybody else. */
TEST(test_found__sooner_where_all_others_are_without_data)
{
    struct replica_fixture fixture;
    open_killed(&fixture, 3);
    lose_disk(&fixture, 2);
    lose_disk(&fixture, 3);
    for (uint16_t id = 1; id <= 3; id++)
        replica_fixture_start(&fixture, id, id == 1);
    replica_fixture_pass(&fixture, LISTEN_MS - 100);
    assert_int_equal(replica_fixture_role(&fixture, 1), REPLICA_LOOKING);
    replica_fixture_pass(&fixture, 600);
    assert_int_equal(replica_fixture_master(&fixture), 1);
    assert_int_equal(replica_fixture_role(&fixture, 2), REPLICA_SLAVE);
    assert_int_equal(replica_fixture_role(&fixture, 3), REPLICA_SLAVE);
    replica_fixture_close(&fixture);
}

/* Two are told to found one: the smaller id does. */
TEST(test_found__two_founders)
{
    struct replica_fixture fixture;
    open_killed(&fixture, 2);
    lose_disk(&fixture, 2);
    replica_fixture_start(&fixture, 2, true);
    replica_fixture_start(&fixture, 1, true);
    replica_fixture_pass(&fixture, WAIT_MS + 1000);
    assert_int_equal(replica_fixture_master(&fixture), 1);
    assert_int_equal(replica_fixture_role(&fixture, 2), REPLICA_SLAVE);
    assert_int_equal(fixture.nodes[2].told[REPLICA_FOUNDING_CLUSTER], 0);
    replica_fixture_close(&fixture);
}

/* The others live, or come while it listens, without being told of it. */
TEST(test_found__not_beside_a_cluster)
{
    for (uint64_t late_ms = 0; late_ms < 900; late_ms += 300) {
        struct replica_fixture fixture;
        open_killed(&fixture, 3);
        replica_fixture_start(&fixture, 1, true);
        replica_fixture_pass(&fixture, late_ms);
        replica_fixture_start(&fixture, 2, false);
        replica_fixture_start(&fixture, 3, false);
        replica_fixture_pass(&fixture, WAIT_MS + 2000);
        assert_int_equal(fixture.nodes[1].told[REPLICA_FOUNDING_CLUSTER], 0);
        assert_int_equal(fixture.nodes[1].told[REPLICA_CLUSTER_FOUND], 1);
        assert_int_equal(replica_fixture_master(&fixture), 2);
        assert_int_equal(replica_fixture_role(&fixture, 1), REPLICA_SLAVE);
        assert_true(is_of_cluster(&fixture, 1, 7));
        assert_int_equal(replica_fixture_last(&fixture, 1), replica_fixture_last(&fixture, 2));
        replica_fixture_close(&fixture);
    }
}

/* They come too late: it gives its blank cluster up. */
TEST(test_yield__to_a_cluster_with_data)
{
    struct replica_fixture fixture;
    open_killed(&fixture, 3);
    replica_fixture_start(&fixture, 1, true);
    replica_fixture_pass(&fixture, 13000);
    assert_int_equal(replica_fixture_role(&fixture, 1), REPLICA_MASTER);
    replica_fixture_start(&fixture, 2, false);
    replica_fixture_start(&fixture, 3, false);
    replica_fixture_pass(&fixture, 4000);
    assert_int_equal(fixture.nodes[1].told[REPLICA_CLUSTER_GIVEN_UP], 1);
    assert_int_equal(replica_fixture_master(&fixture), 2);
    assert_int_equal(replica_fixture_role(&fixture, 1), REPLICA_SLAVE);
    assert_true(is_of_cluster(&fixture, 1, 7));
    replica_fixture_close(&fixture);
}

/* There is a chat in both: neither gives way, whatever is said. */
TEST(test_yield__not_with_data)
{
    struct replica_fixture fixture;
    open_killed(&fixture, 3);
    replica_fixture_start(&fixture, 1, true);
    replica_fixture_pass(&fixture, 3000);
    assert_int_equal(replica_fixture_propose(&fixture, 1, 1), OK);
    replica_fixture_start(&fixture, 2, false);
    replica_fixture_start(&fixture, 3, false);
    replica_fixture_pass(&fixture, 4000);
    assert_true(is_of_cluster(&fixture, 1, 21));
    assert_int_equal(replica_fixture_role(&fixture, 1), REPLICA_MASTER);
    assert_int_equal(replica_fixture_role(&fixture, 2), REPLICA_MASTER);
    assert_int_equal(replica_fixture_role(&fixture, 3), REPLICA_SLAVE);
    assert_true(fixture.nodes[1].told[REPLICA_FOREIGN_NODE] > 0);
    assert_true(fixture.nodes[2].told[REPLICA_FOREIGN_NODE] > 0);
    replica_fixture_close(&fixture);
}

/* A blank cluster whose member's address was given to another one has nothing to do with that. */
TEST(test_yield__not_to_a_stranger)
{
    struct replica_fixture fixture;
    replica_fixture_open(&fixture, 3, REPLICA_ALL);
    replica_fixture_kill(&fixture, 3);
    struct replica_message refused = {.kind = REPLICA_JOIN_REJECTED,
                                      .from = 3,
                                      .join_rejected.rejection = REPLICA_REJECTED_CLUSTER,
                                      .internal = "10.0.0.3:2626"};
    memset(refused.cluster, 9, sizeof refused.cluster);
    replica_fixture_step(&fixture, 1,
                         &(struct replica_event){.kind = REPLICA_RECEIVE,
                                                 .message = &refused,
                                                 .address = "10.0.0.3:2626"});
    assert_int_equal(fixture.nodes[1].told[REPLICA_CLUSTER_GIVEN_UP], 0);
    refused.join_rejected.is_listed = true; /* "you are a member of ours, at this address" */
    replica_fixture_step(&fixture, 1,
                         &(struct replica_event){.kind = REPLICA_RECEIVE,
                                                 .message = &refused,
                                                 .address = "10.0.0.3:2626"});
    assert_int_equal(fixture.nodes[1].told[REPLICA_CLUSTER_GIVEN_UP], 1);
    replica_fixture_close(&fixture);
}

/* Whether a list in the log of the master has the node as no voter, after one that has it as one. */
static bool was_withdrawn(const struct replica_fixture *fixture, uint16_t id)
{
    static struct replica_member members[REPLICA_MEMBERS_MAX];
    bool had_vote = false;
    bool was_taken = false;
    for (size_t i = 0; i < fixture->nodes[1].rows_count; i++) {
        const struct log_entry *row = &fixture->nodes[1].rows[i];
        size_t count = 0;
        if (row->kind == LOG_ENTRY_MEMBERS)
            assert_int_equal(replica_members_unpack(row->bytes, row->size, members, &count), OK);
        for (size_t k = 0; k < count; k++) {
            was_taken = was_taken || (members[k].id == id && had_vote && !members[k].voter);
            had_vote = had_vote || (members[k].id == id && members[k].voter);
        }
    }
    return was_taken;
}

/* Its vote would count for what it has no longer: it is a voter again when it has everything. */
TEST(test_join__without_data_there_is_no_vote)
{
    struct replica_fixture fixture;
    replica_fixture_open(&fixture, 3, REPLICA_QUORUM);
    assert_int_equal(replica_fixture_propose(&fixture, 1, 1), OK);
    replica_fixture_pass(&fixture, 300);
    replica_fixture_kill(&fixture, 3);
    lose_disk(&fixture, 3);
    assert_false(was_withdrawn(&fixture, 3));
    replica_fixture_start(&fixture, 3, false);
    replica_fixture_pass(&fixture, 1000);
    assert_int_equal(replica_fixture_role(&fixture, 3), REPLICA_SLAVE);
    assert_true(was_withdrawn(&fixture, 3));
    assert_true(fixture.nodes[3].installs > 0); /* not by reading old lists one after the other */
    const struct replica_member *members;
    size_t count = replica_members(fixture.nodes[1].replica, &members);
    for (size_t k = 0; k < count; k++)
        assert_true(members[k].voter && members[k].in_sync);
    replica_fixture_close(&fixture);
}
