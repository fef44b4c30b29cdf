/* SPDX-License-Identifier: MIT */
#include "client/client_internal.h"

#include "rpc/protocol.h"

#define LONG_POLL_US 1000000 /* an empty poll that took so long was worth asking for */

/* One stream, which the server fills as long as it has credits. The cursor is the only thing that
 * counts: a stream that breaks, skips a page or ends is replaced by another from the cursor on. */

static void reopen_later(struct client *client, uint32_t retry_ms)
{
    struct stream *stream = &client->stream;
    stream->open_at_us =
        client->now_us + backoff_next_us(&stream->backoff, retry_ms, client_random32(client));
    client_wake_at(client, stream->open_at_us);
}

static void close_stream(struct client *client)
{
    struct stream *stream = &client->stream;
    if (!stream->open)
        return;
    stream->open = false;
    if (client->current == NULL)
        return;
    stream->ignored = true;
    rpc_channel_cancel(client->current->channel, stream->call_id);
    stream->ignored = false;
}

/* ---- pages ---- */

static bool is_known(struct client *client, const Jackdaw__Event *event)
{
    if (event->kind != JACKDAW__EVENT__KIND__MESSAGE ||
        (event->session == 0 && event->request == 0))
        return false;
    if (!recent_add(&client->stream.recent, event->session, event->request))
        return false;
    client->figures.duplicates++;
    return true;
}

static void tell(struct client *client, const Jackdaw__Event *event)
{
    if (is_known(client, event))
        return;
    if (event->kind == JACKDAW__EVENT__KIND__MESSAGE)
        client->figures.received++;
    if (client->observer.event != NULL)
        client->observer.event(client->context, event);
}

/* Whether the page follows what was received. */
static bool follows(struct client *client, const Jackdaw__ReceiveReply *page)
{
    struct stream *stream = &client->stream;
    struct position after = position_of(page->after);
    struct position next = position_of(page->next);
    if (page->rewound)
        stream->cursor = after;
    return after.seq == stream->cursor.seq && position_compare(next, after) >= 0;
}

static void handle_page(struct client *client, const Jackdaw__ReceiveReply *page)
{
    struct stream *stream = &client->stream;
    uint64_t session = client->session.id;
    client->heard_us = client->now_us;
    if (!follows(client, page)) {
        client->figures.gaps++;
        close_stream(client);
        reopen_later(client, 0);
        return;
    }
    if (page->n_events > 0)
        backoff_clear(&stream->backoff);
    struct position next = position_of(page->next);
    for (size_t i = 0; i < page->n_events; i++)
        tell(client, page->events[i]);
    if (client->session.id != session)
        return;
    stream->cursor = next;
    if (next.epoch > client->highest_epoch)
        client->highest_epoch = next.epoch;
}

static void give_credits(struct client *client)
{
    struct stream *stream = &client->stream;
    if (++stream->pages < RPC_CREDITS_MAX / 2)
        return;
    rpc_channel_credit(client->current->channel, stream->call_id, stream->pages);
    stream->pages = 0;
}

/* ---- the stream ---- */

/* The stream has ended; not by us. */
static void handle_end(struct client *client, const struct rpc_result *result, bool brought_events)
{
    client->stream.open = false;
    switch (result->status) {
    case STATUS_OK: /* a long poll: the next one at once, unless this one was short and empty */
        if (brought_events || client->now_us - client->stream.opened_us >= LONG_POLL_US)
            client->stream.open_at_us = client->now_us;
        else
            reopen_later(client, 0);
        break;
    case STATUS_UNAUTHENTICATED:
        session_lost(client, result->status, result->message);
        reopen_later(client, 0); /* if there is still, or again, a session */
        break;
    default:
        if (result->status == STATUS_UNAVAILABLE || *result->master != '\0')
            link_doubt(client, result->master);
        reopen_later(client, result->retry_ms);
        break;
    }
}

static void on_page(const ProtobufCMessage *message, void *closure_data)
{
    struct stream *stream = closure_data;
    struct client *client = stream->client;
    const struct rpc_result result = stream->result;
    const Jackdaw__ReceiveReply *page = (const Jackdaw__ReceiveReply *)message;
    if (stream->ignored)
        return;
    if (result.status == STATUS_OK)
        handle_page(client, page);
    if (!stream->open)
        return; /* the page did not follow, or the session ended meanwhile */
    if (result.more)
        give_credits(client);
    else
        handle_end(client, &result, page != NULL && page->n_events > 0);
}

static void open_stream(struct client *client)
{
    struct stream *stream = &client->stream;
    Jackdaw__Position after = JACKDAW__POSITION__INIT;
    Jackdaw__ReceiveRequest request = JACKDAW__RECEIVE_REQUEST__INIT;
    after.epoch = stream->cursor.epoch;
    after.seq = stream->cursor.seq;
    request.after = &after;
    stream->pages = 0;
    stream->opened_us = client->now_us;
    stream->open = true;
    struct rpc_stub stub;
    client_init_stub(client, &stub, 0);
    stub.credits = RPC_CREDITS_MAX;
    call_method(&stub, "Receive", &request.base, on_page, stream);
    stream->call_id = stub.call;
}

void stream_tick(struct client *client)
{
    struct stream *stream = &client->stream;
    if (stream->open || client->current == NULL || !client->session.active)
        return;
    if (client->now_us >= stream->open_at_us)
        open_stream(client);
    else
        client_wake_at(client, stream->open_at_us);
}

void stream_start(struct client *client, struct position cursor)
{
    stream_stop(client);
    client->stream.cursor = cursor;
    client->stream.open_at_us = client->now_us;
    client->wake_us = 0;
}

void stream_restart(struct client *client)
{
    close_stream(client);
    client->stream.open_at_us = client->now_us;
    client->wake_us = 0;
}

void stream_stop(struct client *client)
{
    close_stream(client);
    client->stream.cursor = (struct position){.epoch = 0};
    backoff_clear(&client->stream.backoff);
}
