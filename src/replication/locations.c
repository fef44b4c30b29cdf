/* SPDX-License-Identifier: MIT */
#include "replication/locations.h"

#include "replication/actions.h"
#include "replication/members.h"
#include "replication/messages.h"

#include <string.h>

bool replica_has_cluster(const uint8_t cluster[static REPLICA_CLUSTER_BYTES])
{
    static const uint8_t none[REPLICA_CLUSTER_BYTES];
    return memcmp(cluster, none, sizeof none) != 0;
}

/* ---- the address of a member ---- */

const char *replica_location_named(const struct replica *r, uint16_t id)
{
    const struct peer *peer = replica_peer_look(r, id);
    const struct replica_member *member = replica_member_find(r, id);
    if (peer != NULL && peer->told[0] != '\0')
        return peer->told;
    return member == NULL ? NULL : member->internal;
}

const char *replica_location_of(const struct replica *r, uint16_t id)
{
    const struct peer *peer = replica_peer_look(r, id);
    return peer != NULL && peer->answered[0] != '\0' ? peer->answered
                                                     : replica_location_named(r, id);
}

static bool is_at(const struct replica *r, const struct peer *peer, const char *address)
{
    const char *place = replica_location_of(r, peer->id);
    return place != NULL && strcmp(place, address) == 0;
}

bool replica_peer_is_alive(const struct replica *r, const struct peer *peer)
{
    return peer->spoke_ms != 0 && peer->disconnected_ms == 0 &&
           r->now_ms - peer->spoke_ms <= r->options.ack_timeout_ms;
}

static void copy(char out[static ADDRESS_TEXT_SIZE], const char *address)
{
    memset(out, 0, ADDRESS_TEXT_SIZE);
    memcpy(out, address, strlen(address));
}

bool replica_location_take_name(struct replica *r, struct peer *peer,
                                const struct replica_message *message)
{
    const char *internal = message->internal;
    if (internal == NULL || internal[0] == '\0' ||
        strcmp(internal, replica_location_named(r, peer->id)) == 0)
        return true;
    if (replica_peer_is_alive(r, peer))
        return false;
    copy(peer->told, internal);
    peer->answered[0] = '\0';
    replica_report(r, REPLICA_MEMBER_MOVED, message, internal);
    return true;
}

/* A member that answers at several addresses, such as a seed's name, is asked at the one that it
 * names. */
void replica_location_take_answer(struct replica *r, struct peer *peer, const char *address)
{
    bool is_certain =
        peer->answered[0] != '\0' && r->now_ms - peer->answered_there_ms <= LOCATION_MS;
    bool is_there = strcmp(peer->answered, address) == 0;
    if (!is_there && is_certain && strcmp(replica_location_named(r, peer->id), address) != 0)
        return;
    copy(peer->answered, address);
    peer->answered_there_ms = r->now_ms;
}

bool replica_location_forget(struct replica *r, struct peer *peer, const char *address,
                             bool is_taken)
{
    if (!is_at(r, peer, address))
        return false;
    peer->answered[0] = '\0';
    if (is_taken && strcmp(peer->told, address) == 0)
        peer->told[0] = '\0';
    return true;
}

void replica_locations_relist(struct replica *r)
{
    for (size_t i = 0; i < r->next_members.count; i++) {
        const struct replica_member *now = &r->next_members.items[i];
        const struct replica_member *before = replica_member_find(r, now->id);
        struct peer *peer = replica_peer_find(r, now->id);
        if (before == NULL || peer == NULL || replica_peer_is_alive(r, peer) ||
            strcmp(before->internal, now->internal) == 0)
            continue;
        peer->told[0] = '\0';
        if (strcmp(peer->answered, now->internal) != 0)
            peer->answered[0] = '\0';
    }
}

void replica_location_learn(struct replica *r, uint16_t id, const char *address)
{
    struct peer *peer = replica_peer_find(r, id);
    if (peer == NULL || !replica_address_is_sound(address) || address[0] == '\0' ||
        strcmp(address, r->internal) == 0 || replica_peer_is_alive(r, peer) ||
        is_at(r, peer, address))
        return;
    copy(peer->told, address);
    peer->answered[0] = '\0';
    peer->disconnected_ms = 0;
}

/* ---- for LEADER_INFO ---- */

size_t replica_locations_list(struct replica *r, uint16_t except)
{
    size_t count = 0;
    for (size_t i = 0; i < REPLICA_MEMBERS_MAX; i++) {
        const struct peer *peer = &r->peers[i];
        if (peer->id != 0 && peer->id != except && peer->disconnected_ms == 0 &&
            peer->spoke_ms != 0 && r->now_ms - peer->spoke_ms <= GOSSIP_MS)
            r->locations[count++] = (struct replica_location){
                .id = peer->id, .address = replica_location_of(r, peer->id)};
    }
    return count;
}

bool replica_location_is_listed(const struct replica *r, const char *address)
{
    for (size_t i = 0; i < r->members.count; i++)
        if (strcmp(r->members.items[i].internal, address) == 0)
            return true;
    return false;
}
