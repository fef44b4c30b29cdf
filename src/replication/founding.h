/* SPDX-License-Identifier: MIT */
/* founding.h - founding a cluster, and not founding one beside another. */
#ifndef JACKDAW_REPLICATION_FOUNDING_H
#define JACKDAW_REPLICATION_FOUNDING_H

#include "replication/state.h"

/* Founds the cluster options.new_cluster; LOOKING. This node is its first member and master. */
void replica_found(struct replica *r);

/* LOOKING: founds a cluster if that is due and none was found. */
void replica_founding_tick(struct replica *r);

/* A node without a cluster notes a message: its sender has a cluster, or has none either. address: see
 * REPLICA_RECEIVE. */
void replica_founding_note(struct replica *r, const struct replica_message *message,
                           const char *address);

/* Gives this node's blank cluster up for that of the sender, if that one goes first. Returns whether it
 * did. */
bool replica_founding_yield(struct replica *r, const struct replica_message *message,
                            const char *address);

#endif
