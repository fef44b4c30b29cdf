/* SPDX-License-Identifier: MIT */
#include "replication/requests.h"

#include "replication/locations.h"
#include "replication/log.h"
#include "replication/members.h"
#include "replication/send.h"

#include <string.h>

/* ---- for a leader ---- */

static bool is_asked(const struct replica *r, const char *address)
{
    for (size_t i = 0; i < r->out->count; i++) {
        const struct replica_action *action = &r->out->items[i];
        if (action->kind == REPLICA_DO_SEND && action->message.kind == REPLICA_LEADER_QUERY &&
            strcmp(action->message.address, address) == 0)
            return true;
    }
    return false;
}

/* to: the node that this node expects there; 0: any. */
static void ask(struct replica *r, uint16_t to, const char *address, bool is_seed)
{
    if (address == NULL || strcmp(address, r->internal) == 0 || is_asked(r, address))
        return;
    struct replica_message *query = replica_send(r, REPLICA_LEADER_QUERY, to);
    query->address = address;
    query->leader_query =
        (struct replica_leader_query){.suspect = r->role == REPLICA_MASTER ? 0 : r->poll.suspect,
                                      .is_seed = is_seed,
                                      .in_sync = replica_in_sync_own(r)};
}

void replica_ask_for_leader(struct replica *r)
{
    for (size_t i = 0; i < r->members.count; i++) {
        const struct replica_member *member = &r->members.items[i];
        if (member->id != r->options.id && !member->left)
            ask(r, member->id, replica_location_of(r, member->id), false);
    }
    /* The listed addresses include this node's former one, which another member may have by now. */
    for (size_t i = 0; i < r->members.count; i++)
        if (!r->members.items[i].left)
            ask(r, r->members.items[i].id, r->members.items[i].internal, false);
    for (size_t i = 0; i < r->seeds_count; i++)
        ask(r, 0, r->seeds[i], true);
    if (r->caller[0] != '\0' && !replica_has_cluster(r->cluster))
        ask(r, 0, r->caller, false);
}

/* ---- for a log ---- */

static struct replica_join own_join(const struct replica *r)
{
    return (struct replica_join){.client = r->client,
                                 .level = r->options.level,
                                 .last = r->last,
                                 .avoid = r->avoid,
                                 .epochs = replica_log_epochs(r)};
}

void replica_ask_to_join(struct replica *r, uint16_t id, const char *address, bool is_urgent)
{
    if (!is_urgent && r->join_target == id && r->now_ms - r->join_ms < RESEND_MS)
        return;
    r->join_target = id;
    r->join_ms = r->now_ms;
    struct replica_message *message = replica_send(r, REPLICA_JOIN, id);
    if (message->address == NULL)
        message->address = address;
    message->join = own_join(r);
}

void replica_ask_for_log(struct replica *r)
{
    r->catch_up.asked_ms = r->now_ms;
    struct replica_message *message = replica_send(r, REPLICA_JOIN, r->catch_up.source);
    message->epoch = r->epoch;
    message->join = own_join(r);
    message->join.recovering_log = true;
}

static struct replica_message *ask_source(struct replica *r, enum replica_message_kind kind)
{
    r->catch_up.fetching = true;
    r->catch_up.asked_ms = r->now_ms;
    struct replica_message *message = replica_send(r, kind, r->catch_up.source);
    message->epoch = r->role == REPLICA_RECOVERING_LOG ? r->epoch : r->master.epoch;
    return message;
}

void replica_ask_for_entries(struct replica *r)
{
    ask_source(r, REPLICA_FETCH)->fetch = (struct replica_fetch){
        .recovering_log = r->role == REPLICA_RECOVERING_LOG, .after = r->last};
}

void replica_ask_for_chunk(struct replica *r)
{
    ask_source(r, REPLICA_SNAPSHOT_REQUEST)->snapshot_request =
        (struct replica_snapshot_request){.recovering_log = r->role == REPLICA_RECOVERING_LOG,
                                          .snapshot = r->catch_up.snapshot_id,
                                          .offset = r->catch_up.offset,
                                          .common = r->catch_up.common,
                                          .avoid = r->avoid};
}

/* ---- for promises ---- */

void replica_ask_for_promises(struct replica *r)
{
    for (size_t i = 0; i < r->members.count; i++) {
        const struct replica_member *member = &r->members.items[i];
        const struct peer *peer = replica_peer_find(r, member->id);
        if (peer != NULL && !member->left && !peer->promised)
            replica_send(r, REPLICA_PREPARE, member->id)->epoch = r->epoch;
    }
    r->poll.next_ms = r->now_ms + POLL_MS;
}

/* ---- master and slave ---- */

void replica_ping(struct replica *r)
{
    r->ping_ms = r->now_ms;
    struct replica_message *message = replica_send(r, REPLICA_PING, r->master.id);
    message->epoch = r->follows ? r->master.epoch : 0;
    message->ping.durable = r->durable;
}

void replica_send_ack(struct replica *r)
{
    if (!replica_is_following(r) || !r->follows)
        return;
    struct replica_message *message = replica_send(r, REPLICA_ACK, r->master.id);
    message->epoch = r->master.epoch;
    message->ack.durable = r->durable;
}

void replica_announce(struct replica *r, uint16_t id)
{
    replica_send(r, REPLICA_ANNOUNCE, id)->epoch = r->epoch;
}
