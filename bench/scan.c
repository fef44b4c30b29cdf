/* SPDX-License-Identifier: MIT */
#include "scan.h"

/* How a field is encoded: the lower three bits of its key. */
enum wire_type { WIRE_VARINT = 0, WIRE_64 = 1, WIRE_BYTES = 2, WIRE_32 = 5 };

#define KEY(number, type) ((number) << 3 | (type))
#define VARINT_BYTES_MAX 10

struct field {
    uint64_t key;
    uint64_t value;          /* WIRE_VARINT, WIRE_64, WIRE_32 */
    struct scan_bytes bytes; /* WIRE_BYTES */
};

static bool take_long_varint(struct scan_cursor *cursor, uint64_t *value)
{
    uint64_t result = 0;
    for (unsigned i = 0; i < VARINT_BYTES_MAX && cursor->at + i < cursor->end; i++) {
        uint8_t byte = cursor->at[i];
        result |= (uint64_t)(byte & 0x7f) << (7 * i);
        if (byte < 0x80) {
            cursor->at += i + 1;
            *value = result;
            return true;
        }
    }
    return false;
}

static inline bool take_varint(struct scan_cursor *cursor, uint64_t *value)
{
    if (cursor->at < cursor->end && *cursor->at < 0x80) {
        *value = *cursor->at++;
        return true;
    }
    return take_long_varint(cursor, value);
}

static inline bool take_fixed(struct scan_cursor *cursor, uint64_t *value, size_t size)
{
    if ((size_t)(cursor->end - cursor->at) < size)
        return false;
    uint64_t result = 0;
    for (size_t i = 0; i < size; i++)
        result |= (uint64_t)cursor->at[i] << (8 * i);
    cursor->at += size;
    *value = result;
    return true;
}

static inline bool take_bytes(struct scan_cursor *cursor, struct scan_bytes *bytes)
{
    uint64_t size;
    if (!take_varint(cursor, &size) || size > (uint64_t)(cursor->end - cursor->at))
        return false;
    bytes->at = cursor->at;
    bytes->size = (size_t)size;
    cursor->at += size;
    return true;
}

static inline enum scan_result take_field(struct scan_cursor *cursor, struct field *field)
{
    if (cursor->at == cursor->end)
        return SCAN_END;
    *field = (struct field){0};
    if (!take_varint(cursor, &field->key))
        return SCAN_BROKEN;
    bool taken = false;
    switch (field->key & 7) {
    case WIRE_VARINT:
        taken = take_varint(cursor, &field->value);
        break;
    case WIRE_64:
        taken = take_fixed(cursor, &field->value, 8);
        break;
    case WIRE_BYTES:
        taken = take_bytes(cursor, &field->bytes);
        break;
    case WIRE_32:
        taken = take_fixed(cursor, &field->value, 4);
        break;
    default:
        break;
    }
    return taken ? SCAN_FOUND : SCAN_BROKEN;
}

static struct scan_cursor within(struct scan_bytes bytes)
{
    return (struct scan_cursor){.at = bytes.at,
                                .end = bytes.size == 0 ? bytes.at : bytes.at + bytes.size};
}

/* Finds the next embedded message with this key; other fields are passed over. */
static enum scan_result next_embedded(struct scan_cursor *cursor, uint64_t key,
                                      struct scan_bytes *bytes)
{
    struct field field;
    enum scan_result result;
    while ((result = take_field(cursor, &field)) == SCAN_FOUND) {
        if (field.key == key) {
            *bytes = field.bytes;
            return SCAN_FOUND;
        }
    }
    return result;
}

enum scan_result scan_envelope(struct scan_cursor *frame, struct scan_envelope *out)
{
    struct scan_bytes bytes;
    enum scan_result result = next_embedded(frame, KEY(1, WIRE_BYTES), &bytes);
    if (result != SCAN_FOUND)
        return result;
    *out = (struct scan_envelope){0};
    struct scan_cursor cursor = within(bytes);
    struct field field;
    while ((result = take_field(&cursor, &field)) == SCAN_FOUND) {
        switch (field.key) {
        case KEY(1, WIRE_VARINT):
            out->kind = (uint32_t)field.value;
            break;
        case KEY(3, WIRE_VARINT):
            out->call = field.value;
            break;
        case KEY(8, WIRE_BYTES):
            out->payload = field.bytes;
            break;
        case KEY(9, WIRE_VARINT):
            out->status = (uint32_t)field.value;
            break;
        case KEY(10, WIRE_BYTES):
            out->message = field.bytes;
            break;
        case KEY(12, WIRE_VARINT):
            out->retry_ms = (uint32_t)field.value;
            break;
        case KEY(13, WIRE_VARINT):
            out->more = field.value != 0;
            break;
        default:
            break;
        }
    }
    return result == SCAN_END ? SCAN_FOUND : SCAN_BROKEN;
}

static bool scan_position(struct scan_bytes bytes, struct scan_position *out)
{
    *out = (struct scan_position){0};
    struct scan_cursor cursor = within(bytes);
    struct field field;
    enum scan_result result;
    while ((result = take_field(&cursor, &field)) == SCAN_FOUND) {
        if (field.key == KEY(1, WIRE_VARINT))
            out->epoch = field.value;
        else if (field.key == KEY(2, WIRE_VARINT))
            out->seq = field.value;
    }
    return result == SCAN_END;
}

bool scan_send_reply(struct scan_bytes payload, struct scan_send_reply *out)
{
    *out = (struct scan_send_reply){0};
    struct scan_cursor cursor = within(payload);
    struct field field;
    enum scan_result result;
    while ((result = take_field(&cursor, &field)) == SCAN_FOUND) {
        if (field.key == KEY(1, WIRE_VARINT))
            out->number = field.value;
        else if (field.key == KEY(2, WIRE_BYTES) && !scan_position(field.bytes, &out->position))
            return false;
    }
    return result == SCAN_END;
}

bool scan_page(struct scan_bytes payload, struct scan_page *out)
{
    *out = (struct scan_page){0};
    struct scan_cursor cursor = within(payload);
    struct field field;
    enum scan_result result;
    while ((result = take_field(&cursor, &field)) == SCAN_FOUND) {
        if (field.key == KEY(2, WIRE_BYTES) && !scan_position(field.bytes, &out->after))
            return false;
        if (field.key == KEY(3, WIRE_BYTES) && !scan_position(field.bytes, &out->next))
            return false;
    }
    return result == SCAN_END;
}

enum scan_result scan_event(struct scan_cursor *page, struct scan_event *out)
{
    struct scan_bytes bytes;
    enum scan_result result = next_embedded(page, KEY(1, WIRE_BYTES), &bytes);
    if (result != SCAN_FOUND)
        return result;
    *out = (struct scan_event){0};
    struct scan_cursor cursor = within(bytes);
    struct field field;
    while ((result = take_field(&cursor, &field)) == SCAN_FOUND) {
        switch (field.key) {
        case KEY(1, WIRE_VARINT):
            out->kind = (uint32_t)field.value;
            break;
        case KEY(7, WIRE_VARINT):
            out->number = field.value;
            break;
        case KEY(8, WIRE_64):
            out->session = field.value;
            break;
        case KEY(9, WIRE_VARINT):
            out->request = field.value;
            break;
        default:
            break;
        }
    }
    return result == SCAN_END ? SCAN_FOUND : SCAN_BROKEN;
}
