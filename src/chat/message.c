/* SPDX-License-Identifier: MIT */
#include "base/text.h"
#include "chat/apply.h"

#include <string.h>

static enum chat_decision check_text(struct chat *chat, struct chat_call *call, const char *text,
                                     size_t size)
{
    if (size == 0)
        return chat_call_refuse(call, STATUS_INVALID_ARGUMENT,
                                "The message is empty; write something.");
    if (size > chat->limits.message_bytes)
        return chat_call_refuse(call, STATUS_INVALID_ARGUMENT,
                                "The message has %zu bytes; %u are the limit, so send it in parts.",
                                size, chat->limits.message_bytes);
    if (!text_is_utf8(text, size))
        return chat_call_refuse(call, STATUS_INVALID_ARGUMENT,
                                "The message is not valid UTF-8; send it as UTF-8.");
    return CHAT_PROPOSE;
}

/* The room of the message; a new direct conversation gets its id here. */
static enum chat_decision address(struct chat *chat, struct chat_call *call, const char *to,
                                  Jackdaw__MessageSent *sent, const struct room **room)
{
    struct conversation conversation;
    if (!resolve_conversation(chat, call, to, &conversation))
        return CHAT_REFUSE;
    if (conversation.is_peer_gone)
        return chat_call_refuse(call, STATUS_FAILED_PRECONDITION,
                                "The account was deleted, so no user would read the message.");
    sent->peer = conversation.peer;
    *room = conversation.room;
    if (conversation.room != NULL) {
        sent->room = conversation.room->id;
        return CHAT_PROPOSE;
    }
    enum error error = id_new_room(chat, &sent->room);
    return error == OK ? CHAT_PROPOSE : chat_call_fail(call, error);
}

enum chat_decision chat_propose_send(struct chat *chat, struct chat_call *call,
                                     const Jackdaw__SendRequest *request)
{
    enum chat_decision decision = chat_check_request(chat, call, request->request);
    if (decision != CHAT_PROPOSE)
        return decision;
    size_t size = strlen(request->text);
    decision = check_text(chat, call, request->text, size);
    if (decision != CHAT_PROPOSE)
        return decision;
    Jackdaw__MessageSent *sent =
        chat_arena_message(call->arena, &jackdaw__message_sent__descriptor);
    if (sent == NULL)
        return chat_call_fail(call, ERROR_NO_MEMORY);
    const struct room *room;
    decision = address(chat, call, request->to, sent, &room);
    if (decision != CHAT_PROPOSE)
        return decision;
    sent->account = call->session->account->id;
    sent->text = arena_copy(call->arena, request->text, size + 1);
    if (sent->text == NULL || !chat_call_salt(chat, call, &sent->text_salt))
        return chat_call_fail(call, ERROR_NO_MEMORY);
    return chat_call_name_room(
        call,
        chat_call_propose(chat, call, request->request, JACKDAW__DELTA__CHANGE_MESSAGE_SENT, sent),
        room);
}

/* ---- applying ---- */

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

enum error apply_make_direct(struct apply *apply, uint64_t id, struct account *account,
                             uint64_t peer, struct room **out)
{
    struct state *state = &apply->chat->state;
    struct account *other = state_account(state, peer);
    if (id == 0 || peer == 0 || state_room(state, id) != NULL ||
        (other == NULL && !apply->delta->late))
        return ERROR_CORRUPT;
    bool is_low = account->id < peer;
    const uint64_t pair[2] = {is_low ? account->id : peer, is_low ? peer : account->id};
    struct room *room = state_add_room(state, id, "", "", pair, true);
    if (room == NULL)
        return ERROR_NO_MEMORY;
    room->created_ms = apply->delta->time_ms;
    enum error error = apply_put_room(apply, room, 0);
    if (error == OK)
        error = join_direct(apply, room, account);
    if (error == OK && other != NULL)
        error = join_direct(apply, room, other);
    *out = room;
    return error;
}

/* A late message may be to a room that its author is no longer in. */
static enum error find_named_room(struct apply *apply, const Jackdaw__MessageSent *sent,
                                  struct account *account, struct room **out)
{
    bool is_late = apply->delta->late;
    *out = state_room(&apply->chat->state, sent->room);
    bool is_made = is_late && sent->made_as != NULL && sent->made_as[0] != '\0';
    if (*out == NULL && is_made) {
        enum error error = apply_make_room(apply, sent->room, sent->made_as, true, out);
        if (error == OK)
            error = apply_enter(apply, account, *out);
        return error == OK ? apply_notice(apply, *out, account->id) : error;
    }
    if (*out == NULL || room_is_direct(*out))
        return ERROR_CORRUPT;
    return is_late || member_is_in(state_member(account, *out)) ? OK : ERROR_CORRUPT;
}

static enum error find_direct(struct apply *apply, const Jackdaw__MessageSent *sent,
                              struct account *account, struct room **out)
{
    const struct state *state = &apply->chat->state;
    *out = state_room_direct(state, account->id, sent->peer);
    if (*out == NULL)
        return apply_make_direct(apply, sent->room, account, sent->peer, out);
    bool is_read = apply->delta->late || state_account(state, sent->peer) != NULL;
    return (*out)->id == sent->room && is_read ? OK : ERROR_CORRUPT;
}

bool apply_fits_message(const struct apply *apply)
{
    const Jackdaw__MessageSent *sent = apply->delta->message_sent;
    size_t size = sent->text == NULL ? 0 : strlen(sent->text);
    bool is_erased = sent->text_hash.len > 0;
    return apply_is_by(apply, sent->account) && (size >= 1) != is_erased &&
           size <= CHAT_MESSAGE_BYTES_MAX && text_is_utf8(sent->text, size);
}

enum error apply_message_sent(struct apply *apply)
{
    const Jackdaw__MessageSent *sent = apply->delta->message_sent;
    if (!apply_fits_message(apply))
        return ERROR_CORRUPT;
    struct account *account = apply->session->account;
    struct room *room;
    enum error error = sent->peer == 0 ? find_named_room(apply, sent, account, &room)
                                       : find_direct(apply, sent, account, &room);
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
