/* SPDX-License-Identifier: MIT */
#include "admin/server_call.h"

#include "base/clock.h"
#include "base/task_queue.h"
#include "rpc/channel.h"
#include "spec.pb-c.h"

#include <stdlib.h>

struct exchange {
    struct rpc_result result; /* first: the channel fills it */
    const struct server_call *call;
    char name[ADDRESS_TEXT_SIZE]; /* of the address */
    bool is_connected;
    bool has_ended;
    enum error error; /* how it ended; why has the sentence */
    struct error_text why;
    ProtobufCMessage *reply;
};

/* ---- the connection ---- */

static void on_connected(void *context, struct rpc_channel *channel)
{
    (void)channel;
    struct exchange *exchange = context;
    exchange->is_connected = true;
}

static const char *reason_of(enum error error)
{
    switch (error) {
    case ERROR_REFUSED:
        return "nothing listens there";
    case ERROR_NOT_FOUND:
        return "the name has no address";
    default:
        return error_name(error);
    }
}

/* The channel would try again until the deadline of the call. One failure is enough for a person. */
static void on_refused(void *context, struct rpc_channel *channel, enum error error)
{
    struct exchange *exchange = context;
    const char *problem = rpc_channel_problem(channel);
    if (exchange->is_connected || exchange->has_ended)
        return;
    exchange->has_ended = true;
    if (problem != NULL)
        exchange->error = error_set(&exchange->why, ERROR_DENIED, "the server at %s: %s",
                                    exchange->name, problem);
    else if (error == ERROR_TIMEOUT)
        exchange->error =
            error_set(&exchange->why, error, "no Jackdaw server answers at %s within %d seconds",
                      exchange->name, SERVER_CALL_TIMEOUT_MS / 1000);
    else
        exchange->error = error_set(&exchange->why, error, "no server answers at %s: %s",
                                    exchange->name, reason_of(error));
}

/* ---- the reply ---- */

static ProtobufCMessage *copy_of(const ProtobufCMessage *message)
{
    size_t size = protobuf_c_message_get_packed_size(message);
    uint8_t *bytes = malloc(size + 1);
    if (bytes == NULL)
        return NULL;
    (void)protobuf_c_message_pack(message, bytes);
    ProtobufCMessage *copy = protobuf_c_message_unpack(message->descriptor, NULL, size, bytes);
    free(bytes);
    return copy;
}

static enum error keep(struct exchange *exchange, const ProtobufCMessage *reply)
{
    exchange->reply = copy_of(reply);
    return exchange->reply != NULL ? OK
                                   : error_set(&exchange->why, ERROR_NO_MEMORY, "out of memory");
}

/* Turns a status other than OK into an error with a sentence. */
static enum error judge(struct exchange *exchange)
{
    const char *name = exchange->name;
    const char *text = exchange->result.message;
    switch (exchange->result.status) {
    case STATUS_DEADLINE_EXCEEDED:
        return error_set(&exchange->why, ERROR_TIMEOUT,
                         exchange->is_connected
                             ? "the server at %s did not answer within %d seconds"
                             : "no Jackdaw server answers at %s within %d seconds",
                         name, SERVER_CALL_TIMEOUT_MS / 1000);
    case STATUS_UNAVAILABLE:
        return error_set(&exchange->why, ERROR_REFUSED, "the server at %s: %s", name, text);
    case STATUS_UNIMPLEMENTED:
        return error_set(&exchange->why, ERROR_VERSION,
                         "the server at %s does not know this call: %sit is of another version "
                         "(%s)",
                         name,
                         exchange->call->service == &jackdaw__cluster__descriptor
                             ? "give its internal address, if this is its client address; or "
                             : "",
                         text);
    default:
        return error_set(&exchange->why, ERROR_DENIED, "the server at %s refuses: %s", name, text);
    }
}

static void on_reply(const ProtobufCMessage *reply, void *context)
{
    struct exchange *exchange = context;
    if (exchange->has_ended)
        return;
    exchange->has_ended = true;
    exchange->error = reply != NULL ? keep(exchange, reply) : judge(exchange);
}

/* ---- both ---- */

static void invoke(struct exchange *exchange, struct rpc_channel *channel)
{
    const struct server_call *call = exchange->call;
    struct rpc_stub stub;
    rpc_stub_init(&stub, channel, call->service);
    stub.timeout_ms = SERVER_CALL_TIMEOUT_MS;
    const ProtobufCMethodDescriptor *method =
        protobuf_c_service_descriptor_get_method_by_name(call->service, call->method);
    ASSERT(method != NULL);
    stub.service.invoke(&stub.service, (unsigned)(method - call->service->methods), call->request,
                        on_reply, exchange);
}

static enum error carry(struct exchange *exchange, struct task_queue *queue)
{
    struct rpc_channel *channel;
    const struct rpc_channel_options options = {
        .address = *exchange->call->address,
        .queue = queue,
        .tls_authority = exchange->call->tls_authority,
        .context = exchange,
        .connected = on_connected,
        .refused = on_refused,
    };
    enum error error = rpc_channel_open(&channel, &options, &exchange->why);
    if (error != OK)
        return error;
    invoke(exchange, channel);
    while (!exchange->has_ended) {
        rpc_channel_flush(channel);
        task_queue_wait(queue, 50);
        (void)task_queue_run(queue, SIZE_MAX);
        rpc_channel_tick(channel, clock_monotonic_ms());
    }
    rpc_channel_close(channel);
    (void)task_queue_run(queue, SIZE_MAX);
    return exchange->error;
}

enum error server_call_run(const struct server_call *call, ProtobufCMessage **out,
                           struct error_text *why)
{
    struct exchange exchange = {.call = call, .error = OK};
    struct task_queue *queue;
    enum error error = task_queue_new(&queue);
    if (error != OK)
        return error_set(why, error, "cannot make a queue: %s", error_name(error));
    address_format(call->address, exchange.name);
    error = carry(&exchange, queue);
    task_queue_free(queue);
    if (error == OK)
        *out = exchange.reply;
    else
        *why = exchange.why;
    return error;
}
