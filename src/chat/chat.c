/* SPDX-License-Identifier: MIT */
#include "chat/chat.h"
#include "chat/chat_internal.h"

#include <sodium.h>
#include <stdlib.h>
#include <string.h>

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
        session->heard_ms = old->heard_ms;
        session->presence_source = old->presence_source;
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

/* ---- from rows to the state in memory ---- */

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
    if (error == OK) {
        see_time(&load, store_time_ms(store));
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

/* ---- ids ---- */

#define DRAWS_MAX 64 /* chance never needs a second one */

static void fill_from_system(void *context, void *bytes, size_t size)
{
    (void)context;
    randombytes_buf(bytes, size);
}

void chat_set_random(struct chat *chat, const struct chat_random *random)
{
    chat->random = random != NULL ? *random : (struct chat_random){.fill = fill_from_system};
}

static uint64_t draw(struct chat *chat)
{
    uint64_t id;
    chat->random.fill(chat->random.context, &id, sizeof id);
    return id;
}

static enum error visit_nothing(void *context, const struct account_row *row)
{
    (void)context;
    (void)row;
    return OK;
}

enum error id_check_account_unused(struct chat *chat, uint64_t id)
{
    enum error error = store_get_account(chat->store, id, visit_nothing, NULL);
    if (error == ERROR_NOT_FOUND)
        return OK;
    return error == OK ? ERROR_EXISTS : error;
}

enum error id_new_account(struct chat *chat, uint64_t *id)
{
    for (int i = 0; i < DRAWS_MAX; i++) {
        *id = draw(chat);
        if (*id == 0)
            continue;
        enum error error = id_check_account_unused(chat, *id);
        if (error != ERROR_EXISTS)
            return error;
    }
    return ERROR_INTERNAL;
}

enum error id_new_session(struct chat *chat, uint64_t *id)
{
    for (int i = 0; i < DRAWS_MAX; i++) {
        *id = draw(chat);
        if (*id != 0 && state_session(&chat->state, *id) == NULL &&
            state_ended_session(&chat->state, *id) == NULL)
            return OK;
    }
    return ERROR_INTERNAL;
}

enum error id_new_room(struct chat *chat, uint64_t *id)
{
    for (int i = 0; i < DRAWS_MAX; i++) {
        *id = draw(chat);
        if (*id != 0 && state_room(&chat->state, *id) == NULL)
            return OK;
    }
    return ERROR_INTERNAL;
}
