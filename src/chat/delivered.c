/* SPDX-License-Identifier: MIT */
/* What devices received, and what they did not. */
#include "chat/chat_internal.h"

#define ACCOUNTS_PER_DELTA 256

uint64_t chat_common_seq(const struct chat *chat, struct position position)
{
    const struct state *state = &chat->state;
    if (position.epoch == 0)
        return 0;
    size_t at = state->reigns_count;
    while (at > 0 && state->reigns[at - 1].epoch > position.epoch)
        at--;
    if (at == 0)
        return 0;
    const struct reign_row *reign = &state->reigns[at - 1];
    uint64_t end = at < state->reigns_count ? reign[1].first_seq - 1 : state->last.seq;
    if (reign->epoch != position.epoch)
        end = reign->first_seq - 1; /* a reign that left nothing here: it began somewhere therein */
    return position.seq < end ? position.seq : end;
}

uint64_t seq_of_position(const struct chat *chat, const Jackdaw__Position *position)
{
    if (position == NULL)
        return 0;
    return chat_common_seq(chat, (struct position){position->epoch, position->seq});
}

void chat_note_delivered(struct chat *chat, struct chat_session *session, uint64_t seq)
{
    if (seq > chat->state.last.seq)
        seq = chat->state.last.seq;
    state_note_delivered(&chat->state, session->account, seq);
}

bool chat_propose_delivered(struct chat *chat, struct chat_call *call)
{
    call_begin(call);
    size_t count = 0;
    for (const struct account *account = chat->state.dirty;
         account != NULL && count < ACCOUNTS_PER_DELTA; account = account->dirty_next)
        count++;
    if (count == 0)
        return false;
    Jackdaw__Delivered *delivered = arena_message(call->arena, &jackdaw__delivered__descriptor);
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
    return call_propose(chat, call, 0, JACKDAW__DELTA__CHANGE_DELIVERED, delivered) == CHAT_PROPOSE;
}

/* ---- undelivered ---- */

bool member_window(const struct member *member, uint64_t after_seq, uint64_t until_seq,
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

enum error count_undelivered(struct chat *chat, const struct member *member, uint64_t *count)
{
    *count = 0;
    const struct room *room = member->room;
    uint64_t from, to;
    if (!member_window(member, member->account->noted_seq, UINT64_MAX, &from, &to))
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
    Jackdaw__Undelivered *entry = arena_message(arena, &jackdaw__undelivered__descriptor);
    char *name =
        conversation_name(chat, member->room, member->room->id, member->account->id, arena);
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

enum error list_undelivered(struct chat *chat, const struct account *account, struct arena *arena,
                            Jackdaw__Undelivered ***list, size_t *count, uint64_t *total)
{
    Jackdaw__Undelivered **entries = NULL;
    size_t found = 0;
    uint64_t sum = 0;
    for (uint32_t i = 0; i < account->places_count; i++) {
        uint64_t messages;
        enum error error = count_undelivered(chat, account->places[i], &messages);
        if (error != OK)
            return error;
        sum += messages;
        if (messages == 0 || found == CHAT_LIST_MAX)
            continue;
        if (entries == NULL)
            entries = new_list(account->places_count - i, arena);
        if (entries == NULL)
            return ERROR_NO_MEMORY;
        error = add_undelivered(chat, account->places[i], arena, messages, &entries[found]);
        if (error != OK)
            return error;
        found++;
    }
    *list = entries;
    *count = found;
    *total = sum;
    return OK;
}
