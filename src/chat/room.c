/* SPDX-License-Identifier: MIT */
/* Joining and making rooms, their topic. */
#include "chat/chat_internal.h"

#include "chat/text.h"

#include <string.h>

static enum chat_decision check_room_count(struct chat *chat, struct chat_call *call)
{
    const struct account *account = call->session->account;
    if (account->rooms_in < chat->limits.rooms_per_account)
        return CHAT_PROPOSE;
    return call_refuse(call, STATUS_RESOURCE_EXHAUSTED,
                       "You are in %u rooms, which is the limit; leave one first.",
                       account->rooms_in);
}

static enum chat_decision check_entry(struct chat *chat, struct chat_call *call,
                                      const struct room *room, const struct member *member)
{
    if (member != NULL && member->state == MEMBER_BANNED)
        return call_refuse(call, STATUS_PERMISSION_DENIED,
                           "You are banned from #%s; its owner can invite you again.", room->name);
    if (room->is_private && (member == NULL || member->state != MEMBER_INVITED))
        return call_refuse(call, STATUS_PERMISSION_DENIED,
                           "#%s is private; ask one of its members to invite you.", room->name);
    if (room->members.count >= chat->limits.members_per_room)
        return call_refuse(call, STATUS_RESOURCE_EXHAUSTED,
                           "#%s is full: %zu members are the limit; join another room.", room->name,
                           room->members.count);
    return check_room_count(chat, call);
}

static enum chat_decision propose_entry(struct chat *chat, struct chat_call *call,
                                        const Jackdaw__JoinRoomRequest *request,
                                        const struct room *room, const char *new_name)
{
    Jackdaw__RoomJoined *joined = arena_message(call->arena, &jackdaw__room_joined__descriptor);
    if (joined == NULL)
        return call_fail(call, ERROR_NO_MEMORY);
    joined->account = call->session->account->id;
    if (room != NULL) {
        joined->room = room->id;
        joined->private_ = room->is_private;
    } else {
        enum error error = new_room_id(chat, &joined->room);
        if (error != OK)
            return call_fail(call, error);
        joined->private_ = request->private_;
        joined->name = arena_strdup(call->arena, new_name);
        if (joined->name == NULL)
            return call_fail(call, ERROR_NO_MEMORY);
    }
    return call_name_room(
        call,
        call_propose(chat, call, request->request, JACKDAW__DELTA__CHANGE_ROOM_JOINED, joined),
        room);
}

enum chat_decision chat_propose_join(struct chat *chat, struct chat_call *call,
                                     const Jackdaw__JoinRoomRequest *request)
{
    enum chat_decision decision = chat_check_request(chat, call, request->request);
    if (decision != CHAT_PROPOSE)
        return decision;
    if (request->room[0] == '@')
        return call_refuse(call, STATUS_INVALID_ARGUMENT,
                           "A person cannot be joined; send them a message instead.");
    struct name name;
    const char *why =
        name_parse(request->room[0] == '#' ? request->room + 1 : request->room, &name);
    if (why != NULL)
        return call_refuse(call, STATUS_INVALID_ARGUMENT, "A name %s; choose another one.", why);
    const struct room *room = state_room_named(&chat->state, name.folded);
    if (room == NULL) {
        decision = check_room_count(chat, call);
    } else {
        const struct member *member = state_member(call->session->account, room);
        if (member_is_in(member))
            return call_unchanged(chat, call, request->request, room);
        decision = check_entry(chat, call, room, member);
    }
    if (decision != CHAT_PROPOSE)
        return decision;
    return propose_entry(chat, call, request, room, name.shown);
}

enum chat_decision chat_propose_topic(struct chat *chat, struct chat_call *call,
                                      const Jackdaw__SetTopicRequest *request)
{
    enum chat_decision decision = chat_check_request(chat, call, request->request);
    if (decision != CHAT_PROPOSE)
        return decision;
    const struct room *room = find_room_of_caller(chat, call, request->room);
    if (room == NULL)
        return CHAT_REFUSE;
    if (!text_is_utf8(request->topic, strlen(request->topic)) || text_has_unsafe(request->topic) ||
        text_characters(request->topic) > CHAT_TOPIC_CHARACTERS_MAX)
        return call_refuse(call, STATUS_INVALID_ARGUMENT,
                           "A topic must be one line of at most %d characters, without control "
                           "characters and marks of direction.",
                           CHAT_TOPIC_CHARACTERS_MAX);
    if (strcmp(request->topic, room->topic) == 0)
        return call_unchanged(chat, call, request->request, room);
    Jackdaw__TopicSet *set = arena_message(call->arena, &jackdaw__topic_set__descriptor);
    if (set == NULL)
        return call_fail(call, ERROR_NO_MEMORY);
    set->room = room->id;
    set->account = call->session->account->id;
    set->topic = arena_strdup(call->arena, request->topic);
    if (set->topic == NULL)
        return call_fail(call, ERROR_NO_MEMORY);
    return call_name_room(
        call, call_propose(chat, call, request->request, JACKDAW__DELTA__CHANGE_TOPIC_SET, set),
        room);
}
