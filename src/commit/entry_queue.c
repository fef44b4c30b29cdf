/* SPDX-License-Identifier: MIT */
#include "commit/entry_queue.h"

#include "base/log.h"
#include "base/protobuf.h"

#include <stdlib.h>
#include <string.h>
#include <utlist.h>

#define DECODE_FACTOR 32u
#define DECODE_FLOOR (256u * 1024u)

/* ---- waiting ---- */

enum error entry_queue_push(struct entry_queue *entries, const struct log_entry *entry)
{
    struct entry_queue_item *waiting = malloc(sizeof *waiting + entry->size);
    if (waiting == NULL)
        return ERROR_NO_MEMORY;
    waiting->entry = *entry;
    waiting->entry.bytes = waiting->bytes;
    memcpy(waiting->bytes, entry->bytes, entry->size);
    DL_APPEND(entries->first, waiting);
    entries->count++;
    entries->bytes += entry->size;
    return OK;
}

const struct entry_queue_item *entry_queue_newest(const struct entry_queue *entries)
{
    return entries->first == NULL ? NULL : entries->first->prev;
}

void entry_queue_drop_first(struct entry_queue *entries)
{
    struct entry_queue_item *first = entries->first;
    DL_DELETE(entries->first, first);
    entries->count--;
    entries->bytes -= first->entry.size;
    free(first);
}

void entry_queue_clear(struct entry_queue *entries)
{
    while (entries->first != NULL)
        entry_queue_drop_first(entries);
}

/* ---- applying ---- */

static enum error apply_batch(const struct log_entry *entry, struct chat *chat)
{
    struct arena arena;
    arena_init(&arena, entry->size * DECODE_FACTOR + DECODE_FLOOR);
    const Jackdaw__Batch *batch =
        protobuf_unpack(&jackdaw__batch__descriptor, &arena, entry->bytes, entry->size);
    bool is_whole = batch != NULL && batch->epoch == entry->epoch &&
                    batch->first_seq == entry->first_seq &&
                    batch->n_deltas == entry->last_seq - entry->first_seq + 1;
    enum error error = is_whole ? OK : ERROR_CORRUPT;
    for (size_t i = 0; error == OK && i < batch->n_deltas; i++)
        error =
            chat_apply(chat, batch->deltas[i],
                       (struct log_position){.epoch = entry->epoch, .seq = entry->first_seq + i});
    arena_clear(&arena);
    return error;
}

static enum error apply_members(const struct log_entry *entry, struct chat *chat,
                                struct store *store)
{
    struct log_position position = log_entry_last(entry);
    if (entry->last_seq != entry->first_seq)
        return ERROR_CORRUPT;
    enum error error = store_put_members(store, position, entry->bytes, entry->size);
    if (error == OK)
        error = chat_pass(chat, position);
    return error == ERROR_INVALID ? ERROR_CORRUPT : error;
}

static enum error add_epoch(const struct log_entry *entry, struct store *store)
{
    if (entry->epoch == store_position(store).epoch)
        return OK;
    enum error error = store_add_epoch(
        store, (struct epoch_start){.epoch = entry->epoch, .first_seq = entry->first_seq});
    return error == ERROR_INVALID ? ERROR_CORRUPT : error;
}

static enum error log_entry(const struct log_entry *entry, struct store *store)
{
    enum error error = store_log_append(store, entry);
    if (error != OK || !log_entry_has_digest(entry))
        return error;
    uint8_t digest[LOG_DIGEST_BYTES];
    store_digest(store, digest);
    if (memcmp(digest, entry->digest, sizeof digest) == 0)
        return OK;
    log_error("commit_log", "digest_differs", log_number("seq", entry->last_seq));
    return ERROR_CORRUPT;
}

enum error entry_apply(const struct log_entry *entry, struct chat *chat, struct store *store)
{
    struct log_position last = store_position(store);
    if (entry->first_seq != last.seq + 1 || entry->last_seq < entry->first_seq ||
        entry->epoch < last.epoch)
        return ERROR_CORRUPT;
    enum error error = add_epoch(entry, store);
    if (error == OK && entry->kind == LOG_ENTRY_MEMBERS)
        error = apply_members(entry, chat, store);
    else if (error == OK)
        error = apply_batch(entry, chat);
    return error == OK ? log_entry(entry, store) : error;
}
