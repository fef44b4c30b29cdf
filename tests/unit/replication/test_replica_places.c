/* SPDX-License-Identifier: MIT */
/* Who is where: strangers at the address of a member, and members that have moved. */
#include "test_replica_bench.h"

#include <setjmp.h>
#include <stdarg.h>
#include <string.h>

#include <cmocka.h>

/* An answer to what was asked at the address of node `at`. */
static void answer(struct bench *bench, uint16_t to, uint16_t at, struct replica_message *message)
{
    char address[32];
    bench_address(bench, at, address);
    assert_int_equal(bench_step(bench, to,
                                &(struct replica_event){.kind = REPLICA_RECEIVE,
                                                        .message = message,
                                                        .address = address}),
                     OK);
}

static struct replica_message from_other_cluster(enum replica_message_kind kind, uint16_t from)
{
    struct replica_message message = {
        .kind = kind, .from = from, .internal = "10.0.0.1:2626", .client = "10.0.0.1:2625"};
    message.refusal = REPLICA_REFUSED_CLUSTER;
    memset(message.cluster, 9, sizeof message.cluster);
    return message;
}

/* All three were killed; at the address of 1 a server of another cluster answers 2 and 3. */
static void test_stranger__at_the_address_of_a_member(void **state)
{
    (void)state;
    static const enum replica_policy policies[] = {REPLICA_ALL, REPLICA_QUORUM, REPLICA_LOCAL};
    for (size_t i = 0; i < 3; i++) {
        struct bench bench;
        bench_open(&bench, 3, policies[i]);
        for (uint16_t id = 1; id <= 3; id++)
            bench_kill(&bench, id);
        bench_start(&bench, 2, false);
        bench_start(&bench, 3, false);
        struct replica_message refused = from_other_cluster(REPLICA_REFUSED, 1);
        for (size_t k = 0; k < 30; k++) {
            answer(&bench, 2, 1, &refused);
            answer(&bench, 3, 1, &refused);
            bench_pass(&bench, 100);
        }
        assert_int_equal(bench.nodes[2].refusal, 0);
        assert_int_equal(bench.nodes[3].refusal, 0);
        assert_int_equal(bench_master(&bench), 2);
        assert_int_equal(bench_role(&bench, 3), REPLICA_SLAVE);
        assert_true(bench.nodes[2].told[REPLICA_STRANGER] > 0);
        bench_close(&bench);
    }
}

/* Likewise a server that was emptied: it has no vote, and nobody waits for it. */
static void test_stranger__without_data(void **state)
{
    (void)state;
    struct bench bench;
    bench_open(&bench, 3, REPLICA_QUORUM);
    bench_kill(&bench, 1);
    bench_kill(&bench, 2);
    bench_kill(&bench, 3);
    bench_start(&bench, 2, false);
    struct replica_message heard = {
        .kind = REPLICA_HEARD, .from = 1, .role = REPLICA_LOOKING, .internal = "10.0.0.1:2626"};
    memset(bench.sent, 0, sizeof bench.sent);
    for (size_t k = 0; k < 30; k++) {
        answer(&bench, 2, 1, &heard);
        bench_pass(&bench, 100);
    }
    assert_int_equal(bench_role(&bench, 2), REPLICA_LOOKING);
    assert_int_equal(bench.sent[REPLICA_PROMISE_ASK], 0); /* it does not even try */
    bench_start(&bench, 3, false);
    bench_pass(&bench, 3000);
    assert_int_equal(bench_master(&bench), 2);
    bench_close(&bench);
}

/* Whatever another cluster says, a node with data stays what it is. */
static void test_stranger__says_anything(void **state)
{
    (void)state;
    for (int kind = 0; kind < REPLICA_MESSAGE_KINDS; kind++) {
        struct bench bench;
        bench_open(&bench, 3, REPLICA_ALL);
        struct replica_batch batch = {.kind = REPLICA_CHAT, .first_seq = 1, .last_seq = 1};
        for (uint16_t id = 1; id <= 3; id++) {
            struct replica_message message = from_other_cluster((enum replica_message_kind)kind, 2);
            message.epoch = message.promised = UINT64_C(99) << 16 | 2;
            message.master = 2;
            message.master_epoch = message.epoch;
            message.master_address = "10.0.0.2:2626";
            message.batches = &batch;
            message.batches_count = 1;
            assert_int_equal(
                bench_step(&bench, id,
                           &(struct replica_event){.kind = REPLICA_RECEIVE, .message = &message}),
                OK);
            assert_true(replica_promised(bench.nodes[id].replica) < message.epoch);
        }
        bench_pass(&bench, 500);
        assert_int_equal(bench_master(&bench), 1);
        assert_int_equal(bench_role(&bench, 2), REPLICA_SLAVE);
        assert_int_equal(bench_role(&bench, 3), REPLICA_SLAVE);
        bench_close(&bench);
    }
}

/* One with data is not ended by a refusal, and takes no part as long as it is refused. */
static void test_refused__with_data(void **state)
{
    (void)state;
    struct bench bench;
    bench_open(&bench, 3, REPLICA_ALL);
    bench_kill(&bench, 3);
    bench_start(&bench, 3, false);
    bench_settle(&bench);
    struct replica_message refused = {.kind = REPLICA_REFUSED,
                                      .from = 1,
                                      .refusal = REPLICA_REFUSED_ID,
                                      .internal = "10.0.0.1:2626"};
    memset(refused.cluster, 7, sizeof refused.cluster);
    bench.nodes[3].cut = true;
    bench_pass(&bench, 20);
    answer(&bench, 3, 1, &refused);
    assert_int_equal(bench.nodes[3].refusal, 0);
    bench_close(&bench);
}

/* ---- members that have moved ---- */

static void start_without_seeds(struct bench *bench, uint16_t id)
{
    bench_start(bench, id, true); /* it has a cluster, and founds none */
}

/* 1 is dead, 2 and 3 come back with each other's addresses, and nobody tells them. */
static void test_moved__two_have_swapped(void **state)
{
    (void)state;
    static const enum replica_policy policies[] = {REPLICA_ALL, REPLICA_QUORUM, REPLICA_LOCAL};
    for (size_t i = 0; i < 3; i++) {
        struct bench bench;
        bench_open(&bench, 3, policies[i]);
        for (uint16_t id = 3; id >= 1; id--)
            bench_kill(&bench, id);
        bench_settle(&bench);
        uint64_t counter = bench.nodes[2].promised >> 16;
        bench.hosts[2] = 3;
        bench.hosts[3] = 2;
        start_without_seeds(&bench, 2);
        start_without_seeds(&bench, 3);
        bench_pass(&bench, 3000);
        uint16_t master = bench_master(&bench);
        assert_true(master == 2 || master == 3);
        assert_int_equal(bench_role(&bench, master == 2 ? 3 : 2), REPLICA_SLAVE);
        assert_true(bench.nodes[2].told[REPLICA_MET] > 0);
        /* One election, not one after the other. */
        assert_int_equal(replica_promised(bench.nodes[2].replica) >> 16, counter + 1);
        bench_pass(&bench, 3000);
        assert_int_equal(replica_promised(bench.nodes[2].replica) >> 16, counter + 1);
        const struct replica_member *members;
        size_t count = replica_members(bench.nodes[3].replica, &members);
        for (size_t k = 0; k < count; k++)
            if (members[k].id == 2)
                assert_string_equal(members[k].internal, "10.0.0.3:2626");
        bench_close(&bench);
    }
}

/* The master stays; 2 and 3 swap while it reigns. Both are let in again. */
static void test_moved__two_have_swapped_under_a_master(void **state)
{
    (void)state;
    struct bench bench;
    bench_open(&bench, 3, REPLICA_ALL);
    uint64_t promised = replica_promised(bench.nodes[1].replica);
    bench_kill(&bench, 2);
    bench_kill(&bench, 3);
    bench.hosts[2] = 3;
    bench.hosts[3] = 2;
    start_without_seeds(&bench, 2);
    bench_pass(&bench, 500);
    start_without_seeds(&bench, 3);
    bench_pass(&bench, 500);
    assert_int_equal(bench_role(&bench, 2), REPLICA_SLAVE);
    assert_int_equal(bench_role(&bench, 3), REPLICA_SLAVE);
    assert_int_equal(replica_promised(bench.nodes[1].replica), promised);
    assert_int_equal(bench.nodes[2].refusal, 0);
    assert_int_equal(bench.nodes[3].refusal, 0);
    bench_close(&bench);
}

/* A member that is met at another's address tells the others, who may have no other way to know. */
static void test_moved__members_tell_each_other(void **state)
{
    (void)state;
    struct bench bench;
    bench_open(&bench, 3, REPLICA_ALL);
    for (uint16_t id = 1; id <= 3; id++)
        bench_kill(&bench, id);
    bench_settle(&bench);
    bench.hosts[3] = 9; /* nobody has had it, and 3 is told of nobody; 2 is called by it */
    start_without_seeds(&bench, 2);
    start_without_seeds(&bench, 3);
    bench_pass(&bench, 100);
    memset(bench.sent, 0, sizeof bench.sent);
    start_without_seeds(&bench, 1);
    bench_pass(&bench, 3000);
    assert_true(bench_master(&bench) != 0);
    for (uint16_t id = 1; id <= 3; id++)
        assert_true(bench_role(&bench, id) == REPLICA_SLAVE ||
                    bench_role(&bench, id) == REPLICA_MASTER);
    bench_close(&bench);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_stranger__at_the_address_of_a_member),
        cmocka_unit_test(test_stranger__without_data),
        cmocka_unit_test(test_stranger__says_anything),
        cmocka_unit_test(test_refused__with_data),
        cmocka_unit_test(test_moved__two_have_swapped),
        cmocka_unit_test(test_moved__two_have_swapped_under_a_master),
        cmocka_unit_test(test_moved__members_tell_each_other),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
