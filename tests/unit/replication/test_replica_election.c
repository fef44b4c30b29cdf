/* SPDX-License-Identifier: MIT */
/* Who is the master, with what, and what becomes of the rest. */
#include "replica_fixture.h"
#include "support/test.h"

#include <string.h>

TEST(test_election__a_killed_master_is_replaced_at_once)
{
    struct replica_fixture fixture;
    replica_fixture_open(&fixture, 3, REPLICA_ALL);
    replica_fixture_kill(&fixture, 1);
    replica_fixture_settle(&fixture);
    assert_int_equal(replica_fixture_master(&fixture), 2); /* no time has passed */
    replica_fixture_pass(&fixture, 100);
    assert_int_equal(replica_fixture_role(&fixture, 3), REPLICA_SLAVE);
    replica_fixture_close(&fixture);
}

TEST(test_election__a_silent_master_is_replaced_within_700_ms)
{
    struct replica_fixture fixture;
    replica_fixture_open(&fixture, 3, REPLICA_ALL);
    fixture.nodes[1].cut = true;
    replica_fixture_pass(&fixture, 400);
    assert_int_equal(replica_fixture_master(&fixture), 1);
    replica_fixture_pass(&fixture, 300);
    assert_int_equal(replica_fixture_role(&fixture, 2), REPLICA_MASTER);
    replica_fixture_close(&fixture);
}

TEST(test_election__one_that_lost_only_its_own_link_elects_nobody)
{
    struct replica_fixture fixture;
    replica_fixture_open(&fixture, 3, REPLICA_ALL);
    uint64_t epoch = replica_epoch(fixture.nodes[1].replica);
    fixture.nodes[2].cut = true;
    replica_fixture_pass(&fixture, 200);
    fixture.nodes[2].cut = false;
    replica_fixture_step(
        &fixture, 2,
        &(struct replica_event){.kind = REPLICA_DISCONNECTED, .address = "10.0.0.1:2626"});
    replica_fixture_pass(&fixture, 2000);
    assert_int_equal(replica_fixture_master(&fixture), 1);
    assert_int_equal(replica_epoch(fixture.nodes[1].replica), epoch);
    replica_fixture_close(&fixture);
}

TEST(test_election__a_returning_smaller_address_takes_nothing_over)
{
    struct replica_fixture fixture;
    replica_fixture_open(&fixture, 3, REPLICA_ALL);
    replica_fixture_kill(&fixture, 1);
    replica_fixture_pass(&fixture, 200);
    uint64_t epoch = replica_epoch(fixture.nodes[2].replica);
    replica_fixture_start(&fixture, 1, false);
    replica_fixture_pass(&fixture, 4000);
    assert_int_equal(replica_fixture_master(&fixture), 2);
    assert_int_equal(replica_epoch(fixture.nodes[2].replica), epoch);
    assert_int_equal(replica_fixture_role(&fixture, 1), REPLICA_SLAVE);
    replica_fixture_close(&fixture);
}

/* Node 2 has promised more than the epoch of node 1, and pings it. */
static void ping_with_higher_promise(struct replica_fixture *fixture)
{
    struct replica_message ping = {
        .kind = REPLICA_PING,
        .from = 2,
        .to = 1,
        .promised = replica_epoch(fixture->nodes[1].replica) + (1u << 16),
    };
    memcpy(ping.cluster, fixture->nodes[2].cluster, sizeof ping.cluster);
    replica_fixture_step(fixture, 1,
                         &(struct replica_event){.kind = REPLICA_RECEIVE, .message = &ping});
}

TEST(test_election__a_master_is_elected_again_above_a_promise)
{
    struct replica_fixture fixture;
    replica_fixture_open(&fixture, 3, REPLICA_ALL);
    uint64_t epoch = replica_epoch(fixture.nodes[1].replica);
    ping_with_higher_promise(&fixture);
    assert_int_equal(replica_fixture_role(&fixture, 1), REPLICA_CANDIDATE);
    replica_fixture_pass(&fixture, 1000);
    assert_int_equal(replica_fixture_master(&fixture), 1);
    assert_true(replica_epoch(fixture.nodes[1].replica) > epoch + (1u << 16));
    replica_fixture_close(&fixture);
}

TEST(test_election__a_master_with_a_hung_disk_is_not_elected_again)
{
    struct replica_fixture fixture;
    replica_fixture_open(&fixture, 3, REPLICA_ALL);
    uint64_t promised = fixture.nodes[1].promised;
    fixture.nodes[1].holds_sync = true;
    replica_fixture_propose(&fixture, 1, 1);
    replica_fixture_pass(&fixture, 2000);
    fixture.now_ms += 10; /* the ping comes before the tick that would end the epoch */
    ping_with_higher_promise(&fixture);
    assert_int_equal(replica_fixture_role(&fixture, 1), REPLICA_LOOKING);
    assert_int_equal(fixture.nodes[1].promised, promised);
    replica_fixture_close(&fixture);
}

/* A promise that takes long to reach the disk stops the whole node: by then there is a master. */
TEST(test_election__a_candidate_that_was_stopped_asks_anew)
{
    struct replica_fixture fixture;
    replica_fixture_open(&fixture, 3, REPLICA_ALL);
    ping_with_higher_promise(&fixture);
    assert_int_equal(replica_fixture_role(&fixture, 1), REPLICA_CANDIDATE);
    fixture.now_ms += 8000;
    replica_fixture_step(
        &fixture, 1,
        &(struct replica_event){.kind = REPLICA_DISCONNECTED, .address = "10.0.0.2:2626"});
    replica_fixture_step(
        &fixture, 1,
        &(struct replica_event){.kind = REPLICA_DISCONNECTED, .address = "10.0.0.3:2626"});
    assert_int_equal(replica_fixture_role(&fixture, 1), REPLICA_LOOKING);
    replica_fixture_close(&fixture);
}

TEST(test_election__the_first_server_restarted_makes_no_second_cluster)
{
    struct replica_fixture fixture;
    replica_fixture_open(&fixture, 2, REPLICA_ALL);
    replica_fixture_kill(&fixture, 1);
    replica_fixture_pass(&fixture, 500);
    replica_fixture_start(&fixture, 1, true); /* as its supervisor does */
    replica_fixture_pass(&fixture, 3000);
    assert_int_equal(replica_fixture_master(&fixture), 2);
    assert_int_equal(replica_fixture_role(&fixture, 1), REPLICA_SLAVE);
    replica_fixture_close(&fixture);
}

TEST(test_election__after_a_power_cut_the_longest_log_is_adopted)
{
    struct replica_fixture fixture;
    replica_fixture_open(&fixture, 3, REPLICA_QUORUM);
    fixture.nodes[2].cut = true; /* 2 misses what 1 and 3 commit */
    replica_fixture_propose(&fixture, 1, 3);
    replica_fixture_settle(&fixture);
    uint64_t committed = fixture.nodes[1].committed;
    assert_int_equal(committed, replica_fixture_last(&fixture, 3));
    for (uint16_t id = 1; id <= 3; id++)
        replica_fixture_kill(&fixture, id);
    fixture.nodes[2].cut = false;
    replica_fixture_start(&fixture, 2, false);
    replica_fixture_start(&fixture, 3, false);
    replica_fixture_pass(&fixture, 3000);
    assert_int_equal(replica_fixture_master(&fixture),
                     2); /* the smaller address, with the other's log */
    assert_true(replica_fixture_last(&fixture, 2) > committed);
    replica_fixture_close(&fixture);
}

TEST(test_election__quorum_of_one_of_three_waits)
{
    struct replica_fixture fixture;
    replica_fixture_open(&fixture, 3, REPLICA_QUORUM);
    replica_fixture_kill(&fixture, 1);
    replica_fixture_kill(&fixture, 2);
    replica_fixture_pass(&fixture, 5000);
    assert_int_equal(replica_fixture_master(&fixture), 0);
    replica_fixture_close(&fixture);
}

TEST(test_election__the_last_of_three_serves_in_all)
{
    struct replica_fixture fixture;
    replica_fixture_open(&fixture, 3, REPLICA_ALL);
    replica_fixture_kill(&fixture, 1);
    replica_fixture_pass(&fixture, 500);
    replica_fixture_kill(&fixture, 2);
    replica_fixture_pass(&fixture, 500);
    assert_int_equal(replica_fixture_master(&fixture), 3);
    replica_fixture_close(&fixture);
}

TEST(test_election__one_known_to_be_behind_never_epoch_starts_alone)
{
    struct replica_fixture fixture;
    replica_fixture_open(&fixture, 2, REPLICA_ALL);
    fixture.nodes[2].holds_sync = true; /* its disk hangs: it hears that it is out, and no more */
    replica_fixture_propose(&fixture, 1, 1);
    replica_fixture_pass(&fixture, 1500);
    assert_int_equal(replica_fixture_role(&fixture, 2), REPLICA_JOINING);
    replica_fixture_kill(&fixture, 1);
    fixture.nodes[2].holds_sync = false;
    replica_fixture_pass(&fixture, 5000);
    assert_int_equal(replica_fixture_master(&fixture), 0);
    replica_fixture_start(&fixture, 1, false);
    replica_fixture_pass(&fixture, 3000);
    assert_int_not_equal(replica_fixture_master(&fixture), 0);
    replica_fixture_close(&fixture);
}

/* The driver of the master has merged what node `from` has. */
static void merge_orphans(struct replica_fixture *fixture, uint16_t master, uint16_t from)
{
    replica_fixture_step(
        fixture, master,
        &(struct replica_event){.kind = REPLICA_ORPHANS_MERGED,
                                .node = from,
                                .orphan = fixture->nodes[from].orphans_count,
                                .position = replica_last(fixture->nodes[master].replica)});
}

TEST(test_heal__two_masters_meet_and_the_lower_hands_over)
{
    struct replica_fixture fixture;
    replica_fixture_open(&fixture, 3, REPLICA_ALL);
    fixture.nodes[1].cut = true;
    replica_fixture_pass(&fixture, 2000); /* both halves serve */
    assert_int_equal(replica_fixture_role(&fixture, 1), REPLICA_MASTER);
    assert_int_equal(replica_fixture_role(&fixture, 2), REPLICA_MASTER);
    replica_fixture_propose(&fixture, 1, 5);
    replica_fixture_propose(&fixture, 2, 2);
    replica_fixture_settle(&fixture);
    assert_int_equal(fixture.nodes[1].committed, replica_fixture_last(&fixture, 1));
    fixture.nodes[1].cut = false;
    replica_fixture_pass(&fixture, 1000);
    assert_int_equal(replica_fixture_master(&fixture), 2);
    assert_int_equal(fixture.nodes[1].installs, 1);
    assert_int_equal(replica_fixture_last(&fixture, 1), replica_fixture_last(&fixture, 2));
    assert_true(fixture.nodes[2].orphans_merged > 0);
    assert_true(fixture.nodes[1].orphans_count > 0); /* kept until all have them */
    replica_fixture_propose(&fixture, 2, 1);
    merge_orphans(&fixture, 2, 1);
    replica_fixture_pass(&fixture, 500);
    assert_int_equal(fixture.nodes[1].orphans_count, 0);
    replica_fixture_close(&fixture);
}

/* The entries that they became must be in its own log: another master may not have them. */
TEST(test_heal__orphans_are_kept_until_their_entries_are_durable)
{
    struct replica_fixture fixture;
    replica_fixture_open(&fixture, 3, REPLICA_LOCAL);
    fixture.nodes[1].cut = true;
    replica_fixture_pass(&fixture, 2000);
    replica_fixture_propose(&fixture, 1, 5);
    replica_fixture_settle(&fixture);
    fixture.nodes[1].cut = false;
    replica_fixture_pass(&fixture, 2000);
    assert_int_equal(replica_fixture_master(&fixture), 2);
    fixture.nodes[1].holds_sync = true;
    replica_fixture_propose(&fixture, 2, 1);
    merge_orphans(&fixture, 2, 1);
    size_t offers = fixture.nodes[2].orphans_merged;
    replica_fixture_pass(&fixture, 500);
    assert_true(fixture.nodes[2].committed == replica_fixture_last(&fixture, 2));
    assert_true(fixture.nodes[1].orphans_count > 0);
    assert_int_equal(fixture.nodes[2].orphans_merged, offers); /* they are not offered again */
    fixture.nodes[1].holds_sync = false;
    replica_fixture_pass(&fixture, 1000);
    assert_int_equal(fixture.nodes[1].orphans_count, 0);
    replica_fixture_close(&fixture);
}

TEST(test_needed__what_an_absent_voter_lacks)
{
    for (int is_removed = 0; is_removed < 2; is_removed++) {
        struct replica_fixture fixture;
        replica_fixture_open(&fixture, 3, REPLICA_ALL);
        replica_fixture_pass(&fixture, 500);
        replica_fixture_kill(&fixture, 3);
        replica_fixture_pass(&fixture, 1000);
        const struct replica *master = fixture.nodes[1].replica;
        uint64_t needed = replica_needed_seq(master);
        replica_fixture_propose(&fixture, 1, 5);
        replica_fixture_pass(&fixture, 5000);
        assert_int_equal(replica_needed_seq(master), needed);
        assert_int_equal(replica_slowest_member(master), 3);
        if (is_removed)
            replica_fixture_step(&fixture, 1,
                                 &(struct replica_event){.kind = REPLICA_LEAVE_NODE, .node = 3});
        else
            replica_fixture_start(&fixture, 3, false);
        replica_fixture_pass(&fixture, 2000);
        assert_int_equal(replica_needed_seq(master), replica_last(master).seq);
        assert_int_equal(replica_slowest_member(master), 0);
        replica_fixture_close(&fixture);
    }
}
