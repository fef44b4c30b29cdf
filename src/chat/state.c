/* SPDX-License-Identifier: MIT */
#include "chat/state.h"

#include "chat/state_index.h"

#include <stdlib.h>

void state_init(struct state *state)
{
    *state = (struct state){.accounts_by_id = NULL};
    randombytes_buf(state->hash_key, sizeof state->hash_key);
}

static void free_members(struct room *room)
{
    for (size_t i = 0; i < room->members.count; i++)
        free(room->members.entries[i].item);
    for (uint32_t i = 0; i < room->non_members_count; i++)
        free(room->non_members[i]);
    name_index_release(&room->members);
    free(room->non_members);
}

/* All at once and without any order being kept: the name indexes may not be sorted yet. */
void state_release(struct state *state)
{
    HASH_CLEAR(by_token, state->sessions_by_token);
    HASH_CLEAR(by_key, state->rooms_by_name);
    HASH_CLEAR(by_key, state->rooms_by_pair);
    HASH_CLEAR(by_name, state->accounts_by_name);
    struct chat_session *session, *next_session;
    HASH_ITER(by_id, state->sessions_by_id, session, next_session) {
        HASH_DELETE(by_id, state->sessions_by_id, session);
        free(session);
    }
    HASH_ITER(by_ended, state->sessions_ended, session, next_session) {
        HASH_DELETE(by_ended, state->sessions_ended, session);
        free(session);
    }
    struct room *room, *next_room;
    HASH_ITER(by_id, state->rooms_by_id, room, next_room) {
        HASH_DELETE(by_id, state->rooms_by_id, room);
        free_members(room);
        free(room->topic);
        free(room);
    }
    struct account *account, *next_account;
    HASH_ITER(by_id, state->accounts_by_id, account, next_account) {
        HASH_DELETE(by_id, state->accounts_by_id, account);
        free(account->memberships);
        free(account);
    }
    name_index_release(&state->accounts);
    name_index_release(&state->rooms);
    *state = (struct state){.accounts_by_id = NULL};
}

/* ---- accounts ---- */

static bool index_account(struct state *state, struct account *account)
{
    HASH_ADD_KEYPTR_BYHASHVALUE(by_id, state->accounts_by_id, &account->id, sizeof account->id,
                                hash_id(account->id), account);
    if (account->by_id.tbl == NULL)
        return false;
    HASH_ADD_KEYPTR_BYHASHVALUE(by_name, state->accounts_by_name, account->folded,
                                strlen(account->folded), hash_name(state, account->folded),
                                account);
    if (account->by_name.tbl != NULL)
        return true;
    HASH_DELETE(by_id, state->accounts_by_id, account);
    return false;
}

struct account *state_add_account(struct state *state, uint64_t id, const char *shown,
                                  const char *folded, bool is_sorted)
{
    size_t shown_size = strlen(shown) + 1;
    size_t folded_size = strlen(folded) + 1;
    struct account *account = calloc(1, sizeof *account + shown_size + folded_size);
    if (account == NULL)
        return NULL;
    account->id = id;
    account->name = memcpy(account->text, shown, shown_size);
    account->folded = memcpy(account->text + shown_size, folded, folded_size);
    if (!name_index_reserve(&state->accounts, 1) || !index_account(state, account)) {
        free(account);
        return NULL;
    }
    if (is_sorted)
        name_index_add(&state->accounts, account->folded, account);
    else
        name_index_append(&state->accounts, account->folded, account);
    return account;
}

struct account *state_account(const struct state *state, uint64_t id)
{
    struct account *account;
    HASH_FIND_BYHASHVALUE(by_id, state->accounts_by_id, &id, sizeof id, hash_id(id), account);
    return account;
}

struct account *state_account_named(const struct state *state, const char *folded)
{
    struct account *account;
    HASH_FIND_BYHASHVALUE(by_name, state->accounts_by_name, folded, strlen(folded),
                          hash_name(state, folded), account);
    return account;
}

static void unlink_dirty(struct state *state, struct account *account)
{
    if (!account->dirty)
        return;
    if (account->dirty_previous != NULL)
        account->dirty_previous->dirty_next = account->dirty_next;
    else
        state->dirty = account->dirty_next;
    if (account->dirty_next != NULL)
        account->dirty_next->dirty_previous = account->dirty_previous;
    account->dirty_next = account->dirty_previous = NULL;
    account->dirty = false;
}

void state_remove_account(struct state *state, struct account *account)
{
    unlink_dirty(state, account);
    name_index_remove(&state->accounts, account->folded);
    HASH_DELETE(by_id, state->accounts_by_id, account);
    HASH_DELETE(by_name, state->accounts_by_name, account);
    free(account->memberships);
    free(account);
}

void state_note_delivered(struct state *state, struct account *account, uint64_t seq)
{
    if (seq <= account->noted_seq)
        return;
    account->noted_seq = seq;
    if (account->dirty)
        return;
    account->dirty = true;
    account->dirty_next = state->dirty;
    if (state->dirty != NULL)
        state->dirty->dirty_previous = account;
    state->dirty = account;
}

void state_apply_delivered(struct state *state, struct account *account, uint64_t seq)
{
    if (seq > account->delivered_seq)
        account->delivered_seq = seq;
    if (account->noted_seq <= account->delivered_seq) {
        account->noted_seq = account->delivered_seq;
        unlink_dirty(state, account);
    }
}

/* ---- sessions ---- */

static bool index_session(struct state *state, struct chat_session *session)
{
    HASH_ADD_KEYPTR_BYHASHVALUE(by_id, state->sessions_by_id, &session->id, sizeof session->id,
                                hash_id(session->id), session);
    if (session->by_id.tbl == NULL)
        return false;
    unsigned hash;
    memcpy(&hash, session->token_hash, sizeof hash);
    HASH_ADD_KEYPTR_BYHASHVALUE(by_token, state->sessions_by_token, session->token_hash,
                                sizeof session->token_hash, hash, session);
    if (session->by_token.tbl != NULL)
        return true;
    HASH_DELETE(by_id, state->sessions_by_id, session);
    return false;
}

struct chat_session *state_add_session(struct state *state, uint64_t id, struct account *account,
                                       const uint8_t token_hash[static STORE_TOKEN_HASH_BYTES])
{
    struct chat_session *session = calloc(1, sizeof *session);
    if (session == NULL)
        return NULL;
    session->id = id;
    session->account = account;
    session->silent = true;
    memcpy(session->token_hash, token_hash, STORE_TOKEN_HASH_BYTES);
    if (!index_session(state, session)) {
        free(session);
        return NULL;
    }
    session->next_of_account = account->sessions;
    account->sessions = session;
    return session;
}

struct chat_session *state_session(const struct state *state, uint64_t id)
{
    struct chat_session *session;
    HASH_FIND_BYHASHVALUE(by_id, state->sessions_by_id, &id, sizeof id, hash_id(id), session);
    return session;
}

struct chat_session *state_session_of_token(const struct state *state,
                                            const uint8_t hash[static STORE_TOKEN_HASH_BYTES])
{
    unsigned value;
    memcpy(&value, hash, sizeof value);
    struct chat_session *session;
    HASH_FIND_BYHASHVALUE(by_token, state->sessions_by_token, hash, STORE_TOKEN_HASH_BYTES, value,
                          session);
    return session;
}

static void unlink_present(struct state *state, struct chat_session *session)
{
    if (session->present_previous != NULL)
        session->present_previous->present_next = session->present_next;
    else
        state->present_first = session->present_next;
    if (session->present_next != NULL)
        session->present_next->present_previous = session->present_previous;
    else
        state->present_last = session->present_previous;
    session->present_next = session->present_previous = NULL;
}

void state_mark_seen(struct state *state, struct chat_session *session, uint64_t monotonic_ms)
{
    session->last_seen_ms = monotonic_ms;
    if (state->present_last == session)
        return;
    if (session->silent) {
        session->silent = false;
        session->account->present++;
    } else {
        unlink_present(state, session);
    }
    session->present_previous = state->present_last;
    if (state->present_last != NULL)
        state->present_last->present_next = session;
    else
        state->present_first = session;
    state->present_last = session;
}

void state_silence(struct state *state, struct chat_session *session)
{
    if (session->silent)
        return;
    unlink_present(state, session);
    session->silent = true;
    session->account->present--;
}

static void unlink_session(struct state *state, struct chat_session *session)
{
    state_silence(state, session);
    struct chat_session **link = &session->account->sessions;
    while (*link != session)
        link = &(*link)->next_of_account;
    *link = session->next_of_account;
    session->next_of_account = NULL;
    HASH_DELETE(by_id, state->sessions_by_id, session);
    HASH_DELETE(by_token, state->sessions_by_token, session);
}

void state_remove_session(struct state *state, struct chat_session *session)
{
    if (session->ended)
        HASH_DELETE(by_ended, state->sessions_ended, session);
    else
        unlink_session(state, session);
    free(session);
}

static bool index_ended(struct state *state, struct chat_session *session)
{
    HASH_ADD_KEYPTR_BYHASHVALUE(by_ended, state->sessions_ended, &session->id, sizeof session->id,
                                hash_id(session->id), session);
    return session->by_ended.tbl != NULL;
}

bool state_end_session(struct state *state, struct chat_session *session, uint64_t seq)
{
    if (!index_ended(state, session))
        return false;
    unlink_session(state, session);
    session->attachment = NULL;
    session->ended = true;
    session->ended_seq = seq;
    return true;
}

struct chat_session *state_ended_session(const struct state *state, uint64_t id)
{
    struct chat_session *session;
    HASH_FIND_BYHASHVALUE(by_ended, state->sessions_ended, &id, sizeof id, hash_id(id), session);
    return session;
}

struct chat_session *state_add_ended_session(struct state *state, uint64_t id,
                                             struct account *account, uint64_t seq)
{
    struct chat_session *session = calloc(1, sizeof *session);
    if (session == NULL)
        return NULL;
    session->id = id;
    session->account = account;
    session->silent = true;
    session->ended = true;
    session->ended_seq = seq;
    if (index_ended(state, session))
        return session;
    free(session);
    return NULL;
}

struct chat_session *state_oldest_ended(const struct state *state)
{
    if (HASH_CNT(by_ended, state->sessions_ended) <= SESSIONS_ENDED_MAX)
        return NULL;
    struct chat_session *oldest = state->sessions_ended;
    for (struct chat_session *next = oldest->by_ended.next;
         next != NULL && next->ended_seq == oldest->ended_seq; next = next->by_ended.next)
        if (next->id < oldest->id)
            oldest = next;
    return oldest;
}

static int compare_ended(const struct chat_session *left, const struct chat_session *right)
{
    return left->ended_seq < right->ended_seq ? -1 : left->ended_seq > right->ended_seq;
}

void state_sort_ended(struct state *state)
{
    HASH_SRT(by_ended, state->sessions_ended, compare_ended);
}
