/* SPDX-License-Identifier: MIT */
/* task_queue.h - a queue of tasks from any thread to the one thread that owns some state.
 *
 * Library threads decode, push and return; the owner pops in order and runs. The only lock in the
 * project's data path is inside, held for a few instructions. A descriptor becomes readable while
 * there is work, so that the owner can wait for it together with other descriptors. */
#ifndef JACKDAW_BASE_TASK_QUEUE_H
#define JACKDAW_BASE_TASK_QUEUE_H

#include "base/error.h"

#include <stddef.h>
#include <stdint.h>

/* Embedded in the struct that the task works on. The owner's thread calls run once. run owns the
 * task and may free the struct. */
struct task {
    void (*run)(struct task *task);
    struct task *next; /* the queue's */
};

struct task_queue;

/* Makes a queue. *out: the caller's, to be ended with task_queue_free.
 * ERROR_NO_MEMORY, or ERROR_FULL when the process has no descriptor left. */
enum error task_queue_new(struct task_queue **out);

/* Frees an empty or abandoned queue (NULL is allowed). No thread may push any more; tasks still
 * inside are not run: run task_queue_run first where they own memory. */
void task_queue_free(struct task_queue *queue);

/* Appends task (taken). Any thread; never fails and never blocks. The caller bounds its outstanding
 * tasks, because only the caller knows the reply at the bound. */
void task_queue_push(struct task_queue *queue, struct task *task);

/* Makes a waiting owner return. Any thread, and signal handlers. */
void task_queue_wake(struct task_queue *queue);

/* Waits up to timeout_ms (-1: for ever, 0: not at all) until there is work or a wake-up.
 * Owner only. */
void task_queue_wait(struct task_queue *queue, int timeout_ms);

/* As task_queue_wait for two queues of one owner, up to timeout_us. second may be NULL. */
void task_queue_wait_either(struct task_queue *first, struct task_queue *second,
                            int64_t timeout_us);

/* Runs tasks in the order of their pushing until none is left or most have run; returns how many.
 * Owner only; a task may push further tasks. */
size_t task_queue_run(struct task_queue *queue, size_t most);

/* A descriptor to poll for reading; it stays the queue's. */
int task_queue_descriptor(const struct task_queue *queue);

#endif
