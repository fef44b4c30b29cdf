/* SPDX-License-Identifier: MIT */
/* The segments of an open log: their memory, their references, their marks. */
#include "segment_log/segment_internal.h"

#include <stdlib.h>

struct segment *segment_new(uint64_t size)
{
    struct segment *segment = calloc(1, sizeof *segment);
    if (segment == NULL)
        return NULL;
    segment->file.descriptor = -1;
    segment->references = 1;
    if (!segment_index_reserve(&segment->index, size)) {
        free(segment);
        return NULL;
    }
    return segment;
}

void segment_free(struct segment *segment)
{
    if (segment == NULL)
        return;
    segment_file_close(&segment->file);
    free(segment->index.marks);
    free(segment);
}

bool segment_index_reserve(struct segment_index *index, uint64_t size)
{
    size_t wanted = (size_t)(size / SEGMENT_MARK_BYTES + 1);
    if (size == 0 || wanted <= index->capacity)
        return true;
    struct segment_mark *larger = realloc(index->marks, wanted * sizeof *larger);
    if (larger == NULL)
        return false;
    index->marks = larger;
    index->capacity = wanted;
    return true;
}

void segment_index_add(struct segment_index *index, uint64_t seq, uint64_t offset)
{
    if (index->count > 0 && offset < index->marks[index->count - 1].offset + SEGMENT_MARK_BYTES)
        return;
    ASSERT(index->count < index->capacity);
    index->marks[index->count++] = (struct segment_mark){.seq = seq, .offset = offset};
}

static bool reserve_table(struct segment_log *log)
{
    if (log->segment_count < log->segment_capacity)
        return true;
    size_t larger = log->segment_capacity == 0 ? 16 : 2 * log->segment_capacity;
    (void)pthread_mutex_lock(&log->lock);
    struct segment **moved = realloc(log->segments, larger * sizeof(struct segment *));
    if (moved != NULL) {
        log->segments = moved;
        log->segment_capacity = larger;
    }
    (void)pthread_mutex_unlock(&log->lock);
    return moved != NULL;
}

enum error segment_reserve(struct segment_log *log, uint64_t size)
{
    if (!reserve_table(log))
        return ERROR_NO_MEMORY;
    if (log->fresh == NULL)
        log->fresh = segment_new(size);
    return log->fresh != NULL && segment_index_reserve(&log->fresh->index, size) ? OK
                                                                                 : ERROR_NO_MEMORY;
}

void segment_add_fresh(struct segment_log *log)
{
    ASSERT(log->fresh != NULL && log->segment_count < log->segment_capacity);
    struct segment *newest = segment_newest(log);
    log->fresh->is_indexed = true;
    log->segments[log->segment_count++] = log->fresh;
    log->fresh = NULL;
    if (newest != NULL && newest->references == 1)
        segment_file_close(&newest->file);
}

void segment_add_pruned(struct segment_log *log, struct segment *segment)
{
    segment->next = NULL;
    if (log->pruned_last == NULL)
        log->pruned_first = segment;
    else
        log->pruned_last->next = segment;
    log->pruned_last = segment;
    if (segment->references == 1)
        segment_file_close(&segment->file);
}

void segment_drop(struct segment_log *log, struct segment *segment)
{
    (void)pthread_mutex_lock(&log->lock);
    bool is_last = --segment->references == 0;
    bool is_unread = segment->references == 1 && !segment->is_removed;
    if (is_unread && segment != segment_newest(log))
        segment_file_close(&segment->file);
    (void)pthread_mutex_unlock(&log->lock);
    if (is_last)
        segment_free(segment);
}
