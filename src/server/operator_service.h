/* SPDX-License-Identifier: MIT */
/* operator_service.h - the Operator service (proto/spec.proto): how the cluster is, as this server
 * knows it. Every server answers, also without a master. Core thread only. */
#ifndef JACKDAW_SERVER_OPERATOR_SERVICE_H
#define JACKDAW_SERVER_OPERATOR_SERVICE_H

#include "base/error.h"
#include "replication/replica.h"
#include "rpc/server.h"
#include "spec.pb-c.h"

/* The sources of an answer. */
struct operator_view {
    const struct replica *replica;
    uint16_t id;
    enum replica_policy durability;
    struct log_position committed; /* as far as this server knows */
    uint64_t orphans;              /* as in StatusReply, like the next three */
    uint64_t log_bytes;
    uint64_t log_keep_bytes;
    uint16_t log_member;
    uint32_t clients; /* connections */
    uint64_t reads;   /* as in StatusReply, like the next one */
    uint64_t forwarded;
    uint64_t uptime_ms;
    uint64_t poison_requests; /* as in StatusReply */
    uint64_t poison_entries;
    uint64_t
        checked_ms;   /* the database: when all of it was read last, by the wall clock; 0: never */
    bool is_checking; /* it is being read */
    const char *damage; /* the damage; "": none is known. Borrowed for the answer */
    /* Whether there is a connection to a member that is not this server; context is the desk's. */
    bool (*is_reachable)(void *context, uint16_t id);
    /* How far a server's clock is ahead of what this one stamps; false: unknown. NULL: of all. */
    bool (*clock)(void *context, uint16_t id, int64_t *difference_ms);
};

/* The service; the caller's storage, as long as the servers that it is registered with. */
struct operator_service {
    Jackdaw__Operator_Service service; /* first */
    void *context;
    /* Fills *view, for the duration of one answer. */
    void (*fill_status)(void *context, struct operator_view *view);
};

/* look and context: borrowed with the desk. */
void operator_service_init(struct operator_service *operator_service,
                           void (*fill_status)(void *context, struct operator_view *view),
                           void *context);

/* Registers it with a server that does not listen yet; the client address' and the internal one's.
 * Errors: rpc_server_add's. */
enum error operator_service_register(struct operator_service *operator_service,
                                     struct rpc_server *server);

/* A reply with the storage for its parts. Not to be moved. */
struct operator_service_reply {
    Jackdaw__StatusReply reply;
    Jackdaw__StatusReply__Member *list[REPLICA_MEMBERS_MAX];
    Jackdaw__StatusReply__Member members[REPLICA_MEMBERS_MAX];
    Jackdaw__Position positions[REPLICA_MEMBERS_MAX];
    Jackdaw__Position last;
    Jackdaw__Position committed;
};

/* Fills *out; strings are borrowed from the replica. Exposed for tests. */
void operator_service_fill(struct operator_service_reply *out, const struct operator_view *view,
                           void *context);

#endif
