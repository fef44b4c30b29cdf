/* SPDX-License-Identifier: MIT */
/* server.c - life of a server: sockets, services, timers, figures. */
#include "rpc/server_internal.h"

#include "base/clock.h"
#include "rpc/protocol.h"
#include "rpc/tls_engine.h"

#include <nng/protocol/reqrep0/rep.h>
#include <stdlib.h>
#include <string.h>

#define SEND_BUFFER_MESSAGES 8192 /* nng's largest */
#define RECEIVE_BUFFER_MESSAGES 1024

static struct rpc_server_options with_defaults(const struct rpc_server_options *options)
{
    struct rpc_server_options result = *options;
    if (result.frame_bytes_max == 0)
        result.frame_bytes_max = RPC_FRAME_BYTES_DEFAULT;
    if (result.waiting_calls_max == 0)
        result.waiting_calls_max = 16384;
    if (result.waiting_bytes_max == 0)
        result.waiting_bytes_max = 64u * 1024u * 1024u;
    if (result.peers_max == 0)
        result.peers_max = 10000;
    if (result.peer_calls_max == 0)
        result.peer_calls_max = 4096;
    return result;
}

static enum error open_socket(struct rpc_server *server)
{
    int result = nng_rep0_open_raw(&server->socket);
    if (result != 0)
        return transport_error(result);
    server->open = true;
    result = nng_socket_set_size(server->socket, NNG_OPT_RECVMAXSZ,
                                 server->options.frame_bytes_max + HEADER_BYTES_MAX);
    if (result == 0)
        result = nng_socket_set_int(server->socket, NNG_OPT_SENDBUF, SEND_BUFFER_MESSAGES);
    if (result == 0)
        result = nng_socket_set_int(server->socket, NNG_OPT_RECVBUF, RECEIVE_BUFFER_MESSAGES);
    if (result == 0)
        result = nng_aio_alloc(&server->send_aio, NULL, NULL);
    if (result == 0)
        result = nng_aio_alloc(&server->reject_aio, NULL, NULL);
    if (result != 0)
        return transport_error(result);
    /* nng's threads must not wait for each other, so a message that cannot be queued at once is not
     * sent. */
    nng_aio_set_timeout(server->reject_aio, NNG_DURATION_ZERO);
    return peer_watch(server);
}

enum error rpc_server_new(struct rpc_server **out, const struct rpc_server_options *options,
                          struct error_text *why)
{
    struct rpc_server *server = calloc(1, sizeof *server);
    if (server == NULL)
        return error_set(why, ERROR_NO_MEMORY, "out of memory");
    server->options = with_defaults(options);
    connections_init(&server->connections);
    server->owner = pthread_self();
    server->bound = options->address;
    server->now_ms = clock_monotonic_ms();
    enum error error = open_socket(server);
    if (error != OK) {
        rpc_server_free(server);
        return error_set(why, error, "open a socket: %s", error_name(error));
    }
    *out = server;
    return OK;
}

enum error rpc_server_add(struct rpc_server *server, ProtobufCService *service,
                          const struct rpc_method_limit *limits)
{
    if (server->service_count == SERVICES_MAX)
        return ERROR_FULL;
    server->services[server->service_count++] =
        (struct service_entry){.service = service, .limits = limits};
    return OK;
}

/* nng's thread. */
static void on_failed_handshake(void *context, const struct handshake_failure *failure)
{
    struct rpc_server *server = context;
    handshake_log(server->bound.port, failure);
}

static struct tls_files tls_files_of(const struct rpc_server *server)
{
    return (struct tls_files){.certificate = server->options.tls_certificate,
                              .key = server->options.tls_key};
}

static enum error set_up_tls(struct rpc_server *server, struct error_text *why)
{
    const struct tls_files files = tls_files_of(server);
    enum error error = OK;
    if (server->tls == NULL)
        error = transport_tls_open(&server->tls, &files, NULL, on_failed_handshake, server, why);
    if (error == OK)
        error = transport_tls_listener(server->listener, server->tls, why);
    return error;
}

enum error rpc_server_reread_tls(struct rpc_server *server, struct error_text *why)
{
    const struct tls_files files = tls_files_of(server);
    return server->tls == NULL ? OK : transport_tls_reread(server->tls, &files, why);
}

static enum error start_listener(struct rpc_server *server, struct error_text *why)
{
    char text[ADDRESS_TEXT_SIZE];
    address_format(&server->options.address, text);
    if (server->options.address.tls) {
        enum error error = set_up_tls(server, why);
        if (error != OK)
            return error;
    }
    int result = nng_listener_start(server->listener, 0);
    return result == 0 ? OK : transport_explain_listen(result, text, why);
}

static void watch_handshakes(struct rpc_server *server)
{
    if (server->options.address.tls)
        return; /* the TLS endpoint tells */
    server->handshake_watch = (struct handshake_watch){.listens = true,
                                                       .address = &server->bound,
                                                       .context = server,
                                                       .failed = on_failed_handshake};
    handshake_watch(&server->handshake_watch);
}

static enum error listen_on(struct rpc_server *server, const char *host, struct error_text *why)
{
    char url[ADDRESS_TEXT_SIZE];
    char text[ADDRESS_TEXT_SIZE];
    struct address address = server->options.address;
    address_format(&address, text);
    memmove(address.host, host, strlen(host) + 1);
    address.port = server->bound.port;
    address_listen_url(&address, url);
    int result = nng_listener_create(&server->listener, server->socket, url);
    if (result != 0)
        return transport_explain_listen(result, text, why);
    enum error error = start_listener(server, why);
    if (error != OK) {
        (void)nng_listener_close(server->listener);
        return error;
    }
    server->bound.port = transport_bound_port(server->listener, server->bound.port);
    return OK;
}

enum error rpc_server_listen(struct rpc_server *server, struct error_text *why)
{
    const char *hosts[LISTEN_HOSTS_MAX];
    size_t count = transport_listen_hosts(&server->options.address, hosts);
    if (server->receiver.aio == NULL) {
        enum error error =
            transport_receiver_start(&server->receiver, server->socket, inbound_receive, server);
        if (error != OK)
            return error_set(why, error, "receive: %s", error_name(error));
    }
    server->bound.port = server->options.address.port;
    enum error error = listen_on(server, hosts[0], why);
    for (size_t i = 1; i < count && transport_listen_goes_on(error); i++)
        error = listen_on(server, hosts[i], why);
    if (error == OK)
        watch_handshakes(server);
    return error;
}

void rpc_server_address(const struct rpc_server *server, struct address *out)
{
    *out = server->bound;
}

void rpc_server_flush(struct rpc_server *server)
{
    while (server->dirty != NULL) {
        struct rpc_peer *peer = server->dirty;
        server->dirty = peer->next_dirty;
        peer->dirty = false;
        peer_flush(peer, server);
    }
}

/* Walks over calls keep their cursor in the server: a handler may end its call and any others, and
 * finish_call advances the cursor. */

static void cancel_late_calls(struct rpc_server *server)
{
    server->timed_cursor = server->timed;
    while (server->timed_cursor != NULL) {
        struct rpc_call *call = server->timed_cursor;
        server->timed_cursor = call->next_timed;
        if (server->now_ms >= call->deadline_ms)
            call_cancel(call);
    }
}

void rpc_server_tick(struct rpc_server *server, uint64_t monotonic_ms)
{
    if (monotonic_ms > server->now_ms)
        server->now_ms = monotonic_ms;
    cancel_late_calls(server);
    peer_tick(server);
}

void rpc_server_drain(struct rpc_server *server, const char *text)
{
    server->drain_text = text;
    /* The listener stays: with it nng would close its connections. */
    atomic_store(&server->turns_away, true);
}

void rpc_server_mute(struct rpc_server *server)
{
    server->is_mute = true;
}

void rpc_server_cancel_all(struct rpc_server *server)
{
    struct rpc_peer *peer;
    struct rpc_peer *next_peer;
    HASH_ITER(hh, server->peers, peer, next_peer) {
        server->cursor = peer->calls;
        while (server->cursor != NULL) {
            struct rpc_call *call = server->cursor;
            server->cursor = call->next;
            call_cancel(call);
        }
    }
}

void server_release(struct rpc_server *server)
{
    if (!server->closed || server->open_calls > 0)
        return;
    connections_release(&server->connections);
    free(server);
}

void rpc_server_free(struct rpc_server *server)
{
    if (server == NULL)
        return;
    server->closing = true;
    handshake_forget(&server->handshake_watch);
    tls_endpoint_close(server->tls);
    transport_receiver_release(&server->receiver);
    bool is_closed = true;
    if (server->open) {
        is_closed =
            connections_close(&server->connections, server->socket, server->options.address.tls);
        /* Tasks of nng's threads refer to this server. */
        (void)task_queue_run(server->options.queue, SIZE_MAX);
    }
    peer_free_all(server);
    if (server->send_aio != NULL)
        nng_aio_free(server->send_aio);
    if (server->reject_aio != NULL)
        nng_aio_free(server->reject_aio);
    server->closed = is_closed; /* else it stays for ever: nng may still call */
    server_release(server);
}

void rpc_server_stats(const struct rpc_server *server, struct rpc_server_stats *out)
{
    *out = (struct rpc_server_stats){
        .peers = HASH_COUNT(server->peers),
        .open_calls = server->open_calls,
        .frames_received = atomic_load(&server->frames_received),
        .calls_received = atomic_load(&server->calls_received),
        .calls_rejected = atomic_load(&server->calls_rejected),
        .frames_sent = server->frames_sent,
        .peers_kicked = atomic_load(&server->peers_kicked),
    };
}
