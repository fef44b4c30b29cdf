/* SPDX-License-Identifier: MIT */
#include "cluster/disk_state.h"

static enum error read_members(struct disk_state *disk, struct store *store,
                               struct replica_state *state)
{
    enum error error = store_get_members(store, &state->members_position, disk->members,
                                         sizeof disk->members, &state->members_size);
    if (error == ERROR_NOT_FOUND)
        return OK;
    if (error != OK)
        return error;
    if (state->members_size > sizeof disk->members)
        state->members_size = 0; /* replica_state_check finds fault with that */
    state->members = disk->members;
    return OK;
}

enum error disk_state_read(struct disk_state *disk, struct store *store,
                           struct replica_state *state, struct error_text *why)
{
    *state = (struct replica_state){
        .last = store_position(store),
        .first_seq = store_log_first(store),
        .epochs = store_epochs(store),
        .has_chat = !store_is_blank(store),
        .promised = store_promised(store),
    };
    /* The database may be a restored backup, so the epochs of its log count as promised, too. */
    if (state->promised < state->last.epoch)
        state->promised = state->last.epoch;
    store_cluster(store, state->cluster);
    enum error error = read_members(disk, store, state);
    if (error != OK)
        return error_set(why, error, "%s%s", store_last_problem(store),
                         error == ERROR_CORRUPT ? "; " STORE_DAMAGE_ADVICE : "");
    struct error_text wrong;
    error = replica_state_check(state, &wrong);
    return error == OK ? OK : error_set(why, error, "%s; " STORE_DAMAGE_ADVICE, wrong.text);
}
