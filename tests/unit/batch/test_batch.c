/* SPDX-License-Identifier: MIT */
#include "batch/batch.h"
#include "spec.pb-c.h"
#include "support/test.h"

#include <sodium.h>
#include <string.h>

#define EPOCH 7
#define FIRST_SEQ 40
#define DELTAS 5
#define ENTRY_BYTES_MAX 1024
#define FORGED_BYTES 4 /* a text of another size, forged into an erased entry */

static const char *const texts[] = {"hello, world", "of birds", "another message, which stays"};
enum { TEXT_FIRST, TEXT_TOPIC, TEXT_OTHER };

struct fixture {
    uint8_t bytes[ENTRY_BYTES_MAX];
    struct log_entry entry;
    uint8_t salts[3][BATCH_SALT_BYTES];
};

int test_setup(void **state)
{
    (void)state;
    return sodium_init() < 0 ? -1 : 0;
}

/* Seqs: 40 a join, 41 and 43 messages with a salt, 42 a topic with a salt, 44 a message without one. */
static void make(struct fixture *f)
{
    Jackdaw__Batch batch = JACKDAW__BATCH__INIT;
    Jackdaw__RoomJoined joined = JACKDAW__ROOM_JOINED__INIT;
    Jackdaw__MessageSent sent[3];
    Jackdaw__TopicSet topic = JACKDAW__TOPIC_SET__INIT;
    Jackdaw__Delta deltas[DELTAS];
    Jackdaw__Delta *list[DELTAS];
    randombytes_buf(f->salts, sizeof f->salts);
    for (size_t i = 0; i < DELTAS; i++) {
        jackdaw__delta__init(&deltas[i]);
        deltas[i].time_ms = 1000 + i;
        deltas[i].session = 9;
        deltas[i].request = i + 1;
        list[i] = &deltas[i];
    }
    for (size_t i = 0; i < 3; i++) {
        jackdaw__message_sent__init(&sent[i]);
        sent[i].room = 3;
        sent[i].account = 4;
    }
    sent[0].text = (char *)(uintptr_t)texts[TEXT_FIRST];
    sent[0].text_salt = (ProtobufCBinaryData){BATCH_SALT_BYTES, f->salts[TEXT_FIRST]};
    topic.room = 3;
    topic.topic = (char *)(uintptr_t)texts[TEXT_TOPIC];
    topic.topic_salt = (ProtobufCBinaryData){BATCH_SALT_BYTES, f->salts[TEXT_TOPIC]};
    sent[1].text = (char *)(uintptr_t)texts[TEXT_OTHER];
    sent[1].text_salt = (ProtobufCBinaryData){BATCH_SALT_BYTES, f->salts[TEXT_OTHER]};
    sent[1].peer = 5;
    sent[2].text = (char *)(uintptr_t) "without a salt";
    deltas[0].change_case = JACKDAW__DELTA__CHANGE_ROOM_JOINED;
    deltas[0].room_joined = &joined;
    deltas[1].change_case = JACKDAW__DELTA__CHANGE_MESSAGE_SENT;
    deltas[1].message_sent = &sent[0];
    deltas[2].change_case = JACKDAW__DELTA__CHANGE_TOPIC_SET;
    deltas[2].topic_set = &topic;
    deltas[3].change_case = JACKDAW__DELTA__CHANGE_MESSAGE_SENT;
    deltas[3].message_sent = &sent[1];
    deltas[4].change_case = JACKDAW__DELTA__CHANGE_MESSAGE_SENT;
    deltas[4].message_sent = &sent[2];
    batch.epoch = EPOCH;
    batch.first_seq = FIRST_SEQ;
    batch.n_deltas = DELTAS;
    batch.deltas = list;
    assert_true(jackdaw__batch__get_packed_size(&batch) <= sizeof f->bytes);
    f->entry = (struct log_entry){.kind = LOG_ENTRY_CHAT,
                                  .epoch = EPOCH,
                                  .first_seq = FIRST_SEQ,
                                  .last_seq = FIRST_SEQ + DELTAS - 1,
                                  .bytes = f->bytes,
                                  .size = jackdaw__batch__pack(&batch, f->bytes)};
}

static bool is_same_chain(const struct log_entry *left, const struct log_entry *right)
{
    uint8_t one[LOG_DIGEST_BYTES] = {1, 2, 3};
    uint8_t other[LOG_DIGEST_BYTES] = {1, 2, 3};
    batch_chain(one, left);
    batch_chain(other, right);
    return memcmp(one, other, sizeof one) == 0;
}

static size_t erase(struct fixture *f, const uint64_t *seqs, size_t count)
{
    return batch_erase(f->bytes, &f->entry, seqs, count);
}

static bool holds(const struct fixture *f, const void *bytes, size_t size)
{
    return memmem(f->bytes, f->entry.size, bytes, size) != NULL;
}

static bool holds_text(const struct fixture *f, size_t text)
{
    return holds(f, texts[text], strlen(texts[text]));
}

/* ---- erasing ---- */

TEST(test_batch_erase__keeps_the_digest)
{
    struct fixture f, whole;
    make(&f);
    whole = f;
    whole.entry.bytes = whole.bytes;
    const uint64_t seqs[] = {3, FIRST_SEQ, FIRST_SEQ + 1, 1000};
    assert_int_equal(erase(&f, seqs, 4), 1);
    assert_true(is_same_chain(&f.entry, &whole.entry));
    assert_false(holds_text(&f, TEXT_FIRST));
    assert_true(holds_text(&f, TEXT_TOPIC) && holds_text(&f, TEXT_OTHER));
    assert_int_equal(erase(&f, seqs, 4), 0);
    const uint64_t others[] = {FIRST_SEQ + 2, FIRST_SEQ + 3, FIRST_SEQ + 4};
    assert_int_equal(erase(&f, others, 3), 2);
    assert_true(is_same_chain(&f.entry, &whole.entry));
    assert_false(holds_text(&f, TEXT_TOPIC) || holds_text(&f, TEXT_OTHER));
    assert_true(holds(&f, "without a salt", 14));
}

/* The salt goes, too: a text of a few letters could be found by its hash. */
TEST(test_batch_erase__leaves_the_hash_of_salt_and_text)
{
    struct fixture f;
    uint8_t hash[BATCH_HASH_BYTES];
    uint8_t salted[ENTRY_BYTES_MAX];
    size_t size = strlen(texts[TEXT_FIRST]);
    make(&f);
    memcpy(salted, f.salts[TEXT_FIRST], BATCH_SALT_BYTES);
    memcpy(salted + BATCH_SALT_BYTES, texts[TEXT_FIRST], size);
    (void)crypto_generichash(hash, sizeof hash, salted, BATCH_SALT_BYTES + size, NULL, 0);
    assert_int_equal(erase(&f, (const uint64_t[]){FIRST_SEQ + 1}, 1), 1);
    assert_false(holds(&f, f.salts[TEXT_FIRST], BATCH_SALT_BYTES));
    Jackdaw__Batch *batch = jackdaw__batch__unpack(NULL, f.entry.size, f.bytes);
    assert_non_null(batch);
    const Jackdaw__MessageSent *sent = batch->deltas[1]->message_sent;
    assert_string_equal(sent->text, "");
    assert_int_equal(sent->text_salt.len, 0);
    assert_int_equal(sent->erased_text.len, size);
    assert_true(sodium_is_zero(sent->erased_text.data, size));
    assert_int_equal(sent->text_hash.len, sizeof hash);
    assert_memory_equal(sent->text_hash.data, hash, sizeof hash);
    assert_string_equal(batch->deltas[3]->message_sent->text, texts[TEXT_OTHER]);
    jackdaw__batch__free_unpacked(batch, NULL);
}

/* The fields of a message, in a batch with one delta. */
static void wrap(struct fixture *f, const uint8_t *fields, size_t size)
{
    const uint8_t keys[] = {3 << 3 | 2, (uint8_t)(size + 3), 0x9a, 1, (uint8_t)size};
    memcpy(f->bytes, keys, sizeof keys);
    memcpy(f->bytes + sizeof keys, fields, size);
    f->entry = (struct log_entry){.kind = LOG_ENTRY_CHAT,
                                  .first_seq = 1,
                                  .last_seq = 1,
                                  .bytes = f->bytes,
                                  .size = sizeof keys + size};
}

#define TEXT 3 << 3 | 2, 2, 'h', 'i'
#define SALT 6 << 3 | 2, 16, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16
#define ERASED 7 << 3 | 2, 2, 0, 0
#define HASH 8 << 3 | 2, 16, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16

/* Such bytes are hashed as they are, and stay. */
TEST(test_batch_erase__leaves_what_no_server_writes)
{
    static const uint8_t rows[][80] = {
        {TEXT, SALT, TEXT},           /* two texts */
        {TEXT, SALT, SALT},           /* two salts */
        {SALT, TEXT},                 /* another order */
        {TEXT, HASH},                 /* half erased */
        {ERASED, SALT},               /* */
        {TEXT, ERASED, HASH},         /* */
        {0x9a, 0, 2, 'h', 'i', SALT}, /* a key of two bytes */
        {TEXT, 6 << 3 | 2, 2, 1, 2},  /* a short salt */
        {TEXT, SALT, 0xff},           /* no field */
    };
    static const size_t sizes[] = {26, 40, 22, 22, 22, 26, 23, 8, 23};
    for (size_t i = 0; i < sizeof sizes / sizeof sizes[0]; i++) {
        struct fixture f, other;
        wrap(&f, rows[i], sizes[i]);
        other = f;
        assert_int_equal(erase(&f, (const uint64_t[]){1}, 1), 0);
        assert_memory_equal(f.bytes, other.bytes, f.entry.size);
    }
    struct fixture good;
    wrap(&good, (const uint8_t[]){TEXT, SALT}, 22);
    assert_int_equal(erase(&good, (const uint64_t[]){1}, 1), 1);
}

/* ---- the digest ---- */

/* The batch ends in the middle of a field: then the digest covers its texts. */
TEST(test_batch_chain__hashes_a_malformed_batch_as_it_is)
{
    struct fixture whole, erased;
    make(&whole);
    erased = whole;
    erased.entry.bytes = erased.bytes;
    assert_int_equal(erase(&erased, (const uint64_t[]){FIRST_SEQ + 1}, 1), 1);
    whole.bytes[whole.entry.size++] = erased.bytes[erased.entry.size++] = 0xff;
    assert_false(is_same_chain(&whole.entry, &erased.entry));
}

/* Each changed bit changes the digest, in texts, their hashes and the zeros of erased ones alike. Whatever
 * the bytes are, erasing keeps the digest. */
static void flip_every_bit(const struct fixture *whole)
{
    static const uint64_t all[] = {FIRST_SEQ, FIRST_SEQ + 1, FIRST_SEQ + 2, FIRST_SEQ + 3,
                                   FIRST_SEQ + 4};
    for (size_t bit = 0; bit < 8 * whole->entry.size; bit++) {
        struct fixture f = *whole;
        f.entry.bytes = f.bytes;
        f.bytes[bit / 8] ^= (uint8_t)(1u << bit % 8);
        assert_false(is_same_chain(&f.entry, &whole->entry));
        struct fixture before = f;
        before.entry.bytes = before.bytes;
        (void)erase(&f, all, DELTAS);
        assert_true(is_same_chain(&f.entry, &before.entry));
    }
}

TEST(test_batch_chain__tells_every_bit)
{
    struct fixture f;
    make(&f);
    flip_every_bit(&f);
    assert_int_equal(erase(&f, (const uint64_t[]){FIRST_SEQ + 1, FIRST_SEQ + 2}, 2), 2);
    flip_every_bit(&f);
}

TEST(test_batch_chain__tells_every_length)
{
    struct fixture f;
    make(&f);
    for (size_t size = 0; size < f.entry.size; size++) {
        struct fixture cut = f;
        cut.entry.bytes = cut.bytes;
        cut.entry.size = size;
        assert_false(is_same_chain(&cut.entry, &f.entry));
        struct log_entry before = cut.entry;
        before.bytes = f.bytes;
        (void)erase(&cut, (const uint64_t[]){FIRST_SEQ + 1}, 1);
        assert_true(is_same_chain(&cut.entry, &before));
    }
}

/* The digest leaves out the zeros of an erased text, but not their number. */
TEST(test_batch_chain__tells_the_size_of_an_erased_text)
{
    uint8_t left[64] = {3 << 3 | 2, 0, 0x9a, 1, 0};
    size_t erased = 2 + FORGED_BYTES;
    size_t change = erased + 2 + BATCH_HASH_BYTES;
    left[1] = (uint8_t)(3 + change);
    left[4] = (uint8_t)change;
    left[5] = 7 << 3 | 2;
    left[6] = FORGED_BYTES;
    left[5 + erased] = 8 << 3 | 2;
    left[6 + erased] = BATCH_HASH_BYTES;
    uint8_t right[sizeof left];
    memcpy(right, left, sizeof left);
    struct log_entry one = {.kind = LOG_ENTRY_CHAT, .bytes = left, .size = 5 + change};
    struct log_entry other = {.kind = LOG_ENTRY_CHAT, .bytes = right, .size = 5 + change};
    assert_true(is_same_chain(&one, &other));
    right[7] = 1; /* no zero */
    assert_false(is_same_chain(&one, &other));
    other.kind = LOG_ENTRY_MEMBERS;
    right[7] = 0;
    assert_false(is_same_chain(&one, &other));
}

TEST(test_batch_chain__begins_with_the_digest_before)
{
    struct fixture f;
    uint8_t one[LOG_DIGEST_BYTES] = {1};
    uint8_t other[LOG_DIGEST_BYTES] = {2};
    make(&f);
    batch_chain(one, &f.entry);
    batch_chain(other, &f.entry);
    assert_memory_not_equal(one, other, sizeof one);
    struct log_entry nothing = {.kind = LOG_ENTRY_MEMBERS, .bytes = NULL, .size = 0};
    memcpy(other, one, sizeof one);
    batch_chain(other, &nothing);
    assert_memory_not_equal(one, other, sizeof one);
}
