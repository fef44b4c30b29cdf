/* SPDX-License-Identifier: MIT */
#include "server/subscriptions.h"

#include "server/subscription.h"

#include <stdlib.h>

#define RETRY_GONE_MS 1u
#define ENCODE_ARENA_BYTES (4u * 1024u * 1024u)

struct subscriptions {
    struct subscription_context context;
    struct subscription *items;
    struct event_bytes *shared; /* of the event being pushed */
    const struct chat_event *event;
    uint64_t encoded_for;                /* account that `shared` is for; 0: all recipients */
    struct event_bytes *failover_notice; /* NULL: none */
};

enum error subscriptions_new(struct subscriptions **out,
                             const struct subscriptions_options *options)
{
    struct subscriptions *subscriptions = calloc(1, sizeof *subscriptions);
    if (subscriptions == NULL)
        return ERROR_NO_MEMORY;
    subscriptions->context.options = *options;
    arena_init(&subscriptions->context.scratch, ENCODE_ARENA_BYTES);
    *out = subscriptions;
    return OK;
}

void subscriptions_attach(struct subscriptions *subscriptions, struct chat *chat)
{
    subscriptions->context.chat = chat;
}

void subscriptions_set_store(struct subscriptions *subscriptions, struct store *store,
                             struct store *reader_store, struct worker *reader)
{
    struct subscriptions_options *options = &subscriptions->context.options;
    options->store = store;
    options->reader_store = reader_store;
    options->reader = reader;
}

/* ---- the list ---- */

/* Makes the session's subscription. NULL without memory. */
static struct subscription *add(struct subscriptions *subscriptions, struct chat_session *session)
{
    struct subscription *subscription = subscription_new(
        &subscriptions->context, chat_session_id(session), chat_session_account(session));
    if (subscription == NULL)
        return NULL;
    subscription->next = subscriptions->items;
    if (subscription->next != NULL)
        subscription->next->previous = subscription;
    subscriptions->items = subscription;
    subscriptions->context.stats.items++;
    *chat_session_attachment(session) = subscription;
    return subscription;
}

/* The stream must have ended before. */
static void remove_and_free(struct subscriptions *subscriptions, struct subscription *subscription)
{
    if (subscription->previous != NULL)
        subscription->previous->next = subscription->next;
    else
        subscriptions->items = subscription->next;
    if (subscription->next != NULL)
        subscription->next->previous = subscription->previous;
    subscriptions->context.stats.items--;
    subscription_free(subscription);
}

void subscriptions_free(struct subscriptions *subscriptions)
{
    if (subscriptions == NULL)
        return;
    while (subscriptions->items != NULL) {
        subscription_end_stream(subscriptions->items, STATUS_CANCELLED, 0, "the server is closing");
        remove_and_free(subscriptions, subscriptions->items);
    }
    event_bytes_release(subscriptions->failover_notice);
    arena_clear(&subscriptions->context.scratch);
    free(subscriptions->context.chunks);
    free(subscriptions);
}

/* ---- events ---- */

static struct event_bytes *encode(struct subscriptions *subscriptions, uint64_t viewer)
{
    struct subscription_context *context = &subscriptions->context;
    return event_bytes_encode(context->chat, subscriptions->event, viewer, &context->scratch);
}

static void push_to_session(void *context, struct chat_session *session)
{
    struct subscriptions *subscriptions = context;
    struct subscription *subscription = *chat_session_attachment(session);
    if (subscription == NULL)
        return; /* has not asked for anything yet; will read the store */
    if (subscriptions->encoded_for != 0 && subscriptions->encoded_for != subscription->account) {
        event_bytes_release(subscriptions->shared);
        subscriptions->shared = encode(subscriptions, subscription->account);
        subscriptions->encoded_for = subscription->account;
    }
    subscription_push(subscription, subscriptions->shared, subscriptions->event->position.seq);
}

void subscriptions_event(void *context, const struct chat_event *event)
{
    struct subscriptions *subscriptions = context;
    struct chat *chat = subscriptions->context.chat;
    if (subscriptions->items == NULL)
        return; /* a slave */
    bool shared = chat_event_is_shared(chat, event);
    subscriptions->event = event;
    subscriptions->encoded_for = shared ? 0 : UINT64_MAX; /* no account: encoded at the first */
    subscriptions->shared = shared ? encode(subscriptions, 0) : NULL;
    chat_each_recipient(chat, event, push_to_session, subscriptions);
    event_bytes_release(subscriptions->shared);
    subscriptions->shared = NULL;
}

void subscriptions_notice(struct subscriptions *subscriptions, const char *text, uint64_t time_ms)
{
    struct event_bytes *encoded = event_bytes_notice(text, time_ms);
    for (struct subscription *subscription = subscriptions->items; subscription != NULL;
         subscription = subscription->next)
        if (subscription->stream != NULL)
            subscription_push_notice(subscription, encoded);
    event_bytes_release(encoded);
}

void subscriptions_set_failover_notice(struct subscriptions *subscriptions, const char *text,
                                       uint64_t time_ms)
{
    event_bytes_release(subscriptions->failover_notice);
    subscriptions->failover_notice = text == NULL ? NULL : event_bytes_notice(text, time_ms);
}

void subscriptions_rolled_back(void *context, struct log_position position)
{
    /* Sessions that only the undone transaction knew have ended before this. */
    struct subscriptions *subscriptions = context;
    for (struct subscription *subscription = subscriptions->items; subscription != NULL;
         subscription = subscription->next)
        subscription_roll_back(subscription, position);
}

void subscriptions_deliver(struct subscriptions *subscriptions)
{
    subscription_deliver_all(&subscriptions->context);
}

void subscriptions_tidy(struct subscriptions *subscriptions, uint64_t before_ms, uint64_t now_ms)
{
    for (struct subscription *subscription = subscriptions->items; subscription != NULL;
         subscription = subscription->next)
        subscription_tidy(subscription, before_ms, now_ms);
}

/* ---- streams ---- */

void subscriptions_receive(struct subscriptions *subscriptions, struct chat_session *session,
                           struct rpc_call *call, const Jackdaw__ReceiveRequest *request)
{
    struct subscription *subscription = *chat_session_attachment(session);
    bool is_new = subscription == NULL;
    if (is_new)
        subscription = add(subscriptions, session);
    if (subscription == NULL) {
        rpc_call_fail(call, STATUS_RESOURCE_EXHAUSTED, SUBSCRIPTION_RETRY_WITHOUT_MEMORY_MS,
                      "the server is out of memory; try again");
        return;
    }
    subscription_receive(subscription, call, request);
    if (is_new)
        subscription_push_notice(subscription, subscriptions->failover_notice);
}

static struct subscription *detach(struct chat_session *session)
{
    void **attachment = chat_session_attachment(session);
    struct subscription *subscription = *attachment;
    *attachment = NULL;
    return subscription;
}

void subscriptions_session_ended(void *context, struct chat_session *session)
{
    struct subscription *subscription = detach(session);
    if (subscription == NULL)
        return;
    subscription_end_stream_when_committed(subscription);
    remove_and_free(context, subscription);
}

void subscriptions_session_gone(struct subscriptions *subscriptions, struct chat_session *session)
{
    struct subscription *subscription = detach(session);
    if (subscription == NULL)
        return;
    subscription_end_stream(subscription, STATUS_ABORTED, RETRY_GONE_MS,
                            "the session may have ended; ask again");
    remove_and_free(subscriptions, subscription);
}

void subscriptions_end_all(struct subscriptions *subscriptions, const char *text)
{
    for (struct subscription *subscription = subscriptions->items; subscription != NULL;
         subscription = subscription->next)
        subscription_end_stream(subscription, STATUS_UNAVAILABLE, 0, text);
}

void subscriptions_close_all(struct subscriptions *subscriptions, const char *text,
                             const char *master)
{
    while (subscriptions->items != NULL) {
        struct subscription *subscription = subscriptions->items;
        if (subscription->stream != NULL && master != NULL)
            rpc_call_redirect(subscription->stream, master);
        subscription_end_stream(subscription, STATUS_UNAVAILABLE, 0, text);
        struct chat_session *session =
            chat_find_session(subscriptions->context.chat, subscription->session);
        if (session != NULL)
            *chat_session_attachment(session) = NULL;
        remove_and_free(subscriptions, subscription);
    }
}

void subscriptions_stats(const struct subscriptions *subscriptions, struct subscriptions_stats *out)
{
    *out = subscriptions->context.stats;
}
