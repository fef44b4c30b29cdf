/* SPDX-License-Identifier: MIT */
#include "chat/chat.h"
#include "chat/chat_internal.h"

#include <sodium.h>
#include <stdlib.h>

void chat_limits_default(struct chat_limits *limits)
{
    *limits = (struct chat_limits){
        .message_bytes = 16384,
        .sessions_per_account = 2,
        .rooms_per_account = 256,
        .members_per_room = 1024,
        .history_on_join = 10,
        .session_silence_ms = 60000,
        .requests_per_second = 1000,
    };
}

static void mark_all_seen(struct chat *chat, struct state *state)
{
    struct chat_session *session, *next;
    HASH_ITER(by_id, state->sessions_by_id, session, next) {
        state_mark_seen(state, session, chat->monotonic_ms);
        rate_init(&session->rate, chat->limits.requests_per_second, chat->monotonic_ms);
    }
}

enum error chat_open(struct chat **out, struct store *store, const struct chat_limits *limits,
                     const struct chat_observer *observer, uint64_t monotonic_ms,
                     struct error_text *why)
{
    if (sodium_init() < 0)
        return error_set(why, ERROR_INTERNAL, "load the chat: libsodium cannot be used here");
    struct chat *chat = calloc(1, sizeof *chat);
    if (chat == NULL)
        return error_set(why, ERROR_NO_MEMORY, "load the chat: out of memory");
    chat->store = store;
    chat->limits = *limits;
    if (chat->limits.message_bytes > CHAT_MESSAGE_BYTES_MAX) /* what chat_apply takes */
        chat->limits.message_bytes = CHAT_MESSAGE_BYTES_MAX;
    if (chat->limits.history_on_join > CHAT_PAGE_EVENTS)
        chat->limits.history_on_join = CHAT_PAGE_EVENTS;
    if (observer != NULL)
        chat->observer = *observer;
    chat->monotonic_ms = monotonic_ms;
    chat_set_random(chat, NULL);
    state_init(&chat->state);
    enum error error = load_state(&chat->state, store, why);
    if (error != OK) {
        chat_close(chat);
        return error;
    }
    mark_all_seen(chat, &chat->state);
    *out = chat;
    return OK;
}

void chat_close(struct chat *chat)
{
    if (chat == NULL)
        return;
    state_release(&chat->state);
    free(chat);
}

/* ---- reload ---- */

/* Carries over what no row has, in the order in which sessions were heard. */
static void keep_seen(struct state *from, struct state *to)
{
    for (struct chat_session *old = from->present_first; old != NULL; old = old->present_next) {
        struct chat_session *session = state_session(to, old->id);
        if (session != NULL)
            state_mark_seen(to, session, old->last_seen_ms);
    }
}

static void keep_sessions(struct chat *chat, struct state *from, struct state *to)
{
    struct chat_session *session, *next;
    keep_seen(from, to);
    HASH_ITER(by_id, to->sessions_by_id, session, next) {
        struct chat_session *old = state_session(from, session->id);
        if (old == NULL) {
            state_mark_seen(to, session, chat->monotonic_ms);
            rate_init(&session->rate, chat->limits.requests_per_second, chat->monotonic_ms);
            continue;
        }
        session->attachment = old->attachment;
        session->last_seen_ms = old->last_seen_ms;
        session->rate = old->rate;
        old->attachment = NULL;
    }
}

/* Sessions that only the undone transaction knew must not take their attachments with them. */
static void end_strays(struct chat *chat, struct state *from)
{
    struct chat_session *session, *next;
    HASH_ITER(by_id, from->sessions_by_id, session, next)
        if (session->attachment != NULL && chat->observer.session_ended != NULL)
            chat->observer.session_ended(chat->observer.context, session);
}

static void keep_delivered(struct state *from, struct state *to)
{
    for (const struct account *old = from->dirty; old != NULL; old = old->dirty_next) {
        struct account *account = state_account(to, old->id);
        uint64_t seq = old->noted_seq < to->last.seq ? old->noted_seq : to->last.seq;
        if (account != NULL)
            state_note_delivered(to, account, seq);
    }
}

enum error chat_reload(struct chat *chat, struct error_text *why)
{
    enum error error = chat_move(chat, chat->store, why);
    if (error == OK && chat->observer.reloaded != NULL)
        chat->observer.reloaded(chat->observer.context, store_position(chat->store));
    return error;
}

enum error chat_move(struct chat *chat, struct store *store, struct error_text *why)
{
    struct state fresh;
    state_init(&fresh);
    enum error error = load_state(&fresh, store, why);
    if (error != OK) {
        state_release(&fresh);
        return error;
    }
    keep_sessions(chat, &chat->state, &fresh);
    keep_delivered(&chat->state, &fresh);
    end_strays(chat, &chat->state);
    state_release(&chat->state);
    chat->state = fresh;
    chat->store = store;
    chat->last_outcome = (struct outcome_row){0};
    return OK;
}
