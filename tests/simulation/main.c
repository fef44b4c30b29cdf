/* SPDX-License-Identifier: MIT */
/* The simulator: one run of a seed, or many seeds. See docs/simulation.md. */
#include "sim.h"

#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define STEPS_DEFAULT 12000
#define CONVERGE_WITHIN (20 * (uint64_t)SECOND)
#define DEGRADED_WITHIN (2 * (uint64_t)SECOND)
#define ARENA_BYTES ((size_t)1 << 30)
#define SEEDS_FOR_FIRSTS 1000 /* in so many, every kind of delta must have come first */

/* ---- one run ---- */

static void set_strictness(struct world *world)
{
    const struct options *options = &world->options;
    unsigned faults = options->faults;
    unsigned crash_only =
        faults & ~(unsigned)(FAULT_CRASH | FAULT_MOVE | FAULT_STRANGER | FAULT_EMPTY);
    switch (options->policy) {
    case REPLICA_QUORUM:
        world->is_strict = true;
        break;
    case REPLICA_ALL:
        world->is_strict = crash_only == 0;
        world->is_gentle = world->is_strict;
        break;
    default:
        world->is_strict = faults == 0;
        break;
    }
}

static struct world *world_new(const struct options *options)
{
    struct world *world = calloc(1, sizeof *world);
    ASSERT(world != NULL);
    world->options = *options;
    world->random = options->seed * 0x2545f4914f6cdd1du + options->nodes;
    world->guest_random = options->seed;
    world->now = 1000 * (uint64_t)MS;
    arena_init(&world->arena, ARENA_BYTES);
    arena_init(&world->scratch, ARENA_BYTES);
    set_strictness(world);
    world->nodes_count = options->nodes;
    world->clients_count = 3;
    /* The order of addresses is not that of ids, and not that of their texts. */
    unsigned turn = (unsigned)below(world, options->nodes);
    for (unsigned i = 0; i < world->nodes_count; i++) {
        struct node *node = &world->nodes[i];
        node->id = (uint16_t)(i + 1);
        unsigned host = 8 + (i + turn) % options->nodes;
        (void)snprintf(node->internal, sizeof node->internal, "10.0.0.%u:2626", host);
        (void)snprintf(node->client, sizeof node->client, "10.0.0.%u:2625", host);
    }
    for (unsigned i = 0; i < world->clients_count; i++)
        world->clients[i].index = (int)i;
    static const uint64_t every[] = {60 * MS, 300 * MS, 300 * MS, 1500 * MS};
    world->fault_every = every[below(world, sizeof every / sizeof *every)];
    world->may_prune = chance(world, 500);
    /* Who leaves while another has lost its data can take the majority with it. */
    world->may_leave =
        chance(world, 150) && world->is_strict && (options->faults & FAULT_EMPTY) == 0;
    return world;
}

static void world_free(struct world *world)
{
    for (unsigned i = 0; i < world->nodes_count; i++)
        node_close(&world->nodes[i]);
    for (unsigned i = 0; i < world->clients_count; i++)
        free(world->clients[i].sent);
    for (unsigned i = 0; i < ROOMS; i++)
        free(world->told[i]);
    free(world->log_facts);
    free(world->committed_digest);
    free(world->heap);
    arena_clear(&world->arena);
    arena_clear(&world->scratch);
    free(world);
}

/* A stopped or blocked process gets everything later, in order. */
static bool is_put_off(struct world *world, const struct node *node, const struct entry *entry)
{
    uint64_t until = node->paused_until > node->busy_until ? node->paused_until : node->busy_until;
    if (until <= world->now)
        return false;
    at(world, until, (enum entry_kind)entry->kind, entry->who, entry->incarnation, entry->pointer);
    return true;
}

static void happen_on_node(struct world *world, const struct entry *entry)
{
    struct node *node = node_of(world, entry->who);
    bool is_packet = entry->kind == AT_PACKET;
    if (!node->alive || (!is_packet && entry->incarnation != node->incarnation))
        return;
    if (is_put_off(world, node, entry))
        return;
    switch (entry->kind) {
    case AT_TICK:
        node_tick(world, node);
        break;
    case AT_DISK:
        node_disk_done(world, node);
        break;
    case AT_CHECKED:
        node_checked(world, node);
        break;
    case AT_REFUSED:
        node_crash(world, node, false);
        break;
    case AT_DISCONNECTED:
        node_step(world, node,
                  &(struct replica_event){.kind = REPLICA_DISCONNECTED, .address = entry->pointer});
        break;
    default:
        node_receive(world, node, entry->pointer);
        break;
    }
}

static void restart(struct world *world, const struct entry *entry)
{
    struct node *node = node_of(world, entry->who);
    if (node->alive || node->left || entry->incarnation != node->incarnation)
        return;
    bool loses_disk = (world->options.faults & FAULT_EMPTY) != 0 && !world->is_quiet &&
                      chance(world, 250) && fault_may_empty(world, node);
    if (loses_disk)
        node_empty(world, node);
    node_start(world, node, (world->options.faults & FAULT_EMPTY) != 0 && chance(world, 500));
    /* While it joins is a good moment for something to go wrong. */
    if (chance(world, 300))
        at(world, world->now + below(world, 8 * MS), AT_FAULT, 0, 1, NULL);
}

static void happen(struct world *world, const struct entry *entry)
{
    world->now = entry->at;
    world->steps++;
    switch (entry->kind) {
    case AT_CLIENT:
        client_wake(world, &world->clients[entry->who]);
        break;
    case AT_FAULT:
        fault_happens(world, entry->incarnation == 0);
        break;
    case AT_HEAL:
        if (world->now >= world->healed_at)
            memset(world->cut, 0, sizeof world->cut);
        break;
    case AT_RESTART:
        restart(world, entry);
        break;
    case AT_PACKET:
        if (entry->who < 0) {
            client_receive(world, &world->clients[-1 - entry->who], entry->pointer);
            break;
        }
        happen_on_node(world, entry);
        break;
    default:
        happen_on_node(world, entry);
        break;
    }
}

static bool happen_next(struct world *world)
{
    struct entry entry;
    if (!next_entry(world, &entry))
        return false;
    happen(world, &entry);
    return true;
}

static bool is_ready(struct world *world)
{
    if (world->rooms[0] == 0)
        return false;
    for (unsigned i = 0; i < world->nodes_count; i++)
        if (replica_committed(world->nodes[i].replica) < 2 + world->nodes_count)
            return false;
    return is_converged(world);
}

static void set_up(struct world *world)
{
    world->is_quiet = true;
    for (unsigned i = 0; i < world->clients_count; i++)
        world->clients[i].next = world->clients[i].base = world->clients[i].first =
            SETUP_REQUESTS + 1;
    for (unsigned i = 0; i < world->nodes_count; i++)
        node_start(world, &world->nodes[i], i == 0);
    uint64_t until = world->now + 30 * (uint64_t)SECOND;
    while (!is_ready(world))
        if (!happen_next(world) || world->now > until)
            broken(world, "serves_within_bound", "the cluster does not come up");
    world->is_quiet = false;
    world->is_set_up = true;
    trace(world, "the cluster is up");
}

static void print_state(const struct world *world)
{
    for (unsigned i = 0; i < world->nodes_count; i++) {
        const struct node *node = &world->nodes[i];
        if (!node->alive)
            continue;
        fprintf(stderr,
                "node %u: %s master %u epoch %llx promised %llx last %llu durable %llu "
                "committed %llu orphans %zu\n",
                node->id, replica_role_name(replica_role(node->replica)),
                replica_master(node->replica), (unsigned long long)replica_epoch(node->replica),
                (unsigned long long)replica_promised(node->replica),
                (unsigned long long)replica_last(node->replica).seq,
                (unsigned long long)replica_durable(node->replica).seq,
                (unsigned long long)replica_committed(node->replica), node->orphans_count);
    }
    for (unsigned i = 0; i < world->clients_count; i++)
        fprintf(stderr, "client %u: base %llu next %llu\n", i,
                (unsigned long long)world->clients[i].base,
                (unsigned long long)world->clients[i].next);
}

static void run_until(struct world *world, bool (*is_done)(struct world *world), uint64_t within,
                      const char *what)
{
    uint64_t until = world->now + within;
    while (!is_done(world))
        if (!happen_next(world) || world->now > until) {
            print_state(world);
            broken(world, "serves_within_bound", "%s after %u ms", what, (unsigned)(within / MS));
        }
}

static bool is_settled(struct world *world)
{
    return is_converged(world);
}

static bool are_all_served(struct world *world)
{
    for (unsigned i = 0; i < world->clients_count; i++)
        if (world->clients[i].answers == 0)
            return false;
    return true;
}

/* As the master lists them: who is about to leave does not count any more. */
static unsigned count_members(struct world *world)
{
    unsigned members = 0;
    for (unsigned i = 0; i < world->nodes_count; i++) {
        const struct replica_member *list;
        const struct replica *replica = world->nodes[i].replica;
        if (!world->nodes[i].alive || replica_role(replica) != REPLICA_MASTER)
            continue;
        size_t count = replica_members(replica, &list);
        for (size_t k = 0; k < count; k++)
            members += !list[k].left;
    }
    return members;
}

/* All is well, then one is killed and stays dead: the others serve. */
static void lose_one(struct world *world)
{
    unsigned least = world->options.policy == REPLICA_QUORUM ? 3 : 2;
    unsigned members = count_members(world);
    struct node *node = &world->nodes[below(world, world->nodes_count)];
    if (members < least || node->left)
        return;
    world->is_degraded = true;
    node_crash(world, node, chance(world, 500));
    for (unsigned i = 0; i < world->clients_count; i++)
        world->clients[i].answers = 0;
    world->is_finishing = false;
    run_until(world, are_all_served, DEGRADED_WITHIN, "not every client is served");
    world->is_finishing = true;
    world->is_degraded = false;
    node_start(world, node, false);
}

static void converge(struct world *world)
{
    faults_end(world);
    world->is_finishing = true;
    run_until(world, is_settled, CONVERGE_WITHIN, "not one master and equal logs");
    lose_one(world);
    run_until(world, is_settled, CONVERGE_WITHIN, "not one master and equal logs");
    check_final(world);
}

struct totals {
    uint64_t runs, steps, acks, reads, elections, crashes, snapshots, orphans, seconds;
    uint64_t firsts[FRESH_COUNT][DELTA_KINDS];
};

static void add_firsts(struct totals *totals, uint64_t (*firsts)[DELTA_KINDS])
{
    for (size_t fresh = 0; fresh < FRESH_COUNT; fresh++)
        for (size_t kind = 0; kind < DELTA_KINDS; kind++)
            totals->firsts[fresh][kind] += firsts[fresh][kind];
}

static void run(const struct options *options, struct totals *totals)
{
    struct world *world = world_new(options);
    set_up(world);
    clients_begin(world);
    fault_next(world);
    uint64_t end = world->steps + options->steps;
    while (world->steps < end)
        if (!happen_next(world))
            break;
    converge(world);
    totals->runs++;
    totals->steps += world->steps;
    totals->acks += world->acks;
    totals->reads += world->reads;
    totals->elections += world->elections;
    totals->crashes += world->crashes;
    totals->snapshots += world->snapshots;
    totals->orphans += world->orphans;
    totals->seconds += world->now / SECOND;
    add_firsts(totals, world->firsts);
    world_free(world);
}

/* ---- many runs ---- */

static const unsigned profiles[] = {
    0,
    FAULT_CRASH,
    FAULT_LOSS,
    FAULT_PARTITION,
    FAULT_PARTITION | FAULT_CRASH,
    FAULT_PAUSE,
    FAULT_DISK,
    FAULT_CRASH,
    FAULT_LOSS | FAULT_PARTITION,
    FAULT_CRASH | FAULT_LOSS | FAULT_PARTITION | FAULT_PAUSE | FAULT_DISK,
    FAULT_CRASH | FAULT_PAUSE | FAULT_DISK,
    FAULT_CRASH | FAULT_LOSS | FAULT_PARTITION | FAULT_PAUSE | FAULT_DISK | FAULT_CHECK,
    FAULT_MOVE,
    FAULT_CRASH | FAULT_STRANGER,
    FAULT_CRASH | FAULT_PARTITION | FAULT_MOVE | FAULT_STRANGER,
    FAULT_CRASH | FAULT_LOSS | FAULT_PAUSE | FAULT_MOVE | FAULT_STRANGER,
    FAULT_CRASH | FAULT_EMPTY,
    FAULT_CRASH | FAULT_MOVE | FAULT_EMPTY,
    FAULT_CRASH | FAULT_PARTITION | FAULT_LOSS | FAULT_EMPTY,
};

/* What an option does not say, the seed decides. */
struct choice {
    struct options options;
    bool nodes_given, policy_given, faults_given;
};

static struct options options_of(const struct choice *choice, uint64_t seed)
{
    struct options options = choice->options;
    options.seed = seed;
    if (!choice->nodes_given)
        options.nodes = 1 + (unsigned)(seed % 5);
    if (!choice->policy_given)
        options.policy = (enum replica_policy)(seed / 5 % 3);
    if (!choice->faults_given)
        options.faults = profiles[seed / 15 % (sizeof profiles / sizeof *profiles)] |
                         (seed % 3 != 0 ? FAULT_GUESTS : 0);
    return options;
}

static void print_totals(const struct totals *totals, double seconds)
{
    printf("%llu runs, %llu steps, %llu virtual s: %llu acks, %llu pages read, %llu epochs, "
           "%llu crashes, %llu snapshots, %llu orphans; %.1f s\n",
           (unsigned long long)totals->runs, (unsigned long long)totals->steps,
           (unsigned long long)totals->seconds, (unsigned long long)totals->acks,
           (unsigned long long)totals->reads, (unsigned long long)totals->elections,
           (unsigned long long)totals->crashes, (unsigned long long)totals->snapshots,
           (unsigned long long)totals->orphans, seconds);
}

static const char *const fresh_names[FRESH_COUNT] = {
    [FRESH_START] = "start", [FRESH_SNAPSHOT] = "snapshot", [FRESH_ROLLBACK] = "rollback"};

/* How often each kind of delta came first. Returns how many never did. */
static unsigned print_firsts(struct totals *totals)
{
    const ProtobufCMessageDescriptor *delta = &jackdaw__delta__descriptor;
    unsigned missing = 0;
    for (size_t fresh = FRESH_START; fresh < FRESH_COUNT; fresh++) {
        printf("first after a %s:", fresh_names[fresh]);
        for (unsigned i = 0; i < delta->n_fields; i++) {
            const ProtobufCFieldDescriptor *field = &delta->fields[i];
            if ((field->flags & PROTOBUF_C_FIELD_FLAG_ONEOF) == 0)
                continue;
            ASSERT(field->id < DELTA_KINDS);
            missing += totals->firsts[fresh][field->id] == 0;
            printf(" %s %llu", field->name, (unsigned long long)totals->firsts[fresh][field->id]);
        }
        printf("\n");
    }
    return missing;
}

static void add_totals(struct totals *sum, struct totals *part)
{
    sum->runs += part->runs;
    sum->steps += part->steps;
    sum->acks += part->acks;
    sum->reads += part->reads;
    sum->elections += part->elections;
    sum->crashes += part->crashes;
    sum->snapshots += part->snapshots;
    sum->orphans += part->orphans;
    sum->seconds += part->seconds;
    add_firsts(sum, part->firsts);
}

static double now_seconds(void)
{
    struct timespec now;
    (void)clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec + (double)now.tv_nsec / 1e9;
}

/* What a job has done, in memory that it shares with its parent: a failing seed ends its process. */
struct job {
    pid_t process;
    uint64_t seed; /* the one under way */
    uint64_t end;
    unsigned step;
    struct totals totals;
};

static void work(const struct choice *choice, struct job *job)
{
    while (job->seed < job->end) {
        struct options options = options_of(choice, job->seed);
        run(&options, &job->totals);
        job->seed += job->step;
    }
}

static void begin_job(const struct choice *choice, struct job *job)
{
    fflush(stdout);
    fflush(stderr);
    pid_t process = fork();
    ASSERT(process >= 0);
    if (process != 0) {
        job->process = process;
        return;
    }
    work(choice, job);
    _exit(0);
}

/* Returns how many seeds failed. */
static uint64_t work_all(const struct choice *choice, struct job *jobs, unsigned count)
{
    uint64_t failures = 0;
    for (unsigned i = 0; i < count; i++)
        begin_job(choice, &jobs[i]);
    for (unsigned running = count; running > 0;) {
        int status = 0;
        pid_t ended = wait(&status);
        ASSERT(ended > 0);
        for (unsigned i = 0; i < count; i++) {
            if (jobs[i].process != ended)
                continue;
            running--;
            if (status == 0)
                break;
            failures++;
            struct options options = options_of(choice, jobs[i].seed);
            fprintf(stderr, "failed: ");
            print_replay(&options);
            jobs[i].seed += jobs[i].step;
            begin_job(choice, &jobs[i]);
            running++;
        }
    }
    return failures;
}

static int campaign(const struct choice *choice, uint64_t first, uint64_t count, unsigned jobs)
{
    double begun = now_seconds();
    size_t size = jobs * sizeof(struct job);
    struct job *table = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    ASSERT(table != MAP_FAILED);
    for (unsigned i = 0; i < jobs; i++)
        table[i] = (struct job){.seed = first + i, .end = first + count, .step = jobs};
    uint64_t failures = work_all(choice, table, jobs);
    struct totals totals = {0};
    for (unsigned i = 0; i < jobs; i++)
        add_totals(&totals, &table[i].totals);
    print_totals(&totals, now_seconds() - begun);
    unsigned missing = print_firsts(&totals);
    printf("%llu of %llu seeds failed\n", (unsigned long long)failures, (unsigned long long)count);
    bool has_all = missing == 0 || count < SEEDS_FOR_FIRSTS || choice->faults_given;
    if (!has_all)
        printf("%u kinds of delta never came first\n", missing);
    return failures == 0 && has_all ? 0 : 1;
}

static enum replica_policy policy_of(const char *text)
{
    if (strcmp(text, "quorum") == 0)
        return REPLICA_QUORUM;
    if (strcmp(text, "local") == 0)
        return REPLICA_LOCAL;
    if (strcmp(text, "all") == 0)
        return REPLICA_ALL;
    fprintf(stderr, "durability is all, quorum or local, not %s\n", text);
    exit(2);
}

int main(int argc, char **argv)
{
    static const struct option names[] = {
        {"seed", required_argument, NULL, 's'},
        {"steps", required_argument, NULL, 'n'},
        {"nodes", required_argument, NULL, 'k'},
        {"durability", required_argument, NULL, 'p'},
        {"faults", required_argument, NULL, 'f'},
        {"trace", no_argument, NULL, 't'},
        {"seeds", required_argument, NULL, 'c'},
        {"jobs", required_argument, NULL, 'j'},
        {NULL, 0, NULL, 0},
    };
    struct choice choice = {.options = {.seed = 1, .steps = STEPS_DEFAULT}};
    uint64_t count = 1;
    unsigned jobs = 1;
    for (int letter; (letter = getopt_long(argc, argv, "", names, NULL)) != -1;) {
        switch (letter) {
        case 's':
            choice.options.seed = strtoull(optarg, NULL, 10);
            break;
        case 'n':
            choice.options.steps = strtoull(optarg, NULL, 10);
            break;
        case 'k':
            choice.options.nodes = (unsigned)strtoul(optarg, NULL, 10);
            choice.nodes_given = true;
            break;
        case 'p':
            choice.options.policy = policy_of(optarg);
            choice.policy_given = true;
            break;
        case 'f':
            choice.options.faults = (unsigned)strtoul(optarg, NULL, 10);
            choice.faults_given = true;
            break;
        case 't':
            choice.options.trace = true;
            break;
        case 'c':
            count = strtoull(optarg, NULL, 10);
            break;
        case 'j':
            jobs = (unsigned)strtoul(optarg, NULL, 10);
            break;
        default:
            fprintf(stderr, "usage: run [--seed S] [--seeds COUNT] [--jobs J] [--steps N] "
                            "[--nodes K] [--durability all|quorum|local] [--faults BITS] "
                            "[--trace]\n");
            return 2;
        }
    }
    if (choice.nodes_given && (choice.options.nodes < 1 || choice.options.nodes > NODES_MAX)) {
        fprintf(stderr, "nodes: 1 to %d\n", NODES_MAX);
        return 2;
    }
    if (count > 1)
        return campaign(&choice, choice.options.seed, count, jobs < 1 || jobs > 64 ? 1 : jobs);
    struct totals totals = {0};
    double begun = now_seconds();
    struct options options = options_of(&choice, choice.options.seed);
    run(&options, &totals);
    if (!options.trace)
        print_totals(&totals, now_seconds() - begun);
    return 0;
}
