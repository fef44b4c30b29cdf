/* SPDX-License-Identifier: MIT */
#include "client/app.h"

#include "base/clock.h"
#include "client/text.h"
#include "version.h"

#include <poll.h>
#include <sodium.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <utlist.h>

#define LEAVE_MS 3000u /* for ending the session */
#define ECHO_MS 1000u  /* for what was sent to come back */

/* ---- what the client library tells ---- */

static bool is_me(const struct app *app, const char *name)
{
    struct client_view view;
    client_look(app->client, &view);
    return view.name != NULL && strcmp(view.name, name) == 0;
}

/* Rooms are joined and left by this session's commands, but also on other devices and by owners. */
static void follow_event(struct app *app, const Jackdaw__Event *event)
{
    if (*event->from != '\0')
        names_add(&app->people, event->from);
    switch (event->kind) {
    case JACKDAW__EVENT__KIND__JOINED:
        if (is_me(app, event->from) && names_find(&app->rooms, event->room) == NULL)
            names_add(&app->rooms, event->room);
        break;
    case JACKDAW__EVENT__KIND__LEFT:
        if (!is_me(app, event->from))
            break;
        names_remove(&app->rooms, event->room);
        if (app->current != NULL && strcmp(app->current, event->room) == 0)
            app_set_current(app, names_last(&app->rooms));
        break;
    default:
        break;
    }
}

static void on_event(void *context, const Jackdaw__Event *event)
{
    struct app *app = context;
    follow_event(app, event);
    app->screen->event(app, event);
}

static void on_status(void *context, const char *server, const char *text)
{
    struct app *app = context;
    app->screen->status(app, server, text);
}

static void forget_rooms(struct app *app)
{
    names_clear(&app->rooms);
    app_set_current(app, NULL);
}

static void on_session_ended(void *context, enum status status, const char *text)
{
    struct app *app = context;
    forget_rooms(app);
    app->screen->session_ended(app, status, text);
}

static const struct client_observer observer = {
    .event = on_event, .status = on_status, .session_ended = on_session_ended};

/* ---- life ---- */

static enum error make_client(struct app *app, struct error_text *why)
{
    const struct settings *settings = app->settings;
    char device[65] = "";
    (void)gethostname(device, sizeof device - 1);
    const struct client_options options = {
        .addresses = settings->addresses.items,
        .address_count = settings->addresses.count,
        .tls_authority = settings->tls_ca,
        .program = "jackdaw " JACKDAW_VERSION,
        .device = text_is_valid(device, strlen(device)) ? device : "",
        .observer = &observer,
        .context = app,
    };
    return client_new(&app->client, &options, why);
}

enum error app_init(struct app *app, const struct settings *settings, const struct screen *screen,
                    struct error_text *why)
{
    *app = (struct app){.settings = settings, .screen = screen};
    app->progress_us = clock_monotonic_us();
    enum error error = OK;
    if (settings->password_file != NULL)
        error = password_read_file(settings->password_file, app->password, why);
    if (error == OK)
        error = make_client(app, why);
    if (error == OK && screen->open != NULL && !screen->open(app))
        error = error_set(why, ERROR_NO_MEMORY, "out of memory");
    if (error != OK)
        app_release(app);
    return error;
}

void app_release(struct app *app)
{
    client_free(app->client);
    if (app->screen->close != NULL)
        app->screen->close(app);
    names_clear(&app->rooms);
    names_clear(&app->people);
    free(app->current);
    sodium_memzero(app, sizeof *app);
}

void app_process(struct app *app)
{
    client_process(app->client);
}

int app_timeout_ms(struct app *app)
{
    return client_timeout_ms(app->client);
}

int app_descriptor(const struct app *app)
{
    return client_descriptor(app->client);
}

bool app_is_busy(const struct app *app)
{
    return app->invocations != NULL;
}

/* ---- invocations ---- */

/* The name of a command, wherever it comes from. */
static const char *word_of(const struct command *command)
{
    return command == NULL ? "" : command->name;
}

static struct invocation *make_invocation(struct app *app, const struct command *command,
                                          const char *rest, uint64_t line)
{
    struct invocation *invocation = calloc(1, sizeof *invocation + strlen(rest) + 1);
    if (invocation == NULL)
        return NULL;
    invocation->app = app;
    invocation->command = command;
    invocation->line = line;
    invocation->started_us = clock_monotonic_us();
    invocation->message = command == NULL || command->message;
    memcpy(invocation->strings, rest, strlen(rest) + 1);
    DL_APPEND(app->invocations, invocation);
    if (invocation->message)
        app->messages_open++;
    else
        app->commands_open++;
    return invocation;
}

/* It has ended: off the list, told, freed. */
static void conclude(struct invocation *invocation, const struct outcome *outcome)
{
    struct app *app = invocation->app;
    DL_DELETE(app->invocations, invocation);
    if (invocation->message)
        app->messages_open--;
    else
        app->commands_open--;
    if (outcome->status != STATUS_OK)
        app->commands_failed++;
    app->progress_us = clock_monotonic_us();
    if (invocation->message)
        app->screen->sent(app, outcome);
    else
        app->screen->result(app, outcome);
    sodium_memzero(invocation->strings, strlen(invocation->strings));
    free(invocation);
}

void app_end(struct invocation *invocation, enum status status, const char *error)
{
    const struct outcome outcome = {.command = invocation->command,
                                    .word = word_of(invocation->command),
                                    .line = invocation->line,
                                    .status = status,
                                    .error = error,
                                    .invocation = invocation};
    conclude(invocation, &outcome);
}

/* What a success changes here. */
static void follow_result(struct app *app, const struct client_result *result)
{
    switch (result->call) {
    case CLIENT_LOGIN:
        forget_rooms(app);
        for (size_t i = 0; i < result->reply.login->n_rooms; i++)
            names_add(&app->rooms, result->reply.login->rooms[i]);
        if (app->rooms.count == 1)
            app_set_current(app, app->rooms.items[0]);
        break;
    case CLIENT_LOGOUT:
    case CLIENT_DELETE:
        forget_rooms(app);
        break;
    case CLIENT_JOIN:
        app_set_current(app, result->reply.join->room);
        break;
    case CLIENT_LEAVE:
        names_remove(&app->rooms, result->room);
        if (app->current != NULL && text_same_name(app->current, result->room))
            app_set_current(app, names_last(&app->rooms));
        break;
    case CLIENT_MEMBERS:
        for (size_t i = 0; i < result->reply.members->n_members; i++)
            names_add(&app->people, result->reply.members->members[i]->name);
        break;
    case CLIENT_ACCOUNTS:
        for (size_t i = 0; i < result->reply.accounts->n_accounts; i++)
            names_add(&app->people, result->reply.accounts->accounts[i]->name);
        break;
    default:
        break;
    }
}

static void on_done(void *context, const struct client_result *result)
{
    struct invocation *invocation = context;
    if (result->status == STATUS_OK)
        follow_result(invocation->app, result);
    const struct outcome outcome = {.command = invocation->command,
                                    .word = word_of(invocation->command),
                                    .line = invocation->line,
                                    .status = result->status,
                                    .error = result->error,
                                    .result = result,
                                    .invocation = invocation};
    conclude(invocation, &outcome);
}

static enum status status_of(enum error error)
{
    switch (error) {
    case ERROR_INVALID:
        return STATUS_INVALID_ARGUMENT;
    case ERROR_FULL:
        return STATUS_RESOURCE_EXHAUSTED;
    default:
        return status_from_error(error);
    }
}

void app_ask(struct invocation *invocation, const struct client_request *request)
{
    struct app *app = invocation->app;
    struct error_text why;
    if (app->hopeless) {
        app_end(invocation, STATUS_UNAVAILABLE, "no server answers, and waiting was given up");
        return;
    }
    enum error error = client_ask(app->client, request, on_done, invocation, &why);
    if (error != OK)
        app_end(invocation, status_of(error), why.text);
}

/* ---- lines ---- */

static void refuse(struct app *app, const struct command *command, uint64_t line, bool message,
                   const char *sentence)
{
    const struct outcome outcome = {
        .command = command,
        .word = word_of(command),
        .line = line,
        .status = STATUS_INVALID_ARGUMENT,
        .error = sentence,
    };
    app->commands_failed++;
    if (message)
        app->screen->sent(app, &outcome);
    else
        app->screen->result(app, &outcome);
}

static void start_message(struct app *app, const char *text, uint64_t line)
{
    struct invocation *invocation = make_invocation(app, NULL, text, line);
    if (invocation == NULL) {
        refuse(app, NULL, line, true, "out of memory");
        return;
    }
    invocation->text = invocation->strings;
    if (app->current == NULL) {
        app_end(invocation, STATUS_FAILED_PRECONDITION,
                "there is no current room: /join one, or /switch to @somebody");
        return;
    }
    app_ask(invocation, &(struct client_request){
                            .call = CLIENT_SEND, .room = app->current, .text = invocation->text});
}

static void start_command(struct app *app, const struct command *command, const char *rest,
                          uint64_t line)
{
    struct invocation *invocation = make_invocation(app, command, rest, line);
    if (invocation == NULL) {
        refuse(app, command, line, command->message, "out of memory");
        return;
    }
    if (!command_split(command, invocation->strings, invocation->arguments,
                       &invocation->argument_count)) {
        struct error_text why;
        (void)error_set(&why, OK, "usage: /%s%s%s", command->name,
                        *command->arguments == '\0' ? "" : " ", command->arguments);
        app_end(invocation, STATUS_INVALID_ARGUMENT, why.text);
        return;
    }
    command->run(invocation);
}

static void refuse_unknown(struct app *app, const char *rest, uint64_t line)
{
    struct error_text why;
    struct error_text word;
    (void)error_set(&word, OK, "%.*s", (int)strcspn(rest, " \t"), rest);
    (void)error_set(&why, OK, "there is no command /%.64s: /help lists them", word.text);
    const struct outcome outcome = {
        .word = word.text, .line = line, .status = STATUS_INVALID_ARGUMENT, .error = why.text};
    app->commands_failed++;
    app->screen->result(app, &outcome);
}

void app_start_line(struct app *app, const char *line, size_t size, uint64_t number)
{
    const struct command *command;
    const char *rest;
    char *copy = strndup(line, size);
    if (copy == NULL) {
        refuse(app, NULL, number, true, "out of memory");
        return;
    }
    enum line_kind kind = command_parse(copy, &command, &rest);
    if (!text_is_valid(line, size)) {
        bool message = kind == LINE_MESSAGE || (kind == LINE_COMMAND && command->message);
        refuse(app, command, number, message, "the line is not text in UTF-8");
        kind = LINE_EMPTY;
    }
    switch (kind) {
    case LINE_EMPTY:
        break;
    case LINE_MESSAGE:
        start_message(app, rest, number);
        break;
    case LINE_COMMAND:
        start_command(app, command, rest, number);
        break;
    case LINE_UNKNOWN:
        refuse_unknown(app, rest, number);
        break;
    }
    sodium_memzero(copy, strlen(copy)); /* it may have held a password */
    free(copy);
}

void app_refuse_line(struct app *app, const char *line, size_t size, uint64_t number)
{
    const struct command *command = NULL;
    const char *rest;
    char *copy = strndup(line, size);
    enum line_kind kind = copy == NULL ? LINE_MESSAGE : command_parse(copy, &command, &rest);
    bool message = kind == LINE_MESSAGE || (kind == LINE_COMMAND && command->message);
    struct error_text why;
    (void)error_set(&why, OK, "the line is longer than the %zu bytes that a line may have", size);
    refuse(app, command, number, message || kind == LINE_EMPTY, why.text);
    free(copy);
}

bool app_may_start(const struct app *app, const char *line, size_t size, bool patient)
{
    char beginning[32]; /* enough for the longest name of a command */
    size_t length = size < sizeof beginning - 1 ? size : sizeof beginning - 1;
    memcpy(beginning, line, length);
    beginning[length] = '\0';
    const struct command *command;
    const char *rest;
    enum line_kind kind = command_parse(beginning, &command, &rest);
    bool message = kind == LINE_MESSAGE || (kind == LINE_COMMAND && command->message);
    if (!patient && kind == LINE_COMMAND && command->local)
        return true;
    if (app->commands_open > 0)
        return false;
    if (message)
        return app->hopeless || client_has_room(app->client, size);
    return !patient || (kind == LINE_COMMAND && command->early) || app->messages_open == 0;
}

static void start_own_line(struct app *app, const char *command, const char *argument)
{
    struct error_text line; /* long enough for any name */
    (void)error_set(&line, OK, "/%s %s", command, argument);
    app_start_line(app, line.text, strlen(line.text), 0);
}

void app_start_session(struct app *app)
{
    const struct settings *settings = app->settings;
    if (settings->user != NULL)
        start_own_line(app, "login", settings->user);
    for (size_t i = 0; i < settings->rooms.count; i++)
        start_own_line(app, "join", settings->rooms.items[i]);
}

/* ---- leaving ---- */

void app_give_up(struct app *app, const char *text)
{
    app->hopeless = true;
    client_give_up(app->client, STATUS_UNAVAILABLE, text);
}

/* What is waited for before leaving. */
static bool is_up_to_date(const struct app *app)
{
    struct client_view view;
    client_look(app->client, &view);
    return view.name == NULL || view.epoch > view.sent_epoch ||
           (view.epoch == view.sent_epoch && view.seq >= view.sent_seq);
}

static void run_until(struct app *app, bool (*is_done)(const struct app *app), uint32_t bound_ms)
{
    uint64_t end_us = clock_monotonic_us() + (uint64_t)bound_ms * 1000;
    app_process(app);
    while (!is_done(app)) {
        uint64_t now_us = clock_monotonic_us();
        if (now_us >= end_us)
            break;
        int left_ms = (int)((end_us - now_us) / 1000) + 1;
        int wait_ms = app_timeout_ms(app);
        struct pollfd entry = {.fd = app_descriptor(app), .events = POLLIN};
        (void)poll(&entry, 1, wait_ms < 0 || wait_ms > left_ms ? left_ms : wait_ms);
        app_process(app);
    }
}

static bool is_logged_out(const struct app *app)
{
    return client_unfinished(app->client) == 0;
}

void app_leave(struct app *app)
{
    struct client_view view;
    if (client_unfinished(app->client) > 0)
        client_give_up(app->client, STATUS_UNAVAILABLE, "you left before a server answered");
    client_look(app->client, &view);
    if (view.server == NULL || view.name == NULL)
        return;
    run_until(app, is_up_to_date, ECHO_MS);
    const struct client_request logout = {.call = CLIENT_LOGOUT};
    if (client_ask(app->client, &logout, NULL, NULL, NULL) == OK)
        run_until(app, is_logged_out, LEAVE_MS);
}

void app_set_current(struct app *app, const char *room)
{
    char *copy = room == NULL ? NULL : strdup(room);
    if (room != NULL && copy == NULL)
        return;
    if (room != NULL && *room != '@')
        names_add(&app->rooms, copy);
    free(app->current);
    app->current = copy;
}

const char *app_room_of(struct invocation *invocation, size_t argument)
{
    if (invocation->argument_count > argument)
        return invocation->arguments[argument];
    if (invocation->app->current == NULL)
        app_end(invocation, STATUS_FAILED_PRECONDITION,
                "there is no current room: name one, or /join it first");
    return invocation->app->current;
}
