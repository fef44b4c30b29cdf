/* SPDX-License-Identifier: MIT */
/* text_status.c - the outcome of /status, for people. */
#include "admin/status_report.h"
#include "app/app.h"
#include "cli/text_output.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

/* ---- the cluster ---- */

static void show_cluster(struct app *app, const Jackdaw__StatusReply *status)
{
    char *text = NULL;
    size_t size = 0;
    FILE *file = open_memstream(&text, &size);
    if (file == NULL)
        return;
    status_report_print(status, file);
    if (fclose(file) == 0) {
        char *rest = text;
        for (char *line = strsep(&rest, "\n"); rest != NULL; line = strsep(&rest, "\n"))
            text_output_put(app, "%s%s", *line == '\0' ? "" : "  ", line);
        text_output_put(app, "%s", "");
    }
    free(text);
}

/* ---- the client ---- */

static bool is_member(const Jackdaw__StatusReply *status, const char *address)
{
    for (size_t i = 0; status != NULL && i < status->n_members; i++)
        if (strcmp(status->members[i]->client, address) == 0)
            return true;
    return false;
}

static void show_client(struct app *app, const struct client_view *view,
                        const Jackdaw__StatusReply *status)
{
    char text[ADDRESS_TEXT_SIZE];
    for (size_t i = 0; client_server(app->client, i, text); i++)
        if (!is_member(status, text))
            text_output_put(app, "  known     %s", text);
    if (view->name != NULL)
        text_output_put(app, "  session   %016" PRIx64 " of %s, received up to %" PRIu64,
                        view->session, view->name, view->seq);
    else
        text_output_put(app, "  session   none: /login or /register");
    text_output_put(app, "  room      %s", app->current == NULL ? "none" : app->current);
    text_output_put(app, "  pending   %zu not sent, %zu sent and not answered", view->waiting,
                    view->under_way);
}

void text_output_status(struct app *app, const struct client_result *result)
{
    struct client_view view;
    const Jackdaw__StatusReply *status = result == NULL ? NULL : result->reply.status;
    client_inspect(app->client, &view);
    if (status != NULL)
        show_cluster(app, status);
    if (view.server == NULL)
        text_output_put(app, "  server    none answers");
    else if (status == NULL)
        text_output_put(app, "  server    %s does not answer", view.server);
    else
        text_output_put(app, "  server    %s answered in %.2f ms", view.server,
                        (double)result->latency_us / 1000);
    show_client(app, &view, status);
}
