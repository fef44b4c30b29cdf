/* SPDX-License-Identifier: MIT */
/* The way of a reader to a record, beside the writer. A reader refers to one segment at a time, which
 * keeps the file open. The reader stops at the seq that was durable when it took the segment, so it
 * never judges bytes that are being written. */
#include "segment_log/segment_internal.h"

#include <inttypes.h>
#include <stdlib.h>

/* ---- segments ---- */

size_t segment_find(const struct segment_log *log, uint64_t seq)
{
    size_t low = 0;
    for (size_t high = log->segment_count; high - low > 1;) {
        size_t middle = low + (high - low) / 2;
        if (log->segments[middle]->head.base.position.seq < seq)
            low = middle;
        else
            high = middle;
    }
    return low;
}

void segment_use_take(struct segment_log *log, size_t index, struct segment_use *use)
{
    struct segment *segment = log->segments[index];
    segment->references++;
    use->segment = segment;
    use->file = segment->file;
    use->last_seq = index + 1 < log->segment_count
                        ? log->segments[index + 1]->head.base.position.seq
                        : log->durable.position.seq;
    use->is_newest = index + 1 == log->segment_count;
}

/* Another reader may have opened the file meanwhile. */
static enum error open_file(struct segment_log *log, struct segment_use *use,
                            struct error_text *why)
{
    struct segment_file file;
    if (use->file.descriptor >= 0)
        return OK;
    enum error error = segment_file_open(&file, log->folder, use->segment->head.number, false, why);
    if (error != OK)
        return error;
    (void)pthread_mutex_lock(&log->lock);
    if (use->segment->file.descriptor < 0) {
        use->segment->file = file;
        file.descriptor = -1;
    }
    use->file = use->segment->file;
    (void)pthread_mutex_unlock(&log->lock);
    segment_file_close(&file);
    return OK;
}

/* A missing file is damage, unless its segment has been pruned meanwhile. */
static enum error missing(struct segment_log *log, const struct segment_use *use,
                          struct error_text *why)
{
    bool is_pruned = true;
    (void)pthread_mutex_lock(&log->lock);
    for (size_t i = 0; i < log->segment_count; i++)
        is_pruned = is_pruned && log->segments[i] != use->segment;
    (void)pthread_mutex_unlock(&log->lock);
    return is_pruned ? error_set(why, ERROR_NOT_FOUND, "the entries have just been pruned")
                     : error_prefix(why, ERROR_CORRUPT, "a segment of the log is missing");
}

enum error segment_use_open(struct segment_log *log, struct segment_use *use,
                            struct error_text *why)
{
    enum error error = open_file(log, use, why);
    if (error == ERROR_NOT_FOUND)
        error = missing(log, use, why);
    return error;
}

enum error segment_use_seq(struct segment_log *log, uint64_t seq, struct segment_use *use,
                           struct error_text *why)
{
    (void)pthread_mutex_lock(&log->lock);
    bool is_found = log->first != 0 && seq + 1 >= log->first && seq <= log->durable.position.seq;
    uint64_t first = log->first;
    uint64_t last = log->durable.position.seq;
    if (is_found)
        segment_use_take(log, segment_find(log, seq), use);
    (void)pthread_mutex_unlock(&log->lock);
    if (!is_found)
        return error_set(why, ERROR_NOT_FOUND,
                         "seq %" PRIu64 " is not in the log, which has %" PRIu64 " to %" PRIu64,
                         seq, first, last);
    enum error error = segment_use_open(log, use, why);
    if (error != OK)
        segment_drop(log, use->segment);
    return error;
}

/* ---- index ---- */

/* Walks over the heads of a segment that is full, which is indexed once. Stops at damage: a read that
 * gets there reports it. */
static enum error index_segment(struct segment_log *log, const struct segment_use *use,
                                struct error_text *why)
{
    struct segment *segment = use->segment;
    struct segment_index index = {0};
    struct segment_walk walk = segment_use_walk(log, use);
    enum error error = OK;
    if (!segment_index_reserve(&index, segment->head.size))
        return error_set(why, ERROR_NO_MEMORY, "read the log: out of memory");
    while (error == OK && walk.end.position.seq < use->last_seq) {
        error = segment_walk_head(&walk, why);
        if (error == OK)
            segment_index_add(&index, walk.record.entry.first_seq, walk.record_offset);
    }
    segment_walk_release(&walk);
    if (error == ERROR_NOT_FOUND || error == ERROR_CORRUPT)
        error = OK;
    (void)pthread_mutex_lock(&log->lock);
    if (error == OK && !segment->is_indexed) {
        struct segment_index unused = segment->index;
        segment->index = index;
        segment->is_indexed = true;
        index = unused;
    }
    (void)pthread_mutex_unlock(&log->lock);
    free(index.marks);
    return error;
}

/* Sets walk to the last mark at or before seq. */
static void go_to_mark(struct segment_log *log, const struct segment_use *use, uint64_t seq,
                       struct segment_walk *walk)
{
    (void)pthread_mutex_lock(&log->lock);
    const struct segment_index *index = &use->segment->index;
    size_t low = 0;
    for (size_t high = index->count; low < high;) {
        size_t middle = low + (high - low) / 2;
        if (index->marks[middle].seq <= seq)
            low = middle + 1;
        else
            high = middle;
    }
    if (low > 1) {
        walk->offset = index->marks[low - 1].offset;
        walk->end = (struct segment_log_end){.position.seq = index->marks[low - 1].seq - 1};
        walk->knows_end = false;
    }
    (void)pthread_mutex_unlock(&log->lock);
}

struct segment_walk segment_use_walk(struct segment_log *log, const struct segment_use *use)
{
    return (struct segment_walk){.folder = log->folder,
                                 .file = &use->file,
                                 .key = use->segment->head.key,
                                 .overwrite = &log->overwrite,
                                 .offset = SEGMENT_HEAD_BYTES,
                                 .end = use->segment->head.base,
                                 .knows_end = true};
}

enum error segment_use_damage(const struct segment_log *log, const struct segment_walk *walk,
                              struct error_text *why)
{
    char path[SEGMENT_PATH_SIZE];
    segment_file_name(path, log->folder, walk->file->number);
    return error_set(why, ERROR_CORRUPT,
                     "%s: the record of seq %" PRIu64 " at byte %" PRIu64
                     " is damaged; restore the log from another server",
                     path, walk->end.position.seq + 1, walk->offset);
}

enum error segment_use_seek(struct segment_log *log, const struct segment_use *use, uint64_t seq,
                            struct segment_walk *walk, struct error_text *why)
{
    enum error error = OK;
    (void)pthread_mutex_lock(&log->lock);
    bool is_indexed = use->segment->is_indexed;
    (void)pthread_mutex_unlock(&log->lock);
    if (!is_indexed)
        error = index_segment(log, use, why);
    if (error != OK)
        return error;
    go_to_mark(log, use, seq, walk);
    for (;;) {
        struct segment_walk before = *walk;
        error = segment_walk_head(walk, why);
        if (error == ERROR_NOT_FOUND)
            return segment_use_damage(log, walk, why);
        if (error != OK)
            return error;
        if (walk->end.position.seq >= seq) {
            walk->offset = before.offset;
            walk->end = before.end;
            walk->knows_end = before.knows_end;
            return OK;
        }
    }
}
