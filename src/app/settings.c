/* SPDX-License-Identifier: MIT */
#include "app/settings.h"

static enum error parse_level(const char *text, void *field, struct error_text *why)
{
    (void)why;
    return log_level_parse(text, field);
}

#define FIELD(name) OPTION_FIELD(struct settings, name)

static const struct option_spec specs[] = {
    OPTION(ADDRESSES, "Servers", "address", "ADDRESS", "127.0.0.1:2625",
           "servers, as host:port or tls+tcp://host:port; the client uses one that answers, and "
           "learns further addresses from it",
           FIELD(addresses), .letter = 'a', .greedy = true),
    OPTION(STRING, "Servers", "tls_ca", "FILE", NULL,
           "authorities (PEM) for the certificates of servers with TLS", FIELD(tls_ca)),
    OPTION(UNSIGNED, "Servers", "timeout", "SECONDS", "30",
           "at the end of piped input, how long to wait for an answer before unsent messages "
           "fail",
           FIELD(timeout_s), .min = 1, .max = 86400),
    OPTION(STRING, "Who and where", "user", "USER", NULL, "log in at the start", FIELD(user),
           .letter = 'u'),
    OPTION(FLAG, "Who and where", "register", NULL, NULL,
           "create the account of -u if it does not exist", FIELD(make_account),
           .private_line = true),
    OPTION(STRING, "Who and where", "password_file", "FILE", NULL,
           "the password is the first line of this file; without the option the client asks on "
           "the terminal",
           FIELD(password_file)),
    OPTION(FLAG, "Who and where", "replace", NULL, NULL,
           "if all devices of -u are logged in, end the one that has been silent for longest",
           FIELD(replace)),
    OPTION(STRING, "Who and where", "state", "FILE", NULL,
           "keep session, unanswered requests and cursor in this file, so that a killed client "
           "can resume; each client needs its own file",
           FIELD(state)),
    OPTION(STRINGS, "Who and where", "room", "ROOM", NULL,
           "join at the start; may be repeated, the last one is current", FIELD(rooms),
           .letter = 'r'),
    OPTION(FLAG, "Screen", "plain", NULL, NULL, "lines without colours, editing or cursor movement",
           FIELD(plain)),
    OPTION(FLAG, "Screen", "json", NULL, NULL,
           "for programs: read commands from standard input, print one JSON object per line",
           FIELD(json)),
    OPTION(CHOICE, "Other", "log_level", "debug|info|warning|error|silent", "error",
           "lowest level that is logged on standard error", FIELD(log_level), .parse = parse_level),
    OPTION(FLAG, "Other", "help", NULL, NULL, "print this and exit", FIELD(help), .letter = 'h',
           .private_line = true),
    OPTION(FLAG, "Other", "version", NULL, NULL, "print the version and exit", FIELD(version),
           .private_line = true),
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
