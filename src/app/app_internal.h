/* SPDX-License-Identifier: MIT */
/* app_internal.h - what the files of app.h share: app.c, app_lines.c, app_login.c, invocation.c. */
#ifndef JACKDAW_APP_APP_INTERNAL_H
#define JACKDAW_APP_APP_INTERNAL_H

#include "app/app.h"

/* Makes an invocation and puts it on the list; rest is copied into its strings. Ends with app_end,
 * or by itself after app_ask. NULL: out of memory. */
struct invocation *invocation_make(struct app *app, const struct command *command, const char *rest,
                                   uint64_t line);

/* Goes on with a request out of the state file: an invocation, for its end; the client's observer. */
void invocation_restore(void *context, const struct client_request *request, client_done **done,
                        void **done_context);
/* Asks whether the session out of the state file is still there, and which rooms are joined. */
void invocation_resume(struct app *app);
/* Frees those that go on in the next run, without an outcome. */
void invocation_drop_all(struct app *app);

/* The name of a command; "" for NULL. */
const char *invocation_word(const struct command *command);

/* Whether nobody is there to be asked. */
bool app_is_program(const struct app *app);

/* A login has ended. True: it does not end here, it is asked again now or later. */
bool app_login_goes_on(struct invocation *invocation, const struct client_result *result);
/* A login of -u is refused for good: a program has nothing more to do. */
void app_cannot_log_in(struct app *app);
/* Tries again what waits for its time; how long to wait for that, or wait_ms if that is less. */
void app_login_tick(struct app *app);
int app_login_timeout_ms(const struct app *app, int wait_ms);
/* Joins the rooms of -r, the first time. */
void app_join_rooms(struct app *app);
void app_login_clear_choice(struct choice *choice);

/* Checks standard output after the screen has printed. If standard output has failed, the state
 * file does not note the printed objects. */
void app_check_output(struct app *app);

/* The line has ended, or is in the state file otherwise. */
void app_note_line(struct app *app, uint64_t line);

/* The session is over: no room is joined any more, none is current. */
void app_forget_rooms(struct app *app);

#endif
