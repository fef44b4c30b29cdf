/* SPDX-License-Identifier: MIT */
/* Erasing texts in the log. The database has no part in it: the caller changes its rows by a delta. */
#include "store/store_internal.h"

#include "batch/batch.h"

struct erasure {
    const uint64_t *seqs;
    size_t count;
};

static void erase(void *context, const struct log_entry *entry, uint8_t *bytes)
{
    const struct erasure *erasure = context;
    (void)batch_erase(bytes, entry, erasure->seqs, erasure->count);
}

enum error store_erase_texts(struct store *store, const uint64_t *seqs, size_t count,
                             struct error_text *why)
{
    struct erasure erasure = {.seqs = seqs, .count = count};
    ASSERT(count <= STORE_ERASE_MAX);
    if (store->log == NULL)
        return OK;
    return segment_log_rewrite(store->log, seqs, count, erase, &erasure, why);
}
