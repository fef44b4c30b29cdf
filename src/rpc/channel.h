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
 * The channel connects automatically, and again after a loss, with a growing pause, to any address
 * of its host. A dial ends after 3 s. A call without a connection waits for one until its deadline.
 * If a connection is lost, its open calls end UNAVAILABLE at once. The channel never sends a call
 * twice: the caller decides about a retry.
 *
 * The socket is REQ in raw mode: request ids are the channel's, a call can have several replies,
 * and nng resends nothing by itself. All functions: the owner's thread. */
#ifndef JACKDAW_RPC_CHANNEL_H
#define JACKDAW_RPC_CHANNEL_H

#include "base/address.h"
#include "base/error.h"
#include "base/log_entry.h"
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
    /* Called on the owner's thread; may be NULL. */
    void (*connected)(void *context, struct rpc_channel *channel);
    void (*disconnected)(void *context, struct rpc_channel *channel);
    /* Called when an attempt to connect has failed with all addresses of the host. ERROR_REFUSED:
     * the machines answer, but no process listens. Other errors (ERROR_TIMEOUT, ERROR_NOT_FOUND,
     * ...): an address is unreachable. The first attempt after a loss comes within
     * reconnect_min_ms. The channel may leave out calls. */
    void (*refused)(void *context, struct rpc_channel *channel, enum error error);
};

/* Makes a channel and starts to connect. *out: ended with rpc_channel_close. ERROR_INVALID (address
 * or certificate), ERROR_NO_MEMORY, ERROR_FULL (descriptors): sentence in why. */
enum error rpc_channel_open(struct rpc_channel **out, const struct rpc_channel_options *options,
                            struct error_text *why);

/* Ends every open call with CANCELLED (closures run before this returns), and does not wait for the
 * network: another thread then disconnects, at once unless it is just connecting. The last bytes
 * are freed when that is done and the tasks that it has in the queue have run. May be called from
 * closures and callbacks, also its own. After it the channel calls no callback. A call that such a
 * closure makes on this channel ends CANCELLED at once. NULL is allowed. */
void rpc_channel_close(struct rpc_channel *channel);

bool rpc_channel_is_connected(const struct rpc_channel *channel);

/* Returns the reason why a connection to the peer failed: its certificate, TLS on one side only, or
 * another program. The text is a sentence without its end that follows "ADDRESS: ". The text is
 * valid until the owner runs its queue. NULL: the latest attempt did not reach the peer, or the
 * channel is connected. The channel sets the text before it calls refused. */
const char *rpc_channel_problem(const struct rpc_channel *channel);

/* The number of addresses that the host had at the last dial. If there are several, each may belong
 * to another server: rpc_channel_reconnect dials the next one. */
size_t rpc_channel_addresses(const struct rpc_channel *channel);
size_t rpc_channel_open_calls(const struct rpc_channel *channel);

/* Closes the connection, whose machine may be gone, and dials again. Open calls end UNAVAILABLE
 * when the owner runs its queue. If the host has several addresses, the dial begins with the
 * address after the last one. Without a connection the channel dials at once, but at most once in
 * 250 ms. */
void rpc_channel_reconnect(struct rpc_channel *channel);

/* If connected, sends the buffered requests. The owner calls it at the end of each turn. */
void rpc_channel_flush(struct rpc_channel *channel);

/* Ends calls whose deadline has passed with DEADLINE_EXCEEDED. The server knows the deadline, too. */
void rpc_channel_tick(struct rpc_channel *channel, uint64_t monotonic_ms);

/* The time of the next rpc_channel_tick: a monotonic time in ms, or UINT64_MAX. */
uint64_t rpc_channel_next_tick(const struct rpc_channel *channel);

/* Cancels a call: its closure runs now with CANCELLED, and the channel sends CANCEL to the server.
 * The function ignores an unknown id (the call may just have ended). */
void rpc_channel_cancel(struct rpc_channel *channel, uint64_t call);

/* Allows the server to send `credits` more replies to an open stream. The server counts at most
 * RPC_CREDITS_MAX unused credits, so the caller grants further ones in time. */
void rpc_channel_credit(struct rpc_channel *channel, uint64_t call, uint32_t credits);

/* The target of every closure_data: the channel fills it before it runs the closure. message and
 * master are borrowed for the duration of the closure, never NULL. If status is not STATUS_OK, the
 * closure gets a NULL reply. A closure runs once for a plain call. For a stream it runs once per
 * reply, with more set on all but the last. */
struct rpc_result {
    enum status status;
    const char *message;
    const char *master;
    uint32_t retry_ms;
    uint64_t next_request; /* the request that the server expects instead; 0: it does not say */
    struct log_position position; /* of the state that the reply shows; (0, 0): it does not say */
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
    uint32_t resent;              /* how often this request was sent before without an answer */
    struct log_position position; /* that the state of the reply must contain; (0, 0): any */
    const char *peer; /* borrowed during the call's making; of the client that the call is forwarded
                         for; NULL: the call is the owner's own */
    uint64_t call;    /* set by invoke: the id for rpc_channel_cancel and _credit; 0: see below */
};

/* descriptor: generated, of a service. invoke: when the request cannot even be buffered (no memory,
 * request over request_bytes_max, too much buffered, channel closed), the closure runs at once,
 * before invoke returns, and call is 0.
 *
 * one_way: the request is a note, which the server executes without a reply. The closure never runs
 * and may be NULL. timeout_ms counts at the server only, and credits has no meaning. If the note
 * cannot be buffered, or there is no connection, the channel drops it and call is 0. A buffered
 * note keeps its order among the other requests, and is lost with the connection. */
void rpc_stub_init(struct rpc_stub *stub, struct rpc_channel *channel,
                   const ProtobufCServiceDescriptor *descriptor);

#endif
