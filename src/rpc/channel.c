/* SPDX-License-Identifier: MIT */
#include "rpc/channel_internal.h"

#include "rpc/dial.h"
#include "rpc/protocol.h"
#include "rpc/tls_engine.h"

#include <nng/protocol/reqrep0/req.h>
#include <stdlib.h>

#define REPLY_FRAME_BYTES_DEFAULT (4u * 1024u * 1024u)

void channel_hold(struct rpc_channel *channel)
{
    (void)atomic_fetch_add(&channel->references, 1);
}

void channel_release(struct rpc_channel *channel)
{
    if (atomic_fetch_sub(&channel->references, 1) != 1)
        return;
    dial_free(channel->dial);
    connections_release(&channel->connections);
    free(channel);
}

/* ---- opening ---- */

static struct rpc_channel_options with_defaults(const struct rpc_channel_options *options)
{
    struct rpc_channel_options result = *options;
    if (result.frame_bytes_max == 0)
        result.frame_bytes_max = REPLY_FRAME_BYTES_DEFAULT;
    if (result.request_bytes_max == 0)
        result.request_bytes_max = RPC_FRAME_BYTES_DEFAULT;
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
        result = channel_output_start(channel);
    if (result == 0)
        result = nng_pipe_notify(channel->socket, NNG_PIPE_EV_ADD_PRE, channel_input_pipe, channel);
    if (result == 0)
        result =
            nng_pipe_notify(channel->socket, NNG_PIPE_EV_REM_POST, channel_input_pipe, channel);
    if (result != 0)
        return transport_error(result);
    return transport_receiver_start(&channel->receiver, channel->socket, channel_input_message,
                                    channel);
}

/* Makes failed handshakes known. With TLS the endpoint reports them. */
static enum error watch_handshakes(struct rpc_channel *channel, struct error_text *why)
{
    const struct address *address = &channel->options.address;
    const struct tls_files files = {.authority = channel->options.tls_authority};
    /* The name that the certificate must be for is the one that was given. */
    const char *name = address->host[0] == '\0' ? "127.0.0.1" : address->host;
    if (address->tls)
        return transport_tls_open(&channel->tls, &files, name, channel_input_failed_handshake,
                                  channel, why);
    channel->handshake_watch = (struct handshake_watch){
        .address = address, .context = channel, .failed = channel_input_failed_handshake};
    handshake_watch(&channel->handshake_watch);
    return OK;
}

/* The dial's thread; nng is done with the socket. */
static void on_closed(void *context)
{
    channel_release(context);
}

static enum error start_dialling(struct rpc_channel *channel, struct error_text *why)
{
    const struct rpc_channel_options *options = &channel->options;
    channel_hold(channel); /* for on_closed */
    enum error error =
        dial_start(&channel->dial,
                   &(struct dial_options){
                       .socket = channel->socket,
                       .connections = &channel->connections,
                       .address = options->address,
                       .tls = channel->tls,
                       .pause_min_ms = options->reconnect_min_ms,
                       .pause_max_ms = options->reconnect_max_ms,
                       .context = channel,
                       .failed = options->refused != NULL ? channel_input_failed_dial : NULL,
                       .closed = on_closed,
                   },
                   why);
    if (error != OK)
        channel_release(channel);
    return error;
}

enum error rpc_channel_open(struct rpc_channel **out, const struct rpc_channel_options *options,
                            struct error_text *why)
{
    struct rpc_channel *channel = calloc(1, sizeof *channel);
    if (channel == NULL)
        return error_set(why, ERROR_NO_MEMORY, "out of memory");
    atomic_init(&channel->references, 1);
    connections_init(&channel->connections);
    channel->options = with_defaults(options);
    channel->calls.next_deadline_ms = UINT64_MAX;
    enum error error = open_socket(channel);
    if (error != OK)
        (void)error_set(why, error, "open a socket: %s", error_name(error));
    if (error == OK)
        error = watch_handshakes(channel, why);
    if (error == OK)
        error = start_dialling(channel, why);
    if (error != OK) {
        rpc_channel_close(channel);
        return error;
    }
    *out = channel;
    return OK;
}

/* ---- closing, and the connection ---- */

void rpc_channel_close(struct rpc_channel *channel)
{
    if (channel == NULL || channel->closing)
        return; /* the latter from a closure that this runs */
    channel->closing = true;
    connections_stop(&channel->connections);
    transport_receiver_release(&channel->receiver);
    channel_output_stop(&channel->output);
    if (channel->dial != NULL)
        dial_stop(channel->dial);
    else if (channel->open)
        (void)nng_close(channel->socket); /* it has never had a connection */
    handshake_forget(&channel->handshake_watch);
    tls_endpoint_close(channel->tls);
    channel_calls_end_all(&channel->calls, STATUS_CANCELLED, "the channel was closed");
    channel_output_drop(&channel->output);
    channel_release(channel); /* freed when its last task in the queue has run */
}

void rpc_channel_reconnect(struct rpc_channel *channel)
{
    if (channel->closing)
        return;
    if (channel->pipe == 0) {
        dial_now(channel->dial);
        return;
    }
    dial_elsewhere(channel->dial);
    connections_end((nng_pipe){.id = channel->pipe}, channel->options.address.tls);
}

bool rpc_channel_is_connected(const struct rpc_channel *channel)
{
    return channel->pipe != 0;
}

const char *rpc_channel_problem(const struct rpc_channel *channel)
{
    return channel->problem[0] == '\0' ? NULL : channel->problem;
}

size_t rpc_channel_addresses(const struct rpc_channel *channel)
{
    return dial_addresses(channel->dial);
}
