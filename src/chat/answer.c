/* SPDX-License-Identifier: MIT */
/* Replies from the state as it is. */
#include "chat/chat_internal.h"

#include "proto/convert.h"

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
