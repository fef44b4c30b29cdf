/* SPDX-License-Identifier: MIT */
/* Leaving, inviting, kicking and banning. */
#include "chat/chat_internal.h"

enum chat_decision chat_propose_leave(struct chat *chat, struct chat_call *call,
                                      const Jackdaw__LeaveRoomRequest *request)
{
    enum chat_decision decision = chat_check_request(chat, call, request->request);
    if (decision != CHAT_PROPOSE)
        return decision;
    const struct room *room = find_room_of_caller(chat, call, request->room);
    if (room == NULL)
        return CHAT_REFUSE;
    Jackdaw__RoomLeft *left = arena_message(call->arena, &jackdaw__room_left__descriptor);
    if (left != NULL) {
        left->room = room->id;
        left->account = call->session->account->id;
        left->reason = JACKDAW__ROOM_LEFT__REASON__LEFT;
    }
    return call_name_room(
        call, call_propose(chat, call, request->request, JACKDAW__DELTA__CHANGE_ROOM_LEFT, left),
        room);
}

static enum chat_decision check_invitation(struct chat_call *call, const struct room *room,
                                           const struct account *guest, const struct member *member)
{
    const struct account *caller = call->session->account;
    if (member_is_in(member))
        return call_refuse(call, STATUS_ALREADY_EXISTS, "@%s is in #%s already.", guest->name,
                           room->name);
    if (member != NULL && member->state == MEMBER_BANNED && room->owner != caller->id)
        return call_refuse(call, STATUS_PERMISSION_DENIED,
                           "@%s is banned from #%s; only its owner can end that.", guest->name,
                           room->name);
    return CHAT_PROPOSE;
}

enum chat_decision chat_propose_invite(struct chat *chat, struct chat_call *call,
                                       const Jackdaw__InviteRequest *request)
{
    enum chat_decision decision = chat_check_request(chat, call, request->request);
    if (decision != CHAT_PROPOSE)
        return decision;
    const struct room *room = find_room_of_caller(chat, call, request->room);
    if (room == NULL)
        return CHAT_REFUSE;
    const struct account *guest = find_account(chat, call, request->name);
    if (guest == NULL)
        return CHAT_REFUSE;
    const struct member *member = state_member(guest, room);
    if (member != NULL && member->state == MEMBER_INVITED)
        return call_unchanged(chat, call, request->request, room);
    decision = check_invitation(call, room, guest, member);
    if (decision != CHAT_PROPOSE)
        return decision;
    Jackdaw__Invited *invited = arena_message(call->arena, &jackdaw__invited__descriptor);
    if (invited != NULL) {
        invited->room = room->id;
        invited->account = guest->id;
        invited->by = call->session->account->id;
    }
    return call_name_room(
        call, call_propose(chat, call, request->request, JACKDAW__DELTA__CHANGE_INVITED, invited),
        room);
}

static enum chat_decision check_kick(struct chat *chat, struct chat_call *call,
                                     const struct room *room, const struct account *target,
                                     bool ban)
{
    if (target == call->session->account)
        return call_refuse(call, STATUS_INVALID_ARGUMENT,
                           "You cannot put yourself out of #%s; leave it instead.", room->name);
    if (!ban && !member_is_in(state_member(target, room)))
        return call_refuse(call, STATUS_NOT_FOUND,
                           "@%s is not in #%s; a ban would keep them from coming in.", target->name,
                           room->name);
    if (ban && room->banned >= chat->limits.members_per_room)
        return call_refuse(call, STATUS_RESOURCE_EXHAUSTED,
                           "%u accounts are banned from #%s, which is the limit; invite one of "
                           "them to end a ban.",
                           room->banned, room->name);
    return CHAT_PROPOSE;
}

enum chat_decision chat_propose_kick(struct chat *chat, struct chat_call *call,
                                     const Jackdaw__KickRequest *request)
{
    enum chat_decision decision = chat_check_request(chat, call, request->request);
    if (decision != CHAT_PROPOSE)
        return decision;
    const struct room *room = find_room_of_caller(chat, call, request->room);
    if (room == NULL)
        return CHAT_REFUSE;
    const struct account *caller = call->session->account;
    if (room->owner != caller->id)
        return call_refuse(call, STATUS_PERMISSION_DENIED,
                           "Only the owner of #%s may put somebody out; ask them.", room->name);
    const struct account *target = find_account(chat, call, request->name);
    if (target == NULL)
        return CHAT_REFUSE;
    const struct member *member = state_member(target, room);
    if (request->ban && member != NULL && member->state == MEMBER_BANNED)
        return call_unchanged(chat, call, request->request, room);
    decision = check_kick(chat, call, room, target, request->ban);
    if (decision != CHAT_PROPOSE)
        return decision;
    Jackdaw__RoomLeft *left = arena_message(call->arena, &jackdaw__room_left__descriptor);
    if (left != NULL) {
        left->room = room->id;
        left->account = target->id;
        left->reason =
            request->ban ? JACKDAW__ROOM_LEFT__REASON__BANNED : JACKDAW__ROOM_LEFT__REASON__KICKED;
        left->by = caller->id;
    }
    return call_name_room(
        call, call_propose(chat, call, request->request, JACKDAW__DELTA__CHANGE_ROOM_LEFT, left),
        room);
}
