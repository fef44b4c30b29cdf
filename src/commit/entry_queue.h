/* SPDX-License-Identifier: MIT */
/* entry_queue.h - entries of the log that another node wrote, waiting to be applied here, and how one is
 * applied. Core thread only. */
#ifndef JACKDAW_COMMIT_ENTRY_QUEUE_H
#define JACKDAW_COMMIT_ENTRY_QUEUE_H

#include "chat/chat.h"
#include "commit/commit_log.h"
#include "store/store.h"

/* A copy of an entry; made by entry_queue_push. */
struct entry_queue_item {
    struct entry_queue_item *prev, *next;
    struct log_entry entry; /* entry.bytes points to bytes */
    uint8_t bytes[];
};

/* In the order of the log. Zero is empty. */
struct entry_queue {
    struct entry_queue_item *first;
    size_t count;
    size_t bytes; /* of all of them, as logged */
};

/* Appends a copy. ERROR_NO_MEMORY. */
enum error entry_queue_push(struct entry_queue *entries, const struct log_entry *entry);
/* Returns the entry that was appended last; NULL: the queue is empty. */
const struct entry_queue_item *entry_queue_newest(const struct entry_queue *entries);
void entry_queue_drop_first(struct entry_queue *entries);
void entry_queue_clear(struct entry_queue *entries);

/* Applies entry to the chat and the store's open transaction, and logs it. ERROR_CORRUPT: it is no
 * entry, does not fit the state, or its digest differs: this database and the other node's are not
 * the same. Else the store's errors and ERROR_NO_MEMORY. The transaction is then to be rolled back. */
enum error entry_apply(const struct log_entry *entry, struct chat *chat, struct store *store);

#endif
