/* SPDX-License-Identifier: MIT */
#include "client_pool.h"

#include "base/status.h"
#include "program.h"
#include "spec.pb-c.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/random.h>

#define SETUP_TIMEOUT_NS (UINT64_C(120) * 1000000000u)
#define SETUP_AT_ONCE 64u /* clients on their way in; fewer than a listener's backlog */
#define PASSWORD "correct horse"
#define TURN_MS 10

void client_pool_fail(struct pool *pool, const char *format, ...)
{
    if (client_pool_has_failed(pool))
        return;
    va_list values;
    va_start(values, format);
    (void)vsnprintf(pool->problem.text, sizeof pool->problem.text, format, values);
    va_end(values);
}

bool client_pool_has_failed(const struct pool *pool)
{
    return pool->problem.text[0] != '\0';
}

static bool send_request(struct client *client, const struct request *request)
{
    size_t size = request_pack(request, NULL, 0);
    uint8_t *bytes = sp_connection_append(&client->connection, size);
    if (bytes == NULL)
        return false;
    connection_keep(&client->connection, request_pack(request, bytes, size));
    return true;
}

static bool send_payload(struct client *client, const char *service, const char *method,
                         const ProtobufCMessage *payload, bool with_token)
{
    return send_request(client, &(struct request){.service = service,
                                                  .method = method,
                                                  .call = CLIENT_POOL_OTHER_CALL + client->stage,
                                                  .timeout_ms = CLIENT_POOL_CALL_TIMEOUT_MS,
                                                  .token = with_token ? client->token : NULL,
                                                  .payload = payload});
}

static bool register_account(struct client *client)
{
    Jackdaw__RegisterRequest request = JACKDAW__REGISTER_REQUEST__INIT;
    request.name = client->name;
    request.password = (char *)PASSWORD;
    request.nonce = (ProtobufCBinaryData){16, client->token}; /* as random as any */
    return send_payload(client, NULL, "RegisterAccount", &request.base, false);
}

static bool log_in(struct client *client)
{
    Jackdaw__LoginRequest request = JACKDAW__LOGIN_REQUEST__INIT;
    request.name = client->name;
    request.password = (char *)PASSWORD;
    request.token = (ProtobufCBinaryData){sizeof client->token, client->token};
    request.device = (char *)"chat_load";
    return send_payload(client, NULL, "Login", &request.base, false);
}

static bool join(struct client *client)
{
    Jackdaw__JoinRoomRequest request = JACKDAW__JOIN_ROOM_REQUEST__INIT;
    request.request = 1;
    request.room = client->room;
    return send_payload(client, NULL, "JoinRoom", &request.base, true);
}

bool client_pool_receive(struct client *client, uint32_t credits)
{
    Jackdaw__Position after = JACKDAW__POSITION__INIT;
    after.epoch = client->position.epoch;
    after.seq = client->position.seq;
    Jackdaw__ReceiveRequest payload = JACKDAW__RECEIVE_REQUEST__INIT;
    payload.after = &after;
    return send_request(client, &(struct request){.method = "Receive",
                                                  .call = CLIENT_POOL_RECEIVE_CALL,
                                                  .credits = credits,
                                                  .token = client->token,
                                                  .payload = &payload.base});
}

bool client_pool_heartbeat(struct client *client)
{
    Jackdaw__Position after = JACKDAW__POSITION__INIT;
    after.epoch = client->position.epoch;
    after.seq = client->position.seq;
    Jackdaw__HeartbeatRequest payload = JACKDAW__HEARTBEAT_REQUEST__INIT;
    payload.after = &after;
    return send_payload(client, NULL, "Heartbeat", &payload.base, true);
}

static bool take_login(struct client *client, struct parse_bytes payload)
{
    Jackdaw__LoginReply *reply = jackdaw__login_reply__unpack(NULL, payload.size, payload.at);
    if (reply == NULL)
        return false;
    client->session = reply->session;
    if (reply->position != NULL)
        client->position = (struct parse_position){reply->position->epoch, reply->position->seq};
    jackdaw__login_reply__free_unpacked(reply, NULL);
    return true;
}

static bool take_join(struct client *client, struct parse_bytes payload)
{
    Jackdaw__JoinRoomReply *reply =
        jackdaw__join_room_reply__unpack(NULL, payload.size, payload.at);
    if (reply == NULL)
        return false;
    client->room_number = reply->last_number;
    client->next_request = 2;
    jackdaw__join_room_reply__free_unpacked(reply, NULL);
    return true;
}

static const struct {
    const char *name;
    bool (*send)(struct client *client);
    bool (*take)(struct client *client,
                 struct parse_bytes payload); /* NULL: nothing of the reply */
} stages[] = {
    [CLIENT_CONNECTING] = {"connect", NULL, NULL},
    [CLIENT_REGISTERING] = {"RegisterAccount", register_account, NULL},
    [CLIENT_LOGGING_IN] = {"Login", log_in, take_login},
    [CLIENT_JOINING] = {"JoinRoom", join, take_join},
};

static void send_stage(struct pool *pool, struct client *client)
{
    client->retry_at_ns = 0;
    if (!stages[client->stage].send(client))
        client_pool_fail(pool, "out of memory");
}

static void finish_stage(struct pool *pool, struct client *client, struct parse_bytes payload)
{
    if (stages[client->stage].take != NULL && !stages[client->stage].take(client, payload)) {
        client_pool_fail(pool, "%s: the reply is none", stages[client->stage].name);
        return;
    }
    client->retry_at_ns = 0;
    client->stage++;
    if (client->stage == CLIENT_READY)
        pool->ready++;
    else
        send_stage(pool, client);
}

static void on_established(void *context, struct connection *connection)
{
    struct client *client = (struct client *)connection;
    client->stage = CLIENT_REGISTERING;
    send_stage(context, client);
}

static void on_envelope(struct pool *pool, struct client *client,
                        const struct parse_envelope *envelope)
{
    if (client->stage == CLIENT_READY || envelope->call != CLIENT_POOL_OTHER_CALL + client->stage)
        return;
    if (envelope->status == STATUS_OK)
        finish_stage(pool, client, envelope->payload);
    else if (envelope->retry_ms != 0)
        client->retry_at_ns = pool->loop.now_ns + (uint64_t)envelope->retry_ms * 1000000u;
    else
        client_pool_fail(pool, "%s was refused: %s (%.*s)", stages[client->stage].name,
                         status_name((enum status)envelope->status), (int)envelope->message.size,
                         (const char *)envelope->message.at);
}

static void on_frame(void *context, struct connection *connection, const uint8_t *body, size_t size)
{
    struct pool *pool = context;
    struct parse_cursor frame = {body, body + size};
    struct parse_envelope envelope;
    enum parse_result result;
    while ((result = parse_envelope(&frame, &envelope)) == PARSE_FOUND)
        on_envelope(pool, (struct client *)connection, &envelope);
    if (result == PARSE_BROKEN)
        client_pool_fail(pool, "the server sent what is no frame");
}

static void on_closed(void *context, struct connection *connection, const char *reason)
{
    const struct client *client = (struct client *)connection;
    client_pool_fail(context, "client %zu: %s", client->index, reason);
}

static void prepare(struct client *client, size_t index, const struct client_pool_options *options)
{
    *client = (struct client){.index = index, .connection.descriptor = -1};
    (void)snprintf(client->name, sizeof client->name, "u%.16s-%zu", options->tag, index);
    (void)snprintf(client->room, sizeof client->room, "r%.16s-%zu", options->tag,
                   index / options->room_size);
    /* Never blocks once the system has started; without it names still differ. */
    (void)!getrandom(client->token, sizeof client->token, 0);
}

static const struct address *place_of(const struct client_pool_options *options, size_t client)
{
    if (client == 0 || options->places_count == 0)
        return &options->address;
    return &options->places[(client - 1) % options->places_count];
}

static void start_more(struct pool *pool, const struct client_pool_options *options)
{
    while (pool->started < pool->count && pool->started - pool->ready < SETUP_AT_ONCE) {
        struct error_text why;
        struct client *client = &pool->clients[pool->started++];
        const struct address *address = place_of(options, client->index);
        if (connection_open(&client->connection, &pool->loop, address, &why) != OK) {
            client_pool_fail(pool, "%s", why.text);
            return;
        }
    }
}

static void retry(struct pool *pool)
{
    for (size_t i = 0; i < pool->started; i++) {
        struct client *client = &pool->clients[i];
        if (client->retry_at_ns != 0 && pool->loop.now_ns >= client->retry_at_ns)
            send_stage(pool, client);
    }
}

enum error client_pool_open(struct pool *pool, const struct client_pool_options *options,
                            struct error_text *why)
{
    *pool = (struct pool){.loop.epoll = -1, .count = options->count};
    enum error error = loop_init(&pool->loop, &sp_framing, why);
    if (error != OK)
        return error;
    pool->clients = calloc(options->count, sizeof *pool->clients);
    if (pool->clients == NULL)
        return error_set(why, ERROR_NO_MEMORY, "out of memory");
    for (size_t i = 0; i < options->count; i++)
        prepare(&pool->clients[i], i, options);
    pool->loop.handler = (struct loop_handler){pool, on_established, on_frame, on_closed};
    uint64_t end = pool->loop.now_ns + SETUP_TIMEOUT_NS;
    while (pool->ready < pool->count && !client_pool_has_failed(pool)) {
        if (interrupted() || pool->loop.now_ns >= end)
            client_pool_fail(pool, "only %zu of %zu clients got in", pool->ready, pool->count);
        start_more(pool, options);
        retry(pool);
        loop_turn(&pool->loop, TURN_MS);
    }
    return client_pool_has_failed(pool) ? error_set(why, ERROR_REFUSED, "%s", pool->problem.text)
                                        : OK;
}

void client_pool_close(struct pool *pool)
{
    for (size_t i = 0; i < pool->count && pool->clients != NULL; i++)
        connection_close(&pool->clients[i].connection);
    free(pool->clients);
    pool->clients = NULL;
    loop_release(&pool->loop);
}

struct pending {
    struct pool *pool;
    const struct client *client;
    const ProtobufCMessageDescriptor *type;
    ProtobufCMessage *reply;
};

static void on_pending_frame(void *context, struct connection *connection, const uint8_t *body,
                             size_t size)
{
    struct pending *pending = context;
    struct parse_cursor frame = {body, body + size};
    struct parse_envelope envelope;
    while (parse_envelope(&frame, &envelope) == PARSE_FOUND) {
        if (connection != &pending->client->connection || pending->reply != NULL ||
            envelope.call != CLIENT_POOL_OTHER_CALL + CLIENT_READY)
            continue;
        if (envelope.status == STATUS_OK)
            pending->reply = protobuf_c_message_unpack(pending->type, NULL, envelope.payload.size,
                                                       envelope.payload.at);
        if (pending->reply == NULL)
            client_pool_fail(pending->pool, "%s (%.*s)", status_name((enum status)envelope.status),
                             (int)envelope.message.size, (const char *)envelope.message.at);
    }
}

static void on_pending_closed(void *context, struct connection *connection, const char *reason)
{
    struct pending *pending = context;
    on_closed(pending->pool, connection, reason);
}

enum error client_pool_call(struct pool *pool, struct client *client, const char *service,
                            const char *method, const ProtobufCMessage *payload,
                            const ProtobufCMessageDescriptor *type, ProtobufCMessage **reply,
                            struct error_text *why)
{
    struct pending pending = {.pool = pool, .client = client, .type = type};
    struct loop_handler handler = pool->loop.handler;
    pool->loop.handler = (struct loop_handler){&pending, NULL, on_pending_frame, on_pending_closed};
    uint64_t end = loop_read_clock(&pool->loop) + (uint64_t)CLIENT_POOL_CALL_TIMEOUT_MS * 1000000u;
    if (!send_payload(client, service, method, payload, true))
        client_pool_fail(pool, "%s: not connected", method);
    while (pending.reply == NULL && !client_pool_has_failed(pool)) {
        if (interrupted() || pool->loop.now_ns >= end)
            client_pool_fail(pool, "no reply");
        loop_turn(&pool->loop, TURN_MS);
    }
    pool->loop.handler = handler;
    if (pending.reply == NULL)
        return error_set(why, ERROR_REFUSED, "%s: %s", method, pool->problem.text);
    *reply = pending.reply;
    return OK;
}
