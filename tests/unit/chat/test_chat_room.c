/* SPDX-License-Identifier: MIT */
/* Joining, leaving, topics, invitations, kicks, bans, and who sees what of them:
 * src/chat/room.c, membership.c, apply_room.c. */
#include "chat_fixture.h"
#include "support/test.h"
#include "support/text_append.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static void begin(struct chat_fixture *f)
{
    chat_fixture_open_with(f, 2, NULL, "alice bob carol dave");
}

static void assert_answer(struct answer answer, enum status status, const char *text)
{
    if (answer.status != status || strcmp(answer.text, text) != 0)
        fail_msg("%s: %s", status_name(answer.status), answer.text);
    assert_int_equal(answer.retry_ms, 0);
    assert_true(answer.applied); /* what is refused for good is remembered */
}

static Jackdaw__JoinRoomReply join_reply(struct chat_fixture *f, struct chat_session *session,
                                         const struct answer *answer)
{
    struct chat_call call = chat_fixture_call(f, session);
    Jackdaw__JoinRoomReply reply = JACKDAW__JOIN_ROOM_REPLY__INIT;
    assert_int_equal(chat_answer_join(f->chat, &call, &answer->outcome, &reply), OK);
    assert_int_equal(call.status, STATUS_OK);
    return reply;
}

CHAT_TEST(test_join__makes_a_room_owned_by_its_maker)
{
    struct answer answer = chat_fixture_join(f, alice(f), "#General", 0);
    assert_int_equal(answer.status, STATUS_OK);
    assert_true(answer.outcome.created);
    Jackdaw__JoinRoomReply reply = join_reply(f, alice(f), &answer);
    assert_string_equal(reply.room, "General");
    assert_string_equal(reply.owner, "alice");
    assert_true(reply.created);
    assert_false(reply.private_);
    assert_int_equal(reply.members, 1);
    assert_story(f, alice(f), "JOINED General alice; OWNER General alice");
}

CHAT_TEST(test_join__an_existing_room_by_any_spelling)
{
    chat_fixture_join(f, alice(f), "General", 0);
    chat_fixture_topic(f, alice(f), "general", "all and nothing");
    chat_fixture_send(f, alice(f), "general", "hi", 0);
    struct answer answer = chat_fixture_join(f, bob(f), "GENERAL", 0);
    Jackdaw__JoinRoomReply reply = join_reply(f, bob(f), &answer);
    assert_false(reply.created);
    assert_string_equal(reply.room, "General");
    assert_string_equal(reply.topic, "all and nothing");
    assert_string_equal(reply.owner, "alice");
    assert_int_equal(reply.members, 2);
    assert_int_equal(reply.last_number, 1);
    assert_members(f, bob(f), "general", "alice* bob");
}

CHAT_TEST(test_join__again_changes_nothing)
{
    chat_fixture_join(f, alice(f), "general", 0);
    struct answer answer = chat_fixture_join(f, alice(f), "general", 0);
    assert_int_equal(answer.status, STATUS_OK);
    assert_false(answer.outcome.created);
    assert_string_equal(join_reply(f, alice(f), &answer).room, "general");
    assert_story(f, alice(f), "JOINED general alice; OWNER general alice");
}

CHAT_TEST(test_join__names_that_break_a_rule)
{
    assert_answer(chat_fixture_join(f, alice(f), "", 0), STATUS_INVALID_ARGUMENT,
                  "A name must not be empty; choose another one.");
    assert_answer(chat_fixture_join(f, alice(f), "#", 0), STATUS_INVALID_ARGUMENT,
                  "A name must not be empty; choose another one.");
    assert_answer(chat_fixture_join(f, alice(f), "##a", 0), STATUS_INVALID_ARGUMENT,
                  "A name must not contain any of @ # : / \\ , ! * ? \"; choose another one.");
    assert_answer(chat_fixture_join(f, alice(f), "@bob", 0), STATUS_INVALID_ARGUMENT,
                  "A person cannot be joined; send them a message instead.");
}

CHAT_TEST(test_join__limits_from_both_sides)
{
    f->limits.members_per_room = 2;
    f->limits.rooms_per_account = 3;
    chat_fixture_reopen(f);
    chat_fixture_join(f, alice(f), "one", 0);
    assert_ok(chat_fixture_join(f, bob(f), "one", 0));
    assert_answer(chat_fixture_join(f, carol(f), "one", 0), STATUS_RESOURCE_EXHAUSTED,
                  "#one is full: 2 members are the limit; join another room.");
    chat_fixture_leave(f, bob(f), "one");
    assert_ok(chat_fixture_join(f, carol(f), "one", 0));
    assert_ok(chat_fixture_join(f, alice(f), "two", 0));
    chat_fixture_send(f, alice(f), "@bob", "conversations do not count", 0);
    assert_ok(chat_fixture_join(f, alice(f), "three", 0));
    assert_answer(chat_fixture_join(f, alice(f), "four", 0), STATUS_RESOURCE_EXHAUSTED,
                  "You are in 3 rooms, which is the limit; leave one first.");
    chat_fixture_join(f, dave(f), "five", 0);
    assert_status(chat_fixture_join(f, alice(f), "five", 0), STATUS_RESOURCE_EXHAUSTED);
    chat_fixture_leave(f, alice(f), "three");
    assert_ok(chat_fixture_join(f, alice(f), "five", 0));
}

CHAT_TEST(test_private__only_the_invited_come_in)
{
    struct answer answer = chat_fixture_join_private(f, alice(f), "secret");
    assert_true(join_reply(f, alice(f), &answer).private_);
    assert_answer(chat_fixture_join(f, bob(f), "secret", 0), STATUS_PERMISSION_DENIED,
                  "#secret is private; ask one of its members to invite you.");
    chat_fixture_clear_seen(f);
    assert_ok(chat_fixture_invite(f, alice(f), "secret", "bob"));
    assert_story(f, bob(f), "INVITED secret alice bob");
    assert_story(f, alice(f), "");
    assert_ok(chat_fixture_join(f, bob(f), "secret", 0));
    assert_ok(chat_fixture_invite(f, bob(f), "secret", "@Carol"));
    assert_ok(chat_fixture_join(f, carol(f), "secret", 0));
}

CHAT_TEST(test_private__others_cannot_tell_that_it_exists)
{
    chat_fixture_join_private(f, alice(f), "secret");
    const char *nothing = "There is no room #secret; join it to make it.";
    assert_answer(chat_fixture_send(f, bob(f), "secret", "hi", 0), STATUS_NOT_FOUND, nothing);
    assert_answer(chat_fixture_topic(f, bob(f), "secret", "x"), STATUS_NOT_FOUND, nothing);
    assert_answer(chat_fixture_leave(f, bob(f), "secret"), STATUS_NOT_FOUND, nothing);
    assert_answer(chat_fixture_invite(f, bob(f), "secret", "dave"), STATUS_NOT_FOUND, nothing);
    assert_answer(chat_fixture_kick(f, bob(f), "secret", "alice", true), STATUS_NOT_FOUND, nothing);
    assert_members(f, bob(f), "secret", "NOT_FOUND");
}

CHAT_TEST(test_private__ends_with_its_last_member)
{
    chat_fixture_join_private(f, alice(f), "secret");
    chat_fixture_invite(f, alice(f), "secret", "bob");
    chat_fixture_clear_seen(f);
    assert_ok(chat_fixture_leave(f, alice(f), "secret"));
    assert_int_equal(f->seen_count, 1);
    assert_int_equal(f->seen[0].event.kind, JACKDAW__EVENT__KIND__LEFT);
    struct answer answer = chat_fixture_join(f, bob(f), "secret", 0);
    assert_true(answer.outcome.created);
    assert_members(f, carol(f), "secret", "bob*");
    chat_fixture_reopen(f);
    assert_members(f, carol(f), "secret", "bob*");
}

CHAT_TEST(test_private__leaving_and_coming_back_needs_an_invitation)
{
    chat_fixture_join_private(f, alice(f), "secret");
    chat_fixture_invite(f, alice(f), "secret", "bob");
    chat_fixture_join(f, bob(f), "secret", 0);
    chat_fixture_leave(f, bob(f), "secret");
    assert_status(chat_fixture_join(f, bob(f), "secret", 0), STATUS_PERMISSION_DENIED);
    chat_fixture_invite(f, alice(f), "secret", "bob");
    assert_ok(chat_fixture_join(f, bob(f), "secret", 0));
}

CHAT_TEST(test_leave__is_seen_by_the_one_who_leaves_too)
{
    chat_fixture_all_join(f, "general", "alice bob");
    chat_fixture_clear_seen(f);
    assert_ok(chat_fixture_leave(f, bob(f), "general"));
    chat_fixture_send(f, alice(f), "general", "gone", 0);
    assert_story(f, bob(f), "LEFT general bob");
    assert_story(f, alice(f), "LEFT general bob; MESSAGE general alice gone");
    assert_reads(f, bob(f), f->seq - 2, "LEFT general bob");
}

CHAT_TEST(test_leave__the_longest_member_becomes_owner)
{
    chat_fixture_all_join(f, "general", "alice bob carol dave");
    chat_fixture_leave(f, bob(f), "general");
    chat_fixture_join(f, bob(f), "general", 0);
    chat_fixture_reopen(f);
    chat_fixture_clear_seen(f);
    uint64_t seq = f->seq;
    chat_fixture_leave(f, alice(f), "general");
    assert_members(f, bob(f), "general", "bob carol* dave");
    assert_story(f, bob(f), "LEFT general alice; OWNER general carol");
    assert_story(f, alice(f), "LEFT general alice; OWNER general carol");
    assert_string_equal(chat_fixture_reads(f, bob(f), seq), chat_fixture_story(f, bob(f)));
    chat_fixture_leave(f, carol(f), "general");
    assert_members(f, bob(f), "general", "bob dave*");
}

CHAT_TEST(test_leave__an_empty_public_room_waits_for_an_owner)
{
    chat_fixture_join(f, alice(f), "general", 0);
    chat_fixture_topic(f, alice(f), "general", "kept");
    chat_fixture_leave(f, alice(f), "general");
    chat_fixture_reopen(f);
    assert_members(f, alice(f), "general", "");
    chat_fixture_clear_seen(f);
    struct answer answer = chat_fixture_join(f, bob(f), "general", 0);
    Jackdaw__JoinRoomReply reply = join_reply(f, bob(f), &answer);
    assert_false(reply.created);
    assert_string_equal(reply.topic, "kept");
    assert_string_equal(reply.owner, "bob");
    assert_story(f, bob(f), "JOINED general bob; OWNER general bob");
    chat_fixture_reopen(f);
    assert_members(f, alice(f), "general", "bob*");
}

CHAT_TEST(test_leave__refusals)
{
    chat_fixture_join(f, alice(f), "general", 0);
    assert_answer(chat_fixture_leave(f, bob(f), "general"), STATUS_PERMISSION_DENIED,
                  "You are not in #general; join it first.");
    assert_answer(chat_fixture_leave(f, bob(f), "nowhere"), STATUS_NOT_FOUND,
                  "There is no room #nowhere; join it to make it.");
    assert_answer(chat_fixture_leave(f, bob(f), "@alice"), STATUS_INVALID_ARGUMENT,
                  "A name with @ is a person's; give the name of a room.");
    assert_answer(chat_fixture_leave(f, bob(f), "a b"), STATUS_INVALID_ARGUMENT,
                  "A name must not contain white space; give the name of a room.");
}

CHAT_TEST(test_topic__is_seen_by_the_room)
{
    chat_fixture_all_join(f, "general", "alice bob");
    chat_fixture_clear_seen(f);
    assert_ok(chat_fixture_topic(f, bob(f), "#general", "news"));
    assert_story(f, alice(f), "TOPIC general bob news");
    assert_ok(chat_fixture_topic(f, bob(f), "#general", "news"));
    assert_ok(chat_fixture_topic(f, bob(f), "#general", ""));
    assert_story(f, alice(f), "TOPIC general bob news; TOPIC general bob");
}

CHAT_TEST(test_topic__rules_from_both_sides)
{
    const char *rule = "A topic must be one line of at most 256 characters, without control "
                       "characters and marks of direction.";
    chat_fixture_join(f, alice(f), "general", 0);
    char topic[4 * 257 + 1] = "";
    for (int i = 0; i < 256; i++)
        text_append(topic, sizeof topic, "%s", "\xF0\x9F\x90\xA6");
    assert_ok(chat_fixture_topic(f, alice(f), "general", topic));
    text_append(topic, sizeof topic, "%s", "x");
    assert_answer(chat_fixture_topic(f, alice(f), "general", topic), STATUS_INVALID_ARGUMENT, rule);
    assert_answer(chat_fixture_topic(f, alice(f), "general", "a\nb"), STATUS_INVALID_ARGUMENT,
                  rule);
    assert_answer(chat_fixture_topic(f, alice(f), "general", "\xFF"), STATUS_INVALID_ARGUMENT,
                  rule);
    assert_answer(chat_fixture_topic(f, alice(f), "general", "a\u202Eb"), STATUS_INVALID_ARGUMENT,
                  rule); /* U+202E */
    assert_answer(chat_fixture_topic(f, alice(f), "general", "\xE2\x81\xA6"),
                  STATUS_INVALID_ARGUMENT, rule); /* U+2066 */
    assert_status(chat_fixture_topic(f, bob(f), "general", "x"), STATUS_PERMISSION_DENIED);
}

CHAT_TEST(test_invite__refusals)
{
    chat_fixture_join(f, alice(f), "general", 0);
    assert_answer(chat_fixture_invite(f, alice(f), "general", "nobody"), STATUS_NOT_FOUND,
                  "There is no account @nobody; check the name.");
    assert_answer(chat_fixture_invite(f, alice(f), "general", "a b"), STATUS_INVALID_ARGUMENT,
                  "A name must not contain white space; give the name of an account.");
    assert_answer(chat_fixture_invite(f, alice(f), "general", "alice"), STATUS_ALREADY_EXISTS,
                  "@alice is in #general already.");
    assert_answer(chat_fixture_invite(f, bob(f), "general", "carol"), STATUS_PERMISSION_DENIED,
                  "You are not in #general; join it first.");
}

CHAT_TEST(test_invite__twice_is_one_invitation)
{
    chat_fixture_join(f, alice(f), "general", 0);
    chat_fixture_clear_seen(f);
    chat_fixture_invite(f, alice(f), "general", "bob");
    assert_ok(chat_fixture_invite(f, alice(f), "general", "bob"));
    assert_story(f, bob(f), "INVITED general alice bob");
}

CHAT_TEST(test_invite__is_read_later_and_by_the_invited_alone)
{
    chat_fixture_join_private(f, alice(f), "secret");
    chat_fixture_send(f, alice(f), "secret", "before", 0);
    chat_fixture_invite(f, alice(f), "secret", "bob");
    chat_fixture_send(f, alice(f), "secret", "after", 0);
    chat_fixture_reopen(f);
    assert_reads(f, bob(f), 0, "INVITED secret alice bob");
    assert_reads(f, carol(f), 0, "");
    assert_reads(f, alice(f), 0,
                 "JOINED secret alice; OWNER secret alice; MESSAGE secret alice before; "
                 "MESSAGE secret alice after");
    assert_members(f, bob(f), "secret", "alice*");
    /* Once used it is not news any more. */
    chat_fixture_join(f, bob(f), "secret", 0);
    assert_reads(f, bob(f), 0, "JOINED secret bob");
}

CHAT_TEST(test_kick__is_seen_by_the_room_and_the_kicked)
{
    chat_fixture_all_join(f, "general", "alice bob");
    uint64_t seq = f->seq;
    chat_fixture_clear_seen(f);
    assert_ok(chat_fixture_kick(f, alice(f), "general", "bob", false));
    chat_fixture_send(f, alice(f), "general", "so", 0);
    assert_story(f, bob(f), "LEFT general bob alice kicked");
    assert_reads(f, bob(f), seq, "LEFT general bob alice kicked");
    assert_ok(chat_fixture_join(f, bob(f), "general", 0));
}

CHAT_TEST(test_kick__refusals)
{
    chat_fixture_all_join(f, "general", "alice bob");
    assert_answer(chat_fixture_kick(f, bob(f), "general", "alice", false), STATUS_PERMISSION_DENIED,
                  "Only the owner of #general may remove a member; ask them.");
    assert_answer(chat_fixture_kick(f, alice(f), "general", "alice", false),
                  STATUS_INVALID_ARGUMENT,
                  "You cannot remove yourself from #general; leave it instead.");
    assert_answer(chat_fixture_kick(f, alice(f), "general", "carol", false), STATUS_NOT_FOUND,
                  "@carol is not in #general; a ban would keep them from coming in.");
    assert_answer(chat_fixture_kick(f, alice(f), "general", "nobody", false), STATUS_NOT_FOUND,
                  "There is no account @nobody; check the name.");
    assert_answer(chat_fixture_kick(f, carol(f), "general", "bob", false), STATUS_PERMISSION_DENIED,
                  "You are not in #general; join it first.");
}

CHAT_TEST(test_ban__keeps_out_until_the_owner_invites)
{
    chat_fixture_all_join(f, "general", "alice bob carol");
    chat_fixture_clear_seen(f);
    assert_ok(chat_fixture_kick(f, alice(f), "general", "bob", true));
    assert_story(f, bob(f), "LEFT general bob alice banned");
    chat_fixture_reopen(f);
    assert_answer(chat_fixture_join(f, bob(f), "general", 0), STATUS_PERMISSION_DENIED,
                  "You are banned from #general; its owner can invite you again.");
    assert_answer(chat_fixture_invite(f, carol(f), "general", "bob"), STATUS_PERMISSION_DENIED,
                  "@bob is banned from #general; only its owner can end that.");
    assert_ok(chat_fixture_invite(f, alice(f), "general", "bob"));
    assert_ok(chat_fixture_join(f, bob(f), "general", 0));
}

CHAT_TEST(test_ban__somebody_who_is_not_in)
{
    chat_fixture_all_join(f, "general", "alice bob");
    chat_fixture_clear_seen(f);
    assert_ok(chat_fixture_kick(f, alice(f), "general", "carol", true));
    assert_ok(chat_fixture_kick(f, alice(f), "general", "carol", true));
    assert_story(f, bob(f), "LEFT general carol alice banned");
    assert_story(f, carol(f), "");
    assert_reads(f, carol(f), 0, "");
    assert_status(chat_fixture_join(f, carol(f), "general", 0), STATUS_PERMISSION_DENIED);
    /* A ban also withdraws an invitation; what was told before stays told. */
    chat_fixture_invite(f, bob(f), "general", "dave");
    chat_fixture_kick(f, alice(f), "general", "dave", true);
    assert_status(chat_fixture_join(f, dave(f), "general", 0), STATUS_PERMISSION_DENIED);
    assert_reads(f, dave(f), 0, "INVITED general bob dave");
}

CHAT_TEST(test_ban__how_many)
{
    f->limits.members_per_room = 2;
    chat_fixture_reopen(f);
    chat_fixture_join(f, alice(f), "general", 0);
    chat_fixture_kick(f, alice(f), "general", "bob", true);
    assert_ok(chat_fixture_kick(f, alice(f), "general", "carol", true));
    assert_answer(chat_fixture_kick(f, alice(f), "general", "dave", true),
                  STATUS_RESOURCE_EXHAUSTED,
                  "2 accounts are banned from #general, which is the limit; invite one of them to "
                  "end a ban.");
    chat_fixture_invite(f, alice(f), "general", "bob");
    assert_ok(chat_fixture_kick(f, alice(f), "general", "dave", true));
}

CHAT_TEST(test_ban__ends_with_the_account)
{
    chat_fixture_join(f, alice(f), "general", 0);
    chat_fixture_kick(f, alice(f), "general", "bob", true);
    chat_fixture_delete(f, bob(f), true);
    char *rows = chat_fixture_rows(f);
    assert_null(strstr(rows, "state 4"));
    free(rows);
    chat_fixture_reopen(f);
}

CHAT_TEST(test_former__the_oldest_of_too_many_is_forgotten)
{
    char room[32];
    for (int i = 0; i < 257; i++) {
        snprintf(room, sizeof room, "room%d", i);
        chat_fixture_join(f, alice(f), room, 0);
        chat_fixture_leave(f, alice(f), room);
    }
    char *portrait = chat_fixture_portrait(f);
    assert_non_null(strstr(portrait, "former 256"));
    assert_null(strstr(portrait, " room0 state"));
    assert_non_null(strstr(portrait, " room1 state"));
    free(portrait);
    assert_null(strstr(chat_fixture_reads(f, alice(f), 0), "LEFT room0 alice"));
    assert_non_null(strstr(chat_fixture_reads(f, alice(f), 0), "LEFT room1 alice"));
    chat_fixture_join(f, bob(f), "general", 0);
    chat_fixture_invite(f, bob(f), "general", "alice");
    chat_fixture_reopen(f);
    assert_null(strstr(chat_fixture_reads(f, alice(f), 0), "LEFT room1 alice"));
    assert_non_null(strstr(chat_fixture_reads(f, alice(f), 0), "INVITED general bob alice"));
}
