/* SPDX-License-Identifier: MIT */
/* Sending, receiving, typing, heartbeats. */
#include "proto/convert.h"
#include "server/answer.h"
#include "server/handlers.h"

#define RETRY_BEHIND_MS 200u /* by then a server that lags slightly knows the epoch */

static void reply_send(struct core *core, struct rpc_call *call, struct chat_call *chat_call,
                       const struct chat_outcome *outcome)
{
    Jackdaw__SendReply reply = JACKDAW__SEND_REPLY__INIT;
    enum error error = chat_answer_send(core->chat, chat_call, outcome, &reply);
    answer_either(core, call, chat_call, error, &reply.base);
}

HANDLER(send, Send)
{
    (void)closure;
    struct core *core = core_of(service);
    struct rpc_call *call = closure_data;
    struct chat_call chat_call;
    if (!answer_begin(core, call, &chat_call))
        return;
    enum chat_decision decision = chat_propose_send(core->chat, &chat_call, request);
    answer_numbered(core, call, &chat_call, request->request, decision, reply_send);
}

HANDLER(set_typing, SetTyping)
{
    (void)closure;
    struct core *core = core_of(service);
    struct rpc_call *call = closure_data;
    struct chat_call chat_call;
    if (!answer_begin(core, call, &chat_call))
        return;
    Jackdaw__SetTypingReply reply = JACKDAW__SET_TYPING_REPLY__INIT;
    enum error error = chat_set_typing(core->chat, &chat_call, request);
    answer_either(core, call, &chat_call, error, &reply.base);
}

HANDLER(heartbeat, Heartbeat)
{
    (void)closure;
    struct core *core = core_of(service);
    struct rpc_call *call = closure_data;
    struct chat_call chat_call;
    if (!answer_begin(core, call, &chat_call))
        return;
    struct log_position committed = commit_log_committed(core->commit_log);
    Jackdaw__Position position = proto_position_message(committed);
    Jackdaw__HeartbeatReply reply = JACKDAW__HEARTBEAT_REPLY__INIT;
    reply.time_ms = core->wall_ms;
    chat_call.committed_seq = committed.seq;
    enum error error = chat_answer_heartbeat(core->chat, &chat_call, request, &reply);
    reply.position = &position;
    answer_either(core, call, &chat_call, error, &reply.base);
}

HANDLER(receive, Receive)
{
    (void)closure;
    struct core *core = core_of(service);
    struct rpc_call *call = closure_data;
    struct chat_call chat_call;
    if (!answer_begin(core, call, &chat_call))
        return;
    if (chat_is_behind(core->chat, request->after)) {
        rpc_call_fail(call, STATUS_UNAVAILABLE, RETRY_BEHIND_MS,
                      "this server has not heard of the newest epoch yet");
        return;
    }
    chat_note_delivered(core->chat, chat_call.session,
                        chat_common_seq_of(core->chat, request->after, request->cursor_history,
                                           request->n_cursor_history));
    subscriptions_receive(core->subscriptions, chat_call.session, call, request);
}
