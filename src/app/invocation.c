/* SPDX-License-Identifier: MIT */
/* invocation.c - a line that was started: from its making to its outcome. */
#include "app/app_internal.h"

#include "base/clock.h"
#include "client/text.h"

#include <sodium.h>
#include <stdlib.h>
#include <string.h>
#include <utlist.h>

#define RESUME_ROOMS_MAX 1000 /* of a page of the list; servers allow fewer for one account */

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

static bool is_resume(const struct invocation *invocation)
{
    return invocation->command != NULL && invocation->command->run == command_run_resume;
}

void app_note_line(struct app *app, uint64_t line)
{
    if (app->client == NULL)
        return;
    app_check_output(app);
    client_note(app->client, line, app->current);
}

/* Ends an invocation: removes it from the list, reports its outcome, frees it. */
static void conclude(struct invocation *invocation, const struct outcome *outcome)
{
    struct app *app = invocation->app;
    DL_DELETE(app->invocations, invocation);
    if (invocation->message)
        app->messages_open--;
    else
        app->commands_open--;
    /* Where there is no session to resume, a login follows, or the end. */
    if (outcome->status != STATUS_OK && !is_resume(invocation))
        app->commands_failed++;
    app->progress_us = clock_monotonic_us();
    if (invocation->message)
        app->ui->sent(app, outcome);
    else
        app->ui->result(app, outcome);
    app_note_line(app, invocation->line);
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

/* Makes the current room of the run before current again. */
static void follow_resume(struct app *app, const Jackdaw__ListRoomsReply *reply)
{
    struct client_view view;
    client_inspect(app->client, &view);
    char *current = view.note == NULL || *view.note == '\0' ? NULL : strdup(view.note);
    app_forget_rooms(app);
    for (size_t i = 0; i < reply->n_rooms; i++)
        names_add(&app->rooms, reply->rooms[i]->name);
    if (current != NULL && (*current == '@' || names_find(&app->rooms, current) != NULL))
        app_set_current(app, current);
    else if (app->rooms.count == 1)
        app_set_current(app, app->rooms.items[0]);
    free(current);
}

/* If the current room is still joined (after a new login), it stays current. */
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

/* The changes after a success. */
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
    if (app->released)
        return;
    bool resumes = is_resume(invocation);
    if (command_status_goes_on(invocation, result) || app_login_goes_on(invocation, result))
        return;
    if (result->status == STATUS_OK && resumes)
        follow_resume(app, result->reply.rooms);
    else if (result->status == STATUS_OK)
        follow_result(app, result);
    const struct outcome outcome = {.command = invocation->command,
                                    .word = invocation_word(invocation->command),
                                    .line = invocation->line,
                                    .status = result->status,
                                    .error = result->error,
                                    .result = result,
                                    .invocation = invocation};
    conclude(invocation, &outcome);
    if ((result->call == CLIENT_LOGIN || resumes) && result->status == STATUS_OK)
        app_join_rooms(app);
}

/* ---- out of the state file ---- */

void command_run_resume(struct invocation *invocation)
{
    app_ask(invocation, &(struct client_request){
                            .call = CLIENT_ROOMS, .joined = true, .limit = RESUME_ROOMS_MAX});
}

/* Not typed by anybody. */
static const struct command resume = {
    .name = "resume", .arguments = "", .help = "", .run = command_run_resume};

void invocation_resume(struct app *app)
{
    struct invocation *invocation = invocation_make(app, &resume, "", 0);
    if (invocation != NULL)
        command_run_resume(invocation);
}

static const struct command *command_of(const struct client_request *request)
{
    static const char *const names[] = {
        [CLIENT_JOIN] = "join",     [CLIENT_LEAVE] = "leave", [CLIENT_TOPIC] = "topic",
        [CLIENT_INVITE] = "invite", [CLIENT_KICK] = "kick",
    };
    if (request->call == CLIENT_SEND)
        return NULL;
    const char *name = request->ban ? "ban" : names[request->call];
    return command_named(name, strlen(name));
}

void invocation_restore(void *context, const struct client_request *request, client_done **done,
                        void **done_context)
{
    struct app *app = context;
    struct invocation *invocation =
        invocation_make(app, command_of(request), request->text, request->tag);
    if (invocation == NULL)
        return; /* out of memory: its outcome is lost */
    if (invocation->message)
        invocation->text = invocation->strings;
    *done = on_done;
    *done_context = invocation;
}

void invocation_drop_all(struct app *app)
{
    struct invocation *invocation, *next;
    DL_FOREACH_SAFE(app->invocations, invocation, next) {
        sodium_memzero(invocation->strings, strlen(invocation->strings));
        free(invocation);
    }
    app->invocations = NULL;
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
    struct client_request tagged = *request;
    tagged.tag = invocation->line;
    enum error error = client_ask(app->client, &tagged, on_done, invocation, &why);
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
