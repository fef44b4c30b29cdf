/* SPDX-License-Identifier: MIT */
/* worker.h - one thread beside the core for what would make it wait: hashing passwords, reading
 * history. Work goes in as tasks and comes back as tasks pushed to the core's queue. */
#ifndef JACKDAW_COMMIT_WORKER_H
#define JACKDAW_COMMIT_WORKER_H

#include "base/error.h"
#include "base/task_queue.h"

struct worker;

/* Starts the thread. *out: ended with worker_stop. ERROR_NO_MEMORY, ERROR_FULL. */
enum error worker_start(struct worker **out);

/* Appends task (taken until it has run). Core thread. The caller bounds how many are under way. */
void worker_push(struct worker *worker, struct task *task);

/* Lets the thread run what it was given, waits for its end and frees. NULL is allowed. */
void worker_stop(struct worker *worker);

#endif
