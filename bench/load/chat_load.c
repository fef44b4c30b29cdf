/* SPDX-License-Identifier: MIT */
/* chat_load - how fast is a server, and what does this machine allow? See bench/README.md. */
#include "bench.h"
#include "program.h"

#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <sys/resource.h>
#include <unistd.h>

#define SEND_DEPTH_MAX 256u /* a server remembers the outcomes of so many requests per session */
#define IN_FLIGHT_MAX 256u

static const struct option_spec specs[] = {
    OPTION(STRING, "Server", "server", "FILE", NULL,
           "the program to start; without it the file `server` beside this program",
           OPTION_FIELD(struct settings, server)),
    OPTION(STRINGS, "Server", "server_option", "OPTION", NULL,
           "a further option for it, such as --log_level=warning; may be repeated",
           OPTION_FIELD(struct settings, server_options)),
    OPTION(STRING, "Server", "folder", "FOLDER", ".",
           "where a temporary folder for data is made: on the disk to measure",
           OPTION_FIELD(struct settings, folder)),
    OPTION(ADDRESS, "Server", "address", "ADDRESS", NULL,
           "drive the server there instead; accounts, rooms and messages stay behind",
           OPTION_FIELD(struct settings, address)),
    OPTION(UNSIGNED, "Server", "server_pid", "PID", NULL, "with --address: the process to measure",
           OPTION_FIELD(struct settings, server_pid)),

    OPTION(STRINGS, "What to run", "scenarios", "NAME",
           "limits,replies,send,one_room,lockstep,pipelined,idle,cluster,readers,join",
           "which ones, in this order within each round", OPTION_FIELD(struct settings, scenarios),
           .letter = 's'),
    OPTION(STRINGS, "What to run", "sends", "CxD", "1x1,64x1,64x16",
           "for send: C clients with D requests in flight each",
           OPTION_FIELD(struct settings, sends)),
    OPTION(UNSIGNED, "What to run", "receivers", "COUNT", "100", "for lockstep and pipelined",
           OPTION_FIELD(struct settings, receivers), .min = 1, .max = CLIENTS_MAX),
    OPTION(UNSIGNED, "What to run", "in_flight", "COUNT", "100",
           "for pipelined: messages that not everyone has yet",
           OPTION_FIELD(struct settings, in_flight), .min = 1, .max = IN_FLIGHT_MAX),
    OPTION(UNSIGNED, "What to run", "idle_clients", "COUNT", "1000", "for idle and hold",
           OPTION_FIELD(struct settings, idle_clients), .min = 2, .max = 100000),
    OPTION(UNSIGNED, "What to run", "servers", "COUNT", "3",
           "for cluster and readers: so many servers on this machine",
           OPTION_FIELD(struct settings, servers), .min = 2, .max = LOAD_FIXTURE_SERVERS_MAX),
    OPTION(UNSIGNED, "What to run", "join_messages", "COUNT", "500000",
           "for join: written before a slave joins", OPTION_FIELD(struct settings, join_messages),
           .min = 1000, .max = 100000000),
    OPTION(FLAG, "What to run", "apart", NULL, NULL,
           "for join: the slave has processor 1 to itself, master and load are on processor 0",
           OPTION_FIELD(struct settings, apart)),
    OPTION(UNSIGNED, "What to run", "text_bytes", "BYTES", "100", "of each message",
           OPTION_FIELD(struct settings, text_bytes), .min = 1, .max = 16384),

    OPTION(UNSIGNED, "How long", "measured_ms", "MS", "5000", "of each scenario; limits take half",
           OPTION_FIELD(struct settings, measured_ms), .min = 50, .max = 600000),
    OPTION(UNSIGNED, "How long", "warm_up_ms", "MS", "1000", "before that",
           OPTION_FIELD(struct settings, warm_up_ms), .max = 60000),
    OPTION(UNSIGNED, "How long", "rounds", "COUNT", "1",
           "run everything so often, one round after the other, and print medians",
           OPTION_FIELD(struct settings, rounds), .min = 1, .max = REPORT_ROUNDS_MAX),
    OPTION(FLAG, "How long", "quick", NULL, NULL,
           "a few seconds in all: checks the answers and shows no targets",
           OPTION_FIELD(struct settings, quick)),

    OPTION(FLAG, "Output", "json", NULL, NULL,
           "one object per figure on stdout, the table on stderr",
           OPTION_FIELD(struct settings, json)),
    OPTION(FLAG, "Output", "help", NULL, NULL, "this text", OPTION_FIELD(struct settings, help),
           .letter = 'h', .private_line = true),
    {.name = NULL},
};

static const struct option_table table = {
    .specs = specs,
    .prefix = "CHAT_LOAD_",
    .usage = "chat_load [options]",
    .summary = "Measures a chat server and, in the same run, the limits of the machine under it.",
    .closing = "Ends with 0 when every answer was right, whether or not targets were met.",
};

static void run_limits(struct bench *bench)
{
    limit_disk(bench);
    limit_store(bench, 1);
    limit_store(bench, 1000);
    limit_echo(bench, 1, 1, true);
    limit_echo(bench, 1, 64, true);
    limit_echo(bench, 64, 1, true);
    limit_echo(bench, 64, 16, true);
    limit_echo(bench, 1, 1, false);
    limit_echo(bench, 64, 1, false);
    limit_echo(bench, 64, 16, false);
}

static void run_replies(struct bench *bench)
{
    limit_reply_fan(bench, 1);
}

/* A number from 1 to most, followed by end. */
static bool read_count(const char **at, size_t most, char end, size_t *count)
{
    char *after;
    unsigned long value = strtoul(*at, &after, 10);
    if (after == *at || **at == '-' || value < 1 || value > most || *after != end)
        return false;
    *at = after + 1;
    *count = value;
    return true;
}

static bool read_send(const char *text, size_t *clients, size_t *depth)
{
    return read_count(&text, CLIENTS_MAX, 'x', clients) &&
           read_count(&text, SEND_DEPTH_MAX, '\0', depth);
}

/* All of --sends, on so many servers. */
static void run_each_send(struct bench *bench, bool one_room, size_t servers)
{
    for (size_t i = 0; i < bench->settings->sends.count && !interrupted(); i++) {
        struct send_case what = {.one_room = one_room, .servers = servers};
        if (read_send(bench->settings->sends.items[i], &what.clients, &what.depth) &&
            (!one_room || what.clients > 1))
            scenario_send(bench, &what);
    }
}

static void run_sends(struct bench *bench)
{
    run_each_send(bench, false, 1);
}

static void run_one_room(struct bench *bench)
{
    run_each_send(bench, true, 1);
}

static void run_cluster(struct bench *bench)
{
    run_each_send(bench, false, bench->settings->servers);
}

static void run_join(struct bench *bench)
{
    scenario_join(bench, false);
    if (!interrupted())
        scenario_join(bench, true);
}

static void run_lockstep(struct bench *bench)
{
    scenario_deliver(bench, "deliver lockstep", 1, 60000);
}

static void run_pipelined(struct bench *bench)
{
    scenario_deliver(bench, "deliver pipelined", bench->settings->in_flight, 1000000);
}

static const struct {
    const char *name;
    void (*run)(struct bench *bench);
} scenarios[] = {
    {"limits", run_limits},     {"replies", run_replies},      {"send", run_sends},
    {"one_room", run_one_room}, {"lockstep", run_lockstep},    {"pipelined", run_pipelined},
    {"idle", scenario_idle},    {"hold", scenario_hold},       {"cluster", run_cluster},
    {"join", run_join},         {"readers", scenario_readers},
};
#define SCENARIO_COUNT (sizeof scenarios / sizeof *scenarios)

static size_t find_scenario(const char *name)
{
    size_t i = 0;
    while (i < SCENARIO_COUNT && strcmp(scenarios[i].name, name) != 0)
        i++;
    return i;
}

static enum error check_settings(const struct settings *settings, struct error_text *why)
{
    for (size_t i = 0; i < settings->scenarios.count; i++)
        if (find_scenario(settings->scenarios.items[i]) == SCENARIO_COUNT)
            return error_set(
                why, ERROR_INVALID,
                "there is no scenario %s: take some of limits, replies, send, one_room, "
                "lockstep, pipelined, idle, hold, cluster, readers and join",
                settings->scenarios.items[i]);
    for (size_t i = 0; i < settings->sends.count; i++) {
        size_t clients;
        size_t depth;
        if (!read_send(settings->sends.items[i], &clients, &depth))
            return error_set(why, ERROR_INVALID,
                             "--sends takes items such as 64x16, at most %ux%u, not %s",
                             CLIENTS_MAX, SEND_DEPTH_MAX, settings->sends.items[i]);
    }
    return OK;
}

static void shorten(struct settings *settings)
{
    settings->measured_ms = 200;
    settings->warm_up_ms = 50;
    settings->receivers = 10;
    settings->in_flight = 20;
    settings->idle_clients = 50;
    settings->join_messages = 2000;
    settings->rounds = 1;
}

/* Every client is a descriptor. */
static void allow_descriptors(void)
{
    struct rlimit limit;
    if (getrlimit(RLIMIT_NOFILE, &limit) == 0 && limit.rlim_cur < limit.rlim_max) {
        limit.rlim_cur = limit.rlim_max;
        (void)setrlimit(RLIMIT_NOFILE, &limit);
    }
}

static char *make_text(size_t size)
{
    static const char words[] = "The quick brown fox jumps over the lazy dog. ";
    char *text = malloc(size + 1);
    if (text == NULL)
        return NULL;
    for (size_t i = 0; i < size; i++)
        text[i] = words[i % (sizeof words - 1)];
    text[size] = '\0';
    return text;
}

static enum error prepare(struct bench *bench, const struct settings *settings,
                          struct error_text *why)
{
    *bench = (struct bench){.settings = settings};
    bench->times = (struct measure_times){settings->warm_up_ms, settings->measured_ms};
    bench->limit_times =
        (struct measure_times){settings->warm_up_ms / 4, (settings->measured_ms + 1) / 2};
    bench->report.json = settings->json;
    bench->report.targets = !settings->quick;
    bench->progress = settings->json || settings->rounds > 1 ? stderr : stdout;
    uint32_t random = (uint32_t)getpid();
    (void)!getrandom(&random, sizeof random, 0);
    (void)snprintf(bench->tag, sizeof bench->tag, "%08x", random);
    bench->text = make_text(settings->text_bytes);
    if (bench->text == NULL)
        return error_set(why, ERROR_NO_MEMORY, "out of memory");
    return OK;
}

static void run_all(struct bench *bench)
{
    const struct settings *settings = bench->settings;
    if (!settings->quick)
        program_check_folder("chat_load", settings->folder);
    for (uint32_t round = 1; round <= settings->rounds; round++) {
        if (settings->rounds > 1)
            (void)fprintf(bench->progress, "-- round %u of %u\n", round, settings->rounds);
        for (size_t i = 0; i < settings->scenarios.count && !interrupted(); i++)
            scenarios[find_scenario(settings->scenarios.items[i])].run(bench);
    }
    if (bench->progress == stderr && !interrupted())
        report_print(&bench->report, stdout);
}

static enum error find_server(struct settings *settings, struct error_text *why)
{
    static char path[PATH_MAX]; /* settings refer to it */
    program_find_beside("server", path);
    if (settings->server == NULL)
        settings->server = path;
    if (settings->server[0] == '\0')
        return error_set(why, ERROR_NOT_FOUND, "which server? say --server=FILE");
    return OK;
}

static int run(void *context)
{
    static struct bench bench; /* large, and with a report of all rounds */
    struct settings *settings = context;
    struct error_text why;
    if (settings->quick)
        shorten(settings);
    if (check_settings(settings, &why) != OK || find_server(settings, &why) != OK ||
        prepare(&bench, settings, &why) != OK) {
        (void)fprintf(stderr, "chat_load: %s\n", why.text);
        return 2;
    }
    allow_descriptors();
    run_all(&bench);
    free(bench.text);
    return bench.failed || interrupted() ? 1 : 0;
}

int main(int argc, char **argv)
{
    static struct settings settings;
    return program_main("chat_load", &table, argc, argv, &settings, &settings.help, run);
}
