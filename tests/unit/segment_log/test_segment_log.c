/* SPDX-License-Identifier: MIT */
/* The log in segments, without faults: what is written is read, also after a new start. */
#include "memory_disk.h"
#include "test_segment_log_support.h"

#include <errno.h>
#include <string.h>

struct fixture {
    struct segment_log *log;
    struct model model;
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
    assert_int_equal(memory_disk_open_files(), 0);
    memory_disk_release();
}

static struct log_position acked(const struct fixture *f)
{
    return model_end(&f->model, f->model.count).position;
}

static void reopen(struct fixture *f)
{
    segment_log_close(f->log);
    f->log = open_log(acked(f));
}

static void write_many(struct fixture *f, size_t count, size_t size)
{
    for (size_t i = 0; i < count; i++)
        write_one(f->log, &f->model, size);
}

static void check(struct fixture *f)
{
    struct inspected found;
    model_check(&f->model, f->log, f->model.count);
    assert_ok(scan_all(f->log, 700));
    assert_ok(inspect_all(MEMORY_DISK, &found));
    assert_int_equal(found.kinds[SEGMENT_LOG_ITEM_DAMAGE], 0);
    assert_int_equal(found.kinds[SEGMENT_LOG_ITEM_TORN], 0);
}

/* ---- open ---- */

TEST_F(test_segment_log_open__empty)
{
    struct segment_log_end zero = {0};
    struct segment_log_end found;
    assert_int_equal(memory_disk_files(), 0);
    assert_int_equal(segment_log_first(f->log), 0);
    assert_end(segment_log_end(f->log), zero);
    assert_end(segment_log_durable(f->log), zero);
    assert_ok(segment_log_end_at(f->log, 0, &found, &why));
    assert_end(found, zero);
    assert_int_equal(segment_log_read(f->log, 1, NULL, NULL, &why), ERROR_NOT_FOUND);
    assert_int_equal(segment_log_size(f->log), 0);
    check(f);
    reopen(f);
    check(f);
}

TEST(test_segment_log_open__bounds_of_options)
{
    static const uint64_t wrong[] = {1, SEGMENT_LOG_BYTES_MIN - 1, SEGMENT_LOG_BYTES_MAX + 1};
    static const uint64_t right[] = {0, SEGMENT_LOG_BYTES_MIN, SEGMENT_LOG_BYTES_MAX};
    memory_disk_reset();
    struct segment_log_options options = {.folder = MEMORY_DISK};
    struct segment_log *log = NULL;
    for (size_t i = 0; i < 3; i++) {
        options.segment_bytes = wrong[i];
        assert_error(segment_log_open(&log, &options, &why), ERROR_INVALID);
        options.segment_bytes = right[i];
        assert_ok(segment_log_open(&log, &options, &why));
        segment_log_close(log);
    }
    char longest[5000];
    memset(longest, 'x', sizeof longest);
    longest[sizeof longest - 1] = '\0';
    options.folder = longest;
    assert_error(segment_log_open(&log, &options, &why), ERROR_INVALID);
    assert_error(segment_log_open(&log, &options, NULL), ERROR_INVALID);
    options.folder = "/nowhere";
    assert_error(segment_log_open(&log, &options, NULL), ERROR_IO);
    segment_log_close(NULL);
    memory_disk_release();
}

TEST_F(test_segment_log_open__ends_before_what_was_acknowledged)
{
    write_many(f, 2, 10);
    struct memory_image *image = memory_disk_save();
    struct segment_log *second = NULL;
    struct log_position last = acked(f);
    last.seq++;
    assert_error(try_open(&second, last), ERROR_CORRUPT);
    assert_non_null(strstr(why.text, TEST_FILE(1)));
    assert_true(memory_disk_is(image));
    memory_image_free(image);
    last = (struct log_position){.epoch = acked(f).epoch + 1};
    assert_error(try_open(&second, last), ERROR_CORRUPT);
    last = (struct log_position){.epoch = acked(f).epoch - 1, .seq = 1000};
    assert_ok(try_open(&second, last)); /* an epoch below: a log that was replaced */
    segment_log_close(second);
}

TEST_F(test_segment_log_open__of_a_later_version)
{
    write_one(f->log, &f->model, 10);
    struct segment_log *second = NULL;
    memory_disk_bytes(TEST_FILE(1), NULL)[8]++; /* not yet a valid head */
    assert_error(try_open(&second, acked(f)), ERROR_CORRUPT);
    memory_disk_bytes(TEST_FILE(1), NULL)[8]--;
    reopen(f);
    check(f);
}

/* ---- write ---- */

TEST_F(test_segment_log_write__is_one_write_and_one_sync)
{
    static const size_t sizes[] = {0, 1, 7, 8, 9, 100, 0};
    write_one(f->log, &f->model, 10);
    memory_disk_arm(MEMORY_FAULT_NONE, 0, 0);
    write_batch(f->log, &f->model, sizes, sizeof sizes / sizeof *sizes);
    assert_int_equal(memory_disk_calls(), 2);
    check(f);
    reopen(f);
    check(f);
    memory_disk_arm(MEMORY_FAULT_NONE, 0, 0);
    write_one(f->log, &f->model, 10);
    assert_int_equal(memory_disk_calls(), 2);
}

/* With a spare, also the first batch of a segment is one write and one sync. */
TEST_F(test_segment_log_write__into_the_next_segment)
{
    write_many(f, 5, 500);
    assert_true(segment_log_wants_spare(f->log));
    assert_ok(segment_log_make_spare(f->log, &why));
    assert_false(segment_log_wants_spare(f->log));
    assert_int_equal(memory_disk_files(), 2);
    assert_int_equal(segment_log_size(f->log), 2 * TEST_SEGMENT_BYTES);
    memory_disk_arm(MEMORY_FAULT_NONE, 0, 0);
    write_one(f->log, &f->model, 500);
    assert_int_equal(memory_disk_calls(), 2);
    assert_int_equal(memory_disk_files(), 2);
    check(f);
    reopen(f);
    check(f);
    assert_int_equal(segment_log_first(f->log), 1);
    write_many(f, 40, 500); /* without spares */
    check(f);
    reopen(f);
    check(f);
}

/* So that later syncs write no metadata: size and name are on the disk. */
TEST_F(test_segment_log_make_spare__syncs_the_file)
{
    size_t size;
    assert_true(segment_log_wants_spare(f->log));
    assert_ok(segment_log_make_spare(f->log, &why));
    segment_log_close(f->log);
    f->log = NULL;
    memory_disk_lose_power(0);
    assert_non_null(memory_disk_bytes(TEST_FILE(1), &size));
    assert_int_equal(size, TEST_SEGMENT_BYTES);
    f->log = open_log(nothing);
    check(f);
}

TEST_F(test_segment_log_write__larger_than_a_segment)
{
    static const size_t sizes[] = {3000, 3000, 3000, 0};
    write_one(f->log, &f->model, 10);
    write_one(f->log, &f->model, 100000);
    assert_ok(segment_log_make_spare(f->log, &why));
    write_one(f->log, &f->model, 10);
    write_batch(f->log, &f->model, sizes, 4);
    write_one(f->log, &f->model, TEST_SEGMENT_BYTES); /* too large for a spare */
    assert_ok(segment_log_make_spare(f->log, &why));
    write_one(f->log, &f->model, TEST_SEGMENT_BYTES); /* which is replaced */
    write_many(f, 10, 10);
    check(f);
    reopen(f);
    check(f);
}

/* A record may end exactly where its segment ends. */
TEST_F(test_segment_log_write__fills_a_segment)
{
    size_t whole = TEST_SEGMENT_BYTES - 512 - 112;
    write_one(f->log, &f->model, whole);
    assert_int_equal(segment_log_size(f->log), TEST_SEGMENT_BYTES);
    check(f);
    reopen(f);
    check(f);
    write_one(f->log, &f->model, whole + 1);
    assert_int_equal(segment_log_size(f->log), 2 * TEST_SEGMENT_BYTES + 8);
    write_one(f->log, &f->model, whole - 112);
    write_one(f->log, &f->model, 0);
    assert_int_equal(segment_log_size(f->log), 3 * TEST_SEGMENT_BYTES + 8);
    check(f);
    reopen(f);
    check(f);
}

TEST_F(test_segment_log_write__nothing)
{
    memory_disk_arm(MEMORY_FAULT_NONE, 0, 0);
    assert_ok(segment_log_write(f->log));
    assert_ok(segment_log_finish(f->log, OK));
    assert_ok(segment_log_write(f->log));
    assert_error(segment_log_finish(f->log, ERROR_CANCELLED), ERROR_CANCELLED);
    assert_int_equal(memory_disk_calls(), 0);
    check(f);
}

TEST_F(test_segment_log_append__bounds)
{
    uint8_t *bytes = calloc(1, SEGMENT_LOG_ENTRY_MAX + 1);
    assert_non_null(bytes);
    struct log_entry entry = {.epoch = 1, .first_seq = 1, .last_seq = 1, .bytes = bytes};
    entry.size = SEGMENT_LOG_ENTRY_MAX + 1;
    assert_error(segment_log_append(f->log, &entry), ERROR_TOO_LARGE);
    entry.size = 1;
    entry.last_seq = (uint64_t)INT64_MAX + 1;
    assert_error(segment_log_append(f->log, &entry), ERROR_INVALID);
    assert_int_equal(segment_log_end(f->log).position.seq, 0);
    entry.last_seq = 1;
    entry.size = SEGMENT_LOG_ENTRY_MAX;
    assert_ok(segment_log_append(f->log, &entry));
    entry.first_seq = entry.last_seq = 2;
    assert_error(segment_log_append(f->log, &entry), ERROR_FULL);
    entry.size = SEGMENT_LOG_ENTRY_MAX - 224;
    assert_ok(segment_log_append(f->log, &entry));
    entry.first_seq = entry.last_seq = 3;
    entry.size = 0;
    assert_error(segment_log_append(f->log, &entry), ERROR_FULL);
    assert_int_equal(segment_log_end(f->log).position.seq, 2);
    free(bytes);
}

TEST_F(test_segment_log_roll_back__drops_what_is_not_written)
{
    write_one(f->log, &f->model, 10);
    size_t kept = f->model.count;
    assert_ok(segment_log_append(f->log, model_add(&f->model, 10, 1)));
    assert_ok(segment_log_append(f->log, model_add(&f->model, 5000, 1)));
    assert_end(segment_log_end(f->log), model_end(&f->model, kept + 2));
    assert_end(segment_log_durable(f->log), model_end(&f->model, kept));
    segment_log_roll_back(f->log);
    model_drop_to(&f->model, kept);
    assert_end(segment_log_end(f->log), model_end(&f->model, kept));
    check(f);
    write_one(f->log, &f->model, 20);
    check(f);
    reopen(f);
    check(f);
}

/* Entries are not readable between write and finish. */
TEST_F(test_segment_log_finish__makes_entries_readable)
{
    write_one(f->log, &f->model, 10);
    size_t before = f->model.count;
    assert_ok(segment_log_append(f->log, model_add(&f->model, 10, 0)));
    assert_ok(segment_log_write(f->log));
    model_check(&f->model, f->log, before);
    assert_ok(segment_log_finish(f->log, OK));
    check(f);
}

/* The owner's own error drops a batch that is on the disk already. */
TEST_F(test_segment_log_finish__with_an_error_of_the_owner)
{
    for (unsigned i = 0; i < 12; i++) {
        size_t before = f->model.count;
        assert_ok(segment_log_append(f->log, model_add(&f->model, 700, 1)));
        assert_ok(segment_log_append(f->log, model_add(&f->model, 700, 1)));
        assert_ok(segment_log_write(f->log));
        assert_error(segment_log_finish(f->log, ERROR_CANCELLED), ERROR_CANCELLED);
        model_drop_to(&f->model, before);
        segment_log_close(f->log);
        memory_disk_lose_power(i);
        f->log = open_log(acked(f));
        check(f);
        write_one(f->log, &f->model, 300);
    }
    check(f);
}

/* ---- read ---- */

struct visits {
    uint64_t first_seq; /* of the first entry */
    size_t count;
    size_t stop_after;
};

static enum error visit(void *context, const struct log_entry *entry)
{
    struct visits *visits = context;
    if (visits->count++ == 0)
        visits->first_seq = entry->first_seq;
    return visits->count == visits->stop_after ? ERROR_CANCELLED : OK;
}

static void check_reads_from_everywhere(struct fixture *f)
{
    size_t index = 0;
    uint64_t last = acked(f).seq;
    for (uint64_t seq = 1; seq <= last; seq++) {
        const struct model_entry *expected = &f->model.entries[index];
        struct visits visits = {0};
        struct segment_log_end found;
        assert_ok(segment_log_read(f->log, seq, visit, &visits, &why));
        assert_int_equal(visits.first_seq, expected->entry.first_seq);
        assert_int_equal(visits.count, f->model.count - index);
        assert_ok(segment_log_end_at(f->log, seq, &found, &why));
        assert_end(found, expected->end);
        index += seq == expected->entry.last_seq;
    }
    struct visits visits = {0};
    struct segment_log_end found;
    assert_ok(segment_log_end_at(f->log, 0, &found, &why));
    assert_end(found, f->model.base);
    assert_error(segment_log_read(f->log, 0, visit, &visits, &why), ERROR_NOT_FOUND);
    assert_error(segment_log_read(f->log, last + 1, visit, &visits, &why), ERROR_NOT_FOUND);
    assert_error(segment_log_end_at(f->log, last + 1, &found, &why), ERROR_NOT_FOUND);
    assert_int_equal(visits.count, 0);
}

TEST_F(test_segment_log_read__from_every_seq)
{
    static const size_t sizes[] = {40000, 10, 70000, 33000, 1, 2, 3, 200000, 5};
    for (size_t i = 0; i < 60; i++)
        write_one(f->log, &f->model, i * 53 % 900);
    write_batch(f->log, &f->model, sizes, 9); /* one segment with several marks */
    for (size_t i = 0; i < 20; i++)
        write_one(f->log, &f->model, i * 53 % 900);
    check_reads_from_everywhere(f);
    reopen(f);
    check_reads_from_everywhere(f);
    check_reads_from_everywhere(f); /* with the marks of the first time */
    assert_int_equal(memory_disk_open_files(), 1);
}

TEST_F(test_segment_log_read__stops_when_the_visitor_says_so)
{
    write_many(f, 20, 500);
    struct visits visits = {.stop_after = 9};
    assert_error(segment_log_read(f->log, 1, visit, &visits, &why), ERROR_CANCELLED);
    assert_int_equal(visits.count, 9);
    assert_int_equal(memory_disk_open_files(), 1);
}

struct pruner {
    struct fixture *f;
    size_t count;
    uint64_t before_seq;
};

static enum error prune_at_fifth(void *context, const struct log_entry *entry)
{
    struct pruner *pruner = context;
    (void)entry;
    if (++pruner->count == 5) {
        segment_log_prune(pruner->f->log, pruner->before_seq);
        assert_ok(segment_log_make_spare(pruner->f->log, &why));
    }
    return OK;
}

/* A reader keeps the segment that it reads; the segments behind it may go. */
TEST_F(test_segment_log_read__overtaken_by_a_prune)
{
    write_many(f, 40, 300); /* 8 a segment */
    struct pruner pruner = {.f = f, .before_seq = f->model.entries[8].entry.first_seq};
    assert_ok(segment_log_read(f->log, 1, prune_at_fifth, &pruner, &why));
    assert_int_equal(pruner.count, 40); /* the reader had the first segment, which is gone */
    pruner = (struct pruner){.f = f, .before_seq = f->model.entries[30].entry.first_seq};
    assert_error(segment_log_read(f->log, segment_log_first(f->log), prune_at_fifth, &pruner, &why),
                 ERROR_NOT_FOUND);
    check(f);
    assert_int_equal(memory_disk_open_files(), 2); /* the newest and the spare */
}

/* ---- prune, reset ---- */

TEST_F(test_segment_log_prune__rises_at_once_and_removes_segments)
{
    write_many(f, 40, 300);
    size_t files = memory_disk_files();
    uint64_t seq = f->model.entries[20].entry.first_seq;
    struct visits visits = {0};
    struct segment_log_end found;
    segment_log_prune(f->log, 0);
    segment_log_prune(f->log, 1);
    assert_int_equal(segment_log_first(f->log), 1);
    segment_log_prune(f->log, seq);
    assert_int_equal(segment_log_first(f->log), seq);
    assert_true(segment_log_wants_spare(f->log));
    assert_error(segment_log_read(f->log, seq - 1, visit, &visits, &why), ERROR_NOT_FOUND);
    assert_error(segment_log_end_at(f->log, seq - 2, &found, &why), ERROR_NOT_FOUND);
    assert_ok(segment_log_end_at(f->log, seq - 1, &found, &why));
    assert_end(found, model_end(&f->model, 20));
    assert_int_equal(memory_disk_files(), files);
    assert_ok(segment_log_make_spare(f->log, &why));
    assert_int_equal(memory_disk_files(), files - 2 + 1); /* and a spare */
    assert_int_equal(segment_log_size(f->log), (files - 1) * TEST_SEGMENT_BYTES);
    check(f);
    reopen(f);
    assert_true(segment_log_first(f->log) <= seq && segment_log_first(f->log) > 1);
    check(f);
}

TEST_F(test_segment_log_prune__keeps_the_last_entry)
{
    segment_log_prune(f->log, UINT64_MAX);
    write_many(f, 20, 300);
    for (unsigned i = 0; i < 3; i++) {
        segment_log_prune(f->log, UINT64_MAX);
        assert_ok(segment_log_make_spare(f->log, &why));
        model_check(&f->model, f->log, f->model.count);
        assert_int_equal(segment_log_first(f->log),
                         f->model.entries[f->model.count - 1].entry.first_seq);
        reopen(f);
        write_many(f, 9, 300);
    }
    check(f);
}

static struct segment_log_end other_base(const struct fixture *f, uint64_t seq)
{
    return (struct segment_log_end){
        .position = {.epoch = acked(f).epoch + 3, .seq = seq}, .bytes = 12345, .digest = {1, 2, 3}};
}

static void reset(struct fixture *f, uint64_t seq)
{
    struct segment_log_end base = other_base(f, seq);
    assert_ok(segment_log_reset(f->log, &base, &why));
    model_reset(&f->model, &base);
}

TEST_F(test_segment_log_reset__begins_after_the_base)
{
    static const uint64_t seqs[] = {5, 1000, 0, 40};
    for (size_t i = 0; i < 4; i++) {
        struct segment_log_end found;
        reset(f, seqs[i]);
        check(f);
        assert_int_equal(segment_log_first(f->log), 0);
        assert_ok(segment_log_end_at(f->log, seqs[i], &found, &why));
        assert_end(found, f->model.base);
        reopen(f);
        check(f);
        write_many(f, 30, 300);
        check(f);
        reopen(f);
        check(f);
        assert_int_equal(segment_log_first(f->log), seqs[i] + 1);
        assert_ok(segment_log_append(f->log, model_add(&f->model, 10, 0))); /* the reset drops it */
    }
    segment_log_roll_back(f->log);
    model_drop_to(&f->model, f->model.count - 1);
    assert_ok(segment_log_make_spare(f->log, &why));
    check(f);
}

TEST_F(test_segment_log_reset__removes_the_old_segments)
{
    write_many(f, 30, 300);
    size_t files = memory_disk_files();
    reset(f, 7);
    assert_int_equal(memory_disk_files(), files + 1);
    struct inspected found;
    assert_ok(inspect_all(MEMORY_DISK, &found));
    assert_int_equal(found.kinds[SEGMENT_LOG_ITEM_OLD], files);
    reopen(f);
    assert_true(segment_log_wants_spare(f->log));
    assert_ok(segment_log_make_spare(f->log, &why));
    assert_int_equal(memory_disk_files(), 1);
    check(f);
}

/* The repair of a damaged log, with the state of another node. */
TEST_F(test_segment_log_open__restarts_a_damaged_log)
{
    write_many(f, 30, 300);
    memory_disk_bytes(TEST_FILE(2), NULL)[0]++;
    struct segment_log *second = NULL;
    assert_error(try_open(&second, nothing), ERROR_CORRUPT);
    struct segment_log_end base = other_base(f, 77);
    struct segment_log_options options = {
        .folder = MEMORY_DISK, .segment_bytes = TEST_SEGMENT_BYTES, .restart = &base};
    segment_log_close(f->log);
    f->log = NULL;
    assert_ok(segment_log_open(&f->log, &options, &why));
    model_reset(&f->model, &base);
    check(f);
    write_many(f, 30, 300);
    reopen(f);
    assert_ok(segment_log_make_spare(f->log, &why));
    check(f);
}

/* The same on a disk that cannot read what it has. */
TEST_F(test_segment_log_open__restarts_an_unreadable_log)
{
    write_many(f, 30, 300);
    segment_log_close(f->log);
    f->log = NULL;
    memory_disk_watch("pread");
    memory_disk_arm(MEMORY_FAULT_LASTING, 1, EIO);
    assert_error(try_open(&f->log, nothing), ERROR_CORRUPT);
    assert_non_null(strstr(why.text, TEST_FILE(1)));
    struct segment_log_end base = other_base(f, 77);
    struct segment_log_options options = {
        .folder = MEMORY_DISK, .segment_bytes = TEST_SEGMENT_BYTES, .restart = &base};
    assert_ok(segment_log_open(&f->log, &options, &why));
    model_reset(&f->model, &base);
    memory_disk_arm(MEMORY_FAULT_NONE, 0, 0);
    write_many(f, 30, 300);
    reopen(f);
    check(f);
}

/* ---- scan, inspect ---- */

TEST_F(test_segment_log_scan__in_slices_of_any_size)
{
    static const uint64_t slices[] = {1, 100, 5000, UINT64_MAX};
    assert_ok(scan_all(f->log, 1));
    write_many(f, 30, 300);
    for (size_t i = 0; i < 4; i++)
        assert_ok(scan_all(f->log, slices[i]));
    struct segment_log_scan scan = {0};
    bool done;
    assert_ok(segment_log_scan(f->log, &scan, 1, &done, &why));
    assert_false(done);
    segment_log_prune(f->log, UINT64_MAX);
    assert_ok(segment_log_make_spare(f->log, &why));
    assert_ok(segment_log_scan(f->log, &scan, UINT64_MAX, &done, &why));
    assert_true(done && scan.number == 0);
}

TEST_F(test_segment_log_inspect__shows_everything)
{
    struct inspected found;
    write_many(f, 30, 300);
    assert_ok(segment_log_make_spare(f->log, &why));
    assert_ok(inspect_all(MEMORY_DISK, &found));
    assert_int_equal(found.kinds[SEGMENT_LOG_ITEM_SEGMENT], 4);
    assert_int_equal(found.kinds[SEGMENT_LOG_ITEM_ENTRY], 30);
    assert_int_equal(found.kinds[SEGMENT_LOG_ITEM_SPARE], 1);
    assert_error(inspect_all("/disk/log", &found), ERROR_NOT_FOUND);
}

static void chain_epochs(uint8_t digest[static LOG_DIGEST_BYTES], const struct log_entry *entry)
{
    digest[0] = (uint8_t)(digest[0] + entry->epoch + entry->size);
}

/* The chain is the owner's; another one does not fit. */
TEST_F(test_segment_log_open__with_a_chain)
{
    struct segment_log_options options = {.folder = MEMORY_DISK, .chain = chain_epochs};
    struct segment_log *log = NULL;
    assert_ok(segment_log_open(&log, &options, &why));
    assert_ok(segment_log_append(log, model_add(&f->model, 10, 0)));
    assert_ok(segment_log_write(log));
    assert_ok(segment_log_finish(log, OK));
    assert_int_equal(segment_log_end(log).digest[0], 11);
    assert_ok(scan_all(log, 10));
    segment_log_close(log);
    assert_ok(segment_log_open(&log, &options, &why));
    segment_log_close(log);
    assert_error(try_open(&log, nothing), ERROR_CORRUPT);
    assert_non_null(strstr(why.text, "digest"));
}
