/* SPDX-License-Identifier: MIT */
#include "replication/replica_internal.h"

#include <string.h>

const char *replica_message_name(enum replica_message_kind kind)
{
    static const char *const names[REPLICA_MESSAGE_KINDS] = {
        [REPLICA_PING] = "ping",
        [REPLICA_PONG] = "pong",
        [REPLICA_APPEND] = "append",
        [REPLICA_ACK] = "ack",
        [REPLICA_FETCH] = "fetch",
        [REPLICA_ENTRIES] = "entries",
        [REPLICA_JOIN] = "join",
        [REPLICA_JOIN_REPLY] = "join_reply",
        [REPLICA_JOIN_REJECTED] = "join_rejected",
        [REPLICA_SNAPSHOT_REQUEST] = "snapshot_request",
        [REPLICA_SNAPSHOT_CHUNK] = "snapshot_chunk",
        [REPLICA_LEADER_QUERY] = "leader_query",
        [REPLICA_LEADER_INFO] = "leader_info",
        [REPLICA_PREPARE] = "prepare",
        [REPLICA_PROMISE] = "promise",
        [REPLICA_ANNOUNCE] = "announce",
        [REPLICA_ORPHAN_TRANSFER] = "orphan_transfer",
        [REPLICA_ORPHAN_TRANSFER_DONE] = "orphan_transfer_done",
        [REPLICA_LEAVE] = "leave",
    };
    return kind < REPLICA_MESSAGE_KINDS ? names[kind] : "?";
}

const char *replica_action_name(enum replica_action_kind kind)
{
    static const char *const names[REPLICA_ACTION_KINDS] = {
        [REPLICA_DO_PERSIST] = "persist",
        [REPLICA_DO_APPEND] = "append",
        [REPLICA_DO_SEND] = "send",
        [REPLICA_DO_PUBLISH] = "publish",
        [REPLICA_DO_COMMITTED] = "committed",
        [REPLICA_DO_ROLE] = "role",
        [REPLICA_DO_SEND_ENTRIES] = "send_entries",
        [REPLICA_DO_SEND_CHUNK] = "send_chunk",
        [REPLICA_DO_STORE_CHUNK] = "store_chunk",
        [REPLICA_DO_INSTALL] = "install",
        [REPLICA_DO_SEND_ORPHANS] = "send_orphans",
        [REPLICA_DO_MERGE_ORPHANS] = "merge_orphans",
        [REPLICA_DO_DROP_ORPHANS] = "drop_orphans",
        [REPLICA_DO_EXIT] = "exit",
        [REPLICA_DO_RESET] = "reset",
        [REPLICA_DO_REPORT] = "report",
    };
    return kind < REPLICA_ACTION_KINDS ? names[kind] : "?";
}

struct replica_message *message_with(struct replica *r, enum replica_action_kind action,
                                     enum replica_message_kind kind, uint16_t to)
{
    ASSERT(r->out->messages_count < REPLICA_ACTIONS_MAX);
    struct replica_message *message = &r->out->messages[r->out->messages_count++];
    memset(message, 0, sizeof *message);
    message->kind = kind;
    message->from = r->options.id;
    message->to = to;
    message->promised = r->promised;
    message->blank = r->is_blank;
    message->founding = r->founding.is_due;
    memcpy(message->cluster, r->cluster, sizeof message->cluster);
    if (kind != REPLICA_APPEND && kind != REPLICA_ACK) /* of which there are many */
        message->internal = r->internal;
    message->address = location_of(r, to);
    if (message->address == NULL && to != 0 && to == r->master.id)
        message->address = r->master.address;
    act(r, action)->message = message;
    return message;
}

struct replica_message *message_to(struct replica *r, enum replica_message_kind kind, uint16_t to)
{
    return message_with(r, REPLICA_DO_SEND, kind, to);
}

struct replica_message *message_to_address(struct replica *r, enum replica_message_kind kind,
                                           const char *address)
{
    struct replica_message *message = message_to(r, kind, 0);
    message->address = address;
    return message;
}

bool address_is_sound(const char *text)
{
    return text != NULL && strlen(text) < ADDRESS_TEXT_SIZE;
}

static bool are_addresses_sound(const struct replica_message *message)
{
    if (message->internal != NULL && !address_is_sound(message->internal))
        return false;
    for (size_t i = 0; i < message->locations_count; i++)
        if (!address_is_sound(message->locations[i].address))
            return false;
    return true;
}

/* The store keeps numbers below 2^63. */
static bool are_numbers_sound(const struct replica_message *message)
{
    uint64_t all = message->epoch | message->promised | message->master_epoch |
                   message->position.epoch | message->position.seq | message->last.epoch |
                   message->last.seq | message->common.epoch | message->common.seq |
                   message->committed | message->offset | message->total | message->orphan;
    for (size_t i = 0; i < message->epochs.count; i++)
        all |= message->epochs.starts[i].epoch | message->epochs.starts[i].first_seq;
    for (size_t i = 0; i < message->batches_count; i++)
        all |= message->batches[i].epoch | message->batches[i].first_seq |
               message->batches[i].last_seq;
    return all < REPLICA_NUMBER_MAX && message->size < REPLICA_NUMBER_MAX;
}

bool message_is_sound(const struct replica *r, const struct replica_message *message)
{
    if (message->kind >= REPLICA_MESSAGE_KINDS || message->from == 0 ||
        message->in_sync_count > REPLICA_MEMBERS_MAX ||
        message->epochs.count > REPLICA_EPOCHS_MAX ||
        message->batches_count > REPLICA_ENTRIES_MAX ||
        message->locations_count > REPLICA_MEMBERS_MAX || !are_addresses_sound(message) ||
        !are_numbers_sound(message))
        return false;
    for (size_t i = 0; i < message->epochs.count; i++)
        if (!epoch_history_ascends((struct epoch_history){message->epochs.starts, i},
                                   message->epochs.starts[i]))
            return false;
    bool begins = message->kind == REPLICA_JOIN || message->kind == REPLICA_LEADER_QUERY;
    if (message->from == r->options.id) /* see receive_from_own_id */
        return !begins || address_is_sound(message->internal);
    if (message->kind == REPLICA_JOIN)
        return address_is_sound(message->internal) && address_is_sound(message->client);
    if (message->kind == REPLICA_APPEND)
        return message->batches_count == 1;
    if (message->kind ==
        REPLICA_SNAPSHOT_CHUNK) /* nobody has a log from after the promise it made */
        return message->last.epoch <= message->epoch;
    if ((message->kind == REPLICA_LEADER_INFO || message->kind == REPLICA_PONG) &&
        message->master != 0)
        return address_is_sound(message->master_address);
    return true;
}
