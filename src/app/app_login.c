/* SPDX-License-Identifier: MIT */
/* app_login.c - logins that were refused: another try later, another device's place, or the end. */
#include "app/app_internal.h"

#include "base/clock.h"

#include <sodium.h>
#include <stdlib.h>
#include <string.h>

#define LOGIN_RETRIES_MAX 3u    /* once no more input comes */
#define LOGIN_RETRY_MORE_MS 50u /* beyond what the server said: its clock ticks */

bool app_is_program(const struct app *app)
{
    return app->ui->read_password == NULL;
}

/* ---- the choice of a device ---- */

void app_login_clear_choice(struct choice *choice)
{
    if (choice->password != NULL)
        sodium_memzero(choice->password, strlen(choice->password));
    free(choice->password);
    free(choice->name);
    *choice = (struct choice){.count = 0};
}

static void keep_choice(struct choice *choice, const struct client_result *result)
{
    app_login_clear_choice(choice);
    choice->name = strdup(result->name);
    choice->password = strdup(result->password);
    if (choice->name == NULL || choice->password == NULL)
        app_login_clear_choice(choice);
    else
        while (choice->count < result->device_count && choice->count < APP_DEVICES_MAX) {
            choice->sessions[choice->count] = result->devices[choice->count]->session;
            choice->count++;
        }
}

void command_run_replace(struct invocation *invocation)
{
    struct choice *choice = &invocation->app->choice;
    const char *word = invocation->arguments[0];
    char *end;
    unsigned long number = strtoul(word, &end, 10);
    if (choice->count == 0)
        app_end(invocation, STATUS_FAILED_PRECONDITION,
                "/login first: where all places are taken, it shows the devices to choose from");
    else if (*end != '\0' || number < 1 || number > choice->count)
        app_end(invocation, STATUS_INVALID_ARGUMENT,
                "usage: /replace N, the number of a device that /login has shown");
    else
        app_ask(invocation, &(struct client_request){.call = CLIENT_LOGIN,
                                                     .name = choice->name,
                                                     .password = choice->password,
                                                     .replaces = choice->sessions[number - 1]});
}

/* ---- the login that options ask for ---- */

static void log_in(struct invocation *invocation, const char *name, const char *password,
                   uint64_t replaces)
{
    app_ask(invocation,
            &(struct client_request){.call = CLIENT_LOGIN,
                                     .name = name,
                                     .password = password,
                                     .first = true,
                                     .replaces = replaces,
                                     .again = invocation->app->settings->password_file != NULL});
}

static uint64_t longest_silent(const struct client_result *result)
{
    const Jackdaw__Device *longest = result->devices[0];
    for (size_t i = 1; i < result->device_count; i++)
        if (result->devices[i]->silent_ms > longest->silent_ms)
            longest = result->devices[i];
    return longest->session;
}

/* Once: two programs that do so must not put each other out for ever. */
static bool replace_device(struct invocation *invocation, const struct client_result *result)
{
    struct app *app = invocation->app;
    if (!app->settings->replace || app->was_logged_in || app->replaced || result->device_count == 0)
        return false;
    app->replaced = true;
    log_in(invocation, result->name, result->password, longest_silent(result));
    return true;
}

static bool try_later(struct invocation *invocation, const struct client_result *result)
{
    struct app *app = invocation->app;
    if (!app_is_program(app) || result->retry_ms == 0 || app->hopeless ||
        app->password[0] == '\0' || (app->input_ended && app->login_retries >= LOGIN_RETRIES_MAX))
        return false;
    app->login_retries++;
    app->login = invocation;
    app->login_due_us =
        clock_monotonic_us() + ((uint64_t)result->retry_ms + LOGIN_RETRY_MORE_MS) * 1000;
    app->ui->retry(app, result);
    return true;
}

bool app_login_goes_on(struct invocation *invocation, const struct client_result *result)
{
    struct app *app = invocation->app;
    if (result->call != CLIENT_LOGIN)
        return false;
    if (result->status == STATUS_OK) {
        app_login_clear_choice(&app->choice);
        app->was_logged_in = true;
        app->login_retries = 0;
        return false;
    }
    if (result->device_count > 0)
        keep_choice(&app->choice, result);
    if (invocation->line != 0)
        return false;
    if (replace_device(invocation, result) || try_later(invocation, result))
        return true;
    app_cannot_log_in(app);
    return false;
}

void app_cannot_log_in(struct app *app)
{
    if (!app_is_program(app))
        return;
    app->login_failed = true;
    app->quitting = true;
}

void app_login_tick(struct app *app)
{
    struct invocation *invocation = app->login;
    if (invocation == NULL || clock_monotonic_us() < app->login_due_us)
        return;
    app->login = NULL;
    app->progress_us = clock_monotonic_us();
    log_in(invocation, app->settings->user, app->password, 0);
}

int app_login_timeout_ms(const struct app *app, int wait_ms)
{
    if (app->login == NULL)
        return wait_ms;
    uint64_t now_us = clock_monotonic_us();
    uint64_t left_ms = now_us >= app->login_due_us ? 0 : (app->login_due_us - now_us) / 1000 + 1;
    return wait_ms >= 0 && (uint64_t)wait_ms < left_ms ? wait_ms : (int)left_ms;
}

void app_stop_login(struct app *app)
{
    struct invocation *invocation = app->login;
    if (invocation == NULL)
        return;
    app->login = NULL;
    app_cannot_log_in(app);
    app_end(invocation, STATUS_CANCELLED, "you left before there was place for this device");
}

/* ---- how the program ends ---- */

enum app_exit app_exit_status(const struct app *app)
{
    if (app->state_failed)
        return APP_EXIT_STATE;
    if (app->hopeless)
        return APP_EXIT_UNAVAILABLE;
    if (app->login_failed)
        return APP_EXIT_LOGIN;
    return app->commands_failed > 0 ? APP_EXIT_FAILED : APP_EXIT_OK;
}
