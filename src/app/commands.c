/* SPDX-License-Identifier: MIT */
#include "app/commands.h"

#include "client/text.h"

#include <string.h>

#define BYTE_ORDER_MARK "\xEF\xBB\xBF"

const struct command commands[] = {
    {.name = "register",
     .arguments = "NAME",
     .help = "create an account and log in",
     .least = 1,
     .most = 2,
     .rest = true,
     .password_words = 2,
     .run = command_run_register},
    {.name = "login",
     .arguments = "NAME",
     .help = "log in",
     .least = 1,
     .most = 2,
     .rest = true,
     .password_words = 2,
     .completion = COMPLETE_PERSON,
     .run = command_run_login},
    {.name = "replace",
     .arguments = "N",
     .help = "end a device that /login has shown, and log in instead",
     .least = 1,
     .most = 1,
     .run = command_run_replace},
    {.name = "logout", .arguments = "", .help = "end this session", .run = command_run_logout},
    {.name = "delete",
     .arguments = "",
     .help = "delete your account, after asking for the password",
     .most = 1,
     .rest = true,
     .password_words = 1,
     .run = command_run_delete},
    {.name = "users",
     .arguments = "[PATTERN [AFTER]]",
     .help = "list accounts; * is any characters, ? exactly one",
     .most = 2,
     .run = command_run_users},
    {.name = "join",
     .synonym = "!j",
     .arguments = "ROOM [private]",
     .help = "join a room, or create it, and make it current",
     .least = 1,
     .most = 2,
     .completion = COMPLETE_ROOM,
     .run = command_run_join},
    {.name = "leave",
     .synonym = "!e",
     .arguments = "[ROOM]",
     .help = "leave a room",
     .most = 1,
     .completion = COMPLETE_ROOM,
     .run = command_run_leave},
    {.name = "switch",
     .synonym = "!w",
     .arguments = "ROOM | @NAME",
     .help = "make a room or a conversation current",
     .least = 1,
     .most = 1,
     .early = true,
     .completion = COMPLETE_ROOM,
     .run = command_run_switch},
    {.name = "rooms",
     .synonym = "!g",
     .arguments = "[PATTERN [AFTER]]",
     .help = "list rooms; * is any characters, ? exactly one",
     .most = 2,
     .run = command_run_rooms},
    {.name = "members",
     .synonym = "!lm",
     .arguments = "[ROOM [AFTER]]",
     .help = "list the members of a room",
     .most = 2,
     .completion = COMPLETE_ROOM,
     .run = command_run_members},
    {.name = "topic",
     .arguments = "[TEXT]",
     .help = "set the topic of the current room, show it, or clear it (-)",
     .most = 1,
     .rest = true,
     .run = command_run_topic},
    {.name = "invite",
     .arguments = "NAME [ROOM]",
     .help = "admit a user to a private room",
     .least = 1,
     .most = 2,
     .completion = COMPLETE_PERSON,
     .run = command_run_invite},
    {.name = "kick",
     .arguments = "NAME [ROOM]",
     .help = "remove a user from your room",
     .least = 1,
     .most = 2,
     .completion = COMPLETE_PERSON,
     .run = command_run_kick},
    {.name = "ban",
     .arguments = "NAME [ROOM]",
     .help = "remove a user and refuse their return until they are invited again",
     .least = 1,
     .most = 2,
     .completion = COMPLETE_PERSON,
     .run = command_run_ban},
    {.name = "say",
     .arguments = "TEXT",
     .help = "write a message that looks like a command",
     .least = 1,
     .most = 1,
     .rest = true,
     .message = true,
     .run = command_run_say},
    {.name = "msg",
     .arguments = "NAME TEXT",
     .help = "write to one user",
     .least = 2,
     .most = 2,
     .rest = true,
     .message = true,
     .completion = COMPLETE_PERSON,
     .run = command_run_msg},
    {.name = "history",
     .arguments = "[N [BEFORE]]",
     .help = "show the last N messages of the current room, or those before number BEFORE",
     .most = 2,
     .run = command_run_history},
    {.name = "deliver",
     .arguments = "",
     .help = "list undelivered messages (they are sent automatically)",
     .run = command_run_deliver},
    {.name = "typing",
     .arguments = "[off]",
     .help = "tell the others in the current room that you are typing",
     .most = 1,
     .run = command_run_typing},
    {.name = "status",
     .arguments = "",
     .help = "show the cluster, the session, and pending messages",
     .local = true,
     .looks = true,
     .run = command_run_status},
    {.name = "stats",
     .arguments = "",
     .help = "show statistics: sent, received, throughput, latency",
     .local = true,
     .run = command_run_stats},
    {.name = "help",
     .arguments = "[COMMAND]",
     .help = "list the commands, or explain one",
     .most = 1,
     .early = true,
     .completion = COMPLETE_COMMAND,
     .run = command_run_help},
    {.name = "quit",
     .synonym = "!q",
     .arguments = "",
     .help = "leave",
     .local = true,
     .run = command_run_quit},
    {.name = NULL},
};

const struct command *command_named(const char *name, size_t length)
{
    for (const struct command *command = commands; command->name != NULL; command++)
        if (strlen(command->name) == length && memcmp(command->name, name, length) == 0)
            return command;
    return NULL;
}

static const struct command *command_of_synonym(const char *word, size_t length)
{
    for (const struct command *command = commands; command->name != NULL; command++)
        if (command->synonym != NULL && strlen(command->synonym) == length &&
            memcmp(command->synonym, word, length) == 0)
            return command;
    return NULL;
}

size_t command_name_size(const char *text)
{
    const char *at = text;
    const char *end = text;
    for (;;) {
        enum text_kind kind = text_next(&at);
        if (kind == TEXT_END || kind == TEXT_SPACE || kind == TEXT_EMPTY)
            return (size_t)(end - text);
        end = at;
    }
}

enum line_kind command_parse(const char *line, const struct command **command, const char **rest)
{
    if (strncmp(line, BYTE_ORDER_MARK, strlen(BYTE_ORDER_MARK)) == 0)
        line += strlen(BYTE_ORDER_MARK);
    *command = NULL;
    *rest = line;
    const char *start = line + text_blank_size(line, strlen(line));
    if (*start == '\0')
        return LINE_EMPTY;
    if (start[0] == '/' && start[1] == '/') {
        *rest = start + 1;
        return LINE_MESSAGE;
    }
    size_t size = command_name_size(start);
    if (start[0] == '/') {
        *command = command_named(start + 1, size - 1);
        *rest = *command == NULL ? start + 1 : start + size;
        return *command == NULL ? LINE_UNKNOWN : LINE_COMMAND;
    }
    *command = command_of_synonym(start, size);
    if (*command != NULL) {
        *rest = start + size;
        return LINE_COMMAND;
    }
    *command = command_guard(line);
    return *command == NULL ? LINE_MESSAGE : LINE_SUSPICIOUS;
}

/* Moves *at to the next space, or the end; a space is overwritten and passed. */
static void end_word(char **at)
{
    for (;;) {
        const char *next = *at;
        enum text_kind kind = text_next(&next);
        if (kind == TEXT_END)
            return;
        char *before = *at;
        *at += next - before;
        if (kind == TEXT_SPACE) {
            *before = '\0';
            return;
        }
    }
}

static void skip_spaces(char **at)
{
    const char *next = *at;
    while (text_next(&next) == TEXT_SPACE)
        *at += next - *at;
}

bool command_split(const struct command *command, char *rest,
                   char *arguments[static COMMAND_ARGUMENTS_MAX], size_t *count)
{
    *count = 0;
    skip_spaces(&rest);
    while (*rest != '\0') {
        if (*count == command->most)
            return false;
        arguments[(*count)++] = rest;
        if (command->rest && *count == command->most)
            break;
        end_word(&rest);
        skip_spaces(&rest);
    }
    return *count >= command->least;
}
