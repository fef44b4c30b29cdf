/* SPDX-License-Identifier: MIT */
/* entries.h - entries of the log that another node wrote, waiting to be applied here, and how one is
 * applied. Core thread only. */
#ifndef JACKDAW_CLUSTER_ENTRIES_H
#define JACKDAW_CLUSTER_ENTRIES_H

#include "chat/chat.h"
#include "cluster/ledger.h"
#include "store/store.h"

/* A copy of an entry; made by entries_push. */
struct waiting_entry {
    struct waiting_entry *next;
    struct ledger_entry entry; /* points behind itself */
    uint8_t digest[STORE_DIGEST_BYTES];
    uint8_t bytes[];
};

/* In the order of the log. Zero is empty. */
struct entries {
    struct waiting_entry *first;
    struct waiting_entry *last;
    size_t count;
    size_t bytes; /* of all of them, as logged */
};

/* Appends a copy. ERROR_NO_MEMORY. */
enum error entries_push(struct entries *entries, const struct ledger_entry *entry);
void entries_drop_first(struct entries *entries);
void entries_clear(struct entries *entries);

/* Applies entry to the chat and the store's open transaction, and logs it. ERROR_CORRUPT: it is no
 * entry, does not fit the state, or its digest differs: this database and the other node's are not
 * the same. Else the store's errors and ERROR_NO_MEMORY. The transaction is then to be rolled back. */
enum error entry_apply(const struct ledger_entry *entry, struct chat *chat, struct store *store);

#endif
