/* SPDX-License-Identifier: MIT */
#include "server/scrub.h"

#include "base/clock.h"
#include "commit/worker.h"

#include <semaphore.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#define SLICE_BYTES (256u * 1024u)
#define LOWEST_PRIORITY 19
#define PAUSES_PER_SLICE 9 /* at least, by processor time: the scan takes a tenth of a core */

struct scrub {
    struct task task;
    struct scrub_options options;
    struct worker *worker; /* while a scan is under way */
    struct store *reader;
    bool is_pending; /* the task is on its way to the core */
    atomic_bool is_unwanted;
    sem_t stopped; /* up once is_unwanted is set */
    struct store_scan scan;
    enum error error;
    struct error_text reason;
};

/* Linux gives each thread a priority of its own; elsewhere this may do nothing. */
static void lower_priority(void)
{
    (void)setpriority(PRIO_PROCESS, (id_t)syscall(SYS_gettid), LOWEST_PRIORITY);
}

static void pause_us(struct scrub *scrub, uint64_t us)
{
    struct timespec until;
    (void)clock_gettime(CLOCK_MONOTONIC, &until);
    until.tv_sec += (time_t)(us / 1000000);
    until.tv_nsec += (long)(us % 1000000 * 1000);
    if (until.tv_nsec >= 1000000000) {
        until.tv_sec++;
        until.tv_nsec -= 1000000000;
    }
    (void)sem_clockwait(&scrub->stopped, CLOCK_MONOTONIC, &until);
}

/* Processor time of this thread. */
static uint64_t thread_us(void)
{
    struct timespec time;
    (void)clock_gettime(CLOCK_THREAD_CPUTIME_ID, &time);
    return (uint64_t)time.tv_sec * 1000000 + (uint64_t)time.tv_nsec / 1000;
}

/* The slice, and as long a pause as the pace asks for. */
static enum error scan_slice(struct scrub *scrub)
{
    uint64_t start_us = clock_monotonic_us();
    uint64_t worked_us = thread_us();
    uint64_t before = scrub->scan.bytes;
    enum error error = store_scan(scrub->reader, &scrub->scan, SLICE_BYTES);
    uint64_t due_us = (scrub->scan.bytes - before) * 1000000 / scrub->options.bytes_per_second;
    uint64_t took_us = clock_monotonic_us() - start_us;
    uint64_t rest_us = (thread_us() - worked_us) * PAUSES_PER_SLICE;
    if (error == OK)
        pause_us(scrub, took_us + rest_us < due_us ? due_us - took_us : rest_us);
    return error;
}

static void on_ended(struct task *task)
{
    struct scrub *scrub = (struct scrub *)task;
    scrub->is_pending = false;
    worker_stop(scrub->worker);
    scrub->worker = NULL;
    store_close(scrub->reader);
    scrub->reader = NULL;
    if (!atomic_load(&scrub->is_unwanted))
        scrub->options.ended(scrub->options.context, scrub->error, scrub->reason.text,
                             scrub->scan.bytes);
}

static void scan(struct task *task)
{
    struct scrub *scrub = (struct scrub *)task;
    enum error error = OK;
    lower_priority();
    while (error == OK && !scrub->scan.is_done && !atomic_load(&scrub->is_unwanted))
        error = scan_slice(scrub);
    scrub->error = error;
    (void)error_set(&scrub->reason, error, "%s", store_last_problem(scrub->reader));
    scrub->task.run = on_ended;
    task_queue_push(scrub->options.queue, &scrub->task);
}

enum error scrub_start(struct scrub *scrub, const struct store *store, struct error_text *why)
{
    if (scrub->is_pending)
        return OK;
    enum error error = store_open_reader(&scrub->reader, store, why);
    if (error != OK)
        return error;
    error = worker_start(&scrub->worker);
    if (error != OK) {
        store_close(scrub->reader);
        scrub->reader = NULL;
        return error_set(why, error, "start a thread: %s", error_name(error));
    }
    scrub->scan = (struct store_scan){0};
    scrub->is_pending = true;
    atomic_store(&scrub->is_unwanted, false);
    scrub->task.run = scan;
    worker_push(scrub->worker, &scrub->task);
    return OK;
}

void scrub_stop(struct scrub *scrub)
{
    if (scrub->worker == NULL)
        return;
    atomic_store(&scrub->is_unwanted, true);
    (void)sem_post(&scrub->stopped);
    store_cancel(scrub->reader);
    worker_stop(scrub->worker); /* on_ended is in the queue then */
    scrub->worker = NULL;
    store_close(scrub->reader);
    scrub->reader = NULL;
}

bool scrub_is_running(const struct scrub *scrub)
{
    return scrub->reader != NULL;
}

enum error scrub_new(struct scrub **out, const struct scrub_options *options)
{
    struct scrub *scrub = calloc(1, sizeof *scrub);
    if (scrub == NULL)
        return ERROR_NO_MEMORY;
    scrub->options = *options;
    (void)sem_init(&scrub->stopped, 0, 0);
    *out = scrub;
    return OK;
}

void scrub_free(struct scrub *scrub)
{
    if (scrub == NULL)
        return;
    scrub_stop(scrub);
    if (scrub->is_pending)
        (void)task_queue_run(scrub->options.queue, SIZE_MAX);
    (void)sem_destroy(&scrub->stopped);
    free(scrub);
}
