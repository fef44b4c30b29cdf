/* SPDX-License-Identifier: MIT */
/* lines.h - inside of the line screen: what it keeps, and how a line comes about.
 *
 *     line_screen.c    messages, events, the connection, waiting messages
 *     line_results.c   outcomes of commands
 *     line_status.c    the outcome of /status
 *     lines.c          putting lines where they belong */
#ifndef JACKDAW_CLI_LINES_H
#define JACKDAW_CLI_LINES_H

#include "cli/screen.h"

#include <stdarg.h>
#include <stdio.h>

#define LINES_ROOMS_MAX 512

/* What was shown of a room. */
struct lines_room {
    char *name;
    uint64_t first;       /* number of the message from which on all are on the screen, */
    uint64_t shown;       /* up to this one, its latest */
    uint64_t undelivered; /* messages that are still to come by themselves, as of the login */
};

struct lines {
    struct lines_room *rooms;
    size_t room_count;
    bool holding; /* keep lines back: something is being typed that must not be disturbed */
    char *held;
    size_t held_size;
    FILE *held_stream;
    /* Where lines go when an editor shows what is being typed; NULL: to standard output. text ends
     * with a line break. */
    void (*put)(void *context, const char *text);
    void *put_context;
};

/* Puts a line, made as by printf; it may hold styles (terminal.h) and ends by itself. */
void lines_put(struct app *app, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* Keeps lines back, and lets them go. */
void lines_hold(struct app *app);
void lines_release(struct app *app);

/* What is kept of a room; made if it was not there. NULL: out of memory. */
struct lines_room *lines_room(struct app *app, const char *name);

/* A text of a peer's made harmless, on one line or more; to be freed. Never NULL. */
char *lines_text(const char *text, const char *indent);

/* "12:03", or with the date where it is another day. */
#define LINES_TIME_SIZE 32
void lines_time(uint64_t time_ms, char out[static LINES_TIME_SIZE]);

/* One message, from history or as an event. */
void lines_message(struct app *app, const Jackdaw__Event *event);

/* The outcome of a command that succeeded; line_results.c. */
void lines_result(struct app *app, const struct outcome *outcome);
/* The devices that have all places of an account, to choose one from; nothing where there are none. */
void lines_devices(struct app *app, const struct client_result *result);
void lines_figures(struct app *app);
/* That of /status; result: NULL where no server answered. line_status.c */
void lines_status(struct app *app, const struct client_result *result);

#endif
