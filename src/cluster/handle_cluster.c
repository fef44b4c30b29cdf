/* SPDX-License-Identifier: MIT */
/* The Cluster service: the calls of other servers. */
#include "cluster/cluster_internal.h"

#include "base/log_pace.h"

#include <stddef.h>
#include <stdio.h>
#include <string.h>

struct cluster *cluster_of(Jackdaw__Cluster_Service *service)
{
    return (struct cluster *)((char *)service - offsetof(struct cluster, service));
}

/* Every server decides by its own policy: they should have the same. */
static void compare_durability(struct cluster *cluster, const Jackdaw__ClusterFrame *frame)
{
    const char *own = replica_policy_name(cluster->options.settings->durability);
    bool differs = frame->durability[0] != '\0' && strcmp(frame->durability, own) != 0;
    if (!differs || frame->n_messages == 0)
        return;
    char id[16];
    (void)snprintf(id, sizeof id, "%u", (unsigned)frame->messages[0]->from);
    log_error_paced(id, "cluster", "durability_differs", log_number("id", frame->messages[0]->from),
                    log_string("there", frame->durability), log_string("here", own));
}

static void handle_exchange(Jackdaw__Cluster_Service *service, const Jackdaw__ClusterFrame *request,
                            Jackdaw__ClusterFrame_Closure closure, void *closure_data)
{
    (void)closure;
    struct cluster *cluster = cluster_of(service);
    struct cluster_frame answer;
    cluster_frame_init(&answer);
    answer.frame.process = cluster->process;
    answer.frame.wall_ms = clocks_own(&cluster->clocks);
    compare_durability(cluster, request);
    cluster_note_clock(cluster, request);
    cluster->answer =
        rpc_call_is_one_way(closure_data) ? NULL : &answer; /* that one goes nowhere */
    for (size_t i = 0; i < request->n_messages; i++) {
        cluster->answer_to = (uint16_t)request->messages[i]->from;
        cluster_receive(cluster, request->messages[i], NULL);
    }
    cluster->answer = NULL;
    rpc_call_reply(closure_data, &answer.frame.base);
    arena_clear(&cluster->arena);
}

static void handle_leave(Jackdaw__Cluster_Service *service, const Jackdaw__LeaveRequest *request,
                         Jackdaw__LeaveReply_Closure closure, void *closure_data)
{
    (void)closure;
    struct cluster *cluster = cluster_of(service);
    enum error error =
        request->id > UINT16_MAX ? ERROR_NOT_FOUND : cluster_leave(cluster, (uint16_t)request->id);
    Jackdaw__LeaveReply reply = JACKDAW__LEAVE_REPLY__INIT;
    switch (error) {
    case OK:
        rpc_call_reply(closure_data, &reply.base);
        break;
    case ERROR_NOT_FOUND:
        rpc_call_fail(closure_data, STATUS_NOT_FOUND, 0, "no server of the cluster has this id");
        break;
    case ERROR_FULL:
        rpc_call_fail(closure_data, STATUS_UNAVAILABLE, 500,
                      "another change of the members is under way; try again in a moment");
        break;
    default:
        rpc_call_fail(closure_data, STATUS_FAILED_PRECONDITION, 0,
                      replica_role(cluster->replica) == REPLICA_MASTER
                          ? "no other server has everything that this one has: it cannot leave now"
                          : "only the master can do that: ask it");
        break;
    }
}

enum error cluster_register(struct cluster *cluster)
{
    static const struct rpc_method_limit limits[] = {
        {.method = "Exchange", .request_bytes = INTERNAL_FRAME_BYTES},
        {.method = "Report", .request_bytes = INTERNAL_FRAME_BYTES},
        {.method = NULL},
    };
    cluster->service = (Jackdaw__Cluster_Service){
        .base = {.descriptor = &jackdaw__cluster__descriptor,
                 .invoke = protobuf_c_service_invoke_internal},
        .exchange = handle_exchange,
        .leave = handle_leave,
        .report = cluster_handle_report,
    };
    return rpc_server_add(cluster->server, &cluster->service.base, limits);
}
