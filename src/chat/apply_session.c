/* SPDX-License-Identifier: MIT */
#include "chat/apply.h"
#include "chat/text.h"

#include <sodium.h>
#include <string.h>

static void tell_ended(struct apply *apply, struct chat_session *session)
{
    const struct chat_observer *observer = &apply->chat->observer;
    if (observer->session_ended != NULL)
        observer->session_ended(observer->context, session);
}

enum error apply_forget_session(struct apply *apply, struct chat_session *session)
{
    enum error error = store_delete_session(apply->chat->store, session->id);
    if (error != OK)
        return error;
    if (!session->ended)
        tell_ended(apply, session);
    if (apply->session == session) {
        apply->session = NULL;
        apply->is_answered = true;
    }
    state_remove_session(&apply->chat->state, session);
    return OK;
}

/* An ended session's row: a token that nothing hashes to, and when it ended instead of when it
 * started. */
static enum error store_ended(struct apply *apply, const struct chat_session *session)
{
    return store_put_session(apply->chat->store, &(struct session_row){
                                                     .id = session->id,
                                                     .account = session->account->id,
                                                     .device = "",
                                                     .started_ms = apply->position.seq,
                                                 });
}

enum error apply_end_session(struct apply *apply, struct chat_session *session)
{
    struct state *state = &apply->chat->state;
    enum error error = store_ended(apply, session);
    if (error != OK)
        return error;
    tell_ended(apply, session);
    if (!state_end_session(state, session, apply->position.seq))
        return ERROR_NO_MEMORY;
    struct chat_session *oldest = state_oldest_ended(state);
    return oldest == NULL ? OK : apply_forget_session(apply, oldest);
}

bool apply_fits_started(const struct apply *apply)
{
    const struct state *state = &apply->chat->state;
    const Jackdaw__SessionStarted *started = apply->delta->session_started;
    return started->session != 0 && state_session(state, started->session) == NULL &&
           state_ended_session(state, started->session) == NULL &&
           started->token_hash.len == STORE_TOKEN_HASH_BYTES &&
           !sodium_is_zero(started->token_hash.data, STORE_TOKEN_HASH_BYTES) &&
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
    if (account == NULL || !apply_fits_started(apply))
        return ERROR_CORRUPT;
    bool was_online = account->present > 0;
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
    state_mark_seen(&chat->state, session, chat->monotonic_ms);
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
    bool was_online = account->present > 0;
    enum error error = apply_outcome(apply, (struct outcome_row){.room = 0});
    if (error == OK)
        error = apply_end_session(apply, session);
    if (error != OK)
        return error;
    state_note_delivered(&chat->state, account, ended->delivered_seq);
    state_apply_delivered(&chat->state, account, ended->delivered_seq);
    if (was_online && account->present == 0)
        emit_presence(chat, account, apply->delta->time_ms);
    return OK;
}
