/* SPDX-License-Identifier: MIT */
/* channel_internal.h - the parts of a channel, shared by channel.c, channel_calls.c,
 * channel_output.c and channel_input.c.
 *
 *   owner's thread                                        | nng's threads
 *   channel_calls, channel_output: flush                 -> nng sends a frame
 *   channel_output: credits, flush                       <- channel_output: the frame was sent
 *   channel_input: closures, connected, disconnected ... <- channel_input: decode, report
 *
 * A task in the owner's queue holds a reference to the channel, because a closure may close it.
 * Private to src/rpc. The owner's thread, where nothing else is said. */
#ifndef JACKDAW_RPC_CHANNEL_INTERNAL_H
#define JACKDAW_RPC_CHANNEL_INTERNAL_H

#include "rpc/channel.h"
#include "rpc/connections.h"
#include "rpc/handshake.h"
#include "rpc/transport.h"
#include "rpc/wire.h"
#include "spec.pb-c.h"

#include <nng/nng.h>
#include <stdatomic.h>
#include <uthash.h>

#define OUTPUT_FRAMES_MAX 64u /* waiting; beyond: RESOURCE_EXHAUSTED */

struct channel_call {
    uint64_t id;           /* key; 0 after the table ran out of memory */
    uint64_t deadline_ms;  /* monotonic; UINT64_MAX: none */
    uint32_t credits_owed; /* granted, but the output was full */
    const ProtobufCMessageDescriptor *output;
    ProtobufCClosure closure;
    struct rpc_result *result; /* the caller's: the closure's data */
    UT_hash_handle hh;
};

/* The open calls. */
struct channel_calls {
    struct channel_call *table;       /* hash by id, in the order of making */
    struct channel_call *tick_cursor; /* where rpc_channel_tick goes on */
    uint64_t last_id;
    uint64_t next_deadline_ms; /* no call ends earlier */
    bool owes_credits;         /* some call has credits_owed */
};

/* The frames that wait for the connection. The last one takes further envelopes. */
struct channel_output {
    nng_aio *aio;
    struct task sent; /* pushed by the aio's callback; only while sending */
    bool sending;
    nng_msg *frames[OUTPUT_FRAMES_MAX];
    size_t envelopes[OUTPUT_FRAMES_MAX];
    size_t count;
};

struct rpc_channel {
    struct rpc_channel_options options;
    nng_socket socket;
    bool open;
    bool closing;
    struct dial *dial;
    struct connections connections;
    atomic_size_t references; /* the owner's and one for each of our tasks in the queue */
    struct tls_endpoint *tls; /* NULL: the address is plain */
    struct handshake_watch handshake_watch;
    char problem[HANDSHAKE_TEXT_SIZE]; /* of the latest attempt; "": none */
    struct receiver receiver;
    uint32_t pipe;               /* nng's id of the connection; 0: none */
    atomic_bool lost_event;      /* a connection ended without memory to tell the owner */
    atomic_size_t waiting_bytes; /* memory of frames that the owner has not run yet */
    uint64_t now_ms;             /* the time of the latest rpc_channel_tick */
    bool ticking;
    struct channel_calls calls;
    struct channel_output output;
};

/* ---- channel.c ---- */

/* Take and return a reference. The last one frees the channel. Any thread. */
void channel_hold(struct rpc_channel *channel);
void channel_release(struct rpc_channel *channel);

/* ---- channel_calls.c: the calls from their making to their end ---- */

/* Returns a result with a status and a message (borrowed), and without advice. */
struct rpc_result channel_failure(enum status status, const char *message);

/* NULL: no open call has this id. */
struct channel_call *channel_calls_find(const struct channel_calls *calls, uint64_t id);

/* Removes and frees a call without running its closure. */
void channel_calls_forget(struct channel_calls *calls, struct channel_call *call);

/* Removes and frees a call, and runs its closure with outcome and a NULL reply. */
void channel_calls_end(struct channel_calls *calls, struct channel_call *call,
                       const struct rpc_result *outcome);

/* Ends the existing calls, not calls that closures add. message: borrowed. */
void channel_calls_end_all(struct channel_calls *calls, enum status status, const char *message);

/* Grants the credits that did not fit while the output was full. */
void channel_calls_pay_credits(struct rpc_channel *channel);

/* ---- channel_output.c: frames on their way to the server ---- */

/* Prepares sending on the channel's socket. Returns nng's result. */
int channel_output_start(struct rpc_channel *channel);

/* Ends sending. The frames that wait remain. Also for an output that was never started. */
void channel_output_stop(struct channel_output *output);

/* Frees the frames that wait. */
void channel_output_drop(struct channel_output *output);

/* Cancels the frame that is being sent and frees the others: the connection is lost. */
void channel_output_reset(struct channel_output *output);

/* Appends an envelope with the payload of count chunks (borrowed) to the frames. ERROR_TOO_LARGE
 * (over request_bytes_max), ERROR_FULL (OUTPUT_FRAMES_MAX wait), ERROR_NO_MEMORY. */
enum error channel_output_append(struct rpc_channel *channel, const Jackdaw__Envelope *head,
                                 const struct rpc_chunk *payload, size_t count);

/* Appends a CANCEL or CREDIT for a call. Errors as above. */
enum error channel_output_control(struct rpc_channel *channel, Jackdaw__Envelope__Kind kind,
                                  uint64_t call, uint32_t credits);

/* ---- channel_input.c: reports of nng's threads, and their handling ---- */

/* The callbacks of the receiver, of nng_pipe_notify, of the dial and of the handshakes; context is
 * the channel. nng's threads and the dial's. */
void channel_input_message(void *context, nng_msg *message);
void channel_input_pipe(nng_pipe pipe, nng_pipe_ev what, void *context);
void channel_input_failed_dial(void *context, enum error error);
void channel_input_failed_handshake(void *context, const struct handshake_failure *failure);

/* Ends the open calls with UNAVAILABLE and calls disconnected. */
void channel_input_lose_connection(struct rpc_channel *channel);

#endif
