/* SPDX-License-Identifier: MIT */
/* Opening a folder: judges first, and changes the disk only if there is no damage.
 *
 *   1 survey     the heads of all segments
 *   2 walk       the records of the newest segment in use; the end of the log
 *   3 judge      bytes behind the end are torn if no valid record says that they were durable, and
 *                the end is not before what this node acknowledged
 *   4 repair     ends a change of records that the process before began (segment_overwrite.c);
 *                writes the records again that no later one proves durable, and zeros up to the end of
 *                the file: after a failed fdatasync the page cache may differ from the disk
 *   5 remove     the newest file, if it has no head, and sync the folder: a head that a failed reset left
 *                on the disk must not come back */
#include "segment_log/segment_internal.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

struct recovery {
    struct segment_log *log;
    struct segment_survey survey;
    struct segment *newest; /* NULL: no segment is in use */
    struct segment_walk walk;
    uint64_t proven_seq; /* durable, by the head of the segment or by a later record */
    uint64_t unproven;   /* offset of the first record behind proven_seq; 0: the head too */
    struct error_text *why;
};

/* ---- survey ---- */

static enum error no_memory(const struct recovery *recovery)
{
    return error_set(recovery->why, ERROR_NO_MEMORY, "open the log: out of memory");
}

static enum error add_segment(struct recovery *recovery, const struct segment_verdict *verdict,
                              bool is_pruned)
{
    struct segment_log *log = recovery->log;
    uint64_t indexed = verdict == segment_survey_newest(&recovery->survey) ? verdict->file.size : 0;
    if (segment_reserve(log, indexed) != OK)
        return no_memory(recovery);
    struct segment *segment = log->fresh;
    log->fresh = NULL;
    segment->file = verdict->file;
    segment->head = verdict->head;
    if (is_pruned)
        segment_add_pruned(log, segment);
    else
        log->segments[log->segment_count++] = segment;
    return OK;
}

/* restart: all files are as old as those before a reset. */
static enum error load_segments(struct recovery *recovery, bool restart)
{
    struct segment_log *log = recovery->log;
    for (size_t i = 0; i < recovery->survey.count; i++) {
        const struct segment_verdict *verdict = &recovery->survey.files[i];
        enum error error = OK;
        if (verdict->state == SEGMENT_DAMAGED && !restart)
            return error_set(recovery->why, ERROR_CORRUPT, "%s", verdict->problem.text);
        log->next_number = verdict->file.number;
        if (verdict->state != SEGMENT_UNUSED) {
            log->next_number++;
            error = add_segment(recovery, verdict, restart || verdict->state == SEGMENT_OLD);
        }
        if (error != OK)
            return error;
    }
    recovery->newest = segment_newest(log);
    return OK;
}

/* ---- walk ---- */

static void note_record(struct recovery *recovery)
{
    const struct segment_record *record = &recovery->walk.record;
    uint64_t offset = recovery->walk.record_offset;
    segment_index_add(&recovery->newest->index, record->entry.first_seq, offset);
    recovery->log->last_entry_seq = record->entry.first_seq;
    if (record->synced_seq > recovery->proven_seq) {
        recovery->proven_seq = record->synced_seq;
        recovery->unproven = offset;
    }
}

static enum error walk_newest(struct recovery *recovery)
{
    struct segment_log *log = recovery->log;
    struct segment *newest = recovery->newest;
    enum error error =
        segment_file_open(&newest->file, log->folder, newest->head.number, true, recovery->why);
    if (error != OK)
        return error == ERROR_NOT_FOUND ? ERROR_IO : error;
    recovery->proven_seq = newest->head.base.position.seq;
    recovery->walk = (struct segment_walk){.folder = log->folder,
                                           .file = &newest->file,
                                           .key = newest->head.key,
                                           .overwrite = &recovery->survey.overwrite,
                                           .chain = log->chain,
                                           .offset = SEGMENT_HEAD_BYTES,
                                           .end = newest->head.base,
                                           .knows_end = true};
    if (log->segment_count > 1)
        log->last_entry_seq = log->segments[log->segment_count - 2]->head.base.position.seq + 1;
    while ((error = segment_walk_next(&recovery->walk, recovery->why)) == OK)
        note_record(recovery);
    return error == ERROR_NOT_FOUND ? OK : error;
}

/* ---- judge ---- */

static enum error judge_tail(struct recovery *recovery)
{
    enum segment_tail_state state;
    uint64_t content_end;
    enum error error = recovery->newest != NULL
                           ? segment_survey_tail(&recovery->survey, &recovery->walk, &state,
                                                 &content_end, recovery->why)
                           : segment_survey_trace(&recovery->survey, recovery->log->folder, 0,
                                                  &state, recovery->why);
    if (error != OK)
        return error;
    return state == SEGMENT_TAIL_DAMAGED ? ERROR_CORRUPT : OK;
}

static enum error judge_acked(const struct recovery *recovery, struct log_position acked)
{
    const struct segment_log_end *end = &recovery->walk.end;
    char path[SEGMENT_PATH_SIZE];
    if (log_position_compare(end->position, acked) >= 0)
        return OK;
    segment_file_name(path, recovery->log->folder,
                      recovery->newest == NULL ? 1 : recovery->newest->head.number);
    return error_set(recovery->why, ERROR_CORRUPT,
                     "%s: the log ends at byte %" PRIu64 " after seq %" PRIu64 " of epoch %" PRIu64
                     ", before seq %" PRIu64 " of epoch %" PRIu64
                     ", which this server acknowledged; restore the log from another server",
                     path, recovery->walk.offset, end->position.seq, end->position.epoch, acked.seq,
                     acked.epoch);
}

/* ---- repair ---- */

static enum error rewrite(const struct recovery *recovery)
{
    const struct segment_file *file = &recovery->newest->file;
    const char *folder = recovery->log->folder;
    uint8_t bytes[4096];
    enum error error = OK;
    for (uint64_t at = recovery->unproven; at < recovery->walk.offset && error == OK;) {
        uint64_t left = recovery->walk.offset - at;
        size_t size = left < sizeof bytes ? (size_t)left : sizeof bytes;
        error = segment_file_read(file, folder, bytes, size, at, recovery->why);
        if (error == OK)
            error = segment_file_write(file, folder, bytes, size, at, recovery->why);
        at += size;
    }
    return error;
}

static enum error repair(struct recovery *recovery)
{
    const struct segment_verdict *unused = segment_survey_unused(&recovery->survey);
    const char *folder = recovery->log->folder;
    enum error error = segment_overwrite_settle(&recovery->survey.overwrite, folder, recovery->why);
    if (error == OK && recovery->newest != NULL) {
        error = segment_file_zero(&recovery->newest->file, folder, recovery->walk.offset,
                                  recovery->newest->head.size, recovery->why);
        if (error == OK)
            error = rewrite(recovery);
        if (error == OK)
            error = segment_file_sync(&recovery->newest->file, folder, recovery->why);
    }
    if (error == OK && unused != NULL)
        error = segment_file_remove(folder, unused->file.number, recovery->why);
    return error == OK ? segment_folder_sync(folder, recovery->why) : error;
}

static void take_end(struct recovery *recovery)
{
    struct segment_log *log = recovery->log;
    if (recovery->newest != NULL) {
        uint64_t base_seq = log->segments[0]->head.base.position.seq;
        recovery->newest->is_indexed = true;
        log->tail = recovery->walk.offset;
        log->durable = recovery->walk.end;
        log->first = log->durable.position.seq > base_seq ? base_seq + 1 : 0;
    }
    log->end = log->durable;
}

static enum error recover(struct recovery *recovery, const struct segment_log_options *options)
{
    enum error error = load_segments(recovery, options->restart != NULL);
    if (error != OK || options->restart != NULL)
        return error;
    if (recovery->newest != NULL)
        error = walk_newest(recovery);
    if (error == OK)
        error = judge_tail(recovery);
    if (error == OK)
        error = judge_acked(recovery, options->acked);
    if (error == OK)
        error = repair(recovery);
    if (error == OK)
        take_end(recovery);
    return error;
}

enum error segment_recover(struct segment_log *log, const struct segment_log_options *options,
                           struct error_text *why)
{
    struct recovery recovery = {.log = log, .why = why};
    enum error error = segment_survey_take(&recovery.survey, log->folder, why);
    if (error == OK)
        error = recover(&recovery, options);
    segment_walk_release(&recovery.walk);
    segment_survey_release(&recovery.survey);
    return error == ERROR_NOT_FOUND ? ERROR_IO : error;
}
