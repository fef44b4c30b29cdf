/* SPDX-License-Identifier: MIT */
/* peer.c - the table of connections, and the replies that wait to go out on each. */
#include "rpc/server_internal.h"

#include "base/clock.h"
#include "base/log_pace.h"
#include "rpc/protocol.h"
#include "rpc/wire.h"

#include <stdlib.h>
#include <string.h>

#undef uthash_nonfatal_oom
#define uthash_nonfatal_oom(element) ((element)->id = 0)

#define LOOK_MS 1000 /* of silence, and between two looks at the kernel's view of a connection */

/* A connection that came or went, on its way from nng's thread to the owner's. */
struct peer_event {
    struct task task;
    struct rpc_server *server;
    struct rpc_peer *added; /* NULL: removed */
    uint32_t id;
};

struct rpc_peer *peer_find(struct rpc_server *server, uint32_t id)
{
    struct rpc_peer *peer;
    HASH_FIND(hh, server->peers, &id, sizeof id, peer);
    return peer;
}

static void free_peer(struct rpc_peer *peer)
{
    if (peer->output != NULL)
        nng_msg_free(peer->output);
    free(peer);
}

static void drop_dirty(struct rpc_server *server, struct rpc_peer *peer)
{
    if (!peer->dirty)
        return;
    struct rpc_peer **link = &server->dirty;
    while (*link != peer)
        link = &(*link)->next_dirty;
    *link = peer->next_dirty;
    peer->dirty = false;
}

/* The calls of the peer stay with their handlers, without a peer. */
static void remove_peer(struct rpc_server *server, struct rpc_peer *peer)
{
    HASH_DELETE(hh, server->peers, peer);
    drop_dirty(server, peer);
    peer->gone = true; /* the handler of one call may answer the others */
    while (peer->calls != NULL) {
        struct rpc_call *call = peer->calls;
        call_leave_peer(call);
        call_cancel(call);
    }
    log_debug("rpc", "peer_gone", log_string("peer", peer->text));
    free_peer(peer);
}

static void add_peer(struct rpc_server *server, struct rpc_peer *peer)
{
    peer->last_heard_ms = clock_monotonic_ms();
    HASH_ADD(hh, server->peers, id, sizeof peer->id, peer);
    if (peer->id == 0) { /* no memory for the table */
        connections_end(peer->pipe, server->options.address.tls);
        free_peer(peer);
        return;
    }
    log_debug("rpc", "peer_connected", log_string("peer", peer->text));
}

static void run_event(struct task *task)
{
    struct peer_event *event = (struct peer_event *)task;
    struct rpc_server *server = event->server;
    if (event->added != NULL) {
        if (server->closing)
            free_peer(event->added);
        else
            add_peer(server, event->added);
    } else {
        struct rpc_peer *peer = peer_find(server, event->id);
        if (peer != NULL)
            remove_peer(server, peer);
    }
    free(event);
}

/* ---- nng's threads ---- */

static struct peer_event *new_event(struct rpc_server *server, nng_pipe pipe)
{
    struct peer_event *event = calloc(1, sizeof *event);
    if (event == NULL)
        return NULL;
    event->task.run = run_event;
    event->server = server;
    event->id = (uint32_t)nng_pipe_id(pipe);
    return event;
}

static void log_full(const struct rpc_server *server, nng_pipe pipe)
{
    char own[PEER_TEXT_SIZE];
    char peer[PEER_TEXT_SIZE];
    transport_own_text(pipe, own, sizeof own);
    transport_peer_text(pipe, peer, sizeof peer);
    log_warning_paced(own, "rpc", "connections_full", log_string("address", own),
                      log_string("peer", peer), log_number("max", server->options.peers_max),
                      log_string("hint", "this connection is turned away; see --max_clients"));
}

static void on_adding(struct rpc_server *server, nng_pipe pipe)
{
    struct peer_event *event = NULL;
    struct rpc_peer *peer = NULL;
    if (server->connections.count <= server->options.peers_max &&
        !atomic_load(&server->turns_away)) {
        event = new_event(server, pipe);
        peer = calloc(1, sizeof *peer);
    } else if (server->connections.count > server->options.peers_max) {
        log_full(server, pipe);
    }
    if (event == NULL || peer == NULL) {
        free(event);
        free(peer);
        (void)atomic_fetch_add(&server->peers_kicked, 1);
        (void)nng_pipe_close(pipe);
        return;
    }
    peer->id = event->id;
    peer->pipe = pipe;
    transport_peer_text(pipe, peer->text, sizeof peer->text);
    event->added = peer;
    task_queue_push(server->options.queue, &event->task);
}

static void on_removed(struct rpc_server *server, nng_pipe pipe)
{
    struct peer_event *event = new_event(server, pipe);
    if (event != NULL)
        task_queue_push(server->options.queue, &event->task);
    else
        (void)atomic_fetch_add(&server->lost_events, 1); /* peer_tick looks for it */
}

static void notify(nng_pipe pipe, nng_pipe_ev what, void *context)
{
    struct rpc_server *server = context;
    if (!connections_enter(&server->connections, pipe, what))
        return;
    /* Reported before the connection is used, so that the table has it before its first frame. */
    if (what == NNG_PIPE_EV_ADD_PRE)
        on_adding(server, pipe);
    else if (what == NNG_PIPE_EV_REM_POST)
        on_removed(server, pipe);
    connections_leave(&server->connections);
}

enum error peer_watch(struct rpc_server *server)
{
    int result = nng_pipe_notify(server->socket, NNG_PIPE_EV_ADD_PRE, notify, server);
    if (result == 0)
        result = nng_pipe_notify(server->socket, NNG_PIPE_EV_REM_POST, notify, server);
    return transport_error(result);
}

/* ---- output ---- */

void peer_flush(struct rpc_peer *peer, struct rpc_server *server)
{
    if (peer->output == NULL)
        return;
    nng_msg *message = peer->output;
    peer->output = NULL;
    if (peer->ending) {
        nng_msg_free(message);
        return;
    }
    server->frames_sent++;
    (void)transport_send(server->socket, server->send_aio, message);
}

static bool shares_frame(const struct rpc_peer *peer, const struct rpc_call *call, size_t size)
{
    return peer->output != NULL && peer->output_header_size == call->header_size &&
           memcmp(peer->output_header, call->header, call->header_size) == 0 &&
           peer->output_envelopes < RPC_ENVELOPES_MAX &&
           nng_msg_len(peer->output) + size <= RPC_JOINED_FRAME_BYTES;
}

static bool start_frame(struct rpc_peer *peer, const struct rpc_call *call, size_t size)
{
    nng_msg *message;
    if (nng_msg_alloc(&message, 0) != 0)
        return false;
    if (nng_msg_reserve(message, size) != 0 ||
        nng_msg_header_append(message, call->header, call->header_size) != 0) {
        nng_msg_free(message);
        return false;
    }
    ASSERT(call->header_size <= sizeof peer->output_header);
    memcpy(peer->output_header, call->header, call->header_size);
    peer->output_header_size = call->header_size;
    peer->output_envelopes = 0;
    peer->output = message;
    return true;
}

/* A send must not begin while nng closes a connection with TLS (connections.h). */
static void kick(struct rpc_server *server, struct rpc_peer *peer, const char *reason)
{
    if (peer->ending)
        return;
    peer->ending = true;
    (void)atomic_fetch_add(&server->peers_kicked, 1);
    log_info_paced(reason, "rpc", "peer_kicked", log_string("peer", peer->text),
                   log_string("reason", reason));
    connections_end(peer->pipe, server->options.address.tls); /* nng tells on_removed */
}

static bool append(struct rpc_peer *peer, const struct rpc_call *call,
                   const Jackdaw__Envelope *head, const struct rpc_chunk *chunks, size_t count)
{
    size_t size = wire_size(head, chunks, count);
    if (!shares_frame(peer, call, size)) {
        peer_flush(peer, call->server);
        if (!start_frame(peer, call, size))
            return false;
    }
    return wire_append(peer->output, head, chunks, count) == OK;
}

void peer_append(struct rpc_peer *peer, const struct rpc_call *call, const Jackdaw__Envelope *head,
                 const struct rpc_chunk *chunks, size_t count)
{
    struct rpc_server *server = call->server;
    if (peer->ending)
        return;
    if (!append(peer, call, head, chunks, count)) {
        kick(server, peer, "no memory to answer it");
        return;
    }
    peer->output_envelopes++;
    if (!peer->dirty) {
        peer->dirty = true;
        peer->next_dirty = server->dirty;
        server->dirty = peer;
    }
}

/* ---- connections that say nothing, and those that ended unheard ---- */

static bool is_silent(const struct rpc_server *server, const struct rpc_peer *peer, uint64_t ms)
{
    /* A peer may have been heard after the owner read its clock. */
    return server->now_ms > peer->last_heard_ms && server->now_ms - peer->last_heard_ms > ms;
}

/* nng's TLS transport reads ahead. If it reads the end of a connection while no operation waits for bytes, it
 * shuts the connection down and tells nobody. The kernel then knows no other side of it. */
static bool has_ended_unheard(const struct rpc_server *server, struct rpc_peer *peer)
{
    nng_sockaddr ignored;
    if (!server->options.address.tls || !is_silent(server, peer, LOOK_MS) ||
        server->now_ms - peer->looked_ms <= LOOK_MS)
        return false;
    peer->looked_ms = server->now_ms;
    bool had_ended = peer->has_ended; /* nng may just be about to tell */
    peer->has_ended = nng_pipe_get_addr(peer->pipe, NNG_OPT_REMADDR, &ignored) != 0;
    return had_ended && peer->has_ended;
}

static void kick_if_idle(struct rpc_server *server, struct rpc_peer *peer)
{
    if (has_ended_unheard(server, peer))
        kick(server, peer, "the connection has ended");
    else if (server->options.idle_ms != 0 && is_silent(server, peer, server->options.idle_ms))
        kick(server, peer, "silent for too long");
}

static bool is_gone(const struct rpc_peer *peer)
{
    nng_sockaddr ignored;
    return nng_pipe_get_addr(peer->pipe, NNG_OPT_REMADDR, &ignored) == NNG_ENOENT;
}

void peer_tick(struct rpc_server *server)
{
    bool look_for_lost = atomic_load(&server->lost_events) > 0;
    if (server->options.idle_ms == 0 && !look_for_lost && !server->options.address.tls)
        return;
    struct rpc_peer *peer;
    struct rpc_peer *next;
    HASH_ITER(hh, server->peers, peer, next) {
        if (look_for_lost && is_gone(peer)) {
            (void)atomic_fetch_sub(&server->lost_events, 1);
            look_for_lost = atomic_load(&server->lost_events) > 0;
            remove_peer(server, peer);
        } else {
            kick_if_idle(server, peer);
        }
    }
}

void peer_free_all(struct rpc_server *server)
{
    struct rpc_peer *peer;
    struct rpc_peer *next;
    HASH_ITER(hh, server->peers, peer, next) {
        remove_peer(server, peer);
    }
}
