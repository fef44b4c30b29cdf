/* SPDX-License-Identifier: MIT */
#include "app/app.h"
#include "base/clock.h"
#include "cli/prompt.h"
#include "cli/terminal.h"
#include "cli/text_output.h"
#include "cli/ui_list.h"
#include "client/text.h"

#include <stdlib.h>
#include <string.h>

#define INDENT "      " /* below a message's first line */
#define SHOW_WAITING_MS 600u

static const char *style(int which)
{
    return terminal_style(which);
}

/* ---- messages ---- */

static bool is_current(const struct app *app, const char *room)
{
    return app->current != NULL && text_same_name(app->current, room);
}

void text_output_message(struct app *app, const Jackdaw__Event *event)
{
    char time[TEXT_OUTPUT_TIME_SIZE];
    char *room = text_output_text(event->room, NULL);
    char *from = text_output_text(event->from, NULL);
    char *text = text_output_text(event->text, INDENT);
    bool elsewhere = !is_current(app, event->room);
    text_output_time(event->time_ms, time);
    text_output_put(app, "%s%s%s %s%s%s%s%s:%s %s", style(STYLE_DIM), time, style(STYLE_NORMAL),
                    elsewhere ? "[" : "", elsewhere ? room : "", elsewhere ? "] " : "",
                    style(terminal_name_style(event->from)), from, style(STYLE_NORMAL), text);
    struct text_output_room *known = text_output_room(app, event->room);
    if (known != NULL && event->number > known->shown) {
        if (event->number > known->shown + 1 || known->first == 0)
            known->first = event->number;
        known->shown = event->number;
    }
    free(room);
    free(from);
    free(text);
}

static void show_message(struct app *app, const Jackdaw__Event *event)
{
    struct text_output_room *room = text_output_room(app, event->room);
    if (room != NULL && room->undelivered > 0)
        room->undelivered--;
    text_output_message(app, event);
}

/* ---- other events ---- */

static void show_left(struct app *app, const Jackdaw__Event *event, const char *from,
                      const char *room, const char *subject)
{
    if (event->kind == JACKDAW__EVENT__KIND__REMOVED)
        text_output_put(app, "%s-- %s deleted their account%s", style(STYLE_DIM), from,
                        style(STYLE_NORMAL));
    else if (*event->text == '\0')
        text_output_put(app, "%s-- %s left %s%s", style(STYLE_DIM), from, room,
                        style(STYLE_NORMAL));
    else
        text_output_put(app, "%s-- %s was %s from %s by %s%s", style(STYLE_DIM), from,
                        strcmp(event->text, "banned") == 0 ? "banned" : "kicked", room, subject,
                        style(STYLE_NORMAL));
}

static void show_other(struct app *app, const Jackdaw__Event *event, const char *from,
                       const char *room, const char *subject, const char *text)
{
    const char *dim = style(STYLE_DIM);
    const char *normal = style(STYLE_NORMAL);
    switch (event->kind) {
    case JACKDAW__EVENT__KIND__JOINED:
        text_output_put(app, "%s-- %s joined %s%s", dim, from, room, normal);
        break;
    case JACKDAW__EVENT__KIND__LEFT:
    case JACKDAW__EVENT__KIND__REMOVED:
        show_left(app, event, from, room, subject);
        break;
    case JACKDAW__EVENT__KIND__TOPIC:
        text_output_put(app, "%s-- %s set the topic of %s: %s%s", dim, from, room, text, normal);
        break;
    case JACKDAW__EVENT__KIND__INVITED:
        text_output_put(app, "-- %s invites you: /join %s", from, room);
        break;
    case JACKDAW__EVENT__KIND__PRESENCE:
        text_output_put(app, "%s-- %s is %s%s", dim, from, event->active ? "here" : "away", normal);
        break;
    case JACKDAW__EVENT__KIND__OWNER:
        text_output_put(app, "%s-- %s now owns %s%s", dim, from, room, normal);
        break;
    case JACKDAW__EVENT__KIND__NOTICE:
        text_output_put(app, "** %s", text);
        break;
    default: /* a user who is typing is not worth a line */
        break;
    }
}

/* The outcomes of the user's own commands replace these events. */
static bool is_own_doing(const struct app *app, const Jackdaw__Event *event)
{
    struct client_view view;
    client_inspect(app->client, &view);
    if (view.name == NULL || strcmp(view.name, event->from) != 0)
        return false;
    switch (event->kind) {
    case JACKDAW__EVENT__KIND__JOINED:
    case JACKDAW__EVENT__KIND__OWNER:
    case JACKDAW__EVENT__KIND__PRESENCE:
        return *event->subject == '\0';
    case JACKDAW__EVENT__KIND__LEFT:
        return *event->text == '\0';
    default:
        return false;
    }
}

static void show_event(struct app *app, const Jackdaw__Event *event)
{
    if (event->kind == JACKDAW__EVENT__KIND__MESSAGE) {
        show_message(app, event);
        return;
    }
    if (is_own_doing(app, event))
        return;
    char *from = text_output_text(event->from, NULL);
    char *room = text_output_text(event->room, NULL);
    char *subject = text_output_text(event->subject, NULL);
    char *text = text_output_text(event->text, NULL);
    show_other(app, event, from, room, subject, text);
    free(from);
    free(room);
    free(subject);
    free(text);
}

/* ---- outcomes ---- */

static void show_error(struct app *app, const char *what, const struct outcome *outcome)
{
    char *error = text_output_text(outcome->error, NULL);
    text_output_put(app, "%s! %s:%s %s (%s)", style(STYLE_ERROR), what, style(STYLE_NORMAL), error,
                    status_name(outcome->status));
    free(error);
}

/* A message that was acknowledged is shown when it arrives like all others. */
static void show_sent(struct app *app, const struct outcome *outcome)
{
    if (outcome->status == STATUS_OK)
        return;
    const struct invocation *invocation = outcome->invocation;
    const char *text = invocation == NULL ? NULL : invocation->text;
    char *what = text_output_text(text == NULL ? "a line" : text, NULL);
    char *head = NULL;
    if (asprintf(&head, "not sent: %s", what) >= 0)
        show_error(app, head, outcome);
    free(head);
    free(what);
}

static void show_result(struct app *app, const struct outcome *outcome)
{
    char name[40];
    if (outcome->status == STATUS_OK) {
        text_output_result(app, outcome);
        return;
    }
    (void)snprintf(name, sizeof name, "/%.32s", outcome->word);
    show_error(app, name, outcome);
    if (outcome->result != NULL)
        text_output_devices(app, outcome->result);
}

static void show_state(struct app *app)
{
    struct client_view view;
    client_inspect(app->client, &view);
    if (!app->resumed)
        return;
    char *name = text_output_text(view.name, NULL);
    text_output_put(app, "%s** going on as %s; %zu line%s not answered yet%s", style(STYLE_DIM),
                    name, view.waiting, view.waiting == 1 ? " is" : "s are", style(STYLE_NORMAL));
    free(name);
}

static void show_retry(struct app *app, const struct client_result *result)
{
    char *error = text_output_text(result->error, NULL);
    text_output_put(app, "%s** login: %s; trying again in %u s%s", style(STYLE_DIM), error,
                    (result->retry_ms + 999) / 1000, style(STYLE_NORMAL));
    free(error);
}

static void show_status(struct app *app, const char *server, const char *text)
{
    (void)server;
    text_output_put(app, "%s** %s%s", style(STYLE_DIM), text, style(STYLE_NORMAL));
}

static void show_session_ended(struct app *app, enum status status, const char *text)
{
    (void)status;
    char *reason = text_output_text(text, NULL);
    text_output_put(app, "%s** logged out:%s %s", style(STYLE_ERROR), style(STYLE_NORMAL), reason);
    free(reason);
}

/* ---- waiting messages ---- */

void text_ui_tick(struct app *app)
{
    uint64_t now_us = clock_monotonic_us();
    for (struct invocation *open = app->invocations; open != NULL; open = open->next) {
        if (!open->message || open->shown || open->text == NULL ||
            now_us - open->started_us < SHOW_WAITING_MS * 1000)
            continue;
        open->shown = true;
        char *text = text_output_text(open->text, INDENT);
        text_output_put(app, "%s(waiting) %s%s", style(STYLE_DIM), text, style(STYLE_NORMAL));
        free(text);
    }
}

int text_ui_timeout_ms(const struct app *app)
{
    uint64_t now_us = clock_monotonic_us();
    for (const struct invocation *open = app->invocations; open != NULL; open = open->next) {
        if (!open->message || open->shown || open->text == NULL)
            continue;
        uint64_t due_us = open->started_us + SHOW_WAITING_MS * 1000;
        return due_us <= now_us ? 0 : (int)((due_us - now_us) / 1000) + 1;
    }
    return -1;
}

/* ---- the screen ---- */

static bool open_lines(struct app *app)
{
    app->lines = calloc(1, sizeof *app->lines);
    if (app->lines != NULL)
        app->lines->rooms = calloc(TEXT_OUTPUT_ROOMS_MAX, sizeof *app->lines->rooms);
    return app->lines != NULL && app->lines->rooms != NULL;
}

static void close_lines(struct app *app)
{
    if (app->lines == NULL)
        return;
    for (size_t i = 0; i < app->lines->room_count; i++)
        free(app->lines->rooms[i].name);
    free(app->lines->rooms);
    free(app->lines);
    app->lines = NULL;
}

#define TEXT_UI                                                                        \
    .open = open_lines, .close = close_lines, .event = show_event, .sent = show_sent,  \
    .result = show_result, .status = show_status, .session_ended = show_session_ended, \
    .retry = show_retry, .stats = text_output_stats, .state = show_state

const struct ui text_ui = {TEXT_UI};
const struct ui text_ui_asking = {TEXT_UI, .read_password = prompt_password};
