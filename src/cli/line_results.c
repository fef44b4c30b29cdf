/* SPDX-License-Identifier: MIT */
#include "cli/app.h"
#include "cli/lines.h"
#include "cli/terminal.h"
#include "client/text.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

/* "1 member", "2 members" */
static const char *plural(uint64_t count)
{
    return count == 1 ? "" : "s";
}

static void show_undelivered(struct app *app, Jackdaw__Undelivered *const *list, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        char *room = lines_text(list[i]->room, NULL);
        lines_put(app, "-- %" PRIu64 " undelivered message%s in %s", list[i]->messages,
                  plural(list[i]->messages), room);
        free(room);
    }
}

static void show_login(struct app *app, const struct client_result *result)
{
    const Jackdaw__LoginReply *reply = result->reply.login;
    char *name = lines_text(reply->name, NULL);
    lines_put(app, "-- %s %s", result->created ? "account made; logged in as" : "logged in as",
              name);
    free(name);
    show_undelivered(app, reply->undelivered, reply->n_undelivered);
    for (size_t i = 0; i < reply->n_undelivered; i++) {
        struct lines_room *room = lines_room(app, reply->undelivered[i]->room);
        if (room != NULL)
            room->undelivered = reply->undelivered[i]->messages;
    }
    for (size_t i = 0; i < reply->n_rooms; i++) {
        char *room = lines_text(reply->rooms[i], NULL);
        lines_put(app, "-- you are in %s", room);
        free(room);
    }
}

void lines_devices(struct app *app, const struct client_result *result)
{
    for (size_t i = 0; i < result->device_count; i++) {
        const Jackdaw__Device *device = result->devices[i];
        char started[LINES_TIME_SIZE];
        char *name = lines_text(*device->name == '\0' ? "(no name)" : device->name, NULL);
        lines_time(device->started_ms, started);
        lines_put(app, "  %zu  %s, logged in %s, last heard of %" PRIu64 " s ago", i + 1, name,
                  started, device->silent_ms / 1000);
        free(name);
    }
    if (result->device_count > 0)
        lines_put(app, "** which one shall end? /replace 1%s logs you in in its place",
                  result->device_count > 1 ? ", /replace 2 ..." : "");
}

/* What was shown before is not shown again, nor what will come by itself. What was sent since the
 * joining may have come before this; where something is missing between that and what was shown
 * earlier, the history is shown whole. */
static void show_join_history(struct app *app, const Jackdaw__JoinRoomReply *reply)
{
    struct lines_room *known = lines_room(app, reply->room);
    struct lines_room before = {.name = NULL};
    if (known != NULL)
        before = *known;
    for (size_t i = 0; i < reply->n_history; i++) {
        const Jackdaw__Event *event = reply->history[i];
        bool was_shown = event->number >= before.first && event->number <= before.shown;
        if (event->kind != JACKDAW__EVENT__KIND__MESSAGE || was_shown ||
            event->number + before.undelivered > reply->last_number)
            continue;
        lines_message(app, event);
        if (known != NULL && event->number < known->first)
            known->first = event->number;
    }
}

static void show_join(struct app *app, const Jackdaw__JoinRoomReply *reply)
{
    char *name = lines_text(reply->room, NULL);
    char *topic = lines_text(reply->topic, NULL);
    lines_put(app, "-- %s %s%s, %u member%s%s%s", reply->created ? "made" : "joined",
              reply->private_ ? "private " : "", name, reply->members, plural(reply->members),
              *topic == '\0' ? "" : ": ", topic);
    show_join_history(app, reply);
    free(name);
    free(topic);
}

static void show_history(struct app *app, const Jackdaw__HistoryReply *reply)
{
    for (size_t i = 0; i < reply->n_events; i++)
        if (reply->events[i]->kind == JACKDAW__EVENT__KIND__MESSAGE)
            lines_message(app, reply->events[i]);
    if (reply->n_events == 0)
        lines_put(app, "-- no messages");
    else if (reply->more)
        lines_put(app, "-- there are older ones: /history N %" PRIu64, reply->events[0]->number);
}

static void show_rooms(struct app *app, const Jackdaw__ListRoomsReply *reply)
{
    for (size_t i = 0; i < reply->n_rooms; i++) {
        const Jackdaw__ListRoomsReply__Room *room = reply->rooms[i];
        char *name = lines_text(room->name, NULL);
        char *topic = lines_text(room->topic, NULL);
        lines_put(app, "  %s %s (%u)%s%s%s", room->joined ? "*" : " ", name, room->members,
                  room->private_ ? " private" : "", *topic == '\0' ? "" : ": ", topic);
        free(name);
        free(topic);
    }
    lines_put(app, "-- %zu room%s%s", reply->n_rooms, plural(reply->n_rooms),
              reply->more ? ", and more: /rooms PATTERN AFTER" : "");
}

static void show_accounts(struct app *app, const Jackdaw__ListAccountsReply *reply)
{
    for (size_t i = 0; i < reply->n_accounts; i++) {
        char *name = lines_text(reply->accounts[i]->name, NULL);
        lines_put(app, "  %s%s", name, reply->accounts[i]->online ? " (here)" : "");
        free(name);
    }
    lines_put(app, "-- %zu account%s%s", reply->n_accounts, plural(reply->n_accounts),
              reply->more ? ", and more: /users PATTERN AFTER" : "");
}

static void show_members(struct app *app, const struct client_result *result)
{
    const Jackdaw__ListMembersReply *reply = result->reply.members;
    for (size_t i = 0; i < reply->n_members; i++) {
        char *name = lines_text(reply->members[i]->name, NULL);
        lines_put(app, "  %s%s%s", name, reply->members[i]->owner ? " (owner)" : "",
                  reply->members[i]->online ? " (here)" : "");
        free(name);
    }
    lines_put(app, "-- %zu member%s of %s%s", reply->n_members, plural(reply->n_members),
              result->room, reply->more ? ", and more: /members ROOM AFTER" : "");
}

static void show_deleted(struct app *app, const Jackdaw__DeleteAccountReply *reply)
{
    lines_put(app, "-- your account is deleted");
    if (reply == NULL || reply->undelivered_total == 0)
        return;
    lines_put(app, "-- undelivered were %" PRIu64 " messages:", reply->undelivered_total);
    for (size_t i = 0; i < reply->n_undelivered; i++)
        if (reply->undelivered[i]->kind == JACKDAW__EVENT__KIND__MESSAGE)
            lines_message(app, reply->undelivered[i]);
}

static void show_topic(struct app *app, const struct client_result *result)
{
    if (result->call != CLIENT_ROOMS)
        return; /* comes as an event */
    const Jackdaw__ListRoomsReply *reply = result->reply.rooms;
    char *topic = lines_text(reply->n_rooms == 0 ? "" : reply->rooms[0]->topic, NULL);
    lines_put(app, *topic == '\0' ? "-- %s has no topic%s" : "-- %s: %s", result->name, topic);
    free(topic);
}

static void show_answer(struct app *app, const struct client_result *result)
{
    switch (result->call) {
    case CLIENT_LOGIN:
        show_login(app, result);
        break;
    case CLIENT_LOGOUT:
        lines_put(app, "-- logged out");
        break;
    case CLIENT_DELETE:
        show_deleted(app, result->reply.delete_account);
        break;
    case CLIENT_ACCOUNTS:
        show_accounts(app, result->reply.accounts);
        break;
    case CLIENT_HEARTBEAT:
        show_undelivered(app, result->reply.heartbeat->undelivered,
                         result->reply.heartbeat->n_undelivered);
        if (result->reply.heartbeat->n_undelivered == 0)
            lines_put(app, "-- everything is delivered");
        break;
    case CLIENT_JOIN:
        show_join(app, result->reply.join);
        break;
    case CLIENT_LEAVE:
        lines_put(app, "-- you left %s", result->room);
        break;
    case CLIENT_ROOMS:
        show_rooms(app, result->reply.rooms);
        break;
    case CLIENT_MEMBERS:
        show_members(app, result);
        break;
    case CLIENT_HISTORY:
        show_history(app, result->reply.history);
        break;
    case CLIENT_INVITE:
        lines_put(app, "-- %s is invited to %s", result->name, result->room);
        break;
    default: /* the rest is seen as an event, or not at all */
        break;
    }
}

/* ---- what this program knows itself ---- */

void lines_figures(struct app *app)
{
    struct client_figures figures;
    client_figures(app->client, &figures);
    lines_put(app, "-- sent %" PRIu64 ", received %" PRIu64 ", failed %" PRIu64, figures.sent,
              figures.received, figures.failed);
    if (figures.sent > 0)
        lines_put(app,
                  "-- %.1f messages/s; acknowledged after %.2f ms (median), %.2f ms (99%%), "
                  "%.2f ms at most",
                  figures.sent_per_second, (double)figures.p50_us / 1000,
                  (double)figures.p99_us / 1000, (double)figures.max_us / 1000);
    if (figures.retries + figures.reconnects > 0)
        lines_put(app,
                  "-- %" PRIu64 " retr%s, %" PRIu64 " reconnect%s, %" PRIu64
                  " to another server; the longest gap was %.0f ms",
                  figures.retries, figures.retries == 1 ? "y" : "ies", figures.reconnects,
                  plural(figures.reconnects), figures.failovers,
                  (double)figures.longest_gap_us / 1000);
}

static void show_help(struct app *app, const char *wanted)
{
    for (const struct command *command = commands; command->name != NULL; command++) {
        char head[64];
        if (wanted != NULL && strcmp(command->name, wanted) != 0)
            continue;
        (void)snprintf(head, sizeof head, "/%s%s%s", command->name,
                       *command->arguments == '\0' ? "" : " ", command->arguments);
        lines_put(
            app, "  %-28s %s%s%s%s", head, command->help, command->synonym == NULL ? "" : " (",
            command->synonym == NULL ? "" : command->synonym, command->synonym == NULL ? "" : ")");
    }
    if (wanted == NULL)
        lines_put(app, "  Anything else is a message to the current room; // begins one with a /.");
}

void lines_result(struct app *app, const struct outcome *outcome)
{
    const struct command *command = outcome->command;
    if (command->run == run_status)
        lines_status(app, outcome->result);
    else if (command->run == run_help)
        show_help(app, outcome->invocation->arguments[0]);
    else if (command->run == run_stats)
        lines_figures(app);
    else if (command->run == run_topic)
        show_topic(app, outcome->result);
    else if (command->run == run_switch)
        lines_put(app, "-- now in %s", app->current);
    else if (command->run == run_resume)
        lines_put(app, "-- still logged in; in %zu room%s", app->rooms.count,
                  plural(app->rooms.count));
    else if (outcome->result != NULL)
        show_answer(app, outcome->result);
}
