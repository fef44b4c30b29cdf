/* SPDX-License-Identifier: MIT */
/* server_selection.h - which server the client uses: a state machine.
 *
 *                  a server is selected               it is silent, or refuses
 *   +-----------+ --------------------> +-----------+ -----------------------> +---------+
 *   | SEARCHING |                       | CONNECTED |                          | PROBING |
 *   +-----------+ <-------------------- +-----------+ <----------------------- +---------+
 *        ^          connection lost,                     it answers as the          |
 *        |          or silent for too long               master does                |
 *        +--------------------------------------------------------------------------+
 *           connection lost; silent for CLIENT_ANSWER_MS; another server is the better one
 *
 * SEARCHING  No server is in use. The client connects to all known servers and asks each for Info. It
 *            selects a master of the latest epoch that it has seen. If no server is master for
 *            CLIENT_ANY_SERVER_MS, it selects any: that server may forward requests to its master.
 * CONNECTED  One server is in use; all other connections are closed.
 * PROBING    The server in use may not be the one to use: it is silent, or says that it is not the
 *            master. The client goes on using it and asks all other servers for Info. It leaves the
 *            server in use for a master of a later epoch only, because a slow master is still the master.
 *            It leaves a server that refuses, or that only forwards, for one of the same epoch, too.
 *
 * Any server takes every request: a slave answers reads and forwards the others, and counts as a master
 * here. The client begins with a random one of the servers that it was given, so that clients spread.
 *
 * This is server selection as drivers of replicated databases do it ("Server Discovery and Monitoring",
 * "Server Selection" in the specifications of MongoDB's drivers), with epochs to tell masters apart.
 *
 * The owner's thread. */
#ifndef JACKDAW_CLIENT_SERVER_SELECTION_H
#define JACKDAW_CLIENT_SERVER_SELECTION_H

#include "base/address.h"
#include "base/error.h"
#include "rpc/channel.h"

#include <stdbool.h>
#include <stdint.h>

struct client;
struct connection;

enum selection_state { SELECTION_SEARCHING, SELECTION_CONNECTED, SELECTION_PROBING };

/* All times: microseconds of the client's clock. */
struct server_selection {
    enum selection_state state;
    struct connection *current; /* the server in use; NULL exactly while SEARCHING */

    struct selection_searching {
        uint64_t since_us;
        uint64_t first_answer_us; /* when the first server answered Info; 0: none has */
    } searching;

    /* Of the server in use: CONNECTED and PROBING. */
    struct selection_connected {
        uint64_t last_seen_us; /* when it last sent anything */
        uint64_t answer_us;    /* the longest recent answer, but of slow calls; 0: none yet */
        bool is_foreign;       /* it was of another cluster when it was selected */
        /* When it last showed that it knows the session, in the epoch of its latest answers; 0: not yet. */
        uint64_t session_confirmed_us;
        uint64_t session_unknown_us; /* since when it answers that it does not; 0: it does not so */
    } connected;

    struct selection_probing {
        uint64_t silent_since_us; /* since when an answer of the server in use is missing */
        bool refused;             /* it said that it is not the master */
    } probing;

    /* These outlive a state. */
    uint64_t outage_us;      /* since when no master is in use, or PROBING; 0: a master is in use */
    uint64_t next_open_us;   /* SEARCHING, PROBING: when the next connection may be opened */
    struct address redirect; /* the master that the server in use named; */
    bool has_redirect;       /* ... if it did, and that one was not selected yet */
    bool had_server;         /* one was in use before */
    struct address latest;   /* ... the last one */
    struct error_text problem; /* why connecting failed last; "": unknown */
};

/* Opens the first connection. ERROR_NO_MEMORY, ERROR_INVALID (a certificate file), ERROR_FULL
 * (descriptors): sentence in why. */
enum error server_selection_start(struct client *client, struct error_text *why);

/* Closes all connections. The calls on them end. */
void server_selection_stop(struct client *client);

/* Opens and closes connections, asks servers and selects one, as far as that is due. Once a turn. */
void server_selection_tick(struct client *client);

/* A stub for calls to the server in use, with the token of the session. Not while SEARCHING.
 * timeout_ms: as in rpc_stub. */
void server_selection_init_stub(struct client *client, struct rpc_stub *stub, uint32_t timeout_ms);

/* The server in use has sent something. */
void server_selection_seen(struct client *client);

/* The server in use has answered a call, other than a slow one, after answer_us. No effect while SEARCHING. */
void server_selection_learn_answer(struct client *client, uint64_t answer_us);

/* The server in use has answered as a master does: CONNECTED. No effect while SEARCHING. */
void server_selection_confirm(struct client *client);

/* The server in use does not answer since silent_since_us: PROBING. */
void server_selection_suspect(struct client *client, uint64_t silent_since_us);

/* The server in use has refused a request because it is not the master: PROBING. why: the refusal, with the address of
 * the master if the server knows it. No effect while SEARCHING. */
void server_selection_reject(struct client *client, const struct rpc_result *why);

/* The server in use has been silent for too long: SEARCHING. */
void server_selection_leave(struct client *client);

/* The server in use knows the session. */
void server_selection_confirm_session(struct client *client);

/* The server in use has refused a call of sent_us, because it did not know the session. Returns whether the
 * server may know it by now, or learn of it yet. When a partition heals, its sides merge their sessions: for
 * a while after the server was selected, or became master, the client waits for that. A refusal can arrive
 * after an answer that shows that the server knows the session; the later answer counts. */
bool server_selection_may_learn_session(struct client *client, uint64_t sent_us);

#endif
