/* SPDX-License-Identifier: MIT */
#include "reply_parser.h"

#include "base/protobuf.h"

/* How a field is encoded: the lower three bits of its key. */
enum wire_type { WIRE_VARINT = 0, WIRE_64 = 1, WIRE_BYTES = 2, WIRE_32 = 5 };

#define KEY(number, type) ((number) << 3 | (type))

struct field {
    uint64_t key;
    uint64_t value;           /* WIRE_VARINT, WIRE_64, WIRE_32 */
    struct parse_bytes bytes; /* WIRE_BYTES */
};

static inline bool take_varint(struct parse_cursor *cursor, uint64_t *value)
{
    if (cursor->at < cursor->end && *cursor->at < 0x80) {
        *value = *cursor->at++;
        return true;
    }
    return protobuf_read_varint(&cursor->at, cursor->end, value);
}

static inline bool take_fixed(struct parse_cursor *cursor, uint64_t *value, size_t size)
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

static inline bool take_bytes(struct parse_cursor *cursor, struct parse_bytes *bytes)
{
    uint64_t size;
    if (!take_varint(cursor, &size) || size > (uint64_t)(cursor->end - cursor->at))
        return false;
    bytes->at = cursor->at;
    bytes->size = (size_t)size;
    cursor->at += size;
    return true;
}

static inline enum parse_result take_field(struct parse_cursor *cursor, struct field *field)
{
    if (cursor->at == cursor->end)
        return PARSE_END;
    *field = (struct field){0};
    if (!take_varint(cursor, &field->key))
        return PARSE_BROKEN;
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
    return taken ? PARSE_FOUND : PARSE_BROKEN;
}

static struct parse_cursor within(struct parse_bytes bytes)
{
    return (struct parse_cursor){.at = bytes.at,
                                 .end = bytes.size == 0 ? bytes.at : bytes.at + bytes.size};
}

/* Finds the next embedded message with this key; other fields are passed over. */
static enum parse_result next_embedded(struct parse_cursor *cursor, uint64_t key,
                                       struct parse_bytes *bytes)
{
    struct field field;
    enum parse_result result;
    while ((result = take_field(cursor, &field)) == PARSE_FOUND) {
        if (field.key == key) {
            *bytes = field.bytes;
            return PARSE_FOUND;
        }
    }
    return result;
}

/* A field that is read, and where to. */
struct wanted {
    uint64_t key;
    enum { TO_BOOL, TO_UINT32, TO_UINT64, TO_BYTES, TO_POSITION } to;
    size_t offset;
};

#define COUNT_OF(fields) (sizeof(fields) / sizeof(fields)[0])

static bool parse_fields(struct parse_bytes bytes, const struct wanted *wanted, size_t count,
                         void *out);

static bool keep(const struct field *field, const struct wanted *wanted, void *out)
{
    static const struct wanted position[] = {
        {KEY(1, WIRE_VARINT), TO_UINT64, offsetof(struct parse_position, epoch)},
        {KEY(2, WIRE_VARINT), TO_UINT64, offsetof(struct parse_position, seq)},
    };
    void *at = (uint8_t *)out + wanted->offset;
    switch (wanted->to) {
    case TO_BOOL:
        *(bool *)at = field->value != 0;
        break;
    case TO_UINT32:
        *(uint32_t *)at = (uint32_t)field->value;
        break;
    case TO_UINT64:
        *(uint64_t *)at = field->value;
        break;
    case TO_BYTES:
        *(struct parse_bytes *)at = field->bytes;
        break;
    case TO_POSITION:
        *(struct parse_position *)at = (struct parse_position){0};
        return parse_fields(field->bytes, position, COUNT_OF(position), at);
    }
    return true;
}

/* Other fields are passed over. False: broken. */
static bool parse_fields(struct parse_bytes bytes, const struct wanted *wanted, size_t count,
                         void *out)
{
    struct parse_cursor cursor = within(bytes);
    struct field field;
    enum parse_result result;
    while ((result = take_field(&cursor, &field)) == PARSE_FOUND)
        for (size_t i = 0; i < count; i++)
            if (wanted[i].key == field.key && !keep(&field, &wanted[i], out))
                return false;
    return result == PARSE_END;
}

enum parse_result parse_envelope(struct parse_cursor *frame, struct parse_envelope *out)
{
    static const struct wanted fields[] = {
        {KEY(1, WIRE_VARINT), TO_UINT32, offsetof(struct parse_envelope, kind)},
        {KEY(3, WIRE_VARINT), TO_UINT64, offsetof(struct parse_envelope, call)},
        {KEY(8, WIRE_BYTES), TO_BYTES, offsetof(struct parse_envelope, payload)},
        {KEY(9, WIRE_VARINT), TO_UINT32, offsetof(struct parse_envelope, status)},
        {KEY(10, WIRE_BYTES), TO_BYTES, offsetof(struct parse_envelope, message)},
        {KEY(12, WIRE_VARINT), TO_UINT32, offsetof(struct parse_envelope, retry_ms)},
        {KEY(13, WIRE_VARINT), TO_BOOL, offsetof(struct parse_envelope, more)},
    };
    struct parse_bytes bytes;
    enum parse_result result = next_embedded(frame, KEY(1, WIRE_BYTES), &bytes);
    if (result != PARSE_FOUND)
        return result;
    *out = (struct parse_envelope){0};
    return parse_fields(bytes, fields, COUNT_OF(fields), out) ? PARSE_FOUND : PARSE_BROKEN;
}

bool parse_send_reply(struct parse_bytes payload, struct parse_send_reply *out)
{
    static const struct wanted fields[] = {
        {KEY(1, WIRE_VARINT), TO_UINT64, offsetof(struct parse_send_reply, number)},
        {KEY(2, WIRE_BYTES), TO_POSITION, offsetof(struct parse_send_reply, position)},
    };
    *out = (struct parse_send_reply){0};
    return parse_fields(payload, fields, COUNT_OF(fields), out);
}

bool parse_page(struct parse_bytes payload, struct parse_page *out)
{
    static const struct wanted fields[] = {
        {KEY(2, WIRE_BYTES), TO_POSITION, offsetof(struct parse_page, after)},
        {KEY(3, WIRE_BYTES), TO_POSITION, offsetof(struct parse_page, next)},
    };
    *out = (struct parse_page){0};
    return parse_fields(payload, fields, COUNT_OF(fields), out);
}

enum parse_result parse_event(struct parse_cursor *page, struct parse_event *out)
{
    static const struct wanted fields[] = {
        {KEY(1, WIRE_VARINT), TO_UINT32, offsetof(struct parse_event, kind)},
        {KEY(7, WIRE_VARINT), TO_UINT64, offsetof(struct parse_event, number)},
        {KEY(8, WIRE_64), TO_UINT64, offsetof(struct parse_event, session)},
        {KEY(9, WIRE_VARINT), TO_UINT64, offsetof(struct parse_event, request)},
    };
    struct parse_bytes bytes;
    enum parse_result result = next_embedded(page, KEY(1, WIRE_BYTES), &bytes);
    if (result != PARSE_FOUND)
        return result;
    *out = (struct parse_event){0};
    return parse_fields(bytes, fields, COUNT_OF(fields), out) ? PARSE_FOUND : PARSE_BROKEN;
}
