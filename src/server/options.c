/* SPDX-License-Identifier: MIT */
#include "server/options.h"

#include "base/options.h"

#include <stdio.h>
#include <string.h>

static enum error parse_role(const char *text, void *field, struct error_text *why)
{
    (void)why;
    enum server_role *role = field;
    if (strcmp(text, "master") == 0)
        *role = SERVER_MASTER;
    else if (strcmp(text, "slave") == 0)
        *role = SERVER_SLAVE;
    else
        return ERROR_INVALID;
    return OK;
}

static enum error parse_cost(const char *text, void *field, struct error_text *why)
{
    (void)why;
    enum password_cost *cost = field;
    if (strcmp(text, "interactive") == 0)
        *cost = PASSWORD_COST_INTERACTIVE;
    else if (strcmp(text, "minimal") == 0)
        *cost = PASSWORD_COST_MINIMAL;
    else
        return ERROR_INVALID;
    return OK;
}

static enum error parse_level(const char *text, void *field, struct error_text *why)
{
    (void)why;
    return log_level_parse(text, field);
}

static enum error parse_format(const char *text, void *field, struct error_text *why)
{
    (void)why;
    return log_format_parse(text, field);
}

#define FIELD(name) OPTION_FIELD(struct server_options, name)

static const struct option_spec specs[] = {
    {.name = "id",
     .kind = OPTION_UNSIGNED,
     .argument = "ID",
     .fallback = "1",
     .min = 1,
     .max = 65535,
     .positional = true,
     .group = "The server",
     .help = "number of this server, different for every server of a cluster",
     FIELD(id)},
    {.name = "role",
     .kind = OPTION_CHOICE,
     .argument = "master|slave",
     .fallback = "master",
     .parse = parse_role,
     .positional = true,
     .group = "The server",
     .help = "whether it starts a cluster or joins one",
     FIELD(role)},
    {.name = "client_address",
     .kind = OPTION_ADDRESS,
     .argument = "ADDRESS",
     .fallback = ":2625",
     .positional = true,
     .group = "The server",
     .help = "where clients connect: host:port, :port for every interface, "
             "tls+tcp://host:port for TLS, port 0 for any free one",
     FIELD(client_address)},
    {.name = "internal_address",
     .kind = OPTION_ADDRESS,
     .argument = "ADDRESS",
     .fallback = ":2626",
     .positional = true,
     .group = "The server",
     .help = "where the other servers of the cluster connect",
     FIELD(internal_address)},
    {.name = "data_dir",
     .kind = OPTION_STRING,
     .argument = "FOLDER",
     .fallback = "data",
     .group = "The server",
     .help = "where it keeps its database: in FOLDER/ID",
     FIELD(data_dir)},
    {.name = "advertise_host",
     .kind = OPTION_STRING,
     .argument = "HOST",
     .group = "The server",
     .help = "host that clients are told to find this server at, if not that of the client address",
     FIELD(advertise_host)},
    {.name = "log_keep",
     .kind = OPTION_UNSIGNED,
     .argument = "N",
     .fallback = "200000",
     .min = 1000,
     .max = 1000000000,
     .group = "The server",
     .help = "changes kept in the log for other servers to catch up with",
     FIELD(log_keep)},

    {.name = "max_sessions",
     .kind = OPTION_UNSIGNED,
     .argument = "N",
     .fallback = "2",
     .min = 1,
     .max = 64,
     .group = "Limits",
     .help = "devices that one account may be logged in on",
     FIELD(limits.sessions_per_account)},
    {.name = "max_message_bytes",
     .kind = OPTION_UNSIGNED,
     .argument = "BYTES",
     .fallback = "16384",
     .min = 1,
     .max = 131072,
     .group = "Limits",
     .help = "longest message",
     FIELD(limits.message_bytes)},
    {.name = "history",
     .kind = OPTION_UNSIGNED,
     .argument = "N",
     .fallback = "10",
     .min = 0,
     .max = CHAT_PAGE_EVENTS,
     .group = "Limits",
     .help = "messages shown when somebody joins a room",
     FIELD(limits.history_on_join)},
    {.name = "max_user_rooms",
     .kind = OPTION_UNSIGNED,
     .argument = "N",
     .fallback = "256",
     .min = 1,
     .max = 4096,
     .group = "Limits",
     .help = "rooms that one account may be in",
     FIELD(limits.rooms_per_account)},
    {.name = "max_room_members",
     .kind = OPTION_UNSIGNED,
     .argument = "N",
     .fallback = "1024",
     .min = 2,
     .max = 65536,
     .group = "Limits",
     .help = "members that one room may have",
     FIELD(limits.members_per_room)},
    {.name = "rate_limit",
     .kind = OPTION_UNSIGNED,
     .argument = "N",
     .fallback = "1000",
     .min = 0,
     .max = 10000000,
     .group = "Limits",
     .help = "requests per second of one session, twice that in a burst; 0 for no limit",
     FIELD(limits.requests_per_second)},
    {.name = "max_clients",
     .kind = OPTION_UNSIGNED,
     .argument = "N",
     .fallback = "10000",
     .min = 1,
     .max = 1000000,
     .group = "Limits",
     .help = "connections at a time",
     FIELD(clients_max)},
    {.name = "session_timeout",
     .kind = OPTION_UNSIGNED,
     .argument = "MS",
     .fallback = "60000",
     .min = 100,
     .max = 86400000,
     .group = "Limits",
     .help = "a device that was not heard for this long no longer counts as logged in",
     FIELD(limits.session_silence_ms)},
    {.name = "idle_timeout",
     .kind = OPTION_UNSIGNED,
     .argument = "MS",
     .fallback = "90000",
     .min = 1000,
     .max = 86400000,
     .group = "Limits",
     .help = "a connection that was silent for this long is closed",
     FIELD(idle_timeout_ms)},

    {.name = "tls_cert",
     .kind = OPTION_STRING,
     .argument = "FILE",
     .group = "Security",
     .help = "certificate (PEM, with its chain) for a tls+tcp:// client address",
     FIELD(tls_cert)},
    {.name = "tls_key",
     .kind = OPTION_STRING,
     .argument = "FILE",
     .group = "Security",
     .help = "private key (PEM) of the certificate",
     FIELD(tls_key)},
    {.name = "password_cost",
     .kind = OPTION_CHOICE,
     .argument = "interactive|minimal",
     .fallback = "interactive",
     .parse = parse_cost,
     .group = "Security",
     .help = "work put into a password's hash; minimal is for tests only",
     FIELD(password_cost)},

    {.name = "log_level",
     .kind = OPTION_CHOICE,
     .argument = "debug|info|warning|error|silent",
     .fallback = "info",
     .parse = parse_level,
     .group = "Log (on stderr)",
     .help = "what is logged",
     FIELD(log_level)},
    {.name = "log_format",
     .kind = OPTION_CHOICE,
     .argument = "text|json",
     .fallback = "text",
     .parse = parse_format,
     .group = "Log (on stderr)",
     .help = "how it is written",
     FIELD(log_format)},

    {.name = "help",
     .letter = 'h',
     .kind = OPTION_FLAG,
     .private_line = true,
     .group = "Help",
     .help = "print this and leave",
     FIELD(help)},
    {.name = "version",
     .letter = 'V',
     .kind = OPTION_FLAG,
     .private_line = true,
     .group = "Help",
     .help = "print the version and leave",
     FIELD(version)},
    {.name = NULL},
};

static const struct option_table table = {
    .specs = specs,
    .prefix = "JACKDAW_",
    .usage = "server [ID [master|slave [CLIENT_ADDRESS [INTERNAL_ADDRESS]]]] [OPTION ...]",
    .summary = "A server of Jackdaw, fault-tolerant group chat.",
    .closing = "With no words at all: server 1 master :2625 :2626\n",
};

static bool is_host(const char *text)
{
    struct address address;
    char whole[ADDRESS_TEXT_SIZE];
    bool v6 = strchr(text, ':') != NULL;
    if (strlen(text) >= ADDRESS_HOST_SIZE)
        return false;
    (void)snprintf(whole, sizeof whole, "%s%s%s:0", v6 ? "[" : "", text, v6 ? "]" : "");
    return address_parse(whole, &address, NULL) == OK && address.host[0] != '\0';
}

static enum error check_texts(const struct server_options *options, struct error_text *why)
{
    if (options->data_dir[0] == '\0')
        return error_set(why, ERROR_INVALID, "--data_dir: a folder has a name; \".\" is this one");
    if (options->advertise_host == NULL || is_host(options->advertise_host))
        return OK;
    return error_set(why, ERROR_INVALID,
                     "--advertise_host: \"%.100s\" is not the name or address of a host",
                     options->advertise_host);
}

static enum error check(const struct server_options *options, struct error_text *why)
{
    bool has_pair = options->tls_cert != NULL && options->tls_key != NULL;
    if (options->client_address.tls && !has_pair)
        return error_set(why, ERROR_INVALID,
                         "a tls+tcp:// client address needs --tls_cert and --tls_key");
    if (!options->client_address.tls && (options->tls_cert != NULL || options->tls_key != NULL))
        return error_set(why, ERROR_INVALID,
                         "--tls_cert and --tls_key are for a client address that begins with "
                         "tls+tcp://");
    if (options->internal_address.tls)
        return error_set(why, ERROR_INVALID,
                         "the internal address takes no tls+tcp://: it is for servers only");
    if (options->client_address.port != 0 &&
        options->client_address.port == options->internal_address.port &&
        strcmp(options->client_address.host, options->internal_address.host) == 0)
        return error_set(why, ERROR_INVALID,
                         "the client address and the internal address must differ");
    return check_texts(options, why);
}

enum error server_options_parse(int argc, char *const *argv, struct server_options *out,
                                struct error_text *why)
{
    memset(out, 0, sizeof *out);
    chat_limits_default(&out->limits);
    enum error error = options_parse(&table, argc, argv, out, why);
    if (error != OK)
        return error;
    error = out->help || out->version ? OK : check(out, why);
    if (error != OK)
        options_release(&table, out);
    return error;
}

void server_options_release(struct server_options *options)
{
    options_release(&table, options);
}

void server_options_print_help(void)
{
    options_print_help(&table, stdout);
}
