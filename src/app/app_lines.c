/* SPDX-License-Identifier: MIT */
/* app_lines.c - what a line of input is, when it may be started, and starting it. */
#include "app/app_internal.h"

#include "client/text.h"

#include <sodium.h>
#include <stdlib.h>
#include <string.h>

static void refuse(struct app *app, const struct command *command, uint64_t line, bool message,
                   const char *sentence)
{
    const struct outcome outcome = {
        .command = command,
        .word = invocation_word(command),
        .line = line,
        .status = STATUS_INVALID_ARGUMENT,
        .error = sentence,
    };
    app->commands_failed++;
    if (message)
        app->ui->sent(app, &outcome);
    else
        app->ui->result(app, &outcome);
    app_note_line(app, line);
}

/* Whether its outcome is that of a message. */
static bool is_message(enum line_kind kind, const struct command *command)
{
    return kind == LINE_MESSAGE || kind == LINE_SUSPICIOUS ||
           (kind == LINE_COMMAND && command->message);
}

static void start_message(struct app *app, const char *text, uint64_t line)
{
    struct invocation *invocation = invocation_make(app, NULL, text, line);
    if (invocation == NULL) {
        refuse(app, NULL, line, true, "out of memory");
        return;
    }
    invocation->text = invocation->strings;
    if (app->current == NULL) {
        app_end(invocation, STATUS_FAILED_PRECONDITION,
                "there is no current room: /join one, or /switch to @NAME");
        return;
    }
    app_ask(invocation, &(struct client_request){
                            .call = CLIENT_SEND, .room = app->current, .text = invocation->text});
}

static void start_command(struct app *app, const struct command *command, const char *rest,
                          uint64_t line)
{
    struct invocation *invocation = invocation_make(app, command, rest, line);
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
    (void)error_set(&word, OK, "%.*s", (int)command_name_size(rest), rest);
    (void)error_set(&why, OK, "there is no command /%.64s: /help lists them", word.text);
    const struct outcome outcome = {
        .word = word.text, .line = line, .status = STATUS_INVALID_ARGUMENT, .error = why.text};
    app->commands_failed++;
    app->ui->result(app, &outcome);
    app_note_line(app, line);
}

/* The outcome does not repeat the line, because programs keep outcomes in logs. */
static void refuse_suspicious(struct app *app, const struct command *command, uint64_t line)
{
    struct error_text why;
    (void)error_set(&why, OK,
                    "did you mean /%s? The line was not sent; /say TEXT sends any text as it is",
                    command->name);
    refuse(app, NULL, line, true, why.text);
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
    bool password_missing = app->password_missing;
    if (kind != LINE_EMPTY)
        app->password_missing = false;
    if (!text_is_valid(line, size)) {
        refuse(app, command, number, is_message(kind, command), "the line is not text in UTF-8");
        kind = LINE_EMPTY;
    }
    switch (kind) {
    case LINE_EMPTY:
        break;
    case LINE_MESSAGE:
        if (password_missing)
            refuse(app, NULL, number, true,
                   "is this the password that the line before did without? The line was not sent; "
                   "/say TEXT sends any text as it is");
        else
            start_message(app, rest, number);
        break;
    case LINE_COMMAND:
        start_command(app, command, rest, number);
        break;
    case LINE_UNKNOWN:
        refuse_unknown(app, rest, number);
        break;
    case LINE_SUSPICIOUS:
        refuse_suspicious(app, command, number);
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
    bool message = is_message(kind, command);
    struct error_text why;
    (void)error_set(&why, OK, "the line is longer than the %zu bytes that a line may have", size);
    refuse(app, command, number, message || kind == LINE_EMPTY, why.text);
    free(copy);
}

static bool is_starting(const struct app *app)
{
    struct client_view view;
    client_inspect(app->client, &view);
    return view.starting;
}

bool app_may_start(const struct app *app, const char *line, size_t size, bool patient)
{
    char beginning[32]; /* enough for the longest name of a command */
    size_t blank = text_blank_size(line, size);
    size_t length = size - blank < sizeof beginning - 1 ? size - blank : sizeof beginning - 1;
    memcpy(beginning, line + blank, length);
    beginning[length] = '\0';
    const struct command *command;
    const char *rest;
    enum line_kind kind = command_parse(beginning, &command, &rest);
    bool message = is_message(kind, command);
    if (!patient && kind == LINE_COMMAND && command->local)
        return true;
    if (app->commands_open > 0)
        return false;
    if (message)
        return app->hopeless || client_has_room(app->client, size);
    if (patient && kind == LINE_COMMAND && command->looks && !app->hopeless && is_starting(app))
        return false;
    return !patient || (kind == LINE_COMMAND && command->early) || app->messages_open == 0;
}
