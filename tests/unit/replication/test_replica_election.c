/* SPDX-License-Identifier: MIT */
/* Who reigns, with what, and what becomes of the rest. */
#include "test_replica_bench.h"

#include <setjmp.h>
#include <stdarg.h>
#include <string.h>

#include <cmocka.h>

static void test_election__a_killed_master_is_replaced_at_once(void **state)
{
    (void)state;
    struct bench bench;
    bench_open(&bench, 3, REPLICA_ALL);
    bench_kill(&bench, 1);
    bench_settle(&bench);
    assert_int_equal(bench_master(&bench), 2); /* no time has passed */
    bench_pass(&bench, 100);
    assert_int_equal(bench_role(&bench, 3), REPLICA_SLAVE);
    bench_close(&bench);
}

static void test_election__a_silent_master_is_replaced_within_700_ms(void **state)
{
    (void)state;
    struct bench bench;
    bench_open(&bench, 3, REPLICA_ALL);
    bench.nodes[1].cut = true;
    bench_pass(&bench, 400);
    assert_int_equal(bench_master(&bench), 1);
    bench_pass(&bench, 300);
    assert_int_equal(bench_role(&bench, 2), REPLICA_MASTER);
    bench_close(&bench);
}

static void test_election__one_that_lost_only_its_own_link_elects_nobody(void **state)
{
    (void)state;
    struct bench bench;
    bench_open(&bench, 3, REPLICA_ALL);
    uint64_t epoch = replica_epoch(bench.nodes[1].replica);
    bench.nodes[2].cut = true;
    bench_pass(&bench, 200);
    bench.nodes[2].cut = false;
    bench_step(&bench, 2,
               &(struct replica_event){.kind = REPLICA_LINK_DOWN, .address = "10.0.0.1:2626"});
    bench_pass(&bench, 2000);
    assert_int_equal(bench_master(&bench), 1);
    assert_int_equal(replica_epoch(bench.nodes[1].replica), epoch);
    bench_close(&bench);
}

static void test_election__a_returning_smaller_address_takes_nothing_over(void **state)
{
    (void)state;
    struct bench bench;
    bench_open(&bench, 3, REPLICA_ALL);
    bench_kill(&bench, 1);
    bench_pass(&bench, 200);
    uint64_t epoch = replica_epoch(bench.nodes[2].replica);
    bench_start(&bench, 1, false);
    bench_pass(&bench, 4000);
    assert_int_equal(bench_master(&bench), 2);
    assert_int_equal(replica_epoch(bench.nodes[2].replica), epoch);
    assert_int_equal(bench_role(&bench, 1), REPLICA_SLAVE);
    bench_close(&bench);
}

/* Node 2 has promised more than the epoch of node 1, and pings it. */
static void ping_with_higher_promise(struct bench *bench)
{
    struct replica_message ping = {
        .kind = REPLICA_PING,
        .from = 2,
        .to = 1,
        .promised = replica_epoch(bench->nodes[1].replica) + (1u << 16),
    };
    memcpy(ping.cluster, bench->nodes[2].cluster, sizeof ping.cluster);
    bench_step(bench, 1, &(struct replica_event){.kind = REPLICA_RECEIVE, .message = &ping});
}

static void test_election__a_master_is_elected_again_above_a_promise(void **state)
{
    (void)state;
    struct bench bench;
    bench_open(&bench, 3, REPLICA_ALL);
    uint64_t epoch = replica_epoch(bench.nodes[1].replica);
    ping_with_higher_promise(&bench);
    assert_int_equal(bench_role(&bench, 1), REPLICA_ELECTING);
    bench_pass(&bench, 1000);
    assert_int_equal(bench_master(&bench), 1);
    assert_true(replica_epoch(bench.nodes[1].replica) > epoch + (1u << 16));
    bench_close(&bench);
}

static void test_election__a_master_with_a_hung_disk_is_not_elected_again(void **state)
{
    (void)state;
    struct bench bench;
    bench_open(&bench, 3, REPLICA_ALL);
    uint64_t promised = bench.nodes[1].promised;
    bench.nodes[1].holds_sync = true;
    bench_propose(&bench, 1, 1);
    bench_pass(&bench, 2000);
    bench.now_ms += 10; /* the ping comes before the tick that would end the reign */
    ping_with_higher_promise(&bench);
    assert_int_equal(bench_role(&bench, 1), REPLICA_LOOKING);
    assert_int_equal(bench.nodes[1].promised, promised);
    bench_close(&bench);
}

/* A promise that takes long to reach the disk stops the whole node: by then there is a master. */
static void test_election__a_candidate_that_was_stopped_asks_anew(void **state)
{
    (void)state;
    struct bench bench;
    bench_open(&bench, 3, REPLICA_ALL);
    ping_with_higher_promise(&bench);
    assert_int_equal(bench_role(&bench, 1), REPLICA_ELECTING);
    bench.now_ms += 8000;
    bench_step(&bench, 1,
               &(struct replica_event){.kind = REPLICA_LINK_DOWN, .address = "10.0.0.2:2626"});
    bench_step(&bench, 1,
               &(struct replica_event){.kind = REPLICA_LINK_DOWN, .address = "10.0.0.3:2626"});
    assert_int_equal(bench_role(&bench, 1), REPLICA_LOOKING);
    bench_close(&bench);
}

static void test_election__the_first_server_restarted_makes_no_second_cluster(void **state)
{
    (void)state;
    struct bench bench;
    bench_open(&bench, 2, REPLICA_ALL);
    bench_kill(&bench, 1);
    bench_pass(&bench, 500);
    bench_start(&bench, 1, true); /* as its supervisor does */
    bench_pass(&bench, 3000);
    assert_int_equal(bench_master(&bench), 2);
    assert_int_equal(bench_role(&bench, 1), REPLICA_SLAVE);
    bench_close(&bench);
}

/* Data of a single server of the time before there were clusters: a log, and nothing else. */
static void test_election__data_without_a_cluster_founds_one(void **state)
{
    (void)state;
    struct bench bench;
    bench_open(&bench, 1, REPLICA_ALL);
    bench_propose(&bench, 1, 3);
    uint64_t last = bench_last(&bench, 1);
    bench_kill(&bench, 1);
    struct bench_node *node = &bench.nodes[1];
    for (size_t i = 0; i < node->rows_count; i++)
        node->rows[i].kind = REPLICA_CHAT;
    memset(node->cluster, 0, sizeof node->cluster);
    node->promised = 0;
    bench_start(&bench, 1, true);
    bench_pass(&bench, 100);
    assert_int_equal(bench_master(&bench), 1);
    assert_int_equal(bench_last(&bench, 1), last + 1);
    assert_int_equal(node->committed, last + 1);
    bench_close(&bench);
}

static void test_election__after_a_power_cut_the_longest_log_is_adopted(void **state)
{
    (void)state;
    struct bench bench;
    bench_open(&bench, 3, REPLICA_QUORUM);
    bench.nodes[2].cut = true; /* 2 misses what 1 and 3 commit */
    bench_propose(&bench, 1, 3);
    bench_settle(&bench);
    uint64_t committed = bench.nodes[1].committed;
    assert_int_equal(committed, bench_last(&bench, 3));
    for (uint16_t id = 1; id <= 3; id++)
        bench_kill(&bench, id);
    bench.nodes[2].cut = false;
    bench_start(&bench, 2, false);
    bench_start(&bench, 3, false);
    bench_pass(&bench, 3000);
    assert_int_equal(bench_master(&bench), 2); /* the smaller address, with the other's log */
    assert_true(bench_last(&bench, 2) > committed);
    bench_close(&bench);
}

static void test_election__quorum_of_one_of_three_waits(void **state)
{
    (void)state;
    struct bench bench;
    bench_open(&bench, 3, REPLICA_QUORUM);
    bench_kill(&bench, 1);
    bench_kill(&bench, 2);
    bench_pass(&bench, 5000);
    assert_int_equal(bench_master(&bench), 0);
    bench_close(&bench);
}

static void test_election__the_last_of_three_serves_in_all(void **state)
{
    (void)state;
    struct bench bench;
    bench_open(&bench, 3, REPLICA_ALL);
    bench_kill(&bench, 1);
    bench_pass(&bench, 500);
    bench_kill(&bench, 2);
    bench_pass(&bench, 500);
    assert_int_equal(bench_master(&bench), 3);
    bench_close(&bench);
}

static void test_election__one_known_to_be_behind_never_reigns_alone(void **state)
{
    (void)state;
    struct bench bench;
    bench_open(&bench, 2, REPLICA_ALL);
    bench.nodes[2].holds_sync = true; /* its disk hangs: it hears that it is out, and no more */
    bench_propose(&bench, 1, 1);
    bench_pass(&bench, 1500);
    assert_int_equal(bench_role(&bench, 2), REPLICA_JOINING);
    bench_kill(&bench, 1);
    bench.nodes[2].holds_sync = false;
    bench_pass(&bench, 5000);
    assert_int_equal(bench_master(&bench), 0);
    bench_start(&bench, 1, false);
    bench_pass(&bench, 3000);
    assert_int_not_equal(bench_master(&bench), 0);
    bench_close(&bench);
}

static void test_heal__two_masters_meet_and_the_lower_hands_over(void **state)
{
    (void)state;
    struct bench bench;
    bench_open(&bench, 3, REPLICA_ALL);
    bench.nodes[1].cut = true;
    bench_pass(&bench, 2000); /* both halves serve */
    assert_int_equal(bench_role(&bench, 1), REPLICA_MASTER);
    assert_int_equal(bench_role(&bench, 2), REPLICA_MASTER);
    bench_propose(&bench, 1, 5);
    bench_propose(&bench, 2, 2);
    bench_settle(&bench);
    assert_int_equal(bench.nodes[1].committed, bench_last(&bench, 1));
    bench.nodes[1].cut = false;
    bench_pass(&bench, 1000);
    assert_int_equal(bench_master(&bench), 2);
    assert_int_equal(bench.nodes[1].installs, 1);
    assert_int_equal(bench_last(&bench, 1), bench_last(&bench, 2));
    assert_true(bench.nodes[2].taken_over > 0);
    assert_true(bench.nodes[1].orphans_count > 0); /* kept until they are committed there */
    bench_propose(&bench, 2, 1);
    bench_step(&bench, 2,
               &(struct replica_event){.kind = REPLICA_TAKEN_OVER,
                                       .node = 1,
                                       .orphan = bench.nodes[1].orphans_count,
                                       .position = replica_last(bench.nodes[2].replica)});
    bench_pass(&bench, 500);
    assert_int_equal(bench.nodes[1].orphans_count, 0);
    bench_close(&bench);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_election__a_killed_master_is_replaced_at_once),
        cmocka_unit_test(test_election__a_silent_master_is_replaced_within_700_ms),
        cmocka_unit_test(test_election__one_that_lost_only_its_own_link_elects_nobody),
        cmocka_unit_test(test_election__a_returning_smaller_address_takes_nothing_over),
        cmocka_unit_test(test_election__a_master_is_elected_again_above_a_promise),
        cmocka_unit_test(test_election__a_master_with_a_hung_disk_is_not_elected_again),
        cmocka_unit_test(test_election__a_candidate_that_was_stopped_asks_anew),
        cmocka_unit_test(test_election__the_first_server_restarted_makes_no_second_cluster),
        cmocka_unit_test(test_election__data_without_a_cluster_founds_one),
        cmocka_unit_test(test_election__after_a_power_cut_the_longest_log_is_adopted),
        cmocka_unit_test(test_election__quorum_of_one_of_three_waits),
        cmocka_unit_test(test_election__the_last_of_three_serves_in_all),
        cmocka_unit_test(test_election__one_known_to_be_behind_never_reigns_alone),
        cmocka_unit_test(test_heal__two_masters_meet_and_the_lower_hands_over),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
