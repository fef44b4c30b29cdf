/* SPDX-License-Identifier: MIT */
/* Messages between master and slaves for the clients of slaves. */
#include "cluster/cluster_internal.h"

#include "base/protobuf.h"
#include "cluster/cluster_wire.h"

#include <string.h>

#define READERS_MS 2500u /* a slave that has readers reports more often */
#define RETRY_MS 50u
#define HEAD_BYTES 4096u /* of a message, without its body */

/* 1: this build does not know reports. tests/cluster builds such a server for a rolling upgrade. */
#ifndef JACKDAW_WITHOUT_REPORTS
#define JACKDAW_WITHOUT_REPORTS 0
#endif

/* ---- the feed ---- */

bool cluster_has_subscribers(const struct cluster *cluster)
{
    struct rpc_feed_stats stats;
    if (cluster->has_resigned)
        return false;
    rpc_feed_stats(cluster->feed, &stats);
    return stats.subscribers > 0;
}

static void publish(struct cluster *cluster, const ProtobufCBinaryData *packed)
{
    rpc_feed_publish(cluster->feed, &(struct rpc_chunk){.bytes = packed->data, .size = packed->len},
                     1);
}

void cluster_tell_committed(struct cluster *cluster)
{
    if (cluster->now_ms >= cluster->readers_until_ms ||
        replica_role(cluster->replica) != REPLICA_MASTER ||
        replica_committed(cluster->replica) == cluster->told_committed ||
        !cluster_has_subscribers(cluster))
        return;
    cluster->told_committed = replica_committed(cluster->replica);
    struct replica_message message;
    struct arena arena;
    ProtobufCBinaryData packed;
    replica_tell_committed(cluster->replica, &message);
    arena_init(&arena, HEAD_BYTES);
    if (cluster_wire_pack(&message, NULL, &arena, &packed) == OK)
        publish(cluster, &packed);
    arena_clear(&arena);
}

void cluster_publish_news(struct cluster *cluster, const Jackdaw__News *news)
{
    if (replica_role(cluster->replica) != REPLICA_MASTER || !cluster_has_subscribers(cluster))
        return;
    Jackdaw__ClusterMessage message = JACKDAW__CLUSTER_MESSAGE__INIT;
    struct arena arena;
    arena_init(&arena, 2 * jackdaw__news__get_packed_size(news) + HEAD_BYTES);
    message.kind = JACKDAW__CLUSTER_MESSAGE__KIND__NEWS;
    message.from = cluster->options.settings->id;
    message.epoch = replica_epoch(cluster->replica);
    message.cluster.data = (uint8_t *)(uintptr_t)replica_cluster(cluster->replica);
    message.cluster.len = REPLICA_CLUSTER_BYTES;
    message.bytes.len = jackdaw__news__get_packed_size(news);
    message.bytes.data = arena_alloc(&arena, message.bytes.len);
    ProtobufCBinaryData packed = {.len = jackdaw__cluster_message__get_packed_size(&message)};
    packed.data = arena_alloc(&arena, packed.len);
    if (message.bytes.data != NULL && packed.data != NULL) {
        (void)jackdaw__news__pack(news, message.bytes.data);
        (void)jackdaw__cluster_message__pack(&message, packed.data);
        publish(cluster, &packed);
    }
    arena_clear(&arena);
}

static bool is_of_cluster(const struct cluster *cluster, const ProtobufCBinaryData *id)
{
    return id->len == REPLICA_CLUSTER_BYTES &&
           memcmp(id->data, replica_cluster(cluster->replica), REPLICA_CLUSTER_BYTES) == 0;
}

void cluster_receive_news(struct cluster *cluster, const Jackdaw__ClusterMessage *message)
{
    const struct replica *replica = cluster->replica;
    if (replica_role(replica) == REPLICA_MASTER || message->from != replica_master(replica) ||
        message->epoch != replica_epoch(replica) || !is_of_cluster(cluster, &message->cluster))
        return;
    struct arena arena;
    arena_init(&arena, message->bytes.len * CLUSTER_UNPACK_FACTOR + CLUSTER_UNPACK_FLOOR);
    const Jackdaw__News *news = protobuf_unpack(&jackdaw__news__descriptor, &arena,
                                                message->bytes.data, message->bytes.len);
    if (news != NULL)
        cluster->options.observer.news(cluster->options.observer.context, news);
    arena_clear(&arena);
}

/* ---- reports ---- */

bool cluster_report(struct cluster *cluster, Jackdaw__ReportRequest *request,
                    Jackdaw__ReportReply_Closure closure, void *result)
{
    const struct replica *replica = cluster->replica;
    if (cluster->has_resigned)
        return false;
    request->from = cluster->options.settings->id;
    request->epoch = replica_epoch(replica);
    request->cluster.data = (uint8_t *)(uintptr_t)replica_cluster(replica);
    request->cluster.len = REPLICA_CLUSTER_BYTES;
    return peer_connections_report(cluster->peer_connections, replica_master(replica), request,
                                   closure, result);
}

/* Whether the report is of a slave of this master. */
static bool is_due_here(const struct cluster *cluster, const Jackdaw__ReportRequest *request)
{
    const struct replica_member *members;
    size_t count = replica_members(cluster->replica, &members);
    if (replica_role(cluster->replica) != REPLICA_MASTER ||
        request->epoch != replica_epoch(cluster->replica) ||
        !is_of_cluster(cluster, &request->cluster) || request->n_accounts != request->n_seqs)
        return false;
    for (size_t i = 0; i < count; i++)
        if (members[i].id == request->from)
            return !members[i].left;
    return false;
}

void cluster_handle_report(Jackdaw__Cluster_Service *service, const Jackdaw__ReportRequest *request,
                           Jackdaw__ReportReply_Closure closure, void *closure_data)
{
    (void)closure;
    struct cluster *cluster = cluster_of(service);
    if (JACKDAW_WITHOUT_REPORTS) {
        rpc_call_fail(closure_data, STATUS_UNIMPLEMENTED, 0, "this server knows no reports");
        return;
    }
    if (!is_due_here(cluster, request)) {
        rpc_call_fail(closure_data, STATUS_UNAVAILABLE, RETRY_MS,
                      "this server is not the master of the epoch of the report");
        return;
    }
    if (request->has_readers)
        cluster->readers_until_ms = cluster->now_ms + READERS_MS;
    Jackdaw__ReportReply reply = JACKDAW__REPORT_REPLY__INIT;
    struct arena arena;
    arena_init(&arena, INTERNAL_FRAME_BYTES);
    cluster->options.observer.report(cluster->options.observer.context, request, &arena, &reply);
    rpc_call_reply(closure_data, &reply.base);
    arena_clear(&arena);
}
