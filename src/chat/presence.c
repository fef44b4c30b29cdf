/* SPDX-License-Identifier: MIT */
/* Who is there: sessions heard and fallen silent, accounts online. Nothing of it is kept. */
#include "chat/chat_internal.h"

static bool is_overdue(const struct chat *chat, const struct chat_session *session)
{
    return chat->monotonic_ms - session->last_seen_ms >= chat->limits.session_silence_ms;
}

bool session_is_silent(const struct chat *chat, const struct chat_session *session)
{
    return session->silent || is_overdue(chat, session);
}

void emit_presence(struct chat *chat, const struct account *account, uint64_t time_ms)
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
        emit_presence(chat, session->account, time_ms);
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
            emit_presence(chat, session->account, time_ms);
    }
}
