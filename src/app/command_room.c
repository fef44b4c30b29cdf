/* SPDX-License-Identifier: MIT */
#include "app/app.h"
#include "client/text.h"

#include <string.h>

#define LIST_LIMIT 1000

void command_run_join(struct invocation *invocation)
{
    bool private_room = invocation->argument_count == 2;
    if (private_room && strcmp(invocation->arguments[1], "private") != 0) {
        app_end(invocation, STATUS_INVALID_ARGUMENT, "usage: /join ROOM [private]");
        return;
    }
    app_ask(invocation, &(struct client_request){.call = CLIENT_JOIN,
                                                 .room = invocation->arguments[0],
                                                 .private_room = private_room});
}

void command_run_leave(struct invocation *invocation)
{
    const char *room = app_room_of(invocation, 0);
    if (room == NULL)
        return;
    if (*room == '@') {
        app_end(invocation, STATUS_INVALID_ARGUMENT,
                "a conversation with one person cannot be left: /switch to another");
        return;
    }
    app_ask(invocation, &(struct client_request){.call = CLIENT_LEAVE, .room = room});
}

void command_run_switch(struct invocation *invocation)
{
    struct app *app = invocation->app;
    const char *wanted = invocation->arguments[0];
    const char *room = *wanted == '@' ? wanted : names_find(&app->rooms, wanted);
    struct error_text why;
    if (room == NULL) {
        (void)error_set(&why, OK, "you are not in %s: /join it first", wanted);
        app_end(invocation, STATUS_NOT_FOUND, why.text);
        return;
    }
    app_set_current(app, room);
    app_end(invocation, STATUS_OK, "");
}

void command_run_rooms(struct invocation *invocation)
{
    app_ask(invocation, &(struct client_request){.call = CLIENT_ROOMS,
                                                 .name = invocation->arguments[0],
                                                 .after = invocation->arguments[1],
                                                 .limit = LIST_LIMIT});
}

void command_run_members(struct invocation *invocation)
{
    const char *room = app_room_of(invocation, 0);
    if (room != NULL)
        app_ask(invocation, &(struct client_request){.call = CLIENT_MEMBERS,
                                                     .room = room,
                                                     .after = invocation->arguments[1],
                                                     .limit = LIST_LIMIT});
}

/* Without a text it is shown: a list of rooms with the one whose name is the pattern. */
void command_run_topic(struct invocation *invocation)
{
    const char *room = app_room_of(invocation, COMMAND_ARGUMENTS_MAX);
    if (room == NULL)
        return;
    if (invocation->argument_count == 0) {
        app_ask(invocation,
                &(struct client_request){.call = CLIENT_ROOMS, .name = room, .limit = 1});
        return;
    }
    const char *text = invocation->arguments[0];
    app_ask(invocation, &(struct client_request){.call = CLIENT_TOPIC,
                                                 .room = room,
                                                 .text = strcmp(text, "-") == 0 ? "" : text});
}

void command_run_invite(struct invocation *invocation)
{
    const char *room = app_room_of(invocation, 1);
    if (room != NULL)
        app_ask(invocation, &(struct client_request){.call = CLIENT_INVITE,
                                                     .room = room,
                                                     .name = invocation->arguments[0]});
}

static void kick(struct invocation *invocation, bool ban)
{
    const char *room = app_room_of(invocation, 1);
    if (room != NULL)
        app_ask(invocation, &(struct client_request){.call = CLIENT_KICK,
                                                     .room = room,
                                                     .name = invocation->arguments[0],
                                                     .ban = ban});
}

void command_run_kick(struct invocation *invocation)
{
    kick(invocation, false);
}

void command_run_ban(struct invocation *invocation)
{
    kick(invocation, true);
}
