/* SPDX-License-Identifier: MIT */
/* The log on the files of the system, with each allocation failing: every function says so and changes
 * nothing, and a write needs no memory. */
#include "segment_log/segment_log.h"
#include "support/faulty_alloc.h"
#include "support/folder.h"
#include "support/test.h"

#include <sodium.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#define ENTRIES 30

struct fixture {
    char *folder;
    struct segment_log *log;
    uint64_t written; /* entries */
};

int test_setup(void **state)
{
    (void)state;
    return sodium_init() < 0 ? -1 : 0;
}

static void begin(struct fixture *f)
{
    f->folder = folder_new();
    assert_non_null(f->folder);
}

static void end(struct fixture *f)
{
    (void)faulty_alloc_disarm();
    segment_log_close(f->log);
    folder_remove(f->folder);
}

static enum error open_log(struct fixture *f)
{
    struct segment_log_options options = {.folder = f->folder,
                                          .segment_bytes = SEGMENT_LOG_BYTES_MIN,
                                          .acked = {.epoch = 1, .seq = f->written}};
    if (f->written == 0)
        options.acked.epoch = 0;
    return segment_log_open(&f->log, &options, NULL);
}

static enum error append(struct fixture *f, size_t size)
{
    static uint8_t bytes[20000];
    uint64_t seq = segment_log_end(f->log).position.seq + 1;
    memset(bytes, (int)seq, size);
    struct log_entry entry = {
        .epoch = 1, .first_seq = seq, .last_seq = seq, .bytes = bytes, .size = size};
    return segment_log_append(f->log, &entry);
}

static void write_all(struct fixture *f)
{
    assert_int_equal(segment_log_write(f->log), OK);
    assert_int_equal(segment_log_finish(f->log, OK), OK);
    f->written = segment_log_durable(f->log).position.seq;
}

static enum error count_entry(void *context, const struct log_entry *entry)
{
    size_t *count = context;
    assert_int_equal(entry->first_seq, *count + 1);
    for (size_t i = 0; i < entry->size; i++)
        assert_int_equal(entry->bytes[i], (uint8_t)entry->first_seq);
    ++*count;
    return OK;
}

static enum error count_item(void *context, const struct segment_log_item *item)
{
    *(size_t *)context += item->kind == SEGMENT_LOG_ITEM_ENTRY;
    return OK;
}

/* Each returns OK, or ERROR_NO_MEMORY without an effect that matters. */
static enum error step_append(struct fixture *f)
{
    return append(f, 20000);
}

static enum error step_read(struct fixture *f)
{
    size_t count = 0;
    enum error error = segment_log_read(f->log, 1, count_entry, &count, NULL);
    assert_true(error != OK || count == f->written);
    return error;
}

static enum error step_end_at(struct fixture *f)
{
    struct segment_log_end found;
    return segment_log_end_at(f->log, 5, &found, NULL);
}

static enum error step_scan(struct fixture *f)
{
    struct segment_log_scan scan = {0};
    bool done;
    enum error error = segment_log_scan(f->log, &scan, UINT64_MAX, &done, NULL);
    assert_true(error != OK || done);
    return error;
}

static enum error step_inspect(struct fixture *f)
{
    size_t count = 0;
    enum error error = segment_log_inspect(f->folder, NULL, count_item, &count, NULL);
    assert_true(error != OK || count == f->written);
    return error;
}

static enum error step_reopen(struct fixture *f)
{
    segment_log_close(f->log);
    f->log = NULL;
    return open_log(f);
}

static enum error step_reset(struct fixture *f)
{
    struct segment_log_end base = {.position = {.epoch = 1, .seq = f->written}};
    return segment_log_reset(f->log, &base, NULL);
}

/* Runs the step with each of its allocations failing, and then with none. */
static void fail_allocations(struct fixture *f, enum error (*step)(struct fixture *f), bool must)
{
    unsigned long number = 1;
    for (;; number++) {
        struct segment_log_end before =
            f->log == NULL ? (struct segment_log_end){0} : segment_log_end(f->log);
        faulty_alloc_arm(number);
        enum error error = step(f);
        if (!faulty_alloc_disarm()) {
            assert_int_equal(error, OK);
            break;
        }
        assert_int_equal(error, ERROR_NO_MEMORY);
        if (f->log != NULL)
            assert_int_equal(segment_log_end(f->log).position.seq, before.position.seq);
    }
    assert_true(!must || number > 1);
}

TEST_F(test_segment_log_memory__every_allocation_fails)
{
    fail_allocations(f, step_reopen, true);
    fail_allocations(f, step_append, true);
    faulty_alloc_arm(1);
    assert_int_equal(segment_log_write(f->log), OK);
    assert_int_equal(segment_log_finish(f->log, OK), OK);
    assert_false(faulty_alloc_disarm());
    f->written = 1;
    for (size_t i = 0; i < ENTRIES; i++) {
        fail_allocations(f, step_append, false);
        segment_log_roll_back(f->log);
        assert_int_equal(append(f, 300), OK);
        faulty_alloc_arm(1);
        assert_int_equal(segment_log_write(f->log), OK);
        assert_int_equal(segment_log_finish(f->log, OK), OK);
        assert_int_equal(segment_log_make_spare(f->log, NULL), OK);
        assert_false(faulty_alloc_disarm());
        f->written++;
    }
    fail_allocations(f, step_reopen, true);
    fail_allocations(f, step_read, true);
    fail_allocations(f, step_end_at, true);
    fail_allocations(f, step_scan, true);
    fail_allocations(f, step_inspect, true);
    fail_allocations(f, step_reset, true);
    fail_allocations(f, step_append, false);
    write_all(f);
}

static mode_t mode_of(const struct fixture *f, const char *name)
{
    char path[4096];
    struct stat found;
    (void)snprintf(path, sizeof path, "%s/%s", f->folder, name);
    assert_int_equal(stat(path, &found), 0);
    return found.st_mode & 07777;
}

TEST_F(test_segment_log_memory__files_are_the_owners_only)
{
    assert_int_equal(open_log(f), OK);
    assert_int_equal(append(f, 10), OK);
    write_all(f);
    assert_int_equal(mode_of(f, "log"), 0700);
    assert_int_equal(mode_of(f, "log/0000000000000001.log"), 0600);
    assert_int_equal(step_reopen(f), OK);
    assert_int_equal(step_read(f), OK);
}
