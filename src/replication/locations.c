/* SPDX-License-Identifier: MIT */
/* The addresses of nodes. The ids of cluster and node identify a node; its address may change. */
#include "replication/replica_internal.h"

#include <string.h>

bool has_cluster(const uint8_t cluster[static REPLICA_CLUSTER_BYTES])
{
    static const uint8_t none[REPLICA_CLUSTER_BYTES];
    return memcmp(cluster, none, sizeof none) != 0;
}

struct replica_action *tell_news(struct replica *r, enum replica_news news,
                                 const struct replica_message *message, const char *address)
{
    struct replica_action *action = act(r, REPLICA_DO_REPORT);
    action->report.news = news;
    action->report.received = message;
    action->report.address = address;
    return action;
}

/* ---- the address of a member ---- */

static const struct peer *find_peer(const struct replica *r, uint16_t id)
{
    for (size_t i = 0; id != 0 && i < REPLICA_MEMBERS_MAX; i++)
        if (r->peers[i].id == id)
            return &r->peers[i];
    return NULL;
}

const char *named_by(const struct replica *r, uint16_t id)
{
    const struct peer *peer = find_peer(r, id);
    const struct replica_member *member = member_find(r, id);
    if (peer != NULL && peer->told[0] != '\0')
        return peer->told;
    return member == NULL ? NULL : member->internal;
}

const char *location_of(const struct replica *r, uint16_t id)
{
    const struct peer *peer = find_peer(r, id);
    return peer != NULL && peer->answered[0] != '\0' ? peer->answered : named_by(r, id);
}

static bool is_at(const struct replica *r, const struct peer *peer, const char *address)
{
    const char *place = location_of(r, peer->id);
    return place != NULL && strcmp(place, address) == 0;
}

bool peer_is_alive(const struct replica *r, const struct peer *peer)
{
    return peer->spoke_ms != 0 && peer->disconnected_ms == 0 &&
           r->now_ms - peer->spoke_ms <= r->options.ack_timeout_ms;
}

static void copy(char out[static ADDRESS_TEXT_SIZE], const char *address)
{
    memset(out, 0, ADDRESS_TEXT_SIZE);
    memcpy(out, address, strlen(address));
}

/* One that answers at several addresses, such as a seed's name, is asked at the one that it names. */
static void note_answer(struct replica *r, struct peer *peer, const char *address)
{
    bool is_certain =
        peer->answered[0] != '\0' && r->now_ms - peer->answered_there_ms <= LOCATION_MS;
    bool is_there = strcmp(peer->answered, address) == 0;
    location_lost(r, address, peer->id);
    if (!is_there && is_certain && strcmp(named_by(r, peer->id), address) != 0)
        return;
    copy(peer->answered, address);
    peer->answered_there_ms = r->now_ms;
}

bool location_note(struct replica *r, struct peer *peer, const struct replica_message *message,
                   const char *address)
{
    const char *internal = message->internal;
    if (internal != NULL && internal[0] != '\0' && strcmp(internal, named_by(r, peer->id)) != 0) {
        if (peer_is_alive(r, peer))
            return false;
        copy(peer->told, internal);
        peer->answered[0] = '\0';
        tell_news(r, REPLICA_MEMBER_MOVED, message, internal);
    }
    if (address != NULL)
        note_answer(r, peer, address);
    peer->last_seen_ms = r->now_ms;
    peer->spoke_ms = r->now_ms == 0 ? 1 : r->now_ms;
    peer->disconnected_ms = 0;
    return true;
}

void location_learn(struct replica *r, uint16_t id, const char *address)
{
    struct peer *peer = peer_of(r, id);
    if (peer == NULL || !address_is_sound(address) || address[0] == '\0' ||
        strcmp(address, r->internal) == 0 || peer_is_alive(r, peer) || is_at(r, peer, address))
        return;
    copy(peer->told, address);
    peer->answered[0] = '\0';
    peer->disconnected_ms = 0;
}

void location_lost(struct replica *r, const char *address, uint16_t by)
{
    for (size_t i = 0; i < REPLICA_MEMBERS_MAX; i++) {
        struct peer *peer = &r->peers[i];
        if (peer->id == 0 || peer->id == by || !is_at(r, peer, address))
            continue;
        peer->answered[0] = '\0';
        if (by != 0 && strcmp(peer->told, address) == 0)
            peer->told[0] = '\0';
        peer_lost(r, peer);
    }
    bool is_unlisted_master = is_following(r) && peer_of(r, r->master.id) == NULL;
    if (by == 0 && is_unlisted_master && strcmp(r->master.address, address) == 0)
        suspect(r);
}

void location_listed(struct replica *r, const struct replica_member *before,
                     const struct replica_member *now)
{
    struct peer *peer = peer_of(r, now->id);
    if (peer == NULL || peer_is_alive(r, peer) || strcmp(before->internal, now->internal) == 0)
        return;
    peer->told[0] = '\0';
    if (strcmp(peer->answered, now->internal) != 0)
        peer->answered[0] = '\0';
}

/* ---- what members tell each other ---- */

size_t locations_list(struct replica *r, uint16_t except)
{
    size_t count = 0;
    for (size_t i = 0; i < REPLICA_MEMBERS_MAX; i++) {
        const struct peer *peer = &r->peers[i];
        if (peer->id != 0 && peer->id != except && peer->disconnected_ms == 0 &&
            peer->spoke_ms != 0 && r->now_ms - peer->spoke_ms <= GOSSIP_MS)
            r->locations[count++] =
                (struct replica_location){.id = peer->id, .address = location_of(r, peer->id)};
    }
    return count;
}

/* ---- asking ---- */

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

/* A step asks at each address once; to: the node that is expected there, 0: any node. */
static void ask(struct replica *r, uint16_t to, const char *address, bool is_seed)
{
    if (address == NULL || strcmp(address, r->internal) == 0 || is_asked(r, address))
        return;
    struct replica_message *query = message_to(r, REPLICA_LEADER_QUERY, to);
    query->address = address;
    query->leader_query =
        (struct replica_leader_query){.suspect = r->role == REPLICA_MASTER ? 0 : r->poll.suspect,
                                      .is_seed = is_seed,
                                      .in_sync = in_sync_set_own(r)};
}

void ask_everywhere(struct replica *r)
{
    for (size_t i = 0; i < r->members.count; i++) {
        const struct replica_member *member = &r->members.items[i];
        if (member->id != r->options.id && !member->left)
            ask(r, member->id, location_of(r, member->id), false);
    }
    /* Where they are listed; where this node is, somebody else may be by now. */
    for (size_t i = 0; i < r->members.count; i++)
        if (!r->members.items[i].left)
            ask(r, r->members.items[i].id, r->members.items[i].internal, false);
    for (size_t i = 0; i < r->seeds_count; i++)
        ask(r, 0, r->seeds[i], true);
    if (r->caller[0] != '\0' && !has_cluster(r->cluster))
        ask(r, 0, r->caller, false);
}

/* ---- strangers ---- */

static bool is_question(enum replica_message_kind kind)
{
    return kind == REPLICA_LEADER_QUERY || kind == REPLICA_JOIN || kind == REPLICA_PING ||
           kind == REPLICA_ANNOUNCE || kind == REPLICA_PREPARE;
}

bool is_listed_location(const struct replica *r, const char *address)
{
    for (size_t i = 0; i < r->members.count; i++)
        if (strcmp(r->members.items[i].internal, address) == 0)
            return true;
    return false;
}

void receive_stranger(struct replica *r, const struct replica_message *message, const char *address)
{
    bool is_empty = !has_cluster(message->cluster);
    if (!is_empty && found_yield(r, message, address))
        return;
    if (!is_empty || is_listed_location(r, address))
        tell_news(r, REPLICA_FOREIGN_NODE, message, address);
    if (address != NULL)
        location_lost(r, address, 0);
    if (is_empty || !is_question(message->kind))
        return;
    struct replica_message *refused = message_to(r, REPLICA_JOIN_REJECTED, message->from);
    refused->address = message->internal;
    const struct replica_member *member = member_find(r, message->from);
    refused->join_rejected = (struct replica_join_rejected){
        .rejection = REPLICA_REJECTED_CLUSTER,
        .is_listed = member != NULL && !member->left && message->internal != NULL &&
                     strcmp(member->internal, message->internal) == 0,
        .in_sync = in_sync_set_own(r)};
}
