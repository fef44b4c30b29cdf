/* SPDX-License-Identifier: MIT */
#include "app/app_internal.h"

#include <sodium.h>
#include <stdio.h>
#include <string.h>

#define LIST_LIMIT 1000

/* Asks for it; a new one twice, because nobody sees what they type. */
static bool ask_password(struct app *app, const char *prompt, bool new,
                         char out[static APP_PASSWORD_SIZE], struct error_text *why)
{
    char again[APP_PASSWORD_SIZE];
    if (app->ui->read_password == NULL) {
        app->password_missing = true;
        (void)error_set(why, OK, "a password is needed%s",
                        app->ui->password_words ? ": behind the name, or by --password_file"
                                                : ": give it by --password_file");
        return false;
    }
    app->password_asked = true;
    if (!app->ui->read_password(app, prompt, out, APP_PASSWORD_SIZE, why))
        return false;
    if (!new)
        return true;
    bool same = app->ui->read_password(app, "Once more: ", again, sizeof again, why);
    if (same && strcmp(out, again) != 0) {
        (void)error_set(why, OK, "the two passwords are not the same");
        same = false;
    }
    sodium_memzero(again, sizeof again);
    return same;
}

/* The password comes from the line if the screen allows it, from the password file, or from the
 * user at the terminal. False: the invocation has been ended. */
static bool get_password(struct invocation *invocation, size_t argument, const char *prompt,
                         bool new, char out[static APP_PASSWORD_SIZE])
{
    struct app *app = invocation->app;
    bool in_line = invocation->argument_count > argument;
    struct error_text why;
    if (in_line && !app->ui->password_words) {
        app_end(invocation, STATUS_INVALID_ARGUMENT,
                "a password does not belong in the line, where others see it: it is asked for");
        return false;
    }
    const char *known = in_line ? invocation->arguments[argument] : app->password;
    if (strlen(known) >= APP_PASSWORD_SIZE) {
        app_end(invocation, STATUS_INVALID_ARGUMENT, "a password has at most 256 bytes");
        return false;
    }
    if (*known != '\0') {
        (void)snprintf(out, APP_PASSWORD_SIZE, "%s", known);
        return true;
    }
    if (ask_password(app, prompt, new, out, &why))
        return true;
    if (invocation->line == 0)
        app_cannot_log_in(app);
    app_end(invocation, STATUS_INVALID_ARGUMENT, why.text);
    return false;
}

static void log_in(struct invocation *invocation, enum client_manner manner)
{
    struct app *app = invocation->app;
    const char *name = invocation->arguments[0];
    char password[APP_PASSWORD_SIZE];
    char prompt[192];
    (void)snprintf(prompt, sizeof prompt,
                   "%s for %.128s: ", manner == CLIENT_ACCOUNT_NEW ? "New password" : "Password",
                   name);
    if (!get_password(invocation, 1, prompt, manner == CLIENT_ACCOUNT_NEW, password))
        return;
    const struct client_request request = {
        .call = CLIENT_LOGIN,
        .name = name,
        .password = password,
        .manner = manner,
        .first = invocation->line == 0, /* the requests in the state file wait for it */
        /* A password that lies in a file may be used again without asking. */
        .again = app->settings->password_file != NULL,
    };
    app_ask(invocation, &request);
    sodium_memzero(password, sizeof password);
}

void command_run_register(struct invocation *invocation)
{
    log_in(invocation, CLIENT_ACCOUNT_NEW);
}

void command_run_login(struct invocation *invocation)
{
    const struct app *app = invocation->app;
    bool own = invocation->line == 0 && app->settings->make_account && !app->was_logged_in;
    log_in(invocation, own ? CLIENT_ACCOUNT_ENSURED : CLIENT_ACCOUNT_EXISTS);
}

void command_run_logout(struct invocation *invocation)
{
    app_ask(invocation, &(struct client_request){.call = CLIENT_LOGOUT});
}

void command_run_delete(struct invocation *invocation)
{
    char password[APP_PASSWORD_SIZE];
    if (!get_password(invocation, 0, "Password, to delete your account: ", false, password))
        return;
    app_ask(invocation, &(struct client_request){.call = CLIENT_DELETE, .password = password});
    sodium_memzero(password, sizeof password);
}

void command_run_users(struct invocation *invocation)
{
    app_ask(invocation, &(struct client_request){.call = CLIENT_ACCOUNTS,
                                                 .name = invocation->arguments[0],
                                                 .after = invocation->arguments[1],
                                                 .limit = LIST_LIMIT});
}
