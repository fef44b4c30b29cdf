/* SPDX-License-Identifier: MIT */
/* peer_load - gives another system the work that chat_load gives to Jackdaw, and prints one figure. The script
 * bench/peers starts the servers. See bench/README.md. */
#include "peer_scenarios.h"
#include "program.h"

#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>

#define CLIENTS_MAX 20000u

typedef enum error (*scenario_fn)(const struct peer_run *run, struct metric *metric,
                                  struct error_text *why);

struct settings {
    const struct peer_protocol *protocol;
    scenario_fn scenario;
    struct address address;
    struct option_strings server_pids;
    uint32_t clients;
    uint32_t depth;
    uint32_t batch;
    uint32_t text_bytes;
    uint32_t measured_ms;
    uint32_t warm_up_ms;
    bool json;
    bool help;
};

static const struct peer_protocol *const protocols[] = {&peer_redis, &peer_redis_pubsub, &peer_nats,
                                                        &peer_etcd, &peer_irc};

static enum error parse_protocol(const char *text, void *field, struct error_text *why)
{
    (void)why;
    for (size_t i = 0; i < sizeof protocols / sizeof *protocols; i++)
        if (strcmp(protocols[i]->name, text) == 0) {
            *(const struct peer_protocol **)field = protocols[i];
            return OK;
        }
    return ERROR_INVALID;
}

static enum error parse_scenario(const char *text, void *field, struct error_text *why)
{
    static const struct {
        const char *name;
        scenario_fn run;
    } scenarios[] = {{"send", peer_send}, {"deliver", peer_deliver}, {"idle", peer_idle}};
    (void)why;
    for (size_t i = 0; i < sizeof scenarios / sizeof *scenarios; i++)
        if (strcmp(scenarios[i].name, text) == 0) {
            *(scenario_fn *)field = scenarios[i].run;
            return OK;
        }
    return ERROR_INVALID;
}

static const struct option_spec specs[] = {
    OPTION(CHOICE, "System", "protocol", "redis|redis_pubsub|nats|etcd|irc", "redis",
           "what the server speaks", OPTION_FIELD(struct settings, protocol),
           .parse = parse_protocol),
    OPTION(ADDRESS, "System", "address", "ADDRESS", NULL, "where the server listens",
           OPTION_FIELD(struct settings, address)),
    OPTION(STRINGS, "System", "server_pid", "PID", NULL,
           "a process whose CPU time counts; the first one's memory, for idle; may be repeated",
           OPTION_FIELD(struct settings, server_pids)),

    OPTION(CHOICE, "What to run", "scenario", "send|deliver|idle", "send",
           "acknowledged messages, deliveries to a room, or memory of idle clients",
           OPTION_FIELD(struct settings, scenario), .parse = parse_scenario),
    OPTION(UNSIGNED, "What to run", "clients", "COUNT", "64",
           "that send, that receive, or that are idle", OPTION_FIELD(struct settings, clients),
           .min = 1, .max = CLIENTS_MAX),
    OPTION(UNSIGNED, "What to run", "depth", "COUNT", "1",
           "requests of each client in flight; for deliver messages of the room",
           OPTION_FIELD(struct settings, depth), .min = 1, .max = 256),
    OPTION(UNSIGNED, "What to run", "batch", "COUNT", "1",
           "for redis: messages in one request, acknowledged together",
           OPTION_FIELD(struct settings, batch), .min = 1, .max = 1024),
    OPTION(UNSIGNED, "What to run", "text_bytes", "BYTES", "100", "of each message",
           OPTION_FIELD(struct settings, text_bytes), .min = PEER_NUMBER_DIGITS,
           .max = PEER_TEXT_BYTES_MAX),

    OPTION(UNSIGNED, "How long", "measured_ms", "MS", "5000", "measured time",
           OPTION_FIELD(struct settings, measured_ms), .min = 50, .max = 600000),
    OPTION(UNSIGNED, "How long", "warm_up_ms", "MS", "1000", "before that",
           OPTION_FIELD(struct settings, warm_up_ms), .max = 60000),

    OPTION(FLAG, "Output", "json", NULL, NULL, "one object on stdout, instead of a table",
           OPTION_FIELD(struct settings, json)),
    OPTION(FLAG, "Output", "help", NULL, NULL, "this text", OPTION_FIELD(struct settings, help),
           .letter = 'h', .private_line = true),
    {.name = NULL},
};

static const struct option_table table = {
    .specs = specs,
    .prefix = "PEER_LOAD_",
    .usage = "peer_load --protocol=NAME --address=ADDRESS [options]",
    .summary = "Measures a running server of another system, with the work of chat_load.",
    .closing = "Ends with 0 when every answer was right.",
};

static void allow_descriptors(void)
{
    struct rlimit limit;
    if (getrlimit(RLIMIT_NOFILE, &limit) == 0) {
        limit.rlim_cur = limit.rlim_max;
        (void)setrlimit(RLIMIT_NOFILE, &limit);
    }
}

static enum error check(const struct settings *settings, struct error_text *why)
{
    bool sends = settings->scenario == peer_send;
    size_t depth_max = settings->protocol->depth_max;
    if (settings->address.port == 0)
        return error_set(why, ERROR_INVALID, "where is the server? say --address=HOST:PORT");
    if (sends && settings->depth > depth_max)
        return error_set(why, ERROR_INVALID,
                         "%s takes at most %zu requests in flight from one client",
                         settings->protocol->name, depth_max);
    if (!sends && depth_max > 0)
        return error_set(why, ERROR_INVALID, "%s has no rooms here", settings->protocol->name);
    if (settings->batch > 1 && settings->protocol != &peer_redis)
        return error_set(why, ERROR_INVALID, "%s acknowledges each message",
                         settings->protocol->name);
    return OK;
}

static int run(void *context)
{
    static struct report report; /* large */
    const struct settings *settings = context;
    struct error_text why;
    struct metric metric;
    struct peer_run run = {.address = settings->address,
                           .work = {settings->protocol, settings->text_bytes, settings->batch},
                           .clients = settings->clients,
                           .depth = settings->depth,
                           .times = {settings->warm_up_ms, settings->measured_ms}};
    for (size_t i = 0; i < settings->server_pids.count && i < PEER_SERVERS_MAX; i++)
        run.servers[run.servers_count++] = (pid_t)atoi(settings->server_pids.items[i]);
    allow_descriptors();
    if (check(settings, &why) != OK) {
        (void)fprintf(stderr, "peer_load: %s\n", why.text);
        return 2;
    }
    if (settings->scenario(&run, &metric, &why) != OK) {
        (void)fprintf(stderr, "peer_load: %s: %s\n", settings->protocol->name,
                      interrupted() ? "interrupted" : why.text);
        return 1;
    }
    report.json = settings->json;
    report_add(&report, &metric, NULL);
    report_print(&report, stdout);
    if (!(metric.columns[COLUMN_ERRORS] > 0))
        return 0;
    (void)fprintf(stderr, "peer_load: %s refused %.0f requests\n", settings->protocol->name,
                  metric.columns[COLUMN_ERRORS]);
    return 1;
}

int main(int argc, char **argv)
{
    static struct settings settings;
    return program_main("peer_load", &table, argc, argv, &settings, &settings.help, run);
}
