/* SPDX-License-Identifier: MIT */
/* The bytes of segments and records; docs/log.md has the tables. All numbers are little-endian. */
#include "segment_log/segment_internal.h"

#include <sodium.h>
#include <string.h>

static const uint8_t head_magic[8] = {'J', 'D', 'L', 'o', 'g', '\r', '\n', 0x1a};
static const uint8_t overwrite_magic[8] = {'J', 'D', 'O', 'v', 'r', '\r', '\n', 0x1a};
#define RECORD_MAGIC UINT32_C(0x4352444a) /* "JDRC" */

/* Offsets in the head of a segment. */
enum {
    HEAD_MAGIC = 0,
    HEAD_VERSION = 8,
    HEAD_FLAGS = 12,
    HEAD_NUMBER = 16,
    HEAD_SIZE = 24,
    HEAD_BASE_EPOCH = 32,
    HEAD_BASE_SEQ = 40,
    HEAD_BASE_BYTES = 48,
    HEAD_BASE_DIGEST = 56,
    HEAD_KEY = 88,
    HEAD_HASH = SEGMENT_HEAD_BYTES - 8,
};
#define FLAG_START 1u

/* Offsets in the head of a record. */
enum {
    RECORD_HASH = 0,
    RECORD_MAGIC_AT = 8,
    RECORD_KIND = 12,
    RECORD_SIZE = 16,
    RECORD_EPOCH = 24,
    RECORD_FIRST_SEQ = 32,
    RECORD_LAST_SEQ = 40,
    RECORD_END_BYTES = 48,
    RECORD_SYNCED_SEQ = 56,
    RECORD_DIGEST = 64,
    RECORD_PAYLOAD_HASH = 96,
    RECORD_OFFSET = 104,
};

/* Offsets in the file `overwrite`. */
enum {
    OVERWRITE_HASH = 0,
    OVERWRITE_MAGIC = 8,
    OVERWRITE_NUMBER = 16,
    OVERWRITE_SIZE = 24,
    OVERWRITE_KEY = 32,
    RANGE_OFFSET = 0,
    RANGE_SIZE = 8,
};

_Static_assert(SEGMENT_KEY_BYTES == crypto_shorthash_KEYBYTES, "SipHash has another key");
_Static_assert(RECORD_OFFSET + 8 == SEGMENT_RECORD_HEAD_BYTES, "the head of a record has a gap");

static void put(uint8_t *out, uint64_t value, size_t size)
{
    for (size_t i = 0; i < size; i++)
        out[i] = (uint8_t)(value >> 8 * i);
}

static uint64_t get(const uint8_t *bytes, size_t size)
{
    uint64_t value = 0;
    for (size_t i = 0; i < size; i++)
        value |= (uint64_t)bytes[i] << 8 * i;
    return value;
}

static uint64_t hash_of(const uint8_t *bytes, size_t size, const uint8_t *key)
{
    uint8_t hash[crypto_shorthash_BYTES];
    (void)crypto_shorthash(hash, bytes, size, key);
    return get(hash, sizeof hash);
}

void segment_head_encode(uint8_t out[static SEGMENT_HEAD_BYTES], const struct segment_head *head)
{
    memset(out, 0, SEGMENT_HEAD_BYTES);
    memcpy(out + HEAD_MAGIC, head_magic, sizeof head_magic);
    put(out + HEAD_VERSION, SEGMENT_VERSION, 4);
    put(out + HEAD_FLAGS, head->is_start ? FLAG_START : 0, 4);
    put(out + HEAD_NUMBER, head->number, 8);
    put(out + HEAD_SIZE, head->size, 8);
    put(out + HEAD_BASE_EPOCH, head->base.position.epoch, 8);
    put(out + HEAD_BASE_SEQ, head->base.position.seq, 8);
    put(out + HEAD_BASE_BYTES, head->base.bytes, 8);
    memcpy(out + HEAD_BASE_DIGEST, head->base.digest, LOG_DIGEST_BYTES);
    memcpy(out + HEAD_KEY, head->key, SEGMENT_KEY_BYTES);
    put(out + HEAD_HASH, hash_of(out, HEAD_HASH, head->key), 8);
}

enum error segment_head_decode(struct segment_head *head,
                               const uint8_t bytes[static SEGMENT_HEAD_BYTES])
{
    if (memcmp(bytes + HEAD_MAGIC, head_magic, sizeof head_magic) != 0 ||
        get(bytes + HEAD_HASH, 8) != hash_of(bytes, HEAD_HASH, bytes + HEAD_KEY))
        return ERROR_CORRUPT;
    if (get(bytes + HEAD_VERSION, 4) != SEGMENT_VERSION)
        return ERROR_VERSION;
    *head = (struct segment_head){
        .number = get(bytes + HEAD_NUMBER, 8),
        .size = get(bytes + HEAD_SIZE, 8),
        .is_start = (get(bytes + HEAD_FLAGS, 4) & FLAG_START) != 0,
        .base = {.position = {.epoch = get(bytes + HEAD_BASE_EPOCH, 8),
                              .seq = get(bytes + HEAD_BASE_SEQ, 8)},
                 .bytes = get(bytes + HEAD_BASE_BYTES, 8)},
    };
    memcpy(head->base.digest, bytes + HEAD_BASE_DIGEST, LOG_DIGEST_BYTES);
    memcpy(head->key, bytes + HEAD_KEY, SEGMENT_KEY_BYTES);
    return OK;
}

void segment_record_encode(uint8_t *out, const struct segment_record *record)
{
    const struct log_entry *entry = &record->entry;
    memset(out, 0, SEGMENT_RECORD_HEAD_BYTES);
    put(out + RECORD_MAGIC_AT, RECORD_MAGIC, 4);
    put(out + RECORD_KIND, (uint64_t)entry->kind, 4);
    put(out + RECORD_SIZE, entry->size, 8);
    put(out + RECORD_EPOCH, entry->epoch, 8);
    put(out + RECORD_FIRST_SEQ, entry->first_seq, 8);
    put(out + RECORD_LAST_SEQ, entry->last_seq, 8);
    put(out + RECORD_END_BYTES, record->end_bytes, 8);
    memcpy(out + RECORD_DIGEST, entry->digest, LOG_DIGEST_BYTES);
    if (entry->size > 0)
        memcpy(out + SEGMENT_RECORD_HEAD_BYTES, entry->bytes, entry->size);
    size_t used = SEGMENT_RECORD_HEAD_BYTES + entry->size;
    memset(out + used, 0, (size_t)segment_record_bytes(entry->size) - used);
}

void segment_record_seal(uint8_t *bytes, const uint8_t key[static SEGMENT_KEY_BYTES],
                         uint64_t offset, uint64_t synced_seq)
{
    size_t payload =
        (size_t)segment_record_bytes(get(bytes + RECORD_SIZE, 8)) - SEGMENT_RECORD_HEAD_BYTES;
    put(bytes + RECORD_OFFSET, offset, 8);
    put(bytes + RECORD_SYNCED_SEQ, synced_seq, 8);
    put(bytes + RECORD_PAYLOAD_HASH, hash_of(bytes + SEGMENT_RECORD_HEAD_BYTES, payload, key), 8);
    put(bytes + RECORD_HASH,
        hash_of(bytes + RECORD_MAGIC_AT, SEGMENT_RECORD_HEAD_BYTES - RECORD_MAGIC_AT, key), 8);
}

/* A size is valid if the record ends within the file. */
static bool has_valid_size(const uint8_t *bytes, uint64_t offset, uint64_t file_size)
{
    uint64_t size = get(bytes + RECORD_SIZE, 8);
    return size <= SEGMENT_LOG_ENTRY_MAX && offset <= file_size &&
           segment_record_bytes(size) <= file_size - offset;
}

bool segment_record_decode(struct segment_record *record,
                           const uint8_t bytes[static SEGMENT_RECORD_HEAD_BYTES],
                           const uint8_t *key, uint64_t offset, uint64_t size)
{
    if (get(bytes + RECORD_MAGIC_AT, 4) != RECORD_MAGIC ||
        get(bytes + RECORD_OFFSET, 8) != offset || !has_valid_size(bytes, offset, size))
        return false;
    if (key != NULL &&
        get(bytes + RECORD_HASH, 8) !=
            hash_of(bytes + RECORD_MAGIC_AT, SEGMENT_RECORD_HEAD_BYTES - RECORD_MAGIC_AT, key))
        return false;
    segment_record_peek(record, bytes);
    return true;
}

void segment_record_peek(struct segment_record *record, const uint8_t *bytes)
{
    *record = (struct segment_record){
        .entry = {.kind = (enum log_entry_kind)get(bytes + RECORD_KIND, 4),
                  .epoch = get(bytes + RECORD_EPOCH, 8),
                  .first_seq = get(bytes + RECORD_FIRST_SEQ, 8),
                  .last_seq = get(bytes + RECORD_LAST_SEQ, 8),
                  .size = (size_t)get(bytes + RECORD_SIZE, 8)},
        .end_bytes = get(bytes + RECORD_END_BYTES, 8),
        .synced_seq = get(bytes + RECORD_SYNCED_SEQ, 8),
        .payload_hash = get(bytes + RECORD_PAYLOAD_HASH, 8),
    };
    memcpy(record->entry.digest, bytes + RECORD_DIGEST, LOG_DIGEST_BYTES);
}

bool segment_record_has_payload(const struct segment_record *record, const uint8_t *payload,
                                const uint8_t key[static SEGMENT_KEY_BYTES])
{
    size_t size = (size_t)segment_record_bytes(record->entry.size) - SEGMENT_RECORD_HEAD_BYTES;
    return record->payload_hash == hash_of(payload, size, key);
}

void segment_overwrite_encode(uint8_t *bytes, size_t size, const struct segment_head *head)
{
    memcpy(bytes + OVERWRITE_MAGIC, overwrite_magic, sizeof overwrite_magic);
    put(bytes + OVERWRITE_NUMBER, head->number, 8);
    put(bytes + OVERWRITE_SIZE, size, 8);
    memcpy(bytes + OVERWRITE_KEY, head->key, SEGMENT_KEY_BYTES);
    put(bytes + OVERWRITE_HASH, hash_of(bytes + OVERWRITE_MAGIC, size - OVERWRITE_MAGIC, head->key),
        8);
}

bool segment_overwrite_decode(const uint8_t *bytes, size_t size, uint64_t *number,
                              uint8_t key[static SEGMENT_KEY_BYTES])
{
    const uint8_t *found = bytes + OVERWRITE_KEY;
    if (memcmp(bytes + OVERWRITE_MAGIC, overwrite_magic, sizeof overwrite_magic) != 0 ||
        get(bytes + OVERWRITE_SIZE, 8) != size ||
        get(bytes + OVERWRITE_HASH, 8) !=
            hash_of(bytes + OVERWRITE_MAGIC, size - OVERWRITE_MAGIC, found))
        return false;
    *number = get(bytes + OVERWRITE_NUMBER, 8);
    memcpy(key, found, SEGMENT_KEY_BYTES);
    return true;
}

void segment_range_encode(uint8_t *out, uint64_t offset, const uint8_t *bytes, size_t size)
{
    put(out + RANGE_OFFSET, offset, 8);
    put(out + RANGE_SIZE, size, 8);
    memcpy(out + SEGMENT_RANGE_HEAD_BYTES, bytes, size);
}

bool segment_range_decode(struct segment_range *range, const uint8_t *bytes, size_t size)
{
    if (size < range->next + SEGMENT_RANGE_HEAD_BYTES)
        return false;
    const uint8_t *at = bytes + range->next;
    range->next += SEGMENT_RANGE_HEAD_BYTES;
    range->offset = get(at + RANGE_OFFSET, 8);
    range->size = (size_t)get(at + RANGE_SIZE, 8);
    range->bytes = at + SEGMENT_RANGE_HEAD_BYTES;
    if (range->size > size - range->next)
        return false;
    range->next += range->size;
    return true;
}

struct segment_log_end segment_record_end(const struct segment_record *record)
{
    struct segment_log_end end = {.position = log_entry_last(&record->entry),
                                  .bytes = record->end_bytes};
    memcpy(end.digest, record->entry.digest, LOG_DIGEST_BYTES);
    return end;
}

void segment_log_chain_bytes(uint8_t digest[static LOG_DIGEST_BYTES], const struct log_entry *entry)
{
    crypto_generichash_state state;
    (void)crypto_generichash_init(&state, NULL, 0, LOG_DIGEST_BYTES);
    (void)crypto_generichash_update(&state, digest, LOG_DIGEST_BYTES);
    (void)crypto_generichash_update(&state, entry->bytes, entry->size);
    (void)crypto_generichash_final(&state, digest, LOG_DIGEST_BYTES);
}
