/* SPDX-License-Identifier: MIT */
/* ledger.h - the order of writes on this node, and what of it is committed.
 *
 * The service handlers see replication through this only: propose a delta, learn what is
 * committed, gate an answer on it. A proposed delta is applied at once, in the open transaction;
 * ledger_commit makes everything proposed since the last one durable: one transaction, one fsync,
 * one log row. An answer that tells of something not yet committed waits behind a gate.
 *
 * Reads are gated too, at the position of the state they were read from: so nothing uncommitted is
 * ever shown, without a second copy of the state.
 *
 * Core thread only. */
#ifndef JACKDAW_SERVER_LEDGER_H
#define JACKDAW_SERVER_LEDGER_H

#include "base/error.h"
#include "chat/chat.h"
#include "store/store.h"

#include <stdbool.h>

struct ledger;

/* Something that waits for a position. Lives in the waiting call's arena. */
struct gate {
    struct gate *next; /* the ledger's */
    uint64_t seq;
    /* committed: true when seq is committed; false when it was rolled back and never will be. */
    void (*open)(struct gate *gate, bool committed);
};

struct ledger_observer {
    void *context;
    /* Proposals were rolled back; the chat was loaded again as of `position`. */
    void (*rolled_back)(void *context, struct position position);
};

/* Takes over the log of store at its last position and starts the node's reign there: a node
 * without a reign of its own as the last one begins the next epoch. All pointers are borrowed and
 * must outlive the ledger. Errors: the store's, with a sentence in why. */
enum error ledger_open(struct ledger **out, struct store *store, uint64_t node_id,
                       const struct ledger_observer *observer, struct error_text *why);
void ledger_close(struct ledger *ledger); /* open gates are told false; NULL is allowed */

/* The chat whose deltas these are; once, before the first proposal. Starts the reign with a delta
 * where that is due. */
enum error ledger_attach(struct ledger *ledger, struct chat *chat, uint64_t time_ms,
                         struct error_text *why);

/* Applies delta and adds it to the batch. On error everything proposed since the last commit was
 * rolled back (gates told so), and the caller answers its own request. For a moment after the disk
 * failed every proposal is refused with that error at once. */
enum error ledger_propose(struct ledger *ledger, const Jackdaw__Delta *delta);

/* Makes everything proposed durable and opens the gates. OK also when there was nothing. On error
 * it was rolled back and the gates are told. */
enum error ledger_commit(struct ledger *ledger);

/* Why the last proposal or commit failed, for the answer; "" when it did not. */
const char *ledger_problem(const struct ledger *ledger);

/* The position of the last delta applied; of the last one committed. */
struct position ledger_applied(const struct ledger *ledger);
struct position ledger_committed(const struct ledger *ledger);

/* gate->open runs once the state as applied now is committed: at once if it is. A gate that comes
 * up while a delta is applied waits for that delta. */
void ledger_gate(struct ledger *ledger, struct gate *gate);

uint64_t ledger_epoch(const struct ledger *ledger);

/* Forgets log rows of batches before the newest `keep` deltas, a bounded number at a time. */
enum error ledger_prune(struct ledger *ledger, uint64_t keep);

#endif
