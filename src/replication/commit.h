/* SPDX-License-Identifier: MIT */
/* commit.h - what is committed, which members are in sync, and which entries a member still needs. */
#ifndef JACKDAW_REPLICATION_COMMIT_H
#define JACKDAW_REPLICATION_COMMIT_H

#include "replication/state.h"

/* The master commits what is durable on enough nodes by the policy. Any other role: does nothing. */
void replica_commit_advance(struct replica *r);

/* A follower takes over that the master has committed up to seq, as far as its own log reaches. */
void replica_commit_learn(struct replica *r, uint64_t seq);

/* The master notes an ACK or a PING, commits, and adds a member that has caught up to the in-sync set. */
void replica_receive_ack(struct replica *r, const struct replica_message *message);

/* The master removes a member from the in-sync set, if it is in it. This node stays in it. */
void replica_in_sync_remove(struct replica *r, uint16_t id);

/* The master removes silent members from the in-sync set, and steps down if it is unhealthy and
 * replaceable, or if it has lost the majority that its policy needs. */
void replica_commit_tick(struct replica *r);

/* Whether the set of voters may change. With quorum, one change at a time: any two majorities that may
 * decide share a node (Raft, section 4.1 of Ongaro's dissertation). */
bool replica_may_change_voters(const struct replica *r);

#endif
