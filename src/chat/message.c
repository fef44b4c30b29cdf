/* SPDX-License-Identifier: MIT */
#include "chat/chat_internal.h"

#include "chat/text.h"

#include <string.h>

static enum chat_decision check_text(struct chat *chat, struct chat_call *call, const char *text,
                                     size_t size)
{
    if (size == 0)
        return call_refuse(call, STATUS_INVALID_ARGUMENT, "The message is empty; write something.");
    if (size > chat->limits.message_bytes)
        return call_refuse(call, STATUS_INVALID_ARGUMENT,
                           "The message has %zu bytes; %u are the limit, so send it in parts.",
                           size, chat->limits.message_bytes);
    if (!text_is_utf8(text, size))
        return call_refuse(call, STATUS_INVALID_ARGUMENT,
                           "The message is not valid UTF-8; send it as UTF-8.");
    return CHAT_PROPOSE;
}

/* Where the message goes; a direct conversation that is new gets its id here. */
static enum chat_decision address(struct chat *chat, struct chat_call *call, const char *to,
                                  Jackdaw__MessageSent *sent, const struct room **room)
{
    struct conversation conversation;
    if (!find_conversation(chat, call, to, &conversation))
        return CHAT_REFUSE;
    if (conversation.is_peer_gone)
        return call_refuse(call, STATUS_FAILED_PRECONDITION,
                           "The account was deleted, so nobody would read the message.");
    sent->peer = conversation.peer;
    *room = conversation.room;
    if (conversation.room != NULL) {
        sent->room = conversation.room->id;
        return CHAT_PROPOSE;
    }
    enum error error = new_room_id(chat, &sent->room);
    return error == OK ? CHAT_PROPOSE : call_fail(call, error);
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
    Jackdaw__MessageSent *sent = arena_message(call->arena, &jackdaw__message_sent__descriptor);
    if (sent == NULL)
        return call_fail(call, ERROR_NO_MEMORY);
    const struct room *room;
    decision = address(chat, call, request->to, sent, &room);
    if (decision != CHAT_PROPOSE)
        return decision;
    sent->account = call->session->account->id;
    sent->text = arena_copy(call->arena, request->text, size + 1);
    if (sent->text == NULL)
        return call_fail(call, ERROR_NO_MEMORY);
    return call_name_room(
        call, call_propose(chat, call, request->request, JACKDAW__DELTA__CHANGE_MESSAGE_SENT, sent),
        room);
}
