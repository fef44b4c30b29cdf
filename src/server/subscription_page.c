/* SPDX-License-Identifier: MIT */
#include "proto/convert.h"
#include "server/subscription.h"

#include <stdlib.h>

#define CHUNKS_FIRST (CHAT_PAGE_EVENTS * 2)

uint32_t subscription_deliverable(const struct subscription *subscription)
{
    return subscription->queue.count - subscription->collected;
}

/* How many committed events from the front make a page. A page ends between two positions, because
 * a cursor cannot point between events of one position. */
static uint32_t measure_page(const struct subscription *subscription, uint64_t committed)
{
    size_t bytes = 0;
    uint64_t last_seq = 0;
    uint32_t count = 0;
    for (; count < subscription_deliverable(subscription); count++) {
        const struct event_queue_entry *entry = event_queue_at(&subscription->queue, count);
        bool full = count >= CHAT_PAGE_EVENTS || bytes >= CHAT_PAGE_BYTES;
        bool between = entry->seq == 0 || entry->seq != last_seq;
        if (entry->seq > committed || (full && between))
            break;
        bytes += entry->encoded->size;
        last_seq = entry->seq;
    }
    return count;
}

static bool reserve_chunks(struct subscription_context *context, size_t count)
{
    if (count <= context->chunks_capacity)
        return true;
    size_t capacity = count < CHUNKS_FIRST ? CHUNKS_FIRST : count;
    struct rpc_chunk *chunks = reallocarray(context->chunks, capacity, sizeof *chunks);
    if (chunks == NULL)
        return false;
    context->chunks = chunks;
    context->chunks_capacity = capacity;
    return true;
}

bool subscription_page_collect(const struct subscription *subscription, uint64_t committed,
                               struct subscription_page *page)
{
    *page = (struct subscription_page){.count = measure_page(subscription, committed)};
    if (!reserve_chunks(subscription->context, page->count + 1))
        return false;
    page->chunks = subscription->context->chunks;
    for (uint32_t i = 0; i < page->count; i++) {
        const struct event_queue_entry *entry = event_queue_at(&subscription->queue, i);
        page->chunks[i + 1] =
            (struct rpc_chunk){.bytes = entry->encoded->bytes, .size = entry->encoded->size};
        if (entry->seq != 0)
            page->last_seq = entry->seq;
    }
    return true;
}

struct log_position subscription_position_of(const struct subscription_context *context,
                                             uint64_t seq)
{
    return (struct log_position){.epoch = store_epoch_at(context->options.store, seq), .seq = seq};
}

/* The position up to which the session has all events after this page. */
static struct log_position next_cursor(const struct subscription *subscription,
                                       const struct subscription_page *page)
{
    const struct subscription_context *context = subscription->context;
    struct log_position committed = commit_log_committed(context->options.commit_log);
    uint64_t seq =
        page->last_seq > subscription->cursor.seq ? page->last_seq : subscription->cursor.seq;
    if (page->count == subscription_deliverable(subscription)) {
        uint64_t known =
            subscription->state == SUBSCRIPTION_LIVE ? committed.seq : subscription->filled;
        if (known > committed.seq)
            known = committed.seq;
        if (known > seq)
            seq = known;
    }
    return seq == committed.seq ? committed : subscription_position_of(context, seq);
}

static size_t pack_frame_of_page(const struct subscription *subscription, struct log_position next,
                                 uint8_t bytes[static 64])
{
    Jackdaw__Position after = proto_position_message(subscription->cursor);
    Jackdaw__Position to = proto_position_message(next);
    Jackdaw__ReceiveReply reply = JACKDAW__RECEIVE_REPLY__INIT;
    reply.after = &after;
    reply.next = &to;
    reply.cursor_reset = subscription->cursor_reset;
    return jackdaw__receive_reply__pack(&reply, bytes);
}

void subscription_page_send(struct subscription *subscription, struct subscription_page *page)
{
    struct subscription_context *context = subscription->context;
    struct log_position next = next_cursor(subscription, page);
    uint8_t own[64];
    page->chunks[0] =
        (struct rpc_chunk){.bytes = own, .size = pack_frame_of_page(subscription, next, own)};
    struct rpc_call *stream = subscription->stream;
    if (rpc_call_is_stream(stream)) {
        (void)rpc_call_send(stream, page->chunks, page->count + 1);
    } else {
        subscription->stream = NULL;
        context->stats.streams--;
        rpc_call_finish(stream, page->chunks, page->count + 1);
    }
    subscription->cursor = next;
    subscription->cursor_reset = false;
    event_queue_drop_front(&subscription->queue, page->count);
    context->stats.pages_sent++;
    context->stats.events_delivered += page->count;
}
