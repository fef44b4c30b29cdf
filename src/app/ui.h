/* SPDX-License-Identifier: MIT */
/* ui.h - what the program calls of its user interface: JSON lines (cli/json_ui.c), or text for people
 * (cli/text_ui.c) on a pipe or on a terminal. A user interface prints; it decides nothing. */
#ifndef JACKDAW_APP_UI_H
#define JACKDAW_APP_UI_H

#include "app/commands.h"
#include "client/client.h"

struct app;
struct invocation;

/* How a line ended. */
struct outcome {
    const struct command *command; /* NULL: a plain message, or no command there is */
    const char *word;              /* its name; "" for a message */
    uint64_t line;
    enum status status;
    const char *error;                   /* "" when status is STATUS_OK */
    const struct client_result *result;  /* NULL: no server was asked */
    const struct invocation *invocation; /* NULL: the line was none */
};

/* All functions are called on the program's one thread. */
struct ui {
    /* Makes and ends what the screen keeps (app->lines). False: out of memory. May be NULL. */
    bool (*open)(struct app *app);
    void (*close)(struct app *app);
    bool password_words; /* /login and /register take the password as a word of the line */
    void (*event)(struct app *app, const Jackdaw__Event *event);
    void (*sent)(struct app *app, const struct outcome *outcome);   /* a message: sent, or failed */
    void (*result)(struct app *app, const struct outcome *outcome); /* any other command */
    void (*status)(struct app *app, const char *server, const char *text);
    void (*session_ended)(struct app *app, enum status status, const char *text);
    /* The server refused the login of -u; the client repeats it after result->retry_ms. */
    void (*retry)(struct app *app, const struct client_result *result);
    void (*stats)(struct app *app);
    /* Shows the contents of the state file: app->resumed, app->first_line, client_inspect. May be NULL. */
    void (*state)(struct app *app);
    /* Asks for a password with echo off. False: there is nobody to ask, or they gave up; why says
     * so. NULL: there is nobody to ask. */
    bool (*read_password)(struct app *app, const char *prompt, char *out, size_t size,
                          struct error_text *why);
};

#endif
