/* SPDX-License-Identifier: MIT */
/* completion.h - what the tab key adds: commands, rooms, names. */
#ifndef JACKDAW_CLI_COMPLETION_H
#define JACKDAW_CLI_COMPLETION_H

struct app;

/* line: the text before the cursor. Returns the text to insert: the rest of the only matching word,
 * with a space, or the common part of all matching words. If that is "", shows each of them. NULL
 * when nothing fits, or out of memory. To be freed. */
char *completion_of(const struct app *app, const char *line,
                    void (*show)(void *context, const char *candidate), void *context);

#endif
