/* SPDX-License-Identifier: MIT */
/* server.h - answers calls: any ProtobufCService, over raw-mode nng REP on TCP or TLS.
 *
 * nng's threads receive and decode; every handler runs on the owner's thread, when it runs its
 * task_queue. A handler answers at once or later, once or (streaming) many times, through its
 * struct rpc_call. Replies wait in a buffer per peer until rpc_server_flush, so that the replies of
 * one turn to one peer share a frame. The owner flushes at the end of each turn.
 *
 * The server bounds the frame size before reading, envelopes per frame, memory while decoding, and
 * the request size per method. The server also bounds connections, their silence, their open calls, and the
 * calls and bytes that wait for the owner. Above the last bound a call gets RESOURCE_EXHAUSTED at
 * once. The server logs and disconnects a peer that sends an invalid frame. A connection that ends
 * in the TLS handshake, or speaks another protocol, is logged, at most once a minute for each host
 * and cause. nng holds at most 64 frames for a peer that does not read; it drops further ones
 * silently. So a caller treats a lost reply like a lost request. */
#ifndef JACKDAW_RPC_SERVER_H
#define JACKDAW_RPC_SERVER_H

#include "base/address.h"
#include "base/arena.h"
#include "base/error.h"
#include "base/log_entry.h"
#include "base/status.h"
#include "base/task_queue.h"

#include <protobuf-c/protobuf-c.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct rpc_server;
struct rpc_call;

struct rpc_server_options {
    struct address address;      /* where to listen; port 0: the kernel picks */
    struct task_queue *queue;    /* the owner's; must outlive the server */
    size_t frame_bytes_max;      /* 0: RPC_FRAME_BYTES_DEFAULT */
    size_t waiting_calls_max;    /* received, not yet run; 0: 16384 */
    size_t waiting_bytes_max;    /* memory that those take; 0: 64 MiB */
    size_t peers_max;            /* connections; 0: 10000 */
    size_t peer_calls_max;       /* open calls of one connection; 0: 4096 */
    uint32_t idle_ms;            /* a peer silent for longer is disconnected; 0: never */
    const char *tls_certificate; /* PEM file with certificate and chain, where address.tls */
    const char *tls_key;         /* PEM file */
    /* Asked on the owner's thread about every request, after all refusals of the server's own and
     * before its handler; NULL: none. true: the handler is to have it. false: the hook has taken
     * the call in the handler's place, and ends it, then or later, or has ended it. A forwarder
     * needs service and method (of the descriptor), input (until the call's end), the token,
     * credits, the remaining time, and a watch. */
    bool (*admit)(void *context, struct rpc_call *call, const ProtobufCService *service,
                  unsigned method, const ProtobufCMessage *input);
    void *admit_context;
};

/* Bound of one method, in bytes of its packed request; other methods have 4096. */
struct rpc_method_limit {
    const char *method; /* NULL ends a list */
    size_t request_bytes;
};

/* Makes a server that does not listen yet. *out: ended with rpc_server_free. */
enum error rpc_server_new(struct rpc_server **out, const struct rpc_server_options *options,
                          struct error_text *why);

/* Registers a service before rpc_server_listen: service (borrowed, must outlive the server) is
 * found by its descriptor's name. limits (borrowed): NULL-terminated, or NULL. */
enum error rpc_server_add(struct rpc_server *server, ProtobufCService *service,
                          const struct rpc_method_limit *limits);

/* Starts to listen. ERROR_IN_USE: another process has the address; ERROR_DENIED, ERROR_NOT_FOUND
 * (no such host or interface), ERROR_INVALID (certificate or key), ERROR_MISMATCH (the key belongs to
 * another certificate): sentence in why. May be called again after an error. */
enum error rpc_server_listen(struct rpc_server *server, struct error_text *why);

/* Reads the files of certificate and key again: handshakes to come use them, connections go on.
 * ERROR_INVALID, ERROR_MISMATCH (the key belongs to another certificate), errors of reading: sentence
 * in why, and those in use stay in use. OK also for a server without TLS. Owner's thread. */
enum error rpc_server_reread_tls(struct rpc_server *server, struct error_text *why);

/* Where it listens, with the port that the kernel picked. */
void rpc_server_address(const struct rpc_server *server, struct address *out);

/* Sends what is buffered. Owner's thread, at the end of each turn. */
void rpc_server_flush(struct rpc_server *server);

/* Cancels calls whose deadline has passed and disconnects idle peers. Owner's thread, every 100 ms
 * or so. */
void rpc_server_tick(struct rpc_server *server, uint64_t monotonic_ms);

/* Turns away new connections and answers every further request UNAVAILABLE with text (borrowed,
 * until rpc_server_free). Connections and open calls stay open: their handlers end them. Owner's
 * thread. */
void rpc_server_drain(struct rpc_server *server, const char *text);

/* From now on no reply is sent. For a copy of the process that shares its connections. */
void rpc_server_mute(struct rpc_server *server);

/* Cancels every open call. Handlers are expected to end them, then or later. */
void rpc_server_cancel_all(struct rpc_server *server);

/* Closes all connections, cancels the calls that are still open, and runs what is in the queue
 * (what nng's threads had pushed refers to the server). Open calls are dead after it: their
 * handlers end them as usual, from any thread, and the server sends nothing. The end of the last
 * call frees the server, so the owner runs its queue until then. NULL is allowed. Owner's thread,
 * never from a handler. */
void rpc_server_free(struct rpc_server *server);

struct rpc_server_stats {
    size_t peers;
    size_t open_calls;
    uint64_t frames_received;
    uint64_t calls_received; /* with the rejected ones */
    uint64_t calls_rejected; /* RESOURCE_EXHAUSTED: too many waited, or were open */
    uint64_t frames_sent;
    uint64_t peers_kicked; /* idle, one too many, or sent garbage */
};
void rpc_server_stats(const struct rpc_server *server, struct rpc_server_stats *out);

/* ---- a call, as its handler sees it ----
 *
 * In a generated handler (service, input, closure, closure_data), closure_data is the struct
 * rpc_call, and closure(reply, closure_data) is the same as rpc_call_reply. input and what it
 * points to live until the call is ended. Every call must be ended exactly once, by
 * rpc_call_reply, rpc_call_fail or the closure, also after it was cancelled.
 *
 * rpc_call_reply, rpc_call_fail and the closure: any thread. All else: the owner's. */

/* Ends the call with reply (borrowed, packed before return). */
void rpc_call_reply(struct rpc_call *call, const ProtobufCMessage *reply);

/* Ends the call with a status other than OK and a sentence for people (borrowed; NULL is ""), valid
 * UTF-8. retry_ms not 0: the same request may succeed after that long. */
void rpc_call_fail(struct rpc_call *call, enum status status, uint32_t retry_ms, const char *text);

/* Names the server that should be asked instead, for the rpc_call_fail that follows, also late. */
void rpc_call_redirect(struct rpc_call *call, const char *master);

/* Names the request that is expected instead, for the rpc_call_fail that follows, also late. */
void rpc_call_expect(struct rpc_call *call, uint64_t next_request);

/* Names the position of the state that the reply shows, for the reply that ends the call, also
 * late. */
void rpc_call_show(struct rpc_call *call, struct log_position position);

/* Bytes that were packed before; several of them make one message, because concatenated protobuf
 * messages merge. */
struct rpc_chunk {
    const void *bytes;
    size_t size;
};

/* Streaming: sends one reply (the chunks together) and keeps the call open. Uses one credit; false
 * and nothing sent when there is none left or the call is cancelled. */
bool rpc_call_send(struct rpc_call *call, const struct rpc_chunk *chunks, size_t count);
/* As above, but ends the call: the only reply of a long poll. Needs no credit. */
void rpc_call_finish(struct rpc_call *call, const struct rpc_chunk *chunks, size_t count);

/* How many more replies rpc_call_send may send now. */
uint32_t rpc_call_credits(const struct rpc_call *call);

/* Whether the caller asked for a stream (more than one credit). */
bool rpc_call_is_stream(const struct rpc_call *call);

/* Whether nobody waits for an answer from the start: it is to be ended like any call, and nothing
 * is sent. A plain call has no credits. */
bool rpc_call_is_one_way(const struct rpc_call *call);

/* How often its caller has sent this request before and got no answer, because a connection broke or
 * its time was over. The caller's word. */
uint32_t rpc_call_resent(const struct rpc_call *call);

/* The position that the state of the reply must contain. The caller's word; (0, 0): none. */
struct log_position rpc_call_position(const struct rpc_call *call);

/* Whether another server forwards the call for its own client. The caller's word. */
bool rpc_call_is_forwarded(const struct rpc_call *call);

/* The name of its method. Valid until the call is ended. */
const char *rpc_call_method(const struct rpc_call *call);

/* Runs the handler of a call that the hook `admit` has taken. */
void rpc_call_hand_over(struct rpc_call *call);

/* The remaining time of the caller, at least 1; 0: the request has no deadline. */
uint32_t rpc_call_timeout_ms(const struct rpc_call *call);

/* Events of an open call, called on the owner's thread. Both functions may end this call and any
 * others; both may be NULL. cancelled: the peer has gone, it sent CANCEL, or the deadline has
 * passed; called once. credited: rpc_call_send may send again. */
struct rpc_call_watch {
    void *context;
    void (*cancelled)(void *context, struct rpc_call *call);
    void (*credited)(void *context, struct rpc_call *call);
};
void rpc_call_watch(struct rpc_call *call, const struct rpc_call_watch *watch);

/* For a call that stays open for long: frees the request, the token and all other data of the
 * request. Returns the call's new address; the old one is no longer valid. Without memory for it,
 * call itself is returned, with everything still there. */
struct rpc_call *rpc_call_keep(struct rpc_call *call);

/* The token in the envelope; *size 0 when there was none. Valid until the call is ended. */
const uint8_t *rpc_call_token(const struct rpc_call *call, size_t *size);

/* The call's own memory: it holds the request and lives until the call is ended. The budget of the
 * arena is the bound of a request of that size; a handler that needs more raises it. */
struct arena *rpc_call_arena(struct rpc_call *call);

/* The peer's address, for logs ("192.0.2.7:50100", "[2001:db8::7]:50100"). Of a forwarded call: the
 * address that the forwarding server names, and its own ("192.0.2.7:50100 via 10.0.0.2:41000"); the
 * first is the caller's word. Valid until the handler returns. */
const char *rpc_call_peer(const struct rpc_call *call);

/* Whether nobody waits for the answer any more. */
bool rpc_call_is_cancelled(const struct rpc_call *call);

#endif
