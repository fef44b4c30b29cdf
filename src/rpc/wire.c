/* SPDX-License-Identifier: MIT */
#include "rpc/wire.h"

#include "rpc/protocol.h"

#include <string.h>

/* Field keys of the protobuf encoding: number << 3 | 2 (length-delimited). */
#define FRAME_ENVELOPES_KEY (1u << 3 | 2u)
#define ENVELOPE_PAYLOAD_KEY (8u << 3 | 2u)

static void *allocate(void *context, size_t size)
{
    return arena_alloc(context, size);
}

static void give_back(void *context, void *pointer)
{
    (void)context;
    (void)pointer;
}

ProtobufCAllocator wire_allocator(struct arena *arena)
{
    return (ProtobufCAllocator){
        .alloc = allocate, .free = give_back, .allocator_data = arena};
}

enum error wire_decode(const void *bytes, size_t size, struct arena *arena, Jackdaw__Frame **out)
{
    ProtobufCAllocator allocator = wire_allocator(arena);
    Jackdaw__Frame *frame = jackdaw__frame__unpack(&allocator, size, bytes);
    if (frame == NULL || frame->n_envelopes > RPC_ENVELOPES_MAX)
        return ERROR_INVALID;
    *out = frame;
    return OK;
}

static bool get_varint(const uint8_t **at, const uint8_t *end, uint64_t *value)
{
    *value = 0;
    for (unsigned shift = 0; shift < 64 && *at < end; shift += 7) {
        uint8_t byte = *(*at)++;
        *value |= (uint64_t)(byte & 0x7fu) << shift;
        if (byte < 0x80)
            return true;
    }
    return false;
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
    enum { VARINT = 0, FIXED64 = 1, DELIMITED = 2, FIXED32 = 5 };
    const uint8_t *end = size == 0 ? bytes : bytes + size;
    while (bytes < end) {
        uint64_t key;
        uint64_t length = 0;
        if (!get_varint(&bytes, end, &key))
            return false;
        uint64_t wire_type = key & 7u;
        bool has_number = wire_type == VARINT || wire_type == DELIMITED;
        if (has_number && !get_varint(&bytes, end, &length))
            return false;
        if (wire_type == VARINT)
            continue;
        if (!has_number && wire_type != FIXED64 && wire_type != FIXED32)
            return false;
        if (!has_number)
            length = wire_type == FIXED64 ? 8 : 4;
        if (length > (uint64_t)(end - bytes))
            return false;
        if (wire_type == DELIMITED && !field_is_whole(type, key >> 3, bytes, (size_t)length))
            return false;
        bytes += length;
    }
    return true;
}

static size_t varint_size(size_t value)
{
    size_t size = 1;
    while (value >= 0x80) {
        value >>= 7;
        size++;
    }
    return size;
}

static uint8_t *put_varint(uint8_t *at, size_t value)
{
    while (value >= 0x80) {
        *at++ = (uint8_t)(value | 0x80);
        value >>= 7;
    }
    *at++ = (uint8_t)value;
    return at;
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
        sizes.envelope += 1 + varint_size(sizes.payload) + sizes.payload;
    sizes.all = 1 + varint_size(sizes.envelope) + sizes.envelope;
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
    *at++ = FRAME_ENVELOPES_KEY;
    at = put_varint(at, sizes.envelope);
    at += jackdaw__envelope__pack(head, at);
    if (sizes.payload == 0)
        return OK;
    *at++ = ENVELOPE_PAYLOAD_KEY;
    at = put_varint(at, sizes.payload);
    for (size_t i = 0; i < count; i++) {
        if (chunks[i].size > 0)
            memcpy(at, chunks[i].bytes, chunks[i].size);
        at += chunks[i].size;
    }
    return OK;
}
