/* SPDX-License-Identifier: MIT */
/* peer_connections.h - connections from this server to the others of its cluster, one rpc channel
 * for each internal address. The answer tells which server is there. Messages may be lost, delayed
 * or doubled; the replica handles that. Core thread only. */
#ifndef JACKDAW_CLUSTER_PEER_CONNECTIONS_H
#define JACKDAW_CLUSTER_PEER_CONNECTIONS_H

#include "base/address.h"
#include "base/task_queue.h"
#include "replication/replica.h"
#include "spec.pb-c.h"

#include <stdbool.h>

#define PEER_CONNECTIONS_MAX (REPLICA_MEMBERS_MAX + REPLICA_SEEDS_MAX + 16)

struct peer_connections;

struct peer_connections_options {
    struct task_queue *queue;
    const char *durability; /* told in every frame; NULL: none */
    uint64_t process;    /* told in every frame: an answer with it is this server's own; 0: none */
    uint32_t silence_ms; /* without any answer for so long, a connection is made anew */
    void *context;
    /* This server's clock, told in every frame; and another's, of an answer. NULL: not told. */
    uint64_t (*wall_ms)(void *context);
    void (*clock)(void *context, const Jackdaw__ClusterFrame *frame);
    /* A message that came as an answer from address. Borrowed. Whether it is of this cluster. */
    bool (*received)(void *context, const Jackdaw__ClusterMessage *message, const char *address);
    /* The connection to address was closed or refused: the process there may be gone. */
    void (*down)(void *context, const char *address);
};

enum error peer_connections_new(struct peer_connections **out,
                                const struct peer_connections_options *options);
void peer_connections_free(struct peer_connections *peer_connections); /* NULL is allowed */

/* Sets the members: connects to new ones, and keeps these connections up. Connections to other
 * addresses (seeds, removed members) are closed when unused for a while. own: this server's id. */
void peer_connections_set_members(struct peer_connections *peer_connections,
                                  const struct replica_member *members, size_t count, uint16_t own);

/* Sends message to message->address, or where that is unknown, or nobody is reached there, to where
 * message->to has answered from; feed as in cluster_wire_encode. Without a place to send it to, or
 * without memory, it is dropped. */
void peer_connections_send(struct peer_connections *peer_connections,
                           const struct replica_message *message, const char *feed);

/* Sends a report to node, which answers within a second. result: begins with a struct rpc_result, and
 * must live until closure has run with it, at the latest in peer_connections_free. Returns false, and closure
 * does not run: there is no connection. */
bool peer_connections_report(struct peer_connections *peer_connections, uint16_t node,
                             const Jackdaw__ReportRequest *request,
                             Jackdaw__ReportReply_Closure closure, void *result);

/* false for 0. */
bool peer_connections_is_connected(struct peer_connections *peer_connections, uint16_t node);

/* Where the connection to node leads, valid until the next call; NULL: there is none. */
const char *peer_connections_address(struct peer_connections *peer_connections, uint16_t node);

/* Sends what was collected. At the end of each turn. */
void peer_connections_flush(struct peer_connections *peer_connections);

/* Logs, at a bounded pace, each address that there is no connection to, and what is known of it. */
void peer_connections_log_unreachable(const struct peer_connections *peer_connections);

/* Tells the time (monotonic): before the first message, and then every 10 to 100 ms. */
void peer_connections_tick(struct peer_connections *peer_connections, uint64_t now_ms);

#endif
