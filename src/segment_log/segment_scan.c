/* SPDX-License-Identifier: MIT */
/* The check of an open log in slices, beside its writer. */
#include "segment_log/segment_internal.h"

/* Takes the segment that *scan stands in. If that was pruned, or the check begins, *scan goes to the
 * base of the first one. false: the log is empty. */
static bool take(struct segment_log *log, struct segment_log_scan *scan, struct segment_use *use)
{
    (void)pthread_mutex_lock(&log->lock);
    bool is_empty = log->first == 0;
    size_t index = 0;
    while (index < log->segment_count && log->segments[index]->head.number != scan->number)
        index++;
    if (!is_empty && index == log->segment_count) {
        index = 0;
        *scan = (struct segment_log_scan){.number = log->segments[0]->head.number,
                                          .offset = SEGMENT_HEAD_BYTES,
                                          .end = log->segments[0]->head.base};
    }
    if (!is_empty)
        segment_use_take(log, index, use);
    (void)pthread_mutex_unlock(&log->lock);
    return !is_empty;
}

/* Verifies records of one segment until *bytes are used up. */
static enum error scan_segment(struct segment_log *log, struct segment_log_scan *scan,
                               const struct segment_use *use, uint64_t *bytes,
                               struct error_text *why)
{
    struct segment_walk walk = segment_use_walk(log, use);
    walk.chain = log->chain;
    walk.offset = scan->offset;
    walk.end = scan->end;
    enum error error = OK;
    while (error == OK && *bytes > 0 && walk.end.position.seq < use->last_seq) {
        error = segment_walk_next(&walk, why);
        uint64_t size = walk.offset - scan->offset;
        *bytes -= size < *bytes ? size : *bytes;
        scan->offset = walk.offset;
        scan->end = walk.end;
    }
    if (error == ERROR_NOT_FOUND || (error == OK && walk.end.position.seq > use->last_seq))
        error = segment_use_damage(log, &walk, why);
    segment_walk_release(&walk);
    return error;
}

/* Goes to the segment after the one that is done, if there is one. */
static enum error go_on(struct segment_log *log, struct segment_log_scan *scan,
                        struct error_text *why)
{
    enum error error = OK;
    (void)pthread_mutex_lock(&log->lock);
    for (size_t i = 0; i + 1 < log->segment_count; i++) {
        const struct segment *next = log->segments[i + 1];
        if (log->segments[i]->head.number != scan->number)
            continue;
        error = segment_check_base(log, next, &scan->end, why);
        scan->number = next->head.number;
        scan->offset = SEGMENT_HEAD_BYTES;
        scan->end = next->head.base;
        break;
    }
    (void)pthread_mutex_unlock(&log->lock);
    return error;
}

enum error segment_log_scan(struct segment_log *log, struct segment_log_scan *scan, uint64_t bytes,
                            bool *done, struct error_text *why)
{
    *done = false;
    while (bytes > 0 && !*done) {
        struct segment_use use;
        if (!take(log, scan, &use)) {
            *done = true;
            break;
        }
        enum error error = segment_use_open(log, &use, why);
        if (error == OK)
            error = scan_segment(log, scan, &use, &bytes, why);
        bool is_whole = error == OK && scan->end.position.seq == use.last_seq;
        *done = is_whole && use.is_newest;
        if (is_whole && !use.is_newest)
            error = go_on(log, scan, why);
        segment_drop(log, use.segment);
        if (error == ERROR_NOT_FOUND)
            *scan = (struct segment_log_scan){0};
        else if (error != OK)
            return error;
    }
    if (*done)
        *scan = (struct segment_log_scan){0};
    return OK;
}
