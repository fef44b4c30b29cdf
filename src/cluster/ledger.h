/* SPDX-License-Identifier: MIT */
/* ledger.h - the order of writes on this node: what is applied, what is on the disk, what is
 * committed.
 *
 * The chat's side sees replication through this only: propose a delta, learn what is committed
 * (gates), learn the role. A proposed delta is applied at once, in the open transaction;
 * ledger_write hands everything proposed since to the driver as one batch, and one transaction,
 * one fsync and one entry of the log make it durable. An answer that tells of something not yet
 * committed waits behind a gate. Reads are gated too, at the position of the state they were read
 * from: so nothing uncommitted is ever shown, without a second copy of the state.
 *
 * The driver's side (cluster.h) puts entries into the log: its own, as it is handed one, or another
 * node's, which are applied in their order as soon as the disk is free.
 *
 *            propose, or entries of others           ledger_write
 *     FREE ------------------------------> OPEN --------------------> WRITING ---> FREE
 *                                            |                           |
 *                                            '------- rolled back <------'
 *
 * The disk works on a thread of its own. While it does (WRITING) nothing here may read or write the
 * store, but acks are counted, gates open and the others are answered: a disk that hangs makes this
 * node sick, not deaf.
 *
 * Core thread only. */
#ifndef JACKDAW_CLUSTER_LEDGER_H
#define JACKDAW_CLUSTER_LEDGER_H

#include "base/error.h"
#include "base/task_queue.h"
#include "chat/chat.h"
#include "cluster/crash_note.h"
#include "cluster/worker.h"
#include "store/store.h"

#include <stdbool.h>

struct ledger;

/* Something that waits for a position. Lives in the waiting call's arena. */
struct gate {
    struct gate *next; /* the ledger's */
    uint64_t seq;
    /* committed: true when seq is committed; false when it was rolled back, or nobody here will
     * ever know: another node reigns now. */
    void (*open)(struct gate *gate, bool committed);
};

/* An entry of the log, as the driver knows it. bytes are borrowed. */
struct ledger_entry {
    enum log_kind kind;
    struct position first; /* the epoch, and the seq of its first delta */
    uint64_t last_seq;
    const uint8_t *bytes;
    size_t size;
    const uint8_t *digest; /* what the log's digest must be after it; NULL: unknown */
};

/* Whose ledger it is. None of these may call ledger_propose or ledger_write. */
struct ledger_driver {
    void *context;
    /* The open batch is whole. Calls ledger_append with these very bytes before it returns; where it
     * does not (this node may not order writes any longer), the batch is rolled back. */
    void (*propose)(void *context, const uint8_t *bytes, size_t size, uint64_t count);
    /* Everything up to position is on the disk. */
    void (*durable)(void *context, struct position position);
    /* The disk failed; the store is as it was after the last write that did not. */
    void (*failed)(void *context, enum error error);
    /* What was applied after position is undone; the chat was loaded again. Before failed. */
    void (*rolled_back)(void *context, struct position position);
};

struct ledger_options {
    struct store *store;
    struct crash_note *note; /* where entries of others are noted while they are applied; or NULL */
    struct task_queue *queue; /* where the disk's thread tells that it is done */
    struct worker *disk;      /* NULL: writes on the core thread (in memory, tests) */
    struct ledger_driver driver;
};

/* All pointers are borrowed and must outlive the ledger. */
enum error ledger_new(struct ledger **out, const struct ledger_options *options);
/* No write may be under way: the disk's thread has ended, and the queue was run since. Open gates are
 * told false. NULL is allowed. */
void ledger_free(struct ledger *ledger);

/* The chat that entries are applied to; once, before anything else. */
void ledger_attach(struct ledger *ledger, struct chat *chat);

/* ---- the chat's side ---- */

/* Whether this node orders writes now, and in which reign. */
bool ledger_is_master(const struct ledger *ledger);

/* Applies delta and adds it to the batch. Only while ledger_is_free or open. ERROR_CLOSED: not the
 * master. On another error everything proposed since the last ledger_write was rolled back (gates
 * told so), and the caller answers its own request. */
enum error ledger_propose(struct ledger *ledger, const Jackdaw__Delta *delta);

/* Opens the transaction that the next proposals go into, unless it is open. Only while free. Errors:
 * store_begin's, after the driver was told that the disk failed. */
enum error ledger_open(struct ledger *ledger);

/* Whether a transaction is open: false once what was in it was rolled back. */
bool ledger_is_open(const struct ledger *ledger);

/* Writes the rows of what was proposed so far, if a transaction is open. Where that fails, everything
 * since the last ledger_write is rolled back, as after a proposal that fails. */
void ledger_flush(struct ledger *ledger);

/* Why the last proposal or write failed, for the answer; "" when it did not. */
const char *ledger_problem(const struct ledger *ledger);

/* The position of the last delta applied; of the last one that is committed, and on the disk here:
 * that is what may be shown. */
struct position ledger_applied(const struct ledger *ledger);
struct position ledger_committed(const struct ledger *ledger);

/* gate->open runs once the state as applied now is committed: at once if it is. A gate that comes
 * up while a delta is applied waits for that delta. */
void ledger_gate(struct ledger *ledger, struct gate *gate);

/* Whether anybody waits. */
bool ledger_has_gates(const struct ledger *ledger);

/* ---- the core's side ---- */

/* Whether the store may be read and written: no write is under way. */
bool ledger_is_free(const struct ledger *ledger);

/* Bytes of the batch that is open. */
size_t ledger_batch_bytes(const struct ledger *ledger);

/* Applies entries of others that wait, in the open transaction, a bounded number of them. Only while
 * free. false: some are left, and nothing may be proposed before the next ledger_write. */
bool ledger_catch_up(struct ledger *ledger);

/* Whether the next batch had better wait for more: others still work at the one before, so that nobody
 * gains by another, smaller one; or those who were answered are likely to ask again (group_commit.h).
 * To be asked in each turn in which the ledger is free. Whatever happens in the cluster ends the
 * waiting. */
bool ledger_may_grow(struct ledger *ledger, uint64_t now_us);
/* When it is to be asked again, though nothing happens, now that all is done; UINT64_MAX: nothing
 * waits, or only for the others, which will be heard. */
uint64_t ledger_grows_until_us(struct ledger *ledger, uint64_t now_us);

/* Makes what was applied durable; does nothing where nothing was. */
void ledger_write(struct ledger *ledger);

/* The next write forgets log rows of batches that end before `before_seq`, a bounded number of them. */
void ledger_prune(struct ledger *ledger, uint64_t before_seq);

/* ---- the driver's side ---- */

/* Whether the next writes are the disk's thread's (the default where there is one) or this thread's.
 * Handing them over costs two switches of threads, which only pays where somebody must hear in the
 * meantime how this node is: where others follow it. */
void ledger_share_writes(struct ledger *ledger, bool share);

/* Puts the next entry into the log. Own ones: see ledger_driver.propose. */
enum error ledger_append(struct ledger *ledger, const struct ledger_entry *entry);

/* Whether more entries of others wait than are good for the memory: the disk is slow or hangs. Who can
 * have them again later should not append them now. */
bool ledger_is_full(const struct ledger *ledger);

/* Everything up to seq is committed. */
void ledger_commit(struct ledger *ledger, uint64_t seq);

/* This node reigns in epoch from now on; or (0) does not: what is gated is in doubt and told so. */
void ledger_set_reign(struct ledger *ledger, uint64_t epoch);

/* Waits for the disk's thread, so that the store may be used. OK, or the error of the write: then
 * everything not durable was rolled back (the driver is not told of this failure). What became
 * durable is told to the driver later, as usual. */
enum error ledger_settle(struct ledger *ledger);

/* Forgets what is not durable: applied entries are undone, waiting ones dropped. After
 * ledger_settle. */
void ledger_roll_back(struct ledger *ledger);

/* The store is another one now, and the chat is loaded from it. Nothing is known to be committed, and
 * nobody will ever know what became of that which is gated. */
void ledger_replaced(struct ledger *ledger, struct store *store);

#endif
