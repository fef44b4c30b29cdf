/* SPDX-License-Identifier: MIT */
#include "server/event_queue.h"

#include "spec.pb-c.h"

#include <stdlib.h>

#define ENTRIES_FIRST 8
#define ENTRIES_KEPT 64 /* capacity that an empty queue keeps */

/* ---- encoded events ---- */

/* Returns one reference, or NULL without memory. */
static struct event_bytes *pack(Jackdaw__Event *event)
{
    Jackdaw__ReceiveReply reply = JACKDAW__RECEIVE_REPLY__INIT;
    reply.n_events = 1;
    reply.events = &event;
    size_t size = jackdaw__receive_reply__get_packed_size(&reply);
    struct event_bytes *encoded = malloc(sizeof *encoded + size);
    if (encoded == NULL)
        return NULL;
    encoded->references = 1;
    encoded->size = size;
    (void)jackdaw__receive_reply__pack(&reply, encoded->bytes);
    return encoded;
}

struct event_bytes *event_bytes_encode(struct chat *chat, const struct chat_event *event,
                                       uint64_t viewer, struct arena *scratch)
{
    Jackdaw__Event filled = JACKDAW__EVENT__INIT;
    enum error error = chat_event_fill(chat, event, viewer, scratch, &filled);
    struct event_bytes *encoded = error == OK ? pack(&filled) : NULL;
    arena_clear(scratch);
    return encoded;
}

struct event_bytes *event_bytes_notice(const char *text, uint64_t time_ms)
{
    Jackdaw__Event event = JACKDAW__EVENT__INIT;
    event.kind = JACKDAW__EVENT__KIND__NOTICE;
    event.time_ms = time_ms;
    event.text = (char *)text;
    return pack(&event);
}

void event_bytes_release(struct event_bytes *encoded)
{
    if (encoded != NULL && --encoded->references == 0)
        free(encoded);
}

/* ---- the queue ---- */

static bool make_room(struct event_queue *queue, uint32_t added)
{
    uint32_t need = queue->count + added;
    if (need <= queue->capacity)
        return true;
    uint32_t capacity = queue->capacity == 0 ? ENTRIES_FIRST : queue->capacity;
    while (capacity < need)
        capacity *= 2;
    struct event_queue_entry *entries = malloc(capacity * sizeof *entries);
    if (entries == NULL)
        return false;
    for (uint32_t i = 0; i < queue->count; i++)
        entries[i] = *event_queue_at(queue, i);
    free(queue->entries);
    queue->entries = entries;
    queue->capacity = capacity;
    queue->head = 0;
    return true;
}

bool event_queue_open_gap(struct event_queue *queue, uint32_t index, uint32_t added)
{
    if (!make_room(queue, added))
        return false;
    for (uint32_t i = queue->count; i > index; i--)
        *event_queue_at(queue, i - 1 + added) = *event_queue_at(queue, i - 1);
    queue->count += added;
    for (uint32_t i = 0; i < added; i++)
        *event_queue_at(queue, index + i) = (struct event_queue_entry){.encoded = NULL};
    return true;
}

void event_queue_set(struct event_queue *queue, uint32_t index, struct event_bytes *encoded,
                     uint64_t seq)
{
    *event_queue_at(queue, index) = (struct event_queue_entry){.encoded = encoded, .seq = seq};
    if (encoded != NULL)
        queue->bytes += encoded->size;
}

static void drop_entry(struct event_queue *queue, uint32_t index)
{
    struct event_bytes *encoded = event_queue_at(queue, index)->encoded;
    if (encoded == NULL)
        return;
    queue->bytes -= encoded->size;
    event_bytes_release(encoded);
}

void event_queue_drop_front(struct event_queue *queue, uint32_t count)
{
    for (uint32_t i = 0; i < count; i++)
        drop_entry(queue, i);
    queue->head += count;
    queue->count -= count;
    if (queue->count == 0 && queue->capacity > ENTRIES_KEPT)
        event_queue_release(queue);
}

void event_queue_drop_back(struct event_queue *queue, uint32_t count)
{
    for (uint32_t i = 0; i < count; i++)
        drop_entry(queue, queue->count - 1 - i);
    queue->count -= count;
}

void event_queue_release(struct event_queue *queue)
{
    event_queue_drop_back(queue, queue->count);
    free(queue->entries);
    *queue = (struct event_queue){.entries = NULL};
}
