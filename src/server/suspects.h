/* SPDX-License-Identifier: MIT */
/* suspects.h - requests that may have ended a server.
 *
 * A request that its client sent before without an answer (rpc_call_resent) may have ended the
 * previous server, and could end this one and the next. So the master holds such a request until
 * the end of the turn. Later requests of the same session are held too, to keep their order. Then
 * it runs all held requests in a child process first (trial.h). If the child passes, the master
 * executes them. If the child dies, the master executes the requests before the fatal one, and
 * tries the fatal one again first in the next turn. If a second child dies of it, the master
 * refuses the request: INTERNAL, an outcome in the log like any refusal.
 *
 * A child that computes until the bound counts as dead. A child that was merely slow or hung gives
 * no verdict. After UNKNOWNS_MAX of these in a row the master executes the first request without a
 * trial, because a refusal would be certain harm. If no child has even begun, UNKNOWNS_MAX times in a
 * row, the master does so with all requests of that trial, and of each one until a child begins again.
 *
 * The trial leaves out the work of worker threads (hashing a password, reading history).
 *
 * Core thread only. */
#ifndef JACKDAW_SERVER_SUSPECTS_H
#define JACKDAW_SERVER_SUSPECTS_H

#include "base/error.h"
#include "rpc/server.h"
#include "server/session_class.h"

#include <protobuf-c/protobuf-c.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct core;

#define SUSPECTS_MAX 16384u /* held at once; more are refused with RESOURCE_EXHAUSTED */
#define SUSPECTS_BYTES_MAX (64u * 1024u * 1024u) /* of memory that they take, likewise */
#define SUSPECTS_AT_ONCE 256u
#define SUSPECTS_PAUSE \
    3u /* between trials, times what the last one took: they are costly, and any
                              * client can ask for them */

/* A held request. Lives in the waiting call's arena. */
struct suspect {
    struct suspect *prev, *next;
    struct rpc_call *call;
    const ProtobufCMessage *input; /* its request */
    /* Carries it out, here and in the child. */
    void (*run)(struct core *core, struct suspect *suspect);
    size_t bytes; /* of its call, when it was put here */
    uint8_t session_class;
    unsigned deaths; /* of children */
    unsigned unknowns;
};

/* Zeroed: none. */
struct suspects {
    struct suspect *first;
    size_t count;
    size_t bytes;
    unsigned no_child;                 /* trials in a row in which no child began */
    uint32_t classes[SESSION_CLASSES]; /* how many of each class are held */
    uint64_t next_ms;                  /* no trial before; monotonic */
    uint64_t refused;                  /* since the start */
};

/* Takes a call of the hook `admit` in its handler's place: to be held, or answered because too many
 * are. false: it need not be held. */
bool suspects_take(struct core *core, struct rpc_call *call, const ProtobufCMessage *input);

/* Holds what a call does after a worker came back: run, in suspect, which is zeroed. false: it need
 * not be held. */
bool suspects_hold(struct core *core, struct suspect *suspect, struct rpc_call *call,
                   const ProtobufCMessage *input,
                   void (*run)(struct core *core, struct suspect *suspect));

/* Tries and carries out what is held, as much as a turn takes. While the commit log is free. */
void suspects_work(struct core *core);

/* When suspects_work has something to do: a monotonic time in ms, or UINT64_MAX. */
uint64_t suspects_deadline_ms(const struct core *core);

/* Ends the calls that are held. */
void suspects_release(struct core *core, const char *text);

#endif
