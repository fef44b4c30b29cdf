/* SPDX-License-Identifier: MIT */
#include "server/subscription.h"

#include "base/log_pace.h"
#include "server/catch_up.h"

#include <stdlib.h>

#define RETRY_AFTER_FAILED_READ_MS 500
#define RETRY_AFTER_ROLLBACK_MS 500

/* ---- the dirty list ---- */

static void mark_dirty(struct subscription *subscription)
{
    if (subscription->dirty_pointer != NULL || subscription->stream == NULL)
        return;
    struct subscription_context *context = subscription->context;
    subscription->next_dirty = context->dirty;
    if (subscription->next_dirty != NULL)
        subscription->next_dirty->dirty_pointer = &subscription->next_dirty;
    subscription->dirty_pointer = &context->dirty;
    context->dirty = subscription;
}

static void unlink_dirty(struct subscription *subscription)
{
    if (subscription->dirty_pointer == NULL)
        return;
    *subscription->dirty_pointer = subscription->next_dirty;
    if (subscription->next_dirty != NULL)
        subscription->next_dirty->dirty_pointer = subscription->dirty_pointer;
    subscription->dirty_pointer = NULL;
}

/* ---- states ---- */

static void abandon_catch_up(struct subscription *subscription)
{
    catch_up_abandon(subscription->catch_up);
    subscription->catch_up = NULL;
    subscription->collected = 0;
}

struct subscription *subscription_new(struct subscription_context *context, uint64_t session,
                                      uint64_t account)
{
    struct subscription *subscription = calloc(1, sizeof *subscription);
    if (subscription == NULL)
        return NULL;
    subscription->context = context;
    subscription->session = session;
    subscription->account = account;
    subscription->state = SUBSCRIPTION_LAGGING;
    return subscription;
}

void subscription_free(struct subscription *subscription)
{
    ASSERT(subscription->stream == NULL);
    abandon_catch_up(subscription);
    event_queue_release(&subscription->queue);
    unlink_dirty(subscription);
    free(subscription);
}

void subscription_start_lagging(struct subscription *subscription, uint64_t seq)
{
    abandon_catch_up(subscription);
    event_queue_drop_front(&subscription->queue, subscription->queue.count);
    subscription->state = SUBSCRIPTION_LAGGING;
    subscription->filled = seq;
}

/* Keeps the events before `next_seq`. The events from there on, also those of that position that
 * did fit, are read later. */
static void stop_collecting(struct subscription *subscription, uint64_t next_seq)
{
    struct event_queue *queue = &subscription->queue;
    if (subscription->state == SUBSCRIPTION_LIVE) {
        while (queue->count > 0 && event_queue_at(queue, queue->count - 1)->seq >= next_seq)
            event_queue_drop_back(queue, 1);
        subscription->state = SUBSCRIPTION_LAGGING;
        subscription->filled = next_seq - 1;
        mark_dirty(subscription); /* without events no other code marks it */
    } else {
        /* CATCHING_UP: drops the collected events; the reading itself goes on. */
        event_queue_drop_back(queue, subscription->collected);
        subscription->collected = 0;
        subscription->overflowed = true;
    }
}

/* ---- pushing ---- */

/* false: it is full, or there is no memory. encoded may be NULL: there was none for it. */
static bool insert(struct subscription *subscription, uint32_t index, struct event_bytes *encoded,
                   uint64_t seq)
{
    struct event_queue *queue = &subscription->queue;
    bool full = queue->count >= SUBSCRIPTION_EVENTS_MAX || queue->bytes >= SUBSCRIPTION_BYTES_MAX;
    if (full || encoded == NULL || !event_queue_open_gap(queue, index, 1))
        return false;
    encoded->references++;
    event_queue_set(queue, index, encoded, seq);
    mark_dirty(subscription);
    return true;
}

void subscription_push(struct subscription *subscription, struct event_bytes *encoded, uint64_t seq)
{
    if (subscription->state == SUBSCRIPTION_LAGGING)
        return;
    if (subscription->state == SUBSCRIPTION_CATCHING_UP && subscription->overflowed)
        return;
    bool is_in = insert(subscription, subscription->queue.count, encoded, seq);
    if (is_in && subscription->state == SUBSCRIPTION_CATCHING_UP)
        subscription->collected++;
    if (!is_in && seq != 0) /* if ephemeral, nothing is lost */
        stop_collecting(subscription, seq);
}

void subscription_push_notice(struct subscription *subscription, struct event_bytes *encoded)
{
    (void)insert(subscription, subscription->queue.count - subscription->collected, encoded, 0);
}

void subscription_roll_back(struct subscription *subscription, struct log_position position)
{
    if (subscription->cursor.seq > position.seq) {
        subscription->cursor = position;
        subscription->cursor_reset = true;
    }
    subscription_start_lagging(subscription, subscription->cursor.seq);
    mark_dirty(subscription);
}

void subscription_tidy(struct subscription *subscription, uint64_t before_ms, uint64_t now_ms)
{
    if (subscription->queue.count == 0)
        event_queue_release(&subscription->queue);
    if (subscription->stream != NULL)
        return;
    if (subscription->stream_gone_ms == 0)
        subscription->stream_gone_ms = now_ms;
    else if (subscription->stream_gone_ms < before_ms && subscription->queue.count > 0)
        subscription_start_lagging(subscription, subscription->cursor.seq);
}

/* ---- catching up ---- */

/* Later pushes must follow the events read. So the reading covers all events applied by now, once
 * they are committed. */
static void start_catching_up(struct subscription *subscription)
{
    uint64_t applied = commit_log_applied(subscription->context->options.commit_log).seq;
    if (subscription->filled == applied) {
        subscription->state = SUBSCRIPTION_LIVE;
        return;
    }
    subscription->catch_up = catch_up_new(subscription, applied);
    if (subscription->catch_up == NULL)
        return;
    subscription->state = SUBSCRIPTION_CATCHING_UP;
    subscription->collected = 0;
    subscription->overflowed = false;
    catch_up_start(subscription->catch_up);
}

/* Puts the page between the events that the queue held before the reading and the collected ones. */
static bool insert_page(struct subscription *subscription, const struct chat_page *page)
{
    struct subscription_context *context = subscription->context;
    struct event_queue *queue = &subscription->queue;
    uint32_t added = (uint32_t)page->count;
    uint32_t first = queue->count - subscription->collected;
    if (!event_queue_open_gap(queue, first, added))
        return false;
    bool complete = true;
    for (uint32_t i = 0; i < added && complete; i++) {
        const struct chat_event *event = &page->events[i];
        struct event_bytes *encoded =
            event_bytes_encode(context->chat, event, subscription->account, &context->scratch);
        event_queue_set(queue, first + i, encoded, event->position.seq);
        complete = encoded != NULL;
    }
    return complete;
}

void subscription_take_page(struct subscription *subscription, const struct chat_page *page,
                            uint64_t until)
{
    subscription->catch_up = NULL;
    mark_dirty(subscription);
    bool complete = !page->more && !subscription->overflowed;
    if (!complete) {
        event_queue_drop_back(&subscription->queue, subscription->collected);
        subscription->collected = 0;
    }
    if (!insert_page(subscription, page)) {
        subscription_start_lagging(subscription, subscription->cursor.seq);
        return;
    }
    subscription->collected = 0;
    subscription->filled = page->more ? page->next.seq : until;
    subscription->state = complete ? SUBSCRIPTION_LIVE : SUBSCRIPTION_LAGGING;
}

void subscription_fail_read(struct subscription *subscription, enum error error)
{
    log_error_paced(error_name(error), "subscriptions", "cannot_read",
                    log_string("error", error_name(error)));
    subscription_start_lagging(subscription, subscription->cursor.seq);
    subscription_end_stream(subscription, STATUS_UNAVAILABLE, RETRY_AFTER_FAILED_READ_MS,
                            "the server cannot read the events; try again");
}

/* ---- delivering ---- */

static void deliver(struct subscription *subscription, uint64_t committed)
{
    struct subscription_page page;
    while (subscription->stream != NULL && rpc_call_credits(subscription->stream) > 0) {
        if (!subscription_page_collect(subscription, committed, &page)) {
            subscription_end_stream(subscription, STATUS_RESOURCE_EXHAUSTED,
                                    SUBSCRIPTION_RETRY_WITHOUT_MEMORY_MS,
                                    "the server is out of memory; try again");
            return;
        }
        if (page.count == 0 && !subscription->cursor_reset)
            break;
        subscription_page_send(subscription, &page);
    }
    if (subscription->stream != NULL && subscription->state == SUBSCRIPTION_LAGGING &&
        subscription->queue.count == 0)
        start_catching_up(subscription);
}

/* For a commit still to come, or for its turn to read. Other events (credit, the end of a reading)
 * mark it dirty when they come. */
static bool is_waiting(const struct subscription *subscription)
{
    if (subscription->stream == NULL)
        return false;
    bool has_more =
        subscription_deliverable(subscription) > 0 && rpc_call_credits(subscription->stream) > 0;
    return has_more ||
           (subscription->state == SUBSCRIPTION_LAGGING && subscription->queue.count == 0);
}

void subscription_deliver_all(struct subscription_context *context)
{
    uint64_t committed = commit_log_committed(context->options.commit_log).seq;
    struct subscription *subscription = context->dirty;
    context->dirty = NULL;
    while (subscription != NULL) {
        struct subscription *next = subscription->next_dirty;
        subscription->dirty_pointer = NULL;
        deliver(subscription, committed);
        if (is_waiting(subscription))
            mark_dirty(subscription);
        subscription = next;
    }
}

/* ---- the stream ---- */

/* Continues after `position`, from the queue if it holds all later events, else from the store. */
static void resume(struct subscription *subscription, struct log_position position)
{
    bool holds =
        subscription->state == SUBSCRIPTION_LIVE && position.seq >= subscription->cursor.seq;
    if (!holds) {
        subscription_start_lagging(subscription, position.seq);
    } else {
        struct event_queue *queue = &subscription->queue;
        uint32_t known = 0;
        while (known < queue->count && event_queue_at(queue, known)->seq <= position.seq)
            known++;
        event_queue_drop_front(queue, known);
    }
    subscription->cursor = position;
}

static void on_cancelled(void *context, struct rpc_call *call)
{
    struct subscription *subscription = context;
    ASSERT(subscription->stream == call);
    subscription_end_stream(subscription, STATUS_CANCELLED, 0, "the call was cancelled");
}

static void on_credited(void *context, struct rpc_call *call)
{
    (void)call;
    mark_dirty(context);
}

void subscription_receive(struct subscription *subscription, struct rpc_call *call,
                          const Jackdaw__ReceiveRequest *request)
{
    struct subscription_context *context = subscription->context;
    subscription_end_stream(subscription, STATUS_ABORTED, 0,
                            "another Receive of this session took its place");
    struct log_position asked = {0};
    if (request->after != NULL)
        asked = (struct log_position){.epoch = request->after->epoch, .seq = request->after->seq};
    /* The session has all events up to there, also where this server does not know yet that they
     * are committed: after a restart it knows that of none. */
    uint64_t common = chat_common_seq_of(context->chat, request->after, request->cursor_history,
                                         request->n_cursor_history);
    struct log_position position = subscription_position_of(context, common);
    resume(subscription, position);
    subscription->cursor_reset = position.seq != asked.seq || position.epoch != asked.epoch;
    call = rpc_call_keep(call); /* request is gone */
    subscription->stream = call;
    subscription->stream_gone_ms = 0;
    context->stats.streams++;
    rpc_call_watch(call, &(struct rpc_call_watch){.context = subscription,
                                                  .cancelled = on_cancelled,
                                                  .credited = on_credited});
    mark_dirty(subscription);
}

void subscription_end_stream(struct subscription *subscription, enum status status,
                             uint32_t retry_ms, const char *text)
{
    struct rpc_call *stream = subscription->stream;
    if (stream == NULL)
        return;
    subscription->stream = NULL;
    subscription->context->stats.streams--;
    rpc_call_fail(stream, status, retry_ms, text);
}

/* A stream whose session has ended: it ends when the end of the session is committed. In the call's
 * arena. */
struct stream_end {
    struct commit_waiter commit_waiter; /* first */
    struct rpc_call *stream;
};

static void finish_stream_end(struct commit_waiter *commit_waiter, bool committed)
{
    const struct stream_end *end = (struct stream_end *)commit_waiter;
    if (committed)
        rpc_call_fail(end->stream, STATUS_UNAUTHENTICATED, 0,
                      "the session has ended; log in again");
    else
        rpc_call_fail(end->stream, STATUS_UNAVAILABLE, RETRY_AFTER_ROLLBACK_MS,
                      "the server could not write the end of the session; try again");
}

void subscription_end_stream_when_committed(struct subscription *subscription)
{
    struct rpc_call *stream = subscription->stream;
    if (stream == NULL)
        return;
    struct stream_end *end = arena_zalloc(rpc_call_arena(stream), sizeof *end);
    if (end == NULL) {
        subscription_end_stream(subscription, STATUS_UNAVAILABLE,
                                SUBSCRIPTION_RETRY_WITHOUT_MEMORY_MS,
                                "the server is out of memory; try again");
        return;
    }
    subscription->stream = NULL;
    subscription->context->stats.streams--;
    end->commit_waiter.open = finish_stream_end;
    end->stream = stream;
    rpc_call_watch(stream, &(struct rpc_call_watch){.context = NULL});
    commit_log_wait(subscription->context->options.commit_log, &end->commit_waiter);
}
