/* SPDX-License-Identifier: MIT */
/* Taking over accounts and sessions. */
#include "chat/takeover.h"

#include <sodium.h>

/* ---- accounts ---- */

static bool account_name_is_free(const struct state *state, const char *folded)
{
    return state_account_named(state, folded) == NULL;
}

struct nonce_match {
    const uint8_t *nonce;
    bool matches;
};

static enum error compare_nonce(void *context, const struct account_row *row)
{
    struct nonce_match *match = context;
    match->matches = sodium_memcmp(match->nonce, row->nonce, STORE_NONCE_BYTES) == 0;
    return OK;
}

static enum chat_taking rename_account(struct taking *taking, const Jackdaw__AccountRegistered *old)
{
    struct arena *arena = taking->call->arena;
    Jackdaw__AccountRegistered *renamed = arena_copy(arena, old, sizeof *old);
    char name[CHAT_NAME_BYTES_MAX];
    if (!taking_find_name(taking, old->name, old->account, account_name_is_free, name))
        return taking_drop(taking, "its name is taken, and so are all like it");
    uint64_t room;
    if (renamed == NULL || draw_room_id(taking->chat, &room) != OK)
        return taking_no_memory(taking);
    renamed->name = arena_strdup(arena, name);
    taking->late->account_registered = renamed;
    taking->late->notice_room = room;
    if (renamed->name == NULL ||
        !taking_say(
            taking,
            "Your account is @%s now: while servers were cut off from each other, somebody else "
            "registered @%s. Log in with the new name; the password is the same.",
            name, old->name))
        return taking_no_memory(taking);
    return taking_propose(taking);
}

/* What was said to it when it was taken over before, in yet another half, is said again. */
static enum chat_taking take_with_notice(struct taking *taking)
{
    if (taking->late->notice[0] != '\0' &&
        draw_room_id(taking->chat, &taking->late->notice_room) != OK)
        return taking_no_memory(taking);
    return taking_propose(taking);
}

enum chat_taking take_registered(struct taking *taking)
{
    struct chat *chat = taking->chat;
    const Jackdaw__AccountRegistered *registered = taking->late->account_registered;
    struct name name;
    if (!apply_fits_registered(&taking->apply, &name))
        return taking_drop(taking, "it is malformed");
    enum error error = check_account_id_unused(chat, registered->account);
    if (error == ERROR_EXISTS)
        return CHAT_KNOWN;
    if (error != OK)
        return taking_wait(taking, "the database cannot be read");
    const struct account *other = state_account_named(&chat->state, name.folded);
    if (other == NULL)
        return take_with_notice(taking);
    struct nonce_match match = {.nonce = registered->nonce.data};
    if (store_get_account(chat->store, other->id, compare_nonce, &match) != OK)
        return taking_wait(taking, "the database cannot be read");
    return match.matches ? CHAT_KNOWN : rename_account(taking, registered);
}

/* Nobody knows its name any more, nor its password: it is there for what was said by it. */
static enum chat_taking make_account(struct taking *taking, uint64_t account)
{
    static const uint8_t no_nonce[STORE_NONCE_BYTES];
    struct arena *arena = taking->call->arena;
    Jackdaw__AccountRegistered *made =
        arena_message(arena, &jackdaw__account_registered__descriptor);
    char name[CHAT_NAME_BYTES_MAX];
    if (!taking_find_name(taking, "lost", account, account_name_is_free, name))
        return taking_drop(taking, "no name is free for its account");
    if (made == NULL || (made->name = arena_strdup(arena, name)) == NULL)
        return taking_no_memory(taking);
    made->account = account;
    made->nonce = (ProtobufCBinaryData){sizeof no_nonce, (uint8_t *)(uintptr_t)no_nonce};
    taking->late->change_case = JACKDAW__DELTA__CHANGE_ACCOUNT_REGISTERED;
    taking->late->account_registered = made;
    return taking_propose_first(taking);
}

enum chat_taking taking_missing_account(struct taking *taking, uint64_t account)
{
    enum error error = check_account_id_unused(taking->chat, account);
    if (error == ERROR_EXISTS)
        return taking_drop(taking, "its account was deleted");
    return error == OK && taking->gives_up ? make_account(taking, account)
                                           : taking_wait(taking, "its account is not here yet");
}

/* Who logged in with one token in both halves holds the session that is here; this one is kept for
 * what was said in it, under a token that nobody has. */
static enum error spoil_token(struct taking *taking, Jackdaw__SessionStarted *started)
{
    uint8_t *token = arena_alloc(taking->call->arena, STORE_TOKEN_HASH_BYTES);
    if (token == NULL)
        return ERROR_NO_MEMORY;
    crypto_generichash(token, STORE_TOKEN_HASH_BYTES, started->token_hash.data,
                       started->token_hash.len, (const uint8_t *)&started->session,
                       sizeof started->session);
    started->token_hash.data = token;
    return OK;
}

enum chat_taking taking_make_session(struct taking *taking, uint64_t account)
{
    static const uint8_t no_token[STORE_TOKEN_HASH_BYTES];
    Jackdaw__SessionStarted *made =
        arena_message(taking->call->arena, &jackdaw__session_started__descriptor);
    if (made == NULL)
        return taking_no_memory(taking);
    made->session = taking->late->session;
    made->account = account;
    made->token_hash = (ProtobufCBinaryData){sizeof no_token, (uint8_t *)(uintptr_t)no_token};
    if (spoil_token(taking, made) != OK)
        return taking_no_memory(taking);
    taking->late->change_case = JACKDAW__DELTA__CHANGE_SESSION_STARTED;
    taking->late->session_started = made;
    return taking_propose_first(taking);
}

enum chat_taking take_started(struct taking *taking)
{
    const struct state *state = &taking->chat->state;
    Jackdaw__SessionStarted *started = arena_copy(
        taking->call->arena, taking->late->session_started, sizeof(Jackdaw__SessionStarted));
    if (started == NULL)
        return taking_no_memory(taking);
    if (state_session(state, started->session) != NULL ||
        state_ended_session(state, started->session) != NULL)
        return CHAT_KNOWN;
    if (state_account(state, started->account) == NULL)
        return taking_missing_account(taking, started->account);
    started->n_replaces = 0; /* silent there, but perhaps alive here */
    taking->late->session_started = started;
    if (started->token_hash.len == STORE_TOKEN_HASH_BYTES &&
        state_session_of_token(state, started->token_hash.data) != NULL &&
        spoil_token(taking, started) != OK)
        return taking_no_memory(taking);
    return apply_fits_started(&taking->apply) ? taking_propose(taking)
                                              : taking_drop(taking, "it is malformed");
}

enum chat_taking take_ended(struct taking *taking)
{
    const Jackdaw__SessionEnded *old = taking->late->session_ended;
    const struct chat_session *session = state_session(&taking->chat->state, old->session);
    const struct chat_session *by = taking->apply.session;
    if (session == NULL || (by != NULL && by != session))
        return taking_settle(taking, 0, "the session has ended already");
    Jackdaw__SessionEnded *ended = arena_copy(taking->call->arena, old, sizeof *old);
    if (ended == NULL)
        return taking_no_memory(taking);
    ended->delivered_seq = 0; /* a seq of the other log */
    taking->late->session_ended = ended;
    return taking_propose(taking);
}

enum chat_taking take_deleted(struct taking *taking)
{
    uint64_t account = taking->late->account_deleted->account;
    if (state_account(&taking->chat->state, account) == NULL)
        return CHAT_KNOWN;
    return apply_is_by(&taking->apply, account) ? taking_propose(taking)
                                                : taking_settle(taking, 0, "it is malformed");
}
