/* SPDX-License-Identifier: MIT */
/* Lists of accounts, rooms and members: src/chat/listing.c, roster.c; limits: answer.c. */
#include "chat/roster.h"
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
    world_open(world, 6, NULL);
    world_person(world, "alice");
    world_person(world, "Bob");
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
    return world_session(world, "Bob");
}

static const char *accounts(struct world *world, const char *pattern, const char *after,
                            uint32_t limit)
{
    static char text[60000];
    struct chat_call call = world_call(world, alice(world));
    Jackdaw__ListAccountsRequest request = JACKDAW__LIST_ACCOUNTS_REQUEST__INIT;
    Jackdaw__ListAccountsReply reply = JACKDAW__LIST_ACCOUNTS_REPLY__INIT;
    request.pattern = (char *)pattern;
    request.after = (char *)after;
    request.limit = limit;
    assert_int_equal(chat_answer_accounts(world->chat, &call, &request, &reply), OK);
    if (call.status != STATUS_OK)
        return status_name(call.status);
    text[0] = '\0';
    for (size_t i = 0; i < reply.n_accounts; i++) {
        text_append(text, sizeof text, "%s", reply.accounts[i]->name);
        text_append(text, sizeof text, "%s", " ");
    }
    text_append(text, sizeof text, "%s", reply.more ? "..." : "");
    return text;
}

static const char *rooms(struct world *world, struct chat_session *session, const char *pattern,
                         const char *after, uint32_t limit, bool joined)
{
    static char text[60000];
    struct chat_call call = world_call(world, session);
    Jackdaw__ListRoomsRequest request = JACKDAW__LIST_ROOMS_REQUEST__INIT;
    Jackdaw__ListRoomsReply reply = JACKDAW__LIST_ROOMS_REPLY__INIT;
    request.pattern = (char *)pattern;
    request.after = (char *)after;
    request.limit = limit;
    request.joined = joined;
    assert_int_equal(chat_answer_rooms(world->chat, &call, &request, &reply), OK);
    if (call.status != STATUS_OK)
        return status_name(call.status);
    text[0] = '\0';
    for (size_t i = 0; i < reply.n_rooms; i++) {
        const Jackdaw__ListRoomsReply__Room *room = reply.rooms[i];
        text_append(text, sizeof text, "%s:%u%s%s%s%.0d ", room->name, room->members,
                    room->joined ? "j" : "", room->private_ ? "p" : "", room->unread > 0 ? "u" : "",
                    (int)room->unread);
    }
    text_append(text, sizeof text, "%s", reply.more ? "..." : "");
    return text;
}

static void test_accounts__alphabetical_by_folded_name(void **state)
{
    struct world *world = *state;
    world_register(world, "Zo\xC3\xAB");
    world_register(world, "adam");
    assert_string_equal(accounts(world, "", "", 0), "adam alice Bob carol Zo\xC3\xAB ");
    assert_string_equal(accounts(world, "*O*", "", 0), "Bob carol Zo\xC3\xAB ");
    assert_string_equal(accounts(world, "a*", "", 0), "adam alice ");
    assert_string_equal(accounts(world, "@A*", "", 0), "adam alice ");
    assert_string_equal(accounts(world, "bob", "", 0), "Bob ");
    assert_string_equal(accounts(world, "al?ce", "", 0), "alice ");
    assert_string_equal(accounts(world, "x*", "", 0), "");
    assert_string_equal(accounts(world, "alicee", "", 0), "");
    world_reopen(world);
    assert_string_equal(accounts(world, "", "", 0), "adam alice Bob carol Zo\xC3\xAB ");
}

static void test_accounts__pages(void **state)
{
    struct world *world = *state;
    assert_string_equal(accounts(world, "", "", 2), "alice Bob ...");
    assert_string_equal(accounts(world, "", "Bob", 2), "carol ");
    assert_string_equal(accounts(world, "", "BOB", 2), "carol ");
    assert_string_equal(accounts(world, "", "@bob", 2), "carol ");
    assert_string_equal(accounts(world, "", "b", 2), "Bob carol ");
    assert_string_equal(accounts(world, "", "zzz", 2), "");
    assert_string_equal(accounts(world, "", "", 3), "alice Bob carol ");
    assert_string_equal(accounts(world, "c*", "alice", 1), "carol ");
    assert_string_equal(accounts(world, "a*", "bob", 1), "");
}

static void test_accounts__limits_from_both_sides(void **state)
{
    struct world *world = *state;
    char name[32];
    for (int i = 0; i < 1001; i++) {
        snprintf(name, sizeof name, "n%04d", i);
        world_register(world, name);
    }
    assert_string_equal(accounts(world, "", "", 1001), "INVALID_ARGUMENT");
    assert_string_equal(accounts(world, "", "", UINT32_MAX), "INVALID_ARGUMENT");
    const char *text = accounts(world, "n*", "", 1000);
    assert_int_equal(strlen(text), 1000 * 6 + 3);
    text = accounts(world, "n*", "", 0);
    assert_int_equal(strlen(text), 100 * 6 + 3);
    assert_string_equal(accounts(world, "n*", "n0999", 1000), "n1000 ");
    assert_string_equal(accounts(world, "\xFF", "", 0), "INVALID_ARGUMENT");
    assert_string_equal(accounts(world, "", "\xFF", 0), "INVALID_ARGUMENT");
}

static void test_rooms__public_ones_and_ones_own(void **state)
{
    struct world *world = *state;
    world_join(world, alice(world), "Zebra", 0);
    world_join(world, bob(world), "apple", 0);
    world_join(world, alice(world), "apple", 0);
    world_join_private(world, bob(world), "mango");
    world_send(world, bob(world), "@alice", "not a room", 0);
    assert_string_equal(rooms(world, alice(world), "", "", 0, false), "apple:2j Zebra:1j ");
    assert_string_equal(rooms(world, bob(world), "", "", 0, false), "apple:2j mango:1jp Zebra:1 ");
    assert_string_equal(rooms(world, bob(world), "", "", 0, true), "apple:2j mango:1jp ");
    assert_string_equal(rooms(world, bob(world), "#*a*", "", 1, true), "apple:2j ...");
    assert_string_equal(rooms(world, bob(world), "*a*", "#apple", 1, true), "mango:1jp ");
    assert_string_equal(rooms(world, bob(world), "z*", "", 0, false), "Zebra:1 ");
    world_invite(world, bob(world), "mango", "alice");
    assert_string_equal(rooms(world, alice(world), "m*", "", 0, false), "mango:1p ");
    assert_string_equal(rooms(world, alice(world), "m*", "", 0, true), "");
    assert_string_equal(rooms(world, alice(world), "", "", 1001, true), "INVALID_ARGUMENT");
    assert_string_equal(rooms(world, alice(world), "\xFF", "", 1, true), "INVALID_ARGUMENT");
    assert_string_equal(rooms(world, alice(world), "", "\xFF", 1, true), "INVALID_ARGUMENT");
}

static void test_rooms__unread(void **state)
{
    struct world *world = *state;
    world_join(world, alice(world), "general", 0);
    world_send(world, alice(world), "general", "before", 0);
    world_join(world, bob(world), "general", 0);
    assert_string_equal(rooms(world, bob(world), "", "", 0, false), "general:2j ");
    world_send(world, alice(world), "general", "one", 0);
    uint64_t seq = world->seq;
    world_send(world, alice(world), "general", "two", 0);
    assert_string_equal(rooms(world, bob(world), "", "", 0, false), "general:2ju2 ");
    chat_note_delivered(world->chat, bob(world), seq);
    assert_string_equal(rooms(world, bob(world), "", "", 0, false), "general:2ju1 ");
    chat_note_delivered(world->chat, bob(world), seq - 1);
    assert_string_equal(rooms(world, bob(world), "", "", 0, false), "general:2ju1 ");
    chat_note_delivered(world->chat, bob(world), UINT64_MAX);
    assert_string_equal(rooms(world, bob(world), "", "", 0, false), "general:2j ");
    world_send(world, alice(world), "general", "nobody received the future", 0);
    assert_string_equal(rooms(world, bob(world), "", "", 0, false), "general:2ju1 ");
}

static const char *members(struct world *world, const char *room, const char *after, uint32_t limit)
{
    static char text[1000];
    struct chat_call call = world_call(world, alice(world));
    Jackdaw__ListMembersRequest request = JACKDAW__LIST_MEMBERS_REQUEST__INIT;
    Jackdaw__ListMembersReply reply = JACKDAW__LIST_MEMBERS_REPLY__INIT;
    request.room = (char *)room;
    request.after = (char *)after;
    request.limit = limit;
    assert_int_equal(chat_answer_members(world->chat, &call, &request, &reply), OK);
    if (call.status != STATUS_OK)
        return status_name(call.status);
    text[0] = '\0';
    for (size_t i = 0; i < reply.n_members; i++) {
        text_append(text, sizeof text, "%s", reply.members[i]->name);
        text_append(text, sizeof text, "%s", reply.members[i]->owner ? "* " : " ");
    }
    text_append(text, sizeof text, "%s", reply.more ? "..." : "");
    return text;
}

static void test_members__of_rooms_and_conversations(void **state)
{
    struct world *world = *state;
    world_join(world, world_session(world, "carol"), "general", 0);
    world_join(world, bob(world), "general", 0);
    assert_string_equal(members(world, "general", "", 0),
                        "Bob carol* "); /* not in it, but public */
    world_join(world, alice(world), "general", 0);
    assert_string_equal(members(world, "#general", "", 2), "alice Bob ...");
    assert_string_equal(members(world, "#general", "bob", 2), "carol* ");
    assert_string_equal(members(world, "#general", "", 1001), "INVALID_ARGUMENT");
    assert_string_equal(members(world, "@bob", "", 0), "NOT_FOUND");
    world_send(world, alice(world), "@bob", "hi", 0);
    assert_string_equal(members(world, "@bob", "", 0), "alice Bob ");
    assert_string_equal(members(world, "@nobody", "", 0), "NOT_FOUND");
    assert_string_equal(members(world, "nowhere", "", 0), "NOT_FOUND");
    world_reopen(world);
    assert_string_equal(members(world, "general", "", 0), "alice Bob carol* ");
}

static void test_limits__are_told(void **state)
{
    struct world *world = *state;
    Jackdaw__Limits limits;
    chat_answer_limits(world->chat, &limits);
    assert_int_equal(limits.message_bytes, 16384);
    assert_int_equal(limits.name_characters, 32);
    assert_int_equal(limits.sessions_per_account, 2);
    assert_int_equal(limits.rooms_per_account, 256);
    assert_int_equal(limits.members_per_room, 1024);
    assert_int_equal(limits.requests_per_second, 1000);
    assert_int_equal(limits.history_on_join, 10);
    assert_int_equal(limits.page_events, CHAT_PAGE_EVENTS);
}

static void test_roster__stays_sorted(void **state)
{
    (void)state;
    static char names[500][8];
    struct roster roster = {.entries = NULL};
    for (int i = 0; i < 500; i++) {
        snprintf(names[i], sizeof names[i], "%d", i * 7919 % 500);
        assert_true(roster_reserve(&roster, 1));
        roster_add(&roster, names[i], names[i]);
    }
    for (int i = 0; i < 500; i += 2)
        roster_remove(&roster, names[i]);
    roster_remove(&roster, "not there");
    assert_int_equal(roster.count, 250);
    for (size_t i = 1; i < roster.count; i++)
        assert_true(strcmp(roster.entries[i - 1].folded, roster.entries[i].folded) < 0);
    for (int i = 1; i < 500; i += 2)
        assert_ptr_equal(roster.entries[roster_seek(&roster, names[i])].item, names[i]);
    roster_release(&roster);
}

#define WORLD_TEST(test) cmocka_unit_test_setup_teardown(test, open_world, close_world)

int main(void)
{
    const struct CMUnitTest tests[] = {
        WORLD_TEST(test_accounts__alphabetical_by_folded_name),
        WORLD_TEST(test_accounts__pages),
        WORLD_TEST(test_accounts__limits_from_both_sides),
        WORLD_TEST(test_rooms__public_ones_and_ones_own),
        WORLD_TEST(test_rooms__unread),
        WORLD_TEST(test_members__of_rooms_and_conversations),
        WORLD_TEST(test_limits__are_told),
        cmocka_unit_test(test_roster__stays_sorted),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
