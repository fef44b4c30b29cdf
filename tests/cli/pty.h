/* SPDX-License-Identifier: MIT */
/* pty.h - a program in a pseudo-terminal: the test types, and looks at the screen.
 *
 * The screen is a model of what an xterm shows: characters, line wrapping, and the control sequences
 * that libedit and terminfo use (ECMA-48: CUU, CUD, CUF, CUB, CHA, CUP, ED, EL, DCH, ICH, SGR). Lines
 * that scroll off stay in pty_text. Every other sequence is counted as foreign.
 *
 * The program is the foreground job of a small shell in the same terminal, which leads the session: so
 * Ctrl-Z stops it, and pty_continue goes on with it, as `fg` does.
 *
 * Waiting is for a condition, with a deadline: PTY_WAIT. One thread. Failures fail the test. */
#ifndef JACKDAW_TESTS_PTY_H
#define JACKDAW_TESTS_PTY_H

#include "base/clock.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define PTY_PATIENCE_MS 60000
#define PTY_LOOK_MS 20 /* how long one turn waits for output */

struct pty;

struct pty_options {
    const char *const *arguments;   /* the program and its arguments; ends with NULL */
    const char *const *environment; /* "NAME=value", set for the program; ends with NULL */
    unsigned rows, columns;         /* 0: 24 and 80 */
    /* Called in each turn of a wait, for example to run servers. May be NULL. */
    void (*turn)(void *context);
    void *context;
};

/* Everything in options is borrowed until pty_close. */
struct pty *pty_open(const struct pty_options *options);
/* Kills the program if it runs. NULL is allowed. */
void pty_close(struct pty *pty);

void pty_type(struct pty *pty, const char *keys);
void pty_resize(struct pty *pty, unsigned rows, unsigned columns);
void pty_continue(struct pty *pty); /* `fg`, after the program has stopped */

/* Row i from 0, in UTF-8, without blanks at its end. Valid until the next call. */
const char *pty_row(const struct pty *pty, unsigned i);
unsigned pty_cursor_row(const struct pty *pty);
unsigned pty_cursor_column(const struct pty *pty);
/* All rows, those that scrolled off first, each with a line end. Valid until the next call. */
const char *pty_text(const struct pty *pty);
bool pty_shows(const struct pty *pty, const char *text);
/* How often. */
size_t pty_count(const struct pty *pty, const char *text);

/* Whether the program has written text, shown or not. */
bool pty_has_written(const struct pty *pty, const char *text);
size_t pty_foreign_sequences(const struct pty *pty);
/* Whether the terminal echoes what is typed. */
bool pty_echoes(const struct pty *pty);

bool pty_has_stopped(const struct pty *pty);
bool pty_has_ended(const struct pty *pty);
int pty_status(const struct pty *pty); /* the exit status, or 128 and the signal; after the end */

/* Reads what was written, and runs options->turn. */
void pty_turn(struct pty *pty);
/* Fails the test, and prints the screen. */
_Noreturn void pty_fail(struct pty *pty, const char *what, int line);

#define PTY_WAIT(pty, condition)                                        \
    do {                                                                \
        uint64_t pty_until_ms = clock_monotonic_ms() + PTY_PATIENCE_MS; \
        while (!(condition)) {                                          \
            if (clock_monotonic_ms() >= pty_until_ms)                   \
                pty_fail((pty), #condition, __LINE__);                  \
            pty_turn(pty);                                              \
        }                                                               \
    } while (0)

#endif
