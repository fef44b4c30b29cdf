/* SPDX-License-Identifier: MIT */
/* Numbered requests: each is carried out once and answered alike for ever (src/chat/propose.c,
 * outcome.c), and times that never go back. */
#include "chat_fixture.h"
#include "support/folder.h"
#include "support/test.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static int open_chat_fixture(void **state)
{
    struct chat_fixture *fixture = malloc(sizeof *fixture);
    chat_fixture_open(fixture, 4, NULL);
    chat_fixture_person(fixture, "alice");
    chat_fixture_person(fixture, "bob");
    *state = fixture;
    return 0;
}

static int open_chat_fixture_in_folder(void **state)
{
    struct chat_fixture *fixture = malloc(sizeof *fixture);
    chat_fixture_open(fixture, 4, folder_new());
    chat_fixture_person(fixture, "alice");
    chat_fixture_person(fixture, "bob");
    *state = fixture;
    return 0;
}

static int close_chat_fixture(void **state)
{
    struct chat_fixture *fixture = *state;
    char *folder = fixture->folder;
    chat_fixture_close(fixture);
    if (folder != NULL)
        folder_remove(folder);
    free(fixture);
    return 0;
}

static struct chat_session *alice(struct chat_fixture *fixture)
{
    return chat_fixture_session(fixture, "alice");
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

TEST_WITH(test_repeat__gets_the_first_answer, open_chat_fixture, close_chat_fixture)
{
    struct chat_fixture *fixture = *state;
    struct answer join = chat_fixture_join(fixture, alice(fixture), "general", 1);
    struct answer send = chat_fixture_send(fixture, alice(fixture), "general", "hello", 2);
    struct answer refused = chat_fixture_send(fixture, alice(fixture), "nowhere", "hello", 3);
    struct answer twice = chat_fixture_join(fixture, alice(fixture), "general", 4);
    assert_true(join.outcome.created);
    assert_false(twice.outcome.created);
    uint64_t seq = fixture->seq;
    for (int round = 0; round < 3; round++) {
        fixture->time_ms += 1000;
        struct answer again = chat_fixture_join(fixture, alice(fixture), "general", 1);
        assert_same_outcome(&join, &again);
        again = chat_fixture_send(fixture, alice(fixture), "general", "hello", 2);
        assert_same_outcome(&send, &again);
        again = chat_fixture_send(fixture, alice(fixture), "nowhere", "hello", 3);
        assert_same_outcome(&refused, &again);
        assert_int_equal(again.status, STATUS_NOT_FOUND);
        again = chat_fixture_join(fixture, alice(fixture), "general", 4);
        assert_same_outcome(&twice, &again);
        assert_int_equal(fixture->seq, seq);
        chat_fixture_reopen(fixture);
    }
    chat_fixture_send(fixture, alice(fixture), "general", "next", 0);
    assert_string_equal(chat_fixture_reads(fixture, alice(fixture), 0),
                        "JOINED general alice; OWNER general alice; MESSAGE general alice hello; "
                        "MESSAGE general alice next");
}

TEST_WITH(test_repeat__a_refusal_stays_one_when_it_would_succeed_now, open_chat_fixture,
          close_chat_fixture)
{
    struct chat_fixture *fixture = *state;
    struct answer refused = chat_fixture_send(fixture, alice(fixture), "general", "hello", 1);
    assert_int_equal(refused.status, STATUS_NOT_FOUND);
    chat_fixture_join(fixture, chat_fixture_session(fixture, "bob"), "general", 0);
    chat_fixture_join(fixture, alice(fixture), "general", 2);
    struct answer again = chat_fixture_send(fixture, alice(fixture), "general", "hello", 1);
    assert_same_outcome(&refused, &again);
}

TEST_WITH(test_repeat__of_a_join_tells_nothing_to_one_who_left, open_chat_fixture,
          close_chat_fixture)
{
    struct chat_fixture *fixture = *state;
    struct answer join = chat_fixture_join(fixture, alice(fixture), "general", 1);
    chat_fixture_topic(fixture, alice(fixture), "general", "topic");
    chat_fixture_leave(fixture, alice(fixture), "general");
    struct chat_call call = chat_fixture_call(fixture, alice(fixture));
    Jackdaw__JoinRoomReply reply = JACKDAW__JOIN_ROOM_REPLY__INIT;
    assert_int_equal(chat_answer_join(fixture->chat, &call, &join.outcome, &reply), OK);
    assert_string_equal(reply.room, "general");
    assert_true(reply.created);
    assert_string_equal(reply.topic, "");
    assert_int_equal(reply.members, 0);
}

TEST_WITH(test_repeat__of_a_join_to_a_room_that_is_no_more, open_chat_fixture, close_chat_fixture)
{
    struct chat_fixture *fixture = *state;
    struct answer join = chat_fixture_join_private(fixture, alice(fixture), "secret");
    chat_fixture_leave(fixture, alice(fixture), "secret");
    struct chat_call call = chat_fixture_call(fixture, alice(fixture));
    Jackdaw__JoinRoomReply reply = JACKDAW__JOIN_ROOM_REPLY__INIT;
    assert_int_equal(chat_answer_join(fixture->chat, &call, &join.outcome, &reply), OK);
    assert_memory_equal(reply.room, "deleted:", 8);
}

TEST_WITH(test_number__zero, open_chat_fixture, close_chat_fixture)
{
    struct chat_fixture *fixture = *state;
    struct chat_call call = chat_fixture_call(fixture, alice(fixture));
    Jackdaw__SendRequest request = JACKDAW__SEND_REQUEST__INIT;
    request.to = "@bob";
    request.text = "hello";
    enum chat_decision decision = chat_propose_send(fixture->chat, &call, &request);
    assert_int_equal(decision, CHAT_REFUSE);
    assert_int_equal(call.status, STATUS_INVALID_ARGUMENT);
    assert_int_equal(chat_propose_refusal(fixture->chat, &call, 0), CHAT_REFUSE);
    assert_int_equal(chat_session_last_request(alice(fixture)), 0);
}

TEST_WITH(test_number__skipping_one_is_not_an_outcome, open_chat_fixture, close_chat_fixture)
{
    struct chat_fixture *fixture = *state;
    struct answer answer = chat_fixture_send(fixture, alice(fixture), "@bob", "two", 2);
    assert_int_equal(answer.status, STATUS_ABORTED);
    assert_int_equal(answer.next_request, 1);
    assert_true(answer.retry_ms > 0);
    assert_false(answer.applied);
    assert_int_equal(chat_fixture_send(fixture, alice(fixture), "@bob", "max", UINT64_MAX).status,
                     STATUS_ABORTED);
    assert_int_equal(chat_fixture_send(fixture, alice(fixture), "@bob", "one", 1).status,
                     STATUS_OK);
    assert_int_equal(chat_fixture_send(fixture, alice(fixture), "@bob", "two", 2).status,
                     STATUS_OK);
    assert_string_equal(chat_fixture_reads(fixture, alice(fixture), 0),
                        "MESSAGE @bob alice one; MESSAGE @bob alice two");
}

TEST_WITH(test_number__window_from_both_sides, open_chat_fixture, close_chat_fixture)
{
    struct chat_fixture *fixture = *state;
    for (uint64_t i = 1; i <= 256; i++)
        assert_int_equal(chat_fixture_send(fixture, alice(fixture), "@bob", "x", i).status,
                         STATUS_OK);
    struct answer first = chat_fixture_send(fixture, alice(fixture), "@bob", "x", 1);
    assert_int_equal(first.outcome.number, 1);
    assert_int_equal(chat_fixture_send(fixture, alice(fixture), "@bob", "x", 257).status,
                     STATUS_OK);
    struct answer old = chat_fixture_send(fixture, alice(fixture), "@bob", "x", 1);
    assert_int_equal(old.status, STATUS_OUT_OF_RANGE);
    assert_int_equal(old.retry_ms, 0);
    assert_false(old.applied);
    assert_int_equal(chat_fixture_send(fixture, alice(fixture), "@bob", "x", 2).outcome.number, 2);
    chat_fixture_reopen(fixture);
    assert_int_equal(chat_fixture_send(fixture, alice(fixture), "@bob", "x", 1).status,
                     STATUS_OUT_OF_RANGE);
    assert_int_equal(chat_fixture_send(fixture, alice(fixture), "@bob", "x", 2).outcome.number, 2);
    assert_int_equal(chat_session_last_request(alice(fixture)), 257);
}

TEST_WITH(test_number__each_session_counts_for_itself, open_chat_fixture, close_chat_fixture)
{
    struct chat_fixture *fixture = *state;
    struct chat_session *second = chat_fixture_device(fixture, "alice", "second");
    assert_int_equal(chat_fixture_send(fixture, alice(fixture), "@bob", "a1", 1).status, STATUS_OK);
    assert_int_equal(chat_fixture_send(fixture, second, "@bob", "b1", 1).status, STATUS_OK);
    assert_int_equal(chat_fixture_send(fixture, second, "@bob", "b2", 2).status, STATUS_OK);
    assert_int_equal(chat_fixture_send(fixture, alice(fixture), "@bob", "a2", 2).status, STATUS_OK);
    assert_string_equal(chat_fixture_reads(fixture, alice(fixture), 0),
                        "MESSAGE @bob alice a1; MESSAGE @bob alice b1; MESSAGE @bob alice b2; "
                        "MESSAGE @bob alice a2");
}

TEST_WITH(test_number__nobody_is_not_logged_in, open_chat_fixture, close_chat_fixture)
{
    struct chat_fixture *fixture = *state;
    struct chat_call call = chat_fixture_call(fixture, NULL);
    assert_int_equal(chat_check_request(fixture->chat, &call, 1), CHAT_REFUSE);
    assert_int_equal(call.status, STATUS_UNAUTHENTICATED);
    assert_int_equal(chat_propose_refusal(fixture->chat, &call, 1), CHAT_REFUSE);
}

TEST_WITH(test_refusal__with_retry_is_not_remembered, open_chat_fixture, close_chat_fixture)
{
    struct chat_fixture *fixture = *state;
    struct chat_call call = chat_fixture_call(fixture, alice(fixture));
    call.status = STATUS_UNAVAILABLE;
    call.text = "no master";
    call.retry_ms = 10;
    assert_int_equal(chat_propose_refusal(fixture->chat, &call, 1), CHAT_REFUSE);
    assert_int_equal(call.status, STATUS_UNAVAILABLE);
    assert_null(call.delta);
}

TEST_WITH(test_refusal__no_memory_is_not_remembered, open_chat_fixture, close_chat_fixture)
{
    struct chat_fixture *fixture = *state;
    struct chat_call call = chat_fixture_call(fixture, alice(fixture));
    struct arena tiny;
    arena_init(&tiny, 64);
    call.arena = &tiny;
    Jackdaw__SendRequest request = JACKDAW__SEND_REQUEST__INIT;
    request.request = 1;
    request.to = "@bob";
    request.text = "hello";
    assert_int_equal(chat_propose_send(fixture->chat, &call, &request), CHAT_REFUSE);
    assert_int_equal(call.status, STATUS_RESOURCE_EXHAUSTED);
    assert_true(call.retry_ms > 0);
    assert_true(strlen(call.text) > 10);
    arena_clear(&tiny);
}

TEST_WITH(test_refusal__text_of_any_length_is_cut, open_chat_fixture, close_chat_fixture)
{
    struct chat_fixture *fixture = *state;
    char name[500];
    memset(name, 'x', sizeof name - 1);
    name[sizeof name - 1] = '\0';
    struct answer answer = chat_fixture_send(fixture, alice(fixture), name, "x", 0);
    assert_int_equal(answer.status, STATUS_INVALID_ARGUMENT);
    assert_true(answer.applied);
}

/* ---- time ---- */

static uint64_t time_of(struct chat_fixture *fixture, const char *text)
{
    return chat_fixture_send(fixture, alice(fixture), "@bob", text, 0).outcome.time_ms;
}

/* The clocks of servers differ a little: that does not show, also not after a restart. */
TEST_WITH(test_time__does_not_go_back_a_little, open_chat_fixture, close_chat_fixture)
{
    struct chat_fixture *fixture = *state;
    fixture->time_ms += 50000;
    uint64_t start = fixture->time_ms;
    assert_int_equal(time_of(fixture, "one"), start);
    fixture->time_ms = start - CHAT_TIME_SLACK_MS;
    assert_int_equal(time_of(fixture, "two"), start);
    chat_fixture_reopen(fixture);
    assert_int_equal(time_of(fixture, "three"), start);
    fixture->time_ms = start + 1;
    assert_int_equal(time_of(fixture, "four"), start + 1);
}

TEST_WITH(test_time__goes_back_where_it_was_far_ahead, open_chat_fixture, close_chat_fixture)
{
    struct chat_fixture *fixture = *state;
    fixture->time_ms += 50000;
    uint64_t start = fixture->time_ms;
    (void)time_of(fixture, "one");
    fixture->time_ms = start - CHAT_TIME_SLACK_MS - 1;
    assert_int_equal(time_of(fixture, "two"), start - CHAT_TIME_SLACK_MS - 1);
    fixture->time_ms = start - CHAT_TIME_SLACK_MS - 2;
    assert_int_equal(time_of(fixture, "three"), start - CHAT_TIME_SLACK_MS - 1); /* a little */
    chat_fixture_reopen(fixture);
    fixture->time_ms = 1700000000000;
    assert_int_equal(time_of(fixture, "four"), 1700000000000);
    fixture->time_ms = 0;
    assert_int_equal(time_of(fixture, "five"), 0);
}

/* Order, numbers, repeated requests, limits and presence do not look at the time. */
TEST_WITH(test_time__far_ahead_and_back_breaks_nothing, open_chat_fixture, close_chat_fixture)
{
    struct chat_fixture *fixture = *state;
    fixture->time_ms = UINT64_MAX;
    assert_int_equal(time_of(fixture, "one"), UINT64_MAX);
    fixture->time_ms = 1700000000000;
    struct answer two = chat_fixture_send(fixture, alice(fixture), "@bob", "two", 0);
    assert_int_equal(two.outcome.time_ms, 1700000000000);
    chat_fixture_reopen(fixture);
    assert_int_equal(chat_fixture_send(fixture, alice(fixture), "@bob", "three", 0).status,
                     STATUS_OK);
    assert_string_equal(chat_fixture_reads(fixture, alice(fixture), 0),
                        "MESSAGE @bob alice one; MESSAGE @bob alice two; MESSAGE @bob alice three");
}

/* ---- again, with a database in a folder ---- */

TEST_REGISTER(test_repeat__gets_the_first_answer_in_folder,
              "test_repeat__gets_the_first_answer (folder)", test_repeat__gets_the_first_answer,
              open_chat_fixture_in_folder, close_chat_fixture, NULL);
TEST_REGISTER(test_number__window_from_both_sides_in_folder,
              "test_number__window_from_both_sides (folder)", test_number__window_from_both_sides,
              open_chat_fixture_in_folder, close_chat_fixture, NULL);
