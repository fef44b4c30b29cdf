/* SPDX-License-Identifier: MIT */
#include "app/app_internal.h"

#include "base/clock.h"
#include "client/text.h"
#include "version.h"

#include <poll.h>
#include <sodium.h>
#include <stdio.h>
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
    client_inspect(app->client, &view);
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

void app_check_output(struct app *app)
{
    if (ferror(stdout))
        client_stop_keeping(app->client);
}

static void on_event(void *context, const Jackdaw__Event *event)
{
    struct app *app = context;
    follow_event(app, event);
    app->ui->event(app, event);
    app_check_output(app);
}

static void on_status(void *context, const char *server, const char *text)
{
    struct app *app = context;
    app->ui->status(app, server, text);
}

void app_forget_rooms(struct app *app)
{
    names_clear(&app->rooms);
    app_set_current(app, NULL);
}

static void start_own_line(struct app *app, const char *command, const char *argument)
{
    struct error_text line; /* long enough for any name */
    (void)error_set(&line, OK, "/%s %s", command, argument);
    app_start_line(app, line.text, strlen(line.text), 0);
}

/* A program that logs in by its options does so again, or ends. So does one that only has a state
 * file: its lines are for the session that it held. */
static void log_in_again(struct app *app)
{
    if (app->settings->user != NULL && app->password[0] != '\0' && !app->quitting)
        start_own_line(app, "login", app->settings->user);
    else
        app_cannot_log_in(app);
}

static void on_session_ended(void *context, enum status status, const char *text)
{
    struct app *app = context;
    app_forget_rooms(app);
    app->ui->session_ended(app, status, text);
    if (app_is_program(app) && (app->settings->user != NULL || app->settings->state != NULL))
        log_in_again(app);
}

static void on_state_failed(void *context, const char *text)
{
    struct app *app = context;
    app->state_failed = true;
    app->quitting = true;
    (void)fprintf(stderr, "jackdaw: --state=%s: %s\n", app->settings->state, text);
}

static const struct client_observer observer = {.event = on_event,
                                                .status = on_status,
                                                .restored = invocation_restore,
                                                .state_failed = on_state_failed,
                                                .session_ended = on_session_ended};

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

/* A file with the session or requests of another account is the wrong file. */
static enum error check_account(const struct app *app, struct error_text *why)
{
    const struct settings *settings = app->settings;
    struct client_view view;
    client_inspect(app->client, &view);
    bool counts = view.name != NULL || view.waiting > 0;
    if (settings->user == NULL || view.account == NULL || !counts ||
        text_same_name(view.account, settings->user))
        return OK;
    return error_set(
        why, ERROR_MISMATCH,
        "the state file %s belongs to %s, not to %s: name another file for --state, or "
        "/logout as %s first",
        settings->state, view.account, settings->user, view.account);
}

static enum error restore(struct app *app, struct error_text *why)
{
    enum error error = client_restore(app->client, app->settings->state, why);
    if (error == OK)
        error = check_account(app, why);
    if (error != OK)
        return error;
    struct client_view view;
    client_inspect(app->client, &view);
    app->resumed = view.name != NULL;
    app->first_line = view.tag;
    return OK;
}

enum error app_init(struct app *app, const struct settings *settings, const struct ui *ui,
                    struct error_text *why)
{
    *app = (struct app){.settings = settings, .ui = ui};
    app->progress_us = clock_monotonic_us();
    enum error error = OK;
    if (settings->password_file != NULL)
        error = password_read_file(settings->password_file, app->password, why);
    if (error == OK)
        error = make_client(app, why);
    bool keeps = error == OK && settings->state != NULL;
    if (keeps)
        error = restore(app, why);
    bool state_failed = keeps && error != OK;
    if (error == OK && ui->open != NULL && !ui->open(app))
        error = error_set(why, ERROR_NO_MEMORY, "out of memory");
    if (error != OK)
        app_release(app);
    app->state_failed = state_failed;
    return error;
}

void app_release(struct app *app)
{
    app->released = true;
    client_free(app->client);
    invocation_drop_all(app);
    if (app->ui->close != NULL)
        app->ui->close(app);
    names_clear(&app->rooms);
    names_clear(&app->people);
    app_login_clear_choice(&app->choice);
    free(app->current);
    sodium_memzero(app, sizeof *app);
}

void app_process(struct app *app)
{
    client_process(app->client);
    app_login_tick(app);
}

int app_timeout_ms(struct app *app)
{
    return app_login_timeout_ms(app, client_timeout_ms(app->client));
}

int app_descriptor(const struct app *app)
{
    return client_descriptor(app->client);
}

bool app_is_busy(const struct app *app)
{
    return app->invocations != NULL;
}

/* ---- the session that options ask for ---- */

void app_join_rooms(struct app *app)
{
    if (app->rooms_asked)
        return;
    app->rooms_asked = true;
    for (size_t i = 0; i < app->settings->rooms.count; i++)
        if (!app->resumed || names_find(&app->rooms, app->settings->rooms.items[i]) == NULL)
            start_own_line(app, "join", app->settings->rooms.items[i]);
}

void app_start_session(struct app *app)
{
    if (app->settings->state != NULL && app->ui->state != NULL)
        app->ui->state(app);
    if (app->resumed)
        invocation_resume(app);
    else if (app->settings->user != NULL)
        start_own_line(app, "login", app->settings->user);
    else
        app_join_rooms(app);
}

/* ---- leaving ---- */

void app_give_up(struct app *app, const char *text)
{
    app->hopeless = true;
    app_stop_login(app);
    if (app->settings->state == NULL) /* else the next run goes on with it */
        client_give_up(app->client, STATUS_UNAVAILABLE, text);
}

/* The event that app_leave waits for. */
static bool is_up_to_date(const struct app *app)
{
    struct client_view view;
    client_inspect(app->client, &view);
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
    if (app->settings->state == NULL && client_unfinished(app->client) > 0)
        client_give_up(app->client, STATUS_UNAVAILABLE, "you left before a server answered");
    client_inspect(app->client, &view);
    if (view.server == NULL || view.name == NULL)
        return;
    run_until(app, is_up_to_date, ECHO_MS);
    if (app->settings->state != NULL)
        return; /* the session goes on in the next run */
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
