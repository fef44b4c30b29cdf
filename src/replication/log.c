/* SPDX-License-Identifier: MIT */
#include "replication/log.h"

#include "replication/actions.h"
#include "replication/locations.h"
#include "replication/members.h"
#include "replication/send.h"

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
    if (!is_in_range(state->last) || state->first_seq > state->last.seq + 1)
        wrong = "epoch or seq of the last row of table log is out of range";
    else if (state->promised >= REPLICA_NUMBER_MAX)
        wrong = "the promise of this node is out of range";
    else if (!are_epochs_sound(state))
        wrong = "the rows of table epoch_start do not lead to the last row of table log";
    else if (!are_members_sound(state))
        wrong = "the row of table cluster_members is not a list of members";
    return wrong == NULL ? OK : error_set(why, ERROR_CORRUPT, "%s", wrong);
}

static enum error load_members(struct replica *r, const uint8_t *bytes, size_t size,
                               struct log_position position)
{
    enum error error = replica_members_read(r, bytes, size);
    if (error != OK)
        return error;
    replica_locations_relist(r);
    replica_members_adopt(r, position);
    return OK;
}

void replica_log_load(struct replica *r, const struct replica_state *state)
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
    enum error error = OK;
    r->members.count = 0; /* so that no address of the old list is compared with the new one */
    if (state->members != NULL)
        error = load_members(r, state->members, state->members_size, state->members_position);
    else
        replica_members_clear(r);
    ASSERT(error == OK);
}

struct epoch_history replica_log_epochs(const struct replica *r)
{
    return (struct epoch_history){.starts = r->epochs, .count = r->epochs_count};
}

bool replica_log_has(const struct replica *r, struct log_position position)
{
    if (position.seq == 0)
        return position.epoch == 0;
    uint64_t epoch = epoch_history_at(replica_log_epochs(r), position.seq);
    return (position.seq <= r->last.seq ? epoch : 0) == position.epoch;
}

bool replica_log_is_next(const struct replica *r, const struct log_entry *batch)
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

enum error replica_log_append(struct replica *r, const struct log_entry *batch)
{
    ASSERT(replica_log_is_next(r, batch));
    struct log_position position = log_entry_last(batch);
    if (batch->kind == LOG_ENTRY_MEMBERS) {
        enum error error = load_members(r, batch->bytes, batch->size, position);
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
    replica_act(r, REPLICA_DO_APPEND)->entry = *batch;
    return OK;
}

/* ---- the master appends ---- */

/* Begins the ack timeout of each peer that has acked the whole log. */
static void note_debt(struct replica *r)
{
    for (size_t i = 0; i < REPLICA_MEMBERS_MAX; i++)
        if (r->peers[i].id != 0 && r->peers[i].acked.seq >= r->last.seq)
            r->peers[i].progress_ms = r->now_ms;
}

void replica_log_append_own(struct replica *r, enum log_entry_kind kind, const uint8_t *bytes,
                            size_t size, uint64_t count)
{
    struct log_position before = r->last;
    struct log_entry batch = {
        .kind = kind,
        .epoch = r->epoch,
        .first_seq = before.seq + 1,
        .last_seq = before.seq + count,
        .bytes = bytes,
        .size = size,
    };
    note_debt(r);
    enum error error = replica_log_append(r, &batch);
    ASSERT(error == OK);
    struct log_entry *published = &r->out->items[r->out->count - 1].entry;
    struct replica_message *message = replica_send_with(r, REPLICA_DO_PUBLISH, REPLICA_APPEND, 0);
    message->epoch = r->epoch;
    message->append = (struct replica_append){
        .before = before, .last = r->last, .committed = r->committed, .entry = published};
}

void replica_log_append_members(struct replica *r)
{
    if (!r->members_changed || r->role != REPLICA_MASTER)
        return;
    r->members_changed = false;
    size_t size = replica_members_pack(&r->next_members, r->members_bytes);
    replica_log_append_own(r, LOG_ENTRY_MEMBERS, r->members_bytes, size, 1);
}

/* ---- the disk ---- */

void replica_log_note_durable(struct replica *r, struct log_position position)
{
    if (r->append_since_ms != 0)
        silence_learn(&r->disk, &r->disk_bounds, r->now_ms - r->append_since_ms, r->now_ms);
    r->durable = position;
    r->append_since_ms = r->durable.seq == r->last.seq ? 0 : r->now_ms;
    r->failed_ms = 0;
}

static bool is_slower(const struct replica *r, uint32_t limit_ms)
{
    if (r->failed_ms != 0 && r->now_ms - r->failed_ms < r->options.ack_timeout_ms)
        return true;
    return r->append_since_ms != 0 && r->now_ms - r->append_since_ms > limit_ms;
}

bool replica_log_is_unhealthy(const struct replica *r)
{
    return is_slower(r, silence_limit_ms(&r->disk, &r->disk_bounds));
}

bool replica_log_is_hung(const struct replica *r)
{
    return is_slower(r, r->options.disk_timeout_ms);
}
