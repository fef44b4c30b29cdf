/* SPDX-License-Identifier: MIT */
/* How long a silence may last, by the delays before it. */
#include "replica_fixture.h"
#include "replication/silence.h"
#include "support/test.h"

#include <string.h>

static const struct silence_bounds bounds = {.due_ms = 40, .min_ms = 160, .max_ms = 500};

static uint64_t now_ms;

static void learn(struct silence *silence, uint64_t gap_ms, unsigned count)
{
    for (unsigned i = 0; i < count; i++) {
        now_ms += gap_ms;
        silence_learn(silence, &bounds, gap_ms, now_ms);
    }
}

static uint32_t limit(const struct silence *silence)
{
    return silence_limit_ms(silence, &bounds);
}

TEST(test_silence__the_longest_limit_counts_until_enough_is_learned)
{
    struct silence silence = {0};
    assert_int_equal(limit(&silence), 500);
    learn(&silence, 1, 1000); /* many gaps, and too short a time */
    assert_int_equal(limit(&silence), 500);
    assert_int_equal(silence_confirmation_ms(&silence, &bounds), 160);
    learn(&silence, 1, 1);
    assert_int_equal(limit(&silence), 160);
    struct silence rare = {0};
    learn(&rare, 100, SILENCE_LEARN_COUNT - 1); /* a long time, and too few gaps */
    assert_int_equal(limit(&rare), 500);
    learn(&rare, 40, 1);
    assert_int_equal(limit(&rare), 40 + 4 * 60);
}

TEST(test_silence__limit_is_four_times_the_longest_delay_within_the_bounds)
{
    struct silence silence = {0};
    learn(&silence, 40, 30);
    assert_int_equal(limit(&silence), 160);
    learn(&silence, 70, 1);
    assert_int_equal(limit(&silence), 160);
    learn(&silence, 71, 1);
    assert_int_equal(limit(&silence), 164);
    learn(&silence, 100, 1);
    learn(&silence, 40, 100);
    assert_int_equal(limit(&silence), 280);
    learn(&silence, 155, 1);
    assert_int_equal(limit(&silence), 500);
    learn(&silence, 499, 1);
    assert_int_equal(limit(&silence), 500);
}

TEST(test_silence__an_outage_teaches_nothing)
{
    struct silence silence = {0};
    learn(&silence, 40, 30);
    learn(&silence, 500, 50);
    learn(&silence, 60000, 1);
    assert_int_equal(limit(&silence), 160);
}

TEST(test_silence__a_delay_is_forgotten_by_half_in_six_minutes)
{
    struct silence silence = {0};
    learn(&silence, 140, 30);
    assert_int_equal(limit(&silence), 440);
    learn(&silence, 40, 6 * 60 * 25);
    assert_in_range(limit(&silence), 40 + 160, 40 + 200);
    learn(&silence, 40, 60 * 60 * 25);
    assert_int_equal(limit(&silence), 160);
    assert_in_range(silence.longest_us, 0, 1000);
    now_ms += UINT64_C(1) << 60; /* a gap in time of any length ends at once */
    learn(&silence, 40, 1);
    assert_int_equal(silence.longest_us, 0);
}

/* A longer delay would not lengthen the limit, but the time until it is forgotten. */
TEST(test_silence__keeps_no_delay_beyond_the_longest_limit)
{
    struct silence silence = {0};
    learn(&silence, 499, 30);
    assert_int_equal(silence.longest_us, (500 - 40) * 1000 / 4);
    struct silence_bounds odd = {.due_ms = 700, .min_ms = 160, .max_ms = 500};
    silence_learn(&silence, &odd, 499, now_ms);
    assert_int_equal(silence_limit_ms(&silence, &odd), 500);
}

/* ---- in a replica ---- */

static uint32_t limit_of(const struct replica_fixture *fixture, uint16_t judge, uint16_t node)
{
    struct replica_silence silence;
    return replica_silence(fixture->nodes[judge].replica, node, &silence) ? silence.limit_ms : 0;
}

REPLICA_TEST(test_silence__each_node_judges_its_master_and_its_disk, 3, REPLICA_ALL)
{
    assert_int_equal(limit_of(f, 2, 1), 500);
    replica_fixture_pass(f, 2000);
    assert_int_equal(limit_of(f, 2, 1), 180);
    assert_int_equal(limit_of(f, 2, 3), 0);
    assert_int_equal(limit_of(f, 1, 2), 0);
    assert_int_equal(limit_of(f, 2, 2), 2000);
    for (unsigned i = 0; i < 110; i++) {
        replica_fixture_write(f, 1, 1);
        replica_fixture_pass(f, 10);
    }
    assert_int_equal(limit_of(f, 1, 1), 400);
    assert_int_equal(limit_of(f, 2, 2), 400);
}

/* Returns after how many ms the nodes replace a silent master 1; 0: they have not. */
static uint64_t time_to_replace(struct replica_fixture *fixture)
{
    for (uint64_t ms = 10; ms <= 1000; ms += 10) {
        replica_fixture_pass(fixture, 10);
        for (uint16_t id = 2; id <= fixture->count; id++)
            if (replica_fixture_role(fixture, id) == REPLICA_MASTER)
                return ms;
    }
    return 0;
}

REPLICA_TEST(test_silence__two_slaves_replace_a_master_soon, 3, REPLICA_ALL)
{
    replica_fixture_pass(f, 2000);
    f->nodes[1].cut = true;
    assert_in_range(time_to_replace(f), 140, 240);
}

/* The other slave has been there for a moment only, and confirms all the same. */
REPLICA_TEST(test_silence__a_slave_that_has_just_come_confirms, 3, REPLICA_ALL)
{
    replica_fixture_kill(f, 3);
    replica_fixture_pass(f, 2000);
    replica_fixture_start(f, 3, false);
    replica_fixture_pass(f, 300);
    assert_int_equal(limit_of(f, 3, 1), 500);
    f->nodes[1].cut = true;
    assert_in_range(time_to_replace(f), 140, 240);
}

REPLICA_TEST(test_silence__a_slave_that_is_alone_waits_longer, 2, REPLICA_ALL)
{
    replica_fixture_pass(f, 2000);
    f->nodes[1].cut = true;
    replica_fixture_pass(f, 400);
    assert_int_equal(replica_fixture_role(f, 2), REPLICA_SUSPECTING);
    f->nodes[1].cut = false;
    replica_fixture_pass(f, 50);
    assert_int_equal(replica_fixture_role(f, 2), REPLICA_SLAVE);
    assert_int_equal(replica_fixture_master(f), 1);
    f->nodes[1].cut = true;
    assert_in_range(time_to_replace(f), 480, 700);
}

/* A loss of the connection that follows proves more than the silence. */
REPLICA_TEST(test_silence__a_closed_connection_ends_the_wait_of_one_that_is_alone, 2, REPLICA_ALL)
{
    replica_fixture_pass(f, 2000);
    f->nodes[1].cut = true;
    replica_fixture_pass(f, 250);
    assert_int_equal(replica_fixture_role(f, 2), REPLICA_SUSPECTING);
    replica_fixture_disconnect(f, 2, 1);
    replica_fixture_pass(f, 20);
    assert_int_equal(replica_fixture_role(f, 2), REPLICA_MASTER);
}

/* A step of node id at now_ms, as its process gets to it. */
static void tick(struct replica_fixture *fixture, uint16_t id)
{
    replica_fixture_step(fixture, id, &(struct replica_event){.kind = REPLICA_TICK});
}

/* Of each 200 ms, the judges count the 30 ms in which the next tick was due. */
REPLICA_TEST(test_silence__time_in_which_the_judge_did_not_run_does_not_count, 3, REPLICA_ALL)
{
    replica_fixture_pass(f, 2000);
    f->nodes[1].cut = true;
    for (unsigned i = 0; i < 4; i++) {
        f->now_ms += 200;
        tick(f, 2);
        tick(f, 3);
    }
    replica_fixture_settle(f);
    assert_int_equal(replica_fixture_role(f, 2), REPLICA_SLAVE);
    assert_int_equal(limit_of(f, 2, 1), 500); /* the master may be as late as its judge */
    assert_in_range(time_to_replace(f), 320, 450);
}

/* A slave that did not run answers no read from a state that may be old by then. */
REPLICA_TEST(test_silence__a_slave_that_did_not_run_has_not_heard_its_master, 2, REPLICA_ALL)
{
    replica_fixture_pass(f, 2000);
    uint64_t heard_ms = replica_master_seen_ms(f->nodes[2].replica);
    assert_in_range(heard_ms, f->now_ms - 50, f->now_ms);
    f->nodes[1].cut = true;
    f->now_ms += 5000;
    tick(f, 2);
    assert_int_equal(replica_master_seen_ms(f->nodes[2].replica), heard_ms);
    assert_int_equal(replica_fixture_role(f, 2), REPLICA_SLAVE); /* and does not suspect it */
}

REPLICA_TEST(test_silence__a_slow_disk_is_replaced_if_another_has_written, 3, REPLICA_ALL)
{
    for (unsigned i = 0; i < 120; i++) {
        replica_fixture_write(f, 1, 1);
        replica_fixture_pass(f, 10);
    }
    f->nodes[1].holds_sync = true;
    replica_fixture_write(f, 1, 1);
    replica_fixture_pass(f, 350);
    assert_int_equal(replica_fixture_role(f, 1), REPLICA_MASTER);
    replica_fixture_pass(f, 150);
    assert_int_not_equal(replica_fixture_role(f, 1), REPLICA_MASTER);
}

REPLICA_TEST(test_silence__disks_that_are_all_slow_are_no_reason_before_the_longest_limit, 3,
             REPLICA_ALL)
{
    for (unsigned i = 0; i < 120; i++) {
        replica_fixture_write(f, 1, 1);
        replica_fixture_pass(f, 10);
    }
    for (uint16_t id = 1; id <= 3; id++)
        f->nodes[id].holds_sync = true;
    replica_fixture_write(f, 1, 1);
    replica_fixture_pass(f, 900);
    assert_int_equal(replica_fixture_role(f, 1), REPLICA_MASTER);
}
