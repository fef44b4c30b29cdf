/* SPDX-License-Identifier: MIT */
#include "chat/merge.h"
#include "chat/password.h"

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

/* The name is taken. Returns whether this request itself registered it in an earlier attempt. */
static enum chat_decision answer_taken(struct chat *chat, struct chat_call *call,
                                       const struct account *account, const uint8_t *nonce)
{
    struct nonce_match match = {.nonce = nonce};
    enum error error = store_get_account(chat->store, account->id, compare_nonce, &match);
    if (error != OK)
        return chat_call_fail(call, error);
    if (!match.matches)
        return chat_call_refuse(call, STATUS_ALREADY_EXISTS,
                                "The name %s is taken; choose another one.", account->name);
    call->text = arena_strdup(call->arena, account->name);
    return call->text == NULL ? chat_call_fail(call, ERROR_NO_MEMORY) : CHAT_ANSWER;
}

static enum chat_decision check(struct chat *chat, struct chat_call *call,
                                const Jackdaw__RegisterRequest *request, struct name *name)
{
    chat_call_begin(call);
    const char *why = name_parse(request->name[0] == '@' ? request->name + 1 : request->name, name);
    if (why != NULL)
        return chat_call_refuse(call, STATUS_INVALID_ARGUMENT, "A name %s; choose another one.",
                                why);
    size_t size = strlen(request->password);
    if (size < 1 || size > CHAT_PASSWORD_BYTES_MAX)
        return chat_call_refuse(call, STATUS_INVALID_ARGUMENT,
                                "A password must have 1 to %d bytes; choose another one.",
                                CHAT_PASSWORD_BYTES_MAX);
    if (request->nonce.len != STORE_NONCE_BYTES)
        return chat_call_refuse(call, STATUS_INVALID_ARGUMENT,
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
        chat_arena_message(call->arena, &jackdaw__account_registered__descriptor);
    if (registered == NULL)
        return chat_call_fail(call, ERROR_NO_MEMORY);
    enum error error = id_new_account(chat, &registered->account);
    if (error != OK)
        return chat_call_fail(call, error);
    registered->name = arena_strdup(call->arena, name.shown);
    registered->password_hash = arena_strdup(call->arena, password_hash);
    registered->nonce.len = STORE_NONCE_BYTES;
    registered->nonce.data = arena_copy(call->arena, request->nonce.data, STORE_NONCE_BYTES);
    if (registered->name == NULL || registered->password_hash == NULL ||
        registered->nonce.data == NULL)
        return chat_call_fail(call, ERROR_NO_MEMORY);
    call->text = registered->name;
    return chat_call_propose(chat, call, 0, JACKDAW__DELTA__CHANGE_ACCOUNT_REGISTERED, registered);
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
        if (other != call->session && !presence_is_silent(chat, other))
            return chat_call_refuse(
                call, STATUS_FAILED_PRECONDITION,
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
    return error == OK ? CHAT_PROPOSE : chat_call_fail(call, error);
}

enum chat_decision chat_propose_delete(struct chat *chat, struct chat_call *call,
                                       const Jackdaw__DeleteAccountRequest *request, bool verified)
{
    enum chat_decision decision = check_alone(chat, call, request->request);
    if (decision != CHAT_PROPOSE)
        return decision;
    if (!verified)
        return chat_call_refuse(
            call, STATUS_PERMISSION_DENIED,
            "The password is wrong, so the account was not deleted; try again.");
    Jackdaw__AccountDeleted *deleted =
        chat_arena_message(call->arena, &jackdaw__account_deleted__descriptor);
    if (deleted != NULL)
        deleted->account = call->session->account->id;
    return chat_call_propose(chat, call, request->request, JACKDAW__DELTA__CHANGE_ACCOUNT_DELETED,
                             deleted);
}

/* ---- applying ---- */

/* The account's conversation with itself holds the server's notices to it. */
static enum error tell_of_itself(struct apply *apply, struct account *account)
{
    if (apply->delta->notice == NULL || apply->delta->notice[0] == '\0')
        return OK;
    struct room *room;
    enum error error =
        apply_make_direct(apply, apply->delta->notice_room, account, account->id, &room);
    return error == OK ? apply_notice(apply, room, account->id) : error;
}

bool apply_fits_registered(const struct apply *apply, struct name *name)
{
    const Jackdaw__AccountRegistered *registered = apply->delta->account_registered;
    return registered->account != 0 && registered->name != NULL &&
           name_accept(registered->name, name) && registered->password_hash != NULL &&
           strlen(registered->password_hash) < PASSWORD_HASH_SIZE &&
           registered->nonce.len == STORE_NONCE_BYTES;
}

enum error apply_account_registered(struct apply *apply)
{
    struct chat *chat = apply->chat;
    const Jackdaw__AccountRegistered *registered = apply->delta->account_registered;
    struct name name;
    if (!apply_fits_registered(apply, &name) ||
        state_account_named(&chat->state, name.folded) != NULL)
        return ERROR_CORRUPT;
    enum error error = id_check_account_unused(chat, registered->account);
    if (error != OK)
        return error == ERROR_EXISTS ? ERROR_CORRUPT : error;
    struct account *account =
        state_add_account(&chat->state, registered->account, name.shown, name.folded, true);
    if (account == NULL)
        return ERROR_NO_MEMORY;
    account->created_ms = apply->delta->time_ms;
    struct account_row row = {
        .id = account->id,
        .name = account->name,
        .folded = account->folded,
        .password_hash = registered->password_hash,
        .created_ms = account->created_ms,
    };
    memcpy(row.nonce, registered->nonce.data, STORE_NONCE_BYTES);
    error = store_put_account(chat->store, &row);
    return error == OK ? tell_of_itself(apply, account) : error;
}

/* ---- deletion ---- */

/* The rest of a deleted account: an id that is never used again, under a name that no user can
 * register. */
static enum error store_tombstone(struct apply *apply, const struct account *account)
{
    char name[CHAT_NAME_BYTES_MAX];
    name_tombstone(account->id, name);
    uint64_t deleted_ms = apply->delta->time_ms;
    return store_put_account(apply->chat->store, &(struct account_row){
                                                     .id = account->id,
                                                     .name = name,
                                                     .folded = name,
                                                     .password_hash = "",
                                                     .created_ms = account->created_ms,
                                                     .deleted_ms = deleted_ms == 0 ? 1 : deleted_ms,
                                                     .delivered_seq = account->delivered_seq,
                                                 });
}

static bool ends_with(const struct room *room, const struct member *last)
{
    return member_is_in(last) && room->members.count == 1 &&
           (room->is_private || room_is_direct(room));
}

static enum error store_removal(struct apply *apply, const struct member *member)
{
    struct store *store = apply->chat->store;
    struct room *room = member->room;
    uint64_t account = member->account->id;
    if (ends_with(room, member))
        return store_delete_room(store, room->id);
    if (member->state == MEMBER_IN) {
        struct timeline_row row =
            apply_row(apply, room, JACKDAW__EVENT__KIND__REMOVED, account, 0, "");
        uint64_t owner = apply_successor(room, account);
        enum error error = apply_store_row(apply, room, &row);
        if (error == OK && owner != room->owner)
            error = apply_store_owner(apply, room, owner);
        if (error != OK)
            return error;
    }
    return store_delete_member(store, room->id, account);
}

/* The same in memory; cannot fail. */
static void carry_out_removal(struct apply *apply, struct member *member)
{
    struct room *room = member->room;
    if (ends_with(room, member)) {
        state_remove_room(&apply->chat->state, room);
        return;
    }
    bool was_in = member->state == MEMBER_IN;
    struct timeline_row row =
        apply_row(apply, room, JACKDAW__EVENT__KIND__REMOVED, member->account->id, 0, "");
    uint64_t owner = apply_successor(room, member->account->id);
    bool has_new_owner = owner != room->owner;
    room->owner = owner;
    state_remove_member(member);
    if (was_in)
        apply_emit_row(apply, &row);
    if (has_new_owner)
        apply_emit_owner(apply, room, owner);
}

static enum error forget_ended(struct apply *apply, const struct account *account)
{
    struct chat_session *session, *next;
    HASH_ITER(by_ended, apply->chat->state.sessions_ended, session, next) {
        if (session->account != account)
            continue;
        enum error error = apply_forget_session(apply, session);
        if (error != OK)
            return error;
    }
    return OK;
}

enum error apply_account_deleted(struct apply *apply)
{
    struct state *state = &apply->chat->state;
    struct account *account = state_account(state, apply->delta->account_deleted->account);
    if (account == NULL || !apply_is_by(apply, account->id))
        return ERROR_CORRUPT;
    enum error error = store_tombstone(apply, account);
    for (uint32_t i = 0; error == OK && i < account->memberships_count; i++)
        error = store_removal(apply, account->memberships[i]);
    while (error == OK && account->sessions != NULL)
        error = apply_forget_session(apply, account->sessions);
    if (error == OK)
        error = forget_ended(apply, account);
    if (error != OK)
        return error;
    while (account->memberships_count > 0)
        carry_out_removal(apply,
                          account->memberships[0]); /* events in the order they are read in */
    state_remove_account(state, account);
    return OK;
}

/* ---- merging ---- */

/* Merging accounts and sessions. */

/* ---- accounts ---- */

static bool account_name_is_free(const struct state *state, const char *folded)
{
    return state_account_named(state, folded) == NULL;
}

static enum chat_merge rename_account(struct merge *merge, const Jackdaw__AccountRegistered *old)
{
    struct arena *arena = merge->call->arena;
    Jackdaw__AccountRegistered *renamed = arena_copy(arena, old, sizeof *old);
    char name[CHAT_NAME_BYTES_MAX];
    if (!merge_find_name(merge, old->name, old->account, account_name_is_free, name))
        return merge_drop(merge, "its name is taken, and so are all like it");
    uint64_t room;
    if (renamed == NULL || id_new_room(merge->chat, &room) != OK)
        return merge_no_memory(merge);
    renamed->name = arena_strdup(arena, name);
    merge->late->account_registered = renamed;
    merge->late->notice_room = room;
    if (renamed->name == NULL ||
        !merge_notice(
            merge,
            "Your account is @%s now: while the servers were partitioned, another user registered "
            "@%s. Log in with the new name; the password is the same.",
            name, old->name))
        return merge_no_memory(merge);
    return merge_propose(merge);
}

/* Repeats the notice of an earlier merge. */
static enum chat_merge merge_with_notice(struct merge *merge)
{
    if (merge->late->notice[0] != '\0' && id_new_room(merge->chat, &merge->late->notice_room) != OK)
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
    enum error error = id_check_account_unused(chat, registered->account);
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

/* A client that logged in with one token on both sides keeps the session in this log. The other
 * session stays for its messages, with an unusable token. */
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
        return merge_drop(merge, "its account was deleted");
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
