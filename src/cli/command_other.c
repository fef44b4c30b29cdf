/* SPDX-License-Identifier: MIT */
#include "cli/app.h"

#include <string.h>

/* With the server's view where there is a server, else with ours alone. */
void run_status(struct invocation *invocation)
{
    struct client_view view;
    client_inspect(invocation->app->client, &view);
    if (view.server != NULL)
        app_ask(invocation, &(struct client_request){.call = CLIENT_STATUS});
    else
        app_end(invocation, STATUS_OK, "");
}

bool status_goes_on(struct invocation *invocation, const struct client_result *result)
{
    if (result->status == STATUS_OK || result->call != CLIENT_STATUS)
        return false;
    if (result->status == STATUS_UNIMPLEMENTED)
        app_ask(invocation, &(struct client_request){.call = CLIENT_INFO});
    else
        app_end(invocation, STATUS_OK, "");
    return true;
}

const char *status_state_of(const Jackdaw__StatusReply *status,
                            const Jackdaw__StatusReply__Member *member)
{
    if (member->left)
        return "left";
    if (member->id == status->master)
        return "master";
    if (member->in_sync)
        return "in sync";
    return member->voter ? "behind" : "joining";
}

bool status_has_lag(const Jackdaw__StatusReply__Member *member)
{
    return !member->left && member->position != NULL && member->position->seq != 0;
}

void run_stats(struct invocation *invocation)
{
    app_end(invocation, STATUS_OK, "");
}

void run_help(struct invocation *invocation)
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

void run_quit(struct invocation *invocation)
{
    invocation->app->quitting = true;
    app_end(invocation, STATUS_OK, "");
}
