/* SPDX-License-Identifier: MIT */
/* Sending, direct conversations, typing, history: src/chat/message.c, typing.c, history.c. */
#include "batch/batch.h"
#include "chat_fixture.h"
#include "support/test.h"
#include "support/text_append.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define CHAT_SALTS_TRIED 150 /* more than are drawn at once */

static void begin(struct chat_fixture *f)
{
    chat_fixture_open_with(f, 3, NULL, "alice bob carol");
}

CHAT_TEST(test_send__to_a_room)
{
    chat_fixture_all_join(f, "general", "alice bob");
    struct chat_session *second = chat_fixture_device(f, "bob", "second");
    chat_fixture_clear_seen(f);
    f->time_ms += 5;
    struct answer answer = chat_fixture_send(f, alice(f), "#general", "hello", 0);
    assert_int_equal(answer.status, STATUS_OK);
    assert_int_equal(answer.outcome.number, 1);
    assert_int_equal(answer.outcome.position.seq, f->seq);
    assert_int_equal(answer.outcome.position.epoch, f->epoch);
    assert_int_equal(answer.outcome.time_ms, f->time_ms);
    assert_story(f, alice(f), "MESSAGE general alice hello");
    assert_story(f, bob(f), "MESSAGE general alice hello");
    assert_story(f, second, "MESSAGE general alice hello");
    assert_story(f, carol(f), "");
    const struct chat_event *event = &f->seen[0].event;
    assert_int_equal(event->number, 1);
    assert_int_equal(event->session, chat_session_id(alice(f)));
    assert_int_equal(event->request, 2);
    assert_int_equal(event->time_ms, f->time_ms);
}

CHAT_TEST(test_send__numbers_have_no_holes)
{
    chat_fixture_join(f, alice(f), "general", 0);
    for (uint64_t i = 1; i <= 5; i++) {
        struct answer answer = chat_fixture_send(f, alice(f), "general", "x", 0);
        assert_int_equal(answer.outcome.number, i);
        chat_fixture_topic(f, alice(f), "general", i % 2 ? "odd" : "even");
        assert_status(chat_fixture_send(f, alice(f), "general", "", 0), STATUS_INVALID_ARGUMENT);
    }
}

CHAT_TEST(test_send__answer)
{
    struct answer answer = chat_fixture_send(f, alice(f), "@BOB", "hello", 0);
    struct chat_call call = chat_fixture_call(f, alice(f));
    Jackdaw__SendReply reply = JACKDAW__SEND_REPLY__INIT;
    assert_int_equal(chat_answer_send(f->chat, &call, &answer.outcome, &reply), OK);
    assert_string_equal(reply.room, "@bob");
    assert_int_equal(reply.number, 1);
    assert_int_equal(reply.position->seq, f->seq);
    assert_int_equal(reply.position->epoch, f->epoch);
    assert_int_equal(reply.time_ms, f->time_ms);
}

/* A text without a salt could not be erased in the log; one salt for two would tell that they are equal. */
CHAT_TEST(test_send__gives_each_text_a_salt)
{
    uint8_t salts[CHAT_SALTS_TRIED][BATCH_SALT_BYTES];
    chat_fixture_join(f, alice(f), "general", 0);
    for (size_t i = 0; i < CHAT_SALTS_TRIED; i++) {
        bool is_topic = i % 2 == 1;
        assert_ok(is_topic ? chat_fixture_topic(f, alice(f), "general", i % 4 == 1 ? "a" : "b")
                           : chat_fixture_send(f, alice(f), "general", "x", 0));
        Jackdaw__Delta *delta = chat_fixture_unpack(&f->deltas[f->deltas_count - 1]);
        const ProtobufCBinaryData *salt =
            is_topic ? &delta->topic_set->topic_salt : &delta->message_sent->text_salt;
        assert_int_equal(salt->len, BATCH_SALT_BYTES);
        memcpy(salts[i], salt->data, BATCH_SALT_BYTES);
        for (size_t j = 0; j < i; j++)
            assert_memory_not_equal(salts[i], salts[j], BATCH_SALT_BYTES);
        jackdaw__delta__free_unpacked(delta, NULL);
    }
    assert_ok(chat_fixture_topic(f, alice(f), "general", ""));
}

/* A slave catches up with a log in which texts are erased. */
CHAT_TEST(test_send__applies_an_erased_text)
{
    uint8_t zeros[5] = {0};
    uint8_t hash[BATCH_HASH_BYTES] = {1};
    chat_fixture_join(f, alice(f), "general", 0);
    assert_ok(chat_fixture_send(f, alice(f), "general", "hello", 0));
    Jackdaw__Delta *delta = chat_fixture_unpack(&f->deltas[f->deltas_count - 1]);
    delta->request = chat_fixture_next(alice(f));
    delta->message_sent->erased_text = (ProtobufCBinaryData){sizeof zeros, zeros};
    delta->message_sent->text_hash = (ProtobufCBinaryData){sizeof hash, hash};
    assert_int_equal(chat_fixture_apply(f, delta), ERROR_CORRUPT); /* it has a text, too */
    delta->message_sent->text[0] = '\0';
    assert_int_equal(chat_fixture_apply(f, delta), OK);
    delta->message_sent->erased_text = delta->message_sent->text_hash = (ProtobufCBinaryData){0};
    jackdaw__delta__free_unpacked(delta, NULL);
    assert_reads(f, alice(f), 0,
                 "JOINED general alice; OWNER general alice; MESSAGE general alice hello; MESSAGE "
                 "general alice");
    assert_int_equal(chat_fixture_send(f, alice(f), "general", "more", 0).outcome.number, 3);
}

CHAT_TEST(test_send__to_a_person)
{
    chat_fixture_clear_seen(f);
    assert_ok(chat_fixture_send(f, alice(f), "@bob", "psst", 0));
    struct answer answer = chat_fixture_send(f, bob(f), "@alice", "what", 0);
    assert_int_equal(answer.outcome.number, 2);
    assert_story(f, alice(f), "MESSAGE @bob alice psst; MESSAGE @bob bob what");
    assert_story(f, bob(f), "MESSAGE @alice alice psst; MESSAGE @alice bob what");
    assert_story(f, carol(f), "");
    chat_fixture_reopen(f);
    assert_int_equal(chat_fixture_send(f, bob(f), "@alice", "still", 0).outcome.number, 3);
    assert_reads(f, alice(f), 0,
                 "MESSAGE @bob alice psst; MESSAGE @bob bob what; MESSAGE @bob bob still");
}

CHAT_TEST(test_send__to_oneself)
{
    chat_fixture_clear_seen(f);
    assert_ok(chat_fixture_send(f, alice(f), "@alice", "note", 0));
    assert_int_equal(chat_fixture_send(f, alice(f), "@alice", "more", 0).outcome.number, 2);
    assert_story(f, alice(f), "MESSAGE @alice alice note; MESSAGE @alice alice more");
    chat_fixture_reopen(f);
    assert_reads(f, alice(f), 0, "MESSAGE @alice alice note; MESSAGE @alice alice more");
}

static void assert_refused(struct answer answer, enum status status, const char *text)
{
    if (answer.status != status || strcmp(answer.text, text) != 0)
        fail_msg("%s: %s", status_name(answer.status), answer.text);
    assert_true(answer.applied);
    assert_int_equal(answer.outcome.status, status);
    assert_int_equal(answer.outcome.number, 0);
}

CHAT_TEST(test_send__refusals)
{
    chat_fixture_join(f, alice(f), "general", 0);
    assert_refused(chat_fixture_send(f, bob(f), "general", "x", 0), STATUS_PERMISSION_DENIED,
                   "You are not in #general; join it first.");
    assert_refused(chat_fixture_send(f, bob(f), "nowhere", "x", 0), STATUS_NOT_FOUND,
                   "There is no room #nowhere; join it to make it.");
    assert_refused(chat_fixture_send(f, bob(f), "@nobody", "x", 0), STATUS_NOT_FOUND,
                   "There is no account @nobody; check the name.");
    assert_refused(chat_fixture_send(f, bob(f), "", "x", 0), STATUS_INVALID_ARGUMENT,
                   "A name must not be empty; give the name of a room.");
    assert_refused(chat_fixture_send(f, bob(f), "@", "x", 0), STATUS_INVALID_ARGUMENT,
                   "A name must not be empty; give the name of an account.");
    assert_refused(chat_fixture_send(f, alice(f), "general", "", 0), STATUS_INVALID_ARGUMENT,
                   "The message is empty; write something.");
    assert_refused(chat_fixture_send(f, alice(f), "general", "\xC3(", 0), STATUS_INVALID_ARGUMENT,
                   "The message is not valid UTF-8; send it as UTF-8.");
    chat_fixture_leave(f, alice(f), "general");
    assert_status(chat_fixture_send(f, alice(f), "general", "x", 0), STATUS_PERMISSION_DENIED);
}

CHAT_TEST(test_send__length_from_both_sides)
{
    f->limits.message_bytes = 10;
    chat_fixture_reopen(f);
    chat_fixture_join(f, alice(f), "general", 0);
    assert_ok(chat_fixture_send(f, alice(f), "general", "0123456789", 0));
    assert_refused(chat_fixture_send(f, alice(f), "general", "0123456789a", 0),
                   STATUS_INVALID_ARGUMENT,
                   "The message has 11 bytes; 10 are the limit, so send it in parts.");
    assert_ok(chat_fixture_send(f, alice(f), "general", "1", 0));
}

CHAT_TEST(test_send__text_stays_as_it_is)
{
    const char *text = "Zoe\xCC\x88 \xF0\x9F\x90\xA6\n\tline two \x01 \xD7\x93";
    chat_fixture_send(f, alice(f), "@bob", text, 0);
    struct event_copy *seen;
    size_t count, pages;
    chat_fixture_read(f, bob(f), 0, &seen, &count, &pages);
    assert_int_equal(count, 1);
    assert_string_equal(seen[0].event.text, text);
    chat_fixture_free_seen(seen, count);
}

CHAT_TEST(test_visibility__from_joining_to_leaving)
{
    chat_fixture_join(f, alice(f), "general", 0);
    chat_fixture_send(f, alice(f), "general", "early", 0);
    chat_fixture_join(f, bob(f), "general", 0);
    chat_fixture_send(f, alice(f), "general", "seen", 0);
    chat_fixture_leave(f, bob(f), "general");
    chat_fixture_send(f, alice(f), "general", "late", 0);
    const char *expected = "JOINED general bob; MESSAGE general alice seen; LEFT general bob";
    assert_story(f, bob(f), expected);
    assert_reads(f, bob(f), 0, expected);
    chat_fixture_join(f, bob(f), "general", 0);
    assert_reads(f, bob(f), 0, "JOINED general bob");
}

CHAT_TEST(test_visibility__kicked_while_away_still_gets_what_was_undelivered)
{
    chat_fixture_all_join(f, "general", "alice bob");
    uint64_t seq = f->seq;
    chat_note_delivered(f->chat, bob(f), seq);
    chat_fixture_deliver(f);
    chat_fixture_logout(f, bob(f), seq);
    chat_fixture_send(f, alice(f), "general", "one", 0);
    chat_fixture_send(f, alice(f), "general", "two", 0);
    chat_fixture_kick(f, alice(f), "general", "bob", false);
    chat_fixture_send(f, alice(f), "general", "three", 0);
    chat_fixture_reopen(f);
    struct chat_session *again = chat_fixture_device(f, "bob", "again");
    assert_reads(f, again, seq,
                 "MESSAGE general alice one; MESSAGE general alice two; "
                 "LEFT general bob alice kicked");
    Jackdaw__LoginReply reply = chat_fixture_login_reply(f, again);
    assert_int_equal(reply.n_undelivered, 1);
    assert_int_equal(reply.undelivered[0]->messages, 2);
    assert_int_equal(reply.n_rooms, 0);
}

static enum status typing(struct chat_fixture *f, struct chat_session *session, const char *room,
                          bool on)
{
    Jackdaw__SetTypingRequest request = JACKDAW__SET_TYPING_REQUEST__INIT;
    request.room = (char *)room;
    request.typing = on;
    struct chat_call call = chat_fixture_call(f, session);
    assert_int_equal(chat_set_typing(f->chat, &call, &request), OK);
    return call.status;
}

CHAT_TEST(test_typing__is_seen_by_the_others)
{
    chat_fixture_all_join(f, "general", "alice bob");
    chat_fixture_clear_seen(f);
    uint64_t seq = f->seq;
    assert_int_equal(typing(f, alice(f), "general", true), STATUS_OK);
    assert_int_equal(typing(f, alice(f), "general", false), STATUS_OK);
    assert_whispers(f, bob(f), "TYPING general alice on; TYPING general alice off");
    assert_whispers(f, alice(f), "");
    assert_whispers(f, carol(f), "");
    assert_int_equal(f->seq, seq);
    assert_int_equal(typing(f, carol(f), "general", true), STATUS_PERMISSION_DENIED);
    assert_int_equal(typing(f, carol(f), "nowhere", true), STATUS_NOT_FOUND);
    assert_int_equal(typing(f, carol(f), "@nobody", true), STATUS_NOT_FOUND);
}

CHAT_TEST(test_typing__to_a_person)
{
    chat_fixture_clear_seen(f);
    assert_int_equal(typing(f, alice(f), "@bob", true), STATUS_OK);
    assert_whispers(f, bob(f), "");
    chat_fixture_send(f, alice(f), "@bob", "hi", 0);
    assert_int_equal(typing(f, alice(f), "@bob", true), STATUS_OK);
    assert_whispers(f, bob(f), "TYPING @alice alice on");
    assert_whispers(f, alice(f), "");
}

/* "1:first 2:second", and " ..." if there are more. */
static const char *history(struct chat_fixture *f, struct chat_session *session, const char *room,
                           uint64_t before, uint32_t limit)
{
    static char text[65536];
    struct chat_call call = chat_fixture_call(f, session);
    struct chat_plan *plan;
    text[0] = '\0';
    assert_int_equal(chat_plan_history(f->chat, &call, room, before, limit, &plan), OK);
    if (call.status != STATUS_OK)
        return status_name(call.status);
    struct chat_page page;
    assert_int_equal(chat_read(plan, f->store, call.arena, &page), OK);
    for (size_t i = 0; i < page.count; i++) {
        Jackdaw__Event event;
        assert_int_equal(chat_event_fill(f->chat, &page.events[i], chat_session_account(session),
                                         call.arena, &event),
                         OK);
        assert_int_equal(event.kind, JACKDAW__EVENT__KIND__MESSAGE);
        assert_int_equal(event.epoch, store_epoch_at(f->store, event.seq));
        text_append(text, sizeof text, "%s%d:%s", i > 0 ? " " : "", (int)event.number, event.text);
    }
    text_append(text, sizeof text, "%s", page.more ? " ..." : "");
    return text;
}

CHAT_TEST(test_history__pages_back_to_the_first)
{
    chat_fixture_join(f, alice(f), "general", 0);
    assert_string_equal(history(f, alice(f), "general", 0, 5), "");
    for (int i = 1; i <= 12; i++) {
        char text[8];
        snprintf(text, sizeof text, "m%d", i);
        chat_fixture_send(f, alice(f), "general", text, 0);
        if (i == 6)
            chat_fixture_new_epoch(f);
        chat_fixture_topic(f, alice(f), "general", text);
    }
    chat_fixture_join(f, bob(f), "general", 0);
    assert_string_equal(history(f, bob(f), "general", 0, 0),
                        "3:m3 4:m4 5:m5 6:m6 7:m7 8:m8 9:m9 10:m10 11:m11 12:m12 ...");
    assert_string_equal(history(f, bob(f), "general", 3, 0), "1:m1 2:m2");
    assert_string_equal(history(f, bob(f), "general", 12, 1), "11:m11 ...");
    assert_string_equal(history(f, bob(f), "general", 1, 10), "");
    assert_string_equal(history(f, bob(f), "general", UINT64_MAX, 1), "12:m12 ...");
}

CHAT_TEST(test_history__is_for_members)
{
    chat_fixture_join(f, alice(f), "general", 0);
    chat_fixture_join_private(f, alice(f), "secret");
    assert_string_equal(history(f, bob(f), "general", 0, 0), "PERMISSION_DENIED");
    assert_string_equal(history(f, bob(f), "secret", 0, 0), "NOT_FOUND");
    assert_string_equal(history(f, bob(f), "nowhere", 0, 0), "NOT_FOUND");
    chat_fixture_join(f, bob(f), "general", 0);
    chat_fixture_leave(f, bob(f), "general");
    assert_string_equal(history(f, bob(f), "general", 0, 0), "PERMISSION_DENIED");
}

CHAT_TEST(test_history__of_a_person)
{
    assert_string_equal(history(f, alice(f), "@bob", 0, 0), "");
    chat_fixture_send(f, alice(f), "@bob", "a", 0);
    chat_fixture_send(f, bob(f), "@alice", "b", 0);
    assert_string_equal(history(f, alice(f), "@bob", 0, 0), "1:a 2:b");
    assert_string_equal(history(f, bob(f), "@alice", 0, 0), "1:a 2:b");
    assert_string_equal(history(f, carol(f), "@alice", 0, 0), "");
}

static struct chat_page history_page(struct chat_fixture *f, uint64_t before, uint32_t limit,
                                     uint64_t committed_seq)
{
    struct chat_call call = chat_fixture_call(f, alice(f));
    struct chat_plan *plan;
    struct chat_page page;
    call.committed_seq = committed_seq;
    assert_int_equal(chat_plan_history(f->chat, &call, "general", before, limit, &plan), OK);
    assert_int_equal(chat_read(plan, f->store, call.arena, &page), OK);
    return page;
}

CHAT_TEST(test_history__limits_from_both_sides)
{
    chat_fixture_join(f, alice(f), "general", 0);
    for (int i = 0; i < 300; i++)
        chat_fixture_send(f, alice(f), "general", "x", 0);
    struct chat_page page = history_page(f, 0, CHAT_PAGE_EVENTS, 0);
    assert_int_equal(page.count, CHAT_PAGE_EVENTS);
    assert_int_equal(page.events[0].number, 45);
    assert_string_equal(history(f, alice(f), "general", 0, CHAT_PAGE_EVENTS + 1),
                        "INVALID_ARGUMENT");
}

CHAT_TEST(test_history__bytes_end_a_page)
{
    static char text[16385];
    memset(text, 'x', sizeof text - 1);
    chat_fixture_join(f, alice(f), "general", 0);
    for (int i = 0; i < 20; i++)
        chat_fixture_send(f, alice(f), "general", text, 0);
    struct chat_page page = history_page(f, 0, 20, 0);
    assert_int_equal(page.count, 4);
    assert_int_equal(page.events[3].number, 20);
    assert_true(page.more);
}

CHAT_TEST(test_history__nothing_that_is_not_committed)
{
    chat_fixture_join(f, alice(f), "general", 0);
    chat_fixture_send(f, alice(f), "general", "one", 0);
    uint64_t committed = f->seq;
    chat_fixture_send(f, alice(f), "general", "two", 0);
    for (uint64_t before = 0; before < 4; before += 3) {
        struct chat_page page = history_page(f, before, 5, committed);
        assert_int_equal(page.count, 1);
        assert_string_equal(page.events[0].text, "one");
    }
}
