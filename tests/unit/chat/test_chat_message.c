/* SPDX-License-Identifier: MIT */
/* Sending, direct conversations, typing, history: src/chat/message.c, typing.c, history.c. */
#include "chat_world.h"
#include "support/text_append.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static int open_world(void **state)
{
    struct world *world = malloc(sizeof *world);
    world_open(world, 3, NULL);
    world_person(world, "alice");
    world_person(world, "bob");
    world_person(world, "carol");
    *state = world;
    return 0;
}

static int close_world(void **state)
{
    world_close(*state);
    free(*state);
    return 0;
}

static struct chat_session *alice(struct world *world)
{
    return world_session(world, "alice");
}

static struct chat_session *bob(struct world *world)
{
    return world_session(world, "bob");
}

static struct chat_session *carol(struct world *world)
{
    return world_session(world, "carol");
}

static void test_send__to_a_room(void **state)
{
    struct world *world = *state;
    world_join(world, alice(world), "general", 0);
    world_join(world, bob(world), "general", 0);
    struct chat_session *second = world_device(world, "bob", "second");
    world_clear_seen(world);
    world->time_ms += 5;
    struct answer answer = world_send(world, alice(world), "#general", "hello", 0);
    assert_int_equal(answer.status, STATUS_OK);
    assert_int_equal(answer.outcome.number, 1);
    assert_int_equal(answer.outcome.position.seq, world->seq);
    assert_int_equal(answer.outcome.position.epoch, world->epoch);
    assert_int_equal(answer.outcome.time_ms, world->time_ms);
    assert_string_equal(world_story(world, alice(world)), "MESSAGE general alice hello");
    assert_string_equal(world_story(world, bob(world)), "MESSAGE general alice hello");
    assert_string_equal(world_story(world, second), "MESSAGE general alice hello");
    assert_string_equal(world_story(world, carol(world)), "");
    const struct chat_event *event = &world->seen[0].event;
    assert_int_equal(event->number, 1);
    assert_int_equal(event->session, chat_session_id(alice(world)));
    assert_int_equal(event->request, 2);
    assert_int_equal(event->time_ms, world->time_ms);
}

static void test_send__numbers_have_no_holes(void **state)
{
    struct world *world = *state;
    world_join(world, alice(world), "general", 0);
    for (uint64_t i = 1; i <= 5; i++) {
        struct answer answer = world_send(world, alice(world), "general", "x", 0);
        assert_int_equal(answer.outcome.number, i);
        world_topic(world, alice(world), "general", i % 2 ? "odd" : "even");
        assert_int_equal(world_send(world, alice(world), "general", "", 0).status,
                         STATUS_INVALID_ARGUMENT);
    }
}

static void test_send__answer(void **state)
{
    struct world *world = *state;
    struct answer answer = world_send(world, alice(world), "@BOB", "hello", 0);
    struct chat_call call = world_call(world, alice(world));
    Jackdaw__SendReply reply = JACKDAW__SEND_REPLY__INIT;
    assert_int_equal(chat_answer_send(world->chat, &call, &answer.outcome, &reply), OK);
    assert_string_equal(reply.room, "@bob");
    assert_int_equal(reply.number, 1);
    assert_int_equal(reply.position->seq, world->seq);
    assert_int_equal(reply.position->epoch, world->epoch);
    assert_int_equal(reply.time_ms, world->time_ms);
}

static void test_send__to_a_person(void **state)
{
    struct world *world = *state;
    world_clear_seen(world);
    assert_int_equal(world_send(world, alice(world), "@bob", "psst", 0).status, STATUS_OK);
    struct answer answer = world_send(world, bob(world), "@alice", "what", 0);
    assert_int_equal(answer.outcome.number, 2);
    assert_string_equal(world_story(world, alice(world)),
                        "MESSAGE @bob alice psst; MESSAGE @bob bob what");
    assert_string_equal(world_story(world, bob(world)),
                        "MESSAGE @alice alice psst; MESSAGE @alice bob what");
    assert_string_equal(world_story(world, carol(world)), "");
    world_reopen(world);
    assert_int_equal(world_send(world, bob(world), "@alice", "still", 0).outcome.number, 3);
    assert_string_equal(world_reads(world, alice(world), 0),
                        "MESSAGE @bob alice psst; MESSAGE @bob bob what; MESSAGE @bob bob still");
}

static void test_send__to_oneself(void **state)
{
    struct world *world = *state;
    world_clear_seen(world);
    assert_int_equal(world_send(world, alice(world), "@alice", "note", 0).status, STATUS_OK);
    assert_int_equal(world_send(world, alice(world), "@alice", "more", 0).outcome.number, 2);
    assert_string_equal(world_story(world, alice(world)),
                        "MESSAGE @alice alice note; MESSAGE @alice alice more");
    world_reopen(world);
    assert_string_equal(world_reads(world, alice(world), 0),
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

static void test_send__refusals(void **state)
{
    struct world *world = *state;
    world_join(world, alice(world), "general", 0);
    assert_refused(world_send(world, bob(world), "general", "x", 0), STATUS_PERMISSION_DENIED,
                   "You are not in #general; join it first.");
    assert_refused(world_send(world, bob(world), "nowhere", "x", 0), STATUS_NOT_FOUND,
                   "There is no room #nowhere; join it to make it.");
    assert_refused(world_send(world, bob(world), "@nobody", "x", 0), STATUS_NOT_FOUND,
                   "There is no account @nobody; check the name.");
    assert_refused(world_send(world, bob(world), "", "x", 0), STATUS_INVALID_ARGUMENT,
                   "A name must not be empty; give the name of a room.");
    assert_refused(world_send(world, bob(world), "@", "x", 0), STATUS_INVALID_ARGUMENT,
                   "A name must not be empty; give the name of an account.");
    assert_refused(world_send(world, alice(world), "general", "", 0), STATUS_INVALID_ARGUMENT,
                   "The message is empty; write something.");
    assert_refused(world_send(world, alice(world), "general", "\xC3(", 0), STATUS_INVALID_ARGUMENT,
                   "The message is not valid UTF-8; send it as UTF-8.");
    world_leave(world, alice(world), "general");
    assert_int_equal(world_send(world, alice(world), "general", "x", 0).status,
                     STATUS_PERMISSION_DENIED);
}

static void test_send__length_from_both_sides(void **state)
{
    struct world *world = *state;
    world->limits.message_bytes = 10;
    world_reopen(world);
    world_join(world, alice(world), "general", 0);
    assert_int_equal(world_send(world, alice(world), "general", "0123456789", 0).status, STATUS_OK);
    assert_refused(world_send(world, alice(world), "general", "0123456789a", 0),
                   STATUS_INVALID_ARGUMENT,
                   "The message has 11 bytes; 10 are the limit, so send it in parts.");
    assert_int_equal(world_send(world, alice(world), "general", "1", 0).status, STATUS_OK);
}

static void test_send__text_stays_as_it_is(void **state)
{
    struct world *world = *state;
    const char *text = "Zoe\xCC\x88 \xF0\x9F\x90\xA6\n\tline two \x01 \xD7\x93";
    world_send(world, alice(world), "@bob", text, 0);
    struct seen *seen;
    size_t count, pages;
    world_read(world, bob(world), 0, &seen, &count, &pages);
    assert_int_equal(count, 1);
    assert_string_equal(seen[0].event.text, text);
    world_free_seen(seen, count);
}

/* ---- who sees what ---- */

static void test_visibility__from_joining_to_leaving(void **state)
{
    struct world *world = *state;
    world_join(world, alice(world), "general", 0);
    world_send(world, alice(world), "general", "early", 0);
    world_join(world, bob(world), "general", 0);
    world_send(world, alice(world), "general", "seen", 0);
    world_leave(world, bob(world), "general");
    world_send(world, alice(world), "general", "late", 0);
    const char *expected = "JOINED general bob; MESSAGE general alice seen; LEFT general bob";
    assert_string_equal(world_story(world, bob(world)), expected);
    assert_string_equal(world_reads(world, bob(world), 0), expected);
    world_join(world, bob(world), "general", 0);
    assert_string_equal(world_reads(world, bob(world), 0), "JOINED general bob");
}

static void test_visibility__kicked_while_away_still_gets_what_was_undelivered(void **state)
{
    struct world *world = *state;
    world_join(world, alice(world), "general", 0);
    world_join(world, bob(world), "general", 0);
    uint64_t seq = world->seq;
    chat_note_delivered(world->chat, bob(world), seq);
    world_deliver(world);
    world_logout(world, bob(world), seq);
    world_send(world, alice(world), "general", "one", 0);
    world_send(world, alice(world), "general", "two", 0);
    world_kick(world, alice(world), "general", "bob", false);
    world_send(world, alice(world), "general", "three", 0);
    world_reopen(world);
    struct chat_session *again = world_device(world, "bob", "again");
    assert_string_equal(world_reads(world, again, seq),
                        "MESSAGE general alice one; MESSAGE general alice two; "
                        "LEFT general bob alice kicked");
    struct chat_call call = world_call(world, again);
    Jackdaw__LoginReply reply = JACKDAW__LOGIN_REPLY__INIT;
    assert_int_equal(chat_answer_login(world->chat, &call, &reply), OK);
    assert_int_equal(reply.n_undelivered, 1);
    assert_int_equal(reply.undelivered[0]->messages, 2);
    assert_int_equal(reply.n_rooms, 0);
}

/* ---- typing ---- */

static enum status typing(struct world *world, struct chat_session *session, const char *room,
                          bool on)
{
    Jackdaw__SetTypingRequest request = JACKDAW__SET_TYPING_REQUEST__INIT;
    request.room = (char *)room;
    request.typing = on;
    struct chat_call call = world_call(world, session);
    assert_int_equal(chat_set_typing(world->chat, &call, &request), OK);
    return call.status;
}

static void test_typing__is_seen_by_the_others(void **state)
{
    struct world *world = *state;
    world_join(world, alice(world), "general", 0);
    world_join(world, bob(world), "general", 0);
    world_clear_seen(world);
    uint64_t seq = world->seq;
    assert_int_equal(typing(world, alice(world), "general", true), STATUS_OK);
    assert_int_equal(typing(world, alice(world), "general", false), STATUS_OK);
    assert_string_equal(world_whispers(world, bob(world)),
                        "TYPING general alice on; TYPING general alice off");
    assert_string_equal(world_whispers(world, alice(world)), "");
    assert_string_equal(world_whispers(world, carol(world)), "");
    assert_int_equal(world->seq, seq);
    assert_int_equal(typing(world, carol(world), "general", true), STATUS_PERMISSION_DENIED);
    assert_int_equal(typing(world, carol(world), "nowhere", true), STATUS_NOT_FOUND);
    assert_int_equal(typing(world, carol(world), "@nobody", true), STATUS_NOT_FOUND);
}

static void test_typing__to_a_person(void **state)
{
    struct world *world = *state;
    world_clear_seen(world);
    assert_int_equal(typing(world, alice(world), "@bob", true), STATUS_OK);
    assert_string_equal(world_whispers(world, bob(world)), "");
    world_send(world, alice(world), "@bob", "hi", 0);
    assert_int_equal(typing(world, alice(world), "@bob", true), STATUS_OK);
    assert_string_equal(world_whispers(world, bob(world)), "TYPING @alice alice on");
    assert_string_equal(world_whispers(world, alice(world)), "");
}

/* ---- history ---- */

static const char *history(struct world *world, struct chat_session *session, const char *room,
                           uint64_t before, uint32_t limit, bool *more)
{
    static char text[65536];
    struct chat_call call = world_call(world, session);
    struct chat_plan *plan;
    text[0] = '\0';
    *more = false;
    assert_int_equal(chat_plan_history(world->chat, &call, room, before, limit, &plan), OK);
    if (call.status != STATUS_OK)
        return status_name(call.status);
    struct chat_page page;
    assert_int_equal(chat_read(plan, world->store, call.arena, &page), OK);
    for (size_t i = 0; i < page.count; i++) {
        Jackdaw__Event event;
        assert_int_equal(chat_event_fill(world->chat, &page.events[i],
                                         chat_session_account(session), call.arena, &event),
                         OK);
        assert_int_equal(event.kind, JACKDAW__EVENT__KIND__MESSAGE);
        assert_int_equal(event.epoch, store_epoch_at(world->store, event.seq));
        text_append(text, sizeof text, "%s%d:%s", i > 0 ? " " : "", (int)event.number, event.text);
    }
    *more = page.more;
    return text;
}

static void test_history__pages_back_to_the_first(void **state)
{
    struct world *world = *state;
    bool more;
    world_join(world, alice(world), "general", 0);
    assert_string_equal(history(world, alice(world), "general", 0, 5, &more), "");
    assert_false(more);
    for (int i = 1; i <= 12; i++) {
        char text[8];
        snprintf(text, sizeof text, "m%d", i);
        world_send(world, alice(world), "general", text, 0);
        if (i == 6)
            world_new_reign(world);
        world_topic(world, alice(world), "general", text);
    }
    world_join(world, bob(world), "general", 0);
    assert_string_equal(history(world, bob(world), "general", 0, 0, &more),
                        "3:m3 4:m4 5:m5 6:m6 7:m7 8:m8 9:m9 10:m10 11:m11 12:m12");
    assert_true(more);
    assert_string_equal(history(world, bob(world), "general", 3, 0, &more), "1:m1 2:m2");
    assert_false(more);
    assert_string_equal(history(world, bob(world), "general", 12, 1, &more), "11:m11");
    assert_true(more);
    assert_string_equal(history(world, bob(world), "general", 1, 10, &more), "");
    assert_false(more);
    assert_string_equal(history(world, bob(world), "general", UINT64_MAX, 1, &more), "12:m12");
}

static void test_history__is_for_members(void **state)
{
    struct world *world = *state;
    bool more;
    world_join(world, alice(world), "general", 0);
    world_join_private(world, alice(world), "secret");
    assert_string_equal(history(world, bob(world), "general", 0, 0, &more), "PERMISSION_DENIED");
    assert_string_equal(history(world, bob(world), "secret", 0, 0, &more), "NOT_FOUND");
    assert_string_equal(history(world, bob(world), "nowhere", 0, 0, &more), "NOT_FOUND");
    world_join(world, bob(world), "general", 0);
    world_leave(world, bob(world), "general");
    assert_string_equal(history(world, bob(world), "general", 0, 0, &more), "PERMISSION_DENIED");
}

static void test_history__of_a_person(void **state)
{
    struct world *world = *state;
    bool more;
    assert_string_equal(history(world, alice(world), "@bob", 0, 0, &more), "");
    assert_false(more);
    world_send(world, alice(world), "@bob", "a", 0);
    world_send(world, bob(world), "@alice", "b", 0);
    assert_string_equal(history(world, alice(world), "@bob", 0, 0, &more), "1:a 2:b");
    assert_string_equal(history(world, bob(world), "@alice", 0, 0, &more), "1:a 2:b");
    assert_string_equal(history(world, carol(world), "@alice", 0, 0, &more), "");
}

static void test_history__limits_from_both_sides(void **state)
{
    struct world *world = *state;
    bool more;
    world_join(world, alice(world), "general", 0);
    for (int i = 0; i < 300; i++)
        world_send(world, alice(world), "general", "x", 0);
    struct chat_call call = world_call(world, alice(world));
    struct chat_plan *plan;
    struct chat_page page;
    assert_int_equal(chat_plan_history(world->chat, &call, "general", 0, CHAT_PAGE_EVENTS, &plan),
                     OK);
    assert_int_equal(chat_read(plan, world->store, call.arena, &page), OK);
    assert_int_equal(page.count, CHAT_PAGE_EVENTS);
    assert_int_equal(page.events[0].number, 45);
    assert_string_equal(history(world, alice(world), "general", 0, CHAT_PAGE_EVENTS + 1, &more),
                        "INVALID_ARGUMENT");
}

static void test_history__bytes_end_a_page(void **state)
{
    struct world *world = *state;
    static char text[16385];
    memset(text, 'x', sizeof text - 1);
    world_join(world, alice(world), "general", 0);
    for (int i = 0; i < 20; i++)
        world_send(world, alice(world), "general", text, 0);
    struct chat_call call = world_call(world, alice(world));
    struct chat_plan *plan;
    struct chat_page page;
    assert_int_equal(chat_plan_history(world->chat, &call, "general", 0, 20, &plan), OK);
    assert_int_equal(chat_read(plan, world->store, call.arena, &page), OK);
    assert_int_equal(page.count, 4);
    assert_int_equal(page.events[3].number, 20);
    assert_true(page.more);
}

static void test_history__nothing_that_is_not_committed(void **state)
{
    struct world *world = *state;
    world_join(world, alice(world), "general", 0);
    world_send(world, alice(world), "general", "one", 0);
    uint64_t committed = world->seq;
    world_send(world, alice(world), "general", "two", 0);
    struct chat_plan *plan;
    struct chat_page page;
    for (uint64_t before = 0; before < 4; before += 3) {
        struct chat_call call = world_call(world, alice(world));
        call.committed_seq = committed;
        assert_int_equal(chat_plan_history(world->chat, &call, "general", before, 5, &plan), OK);
        assert_int_equal(chat_read(plan, world->store, call.arena, &page), OK);
        assert_int_equal(page.count, 1);
        assert_string_equal(page.events[0].text, "one");
    }
}

#define WORLD_TEST(test) cmocka_unit_test_setup_teardown(test, open_world, close_world)

int main(void)
{
    const struct CMUnitTest tests[] = {
        WORLD_TEST(test_send__to_a_room),
        WORLD_TEST(test_send__numbers_have_no_holes),
        WORLD_TEST(test_send__answer),
        WORLD_TEST(test_send__to_a_person),
        WORLD_TEST(test_send__to_oneself),
        WORLD_TEST(test_send__refusals),
        WORLD_TEST(test_send__length_from_both_sides),
        WORLD_TEST(test_send__text_stays_as_it_is),
        WORLD_TEST(test_visibility__from_joining_to_leaving),
        WORLD_TEST(test_visibility__kicked_while_away_still_gets_what_was_undelivered),
        WORLD_TEST(test_typing__is_seen_by_the_others),
        WORLD_TEST(test_typing__to_a_person),
        WORLD_TEST(test_history__pages_back_to_the_first),
        WORLD_TEST(test_history__is_for_members),
        WORLD_TEST(test_history__of_a_person),
        WORLD_TEST(test_history__limits_from_both_sides),
        WORLD_TEST(test_history__bytes_end_a_page),
        WORLD_TEST(test_history__nothing_that_is_not_committed),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
