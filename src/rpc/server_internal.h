/* SPDX-License-Identifier: MIT */
/* server_internal.h - the parts of a server, shared by server.c, inbound.c, peer.c and call.c.
 *
 *   nng thread                      | owner's thread
 *   inbound_receive: decode, admit -> inbound_run: find peer, dispatch -> handler
 *   peer_notify: connections       -> peer_added, peer_removed
 *                                   | rpc_call_reply ... -> peer_append -> peer_flush -> nng
 */
#ifndef JACKDAW_RPC_SERVER_INTERNAL_H
#define JACKDAW_RPC_SERVER_INTERNAL_H

#include "base/arena.h"
#include "base/task_queue.h"
#include "rpc/server.h"
#include "rpc/transport.h"
#include "spec.pb-c.h"

#include <pthread.h>
#include <stdatomic.h>
#include <uthash.h>

#define SERVICES_MAX 8
#define HEADER_BYTES_MAX 40 /* pipe id, up to 8 hops, request id */
#define PEER_TEXT_SIZE 64

struct service_entry {
    ProtobufCService *service;
    const struct rpc_method_limit *limits;
};

/* One connection. Owner's thread, except for what peer_notify builds before handing it over. */
struct rpc_peer {
    uint32_t id; /* nng's pipe id: key */
    nng_pipe pipe;
    char text[PEER_TEXT_SIZE];
    uint64_t last_heard_ms;
    struct rpc_call *calls; /* open ones, doubly linked */
    nng_msg *output;        /* replies not yet sent, or NULL */
    uint8_t output_header[HEADER_BYTES_MAX];
    size_t output_header_size;
    struct rpc_peer *next_dirty;
    bool dirty;
    UT_hash_handle hh;
};

struct rpc_call {
    struct rpc_server *server;
    struct inbound *inbound; /* holds the memory, this call's included */
    struct rpc_peer *peer;   /* NULL: gone */
    uint64_t id;                       /* the caller's */
    const Jackdaw__Envelope *envelope; /* NULL once kept */
    const struct service_entry *entry; /* NULL: refused while decoding */
    unsigned method;
    ProtobufCMessage *input;
    enum status early_status; /* not STATUS_OK: refused while decoding */
    const char *early_text;
    uint64_t deadline_ms; /* 0: none */
    uint32_t credits;
    bool stream;
    bool cancelled;
    bool drained; /* refused because the server is shutting down */
    const char *master;
    struct rpc_call_watch watch;
    struct rpc_call *previous; /* among the peer's, */
    struct rpc_call *next;
    struct rpc_call *previous_timed; /* and among those with a deadline */
    struct rpc_call *next_timed;
    /* An answer from another thread, on its way to the owner's. */
    struct task late;
    enum status late_status;
    uint32_t late_retry_ms;
    uint8_t *late_bytes; /* malloc: packed reply, or the text of a failure */
    size_t late_size;
};

/* A frame that was received, with the calls in it. Lives until the last of them has ended. */
struct inbound {
    struct task task;
    struct rpc_server *server;
    struct arena arena;
    uint32_t peer_id;
    uint8_t header[HEADER_BYTES_MAX];
    size_t header_size;
    size_t bytes;
    size_t references;
    size_t request_count;
    Jackdaw__Frame *frame;
    struct rpc_call *calls; /* request_count of them, in the order of the frame */
};

struct rpc_server {
    struct rpc_server_options options;
    pthread_t owner;
    nng_socket socket;
    nng_listener listener;
    bool open;
    struct receiver receiver;
    nng_aio *send_aio;   /* owner's */
    nng_aio *reject_aio; /* the receiver callback's */
    struct service_entry services[SERVICES_MAX];
    size_t service_count;
    struct address bound;

    struct rpc_peer *peers; /* hash by id */
    struct rpc_peer *dirty;
    struct rpc_call *timed;
    uint64_t now_ms;
    const char *drain_text; /* not NULL: draining */
    atomic_bool draining;   /* the same for nng's threads: takes no connection any more */
    bool closing;
    uint64_t garbage_logged_ms;

    atomic_size_t connections; /* counted on nng's threads */
    atomic_size_t waiting_calls;
    atomic_size_t waiting_bytes;
    atomic_uint_fast64_t frames_received;
    atomic_uint_fast64_t calls_received;
    atomic_uint_fast64_t calls_rejected;
    atomic_uint_fast64_t peers_kicked;
    uint64_t frames_sent;
    size_t open_calls;
};

/* inbound.c */
void inbound_receive(void *server, nng_msg *message);
void inbound_release(struct inbound *inbound); /* one reference less */

/* peer.c */
enum error peer_watch(struct rpc_server *server);
struct rpc_peer *peer_find(struct rpc_server *server, uint32_t id);
void peer_append(struct rpc_peer *peer, struct rpc_server *server, const struct inbound *inbound,
                 const Jackdaw__Envelope *head, const struct rpc_chunk *chunks, size_t count);
void peer_flush(struct rpc_peer *peer, struct rpc_server *server);
void peer_kick(struct rpc_server *server, const struct rpc_peer *peer, const char *reason);
void peer_free_all(struct rpc_server *server);
/* Sends a message that has its header; takes it. Own aio per thread. */
void peer_transmit(nng_socket socket, nng_aio *aio, nng_msg *message);

/* call.c */
void call_dispatch(struct rpc_call *call);
void call_cancel(struct rpc_call *call);
void call_credit(struct rpc_call *call, uint32_t credits);

#endif
