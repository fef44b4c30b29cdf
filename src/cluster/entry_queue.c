/* SPDX-License-Identifier: MIT */
#include "cluster/entry_queue.h"

#include "base/log.h"

#include <stdlib.h>
#include <string.h>

#define DECODE_FACTOR 32u
#define DECODE_FLOOR (256u * 1024u)

/* ---- waiting ---- */

enum error entry_queue_push(struct entry_queue *entries, const struct commit_log_entry *entry)
{
    struct entry_queue_item *waiting = malloc(sizeof *waiting + entry->size);
    if (waiting == NULL)
        return ERROR_NO_MEMORY;
    waiting->next = NULL;
    waiting->entry = *entry;
    waiting->entry.bytes = waiting->bytes;
    memcpy(waiting->bytes, entry->bytes, entry->size);
    if (entry->digest != NULL) {
        memcpy(waiting->digest, entry->digest, sizeof waiting->digest);
        waiting->entry.digest = waiting->digest;
    }
    if (entries->last == NULL)
        entries->first = waiting;
    else
        entries->last->next = waiting;
    entries->last = waiting;
    entries->count++;
    entries->bytes += entry->size;
    return OK;
}

void entry_queue_drop_first(struct entry_queue *entries)
{
    struct entry_queue_item *first = entries->first;
    entries->first = first->next;
    if (entries->first == NULL)
        entries->last = NULL;
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

static void *allocate(void *arena, size_t size)
{
    return arena_alloc(arena, size);
}

static void give_back(void *arena, void *pointer)
{
    (void)arena;
    (void)pointer;
}

static enum error apply_batch(const struct commit_log_entry *entry, struct chat *chat)
{
    struct arena arena;
    arena_init(&arena, entry->size * DECODE_FACTOR + DECODE_FLOOR);
    ProtobufCAllocator allocator = {.alloc = allocate, .free = give_back, .allocator_data = &arena};
    const Jackdaw__Batch *batch = jackdaw__batch__unpack(&allocator, entry->size, entry->bytes);
    bool is_whole = batch != NULL && batch->epoch == entry->first.epoch &&
                    batch->first_seq == entry->first.seq &&
                    batch->n_deltas == entry->last_seq - entry->first.seq + 1;
    enum error error = is_whole ? OK : ERROR_CORRUPT;
    for (size_t i = 0; error == OK && i < batch->n_deltas; i++)
        error =
            chat_apply(chat, batch->deltas[i],
                       (struct position){.epoch = entry->first.epoch, .seq = entry->first.seq + i});
    arena_clear(&arena);
    return error;
}

static enum error apply_members(const struct commit_log_entry *entry, struct chat *chat,
                                struct store *store)
{
    if (entry->last_seq != entry->first.seq)
        return ERROR_CORRUPT;
    enum error error = store_put_members(store, entry->first, entry->bytes, entry->size);
    if (error == OK)
        error = chat_pass(chat, entry->first);
    return error == ERROR_INVALID ? ERROR_CORRUPT : error;
}

/* An epoch begins with the first entry of its epoch: a list of the members, but for those of a single
 * server of the time before there were clusters. */
static enum error begin_epoch(const struct commit_log_entry *entry, struct store *store)
{
    if (entry->first.epoch == store_position(store).epoch)
        return OK;
    enum error error = store_add_epoch(
        store, &(struct epoch_row){.epoch = entry->first.epoch, .first_seq = entry->first.seq});
    return error == ERROR_INVALID ? ERROR_CORRUPT : error;
}

static enum error log_entry(const struct commit_log_entry *entry, struct store *store)
{
    enum error error = store_log_append(store, &(struct log_row){.kind = entry->kind,
                                                                 .epoch = entry->first.epoch,
                                                                 .first_seq = entry->first.seq,
                                                                 .last_seq = entry->last_seq,
                                                                 .batch = entry->bytes,
                                                                 .batch_size = entry->size});
    if (error != OK || entry->digest == NULL)
        return error;
    uint8_t digest[STORE_DIGEST_BYTES];
    store_digest(store, digest);
    if (memcmp(digest, entry->digest, sizeof digest) == 0)
        return OK;
    log_error("commit_log", "digest_differs", log_number("seq", entry->last_seq));
    return ERROR_CORRUPT;
}

enum error entry_apply(const struct commit_log_entry *entry, struct chat *chat, struct store *store)
{
    struct position last = store_position(store);
    if (entry->first.seq != last.seq + 1 || entry->last_seq < entry->first.seq ||
        entry->first.epoch < last.epoch)
        return ERROR_CORRUPT;
    enum error error = begin_epoch(entry, store);
    if (error == OK && entry->kind == LOG_MEMBERS)
        error = apply_members(entry, chat, store);
    else if (error == OK)
        error = apply_batch(entry, chat);
    return error == OK ? log_entry(entry, store) : error;
}
