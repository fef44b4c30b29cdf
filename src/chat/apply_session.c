/* SPDX-License-Identifier: MIT */
#include "chat/apply.h"
#include "chat/text.h"

#include <string.h>

enum error apply_end_session(struct apply *apply, struct chat_session *session)
{
    struct chat *chat = apply->chat;
    enum error error = store_delete_session(chat->store, session->id);
    if (error != OK)
        return error;
    if (chat->observer.session_ended != NULL)
        chat->observer.session_ended(chat->observer.context, session);
    if (apply->session == session) {
        apply->session = NULL;
        apply->is_answered = true;
    }
    state_remove_session(&chat->state, session);
    return OK;
}

static bool is_well_formed(const struct state *state, const Jackdaw__SessionStarted *started)
{
    return started->session != 0 && state_session(state, started->session) == NULL &&
           started->token_hash.len == STORE_TOKEN_HASH_BYTES &&
           state_session_of_token(state, started->token_hash.data) == NULL &&
           started->device != NULL && strlen(started->device) <= CHAT_DEVICE_BYTES_MAX &&
           text_is_utf8(started->device, strlen(started->device));
}

static enum error replace_sessions(struct apply *apply, const struct account *account,
                                   const Jackdaw__SessionStarted *started)
{
    for (size_t i = 0; i < started->n_replaces; i++) {
        struct chat_session *session = state_session(&apply->chat->state, started->replaces[i]);
        if (session == NULL || session->account != account)
            return ERROR_CORRUPT;
        enum error error = apply_end_session(apply, session);
        if (error != OK)
            return error;
    }
    return OK;
}

enum error apply_session_started(struct apply *apply)
{
    struct chat *chat = apply->chat;
    const Jackdaw__SessionStarted *started = apply->delta->session_started;
    struct account *account = state_account(&chat->state, started->account);
    if (account == NULL || !is_well_formed(&chat->state, started))
        return ERROR_CORRUPT;
    bool was_online = account->heard > 0;
    enum error error = replace_sessions(apply, account, started);
    if (error != OK)
        return error;
    struct session_row row = {
        .id = started->session,
        .account = account->id,
        .device = started->device,
        .started_ms = apply->delta->time_ms,
    };
    memcpy(row.token_hash, started->token_hash.data, sizeof row.token_hash);
    error = store_put_session(chat->store, &row);
    if (error != OK)
        return error;
    struct chat_session *session = state_add_session(&chat->state, row.id, account, row.token_hash);
    if (session == NULL)
        return ERROR_NO_MEMORY;
    rate_init(&session->rate, chat->limits.requests_per_second, chat->monotonic_ms);
    state_hear(&chat->state, session, chat->monotonic_ms);
    if (!was_online)
        emit_presence(chat, account, row.started_ms);
    return OK;
}

enum error apply_session_ended(struct apply *apply)
{
    struct chat *chat = apply->chat;
    const Jackdaw__SessionEnded *ended = apply->delta->session_ended;
    struct chat_session *session = state_session(&chat->state, ended->session);
    bool is_own = apply->session == NULL || apply->session == session;
    if (session == NULL || !is_own || ended->delivered_seq > chat->state.last.seq)
        return ERROR_CORRUPT;
    struct account *account = session->account;
    if (ended->delivered_seq > account->delivered_seq) {
        enum error error = store_set_delivered(chat->store, account->id, ended->delivered_seq);
        if (error != OK)
            return error;
    }
    bool was_online = account->heard > 0;
    enum error error = apply_end_session(apply, session);
    if (error != OK)
        return error;
    state_note_delivered(&chat->state, account, ended->delivered_seq);
    state_apply_delivered(&chat->state, account, ended->delivered_seq);
    if (was_online && account->heard == 0)
        emit_presence(chat, account, apply->delta->time_ms);
    return OK;
}
