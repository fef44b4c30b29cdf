/* SPDX-License-Identifier: MIT */
/* The entries, and the states between them, from any seq on. */
#include "segment_log/segment_internal.h"

#include <inttypes.h>
#include <string.h>

/* One call of segment_log_read. */
struct request {
    struct segment_log *log;
    enum error (*visit)(void *context, const struct log_entry *entry);
    void *context;
    uint64_t next_seq;
    uint64_t last_seq;          /* the end of the log when the call began */
    struct segment_log_end end; /* of the last segment that was read; seq 0: none was */
    struct error_text *why;
};

enum error segment_check_base(const struct segment_log *log, const struct segment *segment,
                              const struct segment_log_end *end, struct error_text *why)
{
    char path[SEGMENT_PATH_SIZE];
    const struct segment_log_end *base = &segment->head.base;
    if (log_position_compare(base->position, end->position) == 0 && base->bytes == end->bytes &&
        memcmp(base->digest, end->digest, LOG_DIGEST_BYTES) == 0)
        return OK;
    segment_file_name(path, log->folder, segment->head.number);
    return error_set(why, ERROR_CORRUPT,
                     "%s: the head at byte 0 does not follow seq %" PRIu64
                     "; restore the log from another server",
                     path, end->position.seq);
}

static enum error visit_next(struct request *request, struct segment_walk *walk, uint64_t last_seq)
{
    enum error error = segment_walk_next(walk, request->why);
    if (error == ERROR_NOT_FOUND || (error == OK && walk->end.position.seq > last_seq))
        return segment_use_damage(request->log, walk, request->why);
    return error == OK ? request->visit(request->context, &walk->record.entry) : error;
}

static enum error read_segment(struct request *request, const struct segment_use *use)
{
    uint64_t last = use->last_seq < request->last_seq ? use->last_seq : request->last_seq;
    struct segment_walk walk = segment_use_walk(request->log, use);
    enum error error = OK;
    if (request->end.position.seq != 0)
        error = segment_check_base(request->log, use->segment, &request->end, request->why);
    if (error == OK)
        error = segment_use_seek(request->log, use, request->next_seq, &walk, request->why);
    while (error == OK && walk.end.position.seq < last)
        error = visit_next(request, &walk, use->last_seq);
    request->end = walk.end;
    request->next_seq = walk.end.position.seq + 1;
    segment_walk_release(&walk);
    return error;
}

enum error segment_log_read(struct segment_log *log, uint64_t first_seq,
                            enum error (*visit)(void *context, const struct log_entry *entry),
                            void *context, struct error_text *why)
{
    struct request request = {
        .log = log, .visit = visit, .context = context, .next_seq = first_seq, .why = why};
    (void)pthread_mutex_lock(&log->lock);
    bool is_readable =
        log->first != 0 && first_seq >= log->first && first_seq <= log->durable.position.seq;
    request.last_seq = log->durable.position.seq;
    (void)pthread_mutex_unlock(&log->lock);
    if (!is_readable)
        return error_set(why, ERROR_NOT_FOUND, "seq %" PRIu64 " is not in the log", first_seq);
    enum error error = OK;
    while (error == OK && request.next_seq <= request.last_seq) {
        struct segment_use use;
        error = segment_use_seq(log, request.next_seq, &use, why);
        if (error == OK) {
            error = read_segment(&request, &use);
            segment_drop(log, use.segment);
        }
    }
    return error;
}

/* Finds the states that are in memory: the end of the log, and the bases of its segments. */
static bool find_known_end(struct segment_log *log, uint64_t seq, struct segment_log_end *end)
{
    bool is_found = false;
    (void)pthread_mutex_lock(&log->lock);
    if (seq == log->durable.position.seq) {
        *end = log->durable;
        is_found = true;
    }
    for (size_t i = 0; i < log->segment_count && !is_found; i++) {
        const struct segment_log_end *base = &log->segments[i]->head.base;
        is_found = base->position.seq == seq && seq + 1 >= log->first;
        if (is_found)
            *end = *base;
    }
    (void)pthread_mutex_unlock(&log->lock);
    return is_found;
}

enum error segment_log_end_at(struct segment_log *log, uint64_t seq, struct segment_log_end *end,
                              struct error_text *why)
{
    struct segment_use use;
    if (find_known_end(log, seq, end))
        return OK;
    enum error error = segment_use_seq(log, seq, &use, why);
    if (error != OK)
        return error;
    struct segment_walk walk = segment_use_walk(log, &use);
    error = segment_use_seek(log, &use, seq, &walk, why);
    if (error == OK)
        error = segment_walk_head(&walk, why);
    if (error == OK)
        *end = walk.end;
    segment_walk_release(&walk);
    segment_drop(log, use.segment);
    return error;
}
