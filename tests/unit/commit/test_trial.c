/* SPDX-License-Identifier: MIT */
/* What a trial in a child process tells of what was tried. */
#include "base/error.h"
#include "commit/trial.h"
#include "support/folder.h"
#include "support/test.h"

#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#define LONG_MS 60000
#define SHORT_MS 60
#define TRIES_MAX 200

/* None is made while the child before it, which was killed, has not ended. */
static struct trial_report tried(void (*run)(void *context), void *context, uint32_t bound_ms)
{
    struct trial trial = {.run = run, .context = context, .bound_ms = bound_ms};
    struct trial_report report = {.took_us = 0};
    for (int i = 0; i < TRIES_MAX && report.took_us == 0; i++)
        trial_run(&trial, &report);
    assert_false(trial_in_child());
    return report;
}

static void change(void *context)
{
    int *number = context;
    trial_mark((struct log_position){.epoch = 3, .seq = 4});
    *number = trial_in_child() ? 2 : 3;
}

TEST(test_trial__changes_nothing_here)
{
    int number = 1;
    struct trial_report report = tried(change, &number, LONG_MS);
    assert_int_equal(report.end, TRIAL_PASSED);
    assert_true(report.has_begun);
    assert_int_equal(report.at.epoch, 3);
    assert_int_equal(report.at.seq, 4);
    assert_int_equal(number, 1);
}

static void leave(void *context)
{
    (void)context;
    trial_mark((struct log_position){.seq = 1});
    trial_leave();
}

TEST(test_trial__may_leave)
{
    assert_int_equal(tried(leave, NULL, LONG_MS).end, TRIAL_PASSED);
}

static void fail_assertion(void *context)
{
    trial_mark((struct log_position){.seq = 7});
    ASSERT(context != NULL);
    trial_mark((struct log_position){.seq = 8});
}

TEST(test_trial__tells_what_it_died_of)
{
    struct trial_report report = tried(fail_assertion, NULL, LONG_MS);
    assert_int_equal(report.end, TRIAL_DIED);
    assert_int_equal(report.signal, SIGABRT);
    assert_int_equal(report.at.seq, 7);
    assert_non_null(strstr(report.text, "assertion failed: context != NULL"));
    assert_null(strchr(report.text, '\n'));
}

/* As a sanitizer does. */
static void exit_with_error(void *context)
{
    (void)context;
    _exit(1);
}

TEST(test_trial__an_exit_with_an_error_is_a_death)
{
    struct trial_report report = tried(exit_with_error, NULL, LONG_MS);
    assert_int_equal(report.end, TRIAL_DIED);
    assert_int_equal(report.signal, 0);
    assert_false(report.has_begun);
}

static void kill_from_outside(void *context)
{
    (void)context;
    (void)raise(SIGKILL);
}

TEST(test_trial__killed_by_somebody_else_says_nothing)
{
    assert_int_equal(tried(kill_from_outside, NULL, LONG_MS).end, TRIAL_UNKNOWN);
}

/* Whoever starts a server may have ignored the ends of its own children: that is inherited. */
TEST(test_trial__where_ends_of_children_are_ignored)
{
    int number = 1;
    (void)signal(SIGCHLD, SIG_IGN);
    assert_int_equal(tried(change, &number, LONG_MS).end, TRIAL_PASSED);
    assert_int_equal(tried(exit_with_error, NULL, LONG_MS).end, TRIAL_DIED);
    (void)signal(SIGCHLD, SIG_DFL);
}

static void compute(void *context)
{
    volatile unsigned turns = 0;
    (void)context;
    trial_mark((struct log_position){.seq = 1});
    for (;;)
        turns++;
}

#define PARTS_MS 40 /* so short that the kernel's millisecond to end the child counts */

/* A quarter of the bound goes into the first part; the second waits, as for a processor. */
static void compute_and_wait(void *context)
{
    (void)context;
    trial_mark((struct log_position){.seq = 1});
    while (clock() < CLOCKS_PER_SEC / 1000 * PARTS_MS * 26 / 100)
        ;
    trial_mark((struct log_position){.seq = 2});
    for (;;)
        (void)pause();
}

TEST(test_trial__a_part_answers_for_itself_alone)
{
    for (int i = 0; i < 20; i++)
        assert_int_equal(tried(compute_and_wait, NULL, PARTS_MS).end, TRIAL_UNKNOWN);
}

/* On a busy machine it may have got too little of a processor to be sure. */
TEST(test_trial__computes_for_ever)
{
    struct trial_report report = {.end = TRIAL_UNKNOWN};
    for (int i = 0; i < TRIES_MAX && report.end == TRIAL_UNKNOWN; i++)
        report = tried(compute, NULL, SHORT_MS);
    assert_int_equal(report.end, TRIAL_LOOPED);
    assert_int_equal(report.at.seq, 1);
}

static void hang(void *context)
{
    (void)context;
    trial_mark((struct log_position){.seq = 1});
    for (;;)
        (void)pause();
}

TEST(test_trial__a_child_that_waits_says_nothing)
{
    struct trial_report report = tried(hang, NULL, SHORT_MS);
    assert_int_equal(report.end, TRIAL_UNKNOWN);
    assert_true(report.took_us >= SHORT_MS * 1000);
}

static void write_much(void *context)
{
    static const char bytes[4096] = "much\n";
    (void)context;
    for (int i = 0; i < 1000; i++)
        if (write(STDERR_FILENO, bytes, sizeof bytes) < 0)
            break; /* a full pipe keeps nobody waiting */
}

TEST(test_trial__may_say_much)
{
    struct trial_report report = tried(write_much, NULL, LONG_MS);
    assert_int_equal(report.end, TRIAL_PASSED);
    assert_string_equal(report.text, "much");
}

/* The child has the open transaction, and the files of the database are as they were. */
static void write_rows(void *context)
{
    struct store *store = context;
    static char text[1000];
    memset(text, 'x', sizeof text - 1);
    store_isolate(store);
    for (uint64_t i = 1; i <= 20000; i++) {
        struct timeline_row row = {.room = 1, .seq = i, .text = text, .text_size = sizeof text - 1};
        ASSERT(store_add_event(store, &row) == OK);
    }
    for (size_t i = 0; i < store_change_count(store); i++)
        ASSERT(store_try_change(store, i) == OK);
}

static enum error count_row(void *context, const struct timeline_row *row)
{
    (void)row;
    ++*(size_t *)context;
    return OK;
}

TEST(test_trial__leaves_the_database_alone)
{
    char *folder = folder_new();
    struct store_options options = {.folder = folder, .node_id = 1};
    struct error_text why;
    struct store *store;
    assert_int_equal(store_open(&store, &options, &why), OK);
    assert_int_equal(store_pause(store), OK);
    assert_int_equal(store_begin(store), OK);
    assert_int_equal(tried(write_rows, store, LONG_MS).end, TRIAL_PASSED);
    store_resume(store);
    struct timeline_row row = {.room = 1, .seq = 1, .text = ""};
    assert_int_equal(store_add_event(store, &row), OK);
    assert_int_equal(store_commit(store), OK);
    store_close(store);
    assert_int_equal(store_open(&store, &options, &why), OK);
    size_t count = 0;
    assert_int_equal(store_events_after(store, 1, 0, UINT64_MAX, 100000, count_row, &count), OK);
    assert_int_equal(count, 1);
    store_close(store);
    folder_remove(folder);
}
