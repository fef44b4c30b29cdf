/* SPDX-License-Identifier: MIT */
#include "chat/chat_internal.h"

#include <sodium.h>
#include <string.h>

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

/* The name is taken; by this very request, sent before? */
static enum chat_decision answer_taken(struct chat *chat, struct chat_call *call,
                                       const struct account *account, const uint8_t *nonce)
{
    struct nonce_match match = {.nonce = nonce};
    enum error error = store_get_account(chat->store, account->id, compare_nonce, &match);
    if (error != OK)
        return call_fail(call, error);
    if (!match.matches)
        return call_refuse(call, STATUS_ALREADY_EXISTS, "The name %s is taken; choose another one.",
                           account->name);
    call->text = arena_strdup(call->arena, account->name);
    return call->text == NULL ? call_fail(call, ERROR_NO_MEMORY) : CHAT_ANSWER;
}

static enum chat_decision check(struct chat *chat, struct chat_call *call,
                                const Jackdaw__RegisterRequest *request, struct name *name)
{
    call_begin(call);
    const char *why = name_parse(request->name[0] == '@' ? request->name + 1 : request->name, name);
    if (why != NULL)
        return call_refuse(call, STATUS_INVALID_ARGUMENT, "A name %s; choose another one.", why);
    size_t size = strlen(request->password);
    if (size < 1 || size > CHAT_PASSWORD_BYTES_MAX)
        return call_refuse(call, STATUS_INVALID_ARGUMENT,
                           "A password must have 1 to %d bytes; choose another one.",
                           CHAT_PASSWORD_BYTES_MAX);
    if (request->nonce.len != STORE_NONCE_BYTES)
        return call_refuse(call, STATUS_INVALID_ARGUMENT,
                           "The nonce must have %d bytes; draw it from a random source.",
                           STORE_NONCE_BYTES);
    const struct account *account = state_account_named(&chat->state, name->folded);
    if (account != NULL)
        return answer_taken(chat, call, account, request->nonce.data);
    return CHAT_PROPOSE;
}

enum chat_decision chat_check_register(struct chat *chat, struct chat_call *call,
                                       const Jackdaw__RegisterRequest *request)
{
    struct name name;
    return check(chat, call, request, &name);
}

enum chat_decision chat_propose_register(struct chat *chat, struct chat_call *call,
                                         const Jackdaw__RegisterRequest *request,
                                         const char *password_hash)
{
    struct name name;
    enum chat_decision decision = check(chat, call, request, &name);
    if (decision != CHAT_PROPOSE)
        return decision;
    Jackdaw__AccountRegistered *registered =
        arena_message(call->arena, &jackdaw__account_registered__descriptor);
    if (registered == NULL)
        return call_fail(call, ERROR_NO_MEMORY);
    enum error error = new_account_id(chat, &registered->account);
    if (error != OK)
        return call_fail(call, error);
    registered->name = arena_strdup(call->arena, name.shown);
    registered->password_hash = arena_strdup(call->arena, password_hash);
    registered->nonce.len = STORE_NONCE_BYTES;
    registered->nonce.data = arena_copy(call->arena, request->nonce.data, STORE_NONCE_BYTES);
    if (registered->name == NULL || registered->password_hash == NULL ||
        registered->nonce.data == NULL)
        return call_fail(call, ERROR_NO_MEMORY);
    call->text = registered->name;
    return call_propose(chat, call, 0, JACKDAW__DELTA__CHANGE_ACCOUNT_REGISTERED, registered);
}

struct hash_copy {
    struct arena *arena;
    char *hash;
};

static enum error copy_hash(void *context, const struct account_row *row)
{
    struct hash_copy *copy = context;
    copy->hash = arena_strdup(copy->arena, row->password_hash);
    return copy->hash == NULL ? ERROR_NO_MEMORY : OK;
}

enum error account_hash(struct chat *chat, uint64_t account, struct arena *arena, const char **hash)
{
    struct hash_copy copy = {.arena = arena};
    enum error error = store_get_account(chat->store, account, copy_hash, &copy);
    if (error == OK)
        *hash = copy.hash;
    return error;
}

static enum chat_decision check_alone(struct chat *chat, struct chat_call *call, uint64_t request)
{
    enum chat_decision decision = chat_check_request(chat, call, request);
    if (decision != CHAT_PROPOSE)
        return decision;
    const struct account *account = call->session->account;
    chat_now(chat, call->monotonic_ms);
    for (const struct chat_session *other = account->sessions; other != NULL;
         other = other->next_of_account)
        if (other != call->session && !session_is_silent(chat, other))
            return call_refuse(call, STATUS_FAILED_PRECONDITION,
                               "Another device is logged in as %s; log out there first, or wait a "
                               "minute after closing it.",
                               account->name);
    return CHAT_PROPOSE;
}

enum chat_decision chat_check_delete(struct chat *chat, struct chat_call *call,
                                     const Jackdaw__DeleteAccountRequest *request,
                                     const char **hash)
{
    enum chat_decision decision = check_alone(chat, call, request->request);
    if (decision != CHAT_PROPOSE)
        return decision;
    enum error error = account_hash(chat, call->session->account->id, call->arena, hash);
    return error == OK ? CHAT_PROPOSE : call_fail(call, error);
}

enum chat_decision chat_propose_delete(struct chat *chat, struct chat_call *call,
                                       const Jackdaw__DeleteAccountRequest *request, bool verified)
{
    enum chat_decision decision = check_alone(chat, call, request->request);
    if (decision != CHAT_PROPOSE)
        return decision;
    if (!verified)
        return call_refuse(call, STATUS_PERMISSION_DENIED,
                           "The password is wrong, so the account was not deleted; try again.");
    Jackdaw__AccountDeleted *deleted =
        arena_message(call->arena, &jackdaw__account_deleted__descriptor);
    if (deleted != NULL)
        deleted->account = call->session->account->id;
    return call_propose(chat, call, request->request, JACKDAW__DELTA__CHANGE_ACCOUNT_DELETED,
                        deleted);
}
