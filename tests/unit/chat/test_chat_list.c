/* SPDX-License-Identifier: MIT */
/* Lists of accounts, rooms and members: src/chat/answer.c, name_index.c. */
#include "chat/name_index.h"
#include "chat_fixture.h"
#include "support/test.h"
#include "support/text_append.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static void begin(struct chat_fixture *f)
{
    chat_fixture_open_with(f, 6, NULL, "alice Bob carol");
}

static struct chat_session *big_bob(struct chat_fixture *f)
{
    return chat_fixture_session(f, "Bob");
}

static const char *accounts(struct chat_fixture *f, const char *pattern, const char *after,
                            uint32_t limit)
{
    static char text[60000];
    struct chat_call call = chat_fixture_call(f, alice(f));
    Jackdaw__ListAccountsRequest request = JACKDAW__LIST_ACCOUNTS_REQUEST__INIT;
    Jackdaw__ListAccountsReply reply = JACKDAW__LIST_ACCOUNTS_REPLY__INIT;
    request.pattern = (char *)pattern;
    request.after = (char *)after;
    request.limit = limit;
    assert_int_equal(chat_answer_accounts(f->chat, &call, &request, &reply), OK);
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

static const char *rooms(struct chat_fixture *f, struct chat_session *session, const char *pattern,
                         const char *after, uint32_t limit, bool joined)
{
    static char text[60000];
    struct chat_call call = chat_fixture_call(f, session);
    Jackdaw__ListRoomsRequest request = JACKDAW__LIST_ROOMS_REQUEST__INIT;
    Jackdaw__ListRoomsReply reply = JACKDAW__LIST_ROOMS_REPLY__INIT;
    request.pattern = (char *)pattern;
    request.after = (char *)after;
    request.limit = limit;
    request.joined = joined;
    assert_int_equal(chat_answer_rooms(f->chat, &call, &request, &reply), OK);
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

CHAT_TEST(test_accounts__alphabetical_by_folded_name)
{
    chat_fixture_register(f, "Zo\xC3\xAB");
    chat_fixture_register(f, "adam");
    assert_string_equal(accounts(f, "", "", 0), "adam alice Bob carol Zo\xC3\xAB ");
    assert_string_equal(accounts(f, "*O*", "", 0), "Bob carol Zo\xC3\xAB ");
    assert_string_equal(accounts(f, "a*", "", 0), "adam alice ");
    assert_string_equal(accounts(f, "@A*", "", 0), "adam alice ");
    assert_string_equal(accounts(f, "bob", "", 0), "Bob ");
    assert_string_equal(accounts(f, "al?ce", "", 0), "alice ");
    assert_string_equal(accounts(f, "x*", "", 0), "");
    assert_string_equal(accounts(f, "alicee", "", 0), "");
    chat_fixture_reopen(f);
    assert_string_equal(accounts(f, "", "", 0), "adam alice Bob carol Zo\xC3\xAB ");
}

CHAT_TEST(test_accounts__pages)
{
    assert_string_equal(accounts(f, "", "", 2), "alice Bob ...");
    assert_string_equal(accounts(f, "", "Bob", 2), "carol ");
    assert_string_equal(accounts(f, "", "BOB", 2), "carol ");
    assert_string_equal(accounts(f, "", "@bob", 2), "carol ");
    assert_string_equal(accounts(f, "", "b", 2), "Bob carol ");
    assert_string_equal(accounts(f, "", "zzz", 2), "");
    assert_string_equal(accounts(f, "", "", 3), "alice Bob carol ");
    assert_string_equal(accounts(f, "c*", "alice", 1), "carol ");
    assert_string_equal(accounts(f, "a*", "bob", 1), "");
}

CHAT_TEST(test_accounts__limits_from_both_sides)
{
    char name[32];
    for (int i = 0; i < 1001; i++) {
        snprintf(name, sizeof name, "n%04d", i);
        chat_fixture_register(f, name);
    }
    assert_string_equal(accounts(f, "", "", 1001), "INVALID_ARGUMENT");
    assert_string_equal(accounts(f, "", "", UINT32_MAX), "INVALID_ARGUMENT");
    const char *text = accounts(f, "n*", "", 1000);
    assert_int_equal(strlen(text), 1000 * 6 + 3);
    text = accounts(f, "n*", "", 0);
    assert_int_equal(strlen(text), 100 * 6 + 3);
    assert_string_equal(accounts(f, "n*", "n0999", 1000), "n1000 ");
    assert_string_equal(accounts(f, "\xFF", "", 0), "INVALID_ARGUMENT");
    assert_string_equal(accounts(f, "", "\xFF", 0), "INVALID_ARGUMENT");
}

CHAT_TEST(test_rooms__public_ones_and_ones_own)
{
    chat_fixture_join(f, alice(f), "Zebra", 0);
    chat_fixture_join(f, big_bob(f), "apple", 0);
    chat_fixture_join(f, alice(f), "apple", 0);
    chat_fixture_join_private(f, big_bob(f), "mango");
    chat_fixture_send(f, big_bob(f), "@alice", "not a room", 0);
    assert_string_equal(rooms(f, alice(f), "", "", 0, false), "apple:2j Zebra:1j ");
    assert_string_equal(rooms(f, big_bob(f), "", "", 0, false), "apple:2j mango:1jp Zebra:1 ");
    assert_string_equal(rooms(f, big_bob(f), "", "", 0, true), "apple:2j mango:1jp ");
    assert_string_equal(rooms(f, big_bob(f), "#*a*", "", 1, true), "apple:2j ...");
    assert_string_equal(rooms(f, big_bob(f), "*a*", "#apple", 1, true), "mango:1jp ");
    assert_string_equal(rooms(f, big_bob(f), "z*", "", 0, false), "Zebra:1 ");
    chat_fixture_invite(f, big_bob(f), "mango", "alice");
    assert_string_equal(rooms(f, alice(f), "m*", "", 0, false), "mango:1p ");
    assert_string_equal(rooms(f, alice(f), "m*", "", 0, true), "");
    assert_string_equal(rooms(f, alice(f), "", "", 1001, true), "INVALID_ARGUMENT");
    assert_string_equal(rooms(f, alice(f), "\xFF", "", 1, true), "INVALID_ARGUMENT");
    assert_string_equal(rooms(f, alice(f), "", "\xFF", 1, true), "INVALID_ARGUMENT");
}

CHAT_TEST(test_rooms__unread)
{
    chat_fixture_join(f, alice(f), "general", 0);
    chat_fixture_send(f, alice(f), "general", "before", 0);
    chat_fixture_join(f, big_bob(f), "general", 0);
    assert_string_equal(rooms(f, big_bob(f), "", "", 0, false), "general:2j ");
    chat_fixture_send(f, alice(f), "general", "one", 0);
    uint64_t seq = f->seq;
    chat_fixture_send(f, alice(f), "general", "two", 0);
    assert_string_equal(rooms(f, big_bob(f), "", "", 0, false), "general:2ju2 ");
    chat_note_delivered(f->chat, big_bob(f), seq);
    assert_string_equal(rooms(f, big_bob(f), "", "", 0, false), "general:2ju1 ");
    chat_note_delivered(f->chat, big_bob(f), seq - 1);
    assert_string_equal(rooms(f, big_bob(f), "", "", 0, false), "general:2ju1 ");
    chat_note_delivered(f->chat, big_bob(f), UINT64_MAX);
    assert_string_equal(rooms(f, big_bob(f), "", "", 0, false), "general:2j ");
    chat_fixture_send(f, alice(f), "general", "nobody received the future", 0);
    assert_string_equal(rooms(f, big_bob(f), "", "", 0, false), "general:2ju1 ");
}

static const char *members(struct chat_fixture *f, const char *room, const char *after,
                           uint32_t limit)
{
    static char text[1000];
    struct chat_call call = chat_fixture_call(f, alice(f));
    Jackdaw__ListMembersRequest request = JACKDAW__LIST_MEMBERS_REQUEST__INIT;
    Jackdaw__ListMembersReply reply = JACKDAW__LIST_MEMBERS_REPLY__INIT;
    request.room = (char *)room;
    request.after = (char *)after;
    request.limit = limit;
    assert_int_equal(chat_answer_members(f->chat, &call, &request, &reply), OK);
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

CHAT_TEST(test_members__of_rooms_and_conversations)
{
    chat_fixture_join(f, chat_fixture_session(f, "carol"), "general", 0);
    chat_fixture_join(f, big_bob(f), "general", 0);
    assert_string_equal(members(f, "general", "", 0), "Bob carol* "); /* not in it, but public */
    chat_fixture_join(f, alice(f), "general", 0);
    assert_string_equal(members(f, "#general", "", 2), "alice Bob ...");
    assert_string_equal(members(f, "#general", "bob", 2), "carol* ");
    assert_string_equal(members(f, "#general", "", 1001), "INVALID_ARGUMENT");
    assert_string_equal(members(f, "@bob", "", 0), "NOT_FOUND");
    chat_fixture_send(f, alice(f), "@bob", "hi", 0);
    assert_string_equal(members(f, "@bob", "", 0), "alice Bob ");
    assert_string_equal(members(f, "@nobody", "", 0), "NOT_FOUND");
    assert_string_equal(members(f, "nowhere", "", 0), "NOT_FOUND");
    chat_fixture_reopen(f);
    assert_string_equal(members(f, "general", "", 0), "alice Bob carol* ");
}

CHAT_TEST(test_limits__are_told)
{
    Jackdaw__Limits limits;
    chat_answer_limits(f->chat, &limits);
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
