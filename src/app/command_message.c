/* SPDX-License-Identifier: MIT */
#include "app/app.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Reads a whole number of at most 18 digits. */
static bool read_number(const char *text, uint64_t *out)
{
    size_t digits = strspn(text, "0123456789");
    if (digits == 0 || digits > 18 || text[digits] != '\0')
        return false;
    *out = strtoull(text, NULL, 10);
    return true;
}

void command_run_say(struct invocation *invocation)
{
    const char *room = app_room_of(invocation, COMMAND_ARGUMENTS_MAX);
    if (room == NULL)
        return;
    invocation->text = invocation->arguments[0];
    app_ask(invocation,
            &(struct client_request){.call = CLIENT_SEND, .room = room, .text = invocation->text});
}

void command_run_msg(struct invocation *invocation)
{
    char room[512];
    const char *name = invocation->arguments[0];
    invocation->text = invocation->arguments[1];
    (void)snprintf(room, sizeof room, "@%.500s", *name == '@' ? name + 1 : name);
    app_ask(invocation,
            &(struct client_request){.call = CLIENT_SEND, .room = room, .text = invocation->text});
}

void command_run_history(struct invocation *invocation)
{
    uint64_t limit = 0;
    uint64_t before = 0;
    const char *room = app_room_of(invocation, COMMAND_ARGUMENTS_MAX);
    if (room == NULL)
        return;
    if ((invocation->argument_count > 0 && !read_number(invocation->arguments[0], &limit)) ||
        (invocation->argument_count > 1 && !read_number(invocation->arguments[1], &before)) ||
        limit > UINT32_MAX) {
        app_end(invocation, STATUS_INVALID_ARGUMENT, "usage: /history [N [BEFORE]], two numbers");
        return;
    }
    app_ask(invocation,
            &(struct client_request){
                .call = CLIENT_HISTORY, .room = room, .before = before, .limit = (uint32_t)limit});
}

void command_run_deliver(struct invocation *invocation)
{
    app_ask(invocation, &(struct client_request){.call = CLIENT_HEARTBEAT});
}

void command_run_typing(struct invocation *invocation)
{
    bool off = invocation->argument_count > 0;
    const char *room = app_room_of(invocation, COMMAND_ARGUMENTS_MAX);
    if (room == NULL)
        return;
    if (off && strcmp(invocation->arguments[0], "off") != 0) {
        app_end(invocation, STATUS_INVALID_ARGUMENT, "usage: /typing [off]");
        return;
    }
    app_ask(invocation,
            &(struct client_request){.call = CLIENT_TYPING, .room = room, .active = !off});
}
