/* SPDX-License-Identifier: MIT */
#include "rpc/wire.h"

#include "base/protobuf.h"
#include "rpc/protocol.h"

#include <stdbool.h>
#include <string.h>

/* Field numbers of spec.proto. In the encoding a key is number << 3 | wire type. */
#define FRAME_ENVELOPES 1u
#define ENVELOPE_PAYLOAD 8u

/* ---- reading the protobuf encoding without decoding it ---- */

enum wire_type { VARINT = 0, FIXED64 = 1, DELIMITED = 2, FIXED32 = 5 };

struct field {
    uint64_t number;
    enum wire_type wire_type;
    const uint8_t *bytes; /* DELIMITED */
    size_t size;
};

/* Reads a field at *at and moves *at behind it. false: no field, or cut short. */
static bool next_field(const uint8_t **at, const uint8_t *end, struct field *out)
{
    uint64_t key;
    uint64_t size = 0;
    if (!protobuf_read_varint(at, end, &key))
        return false;
    *out = (struct field){.number = key >> 3, .wire_type = (enum wire_type)(key & 7u)};
    switch (out->wire_type) {
    case VARINT:
        return protobuf_read_varint(at, end, &size);
    case FIXED64:
        size = 8;
        break;
    case FIXED32:
        size = 4;
        break;
    case DELIMITED:
        if (!protobuf_read_varint(at, end, &size))
            return false;
        break;
    default:
        return false;
    }
    if (size > (uint64_t)(end - *at))
        return false;
    out->bytes = *at;
    out->size = (size_t)size;
    *at += size;
    return true;
}

/* Counts before anything is allocated: an empty envelope takes 2 bytes here and 150 decoded. */
static bool count_envelopes(const uint8_t *bytes, size_t size, size_t *out)
{
    const uint8_t *at = bytes;
    const uint8_t *end = size == 0 ? bytes : bytes + size;
    size_t count = 0;
    while (at < end) {
        struct field field;
        if (!next_field(&at, end, &field))
            return false;
        if (field.number == FRAME_ENVELOPES && field.wire_type == DELIMITED)
            count++;
    }
    *out = count;
    return true;
}

enum error wire_decode(const void *bytes, size_t size, struct arena *arena, Jackdaw__Frame **out)
{
    size_t count;
    if (!count_envelopes(bytes, size, &count) || count > RPC_ENVELOPES_MAX)
        return ERROR_INVALID;
    arena->budget_bytes += size * RPC_FRAME_FACTOR + (count + 1) * RPC_ENVELOPE_BYTES;
    Jackdaw__Frame *frame = protobuf_unpack(&jackdaw__frame__descriptor, arena, bytes, size);
    if (frame == NULL || frame->n_envelopes > RPC_ENVELOPES_MAX)
        return ERROR_INVALID;
    *out = frame;
    return OK;
}

ProtobufCMessage *wire_unpack(const ProtobufCMessageDescriptor *descriptor,
                              const ProtobufCBinaryData *payload, struct arena *arena)
{
    arena->budget_bytes += payload->len * RPC_DECODE_FACTOR + RPC_DECODE_FLOOR;
    return protobuf_unpack(descriptor, arena, payload->data, payload->len);
}

/* Of a length-delimited field. */
static bool field_is_whole(const ProtobufCMessageDescriptor *type, uint64_t number,
                           const uint8_t *bytes, size_t size)
{
    const ProtobufCFieldDescriptor *field =
        number > UINT32_MAX ? NULL
                            : protobuf_c_message_descriptor_get_field(type, (unsigned)number);
    if (field == NULL || size == 0)
        return true;
    if (field->type == PROTOBUF_C_TYPE_STRING)
        return memchr(bytes, '\0', size) == NULL;
    return field->type != PROTOBUF_C_TYPE_MESSAGE ||
           wire_strings_are_whole(field->descriptor, bytes, size);
}

bool wire_strings_are_whole(const ProtobufCMessageDescriptor *type, const uint8_t *bytes,
                            size_t size)
{
    const uint8_t *at = bytes;
    const uint8_t *end = size == 0 ? bytes : bytes + size;
    while (at < end) {
        struct field field;
        if (!next_field(&at, end, &field) ||
            (field.wire_type == DELIMITED &&
             !field_is_whole(type, field.number, field.bytes, field.size)))
            return false;
    }
    return true;
}

static size_t total_size(const struct rpc_chunk *chunks, size_t count)
{
    size_t total = 0;
    for (size_t i = 0; i < count; i++)
        total += chunks[i].size;
    return total;
}

struct sizes {
    size_t payload;
    size_t envelope;
    size_t all;
};

static struct sizes measure(const Jackdaw__Envelope *head, const struct rpc_chunk *chunks,
                            size_t count)
{
    struct sizes sizes = {.payload = total_size(chunks, count)};
    sizes.envelope = jackdaw__envelope__get_packed_size(head);
    if (sizes.payload > 0)
        sizes.envelope += 1 + protobuf_varint_size(sizes.payload) + sizes.payload;
    sizes.all = 1 + protobuf_varint_size(sizes.envelope) + sizes.envelope;
    return sizes;
}

size_t wire_size(const Jackdaw__Envelope *head, const struct rpc_chunk *chunks, size_t count)
{
    return measure(head, chunks, count).all;
}

/* Makes room by doubling, so that a frame of many envelopes is not copied for each of them. */
static uint8_t *extend(nng_msg *message, size_t size)
{
    size_t used = nng_msg_len(message);
    size_t capacity = nng_msg_capacity(message);
    if (used + size > capacity) {
        size_t wanted = capacity * 2 > used + size ? capacity * 2 : used + size;
        if (nng_msg_reserve(message, wanted) != 0)
            return NULL;
    }
    if (nng_msg_realloc(message, used + size) != 0)
        return NULL;
    return (uint8_t *)nng_msg_body(message) + used;
}

enum error wire_append(nng_msg *message, const Jackdaw__Envelope *head,
                       const struct rpc_chunk *chunks, size_t count)
{
    ASSERT(head->payload.len == 0);
    struct sizes sizes = measure(head, chunks, count);
    uint8_t *at = extend(message, sizes.all);
    if (at == NULL)
        return ERROR_NO_MEMORY;
    *at++ = FRAME_ENVELOPES << 3 | DELIMITED;
    at = protobuf_put_varint(at, sizes.envelope);
    at += jackdaw__envelope__pack(head, at);
    if (sizes.payload == 0)
        return OK;
    *at++ = ENVELOPE_PAYLOAD << 3 | DELIMITED;
    at = protobuf_put_varint(at, sizes.payload);
    for (size_t i = 0; i < count; i++) {
        if (chunks[i].size > 0)
            memcpy(at, chunks[i].bytes, chunks[i].size);
        at += chunks[i].size;
    }
    return OK;
}
