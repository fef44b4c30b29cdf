/* SPDX-License-Identifier: MIT */
/* handlers.h - the handlers of the Chat service, one per call of proto/spec.proto. A handler
 * validates through src/chat, proposes to the commit log and answers through answer.h; a handler that
 * needs a worker continues when the worker is done. Core thread only. */
#ifndef JACKDAW_SERVER_HANDLERS_H
#define JACKDAW_SERVER_HANDLERS_H

#include "server/core.h"

/* Fills core->service and registers it with the server for clients, with the bounds of each
 * method's requests. */
enum error handlers_register(struct core *core);

/* rpc_server_options.admit; context is the core. Admits calls that this server can answer (reads.h), and
 * forwards other calls to the master, or redirects them. */
bool handlers_admit(void *context, struct rpc_call *call, const ProtobufCService *service,
                    unsigned method, const ProtobufCMessage *input);

/* The core that a handler's service belongs to. */
static inline struct core *core_of(Jackdaw__Chat_Service *service)
{
    return (struct core *)((char *)service - offsetof(struct core, service));
}

#define HANDLER(name, type)                                                                     \
    void handle_##name(Jackdaw__Chat_Service *service, const Jackdaw__##type##Request *request, \
                       Jackdaw__##type##Reply_Closure closure, void *closure_data)

HANDLER(info, Info);
HANDLER(register_account, Register);
HANDLER(login, Login);
HANDLER(logout, Logout);
HANDLER(delete_account, DeleteAccount);
HANDLER(list_accounts, ListAccounts);
HANDLER(heartbeat, Heartbeat);
HANDLER(join_room, JoinRoom);
HANDLER(leave_room, LeaveRoom);
HANDLER(list_rooms, ListRooms);
HANDLER(list_members, ListMembers);
HANDLER(set_topic, SetTopic);
HANDLER(invite, Invite);
HANDLER(kick, Kick);
HANDLER(send, Send);
HANDLER(history, History);
HANDLER(set_typing, SetTyping);
HANDLER(receive, Receive);

#endif
