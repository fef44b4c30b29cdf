/* SPDX-License-Identifier: MIT */
#include "cluster/disk_state.h"

#include <string.h>

static enum error add_epoch_start(void *context, const struct epoch_row *row)
{
    struct disk_state *disk = context;
    if (disk->epoch_starts_count == REPLICA_EPOCH_STARTS_MAX) {
        memmove(disk->epoch_starts, disk->epoch_starts + 1,
                (REPLICA_EPOCH_STARTS_MAX - 1) * sizeof *disk->epoch_starts);
        disk->epoch_starts_count--;
    }
    disk->epoch_starts[disk->epoch_starts_count++] =
        (struct replica_epoch_start){.epoch = row->epoch, .first_seq = row->first_seq};
    return OK;
}

static enum error read_members(struct disk_state *disk, struct store *store,
                               struct replica_state *state)
{
    struct position position;
    enum error error = store_get_members(store, &position, disk->members, sizeof disk->members,
                                         &state->members_size);
    if (error == ERROR_NOT_FOUND)
        return OK;
    if (error != OK)
        return error;
    if (state->members_size > sizeof disk->members)
        state->members_size = 0; /* replica_state_check finds fault with that */
    state->members = disk->members;
    state->members_position =
        (struct replica_position){.epoch = position.epoch, .seq = position.seq};
    return OK;
}

static enum error read_promise(struct store *store, struct replica_state *state)
{
    size_t used;
    enum error error =
        store_get_value(store, PROMISE_KEY, &state->promised, sizeof state->promised, &used);
    if (error == ERROR_NOT_FOUND)
        state->promised = 0;
    else if (error != OK)
        return error;
    else if (used != sizeof state->promised)
        state->promised = UINT64_MAX; /* as above */
    /* The database may be a restored backup, so the epochs of its log count as promised, too. */
    if (state->promised < state->last.epoch)
        state->promised = state->last.epoch;
    return OK;
}

static enum error read_chat(struct store *store, struct replica_state *state)
{
    bool is_blank = false;
    enum error error = store_is_blank(store, &is_blank);
    state->has_chat = !is_blank;
    return error;
}

enum error disk_state_read(struct disk_state *disk, struct store *store,
                           struct replica_state *state, struct error_text *why)
{
    *state = (struct replica_state){.epoch_starts = disk->epoch_starts};
    struct position last = store_position(store);
    state->last = (struct replica_position){.epoch = last.epoch, .seq = last.seq};
    state->first_seq = store_log_first(store);
    store_cluster(store, state->cluster);
    disk->epoch_starts_count = 0;
    enum error error = store_each_epoch(store, add_epoch_start, disk);
    state->epoch_starts_count = disk->epoch_starts_count;
    if (error == OK)
        error = read_members(disk, store, state);
    if (error == OK)
        error = read_promise(store, state);
    if (error == OK)
        error = read_chat(store, state);
    if (error != OK)
        return error_set(why, error, "%s%s", store_last_problem(store),
                         error == ERROR_CORRUPT ? "; " STORE_DAMAGE_ADVICE : "");
    struct error_text wrong;
    error = replica_state_check(state, &wrong);
    return error == OK ? OK : error_set(why, error, "%s; " STORE_DAMAGE_ADVICE, wrong.text);
}
