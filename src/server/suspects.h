/* SPDX-License-Identifier: MIT */
/* suspects.h - requests that may have ended a server.
 *
 * A request that its client sent before without an answer (rpc_call_resent) may be why the server
 * that had it is gone. Were it simply carried out, it would end this server, too, and then the next.
 * So it is held until the end of the turn and tried in a child process first (trial.h), together with
 * all others of the turn, and with what its session sends behind it: the order stays. If the child passes,
 * they are carried out. If it dies, those before the one it died of are carried out, and that one is
 * tried once more, as the first of the next turn. If the child dies of it again, the request is
 * refused: INTERNAL, an outcome in the log like any refusal.
 *
 * A child that computes until the bound counts as one that died. One that was merely slow or hung
 * counts for nothing; after UNKNOWNS_MAX of these in a row the first request is carried out untried,
 * because refusing it would be certain harm.
 *
 * What workers do for a request (hash a password, read history) is not tried.
 *
 * Core thread only. */
#ifndef JACKDAW_SERVER_SUSPECTS_H
#define JACKDAW_SERVER_SUSPECTS_H

#include "base/error.h"
#include "rpc/server.h"

#include <protobuf-c/protobuf-c.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct core;

#define SUSPECTS_MAX 16384u /* held at once; more are refused with RESOURCE_EXHAUSTED */
#define SUSPECTS_BYTES_MAX (64u * 1024u * 1024u) /* of memory that they take, likewise */
#define SUSPECTS_AT_ONCE 256u
#define SUSPECTS_TOKENS 256u /* classes of tokens, by their first byte */
#define SUSPECTS_PAUSE \
    3u /* between trials, times what the last one took: they are costly, and any
                              * client can ask for them */

/* One that is held. Lives in the waiting call's arena. */
struct suspect {
    struct suspect *next;
    struct rpc_call *call;
    const ProtobufCMessage *input; /* its request */
    /* Carries it out, here and in the child. */
    void (*run)(struct core *core, struct suspect *suspect);
    size_t bytes;    /* of its call, when it was put here */
    uint8_t token;   /* class */
    unsigned deaths; /* of children */
    unsigned unknowns;
};

/* Zeroed: none. */
struct suspects {
    struct suspect *first;
    struct suspect *last;
    size_t count;
    size_t bytes;
    uint32_t tokens[SUSPECTS_TOKENS]; /* how many of each class are held */
    uint64_t next_ms;                 /* no trial before; monotonic */
    uint64_t refused;                 /* since the start */
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
