/* SPDX-License-Identifier: MIT */
/* Durable entries get new bytes. Each entry begins with a secret, which the chain leaves out and a rewrite
 * overwrites. After a fault at any call, each entry is the old or the new one, whole. */
#include "segment_log/segment_internal.h"

#include "memory_disk.h"
#include "test_segment_log_support.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#define SECRET_BYTES 16
#define ENTRIES_MAX 40
#define ENTRY_BYTES_MAX 1500
#define SEGMENTS_MAX 30
#define POWER_SEEDS 6
#define OVERWRITE_FILE "/disk/log/overwrite"

static void chain_behind_secret(uint8_t digest[static LOG_DIGEST_BYTES],
                                const struct log_entry *entry)
{
    struct log_entry rest = *entry;
    rest.bytes += SECRET_BYTES;
    rest.size -= SECRET_BYTES;
    segment_log_chain_bytes(digest, &rest);
}

static void secret_of(char secret[static SECRET_BYTES + 1], uint64_t seq)
{
    (void)snprintf(secret, SECRET_BYTES + 1, "secret %09u", (unsigned)seq);
}

static void make_bytes(uint8_t *bytes, size_t size, uint64_t seq)
{
    char secret[SECRET_BYTES + 1];
    secret_of(secret, seq);
    for (size_t i = 0; i < size; i++)
        bytes[i] = (uint8_t)(seq + i);
    memcpy(bytes, secret, SECRET_BYTES);
}

enum state { WHOLE, EITHER, ERASED };

struct run {
    struct segment_log *log;
    size_t count;                       /* of entries that are durable; each has one seq */
    enum state states[ENTRIES_MAX + 1]; /* by seq */
    size_t sizes[ENTRIES_MAX + 1];
};

/* ---- the script ---- */

static struct log_position acked(const struct run *run)
{
    return (struct log_position){.epoch = run->count == 0 ? 0 : 1, .seq = run->count};
}

static void step_open(struct run *run)
{
    run->log = NULL;
    if (try_open(&run->log, acked(run)) != OK && try_open(&run->log, acked(run)) != OK)
        run->log = NULL;
}

static void step_write(struct run *run, size_t size)
{
    uint8_t bytes[ENTRY_BYTES_MAX];
    uint64_t seq = run->count + 1;
    if (run->log == NULL || run->log->is_poisoned)
        return;
    make_bytes(bytes, size, seq);
    const struct log_entry entry = {
        .epoch = 1, .first_seq = seq, .last_seq = seq, .bytes = bytes, .size = size};
    assert_ok(segment_log_append(run->log, &entry));
    run->states[seq] = WHOLE;
    run->sizes[seq] = size;
    enum error written = segment_log_write(run->log);
    if (segment_log_finish(run->log, written) == OK)
        run->count++;
}

static void erase(void *context, const struct log_entry *entry, uint8_t *bytes)
{
    (void)context;
    (void)entry;
    memset(bytes, 0, SECRET_BYTES);
}

static enum error step_rewrite(struct run *run, const uint64_t *seqs, size_t count)
{
    if (run->log == NULL || run->count < seqs[count - 1])
        return ERROR_CLOSED;
    enum error error = segment_log_rewrite(run->log, seqs, count, erase, NULL, &why);
    for (size_t i = 0; i < count; i++)
        if (run->states[seqs[i]] != ERASED)
            run->states[seqs[i]] = error == OK ? ERASED : EITHER;
    return error;
}

static void play(struct run *run)
{
    step_open(run);
    for (unsigned i = 0; i < 9; i++)
        step_write(run, 100 + 150 * i);
    (void)step_rewrite(run, (const uint64_t[]){2, 3, 8}, 3);
    step_write(run, 400);
    (void)step_rewrite(run, (const uint64_t[]){10}, 1);
    if (run->log != NULL)
        (void)segment_log_make_spare(run->log, NULL);
    (void)step_rewrite(run, (const uint64_t[]){8, 9}, 2);
    step_write(run, 300);
}

/* ---- what must hold ---- */

struct reader {
    const struct run *run;
    uint64_t next;
};

static enum error check_entry(void *context, const struct log_entry *entry)
{
    struct reader *reader = context;
    uint8_t whole[ENTRY_BYTES_MAX], erased[ENTRY_BYTES_MAX];
    uint64_t seq = entry->first_seq;
    assert_int_equal(seq, reader->next++);
    if (seq > reader->run->count)
        return OK; /* an entry that was not acknowledged */
    assert_int_equal(entry->size, reader->run->sizes[seq]);
    make_bytes(whole, entry->size, seq);
    memcpy(erased, whole, sizeof erased);
    memset(erased, 0, SECRET_BYTES);
    bool is_whole = memcmp(entry->bytes, whole, entry->size) == 0;
    bool is_erased = memcmp(entry->bytes, erased, entry->size) == 0;
    assert_true(is_whole || is_erased);
    if (reader->run->states[seq] != EITHER)
        assert_int_equal(is_erased, reader->run->states[seq] == ERASED);
    return OK;
}

static bool is_on_disk(uint64_t seq)
{
    char secret[SECRET_BYTES + 1];
    secret_of(secret, seq);
    for (unsigned number = 0; number <= SEGMENTS_MAX; number++) {
        char path[64];
        size_t size;
        (void)snprintf(path, sizeof path, number == 0 ? OVERWRITE_FILE : "/disk/log/%016u.log",
                       number);
        const uint8_t *bytes = memory_disk_bytes(path, &size);
        if (bytes != NULL && memmem(bytes, size, secret, SECRET_BYTES) != NULL)
            return true;
    }
    return false;
}

static void check(struct run *run)
{
    struct inspected found;
    struct reader reader = {.run = run, .next = 1};
    assert_true(segment_log_durable(run->log).position.seq >= run->count);
    if (run->count > 0)
        assert_ok(segment_log_read(run->log, 1, check_entry, &reader, &why));
    assert_true(reader.next > run->count);
    assert_ok(scan_all(run->log, 700));
    assert_ok(inspect_all(MEMORY_DISK, &found));
    for (uint64_t seq = 1; seq <= run->count; seq++)
        if (run->states[seq] != EITHER)
            assert_int_equal(is_on_disk(seq), run->states[seq] == WHOLE);
}

static void finish(struct run *run)
{
    segment_log_close(run->log);
    run->log = NULL;
    assert_int_equal(memory_disk_open_files(), 0);
}

static void begin(struct run *run)
{
    *run = (struct run){0};
    test_chain = chain_behind_secret;
    memory_disk_reset();
}

/* ---- without faults ---- */

TEST(test_segment_log_rewrite__overwrites_the_bytes)
{
    struct run run;
    begin(&run);
    play(&run);
    assert_int_equal(run.count, 11);
    assert_true(run.log->segment_count >= 3);
    check(&run);
    struct segment_log_end before = segment_log_durable(run.log);
    assert_null(memory_disk_bytes(OVERWRITE_FILE, NULL));
    finish(&run);
    memory_disk_lose_power(0); /* all of it was synced */
    step_open(&run);
    check(&run);
    assert_end(segment_log_durable(run.log), before);
    finish(&run);
}

/* The segment is in use, for its later entries. */
TEST(test_segment_log_rewrite__reaches_forgotten_entries)
{
    struct run run;
    begin(&run);
    play(&run);
    segment_log_prune(run.log, 2);
    assert_int_equal(segment_log_first(run.log), 2);
    assert_true(is_on_disk(1));
    assert_ok(step_rewrite(&run, (const uint64_t[]){1}, 1));
    assert_false(is_on_disk(1));
    finish(&run);
    step_open(&run);
    check(&run);
    finish(&run);
}

TEST(test_segment_log_rewrite__passes_over_pruned_segments)
{
    struct run run;
    begin(&run);
    play(&run);
    segment_log_prune(run.log, 11);
    assert_ok(segment_log_make_spare(run.log, &why));
    struct memory_image *image = memory_disk_save();
    assert_ok(step_rewrite(&run, (const uint64_t[]){1, 4}, 2));
    assert_true(memory_disk_is(image));
    memory_image_free(image);
    finish(&run);
}

static void spoil(void *context, const struct log_entry *entry, uint8_t *bytes)
{
    (void)context;
    bytes[entry->size - 1]++;
}

TEST(test_segment_log_rewrite__refuses_another_digest)
{
    struct run run;
    begin(&run);
    play(&run);
    struct memory_image *image = memory_disk_save();
    assert_error(segment_log_rewrite(run.log, (const uint64_t[]){4}, 1, spoil, NULL, &why),
                 ERROR_INVALID);
    assert_true(memory_disk_is(image));
    assert_error(segment_log_rewrite(run.log, (const uint64_t[]){4, 12}, 2, erase, NULL, &why),
                 ERROR_NOT_FOUND);
    assert_true(memory_disk_is(image));
    assert_ok(segment_log_rewrite(run.log, NULL, 0, erase, NULL, &why));
    memory_image_free(image);
    check(&run);
    finish(&run);
}

TEST(test_segment_log_rewrite__finds_damage)
{
    struct run run;
    char secret[SECRET_BYTES + 1];
    size_t size;
    begin(&run);
    play(&run);
    secret_of(secret, 1);
    uint8_t *bytes = memory_disk_bytes(TEST_FILE(1), &size);
    uint8_t *at = memmem(bytes, size, secret, SECRET_BYTES);
    assert_non_null(at);
    *at ^= 1;
    assert_error(segment_log_rewrite(run.log, (const uint64_t[]){1}, 1, erase, NULL, &why),
                 ERROR_CORRUPT);
    finish(&run);
}

/* A valid head and payload hash do not make up for a wrong digest. */
TEST(test_segment_log_rewrite__keeps_the_check_of_the_digest)
{
    struct run run;
    begin(&run);
    play(&run);
    finish(&run);
    test_chain = NULL; /* under which the secrets count */
    assert_error(try_open(&run.log, acked(&run)), ERROR_CORRUPT);
    assert_non_null(strstr(why.text, "digest"));
}

#define LARGE_BYTES 65000 /* the next record crosses the end of what a reader loads at once */

struct overtaken {
    struct segment_log *log;
    size_t visits;
};

/* The reader has the head of the second record already, and not its bytes. */
static enum error rewrite_next(void *context, const struct log_entry *entry)
{
    struct overtaken *overtaken = context;
    const uint64_t next = 2;
    bool is_erased = entry->bytes[0] == 0;
    assert_int_equal(is_erased, overtaken->visits++ > 0);
    return entry->first_seq > 1 ? OK
                                : segment_log_rewrite(overtaken->log, &next, 1, erase, NULL, &why);
}

TEST(test_segment_log_rewrite__overtakes_a_reader)
{
    static uint8_t bytes[LARGE_BYTES];
    struct run run;
    begin(&run);
    step_open(&run);
    for (uint64_t seq = 1; seq <= 2; seq++) {
        size_t size = seq == 1 ? LARGE_BYTES : ENTRY_BYTES_MAX;
        make_bytes(bytes, size, seq);
        const struct log_entry entry = {
            .epoch = 1, .first_seq = seq, .last_seq = seq, .bytes = bytes, .size = size};
        assert_ok(segment_log_append(run.log, &entry));
    }
    assert_ok(segment_log_finish(run.log, segment_log_write(run.log)));
    struct overtaken overtaken = {.log = run.log};
    assert_ok(segment_log_read(run.log, 1, rewrite_next, &overtaken, &why));
    assert_int_equal(overtaken.visits, 2);
    finish(&run);
}

/* ---- faults ---- */

static bool play_with(struct run *run, enum memory_fault fault, uint64_t k, int number)
{
    begin(run);
    memory_disk_arm(fault, k, number);
    play(run);
    bool has_failed = memory_disk_has_failed();
    if (fault == MEMORY_FAULT_ONCE)
        memory_disk_arm(MEMORY_FAULT_NONE, 0, 0);
    if (fault == MEMORY_FAULT_ONCE && run->log != NULL && !run->log->is_poisoned) {
        for (uint64_t seq = 1; seq <= run->count; seq++)
            if (run->states[seq] == EITHER)
                assert_ok(step_rewrite(run, &seq, 1)); /* the same log goes on */
        check(run);
    }
    segment_log_close(run->log);
    return has_failed;
}

/* An operator who looks in between sees no damage, and changes nothing. */
static void check_inspection(void)
{
    struct inspected found;
    struct memory_image *image = memory_disk_save();
    enum error error = inspect_all(MEMORY_DISK, &found);
    assert_true(error == OK || error == ERROR_NOT_FOUND);
    assert_int_equal(found.kinds[SEGMENT_LOG_ITEM_DAMAGE], 0);
    assert_true(memory_disk_is(image));
    memory_image_free(image);
}

static bool play_and_restart(enum memory_fault fault, uint64_t k, int number, bool power,
                             uint64_t seed)
{
    struct run run;
    bool has_failed = play_with(&run, fault, k, number);
    if (power)
        memory_disk_lose_power(seed);
    else
        memory_disk_kill();
    check_inspection();
    assert_ok(try_open(&run.log, acked(&run)));
    assert_null(memory_disk_bytes(OVERWRITE_FILE, NULL));
    check(&run);
    for (uint64_t seq = 1; seq <= run.count; seq++)
        assert_ok(step_rewrite(&run, &seq, 1));
    check(&run);
    finish(&run);
    return has_failed;
}

static void fail_every_call(enum memory_fault fault, int number)
{
    uint64_t k = 1;
    while (play_and_restart(fault, k, number, false, 0)) {
        for (uint64_t seed = 0; seed < POWER_SEEDS; seed++)
            (void)play_and_restart(fault, k, number, true, seed);
        k++;
    }
    assert_true(k > 60);
}

TEST(test_segment_log_rewrite__every_call_fails_once)
{
    fail_every_call(MEMORY_FAULT_ONCE, EIO);
}

TEST(test_segment_log_rewrite__no_space_at_every_call)
{
    fail_every_call(MEMORY_FAULT_ONCE, ENOSPC);
}

TEST(test_segment_log_rewrite__all_calls_fail_from_every_one_on)
{
    fail_every_call(MEMORY_FAULT_LASTING, EIO);
}

TEST(test_segment_log_rewrite__the_end_at_every_call)
{
    fail_every_call(MEMORY_FAULT_DEAD, EIO);
}

/* ---- the file `overwrite` ---- */

/* Stops after the file was saved, and before the segment changed. Returns its bytes. */
static uint8_t *leave_overwrite(struct run *run, size_t *size)
{
    begin(run);
    step_open(run);
    step_write(run, 200);
    memory_disk_watch("fdatasync");
    memory_disk_arm(MEMORY_FAULT_DEAD, 2, EIO); /* the second one is the segment's */
    assert_error(step_rewrite(run, (const uint64_t[]){1}, 1), ERROR_IO);
    segment_log_close(run->log);
    run->log = NULL;
    memory_disk_kill();
    memory_disk_watch(NULL);
    const uint8_t *found = memory_disk_bytes(OVERWRITE_FILE, size);
    assert_non_null(found);
    uint8_t *copy = malloc(*size);
    assert_non_null(copy);
    memcpy(copy, found, *size);
    return copy;
}

TEST(test_segment_log_rewrite__ignores_a_torn_overwrite)
{
    struct run run;
    size_t size;
    uint8_t *bytes = leave_overwrite(&run, &size);
    struct memory_image *image = memory_disk_save();
    for (size_t i = 0; i < size; i++) {
        memory_disk_load(image);
        bytes[i] ^= 0x10;
        memory_disk_write(OVERWRITE_FILE, bytes, size);
        bytes[i] ^= 0x10;
        run.states[1] = EITHER;
        assert_ok(try_open(&run.log, acked(&run)));
        check(&run);
        assert_null(memory_disk_bytes(OVERWRITE_FILE, NULL));
        finish(&run);
    }
    memory_image_free(image);
    free(bytes);
}

/* It may be from before a reset, or from another data folder. */
TEST(test_segment_log_rewrite__ignores_the_overwrite_of_another_segment)
{
    struct run run;
    size_t size;
    uint8_t *bytes = leave_overwrite(&run, &size);
    begin(&run);
    step_open(&run);
    step_write(&run, 200);
    finish(&run);
    memory_disk_write(OVERWRITE_FILE, bytes, size);
    step_open(&run);
    check(&run);
    assert_true(is_on_disk(1));
    assert_null(memory_disk_bytes(OVERWRITE_FILE, NULL));
    finish(&run);
    free(bytes);
}
