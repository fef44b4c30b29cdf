/* SPDX-License-Identifier: MIT */
/* signals.h - signals as flags that the program's loop looks at. Process-wide. */
#ifndef JACKDAW_CLIENT_SIGNALS_H
#define JACKDAW_CLIENT_SIGNALS_H

#include <stdbool.h>

struct client;

/* Catches SIGINT, SIGTERM, SIGHUP, and, with terminal set, SIGWINCH, SIGTSTP and SIGCONT; ignores
 * SIGPIPE. Whatever comes wakes the client (borrowed until signals_ignore). */
void signals_watch(struct client *client, bool terminal);
/* The client is about to go. */
void signals_ignore(void);

/* Whether one came since the last call. */
bool signals_interrupted(void);
bool signals_resized(void);
bool signals_stopped(void);
bool signals_continued(void);
/* Whether the program has been told to end (SIGTERM, SIGHUP); stays. */
bool signals_ended(void);

/* Stops the process as SIGTSTP does by itself; returns when it goes on. */
void signals_stop_self(void);

#endif
