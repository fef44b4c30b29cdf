/* SPDX-License-Identifier: MIT */
#include "rpc/channel.h"

#include "base/arena.h"
#include "base/clock.h"
#include "rpc/protocol.h"
#include "rpc/transport.h"
#include "rpc/wire.h"
#include "spec.pb-c.h"

#include <nng/protocol/reqrep0/req.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <uthash.h>

#undef uthash_nonfatal_oom
#define uthash_nonfatal_oom(element) ((element)->id = 0)

#define REPLY_FRAME_BYTES_DEFAULT (4u * 1024u * 1024u)
#define OUTPUT_FRAME_BYTES (64u * 1024u) /* requests are joined into frames up to this */
#define OUTPUT_FRAMES_MAX 64u            /* waiting; beyond: RESOURCE_EXHAUSTED */
#define RETRY_WHEN_FULL_MS 20u
#define SOCKET_REQUEST_ID 0x80000001u /* all calls of a channel share nng's request id */

struct call {
    uint64_t id; /* key; 0 after the table ran out of memory */
    uint64_t deadline_ms; /* UINT64_MAX: none */
    const ProtobufCMessageDescriptor *output;
    ProtobufCClosure closure;
    struct rpc_result *result;
    UT_hash_handle hh;
};

/* What nng's threads report, on its way to the owner's. */
struct report {
    struct task task;
    struct rpc_channel *channel;
    enum { REPORT_CONNECTED, REPORT_DISCONNECTED, REPORT_FRAME } kind;
    struct arena arena;
    Jackdaw__Frame *frame;
};

struct rpc_channel {
    struct rpc_channel_options options;
    nng_socket socket;
    nng_dialer dialer;
    bool open;
    bool closing;
    atomic_size_t references; /* the owner's and one for each of our tasks in the queue */
    struct receiver receiver;
    nng_aio *send_aio;
    struct task sent; /* pushed by the send callback; only while sending */
    bool sending;
    size_t connections; /* 0 or 1; 2 for a moment when a new one comes before the old one's end */
    uint64_t now_ms;
    uint64_t next_deadline_ms; /* no call ends earlier */
    uint64_t last_id;
    struct call *calls; /* hash by id, in the order of making */
    nng_msg *output[OUTPUT_FRAMES_MAX];
    size_t output_count;
};

static void hold(struct rpc_channel *channel)
{
    (void)atomic_fetch_add(&channel->references, 1);
}

static void release(struct rpc_channel *channel)
{
    if (atomic_fetch_sub(&channel->references, 1) == 1)
        free(channel);
}

/* ---- ending calls ---- */

/* Runs the closure with a status; call is out of the table and freed. */
static void end_call(struct rpc_channel *channel, struct call *call, enum status status,
                     uint32_t retry_ms, const char *message)
{
    HASH_DELETE(hh, channel->calls, call);
    *call->result = (struct rpc_result){
        .status = status, .message = message, .master = "", .retry_ms = retry_ms};
    ProtobufCClosure closure = call->closure;
    void *result = call->result;
    free(call);
    closure(NULL, result);
}

/* Ends those that exist now, not those that closures add. */
static void end_all_calls(struct rpc_channel *channel, enum status status, const char *message)
{
    uint64_t last_id = channel->last_id;
    while (channel->calls != NULL && channel->calls->id <= last_id)
        end_call(channel, channel->calls, status, 0, message);
}

/* ---- output ---- */

static void drop_output(struct rpc_channel *channel)
{
    for (size_t i = 0; i < channel->output_count; i++)
        nng_msg_free(channel->output[i]);
    channel->output_count = 0;
}

static nng_msg *new_frame(void)
{
    nng_msg *message;
    if (nng_msg_alloc(&message, 0) != 0)
        return NULL;
    if (nng_msg_header_append_u32(message, SOCKET_REQUEST_ID) != 0) {
        nng_msg_free(message);
        return NULL;
    }
    return message;
}

static enum error append(struct rpc_channel *channel, const Jackdaw__Envelope *head,
                         const struct rpc_chunk *payload, size_t count)
{
    size_t size = wire_size(head, payload, count);
    if (size > RPC_FRAME_BYTES_DEFAULT)
        return ERROR_TOO_LARGE;
    nng_msg *last =
        channel->output_count == 0 ? NULL : channel->output[channel->output_count - 1];
    if (last == NULL || nng_msg_len(last) + size > OUTPUT_FRAME_BYTES) {
        if (channel->output_count == OUTPUT_FRAMES_MAX)
            return ERROR_FULL;
        last = new_frame();
        if (last == NULL)
            return ERROR_NO_MEMORY;
        channel->output[channel->output_count++] = last;
    }
    return wire_append(last, head, payload, count);
}

void rpc_channel_flush(struct rpc_channel *channel)
{
    if (channel->sending || channel->output_count == 0 || channel->connections == 0)
        return;
    nng_msg *message = channel->output[0];
    channel->output_count--;
    memmove(&channel->output[0], &channel->output[1],
            channel->output_count * sizeof channel->output[0]);
    channel->sending = true;
    hold(channel); /* for the sent task */
    nng_aio_set_msg(channel->send_aio, message);
    nng_send_aio(channel->socket, channel->send_aio);
}

static void run_sent(struct task *task)
{
    struct rpc_channel *channel =
        (struct rpc_channel *)((char *)task - offsetof(struct rpc_channel, sent));
    channel->sending = false;
    if (!channel->closing)
        rpc_channel_flush(channel);
    release(channel);
}

/* nng's thread. */
static void on_sent(void *context)
{
    struct rpc_channel *channel = context;
    if (nng_aio_result(channel->send_aio) != 0)
        nng_msg_free(nng_aio_get_msg(channel->send_aio));
    channel->sent.run = run_sent;
    task_queue_push(channel->options.queue, &channel->sent);
}

/* ---- input ---- */

static void handle_reply(struct rpc_channel *channel, struct report *report,
                         const Jackdaw__Envelope *envelope)
{
    struct call *call;
    HASH_FIND(hh, channel->calls, &envelope->call, sizeof envelope->call, call);
    if (call == NULL || envelope->kind != JACKDAW__ENVELOPE__KIND__REPLY)
        return; /* cancelled, late, or of an earlier connection */
    if (envelope->status != STATUS_OK) {
        enum status status =
            envelope->status < STATUS_COUNT ? (enum status)envelope->status : STATUS_UNKNOWN;
        struct rpc_result *result = call->result;
        ProtobufCClosure closure = call->closure;
        HASH_DELETE(hh, channel->calls, call);
        free(call);
        *result = (struct rpc_result){.status = status,
                                      .message = envelope->message,
                                      .master = envelope->master,
                                      .retry_ms = envelope->retry_ms};
        closure(NULL, result);
        return;
    }
    report->arena.budget_bytes += envelope->payload.len * RPC_DECODE_FACTOR + RPC_DECODE_FLOOR;
    ProtobufCAllocator allocator = wire_allocator(&report->arena);
    ProtobufCMessage *reply = protobuf_c_message_unpack(
        call->output, &allocator, envelope->payload.len, envelope->payload.data);
    if (reply == NULL) {
        end_call(channel, call, STATUS_INTERNAL, 0, "the server's reply cannot be read");
        return;
    }
    *call->result = (struct rpc_result){
        .status = STATUS_OK, .message = "", .master = "", .more = envelope->more};
    ProtobufCClosure closure = call->closure;
    void *result = call->result;
    if (!envelope->more) {
        HASH_DELETE(hh, channel->calls, call);
        free(call);
    }
    closure(reply, result);
}

static void handle_frame(struct rpc_channel *channel, struct report *report)
{
    for (size_t i = 0; i < report->frame->n_envelopes; i++)
        handle_reply(channel, report, report->frame->envelopes[i]);
}

static void handle_connected(struct rpc_channel *channel)
{
    channel->connections++;
    if (channel->connections == 1 && channel->options.connected != NULL)
        channel->options.connected(channel->options.context, channel);
    rpc_channel_flush(channel);
}

static void handle_disconnected(struct rpc_channel *channel)
{
    ASSERT(channel->connections > 0);
    channel->connections--;
    if (channel->connections > 0)
        return;
    drop_output(channel);
    end_all_calls(channel, STATUS_UNAVAILABLE, "the connection to the server was lost");
    if (channel->options.disconnected != NULL)
        channel->options.disconnected(channel->options.context, channel);
}

static void run_report(struct task *task)
{
    struct report *report = (struct report *)task;
    struct rpc_channel *channel = report->channel;
    if (!channel->closing) {
        switch (report->kind) {
        case REPORT_CONNECTED:
            handle_connected(channel);
            break;
        case REPORT_DISCONNECTED:
            handle_disconnected(channel);
            break;
        case REPORT_FRAME:
            handle_frame(channel, report);
            break;
        }
    }
    arena_clear(&report->arena);
    free(report);
    release(channel);
}

/* nng's threads from here to the end of the section. */

static struct report *new_report(struct rpc_channel *channel, int kind, size_t budget_bytes)
{
    struct report *report = calloc(1, sizeof *report);
    if (report == NULL)
        return NULL;
    report->task.run = run_report;
    report->channel = channel;
    report->kind = kind;
    arena_init(&report->arena, budget_bytes);
    return report;
}

static void push(struct report *report)
{
    hold(report->channel);
    task_queue_push(report->channel->options.queue, &report->task);
}

static void on_message(void *context, nng_msg *message)
{
    struct rpc_channel *channel = context;
    size_t size = nng_msg_len(message);
    struct report *report =
        new_report(channel, REPORT_FRAME, size * RPC_DECODE_FACTOR + RPC_DECODE_FLOOR);
    if (report == NULL ||
        wire_decode(nng_msg_body(message), size, &report->arena, &report->frame) != OK) {
        (void)nng_pipe_close(nng_msg_get_pipe(message));
        if (report != NULL)
            arena_clear(&report->arena);
        free(report);
    } else {
        push(report);
    }
    nng_msg_free(message);
}

static void on_pipe(nng_pipe pipe, nng_pipe_ev what, void *context)
{
    struct rpc_channel *channel = context;
    int kind = what == NNG_PIPE_EV_ADD_PRE ? REPORT_CONNECTED : REPORT_DISCONNECTED;
    struct report *report = new_report(channel, kind, 0);
    if (report != NULL)
        push(report);
    else if (kind == REPORT_CONNECTED)
        (void)nng_pipe_close(pipe);
}

/* ---- life ---- */

static struct rpc_channel_options with_defaults(const struct rpc_channel_options *options)
{
    struct rpc_channel_options result = *options;
    if (result.frame_bytes_max == 0)
        result.frame_bytes_max = REPLY_FRAME_BYTES_DEFAULT;
    if (result.reconnect_min_ms == 0)
        result.reconnect_min_ms = 50;
    if (result.reconnect_max_ms == 0)
        result.reconnect_max_ms = 1000;
    return result;
}

static enum error open_socket(struct rpc_channel *channel)
{
    int result = nng_req0_open_raw(&channel->socket);
    if (result != 0)
        return transport_error(result);
    channel->open = true;
    result = nng_socket_set_size(channel->socket, NNG_OPT_RECVMAXSZ,
                                 channel->options.frame_bytes_max + sizeof(uint32_t));
    if (result == 0)
        result = nng_socket_set_ms(channel->socket, NNG_OPT_RECONNMINT,
                                   (nng_duration)channel->options.reconnect_min_ms);
    if (result == 0)
        result = nng_socket_set_ms(channel->socket, NNG_OPT_RECONNMAXT,
                                   (nng_duration)channel->options.reconnect_max_ms);
    if (result == 0)
        result = nng_aio_alloc(&channel->send_aio, on_sent, channel);
    if (result == 0)
        result = nng_pipe_notify(channel->socket, NNG_PIPE_EV_ADD_PRE, on_pipe, channel);
    if (result == 0)
        result = nng_pipe_notify(channel->socket, NNG_PIPE_EV_REM_POST, on_pipe, channel);
    if (result != 0)
        return transport_error(result);
    return receiver_start(&channel->receiver, channel->socket, on_message, channel);
}

static enum error start_dialer(struct rpc_channel *channel, struct error_text *why)
{
    const struct rpc_channel_options *options = &channel->options;
    char url[ADDRESS_TEXT_SIZE];
    address_dial_url(&options->address, url);
    int result = nng_dialer_create(&channel->dialer, channel->socket, url);
    if (result == 0 && options->address.tls) {
        struct tls_files files = {.authority = options->tls_authority};
        enum error error =
            transport_tls_dialer(channel->dialer, options->address.host, &files, why);
        if (error != OK)
            return error;
    }
    if (result == 0)
        result = nng_dialer_start(channel->dialer, NNG_FLAG_NONBLOCK);
    if (result != 0)
        return error_set(why, transport_error(result), "connect to %s: %s", url,
                         nng_strerror(result));
    return OK;
}

enum error rpc_channel_open(struct rpc_channel **out, const struct rpc_channel_options *options,
                            struct error_text *why)
{
    struct rpc_channel *channel = calloc(1, sizeof *channel);
    if (channel == NULL)
        return error_set(why, ERROR_NO_MEMORY, "out of memory");
    atomic_init(&channel->references, 1);
    channel->options = with_defaults(options);
    channel->now_ms = clock_monotonic_ms();
    channel->next_deadline_ms = UINT64_MAX;
    enum error error = open_socket(channel);
    if (error != OK)
        (void)error_set(why, error, "open a socket: %s", error_name(error));
    else
        error = start_dialer(channel, why);
    if (error != OK) {
        rpc_channel_close(channel);
        return error;
    }
    *out = channel;
    return OK;
}

void rpc_channel_close(struct rpc_channel *channel)
{
    if (channel == NULL)
        return;
    channel->closing = true;
    receiver_release(&channel->receiver); /* before the socket: see transport.h */
    if (channel->send_aio != NULL) {
        nng_aio_stop(channel->send_aio);
        nng_aio_free(channel->send_aio);
    }
    if (channel->open)
        (void)nng_close(channel->socket);
    end_all_calls(channel, STATUS_CANCELLED, "the channel was closed");
    drop_output(channel);
    release(channel); /* freed when its last task in the queue has run */
}

bool rpc_channel_is_connected(const struct rpc_channel *channel)
{
    return channel->connections > 0;
}

const struct address *rpc_channel_address(const struct rpc_channel *channel)
{
    return &channel->options.address;
}

size_t rpc_channel_open_calls(const struct rpc_channel *channel)
{
    return HASH_COUNT(channel->calls);
}

/* ---- deadlines, cancelling, credits ---- */

void rpc_channel_tick(struct rpc_channel *channel, uint64_t monotonic_ms)
{
    if (monotonic_ms > channel->now_ms)
        channel->now_ms = monotonic_ms;
    if (channel->now_ms < channel->next_deadline_ms)
        return;
    uint64_t earliest_ms = UINT64_MAX;
    uint64_t last_id = channel->last_id;
    struct call *call = channel->calls;
    while (call != NULL && call->id <= last_id) {
        struct call *next = call->hh.next;
        if (call->deadline_ms <= channel->now_ms) {
            /* Its closure may end others: start again from the front. */
            end_call(channel, call, STATUS_DEADLINE_EXCEEDED, 0,
                     "the server did not answer in time");
            next = channel->calls;
            earliest_ms = UINT64_MAX;
        } else if (call->deadline_ms < earliest_ms) {
            earliest_ms = call->deadline_ms;
        }
        call = next;
    }
    for (; call != NULL; call = call->hh.next)
        if (call->deadline_ms < earliest_ms)
            earliest_ms = call->deadline_ms;
    channel->next_deadline_ms = earliest_ms;
}

uint64_t rpc_channel_next_tick(const struct rpc_channel *channel)
{
    return channel->next_deadline_ms;
}

static void send_control(struct rpc_channel *channel, Jackdaw__Envelope__Kind kind, uint64_t call,
                         uint32_t credits)
{
    Jackdaw__Envelope head = JACKDAW__ENVELOPE__INIT;
    head.kind = kind;
    head.call = call;
    head.credits = credits;
    /* A lost CANCEL costs the server an answer, a lost CREDIT is made good by the next. */
    (void)append(channel, &head, NULL, 0);
}

void rpc_channel_cancel(struct rpc_channel *channel, uint64_t id)
{
    struct call *call;
    HASH_FIND(hh, channel->calls, &id, sizeof id, call);
    if (call == NULL)
        return;
    send_control(channel, JACKDAW__ENVELOPE__KIND__CANCEL, id, 0);
    end_call(channel, call, STATUS_CANCELLED, 0, "given up by the caller");
}

void rpc_channel_credit(struct rpc_channel *channel, uint64_t id, uint32_t credits)
{
    struct call *call;
    HASH_FIND(hh, channel->calls, &id, sizeof id, call);
    if (call != NULL && credits > 0)
        send_control(channel, JACKDAW__ENVELOPE__KIND__CREDIT, id, credits);
}

/* ---- making calls ---- */

static enum error send_request(struct rpc_stub *stub, unsigned method_index,
                               const ProtobufCMessage *input, uint64_t id)
{
    const ProtobufCServiceDescriptor *descriptor = stub->service.descriptor;
    Jackdaw__Envelope head = JACKDAW__ENVELOPE__INIT;
    head.kind = JACKDAW__ENVELOPE__KIND__REQUEST;
    head.protocol = RPC_PROTOCOL;
    head.call = id;
    head.service = (char *)descriptor->name;
    head.method = (char *)descriptor->methods[method_index].name;
    head.timeout_ms = stub->timeout_ms;
    head.credits = stub->credits > 1 ? stub->credits : 0;
    head.token.data = (uint8_t *)stub->token;
    head.token.len = stub->token_size;
    uint8_t small[1024];
    size_t size = protobuf_c_message_get_packed_size(input);
    uint8_t *bytes = size <= sizeof small ? small : malloc(size);
    if (bytes == NULL)
        return ERROR_NO_MEMORY;
    (void)protobuf_c_message_pack(input, bytes);
    enum error error = append(stub->channel, &head, &(struct rpc_chunk){bytes, size}, 1);
    if (bytes != small)
        free(bytes);
    return error;
}

static enum error start_call(struct rpc_stub *stub, unsigned method_index,
                             const ProtobufCMessage *input, ProtobufCClosure closure, void *result)
{
    struct rpc_channel *channel = stub->channel;
    struct call *call = calloc(1, sizeof *call);
    if (call == NULL)
        return ERROR_NO_MEMORY;
    call->id = ++channel->last_id;
    call->deadline_ms =
        stub->timeout_ms == 0 ? UINT64_MAX : channel->now_ms + stub->timeout_ms;
    call->output = stub->service.descriptor->methods[method_index].output;
    call->closure = closure;
    call->result = result;
    uint64_t id = call->id;
    HASH_ADD(hh, channel->calls, id, sizeof call->id, call);
    if (call->id == 0) {
        free(call);
        return ERROR_NO_MEMORY;
    }
    enum error error = send_request(stub, method_index, input, id);
    if (error != OK) {
        HASH_DELETE(hh, channel->calls, call);
        free(call);
        return error;
    }
    if (call->deadline_ms < channel->next_deadline_ms)
        channel->next_deadline_ms = call->deadline_ms;
    stub->call = id;
    return OK;
}

static void invoke(ProtobufCService *service, unsigned method_index, const ProtobufCMessage *input,
                   ProtobufCClosure closure, void *closure_data)
{
    struct rpc_stub *stub = (struct rpc_stub *)service;
    stub->call = 0;
    enum error error = start_call(stub, method_index, input, closure, closure_data);
    if (error == OK)
        return;
    struct rpc_result *result = closure_data;
    *result = (struct rpc_result){
        .status = error == ERROR_TOO_LARGE ? STATUS_INVALID_ARGUMENT : STATUS_RESOURCE_EXHAUSTED,
        .message = error == ERROR_TOO_LARGE ? "the request is larger than a frame may be"
                   : error == ERROR_FULL    ? "too many requests are waiting to be sent"
                                            : "out of memory",
        .master = "",
        .retry_ms = error == ERROR_FULL ? RETRY_WHEN_FULL_MS : 0};
    closure(NULL, closure_data);
}

void rpc_stub_init(struct rpc_stub *stub, struct rpc_channel *channel,
                   const ProtobufCServiceDescriptor *descriptor)
{
    *stub = (struct rpc_stub){
        .service = {.descriptor = descriptor, .invoke = invoke}, .channel = channel};
}
