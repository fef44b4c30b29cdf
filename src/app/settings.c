/* SPDX-License-Identifier: MIT */
#include "app/settings.h"

static enum error parse_level(const char *text, void *field, struct error_text *why)
{
    (void)why;
    return log_level_parse(text, field);
}

#define FIELD(name) OPTION_FIELD(struct settings, name)

static const struct option_spec specs[] = {
    {.name = "address",
     .letter = 'a',
     .kind = OPTION_ADDRESSES,
     .argument = "ADDRESS",
     .fallback = "127.0.0.1:2625",
     .greedy = true,
     .group = "Servers",
     .help = "servers, as host:port or tls+tcp://host:port; the client uses one that answers, and "
             "learns further addresses from it",
     FIELD(addresses)},
    {.name = "tls_ca",
     .kind = OPTION_STRING,
     .argument = "FILE",
     .group = "Servers",
     .help = "authorities (PEM) for the certificates of servers with TLS",
     FIELD(tls_ca)},
    {.name = "timeout",
     .kind = OPTION_UNSIGNED,
     .argument = "SECONDS",
     .fallback = "30",
     .min = 1,
     .max = 86400,
     .group = "Servers",
     .help = "at the end of piped input, how long to wait for an answer before unsent messages "
             "fail",
     FIELD(timeout_s)},
    {.name = "user",
     .letter = 'u',
     .kind = OPTION_STRING,
     .argument = "USER",
     .group = "Who and where",
     .help = "log in at the start",
     FIELD(user)},
    {.name = "register",
     .kind = OPTION_FLAG,
     .group = "Who and where",
     .help = "create the account of -u if it does not exist",
     .private_line = true,
     FIELD(make_account)},
    {.name = "password_file",
     .kind = OPTION_STRING,
     .argument = "FILE",
     .group = "Who and where",
     .help = "the password is the first line of this file; without the option the client asks on "
             "the terminal",
     FIELD(password_file)},
    {.name = "replace",
     .kind = OPTION_FLAG,
     .group = "Who and where",
     .help = "if all devices of -u are logged in, end the one that has been silent for longest",
     FIELD(replace)},
    {.name = "state",
     .kind = OPTION_STRING,
     .argument = "FILE",
     .group = "Who and where",
     .help = "keep session, unanswered requests and cursor in this file, so that a killed client "
             "can resume; each client needs its own file",
     FIELD(state)},
    {.name = "room",
     .letter = 'r',
     .kind = OPTION_STRINGS,
     .argument = "ROOM",
     .group = "Who and where",
     .help = "join at the start; may be repeated, the last one is current",
     FIELD(rooms)},
    {.name = "plain",
     .kind = OPTION_FLAG,
     .group = "Screen",
     .help = "lines without colours, editing or cursor movement",
     FIELD(plain)},
    {.name = "json",
     .kind = OPTION_FLAG,
     .group = "Screen",
     .help = "for programs: read commands from standard input, print one JSON object per line",
     FIELD(json)},
    {.name = "log_level",
     .kind = OPTION_CHOICE,
     .argument = "debug|info|warning|error|silent",
     .fallback = "error",
     .parse = parse_level,
     .group = "Other",
     .help = "lowest level that is logged on standard error",
     FIELD(log_level)},
    {.name = "help",
     .letter = 'h',
     .kind = OPTION_FLAG,
     .group = "Other",
     .help = "print this and exit",
     .private_line = true,
     FIELD(help)},
    {.name = "version",
     .kind = OPTION_FLAG,
     .group = "Other",
     .help = "print the version and exit",
     .private_line = true,
     FIELD(version)},
    {.name = NULL},
};

static const struct option_table table = {
    .specs = specs,
    .prefix = "JACKDAW_",
    .usage = "client [-a ADDRESS ...] [-u USER] [-r ROOM]... [--plain|--json] [options]",
    .summary = "Chats through a cluster of jackdaw servers.",
    .closing = "/help within the client lists its commands.",
};

enum error settings_parse(int argc, char *const *argv, struct settings *settings,
                          struct error_text *why)
{
    enum error error = options_parse(&table, argc, argv, settings, why);
    if (error != OK)
        return error;
    const char *wrong = NULL;
    bool tls = false;
    for (size_t i = 0; i < settings->addresses.count; i++)
        tls = tls || settings->addresses.items[i].tls;
    if (tls && settings->tls_ca == NULL)
        wrong = "an address with tls+tcp:// needs --tls_ca, to check the server's certificate";
    else if (settings->make_account && settings->user == NULL)
        wrong = "--register needs -u: whose account?";
    else if (settings->replace && settings->user == NULL)
        wrong = "--replace needs -u: whose device?";
    else if (settings->plain && settings->json)
        wrong = "--plain and --json are two screens: choose one";
    if (wrong == NULL)
        return OK;
    options_release(&table, settings);
    return error_set(why, ERROR_INVALID, "%s", wrong);
}

void settings_release(struct settings *settings)
{
    options_release(&table, settings);
}

void settings_print_help(FILE *stream)
{
    options_print_help(&table, stream);
}
