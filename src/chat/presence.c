/* SPDX-License-Identifier: MIT */
/* Presence: active and silent sessions, accounts online. Not stored. */
#include "chat/chat_internal.h"

static bool is_overdue(const struct chat *chat, const struct chat_session *session)
{
    return chat->monotonic_ms - session->last_seen_ms >= chat->limits.session_silence_ms;
}

bool presence_is_silent(const struct chat *chat, const struct chat_session *session)
{
    return session->silent || is_overdue(chat, session);
}

void presence_emit(struct chat *chat, const struct account *account, uint64_t time_ms)
{
    const struct chat_event event = {
        .kind = JACKDAW__EVENT__KIND__PRESENCE,
        .account = account->id,
        .time_ms = time_ms,
        .text = "",
        .active = account->present > 0,
    };
    event_emit(chat, &event);
}

void chat_touch(struct chat *chat, struct chat_session *session, uint64_t monotonic_ms,
                uint64_t time_ms)
{
    bool was_online = session->account->present > 0;
    state_mark_seen(&chat->state, session, chat_now(chat, monotonic_ms));
    if (!was_online)
        presence_emit(chat, session->account, time_ms);
}

void chat_touch_all(struct chat *chat, uint64_t monotonic_ms)
{
    chat_now(chat, monotonic_ms);
    struct chat_session *session, *next;
    HASH_ITER(by_id, chat->state.sessions_by_id, session, next)
        state_mark_seen(&chat->state, session, chat->monotonic_ms);
}

void chat_expire(struct chat *chat, uint64_t monotonic_ms, uint64_t time_ms)
{
    chat_now(chat, monotonic_ms);
    struct chat_session *session;
    while ((session = chat->state.present_first) != NULL && is_overdue(chat, session)) {
        state_silence(&chat->state, session);
        if (session->account->present == 0)
            presence_emit(chat, session->account, time_ms);
    }
}

/* ---- typing ---- */

enum error chat_set_typing(struct chat *chat, struct chat_call *call,
                           const Jackdaw__SetTypingRequest *request)
{
    chat_call_begin(call);
    struct conversation conversation;
    if (!resolve_conversation(chat, call, request->room, &conversation))
        return OK;
    if (conversation.room == NULL)
        return OK; /* the conversation does not exist yet, so no user sees it */
    const struct chat_event event = {
        .kind = JACKDAW__EVENT__KIND__TYPING,
        .room = conversation.room->id,
        .account = call->session->account->id,
        .time_ms = chat_call_time(chat, call),
        .text = "",
        .active = request->typing,
    };
    event_emit(chat, &event);
    return OK;
}
