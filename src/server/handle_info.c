/* SPDX-License-Identifier: MIT */
/* Information about the server, and lists. */
#include "base/log.h"
#include "proto/convert.h"
#include "rpc/protocol.h"
#include "server/answer.h"
#include "server/handlers.h"
#include "version.h"

#include <sodium.h>

/* Client addresses, this server's first. */
static size_t list_servers(const struct core *core, char *servers[static REPLICA_MEMBERS_MAX + 1])
{
    size_t count = 0;
    servers[count++] = (char *)cluster_own_client(core->cluster);
    const struct replica_member *members;
    size_t members_count = replica_members(cluster_replica(core->cluster), &members);
    for (size_t i = 0; i < members_count; i++)
        if (members[i].id != core->options->cluster.id && !members[i].left)
            servers[count++] = (char *)members[i].client;
    return count;
}

HANDLER(info, Info)
{
    (void)closure;
    struct core *core = core_of(service);
    struct rpc_call *call = closure_data;
    log_debug("server", "client", log_string("peer", rpc_call_peer(call)),
              log_string("client", request->client));
    char *servers[REPLICA_MEMBERS_MAX + 1];
    size_t servers_count = list_servers(core, servers);
    Jackdaw__Position position = proto_position_message(commit_log_committed(core->commit_log));
    Jackdaw__Limits limits = JACKDAW__LIMITS__INIT;
    chat_answer_limits(core->chat, &limits);
    Jackdaw__InfoReply reply = JACKDAW__INFO_REPLY__INIT;
    reply.server = (char *)"jackdaw " JACKDAW_VERSION;
    reply.server_id = core->options->cluster.id;
    reply.master = commit_log_is_master(core->commit_log) ||
                   (core->forward != NULL && core->role != REPLICA_SUSPECTING &&
                    forward_has_master(core->forward));
    reply.leader = replica_master(cluster_replica(core->cluster));
    reply.n_servers = servers_count;
    reply.servers = servers;
    reply.protocol = RPC_PROTOCOL;
    reply.position = &position;
    reply.limits = &limits;
    const uint8_t *cluster = replica_cluster(cluster_replica(core->cluster));
    if (!sodium_is_zero(cluster, REPLICA_CLUSTER_BYTES))
        reply.cluster = (ProtobufCBinaryData){.len = REPLICA_CLUSTER_BYTES,
                                              .data = (uint8_t *)(uintptr_t)cluster};
    rpc_call_reply(call, &reply.base);
}

HANDLER(list_accounts, ListAccounts)
{
    (void)closure;
    struct core *core = core_of(service);
    struct rpc_call *call = closure_data;
    struct chat_call chat_call;
    if (!answer_begin(core, call, &chat_call))
        return;
    Jackdaw__ListAccountsReply reply = JACKDAW__LIST_ACCOUNTS_REPLY__INIT;
    enum error error = chat_answer_accounts(core->chat, &chat_call, request, &reply);
    answer_either(core, call, &chat_call, error, &reply.base);
}

HANDLER(list_rooms, ListRooms)
{
    (void)closure;
    struct core *core = core_of(service);
    struct rpc_call *call = closure_data;
    struct chat_call chat_call;
    if (!answer_begin(core, call, &chat_call))
        return;
    Jackdaw__ListRoomsReply reply = JACKDAW__LIST_ROOMS_REPLY__INIT;
    enum error error = chat_answer_rooms(core->chat, &chat_call, request, &reply);
    answer_either(core, call, &chat_call, error, &reply.base);
}

HANDLER(list_members, ListMembers)
{
    (void)closure;
    struct core *core = core_of(service);
    struct rpc_call *call = closure_data;
    struct chat_call chat_call;
    if (!answer_begin(core, call, &chat_call))
        return;
    Jackdaw__ListMembersReply reply = JACKDAW__LIST_MEMBERS_REPLY__INIT;
    enum error error = chat_answer_members(core->chat, &chat_call, request, &reply);
    answer_either(core, call, &chat_call, error, &reply.base);
}
