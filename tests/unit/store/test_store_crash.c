/* SPDX-License-Identifier: MIT */
/* kill -9 in the middle of writing, again and again, on the same folder: whatever a process had
 * reported as committed is there for the next one. */
#include "support/test.h"
#include "test_store_support.h"

#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#define ROUNDS 25

/* Runs in a process of its own, so without cmocka's asserts: they would go on in its copy of the
 * test. Ends with a number that says what went wrong. */
static _Noreturn void write_until_killed(const char *folder, int reports)
{
    struct store *store = NULL;
    struct error_text why;
    (void)prctl(PR_SET_PDEATHSIG, SIGKILL);
    if (try_open(&store, folder, &why) != OK || work_replay(store) != OK)
        _exit(2);
    uint64_t n = 0;
    while (work_last_seq(n) < store_position(store).seq)
        n++;
    for (;;) {
        n++;
        if (work_apply(store, n) != OK || (n % 7 == 0 && store_project(store, false, &why) != OK))
            _exit(3);
        if (write(reports, &n, sizeof n) != sizeof n)
            _exit(4);
    }
}

static uint64_t read_report(int reports, uint64_t otherwise)
{
    uint64_t n;
    ssize_t size = read(reports, &n, sizeof n);
    assert_true(size == 0 || size == sizeof n);
    return size == 0 ? otherwise : n;
}

/* Kills the writer after so many reports, or before it has opened the store; returns the last
 * batch it reported. */
static uint64_t kill_after(const char *folder, uint64_t count, uint64_t before)
{
    int reports[2];
    assert_int_equal(pipe2(reports, O_CLOEXEC), 0);
    pid_t child = fork();
    assert_true(child >= 0);
    if (child == 0)
        write_until_killed(folder, reports[1]);
    assert_int_equal(close(reports[1]), 0);
    uint64_t last = before;
    for (uint64_t i = 0; i < count; i++) {
        uint64_t report = read_report(reports[0], 0);
        assert_int_equal(report, last + 1);
        last = report;
    }
    int status;
    assert_int_equal(kill(child, SIGKILL), 0);
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_true(WIFSIGNALED(status));
    for (uint64_t next; (next = read_report(reports[0], last)) != last;) {
        assert_int_equal(next, last + 1);
        last = next;
    }
    assert_int_equal(close(reports[0]), 0);
    return last;
}

TEST(test_crash__reported_commits_are_there)
{
    char folder[TEST_PATH_SIZE];
    make_folder(folder);
    uint64_t random = (uint64_t)getpid() * 2654435761u + 1;
    uint64_t n = 0;
    unsigned replayed = 0;
    for (int round = 0; round < ROUNDS; round++) {
        uint64_t reported = kill_after(folder, test_random(&random) % 30, n);
        struct store *store = open_store(folder);
        replayed += store_position(store).seq < store_log_last(store).seq;
        assert_ok(store, work_replay(store));
        n = work_batches(store_position(store));
        assert_in_range(n, reported, reported + 1);
        work_check(store, n);
        store_close(store);
    }
    assert_true(n > ROUNDS);
    assert_true(replayed > 0 && replayed < ROUNDS);
    remove_folder(folder);
}
