/* SPDX-License-Identifier: MIT */
/* process.h - programs that a test starts, talks to through pipes, and ends.
 *
 * A stage is the folder and the programs of one test. Whatever a program prints on stdout is kept,
 * line by line, with the time it was read; its stderr goes to a file in the stage's folder. What
 * is written to its stdin waits here as long as it does not take it: writing never blocks, nor does
 * a program that prints much while nobody looks at it in particular.
 *
 * Waiting is always for a condition, with a deadline: PROCESS_GROUP_WAIT. Nothing here sleeps. While one
 * thing is waited for, all programs of the stage are read and written.
 *
 * process_group_close kills what is still running. If the test did not say that it passed (process_group_pass),
 * it prints the last lines of everything, ordered by time: what was noted, what was typed, what
 * the programs printed and logged. A program started here dies with the test, however that ends.
 *
 * One thread. Functions that cannot do their work fail the test, with a sentence. */
#ifndef JACKDAW_TESTS_PROCESS_H
#define JACKDAW_TESTS_PROCESS_H

#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

/* How much longer things may take in a build with sanitizers. */
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define PROCESS_GROUP_SLOWER 4
#else
#define PROCESS_GROUP_SLOWER 1
#endif
#define PROCESS_GROUP_PATIENCE_MS \
    60000 /* a condition is waited for, unless a test says otherwise */
#define PROCESS_GROUP_LOOK_MS 20
#define PROCESS_GROUP_PROCESSES_MAX 512 /* ever started on one stage */
#define PROCESS_GROUP_PATH_SIZE 1024

struct process_group;

/* One at a time: a stage that a failing set-up left open is closed first. Its folder is made in
 * parent, or where the system keeps temporary files. */
struct process_group *process_group_open(void);
struct process_group *process_group_open_in(const char *parent);
/* Ends everything; the folder is removed. NULL is allowed. With JACKDAW_TEST_KEEP in the
 * environment the folder stays, with what the programs printed, and its name is printed. */
void process_group_close(struct process_group *group);
/* The test came to its end: nothing is printed by process_group_close. */
void process_group_pass(struct process_group *group);

/* Path of name in the stage's folder. Valid as long as the stage. */
const char *process_group_path(struct process_group *group, const char *name);

/* process_group_close calls release(object), the last one first, after it has ended all processes. */
void process_group_defer(struct process_group *group, void (*release)(void *object), void *object);

/* A remark between the logs: what the test does now. */
void process_group_note(struct process_group *group, const char *format, ...)
    __attribute__((format(printf, 2, 3)));

/* Reads and writes what can be read and written, waiting for it until until_ms (of the monotonic
 * clock) at most. */
void process_group_turn(struct process_group *group, uint64_t until_ms);

/* Fails the test: "waited for ... in vain". */
_Noreturn void process_group_fail(struct process_group *group, const char *format, ...)
    __attribute__((format(printf, 2, 3)));

uint64_t process_group_now_ms(void); /* monotonic */

/* Lines that all programs have printed so far. */
size_t process_group_lines(const struct process_group *group);

/* Turns until condition holds; fails the test if it does not within patience_ms. It is looked at
 * whenever something was read, and every PROCESS_GROUP_LOOK_MS: it may be about what no program prints. */
#define PROCESS_GROUP_WAIT_MS(group, patience_ms, condition)                                 \
    do {                                                                                     \
        uint64_t process_group_until_ms = process_group_now_ms() + (uint64_t)(patience_ms);  \
        while (!(condition)) {                                                               \
            if (process_group_now_ms() >= process_group_until_ms)                            \
                process_group_fail((group), "%s:%d: waited %d ms in vain for: %s", __FILE__, \
                                   __LINE__, (int)(patience_ms), #condition);                \
            process_group_turn((group), process_group_now_ms() + PROCESS_GROUP_LOOK_MS);     \
        }                                                                                    \
    } while (0)
#define PROCESS_GROUP_WAIT(group, condition) \
    PROCESS_GROUP_WAIT_MS(group, PROCESS_GROUP_PATIENCE_MS, condition)

/* Turns until condition holds, or until no program has printed anything for quiet_ms: what is
 * missing then will not come, and whoever judges can say what it is. */
#define PROCESS_GROUP_SETTLE(group, quiet_ms, condition)                                 \
    do {                                                                                 \
        size_t process_group_lines_before = process_group_lines(group);                  \
        uint64_t process_group_until_ms = process_group_now_ms() + (uint64_t)(quiet_ms); \
        while (!(condition) && process_group_now_ms() < process_group_until_ms) {        \
            process_group_turn((group), process_group_now_ms() + PROCESS_GROUP_LOOK_MS); \
            if (process_group_lines(group) != process_group_lines_before)                \
                process_group_until_ms = process_group_now_ms() + (uint64_t)(quiet_ms);  \
            process_group_lines_before = process_group_lines(group);                     \
        }                                                                                \
    } while (0)

struct process;

struct process_options {
    const char *name;             /* in logs and messages; also of its log file */
    const char *program;          /* a path, or a name to be found in PATH */
    const char *const *arguments; /* behind the program's name; ends with NULL */
    /* Runs in the new process just before the program: limits, environment. May be NULL. */
    void (*prepare)(void *context);
    /* Called for each line that was read, without its end. May be NULL. */
    void (*on_line)(void *context, const char *line, uint64_t time_us);
    void *context;
};

/* Strings are borrowed for the call. The process is the stage's. */
struct process *process_start(struct process_group *group, const struct process_options *options);

/* Text for its stdin, as it is; and the end of it, once all of it was taken. */
void process_write(struct process *process, const char *text, size_t size);
void process_end_input(struct process *process);

/* Lines of its stdout so far. */
size_t process_lines(const struct process *process);
const char *process_line(const struct process *process, size_t i);
/* The first line from `from` on that begins with prefix; waits for it; NULL if the program ends
 * without. */
const char *process_wait_line(struct process *process, size_t from, const char *prefix,
                              int patience_ms);

/* The complete lines that the program wrote to stderr so far, the last 4 MiB of them; after its end also
 * an incomplete last line. malloc; the caller frees it. */
char *process_log(const struct process *process);
bool process_logged(const struct process *process, const char *text);

pid_t process_id(const struct process *process); /* 0 once it has ended */
void process_signal(struct process *process, int signal);
/* Whether it has ended and everything it printed was read. */
bool process_ended(const struct process *process);
/* Waits for that and returns its exit status; 128 + n when signal n ended it. */
int process_wait(struct process *process, int patience_ms);
/* kill -9, and waits for the end. Nothing if it has ended already. */
void process_kill(struct process *process);

/* What the kernel says of it; 0 when it has ended. */
size_t process_resident_bytes(const struct process *process);
size_t process_descriptors(const struct process *process);

#endif
