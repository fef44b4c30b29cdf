/* SPDX-License-Identifier: MIT */
/* Sending, direct conversations, typing, history: src/chat/message.c, typing.c, history.c. */
#include "chat_fixture.h"
#include "support/test.h"
#include "support/text_append.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static int open_chat_fixture(void **state)
{
    struct chat_fixture *fixture = malloc(sizeof *fixture);
    chat_fixture_open(fixture, 3, NULL);
    chat_fixture_person(fixture, "alice");
    chat_fixture_person(fixture, "bob");
    chat_fixture_person(fixture, "carol");
    *state = fixture;
    return 0;
}

static int close_chat_fixture(void **state)
{
    chat_fixture_close(*state);
    free(*state);
    return 0;
}

static struct chat_session *alice(struct chat_fixture *fixture)
{
    return chat_fixture_session(fixture, "alice");
}

static struct chat_session *bob(struct chat_fixture *fixture)
{
    return chat_fixture_session(fixture, "bob");
}

static struct chat_session *carol(struct chat_fixture *fixture)
{
    return chat_fixture_session(fixture, "carol");
}

TEST_WITH(test_send__to_a_room, open_chat_fixture, close_chat_fixture)
{
    struct chat_fixture *fixture = *state;
    chat_fixture_join(fixture, alice(fixture), "general", 0);
    chat_fixture_join(fixture, bob(fixture), "general", 0);
    struct chat_session *second = chat_fixture_device(fixture, "bob", "second");
    chat_fixture_clear_seen(fixture);
    fixture->time_ms += 5;
    struct answer answer = chat_fixture_send(fixture, alice(fixture), "#general", "hello", 0);
    assert_int_equal(answer.status, STATUS_OK);
    assert_int_equal(answer.outcome.number, 1);
    assert_int_equal(answer.outcome.position.seq, fixture->seq);
    assert_int_equal(answer.outcome.position.epoch, fixture->epoch);
    assert_int_equal(answer.outcome.time_ms, fixture->time_ms);
    assert_string_equal(chat_fixture_story(fixture, alice(fixture)), "MESSAGE general alice hello");
    assert_string_equal(chat_fixture_story(fixture, bob(fixture)), "MESSAGE general alice hello");
    assert_string_equal(chat_fixture_story(fixture, second), "MESSAGE general alice hello");
    assert_string_equal(chat_fixture_story(fixture, carol(fixture)), "");
    const struct chat_event *event = &fixture->seen[0].event;
    assert_int_equal(event->number, 1);
    assert_int_equal(event->session, chat_session_id(alice(fixture)));
    assert_int_equal(event->request, 2);
    assert_int_equal(event->time_ms, fixture->time_ms);
}

TEST_WITH(test_send__numbers_have_no_holes, open_chat_fixture, close_chat_fixture)
{
    struct chat_fixture *fixture = *state;
    chat_fixture_join(fixture, alice(fixture), "general", 0);
    for (uint64_t i = 1; i <= 5; i++) {
        struct answer answer = chat_fixture_send(fixture, alice(fixture), "general", "x", 0);
        assert_int_equal(answer.outcome.number, i);
        chat_fixture_topic(fixture, alice(fixture), "general", i % 2 ? "odd" : "even");
        assert_int_equal(chat_fixture_send(fixture, alice(fixture), "general", "", 0).status,
                         STATUS_INVALID_ARGUMENT);
    }
}

TEST_WITH(test_send__answer, open_chat_fixture, close_chat_fixture)
{
    struct chat_fixture *fixture = *state;
    struct answer answer = chat_fixture_send(fixture, alice(fixture), "@BOB", "hello", 0);
    struct chat_call call = chat_fixture_call(fixture, alice(fixture));
    Jackdaw__SendReply reply = JACKDAW__SEND_REPLY__INIT;
    assert_int_equal(chat_answer_send(fixture->chat, &call, &answer.outcome, &reply), OK);
    assert_string_equal(reply.room, "@bob");
    assert_int_equal(reply.number, 1);
    assert_int_equal(reply.position->seq, fixture->seq);
    assert_int_equal(reply.position->epoch, fixture->epoch);
    assert_int_equal(reply.time_ms, fixture->time_ms);
}

TEST_WITH(test_send__to_a_person, open_chat_fixture, close_chat_fixture)
{
    struct chat_fixture *fixture = *state;
    chat_fixture_clear_seen(fixture);
    assert_int_equal(chat_fixture_send(fixture, alice(fixture), "@bob", "psst", 0).status,
                     STATUS_OK);
    struct answer answer = chat_fixture_send(fixture, bob(fixture), "@alice", "what", 0);
    assert_int_equal(answer.outcome.number, 2);
    assert_string_equal(chat_fixture_story(fixture, alice(fixture)),
                        "MESSAGE @bob alice psst; MESSAGE @bob bob what");
    assert_string_equal(chat_fixture_story(fixture, bob(fixture)),
                        "MESSAGE @alice alice psst; MESSAGE @alice bob what");
    assert_string_equal(chat_fixture_story(fixture, carol(fixture)), "");
    chat_fixture_reopen(fixture);
    assert_int_equal(chat_fixture_send(fixture, bob(fixture), "@alice", "still", 0).outcome.number,
                     3);
    assert_string_equal(chat_fixture_reads(fixture, alice(fixture), 0),
                        "MESSAGE @bob alice psst; MESSAGE @bob bob what; MESSAGE @bob bob still");
}

TEST_WITH(test_send__to_oneself, open_chat_fixture, close_chat_fixture)
{
    struct chat_fixture *fixture = *state;
    chat_fixture_clear_seen(fixture);
    assert_int_equal(chat_fixture_send(fixture, alice(fixture), "@alice", "note", 0).status,
                     STATUS_OK);
    assert_int_equal(chat_fixture_send(fixture, alice(fixture), "@alice", "more", 0).outcome.number,
                     2);
    assert_string_equal(chat_fixture_story(fixture, alice(fixture)),
                        "MESSAGE @alice alice note; MESSAGE @alice alice more");
    chat_fixture_reopen(fixture);
    assert_string_equal(chat_fixture_reads(fixture, alice(fixture), 0),
                        "MESSAGE @alice alice note; MESSAGE @alice alice more");
}

static void assert_refused(struct answer answer, enum status status, const char *text)
{
    if (answer.status != status || strcmp(answer.text, text) != 0)
        fail_msg("%s: %s", status_name(answer.status), answer.text);
    assert_true(answer.applied);
    assert_int_equal(answer.outcome.status, status);
    assert_int_equal(answer.outcome.number, 0);
}

TEST_WITH(test_send__refusals, open_chat_fixture, close_chat_fixture)
{
    struct chat_fixture *fixture = *state;
    chat_fixture_join(fixture, alice(fixture), "general", 0);
    assert_refused(chat_fixture_send(fixture, bob(fixture), "general", "x", 0),
                   STATUS_PERMISSION_DENIED, "You are not in #general; join it first.");
    assert_refused(chat_fixture_send(fixture, bob(fixture), "nowhere", "x", 0), STATUS_NOT_FOUND,
                   "There is no room #nowhere; join it to make it.");
    assert_refused(chat_fixture_send(fixture, bob(fixture), "@nobody", "x", 0), STATUS_NOT_FOUND,
                   "There is no account @nobody; check the name.");
    assert_refused(chat_fixture_send(fixture, bob(fixture), "", "x", 0), STATUS_INVALID_ARGUMENT,
                   "A name must not be empty; give the name of a room.");
    assert_refused(chat_fixture_send(fixture, bob(fixture), "@", "x", 0), STATUS_INVALID_ARGUMENT,
                   "A name must not be empty; give the name of an account.");
    assert_refused(chat_fixture_send(fixture, alice(fixture), "general", "", 0),
                   STATUS_INVALID_ARGUMENT, "The message is empty; write something.");
    assert_refused(chat_fixture_send(fixture, alice(fixture), "general", "\xC3(", 0),
                   STATUS_INVALID_ARGUMENT, "The message is not valid UTF-8; send it as UTF-8.");
    chat_fixture_leave(fixture, alice(fixture), "general");
    assert_int_equal(chat_fixture_send(fixture, alice(fixture), "general", "x", 0).status,
                     STATUS_PERMISSION_DENIED);
}

TEST_WITH(test_send__length_from_both_sides, open_chat_fixture, close_chat_fixture)
{
    struct chat_fixture *fixture = *state;
    fixture->limits.message_bytes = 10;
    chat_fixture_reopen(fixture);
    chat_fixture_join(fixture, alice(fixture), "general", 0);
    assert_int_equal(chat_fixture_send(fixture, alice(fixture), "general", "0123456789", 0).status,
                     STATUS_OK);
    assert_refused(chat_fixture_send(fixture, alice(fixture), "general", "0123456789a", 0),
                   STATUS_INVALID_ARGUMENT,
                   "The message has 11 bytes; 10 are the limit, so send it in parts.");
    assert_int_equal(chat_fixture_send(fixture, alice(fixture), "general", "1", 0).status,
                     STATUS_OK);
}

TEST_WITH(test_send__text_stays_as_it_is, open_chat_fixture, close_chat_fixture)
{
    struct chat_fixture *fixture = *state;
    const char *text = "Zoe\xCC\x88 \xF0\x9F\x90\xA6\n\tline two \x01 \xD7\x93";
    chat_fixture_send(fixture, alice(fixture), "@bob", text, 0);
    struct event_copy *seen;
    size_t count, pages;
    chat_fixture_read(fixture, bob(fixture), 0, &seen, &count, &pages);
    assert_int_equal(count, 1);
    assert_string_equal(seen[0].event.text, text);
    chat_fixture_free_seen(seen, count);
}

/* ---- who sees what ---- */

TEST_WITH(test_visibility__from_joining_to_leaving, open_chat_fixture, close_chat_fixture)
{
    struct chat_fixture *fixture = *state;
    chat_fixture_join(fixture, alice(fixture), "general", 0);
    chat_fixture_send(fixture, alice(fixture), "general", "early", 0);
    chat_fixture_join(fixture, bob(fixture), "general", 0);
    chat_fixture_send(fixture, alice(fixture), "general", "seen", 0);
    chat_fixture_leave(fixture, bob(fixture), "general");
    chat_fixture_send(fixture, alice(fixture), "general", "late", 0);
    const char *expected = "JOINED general bob; MESSAGE general alice seen; LEFT general bob";
    assert_string_equal(chat_fixture_story(fixture, bob(fixture)), expected);
    assert_string_equal(chat_fixture_reads(fixture, bob(fixture), 0), expected);
    chat_fixture_join(fixture, bob(fixture), "general", 0);
    assert_string_equal(chat_fixture_reads(fixture, bob(fixture), 0), "JOINED general bob");
}

TEST_WITH(test_visibility__kicked_while_away_still_gets_what_was_undelivered, open_chat_fixture,
          close_chat_fixture)
{
    struct chat_fixture *fixture = *state;
    chat_fixture_join(fixture, alice(fixture), "general", 0);
    chat_fixture_join(fixture, bob(fixture), "general", 0);
    uint64_t seq = fixture->seq;
    chat_note_delivered(fixture->chat, bob(fixture), seq);
    chat_fixture_deliver(fixture);
    chat_fixture_logout(fixture, bob(fixture), seq);
    chat_fixture_send(fixture, alice(fixture), "general", "one", 0);
    chat_fixture_send(fixture, alice(fixture), "general", "two", 0);
    chat_fixture_kick(fixture, alice(fixture), "general", "bob", false);
    chat_fixture_send(fixture, alice(fixture), "general", "three", 0);
    chat_fixture_reopen(fixture);
    struct chat_session *again = chat_fixture_device(fixture, "bob", "again");
    assert_string_equal(chat_fixture_reads(fixture, again, seq),
                        "MESSAGE general alice one; MESSAGE general alice two; "
                        "LEFT general bob alice kicked");
    struct chat_call call = chat_fixture_call(fixture, again);
    Jackdaw__LoginReply reply = JACKDAW__LOGIN_REPLY__INIT;
    assert_int_equal(chat_answer_login(fixture->chat, &call, &reply), OK);
    assert_int_equal(reply.n_undelivered, 1);
    assert_int_equal(reply.undelivered[0]->messages, 2);
    assert_int_equal(reply.n_rooms, 0);
}

/* ---- typing ---- */

static enum status typing(struct chat_fixture *fixture, struct chat_session *session,
                          const char *room, bool on)
{
    Jackdaw__SetTypingRequest request = JACKDAW__SET_TYPING_REQUEST__INIT;
    request.room = (char *)room;
    request.typing = on;
    struct chat_call call = chat_fixture_call(fixture, session);
    assert_int_equal(chat_set_typing(fixture->chat, &call, &request), OK);
    return call.status;
}

TEST_WITH(test_typing__is_seen_by_the_others, open_chat_fixture, close_chat_fixture)
{
    struct chat_fixture *fixture = *state;
    chat_fixture_join(fixture, alice(fixture), "general", 0);
    chat_fixture_join(fixture, bob(fixture), "general", 0);
    chat_fixture_clear_seen(fixture);
    uint64_t seq = fixture->seq;
    assert_int_equal(typing(fixture, alice(fixture), "general", true), STATUS_OK);
    assert_int_equal(typing(fixture, alice(fixture), "general", false), STATUS_OK);
    assert_string_equal(chat_fixture_whispers(fixture, bob(fixture)),
                        "TYPING general alice on; TYPING general alice off");
    assert_string_equal(chat_fixture_whispers(fixture, alice(fixture)), "");
    assert_string_equal(chat_fixture_whispers(fixture, carol(fixture)), "");
    assert_int_equal(fixture->seq, seq);
    assert_int_equal(typing(fixture, carol(fixture), "general", true), STATUS_PERMISSION_DENIED);
    assert_int_equal(typing(fixture, carol(fixture), "nowhere", true), STATUS_NOT_FOUND);
    assert_int_equal(typing(fixture, carol(fixture), "@nobody", true), STATUS_NOT_FOUND);
}

TEST_WITH(test_typing__to_a_person, open_chat_fixture, close_chat_fixture)
{
    struct chat_fixture *fixture = *state;
    chat_fixture_clear_seen(fixture);
    assert_int_equal(typing(fixture, alice(fixture), "@bob", true), STATUS_OK);
    assert_string_equal(chat_fixture_whispers(fixture, bob(fixture)), "");
    chat_fixture_send(fixture, alice(fixture), "@bob", "hi", 0);
    assert_int_equal(typing(fixture, alice(fixture), "@bob", true), STATUS_OK);
    assert_string_equal(chat_fixture_whispers(fixture, bob(fixture)), "TYPING @alice alice on");
    assert_string_equal(chat_fixture_whispers(fixture, alice(fixture)), "");
}

/* ---- history ---- */

static const char *history(struct chat_fixture *fixture, struct chat_session *session,
                           const char *room, uint64_t before, uint32_t limit, bool *more)
{
    static char text[65536];
    struct chat_call call = chat_fixture_call(fixture, session);
    struct chat_plan *plan;
    text[0] = '\0';
    *more = false;
    assert_int_equal(chat_plan_history(fixture->chat, &call, room, before, limit, &plan), OK);
    if (call.status != STATUS_OK)
        return status_name(call.status);
    struct chat_page page;
    assert_int_equal(chat_read(plan, fixture->store, call.arena, &page), OK);
    for (size_t i = 0; i < page.count; i++) {
        Jackdaw__Event event;
        assert_int_equal(chat_event_fill(fixture->chat, &page.events[i],
                                         chat_session_account(session), call.arena, &event),
                         OK);
        assert_int_equal(event.kind, JACKDAW__EVENT__KIND__MESSAGE);
        assert_int_equal(event.epoch, store_epoch_at(fixture->store, event.seq));
        text_append(text, sizeof text, "%s%d:%s", i > 0 ? " " : "", (int)event.number, event.text);
    }
    *more = page.more;
    return text;
}

TEST_WITH(test_history__pages_back_to_the_first, open_chat_fixture, close_chat_fixture)
{
    struct chat_fixture *fixture = *state;
    bool more;
    chat_fixture_join(fixture, alice(fixture), "general", 0);
    assert_string_equal(history(fixture, alice(fixture), "general", 0, 5, &more), "");
    assert_false(more);
    for (int i = 1; i <= 12; i++) {
        char text[8];
        snprintf(text, sizeof text, "m%d", i);
        chat_fixture_send(fixture, alice(fixture), "general", text, 0);
        if (i == 6)
            chat_fixture_new_epoch(fixture);
        chat_fixture_topic(fixture, alice(fixture), "general", text);
    }
    chat_fixture_join(fixture, bob(fixture), "general", 0);
    assert_string_equal(history(fixture, bob(fixture), "general", 0, 0, &more),
                        "3:m3 4:m4 5:m5 6:m6 7:m7 8:m8 9:m9 10:m10 11:m11 12:m12");
    assert_true(more);
    assert_string_equal(history(fixture, bob(fixture), "general", 3, 0, &more), "1:m1 2:m2");
    assert_false(more);
    assert_string_equal(history(fixture, bob(fixture), "general", 12, 1, &more), "11:m11");
    assert_true(more);
    assert_string_equal(history(fixture, bob(fixture), "general", 1, 10, &more), "");
    assert_false(more);
    assert_string_equal(history(fixture, bob(fixture), "general", UINT64_MAX, 1, &more), "12:m12");
}

TEST_WITH(test_history__is_for_members, open_chat_fixture, close_chat_fixture)
{
    struct chat_fixture *fixture = *state;
    bool more;
    chat_fixture_join(fixture, alice(fixture), "general", 0);
    chat_fixture_join_private(fixture, alice(fixture), "secret");
    assert_string_equal(history(fixture, bob(fixture), "general", 0, 0, &more),
                        "PERMISSION_DENIED");
    assert_string_equal(history(fixture, bob(fixture), "secret", 0, 0, &more), "NOT_FOUND");
    assert_string_equal(history(fixture, bob(fixture), "nowhere", 0, 0, &more), "NOT_FOUND");
    chat_fixture_join(fixture, bob(fixture), "general", 0);
    chat_fixture_leave(fixture, bob(fixture), "general");
    assert_string_equal(history(fixture, bob(fixture), "general", 0, 0, &more),
                        "PERMISSION_DENIED");
}

TEST_WITH(test_history__of_a_person, open_chat_fixture, close_chat_fixture)
{
    struct chat_fixture *fixture = *state;
    bool more;
    assert_string_equal(history(fixture, alice(fixture), "@bob", 0, 0, &more), "");
    assert_false(more);
    chat_fixture_send(fixture, alice(fixture), "@bob", "a", 0);
    chat_fixture_send(fixture, bob(fixture), "@alice", "b", 0);
    assert_string_equal(history(fixture, alice(fixture), "@bob", 0, 0, &more), "1:a 2:b");
    assert_string_equal(history(fixture, bob(fixture), "@alice", 0, 0, &more), "1:a 2:b");
    assert_string_equal(history(fixture, carol(fixture), "@alice", 0, 0, &more), "");
}

TEST_WITH(test_history__limits_from_both_sides, open_chat_fixture, close_chat_fixture)
{
    struct chat_fixture *fixture = *state;
    bool more;
    chat_fixture_join(fixture, alice(fixture), "general", 0);
    for (int i = 0; i < 300; i++)
        chat_fixture_send(fixture, alice(fixture), "general", "x", 0);
    struct chat_call call = chat_fixture_call(fixture, alice(fixture));
    struct chat_plan *plan;
    struct chat_page page;
    assert_int_equal(chat_plan_history(fixture->chat, &call, "general", 0, CHAT_PAGE_EVENTS, &plan),
                     OK);
    assert_int_equal(chat_read(plan, fixture->store, call.arena, &page), OK);
    assert_int_equal(page.count, CHAT_PAGE_EVENTS);
    assert_int_equal(page.events[0].number, 45);
    assert_string_equal(history(fixture, alice(fixture), "general", 0, CHAT_PAGE_EVENTS + 1, &more),
                        "INVALID_ARGUMENT");
}

TEST_WITH(test_history__bytes_end_a_page, open_chat_fixture, close_chat_fixture)
{
    struct chat_fixture *fixture = *state;
    static char text[16385];
    memset(text, 'x', sizeof text - 1);
    chat_fixture_join(fixture, alice(fixture), "general", 0);
    for (int i = 0; i < 20; i++)
        chat_fixture_send(fixture, alice(fixture), "general", text, 0);
    struct chat_call call = chat_fixture_call(fixture, alice(fixture));
    struct chat_plan *plan;
    struct chat_page page;
    assert_int_equal(chat_plan_history(fixture->chat, &call, "general", 0, 20, &plan), OK);
    assert_int_equal(chat_read(plan, fixture->store, call.arena, &page), OK);
    assert_int_equal(page.count, 4);
    assert_int_equal(page.events[3].number, 20);
    assert_true(page.more);
}

TEST_WITH(test_history__nothing_that_is_not_committed, open_chat_fixture, close_chat_fixture)
{
    struct chat_fixture *fixture = *state;
    chat_fixture_join(fixture, alice(fixture), "general", 0);
    chat_fixture_send(fixture, alice(fixture), "general", "one", 0);
    uint64_t committed = fixture->seq;
    chat_fixture_send(fixture, alice(fixture), "general", "two", 0);
    struct chat_plan *plan;
    struct chat_page page;
    for (uint64_t before = 0; before < 4; before += 3) {
        struct chat_call call = chat_fixture_call(fixture, alice(fixture));
        call.committed_seq = committed;
        assert_int_equal(chat_plan_history(fixture->chat, &call, "general", before, 5, &plan), OK);
        assert_int_equal(chat_read(plan, fixture->store, call.arena, &page), OK);
        assert_int_equal(page.count, 1);
        assert_string_equal(page.events[0].text, "one");
    }
}
