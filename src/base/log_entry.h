/* SPDX-License-Identifier: MIT */
/* log_entry.h - an entry of the replicated log and its position, as replication, store, server, chat
 * and client know them.
 *
 * Each entry holds the deltas of one batch, or a list of the members. Deltas are numbered by seq, from
 * 1 and without gaps. An epoch is the time of one master: counter << 16 | id of its node (Raft calls
 * it a term, section 5.1; Kafka a leader epoch). Pure; any thread. */
#ifndef JACKDAW_BASE_LOG_ENTRY_H
#define JACKDAW_BASE_LOG_ENTRY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#define LOG_DIGEST_BYTES 32

/* A place in the log. (0, 0) is before every delta. */
struct log_position {
    uint64_t epoch;
    uint64_t seq;
};

/* Compares by epoch, then by seq. Returns -1, 0 or 1. */
static inline int log_position_compare(struct log_position left, struct log_position right)
{
    if (left.epoch != right.epoch)
        return left.epoch < right.epoch ? -1 : 1;
    return (left.seq > right.seq) - (left.seq < right.seq);
}

enum log_entry_kind {
    LOG_ENTRY_CHAT = 0, /* a packed jackdaw.Batch: deltas of the chat */
    LOG_ENTRY_MEMBERS =
        1, /* the whole list of members (replication/members.h packs it); takes one seq */
};

struct log_entry {
    enum log_entry_kind kind;
    uint64_t epoch;
    uint64_t first_seq;
    uint64_t last_seq;
    const uint8_t *bytes;             /* borrowed */
    size_t size;                      /* of bytes */
    uint8_t digest[LOG_DIGEST_BYTES]; /* of the log up to this entry; all zero: unknown */
};

static inline bool log_entry_has_digest(const struct log_entry *entry)
{
    static const uint8_t unknown[LOG_DIGEST_BYTES];
    return memcmp(entry->digest, unknown, sizeof unknown) != 0;
}

/* Returns the position of the last delta of the entry. */
static inline struct log_position log_entry_last(const struct log_entry *entry)
{
    return (struct log_position){.epoch = entry->epoch, .seq = entry->last_seq};
}

#endif
