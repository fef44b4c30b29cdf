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
#include "rpc/connections.h"
#include "rpc/server.h"
#include "rpc/transport.h"
#include "spec.pb-c.h"

#include <pthread.h>
#include <stdatomic.h>
#include <uthash.h>

#define SERVICES_MAX 8
#define HEADER_BYTES_MAX 40 /* pipe id, up to 8 hops, request id */
#define PEER_TEXT_SIZE 64
#define RETRY_WHEN_FULL_MS 50u

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
    uint64_t looked_ms; /* when peer_tick last asked the kernel whether the connection has ended */
    bool has_ended;     /* by that look */
    bool ending;        /* the connection is being closed; it carries no more replies */
    struct rpc_call *calls; /* open ones, doubly linked */
    size_t call_count;
    nng_msg *output; /* replies not yet sent, or NULL */
    size_t output_envelopes;
    uint8_t output_header[HEADER_BYTES_MAX];
    size_t output_header_size;
    struct rpc_peer *next_dirty;
    bool dirty;
    bool gone; /* out of the table; its calls are being cancelled */
    UT_hash_handle hh;
};

/* A request from its decoding to its end, with its data in its own arena. So an open call holds no
 * memory of its frame. */
struct rpc_call {
    struct arena arena; /* holds this struct, too, unless kept */
    struct rpc_server *server;
    struct rpc_peer *peer; /* NULL: gone */
    uint64_t id;
    const uint8_t *header; /* the bytes that nng needs before a reply */
    size_t header_size;
    const uint8_t *token;
    size_t token_size;
    const struct service_entry *entry; /* NULL: refused while decoding */
    unsigned method;
    enum status early_status; /* not STATUS_OK: refused while decoding */
    const char *early_text;
    ProtobufCMessage *input;
    uint64_t deadline_ms; /* 0: none */
    uint32_t credits;
    uint32_t resent;
    struct log_position position; /* that the state of the reply must contain; */
    struct log_position shown;    /* that it has */
    char *peer_text;              /* of a forwarded call; else NULL */
    bool stream;
    bool one_way;
    bool cancelled;
    bool given_up; /* by its caller: no reply is sent */
    bool kept;     /* moved by rpc_call_keep into a block of its own, out of the arena */
    const char *master;
    uint64_t next_request; /* 0: none */
    struct rpc_call_watch watch;
    struct rpc_call *prev; /* among the peer's, */
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

/* One envelope of a frame, as the owner needs it. */
struct inbound_item {
    enum { ITEM_REQUEST, ITEM_CANCEL, ITEM_CREDIT } kind;
    uint32_t credits;
    uint64_t id;           /* CANCEL, CREDIT: of the open call */
    struct rpc_call *call; /* REQUEST: owned until it is dispatched; NULL: answered already */
};

/* A frame that was received, on its way to the owner. */
struct inbound {
    struct task task; /* first */
    struct rpc_server *server;
    uint32_t peer_id;
    size_t request_count;
    size_t waiting_calls; /* its part of the server's waiting_calls */
    size_t waiting_bytes;
    size_t item_count;
    struct inbound_item items[]; /* in the order of the frame */
};

struct rpc_server {
    struct rpc_server_options options;
    pthread_t owner;
    nng_socket socket;
    nng_listener listener; /* id 0: none */
    bool open;
    struct tls_endpoint *tls; /* NULL: the address is plain, or it does not listen yet */
    struct handshake_watch handshake_watch;
    struct receiver receiver;
    nng_aio *send_aio;   /* owner's */
    nng_aio *reject_aio; /* the receiver callback's */
    struct service_entry services[SERVICES_MAX];
    size_t service_count;
    struct address bound;

    /* Owner's. */
    struct rpc_peer *peers; /* hash by id */
    struct rpc_peer *dirty;
    struct rpc_call *timed;
    size_t open_calls;
    struct rpc_call *cursor;       /* where a walk over a peer's calls goes on, */
    struct rpc_call *timed_cursor; /* and one over those with a deadline */
    uint64_t now_ms;
    uint64_t frames_sent;
    const char *drain_text; /* not NULL: draining */
    bool closing;
    bool is_mute; /* sends no replies */
    bool closed;  /* lives on for its open calls */

    /* The receiver callback's. */
    uint32_t last_kicked;

    struct connections connections;
    atomic_bool turns_away;    /* new connections */
    atomic_size_t lost_events; /* connections that ended without memory to tell the owner */
    atomic_size_t waiting_calls;
    atomic_size_t waiting_bytes;
    atomic_uint_fast64_t frames_received;
    atomic_uint_fast64_t calls_received;
    atomic_uint_fast64_t calls_rejected;
    atomic_uint_fast64_t peers_kicked;
};

/* inbound.c */
void inbound_receive(void *server, nng_msg *message);
/* Decodes a message (borrowed) for inbound_receive. On ERROR_INVALID, ERROR_TOO_LARGE and
 * ERROR_NO_MEMORY *out is unchanged. Reads only services and options of the server. *out: ended
 * with inbound_release. */
enum error inbound_decode(struct rpc_server *server, nng_msg *message, struct inbound **out);
void inbound_release(struct inbound *inbound);

/* peer.c */
enum error peer_watch(struct rpc_server *server);
struct rpc_peer *peer_find(struct rpc_server *server, uint32_t id);
void peer_append(struct rpc_peer *peer, const struct rpc_call *call, const Jackdaw__Envelope *head,
                 const struct rpc_chunk *chunks, size_t count);
void peer_flush(struct rpc_peer *peer, struct rpc_server *server);
void peer_tick(struct rpc_server *server);
void peer_free_all(struct rpc_server *server);

/* call.c */
/* Creates an unlinked call with its own copy of the header and of the envelope's fields. NULL
 * without memory. */
struct rpc_call *call_new(struct rpc_server *server, const Jackdaw__Envelope *envelope,
                          const void *header, size_t header_size);
void call_free(struct rpc_call *call); /* the call must not be linked */
void call_dispatch(struct rpc_call *call, struct rpc_peer *peer);
void call_cancel(struct rpc_call *call);
void call_leave_peer(struct rpc_call *call); /* whose connection has ended */
void call_credit(struct rpc_call *call, uint32_t credits);

/* server.c */
void server_release(struct rpc_server *server); /* frees one that is closed and has no open calls */

#endif
