/* SPDX-License-Identifier: MIT */
/* The bytes of an entry of the log: whatever they are, erasing texts keeps their digest, and what could be
 * decoded still can be. */
#include "base/error.h"
#include "batch/batch.h"
#include "fuzz.h"
#include "spec.pb-c.h"

#include <sodium.h>
#include <stdlib.h>
#include <string.h>

#define SEQS 64

static bool is_batch(const uint8_t *bytes, size_t size, size_t *deltas)
{
    Jackdaw__Batch *batch = jackdaw__batch__unpack(NULL, size, bytes);
    if (batch == NULL)
        return false;
    *deltas = batch->n_deltas;
    jackdaw__batch__free_unpacked(batch, NULL);
    return true;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    uint8_t before[LOG_DIGEST_BYTES] = {0};
    uint8_t after[LOG_DIGEST_BYTES] = {0};
    uint64_t seqs[SEQS];
    size_t deltas = 0, deltas_after = 0;
    uint8_t *bytes = malloc(size + 1);
    ASSERT(sodium_init() >= 0 && bytes != NULL);
    if (size > 0)
        memcpy(bytes, data, size);
    for (size_t i = 0; i < SEQS; i++)
        seqs[i] = i + 1;
    struct log_entry entry = {.kind = LOG_ENTRY_CHAT, .first_seq = 1, .bytes = bytes, .size = size};
    batch_chain(before, &entry);
    size_t erased = batch_erase(bytes, &entry, seqs, SEQS);
    batch_chain(after, &entry);
    ASSERT(memcmp(before, after, sizeof before) == 0);
    ASSERT(erased > 0 || size == 0 || memcmp(bytes, data, size) == 0);
    ASSERT(batch_erase(bytes, &entry, seqs, SEQS) == 0);
    if (is_batch(data, size, &deltas))
        ASSERT(is_batch(bytes, size, &deltas_after) && deltas == deltas_after);
    free(bytes);
    return 0;
}
