/* SPDX-License-Identifier: MIT */
/* completion.h - what the tab key adds: commands, rooms, names. */
#ifndef JACKDAW_CLI_COMPLETION_H
#define JACKDAW_CLI_COMPLETION_H

struct app;

/* line: what stands before the cursor. Returns what is to be added: the rest of the only word that
 * fits, with a space, or what all that fit have in common; "" when they have nothing more in
 * common: each is then shown. NULL when nothing fits, or out of memory. To be freed. */
char *completion_of(const struct app *app, const char *line,
                    void (*show)(void *context, const char *candidate), void *context);

#endif
