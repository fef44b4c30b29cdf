/* SPDX-License-Identifier: MIT */
/* The content of a folder of segments. Open and inspect judge it by the same rules, and change nothing.
 *
 *   numbers    1 2 3 4 5      a valid head with `start` makes all lower numbers old
 *              o o S + u      o old, S start, + in use, u the newest file if it has no valid head
 *
 * The numbers from the start on have no gap. Before the first write to the next segment, all entries of
 * the one before it are durable. */
#include "segment_log/segment_internal.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#define ADVICE "restore the log from another server"

/* ---- heads ---- */

static void set_damage(struct segment_verdict *verdict, const char *folder, const char *what)
{
    char path[SEGMENT_PATH_SIZE];
    segment_file_name(path, folder, verdict->file.number);
    verdict->state = SEGMENT_DAMAGED;
    (void)error_set(&verdict->problem, ERROR_CORRUPT,
                    "%s: %s (byte 0, after seq %" PRIu64 "); " ADVICE, path, what,
                    verdict->head.base.position.seq);
}

static enum error judge_head(struct segment_verdict *verdict, const char *folder,
                             const uint8_t *bytes, struct error_text *why)
{
    enum error error = segment_head_decode(&verdict->head, bytes);
    if (error == ERROR_VERSION) {
        char path[SEGMENT_PATH_SIZE];
        segment_file_name(path, folder, verdict->file.number);
        return error_set(why, ERROR_VERSION,
                         "%s is of another version of the log; use the program that wrote it",
                         path);
    }
    if (error != OK)
        verdict->state = SEGMENT_UNUSED;
    else if (verdict->head.number != verdict->file.number)
        set_damage(verdict, folder, "the file has the name of another segment");
    else if (verdict->head.size != verdict->file.size)
        set_damage(verdict, folder, "the file has another size than its head says");
    else
        verdict->state = SEGMENT_IN_USE;
    return OK;
}

static enum error read_head(struct segment_verdict *verdict, const char *folder, uint64_t number,
                            struct error_text *why)
{
    uint8_t bytes[SEGMENT_HEAD_BYTES];
    enum error error = segment_file_open(&verdict->file, folder, number, false, why);
    if (error != OK)
        return error == ERROR_NOT_FOUND ? ERROR_IO : error;
    if (verdict->file.size < sizeof bytes) {
        verdict->state = SEGMENT_UNUSED;
    } else {
        error = segment_file_read(&verdict->file, folder, bytes, sizeof bytes, 0, why);
        if (error == OK)
            error = judge_head(verdict, folder, bytes, why);
    }
    segment_file_close(&verdict->file);
    return error;
}

/* ---- neighbours ---- */

static size_t find_start(const struct segment_survey *survey)
{
    for (size_t i = survey->count; i-- > 0;)
        if (survey->files[i].state == SEGMENT_IN_USE && survey->files[i].head.is_start)
            return i;
    return 0;
}

static bool follows(const struct segment_head *head, const struct segment_head *before)
{
    return log_position_compare(head->base.position, before->base.position) >= 0 &&
           head->base.position.seq >= before->base.position.seq &&
           head->base.bytes >= before->base.bytes;
}

static void judge_neighbours(struct segment_survey *survey, const char *folder)
{
    size_t start = find_start(survey);
    for (size_t i = 0; i < survey->count; i++) {
        struct segment_verdict *verdict = &survey->files[i];
        const struct segment_verdict *before = i > start ? &survey->files[i - 1] : NULL;
        bool is_newest = i + 1 == survey->count;
        if (i < start)
            verdict->state = SEGMENT_OLD;
        else if (verdict->state == SEGMENT_DAMAGED)
            continue;
        else if (verdict->state == SEGMENT_UNUSED && !is_newest)
            set_damage(verdict, folder, "the head of the segment is damaged");
        else if (before != NULL ? verdict->file.number != before->file.number + 1
                                : verdict->state == SEGMENT_UNUSED && verdict->file.number != 1)
            set_damage(verdict, folder, "the segment before it is missing");
        else if (before != NULL && before->state == SEGMENT_IN_USE &&
                 verdict->state == SEGMENT_IN_USE && !follows(&verdict->head, &before->head))
            set_damage(verdict, folder, "the segment does not follow the one before it");
    }
}

/* Returns the head of the segment in use of this number, or NULL. */
static const struct segment_head *find_head(const struct segment_survey *survey, uint64_t number)
{
    for (size_t i = 0; i < survey->count; i++)
        if (survey->files[i].state == SEGMENT_IN_USE && survey->files[i].file.number == number)
            return &survey->files[i].head;
    return NULL;
}

enum error segment_survey_take(struct segment_survey *survey, const char *folder,
                               struct error_text *why)
{
    uint64_t *numbers = NULL;
    size_t count = 0;
    *survey = (struct segment_survey){0};
    segment_overwrite_init(&survey->overwrite);
    survey->is_taken = true;
    enum error error = segment_folder_list(folder, &numbers, &count, why);
    if (error == OK)
        error = segment_overwrite_load(&survey->overwrite, folder, why);
    if (error == OK && count > 0) {
        survey->files = calloc(count, sizeof *survey->files);
        if (survey->files == NULL)
            error = error_set(why, ERROR_NO_MEMORY, "read the log: out of memory");
    }
    for (size_t i = 0; i < count && error == OK; i++, survey->count++) {
        struct segment_verdict *verdict = &survey->files[i];
        verdict->file.number = numbers[i];
        verdict->file.descriptor = -1;
        error = read_head(verdict, folder, numbers[i], &verdict->problem);
        if (error == ERROR_IO) {
            verdict->state = SEGMENT_DAMAGED;
            error = OK;
        } else if (error != OK) {
            (void)error_set(why, error, "%s", verdict->problem.text);
        }
    }
    free(numbers);
    if (error != OK) {
        segment_survey_release(survey);
        return error;
    }
    judge_neighbours(survey, folder);
    segment_overwrite_check(&survey->overwrite, find_head(survey, survey->overwrite.number));
    return OK;
}

void segment_survey_release(struct segment_survey *survey)
{
    if (survey->is_taken)
        segment_overwrite_release(&survey->overwrite);
    free(survey->files);
    *survey = (struct segment_survey){0};
}

const struct segment_verdict *segment_survey_newest(const struct segment_survey *survey)
{
    for (size_t i = survey->count; i-- > 0;)
        if (survey->files[i].state == SEGMENT_IN_USE)
            return &survey->files[i];
    return NULL;
}

const struct segment_verdict *segment_survey_unused(const struct segment_survey *survey)
{
    const struct segment_verdict *last =
        survey->count == 0 ? NULL : &survey->files[survey->count - 1];
    return last != NULL && last->state == SEGMENT_UNUSED ? last : NULL;
}

/* ---- tail ---- */

/* Sets *content_end of the unused file; to 0 if there is none, or if it holds zeros only. If seq is
 * not NULL, also *trace: a record head that no first batch after *seq has, or UINT64_MAX. */
static enum error read_unused(const struct segment_survey *survey, const char *folder,
                              uint64_t *content_end, const uint64_t *seq, uint64_t *trace,
                              struct error_text *why)
{
    const struct segment_verdict *unused = segment_survey_unused(survey);
    struct segment_file file;
    *content_end = 0;
    *trace = UINT64_MAX;
    if (unused == NULL)
        return OK;
    enum error error = segment_file_open(&file, folder, unused->file.number, false, why);
    if (error != OK)
        return error == ERROR_NOT_FOUND ? ERROR_IO : error;
    error = segment_file_content_end(&file, folder, 0, content_end, why);
    if (error == OK && seq != NULL && *content_end > 0) {
        error = segment_find_trace(&file, folder, *seq, trace, why);
        if (error == ERROR_NOT_FOUND)
            error = OK;
    }
    segment_file_close(&file);
    return error;
}

enum error segment_survey_trace(const struct segment_survey *survey, const char *folder,
                                uint64_t seq, enum segment_tail_state *state,
                                struct error_text *why)
{
    uint64_t content_end, trace;
    enum error error = read_unused(survey, folder, &content_end, &seq, &trace, why);
    if (error != OK)
        return error;
    *state = content_end == 0 ? SEGMENT_TAIL_CLEAN : SEGMENT_TAIL_TORN;
    if (trace != UINT64_MAX) {
        char path[SEGMENT_PATH_SIZE];
        segment_file_name(path, folder, segment_survey_unused(survey)->file.number);
        *state = SEGMENT_TAIL_DAMAGED;
        (void)error_set(why, ERROR_CORRUPT,
                        "%s: the head at byte 0 is damaged, and the record at byte %" PRIu64
                        " shows that the segment was in use after seq %" PRIu64 "; " ADVICE,
                        path, trace, seq);
    }
    return OK;
}

static void set_tail_damage(const struct segment_walk *walk, const char *proof, uint64_t offset,
                            struct error_text *why)
{
    char path[SEGMENT_PATH_SIZE];
    segment_file_name(path, walk->folder, walk->file->number);
    (void)error_set(why, ERROR_CORRUPT,
                    "%s: the record of seq %" PRIu64 " at byte %" PRIu64
                    " is damaged, and it was durable, as %s at byte %" PRIu64 " proves; " ADVICE,
                    path, walk->end.position.seq + 1, walk->offset, proof, offset);
}

/* There are bytes behind the last valid record. */
static enum error judge_rest(const struct segment_survey *survey, const struct segment_walk *walk,
                             enum segment_tail_state *state, struct error_text *why)
{
    uint64_t unused_end, offset;
    enum error error = read_unused(survey, walk->folder, &unused_end, NULL, &offset, why);
    if (error != OK)
        return error;
    *state = SEGMENT_TAIL_DAMAGED;
    error = segment_find_proof(walk, walk->end.position.seq + 1, &offset, why);
    if (error == OK) {
        set_tail_damage(walk, "the record", offset, why);
    } else if (error == ERROR_NOT_FOUND && unused_end > 0) {
        set_tail_damage(walk, "the next segment", 0, why);
        error = OK;
    } else if (error == ERROR_NOT_FOUND) {
        *state = SEGMENT_TAIL_TORN;
        error = OK;
    }
    return error;
}

enum error segment_survey_tail(const struct segment_survey *survey, const struct segment_walk *walk,
                               enum segment_tail_state *state, uint64_t *content_end,
                               struct error_text *why)
{
    enum error error =
        segment_file_content_end(walk->file, walk->folder, walk->offset, content_end, why);
    if (error != OK)
        return error;
    if (*content_end > walk->offset)
        return judge_rest(survey, walk, state, why);
    error = segment_survey_trace(survey, walk->folder, walk->end.position.seq, state, why);
    if (error == OK && *state == SEGMENT_TAIL_TORN)
        *state = SEGMENT_TAIL_CLEAN; /* only the unused file is torn, and that is removed */
    return error;
}
