/* SPDX-License-Identifier: MIT */
/* members.h - the list of members, the peer beside each other member, and the sets of members in sync.
 *
 * The list is an entry of the log, always whole. The list appended last counts, committed or not. */
#ifndef JACKDAW_REPLICATION_MEMBERS_H
#define JACKDAW_REPLICATION_MEMBERS_H

#include "replication/state.h"

/* Packs a list; bytes has REPLICA_MEMBERS_BYTES_MAX places. Returns the size. replica_members_unpack
 * reads it. */
size_t replica_members_pack(const struct members *members, uint8_t *bytes);

/* Reads bytes into next_members, sorted. A change that is not appended yet is void. ERROR_INVALID: the
 * bytes are no list. */
enum error replica_members_read(struct replica *r, const uint8_t *bytes, size_t size);

/* Makes next_members the list, written at position; the timeouts of new members begin. */
void replica_members_adopt(struct replica *r, struct log_position position);

/* Forgets the list and all peers. */
void replica_members_clear(struct replica *r);

/* ---- queries; an id of 0 is no member ---- */

/* NULL: id is no member. Members that have left count. Valid until the list changes. */
const struct replica_member *replica_member_find(const struct replica *r, uint16_t id);
struct peer *replica_peer_find(struct replica *r, uint16_t id);
const struct peer *replica_peer_look(const struct replica *r, uint16_t id);
bool replica_member_is_in_sync(const struct replica *r, uint16_t id);
/* Whether this node is a member that has not left. */
bool replica_is_member(const struct replica *r);
/* Voters that have not left. */
size_t replica_voters_count(const struct replica *r);
/* Whether the member has promised the epoch of this candidate, or is this candidate. */
bool replica_member_has_promised(const struct replica *r, const struct replica_member *member);

/* ---- changes of the master, which replica_log_append_members appends ---- */

/* Returns the member in the next list; NULL: none has the id. Valid until the list changes. */
struct replica_member *replica_members_edit(struct replica *r, uint16_t id);

/* Sets the addresses (copied) of a member in the next list, and adds it first if there is none with
 * the id. NULL: the list has REPLICA_MEMBERS_MAX members. */
struct replica_member *replica_members_add(struct replica *r, uint16_t id, const char *internal,
                                           const char *client);

/* ---- members in sync ---- */

/* Replaces set by other if the list of other is newer. */
void replica_in_sync_update(struct replica_in_sync_set *set,
                            const struct replica_in_sync_set *other);
/* The members in sync by this node's list. */
struct replica_in_sync_set replica_in_sync_own(const struct replica *r);
bool replica_in_sync_has(const struct replica_in_sync_set *set, uint16_t id);

#endif
