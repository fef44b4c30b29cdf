/* SPDX-License-Identifier: MIT */
/* call.c - one call from its dispatch to its end. */
#include "rpc/server_internal.h"

#include "base/clock.h"
#include "rpc/protocol.h"

#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <utlist.h>

#define RETRY_WHEN_DRAINING_MS 200u
#define CALL_EXTRA_BYTES 256u /* of an arena's budget: header, token, refusal, rounding */
#define FORWARDED_TEXT_SIZE (2u * PEER_TEXT_SIZE + 8u)

/* ---- life ---- */

/* Whether text may be an address, as logs show it. */
static bool is_address(const char *text)
{
    size_t size = strlen(text);
    for (size_t i = 0; i < size; i++)
        if (isalnum((unsigned char)text[i]) == 0 && strchr(".:[]-_%", text[i]) == NULL)
            return false;
    return size > 0 && size < PEER_TEXT_SIZE;
}

/* The text of a forwarded call's peer; "?" stands for what is no address. NULL: it is not forwarded, or
 * there is no memory. */
static char *copy_peer(struct arena *arena, const char *peer)
{
    if (*peer == '\0')
        return NULL;
    char *text = arena_alloc(arena, FORWARDED_TEXT_SIZE);
    if (text != NULL)
        (void)snprintf(text, FORWARDED_TEXT_SIZE, "%s", is_address(peer) ? peer : "?");
    return text;
}

struct rpc_call *call_new(struct rpc_server *server, const Jackdaw__Envelope *envelope,
                          const void *header, size_t header_size)
{
    struct arena arena;
    arena_init(&arena, sizeof(struct rpc_call) + CALL_EXTRA_BYTES + FORWARDED_TEXT_SIZE);
    arena.first_block_bytes = arena.budget_bytes + 2 * envelope->payload.len;
    struct rpc_call *call = arena_zalloc(&arena, sizeof *call);
    const uint8_t *kept_header = arena_copy(&arena, header, header_size);
    size_t token_size =
        envelope->token.len <= RPC_TOKEN_BYTES_MAX ? envelope->token.len : RPC_TOKEN_BYTES_MAX;
    const uint8_t *token = arena_copy(&arena, envelope->token.data, token_size);
    if (call == NULL || kept_header == NULL || token == NULL) {
        arena_clear(&arena);
        return NULL;
    }
    call->arena = arena;
    call->server = server;
    call->id = envelope->call;
    call->header = kept_header;
    call->header_size = header_size;
    call->token = token;
    call->token_size = token_size;
    call->resent = envelope->resent;
    call->position = (struct log_position){.epoch = envelope->epoch, .seq = envelope->seq};
    call->peer_text = copy_peer(&call->arena, envelope->peer);
    call->one_way = envelope->kind == JACKDAW__ENVELOPE__KIND__NOTE;
    if (call->one_way)
        return call;
    call->stream = envelope->credits > 1;
    call->credits = envelope->credits > RPC_CREDITS_MAX ? RPC_CREDITS_MAX
                    : envelope->credits == 0            ? 1
                                                        : envelope->credits;
    return call;
}

void call_free(struct rpc_call *call)
{
    struct arena arena = call->arena;
    if (call->kept)
        free(call);
    arena_clear(&arena);
}

static void link_call(struct rpc_call *call, struct rpc_peer *peer)
{
    struct rpc_server *server = call->server;
    call->peer = peer;
    DL_PREPEND(peer->calls, call);
    peer->call_count++;
    if (call->deadline_ms != 0)
        DL_PREPEND2(server->timed, call, previous_timed, next_timed);
    server->open_calls++;
}

static void unlink_timed(struct rpc_call *call)
{
    struct rpc_server *server = call->server;
    if (server->timed_cursor == call)
        server->timed_cursor = call->next_timed;
    DL_DELETE2(server->timed, call, previous_timed, next_timed);
}

void call_leave_peer(struct rpc_call *call)
{
    struct rpc_peer *peer = call->peer;
    if (call->server->cursor == call)
        call->server->cursor = call->next;
    DL_DELETE(peer->calls, call);
    call->next = NULL;
    call->peer = NULL;
    peer->call_count--;
}

static void unlink_call(struct rpc_call *call)
{
    if (call->peer != NULL)
        call_leave_peer(call);
    if (call->deadline_ms != 0)
        unlink_timed(call);
    call->server->open_calls--;
}

static void finish_call(struct rpc_call *call)
{
    struct rpc_server *server = call->server;
    unlink_call(call);
    call_free(call);
    server_release(server);
}

/* ---- replies ---- */

static void send_reply(struct rpc_call *call, Jackdaw__Envelope *head,
                       const struct rpc_chunk *chunks, size_t count)
{
    if (call->peer == NULL || call->peer->gone || call->given_up || call->one_way ||
        call->server->closing || call->server->is_mute)
        return;
    head->kind = JACKDAW__ENVELOPE__KIND__REPLY;
    head->protocol = RPC_PROTOCOL;
    head->call = call->id;
    head->epoch = call->shown.epoch;
    head->seq = call->shown.seq;
    peer_append(call->peer, call, head, chunks, count);
}

static void end_with_status(struct rpc_call *call, enum status status, uint32_t retry_ms,
                            const char *text)
{
    Jackdaw__Envelope head = JACKDAW__ENVELOPE__INIT;
    head.status = status;
    head.message = (char *)(text == NULL ? "" : text);
    head.retry_ms = retry_ms;
    head.next_request = call->next_request;
    if (call->master != NULL)
        head.master = (char *)call->master;
    send_reply(call, &head, NULL, 0);
    finish_call(call);
}

static void end_with_chunks(struct rpc_call *call, const struct rpc_chunk *chunks, size_t count)
{
    Jackdaw__Envelope head = JACKDAW__ENVELOPE__INIT;
    send_reply(call, &head, chunks, count);
    finish_call(call);
}

/* ---- from other threads: the answer travels to the owner as a task of the call itself ---- */

static void run_late(struct task *task)
{
    struct rpc_call *call = (struct rpc_call *)((char *)task - offsetof(struct rpc_call, late));
    uint8_t *bytes = call->late_bytes;
    if (call->late_status == STATUS_OK)
        end_with_chunks(call, &(struct rpc_chunk){bytes, call->late_size}, 1);
    else
        end_with_status(call, call->late_status, call->late_retry_ms, (const char *)bytes);
    free(bytes);
}

static bool on_owner_thread(const struct rpc_call *call)
{
    return pthread_equal(pthread_self(), call->server->owner) != 0;
}

static void push_late(struct rpc_call *call, enum status status)
{
    call->late_status = status;
    call->late.run = run_late;
    task_queue_push(call->server->options.queue, &call->late);
}

static void reply_late(struct rpc_call *call, const ProtobufCMessage *reply)
{
    call->late_size = protobuf_c_message_get_packed_size(reply);
    call->late_bytes = malloc(call->late_size + 1);
    if (call->late_bytes == NULL) {
        push_late(call, STATUS_RESOURCE_EXHAUSTED);
        return;
    }
    (void)protobuf_c_message_pack(reply, call->late_bytes);
    push_late(call, STATUS_OK);
}

/* ---- ending ---- */

static void reply_now(struct rpc_call *call, const ProtobufCMessage *reply)
{
    uint8_t small[1024];
    size_t size = protobuf_c_message_get_packed_size(reply);
    uint8_t *bytes = size <= sizeof small ? small : malloc(size);
    if (bytes == NULL) {
        end_with_status(call, STATUS_RESOURCE_EXHAUSTED, 0, "the server is out of memory");
        return;
    }
    (void)protobuf_c_message_pack(reply, bytes);
    end_with_chunks(call, &(struct rpc_chunk){bytes, size}, 1);
    if (bytes != small)
        free(bytes);
}

void rpc_call_reply(struct rpc_call *call, const ProtobufCMessage *reply)
{
    if (on_owner_thread(call))
        reply_now(call, reply);
    else
        reply_late(call, reply);
}

void rpc_call_fail(struct rpc_call *call, enum status status, uint32_t retry_ms, const char *text)
{
    ASSERT(status != STATUS_OK);
    if (on_owner_thread(call)) {
        end_with_status(call, status, retry_ms, text);
        return;
    }
    call->late_retry_ms = retry_ms;
    call->late_bytes = text == NULL ? NULL : (uint8_t *)strdup(text);
    push_late(call, status);
}

void rpc_call_finish(struct rpc_call *call, const struct rpc_chunk *chunks, size_t count)
{
    end_with_chunks(call, chunks, count);
}

void rpc_call_redirect(struct rpc_call *call, const char *master)
{
    call->arena.budget_bytes += strlen(master) + CALL_EXTRA_BYTES;
    call->master = arena_strdup(&call->arena, master);
}

void rpc_call_expect(struct rpc_call *call, uint64_t next_request)
{
    call->next_request = next_request;
}

void rpc_call_show(struct rpc_call *call, struct log_position position)
{
    call->shown = position;
}

static void closure(const ProtobufCMessage *reply, void *context)
{
    struct rpc_call *call = context;
    if (reply == NULL)
        rpc_call_fail(call, STATUS_INTERNAL, 0, "the server has no answer");
    else
        rpc_call_reply(call, reply);
}

/* ---- streaming ---- */

bool rpc_call_send(struct rpc_call *call, const struct rpc_chunk *chunks, size_t count)
{
    if (call->cancelled || call->credits == 0)
        return false;
    call->credits--;
    Jackdaw__Envelope head = JACKDAW__ENVELOPE__INIT;
    head.more = true;
    send_reply(call, &head, chunks, count);
    return true;
}

uint32_t rpc_call_credits(const struct rpc_call *call)
{
    return call->credits;
}

bool rpc_call_is_stream(const struct rpc_call *call)
{
    return call->stream;
}

bool rpc_call_is_one_way(const struct rpc_call *call)
{
    return call->one_way;
}

uint32_t rpc_call_timeout_ms(const struct rpc_call *call)
{
    if (call->deadline_ms == 0)
        return 0;
    uint64_t now_ms = clock_monotonic_ms();
    if (now_ms < call->server->now_ms)
        now_ms = call->server->now_ms; /* the owner's may be ahead, as in tests */
    return call->deadline_ms <= now_ms ? 1 : (uint32_t)(call->deadline_ms - now_ms);
}

void rpc_call_watch(struct rpc_call *call, const struct rpc_call_watch *watch)
{
    call->watch = *watch;
}

void call_credit(struct rpc_call *call, uint32_t credits)
{
    uint32_t room = RPC_CREDITS_MAX - call->credits;
    call->credits += credits < room ? credits : room;
    if (call->watch.credited != NULL && call->credits > 0 && !call->cancelled)
        call->watch.credited(call->watch.context, call);
}

void call_cancel(struct rpc_call *call)
{
    if (call->cancelled)
        return;
    call->cancelled = true;
    if (call->watch.cancelled != NULL)
        call->watch.cancelled(call->watch.context, call);
}

/* ---- dispatch ---- */

static bool is_past_deadline(const struct rpc_call *call)
{
    return call->deadline_ms != 0 && call->server->now_ms >= call->deadline_ms;
}

/* Passes the call to the hook or, if the hook does not take it, to the handler. */
static void hand_over(struct rpc_call *call)
{
    const struct rpc_server_options *options = &call->server->options;
    ProtobufCService *service = call->entry->service;
    if (options->admit == NULL ||
        options->admit(options->admit_context, call, service, call->method, call->input))
        service->invoke(service, call->method, call->input, closure, call);
}

static void name_forwarder(struct rpc_call *call)
{
    char client[PEER_TEXT_SIZE];
    if (call->peer_text == NULL)
        return;
    (void)snprintf(client, sizeof client, "%s", call->peer_text);
    (void)snprintf(call->peer_text, FORWARDED_TEXT_SIZE, "%s via %s", client, call->peer->text);
}

void call_dispatch(struct rpc_call *call, struct rpc_peer *peer)
{
    struct rpc_server *server = call->server;
    link_call(call, peer);
    name_forwarder(call);
    if (server->drain_text != NULL) {
        end_with_status(call, STATUS_UNAVAILABLE, RETRY_WHEN_DRAINING_MS, server->drain_text);
    } else if (call->early_status != STATUS_OK) {
        end_with_status(call, call->early_status, 0, call->early_text);
    } else if (is_past_deadline(call)) {
        end_with_status(call, STATUS_DEADLINE_EXCEEDED, 0,
                        "the request waited longer than its caller does");
    } else if (peer->call_count > server->options.peer_calls_max) {
        (void)atomic_fetch_add(&server->calls_rejected, 1);
        end_with_status(call, STATUS_RESOURCE_EXHAUSTED, RETRY_WHEN_FULL_MS,
                        "this connection has more calls open than it may; wait for some to end");
    } else {
        hand_over(call);
    }
}

/* ---- keeping ---- */

struct rpc_call *rpc_call_keep(struct rpc_call *call)
{
    struct rpc_peer *peer = call->peer;
    struct rpc_call *kept = peer == NULL ? NULL : malloc(sizeof *kept + call->header_size);
    if (kept == NULL)
        return call;
    unlink_call(call);
    *kept = *call;
    memcpy(kept + 1, call->header, call->header_size);
    kept->kept = true;
    kept->header = (const uint8_t *)(kept + 1);
    kept->token = NULL;
    kept->token_size = 0;
    kept->input = NULL;
    kept->master = NULL;
    kept->peer_text = NULL;
    arena_init(&kept->arena, RPC_DECODE_FLOOR);
    link_call(kept, peer);
    call_free(call);
    return kept;
}

/* ---- what handlers ask ---- */

const uint8_t *rpc_call_token(const struct rpc_call *call, size_t *size)
{
    *size = call->token_size;
    return call->token;
}

struct arena *rpc_call_arena(struct rpc_call *call)
{
    return &call->arena;
}

const char *rpc_call_peer(const struct rpc_call *call)
{
    if (call->peer_text != NULL)
        return call->peer_text;
    return call->peer == NULL ? "a peer that has gone" : call->peer->text;
}

struct log_position rpc_call_position(const struct rpc_call *call)
{
    return call->position;
}

bool rpc_call_is_forwarded(const struct rpc_call *call)
{
    return call->peer_text != NULL;
}

uint32_t rpc_call_resent(const struct rpc_call *call)
{
    return call->resent;
}

const char *rpc_call_method(const struct rpc_call *call)
{
    return call->entry->service->descriptor->methods[call->method].name;
}

void rpc_call_hand_over(struct rpc_call *call)
{
    ProtobufCService *service = call->entry->service;
    service->invoke(service, call->method, call->input, closure, call);
}

bool rpc_call_is_cancelled(const struct rpc_call *call)
{
    return call->cancelled;
}
