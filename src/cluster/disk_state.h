/* SPDX-License-Identifier: MIT */
/* disk_state.h - what a database holds for the replica: read from a store, and checked. */
#ifndef JACKDAW_CLUSTER_DISK_STATE_H
#define JACKDAW_CLUSTER_DISK_STATE_H

#include "replication/replica.h"
#include "store/store.h"

/* Storage for what a state points to; the caller's. */
struct disk_state {
    uint8_t members[REPLICA_MEMBERS_BYTES_MAX];
};

/* Fills *state, which points into *disk and the store, from the store, and checks it: it may be stepped.
 * The caller may use *state until it reads or writes the store again. Returns the store's errors, or
 * ERROR_CORRUPT with a sentence in why (NULL is allowed). The store's thread. */
enum error disk_state_read(struct disk_state *disk, struct store *store,
                           struct replica_state *state, struct error_text *why);

#endif
