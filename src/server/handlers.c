/* SPDX-License-Identifier: MIT */
#include "server/handlers.h"

#include <string.h>

#define RETRY_ELSEWHERE_MS 50u

static const struct rpc_method_limit fixed_limits[] = {
    {.method = "Send", .request_bytes = 1024 * 1024}, /* chat refuses what is over its own limit */
    {.method = NULL},
};

/* A master that was replaced, and does not know it yet, lacks what the caller has seen. */
static bool is_of_its_past(const struct core *core, struct rpc_call *call)
{
    if (rpc_call_position(call).epoch <= commit_log_applied(core->commit_log).epoch)
        return true;
    rpc_call_fail(call, STATUS_UNAVAILABLE, RETRY_ELSEWHERE_MS,
                  "another server is the master of a later epoch; ask that one");
    return false;
}

bool handlers_admit(void *context, struct rpc_call *call, const ProtobufCService *service,
                    unsigned method, const ProtobufCMessage *input)
{
    struct core *core = context;
    bool is_open = service->descriptor != &jackdaw__chat__descriptor ||
                   strcmp(service->descriptor->methods[method].name, "Info") == 0;
    if (is_open)
        return true;
    if (commit_log_is_master(core->commit_log))
        return is_of_its_past(core, call) && !suspects_take(core, call, input);
    if (core->forward != NULL && !forward_is_unreachable(core->forward))
        return reads_admit(core, call, service, method, input);
    const char *master = replica_master_client(cluster_replica(core->cluster));
    if (master != NULL)
        rpc_call_redirect(call, master);
    rpc_call_fail(call, STATUS_UNAVAILABLE, RETRY_ELSEWHERE_MS,
                  master != NULL ? "another server is the master now"
                                 : "no server is the master yet; try again");
    return false;
}

enum error handlers_register(struct core *core)
{
    core->service = (Jackdaw__Chat_Service){
        .base = {.descriptor = &jackdaw__chat__descriptor,
                 .invoke = protobuf_c_service_invoke_internal},
        .info = handle_info,
        .register_account = handle_register_account,
        .login = handle_login,
        .logout = handle_logout,
        .delete_account = handle_delete_account,
        .list_accounts = handle_list_accounts,
        .heartbeat = handle_heartbeat,
        .join_room = handle_join_room,
        .leave_room = handle_leave_room,
        .list_rooms = handle_list_rooms,
        .list_members = handle_list_members,
        .set_topic = handle_set_topic,
        .invite = handle_invite,
        .kick = handle_kick,
        .send = handle_send,
        .history = handle_history,
        .set_typing = handle_set_typing,
        .receive = handle_receive,
    };
    return rpc_server_add(core->clients, &core->service.base, fixed_limits);
}
