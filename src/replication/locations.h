/* SPDX-License-Identifier: MIT */
/* locations.h - the address of each member. The ids of cluster and node identify a node; its address
 * may change. A location is, in this order: where the member answered last, the address that it names
 * as its own, the address in the list. */
#ifndef JACKDAW_REPLICATION_LOCATIONS_H
#define JACKDAW_REPLICATION_LOCATIONS_H

#include "replication/state.h"

/* Whether the id of a cluster is set. */
bool replica_has_cluster(const uint8_t cluster[static REPLICA_CLUSTER_BYTES]);

/* Where to send to a member; NULL: id is no member. Valid until the next step. */
const char *replica_location_of(const struct replica *r, uint16_t id);
/* The address that the member names as its own, or its listed one. NULL: id is no member. */
const char *replica_location_named(const struct replica *r, uint16_t id);
/* Whether the list has any member, or one that has left, at address. */
bool replica_location_is_listed(const struct replica *r, const char *address);
/* Whether a message of the peer has come within the ack timeout and its connection is open. */
bool replica_peer_is_alive(const struct replica *r, const struct peer *peer);

/* Takes the own address that a message of the peer names (NULL: none). false: another process with the
 * peer's id has sent the message, because the peer is alive at another address. */
bool replica_location_take_name(struct replica *r, struct peer *peer,
                                const struct replica_message *message);
/* Notes that the peer answered at address. */
void replica_location_take_answer(struct replica *r, struct peer *peer, const char *address);
/* Notes that another node has seen the member at address. Does nothing if the peer is alive. */
void replica_location_learn(struct replica *r, uint16_t id, const char *address);
/* Forgets that the peer is at address, where another node answers (is_taken) or none does. false: the
 * peer was not there. */
bool replica_location_forget(struct replica *r, struct peer *peer, const char *address,
                             bool is_taken);
/* Prefers the addresses of next_members, the newer list, for members that are not alive. A member that
 * is alive is where it speaks: a node that catches up reads old lists. */
void replica_locations_relist(struct replica *r);

/* Fills r->locations with the members that spoke within GOSSIP_MS, except one. Returns how many. */
size_t replica_locations_list(struct replica *r, uint16_t except);

#endif
