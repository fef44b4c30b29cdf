/* SPDX-License-Identifier: MIT */
/* role.h - the roles of a node (replica.h draws them), the allowed moves, and what a node does when it
 * enters or leaves a role. No other file changes the role. */
#ifndef JACKDAW_REPLICATION_ROLE_H
#define JACKDAW_REPLICATION_ROLE_H

#include "replication/state.h"

/* ---- LOOKING ---- */

/* Enters LOOKING if the node is not there, and polls for a master. An election begins wait_ms later, or
 * as soon as every member has answered; needs_all: a refused connection is then no answer. */
void replica_role_look(struct replica *r, uint64_t wait_ms, bool needs_all);

/* Enters LOOKING with the usual wait. */
void replica_role_step_down(struct replica *r);

/* Polls anew after a suspension of the process, which proves nothing about others. An unfinished
 * election ends. */
void replica_role_poll_again(struct replica *r);

/* ---- following a master ---- */

/* Enters JOINING with the sender of a JOIN_REPLY as the master, whose epoch is not below the promise.
 * Takes its cluster, raises the promise to its epoch. */
void replica_role_follow(struct replica *r, const struct replica_message *reply);

/* JOINING or SLAVE, by what the log says; at the end of a step. */
void replica_role_update(struct replica *r);

/* The master is lost: a follower enters SUSPECTING and polls. */
void replica_role_suspect(struct replica *r);

/* Does the same if the master is silent for longer than it usually is. An election then needs another node
 * that suspects, too, or a silence of ping_timeout_ms: the connection may be slow to this node only.
 * is_suspected: another node suspects the master, so a node that has just begun to learn suspects it, too. */
void replica_role_suspect_silence(struct replica *r, bool is_suspected);

/* Copies the delays that this node expects of its master. false: none are known. */
bool replica_role_learned(const struct replica *r, struct silence *out);

/* Notes a message of the master; a node that suspected the master follows it again. */
void replica_role_note_master(struct replica *r);

/* Whether this node is the master, or its master is not silent for longer than usual. */
bool replica_sees_master(const struct replica *r);

/* ---- being elected ---- */

/* Draws an epoch above every one that this node knows, and promises it: the counter is higher, the low
 * 16 bits are this node's id. */
void replica_role_draw_epoch(struct replica *r);

/* Enters CANDIDATE of a new epoch and asks for promises. */
void replica_role_stand(struct replica *r);

/* Enters RECOVERING_LOG: fetches the log of a voter up to want. */
void replica_role_recover_log(struct replica *r, uint16_t source, struct log_position want);

/* Enters MASTER of the promised epoch: appends a list of members as the first entry, in which only
 * members that promised are in sync, and announces itself. */
void replica_role_lead(struct replica *r);

/* ---- REMOVED ---- */

/* Leaves the cluster for good. */
void replica_role_remove(struct replica *r);

/* ---- checks ---- */

/* Appends a ROLE action. */
void replica_role_report(struct replica *r);

/* Asserts the invariants of the role, after every step. */
void replica_role_check(const struct replica *r);

#endif
