/* SPDX-License-Identifier: MIT */
#include "rpc/channel_internal.h"

#include "base/clock.h"
#include "rpc/protocol.h"

#include <stdlib.h>

#undef uthash_nonfatal_oom
#define uthash_nonfatal_oom(element) ((element)->id = 0)

#define RETRY_WHEN_FULL_MS 20u

/* ---- the table ---- */

struct channel_call *channel_calls_find(const struct channel_calls *calls, uint64_t id)
{
    struct channel_call *call;
    HASH_FIND(hh, calls->table, &id, sizeof id, call);
    return call;
}

void channel_calls_forget(struct channel_calls *calls, struct channel_call *call)
{
    if (calls->tick_cursor == call)
        calls->tick_cursor = call->hh.next;
    HASH_DELETE(hh, calls->table, call);
    free(call);
}

void channel_calls_end(struct channel_calls *calls, struct channel_call *call,
                       const struct rpc_result *outcome)
{
    ProtobufCClosure closure = call->closure;
    struct rpc_result *result = call->result;
    channel_calls_forget(calls, call);
    *result = *outcome;
    closure(NULL, result);
}

struct rpc_result channel_failure(enum status status, const char *message)
{
    return (struct rpc_result){.status = status, .message = message, .master = ""};
}

void channel_calls_end_all(struct channel_calls *calls, enum status status, const char *message)
{
    const struct rpc_result outcome = channel_failure(status, message);
    uint64_t last_id = calls->last_id;
    while (calls->table != NULL && calls->table->id <= last_id)
        channel_calls_end(calls, calls->table, &outcome);
}

size_t rpc_channel_open_calls(const struct rpc_channel *channel)
{
    return HASH_COUNT(channel->calls.table);
}

/* ---- deadlines ---- */

static void end_late_calls(struct channel_calls *calls, uint64_t now_ms)
{
    const struct rpc_result late =
        channel_failure(STATUS_DEADLINE_EXCEEDED, "the server did not answer in time");
    uint64_t earliest_ms = UINT64_MAX;
    /* Calls that closures make meanwhile lower the value themselves. */
    calls->next_deadline_ms = UINT64_MAX;
    uint64_t last_id = calls->last_id;
    calls->tick_cursor = calls->table;
    while (calls->tick_cursor != NULL && calls->tick_cursor->id <= last_id) {
        struct channel_call *call = calls->tick_cursor;
        calls->tick_cursor = call->hh.next;
        if (call->deadline_ms <= now_ms)
            channel_calls_end(calls, call, &late); /* its closure may end others, too */
        else if (call->deadline_ms < earliest_ms)
            earliest_ms = call->deadline_ms;
    }
    if (earliest_ms < calls->next_deadline_ms)
        calls->next_deadline_ms = earliest_ms;
}

void rpc_channel_tick(struct rpc_channel *channel, uint64_t monotonic_ms)
{
    bool lost = atomic_exchange(&channel->lost_event, false);
    if (monotonic_ms > channel->now_ms)
        channel->now_ms = monotonic_ms;
    if (channel->ticking || (!lost && monotonic_ms < channel->calls.next_deadline_ms))
        return;
    channel_hold(channel); /* a closure may close it */
    channel->ticking = true;
    if (lost && channel->pipe != 0)
        channel_input_lose_connection(channel);
    if (!channel->closing)
        end_late_calls(&channel->calls, monotonic_ms);
    channel->ticking = false;
    channel_release(channel);
}

uint64_t rpc_channel_next_tick(const struct rpc_channel *channel)
{
    return channel->calls.next_deadline_ms;
}

/* ---- cancelling and credits ---- */

void rpc_channel_cancel(struct rpc_channel *channel, uint64_t id)
{
    struct channel_call *call = channel_calls_find(&channel->calls, id);
    if (call == NULL)
        return;
    const struct rpc_result given_up = channel_failure(STATUS_CANCELLED, "given up by the caller");
    /* If there is no room for CANCEL, the server sends an unneeded reply. */
    (void)channel_output_control(channel, JACKDAW__ENVELOPE__KIND__CANCEL, id, 0);
    channel_calls_end(&channel->calls, call, &given_up);
}

static void grant(struct rpc_channel *channel, struct channel_call *call)
{
    if (call->credits_owed == 0)
        return;
    if (channel_output_control(channel, JACKDAW__ENVELOPE__KIND__CREDIT, call->id,
                               call->credits_owed) == OK)
        call->credits_owed = 0;
    else
        channel->calls.owes_credits = true; /* until the next frame has been sent */
}

void channel_calls_pay_credits(struct rpc_channel *channel)
{
    if (!channel->calls.owes_credits)
        return;
    channel->calls.owes_credits = false;
    for (struct channel_call *call = channel->calls.table; call != NULL; call = call->hh.next)
        if (call->credits_owed > 0)
            grant(channel, call);
}

void rpc_channel_credit(struct rpc_channel *channel, uint64_t id, uint32_t credits)
{
    struct channel_call *call = channel_calls_find(&channel->calls, id);
    if (call == NULL)
        return;
    uint32_t room = RPC_CREDITS_MAX - call->credits_owed;
    call->credits_owed += credits < room ? credits : room;
    grant(channel, call);
}

/* ---- making calls ---- */

static Jackdaw__Envelope head_of(const struct rpc_stub *stub, unsigned method_index, uint64_t id)
{
    const ProtobufCServiceDescriptor *descriptor = stub->service.descriptor;
    Jackdaw__Envelope head = JACKDAW__ENVELOPE__INIT;
    head.protocol = RPC_PROTOCOL;
    head.service = (char *)descriptor->name;
    head.method = (char *)descriptor->methods[method_index].name;
    head.timeout_ms = stub->timeout_ms;
    head.token.data = (uint8_t *)stub->token;
    head.token.len = stub->token_size;
    head.resent = stub->resent;
    head.epoch = stub->position.epoch;
    head.seq = stub->position.seq;
    if (stub->peer != NULL)
        head.peer = (char *)stub->peer;
    if (stub->one_way) {
        head.kind = JACKDAW__ENVELOPE__KIND__NOTE;
    } else {
        head.kind = JACKDAW__ENVELOPE__KIND__REQUEST;
        head.call = id;
        head.credits = stub->credits > 1 ? stub->credits : 0;
    }
    return head;
}

static enum error send_request(struct rpc_stub *stub, unsigned method_index,
                               const ProtobufCMessage *input, uint64_t id)
{
    Jackdaw__Envelope head = head_of(stub, method_index, id);
    uint8_t small[1024];
    size_t size = protobuf_c_message_get_packed_size(input);
    uint8_t *bytes = size <= sizeof small ? small : malloc(size);
    if (bytes == NULL)
        return ERROR_NO_MEMORY;
    (void)protobuf_c_message_pack(input, bytes);
    enum error error =
        channel_output_append(stub->channel, &head, &(struct rpc_chunk){bytes, size}, 1);
    if (bytes != small)
        free(bytes);
    return error;
}

/* When a call that is made now ends. The owner may not have ticked for long, when nothing was due;
 * its clock may also be ahead of the real one, as in tests. */
static uint64_t deadline_after(const struct rpc_channel *channel, uint32_t timeout_ms)
{
    if (timeout_ms == 0)
        return UINT64_MAX;
    uint64_t now_ms = clock_monotonic_ms();
    return (now_ms > channel->now_ms ? now_ms : channel->now_ms) + timeout_ms;
}

static enum error start_call(struct rpc_stub *stub, unsigned method_index,
                             const ProtobufCMessage *input, ProtobufCClosure closure, void *result)
{
    struct rpc_channel *channel = stub->channel;
    struct channel_call *call = calloc(1, sizeof *call);
    if (call == NULL)
        return ERROR_NO_MEMORY;
    call->id = ++channel->calls.last_id;
    call->deadline_ms = deadline_after(channel, stub->timeout_ms);
    call->output = stub->service.descriptor->methods[method_index].output;
    call->closure = closure;
    call->result = result;
    uint64_t id = call->id;
    HASH_ADD(hh, channel->calls.table, id, sizeof call->id, call);
    if (call->id == 0) {
        free(call);
        return ERROR_NO_MEMORY;
    }
    enum error error = send_request(stub, method_index, input, id);
    if (error != OK) {
        HASH_DELETE(hh, channel->calls.table, call);
        free(call);
        return error;
    }
    if (call->deadline_ms < channel->calls.next_deadline_ms)
        channel->calls.next_deadline_ms = call->deadline_ms;
    stub->call = id;
    return OK;
}

/* How a call ends that could not be made. */
static struct rpc_result refusal(enum error error)
{
    switch (error) {
    case ERROR_TOO_LARGE:
        return channel_failure(STATUS_INVALID_ARGUMENT,
                               "the request is larger than a frame may be");
    case ERROR_CLOSED:
        return channel_failure(STATUS_CANCELLED, "the channel was closed");
    case ERROR_FULL: {
        struct rpc_result full =
            channel_failure(STATUS_RESOURCE_EXHAUSTED, "too many requests are waiting to be sent");
        full.retry_ms = RETRY_WHEN_FULL_MS;
        return full;
    }
    default:
        return channel_failure(STATUS_RESOURCE_EXHAUSTED, "out of memory");
    }
}

static void send_note(struct rpc_stub *stub, unsigned method_index, const ProtobufCMessage *input)
{
    struct rpc_channel *channel = stub->channel;
    uint64_t id = channel->calls.last_id + 1;
    if (!channel->closing && channel->pipe != 0 &&
        send_request(stub, method_index, input, id) == OK) {
        channel->calls.last_id = id;
        stub->call = id;
    }
}

static void invoke(ProtobufCService *service, unsigned method_index, const ProtobufCMessage *input,
                   ProtobufCClosure closure, void *closure_data)
{
    struct rpc_stub *stub = (struct rpc_stub *)service;
    struct rpc_result *result = closure_data;
    stub->call = 0;
    if (stub->one_way) {
        send_note(stub, method_index, input);
        return;
    }
    enum error error = ERROR_CLOSED;
    if (!stub->channel->closing)
        error = start_call(stub, method_index, input, closure, result);
    if (error == OK)
        return;
    *result = refusal(error);
    closure(NULL, result);
}

void rpc_stub_init(struct rpc_stub *stub, struct rpc_channel *channel,
                   const ProtobufCServiceDescriptor *descriptor)
{
    *stub = (struct rpc_stub){.service = {.descriptor = descriptor, .invoke = invoke},
                              .channel = channel};
}
