/* SPDX-License-Identifier: MIT */
/* json_ui.c - one JSON object per line: docs/json.md describes every field. */
#include "app/app.h"
#include "base/text.h"
#include "cli/json_values.h"
#include "cli/ui_list.h"

#include <stdio.h>
#include <stdlib.h>

/* Prints and takes object. */
static void print(json_t *object)
{
    char *text = object == NULL ? NULL : json_dumps(object, JSON_COMPACT);
    if (text != NULL) {
        text_print_json(text, stdout);
        (void)fputc('\n', stdout);
    }
    free(text);
    json_decref(object);
    (void)fflush(stdout);
}

static void print_event(struct app *app, const Jackdaw__Event *event)
{
    (void)app;
    print(json_event(event));
}

/* Adds the number of the line that began the invocation, if a line began it. */
static void put_line(json_t *object, const struct outcome *outcome)
{
    if (outcome->line > 0)
        json_put(object, "line", json_number(outcome->line));
}

static void put_problem(json_t *object, enum status status, const char *error)
{
    json_put_text(object, "status", status_name(status));
    if (status != STATUS_OK)
        json_put_text(object, "error", error);
}

static void put_uid(json_t *object, const struct client_result *result)
{
    if (result != NULL && result->request != 0)
        json_put(object, "uid", json_uid(result->session, result->request));
    else
        json_put(object, "uid", json_null());
}

static void print_sent(struct app *app, const struct outcome *outcome)
{
    const struct client_result *result = outcome->result;
    json_t *object = json_object();
    (void)app;
    json_put_text(object, "type", outcome->status == STATUS_OK ? "sent" : "failed");
    if (outcome->status == STATUS_OK) {
        const Jackdaw__SendReply *reply = result->reply.send;
        json_put_text(object, "room", *reply->room == '\0' ? result->room : reply->room);
        put_uid(object, result);
        json_put(object, "number", json_number(reply->number));
        json_put_position(object, reply->position);
        json_put(object, "time_ms", json_number(reply->time_ms));
    } else {
        put_uid(object, result);
        put_problem(object, outcome->status, outcome->error);
        if (result != NULL)
            json_put_text(object, "room", result->room);
        if (outcome->invocation != NULL && outcome->invocation->text != NULL)
            json_put_text(object, "text", outcome->invocation->text);
    }
    put_line(object, outcome);
    print(object);
}

static void put_refused_login(json_t *object, const struct client_result *result)
{
    if (result->retry_ms > 0)
        json_put(object, "retry_ms", json_number(result->retry_ms));
    if (result->device_count == 0)
        return;
    json_t *array = json_array();
    for (size_t i = 0; i < result->device_count; i++) {
        const Jackdaw__Device *device = result->devices[i];
        json_t *entry = json_object();
        json_put_session(entry, device->session);
        json_put_text(entry, "device", device->name);
        json_put(entry, "started_ms", json_number(device->started_ms));
        json_put(entry, "silent_ms", json_number(device->silent_ms));
        (void)json_array_append_new(array, entry);
    }
    json_put(object, "devices", array);
}

static void print_retry(struct app *app, const struct client_result *result)
{
    json_t *object = json_object();
    (void)app;
    json_put_text(object, "type", "retry");
    json_put_text(object, "command", "login");
    put_problem(object, result->status, result->error);
    put_refused_login(object, result);
    print(object);
}

static void print_result(struct app *app, const struct outcome *outcome)
{
    json_t *object = json_object();
    json_put_text(object, "type", "result");
    json_put_text(object, "command", outcome->word);
    put_problem(object, outcome->status, outcome->error);
    if (outcome->status == STATUS_OK)
        json_put_result(object, app, outcome);
    else if (outcome->result != NULL && outcome->result->call == CLIENT_LOGIN)
        put_refused_login(object, outcome->result);
    put_line(object, outcome);
    print(object);
}

static void print_status(struct app *app, const char *server, const char *text)
{
    json_t *object = json_object();
    (void)app;
    json_put_text(object, "type", "status");
    json_put(object, "connected", json_boolean(server != NULL));
    if (server != NULL)
        json_put_text(object, "server", server);
    json_put_text(object, "text", text);
    print(object);
}

static void print_session_ended(struct app *app, enum status status, const char *text)
{
    json_t *object = json_object();
    (void)app;
    json_put_text(object, "type", "session_ended");
    put_problem(object, status, text);
    print(object);
}

static void print_state(struct app *app)
{
    struct client_view view;
    json_t *object = json_object();
    client_inspect(app->client, &view);
    json_put_text(object, "type", "state");
    json_put(object, "resumed", json_boolean(app->resumed));
    if (app->resumed) {
        json_put_text(object, "name", view.name);
        json_put_session(object, view.session);
    }
    json_put(object, "lines", json_number(app->first_line));
    json_put(object, "unanswered", json_number(view.waiting));
    print(object);
}

static void print_stats(struct app *app)
{
    json_t *object = json_object();
    json_put_text(object, "type", "stats");
    json_put_stats(object, app);
    print(object);
}

const struct ui json_ui = {
    .password_words = true,
    .event = print_event,
    .sent = print_sent,
    .result = print_result,
    .status = print_status,
    .session_ended = print_session_ended,
    .retry = print_retry,
    .stats = print_stats,
    .state = print_state,
};
