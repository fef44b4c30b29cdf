/* SPDX-License-Identifier: MIT */
/* What this node's log looks like from here: its end, and which epoch wrote what. */
#include "replication/replica_internal.h"

#include <string.h>

static bool is_in_range(struct log_position position)
{
    return position.epoch < REPLICA_NUMBER_MAX && position.seq < REPLICA_NUMBER_MAX;
}

static bool are_epochs_sound(const struct replica_state *state)
{
    struct epoch_history epochs = state->epochs;
    for (size_t i = 0; i < epochs.count; i++)
        if (!epoch_history_ascends((struct epoch_history){epochs.starts, i}, epochs.starts[i]))
            return false;
    if (epochs.count == 0 || state->last.seq == 0)
        return epochs.count == 0;
    const struct epoch_start *last = &epochs.starts[epochs.count - 1];
    return last->epoch == state->last.epoch && last->first_seq <= state->last.seq;
}

static bool are_members_sound(const struct replica_state *state)
{
    struct replica_member members[REPLICA_MEMBERS_MAX];
    size_t count;
    return state->members == NULL ||
           (replica_members_unpack(state->members, state->members_size, members, &count) == OK &&
            is_in_range(state->members_position) && state->members_position.seq <= state->last.seq);
}

enum error replica_state_check(const struct replica_state *state, struct error_text *why)
{
    const char *wrong = NULL;
    if (!is_in_range(state->last) || state->first_seq > state->last.seq)
        wrong = "epoch or seq of the last row of table log is out of range";
    else if (state->promised >= REPLICA_NUMBER_MAX)
        wrong = "the promise in table value is out of range";
    else if (!are_epochs_sound(state))
        wrong = "the rows of table epoch_start do not lead to the last row of table log";
    else if (!are_members_sound(state))
        wrong = "the row of table cluster_members is not a list of members";
    return wrong == NULL ? OK : error_set(why, ERROR_CORRUPT, "%s", wrong);
}

void log_load(struct replica *r, const struct replica_state *state)
{
    size_t count = state->epochs.count;
    size_t skip = count > REPLICA_EPOCHS_MAX ? count - REPLICA_EPOCHS_MAX : 0;
    r->epochs_count = count - skip;
    if (r->epochs_count > 0)
        memcpy(r->epochs, state->epochs.starts + skip, r->epochs_count * sizeof *r->epochs);
    r->last = state->last;
    r->durable = state->last;
    r->first_seq = state->first_seq;
    r->append_since_ms = 0;
    r->last_orphan = state->last_orphan;
    r->merged_orphan = r->merged_seq = 0;
    r->avoid = state->avoid;
    r->is_blank = !state->has_chat && state->last_orphan == 0;
    if (r->committed > r->last.seq)
        r->committed = r->last.seq;
    r->members.count = 0;
    r->members_position = (struct log_position){0, 0};
    r->members_changed = false;
    enum error error = OK;
    if (state->members != NULL)
        error = members_load(r, state->members, state->members_size, state->members_position);
    else
        memset(r->peers, 0, sizeof r->peers); /* each is of a member */
    ASSERT(error == OK);
}

struct epoch_history log_epochs(const struct replica *r)
{
    return (struct epoch_history){.starts = r->epochs, .count = r->epochs_count};
}

bool log_has(const struct replica *r, struct log_position position)
{
    if (position.seq == 0)
        return position.epoch == 0;
    uint64_t epoch = epoch_history_at(log_epochs(r), position.seq);
    return (position.seq <= r->last.seq ? epoch : 0) == position.epoch;
}

bool log_is_next(const struct replica *r, const struct log_entry *batch)
{
    return batch->first_seq == r->last.seq + 1 && batch->last_seq >= batch->first_seq &&
           batch->epoch >= r->last.epoch && batch->epoch != 0 &&
           (batch->kind != LOG_ENTRY_MEMBERS || batch->last_seq == batch->first_seq);
}

static void add_epoch(struct replica *r, struct epoch_start start)
{
    if (r->epochs_count == REPLICA_EPOCHS_MAX) {
        memmove(r->epochs, r->epochs + 1, (REPLICA_EPOCHS_MAX - 1) * sizeof *r->epochs);
        r->epochs_count--;
    }
    r->epochs[r->epochs_count++] = start;
}

enum error log_append(struct replica *r, const struct log_entry *batch)
{
    ASSERT(log_is_next(r, batch));
    struct log_position position = log_entry_last(batch);
    if (batch->kind == LOG_ENTRY_MEMBERS) {
        enum error error = members_load(r, batch->bytes, batch->size, position);
        if (error != OK)
            return error;
    }
    if (batch->epoch != r->last.epoch || r->epochs_count == 0)
        add_epoch(r, (struct epoch_start){.epoch = batch->epoch, .first_seq = batch->first_seq});
    r->last = position;
    r->is_blank = r->is_blank && batch->kind == LOG_ENTRY_MEMBERS;
    if (r->first_seq == 0)
        r->first_seq = batch->first_seq;
    if (r->append_since_ms == 0)
        r->append_since_ms = r->now_ms == 0 ? 1 : r->now_ms;
    act(r, REPLICA_DO_APPEND)->entry = *batch;
    return OK;
}
