/* SPDX-License-Identifier: MIT */
/* stream.h - entries from the master to its slaves, and the pings that show that both are alive. */
#ifndef JACKDAW_REPLICATION_STREAM_H
#define JACKDAW_REPLICATION_STREAM_H

#include "replication/state.h"

/* The event PROPOSE. ERROR_REFUSED: this node is not the master, or count is 0. */
enum error replica_propose(struct replica *r, const struct replica_event *event);

void replica_receive_append(struct replica *r, const struct replica_message *message);
void replica_receive_committed(struct replica *r, const struct replica_message *message);
void replica_receive_fetch(struct replica *r, const struct replica_message *message);
void replica_receive_entries(struct replica *r, const struct replica_message *message);
void replica_receive_ping(struct replica *r, const struct replica_message *message);
void replica_receive_pong(struct replica *r, const struct replica_message *message);

/* A follower pings its master, and suspects it after ping_timeout_ms without a message. */
void replica_stream_tick(struct replica *r);

#endif
