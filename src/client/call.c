/* SPDX-License-Identifier: MIT */
#include "client/client_internal.h"

#include <string.h>

/* Room for any request. */
struct message {
    union {
        ProtobufCMessage base;
        Jackdaw__InfoRequest info;
        Jackdaw__RegisterRequest register_account;
        Jackdaw__LoginRequest login;
        Jackdaw__LogoutRequest logout;
        Jackdaw__DeleteAccountRequest delete_account;
        Jackdaw__ListAccountsRequest accounts;
        Jackdaw__HeartbeatRequest heartbeat;
        Jackdaw__JoinRoomRequest join;
        Jackdaw__LeaveRoomRequest leave;
        Jackdaw__ListRoomsRequest rooms;
        Jackdaw__ListMembersRequest members;
        Jackdaw__SetTopicRequest topic;
        Jackdaw__InviteRequest invite;
        Jackdaw__KickRequest kick;
        Jackdaw__SendRequest send;
        Jackdaw__HistoryRequest history;
        Jackdaw__SetTypingRequest typing;
        Jackdaw__StatusRequest status;
    };
    struct read_position read_position;
};

static const struct call_kind kinds[] = {
    [CLIENT_INFO] = {.method = "Info"},
    [CLIENT_LOGIN] = {.method = "Login", .barrier = true, .slow = true},
    [CLIENT_LOGOUT] = {.method = "Logout", .session = true, .numbered = true, .barrier = true},
    [CLIENT_DELETE] = {.method = "DeleteAccount",
                       .session = true,
                       .numbered = true,
                       .barrier = true,
                       .slow = true},
    [CLIENT_ACCOUNTS] = {.method = "ListAccounts", .session = true},
    [CLIENT_HEARTBEAT] = {.method = "Heartbeat", .session = true},
    [CLIENT_JOIN] = {.method = "JoinRoom", .session = true, .numbered = true},
    [CLIENT_LEAVE] = {.method = "LeaveRoom", .session = true, .numbered = true},
    [CLIENT_ROOMS] = {.method = "ListRooms", .session = true},
    [CLIENT_MEMBERS] = {.method = "ListMembers", .session = true},
    [CLIENT_TOPIC] = {.method = "SetTopic", .session = true, .numbered = true},
    [CLIENT_INVITE] = {.method = "Invite", .session = true, .numbered = true},
    [CLIENT_KICK] = {.method = "Kick", .session = true, .numbered = true},
    [CLIENT_SEND] = {.method = "Send", .session = true, .numbered = true},
    [CLIENT_HISTORY] = {.method = "History", .session = true},
    [CLIENT_TYPING] = {.method = "SetTyping", .session = true},
    [CLIENT_STATUS] = {.method = "Status", .once = true},
};

const struct call_kind *call_kind_of(enum client_call call)
{
    ASSERT((size_t)call < sizeof kinds / sizeof kinds[0]);
    return &kinds[call];
}

/* The generated types have no const; packing does not change the strings. */
static char *text_of(const char *text)
{
    return (char *)text;
}

/* Where the account has to be made first, a login is two calls. */
static bool is_registering(const struct request *request)
{
    return request->asked.manner != CLIENT_ACCOUNT_EXISTS && !request->registered;
}

static void fill_login(struct request *request, struct message *message)
{
    if (is_registering(request)) {
        jackdaw__register_request__init(&message->register_account);
        message->register_account.name = text_of(request->asked.name);
        message->register_account.password = text_of(request->asked.password);
        message->register_account.nonce.data = request->nonce;
        message->register_account.nonce.len = sizeof request->nonce;
        return;
    }
    jackdaw__login_request__init(&message->login);
    message->login.name = text_of(request->asked.name);
    message->login.password = text_of(request->asked.password);
    message->login.token.data = request->secret;
    message->login.token.len = sizeof request->secret;
    message->login.device = request->client->device;
    message->login.replaces = request->asked.replaces;
    message->login.choose = true;
}

static void fill_session(struct request *request, struct message *message)
{
    cursor_write(&request->client->stream.cursor, &message->read_position);
    switch (request->asked.call) {
    case CLIENT_LOGOUT:
        jackdaw__logout_request__init(&message->logout);
        message->logout.request = request->number;
        message->logout.after = &message->read_position.after;
        break;
    case CLIENT_DELETE:
        jackdaw__delete_account_request__init(&message->delete_account);
        message->delete_account.request = request->number;
        message->delete_account.password = text_of(request->asked.password);
        message->delete_account.after = &message->read_position.after;
        break;
    default:
        jackdaw__heartbeat_request__init(&message->heartbeat);
        message->heartbeat.after = &message->read_position.after;
        message->heartbeat.cursor_history = message->read_position.list;
        message->heartbeat.n_cursor_history = message->read_position.count;
        break;
    }
}

static void fill_list(struct request *request, struct message *message)
{
    switch (request->asked.call) {
    case CLIENT_ACCOUNTS:
        jackdaw__list_accounts_request__init(&message->accounts);
        message->accounts.pattern = text_of(request->asked.name);
        message->accounts.after = text_of(request->asked.after);
        message->accounts.limit = request->asked.limit;
        break;
    case CLIENT_ROOMS:
        jackdaw__list_rooms_request__init(&message->rooms);
        message->rooms.pattern = text_of(request->asked.name);
        message->rooms.after = text_of(request->asked.after);
        message->rooms.limit = request->asked.limit;
        message->rooms.joined = request->asked.joined;
        break;
    default:
        jackdaw__list_members_request__init(&message->members);
        message->members.room = text_of(request->asked.room);
        message->members.after = text_of(request->asked.after);
        message->members.limit = request->asked.limit;
        break;
    }
}

static void fill_change(struct request *request, struct message *message)
{
    switch (request->asked.call) {
    case CLIENT_JOIN:
        jackdaw__join_room_request__init(&message->join);
        message->join.request = request->number;
        message->join.room = text_of(request->asked.room);
        message->join.private_ = request->asked.private_room;
        break;
    case CLIENT_LEAVE:
        jackdaw__leave_room_request__init(&message->leave);
        message->leave.request = request->number;
        message->leave.room = text_of(request->asked.room);
        break;
    case CLIENT_TOPIC:
        jackdaw__set_topic_request__init(&message->topic);
        message->topic.request = request->number;
        message->topic.room = text_of(request->asked.room);
        message->topic.topic = text_of(request->asked.text);
        break;
    case CLIENT_INVITE:
        jackdaw__invite_request__init(&message->invite);
        message->invite.request = request->number;
        message->invite.room = text_of(request->asked.room);
        message->invite.name = text_of(request->asked.name);
        break;
    default:
        jackdaw__kick_request__init(&message->kick);
        message->kick.request = request->number;
        message->kick.room = text_of(request->asked.room);
        message->kick.name = text_of(request->asked.name);
        message->kick.ban = request->asked.ban;
        break;
    }
}

static void fill_talk(struct request *request, struct message *message)
{
    switch (request->asked.call) {
    case CLIENT_SEND:
        jackdaw__send_request__init(&message->send);
        message->send.request = request->number;
        message->send.to = text_of(request->asked.room);
        message->send.text = text_of(request->asked.text);
        break;
    case CLIENT_HISTORY:
        jackdaw__history_request__init(&message->history);
        message->history.room = text_of(request->asked.room);
        message->history.before = request->asked.before;
        message->history.limit = request->asked.limit;
        break;
    default:
        jackdaw__set_typing_request__init(&message->typing);
        message->typing.room = text_of(request->asked.room);
        message->typing.typing = request->asked.active;
        break;
    }
}

static void fill(struct request *request, struct message *message)
{
    switch (request->asked.call) {
    case CLIENT_INFO:
        jackdaw__info_request__init(&message->info);
        message->info.client = request->client->program;
        break;
    case CLIENT_LOGIN:
        fill_login(request, message);
        break;
    case CLIENT_LOGOUT:
    case CLIENT_DELETE:
    case CLIENT_HEARTBEAT:
        fill_session(request, message);
        break;
    case CLIENT_ACCOUNTS:
    case CLIENT_ROOMS:
    case CLIENT_MEMBERS:
        fill_list(request, message);
        break;
    case CLIENT_JOIN:
    case CLIENT_LEAVE:
    case CLIENT_TOPIC:
    case CLIENT_INVITE:
    case CLIENT_KICK:
        fill_change(request, message);
        break;
    case CLIENT_SEND:
    case CLIENT_HISTORY:
    case CLIENT_TYPING:
        fill_talk(request, message);
        break;
    case CLIENT_STATUS:
        jackdaw__status_request__init(&message->status);
        break;
    }
}

void call_method(struct rpc_stub *stub, const char *method, const ProtobufCMessage *message,
                 ProtobufCClosure closure, void *result)
{
    const ProtobufCServiceDescriptor *service = stub->service.descriptor;
    const ProtobufCMethodDescriptor *found =
        protobuf_c_service_descriptor_get_method_by_name(service, method);
    ASSERT(found != NULL);
    stub->service.invoke(&stub->service, (unsigned)(found - service->methods), message, closure,
                         result);
}

void call_invoke(struct request *request, struct rpc_stub *stub, ProtobufCClosure closure)
{
    struct message message;
    fill(request, &message);
    if (request->asked.call == CLIENT_STATUS)
        stub->service.descriptor = &jackdaw__operator__descriptor;
    bool registering = request->asked.call == CLIENT_LOGIN && is_registering(request);
    call_method(stub, registering ? "RegisterAccount" : kinds[request->asked.call].method,
                &message.base, closure, request);
}
