/* SPDX-License-Identifier: MIT */
#include "server/forward.h"

#include "base/address.h"
#include "base/log_pace.h"
#include "rpc/channel.h"
#include "spec.pb-c.h"

#include <stdlib.h>
#include <string.h>
#include <utlist.h>

#define RETRY_MS 20u /* after this time a client may find a master */
#define RETRY_HERE_MS 1u
#define INFO_TIMEOUT_MS 1000u
#define RETRY_WHEN_FULL_MS 200u /* as in src/rpc */

/* One of the connections. */
struct route {
    struct rpc_result info_result; /* first: of Info */
    struct forward *forward;
    struct rpc_channel *channel; /* NULL: not opened yet */
    bool is_asking;              /* Info is under way */
    bool is_checked;             /* the master is of the cluster */
};

struct forward {
    struct forward_options options;
    char address[ADDRESS_TEXT_SIZE]; /* "": there is no master */
    uint8_t cluster[FORWARD_CLUSTER_BYTES];
    bool has_cluster;
    bool is_unreachable; /* the address cannot be dialled: --tls_ca is missing */
    bool has_told;       /* why connections to it fail */
    struct route routes[FORWARD_CONNECTIONS];
    struct passage *passages; /* doubly linked */
    size_t open_calls;
    uint64_t calls;
};

/* A call on its way. */
struct passage {
    struct rpc_result result; /* first: the channel fills it */
    struct passage *prev, *next;
    struct forward *forward;
    struct route *route;
    struct rpc_call *call;
    /* Until it is sent: */
    const ProtobufCService *service;
    unsigned method;
    const ProtobufCMessage *input; /* NULL: it is sent */
    uint64_t id;                   /* the channel's */
    uint32_t credits;              /* replies that the master may still send */
    bool is_given_up;              /* by the caller */
    bool is_moved;                 /* this server answers it from now on */
};

/* ---- answers ---- */

/* The caller's deadline has passed; the master may have noticed first. */
static bool is_late(const struct rpc_call *call)
{
    return rpc_call_timeout_ms(call) == 1;
}

/* A master that had the call may have ended of it: then the answer has no retry_ms, and the client
 * marks the call when it sends it again (suspects.h). */
static void end(struct passage *passage, const ProtobufCMessage *reply)
{
    struct rpc_call *call = passage->call;
    const struct rpc_result *result = &passage->result;
    uint32_t retry_ms = passage->input != NULL ? RETRY_MS : 0;
    rpc_call_show(call, result->position);
    if (passage->is_moved) {
        rpc_call_fail(call, STATUS_ABORTED, RETRY_HERE_MS, "this server answers by itself now");
    } else if (result->status == STATUS_OK) {
        rpc_call_reply(call, reply);
    } else if (result->status == STATUS_CANCELLED && is_late(call)) {
        rpc_call_fail(call, STATUS_DEADLINE_EXCEEDED, 0, "the server did not answer in time");
    } else if (result->status == STATUS_CANCELLED && !passage->is_given_up) {
        rpc_call_fail(call, STATUS_UNAVAILABLE, retry_ms, "the server in charge has changed");
    } else {
        /* Drops the reply's `master`: the caller keeps using this server. */
        rpc_call_expect(call, result->next_request);
        rpc_call_fail(call, result->status, result->retry_ms, result->message);
    }
    DL_DELETE(passage->forward->passages, passage);
    passage->forward->open_calls--;
    free(passage);
}

/* Of one that is not sent. */
static void end_unsent(struct passage *passage, enum status status, uint32_t retry_ms,
                       const char *text)
{
    passage->result =
        (struct rpc_result){.status = status, .retry_ms = retry_ms, .message = text, .master = ""};
    end(passage, NULL);
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
    if (passage->input != NULL)
        end_unsent(passage, STATUS_CANCELLED, 0, "the call was cancelled");
    else
        rpc_channel_cancel(passage->route->channel, passage->id); /* ends the passage */
}

/* Grants the master as many credits in total as the caller has granted. */
static void on_credited(void *context, struct rpc_call *call)
{
    struct passage *passage = context;
    uint32_t allowed = rpc_call_credits(call);
    if (allowed <= passage->credits)
        return;
    if (passage->input == NULL)
        rpc_channel_credit(passage->route->channel, passage->id, allowed - passage->credits);
    passage->credits = allowed;
}

/* ---- requests ---- */

static void send(struct passage *passage)
{
    struct rpc_call *call = passage->call;
    const ProtobufCMessage *input = passage->input;
    bool is_stream = rpc_call_is_stream(call);
    struct rpc_stub stub;
    rpc_stub_init(&stub, passage->route->channel, passage->service->descriptor);
    stub.timeout_ms = rpc_call_timeout_ms(call);
    stub.credits = passage->credits;
    stub.resent = rpc_call_resent(call);
    stub.position = rpc_call_position(call);
    stub.peer = rpc_call_peer(call);
    stub.token = rpc_call_token(call, &stub.token_size);
    passage->input = NULL;
    stub.service.invoke(&stub.service, passage->method, input, on_reply, passage);
    if (stub.call == 0)
        return; /* it could not be sent, and has ended */
    passage->id = stub.call;
    if (is_stream)
        passage->call = rpc_call_keep(call);
}

static void watch(struct passage *passage)
{
    const struct rpc_call_watch watch = {
        .context = passage, .cancelled = on_cancelled, .credited = on_credited};
    rpc_call_watch(passage->call, &watch);
}

/* ---- which cluster the master is of ---- */

static void send_waiting(struct route *route)
{
    struct passage *passage, *next;
    DL_FOREACH_SAFE(route->forward->passages, passage, next)
        if (passage->route == route && passage->input != NULL)
            send(passage);
}

static void refuse_waiting(struct route *route, const char *text)
{
    struct passage *passage, *next;
    DL_FOREACH_SAFE(route->forward->passages, passage, next)
        if (passage->route == route && passage->input != NULL)
            end_unsent(passage, STATUS_UNAVAILABLE, RETRY_MS, text);
}

static void on_info(const Jackdaw__InfoReply *reply, void *context)
{
    struct route *route = context;
    struct forward *forward = route->forward;
    enum status status = route->info_result.status;
    route->is_asking = false;
    if (status == STATUS_UNAVAILABLE || status == STATUS_CANCELLED)
        return; /* the connection is lost: asked again when it is connected again */
    if (reply == NULL) {
        refuse_waiting(route, "the master does not answer");
        return;
    }
    route->is_checked = reply->cluster.len == sizeof forward->cluster &&
                        memcmp(reply->cluster.data, forward->cluster, sizeof forward->cluster) == 0;
    if (route->is_checked) {
        send_waiting(route);
        return;
    }
    log_warning_paced(forward->address, "server", "forward_failed",
                      log_string("master", forward->address),
                      log_string("error", "a server of another cluster has this address"));
    refuse_waiting(route, "another cluster has the address of the master");
}

static void check_cluster(struct route *route)
{
    struct forward *forward = route->forward;
    if (route->is_checked || route->is_asking || !rpc_channel_is_connected(route->channel))
        return;
    if (!forward->has_cluster) {
        route->is_checked = true;
        send_waiting(route);
        return;
    }
    Jackdaw__InfoRequest request = JACKDAW__INFO_REQUEST__INIT;
    struct rpc_stub stub;
    request.client = (char *)"a forwarding server";
    rpc_stub_init(&stub, route->channel, &jackdaw__chat__descriptor);
    stub.timeout_ms = INFO_TIMEOUT_MS;
    route->is_asking = true;
    jackdaw__chat__info(&stub.service, &request, on_info, route);
}

/* ---- connections ---- */

static void on_connected(void *context, struct rpc_channel *channel)
{
    (void)channel;
    struct route *route = context;
    route->forward->has_told = false;
    check_cluster(route);
}

static void on_disconnected(void *context, struct rpc_channel *channel)
{
    (void)channel;
    struct route *route = context;
    route->is_checked = false;
}

/* Once until it is connected, or has another master: each of the connections fails, again and again. */
static void on_refused(void *context, struct rpc_channel *channel, enum error error)
{
    struct route *route = context;
    struct forward *forward = route->forward;
    const char *problem = rpc_channel_problem(channel);
    (void)error;
    if (problem == NULL || forward->has_told)
        return;
    forward->has_told = true;
    log_warning("server", "forward_failed", log_string("master", forward->address),
                log_string("error", problem));
}

/* Leaves the channel NULL after an error, which is logged. */
static void open_route(struct route *route)
{
    struct forward *forward = route->forward;
    struct rpc_channel_options options = {.queue = forward->options.queue,
                                          .tls_authority = forward->options.tls_authority,
                                          .context = route,
                                          .connected = on_connected,
                                          .disconnected = on_disconnected,
                                          .refused = on_refused};
    struct error_text why;
    enum error error = address_parse(forward->address, &options.address, &why);
    if (error == OK)
        error = rpc_channel_open(&route->channel, &options, &why);
    if (error != OK)
        log_error_paced(forward->address, "server", "forward_failed",
                        log_string("master", forward->address), log_string("error", why.text));
    forward->is_unreachable = error == ERROR_INVALID;
}

/* The same for all calls of a client; opened when it is first needed. NULL: there is no connection. */
static struct route *route_for(struct forward *forward, const struct rpc_call *call)
{
    size_t hash = 5381;
    for (const char *at = rpc_call_peer(call); *at != '\0'; at++)
        hash = hash * 33 + (unsigned char)*at;
    struct route *route = &forward->routes[hash % FORWARD_CONNECTIONS];
    if (route->channel == NULL && forward_has_master(forward))
        open_route(route);
    return route->channel == NULL ? NULL : route;
}

static struct passage *passage_new(struct route *route, struct rpc_call *call)
{
    struct forward *forward = route->forward;
    struct passage *passage = malloc(sizeof *passage);
    if (passage == NULL)
        return NULL;
    *passage = (struct passage){.forward = forward, .route = route, .call = call};
    if (rpc_call_is_stream(call))
        passage->credits = rpc_call_credits(call);
    DL_APPEND(forward->passages, passage);
    forward->open_calls++;
    forward->calls++;
    return passage;
}

void forward_call(struct forward *forward, struct rpc_call *call, const ProtobufCService *service,
                  unsigned method, const ProtobufCMessage *input)
{
    struct route *route = route_for(forward, call);
    if (route == NULL || rpc_call_is_one_way(call)) {
        rpc_call_fail(call, STATUS_UNAVAILABLE, RETRY_MS, "no server is in charge just now");
        return;
    }
    struct passage *passage = NULL;
    if (forward->open_calls < forward->options.calls_max)
        passage = passage_new(route, call);
    if (passage == NULL) {
        rpc_call_fail(call, STATUS_RESOURCE_EXHAUSTED, RETRY_WHEN_FULL_MS,
                      "this server forwards as many calls as it may; try again in a moment");
        return;
    }
    passage->service = service;
    passage->method = method;
    passage->input = input;
    watch(passage);
    if (route->is_checked)
        send(passage);
    else
        check_cluster(route); /* which may send or end it */
}

void forward_end_streams(struct forward *forward)
{
    struct passage *passage, *next;
    DL_FOREACH_SAFE(forward->passages, passage, next) {
        if (!rpc_call_is_stream(passage->call))
            continue;
        passage->is_moved = true;
        if (passage->input != NULL)
            end_unsent(passage, STATUS_CANCELLED, 0, "");
        else
            rpc_channel_cancel(passage->route->channel, passage->id);
    }
}

/* ---- whom to ---- */

static void disconnect(struct forward *forward)
{
    for (size_t i = 0; i < FORWARD_CONNECTIONS; i++) {
        struct rpc_channel *channel = forward->routes[i].channel;
        forward->routes[i] = (struct route){.forward = forward};
        rpc_channel_close(channel); /* its calls end */
    }
    while (forward->passages != NULL) /* not sent yet */
        end_unsent(forward->passages, STATUS_CANCELLED, 0, "");
    ASSERT(forward->open_calls == 0);
}

static bool is_same_cluster(const struct forward *forward, const uint8_t *cluster)
{
    return forward->has_cluster == (cluster != NULL) &&
           (cluster == NULL || memcmp(forward->cluster, cluster, sizeof forward->cluster) == 0);
}

void forward_to(struct forward *forward, const char *address, const uint8_t *cluster)
{
    if (address == NULL)
        address = "";
    bool is_same = strcmp(address, forward->address) == 0 && is_same_cluster(forward, cluster);
    if (is_same || strlen(address) >= ADDRESS_TEXT_SIZE)
        return;
    disconnect(forward);
    forward->has_cluster = cluster != NULL;
    if (cluster != NULL)
        memcpy(forward->cluster, cluster, sizeof forward->cluster);
    memcpy(forward->address, address, strlen(address) + 1);
    forward->is_unreachable = false;
    forward->has_told = false;
}

/* ---- turns ---- */

void forward_flush(struct forward *forward)
{
    for (size_t i = 0; i < FORWARD_CONNECTIONS; i++)
        if (forward->routes[i].channel != NULL)
            rpc_channel_flush(forward->routes[i].channel);
}

void forward_tick(struct forward *forward, uint64_t monotonic_ms)
{
    for (size_t i = 0; i < FORWARD_CONNECTIONS; i++)
        if (forward->routes[i].channel != NULL)
            rpc_channel_tick(forward->routes[i].channel, monotonic_ms);
}

bool forward_has_master(const struct forward *forward)
{
    return forward->address[0] != '\0' && !forward->is_unreachable;
}

bool forward_is_unreachable(const struct forward *forward)
{
    return forward->is_unreachable;
}

size_t forward_open_calls(const struct forward *forward)
{
    return forward->open_calls;
}

uint64_t forward_calls(const struct forward *forward)
{
    return forward->calls;
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
    for (size_t i = 0; i < FORWARD_CONNECTIONS; i++)
        forward->routes[i].forward = forward;
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
