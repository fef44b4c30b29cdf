/* SPDX-License-Identifier: MIT */
#include "chat/chat_internal.h"

enum error chat_set_typing(struct chat *chat, struct chat_call *call,
                           const Jackdaw__SetTypingRequest *request)
{
    call_begin(call);
    struct conversation conversation;
    if (!find_conversation(chat, call, request->room, &conversation))
        return OK;
    if (conversation.room == NULL)
        return OK; /* nothing was ever said: nobody sees a conversation yet */
    const struct chat_event event = {
        .kind = JACKDAW__EVENT__KIND__TYPING,
        .room = conversation.room->id,
        .account = call->session->account->id,
        .time_ms = call_time(chat, call),
        .text = "",
        .active = request->typing,
    };
    event_emit(chat, &event);
    return OK;
}
