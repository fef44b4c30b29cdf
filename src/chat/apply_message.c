/* SPDX-License-Identifier: MIT */
#include "chat/apply.h"
#include "chat/text.h"

#include <string.h>

static enum error join_direct(struct apply *apply, struct room *room, struct account *account)
{
    struct member *member = state_reserve_member(room, account);
    if (member == NULL)
        return ERROR_NO_MEMORY;
    if (member->state == MEMBER_IN) /* a conversation with oneself */
        return OK;
    state_move_member(member, MEMBER_IN, true);
    member->since_seq = apply->position.seq;
    return apply_put_member(apply, member);
}

/* The first message of two people makes their conversation. */
static enum error make_direct(struct apply *apply, uint64_t id, struct account *account,
                              struct account *peer, struct room **out)
{
    struct state *state = &apply->chat->state;
    if (id == 0 || state_room(state, id) != NULL)
        return ERROR_CORRUPT;
    bool is_low = account->id < peer->id;
    const uint64_t pair[2] = {is_low ? account->id : peer->id, is_low ? peer->id : account->id};
    struct room *room = state_add_room(state, id, "", "", pair, true);
    if (room == NULL)
        return ERROR_NO_MEMORY;
    room->created_ms = apply->delta->time_ms;
    enum error error = apply_put_room(apply, room, 0);
    if (error == OK)
        error = join_direct(apply, room, account);
    if (error == OK)
        error = join_direct(apply, room, peer);
    *out = room;
    return error;
}

static enum error find_room_of_message(struct apply *apply, const Jackdaw__MessageSent *sent,
                                       struct account *account, struct room **out)
{
    struct state *state = &apply->chat->state;
    if (sent->peer == 0) {
        *out = state_room(state, sent->room);
        bool is_member =
            *out != NULL && !room_is_direct(*out) && member_is_in(state_member(account, *out));
        return is_member ? OK : ERROR_CORRUPT;
    }
    struct account *peer = state_account(state, sent->peer);
    if (peer == NULL)
        return ERROR_CORRUPT;
    *out = state_room_direct(state, account->id, peer->id);
    if (*out != NULL)
        return (*out)->id == sent->room ? OK : ERROR_CORRUPT;
    return make_direct(apply, sent->room, account, peer, out);
}

enum error apply_message_sent(struct apply *apply)
{
    const Jackdaw__MessageSent *sent = apply->delta->message_sent;
    struct account *account = apply->session->account;
    size_t size = sent->text == NULL ? 0 : strlen(sent->text);
    if (account->id != sent->account || size < 1 || size > CHAT_MESSAGE_BYTES_MAX ||
        !text_is_utf8(sent->text, size))
        return ERROR_CORRUPT;
    struct room *room;
    enum error error = find_room_of_message(apply, sent, account, &room);
    if (error != OK)
        return error;
    struct timeline_row row =
        apply_row(apply, room, JACKDAW__EVENT__KIND__MESSAGE, account->id, 0, sent->text);
    error = apply_store_row(apply, room, &row);
    if (error == OK)
        error = apply_outcome(apply, (struct outcome_row){.room = room->id, .number = row.number});
    if (error == OK)
        apply_emit_row(apply, &row);
    return error;
}
