/* SPDX-License-Identifier: MIT */
/* Accounts, rooms and members in alphabetical order, a page at a time. */
#include "chat/chat_internal.h"

#include "chat/pattern.h"

#include <stdlib.h>
#include <string.h>

/* Where a page begins and how long it is; false: refused. */
static bool start(struct chat_call *call, const struct name_index *name_index, const char *after,
                  char sign, uint32_t limit, size_t *at, size_t *most)
{
    char folded[NAME_FOLDED_SIZE];
    if (limit > CHAT_LIST_MAX) {
        chat_call_refuse(call, STATUS_INVALID_ARGUMENT,
                         "A list has at most %d entries at once; ask for fewer.", CHAT_LIST_MAX);
        return false;
    }
    *most = limit == 0 ? CHAT_LIST_DEFAULT : limit;
    *at = 0;
    if (after[0] == '\0')
        return true;
    if (!name_fold(after[0] == sign ? after + 1 : after, folded)) {
        chat_call_refuse(call, STATUS_INVALID_ARGUMENT,
                         "A list goes on after a name; give the last one of the page before.");
        return false;
    }
    *at = name_index_seek(name_index, folded);
    if (*at < name_index->count && strcmp(name_index->entries[*at].folded, folded) == 0)
        ++*at;
    return true;
}

static bool read_pattern(struct chat_call *call, const char *text, char sign,
                         struct pattern *pattern)
{
    if (pattern_parse(text[0] == sign ? text + 1 : text, pattern))
        return true;
    chat_call_refuse(call, STATUS_INVALID_ARGUMENT,
                     "The pattern is not valid UTF-8 or longer than a name; shorten it.");
    return false;
}

/* Skips entries before all matches, and stops at the first entry after them. */
static size_t skip_to_prefix(const struct name_index *name_index, const struct pattern *pattern,
                             size_t at)
{
    char prefix[NAME_FOLDED_SIZE];
    memcpy(prefix, pattern->folded, pattern->prefix);
    prefix[pattern->prefix] = '\0';
    size_t first = name_index_seek(name_index, prefix);
    return first > at ? first : at;
}

static bool is_past_prefix(const char *folded, const struct pattern *pattern)
{
    return strncmp(folded, pattern->folded, pattern->prefix) > 0;
}

/* ---- accounts ---- */

static enum error add_account(struct arena *arena, const struct account *account,
                              Jackdaw__ListAccountsReply *reply)
{
    Jackdaw__ListAccountsReply__Account *entry =
        chat_arena_message(arena, &jackdaw__list_accounts_reply__account__descriptor);
    char *name = arena_strdup(arena, account->name);
    if (entry == NULL || name == NULL)
        return ERROR_NO_MEMORY;
    entry->name = name;
    entry->online = account->present > 0;
    reply->accounts[reply->n_accounts++] = entry;
    return OK;
}

enum error chat_answer_accounts(struct chat *chat, struct chat_call *call,
                                const Jackdaw__ListAccountsRequest *request,
                                Jackdaw__ListAccountsReply *reply)
{
    chat_call_begin(call);
    const struct name_index *name_index = &chat->state.accounts;
    struct pattern pattern;
    size_t at, most;
    if (!read_pattern(call, request->pattern, '@', &pattern) ||
        !start(call, name_index, request->after, '@', request->limit, &at, &most))
        return OK;
    reply->n_accounts = 0;
    reply->accounts = arena_alloc(call->arena, most * sizeof(void *));
    if (reply->accounts == NULL)
        return ERROR_NO_MEMORY;
    for (at = skip_to_prefix(name_index, &pattern, at); at < name_index->count; at++) {
        const struct account *account = name_index->entries[at].item;
        if (is_past_prefix(account->folded, &pattern))
            break;
        if (!pattern_matches(&pattern, account->folded))
            continue;
        if (reply->n_accounts == most) {
            reply->more = true;
            break;
        }
        enum error error = add_account(call->arena, account, reply);
        if (error != OK)
            return error;
    }
    return OK;
}

/* ---- rooms ---- */

static enum error add_room(struct chat *chat, struct chat_call *call, const struct room *room,
                           Jackdaw__ListRoomsReply *reply)
{
    const struct member *member = state_member(call->session->account, room);
    Jackdaw__ListRoomsReply__Room *entry =
        chat_arena_message(call->arena, &jackdaw__list_rooms_reply__room__descriptor);
    if (entry == NULL)
        return ERROR_NO_MEMORY;
    entry->name = arena_strdup(call->arena, room->name);
    entry->topic = arena_strdup(call->arena, room->topic);
    if (entry->name == NULL || entry->topic == NULL)
        return ERROR_NO_MEMORY;
    entry->members = (uint32_t)room->members.count;
    entry->private_ = room->is_private;
    entry->joined = member_is_in(member);
    entry->last_number = room->last_number;
    enum error error =
        entry->joined ? delivery_count_undelivered(chat, member, &entry->unread) : OK;
    if (error == OK)
        reply->rooms[reply->n_rooms++] = entry;
    return error;
}

static enum error list_rooms(struct chat *chat, struct chat_call *call,
                             const Jackdaw__ListRoomsRequest *request,
                             const struct name_index *name_index, Jackdaw__ListRoomsReply *reply)
{
    struct pattern pattern;
    size_t at, most;
    if (!read_pattern(call, request->pattern, '#', &pattern) ||
        !start(call, name_index, request->after, '#', request->limit, &at, &most))
        return OK;
    reply->n_rooms = 0;
    reply->rooms = arena_alloc(call->arena, most * sizeof(void *));
    if (reply->rooms == NULL)
        return ERROR_NO_MEMORY;
    for (at = skip_to_prefix(name_index, &pattern, at); at < name_index->count; at++) {
        const struct room *room = name_index->entries[at].item;
        if (is_past_prefix(room->folded, &pattern))
            break;
        if (!pattern_matches(&pattern, room->folded) ||
            !resolve_is_visible(room, call->session->account))
            continue;
        if (reply->n_rooms == most) {
            reply->more = true;
            break;
        }
        enum error error = add_room(chat, call, room, reply);
        if (error != OK)
            return error;
    }
    return OK;
}

/* The rooms the caller is in, as a name index of their own: there are not many. */
static bool gather_own(const struct account *account, struct name_index *own)
{
    if (!name_index_reserve(own, account->rooms_in))
        return false;
    for (uint32_t i = 0; i < account->memberships_count; i++) {
        const struct member *member = account->memberships[i];
        if (member->state == MEMBER_IN && !room_is_direct(member->room))
            name_index_append(own, member->room->folded, member->room);
    }
    name_index_sort(own);
    return true;
}

enum error chat_answer_rooms(struct chat *chat, struct chat_call *call,
                             const Jackdaw__ListRoomsRequest *request,
                             Jackdaw__ListRoomsReply *reply)
{
    chat_call_begin(call);
    if (!request->joined)
        return list_rooms(chat, call, request, &chat->state.rooms, reply);
    struct name_index own = {.entries = NULL};
    if (!gather_own(call->session->account, &own))
        return ERROR_NO_MEMORY;
    enum error error = list_rooms(chat, call, request, &own, reply);
    name_index_release(&own);
    return error;
}

/* ---- members ---- */

static const struct room *find_room_of_list(struct chat *chat, struct chat_call *call,
                                            const char *text)
{
    if (text[0] != '@')
        return resolve_room(chat, call, text);
    struct conversation conversation;
    if (!resolve_conversation(chat, call, text, &conversation))
        return NULL;
    if (conversation.room == NULL)
        chat_call_refuse(call, STATUS_NOT_FOUND,
                         "You have no conversation with them yet; send a message first.");
    return conversation.room;
}

enum error chat_answer_members(struct chat *chat, struct chat_call *call,
                               const Jackdaw__ListMembersRequest *request,
                               Jackdaw__ListMembersReply *reply)
{
    chat_call_begin(call);
    const struct room *room = find_room_of_list(chat, call, request->room);
    size_t at, most;
    if (room == NULL ||
        !start(call, &room->members, request->after, '@', request->limit, &at, &most))
        return OK;
    size_t left = room->members.count - at;
    size_t count = left < most ? left : most;
    reply->n_members = 0;
    reply->members = arena_alloc(call->arena, count * sizeof(void *));
    if (reply->members == NULL)
        return ERROR_NO_MEMORY;
    for (; reply->n_members < count; at++) {
        const struct member *member = room->members.entries[at].item;
        Jackdaw__ListMembersReply__Member *entry =
            chat_arena_message(call->arena, &jackdaw__list_members_reply__member__descriptor);
        char *name = arena_strdup(call->arena, member->account->name);
        if (entry == NULL || name == NULL)
            return ERROR_NO_MEMORY;
        entry->name = name;
        entry->owner = room->owner == member->account->id;
        entry->online = member->account->present > 0;
        reply->members[reply->n_members++] = entry;
    }
    reply->more = left > count;
    return OK;
}
