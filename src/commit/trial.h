/* SPDX-License-Identifier: MIT */
/* trial.h - finds out in a child process whether something ends this one.
 *
 * The child is a copy of this process (fork): it has the state and the open transaction, changes
 * its own copies of them, and ends. The child writes to no file and no connection, does not log,
 * and dies with its parent. The parent gets the last text of a dying child (an assertion).
 *
 * The parent waits, so a trial has a bound. Only the caller's thread exists in the child. Locks of
 * other threads stay held for ever, so the child must not need them. malloc is safe; a lock within
 * SQLite that another connection held for a moment makes the child hang, which ends as
 * TRIAL_UNKNOWN: try again.
 *
 * Core thread only; one trial at a time. SIGCHLD gets its default action. */
#ifndef JACKDAW_COMMIT_TRIAL_H
#define JACKDAW_COMMIT_TRIAL_H

#include "store/store.h"

#include <stdbool.h>
#include <stdint.h>

struct trial {
    void *context;
    /* Runs in the child. Calls trial_mark before each part. */
    void (*run)(void *context);
    uint32_t bound_ms;
};

enum trial_end {
    TRIAL_PASSED,  /* all requests ran, or run called trial_leave */
    TRIAL_DIED,    /* a signal that a fault of the program raises, or an exit with an error */
    TRIAL_LOOPED,  /* killed at the bound, most of which went into the part `at`, computing */
    TRIAL_UNKNOWN, /* fork failed, or the child was killed at the bound or by another process */
};

struct trial_report {
    enum trial_end end;
    bool has_begun;         /* `at` is set */
    struct log_position at; /* the last part that was marked */
    int signal;             /* TRIAL_DIED: 0: it exited with an error */
    uint64_t fork_us;       /* making the child took, */
    uint64_t took_us;       /* and all of it; 0: no child was made */
    char text[256];         /* the first line that the child wrote to standard error; "": none */
};

/* How long a trial may keep the core thread from answering pings, so that no slave suspects this master
 * meanwhile. silence_ms: for how long a master may be silent in any case. */
uint32_t trial_bound_ms(uint32_t silence_ms);

/* Runs it in a child and waits for the child's end. */
void trial_run(const struct trial *trial, struct trial_report *report);

/* The same, while no other thread uses the store (store_pause). TRIAL_UNKNOWN also if the database cannot be
 * brought up to date. */
void trial_run_on(struct store *store, const struct trial *trial, struct trial_report *report);

/* ---- in the child ---- */

/* Whether this process is the child of a trial. Any thread. */
bool trial_in_child(void);

/* The following text is the part of this name. Does nothing in any other process. */
void trial_mark(struct log_position part);

/* Ends the child: the last part came to its end, and what follows it is not tried. */
_Noreturn void trial_leave(void);

#endif
