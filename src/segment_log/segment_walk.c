/* SPDX-License-Identifier: MIT */
/* The walk over the records of one segment, and the search for a record behind a bad one.
 *
 * A record is valid by a hash under the segment's own random key, which no client knows. So bytes that
 * a client sends are never taken for a record. */
#include "segment_log/segment_internal.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#define CHUNK_BYTES 65536u

/* Makes [offset, offset + size) of the file available in the buffer; the range is in the file. */
static enum error load(struct segment_walk *walk, uint64_t offset, size_t size,
                       struct error_text *why)
{
    if (walk->buffer_used > 0 && offset >= walk->buffer_offset &&
        offset + size <= walk->buffer_offset + walk->buffer_used)
        return OK;
    size_t wanted = size > CHUNK_BYTES ? size : CHUNK_BYTES;
    if (wanted > walk->buffer_size) {
        uint8_t *larger = realloc(walk->buffer, wanted);
        if (larger == NULL)
            return error_set(why, ERROR_NO_MEMORY, "read the log: out of memory");
        walk->buffer = larger;
        walk->buffer_size = wanted;
    }
    uint64_t left = walk->file->size - offset;
    walk->buffer_used = 0;
    if (wanted > left)
        wanted = (size_t)left;
    enum error error = segment_overwrite_read(walk->overwrite, walk->file, walk->folder,
                                              walk->buffer, wanted, offset, why);
    if (error == OK) {
        walk->buffer_offset = offset;
        walk->buffer_used = wanted;
    }
    return error;
}

static enum error contradiction(const struct segment_walk *walk, const char *what,
                                struct error_text *why)
{
    char path[SEGMENT_PATH_SIZE];
    segment_file_name(path, walk->folder, walk->file->number);
    return error_set(why, ERROR_CORRUPT,
                     "%s: the record of seq %" PRIu64 " at byte %" PRIu64
                     " %s; restore the log from another server",
                     path, walk->record.entry.first_seq, walk->record_offset, what);
}

static enum error check_place(const struct segment_walk *walk, struct error_text *why)
{
    const struct segment_record *record = &walk->record;
    const struct log_entry *entry = &record->entry;
    const struct segment_log_end *end = &walk->end;
    if (entry->first_seq != end->position.seq + 1 || entry->last_seq < entry->first_seq ||
        entry->last_seq > INT64_MAX || record->synced_seq >= entry->first_seq)
        return contradiction(walk, "does not follow the one before it", why);
    if (walk->knows_end &&
        (entry->epoch < end->position.epoch || record->end_bytes != end->bytes + entry->size))
        return contradiction(walk, "contradicts the one before it", why);
    return OK;
}

enum error segment_walk_head(struct segment_walk *walk, struct error_text *why)
{
    if (walk->offset + SEGMENT_RECORD_HEAD_BYTES > walk->file->size)
        return ERROR_NOT_FOUND;
    enum error error = load(walk, walk->offset, SEGMENT_RECORD_HEAD_BYTES, why);
    if (error != OK)
        return error;
    const uint8_t *bytes = walk->buffer + (walk->offset - walk->buffer_offset);
    if (!segment_record_decode(&walk->record, bytes, walk->key, walk->offset, walk->file->size))
        return ERROR_NOT_FOUND;
    walk->record_offset = walk->offset;
    error = check_place(walk, why);
    if (error != OK)
        return error;
    walk->offset += segment_record_bytes(walk->record.entry.size);
    walk->end = segment_record_end(&walk->record);
    walk->knows_end = true;
    return OK;
}

/* Decodes the head again: a rewrite may have changed the record since. One load has both of one time. */
enum error segment_walk_payload(struct segment_walk *walk, struct error_text *why)
{
    size_t size = (size_t)segment_record_bytes(walk->record.entry.size);
    enum error error = load(walk, walk->record_offset, size, why);
    if (error != OK)
        return error;
    const uint8_t *bytes = walk->buffer + (walk->record_offset - walk->buffer_offset);
    const uint8_t *payload = bytes + SEGMENT_RECORD_HEAD_BYTES;
    if (!segment_record_decode(&walk->record, bytes, walk->key, walk->record_offset,
                               walk->file->size) ||
        !segment_record_has_payload(&walk->record, payload, walk->key))
        return ERROR_NOT_FOUND;
    walk->record.entry.bytes = payload;
    return OK;
}

static enum error check_digest(const struct segment_walk *walk,
                               const uint8_t before[static LOG_DIGEST_BYTES],
                               struct error_text *why)
{
    uint8_t digest[LOG_DIGEST_BYTES];
    struct log_entry entry = walk->record.entry;
    memset(entry.digest, 0, sizeof entry.digest);
    memcpy(digest, before, sizeof digest);
    walk->chain(digest, &entry);
    if (memcmp(digest, walk->record.entry.digest, sizeof digest) != 0)
        return contradiction(walk, "does not fit the digest of the log", why);
    return OK;
}

enum error segment_walk_next(struct segment_walk *walk, struct error_text *why)
{
    struct segment_log_end end = walk->end;
    uint64_t offset = walk->offset;
    bool knows_end = walk->knows_end;
    enum error error = segment_walk_head(walk, why);
    if (error == OK)
        error = segment_walk_payload(walk, why);
    if (error == OK && walk->chain != NULL && knows_end)
        error = check_digest(walk, end.digest, why);
    if (error != OK) {
        walk->end = end;
        walk->offset = offset;
        walk->knows_end = knows_end;
    }
    return error;
}

void segment_walk_release(struct segment_walk *walk)
{
    free(walk->buffer);
    walk->buffer = NULL;
    walk->buffer_size = 0;
    walk->buffer_used = 0;
}

/* ---- search ---- */

/* The aim of a search. key NULL: a trace. */
struct wanted {
    const uint8_t *key;
    uint64_t seq;
};

static bool is_wanted(const struct wanted *wanted, const uint8_t *bytes, uint64_t offset,
                      uint64_t size)
{
    struct segment_record record;
    if (!segment_record_decode(&record, bytes, wanted->key, offset, size))
        return false;
    return wanted->key != NULL ? record.synced_seq >= wanted->seq
                               : record.synced_seq != wanted->seq;
}

/* Searches at all offsets of records. The hash of a record's head covers 104 bytes, so bytes of a client
 * that look like heads cost little. */
static enum error search(struct segment_walk *walk, const struct wanted *wanted, uint64_t *offset,
                         struct error_text *why)
{
    uint64_t at = (walk->offset + SEGMENT_ALIGNMENT - 1) / SEGMENT_ALIGNMENT * SEGMENT_ALIGNMENT;
    for (; at + SEGMENT_RECORD_HEAD_BYTES <= walk->file->size; at += SEGMENT_ALIGNMENT) {
        enum error error = load(walk, at, SEGMENT_RECORD_HEAD_BYTES, why);
        if (error != OK)
            return error;
        if (is_wanted(wanted, walk->buffer + (at - walk->buffer_offset), at, walk->file->size)) {
            *offset = at;
            return OK;
        }
    }
    return ERROR_NOT_FOUND;
}

enum error segment_find_proof(const struct segment_walk *stop, uint64_t seq, uint64_t *offset,
                              struct error_text *why)
{
    struct segment_walk walk = {.folder = stop->folder,
                                .file = stop->file,
                                .overwrite = stop->overwrite,
                                .offset = stop->offset};
    enum error error = search(&walk, &(struct wanted){.key = stop->key, .seq = seq}, offset, why);
    segment_walk_release(&walk);
    return error;
}

enum error segment_find_trace(const struct segment_file *file, const char *folder, uint64_t seq,
                              uint64_t *offset, struct error_text *why)
{
    struct segment_walk walk = {.folder = folder, .file = file};
    enum error error = search(&walk, &(struct wanted){.seq = seq}, offset, why);
    segment_walk_release(&walk);
    return error;
}
