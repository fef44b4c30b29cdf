/* SPDX-License-Identifier: MIT */
/* app.h - the chat program without a user interface. The user interface (ui.h) supplies lines and
 * shows outcomes; app.h and commands.h say what lines mean. One thread runs all of src/app and src/cli;
 * only the handlers of cli/signals.h run elsewhere.
 *
 * A line is a command, or a message to the current room. The app starts lines in order. Messages
 * follow each other without waiting. Any other command waits until all earlier lines have ended
 * (but see app_may_start), and later lines wait for the command. */
#ifndef JACKDAW_APP_APP_H
#define JACKDAW_APP_APP_H

#include "app/commands.h"
#include "app/names.h"
#include "app/password.h"
#include "app/settings.h"
#include "app/ui.h"
#include "client/client.h"

#define APP_PASSWORD_SIZE PASSWORD_SIZE

/* A line that was started and has not ended. */
struct invocation {
    struct invocation *prev, *next;
    struct app *app;
    const struct command *command; /* NULL: a plain message */
    uint64_t line;                 /* of the input, from 1; 0: not from the input */
    uint64_t started_us;
    bool message; /* ends as sent or failed */
    bool shown;   /* the screen's: it was shown as waiting */
    char *room;   /* message: where to; the arguments' memory */
    char *text;   /* message: what */
    size_t argument_count;
    char *arguments[COMMAND_ARGUMENTS_MAX];
    char strings[];
};

/* The devices that had all places when a login was refused. */
#define APP_DEVICES_MAX 64 /* the maximum of a server's --max_sessions */
struct choice {
    char *name, *password; /* of the login */
    uint64_t sessions[APP_DEVICES_MAX];
    size_t count; /* 0: there is nothing to choose */
};

/* The exit status of the program: docs/json.md. */
enum app_exit {
    APP_EXIT_OK,
    APP_EXIT_FAILED,      /* a command or message failed */
    APP_EXIT_USAGE,       /* options, or files that they name */
    APP_EXIT_LOGIN,       /* the servers refuse the login of -u */
    APP_EXIT_UNAVAILABLE, /* no server answered in time */
    APP_EXIT_STATE,       /* the state file cannot be used */
};

struct app {
    struct client *client;
    const struct settings *settings;
    const struct ui *ui;
    struct text_output *lines;        /* the line screen's: text_output.h */
    struct names rooms;               /* joined; the last one used is last */
    struct names people;              /* seen, for completion */
    char *current;                    /* where plain lines go: a room or "@name"; NULL: nowhere */
    char password[APP_PASSWORD_SIZE]; /* of the password file; "": there is none */
    struct invocation *invocations;
    size_t messages_open, commands_open;
    uint64_t commands_failed; /* of any kind, messages too */
    uint64_t progress_us;     /* when something last ended */
    bool quitting;            /* /quit was given: the client reads no more input */
    bool input_ended;         /* no more can come */
    struct choice choice;
    struct invocation *login; /* that of -u, which is tried again at login_due_us; NULL: none */
    uint64_t login_due_us;
    unsigned login_retries;
    bool was_logged_in; /* at least once */
    bool rooms_asked;   /* those of -r */
    bool replaced;      /* another device was, as --replace asks */
    bool login_failed;  /* that of -u, for good */
    bool state_failed;  /* the state file cannot be used: the client must end */
    bool resumed;       /* a session out of the state file */
    bool
        released; /* the client ends: open lines continue in the next run, or fail without an outcome */
    uint64_t first_line;   /* number before that of the first line of this run's input */
    bool password_asked;   /* the user was asked: input typed before must not become a message */
    bool password_missing; /* the line before needed one, and there was no terminal to ask on */
    bool hopeless;         /* no server answered in time: every further request fails */
};

/* Prepares *app; password file, client and state file included. *app: ended with app_release. The
 * sentence in why is for the user; after an error only app->state_failed counts. */
enum error app_init(struct app *app, const struct settings *settings, const struct ui *ui,
                    struct error_text *why);
void app_release(struct app *app);

/* Executes all due work, and reports outcomes to the screen. */
void app_process(struct app *app);

/* How long to wait for input or app_descriptor, for poll. */
int app_timeout_ms(struct app *app);
int app_descriptor(const struct app *app);

/* Returns whether a line may start now. patient: as described above. Otherwise, for a user at a
 * terminal, commands wait for commands only, and a command without a request does not wait. */
bool app_may_start(const struct app *app, const char *line, size_t size, bool patient);

/* Starts a line: size bytes without line break, which need not be text. Ignores a line of white
 * space. */
void app_start_line(struct app *app, const char *line, size_t size, uint64_t number);

/* Reports a line that is too long, of which this is the beginning. */
void app_refuse_line(struct app *app, const char *line, size_t size, uint64_t number);

/* Logs in and joins as the settings say. */
void app_start_session(struct app *app);

/* Ends the login of -u where it waits to be tried again. */
void app_stop_login(struct app *app);

/* How the program shall end. */
enum app_exit app_exit_status(const struct app *app);

/* Whether anything has not ended. */
bool app_is_busy(const struct app *app);

/* Fails all waiting lines, and all later ones. */
void app_give_up(struct app *app, const char *text);

/* Waits a moment until what was sent has come back as events, then ends the session, if servers
 * answer: neither takes longer than a few seconds. */
void app_leave(struct app *app);

/* ---- for commands ---- */

/* Ends an invocation that asked no server. error: a sentence, "" where status is OK. */
void app_end(struct invocation *invocation, enum status status, const char *error);

/* Sends the request; the screen gets the outcome later. */
void app_ask(struct invocation *invocation, const struct client_request *request);

/* Makes a room or "@name" current. NULL: none. */
void app_set_current(struct app *app, const char *room);

/* The room an argument names: the argument, or the current room where it is missing. Without
 * either the invocation is ended and the result NULL. */
const char *app_room_of(struct invocation *invocation, size_t argument);

/* Ends /status without the state of the cluster, if no server answered it. False: a server did. */
bool command_status_goes_on(struct invocation *invocation, const struct client_result *result);

#endif
