/* SPDX-License-Identifier: MIT */
/* All that a folder of segments holds, for the operator and for tests; changes nothing. */
#include "segment_log/segment_internal.h"

#include <inttypes.h>
#include <string.h>

struct inspection {
    char folder[SEGMENT_PATH_SIZE];
    segment_log_chain *chain;
    struct segment_survey survey;
    enum error (*visit)(void *context, const struct segment_log_item *item);
    void *context;
    bool is_damaged;
    struct segment_log_end end; /* of the segment before, if knows_end */
    bool knows_end;
    struct error_text *why;
};

static enum error show(struct inspection *inspection, struct segment_log_item item)
{
    if (item.problem == NULL)
        item.problem = "";
    return inspection->visit(inspection->context, &item);
}

/* Shows the damage, keeps the first sentence for the caller, and lets the inspection go on. */
static enum error show_damage(struct inspection *inspection, const struct segment_verdict *verdict,
                              uint64_t offset, const char *problem)
{
    if (!inspection->is_damaged)
        (void)error_set(inspection->why, ERROR_CORRUPT, "%s", problem);
    inspection->is_damaged = true;
    inspection->knows_end = false;
    return show(inspection, (struct segment_log_item){.kind = SEGMENT_LOG_ITEM_DAMAGE,
                                                      .number = verdict->file.number,
                                                      .offset = offset,
                                                      .size = verdict->file.size - offset,
                                                      .problem = problem});
}

static enum error show_entries(struct inspection *inspection, struct segment_walk *walk,
                               struct error_text *problem)
{
    enum error error;
    while ((error = segment_walk_next(walk, problem)) == OK) {
        struct segment_log_item item = {.kind = SEGMENT_LOG_ITEM_ENTRY,
                                        .number = walk->file->number,
                                        .offset = walk->record_offset,
                                        .size = walk->offset - walk->record_offset,
                                        .entry = walk->record.entry,
                                        .end = walk->end,
                                        .synced_seq = walk->record.synced_seq};
        enum error stop = show(inspection, item);
        if (stop != OK)
            return stop;
    }
    return error;
}

/* Shows the bytes behind the last valid record of the newest segment. */
static enum error show_tail(struct inspection *inspection, const struct segment_verdict *verdict,
                            const struct segment_walk *walk)
{
    enum segment_tail_state state;
    uint64_t content_end;
    struct error_text problem;
    enum error error =
        segment_survey_tail(&inspection->survey, walk, &state, &content_end, &problem);
    if (error != OK)
        return error_set(inspection->why, error, "%s", problem.text);
    if (state == SEGMENT_TAIL_DAMAGED)
        return show_damage(inspection, verdict, walk->offset, problem.text);
    inspection->end = walk->end;
    inspection->knows_end = true;
    if (state == SEGMENT_TAIL_CLEAN)
        return OK;
    return show(inspection, (struct segment_log_item){.kind = SEGMENT_LOG_ITEM_TORN,
                                                      .number = walk->file->number,
                                                      .offset = walk->offset,
                                                      .size = content_end - walk->offset,
                                                      .end = walk->end});
}

/* A segment that is not the newest is full: the next one begins where its valid records end. */
static enum error show_full_end(struct inspection *inspection,
                                const struct segment_verdict *verdict,
                                const struct segment_walk *walk)
{
    struct error_text problem;
    const struct segment_verdict *next = verdict + 1;
    char path[SEGMENT_PATH_SIZE];
    inspection->end = walk->end;
    inspection->knows_end = true;
    if (next->state != SEGMENT_IN_USE || walk->end.position.seq >= next->head.base.position.seq)
        return OK;
    segment_file_name(path, inspection->folder, verdict->file.number);
    (void)error_set(&problem, ERROR_CORRUPT,
                    "%s: the record of seq %" PRIu64 " at byte %" PRIu64 " is damaged", path,
                    walk->end.position.seq + 1, walk->offset);
    return show_damage(inspection, verdict, walk->offset, problem.text);
}

static bool is_same(const struct segment_log_end *left, const struct segment_log_end *right)
{
    return log_position_compare(left->position, right->position) == 0 &&
           left->bytes == right->bytes &&
           memcmp(left->digest, right->digest, LOG_DIGEST_BYTES) == 0;
}

static enum error show_base(struct inspection *inspection, const struct segment_verdict *verdict)
{
    struct error_text problem;
    char path[SEGMENT_PATH_SIZE];
    if (!inspection->knows_end || is_same(&inspection->end, &verdict->head.base))
        return OK;
    segment_file_name(path, inspection->folder, verdict->file.number);
    (void)error_set(&problem, ERROR_CORRUPT, "%s: the head at byte 0 does not follow seq %" PRIu64,
                    path, inspection->end.position.seq);
    return show_damage(inspection, verdict, 0, problem.text);
}

static enum error show_records(struct inspection *inspection, const struct segment_verdict *verdict,
                               const struct segment_file *file)
{
    struct error_text problem;
    struct segment_walk walk = {.folder = inspection->folder,
                                .file = file,
                                .key = verdict->head.key,
                                .overwrite = &inspection->survey.overwrite,
                                .chain = inspection->chain,
                                .offset = SEGMENT_HEAD_BYTES,
                                .end = verdict->head.base,
                                .knows_end = true};
    enum error error = show_entries(inspection, &walk, &problem);
    if (error == ERROR_CORRUPT)
        error = show_damage(inspection, verdict, walk.offset, problem.text);
    else if (error == ERROR_NOT_FOUND)
        error = verdict == segment_survey_newest(&inspection->survey)
                    ? show_tail(inspection, verdict, &walk)
                    : show_full_end(inspection, verdict, &walk);
    segment_walk_release(&walk);
    return error;
}

static enum error show_segment(struct inspection *inspection, const struct segment_verdict *verdict)
{
    struct segment_file file;
    enum error error = show(inspection, (struct segment_log_item){.kind = SEGMENT_LOG_ITEM_SEGMENT,
                                                                  .number = verdict->file.number,
                                                                  .size = verdict->file.size,
                                                                  .end = verdict->head.base});
    if (error == OK)
        error = show_base(inspection, verdict);
    if (error == OK)
        error = segment_file_open(&file, inspection->folder, verdict->file.number, false,
                                  inspection->why);
    if (error != OK)
        return error;
    error = show_records(inspection, verdict, &file);
    segment_file_close(&file);
    return error;
}

static enum error show_unused(struct inspection *inspection, const struct segment_verdict *verdict)
{
    enum segment_tail_state state = SEGMENT_TAIL_CLEAN;
    struct error_text problem;
    const struct segment_verdict *newest = segment_survey_newest(&inspection->survey);
    uint64_t seq = inspection->knows_end ? inspection->end.position.seq : 0;
    enum error error = OK;
    if (newest == NULL || inspection->knows_end)
        error =
            segment_survey_trace(&inspection->survey, inspection->folder, seq, &state, &problem);
    if (error != OK)
        return error_set(inspection->why, error, "%s", problem.text);
    if (state == SEGMENT_TAIL_DAMAGED)
        return show_damage(inspection, verdict, 0, problem.text);
    return show(inspection, (struct segment_log_item){.kind = state == SEGMENT_TAIL_TORN
                                                                  ? SEGMENT_LOG_ITEM_TORN
                                                                  : SEGMENT_LOG_ITEM_SPARE,
                                                      .number = verdict->file.number,
                                                      .size = verdict->file.size,
                                                      .end = inspection->end});
}

static enum error show_file(struct inspection *inspection, const struct segment_verdict *verdict)
{
    switch (verdict->state) {
    case SEGMENT_IN_USE:
        return show_segment(inspection, verdict);
    case SEGMENT_UNUSED:
        return show_unused(inspection, verdict);
    case SEGMENT_OLD:
        return show(inspection, (struct segment_log_item){.kind = SEGMENT_LOG_ITEM_OLD,
                                                          .number = verdict->file.number,
                                                          .size = verdict->file.size});
    default:
        return show_damage(inspection, verdict, 0, verdict->problem.text);
    }
}

enum error segment_log_inspect(const char *folder, segment_log_chain *chain,
                               enum error (*visit)(void *context,
                                                   const struct segment_log_item *item),
                               void *context, struct error_text *why)
{
    struct inspection inspection = {.chain = chain == NULL ? segment_log_chain_bytes : chain,
                                    .visit = visit,
                                    .context = context,
                                    .why = why};
    enum error error = segment_folder_name(inspection.folder, folder, why);
    if (error == OK)
        error = segment_survey_take(&inspection.survey, inspection.folder, why);
    for (size_t i = 0; i < inspection.survey.count && error == OK; i++)
        error = show_file(&inspection, &inspection.survey.files[i]);
    segment_survey_release(&inspection.survey);
    return error == OK && inspection.is_damaged ? ERROR_CORRUPT : error;
}
