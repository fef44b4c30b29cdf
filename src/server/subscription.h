/* SPDX-License-Identifier: MIT */
/* subscription.h - one session's events on their way to its Receive stream.
 *
 * A subscription has a queue of encoded events, a cursor and a state (see the diagram in
 * subscriptions.h). If the queue overflows, the subscription drops events and later reads them from
 * the store (catch_up.h). As the stream has credit, the subscription sends pages.
 *
 * A subscription with something to send, or waiting for a commit or for its turn to read, is in the
 * dirty list of its context.
 *
 * Private to subscriptions.c, subscription.c, subscription_page.c and catch_up.c. Core thread only. */
#ifndef JACKDAW_SERVER_SUBSCRIPTION_H
#define JACKDAW_SERVER_SUBSCRIPTION_H

#include "server/event_queue.h"
#include "server/subscriptions.h"

#define SUBSCRIPTION_RETRY_WITHOUT_MEMORY_MS 1000 /* a client's pause after RESOURCE_EXHAUSTED */

struct subscription;

/* The parts of the registry that its subscriptions use. */
struct subscription_context {
    struct subscriptions_options options;
    struct chat *chat;
    struct subscription *dirty; /* the list, through next_dirty */
    struct arena scratch;       /* for encoding */
    struct rpc_chunk *chunks;   /* of the page being sent */
    size_t chunks_capacity;
    struct subscriptions_stats stats;
};

enum subscription_state {
    SUBSCRIPTION_LIVE,        /* holds every event after the cursor */
    SUBSCRIPTION_LAGGING,     /* holds every event after the cursor up to `filled` */
    SUBSCRIPTION_CATCHING_UP, /* as LAGGING; reads the store from `filled` on, and collects pushes */
};

struct subscription {
    struct subscription_context *context;
    uint64_t session;
    uint64_t account;
    struct rpc_call *stream; /* NULL: none */
    uint64_t stream_gone_ms; /* when subscription_tidy first saw no stream; 0: has one */
    enum subscription_state state;
    struct log_position cursor; /* `next` of the last page, or where the session started */
    uint64_t filled;
    struct event_queue queue;
    uint32_t collected; /* CATCHING_UP: how many of the entries were pushed since it began */
    bool overflowed;    /* CATCHING_UP: pushed events did not fit; it then keeps lagging */
    bool cursor_reset;  /* the next page says so, and is sent even if empty */
    struct catch_up *catch_up;
    struct subscription *next_dirty;
    struct subscription **dirty_pointer; /* the pointer to it in the list; NULL: not dirty */
    struct subscription *previous;       /* the registry's list */
    struct subscription *next;
};

/* ---- for subscriptions.c ---- */

/* Makes a subscription without a stream, LAGGING at seq 0. NULL without memory. *context must
 * outlive it and its catch-up. The caller frees it with subscription_free. */
struct subscription *subscription_new(struct subscription_context *context, uint64_t session,
                                      uint64_t account);
/* The stream must have ended before. */
void subscription_free(struct subscription *subscription);

/* Makes the call the stream, which begins after request->after. Ends an earlier stream with
 * ABORTED. Takes the call; request is borrowed. */
void subscription_receive(struct subscription *subscription, struct rpc_call *call,
                          const Jackdaw__ReceiveRequest *request);

/* Ends the stream, if there is one. text: a sentence, borrowed. retry_ms: the client's pause; 0: no
 * advice. */
void subscription_end_stream(struct subscription *subscription, enum status status,
                             uint32_t retry_ms, const char *text);

/* Detaches the stream, if there is one. The stream ends with UNAUTHENTICATED when the end of the
 * session is committed, or with UNAVAILABLE if that is rolled back. */
void subscription_end_stream_when_committed(struct subscription *subscription);

/* Appends an event with its own reference to encoded. NULL (no memory) or a full queue: the
 * subscription reads the event from the store later, and drops an ephemeral one (seq 0). */
void subscription_push(struct subscription *subscription, struct event_bytes *encoded,
                       uint64_t seq);

/* Pushes a notice in every state, because the store does not hold it, and ahead of a reading. If
 * the queue is full, drops it. encoded: as above. */
void subscription_push_notice(struct subscription *subscription, struct event_bytes *encoded);

/* Drops events after position; later events are read again. Resets a cursor that is beyond it. */
void subscription_roll_back(struct subscription *subscription, struct log_position position);

/* Frees the ring of an empty queue. Drops the events if the subscription has had no stream since before_ms.
 * Monotonic times in ms. */
void subscription_tidy(struct subscription *subscription, uint64_t before_ms, uint64_t now_ms);

/* Sends committed events to every dirty subscription whose stream has credit, and begins readings. */
void subscription_deliver_all(struct subscription_context *context);

/* ---- subscription_page.c, for subscription.c ---- */

/* Committed events from the front of the queue. */
struct subscription_page {
    struct rpc_chunk *chunks; /* the context's; chunks[0] is for the page's own fields */
    uint32_t count;           /* of events */
    uint64_t last_seq;        /* of the last event that is not ephemeral; 0: none */
};

/* Returns the number of events that may be sent, committed or not: while the store is read, the
 * collected events come after the page that is read. */
uint32_t subscription_deliverable(const struct subscription *subscription);

/* Fills *page with events up to the seq `committed`, perhaps with none. The events remain in the
 * queue. The page is valid until the queue changes. Returns false without memory. */
bool subscription_page_collect(const struct subscription *subscription, uint64_t committed,
                               struct subscription_page *page);

/* Sends the page on the stream, which must exist, and removes its events from the queue. A call
 * that is no stream ends with it. */
void subscription_page_send(struct subscription *subscription, struct subscription_page *page);

/* Returns the position of a seq in the log. */
struct log_position subscription_position_of(const struct subscription_context *context,
                                             uint64_t seq);

/* ---- for catch_up.c ---- */

/* Drops all events and abandons a reading. Events after seq will be read from the store. */
void subscription_start_lagging(struct subscription *subscription, uint64_t seq);

/* Takes the result of the catch-up: a page (borrowed) of the events from `filled` on, up to the seq
 * `until` if it has no more. */
void subscription_take_page(struct subscription *subscription, const struct chat_page *page,
                            uint64_t until);

/* Takes an error of the store as the result of the catch-up: ends the stream with UNAVAILABLE. */
void subscription_fail_read(struct subscription *subscription, enum error error);

#endif
