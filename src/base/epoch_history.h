/* SPDX-License-Identifier: MIT */
/* epoch_history.h - which epoch wrote which part of a log.
 *
 * A history lists each epoch with the first seq that it wrote, in ascending order of both. Two logs that
 * hold an entry of one epoch hold the same entries up to it (Raft, section 5.3, Log Matching). So two
 * histories tell where two logs part, as Kafka's leader epochs do (KIP-101). Pure; any thread. */
#ifndef JACKDAW_BASE_EPOCH_HISTORY_H
#define JACKDAW_BASE_EPOCH_HISTORY_H

#include "base/log_entry.h"

#include <stdbool.h>

struct epoch_start {
    uint64_t epoch;
    uint64_t first_seq;
};

/* A view of a list, which the caller owns. */
struct epoch_history {
    const struct epoch_start *starts;
    size_t count;
};

/* Returns the last epoch of the history; 0 when it is empty. */
uint64_t epoch_history_last(struct epoch_history history);

/* Returns whether start may be appended: epoch and first_seq are above 0 and above those of the last
 * start. */
bool epoch_history_ascends(struct epoch_history history, struct epoch_start start);

/* Returns the epoch that wrote seq; 0 when the history begins after seq. Seqs past the end of the log
 * count as the last epoch's. */
uint64_t epoch_history_at(struct epoch_history history, uint64_t seq);

/* Returns the last position of epoch in a log that ends at last_seq; (0, 0) when the history does not
 * list the epoch. */
struct log_position epoch_history_end(struct epoch_history history, uint64_t epoch,
                                      uint64_t last_seq);

/* Returns the last position that two logs have in common, which end at left_last and right_last (seqs);
 * (0, 0) when they share no epoch. */
struct log_position epoch_history_common(struct epoch_history left, uint64_t left_last,
                                         struct epoch_history right, uint64_t right_last);

#endif
