/* SPDX-License-Identifier: MIT */
/* Who is the master, with what, and what becomes of the rest. */
#include "replica_fixture.h"
#include "support/test.h"

#include <string.h>

REPLICA_TEST(test_election__a_killed_master_is_replaced_at_once, 3, REPLICA_ALL)
{
    replica_fixture_kill(f, 1);
    replica_fixture_settle(f);
    assert_int_equal(replica_fixture_master(f), 2); /* no time has passed */
    replica_fixture_pass(f, 100);
    assert_int_equal(replica_fixture_role(f, 3), REPLICA_SLAVE);
}

REPLICA_TEST(test_election__a_silent_master_is_replaced_within_700_ms, 3, REPLICA_ALL)
{
    f->nodes[1].cut = true;
    replica_fixture_pass(f, 400);
    assert_int_equal(replica_fixture_master(f), 1);
    replica_fixture_pass(f, 300);
    assert_int_equal(replica_fixture_role(f, 2), REPLICA_MASTER);
}

REPLICA_TEST(test_election__one_that_lost_only_its_own_link_elects_nobody, 3, REPLICA_ALL)
{
    uint64_t epoch = replica_epoch(f->nodes[1].replica);
    f->nodes[2].cut = true;
    replica_fixture_pass(f, 200);
    f->nodes[2].cut = false;
    replica_fixture_disconnect(f, 2, 1);
    replica_fixture_pass(f, 2000);
    assert_int_equal(replica_fixture_master(f), 1);
    assert_int_equal(replica_epoch(f->nodes[1].replica), epoch);
}

REPLICA_TEST(test_election__a_returning_smaller_address_takes_nothing_over, 3, REPLICA_ALL)
{
    replica_fixture_kill(f, 1);
    replica_fixture_pass(f, 200);
    uint64_t epoch = replica_epoch(f->nodes[2].replica);
    replica_fixture_start(f, 1, false);
    replica_fixture_pass(f, 4000);
    assert_int_equal(replica_fixture_master(f), 2);
    assert_int_equal(replica_epoch(f->nodes[2].replica), epoch);
    assert_int_equal(replica_fixture_role(f, 1), REPLICA_SLAVE);
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
    replica_fixture_receive(fixture, 1, &ping);
}

REPLICA_TEST(test_election__a_master_is_elected_again_above_a_promise, 3, REPLICA_ALL)
{
    uint64_t epoch = replica_epoch(f->nodes[1].replica);
    ping_with_higher_promise(f);
    assert_int_equal(replica_fixture_role(f, 1), REPLICA_CANDIDATE);
    replica_fixture_pass(f, 1000);
    assert_int_equal(replica_fixture_master(f), 1);
    assert_true(replica_epoch(f->nodes[1].replica) > epoch + (1u << 16));
}

/* A member in sync whose last ack is old gets the whole ack timeout of the new epoch. */
REPLICA_TEST(test_election__a_new_master_waits_for_the_acks_of_its_members, 2, REPLICA_ALL)
{
    replica_fixture_pass(f, 2000);
    ping_with_higher_promise(f);
    f->nodes[2].cut = true;
    struct replica_message promise = {
        .kind = REPLICA_PROMISE,
        .from = 2,
        .to = 1,
        .epoch = replica_promised(f->nodes[1].replica),
        .promise = {.granted = true, .durable = replica_last(f->nodes[1].replica)}};
    memcpy(promise.cluster, f->nodes[1].cluster, sizeof promise.cluster);
    replica_fixture_receive(f, 1, &promise);
    assert_int_equal(replica_fixture_role(f, 1), REPLICA_MASTER);
    uint64_t before = f->nodes[1].committed;
    replica_fixture_pass(f, 900);
    assert_int_equal(f->nodes[1].committed, before);
    replica_fixture_pass(f, 200);
    assert_true(f->nodes[1].committed > before);
}

REPLICA_TEST(test_election__a_master_with_a_hung_disk_is_not_elected_again, 3, REPLICA_ALL)
{
    uint64_t promised = f->nodes[1].promised;
    f->nodes[1].holds_sync = true;
    replica_fixture_propose(f, 1, 1);
    replica_fixture_pass(f, 2000);
    f->now_ms += 10; /* the ping comes before the tick that would end the epoch */
    ping_with_higher_promise(f);
    assert_int_equal(replica_fixture_role(f, 1), REPLICA_LOOKING);
    assert_int_equal(f->nodes[1].promised, promised);
}

/* A promise that takes long to reach the disk stops the whole node: by then there is a master. */
REPLICA_TEST(test_election__a_candidate_that_was_stopped_asks_anew, 3, REPLICA_ALL)
{
    ping_with_higher_promise(f);
    assert_int_equal(replica_fixture_role(f, 1), REPLICA_CANDIDATE);
    f->now_ms += 8000;
    replica_fixture_disconnect(f, 1, 2);
    replica_fixture_disconnect(f, 1, 3);
    assert_int_equal(replica_fixture_role(f, 1), REPLICA_LOOKING);
}

REPLICA_TEST(test_election__the_first_server_restarted_makes_no_second_cluster, 2, REPLICA_ALL)
{
    replica_fixture_kill(f, 1);
    replica_fixture_pass(f, 500);
    replica_fixture_start(f, 1, true); /* as its supervisor does */
    replica_fixture_pass(f, 3000);
    replica_fixture_check_master(f, 2);
}

REPLICA_TEST(test_election__after_a_power_cut_the_longest_log_is_adopted, 3, REPLICA_QUORUM)
{
    f->nodes[2].cut = true; /* 2 misses what 1 and 3 commit */
    replica_fixture_write(f, 1, 3);
    uint64_t committed = f->nodes[1].committed;
    assert_int_equal(committed, replica_fixture_last(f, 3));
    replica_fixture_kill_all(f);
    f->nodes[2].cut = false;
    replica_fixture_start(f, 2, false);
    replica_fixture_start(f, 3, false);
    replica_fixture_pass(f, 3000);
    assert_int_equal(replica_fixture_master(f), 2); /* the smaller address, with the other's log */
    assert_true(replica_fixture_last(f, 2) > committed);
}

REPLICA_TEST(test_election__quorum_of_one_of_three_waits, 3, REPLICA_QUORUM)
{
    replica_fixture_kill(f, 1);
    replica_fixture_kill(f, 2);
    replica_fixture_pass(f, 5000);
    assert_int_equal(replica_fixture_master(f), 0);
}

REPLICA_TEST(test_election__the_last_of_three_serves_in_all, 3, REPLICA_ALL)
{
    replica_fixture_kill(f, 1);
    replica_fixture_pass(f, 500);
    replica_fixture_kill(f, 2);
    replica_fixture_pass(f, 500);
    assert_int_equal(replica_fixture_master(f), 3);
}

REPLICA_TEST(test_election__one_known_to_be_behind_never_epoch_starts_alone, 2, REPLICA_ALL)
{
    f->nodes[2].holds_sync = true; /* its disk hangs: it hears that it is out, and no more */
    replica_fixture_propose(f, 1, 1);
    replica_fixture_pass(f, 1500);
    assert_int_equal(replica_fixture_role(f, 2), REPLICA_JOINING);
    replica_fixture_kill(f, 1);
    f->nodes[2].holds_sync = false;
    replica_fixture_pass(f, 5000);
    assert_int_equal(replica_fixture_master(f), 0);
    replica_fixture_start(f, 1, false);
    replica_fixture_pass(f, 3000);
    assert_int_not_equal(replica_fixture_master(f), 0);
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

REPLICA_TEST(test_heal__two_masters_meet_and_the_lower_hands_over, 3, REPLICA_ALL)
{
    f->nodes[1].cut = true;
    replica_fixture_pass(f, 2000); /* both halves serve */
    assert_int_equal(replica_fixture_role(f, 1), REPLICA_MASTER);
    assert_int_equal(replica_fixture_role(f, 2), REPLICA_MASTER);
    replica_fixture_propose(f, 1, 5);
    replica_fixture_write(f, 2, 2);
    assert_int_equal(f->nodes[1].committed, replica_fixture_last(f, 1));
    f->nodes[1].cut = false;
    replica_fixture_pass(f, 1000);
    assert_int_equal(replica_fixture_master(f), 2);
    assert_int_equal(f->nodes[1].installs, 1);
    assert_int_equal(replica_fixture_last(f, 1), replica_fixture_last(f, 2));
    assert_true(f->nodes[2].orphans_merged > 0);
    assert_true(f->nodes[1].orphans_count > 0); /* kept until all have them */
    replica_fixture_propose(f, 2, 1);
    merge_orphans(f, 2, 1);
    replica_fixture_pass(f, 500);
    assert_int_equal(f->nodes[1].orphans_count, 0);
}

/* The entries that they became must be in its own log: another master may not have them. */
REPLICA_TEST(test_heal__orphans_are_kept_until_their_entries_are_durable, 3, REPLICA_LOCAL)
{
    f->nodes[1].cut = true;
    replica_fixture_pass(f, 2000);
    replica_fixture_write(f, 1, 5);
    f->nodes[1].cut = false;
    replica_fixture_pass(f, 2000);
    assert_int_equal(replica_fixture_master(f), 2);
    f->nodes[1].holds_sync = true;
    replica_fixture_propose(f, 2, 1);
    merge_orphans(f, 2, 1);
    size_t offers = f->nodes[2].orphans_merged;
    replica_fixture_pass(f, 500);
    assert_true(f->nodes[2].committed == replica_fixture_last(f, 2));
    assert_true(f->nodes[1].orphans_count > 0);
    assert_int_equal(f->nodes[2].orphans_merged, offers); /* they are not offered again */
    f->nodes[1].holds_sync = false;
    replica_fixture_pass(f, 1000);
    assert_int_equal(f->nodes[1].orphans_count, 0);
}

TEST(test_needed__what_an_absent_voter_lacks)
{
    for (int is_removed = 0; is_removed < 2; is_removed++) {
        struct replica_fixture *f = replica_fixture_new(3, REPLICA_ALL);
        replica_fixture_pass(f, 500);
        replica_fixture_kill(f, 3);
        replica_fixture_pass(f, 1000);
        const struct replica *master = f->nodes[1].replica;
        uint64_t needed = replica_needed_seq(master);
        replica_fixture_propose(f, 1, 5);
        replica_fixture_pass(f, 5000);
        assert_int_equal(replica_needed_seq(master), needed);
        assert_int_equal(replica_slowest_member(master), 3);
        if (is_removed)
            replica_fixture_leave(f, 1, 3);
        else
            replica_fixture_start(f, 3, false);
        replica_fixture_pass(f, 2000);
        assert_int_equal(replica_needed_seq(master), replica_last(master).seq);
        assert_int_equal(replica_slowest_member(master), 0);
        replica_fixture_free(f);
    }
}
