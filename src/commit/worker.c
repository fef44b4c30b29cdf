/* SPDX-License-Identifier: MIT */
#include "commit/worker.h"

#include "commit/trial.h"

#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdlib.h>

struct worker {
    pthread_t thread;
    struct task_queue *queue;
    atomic_bool stopping;
};

static void *work(void *argument)
{
    struct worker *worker = argument;
    while (!atomic_load(&worker->stopping)) {
        task_queue_wait(worker->queue, -1);
        (void)task_queue_run(worker->queue, SIZE_MAX);
    }
    (void)task_queue_run(worker->queue, SIZE_MAX);
    return NULL;
}

/* Signals are the core's business. */
static int start_without_signals(struct worker *worker)
{
    sigset_t all;
    sigset_t before;
    (void)sigfillset(&all);
    (void)pthread_sigmask(SIG_BLOCK, &all, &before);
    int result = pthread_create(&worker->thread, NULL, work, worker);
    (void)pthread_sigmask(SIG_SETMASK, &before, NULL);
    return result;
}

enum error worker_start(struct worker **out)
{
    struct worker *worker = calloc(1, sizeof *worker);
    if (worker == NULL)
        return ERROR_NO_MEMORY;
    enum error error = task_queue_new(&worker->queue);
    if (error == OK && start_without_signals(worker) != 0)
        error = ERROR_FULL;
    if (error != OK) {
        task_queue_free(worker->queue);
        free(worker);
        return error;
    }
    *out = worker;
    return OK;
}

void worker_push(struct worker *worker, struct task *task)
{
    if (trial_in_child())
        return; /* there is no thread, and the queue's lock may be held for ever */
    task_queue_push(worker->queue, task);
}

void worker_stop(struct worker *worker)
{
    if (worker == NULL)
        return;
    atomic_store(&worker->stopping, true);
    task_queue_wake(worker->queue);
    (void)pthread_join(worker->thread, NULL);
    task_queue_free(worker->queue);
    free(worker);
}
