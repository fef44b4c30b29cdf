/* SPDX-License-Identifier: MIT */
/* From rows to the state in memory. */
#include "chat/chat_internal.h"

#include <sodium.h>
#include <string.h>

#define ENTRIES_LOOKED_BACK 64 /* for the last batch: lists of members seldom come in a row */

struct load {
    struct state *state;
    struct error_text *why;
};

static enum error no_memory(const struct load *load)
{
    return error_set(load->why, ERROR_NO_MEMORY,
                     "load the chat: out of memory; give the server more");
}

/* id: as SQLite shows it. */
static enum error contradiction(const struct load *load, const char *what, uint64_t id)
{
    return error_set(load->why, ERROR_CORRUPT,
                     "load the chat: %s = %lld contradicts other rows; " STORE_DAMAGE_ADVICE, what,
                     (long long)id);
}

static void see_time(const struct load *load, uint64_t time_ms)
{
    if (time_ms > load->state->last_time_ms)
        load->state->last_time_ms = time_ms;
}

static enum error load_account(void *context, const struct account_row *row)
{
    const struct load *load = context;
    see_time(load, row->created_ms);
    see_time(load, row->deleted_ms);
    if (row->deleted_ms != 0)
        return OK;
    if (row->id == 0 || state_account(load->state, row->id) != NULL ||
        state_account_named(load->state, row->folded) != NULL)
        return contradiction(load, "the row of table account with id", row->id);
    struct account *account =
        state_add_account(load->state, row->id, row->name, row->folded, false);
    if (account == NULL)
        return no_memory(load);
    account->created_ms = row->created_ms;
    account->delivered_seq = account->noted_seq = row->delivered_seq;
    return OK;
}

static enum error load_ended_session(const struct load *load, const struct session_row *row,
                                     struct account *account)
{
    if (row->id == 0 || state_ended_session(load->state, row->id) != NULL)
        return contradiction(load, "the row of table session with id", row->id);
    struct chat_session *session =
        state_add_ended_session(load->state, row->id, account, row->started_ms);
    if (session == NULL)
        return no_memory(load);
    session->last_request = row->last_request;
    return OK;
}

static enum error load_session(void *context, const struct session_row *row)
{
    const struct load *load = context;
    struct account *account = state_account(load->state, row->account);
    if (account != NULL && sodium_is_zero(row->token_hash, STORE_TOKEN_HASH_BYTES))
        return load_ended_session(load, row, account);
    see_time(load, row->started_ms);
    if (row->id == 0 || account == NULL || state_session(load->state, row->id) != NULL ||
        state_session_of_token(load->state, row->token_hash) != NULL)
        return contradiction(load, "the row of table session with id", row->id);
    struct chat_session *session =
        state_add_session(load->state, row->id, account, row->token_hash);
    if (session == NULL)
        return no_memory(load);
    session->last_request = row->last_request;
    return OK;
}

static bool is_new_room(const struct state *state, const struct room_row *row)
{
    if (row->id == 0 || state_room(state, row->id) != NULL)
        return false;
    if (row->direct_low != 0)
        return state_room_direct(state, row->direct_low, row->direct_high) == NULL;
    return row->name[0] != '\0' && state_room_named(state, row->folded) == NULL;
}

static enum error load_room(void *context, const struct room_row *row)
{
    const struct load *load = context;
    see_time(load, row->created_ms);
    if (!is_new_room(load->state, row))
        return contradiction(load, "the row of table room with id", row->id);
    const uint64_t direct[2] = {row->direct_low, row->direct_high};
    struct room *room = state_add_room(load->state, row->id, row->name, row->folded, direct, false);
    if (room == NULL || !state_set_topic(room, row->topic))
        return no_memory(load);
    room->owner = row->owner;
    room->is_private = row->is_private;
    room->created_ms = row->created_ms;
    room->last_number = row->last_number;
    room->last_seq = row->last_seq;
    return OK;
}

static enum error load_member(void *context, const struct member_row *row)
{
    const struct load *load = context;
    struct room *room = state_room(load->state, row->room);
    struct account *account = state_account(load->state, row->account);
    if (room == NULL || account == NULL || row->state < MEMBER_INVITED ||
        row->state > MEMBER_BANNED || state_member(account, room) != NULL)
        return contradiction(load, "a row of table member with room", row->room);
    struct member *member = state_reserve_member(room, account);
    if (member == NULL)
        return no_memory(load);
    state_move_member(member, row->state, false);
    member->since_seq = row->since_seq;
    member->until_seq = row->until_seq;
    return OK;
}

/* ---- the time of the last delta, which the next one must not be before ---- */

struct last_chat_search {
    const struct load *load;
    uint64_t seq; /* of the entry before the one visited; 0: no need to look further */
};

/* A batch tells its own place. */
static bool is_batch_of(const Jackdaw__Batch *batch, const struct log_entry *row)
{
    return batch != NULL && batch->epoch == row->epoch && batch->first_seq == row->first_seq &&
           batch->n_deltas > 0 && batch->n_deltas - 1 == row->last_seq - row->first_seq;
}

static enum error look_back(void *context, const struct log_entry *row)
{
    struct last_chat_search *back = context;
    back->seq = row->first_seq - 1;
    if (row->kind != LOG_ENTRY_CHAT)
        return ERROR_CANCELLED;
    Jackdaw__Batch *batch = jackdaw__batch__unpack(NULL, row->size, row->bytes);
    if (is_batch_of(batch, row)) {
        back->seq = 0;
        for (size_t i = 0; i < batch->n_deltas; i++)
            see_time(back->load, batch->deltas[i]->time_ms);
    }
    jackdaw__batch__free_unpacked(batch, NULL);
    return ERROR_CANCELLED; /* one is enough */
}

static enum error load_time(struct load *load, struct store *store)
{
    struct last_chat_search back = {.load = load, .seq = load->state->last.seq};
    uint64_t first = store_log_first(store);
    for (int i = 0; i < ENTRIES_LOOKED_BACK && first != 0 && back.seq >= first; i++) {
        enum error error = store_log_read(store, back.seq, look_back, &back);
        if (error != ERROR_CANCELLED)
            return error;
    }
    return OK;
}

static enum error check_owners(const struct load *load)
{
    struct room *room, *next;
    HASH_ITER(by_id, load->state->rooms_by_id, room, next) {
        const struct account *owner = state_account(load->state, room->owner);
        bool is_owned = owner != NULL && member_is_in(state_member(owner, room));
        if (room->owner != 0 && !is_owned)
            return contradiction(load, "the owner in the row of table room with id", room->id);
    }
    return OK;
}

enum error load_state(struct state *state, struct store *store, struct error_text *why)
{
    struct error_text nothing = {.text = ""};
    struct load load = {.state = state, .why = why != NULL ? why : &nothing};
    load.why->text[0] = '\0';
    state->last = store_position(store);
    enum error error = store_each_account(store, load_account, &load);
    if (error == OK)
        error = store_each_session(store, load_session, &load);
    if (error == OK)
        error = store_each_room(store, load_room, &load);
    if (error == OK)
        error = store_each_member(store, load_member, &load);
    if (error == OK)
        error = load_time(&load, store);
    if (error == OK) {
        state_sort(state);
        error = check_owners(&load);
    }
    if (error != OK && load.why->text[0] == '\0')
        error_set(load.why, error, "load the chat: %s%s", store_last_problem(store),
                  error == ERROR_CORRUPT ? "; " STORE_DAMAGE_ADVICE : "");
    return error;
}

enum error chat_check(struct store *store, struct error_text *why)
{
    struct state state;
    state_init(&state);
    enum error error = load_state(&state, store, why);
    state_release(&state);
    return error;
}
