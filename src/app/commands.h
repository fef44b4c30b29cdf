/* SPDX-License-Identifier: MIT */
/* commands.h - what a person or a program can tell the client to do: one table for all screens. */
#ifndef JACKDAW_APP_COMMANDS_H
#define JACKDAW_APP_COMMANDS_H

#include <stdbool.h>
#include <stddef.h>

#define COMMAND_ARGUMENTS_MAX 3

struct invocation;

/* The kind of an argument, for completion. */
enum command_completion { COMPLETE_NOTHING, COMPLETE_ROOM, COMPLETE_PERSON, COMPLETE_COMMAND };

struct command {
    const char *name;      /* without '/' */
    const char *synonym;   /* a whole first word ("!j"), or NULL */
    const char *arguments; /* as in help; "" where there are none */
    const char *help;      /* a phrase */
    size_t least, most;    /* number of arguments */
    bool rest;             /* the last argument is the rest of the line, spaces included */
    bool local;            /* of this program's business: needs not wait for a person's others */
    bool early;            /* needs not wait for messages before it */
    bool looks;            /* at the server: a script's waits until one answers, or none does */
    bool message;          /* sends a message */
    size_t password_words; /* with so many words behind it a password is among them; 0: never */
    enum command_completion completion; /* of the first argument */
    void (*run)(struct invocation *invocation);
};

/* The table, ended by a NULL name. */
extern const struct command commands[];

/* Finds a command by its name without '/' (length bytes), or NULL. */
const struct command *command_named(const char *name, size_t length);

/* The kind of a line. */
enum line_kind {
    LINE_EMPTY,      /* only white space and invisible characters */
    LINE_MESSAGE,    /* *rest is the message */
    LINE_COMMAND,    /* *command, and *rest is what follows its name */
    LINE_UNKNOWN,    /* begins like a command that there is none of; *rest is its name on */
    LINE_SUSPICIOUS, /* a plain line that may have been meant as *command: it must not be sent */
};
/* line: NUL-terminated. A byte order mark at its beginning is no part of it. Blank before a command
 * counts for nothing. A line that begins with two slashes is a message that begins with one. */
enum line_kind command_parse(const char *line, const struct command **command, const char **rest);

/* How many bytes the name of a command at the beginning of text (without '/') has. */
size_t command_name_size(const char *text);

/* The command that a line, which is none, may have been meant as; NULL: it is a message. There is a
 * doubt when
 *   - the line begins with a character that looks like a slash, and the name of a command follows;
 *   - a command that takes a password stands anywhere as a word behind a slash, a backslash, "!" or
 *     what looks like them ("> /login ann secret", "\/login ann secret"), or begins the line behind
 *     signs or digits ("?login ann secret", "7login ann secret"), and so many words follow that the
 *     password is among them.
 * Case, width and invisible characters make no difference. */
const struct command *command_guard(const char *line);

/* Splits rest (changed) into arguments: words, of which the last keeps its spaces where the command
 * says so. False: too many or too few. */
bool command_split(const struct command *command, char *rest,
                   char *arguments[static COMMAND_ARGUMENTS_MAX], size_t *count);

/* ---- the handlers, by file ---- */
/* command_account.c */
void command_run_register(struct invocation *invocation);
void command_run_login(struct invocation *invocation);
void command_run_replace(struct invocation *invocation); /* app_login.c */
void command_run_resume(struct invocation *invocation);  /* invocation.c */
void command_run_logout(struct invocation *invocation);
void command_run_delete(struct invocation *invocation);
void command_run_users(struct invocation *invocation);
/* command_room.c */
void command_run_join(struct invocation *invocation);
void command_run_leave(struct invocation *invocation);
void command_run_switch(struct invocation *invocation);
void command_run_rooms(struct invocation *invocation);
void command_run_members(struct invocation *invocation);
void command_run_topic(struct invocation *invocation);
void command_run_invite(struct invocation *invocation);
void command_run_kick(struct invocation *invocation);
void command_run_ban(struct invocation *invocation);
/* command_message.c */
void command_run_say(struct invocation *invocation);
void command_run_msg(struct invocation *invocation);
void command_run_history(struct invocation *invocation);
void command_run_deliver(struct invocation *invocation);
void command_run_typing(struct invocation *invocation);
/* command_other.c */
void command_run_status(struct invocation *invocation);
void command_run_stats(struct invocation *invocation);
void command_run_help(struct invocation *invocation);
void command_run_quit(struct invocation *invocation);

#endif
