/* SPDX-License-Identifier: MIT */
/* Taking over accounts and sessions. */
#include "chat/merge.h"

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

static enum chat_merge rename_account(struct merge *merge, const Jackdaw__AccountRegistered *old)
{
    struct arena *arena = merge->call->arena;
    Jackdaw__AccountRegistered *renamed = arena_copy(arena, old, sizeof *old);
    char name[CHAT_NAME_BYTES_MAX];
    if (!merge_find_name(merge, old->name, old->account, account_name_is_free, name))
        return merge_drop(merge, "its name is taken, and so are all like it");
    uint64_t room;
    if (renamed == NULL || new_room_id(merge->chat, &room) != OK)
        return merge_no_memory(merge);
    renamed->name = arena_strdup(arena, name);
    merge->late->account_registered = renamed;
    merge->late->notice_room = room;
    if (renamed->name == NULL ||
        !merge_notice(
            merge,
            "Your account is @%s now: while servers were cut off from each other, somebody else "
            "registered @%s. Log in with the new name; the password is the same.",
            name, old->name))
        return merge_no_memory(merge);
    return merge_propose(merge);
}

/* What was said to it when it was taken over before, in yet another half, is said again. */
static enum chat_merge merge_with_notice(struct merge *merge)
{
    if (merge->late->notice[0] != '\0' && new_room_id(merge->chat, &merge->late->notice_room) != OK)
        return merge_no_memory(merge);
    return merge_propose(merge);
}

enum chat_merge merge_registered(struct merge *merge)
{
    struct chat *chat = merge->chat;
    const Jackdaw__AccountRegistered *registered = merge->late->account_registered;
    struct name name;
    if (!apply_fits_registered(&merge->apply, &name))
        return merge_drop(merge, "it is malformed");
    enum error error = check_account_id_unused(chat, registered->account);
    if (error == ERROR_EXISTS)
        return CHAT_KNOWN;
    if (error != OK)
        return merge_wait(merge, "the database cannot be read");
    const struct account *other = state_account_named(&chat->state, name.folded);
    if (other == NULL)
        return merge_with_notice(merge);
    struct nonce_match match = {.nonce = registered->nonce.data};
    if (store_get_account(chat->store, other->id, compare_nonce, &match) != OK)
        return merge_wait(merge, "the database cannot be read");
    return match.matches ? CHAT_KNOWN : rename_account(merge, registered);
}

/* Nobody knows its name any more, nor its password: it is there for what was said by it. */
static enum chat_merge make_account(struct merge *merge, uint64_t account)
{
    static const uint8_t no_nonce[STORE_NONCE_BYTES];
    struct arena *arena = merge->call->arena;
    Jackdaw__AccountRegistered *made =
        arena_message(arena, &jackdaw__account_registered__descriptor);
    char name[CHAT_NAME_BYTES_MAX];
    if (!merge_find_name(merge, "lost", account, account_name_is_free, name))
        return merge_drop(merge, "no name is free for its account");
    if (made == NULL || (made->name = arena_strdup(arena, name)) == NULL)
        return merge_no_memory(merge);
    made->account = account;
    made->nonce = (ProtobufCBinaryData){sizeof no_nonce, (uint8_t *)(uintptr_t)no_nonce};
    merge->late->change_case = JACKDAW__DELTA__CHANGE_ACCOUNT_REGISTERED;
    merge->late->account_registered = made;
    return merge_propose_first(merge);
}

enum chat_merge merge_missing_account(struct merge *merge, uint64_t account)
{
    enum error error = check_account_id_unused(merge->chat, account);
    if (error == ERROR_EXISTS)
        return merge_drop(merge, "its account was deleted");
    return error == OK && merge->gives_up ? make_account(merge, account)
                                          : merge_wait(merge, "its account is not here yet");
}

/* Who logged in with one token in both halves holds the session that is here; this one is kept for
 * what was said in it, under a token that nobody has. */
static enum error spoil_token(struct merge *merge, Jackdaw__SessionStarted *started)
{
    uint8_t *token = arena_alloc(merge->call->arena, STORE_TOKEN_HASH_BYTES);
    if (token == NULL)
        return ERROR_NO_MEMORY;
    crypto_generichash(token, STORE_TOKEN_HASH_BYTES, started->token_hash.data,
                       started->token_hash.len, (const uint8_t *)&started->session,
                       sizeof started->session);
    started->token_hash.data = token;
    return OK;
}

enum chat_merge merge_make_session(struct merge *merge, uint64_t account)
{
    static const uint8_t no_token[STORE_TOKEN_HASH_BYTES];
    Jackdaw__SessionStarted *made =
        arena_message(merge->call->arena, &jackdaw__session_started__descriptor);
    if (made == NULL)
        return merge_no_memory(merge);
    made->session = merge->late->session;
    made->account = account;
    made->token_hash = (ProtobufCBinaryData){sizeof no_token, (uint8_t *)(uintptr_t)no_token};
    if (spoil_token(merge, made) != OK)
        return merge_no_memory(merge);
    merge->late->change_case = JACKDAW__DELTA__CHANGE_SESSION_STARTED;
    merge->late->session_started = made;
    return merge_propose_first(merge);
}

enum chat_merge merge_started(struct merge *merge)
{
    const struct state *state = &merge->chat->state;
    Jackdaw__SessionStarted *started = arena_copy(merge->call->arena, merge->late->session_started,
                                                  sizeof(Jackdaw__SessionStarted));
    if (started == NULL)
        return merge_no_memory(merge);
    if (state_session(state, started->session) != NULL ||
        state_ended_session(state, started->session) != NULL)
        return CHAT_KNOWN;
    if (state_account(state, started->account) == NULL)
        return merge_missing_account(merge, started->account);
    started->n_replaces = 0; /* silent there, but perhaps alive here */
    merge->late->session_started = started;
    if (started->token_hash.len == STORE_TOKEN_HASH_BYTES &&
        state_session_of_token(state, started->token_hash.data) != NULL &&
        spoil_token(merge, started) != OK)
        return merge_no_memory(merge);
    return apply_fits_started(&merge->apply) ? merge_propose(merge)
                                             : merge_drop(merge, "it is malformed");
}

enum chat_merge merge_ended(struct merge *merge)
{
    const Jackdaw__SessionEnded *old = merge->late->session_ended;
    const struct chat_session *session = state_session(&merge->chat->state, old->session);
    const struct chat_session *by = merge->apply.session;
    if (session == NULL || (by != NULL && by != session))
        return merge_no_effect(merge, 0, "the session has ended already");
    Jackdaw__SessionEnded *ended = arena_copy(merge->call->arena, old, sizeof *old);
    if (ended == NULL)
        return merge_no_memory(merge);
    ended->delivered_seq = 0; /* a seq of the other log */
    merge->late->session_ended = ended;
    return merge_propose(merge);
}

enum chat_merge merge_deleted(struct merge *merge)
{
    uint64_t account = merge->late->account_deleted->account;
    if (state_account(&merge->chat->state, account) == NULL)
        return CHAT_KNOWN;
    return apply_is_by(&merge->apply, account) ? merge_propose(merge)
                                               : merge_no_effect(merge, 0, "it is malformed");
}
