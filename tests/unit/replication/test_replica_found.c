/* SPDX-License-Identifier: MIT */
/* Founding a cluster, and not founding one beside another. */
#include "test_replica_bench.h"

#include <setjmp.h>
#include <stdarg.h>
#include <string.h>

#include <cmocka.h>

#define WAIT_MS 2000 /* given as founding_wait_ms */
#define LISTEN_MS 1000

static void lose_disk(struct bench *bench, uint16_t id)
{
    struct bench_node *node = &bench->nodes[id];
    node->rows_count = node->synced = 0;
    node->promised = 0;
    memset(node->cluster, 0, sizeof node->cluster);
}

/* Nodes of one cluster, with something of a chat, all killed; 1 has lost its disk. */
static void open_killed(struct bench *bench, unsigned count)
{
    bench_open(bench, count, REPLICA_ALL);
    assert_int_equal(bench_propose(bench, 1, 1), OK);
    bench_pass(bench, 300);
    for (uint16_t id = 1; id <= count; id++)
        bench_kill(bench, id);
    bench_settle(bench); /* nothing of theirs is still under way */
    lose_disk(bench, 1);
    bench->founding_wait_ms = WAIT_MS;
    for (uint16_t id = 1; id <= count; id++)
        memset(bench->nodes[id].told, 0, sizeof bench->nodes[id].told);
}

static bool is_of_cluster(const struct bench *bench, uint16_t id, int byte)
{
    return replica_cluster(bench->nodes[id].replica)[3] == byte;
}

static void test_found__alone_after_the_wait(void **state)
{
    (void)state;
    struct bench bench;
    open_killed(&bench, 2);
    bench_start(&bench, 1, true);
    bench_pass(&bench, WAIT_MS - 100);
    assert_int_equal(bench_role(&bench, 1), REPLICA_LOOKING);
    assert_int_equal(bench.nodes[1].told[REPLICA_FOUNDED], 0);
    bench_pass(&bench, 200);
    assert_int_equal(bench_role(&bench, 1), REPLICA_MASTER);
    assert_int_equal(bench.nodes[1].told[REPLICA_FOUNDED], 1);
    bench_close(&bench);
}

/* All that it was told of are there, and have nothing: it need not wait for anybody else. */
static void test_found__sooner_where_all_others_are_without_data(void **state)
{
    (void)state;
    struct bench bench;
    open_killed(&bench, 3);
    lose_disk(&bench, 2);
    lose_disk(&bench, 3);
    for (uint16_t id = 1; id <= 3; id++)
        bench_start(&bench, id, id == 1);
    bench_pass(&bench, LISTEN_MS - 100);
    assert_int_equal(bench_role(&bench, 1), REPLICA_LOOKING);
    bench_pass(&bench, 600);
    assert_int_equal(bench_master(&bench), 1);
    assert_int_equal(bench_role(&bench, 2), REPLICA_SLAVE);
    assert_int_equal(bench_role(&bench, 3), REPLICA_SLAVE);
    bench_close(&bench);
}

/* Two are told to found one: the smaller id does. */
static void test_found__two_founders(void **state)
{
    (void)state;
    struct bench bench;
    open_killed(&bench, 2);
    lose_disk(&bench, 2);
    bench_start(&bench, 2, true);
    bench_start(&bench, 1, true);
    bench_pass(&bench, WAIT_MS + 1000);
    assert_int_equal(bench_master(&bench), 1);
    assert_int_equal(bench_role(&bench, 2), REPLICA_SLAVE);
    assert_int_equal(bench.nodes[2].told[REPLICA_FOUNDED], 0);
    bench_close(&bench);
}

/* The others live, or come while it listens, without being told of it. */
static void test_found__not_beside_a_cluster(void **state)
{
    (void)state;
    for (uint64_t late_ms = 0; late_ms < 900; late_ms += 300) {
        struct bench bench;
        open_killed(&bench, 3);
        bench_start(&bench, 1, true);
        bench_pass(&bench, late_ms);
        bench_start(&bench, 2, false);
        bench_start(&bench, 3, false);
        bench_pass(&bench, WAIT_MS + 2000);
        assert_int_equal(bench.nodes[1].told[REPLICA_FOUNDED], 0);
        assert_int_equal(bench.nodes[1].told[REPLICA_NOT_FOUNDED], 1);
        assert_int_equal(bench_master(&bench), 2);
        assert_int_equal(bench_role(&bench, 1), REPLICA_SLAVE);
        assert_true(is_of_cluster(&bench, 1, 7));
        assert_int_equal(bench_last(&bench, 1), bench_last(&bench, 2));
        bench_close(&bench);
    }
}

/* They come too late: it gives its blank cluster up. */
static void test_yield__to_a_cluster_with_data(void **state)
{
    (void)state;
    struct bench bench;
    open_killed(&bench, 3);
    bench_start(&bench, 1, true);
    bench_pass(&bench, 13000);
    assert_int_equal(bench_role(&bench, 1), REPLICA_MASTER);
    bench_start(&bench, 2, false);
    bench_start(&bench, 3, false);
    bench_pass(&bench, 4000);
    assert_int_equal(bench.nodes[1].told[REPLICA_YIELDED], 1);
    assert_int_equal(bench_master(&bench), 2);
    assert_int_equal(bench_role(&bench, 1), REPLICA_SLAVE);
    assert_true(is_of_cluster(&bench, 1, 7));
    bench_close(&bench);
}

/* There is a chat in both: neither gives way, whatever is said. */
static void test_yield__not_with_data(void **state)
{
    (void)state;
    struct bench bench;
    open_killed(&bench, 3);
    bench_start(&bench, 1, true);
    bench_pass(&bench, 3000);
    assert_int_equal(bench_propose(&bench, 1, 1), OK);
    bench_start(&bench, 2, false);
    bench_start(&bench, 3, false);
    bench_pass(&bench, 4000);
    assert_true(is_of_cluster(&bench, 1, 21));
    assert_int_equal(bench_role(&bench, 1), REPLICA_MASTER);
    assert_int_equal(bench_role(&bench, 2), REPLICA_MASTER);
    assert_int_equal(bench_role(&bench, 3), REPLICA_SLAVE);
    assert_true(bench.nodes[1].told[REPLICA_STRANGER] > 0);
    assert_true(bench.nodes[2].told[REPLICA_STRANGER] > 0);
    bench_close(&bench);
}

/* A blank cluster whose member's address was given to another one has nothing to do with that. */
static void test_yield__not_to_a_stranger(void **state)
{
    (void)state;
    struct bench bench;
    bench_open(&bench, 3, REPLICA_ALL);
    bench_kill(&bench, 3);
    struct replica_message refused = {.kind = REPLICA_REFUSED,
                                      .from = 3,
                                      .refusal = REPLICA_REFUSED_CLUSTER,
                                      .internal = "10.0.0.3:2626"};
    memset(refused.cluster, 9, sizeof refused.cluster);
    bench_step(&bench, 1,
               &(struct replica_event){
                   .kind = REPLICA_RECEIVE, .message = &refused, .address = "10.0.0.3:2626"});
    assert_int_equal(bench.nodes[1].told[REPLICA_YIELDED], 0);
    refused.granted = true; /* "you are a member of ours, at this address" */
    bench_step(&bench, 1,
               &(struct replica_event){
                   .kind = REPLICA_RECEIVE, .message = &refused, .address = "10.0.0.3:2626"});
    assert_int_equal(bench.nodes[1].told[REPLICA_YIELDED], 1);
    bench_close(&bench);
}

/* Whether a list in the log of the master has the node as no voter, after one that has it as one. */
static bool was_withdrawn(const struct bench *bench, uint16_t id)
{
    static struct replica_member members[REPLICA_MEMBERS_MAX];
    bool had_vote = false;
    bool was_taken = false;
    for (size_t i = 0; i < bench->nodes[1].rows_count; i++) {
        const struct replica_batch *row = &bench->nodes[1].rows[i];
        size_t count = 0;
        if (row->kind == REPLICA_MEMBERS)
            assert_int_equal(replica_members_unpack(row->bytes, row->size, members, &count), OK);
        for (size_t k = 0; k < count; k++) {
            was_taken = was_taken || (members[k].id == id && had_vote && !members[k].voter);
            had_vote = had_vote || (members[k].id == id && members[k].voter);
        }
    }
    return was_taken;
}

/* Its vote would count for what it has no longer: it is a voter again when it has everything. */
static void test_join__without_data_there_is_no_vote(void **state)
{
    (void)state;
    struct bench bench;
    bench_open(&bench, 3, REPLICA_QUORUM);
    assert_int_equal(bench_propose(&bench, 1, 1), OK);
    bench_pass(&bench, 300);
    bench_kill(&bench, 3);
    lose_disk(&bench, 3);
    assert_false(was_withdrawn(&bench, 3));
    bench_start(&bench, 3, false);
    bench_pass(&bench, 1000);
    assert_int_equal(bench_role(&bench, 3), REPLICA_SLAVE);
    assert_true(was_withdrawn(&bench, 3));
    assert_true(bench.nodes[3].installs > 0); /* not by reading old lists one after the other */
    const struct replica_member *members;
    size_t count = replica_members(bench.nodes[1].replica, &members);
    for (size_t k = 0; k < count; k++)
        assert_true(members[k].voter && members[k].in_sync);
    bench_close(&bench);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_found__alone_after_the_wait),
        cmocka_unit_test(test_found__sooner_where_all_others_are_without_data),
        cmocka_unit_test(test_found__two_founders),
        cmocka_unit_test(test_found__not_beside_a_cluster),
        cmocka_unit_test(test_yield__to_a_cluster_with_data),
        cmocka_unit_test(test_yield__not_with_data),
        cmocka_unit_test(test_yield__not_to_a_stranger),
        cmocka_unit_test(test_join__without_data_there_is_no_vote),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
