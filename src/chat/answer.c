/* SPDX-License-Identifier: MIT */
/* Replies from the state as it is. */
#include "chat/chat_internal.h"

#include "proto/convert.h"

#include <stdlib.h>
#include <string.h>

static Jackdaw__Position *arena_position(struct arena *arena, struct log_position position)
{
    Jackdaw__Position *message = arena_alloc(arena, sizeof *message);
    if (message != NULL)
        *message = proto_position_message(position);
    return message;
}

static Jackdaw__Position *position_at(const struct chat *chat, struct arena *arena, uint64_t seq)
{
    return arena_position(
        arena, (struct log_position){.epoch = store_epoch_at(chat->store, seq), .seq = seq});
}

static enum error list_own_rooms(const struct account *account, struct arena *arena,
                                 Jackdaw__LoginReply *reply)
{
    reply->rooms = arena_alloc(arena, account->rooms_in * sizeof *reply->rooms);
    if (reply->rooms == NULL)
        return ERROR_NO_MEMORY;
    reply->n_rooms = 0;
    for (uint32_t i = 0; i < account->memberships_count; i++) {
        const struct member *member = account->memberships[i];
        if (member->state != MEMBER_IN || room_is_direct(member->room))
            continue;
        char *name = arena_strdup(arena, member->room->name);
        if (name == NULL)
            return ERROR_NO_MEMORY;
        reply->rooms[reply->n_rooms++] = name;
    }
    return OK;
}

struct device_copy {
    struct arena *arena;
    Jackdaw__Device *device;
};

enum error chat_answer_login(struct chat *chat, struct chat_call *call, Jackdaw__LoginReply *reply)
{
    chat_call_begin(call);
    const struct account *account = call->session->account;
    uint64_t total;
    enum error error = delivery_list_undelivered(chat, account, call->arena, &reply->undelivered,
                                                 &reply->n_undelivered, &total);
    if (error == OK)
        error = list_own_rooms(account, call->arena, reply);
    if (error != OK)
        return error;
    reply->session = call->session->id;
    reply->name = arena_strdup(call->arena, account->name);
    reply->position = position_at(chat, call->arena, account->noted_seq);
    reply->sessions = 0;
    for (const struct chat_session *session = account->sessions; session != NULL;
         session = session->next_of_account)
        reply->sessions += !presence_is_silent(chat, session);
    return reply->name == NULL || reply->position == NULL ? ERROR_NO_MEMORY : OK;
}

static enum error copy_device(void *context, const struct session_row *row)
{
    struct device_copy *copy = context;
    copy->device->name = arena_strdup(copy->arena, row->device);
    copy->device->started_ms = row->started_ms;
    return copy->device->name == NULL ? ERROR_NO_MEMORY : OK;
}

static enum error list_device(struct chat *chat, const struct chat_session *session,
                              struct arena *arena, Jackdaw__LoginReply *reply)
{
    Jackdaw__Device *device = chat_arena_message(arena, &jackdaw__device__descriptor);
    if (device == NULL)
        return ERROR_NO_MEMORY;
    device->session = session->id;
    device->silent_ms = chat->monotonic_ms - session->last_seen_ms;
    reply->devices[reply->n_devices++] = device;
    uint32_t retry_ms = session_silent_in_ms(chat, session);
    if (reply->retry_ms == 0 || retry_ms < reply->retry_ms)
        reply->retry_ms = retry_ms;
    return store_get_session(chat->store, session->id, copy_device,
                             &(struct device_copy){.arena = arena, .device = device});
}

enum error chat_answer_devices(struct chat *chat, struct chat_call *call,
                               Jackdaw__LoginReply *reply)
{
    chat_call_begin(call);
    chat_now(chat, call->monotonic_ms);
    const struct account *account = state_account(&chat->state, call->account);
    ASSERT(account != NULL);
    size_t count = 0;
    for (const struct chat_session *session = account->sessions; session != NULL;
         session = session->next_of_account)
        count++;
    reply->name = arena_strdup(call->arena, account->name);
    reply->devices = arena_alloc(call->arena, count * sizeof *reply->devices);
    enum error error = reply->name == NULL || reply->devices == NULL ? ERROR_NO_MEMORY : OK;
    for (const struct chat_session *session = account->sessions; session != NULL && error == OK;
         session = session->next_of_account)
        error = list_device(chat, session, call->arena, reply);
    reply->sessions = (uint32_t)reply->n_devices;
    return error;
}

enum error chat_answer_heartbeat(struct chat *chat, struct chat_call *call,
                                 const Jackdaw__HeartbeatRequest *request,
                                 Jackdaw__HeartbeatReply *reply)
{
    chat_call_begin(call);
    chat_note_delivered(chat, call->session,
                        chat_common_seq_of(chat, request->after, request->cursor_history,
                                           request->n_cursor_history));
    uint64_t total;
    enum error error =
        delivery_list_undelivered(chat, call->session->account, call->arena, &reply->undelivered,
                                  &reply->n_undelivered, &total);
    if (error != OK)
        return error;
    uint64_t seq = chat->state.last.seq;
    if (call->committed_seq != 0 && call->committed_seq < seq)
        seq = call->committed_seq;
    reply->time_ms = chat_call_time(chat, call);
    reply->position = position_at(chat, call->arena, seq);
    reply->last_request = call->session->last_request;
    return reply->position == NULL ? ERROR_NO_MEMORY : OK;
}

enum error chat_answer_join(struct chat *chat, struct chat_call *call,
                            const struct chat_outcome *outcome, Jackdaw__JoinRoomReply *reply)
{
    chat_call_begin(call);
    const struct account *account = call->session->account;
    const struct room *room = state_room(&chat->state, outcome->room);
    reply->room = resolve_conversation_name(chat, room, outcome->room, account->id, call->arena);
    reply->created = outcome->created;
    if (reply->room == NULL)
        return ERROR_NO_MEMORY;
    /* The request was repeated later: a user who has left the room since must not see its state. */
    if (room == NULL || !member_is_in(state_member(account, room)))
        return OK;
    reply->topic = arena_strdup(call->arena, room->topic);
    reply->private_ = room->is_private;
    reply->members = (uint32_t)room->members.count;
    reply->last_number = room->last_number;
    if (room->owner != 0)
        reply->owner = (char *)resolve_account_name(chat, room->owner, call->arena);
    return reply->topic == NULL || reply->owner == NULL ? ERROR_NO_MEMORY : OK;
}

enum error chat_answer_send(struct chat *chat, struct chat_call *call,
                            const struct chat_outcome *outcome, Jackdaw__SendReply *reply)
{
    chat_call_begin(call);
    const struct room *room = state_room(&chat->state, outcome->room);
    reply->number = outcome->number;
    reply->time_ms = outcome->time_ms;
    reply->position = arena_position(call->arena, outcome->position);
    reply->room = resolve_conversation_name(chat, room, outcome->room, call->session->account->id,
                                            call->arena);
    return reply->room == NULL || reply->position == NULL ? ERROR_NO_MEMORY : OK;
}

void chat_answer_limits(const struct chat *chat, Jackdaw__Limits *limits)
{
    jackdaw__limits__init(limits);
    limits->message_bytes = chat->limits.message_bytes;
    limits->name_characters = CHAT_NAME_CHARACTERS_MAX;
    limits->sessions_per_account = chat->limits.sessions_per_account;
    limits->rooms_per_account = chat->limits.rooms_per_account;
    limits->members_per_room = chat->limits.members_per_room;
    limits->requests_per_second = chat->limits.requests_per_second;
    limits->history_on_join = chat->limits.history_on_join;
    limits->page_events = CHAT_PAGE_EVENTS;
}

/* ---- what an account leaves behind unread ---- */

static enum error fill_messages(struct chat *chat, struct chat_call *call,
                                const struct chat_page *page, Jackdaw__DeleteAccountReply *reply)
{
    uint64_t viewer = call->session->account->id;
    for (size_t i = 0; i < page->count; i++) {
        if (page->events[i].kind != JACKDAW__EVENT__KIND__MESSAGE)
            continue;
        Jackdaw__Event *event = arena_alloc(call->arena, sizeof *event);
        if (event == NULL)
            return ERROR_NO_MEMORY;
        enum error error = chat_event_fill(chat, &page->events[i], viewer, call->arena, event);
        if (error != OK)
            return error;
        reply->undelivered[reply->n_undelivered++] = event;
    }
    return OK;
}

enum error chat_answer_delete(struct chat *chat, struct chat_call *call,
                              const Jackdaw__DeleteAccountRequest *request,
                              Jackdaw__DeleteAccountReply *reply)
{
    const struct account *account = call->session->account;
    struct chat_call reading = *call; /* planning starts it afresh; the delta must stay */
    state_note_delivered(&chat->state, call->session->account,
                         chat_common_seq_of(chat, request->after, NULL, 0));
    Jackdaw__Undelivered **list;
    size_t count;
    enum error error = delivery_list_undelivered(chat, account, call->arena, &list, &count,
                                                 &reply->undelivered_total);
    struct chat_plan *plan;
    struct chat_page page;
    if (error == OK)
        error = chat_plan_receive(chat, &reading, account->noted_seq, chat->state.last.seq, &plan);
    if (error == OK)
        error = chat_read(plan, chat->store, call->arena, &page);
    if (error != OK)
        return error;
    reply->n_undelivered = 0;
    reply->undelivered = arena_alloc(call->arena, page.count * sizeof(Jackdaw__Event *));
    if (reply->undelivered == NULL)
        return ERROR_NO_MEMORY;
    return fill_messages(chat, call, &page, reply);
}

/* ---- accounts, rooms and members in alphabetical order, a page at a time ---- */

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
