/* SPDX-License-Identifier: MIT */
#include "commit/projector.h"

#include "base/log_pace.h"

#include <stddef.h>

static void begin_projecting(void *context, struct log_position last, uint64_t first_seq)
{
    crash_note_begin(context, last, first_seq);
}

static void end_projecting(void *context)
{
    crash_note_end(context);
}

static void watch(struct projector *projector)
{
    if (projector->note != NULL)
        store_watch_projection(projector->store,
                               (struct store_projection_watch){.context = projector->note,
                                                               .begin = begin_projecting,
                                                               .end = end_projecting});
}

void projector_init(struct projector *projector, struct store *store, struct crash_note *note,
                    struct task_queue *queue, struct worker *worker)
{
    *projector = (struct projector){.store = store, .note = note, .queue = queue, .worker = worker};
    (void)sem_init(&projector->finished, 0, 0);
    watch(projector);
}

void projector_release(struct projector *projector)
{
    ASSERT(!projector->is_working);
    store_watch_projection(projector->store, (struct store_projection_watch){0});
    (void)sem_destroy(&projector->finished);
}

void projector_set_store(struct projector *projector, struct store *store)
{
    projector->store = store;
    watch(projector);
}

/* ---- work ---- */

/* A log that cannot be maintained now is a matter of the next commit. */
static void project(struct projector *projector)
{
    (void)store_log_maintain(projector->store, &projector->problem);
    projector->error = store_project(projector->store, false, &projector->problem);
    if (projector->error == OK && projector->dropping_orphans != 0)
        projector->error =
            store_drop_orphans(projector->store, projector->dropping_orphans, &projector->problem);
}

/* The rows stay in memory, and the log has them. */
static void judge(struct projector *projector)
{
    enum error error = projector->error;
    if (error != OK)
        log_error_paced(error_name(error), "commit_log", "database_behind",
                        log_string("error", error_name(error)),
                        log_string("reason", projector->problem.text));
    else if (projector->drop_orphans == projector->dropping_orphans)
        projector->drop_orphans = 0;
}

static void wait(struct projector *projector)
{
    while (sem_wait(&projector->finished) != 0) {
    }
}

static void work(struct task *task)
{
    struct projector *projector =
        (struct projector *)((char *)task - offsetof(struct projector, work));
    struct task_queue *queue = projector->queue;
    project(projector);
    (void)sem_post(&projector->finished);
    task_queue_push(queue, &projector->done);
}

static void on_done(struct task *task)
{
    struct projector *projector =
        (struct projector *)((char *)task - offsetof(struct projector, done));
    if (!projector->has_waited)
        wait(projector);
    projector->is_working = projector->has_waited = false;
    judge(projector);
}

static void start(struct projector *projector)
{
    if (projector->is_working)
        return;
    projector->dropping_orphans = projector->drop_orphans;
    if (projector->worker == NULL) {
        project(projector);
        judge(projector);
        return;
    }
    projector->is_working = true;
    projector->work.run = work;
    projector->done.run = on_done;
    worker_push(projector->worker, &projector->work);
}

void projector_committed(struct projector *projector)
{
    if (projector->worker == NULL || store_unprojected_bytes(projector->store) >= PROJECTOR_BYTES)
        start(projector);
}

void projector_drop_orphans(struct projector *projector, uint64_t last)
{
    projector->drop_orphans = last;
    start(projector);
}

void projector_tick(struct projector *projector)
{
    bool has_rows = projector->worker != NULL && store_unprojected_bytes(projector->store) > 0;
    if (has_rows || projector->drop_orphans != 0)
        start(projector);
}

void projector_wait(struct projector *projector)
{
    if (!projector->is_working || projector->has_waited)
        return;
    wait(projector);
    projector->has_waited = true;
}
