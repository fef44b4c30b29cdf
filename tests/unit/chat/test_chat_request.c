/* SPDX-License-Identifier: MIT */
/* Numbered requests: each is carried out once and answered alike for ever (src/chat/propose.c,
 * outcome.c), and times that never go back. */
#include "chat_fixture.h"
#include "support/folder.h"
#include "support/test.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static void begin(struct chat_fixture *f)
{
    chat_fixture_open_with(f, 4, NULL, "alice bob");
}

static void begin_in_folder(struct chat_fixture *f)
{
    chat_fixture_open_with(f, 4, folder_new(), "alice bob");
}

static void end(struct chat_fixture *f)
{
    char *folder = f->folder;
    chat_fixture_close(f);
    if (folder != NULL)
        folder_remove(folder);
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

TEST_ON(test_repeat__gets_the_first_answer, struct chat_fixture, begin, end)
{
    struct answer join = chat_fixture_join(f, alice(f), "general", 1);
    struct answer send = chat_fixture_send(f, alice(f), "general", "hello", 2);
    struct answer refused = chat_fixture_send(f, alice(f), "nowhere", "hello", 3);
    struct answer twice = chat_fixture_join(f, alice(f), "general", 4);
    assert_true(join.outcome.created);
    assert_false(twice.outcome.created);
    uint64_t seq = f->seq;
    for (int round = 0; round < 3; round++) {
        f->time_ms += 1000;
        struct answer again = chat_fixture_join(f, alice(f), "general", 1);
        assert_same_outcome(&join, &again);
        again = chat_fixture_send(f, alice(f), "general", "hello", 2);
        assert_same_outcome(&send, &again);
        again = chat_fixture_send(f, alice(f), "nowhere", "hello", 3);
        assert_same_outcome(&refused, &again);
        assert_int_equal(again.status, STATUS_NOT_FOUND);
        again = chat_fixture_join(f, alice(f), "general", 4);
        assert_same_outcome(&twice, &again);
        assert_int_equal(f->seq, seq);
        chat_fixture_reopen(f);
    }
    chat_fixture_send(f, alice(f), "general", "next", 0);
    assert_reads(f, alice(f), 0,
                 "JOINED general alice; OWNER general alice; MESSAGE general alice hello; "
                 "MESSAGE general alice next");
}

TEST_ON(test_repeat__a_refusal_stays_one_when_it_would_succeed_now, struct chat_fixture, begin, end)
{
    struct answer refused = chat_fixture_send(f, alice(f), "general", "hello", 1);
    assert_int_equal(refused.status, STATUS_NOT_FOUND);
    chat_fixture_join(f, chat_fixture_session(f, "bob"), "general", 0);
    chat_fixture_join(f, alice(f), "general", 2);
    struct answer again = chat_fixture_send(f, alice(f), "general", "hello", 1);
    assert_same_outcome(&refused, &again);
}

TEST_ON(test_repeat__of_a_join_tells_nothing_to_one_who_left, struct chat_fixture, begin, end)
{
    struct answer join = chat_fixture_join(f, alice(f), "general", 1);
    chat_fixture_topic(f, alice(f), "general", "topic");
    chat_fixture_leave(f, alice(f), "general");
    struct chat_call call = chat_fixture_call(f, alice(f));
    Jackdaw__JoinRoomReply reply = JACKDAW__JOIN_ROOM_REPLY__INIT;
    assert_int_equal(chat_answer_join(f->chat, &call, &join.outcome, &reply), OK);
    assert_string_equal(reply.room, "general");
    assert_true(reply.created);
    assert_string_equal(reply.topic, "");
    assert_int_equal(reply.members, 0);
}

TEST_ON(test_repeat__of_a_join_to_a_room_that_is_no_more, struct chat_fixture, begin, end)
{
    struct answer join = chat_fixture_join_private(f, alice(f), "secret");
    chat_fixture_leave(f, alice(f), "secret");
    struct chat_call call = chat_fixture_call(f, alice(f));
    Jackdaw__JoinRoomReply reply = JACKDAW__JOIN_ROOM_REPLY__INIT;
    assert_int_equal(chat_answer_join(f->chat, &call, &join.outcome, &reply), OK);
    assert_memory_equal(reply.room, "deleted:", 8);
}

TEST_ON(test_number__zero, struct chat_fixture, begin, end)
{
    struct chat_call call = chat_fixture_call(f, alice(f));
    Jackdaw__SendRequest request = JACKDAW__SEND_REQUEST__INIT;
    request.to = "@bob";
    request.text = "hello";
    enum chat_decision decision = chat_propose_send(f->chat, &call, &request);
    assert_int_equal(decision, CHAT_REFUSE);
    assert_int_equal(call.status, STATUS_INVALID_ARGUMENT);
    assert_int_equal(chat_propose_refusal(f->chat, &call, 0), CHAT_REFUSE);
    assert_int_equal(chat_session_last_request(alice(f)), 0);
}

TEST_ON(test_number__skipping_one_is_not_an_outcome, struct chat_fixture, begin, end)
{
    struct answer answer = chat_fixture_send(f, alice(f), "@bob", "two", 2);
    assert_int_equal(answer.status, STATUS_ABORTED);
    assert_int_equal(answer.next_request, 1);
    assert_true(answer.retry_ms > 0);
    assert_false(answer.applied);
    assert_status(chat_fixture_send(f, alice(f), "@bob", "max", UINT64_MAX), STATUS_ABORTED);
    assert_ok(chat_fixture_send(f, alice(f), "@bob", "one", 1));
    assert_ok(chat_fixture_send(f, alice(f), "@bob", "two", 2));
    assert_reads(f, alice(f), 0, "MESSAGE @bob alice one; MESSAGE @bob alice two");
}

TEST_ON(test_number__window_from_both_sides, struct chat_fixture, begin, end)
{
    for (uint64_t i = 1; i <= 256; i++)
        assert_ok(chat_fixture_send(f, alice(f), "@bob", "x", i));
    struct answer first = chat_fixture_send(f, alice(f), "@bob", "x", 1);
    assert_int_equal(first.outcome.number, 1);
    assert_ok(chat_fixture_send(f, alice(f), "@bob", "x", 257));
    struct answer old = chat_fixture_send(f, alice(f), "@bob", "x", 1);
    assert_int_equal(old.status, STATUS_OUT_OF_RANGE);
    assert_int_equal(old.retry_ms, 0);
    assert_false(old.applied);
    assert_int_equal(chat_fixture_send(f, alice(f), "@bob", "x", 2).outcome.number, 2);
    chat_fixture_reopen(f);
    assert_status(chat_fixture_send(f, alice(f), "@bob", "x", 1), STATUS_OUT_OF_RANGE);
    assert_int_equal(chat_fixture_send(f, alice(f), "@bob", "x", 2).outcome.number, 2);
    assert_int_equal(chat_session_last_request(alice(f)), 257);
}

TEST_ON(test_number__each_session_counts_for_itself, struct chat_fixture, begin, end)
{
    struct chat_session *second = chat_fixture_device(f, "alice", "second");
    assert_ok(chat_fixture_send(f, alice(f), "@bob", "a1", 1));
    assert_ok(chat_fixture_send(f, second, "@bob", "b1", 1));
    assert_ok(chat_fixture_send(f, second, "@bob", "b2", 2));
    assert_ok(chat_fixture_send(f, alice(f), "@bob", "a2", 2));
    assert_reads(f, alice(f), 0,
                 "MESSAGE @bob alice a1; MESSAGE @bob alice b1; MESSAGE @bob alice b2; "
                 "MESSAGE @bob alice a2");
}

TEST_ON(test_number__nobody_is_not_logged_in, struct chat_fixture, begin, end)
{
    struct chat_call call = chat_fixture_call(f, NULL);
    assert_int_equal(chat_check_request(f->chat, &call, 1), CHAT_REFUSE);
    assert_int_equal(call.status, STATUS_UNAUTHENTICATED);
    assert_int_equal(chat_propose_refusal(f->chat, &call, 1), CHAT_REFUSE);
}

TEST_ON(test_refusal__with_retry_is_not_remembered, struct chat_fixture, begin, end)
{
    struct chat_call call = chat_fixture_call(f, alice(f));
    call.status = STATUS_UNAVAILABLE;
    call.text = "no master";
    call.retry_ms = 10;
    assert_int_equal(chat_propose_refusal(f->chat, &call, 1), CHAT_REFUSE);
    assert_int_equal(call.status, STATUS_UNAVAILABLE);
    assert_null(call.delta);
}

TEST_ON(test_refusal__no_memory_is_not_remembered, struct chat_fixture, begin, end)
{
    struct chat_call call = chat_fixture_call(f, alice(f));
    struct arena tiny;
    arena_init(&tiny, 64);
    call.arena = &tiny;
    Jackdaw__SendRequest request = JACKDAW__SEND_REQUEST__INIT;
    request.request = 1;
    request.to = "@bob";
    request.text = "hello";
    assert_int_equal(chat_propose_send(f->chat, &call, &request), CHAT_REFUSE);
    assert_int_equal(call.status, STATUS_RESOURCE_EXHAUSTED);
    assert_true(call.retry_ms > 0);
    assert_true(strlen(call.text) > 10);
    arena_clear(&tiny);
}

TEST_ON(test_refusal__text_of_any_length_is_cut, struct chat_fixture, begin, end)
{
    char name[500];
    memset(name, 'x', sizeof name - 1);
    name[sizeof name - 1] = '\0';
    struct answer answer = chat_fixture_send(f, alice(f), name, "x", 0);
    assert_int_equal(answer.status, STATUS_INVALID_ARGUMENT);
    assert_true(answer.applied);
}

static uint64_t time_of(struct chat_fixture *f, const char *text)
{
    return chat_fixture_send(f, alice(f), "@bob", text, 0).outcome.time_ms;
}

/* The clocks of servers differ a little: that does not show, also not after a restart. */
TEST_ON(test_time__does_not_go_back_a_little, struct chat_fixture, begin, end)
{
    f->time_ms += 50000;
    uint64_t start = f->time_ms;
    assert_int_equal(time_of(f, "one"), start);
    f->time_ms = start - CHAT_TIME_SLACK_MS;
    assert_int_equal(time_of(f, "two"), start);
    chat_fixture_reopen(f);
    assert_int_equal(time_of(f, "three"), start);
    f->time_ms = start + 1;
    assert_int_equal(time_of(f, "four"), start + 1);
}

TEST_ON(test_time__goes_back_where_it_was_far_ahead, struct chat_fixture, begin, end)
{
    f->time_ms += 50000;
    uint64_t start = f->time_ms;
    (void)time_of(f, "one");
    f->time_ms = start - CHAT_TIME_SLACK_MS - 1;
    assert_int_equal(time_of(f, "two"), start - CHAT_TIME_SLACK_MS - 1);
    f->time_ms = start - CHAT_TIME_SLACK_MS - 2;
    assert_int_equal(time_of(f, "three"), start - CHAT_TIME_SLACK_MS - 1); /* a little */
    chat_fixture_reopen(f);
    f->time_ms = 1700000000000;
    assert_int_equal(time_of(f, "four"), 1700000000000);
    f->time_ms = 0;
    assert_int_equal(time_of(f, "five"), 0);
}

/* Order, numbers, repeated requests, limits and presence do not look at the time. */
TEST_ON(test_time__far_ahead_and_back_breaks_nothing, struct chat_fixture, begin, end)
{
    f->time_ms = UINT64_MAX;
    assert_int_equal(time_of(f, "one"), UINT64_MAX);
    f->time_ms = 1700000000000;
    struct answer two = chat_fixture_send(f, alice(f), "@bob", "two", 0);
    assert_int_equal(two.outcome.time_ms, 1700000000000);
    chat_fixture_reopen(f);
    assert_ok(chat_fixture_send(f, alice(f), "@bob", "three", 0));
    assert_reads(f, alice(f), 0,
                 "MESSAGE @bob alice one; MESSAGE @bob alice two; MESSAGE @bob alice three");
}

TEST_ON(test_repeat__gets_the_first_answer_in_folder, struct chat_fixture, begin_in_folder, end)
{
    test_repeat__gets_the_first_answer_on(f);
}

TEST_ON(test_number__window_from_both_sides_in_folder, struct chat_fixture, begin_in_folder, end)
{
    test_number__window_from_both_sides_on(f);
}
