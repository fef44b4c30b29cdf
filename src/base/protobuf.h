/* SPDX-License-Identifier: MIT */
/* protobuf.h - what this program adds to protobuf-c: memory from an arena, and varints by hand.
 *
 * A varint has seven bits of a number in each byte, the lowest first; the top bit says that another
 * byte follows (protobuf's description of its encoding, "Base 128 Varints"). Pure; any thread. */
#ifndef JACKDAW_BASE_PROTOBUF_H
#define JACKDAW_BASE_PROTOBUF_H

#include "base/arena.h"

#include <protobuf-c/protobuf-c.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define PROTOBUF_VARINT_BYTES_MAX 10u

static inline void *protobuf_alloc(void *arena, size_t size)
{
    return arena_alloc(arena, size);
}

static inline void protobuf_free(void *arena, void *pointer)
{
    (void)arena;
    (void)pointer;
}

/* Returns an allocator for messages that live until arena_clear. The allocator borrows the arena. */
static inline ProtobufCAllocator protobuf_allocator(struct arena *arena)
{
    return (ProtobufCAllocator){
        .alloc = protobuf_alloc, .free = protobuf_free, .allocator_data = arena};
}

/* Unpacks a message into the arena; it is freed with the arena. NULL: the bytes are no such message, or
 * the arena's budget is used up. */
static inline void *protobuf_unpack(const ProtobufCMessageDescriptor *type, struct arena *arena,
                                    const void *bytes, size_t size)
{
    ProtobufCAllocator allocator = protobuf_allocator(arena);
    return protobuf_c_message_unpack(type, &allocator, size, bytes);
}

/* How many bytes value takes. */
static inline size_t protobuf_varint_size(uint64_t value)
{
    size_t size = 1;
    while (value >= 0x80) {
        value >>= 7;
        size++;
    }
    return size;
}

/* Writes value at `at`; returns the end. */
static inline uint8_t *protobuf_put_varint(uint8_t *at, uint64_t value)
{
    while (value >= 0x80) {
        *at++ = (uint8_t)(value | 0x80);
        value >>= 7;
    }
    *at++ = (uint8_t)value;
    return at;
}

/* Reads a value at *at and moves *at behind it. False: it has no end before `end`, or is too long;
 * *at means nothing then. */
static inline bool protobuf_read_varint(const uint8_t **at, const uint8_t *end, uint64_t *value)
{
    *value = 0;
    for (unsigned shift = 0; shift < 7 * PROTOBUF_VARINT_BYTES_MAX && *at < end; shift += 7) {
        uint8_t byte = *(*at)++;
        *value |= (uint64_t)(byte & 0x7f) << shift;
        if (byte < 0x80)
            return true;
    }
    return false;
}

#endif
