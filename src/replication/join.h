/* SPDX-License-Identifier: MIT */
/* join.h - how a node gets another's log: a slave its master's, a candidate the best one's. */
#ifndef JACKDAW_REPLICATION_JOIN_H
#define JACKDAW_REPLICATION_JOIN_H

#include "replication/state.h"

void replica_receive_join(struct replica *r, const struct replica_message *message);
void replica_receive_join_reply(struct replica *r, const struct replica_message *message);
void replica_receive_join_rejected(struct replica *r, const struct replica_message *message);
/* Takes a JOIN_REJECTED as said of this node. Only a node without data ends because of it, or a node
 * that has left. */
void replica_note_rejection(struct replica *r, const struct replica_message *message);

void replica_receive_snapshot_request(struct replica *r, const struct replica_message *message);
void replica_receive_snapshot_chunk(struct replica *r, const struct replica_message *message);
/* The events CHECKED and INSTALLED. */
void replica_checked(struct replica *r);
void replica_installed(struct replica *r, const struct replica_state *state);

/* The own log has reached catch_up.want. */
void replica_caught_up(struct replica *r);

/* JOINING, SLAVE, SUSPECTING, RECOVERING_LOG: repeats requests that have no answer. */
void replica_join_tick(struct replica *r);

#endif
