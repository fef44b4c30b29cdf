/* SPDX-License-Identifier: MIT */
/* answer.h - common parts of the handlers of the Chat service: the caller's session, and answers
 * that wait for a commit. Core thread only. */
#ifndef JACKDAW_SERVER_ANSWER_H
#define JACKDAW_SERVER_ANSWER_H

#include "server/core.h"

#include <stdbool.h>

/* Prepares *out for a call without a session. */
void answer_anonymous(struct core *core, struct rpc_call *call, struct chat_call *out);

/* Finds the caller's session and lets it through the rate limit. false: the call was answered
 * (UNAUTHENTICATED, RESOURCE_EXHAUSTED) and is gone. */
bool answer_begin(struct core *core, struct rpc_call *call, struct chat_call *out);

/* Ends the call with reply once the state it was read from is committed; UNAVAILABLE if that was
 * rolled back. reply is packed before this returns. */
void answer_message(struct core *core, struct rpc_call *call, const ProtobufCMessage *reply);

/* The same with a reply that was packed into the call's arena. */
void answer_packed(struct core *core, struct rpc_call *call, const uint8_t *bytes, size_t size);

/* Ends the call with a refusal (chat_call.status, .text, .retry_ms), after the commit of its
 * state. */
void answer_refusal(struct core *core, struct rpc_call *call, const struct chat_call *refused);

/* Refuses a caller without a session (UNAUTHENTICATED), after the commit: the session's end may not
 * be committed yet. text NULL: the session has ended. */
void answer_ended(struct core *core, struct rpc_call *call, struct chat_call *chat_call,
                  const char *text);

/* Ends the call with an operating error; the state is unchanged. */
void answer_error(struct core *core, struct rpc_call *call, enum error error);

/* Ends the call with what an unnumbered request came to: reply, or the refusal in chat_call. */
void answer_either(struct core *core, struct rpc_call *call, const struct chat_call *chat_call,
                   enum error error, const ProtobufCMessage *reply);

/* Makes the reply to a request whose outcome is OK, and ends the call with it. */
typedef void answer_outcome(struct core *core, struct rpc_call *call, struct chat_call *chat_call,
                            const struct chat_outcome *outcome);

/* Carries a numbered request to its end: applies the delta, or remembers the refusal, or finds the
 * first answer again. reply: NULL where a success ends the session, so that a number with the
 * outcome OK was another request's. */
void answer_numbered(struct core *core, struct rpc_call *call, struct chat_call *chat_call,
                     uint64_t request, enum chat_decision decision, answer_outcome *reply);

/* Ends the call with the refusal in chat_call. If the request is the session's next one and the
 * refusal is final (retry_ms 0), the refusal becomes the request's outcome. */
void answer_refused(struct core *core, struct rpc_call *call, struct chat_call *chat_call,
                    uint64_t request);

/* Applies chat_call->delta. false: the call was answered with the error and is gone; RESOURCE_EXHAUSTED
 * with retry_ms: the log is full (cluster.h). */
bool answer_propose(struct core *core, struct rpc_call *call, const struct chat_call *chat_call);

#endif
