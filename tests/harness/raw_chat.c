/* SPDX-License-Identifier: MIT */
#include "harness/raw_chat.h"

#include "rpc/protocol.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define REPLY_MS 60000
#define PASSWORD "a password"

/* The payload of a call: malloc, or NULL where it has none. */
static uint8_t *pack_payload(const struct raw_call *call, size_t *size)
{
    *size = call->message != NULL ? protobuf_c_message_get_packed_size(call->message)
                                  : call->payload_size;
    uint8_t *payload = malloc(*size + 1);
    if (payload == NULL)
        abort();
    if (call->message != NULL)
        (void)protobuf_c_message_pack(call->message, payload);
    else if (*size > 0)
        memcpy(payload, call->payload, *size);
    return payload;
}

uint8_t *raw_frame(const struct raw_call *call, size_t count, size_t *size)
{
    Jackdaw__Envelope envelope = JACKDAW__ENVELOPE__INIT;
    envelope.kind = JACKDAW__ENVELOPE__KIND__REQUEST;
    envelope.protocol = call->protocol != 0 ? call->protocol : RPC_PROTOCOL;
    envelope.call = 1;
    envelope.credits = call->credits;
    envelope.service = (char *)(call->service != NULL ? call->service : "jackdaw.Chat");
    envelope.method = (char *)call->method;
    envelope.epoch = call->position.epoch;
    envelope.seq = call->position.seq;
    if (call->token != NULL) {
        envelope.token.data = (uint8_t *)call->token;
        envelope.token.len = RAW_TOKEN_BYTES;
    }
    envelope.payload.data = pack_payload(call, &envelope.payload.len);
    Jackdaw__Envelope **envelopes = malloc((count + 1) * sizeof *envelopes);
    if (envelopes == NULL)
        abort();
    for (size_t i = 0; i < count; i++)
        envelopes[i] = &envelope;
    Jackdaw__Frame frame = JACKDAW__FRAME__INIT;
    frame.n_envelopes = count;
    frame.envelopes = envelopes;
    *size = jackdaw__frame__get_packed_size(&frame);
    uint8_t *bytes = malloc(*size + 1);
    if (bytes == NULL)
        abort();
    (void)jackdaw__frame__pack(&frame, bytes);
    free(envelopes);
    free(envelope.payload.data);
    return bytes;
}

static bool take_reply(const struct sp_message *message, struct raw_reply *reply)
{
    Jackdaw__Frame *frame = jackdaw__frame__unpack(NULL, message->size, message->body);
    bool good = frame != NULL && frame->n_envelopes == 1 &&
                frame->envelopes[0]->kind == JACKDAW__ENVELOPE__KIND__REPLY;
    if (good) {
        const Jackdaw__Envelope *envelope = frame->envelopes[0];
        *reply = (struct raw_reply){.status = (enum status)envelope->status,
                                    .retry_ms = envelope->retry_ms,
                                    .position = {envelope->epoch, envelope->seq},
                                    .payload_size = envelope->payload.len};
        (void)snprintf(reply->text, sizeof reply->text, "%s", envelope->message);
        reply->payload = malloc(envelope->payload.len + 1);
        if (reply->payload == NULL)
            abort();
        if (envelope->payload.len > 0)
            memcpy(reply->payload, envelope->payload.data, envelope->payload.len);
    }
    if (frame != NULL)
        jackdaw__frame__free_unpacked(frame, NULL);
    return good;
}

bool raw_ask(struct sp_peer *peer, const struct raw_call *call)
{
    size_t size;
    uint8_t *frame = raw_frame(call, 1, &size);
    bool sent = sp_send(peer, SP_REQUEST_ID, frame, size);
    free(frame);
    return sent;
}

bool raw_answer(struct sp_peer *peer, struct raw_reply *reply)
{
    struct sp_message message;
    if (sp_receive(peer, REPLY_MS, &message) != SP_MESSAGE)
        return false;
    bool good = take_reply(&message, reply);
    free(message.body);
    return good;
}

bool raw_chat(struct sp_peer *peer, const struct raw_call *call, struct raw_reply *reply)
{
    return raw_ask(peer, call) && raw_answer(peer, reply);
}

bool raw_login(struct sp_peer *peer, const char *name, const uint8_t token[static RAW_TOKEN_BYTES])
{
    Jackdaw__RegisterRequest account = JACKDAW__REGISTER_REQUEST__INIT;
    uint8_t nonce[16] = {1};
    account.name = (char *)name;
    account.password = (char *)PASSWORD;
    account.nonce.data = nonce;
    account.nonce.len = sizeof nonce;
    struct raw_reply reply;
    if (!raw_chat(peer, &(struct raw_call){.method = "RegisterAccount", .message = &account.base},
                  &reply))
        return false;
    free(reply.payload);
    Jackdaw__LoginRequest login = JACKDAW__LOGIN_REQUEST__INIT;
    login.name = (char *)name;
    login.password = (char *)PASSWORD;
    login.token.data = (uint8_t *)token;
    login.token.len = RAW_TOKEN_BYTES;
    if (!raw_chat(peer, &(struct raw_call){.method = "Login", .message = &login.base}, &reply))
        return false;
    free(reply.payload);
    return reply.status == STATUS_OK;
}

bool raw_send(struct sp_peer *peer, const uint8_t token[static RAW_TOKEN_BYTES], uint64_t request,
              const char *to, const char *text, struct raw_reply *reply)
{
    Jackdaw__SendRequest send = JACKDAW__SEND_REQUEST__INIT;
    send.request = request;
    send.to = (char *)to;
    send.text = (char *)text;
    return raw_chat(
        peer, &(struct raw_call){.method = "Send", .message = &send.base, .token = token}, reply);
}
