/* SPDX-License-Identifier: MIT */
#include "replication/send.h"

#include "replication/actions.h"
#include "replication/locations.h"

#include <string.h>

struct replica_message *replica_send_with(struct replica *r, enum replica_action_kind action,
                                          enum replica_message_kind kind, uint16_t to)
{
    struct replica_message *message = &replica_act(r, action)->message;
    message->kind = kind;
    message->from = r->options.id;
    message->to = to;
    message->promised = r->promised;
    message->blank = r->is_blank;
    message->founding = r->founding.is_due;
    memcpy(message->cluster, r->cluster, sizeof message->cluster);
    if (kind != REPLICA_APPEND && kind != REPLICA_ACK) /* the frequent kinds stay small */
        message->internal = r->internal;
    message->address = replica_location_of(r, to);
    if (message->address == NULL && to != 0 && to == r->master.id)
        message->address = r->master.address;
    return message;
}

struct replica_message *replica_send(struct replica *r, enum replica_message_kind kind, uint16_t to)
{
    return replica_send_with(r, REPLICA_DO_SEND, kind, to);
}

struct replica_leader replica_own_leader(const struct replica *r)
{
    return (struct replica_leader){
        .id = r->master.id, .epoch = r->master.epoch, .address = r->master.address};
}
