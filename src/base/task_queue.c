/* SPDX-License-Identifier: MIT */
#include "base/task_queue.h"

#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <unistd.h>

struct task_queue {
    int descriptor;        /* eventfd: non-zero while the owner should look */
    atomic_bool signalled; /* descriptor was written since the owner last looked */
    pthread_mutex_t mutex; /* protects head and tail */
    struct task *head;
    struct task **tail;
    struct task *taken; /* the owner's: taken out of the list, not yet run */
};

enum error task_queue_new(struct task_queue **out)
{
    struct task_queue *queue = calloc(1, sizeof *queue);
    if (queue == NULL)
        return ERROR_NO_MEMORY;
    queue->descriptor = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
    if (queue->descriptor < 0) {
        enum error error = error_from_errno(errno);
        free(queue);
        return error;
    }
    (void)pthread_mutex_init(&queue->mutex, NULL);
    queue->tail = &queue->head;
    *out = queue;
    return OK;
}

void task_queue_free(struct task_queue *queue)
{
    if (queue == NULL)
        return;
    (void)close(queue->descriptor);
    (void)pthread_mutex_destroy(&queue->mutex);
    free(queue);
}

void task_queue_push(struct task_queue *queue, struct task *task)
{
    ASSERT(task->run != NULL);
    task->next = NULL;
    (void)pthread_mutex_lock(&queue->mutex);
    *queue->tail = task;
    queue->tail = &task->next;
    (void)pthread_mutex_unlock(&queue->mutex);
    task_queue_wake(queue);
}

void task_queue_wake(struct task_queue *queue)
{
    if (atomic_exchange(&queue->signalled, true))
        return;
    int saved = errno;
    const uint64_t one = 1;
    /* The counter cannot overflow: it is written at most once between two looks. */
    ssize_t written = write(queue->descriptor, &one, sizeof one);
    (void)written;
    errno = saved;
}

/* Clears the signal before looking at the list, so that a later push signals again. The order is
 * read, then clear: a pusher between its exchange and its write then costs one idle round of the
 * owner, where the other order could lose its signal. */
static void accept_signal(struct task_queue *queue)
{
    uint64_t count;
    ssize_t got = read(queue->descriptor, &count, sizeof count);
    (void)got;
    atomic_store(&queue->signalled, false);
}

static bool is_empty(struct task_queue *queue)
{
    if (queue->taken != NULL)
        return false;
    (void)pthread_mutex_lock(&queue->mutex);
    bool empty = queue->head == NULL;
    (void)pthread_mutex_unlock(&queue->mutex);
    return empty;
}

void task_queue_wait_either(struct task_queue *first, struct task_queue *second, int64_t timeout_us)
{
    if (!is_empty(first) || (second != NULL && !is_empty(second)))
        return;
    struct pollfd entries[] = {
        {.fd = first->descriptor, .events = POLLIN},
        {.fd = second == NULL ? -1 : second->descriptor, .events = POLLIN},
    };
    struct timespec timeout = {.tv_sec = timeout_us / 1000000,
                               .tv_nsec = timeout_us % 1000000 * 1000};
    (void)ppoll(entries, 2, timeout_us < 0 ? NULL : &timeout, NULL);
}

void task_queue_wait(struct task_queue *queue, int timeout_ms)
{
    task_queue_wait_either(queue, NULL, timeout_ms < 0 ? -1 : (int64_t)timeout_ms * 1000);
}

static void take_all(struct task_queue *queue)
{
    (void)pthread_mutex_lock(&queue->mutex);
    queue->taken = queue->head;
    queue->head = NULL;
    queue->tail = &queue->head;
    (void)pthread_mutex_unlock(&queue->mutex);
}

size_t task_queue_run(struct task_queue *queue, size_t most)
{
    size_t count = 0;
    accept_signal(queue);
    while (count < most) {
        if (queue->taken == NULL) {
            take_all(queue);
            if (queue->taken == NULL)
                break;
        }
        struct task *task = queue->taken;
        queue->taken = task->next;
        task->run(task);
        count++;
    }
    /* Also what was pushed while earlier tasks were left: its signal has been accepted above. */
    if (count == most && !is_empty(queue))
        task_queue_wake(queue);
    return count;
}

int task_queue_descriptor(const struct task_queue *queue)
{
    return queue->descriptor;
}
