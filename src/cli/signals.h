/* SPDX-License-Identifier: MIT */
/* signals.h - signals as flags that the program's loop looks at. Process-wide. */
#ifndef JACKDAW_CLI_SIGNALS_H
#define JACKDAW_CLI_SIGNALS_H

#include <stdbool.h>

/* After the second order to end, the process has this long to do so by itself. Then it ends with
 * APP_EXIT_FAILED: its loop hangs, for example in a pipe that nobody reads. */
#define SIGNALS_GRACE_S 2

struct client;

/* Catches SIGINT, SIGTERM, SIGHUP, and, with terminal set, SIGWINCH, SIGTSTP and SIGCONT; ignores
 * SIGPIPE. Each signal wakes the client (borrowed until signals_ignore) and restarts interrupted
 * system calls. SIGTERM and SIGHUP are orders to end, and so is SIGINT without terminal. */
void signals_watch(struct client *client, bool terminal);
/* The client is about to go. */
void signals_ignore(void);

/* Whether one came since the last call. */
bool signals_interrupted(void);
bool signals_resized(void);
bool signals_stopped(void);
bool signals_continued(void);
/* The number of SIGTERM and SIGHUP since the start. */
int signals_ended(void);
/* The loop obeys a first order, which may have been a SIGINT: the next one is the second. */
void signals_leave(void);

/* Stops the process as SIGTSTP does by itself; returns when it goes on. */
void signals_stop_self(void);

#endif
