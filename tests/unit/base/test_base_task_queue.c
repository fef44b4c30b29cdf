/* SPDX-License-Identifier: MIT */
#include "base/clock.h"
#include "base/task_queue.h"
#include "support/test.h"

#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/time.h>
#include <unistd.h>

#define PUSHERS 8
#define TASKS_EACH 20000
#define PATIENCE_MS 60000

struct task_number {
    struct task task; /* first */
    unsigned pusher;
    unsigned number;
};

static unsigned next_number[PUSHERS];
static unsigned total_run;

static void check_order(struct task *task)
{
    struct task_number *numbered = (struct task_number *)task;
    assert_int_equal(numbered->number, next_number[numbered->pusher]);
    next_number[numbered->pusher]++;
    total_run++;
    free(numbered);
}

static struct task_number *new_task(unsigned pusher, unsigned number)
{
    struct task_number *numbered = calloc(1, sizeof *numbered);
    assert_non_null(numbered);
    numbered->task.run = check_order;
    numbered->pusher = pusher;
    numbered->number = number;
    return numbered;
}

static int setup(void **state)
{
    struct task_queue *queue = NULL;
    total_run = 0;
    memset(next_number, 0, sizeof next_number);
    if (task_queue_new(&queue) != OK)
        return -1;
    *state = queue;
    return 0;
}

static int teardown(void **state)
{
    task_queue_free(*state);
    return 0;
}

static bool is_readable(const struct task_queue *queue)
{
    struct pollfd entry = {.fd = task_queue_descriptor(queue), .events = POLLIN};
    return poll(&entry, 1, 0) == 1;
}

TEST_WITH(test_task_queue_run__in_order_and_no_more_than_asked, setup, teardown)
{
    struct task_queue *queue = *state;
    assert_int_equal(task_queue_run(queue, 10), 0);
    for (unsigned i = 0; i < 10; i++)
        task_queue_push(queue, &new_task(0, i)->task);
    assert_true(is_readable(queue));
    assert_int_equal(task_queue_run(queue, 4), 4);
    assert_int_equal(next_number[0], 4);
    assert_true(is_readable(queue));
    task_queue_push(queue, &new_task(0, 10)->task);
    assert_int_equal(task_queue_run(queue, SIZE_MAX), 7);
    assert_int_equal(next_number[0], 11);
    assert_false(is_readable(queue));
    assert_int_equal(task_queue_run(queue, SIZE_MAX), 0);
}

/* An owner that waits on the descriptor alone must not fall asleep over work. */
TEST_WITH(test_task_queue_run__asked_for_none_keeps_the_signal, setup, teardown)
{
    struct task_queue *queue = *state;
    task_queue_push(queue, &new_task(0, 0)->task);
    assert_int_equal(task_queue_run(queue, 0), 0);
    assert_true(is_readable(queue));
    assert_int_equal(task_queue_run(queue, 1), 1);
}

struct chain {
    struct task task;
    struct task_queue *queue;
    unsigned left;
};

static void push_again(struct task *task)
{
    struct chain *chain = (struct chain *)task;
    total_run++;
    if (chain->left-- > 0)
        task_queue_push(chain->queue, task);
}

TEST_WITH(test_task_queue_run__a_task_pushes_itself, setup, teardown)
{
    struct task_queue *queue = *state;
    struct chain chain = {.task = {.run = push_again}, .queue = queue, .left = 99};
    task_queue_push(queue, &chain.task);
    assert_int_equal(task_queue_run(queue, SIZE_MAX), 100);
    assert_int_equal(total_run, 100);
}

static void run_inner(struct task *task)
{
    struct chain *chain = (struct chain *)task;
    total_run++;
    (void)task_queue_run(chain->queue, SIZE_MAX);
}

TEST_WITH(test_task_queue_run__from_within_a_task, setup, teardown)
{
    struct task_queue *queue = *state;
    struct chain chain = {.task = {.run = run_inner}, .queue = queue};
    task_queue_push(queue, &chain.task);
    for (unsigned i = 0; i < 5; i++)
        task_queue_push(queue, &new_task(0, i)->task);
    assert_int_equal(task_queue_run(queue, SIZE_MAX), 1);
    assert_int_equal(total_run, 6);
}

TEST_WITH(test_task_queue_wait__returns_for_a_task_a_wake_and_in_time, setup, teardown)
{
    struct task_queue *queue = *state;
    uint64_t start_ms = clock_monotonic_ms();
    task_queue_wait(queue, 0);
    task_queue_wait(queue, 30);
    assert_true(clock_monotonic_ms() - start_ms >= 29);
    task_queue_wake(queue);
    task_queue_wait(queue, -1);
    (void)task_queue_run(queue, SIZE_MAX);
    assert_false(is_readable(queue));
    task_queue_push(queue, &new_task(0, 0)->task);
    task_queue_wait(queue, -1);
    assert_int_equal(task_queue_run(queue, SIZE_MAX), 1);
}

static struct task_queue *signalled_queue;

static void on_alarm(int number)
{
    (void)number;
    task_queue_wake(signalled_queue);
}

TEST_WITH(test_task_queue_wake__from_a_signal_handler, setup, teardown)
{
    struct task_queue *queue = *state;
    signalled_queue = queue;
    struct sigaction action = {.sa_handler = on_alarm, .sa_flags = SA_RESTART};
    struct sigaction before;
    assert_int_equal(sigaction(SIGALRM, &action, &before), 0);
    const struct itimerval soon = {.it_value = {.tv_usec = 5000}};
    assert_int_equal(setitimer(ITIMER_REAL, &soon, NULL), 0);
    while (!is_readable(queue))
        task_queue_wait(queue, 1000);
    assert_int_equal(sigaction(SIGALRM, &before, NULL), 0);
    assert_int_equal(task_queue_run(queue, SIZE_MAX), 0);
}

struct pusher {
    pthread_t thread;
    struct task_queue *queue;
    unsigned index;
};

static void *push_all(void *argument)
{
    struct pusher *pusher = argument;
    for (unsigned i = 0; i < TASKS_EACH; i++) {
        task_queue_push(pusher->queue, &new_task(pusher->index, i)->task);
        if (i % 64 == pusher->index)
            sched_yield(); /* so that the owner falls asleep now and then */
    }
    return NULL;
}

/* The owner waits on the descriptor alone and for ever: one lost wake-up hangs the test. */
static void run_with_pushers(struct task_queue *queue, bool poll_descriptor, size_t most)
{
    struct pusher pushers[PUSHERS];
    for (unsigned i = 0; i < PUSHERS; i++) {
        pushers[i] = (struct pusher){.queue = queue, .index = i};
        assert_int_equal(pthread_create(&pushers[i].thread, NULL, push_all, &pushers[i]), 0);
    }
    uint64_t start_ms = clock_monotonic_ms();
    while (total_run < PUSHERS * TASKS_EACH) {
        if (poll_descriptor) {
            struct pollfd entry = {.fd = task_queue_descriptor(queue), .events = POLLIN};
            assert_int_equal(poll(&entry, 1, PATIENCE_MS), 1);
        } else {
            task_queue_wait(queue, PATIENCE_MS);
        }
        (void)task_queue_run(queue, most);
        assert_true(clock_monotonic_ms() - start_ms < PATIENCE_MS);
    }
    for (unsigned i = 0; i < PUSHERS; i++) {
        assert_int_equal(pthread_join(pushers[i].thread, NULL), 0);
        assert_int_equal(next_number[i], TASKS_EACH);
    }
    assert_int_equal(task_queue_run(queue, SIZE_MAX), 0);
}

TEST_WITH(test_task_queue__many_pushers_waiting, setup, teardown)
{
    run_with_pushers(*state, false, SIZE_MAX);
}

TEST_WITH(test_task_queue__many_pushers_polling, setup, teardown)
{
    run_with_pushers(*state, true, SIZE_MAX);
}

TEST_WITH(test_task_queue__many_pushers_one_task_a_turn, setup, teardown)
{
    run_with_pushers(*state, true, 1);
}

TEST(test_task_queue_new__no_descriptor_left)
{
    struct rlimit before;
    assert_int_equal(getrlimit(RLIMIT_NOFILE, &before), 0);
    int lowest_free = dup(STDIN_FILENO);
    assert_true(lowest_free >= 0);
    assert_int_equal(close(lowest_free), 0);
    struct rlimit none = {.rlim_cur = (rlim_t)lowest_free, .rlim_max = before.rlim_max};
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &none), 0);
    struct task_queue *queue = NULL;
    enum error error = task_queue_new(&queue);
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &before), 0);
    assert_int_equal(error, ERROR_FULL);
    assert_null(queue);
    task_queue_free(NULL);
}
