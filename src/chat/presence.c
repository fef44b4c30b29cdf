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

static void tell_presence(struct chat *chat, struct chat_session *session)
{
    if (chat->observer.presence != NULL)
        chat->observer.presence(chat->observer.context, session, !session->silent);
}

void chat_touch(struct chat *chat, struct chat_session *session, uint64_t monotonic_ms,
                uint64_t time_ms)
{
    bool was_online = session->account->present > 0;
    bool was_silent = session->silent;
    state_mark_seen(&chat->state, session, chat_now(chat, monotonic_ms));
    if (was_silent)
        tell_presence(chat, session);
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
        tell_presence(chat, session);
        if (session->account->present == 0)
            presence_emit(chat, session->account, time_ms);
    }
}

/* ---- what the master says ---- */

static void set_present(struct chat *chat, struct chat_session *session, bool is_present,
                        bool tells, uint64_t time_ms)
{
    bool was_online = session->account->present > 0;
    if (is_present)
        state_mark_seen(&chat->state, session, chat->monotonic_ms);
    else
        state_silence(&chat->state, session);
    if (tells && was_online != (session->account->present > 0))
        presence_emit(chat, session->account, time_ms);
}

void chat_set_present(struct chat *chat, uint64_t id, bool is_present, uint64_t monotonic_ms,
                      uint64_t time_ms)
{
    chat_now(chat, monotonic_ms);
    struct chat_session *session = state_session(&chat->state, id);
    if (session == NULL)
        return;
    session->presence_source = PRESENCE_TOLD;
    set_present(chat, session, is_present, true, time_ms);
}

void chat_ask_presence(struct chat *chat)
{
    struct chat_session *session, *next;
    HASH_ITER(by_id, chat->state.sessions_by_id, session, next)
        session->presence_source = PRESENCE_ASKED;
}

/* Whether the list, on which the session is or not, knows more of it than this server. */
static bool decides(const struct chat_presence_list *list, const struct chat_session *session)
{
    switch (session->presence_source) {
    case PRESENCE_BEGUN:
        return session->listed;
    case PRESENCE_TOLD:
        return list->is_newest;
    default:
        return true;
    }
}

void chat_set_presence(struct chat *chat, const struct chat_presence_list *list,
                       uint64_t monotonic_ms)
{
    struct chat_session *session, *next;
    chat_now(chat, monotonic_ms);
    for (size_t i = 0; i < list->count; i++) {
        session = state_session(&chat->state, list->sessions[i]);
        if (session != NULL)
            session->listed = true;
    }
    HASH_ITER(by_id, chat->state.sessions_by_id, session, next) {
        bool is_present = session->listed == list->are_present;
        bool is_other = is_present == session->silent && decides(list, session);
        session->listed = false;
        if (is_other)
            set_present(chat, session, is_present, list->tells, list->time_ms);
    }
}

bool chat_session_is_present(const struct chat_session *session)
{
    return !session->silent;
}

uint64_t chat_session_mark_heard(struct chat_session *session, uint64_t monotonic_ms)
{
    uint64_t before_ms = session->heard_ms;
    session->heard_ms = monotonic_ms;
    return before_ms;
}

/* ---- typing ---- */

void chat_tell_typing(struct chat *chat, uint64_t room, uint64_t account, bool is_typing,
                      uint64_t time_ms)
{
    const struct chat_event event = {
        .kind = JACKDAW__EVENT__KIND__TYPING,
        .room = room,
        .account = account,
        .time_ms = time_ms,
        .text = "",
        .active = is_typing,
    };
    event_emit(chat, &event);
}

enum error chat_set_typing(struct chat *chat, struct chat_call *call,
                           const Jackdaw__SetTypingRequest *request)
{
    chat_call_begin(call);
    struct conversation conversation;
    if (!resolve_conversation(chat, call, request->room, &conversation))
        return OK;
    if (conversation.room == NULL)
        return OK; /* the conversation does not exist yet, so no user sees it */
    chat_tell_typing(chat, conversation.room->id, call->session->account->id, request->typing,
                     chat_call_time(chat, call));
    return OK;
}
