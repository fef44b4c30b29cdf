/* SPDX-License-Identifier: MIT */
/* contact.h - who is there: a member speaks, is lost, or a node of another cluster has its address. */
#ifndef JACKDAW_REPLICATION_CONTACT_H
#define JACKDAW_REPLICATION_CONTACT_H

#include "replication/state.h"

/* A message of the peer has come. address: see REPLICA_RECEIVE. */
void replica_contact_note(struct replica *r, struct peer *peer,
                          const struct replica_message *message, const char *address);

/* No member but `by` (0: none) is at address. */
void replica_contact_lost(struct replica *r, const char *address, uint16_t by);

/* A message of a node of another cluster, or of a node without one at a member's address. The member
 * counts as absent, and nothing else follows. */
void replica_contact_stranger(struct replica *r, const struct replica_message *message,
                              const char *address);

#endif
