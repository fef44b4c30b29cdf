/* SPDX-License-Identifier: MIT */
/* inbound.c - frames from the wire to calls: decoding and admission on nng's thread, dispatch on the
 * owner's. */
#include "rpc/server_internal.h"

#include "base/clock.h"
#include "base/log.h"
#include "rpc/protocol.h"
#include "rpc/wire.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define REQUEST_BYTES_DEFAULT 4096u
#define RETRY_WHEN_FULL_MS 50u
#define REJECTED_CALLS_PER_FRAME 64u

void inbound_release(struct inbound *inbound)
{
    ASSERT(inbound->references > 0);
    inbound->references--;
    if (inbound->references > 0)
        return;
    arena_clear(&inbound->arena);
    free(inbound);
}

/* ---- nng's thread ---- */

static const struct service_entry *find_service(const struct rpc_server *server, const char *name)
{
    for (size_t i = 0; i < server->service_count; i++)
        if (strcmp(server->services[i].service->descriptor->name, name) == 0)
            return &server->services[i];
    return NULL;
}

static size_t request_limit(const struct service_entry *entry, const char *method)
{
    for (const struct rpc_method_limit *at = entry->limits; at != NULL && at->method != NULL; at++)
        if (strcmp(at->method, method) == 0)
            return at->request_bytes;
    return REQUEST_BYTES_DEFAULT;
}

static void refuse(struct rpc_call *call, enum status status, const char *format, ...)
    __attribute__((format(printf, 3, 4)));
static void refuse(struct rpc_call *call, enum status status, const char *format, ...)
{
    char text[200];
    va_list arguments;
    va_start(arguments, format);
    (void)vsnprintf(text, sizeof text, format, arguments);
    va_end(arguments);
    char *kept = arena_strdup(&call->inbound->arena, text);
    call->early_status = status;
    call->early_text = kept == NULL ? "" : kept;
}

static bool version_fits(struct rpc_call *call)
{
    uint32_t theirs = call->envelope->protocol;
    if (theirs >> 16 == RPC_PROTOCOL_MAJOR)
        return true;
    refuse(call, STATUS_FAILED_PRECONDITION,
           "this server speaks protocol version %u.%u, the request is of version %u.%u: "
           "use a client of the same major version",
           RPC_PROTOCOL_MAJOR, RPC_PROTOCOL_MINOR, theirs >> 16, theirs & 0xffffu);
    return false;
}

/* Finds service and method and unpacks the request; on failure the call carries the refusal. */
static void prepare(struct rpc_call *call)
{
    const Jackdaw__Envelope *envelope = call->envelope;
    if (!version_fits(call))
        return;
    const struct service_entry *entry = find_service(call->server, envelope->service);
    if (entry == NULL) {
        refuse(call, STATUS_UNIMPLEMENTED, "no service \"%.60s\" here", envelope->service);
        return;
    }
    const ProtobufCServiceDescriptor *descriptor = entry->service->descriptor;
    const ProtobufCMethodDescriptor *method =
        protobuf_c_service_descriptor_get_method_by_name(descriptor, envelope->method);
    if (method == NULL) {
        refuse(call, STATUS_UNIMPLEMENTED, "no method \"%.60s\" in %s", envelope->method,
               descriptor->name);
        return;
    }
    size_t limit = request_limit(entry, method->name);
    if (envelope->payload.len > limit) {
        refuse(call, STATUS_INVALID_ARGUMENT, "%s takes at most %zu bytes, this request has %zu",
               method->name, limit, envelope->payload.len);
        return;
    }
    ProtobufCAllocator allocator = wire_allocator(&call->inbound->arena);
    call->input = protobuf_c_message_unpack(method->input, &allocator, envelope->payload.len,
                                            envelope->payload.data);
    if (call->input == NULL) {
        refuse(call, STATUS_INVALID_ARGUMENT, "the request is no %s", method->input->name);
        return;
    }
    if (!wire_strings_are_whole(method->input, envelope->payload.data, envelope->payload.len)) {
        refuse(call, STATUS_INVALID_ARGUMENT, "a text within the request holds a NUL character");
        return;
    }
    call->method = (unsigned)(method - descriptor->methods);
    call->entry = entry;
}

static size_t count_requests(const Jackdaw__Frame *frame)
{
    size_t count = 0;
    for (size_t i = 0; i < frame->n_envelopes; i++)
        if (frame->envelopes[i]->kind == JACKDAW__ENVELOPE__KIND__REQUEST)
            count++;
    return count;
}

static enum error prepare_all(struct inbound *inbound)
{
    const Jackdaw__Frame *frame = inbound->frame;
    inbound->request_count = count_requests(frame);
    /* The calls themselves do not count against the sender's budget. */
    inbound->arena.budget_bytes += inbound->request_count * (sizeof(struct rpc_call) + 256);
    inbound->calls =
        arena_zalloc(&inbound->arena, inbound->request_count * sizeof(struct rpc_call));
    if (inbound->calls == NULL)
        return ERROR_NO_MEMORY;
    uint64_t now_ms = clock_monotonic_ms();
    struct rpc_call *call = inbound->calls;
    for (size_t i = 0; i < frame->n_envelopes; i++) {
        const Jackdaw__Envelope *envelope = frame->envelopes[i];
        if (envelope->kind != JACKDAW__ENVELOPE__KIND__REQUEST)
            continue;
        call->server = inbound->server;
        call->inbound = inbound;
        call->envelope = envelope;
        call->id = envelope->call;
        call->deadline_ms = envelope->timeout_ms == 0 ? 0 : now_ms + envelope->timeout_ms;
        call->stream = envelope->credits > 1;
        call->credits = envelope->credits > RPC_CREDITS_MAX ? RPC_CREDITS_MAX
                        : envelope->credits == 0            ? 1
                                                            : envelope->credits;
        prepare(call);
        call++;
    }
    return OK;
}

/* Counts the frame as waiting for the owner, unless too much waits already. Fetching first and
 * taking back keeps two threads from both taking the last place. */
static bool admit(struct rpc_server *server, const struct inbound *inbound)
{
    size_t calls =
        atomic_fetch_add(&server->waiting_calls, inbound->request_count) + inbound->request_count;
    size_t bytes = atomic_fetch_add(&server->waiting_bytes, inbound->bytes) + inbound->bytes;
    if (calls <= server->options.waiting_calls_max && bytes <= server->options.waiting_bytes_max)
        return true;
    (void)atomic_fetch_sub(&server->waiting_calls, inbound->request_count);
    (void)atomic_fetch_sub(&server->waiting_bytes, inbound->bytes);
    return false;
}

static nng_msg *new_reply(const struct inbound *inbound)
{
    nng_msg *message;
    if (nng_msg_alloc(&message, 0) != 0)
        return NULL;
    if (nng_msg_header_append(message, inbound->header, inbound->header_size) != 0) {
        nng_msg_free(message);
        return NULL;
    }
    return message;
}

/* Answers every request of a frame that was not admitted. Without memory for the answers the
 * peer's deadlines tell it. */
static void reject(struct rpc_server *server, const struct inbound *inbound)
{
    (void)atomic_fetch_add(&server->calls_rejected, inbound->request_count);
    nng_msg *message = NULL;
    for (size_t i = 0; i < inbound->request_count; i++) {
        if (message == NULL && (message = new_reply(inbound)) == NULL)
            return;
        Jackdaw__Envelope head = JACKDAW__ENVELOPE__INIT;
        head.kind = JACKDAW__ENVELOPE__KIND__REPLY;
        head.protocol = RPC_PROTOCOL;
        head.call = inbound->calls[i].id;
        head.status = STATUS_RESOURCE_EXHAUSTED;
        head.message = (char *)"the server has more requests waiting than it takes; try again";
        head.retry_ms = RETRY_WHEN_FULL_MS;
        (void)wire_append(message, &head, NULL, 0);
        if (i % REJECTED_CALLS_PER_FRAME == REJECTED_CALLS_PER_FRAME - 1) {
            peer_transmit(server->socket, server->reject_aio, message);
            message = NULL;
        }
    }
    if (message != NULL)
        peer_transmit(server->socket, server->reject_aio, message);
}

static void kick_sender_of_garbage(struct rpc_server *server, nng_pipe pipe)
{
    char text[PEER_TEXT_SIZE];
    transport_peer_text(pipe, text, sizeof text);
    uint64_t kicked = atomic_fetch_add(&server->peers_kicked, 1) + 1;
    log_warning("rpc", "peer_kicked", log_string("peer", text),
                log_string("reason", "sent what is no frame"), log_number("kicked", kicked));
    (void)nng_pipe_close(pipe);
}

static void inbound_run(struct task *task);

static struct inbound *decode(struct rpc_server *server, nng_msg *message)
{
    size_t size = nng_msg_len(message);
    size_t header_size = nng_msg_header_len(message);
    struct inbound *inbound = calloc(1, sizeof *inbound);
    if (inbound == NULL || header_size > HEADER_BYTES_MAX || header_size < 4) {
        free(inbound);
        return NULL;
    }
    inbound->task.run = inbound_run;
    inbound->server = server;
    inbound->references = 1;
    inbound->bytes = size;
    inbound->header_size = header_size;
    memcpy(inbound->header, nng_msg_header(message), header_size);
    inbound->peer_id = (uint32_t)nng_pipe_id(nng_msg_get_pipe(message));
    arena_init(&inbound->arena, size * RPC_DECODE_FACTOR + RPC_DECODE_FLOOR);
    enum error error = wire_decode(nng_msg_body(message), size, &inbound->arena, &inbound->frame);
    if (error == OK)
        error = prepare_all(inbound);
    if (error != OK) {
        inbound_release(inbound);
        return NULL;
    }
    return inbound;
}

void inbound_receive(void *context, nng_msg *message)
{
    struct rpc_server *server = context;
    (void)atomic_fetch_add(&server->frames_received, 1);
    nng_pipe pipe = nng_msg_get_pipe(message);
    struct inbound *inbound = decode(server, message);
    nng_msg_free(message);
    if (inbound == NULL) {
        kick_sender_of_garbage(server, pipe);
        return;
    }
    (void)atomic_fetch_add(&server->calls_received, inbound->request_count);
    if (admit(server, inbound)) {
        task_queue_push(server->options.queue, &inbound->task);
    } else {
        reject(server, inbound);
        inbound_release(inbound);
    }
}

/* ---- the owner's thread ---- */

static struct rpc_call *find_open_call(struct rpc_peer *peer, uint64_t id)
{
    struct rpc_call *call = peer->calls;
    while (call != NULL && call->id != id)
        call = call->next;
    return call;
}

static void handle_control(struct rpc_peer *peer, const Jackdaw__Envelope *envelope)
{
    struct rpc_call *call = find_open_call(peer, envelope->call);
    if (call == NULL)
        return; /* it has just ended */
    if (envelope->kind == JACKDAW__ENVELOPE__KIND__CANCEL)
        call_cancel(call);
    else if (envelope->kind == JACKDAW__ENVELOPE__KIND__CREDIT)
        call_credit(call, envelope->credits);
}

static void inbound_run(struct task *task)
{
    struct inbound *inbound = (struct inbound *)((char *)task - offsetof(struct inbound, task));
    struct rpc_server *server = inbound->server;
    (void)atomic_fetch_sub(&server->waiting_calls, inbound->request_count);
    (void)atomic_fetch_sub(&server->waiting_bytes, inbound->bytes);
    struct rpc_peer *peer = server->closing ? NULL : peer_find(server, inbound->peer_id);
    if (peer == NULL) {
        inbound_release(inbound);
        return;
    }
    server->now_ms = clock_monotonic_ms();
    peer->last_heard_ms = server->now_ms;
    struct rpc_call *call = inbound->calls;
    for (size_t i = 0; i < inbound->frame->n_envelopes; i++) {
        const Jackdaw__Envelope *envelope = inbound->frame->envelopes[i];
        if (envelope->kind == JACKDAW__ENVELOPE__KIND__REQUEST) {
            inbound->references++;
            call->peer = peer;
            call_dispatch(call);
            call++;
        } else {
            handle_control(peer, envelope);
        }
    }
    inbound_release(inbound);
}
