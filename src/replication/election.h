/* SPDX-License-Identifier: MIT */
/* election.h - from "no node sees a master" to a new epoch: poll, turn, promises, decision. */
#ifndef JACKDAW_REPLICATION_ELECTION_H
#define JACKDAW_REPLICATION_ELECTION_H

#include "replication/state.h"

/* LOOKING or SUSPECTING: repeats LEADER_QUERY, and begins an election if it is due. */
void replica_poll_tick(struct replica *r);
void replica_poll_evaluate(struct replica *r);

/* Answers a LEADER_QUERY, or, with suspect 0, any message that was meant for another node. suspect: the
 * master that the sender lost. */
void replica_answer_leader(struct replica *r, const struct replica_message *message,
                           uint16_t suspect);
void replica_receive_leader_query(struct replica *r, const struct replica_message *message);
void replica_receive_leader_info(struct replica *r, const struct replica_message *message);

/* Starts an election above the promise of a member, which can follow no lower epoch. A master whose
 * disk hangs steps down instead: it cannot make a promise durable, and would replace the master that
 * was elected meanwhile. */
void replica_renew_epoch(struct replica *r);

void replica_receive_prepare(struct replica *r, const struct replica_message *message);
void replica_receive_promise(struct replica *r, const struct replica_message *message);

/* CANDIDATE: repeats PREPARE, and decides if enough nodes promised or PROMISE_WAIT_MS are over. */
void replica_election_tick(struct replica *r);
void replica_election_check(struct replica *r);

/* RECOVERING_LOG: the best log is here. The list in it may differ from the one before, so this function
 * checks again that enough members promised. */
void replica_election_log_recovered(struct replica *r);

#endif
