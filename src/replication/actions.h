/* SPDX-License-Identifier: MIT */
/* actions.h - the list of actions that a step returns. */
#ifndef JACKDAW_REPLICATION_ACTIONS_H
#define JACKDAW_REPLICATION_ACTIONS_H

#include "replication/state.h"

/* Appends an action, zeroed but for its kind. Asserts that the list has room: the largest step makes
 * fewer than REPLICA_ACTIONS_MAX. The pointer is valid until the next step. */
struct replica_action *replica_act(struct replica *r, enum replica_action_kind kind);

/* Appends a PERSIST of the promise and the cluster. */
void replica_persist(struct replica *r);

/* Raises the promise to epoch, durably. epoch must not be below the promise; if it is equal, the
 * promise is durable already. */
void replica_raise_promise(struct replica *r, uint64_t epoch);

/* Appends a REPORT. received (of this event) and address are borrowed; both may be NULL. */
struct replica_action *replica_report(struct replica *r, enum replica_news news,
                                      const struct replica_message *received, const char *address);

#endif
