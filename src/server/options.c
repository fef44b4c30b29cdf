/* SPDX-License-Identifier: MIT */
#include "server/options.h"

#include <stdio.h>
#include <string.h>

static enum error parse_role(const char *text, void *field, struct error_text *why)
{
    (void)why;
    bool *is_first = field;
    if (strcmp(text, "master") != 0 && strcmp(text, "slave") != 0)
        return ERROR_INVALID;
    *is_first = text[0] == 'm';
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

static enum error parse_durability(const char *text, void *field, struct error_text *why)
{
    (void)why;
    enum replica_policy *policy = field;
    if (strcmp(text, "all") == 0)
        *policy = REPLICA_ALL;
    else if (strcmp(text, "quorum") == 0)
        *policy = REPLICA_QUORUM;
    else if (strcmp(text, "local") == 0)
        *policy = REPLICA_LOCAL;
    else
        return ERROR_INVALID;
    return OK;
}

static enum error parse_given(const char *text, void *field, struct error_text *why)
{
    struct option_address *given = field;
    enum error error = address_parse(text, &given->address, why);
    given->is_given = error == OK;
    return error;
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
     FIELD(cluster.id)},
    {.name = "role",
     .kind = OPTION_CHOICE,
     .argument = "master|slave",
     .fallback = "master",
     .parse = parse_role,
     .positional = true,
     .group = "The server",
     .help = "whether it starts a cluster or joins one",
     FIELD(cluster.is_first)},
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
     FIELD(cluster.internal_address)},
    {.name = "data_dir",
     .kind = OPTION_STRING,
     .argument = "FOLDER",
     .fallback = "data",
     .group = "The server",
     .help = "folder of the database, which is in FOLDER/ID",
     FIELD(data_dir)},
    {.name = "advertise_host",
     .kind = OPTION_STRING,
     .argument = "HOST",
     .group = "The server",
     .help = "host that the server announces to clients, if not that of the client address",
     FIELD(cluster.advertise_host)},
    {.name = "log_keep",
     .kind = OPTION_UNSIGNED,
     .argument = "N",
     .fallback = "200000",
     .min = 1000,
     .max = 1000000000,
     .group = "The server",
     .help = "changes kept in the log in any case, so that a new server need not copy the database",
     FIELD(cluster.log_keep)},
    {.name = "log_keep_bytes",
     .kind = OPTION_UNSIGNED,
     .argument = "BYTES",
     .fallback = "4294967296",
     .min = 1024 * 1024,
     .max = UINT64_C(1) << 40,
     .group = "The server",
     .help =
         "bytes of the log kept for members that lack them; a master with so many refuses writes",
     FIELD(cluster.log_keep_bytes)},

    {.name = "master_address",
     .kind = OPTION_ADDRESSES,
     .argument = "ADDRESS[,ADDRESS...]",
     .group = "The cluster",
     .help = "internal addresses of servers of the cluster to join, up to 16; needed until this "
             "server has joined once",
     FIELD(cluster.masters)},
    {.name = "founding_wait",
     .kind = OPTION_UNSIGNED,
     .argument = "MS",
     .fallback = "1000",
     .max = 600000,
     .group = "The cluster",
     .help = "how long a master without data looks for a cluster before it founds one: it asks at "
             "--master_address, and listens for calls of members",
     FIELD(cluster.founding_wait_ms)},
    {.name = "durability",
     .kind = OPTION_CHOICE,
     .argument = "all|quorum|local",
     .fallback = "all",
     .parse = parse_durability,
     .group = "The cluster",
     .help = "a message is acknowledged when it is on the disks of all servers in sync, of a "
             "quorum, or of the master (local); must be the same on every server",
     FIELD(cluster.durability)},
    {.name = "feed_address",
     .kind = OPTION_CHOICE,
     .argument = "ADDRESS",
     .parse = parse_given,
     .group = "The cluster",
     .help = "address where other servers subscribe to this server as master; default: the host "
             "of the internal address, and any free port",
     FIELD(cluster.feed_address)},
    {.name = "ping_interval",
     .kind = OPTION_UNSIGNED,
     .argument = "MS",
     .fallback = "100",
     .min = 10,
     .max = 60000,
     .group = "The cluster",
     .help = "interval of a slave's pings",
     FIELD(cluster.ping_interval_ms)},
    {.name = "ping_timeout",
     .kind = OPTION_UNSIGNED,
     .argument = "MS",
     .fallback = "500",
     .min = 20,
     .max = 600000,
     .group = "The cluster",
     .help = "a server that is silent for this long counts as lost; at least two ping intervals",
     FIELD(cluster.ping_timeout_ms)},
    {.name = "ack_timeout",
     .kind = OPTION_UNSIGNED,
     .argument = "MS",
     .fallback = "1000",
     .min = 20,
     .max = 600000,
     .group = "The cluster",
     .help = "the master no longer waits for a slave without an ack for this long; at least the "
             "ping timeout",
     FIELD(cluster.ack_timeout_ms)},
    {.name = "disk_timeout",
     .kind = OPTION_UNSIGNED,
     .argument = "MS",
     .fallback = "2000",
     .min = 100,
     .max = 600000,
     .group = "The cluster",
     .help = "another server replaces a master with a hung disk after this time",
     FIELD(cluster.disk_timeout_ms)},
    {.name = "forward",
     .kind = OPTION_FLAG,
     .group = "The cluster",
     .help = "as a slave, forward requests to the master instead of redirecting clients",
     FIELD(forward)},

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
     .help = "messages that a user sees when joining a room",
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
     .help = "a device that is silent for this long no longer counts as logged in",
     FIELD(limits.session_silence_ms)},
    {.name = "idle_timeout",
     .kind = OPTION_UNSIGNED,
     .argument = "MS",
     .fallback = "90000",
     .min = 1000,
     .max = 86400000,
     .group = "Limits",
     .help = "the server closes a connection that is silent for this long",
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
    {.name = "tls_ca",
     .kind = OPTION_STRING,
     .argument = "FILE",
     .group = "Security",
     .help = "certificate authority (PEM) for the tls+tcp:// client addresses of other servers, "
             "used with --forward and --status",
     FIELD(tls_ca)},
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
     .group = "Log",
     .help = "lowest level that is logged",
     FIELD(log_level)},
    {.name = "log_format",
     .kind = OPTION_CHOICE,
     .argument = "text|json",
     .fallback = "text",
     .parse = parse_format,
     .group = "Log",
     .help = "format of the log",
     FIELD(log_format)},
    {.name = "log_file",
     .kind = OPTION_STRING,
     .argument = "FILE",
     .group = "Log",
     .help = "file to which the log is appended, instead of standard error; SIGHUP reopens it",
     FIELD(log_file)},

    {.name = "status",
     .kind = OPTION_STRING,
     .argument = "ADDRESS",
     .private_line = true,
     .group = "For operators (runs jackdaw-admin)",
     .help =
         "print the state of the cluster as the server at this client or internal address reports "
         "it",
     FIELD(status)},
    {.name = "json",
     .kind = OPTION_FLAG,
     .private_line = true,
     .group = "For operators (runs jackdaw-admin)",
     .help = "with --status: as JSON",
     FIELD(json)},
    {.name = "leave",
     .kind = OPTION_STRING,
     .argument = "ADDRESS",
     .private_line = true,
     .group = "For operators (runs jackdaw-admin)",
     .help = "make the server at this internal address leave the cluster for good",
     FIELD(leave)},
    {.name = "remove",
     .kind = OPTION_UNSIGNED,
     .argument = "ID",
     .min = 1,
     .max = 65535,
     .private_line = true,
     .group = "For operators (runs jackdaw-admin)",
     .help = "remove a dead server from the cluster for good; with --master_address",
     FIELD(remove)},

    {.name = "help",
     .letter = 'h',
     .kind = OPTION_FLAG,
     .private_line = true,
     .group = "Help",
     .help = "print this and exit",
     FIELD(help)},
    {.name = "version",
     .letter = 'V',
     .kind = OPTION_FLAG,
     .private_line = true,
     .group = "Help",
     .help = "print the version and exit",
     FIELD(version)},
    {.name = NULL},
};

static const struct option_table table = {
    .specs = specs,
    .prefix = "JACKDAW_",
    .usage = "server [ID [master|slave [CLIENT_ADDRESS [INTERNAL_ADDRESS]]]] [OPTION ...]\n"
             "       server --status ADDRESS [--json]\n"
             "       server --leave ADDRESS\n"
             "       server --remove ID --master_address=ADDRESS[,ADDRESS...]",
    .summary = "A server of Jackdaw, fault-tolerant group chat.",
    .closing = "Without arguments: server 1 master :2625 :2626\n",
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
    if (options->log_file != NULL && options->log_file[0] == '\0')
        return error_set(why, ERROR_INVALID,
                         "--log_file: the name is empty; leave the option out to log to standard "
                         "error");
    if (options->cluster.advertise_host == NULL || is_host(options->cluster.advertise_host))
        return OK;
    return error_set(why, ERROR_INVALID,
                     "--advertise_host: \"%.100s\" is not the name or address of a host",
                     options->cluster.advertise_host);
}

static enum error check_clients(const struct server_options *options, struct error_text *why)
{
    bool has_pair = options->tls_cert != NULL && options->tls_key != NULL;
    if (options->client_address.tls && !has_pair)
        return error_set(why, ERROR_INVALID,
                         "a tls+tcp:// client address needs --tls_cert and --tls_key");
    if (!options->client_address.tls && (options->tls_cert != NULL || options->tls_key != NULL))
        return error_set(why, ERROR_INVALID,
                         "--tls_cert and --tls_key are for a client address that begins with "
                         "tls+tcp://");
    return OK;
}

static bool is_same(const struct address *left, const struct address *right)
{
    return left->port != 0 && left->port == right->port && strcmp(left->host, right->host) == 0;
}

static enum error check_addresses(const struct server_options *options, struct error_text *why)
{
    const struct address *feed = &options->cluster.feed_address.address;
    if (options->cluster.internal_address.tls)
        return error_set(why, ERROR_INVALID,
                         "the internal address takes no tls+tcp://: only servers connect to it");
    if (is_same(&options->client_address, &options->cluster.internal_address))
        return error_set(why, ERROR_INVALID,
                         "the client address and the internal address must differ");
    if (!options->cluster.feed_address.is_given)
        return OK;
    if (feed->tls)
        return error_set(why, ERROR_INVALID,
                         "--feed_address takes no tls+tcp://: only servers connect to it");
    if (is_same(feed, &options->client_address) ||
        is_same(feed, &options->cluster.internal_address))
        return error_set(why, ERROR_INVALID,
                         "--feed_address must differ from the client and the internal address");
    return OK;
}

static enum error check_masters(const struct server_options *options, struct error_text *why)
{
    if (options->cluster.masters.count > REPLICA_SEEDS_MAX)
        return error_set(why, ERROR_INVALID,
                         "--master_address: %zu addresses are too many; %d suffice, any of which "
                         "knows the others",
                         options->cluster.masters.count, REPLICA_SEEDS_MAX);
    for (size_t i = 0; i < options->cluster.masters.count; i++) {
        const struct address *address = &options->cluster.masters.items[i];
        char text[ADDRESS_TEXT_SIZE];
        address_format(address, text);
        if (address->tls)
            return error_set(why, ERROR_INVALID,
                             "--master_address: %s: servers talk to each other without tls+tcp://",
                             text);
        if (address->port == 0)
            return error_set(why, ERROR_INVALID,
                             "--master_address: %s: port 0 cannot be dialled; name the internal "
                             "address of a server",
                             text);
    }
    return OK;
}

static enum error check_times(const struct server_options *options, struct error_text *why)
{
    if (options->cluster.ping_timeout_ms < 2 * options->cluster.ping_interval_ms)
        return error_set(why, ERROR_INVALID,
                         "--ping_timeout: %u ms is too short for a --ping_interval of %u ms; it "
                         "must be at least twice that, or one lost ping causes a failover",
                         (unsigned)options->cluster.ping_timeout_ms,
                         (unsigned)options->cluster.ping_interval_ms);
    if (options->cluster.ack_timeout_ms < options->cluster.ping_timeout_ms)
        return error_set(why, ERROR_INVALID,
                         "--ack_timeout: %u ms is too short for a --ping_timeout of %u ms; it must "
                         "be at least that",
                         (unsigned)options->cluster.ack_timeout_ms,
                         (unsigned)options->cluster.ping_timeout_ms);
    return OK;
}

/* jackdaw-admin checks the arguments. */
static enum error check_operator(const struct server_options *options, struct error_text *why)
{
    if ((options->status != NULL) + (options->leave != NULL) + (options->remove != 0) > 1)
        return error_set(why, ERROR_INVALID, "--status, --leave and --remove go one at a time");
    if (options->remove != 0 && options->cluster.masters.count == 0)
        return error_set(why, ERROR_INVALID,
                         "--remove needs --master_address: the internal address of a running "
                         "server");
    if (options->json && options->status == NULL)
        return error_set(why, ERROR_INVALID, "--json goes with --status ADDRESS");
    return options->remove != 0 ? check_masters(options, why) : OK;
}

static enum error check(const struct server_options *options, struct error_text *why)
{
    enum error error = check_operator(options, why);
    if (error != OK || server_options_are_operators(options))
        return error;
    if ((error = check_clients(options, why)) != OK ||
        (error = check_addresses(options, why)) != OK ||
        (error = check_masters(options, why)) != OK || (error = check_times(options, why)) != OK)
        return error;
    return check_texts(options, why);
}

/* Drops this server's own address: an operator may give every server the same list. */
static void leave_out_self(struct server_options *options)
{
    size_t kept = 0;
    for (size_t i = 0; i < options->cluster.masters.count; i++)
        if (address_compare(&options->cluster.masters.items[i],
                            &options->cluster.internal_address) != 0)
            options->cluster.masters.items[kept++] = options->cluster.masters.items[i];
    options->cluster.masters.count = kept;
}

bool server_options_are_operators(const struct server_options *options)
{
    return options->status != NULL || options->leave != NULL || options->remove != 0;
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
    else if (!server_options_are_operators(out))
        leave_out_self(out);
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
