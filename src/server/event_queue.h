/* SPDX-License-Identifier: MIT */
/* event_queue.h - encoded events, and a queue of them.
 *
 * An encoded event counts its references, because the queues of many recipients hold it. A queue is
 * a ring that grows as needed; the caller bounds it. Core thread only. */
#ifndef JACKDAW_SERVER_EVENT_QUEUE_H
#define JACKDAW_SERVER_EVENT_QUEUE_H

#include "base/arena.h"
#include "chat/chat.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* ---- encoded events ---- */

/* One event as a packed ReceiveReply without other fields. Joined, such replies make a page. */
struct event_bytes {
    size_t references;
    size_t size;
    uint8_t bytes[];
};

/* Encodes an event with its names as the account `viewer` sees them; 0: any account. scratch: an
 * arena that is empty before and after the call. Returns one reference, or NULL without memory. */
struct event_bytes *event_bytes_encode(struct chat *chat, const struct chat_event *event,
                                       uint64_t viewer, struct arena *scratch);

/* Encodes a NOTICE. text: a sentence, borrowed. Returns one reference, or NULL without memory. */
struct event_bytes *event_bytes_notice(const char *text, uint64_t time_ms);

/* Ends one reference; the last one frees the event. NULL is allowed. */
void event_bytes_release(struct event_bytes *encoded);

/* ---- the queue ---- */

struct event_queue_entry {
    struct event_bytes *encoded; /* a reference of the queue; NULL: there was no memory */
    uint64_t seq;                /* the event's; 0: ephemeral */
};

/* A queue filled with zeros is empty. */
struct event_queue {
    struct event_queue_entry *entries; /* a ring of `capacity`, a power of two, from `head` on */
    uint32_t capacity;
    uint32_t head;
    uint32_t count;
    size_t bytes; /* of all entries, as if each were this queue's alone */
};

/* Returns the entry at index, counted from the front: 0 to count - 1. Valid until the queue
 * changes. */
static inline struct event_queue_entry *event_queue_at(const struct event_queue *queue,
                                                       uint32_t index)
{
    return &queue->entries[(queue->head + index) & (queue->capacity - 1)];
}

/* Inserts `added` entries without an event before index, 0 to count. The caller fills them with
 * event_queue_set. Returns false without memory: the queue is unchanged. */
bool event_queue_open_gap(struct event_queue *queue, uint32_t index, uint32_t added);

/* Fills an entry of a gap. Takes the caller's reference of encoded, which may be NULL. */
void event_queue_set(struct event_queue *queue, uint32_t index, struct event_bytes *encoded,
                     uint64_t seq);

/* Remove count entries and their references. The first one frees the ring of an empty queue whose
 * capacity is large. */
void event_queue_drop_front(struct event_queue *queue, uint32_t count);
void event_queue_drop_back(struct event_queue *queue, uint32_t count);

/* Removes all entries and frees the ring. */
void event_queue_release(struct event_queue *queue);

#endif
