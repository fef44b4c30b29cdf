/* SPDX-License-Identifier: MIT */
#include "chat/chat_internal.h"

#include <string.h>

static const char *without(const char *text, char sign)
{
    return text[0] == sign ? text + 1 : text;
}

struct account *resolve_account(struct chat *chat, struct chat_call *call, const char *text)
{
    const char *bare = without(text, '@');
    struct name name;
    struct account *account = NULL;
    if (name_fold(bare, name.folded))
        account = state_account_named(&chat->state, name.folded);
    if (account != NULL)
        return account;
    const char *why = name_parse(bare, &name);
    if (why != NULL)
        chat_call_refuse(call, STATUS_INVALID_ARGUMENT, "A name %s; give the name of an account.",
                         why);
    else
        chat_call_refuse(call, STATUS_NOT_FOUND, "There is no account @%s; check the name.",
                         name.shown);
    return NULL;
}

bool resolve_is_visible(const struct room *room, const struct account *account)
{
    if (!room->is_private)
        return true;
    const struct member *member = state_member(account, room);
    return member != NULL && (member->state == MEMBER_IN || member->state == MEMBER_INVITED);
}

struct room *resolve_room(struct chat *chat, struct chat_call *call, const char *text)
{
    if (text[0] == '@') {
        chat_call_refuse(call, STATUS_INVALID_ARGUMENT,
                         "A name with @ is a person's; give the name of a room.");
        return NULL;
    }
    const char *bare = without(text, '#');
    struct name name;
    struct room *room = NULL;
    if (name_fold(bare, name.folded))
        room = state_room_named(&chat->state, name.folded);
    if (room != NULL && resolve_is_visible(room, call->session->account))
        return room;
    const char *why = name_parse(bare, &name);
    if (why != NULL)
        chat_call_refuse(call, STATUS_INVALID_ARGUMENT, "A name %s; give the name of a room.", why);
    else
        chat_call_refuse(call, STATUS_NOT_FOUND, "There is no room #%s; join it to make it.",
                         name.shown);
    return NULL;
}

struct room *resolve_room_of_caller(struct chat *chat, struct chat_call *call, const char *text)
{
    struct room *room = resolve_room(chat, call, text);
    if (room == NULL || member_is_in(state_member(call->session->account, room)))
        return room;
    chat_call_refuse(call, STATUS_PERMISSION_DENIED, "You are not in #%s; join it first.",
                     room->name);
    return NULL;
}

/* Finds a conversation with a deleted account by the displayed name. */
static bool find_tombstone(struct chat *chat, const struct account *caller, const char *text,
                           struct conversation *out)
{
    if (strncmp(text, "deleted:", 8) != 0)
        return false;
    for (uint32_t i = 0; i < caller->memberships_count; i++) {
        struct room *room = caller->memberships[i]->room;
        uint64_t peer = room_peer(room, caller->id);
        char name[CHAT_NAME_BYTES_MAX];
        name_tombstone(peer, name);
        if (!room_is_direct(room) || state_account(&chat->state, peer) != NULL ||
            strcmp(name, text) != 0)
            continue;
        *out = (struct conversation){.room = room, .peer = peer, .is_peer_gone = true};
        return true;
    }
    return false;
}

bool resolve_conversation(struct chat *chat, struct chat_call *call, const char *text,
                          struct conversation *out)
{
    if (text[0] != '@') {
        *out = (struct conversation){.room = resolve_room_of_caller(chat, call, text)};
        return out->room != NULL;
    }
    const struct account *caller = call->session->account;
    if (find_tombstone(chat, caller, text + 1, out))
        return true;
    const struct account *peer = resolve_account(chat, call, text);
    if (peer == NULL)
        return false;
    *out = (struct conversation){
        .room = state_room_direct(&chat->state, caller->id, peer->id),
        .peer = peer->id,
    };
    return true;
}

const char *resolve_account_name(const struct chat *chat, uint64_t id, struct arena *arena)
{
    const struct account *account = state_account(&chat->state, id);
    if (account != NULL)
        return account->name;
    char *name = arena_alloc(arena, CHAT_NAME_BYTES_MAX);
    if (name != NULL)
        name_tombstone(id, name);
    return name;
}

char *resolve_conversation_name(const struct chat *chat, const struct room *room, uint64_t id,
                                uint64_t viewer, struct arena *arena)
{
    char tombstone[CHAT_NAME_BYTES_MAX];
    if (room == NULL) {
        name_tombstone(id, tombstone);
        return arena_strdup(arena, tombstone);
    }
    if (!room_is_direct(room))
        return arena_strdup(arena, room->name);
    const char *name = resolve_account_name(chat, room_peer(room, viewer), arena);
    return name == NULL ? NULL : chat_arena_address(arena, '@', name);
}
