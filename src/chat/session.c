/* SPDX-License-Identifier: MIT */
#include "base/text.h"
#include "chat/apply.h"

#include <sodium.h>
#include <string.h>

/* The hash for unknown names: as costly as any other, matched by no password. */
static const char nobodys_hash[] = "$argon2id$v=19$m=65536,t=2,p=1$"
                                   "amFja2Rhd3NhbHRub2JvZA$"
                                   "bm9wYXNzd29yZGhhc3RoaXNoYXNoYXRhbGxldmVyISE";

static void hash_token(const uint8_t token[static CHAT_TOKEN_BYTES],
                       uint8_t hash[static STORE_TOKEN_HASH_BYTES])
{
    crypto_generichash(hash, STORE_TOKEN_HASH_BYTES, token, CHAT_TOKEN_BYTES, NULL, 0);
}

struct chat_session *chat_authenticate(struct chat *chat, const uint8_t *token, size_t size)
{
    if (token == NULL || size != CHAT_TOKEN_BYTES)
        return NULL;
    uint8_t hash[STORE_TOKEN_HASH_BYTES];
    hash_token(token, hash);
    return state_session_of_token(&chat->state, hash);
}

struct chat_session *chat_find_session(struct chat *chat, uint64_t id)
{
    return state_session(&chat->state, id);
}

uint64_t chat_session_id(const struct chat_session *session)
{
    return session->id;
}

uint64_t chat_session_account(const struct chat_session *session)
{
    return session->account->id;
}

const char *chat_session_name(const struct chat_session *session)
{
    return session->account->name;
}

uint64_t chat_session_last_request(const struct chat_session *session)
{
    return session->last_request;
}

void **chat_session_attachment(struct chat_session *session)
{
    return &session->attachment;
}

bool chat_admit(struct chat *chat, struct chat_session *session, uint64_t monotonic_ms,
                uint32_t *retry_ms)
{
    return rate_take(&session->rate, chat->limits.requests_per_second, chat_now(chat, monotonic_ms),
                     retry_ms);
}

void chat_each_session(struct chat *chat,
                       void (*visit)(void *context, struct chat_session *session), void *context)
{
    struct chat_session *session, *next;
    HASH_ITER(by_id, chat->state.sessions_by_id, session, next)
        visit(context, session);
}

/* ---- login ---- */

static struct account *account_of_login(struct chat *chat, const Jackdaw__LoginRequest *request)
{
    const char *text = request->name[0] == '@' ? request->name + 1 : request->name;
    char folded[NAME_FOLDED_SIZE];
    return name_fold(text, folded) ? state_account_named(&chat->state, folded) : NULL;
}

static enum chat_decision check_login(struct chat_call *call, const Jackdaw__LoginRequest *request)
{
    chat_call_begin(call);
    if (request->token.len != CHAT_TOKEN_BYTES)
        return chat_call_refuse(call, STATUS_INVALID_ARGUMENT,
                                "The token must have %d bytes; draw it from a random source.",
                                CHAT_TOKEN_BYTES);
    size_t size = strlen(request->device);
    if (size > CHAT_DEVICE_BYTES_MAX || !text_is_utf8(request->device, size) ||
        text_has_unsafe(request->device))
        return chat_call_refuse(
            call, STATUS_INVALID_ARGUMENT,
            "The device's name must be one line of at most %d bytes of UTF-8, without "
            "control characters and marks of direction.",
            CHAT_DEVICE_BYTES_MAX);
    return CHAT_PROPOSE;
}

/* Finds the account name~2, for a user whose account was renamed meanwhile. Names are not
 * secret. */
static const struct account *renamed(struct chat *chat, const Jackdaw__LoginRequest *request)
{
    const char *text = request->name[0] == '@' ? request->name + 1 : request->name;
    char folded[NAME_FOLDED_SIZE + 2];
    if (!name_fold(text, folded) || strlen(folded) + 3 > NAME_FOLDED_SIZE)
        return NULL;
    memcpy(folded + strlen(folded), "~2", 3);
    return state_account_named(&chat->state, folded);
}

static enum chat_decision refuse_login(struct chat *chat, struct chat_call *call,
                                       const Jackdaw__LoginRequest *request)
{
    const struct account *other = renamed(chat, request);
    if (other == NULL)
        return chat_call_refuse(call, STATUS_UNAUTHENTICATED,
                                "There is no such account, or the password is wrong; check both.");
    return chat_call_refuse(call, STATUS_UNAUTHENTICATED,
                            "There is no such account, or the password is wrong; check both. An "
                            "account that was renamed because two had one name may be @%s.",
                            other->name);
}

enum chat_decision chat_check_login(struct chat *chat, struct chat_call *call,
                                    const Jackdaw__LoginRequest *request, const char **hash)
{
    call->account = 0;
    enum chat_decision decision = check_login(call, request);
    if (decision != CHAT_PROPOSE)
        return decision;
    const struct account *account = account_of_login(chat, request);
    if (account == NULL) {
        *hash = nobodys_hash;
        return CHAT_PROPOSE;
    }
    enum error error = account_hash(chat, account->id, call->arena, hash);
    if (error != OK)
        return chat_call_fail(call, error);
    call->account = account->id;
    return CHAT_PROPOSE;
}

/* The token is known: the same login again, or the token of another session. */
static enum chat_decision answer_known(struct chat_call *call, struct chat_session *session,
                                       const struct account *account)
{
    if (session->account != account)
        return chat_call_refuse(call, STATUS_INVALID_ARGUMENT,
                                "The token is in use; draw another one from a random source.");
    call->session = session;
    return CHAT_ANSWER;
}

static bool is_replaced(const Jackdaw__SessionStarted *started, uint64_t session)
{
    for (size_t i = 0; i < started->n_replaces; i++)
        if (started->replaces[i] == session)
            return true;
    return false;
}

/* The session that has been silent for longest, except those replaced. */
static struct chat_session *longest_unheard(const struct account *account,
                                            const Jackdaw__SessionStarted *started)
{
    struct chat_session *longest = NULL;
    for (struct chat_session *session = account->sessions; session != NULL;
         session = session->next_of_account)
        if (!is_replaced(started, session->id) &&
            (longest == NULL || session->last_seen_ms < longest->last_seen_ms))
            longest = session;
    return longest;
}

uint32_t session_silent_in_ms(const struct chat *chat, const struct chat_session *session)
{
    uint64_t silence_ms = chat->limits.session_silence_ms;
    uint64_t silent_ms = chat->monotonic_ms - session->last_seen_ms;
    return silent_ms < silence_ms ? (uint32_t)(silence_ms - silent_ms) : 1;
}

/* longest: the first of the devices that may fall silent. */
static enum chat_decision refuse_device(struct chat *chat, struct chat_call *call, size_t count,
                                        const struct chat_session *longest)
{
    enum chat_decision decision = chat_call_refuse(
        call, STATUS_RESOURCE_EXHAUSTED,
        "%zu %s logged in already; log out on one of them, replace one, or wait until one of them "
        "has been silent for %llu s.",
        count, count == 1 ? "device is" : "devices are",
        ((unsigned long long)chat->limits.session_silence_ms + 999) / 1000);
    call->retry_ms = session_silent_in_ms(chat, longest);
    return decision;
}

/* Chooses the sessions that end, so that with the new one there are not too many: the one that the
 * user has named, then silent ones. CHAT_ANSWER: the user wants to choose first. */
static enum chat_decision make_room(struct chat *chat, struct chat_call *call,
                                    const struct account *account,
                                    const Jackdaw__LoginRequest *request,
                                    Jackdaw__SessionStarted *started)
{
    size_t count = 0;
    for (const struct chat_session *session = account->sessions; session != NULL;
         session = session->next_of_account)
        count++;
    size_t limit = chat->limits.sessions_per_account;
    if (count < limit)
        return CHAT_PROPOSE;
    started->replaces = arena_alloc(call->arena, count * sizeof *started->replaces);
    if (started->replaces == NULL)
        return chat_call_fail(call, ERROR_NO_MEMORY);
    const struct chat_session *named = state_session(&chat->state, request->replaces);
    if (named != NULL && named->account == account)
        started->replaces[started->n_replaces++] = named->id;
    while (count - started->n_replaces >= limit) {
        const struct chat_session *session = longest_unheard(account, started);
        if (!presence_is_silent(chat, session))
            return request->choose && request->replaces == 0
                       ? CHAT_ANSWER
                       : refuse_device(chat, call, count - started->n_replaces, session);
        started->replaces[started->n_replaces++] = session->id;
    }
    return CHAT_PROPOSE;
}

static enum chat_decision propose_session(struct chat *chat, struct chat_call *call,
                                          const Jackdaw__LoginRequest *request,
                                          const struct account *account,
                                          const uint8_t hash[static STORE_TOKEN_HASH_BYTES])
{
    Jackdaw__SessionStarted *started =
        chat_arena_message(call->arena, &jackdaw__session_started__descriptor);
    if (started == NULL)
        return chat_call_fail(call, ERROR_NO_MEMORY);
    enum chat_decision decision = make_room(chat, call, account, request, started);
    if (decision != CHAT_PROPOSE)
        return decision;
    enum error error = id_new_session(chat, &started->session);
    if (error != OK)
        return chat_call_fail(call, error);
    started->account = account->id;
    started->token_hash.len = STORE_TOKEN_HASH_BYTES;
    started->token_hash.data = arena_copy(call->arena, hash, STORE_TOKEN_HASH_BYTES);
    started->device = arena_strdup(call->arena, request->device);
    if (started->token_hash.data == NULL || started->device == NULL)
        return chat_call_fail(call, ERROR_NO_MEMORY);
    return chat_call_propose(chat, call, 0, JACKDAW__DELTA__CHANGE_SESSION_STARTED, started);
}

enum chat_decision chat_propose_login(struct chat *chat, struct chat_call *call,
                                      const Jackdaw__LoginRequest *request, bool verified)
{
    enum chat_decision decision = check_login(call, request);
    if (decision != CHAT_PROPOSE)
        return decision;
    /* The account that the password was verified for, not one that took its name since. */
    const struct account *account = state_account(&chat->state, call->account);
    if (!verified || account == NULL)
        return refuse_login(chat, call, request);
    chat_now(chat, call->monotonic_ms);
    uint8_t hash[STORE_TOKEN_HASH_BYTES];
    hash_token(request->token.data, hash);
    struct chat_session *session = state_session_of_token(&chat->state, hash);
    if (session != NULL)
        return answer_known(call, session, account);
    return propose_session(chat, call, request, account, hash);
}

enum chat_decision chat_propose_logout(struct chat *chat, struct chat_call *call,
                                       const Jackdaw__LogoutRequest *request)
{
    enum chat_decision decision = chat_check_request(chat, call, request->request);
    if (decision != CHAT_PROPOSE)
        return decision;
    Jackdaw__SessionEnded *ended =
        chat_arena_message(call->arena, &jackdaw__session_ended__descriptor);
    if (ended != NULL) {
        ended->session = call->session->id;
        ended->delivered_seq = chat_common_seq_of(chat, request->after, NULL, 0);
    }
    return chat_call_propose(chat, call, request->request, JACKDAW__DELTA__CHANGE_SESSION_ENDED,
                             ended);
}

/* ---- applying ---- */

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

enum error apply_bring_back(struct apply *apply, struct account *account)
{
    struct state *state = &apply->chat->state;
    apply->session =
        state_add_ended_session(state, apply->delta->session, account, apply->position.seq);
    if (apply->session == NULL)
        return ERROR_NO_MEMORY;
    enum error error = store_ended(apply, apply->session);
    struct chat_session *oldest = state_oldest_ended(state);
    return error == OK && oldest != NULL ? apply_forget_session(apply, oldest) : error;
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
        presence_emit(chat, account, row.started_ms);
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
        presence_emit(chat, account, apply->delta->time_ms);
    return OK;
}
