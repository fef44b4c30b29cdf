/* SPDX-License-Identifier: MIT */
#include "batch/batch.h"

#include "base/protobuf.h"

#include <sodium.h>

/* Types of the wire format. */
enum wire { WIRE_VARINT = 0, WIRE_64_BITS = 1, WIRE_BYTES = 2, WIRE_32_BITS = 5 };

/* Keys: number of the field << 3 | type. */
#define KEY_BYTES(number) ((uint64_t)(number) << 3 | WIRE_BYTES)
#define KEY_DELTAS KEY_BYTES(3)        /* of Batch */
#define KEY_TOPIC_SET KEY_BYTES(17)    /* of Delta */
#define KEY_MESSAGE_SENT KEY_BYTES(19) /* of Delta */
#define KEY_TEXT KEY_BYTES(3)          /* of MessageSent and TopicSet; each takes one byte */
#define KEY_SALT KEY_BYTES(6)
#define KEY_ERASED KEY_BYTES(7)
#define KEY_HASH KEY_BYTES(8)

_Static_assert(BATCH_SALT_BYTES == BATCH_HASH_BYTES, "an erased text has another size");

/* ---- the wire format ---- */

struct field {
    uint64_t key;
    const uint8_t *at;    /* the key */
    const uint8_t *value; /* of WIRE_BYTES: the bytes */
    size_t size;          /* of WIRE_BYTES */
};

/* Reads the field at *at and moves *at behind it. False: there is no whole field. */
static bool read_field(const uint8_t **at, const uint8_t *end, struct field *field)
{
    uint64_t size = 0;
    *field = (struct field){.at = *at};
    if (!protobuf_read_varint(at, end, &field->key))
        return false;
    switch (field->key & 7) {
    case WIRE_VARINT:
        return protobuf_read_varint(at, end, &size);
    case WIRE_64_BITS:
        size = 8;
        break;
    case WIRE_BYTES:
        if (!protobuf_read_varint(at, end, &size))
            return false;
        break;
    case WIRE_32_BITS:
        size = 4;
        break;
    default:
        return false;
    }
    if (size > (uint64_t)(end - *at))
        return false;
    field->value = *at;
    field->size = (size_t)size;
    *at += size;
    return true;
}

/* ---- texts ---- */

/* A text with a salt, or its erased form. */
struct text {
    struct field text; /* KEY_TEXT or KEY_ERASED */
    struct field salt; /* KEY_SALT or KEY_HASH, behind it */
};

struct walk {
    void (*visit)(void *context, uint64_t index, const struct text *text); /* NULL: checks only */
    void *context;
};

static bool is_zero(const uint8_t *bytes, size_t size)
{
    return size == 0 || sodium_is_zero(bytes, size) == 1;
}

/* Notes the field if it is one of a text. False: no server writes such fields. */
static bool note_field(struct text *text, const struct field *field)
{
    bool is_text = field->key == KEY_TEXT || field->key == KEY_ERASED;
    bool is_salt = field->key == KEY_SALT || field->key == KEY_HASH;
    if (!is_text && !is_salt)
        return true;
    struct field *noted = is_text ? &text->text : &text->salt;
    if (noted->key != 0 || (field->at[0] & 0x80) != 0)
        return false;
    *noted = *field;
    if (is_salt)
        return field->size == BATCH_SALT_BYTES;
    return text->salt.key == 0 && (field->key == KEY_TEXT || is_zero(field->value, field->size));
}

/* A message or topic. False: it is malformed. */
static bool walk_change(const struct walk *walk, const struct field *change, uint64_t index)
{
    struct text text = {{0}, {0}};
    struct field field;
    const uint8_t *end = change->value + change->size;
    for (const uint8_t *at = change->value; at < end;)
        if (!read_field(&at, end, &field) || !note_field(&text, &field))
            return false;
    if (text.salt.key == 0)
        return text.text.key != KEY_ERASED;
    if (text.text.key == 0 || (text.text.key == KEY_ERASED) != (text.salt.key == KEY_HASH))
        return false;
    if (walk->visit != NULL)
        walk->visit(walk->context, index, &text);
    return true;
}

static bool walk_delta(const struct walk *walk, const struct field *delta, uint64_t index)
{
    struct field field;
    const uint8_t *end = delta->value + delta->size;
    for (const uint8_t *at = delta->value; at < end;) {
        if (!read_field(&at, end, &field))
            return false;
        bool has_text = field.key == KEY_MESSAGE_SENT || field.key == KEY_TOPIC_SET;
        if (has_text && !walk_change(walk, &field, index))
            return false;
    }
    return true;
}

/* Visits the texts with a salt, in the order of the bytes; index: of the delta. False: the bytes are no
 * batch, or hold what no server writes. */
static bool walk_batch(const struct walk *walk, const struct log_entry *entry)
{
    struct field field;
    uint64_t index = 0;
    const uint8_t *end = entry->bytes + entry->size;
    for (const uint8_t *at = entry->bytes; at < end;) {
        if (!read_field(&at, end, &field))
            return false;
        if (field.key == KEY_DELTAS && !walk_delta(walk, &field, index++))
            return false;
    }
    return true;
}

static void hash_text(uint8_t hash[static BATCH_HASH_BYTES], const struct text *text)
{
    crypto_generichash_state state;
    (void)crypto_generichash_init(&state, NULL, 0, BATCH_HASH_BYTES);
    (void)crypto_generichash_update(&state, text->salt.value, BATCH_SALT_BYTES);
    (void)crypto_generichash_update(&state, text->text.value, text->text.size);
    (void)crypto_generichash_final(&state, hash, BATCH_HASH_BYTES);
}

/* ---- digest ---- */

enum form { FORM_BYTES, FORM_BATCH };

struct chain {
    crypto_generichash_state state;
    const uint8_t *from; /* the bytes before are hashed */
};

static void begin(struct chain *chain, const uint8_t *digest, const struct log_entry *entry,
                  enum form form)
{
    uint8_t form_byte = (uint8_t)form;
    (void)crypto_generichash_init(&chain->state, NULL, 0, LOG_DIGEST_BYTES);
    (void)crypto_generichash_update(&chain->state, digest, LOG_DIGEST_BYTES);
    (void)crypto_generichash_update(&chain->state, &form_byte, 1);
    chain->from = entry->bytes;
}

static void hash_up_to(struct chain *chain, const uint8_t *to)
{
    if (to > chain->from)
        (void)crypto_generichash_update(&chain->state, chain->from,
                                        (unsigned long long)(to - chain->from));
    chain->from = to;
}

/* Hashes the key of the erased form in place of the field's. */
static void hash_key(struct chain *chain, const struct field *field, uint8_t key)
{
    hash_up_to(chain, field->at);
    (void)crypto_generichash_update(&chain->state, &key, 1);
    chain->from = field->at + 1;
}

static void hash_erased(void *context, uint64_t index, const struct text *text)
{
    struct chain *chain = context;
    uint8_t hash[BATCH_HASH_BYTES];
    (void)index;
    hash_key(chain, &text->text, KEY_ERASED);
    hash_up_to(chain, text->text.value);
    chain->from = text->text.value + text->text.size;
    if (text->text.key == KEY_ERASED)
        return;
    hash_key(chain, &text->salt, KEY_HASH);
    hash_up_to(chain, text->salt.value);
    hash_text(hash, text);
    (void)crypto_generichash_update(&chain->state, hash, sizeof hash);
    chain->from = text->salt.value + BATCH_SALT_BYTES;
}

void batch_chain(uint8_t digest[static LOG_DIGEST_BYTES], const struct log_entry *entry)
{
    struct chain chain;
    const struct walk walk = {.visit = hash_erased, .context = &chain};
    bool is_batch = entry->kind == LOG_ENTRY_CHAT && entry->size > 0;
    begin(&chain, digest, entry, is_batch ? FORM_BATCH : FORM_BYTES);
    if (is_batch && !walk_batch(&walk, entry))
        begin(&chain, digest, entry, FORM_BYTES);
    if (entry->size > 0)
        hash_up_to(&chain, entry->bytes + entry->size);
    (void)crypto_generichash_final(&chain.state, digest, LOG_DIGEST_BYTES);
}

/* ---- erasing ---- */

struct erasure {
    uint8_t *bytes; /* of the entry */
    const struct log_entry *entry;
    const uint64_t *seqs;
    size_t count;
    size_t erased;
};

static bool is_chosen(const struct erasure *erasure, uint64_t seq)
{
    size_t low = 0;
    for (size_t high = erasure->count; low < high;) {
        size_t middle = low + (high - low) / 2;
        if (erasure->seqs[middle] < seq)
            low = middle + 1;
        else
            high = middle;
    }
    return low < erasure->count && erasure->seqs[low] == seq;
}

/* The walk has read the fields already. */
static void erase(void *context, uint64_t index, const struct text *text)
{
    struct erasure *erasure = context;
    uint8_t hash[BATCH_HASH_BYTES];
    if (text->text.key == KEY_ERASED || !is_chosen(erasure, erasure->entry->first_seq + index))
        return;
    hash_text(hash, text);
    const uint8_t *start = erasure->entry->bytes;
    uint8_t *bytes = erasure->bytes;
    bytes[text->text.at - start] = KEY_ERASED;
    bytes[text->salt.at - start] = KEY_HASH;
    for (size_t i = 0; i < text->text.size; i++)
        bytes[(size_t)(text->text.value - start) + i] = 0;
    for (size_t i = 0; i < sizeof hash; i++)
        bytes[(size_t)(text->salt.value - start) + i] = hash[i];
    erasure->erased++;
}

size_t batch_erase(uint8_t *bytes, const struct log_entry *entry, const uint64_t *seqs,
                   size_t count)
{
    struct erasure erasure = {.bytes = bytes, .entry = entry, .seqs = seqs, .count = count};
    const struct walk check = {.visit = NULL};
    const struct walk walk = {.visit = erase, .context = &erasure};
    if (entry->kind == LOG_ENTRY_CHAT && entry->size > 0 && walk_batch(&check, entry))
        (void)walk_batch(&walk, entry);
    return erasure.erased;
}
