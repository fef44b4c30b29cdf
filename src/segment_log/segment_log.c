/* SPDX-License-Identifier: MIT */
/* Open, close, and the way of a batch to the disk:
 *
 *   append   encodes records behind room for the head of a segment
 *   write    places the batch: in the newest segment, or with a new head at the start of the next;
 *            seals the records, pwrite, fdatasync. An error zeroes the place and syncs it, because
 *            a failed call may have written all. Zeros need no space, and after a failed fdatasync
 *            only pages that are written again are known to reach the disk.
 *   finish   makes the entries readable, or drops them
 *
 * So behind the last record of a log that is not poisoned there are zeros only. */
#include "segment_log/segment_internal.h"

#include <stdlib.h>
#include <string.h>

/* ---- open, close ---- */

static void init(struct segment_log *log, const struct segment_log_options *options)
{
    log->segment_bytes =
        options->segment_bytes == 0 ? SEGMENT_LOG_BYTES_DEFAULT : options->segment_bytes;
    log->chain = options->chain == NULL ? segment_log_chain_bytes : options->chain;
    log->spare.descriptor = -1;
    log->next_number = 1;
    segment_overwrite_init(&log->overwrite);
    (void)pthread_mutex_init(&log->rewrite_lock, NULL);
    (void)pthread_mutex_init(&log->spare_lock, NULL);
    (void)pthread_mutex_init(&log->lock, NULL);
}

static enum error start(struct segment_log *log, const struct segment_log_options *options,
                        struct error_text *why)
{
    if (log->segment_bytes < SEGMENT_LOG_BYTES_MIN || log->segment_bytes > SEGMENT_LOG_BYTES_MAX)
        return error_set(why, ERROR_INVALID, "a segment has %u to %u bytes", SEGMENT_LOG_BYTES_MIN,
                         SEGMENT_LOG_BYTES_MAX);
    enum error error = segment_folder_name(log->folder, options->folder, why);
    if (error == OK)
        error = segment_folder_make(log->folder, options->folder, why);
    if (error == OK)
        error = segment_recover(log, options, why);
    if (error == OK && options->restart != NULL)
        error = segment_log_reset(log, options->restart, why);
    return error;
}

enum error segment_log_open(struct segment_log **out, const struct segment_log_options *options,
                            struct error_text *why)
{
    struct segment_log *log = calloc(1, sizeof *log);
    if (log == NULL)
        return error_set(why, ERROR_NO_MEMORY, "open the log: out of memory");
    init(log, options);
    enum error error = start(log, options, why);
    if (error == OK)
        *out = log;
    else
        segment_log_close(log);
    return error;
}

static void free_pruned(struct segment_log *log)
{
    while (log->pruned_first != NULL) {
        struct segment *segment = log->pruned_first;
        log->pruned_first = segment->next;
        segment_free(segment);
    }
}

void segment_log_close(struct segment_log *log)
{
    if (log == NULL)
        return;
    for (size_t i = 0; i < log->segment_count; i++)
        segment_free(log->segments[i]);
    free_pruned(log);
    segment_free(log->fresh);
    segment_file_close(&log->spare);
    free(log->segments);
    free(log->batch.bytes);
    (void)pthread_mutex_destroy(&log->lock);
    (void)pthread_mutex_destroy(&log->spare_lock);
    (void)pthread_mutex_destroy(&log->rewrite_lock);
    segment_overwrite_release(&log->overwrite);
    free(log);
}

struct segment_log_end segment_log_end(const struct segment_log *log)
{
    return log->end;
}

struct segment_log_end segment_log_durable(const struct segment_log *log)
{
    return log->durable;
}

uint64_t segment_log_first(struct segment_log *log)
{
    (void)pthread_mutex_lock(&log->lock);
    uint64_t first = log->first;
    (void)pthread_mutex_unlock(&log->lock);
    return first;
}

const char *segment_log_problem(const struct segment_log *log)
{
    return log->problem.text;
}

/* ---- append ---- */

static enum error grow(struct segment_batch *batch, size_t wanted)
{
    if (wanted <= batch->capacity)
        return OK;
    size_t larger = batch->capacity < 4096 ? 4096 : batch->capacity;
    while (larger < wanted)
        larger *= 2;
    uint8_t *moved = realloc(batch->bytes, larger);
    if (moved == NULL)
        return ERROR_NO_MEMORY;
    batch->bytes = moved;
    batch->capacity = larger;
    return OK;
}

static enum error reserve(struct segment_log *log, const struct log_entry *entry)
{
    if (entry->last_seq > INT64_MAX)
        return ERROR_INVALID;
    if (entry->size > SEGMENT_LOG_ENTRY_MAX)
        return ERROR_TOO_LARGE;
    size_t size = log->batch.size + (size_t)segment_record_bytes(entry->size);
    if (size > SEGMENT_LOG_BATCH_MAX)
        return ERROR_FULL;
    enum error error = grow(&log->batch, SEGMENT_HEAD_BYTES + size);
    uint64_t file = SEGMENT_HEAD_BYTES + size;
    return error == OK ? segment_reserve(log, file > log->segment_bytes ? file : log->segment_bytes)
                       : error;
}

enum error segment_log_append(struct segment_log *log, const struct log_entry *entry)
{
    ASSERT(log->batch.state == SEGMENT_BATCH_OPEN);
    ASSERT(entry->first_seq == log->end.position.seq + 1 && entry->last_seq >= entry->first_seq);
    ASSERT(entry->epoch >= log->end.position.epoch);
    enum error error = reserve(log, entry);
    if (error != OK)
        return error;
    struct segment_record record = {.entry = *entry, .end_bytes = log->end.bytes + entry->size};
    memcpy(record.entry.digest, log->end.digest, LOG_DIGEST_BYTES);
    struct log_entry unknown = *entry;
    memset(unknown.digest, 0, sizeof unknown.digest);
    log->chain(record.entry.digest, &unknown);
    segment_record_encode(log->batch.bytes + SEGMENT_HEAD_BYTES + log->batch.size, &record);
    log->batch.size += (size_t)segment_record_bytes(entry->size);
    log->end = segment_record_end(&record);
    return OK;
}

static void clear(struct segment_log *log)
{
    struct segment_batch *batch = &log->batch;
    if (batch->capacity > SEGMENT_BUFFER_KEPT) {
        free(batch->bytes);
        batch->bytes = NULL;
        batch->capacity = 0;
    }
    batch->size = 0;
    batch->is_first = false;
    batch->state = SEGMENT_BATCH_OPEN;
    log->end = log->durable;
}

void segment_log_roll_back(struct segment_log *log)
{
    ASSERT(log->batch.state == SEGMENT_BATCH_OPEN);
    clear(log);
}

/* ---- write ---- */

/* Zeroes what a failed batch may have left behind: in `fresh`, or behind the tail. */
static enum error zero(struct segment_log *log, bool in_fresh, uint64_t size)
{
    const struct segment_file *file = in_fresh ? &log->fresh->file : &segment_newest(log)->file;
    uint64_t from = in_fresh ? 0 : log->tail;
    enum error error = segment_file_zero(file, log->folder, from, from + size, NULL);
    if (error == OK)
        error = segment_file_sync(file, log->folder, NULL);
    log->is_poisoned = error != OK;
    log->poisons_fresh = in_fresh;
    log->poison_bytes = size;
    if (error == OK && in_fresh)
        segment_spare_return(log);
    return error == OK ? OK : ERROR_IO;
}

enum error segment_undo_fresh(struct segment_log *log, uint64_t size)
{
    return zero(log, true, size);
}

static enum error undo(struct segment_log *log)
{
    bool in_fresh = log->batch.is_first;
    return zero(log, in_fresh, log->batch.size + (in_fresh ? SEGMENT_HEAD_BYTES : 0));
}

/* Decides where the batch goes, and makes the next file if it goes there. */
static enum error place(struct segment_log *log)
{
    const struct segment *newest = segment_newest(log);
    if (newest != NULL && log->batch.size <= newest->head.size - log->tail)
        return OK;
    enum error error = segment_spare_take(log, SEGMENT_HEAD_BYTES + log->batch.size, &log->durable,
                                          newest == NULL, &log->problem);
    log->batch.is_first = error == OK;
    return error;
}

/* Calls visit for each record of the batch, with its offset in the file. */
static void each_record(struct segment_log *log,
                        void (*visit)(struct segment_log *log, uint8_t *bytes, uint64_t offset))
{
    struct segment_record record;
    uint64_t offset = log->batch.is_first ? SEGMENT_HEAD_BYTES : log->tail;
    for (size_t done = 0; done < log->batch.size;) {
        uint8_t *bytes = log->batch.bytes + SEGMENT_HEAD_BYTES + done;
        visit(log, bytes, offset + done);
        segment_record_peek(&record, bytes);
        done += (size_t)segment_record_bytes(record.entry.size);
    }
}

static const struct segment *target(const struct segment_log *log)
{
    return log->batch.is_first ? log->fresh : segment_newest(log);
}

static void seal(struct segment_log *log, uint8_t *bytes, uint64_t offset)
{
    segment_record_seal(bytes, target(log)->head.key, offset, log->durable.position.seq);
}

static enum error put_on_disk(struct segment_log *log)
{
    struct segment_batch *batch = &log->batch;
    const struct segment *segment = target(log);
    each_record(log, seal);
    if (batch->is_first)
        segment_head_encode(batch->bytes, &segment->head);
    enum error error =
        batch->is_first
            ? segment_file_write(&segment->file, log->folder, batch->bytes,
                                 SEGMENT_HEAD_BYTES + batch->size, 0, &log->problem)
            : segment_file_write(&segment->file, log->folder, batch->bytes + SEGMENT_HEAD_BYTES,
                                 batch->size, log->tail, &log->problem);
    return error == OK ? segment_file_sync(&segment->file, log->folder, &log->problem) : error;
}

enum error segment_log_write(struct segment_log *log)
{
    struct segment_batch *batch = &log->batch;
    ASSERT(batch->state == SEGMENT_BATCH_OPEN);
    batch->state = SEGMENT_BATCH_FAILED;
    enum error error = segment_check_poison(log, &log->problem);
    if (error == OK && batch->size > 0) {
        error = place(log);
        if (error == OK) {
            error = put_on_disk(log);
            if (error != OK)
                (void)undo(log);
        }
    }
    if (error == OK)
        batch->state = SEGMENT_BATCH_WRITTEN;
    return error;
}

enum error segment_check_poison(struct segment_log *log, struct error_text *why)
{
    if (!log->is_poisoned || zero(log, log->poisons_fresh, log->poison_bytes) == OK)
        return OK;
    return error_set(why, ERROR_IO,
                     "write to the log in %s: an earlier write failed and cannot be undone; check "
                     "the disk",
                     log->folder);
}

/* ---- finish ---- */

static void add_mark(struct segment_log *log, uint8_t *bytes, uint64_t offset)
{
    struct segment_record record;
    segment_record_peek(&record, bytes);
    segment_index_add(&segment_newest(log)->index, record.entry.first_seq, offset);
    log->last_entry_seq = record.entry.first_seq;
}

static void publish(struct segment_log *log)
{
    (void)pthread_mutex_lock(&log->lock);
    if (log->batch.is_first) {
        segment_add_fresh(log);
        log->tail = SEGMENT_HEAD_BYTES;
    }
    each_record(log, add_mark);
    log->tail += log->batch.size;
    if (log->first == 0)
        log->first = log->durable.position.seq + 1;
    log->durable = log->end;
    (void)pthread_mutex_unlock(&log->lock);
    if (log->batch.is_first)
        segment_spare_settle(log);
}

enum error segment_log_finish(struct segment_log *log, enum error written)
{
    enum error error = written;
    bool is_on_disk = log->batch.state == SEGMENT_BATCH_WRITTEN && log->batch.size > 0;
    ASSERT(log->batch.state != SEGMENT_BATCH_OPEN);
    ASSERT(written != OK || log->batch.state == SEGMENT_BATCH_WRITTEN);
    if (written == OK && is_on_disk)
        publish(log);
    else if (is_on_disk && undo(log) != OK)
        error = error_set(&log->problem, ERROR_IO,
                          "write to the log in %s: a batch cannot be undone; check the disk",
                          log->folder);
    clear(log);
    return error;
}
