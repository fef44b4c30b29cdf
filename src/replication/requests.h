/* SPDX-License-Identifier: MIT */
/* requests.h - messages that a node sends on its own, not as an answer. Each function notes the time if
 * the message is to be repeated. */
#ifndef JACKDAW_REPLICATION_REQUESTS_H
#define JACKDAW_REPLICATION_REQUESTS_H

#include "replication/state.h"

/* LEADER_QUERY to every address that a member, a seed or the caller may have; in one step at most once
 * to each address. */
void replica_ask_for_leader(struct replica *r);

/* JOIN to a master. address: where it may be if id is no member; NULL: unknown. Does nothing if the same
 * node was asked within RESEND_MS, except with is_urgent. */
void replica_ask_to_join(struct replica *r, uint16_t id, const char *address, bool is_urgent);

/* JOIN to the voter with the best log, from which a candidate fetches entries. */
void replica_ask_for_log(struct replica *r);

/* FETCH of the entries after the own log, and SNAPSHOT_REQUEST of the next bytes; to catch_up.source. */
void replica_ask_for_entries(struct replica *r);
void replica_ask_for_chunk(struct replica *r);

/* PREPARE to every member that has not promised. */
void replica_ask_for_promises(struct replica *r);

/* PING to the master. */
void replica_ping(struct replica *r);

/* ACK to the master. Does nothing while this log is no prefix of the master's. A node follows no master
 * below its promise (replica_role_check). */
void replica_send_ack(struct replica *r);

/* ANNOUNCE of this master to a member. */
void replica_announce(struct replica *r, uint16_t id);

#endif
