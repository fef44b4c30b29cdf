/* SPDX-License-Identifier: MIT */
/* Bytes of durable records change in place, behind a file that says which: a redo log of one step.
 *
 *   save     the file `overwrite` with all ranges, synced with its name
 *   show     from now on, readers get the new bytes, whatever the segment holds
 *   settle   writes the ranges into the segment, syncs it, and removes the file
 *
 * If a loss of power brings the name back, the next open writes the same bytes again. The segment has no newer ones:
 * the next save replaces the file, and syncs the name, before they are written.
 * A crash after save leaves the file, and the next open settles it. A file that is torn has no valid hash:
 * then the segment has not changed. */
#include "segment_log/segment_internal.h"

#include <stdlib.h>
#include <string.h>

void segment_overwrite_init(struct segment_overwrite *overwrite)
{
    *overwrite = (struct segment_overwrite){0};
    (void)pthread_rwlock_init(&overwrite->lock, NULL);
}

static void forget(struct segment_overwrite *overwrite)
{
    free(overwrite->bytes);
    overwrite->bytes = NULL;
    overwrite->size = 0;
    overwrite->capacity = 0;
    overwrite->number = 0;
}

void segment_overwrite_release(struct segment_overwrite *overwrite)
{
    forget(overwrite);
    (void)pthread_rwlock_destroy(&overwrite->lock);
}

/* ---- reading ---- */

static void show_range(const struct segment_range *range, uint8_t *bytes, size_t size,
                       uint64_t offset)
{
    uint64_t from = range->offset > offset ? range->offset : offset;
    uint64_t range_end = range->offset + range->size;
    uint64_t to = range_end < offset + size ? range_end : offset + size;
    if (from < to)
        memcpy(bytes + (from - offset), range->bytes + (from - range->offset), (size_t)(to - from));
}

enum error segment_overwrite_read(struct segment_overwrite *overwrite,
                                  const struct segment_file *file, const char *folder, void *bytes,
                                  size_t size, uint64_t offset, struct error_text *why)
{
    if (overwrite == NULL)
        return segment_file_read(file, folder, bytes, size, offset, why);
    (void)pthread_rwlock_rdlock(&overwrite->lock);
    enum error error = segment_file_read(file, folder, bytes, size, offset, why);
    if (error == OK && overwrite->number == file->number) {
        struct segment_range range = {.next = SEGMENT_OVERWRITE_HEAD_BYTES};
        while (segment_range_decode(&range, overwrite->bytes, overwrite->size))
            show_range(&range, bytes, size, offset);
    }
    (void)pthread_rwlock_unlock(&overwrite->lock);
    return error;
}

static enum error load_bytes(struct segment_overwrite *overwrite, const struct segment_file *file,
                             const char *folder, struct error_text *why)
{
    if (file->size < SEGMENT_OVERWRITE_HEAD_BYTES || file->size > SEGMENT_OVERWRITE_BYTES_MAX)
        return OK; /* torn */
    overwrite->bytes = malloc((size_t)file->size);
    if (overwrite->bytes == NULL)
        return error_set(why, ERROR_NO_MEMORY, "read the log: out of memory");
    overwrite->size = (size_t)file->size;
    enum error error = segment_file_read(file, folder, overwrite->bytes, overwrite->size, 0, why);
    if (error != OK || !segment_overwrite_decode(overwrite->bytes, overwrite->size,
                                                 &overwrite->number, overwrite->key))
        forget(overwrite);
    return error;
}

enum error segment_overwrite_load(struct segment_overwrite *overwrite, const char *folder,
                                  struct error_text *why)
{
    struct segment_file file;
    enum error error = segment_file_open(&file, folder, SEGMENT_OVERWRITE_NUMBER, false, why);
    if (error == ERROR_NOT_FOUND)
        return OK;
    if (error != OK)
        return error;
    overwrite->has_file = true;
    error = load_bytes(overwrite, &file, folder, why);
    segment_file_close(&file);
    return error;
}

void segment_overwrite_check(struct segment_overwrite *overwrite, const struct segment_head *head)
{
    if (head == NULL || memcmp(head->key, overwrite->key, sizeof head->key) != 0)
        forget(overwrite);
}

/* ---- making ---- */

static enum error reserve(struct segment_overwrite *overwrite, size_t more)
{
    size_t wanted = overwrite->size + more;
    if (wanted > SEGMENT_OVERWRITE_BYTES_MAX)
        return ERROR_TOO_LARGE;
    if (wanted <= overwrite->capacity)
        return OK;
    size_t larger = wanted > 2 * overwrite->capacity ? wanted : 2 * overwrite->capacity;
    uint8_t *moved = realloc(overwrite->bytes, larger);
    if (moved == NULL)
        return ERROR_NO_MEMORY;
    overwrite->bytes = moved;
    overwrite->capacity = larger;
    return OK;
}

enum error segment_overwrite_add(struct segment_overwrite *overwrite, uint64_t offset,
                                 const uint8_t *bytes, size_t size)
{
    size_t head = overwrite->size == 0 ? SEGMENT_OVERWRITE_HEAD_BYTES : 0;
    enum error error = reserve(overwrite, head + SEGMENT_RANGE_HEAD_BYTES + size);
    if (error != OK)
        return error;
    overwrite->size += head;
    segment_range_encode(overwrite->bytes + overwrite->size, offset, bytes, size);
    overwrite->size += SEGMENT_RANGE_HEAD_BYTES + size;
    return OK;
}

static enum error write_file(const struct segment_overwrite *made, const char *folder,
                             struct error_text *why)
{
    struct segment_file file;
    enum error error =
        segment_file_create(&file, folder, SEGMENT_OVERWRITE_NUMBER, made->size, why);
    if (error != OK)
        return error;
    error = segment_file_write(&file, folder, made->bytes, made->size, 0, why);
    if (error == OK)
        error = segment_file_sync(&file, folder, why);
    segment_file_close(&file);
    return error;
}

enum error segment_overwrite_save(struct segment_overwrite *overwrite,
                                  struct segment_overwrite *made, const struct segment_head *head,
                                  const char *folder, struct error_text *why)
{
    ASSERT(overwrite->number == 0);
    segment_overwrite_encode(made->bytes, made->size, head);
    overwrite->has_file = true;
    enum error error = write_file(made, folder, why);
    if (error != OK)
        return error;
    (void)pthread_rwlock_wrlock(&overwrite->lock);
    overwrite->bytes = made->bytes;
    overwrite->size = made->size;
    overwrite->capacity = made->capacity;
    overwrite->number = head->number;
    (void)pthread_rwlock_unlock(&overwrite->lock);
    made->bytes = NULL;
    forget(made);
    return OK;
}

/* ---- settling ---- */

static enum error write_ranges(const struct segment_overwrite *overwrite,
                               const struct segment_file *file, const char *folder,
                               struct error_text *why)
{
    struct segment_range range = {.next = SEGMENT_OVERWRITE_HEAD_BYTES};
    enum error error = OK;
    while (error == OK && segment_range_decode(&range, overwrite->bytes, overwrite->size))
        error = segment_file_write(file, folder, range.bytes, range.size, range.offset, why);
    return error == OK ? segment_file_sync(file, folder, why) : error;
}

static enum error write_segment(const struct segment_overwrite *overwrite, const char *folder,
                                struct error_text *why)
{
    struct segment_file file;
    enum error error = segment_file_open(&file, folder, overwrite->number, true, why);
    if (error == ERROR_NOT_FOUND)
        return OK; /* it was pruned */
    if (error != OK)
        return error;
    error = write_ranges(overwrite, &file, folder, why);
    segment_file_close(&file);
    return error;
}

enum error segment_overwrite_settle(struct segment_overwrite *overwrite, const char *folder,
                                    struct error_text *why)
{
    enum error error = OK;
    if (!overwrite->has_file)
        return OK;
    if (overwrite->number != 0)
        error = write_segment(overwrite, folder, why);
    if (error == OK)
        error = segment_file_remove(folder, SEGMENT_OVERWRITE_NUMBER, why);
    if (error != OK)
        return error;
    (void)pthread_rwlock_wrlock(&overwrite->lock);
    forget(overwrite);
    (void)pthread_rwlock_unlock(&overwrite->lock);
    overwrite->has_file = false;
    return OK;
}
