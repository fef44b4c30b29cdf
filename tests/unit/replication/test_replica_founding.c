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
static struct replica_fixture *killed(unsigned count)
{
    struct replica_fixture *fixture = replica_fixture_new(count, REPLICA_ALL);
    assert_int_equal(replica_fixture_propose(fixture, 1, 1), OK);
    replica_fixture_pass(fixture, 300);
    replica_fixture_kill_all(fixture);
    replica_fixture_settle(fixture); /* nothing of theirs is still under way */
    lose_disk(fixture, 1);
    fixture->founding_wait_ms = WAIT_MS;
    for (uint16_t id = 1; id <= count; id++)
        memset(fixture->nodes[id].told, 0, sizeof fixture->nodes[id].told);
    return fixture;
}

#define KILLED_TEST(name, count) REPLICA_TEST_OPEN(name, killed(count))

static bool is_of_cluster(const struct replica_fixture *fixture, uint16_t id, int byte)
{
    return replica_cluster(fixture->nodes[id].replica)[3] == byte;
}

KILLED_TEST(test_found__alone_after_the_wait, 2)
{
    replica_fixture_start(f, 1, true);
    replica_fixture_pass(f, WAIT_MS - 100);
    assert_int_equal(replica_fixture_role(f, 1), REPLICA_LOOKING);
    assert_int_equal(f->nodes[1].told[REPLICA_FOUNDING_CLUSTER], 0);
    replica_fixture_pass(f, 200);
    assert_int_equal(replica_fixture_role(f, 1), REPLICA_MASTER);
    assert_int_equal(f->nodes[1].told[REPLICA_FOUNDING_CLUSTER], 1);
}

/* All that it was told of are there, and have nothing: it need not wait for anybody else. */
KILLED_TEST(test_found__sooner_where_all_others_are_without_data, 3)
{
    lose_disk(f, 2);
    lose_disk(f, 3);
    for (uint16_t id = 1; id <= 3; id++)
        replica_fixture_start(f, id, id == 1);
    replica_fixture_pass(f, LISTEN_MS - 100);
    assert_int_equal(replica_fixture_role(f, 1), REPLICA_LOOKING);
    replica_fixture_pass(f, 600);
    replica_fixture_check_master(f, 1);
}

/* Two are told to found one: the smaller id does. */
KILLED_TEST(test_found__two_founders, 2)
{
    lose_disk(f, 2);
    replica_fixture_start(f, 2, true);
    replica_fixture_start(f, 1, true);
    replica_fixture_pass(f, WAIT_MS + 1000);
    replica_fixture_check_master(f, 1);
    assert_int_equal(f->nodes[2].told[REPLICA_FOUNDING_CLUSTER], 0);
}

/* The others live, or come while it listens, without being told of it. */
TEST(test_found__not_beside_a_cluster)
{
    for (uint64_t late_ms = 0; late_ms < 900; late_ms += 300) {
        struct replica_fixture *f = killed(3);
        replica_fixture_start(f, 1, true);
        replica_fixture_pass(f, late_ms);
        replica_fixture_start(f, 2, false);
        replica_fixture_start(f, 3, false);
        replica_fixture_pass(f, WAIT_MS + 2000);
        assert_int_equal(f->nodes[1].told[REPLICA_FOUNDING_CLUSTER], 0);
        assert_int_equal(f->nodes[1].told[REPLICA_CLUSTER_FOUND], 1);
        replica_fixture_check_master(f, 2);
        assert_true(is_of_cluster(f, 1, 7));
        assert_int_equal(replica_fixture_last(f, 1), replica_fixture_last(f, 2));
        replica_fixture_free(f);
    }
}

/* They come too late: it gives its blank cluster up. */
KILLED_TEST(test_yield__to_a_cluster_with_data, 3)
{
    replica_fixture_start(f, 1, true);
    replica_fixture_pass(f, 13000);
    assert_int_equal(replica_fixture_role(f, 1), REPLICA_MASTER);
    replica_fixture_start(f, 2, false);
    replica_fixture_start(f, 3, false);
    replica_fixture_pass(f, 4000);
    assert_int_equal(f->nodes[1].told[REPLICA_CLUSTER_GIVEN_UP], 1);
    replica_fixture_check_master(f, 2);
    assert_true(is_of_cluster(f, 1, 7));
}

/* There is a chat in both: neither gives way, whatever is said. */
KILLED_TEST(test_yield__not_with_data, 3)
{
    replica_fixture_start(f, 1, true);
    replica_fixture_pass(f, 3000);
    assert_int_equal(replica_fixture_propose(f, 1, 1), OK);
    replica_fixture_start(f, 2, false);
    replica_fixture_start(f, 3, false);
    replica_fixture_pass(f, 4000);
    assert_true(is_of_cluster(f, 1, 21));
    assert_int_equal(replica_fixture_role(f, 1), REPLICA_MASTER);
    assert_int_equal(replica_fixture_role(f, 2), REPLICA_MASTER);
    assert_int_equal(replica_fixture_role(f, 3), REPLICA_SLAVE);
    assert_true(f->nodes[1].told[REPLICA_FOREIGN_NODE] > 0);
    assert_true(f->nodes[2].told[REPLICA_FOREIGN_NODE] > 0);
}

/* A blank cluster whose member's address was given to another one has nothing to do with that. */
REPLICA_TEST(test_yield__not_to_a_stranger, 3, REPLICA_ALL)
{
    replica_fixture_kill(f, 3);
    struct replica_message refused = {.kind = REPLICA_JOIN_REJECTED,
                                      .from = 3,
                                      .join_rejected.rejection = REPLICA_REJECTED_CLUSTER,
                                      .internal = "10.0.0.3:2626"};
    memset(refused.cluster, 9, sizeof refused.cluster);
    replica_fixture_answer(f, 1, 3, &refused);
    assert_int_equal(f->nodes[1].told[REPLICA_CLUSTER_GIVEN_UP], 0);
    refused.join_rejected.is_listed = true; /* "you are a member of ours, at this address" */
    replica_fixture_answer(f, 1, 3, &refused);
    assert_int_equal(f->nodes[1].told[REPLICA_CLUSTER_GIVEN_UP], 1);
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
REPLICA_TEST(test_join__without_data_there_is_no_vote, 3, REPLICA_QUORUM)
{
    assert_int_equal(replica_fixture_propose(f, 1, 1), OK);
    replica_fixture_pass(f, 300);
    replica_fixture_kill(f, 3);
    lose_disk(f, 3);
    assert_false(was_withdrawn(f, 3));
    replica_fixture_start(f, 3, false);
    replica_fixture_pass(f, 1000);
    assert_int_equal(replica_fixture_role(f, 3), REPLICA_SLAVE);
    assert_true(was_withdrawn(f, 3));
    assert_true(f->nodes[3].installs > 0); /* not by reading old lists one after the other */
    const struct replica_member *members;
    size_t count = replica_members(f->nodes[1].replica, &members);
    for (size_t k = 0; k < count; k++)
        assert_true(members[k].voter && members[k].in_sync);
}
