/* SPDX-License-Identifier: MIT */
/* Files that no crash leaves behind, and those that one does: a torn tail is cut exactly, damage is
 * reported and not touched, and no entry is wrong or lost that was acknowledged. */
#include "segment_log/segment_internal.h"

#include "memory_disk.h"
#include "test_segment_log_support.h"

#include <sodium.h>
#include <stdio.h>
#include <string.h>

struct fixture {
    struct segment_log *log;
    struct model model;
    size_t last_batch; /* how many entries come before the last batch */
};

static const struct log_position nothing;

static void begin(struct fixture *f)
{
    memory_disk_reset();
    model_init(&f->model);
    f->log = open_log(nothing);
}

static void end(struct fixture *f)
{
    segment_log_close(f->log);
    model_release(&f->model);
    memory_disk_release();
}

static struct log_position acked(const struct fixture *f)
{
    return model_end(&f->model, f->model.count).position;
}

static void close_log(struct fixture *f)
{
    segment_log_close(f->log);
    f->log = NULL;
}

/* Two segments, the newest with three batches, and a spare. */
static void write_small_log(struct fixture *f)
{
    static const size_t sizes[] = {40, 3};
    for (size_t i = 0; i < 5; i++)
        write_one(f->log, &f->model, 590);
    write_one(f->log, &f->model, 1200);
    write_batch(f->log, &f->model, sizes, 2);
    write_one(f->log, &f->model, 300);
    f->last_batch = f->model.count;
    write_batch(f->log, &f->model, sizes, 2);
    assert_ok(segment_log_make_spare(f->log, &why));
    close_log(f);
    assert_int_equal(memory_disk_files(), 3);
}

/* ---- every byte ---- */

struct outcomes {
    size_t whole;
    size_t cut;
    size_t refused; /* by open */
    size_t found;   /* by read */
};

static void expect_goes_on(struct fixture *f, size_t count)
{
    size_t had = f->model.count;
    write_one(f->log, &f->model, 50);
    close_log(f);
    f->log = open_log(acked(f));
    assert_end(segment_log_durable(f->log), model_end(&f->model, f->model.count));
    assert_true(f->model.count == count + 1 && had == count);
    model_drop_to(&f->model, count);
}

/* The log is open: its entries are right, or a read reports damage, and so do scan and inspect. */
static void check_open_log(struct fixture *f, const struct model *whole, struct outcomes *outcomes)
{
    struct inspected found;
    size_t read;
    size_t count = model_count_at(whole, segment_log_durable(f->log).position.seq);
    assert_end(segment_log_durable(f->log), model_end(whole, count));
    assert_true(count >= f->last_batch);
    enum error error = model_read(whole, f->log, &read);
    if (error == OK)
        assert_int_equal(read, count);
    else
        assert_error(error, ERROR_CORRUPT);
    assert_error(scan_all(f->log, 500), error);
    assert_error(inspect_all(MEMORY_DISK, &found), error);
    assert_int_equal(found.kinds[SEGMENT_LOG_ITEM_TORN], 0);
    outcomes->whole += error == OK && count == whole->count;
    outcomes->cut += error == OK && count < whole->count;
    outcomes->found += error != OK;
    if (error != OK)
        return;
    struct model kept = f->model;
    model_init(&f->model);
    for (size_t i = 0; i < count; i++)
        (void)model_add(&f->model, kept.entries[i].entry.size, 0);
    expect_goes_on(f, count);
    model_release(&f->model);
    f->model = kept;
}

static void check_outcome(struct fixture *f, bool knows_acked, struct outcomes *outcomes)
{
    struct memory_image *before = memory_disk_save();
    struct inspected found;
    enum error inspected = inspect_all(MEMORY_DISK, &found);
    enum error error = try_open(&f->log, knows_acked ? acked(f) : nothing);
    if (error == OK) {
        check_open_log(f, &f->model, outcomes);
        close_log(f);
    } else {
        assert_error(error, ERROR_CORRUPT);
        assert_non_null(strstr(why.text, "/disk/log/0000"));
        assert_non_null(strstr(why.text, "byte"));
        assert_non_null(strstr(why.text, "seq"));
        assert_true(memory_disk_is(before));
        if (!knows_acked)
            assert_error(inspected, ERROR_CORRUPT);
        outcomes->refused++;
    }
    memory_image_free(before);
}

static void damage_every_byte(struct fixture *f, bool knows_acked, struct outcomes *outcomes)
{
    static const char *const files[] = {TEST_FILE(1), TEST_FILE(2), TEST_FILE(3)};
    static const uint8_t flips[] = {0x01, 0x80, 0xff};
    struct memory_image *image = memory_disk_save();
    for (size_t file = 0; file < 3; file++) {
        for (size_t at = 0; at < TEST_SEGMENT_BYTES; at++) {
            memory_disk_load(image);
            memory_disk_bytes(files[file], NULL)[at] ^= flips[at % 3];
            check_outcome(f, knows_acked, outcomes);
        }
    }
    memory_disk_load(image);
    memory_image_free(image);
}

/* With the acknowledged position nothing is ever cut. */
TEST_F(test_segment_log_damage__of_every_byte)
{
    struct outcomes outcomes = {0};
    write_small_log(f);
    damage_every_byte(f, true, &outcomes);
    assert_int_equal(outcomes.cut, 0);
    assert_true(outcomes.refused > 1500 && outcomes.found > 3000 && outcomes.whole > 5000);
}

/* Without it the last batch may be cut, and only that. */
TEST_F(test_segment_log_damage__of_every_byte_of_what_no_client_knows)
{
    struct outcomes outcomes = {0};
    write_small_log(f);
    damage_every_byte(f, false, &outcomes);
    assert_int_equal(outcomes.cut, 2 * 112 + 40 + 8);
    assert_true(outcomes.refused > 1500 && outcomes.found > 3000);
}

TEST_F(test_segment_log_damage__truncated_at_every_byte)
{
    static const char *const files[] = {TEST_FILE(1), TEST_FILE(2), TEST_FILE(3)};
    struct outcomes outcomes = {0};
    write_small_log(f);
    struct memory_image *image = memory_disk_save();
    for (size_t file = 0; file < 3; file++) {
        for (size_t size = 0; size < TEST_SEGMENT_BYTES; size++) {
            memory_disk_load(image);
            memory_disk_truncate(files[file], size);
            check_outcome(f, true, &outcomes);
        }
        memory_disk_load(image);
        memory_disk_truncate(files[file], TEST_SEGMENT_BYTES + 1);
        check_outcome(f, true, &outcomes);
    }
    assert_int_equal(outcomes.cut, 0);
    assert_int_equal(outcomes.whole, TEST_SEGMENT_BYTES + 1); /* the spare */
    assert_int_equal(outcomes.refused, 2 * (TEST_SEGMENT_BYTES + 1));
    memory_image_free(image);
}

/* ---- torn tails ---- */

static void expect_zeros(const char *path, size_t from)
{
    size_t size;
    const uint8_t *bytes = memory_disk_bytes(path, &size);
    assert_non_null(bytes);
    for (size_t i = from; i < size; i++)
        assert_int_equal(bytes[i], 0);
}

/* Returns the offset behind the last record of the newest segment. */
static size_t tail(const struct fixture *f)
{
    return (size_t)f->log->tail;
}

/* Any byte of the batch that was written last is lost: all of it goes, and nothing of it stays. */
TEST_F(test_segment_log_recover__cuts_a_torn_batch)
{
    static const size_t sizes[] = {20, 0, 60};
    write_one(f->log, &f->model, 100);
    size_t from = tail(f);
    size_t before = f->model.count;
    write_batch(f->log, &f->model, sizes, 3);
    size_t to = tail(f);
    close_log(f);
    struct memory_image *image = memory_disk_save();
    for (size_t at = from; at < to; at++) {
        struct inspected found;
        memory_disk_load(image);
        memory_disk_bytes(TEST_FILE(1), NULL)[at] ^= 0x10;
        assert_ok(inspect_all(MEMORY_DISK, &found));
        assert_int_equal(found.kinds[SEGMENT_LOG_ITEM_TORN], 1);
        f->log = open_log(model_end(&f->model, before).position);
        uint64_t seq = segment_log_durable(f->log).position.seq;
        size_t count = model_count_at(&f->model, seq);
        assert_true(count >= before && count < f->model.count);
        model_check(&f->model, f->log, count);
        expect_zeros(TEST_FILE(1), tail(f));
        close_log(f);
    }
    memory_image_free(image);
}

/* The first batch of a segment, which brings its head. */
TEST_F(test_segment_log_recover__removes_a_torn_segment)
{
    static const size_t sizes[] = {300, 400};
    write_one(f->log, &f->model, 3000);
    size_t before = f->model.count;
    write_batch(f->log, &f->model, sizes, 2);
    close_log(f);
    struct memory_image *image = memory_disk_save();
    for (size_t sector = 0; sector < 3; sector++) {
        memory_disk_load(image);
        memset(memory_disk_bytes(TEST_FILE(2), NULL) + sector * 512, 0, 512);
        f->log = open_log(model_end(&f->model, before).position);
        size_t count = model_count_at(&f->model, segment_log_durable(f->log).position.seq);
        assert_true(count >= before && count < f->model.count);
        assert_int_equal(memory_disk_files(), sector == 0 ? 1 : 2);
        model_check(&f->model, f->log, count);
        close_log(f);
        memory_disk_load(image);
        memset(memory_disk_bytes(TEST_FILE(2), NULL) + sector * 512, 0, 512);
        assert_error(try_open(&f->log, acked(f)), ERROR_CORRUPT);
    }
    memory_image_free(image);
}

/* The next segment is written only when the newest is durable. */
TEST_F(test_segment_log_recover__believes_the_next_segment)
{
    write_small_log(f);
    struct memory_image *image = memory_disk_save();
    memory_disk_bytes(TEST_FILE(2), NULL)[TEST_SEGMENT_BYTES - 1] = 1; /* behind the tail */
    f->log = open_log(acked(f));
    model_check(&f->model, f->log, f->model.count);
    close_log(f);
    memory_disk_load(image);
    memory_disk_bytes(TEST_FILE(2), NULL)[TEST_SEGMENT_BYTES - 1] = 1;
    memory_disk_bytes(TEST_FILE(3), NULL)[600] = 1;
    assert_error(try_open(&f->log, nothing), ERROR_CORRUPT);
    memory_image_free(image);
}

/* ---- forged records ---- */

static struct segment_head head_of(const char *path)
{
    struct segment_head head;
    assert_ok(segment_head_decode(&head, memory_disk_bytes(path, NULL)));
    return head;
}

/* A client sends the bytes of records that prove that everything was durable. It knows all but the
 * key of the segment. */
TEST_F(test_segment_log_recover__finds_no_record_in_a_payload)
{
    static const uint8_t guess[SEGMENT_KEY_BYTES] = {1};
    uint8_t payload[6 * 120];
    write_one(f->log, &f->model, 100);
    size_t from = tail(f);
    for (size_t i = 0; i < 6; i++) {
        struct segment_record record = {
            .entry = {.epoch = 9, .first_seq = 4 + i, .last_seq = 4 + i, .size = 8}};
        record.entry.bytes = payload;
        segment_record_encode(payload + i * 120, &record);
        segment_record_seal(payload + i * 120, guess, from + 112 + i * 120, 1000);
    }
    size_t before = f->model.count;
    struct log_entry entry = *model_add(&f->model, sizeof payload, 0);
    entry.bytes = payload;
    assert_ok(segment_log_append(f->log, &entry));
    assert_ok(segment_log_write(f->log));
    assert_ok(segment_log_finish(f->log, OK));
    close_log(f);
    memory_disk_bytes(TEST_FILE(1), NULL)[from]++;
    f->log = open_log(nothing);
    model_drop_to(&f->model, before);
    model_check(&f->model, f->log, before);
    expect_zeros(TEST_FILE(1), from);
}

/* Valid records of other places, sent back by a client who has read the file, in the first batch of a
 * segment whose head is torn. They are no trace of a segment in use. */
TEST_F(test_segment_log_recover__finds_no_trace_in_a_payload)
{
    write_one(f->log, &f->model, 100);
    write_one(f->log, &f->model, 100);
    write_one(f->log, &f->model, 2500);
    size_t before = f->model.count;
    struct log_entry entry = *model_add(&f->model, 1000, 0);
    uint8_t *payload = (uint8_t *)(uintptr_t)entry.bytes;
    memcpy(payload, memory_disk_bytes(TEST_FILE(1), NULL) + 512, entry.size);
    assert_ok(segment_log_append(f->log, &entry));
    assert_ok(segment_log_write(f->log));
    assert_ok(segment_log_finish(f->log, OK));
    close_log(f);
    memory_disk_bytes(TEST_FILE(2), NULL)[0]++;
    f->log = open_log(model_end(&f->model, before).position);
    model_check(&f->model, f->log, before);
    assert_int_equal(memory_disk_files(), 1);
}

/* The head of the newest segment is damaged, and no client knows of its entries. The records show that
 * it was in use. */
TEST_F(test_segment_log_recover__finds_traces_of_a_segment_in_use)
{
    write_small_log(f);
    memory_disk_remove(TEST_FILE(3));
    struct memory_image *image = memory_disk_save();
    for (size_t at = 0; at < 512; at++) {
        struct inspected found;
        memory_disk_load(image);
        memory_disk_bytes(TEST_FILE(2), NULL)[at] ^= 0x20;
        assert_error(inspect_all(MEMORY_DISK, &found), ERROR_CORRUPT);
        assert_error(try_open(&f->log, nothing), ERROR_CORRUPT);
        assert_non_null(strstr(why.text, TEST_FILE(2)));
    }
    memory_image_free(image);
}

/* ---- valid records in the wrong place ---- */

/* Changes a number in the last record of the newest segment and seals it again. */
static void forge(struct fixture *f, size_t record, size_t field, uint64_t value)
{
    struct segment_head head = head_of(TEST_FILE(1));
    uint8_t *bytes = memory_disk_bytes(TEST_FILE(1), NULL) + record;
    uint64_t synced_seq = model_end(&f->model, 2).position.seq;
    for (size_t i = 0; i < 8; i++)
        bytes[field + i] = (uint8_t)(value >> 8 * i);
    if (field == 56)
        synced_seq = value;
    segment_record_seal(bytes, head.key, record, synced_seq);
}

TEST_F(test_segment_log_recover__refuses_a_record_that_contradicts_the_log)
{
    write_one(f->log, &f->model, 100);
    write_one(f->log, &f->model, 100);
    size_t record = tail(f);
    write_one(f->log, &f->model, 100);
    const struct log_entry *last = &f->model.entries[2].entry;
    assert_true(last->last_seq > last->first_seq);
    const struct {
        size_t field;
        uint64_t value;
    } cases[] = {
        {24, last->epoch - 1},     {32, last->first_seq + 1},
        {32, last->first_seq - 1}, {40, last->first_seq - 1},
        {40, UINT64_MAX},          {48, 7},
        {56, last->first_seq},     {64, 1},
    };
    close_log(f);
    struct memory_image *image = memory_disk_save();
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct inspected found;
        memory_disk_load(image);
        forge(f, record, cases[i].field, cases[i].value);
        assert_error(try_open(&f->log, nothing), ERROR_CORRUPT);
        assert_error(inspect_all(MEMORY_DISK, &found), ERROR_CORRUPT);
        assert_int_equal(found.damage_number, 1);
        assert_int_equal(found.damage_offset, record);
    }
    memory_disk_load(image);
    forge(f, record, 24, last->epoch); /* the right value */
    f->log = open_log(acked(f));
    memory_image_free(image);
}

/* A size that ends behind the file is no record, even with a valid hash. */
TEST_F(test_segment_log_recover__of_a_size_that_lies)
{
    static const uint64_t sizes[] = {
        3 * TEST_SEGMENT_BYTES, SEGMENT_LOG_ENTRY_MAX, SEGMENT_LOG_ENTRY_MAX + 1, UINT64_MAX,
        UINT64_MAX - 7,         UINT64_MAX - 112};
    write_one(f->log, &f->model, 100);
    size_t record = tail(f);
    write_one(f->log, &f->model, 100);
    close_log(f);
    struct memory_image *image = memory_disk_save();
    struct segment_head head = head_of(TEST_FILE(1));
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
        memory_disk_load(image);
        uint8_t *bytes = memory_disk_bytes(TEST_FILE(1), NULL) + record;
        for (size_t byte = 0; byte < 8; byte++)
            bytes[16 + byte] = (uint8_t)(sizes[i] >> 8 * byte);
        uint8_t hash[8];
        (void)crypto_shorthash(hash, bytes + 8, 104, head.key);
        memcpy(bytes, hash, 8);
        assert_error(try_open(&f->log, acked(f)), ERROR_CORRUPT);
        f->log = open_log(model_end(&f->model, 1).position);
        model_check(&f->model, f->log, 1);
        close_log(f);
    }
    memory_image_free(image);
}

/* ---- files ---- */

/* Four segments of entries and no spare. */
static void write_four_segments(struct fixture *f)
{
    while (memory_disk_files() < 4)
        write_one(f->log, &f->model, 1000);
    write_one(f->log, &f->model, 1000);
    close_log(f);
}

static void expect_corrupt(struct fixture *f, const char *word)
{
    struct inspected found;
    struct memory_image *image = memory_disk_save();
    assert_error(try_open(&f->log, nothing), ERROR_CORRUPT);
    assert_non_null(strstr(why.text, word));
    assert_error(inspect_all(MEMORY_DISK, &found), ERROR_CORRUPT);
    assert_true(memory_disk_is(image));
    memory_image_free(image);
}

TEST_F(test_segment_log_recover__without_a_segment)
{
    write_four_segments(f);
    struct memory_image *image = memory_disk_save();
    memory_disk_remove(TEST_FILE(2));
    expect_corrupt(f, "missing");
    memory_disk_load(image);
    memory_disk_remove(TEST_FILE(3));
    expect_corrupt(f, "missing");
    memory_disk_load(image);
    memory_disk_remove(TEST_FILE(4));
    assert_error(try_open(&f->log, acked(f)), ERROR_CORRUPT);
    f->log = open_log(nothing);
    model_check(&f->model, f->log, 9);
    close_log(f);
    memory_disk_load(image);
    memory_disk_remove(TEST_FILE(1)); /* as after a prune */
    f->log = open_log(acked(f));
    assert_int_equal(segment_log_first(f->log), f->model.entries[3].entry.first_seq);
    model_check(&f->model, f->log, f->model.count);
    memory_image_free(image);
}

TEST_F(test_segment_log_recover__with_a_copy_of_a_segment)
{
    write_four_segments(f);
    size_t size;
    const uint8_t *bytes = memory_disk_bytes(TEST_FILE(2), &size);
    memory_disk_write(TEST_FILE(5), bytes, size);
    expect_corrupt(f, "name of another");
    memory_disk_remove(TEST_FILE(5));
    memory_disk_write("/disk/log/2.log", bytes, size);
    memory_disk_write("/disk/log/00000000000000002.log", bytes, size);
    memory_disk_write("/disk/log/0000000000000002.log~", bytes, size);
    memory_disk_write("/disk/log/0000000000000000.log", bytes, size);
    memory_disk_write("/disk/log/18446744073709551615.log", bytes, size);
    f->log = open_log(acked(f));
    model_check(&f->model, f->log, f->model.count);
}

/* A crash in the first write to a segment: its head is not on the disk, and its record is. */
TEST_F(test_segment_log_recover__with_a_torn_head_of_the_next_segment)
{
    struct inspected found;
    while (memory_disk_files() < 5)
        write_one(f->log, &f->model, 1000);
    close_log(f);
    model_drop_to(&f->model, f->model.count - 1);
    memory_disk_bytes(TEST_FILE(5), NULL)[0]++;
    assert_ok(inspect_all(MEMORY_DISK, &found));
    assert_int_equal(found.kinds[SEGMENT_LOG_ITEM_SEGMENT], 4);
    assert_int_equal(found.kinds[SEGMENT_LOG_ITEM_TORN], 1);
    f->log = open_log(acked(f));
    model_check(&f->model, f->log, f->model.count);
}

/* A crash between making a file and its first batch. */
TEST_F(test_segment_log_recover__with_an_unused_segment)
{
    static const uint8_t zeros[2 * TEST_SEGMENT_BYTES];
    static const size_t sizes[] = {0, 1, 511, 512, 513, TEST_SEGMENT_BYTES, sizeof zeros};
    write_four_segments(f);
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
        struct inspected found;
        memory_disk_write(TEST_FILE(5), zeros, sizes[i]);
        assert_ok(inspect_all(MEMORY_DISK, &found));
        assert_int_equal(found.kinds[SEGMENT_LOG_ITEM_SPARE], 1);
        f->log = open_log(acked(f));
        assert_int_equal(memory_disk_files(), 4);
        model_check(&f->model, f->log, f->model.count);
        close_log(f);
    }
    memory_disk_write(TEST_FILE(5), zeros, 4096);
    memory_disk_write(TEST_FILE(6), zeros, 4096);
    expect_corrupt(f, TEST_FILE(5));
    memory_disk_remove(TEST_FILE(5));
    expect_corrupt(f, TEST_FILE(6));
}

TEST_F(test_segment_log_recover__with_a_damaged_head_in_the_middle)
{
    write_four_segments(f);
    for (size_t at = 0; at < 512; at++) {
        memory_disk_bytes(TEST_FILE(2), NULL)[at] ^= 4;
        expect_corrupt(f, TEST_FILE(2));
        memory_disk_bytes(TEST_FILE(2), NULL)[at] ^= 4;
    }
}

TEST_F(test_segment_log_recover__of_another_version)
{
    write_four_segments(f);
    uint8_t *bytes = memory_disk_bytes(TEST_FILE(4), NULL);
    uint8_t hash[8];
    bytes[8] = SEGMENT_VERSION + 1;
    (void)crypto_shorthash(hash, bytes, 504, bytes + 88);
    memcpy(bytes + 504, hash, 8);
    struct memory_image *image = memory_disk_save();
    assert_error(try_open(&f->log, acked(f)), ERROR_VERSION);
    assert_true(memory_disk_is(image));
    memory_image_free(image);
}

/* A segment of another log, with valid records of the same numbers. */
TEST_F(test_segment_log_read__of_a_segment_that_does_not_follow)
{
    struct model other;
    size_t size, read;
    model_init(&other);
    write_four_segments(f);
    uint8_t *copy = malloc(TEST_SEGMENT_BYTES);
    assert_non_null(copy);
    memcpy(copy, memory_disk_bytes(TEST_FILE(3), &size), TEST_SEGMENT_BYTES);
    memory_disk_reset();
    struct segment_log *log = open_log(nothing);
    write_one(log, &other, 999); /* the same numbers, other bytes */
    while (memory_disk_files() < 4)
        write_one(log, &other, 1000);
    segment_log_close(log);
    memory_disk_write(TEST_FILE(3), copy, TEST_SEGMENT_BYTES);
    log = open_log(nothing);
    assert_error(model_read(&other, log, &read), ERROR_CORRUPT);
    assert_int_equal(read, 6);
    assert_error(scan_all(log, 100), ERROR_CORRUPT);
    segment_log_close(log);
    free(copy);
    model_release(&other);
}

static enum error count_entry(void *context, const struct log_entry *entry)
{
    (void)entry;
    ++*(size_t *)context;
    return OK;
}

/* Entries before the damage, and those of later segments, are readable. */
TEST_F(test_segment_log_read__around_damage)
{
    write_four_segments(f);                                  /* three entries each */
    memory_disk_bytes(TEST_FILE(2), NULL)[512 + 1112 + 3]++; /* the head of the fifth */
    f->log = open_log(acked(f));
    size_t count = 0;
    assert_error(segment_log_read(f->log, 1, count_entry, &count, &why), ERROR_CORRUPT);
    assert_int_equal(count, 4);
    assert_non_null(strstr(why.text, TEST_FILE(2)));
    struct segment_log_end found;
    assert_ok(segment_log_end_at(f->log, f->model.entries[3].entry.last_seq, &found, &why));
    assert_error(segment_log_end_at(f->log, f->model.entries[4].entry.first_seq, &found, &why),
                 ERROR_CORRUPT);
    count = 0;
    assert_ok(
        segment_log_read(f->log, f->model.entries[6].entry.first_seq, count_entry, &count, &why));
    assert_int_equal(count, f->model.count - 6);
    struct inspected inspected;
    assert_error(inspect_all(MEMORY_DISK, &inspected), ERROR_CORRUPT);
    assert_int_equal(inspected.damage_number, 2);
    assert_int_equal(inspected.damage_offset, 512 + 1112);
    assert_int_equal(inspected.kinds[SEGMENT_LOG_ITEM_SEGMENT], 4); /* it goes on */
}

/* An old segment is removed under the running log. */
TEST_F(test_segment_log_read__of_a_file_that_is_gone)
{
    size_t read;
    write_four_segments(f);
    f->log = open_log(acked(f));
    memory_disk_remove(TEST_FILE(2));
    assert_error(model_read(&f->model, f->log, &read), ERROR_CORRUPT);
    assert_non_null(strstr(why.text, TEST_FILE(2)));
    assert_int_equal(read, 3);
}
