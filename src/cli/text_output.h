/* SPDX-License-Identifier: MIT */
/* text_output.h - internals of the line screen: its state, and the output of a line.
 *
 *     text_ui.c    messages, events, the connection, waiting messages
 *     text_results.c   outcomes of commands
 *     text_status.c    the outcome of /status
 *     text_output.c          putting lines where they belong */
#ifndef JACKDAW_CLI_TEXT_OUTPUT_H
#define JACKDAW_CLI_TEXT_OUTPUT_H

#include "app/ui.h"

#include <stdarg.h>
#include <stdio.h>

#define TEXT_OUTPUT_ROOMS_MAX 512

/* The messages of a room that are on the screen. */
struct text_output_room {
    char *name;
    uint64_t first;       /* number of the message from which on all are on the screen, */
    uint64_t shown;       /* up to this one, its latest */
    uint64_t undelivered; /* messages that the servers had not delivered at the login */
};

struct text_output {
    struct text_output_room *rooms;
    size_t room_count;
    bool holding; /* hold lines back, so that they do not disturb the user's input */
    char *held;
    size_t held_size;
    FILE *held_stream;
    /* Where lines go when an editor shows what is being typed; NULL: to standard output. text ends
     * with a line break. */
    void (*put)(void *context, const char *text);
    void *put_context;
};

/* Puts a line, made as by printf; it may hold styles (terminal.h) and ends by itself. */
void text_output_put(struct app *app, const char *format, ...)
    __attribute__((format(printf, 2, 3)));

/* Keeps lines back, and lets them go. */
void text_output_hold(struct app *app);
void text_output_release(struct app *app);

/* Returns the state of a room; creates it if needed. NULL: out of memory. */
struct text_output_room *text_output_room(struct app *app, const char *name);

/* A text of a peer's made harmless, on one line or more; to be freed. Never NULL. */
char *text_output_text(const char *text, const char *indent);

/* "12:03", or with the date where it is another day. */
#define TEXT_OUTPUT_TIME_SIZE 32
void text_output_time(uint64_t time_ms, char out[static TEXT_OUTPUT_TIME_SIZE]);

/* One message, from history or as an event. */
void text_output_message(struct app *app, const Jackdaw__Event *event);

/* The outcome of a command that succeeded; line_results.c. */
void text_output_result(struct app *app, const struct outcome *outcome);
/* Prints the devices that have all places of an account, to choose one from. Without devices prints
 * nothing. */
void text_output_devices(struct app *app, const struct client_result *result);
void text_output_stats(struct app *app);
/* That of /status; result: NULL where no server answered. text_status.c */
void text_output_status(struct app *app, const struct client_result *result);

#endif
