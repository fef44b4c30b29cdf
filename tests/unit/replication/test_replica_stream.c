/* SPDX-License-Identifier: MIT */
/* Following a master: gaps, doubles, the past, snapshots; and messages that make no sense. */
#include "test_replica_bench.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static void test_publish__a_gap_is_fetched(void **state)
{
    (void)state;
    struct bench bench;
    bench_open(&bench, 2, REPLICA_LOCAL);
    bench.nodes[2].cut = true; /* the feed drops one */
    bench_propose(&bench, 1, 1);
    bench_settle(&bench);
    bench.nodes[2].cut = false;
    bench_propose(&bench, 1, 1);
    bench_settle(&bench);
    assert_int_equal(bench_last(&bench, 2), bench_last(&bench, 1));
    assert_true(bench.sent[REPLICA_FETCH] > 0);
    bench_close(&bench);
}

static void test_ping__shows_a_gap_that_nothing_follows(void **state)
{
    (void)state;
    struct bench bench;
    bench_open(&bench, 2, REPLICA_LOCAL);
    bench.nodes[2].cut = true;
    bench_propose(&bench, 1, 1);
    bench_settle(&bench);
    bench.nodes[2].cut = false;
    bench_pass(&bench, 150);
    assert_int_equal(bench_last(&bench, 2), bench_last(&bench, 1));
    bench_close(&bench);
}

static struct replica_message published(struct bench *bench, struct replica_batch *batch)
{
    const struct bench_node *master = &bench->nodes[1];
    *batch = master->rows[master->rows_count - 1];
    const struct replica_batch *before = &master->rows[master->rows_count - 2];
    struct replica_message message = {.kind = REPLICA_PUBLISH,
                                      .from = 1,
                                      .to = 2,
                                      .epoch = batch->epoch,
                                      .promised = batch->epoch,
                                      .position = {before->epoch, before->last_seq},
                                      .last = {batch->epoch, batch->last_seq},
                                      .batches = batch,
                                      .batches_count = 1};
    memcpy(message.cluster, master->cluster, sizeof message.cluster);
    return message;
}

static void test_publish__what_comes_twice_or_from_the_past_is_ignored(void **state)
{
    (void)state;
    struct bench bench;
    bench_open(&bench, 3, REPLICA_ALL);
    bench_propose(&bench, 1, 1);
    bench_settle(&bench);
    struct replica_batch batch;
    struct replica_message message = published(&bench, &batch);
    uint64_t last = bench_last(&bench, 2);
    struct replica_event event = {.kind = REPLICA_RECEIVE, .message = &message};
    bench_step(&bench, 2, &event);
    assert_int_equal(bench_last(&bench, 2), last);
    bench_kill(&bench, 1); /* 2 reigns now; what its old master says counts no more */
    bench_settle(&bench);
    assert_int_equal(bench_master(&bench), 2);
    last = bench_last(&bench, 3);
    message.to = 3;
    bench_step(&bench, 3, &event);
    assert_int_equal(bench_last(&bench, 3), last);
    assert_int_equal(replica_master(bench.nodes[3].replica), 2);
    bench_close(&bench);
}

/* Node 3 is down, and the others no longer have what it lacks. */
static void open_with_one_behind(struct bench *bench)
{
    bench_open(bench, 3, REPLICA_ALL);
    bench_kill(bench, 3);
    bench_settle(bench);
    for (int i = 0; i < 20; i++)
        bench_propose(bench, 1, 2);
    bench_settle(bench);
    uint64_t needed = replica_needed_seq(bench->nodes[1].replica);
    assert_true(needed < bench_last(bench, 1) - 20); /* node 3 may need it */
    for (uint16_t id = 1; id <= 2; id++)
        bench_step(bench, id,
                   &(struct replica_event){.kind = REPLICA_PRUNED,
                                           .position = {0, bench_last(bench, 1) - 3}});
}

static void test_join__what_was_pruned_comes_as_a_snapshot(void **state)
{
    (void)state;
    struct bench bench;
    open_with_one_behind(&bench);
    bench_start(&bench, 3, false);
    bench_pass(&bench, 500);
    assert_int_equal(bench.nodes[3].installs, 1);
    assert_int_equal(bench.nodes[3].orphans_count, 0);
    assert_int_equal(bench_role(&bench, 3), REPLICA_SLAVE);
    bench_close(&bench);
}

/* Node 3 lacks entries that the others still have, and must not apply one of them. */
static void open_with_one_to_avoid(struct bench *bench)
{
    bench_open(bench, 3, REPLICA_ALL);
    bench_kill(bench, 3);
    bench_settle(bench);
    for (int i = 0; i < 5; i++)
        bench_propose(bench, 1, 2);
    bench_settle(bench);
}

static void test_join__what_is_avoided_comes_in_a_snapshot(void **state)
{
    (void)state;
    struct bench bench;
    open_with_one_to_avoid(&bench);
    const struct bench_node *master = &bench.nodes[1];
    const struct replica_batch *avoided = &master->rows[master->rows_count - 2];
    bench.nodes[3].avoid = (struct replica_position){avoided->epoch, avoided->last_seq};
    bench_start(&bench, 3, false);
    bench_pass(&bench, 500);
    assert_int_equal(bench.nodes[3].installs, 1);
    assert_int_equal(bench_role(&bench, 3), REPLICA_SLAVE);
    assert_int_equal(bench_last(&bench, 3), bench_last(&bench, 1));
    /* It is in the log now: the next start needs nothing but what is new. */
    bench_kill(&bench, 3);
    bench_settle(&bench);
    bench_propose(&bench, 1, 1);
    bench_settle(&bench);
    bench_start(&bench, 3, false);
    bench_pass(&bench, 500);
    assert_int_equal(bench.nodes[3].installs, 1);
    assert_int_equal(bench_role(&bench, 3), REPLICA_SLAVE);
    bench_close(&bench);
}

/* What nobody has any more at that place is not avoided. */
static void test_join__what_is_avoided_may_be_gone(void **state)
{
    (void)state;
    struct bench bench;
    open_with_one_to_avoid(&bench);
    const struct bench_node *master = &bench.nodes[1];
    const struct replica_batch *last = &master->rows[master->rows_count - 1];
    bench.nodes[3].avoid = (struct replica_position){last->epoch + (1u << 16), last->last_seq};
    bench_start(&bench, 3, false);
    bench_pass(&bench, 500);
    assert_int_equal(bench.nodes[3].installs, 0);
    assert_int_equal(bench_role(&bench, 3), REPLICA_SLAVE);
    assert_int_equal(bench_last(&bench, 3), bench_last(&bench, 1));
    bench_close(&bench);
}

/* Nor does a snapshot have to reach so far: what is avoided was of a lost reign with a longer log. */
static void test_join__a_snapshot_may_end_before_what_is_avoided_and_gone(void **state)
{
    (void)state;
    struct bench bench;
    open_with_one_behind(&bench);
    const struct bench_node *master = &bench.nodes[1];
    const struct replica_batch *last = &master->rows[master->rows_count - 1];
    bench.nodes[3].avoid = (struct replica_position){last->epoch + 1, last->last_seq + 1000};
    bench_start(&bench, 3, false);
    bench_pass(&bench, 500);
    assert_int_equal(bench.nodes[3].installs, 1);
    assert_int_equal(bench_role(&bench, 3), REPLICA_SLAVE);
    bench_close(&bench);
}

/* A snapshot that is looked at first: meanwhile the node follows, and goes on asking, so that the
 * master keeps what comes after it. */
static void test_join__an_install_may_wait(void **state)
{
    (void)state;
    struct bench bench;
    struct replica_event checked = {.kind = REPLICA_CHECKED};
    open_with_one_behind(&bench);
    bench_step(&bench, 2, &checked); /* of no meaning to one that has nothing to install */
    bench.nodes[3].holds_install = true;
    bench_start(&bench, 3, false);
    bench_pass(&bench, 500);
    assert_int_equal(bench.nodes[3].holds, 1);
    size_t asked = bench.sent[REPLICA_SNAPSHOT_ASK];
    bench_pass(&bench, 30000);
    assert_true(bench.sent[REPLICA_SNAPSHOT_ASK] >= asked + 200);
    assert_int_equal(bench.nodes[3].holds, 1);
    assert_int_equal(bench_role(&bench, 3), REPLICA_JOINING);
    assert_int_equal(replica_master(bench.nodes[3].replica), 1);
    bench.nodes[3].holds_install = false;
    bench_step(&bench, 3, &checked);
    assert_int_equal(bench.nodes[3].installs, 1);
    bench_step(&bench, 3, &checked);
    bench_pass(&bench, 500);
    assert_int_equal(bench.nodes[3].installs, 1);
    assert_int_equal(bench_role(&bench, 3), REPLICA_SLAVE);
    bench_close(&bench);
}

/* It has come to reign itself meanwhile. */
static void test_join__an_install_that_nobody_wants_any_more(void **state)
{
    (void)state;
    struct bench bench;
    open_with_one_behind(&bench);
    bench.nodes[3].holds_install = true;
    bench_start(&bench, 3, false);
    bench_pass(&bench, 500);
    assert_int_equal(bench.nodes[3].holds, 1);
    bench_kill(&bench, 1);
    bench_kill(&bench, 2);
    bench_pass(&bench, 2000);
    assert_int_equal(bench_role(&bench, 3), REPLICA_MASTER); /* what it has is all that there is */
    bench_step(&bench, 3, &(struct replica_event){.kind = REPLICA_CHECKED});
    assert_int_equal(bench.nodes[3].holds, 1);
    assert_int_equal(bench.nodes[3].installs, 0);
    bench_close(&bench);
}

static void test_step__cut_off_stopped_and_gone_on_it_accuses_nobody(void **state)
{
    (void)state;
    struct bench bench;
    bench_open(&bench, 2, REPLICA_ALL);
    uint64_t epoch = replica_epoch(bench.nodes[1].replica);
    bench.now_ms += 10000; /* both were stopped */
    bench_pass(&bench, 1000);
    assert_int_equal(bench_role(&bench, 1), REPLICA_MASTER);
    assert_int_equal(bench_role(&bench, 2), REPLICA_SLAVE);
    assert_int_equal(replica_epoch(bench.nodes[1].replica), epoch);
    bench_close(&bench);
}

/* ---- nonsense ---- */

static uint64_t random_state = 88172645463325252u;

static uint64_t draw(uint64_t bound)
{
    random_state ^= random_state << 13;
    random_state ^= random_state >> 7;
    random_state ^= random_state << 17;
    return random_state % bound;
}

/* Mostly numbers that could be meant, some that could not. */
static uint64_t number(uint64_t near)
{
    switch (draw(12)) {
    case 0:
        return draw(UINT64_MAX);
    case 1:
        return 0;
    case 2:
        return UINT64_MAX;
    default:
        return near + draw(5) - (near < 2 ? 0 : 2);
    }
}

static struct replica_position position(const struct replica *replica)
{
    struct replica_position last = replica_last(replica);
    uint64_t epoch = draw(2) == 0 ? last.epoch : (number(last.epoch >> 16) << 16 | draw(5));
    return (struct replica_position){epoch, number(last.seq)};
}

static void make_nonsense(const struct bench *bench, struct replica_message *message,
                          struct replica_batch batches[static 4])
{
    const struct replica *replica = bench->nodes[2].replica;
    static const char *const addresses[] = {"10.0.0.1:2626", "10.0.0.3:2626", "", "nowhere", NULL};
    uint64_t counter = replica_promised(replica) >> 16;
    memset(message, 0, sizeof *message);
    message->kind = (enum replica_message_kind)draw(REPLICA_MESSAGE_KINDS + 1);
    message->from = (uint16_t)draw(6);
    memcpy(message->cluster, bench->nodes[2].cluster, sizeof message->cluster);
    message->epoch = draw(2) == 0 ? replica_promised(replica) : number(counter) << 16 | draw(5);
    message->promised = number(counter) << 16 | draw(5);
    message->position = draw(2) == 0 ? replica_last(replica) : position(replica);
    message->last = position(replica);
    message->common = position(replica);
    message->committed = number(replica_committed(replica));
    message->role = (enum replica_role)draw(REPLICA_ROLES);
    message->answer = (enum replica_answer)draw(3);
    message->adopting = draw(3) == 0;
    message->granted = draw(2) == 0;
    message->sick = draw(4) == 0;
    message->node = (uint16_t)draw(5);
    message->master = (uint16_t)draw(5);
    message->master_epoch = number(counter) << 16 | draw(5);
    message->master_address = addresses[draw(5)];
    message->internal = addresses[draw(5)];
    message->client = addresses[draw(5)];
    message->members_position = position(replica);
    message->in_sync_count = draw(4);
    for (size_t i = 0; i < message->in_sync_count; i++)
        message->in_sync_ids[i] = (uint16_t)draw(5);
    message->reigns_count = draw(REPLICA_REIGNS_SENT + 3);
    for (size_t i = 0; i < message->reigns_count && i < REPLICA_REIGNS_SENT; i++)
        message->reigns[i] = (struct replica_reign){(i + 1) << 16 | draw(4), i * 3 + draw(4)};
    message->batches_count = draw(4);
    message->batches = batches;
    struct replica_position last = replica_last(replica);
    for (size_t i = 0; i < 4; i++) {
        uint64_t first = i == 0 && draw(2) == 0 ? last.seq + 1 : number(last.seq);
        batches[i] =
            (struct replica_batch){.kind = draw(4) == 0 ? REPLICA_MEMBERS : REPLICA_CHAT,
                                   .epoch = draw(2) == 0 ? message->epoch : number(counter) << 16,
                                   .first_seq = first,
                                   .last_seq = draw(3) == 0 ? number(first) : first,
                                   .bytes = (const uint8_t *)"\1\0",
                                   .size = 2};
    }
    message->snapshot = draw(3);
    message->offset = draw(2);
    message->size = draw(2);
    message->total = draw(3);
    message->orphan = number(2);
}

/* Nothing that a peer sends makes the process end. What is appended may be nonsense too, so only the
 * replica's own promises are asserted here, inside it. */
static void test_receive__nonsense_ends_nothing(void **state)
{
    (void)state;
    struct bench *bench = malloc(sizeof *bench);
    assert_non_null(bench);
    for (unsigned round = 0; round < 60; round++) {
        bench_open(bench, 3, (enum replica_policy)(round % 3));
        if (round % 2 == 0)
            bench_kill(bench, 1);
        struct replica_actions *actions = calloc(1, sizeof *actions);
        assert_non_null(actions);
        for (unsigned i = 0; i < 3000; i++) {
            struct replica_message message;
            struct replica_batch batches[4];
            make_nonsense(bench, &message, batches);
            bench->now_ms += draw(30);
            struct replica_event event = {.kind = draw(6) == 0 ? REPLICA_TICK : REPLICA_RECEIVE,
                                          .now_ms = bench->now_ms,
                                          .message = &message};
            (void)replica_step(bench->nodes[2].replica, &event, actions);
            struct replica_event durable = {.kind = REPLICA_DURABLE,
                                            .now_ms = bench->now_ms,
                                            .position = replica_last(bench->nodes[2].replica)};
            (void)replica_step(bench->nodes[2].replica, &durable, actions);
        }
        free(actions);
        bench_close(bench);
    }
    free(bench);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_publish__a_gap_is_fetched),
        cmocka_unit_test(test_ping__shows_a_gap_that_nothing_follows),
        cmocka_unit_test(test_publish__what_comes_twice_or_from_the_past_is_ignored),
        cmocka_unit_test(test_join__what_was_pruned_comes_as_a_snapshot),
        cmocka_unit_test(test_join__what_is_avoided_comes_in_a_snapshot),
        cmocka_unit_test(test_join__what_is_avoided_may_be_gone),
        cmocka_unit_test(test_join__a_snapshot_may_end_before_what_is_avoided_and_gone),
        cmocka_unit_test(test_join__an_install_may_wait),
        cmocka_unit_test(test_join__an_install_that_nobody_wants_any_more),
        cmocka_unit_test(test_step__cut_off_stopped_and_gone_on_it_accuses_nobody),
        cmocka_unit_test(test_receive__nonsense_ends_nothing),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
