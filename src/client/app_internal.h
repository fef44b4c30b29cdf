/* SPDX-License-Identifier: MIT */
/* app_internal.h - what the files of app.h share: app.c, app_lines.c, invocation.c. */
#ifndef JACKDAW_CLIENT_APP_INTERNAL_H
#define JACKDAW_CLIENT_APP_INTERNAL_H

#include "client/app.h"

/* Makes an invocation and puts it on the list; rest is copied into its strings. Ends with app_end,
 * or by itself after app_ask. NULL: out of memory. */
struct invocation *invocation_make(struct app *app, const struct command *command, const char *rest,
                                   uint64_t line);

/* The name of a command; "" for NULL. */
const char *invocation_word(const struct command *command);

/* The session is over: no room is joined any more, none is current. */
void app_forget_rooms(struct app *app);

#endif
