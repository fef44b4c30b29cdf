/* SPDX-License-Identifier: MIT */
/* Lists of accounts, rooms and members: src/chat/listing.c, name index.c; limits: answer.c. */
#include "chat/name_index.h"
#include "chat_fixture.h"
#include "support/test.h"
#include "support/text_append.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static int open_chat_fixture(void **state)
{
    struct chat_fixture *fixture = malloc(sizeof *fixture);
    chat_fixture_open(fixture, 6, NULL);
    chat_fixture_person(fixture, "alice");
    chat_fixture_person(fixture, "Bob");
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
    return chat_fixture_session(fixture, "Bob");
}

static const char *accounts(struct chat_fixture *fixture, const char *pattern, const char *after,
                            uint32_t limit)
{
    static char text[60000];
    struct chat_call call = chat_fixture_call(fixture, alice(fixture));
    Jackdaw__ListAccountsRequest request = JACKDAW__LIST_ACCOUNTS_REQUEST__INIT;
    Jackdaw__ListAccountsReply reply = JACKDAW__LIST_ACCOUNTS_REPLY__INIT;
    request.pattern = (char *)pattern;
    request.after = (char *)after;
    request.limit = limit;
    assert_int_equal(chat_answer_accounts(fixture->chat, &call, &request, &reply), OK);
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

static const char *rooms(struct chat_fixture *fixture, struct chat_session *session,
                         const char *pattern, const char *after, uint32_t limit, bool joined)
{
    static char text[60000];
    struct chat_call call = chat_fixture_call(fixture, session);
    Jackdaw__ListRoomsRequest request = JACKDAW__LIST_ROOMS_REQUEST__INIT;
    Jackdaw__ListRoomsReply reply = JACKDAW__LIST_ROOMS_REPLY__INIT;
    request.pattern = (char *)pattern;
    request.after = (char *)after;
    request.limit = limit;
    request.joined = joined;
    assert_int_equal(chat_answer_rooms(fixture->chat, &call, &request, &reply), OK);
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

TEST_WITH(test_accounts__alphabetical_by_folded_name, open_chat_fixture, close_chat_fixture)
{
    struct chat_fixture *fixture = *state;
    chat_fixture_register(fixture, "Zo\xC3\xAB");
    chat_fixture_register(fixture, "adam");
    assert_string_equal(accounts(fixture, "", "", 0), "adam alice Bob carol Zo\xC3\xAB ");
    assert_string_equal(accounts(fixture, "*O*", "", 0), "Bob carol Zo\xC3\xAB ");
    assert_string_equal(accounts(fixture, "a*", "", 0), "adam alice ");
    assert_string_equal(accounts(fixture, "@A*", "", 0), "adam alice ");
    assert_string_equal(accounts(fixture, "bob", "", 0), "Bob ");
    assert_string_equal(accounts(fixture, "al?ce", "", 0), "alice ");
    assert_string_equal(accounts(fixture, "x*", "", 0), "");
    assert_string_equal(accounts(fixture, "alicee", "", 0), "");
    chat_fixture_reopen(fixture);
    assert_string_equal(accounts(fixture, "", "", 0), "adam alice Bob carol Zo\xC3\xAB ");
}

TEST_WITH(test_accounts__pages, open_chat_fixture, close_chat_fixture)
{
    struct chat_fixture *fixture = *state;
    assert_string_equal(accounts(fixture, "", "", 2), "alice Bob ...");
    assert_string_equal(accounts(fixture, "", "Bob", 2), "carol ");
    assert_string_equal(accounts(fixture, "", "BOB", 2), "carol ");
    assert_string_equal(accounts(fixture, "", "@bob", 2), "carol ");
    assert_string_equal(accounts(fixture, "", "b", 2), "Bob carol ");
    assert_string_equal(accounts(fixture, "", "zzz", 2), "");
    assert_string_equal(accounts(fixture, "", "", 3), "alice Bob carol ");
    assert_string_equal(accounts(fixture, "c*", "alice", 1), "carol ");
    assert_string_equal(accounts(fixture, "a*", "bob", 1), "");
}

TEST_WITH(test_accounts__limits_from_both_sides, open_chat_fixture, close_chat_fixture)
{
    struct chat_fixture *fixture = *state;
    char name[32];
    for (int i = 0; i < 1001; i++) {
        snprintf(name, sizeof name, "n%04d", i);
        chat_fixture_register(fixture, name);
    }
    assert_string_equal(accounts(fixture, "", "", 1001), "INVALID_ARGUMENT");
    assert_string_equal(accounts(fixture, "", "", UINT32_MAX), "INVALID_ARGUMENT");
    const char *text = accounts(fixture, "n*", "", 1000);
    assert_int_equal(strlen(text), 1000 * 6 + 3);
    text = accounts(fixture, "n*", "", 0);
    assert_int_equal(strlen(text), 100 * 6 + 3);
    assert_string_equal(accounts(fixture, "n*", "n0999", 1000), "n1000 ");
    assert_string_equal(accounts(fixture, "\xFF", "", 0), "INVALID_ARGUMENT");
    assert_string_equal(accounts(fixture, "", "\xFF", 0), "INVALID_ARGUMENT");
}

TEST_WITH(test_rooms__public_ones_and_ones_own, open_chat_fixture, close_chat_fixture)
{
    struct chat_fixture *fixture = *state;
    chat_fixture_join(fixture, alice(fixture), "Zebra", 0);
    chat_fixture_join(fixture, bob(fixture), "apple", 0);
    chat_fixture_join(fixture, alice(fixture), "apple", 0);
    chat_fixture_join_private(fixture, bob(fixture), "mango");
    chat_fixture_send(fixture, bob(fixture), "@alice", "not a room", 0);
    assert_string_equal(rooms(fixture, alice(fixture), "", "", 0, false), "apple:2j Zebra:1j ");
    assert_string_equal(rooms(fixture, bob(fixture), "", "", 0, false),
                        "apple:2j mango:1jp Zebra:1 ");
    assert_string_equal(rooms(fixture, bob(fixture), "", "", 0, true), "apple:2j mango:1jp ");
    assert_string_equal(rooms(fixture, bob(fixture), "#*a*", "", 1, true), "apple:2j ...");
    assert_string_equal(rooms(fixture, bob(fixture), "*a*", "#apple", 1, true), "mango:1jp ");
    assert_string_equal(rooms(fixture, bob(fixture), "z*", "", 0, false), "Zebra:1 ");
    chat_fixture_invite(fixture, bob(fixture), "mango", "alice");
    assert_string_equal(rooms(fixture, alice(fixture), "m*", "", 0, false), "mango:1p ");
    assert_string_equal(rooms(fixture, alice(fixture), "m*", "", 0, true), "");
    assert_string_equal(rooms(fixture, alice(fixture), "", "", 1001, true), "INVALID_ARGUMENT");
    assert_string_equal(rooms(fixture, alice(fixture), "\xFF", "", 1, true), "INVALID_ARGUMENT");
    assert_string_equal(rooms(fixture, alice(fixture), "", "\xFF", 1, true), "INVALID_ARGUMENT");
}

TEST_WITH(test_rooms__unread, open_chat_fixture, close_chat_fixture)
{
    struct chat_fixture *fixture = *state;
    chat_fixture_join(fixture, alice(fixture), "general", 0);
    chat_fixture_send(fixture, alice(fixture), "general", "before", 0);
    chat_fixture_join(fixture, bob(fixture), "general", 0);
    assert_string_equal(rooms(fixture, bob(fixture), "", "", 0, false), "general:2j ");
    chat_fixture_send(fixture, alice(fixture), "general", "one", 0);
    uint64_t seq = fixture->seq;
    chat_fixture_send(fixture, alice(fixture), "general", "two", 0);
    assert_string_equal(rooms(fixture, bob(fixture), "", "", 0, false), "general:2ju2 ");
    chat_note_delivered(fixture->chat, bob(fixture), seq);
    assert_string_equal(rooms(fixture, bob(fixture), "", "", 0, false), "general:2ju1 ");
    chat_note_delivered(fixture->chat, bob(fixture), seq - 1);
    assert_string_equal(rooms(fixture, bob(fixture), "", "", 0, false), "general:2ju1 ");
    chat_note_delivered(fixture->chat, bob(fixture), UINT64_MAX);
    assert_string_equal(rooms(fixture, bob(fixture), "", "", 0, false), "general:2j ");
    chat_fixture_send(fixture, alice(fixture), "general", "nobody received the future", 0);
    assert_string_equal(rooms(fixture, bob(fixture), "", "", 0, false), "general:2ju1 ");
}

static const char *members(struct chat_fixture *fixture, const char *room, const char *after,
                           uint32_t limit)
{
    static char text[1000];
    struct chat_call call = chat_fixture_call(fixture, alice(fixture));
    Jackdaw__ListMembersRequest request = JACKDAW__LIST_MEMBERS_REQUEST__INIT;
    Jackdaw__ListMembersReply reply = JACKDAW__LIST_MEMBERS_REPLY__INIT;
    request.room = (char *)room;
    request.after = (char *)after;
    request.limit = limit;
    assert_int_equal(chat_answer_members(fixture->chat, &call, &request, &reply), OK);
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

TEST_WITH(test_members__of_rooms_and_conversations, open_chat_fixture, close_chat_fixture)
{
    struct chat_fixture *fixture = *state;
    chat_fixture_join(fixture, chat_fixture_session(fixture, "carol"), "general", 0);
    chat_fixture_join(fixture, bob(fixture), "general", 0);
    assert_string_equal(members(fixture, "general", "", 0),
                        "Bob carol* "); /* not in it, but public */
    chat_fixture_join(fixture, alice(fixture), "general", 0);
    assert_string_equal(members(fixture, "#general", "", 2), "alice Bob ...");
    assert_string_equal(members(fixture, "#general", "bob", 2), "carol* ");
    assert_string_equal(members(fixture, "#general", "", 1001), "INVALID_ARGUMENT");
    assert_string_equal(members(fixture, "@bob", "", 0), "NOT_FOUND");
    chat_fixture_send(fixture, alice(fixture), "@bob", "hi", 0);
    assert_string_equal(members(fixture, "@bob", "", 0), "alice Bob ");
    assert_string_equal(members(fixture, "@nobody", "", 0), "NOT_FOUND");
    assert_string_equal(members(fixture, "nowhere", "", 0), "NOT_FOUND");
    chat_fixture_reopen(fixture);
    assert_string_equal(members(fixture, "general", "", 0), "alice Bob carol* ");
}

TEST_WITH(test_limits__are_told, open_chat_fixture, close_chat_fixture)
{
    struct chat_fixture *fixture = *state;
    Jackdaw__Limits limits;
    chat_answer_limits(fixture->chat, &limits);
    assert_int_equal(limits.message_bytes, 16384);
    assert_int_equal(limits.name_characters, 32);
    assert_int_equal(limits.sessions_per_account, 2);
    assert_int_equal(limits.rooms_per_account, 256);
    assert_int_equal(limits.members_per_room, 1024);
    assert_int_equal(limits.requests_per_second, 1000);
    assert_int_equal(limits.history_on_join, 10);
    assert_int_equal(limits.page_events, CHAT_PAGE_EVENTS);
}

TEST(test_name_index__stays_sorted)
{
    static char names[500][8];
    struct name_index name_index = {.entries = NULL};
    for (int i = 0; i < 500; i++) {
        snprintf(names[i], sizeof names[i], "%d", i * 7919 % 500);
        assert_true(name_index_reserve(&name_index, 1));
        name_index_add(&name_index, names[i], names[i]);
    }
    for (int i = 0; i < 500; i += 2)
        name_index_remove(&name_index, names[i]);
    name_index_remove(&name_index, "not there");
    assert_int_equal(name_index.count, 250);
    for (size_t i = 1; i < name_index.count; i++)
        assert_true(strcmp(name_index.entries[i - 1].folded, name_index.entries[i].folded) < 0);
    for (int i = 1; i < 500; i += 2)
        assert_ptr_equal(name_index.entries[name_index_seek(&name_index, names[i])].item, names[i]);
    name_index_release(&name_index);
}
