/* SPDX-License-Identifier: MIT */
/* text_status.c - the outcome of /status, for people. */
#include "cli/app.h"
#include "cli/text_output.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#define PLACE_SIZE 48
#define CLOCK_TOLD_MS 5000 /* a difference that servers warn of, too */

/* "3:1042": the number of the epoch, and of the change. */
static const char *read_position(const Jackdaw__Position *position, char out[static PLACE_SIZE])
{
    if (position == NULL || position->seq == 0)
        (void)snprintf(out, PLACE_SIZE, "-");
    else
        (void)snprintf(out, PLACE_SIZE, "%" PRIu64 ":%" PRIu64, position->epoch >> 16,
                       position->seq);
    return out;
}

/* ---- the server ---- */

static void show_silence(struct app *app, const struct client_view *view)
{
    if (view->server == NULL)
        text_output_put(app, "  server    none answers");
    else
        text_output_put(app, "  server    %s does not answer", view->server);
}

/* A server of an earlier version. */
static void show_info(struct app *app, const struct client_view *view,
                      const Jackdaw__InfoReply *info)
{
    char at[PLACE_SIZE];
    char *version = text_output_text(info->server, NULL);
    text_output_put(app, "  server    %s: number %" PRIu64 ", %s, %s",
                    view->server == NULL ? "?" : view->server, info->server_id,
                    info->master ? "master" : "slave", version);
    text_output_put(app, "  log       %s", read_position(info->position, at));
    text_output_put(app, "  cluster   this server is too old to tell of its cluster");
    free(version);
}

static void show_server(struct app *app, const struct client_view *view,
                        const struct client_result *result)
{
    const Jackdaw__StatusReply *status = result->reply.status;
    char last[PLACE_SIZE];
    char committed[PLACE_SIZE];
    char *version = text_output_text(status->server, NULL);
    char *role = text_output_text(status->role, NULL);
    text_output_put(app, "  server    %s: number %u, %s, %s; answered in %.2f ms",
                    view->server == NULL ? "?" : view->server, status->id, role, version,
                    (double)result->latency_us / 1000);
    text_output_put(app, "  log       committed %s of %s",
                    read_position(status->committed, committed), read_position(status->last, last));
    if (status->damage[0] != '\0')
        text_output_put(app, "            its database is damaged: tell the operator");
    free(version);
    free(role);
}

/* ---- the cluster ---- */

static void show_master(struct app *app, const Jackdaw__StatusReply *status)
{
    char *address = text_output_text(status->master_client, NULL);
    char *durability = text_output_text(status->durability, NULL);
    if (status->master == 0)
        text_output_put(app, "  cluster   no master right now; durability %s", durability);
    else
        text_output_put(app,
                        "  cluster   server %u at %s is master, epoch %" PRIu64 "; durability %s",
                        status->master, address, status->epoch >> 16, durability);
    if (status->orphans > 0)
        text_output_put(app,
                        "            %" PRIu64 " changes of a lost epoch wait to be taken over",
                        status->orphans);
    free(address);
    free(durability);
}

static void show_member(struct app *app, const Jackdaw__StatusReply *status,
                        const Jackdaw__StatusReply__Member *member)
{
    char at[PLACE_SIZE];
    char behind[PLACE_SIZE] = "";
    char clock[PLACE_SIZE] = "";
    char *client = text_output_text(member->client, NULL);
    char *internal = text_output_text(member->internal, NULL);
    bool away = !member->left && !member->reachable && member->id != status->id;
    if (status_has_lag(member) && member->lag > 0)
        (void)snprintf(behind, sizeof behind, ", %" PRIu64 " behind", member->lag);
    if (member->has_clock &&
        (member->clock_ms > CLOCK_TOLD_MS || member->clock_ms < -CLOCK_TOLD_MS))
        (void)snprintf(clock, sizeof clock, ", its clock differs: %+" PRId64 " s",
                       member->clock_ms / 1000);
    text_output_put(app, "  %-3u       %-8s  %s  %s  %s%s%s%s", member->id,
                    status_state_of(status, member), client, internal,
                    read_position(member->position, at), behind, clock,
                    away ? ", not reachable" : "");
    free(client);
    free(internal);
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
    const Jackdaw__StatusReply *status = NULL;
    client_inspect(app->client, &view);
    if (result == NULL) {
        show_silence(app, &view);
    } else if (result->call == CLIENT_INFO) {
        show_info(app, &view, result->reply.info);
    } else {
        status = result->reply.status;
        show_server(app, &view, result);
        show_master(app, status);
        for (size_t i = 0; i < status->n_members; i++)
            show_member(app, status, status->members[i]);
    }
    show_client(app, &view, status);
}
