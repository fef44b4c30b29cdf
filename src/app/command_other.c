/* SPDX-License-Identifier: MIT */
#include "app/app.h"

#include <string.h>

/* Reports the cluster where a server answers, else this client alone. */
void command_run_status(struct invocation *invocation)
{
    struct client_view view;
    client_inspect(invocation->app->client, &view);
    if (view.server != NULL)
        app_ask(invocation, &(struct client_request){.call = CLIENT_STATUS});
    else
        app_end(invocation, STATUS_OK, "");
}

bool command_status_goes_on(struct invocation *invocation, const struct client_result *result)
{
    if (result->status == STATUS_OK || result->call != CLIENT_STATUS)
        return false;
    app_end(invocation, STATUS_OK, "");
    return true;
}

void command_run_stats(struct invocation *invocation)
{
    app_end(invocation, STATUS_OK, "");
}

void command_run_help(struct invocation *invocation)
{
    const char *name = invocation->arguments[0];
    struct error_text why;
    if (invocation->argument_count > 0) {
        if (*name == '/')
            name++;
        if (command_named(name, strlen(name)) == NULL) {
            (void)error_set(&why, OK, "there is no command /%s: /help lists them", name);
            app_end(invocation, STATUS_NOT_FOUND, why.text);
            return;
        }
        invocation->arguments[0] = invocation->arguments[0] + (*invocation->arguments[0] == '/');
    }
    app_end(invocation, STATUS_OK, "");
}

void command_run_quit(struct invocation *invocation)
{
    invocation->app->quitting = true;
    app_end(invocation, STATUS_OK, "");
}
