/* SPDX-License-Identifier: MIT */
/* snapshots.h - whole databases on their way from one server to another, in chunks.
 *
 * Giving: a copy of the database is made beside the writer, on a thread of its own, and kept for a
 * while, so that all who ask get the same and a broken transfer goes on where it stopped. Taking:
 * chunks are written to a file in the data folder, until it is whole; then it is synced and checked,
 * on that thread, too. Core thread only. */
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
/* Ends a copy and a check under way, and runs the queue where there was one; nobody is told of it.
 * NULL is allowed. */
void snapshots_free(struct snapshots *snapshots);

/* Completes *chunk (a SNAPSHOT_CHUNK: its snapshot, offset, common and position as asked; the copy
 * contains both of the latter) with the bytes, which
 * are valid until the next call. false: nothing can be sent yet; a copy is made if none fits and the
 * disk has room for it, and whoever asked asks again. */
bool snapshots_send(struct snapshots *snapshots, struct replica_message *chunk, uint64_t now_ms);

/* Whoever gets the copy that is being made, or kept for giving, goes on with the log after this seq.
 * UINT64_MAX: there is no copy. */
uint64_t snapshots_needed_seq(const struct snapshots *snapshots);

/* Writes a chunk that came; the one at offset 0 begins anew. ERROR_IO, ERROR_DISK_FULL (already at
 * offset 0 where there is no room for all, which is logged), ERROR_INVALID (not the next one): what
 * was kept is thrown away then. */
enum error snapshots_receive(struct snapshots *snapshots, const struct replica_message *chunk);

/* Whether it is known what the file that the chunks made is good for; begins to look where nobody has,
 * in which case options.checked is called later. *found: OK: it is on the disk, and everything that this
 * server would load from it was loaded (database_check.h);
 * else it is thrown away, and what is wrong was logged. A chunk at offset 0 makes it unknown again. */
bool snapshots_check_received(struct snapshots *snapshots, enum error *found);

/* Closes the file that the chunks made, for whoever takes it from there, and tells its name. It is not
 * being checked. */
const char *snapshots_finish_received(struct snapshots *snapshots);

/* Ends a copy under way and forgets the one that is kept for giving: the database is about to be
 * replaced, and may have no readers. */
void snapshots_forget(struct snapshots *snapshots);

/* The database is damaged: nothing is given any more, until it is another one. */
void snapshots_set_damaged(struct snapshots *snapshots);

/* The database is another one now. */
void snapshots_set_store(struct snapshots *snapshots, struct store *store);

/* Throws away a copy that nobody asked for lately. */
void snapshots_tick(struct snapshots *snapshots, uint64_t now_ms);

#endif
