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
