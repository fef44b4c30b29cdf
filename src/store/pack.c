/* SPDX-License-Identifier: MIT */
#include "store/store_internal.h"

#include <string.h>

#define FIRST_CAPACITY 256u

enum error pack_buffer_reserve(struct store *store, struct buffer *buffer, size_t more)
{
    if (more <= buffer->capacity - buffer->size)
        return OK;
    size_t capacity = buffer->capacity == 0 ? FIRST_CAPACITY : buffer->capacity * 2;
    if (capacity < buffer->size + more)
        capacity = buffer->size + more;
    uint8_t *bytes = sqlite3_realloc64(buffer->bytes, capacity);
    if (bytes == NULL)
        return store_fault(store, ERROR_NO_MEMORY, "keep what is to be written", "buffer");
    buffer->bytes = bytes;
    buffer->capacity = capacity;
    return OK;
}

void pack_buffer_free(struct buffer *buffer)
{
    sqlite3_free(buffer->bytes);
    *buffer = (struct buffer){0};
}

void pack_number(struct buffer *buffer, uint64_t value)
{
    ASSERT(buffer->capacity - buffer->size >= PACKED_NUMBER_MAX);
    while (value >= 0x80) {
        buffer->bytes[buffer->size++] = (uint8_t)(value | 0x80);
        value >>= 7;
    }
    buffer->bytes[buffer->size++] = (uint8_t)value;
}

void pack_bytes(struct buffer *buffer, const void *bytes, size_t size)
{
    ASSERT(buffer->capacity - buffer->size >= size);
    if (size > 0)
        memcpy(buffer->bytes + buffer->size, bytes, size);
    buffer->size += size;
}

uint64_t unpack_number(struct unpacker *unpacker)
{
    uint64_t value = 0;
    for (unsigned shift = 0; shift < 64 && unpacker->left > 0 && !unpacker->bad; shift += 7) {
        uint8_t byte = *unpacker->bytes++;
        unpacker->left--;
        value |= (uint64_t)(byte & 0x7f) << shift;
        if (byte < 0x80)
            return value;
    }
    unpacker->bad = true;
    return 0;
}

const uint8_t *unpack_bytes(struct unpacker *unpacker, size_t size)
{
    if (unpacker->bad || size > unpacker->left) {
        unpacker->bad = true;
        return NULL;
    }
    const uint8_t *bytes = unpacker->bytes;
    unpacker->bytes += size;
    unpacker->left -= size;
    return bytes;
}
