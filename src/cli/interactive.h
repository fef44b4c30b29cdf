/* SPDX-License-Identifier: MIT */
/* interactive.h - the line that is being typed, by libedit (histedit.h), with messages appearing
 * above it. History, completion with the tab key, Ctrl-C to drop a line or to leave, Ctrl-D to
 * leave, Ctrl-Z to pause.
 *
 * libedit waits for keys in a function of ours, which is the client's loop: poll for keys and for
 * the client, process, print, redraw. Nothing else waits. */
#ifndef JACKDAW_CLI_INTERACTIVE_H
#define JACKDAW_CLI_INTERACTIVE_H

#include <stdbool.h>

struct app;

/* Whether the terminal can do it. Also prepares it. */
bool interactive_is_possible(void);

/* Runs until the person leaves. Unsent messages then have had a few seconds' time. */
void interactive_run(struct app *app);

#endif
