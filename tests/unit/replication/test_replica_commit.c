/* SPDX-License-Identifier: MIT */
/* What is committed, by policy; and the order of actions. */
#include "test_replica_bench.h"

#include <setjmp.h>
#include <stdarg.h>
#include <string.h>

#include <cmocka.h>

static void test_propose__all_waits_for_everybody_in_sync(void **state)
{
    (void)state;
    struct bench bench;
    bench_open(&bench, 3, REPLICA_ALL);
    bench.nodes[3].holds_sync = true;
    uint64_t before = bench.nodes[1].committed;
    assert_int_equal(bench_propose(&bench, 1, 4), OK);
    bench_settle(&bench);
    assert_int_equal(bench.nodes[1].committed, before);
    bench_sync(&bench, 3);
    bench_settle(&bench);
    assert_int_equal(bench.nodes[1].committed, before + 4);
    bench_close(&bench);
}

static void test_propose__quorum_needs_two_of_three(void **state)
{
    (void)state;
    struct bench bench;
    bench_open(&bench, 3, REPLICA_QUORUM);
    bench.nodes[2].holds_sync = bench.nodes[3].holds_sync = true;
    uint64_t before = bench.nodes[1].committed;
    bench_propose(&bench, 1, 1);
    bench_settle(&bench);
    assert_int_equal(bench.nodes[1].committed, before);
    bench_sync(&bench, 2);
    bench_settle(&bench);
    assert_int_equal(bench.nodes[1].committed, before + 1);
    bench_close(&bench);
}

static void test_propose__local_needs_the_masters_disk_only(void **state)
{
    (void)state;
    struct bench bench;
    bench_open(&bench, 2, REPLICA_LOCAL);
    bench.nodes[2].cut = true;
    bench.nodes[1].holds_sync = true;
    uint64_t before = bench.nodes[1].committed;
    bench_propose(&bench, 1, 1);
    assert_int_equal(bench.nodes[1].committed, before);
    bench_sync(&bench, 1);
    assert_int_equal(bench.nodes[1].committed, before + 1);
    bench_close(&bench);
}

static void test_propose__a_slave_refuses(void **state)
{
    (void)state;
    struct bench bench;
    bench_open(&bench, 2, REPLICA_ALL);
    assert_int_equal(bench_propose(&bench, 2, 1), ERROR_REFUSED);
    bench_close(&bench);
}

static void test_propose__is_published_before_it_is_synced(void **state)
{
    (void)state;
    struct bench bench;
    bench_open(&bench, 2, REPLICA_ALL);
    bench.nodes[1].holds_sync = true;
    bench_propose(&bench, 1, 1);
    assert_int_equal(bench.actions.items[0].kind, REPLICA_DO_APPEND);
    assert_int_equal(bench.actions.items[1].kind, REPLICA_DO_PUBLISH);
    bench_settle(&bench);
    assert_int_equal(bench_last(&bench, 2), bench_last(&bench, 1));
    assert_true(bench.nodes[1].committed < bench_last(&bench, 1));
    bench_close(&bench);
}

/* Its disk takes nothing: it joins again and again, and is not waited for longer because of that. */
static void test_ack_timeout__joining_again_is_no_progress(void **state)
{
    (void)state;
    struct bench bench;
    bench_open(&bench, 3, REPLICA_ALL);
    bench.nodes[3].holds_sync = true;
    bench_propose(&bench, 1, 1);
    bench_settle(&bench);
    uint64_t waiting = bench_last(&bench, 1);
    const struct replica_message join = {
        .kind = REPLICA_JOIN,
        .from = 3,
        .to = 1,
        .internal = "10.0.0.3:2626",
        .client = "10.0.0.3:2625",
        .position = {65537, waiting - 1},
        .reigns = {{65537, 1}},
        .reigns_count = 1,
    };
    for (int i = 0; i < 15; i++) {
        struct replica_message again = join;
        memcpy(again.cluster, bench.nodes[1].cluster, sizeof again.cluster);
        assert_int_equal(
            bench_step(&bench, 1,
                       &(struct replica_event){.kind = REPLICA_RECEIVE, .message = &again}),
            OK);
        bench_pass(&bench, 100);
    }
    assert_true(bench.nodes[1].committed >= waiting);
    bench_close(&bench);
}

static void test_ack_timeout__a_slave_that_does_not_ack_is_struck_off_and_comes_back(void **state)
{
    (void)state;
    struct bench bench;
    bench_open(&bench, 3, REPLICA_ALL);
    bench.nodes[3].holds_sync = true;
    bench_propose(&bench, 1, 1);
    bench_settle(&bench);
    uint64_t waiting = bench_last(&bench, 1);
    assert_true(bench.nodes[1].committed < waiting);
    bench_pass(&bench, 1500);
    assert_true(bench.nodes[1].committed >= waiting);
    assert_int_equal(bench_role(&bench, 3), REPLICA_JOINING);
    bench.nodes[3].holds_sync = false;
    bench_pass(&bench, 500);
    assert_int_equal(bench_role(&bench, 3), REPLICA_SLAVE);
    assert_int_equal(bench_last(&bench, 3), bench_last(&bench, 1));
    bench_close(&bench);
}

static void test_quorum__a_master_without_a_majority_steps_down(void **state)
{
    (void)state;
    struct bench bench;
    bench_open(&bench, 3, REPLICA_QUORUM);
    bench.nodes[1].cut = true;
    bench_pass(&bench, 2000);
    assert_int_equal(bench_role(&bench, 1), REPLICA_LOOKING);
    assert_int_equal(bench_master(&bench), 2);
    bench_close(&bench);
}

static void test_failed__a_master_whose_disk_fails_is_replaced(void **state)
{
    (void)state;
    struct bench bench;
    bench_open(&bench, 3, REPLICA_ALL);
    uint64_t committed = bench.nodes[1].committed;
    bench.nodes[1].holds_sync = true;
    bench_propose(&bench, 1, 1);
    bench.nodes[1].rows_count = bench.nodes[1].synced;
    struct replica_reign reign = {bench.nodes[1].rows[0].epoch, 1};
    const struct replica_batch *end = &bench.nodes[1].rows[bench.nodes[1].synced - 1];
    struct replica_state disk = {.promised = bench.nodes[1].promised,
                                 .reigns = &reign,
                                 .reigns_count = 1,
                                 .first_seq = 1,
                                 .last = {end->epoch, end->last_seq},
                                 .members = end->bytes,
                                 .members_size = end->size,
                                 .members_position = {end->epoch, end->last_seq}};
    memcpy(disk.cluster, bench.nodes[1].cluster, sizeof disk.cluster);
    assert_int_equal(end->kind, REPLICA_MEMBERS);
    bench_step(&bench, 1, &(struct replica_event){.kind = REPLICA_FAILED, .state = &disk});
    bench.nodes[1].holds_sync = false;
    assert_int_equal(bench_role(&bench, 1), REPLICA_LOOKING);
    bench_pass(&bench, 500);
    assert_int_equal(bench_master(&bench), 2);
    bench_pass(&bench, 2000);
    assert_int_equal(bench_role(&bench, 1), REPLICA_SLAVE);
    assert_true(bench.nodes[2].committed > committed);
    bench_close(&bench);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_propose__all_waits_for_everybody_in_sync),
        cmocka_unit_test(test_propose__quorum_needs_two_of_three),
        cmocka_unit_test(test_propose__local_needs_the_masters_disk_only),
        cmocka_unit_test(test_propose__a_slave_refuses),
        cmocka_unit_test(test_propose__is_published_before_it_is_synced),
        cmocka_unit_test(test_ack_timeout__joining_again_is_no_progress),
        cmocka_unit_test(test_ack_timeout__a_slave_that_does_not_ack_is_struck_off_and_comes_back),
        cmocka_unit_test(test_quorum__a_master_without_a_majority_steps_down),
        cmocka_unit_test(test_failed__a_master_whose_disk_fails_is_replaced),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
