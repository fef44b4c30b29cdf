/* SPDX-License-Identifier: MIT */
/* connections.h - the connections of one nng socket, and closing them and the socket.
 *
 * nng 1.12 has a race in its TLS transport. If a connection is closed from outside while it is
 * about to receive or to send again, that operation never ends. nng's reaper thread, of which a
 * process has one, then waits for it for ever: nng_close does not return, and no loss of a
 * connection is reported any more. A connection that ends by itself, because its descriptor reports
 * an end or an error, does not meet the race. Therefore a connection with TLS is ended below nng
 * first, by shutdown(2). nng does not tell the descriptor; it is the one with the addresses of the
 * connection. nng overlooks an end that comes while it hands a message on. After CONNECTIONS_DRAIN_MS no
 * operation is pending on the connection, and connections.c makes nng close it. connections_close closes
 * the socket after all of that. peer.c finds an end by the peer that nng overlooked, and tls_engine.c one
 * during a handshake.
 *
 * nng's TCP transport has no such race, so its sockets are closed at once. Otherwise new
 * connections would arrive while the old ones end one by one. nng leaks the descriptor of a
 * connection if its endpoint is closed during the handshake.
 *
 * The remaining wait has a bound, too: nng_close runs in a thread of its own. If it does not return
 * in time, the caller goes on without it. Of channels and followers the dial's thread is the
 * caller.
 *
 * Private to src/rpc. */
#ifndef JACKDAW_RPC_CONNECTIONS_H
#define JACKDAW_RPC_CONNECTIONS_H

#include <nng/nng.h>
#include <pthread.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define CONNECTIONS_DRAIN_MS 100u /* after shutdown(2): so long data may be under way within nng */
#define CONNECTIONS_END_MS 500u   /* so long connections_close waits for connections to end, */
#define CONNECTIONS_CLOSE_MS 500u /* and so long for nng_close */

struct connections {
    pthread_mutex_t mutex; /* protects the rest; held from connections_enter to _leave */
    pthread_cond_t changed;
    bool closing;
    size_t count;
    size_t capacity;
    uint32_t *ids; /* nng's pipe ids; [count] */
    struct connections *next_hung;
};

void connections_init(struct connections *connections);
void connections_release(struct connections *connections);

/* For the callback of nng_pipe_notify, for NNG_PIPE_EV_ADD_PRE and _REM_POST; nng's threads. Counts
 * the connection. If it returns true, the caller reports the event to the owner and then calls
 * connections_leave. If it returns false, the caller does nothing: the socket is being closed, or
 * there is no memory for another connection, and a new connection has been closed. */
bool connections_enter(struct connections *connections, nng_pipe pipe, nng_pipe_ev what);
void connections_leave(struct connections *connections);

/* Ends one connection. nng reports its end to the callback, with TLS up to CONNECTIONS_DRAIN_MS later.
 * Any thread. */
void connections_end(nng_pipe pipe, bool has_tls);

/* From its return on connections_enter returns false, and nothing is reported any more. Any thread. */
void connections_stop(struct connections *connections);

/* Closes all connections and the socket; from the moment of the call connections_enter returns false.
 * has_tls: the socket has or had connections with TLS. true: nng is done, and no callback runs any more.
 * false: nng_close has not returned within CONNECTIONS_CLOSE_MS, which is logged. Callbacks may still run:
 * the caller must never free connections, nor anything else that callbacks use before connections_enter.
 * Any thread but nng's. */
bool connections_close(struct connections *connections, nng_socket socket, bool has_tls);

/* How many calls of nng_close have not returned although their callers have gone on. */
size_t connections_hanging(void);

#endif
