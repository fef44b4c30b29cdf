/* SPDX-License-Identifier: MIT */
#include "replication/messages.h"

#include <string.h>

/* ---- checks of a received message ---- */

bool replica_address_is_sound(const char *text)
{
    return text != NULL && strlen(text) < ADDRESS_TEXT_SIZE;
}

/* The store keeps signed numbers, and sums of two must not overflow. */
static bool is_number(uint64_t number)
{
    return number < REPLICA_NUMBER_MAX;
}

static bool is_position(struct log_position position)
{
    return is_number(position.epoch) && is_number(position.seq);
}

static bool is_leader(const struct replica_leader *leader)
{
    return leader->id == 0 ||
           (is_number(leader->epoch) && replica_address_is_sound(leader->address));
}

static bool is_in_sync_set(const struct replica_in_sync_set *set)
{
    return set->count <= REPLICA_MEMBERS_MAX && is_position(set->position);
}

static bool are_entries(const struct log_entry *entries, size_t count)
{
    for (size_t i = 0; i < count && i < REPLICA_ENTRIES_MAX; i++)
        if (!is_number(entries[i].epoch) || !is_number(entries[i].first_seq) ||
            !is_number(entries[i].last_seq))
            return false;
    return count <= REPLICA_ENTRIES_MAX;
}

static bool is_join(const struct replica_message *message)
{
    const struct replica_join *join = &message->join;
    struct epoch_history epochs = join->epochs;
    if (epochs.count > REPLICA_EPOCHS_MAX)
        return false;
    for (size_t i = 0; i < epochs.count; i++)
        if (!is_number(epochs.starts[i].epoch) || !is_number(epochs.starts[i].first_seq) ||
            !epoch_history_ascends((struct epoch_history){epochs.starts, i}, epochs.starts[i]))
            return false;
    return message->internal != NULL && replica_address_is_sound(join->client) &&
           is_position(join->last) && is_position(join->avoid);
}

static bool is_leader_info(const struct replica_leader_info *info)
{
    for (size_t i = 0; i < info->locations_count && i < REPLICA_MEMBERS_MAX; i++)
        if (!replica_address_is_sound(info->locations[i].address))
            return false;
    return info->locations_count <= REPLICA_MEMBERS_MAX && is_position(info->durable) &&
           is_leader(&info->leader) && is_in_sync_set(&info->in_sync);
}

static bool is_chunk(const struct replica_message *message)
{
    const struct replica_snapshot_chunk *chunk = &message->snapshot_chunk;
    return is_number(chunk->offset) && is_number(chunk->total) && is_number(chunk->size) &&
           is_position(chunk->common) && is_position(chunk->avoid) && is_position(chunk->last) &&
           chunk->last.epoch <= message->epoch; /* a log ends before the promise of its node */
}

static bool is_body(const struct replica_message *message)
{
    switch (message->kind) {
    case REPLICA_PING:
        return is_position(message->ping.durable);
    case REPLICA_PONG:
        return is_position(message->pong.last) && is_number(message->pong.committed) &&
               is_leader(&message->pong.leader);
    case REPLICA_APPEND:
        return is_position(message->append.before) && is_position(message->append.last) &&
               is_number(message->append.committed) && message->append.entry != NULL &&
               are_entries(message->append.entry, 1);
    case REPLICA_ACK:
        return is_position(message->ack.durable);
    case REPLICA_FETCH:
        return is_position(message->fetch.after);
    case REPLICA_ENTRIES:
        return is_position(message->entries.after) && is_position(message->entries.last) &&
               is_number(message->entries.committed) &&
               are_entries(message->entries.entries, message->entries.count);
    case REPLICA_JOIN:
        return is_join(message);
    case REPLICA_JOIN_REPLY:
        return is_position(message->join_reply.asked) && is_position(message->join_reply.common) &&
               is_position(message->join_reply.last) && is_number(message->join_reply.committed) &&
               is_leader(&message->join_reply.leader);
    case REPLICA_JOIN_REJECTED:
        return is_in_sync_set(&message->join_rejected.in_sync);
    case REPLICA_SNAPSHOT_REQUEST:
        return is_number(message->snapshot_request.offset) &&
               is_position(message->snapshot_request.common) &&
               is_position(message->snapshot_request.avoid);
    case REPLICA_SNAPSHOT_CHUNK:
        return is_chunk(message);
    case REPLICA_LEADER_QUERY:
        return is_in_sync_set(&message->leader_query.in_sync);
    case REPLICA_LEADER_INFO:
        return is_leader_info(&message->leader_info);
    case REPLICA_PROMISE:
        return is_position(message->promise.durable) && is_in_sync_set(&message->promise.in_sync) &&
               is_leader(&message->promise.leader);
    case REPLICA_ORPHAN_TRANSFER:
        return is_number(message->orphan_transfer.orphan) &&
               are_entries(message->orphan_transfer.entries, message->orphan_transfer.count);
    case REPLICA_ORPHAN_TRANSFER_DONE:
        return is_number(message->orphan_transfer_done.orphan) &&
               is_position(message->orphan_transfer_done.merged);
    case REPLICA_COMMITTED:
        return is_number(message->committed.seq);
    default: /* PREPARE, ANNOUNCE, LEAVE */
        return true;
    }
}

bool replica_message_is_sound(const struct replica_message *message, uint16_t self)
{
    if (message->kind >= REPLICA_MESSAGE_KINDS || message->from == 0 ||
        !is_number(message->epoch) || !is_number(message->promised) ||
        (message->internal != NULL && !replica_address_is_sound(message->internal)))
        return false;
    bool begins = message->kind == REPLICA_JOIN || message->kind == REPLICA_LEADER_QUERY;
    /* From a node with this node's id replica.c reads the address, and of another cluster also flags. */
    if (message->from == self)
        return !begins || message->internal != NULL;
    return is_body(message);
}
