/* SPDX-License-Identifier: MIT */
/* Joining, leaving, topics, invitations, kicks, bans, and who sees what of them:
 * src/chat/room.c, membership.c, apply_room.c. */
#include "chat_fixture.h"
#include "support/test.h"
#include "support/text_append.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Four people, logged in. */
struct people {
    struct chat_fixture fixture;
    struct chat_session *alice, *bob, *carol, *dave;
};

static void meet(struct people *people)
{
    people->alice = chat_fixture_session(&people->fixture, "alice");
    people->bob = chat_fixture_session(&people->fixture, "bob");
    people->carol = chat_fixture_session(&people->fixture, "carol");
    people->dave = chat_fixture_session(&people->fixture, "dave");
}

static void begin(struct people *f)
{
    chat_fixture_open(&f->fixture, 2, NULL);
    chat_fixture_person(&f->fixture, "alice");
    chat_fixture_person(&f->fixture, "bob");
    chat_fixture_person(&f->fixture, "carol");
    chat_fixture_person(&f->fixture, "dave");
    meet(f);
}

static void end(struct people *f)
{
    chat_fixture_close(&f->fixture);
}

static void assert_answer(struct answer answer, enum status status, const char *text)
{
    if (answer.status != status || strcmp(answer.text, text) != 0)
        fail_msg("%s: %s", status_name(answer.status), answer.text);
    assert_int_equal(answer.retry_ms, 0);
    assert_true(answer.applied); /* what is refused for good is remembered */
}

static Jackdaw__JoinRoomReply join_reply(struct people *people, struct chat_session *session,
                                         const struct answer *answer)
{
    struct chat_call call = chat_fixture_call(&people->fixture, session);
    Jackdaw__JoinRoomReply reply = JACKDAW__JOIN_ROOM_REPLY__INIT;
    assert_int_equal(chat_answer_join(people->fixture.chat, &call, &answer->outcome, &reply), OK);
    assert_int_equal(call.status, STATUS_OK);
    return reply;
}

TEST_ON(test_join__makes_a_room_owned_by_its_maker, struct people, begin, end)
{
    struct answer answer = chat_fixture_join(&f->fixture, f->alice, "#General", 0);
    assert_int_equal(answer.status, STATUS_OK);
    assert_true(answer.outcome.created);
    Jackdaw__JoinRoomReply reply = join_reply(f, f->alice, &answer);
    assert_string_equal(reply.room, "General");
    assert_string_equal(reply.owner, "alice");
    assert_true(reply.created);
    assert_false(reply.private_);
    assert_int_equal(reply.members, 1);
    assert_string_equal(chat_fixture_story(&f->fixture, f->alice),
                        "JOINED General alice; OWNER General alice");
}

TEST_ON(test_join__an_existing_room_by_any_spelling, struct people, begin, end)
{
    chat_fixture_join(&f->fixture, f->alice, "General", 0);
    chat_fixture_topic(&f->fixture, f->alice, "general", "all and nothing");
    chat_fixture_send(&f->fixture, f->alice, "general", "hi", 0);
    struct answer answer = chat_fixture_join(&f->fixture, f->bob, "GENERAL", 0);
    Jackdaw__JoinRoomReply reply = join_reply(f, f->bob, &answer);
    assert_false(reply.created);
    assert_string_equal(reply.room, "General");
    assert_string_equal(reply.topic, "all and nothing");
    assert_string_equal(reply.owner, "alice");
    assert_int_equal(reply.members, 2);
    assert_int_equal(reply.last_number, 1);
    assert_string_equal(chat_fixture_members(&f->fixture, f->bob, "general"), "alice* bob");
}

TEST_ON(test_join__again_changes_nothing, struct people, begin, end)
{
    chat_fixture_join(&f->fixture, f->alice, "general", 0);
    struct answer answer = chat_fixture_join(&f->fixture, f->alice, "general", 0);
    assert_int_equal(answer.status, STATUS_OK);
    assert_false(answer.outcome.created);
    assert_string_equal(join_reply(f, f->alice, &answer).room, "general");
    assert_string_equal(chat_fixture_story(&f->fixture, f->alice),
                        "JOINED general alice; OWNER general alice");
}

TEST_ON(test_join__names_that_break_a_rule, struct people, begin, end)
{
    struct chat_fixture *fixture = &f->fixture;
    assert_answer(chat_fixture_join(fixture, f->alice, "", 0), STATUS_INVALID_ARGUMENT,
                  "A name must not be empty; choose another one.");
    assert_answer(chat_fixture_join(fixture, f->alice, "#", 0), STATUS_INVALID_ARGUMENT,
                  "A name must not be empty; choose another one.");
    assert_answer(chat_fixture_join(fixture, f->alice, "##a", 0), STATUS_INVALID_ARGUMENT,
                  "A name must not contain any of @ # : / \\ , ! * ? \"; choose another one.");
    assert_answer(chat_fixture_join(fixture, f->alice, "@bob", 0), STATUS_INVALID_ARGUMENT,
                  "A person cannot be joined; send them a message instead.");
}

TEST_ON(test_join__limits_from_both_sides, struct people, begin, end)
{
    struct chat_fixture *fixture = &f->fixture;
    fixture->limits.members_per_room = 2;
    fixture->limits.rooms_per_account = 3;
    chat_fixture_reopen(fixture);
    meet(f);
    chat_fixture_join(fixture, f->alice, "one", 0);
    assert_int_equal(chat_fixture_join(fixture, f->bob, "one", 0).status, STATUS_OK);
    assert_answer(chat_fixture_join(fixture, f->carol, "one", 0), STATUS_RESOURCE_EXHAUSTED,
                  "#one is full: 2 members are the limit; join another room.");
    chat_fixture_leave(fixture, f->bob, "one");
    assert_int_equal(chat_fixture_join(fixture, f->carol, "one", 0).status, STATUS_OK);
    assert_int_equal(chat_fixture_join(fixture, f->alice, "two", 0).status, STATUS_OK);
    chat_fixture_send(fixture, f->alice, "@bob", "conversations do not count", 0);
    assert_int_equal(chat_fixture_join(fixture, f->alice, "three", 0).status, STATUS_OK);
    assert_answer(chat_fixture_join(fixture, f->alice, "four", 0), STATUS_RESOURCE_EXHAUSTED,
                  "You are in 3 rooms, which is the limit; leave one first.");
    chat_fixture_join(fixture, f->dave, "five", 0);
    assert_int_equal(chat_fixture_join(fixture, f->alice, "five", 0).status,
                     STATUS_RESOURCE_EXHAUSTED);
    chat_fixture_leave(fixture, f->alice, "three");
    assert_int_equal(chat_fixture_join(fixture, f->alice, "five", 0).status, STATUS_OK);
}

TEST_ON(test_private__only_the_invited_come_in, struct people, begin, end)
{
    struct chat_fixture *fixture = &f->fixture;
    struct answer answer = chat_fixture_join_private(fixture, f->alice, "secret");
    assert_true(join_reply(f, f->alice, &answer).private_);
    assert_answer(chat_fixture_join(fixture, f->bob, "secret", 0), STATUS_PERMISSION_DENIED,
                  "#secret is private; ask one of its members to invite you.");
    chat_fixture_clear_seen(fixture);
    assert_int_equal(chat_fixture_invite(fixture, f->alice, "secret", "bob").status, STATUS_OK);
    assert_string_equal(chat_fixture_story(fixture, f->bob), "INVITED secret alice bob");
    assert_string_equal(chat_fixture_story(fixture, f->alice), "");
    assert_int_equal(chat_fixture_join(fixture, f->bob, "secret", 0).status, STATUS_OK);
    assert_int_equal(chat_fixture_invite(fixture, f->bob, "secret", "@Carol").status, STATUS_OK);
    assert_int_equal(chat_fixture_join(fixture, f->carol, "secret", 0).status, STATUS_OK);
}

TEST_ON(test_private__others_cannot_tell_that_it_exists, struct people, begin, end)
{
    struct chat_fixture *fixture = &f->fixture;
    chat_fixture_join_private(fixture, f->alice, "secret");
    const char *nothing = "There is no room #secret; join it to make it.";
    assert_answer(chat_fixture_send(fixture, f->bob, "secret", "hi", 0), STATUS_NOT_FOUND, nothing);
    assert_answer(chat_fixture_topic(fixture, f->bob, "secret", "x"), STATUS_NOT_FOUND, nothing);
    assert_answer(chat_fixture_leave(fixture, f->bob, "secret"), STATUS_NOT_FOUND, nothing);
    assert_answer(chat_fixture_invite(fixture, f->bob, "secret", "dave"), STATUS_NOT_FOUND,
                  nothing);
    assert_answer(chat_fixture_kick(fixture, f->bob, "secret", "alice", true), STATUS_NOT_FOUND,
                  nothing);
    assert_string_equal(chat_fixture_members(fixture, f->bob, "secret"), "NOT_FOUND");
}

TEST_ON(test_private__ends_with_its_last_member, struct people, begin, end)
{
    struct chat_fixture *fixture = &f->fixture;
    chat_fixture_join_private(fixture, f->alice, "secret");
    chat_fixture_invite(fixture, f->alice, "secret", "bob");
    chat_fixture_clear_seen(fixture);
    assert_int_equal(chat_fixture_leave(fixture, f->alice, "secret").status, STATUS_OK);
    assert_int_equal(fixture->seen_count, 1);
    assert_int_equal(fixture->seen[0].event.kind, JACKDAW__EVENT__KIND__LEFT);
    struct answer answer = chat_fixture_join(fixture, f->bob, "secret", 0);
    assert_true(answer.outcome.created);
    assert_string_equal(chat_fixture_members(fixture, f->carol, "secret"), "bob*");
    chat_fixture_reopen(fixture);
    meet(f);
    assert_string_equal(chat_fixture_members(fixture, f->carol, "secret"), "bob*");
}

TEST_ON(test_private__leaving_and_coming_back_needs_an_invitation, struct people, begin, end)
{
    struct chat_fixture *fixture = &f->fixture;
    chat_fixture_join_private(fixture, f->alice, "secret");
    chat_fixture_invite(fixture, f->alice, "secret", "bob");
    chat_fixture_join(fixture, f->bob, "secret", 0);
    chat_fixture_leave(fixture, f->bob, "secret");
    assert_int_equal(chat_fixture_join(fixture, f->bob, "secret", 0).status,
                     STATUS_PERMISSION_DENIED);
    chat_fixture_invite(fixture, f->alice, "secret", "bob");
    assert_int_equal(chat_fixture_join(fixture, f->bob, "secret", 0).status, STATUS_OK);
}

TEST_ON(test_leave__is_seen_by_the_one_who_leaves_too, struct people, begin, end)
{
    struct chat_fixture *fixture = &f->fixture;
    chat_fixture_join(fixture, f->alice, "general", 0);
    chat_fixture_join(fixture, f->bob, "general", 0);
    chat_fixture_clear_seen(fixture);
    assert_int_equal(chat_fixture_leave(fixture, f->bob, "general").status, STATUS_OK);
    chat_fixture_send(fixture, f->alice, "general", "gone", 0);
    assert_string_equal(chat_fixture_story(fixture, f->bob), "LEFT general bob");
    assert_string_equal(chat_fixture_story(fixture, f->alice),
                        "LEFT general bob; MESSAGE general alice gone");
    assert_string_equal(chat_fixture_reads(fixture, f->bob, fixture->seq - 2), "LEFT general bob");
}

TEST_ON(test_leave__the_longest_member_becomes_owner, struct people, begin, end)
{
    struct chat_fixture *fixture = &f->fixture;
    chat_fixture_join(fixture, f->alice, "general", 0);
    chat_fixture_join(fixture, f->bob, "general", 0);
    chat_fixture_join(fixture, f->carol, "general", 0);
    chat_fixture_join(fixture, f->dave, "general", 0);
    chat_fixture_leave(fixture, f->bob, "general");
    chat_fixture_join(fixture, f->bob, "general", 0);
    chat_fixture_reopen(fixture);
    meet(f);
    chat_fixture_clear_seen(fixture);
    uint64_t seq = fixture->seq;
    chat_fixture_leave(fixture, f->alice, "general");
    assert_string_equal(chat_fixture_members(fixture, f->bob, "general"), "bob carol* dave");
    assert_string_equal(chat_fixture_story(fixture, f->bob),
                        "LEFT general alice; OWNER general carol");
    assert_string_equal(chat_fixture_story(fixture, f->alice),
                        "LEFT general alice; OWNER general carol");
    assert_string_equal(chat_fixture_reads(fixture, f->bob, seq),
                        chat_fixture_story(fixture, f->bob));
    chat_fixture_leave(fixture, f->carol, "general");
    assert_string_equal(chat_fixture_members(fixture, f->bob, "general"), "bob dave*");
}

TEST_ON(test_leave__an_empty_public_room_waits_for_an_owner, struct people, begin, end)
{
    struct chat_fixture *fixture = &f->fixture;
    chat_fixture_join(fixture, f->alice, "general", 0);
    chat_fixture_topic(fixture, f->alice, "general", "kept");
    chat_fixture_leave(fixture, f->alice, "general");
    chat_fixture_reopen(fixture);
    meet(f);
    assert_string_equal(chat_fixture_members(fixture, f->alice, "general"), "");
    chat_fixture_clear_seen(fixture);
    struct answer answer = chat_fixture_join(fixture, f->bob, "general", 0);
    Jackdaw__JoinRoomReply reply = join_reply(f, f->bob, &answer);
    assert_false(reply.created);
    assert_string_equal(reply.topic, "kept");
    assert_string_equal(reply.owner, "bob");
    assert_string_equal(chat_fixture_story(fixture, f->bob),
                        "JOINED general bob; OWNER general bob");
    chat_fixture_reopen(fixture);
    meet(f);
    assert_string_equal(chat_fixture_members(fixture, f->alice, "general"), "bob*");
}

TEST_ON(test_leave__refusals, struct people, begin, end)
{
    struct chat_fixture *fixture = &f->fixture;
    chat_fixture_join(fixture, f->alice, "general", 0);
    assert_answer(chat_fixture_leave(fixture, f->bob, "general"), STATUS_PERMISSION_DENIED,
                  "You are not in #general; join it first.");
    assert_answer(chat_fixture_leave(fixture, f->bob, "nowhere"), STATUS_NOT_FOUND,
                  "There is no room #nowhere; join it to make it.");
    assert_answer(chat_fixture_leave(fixture, f->bob, "@alice"), STATUS_INVALID_ARGUMENT,
                  "A name with @ is a person's; give the name of a room.");
    assert_answer(chat_fixture_leave(fixture, f->bob, "a b"), STATUS_INVALID_ARGUMENT,
                  "A name must not contain white space; give the name of a room.");
}

TEST_ON(test_topic__is_seen_by_the_room, struct people, begin, end)
{
    struct chat_fixture *fixture = &f->fixture;
    chat_fixture_join(fixture, f->alice, "general", 0);
    chat_fixture_join(fixture, f->bob, "general", 0);
    chat_fixture_clear_seen(fixture);
    assert_int_equal(chat_fixture_topic(fixture, f->bob, "#general", "news").status, STATUS_OK);
    assert_string_equal(chat_fixture_story(fixture, f->alice), "TOPIC general bob news");
    assert_int_equal(chat_fixture_topic(fixture, f->bob, "#general", "news").status, STATUS_OK);
    assert_int_equal(chat_fixture_topic(fixture, f->bob, "#general", "").status, STATUS_OK);
    assert_string_equal(chat_fixture_story(fixture, f->alice),
                        "TOPIC general bob news; TOPIC general bob");
}

TEST_ON(test_topic__rules_from_both_sides, struct people, begin, end)
{
    struct chat_fixture *fixture = &f->fixture;
    const char *rule = "A topic must be one line of at most 256 characters, without control "
                       "characters and marks of direction.";
    chat_fixture_join(fixture, f->alice, "general", 0);
    char topic[4 * 257 + 1] = "";
    for (int i = 0; i < 256; i++)
        text_append(topic, sizeof topic, "%s", "\xF0\x9F\x90\xA6");
    assert_int_equal(chat_fixture_topic(fixture, f->alice, "general", topic).status, STATUS_OK);
    text_append(topic, sizeof topic, "%s", "x");
    assert_answer(chat_fixture_topic(fixture, f->alice, "general", topic), STATUS_INVALID_ARGUMENT,
                  rule);
    assert_answer(chat_fixture_topic(fixture, f->alice, "general", "a\nb"), STATUS_INVALID_ARGUMENT,
                  rule);
    assert_answer(chat_fixture_topic(fixture, f->alice, "general", "\xFF"), STATUS_INVALID_ARGUMENT,
                  rule);
    assert_answer(chat_fixture_topic(fixture, f->alice, "general",
                                     "a\xE2\x80\xAE"
                                     "b"),
                  STATUS_INVALID_ARGUMENT, rule); /* U+202E */
    assert_answer(chat_fixture_topic(fixture, f->alice, "general", "\xE2\x81\xA6"),
                  STATUS_INVALID_ARGUMENT, rule); /* U+2066 */
    assert_int_equal(chat_fixture_topic(fixture, f->bob, "general", "x").status,
                     STATUS_PERMISSION_DENIED);
}

TEST_ON(test_invite__refusals, struct people, begin, end)
{
    struct chat_fixture *fixture = &f->fixture;
    chat_fixture_join(fixture, f->alice, "general", 0);
    assert_answer(chat_fixture_invite(fixture, f->alice, "general", "nobody"), STATUS_NOT_FOUND,
                  "There is no account @nobody; check the name.");
    assert_answer(chat_fixture_invite(fixture, f->alice, "general", "a b"), STATUS_INVALID_ARGUMENT,
                  "A name must not contain white space; give the name of an account.");
    assert_answer(chat_fixture_invite(fixture, f->alice, "general", "alice"), STATUS_ALREADY_EXISTS,
                  "@alice is in #general already.");
    assert_answer(chat_fixture_invite(fixture, f->bob, "general", "carol"),
                  STATUS_PERMISSION_DENIED, "You are not in #general; join it first.");
}

TEST_ON(test_invite__twice_is_one_invitation, struct people, begin, end)
{
    struct chat_fixture *fixture = &f->fixture;
    chat_fixture_join(fixture, f->alice, "general", 0);
    chat_fixture_clear_seen(fixture);
    chat_fixture_invite(fixture, f->alice, "general", "bob");
    assert_int_equal(chat_fixture_invite(fixture, f->alice, "general", "bob").status, STATUS_OK);
    assert_string_equal(chat_fixture_story(fixture, f->bob), "INVITED general alice bob");
}

TEST_ON(test_invite__is_read_later_and_by_the_invited_alone, struct people, begin, end)
{
    struct chat_fixture *fixture = &f->fixture;
    chat_fixture_join_private(fixture, f->alice, "secret");
    chat_fixture_send(fixture, f->alice, "secret", "before", 0);
    chat_fixture_invite(fixture, f->alice, "secret", "bob");
    chat_fixture_send(fixture, f->alice, "secret", "after", 0);
    chat_fixture_reopen(fixture);
    meet(f);
    assert_string_equal(chat_fixture_reads(fixture, f->bob, 0), "INVITED secret alice bob");
    assert_string_equal(chat_fixture_reads(fixture, f->carol, 0), "");
    assert_string_equal(chat_fixture_reads(fixture, f->alice, 0),
                        "JOINED secret alice; OWNER secret alice; MESSAGE secret alice before; "
                        "MESSAGE secret alice after");
    assert_string_equal(chat_fixture_members(fixture, f->bob, "secret"), "alice*");
    /* Once used it is not news any more. */
    chat_fixture_join(fixture, f->bob, "secret", 0);
    assert_string_equal(chat_fixture_reads(fixture, f->bob, 0), "JOINED secret bob");
}

TEST_ON(test_kick__is_seen_by_the_room_and_the_kicked, struct people, begin, end)
{
    struct chat_fixture *fixture = &f->fixture;
    chat_fixture_join(fixture, f->alice, "general", 0);
    chat_fixture_join(fixture, f->bob, "general", 0);
    uint64_t seq = fixture->seq;
    chat_fixture_clear_seen(fixture);
    assert_int_equal(chat_fixture_kick(fixture, f->alice, "general", "bob", false).status,
                     STATUS_OK);
    chat_fixture_send(fixture, f->alice, "general", "so", 0);
    assert_string_equal(chat_fixture_story(fixture, f->bob), "LEFT general bob alice kicked");
    assert_string_equal(chat_fixture_reads(fixture, f->bob, seq), "LEFT general bob alice kicked");
    assert_int_equal(chat_fixture_join(fixture, f->bob, "general", 0).status, STATUS_OK);
}

TEST_ON(test_kick__refusals, struct people, begin, end)
{
    struct chat_fixture *fixture = &f->fixture;
    chat_fixture_join(fixture, f->alice, "general", 0);
    chat_fixture_join(fixture, f->bob, "general", 0);
    assert_answer(chat_fixture_kick(fixture, f->bob, "general", "alice", false),
                  STATUS_PERMISSION_DENIED,
                  "Only the owner of #general may remove a member; ask them.");
    assert_answer(chat_fixture_kick(fixture, f->alice, "general", "alice", false),
                  STATUS_INVALID_ARGUMENT,
                  "You cannot remove yourself from #general; leave it instead.");
    assert_answer(chat_fixture_kick(fixture, f->alice, "general", "carol", false), STATUS_NOT_FOUND,
                  "@carol is not in #general; a ban would keep them from coming in.");
    assert_answer(chat_fixture_kick(fixture, f->alice, "general", "nobody", false),
                  STATUS_NOT_FOUND, "There is no account @nobody; check the name.");
    assert_answer(chat_fixture_kick(fixture, f->carol, "general", "bob", false),
                  STATUS_PERMISSION_DENIED, "You are not in #general; join it first.");
}

TEST_ON(test_ban__keeps_out_until_the_owner_invites, struct people, begin, end)
{
    struct chat_fixture *fixture = &f->fixture;
    chat_fixture_join(fixture, f->alice, "general", 0);
    chat_fixture_join(fixture, f->bob, "general", 0);
    chat_fixture_join(fixture, f->carol, "general", 0);
    chat_fixture_clear_seen(fixture);
    assert_int_equal(chat_fixture_kick(fixture, f->alice, "general", "bob", true).status,
                     STATUS_OK);
    assert_string_equal(chat_fixture_story(fixture, f->bob), "LEFT general bob alice banned");
    chat_fixture_reopen(fixture);
    meet(f);
    assert_answer(chat_fixture_join(fixture, f->bob, "general", 0), STATUS_PERMISSION_DENIED,
                  "You are banned from #general; its owner can invite you again.");
    assert_answer(chat_fixture_invite(fixture, f->carol, "general", "bob"),
                  STATUS_PERMISSION_DENIED,
                  "@bob is banned from #general; only its owner can end that.");
    assert_int_equal(chat_fixture_invite(fixture, f->alice, "general", "bob").status, STATUS_OK);
    assert_int_equal(chat_fixture_join(fixture, f->bob, "general", 0).status, STATUS_OK);
}

TEST_ON(test_ban__somebody_who_is_not_in, struct people, begin, end)
{
    struct chat_fixture *fixture = &f->fixture;
    chat_fixture_join(fixture, f->alice, "general", 0);
    chat_fixture_join(fixture, f->bob, "general", 0);
    chat_fixture_clear_seen(fixture);
    assert_int_equal(chat_fixture_kick(fixture, f->alice, "general", "carol", true).status,
                     STATUS_OK);
    assert_int_equal(chat_fixture_kick(fixture, f->alice, "general", "carol", true).status,
                     STATUS_OK);
    assert_string_equal(chat_fixture_story(fixture, f->bob), "LEFT general carol alice banned");
    assert_string_equal(chat_fixture_story(fixture, f->carol), "");
    assert_string_equal(chat_fixture_reads(fixture, f->carol, 0), "");
    assert_int_equal(chat_fixture_join(fixture, f->carol, "general", 0).status,
                     STATUS_PERMISSION_DENIED);
    /* A ban also withdraws an invitation; what was told before stays told. */
    chat_fixture_invite(fixture, f->bob, "general", "dave");
    chat_fixture_kick(fixture, f->alice, "general", "dave", true);
    assert_int_equal(chat_fixture_join(fixture, f->dave, "general", 0).status,
                     STATUS_PERMISSION_DENIED);
    assert_string_equal(chat_fixture_reads(fixture, f->dave, 0), "INVITED general bob dave");
}

TEST_ON(test_ban__how_many, struct people, begin, end)
{
    struct chat_fixture *fixture = &f->fixture;
    fixture->limits.members_per_room = 2;
    chat_fixture_reopen(fixture);
    meet(f);
    chat_fixture_join(fixture, f->alice, "general", 0);
    chat_fixture_kick(fixture, f->alice, "general", "bob", true);
    assert_int_equal(chat_fixture_kick(fixture, f->alice, "general", "carol", true).status,
                     STATUS_OK);
    assert_answer(chat_fixture_kick(fixture, f->alice, "general", "dave", true),
                  STATUS_RESOURCE_EXHAUSTED,
                  "2 accounts are banned from #general, which is the limit; invite one of them to "
                  "end a ban.");
    chat_fixture_invite(fixture, f->alice, "general", "bob");
    assert_int_equal(chat_fixture_kick(fixture, f->alice, "general", "dave", true).status,
                     STATUS_OK);
}

TEST_ON(test_ban__ends_with_the_account, struct people, begin, end)
{
    struct chat_fixture *fixture = &f->fixture;
    chat_fixture_join(fixture, f->alice, "general", 0);
    chat_fixture_kick(fixture, f->alice, "general", "bob", true);
    chat_fixture_delete(fixture, f->bob, true);
    char *rows = chat_fixture_rows(fixture);
    assert_null(strstr(rows, "state 4"));
    free(rows);
    chat_fixture_reopen(fixture);
}

TEST_ON(test_former__the_oldest_of_too_many_is_forgotten, struct people, begin, end)
{
    struct chat_fixture *fixture = &f->fixture;
    char room[32];
    for (int i = 0; i < 257; i++) {
        snprintf(room, sizeof room, "room%d", i);
        chat_fixture_join(fixture, f->alice, room, 0);
        chat_fixture_leave(fixture, f->alice, room);
    }
    char *portrait = chat_fixture_portrait(fixture);
    assert_non_null(strstr(portrait, "former 256"));
    assert_null(strstr(portrait, " room0 state"));
    assert_non_null(strstr(portrait, " room1 state"));
    free(portrait);
    assert_null(strstr(chat_fixture_reads(fixture, f->alice, 0), "LEFT room0 alice"));
    assert_non_null(strstr(chat_fixture_reads(fixture, f->alice, 0), "LEFT room1 alice"));
    chat_fixture_join(fixture, f->bob, "general", 0);
    chat_fixture_invite(fixture, f->bob, "general", "alice");
    chat_fixture_reopen(fixture);
    meet(f);
    assert_null(strstr(chat_fixture_reads(fixture, f->alice, 0), "LEFT room1 alice"));
    assert_non_null(strstr(chat_fixture_reads(fixture, f->alice, 0), "INVITED general bob alice"));
}
