/* SPDX-License-Identifier: MIT */
/* json_results.c - the fields of each command's outcome. */
#include "app/app.h"
#include "cli/json_values.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

static json_t *make_undelivered(Jackdaw__Undelivered *const *list, size_t count)
{
    json_t *array = json_array();
    for (size_t i = 0; i < count; i++) {
        json_t *object = json_object();
        json_put_text(object, "room", list[i]->room);
        json_put(object, "messages", json_number(list[i]->messages));
        (void)json_array_append_new(array, object);
    }
    return array;
}

static json_t *make_names(char *const *names, size_t count)
{
    json_t *array = json_array();
    for (size_t i = 0; i < count; i++)
        (void)json_array_append_new(array, json_text(names[i]));
    return array;
}

void json_put_session(json_t *object, uint64_t session)
{
    char text[24];
    (void)snprintf(text, sizeof text, "%016" PRIx64, session);
    json_put_text(object, "session", text);
}

static void put_login(json_t *object, const struct client_result *result)
{
    const Jackdaw__LoginReply *reply = result->reply.login;
    json_put_text(object, "name", reply->name);
    json_put_session(object, reply->session);
    json_put(object, "created", json_boolean(result->created));
    json_put(object, "sessions", json_number(reply->sessions));
    json_put(object, "rooms", make_names(reply->rooms, reply->n_rooms));
    json_put(object, "undelivered", make_undelivered(reply->undelivered, reply->n_undelivered));
}

static void put_join(json_t *object, const Jackdaw__JoinRoomReply *reply)
{
    json_put_text(object, "room", reply->room);
    json_put_text(object, "topic", reply->topic);
    json_put(object, "created", json_boolean(reply->created));
    json_put(object, "private", json_boolean(reply->private_));
    json_put_text(object, "owner", reply->owner);
    json_put(object, "members", json_number(reply->members));
    json_put(object, "last_number", json_number(reply->last_number));
    json_put(object, "history", json_events(reply->history, reply->n_history));
}

static json_t *make_room(const Jackdaw__ListRoomsReply__Room *room)
{
    json_t *object = json_object();
    json_put_text(object, "name", room->name);
    json_put_text(object, "topic", room->topic);
    json_put(object, "members", json_number(room->members));
    json_put(object, "private", json_boolean(room->private_));
    json_put(object, "joined", json_boolean(room->joined));
    json_put(object, "last_number", json_number(room->last_number));
    json_put(object, "unread", json_number(room->unread));
    return object;
}

static void put_rooms(json_t *object, const Jackdaw__ListRoomsReply *reply)
{
    json_t *array = json_array();
    for (size_t i = 0; i < reply->n_rooms; i++)
        (void)json_array_append_new(array, make_room(reply->rooms[i]));
    json_put(object, "rooms", array);
    json_put(object, "more", json_boolean(reply->more));
}

static void put_accounts(json_t *object, const Jackdaw__ListAccountsReply *reply)
{
    json_t *array = json_array();
    for (size_t i = 0; i < reply->n_accounts; i++) {
        json_t *account = json_object();
        json_put_text(account, "name", reply->accounts[i]->name);
        json_put(account, "online", json_boolean(reply->accounts[i]->online));
        (void)json_array_append_new(array, account);
    }
    json_put(object, "users", array);
    json_put(object, "more", json_boolean(reply->more));
}

static void put_members(json_t *object, const struct client_result *result)
{
    const Jackdaw__ListMembersReply *reply = result->reply.members;
    json_t *array = json_array();
    for (size_t i = 0; i < reply->n_members; i++) {
        json_t *member = json_object();
        json_put_text(member, "name", reply->members[i]->name);
        json_put(member, "owner", json_boolean(reply->members[i]->owner));
        json_put(member, "online", json_boolean(reply->members[i]->online));
        (void)json_array_append_new(array, member);
    }
    json_put_text(object, "room", result->room);
    json_put(object, "members", array);
    json_put(object, "more", json_boolean(reply->more));
}

static void put_topic(json_t *object, const struct client_result *result)
{
    bool asked = result->call == CLIENT_ROOMS;
    bool found = asked && result->reply.rooms->n_rooms > 0;
    json_put_text(object, "room", asked ? result->name : result->room);
    json_put_text(object, "topic", found ? result->reply.rooms->rooms[0]->topic : result->text);
}

static void put_history(json_t *object, const struct client_result *result)
{
    const Jackdaw__HistoryReply *reply = result->reply.history;
    json_put_text(object, "room", result->room);
    json_put(object, "history", json_events(reply->events, reply->n_events));
    json_put(object, "more", json_boolean(reply->more));
}

static void put_deleted(json_t *object, const Jackdaw__DeleteAccountReply *reply)
{
    if (reply == NULL)
        return; /* done by an attempt whose answer was lost */
    json_put(object, "undelivered", json_events(reply->undelivered, reply->n_undelivered));
    json_put(object, "undelivered_total", json_number(reply->undelivered_total));
}

static void put_heartbeat(json_t *object, const Jackdaw__HeartbeatReply *reply)
{
    json_put(object, "undelivered", make_undelivered(reply->undelivered, reply->n_undelivered));
}

static void put_answer(json_t *object, const struct client_result *result)
{
    switch (result->call) {
    case CLIENT_LOGIN:
        put_login(object, result);
        break;
    case CLIENT_DELETE:
        put_deleted(object, result->reply.delete_account);
        break;
    case CLIENT_ACCOUNTS:
        put_accounts(object, result->reply.accounts);
        break;
    case CLIENT_HEARTBEAT:
        put_heartbeat(object, result->reply.heartbeat);
        break;
    case CLIENT_JOIN:
        put_join(object, result->reply.join);
        break;
    case CLIENT_ROOMS:
        put_rooms(object, result->reply.rooms);
        break;
    case CLIENT_MEMBERS:
        put_members(object, result);
        break;
    case CLIENT_HISTORY:
        put_history(object, result);
        break;
    case CLIENT_LEAVE:
    case CLIENT_TYPING:
        json_put_text(object, "room", result->room);
        break;
    case CLIENT_INVITE:
    case CLIENT_KICK:
        json_put_text(object, "room", result->room);
        json_put_text(object, "name", result->name);
        break;
    default:
        break;
    }
}

/* ---- what this program knows itself ---- */

static void put_help(json_t *object, const struct outcome *outcome)
{
    const char *wanted = outcome->invocation->arguments[0];
    json_t *array = json_array();
    for (const struct command *command = commands; command->name != NULL; command++) {
        if (wanted != NULL && strcmp(command->name, wanted) != 0)
            continue;
        json_t *entry = json_object();
        json_put_text(entry, "command", command->name);
        json_put_text(entry, "arguments", command->arguments);
        if (command->synonym != NULL)
            json_put_text(entry, "synonym", command->synonym);
        json_put_text(entry, "help", command->help);
        (void)json_array_append_new(array, entry);
    }
    json_put(object, "commands", array);
}

void json_put_stats(json_t *object, const struct app *app)
{
    struct client_stats stats;
    client_stats(app->client, &stats);
    json_put(object, "sent", json_number(stats.sent));
    json_put(object, "received", json_number(stats.received));
    json_put(object, "failed", json_number(stats.failed));
    json_put(object, "retries", json_number(stats.retries));
    json_put(object, "reconnects", json_number(stats.reconnects));
    json_put(object, "failovers", json_number(stats.failovers));
    json_put(object, "longest_gap_us", json_number(stats.longest_gap_us));
    json_put(object, "gaps", json_number(stats.gaps));
    json_put(object, "duplicates", json_number(stats.duplicates));
    json_put(object, "sent_per_second", json_real(stats.sent_per_second));
    json_put(object, "p50_us", json_number(stats.p50_us));
    json_put(object, "p99_us", json_number(stats.p99_us));
    json_put(object, "max_us", json_number(stats.max_us));
    json_put(object, "commands_failed", json_number(app->commands_failed));
}

static void put_resume(json_t *object, const struct app *app, const Jackdaw__ListRoomsReply *reply)
{
    struct client_view view;
    json_t *rooms = json_array();
    client_inspect(app->client, &view);
    for (size_t i = 0; i < reply->n_rooms; i++)
        (void)json_array_append_new(rooms, json_text(reply->rooms[i]->name));
    json_put_text(object, "name", view.name);
    json_put_session(object, view.session);
    json_put(object, "rooms", rooms);
    if (app->current != NULL)
        json_put_text(object, "room", app->current);
}

void json_put_result(json_t *object, const struct app *app, const struct outcome *outcome)
{
    const struct client_result *result = outcome->result;
    const struct command *command = outcome->command;
    if (command->run == command_run_status) {
        json_put_status(object, app, result);
    } else if (command->run == command_run_topic) {
        put_topic(object, result);
    } else if (command->run == command_run_help) {
        put_help(object, outcome);
    } else if (command->run == command_run_stats) {
        json_put_stats(object, app);
    } else if (command->run == command_run_switch) {
        json_put_text(object, "room", app->current);
    } else if (command->run == command_run_resume) {
        put_resume(object, app, result->reply.rooms);
    } else if (result != NULL) {
        put_answer(object, result);
    }
}
