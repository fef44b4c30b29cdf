/* SPDX-License-Identifier: MIT */
/* send.h - actions that carry a message. Each function appends the action and returns the message with
 * its header filled; the caller sets epoch and the member of the union. The pointer is valid until the
 * next step. */
#ifndef JACKDAW_REPLICATION_SEND_H
#define JACKDAW_REPLICATION_SEND_H

#include "replication/state.h"

/* to: the id of a node; 0: the caller sets address. */
struct replica_message *replica_send(struct replica *r, enum replica_message_kind kind,
                                     uint16_t to);

/* A message that another action than SEND carries. */
struct replica_message *replica_send_with(struct replica *r, enum replica_action_kind action,
                                          enum replica_message_kind kind, uint16_t to);

/* The master that this node follows, or is. The address is valid until the next step. */
struct replica_leader replica_own_leader(const struct replica *r);

#endif
