/* SPDX-License-Identifier: MIT */
/* dial.h - keeps a socket connected to one address.
 *
 * A separate thread resolves the host for each dial, because getaddrinfo(3) can block for many
 * seconds. The thread dials the addresses by RFC 8305 (Happy Eyeballs): families alternate, and the
 * first connection wins. The next address follows after a failure or after DIAL_NEXT_MS. A dial
 * ends after DIAL_TIMEOUT_MS. nng's own dialers are not enough: each knows the first address only,
 * and the kernel repeats a lost SYN ever more rarely. Between dials there is a random pause. The
 * pause doubles with each failure, and with each connection that the peer ends at once.
 *
 * Private to src/rpc. The owner's thread, where nothing else is said. */
#ifndef JACKDAW_RPC_DIAL_H
#define JACKDAW_RPC_DIAL_H

#include "base/address.h"
#include "base/error.h"

#include <nng/nng.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define DIAL_NEXT_MS 250u     /* RFC 8305, section 5: Connection Attempt Delay */
#define DIAL_TIMEOUT_MS 3000u /* for connection and handshake, after the last address was begun */
#define DIAL_BRIEF_MS 1000u /* a connection that ends earlier counts as a failure for the pauses */
#define DIAL_END_MS 12000u  /* so long after that a dial that was stopped may still end by itself */
#define DIAL_ADDRESSES_MAX 16u /* of a name; further ones are ignored */
#define DIAL_RESOLVING_MAX 16u /* in one process at the same time; more fail with ERROR_FULL */

struct connections;
struct dial;
struct tls_endpoint;

struct dial_options {
    nng_socket socket;
    struct connections *connections; /* of the socket; borrowed until closed is called */
    struct address address;          /* an empty host is 127.0.0.1 */
    struct tls_endpoint *tls;        /* where address.tls; borrowed until dial_stop has returned */
    uint32_t pause_min_ms;           /* the first pause is shorter than this, */
    uint32_t pause_max_ms;           /* and each other one than this */
    void *context;
    /* Called when all addresses have failed, on the thread of the dial; NULL is allowed.
     * ERROR_REFUSED: no process listens at any address. ERROR_NOT_FOUND: the host has no
     * address. */
    void (*failed)(void *context, enum error error);
    /* Called once after dial_stop, on the thread of the dial: the socket is closed, and neither nng nor
     * the dial uses anything of the owner's any more. Never called where connections_close fails. */
    void (*closed)(void *context);
};

/* Begins. *out: ended with dial_stop and, when closed has been called, with dial_free. On errors the
 * socket stays open. ERROR_INVALID (the address), ERROR_NO_MEMORY, ERROR_FULL: sentence in why, which
 * may be NULL. */
enum error dial_start(struct dial **out, const struct dial_options *options,
                      struct error_text *why);

/* Ends, without waiting: failed is not called any more. The thread closes the connections and the
 * socket. The thread first waits for a running dial, which ends within DIAL_END_MS of its last
 * address: nng leaks a descriptor if its socket is closed during a handshake. The thread also waits
 * for a running getaddrinfo(3). The owner has called connections_stop before, and has ended what
 * sends and receives on the socket. */
void dial_stop(struct dial *dial);

/* Any thread. NULL is allowed. */
void dial_free(struct dial *dial);

/* The owner throws the connection away: the next dial begins with the address after the one in use. */
void dial_elsewhere(struct dial *dial);

/* Without a connection: dials anew at once, unless the last dial has begun less than 250 ms ago. */
void dial_now(struct dial *dial);

/* How many addresses the host had at the latest dial; 0: none yet. */
size_t dial_addresses(struct dial *dial);

/* For the callbacks of connections, for each one and before connections_enter; nng's threads.
 * dial_connected: false: there is one already, or the dial has been stopped: the caller closes this
 * one. */
bool dial_connected(struct dial *dial, nng_pipe pipe);
void dial_lost(struct dial *dial, nng_pipe pipe);

#endif
