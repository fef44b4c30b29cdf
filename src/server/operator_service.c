/* SPDX-License-Identifier: MIT */
#include "server/operator_service.h"

#include "proto/convert.h"
#include "version.h"

/* The position that is certainly durable on a member. The master knows it of those that follow it;
 * others know it of themselves, and that a master has what is committed. */
static struct log_position position_of(const struct operator_view *view, uint16_t id)
{
    const struct replica *replica = view->replica;
    if (id == view->id)
        return replica_durable(replica);
    if (replica_role(replica) == REPLICA_MASTER)
        return replica_acked(replica, id);
    if (id == replica_master(replica))
        return view->committed;
    return (struct log_position){0, 0};
}

/* The seq that a member should have: the master's last entry, or the last one known to be
 * committed. */
static uint64_t goal_of(const struct operator_view *view)
{
    return replica_role(view->replica) == REPLICA_MASTER ? replica_last(view->replica).seq
                                                         : view->committed.seq;
}

static void add_member(struct operator_service_reply *out, const struct operator_view *view,
                       const struct replica_member *member, void *context)
{
    size_t index = out->reply.n_members++;
    Jackdaw__StatusReply__Member *to = &out->members[index];
    out->list[index] = to;
    jackdaw__status_reply__member__init(to);
    to->id = member->id;
    to->client = (char *)member->client;
    to->internal = (char *)member->internal;
    to->in_sync = member->in_sync;
    to->voter = member->voter;
    to->left = member->left;
    to->level = member->level;
    to->reachable = member->id == view->id || view->is_reachable(context, member->id);
    if (view->clock != NULL && !member->left)
        to->has_clock = view->clock(context, member->id, &to->clock_ms);
    struct replica_silence silence;
    if (!member->left && replica_silence(view->replica, member->id, &silence)) {
        to->delay_ms = silence.longest_ms;
        to->limit_ms = silence.limit_ms;
    }
    struct log_position position = position_of(view, member->id);
    if (position.seq == 0)
        return;
    out->positions[index] = proto_position_message(position);
    to->position = &out->positions[index];
    uint64_t goal = goal_of(view);
    to->lag = goal > position.seq ? goal - position.seq : 0;
}

/* A master that this server has lost counts as no master, although it may still run. */
static void set_master(Jackdaw__StatusReply *reply, const struct replica *replica)
{
    if (replica_role(replica) == REPLICA_SUSPECTING)
        return;
    const char *client = replica_master_client(replica);
    reply->master = replica_master(replica);
    reply->epoch = replica_epoch(replica);
    if (client != NULL)
        reply->master_client = (char *)client;
}

void operator_service_fill(struct operator_service_reply *out, const struct operator_view *view,
                           void *context)
{
    const struct replica *replica = view->replica;
    Jackdaw__StatusReply *reply = &out->reply;
    jackdaw__status_reply__init(reply);
    reply->server = (char *)"jackdaw " JACKDAW_VERSION;
    reply->id = view->id;
    reply->role = (char *)replica_role_name(replica_role(replica));
    set_master(reply, replica);
    reply->durability = (char *)replica_policy_name(view->durability);
    out->last = proto_position_message(replica_last(replica));
    out->committed = proto_position_message(view->committed);
    reply->last = &out->last;
    reply->committed = &out->committed;
    reply->orphans = view->orphans;
    reply->log_bytes = view->log_bytes;
    reply->log_keep_bytes = view->log_keep_bytes;
    reply->log_member = view->log_member;
    reply->clients = view->clients;
    reply->reads = view->reads;
    reply->forwarded = view->forwarded;
    reply->uptime_ms = view->uptime_ms;
    reply->poison_requests = view->poison_requests;
    reply->poison_entries = view->poison_entries;
    reply->checked_ms = view->checked_ms;
    reply->checking = view->is_checking;
    if (view->damage != NULL)
        reply->damage = (char *)view->damage;
    reply->members = out->list;
    const struct replica_member *members;
    size_t count = replica_members(replica, &members);
    for (size_t i = 0; i < count; i++)
        add_member(out, view, &members[i], context);
}

static void handle_status(Jackdaw__Operator_Service *service, const Jackdaw__StatusRequest *request,
                          Jackdaw__StatusReply_Closure closure, void *closure_data)
{
    (void)request;
    struct operator_service *operator_service = (struct operator_service *)service;
    struct operator_view view = {.replica = NULL};
    struct operator_service_reply status;
    operator_service->fill_status(operator_service->context, &view);
    operator_service_fill(&status, &view, operator_service->context);
    closure(&status.reply, closure_data);
}

void operator_service_init(struct operator_service *operator_service,
                           void (*fill_status)(void *context, struct operator_view *view),
                           void *context)
{
    *operator_service = (struct operator_service){
        .service = {.base = {.descriptor = &jackdaw__operator__descriptor,
                             .invoke = protobuf_c_service_invoke_internal},
                    .status = handle_status},
        .context = context,
        .fill_status = fill_status,
    };
}

enum error operator_service_register(struct operator_service *operator_service,
                                     struct rpc_server *server)
{
    return rpc_server_add(server, &operator_service->service.base, NULL);
}
