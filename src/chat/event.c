/* SPDX-License-Identifier: MIT */
#include "chat/chat_internal.h"

#include <string.h>

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
