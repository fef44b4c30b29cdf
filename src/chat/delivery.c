/* SPDX-License-Identifier: MIT */
/* Delivered and undelivered events of devices. */
#include "chat/chat_internal.h"

#include "proto/convert.h"

#include <string.h>

#define ACCOUNTS_PER_DELTA 256

uint64_t chat_common_seq(const struct chat *chat, const struct log_position *cursor_history,
                         size_t count)
{
    for (size_t i = 0; i < count; i++) {
        struct log_position end = epoch_history_end(store_epochs(chat->store),
                                                    cursor_history[i].epoch, chat->state.last.seq);
        if (end.epoch != 0)
            return cursor_history[i].seq < end.seq ? cursor_history[i].seq : end.seq;
    }
    return 0;
}

uint64_t chat_common_seq_of(const struct chat *chat, const Jackdaw__Position *after,
                            Jackdaw__Position *const *cursor_history, size_t count)
{
    struct log_position positions[1 + CHAT_CURSOR_HISTORY_MAX];
    size_t used = 0;
    if (after != NULL)
        positions[used++] = proto_position(after);
    for (size_t i = 0; i < count && i < CHAT_CURSOR_HISTORY_MAX; i++)
        positions[used++] = proto_position(cursor_history[i]);
    return chat_common_seq(chat, positions, used);
}

bool chat_is_behind(const struct chat *chat, const Jackdaw__Position *cursor)
{
    return cursor != NULL && cursor->epoch > chat->state.last.epoch;
}

void chat_note_delivered(struct chat *chat, struct chat_session *session, uint64_t seq)
{
    if (seq > chat->state.last.seq)
        seq = chat->state.last.seq;
    state_note_delivered(&chat->state, session->account, seq);
}

void chat_note_account_delivered(struct chat *chat, uint64_t id, uint64_t seq)
{
    struct account *account = state_account(&chat->state, id);
    if (seq > chat->state.last.seq)
        seq = chat->state.last.seq;
    if (account != NULL)
        state_note_delivered(&chat->state, account, seq);
}

void chat_each_noted(struct chat *chat, size_t most,
                     void (*visit)(void *context, uint64_t account, uint64_t seq), void *context)
{
    const struct account *account = chat->state.dirty;
    for (size_t i = 0; i < most && account != NULL; i++, account = account->dirty_next)
        visit(context, account->id, account->noted_seq);
}

bool chat_propose_delivered(struct chat *chat, struct chat_call *call)
{
    chat_call_begin(call);
    size_t count = 0;
    for (const struct account *account = chat->state.dirty;
         account != NULL && count < ACCOUNTS_PER_DELTA; account = account->dirty_next)
        count++;
    if (count == 0)
        return false;
    Jackdaw__Delivered *delivered =
        chat_arena_message(call->arena, &jackdaw__delivered__descriptor);
    uint64_t *accounts = arena_alloc(call->arena, count * sizeof *accounts);
    uint64_t *seqs = arena_alloc(call->arena, count * sizeof *seqs);
    if (delivered == NULL || accounts == NULL || seqs == NULL)
        return false;
    const struct account *account = chat->state.dirty;
    for (size_t i = 0; i < count; i++, account = account->dirty_next) {
        accounts[i] = account->id;
        seqs[i] = account->noted_seq;
    }
    delivered->n_accounts = delivered->n_seqs = count;
    delivered->accounts = accounts;
    delivered->seqs = seqs;
    return chat_call_propose(chat, call, 0, JACKDAW__DELTA__CHANGE_DELIVERED, delivered) ==
           CHAT_PROPOSE;
}

/* ---- undelivered ---- */

bool delivery_window(const struct member *member, uint64_t after_seq, uint64_t until_seq,
                     uint64_t *from, uint64_t *to)
{
    if (member->since_seq == 0)
        return false;
    *from = member->since_seq - 1 > after_seq ? member->since_seq - 1 : after_seq;
    *to = member->room->last_seq < until_seq ? member->room->last_seq : until_seq;
    if (member->until_seq != 0 && member->until_seq < *to)
        *to = member->until_seq;
    return *from < *to;
}

enum error delivery_count_undelivered(struct chat *chat, const struct member *member,
                                      uint64_t *count)
{
    *count = 0;
    const struct room *room = member->room;
    uint64_t from, to;
    if (!delivery_window(member, member->account->noted_seq, UINT64_MAX, &from, &to))
        return OK;
    uint64_t first = 0;
    uint64_t last = room->last_number;
    enum error error = OK;
    if (to < room->last_seq)
        error = store_number_at(chat->store, room->id, to, &last);
    if (error == OK && last > 0)
        error = store_number_at(chat->store, room->id, from, &first);
    if (error == OK && last > first)
        *count = last - first;
    return error;
}

static enum error add_undelivered(struct chat *chat, const struct member *member,
                                  struct arena *arena, uint64_t messages,
                                  Jackdaw__Undelivered **out)
{
    Jackdaw__Undelivered *entry = chat_arena_message(arena, &jackdaw__undelivered__descriptor);
    char *name =
        resolve_conversation_name(chat, member->room, member->room->id, member->account->id, arena);
    if (entry == NULL || name == NULL)
        return ERROR_NO_MEMORY;
    entry->room = name;
    entry->messages = messages;
    *out = entry;
    return OK;
}

static Jackdaw__Undelivered **new_list(size_t conversations, struct arena *arena)
{
    size_t most = conversations < CHAT_LIST_MAX ? conversations : CHAT_LIST_MAX;
    return arena_alloc(arena, most * sizeof(Jackdaw__Undelivered *));
}

enum error delivery_list_undelivered(struct chat *chat, const struct account *account,
                                     struct arena *arena, Jackdaw__Undelivered ***list,
                                     size_t *count, uint64_t *total)
{
    Jackdaw__Undelivered **entries = NULL;
    size_t found = 0;
    uint64_t sum = 0;
    for (uint32_t i = 0; i < account->memberships_count; i++) {
        uint64_t messages;
        enum error error = delivery_count_undelivered(chat, account->memberships[i], &messages);
        if (error != OK)
            return error;
        sum += messages;
        if (messages == 0 || found == CHAT_LIST_MAX)
            continue;
        if (entries == NULL)
            entries = new_list(account->memberships_count - i, arena);
        if (entries == NULL)
            return ERROR_NO_MEMORY;
        error = add_undelivered(chat, account->memberships[i], arena, messages, &entries[found]);
        if (error != OK)
            return error;
        found++;
    }
    *list = entries;
    *count = found;
    *total = sum;
    return OK;
}

/* ---- events ---- */

struct chat_event event_of_row(const struct timeline_row *row, uint64_t epoch)
{
    bool is_message = row->kind == JACKDAW__EVENT__KIND__MESSAGE;
    return (struct chat_event){
        .kind = (Jackdaw__Event__Kind)row->kind,
        .position = {.epoch = epoch, .seq = row->seq},
        .room = row->room,
        .account = row->account,
        .subject = row->subject,
        .number = is_message ? row->number : 0,
        .session = row->session,
        .request = row->request,
        .time_ms = row->time_ms,
        .text = row->text,
    };
}

void event_emit(struct chat *chat, const struct chat_event *event)
{
    if (chat->observer.event != NULL)
        chat->observer.event(chat->observer.context, event);
}

bool chat_event_is_shared(const struct chat *chat, const struct chat_event *event)
{
    if (event->room == 0)
        return true;
    const struct room *room = state_room(&chat->state, event->room);
    return room == NULL || !room_is_direct(room);
}

/* ---- names ---- */

enum error chat_event_fill(struct chat *chat, const struct chat_event *event, uint64_t viewer,
                           struct arena *arena, Jackdaw__Event *out)
{
    jackdaw__event__init(out);
    out->kind = event->kind;
    out->seq = event->position.seq;
    out->epoch = event->position.epoch;
    if (out->epoch == 0 && out->seq != 0)
        out->epoch = store_epoch_at(chat->store, out->seq);
    out->number = event->number;
    out->session = event->session;
    out->request = event->request;
    out->time_ms = event->time_ms;
    out->active = event->active;
    out->text = (char *)event->text;
    if (event->room != 0) {
        const struct room *room = state_room(&chat->state, event->room);
        out->room = room != NULL && !room_is_direct(room)
                        ? (char *)room->name
                        : resolve_conversation_name(chat, room, event->room, viewer, arena);
    }
    if (event->account != 0)
        out->from = (char *)resolve_account_name(chat, event->account, arena);
    if (event->subject != 0)
        out->subject = (char *)resolve_account_name(chat, event->subject, arena);
    if (out->room == NULL || out->from == NULL || out->subject == NULL)
        return ERROR_NO_MEMORY;
    return OK;
}

/* ---- recipients ---- */

typedef void session_visitor(void *context, struct chat_session *session);

static void visit_account(const struct account *account, session_visitor *visit, void *context)
{
    if (account == NULL)
        return;
    struct chat_session *next;
    for (struct chat_session *session = account->sessions; session != NULL; session = next) {
        next = session->next_of_account;
        visit(context, session);
    }
}

static void visit_room(const struct room *room, uint64_t except, session_visitor *visit,
                       void *context)
{
    for (size_t i = 0; i < room->members.count; i++) {
        const struct member *member = room->members.entries[i].item;
        if (member->account->id != except)
            visit_account(member->account, visit, context);
    }
}

/* Visits each account that shares a conversation with the account, once. */
static void visit_acquainted(struct chat *chat, struct account *account, session_visitor *visit,
                             void *context)
{
    uint64_t mark = ++chat->state.mark;
    account->mark = mark;
    for (uint32_t i = 0; i < account->memberships_count; i++) {
        if (account->memberships[i]->state != MEMBER_IN)
            continue;
        const struct name_index *members = &account->memberships[i]->room->members;
        for (size_t k = 0; k < members->count; k++) {
            struct account *other = ((struct member *)members->entries[k].item)->account;
            if (other->mark == mark)
                continue;
            other->mark = mark;
            visit_account(other, visit, context);
        }
    }
}

void chat_each_recipient(struct chat *chat, const struct chat_event *event, session_visitor *visit,
                         void *context)
{
    if (event->kind == JACKDAW__EVENT__KIND__INVITED) {
        visit_account(state_account(&chat->state, event->subject), visit, context);
        return;
    }
    if (event->kind == JACKDAW__EVENT__KIND__PRESENCE) {
        struct account *account = state_account(&chat->state, event->account);
        if (account != NULL)
            visit_acquainted(chat, account, visit, context);
        return;
    }
    const struct room *room = state_room(&chat->state, event->room);
    bool is_typing = event->kind == JACKDAW__EVENT__KIND__TYPING;
    if (room != NULL)
        visit_room(room, is_typing ? event->account : 0, visit, context);
}
