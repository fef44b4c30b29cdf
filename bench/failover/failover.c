/* SPDX-License-Identifier: MIT */
/* failover - how long does a cluster of three not acknowledge anything when one of its servers
 * fails, and is everything acknowledged still there? See bench/README.md. */
#include "fault_trial.h"
#include "program.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

#define TRIALS_MAX 1000
#define FIRST_PORT \
    2700 /* in a network of our own no port is taken, and none of these is ephemeral */

struct settings {
    const char *server;
    struct option_strings server_options;
    const char *folder;
    const char *hung_disk;
    struct option_strings faults;
    uint32_t trials;
    uint32_t seed;
    uint32_t every_us;
    uint32_t in_flight;
    uint32_t bound_ms;
    uint32_t busy_ms;
    bool keep;
    bool json;
    bool help;
};

static const struct option_spec specs[] = {
    OPTION(STRING, "Servers", "server", "FILE", NULL,
           "the program to start; without it the file `server` beside this program",
           OPTION_FIELD(struct settings, server)),
    OPTION(STRINGS, "Servers", "server_option", "OPTION", NULL,
           "a further option for all of them, such as --durability=quorum; may be repeated",
           OPTION_FIELD(struct settings, server_options)),
    OPTION(STRING, "Servers", "folder", "FOLDER", ".",
           "where a temporary folder for data is made: on the disk to measure",
           OPTION_FIELD(struct settings, folder)),
    OPTION(STRING, "Servers", "hung_disk", "FILE", NULL,
           "the library that makes disks hang; without it the one of this build",
           OPTION_FIELD(struct settings, hung_disk)),
    OPTION(FLAG, "Servers", "keep", NULL, NULL,
           "keep data and logs; those of a run that went wrong are always kept",
           OPTION_FIELD(struct settings, keep)),

    OPTION(STRINGS, "What to do", "faults", "NAME", NULL,
           "which ones (without it all): master_killed, master_stopped, master_cut, slave_killed, "
           "slave_stopped, slave_cut, disk_hung, two_killed, all_killed, busy",
           OPTION_FIELD(struct settings, faults), .letter = 'f'),
    OPTION(UNSIGNED, "What to do", "trials", "COUNT", "20", "of each",
           OPTION_FIELD(struct settings, trials), .letter = 'n', .min = 1, .max = TRIALS_MAX),
    OPTION(UNSIGNED, "What to do", "seed", "NUMBER", NULL,
           "of what is chosen at random; without it another one each time",
           OPTION_FIELD(struct settings, seed)),
    OPTION(UNSIGNED, "What to do", "every_us", "US", "2000",
           "the first client writes so often (the second when its last message is acknowledged)",
           OPTION_FIELD(struct settings, every_us), .min = 100, .max = 1000000),
    OPTION(UNSIGNED, "What to do", "in_flight", "COUNT", "64",
           "and has so many messages under way at most", OPTION_FIELD(struct settings, in_flight),
           .min = 1, .max = CLIENT_WINDOW),
    OPTION(UNSIGNED, "What to do", "busy_ms", "MS", "5000",
           "how long a trial of busy, which is no fault, keeps all processors busy; it fails if "
           "another server becomes the master",
           OPTION_FIELD(struct settings, busy_ms), .min = 1, .max = 3600000),
    OPTION(UNSIGNED, "What to do", "bound_ms", "MS", NULL, "fail where a gap is longer",
           OPTION_FIELD(struct settings, bound_ms)),

    OPTION(FLAG, "Output", "json", NULL, NULL,
           "one object per fault on stdout, the table on stderr",
           OPTION_FIELD(struct settings, json)),
    OPTION(FLAG, "Output", "help", NULL, NULL, "this text", OPTION_FIELD(struct settings, help),
           .letter = 'h', .private_line = true),
    {.name = NULL},
};

static const struct option_table table = {
    .specs = specs,
    .prefix = "FAILOVER_",
    .usage = "failover [options]",
    .summary = "Lets servers of a cluster of three fail while clients write, and measures the gap.",
    .closing =
        "Ends with 0 when no acknowledged message was lost, doubled or out of order, the cluster "
        "healed each time, and no master was replaced without a fault, whether or not aims were "
        "met.",
};

struct series {
    struct fault_trial_result results[TRIALS_MAX];
    size_t count;
};

/* A column of the table: its value in a result. */
typedef double column_of(const struct fault_trial_result *result);

static double worse_gap(const struct fault_trial_result *result)
{
    return result->longest_gap_ms;
}

static double pipelined_gap(const struct fault_trial_result *result)
{
    return result->gap_ms[WRITER_PIPELINED];
}

static double single_gap(const struct fault_trial_result *result)
{
    return result->gap_ms[WRITER_SINGLE];
}

static double return_gap(const struct fault_trial_result *result)
{
    return result->return_ms;
}

static double healed(const struct fault_trial_result *result)
{
    return result->healed_ms;
}

static int compare(const void *left, const void *right)
{
    double l = *(const double *)left;
    double r = *(const double *)right;
    return (l > r) - (l < r);
}

struct spread {
    double median;
    double worst;
};

static struct spread spread_of(const struct series *series, column_of *column)
{
    double sorted[TRIALS_MAX];
    for (size_t i = 0; i < series->count; i++)
        sorted[i] = column(&series->results[i]);
    if (series->count == 0)
        return (struct spread){(double)NAN, (double)NAN};
    qsort(sorted, series->count, sizeof *sorted, compare);
    size_t half = series->count / 2;
    double median = series->count % 2 == 1 ? sorted[half] : (sorted[half - 1] + sorted[half]) / 2;
    return (struct spread){median, sorted[series->count - 1]};
}

static uint64_t count_messages(const struct series *series)
{
    uint64_t messages = 0;
    for (size_t i = 0; i < series->count; i++)
        messages += series->results[i].messages;
    return messages;
}

static const char *judge(const struct fault *fault, struct spread gap)
{
    if (fault->aim_ms <= 0)
        return "";
    return gap.worst < fault->aim_ms    ? "met"
           : gap.median < fault->aim_ms ? "met by the median"
                                        : "missed";
}

static void print_head(FILE *stream)
{
    (void)fprintf(stream, "%-22s %6s  %-19s %-19s %-19s %9s %9s  %s\n", "", "", "gap, ms",
                  "64 in flight, ms", "one at a time, ms", "return ms", "healed ms", "");
    (void)fprintf(stream, "%-22s %6s %9s %9s %9s %9s %9s %9s %9s %9s %9s  %s\n", "fault", "trials",
                  "median", "worst", "median", "worst", "median", "worst", "worst", "median",
                  "messages", "aim");
}

static void print_row(FILE *stream, const struct fault *fault, const struct series *series)
{
    struct spread gap = spread_of(series, worse_gap);
    struct spread pipelined = spread_of(series, pipelined_gap);
    struct spread single = spread_of(series, single_gap);
    (void)fprintf(stream, "%-22s %6zu %9.1f %9.1f %9.1f %9.1f %9.1f %9.1f %9.1f %9.1f %9llu",
                  fault->title, series->count, gap.median, gap.worst, pipelined.median,
                  pipelined.worst, single.median, single.worst, spread_of(series, return_gap).worst,
                  spread_of(series, healed).median, (unsigned long long)count_messages(series));
    if (fault->aim_ms > 0)
        (void)fprintf(stream, "  < %.0f ms: %s", fault->aim_ms, judge(fault, gap));
    (void)fputc('\n', stream);
    (void)fflush(stream);
}

static void print_list(const char *name, const struct series *series, column_of *column)
{
    (void)printf(",\"%s\":[", name);
    for (size_t i = 0; i < series->count; i++)
        (void)printf("%s%.1f", i == 0 ? "" : ",", column(&series->results[i]));
    (void)printf("]");
}

static void print_json(const struct fault *fault, const struct series *series)
{
    struct spread gap = spread_of(series, worse_gap);
    (void)printf("{\"fault\":\"%s\",\"trials\":%zu,\"median_ms\":%.1f,\"worst_ms\":%.1f",
                 fault->name, series->count, gap.median, gap.worst);
    if (fault->aim_ms > 0)
        (void)printf(",\"aim_ms\":%.0f,\"met\":%s", fault->aim_ms,
                     gap.worst < fault->aim_ms ? "true" : "false");
    (void)printf(",\"messages\":%llu", (unsigned long long)count_messages(series));
    print_list("pipelined_ms", series, pipelined_gap);
    print_list("single_ms", series, single_gap);
    print_list("return_ms", series, return_gap);
    print_list("healed_ms", series, healed);
    (void)printf("}\n");
    (void)fflush(stdout);
}

struct run {
    const struct settings *settings;
    const char *extra[NODE_OPTIONS_MAX];
    char hung_disk[PATH_MAX]; /* "": disks cannot hang here */
    struct netns *netns;      /* NULL: there is none here, */
    char no_network[128];     /* for this reason */
    uint32_t seed;
    struct series series;
    bool failed;
};

static bool is_possible(const struct run *run, const struct fault *fault)
{
    const char *reason = NULL;
    if (fault->needs_network && run->netns == NULL)
        reason = run->no_network;
    else if (fault->needs_disk && run->hung_disk[0] == '\0')
        reason = "there is no library here that makes disks hang";
    if (reason != NULL)
        (void)fprintf(stderr, "%s: left out: %s\n", fault->title, reason);
    return reason == NULL;
}

static enum error open_scene(struct run *run, const struct fault *fault, struct scene *scene,
                             struct error_text *why)
{
    struct scene_options options = {
        .cluster = {.program = run->settings->server,
                    .folder = run->settings->folder,
                    .extra = run->extra,
                    .hung_disk = fault->needs_disk ? run->hung_disk : NULL,
                    .netns = fault->needs_network ? run->netns : NULL,
                    .first_port = run->netns != NULL ? FIRST_PORT : 0},
        .seed = run->seed,
        .every_us = run->settings->every_us,
        .in_flight = run->settings->in_flight,
        .busy_ms = run->settings->busy_ms,
    };
    return scene_open(scene, &options, why);
}

static bool run_trials(struct run *run, const struct fault *fault, struct scene *scene)
{
    struct series *series = &run->series;
    series->count = 0;
    while (series->count < run->settings->trials) {
        if (!fault_trial_run(scene, fault, (unsigned)series->count + 1,
                             &series->results[series->count]))
            return false;
        double gap_ms = series->results[series->count++].longest_gap_ms;
        if (run->settings->bound_ms > 0 && gap_ms > run->settings->bound_ms) {
            scene_fail(scene, "a gap of %.1f ms, longer than it may be", gap_ms);
            return false;
        }
    }
    return true;
}

static void report(const struct run *run, const struct fault *fault)
{
    if (run->series.count == 0)
        return;
    print_row(run->settings->json ? stderr : stdout, fault, &run->series);
    if (run->settings->json)
        print_json(fault, &run->series);
}

/* Servers of its own, in a folder of its own. */
static void run_fault(struct run *run, const struct fault *fault)
{
    static struct scene scene; /* large */
    struct error_text why = {.text = ""};
    bool done = false;
    if (open_scene(run, fault, &scene, &why) == OK) {
        done = run_trials(run, fault, &scene);
        why = scene.problem;
        report(run, fault);
    }
    if (!done)
        (void)fprintf(stderr, "%s, trial %zu: %s\n", fault->title, run->series.count + 1, why.text);
    if (!scene_close(&scene, run->settings->keep)) {
        done = false;
        (void)fprintf(stderr, "%s: a server did not end well\n", fault->title);
    }
    run->failed = run->failed || !done;
}

static bool is_wanted(const struct settings *settings, const char *name)
{
    bool wanted = settings->faults.count == 0;
    for (size_t i = 0; i < settings->faults.count; i++)
        wanted = wanted || strcmp(settings->faults.items[i], name) == 0;
    return wanted;
}

static void run_all(struct run *run)
{
    print_head(run->settings->json ? stderr : stdout);
    for (size_t i = 0; i < faults_count && !interrupted(); i++)
        if (is_wanted(run->settings, faults[i].name) && is_possible(run, &faults[i]))
            run_fault(run, &faults[i]);
}

static enum error check_settings(const struct settings *settings, struct error_text *why)
{
    for (size_t i = 0; i < settings->faults.count; i++) {
        size_t fault = 0;
        while (fault < faults_count && strcmp(faults[fault].name, settings->faults.items[i]) != 0)
            fault++;
        if (fault == faults_count)
            return error_set(why, ERROR_INVALID, "there is no fault %s: see --help",
                             settings->faults.items[i]);
    }
    return OK;
}

static enum error find_programs(struct run *run, struct settings *settings, struct error_text *why)
{
    static char server[PATH_MAX];
    program_find_beside("server", server);
    if (settings->server == NULL)
        settings->server = server;
    if (settings->server[0] == '\0')
        return error_set(why, ERROR_NOT_FOUND, "which server? say --server=FILE");
    if (settings->hung_disk == NULL)
        program_find_beside("libjackdaw_hung_disk.so", run->hung_disk);
    else if (realpath(settings->hung_disk, run->hung_disk) == NULL)
        run->hung_disk[0] = '\0';
    return OK;
}

static void choose_options(struct run *run)
{
    size_t used = 0;
    const struct option_strings *more = &run->settings->server_options;
    for (size_t i = 0; i < more->count && used + 3 < NODE_OPTIONS_MAX; i++)
        run->extra[used++] = more->items[i];
}

static enum error prepare(struct run *run, struct settings *settings, struct error_text *why)
{
    run->settings = settings;
    run->seed = settings->seed;
    if (run->seed == 0)
        (void)!getrandom(&run->seed, sizeof run->seed, 0);
    choose_options(run);
    enum error error = find_programs(run, settings, why);
    if (error != OK)
        return error;
    /* The clients' place is behind those of the servers. */
    run->netns = netns_new(BENCH_CLUSTER_SERVERS + 1, run->no_network);
    if (run->netns != NULL)
        netns_stay(run->netns, BENCH_CLUSTER_SERVERS);
    program_check_folder("failover", settings->folder);
    return OK;
}

static int start(void *context)
{
    static struct run run; /* large */
    struct settings *settings = context;
    struct error_text why;
    enum error error = check_settings(settings, &why);
    if (error == OK)
        error = prepare(&run, settings, &why);
    if (error != OK) {
        (void)fprintf(stderr, "failover: %s\n", why.text);
        return 2;
    }
    (void)fprintf(stderr, "failover: --seed=%u\n", run.seed);
    run_all(&run);
    return run.failed || interrupted() ? 1 : 0;
}

int main(int argc, char **argv)
{
    static struct settings settings;
    return program_main("failover", &table, argc, argv, &settings, &settings.help, start);
}
