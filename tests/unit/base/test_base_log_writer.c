/* SPDX-License-Identifier: MIT */
/* The thread that writes the log. It is started once in a process, so each test forks one. */
#include "base/clock.h"
#include "base/log.h"
#include "base/log_writer.h"
#include "base/output.h"
#include "support/test.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#define SAID_BYTES (4u << 20)
#define PATIENCE_MS 60000
#define BOUND_MS 60000 /* far more than any flush may take */

static char said[SAID_BYTES];
static char folder[] = "/tmp/jackdaw-log.XXXXXX";

static const char *path_of(const char *name)
{
    static char path[256];
    (void)snprintf(path, sizeof path, "%s/%s", folder, name);
    return path;
}

/* What a child's failed check looks like: the line's number is its exit status. */
#define CHECK(condition)               \
    do {                               \
        if (!(condition))              \
            _exit(__LINE__ % 254 + 1); \
    } while (0)

static int status_of(pid_t child)
{
    int status = 0;
    assert_int_equal(waitpid(child, &status, 0), child);
    return status;
}

static const char *read_descriptor(int descriptor)
{
    size_t used = 0;
    ssize_t got = 0;
    while (used + 1 < sizeof said &&
           (got = read(descriptor, said + used, sizeof said - used - 1)) > 0)
        used += (size_t)got;
    said[used] = '\0';
    return said;
}

static const char *read_file(const char *name)
{
    int descriptor = open(path_of(name), O_RDONLY | O_CLOEXEC);
    assert_true(descriptor >= 0);
    (void)read_descriptor(descriptor);
    (void)close(descriptor);
    return said;
}

/* Runs body in a child whose standard error is a pipe; *status: how it ended; what it wrote. */
static const char *run(void (*body)(void), int *status)
{
    int ends[2];
    assert_int_equal(pipe2(ends, O_CLOEXEC), 0);
    pid_t child = fork();
    assert_true(child >= 0);
    if (child == 0) {
        (void)signal(SIGABRT, SIG_DFL);
        (void)dup2(ends[1], STDERR_FILENO);
        (void)close(ends[1]);
        body();
        exit(0);
    }
    (void)close(ends[1]);
    const char *text = read_descriptor(ends[0]);
    (void)close(ends[0]);
    *status = status_of(child);
    return text;
}

/* The same, where the child ends with 0. */
static const char *run_well(void (*body)(void))
{
    int status;
    const char *text = run(body, &status);
    assert_int_equal(status, 0);
    return text;
}

static size_t count(const char *text, const char *word)
{
    size_t found = 0;
    for (; (text = strstr(text, word)) != NULL; text += strlen(word))
        found++;
    return found;
}

static void start(const char *file)
{
    struct error_text why;
    log_configure(LOG_INFO, LOG_TEXT);
    CHECK(log_start(file, &why) == OK);
}

static void full_pipe_as_stderr(int ends[2])
{
    char blanks[4096];
    memset(blanks, '\n', sizeof blanks);
    CHECK(pipe2(ends, O_CLOEXEC) == 0 && fcntl(ends[1], F_SETFL, O_NONBLOCK) == 0);
    while (write(ends[1], blanks, sizeof blanks) > 0)
        continue;
    CHECK(errno == EAGAIN && fcntl(ends[1], F_SETFL, 0) == 0);
    CHECK(dup2(ends[1], STDERR_FILENO) >= 0);
}

static void log_lines(void)
{
    start(NULL);
    for (uint64_t i = 0; i < 1000; i++)
        log_info("m", "line", log_number("i", i));
}

TEST(test_log_start__exit_flushes)
{
    const char *text = run_well(log_lines);
    assert_int_equal(count(text, " m line i="), 1000);
    assert_non_null(strstr(text, "i=999\n"));
}

static void log_and_assert(void)
{
    log_lines();
    ASSERT(1 + 1 == 3);
}

TEST(test_assert__its_line_comes_last)
{
    int status;
    const char *text = run(log_and_assert, &status);
    assert_true(WIFSIGNALED(status) && WTERMSIG(status) == SIGABRT);
    assert_int_equal(count(text, " m line i="), 1000);
    const char *last = strstr(text, "i=999\n");
    assert_non_null(last);
    assert_non_null(strstr(last, "assertion failed: 1 + 1 == 3\n"));
}

static void log_and_assert_with_file(void)
{
    start(path_of("assert.log"));
    log_info("m", "line", log_number("i", 1));
    ASSERT(1 + 1 == 3);
}

TEST(test_assert__its_line_is_in_the_file_too)
{
    int status;
    const char *text = run(log_and_assert_with_file, &status);
    assert_true(WIFSIGNALED(status));
    assert_non_null(strstr(text, "assertion failed: 1 + 1 == 3\n"));
    assert_null(strstr(text, "i=1"));
    text = read_file("assert.log");
    assert_non_null(strstr(text, " m line i=1\n"));
    assert_non_null(strstr(text, "process ends reason=\"jackdaw: bug: "));
}

/* The whole pipe and the whole buffer are full, and nobody will ever read. */
static void end_with_full_pipe(void)
{
    int ends[2];
    full_pipe_as_stderr(ends);
    uint64_t began_ms = clock_monotonic_ms();
    start(NULL);
    for (size_t i = 0; i < LOG_BUFFER_BYTES / 16; i++)
        log_info("m", "line", log_number("i", i));
    log_last_words("this has nowhere to go");
    log_flush();
    CHECK(clock_monotonic_ms() - began_ms < BOUND_MS);
}

TEST(test_log_flush__is_bounded)
{
    (void)run_well(end_with_full_pipe);
}

static void drop_and_read(void)
{
    int ends[2];
    full_pipe_as_stderr(ends);
    start(NULL);
    size_t logged = 0;
    for (; logged < LOG_BUFFER_BYTES / 16; logged++)
        log_info("m", "line", log_number("i", logged));
    uint64_t dropped = 0;
    size_t kept = 0;
    FILE *reader = fdopen(ends[0], "re");
    char line[LOG_LINE_BYTES + 1];
    CHECK(reader != NULL);
    while (dropped == 0 && fgets(line, sizeof line, reader) != NULL) {
        const char *report = strstr(line, "log lines_dropped count=");
        kept += strstr(line, " m line i=") != NULL;
        if (report != NULL)
            CHECK(sscanf(report, "log lines_dropped count=%lu", &dropped) == 1);
    }
    CHECK(dropped > 0 && kept > 1000 && kept + dropped == logged);
    log_info("m", "later", log_number("i", 0));
    CHECK(fgets(line, sizeof line, reader) != NULL && strstr(line, " m later ") != NULL);
}

TEST(test_log__drops_what_does_not_fit_and_counts_it)
{
    (void)run_well(drop_and_read);
}

/* A full disk is no reason to wait, nor to spin. */
static void log_to_full_disk(void)
{
    int full = open("/dev/full", O_WRONLY | O_CLOEXEC);
    CHECK(full >= 0 && dup2(full, STDERR_FILENO) >= 0);
    uint64_t began_ms = clock_monotonic_ms();
    start(NULL);
    for (size_t i = 0; i < 1000; i++)
        log_info("m", "line", log_number("i", i));
    log_flush();
    CHECK(clock_monotonic_ms() - began_ms < BOUND_MS);
    CHECK(dup2(open(path_of("room.log"), O_WRONLY | O_CREAT | O_CLOEXEC, 0600), STDERR_FILENO) >=
          0);
    log_info("m", "again", log_number("i", 0)); /* wakes the thread */
    log_info("m", "again", log_number("i", 1));
}

TEST(test_log__refused_lines_are_counted)
{
    (void)run_well(log_to_full_disk);
    const char *text = read_file("room.log");
    unsigned long dropped = 0;
    const char *report = strstr(text, "lines_dropped count=");
    assert_non_null(report);
    assert_int_equal(sscanf(report, "lines_dropped count=%lu", &dropped), 1);
    assert_int_equal(dropped + count(text, " m "), 1002);
    assert_true(dropped >= 1000);
}

static void use_file(void)
{
    (void)umask(0);
    start(path_of("file.log"));
    log_info("m", "first", log_number("i", 0));
    log_flush();
    char moved[256];
    (void)snprintf(moved, sizeof moved, "%s", path_of("file.log.1"));
    CHECK(rename(path_of("file.log"), moved) == 0);
    log_info("m", "second", log_number("i", 0));
    log_flush();
    log_reopen();
    log_flush();
    log_info("m", "third", log_number("i", 0));
    log_flush();
    /* It cannot be opened: the old one goes on. */
    CHECK(unlink(path_of("file.log")) == 0 && mkdir(path_of("file.log"), 0700) == 0);
    log_reopen();
    log_flush();
    CHECK(rmdir(path_of("file.log")) == 0);
    log_reopen();
    log_info("m", "fourth", log_number("i", 0));
}

TEST(test_log_start__file)
{
    struct stat about;
    const char *text = run_well(use_file);
    assert_string_equal(text, ""); /* nothing on standard error */
    assert_int_equal(stat(path_of("file.log"), &about), 0);
    assert_int_equal(about.st_mode & 0777, 0640);
    text = read_file("file.log.1");
    assert_non_null(strstr(text, " m first "));
    assert_non_null(strstr(text, " m second "));
    assert_null(strstr(text, " m third "));
    text = read_file("file.log");
    assert_non_null(strstr(text, "log reopened file="));
    assert_non_null(strstr(text, " m fourth "));
    assert_null(strstr(text, " m second "));
}

static void keep_old_file(void)
{
    start(path_of("old.log"));
    char moved[256];
    (void)snprintf(moved, sizeof moved, "%s", path_of("old.log.1"));
    CHECK(rename(path_of("old.log"), moved) == 0 && mkdir(path_of("old.log"), 0700) == 0);
    log_reopen();
    log_info("m", "after", log_number("i", 0));
}

TEST(test_log_reopen__an_error_keeps_the_old_file)
{
    (void)run_well(keep_old_file);
    const char *text = read_file("old.log.1");
    assert_non_null(strstr(text, "error - - log cannot_reopen file="));
    assert_non_null(strstr(text, "Is a directory"));
    assert_non_null(strstr(text, " m after "));
    assert_int_equal(rmdir(path_of("old.log")), 0);
}

static void refuse_file(void)
{
    struct error_text why = {.text = ""};
    CHECK(log_start(path_of("no/such/folder"), &why) == ERROR_NOT_FOUND);
    CHECK(strstr(why.text, "cannot open the log file") != NULL);
    CHECK(strstr(why.text, "no/such/folder: No such file") != NULL);
    CHECK(log_start(folder, &why) != OK);
    CHECK(mkfifo(path_of("fifo"), 0600) == 0);
    CHECK(log_start(path_of("fifo"), &why) != OK); /* and it does not wait */
}

TEST(test_log_start__file_that_cannot_be_opened)
{
    (void)run_well(refuse_file);
}

static void fork_while_logging(void)
{
    start(NULL);
    for (int i = 0; i < 100; i++)
        log_info("m", "parent", log_number("i", (uint64_t)i));
    pid_t child = fork();
    if (child == 0) {
        log_info("m", "child", log_number("i", 0));
        exit(0);
    }
    CHECK(waitpid(child, NULL, 0) == child);
}

TEST(test_log__child_of_a_fork)
{
    const char *text = run_well(fork_while_logging);
    assert_int_equal(count(text, " m parent "), 100); /* each once */
    assert_int_equal(count(text, " m child "), 1);
}

TEST(test_output_within__full_pipe)
{
    int ends[2];
    static const char zeros[4096];
    assert_int_equal(pipe2(ends, O_CLOEXEC), 0);
    assert_true(output_within(ends[1], "hello\n", 6, 0));
    assert_int_equal(fcntl(ends[1], F_SETFL, O_NONBLOCK), 0);
    while (write(ends[1], zeros, sizeof zeros) > 0)
        continue;
    assert_int_equal(fcntl(ends[1], F_SETFL, 0), 0);
    assert_false(output_within(ends[1], "hello\n", 6, 0));
    assert_false(output_within(ends[1], "hello\n", 6, 20));
    (void)close(ends[1]);
    (void)close(ends[0]);
}

static void wait_for_reader(void)
{
    int ends[2];
    full_pipe_as_stderr(ends);
    output_later(ends[1], "the last line\n");
    size_t used = 0;
    uint64_t until_ms = clock_monotonic_ms() + PATIENCE_MS;
    while (clock_monotonic_ms() < until_ms) {
        ssize_t got = read(ends[0], said, sizeof said - 1);
        CHECK(got > 0);
        used = (size_t)got;
        if (used >= 14 && memcmp(said + used - 14, "the last line\n", 14) == 0)
            return;
    }
    CHECK(false);
}

TEST(test_output_later__waits_for_the_reader)
{
    (void)run_well(wait_for_reader);
}

static void close_and_open(void)
{
    (void)close(STDIN_FILENO);
    (void)close(STDERR_FILENO);
    output_open_standard();
    char byte;
    CHECK(read(STDIN_FILENO, &byte, 1) == 0);
    CHECK(write(STDERR_FILENO, "x", 1) == 1);
    CHECK(fcntl(STDIN_FILENO, F_GETFD) == 0); /* programs inherit it */
    int next = open(folder, O_RDONLY | O_CLOEXEC);
    CHECK(next > STDERR_FILENO);
}

TEST(test_output_open_standard)
{
    (void)run_well(close_and_open);
}

int test_teardown(void **state)
{
    (void)state;
    static const char *const left[] = {"assert.log", "file.log", "file.log.1",
                                       "old.log.1",  "room.log", "fifo"};
    for (size_t i = 0; i < sizeof left / sizeof left[0]; i++)
        (void)unlink(path_of(left[i]));
    (void)rmdir(folder);
    return 0;
}

TEST_PREPARE()
{
    if (mkdtemp(folder) == NULL)
        return 1;
    return 0;
}
