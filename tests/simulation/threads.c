/* SPDX-License-Identifier: MIT */
/* base/task_queue.h, commit/worker.h, commit/trial.h and commit/fatal.h on the simulator's one thread. A worker's task
 * runs as an event of its own, some time after it was pushed. */
#include "sim.h"

/* The linker calls what -Wl,--wrap names; no header declares it. */
#pragma GCC diagnostic ignored "-Wmissing-prototypes"

#include "commit/fatal.h"
#include "commit/trial.h"
#include "commit/worker.h"

#include <semaphore.h>
#include <stdlib.h>

/* ---- task queues ---- */

struct task_queue {
    struct process *owner;
    struct task *head;
    struct task **tail;
};

enum error task_queue_new(struct task_queue **out)
{
    struct task_queue *queue = calloc(1, sizeof *queue);
    if (queue == NULL)
        return ERROR_NO_MEMORY;
    queue->owner = sim_current();
    queue->tail = &queue->head;
    *out = queue;
    return OK;
}

void task_queue_free(struct task_queue *queue)
{
    free(queue);
}

static void append(struct task_queue *queue, struct task *task)
{
    task->next = NULL;
    *queue->tail = task;
    queue->tail = &task->next;
}

void task_queue_push(struct task_queue *queue, struct task *task)
{
    ASSERT(task->run != NULL);
    append(queue, task);
    task_queue_wake(queue);
}

void task_queue_wake(struct task_queue *queue)
{
    process_wake(queue->owner, sim_now() + 5 + sim_below(30));
}

void task_queue_wait_either(struct task_queue *first, struct task_queue *second, int64_t timeout_us)
{
    (void)first;
    (void)second;
    (void)timeout_us;
    broken("harness", "a thread waits in the simulator");
}

void task_queue_wait(struct task_queue *queue, int timeout_ms)
{
    task_queue_wait_either(queue, NULL, timeout_ms);
}

size_t task_queue_run(struct task_queue *queue, size_t most)
{
    size_t count = 0;
    while (count < most && queue->head != NULL) {
        struct task *task = queue->head;
        queue->head = task->next;
        if (queue->head == NULL)
            queue->tail = &queue->head;
        task->run(task);
        count++;
    }
    return count;
}

int task_queue_descriptor(const struct task_queue *queue)
{
    (void)queue;
    return -1;
}

bool task_queue_has_work(const struct task_queue *queue)
{
    return queue != NULL && queue->head != NULL;
}

/* ---- workers ---- */

struct worker {
    struct task_queue queue; /* nobody is woken by it */
    uint64_t id;
    uint64_t busy_until;
    struct worker *next;
};

static struct worker *workers;
static uint64_t last_id;

void threads_reset(void)
{
    ASSERT(workers == NULL);
    last_id = 0;
}

enum error worker_start(struct worker **out)
{
    struct worker *worker = calloc(1, sizeof *worker);
    if (worker == NULL)
        return ERROR_NO_MEMORY;
    worker->queue.owner = sim_current();
    worker->queue.tail = &worker->queue.head;
    worker->id = ++last_id;
    worker->next = workers;
    workers = worker;
    *out = worker;
    return OK;
}

static struct worker *find(uint64_t id)
{
    struct worker *worker = workers;
    while (worker != NULL && worker->id != id)
        worker = worker->next;
    return worker;
}

static void work(void *context, uint64_t id)
{
    (void)context;
    struct worker *worker = find(id);
    if (worker == NULL || worker->queue.head == NULL)
        return; /* stopped, which ran its tasks */
    struct process *process = worker->queue.owner;
    uint64_t stalled_until = disk_stalled_until(process->host);
    uint64_t at = process_is_stopped(process) ? process->paused_until : stalled_until;
    if (at > sim_now()) {
        sim_at(at, work, NULL, id);
        return;
    }
    uint64_t busy_until = process->busy_until; /* the core's, which this thread is not */
    process_enter(process);
    (void)task_queue_run(&worker->queue, 1);
    process->spent_us = 0;
    process_leave(process);
    process->busy_until = busy_until;
}

/* Most tasks are short; some take long. */
static uint64_t duration(void)
{
    return sim_chance(20) ? sim_below(20 * MS) : 40 + sim_below(400);
}

void worker_push(struct worker *worker, struct task *task)
{
    uint64_t now = sim_now();
    append(&worker->queue, task);
    worker->busy_until = (worker->busy_until > now ? worker->busy_until : now) + duration();
    sim_at(worker->busy_until, work, NULL, worker->id);
}

/* A thread that waits lets the workers of its process work. What they take, it waits for. */
int __wrap_sem_wait(sem_t *semaphore)
{
    struct process *process = sim_current();
    while (sem_trywait(semaphore) != 0) {
        struct worker *worker = workers;
        while (worker != NULL && (worker->queue.owner != process || worker->queue.head == NULL))
            worker = worker->next;
        if (worker == NULL)
            broken("harness", "a thread waits for nothing");
        if (worker->busy_until > sim_now())
            process->spent_us += worker->busy_until - sim_now();
        if (disk_stalled_until(process->host) > sim_now())
            process->spent_us += disk_stalled_until(process->host) - sim_now();
        (void)task_queue_run(&worker->queue, 1);
    }
    return 0;
}

void worker_stop(struct worker *worker)
{
    if (worker == NULL)
        return;
    struct worker **link = &workers;
    while (*link != worker)
        link = &(*link)->next;
    *link = worker->next;
    (void)task_queue_run(&worker->queue, SIZE_MAX);
    free(worker);
}

/* ---- trials: nothing here ends a process, so a child would have passed ---- */

uint32_t trial_bound_ms(uint32_t silence_ms)
{
    return silence_ms * 3 / 5;
}

void trial_run(const struct trial *trial, struct trial_report *report)
{
    (void)trial;
    /* The first part passed; the caller tries the next one by itself. */
    *report = (struct trial_report){.end = TRIAL_PASSED, .has_begun = true, .took_us = 300};
}

void trial_run_on(struct store *store, const struct trial *trial, struct trial_report *report)
{
    (void)store;
    trial_run(trial, report);
}

bool trial_in_child(void)
{
    return false;
}

void trial_mark(struct log_position part)
{
    (void)part;
}

_Noreturn void trial_leave(void)
{
    broken("harness", "nothing is the child of a trial");
}

/* ---- the end of a process that cannot go on: no fault of the simulator is a reason for it ---- */

_Noreturn void fatal(const char *module, const char *sentence)
{
    broken("does_not_abort", "%s: %s", module, sentence);
}
