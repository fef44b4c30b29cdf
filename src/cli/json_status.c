/* SPDX-License-Identifier: MIT */
/* json_status.c - the outcome of /status, for programs. */
#include "admin/status_report.h"
#include "app/app.h"
#include "cli/json_values.h"

#include <string.h>

static void put_view(json_t *object, const struct app *app)
{
    struct client_view view;
    client_inspect(app->client, &view);
    json_put(object, "connected", json_boolean(view.server != NULL));
    if (view.server != NULL)
        json_put_text(object, "server", view.server);
    if (view.round_trip_us != 0)
        json_put(object, "round_trip_us", json_number(view.round_trip_us));
    json_t *servers = json_array();
    char text[ADDRESS_TEXT_SIZE];
    for (size_t i = 0; client_server(app->client, i, text); i++)
        (void)json_array_append_new(servers, json_text(text));
    json_put(object, "servers", servers);
    if (view.name != NULL) {
        json_put_text(object, "name", view.name);
        json_put_session(object, view.session);
        json_put(object, "cursor_epoch", json_number(view.epoch));
        json_put(object, "cursor_seq", json_number(view.seq));
    }
    json_put(object, "room", app->current == NULL ? json_null() : json_text(app->current));
    json_put(object, "waiting", json_number(view.waiting));
    json_put(object, "under_way", json_number(view.under_way));
}

static void put_status(json_t *object, const struct client_result *result)
{
    const Jackdaw__StatusReply *status = result->reply.status;
    json_put_text(object, "version", status->server);
    json_put(object, "server_id", json_number(status->id));
    json_put(object, "master", json_boolean(status->master != 0 && status->master == status->id));
    json_put_position(object, status->committed);
    json_put(object, "answered_us", json_number(result->latency_us));
    json_put(object, "cluster", status_report_json(status));
}

void json_put_status(json_t *object, const struct app *app, const struct client_result *result)
{
    put_view(object, app);
    if (result != NULL)
        put_status(object, result);
}
