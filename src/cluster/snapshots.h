/* SPDX-License-Identifier: MIT */
/* snapshots.h - transfers whole databases between servers, in chunks.
 *
 * The sender copies the database beside the writer, on a thread of its own, and keeps the copy for
 * a while. So all receivers get the same copy, and a broken transfer resumes. The receiver writes
 * chunks to a file in the data folder. When the file is complete, that thread syncs and checks it.
 * Core thread only. */
#ifndef JACKDAW_CLUSTER_SNAPSHOTS_H
#define JACKDAW_CLUSTER_SNAPSHOTS_H

#include "base/task_queue.h"
#include "replication/replica.h"
#include "store/store.h"

#include <stdbool.h>

struct snapshots;

struct snapshots_options {
    const char *folder; /* of the node's data; NULL: in memory, gives and takes nothing */
    struct store *store;
    struct task_queue *queue;
    void *context;
    void (*checked)(void *context); /* from the queue: snapshots_check_received may know more now */
};

/* Removes what an earlier process left behind. ERROR_NO_MEMORY; ERROR_INVALID: folder's name is too
 * long. */
enum error snapshots_new(struct snapshots **out, const struct snapshots_options *options,
                         struct error_text *why);
/* Ends a running copy and check, and then runs the queue, without a callback. NULL is allowed. */
void snapshots_free(struct snapshots *snapshots);

/* Completes *chunk (its snapshot, offset, common and avoid are as requested; the copy
 * contains both of the latter) with the bytes, which are valid until the next call. false: no chunk
 * can be sent yet. If no copy fits and the disk has room, a copy is made, and the receiver asks
 * again. */
bool snapshots_send(struct snapshots *snapshots, struct replica_snapshot_chunk *chunk,
                    uint64_t now_ms);

/* The receiver of the current copy continues with the log after this seq. UINT64_MAX: there is no
 * copy. */
uint64_t snapshots_needed_seq(const struct snapshots *snapshots);

/* Writes a chunk that came; the one at offset 0 begins anew. ERROR_IO, ERROR_DISK_FULL (at offset 0
 * if there is no room for all chunks, which is logged), ERROR_INVALID (not the next chunk): the
 * received chunks are deleted. */
enum error snapshots_receive(struct snapshots *snapshots,
                             const struct replica_snapshot_chunk *chunk);

/* Returns whether the received file has been checked. If not, begins the check and calls
 * options.checked later. *found is OK if the file is on the disk and this server could load it
 * (database_check.h). Otherwise the file is deleted, and the log has the reason. A chunk at offset
 * 0 resets the result. */
bool snapshots_check_received(struct snapshots *snapshots, enum error *found);

/* Closes the received file and returns its name. No check may be running. */
const char *snapshots_finish_received(struct snapshots *snapshots);

/* Ends a running copy and deletes the current one: the database is about to be replaced, and may
 * have no readers. */
void snapshots_forget(struct snapshots *snapshots);

/* The database is damaged: sends no more snapshots until snapshots_set_store. */
void snapshots_set_damaged(struct snapshots *snapshots);

/* The database is another one now. */
void snapshots_set_store(struct snapshots *snapshots, struct store *store);

/* Throws away a copy that nobody asked for lately. */
void snapshots_tick(struct snapshots *snapshots, uint64_t now_ms);

#endif
