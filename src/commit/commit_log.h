/* SPDX-License-Identifier: MIT */
/* commit_log.h - the order of writes on this node: applied, durable and committed entries.
 *
 * The chat's side sees replication through this only: propose a delta, learn what is committed
 * (commit waiters), learn the role. A proposed delta is applied at once, in the open transaction.
 * The driver (cluster.h) seals all later proposals as one batch, has the replica order it, appends
 * it and calls commit_log_write. One transaction, one fsync and one entry of the log make the batch
 * durable. The commit log does not call the driver, which asks for events. An answer about an
 * uncommitted change waits behind a commit waiter. Answers to reads wait too, for the position of
 * their state. So no client sees an uncommitted change, without a second copy of the state.
 *
 * The driver (cluster.h) appends entries to the log: this node's own, or another node's. The latter
 * are applied in order as soon as the disk is free.
 *
 *            propose, or entries of others        seal, append, write
 *     FREE ------------------------------> OPEN --------------------> WRITING ---> FREE
 *                                            |                           |
 *                                            '------- rolled back <------'
 *
 * The disk works on a thread of its own. While it does (WRITING), the core thread must not use the
 * store. But it counts acks, wakes commit waiters and answers peers: a server with a hung disk
 * still processes acks, and reports itself unhealthy.
 *
 * Core thread only. */
#ifndef JACKDAW_COMMIT_COMMIT_LOG_H
#define JACKDAW_COMMIT_COMMIT_LOG_H

#include "base/error.h"
#include "base/task_queue.h"
#include "chat/chat.h"
#include "commit/crash_note.h"
#include "commit/worker.h"
#include "store/store.h"

#include <stdbool.h>

struct commit_log;

/* An answer that waits for a position. Lives in the waiting call's arena. */
struct commit_waiter {
    struct commit_waiter *prev, *next; /* the commit log's */
    uint64_t seq;
    /* committed: true when seq is committed; false when it was rolled back, or nobody here will
     * ever know: another node is the master now. */
    void (*open)(struct commit_waiter *commit_waiter, bool committed);
};

/* An event for the driver. */
struct commit_log_event {
    enum commit_log_event_kind {
        COMMIT_LOG_ROLLED_BACK, /* applied entries that are not durable are undone; the chat was loaded again */
        COMMIT_LOG_FAILED,  /* error: the disk failed; the store is as after its last good write */
        COMMIT_LOG_DURABLE, /* position: all entries up to there are durable */
    } kind;
    enum error error;
    struct log_position position;
};

/* A batch that is whole: the bytes are the commit log's until commit_log_write. */
struct commit_log_batch {
    const uint8_t *bytes;
    size_t size;
    uint64_t count; /* of deltas */
};

struct commit_log_options {
    struct store *store;
    struct crash_note *note; /* where entries of others are noted while they are applied; or NULL */
    struct crash_note
        *projecting;          /* where entries are noted while their rows are written; or NULL */
    struct task_queue *queue; /* where the disk's thread tells that it is done */
    struct worker *disk;      /* NULL: writes on the core thread (in memory, tests) */
    struct worker *projector; /* brings the database up to date; NULL: the core thread, at once */
};

/* All pointers are borrowed and must outlive the commit log. */
enum error commit_log_new(struct commit_log **out, const struct commit_log_options *options);
/* No write may be under way: the disk's thread has ended, and the queue was run since. Open commit
 * waiters get false. NULL is allowed. */
void commit_log_free(struct commit_log *commit_log);

/* The chat that entries are applied to; once, before anything else. Replays the entries of the log that
 * the database lacks; errors as of replay_run (replay.h). */
enum error commit_log_attach(struct commit_log *commit_log, struct chat *chat,
                             struct error_text *why);

/* ---- the chat's side ---- */

/* Whether this node orders writes now, and in which epoch. */
bool commit_log_is_master(const struct commit_log *commit_log);

/* Applies delta and adds it to the batch. ERROR_VERSION: some member does not know this kind of
 * delta; the state is unchanged. Only while commit_log_is_free or open. ERROR_CLOSED: not the
 * master, or the disk failed and the driver has not taken that event yet. On another error everything
 * proposed since the last commit_log_write was rolled back (commit waiters told so), and the caller answers its own
 * request. */
enum error commit_log_propose(struct commit_log *commit_log, const Jackdaw__Delta *delta);

/* Opens the transaction that the next proposals go into, unless it is open. Only while free. Errors:
 * ERROR_CLOSED as of commit_log_propose; store_begin's, which are an event, too. */
enum error commit_log_open(struct commit_log *commit_log);

/* Whether a transaction is open: false once what was in it was rolled back. */
bool commit_log_is_open(const struct commit_log *commit_log);

/* In the child of a trial: writes the rows of what was proposed so far into the child's copy of the database.
 * Elsewhere it does nothing. */
void commit_log_flush(struct commit_log *commit_log);

/* The reason why the last proposal or write failed, for the answer; "" if it did not. */
const char *commit_log_problem(const struct commit_log *commit_log);

/* The position of the last delta applied; of the last one that is committed, and on the disk here:
 * that is what may be shown. */
struct log_position commit_log_applied(const struct commit_log *commit_log);
struct log_position commit_log_committed(const struct commit_log *commit_log);

/* commit waiter->open runs once the state as applied now is committed: at once if it is. A commit waiter that comes
 * up while a delta is applied waits for that delta. */
void commit_log_wait(struct commit_log *commit_log, struct commit_waiter *commit_waiter);

/* All commit waiters get false: this node may never know whether their positions are committed. */
void commit_log_give_up(struct commit_log *commit_log);

/* Returns whether an answer waits. */
bool commit_log_has_waiters(const struct commit_log *commit_log);

/* ---- the core's side ---- */

/* Whether the store may be read and written: no write is under way. */
bool commit_log_is_free(const struct commit_log *commit_log);

/* Bytes of the batch that is open. */
size_t commit_log_batch_bytes(const struct commit_log *commit_log);

/* Applies entries of others that wait, in the open transaction, a bounded number of them. Only while
 * free. false: some are left, and nothing may be proposed before the next commit_log_write. */
bool commit_log_catch_up(struct commit_log *commit_log);

/* Returns whether the next batch should wait for more requests. Reasons: the slaves still write the
 * previous batch, or newly answered clients probably send again (group_commit.h). Call it in each
 * turn in which the commit log is free. Any event of the cluster ends the wait. */
bool commit_log_may_grow(struct commit_log *commit_log, uint64_t now_us);
/* The time of the next call without another event; UINT64_MAX: no batch waits, or it waits for the
 * slaves only. */
uint64_t commit_log_grows_until_us(struct commit_log *commit_log, uint64_t now_us);

/* After the next write the log forgets batches that end before `before_seq`. */
void commit_log_prune(struct commit_log *commit_log, uint64_t before_seq);

/* To be called about every 100 ms: as projector_tick (projector.h). */
void commit_log_tick(struct commit_log *commit_log);

/* As projector_drop_orphans. */
void commit_log_drop_orphans(struct commit_log *commit_log, uint64_t last);

/* Returns the last orphan that the store has and that is not to be dropped; 0: none. */
uint64_t commit_log_last_orphan(const struct commit_log *commit_log);

/* Waits for the projector, so that the store may be closed or exchanged. */
void commit_log_wait_for_projection(struct commit_log *commit_log);

/* ---- the driver's side ---- */

/* Whether the next writes are the disk's thread's (the default where there is one) or this
 * thread's. The disk thread costs two switches of threads. This is only useful if other nodes
 * follow this one and must learn its health meanwhile. */
void commit_log_share_writes(struct commit_log *commit_log, bool share);

/* The next event, in the order of enum commit_log_event_kind. false: there is none. Between two writes an
 * event of each kind is given at most once. */
bool commit_log_next_event(struct commit_log *commit_log, struct commit_log_event *event);

/* Writes the rows of the batch and completes its bytes. false: there is no batch; or it was rolled back
 * because that failed. */
bool commit_log_seal(struct commit_log *commit_log, struct commit_log_batch *batch);

/* The highest feature level of the deltas that may be proposed; chat_level() at first. */
void commit_log_set_level(struct commit_log *commit_log, uint32_t level);

/* Puts the next entry into the log. An entry with the bytes of the sealed batch is the batch itself. */
enum error commit_log_append(struct commit_log *commit_log, const struct log_entry *entry);

/* Makes what was applied durable: entries of others, or the sealed batch. A batch that was not appended
 * since is rolled back: this node may not order writes any longer. Does nothing where nothing was
 * applied, or while a write is under way. */
void commit_log_write(struct commit_log *commit_log);

/* Whether more entries of others wait than are good for the memory: the disk is slow or hangs. A
 * caller that can get the entries again should not append them now. */
bool commit_log_is_full(const struct commit_log *commit_log);

/* All entries up to seq are committed. */
void commit_log_commit(struct commit_log *commit_log, uint64_t seq);

/* This node becomes the master in epoch or, with 0, stops being the master: then all commit waiters
 * get false. */
void commit_log_set_epoch(struct commit_log *commit_log, uint64_t epoch);

/* Waits for the disk's thread, so that the store may be used. OK, or the error of the write: then
 * everything not durable was rolled back (without COMMIT_LOG_FAILED). The entries that became
 * durable are an event once the disk's task has run, as usual. */
enum error commit_log_wait_for_disk(struct commit_log *commit_log);

/* Forgets what is not durable: applied entries are undone, waiting ones dropped. After
 * commit_log_wait_for_disk. */
void commit_log_roll_back(struct commit_log *commit_log);

/* The store is another one now, and the chat is loaded from it. No entry counts as committed, and
 * all commit waiters get false. */
void commit_log_replaced(struct commit_log *commit_log, struct store *store);

#endif
