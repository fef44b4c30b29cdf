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
    OPTION(UNSIGNED, "The server", "id", "ID", "1",
           "number of this server, different for every server of a cluster", FIELD(cluster.id),
           .min = 1, .max = 65535, .positional = true),
    OPTION(CHOICE, "The server", "role", "master|slave", "master",
           "whether it starts a cluster or joins one", FIELD(cluster.is_first), .parse = parse_role,
           .positional = true),
    OPTION(ADDRESS, "The server", "client_address", "ADDRESS", ":2625",
           "where clients connect: host:port, :port for every interface, "
           "tls+tcp://host:port for TLS, port 0 for any free one",
           FIELD(client_address), .positional = true),
    OPTION(ADDRESS, "The server", "internal_address", "ADDRESS", ":2626",
           "where the other servers of the cluster connect", FIELD(cluster.internal_address),
           .positional = true),
    OPTION(STRING, "The server", "data_dir", "FOLDER", "data",
           "folder of the database, which is in FOLDER/ID", FIELD(data_dir)),
    OPTION(STRING, "The server", "advertise_host", "HOST", NULL,
           "host that the server announces to clients, if not that of the client address",
           FIELD(cluster.advertise_host)),
    OPTION(UNSIGNED, "The server", "log_keep", "N", "200000",
           "changes kept in the log in any case, so that a new server need not copy the database",
           FIELD(cluster.log_keep), .min = 1000, .max = 1000000000),
    OPTION(UNSIGNED, "The server", "log_keep_bytes", "BYTES", "4294967296",
           "bytes of the log kept for members that lack them; a master with so many refuses writes",
           FIELD(cluster.log_keep_bytes), .min = 1024 * 1024, .max = UINT64_C(1) << 40),
    OPTION(UNSIGNED, "The server", "log_segment_bytes", "BYTES", "4194304",
           "size of a file of the log", FIELD(log_segment_bytes), .min = 65536,
           .max = 1024 * 1024 * 1024),
    OPTION(UNSIGNED, "The server", "replay_bytes", "BYTES", "16777216",
           "bytes of the log that a start after a loss of power replays into the database, at most",
           FIELD(replay_bytes), .min = 65536, .max = UINT64_C(1) << 40),

    OPTION(ADDRESSES, "The cluster", "master_address", "ADDRESS[,ADDRESS...]", NULL,
           "internal addresses of servers of the cluster to join, up to 16; needed until this "
           "server has joined once",
           FIELD(cluster.masters)),
    OPTION(UNSIGNED, "The cluster", "founding_wait", "MS", "1000",
           "how long a master without data looks for a cluster before it founds one: it asks at "
           "--master_address, and listens for calls of members",
           FIELD(cluster.founding_wait_ms), .max = 600000),
    OPTION(CHOICE, "The cluster", "durability", "all|quorum|local", "all",
           "a message is acknowledged when it is on the disks of all servers in sync, of a "
           "quorum, or of the master (local); must be the same on every server",
           FIELD(cluster.durability), .parse = parse_durability),
    OPTION(CHOICE, "The cluster", "feed_address", "ADDRESS", NULL,
           "address where other servers subscribe to this server as master; default: the host "
           "of the internal address, and any free port",
           FIELD(cluster.feed_address), .parse = parse_given),
    OPTION(UNSIGNED, "The cluster", "ping_interval", "MS", "40", "interval of a slave's pings",
           FIELD(cluster.ping_interval_ms), .min = 10, .max = 60000),
    OPTION(UNSIGNED, "The cluster", "ping_timeout_min", "MS", "180",
           "least silence after which a server counts as lost; the slaves learn a longer one from "
           "the delays that they see",
           FIELD(cluster.ping_timeout_min_ms), .min = 20, .max = 600000),
    OPTION(UNSIGNED, "The cluster", "ping_timeout", "MS", "500",
           "the longest such silence; at least two ping intervals", FIELD(cluster.ping_timeout_ms),
           .min = 20, .max = 600000),
    OPTION(UNSIGNED, "The cluster", "ack_timeout", "MS", "1000",
           "the master no longer waits for a slave without an ack for this long; at least the "
           "ping timeout",
           FIELD(cluster.ack_timeout_ms), .min = 20, .max = 600000),
    OPTION(UNSIGNED, "The cluster", "disk_timeout_min", "MS", "400",
           "least time after which a disk counts as hung; the server learns a longer one from the "
           "writes that it sees",
           FIELD(cluster.disk_timeout_min_ms), .min = 20, .max = 600000),
    OPTION(UNSIGNED, "The cluster", "disk_timeout", "MS", "2000", "the longest such time",
           FIELD(cluster.disk_timeout_ms), .min = 100, .max = 600000),
    OPTION(FLAG, "The cluster", "forward", NULL, "yes",
           "as a slave, answer reads and forward other requests to the master; with "
           "--forward=no, redirect clients to the master",
           FIELD(forward)),

    OPTION(UNSIGNED, "Limits", "max_sessions", "N", "2",
           "devices that one account may be logged in on", FIELD(limits.sessions_per_account),
           .min = 1, .max = 64),
    OPTION(UNSIGNED, "Limits", "max_message_bytes", "BYTES", "16384", "longest message",
           FIELD(limits.message_bytes), .min = 1, .max = 131072),
    OPTION(UNSIGNED, "Limits", "history", "N", "10",
           "messages that a user sees when joining a room", FIELD(limits.history_on_join), .min = 0,
           .max = CHAT_PAGE_EVENTS),
    OPTION(UNSIGNED, "Limits", "max_user_rooms", "N", "256", "rooms that one account may be in",
           FIELD(limits.rooms_per_account), .min = 1, .max = 4096),
    OPTION(UNSIGNED, "Limits", "max_room_members", "N", "1024", "members that one room may have",
           FIELD(limits.members_per_room), .min = 2, .max = 65536),
    OPTION(UNSIGNED, "Limits", "rate_limit", "N", "1000",
           "requests per second of one session, twice that in a burst; 0 for no limit",
           FIELD(limits.requests_per_second), .min = 0, .max = 10000000),
    OPTION(UNSIGNED, "Limits", "max_clients", "N", "10000", "connections at a time",
           FIELD(clients_max), .min = 1, .max = 1000000),
    OPTION(UNSIGNED, "Limits", "session_timeout", "MS", "60000",
           "a device that is silent for this long no longer counts as logged in",
           FIELD(limits.session_silence_ms), .min = 100, .max = 86400000),
    OPTION(UNSIGNED, "Limits", "idle_timeout", "MS", "90000",
           "the server closes a connection that is silent for this long", FIELD(idle_timeout_ms),
           .min = 1000, .max = 86400000),

    OPTION(STRING, "Security", "tls_cert", "FILE", NULL,
           "certificate (PEM, with its chain) for a tls+tcp:// client address", FIELD(tls_cert)),
    OPTION(STRING, "Security", "tls_key", "FILE", NULL, "private key (PEM) of the certificate",
           FIELD(tls_key)),
    OPTION(STRING, "Security", "tls_ca", "FILE", NULL,
           "certificate authority (PEM) for the tls+tcp:// client addresses of other servers, "
           "used with --forward and --status",
           FIELD(tls_ca)),
    OPTION(CHOICE, "Security", "password_cost", "interactive|minimal", "interactive",
           "work put into a password's hash; minimal is for tests only", FIELD(password_cost),
           .parse = parse_cost),

    OPTION(CHOICE, "Log", "log_level", "debug|info|warning|error|silent", "info",
           "lowest level that is logged", FIELD(log_level), .parse = parse_level),
    OPTION(CHOICE, "Log", "log_format", "text|json", "text", "format of the log", FIELD(log_format),
           .parse = parse_format),
    OPTION(STRING, "Log", "log_file", "FILE", NULL,
           "file to which the log is appended, instead of standard error; SIGHUP reopens it",
           FIELD(log_file)),

    OPTION(
        STRING, "For operators (runs jackdaw-admin)", "status", "ADDRESS", NULL,
        "print the state of the cluster as the server at this client or internal address reports "
        "it",
        FIELD(status), .private_line = true),
    OPTION(FLAG, "For operators (runs jackdaw-admin)", "json", NULL, NULL, "with --status: as JSON",
           FIELD(json), .private_line = true),
    OPTION(STRING, "For operators (runs jackdaw-admin)", "leave", "ADDRESS", NULL,
           "make the server at this internal address leave the cluster for good", FIELD(leave),
           .private_line = true),
    OPTION(UNSIGNED, "For operators (runs jackdaw-admin)", "remove", "ID", NULL,
           "remove a dead server from the cluster for good; with --master_address", FIELD(remove),
           .min = 1, .max = 65535, .private_line = true),

    OPTION(FLAG, "Help", "help", NULL, NULL, "print this and exit", FIELD(help), .letter = 'h',
           .private_line = true),
    OPTION(FLAG, "Help", "version", NULL, NULL, "print the version and exit", FIELD(version),
           .letter = 'V', .private_line = true),
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
