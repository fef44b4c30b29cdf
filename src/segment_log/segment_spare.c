/* SPDX-License-Identifier: MIT */
/* The file of the next segment has its final name from the start, because a newest file without a valid
 * head is not in use. So the first batch, which brings the head, needs no rename. */
#include "segment_log/segment_internal.h"

#include <sodium.h>
#include <string.h>

static void set_spare(struct segment_log *log, struct segment_file file, bool is_lent)
{
    (void)pthread_mutex_lock(&log->lock);
    log->spare = file;
    log->is_spare_lent = is_lent;
    (void)pthread_mutex_unlock(&log->lock);
}

static const struct segment_file no_file = {.descriptor = -1};

/* spare_lock is held. Replaces a spare of another size. */
static enum error make(struct segment_log *log, uint64_t size, struct error_text *why)
{
    uint64_t whole = size > log->segment_bytes ? size : log->segment_bytes;
    if (log->spare.descriptor >= 0 && log->spare.size == whole)
        return OK;
    struct segment_file file = log->spare;
    set_spare(log, no_file, log->is_spare_lent);
    segment_file_close(&file);
    enum error error = segment_file_create(&file, log->folder, log->next_number, whole, why);
    if (error == OK)
        set_spare(log, file, log->is_spare_lent);
    return error;
}

enum error segment_spare_take(struct segment_log *log, uint64_t size,
                              const struct segment_log_end *base, bool is_start,
                              struct error_text *why)
{
    struct segment *fresh = log->fresh;
    (void)pthread_mutex_lock(&log->spare_lock);
    ASSERT(!log->is_spare_lent);
    enum error error = make(log, size, why);
    if (error == OK) {
        fresh->file = log->spare;
        set_spare(log, no_file, true);
        fresh->head = (struct segment_head){.number = fresh->file.number,
                                            .size = fresh->file.size,
                                            .is_start = is_start,
                                            .base = *base};
        randombytes_buf(fresh->head.key, sizeof fresh->head.key);
    }
    (void)pthread_mutex_unlock(&log->spare_lock);
    return error;
}

void segment_spare_return(struct segment_log *log)
{
    (void)pthread_mutex_lock(&log->spare_lock);
    set_spare(log, log->fresh->file, false);
    log->fresh->file.descriptor = -1;
    (void)pthread_mutex_unlock(&log->spare_lock);
}

void segment_spare_settle(struct segment_log *log)
{
    (void)pthread_mutex_lock(&log->spare_lock);
    (void)pthread_mutex_lock(&log->lock);
    log->next_number++;
    log->is_spare_lent = false;
    (void)pthread_mutex_unlock(&log->lock);
    (void)pthread_mutex_unlock(&log->spare_lock);
}

/* lock is held. */
static bool wants_file(const struct segment_log *log)
{
    const struct segment *newest = segment_newest(log);
    return log->spare.descriptor < 0 && !log->is_spare_lent &&
           (newest == NULL || log->tail > newest->head.size / 2);
}

bool segment_log_wants_spare(struct segment_log *log)
{
    (void)pthread_mutex_lock(&log->lock);
    bool wants = wants_file(log) || log->pruned_first != NULL;
    (void)pthread_mutex_unlock(&log->lock);
    return wants;
}

static enum error make_file(struct segment_log *log, struct error_text *why)
{
    enum error error = OK;
    (void)pthread_mutex_lock(&log->spare_lock);
    (void)pthread_mutex_lock(&log->lock);
    bool wants = wants_file(log);
    (void)pthread_mutex_unlock(&log->lock);
    if (wants)
        error = make(log, log->segment_bytes, why);
    (void)pthread_mutex_unlock(&log->spare_lock);
    return error;
}

static struct segment *first_pruned(struct segment_log *log)
{
    (void)pthread_mutex_lock(&log->lock);
    struct segment *first = log->pruned_first;
    (void)pthread_mutex_unlock(&log->lock);
    return first;
}

static void forget_first_pruned(struct segment_log *log, struct segment *first)
{
    (void)pthread_mutex_lock(&log->lock);
    log->pruned_first = first->next;
    first->is_removed = true;
    if (first->next == NULL)
        log->pruned_last = NULL;
    (void)pthread_mutex_unlock(&log->lock);
    segment_drop(log, first);
}

/* The folder is synced after each, so that a power failure leaves no gap in the numbers. */
static enum error remove_pruned(struct segment_log *log, struct error_text *why)
{
    struct segment *first;
    enum error error = OK;
    while (error == OK && (first = first_pruned(log)) != NULL) {
        error = segment_file_remove(log->folder, first->file.number, why);
        if (error == OK)
            error = segment_folder_sync(log->folder, why);
        if (error == OK)
            forget_first_pruned(log, first);
    }
    return error;
}

enum error segment_log_make_spare(struct segment_log *log, struct error_text *why)
{
    enum error error = make_file(log, why);
    enum error removal = remove_pruned(log, error == OK ? why : NULL);
    return error == OK ? removal : error;
}

uint64_t segment_log_size(struct segment_log *log)
{
    (void)pthread_mutex_lock(&log->lock);
    uint64_t bytes = log->spare.descriptor >= 0 ? log->spare.size : 0;
    for (size_t i = 0; i < log->segment_count; i++)
        bytes += log->segments[i]->head.size;
    for (const struct segment *segment = log->pruned_first; segment != NULL;
         segment = segment->next)
        bytes += segment->file.size;
    (void)pthread_mutex_unlock(&log->lock);
    return bytes;
}
