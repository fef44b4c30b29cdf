/* SPDX-License-Identifier: MIT */
/* Joining, leaving, topics, invitations, kicks, bans, and who sees what of them:
 * src/chat/room.c, membership.c, apply_room.c. */
#include "chat_world.h"
#include "support/text_append.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

/* Four people, logged in. */
struct people {
    struct world world;
    struct chat_session *alice, *bob, *carol, *dave;
};

static void meet(struct people *people)
{
    people->alice = world_session(&people->world, "alice");
    people->bob = world_session(&people->world, "bob");
    people->carol = world_session(&people->world, "carol");
    people->dave = world_session(&people->world, "dave");
}

static int open_people(void **state)
{
    struct people *people = malloc(sizeof *people);
    world_open(&people->world, 2, NULL);
    world_person(&people->world, "alice");
    world_person(&people->world, "bob");
    world_person(&people->world, "carol");
    world_person(&people->world, "dave");
    meet(people);
    *state = people;
    return 0;
}

static int close_people(void **state)
{
    struct people *people = *state;
    world_close(&people->world);
    free(people);
    return 0;
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
    struct chat_call call = world_call(&people->world, session);
    Jackdaw__JoinRoomReply reply = JACKDAW__JOIN_ROOM_REPLY__INIT;
    assert_int_equal(chat_answer_join(people->world.chat, &call, &answer->outcome, &reply), OK);
    assert_int_equal(call.status, STATUS_OK);
    return reply;
}

static void test_join__makes_a_room_owned_by_its_maker(void **state)
{
    struct people *people = *state;
    struct answer answer = world_join(&people->world, people->alice, "#General", 0);
    assert_int_equal(answer.status, STATUS_OK);
    assert_true(answer.outcome.created);
    Jackdaw__JoinRoomReply reply = join_reply(people, people->alice, &answer);
    assert_string_equal(reply.room, "General");
    assert_string_equal(reply.owner, "alice");
    assert_true(reply.created);
    assert_false(reply.private_);
    assert_int_equal(reply.members, 1);
    assert_string_equal(world_story(&people->world, people->alice),
                        "JOINED General alice; OWNER General alice");
}

static void test_join__an_existing_room_by_any_spelling(void **state)
{
    struct people *people = *state;
    world_join(&people->world, people->alice, "General", 0);
    world_topic(&people->world, people->alice, "general", "all and nothing");
    world_send(&people->world, people->alice, "general", "hi", 0);
    struct answer answer = world_join(&people->world, people->bob, "GENERAL", 0);
    Jackdaw__JoinRoomReply reply = join_reply(people, people->bob, &answer);
    assert_false(reply.created);
    assert_string_equal(reply.room, "General");
    assert_string_equal(reply.topic, "all and nothing");
    assert_string_equal(reply.owner, "alice");
    assert_int_equal(reply.members, 2);
    assert_int_equal(reply.last_number, 1);
    assert_string_equal(world_members(&people->world, people->bob, "general"), "alice* bob");
}

static void test_join__again_changes_nothing(void **state)
{
    struct people *people = *state;
    world_join(&people->world, people->alice, "general", 0);
    struct answer answer = world_join(&people->world, people->alice, "general", 0);
    assert_int_equal(answer.status, STATUS_OK);
    assert_false(answer.outcome.created);
    assert_string_equal(join_reply(people, people->alice, &answer).room, "general");
    assert_string_equal(world_story(&people->world, people->alice),
                        "JOINED general alice; OWNER general alice");
}

static void test_join__names_that_break_a_rule(void **state)
{
    struct people *people = *state;
    struct world *world = &people->world;
    assert_answer(world_join(world, people->alice, "", 0), STATUS_INVALID_ARGUMENT,
                  "A name must not be empty; choose another one.");
    assert_answer(world_join(world, people->alice, "#", 0), STATUS_INVALID_ARGUMENT,
                  "A name must not be empty; choose another one.");
    assert_answer(world_join(world, people->alice, "##a", 0), STATUS_INVALID_ARGUMENT,
                  "A name must not contain any of @ # : / \\ , ! * ? \"; choose another one.");
    assert_answer(world_join(world, people->alice, "@bob", 0), STATUS_INVALID_ARGUMENT,
                  "A person cannot be joined; send them a message instead.");
}

static void test_join__limits_from_both_sides(void **state)
{
    struct people *people = *state;
    struct world *world = &people->world;
    world->limits.members_per_room = 2;
    world->limits.rooms_per_account = 3;
    world_reopen(world);
    meet(people);
    world_join(world, people->alice, "one", 0);
    assert_int_equal(world_join(world, people->bob, "one", 0).status, STATUS_OK);
    assert_answer(world_join(world, people->carol, "one", 0), STATUS_RESOURCE_EXHAUSTED,
                  "#one is full: 2 members are the limit; join another room.");
    world_leave(world, people->bob, "one");
    assert_int_equal(world_join(world, people->carol, "one", 0).status, STATUS_OK);
    assert_int_equal(world_join(world, people->alice, "two", 0).status, STATUS_OK);
    world_send(world, people->alice, "@bob", "conversations do not count", 0);
    assert_int_equal(world_join(world, people->alice, "three", 0).status, STATUS_OK);
    assert_answer(world_join(world, people->alice, "four", 0), STATUS_RESOURCE_EXHAUSTED,
                  "You are in 3 rooms, which is the limit; leave one first.");
    world_join(world, people->dave, "five", 0);
    assert_int_equal(world_join(world, people->alice, "five", 0).status, STATUS_RESOURCE_EXHAUSTED);
    world_leave(world, people->alice, "three");
    assert_int_equal(world_join(world, people->alice, "five", 0).status, STATUS_OK);
}

/* ---- private rooms ---- */

static void test_private__only_the_invited_come_in(void **state)
{
    struct people *people = *state;
    struct world *world = &people->world;
    struct answer answer = world_join_private(world, people->alice, "secret");
    assert_true(join_reply(people, people->alice, &answer).private_);
    assert_answer(world_join(world, people->bob, "secret", 0), STATUS_PERMISSION_DENIED,
                  "#secret is private; ask one of its members to invite you.");
    world_clear_seen(world);
    assert_int_equal(world_invite(world, people->alice, "secret", "bob").status, STATUS_OK);
    assert_string_equal(world_story(world, people->bob), "INVITED secret alice bob");
    assert_string_equal(world_story(world, people->alice), "");
    assert_int_equal(world_join(world, people->bob, "secret", 0).status, STATUS_OK);
    assert_int_equal(world_invite(world, people->bob, "secret", "@Carol").status, STATUS_OK);
    assert_int_equal(world_join(world, people->carol, "secret", 0).status, STATUS_OK);
}

static void test_private__others_cannot_tell_that_it_exists(void **state)
{
    struct people *people = *state;
    struct world *world = &people->world;
    world_join_private(world, people->alice, "secret");
    const char *nothing = "There is no room #secret; join it to make it.";
    assert_answer(world_send(world, people->bob, "secret", "hi", 0), STATUS_NOT_FOUND, nothing);
    assert_answer(world_topic(world, people->bob, "secret", "x"), STATUS_NOT_FOUND, nothing);
    assert_answer(world_leave(world, people->bob, "secret"), STATUS_NOT_FOUND, nothing);
    assert_answer(world_invite(world, people->bob, "secret", "dave"), STATUS_NOT_FOUND, nothing);
    assert_answer(world_kick(world, people->bob, "secret", "alice", true), STATUS_NOT_FOUND,
                  nothing);
    assert_string_equal(world_members(world, people->bob, "secret"), "NOT_FOUND");
}

static void test_private__ends_with_its_last_member(void **state)
{
    struct people *people = *state;
    struct world *world = &people->world;
    world_join_private(world, people->alice, "secret");
    world_invite(world, people->alice, "secret", "bob");
    world_clear_seen(world);
    assert_int_equal(world_leave(world, people->alice, "secret").status, STATUS_OK);
    assert_int_equal(world->seen_count, 1);
    assert_int_equal(world->seen[0].event.kind, JACKDAW__EVENT__KIND__LEFT);
    struct answer answer = world_join(world, people->bob, "secret", 0);
    assert_true(answer.outcome.created);
    assert_string_equal(world_members(world, people->carol, "secret"), "bob*");
    world_reopen(world);
    meet(people);
    assert_string_equal(world_members(world, people->carol, "secret"), "bob*");
}

static void test_private__leaving_and_coming_back_needs_an_invitation(void **state)
{
    struct people *people = *state;
    struct world *world = &people->world;
    world_join_private(world, people->alice, "secret");
    world_invite(world, people->alice, "secret", "bob");
    world_join(world, people->bob, "secret", 0);
    world_leave(world, people->bob, "secret");
    assert_int_equal(world_join(world, people->bob, "secret", 0).status, STATUS_PERMISSION_DENIED);
    world_invite(world, people->alice, "secret", "bob");
    assert_int_equal(world_join(world, people->bob, "secret", 0).status, STATUS_OK);
}

/* ---- leaving and owning ---- */

static void test_leave__is_seen_by_the_one_who_leaves_too(void **state)
{
    struct people *people = *state;
    struct world *world = &people->world;
    world_join(world, people->alice, "general", 0);
    world_join(world, people->bob, "general", 0);
    world_clear_seen(world);
    assert_int_equal(world_leave(world, people->bob, "general").status, STATUS_OK);
    world_send(world, people->alice, "general", "gone", 0);
    assert_string_equal(world_story(world, people->bob), "LEFT general bob");
    assert_string_equal(world_story(world, people->alice),
                        "LEFT general bob; MESSAGE general alice gone");
    assert_string_equal(world_reads(world, people->bob, world->seq - 2), "LEFT general bob");
}

static void test_leave__the_longest_member_becomes_owner(void **state)
{
    struct people *people = *state;
    struct world *world = &people->world;
    world_join(world, people->alice, "general", 0);
    world_join(world, people->bob, "general", 0);
    world_join(world, people->carol, "general", 0);
    world_join(world, people->dave, "general", 0);
    world_leave(world, people->bob, "general");
    world_join(world, people->bob, "general", 0);
    world_reopen(world);
    meet(people);
    world_clear_seen(world);
    uint64_t seq = world->seq;
    world_leave(world, people->alice, "general");
    assert_string_equal(world_members(world, people->bob, "general"), "bob carol* dave");
    assert_string_equal(world_story(world, people->bob), "LEFT general alice; OWNER general carol");
    assert_string_equal(world_story(world, people->alice),
                        "LEFT general alice; OWNER general carol");
    assert_string_equal(world_reads(world, people->bob, seq), world_story(world, people->bob));
    world_leave(world, people->carol, "general");
    assert_string_equal(world_members(world, people->bob, "general"), "bob dave*");
}

static void test_leave__an_empty_public_room_waits_for_an_owner(void **state)
{
    struct people *people = *state;
    struct world *world = &people->world;
    world_join(world, people->alice, "general", 0);
    world_topic(world, people->alice, "general", "kept");
    world_leave(world, people->alice, "general");
    world_reopen(world);
    meet(people);
    assert_string_equal(world_members(world, people->alice, "general"), "");
    world_clear_seen(world);
    struct answer answer = world_join(world, people->bob, "general", 0);
    Jackdaw__JoinRoomReply reply = join_reply(people, people->bob, &answer);
    assert_false(reply.created);
    assert_string_equal(reply.topic, "kept");
    assert_string_equal(reply.owner, "bob");
    assert_string_equal(world_story(world, people->bob), "JOINED general bob; OWNER general bob");
    world_reopen(world);
    meet(people);
    assert_string_equal(world_members(world, people->alice, "general"), "bob*");
}

static void test_leave__refusals(void **state)
{
    struct people *people = *state;
    struct world *world = &people->world;
    world_join(world, people->alice, "general", 0);
    assert_answer(world_leave(world, people->bob, "general"), STATUS_PERMISSION_DENIED,
                  "You are not in #general; join it first.");
    assert_answer(world_leave(world, people->bob, "nowhere"), STATUS_NOT_FOUND,
                  "There is no room #nowhere; join it to make it.");
    assert_answer(world_leave(world, people->bob, "@alice"), STATUS_INVALID_ARGUMENT,
                  "A name with @ is a person's; give the name of a room.");
    assert_answer(world_leave(world, people->bob, "a b"), STATUS_INVALID_ARGUMENT,
                  "A name must not contain white space; give the name of a room.");
}

/* ---- topic ---- */

static void test_topic__is_seen_by_the_room(void **state)
{
    struct people *people = *state;
    struct world *world = &people->world;
    world_join(world, people->alice, "general", 0);
    world_join(world, people->bob, "general", 0);
    world_clear_seen(world);
    assert_int_equal(world_topic(world, people->bob, "#general", "news").status, STATUS_OK);
    assert_string_equal(world_story(world, people->alice), "TOPIC general bob news");
    assert_int_equal(world_topic(world, people->bob, "#general", "news").status, STATUS_OK);
    assert_int_equal(world_topic(world, people->bob, "#general", "").status, STATUS_OK);
    assert_string_equal(world_story(world, people->alice),
                        "TOPIC general bob news; TOPIC general bob");
}

static void test_topic__rules_from_both_sides(void **state)
{
    struct people *people = *state;
    struct world *world = &people->world;
    const char *rule = "A topic must be one line of at most 256 characters, without control "
                       "characters and marks of direction.";
    world_join(world, people->alice, "general", 0);
    char topic[4 * 257 + 1] = "";
    for (int i = 0; i < 256; i++)
        text_append(topic, sizeof topic, "%s", "\xF0\x9F\x90\xA6");
    assert_int_equal(world_topic(world, people->alice, "general", topic).status, STATUS_OK);
    text_append(topic, sizeof topic, "%s", "x");
    assert_answer(world_topic(world, people->alice, "general", topic), STATUS_INVALID_ARGUMENT,
                  rule);
    assert_answer(world_topic(world, people->alice, "general", "a\nb"), STATUS_INVALID_ARGUMENT,
                  rule);
    assert_answer(world_topic(world, people->alice, "general", "\xFF"), STATUS_INVALID_ARGUMENT,
                  rule);
    assert_answer(world_topic(world, people->alice, "general",
                              "a\xE2\x80\xAE"
                              "b"),
                  STATUS_INVALID_ARGUMENT, rule); /* U+202E */
    assert_answer(world_topic(world, people->alice, "general", "\xE2\x81\xA6"),
                  STATUS_INVALID_ARGUMENT, rule); /* U+2066 */
    assert_int_equal(world_topic(world, people->bob, "general", "x").status,
                     STATUS_PERMISSION_DENIED);
}

/* ---- invitations ---- */

static void test_invite__refusals(void **state)
{
    struct people *people = *state;
    struct world *world = &people->world;
    world_join(world, people->alice, "general", 0);
    assert_answer(world_invite(world, people->alice, "general", "nobody"), STATUS_NOT_FOUND,
                  "There is no account @nobody; check the name.");
    assert_answer(world_invite(world, people->alice, "general", "a b"), STATUS_INVALID_ARGUMENT,
                  "A name must not contain white space; give the name of an account.");
    assert_answer(world_invite(world, people->alice, "general", "alice"), STATUS_ALREADY_EXISTS,
                  "@alice is in #general already.");
    assert_answer(world_invite(world, people->bob, "general", "carol"), STATUS_PERMISSION_DENIED,
                  "You are not in #general; join it first.");
}

static void test_invite__twice_is_one_invitation(void **state)
{
    struct people *people = *state;
    struct world *world = &people->world;
    world_join(world, people->alice, "general", 0);
    world_clear_seen(world);
    world_invite(world, people->alice, "general", "bob");
    assert_int_equal(world_invite(world, people->alice, "general", "bob").status, STATUS_OK);
    assert_string_equal(world_story(world, people->bob), "INVITED general alice bob");
}

static void test_invite__is_read_later_and_by_the_invited_alone(void **state)
{
    struct people *people = *state;
    struct world *world = &people->world;
    world_join_private(world, people->alice, "secret");
    world_send(world, people->alice, "secret", "before", 0);
    world_invite(world, people->alice, "secret", "bob");
    world_send(world, people->alice, "secret", "after", 0);
    world_reopen(world);
    meet(people);
    assert_string_equal(world_reads(world, people->bob, 0), "INVITED secret alice bob");
    assert_string_equal(world_reads(world, people->carol, 0), "");
    assert_string_equal(world_reads(world, people->alice, 0),
                        "JOINED secret alice; OWNER secret alice; MESSAGE secret alice before; "
                        "MESSAGE secret alice after");
    assert_string_equal(world_members(world, people->bob, "secret"), "alice*");
    /* Once used it is not news any more. */
    world_join(world, people->bob, "secret", 0);
    assert_string_equal(world_reads(world, people->bob, 0), "JOINED secret bob");
}

/* ---- kicks and bans ---- */

static void test_kick__is_seen_by_the_room_and_the_kicked(void **state)
{
    struct people *people = *state;
    struct world *world = &people->world;
    world_join(world, people->alice, "general", 0);
    world_join(world, people->bob, "general", 0);
    uint64_t seq = world->seq;
    world_clear_seen(world);
    assert_int_equal(world_kick(world, people->alice, "general", "bob", false).status, STATUS_OK);
    world_send(world, people->alice, "general", "so", 0);
    assert_string_equal(world_story(world, people->bob), "LEFT general bob alice kicked");
    assert_string_equal(world_reads(world, people->bob, seq), "LEFT general bob alice kicked");
    assert_int_equal(world_join(world, people->bob, "general", 0).status, STATUS_OK);
}

static void test_kick__refusals(void **state)
{
    struct people *people = *state;
    struct world *world = &people->world;
    world_join(world, people->alice, "general", 0);
    world_join(world, people->bob, "general", 0);
    assert_answer(world_kick(world, people->bob, "general", "alice", false),
                  STATUS_PERMISSION_DENIED,
                  "Only the owner of #general may put somebody out; ask them.");
    assert_answer(world_kick(world, people->alice, "general", "alice", false),
                  STATUS_INVALID_ARGUMENT,
                  "You cannot put yourself out of #general; leave it instead.");
    assert_answer(world_kick(world, people->alice, "general", "carol", false), STATUS_NOT_FOUND,
                  "@carol is not in #general; a ban would keep them from coming in.");
    assert_answer(world_kick(world, people->alice, "general", "nobody", false), STATUS_NOT_FOUND,
                  "There is no account @nobody; check the name.");
    assert_answer(world_kick(world, people->carol, "general", "bob", false),
                  STATUS_PERMISSION_DENIED, "You are not in #general; join it first.");
}

static void test_ban__keeps_out_until_the_owner_invites(void **state)
{
    struct people *people = *state;
    struct world *world = &people->world;
    world_join(world, people->alice, "general", 0);
    world_join(world, people->bob, "general", 0);
    world_join(world, people->carol, "general", 0);
    world_clear_seen(world);
    assert_int_equal(world_kick(world, people->alice, "general", "bob", true).status, STATUS_OK);
    assert_string_equal(world_story(world, people->bob), "LEFT general bob alice banned");
    world_reopen(world);
    meet(people);
    assert_answer(world_join(world, people->bob, "general", 0), STATUS_PERMISSION_DENIED,
                  "You are banned from #general; its owner can invite you again.");
    assert_answer(world_invite(world, people->carol, "general", "bob"), STATUS_PERMISSION_DENIED,
                  "@bob is banned from #general; only its owner can end that.");
    assert_int_equal(world_invite(world, people->alice, "general", "bob").status, STATUS_OK);
    assert_int_equal(world_join(world, people->bob, "general", 0).status, STATUS_OK);
}

static void test_ban__somebody_who_is_not_in(void **state)
{
    struct people *people = *state;
    struct world *world = &people->world;
    world_join(world, people->alice, "general", 0);
    world_join(world, people->bob, "general", 0);
    world_clear_seen(world);
    assert_int_equal(world_kick(world, people->alice, "general", "carol", true).status, STATUS_OK);
    assert_int_equal(world_kick(world, people->alice, "general", "carol", true).status, STATUS_OK);
    assert_string_equal(world_story(world, people->bob), "LEFT general carol alice banned");
    assert_string_equal(world_story(world, people->carol), "");
    assert_string_equal(world_reads(world, people->carol, 0), "");
    assert_int_equal(world_join(world, people->carol, "general", 0).status,
                     STATUS_PERMISSION_DENIED);
    /* A ban also withdraws an invitation; what was told before stays told. */
    world_invite(world, people->bob, "general", "dave");
    world_kick(world, people->alice, "general", "dave", true);
    assert_int_equal(world_join(world, people->dave, "general", 0).status,
                     STATUS_PERMISSION_DENIED);
    assert_string_equal(world_reads(world, people->dave, 0), "INVITED general bob dave");
}

static void test_ban__how_many(void **state)
{
    struct people *people = *state;
    struct world *world = &people->world;
    world->limits.members_per_room = 2;
    world_reopen(world);
    meet(people);
    world_join(world, people->alice, "general", 0);
    world_kick(world, people->alice, "general", "bob", true);
    assert_int_equal(world_kick(world, people->alice, "general", "carol", true).status, STATUS_OK);
    assert_answer(world_kick(world, people->alice, "general", "dave", true),
                  STATUS_RESOURCE_EXHAUSTED,
                  "2 accounts are banned from #general, which is the limit; invite one of them to "
                  "end a ban.");
    world_invite(world, people->alice, "general", "bob");
    assert_int_equal(world_kick(world, people->alice, "general", "dave", true).status, STATUS_OK);
}

static void test_ban__ends_with_the_account(void **state)
{
    struct people *people = *state;
    struct world *world = &people->world;
    world_join(world, people->alice, "general", 0);
    world_kick(world, people->alice, "general", "bob", true);
    world_delete(world, people->bob, true);
    char *rows = world_rows(world);
    assert_null(strstr(rows, "state 4"));
    free(rows);
    world_reopen(world);
}

/* ---- places left are remembered, but not without bound ---- */

static void test_former__the_oldest_of_too_many_is_forgotten(void **state)
{
    struct people *people = *state;
    struct world *world = &people->world;
    char room[32];
    for (int i = 0; i < 257; i++) {
        snprintf(room, sizeof room, "room%d", i);
        world_join(world, people->alice, room, 0);
        world_leave(world, people->alice, room);
    }
    char *portrait = world_portrait(world);
    assert_non_null(strstr(portrait, "former 256"));
    assert_null(strstr(portrait, " room0 state"));
    assert_non_null(strstr(portrait, " room1 state"));
    free(portrait);
    assert_null(strstr(world_reads(world, people->alice, 0), "LEFT room0 alice"));
    assert_non_null(strstr(world_reads(world, people->alice, 0), "LEFT room1 alice"));
    world_join(world, people->bob, "general", 0);
    world_invite(world, people->bob, "general", "alice");
    world_reopen(world);
    meet(people);
    assert_null(strstr(world_reads(world, people->alice, 0), "LEFT room1 alice"));
    assert_non_null(strstr(world_reads(world, people->alice, 0), "INVITED general bob alice"));
}

#define PEOPLE_TEST(test) cmocka_unit_test_setup_teardown(test, open_people, close_people)

int main(void)
{
    const struct CMUnitTest tests[] = {
        PEOPLE_TEST(test_join__makes_a_room_owned_by_its_maker),
        PEOPLE_TEST(test_join__an_existing_room_by_any_spelling),
        PEOPLE_TEST(test_join__again_changes_nothing),
        PEOPLE_TEST(test_join__names_that_break_a_rule),
        PEOPLE_TEST(test_join__limits_from_both_sides),
        PEOPLE_TEST(test_private__only_the_invited_come_in),
        PEOPLE_TEST(test_private__others_cannot_tell_that_it_exists),
        PEOPLE_TEST(test_private__ends_with_its_last_member),
        PEOPLE_TEST(test_private__leaving_and_coming_back_needs_an_invitation),
        PEOPLE_TEST(test_leave__is_seen_by_the_one_who_leaves_too),
        PEOPLE_TEST(test_leave__the_longest_member_becomes_owner),
        PEOPLE_TEST(test_leave__an_empty_public_room_waits_for_an_owner),
        PEOPLE_TEST(test_leave__refusals),
        PEOPLE_TEST(test_topic__is_seen_by_the_room),
        PEOPLE_TEST(test_topic__rules_from_both_sides),
        PEOPLE_TEST(test_invite__refusals),
        PEOPLE_TEST(test_invite__twice_is_one_invitation),
        PEOPLE_TEST(test_invite__is_read_later_and_by_the_invited_alone),
        PEOPLE_TEST(test_kick__is_seen_by_the_room_and_the_kicked),
        PEOPLE_TEST(test_kick__refusals),
        PEOPLE_TEST(test_ban__keeps_out_until_the_owner_invites),
        PEOPLE_TEST(test_ban__somebody_who_is_not_in),
        PEOPLE_TEST(test_ban__how_many),
        PEOPLE_TEST(test_ban__ends_with_the_account),
        PEOPLE_TEST(test_former__the_oldest_of_too_many_is_forgotten),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
