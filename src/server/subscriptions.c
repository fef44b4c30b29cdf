/* SPDX-License-Identifier: MIT */
#include "server/subscriptions.h"

#include "base/log_pace.h"
#include "proto/convert.h"

#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#define READS_MAX 256 /* under way; further ones wait for the next delivery */
#define RETRY_AFTER_FAILED_READ_MS 500
#define RETRY_AFTER_ROLLBACK_MS 500
#define RETRY_WITHOUT_MEMORY_MS 1000
#define READ_ARENA_BYTES (4u * 1024u * 1024u)
#define ENCODE_ARENA_BYTES (4u * 1024u * 1024u)
#define CHUNKS_FIRST (CHAT_PAGE_EVENTS * 2)
#define ENTRIES_FIRST 8
#define ENTRIES_KEPT 64 /* capacity that an empty subscription keeps */

/* One event as a packed ReceiveReply with nothing else in it: pages are made by joining them. */
struct event_bytes {
    size_t references;
    size_t size;
    uint8_t bytes[];
};

struct entry {
    struct event_bytes *encoded;
    uint64_t seq; /* 0: ephemeral */
};

enum subscription_state {
    SUBSCRIPTION_LIVE,    /* holds every event after the cursor */
    SUBSCRIPTION_LAGGING, /* holds every event after the cursor up to `filled` */
    SUBSCRIPTION_CATCHING_UP, /* as LAGGING; the store is being read from `filled` on, and pushed events are
                      * collected behind it, at `collected` */
};

struct subscription {
    struct subscriptions *subscriptions;
    uint64_t session;
    uint64_t account;
    struct rpc_call *stream; /* NULL: none */
    uint64_t stream_gone_ms; /* set by tidy when it first sees no stream; 0: has one */
    enum subscription_state state;
    struct log_position cursor; /* `next` of the last page, or where the session started */
    uint64_t filled;
    struct entry *entries; /* a ring of `capacity`, a power of two, from `head` on */
    uint32_t capacity;
    uint32_t head;
    uint32_t count;
    uint32_t collected; /* CATCHING_UP: how many of the entries were pushed since it began */
    size_t bytes;       /* of all entries, as if each were this subscription's alone */
    bool cursor_reset;  /* the next page says so, and is sent even if empty */
    struct subscription *next_dirty;
    struct subscription *
        *dirty_peer_connection; /* the pointer to it in the list; NULL: not dirty */
    struct subscription *previous;
    struct subscription *next;
    struct catch_up *reading;
};

/* A page being read from the store. */
struct catch_up {
    struct commit_waiter
        commit_waiter; /* first: opens when `until` is committed, and the reader sees it */
    struct task task;
    struct subscriptions *subscriptions;
    struct subscription *subscription; /* NULL: gone meanwhile, or started anew */
    struct arena arena;
    struct chat_plan *plan;
    struct chat_page page;
    uint64_t until;
    bool overflowed; /* events pushed meanwhile did not fit: the subscription keeps lagging */
    enum error error;
};

struct subscriptions {
    struct subscriptions_options options;
    struct chat *chat;
    struct subscription *items;
    struct subscription *dirty;
    struct arena scratch;
    struct rpc_chunk *chunks; /* of the page being sent */
    size_t chunks_capacity;
    struct event_bytes *shared; /* of the event being pushed */
    const struct chat_event *event;
    uint64_t encoded_for;         /* account that `shared` is for; 0: all recipients */
    struct event_bytes *greeting; /* NULL: none */
    size_t readings;
    struct subscriptions_stats stats;
};

/* ---- encoded events ---- */

static void drop(struct event_bytes *encoded)
{
    if (encoded != NULL && --encoded->references == 0)
        free(encoded);
}

/* NULL without memory. */
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

/* NULL without memory: the subscriptions concerned then fall behind and read it later. */
static struct event_bytes *encode(struct subscriptions *subscriptions,
                                  const struct chat_event *event, uint64_t viewer)
{
    Jackdaw__Event filled = JACKDAW__EVENT__INIT;
    enum error error =
        chat_event_fill(subscriptions->chat, event, viewer, &subscriptions->scratch, &filled);
    struct event_bytes *encoded = error == OK ? pack(&filled) : NULL;
    arena_clear(&subscriptions->scratch);
    return encoded;
}

static struct event_bytes *encode_notice(const char *text, uint64_t time_ms)
{
    Jackdaw__Event event = JACKDAW__EVENT__INIT;
    event.kind = JACKDAW__EVENT__KIND__NOTICE;
    event.time_ms = time_ms;
    event.text = (char *)text;
    return pack(&event);
}

/* ---- the ring ---- */

static struct entry *entry_at(const struct subscription *subscription, uint32_t index)
{
    return &subscription->entries[(subscription->head + index) & (subscription->capacity - 1)];
}

static bool make_room(struct subscription *subscription, uint32_t more)
{
    uint32_t need = subscription->count + more;
    if (need <= subscription->capacity)
        return true;
    uint32_t capacity = subscription->capacity == 0 ? ENTRIES_FIRST : subscription->capacity;
    while (capacity < need)
        capacity *= 2;
    struct entry *entries = malloc(capacity * sizeof *entries);
    if (entries == NULL)
        return false;
    for (uint32_t i = 0; i < subscription->count; i++)
        entries[i] = *entry_at(subscription, i);
    free(subscription->entries);
    subscription->entries = entries;
    subscription->capacity = capacity;
    subscription->head = 0;
    return true;
}

static void drop_entry(struct subscription *subscription, uint32_t index)
{
    struct event_bytes *encoded = entry_at(subscription, index)->encoded;
    if (encoded == NULL)
        return;
    subscription->bytes -= encoded->size;
    drop(encoded);
}

static void drop_front(struct subscription *subscription, uint32_t count)
{
    for (uint32_t i = 0; i < count; i++)
        drop_entry(subscription, i);
    subscription->head += count;
    subscription->count -= count;
    if (subscription->count == 0 && subscription->capacity > ENTRIES_KEPT) {
        free(subscription->entries);
        subscription->entries = NULL;
        subscription->capacity = 0;
        subscription->head = 0;
    }
}

static void drop_back(struct subscription *subscription, uint32_t count)
{
    for (uint32_t i = 0; i < count; i++)
        drop_entry(subscription, subscription->count - 1 - i);
    subscription->count -= count;
}

/* ---- states ---- */

static void mark_dirty(struct subscription *subscription)
{
    if (subscription->dirty_peer_connection != NULL || subscription->stream == NULL)
        return;
    struct subscriptions *subscriptions = subscription->subscriptions;
    subscription->next_dirty = subscriptions->dirty;
    if (subscription->next_dirty != NULL)
        subscription->next_dirty->dirty_peer_connection = &subscription->next_dirty;
    subscription->dirty_peer_connection = &subscriptions->dirty;
    subscriptions->dirty = subscription;
}

static void unlink_dirty(struct subscription *subscription)
{
    if (subscription->dirty_peer_connection == NULL)
        return;
    *subscription->dirty_peer_connection = subscription->next_dirty;
    if (subscription->next_dirty != NULL)
        subscription->next_dirty->dirty_peer_connection = subscription->dirty_peer_connection;
    subscription->dirty_peer_connection = NULL;
}

static void abandon_reading(struct subscription *subscription)
{
    if (subscription->reading != NULL)
        subscription->reading->subscription = NULL;
    subscription->reading = NULL;
    subscription->collected = 0;
}

/* Drops all events; events after seq will be read from the store. */
static void start_lagging(struct subscription *subscription, uint64_t seq)
{
    abandon_reading(subscription);
    drop_front(subscription, subscription->count);
    subscription->state = SUBSCRIPTION_LAGGING;
    subscription->filled = seq;
}

/* Keeps the events before `next_seq`. The events from there on, also those of that position that
 * did fit, are read later. */
static void stop_collecting(struct subscription *subscription, uint64_t next_seq)
{
    if (subscription->state == SUBSCRIPTION_LIVE) {
        while (subscription->count > 0 &&
               entry_at(subscription, subscription->count - 1)->seq >= next_seq)
            drop_back(subscription, 1);
        subscription->state = SUBSCRIPTION_LAGGING;
        subscription->filled = next_seq - 1;
        mark_dirty(subscription); /* without events no other code marks it */
    } else {
        /* CATCHING_UP: drops the collected events; the reading itself goes on. */
        drop_back(subscription, subscription->collected);
        subscription->collected = 0;
        subscription->reading->overflowed = true;
    }
}

/* ---- pushing ---- */

/* false: it is full, or there is no memory. encoded may be NULL: there was none for it. */
static bool insert(struct subscription *subscription, uint32_t index, struct event_bytes *encoded,
                   uint64_t seq)
{
    bool full = subscription->count >= SUBSCRIPTION_EVENTS_MAX ||
                subscription->bytes >= SUBSCRIPTION_BYTES_MAX;
    if (full || encoded == NULL || !make_room(subscription, 1))
        return false;
    encoded->references++;
    subscription->bytes += encoded->size;
    for (uint32_t i = subscription->count++; i > index; i--)
        *entry_at(subscription, i) = *entry_at(subscription, i - 1);
    *entry_at(subscription, index) = (struct entry){.encoded = encoded, .seq = seq};
    mark_dirty(subscription);
    return true;
}

static void push(struct subscription *subscription, struct event_bytes *encoded, uint64_t seq)
{
    if (subscription->state == SUBSCRIPTION_LAGGING)
        return;
    if (subscription->state == SUBSCRIPTION_CATCHING_UP && subscription->reading->overflowed)
        return;
    bool is_in = insert(subscription, subscription->count, encoded, seq);
    if (is_in && subscription->state == SUBSCRIPTION_CATCHING_UP)
        subscription->collected++;
    if (!is_in && seq != 0) /* if ephemeral, nothing is lost */
        stop_collecting(subscription, seq);
}

static void push_to_session(void *context, struct chat_session *session)
{
    struct subscriptions *subscriptions = context;
    struct subscription *subscription = *chat_session_attachment(session);
    if (subscription == NULL)
        return; /* has not asked for anything yet; will read the store */
    if (subscriptions->encoded_for != 0 && subscriptions->encoded_for != subscription->account) {
        drop(subscriptions->shared);
        subscriptions->shared = encode(subscriptions, subscriptions->event, subscription->account);
        subscriptions->encoded_for = subscription->account;
    }
    push(subscription, subscriptions->shared, subscriptions->event->position.seq);
}

void subscriptions_event(void *context, const struct chat_event *event)
{
    struct subscriptions *subscriptions = context;
    if (subscriptions->items == NULL)
        return; /* a slave */
    bool shared = chat_event_is_shared(subscriptions->chat, event);
    subscriptions->event = event;
    subscriptions->encoded_for = shared ? 0 : UINT64_MAX; /* no account: encoded at the first */
    subscriptions->shared = shared ? encode(subscriptions, event, 0) : NULL;
    chat_each_recipient(subscriptions->chat, event, push_to_session, subscriptions);
    drop(subscriptions->shared);
    subscriptions->shared = NULL;
}

/* Pushes a notice also to lagging subscriptions, because the store does not hold it, and ahead of a
 * reading. */
static void push_notice(struct subscription *subscription, struct event_bytes *encoded)
{
    (void)insert(subscription, subscription->count - subscription->collected, encoded, 0);
}

void subscriptions_notice(struct subscriptions *subscriptions, const char *text, uint64_t time_ms)
{
    struct event_bytes *encoded = encode_notice(text, time_ms);
    for (struct subscription *subscription = subscriptions->items; subscription != NULL;
         subscription = subscription->next)
        if (subscription->stream != NULL)
            push_notice(subscription, encoded);
    drop(encoded);
}

void subscriptions_set_failover_notice(struct subscriptions *subscriptions, const char *text,
                                       uint64_t time_ms)
{
    drop(subscriptions->greeting);
    subscriptions->greeting = text == NULL ? NULL : encode_notice(text, time_ms);
}

/* ---- reading the store ---- */

static void finish_reading(struct task *task);

static struct catch_up *reading_of(struct task *task)
{
    return (struct catch_up *)((char *)task - offsetof(struct catch_up, task));
}

static void read_now(struct task *task)
{
    struct catch_up *reading = reading_of(task);
    const struct subscriptions_options *options = &reading->subscriptions->options;
    struct store *store = options->reader_store == NULL ? options->store : options->reader_store;
    reading->error = chat_read(reading->plan, store, &reading->arena, &reading->page);
    reading->task.run = finish_reading;
    task_queue_push(options->queue, &reading->task);
}

static void free_reading(struct catch_up *reading)
{
    reading->subscriptions->readings--;
    arena_clear(&reading->arena);
    free(reading);
}

static enum error plan_reading(struct catch_up *reading, struct subscription *subscription,
                               struct chat_session *session)
{
    struct chat_call call = {.session = session, .arena = &reading->arena};
    return chat_plan_receive(subscription->subscriptions->chat, &call, subscription->filled,
                             reading->until, &reading->plan);
}

/* NULL without memory: tried again at the next delivery. */
static struct catch_up *new_reading(struct subscription *subscription, uint64_t until)
{
    struct subscriptions *subscriptions = subscription->subscriptions;
    struct chat_session *session = chat_find_session(subscriptions->chat, subscription->session);
    ASSERT(session != NULL);
    struct catch_up *reading = calloc(1, sizeof *reading);
    if (reading == NULL)
        return NULL;
    subscriptions->readings++;
    reading->subscriptions = subscriptions;
    reading->task.run = read_now;
    reading->until = until;
    arena_init(&reading->arena, READ_ARENA_BYTES);
    if (plan_reading(reading, subscription, session) == OK)
        return reading;
    free_reading(reading);
    return NULL;
}

static void on_readable(struct commit_waiter *commit_waiter, bool committed)
{
    struct catch_up *reading = (struct catch_up *)commit_waiter;
    const struct subscriptions_options *options = &reading->subscriptions->options;
    if (!committed || reading->subscription == NULL) {
        if (reading->subscription != NULL)
            start_lagging(reading->subscription, reading->subscription->cursor.seq);
        free_reading(reading);
    } else if (options->reader == NULL) {
        read_now(&reading->task);
    } else {
        worker_push(options->reader, &reading->task);
    }
}

/* Later pushes must follow the events read. So the reading covers all events applied by now, once
 * they are committed. */
static void start_reading(struct subscription *subscription)
{
    struct subscriptions *subscriptions = subscription->subscriptions;
    uint64_t applied = commit_log_applied(subscriptions->options.commit_log).seq;
    if (subscription->filled == applied) {
        subscription->state = SUBSCRIPTION_LIVE;
        return;
    }
    if (subscriptions->readings >= READS_MAX)
        return;
    struct catch_up *reading = new_reading(subscription, applied);
    if (reading == NULL)
        return;
    subscriptions->stats.store_reads++;
    reading->subscription = subscription;
    subscription->reading = reading;
    subscription->state = SUBSCRIPTION_CATCHING_UP;
    subscription->collected = 0;
    reading->commit_waiter.open = on_readable;
    commit_log_wait(subscriptions->options.commit_log, &reading->commit_waiter);
}

/* Puts the page between what the subscription held before the reading and what was collected since. */
static bool insert_page(struct subscription *subscription, const struct chat_page *page)
{
    uint32_t added = (uint32_t)page->count;
    if (!make_room(subscription, added))
        return false;
    uint32_t kept = subscription->count - subscription->collected;
    subscription->count += added;
    for (uint32_t i = 0; i < subscription->collected; i++)
        *entry_at(subscription, subscription->count - 1 - i) =
            *entry_at(subscription, kept + subscription->collected - 1 - i);
    bool complete = true;
    for (uint32_t i = 0; i < added; i++) {
        const struct chat_event *event = &page->events[i];
        struct event_bytes *encoded =
            complete ? encode(subscription->subscriptions, event, subscription->account) : NULL;
        *entry_at(subscription, kept + i) =
            (struct entry){.encoded = encoded, .seq = event->position.seq};
        if (encoded != NULL)
            subscription->bytes += encoded->size;
        complete = encoded != NULL;
    }
    return complete;
}

static void take_page(struct subscription *subscription, const struct catch_up *reading)
{
    const struct chat_page *page = &reading->page;
    bool complete = !page->more && !reading->overflowed;
    if (!complete) {
        drop_back(subscription, subscription->collected);
        subscription->collected = 0;
    }
    if (!insert_page(subscription, page)) {
        start_lagging(subscription, subscription->cursor.seq);
        return;
    }
    subscription->collected = 0;
    subscription->filled = page->more ? page->next.seq : reading->until;
    subscription->state = complete ? SUBSCRIPTION_LIVE : SUBSCRIPTION_LAGGING;
}

static void end_stream(struct subscription *subscription, enum status status, uint32_t retry_ms,
                       const char *text)
{
    struct rpc_call *stream = subscription->stream;
    if (stream == NULL)
        return;
    subscription->stream = NULL;
    subscription->subscriptions->stats.streams--;
    rpc_call_fail(stream, status, retry_ms, text);
}

static void finish_reading(struct task *task)
{
    struct catch_up *reading = reading_of(task);
    struct subscription *subscription = reading->subscription;
    if (subscription != NULL) {
        subscription->reading = NULL;
        if (reading->error == OK) {
            take_page(subscription, reading);
            mark_dirty(subscription);
        } else {
            log_error_paced(error_name(reading->error), "subscriptions", "cannot_read",
                            log_string("error", error_name(reading->error)));
            start_lagging(subscription, subscription->cursor.seq);
            end_stream(subscription, STATUS_UNAVAILABLE, RETRY_AFTER_FAILED_READ_MS,
                       "the server cannot read the events; try again");
        }
    }
    free_reading(reading);
}

/* ---- delivering ---- */

struct page {
    struct rpc_chunk
        *chunks;       /* the array of the subscriptions; chunks[0] is for the page's own fields */
    uint32_t count;    /* events in it */
    uint64_t last_seq; /* of the last one that is not ephemeral; 0: none */
};

/* The number of events that may be sent: while the store is read, the collected events come after
 * it. */
static uint32_t deliverable(const struct subscription *subscription)
{
    return subscription->count - subscription->collected;
}

/* How many committed events from the front make a page. A page ends between two positions, because
 * a cursor cannot point between events of one position. */
static uint32_t measure_page(const struct subscription *subscription, uint64_t committed)
{
    size_t bytes = 0;
    uint64_t last_seq = 0;
    uint32_t count = 0;
    for (; count < deliverable(subscription); count++) {
        const struct entry *entry = entry_at(subscription, count);
        bool full = count >= CHAT_PAGE_EVENTS || bytes >= CHAT_PAGE_BYTES;
        bool between = entry->seq == 0 || entry->seq != last_seq;
        if (entry->seq > committed || (full && between))
            break;
        bytes += entry->encoded->size;
        last_seq = entry->seq;
    }
    return count;
}

static bool reserve_chunks(struct subscriptions *subscriptions, size_t count)
{
    if (count <= subscriptions->chunks_capacity)
        return true;
    size_t capacity = count < CHUNKS_FIRST ? CHUNKS_FIRST : count;
    struct rpc_chunk *chunks = reallocarray(subscriptions->chunks, capacity, sizeof *chunks);
    if (chunks == NULL)
        return false;
    subscriptions->chunks = chunks;
    subscriptions->chunks_capacity = capacity;
    return true;
}

/* false: no memory. */
static bool collect(const struct subscription *subscription, uint64_t committed, struct page *page)
{
    *page = (struct page){.count = measure_page(subscription, committed)};
    if (!reserve_chunks(subscription->subscriptions, page->count + 1))
        return false;
    page->chunks = subscription->subscriptions->chunks;
    for (uint32_t i = 0; i < page->count; i++) {
        const struct entry *entry = entry_at(subscription, i);
        page->chunks[i + 1] =
            (struct rpc_chunk){.bytes = entry->encoded->bytes, .size = entry->encoded->size};
        if (entry->seq != 0)
            page->last_seq = entry->seq;
    }
    return true;
}

static struct log_position position_of(const struct subscriptions *subscriptions, uint64_t seq)
{
    return (struct log_position){.epoch = store_epoch_at(subscriptions->options.store, seq),
                                 .seq = seq};
}

/* The position up to which the session has all events after this page. */
static struct log_position next_cursor(const struct subscription *subscription,
                                       const struct page *page)
{
    const struct subscriptions *subscriptions = subscription->subscriptions;
    struct log_position committed = commit_log_committed(subscriptions->options.commit_log);
    uint64_t seq =
        page->last_seq > subscription->cursor.seq ? page->last_seq : subscription->cursor.seq;
    if (page->count == deliverable(subscription)) {
        uint64_t known =
            subscription->state == SUBSCRIPTION_LIVE ? committed.seq : subscription->filled;
        if (known > committed.seq)
            known = committed.seq;
        if (known > seq)
            seq = known;
    }
    return seq == committed.seq ? committed : position_of(subscriptions, seq);
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

static void send_entries(struct subscription *subscription, struct page *page)
{
    struct subscriptions *subscriptions = subscription->subscriptions;
    struct log_position next = next_cursor(subscription, page);
    uint8_t own[64];
    page->chunks[0] =
        (struct rpc_chunk){.bytes = own, .size = pack_frame_of_page(subscription, next, own)};
    struct rpc_call *stream = subscription->stream;
    if (rpc_call_is_stream(stream)) {
        (void)rpc_call_send(stream, page->chunks, page->count + 1);
    } else {
        subscription->stream = NULL;
        subscriptions->stats.streams--;
        rpc_call_finish(stream, page->chunks, page->count + 1);
    }
    subscription->cursor = next;
    subscription->cursor_reset = false;
    drop_front(subscription, page->count);
    subscriptions->stats.pages_sent++;
    subscriptions->stats.events_delivered += page->count;
}

static void deliver(struct subscription *subscription, uint64_t committed)
{
    struct page page;
    while (subscription->stream != NULL && rpc_call_credits(subscription->stream) > 0) {
        if (!collect(subscription, committed, &page)) {
            end_stream(subscription, STATUS_RESOURCE_EXHAUSTED, RETRY_WITHOUT_MEMORY_MS,
                       "the server is out of memory; try again");
            return;
        }
        if (page.count == 0 && !subscription->cursor_reset)
            break;
        send_entries(subscription, &page);
    }
    if (subscription->stream != NULL && subscription->state == SUBSCRIPTION_LAGGING &&
        subscription->count == 0)
        start_reading(subscription);
}

/* For a commit still to come, or for its turn to read. Other events (credit, the end of a reading)
 * mark it dirty when they come. */
static bool is_waiting(const struct subscription *subscription)
{
    if (subscription->stream == NULL)
        return false;
    bool has_more = deliverable(subscription) > 0 && rpc_call_credits(subscription->stream) > 0;
    return has_more || (subscription->state == SUBSCRIPTION_LAGGING && subscription->count == 0);
}

void subscriptions_deliver(struct subscriptions *subscriptions)
{
    uint64_t committed = commit_log_committed(subscriptions->options.commit_log).seq;
    struct subscription *subscription = subscriptions->dirty;
    subscriptions->dirty = NULL;
    while (subscription != NULL) {
        struct subscription *next = subscription->next_dirty;
        subscription->dirty_peer_connection = NULL;
        deliver(subscription, committed);
        if (is_waiting(subscription))
            mark_dirty(subscription);
        subscription = next;
    }
}

/* ---- streams ---- */

static void on_cancelled(void *context, struct rpc_call *call)
{
    struct subscription *subscription = context;
    ASSERT(subscription->stream == call);
    end_stream(subscription, STATUS_CANCELLED, 0, "the call was cancelled");
}

static void on_credited(void *context, struct rpc_call *call)
{
    (void)call;
    mark_dirty(context);
}

static struct subscription *new_subscription(struct subscriptions *subscriptions,
                                             struct chat_session *session)
{
    struct subscription *subscription = calloc(1, sizeof *subscription);
    if (subscription == NULL)
        return NULL;
    subscription->subscriptions = subscriptions;
    subscription->session = chat_session_id(session);
    subscription->account = chat_session_account(session);
    subscription->state = SUBSCRIPTION_LAGGING;
    subscription->next = subscriptions->items;
    if (subscription->next != NULL)
        subscription->next->previous = subscription;
    subscriptions->items = subscription;
    subscriptions->stats.items++;
    *chat_session_attachment(session) = subscription;
    return subscription;
}

/* The stream must have ended before. */
static void free_subscription(struct subscription *subscription)
{
    ASSERT(subscription->stream == NULL);
    abandon_reading(subscription);
    drop_front(subscription, subscription->count);
    unlink_dirty(subscription);
    if (subscription->previous != NULL)
        subscription->previous->next = subscription->next;
    else
        subscription->subscriptions->items = subscription->next;
    if (subscription->next != NULL)
        subscription->next->previous = subscription->previous;
    subscription->subscriptions->stats.items--;
    free(subscription->entries);
    free(subscription);
}

/* Continues after `position`, from the subscription if it holds all later events, else from the
 * store. */
static void resume(struct subscription *subscription, struct log_position position)
{
    bool holds =
        subscription->state == SUBSCRIPTION_LIVE && position.seq >= subscription->cursor.seq;
    if (!holds) {
        start_lagging(subscription, position.seq);
    } else {
        uint32_t known = 0;
        while (known < subscription->count && entry_at(subscription, known)->seq <= position.seq)
            known++;
        drop_front(subscription, known);
    }
    subscription->cursor = position;
}

void subscriptions_receive(struct subscriptions *subscriptions, struct chat_session *session,
                           struct rpc_call *call, const Jackdaw__ReceiveRequest *request)
{
    struct subscription *subscription = *chat_session_attachment(session);
    bool is_new = subscription == NULL;
    if (is_new)
        subscription = new_subscription(subscriptions, session);
    if (subscription == NULL) {
        rpc_call_fail(call, STATUS_RESOURCE_EXHAUSTED, RETRY_WITHOUT_MEMORY_MS,
                      "the server is out of memory; try again");
        return;
    }
    end_stream(subscription, STATUS_ABORTED, 0, "another Receive of this session took its place");
    struct log_position asked = {0};
    if (request->after != NULL)
        asked = (struct log_position){.epoch = request->after->epoch, .seq = request->after->seq};
    /* The session has all events up to there, also where this server does not know yet that they
     * are committed: after a restart it knows that of none. */
    uint64_t common = chat_common_seq_of(subscriptions->chat, request->after,
                                         request->cursor_history, request->n_cursor_history);
    struct log_position position = position_of(subscriptions, common);
    resume(subscription, position);
    subscription->cursor_reset = position.seq != asked.seq || position.epoch != asked.epoch;
    call = rpc_call_keep(call); /* request is gone */
    subscription->stream = call;
    subscription->stream_gone_ms = 0;
    subscriptions->stats.streams++;
    rpc_call_watch(call, &(struct rpc_call_watch){.context = subscription,
                                                  .cancelled = on_cancelled,
                                                  .credited = on_credited});
    if (is_new)
        push_notice(subscription, subscriptions->greeting);
    mark_dirty(subscription);
}

/* ---- life ---- */

enum error subscriptions_new(struct subscriptions **out,
                             const struct subscriptions_options *options)
{
    struct subscriptions *subscriptions = calloc(1, sizeof *subscriptions);
    if (subscriptions == NULL)
        return ERROR_NO_MEMORY;
    subscriptions->options = *options;
    arena_init(&subscriptions->scratch, ENCODE_ARENA_BYTES);
    *out = subscriptions;
    return OK;
}

void subscriptions_attach(struct subscriptions *subscriptions, struct chat *chat)
{
    subscriptions->chat = chat;
}

void subscriptions_free(struct subscriptions *subscriptions)
{
    if (subscriptions == NULL)
        return;
    while (subscriptions->items != NULL) {
        end_stream(subscriptions->items, STATUS_CANCELLED, 0, "the server is closing");
        free_subscription(subscriptions->items);
    }
    drop(subscriptions->greeting);
    arena_clear(&subscriptions->scratch);
    free(subscriptions->chunks);
    free(subscriptions);
}

/* ---- sessions that end ---- */

/* A stream whose session has ended: it ends when the end of the session is committed. In the call's
 * arena. */
struct farewell {
    struct commit_waiter commit_waiter;
    struct rpc_call *stream;
};

static void finish_stream_end(struct commit_waiter *commit_waiter, bool committed)
{
    const struct farewell *farewell = (struct farewell *)commit_waiter;
    if (committed)
        rpc_call_fail(farewell->stream, STATUS_UNAUTHENTICATED, 0,
                      "the session has ended; log in again");
    else
        rpc_call_fail(farewell->stream, STATUS_UNAVAILABLE, RETRY_AFTER_ROLLBACK_MS,
                      "the server could not write the end of the session; try again");
}

static void end_stream_when_committed(struct subscription *subscription)
{
    struct rpc_call *stream = subscription->stream;
    if (stream == NULL)
        return;
    struct farewell *farewell = arena_zalloc(rpc_call_arena(stream), sizeof *farewell);
    if (farewell == NULL) {
        end_stream(subscription, STATUS_UNAVAILABLE, RETRY_WITHOUT_MEMORY_MS,
                   "the server is out of memory; try again");
        return;
    }
    subscription->stream = NULL;
    subscription->subscriptions->stats.streams--;
    farewell->commit_waiter.open = finish_stream_end;
    farewell->stream = stream;
    rpc_call_watch(stream, &(struct rpc_call_watch){.context = NULL});
    commit_log_wait(subscription->subscriptions->options.commit_log, &farewell->commit_waiter);
}

void subscriptions_session_ended(void *context, struct chat_session *session)
{
    (void)context;
    void **attachment = chat_session_attachment(session);
    struct subscription *subscription = *attachment;
    *attachment = NULL;
    if (subscription == NULL)
        return;
    end_stream_when_committed(subscription);
    free_subscription(subscription);
}

/* Sessions that only the undone transaction knew have ended before this. */
void subscriptions_rolled_back(void *context, struct log_position position)
{
    struct subscriptions *subscriptions = context;
    for (struct subscription *subscription = subscriptions->items; subscription != NULL;
         subscription = subscription->next) {
        if (subscription->cursor.seq > position.seq) {
            subscription->cursor = position;
            subscription->cursor_reset = true;
        }
        start_lagging(subscription, subscription->cursor.seq);
        mark_dirty(subscription);
    }
}

void subscriptions_end_all(struct subscriptions *subscriptions, const char *text)
{
    for (struct subscription *subscription = subscriptions->items; subscription != NULL;
         subscription = subscription->next)
        end_stream(subscription, STATUS_UNAVAILABLE, 0, text);
}

void subscriptions_close_all(struct subscriptions *subscriptions, const char *text,
                             const char *master)
{
    while (subscriptions->items != NULL) {
        struct subscription *subscription = subscriptions->items;
        if (subscription->stream != NULL && master != NULL)
            rpc_call_redirect(subscription->stream, master);
        end_stream(subscription, STATUS_UNAVAILABLE, 0, text);
        struct chat_session *session =
            chat_find_session(subscriptions->chat, subscription->session);
        if (session != NULL)
            *chat_session_attachment(session) = NULL;
        free_subscription(subscription);
    }
}

void subscriptions_set_store(struct subscriptions *subscriptions, struct store *store,
                             struct store *reader_store, struct worker *reader)
{
    subscriptions->options.store = store;
    subscriptions->options.reader_store = reader_store;
    subscriptions->options.reader = reader;
}

void subscriptions_tidy(struct subscriptions *subscriptions, uint64_t before_ms, uint64_t now_ms)
{
    for (struct subscription *subscription = subscriptions->items; subscription != NULL;
         subscription = subscription->next) {
        if (subscription->stream != NULL)
            continue;
        if (subscription->stream_gone_ms == 0)
            subscription->stream_gone_ms = now_ms;
        else if (subscription->stream_gone_ms < before_ms && subscription->count > 0)
            start_lagging(subscription, subscription->cursor.seq);
    }
}

void subscriptions_stats(const struct subscriptions *subscriptions, struct subscriptions_stats *out)
{
    *out = subscriptions->stats;
    out->reading = subscriptions->readings;
}
