/* SPDX-License-Identifier: MIT */
/* The simulator: one run of a seed, or many. See docs/simulation.md. */
#include "sim.h"

#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <limits.h>
#include <malloc.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define STEPS_DEFAULT 3000
#define FAULTS_PER_RUN_MIN 4
#define ENDED_PER_RUN_MIN 40
#define JOBS_MAX 64
#define SEED_SECONDS_MAX 60 /* of processor time: more is a loop, */
#define SEED_WAIT_MAX 3600  /* seconds in all: more is a deadlock */

static const char *const policy_names[] = {
    [REPLICA_ALL] = "all", [REPLICA_QUORUM] = "quorum", [REPLICA_LOCAL] = "local"};

static const unsigned profiles[] = {
    0,
    FAULT_CRASH,
    FAULT_LOSS | FAULT_BREAK,
    FAULT_PARTITION,
    FAULT_PARTITION | FAULT_CRASH,
    FAULT_PAUSE,
    FAULT_DISK,
    FAULT_CRASH | FAULT_CLIENT,
    FAULT_CRASH | FAULT_PRUNE,
    FAULT_LOSS | FAULT_PARTITION | FAULT_BREAK,
    FAULT_CRASH | FAULT_LOSS | FAULT_PARTITION | FAULT_PAUSE | FAULT_DISK | FAULT_BREAK |
        FAULT_CLIENT,
    FAULT_CRASH | FAULT_PAUSE | FAULT_DISK | FAULT_PRUNE,
    FAULT_CRASH | FAULT_LOSS | FAULT_PARTITION | FAULT_PAUSE | FAULT_PRUNE | FAULT_CLOCK,
    FAULT_CRASH | FAULT_MOVE,
    FAULT_CRASH | FAULT_LEAVE,
    FAULT_CRASH | FAULT_EMPTY,
    FAULT_CRASH | FAULT_PARTITION | FAULT_EMPTY | FAULT_PRUNE,
    FAULT_CRASH | FAULT_PARTITION | FAULT_LEAVE | FAULT_CLIENT | FAULT_MOVE,
    FAULT_CRASH | FAULT_CLIENT | FAULT_STRANGER,
    FAULT_DELAY,
    FAULT_CRASH | FAULT_FLIP | FAULT_FULL,
    FAULT_CRASH | FAULT_PAUSE | FAULT_FULL | FAULT_FLIP | FAULT_PRUNE,
};

/* What an option does not say, the seed decides. */
struct choice {
    struct options options;
    bool has_servers, has_policy, has_faults;
};

static struct options options_of(const struct choice *choice, uint64_t seed)
{
    struct options options = choice->options;
    options.seed = seed;
    if (!choice->has_servers)
        options.servers = 1 + (unsigned)(seed % SERVERS_MAX);
    if (!choice->has_policy)
        options.policy = (enum replica_policy)(seed / 5 % 3);
    if (!choice->has_faults)
        options.faults = profiles[seed / 15 % (sizeof profiles / sizeof *profiles)] |
                         (seed % 2 == 0 ? FAULT_GUESTS : 0);
    return options;
}

/* ---- failures ---- */

static char replay[256]; /* the command that replays the run, with a newline */

static void set_replay(const struct options *options)
{
    (void)snprintf(replay, sizeof replay,
                   "; replay with: run --seed %llu --nodes %u --durability %s --faults %u --steps "
                   "%llu\n",
                   (unsigned long long)options->seed, options->servers,
                   policy_names[options->policy], options->faults,
                   (unsigned long long)options->steps);
}

void broken(const char *invariant, const char *format, ...)
{
    char text[512];
    va_list arguments;
    va_start(arguments, format);
    (void)vsnprintf(text, sizeof text, format, arguments);
    va_end(arguments);
    (void)fflush(stdout);
    fprintf(stderr, "%s is broken: %s\n  at %.3f ms, event %llu%s", invariant, text,
            (double)sim_now() / 1000.0, (unsigned long long)sim_steps(), replay);
    _exit(1);
}

static void print_end(void)
{
    static const char text[] = "does_not_abort is broken: the process ends";
    (void)!write(STDERR_FILENO, text, sizeof text - 1);
    (void)!write(STDERR_FILENO, replay, strlen(replay));
}

/* An assertion of the product, a crash, or a run that takes too long. */
static void on_signal(int number)
{
    print_end();
    (void)raise(number); /* ends the process: SA_RESETHAND */
}

/* Sanitizers have handlers of their own, and call back. */
__attribute__((weak)) void __sanitizer_set_death_callback(void (*callback)(void));

static void watch_for_end(void)
{
    static const int numbers[] = {SIGABRT, SIGALRM, SIGPROF, SIGSEGV, SIGBUS, SIGFPE, SIGILL};
    size_t count = sizeof numbers / sizeof *numbers;
    if (__sanitizer_set_death_callback != NULL) {
        __sanitizer_set_death_callback(print_end);
        count = 3;
    }
    struct sigaction action = {.sa_handler = on_signal, .sa_flags = (int)SA_RESETHAND};
    for (size_t i = 0; i < count; i++)
        (void)sigaction(numbers[i], &action, NULL);
}

static void run_one(const struct options *options, struct stats *totals)
{
    set_replay(options);
    world_run(options, totals);
}

static void print_stats(const struct stats *stats, double seconds)
{
    double runs = stats->runs == 0 ? 1 : (double)stats->runs;
    printf(
        "%llu runs, %llu events, %llu virtual s, %llu messages; a run has %.1f faults, %.1f requests "
        "ended, %.1f events told;\n%llu epochs, %llu crashes (%llu of them by loss of power), %llu "
        "clients killed, %llu starts, %llu snapshots, %llu orphans, %llu disks replaced, %llu blank "
        "clusters, %llu strangers, %llu splits, %llu reads by slaves, %llu histories, %llu bits flipped, "
        "%llu logs repaired, %llu writes without space; %.1f s, %.1f runs a second\n",
        (unsigned long long)stats->runs, (unsigned long long)stats->steps,
        (unsigned long long)(stats->us / SECOND), (unsigned long long)stats->messages,
        (double)stats->faults / runs, (double)stats->acks / runs, (double)stats->events / runs,
        (unsigned long long)stats->epoch_starts, (unsigned long long)stats->crashes,
        (unsigned long long)stats->powers, (unsigned long long)stats->kills,
        (unsigned long long)stats->restarts, (unsigned long long)stats->snapshots,
        (unsigned long long)stats->orphans, (unsigned long long)stats->emptied,
        (unsigned long long)stats->blanks, (unsigned long long)stats->strangers,
        (unsigned long long)stats->splits, (unsigned long long)stats->reads,
        (unsigned long long)stats->histories, (unsigned long long)stats->flips,
        (unsigned long long)stats->repairs, (unsigned long long)stats->refused, seconds,
        seconds > 0 ? (double)stats->runs / seconds : 0);
}

/* ---- many runs, in several processes ---- */

struct share {
    uint64_t next; /* seed that the job runs, or will run */
    struct stats stats;
};

/* Lives in memory that the jobs share; with --resume in a file, so that a campaign goes on where it was
 * interrupted. */
struct progress {
    uint64_t first, count, jobs;
    uint64_t failed;
    struct share shares[JOBS_MAX];
};

struct campaign {
    const struct choice *choice;
    struct progress *progress;
};

static void watch_time(void)
{
    const struct itimerval limit = {.it_value = {.tv_sec = SEED_SECONDS_MAX}};
    (void)setitimer(ITIMER_PROF, &limit, NULL);
    (void)alarm(SEED_WAIT_MAX);
}

static void run_share(struct campaign *campaign, unsigned job)
{
    struct progress *progress = campaign->progress;
    struct share *share = &progress->shares[job];
    uint64_t end = progress->first + progress->count;
    while (share->next < end) {
        struct options options = options_of(campaign->choice, share->next);
        watch_time();
        run_one(&options, &share->stats);
        share->next += progress->jobs;
    }
    _exit(0);
}

static pid_t start_share(struct campaign *campaign, unsigned job)
{
    (void)fflush(stdout);
    pid_t child = fork();
    if (child == 0)
        run_share(campaign, job);
    return child;
}

/* A job that ends with an error has met a seed that fails: it goes on with the next. */
static void run_jobs(struct campaign *campaign)
{
    struct progress *progress = campaign->progress;
    pid_t children[JOBS_MAX];
    unsigned running = 0;
    for (unsigned i = 0; i < progress->jobs; i++, running++)
        children[i] = start_share(campaign, i);
    while (running > 0) {
        int status;
        pid_t ended = wait(&status);
        for (unsigned i = 0; i < progress->jobs; i++) {
            if (children[i] != ended)
                continue;
            if (WIFEXITED(status) && WEXITSTATUS(status) == 0) {
                running--;
                break;
            }
            struct share *share = &progress->shares[i];
            progress->failed++;
            share->next += progress->jobs;
            children[i] = start_share(campaign, i);
        }
    }
}

static double now_seconds(void)
{
    struct timespec now;
    extern int __real_clock_gettime(clockid_t clock, struct timespec * out);
    (void)__real_clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec + (double)now.tv_nsec / 1e9;
}

static void add_stats(struct stats *total, const struct stats *stats)
{
    uint64_t *to = (uint64_t *)total;
    const uint64_t *from = (const uint64_t *)stats;
    for (size_t i = 0; i < sizeof *total / sizeof *to; i++)
        to[i] += from[i];
}

/* Each kind of delta that spec.proto has. */
static bool has_all_kinds(const struct stats *stats)
{
    bool has_all = true;
    for (unsigned i = 0; i < jackdaw__delta__descriptor.n_fields; i++) {
        const ProtobufCFieldDescriptor *field = &jackdaw__delta__descriptor.fields[i];
        if ((field->flags & PROTOBUF_C_FIELD_FLAG_ONEOF) == 0 || stats->deltas[field->id] > 0)
            continue;
        printf("no log has a delta of kind %s\n", field->name);
        has_all = false;
    }
    return has_all;
}

/* A campaign in which little happens proves little. */
static bool is_lively(const struct choice *choice, const struct stats *stats)
{
    bool is_judged = stats->runs >= 100 && !choice->has_faults && !choice->has_servers;
    bool is_enough = stats->acks >= stats->runs * ENDED_PER_RUN_MIN &&
                     stats->faults >= stats->runs * FAULTS_PER_RUN_MIN;
    if (is_judged && !is_enough)
        printf("too little happened: a run has at least %d faults and %d requests that end\n",
               FAULTS_PER_RUN_MIN, ENDED_PER_RUN_MIN);
    return !is_judged || (has_all_kinds(stats) && is_enough);
}

static struct progress *open_progress(const char *file, const struct progress *fresh)
{
    int descriptor = file == NULL ? -1 : open(file, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    bool is_usable = file == NULL || (descriptor >= 0 && ftruncate(descriptor, sizeof *fresh) == 0);
    struct progress *progress =
        !is_usable ? MAP_FAILED
                   : mmap(NULL, sizeof *progress, PROT_READ | PROT_WRITE,
                          file == NULL ? MAP_SHARED | MAP_ANONYMOUS : MAP_SHARED, descriptor, 0);
    if (progress == MAP_FAILED) {
        fprintf(stderr, "cannot use %s: %s\n", file, strerror(errno));
        exit(2);
    }
    if (progress->count == 0)
        *progress = *fresh;
    if (progress->first != fresh->first || progress->count != fresh->count ||
        progress->jobs != fresh->jobs) {
        fprintf(stderr, "%s is of a campaign with other seeds, or another number of jobs\n", file);
        exit(2);
    }
    return progress;
}

static int run_many(const struct choice *choice, uint64_t count, unsigned jobs, const char *file)
{
    struct progress fresh = {.first = choice->options.seed, .count = count, .jobs = jobs};
    for (unsigned i = 0; i < jobs; i++)
        fresh.shares[i].next = fresh.first + i;
    struct campaign campaign = {.choice = choice, .progress = open_progress(file, &fresh)};
    double begun = now_seconds();
    run_jobs(&campaign);
    struct stats stats = {0};
    for (unsigned i = 0; i < jobs; i++)
        add_stats(&stats, &campaign.progress->shares[i].stats);
    print_stats(&stats, now_seconds() - begun);
    uint64_t failed = campaign.progress->failed;
    if (failed > 0)
        printf("%llu seeds failed\n", (unsigned long long)failed);
    return failed == 0 && is_lively(choice, &stats) ? 0 : 1;
}

/* ---- options ---- */

static enum replica_policy policy_of(const char *text)
{
    for (unsigned i = 0; i < sizeof policy_names / sizeof *policy_names; i++)
        if (strcmp(text, policy_names[i]) == 0)
            return (enum replica_policy)i;
    fprintf(stderr, "durability is all, quorum or local, not %s\n", text);
    exit(2);
}

int main(int argc, char **argv)
{
    static const struct option names[] = {
        {"seed", required_argument, NULL, 's'},   {"steps", required_argument, NULL, 'n'},
        {"nodes", required_argument, NULL, 'k'},  {"durability", required_argument, NULL, 'p'},
        {"faults", required_argument, NULL, 'f'}, {"trace", no_argument, NULL, 't'},
        {"seeds", required_argument, NULL, 'c'},  {"jobs", required_argument, NULL, 'j'},
        {"logs", no_argument, NULL, 'l'},         {"resume", required_argument, NULL, 'r'},
        {"end", required_argument, NULL, 'e'},    {NULL, 0, NULL, 0},
    };
    struct choice choice = {.options = {.seed = 1, .steps = STEPS_DEFAULT}};
    uint64_t count = 1;
    unsigned jobs = 1;
    const char *file = NULL;
    for (int letter; (letter = getopt_long(argc, argv, "", names, NULL)) != -1;) {
        switch (letter) {
        case 's':
            choice.options.seed = strtoull(optarg, NULL, 10);
            break;
        case 'n':
            choice.options.steps = strtoull(optarg, NULL, 10);
            break;
        case 'k':
            choice.options.servers = (unsigned)strtoul(optarg, NULL, 10);
            choice.has_servers = true;
            break;
        case 'p':
            choice.options.policy = policy_of(optarg);
            choice.has_policy = true;
            break;
        case 'f':
            choice.options.faults = (unsigned)strtoul(optarg, NULL, 10);
            choice.has_faults = true;
            break;
        case 't':
            choice.options.trace = true;
            break;
        case 'l':
            choice.options.logs = true;
            break;
        case 'r':
            file = optarg;
            break;
        case 'e':
            choice.options.end = optarg;
            break;
        case 'c':
            count = strtoull(optarg, NULL, 10);
            break;
        case 'j':
            jobs = (unsigned)strtoul(optarg, NULL, 10);
            break;
        default:
            fprintf(stderr,
                    "usage: run [--seed S] [--seeds COUNT] [--jobs J] [--steps N] [--nodes K] "
                    "[--durability all|quorum|local] [--faults BITS] [--trace] [--logs] "
                    "[--resume FILE] [--end abort|fatal]\n");
            return 2;
        }
    }
    if (choice.has_servers &&
        (choice.options.servers < 1 || choice.options.servers > SERVERS_MAX)) {
        fprintf(stderr, "nodes: 1 to %d\n", SERVERS_MAX);
        return 2;
    }
    disk_start();
    watch_for_end();
    (void)mallopt(M_TRIM_THRESHOLD, INT_MAX); /* runs come one after the other */
    (void)mallopt(M_MMAP_THRESHOLD, INT_MAX);
    if (count > 1)
        return run_many(&choice, count, jobs < 1 || jobs > JOBS_MAX ? 1 : jobs, file);
    struct stats stats = {0};
    double begun = now_seconds();
    struct options options = options_of(&choice, choice.options.seed);
    run_one(&options, &stats);
    if (!options.trace)
        print_stats(&stats, now_seconds() - begun);
    return 0;
}
