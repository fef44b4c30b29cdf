/* SPDX-License-Identifier: MIT */
/* json_status.c - the outcome of /status. What the cluster says of itself has the names that
 * server --status --json uses. */
#include "cli/app.h"
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

static void put_info(json_t *object, const Jackdaw__InfoReply *info)
{
    json_put_text(object, "version", info->server);
    json_put(object, "server_id", json_number(info->server_id));
    json_put(object, "master", json_boolean(info->master));
    json_put_position(object, info->position);
}

/* ---- the cluster ---- */

static json_t *make_position(const Jackdaw__Position *position)
{
    if (position == NULL || position->seq == 0)
        return json_null();
    json_t *object = json_object();
    json_put_position(object, position);
    return object;
}

static json_t *make_member(const Jackdaw__StatusReply *status,
                           const Jackdaw__StatusReply__Member *member)
{
    json_t *object = json_object();
    json_put(object, "id", json_number(member->id));
    json_put_text(object, "state", status_state_of(status, member));
    json_put_text(object, "client", member->client);
    json_put_text(object, "internal", member->internal);
    json_put(object, "in_sync", json_boolean(member->in_sync));
    json_put(object, "voter", json_boolean(member->voter));
    json_put(object, "left", json_boolean(member->left));
    json_put(object, "reachable", json_boolean(member->reachable));
    json_put(object, "position", make_position(member->position));
    json_put(object, "lag", status_has_lag(member) ? json_number(member->lag) : json_null());
    json_put(object, "clock_ms", member->has_clock ? json_integer(member->clock_ms) : json_null());
    return object;
}

static json_t *make_cluster(const Jackdaw__StatusReply *status)
{
    uint64_t servers = 0;
    uint64_t in_sync = 0;
    json_t *members = json_array();
    for (size_t i = 0; i < status->n_members; i++) {
        const Jackdaw__StatusReply__Member *member = status->members[i];
        servers += !member->left;
        in_sync += !member->left && member->in_sync;
        (void)json_array_append_new(members, make_member(status, member));
    }
    json_t *object = json_object();
    json_put_text(object, "role", status->role);
    json_put(object, "master", status->master == 0 ? json_null() : json_number(status->master));
    json_put_text(object, "master_client", status->master_client);
    json_put(object, "epoch", json_number(status->epoch));
    json_put_text(object, "durability", status->durability);
    json_put(object, "servers", json_number(servers));
    json_put(object, "in_sync", json_number(in_sync));
    json_put(object, "last", make_position(status->last));
    json_put(object, "committed", make_position(status->committed));
    json_put(object, "members", members);
    json_put(object, "orphans", json_number(status->orphans));
    json_put(object, "clients", json_number(status->clients));
    json_put(object, "uptime_ms", json_number(status->uptime_ms));
    if (status->damage[0] == '\0')
        json_put(object, "damage", json_null());
    else
        json_put_text(object, "damage", status->damage);
    return object;
}

static void put_status(json_t *object, const struct client_result *result)
{
    const Jackdaw__StatusReply *status = result->reply.status;
    json_put_text(object, "version", status->server);
    json_put(object, "server_id", json_number(status->id));
    json_put(object, "master", json_boolean(status->master != 0 && status->master == status->id));
    json_put_position(object, status->committed);
    json_put(object, "answered_us", json_number(result->latency_us));
    json_put(object, "cluster", make_cluster(status));
}

void json_put_status(json_t *object, const struct app *app, const struct client_result *result)
{
    put_view(object, app);
    if (result == NULL)
        return;
    if (result->call == CLIENT_STATUS)
        put_status(object, result);
    else
        put_info(object, result->reply.info);
}
