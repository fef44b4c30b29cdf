/* SPDX-License-Identifier: MIT */
/* One run: servers as processes, the set-up, the time of faults, and the peace at the end. */
#include "base/clock.h"
#include "commit/fatal.h"
#include "sim.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define DELAY_RUNS_LONGER 10
#define UP_WITHIN (60 * SECOND)
#define CONVERGE_WITHIN (100 * SECOND) /* a master waits a minute for orphans that come first */
#define SERVED_WITHIN (CLIENT_ANSWER_MS * MS + 3 * SECOND) /* a server without power says nothing */
#define FOLLOWS_WITHIN (20 * SECOND)
#define SERVED_IN_HALF_WITHIN (20 * SECOND)
#define RESTART_WHEN_REFUSED (300 * MS)

struct world world;

/* ---- servers ---- */

static bool is_server_due(const struct process *process)
{
    const struct server *server = process->program;
    if (!server->is_up)
        return false;
    struct core_wait wait;
    core_look_ahead(&server->core, &wait);
    return sim_now() >= process->deadline || task_queue_has_work(server->core.cluster_queue) ||
           (wait.requests && task_queue_has_work(server->core.queue));
}

static void plan_restart(struct server *server, uint64_t after)
{
    server->restart_at = sim_now() + after;
}

/* Also of one that was cut: nothing of what this does has an effect then. */
static void release(struct server *server)
{
    struct process *process = &server->process;
    bool was_cut = process->is_cut;
    process->is_cut = true;
    process_enter(process);
    core_release(&server->core);
    server_options_release(&server->options);
    process->is_cut = false; /* no second release */
    process_leave(process);
    process->is_cut = was_cut;
    server->is_up = false;
}

static void replace_disk(struct server *server)
{
    disk_empty(server->process.host);
    server->promised = 0;
    server->is_flipped = false;
    server->proven = 0;
    trace("the disk of s%u is replaced by an empty one", server->number + 1);
    world.stats.emptied++;
}

static void bury(struct server *server)
{
    struct process *process = &server->process;
    bool loses_power = process->loses_power;
    network_drop(process, loses_power);
    if (loses_power)
        network_host_is_off(process->host, true);
    release(server);
    disk_restore_mapped(process->host);
    if (loses_power)
        disk_lose_power(process->host);
    process->is_cut = false;
    process->id = 0; /* events of this life find nobody */
    world.stats.crashes++;
    world.stats.powers += loses_power;
    trace("s%u is dead%s", server->number + 1, loses_power ? ", without power" : "");
    if (server->is_to_be_emptied)
        replace_disk(server);
    if (server->is_to_be_flipped)
        faults_flip(server);
    server->is_to_be_emptied = server->is_to_be_flipped = false;
    plan_restart(server, sim_chance(300) ? sim_below(30 * MS) : 20 * MS + sim_below(3 * SECOND));
}

static void reap_server(struct process *process)
{
    bury(process->program);
}

void server_kill(struct server *server, bool loses_power)
{
    if (!server->is_up || server->process.is_cut)
        return;
    disk_keep_mapped(server->process.host);
    server->process.loses_power = loses_power;
    process_cut(&server->process);
    bury(server);
}

bool server_is_of_cluster(const struct server *server)
{
    const uint8_t *cluster = replica_cluster(cluster_replica(server->core.cluster));
    return !world.is_set_up || memcmp(cluster, world.cluster, sizeof world.cluster) == 0;
}

/* Whether the master lists it as one that has left for good. */
static bool is_struck_off(const struct server *server)
{
    const struct server *master = server_master();
    if (master == NULL || master == server) /* its own list may be in no other log */
        return false;
    const struct replica_member *members;
    size_t count = replica_members(cluster_replica(master->core.cluster), &members);
    for (size_t i = 0; i < count; i++)
        if (members[i].id == server->number + 1)
            return members[i].left;
    return false;
}

/* As SIGTERM does. */
void server_stop(struct server *server)
{
    trace("s%u is told to stop", server->number + 1);
    server->is_stopping = true;
    process_enter(&server->process);
    core_stop(&server->core);
    process_leave(&server->process);
    process_wake(&server->process, sim_now());
}

/* The core has ended by itself: it was stopped, it left, it was refused, or its disk failed. */
static void end_by_itself(struct server *server)
{
    struct process *process = &server->process;
    bool has_left = (!server->core.has_failed && !server->is_stopping) || is_struck_off(server);
    trace("s%u ends: %s", server->number + 1, has_left ? "it has left" : server->core.problem.text);
    process_enter(process);
    core_release(&server->core);
    server_options_release(&server->options);
    process_leave(process);
    process->id = 0;
    server->is_up = false;
    server->has_left = has_left;
    if (!has_left)
        plan_restart(server, RESTART_WHEN_REFUSED);
}

static void schedule(struct server *server)
{
    struct process *process = &server->process;
    struct core_wait wait;
    core_look_ahead(&server->core, &wait);
    bool has_work = task_queue_has_work(server->core.cluster_queue) ||
                    (wait.requests && task_queue_has_work(server->core.queue));
    process->deadline = sim_now() + (has_work ? 0 : (uint64_t)wait.timeout_us);
    process_wake(process, process->deadline);
}

static void turn_server(struct process *process)
{
    struct server *server = process->program;
    process_enter(process);
    bool goes_on = core_step(&server->core);
    if (!process->is_cut && goes_on)
        schedule(server);
    process_leave(process);
    if (process->is_cut)
        return; /* reaped by an event */
    if (!goes_on)
        end_by_itself(server);
    else if (server != &world.stranger)
        check_server(server);
}

static const char *policy_name(enum replica_policy policy)
{
    return policy == REPLICA_ALL ? "all" : policy == REPLICA_QUORUM ? "quorum" : "local";
}

static void set_options(struct server *server, bool is_first)
{
    char id[8];
    char masters[SERVERS_MAX * 32] = "";
    (void)snprintf(id, sizeof id, "%u", server->number + 1);
    for (unsigned i = 0; i < world.options.servers && server != &world.stranger; i++)
        if (i != server->number)
            (void)snprintf(masters + strlen(masters), sizeof masters - strlen(masters), "%s%s",
                           masters[0] == '\0' ? "" : ",", world.servers[i].internal);
    const char *arguments[] = {
        "server",
        id,
        is_first ? "master" : "slave",
        server->client,
        server->internal,
        "--data_dir=/sim",
        "--password_cost=minimal",
        "--founding_wait=500",
        "--rate_limit=0",
        "--max_sessions=64",
        "--log_level",
        world.options.logs ? "debug" : "error",
        "--durability",
        policy_name(world.options.policy),
        server->forwards ? "--forward" : "--forward=no",
        masters[0] == '\0' ? NULL : "--master_address",
        masters,
        NULL,
    };
    int count = masters[0] == '\0' ? 15 : 17;
    struct error_text why;
    if (server_options_parse(count, (char *const *)arguments, &server->options, &why) != OK)
        broken("harness", "%s", why.text);
    server->options.log_segment_bytes = 4096; /* fewer than the options take */
    server->options.replay_bytes = 16384;
    if ((world.options.faults & FAULT_PRUNE) != 0)
        server->options.cluster.log_keep = world.is_busy ? 2 : 20; /* likewise */
}

void server_start(struct server *server, bool is_first)
{
    struct process *process = &server->process;
    uint64_t refused = disk_refused(server->number);
    int64_t wall_offset_us = process->wall_offset_us;
    if (strcmp(server->internal, world.stranger.internal) == 0 && server != &world.stranger)
        stranger_stop();
    process_init(process, server->number);
    process->program = server;
    process->turn = turn_server;
    process->reap = reap_server;
    process->is_due = is_server_due;
    process->wall_offset_us = wall_offset_us;
    server->restart_at = UINT64_MAX;
    server->is_stopping = false;
    server->committed = (struct log_position){0};
    server->was_master = false;
    server->store = NULL;
    network_host_is_off(process->host, false);
    process_enter(process);
    set_options(server, is_first);
    log_configure(server->options.log_level, server->options.log_format);
    struct error_text why = {""};
    enum error error = core_open(&server->core, &server->options, &why);
    if (error == OK) {
        server->is_up = true;
        schedule(server);
    } else {
        server_options_release(&server->options);
    }
    process->spent_us = 0;
    process_leave(process);
    world.stats.restarts++;
    if (server->is_up)
        check_start(server);
    trace("s%u starts%s%s", server->number + 1, error == OK ? "" : " in vain: ", why.text);
    if (error != OK && !process->is_cut) {
        process->id = 0;
        plan_restart(server, RESTART_WHEN_REFUSED);
        bool is_refused = error == ERROR_CORRUPT && server->is_flipped;
        if (is_refused) /* its database knows no other server yet: the operator helps */
            replace_disk(server);
        else if (!disk_fails_now(process->host) && disk_refused(process->host) == refused)
            broken("starts_again", "server %u: %s", server->number + 1, why.text);
    }
}

void stranger_start(const struct server *absent)
{
    struct server *stranger = &world.stranger;
    stranger->number = HOSTS_MAX - 1;
    memcpy(stranger->internal, absent->internal, sizeof stranger->internal);
    memcpy(stranger->client, absent->client, sizeof stranger->client);
    world.stats.strangers++;
    server_start(stranger, true);
}

void stranger_stop(void)
{
    server_kill(&world.stranger, false);
    world.stranger.internal[0] = '\0';
}

struct server *server_master(void)
{
    for (unsigned i = 0; i < world.options.servers; i++) {
        struct server *server = &world.servers[i];
        if (server->is_up && server->core.role == REPLICA_MASTER && server_is_of_cluster(server))
            return server;
    }
    return NULL;
}

/* ---- the run ---- */

static void set_strictness(void)
{
    unsigned harmless = FAULT_CRASH | FAULT_CLIENT | FAULT_PRUNE | FAULT_MOVE | FAULT_CLOCK |
                        FAULT_GUESTS | FAULT_STRANGER;
    bool is_crash_only = (world.options.faults & ~harmless) == 0;
    world.is_strict = world.options.policy == REPLICA_QUORUM ||
                      (world.options.policy == REPLICA_ALL && is_crash_only) ||
                      (world.options.faults & ~harmless & ~(unsigned)FAULT_CRASH) == 0;
    if (world.options.policy == REPLICA_LOCAL && (world.options.faults & FAULT_CRASH) != 0)
        world.is_strict = false;
    world.is_gentle = world.options.policy == REPLICA_ALL && is_crash_only;
}

/* A server that founds a cluster must not find a client without a session, who would begin there. */
static bool is_started_as_first(const struct server *server)
{
    bool may_found = world.guests == 0 && (world.options.faults & FAULT_CLIENT) == 0;
    return server->number == 0 && (!world.is_set_up || may_found);
}

/* What the world does by itself: starts what is dead. */
static void look_after(void *context, uint64_t id)
{
    (void)context;
    (void)id;
    for (unsigned i = 0; i < world.options.servers && !world.is_over; i++) {
        struct server *server = &world.servers[i];
        if (!server->is_up && !server->has_left && server->restart_at <= sim_now())
            server_start(server, is_started_as_first(server));
    }
    for (unsigned i = 0; i < PEOPLE_MAX + world.guests && !world.is_over; i++) {
        struct person *person = &world.people[i];
        if (!person->is_up && person->restart_at <= sim_now())
            person_start(person);
    }
    if (!world.is_over)
        sim_at(sim_now() + 5 * MS, look_after, NULL, 0);
}

static bool are_in_sync(void)
{
    const char *why = "";
    return people_are_in() && check_converged(&why);
}

static bool is_settled(void)
{
    const char *why = "";
    return people_are_done() && check_converged(&why);
}

/* While clients go on writing. */
static bool are_all_following(void)
{
    const struct server *master = server_master();
    for (unsigned i = 0; i < world.options.servers; i++) {
        const struct server *server = &world.servers[i];
        if (!server->has_left &&
            (master == NULL || !server->is_up || !server_is_of_cluster(server) ||
             (server != master && server->core.role != REPLICA_SLAVE)))
            return false;
    }
    return true;
}

static bool are_all_served(void)
{
    for (unsigned i = 0; i < PEOPLE_MAX; i++)
        if (world.people[i].answers == 0)
            return false;
    return true;
}

static void print_state(void)
{
    const char *why = "";
    (void)check_converged(&why);
    fprintf(stderr, "not converged: %s\n", why);
    for (unsigned i = 0; i < world.options.servers; i++) {
        const struct server *server = &world.servers[i];
        if (!server->is_up) {
            fprintf(stderr, "s%u is %s\n", i + 1, server->has_left ? "gone for good" : "dead");
            continue;
        }
        const struct replica *replica = cluster_replica(server->core.cluster);
        fprintf(stderr,
                "s%u: %s master %u epoch %llx promised %llx last %llu committed %llu orphans %zu\n",
                i + 1, replica_role_name(replica_role(replica)), replica_master(replica),
                (unsigned long long)replica_epoch(replica),
                (unsigned long long)replica_promised(replica),
                (unsigned long long)replica_last(replica).seq,
                (unsigned long long)replica_committed(replica),
                (size_t)store_orphan_count(server->core.store));
    }
    for (unsigned i = 0; i < PEOPLE_MAX + world.guests; i++) {
        const struct person *person = &world.people[i];
        struct client_view view = {.server = NULL};
        if (person->is_up)
            client_inspect(person->client, &view);
        fprintf(stderr, "p%u: %s, %zu open, %llu answers; server %s, %zu waiting, %zu under way\n",
                i, person->is_up ? "up" : "dead", person->open, (unsigned long long)person->answers,
                view.server == NULL ? "none" : view.server, view.waiting, view.under_way);
    }
}

static void run_until(bool (*is_done)(void), uint64_t within, const char *what)
{
    uint64_t until = sim_now() + within;
    uint64_t look_at = 0;
    for (;;) {
        if (sim_now() >= look_at) {
            if (is_done())
                return;
            look_at = sim_now() + 5 * MS;
        }
        if (!sim_next() || sim_now() > until) {
            print_state();
            broken("serves_within_bound", "%s after %llu ms", what,
                   (unsigned long long)(within / MS));
        }
    }
}

static void set_up(void)
{
    world.is_quiet = true;
    unsigned turn = (unsigned)sim_below(world.options.servers);
    bool forwards = sim_chance(900);
    for (unsigned i = 0; i < world.options.servers; i++) {
        struct server *server = &world.servers[i];
        server->number = i;
        server->forwards = forwards && sim_chance(900);
        unsigned host = 1 + (i + turn) % world.options.servers;
        (void)snprintf(server->internal, sizeof server->internal, "10.0.0.%u:2626", host);
        (void)snprintf(server->client, sizeof server->client, "10.0.0.%u:2625", host);
        if ((world.options.faults & FAULT_CLOCK) != 0)
            server->process.wall_offset_us =
                (int64_t)sim_below(20 * SECOND) - (int64_t)(10 * SECOND);
    }
    for (unsigned i = 0; i < world.options.servers; i++)
        server_start(&world.servers[i], i == 0);
    for (unsigned i = 0; i < PEOPLE_MAX + world.guests; i++) {
        world.people[i].number = i;
        person_start(&world.people[i]);
    }
    sim_at(sim_now() + 5 * MS, look_after, NULL, 0);
    run_until(are_in_sync, UP_WITHIN, "the cluster does not come up");
    world.is_quiet = false;
    memcpy(world.cluster, replica_cluster(cluster_replica(server_master()->core.cluster)),
           sizeof world.cluster);
    world.is_set_up = true;
    trace("the cluster is up");
}

/* A client that changes sides can send 256 requests again, so in halves each asks until it is served. */
static void serve_everybody(uint64_t within, const char *what, bool is_once)
{
    world.asks_once = is_once;
    for (unsigned i = 0; i < PEOPLE_MAX; i++)
        world.people[i].answers = 0;
    world.is_finishing = false;
    run_until(are_all_served, within, what);
    world.is_finishing = true;
    world.asks_once = false;
}

/* Two halves, which both serve: `all` and `local` say so. Then the clients change sides, as a client that is
 * moved, and are served there, too. */
static void split(void)
{
    bool side[HOSTS_MAX];
    bool is_enough = world.options.policy != REPLICA_QUORUM && world.options.servers >= 2;
    if (!is_enough || !sim_chance(250))
        return;
    for (unsigned i = 0; i < HOSTS_MAX; i++)
        side[i] = i == 0 || (i != 1 && sim_chance(500));
    bool is_whole[2] = {true, true};
    for (unsigned i = 0; i < world.options.servers; i++)
        is_whole[side[i]] = is_whole[side[i]] && world.servers[i].has_left;
    if (is_whole[0] || is_whole[1])
        return;
    trace("two halves");
    world.is_strict = false;
    world.stats.splits++;
    faults_cut(side, false);
    serve_everybody(SERVED_IN_HALF_WITHIN, "not every client is served on its side", true);
    for (unsigned i = SERVERS_MAX; i < HOSTS_MAX; i++)
        side[i] = !side[i];
    trace("the clients change sides");
    faults_cut(side, false);
    serve_everybody(SERVED_IN_HALF_WITHIN, "not every client is served on the other side", true);
    network_heal();
    run_until(is_settled, CONVERGE_WITHIN, "not one master and equal logs");
}

/* One server is killed and stays dead: the others serve. A server that leaves meanwhile would be a second
 * loss. */
static void lose_one(void)
{
    unsigned least = world.options.policy == REPLICA_QUORUM ? 3 : 2;
    unsigned members = 0;
    for (unsigned i = 0; i < world.options.servers; i++)
        members += !world.servers[i].has_left && !world.servers[i].may_leave;
    struct server *server = &world.servers[sim_below(world.options.servers)];
    if (members < least || server->has_left)
        return;
    server_kill(server, sim_chance(500));
    server->restart_at = UINT64_MAX;
    serve_everybody(SERVED_WITHIN, "not every client is served", false);
    server->restart_at = sim_now();
}

static void converge(void)
{
    faults_end();
    if ((world.options.faults & FAULT_PRUNE) != 0)
        run_until(are_all_following, FOLLOWS_WITHIN, "not everybody follows a busy master");
    world.is_finishing = true;
    run_until(is_settled, CONVERGE_WITHIN, "not one master and equal logs");
    split();
    lose_one();
    run_until(is_settled, CONVERGE_WITHIN, "not one master and equal logs");
    check_final();
}

static void tear_down(void)
{
    for (unsigned i = 0; i < PEOPLE_MAX + world.guests; i++)
        person_stop(&world.people[i]);
    for (unsigned i = 0; i < world.options.servers; i++) {
        struct server *server = &world.servers[i];
        if (!server->is_up)
            continue;
        network_drop(&server->process, true);
        release(server);
        server->process.is_cut = false;
        server->process.id = 0;
    }
    world.is_over = true;
    while (sim_next())
        continue;
}

static void add(struct stats *totals, const struct stats *stats)
{
    totals->runs++;
    totals->steps += sim_steps();
    totals->us += sim_now();
    totals->messages += network_messages();
    totals->acks += stats->acks;
    totals->events += stats->events;
    totals->crashes += stats->crashes;
    totals->powers += stats->powers;
    totals->kills += stats->kills;
    totals->faults += stats->faults;
    totals->epoch_starts += stats->epoch_starts;
    totals->snapshots += stats->snapshots;
    totals->orphans += stats->orphans;
    totals->emptied += stats->emptied;
    totals->blanks += stats->blanks;
    totals->strangers += stats->strangers;
    totals->splits += stats->splits;
    totals->reads += stats->reads;
    totals->histories += stats->histories;
    totals->flips += stats->flips;
    totals->repairs += stats->repairs;
    totals->refused += stats->refused;
    for (size_t i = 0; i < DELTA_KINDS; i++)
        totals->deltas[i] += stats->deltas[i];
    totals->restarts += stats->restarts;
}

void world_run(const struct options *options, struct stats *totals)
{
    memset(&world, 0, sizeof world);
    world.options = *options;
    engine_reset(options->seed * 31 + options->servers);
    threads_reset();
    network_reset();
    disk_reset();
    check_reset();
    set_strictness();
    static const uint64_t every[] = {60 * MS, 300 * MS, 300 * MS, 1500 * MS};
    world.fault_every = every[sim_below(sizeof every / sizeof *every)];
    unsigned without_guests = FAULT_STRANGER; /* who would log in there */
    if ((options->faults & FAULT_GUESTS) != 0 && (options->faults & without_guests) == 0)
        world.guests = GUESTS_MAX;
    world.is_busy = (options->faults & FAULT_PRUNE) != 0 && sim_chance(300);
    world.may_leave = (options->faults & FAULT_LEAVE) != 0 && options->servers >= 3;
    set_up();
    if (options->end != NULL && strcmp(options->end, "abort") == 0)
        abort();
    if (options->end != NULL)
        fatal("simulation", "the end is asked for");
    faults_begin();
    delays_begin();
    bool is_slow = (options->faults & FAULT_DELAY) != 0; /* delays need time to grow and shrink */
    uint64_t end = sim_steps() + options->steps * (is_slow ? DELAY_RUNS_LONGER : 1);
    while (sim_steps() < end && sim_next())
        continue;
    converge();
    add(totals, &world.stats);
    tear_down();
}
