/* SPDX-License-Identifier: MIT */
/* invocation.c - a line that was started: from its making to its outcome. */
#include "client/app_internal.h"

#include "base/clock.h"
#include "client/text.h"

#include <sodium.h>
#include <stdlib.h>
#include <string.h>
#include <utlist.h>

const char *invocation_word(const struct command *command)
{
    return command == NULL ? "" : command->name;
}

struct invocation *invocation_make(struct app *app, const struct command *command, const char *rest,
                                   uint64_t line)
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
                                    .word = invocation_word(invocation->command),
                                    .line = invocation->line,
                                    .status = status,
                                    .error = error,
                                    .invocation = invocation};
    conclude(invocation, &outcome);
}

/* Where the current room is still joined (somebody logged in again), it stays current. */
static void follow_login(struct app *app, const Jackdaw__LoginReply *reply)
{
    char *current = app->current;
    app->current = NULL;
    app_forget_rooms(app);
    for (size_t i = 0; i < reply->n_rooms; i++)
        names_add(&app->rooms, reply->rooms[i]);
    if (current != NULL && (*current == '@' || names_find(&app->rooms, current) != NULL))
        app_set_current(app, current);
    else if (app->rooms.count == 1)
        app_set_current(app, app->rooms.items[0]);
    free(current);
}

/* What a success changes here. */
static void follow_result(struct app *app, const struct client_result *result)
{
    switch (result->call) {
    case CLIENT_LOGIN:
        follow_login(app, result->reply.login);
        break;
    case CLIENT_LOGOUT:
    case CLIENT_DELETE:
        app_forget_rooms(app);
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
    struct app *app = invocation->app;
    if (status_goes_on(invocation, result) || login_goes_on(invocation, result))
        return;
    if (result->status == STATUS_OK)
        follow_result(app, result);
    const struct outcome outcome = {.command = invocation->command,
                                    .word = invocation_word(invocation->command),
                                    .line = invocation->line,
                                    .status = result->status,
                                    .error = result->error,
                                    .result = result,
                                    .invocation = invocation};
    conclude(invocation, &outcome);
    if (result->call == CLIENT_LOGIN && result->status == STATUS_OK)
        app_join_rooms(app);
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

const char *app_room_of(struct invocation *invocation, size_t argument)
{
    if (invocation->argument_count > argument)
        return invocation->arguments[argument];
    const char *current = invocation->app->current;
    if (current == NULL)
        app_end(invocation, STATUS_FAILED_PRECONDITION,
                "there is no current room: name one, or /join it first");
    return current;
}
