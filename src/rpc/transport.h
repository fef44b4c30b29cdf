/* SPDX-License-Identifier: MIT */
/* transport.h - what channel, server and feed share of nng: error codes, addresses, sending,
 * receiving. Private to src/rpc, the only folder that includes nng. */
#ifndef JACKDAW_RPC_TRANSPORT_H
#define JACKDAW_RPC_TRANSPORT_H

#include "base/address.h"
#include "base/error.h"
#include "rpc/handshake.h"

#include <nng/nng.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* The enum error for a result of nng's; OK for 0. */
enum error transport_error(int nng_result);

/* The text of a result of nng's, for users. The text covers the system's and the resolver's errors,
 * which nng_strerror knows by number only. Valid until the next call in this thread. */
const char *transport_problem(int nng_result);

/* Writes the peer's "ip:port", "[v6]:port" or, when it has gone, "?". */
void transport_peer_text(nng_pipe pipe, char *text, size_t size);

/* The same of this end. */
void transport_own_text(nng_pipe pipe, char *text, size_t size);

/* A sentence in why for what nng_listener_create or _start answered; address: as people write it. */
enum error transport_explain_listen(int nng_result, const char *address, struct error_text *why);

/* Which hosts to listen on for an address, in turn: as many as it returns are written to hosts (borrowed).
 * An empty host is "::", which takes connections by IPv6 and by IPv4, and "0.0.0.0" after it. */
#define LISTEN_HOSTS_MAX 2
size_t transport_listen_hosts(const struct address *address, const char *hosts[LISTEN_HOSTS_MAX]);

/* Whether the next of these hosts is to be listened on after one, with its result. Where there is no
 * IPv6, or where "::" leaves IPv4 out (net.ipv6.bindv6only), "0.0.0.0" follows. */
bool transport_listen_goes_on(enum error error);

/* The port that a started listener has; port where nng does not tell. */
uint16_t transport_bound_port(nng_listener listener, uint16_t port);

/* Starts a detached thread in which all signals are blocked: they are for the threads of the program. */
bool transport_start_thread(void *(*run)(void *), void *argument);

/* Sends a message that has its header; takes it. Waits until it is queued: never long, since queues
 * that are full drop. One aio per thread. false: dropped. */
bool transport_send(nng_socket socket, nng_aio *aio, nng_msg *message);

/* Where TLS credentials are; a client has the authority only, a server the other two. PEM files. */
struct tls_files {
    const char *authority;   /* client: authority of the server's certificate */
    const char *certificate; /* server */
    const char *key;         /* server */
};
struct tls_endpoint;

/* Reads and checks the files, and makes an endpoint for one listener (server_name NULL) or dialler
 * (the name that the server's certificate must carry). failed, context: see handshake.h. *out: ended
 * with tls_endpoint_close. Logs a warning where a certificate is expired or not valid yet, or
 * others may read the key. ERROR_INVALID (no PEM, an encrypted key), ERROR_MISMATCH (the key belongs
 * to another certificate), errors of reading: sentence in why. */
enum error transport_tls_open(struct tls_endpoint **out, const struct tls_files *files,
                              const char *server_name, handshake_failed *failed, void *context,
                              struct error_text *why);

/* Reads the files again for the handshakes to come. The same errors; the old ones stay in use. */
enum error transport_tls_reread(struct tls_endpoint *endpoint, const struct tls_files *files,
                                struct error_text *why);

/* Before the listener, or dialler, is started. */
enum error transport_tls_listener(nng_listener listener, struct tls_endpoint *endpoint,
                                  struct error_text *why);
enum error transport_tls_dialer(nng_dialer dialer, struct tls_endpoint *endpoint,
                                struct error_text *why);

/* A socket's receiving end. One aio with one callback at a time keeps the peer's order. A drain
 * loop takes a burst of messages with one wake-up. */
struct receiver {
    nng_socket socket;
    nng_aio *aio;      /* waits for the first message of a burst */
    nng_aio *poll_aio; /* takes the rest, without waiting; used inside the callback only */
    void *context;
    void (*take)(void *context, nng_msg *message); /* owns message; on one of nng's threads */
};
enum error transport_receiver_start(struct receiver *receiver, nng_socket socket,
                                    void (*take)(void *context, nng_msg *message), void *context);
/* Waits for the callback and frees. Before the socket is closed: nng leaves an aio that begins to
 * receive while its socket closes on a queue that is then freed. Also for one never started. */
void transport_receiver_release(struct receiver *receiver);

#endif
