/* SPDX-License-Identifier: MIT */
#include "crowd.h"

#include "base/status.h"
#include "interrupt.h"
#include "spec.pb-c.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

#define SETUP_TIMEOUT_NS (UINT64_C(120) * 1000000000u)
#define SETUP_AT_ONCE 64u /* clients on their way in; fewer than a listener's backlog */
#define PASSWORD "correct horse"
#define TURN_MS 10

void crowd_fail(struct crowd *crowd, const char *format, ...)
{
    if (crowd_has_failed(crowd))
        return;
    va_list values;
    va_start(values, format);
    (void)vsnprintf(crowd->problem.text, sizeof crowd->problem.text, format, values);
    va_end(values);
}

bool crowd_has_failed(const struct crowd *crowd)
{
    return crowd->problem.text[0] != '\0';
}

/* ---- requests ---- */

static bool send_request(struct client *client, const struct request *request)
{
    size_t size = request_pack(request, NULL, 0);
    uint8_t *bytes = link_append(&client->link, size);
    if (bytes == NULL)
        return false;
    link_keep(&client->link, request_pack(request, bytes, size));
    return true;
}

static bool send_payload(struct client *client, const char *service, const char *method,
                         const ProtobufCMessage *payload, bool with_token)
{
    return send_request(client, &(struct request){.service = service,
                                                  .method = method,
                                                  .call = CROWD_OTHER_CALL + client->stage,
                                                  .timeout_ms = CROWD_CALL_TIMEOUT_MS,
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

static void send_stage(struct crowd *crowd, struct client *client)
{
    bool sent = true;
    client->retry_at_ns = 0;
    if (client->stage == CLIENT_REGISTERING)
        sent = register_account(client);
    else if (client->stage == CLIENT_LOGGING_IN)
        sent = log_in(client);
    else if (client->stage == CLIENT_JOINING)
        sent = join(client);
    if (!sent)
        crowd_fail(crowd, "out of memory");
}

bool crowd_receive(struct client *client, uint32_t credits)
{
    Jackdaw__Position after = JACKDAW__POSITION__INIT;
    after.epoch = client->position.epoch;
    after.seq = client->position.seq;
    Jackdaw__ReceiveRequest payload = JACKDAW__RECEIVE_REQUEST__INIT;
    payload.after = &after;
    return send_request(client, &(struct request){.method = "Receive",
                                                  .call = CROWD_RECEIVE_CALL,
                                                  .credits = credits,
                                                  .token = client->token,
                                                  .payload = &payload.base});
}

/* ---- replies ---- */

static bool take_login(struct client *client, struct scan_bytes payload)
{
    Jackdaw__LoginReply *reply = jackdaw__login_reply__unpack(NULL, payload.size, payload.at);
    if (reply == NULL)
        return false;
    client->session = reply->session;
    if (reply->position != NULL)
        client->position = (struct scan_position){reply->position->epoch, reply->position->seq};
    jackdaw__login_reply__free_unpacked(reply, NULL);
    return true;
}

static bool take_join(struct client *client, struct scan_bytes payload)
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

static const char *stage_name(enum client_stage stage)
{
    static const char *const names[] = {"connect", "RegisterAccount", "Login", "JoinRoom", "ready"};
    return names[stage];
}

static void finish_stage(struct crowd *crowd, struct client *client, struct scan_bytes payload)
{
    bool taken = true;
    if (client->stage == CLIENT_LOGGING_IN)
        taken = take_login(client, payload);
    else if (client->stage == CLIENT_JOINING)
        taken = take_join(client, payload);
    if (!taken) {
        crowd_fail(crowd, "%s: the reply is none", stage_name(client->stage));
        return;
    }
    client->stage++;
    if (client->stage == CLIENT_READY)
        crowd->ready++;
    else
        send_stage(crowd, client);
}

static void on_established(void *context, struct link *link)
{
    struct client *client = (struct client *)link;
    client->stage = CLIENT_REGISTERING;
    send_stage(context, client);
}

static void on_envelope(struct crowd *crowd, struct client *client,
                        const struct scan_envelope *envelope)
{
    if (client->stage == CLIENT_READY || envelope->call != CROWD_OTHER_CALL + client->stage)
        return;
    if (envelope->status == STATUS_OK)
        finish_stage(crowd, client, envelope->payload);
    else if (envelope->retry_ms != 0)
        client->retry_at_ns = crowd->loop.now_ns + (uint64_t)envelope->retry_ms * 1000000u;
    else
        crowd_fail(crowd, "%s was refused: %s (%.*s)", stage_name(client->stage),
                   status_name((enum status)envelope->status), (int)envelope->message.size,
                   (const char *)envelope->message.at);
}

static void on_frame(void *context, struct link *link, const uint8_t *body, size_t size)
{
    struct crowd *crowd = context;
    struct scan_cursor frame = {body, body + size};
    struct scan_envelope envelope;
    enum scan_result result;
    while ((result = scan_envelope(&frame, &envelope)) == SCAN_FOUND)
        on_envelope(crowd, (struct client *)link, &envelope);
    if (result == SCAN_BROKEN)
        crowd_fail(crowd, "the server sent what is no frame");
}

static void on_closed(void *context, struct link *link, const char *reason)
{
    const struct client *client = (struct client *)link;
    crowd_fail(context, "client %zu: %s", client->index, reason);
}

/* ---- life ---- */

static void prepare(struct client *client, size_t index, const struct crowd_options *options)
{
    *client = (struct client){.index = index, .link.descriptor = -1};
    (void)snprintf(client->name, sizeof client->name, "u%.16s-%zu", options->tag, index);
    (void)snprintf(client->room, sizeof client->room, "r%.16s-%zu", options->tag,
                   index / options->room_size);
    /* Never blocks once the system has started; without it names still differ. */
    (void)!getrandom(client->token, sizeof client->token, 0);
}

static void start_more(struct crowd *crowd, const struct address *address)
{
    while (crowd->started < crowd->count && crowd->started - crowd->ready < SETUP_AT_ONCE) {
        struct error_text why;
        struct client *client = &crowd->clients[crowd->started++];
        if (link_open(&client->link, &crowd->loop, address, &why) != OK) {
            crowd_fail(crowd, "%s", why.text);
            return;
        }
    }
}

static void retry(struct crowd *crowd)
{
    for (size_t i = 0; i < crowd->started; i++) {
        struct client *client = &crowd->clients[i];
        if (client->retry_at_ns != 0 && crowd->loop.now_ns >= client->retry_at_ns)
            send_stage(crowd, client);
    }
}

enum error crowd_open(struct crowd *crowd, const struct crowd_options *options,
                      struct error_text *why)
{
    *crowd = (struct crowd){.loop.epoll = -1, .count = options->count};
    enum error error = loop_init(&crowd->loop, why);
    if (error != OK)
        return error;
    crowd->clients = calloc(options->count, sizeof *crowd->clients);
    if (crowd->clients == NULL)
        return error_set(why, ERROR_NO_MEMORY, "out of memory");
    for (size_t i = 0; i < options->count; i++)
        prepare(&crowd->clients[i], i, options);
    crowd->loop.handler = (struct loop_handler){crowd, on_established, on_frame, on_closed};
    uint64_t end = crowd->loop.now_ns + SETUP_TIMEOUT_NS;
    while (crowd->ready < crowd->count && !crowd_has_failed(crowd)) {
        if (interrupted() || crowd->loop.now_ns >= end)
            crowd_fail(crowd, "only %zu of %zu clients got in", crowd->ready, crowd->count);
        start_more(crowd, &options->address);
        retry(crowd);
        loop_turn(&crowd->loop, TURN_MS);
    }
    return crowd_has_failed(crowd) ? error_set(why, ERROR_REFUSED, "%s", crowd->problem.text) : OK;
}

void crowd_close(struct crowd *crowd)
{
    for (size_t i = 0; i < crowd->count && crowd->clients != NULL; i++)
        link_close(&crowd->clients[i].link);
    free(crowd->clients);
    crowd->clients = NULL;
    loop_release(&crowd->loop);
}

/* ---- one call ---- */

struct pending {
    struct crowd *crowd;
    const struct client *client;
    const ProtobufCMessageDescriptor *type;
    ProtobufCMessage *reply;
};

static void on_pending_frame(void *context, struct link *link, const uint8_t *body, size_t size)
{
    struct pending *pending = context;
    struct scan_cursor frame = {body, body + size};
    struct scan_envelope envelope;
    while (scan_envelope(&frame, &envelope) == SCAN_FOUND) {
        if (link != &pending->client->link || pending->reply != NULL ||
            envelope.call != CROWD_OTHER_CALL + CLIENT_READY)
            continue;
        if (envelope.status == STATUS_OK)
            pending->reply = protobuf_c_message_unpack(pending->type, NULL, envelope.payload.size,
                                                       envelope.payload.at);
        if (pending->reply == NULL)
            crowd_fail(pending->crowd, "%s (%.*s)", status_name((enum status)envelope.status),
                       (int)envelope.message.size, (const char *)envelope.message.at);
    }
}

static void on_pending_closed(void *context, struct link *link, const char *reason)
{
    struct pending *pending = context;
    on_closed(pending->crowd, link, reason);
}

enum error crowd_call(struct crowd *crowd, struct client *client, const char *service,
                      const char *method, const ProtobufCMessage *payload,
                      const ProtobufCMessageDescriptor *type, ProtobufCMessage **reply,
                      struct error_text *why)
{
    struct pending pending = {.crowd = crowd, .client = client, .type = type};
    struct loop_handler handler = crowd->loop.handler;
    crowd->loop.handler =
        (struct loop_handler){&pending, NULL, on_pending_frame, on_pending_closed};
    uint64_t end = loop_read_clock(&crowd->loop) + (uint64_t)CROWD_CALL_TIMEOUT_MS * 1000000u;
    if (!send_payload(client, service, method, payload, true))
        crowd_fail(crowd, "%s: not connected", method);
    while (pending.reply == NULL && !crowd_has_failed(crowd)) {
        if (interrupted() || crowd->loop.now_ns >= end)
            crowd_fail(crowd, "no reply");
        loop_turn(&crowd->loop, TURN_MS);
    }
    crowd->loop.handler = handler;
    if (pending.reply == NULL)
        return error_set(why, ERROR_REFUSED, "%s: %s", method, crowd->problem.text);
    *reply = pending.reply;
    return OK;
}
