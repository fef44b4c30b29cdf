/* SPDX-License-Identifier: MIT */
#include "app/app.h"
#include "cli/terminal.h"
#include "cli/text_output.h"
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
        char *room = text_output_text(list[i]->room, NULL);
        text_output_put(app, "-- %" PRIu64 " undelivered message%s in %s", list[i]->messages,
                        plural(list[i]->messages), room);
        free(room);
    }
}

static void show_login(struct app *app, const struct client_result *result)
{
    const Jackdaw__LoginReply *reply = result->reply.login;
    char *name = text_output_text(reply->name, NULL);
    text_output_put(app, "-- %s %s",
                    result->created ? "account made; logged in as" : "logged in as", name);
    free(name);
    show_undelivered(app, reply->undelivered, reply->n_undelivered);
    for (size_t i = 0; i < reply->n_undelivered; i++) {
        struct text_output_room *room = text_output_room(app, reply->undelivered[i]->room);
        if (room != NULL)
            room->undelivered = reply->undelivered[i]->messages;
    }
    for (size_t i = 0; i < reply->n_rooms; i++) {
        char *room = text_output_text(reply->rooms[i], NULL);
        text_output_put(app, "-- you are in %s", room);
        free(room);
    }
}

void text_output_devices(struct app *app, const struct client_result *result)
{
    for (size_t i = 0; i < result->device_count; i++) {
        const Jackdaw__Device *device = result->devices[i];
        char started[TEXT_OUTPUT_TIME_SIZE];
        char *name = text_output_text(*device->name == '\0' ? "(no name)" : device->name, NULL);
        text_output_time(device->started_ms, started);
        text_output_put(app, "  %zu  %s, logged in %s, last heard of %" PRIu64 " s ago", i + 1,
                        name, started, device->silent_ms / 1000);
        free(name);
    }
    if (result->device_count > 0)
        text_output_put(app, "** which one shall end? /replace 1%s logs you in in its place",
                        result->device_count > 1 ? ", /replace 2 ..." : "");
}

/* Shows only messages that are not on the screen and that the stream will not deliver. Messages
 * sent since the join may have arrived before the history. If there is a gap between them and the
 * messages shown earlier, shows the whole history. */
static void show_join_history(struct app *app, const Jackdaw__JoinRoomReply *reply)
{
    struct text_output_room *known = text_output_room(app, reply->room);
    struct text_output_room before = {.name = NULL};
    if (known != NULL)
        before = *known;
    for (size_t i = 0; i < reply->n_history; i++) {
        const Jackdaw__Event *event = reply->history[i];
        bool was_shown = event->number >= before.first && event->number <= before.shown;
        if (event->kind != JACKDAW__EVENT__KIND__MESSAGE || was_shown ||
            event->number + before.undelivered > reply->last_number)
            continue;
        text_output_message(app, event);
        if (known != NULL && event->number < known->first)
            known->first = event->number;
    }
}

static void show_join(struct app *app, const Jackdaw__JoinRoomReply *reply)
{
    char *name = text_output_text(reply->room, NULL);
    char *topic = text_output_text(reply->topic, NULL);
    text_output_put(app, "-- %s %s%s, %u member%s%s%s", reply->created ? "made" : "joined",
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
            text_output_message(app, reply->events[i]);
    if (reply->n_events == 0)
        text_output_put(app, "-- no messages");
    else if (reply->more)
        text_output_put(app, "-- there are older ones: /history N %" PRIu64,
                        reply->events[0]->number);
}

static void show_rooms(struct app *app, const Jackdaw__ListRoomsReply *reply)
{
    for (size_t i = 0; i < reply->n_rooms; i++) {
        const Jackdaw__ListRoomsReply__Room *room = reply->rooms[i];
        char *name = text_output_text(room->name, NULL);
        char *topic = text_output_text(room->topic, NULL);
        text_output_put(app, "  %s %s (%u)%s%s%s", room->joined ? "*" : " ", name, room->members,
                        room->private_ ? " private" : "", *topic == '\0' ? "" : ": ", topic);
        free(name);
        free(topic);
    }
    text_output_put(app, "-- %zu room%s%s", reply->n_rooms, plural(reply->n_rooms),
                    reply->more ? ", and more: /rooms PATTERN AFTER" : "");
}

static void show_accounts(struct app *app, const Jackdaw__ListAccountsReply *reply)
{
    for (size_t i = 0; i < reply->n_accounts; i++) {
        char *name = text_output_text(reply->accounts[i]->name, NULL);
        text_output_put(app, "  %s%s", name, reply->accounts[i]->online ? " (here)" : "");
        free(name);
    }
    text_output_put(app, "-- %zu account%s%s", reply->n_accounts, plural(reply->n_accounts),
                    reply->more ? ", and more: /users PATTERN AFTER" : "");
}

static void show_members(struct app *app, const struct client_result *result)
{
    const Jackdaw__ListMembersReply *reply = result->reply.members;
    for (size_t i = 0; i < reply->n_members; i++) {
        char *name = text_output_text(reply->members[i]->name, NULL);
        text_output_put(app, "  %s%s%s", name, reply->members[i]->owner ? " (owner)" : "",
                        reply->members[i]->online ? " (here)" : "");
        free(name);
    }
    text_output_put(app, "-- %zu member%s of %s%s", reply->n_members, plural(reply->n_members),
                    result->room, reply->more ? ", and more: /members ROOM AFTER" : "");
}

static void show_deleted(struct app *app, const Jackdaw__DeleteAccountReply *reply)
{
    text_output_put(app, "-- your account is deleted");
    if (reply == NULL || reply->undelivered_total == 0)
        return;
    text_output_put(app, "-- undelivered were %" PRIu64 " messages:", reply->undelivered_total);
    for (size_t i = 0; i < reply->n_undelivered; i++)
        if (reply->undelivered[i]->kind == JACKDAW__EVENT__KIND__MESSAGE)
            text_output_message(app, reply->undelivered[i]);
}

static void show_topic(struct app *app, const struct client_result *result)
{
    if (result->call != CLIENT_ROOMS)
        return; /* comes as an event */
    const Jackdaw__ListRoomsReply *reply = result->reply.rooms;
    char *topic = text_output_text(reply->n_rooms == 0 ? "" : reply->rooms[0]->topic, NULL);
    text_output_put(app, *topic == '\0' ? "-- %s has no topic%s" : "-- %s: %s", result->name,
                    topic);
    free(topic);
}

static void show_answer(struct app *app, const struct client_result *result)
{
    switch (result->call) {
    case CLIENT_LOGIN:
        show_login(app, result);
        break;
    case CLIENT_LOGOUT:
        text_output_put(app, "-- logged out");
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
            text_output_put(app, "-- everything is delivered");
        break;
    case CLIENT_JOIN:
        show_join(app, result->reply.join);
        break;
    case CLIENT_LEAVE:
        text_output_put(app, "-- you left %s", result->room);
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
        text_output_put(app, "-- %s is invited to %s", result->name, result->room);
        break;
    default: /* the rest is seen as an event, or not at all */
        break;
    }
}

/* ---- what this program knows itself ---- */

void text_output_stats(struct app *app)
{
    struct client_stats stats;
    client_stats(app->client, &stats);
    text_output_put(app, "-- sent %" PRIu64 ", received %" PRIu64 ", failed %" PRIu64, stats.sent,
                    stats.received, stats.failed);
    if (stats.sent > 0)
        text_output_put(app,
                        "-- %.1f messages/s; acknowledged after %.2f ms (median), %.2f ms (99%%), "
                        "%.2f ms at most",
                        stats.sent_per_second, (double)stats.p50_us / 1000,
                        (double)stats.p99_us / 1000, (double)stats.max_us / 1000);
    if (stats.retries + stats.reconnects > 0)
        text_output_put(app,
                        "-- %" PRIu64 " retr%s, %" PRIu64 " reconnect%s, %" PRIu64
                        " to another server; the longest gap was %.0f ms",
                        stats.retries, stats.retries == 1 ? "y" : "ies", stats.reconnects,
                        plural(stats.reconnects), stats.failovers,
                        (double)stats.longest_gap_us / 1000);
}

static void show_help(struct app *app, const char *wanted)
{
    for (const struct command *command = commands; command->name != NULL; command++) {
        char head[64];
        if (wanted != NULL && strcmp(command->name, wanted) != 0)
            continue;
        (void)snprintf(head, sizeof head, "/%s%s%s", command->name,
                       *command->arguments == '\0' ? "" : " ", command->arguments);
        text_output_put(
            app, "  %-28s %s%s%s%s", head, command->help, command->synonym == NULL ? "" : " (",
            command->synonym == NULL ? "" : command->synonym, command->synonym == NULL ? "" : ")");
    }
    if (wanted == NULL)
        text_output_put(
            app, "  Anything else is a message to the current room; // begins one with a /.");
}

void text_output_result(struct app *app, const struct outcome *outcome)
{
    const struct command *command = outcome->command;
    if (command->run == command_run_status)
        text_output_status(app, outcome->result);
    else if (command->run == command_run_help)
        show_help(app, outcome->invocation->arguments[0]);
    else if (command->run == command_run_stats)
        text_output_stats(app);
    else if (command->run == command_run_topic)
        show_topic(app, outcome->result);
    else if (command->run == command_run_switch)
        text_output_put(app, "-- now in %s", app->current);
    else if (command->run == command_run_resume)
        text_output_put(app, "-- still logged in; in %zu room%s", app->rooms.count,
                        plural(app->rooms.count));
    else if (outcome->result != NULL)
        show_answer(app, outcome->result);
}
