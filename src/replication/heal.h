/* SPDX-License-Identifier: MIT */
/* heal.h - masters that meet, orphans that are merged, members that leave. */
#ifndef JACKDAW_REPLICATION_HEAL_H
#define JACKDAW_REPLICATION_HEAL_H

#include "replication/state.h"

/* Any role: the master announces itself to members that do not follow it and seeks lost ones; a node
 * with orphans offers, merges or drops them. */
void replica_heal_tick(struct replica *r);

/* Also an APPEND of a master that this node does not follow. */
void replica_receive_announce(struct replica *r, const struct replica_message *message);

void replica_receive_orphan_transfer(struct replica *r, const struct replica_message *message);
void replica_receive_orphan_transfer_done(struct replica *r, const struct replica_message *message);
/* The event ORPHANS_MERGED. */
void replica_orphans_merged(struct replica *r, const struct replica_event *event);

/* The event LEAVE_NODE; see replica_step for OK and ERROR_REFUSED. ERROR_NOT_FOUND: node is no member.
 * ERROR_FULL: another change of the voters is not committed yet. */
enum error replica_leave_node(struct replica *r, uint16_t node);
void replica_receive_leave(struct replica *r, const struct replica_message *message);
/* Any role: asks the master again, and enters REMOVED once the removal is committed. */
void replica_leave_tick(struct replica *r);

#endif
