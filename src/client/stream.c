/* SPDX-License-Identifier: MIT */
/* stream.c - one call of Receive, which the server answers with pages of events as long as it has
 * credits. If the stream breaks, skips a page or ends, the client opens another from its cursor on. */
#include "client/client_internal.h"

#include "rpc/protocol.h"

#include <string.h>

#define LONG_POLL_US 1000000 /* an empty poll that took so long was worth asking for */

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
    if (client->selection.state == SELECTION_SEARCHING)
        return;
    stream->ignored = true;
    rpc_channel_cancel(client->selection.current->channel, stream->call_id);
    stream->ignored = false;
}

/* ---- pages ---- */

static uint64_t mix_text(uint64_t hash, const char *text)
{
    do
        hash = (hash ^ (unsigned char)*text) * UINT64_C(0x100000001B3); /* FNV-1a */
    while (*text++ != '\0');
    return hash;
}

/* Only messages have a uid; other stored events are compared by content. */
static uint64_t fingerprint(const Jackdaw__Event *event)
{
    uint64_t hash = UINT64_C(0xCBF29CE484222325) ^ (uint64_t)event->kind;
    hash = mix_text(hash, event->room);
    hash = mix_text(hash, event->from);
    hash = mix_text(hash, event->subject);
    return mix_text(hash, event->text);
}

static bool is_known(struct client *client, const Jackdaw__Event *event)
{
    struct dedup *dedup = &client->stream.dedup;
    bool known;
    if (event->kind == JACKDAW__EVENT__KIND__MESSAGE)
        known = (event->session != 0 || event->request != 0) &&
                dedup_add(dedup, event->session, event->request);
    else
        known = event->epoch != 0 && dedup_add(dedup, fingerprint(event), event->time_ms) &&
                client->stream.cursor_reset;
    client->stats.duplicates += known;
    return known;
}

static void tell(struct client *client, const Jackdaw__Event *event)
{
    if (is_known(client, event))
        return;
    if (event->kind == JACKDAW__EVENT__KIND__MESSAGE)
        client->stats.received++;
    client->active_us = client->now_us;
    if (client->observer.event != NULL)
        client->observer.event(client->context, event);
}

static void report_cursor_reset(struct client *client)
{
    if (client->observer.status != NULL)
        client->observer.status(client->context, client->selection.current->text,
                                "servers are back after a partition: messages written there "
                                "meanwhile follow");
}

/* Whether the page follows what was received. */
static bool follows(struct client *client, const Jackdaw__ReceiveReply *page)
{
    struct stream *stream = &client->stream;
    struct log_position after = proto_position(page->after);
    struct log_position next = proto_position(page->next);
    if (page->cursor_reset && after.seq < stream->cursor.at.seq)
        report_cursor_reset(client);
    if (page->cursor_reset) {
        cursor_reset(&stream->cursor, after);
        stream->cursor_reset = true;
    }
    return after.seq == stream->cursor.at.seq && log_position_compare(next, after) >= 0;
}

static void handle_page(struct client *client, const Jackdaw__ReceiveReply *page)
{
    struct stream *stream = &client->stream;
    server_selection_seen(client);
    response_note_position(client, proto_position(page->next));
    server_selection_confirm_session(client);
    if (!follows(client, page)) {
        client->stats.gaps++;
        close_stream(client);
        reopen_later(client, 0);
        return;
    }
    if (page->n_events > 0)
        backoff_clear(&stream->backoff);
    struct log_position next = proto_position(page->next);
    struct cursor cursor = stream->cursor;
    for (size_t i = 0; i < page->n_events; i++) {
        tell(client, page->events[i]);
        if (page->events[i]->epoch != 0)
            cursor_move(&cursor, (struct log_position){.epoch = page->events[i]->epoch,
                                                       .seq = page->events[i]->seq});
    }
    cursor_move(&cursor, next);
    stream->cursor = cursor;
    persist_read_position(client);
}

static void give_credits(struct client *client)
{
    struct stream *stream = &client->stream;
    if (++stream->pages < RPC_CREDITS_MAX / 2)
        return;
    rpc_channel_credit(client->selection.current->channel, stream->call_id, stream->pages);
    stream->pages = 0;
}

/* ---- the stream ---- */

static void refuse_session(struct client *client, const struct rpc_result *result)
{
    struct stream *stream = &client->stream;
    stream->refused_session = client->session.id;
    (void)error_set(&stream->refusal, OK, "%s", result->message);
}

/* The server, or the connection, has ended the stream. */
static void handle_end(struct client *client, const struct rpc_result *result, bool brought_events)
{
    struct stream *stream = &client->stream;
    uint32_t retry_ms = result->retry_ms;
    stream->open = false;
    response_note_position(client, result->position);
    switch (response_action(result)) {
    case RESPONSE_ACCEPT:
        /* A long poll: the next one follows at once, unless this one was short and empty. */
        if (brought_events || client->now_us - stream->opened_us >= LONG_POLL_US) {
            stream->open_at_us = client->now_us;
            return;
        }
        break;
    case RESPONSE_END_SESSION:
        if (!server_selection_may_learn_session(client, stream->opened_us))
            refuse_session(client, result);
        retry_ms = 0;
        break;
    case RESPONSE_REDIRECT:
        server_selection_reject(client, result);
        break;
    default:
        break;
    }
    reopen_later(client, retry_ms);
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
        return; /* the page did not follow */
    if (result.more)
        give_credits(client);
    else
        handle_end(client, &result, page != NULL && page->n_events > 0);
}

static void open_stream(struct client *client)
{
    struct stream *stream = &client->stream;
    struct read_position read_position;
    Jackdaw__ReceiveRequest request = JACKDAW__RECEIVE_REQUEST__INIT;
    cursor_write(&stream->cursor, &read_position);
    request.after = &read_position.after;
    request.cursor_history = read_position.list;
    request.n_cursor_history = read_position.count;
    stream->pages = 0;
    stream->opened_us = client->now_us;
    stream->open = true;
    struct rpc_stub stub;
    server_selection_init_stub(client, &stub, 0);
    stub.credits = RPC_CREDITS_MAX;
    call_method(&stub, "Receive", &request.base, on_page, stream);
    stream->call_id = stub.call;
}

void client_stream_tick(struct client *client)
{
    struct stream *stream = &client->stream;
    if (stream->open || client->selection.state == SELECTION_SEARCHING || !client->session.active)
        return;
    if (client->now_us >= stream->open_at_us)
        open_stream(client);
    else
        client_wake_at(client, stream->open_at_us);
}

void stream_start(struct client *client, struct log_position from)
{
    stream_stop(client);
    client->stream.cursor.at = from;
    client->stream.open_at_us = client->now_us;
    client->wake_us = 0;
}

void stream_hurry(struct client *client)
{
    if (client->stream.open_at_us > client->now_us)
        client->stream.open_at_us = client->now_us;
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
    client->stream.cursor = (struct cursor){.history_count = 0};
    client->stream.cursor_reset = false;
    backoff_clear(&client->stream.backoff);
}
