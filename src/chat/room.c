/* SPDX-License-Identifier: MIT */
/* Joining and making rooms, their topic. */
#include "base/text.h"
#include "chat/apply.h"

#include <string.h>

static enum chat_decision check_room_count(struct chat *chat, struct chat_call *call)
{
    const struct account *account = call->session->account;
    if (account->rooms_in < chat->limits.rooms_per_account)
        return CHAT_PROPOSE;
    return chat_call_refuse(call, STATUS_RESOURCE_EXHAUSTED,
                            "You are in %u rooms, which is the limit; leave one first.",
                            account->rooms_in);
}

static enum chat_decision check_entry(struct chat *chat, struct chat_call *call,
                                      const struct room *room, const struct member *member)
{
    if (member != NULL && member->state == MEMBER_BANNED)
        return chat_call_refuse(call, STATUS_PERMISSION_DENIED,
                                "You are banned from #%s; its owner can invite you again.",
                                room->name);
    if (room->is_private && (member == NULL || member->state != MEMBER_INVITED))
        return chat_call_refuse(call, STATUS_PERMISSION_DENIED,
                                "#%s is private; ask one of its members to invite you.",
                                room->name);
    if (room->members.count >= chat->limits.members_per_room)
        return chat_call_refuse(call, STATUS_RESOURCE_EXHAUSTED,
                                "#%s is full: %zu members are the limit; join another room.",
                                room->name, room->members.count);
    return check_room_count(chat, call);
}

static enum chat_decision propose_entry(struct chat *chat, struct chat_call *call,
                                        const Jackdaw__JoinRoomRequest *request,
                                        const struct room *room, const char *new_name)
{
    Jackdaw__RoomJoined *joined =
        chat_arena_message(call->arena, &jackdaw__room_joined__descriptor);
    if (joined == NULL)
        return chat_call_fail(call, ERROR_NO_MEMORY);
    joined->account = call->session->account->id;
    if (room != NULL) {
        joined->room = room->id;
        joined->private_ = room->is_private;
    } else {
        enum error error = id_new_room(chat, &joined->room);
        if (error != OK)
            return chat_call_fail(call, error);
        joined->private_ = request->private_;
        joined->name = arena_strdup(call->arena, new_name);
        if (joined->name == NULL)
            return chat_call_fail(call, ERROR_NO_MEMORY);
    }
    return chat_call_name_room(
        call,
        chat_call_propose(chat, call, request->request, JACKDAW__DELTA__CHANGE_ROOM_JOINED, joined),
        room);
}

enum chat_decision chat_propose_join(struct chat *chat, struct chat_call *call,
                                     const Jackdaw__JoinRoomRequest *request)
{
    enum chat_decision decision = chat_check_request(chat, call, request->request);
    if (decision != CHAT_PROPOSE)
        return decision;
    if (request->room[0] == '@')
        return chat_call_refuse(call, STATUS_INVALID_ARGUMENT,
                                "A person cannot be joined; send them a message instead.");
    struct name name;
    const char *why =
        name_parse(request->room[0] == '#' ? request->room + 1 : request->room, &name);
    if (why != NULL)
        return chat_call_refuse(call, STATUS_INVALID_ARGUMENT, "A name %s; choose another one.",
                                why);
    const struct room *room = state_room_named(&chat->state, name.folded);
    if (room == NULL) {
        decision = check_room_count(chat, call);
    } else {
        const struct member *member = state_member(call->session->account, room);
        if (member_is_in(member))
            return chat_call_unchanged(chat, call, request->request, room);
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
    const struct room *room = resolve_room_of_caller(chat, call, request->room);
    if (room == NULL)
        return CHAT_REFUSE;
    if (!text_is_utf8(request->topic, strlen(request->topic)) || text_has_unsafe(request->topic) ||
        text_characters(request->topic) > CHAT_TOPIC_CHARACTERS_MAX)
        return chat_call_refuse(
            call, STATUS_INVALID_ARGUMENT,
            "A topic must be one line of at most %d characters, without control "
            "characters and marks of direction.",
            CHAT_TOPIC_CHARACTERS_MAX);
    if (strcmp(request->topic, room->topic) == 0)
        return chat_call_unchanged(chat, call, request->request, room);
    Jackdaw__TopicSet *set = chat_arena_message(call->arena, &jackdaw__topic_set__descriptor);
    if (set == NULL)
        return chat_call_fail(call, ERROR_NO_MEMORY);
    set->room = room->id;
    set->account = call->session->account->id;
    set->topic = arena_strdup(call->arena, request->topic);
    bool has_salt = request->topic[0] == '\0' || chat_call_salt(chat, call, &set->topic_salt);
    if (set->topic == NULL || !has_salt)
        return chat_call_fail(call, ERROR_NO_MEMORY);
    return chat_call_name_room(
        call,
        chat_call_propose(chat, call, request->request, JACKDAW__DELTA__CHANGE_TOPIC_SET, set),
        room);
}

/* ---- members ---- */

/* Leaving, inviting, kicking and banning. */

enum chat_decision chat_propose_leave(struct chat *chat, struct chat_call *call,
                                      const Jackdaw__LeaveRoomRequest *request)
{
    enum chat_decision decision = chat_check_request(chat, call, request->request);
    if (decision != CHAT_PROPOSE)
        return decision;
    const struct room *room = resolve_room_of_caller(chat, call, request->room);
    if (room == NULL)
        return CHAT_REFUSE;
    Jackdaw__RoomLeft *left = chat_arena_message(call->arena, &jackdaw__room_left__descriptor);
    if (left != NULL) {
        left->room = room->id;
        left->account = call->session->account->id;
        left->reason = JACKDAW__ROOM_LEFT__REASON__LEFT;
    }
    return chat_call_name_room(
        call,
        chat_call_propose(chat, call, request->request, JACKDAW__DELTA__CHANGE_ROOM_LEFT, left),
        room);
}

static enum chat_decision check_invitation(struct chat_call *call, const struct room *room,
                                           const struct account *guest, const struct member *member)
{
    const struct account *caller = call->session->account;
    if (member_is_in(member))
        return chat_call_refuse(call, STATUS_ALREADY_EXISTS, "@%s is in #%s already.", guest->name,
                                room->name);
    if (member != NULL && member->state == MEMBER_BANNED && room->owner != caller->id)
        return chat_call_refuse(call, STATUS_PERMISSION_DENIED,
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
    const struct room *room = resolve_room_of_caller(chat, call, request->room);
    if (room == NULL)
        return CHAT_REFUSE;
    const struct account *guest = resolve_account(chat, call, request->name);
    if (guest == NULL)
        return CHAT_REFUSE;
    const struct member *member = state_member(guest, room);
    if (member != NULL && member->state == MEMBER_INVITED)
        return chat_call_unchanged(chat, call, request->request, room);
    decision = check_invitation(call, room, guest, member);
    if (decision != CHAT_PROPOSE)
        return decision;
    Jackdaw__Invited *invited = chat_arena_message(call->arena, &jackdaw__invited__descriptor);
    if (invited != NULL) {
        invited->room = room->id;
        invited->account = guest->id;
        invited->by = call->session->account->id;
    }
    return chat_call_name_room(
        call,
        chat_call_propose(chat, call, request->request, JACKDAW__DELTA__CHANGE_INVITED, invited),
        room);
}

static enum chat_decision check_kick(struct chat *chat, struct chat_call *call,
                                     const struct room *room, const struct account *target,
                                     bool ban)
{
    if (target == call->session->account)
        return chat_call_refuse(call, STATUS_INVALID_ARGUMENT,
                                "You cannot remove yourself from #%s; leave it instead.",
                                room->name);
    if (!ban && !member_is_in(state_member(target, room)))
        return chat_call_refuse(call, STATUS_NOT_FOUND,
                                "@%s is not in #%s; a ban would keep them from coming in.",
                                target->name, room->name);
    if (ban && room->banned >= chat->limits.members_per_room)
        return chat_call_refuse(
            call, STATUS_RESOURCE_EXHAUSTED,
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
    const struct room *room = resolve_room_of_caller(chat, call, request->room);
    if (room == NULL)
        return CHAT_REFUSE;
    const struct account *caller = call->session->account;
    if (room->owner != caller->id)
        return chat_call_refuse(call, STATUS_PERMISSION_DENIED,
                                "Only the owner of #%s may remove a member; ask them.", room->name);
    const struct account *target = resolve_account(chat, call, request->name);
    if (target == NULL)
        return CHAT_REFUSE;
    const struct member *member = state_member(target, room);
    if (request->ban && member != NULL && member->state == MEMBER_BANNED)
        return chat_call_unchanged(chat, call, request->request, room);
    decision = check_kick(chat, call, room, target, request->ban);
    if (decision != CHAT_PROPOSE)
        return decision;
    Jackdaw__RoomLeft *left = chat_arena_message(call->arena, &jackdaw__room_left__descriptor);
    if (left != NULL) {
        left->room = room->id;
        left->account = target->id;
        left->reason =
            request->ban ? JACKDAW__ROOM_LEFT__REASON__BANNED : JACKDAW__ROOM_LEFT__REASON__KICKED;
        left->by = caller->id;
    }
    return chat_call_name_room(
        call,
        chat_call_propose(chat, call, request->request, JACKDAW__DELTA__CHANGE_ROOM_LEFT, left),
        room);
}

/* ---- applying ---- */

/* Rooms and their members: RoomJoined, RoomLeft, TopicSet, Invited. */

enum error apply_make_room(struct apply *apply, uint64_t id, const char *shown, bool is_private,
                           struct room **out)
{
    struct state *state = &apply->chat->state;
    struct name name;
    if (id == 0 || state_room(state, id) != NULL || !name_accept(shown, &name) ||
        state_room_named(state, name.folded) != NULL)
        return ERROR_CORRUPT;
    static const uint64_t not_direct[2] = {0, 0};
    *out = state_add_room(state, id, name.shown, name.folded, not_direct, true);
    if (*out == NULL)
        return ERROR_NO_MEMORY;
    (*out)->is_private = is_private;
    (*out)->created_ms = apply->delta->time_ms;
    if (!apply->delta->late)
        return OK;
    /* The room may have existed before; then its messages still do. */
    return store_number_at(apply->chat->store, id, INT64_MAX, &(*out)->last_number);
}

bool apply_may_enter(const struct apply *apply, const struct room *room,
                     const struct account *account)
{
    const struct member *member = state_member(account, room);
    enum member_state state = member == NULL ? MEMBER_OUT : member->state;
    if (room_is_direct(room) || state == MEMBER_IN || state == MEMBER_BANNED)
        return false;
    return !room->is_private || state == MEMBER_INVITED || apply->delta->late;
}

enum error apply_enter(struct apply *apply, struct account *account, struct room *room)
{
    struct member *member = state_reserve_member(room, account);
    if (member == NULL)
        return ERROR_NO_MEMORY;
    bool becomes_owner = room->members.count == 0;
    if (becomes_owner)
        room->owner = account->id;
    state_move_member(member, MEMBER_IN, true);
    member->since_seq = apply->position.seq;
    member->until_seq = 0;
    struct timeline_row row =
        apply_row(apply, room, JACKDAW__EVENT__KIND__JOINED, account->id, 0, "");
    enum error error = apply_put_member(apply, member);
    if (error == OK)
        error = apply_store_row(apply, room, &row);
    if (error == OK && becomes_owner)
        error = apply_store_owner(apply, room, account->id);
    if (error != OK)
        return error;
    apply_emit_row(apply, &row);
    if (becomes_owner)
        apply_emit_owner(apply, room, account->id);
    return OK;
}

enum error apply_room_joined(struct apply *apply)
{
    struct state *state = &apply->chat->state;
    const Jackdaw__RoomJoined *joined = apply->delta->room_joined;
    struct account *account = state_account(state, joined->account);
    if (account == NULL || !apply_is_by(apply, account->id) || joined->name == NULL)
        return ERROR_CORRUPT;
    bool is_new = joined->name[0] != '\0';
    struct room *room = NULL;
    enum error error = OK;
    if (is_new) {
        error = apply_make_room(apply, joined->room, joined->name, joined->private_ != 0, &room);
    } else {
        room = state_room(state, joined->room);
        if (room == NULL || !apply_may_enter(apply, room, account))
            return ERROR_CORRUPT;
    }
    if (error == OK)
        error = apply_enter(apply, account, room);
    if (error == OK)
        error = apply_notice(apply, room, account->id);
    const uint32_t flags = is_new ? OUTCOME_CREATED : 0;
    return error == OK
               ? apply_outcome(apply, (struct outcome_row){.room = joined->room, .flags = flags})
               : error;
}

/* ---- leaving ---- */

static bool may_put_out(const struct apply *apply, const struct room *room,
                        const Jackdaw__RoomLeft *left, const struct member *member)
{
    if (left->reason == JACKDAW__ROOM_LEFT__REASON__LEFT)
        return member_is_in(member) && left->by == 0 && apply_is_by(apply, left->account);
    if (room->owner != left->by || left->by == left->account || left->by == 0 ||
        !apply_is_by(apply, left->by))
        return false;
    if (left->reason == JACKDAW__ROOM_LEFT__REASON__KICKED)
        return member_is_in(member);
    return left->reason == JACKDAW__ROOM_LEFT__REASON__BANNED &&
           (member == NULL || member->state != MEMBER_BANNED);
}

static struct timeline_row row_of_leaving(const struct apply *apply, const struct room *room,
                                          const Jackdaw__RoomLeft *left)
{
    static const char *const texts[] = {
        [JACKDAW__ROOM_LEFT__REASON__LEFT] = "",
        [JACKDAW__ROOM_LEFT__REASON__KICKED] = "kicked",
        [JACKDAW__ROOM_LEFT__REASON__BANNED] = "banned",
    };
    return apply_row(apply, room, JACKDAW__EVENT__KIND__LEFT, left->account, left->by,
                     texts[left->reason]);
}

/* The last one leaves a private room: it ends, and its name is free. */
static enum error end_room(struct apply *apply, struct room *room, const struct timeline_row *row)
{
    enum error error = store_delete_room(apply->chat->store, room->id);
    if (error == OK)
        error = apply_outcome(apply, (struct outcome_row){.room = room->id});
    if (error != OK)
        return error;
    apply_emit_row(apply, row);
    state_remove_room(&apply->chat->state, room);
    return OK;
}

static enum error put_out(struct apply *apply, struct member *member, struct timeline_row row,
                          enum member_state state)
{
    struct room *room = member->room;
    bool was_in = member->state == MEMBER_IN;
    struct member gone = *member;
    gone.state = state;
    if (was_in)
        gone.until_seq = apply->position.seq;
    uint64_t owner = apply_successor(room, row.account);
    bool has_new_owner = owner != room->owner;
    enum error error = apply_put_member(apply, &gone);
    if (error == OK)
        error = apply_store_row(apply, room, &row);
    if (error == OK && has_new_owner)
        error = apply_store_owner(apply, room, owner);
    if (error == OK)
        error = apply_outcome(apply, (struct outcome_row){.room = room->id});
    if (error != OK)
        return error;
    apply_emit_row(apply, &row); /* the one who goes is still among the recipients */
    if (has_new_owner)
        apply_emit_owner(apply, room, owner);
    room->owner = owner;
    member->until_seq = gone.until_seq;
    state_move_member(member, state, true);
    return OK;
}

bool apply_fits_left(const struct apply *apply)
{
    const struct state *state = &apply->chat->state;
    const Jackdaw__RoomLeft *left = apply->delta->room_left;
    const struct account *account = state_account(state, left->account);
    const struct room *room = state_room(state, left->room);
    return account != NULL && room != NULL && !room_is_direct(room) &&
           may_put_out(apply, room, left, state_member(account, room));
}

enum error apply_room_left(struct apply *apply)
{
    struct state *state = &apply->chat->state;
    const Jackdaw__RoomLeft *left = apply->delta->room_left;
    if (!apply_fits_left(apply))
        return ERROR_CORRUPT;
    struct account *account = state_account(state, left->account);
    struct room *room = state_room(state, left->room);
    struct timeline_row row = row_of_leaving(apply, room, left);
    if (left->reason == JACKDAW__ROOM_LEFT__REASON__LEFT && room->is_private &&
        room->members.count == 1)
        return end_room(apply, room, &row);
    struct member *member = state_reserve_member(room, account);
    if (member == NULL)
        return ERROR_NO_MEMORY;
    bool is_ban = left->reason == JACKDAW__ROOM_LEFT__REASON__BANNED;
    enum error error = put_out(apply, member, row, is_ban ? MEMBER_BANNED : MEMBER_OUT);
    return error == OK ? apply_forget_past_membership(apply, account) : error;
}

/* ---- topic, invitation ---- */

static bool topic_is_valid(const char *topic)
{
    return topic != NULL && text_is_utf8(topic, strlen(topic)) && !text_has_unsafe(topic) &&
           text_characters(topic) <= CHAT_TOPIC_CHARACTERS_MAX;
}

bool apply_fits_topic(const struct apply *apply)
{
    const struct state *state = &apply->chat->state;
    const Jackdaw__TopicSet *set = apply->delta->topic_set;
    const struct account *account = state_account(state, set->account);
    const struct room *room = state_room(state, set->room);
    return account != NULL && room != NULL && !room_is_direct(room) &&
           apply_is_by(apply, account->id) && member_is_in(state_member(account, room)) &&
           topic_is_valid(set->topic);
}

enum error apply_topic_set(struct apply *apply)
{
    struct state *state = &apply->chat->state;
    const Jackdaw__TopicSet *set = apply->delta->topic_set;
    if (!apply_fits_topic(apply))
        return ERROR_CORRUPT;
    const struct account *account = state_account(state, set->account);
    struct room *room = state_room(state, set->room);
    if (!state_set_topic(room, set->topic))
        return ERROR_NO_MEMORY;
    struct timeline_row row =
        apply_row(apply, room, JACKDAW__EVENT__KIND__TOPIC, account->id, 0, set->topic);
    enum error error = apply_put_room(apply, room, room->owner);
    if (error == OK)
        error = apply_store_row(apply, room, &row);
    if (error == OK)
        error = apply_outcome(apply, (struct outcome_row){.room = room->id});
    if (error == OK)
        apply_emit_row(apply, &row);
    return error;
}

static bool may_invite(const struct apply *apply, const struct room *room, const struct account *by,
                       const struct account *guest)
{
    if (room == NULL || by == NULL || guest == NULL || room_is_direct(room) ||
        !apply_is_by(apply, by->id) || !member_is_in(state_member(by, room)))
        return false;
    const struct member *member = state_member(guest, room);
    if (member == NULL || member->state == MEMBER_OUT)
        return true;
    return member->state == MEMBER_BANNED && room->owner == by->id;
}

bool apply_fits_invited(const struct apply *apply)
{
    const struct state *state = &apply->chat->state;
    const Jackdaw__Invited *invited = apply->delta->invited;
    return may_invite(apply, state_room(state, invited->room), state_account(state, invited->by),
                      state_account(state, invited->account));
}

enum error apply_invited(struct apply *apply)
{
    struct state *state = &apply->chat->state;
    const Jackdaw__Invited *invited = apply->delta->invited;
    if (!apply_fits_invited(apply))
        return ERROR_CORRUPT;
    struct account *guest = state_account(state, invited->account);
    struct room *room = state_room(state, invited->room);
    struct member *member = state_reserve_member(room, guest);
    if (member == NULL)
        return ERROR_NO_MEMORY;
    state_move_member(member, MEMBER_INVITED, true);
    member->since_seq = member->until_seq = apply->position.seq; /* this one event is to be seen */
    struct timeline_row row =
        apply_row(apply, room, JACKDAW__EVENT__KIND__INVITED, invited->by, guest->id, "");
    enum error error = apply_put_member(apply, member);
    if (error == OK)
        error = apply_store_row(apply, room, &row);
    if (error == OK)
        error = apply_outcome(apply, (struct outcome_row){.room = room->id});
    if (error == OK)
        error = apply_forget_past_membership(apply, guest);
    if (error == OK)
        apply_emit_row(apply, &row);
    return error;
}
