/* SPDX-License-Identifier: MIT */
/* reads.h - a slave answers requests that change nothing from its own committed state.
 *
 *     HERE      in sync, and the master was heard within --ping_timeout: answered here, once the state
 *               contains the position that the request names (Terry et al., "Session Guarantees for
 *               Weakly Consistent Replicated Data", 1994: read your writes, monotonic reads)
 *     LATER     a master is being replaced, or has not answered a report yet: the request waits
 *     ELSEWHERE this slave is not in sync, or the master is too old (reports.h): forwarded
 *     NOWHERE   no master was heard for too long: UNAVAILABLE, and streams end; clients move on
 *
 * A request waits READS_WAIT_MS at most, and less where its caller waits less; then it is refused with
 * UNAVAILABLE.
 *
 * A request that names no position is of an older client, or the first one after a restart of a client.
 * This slave cannot tell which state the session has seen, and forwards the request. Receive names its
 * cursor. Core thread only. */
#ifndef JACKDAW_SERVER_READS_H
#define JACKDAW_SERVER_READS_H

#include "rpc/server.h"
#include "server/session_class.h"

#include <protobuf-c/protobuf-c.h>
#include <stdbool.h>
#include <stdint.h>

struct core;
struct read_wait;

#define READS_WAITING_MAX 4096 /* further ones: RESOURCE_EXHAUSTED with retry_ms */
#define READS_WAITING_EACH 256 /* the same for the sessions of one class (session_class.h) */
#define READS_WAIT_MS 500u

struct reads {
    struct read_wait *waiting; /* doubly linked, in the order of arrival */
    size_t waiting_count;
    uint16_t waiting_of_class[SESSION_CLASSES];
    uint64_t here_ms; /* when this server last was HERE, or the master */
    bool was_here;
    uint64_t read_ms; /* when it last took a read */
    uint64_t taken;   /* reads answered here since the start */
};

/* For the admit hook of a slave that forwards. Returns whether the handler is to run now; otherwise the
 * call is taken. */
bool reads_admit(struct core *core, struct rpc_call *call, const ProtobufCService *service,
                 unsigned method, const ProtobufCMessage *input);

/* Goes on with waiting reads. While the commit log is free. */
void reads_work(struct core *core);

/* Notes where reads are answered now, and ends the streams of a slave that has no master. Once a turn. */
void reads_tick(struct core *core);

/* Whether clients read here: there are streams, or there was a read of late. */
bool reads_have_readers(const struct core *core);

/* Refuses waiting reads. text: a sentence, borrowed. */
void reads_release(struct core *core, const char *text);

#endif
