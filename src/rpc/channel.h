/* SPDX-License-Identifier: MIT */
/* channel.h - makes calls: a ProtobufCService whose invoke sends over nng REQ to one address.
 *
 *     struct rpc_stub stub;
 *     rpc_stub_init(&stub, channel, &jackdaw__chat__descriptor);
 *     stub.timeout_ms = 2000;
 *     jackdaw__chat__info(&stub.service, &request, on_info, &state);
 *     rpc_channel_flush(channel);
 *
 * nng's threads receive and decode frames; closures run on the owner's thread, when it runs its
 * task_queue (or calls rpc_channel_tick, _close or _cancel). Requests wait in a buffer until
 * rpc_channel_flush, so that the requests of one turn share a frame.
 *
 * The channel connects by itself, and again after a loss, with a growing pause, to any of the addresses
 * that its host has at that time. A dial ends after 3 s. Calls made while
 * there is no connection wait for one until their deadline; calls under way when a connection is
 * lost end UNAVAILABLE at once. It never sends a call twice: retrying is the caller's decision.
 *
 * The socket is REQ in raw mode: request ids are the channel's, a call can have several replies,
 * and nng resends nothing by itself. All functions: the owner's thread. */
#ifndef JACKDAW_RPC_CHANNEL_H
#define JACKDAW_RPC_CHANNEL_H

#include "base/address.h"
#include "base/error.h"
#include "base/status.h"
#include "base/task_queue.h"

#include <protobuf-c/protobuf-c.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct rpc_channel;

struct rpc_channel_options {
    struct address address;
    struct task_queue *queue;  /* the owner's; must outlive the channel */
    size_t frame_bytes_max;    /* largest frame taken from the server; 0: 4 MiB */
    size_t request_bytes_max;  /* largest request; 0: RPC_FRAME_BYTES_DEFAULT, as servers take */
    uint32_t reconnect_min_ms; /* first pause after a failed connect; 0: 50 */
    uint32_t reconnect_max_ms; /* 0: 1000 */
    const char *tls_authority; /* PEM file that the server's certificate is checked against */
    void *context;
    /* Told on the owner's thread; may be NULL. */
    void (*connected)(void *context, struct rpc_channel *channel);
    void (*disconnected)(void *context, struct rpc_channel *channel);
    /* An attempt to connect has failed, with all addresses of the host. ERROR_REFUSED: the machines
     * are there, and nobody listens; others (ERROR_TIMEOUT, ERROR_NOT_FOUND, ...): one or all cannot
     * be reached. The first attempt after a
     * loss comes within reconnect_min_ms. A hint: some may go untold. */
    void (*refused)(void *context, struct rpc_channel *channel, enum error error);
};

/* Makes a channel and starts to connect. *out: ended with rpc_channel_close. ERROR_INVALID (address
 * or certificate), ERROR_NO_MEMORY, ERROR_FULL (descriptors): sentence in why. */
enum error rpc_channel_open(struct rpc_channel **out, const struct rpc_channel_options *options,
                            struct error_text *why);

/* Ends every open call with CANCELLED (closures run before this returns), and does not wait for the
 * network: another thread then disconnects, at once unless it is just connecting. The last bytes are
 * freed when that is done and the tasks that it has in the queue have run. May be called from closures
 * and callbacks, also its own: nothing more is told after it. A call that such a closure makes on this
 * channel ends CANCELLED at once. NULL is allowed. */
void rpc_channel_close(struct rpc_channel *channel);

bool rpc_channel_is_connected(const struct rpc_channel *channel);

/* What is wrong where an attempt to connect reached the peer and failed there: its certificate, TLS
 * on one side only, another program. A sentence without its end that follows "ADDRESS: ", valid until
 * the owner runs its queue; NULL: the latest attempt did not get that far, or it is connected. Set
 * before refused is called. */
const char *rpc_channel_problem(const struct rpc_channel *channel);

const struct address *rpc_channel_address(const struct rpc_channel *channel);
/* How many addresses the host had when it was dialled last. Where there are several, each may be that
 * of another server: rpc_channel_reconnect goes on to the next. */
size_t rpc_channel_addresses(const struct rpc_channel *channel);
size_t rpc_channel_open_calls(const struct rpc_channel *channel);

/* Throws the connection away, which may be to a machine that is no longer there, and dials again;
 * calls under way end UNAVAILABLE when the owner runs its queue. The dial begins with the address after
 * the one that was in use, if the host has several. Without a connection it dials anew at once, but not
 * more often than every 250 ms. */
void rpc_channel_reconnect(struct rpc_channel *channel);

/* Sends what is buffered, if connected. At the end of each turn of the owner. */
void rpc_channel_flush(struct rpc_channel *channel);

/* Ends calls whose deadline has passed with DEADLINE_EXCEEDED. The server knows the deadline, too. */
void rpc_channel_tick(struct rpc_channel *channel, uint64_t monotonic_ms);

/* When rpc_channel_tick has something to do: a monotonic time in ms, or UINT64_MAX. */
uint64_t rpc_channel_next_tick(const struct rpc_channel *channel);

/* Gives up a call: its closure runs now with CANCELLED, the server is told. Unknown ids are
 * ignored (the call may just have ended). */
void rpc_channel_cancel(struct rpc_channel *channel, uint64_t call);

/* Allows the server to send `credits` more replies to an open stream. It counts at most
 * RPC_CREDITS_MAX that are not used: give more before so many have come, not after. */
void rpc_channel_credit(struct rpc_channel *channel, uint64_t call, uint32_t credits);

/* What every closure_data must point to: the channel fills it before it runs the closure. message
 * and master are borrowed for the duration of the closure, never NULL. A closure gets a NULL
 * message where status is not STATUS_OK. It runs once for a plain call; for a stream once per
 * reply, with more set on all but the last. */
struct rpc_result {
    enum status status;
    const char *message;
    const char *master;
    uint32_t retry_ms;
    uint64_t next_request; /* the request that the server expects instead; 0: it does not say */
    bool more;
};

/* A service bound to a channel, with what the next calls carry. May live on the stack. */
struct rpc_stub {
    ProtobufCService service; /* first: pass &stub.service to the generated functions */
    struct rpc_channel *channel;
    uint32_t timeout_ms;  /* 0: no deadline */
    uint32_t credits;     /* more than 1 asks for a stream; 0 is 1; at most RPC_CREDITS_MAX count */
    bool one_way;         /* see below */
    const uint8_t *token; /* borrowed during the call's making */
    size_t token_size;
    uint32_t resent; /* how often this request was sent before without an answer */
    uint64_t call;   /* set by invoke: the id for rpc_channel_cancel and _credit; 0: see below */
};

/* descriptor: generated, of a service. invoke: when the request cannot even be buffered (no memory,
 * request over request_bytes_max, too much buffered, channel closed), the closure runs at once, before
 * invoke returns, and call is 0.
 *
 * one_way: for what nobody waits for. The server handles it like any request and answers nothing;
 * the closure may be NULL and is never run, timeout_ms tells the server only, credits nothing. What
 * cannot be buffered, or is made while there is no connection, is dropped, and call is 0; what is
 * buffered keeps its order among the other requests, and is lost with the connection. */
void rpc_stub_init(struct rpc_stub *stub, struct rpc_channel *channel,
                   const ProtobufCServiceDescriptor *descriptor);

#endif
