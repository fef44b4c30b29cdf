/* SPDX-License-Identifier: MIT */
/* Numbered requests: each is carried out once and answered alike for ever (src/chat/propose.c,
 * outcome.c), and times that never go back. */
#include "chat_world.h"
#include "support/folder.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static int open_world(void **state)
{
    struct world *world = malloc(sizeof *world);
    world_open(world, 4, NULL);
    world_person(world, "alice");
    world_person(world, "bob");
    *state = world;
    return 0;
}

static int open_world_in_folder(void **state)
{
    struct world *world = malloc(sizeof *world);
    world_open(world, 4, folder_new());
    world_person(world, "alice");
    world_person(world, "bob");
    *state = world;
    return 0;
}

static int close_world(void **state)
{
    struct world *world = *state;
    char *folder = world->folder;
    world_close(world);
    if (folder != NULL)
        folder_remove(folder);
    free(world);
    return 0;
}

static struct chat_session *alice(struct world *world)
{
    return world_session(world, "alice");
}

static void assert_same_outcome(const struct answer *first, const struct answer *again)
{
    assert_int_equal(again->status, first->status);
    assert_string_equal(again->text, first->text);
    assert_int_equal(again->outcome.room, first->outcome.room);
    assert_int_equal(again->outcome.number, first->outcome.number);
    assert_int_equal(again->outcome.position.seq, first->outcome.position.seq);
    assert_int_equal(again->outcome.position.epoch, first->outcome.position.epoch);
    assert_int_equal(again->outcome.time_ms, first->outcome.time_ms);
    assert_int_equal(again->outcome.created, first->outcome.created);
    assert_false(again->applied);
}

static void test_repeat__gets_the_first_answer(void **state)
{
    struct world *world = *state;
    struct answer join = world_join(world, alice(world), "general", 1);
    struct answer send = world_send(world, alice(world), "general", "hello", 2);
    struct answer refused = world_send(world, alice(world), "nowhere", "hello", 3);
    struct answer twice = world_join(world, alice(world), "general", 4);
    assert_true(join.outcome.created);
    assert_false(twice.outcome.created);
    uint64_t seq = world->seq;
    for (int round = 0; round < 3; round++) {
        world->time_ms += 1000;
        struct answer again = world_join(world, alice(world), "general", 1);
        assert_same_outcome(&join, &again);
        again = world_send(world, alice(world), "general", "hello", 2);
        assert_same_outcome(&send, &again);
        again = world_send(world, alice(world), "nowhere", "hello", 3);
        assert_same_outcome(&refused, &again);
        assert_int_equal(again.status, STATUS_NOT_FOUND);
        again = world_join(world, alice(world), "general", 4);
        assert_same_outcome(&twice, &again);
        assert_int_equal(world->seq, seq);
        world_reopen(world);
    }
    world_send(world, alice(world), "general", "next", 0);
    assert_string_equal(world_reads(world, alice(world), 0),
                        "JOINED general alice; OWNER general alice; MESSAGE general alice hello; "
                        "MESSAGE general alice next");
}

static void test_repeat__a_refusal_stays_one_when_it_would_succeed_now(void **state)
{
    struct world *world = *state;
    struct answer refused = world_send(world, alice(world), "general", "hello", 1);
    assert_int_equal(refused.status, STATUS_NOT_FOUND);
    world_join(world, world_session(world, "bob"), "general", 0);
    world_join(world, alice(world), "general", 2);
    struct answer again = world_send(world, alice(world), "general", "hello", 1);
    assert_same_outcome(&refused, &again);
}

static void test_repeat__of_a_join_tells_nothing_to_one_who_left(void **state)
{
    struct world *world = *state;
    struct answer join = world_join(world, alice(world), "general", 1);
    world_topic(world, alice(world), "general", "topic");
    world_leave(world, alice(world), "general");
    struct chat_call call = world_call(world, alice(world));
    Jackdaw__JoinRoomReply reply = JACKDAW__JOIN_ROOM_REPLY__INIT;
    assert_int_equal(chat_answer_join(world->chat, &call, &join.outcome, &reply), OK);
    assert_string_equal(reply.room, "general");
    assert_true(reply.created);
    assert_string_equal(reply.topic, "");
    assert_int_equal(reply.members, 0);
}

static void test_repeat__of_a_join_to_a_room_that_is_no_more(void **state)
{
    struct world *world = *state;
    struct answer join = world_join_private(world, alice(world), "secret");
    world_leave(world, alice(world), "secret");
    struct chat_call call = world_call(world, alice(world));
    Jackdaw__JoinRoomReply reply = JACKDAW__JOIN_ROOM_REPLY__INIT;
    assert_int_equal(chat_answer_join(world->chat, &call, &join.outcome, &reply), OK);
    assert_memory_equal(reply.room, "deleted:", 8);
}

static void test_number__zero(void **state)
{
    struct world *world = *state;
    struct chat_call call = world_call(world, alice(world));
    Jackdaw__SendRequest request = JACKDAW__SEND_REQUEST__INIT;
    request.to = "@bob";
    request.text = "hello";
    enum chat_decision decision = chat_propose_send(world->chat, &call, &request);
    assert_int_equal(decision, CHAT_REFUSE);
    assert_int_equal(call.status, STATUS_INVALID_ARGUMENT);
    assert_int_equal(chat_propose_refusal(world->chat, &call, 0), CHAT_REFUSE);
    assert_int_equal(chat_session_last_request(alice(world)), 0);
}

static void test_number__skipping_one_is_not_an_outcome(void **state)
{
    struct world *world = *state;
    struct answer answer = world_send(world, alice(world), "@bob", "two", 2);
    assert_int_equal(answer.status, STATUS_ABORTED);
    assert_int_equal(answer.next_request, 1);
    assert_true(answer.retry_ms > 0);
    assert_false(answer.applied);
    assert_int_equal(world_send(world, alice(world), "@bob", "max", UINT64_MAX).status,
                     STATUS_ABORTED);
    assert_int_equal(world_send(world, alice(world), "@bob", "one", 1).status, STATUS_OK);
    assert_int_equal(world_send(world, alice(world), "@bob", "two", 2).status, STATUS_OK);
    assert_string_equal(world_reads(world, alice(world), 0),
                        "MESSAGE @bob alice one; MESSAGE @bob alice two");
}

static void test_number__window_from_both_sides(void **state)
{
    struct world *world = *state;
    for (uint64_t i = 1; i <= 256; i++)
        assert_int_equal(world_send(world, alice(world), "@bob", "x", i).status, STATUS_OK);
    struct answer first = world_send(world, alice(world), "@bob", "x", 1);
    assert_int_equal(first.outcome.number, 1);
    assert_int_equal(world_send(world, alice(world), "@bob", "x", 257).status, STATUS_OK);
    struct answer old = world_send(world, alice(world), "@bob", "x", 1);
    assert_int_equal(old.status, STATUS_OUT_OF_RANGE);
    assert_int_equal(old.retry_ms, 0);
    assert_false(old.applied);
    assert_int_equal(world_send(world, alice(world), "@bob", "x", 2).outcome.number, 2);
    world_reopen(world);
    assert_int_equal(world_send(world, alice(world), "@bob", "x", 1).status, STATUS_OUT_OF_RANGE);
    assert_int_equal(world_send(world, alice(world), "@bob", "x", 2).outcome.number, 2);
    assert_int_equal(chat_session_last_request(alice(world)), 257);
}

static void test_number__each_session_counts_for_itself(void **state)
{
    struct world *world = *state;
    struct chat_session *second = world_device(world, "alice", "second");
    assert_int_equal(world_send(world, alice(world), "@bob", "a1", 1).status, STATUS_OK);
    assert_int_equal(world_send(world, second, "@bob", "b1", 1).status, STATUS_OK);
    assert_int_equal(world_send(world, second, "@bob", "b2", 2).status, STATUS_OK);
    assert_int_equal(world_send(world, alice(world), "@bob", "a2", 2).status, STATUS_OK);
    assert_string_equal(world_reads(world, alice(world), 0),
                        "MESSAGE @bob alice a1; MESSAGE @bob alice b1; MESSAGE @bob alice b2; "
                        "MESSAGE @bob alice a2");
}

static void test_number__nobody_is_not_logged_in(void **state)
{
    struct world *world = *state;
    struct chat_call call = world_call(world, NULL);
    assert_int_equal(chat_check_request(world->chat, &call, 1), CHAT_REFUSE);
    assert_int_equal(call.status, STATUS_UNAUTHENTICATED);
    assert_int_equal(chat_propose_refusal(world->chat, &call, 1), CHAT_REFUSE);
}

static void test_refusal__with_retry_is_not_remembered(void **state)
{
    struct world *world = *state;
    struct chat_call call = world_call(world, alice(world));
    call.status = STATUS_UNAVAILABLE;
    call.text = "no master";
    call.retry_ms = 10;
    assert_int_equal(chat_propose_refusal(world->chat, &call, 1), CHAT_REFUSE);
    assert_int_equal(call.status, STATUS_UNAVAILABLE);
    assert_null(call.delta);
}

static void test_refusal__no_memory_is_not_remembered(void **state)
{
    struct world *world = *state;
    struct chat_call call = world_call(world, alice(world));
    struct arena tiny;
    arena_init(&tiny, 64);
    call.arena = &tiny;
    Jackdaw__SendRequest request = JACKDAW__SEND_REQUEST__INIT;
    request.request = 1;
    request.to = "@bob";
    request.text = "hello";
    assert_int_equal(chat_propose_send(world->chat, &call, &request), CHAT_REFUSE);
    assert_int_equal(call.status, STATUS_RESOURCE_EXHAUSTED);
    assert_true(call.retry_ms > 0);
    assert_true(strlen(call.text) > 10);
    arena_clear(&tiny);
}

static void test_refusal__text_of_any_length_is_cut(void **state)
{
    struct world *world = *state;
    char name[500];
    memset(name, 'x', sizeof name - 1);
    name[sizeof name - 1] = '\0';
    struct answer answer = world_send(world, alice(world), name, "x", 0);
    assert_int_equal(answer.status, STATUS_INVALID_ARGUMENT);
    assert_true(answer.applied);
}

/* ---- time ---- */

static uint64_t time_of(struct world *world, const char *text)
{
    return world_send(world, alice(world), "@bob", text, 0).outcome.time_ms;
}

/* The clocks of servers differ a little: that does not show, also not after a restart. */
static void test_time__does_not_go_back_a_little(void **state)
{
    struct world *world = *state;
    world->time_ms += 50000;
    uint64_t start = world->time_ms;
    assert_int_equal(time_of(world, "one"), start);
    world->time_ms = start - CHAT_TIME_SLACK_MS;
    assert_int_equal(time_of(world, "two"), start);
    world_reopen(world);
    assert_int_equal(time_of(world, "three"), start);
    world->time_ms = start + 1;
    assert_int_equal(time_of(world, "four"), start + 1);
}

static void test_time__goes_back_where_it_was_far_ahead(void **state)
{
    struct world *world = *state;
    world->time_ms += 50000;
    uint64_t start = world->time_ms;
    (void)time_of(world, "one");
    world->time_ms = start - CHAT_TIME_SLACK_MS - 1;
    assert_int_equal(time_of(world, "two"), start - CHAT_TIME_SLACK_MS - 1);
    world->time_ms = start - CHAT_TIME_SLACK_MS - 2;
    assert_int_equal(time_of(world, "three"), start - CHAT_TIME_SLACK_MS - 1); /* a little */
    world_reopen(world);
    world->time_ms = 1700000000000;
    assert_int_equal(time_of(world, "four"), 1700000000000);
    world->time_ms = 0;
    assert_int_equal(time_of(world, "five"), 0);
}

/* Order, numbers, repeated requests, limits and presence do not look at the time. */
static void test_time__far_ahead_and_back_breaks_nothing(void **state)
{
    struct world *world = *state;
    world->time_ms = UINT64_MAX;
    assert_int_equal(time_of(world, "one"), UINT64_MAX);
    world->time_ms = 1700000000000;
    struct answer two = world_send(world, alice(world), "@bob", "two", 0);
    assert_int_equal(two.outcome.time_ms, 1700000000000);
    world_reopen(world);
    assert_int_equal(world_send(world, alice(world), "@bob", "three", 0).status, STATUS_OK);
    assert_string_equal(world_reads(world, alice(world), 0),
                        "MESSAGE @bob alice one; MESSAGE @bob alice two; MESSAGE @bob alice three");
}

#define WORLD_TEST(test) cmocka_unit_test_setup_teardown(test, open_world, close_world)
#define FOLDER_TEST(test)                                                \
    {                                                                    \
#test " (folder)", test, open_world_in_folder, close_world, NULL \
    }

int main(void)
{
    const struct CMUnitTest tests[] = {
        WORLD_TEST(test_repeat__gets_the_first_answer),
        FOLDER_TEST(test_repeat__gets_the_first_answer),
        WORLD_TEST(test_repeat__a_refusal_stays_one_when_it_would_succeed_now),
        WORLD_TEST(test_repeat__of_a_join_tells_nothing_to_one_who_left),
        WORLD_TEST(test_repeat__of_a_join_to_a_room_that_is_no_more),
        WORLD_TEST(test_number__zero),
        WORLD_TEST(test_number__skipping_one_is_not_an_outcome),
        WORLD_TEST(test_number__window_from_both_sides),
        FOLDER_TEST(test_number__window_from_both_sides),
        WORLD_TEST(test_number__each_session_counts_for_itself),
        WORLD_TEST(test_number__nobody_is_not_logged_in),
        WORLD_TEST(test_refusal__with_retry_is_not_remembered),
        WORLD_TEST(test_refusal__no_memory_is_not_remembered),
        WORLD_TEST(test_refusal__text_of_any_length_is_cut),
        WORLD_TEST(test_time__does_not_go_back_a_little),
        WORLD_TEST(test_time__goes_back_where_it_was_far_ahead),
        WORLD_TEST(test_time__far_ahead_and_back_breaks_nothing),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
