/* SPDX-License-Identifier: MIT */
#include "server/forward.h"

#include "base/address.h"
#include "base/log_pace.h"
#include "rpc/channel.h"

#include <stdlib.h>
#include <string.h>

#define RETRY_MS 100u           /* after this time a client may find a master */
#define RETRY_WHEN_FULL_MS 200u /* as in src/rpc */

struct forward {
    struct forward_options options;
    char address[ADDRESS_TEXT_SIZE]; /* "": there is no master */
    bool is_unreachable;             /* the address cannot be dialled: --tls_ca is missing */
    bool has_told;                   /* why connections to it fail */
    struct rpc_channel *channels[FORWARD_CONNECTIONS];
    size_t open_calls;
};

/* A call on its way. */
struct passage {
    struct rpc_result result; /* first: the channel fills it */
    struct forward *forward;
    struct rpc_channel *channel;
    struct rpc_call *call;
    uint64_t id;      /* the channel's */
    uint32_t credits; /* replies that the master may still send */
    bool is_given_up; /* by the caller */
};

/* ---- answers ---- */

/* The caller's deadline has passed; the master may have noticed first. */
static bool is_late(const struct rpc_call *call)
{
    return rpc_call_timeout_ms(call) == 1;
}

static void end(struct passage *passage, const ProtobufCMessage *reply)
{
    struct rpc_call *call = passage->call;
    const struct rpc_result *result = &passage->result;
    rpc_call_show(call, result->position);
    if (result->status == STATUS_OK) {
        rpc_call_reply(call, reply);
    } else if (result->status == STATUS_CANCELLED && is_late(call)) {
        rpc_call_fail(call, STATUS_DEADLINE_EXCEEDED, 0, "the server did not answer in time");
    } else if (result->status == STATUS_CANCELLED && !passage->is_given_up) {
        rpc_call_fail(call, STATUS_UNAVAILABLE, RETRY_MS, "the server in charge has changed");
    } else {
        /* Drops the reply's `master`: the caller keeps using this server. */
        uint32_t retry_ms = result->retry_ms;
        if (result->status == STATUS_UNAVAILABLE && retry_ms == 0)
            retry_ms = RETRY_MS;
        rpc_call_expect(call, result->next_request);
        rpc_call_fail(call, result->status, retry_ms, result->message);
    }
    passage->forward->open_calls--;
    free(passage);
}

/* Passes one reply of a stream. If the reply is lost here, the client notices the gap and asks
 * again. */
static void pass(struct passage *passage, const ProtobufCMessage *reply)
{
    if (passage->credits > 0)
        passage->credits--;
    size_t size = protobuf_c_message_get_packed_size(reply);
    uint8_t *bytes = malloc(size + 1);
    if (bytes == NULL)
        return;
    struct rpc_chunk chunk = {.bytes = bytes, .size = protobuf_c_message_pack(reply, bytes)};
    (void)rpc_call_send(passage->call, &chunk, 1);
    free(bytes);
}

static void on_reply(const ProtobufCMessage *reply, void *context)
{
    struct passage *passage = context;
    if (passage->result.more)
        pass(passage, reply);
    else
        end(passage, reply);
}

/* ---- what callers do meanwhile ---- */

static void on_cancelled(void *context, struct rpc_call *call)
{
    (void)call;
    struct passage *passage = context;
    passage->is_given_up = true;
    rpc_channel_cancel(passage->channel, passage->id); /* ends the passage */
}

/* Grants the master as many credits in total as the caller has granted. */
static void on_credited(void *context, struct rpc_call *call)
{
    struct passage *passage = context;
    uint32_t allowed = rpc_call_credits(call);
    if (allowed <= passage->credits)
        return;
    rpc_channel_credit(passage->channel, passage->id, allowed - passage->credits);
    passage->credits = allowed;
}

/* ---- requests ---- */

static void on_connected(void *context, struct rpc_channel *channel)
{
    (void)channel;
    struct forward *forward = context;
    forward->has_told = false;
}

/* Once until it is connected, or has another master: each of the connections fails, again and again. */
static void on_refused(void *context, struct rpc_channel *channel, enum error error)
{
    struct forward *forward = context;
    const char *problem = rpc_channel_problem(channel);
    (void)error;
    if (problem == NULL || forward->has_told)
        return;
    forward->has_told = true;
    log_warning("server", "forward_failed", log_string("master", forward->address),
                log_string("error", problem));
}

/* NULL: logged. */
static struct rpc_channel *open_channel(struct forward *forward)
{
    struct rpc_channel_options options = {.queue = forward->options.queue,
                                          .tls_authority = forward->options.tls_authority,
                                          .context = forward,
                                          .connected = on_connected,
                                          .refused = on_refused};
    struct rpc_channel *channel = NULL;
    struct error_text why;
    enum error error = address_parse(forward->address, &options.address, &why);
    if (error == OK)
        error = rpc_channel_open(&channel, &options, &why);
    if (error != OK)
        log_error_paced(forward->address, "server", "forward_failed",
                        log_string("master", forward->address), log_string("error", why.text));
    forward->is_unreachable = error == ERROR_INVALID;
    return channel;
}

/* The same for all calls of a client; made when it is first needed. */
static struct rpc_channel *channel_for(struct forward *forward, const struct rpc_call *call)
{
    size_t hash = 5381;
    for (const char *at = rpc_call_peer(call); *at != '\0'; at++)
        hash = hash * 33 + (unsigned char)*at;
    struct rpc_channel **channel = &forward->channels[hash % FORWARD_CONNECTIONS];
    if (*channel == NULL && forward_has_master(forward))
        *channel = open_channel(forward);
    return *channel;
}

static struct passage *passage_new(struct forward *forward, struct rpc_channel *channel,
                                   struct rpc_call *call)
{
    struct passage *passage = malloc(sizeof *passage);
    if (passage == NULL)
        return NULL;
    *passage = (struct passage){.forward = forward, .channel = channel, .call = call};
    if (rpc_call_is_stream(call))
        passage->credits = rpc_call_credits(call);
    forward->open_calls++;
    return passage;
}

static void send(struct passage *passage, const ProtobufCService *service, unsigned method,
                 const ProtobufCMessage *input)
{
    struct rpc_call *call = passage->call;
    bool is_stream = rpc_call_is_stream(call);
    struct rpc_stub stub;
    rpc_stub_init(&stub, passage->channel, service->descriptor);
    stub.timeout_ms = rpc_call_timeout_ms(call);
    stub.credits = passage->credits;
    stub.resent = rpc_call_resent(call);
    stub.position = rpc_call_position(call);
    stub.peer = rpc_call_peer(call);
    stub.token = rpc_call_token(call, &stub.token_size);
    stub.service.invoke(&stub.service, method, input, on_reply, passage);
    if (stub.call == 0)
        return; /* it could not be sent, and has ended */
    passage->id = stub.call;
    if (is_stream)
        passage->call = rpc_call_keep(call);
    const struct rpc_call_watch watch = {
        .context = passage, .cancelled = on_cancelled, .credited = on_credited};
    rpc_call_watch(passage->call, &watch);
}

void forward_call(struct forward *forward, struct rpc_call *call, const ProtobufCService *service,
                  unsigned method, const ProtobufCMessage *input)
{
    struct rpc_channel *channel = channel_for(forward, call);
    if (channel == NULL || rpc_call_is_one_way(call)) {
        rpc_call_fail(call, STATUS_UNAVAILABLE, RETRY_MS, "no server is in charge just now");
        return;
    }
    struct passage *passage = NULL;
    if (forward->open_calls < forward->options.calls_max)
        passage = passage_new(forward, channel, call);
    if (passage == NULL)
        rpc_call_fail(call, STATUS_RESOURCE_EXHAUSTED, RETRY_WHEN_FULL_MS,
                      "this server forwards as many calls as it may; try again in a moment");
    else
        send(passage, service, method, input);
}

/* ---- whom to ---- */

static void disconnect(struct forward *forward)
{
    for (size_t i = 0; i < FORWARD_CONNECTIONS; i++) {
        struct rpc_channel *channel = forward->channels[i];
        forward->channels[i] = NULL;
        rpc_channel_close(channel); /* its calls end */
    }
    ASSERT(forward->open_calls == 0);
}

void forward_to(struct forward *forward, const char *address)
{
    if (address == NULL)
        address = "";
    if (strcmp(address, forward->address) == 0 || strlen(address) >= ADDRESS_TEXT_SIZE)
        return;
    disconnect(forward);
    memcpy(forward->address, address, strlen(address) + 1);
    forward->is_unreachable = false;
    forward->has_told = false;
}

/* ---- turns ---- */

void forward_flush(struct forward *forward)
{
    for (size_t i = 0; i < FORWARD_CONNECTIONS; i++)
        if (forward->channels[i] != NULL)
            rpc_channel_flush(forward->channels[i]);
}

void forward_tick(struct forward *forward, uint64_t monotonic_ms)
{
    for (size_t i = 0; i < FORWARD_CONNECTIONS; i++)
        if (forward->channels[i] != NULL)
            rpc_channel_tick(forward->channels[i], monotonic_ms);
}

bool forward_has_master(const struct forward *forward)
{
    return forward->address[0] != '\0' && !forward->is_unreachable;
}

size_t forward_open_calls(const struct forward *forward)
{
    return forward->open_calls;
}

/* ---- life ---- */

enum error forward_new(struct forward **out, const struct forward_options *options)
{
    struct forward *forward = calloc(1, sizeof *forward);
    if (forward == NULL)
        return ERROR_NO_MEMORY;
    forward->options = *options;
    if (forward->options.calls_max == 0)
        forward->options.calls_max = FORWARD_CALLS_MAX;
    *out = forward;
    return OK;
}

void forward_free(struct forward *forward)
{
    if (forward == NULL)
        return;
    disconnect(forward);
    free(forward);
}
