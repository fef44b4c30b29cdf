/* SPDX-License-Identifier: MIT */
/* projector.h - brings the database of a store up to date behind the commits, on a thread of its own.
 *
 * The rows of many commits are written together: once they take PROJECTOR_BYTES, or at the next tick. The
 * thread also prepares the next file of the log, and drops orphans. Core thread only. */
#ifndef JACKDAW_COMMIT_PROJECTOR_H
#define JACKDAW_COMMIT_PROJECTOR_H

#include "base/task_queue.h"
#include "commit/crash_note.h"
#include "commit/worker.h"
#include "store/store.h"

#include <semaphore.h>
#include <stdbool.h>

#define PROJECTOR_BYTES (1024u * 1024u) /* of changes in memory */

/* The caller's storage; the fields are the projector's. */
struct projector {
    struct store *store;
    struct crash_note *note;
    struct task_queue *queue;
    struct worker *worker;
    struct task work; /* from `work` to `done` the thread is the projector's */
    struct task done;
    sem_t finished;
    uint64_t drop_orphans;     /* up to this id; 0: none */
    uint64_t dropping_orphans; /* likewise, by the thread now */
    bool is_working;
    bool has_waited; /* the core, for the thread; `done` is still on its way */
    enum error error;
    struct error_text problem;
};

/* All pointers are borrowed. note: where entries are noted while their rows are written; or NULL. worker NULL:
 * works on the core thread, with each commit. */
void projector_init(struct projector *projector, struct store *store, struct crash_note *note,
                    struct task_queue *queue, struct worker *worker);
/* After projector_wait, and once the queue was run. The store is open. */
void projector_release(struct projector *projector);

/* A transaction was committed. */
void projector_committed(struct projector *projector);

/* Drops the orphans up to this id (store_drop_orphans), soon. */
void projector_drop_orphans(struct projector *projector, uint64_t last);

/* Works if a row waits, or an orphan is to be dropped. To be called about every 100 ms. */
void projector_tick(struct projector *projector);

/* Waits for the thread, so that the store may be closed or exchanged. */
void projector_wait(struct projector *projector);

/* The store is another one now. After projector_wait. */
void projector_set_store(struct projector *projector, struct store *store);

#endif
