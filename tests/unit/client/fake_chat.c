/* SPDX-License-Identifier: MIT */
#include "fake_chat.h"

#include "base/clock.h"
#include "base/error.h"

#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define FIRST_SESSION UINT64_C(0xA000000000000001)
#define ABORTED_RETRY_MS 5

void fake_cluster_init(struct fake_cluster *cluster)
{
    *cluster = (struct fake_cluster){.epoch = 65537, .page_events = 5, .message_bytes = 16384};
    ASSERT(task_queue_new(&cluster->queue) == OK);
    cluster->messages = calloc(FAKE_MESSAGES_MAX, sizeof *cluster->messages);
    ASSERT(cluster->messages != NULL);
}

void fake_cluster_release(struct fake_cluster *cluster)
{
    while (task_queue_run(cluster->queue, 1000) > 0)
        continue;
    task_queue_free(cluster->queue);
    free(cluster->messages);
}

static void copy_text(char out[static FAKE_TEXT_SIZE], const char *text)
{
    (void)snprintf(out, FAKE_TEXT_SIZE, "%s", text);
}

static struct fake_message *add_message(struct fake_cluster *cluster, const char *room,
                                        const char *from, const char *text)
{
    ASSERT(cluster->message_count < FAKE_MESSAGES_MAX);
    struct fake_message *message = &cluster->messages[cluster->message_count++];
    copy_text(message->room, room);
    copy_text(message->from, from);
    copy_text(message->text, text);
    message->kind = JACKDAW__EVENT__KIND__MESSAGE;
    message->epoch = cluster->epoch;
    message->seq = ++cluster->seq;
    message->number = cluster->message_count;
    return message;
}

void fake_order(struct fake_cluster *cluster, const char *method, enum fake_action action)
{
    cluster->order = (struct fake_order){.action = action, .method = method};
}

void fake_say(struct fake_cluster *cluster, const char *room, const char *from, const char *text)
{
    struct fake_message *message = add_message(cluster, room, from, text);
    message->session = 1;
    message->request = ++cluster->said;
}

void fake_happen(struct fake_cluster *cluster, Jackdaw__Event__Kind kind, const char *from)
{
    add_message(cluster, "lobby", from, "")->kind = kind;
}

void fake_repeat(struct fake_cluster *cluster, const struct fake_message *old)
{
    struct fake_message copy = *old;
    struct fake_message *message = add_message(cluster, copy.room, copy.from, copy.text);
    message->kind = copy.kind;
    message->session = copy.session;
    message->request = copy.request;
}

void fake_forget(struct fake_cluster *cluster, size_t messages, size_t session, uint64_t request)
{
    cluster->message_count = messages;
    cluster->seq = messages == 0 ? 0 : cluster->messages[messages - 1].seq;
    cluster->epoch += 65536;
    cluster->sessions[session].last_request = request;
}

static void hold(struct fake_server *server, struct rpc_call *call)
{
    ASSERT(server->held_count < FAKE_HELD_MAX);
    server->held[server->held_count++] = call;
}

static void fail_no_master(struct fake_server *server, struct rpc_call *call)
{
    if (server->redirect != NULL)
        rpc_call_redirect(call, server->redirect);
    rpc_call_fail(call, STATUS_UNAVAILABLE, 0, "not the master");
}

static enum fake_action judge(struct fake_server *server, const char *method, uint64_t number)
{
    struct fake_cluster *cluster = server->cluster;
    struct fake_order *order = &cluster->order;
    if (cluster->judge != NULL)
        return cluster->judge(cluster->context, server, method, number);
    if ((order->method != NULL && strcmp(order->method, method) != 0) ||
        (order->number != 0 && order->number != number) ||
        (order->server != NULL && order->server != server))
        return FAKE_OBEY;
    enum fake_action action = order->action;
    if (order->fail_status != STATUS_OK)
        server->fail_status = order->fail_status;
    if (order->once)
        order->action = FAKE_OBEY;
    return action;
}

/* False when the call was dealt with; *lose_answer as the judge says. */
static bool admit(struct fake_server *server, struct rpc_call *call, const char *method,
                  uint64_t number, bool *lose_answer)
{
    if (server->dying) {
        rpc_call_fail(call, STATUS_UNAVAILABLE, 0, "dying");
        return false;
    }
    enum fake_action action = judge(server, method, number);
    *lose_answer = action == FAKE_LOSE_ANSWER;
    if (action == FAKE_FAIL) {
        rpc_call_fail(call, server->fail_status, server->fail_retry_ms, "told to fail");
        return false;
    }
    if (action == FAKE_LOSE) {
        hold(server, call);
        return false;
    }
    if (!server->master && strcmp(method, "Info") != 0) {
        fail_no_master(server, call);
        return false;
    }
    return true;
}

static struct fake_session *session_of(struct fake_server *server, struct rpc_call *call)
{
    size_t size;
    const uint8_t *token = rpc_call_token(call, &size);
    for (size_t i = 0; i < server->cluster->session_count; i++) {
        struct fake_session *session = &server->cluster->sessions[i];
        if (size == sizeof session->token && memcmp(session->token, token, size) == 0 &&
            !session->ended)
            return session;
    }
    rpc_call_fail(call, STATUS_UNAUTHENTICATED, 0, "no such session");
    return NULL;
}

static void answer(struct fake_server *server, struct rpc_call *call, const ProtobufCMessage *reply,
                   bool lose_answer)
{
    if (lose_answer)
        hold(server, call);
    else
        rpc_call_reply(call, reply);
}

static struct fake_account *account_of(struct fake_cluster *cluster, const char *name)
{
    for (size_t i = 0; i < cluster->account_count; i++)
        if (strcmp(cluster->accounts[i].name, name) == 0)
            return &cluster->accounts[i];
    return NULL;
}

/* The head of a handler. */
#define HANDLER(name, Name)                                                                  \
    static void fake__##name(Jackdaw__Chat_Service *service,                                 \
                             __attribute__((unused)) const Jackdaw__##Name##Request *input,  \
                             __attribute__((unused)) Jackdaw__##Name##Reply_Closure closure, \
                             void *closure_data)

static Jackdaw__Position position_at(uint64_t epoch, uint64_t seq)
{
    Jackdaw__Position position = JACKDAW__POSITION__INIT;
    position.epoch = epoch;
    position.seq = seq;
    return position;
}

HANDLER(info, Info)
{
    struct fake_server *server = (struct fake_server *)service;
    struct fake_cluster *cluster = server->cluster;
    bool lose;
    cluster->infos_seen++;
    if (!admit(server, closure_data, "Info", 0, &lose))
        return;
    Jackdaw__InfoReply reply = JACKDAW__INFO_REPLY__INIT;
    Jackdaw__Limits limits = JACKDAW__LIMITS__INIT;
    char *names[4];
    for (size_t i = 0; i < cluster->server_count; i++)
        names[i] = cluster->servers[i];
    Jackdaw__Position position = position_at(
        server->is_new ? 0 : cluster->epoch - (server->is_past ? 65536 : 0), cluster->seq);
    limits.message_bytes = cluster->message_bytes;
    reply.master = server->master;
    reply.position = &position;
    reply.limits = &limits;
    reply.servers = names;
    reply.n_servers = cluster->server_count;
    uint8_t id[sizeof server->cluster->id];
    memcpy(id, server->cluster->id, sizeof id);
    if (server->cluster_id != 0)
        memset(id, server->cluster_id, sizeof id);
    reply.cluster = (ProtobufCBinaryData){.data = id, .len = sizeof id};
    if (server->is_lone)
        reply.n_servers = 1;
    answer(server, closure_data, &reply.base, lose);
}

HANDLER(register_account, Register)
{
    struct fake_server *server = (struct fake_server *)service;
    struct fake_cluster *cluster = server->cluster;
    bool lose;
    if (!admit(server, closure_data, "RegisterAccount", 0, &lose))
        return;
    struct fake_account *account = account_of(cluster, input->name);
    ASSERT(input->nonce.len == sizeof account->nonce);
    if (account != NULL && memcmp(account->nonce, input->nonce.data, input->nonce.len) != 0) {
        rpc_call_fail(closure_data, STATUS_ALREADY_EXISTS, 0, "the name is taken");
        return;
    }
    if (account == NULL) {
        account = &cluster->accounts[cluster->account_count++];
        copy_text(account->name, input->name);
        copy_text(account->password, input->password);
        memcpy(account->nonce, input->nonce.data, sizeof account->nonce);
    }
    Jackdaw__RegisterReply reply = JACKDAW__REGISTER_REPLY__INIT;
    reply.name = account->name;
    answer(server, closure_data, &reply.base, lose);
}

static struct fake_session *start_session(struct fake_cluster *cluster, const char *name,
                                          const uint8_t *token)
{
    for (size_t i = 0; i < cluster->session_count; i++)
        if (memcmp(cluster->sessions[i].token, token, 32) == 0 && !cluster->sessions[i].ended)
            return &cluster->sessions[i];
    ASSERT(cluster->session_count < FAKE_SESSIONS_MAX);
    struct fake_session *session = &cluster->sessions[cluster->session_count++];
    session->id = FIRST_SESSION + cluster->session_count;
    copy_text(session->name, name);
    memcpy(session->token, token, 32);
    return session;
}

#define PLACE_RETRY_MS 40000

/* Whether a place is free or becomes free by the replacement. A session that has the token needs none. */
static bool has_place(const struct fake_cluster *cluster, const Jackdaw__LoginRequest *input)
{
    size_t count = 0;
    for (size_t i = 0; i < cluster->session_count; i++) {
        const struct fake_session *session = &cluster->sessions[i];
        if (memcmp(session->token, input->token.data, sizeof session->token) == 0)
            return true;
        count += !session->ended && session->id != input->replaces;
    }
    return cluster->locations == 0 || count < cluster->locations;
}

static void end_replaced(struct fake_cluster *cluster, uint64_t id)
{
    for (size_t i = 0; i < cluster->session_count; i++)
        if (cluster->sessions[i].id == id)
            cluster->sessions[i].ended = true;
}

static void answer_devices(struct fake_server *server, struct rpc_call *call, bool lose)
{
    struct fake_cluster *cluster = server->cluster;
    Jackdaw__LoginReply reply = JACKDAW__LOGIN_REPLY__INIT;
    Jackdaw__Device devices[FAKE_SESSIONS_MAX];
    Jackdaw__Device *list[FAKE_SESSIONS_MAX];
    for (size_t i = 0; i < cluster->session_count; i++) {
        if (cluster->sessions[i].ended)
            continue;
        Jackdaw__Device *device = &devices[reply.n_devices];
        jackdaw__device__init(device);
        device->session = cluster->sessions[i].id;
        device->name = (char *)"device";
        device->silent_ms = 1000 * (i + 1); /* the last one for longest */
        list[reply.n_devices++] = device;
    }
    reply.devices = list;
    reply.retry_ms = PLACE_RETRY_MS;
    answer(server, call, &reply.base, lose);
}

HANDLER(login, Login)
{
    struct fake_server *server = (struct fake_server *)service;
    struct fake_cluster *cluster = server->cluster;
    bool lose;
    server->cluster->logins_resent_seen += rpc_call_resent(closure_data) > 0;
    if (!admit(server, closure_data, "Login", 0, &lose))
        return;
    struct fake_account *account = account_of(cluster, input->name);
    if (account == NULL || strcmp(account->password, input->password) != 0) {
        rpc_call_fail(closure_data, STATUS_UNAUTHENTICATED, 0, "no such name, or a wrong password");
        return;
    }
    ASSERT(input->token.len == 32);
    if (!has_place(cluster, input)) {
        if (input->replaces == 0)
            answer_devices(server, closure_data, lose);
        else
            rpc_call_fail(closure_data, STATUS_RESOURCE_EXHAUSTED, PLACE_RETRY_MS, "no place");
        return;
    }
    end_replaced(cluster, input->replaces);
    struct fake_session *session = start_session(cluster, account->name, input->token.data);
    Jackdaw__LoginReply reply = JACKDAW__LOGIN_REPLY__INIT;
    Jackdaw__Position position = position_at(cluster->epoch, session->received_seq);
    reply.session = session->id;
    reply.name = account->name;
    reply.position = &position;
    answer(server, closure_data, &reply.base, lose);
}

/* True when the request is the next; otherwise it is answered (a repeated Send apart: *outcome). */
static bool is_next(struct fake_server *server, struct rpc_call *call, struct fake_session *session,
                    uint64_t number, struct fake_outcome **outcome)
{
    struct fake_cluster *cluster = server->cluster;
    *outcome = &session->outcomes[number % FAKE_OUTCOMES];
    if (number > session->last_request &&
        number - session->last_request > cluster->numbers_most_ahead)
        cluster->numbers_most_ahead = number - session->last_request;
    if (number == session->last_request + 1) {
        session->last_request = number;
        return true;
    }
    if (number > session->last_request) {
        cluster->skips_seen++;
        rpc_call_expect(call, session->last_request + 1);
        rpc_call_fail(call, STATUS_ABORTED, ABORTED_RETRY_MS, "an earlier request is missing");
        *outcome = NULL;
    } else if (number == 0 || session->last_request - number >= FAKE_OUTCOMES) {
        rpc_call_fail(call, STATUS_OUT_OF_RANGE, 0, "too old");
        *outcome = NULL;
    }
    return false;
}

static void answer_change(struct fake_server *server, struct rpc_call *call, const char *method,
                          uint64_t number, const ProtobufCMessage *reply, bool ends_session)
{
    bool lose;
    if (!admit(server, call, method, number, &lose))
        return;
    struct fake_session *session = session_of(server, call);
    struct fake_outcome *outcome;
    if (session == NULL)
        return;
    if (!is_next(server, call, session, number, &outcome) && outcome == NULL)
        return;
    session->ended = ends_session;
    answer(server, call, reply, lose);
}

HANDLER(send, Send)
{
    struct fake_server *server = (struct fake_server *)service;
    struct fake_cluster *cluster = server->cluster;
    bool lose;
    cluster->sends_seen++;
    cluster->resent_seen += rpc_call_resent(closure_data) > 0;
    if (!admit(server, closure_data, "Send", input->request, &lose))
        return;
    struct fake_session *session = session_of(server, closure_data);
    struct fake_outcome *outcome;
    if (session == NULL)
        return;
    if (is_next(server, closure_data, session, input->request, &outcome)) {
        outcome->status = STATUS_OK;
        if (strncmp(input->text, "refuse", 6) == 0) {
            outcome->status = STATUS_PERMISSION_DENIED;
        } else {
            outcome->message = cluster->message_count;
            struct fake_message *message =
                add_message(cluster, input->to, session->name, input->text);
            message->session = session->id;
            message->request = input->request;
            cluster->sends_done++;
        }
    } else if (outcome == NULL) {
        return;
    }
    if (outcome->status != STATUS_OK) {
        rpc_call_fail(closure_data, outcome->status, 0, "refused");
        return;
    }
    const struct fake_message *message = &cluster->messages[outcome->message];
    Jackdaw__SendReply reply = JACKDAW__SEND_REPLY__INIT;
    Jackdaw__Position position = position_at(message->epoch, message->seq);
    reply.number = message->number;
    reply.position = &position;
    reply.room = (char *)message->room;
    answer(server, closure_data, &reply.base, lose);
}

HANDLER(join_room, JoinRoom)
{
    Jackdaw__JoinRoomReply reply = JACKDAW__JOIN_ROOM_REPLY__INIT;
    reply.room = input->room;
    reply.topic = (char *)"a topic";
    answer_change((struct fake_server *)service, closure_data, "JoinRoom", input->request,
                  &reply.base, false);
}

HANDLER(leave_room, LeaveRoom)
{
    struct fake_server *server = (struct fake_server *)service;
    Jackdaw__LeaveRoomReply reply = JACKDAW__LEAVE_ROOM_REPLY__INIT;
    server->cluster->leaves_seen++;
    server->cluster->rooms_left += input->room[0] != '\0';
    answer_change(server, closure_data, "LeaveRoom", input->request, &reply.base, false);
}

#define CHANGE(method, Name, NAME, ends_session)                                          \
    HANDLER(method, Name)                                                                 \
    {                                                                                     \
        Jackdaw__##Name##Reply reply = JACKDAW__##NAME##_REPLY__INIT;                     \
        answer_change((struct fake_server *)service, closure_data, #Name, input->request, \
                      &reply.base, ends_session);                                         \
    }
CHANGE(logout, Logout, LOGOUT, true)
CHANGE(delete_account, DeleteAccount, DELETE_ACCOUNT, true)
CHANGE(set_topic, SetTopic, SET_TOPIC, false)
CHANGE(invite, Invite, INVITE, false)
CHANGE(kick, Kick, KICK, false)

static bool admit_query(struct fake_server *server, struct rpc_call *call, const char *method,
                        bool *lose)
{
    return admit(server, call, method, 0, lose) && session_of(server, call) != NULL;
}

#define QUERY(method, Name, NAME)                                                   \
    HANDLER(method, Name)                                                           \
    {                                                                               \
        Jackdaw__##Name##Reply reply = JACKDAW__##NAME##_REPLY__INIT;               \
        bool lose;                                                                  \
        if (admit_query((struct fake_server *)service, closure_data, #Name, &lose)) \
            answer((struct fake_server *)service, closure_data, &reply.base, lose); \
    }
QUERY(list_accounts, ListAccounts, LIST_ACCOUNTS)
QUERY(list_members, ListMembers, LIST_MEMBERS)
QUERY(history, History, HISTORY)
QUERY(set_typing, SetTyping, SET_TYPING)

HANDLER(list_rooms, ListRooms)
{
    bool lose;
    if (!admit_query((struct fake_server *)service, closure_data, "ListRooms", &lose))
        return;
    Jackdaw__ListRoomsReply reply = JACKDAW__LIST_ROOMS_REPLY__INIT;
    Jackdaw__ListRoomsReply__Room room = JACKDAW__LIST_ROOMS_REPLY__ROOM__INIT;
    Jackdaw__ListRoomsReply__Room *rooms[] = {&room};
    room.name = input->pattern; /* whatever was asked for is there */
    reply.rooms = rooms;
    reply.n_rooms = 1;
    answer((struct fake_server *)service, closure_data, &reply.base, lose);
}

static void note_cursor_history(struct fake_cluster *cluster,
                                Jackdaw__Position *const *cursor_history, size_t count)
{
    ASSERT(count <= FAKE_CURSOR_HISTORY_MAX);
    cluster->cursor_history_count = count;
    for (size_t i = 0; i < count; i++) {
        cluster->cursor_history[i].epoch = cursor_history[i]->epoch;
        cluster->cursor_history[i].seq = cursor_history[i]->seq;
    }
}

HANDLER(heartbeat, Heartbeat)
{
    struct fake_server *server = (struct fake_server *)service;
    bool lose;
    server->cluster->heartbeats_seen++;
    note_cursor_history(server->cluster, input->cursor_history, input->n_cursor_history);
    if (!admit(server, closure_data, "Heartbeat", 0, &lose))
        return;
    struct fake_session *session = session_of(server, closure_data);
    if (session == NULL)
        return;
    session->received_seq = input->after == NULL ? 0 : input->after->seq;
    Jackdaw__HeartbeatReply reply = JACKDAW__HEARTBEAT_REPLY__INIT;
    Jackdaw__Undelivered undelivered = JACKDAW__UNDELIVERED__INIT;
    Jackdaw__Undelivered *list[] = {&undelivered};
    undelivered.room = (char *)"lobby";
    undelivered.messages = server->cluster->seq - session->received_seq;
    reply.undelivered = list;
    reply.n_undelivered = undelivered.messages > 0 ? 1 : 0;
    reply.last_request = session->last_request;
    answer(server, closure_data, &reply.base, lose);
}

static void on_stream_cancelled(void *context, struct rpc_call *call)
{
    struct fake_stream *stream = context;
    if (stream->call != call)
        return;
    stream->call = NULL;
    rpc_call_fail(call, STATUS_CANCELLED, 0, "cancelled");
}

HANDLER(receive, Receive)
{
    struct fake_server *server = (struct fake_server *)service;
    bool lose;
    server->cluster->receives_seen++;
    note_cursor_history(server->cluster, input->cursor_history, input->n_cursor_history);
    if (!admit(server, closure_data, "Receive", 0, &lose))
        return;
    struct fake_session *session = session_of(server, closure_data);
    if (session == NULL)
        return;
    for (size_t i = 0; i < FAKE_STREAMS_MAX; i++) {
        struct fake_stream *stream = &server->streams[i];
        if (stream->call != NULL)
            continue;
        *stream = (struct fake_stream){.call = closure_data, .server = server, .session = session};
        if (input->after != NULL) {
            stream->seq = input->after->seq;
            stream->epoch = input->after->epoch;
        }
        const struct rpc_call_watch watch = {.context = stream, .cancelled = on_stream_cancelled};
        rpc_call_watch(closure_data, &watch);
        return;
    }
    ASSERT(!"too many streams");
}

static void fill_event(const struct fake_message *message, Jackdaw__Event *event)
{
    jackdaw__event__init(event);
    event->kind = message->kind;
    event->epoch = message->epoch;
    event->seq = message->seq;
    event->room = (char *)message->room;
    event->from = (char *)message->from;
    event->text = (char *)message->text;
    event->number = message->number;
    event->session = message->session;
    event->request = message->request;
}

static void send_entries(struct fake_stream *stream, Jackdaw__ReceiveReply *page)
{
    struct fake_server *server = stream->server;
    uint8_t bytes[16384];
    size_t size = jackdaw__receive_reply__get_packed_size(page);
    ASSERT(size <= sizeof bytes);
    (void)jackdaw__receive_reply__pack(page, bytes);
    struct rpc_chunk chunk = {bytes, size};
    if (server->lose_pages > 0) {
        server->lose_pages--;
    } else if (server->long_poll || !rpc_call_is_stream(stream->call)) {
        struct rpc_call *call = stream->call;
        stream->call = NULL;
        rpc_call_finish(call, &chunk, 1);
    } else {
        ASSERT(rpc_call_send(stream->call, &chunk, 1));
    }
}

static uint64_t epoch_at(const struct fake_cluster *cluster, uint64_t seq)
{
    uint64_t epoch = 0;
    for (size_t i = 0; i < cluster->message_count && cluster->messages[i].seq <= seq; i++)
        epoch = cluster->messages[i].epoch;
    return epoch;
}

/* Sends one page if there is something to send. */
static bool feed(struct fake_stream *stream)
{
    struct fake_server *server = stream->server;
    struct fake_cluster *cluster = server->cluster;
    Jackdaw__ReceiveReply page = JACKDAW__RECEIVE_REPLY__INIT;
    Jackdaw__Position after = JACKDAW__POSITION__INIT;
    Jackdaw__Position next = JACKDAW__POSITION__INIT;
    Jackdaw__Event events[16];
    Jackdaw__Event *list[16];
    if (server->rewind_seq != 0 && stream->seq > server->rewind_seq) {
        stream->seq = server->rewind_seq;
        stream->epoch = epoch_at(cluster, stream->seq);
        server->rewind_seq = 0;
        page.cursor_reset = true;
    }
    after.seq = next.seq = stream->seq;
    after.epoch = next.epoch = stream->epoch;
    size_t count = 0;
    for (size_t i = 0; i < cluster->message_count && count < cluster->page_events; i++) {
        if (cluster->messages[i].seq <= stream->seq)
            continue;
        fill_event(&cluster->messages[i], &events[count]);
        list[count] = &events[count];
        next.seq = events[count].seq;
        next.epoch = events[count].epoch;
        count++;
    }
    if (count == 0 && !page.cursor_reset)
        return false;
    if (!server->long_poll && rpc_call_is_stream(stream->call) &&
        rpc_call_credits(stream->call) == 0)
        return false;
    page.after = &after;
    page.next = &next;
    page.events = list;
    page.n_events = count;
    stream->seq = next.seq;
    stream->epoch = next.epoch;
    send_entries(stream, &page);
    return stream->call != NULL;
}

/* Member i + 1 is the cluster's server i; the first is the one that is asked. */
static void fake_operator__status(Jackdaw__Operator_Service *service,
                                  const Jackdaw__StatusRequest *input,
                                  Jackdaw__StatusReply_Closure closure, void *closure_data)
{
    struct fake_server *server =
        (struct fake_server *)((char *)service - offsetof(struct fake_server, operator_service));
    struct fake_cluster *cluster = server->cluster;
    bool lose;
    (void)input, (void)closure;
    cluster->statuses_seen++;
    if (!admit(server, closure_data, "Info", 0, &lose))
        return;
    Jackdaw__StatusReply reply = JACKDAW__STATUS_REPLY__INIT;
    Jackdaw__StatusReply__Member members[4];
    Jackdaw__StatusReply__Member *list[4];
    Jackdaw__Position position = position_at(cluster->epoch, 1042);
    for (size_t i = 0; i < cluster->server_count; i++) {
        jackdaw__status_reply__member__init(&members[i]);
        members[i].id = (uint32_t)i + 1;
        members[i].client = cluster->servers[i];
        members[i].internal = (char *)"10.0.0.1:2626";
        members[i].in_sync = i < 2;
        members[i].voter = true;
        members[i].reachable = i < 2;
        members[i].position = &position;
        members[i].lag = i < 2 ? 0 : 42;
        members[i].left = i == 3;
        members[i].has_clock = i == 1;
        members[i].clock_ms = i == 1 ? -31536000000 : 0;
        list[i] = &members[i];
    }
    reply.server = (char *)"fake 1.0";
    reply.id = 1;
    reply.role = (char *)(server->master ? "master" : "slave");
    reply.master = server->master ? 1 : 0;
    reply.master_client = server->master ? cluster->servers[0] : (char *)"";
    reply.epoch = cluster->epoch;
    reply.durability = (char *)"all";
    reply.last = reply.committed = &position;
    reply.members = list;
    reply.n_members = cluster->server_count;
    answer(server, closure_data, &reply.base, lose);
}

void fake_cluster_turn(struct fake_cluster *cluster, struct fake_server *servers, size_t count)
{
    (void)task_queue_run(cluster->queue, 10000);
    for (size_t i = 0; i < count; i++) {
        if (servers[i].rpc == NULL)
            continue;
        for (size_t k = 0; k < FAKE_STREAMS_MAX; k++)
            while (servers[i].streams[k].call != NULL && feed(&servers[i].streams[k]))
                continue;
        rpc_server_flush(servers[i].rpc);
    }
}

static const Jackdaw__Chat_Service handlers = JACKDAW__CHAT__INIT(fake__);
static const Jackdaw__Operator_Service operator_handlers = JACKDAW__OPERATOR__INIT(fake_operator__);

void fake_server_start(struct fake_server *server, struct fake_cluster *cluster)
{
    static const struct rpc_method_limit limits[] = {{"Send", 300000}, {NULL, 0}};
    ASSERT(server->rpc == NULL);
    server->service = handlers;
    server->cluster = cluster;
    if (server->address.host[0] == '\0')
        (void)snprintf(server->address.host, sizeof server->address.host, "127.0.0.1");
    const struct rpc_server_options options = {.address = server->address, .queue = cluster->queue};
    struct error_text why;
    ASSERT(rpc_server_new(&server->rpc, &options, &why) == OK);
    ASSERT(rpc_server_add(server->rpc, &server->service.base, limits) == OK);
    server->operator_service = operator_handlers;
    ASSERT(rpc_server_add(server->rpc, &server->operator_service.base, NULL) == OK);
    enum error error = rpc_server_listen(server->rpc, &why);
    if (error != OK)
        (void)fprintf(stderr, "fake server: %s\n", why.text);
    ASSERT(error == OK);
    rpc_server_address(server->rpc, &server->address);
}

void fake_server_kill(struct fake_server *server)
{
    if (server->rpc == NULL)
        return;
    server->dying = true;
    rpc_server_cancel_all(server->rpc);
    for (size_t i = 0; i < FAKE_STREAMS_MAX; i++) {
        if (server->streams[i].call != NULL)
            rpc_call_fail(server->streams[i].call, STATUS_UNAVAILABLE, 0, "dying");
        server->streams[i].call = NULL;
    }
    for (size_t i = 0; i < server->held_count; i++)
        rpc_call_fail(server->held[i], STATUS_UNAVAILABLE, 0, "dying");
    server->held_count = 0;
    rpc_server_free(server->rpc);
    server->rpc = NULL;
    server->dying = false;
}
