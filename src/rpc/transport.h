/* SPDX-License-Identifier: MIT */
/* transport.h - what channel and server share of nng: error codes, addresses, receiving. Private to
 * src/rpc, the only folder that includes nng. */
#ifndef JACKDAW_RPC_TRANSPORT_H
#define JACKDAW_RPC_TRANSPORT_H

#include "base/address.h"
#include "base/error.h"

#include <nng/nng.h>
#include <stddef.h>

/* The enum error for a result of nng's; OK for 0. */
enum error transport_error(int nng_result);

/* Writes the peer's "ip:port", "[v6]:port" or, when it has gone, "?". */
void transport_peer_text(nng_pipe pipe, char *text, size_t size);

/* TLS settings for an endpoint; exactly one of the two is used. Files are PEM. */
struct tls_files {
    const char *authority;   /* client: what certificates are checked against */
    const char *certificate; /* server */
    const char *key;         /* server */
};
enum error transport_tls_listener(nng_listener listener, const struct tls_files *files,
                                  struct error_text *why);
enum error transport_tls_dialer(nng_dialer dialer, const char *server_name,
                                const struct tls_files *files, struct error_text *why);

/* A socket's receiving end: one aio, one callback at a time, so the order in which a peer sent
 * survives, and a drain loop, so that a burst costs one wake-up and not one a message. */
struct receiver {
    nng_socket socket;
    nng_aio *aio;      /* waits for the first message of a burst */
    nng_aio *poll_aio; /* takes the rest, without waiting; used inside the callback only */
    void *context;
    void (*take)(void *context, nng_msg *message); /* owns message; on one of nng's threads */
};
enum error receiver_start(struct receiver *receiver, nng_socket socket,
                          void (*take)(void *context, nng_msg *message), void *context);
/* Waits for the callback and frees. Before the socket is closed: nng leaves an aio that begins to
 * receive while its socket closes on a queue that is then freed. Also for one never started. */
void receiver_release(struct receiver *receiver);

#endif
