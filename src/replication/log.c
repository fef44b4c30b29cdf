/* SPDX-License-Identifier: MIT */
/* What this node's log looks like from here: its end, and which epoch wrote what. */
#include "replication/replica_internal.h"

#include <string.h>

int replica_position_compare(struct replica_position left, struct replica_position right)
{
    if (left.epoch != right.epoch)
        return left.epoch < right.epoch ? -1 : 1;
    if (left.seq != right.seq)
        return left.seq < right.seq ? -1 : 1;
    return 0;
}

static bool is_in_range(struct replica_position position)
{
    return position.epoch < REPLICA_NUMBER_MAX && position.seq < REPLICA_NUMBER_MAX;
}

static bool are_epoch_starts_sound(const struct replica_state *state)
{
    for (size_t i = 0; i < state->epoch_starts_count; i++) {
        const struct replica_epoch_start *epoch_start = &state->epoch_starts[i];
        bool ascends = i == 0 || (epoch_start->epoch > epoch_start[-1].epoch &&
                                  epoch_start->first_seq > epoch_start[-1].first_seq);
        if (epoch_start->epoch == 0 || epoch_start->first_seq == 0 || !ascends)
            return false;
    }
    if (state->epoch_starts_count == 0 || state->last.seq == 0)
        return state->epoch_starts_count == 0;
    const struct replica_epoch_start *last = &state->epoch_starts[state->epoch_starts_count - 1];
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
    else if (!are_epoch_starts_sound(state))
        wrong = "the rows of table epoch_start do not lead to the last row of table log";
    else if (!are_members_sound(state))
        wrong = "the row of table cluster_members is not a list of members";
    return wrong == NULL ? OK : error_set(why, ERROR_CORRUPT, "%s", wrong);
}

void log_load(struct replica *r, const struct replica_state *state)
{
    size_t skip = state->epoch_starts_count > REPLICA_EPOCH_STARTS_MAX
                      ? state->epoch_starts_count - REPLICA_EPOCH_STARTS_MAX
                      : 0;
    r->epoch_starts_count = state->epoch_starts_count - skip;
    if (r->epoch_starts_count > 0)
        memcpy(r->epoch_starts, state->epoch_starts + skip,
               r->epoch_starts_count * sizeof *r->epoch_starts);
    r->last = state->last;
    r->durable = state->last;
    r->first_seq = state->first_seq;
    r->append_since_ms = 0;
    r->last_orphan = state->last_orphan;
    r->avoid = state->avoid;
    r->is_blank = !state->has_chat && state->last_orphan == 0;
    if (r->committed > r->last.seq)
        r->committed = r->last.seq;
    r->members.count = 0;
    r->members_position = (struct replica_position){0, 0};
    r->members_changed = false;
    enum error error = OK;
    if (state->members != NULL)
        error = members_load(r, state->members, state->members_size, state->members_position);
    else
        memset(r->peers, 0, sizeof r->peers); /* each is of a member */
    ASSERT(error == OK);
}

uint64_t log_epoch_at(const struct replica *r, uint64_t seq)
{
    if (seq == 0 || seq > r->last.seq)
        return 0;
    for (size_t i = r->epoch_starts_count; i > 0; i--)
        if (r->epoch_starts[i - 1].first_seq <= seq)
            return r->epoch_starts[i - 1].epoch;
    return 0;
}

bool log_has(const struct replica *r, struct replica_position position)
{
    return position.seq == 0 ? position.epoch == 0
                             : log_epoch_at(r, position.seq) == position.epoch;
}

bool log_is_next(const struct replica *r, const struct replica_batch *batch)
{
    return batch->first_seq == r->last.seq + 1 && batch->last_seq >= batch->first_seq &&
           batch->epoch >= r->last.epoch && batch->epoch != 0 &&
           (batch->kind != REPLICA_MEMBERS || batch->last_seq == batch->first_seq);
}

static void add_epoch_start(struct replica *r, uint64_t epoch, uint64_t first_seq)
{
    if (r->epoch_starts_count == REPLICA_EPOCH_STARTS_MAX) {
        memmove(r->epoch_starts, r->epoch_starts + 1,
                (REPLICA_EPOCH_STARTS_MAX - 1) * sizeof *r->epoch_starts);
        r->epoch_starts_count--;
    }
    r->epoch_starts[r->epoch_starts_count++] =
        (struct replica_epoch_start){.epoch = epoch, .first_seq = first_seq};
}

enum error log_append(struct replica *r, const struct replica_batch *batch)
{
    ASSERT(log_is_next(r, batch));
    struct replica_position position = {.epoch = batch->epoch, .seq = batch->last_seq};
    if (batch->kind == REPLICA_MEMBERS) {
        enum error error = members_load(r, batch->bytes, batch->size, position);
        if (error != OK)
            return error;
    }
    if (batch->epoch != r->last.epoch || r->epoch_starts_count == 0)
        add_epoch_start(r, batch->epoch, batch->first_seq);
    r->last = position;
    r->is_blank = r->is_blank && batch->kind == REPLICA_MEMBERS;
    if (r->first_seq == 0)
        r->first_seq = batch->first_seq;
    if (r->append_since_ms == 0)
        r->append_since_ms = r->now_ms == 0 ? 1 : r->now_ms;
    act(r, REPLICA_DO_APPEND)->batch = *batch;
    return OK;
}

/* Where the epoch at index ends, in a log that ends at last_seq. */
static uint64_t end_of(const struct replica_epoch_start *epoch_starts, size_t count, size_t index,
                       uint64_t last_seq)
{
    return index + 1 < count ? epoch_starts[index + 1].first_seq - 1 : last_seq;
}

struct replica_position log_common(const struct replica *r, const struct replica_message *join)
{
    /* Within an epoch both logs have the same batches, as one node alone wrote them. */
    for (size_t i = join->epoch_starts_count; i > 0; i--)
        for (size_t k = r->epoch_starts_count; k > 0; k--) {
            if (r->epoch_starts[k - 1].epoch != join->epoch_starts[i - 1].epoch)
                continue;
            uint64_t theirs =
                end_of(join->epoch_starts, join->epoch_starts_count, i - 1, join->position.seq);
            uint64_t ours = end_of(r->epoch_starts, r->epoch_starts_count, k - 1, r->last.seq);
            return (struct replica_position){.epoch = r->epoch_starts[k - 1].epoch,
                                             .seq = theirs < ours ? theirs : ours};
        }
    return (struct replica_position){0, 0};
}
