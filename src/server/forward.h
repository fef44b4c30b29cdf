/* SPDX-License-Identifier: MIT */
/* forward.h - a slave passes its clients' writing calls to the master and the answers back, so that a
 * client may use any server.
 *
 * The forwarder knows no method: it passes requests and replies of any service unchanged, with the
 * token, the caller's remaining time, and credits. If the caller cancels a call, the forwarder
 * cancels it at the master, too. Calls of one client share a connection, which keeps their order.
 * The forwarder never sends a call twice: if the master is lost or changes, open calls end
 * UNAVAILABLE, and the client retries.
 *
 * At the master's address may be a server of another cluster. So the forwarder first asks each new
 * connection for Info; calls wait until the answer names the cluster.
 *
 * Owner's thread only: that of the rpc server whose calls are forwarded. */
#ifndef JACKDAW_SERVER_FORWARD_H
#define JACKDAW_SERVER_FORWARD_H

#include "base/error.h"
#include "base/task_queue.h"
#include "rpc/server.h"

#include <protobuf-c/protobuf-c.h>
#include <stdbool.h>

#define FORWARD_CONNECTIONS 4 /* to the master */
#define FORWARD_CLUSTER_BYTES 16
#define FORWARD_CALLS_MAX 12000u /* open at a time; a server takes 4,096 of a connection */

struct forward;

struct forward_options {
    struct task_queue *queue;  /* the owner's; must outlive the forward */
    size_t calls_max;          /* 0: FORWARD_CALLS_MAX */
    const char *tls_authority; /* PEM file; for a master at a tls+tcp:// address; borrowed */
};

/* *out: ended with forward_free. ERROR_NO_MEMORY. Connects to nobody yet. */
enum error forward_new(struct forward **out, const struct forward_options *options);

/* Ends open calls UNAVAILABLE and closes the connections. Before the rpc server of the calls is freed;
 * the queue is to be run afterwards. NULL is allowed. */
void forward_free(struct forward *forward);

/* The master's client address (copied), or NULL: there is none just now. Where it is another than
 * before, open calls end UNAVAILABLE. Not from within a call's watch. cluster: FORWARD_CLUSTER_BYTES,
 * copied; NULL: any server at the address is taken for the master. */
void forward_to(struct forward *forward, const char *address, const uint8_t *cluster);

/* Takes the call and will end it: for the admit hook of struct rpc_server_options, whose arguments
 * these are. */
void forward_call(struct forward *forward, struct rpc_call *call, const ProtobufCService *service,
                  unsigned method, const ProtobufCMessage *input);

/* Ends the open streams with ABORTED, so that their clients ask this server again. */
void forward_end_streams(struct forward *forward);

/* At the end of each turn; and every 100 ms or so. */
void forward_flush(struct forward *forward);
void forward_tick(struct forward *forward, uint64_t monotonic_ms);

/* Whether calls can be forwarded, as far as is known: there is a master, and its address is one that
 * this server can connect to. */
bool forward_has_master(const struct forward *forward);

/* Whether this server cannot connect to the address of the master: --tls_ca is missing. */
bool forward_is_unreachable(const struct forward *forward);

/* Calls under way; and all that were taken so far. */
size_t forward_open_calls(const struct forward *forward);
uint64_t forward_calls(const struct forward *forward);

#endif
