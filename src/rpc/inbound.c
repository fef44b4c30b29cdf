/* SPDX-License-Identifier: MIT */
/* inbound.c - frames from the wire to calls: decoding and admission on nng's thread, dispatch on the
 * owner's. */
#include "rpc/server_internal.h"

#include "base/clock.h"
#include "base/log_pace.h"
#include "rpc/protocol.h"
#include "rpc/wire.h"

#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define REQUEST_BYTES_DEFAULT 4096u
#define REFUSAL_BYTES 256u
#define QUOTED_SIZE 61

static void drop_requests(struct inbound *inbound)
{
    for (size_t i = 0; i < inbound->item_count; i++) {
        if (inbound->items[i].call != NULL)
            call_free(inbound->items[i].call);
        inbound->items[i].call = NULL;
    }
}

void inbound_release(struct inbound *inbound)
{
    drop_requests(inbound);
    free(inbound);
}

/* ---- nng's thread: decoding ---- */

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
    char text[REFUSAL_BYTES];
    va_list arguments;
    va_start(arguments, format);
    (void)vsnprintf(text, sizeof text, format, arguments);
    va_end(arguments);
    call->arena.budget_bytes += REFUSAL_BYTES;
    char *kept = arena_strdup(&call->arena, text);
    call->early_status = status;
    call->early_text = kept == NULL ? "" : kept;
}

/* Copies the beginning of a peer's text into a sentence, as plain ASCII. */
static const char *quote(const char *text, char quoted[static QUOTED_SIZE])
{
    size_t i = 0;
    for (; i < QUOTED_SIZE - 1 && text[i] != '\0'; i++)
        quoted[i] = text[i] >= ' ' && text[i] <= '~' ? text[i] : '?';
    quoted[i] = '\0';
    return quoted;
}

static bool version_fits(struct rpc_call *call, uint32_t theirs)
{
    if (theirs >> 16 == RPC_PROTOCOL_MAJOR)
        return true;
    refuse(call, STATUS_FAILED_PRECONDITION,
           "this server speaks protocol version %u.%u, the request is of version %u.%u: "
           "use a client of the same major version",
           RPC_PROTOCOL_MAJOR, RPC_PROTOCOL_MINOR, theirs >> 16, theirs & 0xffffu);
    return false;
}

static bool token_fits(struct rpc_call *call, const Jackdaw__Envelope *envelope)
{
    if (envelope->token.len <= RPC_TOKEN_BYTES_MAX)
        return true;
    refuse(call, STATUS_INVALID_ARGUMENT, "a token has at most %u bytes, this one has %zu",
           RPC_TOKEN_BYTES_MAX, envelope->token.len);
    return false;
}

static const ProtobufCMethodDescriptor *find_method(struct rpc_call *call,
                                                    const Jackdaw__Envelope *envelope)
{
    char quoted[QUOTED_SIZE];
    const struct service_entry *entry = find_service(call->server, envelope->service);
    if (entry == NULL) {
        refuse(call, STATUS_UNIMPLEMENTED, "no service \"%s\" here",
               quote(envelope->service, quoted));
        return NULL;
    }
    const ProtobufCServiceDescriptor *descriptor = entry->service->descriptor;
    const ProtobufCMethodDescriptor *method =
        protobuf_c_service_descriptor_get_method_by_name(descriptor, envelope->method);
    if (method == NULL) {
        refuse(call, STATUS_UNIMPLEMENTED, "no method \"%s\" in %s",
               quote(envelope->method, quoted), descriptor->name);
        return NULL;
    }
    call->entry = entry;
    call->method = (unsigned)(method - descriptor->methods);
    return method;
}

static void unpack_request(struct rpc_call *call, const ProtobufCMethodDescriptor *method,
                           const ProtobufCBinaryData *payload)
{
    size_t limit = request_limit(call->entry, method->name);
    if (payload->len > limit) {
        refuse(call, STATUS_INVALID_ARGUMENT, "%s takes at most %zu bytes, this request has %zu",
               method->name, limit, payload->len);
        return;
    }
    call->input = wire_unpack(method->input, payload, &call->arena);
    if (call->input == NULL)
        refuse(call, STATUS_INVALID_ARGUMENT, "the request is no %s", method->input->name);
    else if (!wire_strings_are_whole(method->input, payload->data, payload->len))
        refuse(call, STATUS_INVALID_ARGUMENT, "a text within the request holds a NUL character");
}

/* Finds service and method and unpacks the request; on failure the call carries the refusal. */
static void prepare(struct rpc_call *call, const Jackdaw__Envelope *envelope)
{
    if (!version_fits(call, envelope->protocol) || !token_fits(call, envelope))
        return;
    const ProtobufCMethodDescriptor *method = find_method(call, envelope);
    if (method != NULL)
        unpack_request(call, method, &envelope->payload);
}

static void inbound_run(struct task *task);

/* An empty one with room for so many items. */
static struct inbound *new_inbound(struct rpc_server *server, nng_pipe pipe, size_t items)
{
    size_t size = sizeof(struct inbound) + items * sizeof(struct inbound_item);
    struct inbound *inbound = malloc(size);
    if (inbound == NULL)
        return NULL;
    *inbound = (struct inbound){.task = {.run = inbound_run},
                                .server = server,
                                .peer_id = (uint32_t)nng_pipe_id(pipe),
                                .waiting_bytes = size};
    return inbound;
}

static enum error add_request(struct inbound *inbound, const Jackdaw__Envelope *envelope,
                              nng_msg *message, uint64_t now_ms)
{
    struct rpc_call *call =
        call_new(inbound->server, envelope, nng_msg_header(message), nng_msg_header_len(message));
    if (call == NULL)
        return ERROR_NO_MEMORY;
    call->deadline_ms = envelope->timeout_ms == 0 ? 0 : now_ms + envelope->timeout_ms;
    prepare(call, envelope);
    inbound->items[inbound->item_count++] =
        (struct inbound_item){.kind = ITEM_REQUEST, .call = call};
    inbound->request_count++;
    inbound->waiting_bytes += arena_held_bytes(&call->arena);
    return OK;
}

static void add_control(struct inbound *inbound, const Jackdaw__Envelope *envelope)
{
    bool cancel = envelope->kind == JACKDAW__ENVELOPE__KIND__CANCEL;
    inbound->items[inbound->item_count++] =
        (struct inbound_item){.kind = cancel ? ITEM_CANCEL : ITEM_CREDIT,
                              .credits = envelope->credits,
                              .id = envelope->call};
}

/* Copies what the owner needs out of the frame. */
static enum error sort_out(struct inbound *inbound, const Jackdaw__Frame *frame, nng_msg *message)
{
    uint64_t now_ms = clock_monotonic_ms();
    for (size_t i = 0; i < frame->n_envelopes; i++) {
        const Jackdaw__Envelope *envelope = frame->envelopes[i];
        enum error error = OK;
        switch (envelope->kind) {
        case JACKDAW__ENVELOPE__KIND__REQUEST:
        case JACKDAW__ENVELOPE__KIND__NOTE:
            error = add_request(inbound, envelope, message, now_ms);
            break;
        case JACKDAW__ENVELOPE__KIND__CANCEL:
        case JACKDAW__ENVELOPE__KIND__CREDIT:
            add_control(inbound, envelope);
            break;
        default:
            break; /* of a later minor version */
        }
        if (error != OK)
            return error;
    }
    inbound->waiting_calls = inbound->request_count;
    return OK;
}

static enum error decode_into(struct arena *arena, struct rpc_server *server, nng_msg *message,
                              struct inbound **out)
{
    Jackdaw__Frame *frame;
    enum error error = wire_decode(nng_msg_body(message), nng_msg_len(message), arena, &frame);
    if (error != OK)
        return error;
    struct inbound *inbound = new_inbound(server, nng_msg_get_pipe(message), frame->n_envelopes);
    if (inbound == NULL)
        return ERROR_NO_MEMORY;
    error = sort_out(inbound, frame, message);
    if (error != OK) {
        inbound_release(inbound);
        return error;
    }
    *out = inbound;
    return OK;
}

enum error inbound_decode(struct rpc_server *server, nng_msg *message, struct inbound **out)
{
    if (nng_msg_len(message) > server->options.frame_bytes_max)
        return ERROR_TOO_LARGE; /* by a few bytes: nng counts them with the header */
    struct arena arena;
    arena_init(&arena, 0);
    enum error error = decode_into(&arena, server, message, out);
    arena_clear(&arena);
    return error;
}

/* ---- nng's thread: admission ---- */

/* Counts the frame as waiting for the owner. false: too much waits already. Adding first and
 * subtracting on failure keeps two threads from both taking the last place. */
static bool admit(struct inbound *inbound, size_t bytes_max)
{
    struct rpc_server *server = inbound->server;
    size_t calls =
        atomic_fetch_add(&server->waiting_calls, inbound->waiting_calls) + inbound->waiting_calls;
    size_t bytes =
        atomic_fetch_add(&server->waiting_bytes, inbound->waiting_bytes) + inbound->waiting_bytes;
    if (calls <= server->options.waiting_calls_max && bytes <= bytes_max)
        return true;
    (void)atomic_fetch_sub(&server->waiting_calls, inbound->waiting_calls);
    (void)atomic_fetch_sub(&server->waiting_bytes, inbound->waiting_bytes);
    return false;
}

static nng_msg *new_reply(const struct rpc_call *call)
{
    nng_msg *message;
    if (nng_msg_alloc(&message, 0) != 0)
        return NULL;
    if (nng_msg_header_append(message, call->header, call->header_size) != 0) {
        nng_msg_free(message);
        return NULL;
    }
    return message;
}

static enum error append_rejection(nng_msg *message, const struct rpc_call *call)
{
    Jackdaw__Envelope head = JACKDAW__ENVELOPE__INIT;
    head.kind = JACKDAW__ENVELOPE__KIND__REPLY;
    head.protocol = RPC_PROTOCOL;
    head.call = call->id;
    head.status = STATUS_RESOURCE_EXHAUSTED;
    head.message = (char *)"the server is busy; try again";
    head.retry_ms = RETRY_WHEN_FULL_MS;
    return wire_append(message, &head, NULL, 0);
}

static bool wants_answer(const struct inbound_item *item)
{
    return item->call != NULL && !item->call->one_way;
}

static bool any_wants_answer(const struct inbound *inbound)
{
    for (size_t i = 0; i < inbound->item_count; i++)
        if (wants_answer(&inbound->items[i]))
            return true;
    return false;
}

/* The answers to every request of a frame, in one frame: as many go out as came in. NULL without
 * memory. */
static nng_msg *new_rejection(const struct inbound *inbound)
{
    nng_msg *message = NULL;
    for (size_t i = 0; i < inbound->item_count; i++) {
        const struct rpc_call *call = inbound->items[i].call;
        if (!wants_answer(&inbound->items[i]))
            continue;
        if (message == NULL && (message = new_reply(call)) == NULL)
            return NULL;
        if (append_rejection(message, call) != OK) {
            nng_msg_free(message);
            return NULL;
        }
    }
    return message;
}

/* Answers and drops the requests of a frame that was not admitted. false: the peer will not hear. */
static bool reject(struct inbound *inbound)
{
    struct rpc_server *server = inbound->server;
    bool told = true;
    (void)atomic_fetch_add(&server->calls_rejected, inbound->request_count);
    if (any_wants_answer(inbound)) {
        nng_msg *message = new_rejection(inbound);
        told = message != NULL && transport_send(server->socket, server->reject_aio, message);
    }
    drop_requests(inbound);
    return told;
}

/* A stream starves without its CREDIT, so the control messages of open calls may exceed the bound
 * by a quarter. */
static bool admit_control(struct inbound *inbound)
{
    size_t bytes_max = inbound->server->options.waiting_bytes_max;
    inbound->waiting_calls = 0;
    inbound->waiting_bytes = sizeof *inbound + inbound->item_count * sizeof(struct inbound_item);
    return admit(inbound, bytes_max + bytes_max / 4);
}

/* Closes the connection that the frame came on. */
static void kick_sender(struct rpc_server *server, nng_pipe pipe, const char *reason)
{
    uint32_t id = (uint32_t)nng_pipe_id(pipe);
    if (id == server->last_kicked)
        return; /* it had sent more before it was closed */
    server->last_kicked = id;
    uint64_t kicked = atomic_fetch_add(&server->peers_kicked, 1) + 1;
    char text[PEER_TEXT_SIZE];
    transport_peer_text(pipe, text, sizeof text);
    log_warning_paced(reason, "rpc", "peer_kicked", log_string("peer", text),
                      log_string("reason", reason), log_number("kicked", kicked));
    connections_end(pipe, server->options.address.tls);
}

static const char *reason_for(enum error error)
{
    return error == ERROR_NO_MEMORY   ? "no memory for what it sent"
           : error == ERROR_TOO_LARGE ? "sent a frame that is too large"
                                      : "sent what is no frame";
}

void inbound_receive(void *context, nng_msg *message)
{
    struct rpc_server *server = context;
    (void)atomic_fetch_add(&server->frames_received, 1);
    nng_pipe pipe = nng_msg_get_pipe(message);
    struct inbound *inbound = NULL;
    enum error error = inbound_decode(server, message, &inbound);
    nng_msg_free(message);
    if (error != OK) {
        kick_sender(server, pipe, reason_for(error));
        return;
    }
    (void)atomic_fetch_add(&server->calls_received, inbound->request_count);
    if (admit(inbound, server->options.waiting_bytes_max)) {
        task_queue_push(server->options.queue, &inbound->task);
        return;
    }
    if (!reject(inbound)) {
        inbound_release(inbound);
        kick_sender(server, pipe, "no reply is possible although the server is full");
    } else if (inbound->item_count == inbound->request_count) {
        inbound_release(inbound); /* no control in it */
    } else if (admit_control(inbound)) {
        task_queue_push(server->options.queue, &inbound->task);
    } else {
        inbound_release(inbound);
        kick_sender(server, pipe, "sent too much while the server is full");
    }
}

/* ---- the owner's thread ---- */

static struct rpc_call *find_open_call(struct rpc_peer *peer, uint64_t id)
{
    struct rpc_call *call = peer->calls;
    while (call != NULL && (call->id != id || call->one_way))
        call = call->next;
    return call;
}

static void handle_control(struct rpc_peer *peer, const struct inbound_item *item)
{
    struct rpc_call *call = find_open_call(peer, item->id);
    if (call == NULL)
        return; /* it has just ended */
    if (item->kind == ITEM_CANCEL) {
        call->given_up = true;
        call_cancel(call);
    } else {
        call_credit(call, item->credits);
    }
}

static void dispatch(struct inbound *inbound, struct rpc_peer *peer)
{
    for (size_t i = 0; i < inbound->item_count; i++) {
        struct inbound_item *item = &inbound->items[i];
        struct rpc_call *call = item->call;
        item->call = NULL;
        if (item->kind != ITEM_REQUEST)
            handle_control(peer, item);
        else if (call != NULL)
            call_dispatch(call, peer);
    }
}

static void inbound_run(struct task *task)
{
    struct inbound *inbound = (struct inbound *)task;
    struct rpc_server *server = inbound->server;
    (void)atomic_fetch_sub(&server->waiting_calls, inbound->waiting_calls);
    (void)atomic_fetch_sub(&server->waiting_bytes, inbound->waiting_bytes);
    struct rpc_peer *peer = server->closing ? NULL : peer_find(server, inbound->peer_id);
    if (peer != NULL) {
        server->now_ms = clock_monotonic_ms();
        peer->last_heard_ms = server->now_ms;
        dispatch(inbound, peer);
    }
    inbound_release(inbound);
}
