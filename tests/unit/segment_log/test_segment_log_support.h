/* SPDX-License-Identifier: MIT */
/* test_segment_log_support.h - what the tests of src/segment_log share: entries that are known from a
 * number, and a model of the log that they should be in. */
#ifndef JACKDAW_TESTS_UNIT_SEGMENT_LOG_SUPPORT_H
#define JACKDAW_TESTS_UNIT_SEGMENT_LOG_SUPPORT_H

#include "segment_log/segment_log.h"
#include "support/test.h"

#include <stdbool.h>

#define TEST_SEGMENT_BYTES 4096u
#define TEST_FILE(number) "/disk/log/000000000000000" #number ".log"

#define assert_ok(call) assert_error((call), OK)
#define assert_error(call, expected) assert_error_at((call), (expected), #call, __FILE__, __LINE__)
void assert_error_at(enum error found, enum error expected, const char *call, const char *file,
                     int line);
/* The sentence of the last call that got it. */
extern struct error_text why;

/* ---- model ---- */

#define MODEL_MAX 400

struct model_entry {
    struct log_entry entry;
    struct segment_log_end end; /* after it */
};

/* The entries that a log should hold, from base on. */
struct model {
    struct segment_log_end base;
    struct model_entry *entries;
    size_t count;
};

void model_init(struct model *model);
void model_release(struct model *model);
/* Empties the model and lets it begin anew after base. */
void model_reset(struct model *model, const struct segment_log_end *base);
/* Adds an entry with a payload of `size` bytes and 1 to 3 deltas, by salt. Borrowed from the model. */
const struct log_entry *model_add(struct model *model, size_t size, uint64_t salt);
void model_drop_to(struct model *model, size_t count); /* the first `count` stay */
struct segment_log_end model_end(const struct model *model, size_t count);
/* Returns how many entries end at or before seq; fails the test if seq is within one. */
size_t model_count_at(const struct model *model, uint64_t seq);

bool ends_are_equal(const struct segment_log_end *left, const struct segment_log_end *right);
void assert_end(struct segment_log_end found, struct segment_log_end expected);

/* Reads the log from its first seq on and fails the test if an entry differs from the model's.
 * Returns the result of the read; *read: how many entries it visited. */
enum error model_read(const struct model *model, struct segment_log *log, size_t *read);
/* Fails the test unless the log holds the first `count` entries of the model, or those of them that
 * are not pruned. */
void model_check(const struct model *model, struct segment_log *log, size_t count);

/* ---- log ---- */

/* The chain of try_open and inspect_all; NULL at first. */
extern segment_log_chain *test_chain;

/* Opens the log on MEMORY_DISK with segments of TEST_SEGMENT_BYTES. */
enum error try_open(struct segment_log **log, struct log_position acked);
struct segment_log *open_log(struct log_position acked);

/* Appends an entry to model and log, writes and finishes it. */
void write_one(struct segment_log *log, struct model *model, size_t size);
/* The same with an entry for each size, in one batch. */
void write_batch(struct segment_log *log, struct model *model, const size_t *sizes, size_t count);

/* Verifies everything in slices of `slice` bytes. */
enum error scan_all(struct segment_log *log, uint64_t slice);

struct inspected {
    size_t kinds[SEGMENT_LOG_ITEM_DAMAGE + 1]; /* how many items of each kind */
    uint64_t damage_number;                    /* of the first damage */
    uint64_t damage_offset;
};
enum error inspect_all(const char *folder, struct inspected *found);

#endif
