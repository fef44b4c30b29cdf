/* SPDX-License-Identifier: MIT */
#include "request.h"

#include "base/protobuf.h"
#include "rpc/protocol.h"
#include "spec.pb-c.h"

#include <stdlib.h>
#include <string.h>

#define SERVICE "jackdaw.Chat"
#define FRAME_ENVELOPES_KEY (1u << 3 | 2u)
#define ENVELOPE_KIND_KEY (1u << 3 | 0u)
#define ENVELOPE_CALL_KEY (3u << 3 | 0u)
#define ENVELOPE_PAYLOAD_KEY (8u << 3 | 2u)
#define ENVELOPE_CREDITS_KEY (14u << 3 | 0u)
#define SEND_REQUEST_KEY (1u << 3 | 0u)

static uint8_t *put_bytes(uint8_t *at, const uint8_t *bytes, size_t size)
{
    memcpy(at, bytes, size);
    return at + size;
}

static Jackdaw__Envelope head_of(const struct request *request)
{
    Jackdaw__Envelope head = JACKDAW__ENVELOPE__INIT;
    head.kind = JACKDAW__ENVELOPE__KIND__REQUEST;
    head.protocol = RPC_PROTOCOL;
    head.call = request->call;
    head.service = request->service == NULL ? (char *)SERVICE : (char *)request->service;
    head.method = (char *)request->method;
    head.timeout_ms = request->timeout_ms;
    head.credits = request->credits;
    if (request->token != NULL)
        head.token = (ProtobufCBinaryData){REQUEST_TOKEN_BYTES, (uint8_t *)request->token};
    return head;
}

size_t request_pack(const struct request *request, uint8_t *bytes, size_t size_max)
{
    Jackdaw__Envelope head = head_of(request);
    size_t head_size = jackdaw__envelope__get_packed_size(&head);
    size_t payload = protobuf_c_message_get_packed_size(request->payload);
    size_t envelope = head_size + 1 + protobuf_varint_size(payload) + payload;
    size_t all = 1 + protobuf_varint_size(envelope) + envelope;
    if (all > size_max)
        return all;
    *bytes++ = FRAME_ENVELOPES_KEY;
    bytes = protobuf_put_varint(bytes, envelope);
    bytes += jackdaw__envelope__pack(&head, bytes);
    *bytes++ = ENVELOPE_PAYLOAD_KEY;
    bytes = protobuf_put_varint(bytes, payload);
    (void)protobuf_c_message_pack(request->payload, bytes);
    return all;
}

size_t request_pack_credit(uint64_t call, uint32_t credits, uint8_t *bytes)
{
    size_t envelope = 2 + 1 + protobuf_varint_size(call) + 1 + protobuf_varint_size(credits);
    uint8_t *at = bytes;
    *at++ = FRAME_ENVELOPES_KEY;
    *at++ = (uint8_t)envelope;
    *at++ = ENVELOPE_KIND_KEY;
    *at++ = JACKDAW__ENVELOPE__KIND__CREDIT;
    *at++ = ENVELOPE_CALL_KEY;
    at = protobuf_put_varint(at, call);
    *at++ = ENVELOPE_CREDITS_KEY;
    at = protobuf_put_varint(at, credits);
    return (size_t)(at - bytes);
}

/* The parts of a Send: what the envelope has before its call and after it, and what the payload has
 * after its request number. Fields may come in any order, so each part is packed by itself. */
struct send_parts {
    Jackdaw__Envelope before_call;
    Jackdaw__Envelope after_call;
    Jackdaw__SendRequest after_request;
};

static struct send_parts split(const uint8_t *token, const char *room, const char *text,
                               uint32_t timeout_ms)
{
    struct send_parts parts = {JACKDAW__ENVELOPE__INIT, JACKDAW__ENVELOPE__INIT,
                               JACKDAW__SEND_REQUEST__INIT};
    parts.before_call.protocol = RPC_PROTOCOL;
    parts.after_call =
        head_of(&(struct request){.method = "Send", .timeout_ms = timeout_ms, .token = token});
    parts.after_call.protocol = 0;
    parts.after_request.to = (char *)room;
    parts.after_request.text = (char *)text;
    return parts;
}

bool send_template_init(struct send_template *template, const uint8_t *token, const char *room,
                        const char *text, uint32_t timeout_ms)
{
    struct send_parts parts = split(token, room, text, timeout_ms);
    struct send_template made = {
        .before_call = jackdaw__envelope__get_packed_size(&parts.before_call),
        .before_payload = jackdaw__envelope__get_packed_size(&parts.after_call),
        .after_request = jackdaw__send_request__get_packed_size(&parts.after_request),
    };
    made.bytes = malloc(made.before_call + made.before_payload + made.after_request);
    if (made.bytes == NULL)
        return false;
    uint8_t *at = made.bytes;
    at += jackdaw__envelope__pack(&parts.before_call, at);
    at += jackdaw__envelope__pack(&parts.after_call, at);
    (void)jackdaw__send_request__pack(&parts.after_request, at);
    *template = made;
    return true;
}

void send_template_release(struct send_template *template)
{
    free(template->bytes);
    template->bytes = NULL;
}

size_t send_template_size_max(const struct send_template *template)
{
    return template->before_call + template->before_payload + template->after_request + 5 +
           5 * PROTOBUF_VARINT_BYTES_MAX;
}

size_t send_template_write(const struct send_template *template, uint64_t call, uint64_t request,
                           uint8_t *bytes)
{
    size_t payload = 1 + protobuf_varint_size(request) + template->after_request;
    size_t envelope = template->before_call + 1 + protobuf_varint_size(call) +
                      template->before_payload + 1 + protobuf_varint_size(payload) + payload;
    const uint8_t *part = template->bytes;
    uint8_t *at = bytes;
    *at++ = FRAME_ENVELOPES_KEY;
    at = protobuf_put_varint(at, envelope);
    at = put_bytes(at, part, template->before_call);
    part += template->before_call;
    *at++ = ENVELOPE_CALL_KEY;
    at = protobuf_put_varint(at, call);
    at = put_bytes(at, part, template->before_payload);
    part += template->before_payload;
    *at++ = ENVELOPE_PAYLOAD_KEY;
    at = protobuf_put_varint(at, payload);
    *at++ = SEND_REQUEST_KEY;
    at = protobuf_put_varint(at, request);
    at = put_bytes(at, part, template->after_request);
    return (size_t)(at - bytes);
}
