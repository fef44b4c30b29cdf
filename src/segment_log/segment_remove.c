/* SPDX-License-Identifier: MIT */
/* Entries leave the log in whole segments: the old ones by prune, all by reset. */
#include "segment_log/segment_internal.h"

#include <string.h>

void segment_log_prune(struct segment_log *log, uint64_t before_seq)
{
    (void)pthread_mutex_lock(&log->lock);
    uint64_t first = before_seq < log->last_entry_seq ? before_seq : log->last_entry_seq;
    if (log->first != 0 && first > log->first) {
        size_t gone = 0;
        while (gone + 1 < log->segment_count &&
               log->segments[gone + 1]->head.base.position.seq < first)
            segment_add_pruned(log, log->segments[gone++]);
        log->segment_count -= gone;
        memmove(log->segments, log->segments + gone, log->segment_count * sizeof(struct segment *));
        log->first = first;
    }
    (void)pthread_mutex_unlock(&log->lock);
}

/* The write of the head is the moment of the reset: the start flag makes all other files old. */
static enum error write_start(struct segment_log *log, struct error_text *why)
{
    uint8_t bytes[SEGMENT_HEAD_BYTES];
    const struct segment_file *file = &log->fresh->file;
    segment_head_encode(bytes, &log->fresh->head);
    enum error error = segment_file_write(file, log->folder, bytes, sizeof bytes, 0, why);
    if (error == OK)
        error = segment_file_sync(file, log->folder, why);
    if (error != OK)
        (void)segment_undo_fresh(log, sizeof bytes);
    return error;
}

static void begin_anew(struct segment_log *log, const struct segment_log_end *base)
{
    (void)pthread_mutex_lock(&log->lock);
    for (size_t i = 0; i < log->segment_count; i++) {
        struct segment *segment = log->segments[i];
        segment_add_pruned(log, segment);
    }
    log->segment_count = 0;
    segment_add_fresh(log);
    log->tail = SEGMENT_HEAD_BYTES;
    log->durable = *base;
    log->first = 0;
    log->last_entry_seq = 0;
    (void)pthread_mutex_unlock(&log->lock);
    segment_spare_settle(log);
}

enum error segment_log_reset(struct segment_log *log, const struct segment_log_end *base,
                             struct error_text *why)
{
    ASSERT(base->position.seq <= INT64_MAX);
    segment_log_roll_back(log);
    enum error error = segment_check_poison(log, why);
    if (error == OK && segment_reserve(log, log->segment_bytes) != OK)
        error = error_set(why, ERROR_NO_MEMORY, "reset the log: out of memory");
    if (error == OK)
        error = segment_spare_take(log, SEGMENT_HEAD_BYTES, base, true, why);
    if (error == OK)
        error = write_start(log, why);
    if (error == OK) {
        begin_anew(log, base);
        segment_log_roll_back(log);
    }
    return error;
}
