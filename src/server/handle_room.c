/* SPDX-License-Identifier: MIT */
/* Rooms: leave, topic, invite, kick. Joining, which reads history, is in handle_history.c. */
#include "server/answer.h"
#include "server/handlers.h"

/* Defines the handler of a numbered request whose reply has no fields. */
#define EMPTY_REPLY_HANDLER(name, type, constant, propose)                                    \
    static void reply_##name(struct core *core, struct rpc_call *call,                        \
                             struct chat_call *chat_call, const struct chat_outcome *outcome) \
    {                                                                                         \
        (void)chat_call;                                                                      \
        (void)outcome;                                                                        \
        Jackdaw__##type##Reply reply = JACKDAW__##constant##_REPLY__INIT;                     \
        answer_message(core, call, &reply.base);                                              \
    }                                                                                         \
    HANDLER(name, type)                                                                       \
    {                                                                                         \
        (void)closure;                                                                        \
        struct core *core = core_of(service);                                                 \
        struct rpc_call *call = closure_data;                                                 \
        struct chat_call chat_call;                                                           \
        if (!answer_begin(core, call, &chat_call))                                            \
            return;                                                                           \
        enum chat_decision decision = propose(core->chat, &chat_call, request);               \
        answer_numbered(core, call, &chat_call, request->request, decision, reply_##name);    \
    }

EMPTY_REPLY_HANDLER(leave_room, LeaveRoom, LEAVE_ROOM, chat_propose_leave)
EMPTY_REPLY_HANDLER(set_topic, SetTopic, SET_TOPIC, chat_propose_topic)
EMPTY_REPLY_HANDLER(invite, Invite, INVITE, chat_propose_invite)
EMPTY_REPLY_HANDLER(kick, Kick, KICK, chat_propose_kick)
