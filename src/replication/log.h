/* SPDX-License-Identifier: MIT */
/* log.h - this node's log: its end, the epochs that wrote it, and appending. The entries themselves are
 * with the driver. */
#ifndef JACKDAW_REPLICATION_LOG_H
#define JACKDAW_REPLICATION_LOG_H

#include "replication/state.h"

/* Takes what the disk holds. state has passed replica_state_check; it is borrowed for the call. */
void replica_log_load(struct replica *r, const struct replica_state *state);

/* The last REPLICA_EPOCHS_MAX epochs; valid until the next append. */
struct epoch_history replica_log_epochs(const struct replica *r);

/* Whether the log has, or had before it was pruned, this position. (0, 0): always. */
bool replica_log_has(const struct replica *r, struct log_position position);

/* Whether entry follows the end of the log: its seq is the next one, its epoch not lower. */
bool replica_log_is_next(const struct replica *r, const struct log_entry *entry);

/* Appends an entry that is the next one, with an APPEND action; its bytes are borrowed. ERROR_INVALID:
 * the entry is a malformed list of members; the log is unchanged. */
enum error replica_log_append(struct replica *r, const struct log_entry *entry);

/* The master appends an entry of its epoch and publishes it. bytes are borrowed until the next step;
 * count: of seqs, at least 1. A list of members must be one. */
void replica_log_append_own(struct replica *r, enum log_entry_kind kind, const uint8_t *bytes,
                            size_t size, uint64_t count);

/* The master appends the next list of members if it was changed. */
void replica_log_append_members(struct replica *r);

/* Notes that the disk has finished the appends up to position, and learns how long that took. */
void replica_log_note_durable(struct replica *r, struct log_position position);

/* Whether the disk takes longer than usual, or has failed within ack_timeout_ms. */
bool replica_log_is_unhealthy(const struct replica *r);

/* Whether an append takes longer than disk_timeout_ms, or the disk has failed within ack_timeout_ms. */
bool replica_log_is_hung(const struct replica *r);

#endif
