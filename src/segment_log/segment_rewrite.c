/* SPDX-License-Identifier: MIT */
/* New bytes for durable entries, which keep their size, their place and their digest. The records of one
 * segment change together (segment_overwrite.c). */
#include "segment_log/segment_internal.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#define AT_ONCE_BYTES 1048576u /* of ranges, in one file `overwrite` */

/* One call of segment_log_rewrite. */
struct request {
    struct segment_log *log;
    segment_log_rewriter *rewrite;
    void *context;
    struct segment_overwrite made; /* the ranges of `segment` so far */
    struct segment_head segment;   /* of `made`, if that has ranges */
    struct error_text *why;
};

/* ---- one record ---- */

/* Only the bytes that differ: the file `overwrite` must not hold other texts. */
static enum error add_ranges(struct request *request, const uint8_t *before, const uint8_t *after,
                             size_t size, uint64_t offset)
{
    enum error error = OK;
    for (size_t at = 0; at < size && error == OK;) {
        size_t end = at;
        while (end < size && before[end] != after[end])
            end++;
        if (end > at)
            error = segment_overwrite_add(&request->made, offset + at, after + at, end - at);
        at = end + 1;
    }
    return error == OK ? OK
                       : error_set(request->why, error, "rewrite the log: %s", error_name(error));
}

static bool has_same_digest(const struct request *request, const struct log_entry *entry,
                            const uint8_t *bytes)
{
    uint8_t before[LOG_DIGEST_BYTES] = {0};
    uint8_t after[LOG_DIGEST_BYTES] = {0};
    struct log_entry changed = *entry;
    changed.bytes = bytes;
    request->log->chain(before, entry);
    request->log->chain(after, &changed);
    return memcmp(before, after, sizeof before) == 0;
}

/* Rewrites the last record of the walk. */
static enum error rewrite_record(struct request *request, const struct segment_walk *walk)
{
    const struct log_entry *entry = &walk->record.entry;
    const uint8_t *before = entry->bytes - SEGMENT_RECORD_HEAD_BYTES;
    size_t size = (size_t)segment_record_bytes(entry->size);
    uint8_t *after = malloc(size);
    if (after == NULL)
        return error_set(request->why, ERROR_NO_MEMORY, "rewrite the log: out of memory");
    memcpy(after, before, size);
    request->rewrite(request->context, entry, after + SEGMENT_RECORD_HEAD_BYTES);
    enum error error = OK;
    if (!has_same_digest(request, entry, after + SEGMENT_RECORD_HEAD_BYTES))
        error = error_set(request->why, ERROR_INVALID,
                          "rewrite the log: the entry of seq %" PRIu64 " would get another digest",
                          entry->first_seq);
    segment_record_seal(after, walk->key, walk->record_offset, walk->record.synced_seq);
    if (error == OK)
        error = add_ranges(request, before, after, size, walk->record_offset);
    free(after);
    return error;
}

/* ---- one segment ---- */

/* Writes what was made for a segment. */
static enum error flush(struct request *request)
{
    struct segment_log *log = request->log;
    if (request->made.size == 0)
        return OK;
    enum error error = segment_overwrite_save(&log->overwrite, &request->made, &request->segment,
                                              log->folder, request->why);
    return error == OK ? segment_overwrite_settle(&log->overwrite, log->folder, request->why)
                       : error;
}

/* The segment that holds seq, also if that is forgotten. false: there is none any more. */
static bool take_segment(struct segment_log *log, uint64_t seq, struct segment_use *use)
{
    (void)pthread_mutex_lock(&log->lock);
    bool is_found = log->segment_count > 0 && seq > log->segments[0]->head.base.position.seq;
    if (is_found)
        segment_use_take(log, segment_find(log, seq), use);
    (void)pthread_mutex_unlock(&log->lock);
    return is_found;
}

static enum error rewrite_in(struct request *request, const struct segment_use *use, uint64_t seq,
                             uint64_t *last_seq)
{
    const struct segment_head *head = &use->segment->head;
    struct segment_walk walk = segment_use_walk(request->log, use);
    enum error error = OK;
    if (request->made.size > AT_ONCE_BYTES || request->segment.number != head->number)
        error = flush(request);
    request->segment = *head;
    if (error == OK)
        error = segment_use_seek(request->log, use, seq, &walk, request->why);
    if (error == OK)
        error = segment_walk_next(&walk, request->why);
    if (error == ERROR_NOT_FOUND)
        error = segment_use_damage(request->log, &walk, request->why);
    if (error == OK)
        error = rewrite_record(request, &walk);
    *last_seq = walk.end.position.seq;
    segment_walk_release(&walk);
    return error;
}

/* *last_seq: of the entry, or seq. */
static enum error rewrite_seq(struct request *request, uint64_t seq, uint64_t *last_seq)
{
    struct segment_use use;
    *last_seq = seq;
    if (!take_segment(request->log, seq, &use))
        return OK;
    enum error error = segment_use_open(request->log, &use, request->why);
    bool is_pruned = error == ERROR_NOT_FOUND;
    if (error == OK)
        error = rewrite_in(request, &use, seq, last_seq);
    segment_drop(request->log, use.segment);
    return is_pruned ? OK : error;
}

/* ---- the call ---- */

static enum error check_seqs(struct segment_log *log, const uint64_t *seqs, size_t count,
                             struct error_text *why)
{
    for (size_t i = 1; i < count; i++)
        ASSERT(seqs[i - 1] < seqs[i]);
    (void)pthread_mutex_lock(&log->lock);
    uint64_t durable = log->durable.position.seq;
    (void)pthread_mutex_unlock(&log->lock);
    if (count == 0 || seqs[count - 1] <= durable)
        return OK;
    return error_set(why, ERROR_NOT_FOUND, "rewrite the log: seq %" PRIu64 " is not in the log yet",
                     seqs[count - 1]);
}

enum error segment_log_rewrite(struct segment_log *log, const uint64_t *seqs, size_t count,
                               segment_log_rewriter *rewrite, void *context, struct error_text *why)
{
    struct request request = {.log = log, .rewrite = rewrite, .context = context, .why = why};
    uint64_t last_seq = 0;
    enum error error = check_seqs(log, seqs, count, why);
    if (error != OK)
        return error;
    (void)pthread_mutex_lock(&log->rewrite_lock);
    segment_overwrite_init(&request.made);
    error = segment_overwrite_settle(&log->overwrite, log->folder, why);
    for (size_t i = 0; i < count && error == OK; i++)
        if (seqs[i] > last_seq)
            error = rewrite_seq(&request, seqs[i], &last_seq);
    if (error == OK)
        error = flush(&request);
    segment_overwrite_release(&request.made);
    (void)pthread_mutex_unlock(&log->rewrite_lock);
    return error;
}
