/* SPDX-License-Identifier: MIT */
#include "base/text.h"
#include "chat/delta_kind.h"

#include <string.h>

/* A message accepted on the other side and refused here: its stored outcome is replaced. */
static bool is_again(const Jackdaw__Delta *delta, const struct chat_session *session)
{
    return delta->late && delta->change_case == JACKDAW__DELTA__CHANGE_MESSAGE_SENT &&
           delta->request <= session->last_request &&
           session->last_request - delta->request < STORE_OUTCOME_WINDOW;
}

/* No number is left out, but of an orphan whose session was forgotten in the meantime. */
static bool is_next(const Jackdaw__Delta *delta, const struct chat_session *session)
{
    return delta->late ? delta->request > session->last_request
                       : delta->request == session->last_request + 1;
}

/* A late message may come so late that its session has ended and was forgotten. */
static enum error bring_session_back(struct apply *apply)
{
    const Jackdaw__Delta *delta = apply->delta;
    if (!delta->late || delta->change_case != JACKDAW__DELTA__CHANGE_MESSAGE_SENT)
        return ERROR_CORRUPT;
    struct account *account = state_account(&apply->chat->state, delta->message_sent->account);
    return account == NULL ? ERROR_CORRUPT : apply_bring_back(apply, account);
}

/* The session whose next request this is. */
static enum error find_session(struct apply *apply, enum uid_rule rule)
{
    const Jackdaw__Delta *delta = apply->delta;
    if (delta->session == 0 && delta->request == 0)
        return rule == UID_NEEDED ? ERROR_CORRUPT : OK;
    apply->session = state_session(&apply->chat->state, delta->session);
    if (apply->session == NULL && delta->late)
        apply->session = state_ended_session(&apply->chat->state, delta->session);
    if (rule == UID_NONE || delta->session == 0 || delta->request == 0)
        return ERROR_CORRUPT;
    if (apply->session == NULL)
        return bring_session_back(apply);
    bool fits = is_next(delta, apply->session) || is_again(delta, apply->session);
    return fits ? OK : ERROR_CORRUPT;
}

static bool position_follows(const struct state *state, struct log_position position)
{
    return position.seq > state->last.seq && position.epoch >= state->last.epoch;
}

bool apply_fits_notice(const Jackdaw__Delta *delta)
{
    if (delta->notice == NULL || delta->notice[0] == '\0')
        return true;
    size_t size = strlen(delta->notice);
    return delta->late && size <= CHAT_NOTICE_BYTES_MAX && text_is_utf8(delta->notice, size) &&
           !text_has_unsafe(delta->notice);
}

enum error chat_pass(struct chat *chat, struct log_position position)
{
    if (position.epoch == 0 || !position_follows(&chat->state, position))
        return ERROR_CORRUPT;
    chat->state.last = position;
    return OK;
}

enum error chat_apply(struct chat *chat, const Jackdaw__Delta *delta, struct log_position position)
{
    struct apply apply = {.chat = chat, .delta = delta, .position = position};
    if (chat_level_of(delta) > chat_level())
        return ERROR_VERSION;
    const struct delta_kind *kind = delta_kind_of(delta);
    if (kind == NULL || !position_follows(&chat->state, position))
        return ERROR_CORRUPT;
    if (!apply_fits_notice(delta))
        return ERROR_CORRUPT;
    enum error error = find_session(&apply, kind->uid);
    if (error == OK)
        error = kind->apply(&apply);
    if (error != OK)
        return error;
    ASSERT(apply.is_answered || delta->request == 0);
    chat->state.last = position;
    if (!delta->late) {
        chat->state.last_time_ms = delta->time_ms;
        store_note_time(chat->store, delta->time_ms);
    }
    return OK;
}

/* ---- what the kinds share ---- */

bool apply_is_by(const struct apply *apply, uint64_t account)
{
    return apply->session == NULL || apply->session->account->id == account;
}

struct timeline_row apply_row(const struct apply *apply, const struct room *room,
                              Jackdaw__Event__Kind kind, uint64_t account, uint64_t subject,
                              const char *text)
{
    bool is_message = kind == JACKDAW__EVENT__KIND__MESSAGE;
    return (struct timeline_row){
        .room = room->id,
        .number = room->last_number + (is_message ? 1 : 0),
        .seq = apply->position.seq,
        .kind = (uint32_t)kind,
        .account = account,
        .subject = subject,
        .session = is_message ? apply->delta->session : 0,
        .request = is_message ? apply->delta->request : 0,
        .time_ms = apply->delta->time_ms,
        .text = text,
        .text_size = strlen(text),
    };
}

enum error apply_store_row(struct apply *apply, struct room *room, const struct timeline_row *row)
{
    enum error error = store_add_event(apply->chat->store, row);
    if (error != OK)
        return error;
    room->last_number = row->number;
    room->last_seq = row->seq;
    return OK;
}

void apply_emit_row(struct apply *apply, const struct timeline_row *row)
{
    struct chat_event event = event_of_row(row, apply->position.epoch);
    event_emit(apply->chat, &event);
}

enum error apply_notice(struct apply *apply, struct room *room, uint64_t account)
{
    const char *notice = apply->delta->notice;
    if (notice == NULL || notice[0] == '\0')
        return OK;
    struct timeline_row row =
        apply_row(apply, room, JACKDAW__EVENT__KIND__NOTICE, account, 0, notice);
    enum error error = apply_store_row(apply, room, &row);
    if (error == OK)
        apply_emit_row(apply, &row);
    return error;
}

enum error apply_store_owner(struct apply *apply, struct room *room, uint64_t owner)
{
    struct timeline_row row = apply_row(apply, room, JACKDAW__EVENT__KIND__OWNER, owner, 0, "");
    enum error error = apply_put_room(apply, room, owner);
    return error == OK && owner != 0 ? apply_store_row(apply, room, &row) : error;
}

void apply_emit_owner(struct apply *apply, const struct room *room, uint64_t owner)
{
    struct timeline_row row = apply_row(apply, room, JACKDAW__EVENT__KIND__OWNER, owner, 0, "");
    if (owner != 0)
        apply_emit_row(apply, &row);
}

enum error apply_put_room(struct apply *apply, const struct room *room, uint64_t owner)
{
    return store_put_room(apply->chat->store, &(struct room_row){
                                                  .id = room->id,
                                                  .name = room->name,
                                                  .folded = room->folded,
                                                  .topic = room->topic,
                                                  .owner = owner,
                                                  .is_private = room->is_private,
                                                  .direct_low = room->direct[0],
                                                  .direct_high = room->direct[1],
                                                  .created_ms = room->created_ms,
                                              });
}

uint64_t apply_successor(const struct room *room, uint64_t leaver)
{
    if (room->owner != leaver)
        return room->owner;
    const struct account *eldest = state_eldest(room, leaver);
    return eldest == NULL ? 0 : eldest->id;
}

enum error apply_put_member(struct apply *apply, const struct member *member)
{
    return store_put_member(apply->chat->store, &(struct member_row){
                                                    .room = member->room->id,
                                                    .account = member->account->id,
                                                    .state = member->state,
                                                    .since_seq = member->since_seq,
                                                    .until_seq = member->until_seq,
                                                });
}

enum error apply_forget_past_membership(struct apply *apply, struct account *account)
{
    while (account->past_memberships > PAST_MEMBERSHIPS_MAX) {
        struct member *oldest = state_oldest_past_membership(account);
        enum error error = store_delete_member(apply->chat->store, oldest->room->id, account->id);
        if (error != OK)
            return error;
        state_remove_member(oldest);
    }
    return OK;
}

enum error apply_outcome(struct apply *apply, struct outcome_row row)
{
    if (apply->session == NULL)
        return OK;
    apply->is_answered = true;
    row.session = apply->delta->session;
    row.request = apply->delta->request;
    row.seq = apply->position.seq;
    row.time_ms = apply->delta->time_ms;
    if (row.text == NULL || row.text[0] == '\0')
        row.text = ""; /* outlives the delta, as last_outcome does */
    enum error error = store_put_outcome(apply->chat->store, &row);
    if (error != OK)
        return error;
    if (row.request > apply->session->last_request)
        apply->session->last_request = row.request;
    apply->chat->last_outcome = row.text[0] == '\0' ? row : (struct outcome_row){0};
    return OK;
}

/* ---- receipts and outcomes ---- */

/* Deltas about received events, and outcomes without another change. */

enum error apply_delivered(struct apply *apply)
{
    struct chat *chat = apply->chat;
    const Jackdaw__Delivered *delivered = apply->delta->delivered;
    if (delivered->n_accounts != delivered->n_seqs)
        return ERROR_CORRUPT;
    for (size_t i = 0; i < delivered->n_accounts; i++) {
        struct account *account = state_account(&chat->state, delivered->accounts[i]);
        uint64_t seq = delivered->seqs[i];
        if (account == NULL || seq > chat->state.last.seq)
            return ERROR_CORRUPT;
        if (seq <= account->delivered_seq)
            continue;
        enum error error = store_set_delivered(chat->store, account->id, seq);
        if (error != OK)
            return error;
        state_note_delivered(&chat->state, account, seq);
        state_apply_delivered(&chat->state, account, seq);
    }
    return OK;
}

bool apply_fits_refused(const struct apply *apply)
{
    const Jackdaw__Refused *refused = apply->delta->refused;
    return refused->status != STATUS_OK && refused->status < STATUS_COUNT &&
           refused->message != NULL && strlen(refused->message) <= CHAT_REFUSAL_BYTES_MAX &&
           text_is_utf8(refused->message, strlen(refused->message));
}

enum error apply_refused(struct apply *apply)
{
    const Jackdaw__Refused *refused = apply->delta->refused;
    if (!apply_fits_refused(apply))
        return ERROR_CORRUPT;
    return apply_outcome(apply, (struct outcome_row){
                                    .status = refused->status,
                                    .text = refused->message,
                                });
}

enum error apply_unchanged(struct apply *apply)
{
    const Jackdaw__Unchanged *unchanged = apply->delta->unchanged;
    if (unchanged->room != 0 && state_room(&apply->chat->state, unchanged->room) == NULL)
        return ERROR_CORRUPT;
    return apply_outcome(apply, (struct outcome_row){.room = unchanged->room});
}
